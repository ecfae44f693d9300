r"""The operations and models of Smooch app users agree with the vendor's specification.

``data/smooch-app-users.json`` holds the facts, taken from its Swagger file (5.34) like this:

- ``operations``: of each path below ``/v1.1/apps/{appId}/appusers`` but those of messages and
  conversations, by ``operationId``: method, path, status (the only one), query (name: whether
  required), body (the name of its schema), form (name: type), answer (the name of its schema);
- ``schemas``: all that these refer to, in turn too: required, and properties (name: type, the name of
  a schema, or one of these in brackets for a list of it);

and ``answers``, ``bodies`` and ``errors``: examples, put together from the vendor's documentation,
recorded answers and the fixtures of other clients, with what those have beyond the specification.
"""

import inspect
import pickle
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.specification import (
    facts_in,
    finder,
    names,
    needed_by,
    required_arguments,
    response_with,
)

from sunshine_async import Unset, smooch
from sunshine_async._calls.forms import Form
from sunshine_async._calls.retry import Replay
from sunshine_async._codec import (
    Misfit,
    decode,
    encode,
    structure,
    structure_body,
    unstructure,
)
from sunshine_async._codec.model import Model, UnixTime
from sunshine_async.errors import ApiError
from sunshine_async.smooch import (
    Action,
    AppUser,
    AppUserBusinessSystemsResponse,
    AppUserChannelsResponse,
    AppUserLink,
    AppUserMerge,
    AppUserPreCreate,
    AppUsers,
    AppUserUpdate,
    Client,
    ClientInfo,
    Confirmation,
    LinkRequest,
    LinkRequestResponse,
    MergedUser,
    Message,
    MessageResponse,
    Source,
)
from sunshine_async.smooch.app_users import ENDPOINTS

FACTS = facts_in("smooch-app-users.json")
OPERATIONS: Mapping[str, Any] = FACTS["operations"]
SCHEMAS: Mapping[str, Any] = FACTS["schemas"]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

BODIES: Mapping[str, type[attrs.AttrsInstance]] = {
    "AppUserPreCreate": AppUserPreCreate,
    "AppUserUpdate": AppUserUpdate,
    "AppUserLink": AppUserLink,
    "AppUserMerge": AppUserMerge,
}
PARTS_OF_BODIES = {"Confirmation": Confirmation, "MergedUser": MergedUser}
ENVELOPES = {"AppUserResponse", "AuthCodeResponse"}
RENAMED = {"LinkRequestResponse_linkRequests": LinkRequest}
MODELS: Mapping[str, type[attrs.AttrsInstance]] = {
    name: RENAMED.get(name) or getattr(smooch, name) for name in SCHEMAS if name not in ENVELOPES
}
ANSWERS = [name for name in MODELS if name not in BODIES and name not in PARTS_OF_BODIES]
BEYOND: Mapping[type, set[str]] = {
    AppUser: {"avatarUrl", "credentialRequired", "devices", "hasPaymentInfo"},
    AppUserPreCreate: {"avatarUrl"},
    AppUserUpdate: {"avatarUrl"},
    AppUserLink: {"primary"},
    Client: {"avatarUrl", "blocked", "deviceId", "linkedAt", "primary"},
    Source: {"integrationId"},
}
"""In guides, in recorded answers or in older specifications."""

EXAMPLES = [
    pytest.param(operation, example, id=f"{operation}-{number}")
    for operation, examples in FACTS["answers"].items()
    for number, example in enumerate(examples)
]

the = finder(ENDPOINTS)


def test_each_operation_is_declared_once() -> None:
    """There is one endpoint for each operation of the specification, and no other."""
    assert sorted(endpoint.operation for endpoint in ENDPOINTS) == sorted(OPERATIONS)
    assert len(ENDPOINTS) == 13


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_agrees_with_the_specification(operation: str) -> None:
    """Method, path, query, body and status of success are those of the specification."""
    endpoint, facts = the(operation), OPERATIONS[operation]
    camel = {"app_id": "{appId}", "user_id": "{userId}", "channel": "{channel}"}
    accepts = Form if facts["form"] else BODIES.get(facts["body"])

    assert (endpoint.method, endpoint.path.format_map(camel)) == (facts["method"], facts["path"])
    assert endpoint.ok == (facts["status"],)
    assert list(endpoint.query) == list(facts["query"])
    assert {*endpoint.needs} == {name for name, needed in facts["query"].items() if needed}
    assert endpoint.accepts is accepts


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_endpoint_returns_what_the_specification_says(operation: str) -> None:
    """The answer is read as its schema, or as what is in its envelope."""
    endpoint, schema = the(operation), OPERATIONS[operation]["answer"]
    if schema in ENVELOPES:
        [[name, kind]] = SCHEMAS[schema]["properties"].items()
        assert endpoint.inside == name
        assert endpoint.returns is (str if kind == "string" else getattr(smooch, kind))
    else:
        assert endpoint.inside is None
        assert endpoint.returns is (type(None) if schema is None else getattr(smooch, schema))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_method_asks_for_what_is_needed_by(operation: str) -> None:
    """A method can't be called without its ids, its body, its query and its form."""
    facts = OPERATIONS[operation]
    in_path = len(the(operation).fields) - 1

    assert required_arguments(AppUsers, operation) == in_path + len(facts["query"]) + len(
        facts["form"]
    ) + bool(facts["body"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_what_reads_is_safe(operation: str) -> None:
    """GET is the only method that is said to only read."""
    assert (the(operation).replay is Replay.SAFE) == (the(operation).method == "GET")


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
def test_an_answer_comes_back_equal(operation: str, example: dict[str, Any]) -> None:
    """Each example of an answer goes through its model and comes back equal."""
    endpoint = the(operation)

    result = endpoint.result(response_with(endpoint.ok[0], example))

    if endpoint.returns is type(None):
        assert result is None
    else:
        assert unstructure(result) == (example[endpoint.inside] if endpoint.inside else example)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_comes_back_equal(name: str) -> None:
    """Each example of a body goes through its model and comes back equal, null too."""
    example = FACTS["bodies"][name]

    assert decode(encode(structure(example, BODIES[name]))) == example


@pytest.mark.parametrize(("status", "example"), FACTS["errors"])
def test_an_error_is_read_in_either_shape(status: int, example: dict[str, Any]) -> None:
    """Errors of v1.1, and of v2 where those come, have their code and their text."""
    error = the("getAppUser").error(response_with(status, example), now=NOW)
    [said] = example.get("errors") or [example["error"]]

    assert isinstance(error, ApiError)
    assert (error.code, error.title) == (said["code"], said.get("title") or said["description"])


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_fields_of_its_schema(name: str) -> None:
    """A model has a field for each property of its schema, and what is known beyond it."""
    kind = MODELS[name]

    assert names(kind) == set(SCHEMAS[name]["properties"]) | BEYOND.get(kind, set())


@pytest.mark.parametrize("name", ANSWERS)
def test_any_field_of_an_answer_may_be_absent_or_null(name: str) -> None:
    """An answer may be empty, and all in it may be null: that reads as None."""
    kind = MODELS[name]
    nulls = dict.fromkeys(names(kind))

    assert structure({}, kind) == structure(nulls, kind) == kind()
    assert {getattr(kind(), field.name) for field in attrs.fields(kind) if field.name != "extra"} == {None}  # fmt: skip


@pytest.mark.parametrize("name", [*BODIES, *PARTS_OF_BODIES])
def test_a_body_asks_for_what_is_needed_by(name: str) -> None:
    """What its schema requires has no default, and all else can be left out."""
    kind = MODELS[name]
    needed = needed_by(kind)
    hints = get_type_hints(kind)
    open_ = {name for name, hint in hints.items() if Unset in get_args(hint)}

    assert needed == set(SCHEMAS[name]["required"]) | ({"_id"} if kind is MergedUser else set())
    assert len(open_) + len(needed) + 1 == len(hints)


@pytest.mark.parametrize("name", ["ConfirmationMessage", "ConfirmationAction"])
def test_a_confirmation_says_what_a_message_can(name: str) -> None:
    """The message of a confirmation has only fields that a message has."""
    of_answers = {"ConfirmationMessage": Message, "ConfirmationAction": Action}

    assert names(getattr(smooch, name)) < names(of_answers[name])


def test_the_package_has_every_model() -> None:
    """Each model of the modules can be imported from the package."""
    modules = (smooch.models, smooch.links, smooch.messages)
    there = {one for module in modules for _, one in inspect.getmembers(module, attrs.has)}
    there = {one for one in there if issubclass(one, Model)}

    assert {one for _, one in inspect.getmembers(smooch, attrs.has)} - {AppUsers} == there - {Model}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_unknown_is_kept(name: str) -> None:
    """What a model doesn't know is in *extra*, and goes back out."""
    known = {"type": "new", "userId": "u", "_id": "i", "confirmation": {"type": "newer"}}
    data: dict[str, Any] = {
        key: value for key, value in known.items() if key in names(MODELS[name])
    }
    if name == "AppUserMerge":
        data = {"surviving": {"_id": "a"}, "discarded": {"_id": "b"}}
    data |= {"newKey": {"deep": [None, 1.5]}, "id": 5} if name not in {"Client", "Source"} else {"newKey": 1}  # fmt: skip

    model: Any = structure(data, MODELS[name])

    assert model.extra["newKey"] == data["newKey"]
    assert unstructure(model) == data


def test_both_ids_of_a_client_are_kept() -> None:
    """A client's ``id`` and ``_id`` may be there both, and differ."""
    client = structure({"id": "a", "_id": "b"}, Client)

    assert (client.id, client.extra) == ("a", {"_id": "b"})
    assert unstructure(client) == {"id": "a", "_id": "b"}


def test_a_misfit_has_the_name_of_the_wire() -> None:
    """A value that doesn't fit is named as the service names it."""
    data = {"message": {"quotedMessage": {"content": {"_id": 4}}}}

    with pytest.raises(Misfit, match=r"^message\.quotedMessage\.content\._id: expected text"):
        structure_body(data, MessageResponse)
    assert unstructure(structure(data, MessageResponse)) == data


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        ({"userId": ""}, AppUserPreCreate, "^user_id is empty"),
        ({"givenName": "J"}, AppUserPreCreate, "^userId: missing"),
        ({"properties": {"a": {}}}, AppUserUpdate, r"^properties\.a is dict"),
        ({"surviving": {"_id": ""}, "discarded": {"_id": "1"}}, AppUserMerge, "^surviving: id is"),
        (
            {"type": "twilio", "confirmation": {"type": "userActivity"}},
            AppUserLink,
            "^confirmation: message is not set",
        ),
    ],
)
def test_what_a_body_refuses_is_a_misfit(data: object, kind: type[Any], says: str) -> None:
    """A body that is read, as from a row, says where it is not as it should be."""
    with pytest.raises(Misfit, match=says):
        structure_body(data, kind)


class TestTimes:
    """The times of messages."""

    @given(st.floats(-6.2e10, 2.5e11) | st.integers(-62_000_000_000, 250_000_000_000))
    def test_a_time_goes_out_as_it_came(self, seconds: float) -> None:
        """Any number of seconds becomes an aware time, and comes back to the last digit."""
        data = {"received": seconds}

        message = structure(data, Message)

        assert message.received is not None
        assert message.received.utcoffset() is not None
        assert abs(message.received.timestamp() - seconds) < 1e-4
        assert decode(encode(message)) == data
        assert type(decode(encode(message))["received"]) is type(seconds)

    def test_it_is_a_time_like_any_other(self) -> None:
        """It compares with, and is taken from, aware times; a changed one is written as it is."""
        message = structure({"received": 1444348338.704}, Message)

        assert message.received == datetime(2015, 10, 8, 23, 52, 18, 704000, tzinfo=UTC)
        later = message.received.replace(microsecond=500_000)
        assert isinstance(later, UnixTime)
        assert decode(encode(attrs.evolve(message, received=later))) == {"received": 1444348338.5}
        assert encode(pickle.loads(pickle.dumps(message))) == encode(message)  # noqa: S301

    @pytest.mark.parametrize("seconds", ["2015-10-08", True, 1e300, -1e300])
    def test_what_is_no_time_is_a_misfit(self, seconds: object) -> None:
        """Text, and what no calendar has, is no time."""
        with pytest.raises(Misfit, match=r"^received: expected a"):
            structure_body({"received": seconds}, Message)


SHOWN = {
    "app_name", "app_version", "author_id", "channel_id", "conversation_id", "currency",
    "device_model", "device_platform", "external_message_id", "id", "image_aspect_ratio",
    "integration_id", "locale", "media_type", "os", "os_version", "original_message_id",
    "platform", "radio_access_technology", "role", "size", "status", "ticket_id", "type", "wifi",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [one for _, one in inspect.getmembers(smooch, attrs.has) if one is not AppUsers]
)
def test_a_repr_shows_no_personal_data(kind: type[Any]) -> None:
    """A ``repr`` shows ids of the service's own and kinds, and nothing else as it is."""
    hints = get_type_hints(kind)
    texts = {
        name: f"the {name}" for name, hint in hints.items() if hint is str or str in get_args(hint)
    }
    given_: dict[type, dict[str, Any]] = {
        AppUserMerge: {"surviving": "a", "discarded": "b"},
        AppUserLink: {"confirmation": Confirmation(type="x")},
    }
    texts.pop("extra")
    objects = {
        name: {"key": 5} for name in ("extra", "raw", "metadata", "properties") if name in hints
    }
    shown = repr(kind(**texts, **objects, **given_.get(kind, {})))
    allowed = SHOWN | ({"name"} if kind is smooch.Field else set())

    assert {name for name in texts if f"the {name}" in shown} == allowed & set(texts)
    assert "key" not in shown


def test_lists_are_lists_where_they_are_absent() -> None:
    """The models of lists that may be absent say so, and the methods give an empty list."""
    assert AppUserChannelsResponse().channels is None
    assert AppUserBusinessSystemsResponse().business_systems is None
    assert LinkRequestResponse().link_requests is None
    assert ClientInfo().timezone is None
