"""A worker of a cluster: runs one part of an import after another, until stopped.

`ClusterWorker.run_part` is all that an engine has to call, and `ClusterWorker.run` is the part of this
engine, Procrastinate. `PartRunner` runs the job of a part.
"""

import platform
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from attrs import define, field
from procrastinate import RetryStrategy, exceptions
from procrastinate.worker import Worker

from sunshine_async._calls.client import Client
from sunshine_async.errors import SunshineError
from sunshine_async.jobs.cluster import HEARTBEAT, QUEUE, TASK, Cluster, is_away
from sunshine_async.jobs.cluster_part import PartRunner, Verdict, explain
from sunshine_async.jobs.cluster_plan import journal_of
from sunshine_async.jobs.report import Ending
from sunshine_async.journal import JournalInUseError
from sunshine_async.journal.lease import LeaseState
from sunshine_async.journal.places import open_journal

LOST: Final = "the parts of lost workers can't be returned to the queue"
UNCOUNTED: Final = "the rows not done can't be counted"
_AT_END: Final = 5.0  # seconds to close connections


class TryAgainError(SunshineError):
    """The part hasn't ended: the worker was stopped, or another worker may have the part."""


class WorkerError(SunshineError):
    """The worker can run no part; the text has the reason and the next step."""


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
    _runner: PartRunner = field(init=False)
    _worker: Worker | None = field(default=None, init=False)
    _name: str = field(default="", init=False)  # of the part, for notes
    _left: str = field(default="", init=False)  # the last reason to leave a part
    _failure: str = field(default="", init=False)  # the reason why no part can be run

    def __attrs_post_init__(self) -> None:
        self._runner = PartRunner(self.cluster, self.connect)

    async def run(self) -> None:
        """Run parts until `stop`; wait for a database that is away.

        Raise `WorkerError` if no part can be run, such as after refused credentials.
        """
        app, connector, pause = self.cluster.app, self.cluster.connector, self.cluster.pause
        connector.note = self.note
        app.task(name=TASK, queue=QUEUE, retry=RetryStrategy(wait=round(pause)))(self.run_part)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._repeat, self._return_lost_parts, self.heartbeat / 6, LOST)
                tasks.start_soon(self._repeat, self._runner.count_failures, pause, UNCOUNTED)
                while not self.stopped:
                    self._worker = Worker(
                        app, queues=[QUEUE], install_signal_handlers=False, listen_notify=False,
                        fetch_job_polling_interval=pause, delete_jobs="successful",
                        update_heartbeat_interval=min(self.heartbeat, HEARTBEAT) / 6,
                        stalled_worker_timeout=self.heartbeat,
                    )  # fmt: skip
                    try:
                        await self._worker.run()  # type: ignore[no-untyped-call]
                    except exceptions.ConnectorException as error:
                        connector.note_failure(error)
                        await anyio.sleep(pause)
                tasks.cancel_scope.cancel()
        finally:
            await self._runner.aclose()
        if self._failure:
            message = (
                f"this worker can run no part: {self._failure}. The parts are left for other "
                "workers. Mend the cause, and start the worker again"
            )
            raise WorkerError(message)

    def stop(self) -> float:
        """Take no more parts; let the calls of the running part end, and give back the part.

        Return the seconds after which the worker has ended. If the database is away, or stuck, the
        part goes to others like that of a killed worker.
        """
        self.stopped = True
        seconds = self._runner.stop()
        self.cluster.connector.leave(seconds - _AT_END)
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]
        return seconds

    async def run_part(self, number: int, index: int) -> None:
        """Run a part of an import; return once the part has ended, in whatever way.

        Raise an error, of any kind, if the part hasn't ended: the queue then has to call again, here
        or at another worker. The queue has to do the same for a part of a worker that is gone.
        """
        self._name = f"part {index + 1} of import {number}"
        try:
            reason = await self._run_part(number, index)
        except Exception as error:  # noqa: BLE001 - of any kind: other workers may do better
            reason = explain(error)
            await self._leave(number, index, reason)
        if reason is not None:
            raise TryAgainError(reason)  # here: the frames of an error may have a password

    async def _run_part(self, number: int, index: int) -> str | None:
        """Run a part; return the reason to call again, or None at the end of the part."""
        found = await self.cluster.plan(number, index)
        if found is None:
            self._tell(Ending.GAVE_UP.value, "the database has no such import any more")
            return None
        plan, has_ended = found
        if has_ended:  # by an earlier task
            return None
        self._name = f"part {index + 1} of {plan.part.count} of {Path(plan.source).name}"
        place = journal_of(self.cluster.place, number, index)
        try:
            take = partial(open_journal, place, may_wait=lambda: not self.stopped)
            journal = await to_thread.run_sync(take)
        except JournalInUseError:  # another worker has the part, or the worker was stopped
            reason = "the journal is in use by another process"
            await self._pass_on(reason)
            return reason
        try:
            result = await self._runner.run(
                journal, number, index, plan, lambda: self.note(f"Begun: {self._name}")
            )
            has_part = journal.lease is None or journal.lease.state is LeaseState.VALID
        finally:
            await to_thread.run_sync(journal.close)
        verdict, reason = result.verdict, result.reason or result.verdict.value
        if not has_part:
            self._tell("left to other workers", result.reason)
        elif verdict is Verdict.ENDED:
            await self.cluster.end(number, index, plan, result.ending, result.reason)
            self._tell(result.ending.value, result.reason)
            return None
        elif verdict is Verdict.AGAIN:
            self._tell(Ending.STOPPED.value, result.reason)
        else:
            if verdict is Verdict.HOPELESS:
                self._failure = self._left = reason
                self.stop()
            await self._leave(number, index, reason)
        return reason

    def _tell(self, ending: str, reason: str | None) -> None:
        self.note(f"{ending.capitalize()}: {self._name}{(reason and f': {reason}') or ''}")

    async def _leave(self, number: int, index: int, reason: str) -> None:
        """Leave a part to other workers: tell the reason here and in the database."""
        await self._pass_on(reason)
        await self.cluster.leave(number, index, f"worker on {platform.node()}: {reason}")

    async def _pass_on(self, reason: str) -> None:
        """Note the *reason* to leave a part, once; wait before the queue has the next part."""
        news = "" if reason == self._left else f": {reason}"
        if news or self._failure:
            self.note(f"Left to other workers: {self._name}{news}")
        self._left = reason
        await anyio.sleep(self.cluster.pause)

    async def _repeat(self, act: Callable[[], Awaitable[None]], pause: float, trouble: str) -> None:
        """Call *act* again and again; note each kind of failure as *trouble*, once until a success."""
        noted = set[str]()
        while True:
            await anyio.sleep(pause)
            try:
                await act()
                noted.clear()
            except Exception as error:  # noqa: BLE001 - of any kind: the worker goes on
                if is_away(error):
                    self.cluster.connector.note_failure(error)
                elif (reason := explain(error)) not in noted:
                    noted.add(reason)
                    self.note(f"Trying again: {trouble}: {reason}")

    async def _return_lost_parts(self) -> None:
        """Return the parts of killed and stopped workers to the queue."""
        jobs, seconds = self.cluster.app.job_manager, self.heartbeat
        for job in await jobs.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=seconds):
            await jobs.retry_job(job)
