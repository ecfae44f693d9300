"""Fence of a worker: without the lease of its work a worker sends nothing.

A lease is the right to do some work for some seconds, renewed again and again. A worker that is
stopped, cut off, or blocked for longer loses the lease, and another worker does the work again. The
first worker may go on at any moment, even in the middle of a call: `FencedWire` looks at the lease
right before the first byte of each attempt.

The lease is that of a job's journal, or that of the running task: `TASK_LEASE`.
"""

from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from sunshine_async._http.messages import (
    Failure,
    Headers,
    Request,
    Response,
    Sending,
    SendProgress,
    Timeout,
    Wire,
    reply_to,
)
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.errors import Fault

if TYPE_CHECKING:
    from anyio import CancelScope

_POLL: Final = 0.1  # seconds between two looks at a lease that wasn't renewed in time
_LOST: Final = (
    "not sent: another worker does this work again, since this worker was silent for too long"
)
_NOT_RENEWED: Final = Failure(
    Fault.PERMANENT,
    "not sent: this worker couldn't renew the lease of its work in time. The log has the reason",
)
_NO_CONNECTION: Final = Failure(
    Fault.UNSENT, "not sent: no connection was made in time, over several leases"
)
_LEFT_LATE: Final = Failure(
    Fault.LOST,
    "the lease of the work ended just as the request left, so the wait for the answer was ended",
)


class WorkLease(Protocol):
    """Right to do some work, until another worker may do the work."""

    @property
    def left(self) -> float:
        """Seconds until the end; below zero after the end; minus infinity: lost for good."""
        ...


TASK_LEASE: Final[ContextVar[WorkLease | None]] = ContextVar("task_lease", default=None)
"""The lease of the running task's work; None: no other worker does this work."""


class _FencedProgress(SendProgress):
    """The *progress* of an attempt that *scope* ends, unless a byte may have been sent by then.

    After a stop of the process, or a sleep of the machine, the event loop may hear of a connection
    before *scope* ends the attempt. So the *lease* is looked at again right before the start.
    """

    def __init__(self, progress: SendProgress, scope: "CancelScope", lease: WorkLease) -> None:
        self._progress: Final = progress
        self._scope: Final = scope
        self._until: Final = scope.deadline
        self._lease: Final = lease
        self.has_left = False
        """True once a byte of this attempt may have been sent; *progress* knows of earlier ones."""

    @property
    def may_start(self) -> bool:
        return self._progress.may_start and self._lease.left > 0

    def end_with_loop(self) -> None:
        self._progress.end_with_loop()

    @property
    def started(self) -> bool:
        return self._progress.started

    @started.setter
    def started(self, started: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._progress.started = self.has_left = started
        self._scope.deadline = inf if started else self._until


class FencedWire:
    """Sends through *wire* while *lease* is valid.

    - While the lease has ended, and may be renewed, a request waits, within the total time limit.
    - *patient*: such a wait doesn't count, since the lease is lost for good after some time.
    - *lost* is the reason of the failure after the loss.
    """

    def __init__(
        self,
        wire: Wire,
        lease: WorkLease,
        *,
        patient: bool = False,
        lost: str = _LOST,
    ) -> None:
        self.wire: Final = wire
        self._lease: Final = lease
        self._patient: Final = patient
        self._lost: Final = lost

    def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Sending:
        """Send *request* while the lease is valid.

        - A request that still waits for a connection at the end of the lease isn't sent. After the
          renewal the request waits again. The total time limit holds for all such waits together.
        - A request that has left is never sent again here, whatever ends the wait for the answer.
        """
        if self._lease.left == inf:
            return self.wire.send(request, headers, timeout, progress)
        return self._send(request, headers, timeout, progress)

    async def _send(
        self,
        request: Request,
        headers: Headers,
        timeout: Timeout,
        progress: SendProgress,
    ) -> Response | Failure:
        rest = inf if timeout.total is None else timeout.total
        while (left := self._lease.left) > -inf:
            began = anyio.current_time()
            if left <= 0 and (self._patient or rest > 0):
                await CLOCK.sleep(_POLL)
                rest -= 0.0 if self._patient else anyio.current_time() - began
                continue
            if rest <= 0:
                return _NO_CONNECTION if left > 0 else _NOT_RENEWED
            scope = anyio.CancelScope(deadline=began + left)
            attempt = _FencedProgress(progress, scope, self._lease)
            with scope:
                if not scope.cancel_called:  # else a wire may send before the cancellation comes
                    limits = timeout.cap(rest)
                    return await reply_to(self.wire.send(request, headers, limits, attempt))
            if attempt.has_left:
                return _LEFT_LATE
            rest -= anyio.current_time() - began
        return Failure(Fault.PERMANENT, self._lost)

    async def aclose(self) -> None:
        """Close the wire."""
        await self.wire.aclose()
