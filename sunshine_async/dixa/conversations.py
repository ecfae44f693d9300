"""The conversations of an end user: eleven kinds, and whatever may come.

Match on `Conversation`::

    match conversation:
        case EmailConversation(subject=subject): ...
        case UnknownConversation(type=kind, extra=everything): ...
        case _: ...

A conversation without an *id* that can be read is an `UnknownConversation`, whatever its kind.
"""

from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from sunshine_async._codec.model import AS_TAG, Model, concealed
from sunshine_async.dixa.models import CustomAttribute, PaginationLinks


@frozen(kw_only=True, slots=False)
class Assignment(Model):
    """Which agent has a conversation."""

    agent_id: str | None = None
    assigned_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class Queue(Model):
    """Which queue a conversation is or was in."""

    id: str | None = None
    queued_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class BrowserInfo(Model):
    """What the end user wrote with."""

    name: str | None = None
    version: str | None = None
    ip_address: str | None = field(default=None, repr=concealed)
    originating_url: str | None = field(default=None, repr=concealed)


@frozen(kw_only=True, slots=False)
class _Link(Model):
    parent_id: int | None = None
    """The conversation that this one came from."""


@frozen(kw_only=True, slots=False)
class EmailForward(_Link):
    """It is another one, forwarded."""

    type: str = field(default="EmailForward", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class FollowUp(_Link):
    """It goes on with another one."""

    type: str = field(default="FollowUp", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class SideConversation(_Link):
    """It is held beside another one."""

    type: str = field(default="SideConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownLink(Model):
    """A link of a kind that came after this was written; all that it has is in *extra*."""

    type: str | None = field(default=None, metadata=AS_TAG)


ConversationLink: TypeAlias = EmailForward | FollowUp | SideConversation | UnknownLink
"""How a conversation came from another."""


@frozen(kw_only=True, slots=False)
class _Any(Model):
    """What every kind has."""

    id: int
    requester_id: str | None = None
    """The end user's id."""
    channel: str | None = None
    """Such as ``Email`` or ``WhatsApp``; the service may add others."""
    created_at: datetime | None = None
    direction: str | None = None
    """``Inbound``, ``Outbound`` or ``Internal``; the service may add others."""
    state: str | None = None
    """``Open``, ``Pending``, ``AwaitingPending`` or ``Closed``; the service may add others."""
    state_updated_at: datetime | None = None
    link: ConversationLink | None = None
    custom_attributes: list[CustomAttribute] | None = None
    """Not filled in lists."""
    transport_expires_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class _Handled(_Any):
    """What every kind has that isn't anonymized."""

    assignment: Assignment | None = None
    queue: Queue | None = None


@frozen(kw_only=True, slots=False)
class AnonymizedConversation(_Any):
    """What is left of a conversation whose end user was anonymized."""

    anonymized_at: datetime | None = None
    type: str = field(default="AnonymizedConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ChatConversation(_Handled):
    """A chat in the widget of a page."""

    browser_info: BrowserInfo | None = None
    language: str | None = None
    type: str = field(default="ChatConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ContactFormConversation(_Handled):
    """What came through a contact form."""

    from_email: str | None = field(default=None, repr=concealed)
    to_email: str | None = field(default=None, repr=concealed)
    integration_email: str | None = field(default=None, repr=concealed)
    language: str | None = None
    subject: str | None = field(default=None, repr=concealed)
    type: str = field(default="ContactFormConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class EmailConversation(_Handled):
    """A conversation by e-mail."""

    from_email: str | None = field(default=None, repr=concealed)
    to_email: str | None = field(default=None, repr=concealed)
    integration_email: str | None = field(default=None, repr=concealed)
    language: str | None = None
    subject: str | None = field(default=None, repr=concealed)
    type: str = field(default="EmailConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class FacebookMessengerConversation(_Handled):
    """A conversation on Facebook Messenger."""

    type: str = field(default="FacebookMessengerConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class GenericConversation(_Handled):
    """A conversation on a channel of the organization's own."""

    from_contact_point_id: str | None = field(default=None, repr=concealed)
    to_contact_point_id: str | None = field(default=None, repr=concealed)
    type: str = field(default="GenericConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class MessengerConversation(_Handled):
    """A conversation in the service's own messenger."""

    browser_info: BrowserInfo | None = None
    language: str | None = None
    type: str = field(default="MessengerConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class PstnPhoneConversation(_Handled):
    """A call by phone."""

    type: str = field(default="PstnPhoneConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class SmsConversation(_Handled):
    """A conversation by SMS."""

    from_number: str | None = field(default=None, repr=concealed)
    to_number: str | None = field(default=None, repr=concealed)
    type: str = field(default="SmsConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class TwitterConversation(_Handled):
    """A conversation on Twitter."""

    conversation_type: str | None = None
    """``DirectMessage`` or ``Tweet``; the service may add others."""
    contact_point_twitter_id: str | None = field(default=None, repr=concealed)
    end_user_twitter_id: str | None = field(default=None, repr=concealed)
    type: str = field(default="TwitterConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class WhatsAppConversation(_Handled):
    """A conversation on WhatsApp."""

    type: str = field(default="WhatsAppConversation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownConversation(Model):
    """A conversation without a readable id, or of a kind unknown here; *extra* has all its data."""

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
"""A conversation of an end user: match on its class."""


@frozen(kw_only=True, slots=False)
class ListEndUserConversationsOutput(Model):
    """A page of conversations, as it comes."""

    data: list[Conversation]
    meta: PaginationLinks | None = None
