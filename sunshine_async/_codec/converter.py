"""Values to JSON and back: camelCase, `UNSET` against null, times. No reflection per call."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from math import isfinite
from types import NoneType
from typing import Any, Final, TypeAlias, TypeGuard, TypeVar, cast, get_args, get_origin

import attrs
import orjson
from cattrs import Converter
from cattrs.gen import make_dict_unstructure_fn, override

from sunshine_async._codec import reader as reading
from sunshine_async._codec import unions
from sunshine_async._codec.model import TAG, WIRE, UnixTime, Unset

T = TypeVar("T")
Write: TypeAlias = Callable[[Any], Any]
Misfit: TypeAlias = reading.Misfit

_EXTRA: Final = reading.EXTRA
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_AS_IT_IS: Final = frozenset({str, int, bool, NoneType})
_NOT_FINITE: Final = "JSON has no NaN and no infinity"
_NO_KEY: Final = "UNSET leaves a key out, and here is none"
_DEEP: Final = "nested too deep, or in a circle"
_DEEPEST: Final = 250
"""The levels that are looked at; orjson writes 254."""


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

    Raise `ValueError`, naming the field, for a value that JSON can't hold: NaN and infinities, lone
    surrogates, integers past 64 bits, keys that aren't text, deep nesting, any type that JSON
    doesn't have, and for another value in the place of a model.
    """
    if (data := _written(value)) is not None:
        return data
    value = _unwritable(value)  # in its place: error reporters attach local variables
    raise value


def _written(value: object) -> bytes | None:
    """Return *value* as JSON, or None where JSON can't hold it."""
    try:
        plain = _ANSWERS.get_unstructure_hook(type(value))(value)
        data = orjson.dumps(plain, default=_write_inner, option=_OPTIONS)
    except (orjson.JSONEncodeError, Misfit, RecursionError, AttributeError):
        return None
    return None if b"null" in data and _has_nan(plain) else data  # orjson writes NaN as null


def decode(data: bytes) -> Any:
    """Return JSON, with a BOM or without, as plain data; raise `Misfit` where it isn't JSON."""
    try:
        return orjson.loads(data.removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        utf_16 = ", but UTF-16: JSON is UTF-8" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else ""
        place = f"line {error.lineno}, column {error.colno}"
        misfit = Misfit(f"not JSON{utf_16} ({error.msg}, {place})")
    raise misfit


def structure(data: object, kind: type[T]) -> T:
    """Return an answer, plain *data*, as a *kind*.

    A field that doesn't fit reads as None, an item of a list that doesn't fit is left out; the raw
    value stays in *extra*, and `unstructure` gives it back. Raise `Misfit` with the path for a
    missing or unreadable required field, and for a list of which no item can be read.
    """
    try:
        result: T = _ANSWERS.get_structure_hook(kind)(data, kind)
    except reading.Inexact as part:
        if part.reading:
            return cast("T", part.reading)
        misfit = Misfit(part.reason, part.path)
    except (Misfit, RecursionError) as error:
        misfit = _seen_outside(error)
    else:
        return result
    raise misfit


def structure_body(data: object, kind: type[T]) -> T:
    """Return a body, plain *data*, as a *kind*; raise `Misfit` with the path where it doesn't fit."""
    try:
        result: T = _BODIES.get_structure_hook(kind)(data, kind)
    except (Misfit, RecursionError) as error:
        misfit = _seen_outside(error)
    else:
        return result
    raise misfit


def structure_inside(data: Any, envelope: str, kind: type[T]) -> T:
    """Return the answer that *data* has under the key *envelope*, as `structure` does."""
    if data.__class__ is not dict:
        raise reading.unlike(dict, data)
    if envelope not in data:
        reason = "missing"
        raise Misfit(reason, envelope)
    try:
        return structure(data[envelope], kind)
    except Misfit as misfit:
        error = misfit.within(envelope)
    raise error


def unstructure(value: object) -> Any:
    """Return *value* (a model, or plain data) as plain data, as it goes on the wire.

    A field that couldn't be read has its raw value. Raise `ValueError`, naming the field, for NaN
    in plain data, deep nesting, `UNSET` without a key, and another value in the place of a model.
    """
    try:
        return _plain(value)
    except (Misfit, RecursionError, AttributeError):
        value = _unwritable(value)  # in its place: error reporters attach local variables
    raise value


def holds(found: Any, sent: Any) -> bool:
    """Return whether plain *found* has all that plain *sent* sets; null stands for absent.

    Values nested too deep to be compared are not held.
    """
    try:
        if _is_object(sent):
            there: Mapping[Any, Any] = found if _is_object(found) else {}
            return all(holds(there.get(key), value) for key, value in sent.items())
        if isinstance(found, bool) or isinstance(sent, bool):
            return found is sent
        return bool(found == sent)  # a service may write 30.0 as 30
    except RecursionError:
        return False


def covers(found: object, body: object) -> bool:
    """Return whether *found*, an answer, has all that *body* sets, by raw values.

    An id that came as a number equals its text. A value that can't be compared is not held.
    """
    try:
        there, sent = unstructure(found), unstructure(body)
    except ValueError:
        return False
    return all(
        holds(there.get(wire), value)
        or (value is not None and reading.is_id(wire) and value == reading.id_text(there.get(wire)))
        for wire, value in sent.items()
    )


def is_unreadable(model: Any, name: str) -> bool:
    """Return whether an answer had a value for the field *name* that couldn't be read whole.

    Such a field is unknown, not absent. A number that reads as the text of an id is read whole.
    """
    return (
        bool(model.extra)
        and _wires(model.__class__)[name] in model.extra
        and not isinstance(getattr(model, name), str)
    )


def _is_object(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_model(value: Any) -> TypeGuard[attrs.AttrsInstance]:
    return attrs.has(value.__class__)


def _is_array(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


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
    return _plain(value)


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


def _list_writer(kind: Any, converter: Converter) -> Write:
    [member] = get_args(kind)
    try:
        write = converter.get_unstructure_hook(member)
    except RecursionError:  # a model that holds a list of its own kind: its hook is being made
        write = converter.unstructure
    return lambda values: [write(value) for value in values]


def _names(kind: Any) -> dict[str, str]:
    """Return the fields of a model but *extra*, by their names on the wire."""
    return {name_of(field): field.name for field in attrs.fields(kind) if field.name != _EXTRA}


@cache
def _wires(kind: Any) -> Mapping[str, str]:
    """Return the names on the wire of the fields of a model but *extra*."""
    return {name: wire for wire, name in _names(kind).items()}


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
    still_raw = reading.raw_values(kind, _names(kind), converter)

    def write_with_extra(model: Any) -> Any:
        if not model.extra:
            return write(model)
        beyond = _write_plain(model.extra)
        return {**beyond, **write(model), **still_raw(model, beyond)}

    return write_with_extra


def _converter(*, strict: bool) -> Converter:
    converter = Converter(detailed_validation=False)
    for kind in (str, bool, int, NoneType):
        converter.register_structure_hook(kind, reading.exactly(kind))
    converter.register_structure_hook(float, reading.read_float)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook(datetime, reading.read_datetime)
    converter.register_unstructure_hook(datetime, _write_datetime)
    converter.register_structure_hook(UnixTime, reading.read_seconds)
    converter.register_unstructure_hook(UnixTime, UnixTime.written)
    converter.register_unstructure_hook_func(_is_plain, _write_plain)
    converter.register_structure_hook_func(_is_mapping, reading.exactly(dict))
    converter.register_structure_hook_factory(unions.is_union, unions.reader)
    converter.register_unstructure_hook_factory(unions.is_union, unions.writer)
    converter.register_structure_hook_factory(
        _is_list, lambda kind, of: reading.list_reader(kind, of, strict=strict)
    )
    converter.register_unstructure_hook_factory(_is_list, _list_writer)
    converter.register_structure_hook_factory(
        attrs.has, lambda kind, of: reading.model_reader(kind, _names(kind), of, strict=strict)
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


_ANSWERS: Final = _converter(strict=False)
_BODIES: Final = _converter(strict=True)


def _plain(value: object) -> Any:
    return _ANSWERS.get_unstructure_hook(type(value))(value)


def _seen_outside(error: Misfit | RecursionError) -> Misfit:
    """Return the misfit to raise for *error*: anew, without the context that holds its value."""
    return Misfit(error.reason, error.path) if isinstance(error, Misfit) else Misfit(_DEEP)


def _has_nan(plain: Any) -> bool:
    kind = plain.__class__
    if kind in _AS_IT_IS:
        return False
    if kind is float:
        return not isfinite(plain)
    if kind is dict:
        return any(map(_has_nan, plain.values()))
    if _is_array(plain):
        return any(map(_has_nan, plain))
    return _is_model(plain) and _has_nan(_plain(plain))


def _unwritable(value: object) -> ValueError:
    """Look for the value that JSON can't hold, slowly, to name its field."""
    try:
        misfit = next(_unfit(value, ""), None)
    except RecursionError:
        misfit = None
    return ValueError(str(misfit or Misfit(_DEEP)))


def _unfit(value: Any, path: str, depth: int = 0) -> Iterator[Misfit]:
    if depth > _DEEPEST:
        yield Misfit(_DEEP, path.partition(".")[0].partition("[")[0])
    elif _is_object(value):
        for key, inner in value.items():
            if type(key) is not str:
                yield Misfit(f"a key must be text, not {type(key).__name__}", path)
            yield from _unfit(key, reading.join(path, "a key"), depth + 1)
            if inner is not Unset.UNSET:
                yield from _unfit(inner, reading.join(path, ascii(key)[1:-1]), depth + 1)
    elif _is_array(value):
        for index, inner in enumerate(value):
            yield from _unfit(inner, reading.join(path, f"[{index}]"), depth + 1)
    elif _is_model(value):
        yield from _unfit_fields(value, path, depth)
    elif (reason := _refusal(value)) is not None:
        yield Misfit(reason, path)


def _unfit_fields(model: attrs.AttrsInstance, path: str, depth: int) -> Iterator[Misfit]:
    """Look at each field that is sent, by its name on the wire."""
    for field in attrs.fields(attrs.resolve_types(type(model))):
        inner = getattr(model, field.name)
        if inner is not Unset.UNSET:
            at = path if field.name == _EXTRA else reading.join(path, name_of(field))
            yield from _misplaced(inner, field.type, at)
            if not isinstance(inner, datetime):
                yield from _unfit(inner, at, depth + 1)


def _misplaced(value: Any, kind: Any, path: str) -> Iterator[Misfit]:
    """Look for other values in the places of models and times."""
    kinds = (kind, *get_args(kind)) if unions.is_union(kind) else (kind,)
    wanted = tuple(one for one in kinds if attrs.has(one) or _is_kind(one, datetime))
    if wanted and value is not None and not isinstance(value, wanted):
        yield Misfit(f"expected {wanted[0].__name__}, got {type(value).__name__}", path)
    if _is_array(value):
        for one in filter(_is_list, kinds):
            for index, item in enumerate(value):
                yield from _misplaced(item, get_args(one)[0], f"{path}[{index}]")


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
