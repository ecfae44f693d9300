"""A journal is read while a job writes: by this library, and by any SQLite reader."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from sunshine_async.journal import (
    Journal,
    JournalError,
    JournalInUseError,
    JournalQueries,
    JournalReader,
    SourceRow,
    State,
    Update,
)
from sunshine_async.journal import database as databases
from sunshine_async.journal import reader as readers
from sunshine_async.journal.database import is_locked, lock_path

OWNER = """
import sys
from sunshine_async.journal import Journal, SourceRow, State, Update
journal = Journal(sys.argv[1])
journal.add(SourceRow(n, str(n), b"h") for n in range(1, 1001))
print("ready", flush=True)
for line in sys.stdin:
    journal.write([Update(int(line), State.DONE, 1.0, outcome="created")])
    print("written", flush=True)
"""


@pytest.fixture
def owner(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a process that has the journal, and writes on request."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", OWNER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def write(process: subprocess.Popen[str], number: int) -> str:
    """Let the owner write that row *number* is done; return the answer of the owner."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{number}\n")
    process.stdin.flush()
    return process.stdout.readline()


@define
class JointReader(JournalQueries):
    """Several journals, read as one."""

    each: Sequence[JournalReader]
    name = "all"

    def close(self) -> None:
        """Close nothing."""

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return [row for reader in self.each for row in reader._fetch_all(query, values)]


def test_the_most_frequent_code_comes_first(tmp_path: Path) -> None:
    """Codes are in the order of the counts, in a journal and in several journals read as one."""
    readers = list[JournalReader]()
    for counts in ({"rare": 1, "most": 4}, {"often": 3, "rare": 1}, {"most": 1, "often": 1}):
        reader = JournalReader(tmp_path / f"{len(readers)}.journal")
        codes = [code for code, count in counts.items() for _ in range(count)]
        with closing(Journal(reader.path)) as journal:
            journal.add(SourceRow(n, str(n), b"h") for n in range(1, len(codes) + 1))
            journal.write(
                Update(n, State.FAILED, 1.0, code=code, reason="no")
                for n, code in enumerate(codes, 1)
            )
        readers.append(reader)

    assert [*readers[0].codes()] == ["most", "rare"]
    assert [*JointReader(readers).codes().items()] == [
        ("most", (5, "2: no")), ("often", (4, "1: no")), ("rare", (2, "1: no")),
    ]  # fmt: skip


def test_rows_of_a_running_job(path: Path, owner: subprocess.Popen[str]) -> None:
    """Another process sees each commit at once, and the owner of the journal isn't disturbed."""
    reader = JournalReader(path)
    assert reader.running
    for number in range(1, 4):
        assert write(owner, number) == "written\n"
        assert reader.report().states == {State.DONE: number, State.WAITING: 1000 - number}
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM rows WHERE state = 2").fetchone() == (3,)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM rows").fetchone()
        assert write(owner, 4) == "written\n"  # a long read is no reason to wait
    with pytest.raises(JournalInUseError, match="in use by another process"):
        Journal(path)


def test_a_killed_owner(path: Path, owner: subprocess.Popen[str]) -> None:
    """After a kill of the owner the reader goes on, and the next owner has all rows."""
    assert write(owner, 1) == "written\n"
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    reader = JournalReader(path)
    assert not reader.running
    assert reader.report().states[State.DONE] == 1
    with closing(Journal(path, must_exist=True)) as journal:
        assert journal.report().states[State.DONE] == 1
    assert not lock_path(path).exists()


def test_a_killed_reader(path: Path, owner: subprocess.Popen[str]) -> None:
    """A reader that is killed in a read leaves the job intact."""
    program = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('BEGIN'); "
        "d.execute('SELECT count(*) FROM rows').fetchone(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)  # noqa: S603
    assert write(owner, 7) == "written\n"
    assert JournalReader(path).report().states[State.DONE] == 1


def test_rows_move_once_readers_have_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a reader stays, rows wait in the ``-wal`` file, and the main file keeps the split flag."""
    monkeypatch.setattr(databases, "_CHECKPOINT_SIZE", 10_000)
    monkeypatch.setattr(databases, "_CHECKPOINT_RETRY", 10_000)
    with closing(Journal(path)) as journal:
        wal = path.with_name(f"{path.name}-wal")
        with closing(sqlite3.connect(path)) as other:
            other.execute("SELECT count(*) FROM rows").fetchone()
            for start in range(0, 3000, 1000):
                journal.add(SourceRow(n, str(n), b"h") for n in range(start, start + 1000))
            grown = wal.stat().st_size
            assert grown > 30_000
        for start in range(3000, 8000, 1000):
            journal.add(SourceRow(n, str(n), b"h") for n in range(start, start + 1000))
        assert wal.stat().st_size < grown
        assert len([*journal.rows()]) == 8000


@pytest.mark.parametrize("held", [False, True])
def test_a_reader_from_before_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, held: bool
) -> None:
    """A job begins beside another program's open file or read; the split flag comes after the read."""
    monkeypatch.setattr(databases, "_READER_WAIT", 0.0)
    monkeypatch.setattr(databases, "_CHECKPOINT_SIZE", 20_000)
    monkeypatch.setattr(databases, "_CHECKPOINT_RETRY", 10_000)
    with closing(Journal(path)) as journal:
        journal.add([SourceRow(1, "a", b"h")])
    part = path.with_name("part")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN" if held else "SELECT 1")
        assert other.execute("SELECT count(*) FROM rows").fetchone() == (1,)
        with closing(Journal(path)) as journal:
            journal.add(SourceRow(n, str(n), b"h") for n in range(2, 1000))
            assert other.execute("SELECT count(*) FROM rows").fetchone() == (1 if held else 999,)
            other.close()
            journal.add(SourceRow(n, str(n), b"h") for n in range(1000, 2001))
            shutil.copyfile(path, part)
            assert journal.report().states == {State.WAITING: 2000}
    with pytest.raises(JournalError, match="is a part of a journal"):
        JournalReader(part).about()


@pytest.mark.parametrize("kind", [JournalReader, partial(Journal, must_exist=True)])
def test_a_path_that_the_system_refuses(
    kind: Callable[[str], Journal | JournalReader],
) -> None:
    """A path that the system can't look at is an error of the journal, with the system's reason."""
    with pytest.raises(JournalError, match="can't be used: File name too long"):
        kind("x" * 300).about()


def test_a_journal_without_tables(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a journal that a job has just created waits for the tables, and not for ever."""
    journals: list[Journal] = []

    def create(_: float) -> None:
        owner.release()
        journals.append(Journal(path))

    path.touch()
    monkeypatch.setattr(readers, "_TIMEOUT", 60.0)
    monkeypatch.setattr(readers.time, "sleep", create)
    owner = databases.Ownership(path)
    assert JournalReader(path).about() == {}
    journals[0].close()
    path.write_bytes(b"")
    monkeypatch.setattr(readers, "_TIMEOUT", 0.0)
    with (
        closing(databases.Ownership(path)._held),
        pytest.raises(JournalError, match="not a journal"),
    ):
        JournalReader(path).about()


def test_begun_rows_are_seen(path: Path) -> None:
    """Rows marked ahead as begun count as begun, as after a recovery."""
    with closing(Journal(path)) as journal:
        journal.add(SourceRow(n, str(n), b"h") for n in range(1, 6))
        journal.write([Update(1, State.DONE, 1.0)], about={"reach": "3"})
        expected = {State.DONE: 1, State.BEGUN: 2, State.WAITING: 2}
        assert JournalReader(path).report().states == expected


def test_what_is_no_journal(tmp_path: Path) -> None:
    """A file of another kind is refused."""
    file = tmp_path / "users.csv"
    file.write_text("externalId\n" * 100)
    lock_path(file).touch()
    assert not is_locked(file)
    with pytest.raises(JournalError, match="is not a journal"):
        JournalReader(file).about()
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(JournalError, match="is no journal, but another program's database"):
        JournalReader(tmp_path / "other").about()
    with pytest.raises(JournalError, match="isn't there"):
        JournalReader(tmp_path / "missing").about()


def files(path: Path) -> list[str]:
    """Return the names of the files next to *path*."""
    return sorted(file.name for file in path.parent.iterdir())


class TestStoppedJob:
    """A journal that no job uses: a look leaves nothing behind, and keeps no job out."""

    @pytest.fixture
    def stopped(self, path: Path) -> Path:
        """Return the path of a journal with 1,000 rows."""
        with closing(Journal(path)) as journal:
            journal.add(SourceRow(n, str(n), b"h") for n in range(1, 1001))
        return path

    def test_the_file_is_left_alone(self, stopped: Path) -> None:
        """A look at a closed journal changes no byte and leaves no file, also on a read-only disk."""
        before = stopped.read_bytes()
        stopped.chmod(0o400)
        assert len([*JournalReader(stopped).rows()]) == 1000
        assert stopped.read_bytes() == before
        assert files(stopped) == [stopped.name]

    def test_a_directory_where_sqlite_makes_no_file(self, stopped: Path) -> None:
        """A journal that was killed, in a directory that can't be written, is to be copied."""
        with closing(Journal(stopped)) as journal:
            journal.describe(app="1")
            files_of_a_kill = {end: Path(f"{stopped}{end}").read_bytes() for end in ("", "-wal")}
        for end, content in files_of_a_kill.items():
            Path(f"{stopped}{end}").write_bytes(content)
        Path(f"{stopped}-shm").symlink_to("nowhere/shm")  # as good as read-only, also to root
        with pytest.raises(JournalError, match="Copy the journal to such a directory"):
            JournalReader(stopped).about()

    def test_a_job_begins_in_mid_read(self, stopped: Path) -> None:
        """A job can begin while the rows are read, and the rest of the rows is read beside the job."""
        rows = JournalReader(stopped).rows()
        first = next(rows)
        with closing(Journal(stopped)) as journal:
            journal.write([Update(900, State.DONE, 1.0)])
            rest = {row["number"]: row["state"] for row in rows}
        assert first["number"] == 1
        assert [*rest] == [*range(2, 1001)]
        assert {number for number, state in rest.items() if state == State.DONE} == {900}

    @pytest.mark.parametrize("damage", [False, True])
    def test_a_job_begins_in_mid_query(self, stopped: Path, *, damage: bool) -> None:
        """Rows read from the main file alone don't count if a job has begun meanwhile."""
        journals: list[Journal] = []

        class Interrupted(JournalReader):
            def _read(self, query: str, values: Sequence[Any], mode: str = "") -> list[Any]:
                if mode:
                    journals.append(Journal(stopped))
                    journals[0].write([Update(7, State.DONE, 1.0)])
                    query = query if not damage else "SELECT * FROM pages_of_two_moments"
                return super()._read(query, values, mode)

        assert Interrupted(stopped).report().states == {State.DONE: 1, State.WAITING: 999}
        journals[0].close()

    def test_kinds_of_files(self, stopped: Path) -> None:
        """A look refuses the files that a job would refuse: another version, and a part of a journal."""
        part = stopped.with_name("part")
        with closing(Journal(stopped)) as journal:
            journal.write([Update(7, State.DONE, 1.0)])
            shutil.copyfile(stopped, part)
        with pytest.raises(JournalError, match="is a part of a journal"):
            JournalReader(part).about()
        with closing(sqlite3.connect(stopped)) as other:
            other.execute("PRAGMA user_version = 99")
        with pytest.raises(JournalError, match="Use a newer release"):
            JournalReader(stopped).about()

    def test_states_as_after_a_recovery(self, stopped: Path) -> None:
        """A state that this release doesn't know counts as unknown, and rows marked ahead as begun."""
        with closing(Journal(stopped)) as journal:
            journal.write([Update(1, State.DONE, 1.0)], about={"reach": "3"})
        with closing(sqlite3.connect(stopped)) as other:
            other.execute("UPDATE rows SET state = 12 WHERE number = 900")
            other.commit()
        seen = JournalReader(stopped).report()
        rows = {row["number"]: State(row["state"]) for row in JournalReader(stopped).rows()}
        with closing(Journal(stopped)) as journal:
            recovered = journal.report()
            assert {row["number"]: State(row["state"]) for row in journal.rows()} == rows
        assert seen == recovered
        assert rows[900] is State.UNKNOWN
        assert [rows[2], rows[3], rows[4]] == [State.BEGUN, State.BEGUN, State.WAITING]

    def test_an_older_release(self, stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A job of an older release, which locks the file, is a reason that is told."""
        monkeypatch.setattr(readers, "_TIMEOUT", 0.0)
        with closing(sqlite3.connect(stopped, isolation_level=None)) as older:
            older.execute("PRAGMA locking_mode = EXCLUSIVE")
            older.execute("BEGIN IMMEDIATE")
            older.execute("DELETE FROM about")
            with pytest.raises(JournalInUseError, match="is in use by another process"):
                JournalReader(stopped).about()
