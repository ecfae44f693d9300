"""Whether, and how soon, a request may be sent again. No clock, no I/O."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from math import inf
from typing import Final

from attrs import frozen

from sunshine_async.errors import Fault

_PIECES: Final = re.compile(r"\s*(?:[A-Za-z]{3,9},\s*)?[^,]+")
"""Between commas, but for the comma behind a date's weekday."""
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?")
_LONGEST: Final = 1e12  # seconds: past any deadline


class Replay(Enum):
    """What a second sending of the same request can do."""

    SAFE = "reads only"
    IDEMPOTENT = "leaves what one sending leaves"
    GUARDED = "is refused: the caller's key is taken by then"
    GONE = "finds it gone"
    UNSAFE = "may do it twice"
    ONCE = "may do harm even where the service said no"


_AGAIN: Final = frozenset(
    {
        Fault.UNSENT,
        Fault.THROTTLED,
        Fault.OVERLAPPED,
        Fault.UNAVAILABLE,
        Fault.TIMED_OUT,
        Fault.LOST,
    }
)
"""The faults that a later attempt may not meet."""

MAY_RESEND: Final[Mapping[Replay, frozenset[Fault]]] = {
    Replay.SAFE: _AGAIN,
    Replay.IDEMPOTENT: _AGAIN,
    Replay.GUARDED: _AGAIN,
    Replay.GONE: _AGAIN,
    Replay.UNSAFE: frozenset({Fault.UNSENT, Fault.THROTTLED, Fault.OVERLAPPED}),
    Replay.ONCE: frozenset({Fault.UNSENT}),
}

NOT_APPLIED: Final = frozenset({Fault.UNSENT, Fault.PERMANENT, Fault.THROTTLED, Fault.OVERLAPPED})
"""The faults after which the service has certainly not acted."""

MAY_HAVE_ACTED: Final = frozenset(Fault) - NOT_APPLIED
"""All other faults: the service may have acted, or not."""


class Verdict(Enum):
    """What the answer to a later sending says, where an earlier one may have been applied."""

    DONE = "an earlier sending did it"
    READ_BACK = "an earlier sending may have done it: look"


SETTLES: Final[Mapping[tuple[Replay, int], Verdict]] = {
    (Replay.GONE, 404): Verdict.DONE,
    (Replay.GUARDED, 409): Verdict.READ_BACK,
}
"""By what was sent and the status that a later sending met; any other answer stands as it is."""

FAULT_OF: Final[Mapping[int, Fault]] = {
    408: Fault.UNAVAILABLE,
    429: Fault.THROTTLED,
    499: Fault.UNAVAILABLE,
}
"""The statuses that differ from the rest of their class."""

FAULT_OF_CLASS: Final[Mapping[int, Fault | None]] = {2: None, 3: Fault.REDIRECTED, 4: None}
"""The fault by the first of three digits; None: a certain answer. Every other class is in doubt."""


def fault_of(status: int) -> Fault | None:
    """Return the fault that an answer with *status* is; None where *status* settles the call.

    An `Endpoint` may know better: its own table goes before this rule.
    """
    return FAULT_OF.get(status) or FAULT_OF_CLASS.get(status // 100, Fault.UNAVAILABLE)


@frozen(kw_only=True)
class Retry:
    """How often, how soon and for how long a call is tried.

    *max_attempts* counts the first one too: 1 is no second try. The wait before attempt *n* is
    drawn between 0 and ``min(max_wait, first_wait * 2 ** (n - 2))`` seconds, or what the service's
    ``Retry-After`` asks where that is longer. An attempt that ends in 429 doesn't count, unless
    *max_attempts* is 1: then nothing is sent again. *deadline* (seconds) bounds an interactive call
    from its beginning, the wait for its pace and for a connection included; of a batch's call, the
    waits in line don't count. A wait that doesn't fit in what is left is not begun.
    Raise `ValueError` for a number that can't work.
    """

    max_attempts: int = 5
    first_wait: float = 0.5
    max_wait: float = 20.0
    deadline: float = 120.0

    def __attrs_post_init__(self) -> None:
        if self.max_attempts < 1:
            message = (
                f"Retry(max_attempts={self.max_attempts}): it counts the first one, so 1 or more"
            )
            raise ValueError(message)
        for name in ("first_wait", "max_wait"):
            if not getattr(self, name) >= 0:  # so NaN is refused too
                message = f"Retry({name}={getattr(self, name)}): seconds, 0 or more"
                raise ValueError(message)
        if not self.deadline > 0:
            message = f"Retry(deadline={self.deadline}): seconds, more than 0"
            raise ValueError(message)

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

        *attempt* counts from 1. *asked* is what the server's ``Retry-After`` said.
        *luck*, from 0 to 1, spreads the callers. *left* is what remains of the deadline.
        """
        if attempt >= self.max_attempts or fault not in MAY_RESEND[replay]:
            return None
        doublings = min(attempt - 1, 62)  # past that 2.0**n only grows to overflow
        jitter = luck * min(self.max_wait, self.first_wait * 2.0**doublings)
        spread = luck * min(self.max_wait, self.first_wait)
        seconds = jitter if asked is None else max(jitter, asked + spread)
        return seconds if seconds < left else None


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds of a ``Retry-After`` header: a number, or the time until a date.

    Of several values, as from a header that was sent twice, the longest counts. None where there
    is no value, or none that can be read.
    """
    read = (_seconds(piece.strip(), now) for piece in _PIECES.findall(value or ""))
    return max((seconds for seconds in read if seconds is not None), default=None)


def _seconds(text: str, now: datetime) -> float | None:
    if _NUMBER.fullmatch(text):
        return min(float(text), _LONGEST)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    except Exception:  # noqa: BLE001 - a year past any calendar, and whatever the parser trips over
        return None
