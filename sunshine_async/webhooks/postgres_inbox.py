"""Inbox in a PostgreSQL database, for several workers: processes on one or more machines.

The exchanges of all workers run one after the other, under an advisory lock of the database, so a
transaction sees the end of the last transaction. A commit writes all deliveries and outcomes of a
worker since the last commit.

A worker is a row of ``workers``, and holds a lease: the right to the events that the worker has
begun. Each exchange renews the lease. Any worker that finds a lease ended deletes the row and makes
the events wait again. A worker without a row is refused, with all outcomes and deliveries (fencing),
and begins anew as another worker. The time in which the server was down doesn't count, nor does a
step of the server's clock.

After a lost connection a worker gives back events begun by the server in an answer that was lost. A
worker without the lock in time connects anew, and ends the session of a worker stopped within a
transaction.
"""

import os
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from secrets import randbits
from threading import Lock
from typing import Any, Final, LiteralString, NoReturn

import orjson
import psycopg

from sunshine_async.errors import ConfigurationError
from sunshine_async.journal.lease import now as boot_time
from sunshine_async.journal.postgres_database import (
    READ_ONLY,
    Address,
    ascii_text,
    check_tables,
    plain_text,
    reason_of,
    with_placeholders,
)
from sunshine_async.webhooks import inbox
from sunshine_async.webhooks import postgres_sql as sql
from sunshine_async.webhooks.deliveries import RawEvent, hash_id
from sunshine_async.webhooks.inbox import (
    FORGET_LIMIT,
    EventOutcome,
    HandlerSlots,
    InboxError,
    LeaseLostError,
    StoredEvent,
    queue_of,
)

_POLL: Final = 0.5  # seconds until a worker with nothing to do looks for events of other workers
_MAX_WAIT: Final = 5.0  # seconds for the lock: other workers need milliseconds
_SILENCE: Final = 35.0  # seconds without a word: the server ends a statement after 30 seconds
_LONGEST_LEASE: Final = 1e9  # seconds: no end, and yet within the server's calendar
_STEP: Final = 1.0  # seconds: a server's clock that was set jumps by more
_SKEW: Final = 10.0  # seconds by which the clocks of two workers may differ
_MAX_KEY: Final = 500  # longer names don't fit an index: a hash stands for the name

_REASONS: Final[Mapping[str, str]] = {
    "25006": READ_ONLY,
    "42501": (
        "can't be used: the user lacks a privilege. Grant CREATE on the database for the first "
        "start, or all on the schema sunshine_inbox and its tables"
    ),
    "53100": "can't be written: the server's disk is full. Free some space: the receiver then goes on",
    "55P03": (
        "is held up by another transaction. The receiver ends a stopped worker's transaction; if that "
        "doesn't help, look for locks on the schema sunshine_inbox"
    ),
}
"""Messages, by the begin of the SQLSTATE."""


class PostgresInbox:
    """The inbox in the database at *address*, in a schema ``sunshine_inbox`` of its own.

    The first worker creates the schema. Workers whose clocks agree within seconds may share an inbox;
    a pooler between worker and server must be in session mode. Bodies are deleted once handled;
    PostgreSQL overwrites the bytes when it vacuums.

    A worker silent for *lease* seconds loses all events under way to the other workers: killed, cut
    off, stopped, or with a handler that blocks the event loop so long.

    No retry of an event waits more than *longest_wait* seconds, also after a clock was set back.

    An unreachable server is no error at first: the methods raise `InboxError` until the
    server is back. Raise `ConfigurationError` for tables of another version.
    """

    def __init__(self, address: Address, *, lease: float, longest_wait: float) -> None:
        self._address: Final = address
        self.name: Final = f"the inbox in PostgreSQL ({address})"
        self._lease: Final = min(lease, _LONGEST_LEASE)
        self._longest_wait: Final = longest_wait + _SKEW
        self._process: Final = os.getpid()
        self._lock: Final = Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._worker = randbits(62)
        self._registered = False
        self._lease_until = -inf
        self._server_clock = 0.0
        """Seconds from the clock of this process to the server's."""
        self._known: set[int] = set()
        """Numbers of the events under way that the caller knows."""
        with suppress(InboxError), self._transaction():
            pass

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
        numbers = [end.number for end in outcomes]
        values: dict[str, Any] = {
            "worker": self._worker, "lease": self._lease, "now": now, "numbers": numbers,
            "free": slots.free, "retries": slots.retries, "latest": now + self._longest_wait,
            "step": max(_STEP, self._lease / 4),  # `sql.RENEW` leaves as much
        }  # fmt: skip
        with self._transaction() as run:
            asked_at = boot_time()  # with a connection, so that `now()` comes soon after
            values["server_time"] = asked_at + self._server_clock
            lease = run.execute(sql.RENEW if self._registered else sql.REGISTER, values)
            run.execute(sql.END_LEASES, values)
            run.execute(with_placeholders(inbox.FORGET_IDS), (now - keep, FORGET_LIMIT))
            if outcomes:
                run.execute(sql.NOTE_OUTCOMES, {**values, **_outcome_values(outcomes, now - clock)})
                run.execute(sql.CLOSE_QUEUES, values)
            if events:
                run.execute(sql.ADD_EVENTS, {**values, **_event_values(events, now)})
            heads = run.execute(sql.BEGIN_HEADS, values, binary=True) if slots.free else None
            retry = run.execute(with_placeholders(inbox.NEXT_RETRY), (now,))
            server_times = lease.fetchall()
            if not server_times:
                self._lose_lease()
            begun = [] if heads is None else _stored_events(heads.fetchall())
            [[next_at]] = retry.fetchall()
        self._registered, self._server_clock = True, server_times[0][0] - asked_at
        self._lease_until = asked_at + 0.75 * self._lease  # `sql.RENEW` leaves a quarter
        self._known.difference_update(numbers)
        self._known.update(one.number for one in begun)
        retry_in = inf if next_at is None else next_at - now
        return begun, clock + min(retry_in, _POLL, self._lease / 4)

    def lease_left(self) -> float:
        """Return the seconds until the lease may end, also while the process is stopped."""
        return self._lease_until - boot_time()

    def dead(self, limit: int) -> list[StoredEvent]:
        return _stored_events(self._fetch_all(sql.SELECT_DEAD, (limit,)))

    def replay(self, ids: Iterable[str]) -> int:
        values = [(_key(one),) for one in ids]
        return self._execute_many((inbox.OPEN_QUEUE_OF_DEAD, values), (inbox.REPLAY, values))

    def drop(self, ids: Iterable[str]) -> int:
        now = time.time()
        return self._execute_many((inbox.DROP, [(now, _key(one)) for one in ids]))

    def close(self) -> None:
        """Give the events under way to the other workers, and close the connection."""
        self._lease_until = -inf
        if self._connection is not None and self._process == os.getpid():
            with suppress(InboxError), self._transaction() as run:
                run.execute(sql.END_OWN_LEASE, {"worker": self._worker, "now": time.time()})
        self._disconnect()

    def _fetch_all(self, query: LiteralString, values: Sequence[Any] = ()) -> list[Any]:
        with self._transaction() as run:
            return run.execute(query, values).fetchall()

    def _execute_many(self, *statements: tuple[LiteralString, Sequence[Sequence[Any]]]) -> int:
        """Execute each statement with each row of values; return the row count of the last statement."""
        count = 0
        with self._transaction() as run, run.cursor() as cursor, run.pipeline() as pipeline:
            for text, values in statements:
                cursor.executemany(with_placeholders(text), values)
                pipeline.sync()  # else the number of rows isn't known yet
                count = max(0, cursor.rowcount)
        return count

    def _lose_lease(self) -> NoReturn:
        self._worker, self._registered, self._lease_until = randbits(62), False, -inf
        self._known.clear()
        message = (
            f"{self.name} has taken this worker for dead after {self._lease:g} s of silence. "
            "Other workers handle its events again. Keep handlers from blocking the event loop"
        )
        raise LeaseLostError(message)

    @contextmanager
    def _transaction(self) -> Generator[psycopg.Connection[Any]]:
        """Yield a connection in a transaction of its own, after the transactions of all workers.

        The statements are sent together; results wait for the first fetch (pipeline).
        """
        if self._process != os.getpid():
            message = f"{self.name} was opened before a fork: start a receiver in each process"
            raise InboxError(message)
        with self._lock:
            try:
                connection = self._connection or self._connect()
                with connection.pipeline(), connection.transaction():
                    connection.execute(sql.LOCK)
                    yield connection
            except psycopg.Error as error:
                reason = reason_of(error, _REASONS, goes_on="The receiver goes on")
            else:
                return
            self._disconnect()  # the next transaction finds out what has become of this one
        message = f"{self.name} {reason}"
        raise InboxError(message)

    def _connect(self) -> psycopg.Connection[Any]:
        """Return a new connection, with the tables checked and lost events given back."""
        connection = self._address.connect("sunshine-async inbox", patience=_SILENCE)
        try:
            self._address.check_session(connection, name=self.name, error=ConfigurationError)
            wait = min(_MAX_WAIT, self._lease / 4)
            connection.execute(sql.SETTINGS, {"wait": f"{max(1, round(1000 * wait))}ms"})
            connection.execute(sql.END_STOPPED)
            with connection.transaction():
                connection.execute(sql.LOCK)
                check_tables(
                    connection, "sunshine_inbox", sql.TABLES, version=sql.VERSION, name=self.name,
                    error=ConfigurationError,
                )  # fmt: skip
                values = {
                    "worker": self._worker, "known": list(self._known), "now": time.time(),
                }  # fmt: skip
                connection.execute(sql.GIVE_BACK, values)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._process == os.getpid():  # else: the parent's
            connection.close()


def _key(text: str) -> str:
    """Return *text* as a key that fits an index, and any encoding: PostgreSQL's text has no NUL."""
    key = ascii_text(text)
    return key if len(key) <= _MAX_KEY else hash_id(key.encode())


def _event_values(events: Sequence[RawEvent], now: float) -> dict[str, Any]:
    return {
        "ids": [_key(event.id) for event in events],
        "queues": [_key(queue_of(event)) for event in events],
        "types": [ascii_text(event.type) for event in events],
        "app_ids": [None if event.app_id is None else ascii_text(event.app_id) for event in events],
        "created_at": [now if event.created_at is None else event.created_at for event in events],
        "bodies": [event.body for event in events],
    }


def _outcome_values(outcomes: Sequence[EventOutcome], since: float) -> dict[str, Any]:
    """Return the columns of *outcomes*; *since* is the time of the monotonic clock's 0."""
    return {
        "states": [end.state.value for end in outcomes],
        "reasons": [None if end.reason is None else ascii_text(end.reason) for end in outcomes],
        "ready_at": [since + end.ready_at for end in outcomes],
    }


def _stored_events(rows: Iterable[Any]) -> list[StoredEvent]:
    return [
        StoredEvent(
            number, plain_text(id_), plain_text(type_), app_id and plain_text(app_id), orjson.loads(body),
            attempts, failures, begun_at, failed_at, received_at, reason and plain_text(reason), created_at,
        )
        for number, id_, type_, app_id, body, attempts, failures, begun_at, failed_at, received_at, reason, created_at
        in sorted(rows)
    ]  # fmt: skip
