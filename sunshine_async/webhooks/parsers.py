"""Parsers of the three services' deliveries. Pure: only the default of *now* reads the clock."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest, new
from typing import Any, Final, cast

from attrs import field, frozen

from sunshine_async._codec import Misfit, structure
from sunshine_async._codec.model import WIRE, Model, redact
from sunshine_async._pace.settings import check_kinds
from sunshine_async.errors import ConfigurationError, WebhookError
from sunshine_async.sunshine.message_models import Message
from sunshine_async.sunshine.once import MARK, EchoKey
from sunshine_async.webhooks.deliveries import (
    Event,
    RawDelivery,
    RawEvent,
    Secret,
    WebhookParser,
    hash_id,
    header_bytes,
    id_inside,
    inside,
    refused,
    seconds_inside,
    to_body,
)
from sunshine_async.webhooks.smooch_events import SMOOCH_EVENTS
from sunshine_async.webhooks.sunshine_events import SUNSHINE_EVENTS

_API_SOURCES: Final = ("api", "api:conversations")
"""Types of source of a message that an API call has sent (seen in public code)."""
_CLOCK: Final = {"advice": "If the service has sent it just now, check this machine's clock"}
_LONGEST_TIME: Final = 15  # digits of milliseconds


class SunshineWebhooks(WebhookParser):
    """Parser of Sunshine Conversations v2: the header ``X-API-Key`` has the webhook's secret.

    The service signs no time, so only the events' ids tell a repeated delivery.
    """

    EVENTS = SUNSHINE_EVENTS

    def is_own(self, event: RawEvent, integration_id: str | None) -> bool:
        payload = inside(event.data, "payload")
        thing = inside(payload, "message") or inside(payload, "activity")
        by_business = inside(thing, "author", "type") == "business"
        return by_business and _is_ours(inside(thing, "source"), integration_id)

    def echo(self, event: RawEvent) -> tuple[EchoKey, Message] | None:
        """Return key and message of a business message that was sent with ``once=``."""
        message = inside(event.data, "payload", "message")
        mark = inside(message, "metadata", MARK)
        if event.conversation_id is None or not isinstance(mark, str):
            return None
        try:
            return (event.conversation_id, mark), structure(message, Message)
        except Misfit:
            return None

    def is_standby(self, event: RawEvent, integration_id: str) -> bool:
        """Return True if another integration is active, and this one isn't offered control.

        Events of the switchboard itself are never standby events.
        """
        conversation = inside(event.data, "payload", "conversation")
        active, pending = (
            id_inside(conversation, f"{state}SwitchboardIntegration", "integrationId")
            for state in ("active", "pending")
        )
        return (
            active not in (None, integration_id)
            and pending != integration_id
            and not event.type.startswith("switchboard:")
        )

    def _delivery(self, data: Any, body: bytes, headers: Mapping[str, str]) -> RawDelivery:  # noqa: ARG002
        events = inside(data, "events")
        if not isinstance(events, list):
            reason = "no list of events"
            if inside(data, "trigger"):
                reason += ", but an event of v1.1: use SmoochWebhooks, or a webhook of version v2"
            raise Misfit(reason)
        app_id = id_inside(data, "app", "id")
        raw = [_sunshine_event(event, app_id) for event in _items(events)]
        return RawDelivery(app_id, id_inside(data, "webhook", "id"), raw)


def _sunshine_event(event: Any, app_id: str | None) -> RawEvent:
    body = to_body(event)
    kind = inside(event, "type")
    return RawEvent(
        id_inside(event, "id") or hash_id(body),
        kind if isinstance(kind, str) else "",
        event,
        body,
        conversation_id=id_inside(event, "payload", "conversation", "id"),
        created_at=seconds_inside(event, "createdAt"),
        app_id=app_id,
    )


class SmoochWebhooks(WebhookParser):
    """Parser of Smooch v1.1: the header ``X-API-Key`` has the webhook's secret.

    A delivery is one event, without an id. The substitute (assumed to be equal in each delivery of
    the same event) is the trigger with the ids of the messages, or else a hash of the body.
    """

    EVENTS = SMOOCH_EVENTS

    def is_own(self, event: RawEvent, integration_id: str | None) -> bool:
        messages = _items(inside(event.data, "messages"))
        return event.type == "message:appMaker" and any(
            _is_ours(inside(message, "source"), integration_id) for message in messages
        )

    def _delivery(self, data: Any, body: bytes, headers: Mapping[str, str]) -> RawDelivery:  # noqa: ARG002
        trigger = inside(data, "trigger")
        if not isinstance(trigger, str):
            reason = "no trigger"
            if inside(data, "events"):
                reason += ", but events of v2: use SunshineWebhooks, or a webhook of version v1.1"
            raise Misfit(reason)
        messages = _items(inside(data, "messages"))
        ids = [id_inside(message, "_id") for message in messages]
        known = [found for found in ids if found is not None]
        app_id = id_inside(data, "app", "_id")
        event = RawEvent(
            " ".join((trigger, *known)) if known and len(known) == len(ids) else hash_id(body),
            trigger,
            data,
            to_body(data),
            conversation_id=id_inside(data, "conversation", "_id"),
            created_at=seconds_inside(data, "timestamp")
            or next((seconds_inside(message, "received") for message in messages), None),
            app_id=app_id,
        )
        return RawDelivery(app_id, None, [event])


def _is_ours(source: Any, integration_id: str | None) -> bool:
    """Return True for the source of a message that the API, or this integration, has sent."""
    given = id_inside(source, "integrationId")
    return inside(source, "type") in _API_SOURCES or (given is not None and given == integration_id)


def _items(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


@frozen(kw_only=True, slots=False)
class DixaOrganization(Model):
    """Organization that an event comes from."""

    id: str | None = None
    name: str | None = None


@frozen(kw_only=True, slots=False)
class DixaEvent(Model):
    """Event of Dixa. The form of *data* depends on *event_fqn*, and isn't specified."""

    event_id: str = field(metadata={WIRE: "event_id"})
    event_fqn: str = field(metadata={WIRE: "event_fqn"})
    """The trigger, such as ``CONVERSATION_NOTE_ADDED``."""
    event_version: str | None = field(default=None, metadata={WIRE: "event_version"})
    event_timestamp: datetime | None = field(default=None, metadata={WIRE: "event_timestamp"})
    organization: DixaOrganization | None = None
    data: Mapping[str, Any] | None = field(default=None, repr=redact)


class DixaWebhooks(WebhookParser):
    """Parser of Dixa: the header ``X-DIXA-SIGNATURE`` signs the time and the body.

    *secret* is the subscription's secret key, in hexadecimal digits. A signature whose time is more
    than *tolerance* seconds away from *now* is refused. Raise `ConfigurationError` for a secret that
    isn't hexadecimal.
    """

    def __init__(self, secret: Secret | Sequence[Secret], tolerance: float = 300.0) -> None:
        super().__init__(secret)
        del secret  # error reporters attach local variables
        seconds = {"tolerance": (float | int, "seconds")}
        check_kinds(seconds, {"tolerance": tolerance}, ConfigurationError)
        self._tolerance: Final = tolerance
        self._keys: Final = [key for one in self._secrets if (key := _from_hex(one))]
        if len(self._keys) != len(self._secrets):
            message = "DixaWebhooks: the secret key of a subscription has hexadecimal digits only"
            raise ConfigurationError(message)

    def event(self, type: str, data: Any) -> Event:
        """Return the `DixaEvent` of plain *data*; an `UnknownEvent` if the class doesn't fit."""
        return self._typed(DixaEvent, type, data)

    def _refusal(
        self, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> WebhookError | None:
        signature = headers.get("x-dixa-signature")
        if signature is None:
            return refused("the request has no X-DIXA-SIGNATURE header")
        parts = [part.strip().partition("=") for part in signature.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        given = [header_bytes(value.lower()) for name, _, value in parts if name == "v1"]
        time = times[0] if len(times) == 1 and len(times[0]) <= _LONGEST_TIME else ""
        if not time.isdecimal() or not given:
            return refused("the X-DIXA-SIGNATURE header has another form than t=...,v1=...")
        signed = header_bytes(time) + b"." + body
        expected = [new(key, signed, sha256).hexdigest().encode() for key in self._keys]
        if not sum(compare_digest(one, other) for one in given for other in expected):
            return refused("the signature was made with none of the secrets, or of another body")
        if not abs(int(time) / 1000 - now.timestamp()) <= self._tolerance:
            return WebhookError("the signature's time is too far from now", _CLOCK, status=401)
        return None

    def _delivery(self, data: Any, body: bytes, headers: Mapping[str, str]) -> RawDelivery:
        trigger = inside(data, "event_fqn")
        if not isinstance(trigger, str):
            reason = "no event_fqn"
            raise Misfit(reason)
        app_id = id_inside(data, "organization", "id")
        event = RawEvent(
            id_inside(data, "event_id") or hash_id(body),
            trigger,
            data,
            to_body(data),
            conversation_id=id_inside(data, "data", "conversation", "csid"),
            created_at=seconds_inside(data, "event_timestamp"),
            app_id=app_id,
        )
        return RawDelivery(app_id, headers.get("x-dixa-subscription-id"), [event])


def _from_hex(secret: bytes) -> bytes:
    """Return the key of *secret*; empty for a secret that isn't hexadecimal."""
    try:
        return bytes.fromhex(secret.decode())
    except ValueError:
        return b""
