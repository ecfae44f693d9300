"""The demonstration of a bot: the bot, the process, the checks, and the whole."""

import os
import signal
import sys
import tempfile
from collections import Counter
from importlib import import_module, reload
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.patience import PATIENCE
from support.servers import unused_port
from support.size import sized
from support.virtual import settled, until
from typer.testing import CliRunner

from sunshine_async import ConfigurationError, SunshineClient
from sunshine_async.cli import demo_chat
from sunshine_async.cli.app import app
from sunshine_async.cli.output import Printer
from sunshine_async.emulator import Emulator

pytestmark = pytest.mark.costly


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_starts: None) -> Path:
    """Let temporary files be made where the test can look for the files."""
    monkeypatch.setattr(demo_chat, "_EMULATOR", (sys.executable, *demo_chat._EMULATOR[1:]))
    monkeypatch.setattr(demo_chat, "find_port", unused_port)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(demo_chat.__file__).parents[2]))
    return tmp_path


@pytest.mark.slow
@pytest.mark.waits
def test_demo_of_a_bot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration ends with status 0: no answer is missing or too many, for all kills."""
    kills, writing = sized((demo_chat.KILLS, demo_chat._WRITING), (1, 1.0))
    monkeypatch.setattr(demo_chat, "KILLS", kills)
    monkeypatch.setattr(demo_chat, "_WRITING", writing)
    result = CliRunner().invoke(app, ["demo", "--bot", "--users", "20"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    for words in (
        "20 users write 2 messages each",
        f"kill -9 of the bot, {kills} of {kills}",
        "40 messages in 20 conversations; without an answer: 0",
        "answers too many, or wrong: 0",
        "sunshine-async webhooks listen --record deliveries.jsonl",
    ):
        assert words in said
    assert "NOT" not in said
    assert (
        max(map(len, result.stdout.replace(str(Path(demo_chat.__file__).parent), "").splitlines()))
        <= 80
    )
    assert list(folder.iterdir()) == []


class Interrupted(Printer):
    """Sends this process a signal when emulator and bot are running."""

    def print_result(self, *parts: Any) -> None:
        super().print_result(*parts)
        if "users write" in str(parts[0]):
            os.kill(os.getpid(), signal.SIGTERM)


def test_demo_of_a_bot_cleans_up(folder: Path) -> None:
    """Interrupted, the demonstration leaves no process and no file behind."""
    assert anyio.run(demo_chat.run_bot_demo, Interrupted(), 20) == 143
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("passed", [True, False])
def test_wrong_answers_are_told(passed: bool, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: FBT001 - both
    """The exit status is 1 if an answer is missing or too many."""
    status = demo_chat.print_checks(Printer(), [(True, "one"), (passed, "two")], 3)
    assert status == (0 if passed else 1)
    assert ("NOT  two" in capsys.readouterr().out) is not passed


async def test_the_bot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: Emulator, emulator_url: str
) -> None:
    """The bot answers a text with the text, once, and nothing else."""
    emulator.add("sunshine", {"id": "1"}, app_id="demo")
    hook = emulator.add_webhook("sunshine", {"target": "http://bot/"}, app_id="demo")
    values = {"URL": emulator_url, "SECRET": hook["secret"], "INBOX": str(tmp_path / "inbox")}
    for name, value in values.items():
        monkeypatch.setenv(f"DEMO_{name}", value)
    demo_bot: Any = reload(import_module("sunshine_async.cli.demo_bot"))
    file = {"type": "file", "mediaUrl": "https://x.org/a.txt"}
    async with demo_bot.client, demo_bot.receiver, emulator.connect(demo_bot.receiver):
        emulator.say("demo", "1", content=file)
        emulator.say("demo", "1", "Hi")
        await until(lambda: emulator.ledger()["sunshine"]["messages"] == 3)
        await emulator.delivered()

    async with httpx.AsyncClient(
        auth=("a", "b"), base_url=emulator_url, timeout=PATIENCE
    ) as client:
        [row] = (await client.get("/v2/apps/demo/conversations?filter[userId]=1")).json()[
            "conversations"
        ]
        url = f"/v2/apps/demo/conversations/{row['id']}/messages"
        messages = (await client.get(url)).json()["messages"]
    assert [one["content"].get("text") for one in messages] == [None, "Hi", "You said: Hi"]


async def test_a_bot_that_ends(quick_starts: None, tmp_path: Path) -> None:
    """A bot that ends without a kill is an error with the last line of the bot."""
    (tmp_path / "inbox.sqlite").mkdir()
    async with demo_chat.start_bot(tmp_path, "http://127.0.0.1:1") as bot:
        bot.check()
        process: Any = bot._process
        await process.wait()
        with pytest.raises(ConfigurationError, match=r"the bot has ended: .+"):
            bot.check()


async def test_a_bot_that_cannot_start(tmp_path: Path) -> None:
    """A folder that is missing is an error, and there is no process to end."""
    with pytest.raises(FileNotFoundError):
        async with demo_chat.start_bot(tmp_path / "missing", "http://127.0.0.1:1"):
            pass


def chat_of(emulator: Emulator, client: SunshineClient, path: Path) -> demo_chat._Chat:
    """Return a chat of four messages, with a bot that isn't started."""
    for user in ("1", "2"):
        emulator.add("sunshine", {"id": user}, app_id="demo")
    return demo_chat._Chat(client, demo_chat.BotProcess(path, "http://bot"), 4)


async def test_messages_are_not_far_ahead_of_answers(
    emulator: Emulator,
    sunshine_client: SunshineClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The users write on only after answers, so each kill comes between messages."""
    monkeypatch.setattr(demo_chat, "_WRITING", 0.0)
    monkeypatch.setattr(demo_chat, "_POLL", 0.0)
    chat = chat_of(emulator, sunshine_client, tmp_path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(chat.write, ["1", "2"])
        await until(lambda: sum(texts.total() for texts in chat.said.values()) == 2)
        await settled()
        assert emulator.ledger()["sunshine"]["messages"] == 2
        chat._answers = 2
    assert [texts.total() for texts in chat.said.values()] == [2, 2]


async def test_a_chat_without_progress_ends(
    emulator: Emulator,
    sunshine_client: SunshineClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A chat in which nothing changes is given up, whatever is missing."""
    monkeypatch.setattr(demo_chat, "_PATIENCE", 0.05)
    chat = chat_of(emulator, sunshine_client, tmp_path)
    with chat.patience:
        await chat.wait_for_silence()
    assert chat.patience.cancelled_caught


async def test_answers_are_compared(emulator: Emulator, sunshine_client: SunshineClient) -> None:
    """Missing, repeated and foreign answers are counted; so is a conversation that is gone."""
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    conversation = emulator.say("app", "1", "a")["conversation"]
    emulator.say("app", "1", content={"type": "file", "mediaUrl": "https://x.org/a.txt"})
    said = {conversation: Counter({"a": 1})}
    send = sunshine_client.messages.send_text

    async def found() -> list[bool]:
        return [passed for passed, _ in await demo_chat._check_answers(sunshine_client, said)]

    assert await found() == [False, True]
    await send(conversation, "You said: a")
    assert await found() == [True, True]
    await send(conversation, "You said: a")
    assert await found() == [True, False]
    said["gone"] = Counter({"b": 1})
    assert await found() == [False, False]
