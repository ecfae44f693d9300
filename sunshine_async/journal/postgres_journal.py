"""A journal in a PostgreSQL database, for jobs that another machine may finish.

A journal is a schema. Its owner is a row of the table ``owner``, and holds a lease: the right to write
and to send. A thread renews the lease on a connection of its own, so that a long write doesn't end the
lease. Each write locks the owner's row first, and is refused without that row (fencing). A process that
sees no renewal for the length of the lease deletes the row, and becomes the owner.

While the server is away, writes are repeated. Each write leaves a number in the table ``written``: after
a commit without an answer the number tells if the write was committed, so nothing is written twice.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from math import inf
from secrets import randbits
from threading import Lock
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, TypeVar, cast

import psycopg

from sunshine_async.journal import postgres_sql, sql
from sunshine_async.journal.database import (
    VERSION,
    JournalAwayError,
    JournalError,
    JournalInUseError,
)
from sunshine_async.journal.job_journal import JobJournal, Statement, values_of
from sunshine_async.journal.lease import PATIENCE, JournalLease, now
from sunshine_async.journal.postgres_database import (
    PostgresPlace,
    check_tables,
    never,
    passes_by_itself,
    reason_of,
)
from sunshine_async.journal.postgres_match import (
    JournalTextLoader,
    Statements,
    TextDumper,
    match_in_memory,
    with_short_key,
)
from sunshine_async.journal.reader import JournalQueries
from sunshine_async.journal.rows import Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.stream import Database

T = TypeVar("T")

_APPLICATION: Final = "sunshine-async journal {}"  # in the lists of the server, with the token
_PROMPT: Final = 5.0  # seconds for an answer that nobody wants to wait for
_POLL: Final = 0.2  # seconds between two looks at a server that is away, or at another's lease


class _Queries(JournalQueries):
    """Queries to the journal at *place*, on a connection that is made when needed."""

    dialect: ClassVar = postgres_sql.POSTGRES
    _READ_ONLY: ClassVar[bool]
    _SILENCE: ClassVar[float]
    """Seconds without a word of the server after which a wait for an answer ends."""

    def __init__(self, place: PostgresPlace) -> None:
        self._place: Final = place
        self._lock: Final = Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._application = "sunshine-async journal"
        self._process: Final = os.getpid()

    @property
    def name(self) -> str:
        """The URL without the password."""
        return str(self._place)

    _is_late: Callable[[], bool] = staticmethod(never)
    """Returns True once the wait for an answer of the server has to end."""

    def _connect(self) -> psycopg.Connection[Any]:
        """Return the connection, made anew unless there is one."""
        if self._connection is None:
            self._connection = self._open(self._application, self._is_late)
        return self._connection

    def _open(
        self, application: str, is_late: Callable[[], bool], *, commit: str = "on"
    ) -> psycopg.Connection[Any]:
        """Return a new connection with the tables of the journal."""
        settings = {
            "schema": self._place.schema,
            "commit": commit,
            "read_only": "on" if self._READ_ONLY else "off",
        }
        with ExitStack() as stack:
            connection = self._place.address.connect(application, is_late, patience=self._SILENCE)
            stack.enter_context(closing(connection))
            if self._connection is None:  # the renewals' comes later
                self._place.address.check_session(connection, name=self.name, error=JournalError)
            connection.execute(postgres_sql.SETTINGS, settings)
            stack.pop_all()
        connection.adapters.register_dumper(str, TextDumper)
        connection.adapters.register_loader("text", JournalTextLoader)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and self._process == os.getpid():  # else: the parent's
            connection.close()

    def _check_exists(self, connection: psycopg.Connection[Any]) -> None:
        schema = self._place.schema
        [[exists]] = connection.execute(postgres_sql.HAS_SCHEMA, {"schema": schema}).fetchall()
        if not exists:
            self._fail("isn't there: check the database, and the name of the job in the URL")

    def _fail(self, reason: str, kind: type[JournalError] = JournalError) -> NoReturn:
        message = f"{self.name} {reason}"
        raise kind(message)


class PostgresReader(_Queries):
    """The journal at *place*, read only: also while a job runs, and after a kill.

    Methods raise `JournalError` for a journal that isn't there or can't be read.
    """

    _READ_ONLY = True
    _SILENCE = PATIENCE

    @property
    def running(self) -> bool:
        """True while a process has the journal for a job."""
        [[running]] = self._fetch_all(postgres_sql.RUNNING.format(owner="owner"))
        return bool(running)

    def close(self) -> None:
        """Close the connection."""
        self._disconnect()

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._check_exists(super()._connect())
        return super()._connect()

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return Statements(self._connect()).execute(query, values).fetchall()
            except psycopg.Error as error:
                reason = reason_of(error, postgres_sql.REASONS, goes_on="Run the same again")
                kind = JournalAwayError if passes_by_itself(error) else JournalError
            self._disconnect()
        return self._fail(reason, kind)


class _Owner(NamedTuple):
    """An owner, with the time of the last renewal and the seconds of the lease."""

    token: int
    seen_at: str
    lease: float


class PostgresJournal(_Queries, JobJournal):
    """The journal at *place*, created where the schema is missing, unless *must_exist* is set.

    The constructor waits for the end of the lease of an owner that was killed, as long as *may_wait*
    returns True, and raises `JournalError` if another process has the journal. While the server is
    away a method waits, two minutes at most, and then raises `JournalAwayError`. After the loss of
    the lease, and after a fork, methods raise `JournalError`.
    """

    _READ_ONLY = False
    _SILENCE = inf  # the renewals of the lease tell more
    patience: ClassVar[float] = PATIENCE
    """Seconds to wait for a server that is away."""

    def __init__(
        self,
        place: PostgresPlace,
        *,
        must_exist: bool = False,
        may_wait: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(place)
        self._owner: Final = {"token": randbits(62), "lease": place.lease}
        self._application = _APPLICATION.format(self._owner["token"])
        self._renewing: psycopg.Connection[Any] | None = None
        self._may_wait = may_wait
        self._wait_until: float | None = None  # before the lease, and after its end
        self._is_new = self._is_removed = False
        try:
            since = self._take(must_exist=must_exist)
        except BaseException:
            self._disconnect()
            raise
        self._lease: Final = JournalLease(
            place.lease, self._renew, since=since, patience=self.patience
        )
        self.lease = self._lease
        self._wait_until = None

    def discard(self) -> None:
        """Close the journal; remove a schema that was made for a job, and that no job has used."""
        if self._is_new and self._process == os.getpid():
            self._end_lease()
            with suppress(JournalError):
                self._is_removed = self._commit(self._remove)
        self.close()

    def close(self) -> None:
        """Close the journal; another process may then open the journal."""
        if self._process != os.getpid():
            return
        self._end_lease()
        with self._lock:  # a connection may be dead
            for _ in range(0 if self._is_removed else 1 + (self._connection is not None)):
                with suppress(psycopg.Error):  # else the lease ends by itself
                    self._connect().execute(postgres_sql.RELEASE, self._owner)
                    break
                self._disconnect()
            self._disconnect()
        if self._renewing is not None:
            self._renewing.close()

    def _end_lease(self) -> None:
        self._lease.end()
        self._lease.lose()  # nothing is sent from now on
        self._wait_until, self._may_wait = now() + _PROMPT, never

    def _remove(self, database: Database) -> bool:
        """Remove the schema unless a job has used the journal; return True if removed."""
        database.execute(postgres_sql.LOCK, [self._place.schema])
        is_used = bool(database.execute(sql.HAS_JOB).fetchall())
        for statement in () if is_used else postgres_sql.REMOVE:
            database.execute(statement.format(schema=self._place.schema))
        return not is_used

    def _is_late(self) -> bool:
        if self._wait_until is None:
            return self._lease.is_silent()
        return now() > self._wait_until and not self._may_wait()

    def _take(self, *, must_exist: bool) -> float:
        """Become the owner; return the time since which the lease counts.

        The lease of another owner has ended if nobody renewed the lease for its whole length, on
        the clock of this process: the clock of the server may be set.
        """
        seen: _Owner | None = None
        owner, first_look, reason = seen, now(), ""
        while True:
            since = now()
            self._wait_until = since + _PROMPT
            ended = seen if seen is not None and since >= first_look + seen.lease else None
            try:
                connection = self._connect()
                with connection.transaction():
                    owner = self._try_to_take(connection, ended, must_exist=must_exist)
            except psycopg.Error as error:
                reason = reason_of(error, postgres_sql.REASONS, goes_on="Run the same again")
            if reason:
                self._fail(reason)
            if owner is None:
                return since
            if seen is None:
                seen, first_look = owner, now()
            if seen != owner or not self._may_wait():
                self._fail(sql.ERROR_REASONS["locked"], JournalInUseError)
            time.sleep(min(_POLL, owner.lease))

    def _try_to_take(
        self, connection: psycopg.Connection[Any], ended: _Owner | None, *, must_exist: bool
    ) -> _Owner | None:
        """Become the owner, in place of *ended*, and return None, or return the present owner."""
        Statements(connection).execute(postgres_sql.LOCK, [self._place.schema])
        if must_exist:
            self._check_exists(connection)
        self._is_new = check_tables(
            connection, self._place.schema, postgres_sql.TABLES, version=VERSION, name=self.name,
            error=JournalError,
        )  # fmt: skip
        if ended is not None:
            application = _APPLICATION.format(ended.token)
            connection.execute(postgres_sql.END_SESSIONS, {"application": application})
            connection.execute(postgres_sql.DELETE_ENDED, (ended.token, ended.seen_at))
        for owner in connection.execute(postgres_sql.OWNER).fetchall():
            return _Owner(*owner)
        connection.execute(postgres_sql.INSERT_OWNER, self._owner)
        for statement in sql.RECOVER:
            connection.execute(statement.encode())
        return None

    def _renew(self) -> bool:
        """Renew the lease; return False if another process has the journal."""
        try:
            if self._renewing is None:
                name = "sunshine-async journal lease"
                self._renewing = self._open(name, self._lease.is_overdue, commit="off")
            found = self._renewing.execute(postgres_sql.RENEW, self._owner).fetchone()
        except psycopg.Error:
            connection, self._renewing = self._renewing, None
            if connection is not None:
                connection.close()
            raise
        return found is not None

    def _commit(self, work: Callable[[Database], T]) -> T:
        results: list[T] = []
        fence = {**self._owner, "number": randbits(62)}

        def transact(connection: psycopg.Connection[Any]) -> T:
            if results and self._is_written(connection, fence["number"]):
                return results[-1]
            with connection.transaction():
                if connection.execute(postgres_sql.FENCE, fence).fetchone() is None:
                    self._lease.lose()
                    self._fail(postgres_sql.LOST.format(self._place.lease))
                results.append(work(Statements(connection)))
            return results[-1]

        return self._repeat(transact)

    def _is_written(self, connection: psycopg.Connection[Any], number: float) -> bool:
        """Return True if the write *number* was committed, once each earlier try has ended."""
        connection.execute(postgres_sql.END_SESSIONS, {"application": self._application})
        connection.execute(postgres_sql.WAIT, self._owner)
        return connection.execute(postgres_sql.WRITTEN).fetchall() == [(number,)]

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._repeat(lambda link: Statements(link).execute(query, values).fetchall())

    def _repeat(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Return the result of *action*; repeat *action* as long as the server is away."""
        if self._process != os.getpid():
            self._fail(
                "was opened before a fork: open the journal after the fork, in the process that "
                "uses the journal"
            )
        until = None
        with self._lock:
            while True:
                try:
                    return action(self._connect())
                except psycopg.Error as error:
                    reason = reason_of(error, postgres_sql.REASONS, goes_on="Run the same again")
                    passes = passes_by_itself(error)
                self._disconnect()
                until = until or now() + self.patience
                if now() > min(until, self._lease.latest) or self._lease.is_silent():
                    self._lease.hurry(0.0)  # the next method waits no more
                elif passes and not self._lease.wait(_POLL):
                    continue
                self._fail(reason, JournalAwayError if passes else JournalError)

    def _insert(self, database: Database, lines: Sequence[SourceRow], *, table: str) -> int:
        connection = cast("Statements", database).connection
        last_number = postgres_sql.LAST_NUMBER.format(table=table).encode()
        copy_rows = postgres_sql.COPY_ROWS.format(table=table).encode()
        [[last]] = connection.execute(last_number).fetchall()
        with connection.cursor() as cursor, cursor.copy(copy_rows) as copy:
            for number, line in enumerate(lines, last + 1):
                bad = (0, None) if line.reason is None else (5, "bad row")
                copy.write_row(
                    (number, line.line, line.key, line.hash, line.body, *bad, line.reason)
                )
        return int(last) + len(lines)

    def add(self, lines: Iterable[SourceRow]) -> int:
        """Add rows, as `JobJournal.add` does; a hash stands for the end of a very long key."""
        return super().add(map(with_short_key, lines))

    def _match(
        self,
        database: Database,
        lines: Sequence[SourceRow],
        rules: Rules,
        states: Sequence[State],
    ) -> list[JournalRow | None]:
        lines = [*map(with_short_key, lines)]
        journal = cast("Statements", database)
        matched = match_in_memory(journal, lines, self.session, rules, states)
        return super()._match(database, lines, rules, states) if matched is None else matched

    def _pending(self, states: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        return self._fetch_all(postgres_sql.SELECT_PENDING.format(states=states), values)

    def _state_statements(
        self, marks: Sequence[Update], begun: Mapping[int, str | None], done: Done
    ) -> Iterable[Statement]:
        at = time.time()
        if begun:
            yield postgres_sql.UPDATE_BEGUN, (at, self.session, [*begun], [*begun.values()])
        if marks:
            columns = map(list, zip(*map(values_of, marks), strict=True))
            yield postgres_sql.UPDATE_ROWS, (self.session, *columns)
        for (outcome, sent), rows in done.items():
            values = (outcome, int(sent), at, self.session, [*rows], [*rows.values()])
            yield postgres_sql.UPDATE_DONE, values
