"""Refusals at random, told from those of a limit. No clock: the caller passes the time.

Counts of accepted calls over time. No clock: the caller passes the time.

Rate-limit headers of an answer. Pure: the caller passes the time.
"""

import re
from collections import deque
from collections.abc import Mapping
from math import inf
from typing import Final

from attrs import frozen

PIECE: Final = 0.25
"""Seconds: calls are counted in pieces of time."""
KEPT: Final = 300.0
"""Seconds of pieces that are kept."""
LATELY: Final = 1.0
"""Seconds of a rate at least; more, up to `LONGEST`, where fewer than `ENOUGH` were accepted."""
LONGEST: Final = 5.0
ENOUGH: Final = 10


class AcceptedRate:
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


FAST: Final = 15.0
"""Calls a second: below, callers that share a small limit see nothing but mild refusals."""
FALLS: Final = 3
"""Mild falls in a row, each before the rate was back, after which noise is tried at once."""
BETWEEN: Final = 60.0
"""Seconds between two trials; twice as many after each that failed."""
GREW: Final = 2.0
"""Times the rate before a trial that shows noise."""
LASTS: Final = 60.0
"""Seconds after a trial began, after which noise has to be shown again."""
LEAST: Final = 0.005
MOST: Final = 0.025
"""The share of refusals that is taken for noise."""
MARGIN: Final = 0.01
"""The share of refusals, beyond twice that of the noise, that is no excess yet."""
EXCESS: Final = 5.0
"""Refusals in excess that a limit explains better."""


class NoiseFilter:
    """Refusals that come at any rate, such as those of a faulty gateway, and their share.

    After a mild refusal a trial shows the cause: the rate doubles each second. Noise stays what it
    is, and a limit refuses in excess (a cumulative sum against twice the share of the noise). A
    trial that failed isn't repeated for a minute, two, four and so on, unless three falls in a row
    didn't help. While there is noise, only an excess of refusals lowers the rate.
    """

    def __init__(self) -> None:
        self._until = -inf
        self._next_at = -inf
        self._between = BETWEEN
        self._falls = 0
        self._answers = 0
        self._refusals = 0
        self._excess = 0.0
        self._share = LEAST
        self._accepted = 0.0
        """The rate that was accepted before the last fall."""
        self._from = 0.0
        """The same before the trial that is on; 0 without one."""

    def count(self, refusals: int = 0) -> None:
        """Count an answer, which is a refusal or none."""
        self._answers += 1
        self._refusals += refusals
        self._excess = max(0.0, self._excess + refusals - 2 * self._share - MARGIN)

    def is_on(self, now: float) -> bool:
        """Return whether there is noise."""
        return now < self._until

    def explains(self, now: float) -> bool:
        """Return whether a refusal is noise."""
        return now < self._until and self._excess < EXCESS

    def fell(self, now: float, accepted: float, *, early: bool) -> None:
        """Note a fall, with so many calls a second *accepted*: in noise, for an excess."""
        self._falls = self._falls + 1 if early else 1
        if now < self._until:
            self._measure()
            if accepted >= GREW * self._from:
                self._from, self._between = 0.0, BETWEEN
            else:
                self._until = -inf
                self._next_at = now + self._between
                self._between *= 2
        self._accepted = accepted

    def opened(self, now: float, *, mild: bool, asked: bool) -> bool:
        """Note the end of a refusal period, *mild* or not; return whether a trial begins.

        Where the service *asked* for a pause, a trial is too dear but after falls in a row.
        """
        self._excess = 0.0
        if not mild or self._accepted < FAST:
            self._falls = 0
            return False
        if now < self._until or ((asked or now < self._next_at) and self._falls < FALLS):
            return False
        self._measure()
        self._until, self._from, self._falls = now + LASTS, self._accepted, 0
        return True

    def end(self) -> None:
        """Note that refusals are those of a limit: the service asked for seconds."""
        self._falls, self._until, self._from = 0, -inf, 0.0

    def _measure(self) -> None:
        usual = (self._refusals - self._excess) / max(1, self._answers)
        self._share = min(MOST, max(LEAST, usual))
        self._answers = self._refusals = 0


_FAMILIES: Final = tuple(
    (f"{prefix}-remaining", f"{prefix}-limit", f"{prefix}-reset")
    for prefix in ("x-ratelimit", "x-rate-limit", "ratelimit")
)
_TELLING: Final = frozenset({"ratelimit", *(names[0] for names in _FAMILIES)})
"""The names of which one is there, where a limit is told."""
_NUMBER: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)")
_FIELD: Final = re.compile(r"\b(r|remaining|t|reset|q|limit|w)=(\d{1,15})")
_EPOCH: Final = 1e8
"""Seconds: a larger reset is a time since 1970, in seconds or ..."""
_MILLISECONDS: Final = 1e11
"""... in milliseconds."""


@frozen
class HeaderLimit:
    """The state of a limit, as the service tells it."""

    limit: float
    """Calls a window."""
    remaining: float
    """Calls that are left of them."""
    reset: float
    """Seconds until the window ends."""
    length: float = 0.0
    """Seconds of the window; 0 where the service doesn't say."""


def limit_in_headers(headers: Mapping[str, str], now: float) -> HeaderLimit | None:
    """Return what *headers* (lower-case names) say of a limit, or None; *now* is seconds since 1970.

    Read are ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``, the same as ``X-Rate-Limit-…``
    and ``RateLimit-…``, and the IETF's ``RateLimit`` with ``RateLimit-Policy``. A reset is seconds
    from now or a time since 1970.
    """
    if _TELLING.isdisjoint(headers):
        return None
    for names in _FAMILIES:
        if names[0] in headers:
            remaining, limit, reset = (_number(headers.get(name, "")) for name in names)
            fields = _fields(headers.get(names[1], ""))
            return _of(limit, remaining, reset, fields.get("w"), now)
    fields = _fields(headers.get("ratelimit-policy", "")) | _fields(headers["ratelimit"])
    return _of(
        fields.get("q", fields.get("limit")),
        fields.get("r", fields.get("remaining")),
        fields.get("t", fields.get("reset")),
        fields.get("w"),
        now,
    )


def _of(
    limit: float | None,
    remaining: float | None,
    reset: float | None,
    length: float | None,
    now: float,
) -> HeaderLimit | None:
    if not limit or remaining is None or reset is None:
        return None
    if reset > _MILLISECONDS:
        reset /= 1000
    if reset > _EPOCH:
        reset = max(0.0, reset - now)
    return HeaderLimit(limit, remaining, reset, length or 0.0)


def _number(text: str) -> float | None:
    found = _NUMBER.match(text)
    return float(found[1]) if found else None


def _fields(text: str) -> dict[str, float]:
    """Return the fields of the first item of *text*."""
    fields: dict[str, float] = {}
    for name, value in _FIELD.findall(text):
        fields.setdefault(name, float(value))
    return fields
