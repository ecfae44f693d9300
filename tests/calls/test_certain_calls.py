"""The end of a call is certain, or said to be in doubt: over all statuses, faults and surprises."""

import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from functools import partial
from itertools import chain, repeat
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from attrs import evolve
from support.backends import on_both, virtual_on_both
from support.clients import KEY, scripted
from support.servers import answer, answering, serving
from support.size import sized
from support.virtual import sleep, virtual_on_trio
from typer.testing import CliRunner

from sunshine_async import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    BasicAuth,
    BearerAuth,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    DixaClient,
    Fault,
    JwtAuth,
    Pace,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    Retry,
    ServerError,
    SmoochClient,
    SunshineClient,
    SunshineError,
    bulk,
)
from sunshine_async._calls.decisions import _ERROR_OF, _SIGN_OF
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    StreamedBody,
    Timeout,
)
from sunshine_async._http.open_wire import WireSelector
from sunshine_async._pace import Lane
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.cli.app import app
from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.errors import error_class
from sunshine_async.jobs import SUNSHINE, Ending, Job, Mode, Row
from sunshine_async.sunshine import Profile, UserCreateBody, UserUpdateBody
from sunshine_async.testing import Answer, ScriptedTransport

KEYED = UserCreateBody(external_id="jane-1", profile=Profile(given_name="Jane"))
UNKEYED = UserCreateBody(profile=Profile(given_name="Jane"))
JANE = {"id": "1", "externalId": "jane-1", "profile": {"givenName": "Jane"}}
LOST: Answer = httpx.ReadError("")
LATE = httpx.ReadTimeout("")
DEEP: Any = "deep"
for _ in range(900):
    DEEP = [DEEP]
ONCE_ONLY = (Replay.UNSAFE, Replay.ONCE)


def deep(data: Any, status: int = 200) -> httpx.Response:
    """Return an answer of *data*, however deep."""
    return httpx.Response(status, content=json.dumps(data).encode())


async def outcome_of(status: int, replay: Replay) -> tuple[SunshineError | None, int]:
    """Return the error, if any, of a call that meets *status* always, and its requests."""
    transport = ScriptedTransport(repeat(status))
    retry = Retry(max_attempts=3, deadline=30)
    client = SunshineClient("app", auth=KEY, transport=transport, pace=Pace(), retry=retry)
    try:
        await client.request("POST", "/x", replay=replay)
    except SunshineError as error:
        return error, len(transport.requests)
    return None, len(transport.requests)


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("replay", Replay)
@pytest.mark.parametrize("hundred", [1, 2, 3, 4, 5, 6, 9])
async def test_every_status_is_certain_or_in_doubt(replay: Replay, hundred: int) -> None:
    """For each kind of call: the outcome, the attempts, and whether the service may have acted."""
    for status in range(100 * hundred, 100 * hundred + 100):
        error, attempts = await outcome_of(status, replay)
        in_doubt = status in (408, 499) or hundred not in (2, 4)
        if hundred == 2:
            assert error is None, status
            assert attempts == 1
            continue
        assert isinstance(error, ApiError)
        assert error.status == status
        assert error.maybe_applied == (in_doubt and replay is not Replay.SAFE), status
        assert isinstance(error, ServerError) == (status >= 500)
        if status == 429:
            assert isinstance(error, RateLimitError)
            assert (attempts == 1) == (replay is Replay.ONCE)
        elif in_doubt and hundred != 3 and replay not in ONCE_ONLY:
            assert attempts == 3, status
        else:
            assert attempts == 1, status


def test_every_fault_has_an_error_and_a_sign() -> None:
    """No fault is missing where faults are looked up; what isn't listed is a lost connection."""
    assert set(_SIGN_OF) == {None, *Fault}
    assert set(_ERROR_OF) == {Fault.UNSENT, Fault.PERMANENT, Fault.TIMED_OUT}


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("journal", [True, False])
def test_an_import_says_that_it_does_not_know(tmp_path: Path, *, journal: bool) -> None:
    """A keyless create that a gateway answers with 524 is unknown, with and without a journal."""
    emulator = Emulator()
    emulator.faults = [Mishap(status=524, when="after")]
    file = tmp_path / "users.jsonl"
    file.write_text("".join(f'{{"profile":{{"givenName":"{name}"}}}}\n' for name in "abcd"))
    arguments = ["import", str(file), "--mode", "create", "--json", "--concurrency", "1"]
    if journal:
        arguments += ["--journal", str(tmp_path / "run.sqlite")]
    with emulator.serve() as base_url:
        env = {
            "SUNSHINE_APP_ID": "app",
            "SUNSHINE_KEY_ID": "key-id",
            "SUNSHINE_KEY_SECRET": "the-secret",
            "SUNSHINE_BASE_URL": base_url,
        }
        result = CliRunner().invoke(app, arguments, env=env)

    said = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (said["done"], said["unknown"], said["failed"]) == (3, 1, 0)
    assert emulator.ledger()["sunshine"]["users"] == 4


class Outage(httpx.AsyncBaseTransport):
    """A service that is gone from one time to another: creates what is sent otherwise."""

    def __init__(
        self, begins: float, ends: float, failure: int | Exception = 503, *, reads: bool = True
    ) -> None:
        self.began = anyio.current_time()
        self.begins, self.ends, self.failure = begins, ends, failure
        self.reads = reads
        """Whether reads meet the outage too."""
        self.in_vain: list[str] = []
        """The methods of the requests that met the outage."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await sleep(0.02)
        gone = self.begins <= anyio.current_time() - self.began < self.ends
        if gone and (self.reads or request.method != "GET"):
            self.in_vain.append(request.method)
            if isinstance(self.failure, Exception):
                raise self.failure
            return httpx.Response(self.failure)
        if request.method == "GET":
            return httpx.Response(404)
        return httpx.Response(201, json={"user": JANE, "appUser": {"_id": "1"}, "data": JANE})


CREATES: dict[str, Callable[[httpx.AsyncBaseTransport], tuple[Any, Any]]] = {
    "sunshine": lambda transport: (
        SunshineClient("app", auth=KEY, transport=transport, pace=Pace()).users.create,
        UNKEYED,
    ),
    "smooch": lambda transport: (
        partial(
            SmoochClient("app", auth=KEY, transport=transport, pace=Pace()).request,
            "POST",
            "/v1.1/x",
        ),
        None,
    ),
    "dixa": lambda transport: (
        DixaClient(transport=transport, pace=Pace()).end_users.create,
        CreateEndUserInput(display_name="Jane"),
    ),
}


@virtual_on_trio
@pytest.mark.parametrize("service", CREATES)
@pytest.mark.parametrize("failure", [503, 524, LOST, httpx.ConnectError("refused")])
async def test_an_outage_is_probed_with_reads(
    service: str, failure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that can't be resent are held in an outage: a read of nobody asks in their place."""
    monkeypatch.setenv("DIXA_API_TOKEN", "token")

    transport = Outage(0.5, 100, failure)
    create, body = CREATES[service](transport)
    send = (lambda _: create()) if body is None else (lambda _: create(body))

    outcomes = await bulk.collect(send, range(400), concurrency=4)

    creates = transport.in_vain.count("POST")
    assert creates <= 14
    assert transport.in_vain.count("GET") >= 5
    assert "GET" not in transport.in_vain[:creates]
    assert "POST" not in transport.in_vain[creates:]
    kinds = [type(outcome) for outcome in outcomes]
    unsent = isinstance(failure, httpx.ConnectError)
    assert kinds.count(bulk.Unknown) == (0 if unsent else creates)
    assert kinds.count(bulk.Done) == 400 - kinds.count(bulk.Unknown)


@virtual_on_trio
async def test_what_could_not_be_sent_in_an_outage_has_failed() -> None:
    """After *max_outage* seconds without an answer the rows that are left fail, and are not sent."""
    transport = Outage(0, 10_000)
    client = SunshineClient("app", auth=KEY, transport=transport, pace=Pace(max_outage=60))

    outcomes = await bulk.collect(client.users.create, [UNKEYED] * 60, concurrency=4)

    unknown = [one for one in outcomes if isinstance(one, bulk.Unknown)]
    failed = [one.error for one in outcomes if isinstance(one, bulk.Failed)]
    assert len(unknown) == transport.in_vain.count("POST") <= 14
    assert len(failed) == 60 - len(unknown)
    for error in failed:
        assert isinstance(error, ConnectError)
        assert error.attempts == 0
        assert "a probe met 503: nothing was sent" in str(error)


@virtual_on_trio
@pytest.mark.slow
@pytest.mark.parametrize(("ends", "max_outage"), [(200, 900), (10_000, 60)])
async def test_where_only_reads_are_answered_one_call_at_a_time_is_tried(
    ends: float, max_outage: float
) -> None:
    """A read that is answered lets one call go; while that fails, ever fewer are tried."""
    number, begins = sized((2_000, 0.5), (600, 0.1))

    transport = Outage(begins, ends, reads=False)
    pace = Pace(max_outage=max_outage)
    client = SunshineClient("app", auth=KEY, transport=transport, pace=pace)

    outcomes = await bulk.collect(client.users.create, [UNKEYED] * number, concurrency=32)

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(bulk.Unknown) == len(transport.in_vain) <= 32 + 10 + 14
    others = bulk.Done if ends < max_outage else bulk.Failed
    assert kinds.count(others) >= number // 2
    assert (bulk.Failed in kinds) == (others is bulk.Failed)


@virtual_on_trio
@pytest.mark.parametrize("body", [KEYED, UNKEYED])
async def test_an_outage_without_any_answer_takes_no_time_of_a_call(body: UserCreateBody) -> None:
    """A row whose attempts, or probes, hang for longer than its deadline is done in the end."""

    class Hanging(Outage):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST" and anyio.current_time() < self.begins:
                return httpx.Response(503)
            if anyio.current_time() < self.ends:
                await sleep(25)
                raise LATE
            return await super().handle_async_request(request)

    transport = Hanging(0 if body is KEYED else 1, 400)
    client = SunshineClient("app", auth=KEY, transport=transport, pace=Pace())
    outcomes = await bulk.collect(client.users.create, [body] * 11, concurrency=1)

    unknown = 0 if body is KEYED else 10
    assert [type(one) for one in outcomes] == [bulk.Unknown] * unknown + [bulk.Done] * (
        11 - unknown
    )


@virtual_on_trio
@pytest.mark.parametrize("before", [0, 12])
@pytest.mark.parametrize("status", [500, 501, 505, 506, 508, 510])
async def test_a_status_that_tells_of_the_request_is_no_outage(status: int, before: int) -> None:
    """A batch doesn't wait for the end of such failures, also after those of an outage."""
    transport = ScriptedTransport(chain([503] * before, repeat(status)))
    client = SunshineClient("app", auth=KEY, transport=transport, pace=Pace())

    outcomes = await bulk.collect(client.users.delete, map(str, range(20)), concurrency=4)

    assert [type(one) for one in outcomes] == [bulk.Unknown] * 20
    assert anyio.current_time() < 300  # an outage would be waited for 900 s


class Wired:
    """A wire that brings what it is told to."""

    def __init__(self, *replies: Response | Failure | BaseException) -> None:
        self.replies = iter(replies)
        self.sent: list[str] = []

    def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        timeout: Timeout,
        progress: SendProgress,
    ) -> Coroutine[Any, Any, Response | Failure]:
        """Give the next reply."""
        return self._send(request, progress)

    async def _send(self, request: Request, progress: SendProgress) -> Response | Failure:
        self.sent.append(request.method)
        reply = next(self.replies)
        progress.started = not isinstance(reply, Failure) and request.target != "/unsent"
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def aclose(self) -> None:
        """Close nothing."""


def on(wire: Wired, **options: Any) -> SunshineClient:
    """Return a client whose calls go by *wire*."""
    client = SunshineClient("app", auth=KEY, transport=ScriptedTransport([]), **options)
    client._bind(evolve(client._transport, wire=wire))
    return client


@virtual_on_trio
@pytest.mark.parametrize("status", [429, 503])
async def test_a_probe_is_told_when_to_come_again(status: int) -> None:
    """The ``Retry-After`` of a probe's answer holds the next probe, and no later one."""
    later, lost = Response(status, {"retry-after": "100"}, b""), Failure(Fault.LOST, "it broke")
    made = Response(201, {}, b'{"user":{"id":"1"}}')
    wire = Wired(*[lost] * 10, later, lost, Response(404, {}, b""), made)
    began = anyio.current_time()

    await bulk.collect(on(wire, pace=Pace()).users.create, [UNKEYED] * 11, concurrency=1)

    assert wire.sent[10:] == ["GET", "GET", "GET", "POST"]
    assert 100 <= anyio.current_time() - began < 150


UNTRUSTED = Failure(Fault.PERMANENT, "certificate verify failed")


class TestPermanent:
    """Faults that no retry can mend."""

    @pytest.mark.parametrize("body", [KEYED, UNKEYED])
    async def test_a_call_ends_at_once(self, body: UserCreateBody) -> None:
        """One attempt, nothing sent, and no sign of an outage."""
        pace = Pace()
        for _ in range(20):
            wire = Wired(UNTRUSTED)
            with pytest.raises(ConnectError, match="certificate verify failed") as caught:
                await on(wire, pace=pace).users.create(body)
            assert (caught.value.attempts, caught.value.maybe_applied) == (1, False)
        assert not pace.held

    async def test_a_batch_has_its_outcomes_at_once(self) -> None:
        """Each item has failed after one attempt."""
        wire = Wired(*[UNTRUSTED] * 30)

        outcomes = await bulk.collect(on(wire).users.create, [KEYED] * 30)

        assert [type(outcome) for outcome in outcomes] == [bulk.Failed] * 30
        assert len(wire.sent) == 30

    async def test_a_job_stops_with_the_reason(self) -> None:
        """As for refused credentials: no row would fare better."""
        rows = [Row(line, {"externalId": str(line)}) for line in range(1, 100)]
        job = Job(on(Wired(*[UNTRUSTED] * 100)), SUNSHINE, Mode.CREATE, concurrency=2)

        report = await job.run(rows)

        assert report.ending is Ending.GAVE_UP
        assert report.reason is not None
        assert "no row would fare better: certificate verify failed" in report.reason
        assert report.requests < 10
        assert not report.unknown

    @virtual_on_trio
    async def test_a_probe_that_meets_one_ends_the_call(self) -> None:
        """A batch that is held isn't held any longer for what no wait can mend."""
        busy = Response(503, {}, b"")
        wire = Wired(*[busy] * 10, *[UNTRUSTED] * 10)

        outcomes = await bulk.collect(on(wire).users.create, [UNKEYED] * 12, concurrency=1)

        assert [type(one) for one in outcomes] == [bulk.Unknown] * 10 + [bulk.Failed] * 2
        for one in outcomes[10:]:
            assert "certificate verify failed" in str(one.error)
        assert wire.sent[10:] == ["GET", "GET"]

    @virtual_on_trio
    async def test_a_job_that_is_held_stops_for_one(self) -> None:
        """The look-up of a job that waits for the service ends the job."""
        busy = Failure(Fault.LOST, "it broke")
        made = Response(201, {}, b'{"user":{"id":"1"}}')
        wire = Wired(made, *[busy] * 10, *[UNTRUSTED] * 10)
        job = Job(on(wire), SUNSHINE, Mode.CREATE, concurrency=1)

        report = await job.run([Row(line, {}) for line in range(1, 20)])

        assert report.ending is Ending.GAVE_UP
        assert report.reason is not None
        assert "certificate verify failed" in report.reason
        assert wire.sent == ["POST"] * 2 + ["GET"] * 10


SURPRISES = [
    RuntimeError("x"),
    ValueError("x"),
    TypeError("x"),
    KeyError("x"),
    RecursionError(),
    MemoryError(),
    AssertionError("not mocked"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "x"),
    StopAsyncIteration(),
    ExceptionGroup("x", [ValueError()]),
    httpx.InvalidURL("x"),
    httpx.StreamClosed(),
    httpx.ResponseNotRead(),
    httpx.CookieConflict("x"),
    httpx.TooManyRedirects("x"),
]
"""What no transport should raise; and, below, what it may."""
LISTED = [
    httpx.ReadError("x"),
    httpx.WriteError("x"),
    httpx.CloseError("x"),
    httpx.ReadTimeout("x"),
    httpx.WriteTimeout("x"),
    httpx.LocalProtocolError("x"),
    httpx.RemoteProtocolError("x"),
    httpx.DecodingError("x"),
    OSError(104, "x"),
    TimeoutError("x"),
    EOFError(),
]


@pytest.mark.parametrize("surprise", [*SURPRISES, *LISTED], ids=lambda one: type(one).__name__)
class TestSurprises:
    """Whatever a transport or a wire raises, the call ends in an error of ours, and in doubt."""

    async def test_out_of_a_transport(self, surprise: Exception) -> None:
        """A create may have been applied, a read is never in doubt; no httpx type is left."""
        client, transport = scripted(surprise, surprise, retry=Retry(max_attempts=1))

        for call, in_doubt in (
            (client.users.create(UNKEYED), True),
            (client.users.get("1"), False),
        ):
            with pytest.raises(SunshineError) as caught:
                await call
            assert caught.value.maybe_applied is in_doubt
            assert caught.value.__cause__ is caught.value.__context__ is None
            assert type(surprise).__name__ in str(caught.value) or surprise in LISTED
        assert len(transport.requests) == 2

    @pytest.mark.usefixtures("instant_waits")
    async def test_after_a_doubt(self, surprise: Exception) -> None:
        """A doubt of an earlier attempt stays."""
        client, _ = scripted(*[503] * 4, surprise)

        with pytest.raises(SunshineError) as caught:
            await client.users.create(KEYED)

        assert caught.value.maybe_applied

    @pytest.mark.usefixtures("instant_waits")
    async def test_before_the_first_byte_of_an_attempt_after_a_doubt(
        self, surprise: Exception
    ) -> None:
        """A doubt stays though the last attempts have sent nothing."""
        lost, unsent = Failure(Fault.LOST, "it broke"), Failure(Fault.UNSENT, "refused")

        with pytest.raises(SunshineError) as caught:
            await on(Wired(lost, unsent, surprise)).request("PUT", "/unsent")

        assert caught.value.maybe_applied

    async def test_out_of_a_wire(self, surprise: Exception) -> None:
        """After the first byte the answer can't be read; before, nothing was sent."""
        client = on(Wired(surprise.with_traceback(None), surprise))

        with pytest.raises(ResponseDecodeError) as caught:
            await client.request("POST", "/sent")
        assert caught.value.maybe_applied
        assert type(surprise).__name__ in str(caught.value)
        assert "test_certain_calls.py:" in str(caught.value)

        with pytest.raises(SunshineError) as unsent:
            await client.request("POST", "/unsent")
        assert not unsent.value.maybe_applied
        if not isinstance(surprise, AssertionError):
            assert isinstance(unsent.value, ConnectError)
            assert unsent.value.fault == Fault.PERMANENT


@pytest.mark.parametrize(
    ("status", "in_doubt"), [(201, True), (429, False)], ids=["done", "refused"]
)
async def test_a_surprise_after_an_answer(status: int, in_doubt: bool) -> None:  # noqa: FBT001
    """A log's filter that fails once the service has answered leaves the doubt of the answer."""

    def fail(record: LogRecord) -> bool:
        raise LookupError(record.name)

    pauses = {"X-RateLimit-Limit": "9", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}
    answered = httpx.Response(status, headers={**pauses, "Retry-After": "60"}, json={"user": JANE})
    client, _ = scripted(answered, pace=Pace())
    log = getLogger("sunshine_async")
    log.setLevel("INFO")
    log.addFilter(fail)
    try:
        with pytest.raises(SunshineError, match="LookupError") as caught:
            await client.users.create(UNKEYED)
    finally:
        log.removeFilter(fail)
        log.setLevel("NOTSET")

    assert caught.value.maybe_applied is in_doubt


async def test_an_error_of_ours_out_of_a_transport() -> None:
    """An error of another client, raised by a transport, is no answer of this service."""
    elsewhere = error_class(404)(404, endpoint="GET /elsewhere")
    client, _ = scripted(elsewhere, elsewhere, retry=Retry(max_attempts=1))

    with pytest.raises(SunshineError):
        await client.users.get("1")
    assert not elsewhere.maybe_applied
    with pytest.raises(SunshineError):
        await client.users.create(UNKEYED)
    assert elsewhere.maybe_applied


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_the_end_of_the_process_is_no_surprise(end: type[BaseException]) -> None:
    """What ends the process goes through a call, with a note where a byte had left."""
    client = on(Wired(end(), end(), end()))

    with pytest.raises(end) as caught:
        await client.users.create(UNKEYED)
    assert "may have acted" in caught.value.__notes__[0]

    for call in (client.users.get("1"), client.request("POST", "/unsent")):
        with pytest.raises(end) as unsent:
            await call
        assert not hasattr(unsent.value, "__notes__")


async def test_a_mocks_words_are_kept() -> None:
    """An `AssertionError` of a test's mock still fails the test, in the mock's own words."""
    client, _ = scripted()

    with pytest.raises(AssertionError, match="no answer is scripted for request 1"):
        await client.users.get("1")


@virtual_on_both
async def test_a_cancelled_read_has_not_acted() -> None:
    """A read that is cancelled has no note, a create that is has one."""

    class Stalls(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await anyio.sleep_forever()
            raise AssertionError

    client = SunshineClient("app", auth=KEY, transport=Stalls())

    async def notes_of(call: Awaitable[object]) -> list[str]:
        notes: list[str] = []
        with anyio.move_on_after(0.001):
            try:
                await call
            except anyio.get_cancelled_exc_class() as cancelled:
                notes = [*getattr(cancelled, "__notes__", ())]
                raise
        return notes

    assert await notes_of(client.users.get("1")) == []
    assert len(await notes_of(client.users.create(KEYED))) == 1


@pytest.mark.usefixtures("instant_waits")
class TestUnreadable:
    """Answers that no reader likes."""

    async def test_reading_back(self) -> None:
        """A deep answer is a conflict in doubt: nobody knows what is there."""
        there = deep({"user": {**JANE, "metadata": {"a": DEEP}, "more": DEEP}})
        client, _ = scripted(LOST, 409, there)

        with pytest.raises(ConflictError) as caught:
            await client.users.create(UserCreateBody(external_id="jane-1", metadata={"a": "b"}))

        assert caught.value.resent

    @pytest.mark.parametrize("answer", [DEEP, {"user": DEEP}, {"user": {"id": DEEP}}])
    async def test_a_result(self, answer: Any) -> None:
        """A deep result says that the service may have acted; the body stands beside."""
        client, _ = scripted(deep(answer, 201))

        with pytest.raises(ResponseDecodeError) as caught:
            await client.users.create(UNKEYED)

        assert caught.value.maybe_applied
        assert caught.value.status == 201
        assert caught.value.body == json.dumps(answer).encode()
        assert caught.value.__context__ is None

    async def test_an_error(self) -> None:
        """A deep error is the error that its status says; so is an error behind a BOM."""
        client, _ = scripted(
            deep(DEEP, 400),
            httpx.Response(400, content=b'\xef\xbb\xbf{"errors":[{"code":"bad"}]}'),
        )

        with pytest.raises(BadRequestError):
            await client.users.create(UNKEYED)
        with pytest.raises(BadRequestError) as caught:
            await client.users.create(UNKEYED)
        assert caught.value.code == "bad"


@pytest.mark.parametrize(
    ("values", "asked"), [(["4.0"], 4.0), (["4", "9"], 9.0), (["soon"], None), (["nan"], None)]
)
@pytest.mark.parametrize("by_socket", [True, False])
async def test_both_wires_read_retry_after(
    values: list[str], asked: float | None, *, by_socket: bool
) -> None:
    """A number with a fraction, and a header that is sent twice, whose longest wait counts."""
    fields = b"".join(f"Retry-After: {value}\r\n".encode() for value in values)
    async with serving(answering(answer(status="429 Slow", fields=fields))) as server:
        options: dict[str, Any] = {} if by_socket else {"transport": httpx.AsyncHTTPTransport()}
        retry = Retry(max_attempts=1, deadline=1)
        async with SunshineClient(
            "app", auth=KEY, base_url=server.url, retry=retry, pace=Pace(), **options
        ) as client:
            if by_socket:
                wire = client._transport.wire
                assert isinstance(wire, WireSelector)
                client._bind(evolve(client._transport, wire=wire.socket_wire))
            with pytest.raises(RateLimitError) as caught:
                await client.users.get("1")
            await client._transport.wire.aclose()

    assert caught.value.retry_after == asked


async def test_a_wait_until_a_date_follows_the_services_clock() -> None:
    """A clock of this machine that is hours off makes no wait of hours, and no wait of nothing."""
    for hour in ("08", "20"):
        date = f"Thu, 01 Jan 2026 {hour}:00:{{:02}} GMT".format
        headers = {"date": date(0), "retry-after": date(7)}
        client, _ = scripted(httpx.Response(429, headers=headers))

        with pytest.raises(RateLimitError) as caught:
            await client.with_options(retry=Retry(max_attempts=1)).users.get("1")

        assert caught.value.retry_after == 7.0
        assert 0 < client.pace.pause(CLOCK.now(), Lane.INTERACTIVE) <= 7.0


class SendsByAnother(httpx.AsyncHTTPTransport):
    """A user's own transport, which sends by other means than those of its base."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise LookupError(request.method)


async def test_a_transport_that_tells_nothing_may_have_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error of a subclass of httpx's own transport doesn't say that nothing was sent."""
    for mock in ("respx", "pytest_httpx", "vcr"):
        monkeypatch.delitem(sys.modules, mock, raising=False)
    async with SunshineClient("app", auth=KEY, transport=SendsByAnother()) as client:
        with pytest.raises(ResponseDecodeError, match="LookupError") as caught:
            await client.users.create(UNKEYED)
    assert caught.value.maybe_applied


class Closing(StreamedBody):
    """A body whose source fails when it is opened, read or closed."""

    content_type = "image/png"
    length = 1
    ready = True  # type: ignore[assignment]

    def __init__(self, fails_at: str) -> None:
        self.fails_at = fails_at

    def fail(self, at: str) -> None:
        """Fail, if this is where."""
        if at == self.fails_at:
            raise LookupError(at)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give one byte."""

        async def pieces() -> AsyncIterator[bytes]:
            self.fail("reading")
            yield b"x"

        self.fail("opening")
        yield pieces()
        self.fail("closing")


@pytest.mark.parametrize("at", ["opening", "reading"])
async def test_a_source_that_fails_before_the_end_is_the_callers(at: str) -> None:
    """The error comes out as itself: a body that isn't whole does nothing."""
    post = Endpoint(
        "POST", "/x", operation="x", accepts=Closing, returns=object, replay=Replay.UNSAFE
    )
    client, _ = scripted((201, {}))

    with pytest.raises(LookupError, match=at):
        await client._transport.call(post, Closing(at))


async def test_a_source_that_fails_after_the_end_leaves_a_doubt() -> None:
    """The whole body had been sent, and an answer came."""
    post = Endpoint(
        "POST", "/x", operation="x", accepts=Closing, returns=object, replay=Replay.UNSAFE
    )
    client, _ = scripted((201, {}))

    with pytest.raises(ResponseDecodeError, match="LookupError") as caught:
        await client._transport.call(post, Closing("closing"))

    assert caught.value.maybe_applied


@pytest.mark.usefixtures("instant_waits")
async def test_a_conflict_that_nothing_settles_is_in_doubt() -> None:
    """A call of the caller's own, guarded by a key, has nowhere to be looked up."""
    client, _ = scripted(503, 409)

    with pytest.raises(ConflictError) as caught:
        await client.request("POST", "/x", replay=Replay.GUARDED)

    assert caught.value.resent


class TestTokens:
    """Functions that bring tokens."""

    @on_both
    @pytest.mark.parametrize(
        "limits", [{"timeout": 0.01}, {"retry": Retry(deadline=0.01)}], ids=["timeout", "deadline"]
    )
    async def test_a_function_that_hangs_ends_the_call(self, limits: dict[str, Any]) -> None:
        """The first token is waited for as long as an attempt may take; then nothing was sent."""
        hang = True

        async def bring() -> str:
            if hang:
                await anyio.sleep_forever()
            return "token"

        pace = Pace()
        auth = BearerAuth(bring)
        client, transport = scripted((200, {"user": JANE}), auth=auth, pace=pace, **limits)
        for _ in range(11):
            with pytest.raises(ConnectError, match="token function of BearerAuth") as caught:
                await client.users.create(UNKEYED)
            assert (caught.value.attempts, caught.value.maybe_applied) == (0, False)
        assert not pace.held
        assert transport.requests == []
        hang = False
        await client.with_options(timeout=30.0, retry=Retry()).users.get("1")

    @virtual_on_trio
    @pytest.mark.parametrize("in_doubt", [False, True])
    async def test_a_renewal_that_hangs_ends_the_call(self, *, in_doubt: bool) -> None:
        """A doubt of an earlier attempt stays."""
        tokens = iter(["token"])

        async def bring() -> str:
            for token in tokens:
                return token
            await anyio.sleep_forever()
            raise AssertionError

        answers = [503, 401] if in_doubt else [401]
        client, transport = scripted(*answers, auth=BearerAuth(bring), pace=Pace())

        with pytest.raises(ConnectError, match="token function") as caught:
            await client.users.create(KEYED)

        assert caught.value.maybe_applied is in_doubt
        assert len(transport.requests) == len(answers)

    @pytest.mark.usefixtures("instant_waits")
    @pytest.mark.parametrize("error", [LookupError("no vault"), ValueError(), SunshineError("x")])
    async def test_an_error_after_a_doubt_says_so(self, error: Exception) -> None:
        """The function's own error comes out as itself; in doubt, as the cause of one that says so."""
        answers: Iterator[Any] = chain(["one", error, "two", error])

        async def bring() -> str:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        client, _ = scripted(401, 503, 401, auth=BearerAuth(bring))
        with pytest.raises(type(error)) as caught:
            await client.users.create(KEYED)
        assert caught.value is error
        assert not getattr(error, "maybe_applied", False)

        client, _ = scripted(503, 401, auth=BearerAuth(bring))
        with pytest.raises(SunshineError) as doubted:
            await client.users.create(KEYED)
        assert doubted.value.maybe_applied
        assert error in (doubted.value, doubted.value.__cause__)

    @virtual_on_trio
    @pytest.mark.parametrize("answers", [[], [401]], ids=["the first token", "a renewal"])
    async def test_a_token_that_comes_too_late_sends_nothing(self, answers: list[int]) -> None:
        """A function that can't be cancelled may take longer than an attempt."""

        async def bring() -> str:
            if len(transport.requests) == len(answers):
                with anyio.CancelScope(shield=True):
                    await sleep(40)
            return "token"

        auth = BearerAuth(bring)
        client, transport = scripted(*answers, (200, {"user": JANE}), auth=auth, pace=Pace())
        with pytest.raises(ConnectError, match="returned no token in 30 s"):
            await client.users.create(UNKEYED)
        assert len(transport.requests) == len(answers)

    @virtual_on_trio
    async def test_what_is_left_of_an_attempt_is_for_the_wire(self) -> None:
        """The token function takes of the time of an attempt."""

        class Slow(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await anyio.sleep_forever()
                raise AssertionError

        async def bring() -> str:
            await sleep(20)
            return "token"

        retry = Retry(max_attempts=1)
        auth = BearerAuth(bring)
        client = SunshineClient("app", auth=auth, transport=Slow(), retry=retry, timeout=30)
        began = anyio.current_time()
        with pytest.raises(RequestTimeoutError):
            await client.users.get("1")
        assert anyio.current_time() - began == pytest.approx(30)


class TestClocks:
    """A JWT that a service refuses since clocks differ."""

    @pytest.mark.parametrize(
        ("off", "words"),
        [
            (-7200, r"is 7\d\d\d s behind the service's"),
            (7200, r"is 7\d\d\d s ahead of the service's"),
            (0, "Check the key id"),
        ],
    )
    async def test_the_error_says_so(self, off: float, words: str) -> None:
        """With the clock hours off the key isn't blamed."""
        auth = JwtAuth("key-id", "secret", now=lambda: time.time() + off)
        refused = httpx.Response(401, headers={"Date": formatdate(usegmt=True)})
        client, _ = scripted(refused, refused, auth=auth)

        with pytest.raises(AuthenticationError, match=words) as caught:
            await client.users.get("1")

        assert ("Check the key" in str(caught.value)) == (off == 0)

    @pytest.mark.parametrize("date", [None, "", "soon", "Thu, 32 Jan 2026 00:00:00 GMT"])
    async def test_an_answer_without_a_date_says_nothing(self, date: str | None) -> None:
        """No date that can be read: the usual advice."""
        headers = {} if date is None else {"Date": date}
        refused = httpx.Response(401, headers=headers)
        for auth in (JwtAuth("key-id", "secret", now=lambda: 0.0), BasicAuth("key-id", "secret")):
            client, _ = scripted(refused, refused, auth=auth)
            with pytest.raises(AuthenticationError, match="Check the key id"):
                await client.users.get("1")


@pytest.mark.parametrize("secret", ["short", "ssh-rsa AAAA", "x" * 31])
async def test_any_secret_mints_without_a_word(secret: str) -> None:
    """A short secret, or one like a public key, mints tokens and no warning."""
    client, transport = scripted((200, {"user": JANE}), auth=JwtAuth("key-id", secret))

    await client.users.get("1")

    assert transport.requests[0].headers["authorization"].startswith("Bearer ey")


async def test_a_failure_that_no_table_lists_is_in_doubt() -> None:
    """A wire that says what no wire should is taken for a lost answer."""
    client = on(Wired(Failure(Fault.REDIRECTED, "odd")), retry=Retry(max_attempts=1))

    with pytest.raises(ConnectionLostError, match="odd") as caught:
        await client.users.update("1", UserUpdateBody())

    assert caught.value.maybe_applied
