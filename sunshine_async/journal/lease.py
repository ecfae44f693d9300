"""Lease of a journal that several machines reach: the right of one owner, for a few seconds."""

import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from math import inf
from threading import Event, Thread
from typing import Final
from weakref import WeakMethod

now: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Seconds on a clock that also counts while the process is stopped or the machine sleeps."""
PATIENCE: Final = 120.0
"""Seconds that a job waits for a database that is away."""
RENEWALS: Final = 5
"""Renewals within the length of a lease."""


class LeaseState(Enum):
    """State of a lease, as far as the owner knows."""

    VALID = "no other process can have the lease"
    EXPIRED = "not renewed in time, perhaps since the database is away: another process may have it"
    LOST = "another process has the lease, or nobody could renew the lease for too long"


class JournalLease:
    """Lease of *seconds* from the time *since* on, which *renew* prolongs in a thread until `end`.

    *renew*, a method, returns False once another owner has the lease. The thread ends with the
    method's object. An error of *renew*, of any kind, leaves the end of the lease as before;
    *renew* is then called again. After *patience* seconds without a renewal the lease counts as
    lost. *since* is a time of `now`.
    """

    def __init__(
        self,
        seconds: float,
        renew: Callable[[], bool],
        *,
        since: float,
        patience: float = PATIENCE,
    ) -> None:
        self.seconds: Final = seconds
        self._patience: Final = patience
        self._renew: Final = WeakMethod(renew)
        self._until = since + seconds
        self._asked_at = self._answered_at = since
        self.latest = inf  # the time until which to wait for the database
        self._is_lost = False
        self._ended: Final = Event()
        self._thread: Final = Thread(target=self._run, name="journal lease", daemon=True)
        self._thread.start()

    @property
    def left(self) -> float:
        """Seconds until the end of the lease; below zero after the end; minus infinity: lost."""
        left = self._until - now()
        return -inf if self._is_lost or left < -self._patience else left

    @property
    def state(self) -> LeaseState:
        """State of the lease at this moment."""
        left = self.left
        if left == -inf:
            return LeaseState.LOST
        return LeaseState.VALID if left > 0 else LeaseState.EXPIRED

    def is_silent(self) -> bool:
        """Return True once a wait for the database has to end: the database answers no renewal.

        The wait ends *patience* seconds after the length of a lease, or earlier after `hurry`.
        """
        silent = now() - self._answered_at - self.seconds
        return silent > self._patience or (silent > 0 and now() > self.latest)

    def is_overdue(self) -> bool:
        """Return True once the wait for a renewal has to end: after the seconds of a lease, or `end`."""
        return self._ended.is_set() or now() > self._asked_at + self.seconds

    def lose(self) -> None:
        """Record that another owner has the lease."""
        self._is_lost = True

    def hurry(self, seconds: float) -> None:
        """Let the owner wait for a database that is away for so many more seconds at most."""
        self.latest = min(self.latest, now() + seconds)

    def wait(self, seconds: float) -> bool:
        """Wait so many seconds, or until `end`; return True after `end`."""
        return self._ended.wait(seconds)

    def end(self) -> None:
        """Renew no more; return once the thread has ended."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self.wait(self.seconds / RENEWALS):
            renew, self._asked_at = self._renew(), now()
            if renew is None:
                return
            with suppress(Exception):  # of any kind: nothing was renewed
                if renew():
                    self._until = self._asked_at + self.seconds
                else:
                    self._is_lost = True
                self._answered_at = self._asked_at
            del renew
