"""Bodies of messages: schemas of 9 kinds of content, 6 actions, authors and destinations.

The schemas have the fields that a request may set. Fields that the service sets itself, such as
``mediaType`` and ``submitted``, are accepted and ignored, as are unknown fields.

Assumed, where the specification is silent:

- A text message with an empty text, and without ``actions``, ``htmlText`` or ``markdownText``,
  is a 400.
- ``text`` of a message with ``htmlText`` or ``markdownText`` alone is that text. ``markdownText``
  is never returned.
- The options of a form response are in ``textFallback`` with their labels, between commas.
- Content with ``schema`` is stored unchecked, without known fields. A template needs no ``schema``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import unquote

from sunshine_async.emulator.fields import (
    BOOLEAN,
    INTEGER,
    METADATA,
    NUMBER,
    OBJECT,
    OBJECTS,
    TEXT,
    JsonObject,
    Schema,
    array_schema,
    object_schema,
    omit,
    refuse,
    text_schema,
)

_URI: Final = text_schema(format="uri")
_ICON: Final = text_schema(1, 2048, format="uri")
_LONG_TEXT: Final = text_schema(0, 4096)
_NAME: Final = text_schema(1, 128)
_SHORT_TEXT: Final = text_schema(0, 128)

_CHANNEL_OPTIONS: Final = object_schema(
    messenger=object_schema(
        messenger_extensions=BOOLEAN, webview_share_button=text_schema(enum=("hide",))
    )
)
_ACTION_FIELDS: Final[Mapping[str, Schema]] = {"type": TEXT, "text": TEXT, "metadata": METADATA}
_LINK_FIELDS: Final[Mapping[str, Schema]] = {
    **_ACTION_FIELDS,
    "uri": TEXT,
    "default": BOOLEAN,
    "extraChannelOptions": _CHANNEL_OPTIONS,
}
ACTIONS: Final[Mapping[str, Schema]] = {
    "buy": object_schema("text", "amount", **_ACTION_FIELDS, amount=INTEGER, currency=TEXT),
    "link": object_schema("uri", "text", **_LINK_FIELDS),
    "locationRequest": object_schema("text", **_ACTION_FIELDS),
    "postback": object_schema("text", "payload", **_ACTION_FIELDS, payload=TEXT),
    "reply": object_schema("text", "payload", **_ACTION_FIELDS, payload=TEXT, iconUrl=TEXT),
    "webview": object_schema(
        "uri",
        "text",
        "fallback",
        **_LINK_FIELDS,
        size=text_schema(enum=("compact", "tall", "full")),
        fallback=TEXT,
        openOnReceive=BOOLEAN,
    ),
}
"""The actions of a text, of an image and, except replies and location requests, of an item."""
_ACTION: Final = Schema(type="object", kinds=ACTIONS)
_ITEM_ACTION: Final = Schema(type="object", kinds=omit(ACTIONS, "locationRequest", "reply"))
_ITEM: Final = object_schema(
    "title",
    "actions",
    title=_NAME,
    description=_SHORT_TEXT,
    mediaUrl=text_schema(0, 2048, format="uri"),
    mediaType=_SHORT_TEXT,
    altText=_SHORT_TEXT,
    size=text_schema(enum=("compact", "large")),
    actions=array_schema(_ITEM_ACTION, 1, 3),
    metadata=METADATA,
)
_FIELD: Final = object_schema(
    "type",
    "name",
    "label",
    type=text_schema(enum=("email", "select", "text")),
    name=_NAME,
    label=_NAME,
    text=text_schema(1, 256),
    email=_NAME,
    select=OBJECTS,
    format=text_schema(enum=("integer", "decimal")),
)
_SIZE: Final = Schema(type="integer", minimum=1, maximum=256)
FORM_FIELD: Final = _FIELD.with_fields(
    placeholder=_NAME,
    minSize=_SIZE,
    maxSize=_SIZE,
    options=array_schema(object_schema(label=_NAME, name=_NAME), 0, 200),
)
_TYPE: Final[Mapping[str, Schema]] = {"type": TEXT}
_CONTENT_FIELDS: Final[Mapping[str, Schema]] = {"type": TEXT, "blockChatInput": BOOLEAN}
_FILE_FIELDS: Final[Mapping[str, Schema]] = {
    **_CONTENT_FIELDS,
    "mediaUrl": _URI,
    "altText": _SHORT_TEXT,
    "text": TEXT,
    "htmlText": _LONG_TEXT,
    "markdownText": _LONG_TEXT,
    "attachmentId": TEXT,
}
_ACTION_LIST: Final = array_schema(_ACTION)
CONTENTS: Final[Mapping[str, Schema]] = {
    "text": object_schema(
        **_CONTENT_FIELDS,
        text=_LONG_TEXT,
        htmlText=_LONG_TEXT,
        markdownText=_LONG_TEXT,
        actions=_ACTION_LIST,
        payload=TEXT,
    ),
    "carousel": object_schema(
        "items",
        **_CONTENT_FIELDS,
        items=array_schema(_ITEM, 1, 10),
        displaySettings=object_schema(imageAspectRatio=text_schema(enum=("horizontal", "square"))),
    ),
    "file": object_schema("mediaUrl", **_FILE_FIELDS),
    "form": object_schema(
        "fields", **_CONTENT_FIELDS, fields=array_schema(FORM_FIELD, 1, 20), text=TEXT
    ),
    "formResponse": object_schema(
        "fields", **_TYPE, fields=array_schema(_FIELD.with_fields(quotedMessageId=TEXT), 1, 20)
    ),
    "image": object_schema("mediaUrl", **_FILE_FIELDS, actions=_ACTION_LIST),
    "list": object_schema(
        "items",
        **_CONTENT_FIELDS,
        items=array_schema(_ITEM, 1, 10),
        actions=array_schema(_ITEM_ACTION, 1, 10),
    ),
    "location": object_schema(
        "coordinates",
        **_CONTENT_FIELDS,
        coordinates=object_schema("lat", "long", lat=NUMBER, long=NUMBER),
        location=object_schema(address=TEXT, name=TEXT),
    ),
    "template": object_schema("template", **_CONTENT_FIELDS, template=OBJECT),
}
CONTENT: Final = Schema(type="object", kinds=CONTENTS)

AUTHOR: Final = object_schema(
    "type",
    type=text_schema(enum=("business", "user")),
    subtypes=array_schema(text_schema(enum=("AI", "activity", "agent", "bot")), 1, 1),
    userId=TEXT,
    userExternalId=TEXT,
    brandId=text_schema(1, 24, nullable=True),
    displayName=TEXT,
    avatarUrl=_ICON,
)
_OVERRIDE: Final = object_schema(payload=OBJECT)
_CAPABILITY: Final = text_schema(enum=("LIST", "TIME", "FORM", "QUICK", "AUTH2"))
MESSAGE_POST: Final = object_schema(
    "author",
    "content",
    author=AUTHOR,
    content=OBJECT,
    destination=object_schema(integrationId=TEXT, integrationType=TEXT),
    metadata=METADATA,
    override=object_schema(
        apple=_OVERRIDE.with_fields(withCapabilities=array_schema(_CAPABILITY)),
        **dict.fromkeys(("line", "messenger", "whatsapp"), _OVERRIDE),
    ),
    schema=TEXT,
)
"""The body of PostMessage; `checked_content` validates the content."""


def checked_content(body: Mapping[str, Any]) -> JsonObject:
    """Return the content of a message as stored; raise `Refusal` (400) with the field."""
    if "schema" in body:
        return {**body["content"]}
    content: JsonObject = CONTENT.validate(body["content"], "content")
    texts = [content.get(name) for name in ("text", "htmlText", "markdownText")]
    problems = [*_problems(content, texts)]
    if problems:
        refuse(*problems)
    if any(texts):
        content["text"] = next(filter(None, texts))
    if content["type"] == "formResponse":
        content["textFallback"] = "\n".join(map(_line, content["fields"]))
    if "items" in content:
        content["items"] = [*map(_with_alt_text, content["items"])]
    return omit(_with_alt_text(content), "markdownText")


def _problems(content: Mapping[str, Any], texts: Sequence[str | None]) -> Iterator[str]:
    """Yield the rules for *content* as a whole that *content* breaks."""
    fields = content.get("fields", ())
    options = [field.get("options", ()) for field in fields]
    holders = (content, *content.get("items", ()))
    actions = [action for holder in holders for action in holder.get("actions", ())]
    for problem, holds in {
        "content should have required property 'text'": (
            content["type"] == "text" and not any(texts) and not actions
        ),
        "content should have one of htmlText and markdownText": all(texts[1:]),
        "content.fields should have names that differ": _has_twins(fields),
        "content.fields should have options with names that differ": any(map(_has_twins, options)),
        "content should have one action with openOnReceive": (
            sum(action.get("openOnReceive", False) for action in actions) > 1
        ),
    }.items():
        if holds:
            yield problem


def _has_twins(named: Sequence[Mapping[str, Any]]) -> bool:
    names = [one["name"] for one in named if "name" in one]
    return len({*names}) < len(names)


def _line(field: Mapping[str, Any]) -> str:
    """Return a field of a form response as a line of ``textFallback``."""
    value = field.get(field["type"], "")
    if isinstance(value, list):
        options = cast("list[Mapping[str, Any]]", value)
        value = ", ".join(str(option.get("label", "")) for option in options)
    return f"{field['label']}: {value}"


def _with_alt_text(holder: Mapping[str, Any]) -> JsonObject:
    """Return content or an item with the name of the file as ``altText``, unless set."""
    _, _, path = re.split("[?#]", holder.get("mediaUrl", ""))[0].partition("://")
    name = unquote(path.partition("/")[2].rpartition("/")[2])
    return {"altText": name, **holder} if name else {**holder}
