"""Demonstration on this machine: full speed, faults, and a kill, checked by an emulator's own counts."""

import json
import os
import shlex
import signal
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from shutil import which
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio import CancelScope, DelimiterNotFound, IncompleteRead, fail_after
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, field, frozen

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
from sunshine_async.cli.demo_data import DemoUsers, make_end_users, make_users
from sunshine_async.cli.options import SIGNAL_STATUS, Status, open_signals
from sunshine_async.cli.output import Printer
from sunshine_async.cli.run_job import run_job
from sunshine_async.jobs import DIXA, SUNSHINE, Job, Mode, Problem, Report, Service, open_rows

_CONCURRENCY: Final = 64
_EMULATOR: Final = (sys.executable, "-m", "sunshine_async", "emulator", "--port", "0")
_AUTH: Final = BasicAuth("demo", "demo")
_RETRY: Final = Retry(first_wait=0.1)
_FAULTS: Final[Sequence[Mapping[str, Any]]] = (
    {"reset": True, "when": "after"},
    {"status": 503},
    {"cut": True},
    {"status": 503, "when": "after"},
    {"reset": True},
    {"status": 429},
)
"""Faults of calls, in turn; after some of the faults the emulator has the user nevertheless."""
_CALLS_PER_FAULT: Final = 30
_KILL_AT: Final = 1 / 3  # of the users
_KILLED_SECONDS: Final = 2.0  # least duration of the import that is killed: the kill comes in time
_POLL: Final = 0.02
_SAMPLE: Final = 100
_START_TIMEOUT: Final = 30.0  # seconds, for a process to start on a busy machine
_FIRST_LINE: Final = "listening on "
_COMMAND: Final = ("import", "users.csv", "--mode", "create", "--journal", "run.sqlite")
_NEXT_STEPS: Final = """
Next, import a file of your own. Start an emulator:

  {program} emulator --port 8080

In another terminal:

  export SUNSHINE_APP_ID=app SUNSHINE_KEY_ID=id SUNSHINE_KEY_SECRET=secret
  export SUNSHINE_BASE_URL=http://127.0.0.1:8080
  {program} import users.csv --mode create

"{program} import --help" describes the format of users.csv.
"""


def program_name(started: str, path: str | None = None) -> str:
    """Return the name for commands to paste: as the program was *started*, unless *path* has it."""
    name = "sunshine-async"
    is_found = Path(started).stem != name or which(name, path=path) is not None
    return name if is_found else shlex.quote(started)


_Check: TypeAlias = tuple[bool, str]
"""A statement about the emulator's ledger, with True in front if the statement holds."""


@define
class SignalRouter:
    """Route the signals that end a command to the running job, or without a job cancel the demonstration."""

    demo_scope: CancelScope = field(factory=CancelScope)
    watch_scope: CancelScope = field(factory=CancelScope)
    number: int = 0
    _job: MemoryObjectSendStream[signal.Signals] | None = None

    async def watch(self) -> None:
        with (
            self.watch_scope,
            suppress(NotImplementedError),  # Windows has no such signals
            open_signals() as received,
        ):
            async for number in received:
                self.number = number
                if self._job is None:
                    self.demo_scope.cancel()
                else:
                    self._job.send_nowait(number)

    @contextmanager
    def signals(self) -> Generator[AsyncIterator[signal.Signals]]:
        sent, received = anyio.create_memory_object_stream[signal.Signals](100)
        with sent, received:
            self._job = sent
            try:
                yield received
            finally:
                self._job = None


async def run_demo(printer: Printer, rows: int) -> int:
    """Run the demonstration with a file of *rows* rows; return the exit status.

    The processes and the files are removed in all cases.
    """
    users = make_users(rows)

    async def work(router: SignalRouter) -> int:
        with TemporaryDirectory(prefix="sunshine-async-") as directory:
            (Path(directory) / "users.csv").write_bytes(users.csv)
            (Path(directory) / "end-users.jsonl").write_bytes(make_end_users(users.keys))
            async with start_emulator() as base_url, _client(base_url, "control") as control:
                demo = _Demo(printer, router, users, Path(directory), base_url, control)
                return await demo.run()

    return await run_interruptible(work)


async def run_interruptible(work: Callable[[SignalRouter], Awaitable[int]]) -> int:
    """Run *work* until the end, or until SIGINT, SIGTERM or SIGHUP; return the exit status."""
    router = SignalRouter()
    status = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.watch)
        with router.demo_scope:
            status = await work(router)
        router.watch_scope.cancel()
    return SIGNAL_STATUS + router.number if router.number else status


@frozen
class _Stage:
    """A stage of the demonstration: the report, and the users and creates that the emulator counted."""

    title: str
    report: Report
    users: int
    creates: int

    def checks(self, users: DemoUsers) -> list[_Check]:
        """Return the statements about the stage, an import of the file of *users*."""
        report = self.report
        found = f"{report.done:,} created, {report.unknown:,} unknown; emulator: {self.users:,}"
        is_once = self.creates == self.users
        return [
            (
                is_once and report.done <= self.users <= report.done + report.unknown,
                f"{self.title}: {found}, none twice",
            ),
            (
                report.rows == users.rows and report.bad == users.bad,
                f"{self.title}: each of the {users.rows:,} rows has an outcome",
            ),
        ]


@define
class _Demo:
    """The parts of the demonstration, each with an app of its own on the emulator at *base_url*."""

    printer: Printer
    router: SignalRouter
    users: DemoUsers
    directory: Path
    base_url: str
    control: SunshineClient
    _shown: list[Problem] = field(factory=list[Problem])
    """Rows that were not done, and are shown once."""

    async def run(self) -> int:
        """Run all parts, compare the reports with the emulator's counts, and return the exit status."""
        write, users = self.printer.print_result, self.users
        write(
            f"A file of {users.rows:,} made-up users (duplicate rows: {users.duplicates:,}, bad rows: "
            f"{users.bad:,}), and an emulator of the three services: {self.base_url}",
            f"\n1. Full speed, {_CONCURRENCY} calls at once:\n",
        )
        parts = [await self._import("full speed")]
        write("\nAt Dixa a hundred users go in a request:\n")
        at_dixa = await self._import_at_dixa()
        write("\n2. Faults: lost answers, broken connections, calls refused with 429 and 503:\n")
        await self._script_faults()
        parts.append(await self._import("with faults"))
        write("\n3. An import with a journal is killed, and run again:\n")
        was_killed, part = await self._kill_and_resume()
        parts.append(part)
        found = await _count_at_smooch(self.base_url, parts[0].title, users.keys[:_SAMPLE])
        write("\n4. The reports, compared with the emulator's own counts:")
        checks = [
            *(check for part in parts for check in part.checks(users)),
            (was_killed, "the killed import had not ended"),
            *at_dixa.checks(users)[:1],  # its file has no bad rows
            (
                found >= min(_SAMPLE, parts[0].report.done),
                f"Smooch v1.1, the same platform, finds {found} of {_SAMPLE} users",
            ),
        ]
        for passed, statement in checks:
            write(f"{'  ok   ' if passed else '  NOT  '}{statement}")
        write(_NEXT_STEPS.format(program=program_name(sys.argv[0])))
        return Status.DONE if all(passed for passed, _ in checks) else Status.TROUBLE

    async def _import(self, title: str) -> _Stage:
        """Create the users in the app *title*."""
        async with _client(self.base_url, title) as client:
            return await self._run(title, "users.csv", client, SUNSHINE)

    async def _import_at_dixa(self) -> _Stage:
        # without a rate: the emulator has no limit like Dixa's
        async with DixaClient(
            auth=ApiToken("demo"), base_url=self.base_url, retry=_RETRY, pace=Pace()
        ) as client:
            return await self._run("Dixa", "end-users.jsonl", client, DIXA)

    async def _run(self, title: str, file: str, client: Client, service: Service) -> _Stage:
        """Create the users of *file*, and show the report; a signal ends the demonstration."""
        before = await self._ledger(service)
        job = Job(client, service, Mode.CREATE)
        with open_rows(self.directory / file, job.shape) as rows:
            result = await run_job(job, rows, self.printer, signals=self.router.signals)
        about = {"file": file, "service": service.name, "mode": "create"}
        fresh = [each for each in result.report.problems if each not in self._shown]
        self._shown += fresh
        result.report.problems[:] = fresh
        self.printer.print_report(result.report, missing=result.missing, **about)
        if result.signal is not None:
            self.router.demo_scope.cancel()
        return self._part(title, result.report, before, await self._ledger(service))

    async def _ledger(self, service: Service) -> Mapping[str, Any]:
        """Return the emulator's counts of *service*."""
        ledger = await self.control.request("GET", "/_emulator/ledger")
        return cast("Mapping[str, Any]", ledger[service.name])

    @staticmethod
    def _part(
        title: str, report: Report, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> _Stage:
        creates = [ledger["effects"].get("create", 0) for ledger in (before, after)]
        return _Stage(title, report, after["users"] - before["users"], creates[1] - creates[0])

    async def _script_faults(self) -> None:
        """Let each of the faults, in turn, hit one of many calls of the next import."""
        number = max(len(_FAULTS), self.users.rows // _CALLS_PER_FAULT)
        between = {"delay": 0.001, "times": self.users.rows // number - 1}  # no fault
        for fault in islice(cycle(_FAULTS), number):
            for each in (fault, between):
                await self.control.request("POST", "/_emulator/faults", json=each)

    async def _kill_and_resume(self) -> tuple[bool, _Stage]:
        """Kill an import, and run the import again; return True if the import had not ended."""
        before = await self._ledger(SUNSHINE)
        target = before["users"] + _KILL_AT * len(self.users.keys)
        title = "killed and resumed"
        async with start_process(self._command(), **self._surroundings(title)) as process:
            found = before["users"]
            while process.returncode is None and found < target:
                await anyio.sleep(_POLL)
                found = (await self._ledger(SUNSHINE))["users"]
            was_running = process.returncode is None
        self.printer.print_result(
            f"  sunshine-async {' '.join(_COMMAND)}\n",
            f"Killed (kill -9) after {found - before['users']:,} users. The same command:\n",
        )
        report, seconds = await self._resume(title)
        part = self._part(title, report, before, await self._ledger(SUNSHINE))
        self.printer.print_result(
            f"{report.done:,} created in both runs, {report.bad:,} bad, {report.left_out:,} left out "
            f"(duplicates); the second run took {seconds:.1f} s."
        )
        return was_running, part

    async def _resume(self, title: str) -> tuple[Report, float]:
        """Run the import to the end; return the counts of both runs, and the seconds of the last."""
        async with start_process(self._command(), **self._surroundings(title)) as process:
            output = b"".join([part async for part in cast("ByteReceiveStream", process.stdout)])
            await process.wait()
        try:
            data = json.loads(output)
        except ValueError:
            message = f"the import that goes on has ended with status {process.returncode}"
            raise ConfigurationError(message) from None
        counts = {name: data[name] for name in ("done", "failed", "unknown", "bad", "left_out")}
        return Report(**counts), data["seconds"]

    def _command(self) -> Sequence[str]:
        rate = max(1, int(len(self.users.keys) / _KILLED_SECONDS))
        return (
            sys.executable, "-m", "sunshine_async", *_COMMAND,
            "--rate", str(rate), "--base-url", self.base_url, "--json",
        )  # fmt: skip

    def _surroundings(self, app_id: str) -> Mapping[str, Any]:
        names = {"APP_ID": app_id, "KEY_ID": "demo", "KEY_SECRET": "demo"}
        env = {**os.environ, **{f"SUNSHINE_{name}": value for name, value in names.items()}}
        return {"cwd": self.directory, "env": env, "stderr": DEVNULL}


def _client(base_url: str, app_id: str) -> SunshineClient:
    pace = Pace(max_in_flight=_CONCURRENCY)
    return SunshineClient(app_id, auth=_AUTH, base_url=base_url, retry=_RETRY, pace=pace)


async def _count_at_smooch(base_url: str, app_id: str, keys: Sequence[str]) -> int:
    """Return the number of *keys* that Smooch v1.1 finds: a v2 app is the same platform."""
    async with SmoochClient(app_id, auth=_AUTH, base_url=base_url, retry=_RETRY) as smooch:
        outcomes = await bulk.collect(smooch.app_users.get, keys)
    return sum(isinstance(outcome, bulk.Done) for outcome in outcomes)


@asynccontextmanager
async def start_process(command: Sequence[str], **options: Any) -> AsyncGenerator[Process]:
    """Start a process, and give the process; the process is killed at the end of the block."""
    process = await anyio.open_process(command, stdin=None, start_new_session=True, **options)
    try:
        yield process
    finally:
        with CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


@asynccontextmanager
async def start_emulator(command: Sequence[str] = _EMULATOR) -> AsyncGenerator[str]:
    """Start an emulator as a process, and give the base URL; the process ends with the block."""
    async with start_process(command, stderr=None) as process:
        yield await _read_base_url(process)


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
