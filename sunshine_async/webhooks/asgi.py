"""Requests of an ASGI server and their answers, for applications that receive webhooks.

- A body is read in bounded memory.
- An answer before the end of the body reaches the sender. A server that closes a connection with
  unread bytes resets the connection (RFC 9112, section 9.6). The sender may lose the answer then,
  and nginx, between both, answers 502 in its place. So the answer goes out at once, and the rest of
  the body is read and thrown away before the end of the answer, as by the lingering close of nginx.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

import anyio

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LINGER_SECONDS: Final = 5.0
"""Seconds in which the rest of a body is read, after an answer."""
LINGER_BYTES: Final = 64_000_000
"""Bytes of the rest of a body that are read, after an answer."""


class SenderGoneError(Exception):
    """The sender has gone before the end of the body: nobody reads an answer."""


class WebRequest:
    """A request of an ASGI server: *scope*, *receive* and *send* are those of the application."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: Final[str] = scope["method"]
        self.headers: Final = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._receive: Final = receive
        self._send: Final = send
        self._has_more = True
        """True until the body has ended."""

    async def read(self, limit: int) -> bytes | None:
        """Return the body, or None if the body is longer than *limit* bytes.

        Raise `SenderGoneError` for a body that breaks off.
        """
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > limit:  # int() refuses 5,000 digits
            return None
        parts: list[bytes] = []
        size = 0
        while self._has_more:
            parts.append(await self._next_part())
            size += len(parts[-1])
            if size > limit:
                return None
        return b"".join(parts)

    async def answer(self, status: int, *fields: tuple[bytes, bytes]) -> None:
        """Send an answer of header *fields* without a body; read what is left of the request's body.

        Raise `SenderGoneError` if the sender goes meanwhile.
        """
        headers = [(b"content-length", b"0"), *fields]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        if self._has_more:
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})
            await self._throw_away()
        await self._send({"type": "http.response.body", "body": b""})

    async def _throw_away(self) -> None:
        size = 0
        with anyio.move_on_after(LINGER_SECONDS):
            while self._has_more and size < LINGER_BYTES:
                size += len(await self._next_part())

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise SenderGoneError
        self._has_more = message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


async def serve_lifespan(
    context: AbstractAsyncContextManager[object], receive: Receive, send: Send
) -> None:
    """Run *context* from the start to the shutdown of a server; report an error, and raise it."""
    await receive()
    phase = "startup"
    try:
        async with context:
            await send({"type": "lifespan.startup.complete"})
            phase = "shutdown"
            await receive()
    except Exception as error:
        await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
