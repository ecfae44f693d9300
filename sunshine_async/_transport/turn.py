"""Waiting until a pace lets a call go, in any thread and loop."""

import time
from collections.abc import Awaitable, Callable
from random import random
from threading import get_ident
from typing import Any, Final

import anyio
from anyio.lowlevel import current_token
from attrs import define

from sunshine_async._pace import Pace, Place


@define
class Clock:
    """The time, the waiting and the luck of calls: one object, so that tests can stand in for it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    luck: Callable[[], float] = random


CLOCK: Final = Clock()


async def take(pace: Pace, clock: Clock) -> None:
    """Return once *pace* has let a call go, which `Pace.leave` ends; cancelled, none has started."""
    if pace.enter(clock.now()):
        return
    waker = _Waker()
    place = Place(waker)
    pace.join(place)
    try:
        while (wait := pace.ask(place, clock.now())) != 0:
            await (waker.called() if wait is None else clock.sleep(wait))
    except BaseException:
        pace.give_up(place)
        raise


class _Waker:
    """Wakes a task of the loop it was made in, from any thread."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._home: Final = get_ident()
        self._loop: Final[Any] = current_token().native_token

    def __call__(self) -> None:
        if get_ident() == self._home:
            self._event.set()
            return
        soon = getattr(self._loop, "call_soon_threadsafe", None) or self._loop.run_sync_soon
        soon(self._event.set)

    async def called(self) -> None:
        await self._event.wait()
        self._event = anyio.Event()
