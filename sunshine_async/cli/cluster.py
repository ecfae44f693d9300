"""Imports by many workers: the command ``worker``, and ``import`` with ``--cluster``."""

import logging
import signal
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer
from anyio import to_thread

from sunshine_async import ConfigurationError
from sunshine_async._calls.client import Client
from sunshine_async.cli.import_options import PaceAddress, Rate
from sunshine_async.cli.options import (
    SIGNAL_STATUS,
    AppId,
    BaseUrl,
    KeyId,
    SecretFile,
    exit_on_error,
    journal_place,
    number,
    option,
)
from sunshine_async.cli.output import Printer
from sunshine_async.cli.run_job import ImportPlan, JobResult
from sunshine_async.cli.services import ConnectionOptions, can_prompt, find_service
from sunshine_async.jobs import RowFile, partition
from sunshine_async.journal import Place

_OF_WORKERS: Final = (
    "rate", "pace_address", "base_url", "app_id", "key_id", "secret_file", "journal", "report",
    "show_data",
)  # fmt: skip
"""Options of an import that have no effect on a cluster."""
_NOISY: Final = ("procrastinate", "psycopg.pool")
"""Loggers that are silent: the notes say the same, without tracebacks."""
_WATCH: Final = 1.0
"""Seconds between two lines of ``job show --watch``."""
_EXTRA: Final = "a cluster needs Procrastinate: pip install 'sunshine-async[cluster]'"
_WAITING: Final = (
    "{} parts are with the workers (sunshine-async worker --cluster ...). An interrupt ends this "
    "command only: the import goes on. The same command waits for the end again."
)


def _import(module: str) -> Any:
    try:
        return import_module(f"sunshine_async.{module}")
    except ImportError:
        raise ConfigurationError(_EXTRA) from None


def cluster_place(address: str) -> Place:
    """Parse the URL of a cluster's database."""
    place = journal_place(address)
    if isinstance(place, str | Path):
        message = "give the URL of a database, such as postgresql://user@host:5432/database"
        raise typer.BadParameter(message)
    return place


ClusterAddress = Annotated[
    Any,
    option(
        "--cluster",
        parser=cluster_place,
        metavar="URL",
        help="Let workers import the parts of the file; the journal is in this PostgreSQL database.",
        rich_help_panel="Cluster",
    ),
]
Parts = Annotated[
    int,
    typer.Option(
        parser=number("parts", low=1, high=10_000, whole=True),
        metavar="N",
        help="With --cluster: the number of parts. Rows of a user are in the same part.",
        rich_help_panel="Cluster",
    ),
]
SharedFile = Annotated[
    bool,
    option(
        "--shared-file",
        help="With --cluster: the workers read FILE themselves, from the same path. Default: the file travels in the database, and is deleted at the end.",
        rich_help_panel="Cluster",
    ),
]


def submit(context: typer.Context, plan: ImportPlan, rows: RowFile, printer: Printer) -> int:
    """Give the parts of *rows* to the workers, wait for the end, and return the exit status."""
    values = context.params
    for name in _OF_WORKERS:
        if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE":
            shown = name.replace("_", "-").removesuffix("-address")
            message = (
                f"--{shown} has no effect with --cluster: leave it out, or give it to the worker"
            )
            raise ConfigurationError(message)
    first = partition(rows, plan.service.task(plan.mode), into=values["parts"])[0]
    stored = _import("jobs.cluster").ClusterPlan(
        part=first, source=rows.name, is_shared=values["shared_file"], options=plan.options
    )
    return anyio.run(_submit, values["cluster"], stored, printer)


async def _submit(place: Place, stored: Any, printer: Printer) -> int:
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    module = _import("jobs.cluster")
    async with module.open_cluster(place) as cluster:
        number = await cluster.submit(stored)
        printer.print_note(_WAITING.format(stored.part.count))
        async for endings in cluster.watch(number):
            ended = sum(ending is not None for ending, _ in endings)
            printer.print_note(f"{ended} of {len(endings)} parts have ended.")
    state = await to_thread.run_sync(module.read_import, place)
    _show(state, printer)
    return JobResult(state.report, read=state.report.rows + state.report.waiting).status


def show_cluster(place: Place, printer: Printer, *, watch: bool) -> bool:
    """Show the import at *place*, after the end with *watch*; return False if there is no import."""
    if isinstance(place, str | Path) or not find_spec("procrastinate"):
        return False
    read_import = _import("jobs.cluster").read_import
    with printer.show_line() as show_line:
        while (state := read_import(place)) and watch and None in state.endings:
            show_line(f"{state.progress}, {state.report.rows:,} rows.")
            time.sleep(_WATCH)
    if state is None:
        return False
    _show(state, printer)
    return True


def _show(state: Any, printer: Printer) -> None:
    part = state.plan.part
    printer.print_report(
        state.report, missing=0, file=state.plan.source, service=part.service, mode=part.mode.value,
        parts=state.progress,
    )  # fmt: skip


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
            parser=number("seconds", above=0),
            metavar="SECONDS",
            help="Seconds after which the part of a silent worker goes to other workers. Give all workers the same.",
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

    An interrupt gives the running part back. The parts of a worker that is killed, or stopped for 30 seconds, go to other workers.
    """
    with exit_on_error():
        connection = ConnectionOptions(
            base_url=base_url, app_id=app_id, key_id=key_id, secret_file=secret_file, rate=rate,
            pace=pace_address, concurrency="auto", may_ask=can_prompt(),
        )  # fmt: skip
        raise typer.Exit(anyio.run(_work, cluster, connection, heartbeat))


async def _work(place: Place, connection: ConnectionOptions, heartbeat: float) -> int:
    cluster, workers = _import("jobs.cluster"), _import("jobs.cluster_worker")
    printer = Printer()
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    status = 0

    def connect(service: str) -> Client:
        return find_service(service).connect(connection)

    async def watch() -> None:
        nonlocal status
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            async for caught in received:
                status = SIGNAL_STATUS + caught
                running.stop()

    async with cluster.open_cluster(place) as opened:
        running = workers.ClusterWorker(opened, connect, printer.print_note, heartbeat)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await running.run()
            tasks.cancel_scope.cancel()
    return status
