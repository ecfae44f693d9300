"""The first call of a job goes alone: refused credentials cost a single request."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.clients import dixa, smooch, sunshine
from support.journals import begun, run_with_journal, write
from support.virtual import sleep, virtual

from sunshine_async import Retry
from sunshine_async.jobs import DIXA, SMOOCH, SUNSHINE, BadRow, Ending, Job, Mode, Report, Row
from sunshine_async.journal import Journal

NUMBER = 300
CLIENTS = {"sunshine": sunshine, "smooch": smooch, "dixa": dixa}
KINDS = [
    (service, mode)
    for service in (SUNSHINE, SMOOCH, DIXA)
    for mode in service.tasks
]  # fmt: skip
REFUSALS = [401, 402, 403]


class Refusing:
    """Service that refuses all requests with a status, from the first on; *sent* has the methods."""

    def __init__(self, status: int = 401) -> None:
        self.sent: list[str] = []
        self._status = status

    def client(self, service: str) -> Any:
        transport = httpx.MockTransport(self._answer)
        return CLIENTS[service](transport, retry=Retry(max_attempts=1))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.method)
        return httpx.Response(self._status, json={"errors": [{"code": "no", "title": "No"}]})


def people(service: str, mode: Mode, number: int = NUMBER) -> list[dict[str, Any]]:
    """Return rows for *mode*; every second row of Dixa has no external id."""
    by_id = mode in (Mode.UPDATE, Mode.DELETE)
    more = {"text": "Hello"} if mode is Mode.MESSAGE else {}
    if service == "dixa" and by_id:
        return [{"id": f"00000000-0000-4000-8000-{n:012}"} for n in range(number)]
    if service == "dixa":
        ids = [{"externalId": f"user-{n}"} if n % 2 else {} for n in range(number)]
        return [{**ids[n], "email": f"{n}@x.org"} for n in range(number)]
    key = "userId" if service == "smooch" else "externalId"
    return [{key: f"user-{n}", **more} for n in range(number)]


async def as_stream(rows: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """Yield *rows*, as a program that reads a database does."""
    for row in rows:
        yield row


def assert_given_up(report: Report, service: Refusing) -> None:
    assert len(service.sent) == report.requests == 1, service.sent
    assert report.ending is Ending.GAVE_UP
    assert report.reason is not None
    assert report.reason.startswith("no row would fare better: 40")


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("concurrency", [None, "auto", 1, 64])
@pytest.mark.parametrize(("service", "mode"), KINDS)
async def test_refused_credentials_cost_one_request(
    service: Any, mode: Mode, concurrency: Any, status: int
) -> None:
    """A job of any kind, with any concurrency, sends one request with refused credentials."""
    refusing = Refusing(status)
    async with refusing.client(service.name) as client:
        job = Job(client, service, mode, concurrency=concurrency)
        report = await job.run(as_stream(people(service.name, mode)))
    assert_given_up(report, refusing)
    assert report.rows == report.failed <= 100


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize(("service", "mode"), KINDS)
async def test_with_a_journal(
    path: Path, file: Path, service: Any, mode: Mode, status: int, *, at_hand: bool
) -> None:
    """A job with a journal sends one request, and so does each further run; all rows wait."""
    rows: Any = people(service.name, mode)
    if not at_hand:
        rows = write(file, rows)
    for _ in range(2):
        refusing = Refusing(status)
        async with refusing.client(service.name) as client:
            report = await run_with_journal(client, service, path, rows, mode)
        assert_given_up(report, refusing)
        assert report.rows == 0


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize(("service", "mode"), KINDS)
async def test_after_a_kill(path: Path, file: Path, service: Any, mode: Mode) -> None:
    """Rows that a killed run had begun are looked up, or sent again, by one request first."""
    write(file, people(service.name, mode))
    for _ in range(2):
        refusing = Refusing()
        async with refusing.client(service.name) as client:
            report = await run_with_journal(client, service, path, file, mode)
        assert_given_up(report, refusing)
        begun(path, *range(1, NUMBER // 2))


async def test_patches_of_known_users(path: Path, file: Path) -> None:
    """A refused patch of users with a known id is the only request: no other row is looked up."""
    write(file, people("dixa", Mode.UPSERT))
    async with Refusing().client("dixa") as client:
        await run_with_journal(client, DIXA, path, file, Mode.UPSERT)
    journal = Journal(path)
    journal.write((), begun={1: "00000000-0000-4000-8000-000000000001"})
    journal.close()
    refusing = Refusing()
    async with refusing.client("dixa") as client:
        report = await run_with_journal(client, DIXA, path, file, Mode.UPSERT)
    assert_given_up(report, refusing)
    assert refusing.sent == ["PATCH"]


async def test_rows_that_need_no_call() -> None:
    """Rows that end without a call try no credentials: the first row with a call goes alone."""
    refusing = Refusing()
    rows = [
        BadRow(1, "not JSON"),
        *(Row(line, {"externalId": ".."}) for line in range(2, 200)),
        *(Row(line, {"externalId": f"user-{line}"}) for line in range(200, 400)),
    ]
    async with refusing.client("sunshine") as client:
        report = await Job(client, SUNSHINE, Mode.UPDATE).run(rows)
    assert_given_up(report, refusing)
    assert (report.bad, report.failed, report.last_line) == (199, 1, 200)


async def test_rows_that_nothing_can_tell(path: Path, file: Path) -> None:
    """Rows that a killed run left unknown end without a call, before the first call."""
    write(file, [{"profile": {"givenName": f"User {n}"}} for n in range(NUMBER)])
    async with Refusing().client("sunshine") as client:
        await run_with_journal(client, SUNSHINE, path, file, Mode.CREATE)
    begun(path, *range(1, NUMBER // 2))
    refusing = Refusing()
    async with refusing.client("sunshine") as client:
        report = await run_with_journal(client, SUNSHINE, path, file, Mode.CREATE)
    assert_given_up(report, refusing)
    assert report.unknown == NUMBER // 2 - 1


class Slow(httpx.AsyncBaseTransport):
    """Service whose first answer takes 20 seconds; *running* counts the requests under way."""

    def __init__(self) -> None:
        self.running = self.sent = 0
        self.begun = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer *request*, the first request after 20 seconds."""
        self.sent += 1
        self.running += 1
        self.begun.set()
        await sleep(1 if self.sent > 1 else 20)
        self.running -= 1
        return httpx.Response(201, json={"user": {"id": json.loads(request.content)["externalId"]}})


@virtual
async def test_slow_first_call() -> None:
    """The other calls start when the first has ended, all at once."""
    slow = Slow()
    async with sunshine(slow) as client, anyio.create_task_group() as tasks:
        job = Job(client, SUNSHINE, Mode.CREATE)
        tasks.start_soon(job.run, people("sunshine", Mode.CREATE))
        await slow.begun.wait()
        await sleep(19)
        assert (slow.sent, job.under_way) == (1, 1)
        await sleep(1.5)
        assert (slow.sent, slow.running) == (65, 64)
    assert job.report.done == NUMBER


@virtual
async def test_stop_during_the_first_call() -> None:
    """A stop during the first call lets the first row end, and takes no other row."""
    slow = Slow()
    async with sunshine(slow) as client, anyio.create_task_group() as tasks:
        job = Job(client, SUNSHINE, Mode.CREATE)
        tasks.start_soon(job.run, people("sunshine", Mode.CREATE))
        await slow.begun.wait()
        await sleep(19)
        job.stop()
    assert (job.report.done, job.report.rows, slow.sent) == (1, 1, 1)


async def test_cancelled_first_call(path: Path, file: Path) -> None:
    """A first call that other code cancels is unknown, and the others start."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if b'"user-0"' in request.content:
            raise anyio.get_cancelled_exc_class()
        return httpx.Response(201, json={"user": {"id": "1"}})

    rows = people("sunshine", Mode.CREATE)
    async with sunshine(httpx.MockTransport(answer)) as client:
        report = await Job(client, SUNSHINE, Mode.CREATE).run(rows)
        assert (report.unknown, report.done) == (1, NUMBER - 1)
        report = await run_with_journal(client, SUNSHINE, path, write(file, rows), Mode.CREATE)
    assert (report.unknown, report.done) == (1, NUMBER - 1)


async def test_cancelled_job_during_the_first_call() -> None:
    """A job that is cancelled during the first call sends nothing more."""
    slow = Slow()
    async with sunshine(slow) as client:
        job = Job(client, SUNSHINE, Mode.CREATE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job.run, people("sunshine", Mode.CREATE))
            tasks.cancel_scope.cancel()
    assert slow.sent <= 1
