"""Streams of httpcore on which our own parser reads every answer, too.

httpcore's parser is lenient, and would hand bytes behind an answer to the next call as its answer.
With one parser for both wires both read the same, and refuse the same.
"""

import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

import anyio
import httpcore
import httpx

from sunshine_async._http.httpx_wire import Witness
from sunshine_async._http.response_parser import ResponseParser
from sunshine_async._http.tls import is_ended


def witnessed(transport: httpx.AsyncHTTPTransport, *, limit: int) -> httpx.AsyncHTTPTransport:
    """Return *transport* with a witness on each of its connections."""
    # httpcore lets us choose the backend, and httpx doesn't hand the choice on
    pool = cast("Any", transport)._pool  # noqa: SLF001
    pool._network_backend = _Backend(pool._network_backend, limit)  # noqa: SLF001
    return transport


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects as *backend* does."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, limit: int) -> None:
        self._backend: Final = backend
        self._limit: Final = limit

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._limit)


class _Stream(httpcore.AsyncNetworkStream, Witness):
    """Reads and writes as *stream* does; on a tunnel's outside it listens to nothing."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, limit: int) -> None:
        self.answer = None
        self._stream: Final = stream
        self._limit: Final = limit
        self._answers: Final = ResponseParser(limit=limit)
        self._has_read = True
        self._listens = False

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._has_read and buffer:  # the next request begins
            method = buffer.partition(b" ")[0].decode("latin-1")
            self._has_read = False
            self._listens = method != "CONNECT"
            self.answer = None
            self._answers.ask(method)
        await self._stream.write(buffer, timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._has_read = True
        if self._listens and data:
            self.answer = self._answers.feed(data)
        elif self._listens:
            ended = is_ended(self.get_extra_info("ssl_object"))
            self.answer = self._answers.end() if ended else None
            if self.answer is None:
                message = f"closed {self._answers.progress}"
                raise httpcore.ReadError(message)
        return data

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:  # httpcore leaves the socket open where TLS is cancelled
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        return _Stream(stream, self._limit)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self.answer is not None and not self._answers.reusable:
            return True  # so the connection is not used again
        return self._stream.get_extra_info(info)
