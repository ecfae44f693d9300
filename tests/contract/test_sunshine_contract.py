"""All operations and models of Sunshine v2 agree with the vendor's specification.

``data/sunshine-v2.json`` holds the facts, taken from the OpenAPI file (17.12.1) like this, with every
``$ref`` followed and every ``allOf`` merged; a flag is 1, or left out:

- ``operations``, by ``operationId``: method, path, status of success, query (name: whether required;
  an object in the style ``deepObject`` is ``filter[property]``), body (the name of its schema, else
  the title, else the operation with ``Body``), whether the body is required or a form, bodies
  (examples of the body; without any, an example made of the examples of the properties), answer
  (the name of the schema of success) and examples (status: examples of the answer);
- ``schemas``, of all bodies and answers and what is in them: property: null (may be null; an outer
  ``nullable`` goes before the one of what it wraps), read (only in answers), write (only in bodies),
  needed (required), of (the name of the schema inside, of the items for a list; for a union with a
  discriminator, the names by tag). The properties of ``oneOf`` and ``anyOf`` without a discriminator
  are put together, and none is needed.
"""

import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from types import NoneType
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from support.specification import facts_in, finder, names, needed_by, required_arguments

from sunshine_async import UNSET, Unset, sunshine
from sunshine_async._calls.forms import Form
from sunshine_async._calls.retry import Replay
from sunshine_async._codec import decode, encode, name_of, structure_body, unstructure, wire_name
from sunshine_async._codec.model import TAG, Model, fields_by_wire
from sunshine_async._http.messages import Response
from sunshine_async.errors import ApiError
from sunshine_async.sunshine import (
    App,
    FormMessageField,
    Integration,
    MessagePost,
    User,
    UserProfile,
)
from sunshine_async.sunshine.integration_models import NEEDED

FACTS = facts_in("sunshine-v2.json")
OPERATIONS: Mapping[str, Any] = FACTS["operations"]
SCHEMAS: Mapping[str, Mapping[str, Any]] = FACTS["schemas"]
MODULES = [
    import_module(f"{sunshine.__name__}.{info.name}")
    for info in pkgutil.iter_modules(sunshine.__path__)
]
RESOURCES = [module for module in MODULES if hasattr(module, "ENDPOINTS")]
ENDPOINTS = [endpoint for module in RESOURCES for endpoint in module.ENDPOINTS]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

BEYOND: Mapping[type, set[str]] = {
    User: {"hasPaymentInfo"},  # in the examples of the specification, not in its schemas
    UserProfile: {"localeOrigin"},
    App: {"subdomain"},  # only in two answers
    FormMessageField: {
        "placeholder",
        "minSize",
        "maxSize",
        "options",
    },  # `PrechatCapture` has fewer
}
SLIPS = {"uri", 'text"'}
"""Keys in examples of the specification that its own schemas don't know."""
CHECKED_WHEN_SENT = {MessagePost}
"""Bodies whose needed fields have defaults: a `ValueError` names a field left out."""

the = finder(ENDPOINTS)


def kinds_in(hint: Any) -> list[type[attrs.AttrsInstance]]:
    """Return the models in the type *hint*."""
    inner = [kind for each in get_args(hint) for kind in kinds_in(each)]
    return [hint] if isinstance(hint, type) and attrs.has(hint) else inner


def tag_of(kind: type[attrs.AttrsInstance]) -> Any:
    """Return the tag of a member of a union."""
    return next(field.default for field in attrs.fields(kind) if TAG in field.metadata)


def pairs(hint: Any, of: Any, seen: set[tuple[type, str]]) -> Iterator[tuple[type[Any], str]]:
    """Yield the models in *hint*, and the models inside, each with the name of its schema."""
    kinds = kinds_in(hint)
    by_tag = {tag_of(kind): kind for kind in kinds} if isinstance(of, dict) else {}
    members = [(by_tag[tag], name) for tag, name in of.items()] if by_tag else [(kinds[0], of)]
    for kind, name in members:
        if (kind, name) in seen:
            continue
        seen.add((kind, name))
        yield kind, name
        hints = get_type_hints(kind)
        for field in attrs.fields(kind):
            inner = SCHEMAS[name].get(name_of(field), {}).get("of")
            if inner and kinds_in(hints[field.name]):
                yield from pairs(hints[field.name], inner, seen)


def of_bodies() -> Iterator[tuple[type[Any], str]]:
    """Yield the models of all bodies."""
    seen: set[tuple[type, str]] = set()
    for name, facts in OPERATIONS.items():
        if "body" in facts and "form" not in facts and the(name).accepts is not Integration:
            yield from pairs(the(name).accepts, facts["body"], seen)


def of_answers() -> Iterator[tuple[type[Any], str]]:
    """Yield the models of all answers."""
    seen: set[tuple[type, str]] = set()
    for name, facts in OPERATIONS.items():
        endpoint = the(name)
        if "answer" in facts:
            inside = SCHEMAS[facts["answer"]][endpoint.inside]["of"] if endpoint.inside else None
            yield from pairs(endpoint.returns, inside or facts["answer"], seen)


BODIES, ANSWERS = ([*function()] for function in (of_bodies, of_answers))
IN_ANSWERS = {kind for kind, _ in ANSWERS}
ONLY_BODIES = [pair for pair in BODIES if pair[0] not in IN_ANSWERS]
"""Models that are only in bodies. In a model of both, None leaves a key out."""


def case(pair: tuple[type, str]) -> Any:
    """Return *pair* as a test's case."""
    return pytest.param(*pair, id=f"{pair[0].__name__} {pair[1]}")


def without_null(value: Any) -> Any:
    """Return *value* with null as what it stands for: nothing."""
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def unknown_in(value: Any) -> Iterator[Any]:
    """Yield what the models in *value* don't know."""
    if isinstance(value, list):
        for inner in value:
            yield from unknown_in(inner)
    elif isinstance(value, Model):
        yield from value.extra.keys() - names(type(value)) - SLIPS
        for field in attrs.fields(type(value)):
            yield from unknown_in(getattr(value, field.name))


def test_each_operation_is_declared_once() -> None:
    """There is one endpoint for each of the 68 operations of the specification, and no other."""
    assert len(OPERATIONS) == 68
    assert sorted(endpoint.operation for endpoint in ENDPOINTS) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_agrees_with_the_specification(operation: str) -> None:
    """Method, path, status of success, query parameters and body are those of the specification."""
    endpoint, facts = the(operation), OPERATIONS[operation]
    path = endpoint.path.format_map({name: f"{{{wire_name(name)}}}" for name in endpoint.fields})

    assert (endpoint.method, path) == (facts["method"], facts["path"])
    assert endpoint.ok == (facts["status"],)
    assert sorted(endpoint.query) == sorted(facts["query"])
    assert {*endpoint.needs} == {name for name, needed in facts["query"].items() if needed}
    assert (endpoint.accepts is not None) == ("body" in facts)
    assert (endpoint.accepts is Form) == ("form" in facts)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_reads_what_the_service_answers(operation: str) -> None:
    """An operation has a result exactly if its answer has properties; the envelope is one of them."""
    endpoint, facts = the(operation), OPERATIONS[operation]

    if operation == "DownloadMessageRef":  # an object without properties that are known
        assert endpoint.inside is None
    else:
        assert (endpoint.returns is NoneType) == ("answer" not in facts)
        assert endpoint.inside is None or endpoint.inside in SCHEMAS[facts["answer"]]


OPTIONAL: Mapping[str, int] = {
    "AcceptControl": -1,  # an empty body is a body
    "SyncUser": 0,
    "DeleteApp": 1,  # the client's own app is never deleted by default
    "Authorize": -1,  # the type of the response can only be code
    "ListConversations": 0,
}
"""Arguments that methods need more, or less, than the specification."""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_method_asks_for_what_is_needed(operation: str) -> None:
    """A method can't be called without its id, its body and the query that the service requires."""
    endpoint, facts = the(operation), OPERATIONS[operation]
    [resource] = (
        kind
        for module in RESOURCES
        if endpoint in module.ENDPOINTS
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__
        if any(f"({operation})" in (getattr(kind, name).__doc__ or "") for name in vars(kind))
    )

    assert required_arguments(resource, operation) == sum(
        [
            len(set(endpoint.fields) - {"app_id"}),
            facts.get("body_required", 0),
            *facts["query"].values(),
            OPTIONAL.get(operation, 0),
        ]
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_what_reads_is_safe(operation: str) -> None:
    """GET is the only method that is said to only read."""
    endpoint = the(operation)

    assert (endpoint.replay is Replay.SAFE) == (
        endpoint.method == "GET" or operation == "DownloadMessageRef"
    )


EXAMPLES = [
    pytest.param(name, int(status), value, id=f"{name} {status} {number}")
    for name, facts in OPERATIONS.items()
    for status, values in facts["examples"].items()
    for number, value in enumerate(values)
]
OF_ANSWERS = [example for example in EXAMPLES if example.values[1] < 400]
OF_ERRORS = [example for example in EXAMPLES if example.values[1] >= 400]
OF_BODIES = [
    pytest.param(name, value, id=f"{name} {number}")
    for name, facts in OPERATIONS.items()
    if "form" not in facts
    for number, value in enumerate(facts.get("bodies", []))
]


def body_kind(operation: str, example: Any) -> Any:
    """Return the model of the body of *operation*: of an integration, the model of its type."""
    accepts = the(operation).accepts
    if accepts is not Integration:
        return accepts
    kinds = kinds_in(sunshine.AnyIntegration)
    return next(kind for kind in kinds if tag_of(kind) == example["type"])


@pytest.mark.parametrize(("operation", "status", "example"), OF_ANSWERS)
def test_an_example_of_an_answer_comes_back_equal(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an answer goes through the model and comes back equal; nothing is unknown."""
    endpoint = the(operation)
    result = endpoint.result(Response(status, {}, json.dumps(example).encode()))
    expected = example[endpoint.inside] if endpoint.inside else example
    back = [*map(unstructure, result)] if isinstance(result, list) else unstructure(result)

    assert without_null(back or {}) == without_null(expected)
    assert [*unknown_in(result)] == []


@pytest.mark.parametrize(("operation", "status", "example"), OF_ERRORS)
def test_an_example_of_an_error_is_read(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an error is an `ApiError` with its code and title."""
    error = the(operation).error(Response(status, {}, json.dumps(example).encode()), now=NOW)

    assert isinstance(error, ApiError)
    assert [{"code": one.code, "title": one.title} for one in error.errors] == example["errors"]


@pytest.mark.parametrize(("operation", "example"), OF_BODIES)
def test_an_example_of_a_body_comes_back_equal(operation: str, example: dict[str, Any]) -> None:
    """Each example of a body goes through its model and comes back equal; nothing is unknown."""
    body = structure_body(example, body_kind(operation, example))

    assert decode(encode(body)) == example
    assert [*unknown_in(body)] == []


@pytest.mark.parametrize(
    ("kind", "schema"), [case(pair) for pair in dict.fromkeys([*BODIES, *ANSWERS])]
)
def test_a_model_has_the_fields_of_its_schema(kind: type[Any], schema: str) -> None:
    """A model has a field for each property of its schema, and what examples add."""
    assert names(kind) == set(SCHEMAS[schema]) | BEYOND.get(kind, set())


@pytest.mark.parametrize(("kind", "schema"), [case(pair) for pair in ONLY_BODIES])
def test_a_body_needs_what_the_service_needs(kind: type[Any], schema: str) -> None:
    """A field of a body has no default exactly if its property is required."""
    needed = {key for key, facts in SCHEMAS[schema].items() if "needed" in facts}
    fixed = {name_of(field) for field in attrs.fields(kind) if isinstance(field.default, str)}

    assert needed_by(kind) == (set() if kind in CHECKED_WHEN_SENT else needed - fixed)


@pytest.mark.parametrize(("kind", "schema"), [case(pair) for pair in ONLY_BODIES])
def test_a_body_takes_none_exactly_where_the_service_takes_null(
    kind: type[Any], schema: str
) -> None:
    """A field of a body may be left out unless needed, and may be None where it is nullable."""
    hints, later = get_type_hints(kind), kind in CHECKED_WHEN_SENT
    fields = {field.name: SCHEMAS[schema][name_of(field)] for field in attrs.fields(kind)[1:]}

    for name, facts in fields.items():
        assert (NoneType in get_args(hints[name])) == ("null" in facts), name
        assert Unset not in get_args(hints[name]) or "needed" not in facts or later, name


@pytest.mark.parametrize(("kind", "schema"), [case(pair) for pair in ANSWERS])
def test_an_answer_needs_little(kind: type[Any], schema: str) -> None:
    """An answer needs at most an id, or its only content."""
    assert len(needed_by(kind)) <= 2
    assert needed_by(kind) <= set(SCHEMAS[schema])


@pytest.mark.parametrize(("kind", "schema"), [case(pair) for pair in ANSWERS])
def test_an_absent_field_of_an_answer_reads_as_none(kind: type[Any], schema: str) -> None:
    """A model of answers, perhaps also of bodies, has no `UNSET`."""
    absent = {field.name for field in attrs.fields(kind) if field.default is UNSET}

    assert absent == set(), schema


def test_a_name_on_the_wire_has_one_name_here() -> None:
    """A property has the same name in all models, but for the records of a page."""
    found: dict[str, set[str]] = {}
    for kind, _ in [*BODIES, *ANSWERS]:
        for wire, name in fields_by_wire(kind).items():
            found.setdefault(wire, set()).add(name)

    assert {wire: names for wire, names in found.items() if len(names - {"items"}) > 1} == {}


def test_an_integration_needs_what_the_service_needs() -> None:
    """The fields that a new integration needs are those of the specification."""
    for kind, schema in ANSWERS:
        if issubclass(kind, Integration):
            marked = {name_of(field) for field in attrs.fields(kind) if NEEDED in field.metadata}
            needed = {key for key, facts in SCHEMAS[schema].items() if "needed" in facts}
            assert marked == needed - {"type"}
