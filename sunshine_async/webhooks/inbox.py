"""Inbox: received events until an outcome, and the ids of events for deduplication.

Each conversation has a queue; an event without a conversation has a queue to itself. At most a
single event of a queue is under way. The head of a queue is the waiting event with the earliest
`RawEvent.created_at`; of equal times the event received first.

`Inbox.exchange` is the whole traffic of a receiver: events come in, outcomes come in, the next
heads of queues go out, in a single transaction. So a group commit costs one ``fsync``, and memory
holds only the events under way. `SQLiteInbox` is a file for a single process, `PostgresInbox` a
database for several. Statements that are equal in both databases stand here.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum
from math import inf
from typing import Any, Final, Protocol, TypeVar

from attrs import field, frozen

from sunshine_async._codec.model import redact
from sunshine_async._http.foreign_text import one_line
from sunshine_async.errors import SunshineError
from sunshine_async.webhooks.deliveries import RawEvent

T = TypeVar("T")

FORGET_LIMIT: Final = 500  # the most ids forgotten in a transaction, so that none takes long
_STEP: Final = 60.0  # seconds by which a clock jumps that was set
_MOST_KEPT: Final = 10_000  # events with times of attempts in memory
_SHOWN: Final = 200  # characters of an id, or of a trigger, in a log
FORGET_IDS: Final = """DELETE FROM events WHERE number IN
    (SELECT number FROM events WHERE state = 2 AND ended_at < ? ORDER BY ended_at LIMIT ?)"""
NEXT_RETRY: Final = """SELECT min(ready_at) FROM queues
    WHERE NOT begun AND retried = TRUE AND ready_at > ?"""
"""*retried* alone is no term of the index in SQLite: the statement would read all waiting queues."""
OPEN_QUEUE_OF_DEAD: Final = """INSERT INTO queues (queue, ready_at)
    SELECT queue, 0 FROM events WHERE state = 3 AND id = ? ON CONFLICT DO NOTHING"""
REPLAY: Final = """UPDATE events SET state = 0, failures = 0, ended_at = NULL
    WHERE state = 3 AND id = ?"""
DROP: Final = "UPDATE events SET state = 2, ended_at = ?, body = NULL WHERE state = 3 AND id = ?"


class InboxError(SunshineError):
    """The inbox can't be read or written; the text has the reason and the next step."""


class LeaseLostError(InboxError):
    """The worker was silent for longer than the lease: other workers have the events."""


class EventState(IntEnum):
    """State of an event in the inbox."""

    WAITING = 0
    """Received, or to be tried again."""
    BEGUN = 1
    """A handler is running, or was running when the process ended."""
    HANDLED = 2
    """Handled: only the id is kept."""
    DEAD = 3
    """Given up: a dead letter."""


@frozen
class StoredEvent:
    """An event that begins, with the attempt on the disk already; or a dead letter."""

    number: int
    """Number of the event in the inbox."""
    id: str
    type: str
    app_id: str | None
    data: Any = field(repr=redact)
    """The event as received."""
    attempt: int
    """Number of the last attempt, from 1. Attempts that ended in a kill count."""
    failures: int
    """Number of attempts that failed."""
    begun_at: float
    """Time of the first attempt, in seconds since 1970."""
    failed_at: float | None
    """Time of the first failure, or of the first failure since a replay; None: no failure."""
    received_at: float
    """Time in seconds since 1970."""
    reason: str | None
    """Reason of the last failure; None: no attempt has failed."""
    created_at: float
    """Time of the event on the service's clock, else of receiving, in seconds since 1970."""

    def first_attempt(self, now: float) -> float:
        """Return the time of the first attempt, or an earlier time, but no time after *now*.

        After the clock was set back nobody knows that time: the event was there before.
        """
        at = self.begun_at if self.begun_at <= now else self.created_at
        return max(0.0, min(at, now))

    @property
    def label(self) -> str:
        """The id and the trigger for a log: the sender's texts, as a line of some length."""
        return f"{one_line(self.id)[:_SHOWN]} ({one_line(self.type)[:_SHOWN]})"


@frozen
class EventOutcome:
    """End of an attempt: *state* is the next state of the event."""

    number: int
    state: EventState
    reason: str | None = None
    """Reason of a failure; no personal data."""
    ready_at: float = 0.0
    """For a waiting event: the earliest time of the next attempt, on the monotonic clock."""


@frozen
class HandlerSlots:
    """Room for handlers: *retries* of *free* handlers may be further attempts after a failure."""

    free: int
    retries: int


class Retention:
    """Seconds for which an inbox keeps ids: *keep*, and longer after the clock was set forward.

    After such a step an id looks older than the id is. So for *keep* seconds ids are kept for the
    seconds of the step, too. A sleep of the machine looks like a step.
    """

    def __init__(self, keep: float) -> None:
        self._keep: Final = keep
        self._start = inf  # of the monotonic clock, in seconds since 1970
        self._steps: Final = deque[tuple[float, float]]()
        """Steps forward: the end of the time for which each counts, and the seconds."""

    def keep(self, *, now: float, clock: float) -> float:
        """Return the seconds to keep ids at the time *now*, and *clock* of the monotonic clock."""
        step, self._start = now - clock - self._start, now - clock
        if step > _STEP:
            self._steps.append((clock + self._keep, step))
        while self._steps and self._steps[0][0] <= clock:
            self._steps.popleft()
        return self._keep + sum(step for _, step in self._steps)


class AttemptTimes:
    """Times of attempts on the monotonic clock: a clock that nobody sets.

    *opened_at* is the time when the inbox was opened; None: other workers share the inbox.
    """

    def __init__(self, opened_at: float | None) -> None:
        self._opened_at: Final = opened_at
        self._attempts: Final[dict[int, int]] = {}
        """Number of the last attempt here, where other workers share the inbox."""
        self._first: Final[dict[int, tuple[float, float]]] = {}
        """Time of the first failure by the clock of the machine, and by the monotonic clock."""

    def earlier_ended(self, event: StoredEvent, *, clock: float) -> float:
        """Return the time by which the attempts of other processes on *event* had ended.

        *event* begins at the time *clock*. Minus infinity: the last attempt was made here.
        """
        if self._opened_at is not None:
            return self._opened_at
        last = _keep(self._attempts, event.number, event.attempt)
        return -inf if last == event.attempt - 1 else clock

    def age(self, event: StoredEvent, *, now: float, clock: float) -> float:
        """Return the seconds since the first failure of *event*; 0 if the failure of now is the first.

        *now* is the time in seconds since 1970, *clock* the monotonic time. *now* counts only for a
        failure in another process.
        """
        failed_at = now if event.failed_at is None else event.failed_at
        known, at = self._first.get(event.number, (inf, clock))
        if abs(known - failed_at) > _STEP:  # unknown, or from before a replay
            at = clock - max(0.0, now - failed_at)
        _keep(self._first, event.number, (failed_at, at))
        return clock - at


def _keep(values: dict[int, T], number: int, value: T) -> T | None:
    """Note the *value* of an event, for the latest events; return the value before."""
    before = values.pop(number, None)
    values[number] = value
    if len(values) > _MOST_KEPT:
        del values[next(iter(values))]
    return before


class Inbox(Protocol):
    """An open inbox. Any thread may call the methods; a change is on the disk when a method returns.

    The methods raise `InboxError` for a disk or a server that fails; nothing has changed then, or
    the change is complete and may be asked for again.
    """

    def exchange(
        self,
        events: Sequence[RawEvent],
        outcomes: Sequence[EventOutcome],
        slots: HandlerSlots,
        *,
        now: float,
        clock: float,
        keep: float,
    ) -> tuple[list[StoredEvent], float]:
        """Add *events*, note *outcomes*, and begin the heads of queues, as far as *slots* go.

        An event with an id that the inbox knows is left out. An id is forgotten *keep* seconds
        after the event was handled. *now* is the time in seconds since 1970, *clock* the monotonic
        time. Return the events that begin, and the monotonic time of the next exchange, for a retry
        or for events of other workers (infinity: none waits).

        Raise `LeaseLostError` if other workers have taken over all events that were under way here:
        the handlers have to be cancelled, and the outcomes are void. The next exchange begins anew.
        """
        ...

    def lease_left(self) -> float:
        """Return the seconds until other workers may take over the events under way here.

        Infinity: there are no other workers. Minus infinity: other workers have the events.
        """
        ...

    def dead(self, limit: int) -> list[StoredEvent]:
        """Return the first *limit* dead letters, in the order of receiving."""
        ...

    def replay(self, ids: Iterable[str]) -> int:
        """Make the dead letters *ids* wait again, without failures; return the number."""
        ...

    def drop(self, ids: Iterable[str]) -> int:
        """Delete the dead letters *ids*; return the number. The ids stay known."""
        ...

    def close(self) -> None:
        """Close the inbox; events under way wait again."""


def queue_of(event: RawEvent) -> str:
    """Return the name of the queue of *event*."""
    return f"event {event.id}" if event.conversation_id is None else f"in {event.conversation_id}"
