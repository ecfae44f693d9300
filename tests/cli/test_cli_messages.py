"""Conversations and messages from the command line: broadcasts, and single calls."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.commands import Call
from support.text import words
from typer.testing import Result

from sunshine_async import SunshineClient
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.sunshine import ConversationCreateBody, ParticipantJoinBody, UserCreateBody
from sunshine_async.sunshine.once import MARK


@pytest.fixture
def conversation(sunshine_client: SunshineClient) -> str:
    """Return the id of the conversation of Jane."""

    async def make() -> str:
        await sunshine_client.users.create(UserCreateBody(external_id="jane"))
        participants = [ParticipantJoinBody(user_external_id="jane")]
        body = ConversationCreateBody(type="personal", participants=participants)
        return (await sunshine_client.conversations.create(body)).id

    return anyio.run(make)


def lines(result: Result) -> list[Any]:
    """Return the JSON that a command has printed, a value a line."""
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def texts(call: Call, conversation: str) -> list[str]:
    """Return the texts of a conversation."""
    return [message["content"]["text"] for message in lines(call("messages", "list", conversation))]


class TestBroadcast:
    def test_csv_with_a_journal(self, call: Call, tmp_path: Path, conversation: str) -> None:
        """A file of texts is sent once, however often the command is run."""
        file, journal = tmp_path / "news.csv", tmp_path / "run.sqlite"
        file.write_text("customer,text\njane,Hello\njane,\njane,Hello\nnobody,Hello\n")
        said = ("import", file, "--mode", "message", "--map", "externalId=customer")
        for _ in range(2):
            result = call(*said, "--journal", journal, "--json")
            found = json.loads(result.stdout)
            assert result.exit_code == 1
            assert (found["done"], found["failed"], found["bad"]) == (2, 1, 1)
            assert found["outcomes"] == {"sent": 2}
        assert texts(call, conversation) == ["Hello", "Hello"]

        [bad, failed] = lines(call("job", "failures", journal))

        assert bad["_row"]["reason"].startswith("text")
        assert (failed["externalId"], failed["text"]) == ("nobody", "Hello")
        assert failed["_row"]["outcome"] == "failed"

    def test_a_dry_run_counts_and_sends_nothing(
        self, call: Call, tmp_path: Path, emulator: Emulator
    ) -> None:
        """Equal rows are no duplicates, since all are sent."""
        file = tmp_path / "news.jsonl"
        row = {"conversationId": "c", "text": "Hello"}
        file.write_text("".join(json.dumps(each) + "\n" for each in (row, row, {"text": "x"})))

        result = call("import", file, "--mode", "message", "--dry-run", "--json")

        found = json.loads(result.stdout)
        assert (result.exit_code, found["valid"], found["bad"], found["duplicates"]) == (1, 2, 1, 0)
        assert emulator.requests == 0

    @pytest.mark.parametrize("more", [(), ("--dry-run",)])
    def test_other_services_have_no_messages(
        self, call: Call, tmp_path: Path, more: tuple[str, ...]
    ) -> None:
        """A mode that a service hasn't is an error that names the modes."""
        file = tmp_path / "news.jsonl"
        file.touch()
        result = call("import", file, "--mode", "message", "--service", "smooch", *more)
        assert result.exit_code == 2
        assert "smooch has no mode message. The modes are: create, update" in words(result.stderr)


class TestConversations:
    def test_list_and_get(self, call: Call, conversation: str) -> None:
        """The conversations of a user are a line each; a single one is readable JSON."""
        [found] = lines(call("conversations", "list", "--external-id", "jane"))
        assert (found["id"], found["type"]) == (conversation, "personal")
        user = json.loads(call("users", "get", "jane").stdout)
        assert lines(call("conversations", "list", "--user-id", user["id"])) == [found]

        result = call("conversations", "get", conversation)

        assert (result.exit_code, json.loads(result.stdout)) == (0, found)

    @pytest.mark.parametrize("more", [(), ("--user-id", "a", "--external-id", "b")])
    def test_which_user(self, call: Call, emulator: Emulator, more: tuple[str, ...]) -> None:
        """Without a user, or with two, nothing is asked."""
        result = call("conversations", "list", *more)
        assert (result.exit_code, result.stdout, emulator.requests) == (2, "", 0)
        assert "--user-id or --external-id" in words(result.stderr)

    def test_a_limit(self, call: Call, sunshine_client: SunshineClient, conversation: str) -> None:
        """At most so many conversations are printed."""

        async def more() -> None:
            participants = [ParticipantJoinBody(user_external_id="jane")]
            body = ConversationCreateBody(type="personal", participants=participants)
            await sunshine_client.conversations.create(body)

        anyio.run(more)
        for limit, number in ((1, 1), (2, 2), (9, 2)):
            found = call("conversations", "list", "--external-id", "jane", "--limit", limit)
            assert len(lines(found)) == number


class TestMessages:
    def test_the_newest_are_listed(
        self, call: Call, sunshine_client: SunshineClient, conversation: str
    ) -> None:
        """The newest messages are printed, the oldest of them first, over as many pages as needed."""

        async def fill() -> None:
            for number in range(130):
                await sunshine_client.messages.send_text(conversation, str(number))

        anyio.run(fill)
        for limit in (1, 100, 120, 500):
            found = lines(call("messages", "list", conversation, "--limit", limit))
            numbers = [int(message["content"]["text"]) for message in found]
            assert numbers == [*range(max(0, 130 - limit), 130)]

    def test_sent_once(self, call: Call, conversation: str, emulator: Emulator) -> None:
        """A key is looked up after a lost answer, and before another try."""
        emulator.faults.append(Mishap(reset=True, when="after"))
        said = ("messages", "send", conversation, "Hello", "--once", "k")
        [message] = lines(call(*said))
        assert (message["metadata"], message["author"]["type"]) == ({MARK: "k"}, "business")
        assert lines(call(*said, "--sent-before", "2020-05-21T15:53:30Z")) == [message]
        assert texts(call, conversation) == ["Hello"]

    def test_a_lost_message(self, call: Call, conversation: str, emulator: Emulator) -> None:
        """Without a key a lost answer is an error that says so."""
        emulator.faults.append(Mishap(reset=True, when="after"))
        result = call("messages", "send", conversation, "Hello")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "may have acted" in words(result.stderr)

    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            (("--sent-before", "yesterday"), "expected a time with its zone"),
            (("--once", "k", "--sent-before", "2020-05-21T15:53:30"), "a time with its zone"),
            (("--sent-before", "2020-05-21T15:53:30Z"), "sent_before needs once"),
            (("--once", ""), "once has 0 characters"),
        ],
    )
    def test_what_can_not_be_sent(
        self, call: Call, emulator: Emulator, more: tuple[str, ...], reason: str
    ) -> None:
        """Options that can't be used are refused before anything is sent."""
        result = call("messages", "send", "c", "Hello", *more)
        assert (result.exit_code, emulator.requests) == (2, 0)
        assert reason in words(result.stderr)

    @pytest.mark.parametrize(
        "command",
        [
            ("conversations", "get", "nowhere"),
            ("conversations", "list", "--external-id", "nobody"),
            ("messages", "list", "nowhere"),
            ("messages", "send", "nowhere", "Hello"),
        ],
    )
    def test_not_found(self, call: Call, command: tuple[str, ...]) -> None:
        """A conversation or user that isn't there: status 1."""
        result = call(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "404" in result.stderr
