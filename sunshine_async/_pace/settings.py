"""Checks of settings and arguments: an error names the owner or the argument, and what fits. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

Setting: TypeAlias = tuple[str, Any, Callable[[Any], bool], str]
"""Name and value of a setting, a function that is true for a value that works, and such values in
words."""
Kinds: TypeAlias = Mapping[str, tuple[Any, str]]
"""The type of each argument, and the type in words: not every caller has a type checker."""

_LISTS: Final = (Iterable, Collection, Sequence)


def check_kinds(
    kinds: Kinds, given: Mapping[str, object], error: type[Exception] = TypeError
) -> None:
    """Raise *error* for an argument of another type than in *kinds*, without showing the value.

    A boolean is no number, and one text is no list of texts.
    """
    for name, (kind, words) in kinds.items():
        found = type(given.get(name))
        apart = (found is bool and kind is not bool) or (found in (str, bytes) and kind in _LISTS)
        if name in given and (apart or not isinstance(given[name], kind)):
            message = f"{name} must be {words}, not {found.__name__}"
            del given  # error reporters attach local variables
            raise error(message)


def check_settings(
    owner: str, settings: Iterable[Setting], error: type[ValueError] = ValueError
) -> None:
    """Raise *error*, which names *owner* and setting, for the first value that doesn't work.

    A value of a type without order, such as a text, works for no number.
    """
    for name, value, works, hint in settings:
        with suppress(TypeError):
            if works(value):
                continue
        message = f"{owner}({name}={value!r}): {hint}"
        raise error(message)
