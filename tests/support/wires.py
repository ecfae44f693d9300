"""Wires to the servers of a test, and calls by them."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from attrs import evolve
from support import certificates
from support.virtual import until

from sunshine_async._http import fork
from sunshine_async._http.connection import Connection
from sunshine_async._http.httpcore_backend import install_parser
from sunshine_async._http.httpx_wire import HttpxWire
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    StreamedBody,
    Timeout,
    Wire,
    reply_to,
)
from sunshine_async._http.pool import Pool, SocketWire

AMPLE: Final = Timeout(total=20, connect=20, pool=20, write=20, read=20)
ENDLESS: Final = Timeout(total=None, connect=None, pool=None, write=None, read=None)


@asynccontextmanager
async def wired(
    url: str,
    *,
    max_connections: int = 10,
    keepalive_expiry: float = 15.0,
    max_response_bytes: int = 2**20,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[SocketWire]:
    """Yield a wire to *url*, by *tls* or a context that trusts the servers of tests.

    When the wire is closed, nothing of it is left.
    """
    before = sockets(), asyncio.all_tasks()
    wire = SocketWire(
        url,
        max_connections=max_connections,
        keepalive_expiry=keepalive_expiry,
        max_response_bytes=max_response_bytes,
        make_context=lambda: tls or certificates.tls().client,
    )
    try:
        yield wire
    finally:
        await wire.aclose()
    await until(lambda: sockets() <= before[0] and asyncio.all_tasks() <= before[1])


@asynccontextmanager
async def wired_by_httpx(
    url: str, *, max_response_bytes: int = 2**20, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Wire]:
    """Yield a wire to *url* by httpx's own transport, as proxies and trio have it."""

    def make() -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(max_connections=1)
        made = httpx.AsyncHTTPTransport(verify=tls or ssl.create_default_context(), limits=limits)
        return install_parser(made, limit=max_response_bytes)

    wire = HttpxWire(url, make, max_response_bytes=max_response_bytes)
    try:
        yield wire
    finally:
        await wire.aclose()


async def call(
    wire: Wire,
    method: str = "GET",
    target: str = "/",
    body: bytes | StreamedBody | None = None,
    *,
    headers: Mapping[str, str] = {},
    timeout: Timeout = AMPLE,
    progress: SendProgress | None = None,
    **timeouts: float | None,
) -> Response | Failure:
    """Send a request that has what a test says, and all the time that it needs."""
    limits = evolve(timeout, **timeouts)
    request = Request(method, target, body)
    return await reply_to(wire.send(request, headers, limits, progress or SendProgress()))


async def body_of(wire: Wire) -> bytes:
    """Return the body of the answer to a call that must succeed."""
    reply = await call(wire)
    assert isinstance(reply, Response), reply
    return reply.body


def no_mocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process one in which nobody has loaded a mock of httpx."""
    for name in ("respx", "pytest_httpx", "vcr"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def pool_of(wire: SocketWire) -> Pool:
    """Return the connections that *wire* has in the running loop."""
    return wire._pools[asyncio.get_running_loop()]


def hand(connection: Connection, data: bytes) -> None:
    """Hand *data* to *connection* as an event loop does that has just read it."""
    while data:
        buffer = connection.get_buffer(len(data))
        piece, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(piece)] = piece
        connection.buffer_updated(len(piece))


def sockets() -> int:
    """Return how many sockets this process has open, as far as the system says."""
    links = Path("/proc/self/fd")
    return sum(_is_socket(link) for link in links.iterdir()) if links.exists() else 0


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:  # what listed them is closed by now
        return False


def sleep_of_the_machine(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Let the machine sleep: the clock of event loops stands still, and another goes on."""
    on = fork._boot_time
    monkeypatch.setattr(fork, "_boot_time", lambda: on() + seconds)
