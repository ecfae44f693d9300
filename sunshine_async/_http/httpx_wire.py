"""Wire over httpx: for trio, tests' mocks, a user's own transport, and some kinds of proxies."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import anyio
import httpx
from attrs import asdict

from sunshine_async._http.failures import (
    NONE_FREE,
    CallerBody,
    connect_failure,
    name_of,
    refuses_client,
    root_cause,
)
from sunshine_async._http.fork import renew_after_fork
from sunshine_async._http.httpx_parts import BytesStream, ParserStream, TransportStack
from sunshine_async._http.messages import (
    BODY_LOST,
    Failure,
    Headers,
    Request,
    Response,
    SendProgress,
    StreamedBody,
    Timeout,
)
from sunshine_async._http.proxy import Proxy
from sunshine_async._http.response_parts import (
    BodyDecoder,
    InvalidResponseError,
    StaleConnectionError,
    StreamEndError,
)
from sunshine_async.errors import ConfigurationError, Fault

_UNSENT_ERRORS: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    ConfigurationError,
)
"""Errors after which nothing was sent, from a transport without a trace."""

_TRANSPORT_ERRORS: Final = (
    *(httpx.HTTPError, httpx.StreamError, httpx.InvalidURL),
    *(ConfigurationError, OSError, InvalidResponseError, StreamEndError),
)
"""Errors that any transport may raise. Any further error is a mock's, or a bug, and is raised."""
_SOCKS_HANDSHAKE: Final = "socks.setup_socks5_connection"
_CONNECTION_LAYERS: Final = frozenset({"connection", "proxy", "socks"})
"""Layers of httpcore that work on a connection, never on a request."""

_LOWEST_REFUSAL: Final = 300
_PROXY_AUTH_REQUIRED: Final = 407


class _HttpcoreTrace:
    """Trace extension of a request: httpcore reports events, other transports report nothing.

    Every event that isn't known to precede the request marks the request as started. The connect
    timeout bounds all that precedes the request: TCP, the proxy's handshake, and TLS.
    """

    def __init__(self, progress: SendProgress, connect_timeout: float | None) -> None:
        self.progress: Final = progress
        self.connect_timeout: Final = connect_timeout
        self.connect_scope: Final = anyio.CancelScope()
        self.has_events = False
        self.new_connection = False
        """True while a connection is new, and has brought no answer."""
        self.last_event = ""
        """The last event before the request."""
        self.refusal: Response | None = None
        """Head of a response with a status from 300 on, once received."""
        self.socks_stream: Any = None
        """Stream of the handshake with a SOCKS proxy; None: no such proxy."""
        self.mocked = False
        """True if a mocking library answers in place of httpx."""

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if not self.has_events:
            self.has_events = True
            self.progress.started = False
        if event == f"{_SOCKS_HANDSHAKE}.started":
            self.socks_stream = info["stream"]
        elif event == f"{_SOCKS_HANDSHAKE}.failed":  # httpcore leaves the socket open
            with anyio.CancelScope(shield=True):
                await self.socks_stream.aclose()
        if self.progress.started or not event.endswith(".started"):
            return
        if self._precedes_request(event, info):
            self.last_event = event
            if not self.new_connection:
                self.new_connection = True
                seconds = inf if self.connect_timeout is None else self.connect_timeout
                self.connect_scope.deadline = anyio.current_time() + seconds
            return
        self.connect_scope.deadline = inf
        await anyio.lowlevel.checkpoint_if_cancelled()  # connected too late: nothing may be sent
        if not self.progress.may_start:
            await anyio.sleep_forever()
        self.progress.started = True

    def _precedes_request(self, event: str, info: Mapping[str, Any]) -> bool:
        if event.partition(".")[0] in _CONNECTION_LAYERS:
            return True
        method = getattr(info.get("request"), "method", None)
        return method == b"CONNECT" or event == "http11.response_closed.started"


class HttpxWire:
    """Wire over httpx transports, made by *make* for each event loop.

    - With a *keepalive_expiry* (seconds) a transport serves one call at a time, and is closed after
      so long without a call. Without, one transport serves all calls of a loop.
    - *proxy* is the proxy that the transports use; None: no proxy.
    """

    def __init__(
        self,
        base_url: str,
        make: Callable[[], httpx.AsyncBaseTransport],
        *,
        max_response_bytes: int,
        proxy: Proxy | None = None,
        keepalive_expiry: float = inf,
    ) -> None:
        self._proxy: Final = proxy
        self._base_url: Final = httpx.URL(base_url)
        self._host: Final = self._base_url.netloc.decode("ascii")
        self._prefix: Final = self._base_url.raw_path.rstrip(b"/")
        self._is_forwarded: Final = proxy is not None and self._base_url.scheme == "http"
        self._make_stack: Final = partial(TransportStack, make, keepalive_expiry)
        self._max_response_bytes: Final = max_response_bytes
        self._stacks: Final = WeakKeyDictionary[object, TransportStack]()
        self._inherited: Final[list[object]] = []
        renew_after_fork(self)

    def renew(self) -> None:
        """Start without connections in a child process; the parent's connections stay open."""
        self._inherited.extend(self._stacks.values())  # or garbage collection would close them
        self._stacks.clear()

    async def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Response | Failure:
        trace = _HttpcoreTrace(progress, timeout.connect)
        method, body = request.method, request.body
        url = self._base_url.copy_with(raw_path=self._prefix + request.target.encode("ascii"))
        if not isinstance(body, StreamedBody):
            outgoing = httpx.Request(method, url, headers=dict(headers), content=body)
            outgoing.stream = BytesStream(body or b"")
            return await self._send(outgoing, timeout, trace)
        framed = {"Host": self._host, **headers}
        if body.length is None:
            framed["Transfer-Encoding"] = "chunked"
        else:
            framed["Content-Length"] = str(body.length)
        source = body if isinstance(body, CallerBody) else CallerBody(body)
        async with source.open() as stream:
            # httpx adds no header to a request with a stream
            outgoing = httpx.Request(method, url, headers=framed, stream=stream)
            return await self._send(outgoing, timeout, trace)

    async def _send(
        self, outgoing: httpx.Request, timeout: Timeout, trace: _HttpcoreTrace
    ) -> Response | Failure:
        phases = asdict(timeout)
        outgoing.extensions = {"trace": trace, "timeout": phases}
        total, stream = phases.pop("total"), outgoing.stream
        try:
            with anyio.move_on_after(total), trace.connect_scope:
                return await self._exchange(outgoing, trace)
        except Exception as error:
            if isinstance(stream, CallerBody) and stream.error is error:
                raise
            if not (trace.has_events or isinstance(error, _TRANSPORT_ERRORS)):
                raise
            failure = trace.refusal or self._failure(error, trace)
            answered = trace.mocked and not trace.has_events
            if answered and isinstance(failure, Failure) and str(error):
                return failure._replace(reason=f"the mock raised {type(error).__name__}: {error}")
            return failure
        return trace.refusal or self._failure(TimeoutError(), trace)

    async def aclose(self) -> None:
        if not self._stacks:  # as for most clients: nothing more of anyio is imported
            return
        stack = self._stacks.pop(anyio.lowlevel.current_token().native_token, None)
        if stack is not None:
            await stack.aclose()

    async def _exchange(self, outgoing: httpx.Request, trace: _HttpcoreTrace) -> Response:
        loop = anyio.lowlevel.current_token().native_token
        stack = self._stacks.get(loop) or await self._open_stack(loop)
        while True:
            transport = await stack.take()
            try:
                response = await self._exchange_by(transport, outgoing, trace)
            except StaleConnectionError:
                trace.progress.started = False
                await stack.drop(transport)
            except BaseException:
                await stack.drop(transport)
                raise
            else:
                stack.give_back(transport)
                return response

    async def _open_stack(self, loop: object) -> TransportStack:
        """Return a new stack for *loop*; forget the stacks of event loops that have ended."""
        stack = self._make_stack()
        known = [reference() for reference in self._stacks.keyrefs()]  # other threads change these
        for other in filter(None, known):  # a stack keeps its loop: no key ends by itself
            if self._stacks.get(other, stack).has_ended or getattr(other, "is_closed", bool)():
                self._stacks.pop(other, None)
        self._stacks[loop] = stack
        await stack.open()
        return stack

    async def _exchange_by(
        self, transport: httpx.AsyncBaseTransport, outgoing: httpx.Request, trace: _HttpcoreTrace
    ) -> Response:
        # any other transport may send at once, and reports nothing
        is_httpx = type(transport) is httpx.AsyncHTTPTransport
        trace.mocked = is_httpx and is_mocked()
        trace.progress.started = trace.mocked or not is_httpx
        incoming = await transport.handle_async_request(outgoing)
        trace.new_connection = False  # the server has read the request
        try:
            if incoming.status_code == _PROXY_AUTH_REQUIRED and self._is_forwarded:
                raise httpx.ProxyError(str(_PROXY_AUTH_REQUIRED))
            if incoming.status_code >= _LOWEST_REFUSAL:
                fields = dict(incoming.headers)
                trace.refusal = Response(incoming.status_code, fields, b"", BODY_LOST)
            stream = incoming.extensions.get("network_stream")
            if isinstance(stream, ParserStream):
                return await _read_parsed(incoming, stream)
            return await _read(incoming, self._max_response_bytes)
        finally:
            await incoming.aclose()

    def _failure(self, error: Exception, trace: _HttpcoreTrace) -> Failure:
        """Turn *error* into a failure in our own words: an error of httpx holds the request."""
        timed_out = isinstance(error, httpx.TimeoutException | TimeoutError)
        known = trace.has_events and not isinstance(error, httpx.ProxyError)
        started = trace.progress.started if known else not isinstance(error, _UNSENT_ERRORS)
        if not started:
            if isinstance(error, httpx.PoolTimeout):
                return Failure(Fault.UNSENT, f"no connection to {self._host} {NONE_FREE}")
            return self._unsent_failure(error, trace.last_event, timed_out=timed_out)
        cause = root_cause(error)
        if trace.new_connection and refuses_client(cause):
            return connect_failure(cause, f"connecting to {self._host}")
        if timed_out:
            return Failure(Fault.TIMED_OUT, f"{self._host} did not answer in time")
        if isinstance(error, InvalidResponseError):
            return Failure(Fault.LOST, f"{self._host} sent an answer that can't be read: {error}")
        reason = f"the connection to {self._host} broke before the answer came ({name_of(cause)})"
        if isinstance(error, StreamEndError):
            reason = f"{self._host} closed the connection {error}"
        return Failure(Fault.LOST, reason)

    def _unsent_failure(self, error: Exception, last_event: str, *, timed_out: bool) -> Failure:
        """Return the failure of a request that was not sent, by the server or by the proxy."""
        cause = TimeoutError() if timed_out else error
        if self._proxy is None:
            return connect_failure(cause, f"connecting to {self._host}")
        if isinstance(error, httpx.ProxyError):
            return self._proxy.refusal(str(error).rstrip("."), self._host)
        if isinstance(error, StreamEndError):
            reason = f"the proxy closed the connection {error}"
            return self._proxy.failure(reason, self._host)
        if isinstance(error, httpx.RemoteProtocolError):
            return self._proxy.failure("the proxy's answer is no HTTP", self._host)
        reached = not last_event.startswith("connection.")
        return self._proxy.connect_failure(cause, self._host if reached else None)


async def _read_parsed(incoming: httpx.Response, stream: ParserStream) -> Response:
    """Read *incoming* to the end; return the response that our own parser has read."""
    try:
        async for _ in cast("httpx.AsyncByteStream", incoming.stream):
            pass
    except httpx.TransportError:
        if stream.response is None:
            raise
    if stream.response is None:
        message = "its end is in doubt"
        raise InvalidResponseError(message)
    return stream.response


async def _read(incoming: httpx.Response, limit: int) -> Response:
    """Read the response of a transport without our own parser."""
    headers = dict(incoming.headers)
    # a transport such as one that logs has read, and inflated, the body: the stream has no more
    is_read = incoming.is_stream_consumed and not isinstance(incoming.stream, httpx.ByteStream)
    encoding = None if is_read else headers.get("content-encoding")
    body = BodyDecoder(encoding, limit=limit)
    try:
        if is_read:
            body.add(incoming.content)
            return Response(incoming.status_code, headers, body.finish())
        async for piece in cast("httpx.AsyncByteStream", incoming.stream):  # as AsyncClient demands
            body.add(piece)
        return Response(incoming.status_code, headers, body.finish())
    except InvalidResponseError as error:
        return Response(incoming.status_code, headers, b"", str(error))


def is_mocked() -> bool:
    """Return True if a library that mocks httpx in tests has been imported."""
    loaded = sys.modules
    return "respx" in loaded or "pytest_httpx" in loaded or "vcr" in loaded


def check_cassette() -> None:
    """Raise `ConfigurationError` in a cassette of vcrpy 7 or older: a call would reach the service.

    Such a vcrpy plays the calls of httpx's own clients, and none of a transport.
    """
    patched = getattr(httpx.AsyncClient, "_send_single_request", None)
    if "vcr" in sys.modules and hasattr(patched, "__wrapped__"):
        message = "the cassette plays no call of this client, which would be sent: install vcrpy>=8"
        raise ConfigurationError(message)


def is_mock_error(error: Exception) -> bool:
    """Return True if *error* is the report of a test's mock: the text is for the test's author."""
    return isinstance(error, AssertionError) or type(error).__module__.startswith("vcr.")
