"""The receiver: answers, handling once, order, retries, dead letters, disks that fill, shutdown."""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing, nullcontext
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count, repeat
from math import inf
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import anyio
import httpx
import pytest
from attrs import define, field
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from support.deliveries import (
    DELIVERIES,
    HEADERS,
    SECRET,
    Order,
    counts,
    envelope,
    message,
    post,
    sender,
    shuffled_deliveries,
)
from support.frames import leaks
from support.inboxes import dead, exchange
from support.patience import PATIENCE
from support.size import sized
from support.virtual import settled, virtually

from sunshine_async import (
    BasicAuth,
    ConfigurationError,
    NotFoundError,
    RequestTimeoutError,
    Retry,
    SunshineClient,
)
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.sunshine.once import EARLIER_ENDED, MARK
from sunshine_async.webhooks import (
    ConversationMessage,
    InboxError,
    Received,
    Receiver,
    SmoochWebhooks,
    SunshineWebhooks,
    UnknownEvent,
)
from sunshine_async.webhooks.deliveries import RawDelivery, RawEvent
from sunshine_async.webhooks.handling import Dispatcher, HandlingRules
from sunshine_async.webhooks.inbox import EventState, StoredEvent
from sunshine_async.webhooks.receiver import RETRY
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox

MESSAGE = "conversation:message"
AT_ONCE = Retry(max_attempts=3, first_wait=0, deadline=1e9)
BACKENDS = ("asyncio", "trio")


def receiver_at(path: Path, **options: Any) -> Receiver:
    """Return a receiver of Sunshine whose retries don't wait."""
    return Receiver(SunshineWebhooks(SECRET), path, **{"retry": AT_ONCE, **options})


@define
class Bot:
    """Handlers that note the events, and a way to wait for the events."""

    receiver: Receiver
    act: Callable[[Received[Any]], Awaitable[None]] | None = None
    """Part of the handler, after the note."""
    triggers: tuple[str, ...] = (MESSAGE,)
    got: list[Received[Any]] = field(factory=list)
    ended: int = 0
    _changed: anyio.Event = field(factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        self.receiver.on(*self.triggers)(self.handle)

    async def handle(self, received: Received[Any]) -> None:
        """Note *received*, and act."""
        self.got.append(received)
        self._change()
        if self.act is not None:
            await self.act(received)
        self.ended += 1
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in order."""
        return [one.id for one in self.got]

    async def until(self, number: int, *, ended: int = 0) -> None:
        """Wait until so many attempts have begun, and so many have *ended* well."""
        with anyio.fail_after(PATIENCE):
            while len(self.got) < number or self.ended < ended:
                await self._changed.wait()


def raw_event(number: int) -> RawEvent:
    """Return an event of a conversation."""
    return RawEvent(f"e{number}", MESSAGE, {}, b"{}", "c", float(number))


async def dead_letters(receiver: Receiver, number: int) -> list[Any]:
    """Return the dead letters once there are so many."""
    with anyio.fail_after(PATIENCE):
        while len(found := await receiver.dead()) < number:
            await anyio.lowlevel.checkpoint()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_retry_that_is_due_already_is_no_error(
    path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry whose time comes while the disk writes doesn't end the receiver."""

    async def sleep(seconds: float) -> None:
        assert seconds >= 0
        await anyio.lowlevel.checkpoint()

    async def fail(_: Received[Any]) -> None:
        raise ZeroDivisionError

    async def scenario() -> None:
        retry = Retry(max_attempts=32, first_wait=10, max_wait=10, deadline=1e9)
        bot = Bot(receiver_at(path, retry=retry), fail)
        async with bot.receiver, sender(bot.receiver) as client:
            assert await post(client, message(1)) == 200
            assert len(await dead_letters(bot.receiver, 1)) == 1

    ticks, lucks = count(), count()
    monkeypatch.setattr(CLOCK, "now", lambda: float(next(ticks)))
    monkeypatch.setattr(CLOCK, "luck", lambda: next(lucks) / 32)
    monkeypatch.setattr(CLOCK, "sleep", sleep)
    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_event_is_handled_with_all_its_values(path: Path, backend: str) -> None:
    """A handler gets the typed event, its ids, the attempt, and a key; on asyncio and trio."""

    async def scenario() -> None:
        bot = Bot(receiver_at(path))
        async with bot.receiver, sender(bot.receiver) as client:
            assert await post(client, message(1)) == 200
            await bot.until(1)
        [received] = bot.got
        assert isinstance(received.event, ConversationMessage)
        assert received.event.payload.message.id == "m1"
        assert (received.id, received.type, received.app_id) == ("e1", MESSAGE, "app")
        assert (received.attempt, received.begun_before) == (1, None)
        assert received.key("hello") == "e1:hello" != received.key("bye")
        assert len(received.key("x" * 500)) <= 200
        assert received.key("x" * 500) != received.key("x" * 501)

    anyio.run(scenario, backend=backend)


@pytest.mark.slow
@pytest.mark.slow
async def test_events_of_many_deliveries_are_handled_once_in_order(path: Path) -> None:
    """Repeated, shuffled and grouped deliveries: each event once, each conversation in order as received."""
    random, order, statuses = Random(7), Order(), set[int]()
    number = sized(4000, 500)
    conversations = [f"c{random.randrange(number // 15)}" for _ in range(number)]
    events = [message(n, conversation) for n, conversation in enumerate(conversations)]

    async def act(received: Received[ConversationMessage]) -> None:
        order.note(order.handled, received.id)
        await anyio.lowlevel.checkpoint()

    bot = Bot(receiver_at(path), act)
    deliveries = iter(shuffled_deliveries(events, random))
    async with bot.receiver, sender(bot.receiver) as client:

        async def send_next() -> None:
            for delivery in deliveries:
                ids = [event["id"] for event in delivery]
                order.note(order.sent, *ids)
                statuses.add(await post(client, *delivery))
                order.note(order.answered, *ids)

        async with anyio.create_task_group() as senders:
            for _ in range(8):
                senders.start_soon(send_next)
        await bot.until(number)

    assert statuses == {200}
    assert Counter(bot.ids) == Counter(event["id"] for event in events)
    assert {one.attempt for one in bot.got} == {1}
    for conversation in set(conversations):
        assert (
            order.overtaken([f"e{n}" for n in range(number) if conversations[n] == conversation])
            == []
        )


async def test_a_stored_backlog_is_handled_in_order(path: Path) -> None:
    """Events received before the start are handled in the order of their times, conversation by conversation."""
    number = 300
    shuffled = Random(1).sample(range(number), k=number)
    first = Bot(receiver_at(path), lambda received: anyio.sleep_forever())
    async with first.receiver, sender(first.receiver) as client:
        for start in range(0, number, 20):
            conversations = (message(n, f"c{n % 7}") for n in shuffled[start : start + 20])
            assert await post(client, *conversations) == 200

    second = Bot(receiver_at(path))
    async with second.receiver:
        await second.until(number)

    by_conversation: dict[int, list[int]] = {}
    for received in second.got:
        place = int(received.id[1:])
        by_conversation.setdefault(place % 7, []).append(place)
    assert all(places == sorted(places) for places in by_conversation.values())
    assert len(second.got) == number
    assert {one.id for one in second.got if one.attempt > 1} == set(first.ids)


async def status_of(
    receiver: Receiver, *, content: Any = None, method: str = "POST", **headers: str
) -> int:
    """Return the status of a request."""
    async with sender(receiver) as client:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        body = httpx.Response(200, json=envelope([])).content if content is None else content
        response = await client.request(method, "/", content=body, headers=names)
    assert response.content == b""
    return response.status_code


async def test_the_statuses(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each kind of request has its status; a refused delivery is logged with the reason."""
    receiver = receiver_at(path, max_bytes=1000)
    Bot(receiver)
    assert await status_of(receiver) == 503
    async with receiver:
        assert await status_of(receiver) == 200
        assert await status_of(receiver, method="HEAD") == 200
        for method in ("GET", "PUT", "DELETE"):
            assert await status_of(receiver, method=method) == 405
        async with sender(receiver) as client:
            for method, allowed in (("GET", "HEAD, POST"), ("HEAD", None)):
                assert (await client.request(method, "/")).headers.get("allow") == allowed
        assert await status_of(receiver, x_api_key="wrong") == 401
        assert await status_of(receiver, content=b"no JSON") == 400
        assert await status_of(receiver, content=b" " * 1001) == 413
        assert await status_of(receiver, content=b" " * 1000) == 400
    assert await status_of(receiver) == 503
    assert [text.partition(":")[0] for text in caplog.messages] == [
        f"a delivery is answered {status}" for status in (503, 401, 400, 413, 400, 503)
    ]
    assert "`lifespan=receiver.lifespan`" in caplog.messages[0]
    assert SECRET not in caplog.text


async def asgi_call(
    receiver: Receiver, messages: Iterable[Any], method: str = "POST", **headers: str
) -> list[Any]:
    """Call the receiver with *messages*, then with silence; return all messages, both ways."""
    coming, both = iter(messages), list[Any]()

    async def receive() -> Any:
        one = next(coming, None)
        if one is None:
            await anyio.sleep_forever()
        both.append(one)
        return one

    async def send(message: Any) -> None:
        both.append(message)

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": named}
    await receiver(scope, receive, send)
    return both


def part(size: int, *, more: bool = True) -> Any:
    """Return a part of a body."""
    return {"type": "http.request", "body": b" " * size, "more_body": more}


def answer_in(both: list[Any]) -> tuple[int, int, bool]:
    """Return the status, the number of messages before the answer, and True for a whole answer."""
    [at] = [at for at, one in enumerate(both) if one["type"] == "http.response.start"]
    assert dict(both[at]["headers"])[b"content-length"] == b"0"
    bodies = [one for one in both if one["type"] == "http.response.body"]
    assert both[at + 1] is bodies[0]
    assert not any(body["body"] for body in bodies)
    return both[at]["status"], at, both[-1] is bodies[-1] and not bodies[-1].get("more_body")


EARLY = [
    (413, 0, "POST", {"content-length": "1001"}),
    (413, 2, "POST", {}),
    (405, 0, "PUT", {}),
    (503, 0, "POST", {}),
]
"""Answers before the end of a body: the status, and the parts of 600 bytes that are read first."""


@pytest.mark.parametrize(("status", "before", "method", "headers"), EARLY)
def test_an_early_answer_goes_out_before_the_rest_of_the_body_is_read(
    path: Path, status: int, before: int, method: str, headers: Mapping[str, str]
) -> None:
    """The answer is sent at once; it ends after the body, after 64 MB more, or after 5 seconds.

    A server that ends an answer first resets the connection, and a proxy such as nginx has no answer.
    """

    async def scenario() -> None:
        receiver = receiver_at(path, max_bytes=1000)
        call = partial(asgi_call, receiver, method=method, **headers)
        async with nullcontext() if status == 503 else receiver:
            both = await call([*[part(600)] * 4, part(1, more=False)])
            assert answer_in(both) == (status, before, True)
            assert len(both) == 5 + 3

            both = await call(chain([part(600)] * before, repeat(part(10**6))))
            assert answer_in(both) == (status, before, True)
            assert len(both) == before + 64 + 3

            began = anyio.current_time()
            assert answer_in(await call([part(600)] * 2)) == (status, before, True)
            assert anyio.current_time() - began == 5

            both = await call([*[part(600)] * 3, {"type": "http.disconnect"}])
            assert answer_in(both) == (status, before, False)

    virtually(scenario, "asyncio")


async def test_a_client_that_goes_gets_no_answer(path: Path) -> None:
    """A request that breaks off is neither answered nor stored."""
    receiver = receiver_at(path)
    async with receiver:
        both = await asgi_call(receiver, [part(1), {"type": "http.disconnect"}])
    assert len(both) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_raising_handler_is_retried_and_then_a_dead_letter(path: Path, backend: str) -> None:
    """A failure is retried with the time of the first attempt; the rest of the conversation waits, others don't."""

    async def scenario() -> None:
        async def act(received: Received[Any]) -> None:
            if received.id == "e1":
                raise KeyError(SECRET)

        bot = Bot(receiver_at(path), act)
        async with bot.receiver, sender(bot.receiver) as client:
            await post(client, message(1, "c"), message(2, "c"), message(3, "d"))
            await bot.until(5)
            [letter] = await dead_letters(bot.receiver, 1)
            assert await post(client, message(1, "c")) == 200
        attempts = [one for one in bot.got if one.id == "e1"]
        assert [one.attempt for one in attempts] == [1, 2, 3]
        assert bot.ids[-1] == "e2"
        assert sorted(bot.ids[:2]) == ["e1", "e3"]
        begun = attempts[1].begun_before
        assert begun is not None
        assert begun == attempts[2].begun_before <= datetime.now(UTC)
        assert (letter.id, letter.type, letter.attempts) == ("e1", MESSAGE, 3)
        assert letter.reason == "KeyError"
        assert letter.event == attempts[0].event
        assert letter.received_at <= begun

    anyio.run(scenario, backend=backend)


async def test_failures_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each failure is a warning with the traceback, the last one an error; reasons of ours are kept."""

    async def act(received: Received[Any]) -> None:
        raise NotFoundError(404, endpoint="GET /x")

    bot = Bot(receiver_at(path), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, message(1))
        [letter] = await dead_letters(bot.receiver, 1)

    levels = [(record.levelno, bool(record.exc_info)) for record in caplog.records]
    assert levels == [(logging.WARNING, True)] * 2 + [(logging.ERROR, True)]
    assert "attempt 3 of event e1 (conversation:message) has failed" in caplog.messages[-1]
    assert letter.reason == f"NotFoundError: {NotFoundError(404, endpoint='GET /x')}"
    for record in caplog.records:
        assert record.exc_info is not None
        assert record.exc_info[1] is not None
        assert leaks(record.exc_info[1], SECRET, "hello 1") == []
    assert "hello" not in repr(letter)


async def test_a_dead_letter_is_replayed_or_dropped(path: Path) -> None:
    """A replayed dead letter is handled again, with attempts counted on; a dropped one is gone."""
    broken = True

    async def act(received: Received[Any]) -> None:
        if broken:
            raise ValueError

    bot = Bot(receiver_at(path, retry=Retry(max_attempts=1)), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, message(1), message(2, "d"))
        letters = await dead_letters(bot.receiver, 2)
        assert len(await bot.receiver.dead(limit=1)) == 1
        broken = False
        assert await bot.receiver.drop("e2", "e9") == 1
        assert await bot.receiver.replay(*(letter.id for letter in letters)) == 1
        await bot.until(3)
        assert await bot.receiver.dead() == []
        await post(client, message(2, "d"))
    assert bot.got[-1].id == "e1"
    assert bot.got[-1].attempt == 2
    assert bot.got[-1].begun_before is not None


@pytest.mark.parametrize("seconds", [-7200.0, 7200.0], ids=["long ago", "clock set back"])
async def test_an_event_begun_at_another_time_is_retried_in_full(
    path: Path, seconds: float
) -> None:
    """An event begun hours ago, or replayed after hours, is retried; no time is in the future."""
    parser, now = SunshineWebhooks(SECRET), time.time()
    raw = parser.read(HEADERS, json.dumps(envelope([message(1), message(2, "d")])).encode())
    assert isinstance(raw, RawDelivery)
    with closing(SQLiteInbox(path)) as inbox:
        first, _ = exchange(inbox, raw.events, now=now + seconds)
        exchange(inbox, [], dead([first]), now=now + seconds)

    async def act(received: Received[Any]) -> None:
        if received.attempt <= 3:
            raise KeyError

    retry = Retry(max_attempts=3, first_wait=0, deadline=3600)
    bot = Bot(receiver_at(path, retry=retry), act)
    async with bot.receiver:
        assert await bot.receiver.replay("e1") == 1
        await bot.until(6, ended=2)
        assert await bot.receiver.dead() == []
    created = datetime.fromisoformat(message(1)["createdAt"])
    assert all(one.begun_before <= datetime.now(UTC) for one in bot.got)
    assert seconds < 0 or all(one.begun_before == created for one in bot.got if one.id == "e1")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_hanging_handlers_hold_up_their_own_conversations_only(path: Path, backend: str) -> None:
    """More hanging handlers than slots: all other events are handled, the hanging ones die last."""
    hanging = 9

    async def scenario() -> None:
        async def act(received: Received[Any]) -> None:
            if int(received.id[1:]) < hanging:
                await anyio.sleep_forever()

        bot = Bot(receiver_at(path, concurrency=2, handler_timeout=0.02), act)
        async with bot.receiver, sender(bot.receiver) as client:
            await post(client, *(message(n, f"c{n}") for n in range(20)))
            await post(client, message(20, "c0"))
            letters = await dead_letters(bot.receiver, hanging)
            await bot.until(3 * hanging + 20 - hanging + 1)
        assert {letter.reason for letter in letters} == {
            "TimeoutError: the handler was cancelled after 0.02 s"
        }
        assert Counter(bot.ids) == {f"e{n}": 3 if n < hanging else 1 for n in range(21)}
        assert bot.ids.index("e20") > max(
            place for place, name in enumerate(bot.ids) if name == "e0"
        )

    anyio.run(scenario, backend=backend)


async def test_a_handler_that_ignores_its_end_loses_its_slot(path: Path) -> None:
    """A handler that can't be cancelled holds a slot for *handler_timeout* only."""
    release = anyio.Event()

    async def act(received: Received[Any]) -> None:
        if received.id == "e1":
            with anyio.CancelScope(shield=True):
                await release.wait()

    bot = Bot(receiver_at(path, concurrency=1, handler_timeout=0.02), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, message(1, "c"), message(2, "c"), message(3, "d"), message(4, "e"))
        await bot.until(3)
        assert sorted(bot.ids) == ["e1", "e3", "e4"]
        release.set()
        await bot.until(4)


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_concurrency_bounds_the_running_handlers(path: Path, concurrency: int) -> None:
    """At most *concurrency* handlers run, and that many do."""
    running = most = 0

    async def act(received: Received[Any]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        running -= 1

    bot = Bot(receiver_at(path, concurrency=concurrency), act)
    async with bot.receiver, sender(bot.receiver) as client:
        for start in range(0, 60, 20):
            await post(client, *(message(n, f"c{n}") for n in range(start, start + 20)))
        await bot.until(60)
    assert most == concurrency


async def test_a_foreign_cancellation_is_a_failure(path: Path) -> None:
    """A handler that raises a cancellation of other code is retried, and nothing else ends."""

    async def act(received: Received[Any]) -> None:
        if received.key("") == "e1:" and received.attempt == 1:
            raise anyio.get_cancelled_exc_class()

    bot = Bot(receiver_at(path), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, message(1))
        await bot.until(2)
        await post(client, message(2))
        await bot.until(3)
    assert [one.attempt for one in bot.got] == [1, 2, 1]


@pytest.mark.parametrize("end", ["return", "raise", "hang"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_scope_left_open_harms_no_other_event(
    path: Path, backend: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that leaves a scope open ends as it ends; the receiver and other events go on."""

    async def act(received: Received[Any]) -> None:
        if received.id == "e1":
            anyio.CancelScope().__enter__()
            if end == "raise":
                raise KeyError
            if end == "hang":
                await anyio.sleep_forever()

    async def scenario() -> None:
        bot = Bot(receiver_at(path, handler_timeout=0.01 if end == "hang" else 60), act)
        attempts = 1 if end == "return" else 3
        async with bot.receiver, sender(bot.receiver) as client:
            assert await post(client, message(1)) == 200
            await bot.until(attempts)
            letters = await dead_letters(bot.receiver, attempts > 1)
            assert await post(client, message(2, "other")) == 200
            await bot.until(attempts + 1)
        assert [one.id for one in letters] == ["e1"] * (attempts > 1)
        assert "event e1 (conversation:message) has left a task group" in caplog.text

    anyio.run(scenario, backend=backend)


async def test_a_shutdown_cancels_handlers_and_the_next_start_goes_on(path: Path) -> None:
    """An interrupted event starts again as the second attempt; a finished one doesn't."""
    first = Bot(receiver_at(path))
    begun = anyio.Event()

    async def act(received: Received[Any]) -> None:
        if received.id == "e2":
            begun.set()
            await anyio.sleep_forever()

    first.act = act
    async with first.receiver, sender(first.receiver) as client:
        await post(client, message(1))
        await post(client, message(2), message(3))
        await begun.wait()

    second = Bot(receiver_at(path))
    async with second.receiver:
        await second.until(2)
    assert [(one.id, one.attempt) for one in second.got] == [("e2", 2), ("e3", 1)]
    with closing(SQLiteInbox(path)) as inbox:
        assert counts(inbox) == {EventState.HANDLED: 3}


@pytest.mark.usefixtures("instant_waits")
async def test_an_event_cut_off_again_and_again_waits(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third attempt that ended with the process on, an event waits, and a warning says so."""
    monkeypatch.setattr(CLOCK, "luck", lambda: 1.0)
    for end in range(4):
        caplog.clear()
        bot = Bot(receiver_at(path), lambda _: anyio.sleep_forever())
        began = CLOCK.now()
        async with bot.receiver, sender(bot.receiver) as client:
            await post(client, message(1))
            await bot.until(1)
        assert CLOCK.now() - began >= end // 3
        assert [one.attempt for one in bot.got] == [end + 1]
        assert caplog.text.count("attempt 4 of event e1 (conversation:message) begins") == end // 3


@pytest.mark.parametrize(
    ("attempt", "failures", "reason", "most"),
    [
        (1, 0, None, 0), (3, 0, None, 0), (4, 0, None, 1), (6, 0, None, 4), (9, 0, None, 30),
        (10_000, 0, None, 30), (9, 8, "E", 0), (9, 5, "E", 1), (9, 0, "replayed", 0),
    ],
)  # fmt: skip
def test_the_pause_of_an_event_cut_off(
    attempt: int, failures: int, reason: str | None, most: float
) -> None:
    """The pause is drawn by chance, and grows with the attempts that neither failed nor succeeded."""
    stored = StoredEvent(1, "e1", MESSAGE, None, {}, attempt, failures, 0.0, None, 0.0, reason, 0.0)
    rules = HandlingRules(1, 1.0, 1.0, AT_ONCE)
    assert [rules.pause(stored, luck=luck) for luck in (0.0, 0.5, 1.0)] == [0, most / 2, most]


async def test_no_sender_forges_a_line_of_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Id and trigger in a log are one line of some length, whatever the sender calls them."""

    async def act(received: Received[Any]) -> None:
        raise KeyError

    event = {**message(1), "id": "e1\nERROR forged\x1b[2J\u202e" + "x" * 10_000}
    bot = Bot(receiver_at(path), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, event)
        [letter] = await dead_letters(bot.receiver, 1)

    assert letter.id == event["id"]
    for text in caplog.messages:
        assert text.isprintable()
        assert len(text) < 500
        assert "event e1 ERROR forged [2J xxx" in text


@pytest.mark.parametrize(
    ("age", "state"), [(0, EventState.WAITING), (59, EventState.WAITING), (60, EventState.DEAD)]
)
def test_the_deadline_of_the_retries(age: float, state: EventState) -> None:
    """The deadline counts from the first failure: after that an event becomes a dead letter."""
    stored = StoredEvent(1, "e1", MESSAGE, None, {}, 2, 1, 0.0, None, 0.0, "KeyError", 0.0)
    rules = HandlingRules(1, 1.0, 1.0, Retry(max_attempts=9, first_wait=0, deadline=60))
    outcome = rules.outcome(stored, KeyError(), age=age, clock=100.0, luck=1.0)
    assert (outcome.state, outcome.reason) == (state, "KeyError")


def test_the_waits_of_the_retries() -> None:
    """The waits double up to a minute, and are drawn by chance; the eighth failure is the last."""
    rules = HandlingRules(1, 1.0, 1.0, RETRY)
    for luck in (1.0, 0.5):
        ends = [
            rules.outcome(
                StoredEvent(1, "e1", MESSAGE, None, {}, n + 1, n, 0.0, 0.0, 0.0, "KeyError", 0.0),
                KeyError(), age=0.0, clock=100.0, luck=luck,
            )
            for n in range(8)
        ]  # fmt: skip
        waits = [end.ready_at - 100 for end in ends if end.state is EventState.WAITING]
        assert waits == [luck * most for most in (1, 2, 4, 8, 16, 32, 60)]
        assert ends[-1].state is EventState.DEAD


async def test_retries_leave_half_of_the_handlers_to_new_events(path: Path) -> None:
    """Events that fail again and again, and take their time, don't keep new events waiting."""
    held: list[str] = []

    async def act(received: Received[Any]) -> None:
        if received.attempt > 1:
            held.append(received.id)
            await anyio.sleep_forever()
        if int(received.id[1:]) < 8:
            raise ZeroDivisionError

    bot = Bot(receiver_at(path, concurrency=4, handler_timeout=3600), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, *(message(n, f"c{n}") for n in range(8)))
        await bot.until(8 + 2)
        await post(client, *(message(n, f"c{n}") for n in range(8, 16)))
        await bot.until(16 + 2, ended=8)
        assert len(held) == 2


async def test_no_more_handlers_run_than_asked_for(path: Path) -> None:
    """Events that were read ahead of their turn wait for a free handler."""
    running: list[int] = []
    most: list[int] = []

    async def act(_: Received[Any]) -> None:
        running.append(1)
        most.append(len(running))
        await settled()
        running.pop()

    bot = Bot(receiver_at(path, concurrency=2), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, *(message(n, f"c{n}") for n in range(32)))
        await bot.until(32, ended=32)
    assert max(most) == 2


async def test_a_handled_event_is_recorded_at_shutdown(path: Path) -> None:
    """An event that was handled just before the shutdown isn't handled again."""
    bot = Bot(receiver_at(path))
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, *(message(n, f"c{n}") for n in range(16)))
        await bot.until(16, ended=16)
    with closing(SQLiteInbox(path)) as inbox:
        assert counts(inbox) == {EventState.HANDLED: 16}


async def test_a_full_disk_is_503_and_recovers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused deliveries are 503, accepted events are handled, and with room again all go on."""
    go_on = anyio.Event()

    async def act(received: Received[Any]) -> None:
        await go_on.wait()

    caplog.set_level(logging.INFO, "sunshine_async")
    bot = Bot(receiver_at(path), act)
    async with bot.receiver, sender(bot.receiver) as client:
        assert await post(client, message(1)) == 200
        await bot.until(1)
        assert bot.receiver._running is not None
        database = bot.receiver._running.inbox._database
        database.execute("PRAGMA max_page_count = 1")
        long = message(2, "d", padding="x" * 50_000)
        assert await post(client, long) == 503
        assert await post(client, long, message(1)) == 503
        go_on.set()
        database.execute("PRAGMA max_page_count = 1000000")
        assert await post(client, long, message(1)) == 200
        await bot.until(2, ended=2)
    assert bot.ids == ["e1", "e2"]
    assert [record.levelname for record in caplog.records if record.name == "sunshine_async"] == [
        "WARNING", "INFO",
    ]  # fmt: skip
    assert "the disk is full" in caplog.messages[0]
    with closing(SQLiteInbox(path)) as inbox:
        assert counts(inbox) == {EventState.HANDLED: 2}


async def test_outcomes_wait_for_a_disk_that_refuses_all(path: Path) -> None:
    """While nothing can be written, outcomes are kept, and are written with the next delivery."""
    bot = Bot(receiver_at(path))
    async with bot.receiver, sender(bot.receiver) as client:
        assert bot.receiver._running is not None
        database = bot.receiver._running.inbox._database
        go_on = anyio.Event()

        async def act(received: Received[Any]) -> None:
            await go_on.wait()

        bot.act = act
        await post(client, message(1))
        await bot.until(1)
        database.execute("PRAGMA query_only = ON")
        go_on.set()
        await bot.until(1, ended=1)
        statements: list[str] = []
        database.set_trace_callback(statements.append)
        for _ in range(3):
            assert await post(client, message(2, "d")) == 503
        assert statements.count("BEGIN IMMEDIATE") <= 2 * 3 + 1  # and not without a pause
        with pytest.raises(InboxError):
            await bot.receiver.replay("e1")
        database.execute("PRAGMA query_only = OFF")
        assert await post(client, message(2, "d")) == 200
        await bot.until(2, ended=2)
    with closing(SQLiteInbox(path)) as inbox:
        assert counts(inbox) == {EventState.HANDLED: 2}


@define(eq=False)
class RefusingInbox:
    """An inbox on a disk that refuses exchanges with deliveries, or with outcomes, while told to."""

    inbox: SQLiteInbox
    refuses_events: bool = False
    refuses_outcomes: bool = False

    def exchange(self, events: Any, outcomes: Any, slots: Any, **times: float) -> Any:
        """Refuse, or pass the exchange on."""
        if (events and self.refuses_events) or (outcomes and self.refuses_outcomes):
            self.refuses_outcomes = False
            message = "the disk is full"
            raise InboxError(message)
        return self.inbox.exchange(events, outcomes, slots, **times)

    def lease_left(self) -> float:
        """Return infinity: there are no other workers."""
        return inf


@asynccontextmanager
async def dispatching(
    inbox: SQLiteInbox, attempt: Callable[[StoredEvent], Awaitable[None]], retry: Retry = AT_ONCE
) -> AsyncGenerator[tuple[Dispatcher, RefusingInbox]]:
    """Give a running dispatcher of *attempt*, and the inbox, which may refuse."""
    refusing: Any = RefusingInbox(inbox)
    dispatcher = Dispatcher(refusing, attempt, HandlingRules(1, 60.0, 60.0, retry))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        yield dispatcher, refusing
        tasks.cancel_scope.cancel()


async def test_an_outcome_frees_room_on_a_disk_that_refuses_a_delivery(path: Path) -> None:
    """Where a delivery doesn't fit, the outcome that came with the delivery is written."""

    async def attempt(_: StoredEvent) -> None:
        refusing.refuses_events = True
        tasks.start_soon(put, raw_event(2))

    async def put(raw: RawEvent) -> None:
        assert not await dispatcher.put([raw])
        assert counts(inbox) == {EventState.HANDLED: 1}
        refused.set()

    refused = anyio.Event()
    with closing(SQLiteInbox(path)) as inbox:
        async with (
            dispatching(inbox, attempt) as (dispatcher, refusing),
            anyio.create_task_group() as tasks,
        ):
            assert await dispatcher.put([raw_event(1)])
            await refused.wait()


@pytest.mark.usefixtures("instant_waits")
async def test_an_outcome_that_the_disk_refused_is_written_without_a_delivery(path: Path) -> None:
    """After a refusal the conversation goes on by itself, although nothing more is received."""

    async def attempt(stored: StoredEvent) -> None:
        got.append(stored.id)
        refusing.refuses_outcomes = stored.id == "e1"
        if stored.id == "e2":
            ended.set()

    got: list[str] = []
    ended = anyio.Event()
    with closing(SQLiteInbox(path)) as inbox:
        async with dispatching(inbox, attempt) as (dispatcher, refusing):
            assert await dispatcher.put([raw_event(1), raw_event(2)])
            with anyio.fail_after(PATIENCE):
                await ended.wait()
    assert got == ["e1", "e2"]


@pytest.mark.usefixtures("instant_waits")
async def test_the_retries_of_a_handler_end_at_the_deadline(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that fails again and again is given up, and lets the conversation go on."""

    async def attempt(stored: StoredEvent) -> None:
        got.append(stored.id)
        if stored.id == "e1":
            raise KeyError
        ended.set()

    monkeypatch.setattr(CLOCK, "luck", lambda: 1.0)
    retry = Retry(max_attempts=50, first_wait=300, max_wait=300, deadline=1000)
    got: list[str] = []
    ended = anyio.Event()
    with closing(SQLiteInbox(path)) as inbox:
        async with dispatching(inbox, attempt, retry) as (dispatcher, _):
            assert await dispatcher.put([raw_event(1), raw_event(2)])
            with anyio.fail_after(PATIENCE):
                await ended.wait()
    assert got == ["e1"] * 4 + ["e2"]


async def test_a_fault_that_is_not_the_disk_s_loses_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception while writing is a 503 too, and is logged with the traceback."""
    bot = Bot(receiver_at(path))
    async with bot.receiver, sender(bot.receiver) as client:
        assert bot.receiver._running is not None
        database = bot.receiver._running.inbox._database
        database.rollback()
        database.execute("ALTER TABLE queues RENAME TO hidden")
        assert await post(client, message(1)) == 503
        database.execute("ALTER TABLE hidden RENAME TO queues")
        assert await post(client, message(1)) == 200
        await bot.until(1)
    assert "no such table" in caplog.messages[0]


async def test_a_system_without_a_thread_refuses_and_recovers(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While the system starts no thread, deliveries are refused; then all goes on, unrestarted."""
    raw, handled = RawEvent("e", MESSAGE, {}, b"{}"), anyio.Event()

    async def attempt(_: StoredEvent) -> None:
        handled.set()

    with closing(SQLiteInbox(path)) as inbox:
        dispatcher = Dispatcher(inbox, attempt, HandlingRules(1, 60.0, 60.0, AT_ONCE))
        async with anyio.create_task_group() as tasks:
            usual = threading.stack_size(1 << 50)  # no room for any thread
            try:
                tasks.start_soon(dispatcher.run)
                assert not await dispatcher.put([raw])
            finally:
                threading.stack_size(usual)
            assert await dispatcher.put([raw])
            await handled.wait()
            tasks.cancel_scope.cancel()
        await dispatcher.close()
    assert "can't start new thread" in caplog.messages[0]


async def test_deliveries_at_the_shutdown_are_written_or_refused(path: Path) -> None:
    """A delivery that waits at the end is written; a delivery that comes later is refused."""
    rules = HandlingRules(1, 60.0, 60.0, AT_ONCE)
    raw = RawEvent("e", MESSAGE, {}, b"{}")
    with closing(SQLiteInbox(path)) as inbox:
        dispatcher = Dispatcher(inbox, lambda stored: anyio.sleep_forever(), rules)
        written: list[bool] = []

        async def put() -> None:
            written.append(await dispatcher.put([raw]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(put)
            await anyio.wait_all_tasks_blocked()
            await dispatcher.close()
        assert written == [True]
        assert not await dispatcher.put([raw])
        assert counts(inbox) == {EventState.WAITING: 1}


class _Noting(SQLiteInbox):
    """An inbox that notes for how long ids are kept."""

    kept: ClassVar[list[float]] = []

    def exchange(self, *arguments: Any, **times: float) -> Any:
        self.kept.append(times["keep"])
        return super().exchange(*arguments, **times)


async def test_the_clock_of_the_machine_is_set_forward(path: Path) -> None:
    """After a step of the clock the inbox forgets no id that only looks old."""
    now = CLOCK.now
    with closing(_Noting(path)) as inbox:
        dispatcher = Dispatcher(
            inbox, lambda stored: anyio.sleep_forever(), HandlingRules(1, 60.0, 9.0, AT_ONCE)
        )
        await dispatcher.close()
        CLOCK.now = lambda: now() - 7200
        try:
            await dispatcher.close()
        finally:
            CLOCK.now = now
    assert inbox.kept == pytest.approx([9.0, 7209.0], abs=1.0)


async def test_a_step_of_the_clock_ends_no_retries(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of the retries counts seconds, however the clock of the machine is set."""

    async def act(received: Received[Any]) -> None:
        if received.attempt == 2:
            later = time.time() + 7200
            monkeypatch.setattr(time, "time", lambda: later)
        if received.attempt <= 3:
            raise KeyError

    retry = Retry(max_attempts=9, first_wait=0, deadline=3600)
    bot = Bot(receiver_at(path, retry=retry), act)
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, message(1))
        await bot.until(4, ended=1)
        assert await bot.receiver.dead() == []


async def test_a_look_before_sending_knows_when_the_last_process_had_ended(path: Path) -> None:
    """An attempt that a kill has cut off ended before the receiver was started."""
    ends: list[float] = []

    async def act(received: Received[Any]) -> None:
        ends.append(EARLIER_ENDED.get())

    raw = SunshineWebhooks(SECRET).read(HEADERS, json.dumps(envelope([message(1)])).encode())
    assert isinstance(raw, RawDelivery)
    with closing(SQLiteInbox(path)) as inbox:
        assert exchange(inbox, raw.events, now=time.time() - 7200)

    bot = Bot(receiver_at(path), act)
    before = CLOCK.now()
    async with bot.receiver:
        started = CLOCK.now()
        await bot.until(1, ended=1)
    assert before <= ends[0] <= started


async def test_own_and_standby_events_are_skipped(path: Path) -> None:
    """Own messages and standby events are not handled, unless asked for."""
    own = message(1)
    own["payload"]["message"].update(author={"type": "business"}, source={"type": "api"})
    standby = message(2)
    standby["payload"]["conversation"] |= {
        "activeSwitchboardIntegration": {"integrationId": "x"},
        "pendingSwitchboardIntegration": {"integrationId": "y"},
    }
    for options, expected in (
        ({}, ["e2", "e3"]),
        ({"integration_id": "i"}, ["e3"]),
        ({"integration_id": "i", "standby": True}, ["e2", "e3"]),
        ({"own": True}, ["e1", "e2", "e3"]),
    ):
        bot = Bot(receiver_at(path.with_name(str(expected) + str(len(options))), **options))
        async with bot.receiver, sender(bot.receiver) as client:
            assert await post(client, own, standby, message(3)) == 200
            await bot.until(len(expected))
        assert bot.ids == expected


def echo_of(number: int, text: str, *, key: str = "key") -> dict[str, Any]:
    """Return the event of a bot's own message, sent with ``once=``."""
    event = message(number)
    event["payload"]["message"] |= {
        "author": {"type": "business"},
        "content": {"type": "text", "text": text},
        "source": {"type": "api:conversations"},
        "metadata": {MARK: key},
    }
    return event


def unreadable_echo() -> dict[str, Any]:
    """Return an echo without the id of the message."""
    event = echo_of(1, "hello")
    del event["payload"]["message"]["id"]
    return event


ECHOES: Mapping[str, tuple[list[Any], int]] = {
    "the message": ([echo_of(1, "hello")], 1),
    "the second": ([echo_of(1, "other"), echo_of(2, "hello")], 1),
    "other content": ([echo_of(1, "other")], 3),
    "another key": ([echo_of(1, "hello", key="another")], 3),
    "a message of the user": ([message(1)], 3),
    "no conversation": ([{**echo_of(1, "hello"), "payload": {"message": {}}}], 3),
    "unreadable": ([unreadable_echo()], 3),
}
"""Events that the webhook brings, and the requests of a `post`."""


@pytest.mark.parametrize("case", ECHOES)
async def test_an_echo_settles_a_lost_answer_without_a_look_up(path: Path, case: str) -> None:
    """An equal message with the key, brought by the webhook, is the result of a lost `post`."""
    echoes, requests = ECHOES[case]
    paths: list[str] = []

    class Service(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            paths.append(request.method)
            if request.method == "GET":
                return httpx.Response(200, json={"messages": [], "meta": {}, "links": {}})
            async with sender(receiver) as client:
                assert await post(client, *echoes) == 200
            raise httpx.ReadTimeout(case)

    receiver = receiver_at(path)
    async with (
        receiver,
        SunshineClient(
            "app", auth=BasicAuth("key", "secret"), transport=Service(), retry=Retry(first_wait=0)
        ) as client,
    ):
        if requests == 1:
            [sent] = await client.messages.send_text("c", "hello", once="key")
            assert sent.id == f"m{len(echoes)}"
        else:
            with pytest.raises(RequestTimeoutError) as caught:
                await client.messages.send_text("c", "hello", once="key")
            assert caught.value.maybe_applied
    assert paths == ["POST", "GET", "GET"][:requests]


async def test_an_event_without_a_handler_is_not_stored(path: Path) -> None:
    """A trigger without a handler is answered 200; ``"*"`` takes all that have none."""
    bot = Bot(receiver_at(path))
    async with bot.receiver, sender(bot.receiver) as client:
        assert await post(client, message(1, type="user:update")) == 200
        assert await post(client, message(2)) == 200
        await bot.until(1)
    everything = Bot(receiver_at(path), triggers=("*",))
    other = Bot(everything.receiver)
    async with everything.receiver, sender(everything.receiver) as client:
        await post(client, message(1, type="passthrough:messaging"), message(3), "text")
        await everything.until(2)
        await other.until(1)
    assert other.ids == ["e3"]
    unknown = everything.got[0].event
    assert isinstance(unknown, UnknownEvent)
    assert unknown.type == "passthrough:messaging"
    assert {one.type for one in everything.got} == {"passthrough:messaging", ""}


async def test_an_event_that_no_handler_fits_is_a_dead_letter(path: Path) -> None:
    """An unreadable event, or a stored event whose handler is gone, is kept without a retry."""
    bot = Bot(receiver_at(path), lambda received: anyio.sleep_forever())
    unreadable = {"id": "e5", "type": MESSAGE, "payload": {}}
    async with bot.receiver, sender(bot.receiver) as client:
        await post(client, unreadable, message(1))
        await bot.until(1)
        [letter] = await dead_letters(bot.receiver, 1)
        assert letter.reason == f"UnhandledEventError: the {MESSAGE} event can't be read"
        assert letter.event == UnknownEvent(MESSAGE, unreadable)
        assert letter.attempts == 1

    async with (receiver := receiver_at(path)):
        _, letter = await dead_letters(receiver, 2)
    assert "no handler for conversation:message: register" in letter.reason


async def test_mounted_in_starlette(path: Path) -> None:
    """Below a path of an application, with the receiver's lifespan."""
    bot = Bot(receiver_at(path))
    routes = [
        Mount("/webhooks", bot.receiver),
        Route("/path", bot.receiver, methods=["HEAD", "POST"]),
    ]
    app = Starlette(routes=routes, lifespan=bot.receiver.lifespan)
    async with app.router.lifespan_context(app), sender(app) as client:
        assert await post(client, message(1), path="/webhooks/") == 200
        await bot.until(1)
        assert await post(client, message(2), path="/webhooks/any/path") == 200
        await bot.until(2)
        assert await post(client, message(3), path="/path") == 200
        await bot.until(3)
        assert [(await client.head(path)).status_code for path in ("/path", "/webhooks/")] == [
            200
        ] * 2


async def test_alone_under_a_server(path: Path) -> None:
    """Without an application around, the receiver speaks the server's lifespan protocol."""
    bot = Bot(receiver_at(path))
    sent: list[Any] = []
    up, down = anyio.Event(), anyio.Event()

    async def receive() -> Any:
        if sent:
            await down.wait()
        return {}

    async def send(message: Any) -> None:
        sent.append(message["type"])
        up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bot.receiver, {"type": "lifespan"}, receive, send)
        await up.wait()
        async with sender(bot.receiver) as client:
            assert await post(client, message(1)) == 200
        second: list[Any] = []

        async def refuse() -> None:
            async def send_second(message: Any) -> None:
                second.append(message)

            await receiver_at(path)({"type": "lifespan"}, receive_once, send_second)

        async def receive_once() -> Any:
            return {}

        with pytest.raises(ConfigurationError, match="in use"):
            await refuse()
        assert second[0]["type"] == "lifespan.startup.failed"
        assert "in use by another process" in second[0]["message"]
        down.set()
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    async def break_off() -> Any:
        if len(sent) > 2:
            raise OSError(case)
        return {}

    case = "the server breaks off"
    with pytest.raises(OSError, match=case):
        await bot.receiver({"type": "lifespan"}, break_off, send)
    assert sent[2:] == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    await bot.receiver({"type": "websocket"}, receive, send)
    assert sent[4:] == ["websocket.close"]
    with pytest.raises(NotImplementedError, match="not mqtt"):
        await bot.receiver({"type": "mqtt"}, receive, send)


async def test_smooch_events_are_handled_once(path: Path) -> None:
    """A delivery of v1.1, which has no event id, is handled once."""
    bot = Bot(Receiver(SmoochWebhooks(SECRET), path), triggers=("message:appUser",))
    async with bot.receiver, sender(bot.receiver) as client:
        for _ in range(2):
            response = await client.post("/", json=DELIVERIES["smooch"][0])
            assert response.status_code == 200
        await bot.until(1)
    assert [one.id for one in bot.got] == ["message:appUser 55c8c1498590aa1900b9b9b1"]
    assert bot.got[0].app_id == "575040549a38df8fb4eb1e51"


async def test_a_receiver_that_ends_says_why(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server such as uvicorn hides the end of a receiver, and goes on: the log has the reason."""

    async def act(received: Received[Any]) -> None:
        raise GeneratorExit

    bot = Bot(receiver_at(path), act)

    async def run() -> None:
        async with bot.receiver, sender(bot.receiver) as client:
            await post(client, message(1))
            await anyio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()

    assert caught.group_contains(GeneratorExit)
    assert await status_of(bot.receiver) == 503
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert caplog.messages[0].startswith("the receiver has ended (BaseExceptionGroup)")


async def test_a_receiver_starts_again(path: Path) -> None:
    """After the end of a block the same receiver can be started again, but not twice at a time."""
    bot = Bot(receiver_at(path))
    for number in (1, 2):
        async with bot.receiver, sender(bot.receiver) as client:
            await post(client, message(number))
            await bot.until(number)
            with pytest.raises(ConfigurationError, match="in use"):
                async with bot.receiver:
                    pass
            await post(client, message(10 + number, type="x"))
    with pytest.raises(RuntimeError, match="isn't started"):
        await bot.receiver.dead()


async def test_an_error_of_the_block_is_raised_as_itself(path: Path) -> None:
    """An error inside ``async with receiver`` ends the receiver and isn't wrapped."""
    with pytest.raises(KeyError):
        async with receiver_at(path):
            raise KeyError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", 0),
        ("handler_timeout", 0.0),
        ("handler_timeout", float("nan")),
        ("keep", -1.0),
        ("max_bytes", 0),
        ("lease", 0.0),
        ("handler_timeout", "60"),
    ],
)
def test_a_setting_that_cant_work_is_refused(path: Path, name: str, value: Any) -> None:
    """A setting out of range is a `ConfigurationError` that names the setting."""
    with pytest.raises(ConfigurationError, match=name):
        receiver_at(path, **{name: value})


def test_a_handler_is_registered_once_and_is_async(path: Path) -> None:
    """A trigger has one handler, an async function or an object with an async method."""
    receiver = receiver_at(path)

    class Handler:
        async def __call__(self, received: Received[Any]) -> None: ...

    receiver.on("a", "b")(Handler())
    for triggers, handler, reason in (
        (("b",), Handler(), "b has a handler already"),
        ((), Handler(), "name a trigger"),
        ((Handler(),), Handler(), "name a trigger"),
        (("c",), lambda received: None, "must be an async function"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            receiver.on(*triggers)(handler)  # type: ignore[arg-type]


def test_a_misspelt_trigger_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A trigger that the service isn't known to have is registered, with a warning and a guess."""
    receiver = receiver_at(path)

    async def handler(received: Received[Any]) -> None: ...

    receiver.on("conversation:mesage", "conversation:read", "brand:new", "*")(handler)

    new, misspelt = sorted(record.getMessage() for record in caplog.records)
    assert new == "Receiver.on: SunshineWebhooks knows no trigger 'brand:new'"
    assert misspelt.endswith("no trigger 'conversation:mesage': did you mean conversation:message?")


def test_a_secret_in_place_of_a_parser_is_refused(path: Path) -> None:
    """The text of a secret is no parser: the error says what is one, and doesn't show the secret."""
    secret: Any = "the-secret"

    with pytest.raises(ConfigurationError) as caught:
        Receiver(secret, path)

    assert str(caught.value) == (
        "Receiver: parser must be one such as SunshineWebhooks(secret), not str"
    )
