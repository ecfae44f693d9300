"""A job that has lost its journal to another process: nothing more is sent, and the job says so."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial

import anyio
import httpx
import pytest
from anyio import to_thread
from attrs import define, field
from support.certificates import tls
from support.clients import scripted, sunshine
from support.journals import effects, end_ownership, owner_of, run_with_journal
from support.patience import PATIENCE as AT_MOST
from support.postgres import PostgresServer
from support.servers import Peer, serving
from support.virtual import until

from sunshine_async import ConnectError, Retry, jobs
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SUNSHINE, Ending, JournaledJob, Mode
from sunshine_async.jobs.recovery import fenced
from sunshine_async.jobs.report import Cause
from sunshine_async.journal import JournalLease, place_of
from sunshine_async.journal.lease import PATIENCE, now
from sunshine_async.journal.postgres_database import PostgresPlace
from sunshine_async.journal.postgres_journal import PostgresJournal

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


@pytest.mark.slow
async def test_a_wait_for_a_killed_owner_is_cancelled(journal_url: str) -> None:
    """A job that waits for the lease of a killed process ends with its task."""
    place = place_of(f"{journal_url}&lease=100")
    assert isinstance(place, PostgresPlace)
    looks = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%journal%'"
    journal = await to_thread.run_sync(PostgresJournal, place)
    with closing(journal):
        journal._lease.end()
        before = owner_of(journal_url, looks)
        async with sunshine(None) as client, anyio.create_task_group() as tasks:

            async def wait() -> None:
                async with jobs.open(journal_url, client, SUNSHINE, Mode.CREATE):
                    raise AssertionError

            tasks.start_soon(wait)
            await until(lambda: owner_of(journal_url, looks) != before)
            tasks.cancel_scope.cancel()
    assert tasks.cancel_scope.cancelled_caught


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
