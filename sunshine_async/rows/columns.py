"""The columns of a table of users: which field each one sets, and how its cells are read. Pure."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from enum import Enum
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import attrs
from attrs import frozen

from sunshine_async._codec import Misfit, wire_name
from sunshine_async._codec.model import Unset
from sunshine_async.errors import ConfigurationError

Cell = Callable[[str], Any]

MANY: Final = "|"
"""What stands between the values in a cell of a list."""
NAME: Final = "NAME"
"""What stands for any name where the known columns are listed."""

_BETWEEN: Final[Mapping[str, str]] = {",": ",", ";": ";", "\t": "tab"}
"""What may stand between cells, and how it is spelled as an option."""

_SPELLINGS: Final[Mapping[str, bool]] = {
    "true": True, "yes": True, "1": True,
    "false": False, "no": False, "0": False,
}  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
INTEGERS: Final = range(-(2**63), 2**64)
_DIGITS: Final = 1000  # of an integer that is looked at: int() raises an error past some thousands


class SourceError(ConfigurationError):
    """A file of rows can't be read, or not as what it is said to be; the text says what to do."""


class Empty(Enum):
    """What an empty cell does to its field."""

    LEAVE = "leave"
    """It is left out of the body."""
    NULL = "null"
    """It is cleared, where the service can clear it."""


@frozen
class Shape:
    """What a row may hold: the fields of *body*, one of *ids* at least, and what stands *beside*.

    Without a body all that isn't named here is passed over.
    """

    body: type | None
    ids: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    """The fields that are phone numbers in E.164, or lists of them."""

    @property
    def address(self) -> tuple[str, ...]:
        """The names that are no part of the body: all of them text."""
        return self.ids + self.beside


@frozen
class Column:
    """One cell of a row: where it stands, where it goes, and how it is read."""

    index: int
    target: tuple[str, ...]
    read: Cell
    nullable: bool

    @property
    def name(self) -> str:
        """The target in the names of the wire."""
        return ".".join(self.target)


@frozen
class _Slot:
    """A field that a column may set. An *open* one holds any names, such as metadata."""

    kind: Any
    nullable: bool = False
    open: bool = False


def text(cell: str) -> str:
    """Return the cell as it stands."""
    return cell


def number(cell: str) -> int | float:
    """Return the number that the cell says; an integer stays one."""
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
        value = int(digits) if len(digits) <= _DIGITS else INTEGERS.stop
        fits = value in INTEGERS
    if not fits:
        reason = "the number is too large"
        raise Misfit(reason)
    return value


def boolean(cell: str) -> bool:
    """Return the truth that the cell says, in one of the six spellings, upper or lower case."""
    value = _SPELLINGS.get(cell.strip().lower())
    if value is None:
        reason = f"expected one of {', '.join(_SPELLINGS)}"
        raise Misfit(reason)
    return value


def several(cell: str) -> list[str]:
    """Return the values in the cell."""
    return cell.split(MANY)


TYPES: Final[Mapping[str, Cell]] = {"number": number, "boolean": boolean, "text": text}
"""What a column may say after a colon."""

_CELLS: Final[Mapping[Any, Cell]] = {
    str: text,
    datetime: text,  # checked with the body, as in JSON
    float: number,
    int: number,
    bool: boolean,
    list[str]: several,
}


def put(data: dict[str, Any], target: Sequence[str], value: Any) -> None:
    """Set the field *target* of *data*, with the objects that are around it."""
    *outer, last = target
    for name in outer:
        data = data.setdefault(name, {})
        if type(data) is not dict:
            reason = "expected an object"
            raise Misfit(reason, name)
    data[last] = value


def target_of(name: str, shape: Shape) -> tuple[str, ...]:
    """Return the path of the field that *name* is; raise `SourceError` for one that isn't known."""
    return _column(name, 0, _slots(shape)).target


def columns(
    header: Sequence[str],
    shape: Shape,
    renames: Mapping[str, str],
    *,
    skip: Collection[str] = (),
    source: str,
) -> tuple[Column, ...]:
    """Return what the cells below *header* are; *renames* has the column of a target.

    Those of the columns *skip* aren't looked at. Raise `SourceError`, about the file *source*, for a header that can't be meant so.
    """
    _check_header(header, source)
    for target, column in renames.items():
        if column not in header:
            near = _nearest(column, header)
            message = (
                f"{source} has no column {column!r} for {target}.{near} It has: {', '.join(header)}"
            )
            raise SourceError(message)
    for column in skip:
        if column not in header:
            near = _nearest(column, header)
            message = (
                f"{source} has no column {column!r} to skip.{near} It has: {', '.join(header)}"
            )
            raise SourceError(message)
    renamed = {*renames.values(), *skip}
    named = [(column, header.index(column)) for column in header if column not in renamed]
    named += [(target, header.index(column)) for target, column in renames.items()]
    slots = _slots(shape)
    if shape.body is None:
        named = [(name, index) for name, index in named if name in slots]
    found = tuple(_column(name, index, slots, source) for name, index in named)
    _check_targets(found, header, shape, source)
    return found


def _check_header(header: Sequence[str], source: str) -> None:
    seen: set[str] = set()
    for place, name in enumerate(header, 1):
        if not name.strip():
            message = (
                f"{source}: column {place} of {len(header)} has no name in the first line. "
                "Name it, or take it out"
            )
            raise SourceError(message)
        if name in seen:
            message = f"{source} has two columns {name!r}. Take one out"
            raise SourceError(message)
        seen.add(name)


def _check_targets(
    found: Sequence[Column], header: Sequence[str], shape: Shape, source: str
) -> None:
    names = [column.name for column in found]
    for name in names:
        if names.count(name) > 1:
            message = f"{source} has two columns for {name}. Take one out"
            raise SourceError(message)
    if shape.ids and not set(shape.ids) & set(names):
        message = (
            f"{source} has no column that says which user: {' or '.join(shape.ids)}. "
            f"It has: {', '.join(header)}. If it is one of these: --map {shape.ids[0]}=COLUMN"
        )
        raise SourceError(message)


def _column(name: str, index: int, slots: Mapping[str, _Slot], source: str = "") -> Column:
    base, colon, kind = name.rpartition(":")
    if not colon:
        base = name
    if base in slots and not slots[base].open:
        slot, target = slots[base], tuple(base.split("."))
    else:
        outer, _, inner = base.partition(".")
        slot = slots.get(outer, _Slot(None))
        if not slot.open or not inner:
            raise _unknown(base, slots, source)
        target = (outer, inner)
    read = _CELLS[slot.kind]
    if colon:
        read = _typed(name, kind, None if slot.open else read, source)
    return Column(index, target, read, slot.nullable)


def _typed(name: str, kind: str, own: Cell | None, source: str) -> Cell:
    """Return how a cell of type *kind* is read; *own* is how the model's field is, where it is one."""
    read = TYPES.get(kind)
    if read is None:
        message = (
            f"{source}: the column {name!r} has a type that isn't known here: {kind}. "
            f"Known: {', '.join(TYPES)} (for a name with a colon in it: {name}:text)"
        )
        raise SourceError(message)
    if own not in (None, read):
        message = f"{source}: the column {name!r} isn't a {kind} to the service. Leave out :{kind}"
        raise SourceError(message)
    return read


def _unknown(name: str, slots: Mapping[str, _Slot], source: str) -> SourceError:
    known = [f"{key}.{NAME}" if slot.open else key for key, slot in slots.items()]
    what = f"{source}: the column {name!r}" if source else repr(name)
    said = f"{what} isn't a field that is known here.{_nearest(name, known)}"
    said += f" Known: {', '.join(known)}"
    if not source:
        return SourceError(said)
    for character, spelled in _BETWEEN.items():
        if character in name:
            return SourceError(
                f"{said}. Are the cells separated otherwise? --delimiter '{spelled}'"
            )
    return SourceError(
        f"{said}. The first line names the columns: rename this one (--map FIELD={name}), "
        f"or pass it over (--skip {name})"
    )


def _nearest(name: str, known: Sequence[str]) -> str:
    """Return a question for what is close to *name*, a blank before it, or nothing."""
    lower = {each.lower(): each for each in known}
    ends = {each.rpartition(".")[2].lower(): each for each in known}
    for names in (lower, ends):
        close = get_close_matches(name.lower().replace("_", ""), names, n=1, cutoff=0.7)
        if close:
            return f" Did you mean {names[close[0]]}?"
    return ""


def _slots(shape: Shape) -> dict[str, _Slot]:
    slots = {name: _Slot(str) for name in shape.address}
    if shape.body is not None:
        slots |= dict(_fields(shape.body, ""))
    return slots


def _fields(body: type, prefix: str) -> Iterator[tuple[str, _Slot]]:
    for field in attrs.fields(body):
        members = _members(field.type)
        kinds = [member for member in members if member not in (NoneType, Unset)]
        name = prefix + wire_name(field.name)
        nullable = NoneType in members
        if len(kinds) != 1 or field.name == "extra":
            continue
        if attrs.has(kinds[0]):
            yield from _fields(kinds[0], f"{name}.")
        elif get_origin(kinds[0]) is Mapping:
            yield name, _Slot(str, nullable=True, open=True)
        elif kinds[0] in _CELLS:
            yield name, _Slot(kinds[0], nullable=nullable)


def times(body: type) -> tuple[tuple[str, ...], ...]:
    """Return the paths of the fields of *body* that are times."""
    return tuple(
        tuple(name.split(".")) for name, slot in _fields(body, "") if slot.kind is datetime
    )


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
