"""Checks of the arguments of calls: an error names the argument and the type, never the value."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from keyword import iskeyword
from typing import Any, Final, TypeVar

from sunshine_async._calls.retry import Replay

A = TypeVar("A")

_WORDS: Final[Mapping[Any, str]] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "True or False",
    datetime: "a datetime",
    Mapping: "a mapping",
    Iterable: "a list, as in [value]",
    Replay: "a Replay, such as Replay.SAFE",
}


def check_type(name: str, found: type, wanted: Any = str) -> None:
    """Raise `TypeError` for an argument *name* of the type *found* that is not *wanted*.

    A boolean is no number, an integer is; one text is no list of texts.
    """
    kinds = (int, float) if wanted is float else wanted
    fits = issubclass(found, kinds) and not (found is bool and wanted in (int, float))
    if not fits or (wanted is Iterable and issubclass(found, str | bytes)):
        message = f"{name} must be {_WORDS[wanted]}, not {found.__name__}"
        raise TypeError(message)


def text_of(name: str, value: str) -> str:
    """Return *value* as plain text, without the class of an `Enum`; `TypeError` for no text."""
    check_type(name, type(value))
    return str.__str__(value)


def mapping_of(name: str, values: Mapping[str, A] | None) -> Mapping[str, A]:
    """Return *values*, or an empty mapping for None; raise `TypeError` for no mapping."""
    check_type(name, dict if values is None else type(values), Mapping)
    return values or {}


def several(name: str, values: Iterable[A]) -> list[A]:
    """Return *values* as a list; raise `TypeError` for no list, `ValueError` for an empty list."""
    check_type(name, type(values), Iterable)
    if found := list(values):
        return found
    message = f"{name} is empty: at least one is needed"
    raise ValueError(message)


def count_text(name: str, value: int | None, most: int | None = None) -> str | None:
    """Return the size of a page for the query; raise for a value that is not from 1 to *most*."""
    if value is None:
        return None
    check_type(name, type(value), int)
    if value < 1 or (most is not None and value > most):
        message = f"{name}={int(value)}: 1 {'or more' if most is None else f'to {most}'}"
        raise ValueError(message)
    return str(int(value))


def argument_of(parameter: str) -> str:
    """Return the name of the argument for a *parameter* of a query.

    ``brandId`` is *brand_id*, ``filter[identities.email]`` is *email*, ``for`` is *for_*.
    """
    word: str = re.findall(r"\w+", parameter)[-1]
    name = re.sub(r"[A-Z]", lambda capital: f"_{capital[0].lower()}", word)
    return f"{name}_" if iskeyword(name) else name
