"""What a call asks of a wire: one request out, one whole answer or one failure back."""

from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from attrs import define, evolve, frozen

from sunshine_async._endpoint import Failure, Request, Response


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
class Sending:
    """How far an attempt has come, for whoever cancels it."""

    begun: bool = False
    """Whether a byte of the request may have left."""


class Wire(Protocol):
    """Sends requests to one base URL."""

    def send(
        self, request: Request, headers: Mapping[str, str], *, timeout: Timeout, sending: Sending
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
