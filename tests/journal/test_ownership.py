"""A journal has one owner: whatever else opens, closes, kills, forks, links, renames or removes."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.limits import few_descriptors
from support.size import sized

from sunshine_async.journal import (
    Journal,
    JournalError,
    JournalInUseError,
    JournalReader,
    SourceRow,
    State,
    copy_journal,
)
from sunshine_async.journal import database as databases
from sunshine_async.journal.database import Ownership, is_held, is_locked, lock_path
from sunshine_async.journal.journal import _copy_files

IN_USE = "is in use by another process"
OPEN = """
import sys
from sunshine_async.journal import Journal, JournalError
try:
    Journal(sys.argv[1])
except JournalError as error:
    print(error)
else:
    print("opened")
"""
COUNT = """
import sys, time
from sunshine_async.journal import Journal, JournalError
opened = 0
sys.stdin.readline()
while opened < int(sys.argv[2]):
    try:
        journal = Journal(sys.argv[1])
    except JournalError as error:
        assert "in use by another process" in str(error), error
        continue
    before = int(journal.about().get("opened", 0))
    journal.describe(opened=str(before + 1))
    journal.close()
    journal.close()
    opened += 1
"""


def opened_elsewhere(path: Path) -> str:
    """Open a journal in another process, which ends then; return the error, or "opened"."""
    command = [sys.executable, "-c", OPEN, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603


def in_a_fork(act: Callable[[], bool]) -> bool:
    """Return the result of *act* in a forked process."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os._exit(0 if act() else 1)
        os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def test_many_starters(path: Path) -> None:
    """Processes that open and close a journal at the same time have it one after the other."""
    rounds = sized(40, 5)
    command = [sys.executable, "-c", COUNT, str(path), str(rounds)]
    starters = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(3)]  # noqa: S603
    for starter in starters:
        starter.communicate(b"\n")
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    with closing(Journal(path)) as journal:
        assert journal.about()["opened"] == str(3 * rounds)
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.slow
def test_a_second_try_of_the_owner(path: Path) -> None:
    """A second open by the owner's process fails, and doesn't give up the lock of the first."""
    with closing(Journal(path)):
        with pytest.raises(JournalInUseError, match=IN_USE):
            Journal(path)
        assert is_locked(path)
        assert IN_USE in opened_elsewhere(path)


def test_closed_twice(path: Path) -> None:
    """The second close of a journal takes nothing from the next owner."""
    first = Journal(path)
    first.close()
    with closing(Journal(path)):
        first.close()
        assert is_locked(path)
        assert IN_USE in opened_elsewhere(path)


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken by another"])
def test_a_lock_that_is_removed_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, taken: bool
) -> None:
    """The lock of a file that its last owner has removed isn't taken for the lock of the journal."""
    exclusive, others = databases._exclusive, []

    def remove_once(lock: Path) -> sqlite3.Connection:
        held = exclusive(lock)
        if not others:
            lock.unlink()
            lock.touch()
            others.append(exclusive(lock) if taken else None)
        return held

    monkeypatch.setattr(databases, "_exclusive", remove_once)
    if taken:
        with pytest.raises(JournalInUseError, match=IN_USE):
            Journal(path)
        others[0].close()
    with closing(Journal(path)):
        assert is_locked(path)
    assert not is_locked(path)


def test_a_lock_that_is_gone_before_it_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock file that is removed as soon as made is made again."""
    create, made = databases._create_empty, []

    def remove_once(file: Path) -> None:
        create(file)
        made.append(file)
        if made == [path, lock_path(path)]:
            file.unlink()

    monkeypatch.setattr(databases, "_create_empty", remove_once)
    with closing(Journal(path)):
        assert made == [path, lock_path(path), lock_path(path)]
        assert is_locked(path)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests
def test_a_fork(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal stays with the parent: a child neither writes to it nor closes it."""
    with closing(Journal(path)) as journal:

        def act() -> bool:
            with pytest.raises(JournalError, match="open the file after the fork"):
                journal.add([SourceRow(1, "a", b"a")])
            journal.close()
            return True

        assert in_a_fork(act)
        assert is_locked(path)
        with monkeypatch.context() as context:
            context.setattr("os.getpid", lambda: 0)
            assert act()
        assert is_locked(path)
        assert IN_USE in opened_elsewhere(path)
        journal.add([SourceRow(1, "a", b"a")])
        assert journal.report().states.total() == 1
    assert opened_elsewhere(path) == "opened\n"


class TestNames:
    @pytest.mark.slow
    def test_symlinks(self, path: Path, tmp_path: Path) -> None:
        """A journal has one lock, beside the file itself, by whatever name it is opened."""
        folder, link = tmp_path / "folder", tmp_path / "link.sqlite"
        link.symlink_to(path)
        folder.symlink_to(tmp_path)
        with closing(Journal(link)):
            assert lock_path(path).exists()
            for name in (path, link, folder / path.name):
                assert is_locked(name)
                assert IN_USE in opened_elsewhere(name)

    def test_a_hard_link(self, path: Path, tmp_path: Path) -> None:
        """A journal in use is refused by a second name, since the rest lies beside the first."""
        other = tmp_path / "other.sqlite"
        with closing(Journal(path)) as journal:
            journal.add([SourceRow(1, "a", b"a")])
            other.hardlink_to(path)
            assert "is a part of a journal" in opened_elsewhere(other)
            journal.add([SourceRow(2, "b", b"b")])
        with closing(Journal(other)) as journal:
            assert journal.report().states.total() == 2

    def test_a_file_that_is_replaced(self, path: Path, tmp_path: Path) -> None:
        """A journal in use that is moved away takes nothing, and keeps its name until the end."""
        with closing(Journal(path)) as journal:
            path.rename(tmp_path / "moved")
            assert IN_USE in opened_elsewhere(path)
            with pytest.raises(JournalError, match="was removed or replaced while in use"):
                journal.add([SourceRow(1, "a", b"a")])
        assert opened_elsewhere(path) == "opened\n"

    def test_files_that_are_removed(self, path: Path) -> None:
        """An owner whose files were removed takes nothing from the owner of the new files."""
        first = Journal(path)
        for file in path.parent.glob("run.sqlite*"):
            file.unlink()
        with closing(Journal(path)) as second:
            second.add([SourceRow(1, "a", b"a")])
            first.close()
            assert is_locked(path)
            assert IN_USE in opened_elsewhere(path)
            second.add([SourceRow(2, "b", b"b")])
        with closing(Journal(path)) as again:
            assert again.report().states.total() == 2

    def test_a_lock_that_a_person_removed(self, path: Path) -> None:
        """Without the lock file a journal in use still has one writer; a look changes nothing."""
        with closing(Journal(path)) as journal:
            journal.add(SourceRow(n, str(n), b"h") for n in range(1, 4))
            journal.describe(reach="2")
            lock_path(path).unlink()
            with pytest.raises(JournalInUseError, match=IN_USE):
                Journal(path)
            look = JournalReader(path)
            assert look.about()["reach"] == "2"
            assert look.report().states == {State.BEGUN: 2, State.WAITING: 1}
            journal.describe(reach="3")


class TestWhatIsInTheWay:
    def test_a_directory(self, path: Path) -> None:
        """A directory with the name of the lock is named in the error."""
        lock_path(path).mkdir()
        with pytest.raises(JournalError, match=r"can't be locked: .*run\.sqlite-lock: not a lock"):
            Journal(path)
        assert not is_locked(path)

    @pytest.mark.parametrize("content", ["text", "database", "symlink"])
    def test_another_program_s_file(self, path: Path, tmp_path: Path, content: str) -> None:
        """Another program's file with the name of the lock is refused, and stays as it is."""
        lock, other = lock_path(path), tmp_path / "other"
        if content == "text":
            lock.write_text("123\n")
        elif content == "database":
            with closing(sqlite3.connect(lock)) as database:
                database.execute("CREATE TABLE t (x)")
        else:
            lock.symlink_to(other)
        with pytest.raises(JournalError, match="not a lock file, but another program's"):
            Journal(path)
        assert not is_locked(path)
        assert os.path.lexists(lock)
        assert not other.exists()

    def test_a_lock_that_can_t_be_made(self, path: Path) -> None:
        """A lock file that can't be made is an error with the system's reason, and the next step."""
        Journal(path).close()
        with (
            few_descriptors(0),
            pytest.raises(JournalError, match=r"can't be locked: .*Too many open files"),
        ):
            Journal(path, must_exist=True)
        assert [*path.parent.iterdir()] == [path]

    def test_a_shortage_of_descriptors(self, path: Path) -> None:
        """With few descriptors the journal opens, or is an error that leaves no file."""
        Journal(path).close()
        opened = 0
        for more in range(16):
            with few_descriptors(more), suppress(JournalError):
                Journal(path, must_exist=True).close()
                opened += 1
            assert [*path.parent.iterdir()] == [path]
        assert 0 < opened < 16

    def test_a_lock_that_can_t_be_opened(self, path: Path) -> None:
        """A lock that can't be opened is neither free nor taken: each use says so."""
        Journal(path).close()
        lock_path(path).touch()
        with (
            few_descriptors(0),
            pytest.raises(JournalError, match="can't tell if a job uses the journal"),
        ):
            is_locked(path)
        Journal(path).close()

    def test_a_lock_that_is_removed_at_a_look(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A lock that the owner removes at the moment of a look is free."""
        lock_path(path).touch()

        def remove(lock: Path) -> bool:
            lock.unlink()
            return is_held(lock)

        monkeypatch.setattr(databases, "is_held", remove)
        assert not is_locked(path)


class TestOlderRelease:
    """An older release has no lock file, but holds the journal itself exclusively."""

    def test_it_keeps_this_release_out(self, path: Path, tmp_path: Path) -> None:
        """A journal that an older release has is neither opened nor copied."""
        Journal(path).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as older:
            older.execute("PRAGMA locking_mode = EXCLUSIVE")
            older.execute("CREATE TABLE now (x)")
            assert not is_locked(path)
            with pytest.raises(JournalInUseError, match=IN_USE):
                Journal(path)
            with pytest.raises(JournalInUseError, match=IN_USE):
                copy_journal(path, tmp_path / "copy")
            with pytest.raises(JournalInUseError, match=IN_USE):
                _copy_files(path, tmp_path / "copy")
        assert [*tmp_path.iterdir()] == [path]

    def test_this_release_keeps_it_out(self, path: Path) -> None:
        """An older release can't open a journal that this release has."""
        with closing(Journal(path)), closing(sqlite3.connect(path, timeout=0)) as older:
            older.execute("PRAGMA locking_mode = EXCLUSIVE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                older.execute("BEGIN IMMEDIATE")

    def test_one_that_can_t_be_read(self, tmp_path: Path) -> None:
        """A journal that can't be read isn't copied."""
        with pytest.raises(JournalError, match="can't be read: "):
            _copy_files(tmp_path, tmp_path / "copy")


def test_a_kill_of_the_owner(path: Path) -> None:
    """The lock file that a kill leaves locks nothing, and the next owner removes it."""
    program = (
        "import os, sys; from sunshine_async.journal import Journal; journal = Journal(sys.argv[1]); "
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)  # noqa: S603
    assert lock_path(path).exists()
    assert not is_locked(path)
    with pytest.raises(FileExistsError):
        copy_journal(path, path)
    copy_journal(path, path.with_name("copy"))
    assert {file.name for file in path.parent.iterdir()} == {"run.sqlite", "copy"}


def test_no_shared_memory(path: Path) -> None:
    """Where the memory shared with readers can't be made, a journal works without readers."""
    shared = path.with_name("run.sqlite-shm")
    shared.mkdir()
    with closing(Journal(path)) as journal:
        journal.add([SourceRow(1, "a", b"a")])
        assert is_locked(path)
        assert IN_USE in opened_elsewhere(path)
        with (
            closing(sqlite3.connect(path, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError),
        ):
            other.execute("SELECT count(*) FROM rows")
        journal.add([SourceRow(2, "b", b"b")])
    shared.rmdir()
    with closing(Journal(path)) as journal:
        assert journal.report().states.total() == 2


def test_ownership_alone(tmp_path: Path) -> None:
    """A lock that was removed by hand is released without harm."""
    owner = Ownership(tmp_path / "x")
    lock_path(tmp_path / "x").unlink()
    owner.release()
    owner.release()
    assert not [*tmp_path.iterdir()]
