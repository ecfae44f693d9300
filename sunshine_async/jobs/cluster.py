"""The database of a cluster: a queue of Procrastinate, and the imports whose parts are the tasks.

`Cluster.submit` stores an import with its file, and defers a task for each part. A `ClusterWorker`
runs the tasks.

The queue says only which part to try next; the journal of a part decides who may send. A part that
another worker has is tried again later, and a part that has ended sends nothing. So a task that runs
twice, or is taken from a worker that was only slow, does no harm. No other queue has to promise
more: see `ClusterWorker.run_part`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, LiteralString, TypeVar, cast

import anyio
import psycopg
from anyio import to_thread
from attrs import define, frozen
from procrastinate import App, PsycopgConnector, exceptions
from procrastinate.manager import JobManager
from procrastinate.schema import SchemaManager
from psycopg.errors import RaiseException

from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs.cluster_plan import (
    COUNT_TROUBLES,
    DELETE_FILE_AT_END,
    LOCK,
    LOCK_IMPORT,
    LOCK_NAME,
    SELECT_IMPORT,
    SELECT_PARTS,
    SELECT_TROUBLES,
    TABLES,
    ClusterPlan,
    private_folder,
)
from sunshine_async.jobs.report import Ending
from sunshine_async.journal.lease import now
from sunshine_async.journal.postgres_database import (
    Address,
    BoundedAsyncConnection,
    PostgresPlace,
    ascii_text,
    plain_text,
    reason_of,
)
from sunshine_async.journal.postgres_sql import REASONS

T = TypeVar("T")

QUEUE: Final = "sunshine-async"
TASK: Final = "sunshine_async.run_part"
PAUSE: Final = 1.0  # seconds
HEARTBEAT: Final = 30.0
"""Seconds without a heartbeat after which the part of a worker goes to other workers."""
_PATIENCE: Final = 5.0  # seconds for a connection
_MOMENT: Final = 1.0  # the same, for a worker that is stopped
_APPLICATION: Final = "sunshine-async cluster"
_LOOKS: Final = 3  # at a name that another process has, before a note
_WAITING: Final = (
    "Waiting: another process stores an import at {}. This import then goes on with the same rows; for "
    "other rows name another import in the address: ?job=NAME"
)
_CHUNK: Final = 1 << 20  # bytes of the file in a row of the table
_HAS_QUEUE: Final = "SELECT to_regclass('procrastinate_jobs') IS NOT NULL"
_ADD_IMPORT: Final = """INSERT INTO sunshine_cluster.imports (name, plan) VALUES (%s, %s)
    ON CONFLICT (name) DO UPDATE SET plan = excluded.plan RETURNING id"""
_ADD_PARTS: Final = """INSERT INTO sunshine_cluster.parts (import, index)
    SELECT %s, generate_series(0, %s - 1)
    ON CONFLICT (import, index) DO UPDATE
        SET ending = NULL, reason = NULL, earlier = NULL, troubles = 0"""
_LOCK_WAITING: Final = """SELECT lock FROM procrastinate_jobs
    WHERE lock = ANY(%s) AND status = 'todo' FOR UPDATE"""
"""The tasks that wait. Until the end of the transaction no worker takes such a task: its worker would
see the part as before."""
_DELETE_FILE: Final = "DELETE FROM sunshine_cluster.chunks WHERE import = %s"
_ADD_CHUNK: Final = "INSERT INTO sunshine_cluster.chunks VALUES (%s, %s, %s)"
_SELECT_FILE: Final = "SELECT data FROM sunshine_cluster.chunks WHERE import = %s ORDER BY place"
_SELECT_PLAN: Final = """SELECT plan, ending IS NOT NULL FROM sunshine_cluster.imports
    JOIN sunshine_cluster.parts ON import = id WHERE id = %s AND index = %s"""
_SET_TARGET: Final = """UPDATE sunshine_cluster.imports SET target = coalesce(target, %s)
    WHERE id = %s RETURNING target"""
_SET_REASON: Final = """UPDATE sunshine_cluster.parts SET reason = %s
    WHERE import = %s AND index = %s AND ending IS NULL"""
_END_PART: Final = """UPDATE sunshine_cluster.parts SET ending = %s, reason = %s
    WHERE import = %s AND index = %s
    AND EXISTS (SELECT FROM sunshine_cluster.imports WHERE id = import AND plan = %s)"""
"""An end with another plan doesn't count: the part is run again with the new plan."""
_ADD_WORKER: Final = """WITH gone AS (DELETE FROM sunshine_cluster.workers
        WHERE id NOT IN (SELECT id FROM procrastinate_workers))
    INSERT INTO sunshine_cluster.workers VALUES (%(number)s)"""
_COUNT_WORKERS: Final = """SELECT count(*)
    FROM procrastinate_workers JOIN sunshine_cluster.workers USING (id)
    WHERE last_heartbeat > now() - make_interval(secs => %s)"""


def _ignore(_: str) -> None:
    """Note nothing."""


@frozen
class ClusterState:
    """State of an import now."""

    parts: Sequence[tuple[str | None, str | None]]
    """The ending, None before, and the reason, of each part: of the ending, or of a worker that left."""
    workers: int
    """Number of running workers of imports; the queue may have workers of other programs."""

    @property
    def ended(self) -> int:
        """Number of parts that have ended."""
        return sum(ending is not None for ending, _ in self.parts)


class _Connector(PsycopgConnector):
    """A connector whose writes wait for a database that is away, until the worker is *stopped*.

    The queue refuses the end of a task that other workers have taken: the end is then theirs.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            kwargs=address.settings(_APPLICATION), min_size=1, max_size=4, timeout=_PATIENCE,
            connection_class=BoundedAsyncConnection, configure=self._bound,
        )  # fmt: skip
        self.note: Callable[[str], None] = _ignore
        self.stopped = False
        self._is_away = False
        self._has_left = False
        self._until = inf

    async def _bound(self, connection: BoundedAsyncConnection) -> None:
        connection.is_late = lambda: now() > self._until

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        while not self._has_left:
            try:
                await super().execute_query_async(query, **arguments)
            except exceptions.ConnectorException as error:
                if isinstance(error.__cause__, RaiseException):
                    return
                if not is_away(error):
                    raise
                self.note_failure(error)
                self._has_left = self.stopped  # other workers return the task
                await anyio.sleep(PAUSE * (not self.stopped))
            else:
                self._is_away = False
                return

    def leave(self, seconds: float) -> None:
        """Wait for a database that is away no longer than a moment: the worker is stopped.

        Wait for the answers of a database that is stuck for so many *seconds*.
        """
        self.stopped, self.pool.timeout, self._until = True, _MOMENT, now() + seconds

    def note_failure(self, error: Exception) -> None:
        """Note *error*, once until a write succeeds."""
        if not (self._is_away or self.stopped):
            self._is_away = True
            self.note(f"Trying again: the database {explain_failure(error, 'The worker goes on')}")


class _Jobs(JobManager):
    """The jobs of the queue, and the workers that run parts of imports."""

    async def register_worker(self) -> int:
        number = await super().register_worker()
        await self.connector.execute_query_async(_ADD_WORKER, number=number)
        return number


@define(eq=False)
class Cluster:
    """The database of a cluster: the queue, and the imports with the files; see `open_cluster`.

    Methods but `submit` and `watch` raise an error of psycopg: an `OperationalError` while the
    database is away.
    """

    app: App
    place: PostgresPlace
    """The database; the job of the place is the name of the import."""
    pause: float = PAUSE
    """Seconds between two looks at the database, and between two attempts at a part."""

    async def submit(self, plan: ClusterPlan, note: Callable[[str], None] = _ignore) -> int:
        """Store *plan* and the file, and defer the parts; return the id of the import.

        An import with the same name goes on: parts that have ended look for rows to send. While
        another process stores an import with that name, wait, and tell *note* so. Raise
        `ConfigurationError` if *plan* isn't of that import, or if the database can't be reached or
        written: the import is then stored whole, or not at all.
        """
        return await _reporting(self.place, partial(self._submit, plan, note))

    async def _submit(self, plan: ClusterPlan, note: Callable[[str], None]) -> int:
        async with self.connection() as connection:
            name = self.place.job
            looks = 0
            while await (await connection.execute(LOCK_NAME, (name,))).fetchall() != [(True,)]:
                looks += 1
                if looks == _LOOKS:
                    note(_WAITING.format(self.place))
                await anyio.sleep(self.pause)
            known = await (await connection.execute(SELECT_IMPORT, (name,))).fetchone()
            if known is not None:
                before = ClusterPlan.from_text(known[1])
                problem = plan.difference(before, self.place, is_open=known[2])
                if problem is not None:
                    raise ConfigurationError(problem)
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
            locks = [f"{QUEUE} {number} {index}" for index in range(plan.part.count)]
            waiting = {*await (await connection.execute(_LOCK_WAITING, (locks,))).fetchall()}
            for index, lock in enumerate(locks):  # one worker at a time tries a part
                if (lock,) not in waiting:
                    deferrer = self.app.configure_task(
                        TASK, queue=QUEUE, lock=lock, connection=connection
                    )
                    await deferrer.defer_async(number=number, index=index)
        return int(number)

    async def plan(self, number: int, index: int) -> tuple[ClusterPlan, bool] | None:
        """Return the plan of an import, and True if the part has ended; None without such a part.

        Raise `ConfigurationError` for a plan of another release.
        """
        async with self.connection() as connection:
            found = await connection.execute(_SELECT_PLAN, (number, index))
            for text, has_ended in await found.fetchall():
                return ClusterPlan.from_text(text), has_ended
        return None

    async def claim(self, number: int, target: str) -> str:
        """Return the app and address of the first worker of an import: *target* if there is none yet."""
        async with self.connection() as connection:
            [(known,)] = await (await connection.execute(_SET_TARGET, (target, number))).fetchall()
        return str(known)

    async def count_troubles(
        self, number: int, index: int, *, earlier: int | None, troubles: int
    ) -> tuple[int, int | None]:
        """Record the rows not done of a part, *earlier* of which are of the runs before, if known.

        Return the rows not done of the other parts since `submit`, and the part's first *earlier*.
        """
        async with self.connection() as connection:
            if earlier is not None:
                await connection.execute(COUNT_TROUBLES, (earlier, troubles, number, index))
            found = await connection.execute(SELECT_TROUBLES, (index, index, number))
            [(others, first)] = await found.fetchall()
        return others, first

    async def state(self, number: int) -> ClusterState:
        """Return the state of an import."""
        async with self.connection() as connection:
            found = await (await connection.execute(SELECT_PARTS, (number,))).fetchall()
            [(workers,)] = await (await connection.execute(_COUNT_WORKERS, (HEARTBEAT,))).fetchall()
        parts = [(ending, reason and plain_text(reason)) for ending, reason in found]
        return ClusterState(parts, workers)

    async def watch(
        self, number: int, note: Callable[[str], None] = _ignore
    ) -> AsyncIterator[ClusterState]:
        """Yield the state of an import after each change, until all parts have ended.

        Wait for a database that is away, and tell *note* so. Raise `ConfigurationError` for a
        database that can't be read for another reason: the import goes on.
        """
        tell = note

        async def look() -> ClusterState | None:
            nonlocal tell
            try:
                found = await self.state(number)
            except psycopg.OperationalError as error:  # the import goes on, and so does the watch
                tell(f"Waiting: the database {explain_failure(error, 'The import goes on')}")
                tell = _ignore  # until the database is back
                return state
            tell = note
            return found

        state: ClusterState | None = None
        while state is None or state.ended < len(state.parts):
            before, state = state, await _reporting(self.place, look)
            if state is not None and state != before:
                yield state
            await anyio.sleep(self.pause)

    async def leave(self, number: int, index: int, reason: str | None) -> None:
        """Record the *reason* why a worker has left a part; None: a worker has the part."""
        async with self.connection() as connection:
            await connection.execute(_SET_REASON, (reason and ascii_text(reason), number, index))

    async def end(
        self, number: int, index: int, plan: ClusterPlan, ending: Ending, reason: str | None
    ) -> None:
        """Record the end of a part with *plan*; delete the file after the last part."""
        values = (ending.value, reason and ascii_text(reason), number, index, plan.text)
        async with self.connection() as connection:
            await connection.execute(LOCK_IMPORT, (number,))  # of two last parts, one sees both
            await connection.execute(_END_PART, values)
            await connection.execute(DELETE_FILE_AT_END, (number,))

    @asynccontextmanager
    async def file(self, number: int, plan: ClusterPlan) -> AsyncGenerator[str]:
        """Give the path of the file of an import, for the length of the block.

        Raise `OSError` if this machine can't read the shared file, or has no room for the file.
        """
        if plan.is_shared:
            async with await anyio.open_file(plan.part.path, "rb"):
                yield plan.part.path
            return
        with ExitStack() as stack:
            folder = await to_thread.run_sync(stack.enter_context, private_folder())
            path = folder / Path(plan.source).name
            async with self.connection() as connection, connection.cursor("file") as cursor:
                cursor.itersize = 4
                await cursor.execute(_SELECT_FILE, (number,))
                async with await anyio.open_file(path, "wb") as file:
                    async for (data,) in cursor:
                        await file.write(data)
            yield str(path)

    @property
    def connector(self) -> _Connector:
        """The connections to the database."""
        return cast("_Connector", self.app.connector)

    def connection(self) -> AbstractAsyncContextManager["psycopg.AsyncConnection[Any]"]:
        """Give a connection; the block is a transaction."""
        return self.connector.pool.connection()


@asynccontextmanager
async def open_cluster(place: PostgresPlace) -> AsyncGenerator[Cluster]:
    """Open the database at *place*, with tables made where missing, for the length of the block.

    Raise `ConfigurationError` for a database that can't be reached or written.
    """
    app = App(connector=_Connector(place.address))
    app.job_manager = _Jobs(app.connector)
    async with AsyncExitStack() as stack:

        async def enter() -> None:
            await to_thread.run_sync(_create_tables, place)
            await stack.enter_async_context(app.open_async())

        await _reporting(place, enter)
        yield Cluster(app, place)


def _create_tables(place: PostgresPlace) -> None:
    with place.address.connect(_APPLICATION) as made:
        place.address.check_session(made, name=str(place), error=ConfigurationError)
        with made.transaction():
            made.execute(LOCK)
            [[has_queue]] = made.execute(_HAS_QUEUE).fetchall()
            made.execute(TABLES)
            if not has_queue:
                made.execute(SchemaManager.get_schema())


async def _reporting(place: PostgresPlace, act: Callable[[], Awaitable[T]]) -> T:
    """Call *act*; an error of the database is a `ConfigurationError` without the database's text."""
    try:
        return await act()
    except (psycopg.Error, exceptions.ConnectorException) as error:
        message = f"{place} {explain_failure(error, 'Run the same command again')}"
    raise ConfigurationError(message)  # here: the frames of the error have the password


def is_away(error: Exception) -> bool:
    """Return True for an *error* of the database, or of the queue, that passes by itself."""
    return isinstance(error.__cause__ or error, psycopg.OperationalError)


def explain_failure(error: Exception, goes_on: str) -> str:
    """Return the reason of an *error* of the database or the queue in words."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if isinstance(cause, psycopg.Error):
        return reason_of(cause, REASONS, goes_on=goes_on)
    return f"can't be used: {type(error).__name__}. Look into the log of the server"
