"""Both wires, our own sockets and httpx: every answer is read alike, or refused alike."""

import gc
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import anyio
import pytest
from support.certificates import tls
from support.servers import Peer, Script, answer, serving
from support.virtual import settled
from support.wires import call, wired, wired_by_httpx
from test_hostile_answers import FLAWED, LIMIT, UNREADABLE
from test_response_parser import ANSWERS, LAST_ANSWERS

from sunshine_async._http.messages import Failure, Response
from sunshine_async.errors import Fault

Serve: TypeAlias = Callable[[anyio.abc.SocketStream], Awaitable[None]]
WIRES: Final = {"own": wired, "httpx": wired_by_httpx}
GOOD: Final = {name: raw for name, (raw, _, _) in {**ANSWERS, **LAST_ANSWERS}.items()}
BAD: Final = {name: raw for name, (raw, _) in {**UNREADABLE, **FLAWED}.items()}
FIELDS: Final = (
    b"Retry-After: 4.0",
    b"Retry-After: 4\r\nRetry-After: 5",
    b"X-Request-ID:  a \r\nVary: a\r\nvary: b\r\nX-Empty:\r\nX-Latin: caf\xe9",
    b"Content-Encoding: none",
    b"Content-Encoding: identity",
    b"Content-Encoding: UTF-8",
    b"Content-Encoding: aws-chunked",
    b"Content-Encoding: br",
    b"Content-Encoding: zstd",
    b"Content-Encoding: gzip",
    b"Content-Length: 2",
    b"Content-Length: 3",
    b"Content-Length: +2",
    b"Content-Length: 0x2",
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Connection: close",
    b"Connection: upgrade\r\nUpgrade: h2c",
    b"Set-Cookie: a=b\r\nSet-Cookie: c=d",
    b"X: a\r\n b",
    b"X : a",
    b"X: \x01",
    b"X\xe9: a",
)
WITH_FIELDS: Final = {
    f"{fields.decode('latin-1')!r} {status}": answer(status=f"{status} X", fields=fields + b"\r\n")
    for fields in FIELDS
    for status in (200, 400, 503)
}
AS_A_NO: Final = {
    f"{name}, 400": raw.replace(b" 200 OK", b" 400 No") for name, raw in {**GOOD, **BAD}.items()
}
ALL: Final = {**GOOD, **BAD, **AS_A_NO, **WITH_FIELDS}


async def read_by(way: str, raw: bytes) -> tuple[object, ...]:
    """Return what a wire says to *raw*, and to a call after that."""
    replies = []
    async with (
        serving(saying(raw)) as server,
        WIRES[way](server.url, max_response_bytes=LIMIT) as wire,
    ):
        for _ in range(2):
            reply = await call(wire)
            if isinstance(reply, Response):
                replies.append(
                    (
                        reply.status,
                        reply.body,
                        dict(reply.headers),
                        reply.ok and bool(reply.body_error),
                    )
                )
            else:
                replies.append((reply.fault,))
    return tuple(replies)


def saying(raw: bytes) -> Script:
    """Return a script that says *raw* on its first connection, and works on those after it."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            if peer.index or len(peer.requests) > 1:
                await peer.send(answer(b"whole"))
            else:
                await peer.send(raw)
                if not any(sign in raw.lower() for sign in (b"ontent-length", b"chunked")):
                    peer.close()

    return script


@pytest.mark.parametrize("name", ALL)
async def test_both_wires_read_alike(name: str) -> None:
    """Each answer of the tables means the same on both wires, and the next call has its own."""
    own, by_httpx = [await read_by(way, ALL[name]) for way in WIRES]

    assert own == by_httpx
    assert own[1][:2] == (200, b"whole")


@pytest.mark.parametrize("way", WIRES)
async def test_answer_behind_the_answer_is_nobodys(way: str) -> None:
    """However often a server answers twice, each call gets the answer to itself."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            peer.writer.write(answer(request.split(b" ")[1]) + answer(b"someone else's"))

    async with serving(script) as server, WIRES[way](server.url) as wire:
        for number in range(5):
            reply = await call(wire, target=f"/{number}")
            assert isinstance(reply, Response)
            assert reply.body == b"/%d" % number


@pytest.mark.parametrize("way", WIRES)
async def test_a_server_that_closes_is_said_alike(way: str) -> None:
    """The reason of a lost answer says who closed, and when, in the same words on both wires."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n" * peer.index)

    async with serving(script) as server, WIRES[way](server.url) as wire:
        replies = [await call(wire) for _ in range(2)]

    host = server.url.removeprefix("http://")
    assert replies == [
        Failure(Fault.LOST, f"{host} closed the connection before it answered"),
        Failure(Fault.LOST, f"{host} closed the connection within its answer"),
    ]


@asynccontextmanager
async def served(serve: Serve) -> AsyncGenerator[int]:
    """Let *serve* answer each connection, on asyncio or trio; give the port."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        await settled()
        yield listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - no Django
        tasks.cancel_scope.cancel()


def test_a_body_that_is_of_no_use_leaves_nothing_on_trio() -> None:
    """No generator of httpx is left half-way where the rest of a body isn't needed."""

    async def serve(link: anyio.abc.SocketStream) -> None:
        async with link:
            await link.receive()
            await link.send(answer(b"x", fields=b"Content-Encoding: br\r\n")[:-1] + b"x" * 99)
            await link.receive()

    async def scenario() -> None:
        async with served(serve) as port, wired_by_httpx(f"http://127.0.0.1:{port}") as wire:
            reply = await call(wire)
        assert isinstance(reply, Response)
        assert "encoding that was not asked for" in reply.body_error

    anyio.run(scenario, backend="trio")
    gc.collect()  # complains of generators that were left


class Secured:
    """The server's side of TLS on *link*, record by record."""

    def __init__(self, link: anyio.abc.SocketStream) -> None:
        self._link: Final = link
        self._incoming: Final = ssl.MemoryBIO()
        self.outgoing: Final = ssl.MemoryBIO()
        self.tls: Final = tls().server.wrap_bio(self._incoming, self.outgoing, server_side=True)

    async def done(self, step: Callable[[], object]) -> None:
        """Take *step*, with all that it needs of the other side."""
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                await self._link.send(self.outgoing.read())
                self._incoming.write(await self._link.receive())
            else:
                return


@pytest.mark.parametrize("ending", ["an answer", "close_notify"])
@pytest.mark.parametrize("way", ["own", "httpx", "httpx on trio"])
def test_what_comes_behind_an_answer_under_tls_is_nobodys(way: str, ending: str) -> None:
    """Bytes that came in one read with an answer, but in a record of their own, are dropped."""
    heard: list[int] = []

    async def serve(link: anyio.abc.SocketStream) -> None:
        server = Secured(link)
        async with link:
            await server.done(server.tls.do_handshake)
            await server.done(lambda: server.tls.read(9999))
            heard.append(len(heard))
            server.tls.write(answer(b"%d" % heard[-1]))
            if ending == "an answer":
                server.tls.write(answer(b"nobody's"))
            else:
                with pytest.raises(ssl.SSLWantReadError):
                    server.tls.unwrap()
            await link.send(server.outgoing.read())
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await link.receive()

    async def scenario() -> None:
        open_wire = WIRES[way.partition(" ")[0]]
        async with (
            served(serve) as port,
            open_wire(f"https://127.0.0.1:{port}", tls=tls().client) as wire,
        ):
            for number in range(3):
                reply = await call(wire)
                assert isinstance(reply, Response), reply
                assert reply.body == b"%d" % number

    anyio.run(scenario, backend="trio" if way.endswith("trio") else "asyncio")


@pytest.mark.parametrize("ending", ["close_notify", "cut"])
@pytest.mark.parametrize("way", ["own", "httpx", "httpx on trio"])
def test_end_of_the_stream_is_said_under_tls(way: str, ending: str) -> None:
    """An answer that ends with its TLS stream is whole only if the server has said so."""

    async def scenario() -> None:
        open_wire = WIRES[way.partition(" ")[0]]
        async with (
            served(ending_by(ending)) as port,
            open_wire(f"https://127.0.0.1:{port}", tls=tls().client) as wire,
        ):
            reply = await call(wire)

        if ending == "close_notify":
            assert isinstance(reply, Response)
            assert reply.body == b"ok"
        else:
            assert isinstance(reply, Failure)
            assert reply.fault is Fault.LOST

    anyio.run(scenario, backend="trio" if way.endswith("trio") else "asyncio")


def ending_by(ending: str) -> Serve:
    """Return a server of one answer without a length, whose TLS ends by *ending*."""

    async def serve(link: anyio.abc.SocketStream) -> None:
        server = Secured(link)
        async with link:
            await server.done(server.tls.do_handshake)
            await server.done(lambda: server.tls.read(9999))
            server.tls.write(b"HTTP/1.1 200 OK\r\n\r\nok")
            if ending == "close_notify":
                with pytest.raises(ssl.SSLWantReadError):
                    server.tls.unwrap()
            await link.send(server.outgoing.read())
            await link.send_eof()
            with suppress(anyio.EndOfStream):
                await link.receive()

    return serve
