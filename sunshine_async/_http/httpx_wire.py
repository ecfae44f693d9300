"""Calls through httpx: for proxies, trio, tests' mocks and whatever transport a user plugs in."""

import sys
from abc import ABC
from collections.abc import AsyncIterator, Callable, Mapping
from math import inf
from typing import Any, Final, Self, cast
from weakref import WeakKeyDictionary

import anyio
import httpx
from anyio.lowlevel import current_token
from attrs import asdict, define, field

from sunshine_async._http.failures import cause_of, unsent
from sunshine_async._http.fork import renew_after_fork
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    Streamed,
    Timeout,
)
from sunshine_async._http.response_parser import Body, Unreadable
from sunshine_async._http.tls import refuses_client
from sunshine_async.errors import ConfigurationError, Fault

_SENT_NOTHING: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    ConfigurationError,
)
"""The errors of a transport that doesn't tell how far it is, after which nothing was sent."""

_EXPECTED: Final = (
    *(httpx.HTTPError, httpx.StreamError, httpx.InvalidURL),
    *(ConfigurationError, OSError, Unreadable),
)
"""The errors that any transport may raise; others are a mock's, or a fault, and come out."""
_BEFORE_THE_REQUEST: Final = frozenset({"connection", "proxy", "socks"})
"""The layers of httpcore that work on a connection, and never on a request."""

_REFUSED: Final = 300
_PROXY_WANTS_CREDENTIALS: Final = 407
_CREDENTIALS: Final = (
    "give the proxy's URL the right user name and password, special characters percent-encoded"
)
_LONGEST_REASON: Final = 100


@define
class _Progress:
    """How far a request has come, as httpcore tells; other transports tell nothing.

    The request has begun with any event that isn't known to come before it. *connecting* bounds
    what comes before: TCP, the proxy's part, and TLS.
    """

    sending: SendProgress
    patience: float | None
    connecting: anyio.CancelScope = field(factory=anyio.CancelScope)
    heard: bool = False
    """Whether anything was told."""
    connects: bool = False
    """Whether the request has a connection made, which no other has used."""
    step: str = ""
    """The last event before the request."""
    refusal: Response | None = None
    """The answer as far as its head, where that says no."""

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if not self.heard:
            self.heard = True
            self.sending.begun = False
        if self.sending.begun or not event.endswith(".started"):
            return
        if self._is_before_the_request(event, info):
            self.step = event
            if not self.connects:
                self.connects = True
                patience = inf if self.patience is None else self.patience
                self.connecting.deadline = anyio.current_time() + patience
        else:
            self.sending.begun = True
            self.connecting.deadline = inf

    def _is_before_the_request(self, event: str, info: Mapping[str, Any]) -> bool:
        if event.partition(".")[0] in _BEFORE_THE_REQUEST:
            return True
        asked = getattr(info.get("request"), "method", None)
        return asked == b"CONNECT" or event == "http11.response_closed.started"


class Witness(ABC):
    """A stream whose answers our own parser has read as well as httpcore's."""

    answer: Response | None
    """The answer to the last request, once it is whole."""


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


class _Whole(httpx.AsyncByteStream):
    """A body in one piece. No generator, for the same reason."""

    def __init__(self, content: bytes) -> None:
        self._content: Final = content
        self._left = content

    def __aiter__(self) -> Self:
        self._left = self._content
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        piece, self._left = self._left, b""
        return piece


class HttpxWire:
    """A wire over httpx transports: one for each event loop, made by *make* when first needed.

    *proxy* is the name of the proxy that the transports go through, if they do.
    """

    def __init__(
        self,
        base_url: str,
        make: Callable[[], httpx.AsyncBaseTransport],
        *,
        max_response_bytes: int,
        proxy: str | None = None,
    ) -> None:
        self._proxy: Final = proxy
        self._base: Final = httpx.URL(base_url)
        self._prefix: Final = self._base.raw_path.rstrip(b"/")
        self._is_forwarded: Final = proxy is not None and self._base.scheme == "http"
        self._make: Final = make
        self._max_response_bytes: Final = max_response_bytes
        self._of_loop: Final[WeakKeyDictionary[object, httpx.AsyncBaseTransport]] = (
            WeakKeyDictionary()
        )
        self._inherited: Final[list[object]] = []
        renew_after_fork(self)

    def renew(self) -> None:
        """Begin without connections in a child process; the parent's stay open."""
        self._inherited.extend(self._of_loop.values())  # kept, or garbage would close them
        self._of_loop.clear()

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        sending: SendProgress,
    ) -> Response | Failure:
        """Return the whole answer, or what came instead: as `Wire` says."""
        body = request.body
        if not isinstance(body, Streamed):
            outgoing = self._outgoing(request, headers, content=body)
            outgoing.stream = _Whole(body or b"")
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
        self, outgoing: httpx.Request, timeout: Timeout, sending: SendProgress
    ) -> Response | Failure:
        progress = _Progress(sending, timeout.connect)
        outgoing.extensions = {"timeout": _phases(timeout), "trace": progress}
        stream = outgoing.stream
        try:
            with anyio.move_on_after(timeout.total), progress.connecting:
                return await self._exchange(outgoing, progress)
        except Exception as error:
            if isinstance(stream, _Pieces) and stream.error is error:
                raise
            if not (progress.heard or isinstance(error, _EXPECTED)):
                raise
            return progress.refusal or self._failure(error, progress)
        return progress.refusal or self._failure(TimeoutError(), progress)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        transport = self._of_loop.pop(current_token().native_token, None)
        if transport is not None:
            await transport.aclose()

    async def _exchange(self, outgoing: httpx.Request, progress: _Progress) -> Response:
        loop = current_token().native_token
        transport = self._of_loop.get(loop)
        if transport is None:
            transport = self._of_loop[loop] = self._make()
        # httpcore tells how far it is; of another transport nobody knows what it does at once
        tells = type(transport) is httpx.AsyncHTTPTransport and not is_mocked()
        progress.sending.begun = not tells
        incoming = await transport.handle_async_request(outgoing)
        try:
            if incoming.status_code == _PROXY_WANTS_CREDENTIALS and self._is_forwarded:
                raise httpx.ProxyError(str(_PROXY_WANTS_CREDENTIALS))
            if incoming.status_code >= _REFUSED:
                progress.refusal = Response(incoming.status_code, dict(incoming.headers), b"")
            witness = incoming.extensions.get("network_stream")
            if isinstance(witness, Witness):
                return await _witnessed(incoming, witness)
            return await _read(incoming, self._max_response_bytes)
        finally:
            await incoming.aclose()

    def _failure(self, error: Exception, progress: _Progress) -> Failure:
        """Say what became of a request, without the request: httpx's errors have it in them."""
        late = isinstance(error, httpx.TimeoutException | TimeoutError)
        host = self._base.netloc.decode("ascii")
        known = progress.heard and not isinstance(error, httpx.ProxyError)
        begun = progress.sending.begun if known else not isinstance(error, _SENT_NOTHING)
        if not begun:
            if isinstance(error, httpx.PoolTimeout):
                return Failure(Fault.UNSENT, f"no connection to {host} came free in time")
            return self._unsent(error, progress.step, late=late)
        cause = cause_of(error)
        if progress.connects and refuses_client(cause):
            return unsent(cause, f"connecting to {host}")
        if late:
            return Failure(Fault.TIMED_OUT, f"{host} did not answer in time")
        if isinstance(error, Unreadable):
            return Failure(Fault.LOST, f"{host} sent an answer that can't be read: {error}")
        name = type(error).__name__
        return Failure(
            Fault.LOST, f"the connection to {host} broke before the answer came ({name})"
        )

    def _unsent(self, error: Exception, step: str, *, late: bool) -> Failure:
        """Say what kept a request from being sent, and whose part that was."""
        host = self._base.netloc.decode("ascii")
        cause = TimeoutError() if late else error
        if self._proxy is None:
            return unsent(cause, f"connecting to {host}")
        doing = f"connecting to {host} through the proxy {self._proxy}"
        if not isinstance(error, httpx.ProxyError):
            to_proxy = step.startswith("connection.")
            return unsent(cause, f"connecting to the proxy {self._proxy}" if to_proxy else doing)
        said = str(error)[:_LONGEST_REASON]
        if said.startswith(str(_PROXY_WANTS_CREDENTIALS)):
            return Failure(Fault.PERMANENT, f"{doing} failed: {said}: {_CREDENTIALS}")
        return Failure(Fault.UNSENT, f"{doing} failed: the proxy answered {said}")


async def _witnessed(incoming: httpx.Response, witness: Witness) -> Response:
    """Return the answer that *witness* has read, once httpcore has come to its end."""
    try:
        async for _ in cast("httpx.AsyncByteStream", incoming.stream):
            if witness.answer is not None and witness.answer.flaw:
                break
    except httpx.TransportError:
        if witness.answer is None:
            raise
    if witness.answer is None:
        message = "its end is in doubt"
        raise Unreadable(message)
    return witness.answer


async def _read(incoming: httpx.Response, limit: int) -> Response:
    """Return what a transport says that isn't ours."""
    headers = dict(incoming.headers)
    body = Body(headers.get("content-encoding"), limit=limit)
    try:
        async for piece in cast("httpx.AsyncByteStream", incoming.stream):  # as AsyncClient demands
            body.add(piece)
        return Response(incoming.status_code, headers, body.whole())
    except Unreadable as error:
        return Response(incoming.status_code, headers, b"", str(error))


def is_mocked() -> bool:
    """Return whether something is loaded that answers tests in the place of httpx."""
    loaded = sys.modules
    return "respx" in loaded or "pytest_httpx" in loaded or "vcr" in loaded


def _phases(timeout: Timeout) -> dict[str, float | None]:
    phases = asdict(timeout)
    del phases["total"]
    return phases
