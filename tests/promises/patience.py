"""A wait for other processes, bounded by a lack of progress: a slow machine breaks no promise."""

from collections.abc import Callable

import anyio
import httpx
from support.patience import PATIENCE


async def settle(url: str) -> None:
    """Return once the requests that have come to the emulator at *url* have had all effects.

    The emulator is in order: a later request is answered after the effects of earlier requests.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        for _ in range(3):
            await client.get(f"{url}/_emulator/ledger")
            await anyio.sleep(0.02)


async def until(holds: Callable[[], bool], progress: Callable[[], object]) -> None:
    """Wait until *holds*; an error with the last *progress* once that hasn't changed for long."""
    last = progress()
    end = anyio.current_time() + PATIENCE
    while not holds():
        await anyio.sleep(0.02)
        if (now := progress()) != last:
            last, end = now, anyio.current_time() + PATIENCE
        assert anyio.current_time() < end, f"nothing has changed for {PATIENCE:.0f} s: {last}"
