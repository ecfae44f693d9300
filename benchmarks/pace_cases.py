"""The cases of `pace`: a limit each, a batch of 64 beside interactive calls, and the bars.

The same callers run in virtual time (`simulate`: the real transport, retry and pace on a simulated
wire) and in real time (`pace`: the real client against `limiters`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf
from random import Random
from typing import Any, Final, Protocol

import anyio
from attrs import define, evolve, field, frozen
from limiters import Advice, Gate, limiter_of
from trio.testing import MockClock

from sunshine_async import BasicAuth, Lane, Pace, Retry, SunshineError
from sunshine_async._calls.endpoint import undeclared_endpoint
from sunshine_async._calls.transport import Transport
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    Timeout,
    reply_to,
)
from sunshine_async._pace.slots import Slots
from sunshine_async._pace.waiting import Clock

CALLERS: Final = 64
Latency = Callable[[float], float]


@frozen
class Case:
    """A limit, its server, and the bars."""

    name: str
    kind: str
    limit: float = 0.0
    length: float = 1.0
    advice: Advice = Advice.NONE
    noise: float = 0.0
    allowed: float = 0.0
    """Requests a second that the limit allows, for the share."""
    latency: Latency = lambda _: 0.05
    """The seconds of an answer, by the seconds since the start."""
    seconds: float = 60.0
    since: float = 0.0
    """The start of the measurement, in seconds."""
    share: float = 0.0
    refusals: float = 1.0
    p50: float = inf
    p99: float = inf
    early_share: float = 0.0
    """The bar for the share from the start to *since*."""
    people: float = 1.5
    """Interactive calls a second."""


@frozen
class Result:
    """The measurement of one run of a case."""

    share: float
    early: float
    """The share before the measurement began."""
    refusals: float
    p50: float
    p99: float
    failed: int
    """Rows and interactive calls that ended in an error."""
    least: float
    """The least share in any five seconds of the measurement."""

    def misses(self, case: Case) -> list[str]:
        """Return the bars that the run missed."""
        checks = {
            "share": self.share >= case.share,
            "early": self.early >= case.early_share,
            "429": self.refusals <= case.refusals,
            "p50": self.p50 <= case.p50,
            "p99": self.p99 <= case.p99,
            "failed": not self.failed,
        }
        return [name for name, held in checks.items() if not held]


WINDOW: Final = {"share": 0.9, "refusals": 0.02, "p50": 0.2, "p99": 1.5}


def _rise(low: float, high: float) -> Latency:
    """Return a latency that rises from *low* to *high* after ten seconds."""
    return lambda seconds: low if seconds < 10 else high


def _windows() -> list[Case]:
    return [
        Case(
            f"{limit} in {length} s, {kind}, {advice.value}", kind, limit, length, advice,
            allowed=limit / length, seconds=max(5 * length, 60), since=2 * length, **WINDOW,
        )
        for limit, length in ((600, 60), (500, 10))
        for kind in ("fixed", "sliding")
        for advice in (Advice.RETRY_AFTER, Advice.NONE, Advice.HEADERS)
    ]  # fmt: skip


CASES: Final[Sequence[Case]] = (
    *_windows(),
    Case("300 in 30 s, fixed, none", "fixed", 300, 30, allowed=10, seconds=150, since=60, **WINDOW),
    *[
        Case(
            f"60 a second, {kind}, none", kind, 60, 1, allowed=60, seconds=120, since=60,
            share=0.88, early_share=0.8, p99=1.2,
        )
        for kind in ("fixed", "sliding")
    ],
    *[
        Case(
            f"60 a second, {kind}, retry-after", kind, 60, 1, Advice.RETRY_AFTER, allowed=60,
            seconds=75, since=15, share=0.9, refusals=0.02,
        )
        for kind in ("fixed", "sliding")
    ],
    *[
        Case(
            f"bucket {rate}/s burst {burst}, {advice.value}", "bucket", rate, burst, advice,
            allowed=rate, seconds=75, since=15, share=0.9, refusals=0.02,
        )
        for rate, burst in ((10, 4), (60, 20))
        for advice in (Advice.RETRY_AFTER, Advice.NONE)
    ],
    *[
        Case(
            f"300 a second, {kind}, {noise:.1%} random", kind, limit, length, noise=noise,
            allowed=300 * (1 - noise), seconds=60, since=15, share=0.85,
        )
        for noise in (0.003, 0.02)
        for kind, limit, length in (("fixed", 300, 1), ("sliding", 300, 1), ("bucket", 300, 30))
    ],
    *[
        Case(
            f"no limit, {noise:.1%} random", "none", noise=noise, allowed=CALLERS / 0.2,
            latency=lambda _: 0.2, seconds=45, since=15, share=0.85,
        )
        for noise in (0.003, 0.02)
    ],
    *[
        Case(
            f"no limit, latency {low * 1000:.0f} to 500 ms", "none", allowed=CALLERS / 0.5,
            latency=_rise(low, 0.5), seconds=60, since=10.5, share=0.9,
        )
        for low in (0.02, 0.05)
    ],
    *[
        Case(
            f"10 at once, {advice.value}", "concurrent", 10, 1, advice, allowed=100,
            latency=lambda _: 0.1, seconds=75, since=15, share=0.7,
        )
        for advice in (Advice.RETRY_AFTER, Advice.NONE)
    ],
)  # fmt: skip


@define
class Callers:
    """A batch of 64 and interactive calls, and their record."""

    call: Callable[[Lane], Awaitable[object]]
    now: Callable[[], float]
    luck: Random
    people: float
    began: float = 0.0
    took: list[tuple[float, float]] = field(factory=list[tuple[float, float]])
    """When each interactive call began, in seconds since the start, and its seconds."""
    failed: int = 0
    errors: set[str] = field(factory=set[str])

    async def run(self, seconds: float) -> None:
        """Call for so many *seconds*."""
        self.began = self.now()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for _ in range(CALLERS):
                    tasks.start_soon(self._batch)
                while True:
                    await anyio.sleep(self.luck.expovariate(self.people))
                    tasks.start_soon(self._person)

    async def _batch(self) -> None:
        while True:
            await self._one(Lane.BATCH)

    async def _person(self) -> None:
        began = self.now()
        record = [began - self.began, inf]
        try:
            await self._one(Lane.INTERACTIVE)
            record[1] = self.now() - began
        except anyio.get_cancelled_exc_class():
            record[1] = self.now() - began
            raise
        finally:
            self.took.append((record[0], record[1]))

    async def _one(self, lane: Lane) -> None:
        try:
            await self.call(lane)
        except SunshineError as error:
            self.failed += 1
            self.errors.add(repr(error))


class Record(Protocol):
    """The times of accepted and refused requests."""

    accepted: list[float]
    refused: list[float]


@define
class Plain:
    """The peer: two plain token buckets at the known rate, a tenth of it for interactive calls."""

    send: Callable[[], Awaitable[int]]
    """Returns the status of an answer."""
    rate: float
    now: Callable[[], float]
    _next: dict[Lane, float] = field(factory=dict[Lane, float])

    async def call(self, lane: Lane) -> None:
        """Call until accepted."""
        rate = self.rate * (0.1 if lane is Lane.INTERACTIVE else 0.9)
        while True:
            at = max(self.now(), self._next.get(lane, 0.0))
            self._next[lane] = at + 1 / rate
            await anyio.sleep(max(0.0, at - self.now()))  # real time goes on
            if await self.send() != 429:
                return
            await anyio.sleep(1)


def measure(case: Case, gate: Record, callers: Callers) -> Result:
    """Return what *callers* met at *gate*."""

    def share(first: float, last: float) -> float:
        from_, to = callers.began + first, callers.began + last
        count = sum(from_ <= at < to for at in gate.accepted)
        return count / (case.allowed * (last - first)) if case.allowed else 0.0

    since, until = case.since, case.seconds
    inside = [at for at in gate.refused if at >= callers.began + since]
    accepted = sum(at >= callers.began + since for at in gate.accepted)
    took = sorted(seconds for began, seconds in callers.took if began >= since) or [0.0]
    pieces = [share(first, first + 5) for first in range(int(since) + 1, int(until) - 5, 5)]
    return Result(
        share=share(since, until),
        early=share(0, since) if since else 0.0,
        refusals=len(inside) / max(1, len(inside) + accepted),
        p50=took[len(took) // 2],
        p99=took[min(len(took) - 1, int(len(took) * 0.99))],
        failed=callers.failed,
        least=min(pieces, default=0.0),
    )


@define
class SimulatedWire:
    """A wire to a gate, in the time of the running loop."""

    gate: Gate
    latency: Latency
    luck: Random
    began: float = 0.0

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        timeout: Timeout,
        progress: SendProgress,
    ) -> Response | Failure:
        """Return the answer of the gate, after the latency."""
        del request, headers, timeout
        progress.started = True
        seconds = self.latency(anyio.current_time() - self.began) * self.luck.uniform(0.6, 1.4)
        there = seconds * self.luck.uniform(0.3, 0.5)
        await anyio.sleep(there)
        accepted, advice = self.gate.admit(anyio.current_time())
        try:
            await anyio.sleep(seconds - there)
        finally:
            if accepted:
                self.gate.limiter.end()
        return Response(200 if accepted else 429, advice, b"{}")

    async def aclose(self) -> None:
        """Close nothing."""


def simulate(
    case: Case, seed: int = 0, pace: Pace | None = None, *, plain: bool = False
) -> tuple[Result, Callers, Pace]:
    """Run *case* in virtual time; return the measurement, the callers and their pace.

    With *plain* the callers use two plain token buckets instead of the pace.
    """
    luck = Random(f"{case.name} {seed}")
    gate = Gate(
        limiter_of(case.kind, case.limit, case.length, offset=luck.random() * case.length),
        case.advice,
        case.noise,
        luck,
    )
    learnt = pace or Pace()
    found: list[Callers] = []

    async def scenario() -> None:
        wire = SimulatedWire(gate, case.latency, luck, anyio.current_time())
        clock = Clock(anyio.current_time, anyio.sleep, luck.random)
        auth = BasicAuth("key", "secret")
        transport = Transport(wire, auth, Retry(), learnt, AMPLE, clock=clock, slots=Slots(100))
        by_lane = {lane: evolve(transport, lane=lane) for lane in Lane}
        endpoint = undeclared_endpoint("GET", "/v2/users", None)

        async def call(lane: Lane) -> Any:
            return await by_lane[lane].call(endpoint)

        async def sent() -> int:
            reply = await reply_to(wire.send(REQUEST, {}, AMPLE, SendProgress()))
            return reply.status if isinstance(reply, Response) else 0

        peer = Plain(sent, case.allowed, anyio.current_time)
        callers = Callers(peer.call if plain else call, anyio.current_time, luck, case.people)
        found.append(callers)
        await callers.run(case.seconds)

    clock = MockClock(autojump_threshold=0)
    anyio.run(scenario, backend="trio", backend_options={"clock": clock})
    return measure(case, gate, found[0]), found[0], learnt


REQUEST: Final = Request("GET", "/")
AMPLE: Final = Timeout(total=30.0, connect=5.0, pool=30.0, write=30.0, read=30.0)


def row(case: Case, results: Sequence[Result]) -> str:
    """Return the line of a table: median and worst of the *results*."""

    def both(values: list[float], form: str, *, best: Callable[[list[float]], float]) -> str:
        middle = sorted(values)[len(values) // 2]
        return f"{middle:{form}} / {best(values):{form}}"

    misses = [name for one in results for name in one.misses(case)]
    missed = ", ".join(f"{name} x{misses.count(name)}" for name in dict.fromkeys(misses))
    return " | ".join(
        [
            f"| {case.name}",
            both([one.share for one in results], ".3f", best=min),
            both([one.early for one in results], ".2f", best=min),
            both([one.least for one in results], ".2f", best=min),
            both([one.refusals for one in results], ".2%", best=max),
            both([one.p50 for one in results], ".2f", best=max),
            both([one.p99 for one in results], ".2f", best=max),
            str(sum(one.failed for one in results)),
            f"{missed or 'all held'} |",
        ]
    )


HEADER: Final = (
    "| case | share | before | least 5 s | 429 | p50 | p99 | failed | missed |\n"
    "|---|---|---|---|---|---|---|---|---|"
)
