"""Rows that come one after another, from what can be read once: which of them a journal has."""

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

from attrs import frozen

from sunshine_async.journal.row import PENDING, Kept, Line, State
from sunshine_async.journal.statements import ADD, ADDED, KNOWN, MEET, REFUSE, SUPERSEDE

_IN_DOUBT: Final = (State.BEGUN, State.UNKNOWN)
_SENT: Final = (State.BEGUN, State.DONE, State.UNKNOWN)
"""What a row is that may have been sent, and not refused."""


class _Found(NamedTuple):
    """A row as it stands."""

    number: int
    state: int
    remote_id: str | None
    session: int
    """The last that has met it; 0: it is of a file."""
    hash: bytes


@frozen
class Meeting:
    """The rows of one *session*; *then* is done with each that is new, where it waits."""

    database: sqlite3.Connection
    session: int
    then: Sequence[str]

    def met(self, line: Line) -> Kept | None:
        """Return the row of *line*, or None for one that this session has met just before.

        It is known by its key and hash, or without a key by its line and hash; else it is added.
        """
        rows = self._rows(line)
        here = [row for row in rows if row.session == self.session]
        others = (row for row in rows if row.session != self.session and row.hash == line.hash)
        known = next(others, None)
        if known is None and here and here[-1].hash == line.hash:
            return None
        if known is None or (line.key is not None and self._is_superseded(known, rows)):
            known = self._added(line, rows)
        self.database.execute(MEET, (self.session, known.number))
        return Kept(known.number, State(known.state), known.remote_id)

    def _rows(self, line: Line) -> list[_Found]:
        """Return the rows with the key of *line*, or without one at its line, as they came."""
        where, whose = (
            ("key IS NULL AND line", line.line) if line.key is None else ("key", line.key)
        )
        found = self.database.execute(f"{KNOWN} {where} = ? ORDER BY number", (whose,))
        return [*map(_Found._make, found)]

    def _is_superseded(self, known: _Found, rows: Sequence[_Found]) -> bool:
        """Return whether another body was sent with the key, in a session after that of *known*."""
        return any(
            row.state in _SENT
            and known.session < row.session < self.session
            and row.hash != known.hash
            for row in rows
        )

    def _added(self, line: Line, rows: Sequence[_Found]) -> _Found:
        """Add a row in the place of those of earlier sessions that have its key."""
        number = add(self.database, [line])
        before = [row for row in rows if line.key is not None and 0 < row.session < self.session]
        for row in before:
            if row.state in PENDING:
                self.database.execute(SUPERSEDE, (str(line.line), row.number))
        if any(row.state in _IN_DOUBT for row in before):
            self.database.execute("UPDATE rows SET state = 1 WHERE number = ?", (number,))
        for statement in self.then:
            self.database.execute(f"{statement} AND number = ?", (number,))
        return _Found(*self.database.execute(f"{KNOWN} number = ?", (number,)).fetchone())


def add(database: sqlite3.Connection, lines: Sequence[Line]) -> int:
    """Add rows, and return the number of the last."""
    values: list[Any] = [
        value for line in lines for value in (line.line, line.key, line.hash, line.body)
    ]
    last = cast("int", database.execute(_statement(len(lines)), values).lastrowid)
    for place, line in enumerate(lines, last - len(lines) + 1):
        if line.reason is not None:
            database.execute(REFUSE, (line.reason, place))
    return last


@cache
def _statement(many: int) -> str:
    return ADD.format(rows=", ".join([ADDED] * many))
