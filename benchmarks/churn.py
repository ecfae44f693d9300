"""State of a client after seconds of cancelled calls, and of ours after 100,000 faults.

    python benchmarks/churn.py [--rounds 20] [--seconds 5] [--soak 100000]

Churn: 20 workers on a pool of 10 connections, each call cancelled after 0 to 6 ms, as web apps do
whose own clients go away. Then 10 calls: do all answer, and how soon? Soak: calls through 100
connections to a server that breaks off, garbles, answers twice and dawdles, while some callers
give up; each answer must be its own call's, and nothing may be left behind.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

from measuring import APP, Coroutines, Create, Target, stub
from peers import AIOHTTP, HTTPX, OURS, OURS_ON_UVLOOP, PEERS

from sunshine_async import BasicAuth, Pace, Retry, SunshineClient
from sunshine_async.errors import SunshineError
from sunshine_async.sunshine import UserCreateBody

CONNECTIONS = 10
PATIENCE = 5.0
CLIENTS = (
    *(OURS, OURS_ON_UVLOOP, AIOHTTP, "httpx on aiohttp + json", HTTPX),
    *("httpx2 + json", "pyreqwest + json", "ry + json"),
)
"""Threads can't be cancelled, and raw sockets know of no cancellation."""


async def churn(client: Coroutines, target: Target, seconds: float) -> list[float | None]:
    """Return how long each of ten calls takes after the churn; None: it has not answered."""
    luck = random.Random(1)
    async with client.open(target, CONNECTIONS) as create:
        until = time.perf_counter() + seconds

        async def cancelled() -> None:
            while time.perf_counter() < until:
                with suppress(Exception):  # a peer may fail in any way: what counts is afterwards
                    async with asyncio.timeout(luck.random() * 0.006):
                        await create(0)

        await asyncio.gather(*(cancelled() for _ in range(2 * CONNECTIONS)))
        return await asyncio.gather(*(_timed(create) for _ in range(CONNECTIONS)))


async def _timed(create: Create) -> float | None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE):
            await create(0)
    except Exception:  # noqa: BLE001 - a peer may fail in any way
        return None
    return time.perf_counter() - began


async def soak(target: Target, calls: int) -> Counter[str]:
    """Return what became of so many calls; raise `AssertionError` where something is left."""
    luck = random.Random(1)
    outcomes: Counter[str] = Counter()
    numbers = iter(range(calls))
    pace = Pace(max_in_flight=200)
    before = _sockets(), asyncio.all_tasks()
    client = SunshineClient(
        APP,
        auth=BasicAuth("key", "secret"),
        base_url=target.url,
        max_connections=100,
        pace=pace,
        retry=Retry(max_attempts=1),
    )

    async def work() -> None:
        for number in numbers:
            patience = luck.random() * 0.03 if number % 5 == 0 else None
            try:
                async with asyncio.timeout(patience):
                    user = await client.users.create(UserCreateBody(external_id=f"n{number}"))
            except TimeoutError:
                outcomes["given up by the caller"] += 1
            except SunshineError as error:
                outcomes[type(error).__name__] += 1
            else:
                assert user.external_id == f"n{number}", "another call's answer"  # noqa: S101
                outcomes["answered"] += 1

    async with client:
        await asyncio.gather(*(work() for _ in range(200)))
    await asyncio.sleep(0)
    assert _sockets() <= before[0], "sockets are left"  # noqa: S101
    assert asyncio.all_tasks() <= before[1], "tasks are left"  # noqa: S101
    assert all([pace.enter(0.0) for _ in range(200)]), "permits are left"  # noqa: C419, S101
    return outcomes


def _sockets() -> int:
    links = Path("/proc/self/fd")
    return len(list(links.iterdir())) if links.exists() else 0


def main() -> None:
    """Run both, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--soak", type=int, default=100_000)
    arguments = parser.parse_args()
    print(f"| after {arguments.seconds:g} s of churn | rounds | all ten answered | slowest, ms |")
    print("|---|---|---|---|")
    for peer in PEERS:
        client = peer.runs
        if peer.name not in CLIENTS or not isinstance(client, Coroutines):
            continue
        if not peer.is_installed:
            print(f"| {peer.name} | 0 | not installed | |")
            continue
        slowest: list[float | None] = []
        with stub("--latency", "0.002") as port:
            for _ in range(arguments.rounds):
                scenario = churn(client, Target(f"http://127.0.0.1:{port}"), arguments.seconds)
                times = client.run(scenario)
                slowest.append(None if None in times else max(filter(None, times)))
        answered = [seconds for seconds in slowest if seconds is not None]
        worst = f"{median(answered) * 1000:.1f}" if answered else ""
        print(f"| {peer.name} | {len(slowest)} | {len(answered)} | {worst} |", flush=True)
    with stub("--faults", "1") as port:
        outcomes = asyncio.run(soak(Target(f"http://127.0.0.1:{port}"), arguments.soak))
    print(f"\nSoak: {outcomes.total():,} calls, nothing left behind, every answer its own call's:")
    for outcome, count in outcomes.most_common():
        print(f"- {outcome}: {count:,}")


if __name__ == "__main__":
    sys.exit(main())
