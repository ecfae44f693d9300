"""Circuit breaker of one service, signs of health, retry budget. No clock: callers pass the time."""

from enum import Enum
from math import inf
from typing import Final

from sunshine_async._pace.rate import LONGEST_PAUSE

FAILURES: Final = 10
"""Failures in a row that open the breaker."""
FEW_FAILURES: Final = 3
"""Failures in a row that open the breaker where the retry budget is spent."""
FIRST_PROBE_WAIT: Final = 0.5  # seconds
LONGEST_PROBE_WAIT: Final = 30.0  # seconds
_UNUSED: Final = 2 * LONGEST_PAUSE
"""Seconds between two refusals after which nobody can have waited for a call in between."""


class Sign(Enum):
    """The lesson of an attempt's end about the service."""

    ANSWERED = "an answer that settles the call, be it a refusal of what it asks"
    THROTTLED = "429"
    ERRED = "500: perhaps for what it asks"
    FAILED = "502, 503, 504, reset, timed out or unreachable"
    READ = "an answer to a probe: a read, which tells nothing of writes"
    NOTHING = "cancelled"


class CircuitBreaker:
    """Circuit breaker: opens after failures in a row, probes, closes on an answer.

    An open breaker holds back batches: one call at a time goes, as a probe, after 0.5, 1, 2 ... 30
    seconds. A call that can't be resent is no probe: a read goes in its place. The first answer
    that settles a call closes the breaker. After *max_outage* seconds without any answer, an open
    breaker holds nothing back.
    """

    def __init__(self, max_outage: float) -> None:
        self.failures = 0
        """Attempts that failed since the last answer."""
        self.probe_at = -inf
        self.opened_at: float | None = None
        """The time of the opening; None while the breaker is closed."""
        self.max_outage = max_outage
        self.read_answered = False
        """True once a read was answered since the last failure: any call may go then."""
        self.refused_since: float | None = None
        """The time of the first 429 since the last accepted call."""
        self._answered_at = -inf
        self._probe_wait = FIRST_PROBE_WAIT
        self._earlier_seconds = 0.0

    def count_failure(self, now: float, began: float, *, batch: bool) -> bool:
        """Count a failure; after a failed probe the wait for the next probe doubles.

        Return True if a read was answered since the failure before.
        """
        answered, self.read_answered = self.read_answered, False
        self.failures += 1
        if self.opened_at is not None and batch and began >= self.probe_at:
            self._probe_wait = min(LONGEST_PROBE_WAIT, 2 * self._probe_wait)
            self.probe_at = now + self._probe_wait
        return answered

    def open(self, now: float) -> bool:
        """Open the breaker; return False where it was open already."""
        if self.opened_at is not None:
            return False
        self.opened_at = self._answered_at = now
        self._probe_wait = FIRST_PROBE_WAIT
        self.probe_at = now + FIRST_PROBE_WAIT
        return True

    def count_read(self, now: float, *, watched: bool) -> None:
        """Note the answer to a read, at the time for a probe: any one call may go as the probe.

        While *watched*, the watcher's reads come at such times.
        """
        self.read_answered = watched or now >= self.probe_at

    def count_refusal(self, now: float) -> None:
        """Note a 429: no call is settled, but the service is there, so the row of failures ends."""
        self.failures = 0
        if self.refused_since is None or now - self._answered_at > _UNUSED:
            self.refused_since = now
        self._answered_at = now

    def is_starved(self, now: float) -> bool:
        """Return True if calls have been refused for so long that waiting is no use."""
        since = self.refused_since
        return since is not None and now - since >= self.max_outage

    def close(self, now: float) -> None:
        """Close the breaker: batches go on."""
        self._earlier_seconds = self.seconds(now)
        self.opened_at = None

    def batch_starts_at(self, now: float, *, watched: bool) -> float:
        """Return the earliest start of a batch's call; inf for no start before the breaker closes.

        While *watched*, a batch's call is a probe only after the watcher's read was answered.
        """
        if self.opened_at is None or self.gave_up(now):
            return -inf
        if watched:
            return -inf if self.read_answered else inf
        return self.probe_at

    def gave_up(self, now: float) -> bool:
        """Return True if no answer has come for so long that waiting is no use."""
        return self.opened_at is not None and now - self._answered_at >= self.max_outage

    def seconds(self, now: float) -> float:
        """Return the seconds for which the breaker was open until *now*, in total."""
        return self._earlier_seconds + (0.0 if self.opened_at is None else now - self.opened_at)


class RetryBudget:
    """Retry budget, at first 20: a retry of a failed call spends 1, an answer gives a half back."""

    def __init__(self) -> None:
        self.limit: Final = 50.0  # of the object: to look up the class takes longer
        self.left = 20.0

    def spend(self) -> bool:
        """Return False where less than 1 is left."""
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def refill(self) -> None:
        self.left = min(self.limit, self.left + 0.5)
