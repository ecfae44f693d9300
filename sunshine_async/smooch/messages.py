"""Models of Smooch v1.1 messages in answers (any field may be absent), and the form of an image.

Times are seconds since 1970 on the wire, and aware times here (`UnixTime`, a `datetime`); encoding
gives the same seconds back. A ``repr`` shows no text, no link and no name.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.forms import File, FileSource, Form
from sunshine_async._codec.model import AS_ID, Model, UnixTime, redact

ImageSource: TypeAlias = FileSource


@frozen(kw_only=True, slots=False)
class Source(Model):
    """Channel that a message came from."""

    id: str | None = None
    type: str | None = None
    """Such as ``web`` or ``twilio``; the service may add values."""
    integration_id: str | None = None
    """In recorded answers, not in the schema."""
    original_message_id: str | None = None
    original_message_timestamp: UnixTime | None = None


@frozen(kw_only=True, slots=False)
class Action(Model):
    """Button below a message, or below an item of a message."""

    type: str | None = None
    """Such as ``link`` or ``reply``; the service may add values."""
    text: str | None = field(default=None, repr=redact)
    payload: str | None = field(default=None, repr=redact)
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    amount: int | None = None
    """In cents, of a ``buy`` action."""
    currency: str | None = None
    default: bool | None = None
    icon_url: str | None = field(default=None, repr=redact)
    uri: str | None = field(default=None, repr=redact)
    fallback: str | None = field(default=None, repr=redact)
    """A URL to open without a webview."""
    size: str | None = None
    extra_channel_options: Mapping[str, Any] | None = field(default=None, repr=redact)
    open_on_receive: bool | None = None


@frozen(kw_only=True, slots=False)
class MessageItem(Model):
    """Item of a carousel or a list."""

    title: str | None = field(default=None, repr=redact)
    description: str | None = field(default=None, repr=redact)
    media_url: str | None = field(default=None, repr=redact)
    alt_text: str | None = field(default=None, repr=redact)
    size: str | None = None
    media_type: str | None = None
    actions: list[Action] | None = None


@frozen(kw_only=True, slots=False)
class DisplaySettings(Model):
    """Layout of a carousel."""

    image_aspect_ratio: str | None = None


@frozen(kw_only=True, slots=False)
class Option(Model):
    """Choice in a field of a form."""

    name: str | None = field(default=None, repr=redact)
    label: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class Select(Model):
    """Chosen value in a field of a form."""

    id: str | None = field(default=None, metadata=AS_ID)
    name: str | None = field(default=None, repr=redact)
    label: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class Field(Model):
    """Field of a form, or of a form's answer."""

    id: str | None = field(default=None, metadata=AS_ID)
    type: str | None = None
    """Such as ``text``, ``email`` or ``select``; the service may add values."""
    name: str | None = None
    label: str | None = field(default=None, repr=redact)
    placeholder: str | None = field(default=None, repr=redact)
    min_size: int | None = None
    max_size: int | None = None
    options: list[Option] | None = None
    select_size: int | None = None
    text: str | None = field(default=None, repr=redact)
    email: str | None = field(default=None, repr=redact)
    select: list[Select] | None = None


@frozen(kw_only=True, slots=False)
class Coordinates(Model):
    """Geographic coordinates, in degrees."""

    lat: float | None = field(default=None, repr=redact)
    long: float | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class Location(Model):
    """Name and address of a place."""

    address: str | None = field(default=None, repr=redact)
    name: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class QuotedMessage(Model):
    """Message that a reply quotes."""

    type: str | None = None
    external_message_id: str | None = None
    content: "Message | None" = None


@frozen(kw_only=True, slots=False)
class Message(Model):
    """Message of a conversation."""

    id: str | None = field(default=None, metadata=AS_ID)
    author_id: str | None = None
    role: str | None = None
    """``appMaker``, ``appUser`` or ``whisper``; the service may add values."""
    type: str | None = None
    """Such as ``text`` or ``image``; the service may add values."""
    source: Source | None = None
    name: str | None = field(default=None, repr=redact)
    text: str | None = field(default=None, repr=redact)
    email: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    received: UnixTime | None = None
    media_url: str | None = field(default=None, repr=redact)
    media_type: str | None = None
    alt_text: str | None = field(default=None, repr=redact)
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    items: list[MessageItem] | None = None
    actions: list[Action] | None = None
    payload: str | None = field(default=None, repr=redact)
    display_settings: DisplaySettings | None = None
    block_chat_input: bool | None = None
    fields: list[Field] | None = None
    submitted: bool | None = None
    quoted_message: QuotedMessage | None = None
    text_fallback: str | None = field(default=None, repr=redact)
    coordinates: Coordinates | None = None
    location: Location | None = None


@frozen(kw_only=True, slots=False)
class Conversation(Model):
    """Conversation that a message belongs to."""

    id: str | None = field(default=None, metadata=AS_ID)
    unread_count: int | None = None


@frozen(kw_only=True, slots=False)
class MessageResponse(Model):
    """Result of `AppUsers.post_image`: the message, and the conversation."""

    message: Message | None = None
    extra_messages: list[Message] | None = None
    conversation: Conversation | None = None


async def image_form(image: File, *, role: str) -> Form:
    """Return image and author as a form; raise `ValueError` or `TypeError` for a bad argument."""
    if not role:
        message = "role is empty: who posts the image, appMaker or appUser?"
        raise ValueError(message)
    form = await Form.of({"source": image})
    return form.with_texts({"role": role})
