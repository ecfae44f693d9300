"""Values to JSON, and back."""

from sunshine_async._codec.converter import (
    Misfit,
    covers,
    decode,
    encode,
    holds,
    misread,
    name_of,
    structure,
    structure_inside,
    structure_strictly,
    unstructure,
    wire_name,
)

__all__ = [
    "Misfit",
    "covers",
    "decode",
    "encode",
    "holds",
    "misread",
    "name_of",
    "structure",
    "structure_inside",
    "structure_strictly",
    "unstructure",
    "wire_name",
]
