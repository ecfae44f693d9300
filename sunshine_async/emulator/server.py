"""The emulator on a real socket, on a thread and a loop of its own.

What an answer goes out on, and the ways for it to break.
"""

import asyncio
import socket
import struct
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from types import TracebackType
from typing import Any, Final, NoReturn, Protocol

import anyio
import httpx
import uvicorn
from attrs import frozen
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sunshine_async.errors import ConfigurationError

KEY: Final = "sunshine_async.connection"
"""Where the state of an ASGI scope has the connection; where it has none, the call is in process."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds, so closing is a reset


class Connection(Protocol):
    """The connection of one call, whose request has been read whole."""

    async def hold(self, seconds: float) -> None:
        """Wait; less long where the emulator is about to stop."""
        ...

    async def reset(self, receive: Receive) -> None:
        """Break it without a byte of an answer."""
        ...

    async def cut(self, response: Response, receive: Receive, send: Send) -> None:
        """Break it in the middle of *response*."""
        ...

    async def fail(self, error: httpx.TransportError, receive: Receive) -> None:
        """Break it with *error*, as near as that can be done."""
        ...


class InProcess:
    """No socket between: what breaks it is raised, as a client on a socket would see it."""

    async def hold(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def reset(self, receive: Receive) -> NoReturn:  # noqa: ARG002
        message = "Connection reset by peer"
        raise httpx.ReadError(message)

    async def cut(self, response: Response, receive: Receive, send: Send) -> NoReturn:  # noqa: ARG002
        message = "peer closed connection without sending complete message body"
        raise httpx.RemoteProtocolError(message)

    async def fail(self, error: httpx.TransportError, receive: Receive) -> NoReturn:  # noqa: ARG002
        raise error


@frozen(eq=False)
class OnSocket:
    """A real connection: what breaks it breaks it for the client. Any error is a reset."""

    transport: asyncio.Transport
    stopping: asyncio.Event

    async def hold(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.stopping.wait()

    async def reset(self, receive: Receive) -> None:
        peer: socket.socket = self.transport.get_extra_info("socket")
        with suppress(OSError):  # it is gone already
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()
        await receive()  # until it is gone

    async def cut(self, response: Response, receive: Receive, send: Send) -> None:
        body = bytes(response.body)
        start = {"status": response.status_code, "headers": response.raw_headers}
        await send({"type": "http.response.start", **start})
        half = {"body": body[: len(body) // 2], "more_body": True}
        await send({"type": "http.response.body", **half})
        self.transport.close()
        await receive()  # until it is gone

    async def fail(self, error: httpx.TransportError, receive: Receive) -> None:  # noqa: ARG002
        await self.reset(receive)


_STOPPING: Final = "sunshine_async.stopping"
_STEPS: Final = 4  # of the loop, after which whatever it was accepting is a connection
_LAST_PORT: Final = 65_535
_IDLE: Final = 600  # seconds a quiet connection is kept: no reset that nobody asked for


class _Protocol(HttpToolsProtocol):
    """Uvicorn's protocol; each call finds its connection in the state of its scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        line = OnSocket(transport, self.app_state[_STOPPING])
        self.access_log = False  # and not in the Config, which would silence the whole process
        self.app_state: dict[str, Any] = {KEY: line}


class _Server(uvicorn.Server):
    """Uvicorn's server, which stops at once when it is told to, whatever is still open."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening: Final[Future[None]] = Future()

    def stop(self) -> None:
        """Make it stop; to be called from another thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self.lifespan.state[_STOPPING] = self._stopping
        await super().startup(sockets)
        self.listening.set_result(None)

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in sockets or ():
            with suppress(NotImplementedError):
                self._loop.remove_reader(listening)  # first: what is accepted once closed leaks
        for _ in range(_STEPS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks)
        for server in self.servers:
            await server.wait_closed()


class Listening:
    """An application on a socket for the length of a ``with`` or ``async with`` block.

    The block gets the base URL. What is under way when it is left is cut off. Raise
    `ConfigurationError` where *host* and *port* can't be listened on.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app: Final = app
        self._host: Final = host
        self._port: Final = port

    def __enter__(self) -> str:
        self._socket = _bound(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            loop="asyncio",  # as fast here as uvloop, which may never end when closed under load
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
        )
        self._server = _Server(config)
        sockets = {"sockets": [self._socket]}
        self._thread = Thread(target=self._server.run, kwargs=sockets, daemon=True, name="emulator")
        self._thread.start()
        self._server.listening.result()
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._thread.join()
        self._socket.close()

    async def __aenter__(self) -> str:
        return self.__enter__()  # it takes a moment, and no cancellation can come in between

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        message = f"can't listen on port {port}: a port is a number from 0 to {_LAST_PORT}"
        raise ConfigurationError(message)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address, family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        message = f"can't listen on {host} port {port}: {reason}"
        raise ConfigurationError(message) from None
    # connections inherit it; asyncio sets it only on sockets made with the protocol's number
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
