"""New connections to an origin: name lookup, Happy Eyeballs (RFC 8305), tunnel, TLS handshake."""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, zip_longest
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen

from sunshine_async._http.connection import Connection
from sunshine_async._http.failures import connect_failure, restrict_tls
from sunshine_async._http.messages import Failure
from sunshine_async._http.proxy import Proxy
from sunshine_async._http.response_parser import MAX_HEAD_BYTES, MAX_INTERIM
from sunshine_async._http.tls import TlsTransport

ATTEMPT_DELAY: Final = 0.25
"""Seconds from one connection attempt to the next (RFC 8305, Connection Attempt Delay)."""
HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds of a TLS handshake at most, where the caller's timeout has no limit."""
LOOKUP_TTL: Final = 5.0
"""Seconds for which the result of a name lookup is used again."""
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}(?: [\t\x20-\xff]*)?)\r\n")
_LIBUV: Final = ("uvloop", "winloop")
"""Modules of event loops whose transports close the descriptor of a socket themselves.

A transport that ends at once, or is cancelled at once, doesn't tell the socket. The socket would
close the descriptor again, which may be that of another file by then.
"""

T = TypeVar("T")
SocketAddress: TypeAlias = tuple[
    int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
]
"""An address family, and an address of that family."""


@frozen
class Origin:
    """Host and port of a server; *secure* means TLS."""

    secure: bool
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialer:
    """Maker of connections to *origin*, directly or by a tunnel through *proxy*.

    A burst of connections shares one name lookup.
    """

    def __init__(
        self, origin: Origin, make_context: Callable[[], ssl.SSLContext], proxy: Proxy | None = None
    ) -> None:
        self._origin: Final = origin
        self._proxy: Final = proxy
        self._address: Final = proxy.address if proxy is not None else (origin.host, origin.port)
        self._make_context: Final = make_context
        self._ssl_context: ssl.SSLContext | None = None
        self._latest: ssl.SSLObject | None = None
        """TLS of the latest connection."""
        self._loop: Final = asyncio.get_running_loop()
        self._lookup: asyncio.Task[Sequence[SocketAddress]] | None = None
        self._lookup_at = 0.0

    async def dial(
        self, make: Callable[[], Connection], seconds: float | None
    ) -> Connection | Failure:
        """Connect a connection of *make*, TLS handshake included, within *seconds*.

        No socket stays open after a failure or a cancellation.
        """
        proxy = self._proxy
        beyond: str | None = None
        try:
            async with asyncio.timeout(seconds):
                context = await self._context() if self._origin.secure else None
                if proxy is None:
                    return await self._race(partial(self._connect, make, context), Connection.abort)
                link = await self._race(connect_socket, socket.socket.close)
                beyond = str(self._origin)
                with ExitStack() as closing:
                    closing.callback(link.close)
                    refusal = await _open_tunnel(link, beyond, proxy)
                    if refusal is not None:
                        return refusal
                    closing.pop_all()  # the connection closes the link from here on
                return await self._start(make(), link, context)
        except Exception as error:  # noqa: BLE001 - an error ends a call, never the pool
            if isinstance(error, TimeoutError) and self._lookup and not self._lookup.done():
                error = socket.gaierror()  # the name server is silent
            if proxy is None:
                return connect_failure(error, f"connecting to {self._origin}")
            return proxy.connect_failure(error, beyond)

    async def _race(
        self,
        connect: Callable[[SocketAddress], Coroutine[Any, Any, T]],
        discard: Callable[[T], object],
    ) -> T:
        try:
            return await race(await self._addresses(), connect, discard)
        except OSError:
            self._lookup = None  # the addresses may have changed
            raise

    async def _connect(
        self,
        make: Callable[[], Connection],
        context: ssl.SSLContext | None,
        address: SocketAddress,
    ) -> Connection:
        return await self._start(make(), await connect_socket(address), context)

    async def _start(
        self, connection: Connection, link: socket.socket, context: ssl.SSLContext | None
    ) -> Connection:
        """Return *connection* on *link*, after the handshake for TLS."""
        secure = None
        try:
            try:
                if context is not None:
                    secure = self._secure(connection, context)
                await self._loop.create_connection(lambda: secure or connection, sock=link)
            except Exception:
                link.close()  # no transport has taken the socket
                raise
            finally:
                if type(self._loop).__module__ in _LIBUV:
                    link.detach()
            if secure is not None:
                async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                    await secure.shake_hands()
                self._latest = secure.tls
        except BaseException:
            (secure or connection).abort()
            raise
        return connection

    def _secure(self, connection: Connection, context: ssl.SSLContext) -> TlsTransport:
        """Return TLS for *connection*, which goes on with the latest session where possible."""
        session = None
        if self._latest is not None and type(context) is ssl.SSLContext:
            session = self._latest.session  # other contexts check the certificates themselves
        return TlsTransport(connection, context, self._origin.host, session)

    def close(self) -> None:
        """Cancel a name lookup under way."""
        if self._lookup is not None:
            self._lookup.cancel()

    async def _context(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            context = await self._loop.run_in_executor(None, self._make_context)
            self._ssl_context = restrict_tls(context)
        return self._ssl_context

    async def _addresses(self) -> Sequence[SocketAddress]:
        now = self._loop.time()
        if self._lookup is None or now - self._lookup_at > LOOKUP_TTL:
            self._lookup = self._loop.create_task(self._resolve())
            self._lookup_at = now
        return await asyncio.shield(self._lookup)

    async def _resolve(self) -> Sequence[SocketAddress]:
        found = await self._loop.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
        first, *rest = [(family, address) for family, _, _, _, address in found]
        same = [address for address in rest if address[0] == first[0]]
        other = [address for address in rest if address[0] != first[0]]
        return [first, *filter(None, chain.from_iterable(zip_longest(other, same)))]


async def race(
    addresses: Sequence[SocketAddress],
    connect: Callable[[SocketAddress], Coroutine[Any, Any, T]],
    discard: Callable[[T], object],
    *,
    attempt_delay: float = ATTEMPT_DELAY,
) -> T:
    """Call *connect* for the *addresses* in order (Happy Eyeballs); return the first connection.

    The next attempt starts after *attempt_delay* seconds, or at once after a failure. Later
    connections go to *discard*. If all attempts fail, raise the error of the first attempt that
    reached TLS, or else of the first attempt.
    """
    if len(addresses) == 1:
        return await connect(addresses[0])
    attempts: list[asyncio.Task[T]] = []
    winner = None
    try:
        for address in addresses:
            attempts.append(asyncio.create_task(connect(address)))
            winner = await _next_winner(attempts, attempt_delay)
            if winner is not None:
                return winner.result()
        while winner is None and not all(task.done() for task in attempts):
            winner = await _next_winner(attempts, None)
        secure = (task for task in attempts if isinstance(task.exception(), ssl.SSLError))
        return (winner or next(secure, attempts[0])).result()
    finally:
        for task in attempts:
            if task is not winner:
                task.add_done_callback(partial(_discard_result, discard))
                task.cancel()


async def _next_winner(
    attempts: Sequence[asyncio.Task[T]], seconds: float | None
) -> asyncio.Task[T] | None:
    """Wait at most *seconds* until another attempt is done; return a successful attempt, if any.

    Return at once if the last attempt has already failed, as an eager task may.
    """
    pending = [task for task in attempts if not task.done()]
    if pending and (seconds is None or not attempts[-1].done()):
        await asyncio.wait(pending, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    done = (task for task in attempts if task.done() and not task.cancelled())
    return next((task for task in done if task.exception() is None), None)


def _discard_result(discard: Callable[[T], object], task: asyncio.Task[T]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())


async def connect_socket(address: SocketAddress) -> socket.socket:
    """Return a socket connected to *address*."""
    family, endpoint = address
    link = socket.socket(family, socket.SOCK_STREAM)
    try:
        link.setblocking(False)  # noqa: FBT003 - positional only
        await asyncio.get_running_loop().sock_connect(link, endpoint)
    except BaseException:
        link.close()
        raise
    return link


async def _open_tunnel(link: socket.socket, host: str, proxy: Proxy) -> Failure | None:
    """Open a tunnel to *host* (CONNECT) on *link*, a connection to *proxy*.

    Return the failure if the proxy refuses, or answers in a way that isn't HTTP.
    """
    loop = asyncio.get_running_loop()
    fields = [f"CONNECT {host} HTTP/1.1".encode(), f"Host: {host}".encode()]
    if proxy.authorization:
        fields.append(b"Proxy-Authorization: " + proxy.authorization)
    await loop.sock_sendall(link, b"\r\n".join([*fields, b"", b""]))
    received = b""
    for _ in range(MAX_INTERIM):
        while b"\r\n\r\n" not in received:
            piece = await loop.sock_recv(link, 4096)
            if not piece:
                return proxy.failure("the proxy closed the connection before it answered", host)
            received += piece
            if len(received) > MAX_HEAD_BYTES:
                return proxy.failure(f"its answer has more than {MAX_HEAD_BYTES} bytes", host)
        head, _, received = received.partition(b"\r\n\r\n")
        answer = _STATUS_LINE.match(head + b"\r\n")
        if answer is None:
            return proxy.failure("the proxy's answer is no HTTP", host)
        status = answer[1].decode("latin-1")
        if status[0] == "2":
            return proxy.failure("bytes came before TLS", host) if received else None
        if status[0] != "1":
            return proxy.refusal(status, host, head)
    return proxy.failure("interim answers come without end", host)
