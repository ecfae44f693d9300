"""One JSON object from one line, read strictly: no key twice, no integer past 64 bits. Pure."""

import json
from collections.abc import Collection
from typing import Any, Final, cast

import orjson
from attrs import frozen

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import INTEGERS

NOT_UTF_8: Final = "not UTF-8: save the file as UTF-8"
RETURN: Final = "a carriage return in the middle: lines end in LF or CR LF"

_NO_OBJECT: Final = (
    "not a JSON object: one user a line, in { }; jq -c '.[]' makes lines of an array"
)
_DIGIT_AS_0: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = b"0" * 19
_DIGITS: Final = 21  # of the longest integer with its sign
_PAST_64_BITS: Final = (
    "an integer past 64 bits, which not every reader of JSON keeps: in quotes it is text"
)


@frozen
class _Odd:
    """A value that readers of JSON read in different ways, and the *reason*."""

    reason: str


def object_in(line: bytes, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON object in *line*, without the keys *skip*.

    Raise `Misfit` with the reason where the line holds anything else, and where readers of JSON
    differ: a key that stands twice in one object, an integer past 64 bits. Values under the keys
    *skip* may be anything.
    """
    try:
        data: Any = orjson.loads(line.strip())
    except orjson.JSONDecodeError as error:
        reason = _not_json(line, error)
    else:
        if type(data) is dict:
            user = cast("dict[str, Any]", data)
            if _is_odd(line, user):
                _check_strictly(line, skip)
            for key in skip:
                user.pop(key, None)
            return user
        reason = _NO_OBJECT
    raise Misfit(reason)


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return NOT_UTF_8
    if b"\r" in line.strip():
        return RETURN
    return f"not JSON: {error.msg} (column {error.colno}); each line is one whole object"


def _is_odd(line: bytes, user: dict[str, Any]) -> bool:
    """Return whether a *line* may hold more than *user* shows: a key twice, a longer integer."""
    return (
        _LONG in line.translate(_DIGIT_AS_0)
        or line.count(b'":') != _keys(user)
        or b" :" in line  # hardly anybody writes a space there, and the count lacks such a key
        or b"\t:" in line
        or b"\r:" in line
    )


def _keys(value: Any) -> int:
    """Return the number of keys in an object or a list *value*, and in all objects inside."""
    count, inner = 0, value
    if value.__class__ is dict:
        count, inner = len(value), value.values()
    for one in inner:
        if one.__class__ is dict or one.__class__ is list:
            count += _keys(one)
    return count


def _check_strictly(line: bytes, skip: Collection[str]) -> None:
    """Raise `Misfit` with the path of the first `_Odd` value in a *line* of JSON."""

    def unique(pairs: list[tuple[str, Any]]) -> object:
        names = [name for name, _ in pairs if name not in skip]
        twice = next((name for name in names if names.count(name) > 1), None)
        return dict(pairs) if twice is None else _Odd(f"the key {twice!r} stands in it twice")

    _find_odd(json.loads(line, parse_int=_whole, object_pairs_hook=unique), "", skip)


def _whole(digits: str) -> int | _Odd:
    if len(digits) > _DIGITS or int(digits) not in INTEGERS:
        return _Odd(_PAST_64_BITS)
    return int(digits)


def _find_odd(value: Any, path: str, skip: Collection[str] = ()) -> None:
    if isinstance(value, _Odd):
        raise Misfit(value.reason, path)
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("Any", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("Any", value))
    for name, one in inner:
        if name not in skip:
            _find_odd(one, f"{path}.{name}" if path else str(name))
