"""Demonstration on this machine: import made-up users into an emulator of the three services."""

import signal
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio import CancelScope, DelimiterNotFound, IncompleteRead, fail_after
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, field

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Pace,
    Retry,
    SmoochClient,
    SunshineClient,
    bulk,
)
from sunshine_async._calls.client import Client
from sunshine_async.cli.demo_data import DemoUsers, make_end_users, make_updates, make_users
from sunshine_async.cli.options import SIGNAL_STATUS, Status
from sunshine_async.cli.output import Printer
from sunshine_async.cli.run_job import JobResult, run_job
from sunshine_async.jobs import DIXA, SUNSHINE, Job, Mode, Service, open_rows

_CONCURRENCY: Final = 64

_EMULATOR: Final = (
    sys.executable, "-m", "sunshine_async", "emulator",
    "--port", "0", "--latency", "0.01", "--fail", "0.02", "--seed", "1",
)  # fmt: skip
_AUTH: Final = BasicAuth("demo", "demo")
_RETRY: Final = Retry(first_wait=0.1)
_START_TIMEOUT: Final = 30.0  # seconds, for a process to start on a busy machine
_FIRST_LINE: Final = "listening on "
_NEXT_STEPS: Final = """
Next, import a file of your own. Start an emulator:

  sunshine-async emulator --port 8080

In another terminal:

  export SUNSHINE_APP_ID=app SUNSHINE_KEY_ID=id SUNSHINE_KEY_SECRET=secret
  sunshine-async import users.csv --mode create --base-url http://127.0.0.1:8080

"sunshine-async import --help" describes the format of users.csv.
"""


_Check: TypeAlias = tuple[bool, str]
"""A statement about the emulator's ledger, with True in front if the statement holds."""


@define
class SignalRouter:
    """Route SIGINT and SIGTERM to the running job, or without a job cancel the demonstration."""

    demo_scope: CancelScope = field(factory=CancelScope)
    watch_scope: CancelScope = field(factory=CancelScope)
    number: int = 0
    _job: MemoryObjectSendStream[signal.Signals] | None = None

    async def watch(self) -> None:
        with (
            self.watch_scope,
            suppress(NotImplementedError),  # Windows has no such signals
            anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received,
        ):
            async for number in received:
                self.number = number
                if self._job is None:
                    self.demo_scope.cancel()
                else:
                    self._job.send_nowait(number)

    @contextmanager
    def signals(self, *_: signal.Signals) -> Generator[AsyncIterator[signal.Signals]]:
        sent, received = anyio.create_memory_object_stream[signal.Signals](100)
        with sent, received:
            self._job = sent
            try:
                yield received
            finally:
                self._job = None


async def run_demo(printer: Printer, rows: int) -> int:
    """Run the demonstration with a file of *rows* rows; return the exit status.

    The emulator's process and the files are removed in all cases.
    """
    users = make_users(rows)
    return await run_interruptible(lambda router: _run_jobs(printer, users, router))


async def run_interruptible(work: Callable[[SignalRouter], Awaitable[int]]) -> int:
    """Run *work* until the end, or until SIGINT or SIGTERM; return the exit status."""
    router = SignalRouter()
    status = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.watch)
        with router.demo_scope:
            status = await work(router)
        router.watch_scope.cancel()
    return SIGNAL_STATUS + router.number if router.number else status


async def _run_jobs(printer: Printer, users: DemoUsers, router: SignalRouter) -> int:
    write = printer.print_result
    pace, token = Pace(max_in_flight=_CONCURRENCY), ApiToken("demo")
    with TemporaryDirectory(prefix="sunshine-async-") as directory:
        file, updates, end_users = _write_files(Path(directory), users)
        counts = f"duplicate rows: {users.duplicates:,}, bad rows: {users.bad:,}"
        write(f"A file of {users.rows:,} made-up users ({counts})")
        async with (
            start_emulator() as base_url,
            SunshineClient(
                "demo", auth=_AUTH, base_url=base_url, retry=_RETRY, pace=pace
            ) as client,
            # without a rate: the emulator has no limit like Dixa's
            DixaClient(auth=token, base_url=base_url, retry=_RETRY, pace=Pace()) as dixa,
        ):
            write(f"An emulator of the three services: {base_url} (2 % of calls fail)")
            steps: tuple[tuple[str, Path, Mode, Client, Service], ...] = (
                (f"Create the users, {_CONCURRENCY} calls at once:", file, Mode.CREATE, client, SUNSHINE),
                ("Update a tenth of the users:", updates, Mode.UPDATE, client, SUNSHINE),
                ("Create the users at Dixa, up to a hundred in a request:", end_users, Mode.CREATE, dixa, DIXA),
            )  # fmt: skip
            runs: list[JobResult] = []
            for text, source, mode, service_client, service in steps:
                write(f"\n{text}\n")
                job = Job(service_client, service, mode)
                with open_rows(source, job.shape) as rows:
                    runs.append(await run_job(job, rows, printer, signals=router.signals))
                about = {"file": source.name, "service": service.name, "mode": mode.value}
                printer.print_report(runs[-1].report, missing=runs[-1].missing, **about)
                if runs[-1].signal is not None:
                    return runs[-1].status
            created, updated, imported = runs
            sample = users.keys[:100]
            found = await _count_at_smooch(base_url, sample)
            ledger = await client.request("GET", "/_emulator/ledger")
    write("\nThe reports, compared with the emulator's own count:")
    checks = _check_sunshine(ledger["sunshine"], users, created, updated)
    not_done = created.report.failed + created.report.unknown
    checks += [
        (
            found >= len(sample) - not_done,
            f"Smooch v1.1, the same platform, finds {found} of {len(sample)} of these users",
        ),
        _check_created("Dixa", ledger["dixa"], imported),
    ]
    for passed, statement in checks:
        write(f"{'  ok   ' if passed else '  NOT  '}{statement}")
    write(_NEXT_STEPS)
    return Status.DONE if all(passed for passed, _ in checks) else Status.TROUBLE


def _write_files(directory: Path, users: DemoUsers) -> tuple[Path, Path, Path]:
    names = ("users.csv", "changes.jsonl", "end-users.jsonl")
    file, updates, end_users = (directory / name for name in names)
    file.write_bytes(users.csv)
    updates.write_bytes(make_updates(users.keys))
    end_users.write_bytes(make_end_users(users.keys))
    return file, updates, end_users


def _check_sunshine(
    ledger: dict[str, Any], users: DemoUsers, created: JobResult, updated: JobResult
) -> list[_Check]:
    create, update = created.report, updated.report
    return [
        _check_created("Sunshine", ledger, created),
        (
            create.rows == users.rows and create.bad == users.bad,
            f"each of the {users.rows:,} rows has an outcome, also the {users.bad:,} bad rows",
        ),
        (
            update.done <= ledger["effects"].get("update", 0),
            f"{update.done:,} updated; the emulator has updated no fewer",
        ),
    ]


def _check_created(service: str, ledger: dict[str, Any], created: JobResult) -> _Check:
    done, unknown, count = created.report.done, created.report.unknown, ledger["users"]
    return (
        done <= count <= done + unknown and ledger["effects"].get("create", 0) == count,
        f"{service}: {done:,} created, {unknown:,} unknown; emulator: {count:,}, none twice",
    )


async def _count_at_smooch(base_url: str, keys: Sequence[str]) -> int:
    """Return the number of *keys* that Smooch v1.1 finds: a v2 app is the same platform."""
    async with SmoochClient("demo", auth=_AUTH, base_url=base_url, retry=_RETRY) as smooch:
        outcomes = await bulk.collect(smooch.app_users.get, keys)
    return sum(isinstance(outcome, bulk.Done) for outcome in outcomes)


@asynccontextmanager
async def start_emulator(command: Sequence[str] = _EMULATOR) -> AsyncGenerator[str]:
    """Start an emulator as a process, and give the base URL; the process ends with the block."""
    process = await anyio.open_process(command, stderr=None, stdin=None, start_new_session=True)
    try:
        yield await _read_base_url(process)
    finally:
        with CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


async def _read_base_url(process: Process) -> str:
    output = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
    try:
        with fail_after(_START_TIMEOUT):
            line = (await output.receive_until(b"\n", 1000)).decode(errors="replace")
    except (IncompleteRead, DelimiterNotFound, TimeoutError):
        line = ""
    if not line.startswith(_FIRST_LINE):
        message = "the emulator didn't start; its error message, if any, stands above"
        raise ConfigurationError(message)
    return line.removeprefix(_FIRST_LINE).strip()
