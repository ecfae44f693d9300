"""Waiting for a turn: on asyncio and trio, in time that jumps, and across threads."""

from functools import partial
from math import ceil
from random import Random
from threading import Event, Thread

import anyio
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from support.backends import virtual_on_both
from support.patience import PATIENCE
from support.size import sized
from support.virtual import settled, sleep, virtually

from sunshine_async import Lane, Pace
from sunshine_async._pace.pace import Sign
from sunshine_async._pace.slots import Slots
from sunshine_async._pace.waiting import Clock, Waker, acquire_slot

pytestmark = pytest.mark.costly

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
CLOCK = Clock(now=anyio.current_time)


def is_unused(pace: Pace) -> bool:
    """Return whether nothing waits at *pace* and nothing is under way."""
    return (pace._queue.count, pace._in_flight) == (0, 0)


@virtual_on_both
async def test_calls_go_in_the_order_in_which_they_came() -> None:
    """First come, first served, whatever time each takes."""
    order: list[int] = []

    pace = Pace(rate=10, burst=2, max_in_flight=3)

    async def call(number: int) -> None:
        await acquire_slot(pace, CLOCK)
        order.append(number)
        await sleep(number % 3 / 10)
        pace.leave()

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(call, number)
            await checkpoint()
            await checkpoint()
    assert is_unused(pace)

    assert order == list(range(50))


@virtual_on_both
@pytest.mark.parametrize("bound", [1, 7])
async def test_no_more_than_may_are_in_flight(bound: int) -> None:
    """At most *max_in_flight* are under way, and as many as that."""
    under_way: set[int] = set()
    most: list[int] = []

    pace = Pace(max_in_flight=bound)
    random = Random(bound)

    async def call(number: int) -> None:
        await sleep(random.random())
        await acquire_slot(pace, CLOCK)
        under_way.add(number)
        most.append(len(under_way))
        await sleep(random.random())
        under_way.remove(number)
        pace.leave()

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(call, number)
    assert is_unused(pace)

    assert max(most) == bound
    assert len(most) == 100


@virtual_on_both
async def test_the_rate_is_used_to_the_full() -> None:
    """64 callers in ten minutes get 99 % of the rate or more, and never more than all of it."""
    rate, seconds = 20.0, sized(600.0, 150.0)
    started: list[float] = []

    pace = Pace(rate=rate)

    async def call_again_and_again() -> None:
        while True:
            await acquire_slot(pace, CLOCK)
            started.append(anyio.current_time())
            await sleep(0.3)
            pace.leave()

    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for _ in range(64):
                tasks.start_soon(call_again_and_again)

    assert len(started) >= 0.99 * rate * seconds
    burst = ceil(Pace(rate=rate).burst)
    assert all(
        later - earlier >= (burst_and_more - burst) / rate - 1e-6
        for burst_and_more in (burst + 1, burst + 10, burst + 1000)
        for earlier, later in zip(started, started[burst_and_more - 1 :], strict=False)
    )


@BACKENDS
@pytest.mark.parametrize("bounds", [{"max_in_flight": 1}, {"rate": 1}], ids=str)
def test_who_is_cancelled_in_line_lets_the_next_go(backend: str, bounds: dict[str, int]) -> None:
    """A cancelled waiter, first or last in line, leaves no trace, and the next doesn't wait longer."""
    started: list[tuple[str, float]] = []

    async def scenario() -> None:
        pace = Pace(**bounds)

        async def call(
            name: str, *, task_status: TaskStatus[anyio.CancelScope] = anyio.TASK_STATUS_IGNORED
        ) -> None:
            with anyio.CancelScope() as scope:
                task_status.started(scope)
                await acquire_slot(pace, CLOCK)
                started.append((name, anyio.current_time()))
                await sleep(1)
                pace.leave()

        async with anyio.create_task_group() as tasks:
            scopes = {name: await tasks.start(call, name) for name in "abcd"}
            await settled()
            scopes["d"].cancel()
            scopes["b"].cancel()
        assert is_unused(pace)

    virtually(scenario, backend)

    assert [(name, round(at)) for name, at in started] == [("a", 0), ("c", 1)]


@virtual_on_both
@pytest.mark.parametrize("seed", range(20))
async def test_cancelling_at_any_moment_leaves_nothing_behind(seed: int) -> None:
    """With any cancellations no slot is lost, and the next call goes at once."""
    pace = Pace(rate=200, burst=2, max_in_flight=3)
    random = Random(seed)

    async def call() -> None:
        await sleep(random.random() / 10)
        with anyio.move_on_after(random.random() / 5):
            await acquire_slot(pace, CLOCK)
            try:
                await sleep(random.random() / 20)
            finally:
                pace.leave()

    with anyio.move_on_after(random.random() / 2):
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(call)

    assert is_unused(pace)
    await sleep(1)
    before = anyio.current_time()
    await acquire_slot(pace, CLOCK)
    assert anyio.current_time() == before


@BACKENDS
def test_who_leaves_in_one_thread_wakes_who_waits_in_another(backend: str) -> None:
    """A call that waits in another thread's loop goes as soon as there is room."""
    pace = Pace(max_in_flight=1)
    waits, goes = Event(), Event()

    async def scenario() -> None:
        async def call() -> None:
            await acquire_slot(pace, Clock())
            goes.set()
            pace.leave()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await settled()
            waits.set()

    assert pace.enter(0.0)
    other = Thread(target=anyio.run, args=(scenario,), kwargs={"backend": backend}, daemon=True)
    other.start()
    assert waits.wait(PATIENCE)
    assert not goes.is_set()
    pace.leave()

    assert goes.wait(PATIENCE)
    other.join(PATIENCE)
    assert is_unused(pace)


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")], ids=str)
def test_loops_in_two_threads_share_a_pace(backends: tuple[str, str]) -> None:
    """Two loops in two threads are bounded together, and every call of both gets its turn."""
    pace = Pace(max_in_flight=2)
    under_way: list[int] = []
    most: list[int] = []

    async def call(number: int) -> None:
        await acquire_slot(pace, Clock())
        under_way.append(number)
        most.append(len(under_way))
        await checkpoint()
        under_way.remove(number)
        pace.leave()

    async def scenario() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(call, number)

    threads = [
        Thread(target=anyio.run, args=(scenario,), kwargs={"backend": backend}, daemon=True)
        for backend in backends
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert len(most) == 400
    assert max(most) <= 2
    assert is_unused(pace)


@virtual_on_both
async def test_a_person_goes_before_a_batch_that_waits() -> None:
    """Interactive calls go before batches, and resends before new calls, in any order of arrival."""
    order: list[str] = []

    pace = Pace(rate=1)

    async def call(name: str, lane: Lane, *, again: bool = False) -> None:
        await acquire_slot(pace, CLOCK, lane, again=again)
        order.append(name)
        pace.leave(lane=lane)

    async with anyio.create_task_group() as tasks:
        for name, lane in (("first", Lane.BATCH), ("batch", Lane.BATCH)):
            tasks.start_soon(call, name, lane)
            await settled()
        tasks.start_soon(partial(call, "batch again", Lane.BATCH, again=True))
        await sleep(0.5)
        tasks.start_soon(call, "person", Lane.INTERACTIVE)
        await settled()
        tasks.start_soon(partial(call, "person again", Lane.INTERACTIVE, again=True))
    assert is_unused(pace)

    assert order == ["first", "person again", "person", "batch again", "batch"]


@virtual_on_both
async def test_who_is_woken_before_a_wait_does_not_wait() -> None:
    """A waker that was called between two waits ends the next wait at once, once."""
    waker = Waker(CLOCK)
    before = anyio.current_time()
    waker()
    await waker.wait(10.0)
    assert anyio.current_time() == before
    await waker.wait(10.0)
    assert anyio.current_time() == before + 10


@virtual_on_both
@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_batch_does_not_oversleep_the_end_of_a_hold(*, in_thread: bool) -> None:
    """Told to wait for half a minute, it goes as soon as the service is seen to be back."""
    pace = Pace()
    for _ in range(10):
        assert pace.enter(0.0)
        pace.leave(sign=Sign.FAILED, now=0.0, began=0.0)
    for probe in range(7):
        assert pace.enter(100.0 * (probe + 1), Lane.BATCH)
        pace.leave(
            sign=Sign.FAILED, lane=Lane.BATCH, now=100.0 * (probe + 1), began=100.0 * (probe + 1)
        )

    offset = 700.0 - anyio.current_time()
    clock = Clock(now=lambda: anyio.current_time() + offset)

    def answered() -> None:
        assert pace.enter(700.0)
        pace.leave(now=700.0, began=700.0)

    async with anyio.create_task_group() as tasks:
        before = anyio.current_time()
        tasks.start_soon(partial(acquire_slot, pace, clock, Lane.BATCH))
        await settled()
        assert pace.snapshot().waiting[Lane.BATCH] == 1
        if in_thread:
            other = Thread(target=answered)
            other.start()
            other.join(PATIENCE)
        else:
            answered()
    assert anyio.current_time() - before < 30
    assert pace.snapshot().in_flight[Lane.BATCH] == 1


@virtual_on_both
@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(
    ("end", "ahead"), [(Sign.THROTTLED, 0), (Sign.THROTTLED, 1), (Sign.NOTHING, 0)]
)
async def test_a_call_in_line_does_not_oversleep_the_end_of_a_look(
    lane: Lane, end: Sign, ahead: int
) -> None:
    """A call that waits while another one looks goes soon after that look, not a second later.

    The same holds where a call *ahead* in line, which was let go before, is cancelled.
    """
    started: list[float] = []

    pace = Pace()
    pace.enter(anyio.current_time())
    pace.leave(sign=Sign.THROTTLED, now=anyio.current_time())
    await acquire_slot(pace, CLOCK, Lane.BATCH)
    looked = anyio.current_time()

    async def wait() -> None:
        await acquire_slot(pace, CLOCK, lane)
        started.append(anyio.current_time() - looked)

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as others:
        tasks.start_soon(wait)
        await settled()
        for _ in range(ahead):
            others.start_soon(partial(acquire_slot, pace, CLOCK, lane, again=True))
        await sleep(0.05)
        pace.leave(sign=end, lane=Lane.BATCH, now=anyio.current_time(), began=looked)
        await settled()
        others.cancel_scope.cancel()

    assert started == [pytest.approx(0.05 if end is Sign.NOTHING else 0.16, abs=0.01)]


@virtual_on_both
async def test_slots_are_waited_for_in_the_same_way() -> None:
    """The slots of one client are a line as a pace is."""
    slots = Slots(2)

    async def call() -> None:
        await acquire_slot(slots, CLOCK)
        await sleep(1)
        slots.leave()

    began = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(call)
    assert anyio.current_time() - began == pytest.approx(3, abs=0.01)
