"""What Dixa's limit costs: how much of 10 requests a second is used, and how many are refused.

    python benchmarks/dixa_rate.py [--seconds 60] [--jitter 0.1] [--clients 2]

The emulator listens on a socket and keeps the service's limit (10 a second, a burst of 4, by
token). Clients with one token create end users in bulk through it, in real time, each request and
each answer held for a random part of the jitter. Their pace is the default one.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator

import httpx

from sunshine_async.auth import ApiToken
from sunshine_async.bulk import Done
from sunshine_async.dixa import CreateEndUserInput, DixaClient
from sunshine_async.emulator import Emulator

RATE, BURST = 10, 4
BATCH = 100


class Distant(httpx.AsyncHTTPTransport):
    """A way to the emulator that takes a random time, there and back."""

    def __init__(self, jitter: float) -> None:
        super().__init__()
        self.jitter = jitter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hold the request for a while, and the answer too."""
        await asyncio.sleep(random.uniform(0, self.jitter))
        answer = await super().handle_async_request(request)
        await asyncio.sleep(random.uniform(0, self.jitter))
        return answer


async def bodies(name: str, until: float) -> AsyncIterator[CreateEndUserInput]:
    """Give new end users until the time is over."""
    number = 0
    while time.monotonic() < until:
        yield CreateEndUserInput(email=f"{name}-{number}@example.org")
        number += 1


async def work(client: DixaClient, name: str, until: float, seen: Counter[str]) -> None:
    """Create end users, and count what became of them."""
    async with (
        client,
        client.end_users.create_many(
            bodies(name, until), batch_size=BATCH, concurrency=16
        ) as outcomes,
    ):
        async for outcome in outcomes:
            seen["done" if isinstance(outcome, Done) else "not done"] += 1


async def measure(seconds: float, jitter: float, clients: int) -> None:
    """Run, and print the table."""
    emulator = Emulator(rate=RATE, burst=BURST)
    seen: Counter[str] = Counter()
    with emulator.serve() as base_url:
        token = ApiToken("benchmark")
        every = [
            DixaClient(auth=token, base_url=base_url, transport=Distant(jitter))
            for _ in range(clients)
        ]
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(every):
                tasks.create_task(work(client, str(number), began + seconds, seen))
        took = time.monotonic() - began
    ledger = emulator.ledger()
    requests, refused = ledger["requests"], ledger["throttled"]
    allowed = RATE * took + BURST
    print("| what | measured | bar |\n|---|---|---|")
    print(f"| answers that were 429 | {refused / requests:.2%} ({refused}) | ≤ 0.5 % |")
    print(f"| of the allowance used | {(requests - refused) / allowed:.1%} | ≥ 95 % |")
    print(f"| end users not done | {seen['not done']} of {seen.total()} | 0 |")
    print(f"| end users a second | {seen['done'] / took:.0f} | |")
    assert ledger["dixa"]["users"] == seen["done"]  # noqa: S101 - none lost, none twice


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jitter", type=float, default=0.1)
    parser.add_argument("--clients", type=int, default=2)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.seconds, arguments.jitter, arguments.clients))


if __name__ == "__main__":
    main()
