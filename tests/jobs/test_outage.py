"""A job held while its service is gone: how it finds out, and what its probe may meet."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from support.virtual import sleep, virtually

from sunshine_async import Pace, ServerError
from sunshine_async._pace.pace import Sign
from sunshine_async.jobs.outage import OutageWatch


def played(
    scenario: Callable[[OutageWatch, Pace, list[str]], Awaitable[None]], *errors: Exception
) -> None:
    """Run *scenario* with a watch whose probe meets *errors*, in time that jumps."""

    async def run() -> None:
        pace, said, left = Pace(), list[str](), list(errors)

        async def probe() -> None:
            if left:
                raise left.pop(0)
            pace.enter(anyio.current_time())
            pace.leave(now=anyio.current_time())

        watch = OutageWatch(pace, probe, said.append, max_outage=60, at_first=10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch.run)
            await sleep(1)
            await scenario(watch, pace, said)
            watch.close()

    virtually(run)


def fail(pace: Pace) -> None:
    """Let calls of *pace* fail until it holds batches."""
    for _ in range(10):
        pace.enter(anyio.current_time())
        now = anyio.current_time()
        pace.leave(sign=Sign.FAILED, now=now, began=now)


@pytest.mark.parametrize(
    "errors", [(), (ServerError(503, endpoint="GET /x"),), (RuntimeError("no token"),) * 3]
)
def test_it_hears_from_the_pace(errors: tuple[Exception, ...]) -> None:
    """Where the pace holds calls back rows are held, until the probe is answered; whatever it meets."""

    async def scenario(watch: OutageWatch, pace: Pace, said: list[str]) -> None:
        watch.record_answer()
        fail(pace)
        await sleep(0.1)
        assert watch.held
        await watch.wait()
        assert watch.seconds > 0
        assert not said

    played(scenario, *errors)


def test_it_gives_up_in_time() -> None:
    """A probe that is never answered ends with what it met last."""

    async def scenario(watch: OutageWatch, pace: Pace, said: list[str]) -> None:
        watch.record_answer()
        fail(pace)
        await sleep(61)
        assert said[0].startswith("the service has been gone for ")
        assert "no token" in said[0]

    played(scenario, *[RuntimeError("no token")] * 100)


def test_it_gives_up_sooner_where_nothing_was_ever_there() -> None:
    """Before the first answer it waits less: the address may be wrong."""

    async def scenario(watch: OutageWatch, pace: Pace, said: list[str]) -> None:
        fail(pace)
        await sleep(11)
        assert said[0].startswith("the service has not answered once in ")

    played(scenario, *[RuntimeError("no token")] * 100)
