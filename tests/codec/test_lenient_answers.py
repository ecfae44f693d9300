"""Answers are read leniently: every optional field of every model, and every type of JSON in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

import attrs
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.size import sized
from support.specification import needed_by

from sunshine_async import (
    BasicAuth,
    ConflictError,
    ConnectionLostError,
    Pace,
    ResponseDecodeError,
    Retry,
    SunshineClient,
    dixa,
)
from sunshine_async._codec import is_unreadable, name_of, structure, structure_inside, unstructure
from sunshine_async._codec.model import TAG, UnixTime
from sunshine_async.auth import ApiToken
from sunshine_async.bulk import Done, Failed, Unknown
from sunshine_async.dixa import (
    CreateEndUserInput,
    DixaClient,
    EndUser,
    custom_attributes,
    end_users,
)
from sunshine_async.smooch import AppUser, AppUserPreCreate, Message, SmoochClient, app_users
from sunshine_async.sunshine import User, UserCreateBody, conversations, messages, users
from sunshine_async.testing import Answer, ScriptedTransport, no_waiting

ENDPOINTS = (
    *users.ENDPOINTS,
    *app_users.ENDPOINTS,
    *end_users.ENDPOINTS,
    *custom_attributes.ENDPOINTS,
    *conversations.ENDPOINTS,
    *messages.ENDPOINTS,
)
ODD: Final[tuple[Any, ...]] = (
    None, True, 0, 1.5, 4.0, 2**70, 2.0**70, "", "text", [], [None], {}, {"a": 1},
)  # fmt: skip
"""Every type of JSON, and its edges."""
FITTING: Final[Mapping[Any, Any]] = {
    str: "a text",
    bool: True,
    int: 3,
    float: 2.5,
    datetime: "2020-05-21T15:53:30.197Z",
    UnixTime: 1444348338.704,
    Any: "anything",
    Mapping: {"key": 1},
}
TAKEN: Final[Mapping[Any, tuple[type, ...]]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    UnixTime: (int, float),
    Mapping: (dict,),
}


def members(hint: Any) -> list[Any]:
    """Return what *hint* may be, None left out."""
    several = get_args(hint) if get_origin(hint) not in (list, Mapping, None) else (hint,)
    return [one for one in several or (hint,) if one is not NoneType]


def models(hint: Any) -> Iterator[Any]:
    """Return the models in *hint*."""
    for one in members(hint):
        if attrs.has(one):
            yield one
        elif get_origin(one) is list:
            yield from models(get_args(one)[0])


def reachable(hints: Iterator[Any]) -> set[Any]:
    """Return the models in *hints*, and those in their fields."""
    found: set[Any] = set()
    waiting = [*hints]
    while waiting:
        kind = waiting.pop()
        if kind not in found:
            found.add(kind)
            waiting += [one for hint in get_type_hints(kind).values() for one in models(hint)]
    return found


ANSWERS = sorted(
    reachable(one for endpoint in ENDPOINTS for one in models(endpoint.returns)),
    key=lambda kind: f"{kind.__module__}.{kind.__name__}",
)


def fitting(hint: Any, depth: int = 0) -> Any:
    """Return JSON that fits *hint*."""
    one = members(hint)[0]
    if get_origin(one) is list:
        return [] if depth > 3 else [fitting(get_args(one)[0], depth)]
    return whole(one, depth + 1) if attrs.has(one) else FITTING[get_origin(one) or one]


def whole(kind: Any, depth: int = 0) -> dict[str, Any]:
    """Return JSON with every field of *kind*; below a few levels with the needed ones alone."""
    hints = get_type_hints(kind)
    return {
        name_of(field): field.default
        if TAG in field.metadata and field.default
        else fitting(hints[field.name], depth)
        for field in attrs.fields(kind)
        if field.name != "extra" and (depth < 3 or field.default is attrs.NOTHING)
    }


def reads(hint: Any, raw: Any) -> bool:
    """Return whether *raw* is JSON as *hint* wants it, in its own level."""
    if len(members(hint)) > 1 and all(map(attrs.has, members(hint))) and type(raw) is dict:
        return True  # a union: the fallback takes any object
    if raw is None:
        return NoneType in get_args(hint) or hint is Any
    kinds = [get_origin(one) or one for one in members(hint)]
    if UnixTime in kinds and type(raw) in (int, float) and raw > 10**12:
        return False  # in no calendar
    if int in kinds and type(raw) is float and raw.is_integer() and abs(raw) < 2**53:
        return True  # 4.0 is the same number of JSON as 4
    return any(
        kind is Any
        or (type(raw) is list if kind is list else type(raw) in TAKEN.get(kind, ()))
        or (attrs.has(kind) and type(raw) is dict and raw.keys() >= needed_by(kind))
        for kind in kinds
    )


def expected(field: "attrs.Attribute[Any]", hint: Any, raw: Any) -> Any:
    """Return the reading of a *raw* value that doesn't fit."""
    number = (type(raw) in (int, float) and abs(raw) < 2**53) or type(raw) is int
    wire = name_of(field)
    if str in members(hint) and number and (wire in ("id", "_id") or wire.endswith("Id")):
        return f"{raw}".removesuffix(".0")
    return field.default


def test_the_space_is_whole() -> None:
    """Every model of an answer is among those that are tested."""
    assert {"User", "AppUser", "EndUser", "Message", "EmailConversation", "SelectOption"} <= {
        kind.__name__ for kind in ANSWERS
    }
    assert len(ANSWERS) > 60


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_a_field_that_does_not_fit_is_unknown(kind: Any) -> None:
    """Any JSON in any optional field: no error, None, the raw value kept, all else as it was."""
    hints, fits = get_type_hints(kind), whole(kind)
    for field in attrs.fields(kind):
        if field.name == "extra" or field.default is attrs.NOTHING:
            continue
        wire, hint = name_of(field), hints[field.name]
        rest = {key: value for key, value in fits.items() if key != wire}
        others = {**vars(structure(rest, kind)), "extra": {}, field.name: None}
        for raw in ODD:
            data = {**fits, wire: raw}
            found = structure(data, kind)

            assert {**vars(found), "extra": {}, field.name: None} == others
            check(found, field, hint, raw)
            back = rest if raw is None and reads(hint, None) else data
            assert unstructure(found) == back
            assert structure(unstructure(found), kind) == found


def check(found: Any, field: "attrs.Attribute[Any]", hint: Any, raw: Any) -> None:
    """Check what *found* has of the *raw* value of one *field*."""
    value = getattr(found, field.name)
    if not reads(hint, raw):
        assert value == expected(field, hint, raw)
        assert found.extra == {name_of(field): raw}
        assert is_unreadable(found, field.name) or isinstance(value, str)
    elif raw == [None] and "Any" not in str(hint):
        assert value == []
        assert found.extra == {name_of(field): raw}
        assert is_unreadable(found, field.name)
    else:
        assert found.extra == {}
        assert not is_unreadable(found, field.name)


IDENTIFIED = [
    kind
    for kind in ANSWERS
    if "id" in attrs.fields_dict(kind) and attrs.fields_dict(kind)["id"].default is attrs.NOTHING
]


@pytest.mark.parametrize("kind", IDENTIFIED)
def test_an_id_is_a_text_or_a_number(kind: Any) -> None:
    """A needed id that can't be read is refused, alone in a list too; the number of a text isn't."""
    field, hint, fits = attrs.fields_dict(kind)["id"], get_type_hints(kind)["id"], whole(kind)
    for raw in ODD:
        data = {**fits, "id": raw}
        if reads(hint, raw) or expected(field, hint, raw) is not attrs.NOTHING:
            found = structure(data, kind)
            assert str(found.id) == str(raw).removesuffix(".0")
            assert unstructure(found) == data
            continue
        with pytest.raises(ValueError, match=r"^id: expected"):
            structure(data, kind)
        listed = structure_inside({"data": [data, fits, None]}, "data", list[kind])
        assert listed == [structure(fits, kind)]
        with pytest.raises(ValueError, match=r"^data\[0\]\.id: expected"):
            structure_inside({"data": [data, None]}, "data", list[kind])


LOST = httpx.ReadError("")
TAKEN_409: Answer = (409, {"errors": [{"code": "conflict", "title": "taken"}]})
NEW = UserCreateBody(external_id="5", brand_id="7")
DEEP: Any = json.loads("[" * 900 + "]" * 900)


def sunshine(*answers: Answer) -> tuple[SunshineClient, ScriptedTransport]:
    """Return a client of Sunshine whose calls are given *answers*, and the transport."""
    transport = ScriptedTransport(answers)
    return SunshineClient("app", auth=BasicAuth("key", "secret"), transport=transport), transport


def smooch(*answers: Answer) -> SmoochClient:
    """Return a client of Smooch whose calls are given *answers*."""
    return SmoochClient("app", auth=BasicAuth("k", "s"), transport=ScriptedTransport(answers))


def dixa_of(*answers: Answer, tries: int = 1) -> tuple[DixaClient, ScriptedTransport]:
    """Return a client of Dixa whose calls are given *answers*, and the transport."""
    transport = ScriptedTransport(answers)
    retry = Retry(max_attempts=tries)
    client = DixaClient(auth=ApiToken("t"), transport=transport, pace=Pace(), retry=retry)
    return client, transport


@pytest.mark.parametrize(
    "odd",
    [
        {"zendeskId": 35436}, {"signedUpAt": ""}, {"brandId": 5}, {"identities": [None]},
        {"profile": 5}, {"metadata": DEEP}, {"new": DEEP},
    ],
)  # fmt: skip
async def test_an_odd_answer_of_a_create_is_a_user(odd: Mapping[str, Any]) -> None:
    """A create whose answer has an odd field is done."""
    client, _ = sunshine((201, {"user": {"id": "x", "externalId": "5", **odd}}))

    user = await client.users.create(NEW)

    assert (user.id, user.external_id) == ("x", "5")
    assert odd.keys() <= user.extra.keys()


@pytest.mark.parametrize(
    ("found", "held"),
    [
        ({"externalId": "5", "brandId": "7"}, True),
        ({"externalId": 5, "brandId": 7}, True),
        ({"externalId": 5.0, "brandId": 0.7e1}, True),
        ({"externalId": 5, "brandId": 8}, False),
        ({"externalId": 5.5, "brandId": 7}, False),
        ({"externalId": "5", "brandId": ["7"]}, False),
        ({"externalId": {"a": 1}, "brandId": "7"}, False),
    ],
)
async def test_a_read_back_compares_raw_values(found: Mapping[str, Any], *, held: bool) -> None:
    """After a lost answer the number of an id is its text, and an unreadable field is unknown."""
    client, transport = sunshine(LOST, TAKEN_409, (200, {"user": {"id": "x", **found}}))

    with no_waiting():
        if held:
            assert (await client.users.create(NEW)).id == "x"
        else:
            with pytest.raises(ConflictError) as caught:
                await client.users.create(NEW)
            assert caught.value.resent
            assert caught.value.maybe_applied
    assert len(transport.requests) == 3


async def test_a_read_back_of_a_deep_answer() -> None:
    """A field too deep for the stack of some Python versions leaves the create in doubt, at most."""
    found = {"id": "x", "externalId": "5", "brandId": "7", "new": DEEP}
    client, _ = sunshine(LOST, TAKEN_409, (200, {"user": found}))

    with no_waiting(), suppress(ConflictError):
        assert (await client.users.create(NEW)).id == "x"


async def test_one_odd_user_does_not_block_a_list() -> None:
    """The other users of a list come; a list of which no user can be read is an error."""
    odd: list[Any] = [None, {"externalId": "a"}, {"id": None}]
    client, _ = sunshine((200, {"users": [*odd, {"id": 5}]}), (200, {"users": odd}))

    assert [user.id for user in await client.users.list_by_email("a@x.org")] == ["5"]
    with pytest.raises(ResponseDecodeError) as caught:
        await client.users.list_by_email("a@x.org")
    assert caught.value.path == "users[0]"


async def test_odd_app_users_are_read() -> None:
    """A zone as text and a time in seconds are unknown; the app user is there."""
    client = {"id": "c", "lastSeen": 1444348338.704, "info": {"timezone": "UTC", "city": "x"}}
    data: dict[str, Any] = {"_id": "1", "userId": 5, "clients": [client, None]}

    user = await smooch((201, {"appUser": data})).app_users.pre_create(
        AppUserPreCreate(user_id="5")
    )

    assert (user.user_id, user.extra) == ("5", {"userId": 5, "clients": data["clients"]})
    [read] = user.clients or []
    assert (read.last_seen, read.extra) == (None, {"lastSeen": 1444348338.704})
    assert read.info is not None
    assert (read.info.city, read.info.extra) == ("x", {"timezone": "UTC"})
    assert unstructure(user) == data


@pytest.mark.parametrize(
    ("method", "arguments", "name"),
    [
        ("entity_ids", (), "channels"),
        ("business_system_ids", (), "businessSystems"),
        ("link_requests", (["a"],), "linkRequests"),
    ],
)
async def test_a_list_that_is_none_is_not_empty(
    method: str, arguments: tuple[Any, ...], name: str
) -> None:
    """A list of an app user that can't be read is an error, not an empty list."""
    client = smooch((200, {name: 5}), (200, {}), (200, {name: [5, {"type": "a"}]}))
    call = getattr(client.app_users, method)

    with pytest.raises(ResponseDecodeError) as caught:
        await call("1", *arguments)
    assert caught.value.path == name
    assert await call("1", *arguments) == []
    assert [one.type for one in await call("1", *arguments)] == ["a"]


@pytest.mark.parametrize(
    ("clients", "done"),
    [
        ({"clients": []}, True),
        ({"clients": [{"platform": "web"}], "pendingClients": []}, True),
        ({}, False),
        ({"clients": 5}, False),
        ({"clients": [None]}, False),
        ({"clients": [{"platform": 5}]}, False),
        ({"clients": [], "pendingClients": {"a": 1}}, False),
        ({"clients": [{"platform": "twilio"}]}, False),
    ],
)
async def test_an_unlink_is_settled_by_clients_that_can_be_read(
    clients: Mapping[str, Any], *, done: bool
) -> None:
    """An unlink in doubt is done only where every client of the user is known."""
    client = smooch(*[LOST] * 5, (200, {"appUser": {"_id": "1", **clients}}))

    with no_waiting():
        if done:
            await client.app_users.unlink("1", "twilio")
            return
        with pytest.raises(ConnectionLostError) as caught:
            await client.app_users.unlink("1", "twilio")
    linked = clients == {"clients": [{"platform": "twilio"}]}
    assert bool(getattr(caught.value, "__notes__", ())) is linked


FOUND = {"id": "x", "externalId": 5}
NOBODY: Answer = (200, {"data": []})
KEYED = CreateEndUserInput(external_id="5")


@pytest.mark.parametrize("method", ["upsert", "get_or_create"])
async def test_a_numeric_external_id_is_not_absent(method: str) -> None:
    """An end user whose external id came as a number is found: no second one, nothing patched."""
    client, transport = dixa_of((200, {"data": [FOUND]}))

    user = await getattr(client.end_users, method)(KEYED)

    assert (user.external_id, user.extra) == ("5", {"externalId": 5})
    assert [request.method for request in transport.requests] == ["GET"]


@pytest.mark.parametrize("record", [None, {"externalId": "5"}, {"id": None, "externalId": "5"}])
@pytest.mark.parametrize("method", ["upsert", "get_or_create"])
async def test_a_record_that_cannot_be_read_is_not_nobody(method: str, record: object) -> None:
    """A look-up that finds a record it can't read creates nobody."""
    client, transport = dixa_of((200, {"data": [record]}))

    with pytest.raises(ResponseDecodeError) as caught:
        await getattr(client.end_users, method)(KEYED)

    assert caught.value.path == "data"
    assert [request.method for request in transport.requests] == ["GET"]


async def test_a_look_up_that_may_have_found_two_is_no_match() -> None:
    """An end user beside a record that can't be read isn't surely the only one."""
    client, _ = dixa_of((200, {"data": [FOUND, {"externalId": "5"}]}))

    with pytest.raises(ResponseDecodeError):
        await client.end_users.upsert(KEYED)


async def test_one_odd_end_user_does_not_block_a_list() -> None:
    """The other end users of a list come, and a page counts records that can't be read."""
    pages: list[Answer] = [
        (200, {"data": [None, {"id": "a"}], "meta": {"next": "?pageKey=b"}}),
        (200, {"data": [{"id": None}], "meta": None}),
    ]
    client, _ = dixa_of(*pages, *pages)

    assert [user.id async for user in client.end_users.list()] == ["a"]
    assert [page.unreadable async for page in client.end_users.list().pages()] == [1, 1]


@pytest.mark.parametrize(
    "meta", [5, "text", [], {"next": 5}, {"next": ["?pageKey=a"]}, {"next": {"a": 1}}]
)
async def test_a_list_whose_next_page_is_unreadable_does_not_end(meta: object) -> None:
    """A link to the next page that can't be read is an error, not the end of the list."""
    client, _ = dixa_of((200, {"data": [], "meta": meta}))

    with pytest.raises(ResponseDecodeError) as caught:
        await anext(client.end_users.list().pages())
    assert caught.value.path == "meta.next"


async def test_conversations_hold_no_none() -> None:
    """A null among conversations is left out; one without an id has all its data."""
    data: list[Any] = [None, {"_type": "SmsConversation", "id": 1}, {"_type": "SmsConversation"}]
    client, _ = dixa_of((200, {"data": data}))

    assert [one async for one in client.end_users.conversations("x")] == [
        dixa.SmsConversation(id=1),
        dixa.UnknownConversation(type="SmsConversation"),
    ]


async def test_an_unreadable_outcome_is_its_own_items_alone() -> None:
    """Of a bulk create the readable outcomes count; an item without one is unknown."""
    bodies = [CreateEndUserInput(external_id=str(n)) for n in range(5)]
    outcomes: list[Any] = [
        {"_type": "BulkActionSuccess", "data": {"id": f"u{n}", "externalId": n}} for n in range(4)
    ]
    client, transport = dixa_of((201, {"data": [*outcomes, None]}))

    async with client.end_users.create_many(bodies, ordered=True, linger=60) as stream:
        ended = [outcome async for outcome in stream]

    assert [type(one) for one in ended] == [Done] * 4 + [Unknown]
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    ("there", "ends"),
    [
        ({"displayName": "A"}, Done),
        ({"displayName": 5}, Unknown),
        ({"displayName": "B"}, Failed),
    ],
)
async def test_a_lost_create_is_settled_by_fields_that_can_be_read(
    there: Mapping[str, Any], ends: type
) -> None:
    """An end user found after a lost answer is ours, another's, or not surely either."""
    body = CreateEndUserInput(email="a@x.org", display_name="A")
    found: Answer = (200, {"data": [{"id": "u", "email": "a@x.org", **there}]})
    client, transport = dixa_of(LOST, *[found] * 3)

    with no_waiting():
        async with client.end_users.create_many([body]) as stream:
            [ended] = [outcome async for outcome in stream]

    assert type(ended) is ends
    assert [request.method for request in transport.requests].count("POST") == 1


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
ANY_JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)


@pytest.mark.parametrize("kind", [User, EndUser, AppUser, Message, dixa.EmailConversation])
@given(data=st.data())
@settings(max_examples=sized(50, 6))
def test_any_object_with_an_id_is_read_and_comes_back(kind: Any, data: st.DataObject) -> None:
    """Any JSON in all fields at once is read, and every value that isn't null goes back out."""
    names = [name_of(field) for field in attrs.fields(kind) if field.name != "extra"]
    raw = data.draw(st.dictionaries(st.sampled_from([*names, "new"]), ANY_JSON))
    raw = {**raw, **{key: one for key, one in whole(kind).items() if key in ("id", "_type")}}

    found = structure(raw, kind)
    back = unstructure(found)

    assert back.keys() >= {key for key, value in raw.items() if value is not None}
    assert {key: one for key, one in back.items() if not isinstance(one, dict | list)} == {
        key: one
        for key, one in raw.items()
        if not isinstance(one, dict | list) and (one is not None or key == "new")
    }
    assert structure(back, kind) == found
