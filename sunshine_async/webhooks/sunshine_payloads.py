"""Payloads of the events of Sunshine Conversations v2, and the values inside.

A payload's required fields are the fields without which an event has no use. An event that lacks
such a field is an `UnknownEvent`. Every other field may be absent, and reads as None.
"""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sunshine_async._codec.model import Model, redact
from sunshine_async.sunshine.clients import Client
from sunshine_async.sunshine.conversation_models import ConversationTruncated
from sunshine_async.sunshine.message_models import Author, Message, Source
from sunshine_async.sunshine.models import User


@frozen(kw_only=True, slots=False)
class AuthorWebhook(Author):
    """Author of a message or an activity, with the user."""

    user: User | None = None
    """Present for an author of the type ``user``."""


@frozen(kw_only=True, slots=False)
class Campaign(Model):
    """Campaign that a user interacted with."""

    id: str | None = None


@frozen(kw_only=True, slots=False)
class SourceWithCampaignWebhook(Source):
    """Source of an event, with the campaign if there is one."""

    campaign: Campaign | None = None


@frozen(kw_only=True, slots=False)
class MessageWebhook(Message):
    """Message of an event."""

    author: AuthorWebhook | None = None
    source: SourceWithCampaignWebhook | None = None


@frozen(kw_only=True, slots=False)
class ConversationActivity(Model):
    """Activity in a conversation: ``conversation:read``, ``typing:start`` or ``typing:stop``."""

    type: str | None = None
    source: Source | None = None
    author: AuthorWebhook | None = None


@frozen(kw_only=True, slots=False)
class PostbackWebhook(Model):
    """Button that a user has pressed."""

    payload: str | None = field(default=None, repr=redact)
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class ReferralDetails(Model):
    """Details of a referral."""

    source: str | None = None
    """Such as ``MESSENGER_CODE``."""
    type: str | None = None
    ad_id: str | None = None


@frozen(kw_only=True, slots=False)
class Referral(Model):
    """Link or advertisement that led a user to a conversation."""

    code: str | None = None
    details: ReferralDetails | None = None


@frozen(kw_only=True, slots=False)
class EventError(Model):
    """Reason of a failure."""

    code: str | None = None
    message: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class ConversationPayload(Model):
    """Payload of an event of a conversation."""

    conversation: ConversationTruncated


@frozen(kw_only=True, slots=False)
class ParticipantPayload(ConversationPayload):
    """Payload with a user of a conversation."""

    user: User | None = None


@frozen(kw_only=True, slots=False)
class ConversationMessagePayload(ConversationPayload):
    """Payload of `ConversationMessage`."""

    message: MessageWebhook
    recent_notifications: list[MessageWebhook] | None = None
    """Notifications sent to the user before this message."""


@frozen(kw_only=True, slots=False)
class ConversationPostbackPayload(ParticipantPayload):
    """Payload of `ConversationPostback`."""

    postback: PostbackWebhook | None = None
    source: SourceWithCampaignWebhook | None = None


@frozen(kw_only=True, slots=False)
class ConversationCreatePayload(ParticipantPayload):
    """Payload of `ConversationCreate`; a group conversation has no user."""

    creation_reason: str | None = None
    """Such as ``message`` or ``startConversation``; the service may add values."""
    source: SourceWithCampaignWebhook | None = None
    referral: Referral | None = None


@frozen(kw_only=True, slots=False)
class ConversationReferralPayload(ParticipantPayload):
    """Payload of `ConversationReferral`."""

    source: SourceWithCampaignWebhook | None = None
    referral: Referral | None = None


@frozen(kw_only=True, slots=False)
class ActivityPayload(ConversationPayload):
    """Payload of `ConversationRead` and `ConversationTyping`."""

    activity: ConversationActivity | None = None


@frozen(kw_only=True, slots=False)
class MessageId(Model):
    """Message of which only the id is known."""

    id: str | None = None


@frozen(kw_only=True, slots=False)
class DeliveryDestination(Model):
    """Channel that a message was delivered to."""

    type: str | None = None
    integration_id: str | None = None


@frozen(kw_only=True, slots=False)
class ConversationMessageDeliveryPayload(ParticipantPayload):
    """Payload of the events of a message's delivery to a channel."""

    message: MessageId | None = None
    destination: DeliveryDestination | None = None
    external_messages: list[MessageId] | None = None
    """The ids of the messages on the channel."""
    is_final_event: bool | None = None
    """True for the last event of this message and destination."""
    error: EventError | None = None
    """In `ConversationMessageDeliveryFailure`."""


@frozen(kw_only=True, slots=False)
class ClientPayload(Model):
    """Payload of `ClientAdd`, `ClientRemove` and `ClientUpdate`."""

    conversation: ConversationTruncated | None = None
    user: User | None = None
    client: Client | None = None
    reason: str | None = None
    """Such as ``channelLinking``, ``sdkLogin`` or ``blocked``; the service may add values."""
    source: Source | None = None
    error: Mapping[str, Any] | None = field(default=None, repr=redact)
    """Of a client that was removed after a failed or cancelled link."""


@frozen(kw_only=True, slots=False)
class SwitchboardPayload(ConversationPayload):
    """Payload of the switchboard's events."""

    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    reason: str | None = None
    """``ticketClosed`` or ``transferToEmail``, where control was passed or released."""
    error: EventError | None = None
    """In events of a failure."""


@frozen(kw_only=True, slots=False)
class UserPayload(Model):
    """Payload of `UserUpdate` and `UserRemove`."""

    user: User | None = None
    reason: str | None = None
    """``authentication`` or ``localeDetection``; the service may add values."""
    source: Source | None = None


@frozen(kw_only=True, slots=False)
class MergedUsers(Model):
    """Users of a merge."""

    surviving: User | None = None
    discarded: User | None = None


@frozen(kw_only=True, slots=False)
class MergedConversations(Model):
    """Conversations of a merge."""

    surviving: ConversationTruncated | None = None
    discarded: ConversationTruncated | None = None


@frozen(kw_only=True, slots=False)
class MergedClients(Model):
    """Clients of a merge."""

    surviving: Client | None = None
    discarded: Client | None = None


@frozen(kw_only=True, slots=False)
class UserMergePayload(Model):
    """Payload of `UserMerge`."""

    merged_users: MergedUsers | None = None
    merged_conversations: MergedConversations | None = None
    merged_clients: MergedClients | None = None
    discarded_metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    """Properties that had no room in the surviving user."""
    reason: str | None = None
    """``api``, ``channelLinking`` or ``sdkLogin``; the service may add values."""
