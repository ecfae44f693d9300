"""Readers and writers of unions: a value or null, models with a tag, or plain types.

The tag is a field such as ``type`` or ``_type``, the same in all members of a union (`TAG`). The
default of each member's tag field is the member's tag, and one member, the fallback, has the
default None.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast, get_args, get_origin

import attrs

from sunshine_async._codec.model import PLACEHOLDER, TAG, TAG_ALIAS, Unset, name_of

if TYPE_CHECKING:
    from cattrs import Converter

Read: TypeAlias = Callable[[Any, Any], Any]
Write: TypeAlias = Callable[[Any], Any]


def is_union(kind: Any) -> bool:
    """Return True for a union type."""
    return get_origin(kind) in (Union, UnionType)


def is_list(kind: Any) -> bool:
    """Return True for a type such as ``list[str]``."""
    return get_origin(kind) is list


def members_of(kind: Any) -> list[Any]:
    """Return the members of *kind* but None and `Unset`; *kind* itself if it is no union."""
    members = get_args(kind) if is_union(kind) else (kind,)
    return [member for member in members if member not in (NoneType, Unset)]


def union_reader(kind: Any, converter: "Converter", *, strict: bool) -> Read:
    """Return the reader of the union *kind*, which accepts null only if None is a member."""
    members = members_of(kind)
    if len(members) > 1 and all(map(attrs.has, members)):
        read = _tagged_reader(members, converter, strict=strict)
    else:
        read = _plain_reader(members, converter)
    if NoneType not in get_args(kind):
        return read
    return lambda value, _: None if value is None else read(value, kind)


def union_writer(kind: Any, converter: "Converter") -> Write:
    """Return the writer of the union *kind*, in which None is null."""
    members = members_of(kind)
    if len(members) == 1:
        write = converter.get_unstructure_hook(members[0])
    elif all(map(attrs.has, members)):
        write = _tagged_writer(tuple(members), converter)
    else:
        write = _plain_writer(members, converter)
    return lambda value: None if value is None else write(value)


def _plain_writer(members: Sequence[Any], converter: "Converter") -> Write:
    """Return a writer of plain types: a list is written as the list member, the rest as the first."""
    array = next(filter(is_list, members), members[0])
    write_first, write_array = map(converter.get_unstructure_hook, (members[0], array))

    def write(value: object) -> Any:
        return (write_array if isinstance(value, list | tuple) else write_first)(value)

    return write


def _tagged_writer(members: tuple[type, ...], converter: "Converter") -> Write:
    """Return the writer of a value of one of the models *members*."""

    def write(value: object) -> Any:
        if not isinstance(value, members):
            raise TypeError
        return converter.get_unstructure_hook(type(value))(value)

    return write


def _plain_reader(members: Sequence[Any], converter: "Converter") -> Read:
    """Return a reader of plain types: a list is read as the list member, the rest as the first."""
    first = members[0]
    array = next((member for member in members if get_origin(member) is list), first)
    read_first, read_array = map(converter.get_structure_hook, (first, array))
    return lambda value, _: (
        read_array(value, array) if value.__class__ is list else read_first(value, first)
    )


def _tagged_reader(members: Sequence[Any], converter: "Converter", *, strict: bool) -> Read:
    """Return a reader of tagged models: the tag in the data selects the member.

    The member without a tag is the fallback: for an unknown tag and, unless *strict*, for an object
    that doesn't fit the selected member.
    """
    by_tag = {
        tag: (converter.get_structure_hook(member), member)
        for member in members
        for tag in _tags(member)
    }
    fallback = by_tag[None]
    read_fallback, unknown = fallback
    placeholder = PLACEHOLDER in _tag_field(unknown).metadata
    tag_name = name_of(_tag_field(unknown))

    def read(value: Any, _: Any) -> Any:
        if value.__class__ is not dict:
            return read_fallback({} if placeholder else value, unknown)
        tag: object = cast("Mapping[str, Any]", value).get(tag_name)
        read_member, member = by_tag.get(tag, fallback) if isinstance(tag, str) else fallback
        try:
            return read_member(value, member)
        except ValueError:
            if strict:
                raise
            return read_fallback(value, unknown)

    return read


def _tag_field(member: Any) -> "attrs.Attribute[Any]":
    return next(field for field in attrs.fields(member) if TAG in field.metadata)


def _tags(member: Any) -> Iterator[str | None]:
    field = _tag_field(member)
    yield field.default
    if TAG_ALIAS in field.metadata:
        yield field.metadata[TAG_ALIAS]
