"""Retry decisions: which request may be sent again, and when. No clock, no I/O."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from math import inf
from typing import Final

from attrs import frozen

from sunshine_async._http.response_parts import parse_date
from sunshine_async._pace.settings import Setting, check_settings
from sunshine_async.errors import Fault

_VALUES: Final = r"\s*(?:[A-Za-z]{3,9},\s*)?[^,]+"
"""A value between commas; the comma after the weekday of a date separates nothing."""
_NUMBER: Final = r"[0-9]+(\.[0-9]*)?"
_LONGEST: Final = 1e12  # seconds: past any deadline


class Replay(Enum):
    """Effect that a second sending of the same request can have."""

    SAFE = "reads only"
    IDEMPOTENT = "leaves what one sending leaves"
    GUARDED = "is refused: the caller's key is taken by then"
    GONE = "finds it gone"
    UNSAFE = "may do it twice"
    ONCE = "may do harm even where the service said no"


_REJECTED: Final = frozenset({Fault.UNSENT, Fault.THROTTLED, Fault.OVERLAPPED})
"""Transient faults after which the service has certainly not acted."""
_TRANSIENT: Final = _REJECTED | {Fault.UNAVAILABLE, Fault.TIMED_OUT, Fault.LOST}
"""Transient faults: a later attempt may succeed."""

MAY_RESEND: Final[Mapping[Replay, frozenset[Fault]]] = {
    Replay.SAFE: _TRANSIENT,
    Replay.IDEMPOTENT: _TRANSIENT,
    Replay.GUARDED: _TRANSIENT,
    Replay.GONE: _TRANSIENT,
    Replay.UNSAFE: _REJECTED,
    Replay.ONCE: frozenset({Fault.UNSENT}),
}
"""Faults after which a request may be sent again, by the request's replay safety."""

NOT_APPLIED: Final = _REJECTED | {Fault.PERMANENT}
"""Faults after which the service has certainly not acted."""

MAY_HAVE_ACTED: Final = frozenset(Fault) - NOT_APPLIED


class Settlement(Enum):
    """Proof that a later answer gives of an earlier attempt that may have been applied."""

    DONE = "an earlier sending did it"
    READ_BACK = "an earlier sending may have done it: look"


SETTLES: Final[Mapping[tuple[Replay, int], Settlement]] = {
    (Replay.GONE, 404): Settlement.DONE,
    (Replay.GUARDED, 409): Settlement.READ_BACK,
}
"""Settlements by the request's replay safety and the later status; no further answer settles."""

FAULT_OF: Final[Mapping[int, Fault]] = {
    408: Fault.UNAVAILABLE,
    429: Fault.THROTTLED,
    499: Fault.UNAVAILABLE,
}
"""Statuses that differ from the rest of the class."""

FAULT_OF_CLASS: Final[Mapping[int, Fault | None]] = {2: None, 3: Fault.REDIRECTED, 4: None}
"""Faults by the first of three digits; None: a certain answer. Further classes are uncertain."""


def fault_of(status: int) -> Fault | None:
    """Return the fault of an answer with *status*; None if *status* settles the call.

    The `Endpoint.faults` of an endpoint go before this rule.
    """
    return FAULT_OF.get(status) or FAULT_OF_CLASS.get(status // 100, Fault.UNAVAILABLE)


@frozen(kw_only=True)
class Retry:
    """Retry rule of a client: number of attempts, waits between attempts, deadline of a call.

    - *max_attempts* counts the first attempt too: 1 means no retry. An attempt that ends in 429
      doesn't count, unless *max_attempts* is 1: then nothing is sent again.
    - The wait before attempt *n* is drawn between 0 and
      ``min(max_wait, first_wait * 2 ** (n - 2))`` seconds. A longer ``Retry-After`` of the service
      replaces this wait.
    - *deadline* (seconds) bounds an interactive call from the beginning, the waits for the pace and
      for a connection included. For a batch's call, waits in the queue don't count.
    - A wait that doesn't fit in the rest of the deadline is not begun.

    Raise `ValueError` for a number that can't work.
    """

    max_attempts: int = 5
    first_wait: float = 0.5
    max_wait: float = 20.0
    deadline: float = 120.0

    def __attrs_post_init__(self) -> None:
        settings: tuple[Setting, ...] = (
            ("max_attempts", self.max_attempts, lambda it: it >= 1, "the first counts too, so 1 or more"),
            ("first_wait", self.first_wait, lambda it: it >= 0, "seconds, 0 or more"),
            ("max_wait", self.max_wait, lambda it: it >= 0, "seconds, 0 or more"),
            ("deadline", self.deadline, lambda it: it > 0, "seconds, more than 0"),
        )  # fmt: skip
        check_settings("Retry", settings)

    def wait(
        self,
        replay: Replay,
        fault: Fault,
        *,
        attempt: int,
        asked: float | None,
        luck: float,
        left: float = inf,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None to stop.

        *attempt* counts from 1. *asked* is the server's ``Retry-After``. *luck*, from 0 to 1,
        spreads the callers. *left* is the rest of the deadline.
        """
        if attempt >= self.max_attempts or fault not in MAY_RESEND[replay]:
            return None
        doublings = min(attempt - 1, 62)  # past that 2.0**n only grows to overflow
        jitter = luck * min(self.max_wait, self.first_wait * 2.0**doublings)
        spread = luck * min(self.max_wait, self.first_wait)
        seconds = jitter if asked is None else max(jitter, asked + spread)
        return seconds if seconds < left else None


def retry_after_in(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds of the ``Retry-After`` in *headers*, as `retry_after`.

    A date is a time on the service's clock, as the ``Date`` header is. *now* counts without that.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    return retry_after(value, now=parse_date(headers.get("date")) or now)


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After`` header: a number, or the time until a date.

    The longest of several values counts, as in a header that was sent twice. None: no readable value.
    """
    read = (_seconds(piece.strip(), now) for piece in re.findall(_VALUES, value or ""))
    return max((seconds for seconds in read if seconds is not None), default=None)


def _seconds(text: str, now: datetime) -> float | None:
    if re.fullmatch(_NUMBER, text):
        return min(float(text), _LONGEST)
    at = parse_date(text)
    return None if at is None else max(0.0, (at - now).total_seconds())
