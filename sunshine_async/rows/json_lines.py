"""JSON lines: an object a line, read strictly (no key twice, no integer past 64 bits). Pure."""

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, Final, cast

import orjson

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import JSON_INTEGERS, field_path, targets_of
from sunshine_async.rows.lines import LONE_CR, MAX_ROW_BYTES, TOO_LONG, LineReader
from sunshine_async.rows.shape import (
    ONLY_OUTCOME,
    OUTCOME_KEY,
    BadRow,
    ReadOptions,
    Row,
    Shape,
    SourceError,
    set_field,
)

_NO_OBJECT: Final = (
    "not a JSON object: one user a line, in { }; jq -c '.[]' makes lines of an array"
)
_DIGIT_AS_0: Final = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS: Final = b"0" * 19
_PAST_64_BITS: Final = (
    "an integer past 64 bits, which not every reader of JSON keeps: in quotes it is text"
)


class Pairs(list[tuple[str, Any]]):
    """An object of JSON: the keys as written, also those that stand twice."""


class _LongInteger:
    """An integer past 64 bits."""


class JsonRows:
    """The rows of *lines*: iterate once. Raise `SourceError` for an object over many lines."""

    def __init__(self, lines: LineReader, shape: Shape, options: ReadOptions) -> None:
        first = lines.first.strip()
        if first in (b"[", b"{") or (first.startswith(b"[") and not first.endswith(b"]")):
            message = (
                f"{lines.name} is JSON over many lines, not JSON lines: one whole object a line. "
                f"From an array: jq -c '.[]' {shlex.quote(lines.name)} > users.jsonl"
            )
            raise SourceError(message)
        self._lines: Final = lines
        self._line = b""
        self._moves: Final = [
            (field_path(name, shape), key) for name, key in options.renames.items()
        ]
        self._skip: Final = options.skip
        self._keys: Final = (
            {name.partition(".")[0] for name in targets_of(shape)} if options.only_mapped else None
        )

    @property
    def text(self) -> str:
        """The text of the last row."""
        return self._line.decode(errors="replace")

    def __iter__(self) -> Iterator[Row | BadRow]:
        lines = self._lines
        while (line := lines.take()) is not None:
            self._line = line
            if len(line) > MAX_ROW_BYTES:
                yield BadRow(lines.number, TOO_LONG)
            elif not line.isspace():
                yield self._row(line, lines.number)

    def _row(self, line: bytes, number: int) -> Row | BadRow:
        try:
            user = _parse_object(line, self._skip, self._lines.undecodable)
            if user.pop(OUTCOME_KEY, None) and not user:
                return BadRow(number, ONLY_OUTCOME)
            values = {key: user.pop(key) for _, key in self._moves if key in user}
            if self._keys is not None:
                user = {key: value for key, value in user.items() if key in self._keys}
            for path, key in self._moves:
                if key in values:  # a key may set several fields
                    set_field(user, path, values[key])
        except Exception as error:  # noqa: BLE001 - of this row alone
            return BadRow.from_error(number, error)
        return Row(number, user)


def _parse_object(line: bytes, skip: Collection[str], undecodable: str) -> dict[str, Any]:
    """Return the JSON object in *line* without the keys *skip*, which may have any values.

    Raise `Misfit` for any other content, and for a line that is read in different ways elsewhere.
    """
    try:
        data: Any = orjson.loads(line.strip())
    except orjson.JSONDecodeError as error:
        reason = _syntax_reason(line, error, undecodable)
    else:
        if type(data) is dict:
            user = cast("dict[str, Any]", data)
            if _may_be_ambiguous(line, user):
                _check_ambiguity(line, skip)
            for key in skip:
                user.pop(key, None)
            return user
        reason = _NO_OBJECT
    raise Misfit(reason)


def _syntax_reason(line: bytes, error: orjson.JSONDecodeError, undecodable: str) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return undecodable
    if b"\r" in line.strip():
        return LONE_CR
    return f"not JSON: {error.msg} (column {error.colno}); each line is one whole object"


def _may_be_ambiguous(line: bytes, user: dict[str, Any]) -> bool:
    """Return True if *line* may have more than *user* shows: a key twice, a longer integer."""
    return (
        _MANY_DIGITS in line.translate(_DIGIT_AS_0)
        or line.count(b'":') != _count_keys(user)
        # hardly any writer puts space before a colon, and the count lacks such a key
        or (b" :" in line or b"\t:" in line or b"\r:" in line)
    )


def _count_keys(value: Any) -> int:
    """Return the number of keys in an object or a list *value*, and in all objects inside."""
    count, inner = 0, value
    if value.__class__ is dict:
        count, inner = len(value), value.values()
    for item in inner:
        if item.__class__ is dict or item.__class__ is list:
            count += _count_keys(item)
    return count


def _check_ambiguity(line: bytes, skip: Collection[str]) -> None:
    """Raise `Misfit` with the path of the first ambiguous value in a *line* of JSON."""
    check_unambiguous(json.loads(line, parse_int=_integer, object_pairs_hook=Pairs), "", skip)


def _integer(digits: str) -> int | _LongInteger:
    value = int(digits)  # of few digits: orjson has refused a number past those of a float
    return value if value in JSON_INTEGERS else _LongInteger()


def check_unambiguous(value: Any, path: str, skip: Collection[str] = ()) -> None:
    """Raise `Misfit` if readers of JSON read *value*, at *path*, in different ways."""
    inner: Any = ()
    if isinstance(value, _LongInteger):
        raise Misfit(_PAST_64_BITS, path)
    if isinstance(value, Pairs):
        inner = [(name, item) for name, item in value if name not in skip]
        counts = Counter(name for name, _ in inner)
        if len(counts) < len(inner):
            twice = next(name for name, count in counts.items() if count > 1)
            reason = f"the key {twice!r} stands in it twice"
            raise Misfit(reason, path)
    elif isinstance(value, list):
        inner = enumerate(cast("Any", value))
    for name, item in inner:
        check_unambiguous(item, f"{path}.{name}" if path else str(name))
