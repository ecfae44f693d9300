"""Parts of the wire over httpx: streams of bodies, and the transports of one event loop."""

from abc import ABC
from collections import deque
from collections.abc import AsyncGenerator, Callable
from math import inf
from typing import Final, Self

import anyio
import httpx

from sunshine_async._http.fork import SleepWatch
from sunshine_async._http.messages import Response


class ParserStream(ABC):
    """A network stream of httpcore that feeds our own parser, too."""

    response: Response | None
    """The complete response to the last request; None before."""


class BytesStream(httpx.AsyncByteStream):
    """A body in one piece; no generator, because a generator left half-way stays open."""

    def __init__(self, content: bytes) -> None:
        self._content: Final = content
        self._left = content

    def __aiter__(self) -> Self:
        self._left = self._content
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        piece, self._left = self._left, b""
        return piece


class TransportStack:
    """Transports of one event loop, one for each call at a time; last used, first used again.

    A pool of httpcore looks at every connection for every request, so that many connections cost
    much. Here each transport of our own has a single connection. Without an expiry all calls share
    one transport, such as a user's own.
    """

    def __init__(
        self, make: Callable[[], httpx.AsyncBaseTransport], keepalive_expiry: float
    ) -> None:
        self._make: Final = make
        self._keepalive_expiry: Final = keepalive_expiry
        self._is_shared: Final = keepalive_expiry == inf
        self._idle: Final[deque[tuple[float, httpx.AsyncBaseTransport]]] = deque()
        self._all: Final[dict[int, httpx.AsyncBaseTransport]] = {}
        """All transports by `id`: a user's transport may not be hashable."""
        self.has_ended = False
        self._watch: Final = SleepWatch()
        self._lifetime: Final = self._close_with_loop()

    async def open(self) -> None:
        """Let the end of the event loop close the transports, unless the transport is the user's."""
        if not self._is_shared:
            await anext(self._lifetime)

    async def take(self) -> httpx.AsyncBaseTransport:
        """Return a transport for one call; close the transports that were idle for too long.

        All are closed after a sleep of the machine: the servers have closed theirs.
        """
        has_slept = self._watch.has_slept()
        oldest = anyio.current_time() - self._keepalive_expiry
        while self._idle and (has_slept or self._idle[0][0] < oldest):
            _, expired = self._idle.popleft()
            self._all.pop(id(expired), None)
            await expired.aclose()
        if self._idle:
            return self._idle.pop()[1]
        if self._is_shared and self._all:
            return next(iter(self._all.values()))
        made = self._make()
        self._all[id(made)] = made
        return made

    def give_back(self, transport: httpx.AsyncBaseTransport) -> None:
        """Keep *transport* for the next call."""
        if not self._is_shared:
            self._idle.append((anyio.current_time(), transport))

    async def drop(self, transport: httpx.AsyncBaseTransport) -> None:
        """Close *transport* after a failure or a cancellation; keep a transport of the user's."""
        if self._is_shared:
            return
        self._all.pop(id(transport), None)
        with anyio.CancelScope(shield=True):
            await transport.aclose()

    async def aclose(self) -> None:
        """Close all transports, also under calls that are not done."""
        await self._lifetime.aclose()
        await self._close_all()

    async def _close_all(self) -> None:
        self._idle.clear()
        while self._all:
            await self._all.popitem()[1].aclose()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Close all when this generator is closed: a loop closes generators on shutdown."""
        try:
            yield
        finally:
            self.has_ended = True
            with anyio.CancelScope(shield=True):  # trio closes generators in a cancelled scope
                await self._close_all()
