r"""The operations and models of Sunshine users agree with the vendor's specification.

``data/sunshine-users.json`` holds the facts, taken from its OpenAPI file (17.12.1) like this, with
every ``$ref`` followed and every ``allOf`` merged:

- ``operations``: of each path that ``/v2/apps/{appId}/users(/{\w+}(/personalinformation|/sync)?)?``
  matches, by ``operationId``: method, path, status (the 2xx one), query (name: whether required; an
  object in the style ``deepObject`` is ``filter[property]``), body (the name of its schema) and
  whether that is required, examples (status: the value of the answer's example);
- ``schemas``: of the bodies, ``profile``, ``identity`` and ``user``: property: whether nullable (an
  outer ``nullable`` goes before the one of what it wraps);
- ``body_examples``: of the bodies and of ``profile``: property: its example.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import NoneType
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
    required_arguments,
    response_with,
)

from sunshine_async import Unset
from sunshine_async._calls.retry import Replay
from sunshine_async._codec import decode, encode, structure, wire_name
from sunshine_async.errors import ApiError
from sunshine_async.sunshine import (
    Identity,
    Profile,
    SyncUserBody,
    User,
    UserCreateBody,
    UserProfile,
    Users,
    UserUpdateBody,
)
from sunshine_async.sunshine.users import ENDPOINTS

FACTS = facts_in("sunshine-users.json")
OPERATIONS: Mapping[str, Any] = FACTS["operations"]
SCHEMAS: Mapping[str, Mapping[str, bool]] = FACTS["schemas"]

BODIES: Mapping[str, type[attrs.AttrsInstance]] = {
    "userCreateBody": UserCreateBody,
    "userUpdateBody": UserUpdateBody,
    "syncUserBody": SyncUserBody,
    "profile": Profile,
}
ANSWERS: Mapping[str, type[attrs.AttrsInstance]] = {
    "user": User,
    "profile": UserProfile,
    "identity": Identity,
}
BEYOND: Mapping[type, set[str]] = {
    User: {"hasPaymentInfo"},  # in the examples of the specification, not in its schemas
    UserProfile: {"localeOrigin"},
}

OF_ANSWERS = examples_of(OPERATIONS)
OF_ERRORS = examples_of(OPERATIONS, of_errors=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

the = finder(ENDPOINTS)


def without_null(value: Any) -> Any:
    """Return *value* with null as what it stands for: nothing."""
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def test_each_operation_is_declared_once() -> None:
    """There is one endpoint for each operation of the specification, and no other."""
    assert sorted(endpoint.operation for endpoint in ENDPOINTS) == sorted(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_agrees_with_the_specification(operation: str) -> None:
    """Method, path, status of success, query parameters and body are those of the specification."""
    endpoint, facts = the(operation), OPERATIONS[operation]
    path = endpoint.path.format_map({name: f"{{{wire_name(name)}}}" for name in endpoint.fields})

    assert (endpoint.method, path) == (facts["method"], facts["path"])
    assert endpoint.ok == (facts["status"],)
    assert sorted(endpoint.query) == sorted(facts["query"])
    assert endpoint.accepts is BODIES.get(facts["body"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_method_asks_for_what_is_needed_by(operation: str) -> None:
    """A method can't be called without its id, its body and the query that the service requires."""
    endpoint, facts = the(operation), OPERATIONS[operation]

    assert required_arguments(Users, operation) == sum(
        [len(set(endpoint.fields) - {"app_id"}), facts["body_required"], *facts["query"].values()]
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_what_reads_is_safe(operation: str) -> None:
    """GET is the only method that is said to only read."""
    endpoint = the(operation)

    assert (endpoint.replay is Replay.SAFE) == (endpoint.method == "GET")


@pytest.mark.parametrize(("operation", "status", "example"), OF_ANSWERS)
def test_an_example_of_an_answer_comes_back_equal(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an answer goes through the model of its operation and comes back equal."""
    endpoint = the(operation)
    result = endpoint.result(response_with(status, example))

    if endpoint.inside is None:
        assert (result, example) == (None, {})
    else:
        assert without_null(as_data(result)) == without_null(example[endpoint.inside])


@pytest.mark.parametrize(("operation", "status", "example"), OF_ANSWERS)
def test_an_example_of_an_answer_has_nothing_unknown(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """The models know every key of the examples."""
    for user in [example.get("user"), *example.get("users", [])]:
        if user is not None:
            read = structure(user, User)
            parts = [read, read.profile, *(read.identities or [])]
            assert not any(part.extra for part in parts if part is not None)


@pytest.mark.parametrize(("operation", "status", "example"), OF_ERRORS)
def test_an_example_of_an_error_is_read(
    operation: str, status: int, example: dict[str, Any]
) -> None:
    """Each example of an error is an `ApiError` with its code and title."""
    error = the(operation).error(response_with(status, example), now=NOW)

    assert isinstance(error, ApiError)
    assert [{"code": one.code, "title": one.title} for one in error.errors] == example["errors"]


@pytest.mark.parametrize("name", BODIES)
def test_an_example_of_a_body_comes_back_equal(name: str) -> None:
    """Each example of a body goes through its model and comes back equal."""
    example = FACTS["body_examples"][name]
    body = structure(example, BODIES[name])

    assert decode(encode(body)) == example


@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_null_for_all_that_may_be_null(name: str) -> None:
    """A body in which everything that may be null is null comes back equal."""
    nulls = {key: None for key, nullable in SCHEMAS[name].items() if nullable}

    assert decode(encode(structure(nulls, BODIES[name]))) == nulls


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_fields_of_its_schema(name: str) -> None:
    """A body has a field for each property of its schema, and no other."""
    assert names(BODIES[name]) == set(SCHEMAS[name])


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_fields_of_its_schema(name: str) -> None:
    """A model of an answer has a field for each property of its schema, and what examples add."""
    kind = ANSWERS[name]

    assert names(kind) == set(SCHEMAS[name]) | BEYOND.get(kind, set())


@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_none_exactly_where_the_service_takes_null(name: str) -> None:
    """A field of a body may be left out, and may be None where its property is nullable."""
    hints = get_type_hints(BODIES[name])
    del hints["extra"]

    assert all(Unset in get_args(hint) for hint in hints.values())
    assert {
        wire_name(field): NoneType in get_args(hint) for field, hint in hints.items()
    } == SCHEMAS[name]


@pytest.mark.parametrize("kind", ANSWERS.values())
def test_an_answer_may_leave_out_all_but_its_id(kind: type[attrs.AttrsInstance]) -> None:
    """All fields of an answer may be absent, but for the id."""
    assert needed_by(kind) == ({"id"} if kind is User else set())
