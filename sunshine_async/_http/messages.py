"""What a call asks of a wire: one request out, one whole answer or one failure back."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from attrs import define, evolve, field, frozen

from sunshine_async.errors import Fault

JSON: Final = "application/json"


class Streamed(ABC):
    """A body that is sent as it is read, piece by piece, and never held whole."""

    content_type: str
    length: int | None
    """How many bytes it is; None: that isn't known before its end."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether it can be read from its beginning: again, if it has been read."""

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return a context manager that gives the pieces, from the beginning.

        What goes wrong with its source, here or between two pieces, is raised as it is: it has
        nothing to do with the network, and what was sent of the body isn't a whole one.
        """


@frozen
class Request:
    """What goes out: the *target* is path and query, percent-encoded, below the base URL."""

    method: str
    target: str = field(repr=False)
    body: bytes | Streamed | None = field(default=None, repr=False)

    @property
    def content_type(self) -> str | None:
        """What its body is, if it has one."""
        body = self.body
        if body is None or isinstance(body, bytes):
            return None if body is None else JSON
        return body.content_type

    @property
    def ready(self) -> bool:
        """Whether it can be sent: again, if it has been sent."""
        body = self.body
        return body is None or isinstance(body, bytes) or body.ready


@frozen
class Response:
    """What came back, whole: the names in *headers* are lower-case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    flaw: str = field(default="", repr=False)
    """Why the body can't be read, if it can't: *body* is empty then."""

    @property
    def ok(self) -> bool:
        """Whether the service says yes."""
        return 200 <= self.status < 300  # noqa: PLR2004 - 2xx


@frozen
class Failure:
    """What came instead of a response. *reason* is a sentence without secrets."""

    fault: Fault
    reason: str


@frozen(kw_only=True)
class Timeout:
    """How long an attempt may take, in seconds; None is no bound of that kind."""

    total: float | None
    """From asking for a connection to the last byte of the answer."""
    connect: float | None
    """To make a connection, TLS included."""
    pool: float | None
    """To wait for a free connection."""
    write: float | None
    """Between two pieces of the request."""
    read: float | None
    """Between two pieces of the answer."""

    def within(self, left: float) -> "Timeout":
        """Return the same with *left* as the most that the attempt may take."""
        return self if self.total is not None and self.total <= left else evolve(self, total=left)


HAD_LEFT: Final = "{endpoint} had left: the service may have acted on it"
"""The note on the cancellation of a call whose first byte may have left."""


@define
class SendProgress:
    """How far an attempt has come, for whoever cancels it."""

    begun: bool = False
    """Whether a byte of the request may have left."""


class Wire(Protocol):
    """Sends requests to one base URL."""

    def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        sending: SendProgress,
    ) -> Coroutine[Any, Any, Response | Failure]:
        """Return the whole answer, or what came instead: nothing of the network is raised.

        What the source of a `Streamed` body raises comes out as itself.
        *sending* is marked as soon as a byte may have left. A cancellation goes through, and
        leaves the connection closed and its place free.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        ...
