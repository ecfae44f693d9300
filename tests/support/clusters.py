"""Imports by workers in this process: files, plans, workers with notes, and the state of an import."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio import to_thread
from anyio.abc import TaskStatus
from support.clients import sunshine
from support.patience import PATIENCE

from sunshine_async._calls.client import Client
from sunshine_async.jobs import SUNSHINE, Mode, Report, open_rows, partition
from sunshine_async.jobs.cluster import Cluster, open_cluster
from sunshine_async.jobs.cluster_plan import ClusterPlan
from sunshine_async.jobs.cluster_reader import ImportReader, open_import
from sunshine_async.jobs.cluster_worker import ClusterWorker
from sunshine_async.jobs.options import JobOptions
from sunshine_async.journal.postgres_database import PostgresPlace

PAUSE = 0.05


class Slow(httpx.AsyncBaseTransport):
    """A transport that waits before each request, until told to go on."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.begun = anyio.Event()
        self.go_on = anyio.Event()
        self.answered = anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.begun.set()
        await self.go_on.wait()
        answer = await self.transport.handle_async_request(request)
        self.answered.set()
        return answer


def people(number: int, *, changed: int = 0) -> list[dict[str, Any]]:
    return [
        {"externalId": f"user-{n}", "metadata": {"n": n * (n >= changed)}} for n in range(number)
    ]


def plan_of(
    file: Path, *, into: int = 4, mode: Mode = Mode.CREATE, is_shared: bool = False, **options: Any
) -> ClusterPlan:
    task = SUNSHINE.task(mode)
    with open_rows(file, task.shape) as rows:
        part = partition(rows, task, into=into)[0]
    return ClusterPlan(
        part=part, source=file.name, is_shared=is_shared, options=JobOptions(**options)
    )


class Notes(list[str]):
    """The notes of workers, and a wait for a note."""

    def __init__(self) -> None:
        super().__init__()
        self._news = anyio.Event()

    def append(self, note: str) -> None:
        super().append(note)
        self._news.set()
        self._news = anyio.Event()

    async def wait_for(self, text: str) -> None:
        while not any(text in note for note in self):
            await self._news.wait()


@asynccontextmanager
async def working(
    place: PostgresPlace,
    transport: httpx.AsyncBaseTransport,
    *,
    number: int = 1,
    heartbeat: float = 30.0,
    connect: Callable[[str], Client] | None = None,
) -> AsyncIterator[tuple[list[ClusterWorker], Notes]]:
    """Run workers, each with connections of its own, for the length of the block."""
    notes, workers = Notes(), list[ClusterWorker]()

    async def work(task_status: TaskStatus[None]) -> None:
        async with open_cluster(place) as cluster:
            cluster.pause = PAUSE
            client = sunshine(transport)
            make = connect or (lambda _: client)
            workers.append(ClusterWorker(cluster, make, notes.append, heartbeat))
            task_status.started()
            await workers[-1].run()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                await tasks.start(work)
            yield workers, notes
            for worker in workers:
                worker.stop()


async def done(cluster: Cluster, plan: ClusterPlan) -> Report:
    """Submit *plan*, and return the report of the import at the end."""
    number = await cluster.submit(plan)
    async for state in cluster.watch(number):
        assert len(state.parts) == plan.part.count
    return await report_of(cluster)


async def report_of(cluster: Cluster) -> Report:
    with closing(await reader_of(cluster)) as reader:
        return await to_thread.run_sync(reader.total)


async def reader_of(cluster: Cluster) -> ImportReader:
    reader = await to_thread.run_sync(open_import, cluster.place)
    assert reader is not None
    return reader


async def rows_in(cluster: Cluster, query: str) -> Any:
    async with cluster.connection() as connection:
        return await (await connection.execute(query.encode())).fetchall()
