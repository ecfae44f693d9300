"""How many at once and how fast: told any time, a pace never lets one go too early."""

from collections import deque
from functools import partial
from math import inf, nan
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sunshine_async import Pace
from sunshine_async._pace import Place

ROUNDING: Final = 1e-6


def place() -> Place:
    """Return a place in line that nobody waits at."""
    return Place(lambda: None)


def starts(pace: Pace, now: float) -> int:
    """Return how many calls *pace* lets go at *now*, at most 1000, each of which ends at once."""
    count = 0
    while count < 1000 and pace.enter(now):
        pace.leave()
        count += 1
    return count


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *[("rate", number) for number in (0, -1, nan, inf, -inf)],
        *[("burst", number) for number in (0, 0.9, -1, nan, inf)],
        *[("max_in_flight", number) for number in (0, -1)],
    ],
)
def test_a_number_that_cannot_work_is_refused(name: str, number: float) -> None:
    """A number that can't work is a `ValueError` that names the argument and says what can."""
    wrong: dict[str, Any] = {name: number}

    with pytest.raises(ValueError, match=rf"^Pace\({name}={number}\): .*(more|bound)"):
        Pace(**wrong)


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [(None, None, 1.0), (5, None, 1.0), (200, None, 20.0), (200, 3, 3), (0.01, None, 1.0)],
)
def test_a_burst_is_a_tenth_of_a_second_by_default(
    rate: float | None, burst: float | None, expected: float
) -> None:
    """Where *burst* isn't given it is a tenth of a second's calls, and at least 1."""
    assert Pace(rate=rate, burst=burst).burst == expected


def test_a_pace_shows_its_bounds() -> None:
    """A ``repr`` has the numbers."""
    assert repr(Pace(rate=5.0, max_in_flight=2)) == "Pace(rate=5.0, burst=1.0, max_in_flight=2)"


def test_without_bounds_all_go() -> None:
    """A pace without a rate and a bound lets everything go."""
    pace = Pace()

    assert all(pace.enter(0.0) for _ in range(1000))


@pytest.mark.parametrize("now", [0.0, -5.0, 1e9])
def test_it_starts_with_a_full_burst(now: float) -> None:
    """Whatever the clock says first, the whole burst may go, and then no more."""
    assert starts(Pace(rate=1, burst=3), now) == 3


def test_tokens_come_with_time_up_to_a_burst() -> None:
    """After a second as many may go as *rate* says, after an hour no more than *burst*."""
    pace = Pace(rate=4, burst=10)

    assert [starts(pace, now) for now in (0.0, 1.0, 1.25, 3600.0)] == [10, 4, 1, 10]


def test_a_clock_that_steps_back_changes_nothing() -> None:
    """Time that has been counted isn't counted again, and isn't taken back."""
    pace = Pace(rate=1, burst=2)
    assert pace.enter(10.0)

    assert [starts(pace, now) for now in (9.0, 10.0, 11.0)] == [1, 0, 1]


def test_a_hair_too_early_is_too_early() -> None:
    """A call may go when its time has come, not a thousandth before."""
    pace = Pace(rate=1, burst=1)

    assert [pace.enter(now) for now in (0.0, 0.999, 1.0, 1.999, 2.0)] == [True, False] * 2 + [True]


@given(
    rate=st.floats(0.001, 10_000),
    burst=st.floats(1, 100),
    at=st.floats(0, 1e6),
    ahead=st.integers(0, 3),
)
def test_after_the_wait_it_has_come(rate: float, burst: float, at: float, ahead: int) -> None:
    """Who asks again after just the seconds that were said needn't be told more than twice."""
    pace = Pace(rate=rate, burst=burst)
    starts(pace, at)
    now = at
    for _ in range(ahead + 1):
        mine = place()
        pace.join(mine)
        for _ in range(3):
            wait = pace.ask(mine, now)
            assert wait is not None
            if wait == 0:
                break
            now += max(wait, 1e-9)
        else:
            pytest.fail("told to wait three times")


def test_nobody_overtakes() -> None:
    """Who comes while others wait stands in line, even where there is room."""
    pace = Pace(max_in_flight=1)
    first, second = place(), place()
    assert pace.enter(0.0)
    pace.join(first)
    pace.join(second)
    pace.leave()

    assert not pace.enter(0.0)
    assert pace.ask(second, 0.0) is None
    assert pace.ask(first, 0.0) == 0.0


def test_the_first_in_line_is_woken() -> None:
    """Who ends, starts or gives up wakes the first in line, and nobody else."""
    woken: list[str] = []
    pace = Pace(max_in_flight=2)
    a, b, c, d = (Place(lambda name=name: woken.append(name)) for name in "abcd")
    assert pace.enter(0.0)
    assert pace.enter(0.0)
    for one in (a, b, c, d):
        pace.join(one)

    pace.leave()
    assert woken == ["a"]
    pace.ask(a, 0.0)
    assert woken == ["a", "b"]
    pace.give_up(b)
    assert woken == ["a", "b", "c"]
    pace.give_up(d)
    pace.leave()
    assert woken == ["a", "b", "c", "c", "c"]


class Calls(RuleBasedStateMachine):
    """Calls that come, wait, start, end and give up at any time."""

    @initialize(
        rate=st.none() | st.floats(0.01, 1000),
        burst=st.none() | st.floats(1, 20),
        max_in_flight=st.none() | st.integers(1, 5),
        now=st.floats(0, 1e6),
    )
    def begin(
        self, rate: float | None, burst: float | None, max_in_flight: int | None, now: float
    ) -> None:
        self.pace = Pace(rate=rate, burst=burst, max_in_flight=max_in_flight)
        self.now = now
        self.line: deque[Place] = deque()
        self.idle: set[int] = set()
        """Those that were told to wait until they are woken, and weren't."""
        self.in_flight = 0
        self.started: list[float] = []

    @rule(seconds=st.floats(0, 20) | st.floats(0, 0.1))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.integers(1, 8))
    def come(self, times: int) -> None:
        for _ in range(times):
            if self.pace.enter(self.now):
                assert not self.line
                self._start()
            else:
                new = place()
                new.wake = partial(self.idle.discard, id(new))
                self.line.append(new)
                self.pace.join(new)

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.line))
        wait = self.pace.ask(one, self.now)
        if wait == 0:
            assert one is self.line.popleft()
            self._start()
        elif wait is None:
            self.idle.add(id(one))
        else:
            assert wait > 0
            assert one is self.line[0]

    @precondition(lambda self: self.line)
    @rule()
    def wait_as_told(self) -> None:
        wait = self.pace.ask(self.line[0], self.now)
        if wait:
            self.now += wait
            wait = self.pace.ask(self.line[0], self.now)
        if wait == 0:
            self.line.popleft()
            self._start()
        elif wait is None:
            self.idle.add(id(self.line[0]))

    @precondition(lambda self: self.in_flight)
    @rule()
    def end(self) -> None:
        self.pace.leave()
        self.in_flight -= 1

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.line))
        self.line.remove(one)
        self.idle.discard(id(one))
        self.pace.give_up(one)

    @invariant()
    def no_more_than_may_are_in_flight(self) -> None:
        bound = self.pace.max_in_flight
        assert bound is None or self.in_flight <= bound

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """Let the first in line wait to be woken only while no more may be in flight."""
        if self.line and id(self.line[0]) in self.idle:
            assert self.in_flight == self.pace.max_in_flight

    def _start(self) -> None:
        self.in_flight += 1
        self.started.append(self.now)
        if self.pace.rate is not None:
            for index, at in enumerate(self.started):
                allowed = self.pace.burst + self.pace.rate * (self.now - at)
                assert len(self.started) - index <= allowed * (1 + ROUNDING)


class TestCalls(Calls.TestCase):
    """In any window of t seconds at most ``burst + rate * t`` start, first come, first served."""

    settings = settings(max_examples=40, stateful_step_count=40)
