"""A journal is read while a job writes: by this library, and by any SQLite reader."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sunshine_async.journal import Journal, JournalError, JournalReader, SourceRow, State, Update
from sunshine_async.journal import database as databases
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
    with pytest.raises(JournalError, match="in use by another process"):
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
    with pytest.raises(JournalError, match="can't be read"):
        JournalReader(file).about()
    with closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(JournalError, match="is not a journal"):
        JournalReader(tmp_path / "other").about()
