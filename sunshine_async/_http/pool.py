"""HTTP/1.1 on asyncio for our own calls: connections that are kept, and calls that wait for one."""

import asyncio
import re
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from itertools import islice
from math import inf
from typing import Final
from urllib.parse import urlsplit

from sunshine_async._http.connection import Call, Connection, State, pour
from sunshine_async._http.dialer import Address, Dialer
from sunshine_async._http.failures import unsent
from sunshine_async._http.fork import renew_after_fork
from sunshine_async._http.messages import (
    Failure,
    Request,
    Response,
    SendProgress,
    Streamed,
    Timeout,
)
from sunshine_async.errors import Fault

_OURS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*\r\n")
_REQUEST_LINE: Final = re.compile(r"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1\r\n")
_BODY_EXPECTED: Final = frozenset({"POST", "PUT", "PATCH"})
_HEADERS_KEPT: Final = 16
_END: Final = b"\r\n"
_EMPTY: Final = b"Content-Length: 0\r\n\r\n"
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n\r\n"


class Pool:
    """The connections to one address in one loop, at most *max_connections*.

    Calls wait in line, first come, first served, and connections serve the line. A connection that
    is being made belongs to no call: when it is there it serves who is first by then, or waits
    among the idle ones, where the one used last is used next. If it fails, whoever is first fails
    with it, unless all who wait have another one coming.
    """

    def __init__(
        self,
        address: Address,
        ssl_context: ssl.SSLContext | None,
        *,
        max_connections: int,
        keepalive_expiry: float,
        max_response_bytes: int,
    ) -> None:
        self.is_open = True
        self.keeper: Final = self._until_the_end()
        self._address: Final = address
        self._max_connections: Final = max_connections
        self._keepalive_expiry: Final = keepalive_expiry
        self._max_response_bytes: Final = max_response_bytes
        self._dialer: Final = Dialer(address, ssl_context)
        self._loop: Final = asyncio.get_running_loop()
        self._line: Final[OrderedDict[Call, None]] = OrderedDict()
        self._idle: Final[OrderedDict[Connection, None]] = OrderedDict()
        self._coming: Final[set[asyncio.Task[Connection | Failure]]] = set()
        self._connections: Final[set[Connection]] = set()
        self._places = max_connections
        self._expiry: asyncio.TimerHandle | None = None

    def submit(self, call: Call) -> None:
        """Send *call* by an idle connection, or let it wait in line for one."""
        while self._idle:
            connection, _ = self._idle.popitem()
            fresh = self._loop.time() - connection.idle_since < self._keepalive_expiry
            if fresh and connection.quiet():
                connection.start(call)
                return
            connection.abandon()
        self._line[call] = None
        self._connect()
        pool = call.timeout.pool
        due = call.ends_at if pool is None else min(call.ends_at, self._loop.time() + pool)
        if due < inf:
            call.timer = self._loop.call_at(due, self._overdue, call)

    def withdraw(self, call: Call) -> None:
        """Let go of a *call* whose caller is gone."""
        if call.connection is not None:
            call.connection.abandon()
        else:
            self._leave_line(call)

    def free(self, connection: Connection) -> None:
        """Have *connection* serve the line, or wait for a call."""
        call = self._first() if self._line else None
        if call is None:
            self._idle[connection] = None
            if self._expiry is None:
                self._expiry = self._loop.call_later(self._keepalive_expiry, self._expire)
        elif connection.quiet():
            self._leave_line(call)
            connection.start(call)
        else:
            connection.abandon()

    def over(self, connection: Connection) -> None:
        """Give the place of *connection* to another, if one is needed."""
        if connection in self._connections:
            self._idle.pop(connection, None)
            self._places += 1
            self._connect()

    def closed(self, connection: Connection) -> None:
        """Forget *connection*: its socket is closed."""
        self._connections.discard(connection)

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        """Close everything when it is closed itself: a loop that shuts down sees to that."""
        try:
            yield
        finally:
            await self._close()

    async def _close(self) -> None:
        self.is_open = False
        if self._expiry is not None:
            self._expiry.cancel()
        for call in list(self._line):
            self._leave_line(call)
            call.settle(Failure(Fault.UNSENT, "the client was closed before it was sent"))
        self._dialer.close()
        for task in self._coming:
            task.cancel()
        while self._connections or self._coming:
            for connection in list(self._connections):
                connection.fail(Fault.LOST, "the client was closed before the answer came")
            await asyncio.sleep(0)

    def _connect(self) -> None:
        """Have as many connections coming as there are calls in line, if there are places."""
        while self._places and len(self._coming) < len(self._line):
            call = next(islice(self._line, len(self._coming), None))
            self._places -= 1
            task = self._loop.create_task(self._dial(call.timeout.connect))
            self._coming.add(task)
            task.add_done_callback(self._arrived)

    async def _dial(self, patience: float | None) -> Connection | Failure:
        """Return a connection, or why there is none."""

        def make() -> Connection:
            limit, secure = self._max_response_bytes, self._address.secure
            return Connection(self, str(self._address), limit=limit, secure=secure)

        try:
            async with asyncio.timeout(patience):
                connection = await self._dialer.dial(make)
        except Exception as error:  # noqa: BLE001 - any error ends a call and not the pool
            return unsent(error, f"connecting to {self._address}")
        if connection.quiet():
            return connection
        connection.abandon()
        return self._unsent("it was closed, or spoken on, before anything was asked")

    def _unsent(self, why: str) -> Failure:
        return Failure(Fault.UNSENT, f"connecting to {self._address} failed: {why}")

    def _arrived(self, task: asyncio.Task[Connection | Failure]) -> None:
        """Put to use what `_dial` made, or let go of the place that it had."""
        self._coming.discard(task)
        made = self._unsent("cancelled") if task.cancelled() else task.result()
        if isinstance(made, Connection) and made.state is State.IDLE:
            self._connections.add(made)
            self.free(made)
            return
        self._places += 1
        call = self._first()
        if isinstance(made, Failure) and call and len(self._line) > len(self._coming):
            self._leave_line(call)
            call.settle(made)
        self._connect()

    def _first(self) -> Call | None:
        """Return the first call in line whose caller is still there."""
        return next((call for call in self._line if not call.is_over), None)

    def _leave_line(self, call: Call) -> None:
        self._line.pop(call, None)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _overdue(self, call: Call) -> None:
        """End the wait of *call*, unless a connection is coming for it: that has its own end."""
        awaited = call in islice(self._line, len(self._coming))
        if awaited and self._loop.time() < call.ends_at:
            later = call.ends_at < inf
            call.timer = self._loop.call_at(call.ends_at, self._overdue, call) if later else None
            return
        self._leave_line(call)
        what = "was made" if awaited else "came free"
        reason = f"no connection to {self._address} {what} in time"
        call.settle(Failure(Fault.UNSENT, reason))

    def _expire(self) -> None:
        """Close the connections that nobody has used for too long: those used first are first."""
        self._expiry = None
        long_ago = self._loop.time() - self._keepalive_expiry
        while self._idle:
            connection = next(iter(self._idle))
            if connection.idle_since > long_ago:
                at = connection.idle_since + self._keepalive_expiry
                self._expiry = self._loop.call_at(at, self._expire)
                return
            connection.abandon()


class SocketWire:
    """A wire on asyncio's own sockets: a pool for each event loop that it is used in."""

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int,
        keepalive_expiry: float,
        max_response_bytes: int,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        parts = urlsplit(base_url)
        secure = parts.scheme == "https"
        usual = 443 if secure else 80
        self._address: Final = Address(secure, parts.hostname or "", parts.port or usual)
        self._host: Final = str(self._address).removesuffix(f":{usual}")
        self._prefix: Final = parts.path.rstrip("/")
        self._ssl_context: Final = ssl_context
        self._max_connections: Final = max_connections
        self._keepalive_expiry: Final = keepalive_expiry
        self._max_response_bytes: Final = max_response_bytes
        self._pools: Final[dict[asyncio.AbstractEventLoop, Pool]] = {}
        self._inherited: Final[list[Pool]] = []
        self._blocks: Final[dict[int, tuple[Mapping[str, str], bytes]]] = {}
        renew_after_fork(self)

    async def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        sending: SendProgress,
    ) -> Response | Failure:
        """Return the whole answer, or what came instead: as `Wire` says.

        Raise `ValueError` for a request that can't be written without being read as another.
        """
        data = self._written(request, headers)
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or not pool.is_open:
            pool = await self._open(loop)
        ends_at = inf if timeout.total is None else loop.time() + timeout.total
        call = Call(request.method, data, timeout, sending, loop.create_future(), ends_at)
        body = request.body
        if body is not None and not isinstance(body, bytes):
            return await _poured(pool, call, body)
        pool.submit(call)
        try:
            return await call.reply
        except BaseException:
            pool.withdraw(call)
            raise

    async def aclose(self) -> None:
        """Close the connections of the running loop; calls that are under way fail."""
        pool = self._pools.get(loop := asyncio.get_running_loop())
        if pool is not None:
            del self._pools[loop]
            await pool.keeper.aclose()

    def renew(self) -> None:
        """Begin without connections in a child process; the parent's stay open."""
        self._inherited.extend(self._pools.values())  # kept, or they would be closed as garbage
        self._pools.clear()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Pool:
        for other in list(self._pools):  # other threads may do the same
            if other.is_closed():
                self._pools.pop(other, None)
        made = self._pools[loop] = Pool(
            self._address,
            self._ssl_context,
            max_connections=self._max_connections,
            keepalive_expiry=self._keepalive_expiry,
            max_response_bytes=self._max_response_bytes,
        )
        await anext(made.keeper)
        return made

    def _written(self, request: Request, headers: Mapping[str, str]) -> bytes:
        """Return the bytes of *request*: its head, and its body if that is there already."""
        line = f"{request.method} {self._prefix}{request.target} HTTP/1.1\r\n"
        if not _REQUEST_LINE.fullmatch(line):
            message = "the method or the target can't be written as a request line"
            raise ValueError(message)
        known = self._blocks.get(id(headers))
        head = line.encode("ascii") + (known[1] if known else self._block(headers))
        body = request.body
        if body is None:
            return head + (_EMPTY if request.method in _BODY_EXPECTED else _END)
        if isinstance(body, bytes):
            return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
        if body.length is None:
            return head + _CHUNKED
        return b"%bContent-Length: %d\r\n\r\n" % (head, body.length)

    def _block(self, headers: Mapping[str, str]) -> bytes:
        """Return *headers* as they are written; made once for the mapping that comes again."""
        lines = [f"Host: {self._host}\r\n"]
        for name, value in headers.items():
            line = f"{name}: {value}\r\n"
            if not _FIELD.fullmatch(line) or name.lower() in _OURS:
                message = "a header can't be written: it would be read as another, or says our part"
                raise ValueError(message)
            lines.append(line)
        if len(self._blocks) >= _HEADERS_KEPT:
            self._blocks.clear()
        block = "".join(lines).encode("latin-1")
        self._blocks[id(headers)] = headers, block  # which keeps it, so that its id stays its own
        return block


async def _poured(pool: Pool, call: Call, body: Streamed) -> Response | Failure:
    """Return what becomes of *call* in *pool*, whose *body* follows as it is read."""
    async with body.opened() as pieces:
        taken = call.taken = asyncio.get_running_loop().create_future()
        pool.submit(call)
        try:
            await pour(pieces, call, taken, length=body.length)
            return await call.reply
        except BaseException:
            pool.withdraw(call)
            raise
