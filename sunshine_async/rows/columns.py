"""Columns of a CSV file: the field that each column sets, and the reader of the cells. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from math import isfinite
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin

import attrs
from attrs import frozen

from sunshine_async._codec import Misfit, wire_name
from sunshine_async._codec.unions import members_of
from sunshine_async.rows.shape import FieldPath, Shape, SourceError

CellReader: TypeAlias = Callable[[str], Any]

_SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "givenname": ("firstname", "forename", "vorname", "prenom"),
    "firstname": ("givenname", "forename", "vorname", "prenom"),
    "surname": ("lastname", "familyname", "nachname", "nom"),
    "lastname": ("surname", "familyname", "nachname", "nom"),
    "displayname": ("name", "fullname"),
    "email": ("mail", "emailaddress", "mailaddress"),
    "phonenumber": ("phone", "mobile", "mobilephone", "telephone", "telefon"),
    "avatarurl": ("avatar", "picture", "photo"),
    "locale": ("language", "lang", "sprache"),
    "signedupat": ("signup", "signupdate", "created", "createdat", "createddate"),
    "externalid": ("customerid", "customerno", "customernumber", "contactid", "kundennummer"),
    "userid": ("customerid", "customerno", "customernumber", "contactid", "kundennummer"),
}
"""Usual names of columns, by the end of the field's name: lower-case letters and digits."""

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
class ColumnTarget:
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


def field_path(name: str, shape: Shape, key: str = "") -> FieldPath:
    """Return the path of the field *name*; raise `SourceError` for an unknown field.

    *key* is the column or key that the field comes from: perhaps the two stand the wrong way round.
    """
    found = targets_of(shape)
    column = column_of(name, 0, found)
    if column is None:
        if key in found:
            message = f"--map is FIELD=COLUMN, the other way round: --map {key}={name}"
            raise SourceError(message)
        near = f" Did you mean {guess}?" if (guess := guess_field(name, found)) else ""
        message = f"{name!r} isn't a field that is known here.{near} Known: {known_fields(found)}"
        raise SourceError(message)
    return column.path


def column_of(
    name: str, index: int, targets: Mapping[str, ColumnTarget], source: str = ""
) -> Column | None:
    """Return the column called *name*, or None if that isn't a field among *targets*.

    Raise `SourceError`, naming the file *source*, for an unknown type, or a type of another field.
    """
    base, colon, kind = name.rpartition(":")
    if not colon:
        base = name
    if base in targets and not targets[base].any_name:
        target, path = targets[base], tuple(base.split("."))
    else:
        outer, _, inner = base.partition(".")
        target = targets.get(outer, ColumnTarget(None))
        if not target.any_name or not inner:
            return None
        path = (outer, inner)
    read = _CELL_READERS[target.kind]
    if colon:
        read = _typed_reader(name, kind, None if target.any_name else read, source)
    return Column(index, path, read, target.nullable)


def _typed_reader(name: str, kind: str, expected: CellReader | None, source: str) -> CellReader:
    """Return the reader for the type *kind* in a column's name; *expected* is the field's."""
    subject = f"{source}: the column {name!r}" if source else f"the field {name!r}"
    read = _TYPES.get(kind)
    if read is None:
        message = (
            f"{subject} has a type that isn't known here: {kind}. "
            f"Known: {', '.join(_TYPES)} (for a name with a colon in it: {name}:text)"
        )
        raise SourceError(message)
    if expected not in (None, read):
        message = f"{subject} isn't a {kind} to the service. Leave out :{kind}"
        raise SourceError(message)
    return read


def known_fields(targets: Mapping[str, ColumnTarget]) -> str:
    """Return the names of all fields, for a message."""
    return ", ".join(f"{key}.NAME" if target.any_name else key for key, target in targets.items())


def guess_field(name: str, targets: Mapping[str, ColumnTarget]) -> str:
    """Return the field that *name* probably means, or nothing."""
    known = [key for key, target in targets.items() if not target.any_name]
    ends = {_letters(key.rpartition(".")[2]): key for key in known}
    ends |= {
        synonym: ends[end] for end, words in _SYNONYMS.items() if end in ends for synonym in words
    }
    name = name.removeprefix("profile.")  # Sunshine's name of fields that others have at the top
    return guess_name(name, {**ends, **{_letters(key): key for key in known}})


def guess_name(name: str, known: Mapping[str, str]) -> str:
    """Return the value in *known* whose key, lower-case letters, is closest to *name*, or nothing."""
    letters = _letters(name)
    close = [letters] if letters in known else get_close_matches(letters, known, n=1, cutoff=0.8)
    return known[close[0]] if close else ""


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def time_fields(body: type) -> tuple[FieldPath, ...]:
    """Return the paths of the fields of *body* that are times."""
    fields = _body_targets(body)
    return tuple(tuple(name.split(".")) for name, target in fields if target.kind is datetime)


def targets_of(shape: Shape) -> dict[str, ColumnTarget]:
    """Return the fields that a column may set, by name."""
    targets = {name: ColumnTarget(str) for name in shape.address}
    return targets if shape.body is None else targets | dict(_body_targets(shape.body))


def needs_of(shape: Shape) -> dict[str, tuple[str, ...]]:
    """Return the needs of each row, by description: the fields of which a row has at least one."""
    needs: dict[str, tuple[str, ...]] = {}
    required: tuple[Any, ...] = () if shape.body is None else attrs.fields(shape.body)
    for field in required:
        if field.default is attrs.NOTHING:
            name = wire_name(field.name)
            needs[f"with {name}"] = (name,)
    if fields := shape.ids or shape.key:
        needs = {f"that says which user: {' or '.join(fields)}": fields, **needs}
    return needs


def _body_targets(body: type, prefix: str = "") -> Iterator[tuple[str, ColumnTarget]]:
    for field in attrs.fields(body):
        kinds = members_of(field.type)
        name = prefix + wire_name(field.name)
        if len(kinds) != 1 or field.name == "extra":
            continue
        if attrs.has(kinds[0]):
            yield from _body_targets(kinds[0], f"{name}.")
        elif get_origin(kinds[0]) is Mapping:
            yield name, ColumnTarget(str, nullable=True, any_name=True)
        elif kinds[0] in _CELL_READERS:
            yield name, ColumnTarget(kinds[0], nullable=NoneType in get_args(field.type))
