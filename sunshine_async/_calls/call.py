"""One call: pace, attempt, decide, and attempt again, until it has its end."""

import logging
import sys
from collections.abc import Awaitable, Callable, Hashable, Mapping
from datetime import UTC, datetime
from math import inf
from time import time
from typing import Any, Final, TypeVar, cast

import anyio
from attrs import define, field

from sunshine_async._calls.caller import Caller, Refusals, unsent
from sunshine_async._calls.endpoint import Attempts, Endpoint
from sunshine_async._calls.retry import MAY_HAVE_ACTED, MAY_RESEND, Replay, fault_of, retry_after
from sunshine_async._http.failures import seal
from sunshine_async._http.messages import Failure, Request, Response, SendProgress, Timeout
from sunshine_async._pace import Lane
from sunshine_async._pace.evidence import limit_in_headers
from sunshine_async._pace.pace import Sign
from sunshine_async._pace.waiting import acquire_slot
from sunshine_async.errors import (
    ConnectError,
    ConnectionLostError,
    Fault,
    RequestTimeoutError,
    SunshineError,
    TransportError,
)

B = TypeVar("B")
R = TypeVar("R")
E = TypeVar("E", bound=SunshineError)
T = TypeVar("T")

_LOG: Final = logging.getLogger("sunshine_async")
UNAUTHORIZED: Final = 401
_NOTHING: Final[Mapping[str, str]] = {}

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
"""What a fault of one call says of the service as a whole."""

_IN_ITSELF: Final = frozenset({500, 501, 505, 506, 508, 510})
"""The failures that tell more of the request than of the service: others may fare better."""

_ERROR_OF: Final[Mapping[Fault, type[TransportError]]] = {
    Fault.UNSENT: ConnectError,
    Fault.PERMANENT: ConnectError,
    Fault.TIMED_OUT: RequestTimeoutError,
}
"""The errors of faults that are certain; any other is a `ConnectionLostError`."""


@define
class OneCall:
    """What has become of one call so far."""

    transport: Caller
    endpoint: Endpoint[Any, Any]
    request: Request
    replay: Replay
    lane: Lane
    count: int = 0
    """The attempts."""
    uncounted: int = 0
    """Those of them that don't count, since the lane waits for the service to come back."""
    answers: int = 0
    """How many calls of the pace had been answered when it was last sent."""
    refusals: Refusals | None = None
    """The refusals (429), if there were any."""
    outdone: int = 0
    """How often it failed while others were answered."""
    until: float | None = None
    """When its time is over, from when it was first let go."""
    ended: float = 0.0
    """When the last attempt was over."""
    sign: Sign = Sign.NOTHING
    """What the last attempt says of the service."""
    fault: Fault | None = None
    """Why the last attempt doesn't settle the call."""
    asked: float | None = None
    """The seconds after which the service then asked to be called again, if it did."""
    maybe_applied: bool = False
    """Whether an attempt before the last may have been applied."""
    retry_budget_spent: bool = False
    """Whether that is why it isn't tried again."""
    sending: SendProgress = field(factory=SendProgress)
    authorization: str = field(default="", repr=False)
    renewed: bool = False
    """Whether the credentials have been renewed for this call: once is enough."""
    callers_own: Exception | None = None
    """What the caller's own token function has raised."""
    gone: str = ""
    """What the last probe in its place met, as the reason of an error."""

    @property
    def attempts(self) -> Attempts:
        """What it has been through."""
        return Attempts(count=self.count, maybe_applied=self.maybe_applied)

    async def answer(self) -> Response:
        """Return the response that ends the call; raise `TransportError` where none came."""
        reply: Response | Failure | None = None
        if self.lane is not Lane.BATCH:
            self.until = self.transport.clock.now() + self.transport.retry.deadline
        while True:
            came = await self._turn(reply)
            if came is None:
                self._check_given_up()
                continue
            last, reply = reply, came
            if isinstance(reply, Response):
                if reply.status == UNAUTHORIZED and await self._renewed() and self.request.ready:
                    continue
                if self.fault is None:
                    return reply
            wait = None if reply is last else self._wait(cast("Fault", self.fault))
            if wait is None:
                if isinstance(reply, Response):
                    return reply
                raise self._error(reply)
            if self.fault in MAY_HAVE_ACTED and self.replay is not Replay.SAFE:
                self.maybe_applied = True
            await self.transport.clock.sleep(wait)

    async def _turn(self, last: Response | Failure | None) -> Response | Failure | None:
        """Return what an attempt brings, once it may start; the *last* if it is too late by then.

        None: a probe went in its place.
        """
        transport, lane = self.transport, self.lane
        slots, pace, clock = transport.slots, transport.pace, transport.clock
        again = last is not None and (self.refusals is None or not self.refusals.give_way)
        stood = began = clock.now()
        until = inf if self.until is None or lane is Lane.BATCH else self.until
        if (last is not None or not slots.enter(began, lane)) and not await acquire_slot(
            slots, clock, lane, again=again, until=until
        ):
            return last or unsent(self.endpoint, None)
        try:
            if last is not None or not pace.enter(began, lane):
                if not await acquire_slot(pace, clock, lane, again=again, until=until):
                    return last or unsent(self.endpoint, pace.pause(clock.now(), lane))
                began = clock.now()
            self.sign = Sign.NOTHING
            try:
                if self.until is None:
                    self.until = began + transport.retry.deadline
                elif lane is Lane.BATCH:
                    self.until += began - stood  # one of many has time to wait in line
                if last is not None and began >= self.until:
                    return last
                timeout = transport.timeout.within(self.until - began)
                self.authorization = transport.auth.current() or ""
                if not self.authorization:
                    timeout = await self._authorized(timeout)
                if lane is Lane.BATCH and self._may_not_probe():
                    self.until = None
                    return await self._probed(timeout)
                self.count += 1
                self.answers = pace.answers
                transport.tally.resent += last is not None
                reply = await self._sent(self.request, timeout, self.sending)
                self._take_down(reply)
            finally:
                self.ended = clock.now()
                pace.leave(self.sign, lane=lane, now=self.ended, began=began, asked=self.asked)
        finally:
            slots.leave(lane=lane)
        return reply

    async def _sent(
        self, request: Request, timeout: Timeout, sending: SendProgress
    ) -> Response | Failure:
        """Return what the wire brings for *request*; no frame of the wire stays with an exception."""
        transport, handled = self.transport, sys.exception()
        transport.tally.requests += 1
        try:
            return await transport.wire.send(
                request,
                transport.headers(self.authorization, request.content_type),
                timeout=timeout,
                sending=sending,
            )
        except BaseException as error:
            seal(error, request.body, handled=handled)
            raise

    async def _authorized(self, timeout: Timeout) -> Timeout:
        """Fetch the credentials; return what is left of *timeout*."""
        now = self.transport.clock.now
        began = now()
        self.authorization = await self._asked(self.transport.auth.fetch, timeout)
        return timeout.within(cast("float", timeout.total) - (now() - began))

    async def _asked(self, bring: Callable[[], Awaitable[T]], timeout: Timeout) -> T:
        """Return what *bring*, a function of the credentials, returns; bound it by *timeout*."""
        with anyio.move_on_after(timeout.total):
            try:
                return await bring()
            except Exception as error:
                self.callers_own = error
                raise
        kind = type(self.transport.auth).__name__
        reason = f"the token function of {kind} returned no token in {timeout.total:.3g} s"
        raise self._error(Failure(Fault.UNSENT, f"{reason}, so the request was not sent"))

    def _may_not_probe(self) -> bool:
        """Return whether the service seems to be gone, and this call can't be resent if it is."""
        if Fault.UNAVAILABLE in MAY_RESEND[self.replay] or self.transport.probe is None:
            return False
        return self.transport.pace.wants_a_read

    def _check_given_up(self) -> None:
        """Raise the error of a call that waits in vain: a probe went in its place, and failed."""
        pace = self.transport.pace
        if pace.gave_up and pace.wants_a_read:
            raise self._error(Failure(Fault.UNSENT, self.gone))

    async def _probed(self, timeout: Timeout) -> Failure | None:
        """Ask by a read whether the service is back; return a failure that is the call's own too."""
        reply = await self._sent(cast("Request", self.transport.probe), timeout, SendProgress())
        fault = fault_of(reply.status) if isinstance(reply, Response) else reply.fault
        came: object = reply.status if isinstance(reply, Response) else reply.reason
        self.sign = Sign.READ if fault is None else _SIGN_OF[fault]
        self.asked = _asked_in(reply) if isinstance(reply, Response) and fault else None
        _LOG.debug("%s look-up whether the service is back: %s", self.endpoint, came)
        self.gone = f"the service fails such calls, and a look-up met {came}: nothing was sent"
        if fault is not Fault.PERMANENT:
            return None
        self.fault = fault
        return cast("Failure", reply)

    def _take_down(self, reply: Response | Failure) -> None:
        """Take down why *reply* doesn't settle the call, if it doesn't, and what else it says."""
        became: Hashable
        if isinstance(reply, Response):
            became = reply.status
            fault = self.endpoint.fault_of(reply.status)
            limit = limit_in_headers(reply.headers, time())
            if limit is not None:
                self.transport.pace.tell(limit, self.transport.clock.now())
            if fault is not None:
                self.asked = _asked_in(reply)
                self.transport.tally.throttled += fault is Fault.THROTTLED
        else:
            became = fault = reply.fault
            self.asked = None
        self.fault = fault
        self.sign = Sign.ERRED if became in _IN_ITSELF else _SIGN_OF[fault]
        self.sending.begun = False
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("%s attempt %d: %s", self.endpoint, self.count, became)

    async def _renewed(self) -> bool:
        """Return whether there are other credentials now than those that were refused."""
        if self.renewed:
            return False
        self.renewed = True
        transport = self.transport
        left = cast("float", self.until) - transport.clock.now()
        return await self._asked(
            lambda: transport.auth.renew(self.authorization), transport.timeout.within(left)
        )

    def _wait(self, fault: Fault) -> float | None:
        """Return the seconds until the call stands in line again, or None: this is its end."""
        transport = self.transport
        if not self.request.ready:
            return None
        if fault is Fault.THROTTLED:
            return self._wait_refused()
        wait = transport.retry.wait(
            self.replay,
            fault,
            attempt=self._tries,
            asked=self.asked,
            luck=transport.clock.luck(),
            left=cast("float", self.until) - self.ended,
        )
        if _SIGN_OF[fault] is not Sign.FAILED:
            return wait
        if self.lane is Lane.BATCH and not transport.pace.gave_up:
            if self._is_held(fault, wait):
                self.uncounted += 1
                self.until = None
                return 0.0
        elif wait is not None and not transport.pace.may_retry():
            self.retry_budget_spent = True
            return None
        return wait

    def _wait_refused(self) -> float | None:
        """Return the seconds until a call stands in line again after a 429, which is no try, or None.

        A batch's call waits for as long as a batch waits for a service that is gone.
        """
        retry, pace = self.transport.retry, self.transport.pace
        if retry.max_attempts == 1 or Fault.THROTTLED not in MAY_RESEND[self.replay]:
            return None
        self.uncounted += 1
        refusals = self.refusals = self.refusals or Refusals(self.ended)
        refusals.add(pace.answers)
        if self.lane is Lane.BATCH:
            late = self.ended - refusals.since >= pace.max_outage
        else:
            late = (self.asked or 0.0) >= cast("float", self.until) - self.ended
        return None if late else refusals.wait(retry, self.transport.clock.luck())

    @property
    def _tries(self) -> int:
        """The attempts that count."""
        return self.count - self.uncounted

    def _is_held(self, fault: Fault, wait: float | None) -> bool:
        """Return whether the call waits for a service that is gone to come back.

        Not where others have been answered since it was sent, nor where that was so twice before:
        then it may be the call's own fault, and the attempt counts.
        """
        pace = self.transport.pace
        if wait is not None:
            pace.may_retry()  # which takes from the budget; a batch's tries are never refused
        others_answered = pace.answers > self.answers
        self.outdone += others_answered
        if (
            self.transport.retry.max_attempts == 1
            or self.sign is Sign.ERRED
            or fault not in MAY_RESEND[self.replay]
            or others_answered
            or self.outdone > 1
        ):
            return False
        return pace.held or (wait is None and pace.hold_if_gone(self._tries, self.ended))

    def _error(self, failure: Failure) -> TransportError:
        acted = self.maybe_applied or failure.fault in MAY_HAVE_ACTED
        return self.marked(
            _ERROR_OF.get(failure.fault, ConnectionLostError)(
                failure.reason,
                fault=failure.fault,
                endpoint=str(self.endpoint),
                attempts=self.count,
                maybe_applied=acted and self.replay is not Replay.SAFE,
            )
        )

    def marked(self, error: E) -> E:
        """Return *error*, which says so if the call wasn't tried again for lack of a budget."""
        error.retry_budget_spent = self.retry_budget_spent
        return error


def _asked_in(response: Response) -> float | None:
    return retry_after(response.headers.get("retry-after"), now=datetime.now(UTC))
