"""Waiting until a pace lets a call go, in any thread and loop."""

import os
import time
from collections.abc import Awaitable, Callable
from math import inf
from random import random
from threading import get_ident
from typing import Any, Final

import anyio
from anyio.lowlevel import current_token
from attrs import define

from sunshine_async._pace.slots import Lane, Slots, Waiter, renew_all


@define
class Clock:
    """The time, the waiting and the luck of calls: one object, so that tests can stand in for it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    luck: Callable[[], float] = random


CLOCK: Final = Clock()

getattr(os, "register_at_fork", dict)(after_in_child=renew_all)  # Windows has no fork


async def acquire_slot(
    places: Slots,
    clock: Clock,
    lane: Lane = Lane.INTERACTIVE,
    *,
    again: bool = False,
    until: float = inf,
) -> bool:
    """Return True once *places*, or a pace, have let a call go: its `leave` ends it.

    Return False as soon as that is known to be later than *until*; cancelled or late, none has
    started. A call that was let go before (*again*) goes ahead of those of its lane that never
    were.
    """
    if not again and places.enter(clock.now(), lane):
        return True
    waker = Waker(clock)
    place = Waiter(waker, lane, again)
    places.join(place)
    try:
        while (wait := places.ask(place, now := clock.now())) != 0:
            left = until - now
            pause = places.pause(now, lane)
            if left <= 0 or pause > left or pause == inf:
                places.give_up(place)
                return False
            within = left if wait is None else min(wait, left)
            await waker.called(None if within == inf else within)
    except BaseException:
        places.give_up(place)
        raise
    return True


class Waker:
    """Wakes a task of the loop it was made in, from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._event = anyio.Event()
        self._sleeping: anyio.CancelScope | None = None
        self._home: Final = get_ident()
        self._loop: Final[Any] = current_token().native_token

    def __call__(self) -> None:
        """Wake it; raise `RuntimeError` where its loop is closed."""
        is_closed = getattr(self._loop, "is_closed", None)
        if is_closed is not None and is_closed():
            message = "the event loop of who waits is closed"
            raise RuntimeError(message)
        if get_ident() == self._home:
            self._wake()
            return
        soon = getattr(self._loop, "call_soon_threadsafe", None) or self._loop.run_sync_soon
        soon(self._wake)

    async def called(self, within: float | None) -> None:
        """Return when it was called since the last time, or *within* so many seconds."""
        if within is None:
            await self._event.wait()
        else:
            with anyio.CancelScope() as self._sleeping:
                await self._clock.sleep(within)
            self._sleeping = None
        self._event = anyio.Event()

    def _wake(self) -> None:
        self._event.set()
        if self._sleeping is not None:
            self._sleeping.cancel()
