"""Adaptive concurrency limits. No clock: the caller passes the time.

- `OverloadLimit`, of a pace: the calls of a batch that a failing service bears at once.
- `ThroughputLimit`, of a bulk run: the calls at once that are enough, found from latency.
"""

from math import inf, sqrt
from typing import Final


class OverloadLimit:
    """A bound on a batch's calls in flight, learnt from failures; None while nothing fails.

    A failure halves the calls in flight, once for all calls that were in flight together, down to
    two: a single call that hangs doesn't block the batch. Each round of answers adds a call, and at
    the former number the bound ends. Slow answers lower nothing: slower isn't overloaded.
    """

    def __init__(self) -> None:
        self.bound: float | None = None
        self._former = 0.0
        """The calls in flight before the bound: the bound ends there."""
        self._fell_at = -inf

    def count_answer(self, began: float) -> None:
        if self.bound is not None and began > self._fell_at:
            self.bound += 1 / self.bound
            if self.bound >= self._former:
                self.bound = None

    def count_failure(self, now: float, began: float, in_flight: int) -> None:
        """Lower the bound, unless the failed call began before the last fall."""
        if began > self._fell_at:
            self._fall(now, in_flight, max(2, in_flight / 2))

    def restart(self, now: float) -> None:
        """Grow again from one call, as after an outage."""
        self._fall(now, 1, 1.0)

    def _fall(self, now: float, in_flight: int, to: float) -> None:
        self._former = max(in_flight, to + 1, 0.0 if self.bound is None else self._former)
        self.bound = to
        self._fell_at = now


FIRST_LIMIT: Final = 4
HIGHEST_LIMIT: Final = 256
ROUND_CALLS: Final = 16
"""Calls of a round at least; a round has two calls for each that may be in flight."""
LATENCY_TOLERANCE: Final = 1.3
"""Times the base latency: up to there no call waits for another call."""
PROBE_ROUNDS: Final = 40
"""Rounds from one probe to the next: a probe is a round at half the limit."""


class ThroughputLimit:
    """A concurrency limit that grows while more calls at once get more done, from 4 up to 256.

    The limit doubles, round by round, while latency stays at the base latency, that of few calls.
    From then on the calls that wait for each other are kept to about the square root of all. Now and
    then a round runs at half the limit and measures the base latency anew: if latency doesn't drop
    there, queueing was not the cause. A failure halves the limit, once for all calls in flight.
    """

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self._in_flight = 0
        self._most_in_flight = 0
        """The most calls in flight of this round."""
        self._base_latency = inf
        """Seconds of a call while few are in flight."""
        self._is_doubling = True
        self._regular_limit = FIRST_LIMIT
        """The limit outside probes."""
        self._rounds = 0
        self._round_began_at = -inf
        self._fell_at = -inf
        self._count = 0
        self._total_latency = 0.0

    def count_start(self) -> None:
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def count_end(self, now: float, began: float, *, failed: bool) -> None:
        """Learn from a call that *began* then; *failed* tells of a failure that overload may cause."""
        self._in_flight -= 1
        if failed:
            if began > self._fell_at:
                self._fell_at = now
                self._is_doubling = False
                self._begin_round(now, self.limit / 2)
            return
        if began < self._round_began_at:
            return  # another number of calls was in flight then
        self._count += 1
        self._total_latency += now - began
        if self._count >= max(ROUND_CALLS, 2 * self.limit):
            self._end_round(now)

    def _end_round(self, now: float) -> None:
        latency = self._total_latency / self._count
        self._rounds += 1
        is_probe = self.limit < self._regular_limit
        self._base_latency = latency if is_probe else min(self._base_latency, latency)
        is_full = self._most_in_flight >= self.limit
        if is_probe or not is_full:  # not full: the limit wasn't used, so there's nothing to learn
            self._begin_round(now, self._regular_limit)
        elif self._rounds % PROBE_ROUNDS == 0:
            self._begin_round(now, self._regular_limit, probe=True)
        elif self._is_doubling and latency <= LATENCY_TOLERANCE * self._base_latency:
            self._begin_round(now, 2 * self._regular_limit)
        else:
            self._is_doubling = False
            part = min(1.0, max(0.5, LATENCY_TOLERANCE * self._base_latency / latency))
            self._begin_round(now, self._regular_limit * part + sqrt(self._regular_limit))

    def _begin_round(self, now: float, limit: float, *, probe: bool = False) -> None:
        """Begin a round with this *limit*; a *probe* runs at half of the limit."""
        self._regular_limit = max(1, min(HIGHEST_LIMIT, round(limit)))
        self.limit = max(1, self._regular_limit // 2) if probe else self._regular_limit
        self._round_began_at = now
        self._count, self._total_latency, self._most_in_flight = 0, 0.0, self._in_flight
