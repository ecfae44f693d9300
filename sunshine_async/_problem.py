"""What a service says is wrong, whatever shape it says it in."""

import re
from typing import Any, Final

import orjson

from sunshine_async.errors import ErrorDetail

MAX_TEXT: Final = 300

_MARKUP: Final = re.compile(r"<(script|style|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.DOTALL | re.IGNORECASE)


def details(body: bytes) -> tuple[ErrorDetail, ...]:
    """Return the reasons in an error's *body*, as well as they can be made out.

    Known are ``{"errors": [{"code", "title"}]}`` (v2), ``{"error": {"code", "description"}}``
    (v1.1), ``{"error": "...", "error_description": "..."}`` (OAuth) and ``{"message": "..."}``;
    of anything else, HTML too, the readable text is the title. Nothing readable: an empty tuple.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _of(None, _readable(body[: 64 * MAX_TEXT].decode(errors="replace")))
    return _in(data) or _of(None, _text(body.decode()))


def _in(data: Any) -> tuple[ErrorDetail, ...]:
    match data:
        case {"errors": [_, *_] as errors}:
            return tuple(detail for error in errors for detail in _in(error))
        case {"error": {} as error}:
            return _in(error)
        case {"error": str() as code}:
            return _of(_text(code), _text(data.get("error_description") or data.get("message")))
        case {"code": _} | {"title": _} | {"description": _} | {"message": _}:
            title = data.get("title") or data.get("description") or data.get("message")
            return _of(_text(data.get("code")), _text(title))
        case str():
            return _of(None, _text(data))
        case _:
            return ()


def _of(code: str | None, title: str | None) -> tuple[ErrorDetail, ...]:
    return (ErrorDetail(code, title),) if code or title else ()


def _text(value: Any) -> str | None:
    """Return *value* as one short printable line, so that it can stand in a log."""
    if value is None or value in ([], {}):
        return None
    words = "".join(c if c.isprintable() else " " for c in str(value)).split()
    line = " ".join(words)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "..."


def _readable(text: str) -> str | None:
    title = _TITLE.search(text)
    return _text(title[1] if title else _MARKUP.sub(" ", text))
