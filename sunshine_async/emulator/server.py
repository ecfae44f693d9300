"""Uvicorn's server on a socket, and connections that break on demand."""

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from errno import EMFILE, ENFILE
from threading import Thread
from typing import Any, Final, cast

import anyio
import httpx
import uvicorn
from attrs import frozen
from starlette.responses import Response
from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

CONNECTION_KEY: Final = "sunshine_async.connection"
"""Key of the connection in the state of an ASGI scope. Calls in process have no such key."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds, so closing is a reset


class ClientConnection:
    """Connection in process, of a request read whole; a break raises the error of a client."""

    async def wait(self, seconds: float) -> None:
        """Wait for *seconds*, or until the emulator stops."""
        await anyio.sleep(seconds)

    async def reset(self, receive: Receive) -> None:  # noqa: ARG002
        """Break the connection without a byte of a response."""
        message = "Connection reset by peer"
        raise httpx.ReadError(message)

    async def truncate(self, response: Response, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Break the connection in the middle of *response*."""
        message = "peer closed connection without sending complete message body"
        raise httpx.RemoteProtocolError(message)

    async def raise_error(self, error: httpx.TransportError, receive: Receive) -> None:  # noqa: ARG002
        """Break the connection with *error*, or with the nearest equivalent."""
        raise error


@frozen(eq=False)
class SocketConnection(ClientConnection):
    """TCP connection, broken for the client too. Every error is a reset."""

    transport: asyncio.Transport
    stopping: asyncio.Event

    async def wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.stopping.wait()

    async def reset(self, receive: Receive) -> None:
        peer: socket.socket = self.transport.get_extra_info("socket")
        with suppress(OSError):  # already closed
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()
        await receive()  # until the connection is closed

    async def truncate(self, response: Response, receive: Receive, send: Send) -> None:
        start = {"status": response.status_code, "headers": response.raw_headers}
        await send({"type": "http.response.start", **start})
        half = bytes(response.body)[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        self.transport.close()
        await receive()  # until the connection is closed

    async def raise_error(self, error: httpx.TransportError, receive: Receive) -> None:  # noqa: ARG002
        await self.reset(receive)


_LOG: Final = logging.getLogger("sunshine_async")
_FULL: Final = (
    "the emulator takes no more connections (%s): new connections wait until others are closed."
    " Use fewer connections, or raise the limit of open files (ulimit -n)"
)
_STOPPING: Final = "sunshine_async.stopping"
_OFFER: Final = re.compile(rb"(?i)\r\nupgrade:")
"""A header that offers another protocol, as the clients of Java do with HTTP/2."""
_BEGINNING: Final = re.compile(rb"(?i)\r[\r\n]{0,2}(u(p(g(r(a(de?)?)?)?)?)?)?\Z")
"""The end of a part of a head that the next part may make an offer, or the end of the head."""


def without_offer(data: bytes) -> tuple[bytes, bytes]:
    """Return *data* from a head on, without an offer of another protocol, and the held-back rest.

    The rest belongs before the next data, and may be the beginning of an offer.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    begun = None if end else _BEGINNING.search(head)
    cut = begun.start() if begun else len(head)
    return b"".join((_OFFER.sub(b"\r\nx-declined:", head[:cut]), end, body)), head[cut:]


class ConnectionProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol; puts the connection into the state of each scope.

    An offer of another protocol is declined: the request is answered as if without the offer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = SocketConnection(transport, self.app_state[_STOPPING])
        self.access_log = False  # the Config would silence the whole process
        self.app_state: dict[str, Any] = {CONNECTION_KEY: connection}
        self._rest = b""
        self._open: list[RequestResponseCycle] = []

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._open = [one for one in self._open if not one.response_complete]
        self._open.append(self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # tells the latest call only: an earlier one would never end
        for cycle in self._open:
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None at first
        if cycle is None or cycle.response_complete:  # data of a head, up to the body
            data, self._rest = without_offer(self._rest + data)  # else the parser reads no body
        super().data_received(data)


def start_thread(name: str, run: Callable[[], object], ready: "Future[None]") -> Thread:
    """Start a thread that calls *run*; return once *ready* has a result.

    Raise the error of *run* before that, and `RuntimeError` if the system has no thread left.
    """

    def run_and_tell() -> None:
        try:
            run()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = Thread(target=run_and_tell, name=name, daemon=True)
    thread.start()
    try:
        ready.result()
    except BaseException:
        thread.join()
        raise
    return thread


class UvicornServer(uvicorn.Server):
    """Uvicorn's server; stops at once when told to, and aborts open connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening: Final[Future[None]] = Future()
        self._is_full = False

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of the *loop*; once, in a sentence, that connections have to wait.

        asyncio reports each of up to 2,048 refused connections, every second, with a traceback.
        """
        if getattr(context.get("exception"), "errno", None) not in (EMFILE, ENFILE):
            loop.default_exception_handler(context)
        elif not self._is_full:
            self._is_full = True
            _LOG.warning(_FULL, context["exception"].strerror)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        with asyncio.Runner() as runner:  # nest_asyncio takes no loop factory for asyncio.run
            runner.run(self.serve(sockets))

    def stop(self) -> None:
        """Stop the server; called from another thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self.report)
        self._stopping = asyncio.Event()
        self.lifespan.state[_STOPPING] = self._stopping
        await super().startup(sockets)
        self.listening.set_result(None)

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in sockets or ():
            with suppress(NotImplementedError):
                self._loop.remove_reader(listening)  # first: a late connection leaks
        for _ in range(4):  # steps of the loop, to complete connections being accepted
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks)
        for server in self.servers:
            await server.wait_closed()
