"""An import at a terminal: a job or a dry run, the progress, signals, and the exit status."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import anyio
from attrs import define, field, frozen

from sunshine_async import ConfigurationError
from sunshine_async._calls.client import Client
from sunshine_async.cli.files import NamedFile, check_distinct, database_files
from sunshine_async.cli.options import SIGNAL_STATUS, Status, describe_error, open_signals
from sunshine_async.cli.output import (
    Printer,
    summary_table,
    unknown_keys,
)
from sunshine_async.cli.progress import ProgressDisplay, format_duration
from sunshine_async.cli.report_file import ReportFile, save_command
from sunshine_async.cli.report_page import ReportPage
from sunshine_async.cli.services import ConnectionOptions
from sunshine_async.cli.streams import OutputError, emit_json, emit_line
from sunshine_async.jobs import (
    DryRun,
    Ending,
    Job,
    JournaledJob,
    Mode,
    Problem,
    Report,
    RowFile,
    Service,
    dry_run,
)
from sunshine_async.jobs.journaled import open_with_options
from sunshine_async.jobs.options import GRACE, JobOptions
from sunshine_async.journal import Place
from sunshine_async.rows.file import STDIN

Signals: TypeAlias = Callable[[], AbstractContextManager[AsyncIterator[signal.Signals]]]

_JOURNAL_OPTIONS: Final = (
    "duplicates", "retry_failed", "retry_unknown", "accept_changed_source", "full", "keep_bodies",
)  # fmt: skip


@frozen
class ImportPlan:
    """An import: the service, the mode, the options of the job, and the journal, if any."""

    service: Service
    mode: Mode
    options: JobOptions = field(factory=JobOptions)
    journal: "Place | None" = field(default=None, repr=False)
    report: ReportFile | None = None
    command: Sequence[str] = ()
    """The words of the command, for later reports."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` for an option that needs a journal, if there is none."""
        for name in _JOURNAL_OPTIONS:
            if self.journal is None and getattr(self.options, name):
                message = (
                    f"--{name.replace('_', '-')} goes with a journal, such as --journal run.sqlite"
                )
                raise ConfigurationError(message)

    def check_files(self, file: str, connection: ConnectionOptions) -> None:
        """Raise `ConfigurationError` if two files of the import are the same file."""
        files = [*connection.files()]
        if file != STDIN:
            files.insert(0, NamedFile("FILE", Path(file), "the file of the rows"))
        if self.report is not None:
            path = self.report.path
            files.append(NamedFile(f"--report {path}", path, "the file of the report"))
        if isinstance(self.journal, str | Path):
            path, *parts = (path for path, _ in database_files(Path(self.journal), "the journal"))
            files.append(NamedFile(f"--journal {path}", path, "the journal", tuple(parts)))
        check_distinct(files)

    def about(self, rows: RowFile) -> dict[str, str]:
        """Return the file, the service and the mode, for a report."""
        return {"file": rows.name, "service": self.service.name, "mode": self.mode.value}

    def open_job(self, client: Client) -> AbstractAsyncContextManager[Job]:
        options = self.options
        if self.journal is not None:
            return open_with_options(self.journal, client, self.service, self.mode, options)
        job = Job(
            client, self.service, self.mode, concurrency=options.concurrency, grace=options.grace,
            max_failures=options.max_failures, max_outage=options.max_outage,
            on_problem=self._tell,
        )  # fmt: skip
        return nullcontext(job)

    def _tell(self, problem: Problem) -> None:
        """Pass *problem* on, and count the reason for the report."""
        if self.report is not None:
            self.report.reasons.add(problem)
        if self.options.on_problem is not None:
            self.options.on_problem(problem)

    def page(self, job: Job, rows: RowFile) -> ReportPage | None:
        """Return the report page of *job*, which has ended, if a page is wanted."""
        self.save_command(job, replace=True)
        if self.report is None:
            return None
        return self.report.page(job, rows, self.about(rows), self.command)

    def save_command(self, job: Job, *, replace: bool = False) -> None:
        """Write the command to the journal of *job*, if any."""
        if isinstance(job, JournaledJob):
            save_command(job.journal, self.command, replace=replace)


def run_dry(plan: ImportPlan, rows: RowFile, printer: Printer, *, rate: float | None) -> int:
    """Run the import dry, show the counts, and return the exit status."""
    counts = dry_run(plan.service, plan.mode, rows, rate=rate, on_problem=plan.options.on_problem)
    about = plan.about(rows)
    if printer.as_json:
        emit_json(sys.stdout, {**about, "dry_run": True, **counts.as_json()})
    else:
        _show(counts, ", ".join(about.values()), printer)
    return Status.TROUBLE if counts.bad else Status.DONE


def _show(counts: DryRun, title: str, printer: Printer) -> None:
    printer.print_refusals(counts.reasons)
    printer.print_result(summary_table(f"dry run of {title}", _figures(counts)))
    printer.print_result(*unknown_keys(counts.beyond), "Nothing was sent.")


def _figures(counts: DryRun) -> Mapping[str, str]:
    time = "that depends on the service; --rate 10 works it out for 10 calls a second"
    if counts.seconds is not None:
        least = " at least," if counts.most > 1 else ""
        time = f"{format_duration(counts.seconds)}{least} at {counts.rate:g} requests a second"
    shown = {
        "rows": f"{counts.rows:,}",
        "valid": f"{counts.valid:,}",
        "bad": f"{counts.bad:,}",
        "duplicates": f"{counts.duplicates:,}",
        "requests": f"{counts.requests:,}",
        "time": time,
    }
    if counts.turned:
        shown["numbers"] = f"{counts.turned:,}  (turned into E.164)"
    if counts.national:
        shown["numbers"] = (
            f"{counts.national:,} not in E.164 (+...): --default-region DE turns those of Germany"
        )
    if counts.most > 1:
        shown["requests"] += f"  ({counts.most} rows in one; look-ups come on top)"
    if counts.duplicates:
        first = ", ".join(f"{line} as {before}" for line, before in counts.repeated[:5])
        more = ", ..." if counts.duplicates > 5 else ""  # noqa: PLR2004 - those named
        shown["duplicates"] += f"  (rows with the key of an earlier one; lines {first}{more})"
    return shown


@define
class JobResult:
    """The report of a job, and the signal that interrupted the job, if any."""

    report: Report
    signal: int | None = None
    read: int = 0
    """Number of rows that were read."""
    broken: bool = False
    """True if the job ended in an error after calls had been sent."""

    @property
    def missing(self) -> int:
        """Number of rows that were read and have no outcome, if each should have an outcome."""
        all_taken = self.report.ending is Ending.ALL or self.broken
        return max(0, self.read - self.report.rows, self.report.waiting) if all_taken else 0

    @property
    def status(self) -> int:
        if self.signal is not None:
            return SIGNAL_STATUS + self.signal
        if self.report.ending is Ending.GAVE_UP:
            return Status.GAVE_UP
        return Status.TROUBLE if self.report.troubles or self.missing else Status.DONE


async def run_import(plan: ImportPlan, rows: RowFile, client: Client, printer: Printer) -> int:
    """Run the import, show the report, and return the exit status."""
    result: JobResult | None = None
    page: ReportPage | None = None
    try:
        async with client, plan.open_job(client) as job:
            plan.save_command(job)  # a killed run saves no command later
            result = await run_job(job, rows, printer, grace=plan.options.grace)
            page = plan.page(job, rows)
    except Exception as error:
        if result is None:
            raise
        printer.print_note(
            f"The job has ended; closing its connections failed: {describe_error(error)}"
        )
    about = partial(printer.print_report, result.report, missing=result.missing, **plan.about(rows))
    written = write_all(about, partial(write_page, plan.report, page, printer))
    return result.status or written


def write_all(*writes: Callable[[], None]) -> int:
    """Call all *writes*, also after one has failed: a terminal may be gone. Return the exit status."""
    status = Status.DONE
    for write in writes:
        try:
            write()
        except OutputError as error:
            emit_line(sys.stderr, f"sunshine-async: {error}")
            status = Status.TROUBLE
    return status


def write_page(file: ReportFile | None, page: ReportPage | None, printer: Printer) -> None:
    """Write *page* to *file*, if a page is asked for, and print the path."""
    if file is not None and page is not None:
        file.write(page)
        printer.print_note(f"Report: {file.path}")


async def run_job(
    job: Job,
    rows: RowFile,
    printer: Printer,
    *,
    grace: float = GRACE,
    signals: Signals = open_signals,
    leave: Callable[[int], object] = os._exit,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> JobResult:
    """Run *job* and show the progress. A signal of `open_signals` stops the job; a second exits at once.

    An error of the job is raised if nothing had been sent. Otherwise the job has given up.
    """
    result = JobResult(job.report)

    async def watch(display: ProgressDisplay) -> None:
        with (
            suppress(NotImplementedError),  # Windows has no such signals
            signals() as received,
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
                display.update(job.progress())

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


def _end(result: JobResult, job: Job, rows: RowFile, own: Exception | None) -> None:
    """Complete *result*; raise the job's *own* error if nothing had been sent."""
    if own is not None:
        if not job.report.latencies.count:  # of calls that ended, were cut off or failed
            raise own
        result.broken = True
        job.report.ending, job.report.reason = Ending.GAVE_UP, describe_error(own)
    # equal rows of a stream are one row of the journal
    if rows.path is not None or not isinstance(job, JournaledJob):
        result.read = job.read
