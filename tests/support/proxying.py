"""CONNECT proxies and TLS servers on loopback, on asyncio and on trio."""

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, TypeAlias

import anyio
from anyio.streams.tls import TLSListener
from support.patience import PATIENCE

Script: TypeAlias = Callable[[anyio.abc.ByteStream], Awaitable[None]]
JANE: Final = b'HTTP/1.1 201 Created\r\nContent-Length: 21\r\n\r\n{"user": {"id": "1"}}'
TUNNEL: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_GONE: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run *script* for each connection, and yield the port; the end of a peer ends its script."""

    async def serve(link: anyio.abc.ByteStream) -> None:
        with suppress(*_GONE):
            async with link:
                await script(link)

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = int(tcp.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - no Django
    listener = TLSListener(tcp, tls, standard_compatible=False) if tls else tcp
    async with tcp, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield port
        tasks.cancel_scope.cancel()


@contextmanager
def handshaking(context: ssl.SSLContext) -> Iterator[tuple[int, list[bytes]]]:
    """Run a TLS server in a thread, which sends its alerts; yield the port, and what it has read."""
    heard: list[bytes] = []

    def run() -> None:
        with suppress(OSError):
            while True:
                link, _ = listener.accept()
                link.settimeout(PATIENCE)
                with link, suppress(OSError):
                    secure = context.wrap_socket(
                        link, server_side=True, do_handshake_on_connect=False
                    )
                    with secure:
                        _shake(secure, heard)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _shake(link: ssl.SSLSocket, heard: list[bytes]) -> None:
    """Shake hands; where that fails wait until the other side has read why."""
    try:
        link.do_handshake()
        heard.append(link.recv(65536))
    except ssl.SSLError:
        link.shutdown(socket.SHUT_WR)
        while socket.socket.recv(link, 65536):
            pass


async def head_of(link: anyio.abc.ByteStream) -> bytes:
    """Return the head of the next request."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await link.receive()
    return head


def saying(*answers: bytes, heard: list[bytes]) -> Script:
    """Return a script that gives each request one of *answers*, and then hangs up."""

    async def script(link: anyio.abc.ByteStream) -> None:
        for answer in answers:
            heard.append(await head_of(link))
            await link.send(answer)

    return script


async def silent(link: anyio.abc.ByteStream) -> None:
    """Never answer."""
    while await link.receive():
        pass


async def gone(link: anyio.abc.ByteStream) -> None:
    """Hang up on the first request."""
    await head_of(link)


def tunnel(heard: list[bytes]) -> Script:
    """Return a proxy that connects to wherever it is asked to."""

    async def script(link: anyio.abc.ByteStream) -> None:
        head = await head_of(link)
        heard.append(head)
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        try:
            far = await anyio.connect_tcp(host, int(port))
        except OSError:
            await link.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        await link.send(TUNNEL)
        async with far, anyio.create_task_group() as tasks:
            tasks.start_soon(_copy, far, link)
            await _copy(link, far)

    return script


async def _copy(source: anyio.abc.ByteStream, sink: anyio.abc.ByteStream) -> None:
    with suppress(*_GONE):
        async for piece in source:
            await sink.send(piece)
    with suppress(*_GONE):
        await sink.send_eof()  # and no close, which might overtake what was sent
