"""Connection pool and wire on asyncio sockets: kept connections, and a queue of waiting calls."""

import asyncio
import re
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from math import inf
from typing import Final, cast
from urllib.parse import urlsplit

from sunshine_async._http.connection import READ_BYTES, Call, Connection, ConnectionState
from sunshine_async._http.dialer import Dialer, Origin
from sunshine_async._http.failures import CHECK, CLOSED_FIRST, NONE_FREE
from sunshine_async._http.fork import SleepWatch, renew_after_fork
from sunshine_async._http.messages import (
    Failure,
    Headers,
    Request,
    Response,
    Sending,
    SendProgress,
    StreamedBody,
    Timeout,
    reply_to,
)
from sunshine_async._http.proxy import Proxy
from sunshine_async._http.response_parser import PlainResponseReader
from sunshine_async.errors import Fault

_FRAMING_HEADERS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n")
_BODY_EXPECTED: Final = frozenset({"POST", "PUT", "PATCH"})
_REQUEST_LINE: Final = re.compile(r"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1\r\n")
_MAX_HEADER_BLOCKS: Final = 16
_MAX_REQUEST_LINES: Final = 64
_BRIEF: Final = 0.1  # seconds idle, as between calls of a batch: no look for a sleep


class Pool:
    """Connection pool of an origin in an event loop, with at most *max_connections*.

    - Calls wait in a first-in, first-out queue.
    - A new connection belongs to no call. Once connected, the connection takes the first call in
      the queue, or becomes idle.
    - The idle connection that was used last is used next; none after a sleep of the machine.
    - If connecting fails, the first call in the queue fails, unless a connection is under way for
      every waiting call.
    """

    def __init__(
        self,
        origin: Origin,
        make_context: Callable[[], ssl.SSLContext],
        *,
        max_connections: int,
        keepalive_expiry: float,
        max_response_bytes: int,
        proxy: Proxy | None = None,
    ) -> None:
        self.is_open = True
        self.lifetime: Final = self._close_with_loop()
        self._origin: Final = origin
        self._target: Final = f"{origin}{f' through the proxy {proxy.name}' if proxy else ''}"
        self.plain_reader = PlainResponseReader(limit=max_response_bytes)
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._keepalive_expiry: Final = keepalive_expiry
        self._dialer: Final = Dialer(origin, make_context, proxy)
        self._loop: Final = asyncio.get_running_loop()
        self._queue: Final[OrderedDict[Call, None]] = OrderedDict()
        self._idle: Final[dict[Connection, None]] = {}
        self._connecting: Final[set[asyncio.Task[Connection | Failure]]] = set()
        self._connections: Final[set[Connection]] = set()
        self._free_slots = max_connections
        self._expiry: asyncio.TimerHandle | None = None
        self._watch: Final = SleepWatch()

    def submit(self, call: Call, now: float) -> None:
        """Send *call* on an idle connection, or put *call* into the queue; *now* is the loop's time."""
        call.pool = self
        slept = False
        while self._idle:
            connection, _ = self._idle.popitem()
            idle = now - connection.idle_since
            slept = slept or (idle > _BRIEF and self._watch.has_slept())
            if idle < self._keepalive_expiry and not slept and connection.is_available():
                connection.start(call, now)
                return
            connection.abort()
        self._queue[call] = None
        self._open_connections()
        pool = call.timeout.pool
        due = call.deadline if pool is None else min(call.deadline, now + pool)
        if due < inf:
            call.timer = self._loop.call_at(due, self._on_deadline, call)

    def cancel(self, call: Call) -> None:
        """Remove *call* from the queue, or close the connection that carries *call*."""
        if self._loop.is_closed():
            return  # the loop has closed all, and cancelled its timers
        if call.connection is not None:
            call.connection.abort()
        else:
            self._dequeue(call)

    def release(self, connection: Connection) -> None:
        """Send the first call that may start on *connection*, or keep *connection* idle."""
        call = None
        if self._queue:
            waiting = (call for call in self._queue if not call.is_done and call.progress.may_start)
            call = next(waiting, None)
        if call is None:
            self._idle[connection] = None
            if self._expiry is None:
                self._expiry = self._loop.call_later(self._keepalive_expiry, self._close_expired)
        elif connection.is_available():
            self._dequeue(call)
            connection.start(call, self._loop.time())
        else:
            connection.abort()

    def retire(self, connection: Connection) -> None:
        """Free the slot of *connection*; open a new connection if a call waits."""
        if connection in self._connections:
            self._idle.pop(connection, None)
            self._free_slots += 1
            self._open_connections()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def end_with_loop(self) -> None:
        """Tell all calls that the event loop is closed: nobody else can end the calls."""
        for call in self._queue:
            call.progress.end_with_loop()
        for connection in self._connections:
            connection.end_with_loop()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Close the pool when this generator is closed: a loop closes generators on shutdown."""
        try:
            yield
        finally:
            self.is_open = False
            if self._expiry is not None:
                self._expiry.cancel()
            for call in list(self._queue):
                self._dequeue(call)
                call.set_reply(Failure(Fault.UNSENT, CLOSED_FIRST))
            self._dialer.close()
            for task in self._connecting:
                task.cancel()
            self.plain_reader.close()  # not after the wait, which may be cancelled: nothing is read now
            while self._connections or self._connecting:
                for connection in list(self._connections):
                    connection.fail(Fault.LOST, "the client was closed before the answer came")
                await asyncio.sleep(0)

    def _open_connections(self) -> None:
        """Open a connection for every waiting call, as far as slots are free."""
        while self._free_slots and len(self._connecting) < len(self._queue):
            self._free_slots -= 1
            task = self._loop.create_task(self._dial(self._next_undialed().timeout.connect))
            self._connecting.add(task)
            task.add_done_callback(self._on_connected)

    def _next_undialed(self) -> Call:
        """Return the first call in the queue for which no connection is under way.

        The search begins at the nearer end of the queue: a burst of calls costs no more a call.
        """
        before = len(self._connecting)
        after = len(self._queue) - before - 1
        if before < after:
            return next(islice(self._queue, before, None))
        return next(islice(reversed(self._queue), after, None))

    async def _dial(self, seconds: float | None) -> Connection | Failure:
        """Return a new connection, or the failure to connect within *seconds*."""
        make = partial(Connection, self, str(self._origin), secure=self._origin.secure)
        connection = await self._dialer.dial(make, seconds)
        if isinstance(connection, Failure) or connection.is_available():
            return connection
        connection.abort()
        return self._connect_failure("the server closed it, or sent bytes, before a request")

    def _connect_failure(self, reason: str) -> Failure:
        return Failure(Fault.UNSENT, f"connecting to {self._target} failed: {reason}: {CHECK}")

    def _on_connected(self, task: asyncio.Task[Connection | Failure]) -> None:
        """Use the connection that `_dial` made; on a failure free the slot and fail a call."""
        self._connecting.discard(task)
        result = self._connect_failure("cancelled") if task.cancelled() else task.result()
        if isinstance(result, Connection) and result.state is ConnectionState.IDLE:
            self._connections.add(result)
            self.release(result)
            return
        self._free_slots += 1
        call = next((call for call in self._queue if not call.is_done), None)
        if isinstance(result, Failure) and call and len(self._queue) > len(self._connecting):
            self._dequeue(call)
            call.set_reply(result)
        self._open_connections()

    def _dequeue(self, call: Call) -> None:
        self._queue.pop(call, None)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _on_deadline(self, call: Call) -> None:
        """End the wait of *call*; a connection under way has a time limit itself."""
        dialing = call in islice(self._queue, len(self._connecting))
        if dialing and self._loop.time() < call.deadline:
            call.timer = None
            if call.deadline < inf:
                call.timer = self._loop.call_at(call.deadline, self._on_deadline, call)
            return
        self._dequeue(call)
        event = f"was made in time: {CHECK}" if dialing else NONE_FREE
        call.set_reply(Failure(Fault.UNSENT, f"no connection to {self._target} {event}"))

    def _close_expired(self) -> None:
        """Close the connections that have been idle for too long; the oldest come first."""
        self._expiry = None
        now = self._loop.time()
        for connection in list(self._idle):
            due = connection.idle_since + self._keepalive_expiry
            if due > now:
                self._expiry = self._loop.call_at(due, self._close_expired)
                return
            connection.abort()


class SocketWire:
    """Wire on asyncio sockets, with a connection pool for each event loop."""

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int,
        keepalive_expiry: float,
        max_response_bytes: int,
        make_context: Callable[[], ssl.SSLContext],
        proxy: Proxy | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        secure = parts.scheme == "https"
        default_port = 443 if secure else 80
        self._origin: Final = Origin(secure, parts.hostname or "", parts.port or default_port)
        self._host: Final = str(self._origin).removesuffix(f":{default_port}")
        self._prefix: Final = parts.path.rstrip("/")
        self._make_pool: Final = partial(
            Pool,
            self._origin,
            make_context,
            max_connections=max_connections,
            keepalive_expiry=keepalive_expiry,
            max_response_bytes=max_response_bytes,
            proxy=proxy,
        )
        self._pools: Final[dict[asyncio.AbstractEventLoop, Pool]] = {}
        self._inherited: Final[list[Pool]] = []
        self._request_lines: Final[dict[str, bytes]] = {}
        self._header_blocks: Final[dict[int, tuple[Headers, bytes]]] = {}
        renew_after_fork(self)

    def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Sending:
        """Send *request*, as `Wire` promises.

        Raise `ValueError` for a request with characters that would change the request's meaning.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()  # asked once: 700 instructions each time
        call = Call(
            request.method,
            self._encode(request, headers),  # raises before a pool is opened
            timeout,
            progress,
            loop.create_future(),
            inf if timeout.total is None else now + timeout.total,
        )
        pool = self._pools.get(loop)
        body = request.body
        if pool is None or not pool.is_open or not (body is None or isinstance(body, bytes)):
            return self._send_by_coroutine(call, None if isinstance(body, bytes) else body)
        pool.submit(call, now)
        return call

    async def _send_by_coroutine(self, call: Call, body: StreamedBody | None) -> Response | Failure:
        """Send *call* as the first of the event loop, or with a *body* that is streamed."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or not pool.is_open:
            pool = await self._open_pool(loop)
        if body is not None:
            return await _send_streamed(pool, call, body)
        pool.submit(call, loop.time())
        return await reply_to(call)

    async def aclose(self) -> None:
        """Close the connections of the running loop; calls under way fail."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.lifetime.aclose()

    def renew(self) -> None:
        """Start without connections in a child process; the parent's connections stay open."""
        self._inherited.extend(self._pools.values())  # or garbage collection would close them
        self._pools.clear()

    async def _open_pool(self, loop: asyncio.AbstractEventLoop) -> Pool:
        for other in list(self._pools):  # a copy: other threads may change the dictionary
            if other.is_closed() and (closed := self._pools.pop(other, None)) is not None:
                closed.end_with_loop()
        pool = self._pools[loop] = self._make_pool()
        await anext(pool.lifetime)
        return pool

    def _encode(self, request: Request, headers: Headers) -> bytes:
        """Return the bytes of *request*: the head, and the body unless streamed."""
        line = f"{request.method} {self._prefix}{request.target} HTTP/1.1\r\n"
        cached = self._header_blocks.get(id(headers))
        head = (self._request_lines.get(line) or self._encode_request_line(line)) + (
            cached[1] if cached else self._encode_headers(headers)
        )
        body = request.body
        if body is None:
            length = b"Content-Length: 0\r\n" if request.method in _BODY_EXPECTED else b""
            return head + length + b"\r\n"
        if isinstance(body, bytes):
            return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        if body.length is None:
            return head + b"Transfer-Encoding: chunked\r\n\r\n"
        return b"%bContent-Length: %d\r\n\r\n" % (head, body.length)

    def _encode_request_line(self, line: str) -> bytes:
        """Return the bytes of *line*, cached: most calls of a batch have the same line."""
        if not _REQUEST_LINE.fullmatch(line):
            message = "the method or the target can't be written as a request line"
            raise ValueError(message)
        if len(self._request_lines) >= _MAX_REQUEST_LINES:
            self._request_lines.clear()
        encoded = self._request_lines[line] = line.encode("ascii")
        return encoded

    def _encode_headers(self, headers: Headers) -> bytes:
        """Return the bytes of *headers*, cached by the identity of the mapping."""
        lines = [f"Host: {self._host}\r\n"]
        for name, value in headers.items():
            line = f"{name}: {value}\r\n"
            if not _FIELD.fullmatch(line) or name.lower() in _FRAMING_HEADERS:
                message = "a header can't be written: invalid characters, or a name that we set"
                raise ValueError(message)
            lines.append(line)
        if len(self._header_blocks) >= _MAX_HEADER_BLOCKS:
            self._header_blocks.clear()
        block = "".join(lines).encode("latin-1")
        self._header_blocks[id(headers)] = headers, block  # keeps the mapping, and so the id
        return block


async def _send_streamed(pool: Pool, call: Call, body: StreamedBody) -> Response | Failure:
    """Send *call* in *pool*, then the pieces of *body*; return the response or the failure.

    A reply before the end of the body stops the body. An error of its source is raised unchanged.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[object]", asyncio.current_task())
    async with body.open() as pieces:
        if not pool.is_open:  # closed while the source was opened
            return Failure(Fault.UNSENT, CLOSED_FIRST)
        waiter = call.connection_waiter = loop.create_future()
        pool.submit(call, loop.time())
        cancelled_before = task.cancelling()
        until_replied = asyncio.timeout(None)

        def stop(_: object) -> None:
            with suppress(RuntimeError):  # the whole body has been sent
                until_replied.reschedule(loop.time())

        call.reply.add_done_callback(stop)
        try:
            try:
                async with until_replied:
                    await (await waiter).send_body(call, pieces, body.length)
            except (TimeoutError, asyncio.CancelledError):  # Python before 3.11.3 raises either
                if not until_replied.expired() or task.cancelling() > cancelled_before:
                    raise
            return await call.reply
        except BaseException:
            pool.cancel(call)
            raise
