"""TLS of the own wire: records in pieces, sessions of earlier connections, alerts, and all ends."""

import asyncio
import gc
import re
import ssl
import weakref
from random import Random
from typing import Any

import pytest
from attrs import define, field
from support.certificates import certified, tls
from support.servers import Peer, always, answer, serving
from support.size import sized
from support.virtual import until
from support.wires import call, pool_of, wired

from sunshine_async._http import dialer
from sunshine_async._http.failures import connect_failure
from sunshine_async._http.messages import Failure, Response
from sunshine_async.errors import Fault


@define(eq=False)
class Secured:
    """TLS of a server on the raw bytes of *peer*, a step at a time."""

    peer: Peer
    incoming: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = field(factory=ssl.MemoryBIO)
    link: ssl.SSLObject = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.link = tls().server.wrap_bio(self.incoming, self.outgoing, server_side=True)

    async def shake_hands(self) -> None:
        """Shake hands; everything goes out byte by byte."""
        while True:
            try:
                self.link.do_handshake()
            except ssl.SSLWantReadError:
                await self.peer.send(*[bytes([byte]) for byte in self.outgoing.read()])
                await self.receive()
            else:
                return

    async def request(self) -> bytes:
        """Return a request, whole."""
        data = b""
        while True:
            try:
                data += self.link.read(65536)
            except ssl.SSLWantReadError:
                head, found, body = data.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head.lower())
                if found and len(body) == int(length[1] if length else 0):
                    return body
                await self.receive()

    async def receive(self) -> None:
        """Wait for bytes; raise `EOFError` where the client has gone."""
        data = await self.peer.reader.read(65536)
        if not data:
            raise EOFError
        self.incoming.write(data)

    def encrypted(self, *records: bytes) -> bytes:
        """Return *records*, encrypted one by one, after all that was to be sent before."""
        for record in records:
            self.link.write(record)
        return self.outgoing.read()


def pieces_of(data: bytes, random: Random) -> list[bytes]:
    """Return *data* in pieces: of a byte, of a few bytes, or of thousands."""
    pieces: list[bytes] = []
    while data:
        size = random.choice([1, 5, 100, 3_000, 40_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@pytest.mark.parametrize("seed", range(sized(30, 3)))
async def test_bodies_arrive_whole_however_they_are_cut(seed: int) -> None:
    """Records and pieces of any size, in both directions, on one connection."""
    random = Random(seed)
    sizes = [random.choice([0, 1, 2_000, 4_096, 16_384, 16_385, 200_000]) for _ in range(4)]

    async def script(peer: Peer) -> None:
        server = Secured(peer)
        await server.shake_hands()
        while True:
            records = pieces_of(answer(await server.request()), random)
            await peer.send(*pieces_of(server.encrypted(*records), random))

    async with serving(script, secure=True) as server, wired(server.url) as wire:
        for size in sizes:
            body = random.randbytes(size)
            reply = await call(wire, "POST", body=body)
            assert isinstance(reply, Response)
            assert reply.body == body

    assert len(server.peers) == 1


@pytest.mark.parametrize("in_one_read", [True, False])
async def test_bytes_behind_an_answer_belong_to_no_call(in_one_read: bool) -> None:  # noqa: FBT001
    """An answer that fills the buffer to the last byte, and another one behind: both never mix."""

    async def script(peer: Peer) -> None:
        server = Secured(peer)
        await server.shake_hands()
        await server.request()
        head = len(answer(b"x" * 4_000)) - 4_000
        records = [answer(b"x" * (4_096 - head)), answer(b"of nobody")]
        assert len(records[0]) == 4_096  # the first buffer of a connection
        if in_one_read:
            await peer.send(server.encrypted(*records))
        else:
            await peer.send(*[server.encrypted(record) for record in records])
        await peer.gone()

    async with serving(script, secure=True) as server, wired(server.url, max_connections=1) as wire:
        replies = await asyncio.gather(*(call(wire) for _ in range(3)))

    bodies = [reply.body for reply in replies if isinstance(reply, Response)]
    assert [{*body} for body in bodies] == [{ord("x")}] * 3
    assert len(server.peers) == 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_goes_on_with_the_session_of_an_earlier_one(
    version: ssl.TLSVersion,
) -> None:
    """The second handshake is short; a context that checks by itself gets a whole handshake."""
    context, own = client_of(ssl.SSLContext), client_of(Checking)
    for one in (context, own):
        one.maximum_version = version
    found: list[bool | None] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        found.append(peer.writer.get_extra_info("ssl_object").session_reused)
        await peer.send(answer(fields=b"Connection: close\r\n"))
        peer.close()

    async with serving(script, tls=tls().server) as server:
        for each in (context, own):
            async with wired(server.url, tls=each) as wire:
                for _ in range(3):
                    assert isinstance(await call(wire), Response)

    assert found == [False, True, True, False, False, False]


@pytest.mark.parametrize("kind", ["garbage", "an alert"])
async def test_an_end_in_the_middle_is_a_lost_answer(kind: str) -> None:
    """Bytes that aren't TLS, or an alert, end a call that was sent; an answer before counts."""

    async def script(peer: Peer) -> None:
        server = Secured(peer)
        await server.shake_hands()
        await server.request()
        if peer.index:
            await peer.send(server.encrypted(answer()) + bytes(100))
        elif kind == "garbage":
            await peer.send(b"GET / HTTP/1.1\r\n\r\n")
        else:
            server.incoming.write(bytes(100))
            with pytest.raises(ssl.SSLError):
                server.link.read(1)
            await peer.send(server.outgoing.read())
        await peer.gone()

    async with serving(script, secure=True) as server, wired(server.url) as wire:
        lost, whole = await call(wire), await call(wire)

    assert isinstance(lost, Failure)
    assert lost.fault is Fault.LOST
    assert "broke the connection (SSLError)" in lost.reason
    assert isinstance(whole, Response)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 201 Cre"])
async def test_a_server_that_has_begun_to_answer_has_read_the_request(begun: bytes) -> None:
    """An alert about the client's certificate says that no request was read, unless one was."""
    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(begun)
        await peer.gone()

    async with serving(script) as server, wired(server.url) as wire:
        waiting = asyncio.create_task(call(wire))
        await until(lambda: bool(server.requests))
        [connection] = pool_of(wire)._connections
        await until(lambda: connection._used is bool(begun))
        connection._transport._force_close(alert)  # type: ignore[attr-defined]
        reply = await waiting

    assert isinstance(reply, Failure)
    assert reply.fault is (Fault.LOST if begun else Fault.PERMANENT)


@pytest.mark.parametrize("kind", ["close_notify", "an alert"])
async def test_no_call_is_sent_after_the_end(kind: str) -> None:
    """An end in the same read as an answer is known before the next call in the queue is sent."""

    async def script(peer: Peer) -> None:
        server = Secured(peer)
        await server.shake_hands()
        answered = server.encrypted(answer(await server.request()))
        if kind == "close_notify":
            with pytest.raises(ssl.SSLWantReadError):
                server.link.unwrap()
        else:
            server.incoming.write(bytes(100))
            with pytest.raises(ssl.SSLError):
                server.link.read(1)
        await peer.send(answered + server.outgoing.read())
        await peer.gone()

    async with serving(script, secure=True) as server, wired(server.url, max_connections=1) as wire:
        bodies = [b"1", b"2", b"3"]
        replies = await asyncio.gather(*(call(wire, "POST", body=body) for body in bodies))

    assert [reply.body if isinstance(reply, Response) else reply for reply in replies] == bodies


@pytest.mark.parametrize("end", ["the client", "the server", "garbage"])
async def test_a_closed_connection_needs_no_collector(end: str) -> None:
    """A connection that has been lost frees its memory at once, also without a garbage collector."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        server = Secured(peer)
        await server.shake_hands()
        await peer.send(*pieces_of(server.encrypted(answer(await server.request())), Random(1)))
        await go_on.wait()
        if end == "garbage":
            await peer.send(bytes(100))
        if end != "the server":
            await peer.gone()

    async with serving(script, secure=True) as server, wired(server.url) as wire:
        gc.disable()
        try:
            assert isinstance(await call(wire), Response)
            [connection] = pool_of(wire)._connections
            left = weakref.ref(connection)
            go_on.set()
            if end == "the client":
                connection.abort()
            del connection
            await until(lambda: left() is None)
        finally:
            gc.enable()


async def test_a_request_that_tls_refuses_breaks_the_connection() -> None:
    """An error of TLS while a request is written is no error of the caller's."""
    async with (
        serving(always, tls=tls().server) as server,
        wired(server.url, tls=client_of(Refusing)) as wire,
    ):
        reply = await call(wire)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.LOST


async def test_a_peer_that_goes_in_the_handshake_is_named() -> None:
    """The reason says at what time the other side went."""

    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        if peer.index:
            peer.reset()

    async with serving(script, secure=True) as server, wired(server.url) as wire:
        reasons = [str(reply.reason) for reply in [await call(wire)] if isinstance(reply, Failure)]
        reset = await call(wire)

    closed = "TLS failed: the other side closed the connection in the handshake"
    assert reasons[0].endswith(f"{closed}: check the address and the network")
    assert isinstance(reset, Failure)
    assert reset.fault is Fault.UNSENT
    assert reset.reason.endswith("connection reset by peer: check the address and the network")


async def test_http_1_is_asked_for() -> None:
    """A server that speaks HTTP/2 too learns that the client doesn't (ALPN)."""
    context = certified(tls().authority, "127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await always(peer)

    async with serving(script, tls=context) as server, wired(server.url) as wire:
        assert isinstance(await call(wire), Response)

    assert chosen == ["http/1.1"]


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        (
            "[SSL] tlsv1 alert no application protocol (_ssl.c:1006)",
            None,
            "failed: tlsv1 alert no application protocol: the server refuses HTTP/1.1: check base",
        ),
        (
            "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)",
            "WRONG_VERSION_NUMBER",
            "failed: wrong version number: the other side answers without TLS: check base_url",
        ),
        (
            "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure (_ssl.c:1006)",
            "SSLV3_ALERT_HANDSHAKE_FAILURE",
            "or the server asks for a certificate of the client: see ssl_context=",
        ),
        (
            "[SSL: TLSV1_UNRECOGNIZED_NAME] tlsv1 unrecognized name (_ssl.c:1006)",
            "TLSV1_UNRECOGNIZED_NAME",
            "failed: tlsv1 unrecognized name: check the address and the network",
        ),
    ],
)
def test_an_alert_is_said_in_words(text: str, reason: str | None, says: str) -> None:
    """OpenSSL's words, without Python's frame around them, and the next step."""
    error = ssl.SSLError(1, text)
    error.reason = reason  # type: ignore[assignment] - None where Python doesn't know the alert

    assert says in connect_failure(error, "connecting").reason


async def test_a_handshake_has_an_end_without_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection, and says nothing, is given up."""
    monkeypatch.setattr(dialer, "HANDSHAKE_TIMEOUT", 0.01)

    async def script(peer: Peer) -> None:
        await peer.gone()

    async with serving(script, secure=True) as server, wired(server.url) as wire:
        reply = await call(wire, connect=None, total=None)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.UNSENT
    assert "it took too long" in reply.reason


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_can_be_cancelled_at_any_time(turns: int) -> None:
    """A connection that is cancelled while it is made leaves no socket, and no word in the log."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, one: complaints.append(one))
    async with serving(always, tls=tls().server) as server, wired(server.url) as wire:
        calling = asyncio.create_task(call(wire))
        await until(lambda: bool(wire._pools) and bool(pool_of(wire)._connecting))
        for _ in range(turns):
            await asyncio.sleep(0)
        for dialing in pool_of(wire)._connecting:
            dialing.cancel()
        reply = await calling
        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT
        assert isinstance(await call(wire), Response)

    assert complaints == []


async def test_a_large_body_waits_for_a_slow_server() -> None:
    """A body larger than all buffers on the way is sent as the server reads."""
    body = bytes(8 * 2**20)
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go_on.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.request()
        await peer.send(answer())

    async with serving(script, tls=tls().server, deaf=True) as server, wired(server.url) as wire:
        sending = asyncio.create_task(call(wire, "POST", body=body))
        await until(lambda: bool(wire._pools))
        await until(lambda: any(one._paused for one in pool_of(wire)._connections))
        go_on.set()
        assert isinstance(await sending, Response)

    assert server.requests[0].endswith(body)


async def test_a_socket_that_the_loop_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error before TLS begins fails the call, which was not sent."""

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "too many files")

    async with serving(always, tls=tls().server) as server, wired(server.url) as wire:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
        reply = await call(wire)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.UNSENT


async def test_a_context_of_a_server_leaves_no_socket() -> None:
    """A context that can't begin TLS fails the call, with the reason, and closes the socket."""
    async with (
        serving(always, tls=tls().server) as server,
        wired(server.url, tls=tls().server) as wire,
    ):
        reply = await call(wire)

    assert isinstance(reply, Failure)
    assert reply.fault is Fault.UNSENT
    assert "cannot create a client socket" in reply.reason


class Checking(ssl.SSLContext):
    """A context of another class, as one that checks certificates by itself."""


class RefusingObject(ssl.SSLObject):
    """TLS that takes no data."""

    def write(self, data: Any) -> int:
        """Refuse *data*."""
        raise ssl.SSLError(1, f"no room for {len(data)} bytes")


class Refusing(ssl.SSLContext):
    """A context whose connections take no data."""

    sslobject_class = RefusingObject


def client_of(kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    """Return a client's context of *kind* that trusts the tests' authority."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    tls().authority.configure_trust(context)
    return context
