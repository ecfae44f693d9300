"""State of one call, and the decision after each attempt: the sign, the fault, the next wait. No I/O."""

from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import define, field

from sunshine_async._calls.context import CallContext, ThrottleHistory
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import (
    MAY_HAVE_ACTED,
    MAY_RESEND,
    NOT_APPLIED,
    Replay,
    fault_of,
    retry_after_in,
)
from sunshine_async._http.messages import Failure, Request, Response, Sending, SendProgress
from sunshine_async._pace import Lane
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.evidence import limit_in_headers
from sunshine_async.errors import (
    ConnectError,
    ConnectionLostError,
    Fault,
    RequestTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from sunshine_async._calls.hooks import CallObserver

NO_SIGN: Final = Sign.NOTHING
"""The sign of an attempt without a reply; looked up once: an enum's members take their time."""

_SIGN_OF: Final[Mapping[Fault | None, Sign]] = {
    None: Sign.ANSWERED,
    Fault.OVERLAPPED: Sign.ANSWERED,
    Fault.REDIRECTED: Sign.ANSWERED,
    Fault.THROTTLED: Sign.THROTTLED,
    Fault.UNAVAILABLE: Sign.FAILED,
    Fault.UNSENT: Sign.FAILED,
    Fault.PERMANENT: Sign.NOTHING,
    Fault.TIMED_OUT: Sign.FAILED,
    Fault.LOST: Sign.FAILED,
}
"""Sign of the service's health that a fault of a call gives."""

_REQUEST_SPECIFIC: Final = frozenset({500, 501, 505, 506, 508, 510})
"""Statuses that tell more of the request than of the service: further requests may succeed."""

_ERROR_OF: Final[Mapping[Fault, type[TransportError]]] = {
    Fault.UNSENT: ConnectError,
    Fault.PERMANENT: ConnectError,
    Fault.TIMED_OUT: RequestTimeoutError,
}
"""The errors of faults that are certain; every other fault is a `ConnectionLostError`."""


@define(eq=False, repr=False)
class CallState(SendProgress):
    """State of one call between attempts, and the decision after each attempt."""

    context: CallContext
    endpoint: Endpoint[Any, Any]
    request: Request
    replay: Replay
    lane: Lane
    attempts: int = 0
    free_attempts: int = 0
    """Attempts that don't count as tries: refused (429), or in an outage that a batch waits out."""
    answers_at_send: int = 0
    """Calls of the pace that had been answered when this call was last sent."""
    throttling: ThrottleHistory | None = None
    """The refusals (429) of this call; None before the first."""
    lone_failures: int = 0
    """Failures of this call while the service answered further calls."""
    deadline: float | None = None
    """The deadline; None until the call queues. A batch's wait in the queue moves it on."""
    queued_at: float = 0.0
    """Of the last attempt, as are the next five."""
    began_at: float = 0.0
    ended_at: float = 0.0
    sent_at: float | None = None
    """None where neither the hooks nor the log are told."""
    has_slot: bool = False
    """True if a slot was free at once, so that only the pace was waited for."""
    is_probing: bool = False
    """True if a probe was sent in place of the call."""
    sign: Sign = NO_SIGN
    """The sign of the service's health that the last attempt gave."""
    fault: Fault | None = None
    """The fault of the last attempt; None if the attempt settled the call."""
    retry_after: float | None = None
    """Of the last answer, in seconds."""
    maybe_applied: bool = False
    """True if an attempt before the last may have been applied."""
    retry_budget_spent: bool = False
    authorization: str = field(default="", repr=False)
    renewed: bool = False
    """True after a renewal of the credentials: a call renews at most once."""
    token_error: Exception | None = None
    """The error that the caller's own token function has raised."""
    probe_result: str = ""
    """The result of the last probe sent instead of this call, as the reason of an error."""
    observer: "CallObserver | None" = None
    sending: Sending | None = field(default=None, init=False)
    started: bool = field(default=False, init=False)
    """True from the first byte on, unless the reply says that the service has not acted."""

    def _probe(self) -> Request | None:
        """Return the probe if the service seems gone and this call couldn't be resent then."""
        if Fault.UNAVAILABLE in MAY_RESEND[self.replay] or not self.context.pace.wants_a_read:
            return None
        return self.context.probe

    def _check_outage(self) -> None:
        """Raise the error of a call whose probe has failed, once the pace gives the service up."""
        pace = self.context.pace
        if pace.gave_up and pace.wants_a_read:
            raise self._error(Failure(Fault.UNSENT, self.probe_result))

    def _record_probe(self, reply: Response | Failure) -> Failure | None:
        """Record the *reply* to a probe; return a permanent failure, which the call shares."""
        came: object
        if isinstance(reply, Response):
            fault, came = fault_of(reply.status), reply.status
            self.retry_after = _retry_after_of(reply)
        else:
            fault, came = reply.fault, reply.reason
            self.retry_after = None
        self.sign = Sign.READ if fault is None else _SIGN_OF[fault]
        self.probe_result = (
            f"the service fails such calls, and a probe met {came}: nothing was sent"
        )
        if fault is not Fault.PERMANENT:
            self.deadline = None
            return None
        self.fault = fault
        return cast("Failure", reply)

    def _record(self, reply: Response | Failure) -> Response | Failure | None:
        """Record the fault of *reply*, if any, and the signs for the pace; return *reply*.

        Return None for the reply to a probe, which is not the call's.
        """
        became: Hashable
        if self.is_probing:
            return self._record_probe(reply)
        if isinstance(reply, Response):
            became = reply.status
            fault = self.endpoint.fault_of(reply.status)
            limit = limit_in_headers(reply.headers, time()) if reply.tells_limit else None
            if limit is not None:
                self.context.pace.tell(limit, self.context.clock.now())
            if fault is not None:
                self.retry_after = _retry_after_of(reply)
                self.context.stats.throttled += fault is Fault.THROTTLED
        else:
            became = fault = reply.fault
            self.retry_after = None
        self.fault = fault
        sign = self.context.answered if fault is None else _SIGN_OF[fault]
        self.sign = Sign.ERRED if became in _REQUEST_SPECIFIC else sign
        self.started = fault not in NOT_APPLIED
        return reply

    def _next_wait(self, fault: Fault) -> float | None:
        """Return the seconds before the call queues again, or None to end the call.

        A retry after a failure spends from the retry budget; a batch's retry is never refused.
        """
        retry, pace, clock = self.context.retry, self.context.pace, self.context.clock
        if not self.request.ready:
            return None
        if fault is Fault.THROTTLED:
            return self._wait_throttled()
        wait = retry.wait(
            self.replay,
            fault,
            attempt=self._tries,
            asked=self.retry_after,
            luck=clock.luck(),
            left=cast("float", self.deadline) - self.ended_at,
        )
        if _SIGN_OF[fault] is not Sign.FAILED:
            return wait
        if self.lane is Lane.BATCH and not pace.gave_up:
            if wait is not None:
                pace.may_retry()
            return 0.0 if self._wait_out(fault, wait) else wait
        if wait is not None and not pace.may_retry():
            self.retry_budget_spent = True
            return None
        return wait

    def _wait_throttled(self) -> float | None:
        """Return the seconds before the call queues again after a 429, or None to end the call.

        A refused attempt is no try. A batch's call waits as long as a batch waits out an outage.
        """
        retry, pace = self.context.retry, self.context.pace
        if retry.max_attempts == 1 or Fault.THROTTLED not in MAY_RESEND[self.replay]:
            return None
        self.free_attempts += 1
        history = self.throttling = self.throttling or ThrottleHistory(self.ended_at)
        history.add(pace.answers)
        wait = history.wait(retry, self.context.clock.luck())
        if self.lane is Lane.BATCH:
            late = self.ended_at - history.since >= pace.max_outage
        else:
            left = cast("float", self.deadline) - self.ended_at
            late = max(wait, self.retry_after or 0.0) >= left
        return None if late else wait

    def _wait_out(self, fault: Fault, wait: float | None) -> bool:
        """Wait out an outage: return True, and don't count the attempt, if the service is gone.

        The attempt counts if the service has answered further calls since the call was sent, or a
        read just before, or had done so at two failures before: the call itself may be the cause.
        """
        pace = self.context.pace
        answered = pace.answers > self.answers_at_send
        self.lone_failures += answered
        if (
            self.context.retry.max_attempts == 1
            or self.sign is Sign.ERRED
            or fault not in MAY_RESEND[self.replay]
            or answered
            or self.lone_failures > 1
        ):
            return False
        if not (pace.held or (wait is None and pace.hold_if_gone(self._tries, self.ended_at))):
            return False
        self.free_attempts += 1
        self.deadline = None
        return True

    @property
    def _tries(self) -> int:
        """Attempts that count towards `Retry.max_attempts`."""
        return self.attempts - self.free_attempts

    def _error(self, failure: Failure) -> TransportError:
        acted = self.maybe_applied or failure.fault in MAY_HAVE_ACTED
        error = _ERROR_OF.get(failure.fault, ConnectionLostError)(
            failure.reason,
            fault=failure.fault,
            endpoint=str(self.endpoint),
            attempts=self.attempts,
            maybe_applied=acted and self.replay is not Replay.SAFE,
        )
        error.retry_budget_spent = self.retry_budget_spent
        return error


def _retry_after_of(response: Response) -> float | None:
    return retry_after_in(response.headers, now=datetime.now(UTC))
