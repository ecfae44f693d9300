"""Writers of plain data and of models, in one pass: checked for values that JSON can't hold.

A writer raises `Misfit` for such a value, and `AttributeError` or `KeyError` for a value of another
type where a model is expected.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import attrs

from sunshine_async._codec.model import EXTRA, TAG, Unset, name_of
from sunshine_async._codec.reader import Misfit, raw_value_finder
from sunshine_async._codec.unions import Write

if TYPE_CHECKING:
    from cattrs import Converter

SCALARS: Final = frozenset({str, int, bool, NoneType})
NOT_FINITE: Final = "JSON has no NaN and no infinity"
UNSET_WITHOUT_KEY: Final = "UNSET leaves a key out, and here is none"


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


def _is_flat(values: Mapping[str, Any]) -> bool:
    for value in values.values():  # noqa: SIM110 - a generator costs three times as much
        if type(value) not in SCALARS:
            return False
    return True


def model_writer(kind: Any, converter: "Converter") -> Write:
    """Return the writer of the model *kind*.

    A field that holds the default, None or `UNSET`, is left out. A tag is written.
    """
    writers: list[tuple[str, str, object, Write | None]] = []
    raw_values = raw_value_finder(kind, converter)
    fields, has_dict = attrs.fields(kind), not hasattr(kind, "__slots__")

    # cattrs compares each field with the default by `!=`: 2,300 instructions more for a create
    def write(model: Any) -> Any:
        if not writers:  # made on first use, since a model may hold models of its own kind
            writers.extend(_field_writers(kind, converter))
        values = model.__dict__ if has_dict else {at.name: getattr(model, at.name) for at in fields}
        plain: dict[str, Any] = {}
        for name, wire, default, write_value in writers:
            value = values[name]
            if value is not default:
                plain[wire] = value if write_value is None else write_value(value)
        if not values[EXTRA]:
            return plain
        extra = write_plain(values[EXTRA])
        return {**extra, **plain, **raw_values(model, extra)}

    return write


def _field_writers(
    kind: Any, converter: "Converter"
) -> list[tuple[str, str, object, Write | None]]:
    """Return name, name on the wire, default and writer of the fields; no writer: as it is.

    Fields that are always written come first.
    """
    unchanged = converter.get_unstructure_hook(str)
    always: list[tuple[str, str, object, Write | None]] = []
    others: list[tuple[str, str, object, Write | None]] = []
    for field in attrs.fields(attrs.resolve_types(kind)):
        if field.name != EXTRA:
            write = converter.get_unstructure_hook(field.type)
            default = None if TAG in field.metadata else field.default
            is_always = default is attrs.NOTHING or default is not field.default
            fields = always if is_always else others
            fields.append(
                (field.name, name_of(field), default, None if write is unchanged else write)
            )
    return always + others
