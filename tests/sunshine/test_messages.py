"""Messages: bad input, lists, and each message sent once, answer by answer."""

import json
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
from support.frames import leaks
from support.scripted import methods, sunshine_with
from support.virtual import settled, until

from sunshine_async import (
    UNSET,
    BasicAuth,
    ConflictError,
    LockedError,
    NotFoundError,
    ResponseDecodeError,
    ServerError,
    SunshineClient,
    SunshineError,
    TransportError,
    bulk,
)
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.sunshine import (
    Author,
    Content,
    Destination,
    FileMessage,
    ImageMessage,
    Message,
    MessagePost,
    Postback,
    TemplateMessage,
    TextMessage,
    UnknownContent,
)
from sunshine_async.sunshine import once as once_module
from sunshine_async.sunshine.once import EARLIER_ENDED, MARK
from sunshine_async.testing import Answer, ScriptedTransport

pytestmark = pytest.mark.usefixtures("instant_waits")

BUSINESS = Author(type="business")
HELLO = MessagePost(author=BUSINESS, content=TextMessage(text="Hello"))
LOST = httpx.ReadTimeout("late")
NOW = datetime.now(UTC)
AGES_AGO = NOW - timedelta(minutes=10)


def message(id: str = "1", text: str = "Hello", **more: Any) -> dict[str, Any]:
    """Return a message with the mark of the key ``k``, as the service sends the message."""
    return {
        "id": id,
        "received": "2020-09-30T13:46:02.733Z",
        "author": {"type": "business", "avatarUrl": "https://example.org/x.png"},
        "content": {"type": "text", "text": text},
        "source": {"type": "api:conversations"},
        "metadata": {"sunshineAsyncOnce": "k"},
        **more,
    }


def page(*messages: Any, before: str | None = None) -> Answer:
    """Return the answer to a look-up."""
    meta = {"hasMore": before is not None, **({"beforeCursor": before} if before else {})}
    return 200, {"messages": list(messages), "meta": meta}


async def test_a_message_has_the_mark() -> None:
    """The key of ``once`` goes into the metadata, beside the caller's own properties."""
    messages, requests = sunshine_with((201, {"messages": [message()]}))
    body = MessagePost(
        author=BUSINESS, content=TextMessage(text="Hello"), metadata={"campaign": "may"}
    )

    [sent] = await messages.messages.post("c", body, once="k")

    assert sent.id == "1"
    assert requests[0].url.path == "/v2/apps/app/conversations/c/messages"
    assert json.loads(requests[0].content) == {
        "author": {"type": "business"},
        "content": {"type": "text", "text": "Hello"},
        "metadata": {"campaign": "may", "sunshineAsyncOnce": "k"},
    }


async def test_a_message_without_a_key_has_no_mark() -> None:
    """Without ``once`` the body goes as it is, and a lost answer is in doubt at once."""
    messages, requests = sunshine_with(LOST)

    with pytest.raises(TransportError) as caught:
        await messages.messages.post("c", HELLO)

    assert caught.value.maybe_applied
    assert methods(requests) == ["POST"]
    assert "metadata" not in json.loads(requests[0].content)


FIRST: dict[str, Answer] = {
    "a late answer": LOST,
    "a broken connection": httpx.ReadError("reset"),
    "a 500": 500,
    "a 503": 503,
    "a redirect": 302,
    "a garbled answer": httpx.Response(201, content=b"<html>"),
    "an answer without an id": (201, {"messages": [{"received": "now"}]}),
}
"""Answers after which the message may have been sent."""

LOOKS: dict[str, tuple[tuple[Answer, ...], str]] = {
    "found at the first look": ((page(message("7")),), "7"),
    "found at the second look": ((page(), page(message("7"))), "7"),
    "found after a look that failed": ((500, page(message("7"))), "7"),
    "found among others": (
        (page(message("5", metadata=None), message("6", metadata={"x": 1}), message("7")),),
        "7",
    ),
    "found with more than was sent": (
        (
            page(
                message(
                    "7",
                    content={
                        "type": "text",
                        "text": "Hello",
                        "htmlText": "<p>Hello</p>",
                        "actions": [],
                    },
                )
            ),
        ),
        "7",
    ),
    "found deleted": ((page(message("7", deleted=True, content={"type": "text"})),), "7"),
    "found beside other content": ((page(message("6", "Bye"), message("7")),), "7"),
    "found nowhere": ((page(), page()), "unknown"),
    "no look succeeds": ((500, LOST), "unknown"),
    "a message of the user": (
        (page(message("7", author={"type": "user"})), page()),
        "unknown",
    ),
    "an author of an unknown type": ((page(message("7", author={"type": "new"})),), "7"),
    "an unreadable author": ((page(message("7", author=["business"])),), "7"),
    "another mark": ((page(message("7", metadata={"sunshineAsyncOnce": "j"})), page()), "unknown"),
    "an unreadable mark": ((page(message("7", metadata=[1])), page()), "unknown"),
    "other content": ((page(message("7", "Bye")),), "conflict"),
    "other content of another kind": (
        (
            page(
                message("7", content={"type": "new", "text": "Hello"}, author={"type": "business"})
            ),
        ),
        "conflict",
    ),
    "found beside a message without an id": ((page({}, message("7")),), "7"),
    "an older page isn't read": ((page(before="c1"), page(before="c1")), "unknown"),
}
"""Answers to the look-ups, and the outcome: the id of the message found, or a word."""


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("first", FIRST)
async def test_a_message_is_looked_for_after_a_lost_answer(first: str, looks: str) -> None:
    """After a lost answer two looks decide; the message isn't sent a second time."""
    answers, outcome = LOOKS[looks]
    messages, requests = sunshine_with(FIRST[first], *answers)

    assert await outcome_of(messages.messages.post("c", HELLO, once="k")) == outcome
    assert methods(requests) == ["POST", *("GET" for _ in answers)]
    assert once_module._ECHOES == {}


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ({"type": "text", "text": "Hello\n\nWritten by an AI."}, "7"),
        ({"type": "text", "text": "Hello"}, "7"),
        ({"type": "text", "text": "Bye"}, "conflict"),
        ({"type": "image", "text": "Hello"}, "conflict"),
        (None, "conflict"),
    ],
)
async def test_a_text_of_an_ai_may_have_a_disclaimer(content: Any, outcome: str) -> None:
    """The service may append a disclaimer to a text of an AI; the message is the same."""
    messages, _ = sunshine_with(LOST, page(message("7", content=content)))
    author = Author(type="business", subtypes=["AI"])
    body = MessagePost(author=author, content=TextMessage(text="Hello"))

    assert await outcome_of(messages.messages.post("c", body, once="k")) == outcome


async def outcome_of(call: Awaitable[list[Message]]) -> str:
    """Return the id of the message, or a word for an error in doubt."""
    try:
        [sent] = await call
    except SunshineError as error:
        if not error.maybe_applied:
            return "failed"
        return "conflict" if isinstance(error, ConflictError) else "unknown"
    return sent.id


REFUSED: dict[int, type[SunshineError]] = {404: NotFoundError, 423: LockedError}


@pytest.mark.parametrize("status", REFUSED)
async def test_a_refused_message_is_not_looked_for(status: int) -> None:
    """After a certain refusal nothing is looked up: the message wasn't sent."""
    messages, requests = sunshine_with(status)

    with pytest.raises(REFUSED[status]) as caught:
        await messages.messages.post("c", HELLO, once="k")

    assert not caught.value.maybe_applied
    assert methods(requests) == ["POST"]


async def test_a_full_conversation_says_what_to_do() -> None:
    """423 names the next step."""
    messages, _ = sunshine_with((423, {"errors": [{"code": "locked", "title": "Message limit"}]}))

    with pytest.raises(LockedError, match=r"messages\.delete_all"):
        await messages.messages.post("c", HELLO)


async def test_the_looks_have_a_pause_between() -> None:
    """The second look comes four times `Retry.first_wait` after the first."""
    messages, _ = sunshine_with(LOST, page(), page(message()))
    begun = CLOCK.now()

    await messages.messages.post("c", HELLO, once="k")

    assert CLOCK.now() - begun == pytest.approx(2)


class TestSentBefore:
    """Work that runs again: the message of the earlier attempt is looked for first."""

    async def test_an_earlier_message_is_the_result(self) -> None:
        """A message with the mark is returned, and nothing is sent."""
        messages, requests = sunshine_with(page(message("7")))

        [sent] = await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert sent.id == "7"
        assert methods(requests) == ["GET"]

    async def test_pages_are_read_until_the_time(self) -> None:
        """Pages are read back past the time of the earlier attempt, and no further."""
        new = message("9", received=NOW.isoformat(), metadata=None)
        old = message("1", metadata=None)
        messages, requests = sunshine_with(
            page(new, before="c1"),
            page(before="c2"),
            page(message("8", received=None, metadata=None), old, before="c3"),
            (201, {"messages": [message("10")]}),
        )

        [sent] = await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert sent.id == "10"
        assert methods(requests) == ["GET", "GET", "GET", "POST"]
        assert [request.url.params.get("page[before]") for request in requests[:3]] == [
            None,
            "c1",
            "c2",
        ]

    async def test_a_message_within_the_skew_of_the_clocks_is_no_end(self) -> None:
        """A message received shortly before the time, by the service's clock, ends no look-up."""
        near = message("2", received=(AGES_AGO - timedelta(seconds=30)).isoformat(), metadata=None)
        messages, requests = sunshine_with(page(near, before="c1"), page(message("1")))

        [sent] = await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert sent.id == "1"
        assert methods(requests) == ["GET", "GET"]

    @pytest.mark.parametrize(
        "answer",
        [
            500,
            LOST,
            404,
            (200, {"messages": [], "meta": {"hasMore": True}}),
            page(message("7", metadata="?")),
            page({"received": "now"}, message("7", metadata=None)),
        ],
        ids=["500", "lost", "404", "no cursor", "an unreadable mark", "a message without an id"],
    )
    async def test_a_page_not_read_sends_nothing(self, answer: Answer) -> None:
        """A look-up that fails, or can't read all, is in doubt; nothing is sent."""
        messages, requests = sunshine_with(answer)

        with pytest.raises(SunshineError) as caught:
            await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert caught.value.maybe_applied
        assert methods(requests) == ["GET"]

    async def test_a_list_without_an_end_sends_nothing(self) -> None:
        """A look-up reads 300 pages, which hold all messages of a conversation, and no more."""
        new = NOW.isoformat()
        pages = [
            page(message(str(n), received=new, metadata={}), before=str(n)) for n in range(301)
        ]
        messages, requests = sunshine_with(*pages)

        with pytest.raises(ResponseDecodeError, match="more than 300 pages") as caught:
            await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert caught.value.maybe_applied
        assert len(requests) == 300

    async def test_the_oldest_time_is_a_time(self) -> None:
        """A time at the beginning of the calendar is long ago."""
        messages, requests = sunshine_with(page(), (201, {"messages": [message()]}))
        oldest = datetime.min.replace(tzinfo=UTC)

        await messages.messages.post("c", HELLO, once="k", sent_before=oldest)

        assert methods(requests) == ["GET", "POST"]

    async def test_other_content_sends_nothing(self) -> None:
        """The mark with other content is a conflict."""
        messages, requests = sunshine_with(page(message("7", "Bye")))

        with pytest.raises(ConflictError, match="once=") as caught:
            await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)

        assert caught.value.resent
        assert methods(requests) == ["GET"]

    async def test_the_look_waits_until_the_time_is_old(self) -> None:
        """The look-up begins when the earlier attempt is 5 seconds old."""
        messages, _ = sunshine_with(page(message()))
        begun, sent_before = CLOCK.now(), datetime.now(UTC)

        await messages.messages.post("c", HELLO, once="k", sent_before=sent_before)

        age = (datetime.now(UTC) - sent_before).total_seconds()
        assert 5 - age <= CLOCK.now() - begun <= 5.001

    async def test_the_look_waits_after_the_end_of_another_process(self) -> None:
        """A process that was killed may have sent at its end: the look-up begins 5 seconds after."""
        key = "ended with a process"  # its own: an earlier uncertain end is waited for, too
        messages, _ = sunshine_with(page(message(metadata={MARK: key})))
        begun = CLOCK.now()
        token = EARLIER_ENDED.set(begun - 1)

        await messages.messages.post("c", HELLO, once=key, sent_before=AGES_AGO)

        EARLIER_ENDED.reset(token)
        assert CLOCK.now() - begun == pytest.approx(4)

    @pytest.mark.parametrize(
        ("first", "seconds"),
        [((httpx.ReadTimeout("x"), page(), page()), 5), (((400, {}),), 0)],
        ids=["lost", "refused"],
    )
    async def test_the_look_waits_after_an_uncertain_end(
        self, first: tuple[Any, ...], seconds: float
    ) -> None:
        """A request with a lost answer may be under way for 5 seconds; a refused one isn't."""
        key = f"ended {seconds}"
        there = message("7", metadata={MARK: key})
        messages, _ = sunshine_with(*first, page(there))
        with pytest.raises(SunshineError) as caught:
            await messages.messages.post("c", HELLO, once=key)
        begun = CLOCK.now()

        await messages.messages.post("c", HELLO, once=key, sent_before=AGES_AGO)

        assert caught.value.maybe_applied is bool(seconds)
        assert CLOCK.now() - begun == pytest.approx(seconds)

    async def test_the_look_waits_after_a_cancelled_request(self) -> None:
        """A request that was cut off may be under way for 5 seconds."""
        looks: list[float] = []

        class Service(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "POST":
                    scope.cancel()
                    await anyio.sleep_forever()
                looks.append(CLOCK.now())
                there = message("7", metadata={MARK: "cancelled"})
                return httpx.Response(200, json={"messages": [there], "meta": {}})

        async with SunshineClient("app", auth=BasicAuth("k", "s"), transport=Service()) as client:
            with anyio.CancelScope() as scope:
                await client.messages.post("c", HELLO, once="cancelled")
            begun = CLOCK.now()
            await client.messages.post("c", HELLO, once="cancelled", sent_before=AGES_AGO)

        assert looks == [pytest.approx(begun + 5)]

    async def test_a_cancelled_wait_is_in_doubt(self) -> None:
        """A cancellation before the look-up has a note: the earlier attempt may have acted."""
        messages, requests = sunshine_with()

        async def sleep(_: float) -> None:
            await anyio.sleep_forever()

        CLOCK.sleep = sleep
        notes: list[str] = []
        with anyio.move_on_after(0):
            try:
                await messages.messages.post("c", HELLO, once="k", sent_before=AGES_AGO)
            except BaseException as error:
                notes += error.__notes__
                raise

        assert "earlier attempt" in notes[0]
        assert requests == []


def test_the_latest_uncertain_ends_are_known() -> None:
    """Memory stays small, however many creates end without a certain outcome; none is left early."""

    def end(*numbers: int) -> None:
        for number in numbers:
            with suppress(TimeoutError), once_module._echoes(("many", str(number)), CLOCK.now):
                raise TimeoutError

    end(0, *range(1, 10_000), 0, 10_000)

    kept = once_module._UNCERTAIN
    assert len(kept) == 10_000
    assert [("many", number) in kept for number in ("0", "1", "2", "10000")] == [
        True, False, True, True,
    ]  # fmt: skip


class TestFind:
    """The look-up alone: it reads as a look before sending does, and never sends."""

    @pytest.mark.parametrize(
        ("answers", "ids"),
        [
            ((page(message("7")),), ["7"]),
            ((page(message("9", received=NOW.isoformat(), metadata=None), before="c1"),
              page(message("7"))), ["7"]),
            ((page(message("7", metadata=None), before="c1"),), []),
            ((page(),), []),
        ],
    )  # fmt: skip
    async def test_the_message_or_nothing(
        self, answers: tuple[Answer, ...], ids: list[str]
    ) -> None:
        """The message with the key is the result; without one the list is empty."""
        messages, requests = sunshine_with(*answers)

        found = await messages.messages.find("c", HELLO, once="k", sent_before=AGES_AGO)

        assert [one.id for one in found] == ids
        assert methods(requests) == ["GET"] * len(answers)

    @pytest.mark.parametrize(
        ("answer", "applied"), [(500, False), (404, False), (page(message("7", "Bye")), True)]
    )
    async def test_errors(self, answer: Answer, *, applied: bool) -> None:
        """A failed read has no effect; other content is of an earlier attempt."""
        messages, _ = sunshine_with(answer)

        with pytest.raises(SunshineError) as caught:
            await messages.messages.find("c", HELLO, once="k", sent_before=AGES_AGO)

        assert caught.value.maybe_applied is applied

    async def test_a_bad_key(self) -> None:
        """`ValueError` before anything is asked."""
        messages, requests = sunshine_with()

        with pytest.raises(ValueError, match="0 characters"):
            await messages.messages.find("c", HELLO, once="", sent_before=AGES_AGO)

        assert requests == []


SENT: dict[str, tuple[Content, Any]] = {
    "actions with additions": (
        TextMessage(text="Hi", actions=[Postback(text="A", payload="a")]),
        {
            "type": "text",
            "text": "Hi",
            "actions": [{"type": "postback", "text": "A", "payload": "a", "uri": "", "_id": "1"}],
        },
    ),
    "a file with its size": (
        FileMessage(media_url="https://example.org/x.pdf"),
        {"type": "file", "mediaUrl": "https://example.org/x.pdf", "mediaSize": 12, "altText": "x"},
    ),
    "Markdown as HTML": (
        TextMessage(markdown_text="# Hi"),
        {"type": "text", "text": "Hi", "htmlText": "<h1>Hi</h1>"},
    ),
    "the shorthand syntax": (
        TextMessage(text="&[Hi](name=hello)"),
        {"type": "template", "template": {"name": "hello"}},
    ),
    "a template": (
        TemplateMessage(template={"name": "hello", "components": [{"a": 1.0}]}),
        {"type": "template", "template": {"name": "hello", "components": [{"a": 1, "b": 2}]}},
    ),
    "an unknown kind": (
        UnknownContent(type="new", extra={"a": [1]}),
        {"type": "new", "a": [1], "b": 2},
    ),
}
"""Contents sent, and the same contents as the service may give them back."""

OTHER: dict[str, tuple[Content, Any]] = {
    "fewer actions": (
        TextMessage(text="Hi", actions=[Postback(text="A", payload="a")]),
        {"type": "text", "text": "Hi", "actions": []},
    ),
    "no actions": (
        TextMessage(text="Hi", actions=[Postback(text="A", payload="a")]),
        {"type": "text", "text": "Hi"},
    ),
    "another payload": (
        TextMessage(text="Hi", actions=[Postback(text="A", payload="a")]),
        {
            "type": "text",
            "text": "Hi",
            "actions": [{"type": "postback", "text": "A", "payload": "b"}],
        },
    ),
    "another kind": (
        FileMessage(media_url="https://example.org/x.png"),
        {"type": "image", "mediaUrl": "https://example.org/x.png"},
    ),
    "no content": (TextMessage(text="Hi"), None),
}


@pytest.mark.parametrize("case", [*SENT, *OTHER])
async def test_only_what_was_sent_is_compared(case: str) -> None:
    """A message that the service has added to is the result; a message without a part isn't."""
    content, given = {**SENT, **OTHER}[case]
    messages, _ = sunshine_with(LOST, page(message("7", content=given)))
    body = MessagePost(author=BUSINESS, content=content)

    if case in SENT:
        assert [one.id for one in await messages.messages.post("c", body, once="k")] == ["7"]
    else:
        with pytest.raises(ConflictError):
            await messages.messages.post("c", body, once="k")


async def test_a_message_in_the_name_of_a_user_is_found() -> None:
    """A post with a user as the author finds the message of the user."""
    given = message("7", author={"type": "user", "userId": "u"})
    sunshine, _ = sunshine_with(LOST, page(given))
    author = Author(type="user", user_id="u")
    body = MessagePost(author=author, content=TextMessage(text="Hello"))

    assert await outcome_of(sunshine.messages.post("c", body, once="k")) == "7"


async def test_all_messages_of_one_post_are_found() -> None:
    """A post that makes several messages finds all of these after a lost answer."""
    messages, _ = sunshine_with(LOST, page(message("6"), message("7")))

    assert len(await messages.messages.post("c", HELLO, once="k")) == 2


BAD_BODIES: dict[str, tuple[MessagePost, str]] = {
    "no author": (MessagePost(content=TextMessage(text="x")), "no author"),
    "author null": (MessagePost(author=None, content=TextMessage(text="x")), "no author"),  # type: ignore[arg-type]
    "an author without a type": (
        MessagePost(author=Author(type=""), content=TextMessage(text="x")),
        "no author",
    ),
    "no content": (MessagePost(author=BUSINESS), "no content"),
    "content of another type": (MessagePost(author=BUSINESS, content="x"), "no content"),  # type: ignore[arg-type]
    "a long text": (
        MessagePost(author=BUSINESS, content=TextMessage(text="x" * 4097)),
        "4097 characters",
    ),
    "a long HTML text": (
        MessagePost(author=BUSINESS, content=TextMessage(html_text="x" * 4097)),
        "html_text",
    ),
    "a long Markdown text of an image": (
        MessagePost(
            author=BUSINESS, content=ImageMessage(media_url="https://x", markdown_text="x" * 4097)
        ),
        "markdown_text",
    ),
    "nested metadata": (
        MessagePost(author=BUSINESS, content=TextMessage(text="x"), metadata={"a": {"b": 1}}),  # type: ignore[dict-item]
        "nested",
    ),
    "a list in metadata": (
        MessagePost(author=BUSINESS, content=TextMessage(text="x"), metadata={"a": [1]}),  # type: ignore[dict-item]
        "nested",
    ),
    "much metadata": (
        MessagePost(author=BUSINESS, content=TextMessage(text="x"), metadata={"a": "x" * 4096}),
        "4096 at most",
    ),
    "a brand without an external id": (
        MessagePost(
            author=Author(type="user", user_id="1", brand_id="9"), content=TextMessage(text="x")
        ),
        "brand_id",
    ),
    "a long brand": (
        MessagePost(
            author=Author(type="user", user_external_id="1", brand_id="9" * 25),
            content=TextMessage(text="x"),
        ),
        "1 to 24",
    ),
}


@pytest.mark.parametrize("case", BAD_BODIES)
async def test_a_bad_body_is_not_sent(case: str) -> None:
    """`ValueError` before anything is sent."""
    messages, requests = sunshine_with()
    body, words = BAD_BODIES[case]

    with pytest.raises(ValueError, match=words):
        await messages.messages.post("c", body)

    assert requests == []


@pytest.mark.parametrize(
    "text", [None, 5, 0, False, UNSET, [], ["secret"], b"secret", {"a": "secret"}]
)
async def test_a_text_that_is_no_text_is_not_sent(text: Any) -> None:
    """A value of another type is a `TypeError` that names the type, and has nothing of the value."""
    messages, requests = sunshine_with()
    body = MessagePost(author=Author(type="business"), content=TextMessage(text=text))
    calls = [messages.messages.send_text("c", text)]
    calls += [] if text is None else [messages.messages.post("c", body)]  # None: left out of a body

    for call in calls:
        with pytest.raises(
            TypeError, match=f"^text must be text, not {type(text).__name__}$"
        ) as caught:
            await call
        assert leaks(caught.value, "secret") == []

    assert requests == []


BAD_KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "an empty key": ({"once": ""}, "0 characters"),
    "a long key": ({"once": "x" * 201}, "201 characters"),
    "a time without a key": ({"sent_before": NOW}, "needs once="),
    "a naive time": (
        {"once": "k", "sent_before": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point
        "no time zone",
    ),
    "a time to come": (
        {"once": "k", "sent_before": NOW + timedelta(hours=2)},
        "in the future",
    ),
}


@pytest.mark.parametrize("case", BAD_KEYS)
async def test_a_bad_key_is_not_sent(case: str) -> None:
    """`ValueError` before anything is sent."""
    messages, requests = sunshine_with()
    options, words = BAD_KEYS[case]

    with pytest.raises(ValueError, match=words):
        await messages.messages.post("c", HELLO, **options)

    assert requests == []


async def test_the_mark_counts_as_metadata() -> None:
    """Metadata that fits only without the mark is refused."""
    body = MessagePost(
        author=BUSINESS, content=TextMessage(text="x"), metadata={"a": "x" * (4096 - 8)}
    )
    messages, requests = sunshine_with((201, {"messages": [message()]}))

    await messages.messages.post("c", body)
    with pytest.raises(ValueError, match="4096 at most"):
        await messages.messages.post("c", body, once="k")

    assert len(requests) == 1


async def test_longest_values_are_sent() -> None:
    """A text of 4,096 characters, a key of 200 and a brand of 24 are fine."""
    messages, requests = sunshine_with((201, {"messages": [message()]}))
    author = Author(type="user", user_external_id="1", brand_id="9" * 24)
    body = MessagePost(author=author, content=TextMessage(text="ü" * 4096))

    await messages.messages.post("c", body, once="k" * 200)

    assert json.loads(requests[0].content)["author"] == {
        "type": "user",
        "userExternalId": "1",
        "brandId": "9" * 24,
    }


async def test_send_text_sends_as_the_business() -> None:
    """A text goes as the business, with actions, metadata and destination as given."""
    messages, requests = sunshine_with(*[(201, {"messages": [message()]})] * 2)

    [sent] = await messages.messages.send_text("c", "Hello")
    await messages.messages.send_text(
        "c",
        "Hello",
        once="k",
        author=Author(type="business", display_name="Bot"),
        actions=[Postback(text="A", payload="a")],
        metadata={"n": 1},
        destination=Destination(integration_type="whatsapp"),
    )

    assert isinstance(sent, Message)
    assert json.loads(requests[0].content) == {
        "author": {"type": "business"},
        "content": {"type": "text", "text": "Hello"},
    }
    assert json.loads(requests[1].content) == {
        "author": {"type": "business", "displayName": "Bot"},
        "content": {
            "type": "text",
            "text": "Hello",
            "actions": [{"type": "postback", "text": "A", "payload": "a"}],
        },
        "metadata": {"n": 1, "sunshineAsyncOnce": "k"},
        "destination": {"integrationType": "whatsapp"},
    }


async def test_the_list_goes_backwards() -> None:
    """Messages are listed from the newest page backwards, until the service has no more."""
    messages, requests = sunshine_with(
        page(message("3"), message("4"), before="3"), page(message("2"))
    )

    assert [one.id async for one in messages.messages.list("c")] == ["3", "4", "2"]
    assert [dict(request.url.params) for request in requests] == [{}, {"page[before]": "3"}]


async def test_a_list_takes_one_direction() -> None:
    """`ValueError` for both directions, before anything is sent."""
    messages, requests = sunshine_with((200, {"messages": [], "meta": {"hasMore": False}}))

    with pytest.raises(ValueError, match="one direction"):
        messages.messages.list("c", before="1", after="2")
    assert [one async for one in messages.messages.list("c", after="2")] == []

    assert dict(requests[0].url.params) == {"page[after]": "2"}


async def test_messages_are_deleted() -> None:
    """A delete that finds nothing after a lost answer is done."""
    transport = ScriptedTransport([200, 503, 404])
    retrying = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=transport)

    await retrying.messages.delete("c", "1")
    await retrying.messages.delete_all("c")

    assert [request.url.path for request in transport.requests] == [
        "/v2/apps/app/conversations/c/messages/1",
        *["/v2/apps/app/conversations/c/messages"] * 2,
    ]


async def test_many_messages_have_keys_of_their_own() -> None:
    """``once`` of `post_many` gives each pair its key; a failing one sends nothing."""
    messages, requests = sunshine_with(*[(201, {"messages": [message()]})] * 2)

    def once(pair: tuple[str, MessagePost]) -> str:
        return {"a": "key-a", "b": "key-b"}[pair[0]]

    pairs = [("a", HELLO), ("b", HELLO), ("c", HELLO), ("d",)]
    async with messages.messages.post_many(pairs, once=once, ordered=True) as stream:  # type: ignore[arg-type]
        outcomes = [outcome async for outcome in stream]

    assert list(map(type, outcomes)) == [bulk.Done, bulk.Done, bulk.Failed, bulk.Failed]
    assert sorted(json.loads(one.content)["metadata"]["sunshineAsyncOnce"] for one in requests) == [
        "key-a",
        "key-b",
    ]
    assert isinstance(outcomes[2], bulk.Failed)
    assert isinstance(outcomes[2].error.__cause__, KeyError)


async def test_unfit_items_of_many_are_failures() -> None:
    """An item that is no message, or a key that is no text, is a failure: nothing was sent."""
    messages, requests = sunshine_with()
    pairs: Any = [("a", {"text": "Hello"}), ("b", None), ("c", HELLO)]
    keys: Any = {"a": "a", "b": "b", "c": None}

    async with messages.messages.post_many(pairs, once=lambda pair: keys[pair[0]]) as stream:
        outcomes = [outcome async for outcome in stream]

    assert set(map(type, outcomes)) == {bulk.Failed}
    assert requests == []


@pytest.mark.parametrize(
    "arguments",
    [{"once": 5}, {"once": b"k"}, {"once": ["k"]}, {"once": "k", "sent_before": "2020-01-01"}],
)
async def test_a_key_or_time_of_a_wrong_type_is_not_sent(arguments: Any) -> None:
    """`TypeError`, with the name of the argument, before anything is sent."""
    messages, requests = sunshine_with()

    with pytest.raises(TypeError, match=f"{[*arguments][-1]} must be"):
        await messages.messages.post("c", HELLO, **arguments)

    assert requests == []


async def test_many_messages_need_no_key() -> None:
    """Without ``once`` a lost answer is an unknown outcome."""
    messages, _ = sunshine_with(500)

    async with messages.messages.post_many([("a", HELLO)]) as stream:
        [outcome] = [outcome async for outcome in stream]

    assert isinstance(outcome, bulk.Unknown)
    assert isinstance(outcome.error, ServerError)


class Gate(httpx.AsyncBaseTransport):
    """The service, with answers that wait until the gate opens."""

    def __init__(self) -> None:
        self.open = anyio.Event()
        self.texts: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.texts.append(json.loads(request.content)["content"]["text"])
        await self.open.wait()
        return httpx.Response(201, json={"messages": [message()]})


async def test_messages_of_a_conversation_go_in_sequence() -> None:
    """A message waits for the answer to the message before it in the conversation, no other."""
    gate = Gate()
    sunshine = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=gate)
    texts = [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")]
    pairs = [
        (where, MessagePost(author=BUSINESS, content=TextMessage(text=text)))
        for where, text in texts
    ]

    async with sunshine.messages.post_many(pairs, concurrency=4) as stream:
        await until(lambda: len(gate.texts) >= 2)
        await settled()
        assert gate.texts == ["a1", "b1"]
        gate.open.set()
        outcomes = [outcome async for outcome in stream]

    assert len(outcomes) == 4
    assert gate.texts == ["a1", "b1", "a2", "a3"]


SECRET = "words-of-jane"
UNSENT: dict[str, dict[str, Any]] = {
    "a long text": {"text": SECRET * 400},
    "nested metadata": {"text": SECRET, "metadata": {"a": [SECRET]}},
    "much metadata": {"text": SECRET, "metadata": {"a": SECRET * 400}},
    "metadata that is no JSON": {"text": SECRET, "metadata": {"a": SECRET, "b": float("nan")}},
}
ENDINGS: dict[str, tuple[Answer, ...]] = {
    "refused": (400,),
    "lost": (LOST, page(), page()),
    "lost, and no look": (LOST, 500, 500),
    "a conflict": (LOST, page(message("7", f"not {SECRET}"))),
}


@pytest.mark.parametrize("case", [*UNSENT, *ENDINGS])
async def test_no_local_variable_shows_the_text(case: str) -> None:
    """No local variable of a frame that an error passes through has the text or the metadata."""
    sunshine, _ = sunshine_with(*ENDINGS.get(case, ()))
    values = UNSENT.get(case, {"text": SECRET, "metadata": {"a": SECRET}})

    with pytest.raises((ValueError, SunshineError)) as caught:
        await sunshine.messages.send_text("c", **values, once="k")

    assert leaks(caught.value, SECRET) == []


class TestSendFile:
    """A file is uploaded, then sent as one message."""

    UPLOADED = "https://example.org/a.png"
    UPLOAD: Answer = (201, {"attachment": {"mediaUrl": UPLOADED}})

    async def test_an_image_goes_as_an_image(self) -> None:
        """The media type of the upload chooses the kind of content."""
        image = {"attachment": {"mediaUrl": self.UPLOADED, "mediaType": "image/png"}}
        file = {"attachment": {"mediaUrl": self.UPLOADED}}
        sent = (201, {"messages": [message()]})
        sunshine, requests = sunshine_with((201, image), sent, (201, file), sent)

        await sunshine.messages.send_file(
            "c", b"png", file_name="a.png", text="Look", alt_text="A cat", metadata={"n": 1}
        )
        await sunshine.messages.send_file("c", b"?", once="k")

        assert dict(requests[0].url.params) == {
            "access": "public",
            "for": "message",
            "conversationId": "c",
        }
        assert json.loads(requests[1].content) == {
            "author": {"type": "business"},
            "content": {
                "type": "image",
                "mediaUrl": self.UPLOADED,
                "text": "Look",
                "altText": "A cat",
            },
            "metadata": {"n": 1},
        }
        assert json.loads(requests[3].content) == {
            "author": {"type": "business"},
            "content": {"type": "file", "mediaUrl": self.UPLOADED},
            "metadata": {"sunshineAsyncOnce": "k"},
        }

    async def test_a_lost_upload_sends_no_message(self) -> None:
        """An upload without an answer may leave a file, and certainly no message."""
        sunshine, requests = sunshine_with(LOST)

        with pytest.raises(SunshineError) as caught:
            await sunshine.messages.send_file("c", b"%PDF", once="k")

        assert not caught.value.maybe_applied
        assert methods(requests) == ["POST"]

    @pytest.mark.parametrize(
        ("content", "words", "deleted"),
        [
            ({"type": "file", "mediaUrl": "https://example.org/other.pdf"}, "7", False),
            ({"type": "image", "mediaUrl": "https://example.org/other.png"}, "7", False),
            ({"type": "text"}, "7", True),
            ({"type": "text", "text": "Hello"}, "conflict", False),
        ],
    )
    async def test_an_earlier_file_is_the_result(
        self, content: Any, words: str, *, deleted: bool
    ) -> None:
        """With ``sent_before``, an earlier message with a file is the result: no upload."""
        there = message("7", content=content, deleted=deleted)
        sunshine, requests = sunshine_with(page(there))

        call = sunshine.messages.send_file("c", b"%PDF", once="k", sent_before=AGES_AGO)

        assert await outcome_of(call) == words
        assert methods(requests) == ["GET"]

    async def test_a_bad_file_or_message_is_not_uploaded(self) -> None:
        """`ValueError` before anything is sent: an empty file, a long text, an empty key."""
        sunshine, requests = sunshine_with()
        send_file = sunshine.messages.send_file

        with pytest.raises(ValueError, match="empty"):
            await send_file("c", b"")
        with pytest.raises(ValueError, match="4097 characters"):
            await send_file("c", b"%PDF", text="x" * 4097)
        with pytest.raises(ValueError, match="0 characters"):
            await send_file("c", b"%PDF", once="")
        with pytest.raises(ValueError, match="4096 at most"):
            await send_file("c", b"%PDF", metadata={"a": "x" * 4090}, once="k")

        assert requests == []

    @pytest.mark.parametrize("answers", [(400,), ((201, {"attachment": {}}),), (UPLOAD, 400)])
    async def test_no_local_variable_shows_the_file(self, answers: tuple[Answer, ...]) -> None:
        """No local variable of a frame that an error passes through has the bytes of the file."""
        sunshine, _ = sunshine_with(*answers)

        with pytest.raises(SunshineError) as caught:
            await sunshine.messages.send_file("c", SECRET.encode(), text=SECRET)

        assert leaks(caught.value, SECRET) == []
