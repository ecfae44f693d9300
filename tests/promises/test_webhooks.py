"""Bots that are killed: every answered event is handled, once, in order; and disks that fill."""

import os
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
from attrs import define, field
from support.deliveries import HEADERS, Order, envelope, message, shuffled_deliveries
from support.size import sized

_AT_ONCE = 16 * 9
"""The most events that have begun at a moment: a slot each, and eight waiting for each slot."""


@define
class Bot:
    """The bot of ``bot.py`` as a process."""

    folder: Path
    seconds: float
    port: int = field(init=False)
    _process: "subprocess.Popen[bytes] | None" = None

    def __attrs_post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Start the bot."""
        tests = str(Path(__file__).parents[1])
        arguments = [str(self.folder), str(self.port), str(self.seconds)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "promises.bot", *arguments],
            cwd=tests,
            env={**os.environ, "PYTHONPATH": tests},
        )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """Kill the bot, with no time to do anything."""
        self.process.kill()
        self.process.wait()

    def log(self) -> list[tuple[str, str, int]]:
        """Return begins and ends, with id and attempt, in order."""
        file = self.folder / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(what, name, int(attempt)) for what, name, attempt in map(str.split, lines)]

    async def until_handled(self, ids: set[str]) -> None:
        """Wait until the attempts on all *ids* have ended."""
        with anyio.fail_after(120):
            while {name for what, name, _ in self.log() if what == "end"} != ids:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.05)

    async def send(self, client: httpx.AsyncClient, delivery: list[Any]) -> int:
        """Send a delivery; return the status, 0 if no answer came."""
        try:
            url = f"http://127.0.0.1:{self.port}/"
            return (await client.post(url, json=envelope(delivery))).status_code
        except httpx.TransportError:
            return 0

    async def deliver(self, client: httpx.AsyncClient, delivery: list[Any]) -> None:
        """Send a delivery again and again, until the answer is 200."""
        while await self.send(client, delivery) != 200:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.05)


@contextmanager
def running(folder: Path, *, seconds: float = 0.0) -> Iterator[Bot]:
    """Run a bot for the length of the block."""
    bot = Bot(folder, seconds)
    bot.start()
    try:
        yield bot
    finally:
        bot.kill()


async def test_killed_again_and_again(tmp_path: Path) -> None:
    """Killed at random, a bot handles every event that was answered 200, once, in order.

    Only events under way at a kill are handled again, as a further attempt.
    """
    random, order = Random(19), Order()
    number, kills = sized((5000, 20), (250, 1))
    conversations = [f"c{random.randrange(number * 300 // 5000)}" for _ in range(number)]
    events = [message(n, conversation) for n, conversation in enumerate(conversations)]
    deliveries = shuffled_deliveries(events, random)
    kill_at = {(place + 1) * len(deliveries) // (kills + 1) for place in range(kills)}
    waiting, answered = iter(deliveries), 0

    with running(tmp_path, seconds=0.001) as bot:
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False) as client:

            async def send_next() -> None:
                nonlocal answered
                for delivery in waiting:
                    ids = [event["id"] for event in delivery]
                    order.note(order.sent, *ids)
                    await bot.deliver(client, delivery)
                    order.note(order.answered, *ids)
                    answered += 1
                    if answered in kill_at:
                        bot.kill()
                        bot.start()

            async with anyio.create_task_group() as senders:
                for _ in range(8):
                    senders.start_soon(send_next)
        await bot.until_handled({event["id"] for event in events})
        log = bot.log()

    begun, ended = Counter[str](), Counter[str]()
    for what, name, attempt in log:
        if what == "begin":
            order.note(order.handled, name)
            assert attempt > 1 or not begun[name]
            begun[name] += 1
        else:
            ended[name] += 1
    repeated = sum(begun.values()) - number
    assert repeated <= kills * _AT_ONCE
    assert sum(ended.values()) - number <= repeated
    for conversation in set(conversations):
        assert (
            order.overtaken([f"e{n}" for n in range(number) if conversations[n] == conversation])
            == []
        )


async def test_a_disk_that_fills(tmp_path: Path) -> None:
    """A file that can't grow: 503 for the deliveries; with room again all are taken and handled."""
    deliveries = [[message(n, f"c{n}", padding="x" * 5000)] for n in range(60)]
    with running(tmp_path) as bot:
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False) as client:
            await bot.deliver(client, [message(1000, "c")])
            pid, no_limit = bot.process.pid, resource.RLIM_INFINITY
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, no_limit))
            statuses = [await bot.send(client, delivery) for delivery in deliveries]
            assert set(statuses) == {200, 503}
            assert statuses[-1] == 503
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
            again = [await bot.send(client, delivery) for delivery in deliveries]
            assert set(again) == {200}
        await bot.until_handled({f"e{n}" for n in (*range(60), 1000)})
        assert Counter(what for what, _, _ in bot.log()) == {"begin": 61, "end": 61}
