"""Strategies for models: whole ones, with values of every kind and with unknown keys."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from sunshine_async import UNSET, Unset
from sunshine_async._codec import name_of

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
FLAT = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
JSON = st.recursive(
    FLAT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
_OF_KIND: Mapping[Any, st.SearchStrategy[Any]] = {
    Unset: st.just(UNSET),
    NoneType: st.none(),
    Any: JSON,
    str: st.text(max_size=8),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    datetime: st.datetimes(timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
    ),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field with the type *hint*."""
    if hint in _OF_KIND:
        return _OF_KIND[hint]
    if get_origin(hint) is list:
        return st.lists(values(get_args(hint)[0]), max_size=2)
    if get_origin(hint) is Mapping:
        return st.dictionaries(st.text(max_size=8), FLAT, max_size=3)
    if attrs.has(hint):
        return st.deferred(lambda: whole(hint))
    return st.one_of([values(member) for member in get_args(hint)])


@cache
def whole(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for whole models of *kind*, with keys beyond the model too."""
    hints = get_type_hints(kind)
    fields = {
        field.name: st.just(field.default)
        if name_of(field) == "_type"
        else values(hints[field.name])
        for field in attrs.fields(kind)
        if field.name != "extra"
    }
    known = {name_of(field) for field in attrs.fields(kind)}
    keys = st.text(max_size=8).filter(lambda key: key not in known)
    return st.builds(kind, **fields, extra=st.dictionaries(keys, JSON, max_size=2))
