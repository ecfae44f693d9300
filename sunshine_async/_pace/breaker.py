"""Whether batches wait for a service that seems to be gone, and when one of them looks again.

How many second tries all calls together have left: an outage isn't met with a storm of them.
"""

from math import inf
from typing import Final

IN_A_ROW: Final = 10
"""Failures with no answer between them."""
A_FEW: Final = 3
"""The same, where a call has no second tries left."""
FIRST_LOOK: Final = 0.5
"""Seconds until the first probe; each further one after twice as long."""
LAST_LOOK: Final = 30.0
"""Seconds between probes at most."""


class CircuitBreaker:
    """Holds back batches: one at a time goes, as a probe, after 0.5, 1, 2 ... 30 seconds.

    A call that can't be resent is no probe: a read goes in its place.

    It begins when calls fail in a row, and ends with the first answer that settles one. For
    *max_outage* seconds without any answer it is a reason to wait, then no more.
    """

    def __init__(self, max_outage: float) -> None:
        self.row = 0
        """Attempts that failed since the last answer."""
        self.next_at = -inf
        """When the next probe may go."""
        self.since: float | None = None
        """When it began; None while nothing is held."""
        self.max_outage = max_outage
        self.read = False
        """Whether a read was answered since the last failure: a call that can't be resent may go."""
        self.refused_since: float | None = None
        """The first 429 since the last accepted call."""
        self._answered_at = -inf
        self._look = FIRST_LOOK
        self._before = 0.0

    def failed(self, now: float, began: float, *, batch: bool) -> None:
        """Count a failure; where a probe failed, the next one is to wait longer."""
        self.row += 1
        self.read = False
        if self.since is not None and batch and began >= self.next_at:
            self._look = min(LAST_LOOK, 2 * self._look)
            self.next_at = now + self._look

    def begin(self, now: float) -> bool:
        """Hold from now on; return whether that is new."""
        if self.since is not None:
            return False
        self.since = self._answered_at = now
        self._look = FIRST_LOOK
        self.next_at = now + FIRST_LOOK
        return True

    def answered_a_read(self, now: float) -> None:
        """Let one call go, whatever it is, if it is time for a probe: somebody is there."""
        self.read = now >= self.next_at

    def refused(self, now: float) -> None:
        """End the row for an answer that settles nothing: somebody is there."""
        self.row = 0
        self._answered_at = now
        if self.refused_since is None:
            self.refused_since = now

    def is_starved(self, now: float) -> bool:
        """Return whether calls have been refused for so long that waiting is no use."""
        since = self.refused_since
        return since is not None and now - since >= self.max_outage

    def end(self, now: float) -> None:
        """Hold no more."""
        self._before = self.seconds(now)
        self.since = None
        self.next_at = -inf

    def opens_at(self, now: float, *, watched: bool) -> float:
        """Return when the next batch may go, as far as this holds it; inf: when it has ended.

        While it is *watched* none goes as a probe: who watches asks, by a call that does no harm.
        """
        if self.since is None or self.gave_up(now):
            return -inf
        return inf if watched else self.next_at

    def gave_up(self, now: float) -> bool:
        """Return whether it has been held for so long that waiting is no use."""
        return self.since is not None and now - self._answered_at >= self.max_outage

    def seconds(self, now: float) -> float:
        """Return for how long it has been held until *now*, all times together."""
        return self._before + (0.0 if self.since is None else now - self.since)


class RetryBudget:
    """Second tries in hand: each takes one, each answer gives half a one back."""

    FIRST: Final = 20.0
    MOST: Final = 50.0
    BACK: Final = 0.5

    def __init__(self) -> None:
        self.left = self.FIRST

    def take(self) -> bool:
        """Take one; return whether there was one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def give(self) -> None:
        """Give back a part of one."""
        self.left = min(self.MOST, self.left + self.BACK)
