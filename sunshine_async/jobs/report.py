"""Report of a job, in memory that stays flat for any number of rows. Pure."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from math import exp, log
from typing import Any, Final

from attrs import define, evolve, field, frozen

KEPT: Final = 1000
"""The most problems in a report; the counts go on."""
NAMED: Final = 20
"""The most unknown keys that a report names."""

_SHORTEST: Final = 0.000_1
_WIDTH: Final = 0.04  # of a bucket, as a logarithm: a quantile is within 2 % of a call's own time
_BUCKETS: Final = 400  # up to 15 minutes
_COARSE: Final = 4  # buckets in a coarse bucket: a quantile is within 8 % of a call's own time


class Trouble(Enum):
    """Outcome of a row that wasn't done."""

    FAILED = "failed"
    """The service doesn't have the row."""
    UNKNOWN = "unknown"
    """The service may have the row, or not: look the row up before sending the row again."""
    BAD = "bad"
    """The row couldn't be read or sent: correct the file."""


class Ending(Enum):
    """End of a job."""

    ALL = "all rows taken"
    STOPPED = "stopped"
    """The caller has stopped the job."""
    GAVE_UP = "gave up"
    """Going on would have been useless: *reason* in the report says why."""


class Cause(Enum):
    """Cause for which a job gave up, by the work that has the same fate."""

    JOB = "the rows, the file or the journal: another job may fare better"
    DATABASE = "the database of the journal, which is away: the same job may go on later"
    SERVICE = "the credentials, the settings or the service: any job of this process would give up"


@frozen
class Problem:
    """A row that wasn't done: the line in the file, and the reason."""

    line: int
    trouble: Trouble
    code: str
    """A short word, equal for equal problems: for counting."""
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return the problem as plain data."""
        return {
            "line": self.line,
            "outcome": self.trouble.value,
            "code": self.code,
            "reason": self.reason,
        }


@define
class Latencies:
    """Histogram of the durations of calls, retries and waits included."""

    count: int = 0
    _buckets: list[int] = field(factory=lambda: [0] * _BUCKETS, repr=False)

    def add(self, seconds: float) -> None:
        """Count a call that took *seconds*."""
        place = int(log(max(seconds, _SHORTEST) / _SHORTEST) / _WIDTH)
        self._buckets[min(place, _BUCKETS - 1)] += 1
        self.count += 1

    def __add__(self, other: "Latencies") -> "Latencies":
        buckets = map(sum, zip(self._buckets, other._buckets, strict=True))
        return Latencies(self.count + other.count, [*buckets])

    def quantile(self, part: float) -> float | None:
        """Return the seconds within which *part* of the calls ended, or None before the first."""
        return _quantile(part, self.count, enumerate(self._buckets), _WIDTH)

    def coarse(self) -> dict[int, int]:
        """Return the number of calls by coarse bucket, for `coarse_quantile`."""
        sums = map(sum, zip(*[iter(self._buckets)] * _COARSE, strict=True))
        return {place: count for place, count in enumerate(sums) if count}


def coarse_quantile(part: float, calls: Mapping[int, int]) -> float | None:
    """Return the seconds within which *part* of *calls*, by coarse bucket, ended; None for no calls."""
    return _quantile(part, sum(calls.values()), sorted(calls.items()), _WIDTH * _COARSE)


def _quantile(
    part: float, total: int, counts: Iterable[tuple[int, int]], width: float
) -> float | None:
    left = part * total
    for place, count in counts:
        left -= count
        if count and left <= 0:
            return _SHORTEST * exp((place + 0.5) * width)
    return None


def count_keys(keys: Iterable[str], counts: Counter[str]) -> None:
    """Add *keys* to *counts*, which holds the first `NAMED` different keys."""
    for key in keys:
        if key in counts or len(counts) < NAMED:
            counts[key] += 1


@define
class Report:
    """Counts of rows by outcome, requests and durations, so far."""

    done: int = 0
    failed: int = 0
    unknown: int = 0
    bad: int = 0
    outcomes: Counter[str] = field(factory=Counter)
    """Number of rows done, by outcome; the outcomes are in the docstring of `jobs`."""
    left_out: int = 0
    """Rows that gave way to another row with the same key."""
    waiting: int = 0
    """Rows in the journal that are still to be sent, or to be looked up."""
    before: int = 0
    """Rows with an outcome in the journal from before this session."""
    turned: int = 0
    """Number of phone numbers that were turned into E.164."""
    held: float = 0.0
    """Seconds of waiting for a service that was gone."""
    paused: float = 0.0
    """Seconds in which all calls waited on request of the service (429)."""
    limit: float | None = None
    """Calls a second at the end, declared or learnt; None: no limit."""
    found: float | None = None
    """Calls a second that the service was found to accept; None if declared, if none was met, or if
    the service has accepted far more since."""
    window: float | None = None
    """Seconds of the window in which the service counts calls; None if none was found."""
    codes: Counter[str] = field(factory=Counter)
    """Number of rows that weren't done, by code."""
    problems: list[Problem] = field(factory=list)
    """The first rows that weren't done: at most `KEPT`."""
    beyond: Counter[str] = field(factory=Counter)
    """Keys that the model doesn't know and that were sent unchanged, with the number of rows."""
    last_line: int = 0
    """The line of the last row taken: all rows before were taken too, except in a sum of parts."""
    requests: int = 0
    """Requests of the client during the job; *resent* and *throttled* are included."""
    resent: int = 0
    throttled: int = 0
    seconds: float = 0.0
    latencies: Latencies = field(factory=Latencies)
    ending: Ending = Ending.ALL
    reason: str | None = None
    """One sentence, for a job that gave up."""

    def __add__(self, other: "Report") -> "Report":
        """Return the report of two parts of a job.

        Numbers and seconds add up; the first `KEPT` problems by line stay; *ending* and *reason* are
        those of the part that ended worse. Limits hold for a credential, so the greater limit
        stays. ``sum(reports, Report())`` adds many.
        """
        worst = max(self, other, key=lambda report: _ENDINGS.index(report.ending))
        problems = heapq.merge(self.problems, other.problems, key=lambda problem: problem.line)
        values: dict[str, Any] = {
            name: getattr(self, name) + getattr(other, name) for name in _SUMMED
        }
        for name in _GREATEST:
            values[name] = max(getattr(self, name) or 0, getattr(other, name) or 0) or None
        last_line = max(self.last_line, other.last_line)
        return evolve(worst, **values, problems=[*islice(problems, KEPT)], last_line=last_line)

    @property
    def limit_found(self) -> str | None:
        """A sentence about the limit that was found, with the option that declares the limit."""
        if self.found is None:
            return None
        seconds = self.window
        window = f" ({self.found * seconds:,.0f} in {seconds:,.0f} s)" if seconds else ""
        return f"about {self.found:,.3g} calls a second{window}; --rate {self.found:.3g} starts with it"

    @property
    def unchanged(self) -> int:
        """Number of rows done without a write."""
        return self.outcomes["unchanged"]

    @property
    def rows(self) -> int:
        """Number of rows taken."""
        return self.done + self.troubles + self.left_out

    @property
    def troubles(self) -> int:
        """Number of rows that weren't done."""
        return self.failed + self.unknown + self.bad

    @property
    def rate(self) -> float:
        """Rows a second, without the rows from before this session."""
        return (self.rows - self.before) / self.seconds if self.seconds else 0.0

    def note(self, keys: Iterable[str]) -> None:
        """Count *keys* that the model doesn't know."""
        count_keys(keys, self.beyond)

    def end(self, outcome: str, many: int = 1) -> None:
        """Count *many* rows that were done."""
        self.done += many
        self.outcomes[outcome] += many

    def add(self, problem: Problem) -> None:
        """Count a row that wasn't done."""
        self.failed += problem.trouble is Trouble.FAILED
        self.unknown += problem.trouble is Trouble.UNKNOWN
        self.bad += problem.trouble is Trouble.BAD
        self.codes[problem.code] += 1
        if len(self.problems) < KEPT:
            self.problems.append(problem)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "ending": self.ending.value,
            "reason": self.reason,
            "rows": self.rows,
            "last_line": self.last_line,
            "done": self.done,
            "failed": self.failed,
            "unknown": self.unknown,
            "bad": self.bad,
            "unchanged": self.unchanged,
            "outcomes": dict(self.outcomes.most_common()),
            "left_out": self.left_out,
            "waiting": self.waiting,
            "phone_numbers_turned": self.turned,
            "held_seconds": round(self.held, 3),
            "paused_seconds": round(self.paused, 3),
            "calls_per_second_at_most": None if self.limit is None else round(self.limit, 1),
            "limit_found": None if self.found is None else round(self.found, 2),
            "limit_window_seconds": None if self.window is None else round(self.window, 1),
            "requests": self.requests,
            "resent": self.resent,
            "throttled": self.throttled,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rate, 1),
            "latency": {
                name: None if seconds is None else round(seconds, 4)
                for name, seconds in self.percentiles().items()
            },
            "codes": dict(self.codes.most_common()),
            "keys_not_in_the_model": dict(self.beyond.most_common()),
            "problems": [problem.as_json() for problem in self.problems],
            "problems_left_out": self.troubles - len(self.problems),
        }

    def percentiles(self) -> dict[str, float | None]:
        """Return the seconds within which half, 95 % and 99 % of the calls ended."""
        return {f"p{part}": self.latencies.quantile(part / 100) for part in (50, 95, 99)}


_SUMMED: Final = (
    "done", "failed", "unknown", "bad", "outcomes", "left_out", "waiting", "before", "turned",
    "held", "paused", "codes", "beyond", "requests", "resent", "throttled", "seconds", "latencies",
)  # fmt: skip
_GREATEST: Final = ("limit", "found", "window")
_ENDINGS: Final = (Ending.ALL, Ending.STOPPED, Ending.GAVE_UP)
"""From the best to the worst."""
