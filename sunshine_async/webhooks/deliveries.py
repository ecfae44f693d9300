"""Deliveries and events of webhooks as values, and the verification that all parsers share. Pure.

A parser reads a delivery in two steps. `RawEvent` has the values for deduplication, order and
storage. The typed event is made of the raw event later, when the event is handled.
"""

import builtins
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from hashlib import sha256
from hmac import compare_digest
from itertools import chain
from typing import Any, Final, NoReturn, TypeAlias, cast

import orjson
from attrs import field, frozen

from sunshine_async._codec import Misfit, decode, structure
from sunshine_async._codec.model import Model, redact
from sunshine_async._codec.reader import id_text
from sunshine_async.errors import ConfigurationError, WebhookError
from sunshine_async.sunshine.once import EchoKey

Secret: TypeAlias = str | bytes
_SINGLE: Final = (str, bytes, bytearray, int, type(None))
"""Types of a single value, be it a secret or not, in place of a sequence of secrets."""
_AS_SENT: Final = {
    "advice": "Hand in the body as received, and check the version and the target of the webhook"
}
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@frozen
class UnknownEvent:
    """An event of an unknown trigger, or an event that can't be read: *raw* has the whole event."""

    type: str | None
    """The trigger; None: the event names no trigger."""
    raw: Any = field(repr=redact)
    """The event as received, as plain data."""


Event: TypeAlias = Model | UnknownEvent
"""A typed event, or an `UnknownEvent`."""


@frozen
class RawEvent:
    """An event as received, with the values that every service's events have."""

    id: str
    """Id for deduplication: equal in each delivery of the same event."""
    type: str
    """The trigger; empty: the event names no trigger."""
    data: Any = field(repr=redact)
    """The event as plain data."""
    body: bytes = field(repr=False)
    """The event as JSON."""
    conversation_id: str | None = None
    """Conversation of the event; None: the event belongs to no conversation."""
    created_at: float | None = None
    """Time of the event in seconds since 1970; None: unknown."""
    app_id: str | None = None
    """The app; for Dixa the organization. None: unknown."""


@frozen
class RawDelivery:
    """A verified delivery, before the events are typed."""

    app_id: str | None
    webhook_id: str | None
    events: Sequence[RawEvent]


@frozen
class Delivery:
    """A verified delivery: the events of one request."""

    app_id: str | None
    """The app; for Dixa the organization. None: unknown."""
    webhook_id: str | None
    """The webhook, or Dixa's subscription; None: unknown, as in v1.1."""
    events: Sequence[Event]
    """The events, in the order of the body."""


class WebhookParser(ABC):
    """Base of the parsers of the services: holds the secrets, verifies and reads deliveries.

    *secret* is the webhook's secret, or a sequence of secrets that are valid at the same time, for
    rotation. No ``repr`` and no error shows a secret; parsers don't pickle. Raise
    `ConfigurationError` for a secret that is empty, is no text, or that no header can have.
    """

    EVENTS: Mapping[str, type[Model]] = {}
    """The class of event by trigger."""

    def __init__(self, secret: Secret | Sequence[Secret]) -> None:
        is_single = isinstance(secret, _SINGLE) or not hasattr(secret, "__iter__")
        several: Sequence[Any] = cast("Any", [secret] if is_single else secret)
        self._secrets: Final = [one.encode() if isinstance(one, str) else one for one in several]
        problem = _secret_problem(self._secrets)
        del secret, several  # error reporters attach local variables
        if problem is not None:
            message = f"{type(self).__name__}: the secret {problem}"
            raise ConfigurationError(message)

    def __reduce__(self) -> NoReturn:
        message = f"{type(self).__name__} holds a secret and doesn't pickle"
        raise TypeError(message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def parse(
        self, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
    ) -> Delivery:
        """Verify a request and return the typed delivery.

        The names in *headers* are compared in any case. *now* is the time with a zone, where the
        service signs the time (Dixa); None: the present.

        - One event that can't be read, or an unknown trigger, is an `UnknownEvent`.
        - Raise `WebhookError` with the *status* to answer: 401 for a wrong secret or signature, 400
          for a body that is no delivery. The service gives up such a delivery for good.
        - Raise `TypeError` for a body that isn't bytes, and for headers that aren't text.
        """
        misfit = _misfit(headers, body)
        delivery = misfit or self.read(headers, body, now=now)
        del headers, body  # error reporters attach local variables
        if isinstance(delivery, str):
            raise TypeError(delivery)
        if isinstance(delivery, WebhookError):
            raise delivery
        events = [self.event(raw.type, raw.data) for raw in delivery.events]
        return Delivery(delivery.app_id, delivery.webhook_id, events)

    def read(
        self, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
    ) -> RawDelivery | WebhookError:
        """Verify a request and return the raw delivery, or the error that `parse` raises."""
        named = {name.lower(): value for name, value in headers.items()}
        refusal = self._refusal(named, body, now or datetime.now(UTC))
        if refusal is not None:
            return refusal
        try:
            return self._delivery(_decode(body), body, named)
        except ValueError as misfit:
            reason = str(misfit)
        return WebhookError(f"the body is no delivery: {reason}", _AS_SENT, status=400)

    def doubt_about(self, trigger: str) -> str | None:
        """Return a sentence about a *trigger* that the service isn't known to have; else None."""
        if trigger in self.EVENTS or not self.EVENTS:
            return None
        near = get_close_matches(trigger, self.EVENTS, n=1)
        guess = f": did you mean {near[0]}?" if near else ""
        return f"{type(self).__name__} knows no trigger {trigger!r}{guess}"

    def event(self, type: str, data: Any) -> Event:
        """Return the typed event of plain *data*; an `UnknownEvent` if no class fits."""
        return self._typed(self.EVENTS.get(type), type, data)

    def is_own(self, event: RawEvent, integration_id: str | None) -> bool:  # noqa: ARG002
        """Return True for an event that the bot's own message or activity has caused.

        False where the service doesn't tell.
        """
        return False

    def is_standby(self, event: RawEvent, integration_id: str) -> bool:  # noqa: ARG002
        """Return True for an event of a conversation that is in the control of another integration.

        False where the service doesn't tell.
        """
        return False

    @staticmethod
    def _typed(kind: builtins.type[Model] | None, type: str, data: Any) -> Event:
        with suppress(Misfit):
            if kind is not None:
                return structure(data, kind)
        return UnknownEvent(type or None, data)

    def _refusal(
        self,
        headers: Mapping[str, str],
        body: bytes,  # noqa: ARG002
        now: datetime,  # noqa: ARG002
    ) -> WebhookError | None:
        """Return the error of a sender that isn't verified; None: the sender knows a secret.

        This is the check of Sunshine and Smooch: the header has the secret itself. All secrets are
        compared, each in constant time.
        """
        given = headers.get("x-api-key")
        if given is None:
            return refused(
                "the request has no X-API-Key header: the sender doesn't know the secret"
            )
        key = header_bytes(given)
        if not sum(compare_digest(key, secret) for secret in self._secrets):
            return refused("the X-API-Key header has none of the secrets")
        return None

    def echo(self, event: RawEvent) -> tuple[EchoKey, Model] | None:  # noqa: ARG002
        """Return key and record of an event that tells of a record created with ``once=``.

        None for any other event, and where the service doesn't tell.
        """
        return None

    @abstractmethod
    def _delivery(self, data: Any, body: bytes, headers: Mapping[str, str]) -> RawDelivery:
        """Return the raw delivery; raise `Misfit` for *data* of another form."""


def refused(reason: str) -> WebhookError:
    """Return the error of a sender that isn't verified."""
    return WebhookError(reason, status=401)


def _secret_problem(secrets: Sequence[object]) -> str | None:
    """Return the reason that *secrets* can't be used; None: each secret may come in a header."""
    if not secrets or not all(secrets):
        return "is empty: copy the webhook's secret"
    for one in secrets:
        if not isinstance(one, bytes):
            return f"must be text, not {type(one).__name__}"
        if one != one.strip() or _CONTROL.search(one):
            return "has a line break or a blank at an end: was it copied or read whole?"
    return None


def _misfit(headers: object, body: object) -> str | None:
    """Return the reason that *headers* or *body* have the wrong type; None: both fit."""
    if not hasattr(body, "decode"):  # a text, or a dictionary
        kind = type(body).__name__
        return f"the body must be the bytes of the request, as received, not {kind}"
    if not hasattr(headers, "items"):
        return f"headers must be a mapping, not {type(headers).__name__}"
    pairs = cast("Mapping[object, object]", headers).items()
    for part in chain.from_iterable(pairs):
        if not isinstance(part, str):  # such as the lists of AWS, or the bytes of ASGI
            return f"headers must be a mapping of text to text; one has {type(part).__name__}"
    return None


def _decode(body: bytes) -> Any:
    """Return JSON as plain data; half of a surrogate pair, left by cutting a text, reads as ``?``.

    Raise `ValueError` for any other text.
    """
    try:
        return decode(body)
    except Misfit:
        if b"\\ud" not in body.lower():
            raise
    try:
        return decode(json.dumps(json.loads(body), ensure_ascii=False).encode(errors="replace"))
    except RecursionError:
        reason = "nested too deep"
    raise Misfit(reason)


def header_bytes(value: str) -> bytes:
    """Return the bytes of a header, however the server has decoded the bytes."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape")


def inside(data: Any, *path: str) -> Any:
    """Return the value at *path* of nested objects; None if absent."""
    for name in path:
        if not isinstance(data, dict):
            return None
        data = cast("Mapping[str, Any]", data).get(name)
    return data


def id_inside(data: Any, *path: str) -> str | None:
    """Return the id at *path*, a number as text; None if absent or empty."""
    value = inside(data, *path)
    return (value if isinstance(value, str) else id_text(value)) or None


def seconds_inside(data: Any, *path: str) -> float | None:
    """Return the time at *path* in seconds since 1970; None if absent or unreadable."""
    value = inside(data, *path)
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return at.replace(tzinfo=at.tzinfo or UTC).timestamp()
        return float(value) if isinstance(value, int | float) else None
    except (ValueError, OverflowError):
        return None


def to_body(data: Any) -> bytes:
    """Return plain data that was read from JSON as JSON; `Misfit` for data nested too deep."""
    try:
        return orjson.dumps(data)
    except orjson.JSONEncodeError:
        reason = "nested too deep"
    raise Misfit(reason)


def hash_id(data: bytes) -> str:
    """Return the id of an event without an id: a hash of the content."""
    return f"sha256:{sha256(data).hexdigest()}"
