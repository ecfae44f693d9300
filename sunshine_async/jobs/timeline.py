"""Timeline of a job: rows, calls, pauses and durations over time, in memory that stays flat.

A `Timeline` has at most `PARTS` parts. Where more parts would be needed, each two neighbours become
a single part, so that a part of a short run takes a tenth of a second, and a part of a long run
minutes. A `Recorder` samples the totals of a `Report` now and then: a call or a row costs nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, inf
from time import time
from typing import Any, Final

import orjson
from attrs import astuple, define, evolve, field

from sunshine_async._pace import Snapshot
from sunshine_async._pace.rate import LIMIT_MOVED
from sunshine_async.jobs.report import Report

PARTS: Final = 120
"""The most parts of a timeline."""
SHORTEST: Final = 0.1
"""Seconds of a part at the beginning of a job."""
SAVE_EVERY: Final = 5.0
"""Seconds between two copies of the timeline for a journal: a kill loses no more."""
_LONGEST_SAMPLE: Final = 1.0  # seconds
_GAP: Final = 10.0  # seconds
_FORMAT: Final = 1  # of a timeline as text
_NON_TEXT_KEYS: Final = orjson.OPT_NON_STR_KEYS


@define
class Part:
    """Counts of the rows, the calls and the waits within *seconds*."""

    seconds: float = 0.0
    done: int = 0
    failed: int = 0
    unknown: int = 0
    bad: int = 0
    requests: int = 0
    throttled: int = 0
    paused: float = 0.0
    """Seconds in which all calls waited on request of the service (429)."""
    held: float = 0.0
    """Seconds of waiting for a service that was gone."""
    rate: float | None = None
    """Calls a second that could start, at the end; None: no limit."""
    calls: dict[int, int] = field(factory=dict[int, int])
    """Number of calls by duration, as `Latencies.coarse` of the report gives the durations."""

    @property
    def not_done(self) -> int:
        """Number of rows that failed, are unknown or bad."""
        return self.failed + self.unknown + self.bad

    def add(self, later: "Part") -> None:
        """Add the counts of *later*, the part that follows."""
        for name in _COUNTED:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.rate = later.rate
        for place, count in later.calls.items():
            self.calls[place] = self.calls.get(place, 0) + count

    def since(self, before: "Part") -> "Part":
        """Return the counts since *before*, where both parts are totals."""
        counts = {name: getattr(self, name) - getattr(before, name) for name in _COUNTED}
        calls = {
            place: more
            for place, count in self.calls.items()
            if (more := count - before.calls.get(place, 0))
        }
        return Part(**counts, rate=self.rate, calls=calls)


_COUNTED: Final = (
    "seconds", "done", "failed", "unknown", "bad", "requests", "throttled", "paused", "held",
)  # fmt: skip


def total_of(parts: Iterable[Part]) -> Part:
    """Return *parts* as a single part."""
    whole = Part()
    for part in parts:
        whole.add(part)
    return whole


@define
class Timeline:
    """The parts of a job's run, in order. The file of a journaled job is read before the first part."""

    started_at: float = field(factory=time)
    """Seconds since 1970."""
    parts: list[Part] = field(factory=list[Part], repr=False)
    ending: str | None = None
    """Value of the `Ending`; None: the job runs, or was cut off."""
    width: float = SHORTEST
    """Seconds of a full part."""

    def add(self, sample: Part) -> None:
        """Add *sample*, the counts since the sample before."""
        if self.parts and self.parts[-1].seconds + sample.seconds / 2 < self.width:
            self.parts[-1].add(sample)
            return
        self.parts.append(sample)
        if len(self.parts) > PARTS:
            self.width *= 2
            pairs = (self.parts[place : place + 2] for place in range(0, len(self.parts), 2))
            self.parts = [total_of(pair) for pair in pairs]

    def as_text(self) -> str:
        """Return the timeline as JSON, for a journal."""
        parts = [[_rounded(value) for value in astuple(part)] for part in self.parts]
        data = [_FORMAT, self.started_at, self.ending, parts]
        return orjson.dumps(data, option=_NON_TEXT_KEYS).decode()


def parallel(timelines: Iterable[Timeline]) -> list[Timeline]:
    """Return the *timelines* of jobs that ran at the same time as one timeline for each run of all.

    A run ends where no job runs for ten seconds. Pauses at the same time count once.
    """
    runs: list[tuple[list[Timeline], float]] = []  # each with the time of the end
    for timeline in sorted(timelines, key=lambda timeline: timeline.started_at):
        end = timeline.started_at + total_of(timeline.parts).seconds
        if runs and timeline.started_at <= runs[-1][1] + _GAP:
            members, latest = runs.pop()
            runs.append(([*members, timeline], max(latest, end)))
        else:
            runs.append(([timeline], end))
    return [_joined(members, end) for members, end in runs]


def _joined(timelines: Sequence[Timeline], end: float) -> Timeline:
    start = timelines[0].started_at
    width = max(SHORTEST, (end - start) / PARTS)
    count = min(PARTS, ceil((end - start) / width))  # rounding may give a part too many
    parts = [Part(width) for _ in range(max(1, count))]
    for timeline in timelines:
        at = timeline.started_at - start
        for part in timeline.parts:
            first, last = (
                min(len(parts) - 1, int(time / width)) for time in (at, at + part.seconds)
            )
            for place in range(first, last + 1):
                for name in ("paused", "held"):
                    share = getattr(part, name) / (last + 1 - first)
                    setattr(parts[place], name, min(width, getattr(parts[place], name) + share))
            parts[(first + last) // 2].add(evolve(part, seconds=0.0, paused=0.0, held=0.0))
            at += part.seconds
    return Timeline(start, parts, timelines[-1].ending)


def read_timeline(text: str) -> Timeline | None:
    """Return the timeline of *text*, or None where another release has written *text*."""
    try:
        version, started_at, ending, parts = orjson.loads(text)
        if version != _FORMAT:
            return None
        ending = None if ending is None else str(ending)
        return Timeline(float(started_at), [_part(*values) for values in parts], ending)
    except (TypeError, ValueError, AttributeError):
        return None


def _part(*values: Any) -> Part:
    part = Part(*values)
    part.calls = {int(place): count for place, count in part.calls.items()}
    return total_of([part])  # fails unless all values are numbers


def _is_refuted(pace: Snapshot) -> bool:
    """Return True if the service takes far more by now than before a refusal: that was no limit."""
    return pace.found is not None and (pace.rate or inf) > LIMIT_MOVED * pace.found


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


class Recorder:
    """Recorder of the `timeline` of a job: samples *report* and *pace* when outcomes come in."""

    def __init__(self, report: Report, pace: Callable[[], Snapshot]) -> None:
        self.timeline: Final = Timeline()
        self.save: Callable[[str], None] | None = None
        """Gets the timeline as text, at most every `SAVE_EVERY` seconds."""
        self._report: Final = report
        self._pace: Final = pace
        self._paused_before: Final = pace().throttled_seconds
        self._before = Part()
        self._due = inf
        self._saved_at = 0.0

    def begin(self) -> None:
        """Begin: rows counted before are no part of the timeline."""
        self.timeline.started_at = time()
        self._before = self._totals()
        self._due = self._before.seconds
        self._save()

    def record(self) -> None:
        """Sample if the last sample is old enough; a pause without any outcome is a single part."""
        seconds = self._report.seconds
        if seconds < self._due:
            return
        self._sample()
        self._due = seconds + min(self.timeline.width, _LONGEST_SAMPLE)
        if seconds - self._saved_at >= SAVE_EVERY:
            self._save()

    def end(self) -> None:
        """Add the last counts, and the ending of the job."""
        self._sample()
        self.timeline.ending = self._report.ending.value

    def parts(self, seconds: float, held: float) -> list[Part]:
        """Return the parts so far, the last part through *seconds*, of which *held* were held."""
        report = self._report
        now = Part(seconds, report.done, report.failed, report.unknown, report.bad, held=held)
        return [*self.timeline.parts, now.since(self._before)]

    def _save(self) -> None:
        self._saved_at = self._report.seconds
        if self.save is not None:
            self.save(self.timeline.as_text())

    def _sample(self) -> None:
        """Set the figures of the pace in the report, and add the counts since the sample before."""
        report, pace = self._report, self._pace()
        report.limit, report.window = pace.rate, pace.window
        report.found = pace.found if pace.ceiling is None and not _is_refuted(pace) else None
        report.paused = pace.throttled_seconds - self._paused_before
        totals = self._totals()
        part, self._before = totals.since(self._before), totals
        if part.seconds:
            self.timeline.add(part)

    def _totals(self) -> Part:
        report = self._report
        return Part(
            report.seconds, report.done, report.failed, report.unknown, report.bad,
            report.requests, report.throttled, report.paused, report.held, report.limit,
            report.latencies.coarse(),
        )  # fmt: skip
