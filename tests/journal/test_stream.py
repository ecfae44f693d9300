"""Rows of a one-pass source without keys, against a model, in all small cases.

The model: rows with the same body are equal. As many rows of a body count as done as the journal has
done, then as many as unknown as the journal has in doubt; only the rest is sent. So there are never
more users than rows of a source, no row is lost, and no created user is created again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import combinations_with_replacement, count, product
from pathlib import Path

import pytest
from attrs import evolve, frozen
from support.journals import CREATE, load
from support.size import sized

from sunshine_async.journal import (
    PENDING,
    JobJournal,
    Journal,
    JournalError,
    JournalRow,
    Place,
    SourceRow,
    State,
    Update,
    open_journal,
)

ORDER = (State.DONE, State.UNKNOWN, State.WAITING)
"""States of rows that were applied, that may have been, and that weren't: the first match first."""
LINES = 3
BY_COUNT = evolve(CREATE, by_count=True)
AT_ONCE = 2000
"""Cases in a journal at once."""


@frozen
class Case:
    """Rows of a journal, users of the sources before, and the bodies of a source.

    Cases of different numbers have no line and no body in common.
    """

    number: int
    rows: Sequence[tuple[int, str, State]]
    """Line, body and state."""
    made: Sequence[tuple[str, State]]
    source: Sequence[str]

    def row(self, line: int, body: str) -> SourceRow:
        return SourceRow(self.number * LINES + line, None, f"{body} {self.number}".encode())

    def lines(self) -> list[SourceRow]:
        return [self.row(line, body) for line, body in enumerate(self.source)]

    def states(self, body: str) -> list[State]:
        """Return the states of the rows that the model matches with the rows of *body*."""
        kept = sorted((state for _, of, state in self.rows if of == body), key=ORDER.index)
        applied = [state for state in kept if state is not State.WAITING]
        made = [state for of, state in self.made if of == body]
        many = self.source.count(body)
        return [*applied, *made, *[State.WAITING] * many][:many]

    def is_same(self) -> bool:
        """Return True if the journal has each row of the source at its line."""
        return {*enumerate(self.source)} <= {(line, body) for line, body, _ in self.rows}

    def is_another(self) -> bool:
        """Return True if the first row of the source is at an applied row's line, or is elsewhere."""
        first, lines = self.source[0], {(line, body) for line, body, _ in self.rows}
        applied = [(line, body) for line, body, state in self.rows if state is not State.WAITING]
        is_elsewhere = first in {body for _, body in applied} | {body for body, _ in self.made}
        return (0, first) not in lines and (is_elsewhere or 0 in {line for line, _ in applied})


def cases(rows: int) -> Iterator[Case]:
    """Yield all cases with at most so many *rows* in the journal, and in the source."""
    numbers = count()
    kinds = [*product(range(LINES), "AB", ORDER)]
    for many, length in product(range(rows + 1), repeat=2):
        for kept, made, source in product(
            combinations_with_replacement(kinds, many),
            [(), (("A", State.DONE),), (("A", State.UNKNOWN),)],
            product("AB", repeat=length),
        ):
            yield Case(next(numbers), kept, made, source)


def keep(journal: JobJournal, cases: Sequence[Case]) -> None:
    """Let *journal* have the rows of *cases*, and no other."""
    for rows in (
        [(case.row(0, body), state) for case in cases for body, state in case.made],
        [(case.row(line, body), state) for case in cases for line, body, state in case.rows],
    ):
        load(journal, [], CREATE)
        journal.add([row for row, _ in rows])
        journal.write([Update(n, state, 1.0) for n, (_, state) in enumerate(rows, 1)])
    journal.begin_session()


def check(case: Case, matched: Sequence[JournalRow | None], hashes: Mapping[int, bytes]) -> None:
    """Check the rows *matched* with the source of *case* against the model; *hashes* by number."""
    found: dict[str, list[State]] = {body: [] for body in case.source}
    numbers: set[int] = set()
    for line, row in zip(case.lines(), matched, strict=True):
        assert row is not None, case
        assert hashes[row.number] == line.hash, case
        numbers.add(row.number)
        found[case.source[line.line % LINES]].append(row.state)
    assert len(numbers) == len(matched), case
    assert found == {body: case.states(body) for body in case.source}, case


@pytest.fixture
def journal(place: Place) -> Iterator[JobJournal]:
    with closing(open_journal(place)) as journal:
        yield journal


@pytest.mark.slow
def test_rows_without_keys_count(journal: JobJournal) -> None:
    """In an accepted source no row is lost, and no body is sent more often than rows are missing."""
    every = [*cases(sized(LINES, 2) if isinstance(journal, Journal) else 2)]
    for start in range(0, len(every), AT_ONCE):
        some = every[start : start + AT_ONCE]
        keep(journal, some)
        lines = [line for case in some for line in case.lines()]
        matched = iter(journal.meet(lines, BY_COUNT, states=PENDING))
        hashes = {row["number"]: row["hash"] for row in journal.rows()}
        for case in some:
            check(case, [next(matched) for _ in case.source], hashes)


def test_rows_without_keys_of_another_source(path: Path) -> None:
    """In a source that wasn't accepted rows count alike, or are refused; the same is never refused."""
    some = [case for case in cases(2) if case.source and len(case.rows) == 2][:: sized(1, 8)]
    matched: list[tuple[Case, Sequence[JournalRow | None]]] = []
    with closing(Journal(path)) as journal:
        keep(journal, some)
        for case in some:
            try:
                matched.append((case, journal.meet(case.lines(), CREATE, states=PENDING)))
            except JournalError:
                assert not case.is_same(), case
            else:
                assert not case.is_another(), case
        hashes = {row["number"]: row["hash"] for row in journal.rows()}
    for case, found in matched:
        check(case, found, hashes)


def test_a_moved_row_has_the_line_of_the_source(journal: JobJournal) -> None:
    """An accepted source isn't refused when the source comes again without a word of acceptance."""
    rows = [SourceRow(1, None, b"A"), SourceRow(2, None, b"B")]
    journal.begin_session()
    journal.meet(rows, CREATE, states=PENDING)
    journal.write([Update(1, State.DONE, 1.0), Update(2, State.FAILED, 1.0)])
    moved = [SourceRow(3 - row.line, row.key, row.hash) for row in rows]
    journal.begin_session()
    with pytest.raises(JournalError, match="row 2: the row has no key"):
        journal.meet(moved, CREATE, states=PENDING)
    for rules in (BY_COUNT, CREATE):
        journal.begin_session()
        matched = journal.meet(moved, rules, states=PENDING)
        assert [row and row.number for row in matched] == [1, 2]
        assert [(row["line"], row["hash"]) for row in journal.rows()] == [(2, b"A"), (1, b"B")]


def test_rows_of_a_file_keep_their_lines(journal: JobJournal) -> None:
    """A stream that has the rows of a file at other lines leaves the lines as the file has them."""
    load(journal, [SourceRow(1, None, b"A")], CREATE)
    journal.begin_session()
    matched = journal.meet([SourceRow(2, None, b"A")], BY_COUNT, states=PENDING)
    assert matched == [JournalRow(1, State.WAITING)]
    assert [row["line"] for row in journal.rows()] == [1]


def test_lines_that_come_twice(journal: JobJournal) -> None:
    """Rows of two files one after the other, so with the same lines, are all sent, and only once."""
    rows = [SourceRow(1, None, b"A"), SourceRow(1, None, b"B"), SourceRow(1, None, b"A")]
    for state in (State.WAITING, State.DONE):
        journal.begin_session()
        numbers: set[int] = set()
        for row in rows:
            [matched] = journal.meet([row], CREATE, states=PENDING)
            assert matched is not None
            assert matched.state is state
            numbers.add(matched.number)
            journal.write([Update(matched.number, State.DONE, 1.0)])
        assert numbers == {1, 2, 3}
