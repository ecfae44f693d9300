"""The file of a journal, and what its rows are."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import orjson

from sunshine_async.journal.disk import Disk
from sunshine_async.journal.meeting import Meeting, add
from sunshine_async.journal.row import Done, Kept, Line, Mark, State
from sunshine_async.journal.statements import (
    ACCEPT,
    BEGIN,
    BY_LINE,
    CATCH_UP,
    CAUGHT_UP,
    DOUBT,
    DOUBTED,
    END,
    INDEX,
    LEAVE_OUT,
    MARK,
    NEXT,
    REMEMBER,
    REPEATED,
    REPEATS,
    SAY,
    SHOW,
    TABLES,
    TAKE_OVER,
    UNCHANGED,
    WHICH,
)

_PAGE: Final = 500
_STATES: Final[Mapping[int, State]] = {int(state): state for state in State}
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

    def about(self) -> dict[str, str]:
        """Return what was said of the job."""
        return dict(self._all("SELECT name, value FROM about"))

    def describe(self, **about: str) -> None:
        """Keep what is said of the job, over what was said before."""
        with self._change() as database:
            database.executemany(SAY, about.items())

    def begin(self, about: Mapping[str, str], *, accept: bool = False, aside: bool = False) -> None:
        """Begin to read a source: forget the rows, and keep what is said *about* it.

        With *accept* what was accepted of each key is kept; with *aside* the rows themselves are,
        for those that haven't changed to go on from where they were.
        """
        with self._change() as database:
            database.execute("DROP INDEX IF EXISTS by_key")
            database.execute("DROP INDEX IF EXISTS by_line")
            if accept:
                database.execute(ACCEPT)
                database.execute(DOUBT.format(rows="rows"))
            if aside:
                database.execute("ALTER TABLE rows RENAME TO old")
                database.execute(TABLES[0])
            else:
                database.execute("DELETE FROM rows")
            database.executemany(SAY, about.items())

    def add(self, lines: Iterable[Line]) -> int:
        """Add rows, those with a reason as bad, and all others as waiting; return how many."""
        lines, many = iter(lines), 0
        with self._change() as database:
            while some := [*islice(lines, _TOGETHER)]:
                add(database, some)
                many += len(some)
        return many

    def ready(
        self, about: Mapping[str, str], *, keep: str | None = None, skip_unchanged: bool = False
    ) -> None:
        """End reading the source, and keep what is said *about* it.

        Rows that were set aside and haven't changed go on. Of waiting and begun rows with the same
        key all are left out but the ``first`` or the ``last`` where *keep* says so; a row in whose
        place another may have been sent has begun. With *skip_unchanged* those are done that are as
        they were last accepted. The others have the ids of then.
        """
        with self._change() as database:
            aside = database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'old'").fetchone()
            if aside:
                database.execute("CREATE INDEX by_hash ON old (hash)")
                database.execute(TAKE_OVER)
                database.execute(DOUBT.format(rows="old"))
            if keep is not None:
                database.execute(LEAVE_OUT.format(which=WHICH[keep]))
            if aside:
                database.execute(DOUBTED)
                database.execute("DROP TABLE old")
            if skip_unchanged:
                database.execute(UNCHANGED)
            database.execute(REMEMBER)
            database.executemany(SAY, about.items())

    @property
    def first(self) -> int:
        """The number of the first row."""
        [[number]] = self._all("SELECT coalesce(min(number), 1) FROM rows")
        return int(number)

    def index(self) -> tuple[int, list[tuple[int, int]]]:
        """Find rows with the key of an earlier one: how many, and the first, with its line."""
        with self._change() as database:
            database.execute(INDEX)
        [[many]] = self._all(REPEATED)
        return many, self._all(REPEATS)

    def meet(
        self, lines: Sequence[Line], *, session: int, skip_unchanged: bool, bodies_differ: bool
    ) -> list[Kept | None]:
        """Return the row of each of *lines*, or None for one that this *session* has met already.

        It is known by its key and hash, or without a key by its line and hash. Where *bodies_differ*
        (an upsert, an update) only the last of a key is: what came before it is sent again, and takes
        the place of those from sessions before that aren't done. Where it isn't there it is added, as
        done if it is as it was last accepted and *skip_unchanged* says so, else with the id of then.
        """
        with self._change() as database:
            database.execute(INDEX)
            database.execute(BY_LINE)
            accepted = database.execute("SELECT 1 FROM accepted LIMIT 1").fetchone() is not None
            then = [*([UNCHANGED] if skip_unchanged else []), REMEMBER] if accepted else []
            meeting = Meeting(database, session, then, bodies_differ)
            return [meeting.met(line) for line in lines]

    def waiting(self, session: int) -> int:
        """Return how many rows are to be done that this *session* has met, or that are of a file."""
        [[many]] = self._all(
            "SELECT count(*) FROM rows WHERE state IN (0, 1) AND (session <= 0 OR session = ?)",
            (session,),
        )
        return int(many)

    def pending(self, after: int, states: Sequence[State], *, many: int = _PAGE) -> list[Kept]:
        """Return the next rows behind the number *after*, *many* at most, in one of *states*."""
        query = NEXT.format(states=", ".join(str(int(state)) for state in states))
        [found] = self._all(query, (after, many))
        columns: list[list[Any]] = [orjson.loads(column) for column in found]
        return [
            Kept(number, _STATES[state], remote_id)
            for number, state, remote_id in zip(*columns, strict=True)
        ]

    def write(
        self,
        marks: Sequence[Mark],
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
            statements.append((BEGIN, (now, _json(begun))))
        if marks:
            statements.append((MARK, (_json([_values(mark) for mark in marks]),)))
        statements += ((END, (*what, now, _json(rows))) for what, rows in done.items())
        with self._change() as database:
            for statement, values in statements:
                database.execute(statement, values)

    def counts(self) -> dict[tuple[State, str | None], int]:
        """Return how many rows there are, by state and outcome."""
        found = self._all("SELECT state, outcome, count(*) FROM rows GROUP BY state, outcome")
        return {(State(state), outcome): count for state, outcome, count in found}

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
        chosen = ", ".join(str(int(state)) for state in states or State)
        query = f"{SHOW} WHERE number > ? AND state IN ({chosen}) ORDER BY number LIMIT {_PAGE}"
        after = 0
        while page := self._all(query, (after,)):
            for row in page:
                yield dict(zip(_NAMES, row, strict=True))
            after = page[-1][0]

    def _recover(self) -> None:
        self._database.execute(CATCH_UP)
        self._database.execute(CAUGHT_UP)


_NAMES: Final = (
    "number", "line", "key", "hash", "state", "outcome", "code", "status", "reason", "remote_id",
    "attempts", "at", "body",
)  # fmt: skip


def _json(values: object) -> str:
    return orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS).decode()


def _values(mark: Mark) -> tuple[Any, ...]:
    return (
        mark.number, mark.state, mark.at, mark.outcome, mark.code, mark.status, mark.reason,
        mark.remote_id, mark.sent,
    )  # fmt: skip
