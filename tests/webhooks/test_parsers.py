"""Parsing of deliveries: verification, typed events, ids for deduplication, own and standby events."""

import hmac
import json
import pickle
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.deliveries import DELIVERIES, HEADERS, SECRET, envelope, message
from support.frames import leaks

from sunshine_async import ConfigurationError, WebhookError
from sunshine_async._codec import unstructure
from sunshine_async._codec.model import wire_name
from sunshine_async.webhooks import (
    ConversationMessage,
    ConversationReferral,
    DixaEvent,
    DixaWebhooks,
    SmoochEvent,
    SmoochMessageEvent,
    SmoochWebhooks,
    SunshineWebhooks,
    UnknownEvent,
)
from sunshine_async.webhooks.deliveries import RawDelivery, RawEvent, WebhookParser
from sunshine_async.webhooks.smooch_events import SMOOCH_EVENTS
from sunshine_async.webhooks.sunshine_events import SUNSHINE_EVENTS

KEY = "00ff" * 8
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUNSHINE = SunshineWebhooks(SECRET)
SMOOCH = SmoochWebhooks(SECRET)
DIXA = DixaWebhooks(KEY)


def to_body(data: Any) -> bytes:
    """Return *data* as JSON."""
    return json.dumps(data).encode()


def signed(body: bytes, *, at: datetime = NOW, key: str = KEY) -> dict[str, str]:
    """Return the headers of Dixa for *body*."""
    time = str(int(at.timestamp() * 1000))
    digest = hmac.new(bytes.fromhex(key), f"{time}.".encode() + body, sha256).hexdigest()
    return {"X-DIXA-SIGNATURE": f"t={time},v1={digest}", "X-DIXA-SUBSCRIPTION-ID": "sub"}


def raw_events(parser: WebhookParser, data: Any) -> list[RawEvent]:
    """Return the raw events of a delivery of Sunshine or Smooch."""
    delivery = parser.read(HEADERS, to_body(data))
    assert isinstance(delivery, RawDelivery)
    return [*delivery.events]


@pytest.mark.parametrize(
    "data", DELIVERIES["sunshine"], ids=lambda data: str(data["events"][0]["type"])
)
def test_each_example_of_sunshine_is_typed_and_goes_back(data: Any) -> None:
    """Each trigger's example is read as the trigger's class, and encoded back unchanged."""
    delivery = SUNSHINE.parse(HEADERS, to_body(data))

    [event], [raw] = delivery.events, data["events"]
    assert type(event) is SUNSHINE_EVENTS[raw["type"]]
    assert unstructure(event) == raw
    assert (delivery.app_id, delivery.webhook_id) == (data["app"]["id"], data["webhook"]["id"])


@pytest.mark.parametrize("trigger", SUNSHINE_EVENTS)
def test_each_documented_key_of_a_payload_is_a_field(trigger: str) -> None:
    """The payload's class has a field for each key of the specification."""
    kind = attrs.resolve_types(SUNSHINE_EVENTS[trigger])
    payload = attrs.fields_dict(kind)["payload"].type
    assert payload is not None
    names = {wire_name(name) for name in attrs.fields_dict(payload)}

    assert set(DELIVERIES["sunshine_payloads"][trigger]) <= names


def test_each_trigger_with_a_schema_has_a_class() -> None:
    """The table of classes has the triggers of the specification, and no other."""
    assert set(SUNSHINE_EVENTS) == set(DELIVERIES["sunshine_payloads"])
    assert len(set(SUNSHINE_EVENTS.values())) == len(SUNSHINE_EVENTS) == 25


@pytest.mark.parametrize("data", DELIVERIES["smooch"], ids=lambda data: str(data["trigger"]))
def test_each_trigger_of_smooch_is_typed_and_goes_back(data: Any) -> None:
    """An event of each trigger of v1.1 is read as the class of its form, and back unchanged."""
    delivery = SMOOCH.parse(HEADERS, to_body(data))

    [event] = delivery.events
    assert type(event) is SMOOCH_EVENTS[data["trigger"]]
    assert unstructure(event) == data
    assert set(data) - {wire_name(field.name) for field in attrs.fields(type(event))} == set()


def test_all_triggers_of_smooch_have_an_example() -> None:
    """The examples above are those of all 21 triggers."""
    assert {data["trigger"] for data in DELIVERIES["smooch"]} == set(SMOOCH_EVENTS)
    assert len(SMOOCH_EVENTS) == 21


@pytest.mark.parametrize("data", DELIVERIES["dixa"])
def test_each_example_of_dixa_is_typed_and_goes_back(data: Any) -> None:
    """An example of Dixa is read as `DixaEvent`, and encoded back unchanged."""
    body = to_body(data)
    delivery = DIXA.parse(signed(body), body, now=NOW)

    [event] = delivery.events
    assert isinstance(event, DixaEvent)
    assert event.event_fqn == "CONVERSATION_NOTE_ADDED"
    assert unstructure(event) == data
    assert delivery.webhook_id == "sub"
    assert delivery.app_id == data["organization"]["id"]


@pytest.mark.parametrize(
    "event",
    [
        {"id": "e", "type": "passthrough:messaging", "payload": {"raw": [1]}},
        {"id": "e", "type": "participant:join", "createdAt": "x"},
        {"id": "e", "type": "conversation:message", "payload": None},
        {"id": "e", "type": "conversation:message", "payload": {"conversation": {}}},
        {"id": "e"},
        "text",
        None,
    ],
)
def test_an_unknown_or_unreadable_event_stays_raw(event: Any) -> None:
    """An event without a class, or that doesn't fit, is an `UnknownEvent`; the rest is typed."""
    delivery = SUNSHINE.parse(HEADERS, to_body(envelope([message(1), event, message(2)])))

    first, unknown, last = delivery.events
    assert isinstance(first, ConversationMessage)
    assert isinstance(last, ConversationMessage)
    assert isinstance(unknown, UnknownEvent)
    assert unknown.raw == event
    assert "text" not in repr(unknown)


def test_a_field_of_another_type_leaves_the_event_typed() -> None:
    """The external id that the specification's example writes as a number reads as text."""
    [data] = [
        one for one in DELIVERIES["sunshine"] if one["events"][0]["type"] == "conversation:referral"
    ]
    [event] = SUNSHINE.parse(HEADERS, to_body(data)).events

    assert isinstance(event, ConversationReferral)
    assert event.payload.user is not None
    assert event.payload.user.external_id == "912382197"


@pytest.mark.parametrize("name", ["X-API-Key", "x-api-key", "X-API-KEY"])
@pytest.mark.parametrize(
    "secret", ["new", b"new", ["old", "new"], ("new", b"old"), "größe"], ids=repr
)
def test_one_of_several_secrets_is_enough(name: str, secret: Any) -> None:
    """A header in any case, with one of the valid secrets, verifies a delivery."""
    sent = "größe".encode().decode("latin-1") if secret == "größe" else "new"

    delivery = SunshineWebhooks(secret).parse({name: sent}, to_body(envelope([])))

    assert delivery.events == []


@pytest.mark.parametrize(
    "headers", [{}, {"X-API-Key": ""}, {"X-API-Key": SECRET[:-1]}, {"X-API-Key": "☃"}]
)
@pytest.mark.parametrize("parser", [SUNSHINE, SMOOCH])
def test_a_wrong_secret_is_401(parser: WebhookParser, headers: Mapping[str, str]) -> None:
    """Without the secret a delivery is refused, before the body is read."""
    with pytest.raises(WebhookError, match="X-API-Key") as caught:
        parser.parse(headers, b"not JSON")

    assert caught.value.status == 401
    assert str(caught.value).endswith(". If the service sent it, compare the webhook's secret")


@pytest.mark.parametrize(
    ("parser", "body", "reason"),
    [
        (SUNSHINE, b"not JSON", "not JSON"),
        (SUNSHINE, b"", "not JSON"),
        (SUNSHINE, b"[]", "no list of events"),
        (SUNSHINE, b'{"events": {}}', "no list of events"),
        (SUNSHINE, to_body(DELIVERIES["smooch"][0]), "v1.1: use SmoochWebhooks"),
        (SUNSHINE, b'{"events": [' + b"[" * 300 + b"]" * 300 + b"]}", "nested too deep"),
        (SUNSHINE, b'{"a": "\\uD83D", "events": ' + b"[" * 9999 + b"]" * 9999, "nested too deep"),
        (SUNSHINE, b'{"a": "\\ud83d", "events": [NaN]}', "not JSON"),
        (SMOOCH, b"[]", "no trigger"),
        (SMOOCH, b'{"trigger": 1}', "no trigger"),
        (SMOOCH, to_body(envelope([message(1)])), "v2: use SunshineWebhooks"),
    ],
)
def test_a_body_that_is_no_delivery_is_400(parser: WebhookParser, body: bytes, reason: str) -> None:
    """A verified body of another form is refused, with the reason and the next step."""
    with pytest.raises(WebhookError, match=reason) as caught:
        parser.parse(HEADERS, body)

    assert caught.value.status == 400
    assert caught.value.advice.startswith("Hand in the body as received")
    assert str(caught.value).endswith(f". {caught.value.advice}")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text()
            | st.sampled_from(
                ["payload", "conversation", "message", "author", "source", "type", "id", "messages"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("body", ["{}", {}, None], ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("parser", [SUNSHINE, DIXA], ids=repr)
def test_a_body_that_was_decoded_is_refused(parser: WebhookParser, body: Any) -> None:
    """A text or a dictionary in place of the bytes of the request is a `TypeError` that says so."""
    with pytest.raises(TypeError, match="must be the bytes of the request, as received, not"):
        parser.parse(HEADERS, body)


@given(JSON, st.sampled_from([*SUNSHINE_EVENTS]))
def test_any_event_is_an_event(event: Any, trigger: str) -> None:
    """Whatever JSON an event is, the delivery is read, and the checks of events don't fail."""
    typed = {"id": "e", "type": trigger, "payload": event}
    for raw in raw_events(SUNSHINE, envelope([event, typed])):
        SUNSHINE.event(raw.type, raw.data)
        assert SUNSHINE.is_own(raw, "i") in (True, False)
        assert SUNSHINE.is_standby(raw, "i") in (True, False)
        assert json.loads(raw.body) == raw.data


@given(JSON)
def test_any_body_is_a_delivery_or_400(data: Any) -> None:
    """Whatever JSON a body is, each parser returns a delivery or an error with the status 400."""
    for parser in (SUNSHINE, SMOOCH):
        delivery = parser.read(HEADERS, to_body(data))
        assert isinstance(delivery, RawDelivery) or delivery.status == 400
    body = to_body({"event_fqn": "X", "data": data, "event_timestamp": data, "event_id": data})
    assert isinstance(DIXA.read(signed(body), body, now=NOW), RawDelivery)


def test_a_raw_event_has_the_values_for_order_and_deduplication() -> None:
    """A raw event has id, conversation, time and app of the event."""
    [event] = raw_events(SUNSHINE, envelope([message(61, "c")]))

    assert (event.id, event.type, event.conversation_id, event.app_id) == (
        "e61", "conversation:message", "c", "app",
    )  # fmt: skip
    assert event.created_at == datetime(2026, 1, 1, 0, 1, 1, tzinfo=UTC).timestamp()


def test_a_cut_emoji_loses_no_event() -> None:
    """Half of a surrogate pair in a text, which strict JSON forbids, doesn't refuse the delivery."""
    body = to_body(envelope([message(1)])).replace(b"hello 1", b"hello \\uD83D")
    [event] = SUNSHINE.parse(HEADERS, body).events

    assert isinstance(event, ConversationMessage)
    assert getattr(event.payload.message.content, "text", None) == "hello ?"


def test_an_event_without_an_id_has_a_hash() -> None:
    """Events of Sunshine without an id are equal if the content is."""
    one, two, three = raw_events(SUNSHINE, envelope([{"a": 1}, {"a": 1}, {"a": 2}]))

    assert one.id == two.id != three.id
    assert one.id.startswith("sha256:")


def test_an_event_of_dixa_has_its_id_or_a_hash() -> None:
    """Deliveries of Dixa with the same id are of one event, whatever else differs."""

    def id_of(**data: Any) -> str:
        body = to_body({"event_fqn": "X", **data})
        delivery = DIXA.read(signed(body), body, now=NOW)
        assert isinstance(delivery, RawDelivery)
        return delivery.events[0].id

    assert id_of(event_id="1", a=1) == id_of(event_id="1", a=2) == "1"
    assert id_of(a=1).startswith("sha256:")
    assert id_of(a=1) != id_of(a=2)


@pytest.mark.parametrize(("number", "text"), [(5, "5"), (5.0, "5"), (1.2e3, "1200"), (1.5, "1.5")])
def test_the_number_of_an_id_is_its_text(number: float, text: str) -> None:
    """An id that is a number is the text that the typed event has, of a conversation too."""
    data = {**message(1), "id": number}
    data["payload"] = {**data["payload"], "conversation": {"id": number}}
    [raw] = raw_events(SUNSHINE, envelope([data]))
    [event] = SUNSHINE.parse(HEADERS, to_body(envelope([data]))).events

    assert isinstance(event, ConversationMessage)
    assert raw.id == event.id == text
    assert raw.conversation_id == event.payload.conversation.id == text


def test_events_with_no_id_at_all_are_told_by_their_bodies() -> None:
    """True, an empty text and a number with lost digits are no ids: no event passes for another."""
    ids = [True, "", None, [], 2.0**60]
    raw = raw_events(SUNSHINE, envelope([{"id": one, "type": "x"} for one in ids]))

    assert all(event.id.startswith("sha256:") for event in raw)
    assert len({event.id for event in raw}) == len(ids)


def test_the_substitute_for_an_id_of_smooch() -> None:
    """Messages of v1.1 are told by trigger and ids; all other events by the hash of the body."""

    def id_of(**data: Any) -> str:
        [event] = raw_events(SMOOCH, data)
        return event.id

    user = id_of(trigger="message:appUser", messages=[{"_id": "1"}, {"_id": "2"}], version="v1.1")
    again = id_of(trigger="message:appUser", messages=[{"_id": "1", "text": "x"}, {"_id": "2"}])
    assert user == again == "message:appUser 1 2"
    assert id_of(trigger="message:appMaker", messages=[{"_id": "1"}]) == "message:appMaker 1"
    unknown = id_of(trigger="message:appUser", messages=[{"_id": "1"}, {}])
    assert unknown.startswith("sha256:")
    assert id_of(trigger="postback", timestamp=1) != id_of(trigger="postback", timestamp=2)


def test_order_and_conversation_of_smooch_and_dixa() -> None:
    """The time of a v1.1 event is its own or the first message's; Dixa's conversation is a number."""
    [timed] = raw_events(SMOOCH, {"trigger": "postback", "timestamp": 5.5})
    [message_] = raw_events(
        SMOOCH,
        {"trigger": "message:appUser", "messages": [{"received": 7}], "conversation": {"_id": "c"}},
    )
    body = to_body(DELIVERIES["dixa"][0])
    dixa = DIXA.read(signed(body), body, now=NOW)
    assert isinstance(dixa, RawDelivery)

    assert (timed.created_at, timed.conversation_id) == (5.5, None)
    assert (message_.created_at, message_.conversation_id) == (7.0, "c")
    assert dixa.events[0].conversation_id == "1234"
    assert dixa.events[0].created_at == datetime(2023, 9, 15, 12, tzinfo=UTC).timestamp()


def as_message(**source: Any) -> dict[str, Any]:
    """Return the message of a business with this source."""
    return {"message": {"author": {"type": "business"}, "source": source}}


@pytest.mark.parametrize(
    ("payload", "is_own"),
    [
        (as_message(type="api:conversations"), True),
        (as_message(type="api"), True),
        (as_message(type="zd:agentWorkspace", integrationId="mine"), True),
        (as_message(type="zd:agentWorkspace", integrationId="other"), False),
        (as_message(type="zd:agentWorkspace"), False),
        (as_message(type=["api"]), False),
        ({"message": {"author": {"type": "user"}, "source": {"type": "api"}}}, False),
        ({"message": {"source": {"type": "api:conversations"}}}, False),
        ({"activity": {"author": {"type": "business"}, "source": {"type": "api"}}}, True),
        ({"activity": {"author": {"type": "user"}, "source": {"type": "web"}}}, False),
        ({"user": {"id": "u"}}, False),
    ],
)
def test_own_events_of_sunshine(payload: Any, is_own: bool) -> None:  # noqa: FBT001
    """Own: a business author, from the API or from the integration."""
    [event] = raw_events(SUNSHINE, envelope([{"type": "conversation:message", "payload": payload}]))

    assert SUNSHINE.is_own(event, "mine") is is_own
    assert SUNSHINE.is_own(event, None) is (is_own and "zd:agentWorkspace" not in str(payload))


@pytest.mark.parametrize(
    ("trigger", "source", "is_own"),
    [
        ("message:appMaker", {"type": "api"}, True),
        ("message:appMaker", {"type": "slack", "integrationId": "mine"}, True),
        ("message:appMaker", {"type": "slack"}, False),
        ("message:appUser", {"type": "api"}, False),
    ],
)
def test_own_events_of_smooch(trigger: str, source: Any, is_own: bool) -> None:  # noqa: FBT001
    """Own: a message of the app maker, from the API or from the integration."""
    [event] = raw_events(SMOOCH, {"trigger": trigger, "messages": [{"source": source}]})

    assert SMOOCH.is_own(event, "mine") is is_own
    assert not SMOOCH.is_standby(event, "mine")


@pytest.mark.parametrize(
    ("trigger", "active", "pending", "is_standby"),
    [
        ("conversation:message", "other", None, True),
        ("conversation:message", "other", "third", True),
        ("conversation:message", "other", "mine", False),
        ("conversation:message", "mine", None, False),
        ("conversation:message", None, None, False),
        ("conversation:read", "other", None, True),
        ("switchboard:passControl", "other", None, False),
    ],
)
def test_standby_events_of_sunshine(
    trigger: str,
    active: str | None,
    pending: str | None,
    is_standby: bool,  # noqa: FBT001
) -> None:
    """Standby: another integration is active, and the own one is offered nothing."""
    conversation = {
        "id": "c",
        "activeSwitchboardIntegration": active and {"integrationId": active},
        "pendingSwitchboardIntegration": pending and {"integrationId": pending},
    }
    [event] = raw_events(
        SUNSHINE, envelope([{"type": trigger, "payload": {"conversation": conversation}}])
    )

    assert SUNSHINE.is_standby(event, "mine") is is_standby


def test_events_of_dixa_are_neither_own_nor_standby() -> None:
    """Dixa tells neither."""
    event = RawEvent("e", "X", {}, b"{}")

    assert not DIXA.is_own(event, "mine")
    assert not DIXA.is_standby(event, "mine")


BODY = to_body(DELIVERIES["dixa"][0])


WRONG: list[tuple[dict[str, str], str]] = [
    ({}, "no X-DIXA-SIGNATURE header"),
    ({"X-DIXA-SIGNATURE": ""}, "another form"),
    ({"X-DIXA-SIGNATURE": "v1=00"}, "another form"),
    ({"X-DIXA-SIGNATURE": "t=1"}, "another form"),
    ({"X-DIXA-SIGNATURE": "t=x,v1=00"}, "another form"),
    ({"X-DIXA-SIGNATURE": f"t={'1' * 5000},v1=00"}, "another form"),
    ({"X-DIXA-SIGNATURE": "t=1,t=2,v1=00"}, "another form"),
    ({"X-DIXA-SIGNATURE": "t=1,v1=ü"}, "none of the secrets"),
    (signed(BODY + b" "), "none of the secrets"),
    (signed(BODY, key="ff" * 16), "none of the secrets"),
    (signed(BODY, at=NOW - timedelta(seconds=301)), "too far from now"),
    (signed(BODY, at=NOW + timedelta(seconds=301)), "too far from now"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_a_wrong_signature_is_401(case: int) -> None:
    """Dixa's signature has to be of the time and this body, with a secret, and the time near now."""
    headers, reason = WRONG[case]

    with pytest.raises(WebhookError, match=reason) as caught:
        DIXA.parse(headers, BODY, now=NOW)

    assert caught.value.status == 401
    assert ("clock" if "now" in reason else "secret") in caught.value.advice


def test_a_signature_within_the_tolerance() -> None:
    """A time within *tolerance* passes, with one of several secrets, in upper case, and by the clock."""
    late = signed(BODY, at=NOW - timedelta(seconds=299))
    upper = {
        name: value.upper().replace("T=", "t=").replace("V1=", "v1=")
        for name, value in late.items()
    }
    several = DixaWebhooks(["ff" * 8, KEY], tolerance=300)

    assert several.parse(late, BODY, now=NOW).events
    assert several.parse(upper, BODY, now=NOW).events
    assert DIXA.parse(signed(BODY, at=datetime.now(UTC)), BODY).events
    with pytest.raises(WebhookError, match="check this machine's clock"):
        DIXA.parse(late, BODY)


def test_a_body_of_dixa_that_is_no_delivery_is_400() -> None:
    """A signed body without a trigger is refused; an event without an id stays raw."""
    with pytest.raises(WebhookError, match="no event_fqn") as caught:
        DIXA.parse(signed(b"{}"), b"{}", now=NOW)
    body = to_body({"event_fqn": "X"})
    [event] = DIXA.parse(signed(body), body, now=NOW).events

    assert caught.value.status == 400
    assert event == UnknownEvent("X", {"event_fqn": "X"})


@pytest.mark.parametrize("kind", [SunshineWebhooks, SmoochWebhooks, DixaWebhooks])
@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "is empty"), (b"", "is empty"), ([], "is empty"), (["00", ""], "is empty"),
        (None, "is empty"), ([None], "is empty"), (5, "must be text, not int"),
        (["00", 5], "must be text, not int"), (bytearray(b"00"), "must be text, not bytearray"),
        ("00\n", "has a line break"), (b"00 ", "a blank at an end"), (["00", " 00"], "a blank"),
        ("00\r\n00", "has a line break"), ("  ", "a blank at an end"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_secret_that_no_header_has_is_refused(
    kind: type[WebhookParser], secret: Any, reason: str
) -> None:
    """A secret that is empty, or that no delivery can bring, is refused at once, not at a delivery."""
    with pytest.raises(ConfigurationError, match=reason):
        kind(secret)


SENTINEL = "sentinel"


ACTS: Mapping[str, Callable[[], object]] = {
    "empty secret": lambda: SunshineWebhooks([SENTINEL, ""]),
    "not hexadecimal": lambda: DixaWebhooks(SENTINEL),
    "wrong key": lambda: SunshineWebhooks(SENTINEL).parse(
        {"x-api-key": f"{SENTINEL}2"}, b"sentinel"
    ),
    "not JSON": lambda: SmoochWebhooks(SENTINEL).parse({"x-api-key": SENTINEL}, b"sentinel"),
    "no list": lambda: SunshineWebhooks(SENTINEL).parse({"x-api-key": SENTINEL}, b'["sentinel"]'),
    "no form": lambda: DixaWebhooks(KEY).parse({"x-dixa-signature": SENTINEL}, b"sentinel"),
    "body of text": lambda: SUNSHINE.parse({"x-api-key": SENTINEL}, cast("Any", SENTINEL)),
    "headers of AWS": lambda: SUNSHINE.parse(cast("Any", {"x-api-key": [SENTINEL]}), b"sentinel"),
    "headers of ASGI": lambda: DIXA.parse(cast("Any", {b"x": SENTINEL.encode()}), b"sentinel"),
    "headers in pairs": lambda: SMOOCH.parse(cast("Any", [("x-api-key", SENTINEL)]), b"sentinel"),
    "pickle": lambda: pickle.dumps(SunshineWebhooks(SENTINEL)),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_error_shows_a_secret_or_a_body(act: str) -> None:
    """No error, and no local variable of a frame that it passed, has a secret, a header or a body."""
    with pytest.raises((ConfigurationError, WebhookError, TypeError)) as caught:
        ACTS[act]()

    assert leaks(caught.value, SENTINEL) == []


def test_a_parser_hides_its_secret() -> None:
    """A ``repr`` of a parser names the class alone."""
    assert repr(SunshineWebhooks(SENTINEL)) == "SunshineWebhooks(...)"


def test_typed_events_of_smooch_share_the_common_fields() -> None:
    """Every event of v1.1 is a `SmoochEvent`, a message event has messages."""
    [event] = SMOOCH.parse(HEADERS, to_body(DELIVERIES["smooch"][0])).events

    assert isinstance(event, SmoochMessageEvent)
    assert isinstance(event, SmoochEvent)
    assert event.app_user is not None
    assert event.app_user.id == "c7f6e6d6c3a637261bd9656f"
    assert [one.text for one in event.messages or []] == ["Hi"]
