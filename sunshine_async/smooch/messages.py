"""The models of Smooch v1.1 messages, as they come in answers: any field may be absent.

Times are seconds since 1970 on the wire, and aware times here (`UnixTime`, a `datetime`); they go
back out as they came. A ``repr`` shows no text, no link and no name.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sunshine_async._codec.model import AS_ID, Model, UnixTime, concealed


@frozen(kw_only=True, slots=False)
class Source(Model):
    """The channel that a message came from."""

    id: str | None = None
    type: str | None = None
    """Such as ``web`` or ``twilio``; the service may add others."""
    integration_id: str | None = None
    """In recorded answers, not in the schema."""
    original_message_id: str | None = None
    original_message_timestamp: UnixTime | None = None


@frozen(kw_only=True, slots=False)
class Action(Model):
    """A button below a message, or below one of its items."""

    type: str | None = None
    """Such as ``link`` or ``reply``; the service may add others."""
    text: str | None = field(default=None, repr=concealed)
    payload: str | None = field(default=None, repr=concealed)
    metadata: Mapping[str, Any] | None = field(default=None, repr=concealed)
    amount: int | None = None
    """In cents, of a ``buy`` action."""
    currency: str | None = None
    default: bool | None = None
    icon_url: str | None = field(default=None, repr=concealed)
    uri: str | None = field(default=None, repr=concealed)
    fallback: str | None = field(default=None, repr=concealed)
    """Opened where there is no webview."""
    size: str | None = None
    extra_channel_options: Mapping[str, Any] | None = field(default=None, repr=concealed)
    open_on_receive: bool | None = None


@frozen(kw_only=True, slots=False)
class MessageItem(Model):
    """One item of a carousel or a list."""

    title: str | None = field(default=None, repr=concealed)
    description: str | None = field(default=None, repr=concealed)
    media_url: str | None = field(default=None, repr=concealed)
    alt_text: str | None = field(default=None, repr=concealed)
    size: str | None = None
    media_type: str | None = None
    actions: list[Action] | None = None


@frozen(kw_only=True, slots=False)
class DisplaySettings(Model):
    """How a carousel is laid out."""

    image_aspect_ratio: str | None = None


@frozen(kw_only=True, slots=False)
class Option(Model):
    """What a field of a form offers."""

    name: str | None = field(default=None, repr=concealed)
    label: str | None = field(default=None, repr=concealed)


@frozen(kw_only=True, slots=False)
class Select(Model):
    """What was chosen in a field of a form."""

    id: str | None = field(default=None, metadata=AS_ID)
    name: str | None = field(default=None, repr=concealed)
    label: str | None = field(default=None, repr=concealed)


@frozen(kw_only=True, slots=False)
class Field(Model):
    """A field of a form, or of what was entered in it."""

    id: str | None = field(default=None, metadata=AS_ID)
    type: str | None = None
    """Such as ``text``, ``email`` or ``select``; the service may add others."""
    name: str | None = None
    label: str | None = field(default=None, repr=concealed)
    placeholder: str | None = field(default=None, repr=concealed)
    min_size: int | None = None
    max_size: int | None = None
    options: list[Option] | None = None
    select_size: int | None = None
    text: str | None = field(default=None, repr=concealed)
    email: str | None = field(default=None, repr=concealed)
    select: list[Select] | None = None


@frozen(kw_only=True, slots=False)
class Coordinates(Model):
    """A place on the globe, in degrees."""

    lat: float | None = field(default=None, repr=concealed)
    long: float | None = field(default=None, repr=concealed)


@frozen(kw_only=True, slots=False)
class Location(Model):
    """What a place is called."""

    address: str | None = field(default=None, repr=concealed)
    name: str | None = field(default=None, repr=concealed)


@frozen(kw_only=True, slots=False)
class QuotedMessage(Model):
    """The message that another one answers."""

    type: str | None = None
    external_message_id: str | None = None
    content: "Message | None" = None


@frozen(kw_only=True, slots=False)
class Message(Model):
    """A message of a conversation."""

    id: str | None = field(default=None, metadata=AS_ID)
    author_id: str | None = None
    role: str | None = None
    """``appMaker``, ``appUser`` or ``whisper``; the service may add others."""
    type: str | None = None
    """Such as ``text`` or ``image``; the service may add others."""
    source: Source | None = None
    name: str | None = field(default=None, repr=concealed)
    text: str | None = field(default=None, repr=concealed)
    email: str | None = field(default=None, repr=concealed)
    avatar_url: str | None = field(default=None, repr=concealed)
    received: UnixTime | None = None
    media_url: str | None = field(default=None, repr=concealed)
    media_type: str | None = None
    alt_text: str | None = field(default=None, repr=concealed)
    metadata: Mapping[str, Any] | None = field(default=None, repr=concealed)
    items: list[MessageItem] | None = None
    actions: list[Action] | None = None
    payload: str | None = field(default=None, repr=concealed)
    display_settings: DisplaySettings | None = None
    block_chat_input: bool | None = None
    fields: list[Field] | None = None
    submitted: bool | None = None
    quoted_message: QuotedMessage | None = None
    text_fallback: str | None = field(default=None, repr=concealed)
    coordinates: Coordinates | None = None
    location: Location | None = None


@frozen(kw_only=True, slots=False)
class Conversation(Model):
    """The conversation that a message went to."""

    id: str | None = field(default=None, metadata=AS_ID)
    unread_count: int | None = None


@frozen(kw_only=True, slots=False)
class MessageResponse(Model):
    """What `AppUsers.post_image` has posted, and where."""

    message: Message | None = None
    extra_messages: list[Message] | None = None
    conversation: Conversation | None = None
