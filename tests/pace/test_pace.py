"""Rate and concurrency: told any time, a pace never lets a call start too early."""

import asyncio
import gc
import warnings
from collections.abc import Callable
from functools import partial
from math import inf, nan
from threading import Thread
from typing import Any, Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.patience import PATIENCE
from support.size import sized

from sunshine_async import Lane, Pace
from sunshine_async._http.fork import _renew_all
from sunshine_async._pace.pace import Sign
from sunshine_async._pace.slots import Slots, Waiter
from sunshine_async._pace.waiting import CLOCK, acquire_slot

ROUNDING: Final = 1e-6


def new_waiter() -> Waiter:
    """Return a waiter that needs no waking."""
    return Waiter(lambda: None)


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
        *[(name, "10") for name in ("rate", "burst", "max_in_flight", "max_outage")],
    ],
)
def test_a_number_that_cannot_work_is_refused(name: str, number: object) -> None:
    """A number that can't work is a `ValueError` that names the argument and says what can."""
    wrong: dict[str, Any] = {name: number}

    with pytest.raises(ValueError, match=rf"^Pace\({name}={number!r}\): .*(more|bound)"):
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
    """With any first time the whole burst may go, and then no more."""
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
    """A call that asks again after just the seconds of the answer asks at most twice."""
    pace = Pace(rate=rate, burst=burst)
    starts(pace, at)
    now = at
    for _ in range(ahead + 1):
        mine = new_waiter()
        pace.join(mine)
        for _ in range(3):
            wait = pace.ask(mine, now)
            assert wait is not None
            if wait == 0:
                break
            now += max(wait, 1e-9)
        else:
            pytest.fail("told to wait three times")


@pytest.mark.parametrize("lane", Lane)
def test_nobody_overtakes(lane: Lane) -> None:
    """A call that comes while calls wait joins the queue, even where there is room."""
    pace = Pace(max_in_flight=1)
    first, second = Waiter(lambda: None, lane), Waiter(lambda: None, lane)
    assert pace.enter(0.0, lane)
    pace.join(first)
    pace.join(second)
    pace.leave(lane)

    assert not pace.enter(0.0, lane)
    assert pace.ask(second, 0.0) is None
    assert pace.ask(first, 0.0) == 0.0


def test_the_first_in_line_is_woken() -> None:
    """A call that ends, starts or gives up wakes the first in the queue, and no other call."""
    woken: list[str] = []
    pace = Pace(max_in_flight=2)
    a, b, c, d = (Waiter(lambda name=name: woken.append(name)) for name in "abcd")
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


class TestLanes:
    """Order of interactive calls and batches."""

    def test_interactive_calls_go_before_batches(self) -> None:
        """An interactive call goes before a batch's calls that came earlier."""
        slots = Slots(1)
        batch, person = Waiter(lambda: None, Lane.BATCH), new_waiter()
        assert slots.enter(0.0)
        slots.join(batch)
        slots.join(person)
        slots.leave()

        assert slots.ask(batch, 0.0) is None
        assert slots.ask(person, 0.0) == 0.0
        slots.leave()
        assert slots.ask(batch, 0.0) == 0.0

    @pytest.mark.parametrize("lane", Lane)
    def test_who_was_let_go_before_goes_first(self, lane: Lane) -> None:
        """A resend stands before the new calls of the lane."""
        slots = Slots(1)
        new, again = Waiter(lambda: None, lane), Waiter(lambda: None, lane, again=True)
        assert slots.enter(0.0)
        slots.join(new)
        slots.join(again)
        slots.leave()

        assert slots.ask(new, 0.0) is None
        assert slots.ask(again, 0.0) == 0.0

    @pytest.mark.parametrize(
        ("limit", "most"), [(1, 1), (2, 1), (10, 9), (25, 23), (40, 36), (None, 1000)]
    )
    def test_a_batch_leaves_a_slot_free(self, limit: int | None, most: int) -> None:
        """Batches take nine tenths of the slots, and where there are two or more never the last."""
        slots = Slots(limit)

        assert sum(slots.enter(0.0, Lane.BATCH) for _ in range(1000)) == most
        assert slots.enter(0.0) is (limit != 1)

    def test_a_batch_has_every_tenth_start(self) -> None:
        """Where both wait for a slot, a batch has every tenth, though persons use them all."""
        pace = Pace(max_in_flight=2)
        waiting = {lane: [Waiter(lambda: None, lane) for _ in range(40)] for lane in Lane}
        for line in waiting.values():
            for one in line:
                pace.join(one)
        order: list[Lane] = []

        for _ in range(40):
            for lane, line in waiting.items():
                while pace.ask(line[0], 0.0) == 0:
                    line.pop(0)
                    order.append(lane)
            pace.leave(lane=order[-1])

        assert [number for number, lane in enumerate(order) if lane is Lane.BATCH] == [
            9,
            19,
            29,
            39,
        ]

    def test_a_batch_that_started_alone_waits_for_its_turn_again(self) -> None:
        """The starts before a batch's start, or before the batch waited, give it no turn."""
        pace = Pace(max_in_flight=10)
        assert sum(pace.enter(0.0, Lane.BATCH) for _ in range(10)) == 9
        for number in range(2):
            batch = Waiter(lambda: None, Lane.BATCH)
            pace.join(batch)
            for _ in range(9):
                assert pace.enter(0.0), number
                pace.leave()
            if number:
                pace.give_up(batch)
            else:
                pace.leave(Lane.BATCH)
                assert pace.ask(batch, 0.0) == 0.0
        pace.join(Waiter(lambda: None, Lane.BATCH))

        assert pace.enter(0.0)

    @pytest.mark.parametrize("held", ["by a Retry-After", "by a probe under way"])
    def test_a_batch_that_is_due_and_held_holds_nobody(self, held: str) -> None:
        """Where a batch's turn has come, and the batch may not start, interactive calls go on."""
        pace = Pace()
        for number in range(1, 1 if held == "by a Retry-After" else 11):
            assert pace.enter(number / 10)
            pace.leave(sign=Sign.FAILED, now=number / 10)
        assert pace.held is (held != "by a Retry-After")
        assert not pace.held or pace.enter(5.0, Lane.BATCH)
        batch, person = Waiter(lambda: None, Lane.BATCH), new_waiter()
        pace.join(batch)
        for _ in range(9):
            assert pace.enter(5.0)
            pace.leave()
        if not pace.held:
            pace._start(Lane.INTERACTIVE)
            pace.leave(sign=Sign.FAILED, now=5.0, began=4.9, asked=100.0)
        assert not pace.enter(6.0)
        pace.join(person)

        assert pace.ask(person, 6.0) == 0.0

    def test_a_call_behind_a_lost_call_is_told(self) -> None:
        """A call that asks behind one whose loop was closed just now is woken: no other call may end."""

        def dead() -> None:
            raise RuntimeError

        woken: list[str] = []
        pace = Pace()
        other = Waiter(lambda: woken.append("other"), Lane.BATCH)
        pace.join(Waiter(dead, Lane.BATCH))
        pace.join(other)

        assert pace.ask(other, 0.0) is None
        assert woken == ["other"]
        assert pace.ask(other, 0.0) == 0.0

    def test_calls_without_a_free_slot_demand_nothing(self) -> None:
        """The demand of each lane is that of the calls that wait, as far as slots are free."""
        pace = Pace(rate=1, burst=1, max_in_flight=10)
        for _ in range(3):
            pace._start(Lane.BATCH)
        for _ in range(2):
            pace.join(new_waiter())
        for _ in range(8):
            pace.join(Waiter(lambda: None, Lane.BATCH))
        assert pace.demand() == (2, 6)

        for _ in range(6):
            pace._start(Lane.BATCH)
        assert pace.demand() == (1, 0)
        pace._start(Lane.INTERACTIVE)
        assert pace.demand() == (0, 0)

    def test_a_batch_whose_turn_it_is_is_told(self) -> None:
        """A call that comes when a batch is due wakes the batch, and the batch then wakes that call."""
        woken: list[str] = []
        pace = Pace(max_in_flight=10)
        batch = Waiter(lambda: woken.append("batch"), Lane.BATCH)
        assert sum(pace.enter(0.0, Lane.BATCH) for _ in range(10)) == 9
        pace.join(batch)
        assert pace.ask(batch, 0.0) is None
        for _ in range(9):
            assert pace.enter(0.0)
            pace.leave()
        woken.clear()

        assert not pace.enter(0.0)
        person = Waiter(lambda: woken.append("person"))
        pace.join(person)
        assert pace.ask(person, 0.0) is None
        assert woken == ["batch"]
        assert pace.ask(batch, 0.0) == 0.0
        assert woken == ["batch", "person"]

    def test_who_was_told_a_time_that_is_anothers_now_passes_it_on(self) -> None:
        """A batch that waits for its time, and finds a person before it, sees to it that he asks."""
        woken: list[str] = []
        pace = Pace(rate=1, burst=1)
        batch = Waiter(lambda: woken.append("batch"), Lane.BATCH)
        person = Waiter(lambda: woken.append("person"))
        assert pace.enter(0.0)
        pace.join(batch)
        assert pace.ask(batch, 0.0) == 1.0
        pace.join(person)

        assert pace.ask(batch, 1.0) is None
        assert woken == ["person"]
        assert pace.ask(batch, 1.0) is None
        assert woken == ["person"]
        assert pace.ask(person, 1.0) == 0.0


class Calls(RuleBasedStateMachine):
    """Calls of both lanes that come, wait, start, end in any way and give up at any time."""

    @initialize(
        rate=st.none() | st.floats(0.01, 1000),
        burst=st.none() | st.floats(1, 20),
        max_in_flight=st.none() | st.integers(1, 12),
        now=st.floats(0, 1e6),
    )
    def begin(
        self, rate: float | None, burst: float | None, max_in_flight: int | None, now: float
    ) -> None:
        self.pace = Pace(rate=rate, burst=burst, max_in_flight=max_in_flight)
        self.now = now
        self.waiting: dict[Waiter, float | None] = {}
        """Those who wait, and when they are to ask again: None is when they are woken."""
        self.under_way: list[tuple[Lane, float]] = []
        self.started: list[float] = []
        self.silent_until = -inf
        """Until when nothing may start."""

    @rule(seconds=st.floats(0, 40) | st.floats(0, 0.1))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(times=st.integers(1, 8), lane=st.sampled_from(Lane), again=st.booleans())
    def come(self, times: int, lane: Lane, *, again: bool) -> None:
        for _ in range(times):
            if not again and self.pace.enter(self.now, lane):
                self._start(lane)
                continue
            new = Waiter(lambda: None, lane, again=again)
            new.wake = lambda new=new: self.waiting.update({new: -inf})
            self.waiting[new] = -inf
            self.pace.join(new)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self._ask(data.draw(st.sampled_from(list(self.waiting))))

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        sign=st.sampled_from(Sign),
        asked=st.none() | st.sampled_from([0.0, 1.0, 40.0, 1e9]),
        times=st.integers(1, 12),
    )
    def end(self, data: st.DataObject, sign: Sign, asked: float | None, times: int) -> None:
        for _ in range(min(times, len(self.under_way))):
            which = data.draw(st.integers(0, len(self.under_way) - 1))
            lane, began = self.under_way.pop(which)
            self.pace.leave(sign=sign, lane=lane, now=self.now, began=began, asked=asked)
            if sign is Sign.THROTTLED and asked:
                self.silent_until = max(self.silent_until, self.now + min(asked, 300.0))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(list(self.waiting)))
        del self.waiting[one]
        self.pace.give_up(one)

    @rule(tries=st.integers(1, 5))
    def run_out_of_tries(self, tries: int) -> None:
        assert self.pace.hold_if_gone(tries, self.now) is self.pace.held

    @rule(times=st.integers(1, 30))
    def retry(self, times: int) -> None:
        for _ in range(times):
            left = self.pace.snapshot().budget
            assert self.pace.may_retry() is (left >= 1)

    @invariant()
    def counts_are_whole(self) -> None:
        seen, bound = self.pace.snapshot(self.now), self.pace.max_in_flight
        for lane in Lane:
            assert seen.in_flight[lane] == sum(one is lane for one, _ in self.under_way)
            assert seen.waiting[lane] == sum(one.lane is lane for one in self.waiting)
        assert bound is None or len(self.under_way) <= bound
        assert 0 <= seen.budget <= 50
        assert seen.used is None or 0 <= seen.used <= 1
        assert seen.rate is None or self.pace.rate is None or seen.rate <= self.pace.rate
        assert min(seen.paused, seen.throttled_seconds, seen.held_seconds) >= 0
        assert seen.batch_places is None or seen.batch_places >= 1

    def teardown(self) -> None:
        """Let all end: everybody who waits gets a turn, whatever came before."""
        asks = 250  # each: a rate that may grow, 0.005 a second at least, is asked once a second
        for _ in range(asks * (len(self.waiting) + len(self.under_way)) + 10):
            due = [one for one, at in self.waiting.items() if at is not None and at <= self.now]
            times = [at for at in self.waiting.values() if at is not None]
            if due:
                for one in due:
                    self._ask(one)
            elif self.under_way:
                lane, began = self.under_way.pop(0)
                self.pace.leave(lane=lane, now=self.now, began=began)
            elif times:
                self.now = min(times)
            else:
                assert not self.waiting, "nobody wakes who waits"
                return
        pytest.fail("they go round and round")

    def _ask(self, one: Waiter) -> None:
        self.waiting[one] = None
        wait = self.pace.ask(one, self.now)
        if wait == 0:
            del self.waiting[one]
            self._start(one.lane)
        elif wait is not None:
            assert wait > 0
            self.waiting[one] = self.now + max(wait, 1e-6)

    def _start(self, lane: Lane) -> None:
        assert self.now >= self.silent_until - ROUNDING
        self.under_way.append((lane, self.now))
        self.started.append(self.now)
        if self.pace.rate is not None:
            for index, at in enumerate(self.started):
                allowed = self.pace.burst + self.pace.rate * (self.now - at)
                assert len(self.started) - index <= allowed * (1 + ROUNDING)


class TestCalls(Calls.TestCase):
    """No permit too early, none too many, everybody gets a turn, and all counts are whole."""

    settings = settings(max_examples=sized(60, 7), stateful_step_count=40)


@pytest.mark.parametrize("lanes", [(Lane.INTERACTIVE,) * 2, (Lane.BATCH,) * 2, tuple(Lane)])
def test_who_cannot_be_woken_is_forgotten(lanes: tuple[Lane, Lane]) -> None:
    """A call whose event loop was closed while it waited keeps nobody else waiting."""
    pace = Pace(max_in_flight=1)
    woken: list[str] = []

    def dead() -> None:
        message = "Event loop is closed"
        raise RuntimeError(message)

    gone, other = Waiter(dead, lanes[0]), Waiter(lambda: woken.append("other"), lanes[1])
    assert pace.enter(0.0)
    pace.join(gone)
    pace.join(other)
    pace.leave()

    assert woken[-1] == "other"
    assert pace.ask(other, 0.0) == 0.0
    pace.give_up(gone)
    assert pace.snapshot().waiting == dict.fromkeys(Lane, 0)


def test_whose_loop_was_closed_is_found_out_by_any_means() -> None:
    """A waiter of a closed event loop is dropped by any call that asks, ends or comes, and the queue goes on."""
    pace = Pace(max_in_flight=1)
    woken: list[str] = []

    def dead() -> None:
        message = "Event loop is closed"
        raise RuntimeError(message)

    for _ in range(2):
        assert pace.enter(0.0, Lane.BATCH)
        waiters = [Waiter(dead, Lane.BATCH), Waiter(dead, Lane.BATCH)]
        alive = Waiter(lambda: woken.append("alive"), Lane.BATCH)
        for waiter in (*waiters, alive):
            pace.join(waiter)
        assert pace.ask(alive, 0.0) is None
        for _ in range(10):
            pace.hold_if_gone(1, 0.0)
        pace.leave(sign=Sign.ANSWERED, lane=Lane.BATCH, now=1.0, began=0.5)
        assert pace.ask(alive, 1.0) == 0.0
        pace.leave(sign=Sign.NOTHING, lane=Lane.BATCH, now=2.0, began=1.0)
    assert woken


@pytest.mark.parametrize("lane", Lane)
def test_a_call_that_waits_for_its_time_may_be_lost(lane: Lane) -> None:
    """A call that was told its time, and whose event loop was closed then, keeps nobody waiting."""
    pace, closed = Pace(rate=1, burst=1), list[bool]()
    gone = [Waiter(list, lane, is_lost=lambda: bool(closed)) for _ in range(2)]
    other = Waiter(list, lane)
    assert pace.enter(0.0, lane)
    for waiter in (*gone, other):
        pace.join(waiter)
    assert pace.ask(gone[0], 0.0) == 1.0
    assert pace.ask(other, 1.0) is None

    closed.append(True)

    assert pace.ask(other, 1.0) == 0.0
    for waiter in gone:
        pace.give_up(waiter)
    assert pace.snapshot().waiting == dict.fromkeys(Lane, 0)


@pytest.mark.parametrize("options", [{"max_in_flight": 1}, {"rate": 50, "burst": 1}])
async def test_a_loop_that_is_closed_with_calls_in_line(options: dict[str, Any]) -> None:
    """A loop closed without ending its tasks holds up nobody: not even by what is cleared up then."""
    pace = Pace(**options)

    def in_a_loop_of_its_own() -> None:
        loop = asyncio.new_event_loop()

        async def main() -> None:
            await acquire_slot(pace, CLOCK)
            asyncio.get_running_loop().create_task(acquire_slot(pace, CLOCK))
            await asyncio.sleep(0)  # so that the task waits

        loop.run_until_complete(main())
        loop.close()

    thread = Thread(target=in_a_loop_of_its_own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        thread.join()
        pace.leave()
        with anyio.fail_after(PATIENCE):
            await acquire_slot(pace, CLOCK)
        gc.collect()


@pytest.mark.parametrize("slots", [Slots(1), Pace(max_in_flight=1)], ids=["slots", "pace"])
def test_no_call_keeps_the_lock(slots: Slots) -> None:
    """After a start, a refused start and an end here, another thread starts and ends calls."""
    for act in (partial(slots.enter, 0.0), partial(slots.enter, 0.0), slots.leave):
        act()
        other = Thread(target=slots.demand, daemon=True)
        other.start()
        other.join(PATIENCE)
        assert not other.is_alive()


def test_a_process_that_was_forked_off_begins_anew() -> None:
    """Calls in flight and waiters of the parent take no slot in the child."""
    pace = Pace(max_in_flight=1)
    assert pace.enter(0.0)
    pace.join(Waiter(lambda: None))

    _renew_all()

    assert pace.enter(0.0)
    assert pace.snapshot().waiting == dict.fromkeys(Lane, 0)


def test_who_watches_may_have_more_patience() -> None:
    """A job's own limit for an outage holds while it runs, and a loop that was closed is no harm."""
    pace = Pace(max_outage=60)
    calls: list[str] = []

    def dead() -> None:
        calls.append("dead")
        raise RuntimeError

    pace.watch(dead, 100.0)
    for _ in range(10):
        pace.enter(10.0)
        pace.leave(sign=Sign.FAILED, lane=Lane.INTERACTIVE, now=10.0, began=9.0)
    assert calls == ["dead"]
    pace.hold_if_gone(1, 80.0)
    assert not pace.gave_up
    pace.watch(list, 200.0)
    assert pace.max_outage == 200
    pace.unwatch(list)
    assert pace.max_outage == 100
    pace.unwatch(dead)
    assert pace.gave_up


def watched(wake: Callable[[], None]) -> tuple[Pace, Waiter, list[int]]:
    """Return a pace that holds batches at 10.0, watched by *wake*, and who waits, and its wakings."""
    pace = Pace(max_outage=60)
    pace.watch(wake, 60)
    for _ in range(10):
        pace.enter(10.0)
        pace.leave(sign=Sign.FAILED, now=10.0, began=9.0)
    woken: list[int] = []
    waiter = Waiter(lambda: woken.append(1), Lane.BATCH)
    pace.join(waiter)
    return pace, waiter, woken


def test_who_watches_asks_for_the_service_itself() -> None:
    """While a job watches no batch goes as a probe: it may be one that can't be sent twice."""
    pace, waiter, woken = watched(lambda: None)

    assert pace.ask(waiter, 30.0) is None
    assert pace.enter(31.0)
    pace.leave(now=31.0)
    assert woken
    assert pace.ask(waiter, 31.0) == 0


def test_after_an_answered_read_of_who_watches_one_call_goes() -> None:
    """A service may answer reads and fail writes: each read lets a single call of a batch go.

    The call learns by its failure that others were answered meanwhile.
    """
    pace, waiter, woken = watched(lambda: None)
    other = Waiter(lambda: None, Lane.BATCH)
    pace.join(other)
    assert pace.ask(waiter, 10.6) is None
    assert pace.enter(10.6)
    pace.leave(sign=Sign.READ, now=10.6, began=10.6)
    assert pace.held
    assert woken
    assert pace.ask(waiter, 10.6) == 0
    assert pace.ask(other, 10.6) is None
    answers = pace.answers
    pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=10.9, began=10.6)
    assert pace.answers == answers + 1
    assert pace.ask(other, 20.0) is None
    assert pace.enter(20.0)
    pace.leave(sign=Sign.READ, now=20.0, began=20.0)
    assert pace.ask(other, 20.0) == 0
    pace.leave(lane=Lane.BATCH, now=20.1, began=20.0)
    assert not pace.held


@pytest.mark.parametrize("end", ["unwatched", "given up"])
def test_a_batch_goes_when_nobody_asks_any_more(end: str) -> None:
    """It is woken, and goes as a probe, or since waiting is no use."""

    def wake() -> None: ...

    pace, waiter, woken = watched(wake)
    assert pace.ask(waiter, 11.0) is None

    if end == "unwatched":
        pace.unwatch(wake)
        assert woken
    assert pace.ask(waiter, 11.0 if end == "unwatched" else 70.0) == 0
