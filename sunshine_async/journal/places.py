"""Places of journals: the path of an SQLite file, or the URL of a PostgreSQL database.

The job in ``postgresql://user:password@host:5432/database?job=may`` has the name ``may``: a database may
have the journals of many jobs. Without ``job`` the URL means the journal without a name. ``lease=30`` in
the query of the URL is the length of the owner's lease in seconds (10 by default): as long, after a kill,
the next process waits for the journal. A pooler between process and server must be in session mode.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sunshine_async.errors import ConfigurationError
from sunshine_async.journal.file import POSTGRES, url_refusal
from sunshine_async.journal.job_journal import JobJournal
from sunshine_async.journal.journal import Journal
from sunshine_async.journal.reader import JournalReader

if TYPE_CHECKING:
    from sunshine_async.journal.postgres_database import PostgresPlace
    from sunshine_async.journal.postgres_journal import PostgresReader

Place: TypeAlias = "str | Path | PostgresPlace"


def place_of(name: str | Path) -> "Place | ConfigurationError":
    """Return the place called *name*, or the error to raise for a wrong URL.

    Raise nothing: *name* may hold a password, which no frame of an error may hold.
    """
    if not str(name).startswith(POSTGRES):
        return url_refusal(name, "journal") or name
    try:
        from sunshine_async.journal.postgres_database import parse_place  # noqa: PLC0415 - an extra
    except ImportError:
        message = "a journal in PostgreSQL needs psycopg: pip install 'sunshine-async[postgres]'"
        return ConfigurationError(message)
    place = parse_place(str(name))
    return ConfigurationError(place) if isinstance(place, str) else place


def open_journal(
    place: Place, *, must_exist: bool = False, may_wait: Callable[[], bool] = lambda: True
) -> JobJournal:
    """Open the journal at *place*, created if missing unless *must_exist* is set.

    Raise `JournalError` for a journal that can't be used, or is in use by another process. The wait
    for the lease of a killed owner ends once *may_wait*, which is asked again and again, returns
    False or raises an error.
    """
    if isinstance(place, str | Path):
        return Journal(place, must_exist=must_exist)
    from sunshine_async.journal.postgres_journal import PostgresJournal  # noqa: PLC0415

    return PostgresJournal(place, must_exist=must_exist, may_wait=may_wait)


def open_reader(place: Place) -> "JournalReader | PostgresReader":
    """Return the journal at *place*, read only, also while a job runs."""
    if isinstance(place, str | Path):
        return JournalReader(place)
    from sunshine_async.journal.postgres_journal import PostgresReader  # noqa: PLC0415

    return PostgresReader(place)
