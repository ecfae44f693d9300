"""A job held while its service is gone: how it finds out, and what its probe may meet."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from support.virtual import sleep, virtual_on_trio

from sunshine_async import Pace, ServerError
from sunshine_async._pace.pace import Sign
from sunshine_async.jobs.outage import OutageWatch


@asynccontextmanager
async def watching(*errors: Exception) -> AsyncGenerator[tuple[OutageWatch, Pace, list[str]]]:
    """Give a watch whose probe meets *errors*, the pace, and what the watch gives up with."""
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
        yield watch, pace, said
        watch.close()


def fail(pace: Pace) -> None:
    """Let calls of *pace* fail until it holds batches."""
    for _ in range(10):
        pace.enter(anyio.current_time())
        now = anyio.current_time()
        pace.leave(sign=Sign.FAILED, now=now, began=now)


@virtual_on_trio
@pytest.mark.parametrize(
    "errors", [(), (ServerError(503, endpoint="GET /x"),), (RuntimeError("no token"),) * 3]
)
async def test_it_hears_from_the_pace(errors: tuple[Exception, ...]) -> None:
    """Where the pace holds calls back rows are held, until the probe is answered; whatever it meets."""
    async with watching(*errors) as (watch, pace, said):
        watch.record_answer()
        fail(pace)
        await sleep(0.1)
        assert watch.held
        await watch.wait()
        assert watch.seconds > 0
        assert not said


@virtual_on_trio
async def test_it_gives_up_in_time() -> None:
    """A probe that is never answered ends with what it met last."""
    async with watching(*[RuntimeError("no token")] * 100) as (watch, pace, said):
        watch.record_answer()
        fail(pace)
        await sleep(61)
        assert said[0].startswith("the service has been gone for ")
        assert "no token" in said[0]


@virtual_on_trio
async def test_it_gives_up_sooner_where_nothing_was_ever_there() -> None:
    """Before the first answer it waits less: the address may be wrong."""
    async with watching(*[RuntimeError("no token")] * 100) as (_, pace, said):
        fail(pace)
        await sleep(11)
        assert said[0].startswith("the service has not answered once in ")
