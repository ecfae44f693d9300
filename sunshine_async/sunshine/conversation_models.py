"""Models of conversations, under the service's names; the rules of ``models.py`` apply."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from sunshine_async._codec.model import UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.pages import ListResponse
from sunshine_async.sunshine.participants import ParticipantJoinBody


@frozen(kw_only=True, slots=False)
class SwitchboardIntegrationWebhook(Model):
    """Switchboard integration in control of a conversation, or offered control."""

    id: str | None = None
    name: str | None = None
    integration_id: str | None = None
    integration_type: str | None = None


@frozen(kw_only=True, slots=False)
class ConversationTruncated(Model):
    """Conversation, in webhooks."""

    id: str
    type: str | None = None
    """``personal`` or ``sdkGroup``; the service may add values."""
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    active_switchboard_integration: SwitchboardIntegrationWebhook | None = None
    """The integration in control; None: no integration is."""
    pending_switchboard_integration: SwitchboardIntegrationWebhook | None = None
    """The integration that was offered control."""


@frozen(kw_only=True, slots=False)
class Conversation(ConversationTruncated):
    """Conversation, in answers.

    Only *id* is always present: an answer without *id* is a `ResponseDecodeError`.
    """

    is_default: bool | None = None
    """True for the first personal conversation of the user."""
    display_name: str | None = field(default=None, repr=redact)
    description: str | None = field(default=None, repr=redact)
    icon_url: str | None = field(default=None, repr=redact)
    business_last_read: datetime | None = None
    last_updated_at: datetime | None = None
    """The time of the last message; without messages the time of the creation."""
    created_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class ConversationListResponse(ListResponse):
    """Page of conversations, as the service sends the page."""

    items: list[Conversation] = field(metadata={WIRE: "conversations"})


@frozen(kw_only=True, slots=False)
class ConversationCreateBody(Model):
    """The body of `Conversations.create`."""

    type: str
    """``personal`` or ``sdkGroup``."""
    participants: list[ParticipantJoinBody] | Unset = UNSET
    """A single user for ``personal``; up to 10 with *subscribe_sdk_client* for ``sdkGroup``."""
    display_name: str | Unset | None = field(default=UNSET, repr=redact)
    description: str | Unset | None = field(default=UNSET, repr=redact)
    """1 to 100 characters."""
    icon_url: str | Unset | None = field(default=UNSET, repr=redact)
    metadata: Mapping[str, str | float | bool] | Unset | None = field(default=UNSET, repr=redact)
    """The caller's own properties, flat, 4 KB in all."""


@frozen(kw_only=True, slots=False)
class ConversationUpdateBody(Model):
    """The body of `Conversations.update`: a field left out stays unchanged."""

    display_name: str | Unset | None = field(default=UNSET, repr=redact)
    description: str | Unset | None = field(default=UNSET, repr=redact)
    """1 to 100 characters."""
    icon_url: str | Unset | None = field(default=UNSET, repr=redact)
    metadata: Mapping[str, str | float | bool | None] | Unset | None = field(
        default=UNSET, repr=redact
    )
    """The caller's own properties, flat, 4 KB in all."""


@frozen(kw_only=True, slots=False)
class InteractiveDataRef(Model):
    """Reference to a message, as Apple's passthrough webhook brings the reference."""

    url: str = field(repr=redact)
    bid: str
    key: str = field(repr=redact)
    signature: str = field(repr=redact)
    owner: str


@frozen(kw_only=True, slots=False)
class AppleMessageRef(Model):
    """Reference to a message of Apple Messages for Business."""

    interactive_data_ref: InteractiveDataRef


@frozen(kw_only=True, slots=False)
class DownloadMessageRefBody(Model):
    """The body of `Conversations.download_message_ref`."""

    user_id: str
    apple: AppleMessageRef | Unset = UNSET
    """The only channel that the service supports so far."""


@frozen(kw_only=True, slots=False)
class MetaConversionEvent(Model):
    """Events for Meta's Conversions API."""

    payload: Mapping[str, Any] = field(repr=redact)
    """``{"data": [event, …]}``, without ``user_data`` and ``messaging_channel``."""


@frozen(kw_only=True, slots=False)
class ConversionEventsBody(Model):
    """The body of `Conversations.post_conversion_events`: the field of the channel."""

    messenger: MetaConversionEvent | Unset = UNSET
    instagram: MetaConversionEvent | Unset = UNSET
    whatsapp: MetaConversionEvent | Unset = UNSET


@frozen(kw_only=True, slots=False)
class ConversionEvents(Model):
    """Events that Meta received."""

    dataset_id: str | None = None
    events_received: int | None = None
