"""Progress of a job: rows, speed, time left, and the reason for a wait.

The speed is a mean over the last two fifths of the job so far: a slow start is forgotten, and the
time left stays steady. Seconds in which the job was held, since the service was gone, don't
count. Seconds in which the service asked for a pause do count, since such pauses recur.

A journal has the rows and sums of a job so far: `restore_report` and `restore_totals` set a report
to these.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from attrs import frozen

from sunshine_async.jobs.entries import TROUBLES
from sunshine_async.jobs.report import KEPT, Problem, Report
from sunshine_async.jobs.source import SUMS
from sunshine_async.jobs.timeline import Part
from sunshine_async.journal import JournalQueries, State

FOUND: Final = "found"
"""Name in the journal for the limit that was found: calls a second, and a window in seconds."""
_SHARE: Final = 0.4  # of the job so far, held seconds left out
_SHORTEST: Final = 5.0  # seconds


@frozen(kw_only=True)
class Progress:
    """Progress of a job now."""

    rows: int = 0
    """Rows with an outcome, also of earlier runs of the job."""
    total: int | None = None
    """Rows of the source: an estimate while a job without a journal reads a file. None: unknown."""
    rate: float = 0.0
    """Rows a second lately."""
    not_done: int = 0
    """Rows that failed, are unknown or bad."""
    throttled: int = 0
    """Requests that the service refused for its rate limit (429)."""
    limit: float | None = None
    """Calls a second that may start, declared or learnt; None: no limit."""
    paused: float = 0.0
    """Seconds for which the service asked to wait, from now on."""
    held: str | None = None
    """The last error of a service that is gone, or an empty text; None: the job isn't held."""
    lines: int | None = None
    """Lines read, while a file is read and no row is sent yet; None: rows are sent."""
    lines_share: float | None = None
    """Part of the file that was read, from 0 to 1; None: unknown, or rows are sent."""

    @property
    def share(self) -> float | None:
        """Part of the rows with an outcome, from 0 to 1; None: unknown."""
        return None if self.total is None else min(1.0, self.rows / max(1, self.total))

    @property
    def left(self) -> float | None:
        """Seconds until the last row has an outcome, at the latest speed; None: unknown."""
        if self.total is None or not self.rate:
            return None
        return max(self.paused, (self.total - self.rows) / self.rate)


def recent_rate(parts: Sequence[Part]) -> float:
    """Return the rows a second over the last two fifths of *parts*: 0.0 if nothing is known.

    The first part isn't counted among several: the first call goes alone.
    """
    parts = parts[1:] or parts
    window = max(_SHORTEST, sum(part.seconds - part.held for part in parts) * _SHARE)
    rows, seconds = 0, 0.0
    for part in reversed(parts):
        if seconds >= window:
            break
        rows += part.done + part.not_done
        seconds += part.seconds - part.held
    return rows / seconds if seconds > 0 else 0.0


def restore_report(report: Report, journal: JournalQueries, *, unloaded: int = 0) -> None:
    """Set the counts of rows in *report* to the counts of *journal*, with *unloaded* rows waiting."""
    counted = journal.report()
    states = counted.states
    report.done, report.outcomes = states[State.DONE], counted.outcomes
    report.failed, report.unknown = states[State.FAILED], states[State.UNKNOWN]
    report.bad, report.left_out = states[State.BAD], states[State.LEFT_OUT]
    report.waiting = states[State.WAITING] + states[State.BEGUN] + unloaded
    report.codes = Counter({code: count for code, (count, _) in counted.codes.items()})
    report.problems = [*islice(problems_of(journal), KEPT)]


def restore_totals(report: Report, journal: JournalQueries) -> None:
    """Set the counts in *report*, and the sums over all sessions, to those of *journal*."""
    restore_report(report, journal)
    about = journal.about()
    for name in SUMS[:-1]:
        setattr(report, name, type(getattr(report, name))(float(about.get(name, "0"))))
    if FOUND in about:
        report.found, window = map(float, about[FOUND].split())
        report.window = window or None


def problems_of(journal: JournalQueries) -> Iterator[Problem]:
    """Yield the rows of *journal* that weren't done."""
    for row in journal.rows(*TROUBLES):
        yield Problem(row["line"], TROUBLES[row["state"]], row["code"], row["reason"])
