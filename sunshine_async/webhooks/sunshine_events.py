"""Events of Sunshine Conversations v2 webhooks: one class a trigger, each with a payload.

An event's class has the name of the service's schema: `ConversationMessage` is the event
``conversation:message``. `SUNSHINE_EVENTS` names the class of each trigger. ``passthrough:messaging``
has no schema, and is an `UnknownEvent`.

A user in a payload has only ids, unless the webhook has ``includeFullUser``. Unknown keys are in
*extra*.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from attrs import frozen

from sunshine_async._codec.model import Model
from sunshine_async.webhooks.sunshine_payloads import (
    ActivityPayload,
    ClientPayload,
    ConversationCreatePayload,
    ConversationMessageDeliveryPayload,
    ConversationMessagePayload,
    ConversationPayload,
    ConversationPostbackPayload,
    ConversationReferralPayload,
    ParticipantPayload,
    SwitchboardPayload,
    UserMergePayload,
    UserPayload,
)


@frozen(kw_only=True, slots=False)
class SunshineEvent(Model):
    """Event of v2; every event also has a *payload*."""

    id: str
    type: str
    """The trigger."""
    created_at: datetime | None = None


@frozen(kw_only=True, slots=False)
class ClientAdd(SunshineEvent):
    """``client:add``: a client was added to a user."""

    payload: ClientPayload


@frozen(kw_only=True, slots=False)
class ClientRemove(SunshineEvent):
    """``client:remove``: a client of a user was removed."""

    payload: ClientPayload


@frozen(kw_only=True, slots=False)
class ClientUpdate(SunshineEvent):
    """``client:update``: a client of a user has changed."""

    payload: ClientPayload


@frozen(kw_only=True, slots=False)
class ConversationCreate(SunshineEvent):
    """``conversation:create``: a conversation was created."""

    payload: ConversationCreatePayload


@frozen(kw_only=True, slots=False)
class ConversationJoin(SunshineEvent):
    """``conversation:join``: a user has joined a group conversation."""

    payload: ParticipantPayload


@frozen(kw_only=True, slots=False)
class ConversationLeave(SunshineEvent):
    """``conversation:leave``: a user has left a group conversation."""

    payload: ParticipantPayload


@frozen(kw_only=True, slots=False)
class ConversationRemove(SunshineEvent):
    """``conversation:remove``: a conversation was removed."""

    payload: ConversationPayload


@frozen(kw_only=True, slots=False)
class ConversationMessageDeliveryChannel(SunshineEvent):
    """``conversation:message:delivery:channel``: a channel has accepted a message."""

    payload: ConversationMessageDeliveryPayload


@frozen(kw_only=True, slots=False)
class ConversationMessageDeliveryFailure(SunshineEvent):
    """``conversation:message:delivery:failure``: a message wasn't delivered."""

    payload: ConversationMessageDeliveryPayload


@frozen(kw_only=True, slots=False)
class ConversationMessageDeliveryUser(SunshineEvent):
    """``conversation:message:delivery:user``: a message has reached the user."""

    payload: ConversationMessageDeliveryPayload


@frozen(kw_only=True, slots=False)
class ConversationMessage(SunshineEvent):
    """``conversation:message``: a message was sent, by a user or by the business."""

    payload: ConversationMessagePayload


@frozen(kw_only=True, slots=False)
class ConversationPostback(SunshineEvent):
    """``conversation:postback``: a user has pressed a button."""

    payload: ConversationPostbackPayload


@frozen(kw_only=True, slots=False)
class ConversationRead(SunshineEvent):
    """``conversation:read``: a conversation was read."""

    payload: ActivityPayload


@frozen(kw_only=True, slots=False)
class ConversationReferral(SunshineEvent):
    """``conversation:referral``: a user was referred to a conversation."""

    payload: ConversationReferralPayload


@frozen(kw_only=True, slots=False)
class ConversationTyping(SunshineEvent):
    """``conversation:typing``: a participant has begun or stopped to type."""

    payload: ActivityPayload


@frozen(kw_only=True, slots=False)
class SwitchboardAcceptControl(SunshineEvent):
    """``switchboard:acceptControl``: control of a conversation was accepted."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardAcceptControlFailure(SunshineEvent):
    """``switchboard:acceptControl:failure``: control wasn't accepted."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardOfferControl(SunshineEvent):
    """``switchboard:offerControl``: control of a conversation was offered."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardOfferControlFailure(SunshineEvent):
    """``switchboard:offerControl:failure``: control wasn't offered."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardPassControl(SunshineEvent):
    """``switchboard:passControl``: control of a conversation was passed."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardPassControlFailure(SunshineEvent):
    """``switchboard:passControl:failure``: control wasn't passed."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class SwitchboardReleaseControl(SunshineEvent):
    """``switchboard:releaseControl``: control of a conversation was released."""

    payload: SwitchboardPayload


@frozen(kw_only=True, slots=False)
class UserMerge(SunshineEvent):
    """``user:merge``: two users were merged."""

    payload: UserMergePayload


@frozen(kw_only=True, slots=False)
class UserUpdate(SunshineEvent):
    """``user:update``: a user has changed."""

    payload: UserPayload


@frozen(kw_only=True, slots=False)
class UserRemove(SunshineEvent):
    """``user:remove``: a user was removed."""

    payload: UserPayload


SUNSHINE_EVENTS: Final[Mapping[str, type[SunshineEvent]]] = {
    "client:add": ClientAdd,
    "client:remove": ClientRemove,
    "client:update": ClientUpdate,
    "conversation:create": ConversationCreate,
    "conversation:join": ConversationJoin,
    "conversation:leave": ConversationLeave,
    "conversation:remove": ConversationRemove,
    "conversation:message:delivery:channel": ConversationMessageDeliveryChannel,
    "conversation:message:delivery:failure": ConversationMessageDeliveryFailure,
    "conversation:message:delivery:user": ConversationMessageDeliveryUser,
    "conversation:message": ConversationMessage,
    "conversation:postback": ConversationPostback,
    "conversation:read": ConversationRead,
    "conversation:referral": ConversationReferral,
    "conversation:typing": ConversationTyping,
    "switchboard:acceptControl": SwitchboardAcceptControl,
    "switchboard:acceptControl:failure": SwitchboardAcceptControlFailure,
    "switchboard:offerControl": SwitchboardOfferControl,
    "switchboard:offerControl:failure": SwitchboardOfferControlFailure,
    "switchboard:passControl": SwitchboardPassControl,
    "switchboard:passControl:failure": SwitchboardPassControlFailure,
    "switchboard:releaseControl": SwitchboardReleaseControl,
    "user:merge": UserMerge,
    "user:update": UserUpdate,
    "user:remove": UserRemove,
}
"""All triggers with a schema."""
