"""How many may be under way at once, with a place kept free for whom somebody waits for.

Who goes next: those whom somebody waits for before those who are one of many.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from math import inf
from threading import RLock
from typing import Final
from weakref import WeakSet

from attrs import define, field

SHARE: Final = 10
"""Where both lanes wait, every tenth start is a batch's."""


class Lane(Enum):
    """What a call is for, and so whom it lets go first."""

    INTERACTIVE = "somebody waits for it"
    BATCH = "one of many"


CURRENT_LANE: Final = ContextVar("lane", default=Lane.INTERACTIVE)
"""The lane of the running task's calls, where their client doesn't say."""


@define(eq=False)
class Waiter:
    """A place in a line; *wake* is called when it is worth asking again.

    With *again* its call was let go before: it stands before those of its lane who never were.
    """

    wake: Callable[[], None]
    lane: Lane = Lane.INTERACTIVE
    again: bool = False
    timed: bool = field(default=False, init=False)
    """Whether it was told when to ask again: it needn't be woken before."""
    forgotten: bool = field(default=False, init=False)
    """Whether it was taken out of the line, since nobody who could be woken stands there."""


class _Queue:
    """Those of one lane: first come, first served, those who were let go before ahead."""

    def __init__(self) -> None:
        self._again: Final[deque[Waiter]] = deque()
        self._new: Final[deque[Waiter]] = deque()

    def __len__(self) -> int:
        return len(self._again) + len(self._new)

    def __iter__(self) -> Iterator[Waiter]:
        return iter([*self._again, *self._new])

    def head(self) -> Waiter | None:
        """Return who is first."""
        if self._again:
            return self._again[0]
        return self._new[0] if self._new else None

    def of(self, place: Waiter) -> deque[Waiter]:
        """Return those among whom *place* stands."""
        return self._again if place.again else self._new

    def forget_times(self) -> None:
        """Let the waiters be woken before the times that they were told."""
        for places in (self._again, self._new):
            if places:  # only the first was told a time
                places[0].timed = False


class WaitQueue:
    """Those who wait in both lanes."""

    def __init__(self) -> None:
        self.count = 0
        self.interactive: Final = _Queue()
        self.batch: Final = _Queue()
        self._passed = 0
        """How many went before a batch that waited."""

    def __len__(self) -> int:
        return self.count

    def join(self, place: Waiter) -> None:
        """Stand at the end."""
        self._queue(place).of(place).append(place)
        self.count += 1

    def go(self, place: Waiter) -> None:
        """Go out of the line, from wherever in it."""
        self._queue(place).of(place).remove(place)
        self.count -= 1

    def started(self, lane: Lane) -> None:
        """Count a start."""
        if lane is Lane.BATCH:
            self._passed = 0
        elif self.batch:
            self._passed += 1

    def is_due(self) -> bool:
        """Return whether the next start is to be the waiting batch's, if it may."""
        return self._passed >= SHARE - 1 and len(self.batch) > 0

    def forget_times(self) -> None:
        """Let the waiters be woken before the times that they were told, which are too late now."""
        self.interactive.forget_times()
        self.batch.forget_times()

    def _queue(self, place: Waiter) -> _Queue:
        return self.batch if place.lane is Lane.BATCH else self.interactive


_ALL: Final["WeakSet[Slots]"] = WeakSet()

_BATCH: Final = Lane.BATCH  # looked up once: an enum's members take their time


def renew_all() -> None:
    """Let all that there are begin anew: in a process that was forked off."""
    for places in list(_ALL):
        places.renew()


class Slots:
    """A bound on what is under way at once, from any thread: at most *limit* (None: no bound).

    Interactive calls go before batches; where both wait, every tenth start is a batch's. Batches
    never take the last tenth of the places (at least one, where there are two or more), so that an
    interactive call finds one free. Within a lane it is first come, first served.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit: Final = inf if limit is None else limit
        kept = 0 if limit is None or limit == 1 else max(1, limit // 10)
        self._batch_limit: Final = self._limit - kept
        self.renew()
        _ALL.add(self)

    def renew(self) -> None:
        """Forget who is under way and who waits: after a fork those are another process's."""
        # reentrant: a task that waits may end, and give up, whenever memory is cleared up
        self._lock = RLock()
        self._line = WaitQueue()
        self._in_flight = 0
        self._batches = 0
        """Those of them that are batches."""

    def enter(self, now: float, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Start a call at *now* if that may be and none waits that goes before it.

        Every True is to be left once.
        """
        with self._lock:
            line = self._line
            if line.count and (lane is _BATCH or line.interactive or line.is_due()):
                return False
            if self._wait(now, lane) != 0:
                return False
            self._start(lane)
            return True

    def join(self, place: Waiter) -> None:
        """Stand in line."""
        with self._lock:
            self._line.join(place)

    def ask(self, place: Waiter, now: float) -> float | None:
        """Return 0.0 if the call of *place* has started: it is out of the line then, and in flight.

        Else the seconds after which to ask again, or None: when it is woken. It may be woken before
        those seconds are over, too.
        """
        with self._lock:
            following = self._next(now, place)
            if following is not place:
                if place.timed or (following.lane is _BATCH and not following.timed):
                    place.timed = False
                    if not self._rouse(following):  # that it is next may be new to it
                        self._wake()
                return None
            wait = self._wait(now, place.lane)
            if wait == 0:
                self._line.go(place)
                self._start(place.lane)
                self._wake()
            place.timed = wait is not None
            return wait

    def give_up(self, place: Waiter) -> None:
        """Go out of the line without having started."""
        with self._lock:
            self._forget(place)
            self._wake()

    def leave(self, *, lane: Lane = Lane.INTERACTIVE) -> None:
        """End a call that has started in *lane*."""
        with self._lock:
            self._end(lane)
            if self._line.count:
                self._wake()

    def pause(self, now: float, lane: Lane) -> float:  # noqa: ARG002 - `Pace` goes by it
        """Return the seconds for which no call of *lane* will start, as far as that is known."""
        return 0.0

    def _wait(self, now: float, lane: Lane) -> float | None:  # noqa: ARG002 - `Pace` goes by it
        """Return the seconds until one of *lane* may start, or None: when another has ended."""
        return 0.0 if self._in_flight < self._bound(lane) else None

    def _bound(self, lane: Lane) -> float:
        if lane is not _BATCH or (self._line.interactive and self._line.is_due()):
            return self._limit  # where interactive calls wait, none of their places is free
        return self._batch_limit

    def _next(self, now: float, place: Waiter) -> Waiter:
        """Return who goes next, of a line in which *place* stands."""
        first, batch = self._line.interactive.head(), self._line.batch.head()
        if first and batch and self._line.is_due():
            own, others = self._wait(now, Lane.BATCH), self._wait(now, Lane.INTERACTIVE)
            if own is not None and (others is None or own <= others):
                return batch
        return first or batch or place

    def _start(self, lane: Lane) -> None:
        self._in_flight += 1
        if lane is _BATCH:
            self._batches += 1
        if self._line.count:
            self._line.started(lane)

    def _end(self, lane: Lane) -> None:
        self._in_flight -= 1
        if lane is _BATCH:
            self._batches -= 1

    def _wake(self) -> None:
        """Wake who may be next, if it doesn't know by itself when to ask."""
        line, all_there = self._line, False
        while line.count and not all_there:
            first, batch = line.interactive.head(), line.batch.head()
            all_there = True
            if first is not None and not first.timed:
                all_there = self._rouse(first)
            if batch is not None and not batch.timed and (first is None or line.is_due()):
                all_there = self._rouse(batch) and all_there

    def _rouse(self, place: Waiter) -> bool:
        """Wake who has *place*; return False, and forget it, where that event loop is closed."""
        try:
            place.wake()
        except RuntimeError:
            self._forget(place)
            return False
        return True

    def _forget(self, place: Waiter) -> None:
        if not place.forgotten:
            place.forgotten = True
            self._line.go(place)
