"""Calls through httpx: for proxies, trio, tests' mocks and whatever transport a user plugs in."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Self, cast
from weakref import WeakKeyDictionary

import anyio
import httpx
from anyio.lowlevel import current_token
from attrs import asdict, define

from sunshine_async._endpoint import Failure, Request, Response, Streamed
from sunshine_async._retry import Fault
from sunshine_async._transport.body import Body, Unreadable
from sunshine_async._transport.exchange import Sending, Timeout

_SENT_NOTHING: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@define
class _Trace:
    """Hears from httpcore how far a request has come; other transports tell nothing."""

    sending: Sending
    heard: bool = False

    async def __call__(self, event: str, _: Mapping[str, Any]) -> None:
        if not self.heard:
            self.heard = True
            self.sending.begun = False
        if event == "http11.send_request_headers.started":
            self.sending.begun = True


class _Pieces(httpx.AsyncByteStream):
    """A streamed body on its way; *error* is what its source raised, if it did.

    No generator: one that is left half-way would stay behind.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces: Final = pieces
        self.error: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self.error = error
            raise


class HttpxWire:
    """A wire over httpx transports: one for each event loop, made by *make* when first needed."""

    def __init__(
        self,
        base_url: str,
        make: Callable[[], httpx.AsyncBaseTransport],
        *,
        max_response_bytes: int,
    ) -> None:
        self._base: Final = httpx.URL(base_url)
        self._prefix: Final = self._base.raw_path.rstrip(b"/")
        self._make: Final = make
        self._max_response_bytes: Final = max_response_bytes
        self._of_loop: Final[WeakKeyDictionary[object, httpx.AsyncBaseTransport]] = (
            WeakKeyDictionary()
        )

    async def send(
        self, request: Request, headers: Mapping[str, str], *, timeout: Timeout, sending: Sending
    ) -> Response | Failure:
        """Return the whole answer, or what came instead: as `Wire` says."""
        body = request.body
        if not isinstance(body, Streamed):
            outgoing = self._outgoing(request, headers, content=body)
            return await self._send(outgoing, timeout, sending)
        framed = {"Host": self._base.netloc.decode("ascii"), **headers}
        if body.length is None:
            framed["Transfer-Encoding"] = "chunked"
        else:
            framed["Content-Length"] = str(body.length)
        async with body.opened() as pieces:
            outgoing = self._outgoing(request, framed, stream=_Pieces(pieces))
            return await self._send(outgoing, timeout, sending)

    def _outgoing(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        content: bytes | None = None,
        stream: _Pieces | None = None,
    ) -> httpx.Request:
        """Return *request* as httpx has it; with a *stream* httpx adds no header of its own."""
        return httpx.Request(
            request.method,
            self._base.copy_with(raw_path=self._prefix + request.target.encode("ascii")),
            headers=dict(headers),
            content=content,
            stream=stream,
        )

    async def _send(
        self, outgoing: httpx.Request, timeout: Timeout, sending: Sending
    ) -> Response | Failure:
        trace = _Trace(sending)
        outgoing.extensions = {"timeout": _phases(timeout), "trace": trace}
        stream = outgoing.stream
        response = None
        try:
            with anyio.move_on_after(timeout.total):
                response = await self._exchange(outgoing, trace)
        except (httpx.TransportError, OSError, Unreadable) as error:
            if isinstance(stream, _Pieces) and stream.error is error:
                raise
            unsent = not sending.begun if trace.heard else isinstance(error, _SENT_NOTHING)
            return self._failure(error, unsent=unsent)
        if response is not None:
            return response
        unsent = trace.heard and not sending.begun
        return self._failure(TimeoutError(), unsent=unsent)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        transport = self._of_loop.pop(current_token().native_token, None)
        if transport is not None:
            await transport.aclose()

    async def _exchange(self, outgoing: httpx.Request, trace: _Trace) -> Response:
        loop = current_token().native_token
        transport = self._of_loop.get(loop)
        if transport is None:
            transport = self._of_loop[loop] = self._make()
        # httpcore tells how far it is; of another transport nobody knows what it does at once
        trace.sending.begun = not isinstance(transport, httpx.AsyncHTTPTransport)
        incoming = await transport.handle_async_request(outgoing)
        try:
            body = Body(incoming.headers.get("content-encoding"), limit=self._max_response_bytes)
            stream = cast("httpx.AsyncByteStream", incoming.stream)  # as AsyncClient demands
            async for piece in stream:
                body.add(piece)
        finally:
            await incoming.aclose()
        return Response(incoming.status_code, dict(incoming.headers), body.whole())

    def _failure(self, error: Exception, *, unsent: bool) -> Failure:
        """Say what became of a request, without the request: httpx's errors have it in them."""
        late = isinstance(error, httpx.TimeoutException | TimeoutError)
        host = self._base.netloc.decode("ascii")
        if unsent:
            why = "no connection in time" if late else str(error) or type(error).__name__
            return Failure(Fault.UNSENT, f"connecting to {host} failed: {why}")
        if late:
            return Failure(Fault.TIMED_OUT, f"{host} did not answer in time")
        if isinstance(error, Unreadable):
            return Failure(Fault.LOST, f"{host} sent an answer that can't be read: {error}")
        why = type(error).__name__
        return Failure(Fault.LOST, f"the connection to {host} broke before the answer came ({why})")


def _phases(timeout: Timeout) -> dict[str, float | None]:
    phases = asdict(timeout)
    del phases["total"]
    return phases
