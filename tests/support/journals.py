"""Jobs with a journal: their files, their runs, and the counts that they end with."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from sunshine_async import jobs
from sunshine_async.emulator import Emulator
from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs import Mode, Report, Service, open_rows
from sunshine_async.jobs.journaled import JournaledJob
from sunshine_async.journal import (
    JobJournal,
    Journal,
    JournalQueries,
    Rules,
    SourceRow,
    State,
    Update,
    open_journal,
    place_of,
)
from sunshine_async.journal.postgres_database import PostgresPlace


def write(file: Path, rows: Iterable[Any]) -> Path:
    """Write *rows* to *file*, a line a row; return the file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


async def run_with_journal(
    client: Any, service: Service, path: str | Path, rows: Any, mode: Mode, **options: Any
) -> Report:
    """Run a job over *rows*, those of a file or at hand, with the journal at *path*."""
    async with jobs.open(path, client, service, mode, **options) as job:
        if not isinstance(rows, Path):
            return await job.run(rows)
        with open_rows(rows, job.shape) as found:
            return await job.run(found)


async def run_until_full(job: JournaledJob, rows: Path) -> Report:
    """Run *job* over the rows of a file, on a disk that is full after one more page."""
    with open_rows(rows, job.shape) as found:
        await job._load(found)
        [[pages]] = job.journal._fetch_all("PRAGMA page_count")
        job.journal._fetch_all(f"PRAGMA max_page_count = {pages + 1}")
        return await job.run(found)


def begun(path: Path, *numbers: int) -> None:
    """Let the journal say that rows had begun, and that the run isn't finished."""
    journal = Journal(path)
    journal.write([Update(number, State.BEGUN, 1.0, sent=1) for number in numbers])
    journal.describe(state="open")
    journal.close()


def counts(report: Report) -> tuple[int, int, int, int, int]:
    """Return how many rows are done, failed, unknown, bad and waiting."""
    return report.done, report.failed, report.unknown, report.bad, report.waiting


def effects(emulator: Emulator, service: str) -> dict[str, int]:
    """Return how often *service* did what, without what it never did."""
    found = emulator.ledger()[service]["effects"]
    return {name: number for name, number in found.items() if number}


def dixa_people(number: int, **more: Any) -> list[dict[str, Any]]:
    """Return so many rows of end users, each with an email and a name."""
    return [{"email": f"{n}@x.org", "displayName": f"User {n}", **more} for n in range(number)]


CREATE: Final = Rules(once=True, skips=True)
UPSERT: Final = Rules(differ=True, skips=True)


def load(
    journal: JobJournal, rows: Iterable[SourceRow], rules: Rules = UPSERT, **options: Any
) -> None:
    """Let *rows* of another source take the place of the rows before."""
    journal.begin()
    journal.add(rows)
    journal.index()
    journal.ready({}, rules, **options)


def lines(*keys: str | None, mark: bytes = b"") -> list[SourceRow]:
    """Return a row for each of *keys*, with a hash of the key and *mark*."""
    return [SourceRow(line, key, f"{key}".encode() + mark) for line, key in enumerate(keys, 1)]


def states(journal: JournalQueries) -> dict[int, State]:
    """Return the states of all rows by line."""
    return {row["line"]: State(row["state"]) for row in journal.rows()}


def opened(place: str | Path) -> JobJournal:
    """Return the journal at *place*, a path or a URL."""
    found = place_of(place)
    assert not isinstance(found, ConfigurationError)
    return open_journal(found)


def owner_of(url: str, statement: str = "SELECT token FROM owner") -> int | None:
    """Return the owner of the journal at *url*, or what another *statement* gives."""
    place = place_of(url)
    assert isinstance(place, PostgresPlace)
    with place.address.connect("a test") as connection:
        connection.execute(f"SET search_path = {place.schema}".encode())
        found = connection.execute(statement.encode()).fetchone()
    return None if found is None else int(found[0])


def end_ownership(url: str) -> None:
    """Take the journal at *url* from the owner, as another process does after the lease."""
    owner_of(url, "DELETE FROM owner RETURNING token")
