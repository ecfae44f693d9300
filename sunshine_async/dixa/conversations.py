"""Conversations of an end user: eleven kinds, and a class for unknown kinds.

Match on `Conversation`::

    match conversation:
        case EmailConversation(subject=subject): ...
        case UnknownConversation(type=kind, extra=everything): ...
        case _: ...

A conversation without a readable *id* is an `UnknownConversation`, of any kind.
"""

from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from sunshine_async._codec.model import AS_TAG, Model, redact
from sunshine_async.dixa.models import CustomAttribute, PaginationLinks


@frozen(kw_only=True, slots=False)
class Assignment(Model):
    """Assignment of a conversation to an agent."""

    agent_id: str | None = None
    assigned_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class Queue(Model):
    """Queue that a conversation is or was in."""

    id: str | None = None
    queued_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class BrowserInfo(Model):
    """Browser of the end user."""

    name: str | None = None
    version: str | None = None
    ip_address: str | None = field(default=None, repr=redact)
    originating_url: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class _Link(Model):
    parent_id: int | None = None
    """Id of the conversation that this conversation came from."""


@frozen(kw_only=True, slots=False)
class EmailForward(_Link):
    """Link: a conversation was forwarded."""

    type: str = field(default="EmailForward", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class FollowUp(_Link):
    """Link: an earlier conversation continues."""

    type: str = field(default="FollowUp", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class SideConversation(_Link):
    """Link: a conversation runs in parallel."""

    type: str = field(default="SideConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownLink(Model):
    """Link of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TAG)


ConversationLink: TypeAlias = EmailForward | FollowUp | SideConversation | UnknownLink


@frozen(kw_only=True, slots=False)
class _Common(Model):
    id: int
    requester_id: str | None = None
    """Id of the end user."""
    channel: str | None = None
    """Such as ``Email`` or ``WhatsApp``; the service may add kinds."""
    created_at: datetime | None = None
    direction: str | None = None
    """``Inbound``, ``Outbound`` or ``Internal``; the service may add values."""
    state: str | None = None
    """``Open``, ``Pending``, ``AwaitingPending`` or ``Closed``; the service may add values."""
    state_updated_at: datetime | None = None
    link: ConversationLink | None = None
    custom_attributes: list[CustomAttribute] | None = None
    """Not filled in lists."""
    transport_expires_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class _Assigned(_Common):
    assignment: Assignment | None = None
    queue: Queue | None = None


@frozen(kw_only=True, slots=False)
class _WithBrowser(_Assigned):
    browser_info: BrowserInfo | None = None
    language: str | None = None


@frozen(kw_only=True, slots=False)
class _WithEmails(_Assigned):
    from_email: str | None = field(default=None, repr=redact)
    to_email: str | None = field(default=None, repr=redact)
    integration_email: str | None = field(default=None, repr=redact)
    language: str | None = None
    subject: str | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class AnonymizedConversation(_Common):
    """Remainder of a conversation after the anonymization of the end user."""

    anonymized_at: datetime | None = None
    type: str = field(default="AnonymizedConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ChatConversation(_WithBrowser):
    """Chat in the widget of a web page."""

    type: str = field(default="ChatConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ContactFormConversation(_WithEmails):
    """Message through a contact form."""

    type: str = field(default="ContactFormConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class EmailConversation(_WithEmails):
    """Conversation by e-mail."""

    type: str = field(default="EmailConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class FacebookMessengerConversation(_Assigned):
    """Conversation on Facebook Messenger."""

    type: str = field(default="FacebookMessengerConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class GenericConversation(_Assigned):
    """Conversation on the organization's own channel."""

    from_contact_point_id: str | None = field(default=None, repr=redact)
    to_contact_point_id: str | None = field(default=None, repr=redact)
    type: str = field(default="GenericConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class MessengerConversation(_WithBrowser):
    """Conversation in the service's own messenger."""

    type: str = field(default="MessengerConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class PstnPhoneConversation(_Assigned):
    """Phone call."""

    type: str = field(default="PstnPhoneConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class SmsConversation(_Assigned):
    """Conversation by SMS."""

    from_number: str | None = field(default=None, repr=redact)
    to_number: str | None = field(default=None, repr=redact)
    type: str = field(default="SmsConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class TwitterConversation(_Assigned):
    """Conversation on Twitter."""

    conversation_type: str | None = None
    """``DirectMessage`` or ``Tweet``; the service may add values."""
    contact_point_twitter_id: str | None = field(default=None, repr=redact)
    end_user_twitter_id: str | None = field(default=None, repr=redact)
    type: str = field(default="TwitterConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class WhatsAppConversation(_Assigned):
    """Conversation on WhatsApp."""

    type: str = field(default="WhatsAppConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownConversation(Model):
    """Conversation without a readable id, or of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TAG)


Conversation: TypeAlias = (
    AnonymizedConversation
    | ChatConversation
    | ContactFormConversation
    | EmailConversation
    | FacebookMessengerConversation
    | GenericConversation
    | MessengerConversation
    | PstnPhoneConversation
    | SmsConversation
    | TwitterConversation
    | WhatsAppConversation
    | UnknownConversation
)


@frozen(kw_only=True, slots=False)
class ListEndUserConversationsOutput(Model):
    """Page of conversations, as the service sends the page."""

    data: list[Conversation]
    meta: PaginationLinks | None = None
