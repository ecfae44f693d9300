"""Inboxes of both kinds for tests, with exchanges, outcomes and kills."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from sunshine_async.journal.postgres_database import parse_address
from sunshine_async.webhooks.deliveries import RawEvent
from sunshine_async.webhooks.inbox import EventOutcome, EventState, HandlerSlots, Inbox, StoredEvent
from sunshine_async.webhooks.postgres_inbox import PostgresInbox
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox

MANY: Final = HandlerSlots(100, 100)
NONE: Final = HandlerSlots(0, 0)
DAY: Final = 86400.0
LONGEST_WAIT: Final = 60.0
AnyInbox: TypeAlias = SQLiteInbox | PostgresInbox


def event(id: str, queue: str | None = None, created_at: float | None = None) -> RawEvent:
    """Return an event."""
    return RawEvent(id, "t", {"id": id}, b'{"id": "%s"}' % id.encode(), queue, created_at, "app")


def exchange(
    inbox: Inbox,
    events: Iterable[RawEvent] = (),
    outcomes: Iterable[EventOutcome] = (),
    slots: HandlerSlots = MANY,
    *,
    now: float = 1000.0,
    keep: float = DAY,
) -> list[StoredEvent]:
    """Exchange at the time *now* of both clocks; return the events that begin."""
    begun, _ = inbox.exchange([*events], [*outcomes], slots, now=now, clock=now, keep=keep)
    return begun


def handled(events: Iterable[StoredEvent]) -> list[EventOutcome]:
    """Return the outcomes of handled *events*."""
    return [EventOutcome(one.number, EventState.HANDLED) for one in events]


def failed(events: Iterable[StoredEvent], ready_at: float = 0.0) -> list[EventOutcome]:
    """Return the outcomes of *events* to be tried again."""
    return [EventOutcome(one.number, EventState.WAITING, "E", ready_at) for one in events]


def dead(events: Iterable[StoredEvent]) -> list[EventOutcome]:
    """Return the outcomes of *events* given up."""
    return [EventOutcome(one.number, EventState.DEAD, "E") for one in events]


def ids(events: Iterable[StoredEvent]) -> list[str]:
    """Return the ids of *events*."""
    return [one.id for one in events]


def postgres_inbox(url: str, *, lease: float = 60.0) -> PostgresInbox:
    """Return a worker's inbox at *url*."""
    address = parse_address(url)
    assert address is not None
    return PostgresInbox(address, lease=lease, longest_wait=LONGEST_WAIT)


def killed_sqlite(inbox: SQLiteInbox, folder: Path) -> SQLiteInbox:
    """Return the inbox as a process finds it after a kill at this moment."""
    folder.mkdir()
    for file in inbox.path.parent.glob("*.sqlite*"):
        shutil.copy(file, folder)
    return SQLiteInbox(folder / inbox.path.name)


def end_leases(inbox: PostgresInbox) -> None:
    """Let the time of all other leases pass."""
    with inbox._transaction() as connection:
        connection.execute("UPDATE workers SET lease = '0' WHERE id <> %s", (inbox._worker,))


def killed_postgres(inbox: PostgresInbox, now: float = 1000.0) -> PostgresInbox:
    """Return another worker, which has found the lease of *inbox* ended."""
    after = PostgresInbox(inbox._address, lease=60.0, longest_wait=LONGEST_WAIT)
    end_leases(after)
    exchange(after, slots=NONE, now=now)
    return after
