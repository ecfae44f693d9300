"""Rows that come one after another, from what can be read once: which of them a journal has."""

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple, cast

from attrs import frozen

from sunshine_async.journal.row import PENDING, Kept, Line, State
from sunshine_async.journal.statements import ADD, ADDED, KNOWN, MEET, REFUSE, SUPERSEDE

_IN_DOUBT: Final = (State.BEGUN, State.UNKNOWN)


class _Found(NamedTuple):
    """A row as it stands."""

    number: int
    state: int
    remote_id: str | None
    session: int
    """The last that has met it; 0, or its negative, where it is of a file."""
    hash: bytes
    attempts: int


@frozen
class Meeting:
    """The rows of one *session*; *then* is done with each that is new, where it waits.

    Where *bodies_differ* a body counts only as the last of its user: one that came before another is
    sent again. Else it is the same row whenever it comes.
    """

    database: sqlite3.Connection
    session: int
    then: Sequence[str]
    bodies_differ: bool

    def met(self, line: Line) -> Kept | None:
        """Return the row of *line*, or None for one that this session has met already.

        It is known by its key and hash, or without a key by its line and hash; else it is added.
        """
        rows = self._rows(line)
        differ = self.bodies_differ and line.key is not None
        there = [
            row for row in rows if row.state != State.LEFT_OUT and (differ or row.hash == line.hash)
        ]
        known = there[-1] if there and there[-1].hash == line.hash else None
        if known is not None and abs(known.session) == self.session:
            return None
        session = -self.session if known is not None and known.session <= 0 else self.session
        known = known or self._added(line, rows if differ else [])
        state = State(known.state)
        if differ and state is State.WAITING and self._is_in_doubt(rows):
            state = State.BEGUN
        self.database.execute(MEET, (state, session, known.number))
        return Kept(known.number, state, known.remote_id)

    def _rows(self, line: Line) -> list[_Found]:
        """Return the rows with the key of *line*, or without one at its line, as they came."""
        where, whose = (
            ("key IS NULL AND line", line.line) if line.key is None else ("key", line.key)
        )
        found = self.database.execute(f"{KNOWN} {where} = ? ORDER BY number", (whose,))
        return [*map(_Found._make, found)]

    def _is_in_doubt(self, rows: Sequence[_Found]) -> bool:
        """Return whether one of *rows* may have been sent in an earlier session, and none was done since."""
        for row in reversed(rows):
            if row.state == State.DONE:
                return False
            sent = row.state in _IN_DOUBT or (row.state == State.LEFT_OUT and row.attempts)
            if sent and abs(row.session) != self.session:
                return True
        return False

    def _added(self, line: Line, others: Sequence[_Found]) -> _Found:
        """Add a row, in the place of those of *others* that earlier sessions have left."""
        number = add(self.database, [line])
        for statement in self.then:
            self.database.execute(f"{statement} AND number = ?", (number,))
        for row in others:
            if 0 < row.session < self.session and row.state in PENDING:
                self.database.execute(SUPERSEDE, (str(line.line), row.number))
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
