"""Dixa's operations: what each asks for, what it gives, what it is sent again for."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from support import clients

from sunshine_async import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    PayloadTooLargeError,
    ResponseDecodeError,
)
from sunshine_async.dixa import (
    BulkActionFailure,
    BulkActionSuccess,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    CreateEndUserInput,
    DixaClient,
    EndUser,
    PatchEndUserInput,
    UpdateEndUserInput,
    Validation,
)
from sunshine_async.testing import Answer

ID = "434ce9f5-14c8-4be1-a0a8-f755010deb9b"
JANE = {"id": ID, "createdAt": "2020-12-16T09:41:43Z", "email": "jane@example.org"}
MADE: Answer = (201, {"data": JANE})
FOUND: Answer = (200, {"data": JANE})
REQUEST: dict[str, Any] = {
    "id": ID,
    "_type": "User",
    "initiatedAt": "2021-12-01T12:46:36.581Z[GMT]",
}
OUTCOMES = [
    {"_type": "BulkActionSuccess", "data": JANE},
    {"_type": "BulkActionFailure", "error": {"_type": "Validation", "id": "x", "message": "no"}},
]
DUPLICATE: Answer = (
    400,
    {"message": "Create EndUser [id:None] failed with [errors:EmailExists]"},
)
LOST: Answer = httpx.ReadError("")
NEW = CreateEndUserInput(email="jane@example.org", phone_number="+4512345678")
scripted = partial(clients.scripted, client=clients.dixa)


async def all_of(listing: Any) -> list[Any]:
    """Return all that a list gives."""
    return [one async for one in listing]


CALLS: dict[str, tuple[Callable[[DixaClient], Awaitable[object]], Answer, str]] = {
    "create": (
        lambda c: c.end_users.create(NEW),
        MADE,
        'POST /v1/endusers {"email":"jane@example.org","phoneNumber":"+4512345678"}',
    ),
    "get": (lambda c: c.end_users.get("a/b"), FOUND, "GET /v1/endusers/a%2Fb"),
    "patch": (
        lambda c: c.end_users.patch(ID, PatchEndUserInput(first_name=None)),
        FOUND,
        f'PATCH /v1/endusers/{ID} {{"firstName":null}}',
    ),
    "update": (
        lambda c: c.end_users.update(ID, UpdateEndUserInput(display_name="Jane")),
        FOUND,
        f'PUT /v1/endusers/{ID} {{"displayName":"Jane"}}',
    ),
    "anonymize": (
        lambda c: c.end_users.anonymize(ID),
        (202, {"data": REQUEST}),
        f"PATCH /v1/endusers/{ID}/anonymize",
    ),
    "anonymize by force": (
        lambda c: c.end_users.anonymize(ID, force=True),
        (202, {"data": REQUEST}),
        f"PATCH /v1/endusers/{ID}/anonymize?force=true",
    ),
    "anonymization": (
        lambda c: c.end_users.anonymization(ID),
        (200, {"data": REQUEST}),
        f"GET /v1/anonymization/request/{ID}",
    ),
    "patch custom attributes": (
        lambda c: c.end_users.patch_custom_attributes(ID, {"a": "x", "b": ["y", "z"], "c": None}),
        (200, {"data": [{"id": "a", "value": "x"}]}),
        f'PATCH /v1/endusers/{ID}/custom-attributes {{"a":"x","b":["y","z"],"c":null}}',
    ),
    "create bulk": (
        lambda c: c.end_users.create_bulk([CreateEndUserInput(email="a"), CreateEndUserInput()]),
        (201, {"data": OUTCOMES}),
        'POST /v1/endusers/bulk {"data":[{"email":"a"},{}]}',
    ),
    "patch bulk": (
        lambda c: c.end_users.patch_bulk([BulkPatchEndUserInput(id=ID, email="a")]),
        (200, {"data": OUTCOMES}),
        f'PATCH /v1/endusers {{"data":[{{"id":"{ID}","email":"a"}}]}}',
    ),
    "update bulk": (
        lambda c: c.end_users.update_bulk([BulkUpdateEndUserInput(id=ID, display_name="J")]),
        (200, {"data": OUTCOMES}),
        f'PUT /v1/endusers {{"data":[{{"id":"{ID}","displayName":"J"}}]}}',
    ),
    "list": (
        lambda c: all_of(c.end_users.list(phone="+4512345678", page_limit=7)),
        (200, {"data": [JANE]}),
        "GET /v1/endusers?phone=%2B4512345678&pageLimit=7",
    ),
    "list by e-mail": (
        lambda c: all_of(c.end_users.list(email="a+b@example.org")),
        (200, {"data": []}),
        "GET /v1/endusers?email=a%2Bb%40example.org",
    ),
    "list by external id": (
        lambda c: all_of(c.end_users.list(external_id="#1")),
        (200, {"data": []}),
        "GET /v1/endusers?externalId=%231",
    ),
    "conversations": (
        lambda c: all_of(c.end_users.conversations("a/b", page_limit=2)),
        (200, {"data": [{"_type": "SmsConversation", "id": 1}]}),
        "GET /v1/endusers/a%2Fb/conversations?pageLimit=2",
    ),
    "definitions": (
        lambda c: c.custom_attributes.list(),
        (200, {"data": [{"id": "a", "inputDefinition": {"_type": "Text"}}]}),
        "GET /v1/custom-attributes",
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_each_operation_asks_for_what_it_says(name: str) -> None:
    """Every operation is one request, its ids and its query percent-encoded, its token alone."""
    call, answer, line = CALLS[name]
    client, transport = scripted(answer)

    assert await call(client) is not None

    [request] = transport.requests
    body = f" {request.content.decode()}" if request.content else ""
    assert f"{request.method} {request.url.raw_path.decode()}{body}" == line
    assert request.url.host == "dev.dixa.io"
    assert request.headers["authorization"] == "top-secret"


async def test_answers_are_models() -> None:
    """An answer reads as models, with times in zones and outcomes by kind."""
    client, _ = scripted(MADE, (202, {"data": REQUEST}), (201, {"data": OUTCOMES}))

    user = await client.end_users.create(NEW)
    request = await client.end_users.anonymize(ID)
    done, failed = await client.end_users.create_bulk([NEW, NEW])

    assert isinstance(user, EndUser)
    assert user.created_at is not None
    assert user.created_at.utcoffset() is not None
    assert request.initiated_at is not None
    assert request.initiated_at.isoformat() == "2021-12-01T12:46:36.581000+00:00"
    assert request.processed_at is None
    assert isinstance(done, BulkActionSuccess)
    assert isinstance(failed, BulkActionFailure)
    assert isinstance(failed.error, Validation)


async def test_a_duplicate_has_its_code() -> None:
    """A duplicate is a 400 with the codes that stand in the service's sentence."""
    two = {"message": "Updating EndUser [id=x] failed with [errors=EmailExists,PhoneNumberExists]"}
    client, _ = scripted(DUPLICATE, (400, two))

    with pytest.raises(BadRequestError, match="EmailExists") as caught:
        await client.end_users.create(NEW)
    assert caught.value.code == "EmailExists"
    assert "end_users.upsert changes it" in str(caught.value)

    with pytest.raises(BadRequestError) as caught:
        await client.end_users.patch(ID, PatchEndUserInput())
    assert [one.code for one in caught.value.errors] == ["EmailExists", "PhoneNumberExists"]
    assert "end_users.list(email=...) finds" in caught.value.advice


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (409, ConflictError), (413, PayloadTooLargeError)]
)
async def test_a_no_is_an_error_of_its_kind(status: int, kind: type[Exception]) -> None:
    """Each refusal is the error of its status, and is final."""
    client, transport = scripted((status, {"message": "no"}))

    with pytest.raises(kind, match="no"):
        await client.end_users.anonymize(ID)

    assert len(transport.requests) == 1


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("name", ["create", "create bulk"])
@pytest.mark.parametrize("answer", [LOST, 503, 500])
async def test_a_create_is_sent_once(name: str, answer: Answer) -> None:
    """A create, one or in bulk, is not sent again once the service may have acted."""
    client, transport = scripted(answer)

    with pytest.raises(Exception, match="may have acted") as caught:
        await CALLS[name][0](client)

    assert getattr(caught.value, "maybe_applied", False)
    assert len(transport.requests) == 1


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("name", [name for name in CALLS if "create" not in name])
@pytest.mark.parametrize("answer", [LOST, 503, 429])
async def test_all_else_is_sent_again(name: str, answer: Answer) -> None:
    """A read, and a change to absolute values, is sent again after every fault."""
    call, good, _ = CALLS[name]
    client, transport = scripted(answer, good)

    await call(client)

    assert len(transport.requests) == 2


@pytest.mark.usefixtures("instant_waits")
async def test_a_throttled_create_is_sent_again() -> None:
    """A 429 was refused before it was looked at."""
    client, transport = scripted(429, MADE)

    await client.end_users.create(NEW)

    assert len(transport.requests) == 2


async def test_what_is_too_large_is_never_sent() -> None:
    """A bulk body is at most a megabyte; one that is larger is a `ValueError`."""
    client, transport = scripted((201, {"data": []}))

    await client.end_users.create_bulk([CreateEndUserInput(first_name="x" * 999_000)])
    with pytest.raises(ValueError, match="1000000"):
        await client.end_users.create_bulk([CreateEndUserInput(first_name="x" * 1_000_000)])

    assert len(transport.requests) == 1


@pytest.mark.parametrize("bad", ["", ".", "..", "a\nb"])
async def test_an_id_that_would_go_elsewhere_is_never_sent(bad: str) -> None:
    """A value that can't be one segment of a path is a `ValueError` before anything is sent."""
    client, transport = scripted()
    calls: list[Callable[[], Any]] = [
        lambda: client.end_users.get(bad),
        lambda: client.end_users.patch(bad, PatchEndUserInput()),
        lambda: client.end_users.anonymize(bad),
        lambda: client.end_users.anonymization(bad),
        lambda: client.end_users.patch_custom_attributes(bad, {}),
        lambda: all_of(client.end_users.conversations(bad)),
    ]

    for call in calls:
        with pytest.raises(ValueError, match=r"end_user_id|request_id"):
            await call()

    assert not transport.requests


async def test_two_filters_are_refused() -> None:
    """The service takes one filter: two are a `ValueError` that names them, before sending."""
    client, transport = scripted()

    with pytest.raises(ValueError, match="email and phone"):
        client.end_users.list(email="a", phone="+45")
    with pytest.raises(ValueError, match="page_limit=0"):
        client.end_users.list(page_limit=0)

    assert not transport.requests


async def test_an_unreadable_answer_says_where() -> None:
    """An answer that can't be read names the place, and a create that it may be done."""
    client, _ = scripted((201, {"data": {"id": None}}))

    with pytest.raises(ResponseDecodeError) as caught:
        await client.end_users.create(NEW)

    assert caught.value.path == "data.id"
    assert caught.value.maybe_applied


async def test_an_error_shows_no_one() -> None:
    """Errors have the template of the path, no id, and never the token."""
    client, _ = scripted((404, {"message": "not top-secret"}))

    with pytest.raises(NotFoundError) as caught:
        await client.end_users.get("jane")

    assert str(caught.value) == (
        "404 not ... (GET /v1/endusers/{end_user_id})."
        " Check the ids, base_url, and the account of the credentials"
    )
