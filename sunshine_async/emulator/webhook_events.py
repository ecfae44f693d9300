"""Events of webhooks: changes of the platform, in the format of v2, v1.1 and Dixa.

Assumed, where the references are silent:

- A refused call has no event, so the emulator itself sends no ``switchboard:...:failure``.
- A conversation in an event is the conversation after the change.
- The participants at the beginning of a group conversation have no ``conversation:join``. The
  conversations that go with a user have no ``conversation:remove``.
- The link of a client is ``client:add`` with the reason ``channelLinking``; an immediate
  confirmation follows as ``client:update``. A client of the SDK is added with ``sdkLogin``.
- An update of a user by the API has no event: the reasons of ``user:update`` are others.
- An integration that isn't part of the switchboard receives the events of every conversation.
- The emulator knows no client and no device of a source, so ``includeFullSource`` changes nothing.
- The author of a message or activity has name, picture and subtypes too, as in the API.
- v1.1: `V1_EVENTS`; the first participant of a conversation is the user of the event. A message has
  the keys of v2's content; missing texts are empty, and the business has the id ``business``. The
  client is always there, as with ``includeClient``.
- Dixa: a stored conversation is ``CONVERSATION_CREATED``; of a number the conversation's ``csid``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, Final, cast

from attrs import field, frozen

from sunshine_async.emulator.fields import JsonObject, format_time, omit, pick, without_none
from sunshine_async.emulator.records import ONLY_V2, Record

TRIGGERS: Final[Mapping[str, tuple[str, ...]]] = {
    "sunshine": (
        "client:add", "client:remove", "client:update", "conversation:create",
        "conversation:join", "conversation:leave", "conversation:message",
        "conversation:message:delivery:channel", "conversation:message:delivery:failure",
        "conversation:message:delivery:user", "conversation:postback", "conversation:read",
        "conversation:referral", "conversation:remove", "conversation:typing",
        "passthrough:messaging", "switchboard:acceptControl", "switchboard:acceptControl:failure",
        "switchboard:offerControl", "switchboard:offerControl:failure", "switchboard:passControl",
        "switchboard:passControl:failure", "switchboard:releaseControl", "user:merge",
        "user:remove", "user:update",
    ),
    "smooch": (
        "appUser:delete", "client:add", "client:remove", "conversation:read",
        "conversation:referral", "conversation:start", "link:failure", "link:match",
        "link:success", "merge:appUser", "message:appMaker", "message:appUser",
        "message:delivery:channel", "message:delivery:failure", "message:delivery:user",
        "notification:delivery:channel", "notification:delivery:failure",
        "notification:delivery:user", "payment:success", "postback", "typing:appUser",
    ),
    "dixa": ("CONVERSATION_CREATED",),
}  # fmt: skip
"""The triggers of a webhook that names none, by service."""
_USER_PATHS: Final = (
    ("user",),
    ("message", "author", "user"),
    ("activity", "author", "user"),
    ("mergedUsers", "surviving"),
    ("mergedUsers", "discarded"),
)
"""The places of a user in a payload."""
_ALWAYS_SHORT: Final = frozenset({
    "client:add", "client:remove", "client:update", "conversation:join", "conversation:leave",
    "user:remove",
})  # fmt: skip
_SHORT: Final = ("id", "externalId", "zendeskId", "authenticated", "brandId")


@frozen(kw_only=True)
class PlatformEvent:
    """Change of an app that has a trigger, with whole users in the *payload*."""

    app_id: str
    id: str
    type: str
    payload: JsonObject = field(repr=False)
    record: Record | None = field(default=None, repr=False)
    """The user of the event in v1.1."""
    created_at: str = field(factory=format_time)

    def v2(self, *, full_user: bool = False) -> JsonObject:
        """Return the event in the format of v2; *full_user*: with whole users."""
        payload = self.payload
        if not full_user or self.type in _ALWAYS_SHORT:
            for path in _USER_PATHS:
                payload = _with_short_user(payload, path)
        return {
            "id": self.id,
            "type": self.type,
            "createdAt": self.created_at,
            "payload": payload,
        }

    def v1(self, *, full_user: bool = False) -> Iterator[JsonObject]:
        """Yield the events of v1.1 that the change has, if any."""
        for trigger, extra in V1_EVENTS.get(self.type, _no_v1_events)(self):
            shown = {} if self.record is None else {"appUser": v1_user(self.record, full_user)}
            conversation = self.payload.get("conversation")
            if conversation is not None:
                shown["conversation"] = {"_id": conversation["id"]}
            yield {**v1_envelope(self), "trigger": trigger, **shown, **extra}

    @cached_property
    def active_integration(self) -> str | None:
        """The integration that controls the conversation; None: there is none."""
        active = self.payload.get("conversation", {}).get("activeSwitchboardIntegration", {})
        return cast("str | None", active.get("integrationId"))


def v1_envelope(event: PlatformEvent) -> JsonObject:
    """Return the keys that every event of v1.1 has."""
    return {
        "trigger": event.type,
        "app": {"_id": event.app_id},
        "version": "v1.1",
        "timestamp": _seconds(event.created_at),
    }


def v1_user(record: Record, full: bool) -> JsonObject:  # noqa: FBT001 - one of two forms
    """Return a user as in an event of v1.1: whole, or truncated."""
    ids = {"_id": record.id, "userId": record.user.get("externalId")}
    more: JsonObject = {}
    if full:
        profile = omit(record.user["profile"], *ONLY_V2)
        more = {**profile, **pick(record.user, "signedUpAt"), "properties": record.user["metadata"]}
    started = bool(record.conversations)
    return without_none({**ids, **more, "conversationStarted": started})


def _with_short_user(payload: JsonObject, path: tuple[str, ...]) -> JsonObject:
    name, *rest = path
    value = payload.get(name)
    if not isinstance(value, dict):
        return payload
    inner = cast("JsonObject", value)
    short = _with_short_user(inner, tuple(rest)) if rest else pick(inner, *_SHORT)
    return {**payload, name: short}


def _seconds(time: str) -> float:
    return round(datetime.fromisoformat(time).timestamp(), 3)


_V1Events = Iterator[tuple[str, JsonObject]]


def _no_v1_events(_: PlatformEvent) -> _V1Events:
    return iter(())


def _v1_source(holder: Mapping[str, Any]) -> JsonObject:
    """Return the source of a message or an event as in v1.1."""
    kind = holder["source"]["type"]
    return {"type": "api" if kind.startswith("api:") else kind}


def v1_message(message: Mapping[str, Any]) -> JsonObject:
    """Return a v2 *message* in the format of v1.1, with all fields that v1.1 requires."""
    author = message["author"]
    return {
        "_id": message["id"],
        "role": "appUser" if author["type"] == "user" else "appMaker",
        "authorId": author.get("userId", "business"),
        "name": author.get("displayName", ""),
        "avatarUrl": author.get("avatarUrl", ""),
        "text": "",
        **message["content"],
        "received": _seconds(message["received"]),
        "source": _v1_source(message),
        **pick(message, "metadata"),
    }


def _message(event: PlatformEvent) -> _V1Events:
    shown = v1_message(event.payload["message"])
    yield f"message:{shown['role']}", {"messages": [shown]}


def _create(event: PlatformEvent) -> _V1Events:
    if event.record is not None:
        yield "conversation:start", {"source": _v1_source(event.payload)}


def _read(event: PlatformEvent) -> _V1Events:
    if event.payload["activity"]["author"]["type"] == "user":
        yield "conversation:read", {"source": {"type": "api"}}


def _client(event: PlatformEvent) -> _V1Events:
    client = event.payload["client"]
    shown = {"_id": client["id"], "platform": client.get("type"), **omit(client, "id", "type")}
    yield event.type, {"client": shown}


def _confirm(event: PlatformEvent) -> _V1Events:
    yield "link:success", {"channel": event.payload["client"]["type"], "criteria": {}}


def _remove_user(_: PlatformEvent) -> _V1Events:
    yield "appUser:delete", {}


def _merge(event: PlatformEvent) -> _V1Events:
    users = event.payload["mergedUsers"]
    surviving, discarded = (
        without_none({"_id": users[name]["id"], "userId": users[name].get("externalId")})
        for name in ("surviving", "discarded")
    )
    yield "merge:appUser", {"surviving": surviving, "discarded": [discarded]}


V1_EVENTS: Final[Mapping[str, Callable[[PlatformEvent], _V1Events]]] = {
    "client:add": _client,
    "client:remove": _client,
    "client:update": _confirm,
    "conversation:create": _create,
    "conversation:message": _message,
    "conversation:read": _read,
    "user:merge": _merge,
    "user:remove": _remove_user,
}
"""The events of v1.1 by trigger of v2; a trigger not listed has no event of v1.1."""


@frozen(kw_only=True)
class WebhookTarget:
    """Webhook of a service as the sender needs the webhook."""

    service: str
    id: str
    url: str
    secret: str = field(repr=False)
    app_id: str = ""


@frozen(kw_only=True)
class OutgoingEvent:
    """Event for one webhook, in the format of the service."""

    target: WebhookTarget
    id: str
    data: JsonObject = field(repr=False)


def platform_events(
    event: PlatformEvent, webhooks: Iterable[tuple[str, JsonObject]], standby: frozenset[str]
) -> Iterator[OutgoingEvent]:
    """Yield *event* for each of the *webhooks* that has the trigger.

    A webhook comes with the id of the integration, or empty for v1.1. The integrations in *standby*
    receive only events of conversations in the control of that integration, or of none.
    """
    for integration_id, webhook in webhooks:
        if not integration_id:
            full_user = webhook.get("includeFullAppUser", False)
            for data in event.v1(full_user=full_user):
                if data["trigger"] in webhook["triggers"]:
                    yield _outgoing("smooch", event, webhook, data)
        elif event.type in webhook["triggers"] and (
            integration_id not in standby or event.active_integration in (None, integration_id)
        ):
            data = event.v2(full_user=webhook.get("includeFullUser", False))
            yield _outgoing("sunshine", event, webhook, data)


def single_event(
    service: str, event: PlatformEvent, webhooks: Iterable[Mapping[str, Any]]
) -> Iterator[OutgoingEvent]:
    """Yield an *event* of one *service* alone for each of the *webhooks* that has the trigger."""
    if service == "sunshine":
        data = event.v2(full_user=True)
    elif service == "smooch":
        data = {**v1_envelope(event), **event.payload}
    else:
        data = {
            "event_id": event.id,
            "event_fqn": event.type,
            "event_version": "1",
            "event_timestamp": event.created_at,
            "organization": {"id": "emulator", "name": "Emulator"},
            "data": event.payload,
        }
    for webhook in webhooks:
        if event.type in webhook["triggers"]:
            yield _outgoing(service, event, webhook, data)


def _outgoing(
    service: str, event: PlatformEvent, webhook: Mapping[str, Any], data: JsonObject
) -> OutgoingEvent:
    target = WebhookTarget(
        service=service,
        id=webhook["id"],
        url=webhook["target"],
        secret=webhook["secret"],
        app_id=event.app_id,
    )
    return OutgoingEvent(target=target, id=event.id, data=data)
