"""Smooch app users: what each call sends, what is sent again, and what can't be sent."""

import pickle
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import anyio
import httpx
import pytest
from support import clients
from support.clients import KEY, smooch
from support.virtual import virtual

from sunshine_async import (
    UNSET,
    ApiError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectionLostError,
    NotFoundError,
    RateLimitError,
    ResponseDecodeError,
    Retry,
    ServerError,
    SunshineError,
)
from sunshine_async._calls.upsert import UpsertEffect
from sunshine_async._codec import decode, encode
from sunshine_async.bulk import Done
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import (
    AppUser,
    AppUserLink,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    Confirmation,
    ConfirmationAction,
    ConfirmationMessage,
    MergedUser,
    MessageResponse,
    SmoochClient,
)
from sunshine_async.testing import Answer, ScriptedTransport

JANE = {"_id": "1", "userId": "jane-1", "givenName": "Jane", "clients": [], "pendingClients": []}
FOUND: Answer = (200, {"appUser": JANE})
MADE: Answer = (201, {"appUser": JANE})
POSTED: Answer = (201, {"message": {"_id": "m"}, "conversation": {"_id": "c"}})
GONE: Answer = (404, {"error": {"code": "user_not_found", "description": "User not found"}})
NO_ROUTE: Answer = httpx.Response(404, text="<html>No route</html>")
TAKEN: Answer = (409, {"error": {"code": "conflict", "description": "User already exists"}})
LOST: Final = httpx.ReadError("")
BODY = AppUserPreCreate(user_id="jane-1", given_name="Jane")
CHANGE = AppUserUpdate(given_name="Jane")
HELLO = ConfirmationMessage(role="appMaker", type="text", text="Hello")
AT_ONCE = Confirmation(type="immediate")
LINK = AppUserLink.twilio(phone_number="+15145555555", confirmation=AT_ONCE)
MERGE = AppUserMerge(surviving="1", discarded="2")
scripted = partial(clients.scripted, client=smooch)

Call = Callable[[SmoochClient], Awaitable[object]]


def sent(transport: ScriptedTransport) -> list[str]:
    """Return what was sent, a line a request, below the app."""
    lines = (f"{one.method} {one.url.raw_path.decode()}" for one in transport.requests)
    return [line.replace("/v1.1/apps/app/appusers", "") for line in lines]


CALLS: Mapping[str, tuple[Call, Answer, str]] = {
    "get": (lambda c: c.app_users.get("a/b"), FOUND, "GET /a%2Fb"),
    "pre_create": (lambda c: c.app_users.pre_create(BODY), MADE, "POST "),
    "update": (
        lambda c: c.app_users.update("jane+1@x.org", CHANGE),
        FOUND,
        "PUT /jane%2B1%40x.org",
    ),
    "delete": (lambda c: c.app_users.delete("a%2Fb"), (200, {}), "DELETE /a%252Fb"),
    "delete_profile": (lambda c: c.app_users.delete_profile("a?"), FOUND, "DELETE /a%3F/profile"),
    "auth_code": (
        lambda c: c.app_users.auth_code("1"),
        (200, {"authCode": "ac_1"}),
        "GET /1/authcode",
    ),
    "entity_ids": (
        lambda c: c.app_users.entity_ids("1"),
        (200, {"channels": [{"type": "twilio"}]}),
        "GET /1/channels",
    ),
    "business_system_ids": (
        lambda c: c.app_users.business_system_ids("1"),
        (200, {"businessSystems": [{"type": "slack"}]}),
        "GET /1/businesssystems",
    ),
    "link_requests": (
        lambda c: c.app_users.link_requests("1", iter(("a", "b&c"))),
        (200, {"linkRequests": [{"type": "viber"}]}),
        "GET /1/linkrequest?integrationIds=a%2Cb%26c",
    ),
    "link": (lambda c: c.app_users.link("1", LINK), FOUND, "POST /1/channels"),
    "unlink": (
        lambda c: c.app_users.unlink("1", "new/channel"),
        (200, {}),
        "DELETE /1/channels/new%2Fchannel",
    ),
    "merge": (lambda c: c.app_users.merge(MERGE), (200, {}), "POST /merge"),
    "post_image": (
        lambda c: c.app_users.post_image("1", b"x", role="appUser"),
        POSTED,
        "POST /1/images",
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_each_operation_is_one_request(name: str) -> None:
    """Every operation is one request, with its ids and its query percent-encoded."""
    call, answer, line = CALLS[name]
    client, transport = scripted(answer)

    result = await call(client)

    assert sent(transport) == [line]
    assert result == "ac_1" or isinstance(result, AppUser | MessageResponse | list | None)


@pytest.mark.parametrize("name", ["delete", "unlink", "merge"])
async def test_an_empty_answer_will_do(name: str) -> None:
    """Where nothing is to be read, an answer may be empty, or be any JSON; a page is no answer."""
    call, _, _ = CALLS[name]
    page = httpx.Response(200, html="<h1>Welcome to the hotel</h1>")
    client, _ = scripted(204, httpx.Response(200, json="OK"), page)

    assert await call(client) is None
    assert await call(client) is None
    with pytest.raises(ResponseDecodeError) as caught:
        await call(client)
    assert caught.value.maybe_applied


@pytest.mark.parametrize("name", ["entity_ids", "business_system_ids", "link_requests"])
async def test_a_list_that_is_absent_is_empty(name: str) -> None:
    """A list that the service leaves out, or gives as null, reads as empty."""
    call, _, _ = CALLS[name]
    client, _ = scripted((200, {}), (200, {"channels": None}))

    assert await call(client) == []
    assert await call(client) == []


async def test_bodies_are_as_the_service_wants_them() -> None:
    """What is unset is left out, None is null, times are in UTC with milliseconds."""
    client, transport = scripted(MADE, FOUND, FOUND, (200, {}))
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)

    await client.app_users.pre_create(
        AppUserPreCreate(user_id="j", signed_up_at=at, properties={"a": 1, "b": None, "c": True})
    )
    await client.app_users.update("j", AppUserUpdate(email=None, extra={"new": 1}))
    await client.app_users.link("j", LINK)
    await client.app_users.merge(MERGE)

    assert [decode(request.content) for request in transport.requests] == [
        {
            "userId": "j",
            "signedUpAt": "2026-01-02T03:04:05.678Z",
            "properties": {"a": 1, "b": None, "c": True},
        },
        {"email": None, "new": 1},
        {
            "type": "twilio",
            "confirmation": {"type": "immediate"},
            "phoneNumber": "+15145555555",
        },
        {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}},
    ]


async def test_a_missing_envelope_is_not_read_as_nobody() -> None:
    """An answer without its user, or without its code, can't be read."""
    client, _ = scripted((200, {}), (200, {"authCode": None}))

    with pytest.raises(SunshineError, match=r"can't be read at appUser: missing"):
        await client.app_users.get("1")
    with pytest.raises(SunshineError, match=r"can't be read at authCode: expected text"):
        await client.app_users.auth_code("1")


@pytest.mark.usefixtures("instant_waits")
class TestSendingAgain:
    """What is sent again, and what never is."""

    @pytest.mark.parametrize("answer", [LOST, 503, 429, httpx.ConnectError("")])
    @pytest.mark.parametrize(
        "name",
        ["get", "update", "delete_profile", "auth_code", "entity_ids", "link_requests", "delete",
         "pre_create", "unlink", "business_system_ids"],
    )  # fmt: skip
    async def test_what_can_do_no_harm_is_sent_again(self, name: str, answer: Answer) -> None:
        """Reads, changes with the same values and what is guarded go out again after each fault."""
        call, success, line = CALLS[name]
        client, transport = scripted(answer, answer, success)

        await call(client)

        assert sent(transport) == [line] * 3

    @pytest.mark.parametrize("answer", [LOST, 503, 429])
    async def test_a_link_is_sent_once(self, answer: Answer) -> None:
        """A link is not sent again after a lost answer, nor after a 429."""
        client, transport = scripted(answer)

        with pytest.raises(SunshineError) as caught:
            await client.app_users.link("1", LINK)

        assert isinstance(caught.value, RateLimitError) is (answer == 429)
        assert caught.value.maybe_applied is (answer != 429)
        assert len(transport.requests) == 1

    async def test_a_link_that_never_left_is_sent_again(self) -> None:
        """Where no connection could be made, a link goes out again."""
        client, transport = scripted(httpx.ConnectError(""), FOUND)

        await client.app_users.link("1", LINK)

        assert len(transport.requests) == 2

    @pytest.mark.parametrize("name", ["update", "delete", "delete_profile"])
    async def test_an_overlap_is_sent_again(self, name: str) -> None:
        """A 409 on a change says that another one was under way: it is sent again."""
        call, success, _ = CALLS[name]
        client, transport = scripted(TAKEN, TAKEN, success)

        await call(client)

        assert len(transport.requests) == 3

    async def test_an_overlap_without_end_is_a_conflict(self) -> None:
        """When the attempts are used up, the conflict comes out, and nothing was applied."""
        client, transport = scripted(*[TAKEN] * 5)

        with pytest.raises(ConflictError, match="5 attempts") as caught:
            await client.app_users.update("1", CHANGE)

        assert not caught.value.maybe_applied
        assert len(transport.requests) == 5

    @pytest.mark.parametrize("name", ["pre_create", "link", "unlink", "merge", "post_image", "get"])
    async def test_any_other_conflict_is_an_answer(self, name: str) -> None:
        """A 409 on anything else is the service's answer."""
        call, _, _ = CALLS[name]
        client, transport = scripted(TAKEN)

        with pytest.raises(ConflictError) as caught:
            await call(client)

        assert not caught.value.maybe_applied
        assert len(transport.requests) == 1

    async def test_a_conflict_after_a_lost_answer_is_settled(self) -> None:
        """A pre-create that meets its own first sending is settled by reading the user back."""
        client, transport = scripted(LOST, TAKEN, FOUND, LOST, TAKEN, (200, {"appUser": {}}))

        assert (await client.app_users.pre_create(BODY)).id == "1"
        with pytest.raises(ConflictError) as caught:
            await client.app_users.pre_create(BODY)

        assert caught.value.resent
        assert sent(transport) == ["POST ", "POST ", "GET /jane-1"] * 2

    async def test_a_second_delete_that_finds_no_one_is_done(self) -> None:
        """A 404 after a lost answer means that the first delete did it; a first 404 doesn't."""
        client, _ = scripted(LOST, GONE, GONE)

        await client.app_users.delete("1")
        with pytest.raises(NotFoundError):
            await client.app_users.delete("1")


@pytest.mark.usefixtures("instant_waits")
class TestLookingUp:
    """Merges and unlinks whose answer was lost."""

    @pytest.mark.parametrize("answer", [LOST, 503, httpx.ReadTimeout("")])
    async def test_a_merge_that_was_done_is_done(self, answer: Answer) -> None:
        """If who was discarded is gone, and the survivor there, the merge is done."""
        client, transport = scripted(answer, FOUND, GONE)

        await client.app_users.merge(MERGE)

        assert sent(transport) == ["POST /merge", "GET /1", "GET /2"]

    async def test_an_id_that_leads_to_the_survivor_is_merged(self) -> None:
        """A service that answers the old id with the survivor has merged them."""
        client, _ = scripted(LOST, FOUND, FOUND)

        await client.app_users.merge(MERGE)

    async def test_a_merge_that_was_not_done_says_so(self) -> None:
        """If both are there, the error comes out and says so; it isn't sent again."""
        client, transport = scripted(LOST, FOUND, (200, {"appUser": {"_id": "2"}}))

        with pytest.raises(ConnectionLostError) as caught:
            await client.app_users.merge(MERGE)

        assert caught.value.maybe_applied
        assert caught.value.__notes__ == ["both users were still there when read back"]
        assert pickle.loads(pickle.dumps(caught.value)).__notes__ == caught.value.__notes__  # noqa: S301
        assert len(transport.requests) == 3

    @pytest.mark.parametrize("answers", [[GONE], [*[503] * 5], [FOUND, 400], [FOUND, NO_ROUTE]])
    async def test_a_merge_that_cannot_be_looked_up_is_unknown(self, answers: list[Answer]) -> None:
        """If the survivor isn't there, or can't be read, the error of the merge comes out."""
        client, _ = scripted(LOST, *answers)

        with pytest.raises(ConnectionLostError) as caught:
            await client.app_users.merge(MERGE)

        assert caught.value.maybe_applied
        assert not hasattr(caught.value, "__notes__")

    async def test_a_refused_merge_is_refused(self) -> None:
        """What the service says no to is not looked up."""
        client, transport = scripted(GONE)

        with pytest.raises(NotFoundError):
            await client.app_users.merge(MERGE)

        assert len(transport.requests) == 1

    async def test_an_unlink_that_was_done_is_done(self) -> None:
        """A later sending that is refused is done, if the channel isn't linked any more."""
        client, transport = scripted(LOST, 400, FOUND)

        await client.app_users.unlink("1", "twilio")

        assert sent(transport) == [*["DELETE /1/channels/twilio"] * 2, "GET /1"]

    @pytest.mark.parametrize("key", ["clients", "pendingClients"])
    async def test_an_unlink_that_was_not_done_says_so(self, key: str) -> None:
        """If the channel is still linked, or about to be, the error comes out and says so."""
        user = {**JANE, key: [{"platform": "web"}, {"platform": "twilio"}]}
        client, _ = scripted(LOST, 400, (200, {"appUser": user}))

        with pytest.raises(BadRequestError) as caught:
            await client.app_users.unlink("1", "twilio")

        assert caught.value.maybe_applied
        assert caught.value.__notes__ == ["the channel was still linked when read back"]

    async def test_an_unlink_that_cannot_be_looked_up_is_unknown(self) -> None:
        """If the service doesn't say what is linked, the error comes out."""
        client, _ = scripted(LOST, 400, (200, {"appUser": {"_id": "1"}}))

        with pytest.raises(BadRequestError) as caught:
            await client.app_users.unlink("1", "twilio")

        assert caught.value.maybe_applied
        assert not hasattr(caught.value, "__notes__")

    async def test_a_merge_that_is_cancelled_while_looking_says_so(self) -> None:
        """A note on the cancellation says that the merge may have been done."""
        scope = anyio.CancelScope()

        class Cancels(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET":
                    scope.cancel()
                    await anyio.sleep_forever()
                raise LOST

        client = smooch(Cancels())
        notes: list[str] = []

        with scope:
            try:
                await client.app_users.merge(MERGE)
            except anyio.get_cancelled_exc_class() as cancelled:
                notes = cancelled.__notes__
                raise

        assert notes[-1] == (
            "POST /v1.1/apps/{app_id}/appusers/merge had left: the service may have acted on it"
        )


class TestUpsert:
    """`upsert` and `get_or_create`."""

    async def test_an_upsert_changes_who_is_there(self) -> None:
        """Where the user id is taken, an update sends all that the body sets, but the user id."""
        client, transport = scripted(TAKEN, FOUND)
        at = datetime(2026, 1, 2, tzinfo=UTC)
        body = AppUserPreCreate(
            user_id="jane-1",
            given_name="J",
            surname="D",
            email="j@x.org",
            avatar_url="https://a",
            signed_up_at=at,
            properties={"a": 1},
            extra={"new": 1},
        )

        assert (await client.app_users.upsert(body)).id == "1"

        assert sent(transport) == ["POST ", "PUT /jane-1"]
        created, updated = (decode(request.content) for request in transport.requests)
        assert {"userId": "jane-1", **updated} == created

    async def test_get_or_create_leaves_who_is_there(self) -> None:
        """Where the user id is taken, the user is read, and nothing else."""
        client, transport = scripted(TAKEN, FOUND)

        assert (await client.app_users.get_or_create(BODY)).id == "1"

        assert sent(transport) == ["POST ", "GET /jane-1"]

    async def test_both_create_who_is_new(self) -> None:
        """Where the user id is free, one request makes the user."""
        client, transport = scripted(MADE, MADE)

        await client.app_users.upsert(BODY)
        await client.app_users.get_or_create(BODY)

        assert sent(transport) == ["POST ", "POST "]

    @pytest.mark.usefixtures("instant_waits")
    @pytest.mark.parametrize(
        ("answers", "did"),
        [
            ([MADE], UpsertEffect.CREATED),
            ([TAKEN, FOUND], UpsertEffect.UPDATED),
            ([LOST, TAKEN, FOUND], UpsertEffect.EITHER),
        ],
    )
    async def test_an_upsert_says_what_it_did(
        self, answers: list[Answer], did: UpsertEffect
    ) -> None:
        """Created or updated is who says so itself; after a lost create who is there may be ours."""
        client, _ = scripted(*answers)

        upserted = await client.app_users.upserted(AppUserPreCreate(user_id="jane-1"))

        assert (upserted.value.id, upserted.effect) == ("1", did)


class TestMany:
    """The ``*_many`` methods."""

    async def test_many_are_created_changed_and_deleted(self) -> None:
        """Each item is done once, and a user's come one after another."""
        emulator = Emulator()
        users = smooch(emulator.transport()).app_users
        bodies = [AppUserPreCreate(user_id=f"id-{n}") for n in range(40)]
        changed = [AppUserPreCreate(user_id=f"id-{n % 50}", given_name=f"{n}") for n in range(100)]
        pairs = [(f"id-{n % 50}", AppUserUpdate(surname=f"{n}")) for n in range(100)]

        async with users.pre_create_many(bodies) as created:
            assert {type(outcome) async for outcome in created} == {Done}
        async with users.upsert_many(changed, ordered=True) as upserted:
            assert [outcome.index async for outcome in upserted] == list(range(100))
        async with users.update_many(pairs, concurrency=8) as updated:
            assert {type(outcome) async for outcome in updated} == {Done}
        names = {user["userId"]: (user["givenName"], user["surname"]) for user in emulator.users("smooch")}  # fmt: skip
        async with users.delete_many(list(names)) as deleted:
            assert {type(outcome) async for outcome in deleted} == {Done}

        assert names == {f"id-{n}": (f"{n + 50}", f"{n + 50}") for n in range(50)}
        assert emulator.users("smooch") == []

    @virtual
    async def test_overlapping_updates_are_all_done(self) -> None:
        """Updates of one user that overlap meet 409s, and are all done in the end."""
        emulator = Emulator(latency=0.01)
        emulator.add("smooch", {"userId": "jane"}, app_id="app")
        retry = Retry(max_attempts=100, first_wait=0.02, max_wait=0.1)
        users = smooch(emulator.transport(), retry=retry).app_users

        async with anyio.create_task_group() as tasks:
            for number in range(5):
                body = AppUserUpdate(properties={f"key-{number}": number})
                tasks.start_soon(users.update, "jane", body)

        [jane] = emulator.users("smooch")
        assert jane["properties"] == {f"key-{number}": number for number in range(5)}
        assert emulator.requests > 5


class TestBadInput:
    """What can't be sent is an error that names its field, before anything is sent."""

    @pytest.mark.parametrize("bad", ["", ".", "..", "a\nb", "\udc80"])
    async def test_an_id_that_would_go_elsewhere(self, bad: str) -> None:
        """What can't be one segment of a path is refused, with its name."""
        client, transport = scripted()
        users = client.app_users

        for call in (
            users.get(bad),
            users.update(bad, CHANGE),
            users.delete(bad),
            users.delete_profile(bad),
            users.auth_code(bad),
            users.entity_ids(bad),
            users.business_system_ids(bad),
            users.link_requests(bad, ["a"]),
            users.link(bad, LINK),
            users.unlink(bad, "twilio"),
            users.unlink("1", bad),
            users.post_image(bad, b"x", role="appUser"),
        ):
            with pytest.raises(ValueError, match=r"^(user_id|channel) "):
                await call

        assert not transport.requests

    @pytest.mark.parametrize(
        ("ids", "error", "says"),
        [
            ([], ValueError, "integration_ids is empty"),
            (["a", ""], ValueError, "integration_ids has an empty id"),
            (["a,b"], ValueError, "with a comma"),
            ("abc", TypeError, "integration_ids must be a list"),
        ],
    )
    async def test_integration_ids(self, ids: Any, error: type[Exception], says: str) -> None:
        """At least one id is needed, none of them empty, and no bare text."""
        client, transport = scripted()

        with pytest.raises(error, match=says):
            await client.app_users.link_requests("1", ids)

        assert not transport.requests

    def test_a_pre_create_needs_a_user_id(self) -> None:
        """Without a user id there is no pre-create."""
        with pytest.raises(TypeError, match="user_id"):
            AppUserPreCreate()  # type: ignore[call-arg]
        for nothing in ("", None, UNSET):
            with pytest.raises(ValueError, match="user_id is empty"):
                AppUserPreCreate(user_id=nothing)  # type: ignore[arg-type]

    @pytest.mark.parametrize("kind", [AppUserUpdate, AppUserPreCreate])
    @pytest.mark.parametrize(
        ("properties", "says"),
        [
            ({"a": {"b": 1}}, r"properties\.a is dict"),
            ({"a": ["b"]}, r"properties\.a is list"),
            ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, r"properties\.a is datetime"),
            ({"a": "é" * 2048}, "properties are 4097 bytes"),
            ({"k" * 4097: None}, "properties are 4101 bytes"),
            ("text", "properties must be a mapping, not str"),
        ],
    )
    def test_properties(self, kind: Any, properties: Any, says: str) -> None:
        """Properties are flat, and 4 KB at most."""
        with pytest.raises(ValueError, match=says):
            kind(user_id="1", properties=properties) if kind is AppUserPreCreate else kind(
                properties=properties
            )

    @pytest.mark.parametrize(
        "properties", [None, UNSET, {}, {"a": "é" * 2047}, MappingProxyType({"a": UNSET, "b": 1.5})]
    )
    def test_properties_that_will_do(self, properties: Any) -> None:
        """Up to 4096 bytes of flat values, and any mapping, will do."""
        body = AppUserUpdate(properties=properties)

        assert isinstance(encode(body), bytes)

    async def test_properties_that_json_cannot_hold(self) -> None:
        """What JSON can't hold is refused before it is sent, with its path."""
        client, transport = scripted()

        for value in (float("nan"), "\ud800"):
            with pytest.raises(ValueError, match=r"^properties\.a: "):
                await client.app_users.update("1", AppUserUpdate(properties={"a": value}))

        assert not transport.requests

    def test_a_naive_time(self) -> None:
        """A time without a zone is refused."""
        with pytest.raises(ValueError, match="signed_up_at has no time zone"):
            AppUserUpdate(signed_up_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the point

    def test_a_merge_with_oneself(self) -> None:
        """A user can't be merged with itself, nor with nobody."""
        with pytest.raises(ValueError, match="discarded is the same user as surviving"):
            AppUserMerge(surviving="1", discarded=MergedUser(id="1"))
        with pytest.raises(ValueError, match="id is empty"):
            AppUserMerge(surviving="1", discarded="")

    async def test_another_kind_of_body(self) -> None:
        """A body of another operation is refused."""
        client, transport = scripted()

        with pytest.raises(TypeError, match="updateAppUser takes AppUserUpdate, not AppUserPreCr"):
            await client.app_users.update("1", BODY)  # type: ignore[arg-type]

        assert not transport.requests


class TestLinks:
    """The constructors of `AppUserLink`."""

    @pytest.mark.parametrize("channel", ["twilio", "messagebird", "whatsapp"])
    def test_by_phone(self, channel: str) -> None:
        """A phone number and a confirmation are all that these channels need."""
        link = getattr(AppUserLink, channel)(
            phone_number="+1 514-555-5555",
            confirmation=AT_ONCE,
            integration_id="5c",
            primary=False,
        )

        assert decode(encode(link)) == {
            "type": channel,
            "phoneNumber": "+1 514-555-5555",
            "confirmation": {"type": "immediate"},
            "integrationId": "5c",
            "primary": False,
        }

    def test_messenger(self) -> None:
        """Messenger needs a message, and finds people by their names too."""
        action = ConfirmationAction(type="link", text="Open", uri="https://shop.example")
        message = ConfirmationMessage(role="appMaker", type="text", text="Hi", actions=[action])
        asking = Confirmation(type="userActivity", message=message)
        link = AppUserLink.messenger(
            phone_number="+1", confirmation=asking, given_name="J", surname="D"
        )

        assert decode(encode(link)) == {
            "type": "messenger",
            "phoneNumber": "+1",
            "givenName": "J",
            "surname": "D",
            "confirmation": {
                "type": "userActivity",
                "message": {
                    "role": "appMaker",
                    "type": "text",
                    "text": "Hi",
                    "actions": [{"type": "link", "text": "Open", "uri": "https://shop.example"}],
                },
            },
        }
        with pytest.raises(ValueError, match=r"confirmation\.message is not set"):
            AppUserLink.messenger(phone_number="+1", confirmation=AT_ONCE)

    def test_mailgun(self) -> None:
        """Mailgun needs an address."""
        link = AppUserLink.mailgun(address="j@x.org", confirmation=AT_ONCE, subject="Hi")

        assert decode(encode(link)) == {
            "type": "mailgun",
            "address": "j@x.org",
            "subject": "Hi",
            "confirmation": {"type": "immediate"},
        }

    def test_what_a_channel_needs_is_asked_for(self) -> None:
        """An empty number, address or type is refused; any other type will do."""
        with pytest.raises(ValueError, match="phone_number is empty"):
            AppUserLink.whatsapp(phone_number="", confirmation=AT_ONCE)
        with pytest.raises(ValueError, match="address is empty"):
            AppUserLink.mailgun(address="", confirmation=AT_ONCE)
        with pytest.raises(ValueError, match="type is empty"):
            AppUserLink(type="", confirmation=AT_ONCE)
        assert AppUserLink(type="kakao", confirmation=AT_ONCE).type == "kakao"

    def test_a_confirmation_by_the_user_needs_a_message(self) -> None:
        """Without a message the user has nothing to act on; and it is a `ConfirmationMessage`."""
        with pytest.raises(ValueError, match="message is not set"):
            Confirmation(type="userActivity")
        with pytest.raises(TypeError, match="message"):
            Confirmation(type="userActivity", message={"text": "Hi"})  # type: ignore[arg-type]
        assert Confirmation(type="userActivity", message=HELLO).message is HELLO


class TestClient:
    """`SmoochClient`."""

    async def test_settings_come_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is left out is read from the variables of Smooch."""
        for name, value in {
            "APP_ID": "my-app",
            "KEY_ID": "k",
            "KEY_SECRET": "s",
            "BASE_URL": "https://acme.zendesk.com/sc/",
        }.items():
            monkeypatch.setenv(f"SMOOCH_{name}", value)
        transport = ScriptedTransport([FOUND])

        async with SmoochClient(transport=transport) as client:
            await client.app_users.get("1")

        [request] = transport.requests
        assert request.url == "https://acme.zendesk.com/sc/v1.1/apps/my-app/appusers/1"
        assert request.headers["authorization"] == "Basic azpz"

    def test_what_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A missing setting is an error that names argument and variable."""
        for name in ("APP_ID", "KEY_ID", "KEY_SECRET", "BASE_URL"):
            monkeypatch.delenv(f"SMOOCH_{name}", raising=False)

        with pytest.raises(ConfigurationError, match=r"app_id .*SMOOCH_APP_ID"):
            SmoochClient()
        with pytest.raises(ConfigurationError, match=r"auth .*SMOOCH_KEY_ID"):
            SmoochClient("app")
        assert SmoochClient("app", auth=KEY).base_url == "https://api.smooch.io"

    async def test_a_view_and_a_request_of_ones_own(self) -> None:
        """Views and undeclared operations are as in the other clients."""
        client, transport = scripted(503, (200, {"ok": True}))

        with pytest.raises(ServerError):
            await client.with_options(retry=Retry(max_attempts=1)).app_users.get("1")
        answer = await client.request("GET", "/v1.1/apps/{app_id}/integrations")

        assert answer == {"ok": True}
        assert transport.requests[1].url.path == "/v1.1/apps/app/integrations"

    async def test_an_error_of_v11_is_read(self) -> None:
        """The code and the description of an error are in it, and the template of its path."""
        client, _ = scripted(
            (400, {"error": {"code": "bad_request", "description": "should be an email"}})
        )

        with pytest.raises(ApiError) as caught:
            await client.app_users.get("jane@example.org")

        error = caught.value
        assert (error.code, error.title) == ("bad_request", "should be an email")
        assert error.endpoint == "GET /v1.1/apps/{app_id}/appusers/{user_id}"
        assert "jane" not in str(error)


@pytest.mark.parametrize("value", ["secret words", 5, None])
def test_a_confirmation_of_another_type_shows_no_value(value: Any) -> None:
    """The error has the type of the message, not the message, which is personal data."""
    with pytest.raises(TypeError) as caught:
        Confirmation(type="prompt", message=value)

    assert str(caught.value) == f"message must be a ConfirmationMessage, not {type(value).__name__}"


@pytest.mark.parametrize("value", [5, ["a"], b"a"])
def test_an_id_of_another_type_is_refused(value: Any) -> None:
    """A user's id is text, also in a merge."""
    with pytest.raises(TypeError, match=f"^id must be text, not {type(value).__name__}$"):
        AppUserMerge(surviving=value, discarded="b")
    with pytest.raises(TypeError, match=f"^user_id must be text, not {type(value).__name__}$"):
        AppUserPreCreate(user_id=value)
