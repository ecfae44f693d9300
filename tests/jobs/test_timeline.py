"""The timeline of a job: whole, small, and in the journal after any ending."""

import sqlite3
from contextlib import closing
from itertools import count, pairwise
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
from sunshine_async.jobs import timeline as timeline_module
from sunshine_async.jobs.report import coarse_quantile
from sunshine_async.jobs.timeline import (
    PARTS,
    SAVE_EVERY,
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


def test_a_part_of_a_run_lies_where_it_was() -> None:
    """Rows count in the middle of their time, and waits in all of it; the seconds are the run's."""
    first = Timeline(0.0, [Part(6.0, failed=1), Part(6.0, held=6.0)])
    second = Timeline(3.0, [Part(6.0, unknown=2, held=3.0), Part(3.0, throttled=5)])

    [run] = parallel([first, second])

    assert len(run.parts) == PARTS
    assert {round(part.seconds, 9) for part in run.parts} == {0.1}
    places = {
        name: [place for place, part in enumerate(run.parts) if getattr(part, name)]
        for name in ("failed", "unknown", "throttled", "held")
    }
    assert (places["failed"], places["unknown"]) == ([30], [60])
    assert places["throttled"] == [104]
    assert places["held"] == [*range(30, PARTS)]
    assert run.parts[59].held < run.parts[91].held
    assert max(part.held for part in run.parts) <= 0.1
    assert total_of(run.parts).not_done == 3


@pytest.mark.parametrize(("start", "runs"), [(15.0, 1), (15.1, 2)])
def test_a_run_ends_after_ten_seconds_without_a_job(start: float, runs: int) -> None:
    """A job that begins up to ten seconds after the end of the last one belongs to the same run."""
    short, long = Timeline(1.0, [Part(1.0)]), Timeline(0.0, [Part(2.0), Part(3.0)])

    assert len(parallel([short, Timeline(start, [Part(1.0)]), long])) == runs


def test_a_short_sample_joins_the_part_before() -> None:
    """A part is full where the next sample would leave most of itself outside."""
    timeline = Timeline(width=1.0)
    for seconds in (0.75, 0.5, 0.49, 0.01):
        timeline.add(Part(seconds))

    assert [part.seconds for part in timeline.parts] == [0.75, 1.0]


def test_the_longest_timeline_halves() -> None:
    """A timeline has `PARTS` parts at most; one more makes each two neighbours a single part."""
    timeline = Timeline()
    for number in range(PARTS):
        timeline.add(Part(1.0, done=number))
    before = len(timeline.parts)
    timeline.add(Part(1.0, done=PARTS))

    assert before == PARTS
    assert [part.done for part in timeline.parts[:2]] == [1, 5]
    assert [part.done for part in timeline.parts[-2:]] == [2 * PARTS - 3, PARTS]


def test_a_run_is_saved_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal gets the timeline at the start, and then every few seconds, with the last sample."""
    saved: list[float] = []
    report = Report(seconds=7.0)
    paused = iter([4.0])  # of an earlier job of the same pace
    recorder = Recorder(
        report,
        lambda: evolve(Pace(rate=9).snapshot(), throttled_seconds=next(paused, 6.0), found=8.0),
    )
    recorder.save = lambda text: saved.append(report.seconds)
    monkeypatch.setattr(timeline_module, "time", lambda: 100.0)

    recorder.begin()
    for tenths in range(1, 130):
        report.seconds = 7.0 + tenths / 10
        recorder.record()
    recorder.end()
    parts = len(recorder.timeline.parts)
    recorder.end()

    assert len(recorder.timeline.parts) == parts  # no part without seconds
    assert (report.paused, report.limit, report.found) == (2.0, 9.0, None)  # it is declared
    assert recorder.timeline.parts[-1].rate == 9.0
    assert recorder.timeline.started_at == 100.0
    assert saved[0] == 7.0
    pauses = [later - before for before, later in pairwise(saved)]
    assert all(SAVE_EVERY <= pause <= SAVE_EVERY + 1 for pause in pauses), saved
    assert len(saved) == 3
    assert total_of(recorder.timeline.parts).seconds == pytest.approx(12.9)


@pytest.mark.parametrize(("rate", "found"), [(9.0, 10.0), (12.0, 10.0), (20.0, None), (None, None)])
def test_a_limit_that_was_passed_since_is_not_reported(
    rate: float | None, found: float | None
) -> None:
    """Where the pace is far beyond the limit that refusals seemed to show, there is none to name."""
    report, snapshot = Report(), evolve(Pace().snapshot(), rate=rate, found=10.0)

    Recorder(report, lambda: snapshot).end()

    assert (report.limit, report.found) == (rate, found)
