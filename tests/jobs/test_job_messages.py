"""Broadcasts: each message is sent once and in order, and is looked up after a kill."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import sunshine
from support.journals import counts, run_with_journal, write
from support.scripts import FATES
from support.size import sized

from sunshine_async import Retry, SunshineClient
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import (
    SUNSHINE,
    Ending,
    Job,
    JournalError,
    Mode,
    Report,
    dry_run,
)
from sunshine_async.journal import Journal, State
from sunshine_async.sunshine import (
    ConversationCreateBody,
    Message,
    ParticipantJoinBody,
    TextMessage,
    UserCreateBody,
)
from sunshine_async.sunshine.once import MARK
from sunshine_async.testing import no_waiting

pytestmark = pytest.mark.usefixtures("instant_waits")

ONCE = Retry(max_attempts=1)


class Cutting(httpx.AsyncBaseTransport):
    """An emulator behind which a job is cut off at a post: before the message is there, or after."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.cuts: dict[int, bool] = {}
        """Numbers of posts that cut the job off; True: once the message is there."""
        self.scope = anyio.CancelScope()
        self.posts = 0
        self.reads: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on, unless the job is cut off."""
        is_post = request.method == "POST" and request.url.path.endswith("/messages")
        self.posts += is_post
        if request.method == "GET":
            self.reads.append(CLOCK.now())
        there = self.cuts.pop(self.posts, None) if is_post else None
        if there is not False:
            answer = await self.emulator.transport().handle_async_request(request)
        if there is not None:
            self.scope.cancel()
            await anyio.lowlevel.checkpoint()
        return answer


class Overtaking(Cutting):
    """An emulator that would take posts made at once in the reverse order."""

    requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on, the later the earlier it was made."""
        self.requests += 1
        for _ in range(100 - 5 * self.requests):
            await anyio.lowlevel.checkpoint()
        return await super().handle_async_request(request)


async def broadcast(client: SunshineClient, path: Path, rows: Any, **options: Any) -> Report:
    """Send the messages of *rows*, with the journal at *path*."""
    return await run_with_journal(client, SUNSHINE, path, rows, Mode.MESSAGE, **options)


async def cut_off(transport: Cutting, path: Path, rows: Any, **options: Any) -> Report | None:
    """Send the messages of *rows* until *transport* cuts the job off: None."""
    with anyio.CancelScope() as transport.scope:
        return await broadcast(sunshine(transport), path, rows, concurrency=1, **options)
    return None


async def conversation(client: SunshineClient, user: str | None = None) -> str:
    """Return the id of a new conversation, of a new *user* if given."""
    if user is None:
        return (await client.conversations.create(ConversationCreateBody(type="sdkGroup"))).id
    await client.users.create(UserCreateBody(external_id=user))
    return await another(client, user)


async def another(client: SunshineClient, user: str) -> str:
    """Return the id of one more conversation of *user*."""
    participants = [ParticipantJoinBody(user_external_id=user)]
    body = ConversationCreateBody(type="personal", participants=participants)
    return (await client.conversations.create(body)).id


async def messages(client: SunshineClient, conversation_id: str) -> list[Message]:
    """Return all messages of a conversation, the oldest first."""
    pages = [page async for page in client.messages.list(conversation_id).pages()]
    return [message for page in reversed(pages) for message in page.items]


async def texts(client: SunshineClient, conversation_id: str) -> list[str | None]:
    """Return the texts of a conversation, the oldest first."""
    return [
        message.content.text if isinstance(message.content, TextMessage) else None
        for message in await messages(client, conversation_id)
    ]


def rows_in(conversation_id: str, *words: str) -> list[dict[str, Any]]:
    """Return a row for each text."""
    return [{"conversationId": conversation_id, "text": text} for text in words]


def keys(path: Path) -> list[str]:
    """Return what the journal has as the remote id of each row."""
    journal = Journal(path)
    found = [row["remote_id"] for row in journal.rows()]
    journal.close()
    return found


@pytest.fixture
def client(sunshine_client: SunshineClient) -> SunshineClient:
    """Return a client of the emulator that tries each request once."""
    return sunshine_client.with_options(retry=ONCE)


class TestSending:
    @pytest.mark.parametrize("with_journal", [True, False])
    async def test_to_conversations_and_to_users(
        self, client: SunshineClient, path: Path, *, with_journal: bool
    ) -> None:
        """A row goes to the conversation, or to the user's own one, which is made where missing."""
        group, own = await conversation(client), await conversation(client, "jane")
        await another(client, "jane")
        await client.users.create(UserCreateBody(external_id="joe"))
        rows = [
            {"conversationId": group, "text": "to all", "metadata": {"tier": "gold"}},
            {"externalId": "jane", "text": "to Jane", "destination": {"integrationType": "none"}},
            {"externalId": "joe", "text": "to Joe"},
            {"externalId": "joe", "text": "to Joe again"},
            {"externalId": "nobody", "text": "to nobody"},
            {"conversationId": "nowhere", "text": "to nobody"},
        ]

        if with_journal:
            report = await broadcast(client, path, rows)
        else:
            report = await Job(client, SUNSHINE, Mode.MESSAGE).run(rows)

        assert counts(report) == (4, 2, 0, 0, 0)
        assert report.outcomes == {"sent": 4}
        assert sorted(problem.line for problem in report.problems) == [5, 6]
        [message] = await messages(client, group)
        assert message.author is not None
        assert (message.author.type, message.content) == ("business", TextMessage(text="to all"))
        assert message.metadata is not None
        assert message.metadata.keys() == {"tier", MARK}
        assert await texts(client, own) == ["to Jane"]
        [made] = [one async for one in client.conversations.list(user_external_id="joe")]
        assert await texts(client, made.id) == ["to Joe", "to Joe again"]
        if with_journal:
            assert keys(path)[0] == message.id

    async def test_in_order_within_a_conversation(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """Rows of a conversation go one after another, in the order of the file."""
        transport = Overtaking(emulator)
        ids = [await conversation(client) for _ in range(3)]
        rows = [row for n in range(12) for row in rows_in(ids[n % 3], f"{n:02}")]

        report = await broadcast(sunshine(transport), path, rows)

        assert counts(report) == (12, 0, 0, 0, 0)
        for n, one in enumerate(ids):
            assert await texts(client, one) == [f"{number:02}" for number in range(n, 12, 3)]

    async def test_csv(self, client: SunshineClient, path: Path, file: Path) -> None:
        """A CSV file has a column of texts, and columns of metadata."""
        where = await conversation(client)
        source = file.with_suffix(".csv")
        source.write_text(f"conversationId,text,metadata.n:number\n{where},Hello,7\n{where},,8\n")

        assert counts(await broadcast(client, path, source)) == (1, 0, 0, 1, 0)

        [message] = await messages(client, where)
        assert message.metadata is not None
        assert message.metadata["n"] == 7

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"text": "Hello"}, "no conversationId and no externalId"),
            ({"conversationId": "a"}, "text"),
            ({"conversationId": "a", "text": None}, "text"),
            ({"conversationId": "a", "text": "x" * 4097}, "4097 characters"),
            ({"conversationId": "a", "text": "x", "metadata": {"a": {"b": "secret"}}}, "metadata"),
            ({"conversationId": "a", "text": "x", "metadata": {"a": "y" * 4096}}, "4096"),
            ({"externalId": "a", "text": "x", "author": {"type": "user"}}, "Leave author out"),
            ({"externalId": "a", "text": "x", "content": {"type": "text"}}, "Leave content out"),
        ],
    )
    async def test_bad_rows(
        self, emulator: Emulator, client: SunshineClient, path: Path, row: Any, reason: str
    ) -> None:
        """A row that can't be a message is bad, in a dry run too, and nothing is sent."""
        report = await broadcast(client, path, [row])

        assert counts(report) == (0, 0, 0, 1, 0)
        assert emulator.requests == 0
        for problem in (report.problems[0], dry_run(SUNSHINE, Mode.MESSAGE, [row]).problems[0]):
            assert reason in problem.reason
            assert "secret" not in problem.reason

    async def test_a_lost_conversation_is_no_lost_message(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """Where no conversation was made, no message was sent, and the row is sent again."""
        await client.users.create(UserCreateBody(external_id="joe"))
        emulator.faults += [None, Mishap(reset=True, when="before"), None, None]

        report = await broadcast(client, path, [{"externalId": "joe", "text": "Hello"}])

        assert counts(report) == (1, 0, 0, 0, 0)
        [made] = [one async for one in client.conversations.list(user_external_id="joe")]
        assert await texts(client, made.id) == ["Hello"]

    async def test_the_text_stays_out_of_the_journal(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """The journal has the text of a message only on request."""
        where = await conversation(client)
        write(file, rows_in(where, "a private matter"))
        await broadcast(client, path, file)
        await broadcast(client, path.with_name("kept"), file, keep_bodies=True)

        found = [b"private matter" in one.read_bytes() for one in (path, path.with_name("kept"))]
        assert found == [False, True]


class TestNextRun:
    async def test_no_message_is_sent_again(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """The same file sends nothing more; another file is refused, or sends only what is new."""
        where = await conversation(client)
        write(file, rows_in(where, "a", "b", "b"))
        for _ in range(2):
            assert counts(await broadcast(client, path, file)) == (3, 0, 0, 0, 0)
        write(file, rows_in(where, "b", "c", "b", "b"))
        with pytest.raises(JournalError, match=r"rows without a key.*--accept-changed-source"):
            await broadcast(client, path, file)

        report = await broadcast(client, path, file, accept_changed_source=True)

        assert report.outcomes == {"unchanged": 2, "sent": 2}
        assert await texts(client, where) == ["a", "b", "b", "c", "b"]

    async def test_an_unknown_row_keeps_the_key_in_a_changed_file(
        self, emulator: Emulator, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """The message of an unknown row is found, at whatever line the row is by now."""
        where = await conversation(client)
        transport = Cutting(emulator)
        transport.cuts = {1: True}
        write(file, rows_in(where, "a", "b"))
        await cut_off(transport, path, file)
        write(file, rows_in(where, "b", "c", "a"))
        options = {"accept_changed_source": True}

        report = await broadcast(client, path, file, **options)
        assert counts(report) == (2, 0, 1, 0, 0)
        report = await broadcast(client, path, file, retry_unknown=True, **options)

        assert counts(report) == (3, 0, 0, 0, 0)
        assert Counter(await texts(client, where)) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.costly
class TestAfterAKill:
    @pytest.mark.parametrize("as_file", [True, False])
    @pytest.mark.parametrize("by_user", [True, False])
    @pytest.mark.parametrize("there", [True, False])
    async def test_a_begun_row_is_looked_up(
        self,
        emulator: Emulator,
        path: Path,
        file: Path,
        *,
        as_file: bool,
        by_user: bool,
        there: bool,
    ) -> None:
        """A message that is there is done; else unknown, and sent again only on request."""
        transport = Cutting(emulator)
        client = sunshine(transport)
        await conversation(client, "jane")
        where = await another(client, "jane")
        if by_user:
            [where, _] = [
                one.id async for one in client.conversations.list(user_external_id="jane")
            ]
        row = {"externalId": "jane"} if by_user else {"conversationId": where}
        rows = [{**row, "text": text} for text in ("a", "b", "c")]
        source = write(file, rows) if as_file else rows
        transport.cuts = {2: there}

        assert await cut_off(transport, path, source) is None
        once = keys(path)[1]
        opened, transport.reads = CLOCK.now(), []
        report = await broadcast(client, path, source)

        assert counts(report) == (3 if there else 2, 0, not there, 0, 0)
        assert min(transport.reads) >= opened + 5.0
        assert transport.posts == 3
        assert await texts(client, where) == (["a", "b", "c"] if there else ["a", "c"])
        assert counts(await broadcast(client, path, source)) == counts(report)
        assert transport.posts == 3

        report = await broadcast(client, path, source, retry_unknown=True)

        assert counts(report) == (3, 0, 0, 0, 0)
        assert transport.posts == (3 if there else 4)
        found = await messages(client, where)
        assert len(found) == 3
        assert once in [(message.metadata or {}).get(MARK) for message in found]

    @pytest.mark.parametrize("ahead", [30, 7200])
    async def test_the_clock_was_set_back_since(
        self, emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
    ) -> None:
        """A message of an hour that is yet to come is found too, behind all newer messages."""
        transport = Cutting(emulator)
        where = await conversation(client := sunshine(transport))
        transport.cuts = {1: True}
        wrong = time.time_ns() + ahead * 10**9
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: wrong)
            await cut_off(transport, path, rows_in(where, "a"))
        for number in range(ahead // 60):
            await client.messages.send_text(where, str(number))
        opened = CLOCK.now()

        report = await broadcast(client, path, rows_in(where, "a"))

        assert counts(report) == (1, 0, 0, 0, 0)
        assert CLOCK.now() - opened < 11.0
        assert (await texts(client, where)).count("a") == 1

    async def test_an_unknown_message_that_arrives_later_is_found(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """A retry of unknown rows looks before it sends."""
        transport = Cutting(emulator)
        where = await conversation(client)
        [row] = rows = rows_in(where, "a")
        transport.cuts = {1: False}
        await cut_off(transport, path, rows)
        assert counts(await broadcast(client, path, rows)) == (0, 0, 1, 0, 0)
        await client.messages.send_text(where, row["text"], once=keys(path)[0])

        report = await broadcast(client, path, rows, retry_unknown=True)

        assert counts(report) == (1, 0, 0, 0, 0)
        assert await texts(client, where) == ["a"]

    async def test_a_look_that_a_gateway_answers_finds_nothing_out(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """A page of a gateway with the status 404 is no reason to send a message again."""

        class NoRoute(Cutting):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "GET":
                    return httpx.Response(404, text="<html>No route</html>")
                return await super().handle_async_request(request)

        transport = Cutting(emulator)
        where = await conversation(client)
        rows = rows_in(where, "a")
        transport.cuts = {1: True}
        await cut_off(transport, path, rows)

        for options in ({}, {"retry_unknown": True}):
            report = await broadcast(sunshine(NoRoute(emulator)), path, rows, **options)
            assert counts(report) == (0, 0, 1, 0, 0)
        assert await texts(client, where) == ["a"]

    async def test_a_message_with_the_key_and_other_content_is_unknown(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """Another text with the key of the row: unknown, and never sent again."""
        transport = Cutting(emulator)
        where = await conversation(client)
        rows = rows_in(where, "a")
        transport.cuts = {1: False}
        await cut_off(transport, path, rows)
        await client.messages.send_text(where, "another", once=keys(path)[0])

        for options in ({}, {"retry_unknown": True}):
            report = await broadcast(client, path, rows, **options)
            assert counts(report) == (0, 0, 1, 0, 0)
            assert "once" in report.problems[0].reason
        assert await texts(client, where) == ["another"]

    @pytest.mark.parametrize("gone", ["conversation", "user"])
    @pytest.mark.parametrize("there", [True, False])
    async def test_nothing_to_look_in(
        self, emulator: Emulator, client: SunshineClient, path: Path, gone: str, *, there: bool
    ) -> None:
        """A message in a conversation that is gone is unknown; sent again, the row fails."""
        transport = Cutting(emulator)
        await client.users.create(UserCreateBody(external_id="jane"))
        where = await conversation(client)
        row = {"conversationId": where} if gone == "conversation" else {"externalId": "jane"}
        rows = [{**row, "text": "a"}]
        transport.cuts = {1: there}
        await cut_off(transport, path, rows)
        if gone == "user":
            await client.users.delete("jane")
        else:
            await client.conversations.delete(where)

        assert counts(await broadcast(client, path, rows)) == (0, 0, 1, 0, 0)
        report = await broadcast(client, path, rows, retry_unknown=True)
        assert counts(report) == (0, 1, 0, 0, 0)

    @pytest.mark.parametrize("there", [True, False])
    async def test_an_outage_of_the_look_up_is_waited_for(
        self, emulator: Emulator, client: SunshineClient, path: Path, *, there: bool
    ) -> None:
        """A look-up without an answer is made again, and the wish to send again stays."""
        transport = Cutting(emulator)
        where = await conversation(client)
        rows = rows_in(where, "a")
        transport.cuts = {1: there}
        await cut_off(transport, path, rows)
        emulator.faults += [Mishap(status=503), Mishap(status=503)]
        report = await broadcast(client, path, rows)
        assert counts(report) == (there, 0, not there, 0, 0)
        assert there or "the message may still arrive" in report.problems[0].reason

        emulator.faults += [Mishap(status=503), Mishap(reset=True, when="before")]
        report = await broadcast(client, path, rows, retry_unknown=True)

        assert counts(report) == (1, 0, 0, 0, 0)
        emulator.faults.clear()  # a message that is there needs no look-up
        assert await texts(client, where) == ["a"]

    async def test_a_message_sent_again_is_not_sent_a_third_time(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """The second sending lost as well: looked up again, and unknown again."""
        transport = Cutting(emulator)
        where = await conversation(client)
        rows = rows_in(where, "a")
        transport.cuts = {1: False}
        await cut_off(transport, path, rows)
        await broadcast(client, path, rows)
        client = sunshine(transport, retry=ONCE)
        emulator.faults += [None, Mishap(reset=True, when="before")]
        transport.posts = 0

        report = await broadcast(client, path, rows, retry_unknown=True)

        assert counts(report) == (0, 0, 1, 0, 0)
        assert await texts(client, where) == []
        assert transport.posts == 1

    async def test_a_refused_look_up_ends_the_job(
        self, emulator: Emulator, client: SunshineClient, path: Path
    ) -> None:
        """A look-up that may not read leaves the row unknown, and no row would fare better."""
        transport = Cutting(emulator)
        where = await conversation(client)
        rows = rows_in(where, "a")
        transport.cuts = {1: True}
        await cut_off(transport, path, rows)
        emulator.faults += [Mishap(status=403)]

        report = await broadcast(client, path, rows)

        assert (report.ending, report.waiting) == (Ending.GAVE_UP, 1)
        assert counts(await broadcast(client, path, rows)) == (1, 0, 0, 0, 0)


def fates() -> st.SearchStrategy[list[Any]]:
    """Return a strategy for the fates of the requests of a broadcast, that a job may outlive."""
    usual = [fate for fate in FATES if not isinstance(fate, Mishap) or fate.status != 404]
    return st.lists(st.sampled_from([*usual, None, None, "cut before", "cut after"]), max_size=20)


class Fated(Cutting):
    """An emulator whose requests, once *armed*, each have a fate of a script."""

    armed = False
    script: Iterator[Any] = iter(())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on, with the next fate."""
        fate = next(self.script, None) if self.armed else None
        if isinstance(fate, httpx.TransportError):
            raise fate
        self.emulator.faults = [fate] if isinstance(fate, Mishap) else []
        is_post = request.method == "POST" and request.url.path.endswith("/messages")
        if is_post and isinstance(fate, str):
            self.cuts[self.posts + 1] = fate == "cut after"
        return await super().handle_async_request(request)


@pytest.mark.slow
@settings(max_examples=sized(100, 6))
@given(script=fates(), retry_unknown=st.booleans(), by_user=st.booleans())
def test_each_row_is_what_the_journal_says(
    script: list[Any], *, retry_unknown: bool, by_user: bool
) -> None:
    """Cut off and run again until the end: no message twice; done is there, failed isn't."""

    async def scenario(folder: Path) -> None:
        transport = Fated(Emulator())
        client = sunshine(transport)
        where = await conversation(client, "jane")
        row = {"externalId": "jane"} if by_user else {"conversationId": where}
        rows = write(folder / "rows.jsonl", [{**row, "text": str(n)} for n in range(1, 7)])
        path = folder / "run.sqlite"
        transport.script, transport.armed = iter(script), True
        report = None
        while report is None:
            report = await cut_off(transport, path, rows, retry_unknown=retry_unknown)
        transport.armed, transport.emulator.faults = False, []
        found = Counter(await texts(client, where))
        journal = Journal(path)
        states = {str(row["line"]): State(row["state"]) for row in journal.rows()}
        journal.close()
        assert len(states) == 6
        assert set(found.values()) <= {1}
        for text, state in states.items():
            assert state in {State.DONE, State.FAILED, State.UNKNOWN}
            assert state is not State.DONE or found[text]
            assert state is not State.FAILED or not found[text]

    with TemporaryDirectory() as folder, no_waiting():
        anyio.run(scenario, Path(folder))
