"""Events that no connection tells of: a fork, after which a child renews its state, and sleep."""

import os
import time
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Final, Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """State that belongs to the threads and loops of one process."""

    def renew(self) -> None:
        """Forget the state of the parent process."""


_REGISTERED: Final[WeakSet[Renewable]] = WeakSet()


def renew_after_fork(state: Renewable) -> None:
    """Register *state* for renewal in every child process, as long as *state* exists."""
    _REGISTERED.add(state)


def _renew_all() -> None:
    for state in list(_REGISTERED):
        state.renew()


getattr(os, "register_at_fork", dict)(after_in_child=_renew_all)  # Windows has no fork


class ForkSafeLock:
    """Lock for threads that is free in a child process: ``with fork_safe_lock.lock: ...``.

    A lock that is not renewed would make the child wait for a thread that only the parent has.
    """

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock by a free lock."""
        self.lock = RLock()


_CLOCK_ID: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_boot_time: Callable[[], float] = (
    time.monotonic if _CLOCK_ID is None else partial(time.clock_gettime, _CLOCK_ID)
)
"""Clock that goes on while the machine sleeps: of Linux, else of macOS; Windows has no other."""


class SleepWatch:
    """Watch for a sleep of the machine, in which the clock of an event loop stands still."""

    def __init__(self) -> None:
        self._slept = self._seconds()

    def has_slept(self) -> bool:
        """Return True if the machine has slept since the last call, or since the start."""
        before, self._slept = self._slept, self._seconds()
        return self._slept - before > 1  # the two clocks are read one after the other

    def _seconds(self) -> float:
        return _boot_time() - time.monotonic()
