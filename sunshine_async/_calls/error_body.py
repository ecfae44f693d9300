"""What a service says is wrong, whatever shape it says it in."""

import re
from codecs import BOM_UTF8
from itertools import islice
from typing import Any, Final, TypeGuard

import orjson

from sunshine_async.errors import ErrorDetail

MAX_TEXT: Final = 300
MAX_DETAILS: Final = 10

_MAX_BODY: Final = 2**20  # as JSON; of what is larger, only the beginning is read, as text
_MAX_READ: Final = 64 * MAX_TEXT
_MAX_DEPTH: Final = 3
_SECRET: Final = 6  # characters

_MARKUP: Final = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_CODES: Final = re.compile(r"\[errors\s*[=:]([^\]]*)\]")
_CODE: Final = re.compile(r"(?:^|,)\s*([A-Za-z]\w*)")
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)


def details(body: bytes, hidden: tuple[str, ...] = ()) -> tuple[ErrorDetail, ...]:
    """Return the reasons in an error's *body*, as well as they can be made out.

    Known are ``{"errors": [{"code", "title"}]}`` (v2), ``{"error": {"code", "description"}}``
    (v1.1), ``{"error": "...", "error_description": "..."}`` (OAuth) and ``{"message": "..."}``, also with
    codes in it as in ``[errors=A,B]`` or ``[errors:A]``;
    of anything else, HTML too, the readable text is the title. Nothing readable: an empty tuple.
    None of the texts in *hidden* is in them, but for those so short that words would suffer.
    """
    found = _details(body)
    for secret in hidden:
        if len(secret) >= _SECRET:
            found = tuple(
                ErrorDetail(
                    *(text and text.replace(secret, "...") for text in (one.code, one.title))
                )
                for one in found
            )
    return found


def _details(body: bytes) -> tuple[ErrorDetail, ...]:
    beginning = body[:_MAX_READ].decode(errors="replace")
    if len(body) > _MAX_BODY:
        return _of(None, _readable(beginning))
    try:
        data = orjson.loads(body.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError:
        return _of(None, _readable(beginning))
    return _in(data, 1) or _of(None, _text(beginning))


def _in(data: Any, depth: int) -> tuple[ErrorDetail, ...]:
    match data:
        case {"errors": [_, *_] as errors} if depth < _MAX_DEPTH:
            every = (detail for error in errors for detail in _in(error, depth + 1))
            return tuple(islice(every, MAX_DETAILS))
        case {"error": {} as error} if depth < _MAX_DEPTH:
            return _in(error, depth + 1)
        case {"error": str() as code}:
            return _of(_text(code), _first(data, "error_description", "message"))
        case {"message": str() as text} if found := _CODES.search(text[:_MAX_READ]):
            first, *others = _CODE.findall(found[1])[:MAX_DETAILS] or [_text(data.get("code"))]
            return (*_of(first, _text(text)), *(ErrorDetail(code, None) for code in others))
        case {"code": _} | {"title": _} | {"description": _} | {"message": _}:
            return _of(_text(data.get("code")), _first(data, "title", "description", "message"))
        case _:
            return _of(None, _text(data) if isinstance(data, str) else None)


def _of(code: str | None, title: str | None) -> tuple[ErrorDetail, ...]:
    return (ErrorDetail(code, title),) if code or title else ()


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _first(data: Any, *keys: str) -> str | None:
    return next(filter(None, (_text(data.get(key)) for key in keys)), None)


def _text(value: Any) -> str | None:
    """Return *value* as one short printable line, so that it can stand in a log."""
    if _is_list(value):
        value = "; ".join(item for item in value if isinstance(item, str))
    if value is None or isinstance(value, dict):
        return None
    text = str(value)[:_MAX_READ]
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "...") or None


def _readable(text: str) -> str | None:
    title = _TITLE.search(text)
    return _text(title[1] if title else _MARKUP.sub(" ", text))
