"""A wait for other processes, bounded by a lack of progress: a slow machine breaks no promise."""

from collections.abc import Callable

import anyio
from support.patience import PATIENCE


async def until(holds: Callable[[], bool], progress: Callable[[], object]) -> None:
    """Wait until *holds*; an error with the last *progress* once that hasn't changed for long."""
    last = progress()
    end = anyio.current_time() + PATIENCE
    while not holds():
        await anyio.sleep(0.02)
        if (now := progress()) != last:
            last, end = now, anyio.current_time() + PATIENCE
        assert anyio.current_time() < end, f"nothing has changed for {PATIENCE:.0f} s: {last}"
