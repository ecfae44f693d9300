"""The size of a test run: ``pytest`` is a small run, ``pytest --size=full`` a full run, as in CI.

A small run keeps every promise, on fewer cases, examples, rows and kills.
"""

from typing import TypeVar

import pytest

T = TypeVar("T")

CASES = 3
"""Cases of a parametrized test in a small run; one case with the mark ``costly``."""

_run = {"size": "small"}


def set_size(size: str) -> None:
    """Make this run a *size* run: "small" or "full"."""
    _run["size"] = size


def sized(full: T, small: T) -> T:
    """Return *full* in a full run, *small* in a small run."""
    return full if _run["size"] == "full" else small


def small_selection(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Split *items* into those of a small run, at most `CASES` of a test, and all others."""
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {
        cases[place * (len(cases) - 1) // (CASES - 1)]
        for cases in by_test.values()
        for place in range(1 if cases[0].get_closest_marker("costly") else CASES)
    }
    return [item for item in items if item in kept], [item for item in items if item not in kept]
