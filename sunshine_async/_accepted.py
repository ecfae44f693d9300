"""Counts of accepted calls over time. No clock: the caller passes the time."""

from collections import deque
from math import inf
from typing import Final

PIECE: Final = 0.25
"""Seconds: calls are counted in pieces of time."""
KEPT: Final = 300.0
"""Seconds of pieces that are kept."""
LATELY: Final = 1.0
"""Seconds of a rate at least; more, up to `LONGEST`, where fewer than `ENOUGH` were accepted."""
LONGEST: Final = 5.0
ENOUGH: Final = 10


class Accepted:
    """Calls that were accepted, counted in pieces of time."""

    def __init__(self) -> None:
        self._pieces: Final[deque[tuple[float, int]]] = deque(maxlen=int(KEPT / PIECE))
        self._began = -inf
        self._until = -inf
        self._count = 0

    def add(self, now: float) -> float:
        """Count one call; return the calls a second of the piece that ended with it, or 0."""
        if now < self._until:
            self._count += 1
            return 0.0
        rate = self._count / PIECE
        if self._count:
            self._pieces.append((self._began, self._count))
        self._began = now
        self._until = now + PIECE
        self._count = 1
        return rate

    def lately(self, now: float) -> float:
        """Return how many calls a second were accepted in the last second, or the last five."""
        count, since = self._count, self._began
        for began, several in reversed(self._pieces):
            enough = now - since >= LATELY and count >= ENOUGH
            if enough or now - began > LONGEST:
                break
            count, since = count + several, began
        if now - since > LONGEST:
            return 0.0
        return count / max(LATELY, now - since)

    def most(self, now: float, since: float, least: float = 0.0) -> tuple[float, float]:
        """Return the highest rate of any stretch from *since* on that ends *now*, and its seconds.

        The seconds of a refusal count. A stretch is as long as for `lately`, and as *least* seconds,
        at least.
        """
        best, length = 0.0, 0.0
        count, began = self._count, self._began
        pieces = reversed(self._pieces)
        while True:
            seconds = now - began
            enough = seconds >= max(least, LATELY) and (seconds >= LONGEST or count >= ENOUGH)
            if enough and count > best * seconds:
                best, length = count / seconds, seconds
            before, several = next(pieces, (-inf, 0))
            if not several or (enough and before < since) or now - before > KEPT:
                break
            count, began = count + several, before
        return (best, length) if best else (count / max(LATELY, now - began), now - began)
