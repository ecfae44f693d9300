"""Retry loop of one call: wait for the pace, attempt, decide, and attempt again until the end."""

import logging
import sys
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import UTC, datetime
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import anyio
from attrs import define, field

from sunshine_async._calls.context import (
    LOG,
    CallContext,
    ThrottleHistory,
    log_attempt,
    raise_unsent,
    report_pace,
)
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import MAY_HAVE_ACTED, MAY_RESEND, Replay, fault_of, retry_after
from sunshine_async._http.failures import strip_frames
from sunshine_async._http.messages import Failure, Request, Response, SendProgress, Timeout
from sunshine_async._pace import Lane
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.evidence import limit_in_headers
from sunshine_async._pace.waiting import acquire_slot
from sunshine_async.errors import (
    ConnectError,
    ConnectionLostError,
    Fault,
    RequestTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from sunshine_async._calls.hooks import CallObserver

T = TypeVar("T")

UNAUTHORIZED: Final = 401
_BATCH: Final = Lane.BATCH  # looked up once, as are the next: an enum's members take their time
_NO_SIGN: Final = Sign.NOTHING

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
class OneCall(SendProgress):
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
    """The deadline; None until the first attempt of a batch's call may start."""
    ended_at: float = 0.0
    """Of the last attempt."""
    sign: Sign = _NO_SIGN
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
    started: bool = field(default=False, init=False)

    async def run(self) -> Response:
        """Return the response that ends the call; raise `TransportError` if none came."""
        reply: Response | Failure | None = None
        if self.lane is not _BATCH:
            self.deadline = self.context.clock.now() + self.context.retry.deadline
        while True:
            last, reply = reply, await self._take_turn(reply)
            if reply is None:
                self._check_outage()
                reply = last
                continue
            if isinstance(reply, Response):
                if reply.status == UNAUTHORIZED and await self._renew() and self.request.ready:
                    continue
                if self.fault is None:
                    return reply
            wait = None if reply is last else self._next_wait(cast("Fault", self.fault))
            report_pace(self.context.pace, self.endpoint, self.observer)
            if wait is None:
                if isinstance(reply, Response):
                    return reply
                raise self._error(reply)
            if self.fault in MAY_HAVE_ACTED and self.replay is not Replay.SAFE:
                self.maybe_applied = True
            await self.context.clock.sleep(wait)

    async def _take_turn(self, last: Response | Failure | None) -> Response | Failure | None:
        """Wait for a free connection and for the pace, then attempt; return the reply.

        Return None if a probe was sent in place of the call. If the deadline passes first, return
        *last*, the previous reply; raise an error if there is no previous reply.
        """
        context, lane = self.context, self.lane
        slots, pace, clock = context.slots, context.pace, context.clock
        again = last is not None and (self.throttling is None or not self.throttling.give_way)
        queued = began = clock.now()
        until = inf if self.deadline is None or lane is _BATCH else self.deadline
        if (last is not None or not slots.enter(began, lane)) and not await acquire_slot(
            slots, clock, lane, again=again, until=until
        ):
            return last or raise_unsent(self.endpoint, None)
        try:
            if last is not None or not pace.enter(began, lane):
                if not await acquire_slot(pace, clock, lane, again=again, until=until):
                    return last or raise_unsent(self.endpoint, pace.pause(clock.now(), lane))
                began = clock.now()
            self.sign = _NO_SIGN
            try:
                return await self._attempt(last, queued, began)
            finally:
                self.ended_at = clock.now()
                pace.leave(
                    self.sign, lane=lane, now=self.ended_at, began=began, asked=self.retry_after
                )
                if pace.events.pending:
                    report_pace(pace, self.endpoint, self.observer)
        finally:
            slots.leave(lane=lane)

    async def _attempt(
        self, last: Response | Failure | None, queued: float, began: float
    ) -> Response | Failure | None:
        """Send the request, or a probe instead, at the time *began*; record the reply.

        No frame of the wire stays with an exception.
        """
        context, handled, lane = self.context, sys.exception(), self.lane
        if self.deadline is None:
            self.deadline = began + context.retry.deadline
        elif lane is _BATCH:
            self.deadline += began - queued  # a batch's deadline excludes waits in the queue
        if last is not None and began >= self.deadline:
            return last
        timeout = context.timeout.cap(self.deadline - began)
        self.authorization = context.auth.current() or ""
        if not self.authorization:
            asked = context.clock.now()
            self.authorization = await self._await_token(context.auth.fetch, timeout)
            timeout = timeout.cap(cast("float", timeout.total) - (context.clock.now() - asked))
        request: Request = self.request
        progress: SendProgress = self
        probe = self._probe() if lane is _BATCH else None
        if probe is not None:
            self.deadline = None
            request, progress = probe, SendProgress()
        else:
            self.attempts += 1
            self.answers_at_send = context.pace.answers
            context.stats.resent += last is not None
        context.stats.requests += 1
        headers = context.headers(self.authorization, request.content_type)
        observer = self.observer
        is_told = observer is not None or LOG.isEnabledFor(logging.DEBUG)
        sent_at = context.clock.now() if is_told else began
        if observer is not None:
            headers = observer.start_attempt(
                headers, attempt=self.attempts, waited=began - queued, is_probe=probe is not None
            )
        try:
            reply = await context.wire.send(request, headers, timeout=timeout, progress=progress)
        except BaseException as error:
            strip_frames(error, request.body, handled=handled)
            if observer is not None:
                observer.end_attempt(None)
            raise
        if is_told:
            self._tell(reply, queued, sent_at)
        return self._record(reply) if probe is None else self._record_probe(reply)

    def _tell(self, reply: Response | Failure, queued: float, sent_at: float) -> None:
        """Tell the hooks and the log of *reply*."""
        if self.observer is not None:
            self.observer.end_attempt(reply)
        if LOG.isEnabledFor(logging.DEBUG):
            seconds = self.context.clock.now() - sent_at
            log_attempt(self.endpoint, self.attempts, reply, sent_at - queued, seconds)

    async def _renew(self) -> bool:
        """Renew the refused credentials; return True if the credentials are new now."""
        if self.renewed:
            return False
        self.renewed = True
        context = self.context
        left = cast("float", self.deadline) - context.clock.now()
        return await self._await_token(
            lambda: context.auth.renew(self.authorization), context.timeout.cap(left)
        )

    async def _await_token(self, function: Callable[[], Awaitable[T]], timeout: Timeout) -> T:
        """Return the result of *function*, a function of the credentials, within *timeout*."""
        clock, seconds = self.context.clock, cast("float", timeout.total)
        until = clock.now() + seconds
        with anyio.move_on_after(seconds):
            try:
                result = await function()
            except Exception as error:
                self.token_error = error
                raise
            if clock.now() < until:  # later where the function blocks, or can't be cancelled
                return result
        kind = type(self.context.auth).__name__
        reason = f"the token function of {kind} returned no token in {seconds:.3g} s"
        raise self._error(Failure(Fault.UNSENT, f"{reason}, so the request was not sent"))

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
            self.retry_after = _retry_after_of(reply) if fault else None
        else:
            fault, came = reply.fault, reply.reason
            self.retry_after = None
        self.sign = Sign.READ if fault is None else _SIGN_OF[fault]
        self.probe_result = (
            f"the service fails such calls, and a probe met {came}: nothing was sent"
        )
        if fault is not Fault.PERMANENT:
            return None
        self.fault = fault
        return cast("Failure", reply)

    def _record(self, reply: Response | Failure) -> Response | Failure:
        """Record the fault of *reply*, if any, and the signs for the pace; return *reply*."""
        became: Hashable
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
        self.sign = Sign.ERRED if became in _REQUEST_SPECIFIC else _SIGN_OF[fault]
        self.started = False
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
        if self.lane is Lane.BATCH:
            late = self.ended_at - history.since >= pace.max_outage
        else:
            late = (self.retry_after or 0.0) >= cast("float", self.deadline) - self.ended_at
        return None if late else history.wait(retry, self.context.clock.luck())

    def _wait_out(self, fault: Fault, wait: float | None) -> bool:
        """Wait out an outage: return True, and don't count the attempt, if the service is gone.

        The attempt counts if the service has answered further calls since the call was sent, or
        had done so at two failures before: then the call itself may be the cause.
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
    return retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
