"""Imports by workers, as the database of a cluster has them: the plan, and the parts with their endings.

A `ClusterPlan` travels to the workers as JSON. Each part has a journal of its own: `journal_of`. A
worker has its copy of the file in a `private_folder`. Nothing here needs the queue.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from pathlib import Path
from typing import Any, Final

import orjson
from attrs import asdict, evolve, field, frozen

from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs.options import Duplicates, JobOptions
from sunshine_async.jobs.partition import FilePart
from sunshine_async.jobs.report import Ending
from sunshine_async.jobs.tasks.task import Mode
from sunshine_async.journal import JournalError
from sunshine_async.journal.database import Ownership, is_locked
from sunshine_async.journal.postgres_database import PostgresPlace

LOCK: Final = "SELECT pg_advisory_xact_lock(7166474261374128239)"
"""One process at a time makes tables."""
LOCK_NAME: Final = (
    "SELECT pg_try_advisory_xact_lock(hashtextextended('sunshine_cluster ' || %s, 0))"
)
"""One process at a time gives an import of that name. Others go on: a large file takes long."""
LOCK_IMPORT: Final = "SELECT FROM sunshine_cluster.imports WHERE id = %s FOR UPDATE"
HAS_TABLES: Final = "SELECT to_regclass('sunshine_cluster.imports') IS NOT NULL"
TABLES: Final = """CREATE SCHEMA IF NOT EXISTS sunshine_cluster;
    CREATE TABLE IF NOT EXISTS sunshine_cluster.imports (
        id BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE, name TEXT PRIMARY KEY, plan TEXT NOT NULL,
        target TEXT);
    CREATE TABLE IF NOT EXISTS sunshine_cluster.parts (import BIGINT, index INTEGER, ending TEXT,
        reason TEXT, earlier INTEGER, troubles INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (import, index));
    CREATE TABLE IF NOT EXISTS sunshine_cluster.chunks (import BIGINT, place INTEGER,
        data BYTEA NOT NULL, PRIMARY KEY (import, place));
    CREATE TABLE IF NOT EXISTS sunshine_cluster.workers (id BIGINT PRIMARY KEY)"""
"""*plan*: a `ClusterPlan`. *target*: address and app of the first worker, for all workers. *ending*
of a part: an `Ending`, or NULL while the part has to be run; *reason* is then the reason why a
worker has left the part. *troubles*: rows not done, counted if there is a limit for the import;
*earlier*: those of the runs before. ``chunks``: the files, until all parts have ended. ``workers``: those
of the queue's workers that run parts."""
SELECT_IMPORT: Final = """SELECT id, plan, EXISTS (SELECT FROM sunshine_cluster.parts
        WHERE import = id AND ending IS DISTINCT FROM 'all rows taken')
    FROM sunshine_cluster.imports WHERE name = %s"""
SELECT_PARTS: Final = """SELECT ending, reason FROM sunshine_cluster.parts WHERE import = %s
    ORDER BY index"""
COUNT_TROUBLES: Final = """UPDATE sunshine_cluster.parts
    SET earlier = coalesce(earlier, %s), troubles = %s WHERE import = %s AND index = %s"""
SELECT_TROUBLES: Final = """SELECT
        coalesce(sum(troubles - earlier) FILTER (WHERE index <> %s), 0)::int,
        min(earlier) FILTER (WHERE index = %s)
    FROM sunshine_cluster.parts WHERE import = %s"""
DELETE_FILE_AT_END: Final = """DELETE FROM sunshine_cluster.chunks WHERE import = %s
    AND NOT EXISTS (SELECT FROM sunshine_cluster.parts
    WHERE parts.import = chunks.import AND ending IS NULL)"""
_SOURCE: Final = ("digest", "meant")
_OTHER_IMPORT: Final = (
    "{} has an import of which {} is {}, not {}. Give the same as before, or name another import in "
    "the address: ?job=NAME"
)
_OTHER_SOURCE: Final = (
    "{} has an import that isn't finished, of {}, and {} is not the same, or not read as before. "
    "Finish that import, go on with the rows of this file (--accept-changed-source), or name another "
    "import in the address: ?job=NAME"
)
_OTHER_RELEASE: Final = (
    "the import was given by another release of sunshine-async, with a plan that this release can't "
    "read. Use the same release for the import and for all workers"
)
_FOLDER, _OWNER = "sunshine-async-", ".owner"
_CALLBACKS: Final = ("on_problem", "on_progress")
"""Options of a job that don't travel to the workers."""


@frozen(kw_only=True)
class ClusterPlan:
    """An import: the first part, which the other parts resemble, and the options of each job."""

    part: FilePart
    source: str
    """The path of the file, as given."""
    is_shared: bool
    """True: the workers read the path themselves; False: the file travels in the database."""
    options: JobOptions = field(factory=JobOptions)
    command: str = ""
    """The command of the import, without secrets, as a line for a shell."""

    @property
    def text(self) -> str:
        """The plan as JSON, for `from_text`."""
        values = asdict(self, filter=lambda option, _: option.name not in _CALLBACKS)
        return orjson.dumps(values).decode()

    @classmethod
    def from_text(cls, text: str) -> "ClusterPlan":
        """Return the plan of a *text*; raise `ConfigurationError` for a plan of another release."""
        with suppress(Exception):  # of any kind; no error in the chain: its text may have the plan
            values: dict[str, Any] = orjson.loads(text)
            part, options = values.pop("part"), values.pop("options")
            if options["duplicates"]:
                options["duplicates"] = Duplicates(options["duplicates"])
            part["mode"] = Mode(part["mode"])
            return cls(part=FilePart(**part), options=JobOptions(**options), **values)
        raise ConfigurationError(_OTHER_RELEASE)

    def difference(
        self, known: "ClusterPlan", place: PostgresPlace, *, is_open: bool
    ) -> str | None:
        """Return the reason, in words, why this isn't the import at *place* with the plan *known*.

        An import that *is_open* goes on with the same file only, unless a changed file is accepted.
        """
        for name in ("service", "mode", "count"):
            before, now = (
                getattr(value, "value", value)
                for value in (getattr(known.part, name), getattr(self.part, name))
            )
            if before != now:
                return _OTHER_IMPORT.format(place, name.replace("count", "parts"), before, now)
        same = all(getattr(self.part, name) == getattr(known.part, name) for name in _SOURCE)
        if is_open and not same and not self.options.accept_changed_source:
            return _OTHER_SOURCE.format(place, known.source, self.source)
        return None


def journal_of(place: PostgresPlace, number: int, index: int) -> PostgresPlace:
    """Return the place of the journal of a part of the import *number*."""
    return evolve(place, job=f"import_{number}_part_{index + 1}")


@contextmanager
def private_folder() -> Generator[Path]:
    """Give a new folder, for this user alone, for the length of the block.

    Remove the folders that killed workers of this user have left on this machine. Raise `OSError` if
    the folder can't be made.
    """
    with tempfile.TemporaryDirectory(prefix=_FOLDER, ignore_cleanup_errors=True) as name:
        folder = Path(name)  # mode 0700
        for lock in folder.parent.glob(f"{_FOLDER}*/{_OWNER}-lock"):
            with suppress(OSError, JournalError):  # another worker is faster
                is_own = lock.parent.lstat().st_uid == folder.lstat().st_uid
                if is_own and not is_locked(lock.with_name(_OWNER)):
                    shutil.rmtree(lock.parent)
        try:
            owner = Ownership(folder / _OWNER)
        except sqlite3.Error as error:
            raise OSError(EIO, str(error), name) from None
        try:
            yield folder
        finally:
            owner.release()


def worst(endings: Sequence[Ending | None]) -> Ending | None:
    """Return the worst of the *endings* of parts; None while a part has to be run."""
    return max(endings, key=[*Ending, None].index, default=None)
