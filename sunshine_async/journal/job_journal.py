"""The record of a job: all changes of a journal, over the database that a subclass opens."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from sunshine_async.journal import sql
from sunshine_async.journal.lease import JournalLease
from sunshine_async.journal.reader import STATES, JournalQueries, state_list
from sunshine_async.journal.rows import Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.stream import Database, RowMatcher

T = TypeVar("T")
Statement: TypeAlias = tuple[str, Sequence[Any]]

_PAGE: Final = 500
_TIMELINES: Final = 50  # timelines that are kept: some kilobytes each
_EMPTY: Final[Mapping[Any, Any]] = {}


class JobJournal(JournalQueries):
    """The record of a job: each change is a transaction, and on the disk when the method returns.

    Any thread may call the methods. The methods raise `JournalError` for a database that can't be
    read or written; then nothing has changed.
    """

    lease: JournalLease | None = None
    """The lease that sending needs; None: the journal can't get another owner while open."""
    session: int = 0
    """Number of the session that writes now."""
    _table: str = "rows"
    """Table for new rows: ``incoming`` while another source is read."""

    @abstractmethod
    def _commit(self, work: Callable[[Database], T]) -> T:
        """Return the result of *work* in a transaction; *work* may be called several times."""

    @abstractmethod
    def _insert(self, database: Database, lines: Sequence[SourceRow], *, table: str) -> int:
        """Insert rows into *table*; return the number of the last row."""

    @abstractmethod
    def _pending(self, states: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        """Return number, state, remote id and hash of the rows that `pending` describes."""

    @abstractmethod
    def _state_statements(
        self, marks: Sequence[Update], begun: Mapping[int, str | None], done: Done
    ) -> Iterable[Statement]:
        """Return the statements that write new states of rows, in the order of `write`."""

    @abstractmethod
    def discard(self) -> None:
        """Close the journal; remove what was made for a job, if no job has used the journal."""

    def describe(self, **about: str) -> None:
        """Set facts about the job; a fact of the same name is replaced."""
        self._execute(_facts(about))

    def begin_session(self) -> int:
        """Begin another session; return the number of the session."""
        self._execute([
            (sql.COUNT_SESSION, ()),
            (sql.DELETE_LIVE, ()),
            (sql.CREATE_TIMELINES, ()),
            (sql.DELETE_OLD_TIMELINES, (_TIMELINES - 1,)),
        ])  # fmt: skip
        self.session = int(self.about()["session"])
        return self.session

    def begin(self) -> None:
        """Begin to read another source; the rows stay unchanged until `ready`."""
        self._execute((statement, ()) for statement in self.dialect.create_incoming)
        self._table = "incoming"

    def add(self, lines: Iterable[SourceRow]) -> int:
        """Add rows, as bad where a row has a reason, else as waiting; return the number of rows."""
        added = [*lines]
        if added:
            self._commit(lambda database: self._insert(database, added, table=self._table))
        return len(added)

    def index(self) -> tuple[int, list[tuple[int, int]]]:
        """Count rows read with the key of an earlier row; return the count and the first pairs of lines."""
        self._execute([(sql.INDEX_INCOMING, ())])
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
        self._execute([
            *_replace_rows(rules, keep=keep, going_on=going_on),
            (sql.DELETE_SOURCE_FACTS, ()),
            (sql.SET_READ_AHEAD, ()),
            *_facts(about),
        ])  # fmt: skip
        self._table = "rows"

    def send_again(self, states: Sequence[State]) -> None:
        """Mark done rows as begun where an earlier row of the same user, in *states*, is sent now."""
        reopen = sql.REOPEN_LATER_ROWS.format(states=state_list(states))
        self._execute([(sql.INDEX_KEYS, ()), (reopen, ())])

    def send_overtaken(self) -> None:
        """Mark rows as begun that were done before an earlier row with another key of the same user."""
        self._execute((text, ()) for text in (*sql.ALIAS_INDEXES, sql.REOPEN_OVERTAKEN))

    def judge(self) -> None:
        """Mark failed rows as unchanged or already created, where the users were created."""
        self._execute([
            (sql.MARK_UNCHANGED.format(**sql.ROWS_FAILED), (True,)),
            (sql.MARK_CREATED.format(**sql.ROWS_FAILED), sql.CREATED_TEXTS),
        ])  # fmt: skip

    def meet(
        self, lines: Sequence[SourceRow], rules: Rules, *, states: Sequence[State] = ()
    ) -> list[JournalRow | None]:
        """Match *lines* to rows of the journal; return None for each line without anything to do.

        A line is without anything to do if this session has matched the row already, or if the row
        has failed as already created. A missing row is added, in the state that the *rules* give.
        Rows in *states* are sent next. Raise `JournalError` for a row that can't be told from users
        that were created.
        """
        indexes = (*sql.MATCH_INDEXES, *(sql.ALIAS_INDEXES if rules.aliased else ()))

        def match(database: Database) -> list[JournalRow | None]:
            for statement in indexes:
                database.execute(statement)
            return self._match(database, lines, rules, states)

        return self._commit(match)

    def _match(
        self,
        database: Database,
        lines: Sequence[SourceRow],
        rules: Rules,
        states: Sequence[State],
    ) -> list[JournalRow | None]:
        """Match *lines* as `meet` says, within a transaction."""
        insert = partial(self._insert, database, table="rows")
        matcher = RowMatcher(database, insert, self.session, rules, states)
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
        found = self._pending(state_list(states), (after, until, created, sql.CREATED, many))
        return [
            JournalRow(number, STATES[state], remote_id, hashed)
            for number, state, remote_id, hashed in found
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
        as begun, with an attempt more for each. Then come *marks*, at most a single update for each
        row, and *done*.

        With `STARTED_THROUGH` in *about* all waiting rows with a key, up to that number, have
        begun. The next owner of the journal marks each such row, unless a later write has set the
        fact to ``"0"``.
        """
        statements = [*_facts(about), *self._state_statements(marks, begun, done)]
        if timeline is not None:
            statements.append((sql.SAVE_TIMELINE, (self.session, timeline)))
        self._execute(statements)

    def _execute(self, statements: Iterable[Statement]) -> None:
        """Execute *statements* in a transaction."""
        statements = [*statements]

        def execute(database: Database) -> None:
            for text, values in statements:
                database.execute(text, values)

        self._commit(execute)


def values_of(mark: Update) -> tuple[Any, ...]:
    """Return the values of *mark* for ``UPDATE_ROWS``; the last: the row may have been applied."""
    uncertain = mark.doubt or mark.state in (State.BEGUN, State.UNKNOWN)
    return (
        mark.number, int(mark.state), mark.at, mark.outcome, mark.code, mark.status, mark.reason,
        mark.remote_id, int(mark.sent), int(uncertain),
    )  # fmt: skip


def _facts(about: Mapping[str, str]) -> list[Statement]:
    return [(sql.SET_FACT, fact) for fact in about.items()]


def _replace_rows(rules: Rules, *, keep: str | None, going_on: bool) -> Iterator[Statement]:
    """Save the state of users, and leave out duplicates, before any row is compared with a user."""
    yield sql.SAVE_USERS.format(doubt=sql.USER_DOUBT.format(marked=int(rules.marked))), ()
    yield sql.SAVE_CREATED, ()
    if keep is not None:
        yield sql.LEAVE_OUT_DUPLICATES.format(which=sql.KEEP_FUNCTIONS[keep]), ()
    if going_on:
        yield sql.INDEX_KEYS, ()
        yield sql.COPY_STATES, (not rules.aliased,)
    if rules.skips and rules.aliased:
        yield sql.INDEX_USER_IDS, ()
    if rules.skips:
        statement = sql.MARK_UNCHANGED_WITHOUT_ALIAS if rules.aliased else sql.MARK_UNCHANGED
        yield statement.format(**sql.INCOMING_WAITING), (rules.once,)
    if rules.skips and rules.once:
        yield sql.MARK_CREATED.format(**sql.INCOMING_WAITING), sql.CREATED_TEXTS
        yield sql.MARK_UNKNOWN, sql.UNKNOWN_TEXTS
        yield sql.PAIR_BY_BODY, ()
        yield sql.COPY_PAIRED_STATES, sql.UNKNOWN_TEXTS
        yield from ((statement, ()) for statement in sql.DELETE_PAIRS)
    for statement in (sql.MARK_UNCERTAIN, sql.SET_REMOTE_IDS, *sql.REPLACE_ROWS):
        yield statement, ()
