"""Fence of a job: nothing is sent unless the journal's lease is valid at that moment."""

from typing import Final, TypeVar

from attrs import frozen

from sunshine_async._calls.client import Client
from sunshine_async._http.messages import (
    Failure,
    Headers,
    Request,
    Response,
    SendProgress,
    Timeout,
    Wire,
)
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.errors import Fault
from sunshine_async.journal import Lease, LeaseState

C = TypeVar("C", bound=Client)

_POLL: Final = 0.1  # seconds between two looks at a lease that nobody could renew
_LOST: Final = (
    "not sent: another process has the journal of this job, since this process was silent for too "
    "long. The other process goes on with the job"
)


@frozen
class FencedWire:
    """Sends through *wire* while *lease* is valid, waits while expired, and fails once lost."""

    wire: Wire
    lease: Lease

    async def send(
        self, request: Request, headers: Headers, *, timeout: Timeout, progress: SendProgress
    ) -> Response | Failure:
        """Send *request*, or return a permanent failure after the loss of the lease."""
        while (state := self.lease.state) is LeaseState.EXPIRED:
            await CLOCK.sleep(_POLL)
        if state is LeaseState.LOST:
            return Failure(Fault.PERMANENT, _LOST)
        return await self.wire.send(request, headers, timeout=timeout, progress=progress)

    async def aclose(self) -> None:
        """Close the wire."""
        await self.wire.aclose()


def fenced(client: C, lease: Lease | None) -> C:
    """Return a view of *client* that sends only while *lease* is valid; *client* without a lease."""
    return client if lease is None else client.with_wire(lambda wire: FencedWire(wire, lease))
