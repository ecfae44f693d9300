"""How many of a batch a service bears at once, learnt from its failures and from its latency."""

from math import inf
from typing import Final

AFTER_A_FAILURE: Final = 0.5
"""Of what was in flight."""
FEWEST: Final = 2
"""One call that hangs keeps nobody else waiting."""
AFTER_SLOWNESS: Final = 0.75
FEWEST_WHEN_SLOW: Final = 4
"""Slowness takes no more than these away: it may be the calls' own."""
SLOW: Final = 2.0
"""Times the fastest answer that was seen, and ..."""
NOISE: Final = 0.05
"""... seconds on top of that."""
ANSWERS: Final = 16
"""The fastest of so many is what is looked at, all of them to what began after the last look."""
RISES: Final = 1 / 100
"""The part of the way by which the fastest that was seen rises, each time, to what is seen now."""


class Load:
    """A bound on the batches in flight. Dormant (none) until something fails or all answers slow.

    A failure, once for all that were in flight with it, halves what was in flight, to two. Where even the
    fastest of 16 answers took over twice as long as the fastest before, and 50 ms more, it falls by
    a quarter. Each round of answers to batches adds one, and where it has grown back it is gone.
    """

    def __init__(self) -> None:
        self.bound: float | None = None
        self._top = 0.0
        self._fell_at = -inf
        self._looked_at = -inf
        self._fastest = inf
        self._lately = inf
        self._seen = 0

    def answered(self, now: float, began: float, batches: int, *, batch: bool) -> None:
        """Count an answer to what *began* then, with so many *batches* in flight."""
        if batch and self.bound is not None and began > self._fell_at:
            self.bound += 1 / self.bound
            if self.bound >= self._top:
                self.bound = None
        if began <= self._looked_at:
            return
        self._lately = min(self._lately, now - began)
        self._seen += 1
        if self._seen >= ANSWERS:
            self._look(now, batches)

    def failed(self, now: float, began: float, in_flight: int) -> None:
        """Fall, unless what *began* then failed together with what made it fall before."""
        if began > self._fell_at:
            self._fall(now, in_flight, max(FEWEST, in_flight * AFTER_A_FAILURE))

    def begin_again(self, now: float) -> None:
        """Grow again from one, as after an outage."""
        self._fall(now, 1, 1.0)

    def _look(self, now: float, batches: int) -> None:
        lately, self._lately, self._seen, self._looked_at = self._lately, inf, 0, now
        slow = lately > SLOW * self._fastest + NOISE
        risen = self._fastest + (lately - self._fastest) * RISES if self._fastest < inf else inf
        self._fastest = min(lately, risen)
        if slow and batches > FEWEST_WHEN_SLOW:
            self._fall(now, batches, max(FEWEST_WHEN_SLOW, batches * AFTER_SLOWNESS))

    def _fall(self, now: float, in_flight: int, to: float) -> None:
        self._top = max(in_flight, to + 1, 0.0 if self.bound is None else self._top)
        self.bound = to
        self._fell_at = now
        self._lately, self._seen, self._looked_at = inf, 0, now
