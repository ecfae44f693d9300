"""Making connections to one address: the name looked up, its hosts raced, TLS done."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Final, TypeAlias

from attrs import frozen

from sunshine_async._transport.connection import Connection
from sunshine_async._transport.tls import shared_ssl_context

HEAD_START: Final = 0.25
"""Seconds that one host has before the next is tried too (RFC 8305)."""
LOOK_UP_LASTS: Final = 5.0

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
        secure = self._address.secure
        context = await self._context() if secure else None
        try:
            connected = await first_of(await self._hosts())
        except OSError:
            self._look_up = None  # they may have moved
            raise
        name = self._address.host if secure else None
        _, connection = await self._loop.create_connection(
            make, sock=connected, ssl=context, server_hostname=name
        )
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


async def first_of(hosts: Sequence[Host], *, head_start: float = HEAD_START) -> socket.socket:
    """Return a socket connected to the first of *hosts* that answers.

    Each has a *head_start* over the next, but a host that has failed has none. Raise the `OSError`
    of the first where all fail.
    """
    if len(hosts) == 1:
        return await _connected(hosts[0])
    tries: list[asyncio.Task[socket.socket]] = []
    winner = None
    try:
        for host in hosts:
            tries.append(asyncio.create_task(_connected(host)))
            winner = await _winner(tries, head_start)
            if winner is not None:
                return winner.result()
        while winner is None and not all(task.done() for task in tries):
            winner = await _winner(tries, None)
        return (winner or tries[0]).result()
    finally:
        for task in tries:
            if task is not winner:
                task.add_done_callback(_discard)
                task.cancel()


async def _winner(
    tries: Sequence[asyncio.Task[socket.socket]], patience: float | None
) -> asyncio.Task[socket.socket] | None:
    """Wait until one of *tries* is done; return it if it has succeeded."""
    pending = [task for task in tries if not task.done()]
    done, _ = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    return next((task for task in done if task.exception() is None), None)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connected(host: Host) -> socket.socket:
    family, address = host
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)  # noqa: FBT003 - positional only
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def why(error: Exception) -> str:
    """Return in words why a connection could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name can't be looked up"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
