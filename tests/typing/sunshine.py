"""What a user's checker sees of messages and conversations. Never run: mypy and pyright read it.

A line with an ignore is one that has to be reported, as in ``api.py``.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
# mypy: warn-unused-ignores

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, assert_never, assert_type

from sunshine_async import SunshineClient, bulk, sunshine
from sunshine_async.sunshine import (
    Action,
    Author,
    Buy,
    CarouselMessage,
    Conversation,
    ConversationCreateBody,
    Conversations,
    ConversationUpdateBody,
    ConversionEvents,
    ConversionEventsBody,
    Coordinates,
    DownloadMessageRefBody,
    FileMessage,
    FormMessage,
    FormMessageField,
    FormResponseMessage,
    FormResponseMessageField,
    ImageMessage,
    Item,
    Link,
    Listing,
    ListMessage,
    LocationMessage,
    LocationRequest,
    Message,
    MessagePost,
    Messages,
    MetaConversionEvent,
    Page,
    Postback,
    Reply,
    TemplateMessage,
    TextMessage,
    UnknownAction,
    UnknownContent,
    Webview,
)


def kinds(message: Message) -> None:
    """Match each kind of content, with the exact types of its fields."""
    content = message.content
    match content:
        case TextMessage(text=text, actions=actions):
            assert_type(text, str | None)
            assert_type(actions, list[Action] | None)
        case CarouselMessage(items=items) | ListMessage(items=items):
            assert_type(items, list[Item])
        case FileMessage(media_url=url) | ImageMessage(media_url=url):
            assert_type(url, str)
        case FormMessage(fields=fields):
            assert_type(fields, list[FormMessageField])
        case FormResponseMessage(fields=responses):
            assert_type(responses, list[FormResponseMessageField])
        case LocationMessage(coordinates=coordinates):
            assert_type(coordinates, Coordinates)
        case TemplateMessage(template=template):
            assert_type(template, Mapping[str, Any])
        case UnknownContent(type=kind):
            assert_type(kind, str | None)
        case None:
            assert_type(content, None)
        case _:
            assert_never(content)


def text_of(action: Action) -> str | None:
    """Match each kind of action."""
    match action:
        case Postback(text=text, payload=payload) | Reply(text=text, payload=payload):
            return text + payload
        case Link(uri=uri) | Webview(uri=uri):
            return uri
        case Buy(amount=amount):
            assert_type(amount, int)
            return None
        case LocationRequest() | UnknownAction():
            return None
        case _:
            assert_never(action)


async def calls(client: SunshineClient, body: MessagePost, at: datetime) -> None:
    """Each method takes its ids and its body, and gives what the operation answers."""
    messages, conversations = client.messages, client.conversations
    assert_type(messages, Messages)
    assert_type(conversations, Conversations)
    assert_type(await messages.post("c", body, once="k", sent_before=at), list[Message])
    assert_type(await messages.find("c", body, once="k", sent_before=at), list[Message])
    assert_type(await messages.send_text("c", "Hello", once="k"), list[Message])
    assert_type(await messages.send_file("c", b"%PDF", file_name="a.pdf"), list[Message])
    assert_type(messages.list("c", before="1"), Listing[Message])
    async for page in messages.list("c").pages():
        assert_type(page, Page[Message])
    await messages.delete("c", "m")
    await messages.delete_all("c")
    async for conversation in conversations.list(user_id="u"):
        assert_type(conversation, Conversation)
    create = ConversationCreateBody(type="personal")
    assert_type(await conversations.create(create, once="k"), Conversation)
    assert_type(await conversations.get_or_create(create), Conversation)
    assert_type(await conversations.get("c"), Conversation)
    update = ConversationUpdateBody(metadata={"order": 7, "paid": True, "gone": None})
    assert_type(await conversations.update("c", update), Conversation)
    await conversations.delete("c")
    reference = DownloadMessageRefBody(user_id="u")
    assert_type(await conversations.download_message_ref("c", reference), Mapping[str, Any])
    events = ConversionEventsBody(whatsapp=MetaConversionEvent(payload={"data": []}))
    assert_type(await conversations.post_conversion_events("c", events), ConversionEvents)


async def many(client: SunshineClient, pairs: list[tuple[str, MessagePost]]) -> None:
    """Give outcomes of the types of the items and the results."""
    messages = client.messages
    run = messages.post_many(pairs, once=lambda pair: pair[0])
    assert_type(
        run,
        AbstractAsyncContextManager[bulk.Outcomes[tuple[str, MessagePost], list[Message]]],
    )


async def mistakes(client: SunshineClient) -> None:
    """Each of the mistakes that are easily made is reported."""
    await client.messages.post("c", "Hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.messages.send_text("c", text=b"Hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MessagePost(author="business")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MessagePost(author=Author(type="business"), content="Hello")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImageMessage(alt_text="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    _ = client.mesages  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    _ = sunshine.Mesage  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
