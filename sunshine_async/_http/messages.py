"""The interface of a wire: one request goes out, one whole response or one failure comes back."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from attrs import define, field

from sunshine_async._http.response_parts import read_head
from sunshine_async.errors import Fault

JSON: Final = "application/json"
Headers: TypeAlias = Mapping[str, str]


class StreamedBody(ABC):
    """A request body that is read and sent in pieces, and never held whole."""

    content_type: str
    length: int | None
    """Size in bytes; None: known only after the last piece."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """True if the body can be read from the beginning, even after an earlier read."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a context manager that gives the pieces, from the beginning.

        An error of the caller's source, on opening or between two pieces, is raised unchanged: the
        network is not the reason, and the part of the body that was sent is incomplete.
        """


# not frozen, nor is `Response`: attrs makes a frozen object three times as slowly
@define(eq=False, repr=False)
class Request:
    """An outgoing request; *target* is path and query, percent-encoded, below the base URL."""

    method: str
    target: str = field(repr=False)
    body: bytes | StreamedBody | None = field(default=None, repr=False)

    @property
    def content_type(self) -> str | None:
        """Media type of the body; None: no body."""
        body = self.body
        if body is None or isinstance(body, bytes):
            return None if body is None else JSON
        return body.content_type

    @property
    def ready(self) -> bool:
        """True if the request can be sent, even after an earlier attempt."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.ready


@define(eq=False)
class Response:
    """A complete response; *head* is the header fields, or the bytes from the status line on."""

    status: int
    _head: Headers | list[tuple[bytes, bytes]] | bytes = field(repr=False)
    body: bytes = field(repr=False)
    body_error: str = field(default="", repr=False)
    """Reason that the body was lost, or can't be read. If there is a reason, *body* is empty."""
    tells_limit: bool = field(default=True, repr=False)
    """False if certainly no header tells a rate limit."""

    @property
    def headers(self) -> Headers:
        """The header fields, decoded on each access: nobody asks for most answers' fields.

        A connection keeps a response until the next, so decoded fields would end with the next
        answer, and not with the caller's turn that made them: see `Call.set_reply`.
        """
        head = self._head
        return read_head(head) if isinstance(head, list | bytes) else head

    @property
    def ok(self) -> bool:
        """True for a status from 200 to 299."""
        return 200 <= self.status < 300  # noqa: PLR2004 - 2xx


BODY_LOST: Final = "its end was lost"
"""The `Response.body_error` of a refusal of which only the head has come."""


class Failure(NamedTuple):  # costs a fifth of an attrs class at import
    """The reason that no response came: a fault, and a sentence without secrets."""

    fault: Fault
    reason: str


@define(eq=False, repr=False)  # not frozen, like `Request`
class Timeout:
    """Time limits of an attempt, in seconds; None: no limit of that kind."""

    total: float | None
    """From the request for a connection to the last byte of the response."""
    connect: float | None
    """To make a connection, TLS included."""
    pool: float | None
    """To wait for a free connection."""
    write: float | None
    """Between two pieces of the request."""
    read: float | None
    """Between two pieces of the response."""

    def cap(self, left: float) -> "Timeout":
        """Return these limits with a total of at most *left* seconds."""
        if self.total is not None and self.total <= left:
            return self
        # by position: by name costs twice, and `evolve` eight times as many instructions
        return Timeout(left, self.connect, self.pool, self.write, self.read)


SENT_NOTE: Final = "{endpoint} had left: the service may have acted on it"
"""Note on the cancellation of a call after the first byte may have been sent."""


class SendProgress:
    """Progress of an attempt, for the code that cancels the attempt."""

    __slots__ = ("sending", "started")

    def __init__(self) -> None:
        self.started = False
        """True as soon as a byte of the request may have been sent."""
        self.sending: Sending | None = None
        """The sending, where the waiting caller keeps it here: the wire lets go of it with the reply."""

    @property
    def may_start(self) -> bool:
        """False if a request that has waited for a connection may not leave at this moment."""
        return True

    def end_with_loop(self) -> None:
        """Take note that the event loop was closed: nobody goes on with the attempt."""


class Sending(Protocol):
    """A request on the way, such as a coroutine: awaited once, for the response or the failure."""

    def __await__(self) -> Generator[Any, Any, Response | Failure]: ...

    def close(self) -> None:
        """Close the connection after a wait without a reply, such as a wait that was cancelled."""


class Wire(Protocol):
    """Sender of requests to one base URL."""

    def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Sending:
        """Send *request*; return the sending, which gives the whole response, or the failure.

        The wait for a sending never raises an error of the network. An error of the source of a
        `StreamedBody` is raised unchanged. *progress* is marked as soon as a byte may have been
        sent; a request that waits while *progress* forbids the start goes on waiting, until the
        time limit or a cancellation. Whoever waits calls `Sending.close` after an exception, which
        also frees the connection's slot in the pool; `reply_to` does both.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections of the running loop."""


async def reply_to(sending: Sending) -> Response | Failure:
    """Return the reply to *sending*; close the connection if the wait ends in an exception."""
    try:
        return await sending
    except BaseException:
        sending.close()
        raise
