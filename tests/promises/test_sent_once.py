"""Messages and conversations are created once, whatever the faults, and told from unknown ones."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import sunshine
from support.scripts import CHAOS, scripts
from support.size import sized

from sunshine_async import Retry, SunshineClient, SunshineError, bulk
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.sunshine import (
    Author,
    ConversationCreateBody,
    Message,
    MessagePost,
    ParticipantJoinBody,
    TextMessage,
    UserCreateBody,
)
from sunshine_async.testing import no_waiting

MESSAGES = sized(2_000, 300)
CONVERSATIONS = sized(200, 30)
AGAIN = sized(600, 100)
PATIENT = Retry(max_attempts=30)
BUSINESS = Author(type="business")


def text_of(message: Message) -> str:
    """Return the text of a message that was sent as a text."""
    assert isinstance(message.content, TextMessage)
    return message.content.text or ""


def post_of(text: str) -> MessagePost:
    """Return the body of a text."""
    return MessagePost(author=BUSINESS, content=TextMessage(text=text))


async def conversation(client: SunshineClient) -> str:
    """Return the id of a new conversation without participants."""
    while True:
        with suppress(SunshineError):
            return (await client.conversations.create(ConversationCreateBody(type="sdkGroup"))).id


async def texts(client: SunshineClient, conversation_id: str) -> list[str]:
    """Return the texts of all messages of a conversation, the oldest first."""
    pages = [page async for page in client.messages.list(conversation_id).pages()]
    return [text_of(message) for page in reversed(pages) for message in page.items]


async def sent_in_chaos(
    seed: int,
) -> tuple[list[Outcome[tuple[str, MessagePost], list[Message]]], dict[str, list[str]]]:
    """Send many messages, 64 at once; return the outcomes, and the texts by conversation."""
    emulator = Emulator(odds=CHAOS, seed=seed)
    client = sunshine(emulator.transport())
    patient = client.with_options(retry=PATIENT)
    with no_waiting():
        ids = [await conversation(patient) for _ in range(CONVERSATIONS)]

        def pairs() -> Iterator[tuple[str, MessagePost]]:
            for number in range(MESSAGES):
                yield ids[number // 4 % CONVERSATIONS], post_of(f"message {number}")

        def once(pair: tuple[str, MessagePost]) -> str:
            content = pair[1].content
            assert isinstance(content, TextMessage)
            return f"key of {content.text}"

        async with client.messages.post_many(pairs(), once=once, concurrency=64) as stream:
            outcomes = [outcome async for outcome in stream]
        there = {one: await texts(patient, one) for one in ids}
    assert sum(emulator.ledger()["faults"].values()) > MESSAGES * 0.1
    return outcomes, there


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.costly
async def test_each_message_is_there_once_or_reported_unknown(seed: int) -> None:
    """Done is there once, failed isn't there, none is there twice; conversations keep the order."""
    outcomes, there = await sent_in_chaos(seed)

    counts = Counter(text for messages in there.values() for text in messages)
    assert len(outcomes) == MESSAGES
    assert set(counts.values()) == {1}
    for outcome in outcomes:
        text = f"message {outcome.index}"
        match outcome:
            case Done(_, _, [message]):
                assert text_of(message) == text
                assert counts.pop(text) == 1
            case Failed():
                assert text not in counts
            case Unknown():
                counts.pop(text, None)
            case _:
                pytest.fail("a post makes one message")
    assert not counts  # no message that no outcome speaks of
    for messages in there.values():
        numbers = [int(text.removeprefix("message ")) for text in messages]
        assert all(before < after for before, after in pairwise(numbers))
    kinds = Counter(map(type, outcomes))
    assert kinds[Failed] == 0
    assert kinds[Done] > MESSAGES * 0.9


async def test_a_second_run_sends_nothing_twice() -> None:
    """A run broken off, and run again with ``sent_before``, has each message once at most."""
    emulator = Emulator(odds=CHAOS, seed=3)
    client = sunshine(emulator.transport())
    patient = client.with_options(retry=PATIENT)
    with no_waiting():
        ids = [await conversation(patient) for _ in range(10)]
        items = [(ids[number // 4 % 10], f"message {number}") for number in range(AGAIN)]
        begun = datetime.now(UTC)

        async def first(item: tuple[str, str]) -> list[Message]:
            return await client.messages.post(item[0], post_of(item[1]), once=f"key of {item[1]}")

        async def second(item: tuple[str, str]) -> list[Message]:
            return await client.messages.post(
                item[0], post_of(item[1]), once=f"key of {item[1]}", sent_before=begun
            )

        async with bulk.run(first, items, concurrency=16) as stream:
            async for outcome in stream:
                if outcome.index > AGAIN // 2:
                    break
        before = Counter([text for one in ids for text in await texts(patient, one)])
        outcomes = await bulk.collect(second, items, concurrency=16)
        after = Counter([text for one in ids for text in await texts(patient, one)])

    assert 0 < len(before) < AGAIN
    assert set(after.values()) == {1}
    assert before.keys() <= after.keys()
    for outcome in outcomes:
        if not isinstance(outcome, Unknown):
            assert after[outcome.item[1]] == isinstance(outcome, Done)
    assert sum(isinstance(outcome, Done) for outcome in outcomes) > AGAIN * 0.8


class Script(httpx.AsyncBaseTransport):
    """An emulator whose requests, once *armed*, each have a fate of a script."""

    def __init__(self, emulator: Emulator, script: list[Any]) -> None:
        self.emulator = emulator
        self.script = iter(script)
        self.armed = False
        self.posts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate = next(self.script, None) if self.armed else None
        self.posts += self.armed and request.method == "POST"
        self.emulator.faults = [fate] if isinstance(fate, Mishap) else []
        if isinstance(fate, httpx.TransportError):
            raise fate
        return await self.emulator.transport().handle_async_request(request)


@settings(max_examples=sized(200, 10))
@given(script=scripts(), again=scripts(), other=st.booleans(), known=st.booleans())
def test_a_message_is_what_it_is_said_to_be(
    script: list[Any], again: list[Any], *, other: bool, known: bool
) -> None:
    """A post, and the same post again after a crash, makes one message at most."""
    emulator = Emulator()
    transport = Script(emulator, [*script])

    async def scenario() -> None:
        client = sunshine(transport)
        where = await conversation(client)
        if other:
            await client.messages.post(where, post_of("Hello"), once="another key")
        transport.armed = True
        begun = datetime.now(UTC)
        [first] = await bulk.collect(
            lambda body: client.messages.post(where, body, once="k"), [post_of("Hello")]
        )
        transport.armed = False
        hellos = len(await texts(client, where)) - other
        agree(first, hellos)
        if known and isinstance(first, Failed):
            return  # the caller knows, and has nothing to ask
        transport.script, transport.armed = iter(again), True
        [second] = await bulk.collect(
            lambda body: client.messages.post(where, body, once="k", sent_before=begun),
            [post_of("Hello")],
        )
        transport.armed = False
        agree(second, len(await texts(client, where)) - other)
        if hellos:
            assert not isinstance(second, Failed)

    with no_waiting():
        anyio.run(scenario)


@settings(max_examples=sized(150, 10))
@given(script=scripts(), other=st.booleans())
def test_a_conversation_is_what_it_is_said_to_be(script: list[Any], *, other: bool) -> None:
    """Done is there once, failed isn't there, and none is there twice."""
    emulator = Emulator()
    transport = Script(emulator, script)
    body = ConversationCreateBody(
        type="personal", participants=[ParticipantJoinBody(user_external_id="jane")]
    )

    async def scenario() -> None:
        client = sunshine(transport)
        await client.users.create(UserCreateBody(external_id="jane"))
        if other:
            await client.conversations.create(body)
        transport.armed = True
        [outcome] = await bulk.collect(
            lambda body: client.conversations.create(body, once="k"), [body]
        )
        transport.armed = False
        there = [one async for one in client.conversations.list(user_external_id="jane")]
        agree(outcome, len(there) - other)

    with no_waiting():
        anyio.run(scenario)


@settings(max_examples=sized(100, 10))
@given(script=scripts(404), existing=st.booleans())
def test_get_or_create_makes_one_conversation(script: list[Any], *, existing: bool) -> None:
    """`get_or_create` never makes a second conversation."""
    emulator = Emulator()
    transport = Script(emulator, script)
    body = ConversationCreateBody(
        type="personal", participants=[ParticipantJoinBody(user_external_id="jane")]
    )

    async def scenario() -> None:
        client = sunshine(transport)
        await client.users.create(UserCreateBody(external_id="jane"))
        if existing:
            await client.conversations.create(body)
        transport.armed = True
        [outcome] = await bulk.collect(client.conversations.get_or_create, [body])
        transport.armed = False
        there = [one async for one in client.conversations.list(user_external_id="jane")]
        assert len(there) <= 1
        if not existing:
            agree(outcome, len(there))

    with no_waiting():
        anyio.run(scenario)


def agree(outcome: Outcome[Any, Any], there: int) -> None:
    """Check *outcome* against the number of records that are *there*."""
    assert there <= 1
    if isinstance(outcome, Done):
        assert there == 1
    if isinstance(outcome, Failed):
        assert there == 0


@pytest.mark.parametrize(
    "mishap", [Mishap(reset=True, when="after"), Mishap(status=503, when="after"), Mishap(cut=True)]
)
async def test_a_lost_upload_makes_no_second_message(mishap: Mishap, instant_waits: None) -> None:
    """A file whose upload is lost isn't sent; the next attempt makes the one message."""
    emulator = Emulator()
    client = sunshine(emulator.transport())
    where = await conversation(client)
    emulator.faults += [mishap]

    with pytest.raises(SunshineError) as caught:
        await client.messages.send_file(where, b"%PDF", file_name="a.pdf", once="k")

    assert not caught.value.maybe_applied
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(2):
        await client.messages.send_file(
            where, b"%PDF", file_name="a.pdf", once="k", sent_before=earlier
        )
    assert len([one async for one in client.messages.list(where)]) == 1
