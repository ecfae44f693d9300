"""The pace of the real transport at real limits: independent limiters, in time that jumps."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from pace_cases import CASES, Case, simulate

HEAVY = "300 a second|no limit"
"""Cases of many thousand calls: `benchmarks/pace.py --virtual` has them with more seeds."""
QUICK = [case for case in CASES if not case.name.startswith(tuple(HEAVY.split("|")))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_bars_hold(case: Case) -> None:
    """Share, refusals and interactive waits hold at each limit, and no call fails."""
    result, callers, _ = simulate(case)

    assert not callers.errors
    assert not result.misses(case), result
