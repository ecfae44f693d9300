"""The record of a job in both databases: what was written is there, and no row is sent twice."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from support.journals import CREATE, UPSERT, lines, load, states

from sunshine_async.journal import (
    PENDING,
    REACH,
    JobJournal,
    JournalError,
    JournalRow,
    Place,
    Rules,
    SourceRow,
    State,
    Update,
    open_journal,
)

ALIASED = evolve(UPSERT, aliased=True)


@pytest.fixture
def journal(place: Place) -> Iterator[JobJournal]:
    journal = open_journal(place)
    yield journal
    journal.close()


def test_what_was_written_is_there(journal: JobJournal, place: Place) -> None:
    """Rows and what is said of the job are there when it is opened again."""
    journal.describe(mode="create", state="open")
    journal.describe(state="finished")
    journal.add([*lines("a", "b"), SourceRow(3, None, b"", reason="not JSON")])
    journal.write([Update(1, State.BEGUN, 1.0, sent=1)])
    journal.write([Update(1, State.DONE, 2.0, outcome="created", remote_id="id-1")])
    journal.close()

    again = open_journal(place, must_exist=True)
    first, second, third = again.rows()
    assert again.about() == {"mode": "create", "state": "finished"}
    assert (first["state"], first["outcome"], first["remote_id"]) == (State.DONE, "created", "id-1")
    assert (first["attempts"], first["at"]) == (1, 2.0)
    assert (second["state"], second["attempts"]) == (State.WAITING, 0)
    assert (third["state"], third["code"], third["reason"]) == (State.BAD, "bad row", "not JSON")
    assert [kept.number for kept in again.pending(0, PENDING)] == [2]
    assert again.counts() == {
        (State.WAITING, None): 1, (State.DONE, "created"): 1, (State.BAD, None): 1,
    }  # fmt: skip
    report = again.report()
    assert report.states == {State.WAITING: 1, State.DONE: 1, State.BAD: 1}
    assert report.outcomes == {"created": 1}
    assert report.codes == again.codes() == {"bad row": (1, "3: not JSON")}
    assert [row["line"] for row in again.rows(State.BAD)] == [3]
    again.close()


def test_rows_begin_together(journal: JobJournal) -> None:
    """Rows are marked as begun together; one that hasn't come to anything waits again."""
    journal.add(lines("a", "b", "c"))
    journal.write([], begun={1: None, 3: "id-3"})
    journal.write([Update(3, State.WAITING, 1.0)])
    found = [(row["state"], row["attempts"]) for row in journal.rows()]
    assert found == [(State.BEGUN, 1), (State.WAITING, 0), (State.WAITING, 1)]
    assert [kept.number for kept in journal.pending(1, PENDING, many=1)] == [2]


def test_all_up_to_one_begin(journal: JobJournal, place: Place) -> None:
    """Rows with a key count as begun up to a number; the next owner marks each of the rows."""
    journal.add([*lines("a", "b"), SourceRow(3, None, b"3"), *lines("d", "e")])
    journal.write([], about={REACH: "4"}, done={("created", 1): {1: "id-1"}})
    assert [(row["number"], row["attempts"]) for row in journal.rows(State.BEGUN)] == [
        (2, 0),
        (4, 0),
    ]
    journal.close()
    for _ in range(2):
        journal = open_journal(place)
        assert [(row["state"], row["attempts"]) for row in journal.rows()] == [
            (State.DONE, 1), (State.BEGUN, 1), (State.WAITING, 0), (State.BEGUN, 1),
            (State.WAITING, 0),
        ]  # fmt: skip
        journal.close()


@pytest.mark.parametrize("marks", [{"about": {REACH: "1"}}, {"begun": {1: None}}])
def test_a_kill_leaves_a_doubt(journal: JobJournal, place: Place, marks: Any) -> None:
    """A row that has changed since the kill has begun where it may have been sent as it was before."""
    journal.add(lines("a", "b"))
    journal.write([], **marks)
    journal.close()
    journal = open_journal(place)
    load(journal, lines("a", "b", mark=b"!"), going_on=True)
    assert states(journal) == {1: State.BEGUN, 2: State.WAITING}
    journal.close()


def test_what_was_marked_is_marked_once(journal: JobJournal, place: Place) -> None:
    """Rows that come later have nothing to do with how far those before them were marked."""
    journal.add(lines("a", "b"))
    journal.write([], about={REACH: "2"})
    journal.close()
    journal = open_journal(place)
    load(journal, lines("c", "d"))
    journal.close()
    journal = open_journal(place)
    assert set(states(journal).values()) == {State.WAITING}
    journal.close()


def test_none_begins_that_has_no_mark(journal: JobJournal, place: Place) -> None:
    """Where it was said in time that no more was sent, the others wait."""
    journal.add(lines("a", "b"))
    journal.write([Update(1, State.BEGUN, 1.0, sent=1)], about={REACH: "2"})
    journal.describe(reach="0")
    journal.close()
    journal = open_journal(place)
    assert states(journal) == {1: State.BEGUN, 2: State.WAITING}
    journal.close()


def test_what_has_changed_may_be_there(journal: JobJournal) -> None:
    """A row that has changed has begun if it may have been sent as it was before."""
    journal.add(lines(*"abcd"))
    marks = {1: State.BEGUN, 2: State.UNKNOWN, 3: State.FAILED}
    journal.write([Update(number, state, 1.0) for number, state in marks.items()])
    rows = [SourceRow(number, key, b"new") for number, key in enumerate("abcd", 1)]
    load(journal, rows, going_on=True)
    found = [State(row["state"]) for row in journal.rows()]
    assert found == [State.BEGUN, State.BEGUN, State.WAITING, State.WAITING]


def results(journal: JobJournal) -> list[tuple[Any, ...]]:
    """Return all that the journal says of the result of each row."""
    names = ("state", "outcome", "code", "status", "reason", "remote_id")
    return [tuple(row[name] for name in names) for row in journal.rows()]


def test_a_result_is_told_alone(journal: JobJournal) -> None:
    """Of a row that is done, or begins again, no more is said of before; the id of the user stays."""
    journal.add(lines(*"abc"))
    journal.write([
        Update(n, State.FAILED, 1.0, code="conflict", status=409, reason="taken", remote_id=f"id-{n}")
        for n in (1, 2, 3)
    ])  # fmt: skip
    failed = (State.FAILED, None, "conflict", 409, "taken")
    assert results(journal) == [(*failed, "id-1"), (*failed, "id-2"), (*failed, "id-3")]

    done = Update(2, State.DONE, 2.0, outcome="created")
    journal.write([done], begun={3: None}, done={("updated", 1): {1: None}})
    nothing = (None, None, None)
    assert results(journal) == [
        (State.DONE, "updated", *nothing, "id-1"),
        (State.DONE, "created", *nothing, "id-2"),
        (State.BEGUN, None, *nothing, "id-3"),
    ]

    journal.write([], begun={1: None, 2: "id-4"})
    assert results(journal)[:2] == [
        (State.BEGUN, None, *nothing, "id-1"),
        (State.BEGUN, None, *nothing, "id-4"),
    ]


def test_what_has_begun_is_still_to_be_done(journal: JobJournal) -> None:
    """A run isn't over while a row has begun: neither of a file nor of a stream."""
    load(journal, lines(*"abc"))
    journal.write([], begun={1: None}, done={("created", 1): {2: None}})
    assert journal.waiting() == 2
    load(journal, [])
    journal.begin_session()
    journal.meet(lines(*"def"), UPSERT, states=PENDING)
    journal.write([], begun={2: None}, done={("created", 1): {3: None}})
    assert journal.waiting() == 2


def test_one_write_for_all(journal: JobJournal) -> None:
    """In one write rows begin, get their marks, and are done, in this order."""
    journal.add([*lines(*"abcde"), SourceRow(6, None, b"", reason="not JSON"), *lines("g")])
    before = time.time()
    journal.write(
        [
            Update(2, State.WAITING, 1.0),
            Update(3, State.FAILED, 2.0, code="bad", status=400, reason="no", sent=1),
            Update(4, State.FAILED, 2.0, code="bad", status=400, reason="neither", sent=1),
        ],
        begun={1: None, 2: None},
        done={("created", 0): {1: "id-1"}, ("updated", 1): {5: None, 7: "id-7"}},
    )
    after = time.time()
    names = ("number", "state", "attempts", "outcome", "reason", "remote_id")
    rows = [*journal.rows()]
    assert [tuple(row[name] for name in names) for row in rows] == [
        (1, State.DONE, 1, "created", None, "id-1"),
        (2, State.WAITING, 1, None, None, None),
        (3, State.FAILED, 1, None, "no", None),
        (4, State.FAILED, 1, None, "neither", None),
        (5, State.DONE, 1, "updated", None, None),
        (6, State.BAD, 0, None, "not JSON", None),
        (7, State.DONE, 1, "updated", None, "id-7"),
    ]
    assert [row["at"] for row in rows[1:4]] == [1.0, 2.0, 2.0]
    assert all(before <= row["at"] <= after for row in rows if row["state"] is State.DONE)


def test_a_write_that_fails_leaves_nothing(journal: JobJournal) -> None:
    """What is written together is there together, or not at all."""
    journal.add(lines("a", "b"))
    nonsense: Any = object()
    with pytest.raises(JournalError):
        journal.write([], begun={1: None}, done={(nonsense, 0): {2: "id-2"}})
    assert states(journal) == {1: State.WAITING, 2: State.WAITING}


def test_rows_are_numbered_in_their_order(journal: JobJournal) -> None:
    """However many there are, and whichever of them are bad."""
    rows = [
        SourceRow(n, None, b"", reason=f"bad {n}")
        if n % 7 == 0
        else SourceRow(n, str(n), b"h", body=b"{}")
        for n in range(1, 124)
    ]
    assert journal.add(iter(rows)) == 123
    found = [(row["number"], row["line"], row["key"], row["reason"]) for row in journal.rows()]
    assert found == [(n, row.line, row.key, row.reason) for n, row in enumerate(rows, 1)]
    assert {row["body"] for row in journal.rows(State.WAITING)} == {b"{}"}


def test_what_is_pending_has_its_ids(journal: JobJournal) -> None:
    """What is still to be done comes in its order, each with the id it has, whatever is in that."""
    journal.add(lines(*"abcd"))
    ids = ["a 'quoted\" id\\", "Zoë\n\u2028", None, "d"]
    marks = zip(range(1, 5), ids, strict=True)
    journal.write([Update(n, State.BEGUN, 1.0, remote_id=remote) for n, remote in marks])
    assert [kept.remote_id for kept in journal.pending(0, PENDING)] == ids
    assert [kept.number for kept in journal.pending(1, PENDING, many=2)] == [2, 3]
    assert journal.pending(4, PENDING) == []


@pytest.mark.parametrize(
    ("keep", "left"), [("first", {1: 0, 2: 6, 3: 0, 4: 6}), ("last", {1: 6, 2: 6, 3: 0, 4: 0})]
)
def test_duplicates_are_found_ahead(journal: JobJournal, keep: str, left: dict[int, int]) -> None:
    """Of rows with one key all are left out but the first or the last, and they are named."""
    journal.begin()
    journal.add(lines("a", "a", None, "a"))
    assert journal.index() == (2, [(4, 1)])
    journal.ready({"state": "open"}, UPSERT, keep=keep)
    assert states(journal) == left
    assert journal.about() == {"state": "open", "ahead": "4"}


def test_what_is_as_it_was_accepted_is_done(journal: JobJournal) -> None:
    """The next run passes over rows whose hash was accepted last, and over no other."""
    journal.add(lines("same", "changed", "unknown", "failed", None))
    done = [Update(number, State.DONE, 1.0, remote_id=f"id-{number}") for number in (1, 2, 5)]
    journal.write([*done, Update(3, State.UNKNOWN, 1.0), Update(4, State.FAILED, 1.0)])
    load(
        journal,
        [*lines("same"), *lines("changed", mark=b"!"), *lines("unknown"), *lines("failed")],
    )
    found = {row["key"]: (row["state"], row["outcome"], row["remote_id"]) for row in journal.rows()}
    assert found == {
        "same": (State.DONE, "unchanged", "id-1"),
        "changed": (State.WAITING, None, "id-2"),
        "unknown": (State.BEGUN, None, None),
        "failed": (State.WAITING, None, None),
    }


SENT = {"a": State.WAITING}
SKIPPED = {"a": State.DONE}


@pytest.mark.parametrize("source", ["file", "stream"])
@pytest.mark.parametrize(
    ("before", "keys", "expected"),
    [
        (["a P", "b Q"], "a", SKIPPED),
        (["a P", "b Q"], "ba", {"b": State.DONE} | SKIPPED),
        (["a P", "b P"], "a", SENT),
        (["a P", "b P"], "ab", {"b": State.WAITING} | SENT),
        (["a"], "a", SENT),
        (["a P", "b ?"], "a", SENT),
        (["a P", "b Q?"], "a", SKIPPED),
        (["a P", "b !"], "a", SKIPPED),
        (["a P"], "na", {"n": State.WAITING} | SENT),
        (["a P"], "an", {"n": State.WAITING} | SKIPPED),
        (["a P"], "nam", {"n": State.WAITING, "m": State.WAITING} | SENT),
        (["a P", "n"], "na", {"n": State.WAITING} | SENT),
        (["a P", "b ?"], "ba", {"b": State.BEGUN} | SENT),
    ],
)
def test_a_user_by_several_keys(
    journal: JobJournal, before: list[str], keys: str, expected: dict[str, State], source: str
) -> None:
    """A row is passed over only where no row with another key may have changed the same user.

    Of the rows *before* the journal has the key and the user's id; "?" may have been applied, "!" not.
    """
    load(journal, lines(*(row[0] for row in before)), ALIASED)
    journal.begin_session()
    for number, row in enumerate(before, 1):
        state = {"?": State.UNKNOWN, "!": State.FAILED}.get(row[-1], State.DONE)
        remote_id = row[1:].strip(" ?!") or None
        journal.write([Update(number, state, 1.0, remote_id=remote_id)])
    load(journal, lines(*keys) if source == "file" else [], ALIASED)
    journal.begin_session()
    if source == "stream":
        assert None not in journal.meet(lines(*keys), ALIASED, states=PENDING)
    assert {row["key"]: row["state"] for row in journal.rows()} == expected


def test_a_new_user_in_doubt(journal: JobJournal) -> None:
    """A row isn't passed over after another of its stream that may have changed the same user."""
    for keys in ("a", "na"):
        journal.begin_session()
        for row in lines(*keys):
            [met] = journal.meet([row], ALIASED, states=PENDING)
            assert met
            assert met.state is State.WAITING
            done = Update(met.number, State.DONE, 1.0, remote_id="P")
            journal.write([done if row.key == "a" else Update(met.number, State.UNKNOWN, 1.0)])


def test_one_user_by_two_keys_of_a_stream(journal: JobJournal) -> None:
    """Of two keys each may have changed what the other one sent before, so both are sent each time."""
    for _ in range(2):
        journal.begin_session()
        met = journal.meet(lines("a", "b"), ALIASED, states=PENDING)
        assert [row and row.state for row in met] == [State.WAITING, State.WAITING]
        found = [row.number for row in met if row]
        journal.write([Update(number, State.DONE, 1.0, remote_id="P") for number in found])


def test_a_doubt_ends_what_was_accepted(journal: JobJournal) -> None:
    """A body isn't passed over as accepted once another may have been, however many runs before."""
    for mark in (Update(1, State.DONE, 1.0), Update(1, State.UNKNOWN, 2.0)):
        load(journal, lines("a", mark=str(mark.at).encode()))
        journal.write([mark])
    load(journal, lines("b"))
    load(journal, lines("a", mark=b"1.0"))
    assert states(journal) == {1: State.BEGUN}


def test_a_failure_after_a_doubt(journal: JobJournal) -> None:
    """A row that was refused, after it may have been applied, leaves its user in doubt."""
    for doubt in (False, True):
        load(journal, lines("a"))
        journal.write([Update(1, State.DONE, 1.0)])
        load(journal, lines("a", mark=b"!"))
        journal.write([Update(1, State.FAILED, 1.0, doubt=doubt)])
        load(journal, lines("a"))
        assert states(journal) == {1: State.BEGUN if doubt else State.DONE}


def test_an_update_has_no_mark_before_it_is_sent(journal: JobJournal) -> None:
    """Where rows are sent without a mark one that waits may have been applied."""
    update = Rules(differ=True, marked=False)
    load(journal, lines("a"), update)
    journal.write([Update(1, State.DONE, 1.0)])
    load(journal, lines("a", mark=b"!"), update)
    load(journal, lines("a"), update, going_on=True)
    assert states(journal) == {1: State.BEGUN}


def test_a_changed_source_goes_on(journal: JobJournal) -> None:
    """Rows that haven't changed go on from where they were, those without a key by their count."""
    journal.add(lines("a", "b", None, "c"))
    journal.write([Update(n, State.DONE, 1.0, outcome="created") for n in (1, 3)])
    journal.write([Update(2, State.BEGUN, 1.0, sent=1)])
    journal.begin()  # killed while reading, and begun anew
    journal.add(lines("x", "y"))
    load(
        journal, [*lines("new", "b", None, "a"), SourceRow(5, None, b"None")], CREATE, going_on=True
    )
    found = [(State(row["state"]), row["outcome"]) for row in journal.rows()]
    assert found == [
        (State.WAITING, None), (State.BEGUN, None), (State.DONE, "unchanged"),
        (State.DONE, "created"), (State.WAITING, None),
    ]  # fmt: skip


def test_users_are_made_once(journal: JobJournal) -> None:
    """Of another source only those are to be created who weren't, nor may have been."""
    load(journal, lines("same", "changed", "unknown", "begun", "failed", None, None), CREATE)
    done = [Update(number, State.DONE, 1.0, remote_id=f"id-{number}") for number in (1, 2, 6)]
    journal.write([*done, Update(3, State.UNKNOWN, 1.0), Update(4, State.BEGUN, 1.0)])
    journal.write([Update(5, State.FAILED, 1.0), Update(7, State.UNKNOWN, 1.0)])
    load(journal, lines("another"), CREATE)
    more = [SourceRow(7 + number, None, b"None") for number in range(3)]
    rows = [*lines("same", "-", "unknown", "begun", "failed"), SourceRow(2, "changed", b"!"), *more]
    load(journal, rows, CREATE)
    found = {row["number"]: (State(row["state"]), row["code"]) for row in journal.rows()}
    assert found == {
        1: (State.DONE, None), 2: (State.WAITING, None), 3: (State.UNKNOWN, "unknown before"),
        4: (State.BEGUN, None), 5: (State.WAITING, None), 6: (State.FAILED, "already created"),
        7: (State.DONE, None), 8: (State.UNKNOWN, "unknown before"), 9: (State.WAITING, None),
    }  # fmt: skip
    assert [row["remote_id"] for row in journal.rows(State.DONE)] == ["id-1", "id-6"]


def test_rows_of_a_stream_are_known_again(journal: JobJournal) -> None:
    """A row is known by key and hash, or by line and hash; within a session it comes once."""
    journal.begin_session()
    met = journal.meet(lines("a", None, "a"), UPSERT, states=PENDING)
    assert met[2] is None
    assert [(kept.number, kept.state) for kept in met if kept] == [(1, 0), (2, 0)]
    journal.write([Update(1, State.DONE, 1.0)])
    journal.begin_session()
    met = journal.meet(lines("a", None, "b"), UPSERT, states=PENDING)
    assert [(kept.number, kept.state) for kept in met if kept] == [(1, 2), (2, 0), (3, 0)]
    journal.write([Update(3, State.DONE, 1.0, remote_id="x")])
    load(journal, [])
    [bad, same] = journal.meet([SourceRow(1, None, b"", "bad"), SourceRow(2, "b", b"b")], UPSERT)
    assert bad
    assert same
    assert (bad.state, same.state, same.remote_id) == (State.BAD, State.DONE, "x")


def test_users_are_made_once_in_a_stream(journal: JobJournal) -> None:
    """Users whom the files before have created, or may have, aren't created by rows at hand."""
    load(journal, lines("same", "changed", "unknown", "begun", "failed"), CREATE)
    journal.write([Update(number, State.DONE, 1.0, remote_id=f"id-{number}") for number in (1, 2)])
    journal.write([Update(3, State.UNKNOWN, 1.0), Update(4, State.BEGUN, 1.0)])
    load(journal, lines("another"), CREATE)
    full = Rules(once=True)
    rows = [*lines("same"), *lines("changed", mark=b"!"), *lines("unknown", "begun", "failed")]
    expected = {
        CREATE: [State.DONE, State.FAILED, State.UNKNOWN, State.BEGUN, State.WAITING],
        full: [State.WAITING, State.WAITING, State.BEGUN, State.BEGUN, State.WAITING],
    }
    for rules, wanted in expected.items():
        load(journal, [], CREATE)
        journal.begin_session()
        met = journal.meet(rows, rules, states=PENDING)
        assert [kept and kept.state for kept in met] == wanted
        assert [kept.remote_id for kept in met if kept][:2] == ["id-1", "id-2"]


def test_a_row_that_waits_behind_a_doubt(journal: JobJournal) -> None:
    """A body that wasn't sent has begun where another of its user may have been applied."""
    first, second = SourceRow(1, "k", b"1"), SourceRow(2, "k", b"2")
    journal.begin_session()
    journal.meet([first, second], UPSERT, states=PENDING)
    journal.write([Update(1, State.UNKNOWN, 1.0)])
    journal.begin_session()
    assert journal.meet([second], UPSERT, states=PENDING) == [JournalRow(2, State.BEGUN)]


def test_a_failed_row_with_another_after_it(journal: JobJournal) -> None:
    """A body that failed, and comes again after another was accepted for its user, is another row."""
    first, second = SourceRow(1, "k", b"1"), SourceRow(2, "k", b"2")
    journal.begin_session()
    journal.meet([first, second], UPSERT, states=PENDING)
    journal.write([Update(1, State.FAILED, 1.0), Update(2, State.DONE, 1.0)])
    journal.begin_session()
    assert journal.meet([second], UPSERT, states=PENDING) == [JournalRow(2, State.DONE)]
    journal.begin_session()
    assert journal.meet([first], UPSERT, states=PENDING) == [JournalRow(3, State.WAITING)]
    journal.begin_session()
    journal.write([Update(3, State.FAILED, 1.0)])
    journal.begin_session()
    assert journal.meet([second], UPSERT, states=PENDING) == [JournalRow(2, State.DONE)]


def test_pulse(journal: JobJournal) -> None:
    """The time between the first and the last outcome in parts, with the rows of each."""
    assert journal.pulse(4) == (0.0, 0.0, [])
    journal.add(lines(*"abcd"))
    journal.write([Update(n, State.DONE, float(at)) for n, at in enumerate((10, 11, 14, 14), 1)])
    assert journal.pulse(4) == (10.0, 14.0, [1, 1, 0, 2])


def test_many_rows_come_a_page_at_a_time(journal: JobJournal) -> None:
    """Rows are read a page at a time, and each comes once."""
    journal.add([SourceRow(n, None, b"") for n in range(1, 1202)])
    assert [row["line"] for row in journal.rows()] == list(range(1, 1202))
