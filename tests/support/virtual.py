"""Time that jumps to what comes next: scenarios of minutes that take none."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import trio

from sunshine_async._pace.waiting import CLOCK


@contextmanager
def virtual_clock() -> Iterator[None]:
    """Let our waits go by the clock of the event loop."""
    now = CLOCK.now
    CLOCK.now = anyio.current_time
    try:
        yield
    finally:
        CLOCK.now = now


def virtually(scenario: Callable[[], Awaitable[Any]]) -> None:
    """Run *scenario* where waiting takes no time."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    with virtual_clock():
        anyio.run(scenario, backend="trio", backend_options={"clock": clock})
