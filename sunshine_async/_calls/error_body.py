"""Parser of error bodies, in every shape that the services use. Pure."""

import re
from codecs import BOM_UTF8
from itertools import islice
from typing import Any, Final, cast

import orjson

from sunshine_async import _codec
from sunshine_async._http.foreign_text import one_line, without_secrets
from sunshine_async._http.messages import Response
from sunshine_async.errors import ErrorDetail

MAX_TEXT: Final = 300
MAX_DETAILS: Final = 10

_MAX_BODY: Final = 2**20  # bytes as JSON; a larger body is read as text, at the beginning only
_MAX_READ: Final = 64 * MAX_TEXT
_MAX_DEPTH: Final = 3

# texts: only an error pays for the compilation; each reads a body once, whatever the body has
_MARKUP: Final = r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>"
_CODES: Final = r"\[errors\s*[=:]([^\[\]]*)\]"
_CODE: Final = r"(?:^|,)\s*([A-Za-z]\w*)"
_TITLE: Final = r"(?is)<title[^<>]*>(.*?)(?:</title|\Z)"


def error_details(body: bytes, hidden: tuple[str, ...] = ()) -> tuple[ErrorDetail, ...]:
    """Return the reasons in an error's *body*; an empty tuple if nothing is readable.

    - ``{"errors": [{"code", "title"}]}`` (v2)
    - ``{"error": {"code", "description"}}`` (v1.1)
    - ``{"error": "...", "error_description": "..."}`` (OAuth)
    - ``{"message": "..."}``, also with codes as in ``[errors=A,B]`` or ``[errors:A]``
    - anything else, HTML too: the readable text is the title

    The texts in *hidden* are removed, as `without_secrets` does.
    """
    return tuple(
        ErrorDetail(_shorten(detail.code, hidden), _shorten(detail.title, hidden))
        for detail in _parse(body)
    )


def _shorten(text: str | None, hidden: tuple[str, ...]) -> str | None:
    """Return *text* without the texts in *hidden*, and then cut: no part of a secret stays."""
    if text is None:
        return None
    text = without_secrets(text, hidden)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def is_foreign(response: Response) -> bool:
    """Return True if the body isn't JSON: perhaps a gateway's page. A lost body is what its type says."""
    if response.body_error:
        return "json" not in response.headers.get("content-type", "").lower()
    try:
        _codec.decode(response.body)
    except _codec.Misfit:
        return bool(response.body.strip())
    return False


def _parse(body: bytes) -> tuple[ErrorDetail, ...]:
    beginning = body[:_MAX_READ].decode(errors="replace")
    if len(body) > _MAX_BODY:
        return _detail(None, _visible(beginning))
    try:
        data = orjson.loads(body.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError:
        return _detail(None, _visible(beginning))
    return _parse_json(data, 1) or _detail(None, _one_line(beginning.replace(r"\/", "/")))


def _parse_json(data: Any, depth: int) -> tuple[ErrorDetail, ...]:
    match data:
        case {"errors": [_, *_] as errors} if depth < _MAX_DEPTH:
            every = (detail for error in errors for detail in _parse_json(error, depth + 1))
            return tuple(islice(every, MAX_DETAILS))
        case {"error": {} as error} if depth < _MAX_DEPTH:
            return _parse_json(error, depth + 1)
        case {"error": str() as code}:
            return _detail(_one_line(code), _first_line(data, "error_description", "message"))
        case {"message": str() as text} if found := re.search(_CODES, text[:_MAX_READ]):
            first, *more = re.findall(_CODE, found[1])[:MAX_DETAILS] or [
                _one_line(data.get("code"))
            ]
            return (*_detail(first, _one_line(text)), *(ErrorDetail(code, None) for code in more))
        case {"code": _} | {"title": _} | {"description": _} | {"message": _}:
            return _detail(
                _one_line(data.get("code")), _first_line(data, "title", "description", "message")
            )
        case _:
            return _detail(None, _one_line(data) if isinstance(data, str) else None)


def _detail(code: str | None, title: str | None) -> tuple[ErrorDetail, ...]:
    return (ErrorDetail(code, title),) if code or title else ()


def _first_line(data: Any, *keys: str) -> str | None:
    return next(filter(None, (_one_line(data.get(key)) for key in keys)), None)


def _one_line(value: Any) -> str | None:
    """Return *value* as one printable line; None for nothing readable."""
    if isinstance(value, list):
        value = "; ".join(item for item in cast("list[object]", value) if isinstance(item, str))
    if value is None or isinstance(value, dict):
        return None
    return one_line(str(value)[:_MAX_READ]) or None


def _visible(text: str) -> str | None:
    title = re.search(_TITLE, text)
    return _one_line(title[1] if title else re.sub(_MARKUP, " ", text))
