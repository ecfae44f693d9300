"""Scripts of faults for property tests: the fate of each request of a call."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import anyio
import httpx
from hypothesis import strategies as st

from sunshine_async import bulk
from sunshine_async.bulk import Outcome
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.testing import no_waiting

FATES: Final = (
    None,
    *(Mishap(status=status) for status in (429, 400, 409, 404)),
    Mishap(status=500, when="before"),
    Mishap(status=503, when="after"),
    Mishap(reset=True, when="before"),
    Mishap(reset=True, when="after"),
    Mishap(cut=True),
    Mishap(garbled=True),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("late"),
)
"""Fates of a request: None is a usual answer."""
CHAOS: Final = {
    Mishap(reset=True, when="before"): 0.02,
    Mishap(reset=True, when="after"): 0.02,
    Mishap(status=503, when="before"): 0.02,
    Mishap(status=503, when="after"): 0.02,
    Mishap(cut=True): 0.02,
    Mishap(status=429, retry_after=1): 0.02,
}
"""The odds of mishaps, for an emulator."""


def scripts(*without: int) -> st.SearchStrategy[list[Mishap | httpx.TransportError | None]]:
    """Return a strategy for the fates of a call's requests, in order; no status of *without*."""
    fates = [fate for fate in FATES if not isinstance(fate, Mishap) or fate.status not in without]
    return st.lists(st.sampled_from(fates), max_size=7)


class Script(httpx.AsyncBaseTransport):
    """An emulator whose requests each have a mishap of their own, or none."""

    def __init__(self, emulator: Emulator, script: Iterable[Any]) -> None:
        self.emulator = emulator
        self.script = iter(script)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on with its mishap."""
        mishap = next(self.script, None)
        self.emulator.faults = [] if mishap is None else [mishap]
        return await self.emulator.transport().handle_async_request(request)


def outcome_of(client: Any, call: Callable[[Any], Awaitable[object]]) -> Outcome[None, object]:
    """Return the outcome of *call* by *client*, without waits."""

    async def scenario() -> Outcome[None, object]:
        with no_waiting():
            [outcome] = await bulk.collect(lambda _: call(client), [None])
        return outcome

    return anyio.run(scenario)
