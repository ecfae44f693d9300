"""Columns of a CSV file: the field that each column sets, and the reader of the cells. Pure."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from math import isfinite
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin

import attrs
from attrs import frozen

from sunshine_async._codec import Misfit, wire_name
from sunshine_async._codec.unions import members_of
from sunshine_async.rows.shape import FieldPath, ReadOptions, Shape, SourceError

CellReader: TypeAlias = Callable[[str], Any]

_DELIMITERS: Final[Mapping[str, str]] = {",": ",", ";": ";", "\t": "tab"}
"""The usual delimiters of cells, and the spelling as an option."""

_BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True, "yes": True, "1": True,
    "false": False, "no": False, "0": False,
}  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
JSON_INTEGERS: Final = range(-(2**63), 2**64)
_MAX_DIGITS: Final = 1000  # of a column's integer: int() raises an error past some thousands


@frozen
class Column:
    """A column: the index of the cell in a row, the path of the field, and the reader of the cell."""

    index: int
    path: FieldPath
    read: CellReader
    nullable: bool

    @property
    def name(self) -> str:
        """The path as text, in the names on the wire."""
        return ".".join(self.path)


@frozen
class _ColumnTarget:
    """A field that a column may set. With *any_name* the field accepts any names (metadata)."""

    kind: Any
    nullable: bool = False
    any_name: bool = False


def read_number(cell: str) -> int | float:
    """Return the number in the cell, an integer for digits alone; raise `Misfit` for other text."""
    digits = cell.strip()
    match = _NUMBER.fullmatch(digits)
    if match is None:
        reason = "expected a number such as 12 or 3.5"
        raise Misfit(reason)
    value: int | float
    if match[1] or match[2]:
        value = float(digits)
        fits = isfinite(value)
    else:
        value = int(digits) if len(digits) <= _MAX_DIGITS else JSON_INTEGERS.stop
        fits = value in JSON_INTEGERS
    if not fits:
        reason = "the number is too large"
        raise Misfit(reason)
    return value


def read_boolean(cell: str) -> bool:
    """Return the boolean in the cell, in any of six spellings, upper or lower case."""
    value = _BOOLEANS.get(cell.strip().lower())
    if value is None:
        reason = f"expected one of {', '.join(_BOOLEANS)}"
        raise Misfit(reason)
    return value


_TYPES: Final[dict[str, CellReader]] = {"number": read_number, "boolean": read_boolean, "text": str}
"""The types that a column's name may have after a colon."""

_CELL_READERS: Final[Mapping[Any, CellReader]] = {
    str: str,
    datetime: str,  # checked with the body, as in JSON
    float: read_number,
    int: read_number,
    bool: read_boolean,
    list[str]: lambda cell: cell.split("|"),
}
"""The readers of cells, by the type of the field."""


def field_path(name: str, shape: Shape) -> FieldPath:
    """Return the path of the field *name*; raise `SourceError` for an unknown field."""
    return _column(name, 0, _targets(shape)).path


def match_columns(header: Sequence[str], options: ReadOptions, source: str) -> tuple[Column, ...]:
    """Return the columns to read below *header*, without the columns to skip.

    Raise `SourceError`, naming the file *source*, for a header with unnamed, repeated, missing or
    unknown columns.
    """
    shape, renames, skip = options.shape, options.renames, options.skip
    if place := next((at for at, name in enumerate(header, 1) if not name.strip()), None):
        message = (
            f"{source}: column {place} of {len(header)} has no name in the first line. "
            "Name it, or take it out"
        )
        raise SourceError(message)
    if (twice := _repeated(header)) is not None:
        message = f"{source} has two columns {twice!r}. Take one out"
        raise SourceError(message)
    uses = [(column, f"for {name}") for name, column in renames.items()]
    for column, use in (*uses, *((column, "to skip") for column in skip)):
        if column not in header:
            near = _nearest(column, header)
            message = f"{source} has no column {column!r} {use}.{near} It has: {', '.join(header)}"
            raise SourceError(message)
    used = {*renames.values(), *skip}
    named = [(column, header.index(column)) for column in header if column not in used]
    named += [(name, header.index(column)) for name, column in renames.items()]
    targets = _targets(shape)
    if shape.body is None:
        named = [(name, index) for name, index in named if name in targets]
    found = tuple(_column(name, index, targets, source) for name, index in named)
    names = [column.name for column in found]
    if (twice := _repeated(names)) is not None:
        message = f"{source} has two columns for {twice}. Take one out"
        raise SourceError(message)
    if shape.ids and not set(shape.ids) & set(names):
        message = (
            f"{source} has no column that says which user: {' or '.join(shape.ids)}. "
            f"It has: {', '.join(header)}. If it is one of these: --map {shape.ids[0]}=COLUMN"
        )
        raise SourceError(message)
    return found


def _repeated(names: Sequence[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _column(
    name: str, index: int, targets: Mapping[str, _ColumnTarget], source: str = ""
) -> Column:
    base, colon, kind = name.rpartition(":")
    if not colon:
        base = name
    if base in targets and not targets[base].any_name:
        target, path = targets[base], tuple(base.split("."))
    else:
        outer, _, inner = base.partition(".")
        target = targets.get(outer, _ColumnTarget(None))
        if not target.any_name or not inner:
            raise _unknown(base, targets, source)
        path = (outer, inner)
    read = _CELL_READERS[target.kind]
    if colon:
        read = _typed_reader(name, kind, None if target.any_name else read, source)
    return Column(index, path, read, target.nullable)


def _typed_reader(name: str, kind: str, expected: CellReader | None, source: str) -> CellReader:
    """Return the reader for the type *kind* in a column's name; *expected* is the field's."""
    read = _TYPES.get(kind)
    if read is None:
        message = (
            f"{source}: the column {name!r} has a type that isn't known here: {kind}. "
            f"Known: {', '.join(_TYPES)} (for a name with a colon in it: {name}:text)"
        )
        raise SourceError(message)
    if expected not in (None, read):
        message = f"{source}: the column {name!r} isn't a {kind} to the service. Leave out :{kind}"
        raise SourceError(message)
    return read


def _unknown(name: str, targets: Mapping[str, _ColumnTarget], source: str) -> SourceError:
    known = [f"{key}.NAME" if target.any_name else key for key, target in targets.items()]
    subject = f"{source}: the column {name!r}" if source else repr(name)
    near = _nearest(name, known)
    message = f"{subject} isn't a field that is known here.{near} Known: {', '.join(known)}"
    if not source:
        return SourceError(message)
    for character, option in _DELIMITERS.items():
        if character in name:
            hint = f"Are the cells separated otherwise? --delimiter '{option}'"
            return SourceError(f"{message}. {hint}")
    return SourceError(
        f"{message}. The first line names the columns: rename this one (--map FIELD={name}), "
        f"or pass it over (--skip {name})"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return a question with the known name closest to *name*, or nothing."""
    lower = {other.lower(): other for other in known}
    ends = {other.rpartition(".")[2].lower(): other for other in known}
    for names in (lower, ends):
        close = get_close_matches(name.lower().replace("_", ""), names, n=1, cutoff=0.7)
        if close:
            return f" Did you mean {names[close[0]]}?"
    return ""


def time_fields(body: type) -> tuple[FieldPath, ...]:
    """Return the paths of the fields of *body* that are times."""
    fields = _body_targets(body)
    return tuple(tuple(name.split(".")) for name, target in fields if target.kind is datetime)


def _targets(shape: Shape) -> dict[str, _ColumnTarget]:
    targets = {name: _ColumnTarget(str) for name in shape.address}
    return targets if shape.body is None else targets | dict(_body_targets(shape.body))


def _body_targets(body: type, prefix: str = "") -> Iterator[tuple[str, _ColumnTarget]]:
    for field in attrs.fields(body):
        kinds = members_of(field.type)
        name = prefix + wire_name(field.name)
        if len(kinds) != 1 or field.name == "extra":
            continue
        if attrs.has(kinds[0]):
            yield from _body_targets(kinds[0], f"{name}.")
        elif get_origin(kinds[0]) is Mapping:
            yield name, _ColumnTarget(str, nullable=True, any_name=True)
        elif kinds[0] in _CELL_READERS:
            yield name, _ColumnTarget(kinds[0], nullable=NoneType in get_args(field.type))
