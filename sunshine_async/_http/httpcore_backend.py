"""httpcore streams that feed every response to our own parser, too.

httpcore's parser is lenient: bytes behind a response would become the response of the next call.
With the same parser below, both wires read the same responses, and refuse the same.
"""

import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

import anyio
import httpcore
import httpx

from sunshine_async._http.failures import has_unread, is_clean_end, restrict_tls
from sunshine_async._http.httpx_parts import ParserStream
from sunshine_async._http.response_parser import PlainResponseReader, ResponseParser
from sunshine_async._http.response_parts import StaleConnectionError, StreamEndError


def install_parser(transport: httpx.AsyncHTTPTransport, *, limit: int) -> httpx.AsyncHTTPTransport:
    """Add our parser to *transport*, with bodies of at most *limit* bytes; return *transport*."""
    # httpcore accepts a backend, but httpx has no argument for one
    pool = cast("Any", transport)._pool  # noqa: SLF001
    pool._network_backend = _HttpcoreBackend(pool._network_backend, limit)  # noqa: SLF001
    return transport


class _HttpcoreBackend(httpcore.AsyncNetworkBackend):
    """Network backend that wraps the streams of *backend*."""

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
        return _HttpcoreStream(stream, self._limit)


class _HttpcoreStream(httpcore.AsyncNetworkStream, ParserStream):
    """Wrapper of *stream* that parses responses, except a proxy's to CONNECT or in SOCKS.

    *carrier* is the stream of TLS to a proxy that carries *stream*.
    """

    def __init__(
        self,
        stream: httpcore.AsyncNetworkStream,
        limit: int,
        carrier: "_HttpcoreStream | None" = None,
    ) -> None:
        self.response = None
        self._stream: Final = stream
        self._limit: Final = limit
        self._carrier: Final = carrier
        self._parser: ResponseParser | None = None
        self._has_read = True

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._has_read and buffer:  # the first bytes of the next request
            if self.response is not None and self.get_extra_info("is_readable"):
                raise StaleConnectionError  # httpcore has looked, too, but other tasks ran since
            method = buffer.partition(b" ")[0]
            self._has_read = False
            self.response = None
            if method.isalpha() and method != b"CONNECT":  # the words of SOCKS have bytes below 32
                if self._parser is None:
                    self._parser = ResponseParser(PlainResponseReader(limit=self._limit))
                self._parser.expect(method.decode("ascii"))
        await self._stream.write(buffer, timeout)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.response is not None and self.response.body_error:
            message = "nobody needs the rest"  # a break would leave httpcore's generators half-way
            raise httpcore.ReadError(message)
        data = await self._stream.read(max_bytes, timeout)
        self._has_read = True
        parser = self._parser
        if parser is not None and data:
            self.response = parser.feed(data)
        elif parser is not None and is_clean_end(self.get_extra_info("ssl_object")):
            self.response = parser.feed_eof()
        if not data and self.response is None:
            raise StreamEndError("before it answered" if parser is None else parser.stage)
        return data

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        context = restrict_tls(ssl_context)
        try:
            stream = await self._stream.start_tls(context, server_hostname, timeout)
        except BaseException:  # httpcore leaves the socket open if the handshake is cancelled
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise
        return _HttpcoreStream(stream, self._limit, self)

    async def aclose(self) -> None:
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.close()
            parser.plain.close()
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and not self._is_clean():
            return True  # makes httpcore drop the connection
        return self._stream.get_extra_info(info)

    def _is_clean(self) -> bool:
        """Return False if bytes came behind the last response, or another may not follow it."""
        if self._parser is not None and self.response is not None and not self._parser.reusable:
            return False
        if has_unread(self._stream.get_extra_info("ssl_object")):
            return False  # read from the socket already, so the socket itself says nothing
        return self._carrier is None or self._carrier._is_clean()  # noqa: SLF001 - of this class
