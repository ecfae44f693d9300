"""Readers of plain data: values, lists, models. Lenient for answers, strict for bodies.

A reader raises `Misfit` for data that doesn't fit, and `PartialMisfit` for data that fits in part.
The lenient reader of a model catches both: the field has the part that fits, or else the default,
and *extra* keeps the raw value under the name on the wire. A required field of which no part fits
stays a `Misfit`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, get_args, get_origin

import attrs

from sunshine_async._codec.model import EXTRA, UNSET, UnixTime, fields_by_wire
from sunshine_async._codec.unions import Read, is_union, members_of

if TYPE_CHECKING:
    from cattrs import Converter

FieldReader: TypeAlias = tuple[str, frozenset[type], Read, Any]  # unpacks faster than any class
"""A field's name, the JSON types accepted unchanged, the reader of all others, its target type."""

_ID: Final = r"_?id|.*Id"
_INEXACT_FROM: Final = 2**53
"""From here on a float may differ from the integer that the service meant: digits were lost."""
_ZONE_NAME: Final = r"\[[^\[\]]*\]$"
_ACCEPTED: Final[Mapping[Any, frozenset[type]]] = {
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
    Mapping: frozenset({dict}),
    NoneType: frozenset({NoneType}),
}
"""The JSON types whose values are accepted as they are, by the type of the field."""
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    NoneType: "null",
}


class Misfit(ValueError):  # noqa: N818 - a description of a value, often no error
    """A value of the wrong type or form. *path* locates the value by the names on the wire.

    The text never has the value, which may be personal data.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason: Final = reason
        self.path: Final = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def within(self, outer: str) -> "Misfit":
        """Return the same misfit with *outer* in front of the path."""
        return Misfit(self.reason, join_path(outer, self.path))


class PartialMisfit(Misfit):
    """A value that fits in part: *reading* is that part. Never leaves the codec."""

    def __init__(self, misfit: Misfit, reading: Any) -> None:
        super().__init__(misfit.reason, misfit.path)
        self.reading: Final = reading


def join_path(path: str, name: str) -> str:
    """Return *path* extended by *name*, a field or an index."""
    between = "." if path and name and not name.startswith("[") else ""
    return f"{path}{between}{name}"


def is_id(wire: str) -> bool:
    """Return True for a name on the wire that means an id."""
    return re.fullmatch(_ID, wire) is not None


def id_text(value: object) -> str | None:
    """Return a number as the text of an id; None for an inexact number or another type."""
    if type(value) is float and abs(value) < _INEXACT_FROM:
        return str(int(value) if value.is_integer() else value)  # a proxy may write 5 as 5.0
    return str(value) if type(value) is int else None


def exact_reader(kind: type, *kinds: type) -> Read:
    """Return the reader that accepts only values of *kind* and *kinds*, not of subclasses."""

    def read(value: Any, _: Any) -> Any:
        if type(value) is not kind and type(value) not in kinds:
            raise type_misfit(kind, value)
        return value

    return read


def type_misfit(kind: type, value: object) -> Misfit:
    """Return the misfit for a *value* that should be a *kind*."""
    got = _JSON_NAMES.get(type(value), type(value).__name__)
    return Misfit(f"expected {_JSON_NAMES[kind]}, got {got}")


read_float: Final = exact_reader(float, int)


def read_whole(value: Any, _: Any) -> int:
    """Read an integer of an answer, also written as ``5.0`` or ``5e3``."""
    if type(value) is float and value.is_integer() and abs(value) < _INEXACT_FROM:
        return int(value)
    raise type_misfit(int, value)


def read_datetime(value: Any, _: Any) -> datetime:
    """Read a time; a time without a zone is taken as UTC."""
    if type(value) is not str:
        raise type_misfit(str, value)
    try:
        at = datetime.fromisoformat(re.sub(_ZONE_NAME, "", value) if value[-1:] == "]" else value)
    except ValueError:
        reason = "expected a time such as 2020-05-21T15:53:30.197Z"
        raise Misfit(reason) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def read_unix_time(value: Any, _: Any) -> UnixTime:
    """Read a time in seconds since 1970."""
    seconds = read_float(value, float)
    try:
        return UnixTime.from_seconds(seconds)
    except (ValueError, OverflowError, OSError):
        reason = "expected a time in seconds since 1970"
        raise Misfit(reason) from None


def _read_id(value: Any, _: Any) -> str:
    misfit = type_misfit(str, value)
    text = id_text(value)
    raise misfit if text is None else PartialMisfit(misfit, text)


def list_reader(kind: Any, converter: "Converter", *, strict: bool) -> Read:
    """Return the reader of a list; the lenient reader leaves out unreadable items."""
    [member] = get_args(kind)
    accepted, read_member, inner = _value_reader(member, converter)

    def read(values: Any, _: Any) -> list[Any]:
        if values.__class__ is not list:
            raise type_misfit(list, values)
        found: list[Any] = []
        first: Misfit | None = None
        for index, value in enumerate(values):
            try:
                found.append(value if type(value) in accepted else read_member(value, inner))
            except Misfit as misfit:
                first = first or misfit.within(f"[{index}]")
        if first is None:
            return found
        raise first if strict else PartialMisfit(first, found)

    return read


def model_reader(kind: Any, converter: "Converter", *, strict: bool) -> Read:
    """Return the reader of the model *kind*.

    Unknown keys go into *extra*. The lenient reader also puts raw values that don't fit there.
    """
    names, fields = fields_by_wire(kind), attrs.fields_dict(attrs.resolve_types(kind))
    needed = {wire for wire, name in names.items() if fields[name].default is attrs.NOTHING}
    readers: dict[str, FieldReader] = {}
    defaults, new = _init_defaults(kind), kind.__new__

    def read(data: Any, _: Any) -> Any:
        if not readers:  # made on first use, since a model may hold models of its own kind
            readers.update(field_readers(kind, converter, strict=strict))
        if data.__class__ is not dict or (needed and not needed <= data.keys()):
            raise _object_misfit(data, [wire for wire in names if wire in needed])
        values = {} if defaults is None else defaults.copy()
        values[EXTRA] = extra = {}
        for key, value in data.items():
            reader = readers.get(key)
            if reader is None:
                extra[key] = value
                continue
            name, accepted, read_other, inner = reader
            if type(value) in accepted:  # `value.__class__` costs three times as much
                values[name] = value
                continue
            try:
                values[name] = read_other(value, inner)
            except Misfit as misfit:
                values.update(_partial_value(misfit, key, name, required=strict or key in needed))
                extra[key] = value
        if defaults is not None:
            model = new(kind)
            model.__dict__.update(values)
            return model
        try:
            return kind(**values)
        except ValueError as error:  # of a model's own validator
            raise Misfit(str(error)) from None

    return read


def _object_misfit(data: Any, needed: Sequence[str]) -> Misfit:
    if data.__class__ is not dict:
        return type_misfit(dict, data)
    return Misfit("missing", next(wire for wire in needed if wire not in data))


def _partial_value(misfit: Misfit, wire: str, name: str, *, required: bool) -> Mapping[str, Any]:
    """Return the part that fits, as the field *name*; raise `Misfit` for a field that must fit."""
    if isinstance(misfit, PartialMisfit):
        return {name: misfit.reading}
    if required:
        raise misfit.within(wire)
    return {}


def field_readers(kind: Any, converter: "Converter", *, strict: bool) -> dict[str, FieldReader]:
    """Return the readers of the fields of *kind*, by the names on the wire."""
    fields = attrs.fields_dict(attrs.resolve_types(kind))
    found: dict[str, FieldReader] = {}
    for wire, name in fields_by_wire(kind).items():
        accepted, read, inner = _value_reader(fields[name].type, converter)
        if inner is str and not strict and is_id(wire):
            read = _read_id
        found[wire] = name, accepted, read, inner
    return found


def lenient_value(reader: FieldReader, raw: Any, default: Any) -> Any:
    """Return the lenient reading of *raw*, or *default* for an unreadable value."""
    _name, accepted, read, inner = reader
    if raw.__class__ in accepted:
        return raw
    try:
        return read(raw, inner)
    except PartialMisfit as part:
        return part.reading
    except Misfit:
        return default


def raw_value_finder(
    kind: Any, converter: "Converter"
) -> Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]:
    """Return the function that finds raw values in *extra* to encode instead of the fields.

    That is while a field holds the reading of the raw value. A field that was set since is encoded
    as set, and so is every field of a body.
    """
    names, defaults = fields_by_wire(kind), {at.name: at.default for at in attrs.fields(kind)}
    readers: dict[str, FieldReader] = {}

    def find(model: Any, extra: Mapping[str, Any]) -> Mapping[str, Any]:
        found = names.keys() & extra.keys()
        if found and not readers:
            readers.update(field_readers(kind, converter, strict=False))
        values: dict[str, Any] = {}
        for wire in found:
            value, default = getattr(model, names[wire]), defaults[names[wire]]
            if default is not UNSET and value == lenient_value(readers[wire], extra[wire], default):
                values[wire] = extra[wire]
        return values

    return find


def _value_reader(kind: Any, converter: "Converter") -> tuple[frozenset[type], Read, Any]:
    """Return the JSON types accepted as they are, the reader of all others, and its target type."""
    members = get_args(kind) if is_union(kind) else (kind,)
    accepted = frozenset[type]().union(
        *(_ACCEPTED.get(get_origin(member) or member, ()) for member in members)
    )
    inner = members_of(kind)
    wanted = inner[0] if len(inner) == 1 else kind
    return accepted, converter.get_structure_hook(wanted), wanted


def _init_defaults(kind: Any) -> dict[str, Any] | None:
    """Return the defaults of a *kind* whose ``__init__`` only assigns values, else None.

    Such a model is built without a call of the class, in half the time.
    """
    fields = attrs.fields(kind)
    plain = not hasattr(kind, "__slots__") and not hasattr(kind, "__attrs_post_init__")
    if not plain or any(field.validator or field.converter for field in fields):
        return None
    defaults = {field.name: field.default for field in fields if field.name != EXTRA}
    fresh = any(hasattr(default, "factory") for default in defaults.values())
    return None if fresh else {**defaults, EXTRA: None}
