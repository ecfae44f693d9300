"""Evidence of a service's rate limit. No clock: the caller passes the time.

- `AcceptedRate` counts accepted calls over time.
- `NoiseFilter` tells refusals at random from the refusals of a limit.
- `limit_in_headers` reads the rate-limit headers of an answer.
"""

import re
from collections import deque
from collections.abc import Mapping
from math import inf, log
from typing import Final, NamedTuple

from sunshine_async._http.response_parts import parse_date

BUCKET: Final = 0.25
"""Seconds of a bucket: calls are counted by buckets of time."""
BUCKETS_KEPT: Final = 300.0
"""Seconds for which buckets are kept."""
RECENT: Final = 1.0
"""Seconds of a rate at least; more, up to `LONGEST`, where fewer than `ENOUGH` were accepted."""
LONGEST: Final = 5.0
ENOUGH: Final = 10


class AcceptedRate:
    """Rate of accepted calls, counted in buckets of time."""

    def __init__(self) -> None:
        self._buckets: Final[deque[tuple[float, int]]] = deque(maxlen=int(BUCKETS_KEPT / BUCKET))
        self._bucket_began_at = -inf
        self._bucket_ends_at = -inf
        self._count = 0
        self.began_at = -inf
        """The first call after seconds without a call; -inf before a call."""

    def add(self, now: float) -> float:
        """Count a call; return the rate of the bucket that ended before the call, or 0."""
        if now < self._bucket_ends_at:
            self._count += 1
            return 0.0
        rate = self._count / BUCKET
        if self._count:
            self._buckets.append((self._bucket_began_at, self._count))
        if now - self._bucket_ends_at > LONGEST:
            self.began_at = now
        self._bucket_began_at = now
        self._bucket_ends_at = now + BUCKET
        self._count = 1
        return rate

    def recent(self, now: float) -> float:
        """Return the calls a second that were accepted in the last second, or the last five."""
        count, since = self._count, self._bucket_began_at
        for began, number in reversed(self._buckets):
            is_enough = now - since >= RECENT and count >= ENOUGH
            if is_enough or now - began > LONGEST:
                break
            count, since = count + number, began
        if now - since > LONGEST:
            return 0.0
        return count / max(RECENT, now - since)

    def highest(self, now: float, since: float, least: float = 0.0) -> tuple[float, float]:
        """Return the highest rate of all stretches that end *now*, and the seconds of the stretch.

        A stretch begins at *since* or later, and has at least *least* seconds and the seconds of
        `recent`. The seconds of a refusal count.
        """
        best, length = 0.0, 0.0
        count, began = self._count, self._bucket_began_at
        buckets = reversed(self._buckets)
        while True:
            seconds = now - began
            is_enough = seconds >= max(least, RECENT) and (seconds >= LONGEST or count >= ENOUGH)
            if is_enough and count > best * seconds:
                best, length = count / seconds, seconds
            before, number = next(buckets, (-inf, 0))
            if not number or (is_enough and before < since) or now - before > BUCKETS_KEPT:
                break
            count, began = count + number, before
        return (best, length) if best else (count / max(RECENT, now - began), now - began)


NOISY_RATE: Final = 15.0
"""Calls a second. Callers that share a smaller limit see nothing but mild refusals."""
TRIAL_FALLS: Final = 3
"""Falls in a row, each before the rate was back, after which a mild fall begins a trial at once."""
TRIAL_INTERVAL: Final = 10.0
"""Seconds between two trials; doubled after each failed trial."""
TRIAL_GROWTH: Final = 2.3
"""Times the rate before the trial: an excess that begins beyond shows noise.

With less, callers that share a limit take one another for noise, in a trial while others are slow.
With more, the noise of a caller near its limit stays unknown for long.
"""
NOISE_LASTS: Final = 60.0
"""Seconds from the beginning of a trial, after which noise has to be shown again."""
LOWEST_SHARE: Final = 0.005
"""The share of refusals that is taken for noise, at least: then four refusals are an excess."""
HIGHEST_SHARE: Final = 0.025
"""The same at most: then nine refusals are an excess. Each refusal of a limit costs a call."""
FIRST_SHARE: Final = 0.02
"""The share that is assumed at first, with the weight of ..."""
FIRST_ANSWERS: Final = 100.0
"""... so many answers: the first refusals come from the search for the limit."""
MEMORY: Final = 2000.0
"""Answers that are remembered: beyond, each counts half."""
LIMIT_SHARE: Final = 0.02
"""The share of refusals that a limit adds to the noise, as the excess assumes."""
TRIAL_EXCESS: Final = 5.0
"""The log-likelihood ratio (limit and noise to noise alone) that is an excess in a trial."""
EXCESS: Final = 6.0
"""The same after a trial that showed noise: higher, as random refusals come in clusters too."""


class NoiseFilter:
    """Noise: refusals that come at any rate, such as a faulty gateway's.

    After a mild refusal a trial shows the cause: the rate doubles each second until refusals are
    in excess. An excess is a cumulative sum of evidence: a limit explains the refusals better than
    the usual share of noise. The rate at which the excess began decides about the trial:

    - Far above the rate before the trial: the refusals before were noise.
    - Lower: a limit refuses, and the trial failed. The next trial begins after 10 s, 20 s, 40 s
      and so on, or after three falls in a row that didn't help.

    Noise that was shown lasts a minute, in which only a larger excess lowers the rate. The usual
    share leaves out all trials and each excess: a limit's refusals would hide the limit.
    """

    def __init__(self) -> None:
        self._noise_until = -inf
        self._trial_at = -inf
        self._trial_interval = TRIAL_INTERVAL
        self._falls = 0
        self._answers = FIRST_ANSWERS
        self._refusals = FIRST_SHARE * FIRST_ANSWERS
        self._weight = 0.0
        """The evidence of a refusal for a limit: a log-likelihood ratio."""
        self._excess = 0.0
        self._fall_rate = 0.0
        """The rate that was accepted before the last fall."""
        self._trial_rate = 0.0
        """The same before the trial under way; 0 without a trial."""
        self._reached = 0.0
        """The highest rate of the trial before the excess began."""

    def count(self, now: float, rate: float, refusals: int = 0) -> None:
        """Count an answer at this *rate*: an accepted call (0), or a refusal (1)."""
        if now < self._noise_until:
            if not self._excess:
                self._reached = max(self._reached, rate)
            evidence = self._weight if refusals else -LIMIT_SHARE
            self._excess = max(0.0, self._excess + evidence)
            if self._trial_rate:
                return
        self._answers += 1
        self._refusals += refusals
        if self._answers > MEMORY:
            self._answers /= 2
            self._refusals /= 2

    def has_noise(self, now: float) -> bool:
        """Return True while there is noise."""
        return now < self._noise_until

    def is_noise(self, now: float) -> bool:
        """Return True if noise explains a refusal now."""
        excess = TRIAL_EXCESS if self._trial_rate else EXCESS
        return now < self._noise_until and self._excess < excess

    def count_fall(self, now: float, accepted: float, *, early: bool) -> float:
        """Note a fall, with so many calls a second *accepted*; while there is noise, for an excess.

        Return the calls a second that were accepted before a trial that fails with the fall, or 0:
        the refusals of the trial have kept *accepted* low.
        """
        self._falls = self._falls + 1 if early else 1
        before = 0.0
        if now < self._noise_until:
            if not self._trial_rate:
                self._refusals = max(0.0, self._refusals - self._excess / self._weight)
                self._measure()
            elif self._reached >= TRIAL_GROWTH * self._trial_rate:
                self._trial_rate, self._trial_interval = 0.0, TRIAL_INTERVAL
            else:
                before, self._falls, self._noise_until = self._trial_rate, 0, -inf
                self._trial_at = now + self._trial_interval
                self._trial_interval *= 2
        self._fall_rate = max(accepted, before)
        return before

    def end_refusals(self, now: float, *, mild: bool, asked: bool) -> bool:
        """Note the end of a refusal period, *mild* or not; return True if a trial begins.

        Where the service *asked* for a pause, a trial is too costly, except after falls in a row.
        """
        self._excess = 0.0
        if not mild or self._fall_rate < NOISY_RATE:
            self._falls = 0 if asked else self._falls
            return False
        if now < self._noise_until or (
            (asked or now < self._trial_at) and self._falls < TRIAL_FALLS
        ):
            return False
        self._measure()
        self._noise_until = now + NOISE_LASTS
        self._trial_rate, self._reached, self._falls = self._fall_rate, 0.0, 0
        return True

    def stop(self) -> None:
        """Note that a limit refuses, and no noise: the service asked for seconds."""
        self._falls, self._noise_until, self._trial_rate = 0, -inf, 0.0

    def _measure(self) -> None:
        """Weigh a refusal by the usual share: the rarer the noise, the more a refusal tells."""
        share = min(HIGHEST_SHARE, max(LOWEST_SHARE, self._refusals / self._answers))
        self._weight = log(1 + LIMIT_SHARE / share)


_FAMILIES: Final = tuple(
    (f"{prefix}-remaining", f"{prefix}-limit", f"{prefix}-reset")
    for prefix in ("x-ratelimit", "x-rate-limit", "ratelimit")
)
_TELLING: Final = frozenset({"ratelimit", *(names[0] for names in _FAMILIES)})
"""Header names: an answer that tells a limit has at least one of these."""
_NUMBER: Final = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)")
_FIELD: Final = re.compile(r"\b(r|remaining|t|reset|q|limit|w)=(\d{1,15})")
_EPOCH: Final = 1e8
"""A larger reset is a time since 1970, in seconds or ..."""
_MILLISECONDS: Final = 1e11
"""... in milliseconds."""


class HeaderLimit(NamedTuple):
    """The state of a limit, as the headers of an answer tell."""

    limit: float
    """Calls a window."""
    remaining: float
    """Calls left in the window."""
    reset: float
    """Seconds until the window ends."""
    length: float = 0.0
    """Seconds of the window; 0 where the service doesn't say."""


def limit_in_headers(headers: Mapping[str, str], now: float) -> HeaderLimit | None:
    """Return the limit in *headers* (lower-case names), or None; *now* is seconds since 1970.

    These headers are read: ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``, the same as
    ``X-Rate-Limit-…`` and ``RateLimit-…``, and the IETF's ``RateLimit`` with ``RateLimit-Policy``.
    A reset is seconds from now, or a time since 1970 on the service's clock, as the ``Date`` header is.
    """
    if _TELLING.isdisjoint(headers):
        return None
    for names in _FAMILIES:
        if names[0] in headers:
            remaining, limit, reset = (_number(headers.get(name, "")) for name in names)
            fields = _fields(headers.get(names[1], ""))
            reset = _seconds_until(reset, headers, now)
            return _limit_of(limit, remaining, reset, fields.get("w"))
    fields = _fields(headers.get("ratelimit-policy", "")) | _fields(headers["ratelimit"])
    return _limit_of(
        fields.get("q", fields.get("limit")),
        fields.get("r", fields.get("remaining")),
        _seconds_until(fields.get("t", fields.get("reset")), headers, now),
        fields.get("w"),
    )


def _limit_of(
    limit: float | None,
    remaining: float | None,
    reset: float | None,
    length: float | None,
) -> HeaderLimit | None:
    if not limit or remaining is None or reset is None:
        return None
    return HeaderLimit(limit, remaining, reset, length or 0.0)


def _seconds_until(reset: float | None, headers: Mapping[str, str], now: float) -> float | None:
    if reset is None or reset <= _EPOCH:
        return reset
    at = parse_date(headers.get("date"))
    seconds = reset / 1000 if reset > _MILLISECONDS else reset
    return max(0.0, seconds - (now if at is None else at.timestamp()))


def _number(text: str) -> float | None:
    found = _NUMBER.match(text)
    return float(found[1]) if found else None


def _fields(text: str) -> dict[str, float]:
    """Return the fields of the first item of *text*."""
    fields: dict[str, float] = {}
    for name, value in _FIELD.findall(text):
        fields.setdefault(name, float(value))
    return fields
