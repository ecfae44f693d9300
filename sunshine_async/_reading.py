"""Models out of plain data that fits them, by a table of their fields; data that doesn't is refused.

Nothing is said of what is wrong, or where: `_codec` then reads once more, slowly, to find out.
"""

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, TypeAlias, get_args, get_origin

import attrs
from cattrs import Converter

from sunshine_async._model import Unset
from sunshine_async._unions import is_union

Read: TypeAlias = Callable[[Any, Any], Any]

_EXTRA: Final = "extra"
_TAKEN: Final[Mapping[Any, frozenset[type]]] = {
    str: frozenset({str}),
    bool: frozenset({bool}),
    int: frozenset({int}),
    float: frozenset({float, int}),
    Mapping: frozenset({dict}),
    NoneType: frozenset({NoneType}),
}
"""By what a field holds: the types of JSON whose values are taken as they are."""


class Unfit(ValueError):  # noqa: N818 - it says what is wrong with a value
    """The data isn't what the model wants."""


def model_reader(kind: Any, names: Mapping[str, str], converter: Converter) -> Read:
    """Return what reads a *kind*, whose fields are on the wire as *names*.

    What is beyond the model goes into its *extra*.
    """
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(kind))}
    needed = {wire for wire, name in names.items() if fields[name].default is attrs.NOTHING}
    rows: dict[str, tuple[str, frozenset[type], Read, Any]] = {}
    defaults = _taken_over(kind)

    def read(data: Any, _: Any) -> Any:
        if not rows:  # not before it is needed, since a model may hold others of its own kind
            rows.update(
                (wire, (name, *_reader(fields[name].type, converter)))
                for wire, name in names.items()
            )
        if data.__class__ is not dict or not needed <= data.keys():
            raise Unfit
        values = {} if defaults is None else defaults.copy()
        extra: dict[str, Any] = {}
        for key, value in data.items():
            row = rows.get(key)
            if row is None:
                extra[key] = value
            else:
                name, taken, read_other, inner = row
                values[name] = value if value.__class__ in taken else read_other(value, inner)
        values[_EXTRA] = extra
        if defaults is None:
            return kind(**values)
        model = kind.__new__(kind)
        model.__dict__.update(values)
        return model

    return read


def _reader(kind: Any, converter: Converter) -> tuple[frozenset[type], Read, Any]:
    """Return whose values are taken for a *kind* as they are, what reads others, and as what."""
    members = get_args(kind) if is_union(kind) else (kind,)
    taken = frozenset[type]().union(*(_TAKEN.get(get_origin(each) or each, ()) for each in members))
    inner = [each for each in members if each not in (NoneType, Unset)]
    wanted = inner[0] if len(inner) == 1 else kind
    return taken, converter.get_structure_hook(wanted), wanted


def _taken_over(kind: Any) -> dict[str, Any] | None:
    """Return what the fields of *kind* are at first, where its ``__init__`` only takes values over.

    Such a model is made around its values, in half the time; None says that it has to be called.
    """
    fields = attrs.fields(kind)
    plain = not hasattr(kind, "__slots__") and not hasattr(kind, "__attrs_post_init__")
    if not plain or any(field.validator or field.converter for field in fields):
        return None
    defaults = {field.name: field.default for field in fields if field.name != _EXTRA}
    made_anew = any(hasattr(default, "factory") for default in defaults.values())
    return None if made_anew else {**defaults, _EXTRA: None}
