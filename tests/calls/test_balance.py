"""A call leaves nothing behind, wherever it is interrupted: slots, pace, connections, hooks, memory."""

import asyncio
import gc
import logging
import sys
import warnings
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count, product
from operator import attrgetter
from types import FrameType
from typing import Any
from weakref import ref

import anyio
import pytest
from attrs import evolve
from support.certificates import tls
from support.clients import KEY
from support.servers import (
    Blocking,
    Peer,
    Script,
    always,
    answer,
    answering,
    serving,
    silent,
    unused_port,
)
from support.virtual import settled, sleep, until, virtual, virtually
from support.wires import call, no_mocks, pool_of, wired, wired_by_httpx

from sunshine_async import (
    BearerAuth,
    Pace,
    RateLimitError,
    Retry,
    SmoochClient,
    SunshineClient,
    SunshineError,
)
from sunshine_async._http.connection import Connection
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    Sending,
    SendProgress,
    StreamedBody,
    Timeout,
    Wire,
)
from sunshine_async._http.pool import Pool
from sunshine_async._http.response_parser import PlainResponseReader, ResponseParser
from sunshine_async._pace.breaker import FAILURES, Sign
from sunshine_async._pace.slots import Lane, Slots
from sunshine_async._pace.waiting import CLOCK, Clock, acquire_slot
from sunshine_async.errors import Fault
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import ScriptedTransport

DONE = Response(201, {}, b'{"user":{"id":"1"}}')
DEADLINE = 20.0
STALLED = Failure(Fault.TIMED_OUT, "no answer in time")
Reply = Response | Failure | type[Exception]

SCRIPTS: dict[str, tuple[Reply, ...]] = {
    "an answer": (DONE,),
    "a refusal": (Response(400, {}, b"{}"),),
    "429": (Response(429, {}, b""), DONE),
    "429 that asks for too long": (Response(429, {"retry-after": "999"}, b""),),
    "500": (Response(500, {}, b""), DONE),
    "503": (Response(503, {}, b""), Response(503, {}, b""), DONE),
    "a redirect": (Response(307, {}, b""),),
    "rate-limit headers": (
        Response(201, {"ratelimit": "limit=9, remaining=0, reset=9"}, DONE.body),
    ),
    **{
        f"{fault}": (Failure(fault, "no"), Failure(fault, "no"), DONE)
        for fault in Fault
        if fault is not Fault.THROTTLED
    },
    "401": (Response(401, {}, b""), DONE),
    "401 twice": (Response(401, {}, b""), Response(401, {}, b"")),
    "no answer": (STALLED, DONE),
    "an error of the wire": (LookupError,),
}


class Sent:
    """A request on a connection, until the reply, or until somebody closes it."""

    def __init__(self, wire: "Wired", reply: Reply, progress: SendProgress, seconds: float) -> None:
        self.wire, self.reply, self.seconds = wire, reply, seconds
        wire.open.append(id(self))
        wire.alive.append(ref(self))
        progress.started = True

    def __await__(self) -> Generator[Any, Any, Response | Failure]:
        return self._wait().__await__()

    async def _wait(self) -> Response | Failure:
        reply = self.reply
        await sleep(0.01 if reply is not STALLED else self.seconds)
        if isinstance(reply, type):
            raise reply
        self.close()
        return reply

    def close(self) -> None:
        """Close the connection."""
        if id(self) in self.wire.open:
            self.wire.open.remove(id(self))


class Wired:
    """Sends as scripted, and counts the connections."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.replies = iter(replies)
        self.open: list[int] = []
        self.alive: list[ref[Sent]] = []
        self.latest = 0.0
        """The latest end of an attempt, by the limit that was set."""

    def send(
        self, request: Request, headers: object, timeout: Timeout, progress: SendProgress
    ) -> Sending:
        """Take a connection."""
        assert timeout.total is not None
        self.latest = max(self.latest, CLOCK.now() + timeout.total)
        return Sent(self, next(self.replies, DONE), progress, timeout.total)

    async def aclose(self) -> None:
        """Close nothing."""


class Pairs:
    """A hook that counts what has begun and not ended; the event *fails_at* is interrupted."""

    def __init__(self, fails_at: str = "", error: type[BaseException] = LookupError) -> None:
        self.under_way: list[str] = []
        self.fails_at, self.error = fails_at, error

    def _fail(self, event: str) -> None:
        if event == self.fails_at:
            raise self.error

    def call_started(self, _: object) -> None:
        """Count a call."""
        self.under_way.append("call")
        self._fail("call_started")

    def attempt_started(self, _: object) -> None:
        """Count an attempt."""
        assert self.under_way == ["call"]
        self.under_way.append("attempt")
        self._fail("attempt_started")

    def attempt_ended(self, _: object) -> None:
        """Take an attempt off."""
        assert self.under_way.pop() == "attempt"
        self._fail("attempt_ended")

    def paused(self, _: object) -> None:
        """Fail, perhaps."""
        self._fail("paused")

    def held(self, _: object) -> None:
        """Fail, perhaps."""
        self._fail("held")

    def call_ended(self, _: object) -> None:
        """Take a call off."""
        assert self.under_way.pop() == "call"
        self._fail("call_ended")


class Step(Awaitable[object]):
    """A coroutine that is interrupted at its await number *at*, as by a cancellation."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, object], at: int, error: type[BaseException]
    ) -> None:
        self.coroutine, self.at, self.error = coroutine, at, error
        self.is_interrupted = False

    def __await__(self) -> Generator[Any, Any, object]:
        try:
            step = self.coroutine.send(None)
            for number in count():
                if number == self.at:
                    self.is_interrupted = True
                    if self.error is GeneratorExit:
                        self.coroutine.close()
                        return None
                    self.coroutine.throw(self.error())
                try:
                    yield step
                except BaseException as error:  # noqa: BLE001 - of a scope within the call
                    step = self.coroutine.throw(error)
                else:
                    step = self.coroutine.send(None)
        except StopIteration as stop:
            return stop.value


class World:
    """One call with all that it takes and has to give back."""

    def __init__(
        self, script: str, lane: Lane, busy: str, *, hook: Pairs | None = None, token: str = ""
    ) -> None:
        self.wire, self.hook = Wired(SCRIPTS[script]), hook
        self.pace = Pace(max_in_flight=2, max_outage=5)
        self.slots = Slots(2)
        self.busy, self.lane = busy, lane
        self.fails_at = 0
        client = SunshineClient(
            "app",
            auth=BearerAuth(getattr(self, token)) if token else KEY,
            pace=self.pace,
            retry=Retry(deadline=DEADLINE, max_attempts=3),
            transport=ScriptedTransport([]),
            hooks=[] if hook is None else [hook],
        )
        transport = evolve(client._transport, wire=self.wire, slots=self.slots, lane=lane)
        clock = Clock(self.now, self.sleep, lambda: 1.0)
        client._bind(evolve(transport, clock=clock))
        self.client = client

    def now(self) -> float:
        """Return the time; fail at the question that *fails_at* counts to."""
        self.fails_at -= 1
        if self.fails_at == 0:
            raise LookupError
        return CLOCK.now()

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts: no request and no answer of an attempt is held meanwhile."""
        assert not self.alive
        await sleep(seconds)

    @property
    def alive(self) -> list[object]:
        """What is left of the attempts."""
        return [one for one in self.wire.alive if one() is not None]

    async def brings(self) -> str:
        """Bring a token, a new one each time."""
        await sleep(0.01)
        return f"token-{CLOCK.now()}"

    async def stalls(self) -> str:
        """Bring a token too late."""
        await sleep(99)
        return "token"

    async def fails(self) -> str:
        """Bring no token."""
        raise LookupError

    def call(self) -> Coroutine[Any, Any, object]:
        """Return a call that isn't awaited yet; in an outage a batch's call is probed for."""
        key = None if self.busy == "outage" else "jane"
        return self.client.users.create(UserCreateBody(external_id=key))

    async def run(self, act: Callable[[], Awaitable[object]]) -> BaseException | None:
        """Run *act* while somebody else has the slots, or the pace, for a second; return its error."""
        other = {"slots": self.slots, "pace": self.pace}.get(self.busy)
        error: BaseException | None = None
        for _ in range(FAILURES if self.busy == "outage" else 0):
            assert self.pace.enter(CLOCK.now())
            self.pace.leave(sign=Sign.FAILED, now=CLOCK.now())
        async with anyio.create_task_group() as tasks:
            if other is not None:
                assert all(other.enter(CLOCK.now()) for _ in range(2))
                tasks.start_soon(self._free, other)
            try:
                await act()
            except BaseException as raised:  # noqa: BLE001 - the test looks at it
                error = raised
        return error

    async def _free(self, other: Slots) -> None:
        await sleep(1)
        other.leave()
        other.leave()

    def check(self) -> None:
        """All that the call has taken is given back, and all that has begun has ended."""
        for slots in (self.slots, self.pace):
            assert (slots._in_flight, slots._batch_in_flight, slots._queue.count) == (0, 0, 0)
            assert not slots._queue.interactive
            assert not slots._queue.batch
        assert not self.wire.open
        assert self.lane is Lane.BATCH or self.wire.latest <= DEADLINE
        assert self.hook is None or not self.hook.under_way
        assert not self.alive


BUSY = ("", "slots", "pace", "outage")
Case = tuple[Lane, str, str]
CASES: list[Case] = list(product(Lane, BUSY, ("", "brings")))
"""The lane, what the call has to wait for, and the function of the token, if any."""
TOKEN_CASES: list[Case] = list(product(Lane, BUSY, ("stalls", "fails")))
ENDS: dict[str, Callable[[], type[BaseException]]] = {
    "closed": lambda: GeneratorExit,
    "interrupted": lambda: KeyboardInterrupt,
    "cancelled": anyio.get_cancelled_exc_class,
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing but the counts of references free memory."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("end", ENDS)
def test_an_interruption_at_any_await_leaves_nothing_behind(end: str, script: str) -> None:
    """Waits for a slot, the pace, a token, an answer and the next attempt, each cut off."""

    async def interrupt(case: Case, at: int) -> bool:
        lane, busy, token = case
        world = World(script, lane, busy, hook=Pairs(), token=token)
        step = Step(world.call(), at, ENDS[end]())
        error = await world.run(lambda: step)
        world.check()
        assert step.is_interrupted == isinstance(error, ENDS[end]()) or end == "closed"
        return step.is_interrupted

    for case in CASES + TOKEN_CASES * (script == "an answer"):
        awaits = 0
        while virtually(partial(interrupt, case, awaits), "asyncio"):
            awaits += 1
        assert awaits or case[2] == "fails"


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("busy", BUSY)
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_error_anywhere_leaves_nothing_behind(
    script: str, busy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the call asks for the time: an unexpected error there stands for all code around."""
    caplog.set_level(logging.DEBUG)

    async def fail(lane: Lane, at: int) -> bool:
        world = World(script, lane, busy)
        world.fails_at, act = at, world.call()
        error = await world.run(lambda: act)
        world.check()
        del error
        return world.fails_at <= 0

    for lane in Lane:
        asked = 1
        while virtually(partial(fail, lane, asked), "asyncio"):
            asked += 1
        assert asked > 1


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "event", ["call_started", "attempt_started", "attempt_ended", "call_ended", "paused", "held"]
)
def test_a_hook_that_fails_is_told_in_pairs(event: str, error: type[BaseException]) -> None:
    """An error of a hook changes nothing; an interruption comes out as itself."""

    async def fail() -> None:
        busy = "outage" if event == "held" else ""
        world = World("429", Lane.INTERACTIVE, busy, hook=Pairs(event, error))
        raised = await world.run(world.call)
        assert type(raised) is (KeyboardInterrupt if error is KeyboardInterrupt else type(None))
        world.check()

    virtually(fail, "asyncio")


@virtual
@pytest.mark.parametrize(
    "part",
    [
        "pace.enter",
        "pace.tell",
        "pace._adaptive.count_answer",
        "wire.send",
        "client._transport.auth.current",
    ],
)
async def test_a_part_that_fails_leaves_nothing_behind(part: str) -> None:
    """An unexpected error of the pace, the wire or the credentials, before and after the answer."""

    def fail(*_: object) -> None:
        raise LookupError

    world = World("rate-limit headers", Lane.INTERACTIVE, "", hook=Pairs(), token="brings")
    *path, name = part.split(".")
    setattr(attrgetter(".".join(path))(world), name, fail)
    assert isinstance(await world.run(world.call), SunshineError)
    world.check()


@virtual
async def test_a_call_that_alone_is_refused_ends_by_its_deadline() -> None:
    """The growing wait after a 429 that only this call meets doesn't go past the deadline."""
    world = World("429", Lane.INTERACTIVE, "")
    world.wire.replies = (Response(429, {}, b"") for _ in count())

    async def others() -> None:
        while True:
            await sleep(0.01)
            await acquire_slot(world.pace, CLOCK)
            world.pace.leave(now=CLOCK.now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        assert isinstance(await world.run(world.call), RateLimitError)
        tasks.cancel_scope.cancel()
    assert CLOCK.now() < DEADLINE


async def fail() -> str:
    """Bring no token."""
    raise LookupError


async def cancel(client: SunshineClient) -> None:
    """Cancel a create on its way."""
    async with asyncio.timeout(0.01):
        await client.users.create(UserCreateBody())


async def post(client: SmoochClient) -> None:
    """Post an image whose source fails."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError

    await client.app_users.post_image("jane", pieces(), role="appMaker")


async def answered(wire: Wire) -> Response:
    """Call by *wire*; return the answer."""
    reply = await call(wire)
    assert isinstance(reply, Response), reply
    return reply


async def create(client: SunshineClient) -> None:
    """Create a user."""
    await client.users.create(UserCreateBody())


async def hang_up(peer: Peer) -> None:
    """Hang up within an answer."""
    await peer.request()
    await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\nabc")
    peer.close()


SOCKETS: dict[str, tuple[Script, Callable[..., Any], Callable[[Any], Awaitable[None]]]] = {
    "an unreadable answer": (always, SunshineClient, create),
    "a refusal": (answering(*[answer(status="400 No")] * 2), SunshineClient, create),
    "a lost answer": (hang_up, SunshineClient, create),
    "a lost connection": (Peer.request, SunshineClient, create),
    "a cancellation": (silent, SunshineClient, cancel),
    "a source that fails": (silent, SmoochClient, post),
    "a token that fails": (
        silent,
        lambda *args, **options: SunshineClient(*args, **{**options, "auth": BearerAuth(fail)}),
        create,
    ),
    "no connection": (
        silent,
        lambda *args, **options: SunshineClient(
            *args, **{**options, "base_url": f"http://127.0.0.1:{unused_port()}"}
        ),
        create,
    ),
}


@pytest.mark.parametrize("end", SOCKETS)
async def test_no_end_of_a_call_needs_the_collector(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No body and no frame waits for the garbage collector, which a service may have turned off."""
    no_mocks(monkeypatch)
    script, make, act = SOCKETS[end]
    options = {"auth": KEY, "retry": Retry(max_attempts=1)}
    async with serving(script) as server, make("app", base_url=server.url, **options) as client:
        for _ in range(2):  # the second time, nothing is imported
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            try:
                with suppress(SunshineError, LookupError, TimeoutError):
                    await act(client)
                await settled()
                gc.collect()
                left = {type(one) for one in gc.garbage}
            finally:
                gc.set_debug(0)
                gc.garbage.clear()
                gc.enable()

    ours = [one for one in left if one.__module__.startswith(("sunshine_async", "httptools"))]
    assert not ours
    assert FrameType not in left


@pytest.mark.parametrize("secure", [False, True])
async def test_answers_give_the_collector_nothing_to_count(
    monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    """As many objects end with an answer as begin, until the event loop wakes the caller.

    A loop's pass takes the answers of many calls in flight before it wakes the first of them. The
    collector would visit all calls in flight, again and again, if it counted more and more objects.
    Nor may fewer and fewer be counted: the count ends at zero, and rises with the callers' turns.
    """
    no_mocks(monkeypatch)
    growth = Counter[int]()
    received = Connection.buffer_updated

    def counted(connection: Connection, nbytes: int) -> None:
        before = gc.get_count()[0]
        received(connection, nbytes)
        growth[gc.get_count()[0] - before] += 1

    monkeypatch.setattr(Connection, "buffer_updated", counted)
    context = tls() if secure else None
    script = answering(*[answer(DONE.body, status="201 Created")] * 9)
    async with (
        serving(script, tls=context and context.server) as server,
        SunshineClient(
            "app", auth=KEY, base_url=server.url, ssl_context=context and context.client
        ) as client,
    ):
        for _ in range(9):
            await create(client)
            gc.collect()  # counts begin anew: the collector doesn't run within an answer

    assert growth.most_common(1)[0][0] == 0, growth
    assert growth.total() == 9


def test_a_loop_that_is_closed_under_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once another loop calls, the collector frees the place of the call, without a complaint."""
    no_mocks(monkeypatch)
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)

    async def begin(client: SunshineClient) -> None:
        waiting = asyncio.create_task(create(client))
        await until(lambda: client.tally.requests > 0)
        await settled()
        waiting.add_done_callback(complaints.append)

    async def begin_and_cancel(client: SunshineClient) -> None:
        task = asyncio.create_task(create(client))
        await settled()
        task.cancel()

    with Blocking() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the closed loop has left open
        client = SunshineClient("app", auth=KEY, base_url=server.url, pace=Pace())
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(begin(client))
        loop.close()
        asyncio.run(begin_and_cancel(client))
        gc.collect()

    assert client.pace.snapshot().in_flight[Lane.INTERACTIVE] == 0
    assert not complaints


@pytest.mark.parametrize("open_wire", [wired, wired_by_httpx])
@pytest.mark.parametrize("secure", [True, False])
async def test_no_end_of_a_client_needs_the_collector(
    open_wire: Callable[..., Any], *, secure: bool
) -> None:
    """A pool and a connection free their memory when they are closed, without the collector."""
    context = tls() if secure else None
    async with serving(always, tls=context and context.server) as server:
        for _ in range(2):  # the second time, nothing is imported
            gc.collect()
            gc.disable()
            before = {*map(id, pooled())}  # of other tests
            try:
                async with open_wire(server.url, tls=context and context.client) as wire:
                    await answered(wire)
                    del wire
                left = [one for one in pooled() if id(one) not in before]
            finally:
                gc.enable()

    assert not left


async def test_a_close_that_is_cancelled_needs_no_collector() -> None:
    """No pool, connection or reader waits for the collector where the close of a client is cancelled."""
    async with serving(always) as server, wired(server.url) as wire:
        gc.collect()
        gc.disable()
        try:
            before = {*map(id, pooled())}
            await answered(wire)
            closing = asyncio.create_task(wire.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            del closing
            await settled()
            left = [one for one in pooled() if id(one) not in before]
        finally:
            gc.enable()

    assert not left


def pooled() -> list[object]:
    """Return all parts of pools in the process."""
    kinds = (Pool, Connection, ResponseParser, PlainResponseReader)
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


def body_of_kind(kind: str) -> bytes | StreamedBody | None:
    """Return a new body."""
    bodies = {"short": b"x", "longer than a buffer": bytes(5_000_000)}
    return Stuck() if kind == "streamed" else bodies.get(kind)


class Stuck(StreamedBody):
    """A body that stops after the first piece."""

    content_type = "image/png"
    ready = True  # type: ignore[assignment]
    length = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield b"x"
        await sleep(0.01)
        yield b"y"


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("kind", ["none", "short", "longer than a buffer", "streamed"])
@pytest.mark.parametrize("end", ENDS)
def test_an_interruption_at_any_await_leaves_the_pool_whole(
    end: str, kind: str, *, busy: bool
) -> None:
    """The first call of a loop, or one that waits behind another, by our own sockets."""

    async def interrupt(at: int) -> bool:
        async with serving(always) as server, wired(server.url, max_connections=1) as wire:
            before = asyncio.create_task(answered(wire)) if busy else None
            await sleep(0)
            act = call(wire, "POST", body=body_of_kind(kind))
            step = Step(act, at, ENDS[end]())
            with suppress(ENDS[end]()):
                await step
            if before is not None:
                assert (await before).body == b"0"
            pool = pool_of(wire)
            await until(lambda: not pool._connecting)
            assert not pool._queue
            assert pool._free_slots + len(pool._idle) == 1
            assert (await answered(wire)).ok
            return step.is_interrupted

    awaits = 0
    while virtually(partial(interrupt, awaits), "asyncio"):
        awaits += 1
    assert awaits
