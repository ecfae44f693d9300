"""Waiting for other processes: bounded by a lack of progress, for a slow machine breaks no promise."""

from collections.abc import Callable

import anyio

PATIENCE = 120.0
"""Seconds without progress after which a wait is given up: longer than any start, or pause."""
_POLL = 0.01


async def until(holds: Callable[[], bool], progress: Callable[[], object]) -> None:
    """Wait until *holds*; an error with the last *progress* once that hasn't changed for long."""
    last = progress()
    deadline = anyio.current_time() + PATIENCE
    while not holds():
        await anyio.sleep(_POLL)
        if (now := progress()) != last:
            last, deadline = now, anyio.current_time() + PATIENCE
        assert anyio.current_time() < deadline, f"nothing has changed for {PATIENCE:.0f} s: {last}"
