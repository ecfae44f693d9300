"""The journal in a file: what can't be one is refused, and others are kept out."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve
from support.journals import CREATE, UPSERT, lines, load, states

from sunshine_async import ConfigurationError
from sunshine_async.journal import (
    PENDING,
    VERSION,
    Journal,
    JournalError,
    Rules,
    SourceRow,
    State,
    Update,
)
from sunshine_async.journal.sql import ERROR_REASONS
from sunshine_async.journal.stream import (
    _BY_CERTAINTY,
    _BY_LINE,
    _FIRST,
    _LAST_FIRST,
    _SELECT,
)


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def test_it_is_for_its_owner_alone(journal: Journal) -> None:
    """Nobody else can read it: keys are often e-mail addresses."""
    folder = journal.path.parent
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("used", [False, True])
def test_a_journal_that_no_job_has_used(path: Path, *, is_there: bool, used: bool) -> None:
    """A refused job leaves no file, unless the file was there before, or a job has used it."""
    if is_there:
        path.touch()
    journal = Journal(path)
    journal.begin_session()
    if used:
        journal.describe(state="open")
    journal.discard()
    assert [*path.parent.iterdir()] == [path] * (is_there or used)


def test_a_journal_that_was_replaced_meanwhile(path: Path) -> None:
    """A file that somebody has put in the place of the journal stays."""
    journal = Journal(path)
    path.unlink()
    path.touch()
    journal.discard()
    assert path.exists()


def test_rows_without_a_key_are_found_by_their_line(journal: Journal) -> None:
    """However many there are: none is looked for among all."""
    journal.meet([SourceRow(1, None, b"1")], CREATE)
    for where, order, values, index in (
        (_BY_LINE, _LAST_FIRST, (1,), "by_line"),
        (_BY_CERTAINTY, _FIRST, (b"1", 0, 2), "by_certainty"),
    ):
        query = _SELECT.format(where=where, order=order, doubt="0")
        plan = [row[-1] for row in journal._fetch_all(f"EXPLAIN QUERY PLAN {query}", values)]
        assert f"USING INDEX {index}" in plan[0]
        assert order is not _FIRST or len(plan) == 1  # nothing is sorted


def test_a_second_process_is_refused_at_once(journal: Journal) -> None:
    """One process at a time has a journal; when it is killed the next may have it."""
    program = f"from sunshine_async.journal import Journal; Journal({str(journal.path)!r})"
    found = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert "is in use by another process" in found.stderr
    journal.close()
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "same", "rules", "state"),
    [
        ("k", False, UPSERT, None),
        (None, True, CREATE, State.FAILED),
        (None, True, CREATE, State.UNKNOWN),
        (None, True, CREATE, State.DONE),
        (None, True, CREATE, None),
        ("k", False, CREATE, None),
    ],
)
def test_rows_of_one_user_are_met_in_even_time(
    journal: Journal, key: str | None, rules: Rules, state: State | None, *, same: bool
) -> None:
    """A row costs no more for the rows with its key, or its body, that are there, in a later session too."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    journal._database.set_progress_handler(count, 10)
    costs: list[int] = []
    for moved in (0, 0, 1):
        journal.begin_session()
        for number in range(1, 1601, 100):
            more = range(number, number + 100)
            before = steps
            rows = [SourceRow(one + moved, key, b"same" if same else b"%d" % one) for one in more]
            met = journal.meet(rows, evolve(rules, by_count=True), states=PENDING)
            costs.append(steps - before)
            if state is not None:
                journal.write([Update(row.number, state, 1.0) for row in met if row is not None])
    assert max(costs) < 3 * costs[0]


@pytest.mark.parametrize("state", [-1, 7, 99, "DONE", b"\2", 2.5])
def test_a_state_that_nobody_knows(journal: Journal, path: Path, state: object) -> None:
    """A state of a newer version, or of a damaged journal, is unknown: neither done nor to be sent."""
    load(journal, lines("a", "b"))
    journal.write([], done={("created", 1): {1: "id", 2: "id"}})
    with journal._transaction() as database:
        database.execute("UPDATE rows SET state = ? WHERE number = 1", (state,))
    assert journal.counts()[State.UNKNOWN, "created"] == 1
    journal.close()
    with closing(Journal(path)) as again:
        assert states(again) == {1: State.UNKNOWN, 2: State.DONE}
        assert not again.pending(0, PENDING)
        load(again, lines("a", "b"))
        assert states(again) == {1: State.BEGUN, 2: State.DONE}


class TestRefusals:
    def test_another_program_s_file(self, path: Path) -> None:
        """A file that is no journal is refused, and left as it is."""
        path.write_bytes(b"externalId,profile.givenName\n" * 40)
        with pytest.raises(JournalError, match="is not a journal of a job"):
            Journal(path)
        assert path.read_bytes() == b"externalId,profile.givenName\n" * 40

    def test_another_program_s_database(self, path: Path) -> None:
        """Another database is refused."""
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE t (x)")
        other.close()
        with pytest.raises(JournalError, match="another program's database"):
            Journal(path)

    def test_a_newer_version(self, journal: Journal, path: Path) -> None:
        """A journal of a newer version is refused."""
        journal.close()
        other = sqlite3.connect(path)
        other.execute(f"PRAGMA user_version = {VERSION + 1}")
        other.close()
        with pytest.raises(
            JournalError, match=f"has version {VERSION + 1}.*reads version {VERSION} only"
        ):
            Journal(path)

    def test_none_there(self, path: Path) -> None:
        """What must be there and isn't is refused, an empty file too; nothing is made."""
        with pytest.raises(JournalError, match="isn't there: check the path"):
            Journal(path, must_exist=True)
        assert not path.exists()
        path.touch()
        with pytest.raises(JournalError, match="is not a journal of a job"):
            Journal(path, must_exist=True)
        Journal(path).close()  # killed before its first byte

    def test_where_none_can_be(self, tmp_path: Path) -> None:
        """Where no file can be made, the text says why."""
        with pytest.raises(
            JournalError, match=r"can't be created: .*\. Give a path in a directory that"
        ):
            Journal(tmp_path / "no/where/run.sqlite")

    @pytest.mark.parametrize("name", ["", ":memory:", "file:run.sqlite", "file::memory:", "a\0b"])
    def test_names_of_no_file(self, name: str) -> None:
        """SQLite's own names for a database, and names that no file can have, are refused."""
        with pytest.raises(ConfigurationError, match="the path of a file is needed"):
            Journal(name)

    def test_a_directory(self, tmp_path: Path) -> None:
        """A directory is no journal."""
        with pytest.raises(JournalError, match="is a directory, or not a regular file"):
            Journal(tmp_path)

    def test_a_symlink(self, tmp_path: Path, path: Path) -> None:
        """A symlink leads to the journal, also where the file is made; it is for its owner alone."""
        link = tmp_path / "link"
        link.symlink_to(path)
        Journal(link).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert link.is_symlink()

    def test_an_older_version(self, journal: Journal, path: Path) -> None:
        """A journal of an older version is refused, with the next step."""
        journal.close()
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 1")
        with pytest.raises(JournalError, match=r"has version 1 .*Finish the job"):
            Journal(path)

    def test_an_old_sqlite(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A SQLite that doesn't know all statements is refused before anything is sent."""
        monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 32, 3))
        with pytest.raises(JournalError, match=r"needs SQLite 3\.33 or later; this Python has"):
            Journal(path)

    def test_what_is_read_only(self) -> None:
        """A file that can't be written is refused as that, whoever asks."""
        with pytest.raises(JournalError, match="the file or the disk is read-only"):
            Journal("/proc/sys/kernel/ostype", must_exist=True)

    def test_cut_short(self, journal: Journal, path: Path) -> None:
        """A damaged journal is refused, with what to do."""
        journal.add([SourceRow(n, f"key {n}", b"x" * 16) for n in range(9000)])
        journal.close()
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(JournalError, match=r"is damaged\. Keep the file"):
            list(Journal(path).rows())

    def test_a_full_disk(self, journal: Journal) -> None:
        """What can't be written is an error, and what was there before is there still."""
        journal.add(lines("a"))
        journal._database.execute("PRAGMA max_page_count = 12")
        with pytest.raises(JournalError, match="the disk is full"):
            journal.add([SourceRow(n, "key" * 100, b"") for n in range(2000)])
        assert states(journal) == {1: State.WAITING}

    @pytest.mark.parametrize("word", [word for word in ERROR_REASONS if word != "old"])
    def test_a_word_that_tells_nothing(self, journal: Journal, word: str) -> None:
        """The code of an error tells the cause, whatever words are in SQLite's text."""
        with pytest.raises(JournalError, match=f"can't be used: no such column: {word}") as caught:
            journal._fetch_all(f"SELECT [{word}]")
        assert type(caught.value) is JournalError

    def test_an_error_of_another_kind(self, journal: Journal) -> None:
        """Whatever SQLite says is said as an error of the journal."""
        journal._database.execute("DROP TABLE about")
        with pytest.raises(JournalError, match="can't be used: no such table"):
            journal.about()
