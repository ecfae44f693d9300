"""A job at a terminal: progress, signals, and the status that the process exits with."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    nullcontext,
    suppress,
)
from enum import IntEnum
from pathlib import Path
from typing import Final

import anyio
from attrs import define, field, frozen

from sunshine_async import ConfigurationError
from sunshine_async._client import Client
from sunshine_async.bulk import Concurrency
from sunshine_async.cli.screen import Meter, Screen
from sunshine_async.jobs import Duplicates, Ending, Job, Mode, Report, RowFile, Service
from sunshine_async.jobs import open as open_job

Signals = Callable[..., AbstractContextManager[AsyncIterator[signal.Signals]]]

GRACE: Final = 10.0
_INTERRUPTED: Final = 128  # and the signal's number, as shells have it


class Status(IntEnum):
    """What a command exits with, unless a signal interrupts it."""

    DONE = 0
    TROUBLE = 1
    NOT_STARTED = 2
    GAVE_UP = 3


@define
class Run:
    """What became of a job, and the signal that interrupted it, if one did."""

    report: Report
    signal: int | None = None

    @property
    def status(self) -> int:
        """What to exit with."""
        if self.signal is not None:
            return _INTERRUPTED + self.signal
        if self.report.ending is Ending.GAVE_UP:
            return Status.GAVE_UP
        return Status.TROUBLE if self.report.troubles else Status.DONE


@frozen
class Journaled:
    """The journal of a job, if it has one, and how it goes on from it."""

    path: Path | None = None
    duplicates: Duplicates | None = field(kw_only=True, default=None)
    retry_failed: bool = field(kw_only=True, default=False)
    retry_unknown: bool = field(kw_only=True, default=False)
    accept_changed_source: bool = field(kw_only=True, default=False)
    full: bool = field(kw_only=True, default=False)
    keep_bodies: bool = field(kw_only=True, default=False)
    max_outage: float = field(kw_only=True, default=900.0)

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` for what goes with a journal only."""
        for name in _JOURNALED:
            if self.path is None and getattr(self, name):
                message = f"--{name.replace('_', '-')} goes with a --journal"
                raise ConfigurationError(message)


_JOURNALED: Final = (
    "duplicates", "retry_failed", "retry_unknown", "accept_changed_source", "full", "keep_bodies",
)  # fmt: skip


@frozen
class Order:
    """What is to be done with which rows."""

    service: Service
    mode: Mode
    rows: RowFile
    concurrency: Concurrency = field(kw_only=True)
    max_failures: int | None = field(kw_only=True)
    grace: float = field(kw_only=True, default=GRACE)
    journal: Journaled = field(kw_only=True, default=Journaled())


async def carry_out(order: Order, client: Client, screen: Screen) -> int:
    """Do what was ordered, show what became of it, and return the status to exit with."""
    async with client, _job(order, client, screen) as job:
        result = await run(job, order.rows, screen, grace=order.grace)
    about = {"file": order.rows.name, "service": order.service.name, "mode": order.mode.value}
    screen.report(result.report, **about)
    return result.status


def _job(order: Order, client: Client, screen: Screen) -> AbstractAsyncContextManager[Job]:
    on_problem = screen.problem if screen.as_json else None
    how = order.journal
    if how.path is None:
        job = Job(
            client,
            order.service,
            order.mode,
            concurrency=order.concurrency,
            max_failures=order.max_failures,
            max_outage=how.max_outage,
            grace=order.grace,
            on_problem=on_problem,
        )
        return nullcontext(job)
    return open_job(
        how.path,
        client,
        order.service,
        order.mode,
        concurrency=order.concurrency,
        max_failures=order.max_failures,
        grace=order.grace,
        duplicates=how.duplicates,
        retry_failed=how.retry_failed,
        retry_unknown=how.retry_unknown,
        accept_changed_source=how.accept_changed_source,
        full=how.full,
        keep_bodies=how.keep_bodies,
        max_outage=how.max_outage,
        on_problem=on_problem,
    )


async def run(
    job: Job,
    rows: RowFile,
    screen: Screen,
    *,
    grace: float = GRACE,
    signals: Signals = anyio.open_signal_receiver,
    leave: Callable[[int], object] = os._exit,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> Run:
    """Run *job*, showing how far it is; SIGINT and SIGTERM stop it, a second one at once."""
    result = Run(job.report)

    async def watch(meter: Meter) -> None:
        with (
            suppress(NotImplementedError),  # Windows has none of it
            signals(signal.SIGINT, signal.SIGTERM) as received,
        ):
            async for number in received:
                if result.signal is not None:
                    meter.close()
                    leave(_INTERRUPTED + number)
                result.signal = number
                job.stop()
                screen.tell(
                    f"Stopping: no more rows are taken. {job.under_way} are under way and have "
                    f"{grace:g} s to end; interrupt again to stop at once."
                )

    async def show(meter: Meter) -> None:
        while True:
            await sleep(meter.interval)
            meter.show(job.report, _total(job, rows), job.pace)

    async def attend(meter: Meter) -> None:
        with attending:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, meter)
                tasks.start_soon(show, meter)

    attending = anyio.CancelScope()
    own: Exception | None = None
    with screen.progress(rows.name) as meter:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend, meter)
            try:
                await job.run(rows)
            except Exception as error:  # noqa: BLE001 - as itself: not one of a group
                own = error
            attending.cancel()
    if own is not None:
        raise own
    return result


def _total(job: Job, rows: RowFile) -> int | None:
    """Return how many rows the file has, as far as it can be told from those that were read."""
    if rows.size is None or not rows.consumed:
        return None
    return max(job.read, job.read * rows.size // rows.consumed)
