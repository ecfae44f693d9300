"""A safe copy of a journal: whole, in one file, whatever a killed job has left beside it."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from errno import EEXIST
from pathlib import Path

from sunshine_async.journal.disk import JournalError
from sunshine_async.journal.file import Journal


def copy_journal(source: Path, target: Path) -> None:
    """Copy the journal *source* to *target*, a file of its own for its owner alone.

    The copy has all that is on the disk, also after a kill, and also where *source* can only be
    read. *target* is there whole or not at all. Raise `FileExistsError` where *target* exists,
    `OSError` where it can't be written, and `JournalError` for a *source* that is no journal, is
    damaged, or is in use.
    """
    if os.path.lexists(target):
        raise FileExistsError(EEXIST, os.strerror(EEXIST), str(target))
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        beside = Path(folder, target.name)
        beside.touch(0o600)
        if source.is_file() and not os.access(source, os.W_OK):
            source = _writable(source, Path(folder, "source"))
        with closing(Journal(source, must_exist=True)) as journal:
            try:
                journal.copy(beside)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(target)) from None
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        beside.replace(target)


def _writable(source: Path, copied: Path) -> Path:
    """Copy the files of a journal that can only be read; a process that has it is found out."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as database:
        try:
            database.execute("SELECT 1 FROM sqlite_schema").fetchone()
        except sqlite3.Error as error:
            if "locked" in str(error):
                message = f"{source} is in use by another process: copy it when that has ended"
                raise JournalError(message) from None
    for suffix in ("", "-wal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            shutil.copyfile(part, copied.with_name(copied.name + suffix))
    return copied
