"""An echo bot, killed again and again, behind disturbed webhooks: each message is answered once."""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from patience import settle, until
from support.servers import unused_port
from support.size import sized

from sunshine_async.cli import demo_chat
from sunshine_async.cli.demo_chat import start_bot
from sunshine_async.emulator import Emulator, WebhookFaults

FAULTS = WebhookFaults(twice=0.3, lost=0.2, late=0.5, batch=20)
RETRY = sized(1.0, 0.5)
"""Seconds to the second attempt. Five attempts take 40 (20) seconds: longer than a start in a fork."""


@pytest.mark.waits
@pytest.mark.usefixtures("instant_starts")
async def test_each_message_is_answered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under kill -9, duplicates, shuffles, lost answers and failing calls each answer exists once.

    A delivery comes 1 to 4 times, late, with up to 20 events; 2 % of the bot's calls fail, some
    after the effect.
    """
    monkeypatch.setattr(demo_chat, "find_port", unused_port)  # stays free while the bot is dead
    random = Random(19)
    number, users, kills = sized((5000, 300, 20), (40, 10, 1))
    emulator = Emulator(fail=0.02, seed=19, webhook_retry=RETRY, webhook_faults=FAULTS)
    said: dict[str, Counter[str]] = {}
    for n in range(users):
        emulator.add("sunshine", {"id": str(n)}, app_id="demo")

    def answers() -> int:
        return int(emulator.ledger()["sunshine"]["effects"]["message"])

    async def write() -> None:
        for n in range(number):
            user = str(random.randrange(users))
            told = emulator.say("demo", user, f"message {n}")
            said.setdefault(told["conversation"], Counter())[f"You said: message {n}"] += 1
            while n - answers() > 200:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.05)
            await anyio.sleep(0.002)

    async with emulator.serve() as url, start_bot(tmp_path, url) as bot:
        target = f"http://127.0.0.1:{bot.port}/"
        emulator.add_webhook("sunshine", {"target": target, "secret": bot.secret}, app_id="demo")

        def progress() -> tuple[int, dict[str, Any]]:
            bot.check()
            webhooks = emulator.ledger()["webhooks"]
            assert not webhooks["failed"], [
                one for one in emulator.deliveries() if not {200, "lost"} & {*one["attempts"]}
            ]
            return answers(), webhooks

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for kill in range(kills):
                due = number * (kill + 1) // (kills + 2)
                # the attempts outlast one start of the bot, not several: none is failing at a kill
                await until(
                    lambda due=due: answers() >= due and not progress()[1]["failing"], progress
                )
                await bot.kill()
                await settle(url)
                await bot.start()
        await until(lambda: answers() >= number and not progress()[1]["waiting"], progress)

    deliveries = emulator.deliveries()
    assert all({200, "lost"} & {*one["attempts"]} for one in deliveries)
    assert any(len(one["events"]) > 1 for one in deliveries)
    assert any("lost" in one["attempts"] for one in deliveries)
    app = emulator.platform.app("demo")
    for conversation, expected in said.items():
        rows = app.conversations.messages(conversation).rows.values()
        found = [one["content"]["text"] for one in rows if one["author"]["type"] == "business"]
        assert Counter(found) == expected
