"""Imports by many workers: the command ``worker``, and ``import`` with ``--cluster``."""

import logging
import os
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer
from anyio import to_thread
from attrs import evolve

from sunshine_async import ConfigurationError
from sunshine_async._calls.client import Client
from sunshine_async.cli.import_options import PaceAddress, Rate, given_options
from sunshine_async.cli.options import (
    SIGNAL_STATUS,
    AppId,
    BaseUrl,
    KeyId,
    SecretFile,
    Status,
    exit_on_error,
    journal_place,
    number,
    open_signals,
    option,
)
from sunshine_async.cli.output import Printer
from sunshine_async.cli.report_file import ReportFile, journal_page, line_of
from sunshine_async.cli.run_job import ImportPlan, JobResult, write_all, write_page
from sunshine_async.cli.services import ConnectionOptions, find_service
from sunshine_async.jobs import RowFile, partition
from sunshine_async.journal import JournalAwayError, JournalQueries, Place, open_reader

_OF_WORKERS: Final = (
    "rate", "pace_address", "base_url", "app_id", "key_id", "secret_file",
)  # fmt: skip
"""Options of an import that the workers have."""
_NOISY: Final = ("procrastinate", "psycopg")
"""Loggers that are silent: the notes say the same, without tracebacks."""
_EXTRA: Final = "a cluster needs Procrastinate and psycopg: pip install 'sunshine-async[cluster]'"
_WAITING: Final = (
    "{} parts are with the workers. An interrupt ends this command only: the import goes on, and the "
    "same command waits for the end again."
)
_NO_WORKER: Final = "No worker is running. Start one or more: sunshine-async worker --cluster {}"
_STUCK: Final = (
    "The database is stuck: the running part goes to other workers, like that of a killed worker."
)
_HEARTBEAT: Final = 20.0
"""Fewest seconds of a heartbeat: a worker that is only slow keeps its part."""


def cluster_place(address: str) -> Place:
    """Parse the URL of a cluster's database."""
    if not all(map(find_spec, ("procrastinate", "psycopg"))):
        raise typer.BadParameter(_EXTRA)
    place = journal_place(address)
    if isinstance(place, str | Path):
        message = "give the URL of a database, such as postgresql://user@host:5432/database"
        raise typer.BadParameter(message)
    return place


_cluster: Final = partial(option, rich_help_panel="Cluster")
ClusterAddress = Annotated[
    Any,
    _cluster(
        "--cluster",
        parser=cluster_place,
        metavar="URL",
        help="Let workers import the parts of the file; the journal is in this PostgreSQL database.",
    ),
]
Parts = Annotated[
    int,
    _cluster(
        parser=number("parts", low=1, high=10_000, whole=True),
        metavar="N",
        help="With --cluster: the number of parts. Rows of a user are in the same part.",
        show_default=True,
    ),
]
SharedFile = Annotated[
    bool,
    _cluster(
        "--shared-file",
        help="With --cluster: the workers read FILE themselves, from the same path. Default: the file travels in the database, and is deleted at the end.",
    ),
]


def submit(context: typer.Context, plan: ImportPlan, rows: RowFile, printer: Printer) -> int:
    """Give the parts of *rows* to the workers, wait for the end, and return the exit status."""
    values = context.params
    for name in (*_OF_WORKERS, "journal"):
        for shown in given_options(context, [name]):
            instead = "or give it to the worker"
            if name not in _OF_WORKERS:
                instead = "the database of the cluster has the journals"
            message = f"{shown} has no effect with --cluster: leave it out, {instead}"
            raise ConfigurationError(message)
    from sunshine_async.jobs.cluster_plan import ClusterPlan  # noqa: PLC0415 - in the extra

    first = partition(rows, plan.service.task(plan.mode), into=values["parts"])[0]
    stored = ClusterPlan(
        part=first, source=rows.name, is_shared=values["shared_file"], options=plan.options,
        command=line_of(plan.command),
    )  # fmt: skip
    return anyio.run(_submit, values["cluster"], stored, plan.report, printer)


async def _submit(place: Any, stored: Any, page: ReportFile | None, printer: Printer) -> int:
    from sunshine_async.jobs.cluster import open_cluster  # noqa: PLC0415 - in the extra

    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    async with open_cluster(place) as cluster:
        number = await cluster.submit(stored, printer.print_note)
        printer.print_note(_WAITING.format(stored.part.count))
        before: Any = None
        while True:
            async for state in cluster.watch(number, printer.print_note):
                for note in _news(state, before, place):
                    printer.print_note(note)
                before = state
            with suppress(JournalAwayError):  # the watch waits for the database
                return await to_thread.run_sync(_report, place, page, printer)


def _report(place: Any, page: ReportFile | None, printer: Printer) -> int:
    """Print the report of the import at *place*, and return the exit status."""
    from sunshine_async.jobs.cluster_reader import open_import  # noqa: PLC0415 - in the extra

    found: Any = open_import(place)
    with closing(found) as reader:
        report, part = reader.total(), reader.plan.part
        made = None if page is None else journal_page(reader, show_data=page.show_data)
    about = partial(
        printer.print_report, report, missing=0, file=reader.plan.source, service=part.service,
        mode=part.mode.value, parts=reader.progress,
    )  # fmt: skip
    written = write_all(about, partial(write_page, page, made, printer))
    return JobResult(report, read=report.rows + report.waiting).status or written


def _news(state: Any, before: Any, place: Any) -> Iterator[str]:
    """Yield notes about the changes of an import since the state *before*, if any."""
    reasons = set[str | None]() if before is None else {reason for _, reason in before.parts}
    for part, (ending, reason) in enumerate(state.parts, 1):
        if reason and reason not in reasons:  # several parts may have the same
            reasons.add(reason)
            yield f"Part {part}{f' {ending}' if ending else ''}: {reason}"
    if before is None or state.ended != before.ended:
        yield f"{state.ended} of {len(state.parts)} parts have ended."
    if not state.workers and state.ended < len(state.parts) and (before is None or before.workers):
        yield _NO_WORKER.format(shlex.quote(str(evolve(place, job=""))))


def open_any_journal(place: Place) -> JournalQueries:
    """Return the journal at *place*, or the journals of all parts of the import there, read only."""
    if isinstance(place, str | Path):
        return open_reader(place)
    from sunshine_async.jobs.cluster_reader import open_import  # noqa: PLC0415 - in the extra

    return open_import(place) or open_reader(place)


def worker(
    *,
    cluster: Annotated[
        Any,
        typer.Option(
            parser=cluster_place,
            metavar="URL",
            help="The database of the imports, as given to import --cluster.",
        ),
    ],
    heartbeat: Annotated[
        float,
        typer.Option(
            parser=number("seconds", low=_HEARTBEAT),
            metavar="SECONDS",
            help="Seconds, 20 at least, after which the part of a silent worker goes to other workers. Give all workers the same.",
        ),
    ] = 30.0,
    rate: Rate = None,
    pace_address: PaceAddress = None,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Run parts of imports (import --cluster), one after another, until interrupted.

    An interrupt gives the running part back, within 25 seconds unless the import has another --grace; a second interrupt ends the worker at once. The parts of a worker that is killed, or silent for --heartbeat seconds, go to other workers.

    A worker that can run no part ends at once, and leaves the parts for other workers: credentials are missing or refused, the app is not that of the other workers, or the service is gone.

    Exit status: 2 could not start; 3 can run no part; 129, 130 or 143 interrupted.
    """
    with exit_on_error(Status.GAVE_UP):
        connection = ConnectionOptions(
            base_url=base_url, app_id=app_id, key_id=key_id, secret_file=secret_file, rate=rate,
            pace=pace_address, concurrency="auto",
        )  # fmt: skip
        raise typer.Exit(anyio.run(_work, cluster, connection, heartbeat))


async def _work(
    place: Any,
    connection: ConnectionOptions,
    heartbeat: float,
    *,
    leave: Callable[[int], object] = os._exit,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> int:
    """Run a worker; return the exit status. A second signal, and a database that is stuck, *leave*."""
    from sunshine_async.jobs import cluster, cluster_worker  # noqa: PLC0415 - in the extra

    printer = Printer()
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    status, failure = 0, None

    def connect(service: str) -> Client:
        return find_service(service).connect(connection)

    async def watch() -> None:
        nonlocal status
        with open_signals() as received:
            async for caught in received:
                if status:
                    leave(SIGNAL_STATUS + caught)
                status = SIGNAL_STATUS + caught
                tasks.start_soon(leave_late, running.stop())

    async def leave_late(seconds: float) -> None:
        await sleep(seconds)
        printer.print_note(_STUCK)
        leave(status)

    async with cluster.open_cluster(place) as opened:
        running = cluster_worker.ClusterWorker(opened, connect, printer.print_note, heartbeat)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                await running.run()
            except cluster_worker.WorkerError as error:
                failure = error  # raised below, not in a group
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return status
