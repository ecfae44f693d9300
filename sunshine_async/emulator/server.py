"""Server on a real socket, in a thread with an event loop; connections that break on demand."""

import asyncio
import socket
import struct
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, Final

import anyio
import httpx
import uvicorn
from attrs import frozen
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sunshine_async.errors import ConfigurationError

CONNECTION_KEY: Final = "sunshine_async.connection"
"""Key of the connection in the state of an ASGI scope. Calls in process have no such key."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no seconds, so closing is a reset


class ClientConnection:
    """Connection of a call; the request has been read whole.

    Here, in process, a break is raised as the error that a client on a socket would see.
    """

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
        body = bytes(response.body)
        start = {"status": response.status_code, "headers": response.raw_headers}
        await send({"type": "http.response.start", **start})
        half = {"body": body[: len(body) // 2], "more_body": True}
        await send({"type": "http.response.body", **half})
        self.transport.close()
        await receive()  # until the connection is closed

    async def raise_error(self, error: httpx.TransportError, receive: Receive) -> None:  # noqa: ARG002
        await self.reset(receive)


_STOPPING: Final = "sunshine_async.stopping"
_LOOP_STEPS: Final = 4  # of the event loop, to complete connections being accepted
_LAST_PORT: Final = 65_535
_KEEP_ALIVE_SECONDS: Final = 600  # long: an idle connection is never reset unasked


class _HttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol; puts the connection into the state of each scope."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = SocketConnection(transport, self.app_state[_STOPPING])
        self.access_log = False  # the Config would silence the whole process
        self.app_state: dict[str, Any] = {CONNECTION_KEY: connection}


class _UvicornServer(uvicorn.Server):
    """Uvicorn's server; stops at once when told to, and aborts open connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening: Final[Future[None]] = Future()

    def stop(self) -> None:
        """Stop the server; called from another thread."""
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
                self._loop.remove_reader(listening)  # first: a late connection leaks
        for _ in range(_LOOP_STEPS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.gather(*self.server_state.tasks)
        for server in self.servers:
            await server.wait_closed()


class ServerThread:
    """Context manager, sync or async: serves an application on a socket, and gives the base URL.

    Leaving the block cuts off running calls. Entering raises `ConfigurationError` if *host* and
    *port* can't be listened on.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app: Final = app
        self._host: Final = host
        self._port: Final = port

    def __enter__(self) -> str:
        self._socket = _bind(self._host, self._port)
        config = uvicorn.Config(
            self._app,
            http=_HttpProtocol,
            loop="asyncio",  # as fast as uvloop here, and uvloop may hang when closed under load
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        self._server = _UvicornServer(config)
        sockets = {"sockets": [self._socket]}
        self._thread = Thread(target=self._server.run, kwargs=sockets, daemon=True, name="emulator")
        self._thread.start()
        self._server.listening.result()
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()
        self._socket.close()

    async def __aenter__(self) -> str:
        return self.__enter__()  # quick, and no cancellation point inside

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


def _bind(host: str, port: int) -> socket.socket:
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
    # connections inherit the option; asyncio sets it for sockets with an explicit protocol only
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
