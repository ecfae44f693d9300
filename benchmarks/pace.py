"""What a pace makes of a service's limit, for real, and what it costs where there is none.

    python benchmarks/pace.py [--cost]

Each case has emulators of its own, as processes, and all cases run beside each other for two
minutes; with *--cost* only the cost of a pace that has learnt nothing is measured. Requests go
through the library's wire, and their ends are told to the pace as they are.
"""

import argparse
import asyncio
import subprocess
import sys
import time
import timeit
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Final

import httpx
from attrs import define, field

from sunshine_async import ApiToken, BasicAuth, DixaClient, Lane, Pace, Retry, SunshineClient
from sunshine_async._endpoint import Request, Response
from sunshine_async._pace import Sign
from sunshine_async._retry import Fault, Replay
from sunshine_async._transport.exchange import Sending
from sunshine_async._transport.turn import CLOCK, take
from sunshine_async.dixa import end_users
from sunshine_async.sunshine import users

CALLERS: Final = 64
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
    """The way to a service, and what came back on it."""

    client: SunshineClient | DixaClient
    request: Request
    began: float = field(factory=time.monotonic)
    accepted: list[float] = field(factory=list)
    refused: list[float] = field(factory=list)
    failed: list[float] = field(factory=list)

    async def send(self) -> tuple[Sign, float | None]:
        """Send one request; return what its end says, and the seconds it was asked to wait."""
        transport = self.client._transport  # noqa: SLF001 - below what would pace it itself
        auth = transport.auth.current() or await transport.auth.fetch()
        headers = transport.headers(auth, None)
        reply = await transport.wire.send(
            self.request, headers, timeout=transport.timeout, sending=Sending()
        )
        now = time.monotonic()
        if not isinstance(reply, Response) or reply.status >= 500:
            self.failed.append(now)
            return Sign.FAILED, None
        if reply.status == 429:
            self.refused.append(now)
            asked = reply.headers.get("retry-after")
            return Sign.THROTTLED, float(asked) if asked else None
        self.accepted.append(now)
        return Sign.ANSWERED, None

    def share(self, rate: float, since: float, seconds: float) -> float:
        """Return how much of *rate* was used in so many *seconds*, counted *since* the beginning."""
        first = self.began + since
        return sum(first <= at < first + seconds for at in self.accepted) / (rate * seconds)

    @property
    def thrown_back(self) -> float:
        """Return the share of the requests that were answered 429."""
        return len(self.refused) / (len(self.accepted) + len(self.refused))


def sunshine(base_url: str) -> Way:
    """Return a way to Sunshine, where nobody is found."""
    client = SunshineClient("app", auth=BasicAuth("id", "secret"), base_url=base_url)
    path = {"app_id": "app", "user_id_or_external_id": "jane-1"}
    return Way(client, users.GET.request(None, path, {}))


def dixa(base_url: str) -> Way:
    """Return a way to Dixa, whose limit lets a burst of 0.4 seconds through."""
    client = DixaClient(auth=ApiToken("token"), base_url=base_url)
    return Way(client, end_users.GET.request(None, {"end_user_id": "jane-1"}, {}))


@define
class Calls:
    """Calls one after another, each tried as `Retry` and the pace say."""

    pace: Pace
    way: Way
    lane: Lane = Lane.INTERACTIVE
    rest: float = 0.0
    made: int = 0
    lost: int = 0
    waited: list[float] = field(factory=list)
    retry: Retry = field(factory=Retry)

    async def go_on(self) -> None:
        """Call until cancelled."""
        while True:
            self.made += 1
            asked_at = time.monotonic()
            await self.call(asked_at)
            await asyncio.sleep(self.rest)

    async def call(self, asked_at: float) -> None:
        """Make one call."""
        tries = 0
        while True:
            await take(self.pace, CLOCK, self.lane, again=tries > 0)
            began = CLOCK.now()
            if not tries:
                self.waited.append(began - asked_at)
            tries += 1
            sign, asked = Sign.NOTHING, None
            try:
                sign, asked = await self.way.send()
            finally:
                now = CLOCK.now()
                self.pace.leave(sign, lane=self.lane, now=now, began=began, asked=asked)
            if sign is Sign.ANSWERED:
                return
            if sign is Sign.FAILED and not await self.may_go_on(tries, now):
                self.lost += 1
                return

    async def may_go_on(self, tries: int, now: float) -> bool:
        """Return whether a failed call goes on, after the wait that there is to be."""
        luck = CLOCK.luck()
        wait = self.retry.wait(Replay.SAFE, Fault.UNAVAILABLE, attempt=tries, asked=None, luck=luck)
        if wait is not None and self.pace.may_retry():
            await asyncio.sleep(wait)
            return True
        return self.lane is Lane.BATCH and self.pace.hold_if_gone(tries, now)


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
        way = dixa(url)
        pace = Pace(rate=10, burst=2)
        with calling(*(Calls(pace, way) for _ in range(CALLERS))):
            await asyncio.sleep(60)
        return [
            f"| declared 10/s: used | {way.share(10, 0, 60):.1%} | ≥ 99 % |",
            f"| declared 10/s: over the limit | {len(way.refused)} | 0 |",
        ]


async def hidden() -> list[str]:
    """Measure a limit that isn't known, and that moves."""
    async with emulators(("--rate", "200"), ("--rate", "50")) as (fast, slow):
        before, between, after = sunshine(fast), sunshine(slow), sunshine(fast)
        pace = Pace()
        several = [Calls(pace, before) for _ in range(CALLERS)]
        with calling(*several):
            for way, seconds in ((before, 45), (between, 40), (after, 80)):
                way.began = time.monotonic()
                for one in several:
                    one.way = way
                await asyncio.sleep(seconds)
        return [
            f"| hidden 200/s: used | {before.share(200, 0, 45):.1%} | ≥ 90 % |",
            f"| hidden 200/s: answered 429 | {before.thrown_back:.2%} | ≤ 1 % in 10 minutes |",
            f"| it drops to 50/s: used, from 20 s on | {between.share(50, 20, 20):.1%} | found |",
            f"| it is back: used, from 60 s on | {after.share(200, 60, 20):.1%} | found |",
        ]


async def three() -> list[str]:
    """Measure three that share a limit and know nothing of each other."""
    async with emulators(("--rate", "10")) as [url]:
        ways = [dixa(url) for _ in range(3)]
        paces = [Pace() for _ in ways]
        with calling(
            *(Calls(pace, way) for pace, way in zip(paces, ways, strict=True) for _ in range(16))
        ):
            await asyncio.sleep(120)
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
        way = dixa(url)
        pace = Pace(rate=10, burst=2)
        someone = Calls(pace, way, rest=0.7)
        batch = (Calls(pace, way, Lane.BATCH) for _ in range(CALLERS))
        with calling(*batch, someone):
            await asyncio.sleep(60)
        longest = max(someone.waited) * 10
        return [f"| a person beside 64: waits at most, in tokens | {longest:.2f} | ≤ 1 |"]


async def outage() -> list[str]:
    """Measure what a service gets that answers 503."""
    async with emulators(()) as [url]:
        faults = {"status": 503, "times": 1_000_000}
        await meet(url, faults)
        way, other = sunshine(url), sunshine(url)
        several = [Calls(Pace(), way, rest=1.0)]
        several += [Calls(several[0].pace, way, rest=1.0) for _ in range(CALLERS - 1)]
        pace = Pace()
        batch = [Calls(pace, other, Lane.BATCH) for _ in range(CALLERS)]
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
        way = sunshine(url)
        pace = Pace(rate=200, burst=10)
        with calling(*(Calls(pace, way) for _ in range(CALLERS))):
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
    print("| what | measured | bar |\n|---|---|---|")
    print(*cost(), sep="\n", flush=True)
    if not parser.parse_args().cost:
        asyncio.run(measure())


if __name__ == "__main__":
    main()
