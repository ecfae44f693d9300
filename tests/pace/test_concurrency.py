"""Throughput limit against simulated services, in virtual time."""

from collections.abc import Callable
from random import Random

import pytest
from support.size import sized
from support.traffic import World

from sunshine_async._pace.concurrency import ThroughputLimit


class Service:
    """Works on *slots* calls at once, each for the seconds of *takes*; further calls wait in line."""

    def __init__(self, seed: int, slots: int, takes: Callable[[Random], float]) -> None:
        self.world = World(seed)
        self.limit = ThroughputLimit()
        self.slots = slots
        self.takes = takes
        self.callers = 10**6
        self.failing = False
        self.done = 0
        self._working = 0
        self._line: list[float] = []
        self._under_way: dict[int, float] = {}
        self._number = 0

    def run(self, seconds: float) -> float:
        """Call with the concurrency of the limit; return the calls done a second."""
        before = self.done
        self._fill()
        self.world.run(seconds)
        return (self.done - before) / seconds

    def _fill(self) -> None:
        while len(self._under_way) < min(self.limit.limit, self.callers):
            self._number += 1
            self._under_way[self._number] = self.world.now
            self.limit.count_start()
            self._line.append(self._number)
        while self._line and self._working < self.slots:
            self._working += 1
            self.world.after(self.takes(self.world.luck), self._end, int(self._line.pop(0)))

    def _end(self, number: int) -> None:
        self._working -= 1
        self.done += 1
        self.limit.count_end(self.world.now, self._under_way.pop(number), failed=self.failing)
        self._fill()


def around(seconds: float) -> Callable[[Random], float]:
    """Return what takes between two fifths of so many *seconds* and eight fifths."""
    return lambda luck: seconds * luck.uniform(0.4, 1.6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("seconds", [0.005, 0.05, 0.3])
@pytest.mark.parametrize("slots", [1, 3, 10, 40, 150])
def test_the_best_concurrency_is_found(slots: int, seconds: float, seed: int) -> None:
    """90 % of the possible throughput is reached, with at most twice the calls (and a few) at once."""
    service = Service(seed, slots, around(seconds))
    service.run(max(1500 / slots, 60) * seconds)

    limits = set[int]()
    done = 0.0
    for _ in range(20):
        done += service.run(10 * seconds * (1 + 20 / slots)) / 20
        limits.add(service.limit.limit)

    assert done >= 0.9 * slots / seconds
    assert max(limits) <= 2 * slots + 6


@pytest.mark.costly
@pytest.mark.parametrize("seed", range(3))
def test_a_service_that_scales_gets_all(seed: int) -> None:
    """Where more calls at once always get more done, the limit goes to 256, and stays around there."""
    service = Service(seed, 10**6, around(0.05))
    service.run(10)

    assert service.run(sized(20, 4)) >= 0.9 * 256 / 0.05
    assert service.limit.limit <= 256


@pytest.mark.costly
@pytest.mark.parametrize("seed", range(3))
def test_a_service_that_changes_is_followed(seed: int) -> None:
    """The best concurrency of a service that becomes slower, smaller or larger is found again."""
    service = Service(seed, 40, around(0.05))
    service.run(10)
    service.takes = around(0.2)
    service.run(60)
    assert service.run(20) >= 0.85 * 40 / 0.2
    service.slots = 10
    service.run(30)
    assert service.limit.limit <= 40
    assert service.run(20) >= 0.85 * 10 / 0.2
    service.slots = 100
    service.run(60)
    assert service.run(20) >= 0.85 * 100 / 0.2


def test_an_unused_limit_does_not_grow() -> None:
    """Fewer calls than the limit allows teach nothing."""
    service = Service(1, 1000, around(0.05))
    service.callers = 6
    service.run(30)

    assert service.limit.limit <= 8


def test_failures_halve_the_limit_once() -> None:
    """Failures of the same time count once; the limit falls to 1 where all calls fail, and grows again."""
    service = Service(2, 30, lambda _: 0.05)
    service.run(5)
    before = service.limit.limit
    service.failing = True
    service.run(0.055)
    assert before // 2 - 1 <= service.limit.limit <= before // 2 + 1
    service.run(2)
    assert service.limit.limit == 1
    service.failing = False
    service.run(5)
    assert service.limit.limit >= 25
