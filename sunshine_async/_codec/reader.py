"""Readers of plain data: values, lists, models. Lenient for answers, strict for bodies.

A reader raises `Misfit` for data that doesn't fit, and `Inexact` for data that fits in part. The
lenient reader of a model turns both into a reading of the field, and keeps the raw value in
*extra*, under the name on the wire. A required field without a reading stays a `Misfit`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter

from sunshine_async._codec.model import UNSET, UnixTime
from sunshine_async._codec.unions import is_union, members_of

T = TypeVar("T")
Read: TypeAlias = Callable[[Any, Any], Any]
Row: TypeAlias = tuple[str, frozenset[type], Read, Any]
"""Of a field: name, types of JSON whose values are taken as they are, reader of others, its kind.

A plain tuple: unpacking any other class costs twice as much.
"""

EXTRA: Final = "extra"
_ID: Final = re.compile(r"_?id|.*Id")
_EXACT: Final = 2**53
"""From here on a float may stand for another integer: its digits were lost on the way."""
_ZONE_NAME: Final = re.compile(r"\[[^\]]*\]$")
_TAKEN: Final[Mapping[Any, frozenset[type]]] = {
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
    Mapping: frozenset({dict}),
    NoneType: frozenset({NoneType}),
}
"""By the type of a field: the types of JSON whose values are taken as they are."""
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    NoneType: "null",
}


class Misfit(ValueError):  # noqa: N818 - it says what is wrong with a value
    """A value isn't what it should be: *path* says where, in the names of the wire.

    The text never has the value: it may be personal data.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason: Final = reason
        self.path: Final = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def within(self, outer: str) -> "Misfit":
        """Return the same misfit as seen from around *outer*."""
        return Misfit(self.reason, join(outer, self.path))


class Inexact(Misfit):
    """A value fits only in part: *reading* is the part. Never leaves the codec."""

    def __init__(self, misfit: Misfit, reading: Any) -> None:
        super().__init__(misfit.reason, misfit.path)
        self.reading: Final = reading


def join(path: str, name: str) -> str:
    """Return the path of *name*, a field or an index, below *path*."""
    between = "." if path and name and not name.startswith("[") else ""
    return f"{path}{between}{name}"


def is_id(wire: str) -> bool:
    """Return whether the field *wire* is an id by its name on the wire."""
    return _ID.fullmatch(wire) is not None


def id_text(value: object) -> str | None:
    """Return a number as the text of an id; None for other values, and for inexact numbers."""
    if type(value) is int or (type(value) is float and abs(value) < _EXACT):
        return str(value)
    return None


def exactly(kind: type[T]) -> Callable[[Any, Any], T]:
    """Return the reader that takes values of *kind* alone."""

    def read(value: Any, _: Any) -> T:
        if type(value) is not kind:
            raise unlike(kind, value)
        return value

    return read


def unlike(kind: type, value: object) -> Misfit:
    """Return the misfit of a *value* in the place of a *kind*."""
    got = _JSON_NAMES.get(type(value), type(value).__name__)
    return Misfit(f"expected {_JSON_NAMES[kind]}, got {got}")


def read_float(value: Any, _: Any) -> float:
    """Read a number."""
    if type(value) is not float and type(value) is not int:
        raise unlike(float, value)
    return value


def read_datetime(value: Any, _: Any) -> datetime:
    """Read a time; a time without a zone is in UTC."""
    if type(value) is not str:
        raise unlike(str, value)
    try:
        at = datetime.fromisoformat(_ZONE_NAME.sub("", value) if value[-1:] == "]" else value)
    except ValueError:
        reason = "expected a time such as 2020-05-21T15:53:30.197Z"
        raise Misfit(reason) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def read_seconds(value: Any, _: Any) -> UnixTime:
    """Read a time in seconds since 1970."""
    seconds = read_float(value, float)
    try:
        return UnixTime.of(seconds)
    except (ValueError, OverflowError, OSError):
        reason = "expected a time in seconds since 1970"
        raise Misfit(reason) from None


def _read_id(value: Any, _: Any) -> str:
    misfit = unlike(str, value)
    text = id_text(value)
    raise misfit if text is None else Inexact(misfit, text)


def list_reader(kind: Any, converter: Converter, *, strict: bool) -> Read:
    """Return the reader of a list; the lenient one leaves out items that can't be read."""
    [member] = get_args(kind)
    taken, read_member, inner = _value_reader(member, converter)

    def read(values: Any, _: Any) -> list[Any]:
        if values.__class__ is not list:
            raise unlike(list, values)
        found: list[Any] = []
        first: Misfit | None = None
        for index, value in enumerate(values):
            try:
                found.append(value if value.__class__ in taken else read_member(value, inner))
            except Misfit as misfit:
                first = first or misfit.within(f"[{index}]")
        if first is None:
            return found
        raise first if strict else Inexact(first, found)

    return read


def model_reader(
    kind: Any, names: Mapping[str, str], converter: Converter, *, strict: bool
) -> Read:
    """Return the reader of the model *kind*, whose fields have *names* by the wire's names.

    Keys beyond the model go into *extra*; so do, unless *strict*, raw values that don't fit.
    """
    fields = attrs.fields_dict(attrs.resolve_types(kind))
    needed = {wire for wire, name in names.items() if fields[name].default is attrs.NOTHING}
    rows: dict[str, Row] = {}
    defaults = _taken_over(kind)

    def read(data: Any, _: Any) -> Any:
        if not rows:  # made on first use, since a model may hold models of its own kind
            rows.update(rows_of(kind, names, converter, strict=strict))
        if data.__class__ is not dict or not needed <= data.keys():
            raise _incomplete(data, [wire for wire in names if wire in needed])
        values = {} if defaults is None else defaults.copy()
        values[EXTRA] = extra = {}
        for key, value in data.items():
            row = rows.get(key)
            if row is None:
                extra[key] = value
                continue
            name, taken, read_other, inner = row
            if value.__class__ in taken:
                values[name] = value
                continue
            try:
                values[name] = read_other(value, inner)
            except Misfit as misfit:
                values.update(_part(misfit, key, name, required=strict or key in needed))
                extra[key] = value
        if defaults is None:
            return _called(kind, values)
        model = kind.__new__(kind)
        model.__dict__.update(values)
        return model

    return read


def _incomplete(data: Any, needed: Sequence[str]) -> Misfit:
    """Return the misfit of *data* that isn't an object with the keys *needed*."""
    if data.__class__ is not dict:
        return unlike(dict, data)
    return Misfit("missing", next(wire for wire in needed if wire not in data))


def _part(misfit: Misfit, wire: str, name: str, *, required: bool) -> Mapping[str, Any]:
    """Return the part that fits, as the field *name*; raise where the field has to fit."""
    if isinstance(misfit, Inexact):
        return {name: misfit.reading}
    if required:
        raise misfit.within(wire)
    return {}


def _called(kind: Any, values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except ValueError as error:  # of a model's own validator
        raise Misfit(str(error)) from None


def rows_of(
    kind: Any, names: Mapping[str, str], converter: Converter, *, strict: bool
) -> dict[str, Row]:
    """Return the rows of the fields of *kind*, by the wire's names."""
    fields = attrs.fields_dict(attrs.resolve_types(kind))
    found: dict[str, Row] = {}
    for wire, name in names.items():
        taken, read, inner = _value_reader(fields[name].type, converter)
        if inner is str and not strict and _ID.fullmatch(wire):
            read = _read_id
        found[wire] = name, taken, read, inner
    return found


def reading_of(row: Row, raw: Any, default: Any) -> Any:
    """Return the lenient reading of *raw*; *default* where it can't be read."""
    _name, taken, read, inner = row
    if raw.__class__ in taken:
        return raw
    try:
        return read(raw, inner)
    except Inexact as part:
        return part.reading
    except Misfit:
        return default


def raw_values(
    kind: Any, names: Mapping[str, str], converter: Converter
) -> Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]:
    """Return a function from a model and its *extra* to the raw values that go back out.

    A raw value stands for its field while the field holds the reading of that value. A field that
    was set since goes out itself, and so does every field of a body.
    """
    defaults = {field.name: field.default for field in attrs.fields(kind)}
    rows: dict[str, Row] = {}

    def raw(model: Any, extra: Mapping[str, Any]) -> Mapping[str, Any]:
        found = names.keys() & extra.keys()
        if found and not rows:
            rows.update(rows_of(kind, names, converter, strict=False))
        values: dict[str, Any] = {}
        for wire in found:
            value, default = getattr(model, names[wire]), defaults[names[wire]]
            if default is not UNSET and value == reading_of(rows[wire], extra[wire], default):
                values[wire] = extra[wire]
        return values

    return raw


def _value_reader(kind: Any, converter: Converter) -> tuple[frozenset[type], Read, Any]:
    """Return the types whose values are taken for a *kind*, the reader of others, and its kind."""
    members = get_args(kind) if is_union(kind) else (kind,)
    taken = frozenset[type]().union(*(_TAKEN.get(get_origin(each) or each, ()) for each in members))
    inner = members_of(kind) if is_union(kind) else [kind]
    wanted = inner[0] if len(inner) == 1 else kind
    return taken, converter.get_structure_hook(wanted), wanted


def _taken_over(kind: Any) -> dict[str, Any] | None:
    """Return the defaults of *kind*, where its ``__init__`` only takes values over.

    Such a model is made around its values, in half the time. None: its class has to be called.
    """
    fields = attrs.fields(kind)
    plain = not hasattr(kind, "__slots__") and not hasattr(kind, "__attrs_post_init__")
    if not plain or any(field.validator or field.converter for field in fields):
        return None
    defaults = {field.name: field.default for field in fields if field.name != EXTRA}
    made_anew = any(hasattr(default, "factory") for default in defaults.values())
    return None if made_anew else {**defaults, EXTRA: None}
