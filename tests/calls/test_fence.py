"""The fence of a worker: nothing is sent without the lease, whatever the call waits for."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, Final, TypeAlias

import anyio
import pytest
from attrs import define, evolve, field
from support.backends import virtual_on_both
from support.clients import dixa, scripted, smooch, sunshine
from support.journals import effects
from support.servers import answer, serving, silent
from support.virtual import settled, sleep, until, virtual, virtually
from support.wires import AMPLE, ENDLESS, call, hand, no_mocks, pool_of, wired

from sunshine_async import ConnectError, bulk
from sunshine_async._calls.fence import TASK_LEASE, FencedWire
from sunshine_async._http.messages import (
    Failure,
    Headers,
    Request,
    Response,
    SendProgress,
    Timeout,
)
from sunshine_async.emulator import Emulator
from sunshine_async.errors import Fault
from sunshine_async.sunshine import (
    ActivityPost,
    Author,
    ConversationCreateBody,
    MessagePost,
    ParticipantJoinBody,
    TextMessage,
    UserCreateBody,
)

instantly = pytest.mark.usefixtures("instant_waits")

USER = (200, {"user": {"id": "1"}})
SENT = (201, {"messages": [{"id": "1", "received": "2020-09-30T13:46:02.733Z"}]})
JANE = ParticipantJoinBody(user_id="1")
TYPING = ActivityPost(author=Author(type="business"), type="typing:start")
HELLO = MessagePost(author=Author(type="business"), content=TextMessage(text="Hello"))


@define
class ScriptedLease:
    """A lease: the looks find *looks*, then *remaining* seconds."""

    looks: list[float]
    remaining: float = 60.0
    seen: list[float] = field(factory=list[float])

    @property
    def left(self) -> float:
        """The next of the looks."""
        self.seen.append(self.looks.pop(0) if self.looks else self.remaining)
        return self.seen[-1]


@contextmanager
def task_lease(lease: ScriptedLease) -> Iterator[None]:
    """Let the test's task work under *lease*."""
    token = TASK_LEASE.set(lease)
    try:
        yield
    finally:
        TASK_LEASE.reset(token)


@define
class SteppedWire:
    """A wire that does *step* for each request."""

    step: Callable[[Timeout, SendProgress], Awaitable[Response | Failure]]
    rounds: int = 0

    async def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Response | Failure:
        self.rounds += 1
        return await self.step(timeout, progress)

    async def aclose(self) -> None:
        """Have nothing to close."""


async def send_by(
    wire: SteppedWire, lease: ScriptedLease, timeout: Timeout = ENDLESS, *, patient: bool = False
) -> Response | Failure:
    """Send a request by *wire* while *lease* is valid; an attempt before was sent, and refused."""
    request, progress = Request("POST", "/"), SendProgress()
    progress.started = True
    fence = FencedWire(wire, lease, patient=patient)
    return await fence.send(request, {}, timeout=timeout, progress=progress)


async def answered(_: Timeout, __: SendProgress) -> Response:
    """Answer at once."""
    return Response(200, {}, b"")


@instantly
async def test_a_request_waits_for_the_lease() -> None:
    """While another worker may do the work of the task, nothing is sent; then the request is."""
    client, transport = scripted(SENT)
    lease = ScriptedLease([1.0, -1.0, -0.1])
    with task_lease(lease):
        assert (await client.messages.post("c", HELLO))[0].id == "1"
    assert lease.seen[1:4] == [-1.0, -0.1, 60.0]
    assert len(transport.requests) == 1


Call: TypeAlias = Callable[[Any], Awaitable[Any]]

CALLS: Final[Mapping[str, tuple[Any, Call]]] = {
    "a message": (sunshine, lambda client: client.messages.post("c", HELLO, once="k")),
    "a conversation": (
        sunshine,
        lambda client: client.conversations.create(ConversationCreateBody(type="personal")),
    ),
    "a user": (sunshine, lambda client: client.users.create(UserCreateBody())),
    "an upsert": (
        sunshine,
        lambda client: client.users.upsert(UserCreateBody(external_id="1")),
    ),
    "a participant": (sunshine, lambda client: client.participants.join("c", JANE)),
    "a hand-over": (sunshine, lambda client: client.switchboard_actions.release_control("c")),
    "a typing": (sunshine, lambda client: client.activities.post("c", TYPING)),
    "a deletion": (sunshine, lambda client: client.messages.delete_all("c")),
    "a free request": (sunshine, lambda client: client.request("POST", "/v2/x", json=1)),
    "a view": (sunshine, lambda client: client.with_options(timeout=9).users.delete("1")),
    "an app user": (smooch, lambda client: client.app_users.delete("1")),
    "an end user": (dixa, lambda client: client.end_users.anonymize("1")),
}
"""Calls by all clients, and by all ways to a call."""


@pytest.mark.parametrize("name", CALLS)
async def test_nothing_is_sent_after_the_loss(name: str) -> None:
    """Once another worker has the work no call of the task has an effect, and each call says so."""
    make, act = CALLS[name]
    client, transport = scripted(client=make)
    with task_lease(ScriptedLease([], -inf)), pytest.raises(ConnectError, match="again") as caught:
        await act(client)
    assert not caught.value.maybe_applied
    assert transport.requests == []


async def test_many_calls_after_the_loss() -> None:
    """The calls of a batch within the task are fenced as well."""
    client, transport = scripted()
    with task_lease(ScriptedLease([], -inf)):
        async with client.users.delete_many(["1", "2"]) as outcomes:
            assert [type(one) async for one in outcomes] == [bulk.Failed, bulk.Failed]
    assert transport.requests == []


@instantly
async def test_a_lease_that_ends_before_the_sending() -> None:
    """A request whose lease ends right before the sending waits, and is sent once."""
    client, transport = scripted(USER, USER)
    lease = ScriptedLease([1.0, 1e-9, -0.001])
    view = client.with_wire(lambda wire: FencedWire(wire, lease))
    assert (await view.users.get("1")).id == "1"
    assert lease.seen[1:4] == [1e-9, -0.001, 60.0]
    assert len(transport.requests) == 1


@instantly
async def test_a_kept_connection(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a kept connection a request leaves at once, and never twice, at any end of the lease."""
    no_mocks(monkeypatch)
    lease = ScriptedLease([1.0, 1.0, 1.0, -0.001])
    async with emulator.serve() as url, sunshine(None, base_url=str(url)) as client:
        with task_lease(lease):
            for number in range(3):
                await client.users.create(UserCreateBody(external_id=f"user-{number}"))
    assert -0.001 in lease.seen
    assert effects(emulator, "sunshine") == {"create": 3}
    assert emulator.requests == 3


async def test_a_stopped_process() -> None:
    """After a stop a request isn't sent on a connection that came free while the lease ended."""
    lease = ScriptedLease([])
    async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, wire)
            await until(lambda: len(server.requests) == 1)
            tasks.start_soon(call, FencedWire(wire, lease))
            await until(lambda: bool(pool_of(wire)._queue))
            [connection] = pool_of(wire)._connections
            lease.remaining = -1.0
            hand(connection, answer())
            await settled()
            tasks.cancel_scope.cancel()
        assert list(pool_of(wire)._idle) == [connection]
    assert len(server.requests) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_that_leaves_as_the_lease_ends(backend: str) -> None:
    """A request that leaves after the cancellation at the end of the lease isn't sent again."""

    async def step(_: Timeout, progress: SendProgress) -> Failure:
        assert wire.rounds == 1
        with anyio.CancelScope(shield=True):
            await sleep(2.0)
        progress.started = True
        await sleep(1.0)
        raise AssertionError

    wire = SteppedWire(step)
    reply = virtually(lambda: send_by(wire, ScriptedLease([], 1.0)), backend)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.LOST


@virtual
async def test_a_request_that_has_left_waits_for_its_answer() -> None:
    """The end of the lease ends no wait for an answer."""

    async def step(_: Timeout, progress: SendProgress) -> Response:
        progress.started = True
        await sleep(5.0)
        return Response(200, {}, b"")

    assert isinstance(await send_by(SteppedWire(step), ScriptedLease([], 1.0)), Response)


@virtual
async def test_a_request_that_has_not_left_after_all_needs_the_lease() -> None:
    """A request that a kept connection didn't take waits for another until the lease ends."""

    async def step(_: Timeout, progress: SendProgress) -> Response:
        progress.started = True
        progress.started = False
        await sleep(9.0 if wire.rounds == 1 else 0.0)
        return Response(200, {}, b"")

    wire = SteppedWire(step)

    assert isinstance(await send_by(wire, ScriptedLease([], 1.0)), Response)
    assert anyio.current_time() == pytest.approx(1.0)
    assert wire.rounds == 2


@virtual_on_both
async def test_a_cancellation_at_the_end_of_the_lease() -> None:
    """A cancellation by the caller, at the moment at which the lease ends, is the caller's."""

    async def step(_: Timeout, __: SendProgress) -> Failure:
        await sleep(9.0)
        raise AssertionError

    wire = SteppedWire(step)
    with anyio.move_on_after(1.0) as scope:
        await send_by(wire, ScriptedLease([], 1.0))
    assert scope.cancelled_caught

    assert wire.rounds == 1


@virtual
@pytest.mark.parametrize(("total", "rounds"), [(20.0, 7), (6.0, 2), (2.0, 1)])
async def test_a_connection_that_is_never_made(total: float, rounds: int) -> None:
    """Over all leases together, a wait for a connection ends at the total time limit."""

    async def step(timeout: Timeout, _: SendProgress) -> Failure:
        assert wire.rounds <= rounds
        await sleep(min(timeout.total or 0.0, timeout.connect or 0.0))
        return Failure(Fault.UNSENT, "no connection")

    wire = SteppedWire(step)
    reply = await send_by(wire, ScriptedLease([], 3.0), evolve(AMPLE, total=total, connect=5))
    assert isinstance(reply, Failure)
    assert reply.fault is Fault.UNSENT
    assert anyio.current_time() == pytest.approx(total)

    assert wire.rounds == rounds


@virtual
@pytest.mark.parametrize("total", [20.0, 0.25])
async def test_a_lease_that_nobody_renews(total: float) -> None:
    """A wait for a renewal ends at the total time limit, and is no fault of the service."""
    wire = SteppedWire(answered)
    reply = await send_by(wire, ScriptedLease([], -1.0), evolve(AMPLE, total=total))
    assert isinstance(reply, Failure)
    assert reply.fault is Fault.PERMANENT
    assert anyio.current_time() == pytest.approx(total, abs=0.11)

    assert wire.rounds == 0


@virtual
async def test_a_patient_fence() -> None:
    """For a job a wait for a renewal doesn't count towards the time limit."""
    wire, lease = SteppedWire(answered), ScriptedLease([-1.0] * 101)
    reply = await send_by(wire, lease, evolve(AMPLE, total=1.0), patient=True)
    assert isinstance(reply, Response)
    assert anyio.current_time() == pytest.approx(10.0)

    assert wire.rounds == 1


@virtual
async def test_a_patient_fence_that_makes_no_connection() -> None:
    """A job's request that found no connection is no request of a worker that lost the lease."""

    async def step(_: Timeout, __: SendProgress) -> Failure:
        await sleep(9.0)
        raise AssertionError

    lease = ScriptedLease([1.0, 1.0, -1.0, -1.0])
    reply = await send_by(SteppedWire(step), lease, evolve(AMPLE, total=1.0), patient=True)
    assert isinstance(reply, Failure)
    assert reply.fault is Fault.UNSENT


@pytest.mark.parametrize(
    ("allowed", "left", "may_start"), [(True, 1.0, True), (False, 1.0, False), (True, -1.0, False)]
)
async def test_the_start_is_looked_at(*, allowed: bool, left: float, may_start: bool) -> None:
    """A request may start if the lease is valid then and nothing else forbids the start."""

    class Progress(SendProgress):
        @property
        def may_start(self) -> bool:
            return allowed

    async def step(_: Timeout, fenced: SendProgress) -> Response:
        lease.remaining = left
        assert (fenced.may_start, fenced.started) == (may_start, False)
        fenced.started = True
        assert fenced.started
        return Response(200, {}, b"")

    lease, progress = ScriptedLease([]), Progress()
    fence = FencedWire(SteppedWire(step), lease)
    assert isinstance(await fence.send(Request("POST", "/"), {}, AMPLE, progress), Response)
    assert progress.started
