"""What became of a job, in memory that stays flat however many rows it had. Pure."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from math import exp, log
from typing import Any, Final

from attrs import define, field, frozen

KEPT: Final = 1000
"""How many of the rows that weren't done a report keeps; the counts go on."""

NAMED: Final = 20
"""How many different keys beyond the model a report names."""

_SHORTEST: Final = 0.000_1
_WIDTH: Final = 0.04  # of a bucket, as a logarithm: a quantile is within 2 % of a call's own time
_BUCKETS: Final = 400  # up to 15 minutes


class Trouble(Enum):
    """What a row that wasn't done ended as."""

    FAILED = "failed"
    """The service doesn't have it."""
    UNKNOWN = "unknown"
    """The service may have it, or not: look before it is sent again."""
    BAD = "bad"
    """It couldn't be read or sent: the file is what is to be changed."""


class Ending(Enum):
    """How a job ended."""

    ALL = "all rows taken"
    STOPPED = "stopped"
    """It was asked to."""
    GAVE_UP = "gave up"
    """Going on would have been of no use: the report's *reason* says why."""


@frozen
class Problem:
    """A row that wasn't done, by its line in the file, and why."""

    line: int
    trouble: Trouble
    code: str
    """A word that many may share: to count by."""
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "line": self.line,
            "outcome": self.trouble.value,
            "code": self.code,
            "reason": self.reason,
        }


@define
class Latencies:
    """How long calls took, retries and waits included."""

    count: int = 0
    _buckets: list[int] = field(factory=lambda: [0] * _BUCKETS, repr=False)

    def add(self, seconds: float) -> None:
        """Count a call that took *seconds*."""
        place = int(log(max(seconds, _SHORTEST) / _SHORTEST) / _WIDTH)
        self._buckets[min(place, _BUCKETS - 1)] += 1
        self.count += 1

    def quantile(self, part: float) -> float | None:
        """Return the seconds within which *part* of the calls ended, or None before the first."""
        left = part * self.count
        for place, count in enumerate(self._buckets):
            left -= count
            if count and left <= 0:
                return _SHORTEST * exp((place + 0.5) * _WIDTH)
        return None


@define
class Report:
    """What has become of the rows so far, and what it took."""

    done: int = 0
    failed: int = 0
    unknown: int = 0
    bad: int = 0
    outcomes: Counter[str] = field(factory=Counter)
    """How many rows were done, by what was done: ``created``, ``updated``, ``deleted``; ``unchanged``,
    where nothing had to be written; ``upserted``, where an answer was lost on the way, and nobody can
    tell created from updated."""
    left_out: int = 0
    """Rows in whose place another with the same key was sent."""
    waiting: int = 0
    """Rows in the journal that are still to be sent, or whose outcome is still to be found out."""
    before: int = 0
    """Rows that had their outcome in the journal before this time."""
    turned: int = 0
    """Phone numbers that were turned into E.164, as rows were read."""
    held: float = 0.0
    """Seconds for which the job waited for the service to come back."""
    paused: float = 0.0
    """Seconds for which all calls waited, since the service asked for it (429)."""
    limit: float | None = None
    """Calls a second that were let go at the end: declared or learnt; None: without a bound."""
    found: float | None = None
    """Calls a second that the service was found to accept, where none were declared; None where no
    limit was met. ``--rate``, or `Pace` with *rate*, declares it."""
    window: float | None = None
    """Seconds of the window in which the service counts calls; None where none was found."""
    codes: Counter[str] = field(factory=Counter)
    """How many rows weren't done, by the code of their problem."""
    problems: list[Problem] = field(factory=list)
    """The first of them, by when they ended: at most `KEPT`."""
    beyond: Counter[str] = field(factory=Counter)
    """Keys that were sent as they are, since the model doesn't know them, and in how many rows."""
    last_line: int = 0
    """Where the last row that was taken starts: all rows before it were taken too."""
    requests: int = 0
    """Sent by the client meanwhile; *resent* and *throttled* are some of them."""
    resent: int = 0
    throttled: int = 0
    seconds: float = 0.0
    latencies: Latencies = field(factory=Latencies)
    ending: Ending = Ending.ALL
    reason: str | None = None
    """One sentence, for a job that gave up."""

    @property
    def limit_found(self) -> str | None:
        """A sentence on the limit that was found, and the option that declares it."""
        if self.found is None:
            return None
        window = (
            f" ({self.found * self.window:,.0f} in {self.window:,.0f} s)" if self.window else ""
        )
        return f"about {self.found:,.3g} calls a second{window}; --rate {self.found:.3g} starts with it"

    @property
    def unchanged(self) -> int:
        """How many of the rows done are as they were: nothing was written."""
        return self.outcomes["unchanged"]

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self.done + self.troubles + self.left_out

    @property
    def troubles(self) -> int:
        """How many rows weren't done."""
        return self.failed + self.unknown + self.bad

    @property
    def rate(self) -> float:
        """Rows a second, those that had their outcome before not counted."""
        return (self.rows - self.before) / self.seconds if self.seconds else 0.0

    def note(self, keys: Iterable[str]) -> None:
        """Count *keys* that the model doesn't know; of many different ones the first."""
        for key in keys:
            if key in self.beyond or len(self.beyond) < NAMED:
                self.beyond[key] += 1

    def end(self, outcome: str, many: int = 1) -> None:
        """Count a row that was done, or *many*."""
        self.done += many
        self.outcomes[outcome] += many

    def add(self, problem: Problem) -> None:
        """Count a row that wasn't done."""
        if problem.trouble is Trouble.FAILED:
            self.failed += 1
        elif problem.trouble is Trouble.UNKNOWN:
            self.unknown += 1
        else:
            self.bad += 1
        self.codes[problem.code] += 1
        if len(self.problems) < KEPT:
            self.problems.append(problem)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
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
