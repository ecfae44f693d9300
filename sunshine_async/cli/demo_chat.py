"""Demonstration of a bot: users write, webhooks are disturbed, the bot is killed; nothing is lost."""

import os
import secrets
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from anyio import CancelScope
from anyio.abc import Process
from attrs import define, field

from sunshine_async import BasicAuth, ConfigurationError, Retry, SunshineClient, bulk
from sunshine_async.cli.demo import program_name, run_interruptible, start_emulator
from sunshine_async.cli.options import Status
from sunshine_async.cli.output import Printer
from sunshine_async.sunshine import TextMessage, UserCreateBody

KILLS: Final = 3
MESSAGES: Final = 2
"""Messages of each user."""
_EMULATOR: Final = (
    sys.executable, "-m", "sunshine_async", "emulator", "--port", "0", "--latency", "0.005",
    "--fail", "0.02", "--seed", "1", "--webhook-retry", "1", "--webhook-faults", "0.1",
)  # fmt: skip
"""The five attempts of a delivery take 40 seconds: longer than any start of the bot."""
_WRITING: Final = 4.0
"""Seconds in which the users write, at least."""
_PATIENCE: Final = 60.0
"""Seconds without progress after which the demonstration gives up."""
_POLL: Final = 0.1
_NEXT_STEPS: Final = """
The bot is a file of 20 lines with code:

  {bot}

Next, receive webhooks of your own, and send the deliveries again to your bot:

  {program} webhooks listen --record deliveries.jsonl
  {program} webhooks replay deliveries.jsonl \\
    --target http://127.0.0.1:8000/
"""


def find_port() -> int:
    """Return a port of this machine at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@define(eq=False)
class BotProcess:
    """The bot in a process of its own, on a port of this machine."""

    _directory: Path
    _emulator_url: str
    secret: str = field(factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(init=False)
    _process: Process | None = None

    def __attrs_post_init__(self) -> None:
        self.port = find_port()

    async def start(self) -> None:
        """Start the bot."""
        command = (
            sys.executable, "-m", "uvicorn", "sunshine_async.cli.demo_bot:receiver",
            "--port", str(self.port), "--log-level", "error", "--no-access-log",
        )  # fmt: skip
        values = {
            "DEMO_URL": self._emulator_url,
            "DEMO_SECRET": self.secret,
            "DEMO_INBOX": str(self._directory / "inbox.sqlite"),
        }
        with self._log.open("ab") as log:
            self._process = await anyio.open_process(
                command, stdin=None, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **values},
            )  # fmt: skip

    async def kill(self) -> None:
        """Kill the bot with ``kill -9``, and wait for the end."""
        if self._process is not None:
            with CancelScope(shield=True):
                with suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.aclose()

    def check(self) -> None:
        """Raise `ConfigurationError` if the bot has ended without a kill."""
        if self._process is not None and self._process.returncode is not None:
            last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            message = f"the bot has ended: {last or 'without a message'}"
            raise ConfigurationError(message)

    @property
    def _log(self) -> Path:
        return self._directory / "bot.log"


@asynccontextmanager
async def start_bot(directory: Path, emulator_url: str) -> AsyncGenerator[BotProcess]:
    """Run a bot for the block, and kill the bot at the end."""
    bot = BotProcess(directory, emulator_url)
    try:
        await bot.start()
        yield bot
    finally:
        await bot.kill()


async def run_bot_demo(printer: Printer, users: int) -> int:
    """Run the demonstration with so many *users*; return the exit status.

    The processes of emulator and bot, and the files, are removed in all cases.
    """
    return await run_interruptible(lambda _: _run_chat(printer, users))


async def _run_chat(printer: Printer, users: int) -> int:
    write = printer.print_result
    number = users * MESSAGES
    auth, retry = BasicAuth("demo", "demo"), Retry(first_wait=0.1)
    with TemporaryDirectory(prefix="sunshine-async-") as directory:
        async with (
            start_emulator(_EMULATOR) as base_url,
            SunshineClient("demo", auth=auth, base_url=base_url, retry=retry) as client,
            start_bot(Path(directory), base_url) as bot,
        ):
            write(f"An emulator of the service: {base_url} (2 % of calls fail)")
            hook = {"target": f"http://127.0.0.1:{bot.port}/", "secret": bot.secret}
            await client.request(
                "POST", "/_emulator/webhooks/sunshine", query={"appId": "demo"}, json=hook
            )
            write("Webhooks: late, out of order, up to 10 events each; 10 % come twice,")
            write("10 % come again after a lost answer")
            keys = [f"user-{n}" for n in range(users)]
            bodies = [UserCreateBody(external_id=key) for key in keys]
            await bulk.collect(client.users.create, bodies)
            write(
                f"\n{users:,} users write {MESSAGES} messages each; the bot answers each message\n"
            )
            chat = _Chat(client, bot, number)
            with chat.patience:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(chat.write, keys)
                    for kill in range(1, KILLS + 1):
                        answers = await chat.kill_bot(number * kill // (KILLS + 1))
                        write(f"kill -9 of the bot, {kill} of {KILLS}, after {answers:,} answers")
                await chat.wait_for_silence()
            failed = chat.webhooks["failed"]
            checks = await _check_answers(client, chat.said)
            checks.append((not failed, f"deliveries that the bot has never received: {failed:,}"))
    return print_checks(printer, checks, chat.webhooks["attempts"])


@define(eq=False)
class _Chat:
    """So many messages of users, and the answers of the bot."""

    _client: SunshineClient
    _bot: BotProcess
    _number: int
    said: dict[str, Counter[str]] = field(factory=dict[str, "Counter[str]"])
    """The texts of users by conversation."""
    webhooks: Mapping[str, int] = field(factory=dict[str, int])
    """Counts of the emulator."""
    patience: CancelScope = field(factory=CancelScope)
    """Ends the chat after `_PATIENCE` seconds without progress."""
    _answers: int = 0

    async def write(self, keys: Sequence[str]) -> None:
        """Let each user write `MESSAGES` messages; few are ahead of the answers."""
        pause, ahead = _WRITING / self._number, self._number // (KILLS + 1)
        for n, key in enumerate([*keys] * MESSAGES):
            while n - self._answers > ahead:  # noqa: ASYNC110 - `_until` counts
                await anyio.sleep(_POLL)
            body = {"app_id": "demo", "user": key, "text": f"message {n // len(keys) + 1} of {key}"}
            told = await self._client.request("POST", "/_emulator/say", json=body)
            self.said.setdefault(told["conversation"], Counter())[body["text"]] += 1
            await anyio.sleep(pause)

    async def kill_bot(self, due: int) -> int:
        """Kill the bot after *due* answers, and start the bot again; return the number of answers.

        No delivery is failing at a kill, since the service gives up a delivery after five attempts:
        enough for one start of the bot, not for several.
        """
        await self._until(lambda: self._answers >= due and not self.webhooks["failing"])
        await self._bot.kill()
        await self._bot.start()
        return self._answers

    async def wait_for_silence(self) -> None:
        """Wait until there are as many answers as messages, and no delivery is waiting."""
        await self._until(lambda: self._answers >= self._number and not self.webhooks["waiting"])

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Read the ledger until *holds*; more answers or deliveries renew the patience."""
        while True:
            ledger = await self._client.request("GET", "/_emulator/ledger")
            before = self._answers, self.webhooks
            self._answers, self.webhooks = (
                ledger["sunshine"]["effects"]["message"],
                ledger["webhooks"],
            )
            if before != (self._answers, self.webhooks):
                self.patience.deadline = anyio.current_time() + _PATIENCE
            if holds():
                return
            self._bot.check()
            await anyio.sleep(_POLL)


def print_checks(printer: Printer, checks: Sequence[tuple[bool, str]], sent: int) -> Status:
    """Print the *checks*, and the number of attempts *sent*; return the exit status."""
    write = printer.print_result
    write("\nThe bot's answers, as the emulator has them:")
    for passed, statement in checks:
        write(f"{'  ok   ' if passed else '  NOT  '}{statement}")
    write(f"        deliveries of webhooks, with repetitions: {sent:,}")
    write(
        _NEXT_STEPS.format(
            bot=Path(__file__).with_name("demo_bot.py"), program=program_name(sys.argv[0])
        )
    )
    return Status.DONE if all(passed for passed, _ in checks) else Status.TROUBLE


async def _check_answers(
    client: SunshineClient, said: dict[str, Counter[str]]
) -> list[tuple[bool, str]]:
    """Compare the answers in each conversation with the messages."""

    async def texts(conversation_id: str) -> dict[str, Counter[str]]:
        found = {"user": Counter[str](), "business": Counter[str]()}
        async for message in client.messages.list(conversation_id):
            if message.author is not None and isinstance(message.content, TextMessage):
                found[message.author.type][message.content.text or ""] += 1
        return found

    outcomes = await bulk.collect(texts, [*said])
    messages, missing, extra = sum(texts.total() for texts in said.values()), 0, 0
    for outcome in outcomes:
        found = outcome.value if isinstance(outcome, bulk.Done) else {}
        expected = Counter({f"You said: {text}": n for text, n in said[outcome.item].items()})
        answers = found.get("business", Counter[str]())
        missing += (expected - answers).total()
        extra += (answers - expected).total()
    return [
        (not missing, f"{messages:,} messages in {len(said):,} conversations; without an answer: {missing:,}"),
        (not extra, f"answers too many, or wrong: {extra:,}"),
    ]  # fmt: skip
