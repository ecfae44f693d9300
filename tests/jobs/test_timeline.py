"""The timeline of a job: whole, small, and in the journal after any ending."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from support.clients import sunshine
from support.journals import run_with_journal, write
from support.size import sized

from sunshine_async import Pace
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import SUNSHINE, Job, Mode, Report, Row
from sunshine_async.jobs.report import coarse_quantile
from sunshine_async.jobs.timeline import (
    PARTS,
    SHORTEST,
    Part,
    Recorder,
    Timeline,
    parallel,
    read_timeline,
    total_of,
)
from sunshine_async.journal import Journal

NUMBERS = st.integers(0, 1000)
SAMPLES = st.lists(
    st.builds(
        Part, st.floats(0.001, 900.0), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS,
        st.floats(0, 10.0), st.floats(0, 10.0), st.none() | st.floats(0.1, 1e4),
        st.dictionaries(st.integers(0, 99), st.integers(1, 99), max_size=3),
    ),
    max_size=300,
)  # fmt: skip


@given(SAMPLES)
def test_nothing_is_lost_and_the_size_is_bounded(samples: list[Part]) -> None:
    """A timeline has at most `PARTS` parts, which have the counts of all samples."""
    timeline = Timeline()
    for sample in samples:
        timeline.add(total_of([sample]))

    parts, whole = total_of(timeline.parts), total_of(samples)
    assert len(timeline.parts) <= PARTS
    assert (parts.done, parts.not_done, parts.requests, parts.throttled) == (
        whole.done, whole.not_done, whole.requests, whole.throttled,
    )  # fmt: skip
    assert parts.calls == whole.calls
    assert parts.rate == whole.rate
    for name in ("seconds", "paused", "held"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))


def test_parts_widen_as_the_job_goes_on() -> None:
    """After any time there are enough parts for a chart, of about the same length."""
    timeline = Timeline()
    for number in range(1, sized(100_000, 5_000)):
        timeline.add(Part(SHORTEST, done=1))
        assert len(timeline.parts) >= min(number, PARTS // 2)
    lengths = {round(part.seconds / timeline.width, 2) for part in timeline.parts[:-1]}

    assert lengths == {1.0}


@given(SAMPLES)
def test_a_timeline_comes_back_from_its_text(samples: list[Part]) -> None:
    """A timeline read from text is the same, to the millisecond; a full timeline is short."""
    timeline = Timeline(parts=samples[:PARTS], ending="stopped")
    found = read_timeline(timeline.as_text())

    assert found is not None
    assert (found.ending, len(found.parts)) == ("stopped", len(timeline.parts))
    for part, before in zip(found.parts, timeline.parts, strict=True):
        assert part.calls == before.calls
        assert part.seconds == pytest.approx(before.seconds, abs=0.001)
    assert len(timeline.as_text()) < 200 * (1 + PARTS)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "[2, 0, null, []]", "[1, 0, null, [[1, true, {}]]]", "[1, 0, null, 5]",
     '[1, 0, null, [[1,2,3,4,5,6,7,8,9,null,{"x": 1}]]]', '[1, "x", null, []]'],
)  # fmt: skip
def test_a_text_of_another_release_is_no_timeline(text: str) -> None:
    """An unreadable timeline is none; a report has no chart of that run."""
    assert read_timeline(text) is None


@pytest.mark.slow
async def test_the_parts_add_up_to_the_report(emulator: Emulator) -> None:
    """After a job the parts have each row, each request, each refusal and the time of each call."""
    emulator.faults += [Mishap(status=429, times=3), Mishap(status=400, times=2)]
    ticks = count()
    async with sunshine(emulator.transport(), pace=Pace()) as client:
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=4, clock=lambda: next(ticks) / 100)
        report = await job.run([Row(n, {"externalId": f"u{n}"}) for n in range(1, 201)])

    timeline = job.recorder.timeline
    whole = total_of(timeline.parts)
    assert report.failed == 2
    assert len(timeline.parts) > 10
    assert timeline.ending == "all rows taken"
    assert (whole.done, whole.failed, whole.bad) == (report.done, report.failed, 0)
    assert (whole.requests, whole.throttled) == (report.requests, report.throttled)
    assert whole.paused == pytest.approx(report.paused)
    assert sum(whole.calls.values()) == report.latencies.count
    exact, coarse = report.latencies.quantile(0.5), coarse_quantile(0.5, whole.calls)
    assert exact is not None
    assert coarse == pytest.approx(exact, rel=0.1)


async def test_the_journal_has_a_timeline_for_each_run(
    path: Path, file: Path, emulator: Emulator
) -> None:
    """A cancelled run and the run that goes on each have a timeline; a later run has only its own rows."""
    rows = write(file, [{"externalId": f"u{n}"} for n in range(300)])
    async with sunshine(emulator.transport()) as client:
        with anyio.CancelScope() as scope:
            await run_with_journal(
                client, SUNSHINE, path, rows, Mode.CREATE, concurrency=4,
                on_progress=lambda report: report.done > 5 and scope.cancel(),
            )  # fmt: skip
        report = await run_with_journal(client, SUNSHINE, path, rows, Mode.CREATE)

    with closing(Journal(path)) as journal:
        first, last = map(read_timeline, journal.timelines())
    assert first is not None
    assert last is not None
    assert (report.done, first.ending, last.ending) == (300, None, "all rows taken")
    assert total_of(last.parts).done == 300 - report.before
    assert first.started_at <= last.started_at


@pytest.mark.slow
async def test_a_journal_of_an_earlier_release_is_used(
    path: Path, file: Path, emulator: Emulator
) -> None:
    """A journal without timelines opens, has none, and gets the timelines of later runs."""
    rows = write(file, [{"externalId": "a"}])
    with closing(Journal(path)) as journal:
        assert journal.timelines() == []
    async with sunshine(emulator.transport()) as client:
        await run_with_journal(client, SUNSHINE, path, rows, Mode.UPSERT)
        with closing(sqlite3.connect(path)) as database:
            database.execute("DROP TABLE timelines")
        with closing(Journal(path)) as journal:
            assert journal.timelines() == []
        for _ in range(60):
            await run_with_journal(client, SUNSHINE, path, rows, Mode.UPSERT)

    with closing(Journal(path)) as journal:
        assert len(journal.timelines()) == 50


@given(st.floats(1.7e9, 1.8e9), st.floats(0.0, 1e5))
@example(0.0, 101.6)
def test_timelines_together_are_no_longer(started_at: float, seconds: float) -> None:
    """However long jobs run, their common timeline has at most `PARTS` parts."""
    [run] = parallel([Timeline(started_at, [Part(seconds, done=2)])])

    assert len(run.parts) <= PARTS
    assert total_of(run.parts).done == 2


def test_timelines_of_the_same_time_are_one() -> None:
    """Counts add up, a pause of all counts once, and a run ends where nothing runs for long."""
    first = Timeline(100.0, [Part(5.0, done=3, calls={1: 3}), Part(5.0, paused=4.0)], "stopped")
    second = Timeline(103.0, [Part(2.0, done=2, paused=2.0), Part(9.0, bad=1)], "all rows taken")
    later = Timeline(130.0, [Part(1.0, done=1)], None)

    runs = parallel([later, second, first])

    assert [(run.started_at, run.ending) for run in runs] == [
        (100.0, "all rows taken"),
        (130.0, None),
    ]
    whole = total_of(runs[0].parts)
    assert (whole.done, whole.bad, whole.calls) == (5, 1, {1: 3})
    assert whole.seconds == pytest.approx(14.0)
    assert 4.0 < whole.paused < 6.0
    assert len(runs[0].parts) <= PARTS
    assert parallel([]) == []
    assert len(parallel([Timeline(1.0, [], None)])[0].parts) == 1


@pytest.mark.parametrize(("rate", "found"), [(9.0, 10.0), (12.0, 10.0), (20.0, None), (None, None)])
def test_a_limit_that_was_passed_since_is_not_reported(
    rate: float | None, found: float | None
) -> None:
    """Where the pace is far beyond the limit that refusals seemed to show, there is none to name."""
    report, snapshot = Report(), evolve(Pace().snapshot(), rate=rate, found=10.0)

    Recorder(report, lambda: snapshot).end()

    assert (report.limit, report.found) == (rate, found)
