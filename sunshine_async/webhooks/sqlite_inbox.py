"""Inbox in a SQLite file, for a single process."""

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Final

import orjson

from sunshine_async.errors import ConfigurationError
from sunshine_async.journal.database import SingleProcessDatabase
from sunshine_async.webhooks.deliveries import RawEvent
from sunshine_async.webhooks.inbox import (
    DROP,
    FORGET_IDS,
    FORGET_LIMIT,
    NEXT_RETRY,
    OPEN_QUEUE_OF_DEAD,
    REPLAY,
    EventOutcome,
    HandlerSlots,
    InboxError,
    StoredEvent,
    queue_of,
)

_ROWS: Final = 50  # rows that share an INSERT take a third of the time


class SQLiteInbox(SingleProcessDatabase):
    """The inbox at *path*, created where the file is missing. The file gets mode 0600.

    Any thread may call the methods; a change is on the disk when the method returns. Events that
    were under way when the last process ended are waiting again, behind all other queues.

    Raise `ConfigurationError` for a file that is no inbox, is damaged, has another version or is in
    use by another process, and for a file that can't be created. The methods raise `InboxError` for
    a disk that is full or fails; nothing has changed then.
    """

    NOUN = "inbox"
    APPLICATION = 0x53756E49
    VERSION = 1
    ERROR = IN_USE = InboxError
    TABLES = (
        """CREATE TABLE events (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            queue TEXT NOT NULL, type TEXT NOT NULL, app_id TEXT,
            created_at REAL NOT NULL, received_at REAL NOT NULL, body BLOB,
            state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
            failures INTEGER NOT NULL DEFAULT 0, begun_at REAL, ended_at REAL, reason TEXT)""",
        "CREATE INDEX waiting ON events (queue, created_at, number) WHERE state = 0",
        "CREATE INDEX handled ON events (ended_at) WHERE state = 2",
        "CREATE INDEX dead ON events (number) WHERE state = 3",
        """CREATE TABLE queues (queue TEXT PRIMARY KEY, begun INTEGER NOT NULL DEFAULT 0,
            retried INTEGER NOT NULL DEFAULT 0, ready_at REAL NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX ready ON queues (retried, ready_at) WHERE NOT begun",
    )
    """*ended_at*: the time of the first failure, until the event is handled.

    ``queues``: queues with a waiting event or with an event under way (*begun*). *retried*: the
    last attempt has failed. *ready_at*: the monotonic time from which on the head may begin."""
    REASONS = {  # noqa: RUF012 - declared as a constant by the base
        "locked": (
            "is in use by another process, or by another receiver: a single process at a time can "
            "use an inbox in a file. Run one process, or give each process a file and a webhook. A "
            "disk without locks, such as some network drives, looks the same: use a local disk"
        ),
        "not a database": "is no inbox: check the path, or give the path of a new file",
        "malformed": (
            "is damaged. Keep the file, and start the receiver again: a disk that failed once looks "
            "the same. If that doesn't help, start with a new file"
        ),
        "full": "can't be written: the disk is full. Free some space: the receiver then goes on",
        "disk I/O": (
            "can't be written or read: the disk is full or failing. Check the disk: the receiver "
            "then goes on"
        ),
        "readonly": "can't be written: the file or the disk is read-only",
        "unable to open": "can't be opened: check that the directory exists and can be written",
        "removed": (
            "was removed or replaced while in use. Put the file back: the receiver then goes on; or "
            "start the receiver again, with a new file"
        ),
        "split": "Move both files together",
        "old": "Let the release that wrote the file handle the events first",
    }

    def __init__(self, path: str | Path) -> None:
        try:
            super().__init__(path)
        except InboxError as error:
            message = str(error)
        else:
            with suppress(sqlite3.Error):  # deleted bodies are overwritten
                self._database.execute("PRAGMA secure_delete = ON")
            return
        raise ConfigurationError(message)

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
        with self._transaction() as database:
            database.execute(FORGET_IDS, (now - keep, FORGET_LIMIT))
            if outcomes:
                _note_outcomes(database, outcomes, now, clock)
            if events:
                _add_events(database, events, now, clock)
            begun = _begin_heads(database, slots, now, clock)
            [[next_at]] = database.execute(NEXT_RETRY, (clock,))
        return begun, inf if next_at is None else next_at

    def lease_left(self) -> float:
        """Return infinity: no other worker has the file."""
        return inf

    def dead(self, limit: int) -> list[StoredEvent]:
        [[rows]] = self._fetch_all(_SELECT_DEAD, (limit,))
        return _stored_events(rows)

    def replay(self, ids: Iterable[str]) -> int:
        with self._transaction() as database:
            values = [(one,) for one in ids]
            database.executemany(OPEN_QUEUE_OF_DEAD, values)
            return database.executemany(REPLAY, values).rowcount

    def drop(self, ids: Iterable[str]) -> int:
        with self._transaction() as database:
            now = time.time()
            return database.executemany(DROP, [(now, one) for one in ids]).rowcount

    def _recover(self) -> None:
        """Make events that were under way wait again, behind the events of all other queues."""
        self._database.execute("UPDATE queues SET ready_at = begun, begun = 0")
        self._database.execute("UPDATE events SET state = 0 WHERE state = 1")


_INSERT: Final = """INSERT INTO events
    (id, queue, type, app_id, created_at, received_at, body)
    VALUES {rows} ON CONFLICT (id) DO NOTHING"""
_OPEN_QUEUES: Final = """INSERT OR IGNORE INTO queues (queue, ready_at)
    SELECT queue, ? FROM events WHERE number > ?"""
_OUTCOMES: Final = """WITH outcomes AS (SELECT json_extract(value, '$[0]') AS number,
        json_extract(value, '$[1]') AS state, json_extract(value, '$[2]') AS reason,
        json_extract(value, '$[3]') AS ready_at FROM json_each(?)) """
"""All outcomes in a single statement: each statement waits for the interpreter lock at the end."""
_NOTE_QUEUES: Final = f"""{_OUTCOMES}
    UPDATE queues SET begun = 0, retried = outcomes.state = 0,
        ready_at = CASE outcomes.state WHEN 0 THEN outcomes.ready_at ELSE ? END
    FROM outcomes JOIN events USING (number) WHERE queues.queue = events.queue"""  # noqa: S608 - own names
_NOTE_EVENTS: Final = f"""{_OUTCOMES}
    UPDATE events SET state = outcomes.state, reason = outcomes.reason,
        failures = failures + (outcomes.state <> 2),
        ended_at = CASE outcomes.state WHEN 2 THEN ? ELSE coalesce(ended_at, ?) END,
        body = CASE outcomes.state WHEN 2 THEN NULL ELSE body END
    FROM outcomes WHERE events.number = outcomes.number"""  # noqa: S608 - own names
_CLOSE_QUEUES: Final = """DELETE FROM queues WHERE queue IN
        (SELECT queue FROM events WHERE number IN (SELECT value FROM json_each(?)))
    AND NOT EXISTS (SELECT 1 FROM events WHERE state = 0 AND events.queue = queues.queue)"""
_HEADS: Final = """SELECT json_group_array(json_array(ready_at, (SELECT number FROM events
        WHERE state = 0 AND queue = ready.queue ORDER BY created_at, number LIMIT 1)))
    FROM (SELECT queue, ready_at FROM queues WHERE NOT begun AND retried = ? AND ready_at <= ?
        ORDER BY ready_at LIMIT ?) AS ready"""
"""All rows as a single row of arrays: fetching a row gives up the interpreter lock each time."""
_BEGIN_QUEUES: Final = """UPDATE queues SET begun = 1 WHERE queue IN
    (SELECT queue FROM events WHERE number IN (SELECT value FROM json_each(?)))"""
_BEGIN_EVENTS: Final = """UPDATE events SET state = 1, attempts = attempts + 1,
        begun_at = coalesce(begun_at, ?) WHERE number IN (SELECT value FROM json_each(?))"""
_COLUMNS: Final = """json_group_array(json_array(number, id, type, app_id, CAST(body AS TEXT),
    attempts, failures, begun_at, ended_at, received_at, reason, created_at))"""
_SELECT_BEGUN: Final = f"""SELECT {_COLUMNS} FROM
    (SELECT * FROM events WHERE number IN (SELECT value FROM json_each(?)) ORDER BY number)"""  # noqa: S608 - own names
_SELECT_DEAD: Final = f"""SELECT {_COLUMNS} FROM
    (SELECT * FROM events WHERE state = 3 ORDER BY number LIMIT ?)"""  # noqa: S608 - own names


def _note_outcomes(
    database: sqlite3.Connection, outcomes: Sequence[EventOutcome], now: float, clock: float
) -> None:
    values = _json([(end.number, end.state, end.reason, end.ready_at) for end in outcomes])
    database.execute(_NOTE_QUEUES, (values, clock))
    database.execute(_NOTE_EVENTS, (values, now, now))
    database.execute(_CLOSE_QUEUES, (_json([end.number for end in outcomes]),))


def _add_events(
    database: sqlite3.Connection, events: Sequence[RawEvent], now: float, clock: float
) -> None:
    [[last]] = database.execute("SELECT coalesce(max(number), 0) FROM events")
    for start in range(0, len(events), _ROWS):
        rows = events[start : start + _ROWS]
        values = [value for event in rows for value in _values(event, now)]
        database.execute(_insert(len(rows)), values)
    database.execute(_OPEN_QUEUES, (clock, last))


def _values(event: RawEvent, now: float) -> tuple[Any, ...]:
    created_at = now if event.created_at is None else event.created_at
    return (
        event.id, queue_of(event), event.type, event.app_id, created_at, now, event.body
    )  # fmt: skip


@cache
def _insert(count: int) -> str:
    return _INSERT.format(rows=", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count))


def _begin_heads(
    database: sqlite3.Connection, slots: HandlerSlots, now: float, clock: float
) -> list[StoredEvent]:
    """Begin the heads that are ready longest; of these at most ``slots.retries`` retries."""
    if not slots.free:
        return []
    [[first]] = database.execute(_HEADS, (False, inf, slots.free))
    [[again]] = database.execute(_HEADS, (True, clock, slots.retries))
    heads = sorted(orjson.loads(first) + orjson.loads(again))[: slots.free]
    if not heads:
        return []
    numbers = _json([number for _, number in heads])
    database.execute(_BEGIN_QUEUES, (numbers,))
    database.execute(_BEGIN_EVENTS, (now, numbers))
    [[rows]] = database.execute(_SELECT_BEGUN, (numbers,))
    return _stored_events(rows)


def _stored_events(rows: str) -> list[StoredEvent]:
    return [
        StoredEvent(number, id, type, app_id, orjson.loads(body), *rest)
        for number, id, type, app_id, body, *rest in orjson.loads(rows)  # noqa: A001 - columns
    ]


def _json(values: object) -> str:
    return orjson.dumps(values).decode()
