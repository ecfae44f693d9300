"""What an answer goes out on, and the ways for it to break."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final, NoReturn, Protocol

import anyio
import httpx
from attrs import frozen
from starlette.responses import Response
from starlette.types import Receive, Send

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
