"""Reading a journal: the facts, counts and rows of a job, also while another process runs the job."""

import os
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from attrs import frozen

from sunshine_async.journal import sql
from sunshine_async.journal.database import JournalDatabase, JournalError, is_locked
from sunshine_async.journal.rows import State

PAGE: Final = 500
STATES: Final[Mapping[int, State]] = {int(state): state for state in State}
_TIMEOUT: Final = 5.0  # seconds to wait while the job moves rows to the main file
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

    @abstractmethod
    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return all rows that *query* finds."""

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
        query = sql.COUNT_STATES
        for number, outcome, count in self._fetch_all(query):
            counts[STATES.get(number, State.UNKNOWN), outcome] += count
        return counts

    def codes(self) -> dict[str, tuple[int, str]]:
        """Return the number of rows not done by code, with an example: a line and a reason."""
        found = self._fetch_all(
            "SELECT code, count(*), min(line || ': ' || reason) FROM rows "
            "WHERE state IN (3, 4, 5) GROUP BY code ORDER BY 2 DESC"
        )
        return {code: (count, example) for code, count, example in found}

    def timelines(self) -> list[str]:
        """Return the timelines of the last sessions, in order; none of a release without timelines."""
        [[known]] = self._fetch_all(self.dialect.has_timelines)
        return [text for (text,) in self._fetch_all(sql.SELECT_TIMELINES)] if known else []

    def pulse(self, parts: int) -> tuple[float, float, list[int]]:
        """Return the times of the first and the last outcome, and the outcomes in each part between."""
        query = "SELECT min(at), max(at) FROM rows WHERE state IN (2, 3, 4)"
        [[first, last]] = self._fetch_all(query)
        if first is None:
            return 0.0, 0.0, []
        width = (last - first) / parts or 1.0
        filled = dict(self._fetch_all(self.dialect.pulse, (first, width, parts - 1)))
        return first, last, [filled.get(part, 0) for part in range(parts)]

    def rows(self, *states: State) -> Iterator[Found]:
        """Yield all rows, or the rows in *states*, in the order of the source, a page at a time."""
        chosen = state_list(states or [*State])
        query = (
            f"{sql.SELECT_ROWS} WHERE number > ? AND state IN ({chosen}) ORDER BY number LIMIT ?"
        )
        after = 0
        while page := self._fetch_all(query, (after, PAGE)):
            for row in page:
                yield dict(zip(sql.ROW_COLUMNS, row, strict=True))
            after = page[-1][0]


class JournalReader(JournalQueries):
    """The journal at *path*, read only: also while a job runs, and after a kill.

    Each method is a short read of its own, on a connection of its own, so that the job can move
    rows between the journal's files. The file isn't changed. Methods raise `JournalError` for a
    file that is no journal, is damaged, or can't be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._uri: Final = f"{Path(os.path.realpath(path)).as_uri()}?mode=ro"

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def running(self) -> bool:
        """True while a process has the journal for a job."""
        return is_locked(self.path)

    def close(self) -> None:
        """Close nothing: between two reads nothing is open."""

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with closing(sqlite3.connect(self._uri, uri=True, timeout=_TIMEOUT)) as database:
                [application] = database.execute("PRAGMA application_id").fetchone()
                if application == JournalDatabase.APPLICATION:
                    return database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            reason = f"can't be read: {error}"
        else:
            reason = sql.NOT_A_JOURNAL
        message = f"{self.path} {reason}"
        raise JournalError(message)


def state_list(states: Iterable[State]) -> str:
    """Return *states* as a list in SQL."""
    return ", ".join(str(int(state)) for state in states)
