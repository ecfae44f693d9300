"""The SQLite database of a journal: opened by one process, and whole after a kill."""

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from errno import EIO
from pathlib import Path
from threading import Lock
from typing import Any, Final, NoReturn

from sunshine_async.errors import ConfigurationError, SunshineError
from sunshine_async.journal.sql import REASONS, TABLES, UNREAD

VERSION: Final = 2
"""Version of the tables; a file of another version is refused."""
OLDEST: Final = (3, 33)
"""The first SQLite that knows all statements."""
_APPLICATION: Final = 0x53756E4A
_IN_PARTS: Final = 1 << 16
"""Flag in the version: the main file lacks rows that are in the ``-wal`` file."""
_LONG: Final = 4 << 20
"""Bytes of the ``-wal`` file, past which its rows go into the main file."""


class JournalError(SunshineError):
    """The journal can't be opened, read or written; the text says why and what to do."""


class Disk:
    """The database at *path*, made where there is none, unless it *must_exist*.

    The main file says that it is in parts, from before the first write to the ``-wal`` file until
    the database is closed; the last frame of the ``-wal`` file with the version says that both are
    whole together. A main file that a kill has left, copied without its ``-wal`` file, is refused.

    Raise `ConfigurationError` for a name that is no file's, and `JournalError` as `Journal` does.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path: Final = _named(path)
        self._lock: Final = Lock()
        real = Path(os.path.realpath(self.path))
        if not must_exist:
            _make(real, self.path)
        elif not real.exists():
            self._refuse("isn't there: check the path and its spelling")
        if not real.is_file():
            self._refuse("is a directory, or no file: name a file, and it is made")
        if not os.access(real, os.W_OK):
            self._refuse(REASONS["readonly"])
        self._wal: Final = Path(f"{real}-wal")
        with self._refusals():
            self._database: Final = sqlite3.connect(
                real, timeout=0, isolation_level=None, check_same_thread=False
            )
        try:
            with self._refusals():
                self._open(must_exist=must_exist)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close the database; another process may open it."""
        with self._lock, suppress(sqlite3.Error):  # the rows to be kept are on the disk
            self._database.close()

    def copy(self, target: Path) -> None:
        """Copy the database to the file *target*, which has all rows by itself.

        Raise `OSError` where *target* can't be written.
        """
        with self._using() as database, closing(sqlite3.connect(target)) as copied:
            try:
                database.backup(copied)
            except sqlite3.Error as error:
                reason = str(error)
            else:
                return
        raise OSError(EIO, reason, str(target))

    def _open(self, *, must_exist: bool) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            self._refuse(
                f"needs SQLite {needed} or later; this Python has {sqlite3.sqlite_version}"
            )
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA temp_store = FILE")
        database.execute("PRAGMA cache_size = -8000")  # KiB: with less, pages are read back
        database.execute("PRAGMA wal_autocheckpoint = 0")  # see `_move`
        database.execute("PRAGMA journal_size_limit = 0")  # the size tells what isn't moved
        database.execute("BEGIN IMMEDIATE")  # so that another process is found out now
        [application], [version] = (
            database.execute(f"PRAGMA {name}").fetchone()
            for name in ("application_id", "user_version")
        )
        [tables] = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        database.execute("COMMIT")
        if must_exist and not tables:
            self._refuse(UNREAD)
        if application != _APPLICATION and (application or tables):
            self._refuse("is no journal of a job, but another program's database")
        self._check_version(version & ~_IN_PARTS, new=not tables)
        if version & _IN_PARTS and not self._wal_size():
            self._refuse(
                f"is a part of a journal: the file {self._wal.name} has the other part, and isn't "
                "there. Copy both, or copy with `sunshine-async job copy`"
            )
        database.execute("SELECT count(*) FROM json_each('[]')")
        if not tables:
            with self._change():
                for statement in TABLES:
                    database.execute(statement)
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
                database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("PRAGMA journal_mode = WAL")
        # a journal can be looked at on a full disk too
        with suppress(sqlite3.Error) if must_exist else nullcontext():
            self._move()
        with suppress(JournalError) if must_exist else nullcontext(), self._change():
            self._recover()

    def _check_version(self, version: int, *, new: bool) -> None:
        if version > VERSION:
            self._refuse(f"is of a newer version ({version}) than this one can read ({VERSION})")
        if version < VERSION and not new:
            self._refuse(
                f"is of an older version ({version}) than this one can read ({VERSION}). Finish its "
                "job with the release that began it, or begin another journal with an upsert"
            )

    def _recover(self) -> None:
        """Bring rows that a kill has left into their state."""

    def _move(self) -> None:
        """Move all rows from the ``-wal`` file to the main file.

        Before the move both files say that the database is in parts; after it the ``-wal`` file
        alone takes that back. From the first write on the ``-wal`` file is never empty.
        """
        self._database.execute(f"PRAGMA user_version = {VERSION | _IN_PARTS}")
        self._database.execute("PRAGMA wal_checkpoint(FULL)")
        self._database.execute(f"PRAGMA user_version = {VERSION}")

    def _wal_size(self) -> int:
        return self._wal.stat().st_size if self._wal.exists() else 0

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._using() as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _using(self) -> Generator[sqlite3.Connection]:
        with self._lock, self._refusals():
            yield self._database

    @contextmanager
    def _change(self) -> Generator[sqlite3.Connection]:
        with self._using() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # it may have been rolled back by what went wrong
                    database.execute("ROLLBACK")
                raise
            if self._wal_size() > _LONG:
                with suppress(sqlite3.Error):  # the change is on the disk
                    self._move()

    @contextmanager
    def _refusals(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            said = str(error)
            reason = next((ours for theirs, ours in REASONS.items() if theirs in said), None)
        else:
            return
        self._refuse(reason or f"can't be used: {said}")

    def _refuse(self, reason: str) -> NoReturn:
        message = f"{self.path} {reason}"
        raise JournalError(message)


def _named(path: str | Path) -> Path:
    """Return *path*; raise `ConfigurationError` for a name that no file can have, or SQLite's own."""
    name = os.fspath(path)
    if name in ("", ":memory:") or name.startswith("file:") or "\0" in name:
        message = f"journal: the path of a file is needed, such as run.sqlite, not {name!r}"
        raise ConfigurationError(message)
    return Path(name)


def _make(real: Path, path: Path) -> None:
    """Make the file, for its owner alone, where there is none."""
    try:
        os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        message = f"the journal {path} can't be made: {error.strerror}"
    else:
        return
    raise JournalError(message)
