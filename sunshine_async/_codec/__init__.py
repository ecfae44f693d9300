"""Conversion between values and JSON. A value is a model, or plain data such as a dictionary.

`encode` writes a value as JSON; `decode` reads JSON as plain data. `structure` turns the plain data
of an answer into a model; `unstructure` turns a model back into plain data. Both use the names on
the wire, which are camelCase. `UNSET` leaves a key out of a body, and None sends null. Reading an
answer is lenient: an unreadable optional field reads as None, and *extra* keeps the raw value.
Reading a body (`structure_body`) is strict: a value that doesn't fit raises `Misfit`. No error text
has the value, because the value may be personal data.

`to_dict`, `to_json`, `from_dict` and `from_json` are for users. ``pydantic_schema.py`` makes models
types for Pydantic and FastAPI. `converter` has the functions of this package and two cattrs
converters, made of the parts in `model` (base class, metadata), `reader` (values, lists, models),
`writer` (plain data, models) and `unions` (with null or a tag).
"""

from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from sunshine_async._codec.converter import (
    Misfit,
    conversion_hint,
    covers,
    decode,
    encode,
    holds,
    is_unreadable,
    structure,
    structure_body,
    structure_inside,
    unstructure,
)
from sunshine_async._codec.model import UNSET, name_of, wire_name

if TYPE_CHECKING:  # `model` imports it by name, and tools that pack a program see statements only
    from sunshine_async._codec import pydantic_schema as pydantic_schema

T = TypeVar("T")

__all__ = [
    "Misfit",
    "conversion_hint",
    "covers",
    "decode",
    "encode",
    "from_dict",
    "from_json",
    "holds",
    "is_unreadable",
    "name_of",
    "structure",
    "structure_body",
    "structure_inside",
    "to_dict",
    "to_json",
    "unstructure",
    "wire_name",
]


def to_dict(value: object) -> dict[str, Any]:
    """Return a model as plain data with the names on the wire, or a report or snapshot as JSON data.

    Raise `ValueError`, naming the field, for a value of another type than the field's, NaN, infinity
    and deep nesting. Plain data is not checked further: `to_json` checks all.
    """
    as_json = getattr(value, "as_json", None)
    plain: dict[str, Any] = unstructure(value) if as_json is None else as_json()
    return plain


def to_json(value: object) -> str:
    """Return the text of `to_dict` as JSON; raise `ValueError`, naming the field, if JSON can't."""
    return encode(to_dict(value)).decode()


def from_dict(kind: type[T], data: object) -> T:
    """Return a model *kind* of plain *data* with the names on the wire.

    An answer is read leniently, a body strictly. Other names, such as ``external_id`` for
    ``externalId``, go to *extra*, and are sent as they are. Raise `ValueError`, naming the field, for
    data that doesn't fit; `TypeError` if *kind* is no model.
    """
    if not attrs.has(cast("Any", kind)):
        message = "from_dict takes a model, such as User, and then the data"
        del data  # error reporters attach local variables
        raise TypeError(message)
    is_body = any(field.default is UNSET for field in attrs.fields(cast("Any", kind)))
    try:
        return (structure_body if is_body else structure)(data, kind)
    finally:
        del data


def from_json(kind: type[T], text: str | bytes) -> T:
    """Return a model *kind* of JSON *text*, as `from_dict` does; `ValueError` for other text."""
    data: Any = text.encode() if isinstance(text, str) else text
    if not isinstance(data, bytes | bytearray):
        message = f"text must be JSON, as text or bytes, not {type(text).__name__}"
        del text, data  # error reporters attach local variables
        raise TypeError(message)
    try:
        return from_dict(kind, decode(cast("bytes", data)))
    finally:
        del text, data
