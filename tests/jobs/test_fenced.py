"""A job that has lost its journal to another process: nothing more is sent, and the job says so."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import anyio
import httpx
import pytest
from attrs import define, evolve, field
from support.certificates import tls
from support.clients import scripted, sunshine
from support.journals import effects, end_ownership, run_with_journal
from support.patience import PATIENCE as AT_MOST
from support.postgres import PostgresServer
from support.servers import Peer, answer, serving, silent
from support.virtual import settled, sleep, until, virtually
from support.wires import AMPLE, ENDLESS, call, hand, no_mocks, pool_of, wired

from sunshine_async import ConnectError, Retry, jobs
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
from sunshine_async.jobs import SUNSHINE, Ending, JournaledJob, Mode
from sunshine_async.jobs.recovery import FencedWire, fenced
from sunshine_async.jobs.report import Cause
from sunshine_async.journal import JournalLease
from sunshine_async.journal.lease import PATIENCE, now
from sunshine_async.sunshine import UserCreateBody

instantly = pytest.mark.usefixtures("instant_waits")

USER = (200, {"user": {"id": "1"}})


@define
class Store:
    """A store that renews each lease, or none, or is away."""

    renews: bool | None

    def renew(self) -> bool:
        if self.renews is None:
            raise ConnectionError
        return self.renews


@contextmanager
def lease_of(
    seconds: float, *, age: float, renews: bool | None, patience: float = PATIENCE
) -> Iterator[JournalLease]:
    """Give a lease of *seconds* that was last renewed *age* seconds ago."""
    store = Store(renews)
    lease = JournalLease(seconds, store.renew, since=now() - age, patience=patience)
    try:
        yield lease
    finally:
        lease.end()


class ScriptedLease(JournalLease):
    """A lease that nobody renews: the looks find *looks*, then *left* seconds."""

    def __init__(self, *looks: float, left: float) -> None:
        super().__init__(60.0, Store(renews=True).renew, since=now())
        self.end()
        self._looks: Final = list(looks)
        self.remaining = left

    @property
    def left(self) -> float:
        """The next of the looks."""
        return self._looks.pop(0) if self._looks else self.remaining


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
    wire: SteppedWire, lease: JournalLease, timeout: Timeout = ENDLESS
) -> Response | Failure:
    """Send a request by *wire* while *lease* is valid; an attempt before was sent, and refused."""
    request, progress = Request("POST", "/"), SendProgress()
    progress.started = True
    return await FencedWire(wire, lease).send(request, {}, timeout=timeout, progress=progress)


async def test_a_valid_lease_lets_requests_pass() -> None:
    """With a valid lease, and without any lease, requests are sent as ever."""
    client, transport = scripted(USER, USER)
    async with client:
        assert fenced(client, None) is client
        with lease_of(60.0, age=0.0, renews=True) as lease:
            view = fenced(client, lease)
            assert (await view.users.get("1")).id == "1"
            await vars(view)["_transport"].wire.aclose()
            assert (await view.users.get("1")).id == "1"
    assert len(transport.requests) == 2


@instantly
async def test_an_expired_lease_holds_requests_back() -> None:
    """After the lease a request waits for the renewal, and is then sent."""
    client, transport = scripted(USER)
    async with client:
        with lease_of(0.2, age=60.0, renews=True) as lease:
            assert (await fenced(client, lease).users.get("1")).id == "1"
    assert len(transport.requests) == 1


@instantly
async def test_a_lost_lease_ends_requests() -> None:
    """Once another process has the journal a call fails for good, and nothing was sent."""
    client, transport = scripted()
    async with client:
        with lease_of(0.01, age=60.0, renews=False) as lease:
            with pytest.raises(ConnectError, match="another process has the journal") as caught:
                await fenced(client, lease).users.delete("1")
            assert not caught.value.maybe_applied
    assert transport.requests == []


@instantly
async def test_a_lease_that_ends_between_two_looks() -> None:
    """A request whose lease ends right before the sending waits, and is sent once."""
    client, transport = scripted(USER, USER)
    async with client:
        view = fenced(client, ScriptedLease(1.0, -0.001, left=60.0))
        assert (await view.users.get("1")).id == "1"
    assert len(transport.requests) == 1


@instantly
async def test_a_kept_connection(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a kept connection a request leaves at once, and never twice, at any end of the lease."""
    no_mocks(monkeypatch)
    async with emulator.serve() as url, sunshine(None, base_url=str(url)) as client:
        view = fenced(client, ScriptedLease(1.0, 1.0, 1.0, -0.001, left=60.0))
        for number in range(3):
            await view.users.create(UserCreateBody(external_id=f"user-{number}"))
    assert effects(emulator, "sunshine") == {"create": 3}
    assert emulator.requests == 3


async def test_a_stopped_process() -> None:
    """After a stop a request isn't sent on a connection that came free while the lease ended."""
    lease = ScriptedLease(left=60.0)
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
    reply = virtually(lambda: send_by(wire, ScriptedLease(left=1.0)), backend)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.LOST


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancellation_at_the_end_of_the_lease(backend: str) -> None:
    """A cancellation by the caller, at the moment at which the lease ends, is the caller's."""

    async def step(_: Timeout, __: SendProgress) -> Failure:
        await sleep(9.0)
        raise AssertionError

    async def scenario() -> bool:
        with anyio.move_on_after(1.0) as scope:
            await send_by(wire, ScriptedLease(left=1.0))
        return scope.cancelled_caught

    wire = SteppedWire(step)
    assert virtually(scenario, backend)
    assert wire.rounds == 1


@pytest.mark.parametrize(("total", "rounds"), [(20.0, 7), (6.0, 2), (2.0, 1)])
def test_a_connection_that_is_never_made(total: float, rounds: int) -> None:
    """Over all leases together, a wait for a connection ends at the total time limit."""

    async def step(timeout: Timeout, _: SendProgress) -> Failure:
        assert wire.rounds <= rounds
        await sleep(min(timeout.total or 0.0, timeout.connect or 0.0))
        return Failure(Fault.UNSENT, "no connection")

    async def scenario() -> float:
        reply = await send_by(wire, ScriptedLease(left=3.0), evolve(AMPLE, total=total, connect=5))
        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT
        return anyio.current_time()

    wire = SteppedWire(step)
    assert virtually(scenario, "asyncio") == pytest.approx(total)
    assert wire.rounds == rounds


@instantly
@pytest.mark.slow
async def test_a_request_that_waits_for_a_connection() -> None:
    """A request that has no connection at the end of the lease isn't sent on a later connection."""
    certificates = tls()
    with lease_of(0.5, age=0.0, renews=None, patience=0.2) as lease:

        async def script(peer: Peer) -> None:
            await until(lambda: lease.left < -0.1)
            await peer.writer.start_tls(certificates.server)
            await peer.request()

        async with (
            serving(script, secure=True, deaf=True) as server,
            sunshine(None, base_url=server.url, ssl_context=certificates.client) as client,
        ):
            with pytest.raises(ConnectError, match="another process has the journal"):
                await fenced(client, lease).users.get("1")
            await until(lambda: lease.left < -0.4)
        assert server.requests == []


@define
class Takeover(httpx.AsyncBaseTransport):
    """A transport to an emulator; at request number *at* something happens to the journal."""

    inner: httpx.AsyncBaseTransport
    happens: Callable[[], None]
    at: int
    requests: int = field(default=0, init=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if self.requests == self.at:
            self.happens()
        return await self.inner.handle_async_request(request)


@instantly
async def test_a_job_without_its_journal_gives_up(emulator: Emulator, journal_url: str) -> None:
    """A job that has lost the journal gives up; the next job looks at each row that had begun."""
    rows = [{"externalId": f"user-{n}"} for n in range(40)]
    taken = Takeover(emulator.transport(), partial(end_ownership, journal_url), at=7)
    async with sunshine(taken, retry=Retry(max_attempts=1)) as client:
        report = await run_with_journal(
            client, SUNSHINE, journal_url, rows, Mode.CREATE, concurrency=2
        )
        assert report.ending is Ending.GAVE_UP
        assert "has another owner" in (report.reason or "") or "another process" in (
            report.reason or ""
        )
        assert taken.requests < len(rows)

        again = await run_with_journal(client, SUNSHINE, journal_url, rows, Mode.CREATE)
    assert (again.ending, again.done) == (Ending.ALL, len(rows))
    assert effects(emulator, "sunshine") == {"create": len(rows)}


def stopped(job: JournaledJob) -> None:
    """Stop *job*, as a signal does."""
    job.stop()


def impatient(job: JournaledJob) -> None:
    """Let *job* have no patience with its database."""
    assert job.journal.lease is not None
    job.journal.lease.hurry(0.0)


@instantly
@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "ending", "cause"),
    [(stopped, Ending.STOPPED, Cause.JOB), (impatient, Ending.GAVE_UP, Cause.DATABASE)],
)
async def test_a_job_whose_database_stays_away(
    *, emulator: Emulator, postgres: PostgresServer, journal_url: str,
    act: Callable[[JournaledJob], None], ending: Ending, cause: Cause,
) -> None:  # fmt: skip
    """A stopped job waits no longer than its grace; the next job looks at each row that had begun."""
    rows = [{"externalId": f"user-{n}"} for n in range(40)]
    create, url = (SUNSHINE, Mode.CREATE), f"{journal_url}&lease=1"

    def leave() -> None:
        postgres.stop()
        act(job)

    away = Takeover(emulator.transport(), leave, at=7)
    async with sunshine(away) as client:
        with anyio.fail_after(AT_MOST):
            async with jobs.open(url, client, *create, concurrency=2, grace=0.1) as job:
                report = await job.run(rows)
        postgres.start()
        assert (report.ending, job.cause) == (ending, cause)
        assert away.requests < len(rows)

        again = await run_with_journal(client, SUNSHINE, url, rows, Mode.CREATE)
    assert (again.ending, again.done) == (Ending.ALL, len(rows))
    assert effects(emulator, "sunshine") == {"create": len(rows)}
