"""The progress of a job: a steady time left, the reading of a long file, the reason for a wait."""

from collections.abc import Iterator, Sequence
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from attrs import define, field, frozen
from support.clients import sunshine
from support.journals import begun, write
from support.size import sized
from support.virtual import sleep, virtual, virtually

from sunshine_async import jobs
from sunshine_async.jobs import SUNSHINE, Job, Mode, open_rows
from sunshine_async.jobs.progress import Progress, recent_rate
from sunshine_async.jobs.timeline import Part
from sunshine_async.rows import RowFile

SCALE = sized(2, 4)
"""Times fewer calls at once, rows and allowed calls: the time and the shares stay the same."""
CONCURRENCY = 20 // SCALE
ROUNDING = 1.0
"""Seconds of which nobody speaks."""


@define
class Service(httpx.AsyncBaseTransport):
    """Service in time that jumps: a call takes a fifth of a second, or what is said here."""

    slow_until: float = 0.0
    """Time until which a call takes two seconds instead of a fifth."""
    gone: tuple[float, float] = (0.0, 0.0)
    allowed: int = 0
    """Calls in ten seconds; more are refused until the next ten seconds. 0: any number."""
    asked: dict[int, int] = field(factory=dict)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer *request*."""
        now = anyio.current_time()
        if self.gone[0] <= now < self.gone[1]:
            await sleep(0.05)
            return httpx.Response(503)
        window = int(now // 10)
        self.asked[window] = self.asked.get(window, 0) + 1
        if 0 < self.allowed < self.asked[window]:
            return httpx.Response(429, headers={"Retry-After": f"{ceil((window + 1) * 10 - now)}"})
        await sleep(2.0 if now < self.slow_until else 0.2)
        return httpx.Response(201, json={"user": {"id": "1"}})


@frozen
class Sample:
    """Progress at a time; *held* seconds until then don't count."""

    at: float
    held: float
    progress: Progress


async def watched(job: Job, rows: Path) -> tuple[list[Sample], float]:
    """Run *job*; return its progress twice a second, and the end, held seconds left out."""
    samples: list[Sample] = []
    job._clock = anyio.current_time  # type: ignore[misc]

    async def watch() -> None:
        while True:
            await sleep(0.5)
            samples.append(Sample(anyio.current_time(), job._outage.seconds, job.progress()))

    with open_rows(rows, job.shape) as found:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await job.run(found)
            tasks.cancel_scope.cancel()
    return samples, anyio.current_time() - job.report.held


def assert_right(samples: Sequence[Sample], end: float, *, number: int, before: int = 0) -> None:
    """Fail if the time left after a tenth of the rows is ever wrong by more than a quarter."""
    checked = 0
    for sample in samples:
        shown, truth = sample.progress, end - (sample.at - sample.held)
        if shown.rows >= before + (number - before) / 10:
            assert shown.left is not None
            assert abs(shown.left - truth) <= truth / 4 + ROUNDING, sample
            checked += 1
    assert checked > 50


CASES = {
    "hold of 30 s": (lambda: Service(gone=(30.0, 60.0)), 6000),
    "steady": (Service, 6000),
    "slow start": (lambda: Service(slow_until=5.0), 6000),
    "600 in 10 s": (lambda: Service(allowed=600 // SCALE), 12_000),
}


@virtual
@pytest.mark.slow
@pytest.mark.costly
@pytest.mark.parametrize("name", CASES)
async def test_time_left(file: Path, name: str) -> None:
    """After a tenth of the rows the time left is within 25 % of the truth, and stays so."""
    make, number = CASES[name][0], CASES[name][1] // SCALE
    write(file, ({"externalId": f"user-{n:06}"} for n in range(number)))

    async with sunshine(make()) as client:
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=CONCURRENCY)
        samples, end = await watched(job, file)
    assert job.report.done == number
    assert_right(samples, end, number=number)


@pytest.mark.slow
@pytest.mark.costly
@pytest.mark.parametrize("name", ["steady", "slow start", "600 in 10 s", "hold of 30 s"])
def test_time_left_of_a_resumed_job(path: Path, file: Path, name: str) -> None:
    """The same holds for a job that goes on after half of the rows, of the rows that are left."""
    make, number = CASES[name][0], CASES[name][1] // SCALE
    write(file, ({"externalId": f"user-{n:06}"} for n in range(2 * number)))

    async def half() -> None:
        sent = count(1)

        def answer(_: httpx.Request) -> httpx.Response:
            if next(sent) == number:
                job.stop()
            return httpx.Response(201, json={"user": {"id": "1"}})

        async with (
            sunshine(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            with open_rows(file, job.shape) as rows:
                await job.run(rows)

    async def scenario() -> None:
        async with (
            sunshine(make()) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=CONCURRENCY) as job,
        ):
            samples, end = await watched(job, file)
        before = job.report.before
        assert number <= before < number + 100
        assert {sample.progress.total for sample in samples} == {2 * number}
        assert_right(samples, end, number=2 * number, before=before)

    anyio.run(half)
    virtually(scenario, "asyncio")


class TestTotal:
    @pytest.mark.slow
    async def test_estimate(self, file: Path) -> None:
        """Without a journal the number of rows is told from the part of the file that was read."""
        number = sized(3000, 900)
        write(file, ({"externalId": f"user-{n:06}"} for n in range(number)))
        seen: list[int | None] = []

        def answer(_: httpx.Request) -> httpx.Response:
            seen.append(job.progress().total)
            return httpx.Response(201, json={"user": {"id": "1"}})

        async with sunshine(httpx.MockTransport(answer)) as client:
            job = Job(client, SUNSHINE, Mode.CREATE)
            assert job.progress() == Progress()
            with open_rows(file, job.shape) as rows:
                await job.run(rows)
        assert all(total is not None and abs(total - number) < number / 50 for total in seen)

    async def test_rows_of_a_program(self) -> None:
        """The number of rows that a program yields is unknown, and so is the time left."""
        async with sunshine(httpx.MockTransport(lambda _: httpx.Response(201, json={}))) as client:
            job = Job(client, SUNSHINE, Mode.CREATE)
            await job.run([{"externalId": "a"}])
        now = job.progress()
        assert (now.rows, now.total, now.share, now.left) == (1, None, None, None)


class Probe:
    """Rows of a file that note the progress of *job* while the rows are read."""

    def __init__(self, rows: RowFile, job: Job) -> None:
        self.seen: list[Progress] = []
        self._job = job
        self._again = rows.again
        self._watch(rows)
        rows.again = self._open_again  # type: ignore[method-assign]

    def _open_again(self) -> RowFile:
        rows = self._again()
        self._watch(rows)
        return rows

    def _watch(self, rows: RowFile) -> None:
        rows._rows = self._noted(rows._rows)  # type: ignore[assignment, misc]

    def _noted(self, rows: Any) -> Iterator[Any]:
        for number, row in enumerate(rows, 1):
            if number % 100 == 0:
                self.seen.append(self._job.progress())
            yield row


class TestReading:
    """While a long file is read, before any row is sent, the progress tells how far."""

    NUMBER = 400

    async def test_of_a_first_run(self, path: Path, file: Path) -> None:
        """A first run reads the file into the journal, before the number of rows is known."""
        seen = await self._seen(path, file)
        assert [(now.lines, now.lines_share, now.total) for now in seen[:4]] == [
            (100, 0.25, None), (200, 0.5, None), (300, 0.75, None), (400, 1.0, None),
        ]  # fmt: skip
        assert seen[-1].lines is None  # rows are sent

    async def test_of_a_resumed_run(self, path: Path, file: Path) -> None:
        """A resumed run reads the file up to the first row that isn't done."""
        await self._seen(path, file)
        begun(path, self.NUMBER)
        seen = await self._seen(path, file)
        assert [(now.lines, now.lines_share, now.rows) for now in seen] == [
            (100, 0.25, 399), (200, 0.5, 399), (300, 0.75, 399), (400, 1.0, 399),
        ]  # fmt: skip
        assert {now.total for now in seen} == {self.NUMBER}

    async def _seen(self, path: Path, file: Path) -> list[Progress]:
        write(file, ({"externalId": f"user-{n:03}"} for n in range(self.NUMBER)))
        answer = httpx.Response(201, json={"user": {"id": "1", "externalId": "user-399"}})
        async with (
            sunshine(httpx.MockTransport(lambda _: answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            with open_rows(file, job.shape) as rows:
                probe = Probe(rows, job)
                await job.run(rows)
            assert job.progress().lines is None
        return probe.seen


@pytest.mark.parametrize(
    ("progress", "share", "left"),
    [
        (Progress(rows=3, rate=2.0), None, None),
        (Progress(rows=5, total=10), 0.5, None),
        (Progress(rows=5, total=10, rate=2.0), 0.5, 2.5),
        (Progress(rows=5, total=10, rate=2.0, paused=60.0), 0.5, 60.0),
        (Progress(rows=0, total=1, rate=2.0), 0.0, 0.5),
        (Progress(total=0, rate=2.0), 0.0, 0.0),
        (Progress(rows=12, total=10, rate=2.0), 1.0, 0.0),
    ],
)
def test_share_and_time_left(progress: Progress, share: float | None, left: float | None) -> None:
    """Both are unknown without a total, the time also without a speed; an estimate may be too low."""
    assert (progress.share, progress.left) == (share, left)


@pytest.mark.parametrize(
    ("parts", "rate"),
    [
        ([], 0.0),
        ([Part(0.0)], 0.0),
        ([Part(2.0, 20)], 10.0),
        ([Part(2.0, 20), Part(0.0)], 0.0),
        ([Part(9.0, 0), Part(1.0, 5, 1, 1, 1)], 8.0),
        ([Part(9.0, 0), Part(6.0, 6), Part(6.0, 60)], 10.0),
        ([Part(9.0, 0), Part(6.0, 60), Part(30.0, 0, held=30.0)], 10.0),
        ([Part(9.0, 0), Part(6.0, 60), Part(34.0, 0, held=30.0)], 6.0),
        ([Part(9.0, 0), Part(1.0, 600), *[Part(1.0, 10)] * 99], 10.0),
    ],
)  # fmt: skip
def test_recent_rate(parts: list[Part], rate: float) -> None:
    """The speed is that of the last two fifths, of five seconds at least, without held seconds."""
    assert recent_rate(parts) == pytest.approx(rate)
