"""Rows that come one after another, from a source that can be read once: which of them a journal has.

The rows of another source, which take the place of those before.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from typing import Any, Final, NamedTuple, cast

from attrs import frozen

from sunshine_async.journal.disk import JournalError
from sunshine_async.journal.rows import PENDING, JournalRow, Rules, SourceRow, State
from sunshine_async.journal.sql import (
    ADD,
    ADDED,
    ALONE,
    ALREADY,
    BY_ID,
    CREATED,
    DOUBTED,
    IDENTIFY,
    INDEX,
    KEEP_MADE,
    LEAVE_OUT,
    NEW,
    PAIR,
    PAIRED,
    PAIRED_OFF,
    PERHAPS,
    REFUSE,
    REMEMBER,
    REPLACE,
    STILL_UNKNOWN,
    TAKE_OVER,
    UNCHANGED,
    UNTOLD,
    WHICH,
    WITH_ANOTHER,
)

_KNOWN: Final = """SELECT number, state, remote_id, session, hash, doubt, code FROM rows
    WHERE {where} ORDER BY session DESC, number DESC"""
_BY_KEY: Final = "key = ?"
_BY_BODY: Final = "+key = ? AND hash = ?"  # the plus: rows with this hash are fewer
_BY_LINE: Final = "key IS NULL AND line = ?"
_LAST: Final = "SELECT coalesce(max(number), 0) FROM rows WHERE key = ? AND session = ?"
_TWIN: Final = """SELECT number, state, remote_id, session, hash, doubt, code FROM rows
    WHERE key IS NULL AND hash = ? AND session < ? AND (state = 2 OR doubt)
    ORDER BY state = 2 DESC, number LIMIT 1"""
_MADE: Final = "SELECT number, state, remote_id FROM made WHERE hash = ? ORDER BY state LIMIT 1"
_ALIAS: Final = """SELECT
    EXISTS (SELECT 1 FROM users WHERE remote_id = :id AND key <> :key)
    OR EXISTS (SELECT 1 FROM rows WHERE remote_id = :id AND key <> :key)
    OR EXISTS (SELECT 1 FROM users WHERE doubt AND remote_id IS NULL)
    OR EXISTS (SELECT 1 FROM rows WHERE remote_id IS NULL AND (doubt OR state IN (0, 1))
        AND session = :session)"""
"""Whether another key has, or may get, the id of a user."""
_SET: Final = """UPDATE rows SET state = ?, outcome = ?, code = ?, reason = ?, remote_id = ?,
    doubt = ?, session = ? WHERE number = ?"""
_MEET: Final = "UPDATE rows SET state = ?, session = ?, doubt = max(doubt, ?) WHERE number = ?"
_SUPERSEDE: Final = """UPDATE rows SET state = 6, reason = 'line ' || ? WHERE key = ? AND session < ?
    AND state IN (0, 1) AND number >
    coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'ahead'), 0)"""
_FRESH: Final = (State.WAITING, State.BEGUN, State.FAILED, State.UNKNOWN)
"""States in which a row may be met again as the last of its user."""
_SHIFTED: Final = (
    "row {}: its user has no key, so it can't be told from those that this journal has created, "
    "and the rows are not the ones of before. If they are the same people, corrected, accept the "
    "changed source (--accept-changed-source): then rows count as created by body and count. "
    "For new people use another journal"
)


class _Found(NamedTuple):
    """A row as it stands."""

    number: int
    state: int
    remote_id: str | None
    session: int
    hash: bytes
    doubt: int
    code: str | None


class _User(NamedTuple):
    """What is there of a user, as far as the journal knows: *doubt* as in the table of users."""

    hash: bytes | None = None
    doubt: int = 0
    remote_id: str | None = None
    row: _Found | None = None
    """The row that brought it there, or will."""


@frozen
class RowMatcher:
    """The rows of one *session*: each is found again, or added in the state that the *rules* give.

    Of one user the rows are sent in the order of their numbers within a session. Rows in *states*
    are sent.
    """

    database: sqlite3.Connection
    session: int
    rules: Rules
    states: Sequence[State]

    def met(self, line: SourceRow) -> JournalRow | None:
        """Return the row of *line*, or None for one that this session has met already, or that stays."""
        if line.key is None:
            return self._without_key(line)
        user = self._user(line.key)
        return self._in_turn(line, user) if self.rules.differ else self._one(line, user)

    def _in_turn(self, line: SourceRow, user: _User) -> JournalRow | None:
        """Return the row of a body that is sent unless it is what its user has, or will have."""
        row = user.row
        if user.hash == line.hash and not user.doubt and not self._aliased(line.key, user):
            if row is not None:
                return None if row.session == self.session else self._again(row)
            if self.rules.skips:
                return self._added(line, user, State.DONE, outcome="unchanged")
        doubted = user.doubt and (row is None or row.session < self.session)
        [[last]] = self.database.execute(_LAST, (line.key, self.session))
        for one in self._rows(_BY_BODY, line.key, line.hash):
            if one.state in _FRESH and one.number > last:
                waits = one.state in PENDING or one.state in self.states
                if waits or row is None or row is one:
                    return self._again(one, doubted=bool(doubted))
        return self._added(line, user, State.BEGUN if doubted else State.WAITING)

    def _one(self, line: SourceRow, user: _User) -> JournalRow | None:
        """Return the row of a body that is the same row whenever it comes."""
        same = self._rows(_BY_BODY, line.key, line.hash)
        row = next((row for row in same if row.state != State.LEFT_OUT), None)
        if row is not None:
            stays = row.code == CREATED and self.rules.skips
            return None if stays or row.session == self.session else self._again(row)
        comes = user.row is not None and user.row.session == self.session
        if self.rules.once and user.hash is not None and not comes:
            return self._made_before(line, user)
        return self._added(line, user, State.WAITING)

    def _made_before(self, line: SourceRow, user: _User) -> JournalRow:
        """Add the row of a user who was created with a row of before, or may have been."""
        if user.doubt == 1 or (user.doubt and not self.rules.skips):
            return self._added(line, user, State.BEGUN)
        if user.doubt:
            return self._added(line, user, State.UNKNOWN, code=UNTOLD, reason=PERHAPS)
        if not self.rules.skips:
            return self._added(line, user, State.WAITING)
        if user.hash == line.hash:
            return self._added(line, user, State.DONE, outcome="unchanged")
        return self._added(line, user, State.FAILED, code=CREATED, reason=WITH_ANOTHER)

    def _without_key(self, line: SourceRow) -> JournalRow | None:
        """Return the row at the place of *line*, or with its body where rows are told by count."""
        rows = [*self._rows(_BY_LINE, line.line)]
        for row in rows:
            if row.hash == line.hash and row.state != State.LEFT_OUT:
                return None if row.session == self.session else self._again(row)
        user = _User()
        if line.reason is not None or not (self.rules.once and self.rules.skips):
            return self._added(line, user, State.BAD if line.reason else State.WAITING)
        twin = self.database.execute(_TWIN, (line.hash, self.session)).fetchone()
        made = self.database.execute(_MADE, (line.hash,)).fetchone()
        if not self.rules.by_count:
            others = [row for row in rows if row.state == State.DONE or row.doubt]
            if twin or made or others:
                raise JournalError(_SHIFTED.format(line.line))
        if twin:
            return self._again(_Found._make(twin))
        if made is None:
            return self._added(line, user, State.WAITING)
        number, state, remote_id = made
        self.database.execute("DELETE FROM made WHERE number = ?", (number,))
        user = _User(line.hash, remote_id=remote_id)
        if state == State.DONE:
            return self._added(line, user, State.DONE, outcome="unchanged")
        return self._added(line, user, State.UNKNOWN, code=UNTOLD, reason=PERHAPS)

    def _aliased(self, key: str | None, user: _User) -> bool:
        """Return whether a row with another key may have changed the *user* since, or will."""
        if not self.rules.aliased:
            return False
        comes = user.row is not None and user.row.session == self.session
        if comes or user.remote_id is None:
            return True
        values = {"key": key, "id": user.remote_id, "session": self.session}
        [[found]] = self.database.execute(_ALIAS, values)
        return bool(found)

    def _rows(self, where: str, *values: Any) -> Iterator[_Found]:
        """Yield rows, the last that was sent, or met, first."""
        with closing(self.database.execute(_KNOWN.format(where=where), values)) as found:
            yield from map(_Found._make, found)

    def _user(self, key: str) -> _User:
        """Return what the user has, or will have once the rows of this session are sent."""
        remote_id: str | None = None
        found = self.database.execute("SELECT * FROM users WHERE key = ?", (key,)).fetchone()
        _, hashed, doubt, known = found or (key, None, 0, None)
        for row in self._rows(_BY_KEY, key):
            remote_id = remote_id or row.remote_id
            comes = row.session == self.session and row.state in self.states
            if comes or row.state == State.DONE:
                return _User(row.hash, 0, remote_id or known, row)
            if row.doubt or (row.state == State.WAITING and not self.rules.marked):
                doubt = 2 if row.state == State.UNKNOWN else 1
                return _User(row.hash, doubt, remote_id or known, row)
        return _User(hashed, doubt, remote_id or known)

    def _again(self, row: _Found, *, doubted: bool = False) -> JournalRow:
        """Return a row that is met again; it has begun where its user is *doubted*."""
        state = State(row.state)
        if doubted and state is State.WAITING:
            state = State.BEGUN
        self.database.execute(_MEET, (state, self.session, doubted, row.number))
        return JournalRow(row.number, state, row.remote_id)

    def _added(
        self,
        line: SourceRow,
        user: _User,
        state: State,
        *,
        outcome: str | None = None,
        code: str | None = None,
        reason: str | None = None,
    ) -> JournalRow:
        """Add a row, in the place of those that earlier sessions have left waiting."""
        if line.key is not None and self.rules.differ:
            self.database.execute(_SUPERSEDE, (str(line.line), line.key, self.session))
        number = add(self.database, [line])
        if state is State.BAD:
            code, reason = "bad row", line.reason
        doubt = state in (State.BEGUN, State.UNKNOWN)
        values = (state, outcome, code, reason, user.remote_id, doubt, self.session, number)
        self.database.execute(_SET, values)
        return JournalRow(number, state, user.remote_id, code=code, reason=reason)


def add(database: sqlite3.Connection, lines: Sequence[SourceRow], *, into: str = "rows") -> int:
    """Add rows, and return the number of the last."""
    values: list[Any] = [
        value for line in lines for value in (line.line, line.key, line.hash, line.body)
    ]
    last = cast("int", database.execute(_statement(into, len(lines)), values).lastrowid)
    for place, line in enumerate(lines, last - len(lines) + 1):
        if line.reason is not None:
            database.execute(REFUSE.format(into=into), (line.reason, place))
    return last


@cache
def _statement(into: str, many: int) -> str:
    return ADD.format(into=into, rows=", ".join([ADDED] * many))


def take(database: sqlite3.Connection, rules: Rules, *, keep: str | None, going_on: bool) -> None:
    """Let the rows that were read be the rows, each in the state that the *rules* give.

    First the state of each user after the rows before is kept. Rows that are left out are out
    before any other is compared with the state of its user.
    """
    database.execute(REMEMBER, (not rules.marked,))
    database.execute(KEEP_MADE)
    if keep is not None:
        database.execute(LEAVE_OUT.format(which=WHICH[keep]))
    if going_on:
        database.execute(INDEX)
        database.execute(TAKE_OVER, (not rules.aliased,))
    if rules.skips and rules.aliased:
        database.execute(BY_ID)
    if rules.skips:
        statement = ALONE if rules.aliased else UNCHANGED
        database.execute(statement.format(**NEW), (rules.once,))
    if rules.skips and rules.once:
        database.execute(ALREADY.format(**NEW), (CREATED, WITH_ANOTHER))
        database.execute(STILL_UNKNOWN, (UNTOLD, PERHAPS))
        database.execute(PAIR)
        database.execute(PAIRED, (UNTOLD, PERHAPS))
        for statement in PAIRED_OFF:
            database.execute(statement)
    for statement in (DOUBTED, IDENTIFY, *REPLACE):
        database.execute(statement)
