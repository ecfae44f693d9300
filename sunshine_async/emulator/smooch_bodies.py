"""What may stand in the bodies of v1.1, and what it means to v2."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from sunshine_async.emulator.fields import Field, Refusal
from sunshine_async.emulator.form import Part
from sunshine_async.emulator.platform import Stored
from sunshine_async.emulator.sunshine import CREATE_BODY, PROFILE

MAX_IMAGE_BYTES: Final = 50 * 10**6

LINKABLE: Final[Mapping[str, str]] = {
    "mailgun": "address",
    "messagebird": "phoneNumber",
    "messenger": "phoneNumber",
    "twilio": "phoneNumber",
    "whatsapp": "phoneNumber",
}
"""The channels that can be linked, and what says who the user is there."""
ENTITIES: Final[Mapping[str, str]] = {
    "line": "userId",
    "mailgun": "address",
    "messagebird": "phoneNumber",
    "messenger": "userId",
    "telegram": "chatId",
    "twilio": "phoneNumber",
    "twitter": "userId",
    "viber": "userId",
    "wechat": "userId",
    "whatsapp": "username",
}
"""The name that an entity's id has, by channel; others have none."""
URLS: Final[Mapping[str, str]] = {
    "messenger": "https://m.me/page?ref={}",
    "telegram": "https://telegram.me/bot?start={}",
    "viber": "viber://pa?chatURI=bot&context={}",
}
CONFIRMATIONS: Final = ("immediate", "userActivity", "prompt")
CONFIRMATION_MESSAGES: Final = ("text", "image")
_PHONE_NUMBER: Final = re.compile(r"\+[0-9][0-9 -]*")

_V2: Final = CREATE_BODY.fields or {}
_TEXT: Final = Field(type="string")
_CLIENTS: Final = Field(
    type="array",
    items=Field(type="object"),
)
UPDATE_BODY: Final = Field(
    type="object",
    fields={
        **{name: rule for name, rule in (PROFILE.fields or {}).items() if name != "locale"},
        "signedUpAt": _V2["signedUpAt"],
        "properties": _V2["metadata"],
    },
)
PRE_CREATE_BODY: Final = Field(
    type="object", fields={"userId": _V2["externalId"], **(UPDATE_BODY.fields or {})}
)
LINK_BODY: Final = Field(
    type="object",
    fields={
        "type": _TEXT,
        "confirmation": Field(
            type="object", fields={"type": _TEXT, "message": Field(type="object")}
        ),
        "integrationId": _TEXT,
        "phoneNumber": _TEXT,
        "address": _TEXT,
        "givenName": _TEXT,
        "surname": _TEXT,
        "subject": _TEXT,
        "primary": Field(type="boolean"),
    },
)
_MERGED: Final = Field(type="object", fields={"_id": _TEXT})
MERGE_BODY: Final = Field(type="object", fields={"surviving": _MERGED, "discarded": _MERGED})
STORED: Final = Field(
    type="object",
    fields={
        "_id": Field(type="string", min_length=1),
        "conversationStarted": Field(type="boolean"),
        "clients": _CLIENTS,
        "pendingClients": _CLIENTS,
        "businessSystems": _CLIENTS,
        **(PRE_CREATE_BODY.fields or {}),
    },
)


def as_v2(user: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *user* sets as v2 has it."""
    names = {"_id": "id", "userId": "externalId", "signedUpAt": "signedUpAt"}
    names["properties"] = "metadata"
    same = {v2: user[v1] for v1, v2 in names.items() if v1 in user}
    return {**same, "profile": {name: user[name] for name in PROFILE.fields or {} if name in user}}


def of_v1(change: Callable[[], Stored]) -> Stored:
    """Return what *change* makes; a refusal of v2's speaks in the words of v1.1."""
    try:
        return change()
    except Refusal as refusal:
        titles = [title.replace("metadata", "properties") for title in refusal.titles]
        raise Refusal(refusal.status, refusal.code, *titles) from None


def require(body: Mapping[str, Any], name: str, *, within: str = "") -> None:
    """Raise `Refusal` where *body* hasn't *name*."""
    if not body.get(name):
        message = f"{within} should have required property '{name}'".lstrip()
        raise Refusal(400, "bad_request", message)


def who_is_linked(body: Mapping[str, Any]) -> str:
    """Return who the user is on the channel; raise `Refusal` for what can't be linked."""
    require(body, "type")
    require(body, "confirmation")
    require(body["confirmation"], "type", within="confirmation")
    channel, confirmation = body["type"], body["confirmation"]
    if channel not in LINKABLE:
        raise Refusal(400, "bad_request", f"type should be one of {', '.join(LINKABLE)}")
    if confirmation["type"] not in CONFIRMATIONS:
        one_of = ", ".join(CONFIRMATIONS)
        raise Refusal(400, "bad_request", f"confirmation.type should be one of {one_of}")
    if confirmation["type"] == "prompt" and channel != "twilio":
        raise Refusal(400, "bad_request", "confirmation.type prompt is for twilio only")
    if confirmation["type"] == "userActivity" or channel == "messenger":
        require(confirmation, "message", within="confirmation")
    if confirmation.get("message", {}).get("type", "text") not in CONFIRMATION_MESSAGES:
        one_of = ", ".join(CONFIRMATION_MESSAGES)
        raise Refusal(400, "bad_request", f"confirmation.message.type should be one of {one_of}")
    name = LINKABLE[channel]
    require(body, name)
    if name == "phoneNumber" and not _PHONE_NUMBER.fullmatch(body[name]):
        raise Refusal(400, "bad_request", "phoneNumber should begin with + and the country code")
    return str(body[name])


def parts_of(form: Mapping[str, Part]) -> tuple[str, Part]:
    """Return who posts which image; raise `Refusal` for what can't be one."""
    require(form, "role")
    require(form, "source")
    source = form["source"]
    if source.file_name is None or not source.size:
        raise Refusal(400, "bad_request", "source should be a file, and not an empty one")
    if source.size > MAX_IMAGE_BYTES:
        raise Refusal(
            413, "payload_too_large", f"files are limited to {MAX_IMAGE_BYTES} bytes in size"
        )
    kind = source.content_type.lower()
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refusal(415, "unsupported_media_type", f"{kind} isn't a type of image")
    return form["role"].beginning.decode(errors="replace"), source


def some(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return those of *names* that *values* has."""
    return {name: values[name] for name in names if name in values}
