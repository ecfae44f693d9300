"""Writers of plain data, lists and models, in one pass: checked for values that JSON can't hold.

A writer raises `Misfit` for such a value, and `AttributeError` or `KeyError` for a value of another
type where a model is expected.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard, cast, get_args, get_origin

import attrs

from sunshine_async._codec.model import EXTRA, TAG, Unset, name_of, write_datetime
from sunshine_async._codec.reader import Misfit, raw_value_finder
from sunshine_async._codec.unions import Write, is_union

if TYPE_CHECKING:
    from cattrs import Converter

FieldWriter: TypeAlias = tuple[str, str, object, frozenset[type], Write, bool]
"""A field's name, the name on the wire, the value that leaves the field out, the types of values
that are written unchanged, the writer of further values, True if the field is always written.

A tuple unpacks faster than any class.
"""

SCALARS: Final = frozenset({str, int, bool, NoneType})
NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}
"""Kinds of values without parts, with the words for an error."""
NOT_FINITE: Final = "JSON has no NaN and no infinity"
UNSET_WITHOUT_KEY: Final = "UNSET leaves a key out, and here is none"
NEEDED: Final = "UNSET leaves a key out, and this one is needed"
NO_TIME_ZONE: Final = "the time has no zone: give it one, such as datetime.now(UTC)"


def is_object(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return True for a value that JSON has as an object."""
    return isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Return True for a value that JSON has as an array."""
    return isinstance(value, list | tuple)


def write_plain(value: Any) -> Any:
    """Return plain data, refusing or dropping values that orjson would change silently."""
    kind = value.__class__
    if kind in SCALARS:
        return value
    if kind is float:
        if not isfinite(value):
            raise Misfit(NOT_FINITE)
    elif kind is dict and _is_flat(value):
        return value
    elif is_object(value):
        return {key: write_plain(inner) for key, inner in value.items() if inner is not Unset.UNSET}
    elif is_array(value):
        return [write_plain(inner) for inner in value]
    elif value is Unset.UNSET:
        raise Misfit(UNSET_WITHOUT_KEY)
    return value


def write_mapping(value: Any) -> Any:
    """Return a mapping as plain data; raise `TypeError` for a value of another type."""
    if value.__class__ is not dict and not is_object(value):  # an ABC takes its time
        raise TypeError
    return write_plain(value)


def scalar_writer(kind: type) -> Write:
    """Return the writer of text, a number or a boolean, by `is_scalar`."""

    def write(value: Any) -> Any:
        if not is_scalar(value, kind):
            raise TypeError
        given = value.value if isinstance(value, Enum) else value
        return write_plain(float(given)) if isinstance(given, float) else given

    return write


def scalars_in(kinds: Iterable[Any]) -> frozenset[type]:
    """Return the types among *kinds* whose values JSON has as they are."""
    return frozenset[type]().union(each for each in kinds if each in SCALARS)


def is_scalar(value: object, kind: type) -> bool:
    """Return True for a value of a *kind* of `NAMES`; an `Enum` but `Unset` counts by its value."""
    given = value.value if isinstance(value, Enum) and value is not Unset.UNSET else value
    if isinstance(given, bool):
        return kind is bool
    return isinstance(given, (int, float) if kind is float else kind)


def name_of_kind(kind: type) -> str:
    """Return the words for a *kind* of values in an error."""
    return NAMES.get(kind) or (
        "a mapping" if issubclass(get_origin(kind) or kind, Mapping) else kind.__name__
    )


def write_time(value: datetime) -> str:
    """Return a time for the wire; raise `Misfit` for a time without a zone."""
    if value.utcoffset() is None:
        raise Misfit(NO_TIME_ZONE)
    return write_datetime(value)


def list_writer(kind: Any, converter: "Converter") -> Write:
    """Return the writer of the list *kind*."""
    [member] = get_args(kind)
    as_it_is, write_member = scalars_in([member]), converter.get_unstructure_hook(member)

    def write(values: Any) -> Any:
        if not isinstance(values, list | tuple):  # a text would be letters, a generator runs once
            raise TypeError
        return [
            value if type(value) in as_it_is else write_member(value)
            for value in cast("Sequence[Any]", values)
        ]

    return write


def _is_flat(values: Mapping[str, Any]) -> bool:
    for value in values.values():  # noqa: SIM110 - a generator costs three times as much
        if type(value) not in SCALARS:
            return False
    return True


def model_writer(kind: Any, converter: "Converter") -> Write:
    """Return the writer of the model *kind*.

    A field that holds the default, None or `UNSET`, is left out, and so is a field that holds
    `UNSET` in place of the default None. A tag is written.
    """
    writers: list[FieldWriter] = []
    raw_values = raw_value_finder(kind, converter)
    fields, has_dict = attrs.fields(kind), not hasattr(kind, "__slots__")

    # cattrs compares each field with the default by `!=`: 2,300 instructions more for a create
    def write(model: Any) -> Any:
        if not writers:  # made on first use, since a model may hold models of its own kind
            writers.extend(_field_writers(kind, converter))
        values = model.__dict__ if has_dict else {at.name: getattr(model, at.name) for at in fields}
        plain: dict[str, Any] = {}
        for name, wire, default, as_it_is, write_value, needed in writers:
            value = values[name]
            if value is default:
                continue
            if type(value) in as_it_is:
                plain[wire] = value
            elif value is not Unset.UNSET:
                plain[wire] = write_value(value)
            elif needed:
                raise Misfit(NEEDED)
        if not values[EXTRA]:
            return plain
        extra = write_plain(values[EXTRA])
        return {**extra, **plain, **raw_values(model, extra)}

    return write


def is_needed(field: "attrs.Attribute[Any]") -> bool:
    """Return True for a field that is always written: one without a default, or the tag."""
    return field.default is attrs.NOTHING or (TAG in field.metadata and field.default is not None)


def _field_writers(kind: Any, converter: "Converter") -> list[FieldWriter]:
    """Return the writers of the fields; fields that are always written come first."""
    found: list[FieldWriter] = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        if field.name != EXTRA:
            members = get_args(field.type) if is_union(field.type) else (field.type,)
            found.append(
                (
                    field.name,
                    name_of(field),
                    None if TAG in field.metadata else field.default,
                    scalars_in(members),
                    converter.get_unstructure_hook(field.type),
                    is_needed(field),
                )
            )
    return sorted(found, key=lambda writer: not writer[-1])
