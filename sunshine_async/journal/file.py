"""Files with personal data: a mode for the owner alone, and the kinds of SQLite file.

A kind of SQLite file has the checks and the messages that the owner and a reader of a file share.
"""

import logging
import os
import re
import sqlite3
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, NoReturn

from sunshine_async.errors import ConfigurationError, SunshineError

SPLIT: Final = 1 << 16
"""A flag in the version: the main file lacks rows of the ``-wal`` file."""
LOCKED: Final = "locked"
_CAUSES: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_PROTOCOL: LOCKED,
    sqlite3.SQLITE_NOTADB: "not a database",
    sqlite3.SQLITE_CORRUPT: "malformed",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "disk I/O",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_CANTOPEN: "unable to open",
}
"""Causes by SQLite's primary code of an error; a code without a cause has no message of its own."""
POSTGRES: Final = ("postgresql:", "postgres:")
"""Beginnings of the URL of a PostgreSQL database."""
_LOG: Final = logging.getLogger("sunshine_async")
_LARGE: Final = 64 << 20
"""Bytes of the ``-wal`` file of which a WARNING tells; each further WARNING tells of twice as many."""
_GROWS: Final = (
    "%s has %d MB and grows: another program keeps %s open. End that program, such as a browser of "
    "databases; the rows then move to the main file"
)
_URL: Final = re.compile("[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # Windows' drives have one letter


def open_private(path: Path, flags: int) -> int:
    """Open the file *path* for personal data; return the descriptor. A new file is the owner's alone."""
    return os.open(path, flags | os.O_CREAT, 0o600)


def make_private(path: Path) -> None:
    """Let the owner alone read and write the plain file *path*, before personal data is added.

    Where the system refuses, such as for the file of another user, a WARNING says so.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        return
    except OSError as error:
        message = "others may read %s, which has personal data (%s): name a file of your own"
        _LOG.warning(message, path, error.strerror)


def url_refusal(name: object, noun: str) -> ConfigurationError | None:
    """Return the error for a *name* that is a URL, which may have a password; None for a path."""
    if not isinstance(name, str | Path):
        return ConfigurationError(f"{noun}: a path must be text, not {type(name).__name__}")
    if _URL.match(str(name)) is None:
        return None
    message = f"{noun}: give the path of a file, or a URL that begins with postgresql://"
    return ConfigurationError(message)


class DatabaseFile:
    """The file at *path*. A subclass names the kind of file, and the error to raise.

    Raise `ConfigurationError` for a name that SQLite reserves or that no file can have.
    """

    NOUN: ClassVar[str]
    """The kind of file in messages, such as ``journal``."""
    APPLICATION: ClassVar[int]
    """The kind of file, as a number in the file."""
    VERSION: ClassVar[int]
    """Version of the tables; a file with another version is refused."""
    ERROR: ClassVar[type[SunshineError]]
    """The error to raise."""
    IN_USE: ClassVar[type[SunshineError]]
    """The error to raise if another process has the file."""
    REASONS: ClassVar[Mapping[str, str]]
    """Messages by `cause_of` an error; ``split``, ``old``, ``removed``: by the state of the file."""

    def __init__(self, path: str | Path) -> None:
        name = os.fspath(path)
        if name in ("", ":memory:") or name.startswith("file:") or "\0" in name:
            message = f"{self.NOUN}: the path of a file is needed, such as run.sqlite, not {name!r}"
            raise ConfigurationError(message)
        self.path = Path(name)
        self._real: Final = Path(os.path.realpath(name))
        self._wal: Final = Path(f"{self._real}-wal")
        self._large = _LARGE

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def _check_place(self) -> None:
        """Raise *ERROR* unless there is a regular file."""
        with self._system_errors():
            if not self._real.exists():
                self._fail("isn't there: check the path and its spelling")
            if not self._real.is_file():
                self._fail("is a directory, or not a regular file: give the path of a file")

    def _check_kind(self, database: sqlite3.Connection, *, may_be_new: bool = False) -> bool:
        """Return True if the file has tables; raise *ERROR* for a file of another kind or version.

        A file without tables is refused unless the file *may_be_new*.
        """
        [application] = database.execute("PRAGMA application_id").fetchone()
        [version] = database.execute("PRAGMA user_version").fetchone()
        [tables] = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not may_be_new and not tables:
            self._fail(self.REASONS["not a database"])
        if application != self.APPLICATION and (application or tables):
            self._fail(f"is no {self.NOUN}, but another program's database")
        self._check_version(version & ~SPLIT, is_new=not tables)
        if version & SPLIT and not self._wal_size():
            self._fail(
                f"is a part of {'an' if self.NOUN == 'inbox' else 'a'} {self.NOUN}: the file "
                f"{self._wal.name} has the rest, and is missing. {self.REASONS['split']}"
            )
        return bool(tables)

    def _check_version(self, version: int, *, is_new: bool) -> None:
        text = (
            f"has version {version} of the format: this release reads version {self.VERSION} only"
        )
        if version > self.VERSION:
            self._fail(f"{text}. Use a newer release of sunshine-async")
        if version < self.VERSION and not is_new:
            self._fail(f"{text}. {self.REASONS['old']}")

    def _wal_size(self) -> int:
        with self._system_errors():
            return self._wal.stat().st_size if self._wal.exists() else 0

    @contextmanager
    def _told_growth(self, size: int) -> Generator[None]:
        """Tell of a ``-wal`` file of *size* bytes, if large, whose rows the block fails to move."""
        try:
            yield
        except sqlite3.Error as error:
            if size >= self._large and cause_of(error) == LOCKED:
                self._large = 2 * size
                _LOG.warning(_GROWS, self._wal.name, size >> 20, self.path)
            raise
        self._large = _LARGE

    @contextmanager
    def _system_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            reason = f"can't be used: {error.strerror}. Check the path, and the disk"
        else:
            return
        self._fail(reason)

    @contextmanager
    def _translated_errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            cause, text = cause_of(error), str(error)
        else:
            return
        reason = self.REASONS.get(cause, f"can't be used: {text}")
        self._fail(reason, self.IN_USE if cause == LOCKED else self.ERROR)

    def _fail(self, reason: str, kind: type[SunshineError] | None = None) -> NoReturn:
        message = f"{self.path} {reason}"
        raise (kind or self.ERROR)(message)


def cause_of(error: sqlite3.Error) -> str:
    """Return the cause of *error* in `DatabaseFile.REASONS`; an empty text for any other cause."""
    return _CAUSES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")
