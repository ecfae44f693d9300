"""Arguments of calls: a value that would change the meaning of a request is refused by name."""

import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.clients import dixa, scripted, smooch, sunshine

from sunshine_async import Retry, SunshineError, bulk
from sunshine_async._calls.arguments import argument_of, check_type, count_text
from sunshine_async._calls.endpoint import Endpoint, query_text
from sunshine_async.dixa import end_users
from sunshine_async.smooch import app_users
from sunshine_async.sunshine import (
    UserCreateBody,
    apps,
    attachments,
    clients,
    conversations,
    devices,
    integrations,
    messages,
    oauth,
    participants,
    users,
)
from sunshine_async.testing import ScriptedTransport

MODULES = (
    apps, attachments, clients, conversations, devices, integrations, messages, oauth,
    participants, users, app_users, end_users,
)  # fmt: skip
PARAMETERS = [
    pytest.param(endpoint, key, id=f"{endpoint.operation} {key}")
    for module in MODULES
    for endpoint in module.ENDPOINTS
    for key in endpoint.query
]
ONCE = Retry(max_attempts=1)
TEXT = (str, str | None)


class Role(str, enum.Enum):  # noqa: UP042 - unlike a `StrEnum`, with another `str`
    """A text that is an `Enum`: as text, it is the name of the member."""

    MAKER = "appMaker"


class Size(int, enum.Enum):
    """A number that is an `Enum`."""

    TWO = 2


@pytest.mark.parametrize(("endpoint", "key"), PARAMETERS)
def test_an_empty_value_of_a_query_is_refused(endpoint: Endpoint[Any, Any], key: str) -> None:
    """An empty filter may count as no filter, which widens the request: the argument is named.

    Only an argument that the service doesn't need may be left out.
    """
    hint = "" if key in endpoint.needs else ", or leave it out"
    with pytest.raises(ValueError, match=f"^{argument_of(key)} is empty: hand in a text{hint}$"):
        endpoint.encode_query({key: ""})


@pytest.mark.parametrize(("endpoint", "key"), PARAMETERS)
@pytest.mark.parametrize("value", [5, b"x", ["x"]])
def test_a_value_of_a_query_is_text(endpoint: Endpoint[Any, Any], key: str, value: Any) -> None:
    """A value of another type is refused, by argument and type."""
    with pytest.raises(
        TypeError, match=f"^{argument_of(key)} must be text, not {type(value).__name__}$"
    ):
        endpoint.encode_query({key: value})


@pytest.mark.parametrize(("endpoint", "key"), PARAMETERS)
def test_none_leaves_out_only_what_may_be_left_out(endpoint: Endpoint[Any, Any], key: str) -> None:
    """None for a value that the service needs is refused: without, the request means another."""
    if key not in endpoint.needs:
        assert endpoint.encode_query({key: None}) == ""
        return
    with pytest.raises(TypeError, match=f"^{argument_of(key)} must be text, not NoneType"):
        endpoint.encode_query({key: None})


@pytest.mark.parametrize(
    ("parameter", "argument"),
    [
        ("brandId", "brand_id"),
        ("filter[identities.email]", "email"),
        ("filter[serviceAccountId]", "service_account_id"),
        ("page[after]", "after"),
        ("redirect_uri", "redirect_uri"),
        ("for", "for_"),
    ],
)
def test_a_parameter_has_the_name_of_its_argument(parameter: str, argument: str) -> None:
    """The name in an error is the name that the caller has typed."""
    assert argument_of(parameter) == argument


def text_arguments() -> Iterator[Any]:
    """Yield each method that needs texts only, each text that the method takes, unfit values."""
    for make in (sunshine, smooch, dixa):
        client = make(ScriptedTransport(()))
        found = {name: getattr(client, name) for name in dir(client) if name[0] != "_"}
        for resource, held in found.items():
            if not type(held).__module__.startswith(make.__name__, len("sunshine_async.")):
                continue
            for name, method in inspect.getmembers(held, inspect.ismethod):
                asked = inspect.signature(method, eval_str=True).parameters.values()
                needed = [one for one in asked if one.default is one.empty]
                if name[0] != "_" and all(one.annotation is str for one in needed):
                    for one in asked:
                        if one.annotation in TEXT and not (one in needed and name == "send_text"):
                            label = f"{resource}.{name} {one.name}"
                            names = [each.name for each in needed]
                            values = ["", 5, b"x", ("x",), *([None] if one in needed else [])]
                            for value in values:
                                case = (make, resource, name, names, one.name, value)
                                yield pytest.param(*case, id=f"{label} {value!r}")


async def use(call: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Call a method; begin with the list, or with the block, that the method returns."""
    made = call(**arguments)
    if isinstance(made, bulk.Outcomes) or hasattr(made, "__aenter__"):
        async with made:
            return
    await (made.first(1) if hasattr(made, "first") else made)


@pytest.mark.parametrize(
    ("make", "resource", "name", "needed", "argument", "value"), [*text_arguments()]
)
async def test_no_method_sends_an_empty_text_or_another_type(  # noqa: PLR0917 - a table
    make: Any, resource: str, name: str, needed: list[str], argument: str, value: Any
) -> None:
    """Ids, filters, cursors and keys are refused by name before anything is sent.

    So is None where the argument is needed: None never means the client's own app, or all users.
    """
    client, transport = scripted(client=make, retry=ONCE)
    needed = ["user_id"] if (resource, name) == ("conversations", "list") else needed
    arguments = {**dict.fromkeys(needed, "x"), argument: value}

    with pytest.raises((TypeError, ValueError), match=argument):
        await use(getattr(getattr(client, resource), name), arguments)

    assert transport.requests == []


REFUSED: list[tuple[Any, str, str, tuple[Any, ...], dict[str, Any], str]] = [
    (sunshine, "users", "list_by_email", (None,), {}, "^email must be text, not NoneType$"),
    (sunshine, "messages", "send_file", (None, b"x"), {}, "^conversation_id must be text"),
    (sunshine, "messages", "send_file", ("..", b"x"), {}, "^conversation_id can't be"),
    (sunshine, "messages", "send_file", ("c", b"x"), {"alt_text": 5}, "altText: expected text, got int$"),
    (sunshine, "messages", "send_text", ("c", "hi"), {"metadata": 5}, "^metadata must be a mapping"),
    (sunshine, "attachments", "upload", (b"x",), {"access": None}, "^access must be text"),
    (sunshine, "attachments", "upload", (b"x",), {"access": "public", "for_": ""}, "^for_ is empty"),
    (sunshine, "attachments", "upload", (b"x",), {"access": "public", "file_name": 5}, "^file_name must"),
    (sunshine, "attachments", "upload", (b"x",), {"access": "public", "content_type": 5}, "^content_type must"),
    (sunshine, "webhooks", "ensure", ("i", None, ["*"]), {}, "^target must be text, not NoneType$"),
    (sunshine, "webhooks", "ensure", ("i", "", ["*"]), {}, "^target is empty"),
    (sunshine, "webhooks", "ensure", ("i", "t", None), {}, "^triggers must be a list, .* not NoneType$"),
    (sunshine, "webhooks", "ensure", ("i", "t", ["*"]), {"replace": "no"}, "^replace must be True or"),
    (sunshine, "participants", "list", ("c",), {"page_size": True}, "^page_size must be an integer"),
    (sunshine, "participants", "list", ("c",), {"page_size": 1.5}, "^page_size must be an integer"),
    (sunshine, "participants", "list", ("c",), {"page_size": "5"}, "^page_size must be an integer"),
    (sunshine, "participants", "list", ("c",), {"after": 0}, "^after must be text, not int$"),
    (sunshine, "participants", "list", ("c",), {"before": []}, "^before must be text, not list$"),
    (sunshine, "activities", "typing", ("c",), {"interval": None}, "^interval must be a number"),
    (sunshine, "activities", "typing", ("c",), {"interval": True}, "^interval must be a number"),
    (smooch, "app_users", "link_requests", ("u", None), {}, "^integration_ids must be a list"),
    (smooch, "app_users", "link_requests", ("u", [5]), {}, "^each of integration_ids must be text"),
    (smooch, "app_users", "post_image", ("u", b"x"), {"role": 5}, "^role must be text, not int$"),
    (dixa, "end_users", "list", (), {"email": ""}, "^email is empty"),
    (dixa, "end_users", "list", (), {"page_limit": False}, "^page_limit must be an integer"),
    (dixa, "end_users", "conversations", ("u",), {"page_limit": 0}, "^page_limit=0: 1 or more$"),
    (dixa, "end_users", "anonymize", ("u",), {"force": "false"}, "^force must be True or False"),
    (dixa, "end_users", "patch_custom_attributes", ("u", None), {}, "^values must be a mapping"),
    (dixa, "end_users", "create_bulk", ([],), {}, "^bodies is empty"),
    (dixa, "end_users", "patch_bulk", ("ab",), {}, "^bodies must be a list"),
    (dixa, "end_users", "update_bulk", (None,), {}, "^bodies must be a list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "resource", "name", "given", "options", "reason"),
    [pytest.param(*one, id=f"{number} {one[2]}") for number, one in enumerate(REFUSED)],
)
async def test_an_argument_that_means_something_else_is_refused(  # noqa: PLR0917 - a table
    make: Any,
    resource: str,
    name: str,
    given: tuple[Any, ...],
    options: dict[str, Any],
    reason: str,
) -> None:
    """The error names the argument, before anything is sent."""
    client, transport = scripted(client=make, retry=ONCE)

    with pytest.raises((TypeError, ValueError), match=reason):
        await use(lambda: getattr(getattr(client, resource), name)(*given, **options), {})

    assert transport.requests == []


@pytest.mark.parametrize(
    ("make", "resource", "name"),
    [
        (sunshine, "users", "update_many"),
        (sunshine, "messages", "post_many"),
        (smooch, "app_users", "update_many"),
    ],
)
@pytest.mark.parametrize("item", ["ab", None, ("a",), {"a": 1}])
async def test_an_item_that_is_no_pair_fails_by_name(
    make: Any, resource: str, name: str, item: Any
) -> None:
    """The outcome of an item that is no pair says so."""
    client, transport = scripted(client=make, retry=ONCE)

    async with getattr(getattr(client, resource), name)([item]) as outcomes:
        [outcome] = [one async for one in outcomes]

    assert isinstance(outcome, bulk.Failed)
    assert str(outcome.error).startswith(
        f"an item must be a pair (id, body), not {type(item).__name__}"
    )
    assert transport.requests == []


@pytest.mark.parametrize(
    ("make", "resource", "name", "takes"),
    [
        (sunshine, "users", "create_many", "CreateUser takes UserCreateBody"),
        (sunshine, "users", "upsert_many", "CreateUser takes UserCreateBody"),
        (smooch, "app_users", "pre_create_many", "preCreateAppUser takes AppUserPreCreate"),
        (smooch, "app_users", "upsert_many", "preCreateAppUser takes AppUserPreCreate"),
    ],
)
async def test_an_item_that_is_no_body_fails_by_name(
    make: Any, resource: str, name: str, takes: str
) -> None:
    """The outcome of an item that is no body names the body that fits."""
    client, _ = scripted(client=make, retry=ONCE)

    async with getattr(getattr(client, resource), name)([{"externalId": "a"}]) as outcomes:
        [outcome] = [one async for one in outcomes]

    assert isinstance(outcome, bulk.Failed)
    assert str(outcome.error).startswith(f"{takes}, not dict: from_dict(")


async def test_an_empty_brand_never_means_no_brand() -> None:
    """The upsert of a body with an empty brand changes no user without a brand."""
    client, transport = scripted(409, 409, retry=ONCE)
    body = UserCreateBody(external_id="jane", brand_id="")

    for call in (client.users.upsert, client.users.get_or_create):
        with pytest.raises(ValueError, match=r"^brand_id is empty"):
            await call(body)

    assert {request.method for request in transport.requests} == {"POST"}


async def test_an_enum_goes_out_by_value() -> None:
    """A member of an `Enum` of texts or numbers is sent as the value, never as the name."""
    client, transport = scripted(400, 400, 400, 400, client=smooch, retry=ONCE)
    other, wire = scripted(400, retry=ONCE)

    for query in ({"a": Role.MAKER}, {"a": Size.TWO}, {"a": True, "b": 1.5, "c": None}):
        with pytest.raises(SunshineError):
            await client.request("GET", "/v1.1/x", query=query)
    with pytest.raises(SunshineError):
        await client.app_users.post_image("u", b"x", role=Role.MAKER, file_name=Role.MAKER)
    with pytest.raises(SunshineError):
        await other.participants.list("c", after=Role.MAKER, page_size=Size.TWO).first(1)

    *gets, post = transport.requests
    assert [request.url.query for request in (*gets, *wire.requests)] == [
        b"a=appMaker", b"a=2", b"a=true&b=1.5", b"page%5Bsize%5D=2&page%5Bafter%5D=appMaker",
    ]  # fmt: skip
    assert b"\r\n\r\nappMaker\r\n" in post.content
    assert b'filename="appMaker"' in post.content


async def test_a_free_request_may_have_an_empty_value() -> None:
    """Nobody can tell what an empty value means to an operation that isn't declared."""
    client, transport = scripted((200, {}), retry=ONCE)

    await client.request("GET", "/v2/x", query={"flag": ""})
    with pytest.raises(TypeError, match=r"^filter\[x\] must be text, not list$"):
        await client.request("GET", "/v2/x", query={"filter[x]": ["a"]})

    assert [request.url.query for request in transport.requests] == [b"flag="]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"method": None}, "method must be text, not NoneType"),
        ({"template": 7}, "template must be text, not int"),
        ({"path": "id"}, "path must be a mapping, not str"),
        ({"query": [("a", "b")]}, "query must be a mapping, not list"),
        ({"replay": True}, "replay must be a Replay, such as Replay.SAFE, not bool"),
    ],
)
async def test_a_free_request_names_an_argument_of_another_type(
    arguments: dict[str, Any], says: str
) -> None:
    """The arguments of `Client.request` are checked before anything is sent."""
    client, transport = scripted()
    given: dict[str, Any] = {"method": "GET", "template": "/v2/x", **arguments}

    with pytest.raises(TypeError, match=f"^{says}$"):
        await client.request(given.pop("method"), given.pop("template"), **given)

    assert not transport.requests


def test_types_are_checked_strictly() -> None:
    """A boolean is no number; an integer is one; any mapping is a mapping."""
    check_type("x", int, float)
    check_type("x", bool, bool)
    assert count_text("x", Size.TWO, 5) == "2"
    assert query_text(Size.TWO) == "2"
    for wanted in (int, float):
        with pytest.raises(TypeError, match=r"^x must be an? \w+, not bool$"):
            check_type("x", bool, wanted)
