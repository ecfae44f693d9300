"""A job at a terminal: progress, signals, and the status that the process exits with.

A rehearsal at a terminal: what is said of it, and the status that the process exits with.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    nullcontext,
    suppress,
)
from pathlib import Path
from typing import Final

import anyio
from attrs import define, field, frozen

from sunshine_async import ConfigurationError
from sunshine_async._calls.client import Client
from sunshine_async.bulk import Concurrency
from sunshine_async.cli.options import SIGNAL_STATUS, Status, describe_error
from sunshine_async.cli.output import (
    SHOWN,
    Printer,
    ProgressDisplay,
    format_duration,
    problem_table,
    summary_table,
    unknown_keys,
)
from sunshine_async.cli.streams import OutputError, emit, emit_json
from sunshine_async.jobs import (
    Duplicates,
    Ending,
    Job,
    LastingJob,
    Mode,
    Rehearsal,
    Report,
    RowFile,
    Service,
    rehearse,
)
from sunshine_async.jobs import open as open_job

_DEPENDS = "that depends on the service; say --rate to have it worked out"


def rehearsed(
    service: Service, mode: Mode, rows: RowFile, printer: Printer, *, rate: float | None
) -> int:
    """Read *rows*, send nothing, show what a job would make of them; return the exit status."""
    found = rehearse(
        service,
        mode,
        rows,
        rate=rate,
        on_problem=printer.print_problem if printer.as_json else None,
    )
    about = {"file": rows.name, "service": service.name, "mode": mode.value}
    if printer.as_json:
        emit_json(sys.stdout, {**about, "dry_run": True, **found.as_json()})
    else:
        _show(found, ", ".join(about.values()), printer)
    return Status.TROUBLE if found.bad else Status.DONE


def _show(found: Rehearsal, title: str, printer: Printer) -> None:
    if found.problems:
        printer.print_result(problem_table(found.problems[:SHOWN]))
    if found.bad > SHOWN:
        printer.print_result(
            f"... and {found.bad - SHOWN:,} more: with --json each one is on stderr\n"
        )
    printer.print_result(summary_table(f"dry run of {title}", _figures(found)))
    printer.print_result(*unknown_keys(found.beyond), "Nothing was sent.")


def _figures(found: Rehearsal) -> Mapping[str, str]:
    takes = _DEPENDS
    if found.seconds is not None:
        least = " at least," if found.most > 1 else ""
        takes = f"{format_duration(found.seconds)}{least} at {found.rate:g} requests a second"
    shown = {
        "rows": f"{found.rows:,}",
        "valid": f"{found.valid:,}",
        "bad": f"{found.bad:,}",
        "duplicates": f"{found.duplicates:,}",
        "requests": f"{found.requests:,}",
        "time": takes,
    }
    if found.turned:
        shown["numbers"] = f"{found.turned:,}  (turned into E.164)"
    if found.national:
        shown["numbers"] = f"{found.national:,} not in E.164 (+...): --default-region turns them"
    if found.most > 1:
        shown["requests"] += f"  ({found.most} rows in one; look-ups come on top)"
    if found.duplicates:
        first = ", ".join(f"{line} as {before}" for line, before in found.repeated[:5])
        more = ", ..." if found.duplicates > 5 else ""  # noqa: PLR2004 - those named
        shown["duplicates"] += f"  (rows with the key of an earlier one; lines {first}{more})"
    return shown


Signals = Callable[..., AbstractContextManager[AsyncIterator[signal.Signals]]]

GRACE: Final = 10.0


@define
class Run:
    """The report of a job, and the signal that interrupted the job, if any."""

    report: Report
    signal: int | None = None
    read: int = 0
    """Rows that were read."""
    broken: bool = False
    """The job ended in an error after calls had been sent."""

    @property
    def missing(self) -> int:
        """Number of rows that were read and have no outcome, where each should have one."""
        all_taken = self.report.ending is Ending.ALL or self.broken
        return max(0, self.read - self.report.rows, self.report.waiting) if all_taken else 0

    @property
    def status(self) -> int:
        """What to exit with."""
        if self.signal is not None:
            return SIGNAL_STATUS + self.signal
        if self.report.ending is Ending.GAVE_UP:
            return Status.GAVE_UP
        return Status.TROUBLE if self.report.troubles or self.missing else Status.DONE


@frozen
class Journaled:
    """The journal of a job, if it has one, and how it goes on from it."""

    path: str | None = None
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

    def check(self, file: str) -> None:
        """Raise `ConfigurationError` where the journal would be written into *file*."""
        with suppress(OSError):
            if self.path is not None and Path(self.path).samefile(file):
                message = f"--journal {self.path} is the file of the rows: name another file"
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


async def carry_out(order: Order, client: Client, printer: Printer) -> int:
    """Do what was ordered, show what became of it, and return the status to exit with."""
    result: Run | None = None
    try:
        async with client, _job(order, client, printer) as job:
            result = await run(job, order.rows, printer, grace=order.grace)
    except Exception as error:
        if result is None:
            raise
        printer.print_note(
            f"The job has ended; closing its connections failed: {describe_error(error)}"
        )
    about = {"file": order.rows.name, "service": order.service.name, "mode": order.mode.value}
    try:
        printer.print_report(result.report, missing=result.missing, **about)
    except OutputError as error:
        emit(sys.stderr, f"sunshine-async: {error}\n")
        return result.status or Status.TROUBLE
    return result.status


def _job(order: Order, client: Client, printer: Printer) -> AbstractAsyncContextManager[Job]:
    on_problem = printer.print_problem if printer.as_json else None
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
    printer: Printer,
    *,
    grace: float = GRACE,
    signals: Signals = anyio.open_signal_receiver,
    leave: Callable[[int], object] = os._exit,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> Run:
    """Run *job*, showing how far it is; SIGINT and SIGTERM stop it, a second one at once.

    An error of the job is raised where nothing had been sent. Else the job has given up.
    """
    result = Run(job.report)

    async def watch(display: ProgressDisplay) -> None:
        with (
            suppress(NotImplementedError),  # Windows has none of it
            signals(signal.SIGINT, signal.SIGTERM) as received,
        ):
            async for number in received:
                if result.signal is not None:
                    display.close()
                    leave(SIGNAL_STATUS + number)
                result.signal = number
                job.stop()
                printer.print_note(
                    f"Stopping: no more rows are taken. {job.under_way} are under way and have "
                    f"{grace:g} s to end; interrupt again to stop at once."
                )

    async def show(display: ProgressDisplay) -> None:
        with suppress(Exception):  # no display is worth a job
            while True:
                await sleep(display.interval)
                display.update(job.report, _total(job, rows), job.pace)

    async def attend(display: ProgressDisplay) -> None:
        with attending:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch, display)
                tasks.start_soon(show, display)

    attending = anyio.CancelScope()
    own: Exception | None = None
    with printer.show_progress(rows.name) as display:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend, display)
            try:
                await job.run(rows)
            except Exception as error:  # noqa: BLE001 - as itself: not one of a group
                own = error
            attending.cancel()
    _end(result, job, rows, own)
    return result


def _end(result: Run, job: Job, rows: RowFile, own: Exception | None) -> None:
    """Complete *result*; raise the job's *own* error where nothing had been sent."""
    if own is not None:
        if not job.report.latencies.count:  # of calls that ended, were cut off or failed
            raise own
        result.broken = True
        job.report.ending, job.report.reason = Ending.GAVE_UP, describe_error(own)
    if rows.path is not None or not isinstance(job, LastingJob):  # it meets equal rows once
        result.read = job.read


def _total(job: Job, rows: RowFile) -> int | None:
    """Return how many rows the file has, as far as it can be told from those that were read."""
    if rows.size is None or not rows.consumed:
        return None
    return max(job.read, job.read * rows.size // rows.consumed)
