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

from sunshine_async import BasicAuth, ConfigurationError, Pace, Retry, SunshineClient
from sunshine_async.cli.neighbours import Neighbours, visit
from sunshine_async.cli.people import Crowd, crowd, promotions
from sunshine_async.cli.running import Run, Status, run
from sunshine_async.cli.screen import Screen
from sunshine_async.jobs import SUNSHINE, Job, Mode, open_rows

AT_ONCE: Final = 64

_EMULATOR: Final = (
    sys.executable, "-m", "sunshine_async", "emulator",
    "--port", "0", "--latency", "0.01", "--fail", "0.02", "--seed", "1",
)  # fmt: skip
_READ: Final = 100
_PATIENCE: Final = 30.0  # seconds, for a process to start on a busy machine
_FIRST_LINE: Final = "listening on "
_NEXT: Final = """
Next, a file of your own, on an emulator of your own:

  sunshine-async emulator --port 8080

and in another terminal:

  export SUNSHINE_APP_ID=app SUNSHINE_KEY_ID=id SUNSHINE_KEY_SECRET=secret
  sunshine-async import users.csv --mode create --base-url http://127.0.0.1:8080

"sunshine-async import --help" says what users.csv may look like; README.md has the rest.
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
    client: SunshineClient
    interrupts: _Interrupts

    async def play(self, file: Path, mode: Mode) -> Run:
        job = Job(self.client, SUNSHINE, mode, concurrency=AT_ONCE)
        with open_rows(file, job.shape) as rows:
            result = await run(job, rows, self.screen, signals=self.interrupts.signals)
        self.screen.report(result.report, file=file.name, mode=mode.value)
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
    return 128 + interrupts.number if interrupts.number else status


async def _show(screen: Screen, users: Crowd, interrupts: _Interrupts) -> int:
    say = screen.say
    with TemporaryDirectory(prefix="sunshine-async-") as directory:
        file, changes = _files(Path(directory), users)
        say(
            f"A file of {users.rows:,} users, made up: {users.duplicates} of them come twice, and "
            f"{users.bad} rows can't be read."
        )
        async with _emulator() as base_url, _client(base_url) as client:
            say(f"An emulator of Sunshine Conversations, a process of its own, on {base_url}")
            say(f"2 calls in 100 go wrong there. Importing, {AT_ONCE} calls at once:\n")
            stage = _Stage(screen, client, interrupts)
            created = await stage.play(file, Mode.CREATE)
            if created.signal is not None:
                return created.status
            say(f"\nA tenth of them is changed: {len(users.keys[::10]):,} rows of JSON lines.\n")
            changed = await stage.play(changes, Mode.UPDATE)
            if changed.signal is not None:
                return changed.status
            others = await visit(base_url, users.keys[:_READ], users.rows)
            ledger = await client.request("GET", "/_emulator/ledger")
    say(
        f"\nThe same users by Smooch v1.1: {others.found} of {others.asked} read. And Dixa, a hundred"
        f" in a request: {others.created:,} users in {others.requests:,} requests, look-ups after"
        " lost answers included."
    )
    say("\nWhat the emulator says to that:")
    findings = _compared(ledger["sunshine"], users, created, changed)
    findings += _compared_there(ledger["dixa"]["users"], others, created)
    for finding in findings:
        say(f"{'  ok   ' if finding.right else '  NOT  '}{finding.sentence}")
    say(_NEXT)
    return Status.DONE if all(finding.right for finding in findings) else Status.TROUBLE


def _files(directory: Path, users: Crowd) -> tuple[Path, Path]:
    file, changes = directory / "users.csv", directory / "changes.jsonl"
    file.write_bytes(users.table)
    changes.write_bytes(promotions(users.keys))
    return file, changes


def _compared(ledger: dict[str, Any], users: Crowd, created: Run, changed: Run) -> list[_Finding]:
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


def _compared_there(there: int, others: Neighbours, created: Run) -> list[_Finding]:
    doubtful = created.report.failed + created.report.unknown
    return [
        _Finding(
            others.found >= others.asked - doubtful,
            f"v1.1 knows {others.found} of the {others.asked} users that it was asked for",
        ),
        _Finding(
            others.created <= there <= others.created + others.unknown,
            f"{others.created:,} users are reported as created at Dixa, {others.unknown:,} as "
            f"unknown; the emulator has {there:,}",
        ),
    ]


def _client(base_url: str) -> SunshineClient:
    return SunshineClient(
        "demo",
        auth=BasicAuth("demo", "demo"),
        base_url=base_url,
        retry=Retry(first_wait=0.1),
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
