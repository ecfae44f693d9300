"""The file of a journal, and what its rows are.

A safe copy of a journal: whole, in one file, whatever a killed job has left beside it.
"""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from errno import EEXIST
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from sunshine_async.journal.disk import Disk, JournalError
from sunshine_async.journal.rows import Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.sql import (
    AGAIN,
    AHEAD,
    ALIASES,
    ALREADY,
    BEGIN,
    CATCH_UP,
    CAUGHT_UP,
    CREATED,
    END,
    INCOMING,
    INDEX,
    MARK,
    MEETING,
    NEW_PEOPLE,
    NEXT,
    NO_FILE,
    OVERTAKEN,
    READ,
    READABLE,
    REFUSED,
    REPEATED,
    REPEATS,
    SAY,
    SESSION,
    SHOW,
    UNCHANGED,
    WAITING,
    WITH_ANOTHER,
)
from sunshine_async.journal.stream import RowMatcher, add, take

_PAGE: Final = 500
_STATES: Final[Mapping[int, State]] = {int(state): state for state in State}
"""A state that isn't among them is unknown."""
_LAST: Final = 1 << 62
_IN_DOUBT: Final = (State.BEGUN, State.UNKNOWN)
_NONE: Final[Done] = {}
_NOTHING: Final[Mapping[str, str]] = {}
_TOGETHER: Final = 50
"""Rows that are added by one statement."""


Found: TypeAlias = dict[str, Any]


class Journal(Disk):
    """The file at *path*, which is made where there is none, unless it *must_exist*.

    Its methods may be called from any thread, and what one of them has changed is on the disk
    when it returns. Raise `JournalError`: for what is no journal, is damaged, of another version,
    in use by another process, and for a disk that is full or can't be written.
    """

    session: int = 0
    """Number of the session that writes now."""
    _into: str = "rows"
    """Where rows are added: to those of a source that is being read, if one is."""

    def about(self) -> dict[str, str]:
        """Return what was said of the job."""
        return dict(self._all("SELECT name, value FROM about"))

    def describe(self, **about: str) -> None:
        """Keep what is said of the job, over what was said before."""
        with self._change() as database:
            database.executemany(SAY, about.items())

    def begin_session(self) -> int:
        """Begin another session, and return its number."""
        with self._change() as database:
            database.execute(SESSION)
        self.session = int(self.about()["session"])
        return self.session

    def begin(self) -> None:
        """Begin to read another source; the rows stay as they are until it is `ready`."""
        with self._change() as database:
            for statement in READ:
                database.execute(statement)
        self._into = "incoming"

    def add(self, lines: Iterable[SourceRow]) -> int:
        """Add rows, those with a reason as bad, and all others as waiting; return how many."""
        lines, many = iter(lines), 0
        with self._change() as database:
            while some := [*islice(lines, _TOGETHER)]:
                add(database, some, into=self._into)
                many += len(some)
        return many

    def index(self) -> tuple[int, list[tuple[int, int]]]:
        """Find rows that were read with the key of an earlier one: how many, and the first, with its line."""
        with self._change() as database:
            database.execute(INCOMING)
        [[many]] = self._all(REPEATED)
        return many, self._all(REPEATS)

    def has_new_people(self) -> bool:
        """Return whether rows that were read can't be told from users without a key who were made."""
        [[found]] = self._all(NEW_PEOPLE)
        return bool(found)

    def ready(
        self,
        about: Mapping[str, str],
        rules: Rules,
        *,
        keep: str | None = None,
        going_on: bool = False,
    ) -> None:
        """End reading the source, whose rows take the place of those before; all of it or nothing.

        *about* is kept. Of rows with the same key all are left out but the ``first`` or the
        ``last`` where *keep* says so. The *rules* say which of the others are done, or can't be
        done. With *going_on* rows that haven't changed go on from where they were.
        """
        with self._change() as database:
            take(database, rules, keep=keep, going_on=going_on)
            database.execute(NO_FILE)
            database.execute(AHEAD)
            database.executemany(SAY, about.items())
        self._into = "rows"

    def send_again(self, states: Sequence[State]) -> None:
        """Let rows begin again that were done after one of their user's in *states*, which is sent now."""
        with self._change() as database:
            database.execute(INDEX)
            database.execute(AGAIN.format(states=_listed(states)))

    def send_overtaken(self) -> None:
        """Let rows begin again that were done before one above them with another key of their user."""
        with self._change() as database:
            for statement in (*ALIASES, OVERTAKEN):
                database.execute(statement)

    def judge(self) -> None:
        """Let rows that failed be unchanged or already created, where their users were created."""
        with self._change() as database:
            database.execute(UNCHANGED.format(**REFUSED), (True,))
            database.execute(ALREADY.format(**REFUSED), (CREATED, WITH_ANOTHER))

    def meet(
        self, lines: Sequence[SourceRow], rules: Rules, *, states: Sequence[State] = ()
    ) -> list[JournalRow | None]:
        """Return the row of each of *lines*, or None for one that is nothing to do now.

        That is one that this session has met already, or that has failed as already created.

        A row that isn't there is added, as what the *rules* say of its user. Those in *states*
        are sent next. Raise `JournalError` for one that can't be told from users who were made.
        """
        with self._change() as database:
            for statement in (*MEETING, *(ALIASES if rules.aliased else ())):
                database.execute(statement)
            meeting = RowMatcher(database, self.session, rules, states)
            return [meeting.met(line) for line in lines]

    def waiting(self) -> int:
        """Return how many rows are to be done that this session has met, or that were read ahead."""
        [[many]] = self._all(WAITING, (self.session,))
        return int(many)

    def pending(
        self,
        after: int,
        states: Sequence[State],
        *,
        many: int = _PAGE,
        until: int = _LAST,
        created: bool = False,
    ) -> list[JournalRow]:
        """Return the next rows behind the number *after*, *many* at most, in one of *states*.

        Rows that have failed as already created are among them with *created* alone.
        """
        values = (after, until, created, CREATED, many)
        [found] = self._all(NEXT.format(states=_listed(states)), values)
        columns: list[list[Any]] = [orjson.loads(column) for column in found]
        return [
            JournalRow(number, _STATES[state], remote_id, bytes.fromhex(hashed))
            for number, state, remote_id, hashed in zip(*columns, strict=True)
        ]

    def write(
        self,
        marks: Sequence[Update],
        *,
        begun: Sequence[int] = (),
        done: Done = _NONE,
        about: Mapping[str, str] = _NOTHING,
    ) -> None:
        """Mark rows as what they are from now on, each by one of *marks* at most; all of it or nothing.

        Before that the rows with the numbers *begun* are marked as such, one sending more each;
        after it those that are *done*. What is said *about* the job is kept; with a `REACH` there all
        rows with a key up to that number have begun, as far as they wait: when the file is opened
        again, unless it was taken back by a ``"0"``, each is marked as such.
        """
        now = time.time()
        statements: list[tuple[str, tuple[Any, ...]]] = []
        statements += ((SAY, one) for one in about.items())
        if begun:
            statements.append((BEGIN, (now, self.session, _json(begun))))
        if marks:
            statements.append((MARK, (self.session, _json([_values(mark) for mark in marks]))))
        statements += (
            (END, (*what, now, self.session, _json(rows))) for what, rows in done.items()
        )
        with self._change() as database:
            for statement, values in statements:
                database.execute(statement, values)

    def counts(self) -> dict[tuple[State, str | None], int]:
        """Return how many rows there are, by state and outcome."""
        counts: dict[tuple[State, str | None], int] = {}
        query = "SELECT state, outcome, count(*) FROM rows GROUP BY state, outcome"
        for number, outcome, count in self._all(query):
            what = _STATES.get(number, State.UNKNOWN), outcome
            counts[what] = counts.get(what, 0) + count
        return counts

    def codes(self) -> dict[str, tuple[int, str]]:
        """Return how many rows weren't done by code, each with a reason as its example."""
        found = self._all(
            "SELECT code, count(*), min(line || ': ' || reason) FROM rows "
            "WHERE state IN (3, 4, 5) GROUP BY code ORDER BY 2 DESC"
        )
        return {code: (count, example) for code, count, example in found}

    def pulse(self, parts: int) -> tuple[float, float, list[int]]:
        """Return when the first and the last row ended, and how many did in each part between."""
        [[first, last]] = self._all("SELECT min(at), max(at) FROM rows WHERE state IN (2, 3, 4)")
        if first is None:
            return 0.0, 0.0, []
        width = (last - first) / parts or 1.0
        found = self._all(
            "SELECT min(CAST((at - ?) / ? AS INTEGER), ?), count(*) FROM rows "
            "WHERE state IN (2, 3, 4) AND at IS NOT NULL GROUP BY 1",
            (first, width, parts - 1),
        )
        filled = dict(found)
        return first, last, [filled.get(part, 0) for part in range(parts)]

    def rows(self, *states: State) -> Iterator[Found]:
        """Yield the rows in one of *states*, or all, as they were in the source, a page at a time."""
        chosen = _listed(states or [*State])
        query = f"{SHOW} WHERE number > ? AND state IN ({chosen}) ORDER BY number LIMIT {_PAGE}"
        after = 0
        while page := self._all(query, (after,)):
            for row in page:
                yield dict(zip(_NAMES, row, strict=True))
            after = page[-1][0]

    def _recover(self) -> None:
        self._database.execute(READABLE)
        self._database.execute(CATCH_UP)
        self._database.execute(CAUGHT_UP)


_NAMES: Final = (
    "number", "line", "key", "hash", "state", "outcome", "code", "status", "reason", "remote_id",
    "attempts", "at", "body",
)  # fmt: skip


def _listed(states: Iterable[State]) -> str:
    return ", ".join(str(int(state)) for state in states)


def _json(values: object) -> str:
    return orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS).decode()


def _values(mark: Update) -> tuple[Any, ...]:
    return (
        mark.number, mark.state, mark.at, mark.outcome, mark.code, mark.status, mark.reason,
        mark.remote_id, mark.sent, mark.doubt or mark.state in _IN_DOUBT,
    )  # fmt: skip


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal *source* to *target*, a file of its own for its owner alone.

    The copy has all that is on the disk, also after a kill, and also where *source* can only be
    read. *target* is there whole or not at all. Raise `FileExistsError` where *target* exists,
    `OSError` where it can't be written, and `JournalError` for a *source* that is no journal, is
    damaged, or is in use.
    """
    if os.path.lexists(target):
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        beside = Path(folder, target.name)
        beside.touch(0o600)
        if source.is_file() and not os.access(source, os.W_OK):
            source = _writable(source, Path(folder, "source"))
        with closing(Journal(source, must_exist=True)) as journal:
            try:
                journal.copy(beside)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(target)) from None
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        beside.replace(target)


def _writable(source: Path, copied: Path) -> Path:
    """Copy the files of a journal that can only be read; a process that has it is found out."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as database:
        try:
            database.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            if "locked" in str(error):
                message = f"{source} is in use by another process: copy it when that has ended"
                raise JournalError(message) from None
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, copied.with_name(copied.name + suffix))
    return copied
