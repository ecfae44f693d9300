"""Time that jumps to the next event: scenarios of minutes take no time."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint
from support.patience import PATIENCE
from trio.testing import MockClock

from sunshine_async._pace.waiting import CLOCK

P = ParamSpec("P")
T = TypeVar("T")

_RUN_SYNC: Final = to_thread.run_sync
_GRACE: Final = 0.005
"""Seconds that bytes may need from one socket of this process to another."""


class JumpingLoop(asyncio.SelectorEventLoop):
    """Event loop whose time jumps to the next timer as soon as there is nothing else to do.

    Sockets within this process, and threads of the loop's executor and of anyio, are something to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._in_threads = 0
        self._stopped = 0.0
        select = self._selector.select
        own = len(self._selector.get_map())

        def jump(timeout: float | None) -> Any:
            stopped, self._stopped = self._stopped, 0.0
            if stopped:
                self._now += stopped
                return []
            if timeout is None or self._in_threads:
                return select(timeout)
            ready = select(0)
            if not ready and timeout > 0 and len(self._selector.get_map()) > own:
                ready = select(_GRACE)
            self._now += 0 if ready else timeout
            return ready

        self._selector.select = jump

    def time(self) -> float:
        return self._now

    def stop_process(self, seconds: float) -> None:
        """Stop the process in the next wait: that wait then tells of no event, as of Linux."""
        self._stopped = seconds

    def run_in_executor(self, *arguments: Any) -> Any:
        """Run a function in a thread; no time passes meanwhile."""
        future = super().run_in_executor(*arguments)
        self._in_threads += 1
        future.add_done_callback(self._ended)
        return future

    async def shutdown_default_executor(self, *arguments: Any) -> None:
        """Join the threads of the executor; no time passes meanwhile."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*arguments)
        finally:
            self._in_threads -= 1

    def _ended(self, _: object) -> None:
        self._in_threads -= 1

    @classmethod
    async def run_sync(cls, *arguments: Any, **options: Any) -> Any:
        """Run a function in a thread of anyio; no time passes meanwhile."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, cls):
            return await _RUN_SYNC(*arguments, **options)
        loop._in_threads += 1
        try:
            return await _RUN_SYNC(*arguments, **options)
        finally:
            loop._in_threads -= 1


def virtually(scenario: Callable[[], Awaitable[T]], backend: str = "trio") -> T:
    """Run *scenario* on *backend* in time that jumps; waits of the library are in that time too."""
    jumping: dict[str, dict[str, Any]] = {
        "asyncio": {"loop_factory": JumpingLoop},
        "trio": {"clock": MockClock(autojump_threshold=0)},
    }
    now = CLOCK.now
    CLOCK.now = anyio.current_time
    if backend == "asyncio":
        to_thread.run_sync = JumpingLoop.run_sync
    try:
        return anyio.run(scenario, backend=backend, backend_options=jumping[backend])
    finally:
        CLOCK.now = now
        to_thread.run_sync = _RUN_SYNC


def virtual(test: Callable[P, Awaitable[None]], *, backend: str = "asyncio") -> Callable[P, None]:
    """Let an async *test* run in time that jumps, on asyncio."""

    @wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        virtually(lambda: test(*arguments, **options), backend)

    return run


virtual_on_trio: Final = partial(virtual, backend="trio")


async def sleep(seconds: float) -> None:
    """Let *seconds* pass in time that jumps: there is no other sleep in tests."""
    assert CLOCK.now is anyio.current_time, "time doesn't jump here: use an event"
    await CLOCK.sleep(seconds)


async def settled() -> None:
    """Return when everything has gone on that can without time."""
    for _ in range(20):
        await checkpoint()


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until *holds*, where no event tells; give up after `PATIENCE`."""
    with anyio.fail_after(PATIENCE):
        while not holds():
            await CLOCK.sleep(0.01 if CLOCK.now is anyio.current_time else 0)
