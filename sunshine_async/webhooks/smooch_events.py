"""Events of Smooch v1.1 webhooks: flat objects, one object a delivery.

The service documents few payloads, and several triggers share a form. So a class stands for a form,
and `SMOOCH_EVENTS` names the class of each trigger. A key that isn't documented is in *extra*.
"""

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from sunshine_async._codec.model import AS_ID, Model, UnixTime, redact
from sunshine_async.smooch.messages import Action, Conversation, Message, Source
from sunshine_async.smooch.models import AppUser, Client


@frozen(kw_only=True, slots=False)
class SmoochApp(Model):
    """App of an event."""

    id: str | None = field(default=None, metadata=AS_ID)


@frozen(kw_only=True, slots=False)
class SmoochEvent(Model):
    """Event of v1.1 with the keys that every event may have.

    The class of triggers without a documented payload.
    """

    trigger: str
    app: SmoochApp | None = None
    version: str | None = None
    """``v1.1``."""
    app_user: AppUser | None = None
    """Only ids, unless the webhook has ``includeFullAppUser``."""
    conversation: Conversation | None = None
    client: Client | None = None
    """Present where the webhook has ``includeClient``."""
    timestamp: UnixTime | None = None
    """Present in some events."""


@frozen(kw_only=True, slots=False)
class SmoochMessageEvent(SmoochEvent):
    """``message:appUser``, ``message:appMaker``: new messages."""

    messages: list[Message] | None = None


@frozen(kw_only=True, slots=False)
class SmoochDestination(Model):
    """Channel that a message was delivered to."""

    type: str | None = None


@frozen(kw_only=True, slots=False)
class SmoochError(Model):
    """Reason of a failure."""

    code: str | None = None
    message: str | None = field(default=None, repr=redact)
    underlying_error: Mapping[str, Any] | None = field(default=None, repr=redact)
    """The channel's own error."""


@frozen(kw_only=True, slots=False)
class SmoochDeliveryEvent(SmoochEvent):
    """``message:delivery:…``, ``notification:delivery:…``: delivery of a message to a channel.

    The form of the notifications' events isn't documented (assumed: like the messages' events).
    """

    message: Message | None = None
    """Only the id."""
    destination: SmoochDestination | None = None
    is_final_event: bool | None = None
    error: SmoochError | None = None


@frozen(kw_only=True, slots=False)
class SmoochMergeEvent(SmoochEvent):
    """``merge:appUser``: users were merged."""

    surviving: AppUser | None = None
    discarded: list[AppUser] | None = None


@frozen(kw_only=True, slots=False)
class SmoochLinkEvent(SmoochEvent):
    """``link:success``, ``link:match``, ``link:failure``: link of a user to a channel."""

    channel: str | None = None
    criteria: Mapping[str, Any] | None = field(default=None, repr=redact)
    error: SmoochError | None = None


@frozen(kw_only=True, slots=False)
class SmoochReferral(Model):
    """Link that led a user to a conversation."""

    code: str | None = None
    details: Mapping[str, Any] | None = field(default=None, repr=redact)


@frozen(kw_only=True, slots=False)
class SmoochConversationEvent(SmoochEvent):
    """``conversation:start``, ``conversation:read``, ``conversation:referral``."""

    source: Source | None = None
    referral: SmoochReferral | None = None


@frozen(kw_only=True, slots=False)
class SmoochPostback(Model):
    """Button that a user has pressed."""

    message: Message | None = None
    action: Action | None = None


@frozen(kw_only=True, slots=False)
class SmoochPostbackEvent(SmoochEvent):
    """``postback``: a user has pressed a button."""

    postbacks: list[SmoochPostback] | None = None


@frozen(kw_only=True, slots=False)
class SmoochPaymentEvent(SmoochEvent):
    """``payment:success``: a user has paid."""

    payments: list[Mapping[str, Any]] | None = field(default=None, repr=redact)


SMOOCH_EVENTS: Final[Mapping[str, type[SmoochEvent]]] = {
    "appUser:delete": SmoochEvent,
    "client:add": SmoochEvent,
    "client:remove": SmoochEvent,
    "conversation:read": SmoochConversationEvent,
    "conversation:referral": SmoochConversationEvent,
    "conversation:start": SmoochConversationEvent,
    "link:failure": SmoochLinkEvent,
    "link:match": SmoochLinkEvent,
    "link:success": SmoochLinkEvent,
    "merge:appUser": SmoochMergeEvent,
    "message:appMaker": SmoochMessageEvent,
    "message:appUser": SmoochMessageEvent,
    "message:delivery:channel": SmoochDeliveryEvent,
    "message:delivery:failure": SmoochDeliveryEvent,
    "message:delivery:user": SmoochDeliveryEvent,
    "notification:delivery:channel": SmoochDeliveryEvent,
    "notification:delivery:failure": SmoochDeliveryEvent,
    "notification:delivery:user": SmoochDeliveryEvent,
    "payment:success": SmoochPaymentEvent,
    "postback": SmoochPostbackEvent,
    "typing:appUser": SmoochEvent,
}
"""All triggers of v1.1."""
