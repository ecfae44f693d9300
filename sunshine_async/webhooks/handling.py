"""Handling of received events: group commit to the inbox, slots, attempts, retries, dead letters.

`Dispatcher.run` is a loop. Each turn commits all deliveries and outcomes that arrived during the
commit before, and starts a task for each event that the commit has begun. An answer waits for the
commit; a handler starts after the commit.

A slot is a place for a running handler. A handler that is running after *handler_timeout* has lost
the slot, so a handler that can't be cancelled holds up nothing but the own conversation. At most
half of the slots serve events that have failed before, so failing events never hold up all others.

Where handlers end faster than the disk commits, a commit begins more events than there are slots;
the rest waits in memory for a slot. Slow handlers bring that number back to 0.

Where the worker has lost its lease, other workers have all its events: the handlers are cancelled.
"""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from math import inf
from typing import Final, Generic, TypeVar

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from sunshine_async._calls.fence import TASK_LEASE
from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk.cancellation import to_exception
from sunshine_async.errors import Fault, SunshineError
from sunshine_async.sunshine.once import EARLIER_ENDED, MAX_KEY
from sunshine_async.webhooks.deliveries import Event, RawEvent, hash_id
from sunshine_async.webhooks.inbox import (
    AttemptTimes,
    EventOutcome,
    EventState,
    HandlerSlots,
    Inbox,
    LeaseLostError,
    Retention,
    StoredEvent,
)

E_co = TypeVar("E_co", covariant=True)

_LOG: Final = logging.getLogger("sunshine_async")
_PAUSE: Final = 1.0  # seconds until the next try to write to a full disk
_MAX_AHEAD: Final = 8  # events begun and without a slot, for each slot
_CUT_OFF: Final = 3  # attempts that ended with the process: from then on there is a pause
_MAX_PAUSE: Final = 30.0  # seconds before an attempt on an event that may end the process


class UnhandledEventError(SunshineError):
    """An event has no handler that fits: a dead letter without a retry."""


@frozen
class Received(Generic[E_co]):
    """An event for a handler."""

    event: E_co
    """The typed event."""
    id: str
    """Id of the event, equal in every delivery and attempt."""
    type: str
    """The trigger, such as ``conversation:message``."""
    app_id: str | None
    """The app that the event comes from; for Dixa the organization. None: unknown."""
    attempt: int
    """Number of this attempt, from 1. An attempt that a kill has ended counts."""
    begun_before: datetime | None
    """Time of the first attempt, for ``sent_before=``; None: this is the first attempt.

    The time of the event where the clock was set back since, and at most the present.
    """

    def key(self, name: str) -> str:
        """Return a key for ``once=``: equal in every attempt, different for each event and *name*."""
        key = f"{self.id}:{name}"
        return key if len(key) <= MAX_KEY else hash_id(key.encode())


@frozen
class DeadLetter:
    """An event that was given up after failures. The inbox keeps the event until replay or drop."""

    id: str
    type: str
    event: Event
    attempts: int
    reason: str
    """Reason of the last failure: for a foreign error the class alone."""
    received_at: datetime


@define(eq=False)
class _ExchangeGroup:
    """Events and outcomes of one commit."""

    events: list[RawEvent] = field(factory=list[RawEvent])
    outcomes: list[EventOutcome] = field(factory=list[EventOutcome])
    committed: anyio.Event = field(factory=anyio.Event)
    succeeded: bool = False
    """True if the events are on the disk."""


@define(eq=False)
class _RunningHandler:
    """A running handler, and its lease: *until* then it holds a slot; it begins after a *pause*."""

    until: float
    is_retry: bool
    scope: CancelScope
    pause: float
    inbox: Inbox
    end: float | None = None  # of the lease: no end once handled, at once where lost

    @property
    def left(self) -> float:
        return self.inbox.lease_left() if self.end is None else self.end


@frozen
class HandlingRules:
    """Settings of a receiver for handling; times in seconds."""

    concurrency: int
    handler_timeout: float
    keep: float
    retry: Retry

    def pause(self, event: StoredEvent, *, luck: float) -> float:
        """Return the seconds before an attempt, for an event that may end the process each time.

        Without a pause, by chance, such an event would cut off all other events again and again.
        """
        if event.reason is not None and not event.failures:  # replayed: nobody has counted
            return 0.0
        doublings = event.attempt - 1 - event.failures - _CUT_OFF
        return luck * min(2.0 ** min(doublings, 62), _MAX_PAUSE) if doublings >= 0 else 0.0

    def outcome(
        self, event: StoredEvent, error: Exception | None, *, age: float, clock: float, luck: float
    ) -> EventOutcome:
        """Return the outcome of an attempt; *error* None: handled; *age*: time since the first error."""
        if error is None:
            return EventOutcome(event.number, EventState.HANDLED)
        reason = _reason(error)
        wait = None
        if not isinstance(error, UnhandledEventError):
            wait = self.retry.wait(
                Replay.SAFE, Fault.UNAVAILABLE, attempt=event.failures + 1, asked=None, luck=luck,
                left=self.retry.deadline - age,
            )  # fmt: skip
        if wait is None:
            return EventOutcome(event.number, EventState.DEAD, reason)
        return EventOutcome(event.number, EventState.WAITING, reason, clock + wait)


class Dispatcher:
    """Moves events between *inbox* and *attempt*, which runs the handler of an event."""

    def __init__(
        self,
        inbox: Inbox,
        attempt: Callable[[StoredEvent], Awaitable[None]],
        rules: HandlingRules,
    ) -> None:
        self.inbox: Final = inbox
        self._attempt: Final = attempt
        self._rules: Final = rules
        self._retention: Final = Retention(rules.keep)
        self._times: Final = AttemptTimes(CLOCK.now() if inbox.lease_left() == inf else None)
        self._group = _ExchangeGroup()
        self._idle = CancelScope()
        self._wake_at = inf
        self._running: Final[dict[int, _RunningHandler]] = {}
        self._ready: Final[deque[StoredEvent]] = deque()
        self._ahead = 0
        self._accepts = True
        self._closed = False
        self._limiter: Final = CapacityLimiter(1)

    async def put(self, events: Sequence[RawEvent]) -> bool:
        """Write *events*; return True once the events are on the disk, False if the disk refuses.

        Cancelled, the events may or may not be written.
        """
        if self._closed:
            return False
        group = self._group
        group.events += events
        self.wake()
        await group.committed.wait()
        return group.succeeded

    def wake(self) -> None:
        """Look for waiting events again."""
        self._idle.cancel()

    async def run(self) -> None:
        """Handle events until cancelled. A cancelled handler's event is handled at the next start."""
        async with anyio.create_task_group() as handlers:
            while True:
                self._idle = CancelScope()  # cancelled by all that comes after this turn's group
                await self._turn(handlers)
                ends = min((holder.until for holder in self._holders()), default=inf)
                self._idle.deadline = anyio.current_time() + ends - CLOCK.now()
                with self._idle:
                    retry_in = max(0.0, self._wake_at - CLOCK.now())
                    sleep = CLOCK.sleep if self.inbox.lease_left() == inf else anyio.sleep
                    await (anyio.sleep_forever() if retry_in == inf else sleep(retry_in))

    async def close(self) -> None:
        """Write the outcomes and deliveries so far, after the end of `run`."""
        self._closed = True
        await self._commit(HandlerSlots(0, 0))

    async def _turn(self, handlers: TaskGroup) -> None:
        slots = self._slots()
        begun = await self._commit(slots)
        if self._running or self._ready:
            self._ahead //= 2
        elif slots.free and len(begun) == slots.free:
            most = _MAX_AHEAD * self._rules.concurrency
            self._ahead = min(max(self._rules.concurrency, 2 * self._ahead), most)
        self._ready.extend(begun)
        self._start_handlers(handlers)

    def _slots(self) -> HandlerSlots:
        """Return the room for events to begin."""
        is_retry = [holder.is_retry for holder in self._holders()]
        is_retry += [event.failures > 0 for event in self._ready]
        free = max(0, self._rules.concurrency + self._ahead - len(is_retry))
        retries = max(1, self._rules.concurrency // 2) - sum(is_retry)
        return HandlerSlots(free, min(free, max(0, retries)))

    def _holders(self) -> list["_RunningHandler"]:
        """Return the running handlers that hold a slot."""
        now = CLOCK.now()
        return [running for running in self._running.values() if running.until > now]

    def _start_handlers(self, handlers: TaskGroup) -> None:
        free = self._rules.concurrency - len(self._holders())
        while self._ready and free > 0:
            event = self._ready.popleft()
            pause = self._rules.pause(event, luck=CLOCK.luck())
            seconds = self._rules.handler_timeout + pause
            until, scope = CLOCK.now() + seconds, anyio.move_on_after(seconds)
            running = _RunningHandler(until, event.failures > 0, scope, pause, self.inbox)
            self._running[event.number] = running
            handlers.start_soon(self._handle, event, running, handlers)
            free -= 1

    async def _commit(self, slots: HandlerSlots) -> list[StoredEvent]:
        """Commit the group; return the events that begin.

        Where the disk refuses deliveries, the outcomes alone are tried, which free space.
        """
        group, self._group = self._group, _ExchangeGroup()
        result = None
        with CancelScope(shield=True):
            try:
                result = await self._exchange(group.events, group.outcomes, slots)
            except LeaseLostError as error:
                self._drop_handlers(error)
                group.outcomes = []
                result = await self._exchange(group.events, [], slots)
            group.succeeded = result is not None
            if result is None and group.events:
                result = await self._exchange([], group.outcomes, slots)
        group.committed.set()
        if result is None:
            self._group.outcomes[:0] = group.outcomes
            self._wake_at = CLOCK.now() + _PAUSE
            return []
        begun, self._wake_at = result
        return begun

    def _drop_handlers(self, error: LeaseLostError) -> None:
        """Cancel all handlers, and forget the outcomes: other workers handle the events again."""
        number = len(self._running) + len(self._ready) + len(self._group.outcomes)
        _LOG.warning("%d events under way are void here: %s", number, error)
        for running in self._running.values():
            running.end = -inf
            running.scope.cancel()
        self._running.clear()
        self._ready.clear()
        self._group.outcomes = []

    async def _exchange(
        self, events: Sequence[RawEvent], outcomes: Sequence[EventOutcome], slots: HandlerSlots
    ) -> tuple[list[StoredEvent], float] | None:
        """Call `Inbox.exchange` in a thread; return None for a refusal; raise `LeaseLostError`."""

        def exchange() -> tuple[list[StoredEvent], float]:
            at, now = CLOCK.now(), time.time()
            keep = self._retention.keep(now=now, clock=at)
            return self.inbox.exchange(events, outcomes, slots, now=now, clock=at, keep=keep)

        try:
            result = await to_thread.run_sync(exchange, limiter=self._limiter)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001 - any fault, also no thread left: nothing was written
            if self._accepts:
                text = "deliveries are answered 503 until the inbox can be written: %s"
                cause = None if isinstance(error, SunshineError) else error
                _LOG.warning(text, error, exc_info=cause)
            self._accepts = False
            return None
        if events and not self._accepts:
            _LOG.info("the inbox can be written again")
            self._accepts = True
        return result

    async def _handle(
        self, event: StoredEvent, running: _RunningHandler, handlers: TaskGroup
    ) -> None:
        """Run the handler in a task of its own, for at most the time of *running*.

        A cancel scope that the handler leaves open, such as that of an async generator which isn't
        read to the end, makes the end of that task an error, and harms no other task.
        """
        failure: Exception | None = None
        try:
            with running.scope:
                async with anyio.create_task_group() as task:
                    task.start_soon(self._run_handler, event, running, handlers)
            if running.scope.cancelled_caught:
                text = f"the handler was cancelled after {self._rules.handler_timeout:g} s"
                failure = TimeoutError(text)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            failure = to_exception(error, "the handler")
            text = "the handler of event %s has left a task group or a cancel scope open"
            _LOG.warning(text, event.label, exc_info=failure)
        self._end(event, running, failure, handlers)

    async def _run_handler(
        self, event: StoredEvent, running: _RunningHandler, handlers: TaskGroup
    ) -> None:
        failure: Exception | None = None
        TASK_LEASE.set(running)
        EARLIER_ENDED.set(self._times.earlier_ended(event, clock=CLOCK.now()))
        try:
            if running.pause:
                text = (
                    "attempt %d of event %s begins in %.1f s: earlier attempts ended with the "
                    "process. If the handler ends the process, let the handler raise for this event"
                )
                _LOG.warning(text, event.attempt, event.label, running.pause)
                await CLOCK.sleep(running.pause)
            await self._attempt(event)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            failure = to_exception(error, "the handler")
        self._end(event, running, failure, handlers)

    def _end(
        self,
        event: StoredEvent,
        running: _RunningHandler,
        failure: Exception | None,
        handlers: TaskGroup,
    ) -> None:
        """Note the outcome of an attempt, unless the attempt has one, or the lease is lost."""
        if self._running.get(event.number) is not running:
            return
        del self._running[event.number]
        running.end = inf
        clock = CLOCK.now()
        age = 0.0 if failure is None else self._times.age(event, now=time.time(), clock=clock)
        outcome = self._rules.outcome(event, failure, age=age, clock=clock, luck=CLOCK.luck())
        if failure is not None:
            _log_failure(event, outcome, failure)
        self._group.outcomes.append(outcome)
        self._start_handlers(handlers)
        self.wake()


def _reason(error: Exception) -> str:
    """Return a reason without personal data: the text of a foreign error may have some."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, SunshineError | TimeoutError) else name


def _log_failure(event: StoredEvent, outcome: EventOutcome, failure: Exception) -> None:
    level, end = logging.WARNING, "is tried again"
    if outcome.state is EventState.DEAD:
        level, end = logging.ERROR, "is a dead letter now: `Receiver.replay` tries again"
    text = "attempt %d of event %s has failed; the event %s"
    _LOG.log(level, text, event.attempt, event.label, end, exc_info=failure)
