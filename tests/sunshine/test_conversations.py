"""Conversations: lists, bad input, and each conversation created once, answer by answer."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from attrs import evolve
from support.scripted import methods, sunshine_with

from sunshine_async import (
    BadRequestError,
    ConflictError,
    ResponseDecodeError,
    SunshineError,
    TransportError,
)
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.sunshine import (
    AppleMessageRef,
    Conversation,
    ConversationCreateBody,
    ConversationUpdateBody,
    ConversionEventsBody,
    DownloadMessageRefBody,
    InteractiveDataRef,
    MetaConversionEvent,
    ParticipantJoinBody,
)
from sunshine_async.testing import Answer

pytestmark = pytest.mark.usefixtures("instant_waits")

BODY = ConversationCreateBody(
    type="personal",
    participants=[ParticipantJoinBody(user_external_id="jane-1")],
    display_name="Order 7",
)
LOST = httpx.ReadTimeout("late")


def conversation(id: str = "1", **more: Any) -> dict[str, Any]:
    """Return a conversation with the mark of the key ``k``, as the service sends it."""
    return {
        "id": id,
        "type": "personal",
        "isDefault": False,
        "displayName": "Order 7",
        "metadata": {"sunshineAsyncOnce": "k"},
        **more,
    }


def created(**more: Any) -> Answer:
    """Return the answer to a create."""
    return 201, {"conversation": conversation(**more)}


def page(*conversations: Any, after: str | None = None) -> Answer:
    """Return a page of conversations."""
    meta = {"hasMore": after is not None, **({"afterCursor": after} if after else {})}
    return 200, {"conversations": list(conversations), "meta": meta}


async def test_the_look_waits_after_an_uncertain_end() -> None:
    """A create with a lost answer may be under way for 5 seconds."""
    there = conversation(metadata={"sunshineAsyncOnce": "uncertain"})
    sunshine, requests = sunshine_with(LOST, page(), page(), page(there))
    with pytest.raises(TransportError):
        await sunshine.conversations.create(BODY, once="uncertain")
    begun, long_ago = CLOCK.now(), datetime.now(UTC) - timedelta(days=1)

    await sunshine.conversations.create(BODY, once="uncertain", sent_before=long_ago)

    assert CLOCK.now() - begun == pytest.approx(5)
    assert methods(requests) == ["POST", "GET", "GET", "GET"]


async def test_a_conversation_has_the_mark() -> None:
    """The key of ``once`` goes into the metadata."""
    sunshine, requests = sunshine_with(created())

    found = await sunshine.conversations.create(BODY, once="k")

    assert found.id == "1"
    assert json.loads(requests[0].content) == {
        "type": "personal",
        "participants": [{"userExternalId": "jane-1"}],
        "displayName": "Order 7",
        "metadata": {"sunshineAsyncOnce": "k"},
    }


async def test_a_conversation_without_a_key_is_in_doubt() -> None:
    """Without ``once`` a lost answer is in doubt at once."""
    sunshine, requests = sunshine_with(LOST)

    with pytest.raises(TransportError) as caught:
        await sunshine.conversations.create(BODY)

    assert caught.value.maybe_applied
    assert methods(requests) == ["POST"]


LOOKS: dict[str, tuple[tuple[Answer, ...], str]] = {
    "found at the first look": ((page(conversation("7")),), "7"),
    "found at the second look": ((page(), page(conversation("7"))), "7"),
    "found on the second page": (
        (page(conversation("6", metadata=None), after="6"), page(conversation("7"))),
        "7",
    ),
    "found nowhere": ((page(), page()), "unknown"),
    "no look succeeds": ((500, LOST), "unknown"),
    "other content": ((page(conversation("7", displayName="Order 8")),), "conflict"),
}
"""Answers to the look-ups, and the outcome: the id of the conversation found, or a word."""


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("user", ["user_id", "user_external_id"])
async def test_a_conversation_is_looked_for_after_a_lost_answer(looks: str, user: str) -> None:
    """After a lost answer the user's conversations are read, twice; nothing is sent again."""
    answers, outcome = LOOKS[looks]
    sunshine, requests = sunshine_with(LOST, *answers)
    body = ConversationCreateBody(
        type="personal",
        participants=[ParticipantJoinBody(**{user: "jane"})],
        display_name="Order 7",
    )

    try:
        result = (await sunshine.conversations.create(body, once="k")).id
    except SunshineError as error:
        word = "conflict" if isinstance(error, ConflictError) else "unknown"
        result = word if error.maybe_applied else "failed"

    assert result == outcome
    assert methods(requests) == ["POST", *("GET" for _ in answers)]
    wire = {"user_id": "userId", "user_external_id": "userExternalId"}[user]
    for request in requests[1:]:
        assert request.url.params[f"filter[{wire}]"] == "jane"
        assert request.url.params["page[size]"] == "100"


async def test_an_earlier_conversation_is_the_result() -> None:
    """With ``sent_before``, the conversation of the earlier attempt is returned."""
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    sunshine, requests = sunshine_with(page(conversation("7")), page(), created(id="8"))

    first = await sunshine.conversations.create(BODY, once="k", sent_before=earlier)
    second = await sunshine.conversations.create(BODY, once="k", sent_before=earlier)

    assert (first.id, second.id) == ("7", "8")
    assert methods(requests) == ["GET", "GET", "POST"]


async def test_bad_input_is_not_sent() -> None:
    """`ValueError` before anything is sent."""
    sunshine, requests = sunshine_with()
    conversations = sunshine.conversations
    alone = ConversationCreateBody(type="sdkGroup")
    nested: Any = {"a": {"b": 1}}

    with pytest.raises(ValueError, match="no participant"):
        await conversations.create(alone, once="k")
    with pytest.raises(ValueError, match="no participant"):
        await conversations.get_or_create(alone)
    with pytest.raises(ValueError, match="0 characters"):
        await conversations.create(BODY, once="")
    with pytest.raises(ValueError, match="needs once="):
        await conversations.create(BODY, sent_before=datetime.now(UTC))
    with pytest.raises(ValueError, match="nested"):
        await conversations.create(ConversationCreateBody(type="personal", metadata=nested))
    with pytest.raises(ValueError, match="4096 at most"):
        await conversations.update("c", ConversationUpdateBody(metadata={"a": "x" * 4096}))
    with pytest.raises(ValueError, match="one of the two"):
        conversations.list(user_id="1", user_external_id="2")
    with pytest.raises(ValueError, match="one of the two"):
        conversations.list()
    with pytest.raises(ValueError, match="one direction"):
        conversations.list(user_id="1", after="1", before="2")
    with pytest.raises(ValueError, match="page_size=101"):
        conversations.list(user_id="1", page_size=101)
    with pytest.raises(ValueError, match="one of the two"):
        conversations.list(user_id="")
    with pytest.raises(ValueError, match="nested"):
        await conversations.get_or_create(evolve(BODY, metadata=nested))
    for call in (conversations.create, conversations.get_or_create):
        with pytest.raises(TypeError, match="takes ConversationCreateBody, not dict"):
            await call({"type": "personal"})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes ConversationUpdateBody, not dict"):
        await conversations.update("c", {})  # type: ignore[arg-type]
    wrong: Any = 5
    with pytest.raises(TypeError, match=r"^user_id must be text, not int"):
        await conversations.list(user_id=wrong).first(1)

    assert requests == []


class TestGetOrCreate:
    """A user's conversation, or a new one."""

    async def test_the_default_conversation_goes_first(self) -> None:
        """A conversation of the type is the result; the default one goes first."""
        sunshine, requests = sunshine_with(
            page(
                conversation("5", type="sdkGroup"),
                conversation("6"),
                conversation("7", isDefault=True),
            ),
        )

        assert (await sunshine.conversations.get_or_create(BODY)).id == "7"
        assert methods(requests) == ["GET"]

    async def test_without_a_default_the_first_counts(self) -> None:
        """Without a default conversation the first of the type is the result."""
        sunshine, _ = sunshine_with(page(conversation("6"), conversation("7")))

        assert (await sunshine.conversations.get_or_create(BODY)).id == "6"

    async def test_a_default_on_a_later_page_goes_first(self) -> None:
        """A user with many conversations has the default one on any page."""
        sunshine, requests = sunshine_with(
            page(conversation("6"), after="6"), page(conversation("7", isDefault=True), after="7")
        )

        assert (await sunshine.conversations.get_or_create(BODY)).id == "7"
        assert methods(requests) == ["GET", "GET"]

    @pytest.mark.parametrize("found", [{"type": 5}, {"type": None}, {"id": None}])
    async def test_an_unreadable_conversation_may_be_the_one(self, found: Any) -> None:
        """A conversation without a readable type or id may be the one: nothing is created."""
        sunshine, requests = sunshine_with(page(conversation(**found)))

        with pytest.raises(ResponseDecodeError, match="may be the record looked for"):
            await sunshine.conversations.get_or_create(BODY)

        assert methods(requests) == ["GET"]

    async def test_metadata_is_no_matter(self) -> None:
        """Unreadable metadata of a conversation of another type is in nobody's way."""
        other = conversation(type="sdkGroup", metadata=["?"])
        sunshine, _ = sunshine_with(page(other), created(id="8"))

        assert (await sunshine.conversations.get_or_create(BODY)).id == "8"

    async def test_a_conversation_is_created(self) -> None:
        """A user without such a conversation gets one."""
        sunshine, requests = sunshine_with(page(conversation(type="sdkGroup")), created(id="8"))

        assert (await sunshine.conversations.get_or_create(BODY)).id == "8"
        assert "metadata" not in json.loads(requests[1].content)

    async def test_a_lost_create_is_settled(self) -> None:
        """After a lost answer a conversation of the type is looked for, twice."""
        sunshine, requests = sunshine_with(
            page(), LOST, page(), page(conversation("9", metadata=None))
        )

        assert (await sunshine.conversations.get_or_create(BODY)).id == "9"
        assert methods(requests) == ["GET", "POST", "GET", "GET"]


async def test_conversations_are_listed() -> None:
    """All pages of a user's conversations come, one after another."""
    sunshine, requests = sunshine_with(page(conversation("1"), after="1"), page(conversation("2")))

    listing = sunshine.conversations.list(user_id="jane", page_size=1)

    assert [one.id async for one in listing] == ["1", "2"]
    assert [dict(request.url.params) for request in requests] == [
        {"filter[userId]": "jane", "page[size]": "1"},
        {"filter[userId]": "jane", "page[size]": "1", "page[after]": "1"},
    ]


async def test_a_conversation_is_read_changed_and_deleted() -> None:
    """The operations on one conversation send what the service takes."""
    sunshine, requests = sunshine_with(
        (200, {"conversation": conversation()}), (200, {"conversation": conversation()}), (200, {})
    )

    found = await sunshine.conversations.get("c")
    await sunshine.conversations.update(
        "c", ConversationUpdateBody(description=None, metadata={"a": None})
    )
    await sunshine.conversations.delete("c")

    assert isinstance(found, Conversation)
    assert methods(requests) == ["GET", "PATCH", "DELETE"]
    assert {request.url.path for request in requests} == {"/v2/apps/app/conversations/c"}
    assert json.loads(requests[1].content) == {"description": None, "metadata": {"a": None}}


async def test_a_default_conversation_stays() -> None:
    """The service refuses to delete the default conversation."""
    title = "Conversation 1 cannot be deleted because it is the default."
    sunshine, _ = sunshine_with((400, {"errors": [{"code": "bad_request", "title": title}]}))

    with pytest.raises(BadRequestError, match="the default"):
        await sunshine.conversations.delete("c")


async def test_a_message_ref_is_downloaded() -> None:
    """The data behind a reference comes as it is."""
    sunshine, requests = sunshine_with((200, {"data": [1]}))
    reference = InteractiveDataRef(url="u", bid="b", key="k", signature="s", owner="o")
    body = DownloadMessageRefBody(
        user_id="1", apple=AppleMessageRef(interactive_data_ref=reference)
    )

    assert await sunshine.conversations.download_message_ref("c", body) == {"data": [1]}
    assert json.loads(requests[0].content) == {
        "userId": "1",
        "apple": {
            "interactiveDataRef": {
                "url": "u",
                "bid": "b",
                "key": "k",
                "signature": "s",
                "owner": "o",
            }
        },
    }


async def test_conversion_events_are_sent_once() -> None:
    """Events are counted; after a lost answer they aren't sent again."""
    answer = {"conversionEvents": {"datasetId": 1234567890123456, "eventsReceived": 1}}
    sunshine, requests = sunshine_with((200, answer), LOST)
    body = ConversionEventsBody(instagram=MetaConversionEvent(payload={"data": [{"a": 1}]}))

    events = await sunshine.conversations.post_conversion_events("c", body)
    with pytest.raises(TransportError) as caught:
        await sunshine.conversations.post_conversion_events("c", body)

    assert (events.dataset_id, events.events_received) == ("1234567890123456", 1)
    assert caught.value.maybe_applied
    assert json.loads(requests[0].content) == {"instagram": {"payload": {"data": [{"a": 1}]}}}
