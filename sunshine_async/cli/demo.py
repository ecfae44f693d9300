"""The whole thing on this machine: made-up users, an emulator as a process, three services."""

import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

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
from sunshine_async.cli.demo_data import Crowd, crowd, end_users, promotions
from sunshine_async.cli.options import SIGNALLED, Status
from sunshine_async.cli.output import Screen
from sunshine_async.cli.run_job import JobResult, run_job
from sunshine_async.jobs import DIXA, SUNSHINE, Job, Mode, Service, open_rows

AT_ONCE: Final = 64

_EMULATOR: Final = (
    sys.executable, "-m", "sunshine_async", "emulator",
    "--port", "0", "--latency", "0.01", "--fail", "0.02", "--seed", "1",
)  # fmt: skip
_READ: Final = 100
_RETRY: Final = Retry(first_wait=0.1)
_PATIENCE: Final = 30.0  # seconds, for a process to start on a busy machine
_FIRST_LINE: Final = "listening on "
_NEXT: Final = """
Next, a file of your own, on an emulator of your own:

  sunshine-async emulator --port 8080

and in another terminal:

  export SUNSHINE_APP_ID=app SUNSHINE_KEY_ID=id SUNSHINE_KEY_SECRET=secret
  sunshine-async import users.csv --mode create --base-url http://127.0.0.1:8080

"sunshine-async import --help" says what users.csv may look like; README.md has more.
"""


@define
class _Interrupts:
    """SIGINT and SIGTERM: for the job that is under way, or else for all of it."""

    everything: CancelScope = field(factory=CancelScope)
    watching: CancelScope = field(factory=CancelScope)
    number: int = 0
    _job: MemoryObjectSendStream[signal.Signals] | None = None

    async def watch(self) -> None:
        with (
            self.watching,
            suppress(NotImplementedError),  # Windows has none of it
            anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received,
        ):
            async for number in received:
                self.number = number
                if self._job is None:
                    self.everything.cancel()
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


@frozen
class _Stage:
    """Where the jobs of the demonstration run."""

    screen: Screen
    interrupts: _Interrupts

    async def play(self, file: Path, mode: Mode, client: Client, service: Service) -> JobResult:
        job = Job(client, service, mode)
        with open_rows(file, job.shape) as rows:
            result = await run_job(job, rows, self.screen, signals=self.interrupts.signals)
        self.screen.report(
            result.report,
            missing=result.missing,
            file=file.name,
            service=service.name,
            mode=mode.value,
        )
        return result


@frozen
class _Finding:
    right: bool
    sentence: str


async def show(screen: Screen, rows: int) -> int:
    """Show it all with a file of *rows* rows; return the status to exit with.

    Whatever happens, the process and the files are gone afterwards.
    """
    interrupts = _Interrupts()
    status = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interrupts.watch)
        with interrupts.everything:
            status = await _show(screen, crowd(rows), interrupts)
        interrupts.watching.cancel()
    return SIGNALLED + interrupts.number if interrupts.number else status


async def _show(screen: Screen, users: Crowd, interrupts: _Interrupts) -> int:
    say = screen.say
    with TemporaryDirectory(prefix="sunshine-async-") as directory:
        file, changes, others = _files(Path(directory), users)
        say(
            f"A file of {users.rows:,} users, made up: {users.duplicates} of them come twice, and "
            f"{users.bad} rows can't be read."
        )
        async with _emulator() as base_url, _client(base_url) as client:
            say(f"An emulator of the three services, a process of its own, on {base_url}")
            say(f"2 calls in 100 go wrong there. Importing, {AT_ONCE} calls at once:\n")
            stage = _Stage(screen, interrupts)
            created = await stage.play(file, Mode.CREATE, client, SUNSHINE)
            if created.signal is not None:
                return created.status
            say(f"\nA tenth of them is changed: {len(users.keys[::10]):,} rows of JSON lines.\n")
            changed = await stage.play(changes, Mode.UPDATE, client, SUNSHINE)
            if changed.signal is not None:
                return changed.status
            say("\nThe same people for Dixa, which takes a hundred in a request.\n")
            async with _dixa(base_url) as dixa:
                imported = await stage.play(others, Mode.CREATE, dixa, DIXA)
            if imported.signal is not None:
                return imported.status
            asked = users.keys[:_READ]
            found = await _read(base_url, asked)
            ledger = await client.request("GET", "/_emulator/ledger")
    say("\nWhat the emulator says to that:")
    findings = _compared(ledger["sunshine"], users, created, changed)
    doubtful = created.report.failed + created.report.unknown
    findings += [
        _Finding(
            found >= len(asked) - doubtful,
            f"Smooch v1.1 knows {found} of {len(asked)} of these users: it is one platform",
        ),
        _compared_there(ledger["dixa"], imported),
    ]
    for finding in findings:
        say(f"{'  ok   ' if finding.right else '  NOT  '}{finding.sentence}")
    say(_NEXT)
    return Status.DONE if all(finding.right for finding in findings) else Status.TROUBLE


def _files(directory: Path, users: Crowd) -> tuple[Path, Path, Path]:
    names = ("users.csv", "changes.jsonl", "end-users.jsonl")
    file, changes, others = (directory / name for name in names)
    file.write_bytes(users.table)
    changes.write_bytes(promotions(users.keys))
    others.write_bytes(end_users(users.keys))
    return file, changes, others


def _compared(
    ledger: dict[str, Any], users: Crowd, created: JobResult, changed: JobResult
) -> list[_Finding]:
    """Return what the emulator's ledger says of what the reports say."""
    one, two = created.report, changed.report
    made, there = ledger["effects"].get("create", 0), ledger["users"]
    return [
        _Finding(
            one.done <= there <= one.done + one.unknown,
            f"{one.done:,} users are reported as created, {one.unknown:,} as unknown; "
            f"the emulator has {there:,}",
        ),
        _Finding(made == there, f"no user was made twice: {made:,} were made in all"),
        _Finding(
            one.rows == users.rows and one.bad == users.bad,
            f"each of the {users.rows:,} rows has its outcome, the {users.bad} bad ones too",
        ),
        _Finding(
            two.done <= ledger["effects"].get("update", 0),
            f"{two.done:,} are reported as changed, and the emulator changed no fewer",
        ),
    ]


def _compared_there(ledger: dict[str, Any], imported: JobResult) -> _Finding:
    one, there = imported.report, ledger["users"]
    return _Finding(
        one.done <= there <= one.done + one.unknown and ledger["effects"]["create"] == there,
        f"{one.done:,} users are reported as created at Dixa, {one.unknown:,} as unknown; the "
        f"emulator has {there:,}, none of them made twice",
    )


async def _read(base_url: str, keys: Sequence[str]) -> int:
    """Return how many of *keys* v1.1 knows: it is one platform."""
    async with SmoochClient(
        "demo", auth=BasicAuth("demo", "demo"), base_url=base_url, retry=_RETRY
    ) as smooch:
        read = await bulk.collect(smooch.app_users.get, keys)
    return sum(isinstance(one, bulk.Done) for one in read)


def _dixa(base_url: str) -> DixaClient:
    """Return a client that is as fast as it can be: the emulator isn't held to Dixa's rate."""
    return DixaClient(auth=ApiToken("demo"), base_url=base_url, retry=_RETRY, pace=Pace())


def _client(base_url: str) -> SunshineClient:
    return SunshineClient(
        "demo",
        auth=BasicAuth("demo", "demo"),
        base_url=base_url,
        retry=_RETRY,
        pace=Pace(max_in_flight=AT_ONCE),
    )


@asynccontextmanager
async def _emulator(command: Sequence[str] = _EMULATOR) -> AsyncGenerator[str]:
    """Start an emulator and give its base URL; it ends with the block, whatever happens in it."""
    process = await anyio.open_process(command, stderr=None, stdin=None, start_new_session=True)
    try:
        yield await _listening(process)
    finally:
        with CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.aclose()


async def _listening(process: Process) -> str:
    said = BufferedByteReceiveStream(cast("ByteReceiveStream", process.stdout))
    try:
        with fail_after(_PATIENCE):
            line = (await said.receive_until(b"\n", 1000)).decode(errors="replace")
    except (IncompleteRead, DelimiterNotFound, TimeoutError):
        line = ""
    if not line.startswith(_FIRST_LINE):
        message = "the emulator didn't start; what it said about it stands above"
        raise ConfigurationError(message)
    return line.removeprefix(_FIRST_LINE).strip()
