"""The number of a batch's calls that a failing service bears at once. No clock."""

from math import inf
from typing import Final

AFTER_A_FAILURE: Final = 0.5
"""The part of the calls in flight that a failure leaves."""
FEWEST: Final = 2
"""Calls: one that hangs doesn't block all others."""


class Load:
    """A bound on a batch's calls in flight, learnt from failures; None while nothing fails.

    A failure halves the calls in flight, down to two, once for all calls that were in flight
    with it. Each round of answers adds one, and where the number is back the bound ends. Slow
    answers lower nothing: a slower service is not an overloaded one.
    """

    def __init__(self) -> None:
        self.bound: float | None = None
        self._top = 0.0
        self._fell_at = -inf

    def answered(self, began: float) -> None:
        """Count an answer to a batch's call that *began* then."""
        if self.bound is not None and began > self._fell_at:
            self.bound += 1 / self.bound
            if self.bound >= self._top:
                self.bound = None

    def failed(self, now: float, began: float, in_flight: int) -> None:
        """Fall, unless the failed call began before the last fall."""
        if began > self._fell_at:
            self._fall(now, in_flight, max(FEWEST, in_flight * AFTER_A_FAILURE))

    def begin_again(self, now: float) -> None:
        """Grow again from one, as after an outage."""
        self._fall(now, 1, 1.0)

    def _fall(self, now: float, in_flight: int, to: float) -> None:
        self._top = max(in_flight, to + 1, 0.0 if self.bound is None else self._top)
        self.bound = to
        self._fell_at = now
