"""Waiting for a turn: on asyncio and trio, in time that jumps, and across threads."""

import asyncio
from collections.abc import Awaitable, Callable
from math import ceil
from random import Random
from threading import Event, Thread
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

from sunshine_async import Pace
from sunshine_async._transport.turn import Clock, take

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
CLOCK = Clock(now=anyio.current_time)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing to do as soon as there is nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select

        def jump(timeout: float | None) -> Any:
            ready = select(0 if timeout is not None else None)
            self._now += 0 if ready else timeout or 0
            return ready

        self._selector.select = jump

    def time(self) -> float:
        return self._now


def run(scenario: Callable[[], Awaitable[None]], backend: str) -> None:
    """Run *scenario* on *backend* in time that jumps."""
    jumping = {
        "asyncio": {"loop_factory": JumpingLoop},
        "trio": {"clock": MockClock(autojump_threshold=0)},
    }
    anyio.run(scenario, backend=backend, backend_options=jumping[backend])


async def settled() -> None:
    """Return when all that can go on without time passing has."""
    for _ in range(20):
        await checkpoint()


def is_unused(pace: Pace) -> bool:
    """Return whether nothing waits at *pace* and nothing is under way."""
    return (len(pace._line), pace._in_flight) == (0, 0)


@BACKENDS
def test_calls_go_in_the_order_in_which_they_came(backend: str) -> None:
    """First come, first served, whatever time each takes."""
    order: list[int] = []

    async def scenario() -> None:
        pace = Pace(rate=10, burst=2, max_in_flight=3)

        async def call(number: int) -> None:
            await take(pace, CLOCK)
            order.append(number)
            await anyio.sleep(number % 3 / 10)
            pace.leave()

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)
                await checkpoint()
                await checkpoint()
        assert is_unused(pace)

    run(scenario, backend)

    assert order == list(range(50))


@BACKENDS
@pytest.mark.parametrize("bound", [1, 7])
def test_no_more_than_may_are_in_flight(backend: str, bound: int) -> None:
    """At most *max_in_flight* are under way, and as many as that."""
    under_way: set[int] = set()
    most: list[int] = []

    async def scenario() -> None:
        pace = Pace(max_in_flight=bound)
        random = Random(bound)

        async def call(number: int) -> None:
            await anyio.sleep(random.random())
            await take(pace, CLOCK)
            under_way.add(number)
            most.append(len(under_way))
            await anyio.sleep(random.random())
            under_way.remove(number)
            pace.leave()

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(call, number)
        assert is_unused(pace)

    run(scenario, backend)

    assert max(most) == bound
    assert len(most) == 100


@BACKENDS
def test_the_rate_is_used_to_the_full(backend: str) -> None:
    """64 callers in ten minutes get 99 % of the rate or more, and never more than all of it."""
    rate, seconds = 20.0, 600.0
    started: list[float] = []

    async def scenario() -> None:
        pace = Pace(rate=rate)

        async def call_again_and_again() -> None:
            while True:
                await take(pace, CLOCK)
                started.append(anyio.current_time())
                await anyio.sleep(0.3)
                pace.leave()

        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(64):
                    tasks.start_soon(call_again_and_again)

    run(scenario, backend)

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
                await take(pace, CLOCK)
                started.append((name, anyio.current_time()))
                await anyio.sleep(1)
                pace.leave()

        async with anyio.create_task_group() as tasks:
            scopes = {name: await tasks.start(call, name) for name in "abcd"}
            await settled()
            scopes["d"].cancel()
            scopes["b"].cancel()
        assert is_unused(pace)

    run(scenario, backend)

    assert [(name, round(at)) for name, at in started] == [("a", 0), ("c", 1)]


@BACKENDS
@pytest.mark.parametrize("seed", range(20))
def test_cancelling_at_any_moment_leaves_nothing_behind(backend: str, seed: int) -> None:
    """However many are cancelled, and when, no place is lost and the next call goes at once."""

    async def scenario() -> None:
        pace = Pace(rate=200, burst=2, max_in_flight=3)
        random = Random(seed)

        async def call() -> None:
            await anyio.sleep(random.random() / 10)
            with anyio.move_on_after(random.random() / 5):
                await take(pace, CLOCK)
                try:
                    await anyio.sleep(random.random() / 20)
                finally:
                    pace.leave()

        with anyio.move_on_after(random.random() / 2):
            async with anyio.create_task_group() as tasks:
                for _ in range(40):
                    tasks.start_soon(call)

        assert is_unused(pace)
        await anyio.sleep(1)
        before = anyio.current_time()
        await take(pace, CLOCK)
        assert anyio.current_time() == before

    run(scenario, backend)


@BACKENDS
def test_who_leaves_in_one_thread_wakes_who_waits_in_another(backend: str) -> None:
    """A call that waits in another thread's loop goes as soon as there is room."""
    pace = Pace(max_in_flight=1)
    waits, goes = Event(), Event()

    async def scenario() -> None:
        async def call() -> None:
            await take(pace, Clock())
            goes.set()
            pace.leave()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await settled()
            waits.set()

    assert pace.enter(0.0)
    other = Thread(target=anyio.run, args=(scenario,), kwargs={"backend": backend}, daemon=True)
    other.start()
    assert waits.wait(30)
    assert not goes.is_set()
    pace.leave()

    assert goes.wait(30)
    other.join(30)
    assert is_unused(pace)


@pytest.mark.parametrize("backends", [("asyncio", "asyncio"), ("asyncio", "trio")], ids=str)
def test_loops_in_two_threads_share_a_pace(backends: tuple[str, str]) -> None:
    """Two loops in two threads are bounded together, and every call of both gets its turn."""
    pace = Pace(max_in_flight=2)
    under_way: list[int] = []
    most: list[int] = []

    async def call(number: int) -> None:
        await take(pace, Clock())
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
        thread.join(30)

    assert len(most) == 400
    assert max(most) <= 2
    assert is_unused(pace)
