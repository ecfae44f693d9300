"""Progress of a running job: rows, speed, time left, and the reason for a wait.

The speed is a mean over the last two fifths of the job so far: a slow start is forgotten, and the
time left stays steady. Seconds in which the job was held, since the service was gone, don't
count. Seconds in which the service asked for a pause do count, since such pauses recur.
"""

from collections.abc import Sequence
from typing import Final

from attrs import frozen

from sunshine_async.jobs.timeline import Part

_SHARE: Final = 0.4  # of the job so far, held seconds left out
_SHORTEST: Final = 5.0  # seconds


@frozen(kw_only=True)
class Progress:
    """Progress of a job now."""

    rows: int = 0
    """Rows with an outcome, also of earlier runs of the job."""
    total: int | None = None
    """Rows of the source: an estimate while a job without a journal reads a file. None: unknown."""
    rate: float = 0.0
    """Rows a second lately."""
    not_done: int = 0
    """Rows that failed, are unknown or bad."""
    throttled: int = 0
    """Requests that the service refused for its rate limit (429)."""
    limit: float | None = None
    """Calls a second that may start, declared or learnt; None: no limit."""
    paused: float = 0.0
    """Seconds for which the service asked to wait, from now on."""
    held: str | None = None
    """The last error of a service that is gone, or an empty text; None: the job isn't held."""
    lines: int | None = None
    """Lines read, while a file is read and no row is sent yet; None: rows are sent."""
    lines_share: float | None = None
    """Part of the file that was read, from 0 to 1; None: unknown, or rows are sent."""

    @property
    def share(self) -> float | None:
        """Part of the rows with an outcome, from 0 to 1; None: unknown."""
        return None if self.total is None else min(1.0, self.rows / max(1, self.total))

    @property
    def left(self) -> float | None:
        """Seconds until the last row has an outcome, at the latest speed; None: unknown."""
        if self.total is None or not self.rate:
            return None
        return max(self.paused, (self.total - self.rows) / self.rate)


def recent_rate(parts: Sequence[Part]) -> float:
    """Return the rows a second over the last two fifths of *parts*: 0.0 if nothing is known.

    The first part isn't counted among several: the first call goes alone.
    """
    parts = parts[1:] or parts
    window = max(_SHORTEST, sum(part.seconds - part.held for part in parts) * _SHARE)
    rows, seconds = 0, 0.0
    for part in reversed(parts):
        if seconds >= window:
            break
        rows += part.done + part.not_done
        seconds += part.seconds - part.held
    return rows / seconds if seconds > 0 else 0.0
