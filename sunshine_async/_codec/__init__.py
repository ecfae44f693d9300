"""Values to JSON, and back."""

from sunshine_async._codec.converter import (
    Misfit,
    covers,
    decode,
    encode,
    holds,
    is_unreadable,
    name_of,
    structure,
    structure_body,
    structure_inside,
    unstructure,
    wire_name,
)

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
