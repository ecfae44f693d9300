"""Bodies of v1.1: schemas, checks, and conversion to and from v2."""

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sunshine_async.emulator.fields import (
    OBJECTS,
    PHONE_NUMBER,
    TEXT,
    FormPart,
    JsonObject,
    Refusal,
    Schema,
    array_schema,
    file_in,
    object_schema,
    omit,
    pick,
    refuse,
    text_schema,
)
from sunshine_async.emulator.records import ONLY_V2
from sunshine_async.emulator.sunshine import CREATE_BODY, PROFILE

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

_V2: Final = CREATE_BODY.fields or {}
UPDATE_BODY: Final = object_schema(
    **omit(PROFILE.fields or {}, *ONLY_V2), signedUpAt=_V2["signedUpAt"], properties=_V2["metadata"]
)
PRE_CREATE_BODY: Final = UPDATE_BODY.with_fields(userId=_V2["externalId"])
LINK_BODY: Final = object_schema(
    **dict.fromkeys(("type", "integrationId", "phoneNumber", "address"), TEXT),
    **dict.fromkeys(("givenName", "surname", "subject"), TEXT),
    confirmation=object_schema(type=TEXT, message=Schema(type="object")),
    primary=Schema(type="boolean"),
)
_LINKS: Final = array_schema(object_schema("type", type=text_schema(enum=("link",))))
_USER: Final = object_schema(_id=TEXT)
MERGE_BODY: Final = object_schema(surviving=_USER, discarded=_USER)
STORED: Final = PRE_CREATE_BODY.with_fields(
    _id=Schema(type="string", min_length=1),
    conversationStarted=Schema(type="boolean"),
    **dict.fromkeys(("clients", "pendingClients", "businessSystems"), OBJECTS),
)


def as_v2(user: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a v1.1 *user* in the format of v2."""
    same = {v2: user[v1] for v1, v2 in _V2_NAMES.items() if v1 in user}
    return {**same, "profile": pick(user, *(PROFILE.fields or {}))}


def as_v1(user: JsonObject) -> JsonObject:
    """Return a v2 *user* in the format of v1.1."""
    same = {v1: user[v2] for v1, v2 in _V2_NAMES.items() if v2 in user}
    return {**same, **omit(user["profile"], *ONLY_V2)}


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
        refuse(f"{within} should have required property '{name}'".lstrip())


def external_id_of_link(body: Mapping[str, Any]) -> str:
    """Return the user's id on the channel; raise `Refusal` for an invalid link."""
    require(body, "type")
    require(body, "confirmation")
    require(body["confirmation"], "type", within="confirmation")
    channel, confirmation = body["type"], body["confirmation"]
    _require_one_of(LINKABLE, channel, "type")
    _require_one_of(CONFIRMATIONS, confirmation["type"], "confirmation.type")
    if confirmation["type"] == "prompt" and channel != "twilio":
        refuse("confirmation.type prompt is for twilio only")
    if confirmation["type"] == "userActivity" or channel == "messenger":
        require(confirmation, "message", within="confirmation")
    message_type = confirmation.get("message", {}).get("type", "text")
    _require_one_of(CONFIRMATION_MESSAGES, message_type, "confirmation.message.type")
    actions = confirmation.get("message", {}).get("actions", [])
    _LINKS.validate(actions, "confirmation.message.actions")
    name = LINKABLE[channel]
    require(body, name)
    if name == "phoneNumber":
        PHONE_NUMBER.validate(body[name], name)
    return str(body[name])


def _require_one_of(allowed: Collection[str], value: object, path: str) -> None:
    if value not in allowed:
        refuse(f"{path} should be one of {', '.join(allowed)}")


def image_part(form: Mapping[str, FormPart]) -> tuple[str, FormPart]:
    """Return the role of the author and the image; raise `Refusal` for an invalid form."""
    require(form, "role")
    require(form, "source")
    source = file_in(form)
    kind = source.content_type.lower()
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise Refusal(415, "unsupported_media_type", f"{kind} isn't a type of image")
    return form["role"].beginning.decode(errors="replace"), source
