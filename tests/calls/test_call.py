"""One call: what is sent, how often, and what it ends in."""

import gzip
import json
import logging
import pickle
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import anyio
import httpx
import pytest
from support.backends import on_both, virtual_on_both
from support.clients import scripted, sent, sunshine
from support.virtual import settled, sleep, virtually

from sunshine_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    BasicAuth,
    BearerAuth,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    Fault,
    JwtAuth,
    Lane,
    NotFoundError,
    Pace,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    Retry,
    ServerError,
    SunshineClient,
    SunshineError,
    TransportError,
)
from sunshine_async.sunshine import (
    Profile,
    SyncUserBody,
    User,
    UserCreateBody,
    UserUpdateBody,
)
from sunshine_async.testing import Answer

KEYED = UserCreateBody(external_id="jane-1", profile=Profile(given_name="Jane"))
UNKEYED = UserCreateBody(profile=Profile(given_name="Jane"))
JANE = {"id": "1", "externalId": "jane-1", "profile": {"givenName": "Jane", "locale": "en"}}
MADE: Answer = (201, {"user": JANE})
FOUND: Answer = (200, {"user": JANE})
TAKEN: Answer = (409, {"errors": [{"code": "conflict", "title": "User already exists"}]})
GONE: Answer = (404, {"errors": [{"code": "user_not_found", "title": "User not found"}]})
LOST: Answer = httpx.ReadError("")
LATE: Answer = httpx.ReadTimeout("")
UNSENT: Answer = httpx.ConnectError("refused")


async def test_a_create_is_one_request() -> None:
    """A create sends the body as JSON, signed, and brings the user as the service has it."""
    client, transport = scripted(MADE)

    user = await client.users.create(KEYED)

    assert user.external_id == "jane-1"
    [request] = transport.requests
    assert request.url == "https://api.smooch.io/v2/apps/app/users"
    assert request.content == b'{"externalId":"jane-1","profile":{"givenName":"Jane"}}'
    assert request.headers["authorization"] == "Basic a2V5LWlkOnRvcC1zZWNyZXQ="
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["user-agent"].startswith("sunshine-async/")


CALLS: dict[str, tuple[Callable[[SunshineClient], Awaitable[object]], Answer, str]] = {
    "get": (lambda c: c.users.get("a/b", brand_id="9"), FOUND, "GET /users/a%2Fb?brandId=9"),
    "update": (
        lambda c: c.users.update("jane-1", UserUpdateBody(), brand_id="9"),
        FOUND,
        "PATCH /users/jane-1?brandId=9",
    ),
    "delete": (lambda c: c.users.delete("jane-1"), (200, {}), "DELETE /users/jane-1"),
    "delete personal information": (
        lambda c: c.users.delete_personal_information("jane-1"),
        FOUND,
        "DELETE /users/jane-1/personalinformation",
    ),
    "sync": (lambda c: c.users.sync("35436"), FOUND, "POST /users/35436/sync"),
    "list": (
        lambda c: c.users.list_by_email("sue+1@example.org"),
        (200, {"users": [JANE]}),
        "GET /users?filter%5Bidentities.email%5D=sue%2B1%40example.org",
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_each_operation_asks_for_what_it_says(name: str) -> None:
    """Every operation is one request, with its ids and its query percent-encoded."""
    call, answer, line = CALLS[name]
    client, transport = scripted(answer)

    result = await call(client)

    assert sent(transport) == [line.replace(" ", " /v2/apps/app", 1)]
    assert isinstance(result, User | list) or result is None


@pytest.mark.parametrize("bad", ["", ".", "..", "a\nb", "a\x00", "\x85", "\udc80"])
async def test_an_id_that_would_go_elsewhere_is_never_sent(bad: str) -> None:
    """What can't be one segment of a path is a `ValueError` before anything is sent."""
    client, transport = scripted()

    for call in (
        client.users.get(bad),
        client.users.update(bad, UserUpdateBody()),
        client.users.delete(bad),
        client.users.delete_personal_information(bad),
        client.users.sync(bad),
    ):
        with pytest.raises(ValueError, match=r"user_id_or_external_id|zendesk_id"):
            await call

    assert not transport.requests


@pytest.mark.usefixtures("instant_waits")
class TestSendingAgain:
    """What is sent again, and what never is."""

    @pytest.mark.parametrize("answer", [LOST, LATE, 503, 500, 502, 504, 408, 429, UNSENT])
    async def test_a_read_is_sent_again(self, answer: Answer) -> None:
        """A read is sent again after every fault."""
        client, transport = scripted(answer, answer, FOUND)

        await client.users.get("jane-1")

        assert len(transport.requests) == 3
        assert client.tally.requests == 3
        assert client.tally.resent == 2

    @pytest.mark.parametrize("answer", [LOST, LATE, 503])
    async def test_an_unkeyed_create_is_sent_once(self, answer: Answer) -> None:
        """A create without a key of the caller's own is not sent again once it may have acted."""
        client, transport = scripted(answer)

        with pytest.raises(SunshineError, match="may have acted") as caught:
            await client.users.create(UNKEYED)

        assert caught.value.maybe_applied
        assert len(transport.requests) == 1

    @pytest.mark.parametrize(
        "answer", [429, UNSENT, httpx.ConnectTimeout(""), httpx.PoolTimeout("")]
    )
    async def test_what_was_not_looked_at_is_sent_again(self, answer: Answer) -> None:
        """What never reached the service, or was throttled, is sent again, a create too."""
        client, transport = scripted(answer, MADE)

        await client.users.create(UNKEYED)

        assert len(transport.requests) == 2

    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 418, 423])
    async def test_a_no_is_final(self, status: int) -> None:
        """A status that is the service's answer is raised at once."""
        client, transport = scripted(status)

        with pytest.raises(ApiError) as caught:
            await client.users.get("jane-1")

        assert caught.value.status == status
        assert not caught.value.maybe_applied
        assert len(transport.requests) == 1

    async def test_a_merging_sync_is_sent_once(self) -> None:
        """A sync that merges two users is not sent again once it may have acted; others are."""
        client, _ = scripted(LOST, LOST, FOUND)

        with pytest.raises(ConnectionLostError) as caught:
            await client.users.sync("1", SyncUserBody(surviving_zendesk_id="2"))
        assert caught.value.maybe_applied

        assert await client.users.sync("1")

    @pytest.mark.parametrize(
        ("answer", "error", "fault", "maybe_applied"),
        [
            (UNSENT, ConnectError, Fault.UNSENT, False),
            (LATE, RequestTimeoutError, Fault.TIMED_OUT, True),
            (LOST, ConnectionLostError, Fault.LOST, True),
            (httpx.RemoteProtocolError(""), ConnectionLostError, Fault.LOST, True),
            (OSError(104, "reset"), ConnectionLostError, Fault.LOST, True),
        ],
    )
    async def test_no_answer_is_an_error_that_says_what_is_known(
        self, answer: Answer, error: type[TransportError], fault: Fault, *, maybe_applied: bool
    ) -> None:
        """When the attempts are used up, the error says what became of the last one."""
        client, _ = scripted(answer, answer, retry=Retry(max_attempts=2))

        with pytest.raises(error) as caught:
            await client.users.update("jane-1", UserUpdateBody())

        assert caught.value.fault == fault
        assert caught.value.attempts == 2
        assert caught.value.maybe_applied is maybe_applied
        assert "jane-1" not in str(caught.value)

    async def test_what_came_before_counts(self) -> None:
        """An attempt that may have been applied is not forgotten for the one that came after."""
        client, _ = scripted(LOST, UNSENT, retry=Retry(max_attempts=2))

        with pytest.raises(ConnectError) as caught:
            await client.users.create(KEYED)

        assert caught.value.maybe_applied

    @pytest.mark.parametrize("answers", [(LOST, 503), (503, LOST)])
    async def test_a_read_is_never_in_doubt(self, answers: tuple[Answer, ...]) -> None:
        """No error of a read says that the service may have acted."""
        client, _ = scripted(*answers, retry=Retry(max_attempts=2))

        with pytest.raises(SunshineError) as caught:
            await client.users.get("jane-1")

        assert not caught.value.maybe_applied

    @pytest.mark.parametrize("answer", [503, LOST])
    async def test_a_spent_retry_budget_ends_a_call(self, answer: Answer) -> None:
        """Of 25 calls that fail, 20 are tried again, and the error of the others says why not."""
        retry = Retry(max_attempts=2, first_wait=0)
        client, _ = scripted(*[answer] * 45, retry=retry, pace=Pace())
        errors: list[ServerError | ConnectionLostError] = []
        for _ in range(25):
            with pytest.raises((ServerError, ConnectionLostError)) as caught:
                await client.users.get("jane-1")
            errors.append(caught.value)

        assert [error.attempts for error in errors] == [2] * 20 + [1] * 5
        assert [error.retry_budget_spent for error in errors] == [False] * 20 + [True] * 5
        said = ["too many calls of these credentials fail" in str(error) for error in errors]
        assert said == [False] * 20 + [True] * 5

    async def test_a_batch_spends_from_the_retry_budget(self) -> None:
        """Retries of a batch spend too; failures that aren't retried don't, nor hold the batch."""
        pace = Pace()
        whole, _ = scripted(503, 503, 503, 503, FOUND, pace=pace)
        client = whole.with_options(lane=Lane.BATCH)
        with pytest.raises(ServerError):
            await client.users.create(UNKEYED)
        assert pace.snapshot().budget == 20

        await client.users.get("jane-1")

        assert pace.snapshot().budget == 17.5
        assert pace.snapshot().held_seconds == 0

    async def test_refusals_are_no_tries(self) -> None:
        """After refusals (429), a call still has all its attempts for failures, and no more."""
        client, _ = scripted(*[429] * 6, *[503] * 5, pace=Pace())

        with pytest.raises(ServerError) as caught:
            await client.users.get("jane-1")

        assert caught.value.attempts == 11

    async def test_retry_after_is_kept(self) -> None:
        """The service's ``Retry-After`` is waited for, and the throttling is counted."""
        slow = httpx.Response(429, headers={"Retry-After": "7"})
        client, transport = scripted(slow, FOUND)
        clock = client._transport.clock
        began = clock.now()

        await client.users.get("jane-1")

        assert 7 <= clock.now() - began < 8
        assert client.tally.throttled == 1
        assert len(transport.requests) == 2

    async def test_an_earlier_retry_after_is_not_kept(self) -> None:
        """A ``Retry-After`` is for the wait after its answer, not for that after a lost answer."""
        slow = httpx.Response(503, headers={"Retry-After": "7"})
        client, _ = scripted(slow, LOST, FOUND, retry=Retry(first_wait=0))
        clock = client._transport.clock
        began = clock.now()

        await client.users.get("jane-1")

        assert 7 <= clock.now() - began < 8

    @pytest.mark.parametrize(("asked", "deadline"), [(500, 120), (2000, 1000)])
    async def test_a_wait_past_the_deadline_is_not_begun(self, asked: int, deadline: int) -> None:
        """A ``Retry-After`` that doesn't fit in the deadline is raised at once, with what it was."""
        slow = httpx.Response(429, headers={"Retry-After": f"{asked}"})
        client, transport = scripted(slow, pace=Pace(), retry=Retry(deadline=deadline))
        clock = client._transport.clock
        began = clock.now()

        with pytest.raises(RateLimitError, match="Pace") as caught:
            await client.users.get("jane-1")

        assert caught.value.retry_after == asked
        assert len(transport.requests) == 1
        assert clock.now() - began < 1

    async def test_what_the_pace_keeps_past_the_deadline_is_not_sent(self) -> None:
        """A second attempt that the pace holds past the deadline is not made: the first answer is."""
        pace = Pace(rate=5, burst=1)
        slow = httpx.Response(429, headers={"Retry-After": "0"})
        client, transport = scripted(slow, retry=Retry(first_wait=0, deadline=0.1), pace=pace)

        with pytest.raises(RateLimitError) as caught:
            await client.users.create(UNKEYED)

        assert not caught.value.maybe_applied
        assert len(transport.requests) == client.tally.requests == client.tally.throttled == 1


@virtual_on_both
@pytest.mark.parametrize(
    ("refusals", "order"), [(1, ["a", "a", "b", "c"]), (2, ["a", "a", "b", "c", "a"])]
)
async def test_a_call_that_is_refused_again_lets_others_go(refusals: int, order: list[str]) -> None:
    """A resend goes ahead of new calls; after two refusals new calls go ahead of the resend."""

    class Refusing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            came.append(request.url.path[-1])
            await sleep(1)
            return (
                httpx.Response(429)
                if len(came) <= refusals
                else httpx.Response(200, json={"user": JANE})
            )

    came: list[str] = []
    client = sunshine(Refusing(), pace=Pace(max_in_flight=1))
    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(client.users.get, name)
            await settled()

    assert came == order


@virtual_on_both
async def test_a_cancelled_second_attempt_is_no_second_refusal() -> None:
    """The end of a cancelled attempt says nothing, whatever the attempt before met."""

    class RefusesOnce(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if anyio.current_time() - began > 0.05:
                await sleep(50)
            return httpx.Response(429)

    began, pace = anyio.current_time(), Pace()
    with anyio.move_on_after(1):
        await sunshine(RefusesOnce(), pace=pace).users.get("jane-1")

    assert pace.snapshot().in_flight[Lane.INTERACTIVE] == 0
    assert pace.enter(anyio.current_time())


@pytest.mark.usefixtures("instant_waits")
class TestLostAnswers:
    """What an answer to a second sending says of the first."""

    @pytest.mark.parametrize("fault", [LOST, LATE, 503])
    async def test_a_conflict_is_settled_by_reading_back(self, fault: Answer) -> None:
        """A keyed create that meets its own user is done: that user is the answer."""
        client, transport = scripted(fault, TAKEN, FOUND)

        user = await client.users.create(KEYED)

        assert user.id == "1"
        assert sent(transport)[-1] == "GET /v2/apps/app/users/jane-1"

    async def test_reading_back_asks_for_the_brand(self) -> None:
        """A brand-separated user is read back with its brand."""
        client, transport = scripted(LOST, TAKEN, (200, {"user": {**JANE, "brandId": "9"}}))

        await client.users.create(UserCreateBody(external_id="jane-1", brand_id="9"))

        assert sent(transport)[-1] == "GET /v2/apps/app/users/jane-1?brandId=9"

    @pytest.mark.parametrize(
        "there",
        [
            (200, {"user": {**JANE, "profile": {"givenName": "June"}}}),
            (200, {"user": {"id": "1", "externalId": "jane-1"}}),
            GONE,
            403,
            (200, {"user": {"no": "id"}}),
        ],
    )
    async def test_another_user_under_the_key_is_a_conflict(self, there: Answer) -> None:
        """Where what is there differs, or can't be read, the conflict says that it is in doubt."""
        client, _ = scripted(LOST, TAKEN, there)

        with pytest.raises(ConflictError, match="may have acted") as caught:
            await client.users.create(KEYED)

        assert caught.value.resent
        assert caught.value.maybe_applied
        assert caught.value.attempts == 2

    async def test_a_key_that_cannot_be_read_back_is_a_conflict(self) -> None:
        """A key that no path can hold can't be looked for: the conflict comes out, in doubt."""
        client, _ = scripted(LOST, TAKEN)

        with pytest.raises(ConflictError) as caught:
            await client.users.create(UserCreateBody(external_id="jane\n1"))

        assert caught.value.resent

    async def test_a_first_conflict_is_no_doubt(self) -> None:
        """A conflict that the first sending meets, or one after a throttling, is someone else's."""
        client, transport = scripted(429, TAKEN)

        with pytest.raises(ConflictError) as caught:
            await client.users.create(KEYED)

        assert not caught.value.resent
        assert not caught.value.maybe_applied
        assert len(transport.requests) == 2

    async def test_a_delete_that_finds_it_gone_is_done(self) -> None:
        """A delete whose second sending meets a 404 is done; one whose first does is not."""
        client, _ = scripted(LOST, GONE, GONE)

        await client.users.delete("jane-1")
        with pytest.raises(NotFoundError):
            await client.users.delete("jane-1")

    @pytest.mark.parametrize(
        "body", [b"<html>No route</html>", gzip.compress(b"<html>")[:-1]], ids=["a page", "cut"]
    )
    async def test_a_404_that_is_not_the_services_settles_nothing(self, body: bytes) -> None:
        """A page of a gateway, and a body that was lost, don't tell that the user is gone."""
        fields = {"Content-Encoding": "gzip"} if body[0] == 0x1F else {}
        answer = httpx.Response(404, stream=httpx.ByteStream(body), headers=fields)
        client, _ = scripted(LOST, answer)

        with pytest.raises(NotFoundError) as caught:
            await client.users.delete("jane-1")

        assert caught.value.maybe_applied
        assert caught.value.is_foreign

    async def test_a_404_of_the_service_whose_body_was_lost_settles(self) -> None:
        """A body that was lost on the way is the service's where the head says that it was JSON."""
        fields = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        cut = httpx.ByteStream(gzip.compress(b"{}")[:-1])
        client, transport = scripted(LOST, httpx.Response(404, stream=cut, headers=fields))

        await client.users.delete("jane-1")

        assert len(transport.requests) == 2

    async def test_clearing_data_of_a_user_that_is_gone_is_not_done(self) -> None:
        """A 404 says nothing of what an earlier sending cleared: it stays in doubt."""
        client, _ = scripted(LOST, GONE)

        with pytest.raises(NotFoundError) as caught:
            await client.users.delete_personal_information("jane-1")

        assert caught.value.maybe_applied

    async def test_an_answer_that_cannot_be_read_leaves_doubt(self) -> None:
        """A yes that can't be read says where, and that the service may have acted."""
        client, _ = scripted((201, {"user": {**JANE, "id": None}}), (200, {"user": {}}))

        with pytest.raises(ResponseDecodeError) as caught:
            await client.users.create(KEYED)
        assert caught.value.path == "user.id"
        assert caught.value.maybe_applied

        with pytest.raises(ResponseDecodeError) as caught:
            await client.users.get("jane-1")
        assert caught.value.path == "user.id"
        assert not caught.value.maybe_applied


class _Stalls(httpx.AsyncBaseTransport):
    """Says that it sends, as httpcore does, and then never answers."""

    def __init__(self, *events: str) -> None:
        self.events = events
        self.reached = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            await request.extensions["trace"](event, {})
        self.reached.set()
        await anyio.sleep_forever()
        raise AssertionError


class TestCancelling:
    """What holds when the caller goes away."""

    @on_both
    @pytest.mark.parametrize(
        ("events", "noted"),
        [
            (["connection.connect_tcp.started"], False),
            (["connection.connect_tcp.started", "http11.send_request_headers.started"], True),
        ],
    )
    async def test_a_cancellation_says_if_a_byte_had_left(
        self, events: list[str], *, noted: bool
    ) -> None:
        """A call that is cancelled after its first byte left has a note on the cancellation."""
        transport = _Stalls(*events)
        pace = Pace(max_in_flight=1)
        client = SunshineClient(
            "app", auth=BasicAuth("key-id", "secret"), transport=transport, pace=pace
        )
        notes: list[str] = []

        async def call() -> None:
            try:
                await client.users.create(KEYED)
            except anyio.get_cancelled_exc_class() as cancelled:
                notes.extend(getattr(cancelled, "__notes__", []))
                raise

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await transport.reached.wait()
            tasks.cancel_scope.cancel()

        assert [*notes] == (
            ["POST /v2/apps/{app_id}/users had left: the service may have acted on it"]
            if noted
            else []
        )
        assert pace.enter(0.0)  # its place is free

    @virtual_on_both
    async def test_a_cancelled_wait_after_a_doubt_has_a_note(self) -> None:
        """An earlier attempt that may have acted is noted, though the last one sent nothing."""
        refused = anyio.Event()

        class RefusesSecond(httpx.AsyncBaseTransport):
            def __init__(self) -> None:
                self.answers = iter([LOST])

            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                for error in self.answers:
                    raise error
                refused.set()
                raise UNSENT

        notes: list[str] = []

        async def call() -> None:
            try:
                await sunshine(RefusesSecond()).users.create(KEYED)
            except anyio.get_cancelled_exc_class() as cancelled:
                notes.extend(getattr(cancelled, "__notes__", []))
                raise

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await refused.wait()
            await settled()
            tasks.cancel_scope.cancel()

        assert ["had left" in note for note in notes] == [True]

    @virtual_on_both
    async def test_an_attempt_that_takes_too_long_is_a_timeout(self) -> None:
        """An attempt ends with its time, and what is known of its bytes decides what it is."""

        async def outcome(*events: str) -> TransportError:
            client = SunshineClient(
                "app",
                auth=BasicAuth("key-id", "secret"),
                transport=_Stalls(*events),
                timeout=0.001,
                retry=Retry(max_attempts=1),
            )
            with pytest.raises(TransportError) as caught:
                await client.users.create(UNKEYED)
            return caught.value

        unsent = await outcome("connection.connect_tcp.started")
        assert isinstance(unsent, ConnectError)
        assert not unsent.maybe_applied
        for events in ([], ["http11.send_request_headers.started"]):
            late = await outcome(*events)
            assert isinstance(late, RequestTimeoutError)
            assert late.maybe_applied

    @virtual_on_both
    async def test_a_transport_that_tells_nothing_may_have_sent(self) -> None:
        """Of a transport that doesn't say how far it is, every byte may have left."""
        client = SunshineClient("app", auth=BasicAuth("k", "s"), transport=_Stalls())
        notes: list[str] = []
        with anyio.move_on_after(0.001):
            try:
                await client.users.create(KEYED)
            except anyio.get_cancelled_exc_class() as cancelled:
                notes.extend(cancelled.__notes__)
                raise
        assert "may have acted" in notes[0]

    @pytest.mark.parametrize(
        ("lane", "ends_at"), [(Lane.INTERACTIVE, 10.0), (Lane.BATCH, 17.0)], ids=lambda one: one
    )
    def test_reading_back_ends_by_the_deadline(self, lane: Lane, ends_at: float) -> None:
        """The look-up after a conflict has what is left of the deadline; a batch's has a whole."""

        class Slow(httpx.AsyncBaseTransport):
            requests = 0

            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                self.requests += 1
                if self.requests == 1:
                    await sleep(7)
                    raise LOST
                if request.method == "GET":
                    await anyio.sleep_forever()
                return httpx.Response(409)

        async def scenario() -> None:
            retry = Retry(first_wait=0, deadline=10)
            client = sunshine(Slow(), retry=retry).with_options(lane=lane)
            began = anyio.current_time()
            with pytest.raises(ConflictError) as caught:
                await client.users.create(KEYED)
            assert caught.value.resent
            assert anyio.current_time() - began == pytest.approx(ends_at)

        virtually(scenario)

    @virtual_on_both
    async def test_the_deadline_bounds_an_attempt(self) -> None:
        """An attempt has no more time than the deadline leaves, whatever its own timeout is."""
        client = SunshineClient(
            "app",
            auth=BasicAuth("key-id", "secret"),
            transport=_Stalls(),
            timeout=httpx.Timeout(None),
            retry=Retry(deadline=0.001),
        )
        with pytest.raises(RequestTimeoutError) as caught:
            await client.users.get("jane-1")
        assert caught.value.attempts == 1


class TestSecrets:
    """Nothing that is secret comes out."""

    async def test_no_secret_is_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        """No error, log record, ``repr`` or pickle has a secret or a body, though all echo it."""
        caplog.set_level(logging.DEBUG)
        echo = {"errors": [{"code": "bad", "title": "top-secret a2V5LWlkOnRvcC1zZWNyZXQ="}]}
        leaky = httpx.ReadError("Authorization: Basic a2V5LWlkOnRvcC1zZWNyZXQ=")
        refusal = httpx.Response(
            400, json=echo, headers={"X-Request-Id": "Basic a2V5LWlkOnRvcC1zZWNyZXQ="}
        )
        client, transport = scripted(refusal, leaky, retry=Retry(max_attempts=1))
        shown = [repr(client), repr(client._transport.auth)]

        for _ in range(2):
            with pytest.raises(SunshineError) as caught:
                await client.users.create(KEYED)
            error = caught.value
            shown += [str(error), repr(error), str(pickle.dumps(error)), str(error.__dict__)]
            assert error.__cause__ is None
            assert error.__context__ is None

        shown += [record.getMessage() for record in caplog.records]
        assert any("POST /v2/apps/{app_id}/users attempt 1: 400 in " in text for text in shown)
        for secret in ("top-secret", "a2V5LWlkOnRvcC1zZWNyZXQ", "Jane", "jane-1"):
            assert not [text for text in shown if secret in text]
        assert len(transport.requests) == 2

    async def test_no_part_of_a_secret_is_shown(self) -> None:
        """A secret is removed before a long text is cut, and where JSON has escaped it."""
        secret = "s3cr3t/" * 8
        for body in (
            json.dumps({"errors": [{"title": "x" * 280 + secret}]}),
            json.dumps({"detail": secret}).replace("/", r"\/"),
            json.dumps({"detail": quote(secret, safe="")}),
            "<p>" + secret.replace("/", "&#x2F;"),
        ):
            client, _ = scripted(httpx.Response(400, text=body), auth=BearerAuth(secret))

            with pytest.raises(BadRequestError) as caught:
                await client.users.get("jane-1")

            assert "s3cr3t" not in str(caught.value)

    async def test_no_earlier_token_is_shown(self) -> None:
        """The token of the request is removed, though a later token has replaced it."""
        now = [1e9]
        auth = JwtAuth("key-id", "top-secret", now=lambda: now[0])

        class Echo(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                now[0] += 3600
                auth.current()
                return httpx.Response(400, json={"message": request.headers["Authorization"]})

        with pytest.raises(BadRequestError, match=r"400 Bearer \.\.\. \("):
            await sunshine(Echo(), auth=auth).users.get("jane-1")

    async def test_a_short_secret_does_not_garble_an_error(self) -> None:
        """What a service says stays readable where a made-up secret is a part of its words."""
        client, _ = scripted(GONE, auth=BasicAuth("k", "user"))

        with pytest.raises(NotFoundError) as caught:
            await client.users.get("jane-1")

        assert caught.value.code == "user_not_found"

    async def test_a_redirect_is_not_followed(self) -> None:
        """A redirect is an error: the credentials never go to where it points."""
        answer = httpx.Response(307, headers={"Location": "https://evil.example/"})
        client, transport = scripted(answer)

        with pytest.raises(ApiError, match="base_url") as caught:
            await client.users.get("jane-1")

        assert caught.value.status == 307
        assert len(transport.requests) == 1


class TestRenewing:
    """Credentials that end."""

    async def test_a_refused_token_is_renewed_once(self) -> None:
        """After a 401 another token is brought, and the call is tried again at once."""
        tokens = iter(["one", "two"])

        async def bring() -> str:
            return next(tokens)

        client, transport = scripted(401, MADE, auth=BearerAuth(bring))

        await client.users.create(UNKEYED)

        used = [request.headers["authorization"] for request in transport.requests]
        assert used == ["Bearer one", "Bearer two"]

    async def test_a_token_refused_twice_is_an_error(self) -> None:
        """A second 401 is the answer, and so is the first where there is no other token."""

        async def bring() -> str:
            return f"token {len(transport.requests)}"

        client, transport = scripted(401, 401, auth=BearerAuth(bring))
        with pytest.raises(AuthenticationError, match="Check the key id"):
            await client.users.get("jane-1")
        assert len(transport.requests) == 2

        client, transport = scripted(401)
        with pytest.raises(AuthenticationError):
            await client.users.get("jane-1")
        assert len(transport.requests) == 1
