"""The pace of the real transport at real limits: independent limiters, in time that jumps."""

from typing import Final

import pytest
from pace_cases import CASES, Case, simulate

pytestmark = pytest.mark.costly

MANY = ("300 a second", "no limit", "60 a second", "10 at once", "bucket 60/s")
"""Cases of many thousand calls: of each one here, all in `benchmarks/pace.py --limits "" --virtual`."""


SEEDS: Final = {"60 a second, fixed, none": (0, 3)}
"""With seed 3 calls in line once overslept the end of a refusal period: 1.26 s."""


def chosen() -> list[tuple[Case, int]]:
    """Return all cases of few calls, and one of each that have many; each with its seeds."""
    few = [case for case in CASES if not case.name.startswith(MANY)]
    many = [next(case for case in CASES if case.name.startswith(name)) for name in MANY]
    return [(case, seed) for case in few + many for seed in SEEDS.get(case.name, (0,))]


@pytest.mark.parametrize(("case", "seed"), chosen(), ids=lambda one: getattr(one, "name", None))
def test_the_bars_hold(case: Case, seed: int) -> None:
    """Share, refusals and interactive waits hold at each limit, and no call fails."""
    result, callers, _ = simulate(case, seed)

    assert not callers.errors
    assert not result.misses(case), result
