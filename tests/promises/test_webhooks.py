"""Bots that are killed: every answered event is handled, once, in order; and disks that fill."""

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from attrs import define, field
from patience import until
from support.deliveries import HEADERS, Order, envelope, message, shuffled_deliveries
from support.patience import PATIENCE
from support.postgres import PostgresServer
from support.servers import unused_port
from support.size import sized

from sunshine_async.emulator import Emulator

_AT_ONCE = 16 * 9
"""The most events that have begun at a moment: a slot each, and eight waiting for each slot."""


@define
class Bot:
    """The bot of ``bot.py`` as a process."""

    folder: Path
    inbox: str
    seconds: float
    lease: float
    emulator: str | None
    port: int = field(factory=unused_port)
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the bot."""
        tests = str(Path(__file__).parents[1])
        places = [str(self.folder), self.inbox, str(self.port)]
        options = [str(self.seconds), str(self.lease), *filter(None, [self.emulator])]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "promises.bot", *places, *options],
            cwd=tests,
            env={**os.environ, "PYTHONPATH": tests},
        )

    @property
    def pid(self) -> int:
        """Return the id of the process that answers, which may be a fork."""
        return int((self.folder / f"{self.port}.pid").read_text())

    def kill(self) -> None:
        """Kill the bot, with no time to do anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def log(self) -> list[tuple[str, str, int]]:
        """Return begins and ends, with id and attempt, in order."""
        file = self.folder / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(what, name, int(attempt)) for what, name, attempt in map(str.split, lines)]

    async def until_handled(self, ids: set[str]) -> None:
        """Wait until the attempts on all *ids* have ended."""
        await until(
            lambda: {name for what, name, _ in self.log() if what == "end"} == ids,
            lambda: len(self.log()),
        )

    async def send(self, client: httpx.AsyncClient, delivery: list[Any]) -> int:
        """Send a delivery; return the status, 0 if no answer came."""
        try:
            url = f"http://127.0.0.1:{self.port}/"
            return (await client.post(url, json=envelope(delivery))).status_code
        except httpx.TransportError:
            return 0

    async def deliver(self, client: httpx.AsyncClient, delivery: list[Any]) -> None:
        """Send a delivery again and again, until the answer is 200."""
        await deliver_to_any(lambda: self, client, delivery)

    async def until_begun(self, id: str) -> None:
        """Wait until an attempt on *id* has begun."""
        with anyio.fail_after(PATIENCE):
            while id not in {name for _, name, _ in self.log()}:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.05)


async def deliver_to_any(
    choose: Callable[[], Bot], client: httpx.AsyncClient, delivery: list[Any]
) -> None:
    """Send a delivery to a bot, again and again, until an answer is 200."""
    with anyio.fail_after(PATIENCE):
        while await choose().send(client, delivery) != 200:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.05)


@contextmanager
def running(
    folder: Path,
    inbox: str | None = None,
    *,
    seconds: float = 0.0,
    lease: float = 5.0,
    emulator: str | None = None,
) -> Iterator[Bot]:
    """Run a bot for the length of the block."""
    bot = Bot(folder, inbox or str(folder / "inbox.sqlite"), seconds, lease, emulator)
    bot.start()
    try:
        yield bot
    finally:
        bot.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("instant_starts")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_killed_again_and_again(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Killed at random, bots handle every event that was answered 200, once, in order.

    Only events under way at a kill are handled again, as a further attempt. A bot has a file to
    itself, two bots share a PostgreSQL database and are killed in turn. The two bots answer: each
    message has a single answer in the emulator, in a full run although 2 % of the calls fail.
    """
    inbox = None if kind == "sqlite" else request.getfixturevalue("database")
    random, order = Random(19), Order()
    number, kills, lease, fail = sized((5000, 20, 5.0, 0.02), (200, 1, 2.0, 0.0))
    emulator = Emulator(fail=fail, seed=19)
    users = [f"u{n}" for n in range(number * 300 // 5000)]
    conversations = []
    for user in users:
        emulator.add("sunshine", {"id": user}, app_id="bots")
        conversations.append(emulator.say("bots", user, "hi")["conversation"])
    chosen = [random.choice(conversations) for _ in range(number)]
    events = [message(n, conversation) for n, conversation in enumerate(chosen)]
    deliveries = shuffled_deliveries(events, random)
    kill_at = {(place + 1) * len(deliveries) // (kills + 1) for place in range(kills)}
    waiting, answered = iter(deliveries), 0

    async with emulator.serve() as url:
        with ExitStack() as stack:
            bots = [
                stack.enter_context(running(tmp_path, inbox, lease=lease, emulator=inbox and url))
                for _ in range(1 if inbox is None else 2)
            ]
            victims = cycle(bots)
            async with httpx.AsyncClient(
                headers=HEADERS, trust_env=False, timeout=PATIENCE
            ) as client:

                async def send_next() -> None:
                    nonlocal answered
                    for delivery in waiting:
                        ids = [event["id"] for event in delivery]
                        order.note(order.sent, *ids)
                        await deliver_to_any(lambda: random.choice(bots), client, delivery)
                        order.note(order.answered, *ids)
                        answered += 1
                        if answered in kill_at:
                            victim = next(victims)
                            victim.kill()
                            victim.start()

                async with anyio.create_task_group() as senders:
                    for _ in range(8):
                        senders.start_soon(send_next)
            await bots[0].until_handled({event["id"] for event in events})
            log = bots[0].log()

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
    app = emulator.platform.app("bots")
    for conversation in conversations:
        numbers = [n for n in range(number) if chosen[n] == conversation]
        assert order.overtaken([f"e{n}" for n in numbers]) == []
        rows = app.conversations.messages(conversation).rows.values()
        found = [one["content"]["text"] for one in rows if one["author"]["type"] == "business"]
        assert sorted(found) == sorted(f"You said: hello {n}" for n in numbers if inbox)


@pytest.mark.usefixtures("quick_starts")
async def test_a_disk_that_fills(tmp_path: Path) -> None:
    """A file that can't grow: 503 for the deliveries; with room again all are taken and handled."""
    deliveries = [[message(n, f"c{n}", padding="x" * 5000)] for n in range(60)]
    with running(tmp_path) as bot:
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False, timeout=PATIENCE) as client:
            await bot.deliver(client, [message(1000, "c")])
            pid, no_limit = bot.pid, resource.RLIM_INFINITY
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (200_000, no_limit))
            statuses = [await bot.send(client, delivery) for delivery in deliveries]
            assert set(statuses) == {200, 503}
            assert statuses[-1] == 503
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (no_limit, no_limit))
            again = [await bot.send(client, delivery) for delivery in deliveries]
            assert set(again) == {200}
        await bot.until_handled({f"e{n}" for n in (*range(60), 1000)})
        assert Counter(what for what, _, _ in bot.log()) == {"begin": 61, "end": 61}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_starts")
async def test_a_database_that_is_restarted(
    tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    """While the server is away deliveries are answered 503; afterwards all events are handled, once."""
    number = sized(300, 60)
    deliveries = [[message(n, f"c{n % 20}")] for n in range(number)]
    with running(tmp_path, database, seconds=0.01) as one, running(tmp_path, database) as other:
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False, timeout=PATIENCE) as client:
            for place in range(number // 3):
                await (one, other)[place % 2].deliver(client, deliveries[place])
            postgres.stop()
            try:
                refused = [await bot.send(client, deliveries[-1]) for bot in (one, other)]
            finally:
                postgres.start()
            assert refused == [503, 503]
            for place in range(number // 3, number):
                await (one, other)[place % 2].deliver(client, deliveries[place])
        await one.until_handled({f"e{n}" for n in range(number)})
        log = one.log()

    assert Counter(what for what, _, _ in log) == {"begin": number, "end": number}


@pytest.mark.usefixtures("quick_starts")
async def test_a_bot_that_starts_without_its_database(
    tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    """A bot whose server is away answers 503, and takes deliveries once the server is there."""
    postgres.stop()
    try:
        with running(tmp_path, database) as bot:
            async with httpx.AsyncClient(
                headers=HEADERS, trust_env=False, timeout=PATIENCE
            ) as client:
                with anyio.fail_after(PATIENCE):
                    while not (status := await bot.send(client, [message(1)])):  # noqa: ASYNC110 - another process
                        await anyio.sleep(0.05)
                postgres.start()
                await bot.deliver(client, [message(1)])
            await bot.until_handled({"e1"})
    finally:
        postgres.start()
    assert status == 503


@pytest.mark.slow
@pytest.mark.usefixtures("quick_starts")
async def test_an_owner_that_is_stopped(tmp_path: Path, database: str) -> None:
    """The events of a stopped process go to another one; going on, the process changes nothing."""
    with (
        running(tmp_path, database, seconds=1.0, lease=3.0) as owner,
        running(tmp_path, database) as other,
    ):
        async with httpx.AsyncClient(headers=HEADERS, trust_env=False, timeout=PATIENCE) as client:
            await owner.deliver(client, [message(0)])
            await owner.until_begun("e0")
            os.kill(owner.pid, signal.SIGSTOP)
            await other.deliver(client, [message(1)])
            await other.until_handled({"e0", "e1"})
            os.kill(owner.pid, signal.SIGCONT)
            await owner.deliver(client, [message(2)])
            await owner.deliver(client, [message(3, "d")])
            await owner.until_handled({"e0", "e1", "e2", "e3"})
        log = owner.log()

    begun = [(name, attempt) for what, name, attempt in log if what == "begin" and name != "e3"]
    assert begun == [("e0", 1), ("e0", 2), ("e1", 1), ("e2", 1)]
