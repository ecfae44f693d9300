"""Copies of a journal: whole, or refused, also where a kill has left the journal in two files."""

import resource
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.limits import limited
from support.size import sized

from sunshine_async.journal import (
    Journal,
    JournalError,
    JournalInUseError,
    SourceRow,
    State,
    Update,
    copy_journal,
)
from sunshine_async.journal.journal import _copy_files

MANY = sized(60_000, 30_000)
"""Rows of more bytes than the second file of a journal collects."""


def fill(journal: Journal, rows: int) -> None:
    """Add rows, all of them done."""
    journal.add(SourceRow(n, f"key {n}", b"x" * 16) for n in range(rows))
    journal.write([], done={("created", 1): {row["number"]: "id" for row in journal.rows()}})


def begin_move(journal: Journal, *, steps: int) -> None:
    """Do the first *steps* of moving rows to the main file."""
    journal._database.rollback()
    for step in (
        "PRAGMA user_version = 65538", "PRAGMA wal_checkpoint(FULL)", "PRAGMA user_version = 2",
    )[:steps]:  # fmt: skip
        journal._database.execute(step)


def done(path: Path) -> int:
    """Return how many rows of the journal at *path* are done."""
    with closing(Journal(path, must_exist=True)) as journal:
        return len([*journal.rows(State.DONE)])


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path)) as journal:
        yield journal


@pytest.fixture
def killed(journal: Journal, tmp_path: Path) -> Path:
    """Return a journal as a kill leaves it: a main file that lacks rows, and the rest."""
    fill(journal, 100)
    folder = tmp_path / "killed"
    folder.mkdir()
    for file in journal.path.parent.glob("run.sqlite*"):
        shutil.copy(file, folder)
    return folder / "run.sqlite"


class TestOneOfTwoFiles:
    def test_both(self, killed: Path) -> None:
        """Both files together have all rows, as often as the journal is opened."""
        assert [done(killed) for _ in range(3)] == [100] * 3

    def test_both_become_the_owner_s(self, killed: Path) -> None:
        """Files of any mode that a kill has left are closed to others once the journal is opened."""
        killed.with_name("run.sqlite-lock").unlink()
        for part in killed.parent.iterdir():
            part.chmod(0o644)
        with closing(Journal(killed)):
            modes = {stat.S_IMODE(part.stat().st_mode) for part in killed.parent.iterdir()}
        assert modes == {0o600}

    @pytest.mark.parametrize("rows", [0, 1, 100, MANY])
    def test_the_main_file_alone(self, journal: Journal, tmp_path: Path, rows: int) -> None:
        """The main file of a journal that is open, or was left by a kill, is refused alone."""
        fill(journal, rows)
        alone = tmp_path / "alone"
        shutil.copy(journal.path, alone)
        for _ in range(2):
            with pytest.raises(JournalError, match="is a part of a journal: the file alone-wal"):
                Journal(alone)
        assert [*tmp_path.glob("alone*")] == [alone]

    def test_with_an_empty_file_beside_it(self, journal: Journal, tmp_path: Path) -> None:
        """The main file is refused too where a reader has made an empty -wal file beside it."""
        fill(journal, 100)
        alone = tmp_path / "alone"
        shutil.copy(journal.path, alone)
        alone.with_name("alone-wal").touch()
        with pytest.raises(JournalError, match="is a part of a journal"):
            Journal(alone)

    @pytest.mark.slow
    def test_its_other_part_stays_small(self, journal: Journal) -> None:
        """Rows are moved to the main file now and then, and their room is given back."""
        for _ in range(2):
            fill(journal, MANY)
            assert journal._wal_size() < 20 << 20
        assert journal.path.stat().st_size > 4 << 20

    def test_after_the_end(self, journal: Journal, tmp_path: Path) -> None:
        """The one file of a journal that was closed is whole."""
        fill(journal, 100)
        journal.close()
        shutil.copy(journal.path, tmp_path / "alone")
        assert done(tmp_path / "alone") == 100

    def test_another_reader(self, killed: Path) -> None:
        """A program that reads the journal after a kill, and leaves one file, leaves all of it."""
        with closing(sqlite3.connect(killed)) as other:
            assert other.execute("SELECT count(*) FROM rows").fetchone() == (100,)
        assert not killed.with_name("run.sqlite-wal").exists()
        assert done(killed) == 100

    @pytest.mark.parametrize("at", range(4))
    def test_killed_in_a_move(self, path: Path, tmp_path: Path, at: int) -> None:
        """A kill at any step of moving rows to the main file loses none, and refuses none."""
        journal = Journal(path)
        fill(journal, 100)
        begin_move(journal, steps=at)
        for file in path.parent.glob("run.sqlite*"):
            shutil.copy(file, tmp_path / file.name.replace("run", "left"))
        journal.close()
        assert [done(tmp_path / "left.sqlite") for _ in range(2)] == [100, 100]

    @pytest.mark.parametrize("at", [1, 0, 3, 2])
    def test_closed_in_a_move(self, journal: Journal, tmp_path: Path, at: int) -> None:
        """After an error at any step of moving rows, the one file of the closed journal is whole."""
        fill(journal, 100)
        begin_move(journal, steps=at)
        journal.close()
        shutil.copy(journal.path, tmp_path / "alone")
        assert done(tmp_path / "alone") == 100

    @pytest.mark.parametrize("at", [1, 0, 3, 2])
    def test_closed_in_a_move_on_a_disk_that_refuses(self, journal: Journal, at: int) -> None:
        """If the disk refuses until the end, the journal opens all the same, with all rows."""
        fill(journal, 100)
        begin_move(journal, steps=at)
        journal._database.execute("PRAGMA query_only = ON")
        journal.close()
        assert [done(journal.path) for _ in range(2)] == [100, 100]


class TestCopying:
    def test_it_is_whole(self, killed: Path, tmp_path: Path) -> None:
        """A copy has all rows, in one file for its owner alone; nothing else is left."""
        folder = tmp_path / "copies"
        folder.mkdir()
        copy_journal(killed, folder / "copy.sqlite")
        assert [*folder.iterdir()] == [folder / "copy.sqlite"]
        assert stat.S_IMODE((folder / "copy.sqlite").stat().st_mode) == 0o600
        assert done(folder / "copy.sqlite") == done(killed) == 100

    @pytest.mark.parametrize("at", [1, 0, 3, 2])
    def test_copied_in_a_move(self, journal: Journal, tmp_path: Path, at: int) -> None:
        """If the disk of the journal refuses any step of a move, the copy elsewhere is whole."""
        fill(journal, 100)
        begin_move(journal, steps=at)
        journal._database.execute("PRAGMA query_only = ON")
        journal.copy(tmp_path / "copy")
        assert [*tmp_path.glob("copy*")] == [tmp_path / "copy"]
        assert done(tmp_path / "copy") == 100

    def test_what_is_there_stays(self, killed: Path, tmp_path: Path) -> None:
        """A file that is there isn't copied over, nor is a symlink to nowhere."""
        target = tmp_path / "there"
        target.write_bytes(b"precious")
        dangling = tmp_path / "dangling"
        dangling.symlink_to(tmp_path / "nowhere")
        for taken in (target, dangling, killed):
            with pytest.raises(FileExistsError):
                copy_journal(killed, taken)
        assert target.read_bytes() == b"precious"
        assert done(killed) == 100

    def test_a_full_disk_is_of_the_target(self, path: Path, tmp_path: Path) -> None:
        """A copy that can't be written names the copy, and leaves nothing."""
        with closing(Journal(path)) as journal:
            journal.add(SourceRow(n, f"user-{n}", b"%d" % n) for n in range(1, 5000))
        with (
            limited(resource.RLIMIT_FSIZE, 100_000),
            pytest.raises(OSError, match="copy") as caught,
        ):
            copy_journal(path, tmp_path / "copy")
        assert caught.value.filename == str(tmp_path / "copy")
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    def test_one_in_use(self, journal: Journal, tmp_path: Path) -> None:
        """A journal in use is refused, whether its file can be written or only read."""
        with pytest.raises(JournalInUseError, match="is in use by another process"):
            copy_journal(journal.path, tmp_path / "copy")
        with pytest.raises(JournalInUseError, match="is in use by another process"):
            _copy_files(journal.path, tmp_path / "copy")
        assert not [*tmp_path.glob("copy*")]

    def test_one_that_can_only_be_read(
        self, killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A journal that can only be read is copied whole, with what a kill has left beside it."""
        monkeypatch.setattr("os.access", lambda path, _: path != killed)
        copy_journal(str(killed), str(tmp_path / "copy"))
        assert killed.with_name("run.sqlite-wal").exists()
        assert done(tmp_path / "copy") == 100
        killed.with_name("run.sqlite-wal").unlink()
        with pytest.raises(JournalError, match="is a part of a journal"):
            copy_journal(killed, tmp_path / "another")
        other = tmp_path / "other"
        other.write_bytes(b"damaged" * 100)
        assert _copy_files(other, tmp_path / "beside").read_bytes() == other.read_bytes()
        killed.write_bytes(b"damaged" * 100)
        with pytest.raises(JournalError, match="is not a journal of a job"):
            copy_journal(killed, tmp_path / "another")

    def test_what_is_no_journal(self, tmp_path: Path) -> None:
        """What is no journal is refused, and no copy is left."""
        source = tmp_path / "users.csv"
        for _ in range(2):
            with pytest.raises(JournalError, match=r"isn't there|is not a journal"):
                copy_journal(source, tmp_path / "copy")
            source.write_bytes(b"externalId\n" * 100)
        assert not [*tmp_path.glob("*copy*")]

    def test_a_copy_goes_on(self, killed: Path, tmp_path: Path) -> None:
        """A copy is a journal of its own."""
        copy_journal(killed, tmp_path / "copy")
        with closing(Journal(tmp_path / "copy")) as copied:
            copied.write([Update(1, State.FAILED, 1.0, code="no", reason="no")])
        assert (done(tmp_path / "copy"), done(killed)) == (99, 100)
