"""SQLite databases for a single process, complete after a kill: the base, and the journal's."""

import os
import sqlite3
import stat
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from errno import EEXIST, EIO
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Final, cast

from sunshine_async.errors import SunshineError
from sunshine_async.journal import sql
from sunshine_async.journal.file import (
    LOCKED,
    SPLIT,
    DatabaseFile,
    cause_of,
    make_private,
    open_private,
)
from sunshine_async.journal.rows import SourceRow

VERSION: Final = 2
"""Version of the tables of a journal; a file with another version is refused."""
OLDEST: Final = (3, 33)  # the oldest SQLite that has all statements
_CHECKPOINT_SIZE: Final = 4 << 20  # bytes of the ``-wal`` file: rows then move to the main file
_CHECKPOINT_RETRY: Final = 1 << 20  # bytes more, before rows that a reader kept from moving move
_READER_WAIT: Final = 5.0  # seconds to wait for readers, when a database is opened or read
_PROBE_WAIT: Final = 0.2  # seconds that a look at the lock may take


class JournalError(SunshineError):
    """The journal can't be opened, read or written; the text has the reason and the next step."""


class JournalInUseError(JournalError):
    """Another process has the journal; try again once that process has ended."""


class JournalAwayError(JournalError):
    """The database of the journal can't be reached; the journal goes on once the database is back."""


class SingleProcessDatabase(DatabaseFile):
    """The database at *path*, created where the file is missing, unless *must_exist* is set.

    A subclass names the tables.

    A file ``-lock`` next to the database, locked while the database is open, keeps a second process
    out; without the file, a transaction that is open between the writes does. Other programs may
    read the database meanwhile: a reader never makes a write wait. After a fork the database stays
    with the parent: the methods raise *ERROR* in the child, and `close` has no effect there.

    The main file carries a split flag, from before the first write to the ``-wal`` file until the
    database is closed. The last frame of the ``-wal`` file with the version clears the flag: both
    files together are complete. A main file left by a kill, without the ``-wal`` file, is refused.
    A reader that stays in a read begun before the database was opened delays the flag.

    Raise `ConfigurationError` for a name that no file can have, and *ERROR* for a file that is of
    another kind, damaged or in use by another process, and for a disk that can't be written.
    """

    TABLES: ClassVar[Sequence[str]]
    """Statements that create the tables."""

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        super().__init__(path)
        self._lock: Final = Lock()
        self._is_own = False  # until the kind of the file is known
        real = self._real
        if not must_exist:
            self._create_file(real)
        self._check_place()
        if not os.access(real, os.W_OK):
            self._fail(self.REASONS["readonly"])
        self._checkpoint_at = _CHECKPOINT_SIZE
        self._identity: Final = _identity(real)
        try:
            with self._translated_errors(), ExitStack() as on_error:
                self._owner: Final = Ownership(real)
                on_error.callback(self._owner.release)
                self._database = _connect(real, _PROBE_WAIT)
                on_error.pop_all()
        except OSError as error:
            self._fail(
                f"can't be locked: {lock_path(real)}: {error.strerror}. Check that the directory "
                "can be written, and that nothing else has this name"
            )
        try:
            with self._translated_errors():
                try:
                    self._open(must_exist=must_exist)
                except sqlite3.OperationalError as error:
                    if cause_of(error) == LOCKED:
                        raise
                    # no memory shared with readers: a full disk, or a file system without
                    self._close_database()
                    self._database = _connect(real, _PROBE_WAIT)
                    self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
                    self._open(must_exist=must_exist)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the database; another process may then open the file."""
        if not self._owner.is_of_this_process():
            return
        with self._lock:
            self._close_database()
            self._owner.release()

    def copy(self, target: Path) -> None:
        """Copy all rows to the single file *target*; raise `OSError` if *target* can't be written."""
        with self._locked() as database, closing(sqlite3.connect(target)) as copied:
            database.rollback()  # nothing: a database in a transaction can't be copied
            try:
                database.backup(copied)
                copied.execute("PRAGMA journal_mode = DELETE")  # the copy is one file, without flag
                copied.execute(f"PRAGMA user_version = {self.VERSION}")
            except sqlite3.Error as error:
                raise OSError(EIO, str(error), str(target)) from None

    def _open(self, *, must_exist: bool) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            self._fail(f"needs SQLite {needed} or later; this Python has {sqlite3.sqlite_version}")
        database = self._database
        database.executescript("PRAGMA synchronous = FULL; PRAGMA temp_store = FILE")
        database.execute("PRAGMA cache_size = -8000")  # KiB: with less, pages are read back
        database.execute("PRAGMA wal_autocheckpoint = 0")  # see `_checkpoint`
        database.execute("PRAGMA journal_size_limit = 0")  # size 0: all rows are moved
        database.execute("BEGIN IMMEDIATE")  # fails if an older release has the file
        has_tables = self._check_kind(database, may_be_new=not must_exist)
        self._is_own = True
        for suffix in ("", "-wal", "-shm"):
            make_private(Path(f"{self._real}{suffix}"))
        if not has_tables:
            for statement in self.TABLES:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {self.APPLICATION}")
            database.execute(f"PRAGMA user_version = {self.VERSION}")
        database.execute("SELECT count(*) FROM json_each('[]')")
        database.execute("COMMIT")
        is_split = bool(self._wal_size())
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("SELECT count(*) FROM sqlite_schema")  # from here on, shared with readers
        self._wal_identity = _identity(self._wal)
        # a journal can be read on a full disk too, but isn't changed then
        with suppress(sqlite3.Error, self.ERROR) if must_exist else nullcontext():
            database.execute(f"PRAGMA busy_timeout = {_READER_WAIT * 1000:.0f}")
            # the main file has the flag; after a kill in a move the ``-wal`` file has it, too
            if is_split:
                database.execute(f"PRAGMA user_version = {self.VERSION}")
            elif not self._set_split_flag():
                self._checkpoint_at = _CHECKPOINT_RETRY
            with self._transaction():
                self._recover()
        database.execute("PRAGMA busy_timeout = 0")

    def _recover(self) -> None:
        """Correct the state of rows that a kill has left."""

    def _create_file(self, real: Path) -> None:
        """Create the file, for the owner alone, unless the file exists."""
        try:
            _create_empty(real)
        except OSError as error:
            message = (
                f"the {self.NOUN} {self.path} can't be created: {error.strerror}. Give a path in a "
                "directory that exists and that you may write to"
            )
            raise self.ERROR(message) from None

    def _set_split_flag(self) -> bool:
        """Set the flag in the main file; return False if a reader of older rows has kept the flag out."""
        database = self._database
        database.execute(f"PRAGMA user_version = {self.VERSION | SPLIT}")
        _, written, moved = database.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        database.execute(f"PRAGMA user_version = {self.VERSION}")
        return bool(written == moved)

    def _checkpoint(self) -> None:
        """Move all rows from the ``-wal`` file to the main file.

        Before the move both files get the split flag; after the move the ``-wal`` file alone clears
        the flag. The ``-wal`` file is never empty after the first write. Readers are kept out for
        the move, since a reader of older rows would stop the move before the flag. Raise
        `sqlite3.Error`, without any move, while another program has the database open.
        """
        database = self._database
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._set_split_flag()
        finally:
            database.execute("PRAGMA locking_mode = NORMAL")
            database.execute("SELECT count(*) FROM sqlite_schema")  # lets readers in

    def _close_database(self) -> None:
        """Close the connection; the ``-wal`` file goes only if the main file has no split flag."""
        with ExitStack() as readers:
            try:
                self._database.rollback()
                [version] = self._database.execute("PRAGMA user_version").fetchone()
                if self._is_own and version & SPLIT:  # after an error in `_set_split_flag`
                    self._database.execute(f"PRAGMA user_version = {self.VERSION}")
            except sqlite3.Error:  # the disk still refuses: a reader keeps the ``-wal`` file
                uri = f"{self._real.as_uri()}?mode=ro"
                with suppress(sqlite3.Error):
                    reader = readers.enter_context(closing(sqlite3.connect(uri, uri=True)))
                    reader.execute("SELECT count(*) FROM sqlite_schema")
            with suppress(sqlite3.Error):  # all committed rows are on the disk
                self._database.close()

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._locked() as database:
            return database.execute(query, values).fetchall()

    @contextmanager
    def _locked(self) -> Generator[sqlite3.Connection]:
        if not self._owner.is_of_this_process():
            self._fail(
                "was opened by the process that this process was forked from: open the file after "
                "the fork, in the process that uses the file"
            )
        with self._lock, self._translated_errors():
            yield self._database

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        """Give the database; commit at the end of the block, and keep other writers out from then on.

        Raise *ERROR* if the file, or the ``-wal`` file, was removed: rows in such a file end with the
        process.
        """
        with self._locked() as database:
            has_begun = database.in_transaction  # an error once closed, which removes the -wal file
            files = _identity(self._real), _identity(self._wal)
            if files != (self._identity, self._wal_identity):
                self._fail(self.REASONS["removed"])
            if not has_begun:  # after an error
                database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # the error may have rolled back already
                    database.execute("ROLLBACK")
                raise
            with suppress(Exception):  # the commit is on the disk: an error would deny it
                size = self._wal_size()
                if size > self._checkpoint_at:
                    self._checkpoint_at = size + _CHECKPOINT_RETRY
                    with self._told_growth(size):
                        self._checkpoint()
                    self._checkpoint_at = _CHECKPOINT_SIZE
            with suppress(Exception):  # the next transaction tells
                database.execute("BEGIN IMMEDIATE")


class JournalFile(DatabaseFile):
    """The file of a journal."""

    NOUN = "journal"
    APPLICATION = 0x53756E4A
    VERSION = VERSION
    ERROR = JournalError
    IN_USE = JournalInUseError
    REASONS = sql.ERROR_REASONS


def lock_path(path: Path) -> Path:
    """Return the file that is locked while a process has the database *path*."""
    return path.with_name(f"{path.name}-lock")


class Ownership:
    """The lock of the database *path*, held by this process until `release`, or a kill.

    Raise `sqlite3.OperationalError` (``locked``) if another process, or this process, has the lock,
    and `OSError` if the lock file can't be made, or belongs to another program.
    """

    def __init__(self, path: Path) -> None:
        self._path: Final = lock_path(path)
        self._process: Final = os.getpid()
        while True:
            _create_empty(self._path)
            self._file = _lock_file_at(self._path)
            self._held = _exclusive(self._path)
            if self._file is not None and self._is_in_place():
                return
            self._held.close()  # the owner before has removed the file meanwhile

    def is_of_this_process(self) -> bool:
        """Return False in a process that was forked from the owner."""
        return self._process == os.getpid()

    def release(self) -> None:
        """Remove the lock file, unless the file is another owner's by now, and release the lock."""
        with suppress(OSError):  # first: the lock of a file that is gone protects nothing
            if self._is_in_place():
                self._path.unlink()
        self._held.close()

    def _is_in_place(self) -> bool:
        return self._file == _lock_file_at(self._path)


def is_locked(path: Path) -> bool:
    """Return True if a process has the database *path*.

    Raise `JournalError` if that can't be told, such as for another user's lock file.
    """
    lock = lock_path(Path(os.path.realpath(path)))
    try:
        return _lock_file_at(lock) is not None and is_held(lock)
    except sqlite3.Error as error:
        if not lock.exists():  # removed meanwhile by the owner
            return False
        message = (
            f"{path}: can't tell if a job uses the journal: {lock}: {error}. Ask the file's owner"
        )
    except OSError:  # no lock file of this library
        return False
    raise JournalError(message)


def is_held(path: Path) -> bool:
    """Return True if a process has the file *path* for itself; raise `sqlite3.Error` if unreadable."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=0)) as probe:
        try:
            probe.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:  # else of another kind, or damaged
            return cause_of(error) == LOCKED
    return False


def _lock_file_at(path: Path) -> tuple[int, int, int] | None:
    """Return the identity of the lock file *path*, None if missing; raise `OSError` for other files."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size:
        raise FileExistsError(EEXIST, "not a lock file, but another program's")
    return found.st_dev, found.st_ino, found.st_ctime_ns  # inodes of removed files are used again


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of the file *path*, None if missing."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _create_empty(path: Path) -> None:
    """Create the file *path*, for the owner alone, unless the file exists.

    An existing file isn't opened: to close the file would release this process's locks of the file.
    """
    with suppress(FileExistsError):
        os.close(open_private(path, os.O_EXCL | os.O_RDWR))


def _exclusive(path: Path) -> sqlite3.Connection:
    database = _connect(path, _PROBE_WAIT)
    try:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN EXCLUSIVE")
    except BaseException:
        database.close()
        raise
    return database


def _connect(path: Path, timeout: float = 0) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)


def insert_rows(
    database: sqlite3.Connection, lines: Sequence[SourceRow], *, table: str = "rows"
) -> int:
    """Insert rows into *table*; return the number of the last row."""
    values = [value for row in lines for value in (row.line, row.key, row.hash, row.body)]
    last = cast("int", database.execute(_insert_statement(table, len(lines)), values).lastrowid)
    for number, line in enumerate(lines, last - len(lines) + 1):
        if line.reason is not None:
            database.execute(sql.MARK_BAD.format(table=table), (line.reason, number))
    return last


@cache
def _insert_statement(table: str, count: int) -> str:
    return sql.INSERT_ROWS.format(table=table, rows=", ".join([sql.ROW_VALUES] * count))
