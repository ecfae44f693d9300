"""Demonstration of a bot: users write, webhooks are disturbed, the bot is killed; nothing is lost."""

import os
import secrets
import socket
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
from anyio import CancelScope
from anyio.abc import Process
from attrs import define, field

from sunshine_async import BasicAuth, ConfigurationError, Retry, SunshineClient, bulk
from sunshine_async.cli.demo import run_interruptible, start_emulator
from sunshine_async.cli.options import Status
from sunshine_async.cli.output import Printer
from sunshine_async.sunshine import TextMessage, UserCreateBody

KILLS: Final = 3
MESSAGES: Final = 2
"""Messages of each user."""
_EMULATOR: Final = (
    sys.executable, "-m", "sunshine_async", "emulator", "--port", "0", "--latency", "0.005",
    "--fail", "0.02", "--seed", "1", "--webhook-retry", "0.3", "--webhook-faults", "0.1",
)  # fmt: skip
_WRITING: Final = 4.0
"""Seconds in which the users write."""
_DEADLINE: Final = 120.0
"""Seconds after which the demonstration gives up."""
_POLL: Final = 0.1
_NEXT_STEPS: Final = """
The bot is a file of 20 lines with code:

  {bot}

Next, receive webhooks of your own, and send the deliveries again to your bot:

  sunshine-async webhooks listen --record deliveries.jsonl
  sunshine-async webhooks replay deliveries.jsonl \\
    --target http://127.0.0.1:8000/
"""


@define(eq=False)
class BotProcess:
    """The bot in a process of its own, on a port of this machine."""

    _directory: Path
    _emulator_url: str
    secret: str = field(factory=lambda: secrets.token_hex(16), repr=False)
    port: int = field(init=False)
    _process: Process | None = None

    def __attrs_post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])

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
            said: dict[str, Counter[str]] = {}
            with anyio.move_on_after(_DEADLINE):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_write_messages, client, keys, said)
                    await _kill_and_restart(printer, client, bot, said)
                await _wait_for_silence(client, bot, number)
            sent = (await _ledger(client))["webhooks"]["attempts"]
            checks = await _check_answers(client, said)
    return print_checks(printer, checks, sent)


def print_checks(printer: Printer, checks: Sequence[tuple[bool, str]], sent: int) -> Status:
    """Print the *checks*, and the number of attempts *sent*; return the exit status."""
    write = printer.print_result
    write("\nThe bot's answers, as the emulator has them:")
    for passed, statement in checks:
        write(f"{'  ok   ' if passed else '  NOT  '}{statement}")
    write(f"        deliveries of webhooks, with repetitions: {sent:,}")
    write(_NEXT_STEPS.format(bot=Path(__file__).with_name("demo_bot.py")))
    return Status.DONE if all(passed for passed, _ in checks) else Status.TROUBLE


async def _write_messages(
    client: SunshineClient, keys: Sequence[str], said: dict[str, Counter[str]]
) -> None:
    """Let each user write `MESSAGES` messages; note the texts by conversation."""
    pause = _WRITING / (len(keys) * MESSAGES)
    for n in range(MESSAGES):
        for key in keys:
            body = {"app_id": "demo", "user": key, "text": f"message {n + 1} of {key}"}
            told = await client.request("POST", "/_emulator/say", json=body)
            said.setdefault(told["conversation"], Counter())[body["text"]] += 1
            await anyio.sleep(pause)


async def _kill_and_restart(
    printer: Printer, client: SunshineClient, bot: BotProcess, said: Mapping[str, Counter[str]]
) -> None:
    """Kill the bot `KILLS` times while messages are answered; start the bot again each time.

    All messages from before a kill are answered before the next kill, since the service gives up a
    delivery after five attempts.
    """
    due = 0
    for kill in range(1, KILLS + 1):
        answers, due = 0, due + 1
        while answers < due:
            await anyio.sleep(_POLL)
            bot.check()
            answers = (await _ledger(client))["sunshine"]["effects"]["message"]
        await bot.kill()
        due = _messages(said)
        await bot.start()
        printer.print_result(f"kill -9 of the bot, {kill} of {KILLS}, after {answers:,} answers")


async def _wait_for_silence(client: SunshineClient, bot: BotProcess, number: int) -> None:
    """Wait until there are as many answers as messages, and no delivery is waiting."""
    while True:
        ledger = await _ledger(client)
        answers, waiting = ledger["sunshine"]["effects"]["message"], ledger["webhooks"]["waiting"]
        if answers >= number and not waiting:
            return
        bot.check()
        await anyio.sleep(_POLL)


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
    messages, missing, extra = _messages(said), 0, 0
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


def _messages(said: Mapping[str, Counter[str]]) -> int:
    return sum(texts.total() for texts in said.values())


async def _ledger(client: SunshineClient) -> Any:
    return await client.request("GET", "/_emulator/ledger")
