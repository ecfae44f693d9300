import asyncio
import contextlib
import errno
import io
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from support.limits import few_descriptors
from support.patience import PATIENCE

from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.emulator.server import UvicornServer, start_thread, without_offer
from sunshine_async.errors import ConfigurationError

AUTH = {"authorization": "Bearer anything"}
GET = b"GET /v2/apps/app/users/jane HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n\r\n"


@pytest.fixture
def base_url(emulator: Emulator) -> Iterator[str]:
    with emulator.serve() as url:
        yield url


@pytest.fixture
def app(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{base_url}/v2/apps/app", headers=AUTH, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
def peer(base_url: str) -> Iterator[socket.socket]:
    """Return a bare connection to the emulator."""
    host, _, port = base_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        yield connection


def answer_from(peer: socket.socket, end: bytes = b"]}") -> bytes:
    answer = b""
    while not answer.endswith(end):
        answer += peer.recv(9999)
    return answer


def test_answers_as_in_process(app: httpx.Client) -> None:
    """A call over a socket is answered as one in process."""
    user = app.post("users", json={"externalId": "a/b"}).json()["user"]

    assert app.get("users/a%2Fb").json() == {"user": user}
    assert app.get("users/a/b").status_code == 404


def test_connections_are_kept(base_url: str, peer: socket.socket) -> None:
    """One connection serves one call after another."""
    for _ in range(3):
        peer.sendall(GET)
        assert answer_from(peer).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("header", ["Upgrade: h2c", "upgrade: websocket"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_offer_of_another_protocol_is_declined(
    peer: socket.socket, header: str, pieces: int
) -> None:
    """A call that offers HTTP/2, as each call of Java's client, is answered with its body read."""
    body = b'{"profile": {"givenName": "\\r\\nUpgrade: x"}}'
    head = b"POST /v2/apps/app/users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\n"
    head += b"content-type: application/json\r\nconnection: Upgrade, HTTP2-Settings\r\n"
    call = b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (head, header.encode(), len(body), body)

    for _ in range(2):
        step = len(call) // pieces + 1
        for start in range(0, len(call), step):
            peer.sendall(call[start : start + step])
        answer = answer_from(peer, end=b"}}")
        assert answer.startswith(b"HTTP/1.1 201")
        assert rb'"givenName":"\r\nUpgrade: x"' in answer


@pytest.mark.parametrize("header", [b"Upgrade: h2c", b"x: y", b"x: \rup", b"up: grade"])
def test_an_offer_is_declined_however_the_head_is_cut(header: bytes) -> None:
    """The head and the body are the same in any two or three pieces, and nothing is held back."""
    body = b"\r\nUpgrade: x\r\n"
    call = b"POST / HTTP/1.1\r\nhost: x\r\n%b\r\nupgrade-x: y\r\n\r\n%b" % (header, body)
    expected = call.replace(b"Upgrade: h2c", b"x-declined: h2c", 1)

    for first in range(len(call)):
        for size in (1, 2, len(call)):
            cuts = [0, first, first + size, len(call)]
            seen = rest = b""
            for start, end in pairwise(cuts):
                data = rest + call[start:end]
                is_body = b"\r\n\r\n" in seen
                given, rest = (data, b"") if is_body else without_offer(data)
                seen += given
            assert (seen, rest) == (expected, b"")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_with(emulator: Emulator, backend: str) -> None:
    """It is served in an async block, on asyncio and trio."""

    async def scenario() -> None:
        async with (
            emulator.serve() as url,
            httpx.AsyncClient(headers=AUTH, timeout=PATIENCE) as client,
        ):
            answer = await client.post(f"{url}/v2/apps/app/users", json={})
            assert answer.status_code == 201

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize(
    "fault", [Mishap(reset=True), Mishap(reset=True, when="after"), httpx.ReadTimeout("x")]
)
def test_reset_is_a_reset(emulator: Emulator, peer: socket.socket, fault: Any) -> None:
    """A reset breaks the connection without a byte of an answer."""
    emulator.faults += [fault]
    peer.sendall(GET)

    with pytest.raises(ConnectionResetError) as caught:
        peer.recv(1)

    assert caught.value.errno == errno.ECONNRESET
    assert emulator.ledger()["requests"] == 1


@pytest.mark.parametrize(
    "fault", [Mishap(reset=True), Mishap(reset=True, when="after"), Mishap(cut=True)]
)
def test_a_broken_connection_ends_the_calls_sent_at_once(emulator: Emulator, fault: Mishap) -> None:
    """A call that was sent behind the broken call isn't run, and the emulator stops as usual."""
    emulator.faults += [fault]
    served = emulator.serve()
    url = httpx.URL(served.__enter__())
    with (
        socket.create_connection((url.host, url.port or 0)) as peer,
        contextlib.suppress(ConnectionResetError),
    ):
        peer.sendall(GET * 2)
        while peer.recv(1000):
            pass

    stopping = threading.Thread(target=served.__exit__, daemon=True)
    stopping.start()
    stopping.join(PATIENCE)

    assert not stopping.is_alive()
    assert emulator.ledger()["requests"] == 1


def test_cut_ends_in_the_middle(emulator: Emulator, peer: socket.socket) -> None:
    """A cut answer says how long it is, and is shorter."""
    emulator.faults += [Mishap(cut=True)]
    peer.sendall(GET)

    answer = b"".join(iter(lambda: peer.recv(9999), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    [length] = re.findall(rb"content-length: (\d+)", head)
    assert len(body) == int(length) // 2 > 0


def test_effect_of_a_lost_answer_stays(emulator: Emulator, app: httpx.Client) -> None:
    """What a reset or a cut came after has happened."""
    emulator.faults += [Mishap(reset=True, when="after"), Mishap(cut=True), Mishap(reset=True)]
    for number in range(3):
        with pytest.raises(httpx.TransportError):
            app.post("users", json={"externalId": f"jane-{number}"})

    assert emulator.ledger()["sunshine"]["users"] == 2
    assert app.get("users/jane-1").status_code == 200


def test_latency_holds_the_answer(emulator: Emulator, app: httpx.Client) -> None:
    """A delay on a socket ends by itself."""
    emulator.faults += [Mishap(delay=0.001)]

    assert app.get("users/jane").status_code == 404


def test_caller_that_leaves_in_the_middle_is_no_error(
    emulator: Emulator, peer: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    """A request that never comes to its end is not counted, nor complained about."""
    peer.sendall(GET.replace(b"GET", b"POST")[:-2] + b"content-length: 9\r\n\r\n{")
    peer.close()

    with emulator.serve() as url:
        assert httpx.get(f"{url}/_emulator/ledger", timeout=PATIENCE).json()["requests"] == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("delay", [0, 600])
def test_stops_at_once(emulator: Emulator, delay: float) -> None:
    """Open connections, even waiting for an answer, don't hold it up."""
    emulator.faults += [Mishap(delay=delay)] if delay else []
    with socket.socket() as peer, emulator.serve() as url:
        host, _, port = url.removeprefix("http://").partition(":")
        peer.connect((host, int(port)))
        peer.sendall(GET)
        wait_for(lambda: emulator.requests == 1)

    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)))


def test_stops_while_callers_come(emulator: Emulator) -> None:
    """Connections that are being accepted when it stops are closed too."""
    for _ in range(10):
        with contextlib.ExitStack() as peers, emulator.serve() as url:
            host, _, port = url.removeprefix("http://").partition(":")
            for _ in range(20):
                peers.enter_context(socket.create_connection((host, int(port))))


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the other thread go on until *condition* holds."""
    nudge = threading.Event()
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came"
        nudge.wait(0.001)


def test_serves_on_several_ports(emulator: Emulator) -> None:
    """One emulator can be served twice, with one state, and again afterwards."""
    with emulator.serve() as one, emulator.serve() as two:
        assert one != two
        httpx.post(
            f"{one}/v2/apps/app/users", json={"externalId": "j"}, headers=AUTH, timeout=PATIENCE
        )
    with emulator.serve() as three:
        answer = httpx.get(f"{three}/v2/apps/app/users/j", headers=AUTH, timeout=PATIENCE)

    assert answer.status_code == 200


def test_ipv6(emulator: Emulator) -> None:
    """An IPv6 host is in brackets in the URL."""
    with emulator.serve(host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert httpx.get(f"{url}/_emulator/ledger", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 70000, "can't listen on port 70000: .* 0 to 65535"),
        ("192.0.2.1", 0, "can't listen on 192.0.2.1 port 0: Cannot assign"),
        ("a..b", 0, "can't listen on a..b"),
    ],
)
def test_where_it_cannot_listen_is_said(host: str, port: int, text: str) -> None:
    """A port or host that can't be listened on is an error before anything starts."""
    with pytest.raises(ConfigurationError, match=text), Emulator().serve(port, host=host):
        pass


def test_taken_port_is_said(base_url: str) -> None:
    """A port that is taken is an error with the next step."""
    port = int(base_url.rpartition(":")[2])

    with (
        pytest.raises(ConfigurationError, match=r"in use\. Give another port: 0 is any"),
        Emulator().serve(port),
    ):
        pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_start_without_free_descriptors_ends() -> None:
    """With few descriptors the emulator listens, or is an error: the start waits for no dead thread."""
    emulator = Emulator()
    ends: list[str] = []
    for more in range(24):
        with few_descriptors(more):
            try:
                with emulator.serve():
                    ends.append("")
            except ConfigurationError as error:
                ends.append(str(error))

    assert ends[0].startswith("can't listen on 127.0.0.1 port 0: Too many open files")
    assert ends[1] == "the emulator can't start: [Errno 24] Too many open files"
    assert ends[-1] == ""


def test_a_later_error_of_a_thread_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error after the start is the thread's own, as usual."""
    ready, seen = Future[None](), list[threading.ExceptHookArgs]()
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def run() -> None:
        ready.set_result(None)
        raise LookupError

    start_thread("later", run, ready).join()

    assert [each.exc_type for each in seen] == [LookupError]


def test_too_many_connections_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Without a free descriptor a sentence says what to do; other errors of the loop are logged."""
    server = UvicornServer(uvicorn.Config(Emulator))
    loop = asyncio.new_event_loop()
    try:
        for number in (errno.EMFILE, errno.ENFILE, errno.EBADF):
            error = OSError(number, os.strerror(number))
            server.report(loop, {"message": "accept", "exception": error})
        server.report(loop, {"message": "no exception"})
    finally:
        loop.close()

    first, *others = [record.getMessage() for record in caplog.records]
    assert first.startswith("the emulator takes no more connections (Too many open files)")
    assert [other.partition("\n")[0] for other in others] == ["accept", "no exception"]


class Output(io.StringIO):
    """What a program has written so far, for another thread to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed = threading.Event()

    def flush(self) -> None:
        self.flushed.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_runs_until_a_signal(number: signal.Signals) -> None:
    """It says where it listens, answers, and returns on a signal, with handlers as they were."""
    emulator, output, seen = Emulator(), Output(), list[int]()
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def caller() -> None:
        assert output.flushed.wait(PATIENCE)
        url = output.getvalue().removeprefix("listening on ").rstrip()
        seen.append(httpx.get(f"{url}/_emulator/ledger", timeout=PATIENCE).status_code)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=caller)
    thread.start()
    with contextlib.redirect_stdout(output):
        emulator.run(port=0)
    thread.join()

    assert seen == [200]
    assert output.getvalue().startswith("listening on http://127.0.0.1:")
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
