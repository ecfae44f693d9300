"""A journal file: reads and writes of rows, and a safe copy into a single file."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from errno import EEXIST
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from sunshine_async.journal import sql
from sunshine_async.journal.database import (
    JournalDatabase,
    JournalError,
    insert_rows,
    is_held,
    is_locked,
)
from sunshine_async.journal.reader import STATES, JournalQueries, state_list
from sunshine_async.journal.rows import Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.stream import RowMatcher

_PAGE: Final = 500
_TIMELINES: Final = 50  # timelines that are kept: some kilobytes each
_UNCERTAIN: Final = (State.BEGUN, State.UNKNOWN)
_EMPTY: Final[Mapping[Any, Any]] = {}


class Journal(JournalDatabase, JournalQueries):
    """The journal at *path*, created where the file is missing, unless *must_exist* is set.

    Any thread may call the methods. A change is on the disk when the method returns. Constructor
    and methods raise `JournalError` for a file that is no journal, is damaged, has another version
    or is in use by another process, and for a disk that is full or can't be written.
    """

    session: int = 0
    """Number of the session that writes now."""
    _table: str = "rows"
    """Table for new rows: ``incoming`` while another source is read."""

    def describe(self, **about: str) -> None:
        """Set facts about the job; a fact of the same name is replaced."""
        with self._transaction() as database:
            database.executemany(sql.SET_FACT, about.items())

    def begin_session(self) -> int:
        """Begin another session; return the number of the session."""
        with self._transaction() as database:
            database.execute(sql.COUNT_SESSION)
            database.execute(sql.DELETE_LIVE)
            database.execute(sql.CREATE_TIMELINES)
            database.execute(sql.DELETE_OLD_TIMELINES, (_TIMELINES - 1,))
        self.session = int(self.about()["session"])
        return self.session

    def timelines(self) -> list[str]:
        """Return the timelines of the last sessions, in order; none of a release without timelines."""
        [[known]] = self._fetch_all(sql.HAS_TIMELINES)
        return [text for (text,) in self._fetch_all(sql.SELECT_TIMELINES)] if known else []

    def begin(self) -> None:
        """Begin to read another source; the rows stay unchanged until `ready`."""
        with self._transaction() as database:
            for statement in sql.CREATE_INCOMING:
                database.execute(statement)
        self._table = "incoming"

    def add(self, lines: Iterable[SourceRow]) -> int:
        """Add rows, as bad where a row has a reason, else as waiting; return the number of rows."""
        lines, count = iter(lines), 0
        with self._transaction() as database:
            while some := [*islice(lines, 50)]:  # rows in a statement
                insert_rows(database, some, table=self._table)
                count += len(some)
        return count

    def index(self) -> tuple[int, list[tuple[int, int]]]:
        """Count rows read with the key of an earlier row; return the count and the first pairs of lines."""
        with self._transaction() as database:
            database.execute(sql.INDEX_INCOMING)
        [[count]] = self._fetch_all(sql.COUNT_DUPLICATES)
        return count, self._fetch_all(sql.FIRST_DUPLICATES)

    def has_new_people(self) -> bool:
        """Return True if rows read can't be told from users that were created without a key."""
        [[found]] = self._fetch_all(sql.HAS_NEW_USERS)
        return bool(found)

    def ready(
        self,
        about: Mapping[str, str],
        rules: Rules,
        *,
        keep: str | None = None,
        going_on: bool = False,
    ) -> None:
        """End reading the source: the rows read replace the rows before, in a single transaction.

        *about* has facts to set. Of rows with the same key *keep*, ``first`` or ``last``, says
        which row stays; the rest is left out. The *rules* say which rows are done, or can't be
        done. With *going_on* an unchanged row keeps its state.
        """
        with self._transaction() as database:
            _replace_rows(database, rules, keep=keep, going_on=going_on)
            database.execute(sql.DELETE_SOURCE_FACTS)
            database.execute(sql.SET_READ_AHEAD)
            database.executemany(sql.SET_FACT, about.items())
        self._table = "rows"

    def send_again(self, states: Sequence[State]) -> None:
        """Mark done rows as begun where an earlier row of the same user, in *states*, is sent now."""
        with self._transaction() as database:
            database.execute(sql.INDEX_KEYS)
            database.execute(sql.REOPEN_LATER_ROWS.format(states=state_list(states)))

    def send_overtaken(self) -> None:
        """Mark rows as begun that were done before an earlier row with another key of the same user."""
        with self._transaction() as database:
            for statement in (*sql.ALIAS_INDEXES, sql.REOPEN_OVERTAKEN):
                database.execute(statement)

    def judge(self) -> None:
        """Mark failed rows as unchanged or already created, where the users were created."""
        with self._transaction() as database:
            database.execute(sql.MARK_UNCHANGED.format(**sql.ROWS_FAILED), (True,))
            database.execute(sql.MARK_CREATED.format(**sql.ROWS_FAILED), sql.CREATED_TEXTS)

    def meet(
        self, lines: Sequence[SourceRow], rules: Rules, *, states: Sequence[State] = ()
    ) -> list[JournalRow | None]:
        """Match *lines* to rows of the journal; return None for each line without anything to do.

        A line is without anything to do if this session has matched the row already, or if the row
        has failed as already created. A missing row is added, in the state that the *rules* give.
        Rows in *states* are sent next. Raise `JournalError` for a row that can't be told from users
        that were created.
        """
        with self._transaction() as database:
            for statement in (*sql.MATCH_INDEXES, *(sql.ALIAS_INDEXES if rules.aliased else ())):
                database.execute(statement)
            matcher = RowMatcher(database, self.session, rules, states)
            return [matcher.match_row(line) for line in lines]

    def waiting(self) -> int:
        """Return the number of rows still to be done that were read ahead or matched in this session."""
        [[count]] = self._fetch_all(sql.COUNT_WAITING, (self.session,))
        return int(count)

    def pending(
        self,
        after: int,
        states: Sequence[State],
        *,
        many: int = _PAGE,
        until: int = 1 << 62,
        created: bool = False,
    ) -> list[JournalRow]:
        """Return the next *many* rows, numbered above *after* and up to *until*, in *states*.

        Rows that have failed as already created are included only with *created*.
        """
        values = (after, until, created, sql.CREATED, many)
        [found] = self._fetch_all(sql.SELECT_PENDING.format(states=state_list(states)), values)
        return [
            JournalRow(number, STATES[state], remote_id, bytes.fromhex(hashed))
            for number, state, remote_id, hashed in zip(*map(orjson.loads, found), strict=True)
        ]

    def write(
        self,
        marks: Sequence[Update],
        *,
        begun: Mapping[int, str | None] = _EMPTY,
        done: Done = _EMPTY,
        about: Mapping[str, str] = _EMPTY,
        timeline: str | None = None,
    ) -> None:
        """Write new states of rows, and the *timeline* of the session, in a single transaction.

        The facts of *about* are set first. Next, the rows *begun*, remote ids by number, are marked
        as begun, with an attempt more for each. Then come *marks*, at most a single update for each row, and *done*.

        With `STARTED_THROUGH` in *about* all waiting rows with a key, up to that number, have
        begun. The next `Journal` on the file marks each such row, unless a later write has set the
        fact to ``"0"``.
        """
        now = time.time()
        statements: list[tuple[str, tuple[Any, ...]]]
        statements = [(sql.SET_FACT, fact) for fact in about.items()]
        if begun:
            statements.append((sql.UPDATE_BEGUN, (now, self.session, _json(begun))))
        if marks:
            values = _json([_values(mark) for mark in marks])
            statements.append((sql.UPDATE_ROWS, (self.session, values)))
        if timeline is not None:
            statements.append((sql.SAVE_TIMELINE, (self.session, timeline)))
        statements += (
            (sql.UPDATE_DONE, (*result, now, self.session, _json(rows)))
            for result, rows in done.items()
        )
        with self._transaction() as database:
            for statement, arguments in statements:
                database.execute(statement, arguments)

    def _recover(self) -> None:
        for statement in (sql.MARK_UNREADABLE, sql.MARK_STARTED, sql.RESET_STARTED_THROUGH):
            self._database.execute(statement)


def _replace_rows(
    database: sqlite3.Connection, rules: Rules, *, keep: str | None, going_on: bool
) -> None:
    """Save the state of users, and leave out duplicates, before any row is compared with a user."""
    doubt = sql.USER_DOUBT.format(marked=int(rules.marked))
    database.execute(sql.SAVE_USERS.format(doubt=doubt))
    database.execute(sql.SAVE_CREATED)
    if keep is not None:
        database.execute(sql.LEAVE_OUT_DUPLICATES.format(which=sql.KEEP_FUNCTIONS[keep]))
    if going_on:
        database.execute(sql.INDEX_KEYS)
        database.execute(sql.COPY_STATES, (not rules.aliased,))
    if rules.skips and rules.aliased:
        database.execute(sql.INDEX_USER_IDS)
    if rules.skips:
        statement = sql.MARK_UNCHANGED_WITHOUT_ALIAS if rules.aliased else sql.MARK_UNCHANGED
        database.execute(statement.format(**sql.INCOMING_WAITING), (rules.once,))
    if rules.skips and rules.once:
        database.execute(sql.MARK_CREATED.format(**sql.INCOMING_WAITING), sql.CREATED_TEXTS)
        database.execute(sql.MARK_UNKNOWN, sql.UNKNOWN_TEXTS)
        database.execute(sql.PAIR_BY_BODY)
        database.execute(sql.COPY_PAIRED_STATES, sql.UNKNOWN_TEXTS)
        for statement in sql.DELETE_PAIRS:
            database.execute(statement)
    for statement in (sql.MARK_UNCERTAIN, sql.SET_REMOTE_IDS, *sql.REPLACE_ROWS):
        database.execute(statement)


def _json(values: object) -> str:
    return orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS).decode()


def _values(mark: Update) -> tuple[Any, ...]:
    return (
        mark.number, mark.state, mark.at, mark.outcome, mark.code, mark.status, mark.reason,
        mark.remote_id, mark.sent, mark.doubt or mark.state in _UNCERTAIN,
    )  # fmt: skip


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal *source* to the new file *target*, readable by the owner alone.

    The copy has all rows on the disk, also after a kill, and also of a read-only *source*. *target*
    appears complete or not at all. Raise `FileExistsError` where *target* exists, `OSError` where
    *target* can't be written, and `JournalError` for a *source* that is no journal, is damaged, or
    is in use.
    """
    if os.path.lexists(target):
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        copied = Path(folder, target.name)
        copied.touch(0o600)
        if source.is_file() and not os.access(source, os.W_OK):
            source = _copy_files(source, Path(folder, "source"))
        with closing(Journal(source, must_exist=True)) as journal:
            try:
                journal.copy(copied)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(target)) from None
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copied.replace(target)


def _copy_files(source: Path, copied: Path) -> Path:
    """Copy the files of a read-only journal; raise `JournalError` if a process uses the journal."""
    try:
        in_use = is_locked(source) or is_held(source)  # an older release locks the journal
    except sqlite3.Error as error:
        message = f"{source} can't be read: {error}"
        raise JournalError(message) from None
    if in_use:
        message = (
            f"{source} is in use by another process: copy the journal when that process has ended"
        )
        raise JournalError(message)
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, copied.with_name(copied.name + suffix))
    return copied
