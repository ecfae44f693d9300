"""The run of a part at a worker: the verdict on the part, and the limit of rows not done.

A fault belongs to a row, which is then an outcome of the job, or to more than a row (`VERDICTS`):

- to the part: the part has ended, and the import's report has the reason;
- to the machine, such as a file that isn't there: other machines may run the part;
- to the worker, such as refused credentials: this worker can run no part.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from enum import Enum
from functools import partial
from typing import Final, cast

import psycopg
from anyio import to_thread
from attrs import define, evolve, field, frozen

from sunshine_async._calls.client import Client
from sunshine_async.errors import ConfigurationError, SunshineError
from sunshine_async.jobs.cluster import Cluster
from sunshine_async.jobs.cluster_plan import ClusterPlan
from sunshine_async.jobs.job import TOO_MANY, Job
from sunshine_async.jobs.journaled import JournaledJob, app_of
from sunshine_async.jobs.report import Cause, Ending
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.journal import JobJournal
from sunshine_async.journal.postgres_database import reason_of
from sunshine_async.rows import SourceError

_OTHER_TARGET: Final = (
    "the import goes to {}, as its first worker was told, and this worker was told {}. Give all "
    "workers the same app and address"
)


class Verdict(Enum):
    """Verdict on a part that a worker has tried."""

    ENDED = "the part has ended"
    AGAIN = "the part goes on, here or at another worker"
    LEFT = "this machine can't run the part: other machines may"
    HOPELESS = "this worker can run no part"


VERDICTS: Final[Mapping[type[Exception], Verdict]] = {
    psycopg.OperationalError: Verdict.AGAIN,  # the database is away
    SourceError: Verdict.ENDED,  # a file that was changed
    ConfigurationError: Verdict.HOPELESS,
    OSError: Verdict.LEFT,  # the file, or the disk
}
"""Verdicts by the first kind that fits; an error of another kind ends the part."""


@frozen
class PartResult:
    """Result of a try to run a part."""

    verdict: Verdict
    ending: Ending
    reason: str | None


@define(eq=False)
class FailureLimit:
    """The most rows of an import, in all parts together, that may fail, be unknown or bad.

    The *job* of the part *index* gives up once there are more; the counts of the other parts are
    those of the last `count`.
    """

    cluster: Cluster
    number: int
    index: int
    limit: int
    job: Job | None = None
    _others: int = 0
    _earlier: int | None = None  # rows not done in the part before the import was submitted

    async def count(self) -> None:
        """Tell the other workers the count of the part, and learn theirs."""
        job = cast("Job", self.job)
        self._others, self._earlier = await self.cluster.count_troubles(
            self.number, self.index, earlier=job.earlier_troubles, troubles=job.report.troubles
        )
        self.check()

    def check(self, _: object = None) -> None:
        """End the job if there are more rows not done than the limit."""
        job, own = cast("Job", self.job), 0
        if job.earlier_troubles is not None:  # else the journal isn't read yet
            before = job.earlier_troubles if self._earlier is None else self._earlier
            own = job.report.troubles - before
        if self._others + own > self.limit:
            job.give_up(TOO_MANY.format(self.limit))


@define(eq=False)
class PartRunner:
    """Runs parts of imports, one at a time, through the clients that *connect* makes by service."""

    cluster: Cluster
    connect: Callable[[str], Client]
    stopped: bool = False
    _job: Job | None = field(default=None, init=False)
    _limit: FailureLimit | None = field(default=None, init=False)
    _clients: dict[str, Client] = field(factory=dict, init=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def aclose(self) -> None:
        """Close the clients."""
        await self._stack.aclose()

    def stop(self) -> None:
        """Let the calls of the running part end; send nothing more."""
        self.stopped = True
        if self._job is not None:
            self._job.stop()

    async def run(
        self,
        journal: JobJournal,
        number: int,
        index: int,
        plan: ClusterPlan,
        begun: Callable[[], None],
    ) -> PartResult:
        """Run the part *index* of an import; *begun* is called before the first row."""
        try:
            job = await self._open_job(journal, number, index, plan)
            async with self.cluster.file(number, plan) as path:
                with evolve(plan.part, index=index, path=path).open() as rows:
                    await self.cluster.leave(number, index, None)
                    begun()
                    report = await job.run(rows)
            await self.count_failures()
            await to_thread.run_sync(partial(journal.describe, source=plan.source))
        except Exception as error:  # noqa: BLE001 - of any kind: the worker goes on
            found = (verdict for kind, verdict in VERDICTS.items() if isinstance(error, kind))
            verdict = next(found, Verdict.ENDED)
            return PartResult(verdict, Ending.GAVE_UP, _reason_of(error))
        finally:
            self._job = self._limit = None
        verdict = Verdict.ENDED
        if report.ending is Ending.STOPPED:
            verdict = Verdict.AGAIN
        elif report.ending is Ending.GAVE_UP and job.cause is Cause.SERVICE:
            verdict = Verdict.HOPELESS
        return PartResult(verdict, report.ending, report.reason)

    async def count_failures(self) -> None:
        """Tell the other workers the number of rows not done, and learn theirs."""
        if self._limit is not None:
            with suppress(psycopg.OperationalError):  # while the database is away
                await self._limit.count()

    async def _open_job(
        self, journal: JobJournal, number: int, index: int, plan: ClusterPlan
    ) -> Job:
        """Make the job of a part; raise `ConfigurationError` if other workers have another app."""
        service = plan.part.service
        if service not in self._clients:
            client = await self._stack.enter_async_context(self.connect(service))
            self._clients[service] = client
        client = self._clients[service]
        target = f"{app_of(client) or service} at {client.base_url}"
        known = await self.cluster.claim(number, target)
        if known != target:
            raise ConfigurationError(_OTHER_TARGET.format(known, target))
        options, most = plan.options, plan.options.max_failures
        if most is not None:
            self._limit = FailureLimit(self.cluster, number, index, most)
            options = evolve(options, on_problem=self._limit.check)
        job = self._job = JournaledJob(journal, client, SERVICES[service], plan.part.mode, options)
        if self._limit is not None:
            self._limit.job = job
        await self.count_failures()
        if self.stopped:
            job.stop()
        return job


def _reason_of(error: Exception) -> str:
    """Return the reason of *error*; the text of an unforeseen error may have a value of a row."""
    match error:
        case SunshineError() | ValueError():
            return str(error)
        case psycopg.Error():
            return f"the database {reason_of(error, {}, goes_on='The part goes on')}"
        case OSError():
            return f"{error.filename} can't be used on this machine: {error.strerror}"
        case _:
            return f"this is a defect of sunshine-async: {type(error).__name__}. Please report it"
