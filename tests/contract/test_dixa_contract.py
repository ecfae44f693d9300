r"""The operations and models of Dixa agree with the vendor's specification.

``data/dixa-end-users.json`` holds the facts, taken from its OpenAPI file (the one called ``beta``,
whose End Users are those of ``v1``; its paths are written as ``/v1`` here) like this:

- ``operations``: of each path that ``/v1/endusers(/.*)?`` matches, of the status of an
  anonymization and of the list of custom attributes, by ``operationId``: method, path, status (the
  2xx one), query (names), body (the name of its schema), body_example, examples (status: the value
  of the answer's example);
- ``schemas``: of bodies and answers: the names of their properties, and of the required ones;
- ``unions``: the members of those that ``_type`` tells apart.
"""

import inspect
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from support.specification import (
    as_data,
    examples_of,
    facts_in,
    finder,
    names,
    needed_by,
    response_with,
)

from sunshine_async import ApiError, Unset, dixa
from sunshine_async._calls.endpoint import Json
from sunshine_async._calls.retry import Replay
from sunshine_async._codec import decode, encode, structure, unstructure
from sunshine_async.dixa import custom_attributes, end_users

FACTS = facts_in("dixa-end-users.json")
OPERATIONS: Mapping[str, Any] = FACTS["operations"]
SCHEMAS: Mapping[str, Mapping[str, list[str]]] = FACTS["schemas"]
UNIONS: Mapping[str, list[str]] = FACTS["unions"]

ENDPOINTS = (*end_users.ENDPOINTS, *custom_attributes.ENDPOINTS)
RESOURCES: Mapping[type, ModuleType] = {
    dixa.EndUsers: end_users,
    dixa.CustomAttributes: custom_attributes,
}
FIELDS = {"end_user_id": "userId", "request_id": "requestId"}
"""What the path's fields are called in the specification."""
OURS = {
    "AnonymizationRequestStatus": "AnonymizationRequest",
    "Select1": "SelectDefinition",
    "Text2": "TextDefinition",
    "NotFound1": "NotFound",
    "BulkActionFailure_BulkError_EndUser": "BulkActionFailure",
    "BulkActionSuccess_BulkError_EndUser": "BulkActionSuccess",
}
"""What we call a schema that has another name there."""
BODIES = [name for name in SCHEMAS if name.endswith("Input")]
ANSWERS = [name for name in SCHEMAS if name not in BODIES]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

OF_ANSWERS = examples_of(OPERATIONS)
OF_ERRORS = examples_of(OPERATIONS, of_errors=True)

the = finder(ENDPOINTS)


def model(schema: str) -> Any:
    """Return the model of *schema*."""
    return getattr(dixa, OURS.get(schema, schema), None) or getattr(end_users, schema)


def same_times(value: Any) -> Any:
    """Return *value* with its times in one spelling: a round trip may change that."""
    if isinstance(value, dict):
        return {key: same_times(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [same_times(inner) for inner in value]
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value):
        return datetime.fromisoformat(value.removesuffix("[GMT]"))
    return value


def extras(value: Any) -> list[Any]:
    """Return what models in *value* keep beyond what they know."""
    if isinstance(value, list):
        return [one for inner in value for one in extras(inner)]
    if not attrs.has(type(value)):
        return []
    inner = [getattr(value, field.name) for field in attrs.fields(type(value))]
    return ([value.extra] if value.extra else []) + [one for each in inner for one in extras(each)]


def test_each_operation_is_declared_once() -> None:
    """There is one endpoint for each operation of the specification, and no other."""
    assert sorted(endpoint.operation for endpoint in ENDPOINTS) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_agrees_with_the_specification(operation: str) -> None:
    """Method, path, status of success, query parameters and body are those of the specification."""
    endpoint, facts = the(operation), OPERATIONS[operation]
    path = endpoint.path.format_map({name: f"{{{FIELDS[name]}}}" for name in endpoint.fields})
    body = facts["body"] and (Json if facts["body"].startswith("Map_") else model(facts["body"]))

    assert (endpoint.method, path) == (facts["method"], facts["path"])
    assert endpoint.ok == (facts["status"],)
    assert sorted(endpoint.query) == sorted(facts["query"])
    assert endpoint.accepts is body


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_method_names_its_operation(operation: str) -> None:
    """Each operation is named in the docstring of a method that sends it."""
    methods = [
        method
        for resource in RESOURCES
        for _, method in inspect.getmembers(resource, inspect.isfunction)
    ]

    assert [one for one in methods if re.search(rf"\b{operation}\b", one.__doc__ or "")]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_a_second_sending_can_do(operation: str) -> None:
    """What reads is safe, a create is not, and what sets values may be sent again."""
    endpoint = the(operation)

    assert (
        endpoint.replay
        is {
            "GET": Replay.SAFE,
            "POST": Replay.UNSAFE,
            "PATCH": Replay.IDEMPOTENT,
            "PUT": Replay.IDEMPOTENT,
        }[endpoint.method]
    )


@pytest.mark.parametrize(("operation", "status", "example"), OF_ANSWERS)
def test_an_example_of_an_answer_comes_back_equal(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an answer goes through the model of its operation and comes back equal."""
    endpoint = the(operation)

    result = endpoint.result(response_with(status, example))

    data = as_data(result)
    back = data if endpoint.inside is None else {endpoint.inside: data}
    assert same_times(back) == same_times(example)
    assert extras(result) == []


@pytest.mark.parametrize(("operation", "status", "example"), OF_ERRORS)
def test_an_example_of_an_error_is_read(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an error is an `ApiError` with the service's sentence."""
    error = the(operation).error(response_with(status, example), now=NOW)

    assert isinstance(error, ApiError)
    assert error.title == example["message"]
    assert error.code is None


@pytest.mark.parametrize("operation", [name for name, one in OPERATIONS.items() if one["body"]])
def test_an_example_of_a_body_comes_back_equal(operation: str) -> None:
    """Each example of a body goes through its model and comes back equal."""
    example = OPERATIONS[operation]["body_example"]
    kind = the(operation).accepts
    assert kind is not None
    body = Json(example).value if kind is Json else structure(example, kind)

    assert decode(encode(body)) == example
    assert extras(body) == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_model_has_the_fields_of_its_schema(schema: str) -> None:
    """A model has a field for each property of its schema, and the tag of its union."""
    kind = model(schema)

    assert names(kind) - {"_type"} == set(SCHEMAS[schema]["properties"]) - {"_type"}


@pytest.mark.parametrize("schema", BODIES)
def test_a_body_needs_what_its_schema_requires(schema: str) -> None:
    """What is required has to be given; all else may be left out, or be null."""
    kind = model(schema)
    hints = get_type_hints(kind)

    assert needed_by(kind) - {"data"} == set(SCHEMAS[schema]["required"])
    assert all(
        (one.default is attrs.NOTHING) != (Unset in get_args(hints[one.name]))
        for one in attrs.fields(kind)
        if one.name != "extra"
    )


@pytest.mark.parametrize("schema", ANSWERS)
def test_an_answer_may_leave_out_all_but_its_id(schema: str) -> None:
    """All fields of an answer may be absent, but for an id of its own and what it is there for."""
    assert needed_by(model(schema)) <= {"id", "data", "error"}


@pytest.mark.parametrize("union", UNIONS)
def test_a_union_has_the_members_of_its_schema(union: str) -> None:
    """Each kind that the specification tells apart is a class, and one more is for any other."""
    members = {member.__name__ for member in get_args(getattr(dixa, union))}
    other = [name for name in members if name.startswith("Unknown")]

    assert members - {*other} == {OURS.get(name, name) for name in UNIONS[union]}
    assert len(other) == 1


@pytest.mark.parametrize(
    ("union", "tag"), [(union, tag) for union, tags in UNIONS.items() for tag in tags]
)
def test_a_tag_tells_which_member_it_is(union: str, tag: str) -> None:
    """Data with the tag of a kind is read as that kind, and goes back out with the tag it had."""
    data = {"_type": tag, **({"id": 1} if union == "Conversation" else {})}

    read = structure(data, getattr(dixa, union))

    assert type(read) is model(tag)
    assert unstructure(read) == data


@pytest.mark.parametrize("union", [*UNIONS, "InputDefinition", "Outcome"])
@pytest.mark.parametrize("data", [{"_type": "New", "x": [1]}, {"x": 1}, {}])
def test_an_unknown_kind_keeps_everything(union: str, data: dict[str, Any]) -> None:
    """Data of no known kind is read as the unknown one, with everything in it."""
    read = structure(data, getattr(dixa, union))

    assert type(read).__name__.startswith("Unknown")
    assert unstructure(read) == data
