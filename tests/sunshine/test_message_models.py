"""Contents, actions and messages: chosen by type, read leniently, written back unchanged."""

from typing import Any, get_args

import pytest
from attrs import fields

from sunshine_async._codec import Misfit, structure, structure_body, unstructure
from sunshine_async._codec.model import UNSET, Model
from sunshine_async.sunshine import (
    Action,
    ActionSubset,
    ActivityMessage,
    Author,
    CarouselMessage,
    Content,
    ConversationCreateBody,
    ExtraChannelOptions,
    ImageMessage,
    Item,
    Link,
    Message,
    MessageOverride,
    MessageOverridePayload,
    MessagePost,
    MessengerChannelOptions,
    Postback,
    QuotedMessage,
    QuotedMessageMessage,
    TextMessage,
    UnknownAction,
    UnknownActivityMessage,
    UnknownContent,
    UnknownQuotedMessage,
)

NEEDED: dict[str, dict[str, Any]] = {
    "buy": {"text": "B", "amount": 999},
    "link": {"text": "L", "uri": "https://example.org"},
    "locationRequest": {"text": "R"},
    "postback": {"text": "P", "payload": "p"},
    "reply": {"text": "R", "payload": "p"},
    "webview": {"text": "W", "uri": "https://example.org", "fallback": "https://example.org/f"},
    "carousel": {"items": []},
    "file": {"mediaUrl": "https://example.org/x.pdf"},
    "form": {"fields": []},
    "formResponse": {"fields": []},
    "image": {"mediaUrl": "https://example.org/x.png"},
    "list": {"items": []},
    "location": {"coordinates": {"lat": 1.5, "long": 2}},
    "template": {"template": {"name": "hello"}},
}
"""The fields that the service requires, by the type of the content or the action."""

UNIONS: dict[str, tuple[Any, type[Model]]] = {
    "content": (Content, UnknownContent),
    "action": (Action, UnknownAction),
    "actionSubset": (ActionSubset, UnknownAction),
    "activity": (ActivityMessage, UnknownActivityMessage),
    "quotedMessage": (QuotedMessage, UnknownQuotedMessage),
}


def tag_of(member: Any) -> str | None:
    """Return the value of ``type`` that chooses *member*."""
    tag: str | None = fields(member).type.default
    return tag


MEMBERS = [
    pytest.param(name, member, id=f"{name} {tag_of(member)}")
    for name, (union, unknown) in UNIONS.items()
    for member in get_args(union)
    if member is not unknown
]


@pytest.mark.parametrize(("union", "member"), MEMBERS)
@pytest.mark.parametrize("read", [structure, structure_body])
def test_the_type_chooses_the_class(union: str, member: Any, read: Any) -> None:
    """Each type of a union gives its class, in answers and in bodies; nothing is lost."""
    tag = tag_of(member) or ""
    data = {"type": tag, **NEEDED.get(tag, {}), "new": {"a": [1]}}

    found = read(data, UNIONS[union][0])

    assert type(found) is member
    assert found.extra == {"new": {"a": [1]}}
    assert unstructure(found) == data


@pytest.mark.parametrize("union", UNIONS)
@pytest.mark.parametrize("data", [{"type": "new", "a": 1}, {"a": 1}, {"type": 7, "a": 1}])
def test_an_unknown_type_keeps_all_data(union: str, data: dict[str, Any]) -> None:
    """A type that the library doesn't know gives the unknown class, with all data."""
    kind, unknown = UNIONS[union]

    found = structure(data, kind)

    assert type(found) is unknown
    assert unstructure(found) == data


@pytest.mark.parametrize("tag", NEEDED)
def test_an_answer_without_a_needed_field_is_unknown(tag: str) -> None:
    """Content without a field that the service requires keeps its data; a body is refused."""
    kind: Any = Content if tag in {tag_of(one) for one in get_args(Content)} else Action
    data = {"type": tag, "a": 1}

    found = structure(data, kind)

    assert type(found) in {UnknownContent, UnknownAction}
    assert unstructure(found) == data
    with pytest.raises(Misfit, match="missing"):
        structure_body(data, kind)


def test_a_misread_field_reads_as_none_in_answers() -> None:
    """A field of another type reads as None in an answer, and is refused in a body."""
    data = {"type": "text", "text": 7, "payload": ["p"]}

    found = structure(data, Message.__annotations__["content"])

    assert isinstance(found, TextMessage)
    assert (found.text, found.payload) == (None, None)
    assert unstructure(found) == data
    with pytest.raises(Misfit, match="text: expected text"):
        structure_body(data, TextMessage)


def test_a_message_may_quote_a_message() -> None:
    """A quoted message is a whole message, to any depth."""
    data: dict[str, Any] = {"id": "1", "content": {"type": "text", "text": "x"}}
    for number in range(2, 6):
        data = {"id": str(number), "quotedMessage": {"type": "message", "message": data}}

    found = structure(data, Message)

    assert isinstance(found.quoted_message, QuotedMessageMessage)
    assert isinstance(found.quoted_message.message, Message)
    assert unstructure(found) == data


def test_a_body_is_written_as_the_service_takes_it() -> None:
    """Fields left out stay out; options of Messenger keep the names of Messenger."""
    options = MessengerChannelOptions(messenger_extensions=True, webview_share_button="hide")
    link = Link(
        text="L",
        uri="https://example.org",
        extra_channel_options=ExtraChannelOptions(messenger=options),
    )
    body = MessagePost(
        author=Author(type="business"),
        content=CarouselMessage(items=[Item(title="T", actions=[link])]),
        override=MessageOverride(line=MessageOverridePayload(payload={"type": "sticker"})),
    )

    assert unstructure(body) == {
        "author": {"type": "business"},
        "content": {
            "type": "carousel",
            "items": [
                {
                    "title": "T",
                    "actions": [
                        {
                            "type": "link",
                            "text": "L",
                            "uri": "https://example.org",
                            "extraChannelOptions": {
                                "messenger": {
                                    "messenger_extensions": True,
                                    "webview_share_button": "hide",
                                }
                            },
                        }
                    ],
                }
            ],
        },
        "override": {"line": {"payload": {"type": "sticker"}}},
    }


def test_a_repr_shows_no_words_of_people() -> None:
    """Texts, payloads and URLs stay out of a ``repr``."""
    secret = "words-of-jane"
    parts: list[Model] = [
        TextMessage(text=secret, html_text=secret, markdown_text=secret, payload=secret),
        ImageMessage(media_url=secret, alt_text=secret),
        Postback(text=secret, payload=secret, metadata={"a": secret}),
        MessagePost(metadata={"a": secret}),
        UnknownContent(type="new", extra={"a": secret}),
        Author(type="user", user_external_id=secret, display_name=secret),
    ]

    assert secret not in repr(parts)
    assert MessagePost().content is UNSET


def test_a_body_of_a_conversation_names_each_user_once() -> None:
    """A participant with two ids is refused, with the place."""
    participant = {"userId": "1", "userExternalId": "jane"}

    with pytest.raises(Misfit, match=r"participants\[0\]"):
        structure_body({"type": "personal", "participants": [participant]}, ConversationCreateBody)
