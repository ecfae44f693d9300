"""Renewal in a child process: locks and pools of the parent are not the child's."""

import os
from threading import RLock
from typing import Final, Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """State that belongs to the threads and loops of one process."""

    def renew(self) -> None:
        """Forget the state of the parent process."""
        ...


_ALL: Final[WeakSet[Renewable]] = WeakSet()


def renew_after_fork(state: Renewable) -> None:
    """Have *state* renewed in every child process, for as long as *state* exists."""
    _ALL.add(state)


def _renew_all() -> None:
    for state in list(_ALL):
        state.renew()


getattr(os, "register_at_fork", dict)(after_in_child=_renew_all)  # Windows has no fork


class ForkSafeLock:
    """Lock for threads that is free in a child process: ``with it.lock: ...``.

    Without the renewal a child would wait for a thread that only the parent has.
    """

    def __init__(self) -> None:
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Replace the lock by a free one."""
        self.lock = RLock()
