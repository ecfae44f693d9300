"""Conversion between values and JSON. A value is a model, or plain data such as a dictionary.

`encode` writes a value as JSON; `decode` reads JSON as plain data. `structure` turns the plain data
of an answer into a model; `unstructure` turns a model back into plain data. Both use the names on
the wire, which are camelCase. `UNSET` leaves a key out of a body, and None sends null. Reading an
answer is lenient: an unreadable optional field reads as None, and *extra* keeps the raw value.
Reading a body (`structure_body`) is strict: a value that doesn't fit raises `Misfit`. No error text
has the value, because the value may be personal data.

`converter` has the functions of this package and two cattrs converters, made of the parts in
`model` (base class, metadata), `reader` (values, lists, models) and `unions` (with null or a tag).
"""

from sunshine_async._codec.converter import (
    Misfit,
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
from sunshine_async._codec.model import name_of, wire_name

__all__ = [
    "Misfit",
    "covers",
    "decode",
    "encode",
    "holds",
    "is_unreadable",
    "name_of",
    "structure",
    "structure_body",
    "structure_inside",
    "unstructure",
    "wire_name",
]
