"""A journal in an SQLite file, and a safe copy into a single file."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from errno import EEXIST
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import orjson

from sunshine_async.journal import sql
from sunshine_async.journal.database import (
    JournalError,
    JournalFile,
    JournalInUseError,
    SingleProcessDatabase,
    insert_rows,
    is_held,
    is_locked,
)
from sunshine_async.journal.file import open_private
from sunshine_async.journal.job_journal import JobJournal, Statement, values_of
from sunshine_async.journal.rows import Done, SourceRow, Update
from sunshine_async.journal.stream import Database

T = TypeVar("T")

_ROWS: Final = 50  # in a statement


class Journal(JournalFile, SingleProcessDatabase, JobJournal):
    """The journal at *path*, created where the file is missing, unless *must_exist* is set.

    Constructor and methods raise `JournalError` for a file that is no journal, is damaged, has
    another version or is in use by another process, and for a disk that is full or can't be written.
    """

    TABLES = sql.CREATE_TABLES

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self._is_new: Final = not os.path.lexists(path)
        self._is_unwanted = False
        super().__init__(path, must_exist=must_exist)

    def discard(self) -> None:
        """Close the journal; remove a file that was made for a job, and that no job has used."""
        with suppress(JournalError), self._transaction() as database:
            used = database.execute(sql.HAS_JOB).fetchall()
            self._is_unwanted = self._is_new and not used
        self.close()

    def _close_database(self) -> None:
        super()._close_database()
        if self._is_unwanted and not self._wal.exists():
            with suppress(OSError):
                self._real.unlink()

    def _commit(self, work: Callable[[Database], T]) -> T:
        with self._transaction() as database:
            return work(database)

    def _insert(self, database: Database, lines: Sequence[SourceRow], *, table: str) -> int:
        last, rows, file = 0, iter(lines), cast("sqlite3.Connection", database)
        while some := [*islice(rows, _ROWS)]:
            last = insert_rows(file, some, table=table)
        return last

    def _pending(self, states: str, values: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        [found] = self._fetch_all(sql.SELECT_PENDING.format(states=states), values)
        *columns, hashes = map(orjson.loads, found)
        return zip(*columns, map(bytes.fromhex, hashes), strict=True)

    def _state_statements(
        self, marks: Sequence[Update], begun: Mapping[int, str | None], done: Done
    ) -> Iterable[Statement]:
        now = time.time()
        if begun:
            yield sql.UPDATE_BEGUN, (now, self.session, _json(begun))
        if marks:
            yield sql.UPDATE_ROWS, (self.session, _json([*map(values_of, marks)]))
        for result, rows in done.items():
            yield sql.UPDATE_DONE, (*result, now, self.session, _json(rows))

    def _recover(self) -> None:
        for statement in sql.RECOVER:
            self._database.execute(statement)


def _json(values: object) -> str:
    return orjson.dumps(values, option=orjson.OPT_NON_STR_KEYS).decode()


def copy_journal(source: str | Path, target: str | Path) -> None:
    """Copy the journal *source* to the new file *target*, readable by the owner alone.

    The copy has all rows on the disk, also after a kill, and also of a read-only *source*. *target*
    appears complete or not at all. Raise `FileExistsError` where *target* exists, `OSError` where
    *target* can't be written, and `JournalError` for a *source* that is no journal, is damaged, or
    is in use.
    """
    source, target = Path(source), Path(target)
    if os.path.lexists(target):
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        copied = Path(folder, target.name)
        os.close(open_private(copied, os.O_WRONLY))
        if source.is_file() and not os.access(source, os.W_OK):
            source = _copy_files(source, Path(folder, "source"))
        with closing(Journal(source, must_exist=True)) as journal:
            try:
                journal.copy(copied)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(target)) from None
        os.close(open_private(target, os.O_EXCL | os.O_WRONLY))
        copied.replace(target)


def _copy_files(source: Path, copied: Path) -> Path:
    """Copy the files of a read-only journal; raise `JournalError` if a process uses the journal."""
    try:
        in_use = is_locked(source) or is_held(source)  # an older release locks the journal
    except sqlite3.Error as error:
        message = f"{source} can't be read: {error}"
        raise JournalError(message) from None
    if in_use:
        message = (
            f"{source} is in use by another process: copy the journal when that process has ended"
        )
        raise JournalInUseError(message)
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, copied.with_name(copied.name + suffix))
    return copied
