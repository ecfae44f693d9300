"""The size of a test run: ``pytest`` is a small run, ``pytest --size=full`` a full run, as in CI.

A small run has fewer cases, examples, rows and kills, and no test with the mark ``slow``.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

CASES = 2
"""Cases of a parametrized test in a small run; one case with the mark ``costly``."""

_run = {"size": "small"}


def set_size(size: str) -> None:
    """Make this run a *size* run: "small" or "full"."""
    _run["size"] = size


def sized(full: T, small: T) -> T:
    """Return *full* in a full run, *small* in a small run."""
    return full if _run["size"] == "full" else small


def some(cases: Sequence[T], at_most: int) -> Sequence[T]:
    """Return *cases*, in a small run *at_most* that many: from the first to the last."""
    places = range(sized(len(cases), min(at_most, len(cases))))
    return [cases[place * (len(cases) - 1) // max(1, len(places) - 1)] for place in places]
