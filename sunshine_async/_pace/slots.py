"""Slots for calls in flight, and the priority queue of calls that wait: interactive before batch."""

from bisect import insort
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from math import inf
from threading import RLock
from typing import Any, Final, NamedTuple

from attrs import asdict, frozen

from sunshine_async._http.fork import renew_after_fork

BATCH_EVERY: Final = 10
"""Where both lanes wait, every tenth start is a batch's."""


class Lane(Enum):
    """The priority of a call: an interactive call starts before a batch's calls."""

    INTERACTIVE = "somebody waits for it"
    BATCH = "one of many"


CURRENT_LANE: Final = ContextVar("lane", default=Lane.INTERACTIVE)
"""The lane of the running task's calls, where the client doesn't set a lane."""
_BATCH: Final = Lane.BATCH  # looked up once: an enum's members take their time
_NO_BOUND: Final = 10**9  # more than any calls; to compare with inf costs 160 instructions more


class Waiter:
    """A call in the queue; *wake* is called when the call may be able to start.

    *is_lost* returns True once nothing can wake the call: its event loop is closed. With *again*
    the call has started before, and stands before all new calls of the lane.
    """

    __slots__ = ("again", "has_timer", "is_lost", "is_removed", "lane", "wake")

    def __init__(
        self,
        wake: Callable[[], None],
        lane: Lane = Lane.INTERACTIVE,
        *,
        again: bool = False,
        is_lost: Callable[[], bool] = bool,
    ) -> None:
        self.wake: Final = wake
        self.is_lost: Final = is_lost
        self.lane: Final = lane
        self.again: Final = again
        self.has_timer = False
        """True if the waiter was told when to ask again, and needn't be woken before."""
        self.is_removed = False
        """True after a removal without a start."""


class WaitQueue:
    """Priority queue of waiters: a lane is first come, first served, but for calls with *again*."""

    def __init__(self) -> None:
        self.count = 0
        self.interactive: Final[deque[Waiter]] = deque()
        self.batch: Final[deque[Waiter]] = deque()
        self._passed = 0
        """Interactive calls that have started while a batch's call waited."""

    def add(self, waiter: Waiter) -> None:
        lane = self._lane_of(waiter)
        if waiter.again:
            insort(lane, waiter, key=lambda waiting: not waiting.again)
        else:
            lane.append(waiter)
        self.count += 1

    def remove(self, waiter: Waiter) -> None:
        self._lane_of(waiter).remove(waiter)
        self.count -= 1
        if not self.batch:  # no batch's call waits any more: the next counts from its own join
            self._passed = 0

    def first(self) -> tuple[Waiter | None, Waiter | None]:
        """Return the first interactive waiter, and the first of a batch."""
        interactive, batch = self.interactive, self.batch
        return interactive[0] if interactive else None, batch[0] if batch else None

    def count_start(self, lane: Lane) -> None:
        if lane is Lane.BATCH:
            self._passed = 0
        elif self.batch:
            self._passed += 1

    def is_batch_due(self) -> bool:
        """Return True if the next start is to be a waiting batch's, where the batch may start."""
        return self._passed >= BATCH_EVERY - 1

    def forget_timers(self) -> None:
        """Let all waiters be woken before the times that they were told, which are too late now."""
        for lane in (self.interactive, self.batch):
            for waiter in lane:
                waiter.has_timer = False
                if not waiter.again:  # of the new calls only the first has ever been told a time
                    break

    def _lane_of(self, waiter: Waiter) -> deque[Waiter]:
        return self.batch if waiter.lane is Lane.BATCH else self.interactive


class PaceChange(Enum):
    """A change of the pace that a person who watches the calls should know."""

    PAUSED = "a refusal (429), or the headers of an answer, pauses all calls"
    LEARNT = "a limit of the service was learnt"
    GONE = "the service seems gone: batches are held"
    BACK = "the service is back"


class PaceEvent(NamedTuple):
    """A change of the pace, once; *seconds* is the length of the pause, or of the outage."""

    change: PaceChange
    seconds: float = 0.0
    found: float | None = None
    """Calls a second that the service accepts, as learnt."""
    window: float = 0.0
    """Seconds of the window in which the service counts; 0: no window was found."""


class EventLog:
    """Changes of a pace that nobody has taken yet. Small changes of the same kind are left out."""

    def __init__(self) -> None:
        self.pending: list[PaceEvent] = []
        self._paused_until = -inf
        self._found = 0.0

    def pause(self, now: float, until: float) -> None:
        """Note a pause *until* that time, unless a pause to about the same time is noted."""
        if until > max(now, self._paused_until + 1.0):
            self._paused_until = until
            self.pending.append(PaceEvent(change=PaceChange.PAUSED, seconds=until - now))

    def learn(self, found: float | None, window: float) -> None:
        """Note a limit, unless about the same limit is noted."""
        if found is not None and abs(found - self._found) > found / 10:
            self._found = found
            event = PaceEvent(change=PaceChange.LEARNT, found=found, window=window)
            self.pending.append(event)

    def begin_outage(self) -> None:
        """Note that batches are held."""
        self.pending.append(PaceEvent(change=PaceChange.GONE))

    def end_outage(self, seconds: float) -> None:
        """Note the end of an outage of so many *seconds*."""
        self.pending.append(PaceEvent(change=PaceChange.BACK, seconds=seconds))


class Slots:
    """A bound on calls in flight, from any thread: at most *limit* (None: no bound).

    Interactive calls go before batches; where both wait, every tenth start is a batch's. Batches
    never take the last tenth of the slots (at least one, where there are two or more), so that an
    interactive call finds a free slot. Within a lane the order is first come, first served. In a
    child process after a fork, all slots are free.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit: Final = _NO_BOUND if limit is None else limit
        self.events: Final = EventLog()
        reserved = 0 if limit is None or limit == 1 else max(1, limit // 10)
        self._batch_limit: Final = self._limit - reserved
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Free all slots, and empty the queue: after a fork these are another process's."""
        # reentrant: a task that waits may end, and give up, whenever memory is cleared up
        self._lock = RLock()
        self._queue = WaitQueue()
        self._in_flight = 0
        self._batch_in_flight = 0

    def enter(self, now: float, lane: Lane = Lane.INTERACTIVE) -> bool:
        """Start a call at *now*; return False if the call has to join the queue.

        Each True needs one `leave`.
        """
        lock, queue = self._lock, self._queue
        lock.acquire()  # `with` costs 1,000 instructions more, here and in `leave`
        try:
            if queue.count and (lane is _BATCH or queue.interactive or queue.is_batch_due()):
                return False
            if self._wait(now, lane) != 0.0:  # a comparison with 0 costs 200 instructions more
                return False
            self._start(lane)
            return True
        finally:
            lock.release()

    def join(self, waiter: Waiter) -> None:
        """Add *waiter* to the queue."""
        with self._lock:
            self._queue.add(waiter)

    def ask(self, waiter: Waiter, now: float) -> float | None:
        """Start the call of *waiter* where possible; return the seconds after which to ask again.

        - 0.0: the call has started. The waiter is out of the queue, the call is in flight.
        - None: ask when woken.
        - A larger number: ask after so many seconds, or earlier when woken.
        """
        with self._lock:
            while (following := self._next(now, waiter)) is not waiter and following.is_lost():
                self._remove(following)
            if following is not waiter:
                if waiter.has_timer or (following.lane is _BATCH and not following.has_timer):
                    waiter.has_timer = False
                    if not self._wake(following):  # it may not know yet that it is next
                        self._wake_next()
                return None
            wait = self._wait(now, waiter.lane)
            if wait == 0:
                self._queue.remove(waiter)
                self._start(waiter.lane)
                self._wake_next()
            waiter.has_timer = wait is not None
            return wait

    def give_up(self, waiter: Waiter) -> None:
        """Take *waiter* out of the queue without a start."""
        with self._lock:
            self._remove(waiter)
            self._wake_next()

    def leave(self, lane: Lane = Lane.INTERACTIVE) -> None:
        """End a call that has started in *lane*."""
        lock = self._lock
        lock.acquire()
        try:
            self._end(lane)
            if self._queue.count:
                self._wake_next()
        finally:
            lock.release()

    def pause(self, now: float, lane: Lane) -> float:  # noqa: ARG002 - `Pace` goes by it
        """Return the seconds for which no call of *lane* will start, as far as is known."""
        return 0.0

    def demand(self) -> tuple[int, int]:
        """Return the waiting calls that have a free slot: interactive calls, a batch's calls."""
        with self._lock:
            free = self._limit - self._in_flight, self._batch_limit - self._in_flight
            waiting = len(self._queue.interactive), len(self._queue.batch)
            return int(min(free[0], waiting[0])), int(max(0, min(free[1], waiting[1])))

    def wake_waiting(self) -> None:
        """Wake the calls that may be next, before the times that the calls were told."""
        with self._lock:
            self._queue.forget_timers()
            self._wake_next()

    def take_events(self) -> list[PaceEvent]:
        """Return the changes since the last call of this method, in any thread."""
        with self._lock:
            events, self.events.pending = self.events.pending, []
            return events

    def _wait(self, now: float, lane: Lane) -> float | None:  # noqa: ARG002 - `Pace` goes by it
        """Return the seconds until a call of *lane* may start, or None: when a call has ended."""
        limit = self._batch_bound() if lane is _BATCH else self._limit
        return 0.0 if self._in_flight < limit else None

    def _batch_bound(self) -> int:
        # where interactive calls wait, none of their slots is free
        return self._limit if self._queue.interactive else self._batch_limit

    def _next(self, now: float, waiter: Waiter) -> Waiter:
        """Return the waiter that goes next, of a queue in which *waiter* stands."""
        first, batch = self._queue.first()
        if first and batch and self._queue.is_batch_due():
            batch_wait, wait = self._wait(now, Lane.BATCH), self._wait(now, Lane.INTERACTIVE)
            if batch_wait is not None and (wait is None or batch_wait <= wait):
                return batch
        return first or batch or waiter

    def _start(self, lane: Lane) -> None:
        self._in_flight += 1
        if lane is _BATCH:
            self._batch_in_flight += 1
        if self._queue.count:
            self._queue.count_start(lane)

    def _end(self, lane: Lane) -> None:
        self._in_flight -= 1
        if lane is _BATCH:
            self._batch_in_flight -= 1

    def _wake_next(self) -> None:
        """Wake the waiters that may be next, unless a timer wakes them."""
        queue, is_done = self._queue, False
        while not is_done:
            first, batch = queue.first()
            is_done = True
            if first and not first.has_timer:
                is_done = self._wake(first)
            if batch and not batch.has_timer and (first is None or queue.is_batch_due()):
                is_done = self._wake(batch) and is_done

    def _wake(self, waiter: Waiter) -> bool:
        """Wake *waiter*; where the event loop is closed, remove *waiter* and return False."""
        try:
            waiter.wake()
        except RuntimeError:
            self._remove(waiter)
            return False
        return True

    def _remove(self, waiter: Waiter) -> None:
        if not waiter.is_removed:
            waiter.is_removed = True
            self._queue.remove(waiter)


@frozen(kw_only=True)
class Snapshot:
    """The state of a `Pace` at one moment."""

    rate: float | None
    """Calls a second that may start, declared or learnt; None without a bound."""
    ceiling: float | None
    """The declared rate."""
    found: float | None = None
    """Calls a second that the service accepted before a refusal, refused seconds included, or that
    the headers of the service tell; None before that. ``Pace(rate=found)`` declares the rate."""
    window: float | None = None
    """Seconds of the window in which the service counts: *found* times *window* calls are the
    limit of the service. None where no window was found."""
    used: float | None
    """The share of *rate* that was used and accepted in the last seconds; None without a rate."""
    in_flight: Mapping[Lane, int]
    waiting: Mapping[Lane, int]
    paused: float
    """Seconds until any call starts, as a ``Retry-After`` or another header asked."""
    throttled_seconds: float
    """Seconds that all calls were paused, since the pace was made."""
    held: bool
    """True while the circuit breaker is open: batches are held, since the service seems gone."""
    held_seconds: float
    """Seconds that batches were held, since the pace was made."""
    budget: float
    """The retry budget left, from 0 to 50 retries."""
    batch_places: int | None
    """Calls of a batch that may be in flight at once, after failures; None without a bound."""

    def as_json(self) -> dict[str, Any]:
        """Return the state as plain data, with the lanes ``interactive`` and ``batch``."""
        plain = asdict(self, recurse=False)
        for name in ("in_flight", "waiting"):
            plain[name] = {lane.name.lower(): count for lane, count in plain[name].items()}
        return plain
