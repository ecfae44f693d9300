"""The number of a batch's calls that a failing service bears at once. No clock."""

from math import inf
from typing import Final

AFTER_FAILURES: Final = 0.5
"""The part of the calls in flight that failures leave."""
FEWEST: Final = 2
"""Calls: one that hangs doesn't block all others."""
USUAL: Final = 0.05
"""The share of failures that says nothing of the number of calls."""
EXCESS: Final = 3.0
"""Failures beyond it that do."""


class Load:
    """A bound on a batch's calls in flight, learnt from failures; None while few calls fail.

    Three failures more than one in twenty answers halve the calls in flight, down to two, once for
    all calls that were in flight with them. Each round of answers adds one, and where the number
    is back the bound ends. Slow answers lower nothing: a slower service is not an overloaded one.
    """

    def __init__(self) -> None:
        self.bound: float | None = None
        self._top = 0.0
        self._fell_at = -inf
        self._excess = 0.0
        self._in_flight = 0
        """The calls in flight at the first failure of the excess."""

    def answered(self, began: float) -> None:
        """Count an answer to a batch's call that *began* then."""
        self._excess -= USUAL
        if self.bound is not None and began > self._fell_at:
            self.bound += 1 / self.bound
            if self.bound >= self._top:
                self.bound = None

    def failed(self, now: float, began: float, in_flight: int) -> None:
        """Count a failure, unless the failed call began before the last fall."""
        if began <= self._fell_at:
            return
        if self._excess <= 0:
            self._excess, self._in_flight = 0.0, in_flight
        self._excess += 1
        if self._excess >= EXCESS:
            self._fall(now, self._in_flight, max(FEWEST, self._in_flight * AFTER_FAILURES))

    def begin_again(self, now: float) -> None:
        """Grow again from one, as after an outage."""
        self._fall(now, 1, 1.0)

    def _fall(self, now: float, in_flight: int, to: float) -> None:
        self._top = max(in_flight, to + 1, 0.0 if self.bound is None else self._top)
        self.bound, self._fell_at, self._excess = to, now, 0.0
