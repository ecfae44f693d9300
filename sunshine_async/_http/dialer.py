"""Connections to one address: the name is looked up, its hosts race until TLS is done."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen

from sunshine_async._http.connection import Connection
from sunshine_async._http.tls import shared_ssl_context

HEAD_START: Final = 0.25
"""Seconds that one host has before the next is tried too (RFC 8305)."""
LOOK_UP_LASTS: Final = 5.0

T = TypeVar("T")
Host: TypeAlias = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""An address family, and an address in it."""


@frozen
class Address:
    """Where a wire goes: *secure* is TLS."""

    secure: bool
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialer:
    """Connects to *address*; a burst of connections shares one look-up of its name."""

    def __init__(self, address: Address, ssl_context: ssl.SSLContext | None) -> None:
        self._address: Final = address
        self._ssl_context = ssl_context
        self._loop: Final = asyncio.get_running_loop()
        self._look_up: asyncio.Task[Sequence[Host]] | None = None
        self._looked_up_at = 0.0

    async def dial(self, make: Callable[[], Connection]) -> Connection:
        """Return what *make* made, connected. Raise `OSError` where that can't be done.

        Cancelled or not, no socket is left behind.
        """
        context = await self._context() if self._address.secure else None

        async def connect(host: Host) -> Connection:
            return await self._connected(host, make(), context)

        try:
            return await first_of(await self._hosts(), connect, Connection.abandon)
        except OSError:
            self._look_up = None  # they may have moved
            raise

    async def _connected(
        self, host: Host, connection: Connection, context: ssl.SSLContext | None
    ) -> Connection:
        """Return *connection*, connected to *host* with TLS done."""
        link = await connected(host)
        name = self._address.host if context else None
        try:
            await self._loop.create_connection(
                lambda: connection, sock=link, ssl=context, server_hostname=name
            )
        except BaseException:
            connection.abandon()
            raise
        return connection

    def close(self) -> None:
        """Let go of a look-up that is under way."""
        if self._look_up is not None:
            self._look_up.cancel()

    async def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = await self._loop.run_in_executor(None, shared_ssl_context)
        return self._ssl_context

    async def _hosts(self) -> Sequence[Host]:
        now = self._loop.time()
        if self._look_up is None or now - self._looked_up_at > LOOK_UP_LASTS:
            self._look_up = self._loop.create_task(self._resolve())
            self._looked_up_at = now
        return await asyncio.shield(self._look_up)

    async def _resolve(self) -> Sequence[Host]:
        found = await self._loop.getaddrinfo(
            self._address.host, self._address.port, type=socket.SOCK_STREAM
        )
        hosts = [(family, address) for family, _, _, _, address in found]
        first, rest = hosts[0][0], hosts[1:]
        same = [host for host in rest if host[0] == first]
        other = [host for host in rest if host[0] != first]
        turns = chain.from_iterable(zip_longest(other, same))  # the families take turns
        return [hosts[0], *filter(None, turns)]


async def first_of(
    hosts: Sequence[Host],
    connect: Callable[[Host], Coroutine[Any, Any, T]],
    drop: Callable[[T], object],
    *,
    head_start: float = HEAD_START,
) -> T:
    """Return the connection to the first of *hosts* for which *connect* returns one.

    Each has a *head_start* over the next, but a host that has failed has none. A second connection
    is handed to *drop*. Where all fail, raise the error of the first that got as far as TLS, or
    else of the first.
    """
    if len(hosts) == 1:
        return await connect(hosts[0])
    tries: list[asyncio.Task[T]] = []
    winner = None
    try:
        for host in hosts:
            tries.append(asyncio.create_task(connect(host)))
            winner = await _winner(tries, head_start)
            if winner is not None:
                return winner.result()
        while winner is None and not all(task.done() for task in tries):
            winner = await _winner(tries, None)
        secure = (task for task in tries if isinstance(task.exception(), ssl.SSLError))
        return (winner or next(secure, tries[0])).result()
    finally:
        for task in tries:
            if task is not winner:
                task.add_done_callback(partial(_discard, drop))
                task.cancel()


async def _winner(
    tries: Sequence[asyncio.Task[T]], patience: float | None
) -> asyncio.Task[T] | None:
    """Wait until one more of *tries* is done; return the one that has succeeded, if any.

    Return at once where the last has failed by now: an eager task may have.
    """
    pending = [task for task in tries if not task.done()]
    if pending and (patience is None or not tries[-1].done()):
        await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    done = (task for task in tries if task.done() and not task.cancelled())
    return next((task for task in done if task.exception() is None), None)


def _discard(drop: Callable[[T], object], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        drop(task.result())


async def connected(host: Host) -> socket.socket:
    """Return a socket that is connected to *host*."""
    family, address = host
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)  # noqa: FBT003 - positional only
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
