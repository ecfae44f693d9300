"""One call: encode, pace, attempt, decide, decode."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from time import time
from typing import Any, Final, TypeVar, cast

from attrs import define, field, frozen

from sunshine_async import _codec
from sunshine_async._endpoint import JSON, Attempts, Endpoint, Failure, Request, Response
from sunshine_async._limits import told
from sunshine_async._line import LANE, Lane
from sunshine_async._pace import Pace, Sign
from sunshine_async._places import Places
from sunshine_async._retry import (
    MAY_HAVE_ACTED,
    MAY_RESEND,
    SETTLES,
    Fault,
    Replay,
    Retry,
    Verdict,
    retry_after,
)
from sunshine_async._transport.exchange import HAD_LEFT, Sending, Timeout, Wire
from sunshine_async._transport.tally import Aside, Refusals, Tally, unsent
from sunshine_async._transport.turn import CLOCK, Clock, take
from sunshine_async._version import __version__
from sunshine_async.auth import Auth
from sunshine_async.errors import (
    ConnectError,
    ConnectionLostError,
    RequestTimeoutError,
    SunshineError,
    TransportError,
)

B = TypeVar("B")
R = TypeVar("R")
E = TypeVar("E", bound=SunshineError)

_LOG: Final = logging.getLogger("sunshine_async")
_UNAUTHORIZED: Final = 401
_NOTHING: Final[Mapping[str, str]] = {}

_SIGN_OF: Final[Mapping[Fault | None, Sign]] = {
    None: Sign.ANSWERED,
    Fault.OVERLAPPED: Sign.ANSWERED,
    Fault.THROTTLED: Sign.THROTTLED,
    Fault.UNAVAILABLE: Sign.FAILED,
    Fault.UNSENT: Sign.FAILED,
    Fault.PERMANENT: Sign.NOTHING,
    Fault.TIMED_OUT: Sign.FAILED,
    Fault.LOST: Sign.FAILED,
}
"""What a fault of one call says of the service as a whole."""

_IN_ITSELF: Final = 500
"""The one failure that tells more of the request than of the service: others may fare better."""

_ERROR_OF: Final[Mapping[Fault, type[TransportError]]] = {
    Fault.UNSENT: ConnectError,
    Fault.PERMANENT: ConnectError,
    Fault.TIMED_OUT: RequestTimeoutError,
    Fault.LOST: ConnectionLostError,
}


@frozen(eq=False)
class Transport:
    """Calls the endpoints of a service as one caller; tasks share it."""

    wire: Wire
    auth: Auth
    retry: Retry
    pace: Pace
    timeout: Timeout
    path: Mapping[str, str] = _NOTHING
    """What every path of the service needs, such as the id of the app."""
    clock: Clock = CLOCK
    tally: Tally = field(factory=Tally)
    places: Places = field(factory=lambda: Places(None))
    """What bounds the calls that are under way at once: the connections of this client."""
    lane: Lane | None = None
    """The lane of its calls; None: that of the task which calls."""
    _headers: dict[tuple[str, str | None], Mapping[str, str]] = field(factory=dict, repr=False)

    async def call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None = None,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str | None] | str = _NOTHING,
        aside: Aside | None = None,
    ) -> R:
        """Return what the service answers to *endpoint*, tried as often as `Retry` allows.

        Raise `ValueError` before anything is sent, or else an error of `errors`. If it is
        cancelled after a byte of it may have left, a note on the cancellation says so. *aside*
        hears what the result doesn't say.
        """
        request = endpoint.request(body, {**self.path, **path} if path else self.path, query)
        call = _Call(self, endpoint, request, endpoint.replay_of(body), self.lane or LANE.get())
        try:
            response = await call.answer()
            if call.maybe_applied:
                verdict = SETTLES.get((call.replay, response.status))
                if verdict is Verdict.DONE:
                    return cast("R", None)
                if verdict is Verdict.READ_BACK:
                    found = await self._read_back(endpoint, body)
                    if found is not None:
                        if aside is not None:
                            aside.read_back = True
                        return found
        except BaseException as error:
            cut_off = not isinstance(error, Exception)
            if cut_off and (call.maybe_applied or call.sending.begun):
                error.add_note(HAD_LEFT.format(endpoint=endpoint))
            raise
        if response.ok:
            return endpoint.result(response)
        hidden = self.auth.secrets()
        raise call.marked(
            endpoint.error(response, call.attempts, now=datetime.now(UTC), hidden=hidden)
        )

    async def _read_back(self, endpoint: Endpoint[B, R], body: B | None) -> R | None:
        """Return what is there under the key of *body*, if it holds all that *body* says."""
        look = endpoint.read_back
        if look is None:
            return None
        sent = _codec.unstructure(body)
        path = {name: sent[key] for name, key in look.path.items()}
        query = {name: sent.get(key) for name, key in look.query.items()}
        try:
            found: R = await self.call(look.endpoint, path=path, query=query)
        except (SunshineError, ValueError, TypeError):
            return None
        return found if _codec.holds(_codec.unstructure(found), sent) else None

    def headers(self, authorization: str, content_type: str | None) -> Mapping[str, str]:
        """Return what a request carries: for the same credentials the same mapping every time.

        For a body that isn't JSON it is made anew: each has a type of its own.
        """
        found = self._headers.get((authorization, content_type))
        if found is None and content_type not in (None, JSON):
            return {**self.headers(authorization, None), "Content-Type": content_type}
        if found is None:
            self._headers.clear()  # the token before this one is over
            common = {
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Authorization": authorization,
                "User-Agent": f"sunshine-async/{__version__}",
            }
            made = {None: common, JSON: {**common, "Content-Type": JSON}}
            self._headers.update({(authorization, kind): each for kind, each in made.items()})
            found = made[content_type]
        return found


@define
class _Call:
    """What has become of one call so far."""

    transport: Transport
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
    sending: Sending = field(factory=Sending)
    authorization: str = field(default="", repr=False)
    renewed: bool = False
    """Whether the credentials have been renewed for this call: once is enough."""

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
            last, reply = reply, await self._turn(reply)
            if isinstance(reply, Response):
                if reply.status == _UNAUTHORIZED and await self._renewed() and self.request.ready:
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

    async def _turn(self, last: Response | Failure | None) -> Response | Failure:
        """Return what an attempt brings, once it may start; the *last* if it is too late by then."""
        transport, lane = self.transport, self.lane
        places, pace, clock = transport.places, transport.pace, transport.clock
        again = last is not None and (self.refusals is None or not self.refusals.give_way)
        stood = began = clock.now()
        until = inf if self.until is None or lane is Lane.BATCH else self.until
        if (last is not None or not places.enter(began, lane)) and not await take(
            places, clock, lane, again=again, until=until
        ):
            return last or unsent(self.endpoint, None)
        try:
            if last is not None or not pace.enter(began, lane):
                if not await take(pace, clock, lane, again=again, until=until):
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
                auth = transport.auth
                self.authorization = auth.current() or await auth.fetch()
                self.count += 1
                self.answers = pace.answers
                transport.tally.requests += 1
                transport.tally.resent += last is not None
                reply = await transport.wire.send(
                    self.request,
                    transport.headers(self.authorization, self.request.content_type),
                    timeout=transport.timeout.within(self.until - began),
                    sending=self.sending,
                )
                self._take_down(reply)
            finally:
                self.ended = clock.now()
                pace.leave(self.sign, lane=lane, now=self.ended, began=began, asked=self.asked)
        finally:
            places.leave(lane=lane)
        return reply

    def _take_down(self, reply: Response | Failure) -> None:
        """Take down why *reply* doesn't settle the call, if it doesn't, and what else it says."""
        self.sending.begun = False
        became: object
        if isinstance(reply, Response):
            became = reply.status
            fault = self.endpoint.fault_of(reply.status)
            limit = told(reply.headers, time())
            if limit is not None:
                self.transport.pace.tell(limit, self.transport.clock.now())
            if fault is not None:
                self.asked = retry_after(reply.headers.get("retry-after"), now=datetime.now(UTC))
                self.transport.tally.throttled += fault is Fault.THROTTLED
        else:
            became = fault = reply.fault
            self.asked = None
        self.fault = fault
        self.sign = Sign.ERRED if became == _IN_ITSELF else _SIGN_OF[fault]
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug("%s attempt %d: %s", self.endpoint, self.count, became)

    async def _renewed(self) -> bool:
        """Return whether there are other credentials now than those that were refused."""
        if self.renewed:
            return False
        self.renewed = True
        return await self.transport.auth.renew(self.authorization)

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
            _ERROR_OF[failure.fault](
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
