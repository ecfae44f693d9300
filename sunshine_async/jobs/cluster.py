"""The database of a cluster: a queue of Procrastinate, and the imports whose parts are the tasks.

`Cluster.submit` stores an import with its file, and defers a task for each part. A `ClusterWorker`
runs the tasks.

The queue says only which part to try next; the journal of a part decides who may send. A part that
another worker has is tried again later, and a part that has ended sends nothing. So a task that runs
twice, or is taken from a worker that was only slow, does no harm. No other queue has to promise
more: see `ClusterWorker.run_part`.
"""

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Final, LiteralString, cast

import anyio
import orjson
import psycopg
from anyio import to_thread
from attrs import asdict, define, evolve, field, frozen
from procrastinate import App, PsycopgConnector, exceptions
from procrastinate.schema import SchemaManager
from psycopg.errors import RaiseException

from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs.options import Duplicates, JobOptions
from sunshine_async.jobs.partition import FilePart
from sunshine_async.jobs.progress import restore_totals
from sunshine_async.jobs.report import Ending, Report
from sunshine_async.jobs.tasks.task import Mode
from sunshine_async.journal import JournalError
from sunshine_async.journal.postgres_database import reason_of
from sunshine_async.journal.postgres_journal import PostgresPlace, PostgresReader

QUEUE: Final = "sunshine-async"
TASK: Final = "sunshine_async.run_part"
PAUSE: Final = 1.0  # seconds
_CHUNK: Final = 1 << 20  # bytes of the file in a row of the table
_LOCK: Final = "SELECT pg_advisory_xact_lock(7166474261374128239)"
_HAS_TABLES: Final = "SELECT to_regclass('sunshine_cluster.imports') IS NOT NULL"
_HAS_QUEUE: Final = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL"
_TABLES: Final = """CREATE SCHEMA IF NOT EXISTS sunshine_cluster;
    CREATE TABLE IF NOT EXISTS sunshine_cluster.imports (
        id BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE, name TEXT PRIMARY KEY, plan TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS sunshine_cluster.parts (import BIGINT, index INTEGER, ending TEXT,
        reason TEXT, PRIMARY KEY (import, index));
    CREATE TABLE IF NOT EXISTS sunshine_cluster.chunks (import BIGINT, place INTEGER,
        data BYTEA NOT NULL, PRIMARY KEY (import, place))"""
"""*plan*: a `ClusterPlan`. *ending* of a part: an `Ending`, or NULL while the part has to be run.
``chunks``: the files, until all parts have ended."""
_SELECT_IMPORT: Final = """SELECT id, plan, EXISTS (SELECT FROM sunshine_cluster.parts
        WHERE import = id AND ending IS DISTINCT FROM 'all rows taken')
    FROM sunshine_cluster.imports WHERE name = %s"""
_ADD_IMPORT: Final = """INSERT INTO sunshine_cluster.imports (name, plan) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET plan = excluded.plan RETURNING id"""
_ADD_PARTS: Final = """INSERT INTO sunshine_cluster.parts (import, index)
    SELECT %s, generate_series(0, %s - 1)
    ON CONFLICT (import, index) DO UPDATE SET ending = NULL, reason = NULL"""
_DELETE_FILE: Final = "DELETE FROM sunshine_cluster.chunks WHERE import = %s"
_ADD_CHUNK: Final = "INSERT INTO sunshine_cluster.chunks VALUES (%s, %s, %s)"
_SELECT_FILE: Final = "SELECT data FROM sunshine_cluster.chunks WHERE import = %s ORDER BY place"
_SELECT_PLAN: Final = "SELECT plan FROM sunshine_cluster.imports WHERE id = %s"
_SELECT_PARTS: Final = """SELECT ending, reason FROM sunshine_cluster.parts WHERE import = %s
    ORDER BY index"""
_END_PART: Final = """UPDATE sunshine_cluster.parts SET ending = %s, reason = %s
    WHERE import = %s AND index = %s"""
_DELETE_FILE_AT_END: Final = """DELETE FROM sunshine_cluster.chunks WHERE import = %s
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
_PLANNED: Final = (
    "concurrency", "max_failures", "max_outage", "grace", "duplicates", "retry_failed",
    "retry_unknown", "accept_changed_source", "full", "keep_bodies",
)  # fmt: skip
"""Options of a job that travel to the workers."""


@frozen(kw_only=True)
class ClusterPlan:
    """An import: the first part, which the other parts resemble, and the options of each job."""

    part: FilePart
    source: str
    """The path of the file, as given."""
    is_shared: bool
    """True: the workers read the path themselves; False: the file travels in the database."""
    options: JobOptions = field(factory=JobOptions)

    @property
    def text(self) -> str:
        """The plan as JSON, for `from_text`."""
        options = {name: getattr(self.options, name) for name in _PLANNED}
        values = {"part": asdict(self.part), "source": self.source, "is_shared": self.is_shared}
        return orjson.dumps({**values, "options": options}).decode()

    @classmethod
    def from_text(cls, text: str) -> "ClusterPlan":
        """Return the plan of a *text*."""
        values = orjson.loads(text)
        part, options = values.pop("part"), values.pop("options")
        if options["duplicates"]:
            options["duplicates"] = Duplicates(options["duplicates"])
        part["mode"] = Mode(part["mode"])
        return cls(part=FilePart(**part), options=JobOptions(**options), **values)


class _Connector(PsycopgConnector):
    """A connector whose writes wait for a database that is away.

    The queue refuses the end of a task that other workers have taken: the end is then theirs.
    """

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        while True:
            try:
                await super().execute_query_async(query, **arguments)
            except exceptions.ConnectorException as error:
                if isinstance(error.__cause__, RaiseException):
                    return
                if not isinstance(error.__cause__, psycopg.OperationalError):
                    raise
            else:
                return
            await anyio.sleep(PAUSE)


@define(eq=False)
class Cluster:
    """The database of a cluster: the queue, and the imports with the files; see `open_cluster`.

    Methods raise an `OperationalError` of psycopg while the database is away.
    """

    app: App
    place: PostgresPlace
    """The database; the job of the place is the name of the import."""
    pause: float = PAUSE
    """Seconds between two looks at the database, and between two attempts at a part."""

    async def submit(self, plan: ClusterPlan) -> int:
        """Store *plan* and the file, and defer the parts; return the id of the import.

        An import with the same name goes on: parts that have ended look for rows to send. Raise
        `ConfigurationError` if *plan* isn't of that import.
        """
        async with self.connection() as connection:
            await connection.execute(_LOCK)
            name = self.place.job
            known = await (await connection.execute(_SELECT_IMPORT, (name,))).fetchone()
            if known is not None:
                self._check(plan, ClusterPlan.from_text(known[1]), is_open=known[2])
            added = await connection.execute(_ADD_IMPORT, (name, plan.text))
            [(number,)] = await added.fetchall()
            await connection.execute(_ADD_PARTS, (number, plan.part.count))
            await connection.execute(_DELETE_FILE, (number,))
            if not plan.is_shared:
                place = 0
                async with await anyio.open_file(plan.part.path, "rb") as file:
                    while data := await file.read(_CHUNK):
                        await connection.execute(_ADD_CHUNK, (number, place, data))
                        place += 1
        for index in range(plan.part.count):
            lock = f"{QUEUE} {number} {index}"  # one worker at a time tries a part
            if not await self.app.job_manager.list_jobs_async(lock=lock, status="todo"):
                deferrer = self.app.configure_task(TASK, queue=QUEUE, lock=lock)
                await deferrer.defer_async(number=number, index=index)
        return int(number)

    def _check(self, plan: ClusterPlan, known: ClusterPlan, *, is_open: bool) -> None:
        """Raise `ConfigurationError` unless *plan* is of the import with the plan *known*."""
        for name in ("service", "mode", "count"):
            before, now = (
                getattr(value, "value", value)
                for value in (getattr(known.part, name), getattr(plan.part, name))
            )
            if before != now:
                message = _OTHER_IMPORT.format(
                    self.place, name.replace("count", "parts"), before, now
                )
                raise ConfigurationError(message)
        same = all(getattr(plan.part, name) == getattr(known.part, name) for name in _SOURCE)
        if is_open and not same and not plan.options.accept_changed_source:
            raise ConfigurationError(_OTHER_SOURCE.format(self.place, known.source, plan.source))

    async def plan(self, number: int) -> ClusterPlan:
        """Return the plan of an import."""
        async with self.connection() as connection:
            [(text,)] = await (await connection.execute(_SELECT_PLAN, (number,))).fetchall()
        return ClusterPlan.from_text(text)

    async def endings(self, number: int) -> list[tuple[str | None, str | None]]:
        """Return the ending, None before, and the reason, of each part of an import."""
        async with self.connection() as connection:
            return await (await connection.execute(_SELECT_PARTS, (number,))).fetchall()

    async def watch(self, number: int) -> AsyncIterator[list[tuple[str | None, str | None]]]:
        """Yield the `endings` after each change, until all parts have ended."""
        endings: list[tuple[str | None, str | None]] = []
        while not endings or None in dict(endings):
            try:
                before, endings = endings, await self.endings(number)
            except psycopg.OperationalError:  # the import goes on, and so does the watch
                before = endings
            if endings != before:
                yield endings
            await anyio.sleep(self.pause)

    async def end(self, number: int, index: int, ending: Ending, reason: str | None) -> None:
        """Record the end of a part; delete the file after the last part."""
        async with self.connection() as connection:
            await connection.execute(_LOCK)  # of two last parts, one sees both
            await connection.execute(_END_PART, (ending.value, reason, number, index))
            await connection.execute(_DELETE_FILE_AT_END, (number,))

    @asynccontextmanager
    async def file(self, number: int, plan: ClusterPlan) -> AsyncGenerator[str]:
        """Give the path of the file of an import, for the length of the block."""
        if plan.is_shared:
            yield plan.part.path
            return
        with tempfile.TemporaryDirectory(prefix="sunshine-async-") as folder:  # mode 0700
            path = Path(folder, Path(plan.source).name)
            async with self.connection() as connection, connection.cursor("file") as cursor:
                cursor.itersize = 4
                await cursor.execute(_SELECT_FILE, (number,))
                async with await anyio.open_file(path, "wb") as file:
                    async for (data,) in cursor:
                        await file.write(data)
            yield str(path)

    def connection(self) -> AbstractAsyncContextManager["psycopg.AsyncConnection[Any]"]:
        """Give a connection; the block is a transaction."""
        return cast("_Connector", self.app.connector).pool.connection()


def journal_of(place: PostgresPlace, number: int, index: int) -> PostgresPlace:
    """Return the place of the journal of a part of the import *number*."""
    return evolve(place, job=f"import_{number}_part_{index + 1}")


@frozen
class ImportState:
    """An import as far as the workers have come: the plan, the endings of the parts, the report."""

    plan: ClusterPlan
    endings: Sequence[Ending | None]
    """None: a worker has, or will get, the part."""
    report: Report

    @property
    def progress(self) -> str:
        """The number of parts that have ended, in words."""
        ended = sum(ending is not None for ending in self.endings)
        return f"{ended} of {len(self.endings)} parts have ended"


def read_import(place: PostgresPlace) -> ImportState | None:
    """Return the state of the import at *place*; None if the database has no such import.

    The report has the rows of all parts; *seconds* are from the first outcome to the last. Raise
    `JournalError` for a database that can't be read.
    """
    try:
        with place.address.connect("sunshine-async cluster") as connection:
            [[has_tables]] = connection.execute(_HAS_TABLES).fetchall()
            found = has_tables and connection.execute(_SELECT_IMPORT, (place.job,)).fetchone()
            if not found:
                return None
            number, text, _ = found
            parts = connection.execute(_SELECT_PARTS, (number,)).fetchall()
    except psycopg.Error as error:
        reason = reason_of(error, {}, goes_on="Run the same again")
    else:
        endings = [ending and Ending(ending) for ending, _ in parts]
        report = _read_report(place, number, endings, [reason for _, reason in parts])
        return ImportState(ClusterPlan.from_text(text), endings, report)
    message = f"{place} {reason}"
    raise JournalError(message)


def _read_report(
    place: PostgresPlace,
    number: int,
    endings: Sequence[Ending | None],
    reasons: Sequence[str | None],
) -> Report:
    reports: list[Report] = []
    times: list[float] = []
    for index, ending in enumerate(endings):
        name = f"part {index + 1}: {reasons[index]}"
        reports.append(Report(ending=ending or Ending.STOPPED, reason=name if ending else None))
        with (
            closing(PostgresReader(journal_of(place, number, index))) as reader,
            suppress(JournalError),  # no worker has begun the part
        ):
            restore_totals(reports[-1], reader)
            first, last, _ = reader.pulse(1)
            times += filter(None, (first, last))
    report = sum(reports, Report())
    report.seconds = max(times) - min(times) if times else 0.0
    return report


@asynccontextmanager
async def open_cluster(place: PostgresPlace) -> AsyncGenerator[Cluster]:
    """Open the database at *place*, with tables made where missing, for the length of the block.

    Raise `ConfigurationError` for a database that can't be reached or written.
    """
    problem = await to_thread.run_sync(_create_tables, place)
    if problem is not None:
        message = f"{place} {problem}"
        raise ConfigurationError(message)
    app = App(connector=_Connector(kwargs=place.address.parts, min_size=1, max_size=4))
    async with app.open_async():
        yield Cluster(app, place)


def _create_tables(place: PostgresPlace) -> str | None:
    """Create the tables that are missing; return the reason if that isn't possible."""
    try:
        with place.address.connect("sunshine-async cluster") as made, made.transaction():
            made.execute(_LOCK)
            [[has_queue]] = made.execute(_HAS_QUEUE).fetchall()
            made.execute(_TABLES)
            if not has_queue:
                made.execute(SchemaManager.get_schema())
    except psycopg.Error as error:
        return reason_of(error, {}, goes_on="Run the same again")
    return None
