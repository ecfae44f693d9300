"""Servers on loopback that do exactly what a test's script says, however wrong that is."""

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Final, Self, TypeAlias

from attrs import define, field
from support.certificates import tls
from support.virtual import settled

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_GIVEN_OUT: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The ports that the system gives to servers without a wish, and to outgoing connections."""


def answer(body: bytes = b"ok", *, status: str = "200 OK", fields: bytes = b"") -> bytes:
    """Return an answer as it is written, with the length of *body*."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode()
    return head + fields + b"\r\n" + body


@define(eq=False)
class Peer:
    """One connection, as the server sees it."""

    index: int
    """How many connections came before it."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes] = field(factory=list)

    async def request(self) -> bytes:
        """Return the next request, whole; raise `EOFError` where there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await self.reader.readexactly(int(length[1])) if length else b""
        self.requests.append(head + body)
        return head + body

    async def send(self, *pieces: bytes) -> None:
        """Send *pieces*, one by one: the other side may be seen to read them so."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Return once the other side has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def close(self) -> None:
        """Close it; what was sent still arrives."""
        if not self.writer.is_closing():  # one that is closed twice can't be reset before 3.11.4
            self.writer.close()

    def reset(self) -> None:
        """Break it: the other side sees a reset."""
        link = self.writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


Script: TypeAlias = Callable[[Peer], Awaitable[None]]


@define(eq=False)
class Server:
    """What a script has been through, in all its connections."""

    port: int
    secure: bool
    peers: list[Peer] = field(factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[bytes]:
        return [request for peer in self.peers for request in peer.requests]


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None, secure: bool = False, deaf: bool = False
) -> AsyncIterator[Server]:
    """Run *script* for each connection, and yield the server; its errors come out of the block.

    A script ends early, and that is all right, where its peer goes. *secure* without *tls* leaves
    TLS to the script. A *deaf* server reads nothing before its script says so, or begins TLS.
    """
    server = Server(0, secure=secure or tls is not None)
    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()

    async def run(peer: Peer) -> None:
        try:
            with suppress(EOFError, OSError, RuntimeError):  # the last is uvloop's
                await script(peer)
        finally:
            peer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if deaf:  # soon, and before anything is read: at once has no effect before Python 3.11.4
            loop.call_soon(writer.transport.pause_reading)  # type: ignore[attr-defined]
        peer = Peer(len(server.peers), reader, writer)
        server.peers.append(peer)
        tasks.append(asyncio.create_task(run(peer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, backlog=1024)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        for one in listener.sockets:
            loop.remove_reader(one)
        await settled()  # the last connection becomes a peer: a closed listener would forget it
        listener.close()
        for task in tasks:
            task.cancel()
        for peer in server.peers:
            peer.writer.transport.abort()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    for end in ended:
        if isinstance(end, Exception):
            raise end


def answering(*answers: bytes) -> Script:
    """Return a script that gives each connection *answers*, one to a request, and then waits."""

    async def script(peer: Peer) -> None:
        for each in answers:
            await peer.request()
            await peer.send(each)
        await peer.gone()

    return script


async def always(peer: Peer) -> None:
    """Answer every request with its connection's number: the script of a server that works."""
    while True:
        await peer.request()
        await peer.send(answer(b"%d" % peer.index))


async def silent(peer: Peer) -> None:
    """Never answer."""
    await peer.request()
    await peer.gone()


def slowly(go_on: asyncio.Event) -> Script:
    """Return a script that begins TLS when *go_on* is set, and then works."""

    async def script(peer: Peer) -> None:
        await go_on.wait()
        await peer.writer.start_tls(tls().server)
        await always(peer)

    return script


class Blocking:
    """A server in a thread of its own, for a loop that stands still: it serves one connection at a time."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._listener: Final = socket.create_server(("127.0.0.1", 0))
        self._greeting: Final = greeting
        self._thread: Final = threading.Thread(target=self._run)
        self.heard: Final[list[int]] = []
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"stop\r\n\r\n")
        self._thread.join()
        self._listener.close()

    def end(self, unasked: bytes) -> None:
        """Say *unasked* on the connection, and close it: the other side may know at once."""
        self._link.sendall(unasked)
        self._link.shutdown(socket.SHUT_WR)

    def _run(self) -> None:
        request = b""
        while not request.startswith(b"stop"):
            self._link, _ = self._listener.accept()
            with self._link, suppress(OSError):
                self._link.sendall(self._greeting)
                request = self._link.recv(65536)
                if request.startswith(b"GET"):
                    self._link.sendall(answer(b"%d" % len(self.heard)))
                    self.heard.append(request.count(b"HTTP/1.1"))
                while self._link.recv(65536):
                    pass


def unused_port() -> int:
    """Return a port at which nothing listens, and that the system gives to nobody else.

    A port that the system has given out and got back may be given out again while a server that a
    test has killed is started anew: to a server of another test, or to an outgoing connection. A
    system that gives out all ports has no other.
    """
    low = int(_GIVEN_OUT.read_text().split()[0]) if _GIVEN_OUT.exists() else 32768
    while True:  # without a seed: workers would be alike
        port = SystemRandom().randrange(10_000, low if low > 11_000 else 32768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
