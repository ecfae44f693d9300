"""Match the rows of a source that can be read once to the rows of a journal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, Protocol

from attrs import frozen

from sunshine_async.journal.database import JournalError
from sunshine_async.journal.rows import PENDING, JournalRow, Rules, SourceRow, State
from sunshine_async.journal.sql import CERTAINTY, CREATED, CREATED_TEXTS, UNKNOWN_TEXTS, USER_DOUBT

_SELECT: Final = """SELECT number, state, remote_id, session, hash, doubt, code,
    {doubt} AS user_doubt FROM rows WHERE {where} ORDER BY {order}"""
_LAST_FIRST: Final = "session DESC, number DESC"
_FIRST: Final = "session, number LIMIT 1"
_BY_KEY: Final = "key = ?"
_BY_BODY: Final = "key || '' = ? AND hash = ?"  # no index of keys: rows with this hash are fewer
_BY_LINE: Final = "key IS NULL AND line = ?"
_BY_CERTAINTY: Final = f"key IS NULL AND hash = ? AND {CERTAINTY} = ? AND session < ?"
_LAST_NUMBER: Final = "SELECT coalesce(max(number), 0) FROM rows WHERE key = ? AND session = ?"
_SELECT_CREATED: Final = (
    "SELECT number, state, remote_id FROM made WHERE hash = ? ORDER BY state LIMIT 1"
)
_HAS_ALIAS: Final = """SELECT
    EXISTS (SELECT 1 FROM users WHERE remote_id = ? AND key <> ?)
    OR EXISTS (SELECT 1 FROM rows WHERE remote_id = ? AND key <> ?)
    OR EXISTS (SELECT 1 FROM users WHERE doubt <> 0 AND remote_id IS NULL)
    OR EXISTS (SELECT 1 FROM rows WHERE remote_id IS NULL AND (doubt <> 0 OR state IN (0, 1))
        AND session = ?)
    OR EXISTS (SELECT 1 FROM rows WHERE remote_id IS NULL AND doubt <> 0
        AND state <> 6 AND session < ? AND +number < ?)"""
"""True if another key has the id of a user, or may get that id, or was before a row in doubt that had
no id when an earlier session was cut off. The ``+`` keeps the index of sessions in use."""
_NO_ROW: Final = 2**63 - 1  # greater than all numbers of rows
_SET_ROW: Final = """UPDATE rows SET state = ?, outcome = ?, code = ?, reason = ?, remote_id = ?,
    doubt = ?, session = ? WHERE number = ?"""
_SET_SESSION: Final = """UPDATE rows SET state = ?, session = ?,
    doubt = CASE WHEN ? THEN 1 ELSE doubt END WHERE number = ?"""
_CAME_SINGLY: Final = """number >
    coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'ahead'), 0)"""
_SET_LINE: Final = f"UPDATE rows SET line = ? WHERE number = ? AND {_CAME_SINGLY}"  # noqa: S608
_SUPERSEDE: Final = f"""UPDATE rows SET state = 6, reason = 'line ' || ? WHERE key = ? AND session < ?
    AND state IN (0, 1) AND {_CAME_SINGLY}"""  # noqa: S608 - own names
_APPLIED, _UNCERTAIN, _NOT_APPLIED = 0, 1, 2  # values of `CERTAINTY`
_UNFINISHED: Final = (State.WAITING, State.BEGUN, State.FAILED, State.UNKNOWN)
_ROWS_CHANGED: Final = (
    "row {}: the row has no key, and the rows are not the rows of the last run, so this user, or "
    "message, can't be told from those that this journal has created, or sent. If the rows are the "
    "same, corrected, accept the changed source (--accept-changed-source): rows without a key are "
    "then matched by body and count. For new people, or new messages, use another journal"
)


class Database(Protocol):
    """A connection to SQLite or PostgreSQL, within a transaction."""

    def execute(self, query: str, values: Sequence[Any] = ..., /) -> Any:
        """Execute *query*, with a ``?`` for each of *values*; return the cursor."""


class _StoredRow(NamedTuple):
    """A row of the journal, with the result of `USER_DOUBT`."""

    number: int
    state: int
    remote_id: str | None
    session: int
    hash: bytes
    doubt: int
    code: str | None
    user_doubt: int | None

    @property
    def is_applied(self) -> bool:
        """True if the service has done the row, or may have."""
        return self.state == State.DONE or self.doubt != 0


class _UserState(NamedTuple):
    """State of a user, as far as the journal knows: *doubt* as in the table of users."""

    hash: bytes | None = None
    doubt: int = 0
    remote_id: str | None = None
    row: _StoredRow | None = None
    """The row that gave, or will give, the user this state."""


@frozen
class RowMatcher:
    """Match rows of a *session*: find each row in the journal, or add the row as *rules* say.

    Rows in *states* are sent. The rows of a user are sent in the order of numbers within a
    session. A row with the number of this session was matched, or written, in this session.
    """

    database: Database
    insert: Callable[[Sequence[SourceRow]], int]
    """Inserts rows; returns the number of the last row."""
    session: int
    rules: Rules
    states: Sequence[State]

    def match_row(self, line: SourceRow) -> JournalRow | None:
        """Return the row of *line*; None for a row already matched in this session, or to be left."""
        if line.key is None:
            return self._match_without_key(line)
        user = self._user_state(line.key)
        return self._match_change(line, user) if self.rules.differ else self._match_same(line, user)

    def _match_change(self, line: SourceRow, user: _UserState) -> JournalRow | None:
        """Match a body that is sent unless the user has, or will have, the same body."""
        row = user.row
        if user.hash == line.hash and not user.doubt and not self._has_alias(line.key, user):
            if row is not None:
                return self._take_over(row)
            if self.rules.skips:
                return self._insert(line, user, State.DONE, outcome="unchanged")
        uncertain = bool(user.doubt and (row is None or row.session < self.session))
        [[last]] = self.database.execute(_LAST_NUMBER, (line.key, self.session))
        for same in self._select(_BY_BODY, line.key, line.hash):
            if same.state in _UNFINISHED and same.number > last:
                is_sent = same.state in PENDING or same.state in self.states
                if is_sent or row is None or row is same:
                    return self._take_over(same, uncertain=uncertain)
        return self._insert(line, user, State.BEGUN if uncertain else State.WAITING)

    def _match_same(self, line: SourceRow, user: _UserState) -> JournalRow | None:
        """Match a body that is the same row however often the body comes."""
        same = self._select(_BY_BODY, line.key, line.hash)
        row = next((row for row in same if row.state != State.LEFT_OUT), None)
        if row is not None:
            is_left = row.code == CREATED and self.rules.skips
            return None if is_left else self._take_over(row)
        in_session = user.row is not None and user.row.session == self.session
        if self.rules.once and user.hash is not None and not in_session:
            return self._insert_created(line, user)
        return self._insert(line, user, State.WAITING)

    def _insert_created(self, line: SourceRow, user: _UserState) -> JournalRow:
        """Add the row of a user that an earlier row has created, or may have created."""
        if not self.rules.skips:
            return self._insert(line, user, State.BEGUN if user.doubt else State.WAITING)
        if user.doubt == 1:
            return self._insert(line, user, State.BEGUN)
        if user.doubt:
            return self._insert(line, user, State.UNKNOWN, *UNKNOWN_TEXTS)
        if user.hash == line.hash:
            return self._insert(line, user, State.DONE, outcome="unchanged")
        return self._insert(line, user, State.FAILED, *CREATED_TEXTS)

    def _match_without_key(self, line: SourceRow) -> JournalRow | None:
        """Match a row by body and count: a row that may have been applied comes before all others.

        So a session sends no more rows of a body than the source has beyond those that may have been
        applied. The lines tell only if the source is another.
        """
        at_line = [*self._select(_BY_LINE, line.line)]
        unmatched = [row for row in at_line if row.session < self.session]
        same = [row for row in unmatched if row.hash == line.hash]
        if line.reason is not None:
            return self._take_over(same[0]) if same else self._insert(line, _UserState(), State.BAD)
        row = next((row for row in same if row.state == State.DONE), None)
        row = row or self._first(line, _APPLIED) or self._first(line, _UNCERTAIN)
        is_same = any(other.hash == line.hash for other in at_line)
        if self.rules.once and self.rules.skips:
            created = self.database.execute(_SELECT_CREATED, (line.hash,)).fetchone()
            is_known = row or created or any(other.is_applied for other in unmatched)
            if is_known and not is_same and not self.rules.by_count:
                raise JournalError(_ROWS_CHANGED.format(line.line))
            if row is None and created is not None:
                return self._insert_counted(line, *created)
        row = row or self._first(line, _NOT_APPLIED)
        if row is None:
            return self._insert(line, _UserState(), State.WAITING)
        if not is_same:
            self.database.execute(_SET_LINE, (line.line, row.number))
        return self._take_over(row)

    def _first(self, line: SourceRow, certainty: int) -> _StoredRow | None:
        """Return the first unmatched row of *certainty* with the body of *line*, without a key."""
        values = (line.hash, certainty, self.session)
        return next(self._select(_BY_CERTAINTY, *values, order=_FIRST), None)

    def _insert_counted(
        self, line: SourceRow, number: int, state: int, remote_id: str | None
    ) -> JournalRow:
        """Add the row of a user without a key whom an earlier source has created, or may have."""
        self.database.execute("DELETE FROM made WHERE number = ?", (number,))
        doubt = 0 if state == State.DONE else 2
        return self._insert_created(line, _UserState(line.hash, doubt, remote_id))

    def _has_alias(self, key: str | None, user: _UserState) -> bool:
        """Return True if a row with another key may have changed the *user* since, or will."""
        if not self.rules.aliased:
            return False
        in_session = user.row is not None and user.row.session == self.session
        if in_session or user.remote_id is None:
            return True
        number = _NO_ROW if user.row is None else user.row.number
        values = (*(user.remote_id, key) * 2, self.session, self.session, number)
        [[found]] = self.database.execute(_HAS_ALIAS, values)
        return bool(found)

    def _select(self, where: str, *values: Any, order: str = _LAST_FIRST) -> Iterator[_StoredRow]:
        """Yield rows; by default the row last sent or matched comes first."""
        doubt = USER_DOUBT.format(marked=int(self.rules.marked))
        query = _SELECT.format(where=where, order=order, doubt=doubt)
        with closing(self.database.execute(query, values)) as found:
            yield from map(_StoredRow._make, found)

    def _user_state(self, key: str) -> _UserState:
        """Return the state of the user after the rows of this session are sent."""
        remote_id: str | None = None
        found = self.database.execute("SELECT * FROM users WHERE key = ?", (key,)).fetchone()
        _, body_hash, doubt, known_id = found or (key, None, 0, None)
        for row in self._select(_BY_KEY, key):
            remote_id = remote_id or row.remote_id
            is_sent = row.session == self.session and row.state in self.states
            row_doubt = 0 if is_sent else row.user_doubt
            if row_doubt is not None:
                return _UserState(row.hash, row_doubt, remote_id or known_id, row)
        return _UserState(body_hash, doubt, remote_id or known_id)

    def _take_over(self, row: _StoredRow, *, uncertain: bool = False) -> JournalRow | None:
        """Move *row* to this session, as begun if *uncertain*; return None if this session has the row."""
        if row.session == self.session:
            return None
        is_begun = uncertain and row.state == State.WAITING
        state = State.BEGUN if is_begun else State(row.state)
        self.database.execute(_SET_SESSION, (state, self.session, uncertain, row.number))
        return JournalRow(row.number, state, row.remote_id)

    def _insert(
        self,
        line: SourceRow,
        user: _UserState,
        state: State,
        code: str | None = None,
        reason: str | None = None,
        *,
        outcome: str | None = None,
    ) -> JournalRow:
        """Add a row, instead of waiting rows of the same user from earlier sessions."""
        if line.key is not None and self.rules.differ:
            self.database.execute(_SUPERSEDE, (str(line.line), line.key, self.session))
        number = self.insert([line])
        if state is State.BAD:
            code, reason = "bad row", line.reason
        doubt = int(state in (State.BEGUN, State.UNKNOWN))
        values = (state, outcome, code, reason, user.remote_id, doubt, self.session, number)
        self.database.execute(_SET_ROW, values)
        return JournalRow(number, state, user.remote_id, code=code, reason=reason)
