import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from support.certificates import tls
from support.patience import PATIENCE
from support.servers import Peer, always, answer, serving, silent
from support.virtual import until, virtual
from support.wires import AMPLE, call, hand, pool_of, wired

from sunshine_async._http.connection import Call, ConnectionState, read_rest
from sunshine_async._http.messages import Failure, Response, StreamedBody
from sunshine_async.errors import Fault


class Source(StreamedBody):
    """A body that is what *pieces* gives."""

    content_type = "image/png"
    ready = True  # type: ignore[assignment]

    def __init__(
        self, pieces: Callable[[], AsyncIterator[bytes]], *, length: int | None = None
    ) -> None:
        self.length = length
        self._pieces = pieces
        self.closed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            yield self._pieces()
        finally:
            self.closed = True


def of(*pieces: bytes, length: int | None = None) -> Source:
    """Return a body of those *pieces*."""

    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Source(source, length=length)


def stuck(*pieces: bytes) -> Source:
    """Return a body of those *pieces*, after which no more come, and no end."""

    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        await asyncio.Event().wait()

    return Source(source)


async def in_chunks(peer: Peer) -> None:
    """Answer every request in chunks with its body."""
    while head := await peer.reader.readuntil(b"\r\n\r\n"):
        peer.requests.append(head)
        body = b""
        while size := int(await peer.reader.readuntil(b"\r\n"), 16):
            body += await peer.reader.readexactly(size)
            await peer.reader.readexactly(2)
        await peer.reader.readexactly(2)
        await peer.send(answer(body))


class TestPouring:
    async def test_body_without_a_length_goes_out_in_chunks(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A body of unknown length arrives whole, empty pieces too, and its connection is kept."""
        async with serving(in_chunks) as server, wired(server.url) as wire:
            for _ in range(2):
                reply = await call(wire, "POST", "/", of(b"he", b"", b"llo"))
                assert isinstance(reply, Response)
                assert reply.body == b"hello"

        assert len(server.peers) == 1
        assert b"Transfer-Encoding: chunked\r\n" in server.requests[0]
        assert b"Content-Length" not in server.requests[0]
        assert not caplog.records  # such as an error of a callback

    @pytest.mark.parametrize("pieces", [(b"he", b"llo"), ()])
    async def test_body_with_a_length_goes_out_as_it_is(self, pieces: tuple[bytes, ...]) -> None:
        """A body whose length is known arrives with it, and its connection is kept."""
        whole = b"".join(pieces)
        async with serving(always) as server, wired(server.url) as wire:
            for _ in range(2):
                body = of(*pieces, length=len(whole))
                assert isinstance(await call(wire, "POST", "/", body), Response)
                assert body.closed

        assert len(server.peers) == 1
        assert server.requests[0].endswith(b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole))

    async def test_large_body_goes_out_as_it_is_taken(self) -> None:
        """A source is asked for more only when the network has taken what it gave."""
        piece = bytes(2**20)
        async with serving(in_chunks) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", of(*[piece] * 8))

        assert isinstance(reply, Response)
        assert "larger than" in reply.body_error  # the wire takes

    @pytest.mark.parametrize("length", [4, 6])
    async def test_body_of_another_length(self, length: int) -> None:
        """A body that isn't as long as it says ends its call, and no byte too many is sent."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            reply = await call(wire, "POST", "/", of(b"he", b"llo", length=length))
            assert pool_of(wire)._free_slots == 1

        assert reply == Failure(Fault.LOST, "the body is not as long as it was said to be")


class TestEnds:
    async def test_early_answer_stops_the_body(self) -> None:
        """An answer that comes before the body has gone out is the answer; the source is closed."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(answer(b"no", status="413 Payload Too Large"))
            await peer.gone()

        body = stuck(b"a")
        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", body)

        assert isinstance(reply, Response)
        assert reply.status == 413
        assert body.closed

    @pytest.mark.parametrize("secure", [False, True])
    async def test_early_answer_before_a_reset(self, secure: bool) -> None:  # noqa: FBT001
        """An answer that came before a reset is the answer, though a write meets the reset first."""
        has_reset = threading.Event()

        def serve() -> None:
            link, _ = listener.accept()
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a reset drops what waits
            with tls().server.wrap_socket(link, server_side=True) if secure else link as peer:
                peer.recv(65536)
                peer.sendall(answer(b"no", status="413 Payload Too Large"))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            has_reset.set()

        async def source() -> AsyncIterator[bytes]:
            yield b"a"
            has_reset.wait(PATIENCE)  # the loop stands still meanwhile
            yield b"b"

        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = threading.Thread(target=serve)
            serving.start()
            url = f"http{'s' * secure}://127.0.0.1:{listener.getsockname()[1]}"
            async with wired(url) as wire:
                reply = await call(wire, "POST", "/", Source(source))
            serving.join()

        assert isinstance(reply, Response)
        assert (reply.status, reply.body) == (413, b"no")

    def test_nothing_is_read_behind_an_early_answer(self) -> None:
        """After the answer the connection is closed, and a peer that sends on is not listened to."""
        near, far = socket.socketpair()
        near.setblocking(False)  # noqa: FBT003 - as the event loop does
        with near, far:
            far.sendall(b"answer" * 9)
            connection: Any = SimpleNamespace(state=ConnectionState.WAITING)
            transport: Any = SimpleNamespace(get_extra_info=lambda _: near)
            reader: Any = SimpleNamespace(
                get_buffer=lambda _: bytearray(6),
                buffer_updated=lambda _: setattr(connection, "state", ConnectionState.CLOSED),
            )
            read_rest(connection, reader, transport)
            assert near.recv(99) == b"answer" * 8

    async def test_early_answer_in_a_task_that_was_cancelled(self) -> None:
        """A call that a task makes once it has been cancelled, to tidy up, gets its answer as well."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(answer(b"no", status="413 Payload Too Large"))
            await peer.gone()

        async def tidy() -> Response | Failure:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return await call(wire, "POST", "/", stuck(b"a"))
            raise AssertionError

        async with serving(script) as server, wired(server.url) as wire:
            task = asyncio.create_task(tidy())
            await asyncio.sleep(0)
            task.cancel()
            reply = await task

        assert isinstance(reply, Response)

    async def test_cancelled_in_the_moment_of_an_early_answer(self) -> None:
        """A call that is cancelled is cancelled, though its answer came first."""
        body = stuck(b"a")
        async with serving(silent) as server, wired(server.url) as wire:
            task = asyncio.create_task(call(wire, "POST", "/", body))
            await until(lambda: len(server.requests) == 1)
            [connection] = pool_of(wire)._connections
            hand(connection, answer())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert body.closed

    async def test_connection_that_breaks_stops_the_body(self) -> None:
        """A connection that breaks ends the call, though its source gives nothing more."""

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.reset()

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", stuck(b"a"))

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.LOST

    @pytest.mark.parametrize("error", [OSError("unreadable"), TimeoutError("too slow")])
    async def test_error_of_the_source_is_raised(self, error: Exception) -> None:
        """What goes wrong with the source is raised as it is, and the connection is closed."""

        async def source() -> AsyncIterator[bytes]:
            yield b"a"
            raise error

        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            with pytest.raises(type(error)) as caught:
                await call(wire, "POST", "/", Source(source))
            assert caught.value is error
            assert pool_of(wire)._free_slots == 1

    @virtual
    async def test_source_that_is_slow_is_not_the_servers_fault(self) -> None:
        """Only the time of the call as a whole bounds how long its source may take."""
        body = stuck(b"a")
        async with serving(in_chunks) as server, wired(server.url) as wire:
            timeouts = {"write": 0.01, "read": 0.01, "total": 0.05}
            started = asyncio.get_running_loop().time()
            reply = await call(wire, "POST", "/", body, **timeouts)
            assert asyncio.get_running_loop().time() - started == pytest.approx(0.05)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.TIMED_OUT

    @virtual
    @pytest.mark.parametrize(
        "body", [of(*[bytes(2**20)] * 32), bytes(2**25)], ids=["poured", "large"]
    )
    async def test_server_that_does_not_take_the_body(self, body: Source | bytes) -> None:
        """A server that stops taking the body is given *write* seconds to go on."""
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            await go_on.wait()

        async with serving(script, deaf=True) as server, wired(server.url) as wire:
            async with asyncio.timeout(PATIENCE):
                reply = await call(wire, "POST", "/", body, write=0.02, total=None)
            go_on.set()

        assert reply == Failure(
            Fault.TIMED_OUT, f"127.0.0.1:{server.port} did not take the request in time"
        )

    @pytest.mark.parametrize("body", [of(b"a", b"b"), bytes(2**25)], ids=["poured", "large"])
    async def test_time_to_answer_begins_when_the_body_is_out(self, body: Source | bytes) -> None:
        """Where only the time to answer is bounded, it begins with the end of the body."""

        async def script(peer: Peer) -> None:
            await peer.gone()

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", body, write=None, total=None, read=0.05)

        assert isinstance(reply, Failure)
        assert reply.reason.endswith("did not answer in time")

    async def test_cancelled_in_line(self) -> None:
        """A call that is cancelled before its turn is never sent, even in that same moment."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            first = asyncio.create_task(call(wire))
            second = asyncio.create_task(call(wire, "POST", "/second", of(b"a")))
            await until(lambda: len(server.requests) == 1)
            [connection] = pool_of(wire)._connections
            second.cancel()
            hand(connection, answer())
            assert isinstance(await first, Response)
            with pytest.raises(asyncio.CancelledError):
                await second
            assert list(pool_of(wire)._idle) == [connection]

    async def test_client_that_is_closed_while_the_source_is_opened(self) -> None:
        """A source, such as a file, may take its time to open. Nothing is sent after the close."""
        asked, may_open = asyncio.Event(), asyncio.Event()

        class Slow(Source):
            @asynccontextmanager
            async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
                asked.set()
                await may_open.wait()
                async with super().open() as pieces:
                    yield pieces

        body = Slow(of(b"a")._pieces)
        async with serving(always) as server, wired(server.url) as wire:
            waiting = asyncio.create_task(call(wire, "POST", "/", body))
            await asked.wait()
            await wire.aclose()
            may_open.set()
            reply = await waiting

        assert reply == Failure(Fault.UNSENT, "the client was closed before it was sent")
        assert body.closed
        assert not server.peers

    async def test_cancelled_while_the_body_goes_out(self) -> None:
        """A call that is cancelled within its body closes its connection and its source."""
        body = stuck(b"a")
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            task = asyncio.create_task(call(wire, "POST", "/", body))
            await until(lambda: len(server.peers) == 1 and bool(pool_of(wire)._connections))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert body.closed
            assert pool_of(wire)._free_slots == 1

    @pytest.mark.parametrize("length", [None, 9])
    @pytest.mark.parametrize("more", [True, False])
    async def test_call_that_ends_between_two_pieces(
        self, *, more: bool, length: int | None
    ) -> None:
        """A piece that comes when its call has just ended goes nowhere."""

        async def source() -> AsyncIterator[bytes]:
            yield b"a"
            [connection] = pool_of(wire)._connections
            connection.fail(Fault.LOST, "it has just ended")
            if more:
                yield b"b"

        async with serving(silent) as server, wired(server.url) as wire:
            reply = await call(wire, "POST", "/", Source(source, length=length))

        assert reply == Failure(Fault.LOST, "it has just ended")

    async def test_room_that_comes_twice(self) -> None:
        """A transport may say more than once that it has room."""
        async with serving(in_chunks) as server, wired(server.url) as wire:

            async def source() -> AsyncIterator[bytes]:
                yield b"a"
                [connection] = pool_of(wire)._connections
                connection.pause_writing()
                loop = asyncio.get_running_loop()
                loop.call_soon(connection.resume_writing)
                loop.call_soon(connection.resume_writing)
                yield b"b"

            reply = await call(wire, "POST", "/", Source(source))
            assert isinstance(reply, Response)


def test_call_shows_no_body() -> None:
    """The bytes of a request stand in no representation of its call, and leave a call that ends."""
    loop = asyncio.new_event_loop()
    made = Call("GET", b"secret", AMPLE, None, loop.create_future(), 0.0)  # type: ignore[arg-type]
    loop.close()
    assert "secret" not in repr(made)

    made.close()  # before any pool has it
    assert made.data == b""
