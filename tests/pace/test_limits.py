"""The pace of the real transport at real limits: independent limiters, in time that jumps."""

import pytest
from pace_cases import CASES, Case, simulate

MANY = ("300 a second", "no limit", "60 a second", "10 at once", "bucket 60/s")
"""Cases of many thousand calls: of each one here, all in `benchmarks/pace.py --limits "" --virtual`."""


def chosen() -> list[Case]:
    """Return all cases of few calls, and one of each that have many."""
    few = [case for case in CASES if not case.name.startswith(MANY)]
    return few + [next(case for case in CASES if case.name.startswith(name)) for name in MANY]


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
def test_the_bars_hold(case: Case) -> None:
    """Share, refusals and interactive waits hold at each limit, and no call fails."""
    result, callers, _ = simulate(case)

    assert not callers.errors
    assert not result.misses(case), result
