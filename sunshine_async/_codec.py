"""Values to JSON and back: camelCase, `UNSET` against null, times. No reflection per call."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from types import NoneType
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar, cast, get_args, get_origin

import attrs
import orjson
from cattrs import ClassValidationError, Converter, IterableValidationError
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from sunshine_async import _unions as unions
from sunshine_async._model import TAG, WIRE, UnixTime, Unset
from sunshine_async._reading import model_reader

T = TypeVar("T")
Read: TypeAlias = Callable[[Any, Any], Any]
Write: TypeAlias = Callable[[Any], Any]

_EXTRA: Final = "extra"
_EXTRA_KEY: Final = " extra"  # where what is beyond the model waits for its field: no wire's name
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_ZONE_NAME: Final = re.compile(r"\[[^\]]*\]$")
_AS_IT_IS: Final = frozenset({str, int, bool, NoneType})
_NOT_FINITE: Final = "JSON has no NaN and no infinity"
_NO_KEY: Final = "UNSET leaves a key out, and here is none"
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
        return Misfit(self.reason, _join(outer, self.path))


def wire_name(name: str) -> str:
    """Return the camelCase name that the field *name* has on the wire."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def name_of(field: "attrs.Attribute[Any]") -> str:
    """Return the name that the *field* of a model has on the wire."""
    name: str = field.metadata.get(WIRE) or wire_name(field.name)
    return name


def encode(value: object) -> bytes:
    """Return *value* (a model, or plain data) as JSON.

    Raise `Misfit` where JSON can't hold it, naming the field: NaN, infinities, lone surrogates,
    integers past 64 bits, keys that aren't text, anything that isn't a JSON type, and where
    something else stands in the place of a model.
    """
    try:
        return orjson.dumps(unstructure(value), default=_write_inner, option=_OPTIONS)
    except (orjson.JSONEncodeError, Misfit, RecursionError):
        misfit = _unwritable(value, "nested too deep, or in a circle")
    except AttributeError:
        misfit = _unwritable(value, "something else stands in the place of a model")
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
        result: T = _FAST.get_structure_hook(kind)(data, kind)
    except (ValueError, KeyError):  # a `Misfit`, or what a model's own validator says
        pass
    else:
        return result
    return _structure_slowly(data, kind)


def structure_inside(data: Any, envelope: str, kind: type[T]) -> T:
    """Return what *data* has under the key *envelope* as a *kind*; raise `Misfit` as above."""
    if data.__class__ is not dict:
        raise _unlike(dict, data)
    if envelope not in data:
        reason = "missing"
        raise Misfit(reason, envelope)
    try:
        return structure(data[envelope], kind)
    except Misfit as misfit:
        error = misfit.within(envelope)
    raise error


def unstructure(value: object) -> Any:
    """Return *value* (a model, or plain data) as plain data, as it goes on the wire."""
    return _FAST.get_unstructure_hook(type(value))(value)


def holds(found: Any, sent: Any) -> bool:
    """Return whether plain *found* has all that plain *sent* sets; null stands for absent."""
    if _is_object(sent):
        there: Mapping[Any, Any] = found if _is_object(found) else {}
        return all(holds(there.get(key), value) for key, value in sent.items())
    if isinstance(found, bool) or isinstance(sent, bool):
        return found is sent
    return bool(found == sent)  # a service may write 30.0 as 30


def _is_object(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_model(value: Any) -> TypeGuard[attrs.AttrsInstance]:
    return attrs.has(value.__class__)


def _is_array(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _exactly(kind: type[T]) -> Callable[[Any, Any], T]:
    def read(value: Any, _: Any) -> T:
        if type(value) is not kind:
            raise _unlike(kind, value)
        return value

    return read


def _unlike(kind: type, value: object) -> Misfit:
    got = _JSON_NAMES.get(type(value), type(value).__name__)
    return Misfit(f"expected {_JSON_NAMES[kind]}, got {got}")


def _read_float(value: Any, _: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise _unlike(float, value)
    return value


def _read_datetime(value: Any, _: Any) -> datetime:
    if type(value) is not str:
        raise _unlike(str, value)
    try:
        at = datetime.fromisoformat(_ZONE_NAME.sub("", value) if value[-1:] == "]" else value)
    except ValueError:
        reason = "expected a time such as 2020-05-21T15:53:30.197Z"
        raise Misfit(reason) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _read_seconds(value: Any, _: Any) -> UnixTime:
    seconds = _read_float(value, float)
    try:
        return UnixTime.of(seconds)
    except (ValueError, OverflowError, OSError):
        reason = "expected a time in seconds since 1970"
        raise Misfit(reason) from None


def _write_datetime(at: datetime) -> str:
    try:
        utc = at.astimezone(UTC)
    except OverflowError:  # at either end of the calendar: it keeps its own zone
        return at.isoformat(timespec="milliseconds")
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write_inner(value: Any) -> Any:
    """Write a model that stands in plain data; raise `TypeError` for what isn't JSON."""
    if not _is_model(value):
        raise TypeError
    return unstructure(value)


def _write_plain(value: Any) -> Any:
    """Pass plain data on, but for what orjson would silently turn into something else."""
    kind = value.__class__
    if kind in _AS_IT_IS:
        return value
    if kind is float:
        if not isfinite(value):
            raise Misfit(_NOT_FINITE)
    elif kind is dict and _AS_IT_IS.issuperset(map(type, value.values())):
        return value
    elif _is_object(value):
        return {
            key: _write_plain(inner) for key, inner in value.items() if inner is not Unset.UNSET
        }
    elif _is_array(value):
        return [_write_plain(inner) for inner in value]
    elif value is Unset.UNSET:
        raise Misfit(_NO_KEY)
    return value


def _list_reader(kind: Any, converter: Converter) -> Read:
    check = _exactly(list)
    read = list_structure_factory(kind, converter)
    return lambda value, _: read(check(value, list), kind)


def _list_writer(kind: Any, converter: Converter) -> Write:
    [member] = get_args(kind)
    try:
        write = converter.get_unstructure_hook(member)
    except RecursionError:  # a model that holds a list of its own kind: its hook is being made
        write = converter.unstructure
    return lambda values: [write(value) for value in values]


def _model_reader(kind: Any, converter: Converter) -> Read:
    return model_reader(kind, _names(kind), converter)


def _model_reader_that_says_why(kind: Any, converter: Converter) -> Read:
    known = _names(kind)
    names = {name: wire for wire, name in known.items()} | {_EXTRA: _EXTRA_KEY}
    overrides: Any = {name: override(rename=wire) for name, wire in names.items()}
    read: Read = make_dict_structure_fn(kind, converter, **overrides)
    check: Read = _exactly(dict)

    def read_with_extra(value: Any, _: Any) -> Any:
        data = check(value, dict)
        beyond = {key: data[key] for key in data if key not in known}
        return read({key: data[key] for key in known if key in data} | {_EXTRA_KEY: beyond}, kind)

    return read_with_extra


def _names(kind: Any) -> dict[str, str]:
    """Return the fields of a model but *extra*, by their names on the wire."""
    return {name_of(field): field.name for field in attrs.fields(kind) if field.name != _EXTRA}


def _model_writer(kind: Any, converter: Converter) -> Write:
    overrides: Any = {
        field.name: override(
            omit=field.name == _EXTRA,
            omit_if_default=name_of(field) != TAG or field.default is None,
            rename=name_of(field),
        )
        for field in attrs.fields(kind)
    }
    write: Write = make_dict_unstructure_fn(
        kind, converter, _cattrs_omit_if_default=True, **overrides
    )
    return lambda model: (
        {**_write_plain(model.extra), **write(model)} if model.extra else write(model)
    )


def _converter(*, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    for kind in (str, bool, int, NoneType):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _read_float)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook(datetime, _read_datetime)
    converter.register_unstructure_hook(datetime, _write_datetime)
    converter.register_structure_hook(UnixTime, _read_seconds)
    converter.register_unstructure_hook(UnixTime, UnixTime.written)
    converter.register_unstructure_hook_func(_is_plain, _write_plain)
    converter.register_structure_hook_func(_is_mapping, _exactly(dict))
    converter.register_structure_hook_factory(unions.is_union, unions.reader)
    converter.register_unstructure_hook_factory(unions.is_union, unions.writer)
    converter.register_structure_hook_factory(_is_list, _list_reader)
    converter.register_unstructure_hook_factory(_is_list, _list_writer)
    converter.register_structure_hook_factory(
        attrs.has, _model_reader_that_says_why if detailed else _model_reader
    )
    converter.register_unstructure_hook_factory(attrs.has, _model_writer)
    return converter


def _is_kind(kind: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(kind, type) and issubclass(kind, of)


def _is_mapping(kind: Any) -> bool:
    return _is_kind(get_origin(kind) or kind, Mapping)


def _is_plain(kind: Any) -> bool:
    return _is_mapping(kind) or kind in (Any, object, float) or _is_kind(kind, (list, tuple))


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list


_FAST: Final = _converter(detailed=False)
_DETAILED: Final = _converter(detailed=True)


def _structure_slowly(data: object, kind: type[T]) -> T:
    """Read *data*, which doesn't fit, once more, to raise a `Misfit` that says where."""
    try:
        return cast("T", _DETAILED.get_structure_hook(kind)(data, kind))
    except (Misfit, ClassValidationError, IterableValidationError) as error:
        misfit = _innermost(error, "")
    raise misfit


def _innermost(error: Exception, path: str) -> Misfit:
    """Return the first misfit in cattrs' groups, with the path that their notes make."""
    if isinstance(error, ClassValidationError):
        noted, validators = error.group_exceptions()
        if not noted:
            return _innermost(validators[0], path)
        inner, field = noted[0]
        name = name_of(attrs.fields_dict(error.cl)[field.name])
        return _innermost(inner, _join(path, name))
    if isinstance(error, IterableValidationError):
        inner, item = error.group_exceptions()[0][0]
        return _innermost(inner, _join(path, f"[{item.index}]"))
    if isinstance(error, KeyError):
        return Misfit("missing", path)
    return Misfit(error.reason if isinstance(error, Misfit) else str(error), path)


def _unwritable(value: object, otherwise: str) -> Misfit:
    """Look for what JSON can't hold in *value*, slowly, to name it."""
    try:
        return next(_unfit(value, ""))
    except (StopIteration, RecursionError):
        return Misfit(otherwise)


def _unfit(value: Any, path: str) -> Iterator[Misfit]:
    if _is_object(value):
        for key, inner in value.items():
            if type(key) is not str:
                yield Misfit(f"a key must be text, not {type(key).__name__}", path)
            yield from _unfit(key, _join(path, "a key"))
            if inner is not Unset.UNSET:
                yield from _unfit(inner, _join(path, ascii(key)[1:-1]))
    elif _is_array(value):
        for index, inner in enumerate(value):
            yield from _unfit(inner, _join(path, f"[{index}]"))
    elif _is_model(value):
        yield from _unfit_fields(value, path)
    elif (reason := _refusal(value)) is not None:
        yield Misfit(reason, path)


def _unfit_fields(model: attrs.AttrsInstance, path: str) -> Iterator[Misfit]:
    """Look at each field that is sent, by its name on the wire; times always can be."""
    for field in attrs.fields(attrs.resolve_types(type(model))):
        inner = getattr(model, field.name)
        if inner is not Unset.UNSET and not isinstance(inner, datetime):
            at = path if field.name == _EXTRA else _join(path, name_of(field))
            wanted = tuple(kind for kind in (field.type, *get_args(field.type)) if attrs.has(kind))
            if wanted and inner is not None and not isinstance(inner, wanted):
                yield Misfit(f"expected {wanted[0].__name__}, got {type(inner).__name__}", at)
            yield from _unfit(inner, at)


def _refusal(value: object) -> str | None:
    if isinstance(value, float) and not isfinite(value):
        return _NOT_FINITE
    if value is Unset.UNSET:
        return _NO_KEY
    try:
        orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        return f"JSON can't hold it ({error})"
    return None


def _join(path: str, name: str) -> str:
    between = "." if path and name and not name.startswith("[") else ""
    return f"{path}{between}{name}"
