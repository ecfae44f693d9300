"""Ten requests a second, a burst of four: all of them used, and almost none too many."""

from random import Random
from typing import Any

import anyio
import httpx
import pytest
from support.size import sized
from support.virtual import sleep, virtual_on_trio

from sunshine_async.auth import ApiToken
from sunshine_async.bulk import Done
from sunshine_async.dixa import CreateEndUserInput, DixaClient
from sunshine_async.emulator import Emulator

pytestmark = pytest.mark.costly

SECONDS = sized(60, 30)
ALLOWED = 10 * SECONDS + 4


class Distant(httpx.AsyncBaseTransport):
    """An emulator that requests travel to for 0 to 100 ms, and answers back as long."""

    def __init__(self, emulator: Emulator, seed: int) -> None:
        self.inner = emulator.transport()
        self.luck = Random(seed)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on after a while, and its answer too."""
        await sleep(self.luck.uniform(0, 0.1))
        answer = await self.inner.handle_async_request(request)
        await sleep(self.luck.uniform(0, 0.1))
        return answer


@virtual_on_trio
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clients", [1, 3])
async def test_the_allowance_is_used_and_kept(seed: int, clients: int) -> None:
    """In a minute's work at most 0.5 % of answers are 429, and 95 % of the allowance is used."""
    emulator = Emulator(rate=10, burst=4, clock=anyio.current_time)
    token = ApiToken(f"shared {seed} {clients}")
    way = Distant(emulator, seed)
    every = [DixaClient(auth=token, transport=way) for _ in range(clients)]
    began = anyio.current_time()
    done: list[bool] = []

    async def work(number: int, client: DixaClient) -> None:
        async def bodies() -> Any:
            row = 0
            while anyio.current_time() < began + SECONDS:
                yield CreateEndUserInput(email=f"{number}-{row}@x.org")
                row += 1

        users = client.end_users
        async with users.create_many(bodies(), batch_size=2, concurrency=16) as outcomes:
            done.extend([isinstance(one, Done) async for one in outcomes])

    async with anyio.create_task_group() as tasks:
        for number, client in enumerate(every):
            tasks.start_soon(work, number, client)

    took = anyio.current_time() - began
    ledger = emulator.ledger()
    assert ledger["throttled"] <= 0.005 * ledger["requests"]
    assert ledger["requests"] >= 0.95 * ALLOWED * min(1, took / SECONDS)
    assert all(done)
    assert ledger["dixa"]["users"] == len(done)
