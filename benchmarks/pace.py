"""What a pace makes of a service's limit, for real, and what it costs where there is none.

    python benchmarks/pace.py [--cost]
    python benchmarks/pace.py --limits "500 in 10" [--virtual] [--seeds 5]

Each case has emulators of its own, as processes, and all cases run beside each other for two
minutes; with *--cost* only the cost of a pace that has learnt nothing is measured.

With *--limits* (a regular expression; "" for all) the cases of `pace_cases` run instead, one after
another, against the independent server of `limiters`, beside two plain token buckets at the known
rate; with *--virtual* in virtual time, with several seeds.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

import httpx
from attrs import define, evolve, field
from pace_cases import AMPLE, HEADER, REQUEST, Callers, Plain, Result, row, simulate
from pace_cases import CASES as LIMITS
from pace_cases import Case as Limit
from pace_cases import measure as measured

from sunshine_async import (
    ApiError,
    ApiToken,
    BasicAuth,
    DixaClient,
    Lane,
    Pace,
    RateLimitError,
    ServerError,
    SunshineClient,
    TransportError,
)
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    Timeout,
    Wire,
    reply_to,
)

CALLERS: Final = 64
NOBODY: Final[Mapping[type, str]] = {
    SunshineClient: "/v2/apps/app/users/jane-1",
    DixaClient: "/v1/endusers/jane-1",
}
Case = Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def emulators(*several: tuple[str, ...]) -> AsyncGenerator[list[str]]:
    """Give the addresses of emulators with these arguments, once those of all cases listen."""
    command = [sys.executable, "-m", "sunshine_async", "emulator", "--port", "0"]
    running = ExitStack()
    try:
        lines: list[str] = []
        for arguments in several:
            process = subprocess.Popen(  # noqa: ASYNC220 - it takes a moment
                [*command, *arguments], stdout=subprocess.PIPE, text=True
            )
            running.enter_context(process)
            running.callback(process.terminate)
            assert process.stdout  # noqa: S101 - it is a pipe
            lines.append(await asyncio.to_thread(process.stdout.readline))
        await READY.wait()
        yield [line.split()[-1] for line in lines]
    finally:
        await asyncio.to_thread(running.close)  # the others are still being measured


async def meet(url: str, fault: object) -> None:
    """Let the emulator at *url* go wrong."""
    async with httpx.AsyncClient() as http:
        (await http.post(f"{url}/_emulator/faults", json=fault)).raise_for_status()


@define
class Way:
    """The way to a service, and what came back on it: a wire between a client and its own."""

    wire: Wire
    began: float = field(factory=time.monotonic)
    accepted: list[float] = field(factory=list)
    refused: list[float] = field(factory=list)
    failed: list[float] = field(factory=list)

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        timeout: Timeout,
        progress: SendProgress,
    ) -> Response | Failure:
        """Pass a request on, and take down when it was answered, and how."""
        reply = await reply_to(self.wire.send(request, headers, timeout, progress))
        kind = self.accepted
        if not isinstance(reply, Response) or reply.status >= 500:
            kind = self.failed
        elif reply.status == 429:
            kind = self.refused
        kind.append(time.monotonic())
        return reply

    async def aclose(self) -> None:
        """Close the wire."""
        await self.wire.aclose()

    def share(self, rate: float, since: float, seconds: float) -> float:
        """Return how much of *rate* was used in so many *seconds*, counted *since* the beginning."""
        first = self.began + since
        return sum(first <= at < first + seconds for at in self.accepted) / (rate * seconds)

    @property
    def thrown_back(self) -> float:
        """Return the share of the requests that were answered 429."""
        return len(self.refused) / (len(self.accepted) + len(self.refused))


Reached: TypeAlias = tuple[Way, SunshineClient | DixaClient]


def sunshine(base_url: str, pace: Pace) -> Reached:
    """Return a client of Sunshine, and its way."""
    return counted(SunshineClient("app", auth=BasicAuth("id", "s"), base_url=base_url, pace=pace))


def dixa(base_url: str, pace: Pace) -> Reached:
    """Return a client of Dixa, whose limit lets a burst of 0.4 seconds through, and its way."""
    return counted(DixaClient(auth=ApiToken("token"), base_url=base_url, pace=pace))


def counted(client: SunshineClient | DixaClient) -> Reached:
    """Return a client whose answers are counted."""
    way = Way(client._transport.wire)  # noqa: SLF001 - between it and its own wire
    client._bind(evolve(client._transport, wire=way))  # noqa: SLF001
    return way, client


@define
class Calls:
    """Calls one after another, for somebody whom nobody knows."""

    client: SunshineClient | DixaClient
    rest: float = 0.0
    made: int = 0
    lost: int = 0
    took: list[float] = field(factory=list)

    async def go_on(self) -> None:
        """Call until cancelled."""
        while True:
            self.made += 1
            began = time.monotonic()
            try:
                await self.client.request("GET", NOBODY[type(self.client)])
            except (TransportError, ServerError, RateLimitError):
                self.lost += 1
            except ApiError:  # there is nobody of that name
                self.took.append(time.monotonic() - began)
            await asyncio.sleep(self.rest)


@contextmanager
def calling(*several: Calls) -> Generator[None]:
    """Let them call."""
    tasks = [asyncio.create_task(one.go_on()) for one in several]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def ceiling() -> list[str]:
    """Measure a limit that is declared, but for a burst of 2 in place of 4, as Dixa's is."""
    async with emulators(("--rate", "10")) as [url]:
        way, client = dixa(url, Pace(rate=10, burst=2))
        with calling(*(Calls(client) for _ in range(CALLERS))):
            await asyncio.sleep(60)
        return [
            f"| declared 10/s: used | {way.share(10, 0, 60):.1%} | ≥ 99 % |",
            f"| declared 10/s: over the limit | {len(way.refused)} | 0 |",
        ]


async def hidden() -> list[str]:
    """Measure a limit that isn't known, and that moves."""
    async with emulators(("--rate", "200"), ("--rate", "50")) as (fast, slow):
        pace = Pace()
        ways = [sunshine(url, pace) for url in (fast, slow, fast)]
        several = [Calls(ways[0][1]) for _ in range(CALLERS)]
        with calling(*several):
            for (way, client), seconds in zip(ways, (45, 40, 80), strict=True):
                way.began = time.monotonic()
                for one in several:
                    one.client = client
                await asyncio.sleep(seconds)
        before, between, after = (way for way, _ in ways)
        return [
            f"| hidden 200/s: used | {before.share(200, 0, 45):.1%} | ≥ 90 % |",
            f"| hidden 200/s: answered 429 | {before.thrown_back:.2%} | ≤ 1 % in 10 minutes |",
            f"| it drops to 50/s: used, from 20 s on | {between.share(50, 20, 20):.1%} | found |",
            f"| it is back: used, from 60 s on | {after.share(200, 60, 20):.1%} | found |",
        ]


async def three() -> list[str]:
    """Measure three that share a limit and know nothing of each other."""
    async with emulators(("--rate", "10")) as [url]:
        three = [dixa(url, Pace()) for _ in range(3)]
        with calling(*(Calls(client) for _, client in three for _ in range(16))):
            await asyncio.sleep(120)
        ways = [way for way, _ in three]
        each = [way.share(10 / 3, 0, 120) for way in ways]
        refused, all_of_it = (
            sum(len(way.refused) for way in ways),
            sum(len(way.refused) + len(way.accepted) for way in ways),
        )
        return [
            f"| three at 10/s: used together | {sum(each) / 3:.1%} | ≥ 80 % |",
            f"| three at 10/s: answered 429 | {refused / all_of_it:.1%} | ≤ 5 % in 10 minutes |",
            f"| three at 10/s: the least of a fair share | {min(each):.0%} | ≥ 20 % |",
        ]


async def person() -> list[str]:
    """Measure how long a person waits beside a batch."""
    async with emulators(("--rate", "10")) as [url]:
        _, client = dixa(url, Pace(rate=10, burst=2))
        someone = Calls(client, rest=0.7)
        batch = (Calls(client.with_options(lane=Lane.BATCH)) for _ in range(CALLERS))
        with calling(*batch, someone):
            await asyncio.sleep(60)
        longest = max(someone.took) * 10
        return [
            f"| a person beside 64: is answered after at most, in tokens | {longest:.2f} | ≤ 1 |"
        ]


async def outage() -> list[str]:
    """Measure what a service gets that answers 503."""
    async with emulators(()) as [url]:
        faults = {"status": 503, "times": 1_000_000}
        await meet(url, faults)
        (way, client), (other, batches) = (sunshine(url, Pace()) for _ in range(2))
        several = [Calls(client, rest=1.0) for _ in range(CALLERS)]
        batch = [Calls(batches.with_options(lane=Lane.BATCH)) for _ in range(CALLERS)]
        with calling(*several, *batch):
            await asyncio.sleep(60)
        requests = len(way.failed) / sum(one.made for one in several)
        probes = other.failed[CALLERS:]
        closest = min(later - earlier for earlier, later in pairwise(probes))
        return [
            f"| all 503: requests a call | {requests:.2f} | ≤ 1.1 |",
            f"| all 503: probes of a batch in a minute | {len(probes)} | |",
            f"| all 503: seconds between two of them, at least | {closest:.2f} | ≥ 0.5 |",
            f"| all 503: calls of the batch given up | {sum(one.lost for one in batch)} | 0 |",
        ]


async def pause() -> list[str]:
    """Measure what one ``Retry-After`` does to all."""
    async with emulators(("--rate", "200")) as [url]:
        way, client = sunshine(url, Pace(rate=200, burst=10))
        with calling(*(Calls(client) for _ in range(CALLERS))):
            await asyncio.sleep(5)
            way.refused.clear()
            fault = {"status": 429, "retry_after": 30}
            await meet(url, fault)
            await asyncio.sleep(40)
        heard = way.refused[0]
        after = [at for at in way.accepted if at > heard + 0.5]
        first = sum(at < after[0] + 1 for at in after)
        return [
            f"| Retry-After: 30: seconds without a request | {after[0] - heard:.2f} | ≥ 30 |",
            f"| Retry-After: 30: of the limit used in the second after it | {first / 200:.0%} | ≤ 100 % |",
        ]


def cost() -> list[str]:
    """Measure a call's way through a pace that has learnt nothing."""
    pace = Pace()

    def one() -> None:
        pace.enter(5.0)
        pace.leave(now=5.1, began=5.0)

    count = 200_000
    microseconds = min(timeit.repeat(one, number=count, repeat=7)) / count * 1e6
    return [f"| dormant: µs a call | {microseconds:.2f} | ≤ 3 |"]


async def limited(case: Limit, *, plain: bool) -> Result:
    """Measure a limit of `pace_cases` in real time: the real client, or two plain token buckets."""
    here = Path(__file__).parent / "limiters.py"
    options = {"limit": case.limit, "length": case.length, "noise": case.noise}
    command = [sys.executable, str(here), case.kind, "--advice", case.advice.value]
    command += [f"--{name}={value}" for name, value in options.items()]
    command.append(f"--latency={case.latency(0)}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    try:
        assert process.stdout  # noqa: S101 - it is a pipe
        url = (await asyncio.to_thread(process.stdout.readline)).split()[-1]
        way, client = sunshine(url, Pace())
        by_lane = {lane: client.with_options(lane=lane) for lane in Lane}
        async with client:

            async def call(lane: Lane) -> object:
                return await by_lane[lane].request("GET", "/v2/apps/{app_id}/integrations")

            async def sent() -> int:
                reply = await reply_to(way.send(REQUEST, {}, AMPLE, SendProgress()))
                return reply.status if isinstance(reply, Response) else 0

            now = time.monotonic
            peer = Plain(sent, case.allowed, now)
            callers = Callers(peer.call if plain else call, now, Random(0), case.people)
            await callers.run(case.seconds)
            return measured(case, way, callers)
    finally:
        process.terminate()
        process.wait()


def limits(pattern: str, *, virtual: bool, seeds: int) -> None:
    """Print what the cases of `pace_cases` measure."""
    print(HEADER)
    for case in LIMITS:
        if not re.search(pattern, case.name):
            continue
        for plain in (False, True):
            if virtual:
                results = [simulate(case, seed, plain=plain)[0] for seed in range(seeds)]
            elif case.latency(0) == case.latency(inf):
                results = [asyncio.run(limited(case, plain=plain))]
            else:
                continue  # the server's latency is constant
            shown = evolve(case, name=f"{case.name}: two plain buckets") if plain else case
            print(row(shown, results), flush=True)


CASES: Final[tuple[Case, ...]] = (ceiling, hidden, three, person, outage, pause)
READY: Final = asyncio.Barrier(len(CASES))
"""Where the cases wait for each other, so that none is measured while processes start."""


async def measure() -> None:
    """Print what the cases measure, beside each other."""
    for rows in await asyncio.gather(*(case() for case in CASES)):
        print(*rows, sep="\n")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--limits")
    parser.add_argument("--virtual", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.limits is not None:
        limits(given.limits, virtual=given.virtual, seeds=given.seeds)
        return
    print("| what | measured | bar |\n|---|---|---|")
    print(*cost(), sep="\n", flush=True)
    if not given.cost:
        asyncio.run(measure())


if __name__ == "__main__":
    main()
