"""Values to JSON and back: camelCase, `UNSET` against null, times. No reflection per call."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import attrs
import orjson
from cattrs import ClassValidationError, Converter, IterableValidationError
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from sunshine_async._model import Unset

T = TypeVar("T")

_EXTRA: Final = "extra"
_EXTRA_KEY: Final = "\0extra"  # where what is beyond the model waits for its field; no JSON key of theirs
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_ZONE_NAME: Final = re.compile(r"\[[^\]]*\]$")
_NOT_FINITE: Final = "JSON has no NaN and no infinity"
_JSON_NAMES: Final[Mapping[type, str]] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    NoneType: "null",
}


class Misfit(ValueError):
    """A value isn't what it should be: *path* says where, in the names of the wire.

    The text never has the value: it may be personal data.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        self.reason: Final = reason
        self.path: Final = path
        super().__init__(f"{path}: {reason}" if path else reason)

    def within(self, outer: str) -> "Misfit":
        """Return the same misfit as seen from around *outer*."""
        return Misfit(self.reason, _join(outer, self.path))


def wire_name(name: str) -> str:
    """Return the camelCase name that the field *name* has on the wire."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def encode(value: object) -> bytes:
    """Return *value* (a model, or plain data) as JSON.

    Raise `Misfit` where JSON can't hold it, naming the field: NaN, infinities, lone surrogates,
    integers past 64 bits, keys that aren't text, anything that isn't a JSON type.
    """
    try:
        return orjson.dumps(_writer(type(value))(value), option=_OPTIONS)
    except (orjson.JSONEncodeError, Misfit, RecursionError):
        misfit = _unwritable(value)
    raise misfit


def decode(data: bytes) -> Any:
    """Return JSON as plain data; raise `Misfit` where it isn't JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        misfit = Misfit(f"not JSON ({error.msg}, line {error.lineno}, column {error.colno})")
    raise misfit


def structure(data: object, kind: type[T]) -> T:
    """Return plain *data* as a *kind*; raise `Misfit` with the path where it doesn't fit."""
    try:
        result: T = _reader(kind)(data, kind)
    except (Misfit, KeyError):
        misfit = _misfit(data, kind)
    else:
        return result
    raise misfit


def unstructure(value: object) -> Any:
    """Return a model as plain data, as it goes on the wire."""
    return _writer(type(value))(value)


def _exactly(kind: type[T]) -> Callable[[Any, Any], T]:
    def read(value: Any, _: Any) -> T:
        if type(value) is not kind:
            raise _unlike(kind, value)
        return value

    return read


def _unlike(kind: type, value: object) -> Misfit:
    return Misfit(f"expected {_JSON_NAMES[kind]}, got {_JSON_NAMES[type(value)]}")


def _read_float(value: Any, _: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _unlike(float, value)
    return value


def _read_datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str:
        raise _unlike(str, value)
    try:
        at = datetime.fromisoformat(_ZONE_NAME.sub("", value))
    except ValueError:
        reason = "expected a time such as 2020-05-21T15:53:30.197Z"
        raise Misfit(reason) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _write_datetime(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_plain(value: Any) -> Any:
    """Pass plain data on, but for the floats that orjson would silently turn into null."""
    if type(value) is float:
        if not isfinite(value):
            raise Misfit(_NOT_FINITE)
    elif isinstance(value, Mapping):
        return {key: _write_plain(inner) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        return [_write_plain(inner) for inner in value]
    return value


def _members(kind: Any) -> list[Any]:
    """Return what a union is of, without `Unset`; nothing for what isn't a union."""
    union = get_origin(kind) in (Union, UnionType)
    return [member for member in get_args(kind) if member is not Unset] if union else []


def _optional(kind: Any) -> Any:
    """Return the *T* of ``T | None`` and ``T | None | Unset``."""
    [member] = (member for member in _members(kind) if member is not NoneType)
    return member


def _optional_reader(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    member = _optional(kind)
    read = converter.get_structure_hook(member)
    return lambda value, _: None if value is None else read(value, member)


def _optional_writer(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    member = _optional(kind)
    write = converter.get_unstructure_hook(member)
    if member in _JSON_NAMES:
        return write  # cattrs knows it for a pass-through and generates no call
    return lambda value: None if value is None else write(value)


def _list_reader(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    check = _exactly(list)
    read = list_structure_factory(kind, converter)
    return lambda value, _: read(check(value, list), kind)


def _list_writer(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    [member] = get_args(kind)
    write = converter.get_unstructure_hook(member)
    return lambda values: [write(value) for value in values]


def _model_reader(kind: type, converter: Converter) -> Callable[[Any, Any], Any]:
    names = {field.name: wire_name(field.name) for field in attrs.fields(kind)}
    names[_EXTRA] = _EXTRA_KEY
    known = frozenset(names.values())
    read = make_dict_structure_fn(
        kind,
        converter,
        **{name: override(rename=wire) for name, wire in names.items()},  # type: ignore[arg-type]
    )
    check = _exactly(dict)

    def read_with_extra(value: Any, _: Any) -> Any:
        data = check(value, dict)
        if not known.issuperset(data):
            data = {key: data[key] for key in known if key in data} | {
                _EXTRA_KEY: {key: data[key] for key in data if key not in known}
            }
        return read(data, kind)

    return read_with_extra


def _model_writer(kind: type, converter: Converter) -> Callable[[Any], Any]:
    write = make_dict_unstructure_fn(
        kind,
        converter,
        _cattrs_omit_if_default=True,
        **{
            field.name: override(omit=field.name == _EXTRA, rename=wire_name(field.name))
            for field in attrs.fields(kind)
        },  # type: ignore[arg-type]
    )
    return lambda model: (
        {**_write_plain(model.extra), **write(model)} if model.extra else write(model)
    )


def _converter(*, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    for kind in (str, bool, int, NoneType):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _read_float)
    converter.register_structure_hook(datetime, _read_datetime)
    converter.register_unstructure_hook(datetime, _write_datetime)
    converter.register_unstructure_hook_factory(_is_plain, lambda _: _write_plain)
    converter.register_structure_hook_factory(_is_mapping, lambda _: _exactly(dict))
    converter.register_structure_hook_factory(_members, _optional_reader)
    converter.register_unstructure_hook_factory(_members, _optional_writer)
    converter.register_structure_hook_factory(_is_list, _list_reader)
    converter.register_unstructure_hook_factory(_is_list, _list_writer)
    converter.register_structure_hook_factory(attrs.has, _model_reader)
    converter.register_unstructure_hook_factory(attrs.has, _model_writer)
    return converter


def _is_mapping(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (Mapping, dict)


def _is_plain(kind: Any) -> bool:
    return _is_mapping(kind) or kind in (Any, float, list, tuple)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


_FAST: Final = _converter(detailed=False)
_DETAILED: Final = _converter(detailed=True)


@cache
def _reader(kind: Any) -> Callable[[Any, Any], Any]:
    return _FAST.get_structure_hook(kind)


@cache
def _writer(kind: Any) -> Callable[[Any], Any]:
    return _FAST.get_unstructure_hook(kind)


def _misfit(data: object, kind: Any) -> Misfit:
    """Read *data* once more, slowly, to learn where it doesn't fit."""
    try:
        _DETAILED.get_structure_hook(kind)(data, kind)
    except (Misfit, ClassValidationError, IterableValidationError) as error:
        return _innermost(error, "")
    message = f"{kind} fits at the second look only"
    raise AssertionError(message)


def _innermost(error: Exception, path: str) -> Misfit:
    """Return the first misfit in cattrs' groups, with the path that their notes make."""
    if isinstance(error, ClassValidationError):
        inner, field = error.group_exceptions()[0][0]
        return _innermost(inner, _join(path, wire_name(field.name)))
    if isinstance(error, IterableValidationError):
        inner, item = error.group_exceptions()[0][0]
        return _innermost(inner, _join(path, f"[{item.index}]"))
    return Misfit(error.reason if isinstance(error, Misfit) else "missing", path)


def _unwritable(value: object) -> Misfit:
    """Look for what JSON can't hold in *value*, slowly, to name it."""
    try:
        return next(_unfit(value, ""))
    except (StopIteration, RecursionError):
        return Misfit("nested too deep, or in a circle")


def _unfit(value: Any, path: str) -> Iterator[Misfit]:
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            inner = getattr(value, field.name)
            if inner is not Unset.UNSET and not isinstance(inner, datetime):
                name = "" if field.name == _EXTRA else wire_name(field.name)
                yield from _unfit(inner, _join(path, name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and key.isprintable():  # surrogates are not
                yield from _unfit(inner, _join(path, key))
            else:
                yield from _unfit(key, _join(path, "a key"))
                yield from _unfit(inner, _join(path, "?"))
            if not isinstance(key, str):
                yield Misfit(f"a key must be text, not {type(key).__name__}", path)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _unfit(inner, _join(path, f"[{index}]"))
    elif isinstance(value, float) and not isfinite(value):
        yield Misfit(_NOT_FINITE, path)
    else:
        try:
            orjson.dumps(value, option=_OPTIONS)
        except orjson.JSONEncodeError as error:
            yield Misfit(f"JSON can't hold it ({error})", path)


def _join(path: str, name: str) -> str:
    between = "." if path and name and not name.startswith("[") else ""
    return f"{path}{between}{name}"
