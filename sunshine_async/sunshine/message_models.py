"""Models of messages, under the service's names: `MessagePost` is the body, `Message` the answer.

- `Author` and `Reference` are parts of both: None leaves a key out. The rest follows the rules of
  ``models.py``.
- A `Destination`, a `MessageOverride` is chosen by the field that is set.
- Unknown kinds of `QuotedMessage` and `ActivityMessage` give a class ``Unknown…`` with all data.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from attrs import field, frozen

from sunshine_async._codec.model import AS_TYPE, UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.contents import Content
from sunshine_async.sunshine.pages import ListResponse


@frozen(kw_only=True, slots=False)
class Author(Model):
    """Author of a message or of an activity."""

    type: str
    """``business`` or ``user``."""
    subtypes: list[str] | None = None
    """``AI``: the service adds a disclaimer to the text. In answers also ``activity``, ``agent``,
    ``bot``."""
    user_id: str | None = None
    """With type ``user``: the id of the user."""
    user_external_id: str | None = field(default=None, repr=redact)
    """With type ``user``, in bodies, in place of *user_id*."""
    brand_id: str | None = None
    """In bodies: the brand of the brand-separated user with *user_external_id*, 1 to 24 characters.

    Only together with *user_external_id*.
    """
    display_name: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class Source(Model):
    """Source of a message."""

    type: str | None = None
    """A channel such as ``whatsapp``, or ``api:conversations``."""
    integration_id: str | None = None
    original_message_id: str | None = None
    """The id that the channel gave."""
    original_message_timestamp: datetime | None = None
    client: Mapping[str, Any] | None = field(default=None, repr=redact)
    """In webhooks with ``includeFullSource``: the user's client."""
    device: Mapping[str, Any] | None = field(default=None, repr=redact)
    """In webhooks with ``includeFullSource``: the user's device."""


@frozen(kw_only=True, slots=False)
class Reference(Model):
    """Reference to the source of a bot's answer."""

    uri: str = field(repr=redact)
    title: str | None = field(default=None, repr=redact)
    description: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class _Activity(Model):
    data: Mapping[str, Any] | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class TicketClosed(_Activity):
    """Activity of the system: the ticket was closed."""

    type: str = field(default="ticket:closed", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class TransferToEmail(_Activity):
    """Activity of the system: the ticket moved to e-mail."""

    type: str = field(default="ticket:transfer:email", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class EndedByUser(_Activity):
    """Activity of the system: the user ended the conversation."""

    type: str = field(default="conversation:endedByUser", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownActivityMessage(Model):
    """Activity of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


ActivityMessage: TypeAlias = TicketClosed | TransferToEmail | EndedByUser | UnknownActivityMessage


@frozen(kw_only=True, slots=False)
class QuotedMessageMessage(Model):
    """Quoted message that the service has."""

    message: "Message | None" = None
    type: str = field(default="message", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class QuotedMessageExternalMessageId(Model):
    """Quoted message that only the channel has."""

    external_message_id: str | None = None
    type: str = field(default="externalMessageId", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownQuotedMessage(Model):
    """Quoted message of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


QuotedMessage: TypeAlias = (
    QuotedMessageMessage | QuotedMessageExternalMessageId | UnknownQuotedMessage
)


@frozen(kw_only=True, slots=False)
class Message(Model):
    """Message of a conversation, in answers.

    Only *id* is always present: an answer without *id* is a `ResponseDecodeError`.
    """

    id: str
    received: datetime | None = None
    """The time at which the service received the message."""
    author: Author | None = None
    content: Content | None = None
    source: Source | None = None
    activity: ActivityMessage | None = None
    """The activity of the system that made the message."""
    quoted_message: QuotedMessage | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    deleted: bool | None = None
    """True: a placeholder for a deleted message."""
    references: list[Reference] | None = None


@frozen(kw_only=True, slots=False)
class MessageListResponse(ListResponse):
    """Page of messages, as the service sends the page."""

    items: list[Message] = field(metadata={WIRE: "messages"})


@frozen(kw_only=True, slots=False)
class Destination(Model):
    """Channel that a message goes to: *integration_id* or *integration_type*.

    Only for an author of type ``business``, in a personal conversation.
    """

    integration_id: str | Unset = UNSET
    integration_type: str | Unset = UNSET
    """Such as ``whatsapp``; ``none`` sends a silent message."""


@frozen(kw_only=True, slots=False)
class MessageOverridePayload(Model):
    """Payload that goes to a channel unchanged."""

    payload: Mapping[str, Any] | Unset = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class AppleMessageOverridePayload(MessageOverridePayload):
    """Payload that goes to Apple Messages for Business unchanged."""

    with_capabilities: list[str] | Unset = UNSET
    """Needs of the payload: ``LIST``, ``TIME``, ``FORM``, ``QUICK``, ``AUTH2``."""


@frozen(kw_only=True, slots=False)
class MessageOverride(Model):
    """Payloads for channels, in place of the content."""

    apple: AppleMessageOverridePayload | Unset = UNSET
    line: MessageOverridePayload | Unset = UNSET
    messenger: MessageOverridePayload | Unset = UNSET
    whatsapp: MessageOverridePayload | Unset = UNSET


@frozen(kw_only=True, slots=False)
class MessagePost(Model):
    """The body of `Messages.post`; *author* and *content* are needed."""

    author: Author | Unset = UNSET
    content: Content | Unset = UNSET
    destination: Destination | Unset = UNSET
    metadata: Mapping[str, str | float | bool] | Unset | None = field(default=UNSET, repr=redact)
    """The caller's own properties, flat, 4 KB in all."""
    override: MessageOverride | Unset = UNSET
    schema: str | Unset = UNSET
    """``whatsapp``: *content* is a template of WhatsApp."""
