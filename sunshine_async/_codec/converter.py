"""Conversion of values to JSON and back, by two cattrs converters: lenient and strict.

Writing takes one pass, without reflection, by the writers of ``writer.py``. Only a failure costs a
search: `_encoding_error` encodes each part by itself.
"""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from math import isfinite
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    TypeAlias,
    TypeGuard,
    TypeVar,
    cast,
    get_args,
    get_origin,
)

import attrs
import orjson

from sunshine_async._codec import reader, unions, writer
from sunshine_async._codec.model import EXTRA, UnixTime, Unset, name_of

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")
Misfit: TypeAlias = reader.Misfit

_ORJSON_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_TOO_DEEP: Final = "nested too deep, or in a circle"
_MAX_DEPTH: Final = 250  # levels to search for an error; orjson writes 254

_UNWRITABLE: Final = (TypeError, Misfit, RecursionError, AttributeError, KeyError)
"""Errors of writing a value that JSON can't hold, or of another type than declared."""


def encode(value: object) -> bytes:
    """Return *value* (a model, or plain data) as JSON.

    Raise `ValueError`, naming the field, for a value that JSON can't hold (NaN and infinities, lone
    surrogates, integers past 64 bits, keys that aren't text, deep nesting, a type that JSON doesn't
    have), and for a value of another type where a model is expected.
    """
    if (data := _encode_or_none(value, type(value))) is not None:
        return data
    value = _encoding_error(value)  # in its place: error reporters attach local variables
    try:
        raise value
    finally:
        del value  # which holds this frame


def _encode_or_none(value: object, kind: Any) -> bytes | None:
    """Return *value*, declared as a *kind*, as JSON; None if JSON can't hold the value."""
    try:
        plain = _WRITERS[kind](value)
        data = orjson.dumps(plain, default=_write_model_inside, option=_ORJSON_OPTIONS)
    except _UNWRITABLE:
        return None
    # orjson's text occupies 4 KiB, however short (tracemalloc); a copy occupies the bytes of the text
    return b"%b" % data


def decode(data: bytes) -> Any:
    """Return JSON, with a BOM or without, as plain data; raise `Misfit` for any other text."""
    data = data.removeprefix(BOM_UTF8)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        utf_16 = ", but UTF-16: JSON is UTF-8" if data[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else ""
        misfit = Misfit(f"not JSON{utf_16} ({_syntax_problem(data, error)})")
    del data  # error reporters attach local variables
    try:
        raise misfit
    finally:
        del misfit  # which holds this frame


def _syntax_problem(text: bytes, error: orjson.JSONDecodeError) -> str:
    """Return the reason and the place; orjson takes bytes that aren't UTF-8 for surrogates."""
    try:
        text.decode()
    except UnicodeDecodeError as wrong:
        before = text[: wrong.start].decode()
        error = orjson.JSONDecodeError("a byte that isn't UTF-8", before, len(before))
    return f"{error.msg}, line {error.lineno}, column {error.colno}"


def structure(data: object, kind: type[T]) -> T:
    """Return an answer, plain *data*, as a *kind*.

    A field that doesn't fit reads as None. An item of a list that doesn't fit is left out. In both
    cases the raw value stays in *extra*, and `unstructure` gives the raw value back. Raise `Misfit`
    with the path for a missing or unreadable required field, and for a list without a readable item.
    """
    try:
        result: T = _ANSWER_READERS[kind](data, kind)
    except reader.PartialMisfit as part:
        if part.reading:
            return cast("T", part.reading)
        misfit = Misfit(part.reason, part.path)
    except (Misfit, RecursionError) as error:
        misfit = _without_context(error)
    else:
        return result
    del data  # error reporters attach local variables
    try:
        raise misfit
    finally:
        del misfit  # which holds this frame


def structure_body(data: object, kind: type[T]) -> T:
    """Return a body, plain *data*, as a *kind*; raise `Misfit` with the path of unfit data."""
    try:
        result: T = _BODY_READERS[kind](data, kind)
    except (Misfit, RecursionError) as error:
        misfit = _without_context(error)
    else:
        return result
    del data  # error reporters attach local variables
    try:
        raise misfit
    finally:
        del misfit  # which holds this frame


def structure_inside(data: Any, envelope: str, kind: type[T]) -> T:
    """Return the answer under the key *envelope* of *data*, as `structure` does."""
    if data.__class__ is not dict:
        raise reader.type_misfit(dict, data)
    if envelope not in data:
        reason = "missing"
        raise Misfit(reason, envelope)
    try:
        return structure(data[envelope], kind)
    except Misfit as misfit:
        error = misfit.within(envelope)
    try:
        raise error
    finally:
        del error  # which holds this frame


def unstructure(value: object) -> Any:
    """Return *value* (a model, or plain data) as plain data, with the names on the wire.

    An unreadable field has the raw value. Raise `ValueError`, naming the field, for NaN in plain data,
    deep nesting, `UNSET` without a key, and a value of another type where a model is expected.
    """
    try:
        return _to_plain(value)
    except _UNWRITABLE:
        value = _encoding_error(value)  # in its place: error reporters attach local variables
    try:
        raise value
    finally:
        del value  # which holds this frame


def holds(found: Any, sent: Any) -> bool:
    """Return True if *found* has all of *sent*; null equals no key. False if nested too deep.

    Lists have the same number of items, and each item of *found* has all of the item of *sent*.
    """
    try:
        if writer.is_object(sent):
            there: Mapping[Any, Any] = found if writer.is_object(found) else {}
            return all(holds(there.get(key), value) for key, value in sent.items())
        if writer.is_array(sent):
            items: Sequence[Any] = found if writer.is_array(found) else ()
            return len(items) == len(sent) and all(map(holds, items, sent))
        if isinstance(found, bool) or isinstance(sent, bool):
            return found is sent
        return bool(found == sent)  # a service may write 30.0 as 30
    except RecursionError:
        return False


def covers(found: object, body: object) -> bool:
    """Return True if *found*, an answer, has every value that *body* sets, by raw values.

    An id that came as a number equals the same id as text. False for values that can't be compared.
    """
    try:
        there, sent = unstructure(found), unstructure(body)
    except ValueError:
        return False
    return all(
        holds(there.get(wire), value)
        or (value is not None and reader.is_id(wire) and value == reader.id_text(there.get(wire)))
        for wire, value in sent.items()
    )


def is_unreadable(model: Any, name: str) -> bool:
    """Return True if the answer's value for the field *name* couldn't be read whole.

    Such a field is unknown, not absent. A number read as the text of an id counts as readable.
    """
    return (
        bool(model.extra)
        and name_of(getattr(attrs.fields(model.__class__), name)) in model.extra
        and not isinstance(getattr(model, name), str)
    )


def _is_model(value: Any) -> TypeGuard[attrs.AttrsInstance]:
    return attrs.has(value.__class__)


def _write_model_inside(value: Any) -> Any:
    """Write a model inside plain data; raise `TypeError` for any other type, which isn't JSON."""
    if not _is_model(value):
        raise TypeError
    return _to_plain(value)


@cache  # at first use: the import of a client does without cattrs
def _converter(*, strict: bool) -> "Converter":
    from cattrs import Converter  # noqa: PLC0415 - large

    converter = Converter(detailed_validation=False)
    for kind in (str, bool, int, NoneType):
        converter.register_structure_hook(kind, reader.exact_reader(kind))
    if not strict:
        converter.register_structure_hook(int, reader.read_whole)
    for scalar in writer.NAMES:
        converter.register_unstructure_hook(scalar, writer.scalar_writer(scalar))
    converter.register_structure_hook(float, reader.read_float)
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    converter.register_structure_hook(datetime, reader.read_datetime)
    converter.register_unstructure_hook(datetime, writer.write_time)
    converter.register_structure_hook(UnixTime, reader.read_unix_time)
    converter.register_unstructure_hook(UnixTime, UnixTime.to_seconds)
    converter.register_unstructure_hook_func(_is_plain, writer.write_plain)
    converter.register_unstructure_hook_func(_is_mapping, writer.write_mapping)
    converter.register_structure_hook_func(_is_mapping, reader.exact_reader(dict))
    converter.register_structure_hook_factory(
        unions.is_union, partial(unions.union_reader, strict=strict)
    )
    converter.register_unstructure_hook_factory(unions.is_union, unions.union_writer)
    converter.register_structure_hook_factory(
        unions.is_list, partial(reader.list_reader, strict=strict)
    )
    converter.register_unstructure_hook_factory(unions.is_list, writer.list_writer)
    converter.register_structure_hook_factory(
        attrs.has, partial(reader.model_reader, strict=strict)
    )
    converter.register_unstructure_hook_factory(attrs.has, writer.model_writer)
    return converter


def _is_kind(kind: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(kind, type) and issubclass(kind, of)


def _is_mapping(kind: Any) -> bool:
    return _is_kind(get_origin(kind) or kind, Mapping)


def _is_plain(kind: Any) -> bool:
    return kind in (Any, object) or _is_kind(kind, (list, tuple))


def _reader(kind: Any, *, strict: bool) -> unions.Read:
    return _converter(strict=strict).get_structure_hook(kind)


def _writer(kind: Any) -> unions.Write:
    return _converter(strict=False).get_unstructure_hook(kind)


class _ByKind(dict[Any, T]):
    """Readers or writers by kind, made on first use; `cache` costs 400 instructions more a look-up."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        super().__init__()
        self._make: Final = make

    def __missing__(self, kind: Any) -> T:
        made = self[kind] = self._make(kind)
        return made


_ANSWER_READERS: Final = _ByKind(partial(_reader, strict=False))
_BODY_READERS: Final = _ByKind(partial(_reader, strict=True))
_WRITERS: Final = _ByKind(_writer)


def _to_plain(value: object) -> Any:
    return _WRITERS[type(value)](value)


def _without_context(error: Misfit | RecursionError) -> Misfit:
    """Return a new misfit for *error*, without the context, which holds the value."""
    return Misfit(error.reason, error.path) if isinstance(error, Misfit) else Misfit(_TOO_DEEP)


def _encoding_error(value: object) -> ValueError:
    """Return the error that names the field of *value* that can't be encoded."""
    try:
        misfit = _first_misfit(value, type(value))
    except RecursionError:
        misfit = Misfit(_TOO_DEEP)
    return ValueError(str(misfit))


def conversion_hint(kind: Any, value: object) -> str:
    """Return the next step where *value* is a mapping in place of a model *kind*; else no text."""
    if isinstance(value, Mapping) and attrs.has(kind):
        return f": from_dict({kind.__name__}, ...) makes a model of the service's names"
    return ""


def _first_misfit(value: Any, kind: Any) -> Misfit:
    """Search slowly: each part is encoded by itself, so that search and `encode` agree."""
    path = ""
    for _ in range(_MAX_DEPTH):
        if reason := _fault_of(value, kind):
            return Misfit(reason, path)
        if _is_model(value) and (extra := getattr(value, EXTRA)) and not writer.is_object(extra):
            reason = f"expected a mapping, got {type(extra).__name__}"
            return Misfit(reason, reader.join_path(path, EXTRA))
        parts = _parts_of(value, kind, path)
        part = next((part for part in parts if _encode_or_none(part[0], part[1]) is None), None)
        if part is None:  # each part can be encoded: only the nesting of all is too deep
            break
        value, kind, path = part
    return Misfit(_TOO_DEEP, path.partition(".")[0].partition("[")[0])


def _fault_of(value: Any, kind: Any) -> str | None:
    """Return the reason that *value*, apart from the parts inside, can't be encoded as a *kind*."""
    if value is Unset.UNSET:
        return writer.UNSET_WITHOUT_KEY if kind in (Any, Unset) else writer.NEEDED
    if misfit := _type_misfit(value, kind):
        return misfit
    if isinstance(value, float) and not isfinite(value):
        return writer.NOT_FINITE
    if writer.is_object(value):
        wrong = (type(key).__name__ for key in value if type(key) is not str)
        return next((f"a key must be text, not {name}" for name in wrong), None)
    if not writer.is_array(value) and not _is_model(value):
        try:
            orjson.dumps(value, option=_ORJSON_OPTIONS)
        except orjson.JSONEncodeError as error:
            return f"JSON can't hold it ({error})"
    return None


def _type_misfit(value: Any, kind: Any) -> str | None:
    """Return the reason that *value* is no *kind*, or None; the parts inside don't count."""
    members = unions.members_of(kind)
    is_null = value is None and unions.is_union(kind)
    if is_null or any(_is_of_kind(value, member) for member in members):
        is_naive = isinstance(value, datetime) and value.utcoffset() is None
        return writer.NO_TIME_ZONE if is_naive and kind is not Any else None
    wanted = "a list" if unions.is_list(members[0]) else writer.name_of_kind(members[0])
    hint = conversion_hint(members[0], value)
    return f"expected {wanted}, got {type(value).__name__}{hint}"


def _is_of_kind(value: object, kind: Any) -> bool:
    if kind in (Any, object):
        return True
    if unions.is_list(kind):
        return writer.is_array(value)
    if _is_mapping(kind):
        return writer.is_object(value)
    return writer.is_scalar(value, kind) if kind in writer.NAMES else isinstance(value, kind)


def _parts_of(value: Any, kind: Any, path: str) -> Iterator[tuple[Any, Any, str]]:
    """Yield the values inside of *value*, each with its declared type and its path."""
    if writer.is_object(value):
        for key, inner in value.items():
            yield key, Any, reader.join_path(path, "a key")
            if inner is not Unset.UNSET:
                yield inner, Any, reader.join_path(path, ascii(key)[1:-1])
    elif _is_model(value):
        for field in attrs.fields(attrs.resolve_types(type(value))):
            inner = getattr(value, field.name)
            if inner is not Unset.UNSET or writer.is_needed(field):
                at = path if field.name == EXTRA else reader.join_path(path, name_of(field))
                yield inner, field.type, at
    else:
        lists = filter(unions.is_list, unions.members_of(kind))
        item_kind = next((get_args(each)[0] for each in lists), Any)
        for index, inner in enumerate(value if writer.is_array(value) else ()):
            yield inner, item_kind, reader.join_path(path, f"[{index}]")
