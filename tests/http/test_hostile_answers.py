import asyncio
import gzip
import tracemalloc
import zlib
from typing import Final

import pytest
from support.servers import Peer, Script, answer, serving
from support.size import sized
from support.virtual import until
from support.wires import body_of, call, hand, pool_of, wired

from sunshine_async._http.messages import Failure, Response
from sunshine_async.errors import Fault

OK: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP: Final = b"Content-Encoding: gzip\r\n"
LIMIT: Final = 2**16
"""What the wires of these tests take at most."""


def length(value: bytes) -> bytes:
    """Return an answer that says that its length is *value*."""
    return OK + b"Content-Length: " + value + b"\r\n\r\nok"


UNREADABLE: Final = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "it doesn't begin as HTTP does"),
    "a blank line first": (b"\r\n" + answer(), "it doesn't begin as HTTP does"),
    "another protocol": (b"RTSP/1.0 200 OK\r\n\r\n", "it doesn't begin as HTTP does"),
    "no status line": (b"HTTP is what I speak\r\n\r\n", "Expected"),
    "an older version": (b"HTTP/0.9 200 OK\r\n\r\n", "its status line is wrong"),
    "a later version": (b"HTTP/2.0 200 OK\r\n\r\n", "its status line is wrong"),
    "status below 100": (b"HTTP/1.1 099 OK\r\n\r\n", "its status line is wrong"),
    "status of two digits": (b"HTTP/1.1 20 OK\r\n\r\n", "Invalid status"),
    "status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", "Invalid response status"),
    "status of letters": (b"HTTP/1.1 abc OK\r\n\r\n", "Invalid status"),
    "switching protocols": (
        b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
        "it switches to another protocol",
    ),
    "interim answers without end": (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        "interim answers come without end",
    ),
    "an interim answer with a body": (
        b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok" + answer(),
        "an interim answer has a body",
    ),
    "interim, then close": (
        b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + answer(),
        "close",
    ),
    "two lengths": (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "Content-Length"),
    "length and chunks": (
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "Transfer-Encoding",
    ),
    "chunks and length": (
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "Content-Length",
    ),
    "a length in a trailer": (CHUNKED + b"0\r\nContent-Length: 5\r\n\r\nhello", "Content-Length"),
    "negative length": (length(b"-2"), "Content-Length"),
    "length with a sign": (length(b"+2"), "Content-Length"),
    "length in hexadecimal": (length(b"0x2"), "Content-Length"),
    "length with a blank in it": (length(b"1 2"), "Content-Length"),
    "empty length": (length(b""), "Content-Length"),
    "length beyond numbers": (length(b"9" * 40), "Content-Length"),
    "another coding": (OK + b"Transfer-Encoding: gzip\r\n\r\nok", "is not chunked"),
    "another coding, then chunks": (
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "is not chunked",
    ),
    "almost chunks": (
        OK + b"Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "is not chunked",
    ),
    "chunks twice": (
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "is not chunked",
    ),
    "chunk size of letters": (CHUNKED + b"xyz\r\nok\r\n0\r\n\r\n", "chunk size"),
    "negative chunk size": (CHUNKED + b"-2\r\nok\r\n0\r\n\r\n", "chunk size"),
    "empty chunk size": (CHUNKED + b"\r\nok\r\n0\r\n\r\n", "chunk size"),
    "chunk size beyond numbers": (CHUNKED + b"f" * 17 + b"\r\nok\r\n0\r\n\r\n", "hunk size"),
    "chunk longer than it says": (CHUNKED + b"2\r\nokay\r\n0\r\n\r\n", "chunk data"),
    "endless chunk extension": (CHUNKED + b"2;" + b"a" * 2**18, "that are no content"),
    "endless trailer": (CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"a" * 2**19, "that are no content"),
    "endless status line": (b"HTTP/1.1 200 " + b"O" * 2**17, "that are no content"),
    "endless header name": (OK + b"X" * 2**17, "that are no content"),
    "endless header value": (OK + b"X: " + b"a" * 2**17, "that are no content"),
    "large header": (
        OK + b"".join(b"X-%d: " % n + b"a" * 1000 + b"\r\n" for n in range(70)) + b"\r\n",
        "",
    ),
    "many header fields": (
        OK + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\nok",
        "more than 200 header fields",
    ),
    "header without a colon": (OK + b"nonsense\r\nContent-Length: 2\r\n\r\nok", "header token"),
    "header without a name": (OK + b": x\r\nContent-Length: 2\r\n\r\nok", "header token"),
    "header name with a blank": (OK + b"X : y\r\nContent-Length: 2\r\n\r\nok", "header token"),
    "header value with NUL": (OK + b"X: a\0b\r\n\r\n", "header value"),
    "header value with CR": (OK + b"X: a\rb\r\n\r\n", "header value"),
    "folded header": (OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "header value"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "CR"),
}

FLAWED: Final = {
    "chunks beyond the limit": (
        CHUNKED + b"8000\r\n" + bytes(0x8000) + b"\r\n9000\r\n" + bytes(0x9000) + b"\r\n0\r\n\r\n",
        f"larger than {LIMIT} bytes",
    ),
    "body beyond the limit": (OK + b"\r\n" + bytes(LIMIT + 1), f"larger than {LIMIT} bytes"),
    "coding not asked for": (
        answer(fields=b"Content-Encoding: br\r\n"),
        "an encoding that was not asked for",
    ),
    "no gzip": (answer(b"\x1f\x8b or so", fields=GZIP), "it isn't gzip"),
    "gzip cut off": (answer(gzip.compress(b"ok" * 99)[:-9], fields=GZIP), "ends too early"),
    "gzip with a wrong sum": (
        answer(gzip.compress(b"ok")[:-8] + bytes(8), fields=GZIP),
        "it isn't gzip",
    ),
    "gzip bomb": (answer(gzip.compress(bytes(2**22)), fields=GZIP), f"larger than {LIMIT} bytes"),
    "length beyond the limit": (length(b"%d" % (LIMIT + 1)), f"larger than {LIMIT} bytes"),
}
"""Answers with a status, whose content can't be read."""


def spoiling(raw: bytes, cut: int = 10**9) -> Script:
    """Return a script that sends *raw* on its first connection, and works on those after it."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.index == 0:
            await peer.send(*(raw[at : at + cut] for at in range(0, len(raw), cut)))
            await peer.gone()
        await peer.send(answer(b"whole"))
        await peer.gone()

    return script


@pytest.mark.parametrize("cut", [1, 10**9])
@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable_answer(name: str, cut: int) -> None:
    """What can't be an answer is a failure that says why, and the next call sees nothing of it."""
    raw, why = UNREADABLE[name]
    cut = max(cut, len(raw) // 500)
    async with (
        serving(spoiling(raw, cut)) as server,
        wired(server.url, max_connections=1, max_response_bytes=LIMIT) as wire,
    ):
        reply = await call(wire)
        assert await body_of(wire) == b"whole"

    assert isinstance(reply, Failure), reply
    assert reply.fault is Fault.LOST
    sentence = f"127.0.0.1:{server.port} sent an answer that can't be read: "
    assert reply.reason.startswith(sentence)
    assert why in reply.reason


@pytest.mark.parametrize("cut", [1, 10**9])
@pytest.mark.parametrize("name", FLAWED)
async def test_answer_with_a_flaw(name: str, cut: int) -> None:
    """An answer whose content can't be read says why, and the next call sees nothing of it."""
    raw, why = FLAWED[name]
    cut = max(cut, len(raw) // 500)
    async with (
        serving(spoiling(raw, cut)) as server,
        wired(server.url, max_connections=1, max_response_bytes=LIMIT) as wire,
    ):
        reply = await call(wire)
        assert isinstance(reply, Response), reply
        assert (reply.status, reply.body) == (200, b"")
        assert why in reply.body_error


async def test_large_header_that_comes_at_once() -> None:
    """A header of many fields that is too large as a whole is refused as that."""
    raw = OK + b"".join(b"X: " + b"a" * 1000 + b"\r\n" for _ in range(70)) + b"\r\n"
    async with serving(spoiling(raw)) as server, wired(server.url) as wire:
        pool = asyncio.create_task(call(wire))
        await until(lambda: bool(server.requests))
        [connection] = pool_of(wire)._connections
        hand(connection, raw)
        reply = await pool

    assert isinstance(reply, Failure)
    assert "its header is larger than 65536 bytes" in reply.reason


WHOLE: Final = (
    answer(b"hello"),
    CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + answer(gzip.compress(b"hello"), fields=GZIP),
)


@pytest.mark.parametrize("how", ["close", "reset", "half"])
@pytest.mark.parametrize("raw", WHOLE)
async def test_connection_ends_within_an_answer(raw: bytes, how: str) -> None:
    """Wherever a connection ends before its answer is whole, the call was sent and is lost."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw[: peer.index])
        if how == "close":
            peer.close()
        elif how == "reset":
            peer.reset()
        else:
            peer.writer.write_eof()
            await peer.gone()

    async with serving(script) as server, wired(server.url) as wire:
        replies = [await call(wire) for _ in range(len(raw))]

    assert len(server.peers) == len(raw)
    for at, reply in enumerate(replies):
        assert isinstance(reply, Failure), (at, reply)
        assert reply.fault is Fault.LOST
        assert "connection" in reply.reason
        assert (
            reply.reason.endswith("before it answered" if at == 0 else "its answer")
            or how == "reset"
        )


async def test_close_while_the_body_goes_out() -> None:
    """A server that goes away within the request may have taken enough of it: the call is lost."""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    async with serving(script) as server, wired(server.url) as wire:
        reply = await call(wire, "POST", "/", bytes(2**25))

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.LOST


async def test_a_broken_connection_is_named_in_the_system_s_words() -> None:
    """The reason of a lost call has the words of the operating system."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async with serving(script) as server, wired(server.url) as wire:
        reply = await call(wire)

    assert isinstance(reply, Failure)
    assert "broke the connection (connection reset by peer) before it answered" in reply.reason


async def test_gzip_that_is_cut_by_the_end_of_the_stream() -> None:
    """A body that ends with its connection must be whole gzip, if it is gzip."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + GZIP + b"\r\n" + gzip.compress(b"hello" * 99)[:-9])

    async with serving(script) as server, wired(server.url) as wire:
        reply = await call(wire)

    assert isinstance(reply, Response)
    assert "ends too early" in reply.body_error


async def test_answer_after_the_answer_is_nobodys() -> None:
    """However often a server answers twice, each call gets the answer to itself, or none."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            nonce = request.split(b" ")[1]
            peer.writer.write(answer(nonce) + answer(b"someone else's"))

    async with serving(script) as server, wired(server.url, max_connections=3) as wire:

        async def one(number: int) -> bool:
            reply = await call(wire, target=f"/{number}")
            return isinstance(reply, Failure) or reply.body == b"/%d" % number

        assert all(await asyncio.gather(*(one(number) for number in range(60))))


async def test_second_answer_that_comes_later_is_nobodys() -> None:
    """A second answer that comes while nobody asks ends the connection before the next call."""

    async def script(peer: Peer) -> None:
        while request := await peer.request():
            await peer.send(answer(request.split(b" ")[1]), answer(b"someone else's"))

    async with serving(script) as server, wired(server.url) as wire:
        for number in range(20):
            reply = await call(wire, target=f"/{number}")
            assert not isinstance(reply, Failure)
            assert reply.body == b"/%d" % number
            await until(lambda: not pool_of(wire)._connections)


async def test_second_answer_that_is_there_already_is_nobodys() -> None:
    """A second answer that has come, though the loop hasn't seen it, isn't the next caller's."""

    async def script(peer: Peer) -> None:
        while await peer.request():
            peer.writer.write(answer(b"%d" % peer.index))

    async with serving(script) as server, wired(server.url, max_connections=1) as wire:
        first, second = asyncio.create_task(call(wire)), asyncio.create_task(body_of(wire))
        await until(lambda: bool(server.requests))
        [connection] = pool_of(wire)._connections
        hand(connection, answer())  # and the one that the server wrote is in the socket
        assert not isinstance(await first, Failure)
        assert await second == b"1"


async def test_bomb_is_not_inflated() -> None:
    """Of an answer that inflates to more than is taken, no more than that is ever in memory."""
    size = sized(256, 64)  # MB
    packer = zlib.compressobj(1, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(size)) + packer.flush()
    raw = answer(bomb, fields=GZIP)
    async with serving(spoiling(raw)) as server, wired(server.url) as wire:
        tracemalloc.start()
        try:
            reply = await call(wire)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert isinstance(reply, Response)
    assert "larger" in reply.body_error
    assert peak < 8 * 2**20


async def test_no_secret_is_in_a_reason() -> None:
    """A failure names the server, and nothing of the request."""
    async with serving(spoiling(b"nonsense")) as server, wired(server.url) as wire:
        headers = {"Authorization": "Basic c2VjcmV0"}
        reply = await call(wire, "POST", "/users/jane", b"jane@example.com", headers=headers)

    assert "c2VjcmV0" not in repr(reply)
    assert "jane" not in repr(reply)
