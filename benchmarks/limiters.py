"""Rate limiters as services have them, and a server that applies one: independent of the package.

    python benchmarks/limiters.py fixed --limit 600 --length 60 [--advice none] [--latency 0.05]

The first line of output ends in the address. A limiter is told the time and judges one request; the
server, and simulations, share the limiters. Kinds: ``fixed`` and ``sliding`` windows, token
``bucket``, ``concurrent`` requests, ``none``.
"""

import argparse
import asyncio
import time
from collections import deque
from collections.abc import Mapping
from enum import Enum
from math import ceil, inf
from random import Random
from typing import Final, Protocol

from attrs import define, field, frozen


@frozen
class Verdict:
    """The judgement of a request: *accepted*, *remaining* requests, seconds until *reset*."""

    accepted: bool
    limit: float
    remaining: float
    reset: float


class Limiter(Protocol):
    """Judges the requests of one caller."""

    def judge(self, now: float) -> Verdict:
        """Return the verdict on a request that arrives *now*."""
        ...

    def end(self) -> None:
        """Count the end of an accepted request."""
        ...


@define
class FixedWindow:
    """At most *limit* requests in each window of *length* seconds, counted from *offset*."""

    limit: int
    length: float
    offset: float = 0.0
    _window: float = -inf
    _used: int = 0

    def judge(self, now: float) -> Verdict:
        """Return the verdict on a request that arrives *now*."""
        window = (now - self.offset) // self.length
        if window != self._window:
            self._window, self._used = window, 0
        accepted = self._used < self.limit
        self._used += accepted
        reset = (window + 1) * self.length + self.offset - now
        return Verdict(accepted, self.limit, self.limit - self._used, reset)

    def end(self) -> None:
        """Count nothing."""


@define
class SlidingWindow:
    """At most *limit* requests in any *length* seconds."""

    limit: int
    length: float
    _log: deque[float] = field(factory=deque[float])

    def judge(self, now: float) -> Verdict:
        """Return the verdict on a request that arrives *now*."""
        log = self._log
        while log and log[0] <= now - self.length:
            log.popleft()
        accepted = len(log) < self.limit
        if accepted:
            log.append(now)
        return Verdict(accepted, self.limit, self.limit - len(log), log[0] + self.length - now)

    def end(self) -> None:
        """Count nothing."""


@define
class TokenBucket:
    """*rate* requests a second, and *burst* at once."""

    rate: float
    burst: float
    _tokens: float = inf
    _counted_at: float = 0.0

    def judge(self, now: float) -> Verdict:
        """Return the verdict on a request that arrives *now*."""
        self._tokens = min(self.burst, self._tokens + (now - self._counted_at) * self.rate)
        self._counted_at = now
        accepted = self._tokens >= 1
        self._tokens -= accepted
        reset = max(0.0, 1 - self._tokens) / self.rate
        return Verdict(accepted, self.burst, int(self._tokens), reset)

    def end(self) -> None:
        """Count nothing."""


@define
class Concurrency:
    """At most *limit* requests at the same time."""

    limit: float
    _under_way: int = 0

    def judge(self, now: float) -> Verdict:
        """Return the verdict on a request that arrives *now*."""
        del now
        accepted = self._under_way < self.limit
        self._under_way += accepted
        return Verdict(accepted, self.limit, self.limit - self._under_way, 0.0)

    def end(self) -> None:
        """Count the end of an accepted request."""
        self._under_way -= 1


class Advice(Enum):
    """The headers that tell a client of a limit."""

    NONE = "none"
    RETRY_AFTER = "retry-after"
    HEADERS = "headers"
    IETF = "ietf"


@define
class Gate:
    """A limiter, its advice, and a share of *noise*: requests refused at random."""

    limiter: Limiter
    advice: Advice = Advice.NONE
    noise: float = 0.0
    luck: Random = field(factory=Random)
    accepted: list[float] = field(factory=list[float])
    """The time of each accepted request."""
    refused: list[float] = field(factory=list[float])

    def admit(self, now: float) -> tuple[bool, Mapping[str, str]]:
        """Return whether a request that arrives *now* is accepted, and the headers of the answer."""
        if self.luck.random() < self.noise:
            self.refused.append(now)
            return False, {}
        verdict = self.limiter.judge(now)
        (self.accepted if verdict.accepted else self.refused).append(now)
        return verdict.accepted, self._headers(verdict)

    def _headers(self, verdict: Verdict) -> Mapping[str, str]:
        reset = str(ceil(verdict.reset))
        match self.advice:
            case Advice.RETRY_AFTER:
                return {} if verdict.accepted else {"retry-after": reset}
            case Advice.HEADERS:
                return {
                    "x-ratelimit-limit": f"{verdict.limit:.0f}",
                    "x-ratelimit-remaining": f"{verdict.remaining:.0f}",
                    "x-ratelimit-reset": reset,
                }
            case Advice.IETF:
                return {"ratelimit": f'"default";r={verdict.remaining:.0f};t={reset}'}
            case Advice.NONE:
                return {}


_REASONS: Final = {200: "OK", 429: "Too Many Requests"}


def answer(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a raw HTTP answer."""
    body = b"{}"
    lines = [
        f"HTTP/1.1 {status} {_REASONS[status]}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def serve(gate: Gate, latency: float) -> asyncio.Server:
    """Return a server on a free loopback port that answers 200, or 429 where *gate* refuses."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                accepted, headers = gate.admit(time.monotonic())
                await asyncio.sleep(latency)
                if accepted:
                    gate.limiter.end()
                writer.write(answer(200 if accepted else 429, headers))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", 0)


def limiter_of(kind: str, limit: float, length: float, *, offset: float = 0.0) -> Limiter:
    """Return a limiter of this *kind*; of a bucket *limit* is the rate and *length* the burst."""
    match kind:
        case "fixed":
            return FixedWindow(int(limit), length, offset)
        case "sliding":
            return SlidingWindow(int(limit), length)
        case "bucket":
            return TokenBucket(limit, length)
        case "concurrent":
            return Concurrency(limit)
        case "none":
            return Concurrency(inf)
        case _:
            message = f"{kind}: fixed, sliding, bucket, concurrent or none"
            raise ValueError(message)


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kind")
    parser.add_argument("--limit", type=float, default=10)
    parser.add_argument("--length", type=float, default=1)
    parser.add_argument("--advice", type=Advice, default=Advice.RETRY_AFTER)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.05)
    given = parser.parse_args()
    limiter = limiter_of(given.kind, given.limit, given.length)
    server = await serve(Gate(limiter, given.advice, given.noise), given.latency)
    host, port = server.sockets[0].getsockname()
    print(f"listening on http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
