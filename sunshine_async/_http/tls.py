"""TLS between a socket of asyncio and a `Connection`, by an `ssl.SSLObject` over memory buffers.

asyncio's own TLS copies each message through a queue and a second buffer, schedules callbacks of
the loop, and reads 256 KiB at a time. A message of these services fits into one TLS record, so this
module encrypts and decrypts in place, in the call of the socket or of the `Connection`.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from sunshine_async._http.connection import (
    Connection,
    ConnectionState,
    read_rest,
    watch_readable,
)


class TlsTransport(asyncio.BufferedProtocol):
    """TLS for *connection*: the protocol of a TCP transport, and the transport of *connection*.

    *session* is the session of an earlier connection with the same *context*, for a handshake that
    is shorter. *connection* learns of the transport after the handshake, and of each end once.
    """

    def __init__(
        self,
        connection: Connection,
        context: ssl.SSLContext,
        host: str,
        session: ssl.SSLSession | None,
    ) -> None:
        self._connection = connection
        self._incoming: Final = ssl.MemoryBIO()
        self._outgoing: Final = ssl.MemoryBIO()
        self.tls: Final = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        self._decrypt: Final = cast("Callable[[int, memoryview], int]", self.tls.read)
        self._buffer: Final = connection.get_buffer(-1)
        self._transport: asyncio.Transport | None = None
        self._is_open = False
        """True after the handshake."""
        self._has_ended = False
        """True after the last byte of the peer, even while *connection* reads the bytes before."""
        self._handshake_ended: Final = asyncio.Event()
        self._error: Exception | None = None

    async def shake_hands(self) -> None:
        """Wait for the end of the handshake; raise the error of a handshake that failed."""
        await self._handshake_ended.wait()
        if self._error is not None:
            raise self._error

    # The TCP transport calls:

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._readable = watch_readable(transport)
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming.write(self._buffer[:nbytes])
        self._advance()

    def eof_received(self) -> None:
        self._incoming.write_eof()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_open:
            if exc is not None:
                read_rest(self._connection, self, cast("asyncio.Transport", self._transport))
            self._connection.connection_lost(self._error or exc)
            del self._connection  # which refers to this object: 40 KB would wait for the collector
        else:
            self._error = self._error or exc or ConnectionResetError()
            self._handshake_ended.set()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    # The connection calls:

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt and send *data*."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self.tls.write(rest) :]
        except ssl.SSLError as error:
            self._break(error)
        else:
            self._flush()

    def abort(self) -> None:
        """Close the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    def is_closing(self) -> bool:
        """Return True after the end of the connection."""
        return self._transport is None or self._transport.is_closing()

    def get_extra_info(self, name: str) -> Any:
        """Return the ``ssl_object``, or the test ``is_readable``."""
        return {"ssl_object": self.tls, "is_readable": self._is_readable}.get(name)

    def _is_readable(self) -> bool:
        return self._has_ended or self._has_unread() or bool(self._readable())

    def _has_unread(self) -> bool:
        return bool(self._incoming.pending or self.tls.pending())

    def _advance(self) -> None:
        """Go on with the handshake or with reading, as far as the received bytes go."""
        if not self._is_open:
            self._advance_handshake()
        if self._is_open:
            self._read()
        self._flush()

    def _advance_handshake(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except Exception as error:  # noqa: BLE001 - unknown: a context may check certificates itself
            self._break(error)
            return
        self._flush()
        self._is_open = True
        self._connection.connection_made(cast("asyncio.Transport", self))
        self._handshake_ended.set()

    def _read(self) -> None:
        """Hand all received bytes to the connection: as much at once as the buffer holds."""
        while self._connection.state is not ConnectionState.CLOSED:
            buffer = self._connection.get_buffer(-1)
            error: ssl.SSLError | None = None
            filled, count = 0, -1
            try:
                while filled < len(buffer) and count and (not filled or self._has_unread()):
                    count = self._decrypt(len(buffer) - filled, buffer[filled:])
                    filled += count
            except ssl.SSLError as stop:
                error = stop.with_traceback(None)  # which holds this frame, and so itself
            self._has_ended = not (count and isinstance(error, ssl.SSLWantReadError | None))
            if filled:
                self._connection.buffer_updated(filled)
            if isinstance(error, ssl.SSLEOFError) or not count:
                self._connection.eof_received()
                self.abort()
            elif error is not None and self._has_ended:
                self._break(error)
                return
            elif error is not None or not self._has_unread():
                return

    def _flush(self) -> None:
        """Send what TLS has to say."""
        if self._outgoing.pending and not self.is_closing():
            cast("asyncio.Transport", self._transport).write(self._outgoing.read())

    def _break(self, error: Exception) -> None:
        """Close the socket because of *error*, after the alert that tells the peer."""
        self._error = error.with_traceback(None)  # which holds the frames of a request
        self._flush()
        self.abort()
