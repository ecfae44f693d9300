"""Rate-limit headers of an answer. Pure: the caller passes the time."""

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

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
class Told:
    """The state of a limit, as the service tells it."""

    limit: float
    """Calls a window."""
    remaining: float
    """Calls that are left of them."""
    reset: float
    """Seconds until the window ends."""
    length: float = 0.0
    """Seconds of the window; 0 where the service doesn't say."""


def told(headers: Mapping[str, str], now: float) -> Told | None:
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
) -> Told | None:
    if not limit or remaining is None or reset is None:
        return None
    if reset > _MILLISECONDS:
        reset /= 1000
    if reset > _EPOCH:
        reset = max(0.0, reset - now)
    return Told(limit, remaining, reset, length or 0.0)


def _number(text: str) -> float | None:
    found = _NUMBER.match(text)
    return float(found[1]) if found else None


def _fields(text: str) -> dict[str, float]:
    """Return the fields of the first item of *text*."""
    fields: dict[str, float] = {}
    for name, value in _FIELD.findall(text):
        fields.setdefault(name, float(value))
    return fields
