"""The size of a test run: ``pytest --size=full`` in CI, small for a quick answer.

A small run keeps every promise, on fewer examples, rows, kills and cases.
"""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

_SIZE = {"full": False}


def set_size(size: str) -> None:
    """Make this run a *size* run: "small" or "full"."""
    _SIZE["full"] = size == "full"


def sized(full: T, small: T) -> T:
    """Return *full* in a full run, *small* in a small one."""
    return full if _SIZE["full"] else small


def some(cases: Iterable[T], every: int) -> list[T]:
    """Return all *cases* in a full run; in a small one the first, and each *every*-th after."""
    return list(cases)[:: sized(1, every)]
