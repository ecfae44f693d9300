"""The run of a part at a worker, the verdict on the part, and the count of rows not done in all parts.

A fault belongs to a row, which is then an outcome of the job, or to more than a row (`VERDICTS`):

- to the part: the part has ended, and the import's report has the reason;
- to the machine, such as a file that isn't there: other machines may run the part;
- to the worker, such as refused credentials: this worker can run no part.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from enum import Enum
from functools import partial
from typing import Final

import psycopg
from anyio import CancelScope, to_thread
from attrs import define, evolve, field, frozen
from procrastinate import exceptions

from sunshine_async._calls.client import Client
from sunshine_async.errors import ConfigurationError, SunshineError
from sunshine_async.jobs.cluster import Cluster, explain_failure
from sunshine_async.jobs.cluster_plan import ClusterPlan
from sunshine_async.jobs.job import Job
from sunshine_async.jobs.journaled import JournaledJob, app_of
from sunshine_async.jobs.report import Cause, Ending
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.journal import JobJournal, JournalAwayError
from sunshine_async.rows import RowFile, SourceError

_OTHER_TARGET: Final = (
    "the import goes to {}, as its first worker was told, and this worker was told {}. Give this "
    "worker the same app and address. If the first worker was told wrong, end the command of the "
    "import, and name another import in the address: ?job=NAME"
)
_AFTER_CALLS: Final = 15.0  # seconds


class Verdict(Enum):
    """Verdict on a part that a worker has tried."""

    ENDED = "the part has ended"
    AGAIN = "the part goes on, here or at another worker"
    LEFT = "this machine can't run the part: other machines may"
    HOPELESS = "this worker can run no part"


VERDICTS: Final[Mapping[type[Exception], Verdict]] = {
    psycopg.OperationalError: Verdict.AGAIN,  # the database is away
    JournalAwayError: Verdict.AGAIN,
    SourceError: Verdict.ENDED,  # a file that was changed
    ConfigurationError: Verdict.HOPELESS,
    OSError: Verdict.LEFT,  # the file, or the disk
}
"""Verdicts by the first kind that fits; an error of another kind ends the part."""
_OF_CAUSES: Final[Mapping[Cause, Verdict]] = {
    Cause.JOB: Verdict.ENDED,
    Cause.DATABASE: Verdict.AGAIN,
    Cause.SERVICE: Verdict.HOPELESS,
}
"""Verdicts on a part whose job gave up."""


@frozen
class PartResult:
    """Result of a try to run a part."""

    verdict: Verdict
    ending: Ending
    reason: str | None


@define(eq=False)
class PartRunner:
    """Runs parts of imports, one at a time, through the clients that *connect* makes by service."""

    cluster: Cluster
    connect: Callable[[str], Client]
    stopped: bool = False
    _job: Job | None = field(default=None, init=False)
    _grace: float = field(default=0.0, init=False)  # of the last job
    _fetching: CancelScope | None = field(default=None, init=False)  # of the file of a part
    _counted: tuple[int, int] | None = field(default=None, init=False)  # import and part
    _clients: dict[str, Client] = field(factory=dict, init=False)
    _stack: AsyncExitStack = field(factory=AsyncExitStack, init=False)

    async def aclose(self) -> None:
        """Close the clients."""
        await self._stack.aclose()

    def stop(self) -> float:
        """Let the calls of the running part end; send nothing more.

        Return the seconds that the calls, and then the journal and the queue, may take.
        """
        self.stopped = True
        if self._fetching is not None:
            self._fetching.cancel()
        if self._job is not None:
            self._job.stop()
        return self._grace + _AFTER_CALLS

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
            async with AsyncExitStack() as stack:
                rows = await self._fetch(number, index, plan, stack)
                if rows is None:
                    return PartResult(Verdict.AGAIN, Ending.STOPPED, None)
                begun()
                report = await job.run(rows)
            await self.count_failures()
            await to_thread.run_sync(partial(journal.describe, source=plan.source))
        except Exception as error:  # noqa: BLE001 - of any kind: the worker goes on
            found = (verdict for kind, verdict in VERDICTS.items() if isinstance(error, kind))
            verdict = next(found, Verdict.ENDED)
            return PartResult(verdict, Ending.GAVE_UP, explain(error))
        finally:
            self._job = self._counted = None
        verdict = Verdict.ENDED
        if report.ending is Ending.STOPPED:
            verdict = Verdict.AGAIN
        elif report.ending is Ending.GAVE_UP:
            verdict = _OF_CAUSES[job.cause]
        return PartResult(verdict, report.ending, report.reason)

    async def count_failures(self) -> None:
        """Tell the other workers the number of rows not done, and learn theirs, if there is a limit."""
        job = self._job
        if job is None or self._counted is None:
            return
        earlier = job.earlier_troubles
        with suppress(psycopg.OperationalError):  # while the database is away
            others, first = await self.cluster.count_troubles(
                *self._counted, earlier=earlier, troubles=job.report.troubles
            )
            lost = 0 if first is None or earlier is None else earlier - first  # of lost workers
            job.count_elsewhere(others + lost)

    async def _fetch(
        self, number: int, index: int, plan: ClusterPlan, stack: AsyncExitStack
    ) -> RowFile | None:
        """Return the rows of a part, which *stack* closes; None after `stop`."""
        with CancelScope() as self._fetching:
            if self.stopped:
                self._fetching.cancel()
            path = await stack.enter_async_context(self.cluster.file(number, plan))
            part = evolve(plan.part, index=index, path=path)
            rows = stack.enter_context(await to_thread.run_sync(part.open))
            await self.cluster.leave(number, index, None)
            return rows
        return None

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
        job = await JournaledJob.make(
            journal, client, SERVICES[service], plan.part.mode, plan.options
        )
        self._job, self._grace = job, plan.options.grace
        if plan.options.max_failures is not None:
            self._counted = number, index
        await self.count_failures()
        if self.stopped:
            job.stop()
        return job


def explain(error: Exception) -> str:
    """Return the reason of *error*; a text that isn't the library's may have a value of a row."""
    match error:
        case SunshineError():
            return str(error)
        case psycopg.Error() | exceptions.ConnectorException():
            return f"the database {explain_failure(error, 'The part goes on')}"
        case OSError():
            subject = f"{error.filename} can't be used on this machine"
            if error.filename is None:
                subject = "the operating system of this machine reports"
            reason = error.strerror or type(error).__name__
            return f"{subject}: {reason}. Mend the cause, or run a worker on another machine"
        case _:
            return f"this is a defect of sunshine-async: {type(error).__name__}. Please report it"
