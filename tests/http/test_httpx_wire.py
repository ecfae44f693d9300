"""Calls through httpx: on real sockets, through proxies, with answers that are not as they should be."""

import asyncio
import errno
import gc
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import anyio
import httpx
import pytest
import respx
from support.backends import on_both, virtual_on_both
from support.servers import Peer, always, answer, answering, serving, silent
from support.virtual import sleep, until, virtual_on_trio
from support.wires import body_of, call, sleep_of_the_machine, wired_by_httpx

from sunshine_async import (
    BasicAuth,
    ConnectError,
    ConnectionLostError,
    NotFoundError,
    ResponseDecodeError,
    Retry,
    SunshineClient,
)
from sunshine_async._http.fork import _renew_all
from sunshine_async._http.httpcore_backend import install_parser
from sunshine_async._http.httpx_parts import ParserStream, TransportStack
from sunshine_async._http.httpx_wire import HttpxWire, _HttpcoreTrace
from sunshine_async._http.messages import Failure, Response, SendProgress
from sunshine_async._http.proxy import proxy_from_environment
from sunshine_async._http.response_parts import StreamEndError
from sunshine_async.errors import Fault
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import ScriptedTransport

AUTH = BasicAuth("key-id", "secret")
JANE = b'{"user": {"id": "1"}}'


def client_of(*answers: httpx.Response | Exception) -> SunshineClient:
    """Return a client that tries once, and is given *answers*."""
    return SunshineClient(
        "app",
        auth=BasicAuth("key-id", "secret"),
        transport=ScriptedTransport(answers),
        retry=Retry(max_attempts=1),
    )


def port_of(listener: Any) -> int:
    """Return the port that *listener* has."""
    return int(listener.extra(anyio.abc.SocketAttribute.local_port))  # noqa: S610 - no Django


async def test_gzip_is_inflated() -> None:
    """An answer in gzip is read like any other."""
    headers = {"Content-Encoding": "gzip"}
    client = client_of(httpx.Response(200, headers=headers, stream=_Pieces(gzip.compress(JANE))))

    assert (await client.users.get("1")).id == "1"


async def test_an_answer_that_the_transport_has_read() -> None:
    """A transport of the user that reads the answer first, for a log, gives the same answer."""

    class Reading(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await inner.handle_async_request(request)
            assert await response.aread() == JANE
            return response

    packed = answer(gzip.compress(JANE), fields=b"Content-Encoding: gzip\r\n")
    async with (
        serving(answering(packed)) as server,
        httpx.AsyncHTTPTransport() as inner,
        SunshineClient("app", auth=AUTH, base_url=server.url, transport=Reading()) as client,
    ):
        assert (await client.users.get("1")).id == "1"


@pytest.mark.parametrize(
    ("encoding", "content", "says"),
    [
        ("gzip", gzip.compress(b"0" * (17 * 2**20)), "larger than 16777216 bytes"),
        ("identity", b"0" * (16 * 2**20 + 1), "larger than 16777216 bytes"),
        ("gzip", b"\x1f" + JANE, "isn't gzip"),
        ("gzip", gzip.compress(JANE)[:-4], "ends too early"),
        ("br", JANE, "not asked for"),
    ],
    ids=["bomb", "large", "no gzip", "cut", "brotli"],
)
async def test_a_result_that_cannot_be_read(encoding: str, content: bytes, says: str) -> None:
    """A body that is too large or not in its encoding ends the call in bounded memory."""
    headers = {"Content-Encoding": encoding}
    client = client_of(httpx.Response(200, headers=headers, stream=_Pieces(content)))

    with pytest.raises(ResponseDecodeError, match=says):
        await client.users.get("1")


@pytest.mark.parametrize("error", [httpx.ReadError("x"), httpx.ReadTimeout("x"), OSError()])
async def test_a_no_whose_body_breaks(error: Exception) -> None:
    """A refusal of a transport that isn't ours stays a refusal where its body breaks."""
    client = client_of(httpx.Response(404, stream=_Pieces(b"{", error)))

    with pytest.raises(NotFoundError) as caught:
        await client.users.get("1")

    assert caught.value.is_foreign


@virtual_on_both
async def test_a_no_whose_body_never_ends() -> None:
    """A refusal stays a refusal where the time for the call is over before its body."""

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"{"
            await anyio.sleep_forever()

    client = client_of(httpx.Response(404, stream=Endless()))

    with pytest.raises(NotFoundError):
        await client.with_options(retry=Retry(max_attempts=1, deadline=5)).users.get("1")


async def test_a_server_that_has_begun_to_answer_has_read_the_request() -> None:
    """An alert about the client's certificate says that no request was read, unless one was."""
    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    error = httpx.ReadError("x")
    error.__cause__ = alert

    class Alerts(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            for event in ("connection.connect_tcp", "http11.send_request_headers"):
                await request.extensions["trace"](f"{event}.started", {})
            if request.method == "GET":
                raise error
            return httpx.Response(201, stream=_Pieces(b"{", error))

    client = SunshineClient("app", auth=AUTH, transport=Alerts(), retry=Retry(max_attempts=1))

    with pytest.raises(ConnectionLostError) as caught:
        await client.users.create(UserCreateBody())
    assert caught.value.maybe_applied
    with pytest.raises(ConnectError):
        await client.users.get("1")


async def test_an_endless_chain_of_causes_ends() -> None:
    """An error that a transport raises from itself is a failure like any other."""
    error = httpx.ConnectError("x")
    error.__cause__ = error

    with pytest.raises(ConnectError):
        await client_of(error).users.get("1")


@pytest.mark.parametrize(
    "error", [httpx.DecodingError("x"), httpx.StreamClosed(), httpx.InvalidURL("x"), OSError("x")]
)
async def test_no_error_of_the_network_comes_out(error: Exception) -> None:
    """An error of httpx that no one expects is a lost answer, and nothing keeps it."""
    with pytest.raises(ConnectionLostError) as caught:
        await client_of(error).users.create(UserCreateBody())

    assert caught.value.maybe_applied
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


class _Pieces(httpx.AsyncByteStream):
    """A body that comes in pieces, as httpcore gives them."""

    def __init__(self, content: bytes, error: Exception | None = None) -> None:
        self.content = content
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), 65536):
            yield self.content[start : start + 65536]
        if self.error is not None:
            raise self.error


async def test_mock_that_is_left(respx_mock: respx.MockRouter) -> None:
    """Of a request that a mock has taken nobody knows how far it is: it may have left."""
    taken = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        taken.set()
        await asyncio.Event().wait()
        raise AssertionError

    respx_mock.post("http://localhost/v2/apps/app/users").mock(side_effect=hang)
    async with SunshineClient("app", auth=AUTH, base_url="http://localhost") as client:
        task = asyncio.create_task(client.users.create(UserCreateBody()))
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task

    assert "had left" in caught.value.__notes__[0]


async def test_complaint_of_a_mock_comes_out() -> None:
    """An error that no network raises is a mock's own, and its text is kept."""

    def complain(_: httpx.Request) -> httpx.Response:
        message = "no such route"
        raise AssertionError(message)

    wire = HttpxWire(
        "http://localhost", lambda: httpx.MockTransport(complain), max_response_bytes=9
    )
    with pytest.raises(AssertionError, match="no such route"):
        await call(wire)


class _Mute(ParserStream):
    """A stream whose parser has seen no end."""

    response = None


async def test_an_end_that_only_httpcore_has_seen() -> None:
    """An answer that is whole for httpcore, and not for our own parser, is a lost one."""
    client = client_of(httpx.Response(200, content=JANE, extensions={"network_stream": _Mute()}))

    with pytest.raises(ConnectionLostError, match="its end is in doubt"):
        await client.users.get("1")


@on_both
async def test_a_refused_connection_says_where() -> None:
    """When nothing listens, the error names the host, and nothing was sent."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = port_of(listener)
    client = SunshineClient(
        "app",
        auth=BasicAuth("key-id", "secret"),
        base_url=f"http://127.0.0.1:{port}",
        retry=Retry(max_attempts=1),
    )
    async with client:
        with pytest.raises(ConnectError, match=f"connecting to 127.0.0.1:{port} failed") as caught:
            await client.users.get("1")
    assert not caught.value.maybe_applied


@on_both
async def test_a_connection_that_breaks_after_the_request_is_a_lost_answer() -> None:
    """Over a real socket, a request that was read and not answered is in doubt."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = port_of(listener)
        heard: list[bytes] = []

        async def hang_up(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                heard.append(await stream.receive())

        client = SunshineClient(
            "app",
            auth=BasicAuth("key-id", "secret"),
            base_url=f"http://127.0.0.1:{port}",
            retry=Retry(max_attempts=1),
        )
        async with anyio.create_task_group() as tasks, client:
            tasks.start_soon(listener.serve, hang_up)
            with pytest.raises(ConnectionLostError, match="may have acted") as caught:
                await client.users.delete("1")
            tasks.cancel_scope.cancel()
        assert caught.value.maybe_applied
        assert heard[0].startswith(b"DELETE /v2/apps/app/users/1 HTTP/1.1\r\n")


async def test_connections_of_a_parent_are_not_used() -> None:
    """After a fork, the connections that the parent has are neither used nor closed."""
    async with serving(always) as server, wired_by_httpx(server.url) as wire:
        assert isinstance(wire, HttpxWire)
        assert await body_of(wire) == b"0"
        _renew_all()
        assert await body_of(wire) == b"1"
        [inherited] = wire._inherited
        assert isinstance(inherited, TransportStack)
        await inherited.aclose()


async def test_connections_of_another_loop_stay_open() -> None:
    """A wire that is closed in one event loop leaves the connections of other loops open."""
    async with serving(always) as server, wired_by_httpx(server.url) as wire:
        assert isinstance(wire, HttpxWire)
        assert await body_of(wire) == b"0"
        await anyio.to_thread.run_sync(lambda: asyncio.run(wire.aclose()))
        assert await body_of(wire) == b"0"  # the number of the connection


class OfALoop(httpx.MockTransport):
    """A transport that keeps its event loop, as a connection does."""

    def __init__(self) -> None:
        super().__init__(lambda _: httpx.Response(200))
        self.loop = anyio.lowlevel.current_token().native_token
        self.closed = False

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed = True


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_connections_are_closed_with_their_loop(backend: str) -> None:
    """A client that is used in one loop after another and never closed keeps nothing of a loop."""
    made: list[OfALoop] = []

    def make() -> OfALoop:
        made.append(OfALoop())
        return made[-1]

    async def use() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(call, wire)

    wire = HttpxWire("http://localhost", make, max_response_bytes=9, keepalive_expiry=15.0)
    for _ in range(3):
        anyio.run(use, backend=backend)
    assert len(made) >= 3
    assert all(one.closed for one in made)

    made.clear()
    gc.collect()
    assert len(wire._stacks) <= 1


def test_a_loop_that_ends_without_being_shut_down_is_forgotten() -> None:
    """The transports of a loop that was only closed go when the next loop has its own."""
    wire = HttpxWire("http://localhost", OfALoop, max_response_bytes=9, keepalive_expiry=15.0)
    closed, paused = asyncio.new_event_loop(), asyncio.new_event_loop()
    for loop in (closed, paused):
        loop.run_until_complete(call(wire))
    closed.close()
    assert {*wire._stacks} == {closed, paused}

    asyncio.run(call(wire))
    assert closed not in wire._stacks
    assert paused in wire._stacks
    paused.run_until_complete(wire.aclose())
    paused.close()


@on_both
async def test_a_connection_at_the_end_of_its_time_sends_nothing() -> None:
    """A request whose connect timeout has just expired isn't started on the new connection."""
    trace = _HttpcoreTrace(SendProgress(), connect_timeout=0.0)
    with trace.connect_scope:
        await trace("connection.connect_tcp.started", {})
        trace.connect_scope.cancel()
        await trace("http11.send_request_headers.started", {})
    assert trace.connect_scope.cancelled_caught
    assert not trace.progress.started


@on_both
async def test_a_cancelled_call_sends_nothing() -> None:
    """A request whose caller was cancelled as the connection was made isn't started."""
    trace = _HttpcoreTrace(SendProgress(), connect_timeout=None)
    with anyio.CancelScope() as callers, trace.connect_scope:
        await trace("connection.connect_tcp.started", {})
        callers.cancel()
        await trace("http11.send_request_headers.started", {})
    assert callers.cancelled_caught
    assert not trace.progress.started


class Forbidden(SendProgress):
    """Progress of a request that may not start."""

    @property
    def may_start(self) -> bool:
        return False


@virtual_on_both
async def test_a_request_that_may_not_start() -> None:
    """A request that may not start any more waits for the cancellation."""
    trace = _HttpcoreTrace(Forbidden(), connect_timeout=None)
    with anyio.move_on_after(5.0) as scope:
        await trace("connection.connect_tcp.started", {})
        await trace("http11.send_request_headers.started", {})
    assert scope.cancelled_caught
    assert not trace.progress.started


async def test_no_connection_comes_free() -> None:
    """A call for which no connection comes free in time was not sent."""
    async with (
        serving(silent) as server,
        wired_by_httpx(server.url) as wire,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(call(wire))
        await until(lambda: bool(server.requests))
        reply = await call(wire, pool=0.01)
        first.cancel()

    assert reply == Failure(
        Fault.UNSENT,
        f"no connection to 127.0.0.1:{server.port} came free in time: see max_connections=",
    )


class TestProxies:
    """Which proxy the environment names."""

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)

    @pytest.mark.parametrize(
        ("variable", "value", "proxy"),
        [
            ("HTTPS_PROXY", "http://proxy.example:3128", "http://proxy.example:3128"),
            ("https_proxy", "proxy.example:3128", "http://proxy.example:3128"),
            ("ALL_PROXY", "http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTP_PROXY", "http://proxy.example:3128", None),
        ],
    )
    def test_the_environment_names_a_proxy(
        self, variable: str, value: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The proxy of the URL's scheme is used, or the one for all; never for this machine."""
        monkeypatch.setenv(variable, value)

        assert proxy_from_environment("https://api.smooch.io") == proxy
        assert proxy_from_environment("https://localhost:1") is None
        assert proxy_from_environment("https://127.0.0.1") is None

    def test_no_proxy_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hosts in ``NO_PROXY`` are called without one."""
        monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
        monkeypatch.setenv("NO_PROXY", "smooch.io")

        assert proxy_from_environment("https://api.smooch.io") is None
        assert proxy_from_environment("https://acme.zendesk.com/sc") is not None


class OneByOne(httpx.AsyncBaseTransport):
    """A transport that answers one call at a time, when it is told to."""

    def __init__(self) -> None:
        self.busy = self.closed = False
        self.calls = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.busy
        assert not self.closed
        self.busy, self.calls = True, self.calls + 1
        try:
            await sleep(1)
            if request.url.path == "/fails":
                message = "broken"
                raise httpx.ReadError(message)
        finally:
            self.busy = False
        return httpx.Response(200)

    async def aclose(self) -> None:
        self.closed = True


def kept_by(wire: HttpxWire) -> int:
    """Return the number of transports that *wire* keeps in memory."""
    [stack] = wire._stacks.values()
    return len(stack._all)


class TestTransportsOfOurOwn:
    """Many calls at once by transports with one connection each."""

    @virtual_on_trio
    async def test_one_transport_for_each_call_at_a_time(self) -> None:
        """Calls at once have a transport each; the last used is used again, the idle are closed."""
        made: list[OneByOne] = []

        def make() -> OneByOne:
            made.append(OneByOne())
            return made[-1]

        wire = HttpxWire("http://localhost", make, max_response_bytes=9, keepalive_expiry=15.0)
        for many in (3, 3, 1, 1):
            async with anyio.create_task_group() as tasks:
                for _ in range(many):
                    tasks.start_soon(call, wire)
        made.sort(key=lambda one: one.calls)
        assert [one.calls for one in made] == [2, 2, 4]
        await sleep(14)
        await call(wire)
        assert [one.closed for one in made] == [True, True, False]
        assert kept_by(wire) == 1
        await wire.aclose()
        assert all(one.closed for one in made)

    @virtual_on_trio
    async def test_transport_after_a_failure(self) -> None:
        """After a failure or a cancellation a transport is closed, and not used again."""
        made: list[OneByOne] = []

        def make() -> OneByOne:
            made.append(OneByOne())
            return made[-1]

        wire = HttpxWire("http://localhost", make, max_response_bytes=9, keepalive_expiry=15.0)
        assert isinstance(await call(wire, target="/fails"), Failure)
        with anyio.move_on_after(0.5):
            await call(wire)
        assert isinstance(await call(wire), Response)
        assert [one.closed for one in made] == [True, True, False]
        assert kept_by(wire) == 1

    @virtual_on_trio
    async def test_transport_of_the_user(self) -> None:
        """A given transport is used for all calls, and closed once, with the wire."""
        given = httpx.MockTransport(lambda _: httpx.Response(200))

        wire = HttpxWire("http://localhost", lambda: given, max_response_bytes=9)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call, wire)
        await sleep(1000)
        assert isinstance(await call(wire), Response)
        await wire.aclose()


async def test_a_broken_connection_is_named_in_the_systems_words() -> None:
    """The reason is the system's, not the name of a class of httpx."""
    error = httpx.ReadError("x")
    error.__cause__ = ConnectionResetError(errno.ECONNRESET, "x")

    with pytest.raises(ConnectionLostError, match=r"\(connection reset by peer\)"):
        await client_of(error).users.get("1")


async def test_the_words_of_a_socks_proxy_are_no_answer() -> None:
    """The handshake with a SOCKS proxy is handed on as it is, and the answers after it are read."""

    async def script(peer: Peer) -> None:
        for said in (b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", answer(b"whole")):
            await peer.reader.read(999)
            await peer.send(said)

    async with serving(script) as server, httpx.AsyncHTTPTransport() as transport:
        pool: Any = install_parser(transport, limit=999)._pool
        stream = await pool._network_backend.connect_tcp("127.0.0.1", httpx.URL(server.url).port)
        for said, answered in [
            (b"\x05\x01\x00", b"\x05\x00"),
            (b"\x05\x01\x00\x03 GET / HTTP\x00\x50", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"),
        ]:
            await stream.write(said)
            assert await stream.read(999) == answered
            assert stream.response is None
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        await stream.read(999)
        assert stream.response.body == b"whole"
        await stream.aclose()


async def test_a_socks_proxy_that_goes_is_named() -> None:
    """The end of the stream within the handshake is an error with a reason, not an empty answer."""

    async def script(peer: Peer) -> None:
        await peer.reader.read(999)

    async with serving(script) as server, httpx.AsyncHTTPTransport() as transport:
        pool: Any = install_parser(transport, limit=999)._pool
        stream = await pool._network_backend.connect_tcp("127.0.0.1", httpx.URL(server.url).port)
        await stream.write(b"\x05\x01\x00")
        with pytest.raises(StreamEndError, match="before it answered"):
            await stream.read(999)
        await stream.aclose()


async def test_no_socket_is_left_by_a_socks_proxy_that_refuses() -> None:
    """The trace closes the socket of a refused handshake, which httpcore leaves open."""
    closed: list[bool] = []

    class Stream:
        async def aclose(self) -> None:
            closed.append(True)

    trace = _HttpcoreTrace(SendProgress(), None)
    await trace("socks.setup_socks5_connection.started", {"stream": Stream()})
    assert not closed
    await trace("socks.setup_socks5_connection.failed", {"exception": httpx.ProxyError("no")})
    assert closed


@on_both
async def test_no_transport_outlives_a_sleep_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a sleep, in which the loop's clock stood still, all idle transports are closed."""
    made: list[OneByOne] = []

    def make() -> OneByOne:
        made.append(OneByOne())
        return made[-1]

    stack = TransportStack(make, 15.0)
    for transport in [await stack.take(), await stack.take()]:
        stack.give_back(transport)
    sleep_of_the_machine(monkeypatch, seconds=60)
    newest = await stack.take()
    assert [one.closed for one in made] == [True, True, False]
    stack.give_back(newest)
    assert await stack.take() is newest


@pytest.mark.parametrize("expiry", [15.0, inf])
async def test_a_connection_that_ends_at_the_last_moment_is_replaced(expiry: float) -> None:
    """The end of a kept connection, seen before the request leaves, costs no call."""

    class LastMoment(SendProgress):
        """Progress of a request before which the server closes the connection."""

        @property
        def may_start(self) -> bool:
            if len(server.peers) == 1:
                server.peers[0].writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            return True

    def make() -> httpx.AsyncBaseTransport:
        return install_parser(httpx.AsyncHTTPTransport(), limit=999)

    async with serving(always) as server:
        wire = HttpxWire(server.url, make, max_response_bytes=999, keepalive_expiry=expiry)
        await body_of(wire)
        reply = await call(wire, "POST", body=b"{}", progress=LastMoment())
        await wire.aclose()

    assert isinstance(reply, Response)
    assert [len(peer.requests) for peer in server.peers] == [1, 1]
