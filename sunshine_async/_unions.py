"""What may be one of several kinds: or nothing, or told apart by a tag, or whatever JSON has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin

import attrs
from cattrs import Converter

from sunshine_async._model import ALSO, TAG, WIRE, Unset

Read: TypeAlias = Callable[[Any, Any], Any]
Write: TypeAlias = Callable[[Any], Any]

_PASSED_ON: Final = frozenset({str, int, float, bool, dict, list})


def is_union(kind: Any) -> bool:
    """Return whether *kind* is one of several."""
    return get_origin(kind) in (Union, UnionType)


def reader(kind: Any, converter: Converter) -> Read:
    """Return what reads *kind*: ``T | None``, models with a tag each, or several plain kinds.

    Of plain kinds, such as a text or a list of texts, any JSON passes: a service may add others.
    """
    first, *others = members = _members(kind)
    if not others:
        read = converter.get_structure_hook(first)
        return lambda value, _: None if value is None else read(value, first)
    if all(map(attrs.has, members)):
        return _tagged_reader(members, converter)
    return lambda value, _: value


def writer(kind: Any, converter: Converter) -> Write:
    """Return what writes *kind*."""
    member, *others = _members(kind)
    if others:
        return lambda value: converter.get_unstructure_hook(type(value))(value)
    write = converter.get_unstructure_hook(member)
    if member in _PASSED_ON:
        return write  # cattrs knows it for a pass-through and generates no call
    return lambda value: None if value is None else write(value)


def _members(kind: Any) -> list[Any]:
    """Return the *T* of ``T | None`` and ``T | None | Unset``, or several."""
    return [member for member in get_args(kind) if member not in (NoneType, Unset)]


def _tagged_reader(members: Sequence[Any], converter: Converter) -> Read:
    """Read the member that the data's tag names, or the one without a tag of its own."""
    by_tag = {
        tag: (converter.get_structure_hook(member), member)
        for member in members
        for tag in _tags(member)
    }
    other = by_tag[None]

    def read(value: Any, _: Any) -> Any:
        if value is None:
            return None
        tag: object = value.get(TAG) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        read_member, member = by_tag.get(tag, other) if isinstance(tag, str) else other
        return read_member(value, member)

    return read


def _tags(member: Any) -> Iterator[str | None]:
    [field] = (field for field in attrs.fields(member) if field.metadata.get(WIRE) == TAG)
    yield field.default
    if ALSO in field.metadata:
        yield field.metadata[ALSO]
