"""How many calls are under way at once, and how fast they start. It is told the time."""

from collections import deque
from collections.abc import Callable
from math import inf
from threading import Lock
from typing import Final

from attrs import define

_ROUNDING: Final = 1e-9  # of a token: a wait of exactly one is then over when its time has come


@define(eq=False)
class Place:
    """A place in the line of a pace; *wake* is called when it is worth asking again."""

    wake: Callable[[], None]


class Pace:
    """A bound on the calls of one or more clients: first come, first served.

    At most *max_in_flight* calls are under way at once. With a *rate*, at most
    ``burst + rate * t`` calls start in any *t* seconds (a token bucket; *burst* is a tenth of a
    second's calls where it isn't given, and at least 1). Hand the same pace to several clients,
    in any thread or loop, to bound them together. Raise `ValueError` for a number that can't work.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        if rate is not None and not 0 < rate < inf:
            message = f"Pace(rate={rate}): calls a second, more than 0; leave it out for no bound"
            raise ValueError(message)
        if burst is not None and not 1 <= burst < inf:
            message = f"Pace(burst={burst}): how many may start at once, 1 or more"
            raise ValueError(message)
        if max_in_flight is not None and max_in_flight < 1:
            message = f"Pace(max_in_flight={max_in_flight}): 1 or more; leave it out for no bound"
            raise ValueError(message)
        self.rate: Final = rate
        self.burst: Final = burst if burst is not None else max(1.0, (rate or 0.0) / 10)
        self.max_in_flight: Final = max_in_flight
        self._places = inf if max_in_flight is None else max_in_flight
        self._lock: Final = Lock()
        self._line: Final[deque[Place]] = deque()
        self._in_flight = 0
        self._tokens = self.burst
        self._counted_at = -inf

    def __repr__(self) -> str:
        return f"Pace(rate={self.rate}, burst={self.burst}, max_in_flight={self.max_in_flight})"

    def enter(self, now: float) -> bool:
        """Start a call at *now* if that may be and nobody waits; every True is to be left once."""
        with self._lock:
            if self._line or self._wait(now) != 0:
                return False
            self._start()
            return True

    def join(self, place: Place) -> None:
        """Stand in line."""
        with self._lock:
            self._line.append(place)

    def ask(self, place: Place, now: float) -> float | None:
        """Return 0.0 if the call of *place* has started: it is out of the line then, and in flight.

        Else the seconds after which to ask again, or None: when it is woken.
        """
        with self._lock:
            if self._line[0] is not place:
                return None
            wait = self._wait(now)
            if wait == 0:
                self._line.popleft()
                self._start()
                self._wake()
            return wait

    def give_up(self, place: Place) -> None:
        """Go out of the line without having started."""
        with self._lock:
            self._line.remove(place)
            self._wake()

    def leave(self) -> None:
        """End a call that has started."""
        with self._lock:
            self._in_flight -= 1
            self._wake()

    def _wait(self, now: float) -> float | None:
        if self._in_flight >= self._places:
            return None
        if self.rate is None:
            return 0.0
        if now > self._counted_at:  # a clock that steps back mints nothing
            grown = self._tokens + (now - self._counted_at) * self.rate
            self._tokens = min(self.burst, grown)
            self._counted_at = now
        short = 1 - self._tokens
        return 0.0 if short <= _ROUNDING else short / self.rate

    def _start(self) -> None:
        self._in_flight += 1
        if self.rate is not None:
            self._tokens -= 1

    def _wake(self) -> None:
        if self._line:
            self._line[0].wake()
