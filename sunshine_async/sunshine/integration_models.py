"""Integrations of an app: one class for each of the 16 types, in bodies and answers.

- A field that is None is left out of a body. Secrets and read-only fields have notes.
- The service shows most secrets never again: in answers the fields are None.
- An unknown type gives `UnknownIntegration`, with all data in *extra*.
- A ``repr`` shows no secret.
"""

from typing import Final, TypeAlias

from attrs import field, fields, frozen

from sunshine_async._codec.model import AS_TYPE, WIRE, Model, redact
from sunshine_async.sunshine.contents import FormMessageField

NEEDED: Final = "needed"
"""Metadata key of a field that the service needs in a new integration."""


@frozen(kw_only=True, slots=False)
class Integration(Model):
    """Fields of all integrations."""

    id: str | None = None
    """The id; None only in bodies."""
    status: str | None = None
    """``active``, ``inactive`` or ``error``; read-only."""
    display_name: str | None = None
    """1 to 100 characters."""


@frozen(kw_only=True, slots=False)
class DefaultResponder(Model):
    """Switchboard integration that answers first, in answers."""

    name: str | None = None
    integration_id: str | None = None
    integration_type: str | None = None
    deliver_standby_events: bool | None = None
    next_switchboard_integration_id: str | None = None
    message_history_count: float | None = None
    inherited: bool | None = None
    """True: the responder comes from the switchboard, not from the integration."""


@frozen(kw_only=True, slots=False)
class _Channel(Integration):
    default_responder_id: str | None = None
    """Only in bodies: the responder that answers first."""
    default_responder: DefaultResponder | None = None
    """Only in answers."""
    show_ai_disclaimer: bool | None = field(default=None, metadata={WIRE: "showAIDisclaimer"})
    """False: no note on messages that an AI has written; the law may require a note."""


@frozen(kw_only=True, slots=False)
class _Sdk(_Channel):
    can_user_see_conversation_list: bool | None = None
    can_user_create_more_conversations: bool | None = None
    attachments_enabled: bool | None = None
    """Read-only."""


@frozen(kw_only=True, slots=False)
class CustomWebhook(Model):
    """Webhook of a `Custom` integration: *id*, *version* and *secret* only in answers."""

    target: str
    triggers: list[str]
    id: str | None = None
    version: str | None = None
    secret: str | None = field(default=None, repr=redact)
    include_full_user: bool | None = None
    include_full_source: bool | None = None


@frozen(kw_only=True, slots=False)
class PrechatCapture(Model):
    """Form that the Web Messenger shows before a conversation."""

    avatar_url: str | None = None
    enabled: bool | None = None
    enable_email_linking: bool | None = None
    fields: list[FormMessageField] | None = None


@frozen(kw_only=True, slots=False)
class Android(_Sdk):
    """Android SDK; credentials are of Firebase Cloud Messaging."""

    project_id: str | None = None
    client_email: str | None = None
    private_key: str | None = field(default=None, repr=redact)
    server_key: str | None = field(default=None, repr=redact)
    """Deprecated by the service."""
    sender_id: str | None = None
    """Deprecated by the service."""
    type: str = field(default="android", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Apple(_Channel):
    """Apple Messages for Business."""

    business_id: str | None = field(default=None, metadata={NEEDED: True})
    api_secret: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    msp_id: str | None = field(default=None, metadata={NEEDED: True})
    authentication_message_secret: str | None = field(default=None, repr=redact)
    type: str = field(default="apple", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Custom(Integration):
    """Webhooks of the caller, such as a bot."""

    webhooks: list[CustomWebhook] | None = field(default=None, metadata={NEEDED: True})
    type: str = field(default="custom", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Instagram(_Channel):
    """Instagram Direct."""

    page_access_token: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    app_id: str | None = field(default=None, metadata={NEEDED: True})
    app_secret: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    business_name: str | None = None
    """Read-only."""
    business_username: str | None = None
    """Read-only."""
    page_id: str | None = None
    """Read-only."""
    business_id: str | None = None
    """Read-only."""
    username: str | None = None
    """Read-only."""
    user_id: str | None = None
    """Read-only."""
    story_replies_enabled: bool | None = None
    story_mentions_enabled: bool | None = None
    type: str = field(default="instagram", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Ios(_Sdk):
    """iOS SDK; the certificate is of the Apple Push Notification service, in base64."""

    certificate: str | None = field(default=None, repr=redact)
    password: str | None = field(default=None, repr=redact)
    production: bool | None = None
    auto_update_badge: bool | None = None
    type: str = field(default="ios", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Line(_Channel):
    """LINE."""

    channel_id: str | None = None
    channel_secret: str | None = field(default=None, repr=redact)
    channel_access_token: str | None = field(default=None, repr=redact)
    service_code: str | None = None
    switcher_secret: str | None = field(default=None, repr=redact)
    qr_code_url: str | None = None
    line_id: str | None = None
    """Read-only."""
    type: str = field(default="line", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Mailgun(_Channel):
    """E-mail through Mailgun."""

    api_key: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    signing_key: str | None = field(default=None, repr=redact)
    domain: str | None = field(default=None, metadata={NEEDED: True})
    incoming_address: str | None = field(default=None, metadata={NEEDED: True})
    hide_unsubscribe_link: bool | None = None
    from_address: str | None = None
    type: str = field(default="mailgun", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Messagebird(_Channel):
    """SMS through MessageBird."""

    access_key: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    signing_key: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    originator: str | None = field(default=None, metadata={NEEDED: True})
    webhook_secret: str | None = field(default=None, repr=redact)
    """Read-only."""
    type: str = field(default="messagebird", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Messenger(_Channel):
    """Facebook Messenger."""

    page_access_token: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    app_id: str | None = field(default=None, metadata={NEEDED: True})
    app_secret: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    page_id: float | None = None
    page_name: str | None = None
    type: str = field(default="messenger", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Telegram(_Channel):
    """Telegram."""

    token: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    username: str | None = None
    """Read-only."""
    bot_id: str | None = None
    """Read-only."""
    type: str = field(default="telegram", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Twilio(_Channel):
    """SMS through Twilio; takes *messaging_service_sid* or *phone_number_sid*."""

    account_sid: str | None = field(default=None, metadata={NEEDED: True})
    auth_token: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    phone_number_sid: str | None = None
    messaging_service_sid: str | None = None
    type: str = field(default="twilio", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Twitter(_Channel):
    """Twitter."""

    tier: str | None = field(default=None, metadata={NEEDED: True})
    env_name: str | None = None
    """Read-only."""
    consumer_key: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    consumer_secret: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    access_token_key: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    access_token_secret: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    type: str = field(default="twitter", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Unity(_Sdk):
    """Unity SDK."""

    type: str = field(default="unity", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Viber(_Channel):
    """Viber."""

    token: str | None = field(default=None, repr=redact, metadata={NEEDED: True})
    uri: str | None = None
    """Read-only."""
    account_id: str | None = None
    """Read-only."""
    type: str = field(default="viber", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Web(_Sdk):
    """Web Messenger."""

    brand_color: str | None = None
    fixed_intro_pane: bool | None = None
    conversation_color: str | None = None
    action_color: str | None = None
    display_style: str | None = None
    button_icon_url: str | None = None
    button_width: str | None = None
    button_height: str | None = None
    integration_order: list[str] | None = None
    business_name: str | None = None
    business_icon_url: str | None = None
    background_image_url: str | None = None
    origin_whitelist: list[str] | None = None
    prechat_capture: PrechatCapture | None = None
    type: str = field(default="web", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class Whatsapp(_Channel):
    """WhatsApp."""

    hsm_fallback_language: str | None = None
    account_id: str | None = None
    account_management_access_token: str | None = field(default=None, repr=redact)
    phone_number: str | None = None
    """Read-only."""
    type: str = field(default="whatsapp", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownIntegration(Integration):
    """Integration of an unknown type; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


AnyIntegration: TypeAlias = (
    Android
    | Apple
    | Custom
    | Instagram
    | Ios
    | Line
    | Mailgun
    | Messagebird
    | Messenger
    | Telegram
    | Twilio
    | Twitter
    | Unity
    | Viber
    | Web
    | Whatsapp
    | UnknownIntegration
)


def missing_fields(integration: Integration) -> list[str]:
    """Return the names of fields that the service needs and a new *integration* lacks."""
    return [
        each.name
        for each in fields(type(integration))
        if NEEDED in each.metadata and getattr(integration, each.name) is None
    ]
