"""Unions: a value or null, models told apart by a tag, or several plain kinds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, cast, get_args, get_origin

import attrs
from cattrs import Converter

from sunshine_async._codec.model import PLACEHOLDER, TAG, TAG_ALIAS, WIRE, Unset

Read: TypeAlias = Callable[[Any, Any], Any]
Write: TypeAlias = Callable[[Any], Any]

_PASSED_ON: Final = frozenset({str, int, float, bool, dict, list})


def is_union(kind: Any) -> bool:
    """Return whether *kind* is one of several."""
    return get_origin(kind) in (Union, UnionType)


def members_of(kind: Any) -> list[Any]:
    """Return the *T* of ``T | None`` and ``T | None | Unset``, or several."""
    return [member for member in get_args(kind) if member not in (NoneType, Unset)]


def reader(kind: Any, converter: Converter) -> Read:
    """Return the reader of *kind*; null fits only where *kind* has None."""
    members = members_of(kind)
    if len(members) > 1 and all(map(attrs.has, members)):
        read = _tagged_reader(members, converter)
    else:
        read = _plain_reader(members, converter)
    if NoneType not in get_args(kind):
        return read
    return lambda value, _: None if value is None else read(value, kind)


def writer(kind: Any, converter: Converter) -> Write:
    """Return the writer of *kind*."""
    member, *others = members_of(kind)
    if others:
        return lambda value: converter.get_unstructure_hook(type(value))(value)
    write = converter.get_unstructure_hook(member)
    if member in _PASSED_ON:
        return write  # cattrs knows it for a pass-through and generates no call
    return lambda value: None if value is None else write(value)


def _plain_reader(members: Sequence[Any], converter: Converter) -> Read:
    """Read the member that takes lists if the value is a list, else the first."""
    first = members[0]
    many = next((member for member in members if get_origin(member) is list), first)
    read_first, read_many = map(converter.get_structure_hook, (first, many))
    return lambda value, _: (
        read_many(value, many) if value.__class__ is list else read_first(value, first)
    )


def _tagged_reader(members: Sequence[Any], converter: Converter) -> Read:
    """Read the member that the data's tag names, or the member without a tag of its own.

    The latter also takes an object that doesn't fit the member that the tag names.
    """
    by_tag = {
        tag: (converter.get_structure_hook(member), member)
        for member in members
        for tag in _tags(member)
    }
    other = by_tag[None]
    read_other, unknown = other
    stands_in = PLACEHOLDER in _tag_field(unknown).metadata

    def read(value: Any, _: Any) -> Any:
        if value.__class__ is not dict:
            return read_other({} if stands_in else value, unknown)
        tag: object = cast("Mapping[str, Any]", value).get(TAG)
        read_member, member = by_tag.get(tag, other) if isinstance(tag, str) else other
        try:
            return read_member(value, member)
        except ValueError:
            return read_other(value, unknown)

    return read


def _tag_field(member: Any) -> "attrs.Attribute[Any]":
    return next(field for field in attrs.fields(member) if field.metadata.get(WIRE) == TAG)


def _tags(member: Any) -> Iterator[str | None]:
    field = _tag_field(member)
    yield field.default
    if TAG_ALIAS in field.metadata:
        yield field.metadata[TAG_ALIAS]
