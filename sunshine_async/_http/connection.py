"""One connection, and the calls that it carries one after another.

Sending a body that comes piece by piece, until it is out or its call has ended.
"""

import asyncio
import select
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from enum import Enum
from math import inf
from typing import Final, Protocol, cast

from attrs import astuple, define, field

from sunshine_async._http.failures import unsent
from sunshine_async._http.messages import Failure, Response, SendProgress, Timeout
from sunshine_async._http.response_parser import ResponseParser, Unreadable
from sunshine_async._http.tls import is_ended, refuses_client
from sunshine_async.errors import Fault

_PIECE: Final = 64 * 1024
_FIRST_READ: Final = 4 * 1024
_LARGEST_READ: Final = 64 * 1024


@define(eq=False)
class Call:
    """A request on its way, and the future of what becomes of it."""

    method: str
    data: bytes = field(repr=False)
    timeout: Timeout
    sending: SendProgress
    reply: asyncio.Future[Response | Failure]
    ends_at: float
    """When its time as a whole is over, on the loop's clock."""
    taken: "asyncio.Future[Connection] | None" = None
    """Where *data* is only the head of it: the future of the connection that takes the body."""
    connection: "Connection | None" = None
    timer: asyncio.TimerHandle | None = None
    """Set while it waits for a connection."""

    @property
    def is_over(self) -> bool:
        """Whether it has its reply, or its caller is gone."""
        return self.reply.done() or (self.taken is not None and self.taken.cancelled())

    def settle(self, reply: Response | Failure) -> None:
        """Wake the caller with *reply*, unless there is no one any more."""
        if not self.reply.done():
            self.reply.set_result(reply)


class Home(Protocol):
    """Where a connection comes from, and goes back to."""

    def free(self, connection: "Connection") -> None:
        """Take back what can carry another call."""

    def over(self, connection: "Connection") -> None:
        """Give its place to another: it carries no more calls."""

    def closed(self, connection: "Connection") -> None:
        """Forget it: its socket is closed."""


class State(Enum):
    """Where a connection is; each event is one method, which says what happens in each state."""

    IDLE = "open, without a call: whatever comes now ends it"
    SENDING = (
        "a part of the request is still to come, or waits until the peer takes what went before"
    )
    WAITING = "the request has been handed over, the answer has not come"
    OVER = "carries no more calls; its socket is closed, or is being closed"


class Connection(asyncio.BufferedProtocol):
    """Carries one call at a time, and says of each what became of it.

    ========  ==================  ===================  ==========  ===================
    state     bytes               end of the stream    broken      its time is over
    ========  ==================  ===================  ==========  ===================
    IDLE      over                over                 over        (the pool's matter)
    SENDING   answer, then over   answer or failure    failure     failure
    WAITING   answer, then IDLE   answer or failure    failure     failure
    OVER      nothing             nothing              nothing     nothing
    ========  ==================  ===================  ==========  ===================

    A failure is over, too. An answer after which the peer wants to close, or that isn't alone,
    is followed by OVER.
    """

    def __init__(self, home: Home, peer: str, *, limit: int, secure: bool) -> None:
        self.state = State.OVER
        self.idle_since = 0.0
        self._home: Final = home
        self._peer: Final = peer
        self._secure: Final = secure
        self._used = False
        self._answers: Final = ResponseParser(limit=limit)
        self._buffer = memoryview(bytearray(_FIRST_READ))
        self._loop: Final = asyncio.get_running_loop()
        self._call: Call | None = None
        self._rest = memoryview(b"")
        self._pouring = False
        self._blocked = False
        self._room: asyncio.Future[None] | None = None
        self._moved_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._readable = _watch(transport.get_extra_info("socket").fileno())
        self.state = State.IDLE
        self.idle_since = self._loop.time()

    def quiet(self) -> bool:
        """Return whether a call may begin: it is open, and nothing has come unasked.

        The socket itself is asked, since the loop may not have come round to it yet.
        """
        if self.state is not State.IDLE or self._transport.is_closing():
            return False
        if self._secure and not self._used:
            return True  # session tickets may have come: not an answer, and not the end
        return not self._readable()

    def start(self, call: Call) -> None:
        """Send the request of *call*; only where it is quiet."""
        self._call = call
        call.connection = self
        self._answers.ask(call.method)
        self._moved_at = self._loop.time()
        call.sending.begun = True
        if call.taken is not None:
            self.state = State.SENDING
            self._pouring = True
            self._transport.write(call.data)
            call.taken.set_result(self)
        elif len(call.data) <= _PIECE:
            self.state = State.WAITING
            self._transport.write(call.data)
        else:
            self.state = State.SENDING
            self._rest = memoryview(call.data)
            self._write()
        self._set_timer(self._due(call))

    async def pour(self, call: Call, piece: bytes) -> None:
        """Send a *piece* of the body of *call*, if it is still under way; return when there is room."""
        if call is self._call:
            self._moved_at = self._loop.time()
            self._transport.write(piece)
            if self._blocked:
                self._room = self._loop.create_future()
                await self._room

    def end(self, call: Call, piece: bytes) -> None:
        """Send the last *piece* of the body of *call*, if it is still under way."""
        if call is self._call:
            self._pouring = False
            self._moved_at = self._loop.time()
            self._transport.write(piece)
            self._write()

    def give_up(self, call: Call, reason: str) -> None:
        """End *call*, if it is still under way, as lost: its body can't be sent."""
        if call is self._call:
            self.fail(Fault.LOST, reason)

    def abandon(self) -> None:
        """Close it at once, whatever it carries."""
        if self.state is not State.OVER:
            self.state = State.OVER
            self._call = None
            self._rest = memoryview(b"")
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._transport.abort()
            self._home.over(self)

    def fail(self, fault: Fault, reason: str) -> None:
        """End the call that it carries, and itself; the status stands where the service said no."""
        call = self._call
        self.abandon()
        if call is not None:
            call.connection = None
            call.settle(self._answers.refusal or Failure(fault, reason))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it grows as it is filled
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._call is None:
            self.abandon()
            return
        self._moved_at = self._loop.time()
        data = self._buffer[:nbytes]
        if nbytes == len(self._buffer) < _LARGEST_READ:
            self._buffer = memoryview(bytearray(2 * nbytes))
        try:
            answer = self._answers.feed(data)
        except Unreadable as error:
            self._unreadable(error)
        else:
            if answer is not None:
                self._finish(self._call, answer)

    def eof_received(self) -> None:
        if self._call is None:
            self.abandon()
            return
        tls = self._transport.get_extra_info("ssl_object")
        answer = self._answers.end() if is_ended(tls) else None
        if answer is not None:
            self._finish(self._call, answer)
        else:
            self._lose("closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        if refuses_client(exc) and not self._used:  # no request of the connection was read
            self.fail(*astuple(unsent(exc, f"connecting to {self._peer}")))
        elif self.state is not State.OVER:
            why = f" ({type(exc).__name__})" if exc is not None else ""
            self._lose(f"broke the connection{why}")
        self._home.closed(self)

    def pause_writing(self) -> None:
        self._blocked = True
        if self._call is not None:
            self._set_timer(self._due(self._call))

    def resume_writing(self) -> None:
        self._blocked = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self.state is State.SENDING:
            self._moved_at = self._loop.time()
            self._write()

    def _write(self) -> None:
        while self._rest and not self._blocked:
            piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            self._transport.write(piece)
        if self._call is not None and not (self._rest or self._blocked or self._pouring):
            self.state = State.WAITING
            self._set_timer(self._due(self._call))

    def _finish(self, call: Call, answer: Response) -> None:
        self._used = True
        self._call = call.connection = None
        call.settle(answer)
        if self.state is State.WAITING and self._answers.reusable:
            self.state = State.IDLE
            self.idle_since = self._moved_at
            self._home.free(self)
        else:
            self.abandon()

    def _lose(self, what: str) -> None:
        self.fail(Fault.LOST, f"{self._peer} {what} {self._answers.progress}")

    def _unreadable(self, error: Unreadable) -> None:
        self.fail(Fault.LOST, f"{self._peer} sent an answer that can't be read: {error}")

    def _due(self, call: Call) -> float:
        limit = call.timeout.read
        if self.state is State.SENDING:  # a body whose source is slow isn't the peer's fault
            limit = call.timeout.write if self._blocked else None
        return call.ends_at if limit is None else min(call.ends_at, self._moved_at + limit)

    def _set_timer(self, due: float) -> None:
        """Have `_overdue` called by *due*: the timer of an earlier call, which is still set, may do."""
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._overdue)
            self._timer_at = due

    def _overdue(self) -> None:
        self._timer = None
        self._timer_at = inf
        call = self._call
        if call is None:
            return
        due = self._due(call)
        if self._loop.time() < due:
            self._set_timer(due)
        elif self.state is State.SENDING:
            self.fail(Fault.TIMED_OUT, f"{self._peer} did not take the request in time")
        else:
            self.fail(Fault.TIMED_OUT, f"{self._peer} did not answer in time")


def _watch_by_poll(descriptor: int) -> Callable[[], object]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: poll.poll(0)


def _watch_by_select(descriptor: int) -> Callable[[], object]:
    return lambda: select.select([descriptor], [], [], 0)[0]


_watch: Final = _watch_by_poll if hasattr(select, "poll") else _watch_by_select  # Windows


async def pour(
    pieces: AsyncIterator[bytes],
    call: Call,
    taken: asyncio.Future[Connection],
    *,
    length: int | None,
) -> None:
    """Send *pieces* as the body of *call* once a connection has *taken* it.

    Return when all is sent, or when *call* has its reply before that: a failure, or an early
    answer. Without a *length* the body goes out in chunks; a body that isn't as long ends the call
    as lost. What the source of the pieces raises comes out as itself.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[object]", asyncio.current_task())
    cancelled_before = task.cancelling()
    until_replied = asyncio.timeout(None)

    def stop(_: object) -> None:
        with suppress(RuntimeError):  # the body is out
            until_replied.reschedule(loop.time())

    call.reply.add_done_callback(stop)
    try:
        async with until_replied:
            await _pour(pieces, call, await taken, length)
    except (TimeoutError, asyncio.CancelledError):  # before Python 3.11.3 its end may be either
        if not until_replied.expired() or task.cancelling() > cancelled_before:
            raise
    finally:
        call.reply.remove_done_callback(stop)


async def _pour(
    pieces: AsyncIterator[bytes], call: Call, connection: Connection, length: int | None
) -> None:
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if length is not None and sent > length:
            break
        if length is None:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""  # an empty one ends it
        else:
            framed = piece
        await connection.pour(call, framed)
    if length in (None, sent):
        connection.end(call, b"0\r\n\r\n" if length is None else b"")
    else:
        connection.give_up(call, "the body is not as long as it was said to be")
