"""HTTP/1.1 connection on asyncio: one call at a time, with a whole or a streamed request body."""

import asyncio
import os
import select
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from enum import Enum
from functools import partial
from math import inf
from typing import Any, Final, Protocol, cast

from attrs import define, field

from sunshine_async._http.failures import connect_failure, is_clean_end, name_of, refuses_client
from sunshine_async._http.messages import Failure, Response, SendProgress, Timeout
from sunshine_async._http.response_parser import PlainResponseReader, ResponseParser
from sunshine_async._http.response_parts import InvalidResponseError
from sunshine_async.errors import Fault

READ_BYTES: Final = 64 * 1024
"""The most bytes of one read; a TLS record is 17 KiB at most."""
_PIECE_SIZE: Final = 64 * 1024
_MOMENT: Final = 0.01  # seconds to read an answer that is there


@define(eq=False)
class Call:
    """A request under way, and the future of the response."""

    method: str
    data: bytes = field(repr=False)
    timeout: Timeout
    progress: SendProgress
    reply: asyncio.Future[Response | Failure]
    deadline: float
    """End of the total time limit, on the loop's clock."""
    connection_waiter: "asyncio.Future[Connection] | None" = None
    """Future of the connection that will send a streamed body; *data* is only the head then."""
    connection: "Connection | None" = None
    timer: asyncio.TimerHandle | None = None
    """Time limit of the wait for a connection; None: no wait, or no limit."""
    pool: "ConnectionOwner | None" = None
    """The pool that sends the call; None before."""

    def __await__(self) -> Generator[Any, Any, Response | Failure]:
        return self.reply.__await__()

    def close(self) -> None:
        """Remove the call from the pool's queue, or close the connection that carries the call."""
        if self.pool is not None:
            self.pool.cancel(self)
        self.data = b""

    @property
    def is_done(self) -> bool:
        """True after the reply, or after the caller was cancelled."""
        waiter = self.connection_waiter
        return self.reply.done() or (waiter is not None and waiter.cancelled())

    def set_reply(self, reply: Response | Failure) -> None:
        """Wake the caller with *reply*; do nothing after an earlier reply or a cancellation.

        The event loop makes an object to wake the caller, and this call ends in exchange. So an
        answer leaves the garbage collector's count as it is. The loop takes hundreds of answers
        before it wakes the first caller: if each changed the count by one, up or down, the collector
        would visit all calls in flight in each pass of the loop, at 4 µs a call.
        """
        if not self.reply.done():
            self.progress.sending = None
            self.reply.set_result(reply)


class ConnectionOwner(Protocol):
    """Owner of connections and of the calls that wait for one: a pool."""

    plain_reader: PlainResponseReader
    read_buffer: memoryview
    """Room for the bytes of one read: all connections share it, so that it stays in the cache."""

    def cancel(self, call: Call) -> None:
        """Remove *call* from the queue, or close the connection that carries *call*."""

    def release(self, connection: "Connection") -> None:
        """Take back a *connection* that can carry another call."""

    def retire(self, connection: "Connection") -> None:
        """Free the slot of a *connection* that carries no more calls."""

    def forget(self, connection: "Connection") -> None:
        """Forget a *connection*: the socket is closed."""


class ConnectionState(Enum):
    """State of a connection. Each event is a method of `Connection` that handles every state."""

    IDLE = "open, without a call: any received byte closes the connection"
    SENDING = "a part of the request is missing, or waits until the peer has read the part before"
    WAITING = "the request is written, the response has not come"
    CLOSED = "carries no more calls; the socket is closed, or is being closed"


# looked up once: an enum's members take 900 instructions each time
_IDLE: Final = ConnectionState.IDLE
_SENDING: Final = ConnectionState.SENDING
_WAITING: Final = ConnectionState.WAITING
_CLOSED: Final = ConnectionState.CLOSED


class Connection(asyncio.BufferedProtocol):
    """Connection to one address that carries a single call at a time and sets the call's reply.

    ========  ======================  ===================  ===========  ==================
    state     bytes received          end of the stream    broken       time limit reached
    ========  ======================  ===================  ===========  ==================
    IDLE      CLOSED                  CLOSED               CLOSED       (the pool closes)
    SENDING   response, then CLOSED   response or failure  failure      failure
    WAITING   response, then IDLE     response or failure  failure      failure
    CLOSED    nothing                 nothing              nothing      nothing
    ========  ======================  ===================  ===========  ==================

    CLOSED also follows a failure, and a response with ``Connection: close`` or more bytes behind.
    """

    def __init__(self, owner: ConnectionOwner, peer: str, *, secure: bool) -> None:
        self.state: ConnectionState = _CLOSED
        self.idle_since = 0.0
        self._owner: Final = owner
        self._buffer: Final = owner.read_buffer
        self._peer: Final = peer
        self._secure: Final = secure
        self._used = False
        """True once a byte of an answer has come."""
        self._loop: Final = asyncio.get_running_loop()
        self._call: Call | None = None
        self._unsent = memoryview(b"")
        self._streaming = False
        self._paused = False
        self._drain_waiter: asyncio.Future[None] | None = None
        self._last_activity = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._extended = -inf
        """The latest end of a time limit at which an answer was there to be read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._parser = ResponseParser(self._owner.plain_reader)  # not before: many a connect fails
        self._transport = cast("asyncio.Transport", transport)
        self._readable = watch_readable(transport)
        self.state = _IDLE
        self.idle_since = self._loop.time()

    def is_available(self) -> bool:
        """Return True if a call may start: the connection is open, and no byte came unasked."""
        if self.state is not _IDLE or self._transport.is_closing():
            return False
        if self._secure and not self._used:
            return True  # bytes may be TLS session tickets: no response, and not the end
        return not self._readable()  # the loop may not have reported bytes yet

    def start(self, call: Call, now: float) -> None:
        """Send the request of *call*; the connection must be available, and *now* the loop's time."""
        self._call = call
        call.connection = self
        self._parser.expect(call.method)
        self._last_activity = now
        call.progress.started = True
        if call.connection_waiter is not None:
            self.state = _SENDING
            self._streaming = True
            self._transport.write(call.data)
            call.connection_waiter.set_result(self)
        elif len(call.data) <= _PIECE_SIZE:
            self.state = _WAITING
            self._transport.write(call.data)
        else:
            self.state = _SENDING
            self._unsent = memoryview(call.data)
            self._write()
        call.data = b""  # written, and never written again: so less memory a call in flight
        self._set_timer(self._deadline(call))

    def end_with_loop(self) -> None:
        """Tell the call under way that the event loop is closed."""
        if self._call is not None:
            self._call.progress.end_with_loop()

    async def send_body(self, call: Call, pieces: AsyncIterator[bytes], length: int | None) -> None:
        """Send *pieces* as the body of *call*, in chunks without a *length*; stop if the call ends.

        A body of another length ends the call as lost.
        """
        sent = 0
        async for piece in pieces:
            sent += len(piece)
            if call is not self._call or (length is not None and sent > length):
                break
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if length is None else piece
            self._last_activity = self._loop.time()
            self._transport.write(chunk if piece else b"")  # an empty chunk would be the end
            if self._paused:
                self._drain_waiter = self._loop.create_future()
                await self._drain_waiter
        if call is not self._call:
            return
        if length not in (None, sent):
            self.fail(Fault.LOST, "the body is not as long as it was said to be")
            return
        self._streaming = False
        self._last_activity = self._loop.time()
        self._transport.write(b"0\r\n\r\n" if length is None else b"")
        self._write()

    def abort(self) -> None:
        """Close the connection at once, without a reply to a call under way."""
        if self.state is not _CLOSED:
            self.state = _CLOSED
            self._call = None
            self._unsent = memoryview(b"")
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._transport.abort()
            self._owner.retire(self)

    def fail(self, fault: Fault, reason: str) -> None:
        """Close the connection and fail the call; a received error status is the reply instead."""
        call = self._call
        self.abort()
        if call is not None:
            call.connection = None
            call.set_reply(self._parser.refusal or Failure(fault, reason))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._call is None:
            self.abort()
            return
        self._used = True
        self._last_activity = self._loop.time()
        data = self._buffer[:nbytes].tobytes()
        try:
            response = self._parser.feed(data)
        except InvalidResponseError as error:
            self.fail(Fault.LOST, f"{self._peer} sent an answer that can't be read: {error}")
        else:
            if response is not None:
                self._finish(self._call, response)

    def eof_received(self) -> None:
        if self._call is None:
            self.abort()
            return
        tls = self._transport.get_extra_info("ssl_object")
        response = self._parser.feed_eof() if is_clean_end(tls) else None
        if response is not None:
            self._finish(self._call, response)
        else:
            self._fail_lost("closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._secure:
            read_rest(self, self, self._transport)
        if refuses_client(exc) and not self._used:  # no request of the connection was read
            self.fail(*connect_failure(exc, f"connecting to {self._peer}"))
        elif self.state is not _CLOSED:
            reason = f" ({name_of(exc)})" if exc is not None else ""
            self._fail_lost(f"broke the connection{reason}")
        self._parser.close()
        self._owner.forget(self)

    def pause_writing(self) -> None:
        self._paused = True
        if self._call is not None:
            self._set_timer(self._deadline(self._call))

    def resume_writing(self) -> None:
        self._paused = False
        if self._drain_waiter is not None and not self._drain_waiter.done():
            self._drain_waiter.set_result(None)
        if self.state is _SENDING:
            self._last_activity = self._loop.time()
            self._write()

    def _write(self) -> None:
        while self._unsent and not self._paused:
            piece, self._unsent = self._unsent[:_PIECE_SIZE], self._unsent[_PIECE_SIZE:]
            self._transport.write(piece)
        if self._call is not None and not (self._unsent or self._paused or self._streaming):
            self.state = _WAITING
            self._set_timer(self._deadline(self._call))

    def _finish(self, call: Call, response: Response) -> None:
        self._call = call.connection = None
        call.set_reply(response)
        if self.state is _WAITING and self._parser.reusable:
            self.state = _IDLE
            self.idle_since = self._last_activity
            self._owner.release(self)
        else:
            self.abort()

    def _fail_lost(self, event: str) -> None:
        self.fail(Fault.LOST, f"{self._peer} {event} {self._parser.stage}")

    def _deadline(self, call: Call) -> float:
        limit = call.timeout.read
        if self.state is _SENDING:  # a slow source isn't the peer's fault
            limit = call.timeout.write if self._paused else None
        return call.deadline if limit is None else min(call.deadline, self._last_activity + limit)

    def _set_timer(self, due: float) -> None:
        """Call `_check_deadline` at *due* or earlier: the timer of an earlier call may be set."""
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._check_deadline)
            self._timer_at = due

    def _check_deadline(self) -> None:
        self._timer = None
        self._timer_at = inf
        call = self._call
        if call is None:
            return
        due = self._deadline(call)
        now = self._loop.time()
        if now < due:
            self._set_timer(due)
        elif due > self._extended and self._readable():
            # after a stop of the process the loop hears of the time first, and then of the answer
            self._extended = due
            self._set_timer(now + _MOMENT)
        else:
            event = "take the request" if self.state is _SENDING else "answer"
            self.fail(Fault.TIMED_OUT, f"{self._peer} did not {event} in time")


def watch_readable(transport: asyncio.BaseTransport) -> Callable[[], object]:
    """Return a test of *transport*: true where bytes have come that nobody has read."""
    known: Callable[[], object] | None = transport.get_extra_info("is_readable")
    return known or _watch_descriptor(transport.get_extra_info("socket").fileno())


def read_rest(
    connection: Connection, reader: asyncio.BufferedProtocol, transport: asyncio.BaseTransport
) -> None:
    """Hand to *reader* the bytes that came before an error of *transport*: perhaps the answer.

    A server may answer before the end of a request, and close the connection. The next write fails
    then, and the event loop reads no more. Once *connection* is closed, nothing more is read.
    """
    descriptor = transport.get_extra_info("socket").fileno()
    while connection.state is not _CLOSED:
        count = _read_at_once(descriptor, reader.get_buffer(-1))
        if not count:
            return
        reader.buffer_updated(count)


def _read_at_once(descriptor: int, buffer: Any) -> int:
    """Return the count of bytes read into *buffer*: 0 where no more came, and on Windows."""
    with suppress(OSError, AttributeError):  # Windows has no readv
        return os.readv(descriptor, [buffer])
    return 0


def _readable_by_poll(descriptor: int) -> Callable[[], object]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return partial(poll.poll, 0)


def _readable_by_select(descriptor: int) -> Callable[[], object]:
    return lambda: select.select([descriptor], [], [], 0)[0]


# Windows has no poll
_watch_descriptor: Final = _readable_by_poll if hasattr(select, "poll") else _readable_by_select
