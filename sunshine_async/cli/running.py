"""A job at a terminal: progress, signals, and the status that the process exits with."""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, suppress
from enum import IntEnum
from typing import Final

import anyio
from attrs import define, field, frozen

from sunshine_async._client import Client
from sunshine_async.cli.screen import Meter, Screen
from sunshine_async.jobs import Ending, Job, Mode, Report, RowFile, Service

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
class Order:
    """What is to be done with which rows."""

    service: Service
    mode: Mode
    rows: RowFile
    concurrency: int = field(kw_only=True)
    max_failures: int | None = field(kw_only=True)


async def carry_out(order: Order, client: Client, screen: Screen) -> int:
    """Do what was ordered, show what became of it, and return the status to exit with."""
    job = Job(
        client,
        order.service,
        order.mode,
        concurrency=order.concurrency,
        max_failures=order.max_failures,
        grace=GRACE,
        on_problem=screen.problem if screen.as_json else None,
    )
    async with client:
        result = await run(job, order.rows, screen)
    about = {"file": order.rows.name, "service": order.service.name, "mode": order.mode.value}
    screen.report(result.report, **about)
    return result.status


async def run(
    job: Job,
    rows: RowFile,
    screen: Screen,
    *,
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
                    f"{GRACE:.0f} s to end; interrupt again to stop at once."
                )

    async def show(meter: Meter) -> None:
        while True:
            await sleep(meter.interval)
            meter.show(job.report, _total(job, rows))

    async def attend(meter: Meter) -> None:
        with attending:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, meter)
                tasks.start_soon(show, meter)

    attending = anyio.CancelScope()
    with screen.progress(rows.name) as meter:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend, meter)
            await job.run(rows)
            attending.cancel()
    return result


def _total(job: Job, rows: RowFile) -> int | None:
    """Return how many rows the file has, as far as it can be told from those that were read."""
    if rows.size is None or not rows.consumed:
        return None
    return max(job.read, job.read * rows.size // rows.consumed)
