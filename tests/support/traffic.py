"""Callers and a server in time that jumps: what a pace does to traffic, without any waiting."""

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Final

from attrs import define, field

from sunshine_async import Lane, Pace, Replay, Retry
from sunshine_async._pace.pace import Sign
from sunshine_async._pace.slots import Waiter
from sunshine_async.errors import Fault

_SIGNS: Final = list(Sign)


class World:
    """What happens, in its order."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.luck: Final = Random(seed)
        self._coming: Final[list[tuple[float, int, Callable[[int], None], int]]] = []
        self._count = 0

    def after(self, seconds: float, act: Callable[[int], None], number: int = 0) -> None:
        """Let *act* happen with *number*, so many *seconds* from now."""
        self._count += 1
        heappush(self._coming, (self.now + seconds, self._count, act, number))

    def run(self, seconds: float) -> None:
        """Let happen what happens in so many *seconds*."""
        until, coming = self.now + seconds, self._coming
        while coming and coming[0][0] <= until:
            self.now, _, act, number = heappop(coming)
            act(number)
        self.now = until


@define
class Server:
    """Lets *rate* calls a second through (a token bucket), and answers the others 429."""

    world: World
    rate: float
    burst: float
    retry_after: float | None = None
    down: bool = False
    refusals: int = 0
    """How many of the next are answered 429 in any case."""
    noise: float = 0.0
    """The share of all that is answered 429 whatever the rate."""
    tokens: float = field(init=False)
    counted_at: float = field(init=False)
    came: list[float] = field(factory=list)
    """When each request came."""
    accepted: Counter[int] = field(factory=Counter)
    """How many were let through, by the second."""
    refused: Counter[int] = field(factory=Counter)

    def __attrs_post_init__(self) -> None:
        self.tokens = self.burst
        self.counted_at = self.world.now

    def answer(self) -> Sign:
        """Take a request in, now, and say what its answer will be."""
        now = self.world.now
        self.came.append(now)
        if self.down:
            return Sign.FAILED
        self.tokens = min(self.burst, self.tokens + (now - self.counted_at) * self.rate)
        self.counted_at = now
        unlucky = self.noise > 0 and self.world.luck.random() < self.noise
        if self.tokens < 1 - 1e-9 or self.refusals or unlucky:
            self.refusals = max(0, self.refusals - 1)
            self.refused[int(now)] += 1
            return Sign.THROTTLED
        self.tokens -= 1
        self.accepted[int(now)] += 1
        return Sign.ANSWERED


def usual(luck: Random) -> float:
    """Return between 10 and 40 ms."""
    return luck.uniform(0.01, 0.04)


@define(eq=False)
class Caller:
    """Makes one call after another, as the transport does, for as long as it is told to."""

    pace: Pace
    server: Server
    lane: Lane = Lane.INTERACTIVE
    way: Callable[[Random], float] = usual
    """The seconds there, and the seconds back."""
    rest: float = 0.0
    """The seconds between two calls."""
    left: int = -1
    """How many calls it makes; below 0 there is no end."""
    retry: Retry = field(factory=Retry)
    started: list[float] = field(factory=list)
    called: int = 0
    done: int = 0
    failed: int = 0
    asked: list[float] = field(factory=list)
    """When each call began to wait for its start, or started."""
    refused: list[float] = field(factory=list)
    """When it heard of each 429."""
    world: World = field(init=False)
    _tries: int = 0
    _waiter: Waiter | None = None
    _turn: int = 0
    _began: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.world = self.server.world

    def call(self, _: int = 0) -> None:
        """Begin the next call."""
        if self.left:
            self.left -= 1
            self.called += 1
            self._tries = 0
            self.asked.append(self.world.now)
            if self.pace.enter(self.world.now, self.lane):
                self._go()
            else:
                self._stand()

    def _stand(self, _: int = 0) -> None:
        self._waiter = Waiter(self._woken, self.lane, again=self._tries > 0)
        self.pace.join(self._waiter)
        self._ask(self._turn)

    def _woken(self) -> None:
        self.world.after(0, self._ask, self._turn)

    def _ask(self, turn: int) -> None:
        if turn != self._turn or self._waiter is None:
            return  # it has asked since
        self._turn += 1
        wait = self.pace.ask(self._waiter, self.world.now)
        if wait == 0:
            self._waiter = None
            self._go()
        elif wait is not None:
            self.world.after(wait, self._ask, self._turn)

    def _go(self) -> None:
        self._began = self.world.now
        self._tries += 1
        self.started.append(self._began)
        self.world.after(self.way(self.world.luck), self._arrive)

    def _arrive(self, _: int) -> None:
        sign = self.server.answer()
        self.world.after(self.way(self.world.luck), self._end, _SIGNS.index(sign))

    def _end(self, number: int) -> None:
        sign, now = _SIGNS[number], self.world.now
        asked = None if sign is Sign.ANSWERED else self.server.retry_after
        self.pace.leave(sign=sign, lane=self.lane, now=now, began=self._began, asked=asked)
        if sign is Sign.ANSWERED:
            self.done += 1
            self.world.after(self.rest, self.call)
        elif sign is Sign.THROTTLED:
            self.refused.append(now)
            self._stand()
        else:
            self._go_on(now, asked)

    def _go_on(self, now: float, asked: float | None) -> None:
        luck = self.world.luck.random()
        fault = Fault.UNAVAILABLE
        wait = self.retry.wait(Replay.SAFE, fault, attempt=self._tries, asked=asked, luck=luck)
        pace = self.pace
        if wait is not None and pace.may_retry():
            self.world.after(wait, self._stand)
        elif self.lane is Lane.BATCH and pace.hold_if_gone(self._tries, now) and not pace.gave_up:
            self._stand()
        else:
            self.failed += 1
            self.world.after(self.rest, self.call)


def callers(count: int, pace: Pace, server: Server, **more: object) -> list[Caller]:
    """Return so many that have begun to call."""
    several = [Caller(pace, server, **more) for _ in range(count)]  # type: ignore[arg-type]
    for one in several:
        one.call()
    return several
