"""A worker of a cluster: runs one part of an import after another, until stopped."""

from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import psycopg
from anyio import to_thread
from attrs import define, evolve, field
from procrastinate import RetryStrategy, exceptions
from procrastinate.worker import Worker

from sunshine_async._calls.client import Client
from sunshine_async.errors import SunshineError
from sunshine_async.jobs.cluster import QUEUE, TASK, Cluster, ClusterPlan, journal_of
from sunshine_async.jobs.job import Job
from sunshine_async.jobs.journaled import JournaledJob
from sunshine_async.jobs.partition import FilePart
from sunshine_async.jobs.report import Ending
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.journal import JobJournal
from sunshine_async.journal.lease import LeaseState
from sunshine_async.journal.places import open_journal

HEARTBEAT: Final = 30.0
"""Seconds without a heartbeat after which the part of a worker goes to other workers."""


class TryAgainError(SunshineError):
    """The part hasn't ended: the worker was stopped, or another worker may have the part."""


@define(eq=False)
class ClusterWorker:
    """Runs the parts that the queue of a cluster has, one at a time, until `stop`.

    *connect* makes the client of a service, by name. *note* gets a sentence about each part.
    """

    cluster: Cluster
    connect: Callable[[str], Client]
    note: Callable[[str], None]
    heartbeat: float = HEARTBEAT
    stopped: bool = field(default=False, init=False)
    _worker: Worker | None = field(default=None, init=False)
    _job: Job | None = field(default=None, init=False)
    _name: str = field(default="", init=False)  # of the part, for notes
    _clients: dict[str, Client] = field(factory=dict, init=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def run(self) -> None:
        """Run parts until `stop`; wait for a database that is away."""
        app = self.cluster.app
        pause = self.cluster.pause
        app.task(name=TASK, queue=QUEUE, retry=RetryStrategy(wait=round(pause)))(self.run_part)
        async with self._stack, anyio.create_task_group() as tasks:
            tasks.start_soon(self._return_lost_parts)
            while not self.stopped:
                self._worker = Worker(
                    app, queues=[QUEUE], install_signal_handlers=False, listen_notify=False,
                    fetch_job_polling_interval=pause, delete_jobs="successful",
                    update_heartbeat_interval=self.heartbeat / 6,
                    stalled_worker_timeout=self.heartbeat,
                )  # fmt: skip
                try:
                    await self._worker.run()  # type: ignore[no-untyped-call]
                except exceptions.ConnectorException as error:
                    self.note(f"The database doesn't answer; trying again: {error}")
                    await anyio.sleep(pause)
            tasks.cancel_scope.cancel()

    def stop(self) -> None:
        """Take no more parts; let the calls of the running part end, and give back the part."""
        self.stopped = True
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]
        if self._job is not None:
            self._job.stop()

    async def run_part(self, number: int, index: int) -> None:
        """Run a part of an import; return once the part has ended, in whatever way.

        Raise an error, of any kind, if the part hasn't ended: the queue then has to call again, here
        or at another worker. The queue has to do the same for a part of a worker that is gone.
        """
        plan = await self.cluster.plan(number)
        part = evolve(plan.part, index=index)
        self._name = f"part {index + 1} of {part.count} of {Path(plan.source).name}"
        place = journal_of(self.cluster.place, number, index)
        journal = await to_thread.run_sync(open_journal, place)  # raises if another has the part
        try:
            ending, reason = await self._run(journal, number, plan, part)
            has_part = journal.lease is None or journal.lease.state is LeaseState.VALID
        finally:
            await to_thread.run_sync(journal.close)
        if not has_part:
            self.note(f"Left to other workers: {self._name}")
            raise TryAgainError(str(reason))
        self.note(f"{ending.value.capitalize()}: {self._name}{(reason and f': {reason}') or ''}")
        if ending is Ending.STOPPED:
            raise TryAgainError(ending.value)
        await self.cluster.end(number, index, ending, reason)

    async def _run(
        self, journal: JobJournal, number: int, plan: ClusterPlan, part: FilePart
    ) -> tuple[Ending, str | None]:
        """Run the job of *part*; return the ending and the reason."""
        try:
            client = await self._client(part.service)
            service = SERVICES[part.service]
            job = self._job = JournaledJob(journal, client, service, part.mode, plan.options)
            if self.stopped:
                job.stop()
            async with self.cluster.file(number, plan) as path:
                with evolve(part, path=path).open() as rows:
                    self.note(f"Begun: {self._name}")
                    report = await job.run(rows)
            await to_thread.run_sync(partial(journal.describe, source=plan.source))
        except Exception as error:  # noqa: BLE001 - of any kind: the worker goes on
            ending = (
                Ending.STOPPED if isinstance(error, psycopg.OperationalError) else Ending.GAVE_UP
            )
            return ending, str(error)
        finally:
            self._job = None
        return report.ending, report.reason

    async def _client(self, service: str) -> Client:
        if service not in self._clients:
            client = await self._stack.enter_async_context(self.connect(service))
            self._clients[service] = client
        return self._clients[service]

    async def _return_lost_parts(self) -> None:
        """Return the parts of killed and stopped workers to the queue, now and then."""
        jobs = self.cluster.app.job_manager
        while True:
            await anyio.sleep(self.heartbeat / 6)
            with suppress(exceptions.ConnectorException):  # another worker was faster, say
                for job in await jobs.get_stalled_jobs(
                    queue=QUEUE, seconds_since_heartbeat=self.heartbeat
                ):
                    await jobs.retry_job(job)
