"""How many calls at once are enough, found from how long they take. It is told the time.

The number of a batch's calls that a failing service bears at once. No clock.
"""

from math import inf, sqrt
from typing import Final

AFTER_A_FAILURE: Final = 0.5
"""The part of the calls in flight that a failure leaves."""
FEWEST: Final = 2
"""Calls: one that hangs doesn't block all others."""


class OverloadLimit:
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


FIRST_LIMIT: Final = 4
HIGHEST_LIMIT: Final = 256
ROUND: Final = 16
"""Calls in a round at least, and two for each that may be under way."""
TOLERATED: Final = 1.3
"""Times the time that calls take when there are few: up to it nothing waits for anything."""
LOOKS: Final = 40
"""Rounds between two in which only half as many go, to see how long calls take then."""


class ThroughputLimit:
    """A number of calls at once that grows while more at once get more done, from 4 up to 256.

    It doubles, round by round, while calls take no longer than they did when there were few. From
    then on it keeps the calls that wait for each other to about the square root of all. Now and
    then half as many go for a round: if those take as long, it wasn't they who made each other
    wait. A failure halves it, once for all that were under way with it.
    """

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        """How many may be under way."""
        self._under_way = 0
        self._most = 0
        self._alone = inf
        """The seconds that a call takes when there are few."""
        self._doubles = True
        self._settled = FIRST_LIMIT
        """What the limit is, but for rounds in which half as many go."""
        self._rounds = 0
        self._since = -inf
        self._fell_at = -inf
        self._count = 0
        self._took = 0.0

    def began(self) -> None:
        """Count a call that begins."""
        self._under_way += 1
        self._most = max(self._most, self._under_way)

    def ended(self, now: float, began: float, *, failed: bool) -> None:
        """Learn from a call that *began* then; it *failed* if that may be for too much at once."""
        self._under_way -= 1
        if failed:
            if began > self._fell_at:
                self._fell_at = now
                self._doubles = False
                self._begin(now, self.limit / 2)
            return
        if began < self._since:
            return  # it was under way with more, or with fewer
        self._count += 1
        self._took += now - began
        if self._count >= max(ROUND, 2 * self.limit):
            self._end(now)

    def _end(self, now: float) -> None:
        """End a round."""
        took = self._took / self._count
        self._rounds += 1
        looks = self.limit < self._settled
        self._alone = took if looks else min(self._alone, took)
        full = self._most >= self.limit
        if looks:
            self._begin(now, self._settled)
        elif self._rounds % LOOKS == 0 and full:
            self._begin(now, self._settled, look=True)
        elif not full:
            self._begin(now, self._settled)  # there was nothing to learn: it wasn't used
        elif self._doubles and took <= TOLERATED * self._alone:
            self._begin(now, 2 * self._settled)
        else:
            self._doubles = False
            part = min(1.0, max(0.5, TOLERATED * self._alone / took))
            self._begin(now, self._settled * part + sqrt(self._settled))

    def _begin(self, now: float, limit: float, *, look: bool = False) -> None:
        """Begin a round of so many at once; with *look* half of them."""
        self._settled = max(1, min(HIGHEST_LIMIT, round(limit)))
        self.limit = max(1, self._settled // 2) if look else self._settled
        self._since = now
        self._count, self._took, self._most = 0, 0.0, self._under_way
