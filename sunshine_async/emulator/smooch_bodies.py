"""Bodies of v1.1: schemas, checks, and conversion to and from v2."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sunshine_async.emulator.fields import FormPart, JsonObject, Refusal, Schema, pick
from sunshine_async.emulator.sunshine import CREATE_BODY, PROFILE

MAX_IMAGE_BYTES: Final = 50 * 10**6

LINKABLE: Final[Mapping[str, str]] = {
    "mailgun": "address",
    "messagebird": "phoneNumber",
    "messenger": "phoneNumber",
    "twilio": "phoneNumber",
    "whatsapp": "phoneNumber",
}
"""The channels that can be linked, with the field for the user's id on the channel."""
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
"""The field for the id of an entity, by channel; channels not listed have no entity."""
URLS: Final[Mapping[str, str]] = {
    "messenger": "https://m.me/page?ref={}",
    "telegram": "https://telegram.me/bot?start={}",
    "viber": "viber://pa?chatURI=bot&context={}",
}
CONFIRMATIONS: Final = ("immediate", "userActivity", "prompt")
CONFIRMATION_MESSAGES: Final = ("text", "image")
_V2_NAMES: Final[Mapping[str, str]] = {
    "_id": "id",
    "userId": "externalId",
    "signedUpAt": "signedUpAt",
    "properties": "metadata",
}
_PHONE_NUMBER: Final = re.compile(r"\+[0-9][0-9 -]*")

_V2: Final = CREATE_BODY.fields or {}
_TEXT: Final = Schema(type="string")
_CLIENTS: Final = Schema(type="array", items=Schema(type="object"))
UPDATE_BODY: Final = Schema(
    type="object",
    fields={
        **{name: rule for name, rule in (PROFILE.fields or {}).items() if name != "locale"},
        "signedUpAt": _V2["signedUpAt"],
        "properties": _V2["metadata"],
    },
)
PRE_CREATE_BODY: Final = Schema(
    type="object", fields={"userId": _V2["externalId"], **(UPDATE_BODY.fields or {})}
)
LINK_BODY: Final = Schema(
    type="object",
    fields={
        "type": _TEXT,
        "confirmation": Schema(
            type="object", fields={"type": _TEXT, "message": Schema(type="object")}
        ),
        "integrationId": _TEXT,
        "phoneNumber": _TEXT,
        "address": _TEXT,
        "givenName": _TEXT,
        "surname": _TEXT,
        "subject": _TEXT,
        "primary": Schema(type="boolean"),
    },
)
_MERGED: Final = Schema(type="object", fields={"_id": _TEXT})
MERGE_BODY: Final = Schema(type="object", fields={"surviving": _MERGED, "discarded": _MERGED})
STORED: Final = Schema(
    type="object",
    fields={
        "_id": Schema(type="string", min_length=1),
        "conversationStarted": Schema(type="boolean"),
        "clients": _CLIENTS,
        "pendingClients": _CLIENTS,
        "businessSystems": _CLIENTS,
        **(PRE_CREATE_BODY.fields or {}),
    },
)


def as_v2(user: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a v1.1 *user* in the format of v2."""
    same = {v2: user[v1] for v1, v2 in _V2_NAMES.items() if v1 in user}
    return {**same, "profile": pick(user, *(PROFILE.fields or {}))}


def as_v1(user: JsonObject) -> JsonObject:
    """Return a v2 *user* in the format of v1.1."""
    profile = {name: value for name, value in user["profile"].items() if name != "locale"}
    return {
        "_id": user["id"],
        **({"userId": user["externalId"]} if "externalId" in user else {}),
        **profile,
        "signedUpAt": user["signedUpAt"],
        "properties": user["metadata"],
    }


@contextmanager
def in_v1_terms() -> Generator[None]:
    """Reword a `Refusal` of v2 in the terms of v1.1."""
    try:
        yield
    except Refusal as refusal:
        titles = [title.replace("metadata", "properties") for title in refusal.titles]
        raise Refusal(refusal.status, refusal.code, *titles) from None


def require(body: Mapping[str, Any], name: str, *, within: str = "") -> None:
    """Raise `Refusal` if *body* lacks a value for *name*."""
    if not body.get(name):
        message = f"{within} should have required property '{name}'".lstrip()
        raise Refusal(400, "bad_request", message)


def external_id_of_link(body: Mapping[str, Any]) -> str:
    """Return the user's id on the channel; raise `Refusal` for an invalid link."""
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


def image_part(form: Mapping[str, FormPart]) -> tuple[str, FormPart]:
    """Return the role of the author and the image; raise `Refusal` for an invalid form."""
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
