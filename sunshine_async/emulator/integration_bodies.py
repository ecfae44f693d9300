"""Bodies of integrations: schemas of 16 types, for creates and for updates.

Fields that only the service sets are accepted and ignored, as are unknown fields. Secrets are
accepted, and not returned where the specification calls the field write-only.

Assumed: defaults of the specification, as the colours of ``web``, aren't filled in.
"""

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from sunshine_async.emulator.contents import FORM_FIELD
from sunshine_async.emulator.fields import (
    BOOLEAN,
    DISPLAY_NAME,
    NUMBER,
    TEXT,
    Schema,
    array_schema,
    object_schema,
    text_schema,
)

_KEY: Final = text_schema(1)
_SECRET: Final = text_schema(1, nullable=True)
_NULLABLE: Final = Schema(type="string", nullable=True)
_NAME: Final = text_schema(0, 100, nullable=True)
_TEXTS: Final = array_schema(TEXT)
WEBHOOK_UPDATE_BODY: Final = object_schema(
    target=text_schema(1, format="uri"),
    triggers=array_schema(TEXT),
    includeFullUser=BOOLEAN,
    includeFullSource=BOOLEAN,
)
WEBHOOK_BODY: Final = evolve(WEBHOOK_UPDATE_BODY, required=("target", "triggers"))
_CUSTOM_WEBHOOK: Final = WEBHOOK_BODY.with_fields(secret=_KEY)

_COMMON: Final[Mapping[str, Schema]] = {
    "displayName": DISPLAY_NAME,
    "defaultResponderId": _NULLABLE,
    "showAIDisclaimer": BOOLEAN,
}
_LISTS: Final[Mapping[str, Schema]] = {
    "canUserSeeConversationList": BOOLEAN,
    "canUserCreateMoreConversations": BOOLEAN,
}
_ANDROID: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(("projectId", "clientEmail", "privateKey", "serverKey", "senderId"), _SECRET),
    **_LISTS,
}
_IOS: Final[Mapping[str, Schema]] = {
    "certificate": _SECRET,
    "password": TEXT,
    "production": BOOLEAN,
    "autoUpdateBadge": BOOLEAN,
    **_LISTS,
}
_WEB: Final[Mapping[str, Schema]] = {
    **dict.fromkeys(
        ("brandColor", "conversationColor", "actionColor"), text_schema(format="colour")
    ),
    "displayStyle": text_schema(enum=("button", "tab")),
    **dict.fromkeys(("buttonWidth", "buttonHeight", "businessName", "businessIconUrl"), TEXT),
    "backgroundImageUrl": TEXT,
    "fixedIntroPane": BOOLEAN,
    "buttonIconUrl": _NULLABLE,
    "integrationOrder": evolve(_TEXTS, nullable=True),
    "originWhitelist": evolve(_TEXTS, nullable=True),
    "prechatCapture": object_schema(
        avatarUrl=TEXT, enabled=BOOLEAN, enableEmailLinking=BOOLEAN, fields=array_schema(FORM_FIELD)
    ),
    **_LISTS,
}
_WHATSAPP: Final[Mapping[str, Schema]] = dict.fromkeys(
    ("hsmFallbackLanguage", "accountId", "accountManagementAccessToken"), _NULLABLE
)
_STORIES: Final[Mapping[str, Schema]] = {
    "storyRepliesEnabled": BOOLEAN,
    "storyMentionsEnabled": BOOLEAN,
}
_MAILGUN: Final[Mapping[str, Schema]] = {"hideUnsubscribeLink": BOOLEAN, "fromAddress": _SECRET}
_APPLE: Final[Mapping[str, Schema]] = {"authenticationMessageSecret": text_schema(88)}


def _integration(*required: str, **fields: Schema) -> Schema:
    fields = {**_COMMON, "displayName": _NAME, **fields}
    return object_schema("type", *required, type=TEXT, **fields)


INTEGRATIONS: Final[Mapping[str, Schema]] = {
    "android": _integration(**_ANDROID),
    "apple": _integration(
        "businessId",
        "apiSecret",
        "mspId",
        **dict.fromkeys(("businessId", "apiSecret", "mspId"), TEXT),
        **_APPLE,
    ),
    "custom": object_schema(
        "type",
        "webhooks",
        type=TEXT,
        displayName=_NAME,
        webhooks=array_schema(_CUSTOM_WEBHOOK, 1, 1),
    ),
    "instagram": _integration(
        "pageAccessToken",
        "appId",
        "appSecret",
        **dict.fromkeys(("pageAccessToken", "appSecret"), _NULLABLE),
        appId=TEXT,
        **_STORIES,
    ),
    "ios": _integration(**_IOS),
    "line": _integration(
        **dict.fromkeys(("channelId", "channelSecret", "channelAccessToken"), TEXT),
        **dict.fromkeys(("serviceCode", "qrCodeUrl"), TEXT),
        switcherSecret=_KEY,
    ),
    "mailgun": _integration(
        "apiKey",
        "domain",
        "incomingAddress",
        **dict.fromkeys(("signingKey", "domain", "incomingAddress"), _KEY),
        apiKey=_SECRET,
        **_MAILGUN,
    ),
    "messagebird": _integration(
        "accessKey",
        "signingKey",
        "originator",
        **dict.fromkeys(("accessKey", "signingKey"), _SECRET),
        originator=_KEY,
    ),
    "messenger": _integration(
        "pageAccessToken",
        "appId",
        "appSecret",
        **dict.fromkeys(("pageAccessToken", "appSecret"), _NULLABLE),
        appId=TEXT,
        pageId=NUMBER,
        pageName=TEXT,
    ),
    "telegram": _integration("token", token=_SECRET),
    "twilio": _integration(
        "accountSid",
        "authToken",
        accountSid=TEXT,
        authToken=_SECRET,
        **dict.fromkeys(("phoneNumberSid", "messagingServiceSid"), _KEY),
    ),
    "twitter": _integration(
        "tier",
        "consumerKey",
        "consumerSecret",
        "accessTokenKey",
        "accessTokenSecret",
        tier=text_schema(enum=("enterprise",)),
        **dict.fromkeys(("consumerKey", "accessTokenKey"), _KEY),
        **dict.fromkeys(("consumerSecret", "accessTokenSecret"), _SECRET),
    ),
    "unity": _integration(**_LISTS),
    "viber": _integration("token", token=_SECRET),
    "web": _integration(**_WEB),
    "whatsapp": _integration(**_WHATSAPP),
}
"""The body of CreateIntegration, by type."""
ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "twilio": ("messagingServiceSid", "phoneNumberSid"),
}
"""Fields of CreateIntegration of which one is needed, by type."""
_UPDATES: Final[Mapping[str, Mapping[str, Schema]]] = {
    "android": _ANDROID,
    "apple": _APPLE,
    "instagram": {"pageAccessToken": TEXT, **_STORIES},
    "ios": _IOS,
    "mailgun": _MAILGUN,
    "messenger": {"pageAccessToken": TEXT},
    "unity": _LISTS,
    "web": _WEB,
    "whatsapp": _WHATSAPP,
}
UPDATES: Final[Mapping[str, Schema]] = {
    kind: (
        object_schema(displayName=DISPLAY_NAME)
        if kind == "custom"
        else object_schema(**_COMMON, **_UPDATES.get(kind, {}))
    )
    for kind in INTEGRATIONS
}
"""The body of UpdateIntegration, by the type of the integration."""
WRITE_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "android": ("projectId", "clientEmail", "privateKey", "serverKey"),
    "apple": ("apiSecret",),
    "instagram": ("pageAccessToken", "appSecret"),
    "ios": ("certificate", "password"),
    "mailgun": ("apiKey",),
    "messagebird": ("accessKey", "signingKey"),
    "messenger": ("appSecret",),
    "telegram": ("token",),
    "twilio": ("authToken",),
    "twitter": ("consumerKey", "consumerSecret", "accessTokenKey", "accessTokenSecret"),
    "viber": ("token",),
}
"""The fields that are never returned, by type; ``defaultResponderId`` of all types is another."""
