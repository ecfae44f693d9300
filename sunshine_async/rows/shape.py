"""The shape and format of rows, the rows that a file yields, and the errors of reading. Pure."""

import json
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias, cast

from attrs import asdict, field, fields, frozen

from sunshine_async._codec import Misfit
from sunshine_async.errors import ConfigurationError, Saved

FieldPath: TypeAlias = tuple[str, ...]
"""The path of a field from the row inwards, in the names on the wire."""
UTF_8: Final = "utf-8"
OUTCOME_KEY: Final = "_row"
"""The key under which a list of rows that weren't done has the outcome of a row; reading drops the key."""
ONLY_OUTCOME: Final = "the row has only the outcome of another job, and no fields"
_SEPARATOR: Final = "\x1f"
"""Character between the parts of a key; see `row_key`."""
_ESCAPES: Final = (("\x1e", "\x1e0"), (_SEPARATOR, "\x1e1"))

_LONGEST_REASON: Final = 800  # characters

_ALWAYS: Final = ("format", "delimiter", "empty", "renames", "skip", "default_region")
"""Options that a text of options has also without a value."""


class SourceError(ConfigurationError):
    """Error for a file that can't be read in the given format. The text says the next step."""

    options: Sequence[str] = ()
    """Options of ``import``, as a shell splits them, that would make the file readable."""

    _attributes = (*ConfigurationError._attributes, "options")  # noqa: SLF001 - the base class

    def __init__(
        self,
        message: str,
        saved: Saved = MappingProxyType({}),
        *,
        options: Sequence[str] = (),
        maybe_applied: bool = False,
    ) -> None:
        super().__init__(message, saved, maybe_applied=maybe_applied)
        if options:
            self.options = [*options]  # a list, as JSON has it


class Format(Enum):
    """The format of the rows."""

    JSONL = "jsonl"
    CSV = "csv"

    @classmethod
    def of(cls, name: str) -> "Format | None":
        """Return the format that a file's *name* shows, with ``.gz`` or not."""
        path = PurePath(name)
        suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
        return {".jsonl": cls.JSONL, ".ndjson": cls.JSONL, ".csv": cls.CSV}.get(suffix)


class Empty(Enum):
    """The effect of an empty CSV cell on the field."""

    LEAVE = "leave"
    """Leave the field out of the body."""
    NULL = "null"
    """Clear the field, if the service can clear this field."""


@frozen
class Shape:
    """The fields that a row may have: the body's, at least one of *ids*, and those *beside* the body.

    Without a *body* all other names are ignored.
    """

    body: type | None
    ids: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    """The fields with a phone number in E.164, or with a list of such numbers."""
    key: tuple[str, ...] = ()
    """The fields of the body of which each row needs one."""

    @property
    def address(self) -> tuple[str, ...]:
        """The names outside of the body: all are text."""
        return self.ids + self.beside


@frozen
class Row:
    """A readable row. *data* has the names on the wire, nested as on the wire."""

    line: int
    data: dict[str, Any] = field(repr=False)


def _short(reason: str) -> str:
    """Return *reason* without its middle if a key or a column's name makes the reason long."""
    middle = _LONGEST_REASON // 2
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:middle]}...{reason[-middle:]}"


@frozen
class BadRow:
    """An unreadable row, or a row that isn't of the shape. *reason* never has a value of the row."""

    line: int
    reason: str = field(converter=_short)

    @classmethod
    def from_error(cls, line: int, error: Exception, path: str = "") -> Self:
        """Return the bad row for *error*; *path* replaces the path of a `Misfit`."""
        if isinstance(error, Misfit):
            return cls(line, str(Misfit(error.reason, path or error.path)))
        reason = f"can't be read ({type(error).__name__}). This is a defect: please report it"
        reason = "nested too deep" if isinstance(error, RecursionError) else reason
        return cls(line, str(Misfit(reason, path)))


@frozen
class HashPartition:
    """One of *count* parts of a file, by hash of the key: rows with equal keys share a part.

    The part is the same in each process and release. A row without a key counts by the number of
    the row in the file, and so does a bad row.
    """

    index: int
    """Number of the part, from 0."""
    count: int
    names: Sequence[str]
    """Fields that may hold the key, as for `row_key`; *scope* and *named* likewise."""
    scope: Sequence[str] = ()
    named: bool = False

    def __str__(self) -> str:
        return f"part {self.index + 1} of {self.count}"

    def has(self, number: int, row: Row | BadRow) -> bool:
        """Return True if *row*, with the *number* in the file, belongs to this part."""
        key = None
        if isinstance(row, Row):
            key = row_key(row.data, self.names, self.scope, named=self.named)
        text = str(number) if key is None else key
        digest = blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.index


def row_key(
    data: Mapping[str, Any], names: Sequence[str], scope: Sequence[str], *, named: bool
) -> str | None:
    """Return the key of the row *data*: the first text among the fields *names*; None without.

    The texts of the fields *scope* are added. With *named* so is the name of the field. Rows with
    other texts have another key.
    """
    for name in names:
        key = data.get(name)
        if key and isinstance(key, str):
            scopes = map(data.get, scope)
            parts = [key, *(part for part in scopes if part and isinstance(part, str))]
            for plain, escaped in _ESCAPES:
                parts = [part.replace(plain, escaped) for part in parts]
            return _SEPARATOR.join([*parts, name] if named else parts)
    return None


def id_of_key(key: str) -> str:
    """Return the first part of a *key* that `row_key` has made: the user's id."""
    text = key.partition(_SEPARATOR)[0]
    for plain, escaped in reversed(_ESCAPES):
        text = text.replace(escaped, plain)
    return text


@frozen(kw_only=True)
class ReadOptions:
    """The options of `open_rows`."""

    format: Format | None = None
    delimiter: str = ","
    empty: Empty = Empty.LEAVE
    renames: Mapping[str, str] = field(factory=dict[str, str])
    skip: Collection[str] = ()
    default_region: str | None = None
    only_mapped: bool = False
    encoding: str = UTF_8
    timezone: str | None = None
    date_formats: Collection[str] = ()
    partition: HashPartition | None = None
    """The part of the rows to read; None: all rows."""

    @property
    def text(self) -> str:
        """The options as JSON, for `from_text`. Equal options have equal texts."""
        values = {option.name: getattr(self, option.name) for option in fields(ReadOptions)}
        text = {
            name: value.value if isinstance(value, Enum) else value
            for name, value in values.items()
            if name in _ALWAYS or value != _DEFAULTS[name]
        }
        if self.partition is not None:
            text["partition"] = asdict(self.partition)
        lists = {"renames": dict(sorted(self.renames.items())), "skip": sorted(self.skip)}
        return json.dumps(text | lists)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Return the options of a *text*."""
        options = json.loads(text)
        read: dict[str, Any] = {
            "format": Format(options["format"]),
            "empty": Empty(options["empty"]),
        }
        if "partition" in options:
            read["partition"] = HashPartition(**options["partition"])
        return cls(**options | read)


_DEFAULTS: Final = {option.name: option.default for option in fields(ReadOptions)}


def value_at(data: Any, path: Sequence[str]) -> Any:
    """Return the value at *path* of *data*; None where an object around the value is missing."""
    for name in path:
        if type(data) is not dict:
            return None
        data = cast("dict[str, Any]", data).get(name)
    return data


def set_field(data: dict[str, Any], path: FieldPath, value: Any) -> None:
    """Set the field at *path* of *data*, creating the objects around the field.

    Raise `Misfit` if another value stands where an object must be.
    """
    *outer, last = path
    for name in outer:
        data = data.setdefault(name, {})
        if type(data) is not dict:
            reason = "expected an object"
            raise Misfit(reason, name)
    data[last] = value
