"""Reading a journal: the facts, counts and rows of a job, also while another process runs the job."""

import sqlite3
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, Final, TypeAlias

from attrs import frozen

from sunshine_async.journal import sql
from sunshine_async.journal.database import JournalError, JournalFile, is_locked
from sunshine_async.journal.rows import State

PAGE: Final = 500
STATES: Final[Mapping[int, State]] = {int(state): state for state in State}
_TIMEOUT: Final = 5.0  # seconds to wait while a job creates the tables, or moves rows
_PAUSE: Final = 0.01  # seconds
Found: TypeAlias = dict[str, Any]
"""A row with all columns, by name."""


@frozen
class JournalReport:
    """The rows of a journal, counted."""

    states: Counter[State]
    outcomes: Counter[str]
    """Rows that are done, by outcome."""
    codes: Mapping[str, tuple[int, str]]
    """Rows that weren't done, by code: the number, and a line with a reason as an example."""


class JournalQueries(ABC):
    """The reads of a journal that need no right to write."""

    dialect: ClassVar[sql.Dialect] = sql.SQLITE

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the journal in messages and commands: a path, or a URL without a password."""

    @abstractmethod
    def close(self) -> None:
        """Close the journal."""

    @property
    def note(self) -> str | None:
        """A note about the journal for its readers, if any."""
        return None

    @property
    def running(self) -> bool:
        """True while another process has the journal for a job."""
        return False

    @abstractmethod
    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows that *query* finds: for several journals read as one, the rows of each."""

    def about(self) -> dict[str, str]:
        """Return the facts about the job."""
        return dict(self._fetch_all("SELECT name, value FROM about"))

    def report(self) -> JournalReport:
        """Count the rows by state, by outcome and by code."""
        states: Counter[State] = Counter()
        outcomes: Counter[str] = Counter()
        for (state, outcome), count in self.counts().items():
            states[state] += count
            if outcome:
                outcomes[outcome] += count
        return JournalReport(states, outcomes, self.codes())

    def counts(self) -> dict[tuple[State, str | None], int]:
        """Return the number of rows by state and outcome."""
        counts: Counter[tuple[State, str | None]] = Counter()
        for number, outcome, count in self._fetch_all(sql.COUNT_STATES):
            counts[STATES[number], outcome] += count
        return counts

    def codes(self) -> dict[str, tuple[int, str]]:
        """Return the number of rows not done by code, with an example: a line and a reason.

        The most frequent code comes first.
        """
        found: dict[str, tuple[int, str]] = {}
        for code, count, example in self._fetch_all(sql.COUNT_CODES):
            before, first = found.get(code, (0, example))
            found[code] = before + count, first
        return dict(sorted(found.items(), key=lambda each: each[1][0], reverse=True))

    def timelines(self) -> list[str]:
        """Return the timelines of the last sessions, in order; none of a release without timelines."""
        [[known]] = self._fetch_all(self.dialect.has_timelines)
        return [text for (text,) in self._fetch_all(sql.SELECT_TIMELINES)] if known else []

    def pulse(self, parts: int) -> tuple[float, float, list[int]]:
        """Return the times of the first and the last outcome, and the outcomes in each part between."""
        query = "SELECT min(at), max(at) FROM rows WHERE state IN (2, 3, 4)"
        bounds = [found for found in self._fetch_all(query) if None not in found]
        if not bounds:
            return 0.0, 0.0, []
        first, last = min(bounds)[0], max(last for _, last in bounds)
        width = (last - first) / parts or 1.0
        filled: Counter[int] = Counter()
        for part, count in self._fetch_all(self.dialect.pulse, (first, width, parts - 1)):
            filled[part] += count
        return first, last, [filled.get(part, 0) for part in range(parts)]

    def rows(self, *states: State) -> Iterator[Found]:
        """Yield all rows, or the rows in *states*, in the order of the source, a page at a time."""
        return read_pages(self._fetch_all, states)


class JournalReader(JournalFile, JournalQueries):
    """The journal at *path*, read only: while a job runs, after a kill, and after the end.

    Each method is a short read of its own, on a connection of its own, so that a job can move rows
    between the journal's files, and can begin at any time. The file isn't changed. Methods raise
    `JournalError` for a file that is no journal, is damaged, or can't be read.
    """

    REASONS: ClassVar[Mapping[str, str]] = {
        **sql.ERROR_REASONS,
        "unable to open": (
            "can't be opened: a look at a journal that was killed needs a directory that you may "
            "write to. Copy the journal to such a directory (sunshine-async job copy), and look at "
            "the copy"
        ),
    }

    @property
    def running(self) -> bool:
        """True while a process has the journal for a job."""
        return is_locked(self.path)

    def close(self) -> None:
        """Close nothing: between two reads nothing is open."""

    def _check_place(self) -> None:
        super()._check_place()
        latest = time.monotonic() + _TIMEOUT
        with self._system_errors():
            while not self._real.stat().st_size and self.running and time.monotonic() < latest:
                time.sleep(_PAUSE)  # a job has just created the file

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        self._check_place()
        with self._system_errors():
            before = self._stamp()
            if before is not None:
                try:
                    found = self._read(query, values, "&immutable=1")  # leaves no files of SQLite
                except JournalError:
                    if self._stamp() == before:
                        raise
                else:
                    if self._stamp() == before:
                        return found
            return self._read(query, values)

    def _read(self, query: str, values: Sequence[Any], mode: str = "") -> list[Any]:
        uri = f"{self._real.as_uri()}?mode=ro{mode}"
        with (
            self._translated_errors(),
            closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT)) as database,
        ):
            self._check_kind(database)
            return database.execute(query, values).fetchall()

    def _stamp(self) -> tuple[int, int, int] | None:
        """Return the identity of the main file, or None if another file has rows, or may get rows."""
        if self._wal.exists() or self.running:
            return None
        found = self._real.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns


def read_pages(
    fetch_all: Callable[[str, Sequence[Any]], list[Any]],
    states: Iterable[State],
    *,
    page_size: int = PAGE,
) -> Iterator[Found]:
    """Yield the rows of a journal in *states*, or all rows, in the order of the source."""
    chosen = state_list(states or [*State])
    query = f"{sql.SELECT_ROWS} WHERE number > ? AND state IN ({chosen}) ORDER BY number LIMIT ?"
    after = 0
    while page := fetch_all(query, (after, page_size)):
        for row in page:
            yield dict(zip(sql.ROW_COLUMNS, row, strict=True))
        after = page[-1][0]


def state_list(states: Iterable[State]) -> str:
    """Return *states* as a list in SQL."""
    return ", ".join(str(int(state)) for state in states)
