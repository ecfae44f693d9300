"""State that a child process renews after a fork: locks and connection pools."""

import os
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
