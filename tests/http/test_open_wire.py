"""Both ways out, our own sockets and httpx: which is taken when, and that they end in the same."""

import asyncio
import gc
import gzip
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from support.patience import PATIENCE
from support.virtual import until

from sunshine_async import (
    ApiError,
    BasicAuth,
    ConnectError,
    ConnectionLostError,
    Fault,
    NotFoundError,
    Pace,
    RequestTimeoutError,
    ResponseDecodeError,
    Retry,
    SunshineClient,
    SunshineError,
)
from sunshine_async._http.httpx_wire import HttpxWire, is_mocked
from sunshine_async._http.open_wire import WireSelector, in_asyncio_task
from sunshine_async._http.pool import SocketWire
from sunshine_async.bulk import Done
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.sunshine import UserCreateBody, UserUpdateBody
from sunshine_async.testing import no_waiting

pytestmark = pytest.mark.costly

MOCKS = ("respx", "pytest_httpx", "vcr")
AUTH = BasicAuth("key-id", "secret")
CREATES = 400
JANE = b'{"user": {"id": "1"}}'


@pytest.fixture
def no_mocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one in which nobody has loaded a mock of httpx."""
    for name in MOCKS:
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture(params=["own", "httpx"])
def way(request: pytest.FixtureRequest) -> str:
    """Have calls go one way out, and then the other."""
    if request.param == "own":
        request.getfixturevalue("no_mocks")
    return str(request.param)


def client_of(base_url: str, **options: Any) -> SunshineClient:
    """Return a client that tries once, unless *options* say otherwise."""
    options = {"auth": AUTH, "retry": Retry(max_attempts=1), **options}
    return SunshineClient("app", base_url=base_url, **options)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Give the URL of a server that reads a request and says the next answer, then hangs up."""
    heard: list[bytes] = []
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(next(left))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


def whole(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """Return an answer as it stands on the wire."""
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


class TestChoosing:
    """Which way a call goes."""

    @pytest.mark.usefixtures("no_mocks")
    async def test_our_own_where_nothing_is_against_it(self) -> None:
        """On asyncio, without proxy, transport or mocks, calls go by our own sockets."""
        async with answering(whole(JANE)) as (url, heard):
            client = client_of(url)
            async with client:
                await client.users.get("1")

            wire = client._transport.wire
            assert isinstance(wire, WireSelector)
            assert isinstance(wire.socket_wire, SocketWire)
            assert b"accept: */*" not in heard[0].lower()

    @pytest.mark.parametrize("name", MOCKS)
    @pytest.mark.usefixtures("no_mocks")
    def test_httpx_where_a_mock_is_loaded(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """As soon as one of the mocking libraries is loaded, calls go by httpx."""
        assert not is_mocked()
        monkeypatch.setitem(sys.modules, name, sys)
        assert is_mocked()

    @pytest.mark.usefixtures("no_mocks")
    def test_httpx_on_trio(self) -> None:
        """On trio calls go by httpx, and no loop of asyncio is looked for."""

        async def scenario() -> None:
            assert not in_asyncio_task()
            async with Emulator().serve() as url, client_of(url) as client:
                await client.users.create(UserCreateBody())
                wire = client._transport.wire
                assert isinstance(wire, WireSelector)
                assert "socket_wire" not in vars(wire)

        anyio.run(scenario, backend="trio")

    def test_no_asyncio_no_task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where asyncio was never imported, nothing runs in a task of it."""
        monkeypatch.delitem(sys.modules, "asyncio")

        assert not in_asyncio_task()

    @pytest.mark.parametrize(
        ("proxy", "base_url", "own"),
        [
            (None, "https://api.smooch.io", True),
            ("http://proxy.example:3128", "https://api.smooch.io", True),
            ("HTTP://proxy.example:3128", "HTTPS://api.smooch.io", True),
            ("https://proxy.example:3128", "https://api.smooch.io", False),
            ("http://proxy.example:3128", "http://127.0.0.1:1", False),
        ],
    )
    def test_wire_through_a_proxy(
        self, proxy: str | None, base_url: str, *, own: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A tunnel is our own on asyncio; a proxy with TLS, or that forwards, is left to httpx."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        client = SunshineClient("app", auth=AUTH, base_url=base_url, proxy=proxy)

        assert isinstance(client._transport.wire, WireSelector if own else HttpxWire)


class TestTheSame:
    """What both ways end in."""

    async def test_a_call_and_a_no(self, way: str, emulator: Emulator, emulator_url: str) -> None:
        """A create, a read and a 404 are what they should be, ids as they were."""
        awkward = "jane+1@example.org/a?b#c%2Fd é '~"
        async with client_of(emulator_url) as client:
            made = await client.users.create(UserCreateBody(external_id=awkward))
            found = await client.users.get(awkward)
            with pytest.raises(NotFoundError) as caught:
                await client.users.get("nobody")

        assert made.external_id == found.external_id == awkward, way
        assert caught.value.code == "user_not_found"
        assert emulator.requests == 3

    @pytest.mark.parametrize(
        ("mishap", "error", "maybe_applied"),
        [
            (Mishap(reset=True), ConnectionLostError, True),
            (Mishap(reset=True, when="after"), ConnectionLostError, True),
            (Mishap(cut=True), ConnectionLostError, True),
            (Mishap(garbled=True), ResponseDecodeError, True),
            (Mishap(status=503), ApiError, True),
            (Mishap(status=429), ApiError, False),
            (Mishap(status=400), ApiError, False),
            (Mishap(delay=30), RequestTimeoutError, True),
        ],
        ids=str,
    )
    async def test_what_goes_wrong(
        self,
        way: str,
        mishap: Mishap,
        error: type[SunshineError],
        emulator: Emulator,
        emulator_url: str,
        *,
        maybe_applied: bool,
    ) -> None:
        """What breaks, is cut, garbled, refused or late ends in the same error, and is forgotten."""
        emulator.faults += [mishap]
        timeout = httpx.Timeout(PATIENCE, read=0.2 if mishap.delay else PATIENCE)
        async with client_of(emulator_url, timeout=timeout) as client:
            with pytest.raises(error) as caught:
                await client.users.create(UserCreateBody())
            assert caught.value.maybe_applied is maybe_applied, way
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            assert (await client.with_options(timeout=PATIENCE).users.create(UserCreateBody())).id

    @pytest.mark.parametrize(
        "path", ["", "/", "//", "/sc", "/sc/", "/A;b/%7Ex", "/a:b@c", "/...", "/.a"]
    )
    async def test_a_base_url_with_a_path(self, way: str, path: str) -> None:
        """The path of the base URL stands before that of the call, as it is."""
        async with answering(whole(JANE)) as (url, heard), client_of(url + path) as client:
            await client.users.get("1")

        line = f"GET {path.rstrip('/')}/v2/apps/app/users/1 HTTP/1.1\r\n"
        assert heard[0].startswith(line.encode()), way
        assert f"\r\nHost: {url.removeprefix('http://')}\r\n".encode() in heard[0]

    async def test_nobody_listens(self, way: str) -> None:
        """A refused connection is a `ConnectError` that names the host, and nothing was sent."""
        async with answering() as (url, _):
            pass
        async with client_of(url) as client:
            with pytest.raises(ConnectError, match=r"connecting to 127\.0\.0\.1:") as caught:
                await client.users.create(UserCreateBody())

        assert not caught.value.maybe_applied, way

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
            b"HTTP/1.1 OK\r\n\r\n",
            b"no HTTP at all\r\n\r\n",
        ],
        ids=lambda answer: answer[:60].decode() or "nothing",
    )
    async def test_no_answer_that_can_be_read(self, way: str, answer: bytes) -> None:
        """What isn't a whole answer is a lost one, and the text has nothing of the request."""
        async with answering(answer) as (url, _), client_of(url) as client:
            with pytest.raises(ConnectionLostError) as caught:
                await client.users.update("jane-1", UserUpdateBody())

        assert caught.value.fault is Fault.LOST, way
        assert caught.value.maybe_applied
        assert "jane" not in str(caught.value)

    @pytest.mark.parametrize(
        "answer",
        [
            whole(JANE, "200 OK", "Content-Encoding: br"),
            whole(gzip.compress(JANE)[:-9], "200 OK", "Content-Encoding: gzip"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        ],
        ids=["not asked for", "cut", "too large"],
    )
    async def test_a_result_that_cannot_be_read(self, way: str, answer: bytes) -> None:
        """A success whose content can't be read is an unreadable answer: the call may have acted."""
        async with answering(answer) as (url, heard), client_of(url, retry=Retry()) as client:
            with pytest.raises(ResponseDecodeError, match=r"larger|asked for|too early") as caught:
                await client.users.update("jane-1", UserUpdateBody())

        assert caught.value.maybe_applied, way
        assert len(heard) == 1

    @pytest.mark.parametrize(
        "rest",
        [
            b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\n\x8b\x02\x80a",
            b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08a",
            b"Content-Length: 99999999\r\n\r\n",
            b"Content-Length: 100\r\n\r\n{",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
        ids=["not asked for", "damaged", "too large", "cut", "framing"],
    )
    async def test_a_clear_no(self, way: str, rest: bytes) -> None:
        """A refusal stays a refusal, with its status, whatever becomes of its body."""
        answer = b"HTTP/1.1 400 Bad Request\r\nX-Request-Id: r1\r\n" + rest
        async with answering(answer) as (url, heard), client_of(url, retry=Retry()) as client:
            with pytest.raises(ApiError) as caught:
                await client.users.create(UserCreateBody())

        assert (caught.value.status, caught.value.request_id) == (400, "r1"), way
        assert not caught.value.maybe_applied
        assert len(heard) == 1

    async def test_a_no_whose_body_does_not_come(self, way: str) -> None:
        """A refusal whose body is late stays a refusal, too."""
        go_on = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{")
            await go_on.wait()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        timeout = httpx.Timeout(PATIENCE, read=0.2)
        async with server, client_of(url, timeout=timeout) as client:
            with pytest.raises(ApiError) as caught:
                await client.users.create(UserCreateBody())
            go_on.set()

        assert caught.value.status == 400, way
        assert not caught.value.maybe_applied

    async def test_a_redirect_is_not_followed(self, way: str) -> None:
        """The server that a redirect points to hears nothing."""
        async with answering(whole(JANE)) as (elsewhere, heard):
            moved = whole(b"", "307 Temporary Redirect", f"Location: {elsewhere}/")
            async with answering(moved) as (url, _), client_of(url) as client:
                with pytest.raises(ApiError, match="307 redirect") as caught:
                    await client.users.get("1")

        assert caught.value.status == 307, way
        assert not heard

    async def test_many_creates_through_chaos(self, way: str) -> None:
        """Hundreds of keyed creates, 64 at once, on a socket that breaks: all done, each once."""
        odds = {
            Mishap(reset=True): 0.02,
            Mishap(reset=True, when="after"): 0.02,
            Mishap(cut=True): 0.02,
            Mishap(status=503, when="after"): 0.02,
            Mishap(status=429, retry_after=1): 0.02,
        }
        emulator = Emulator(odds=odds, seed=3)
        bodies = (UserCreateBody(external_id=f"id-{number}") for number in range(CREATES))
        pace = Pace(max_in_flight=64)
        with no_waiting():
            async with (
                emulator.serve() as url,
                client_of(url, retry=Retry(max_attempts=10), pace=pace) as client,
                client.users.create_many(bodies) as outcomes,
            ):
                kinds = [type(outcome) async for outcome in outcomes]

        assert kinds == [Done] * CREATES, way
        assert emulator.ledger()["sunshine"]["users"] == CREATES
        assert emulator.ledger()["sunshine"]["effects"]["create"] == CREATES
        assert (pace._in_flight, pace._queue.count) == (0, 0)

    async def test_callers_who_go_away(self, way: str) -> None:
        """Calls cancelled at any moment leave no descriptor, task or place behind."""
        emulator = Emulator(latency=0.002)
        async with emulator.serve() as url:
            client = client_of(url, max_connections=64)
            async with client:
                await client.users.create(UserCreateBody(external_id="jane-1"))
                tasks_before = len(asyncio.all_tasks())
                for delay in range(40):
                    with anyio.move_on_after(delay / 10_000):
                        async with anyio.create_task_group() as tasks:
                            for _ in range(4):
                                tasks.start_soon(client.users.get, "jane-1")
                assert (await client.users.get("jane-1")).id
                await until(lambda: len(asyncio.all_tasks()) <= tasks_before + 8)
        gc.collect()
        assert client.pace._in_flight == 0


def test_a_client_in_one_loop_after_another(way: str) -> None:
    """Sockets belong to a loop: the next loop has its own, and the client closes what is there."""
    emulator = Emulator()
    with emulator.serve() as url:
        client = client_of(url)

        async def use(*, close: bool) -> str:
            user = await client.users.create(UserCreateBody())
            if close:
                await client.aclose()
            return user.id

        ids = {asyncio.run(use(close=True)) for _ in range(3)}
        if way == "own":  # httpx leaves a warning for what nobody closes
            ids.add(asyncio.run(use(close=False)))
            gc.collect()
        ids.add(asyncio.run(use(close=True)))

    assert len(ids) == (5 if way == "own" else 4)
    assert emulator.ledger()["sunshine"]["users"] == len(ids)
