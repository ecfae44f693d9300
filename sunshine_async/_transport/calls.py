"""One call: encode, pace, attempt, decide, decode."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, cast

from anyio import get_cancelled_exc_class
from attrs import define, field, frozen

from sunshine_async import _codec
from sunshine_async._endpoint import JSON, Attempts, Endpoint, Failure, Request, Response
from sunshine_async._pace import Pace
from sunshine_async._retry import (
    MAY_HAVE_ACTED,
    SETTLES,
    Fault,
    Replay,
    Retry,
    Verdict,
    retry_after,
)
from sunshine_async._transport.exchange import HAD_LEFT, Sending, Timeout, Wire
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

_LOG: Final = logging.getLogger("sunshine_async")
_UNAUTHORIZED: Final = 401
_NOTHING: Final[Mapping[str, str]] = {}

_ERROR_OF: Final[Mapping[Fault, type[TransportError]]] = {
    Fault.UNSENT: ConnectError,
    Fault.TIMED_OUT: RequestTimeoutError,
    Fault.LOST: ConnectionLostError,
}


@define
class Tally:
    """What the calls of a client have cost so far."""

    requests: int = 0
    """Requests sent, or tried to be."""
    resent: int = 0
    """Those of them that were not the first of their call."""
    throttled: int = 0
    """Those of them that were answered 429."""


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
    _headers: dict[tuple[str, str | None], Mapping[str, str]] = field(factory=dict, repr=False)

    async def call(
        self,
        endpoint: Endpoint[B, R],
        body: B | None = None,
        *,
        path: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str | None] | str = _NOTHING,
    ) -> R:
        """Return what the service answers to *endpoint*, tried as often as `Retry` allows.

        Raise `ValueError` before anything is sent, or else an error of `errors`. If it is
        cancelled after a byte of it may have left, a note on the cancellation says so.
        """
        request = endpoint.request(body, {**self.path, **path}, query)
        call = _Call(self, endpoint, request, endpoint.replay_of(body))
        try:
            response = await call.answer()
            verdict = SETTLES.get((call.replay, response.status)) if call.maybe_applied else None
            if verdict is Verdict.DONE:
                return cast("R", None)
            if verdict is Verdict.READ_BACK:
                found = await self._read_back(endpoint, body)
                if found is not None:
                    return found
        except get_cancelled_exc_class() as cancelled:
            if call.maybe_applied or call.sending.begun:
                cancelled.add_note(HAD_LEFT.format(endpoint=endpoint))
            raise
        if response.ok:
            return endpoint.result(response)
        attempts = Attempts(count=call.count, maybe_applied=call.maybe_applied)
        hidden = self.auth.secrets()
        raise endpoint.error(response, attempts, now=datetime.now(UTC), hidden=hidden)

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
            self._headers[authorization, None] = common
            self._headers[authorization, JSON] = {**common, "Content-Type": JSON}
            found = self._headers[authorization, content_type]
        return found


@define
class _Call:
    """What has become of one call so far."""

    transport: Transport
    endpoint: Endpoint[Any, Any]
    request: Request
    replay: Replay
    count: int = 0
    maybe_applied: bool = False
    """Whether an attempt before the last may have been applied."""
    sending: Sending = field(factory=Sending)
    authorization: str = field(default="", repr=False)
    renewed: bool = False
    """Whether the credentials have been renewed for this call: once is enough."""

    async def answer(self) -> Response:
        """Return the response that ends the call; raise `TransportError` where none came."""
        transport = self.transport
        clock = transport.clock
        until: float | None = None
        reply: Response | Failure | None = None
        while True:
            await take(transport.pace, clock)
            try:
                now = clock.now()
                until = now + transport.retry.deadline if until is None else until
                if reply is None or now < until:  # else the pace kept it past its deadline
                    reply = await self._attempt(until - now)
            finally:
                transport.pace.leave()
            if isinstance(reply, Response):
                if reply.status == _UNAUTHORIZED and await self._renewed() and self.request.ready:
                    continue
                fault = self.endpoint.fault_of(reply.status)
                if fault is None:
                    return reply
            else:
                fault = reply.fault
            wait = self._wait(fault, reply, left=until - clock.now())
            if wait is None:
                if isinstance(reply, Response):
                    return reply
                raise self._error(reply)
            if fault in MAY_HAVE_ACTED and self.replay is not Replay.SAFE:
                self.maybe_applied = True
            await clock.sleep(wait)

    async def _attempt(self, left: float) -> Response | Failure:
        transport = self.transport
        authorization = self.authorization = (
            transport.auth.current() or await transport.auth.fetch()
        )
        self.count += 1
        transport.tally.requests += 1
        transport.tally.resent += self.count > 1
        reply = await transport.wire.send(
            self.request,
            transport.headers(authorization, self.request.content_type),
            timeout=transport.timeout.within(left),
            sending=self.sending,
        )
        self.sending = Sending()
        if isinstance(reply, Response) and self.endpoint.fault_of(reply.status) is Fault.THROTTLED:
            transport.tally.throttled += 1
        if _LOG.isEnabledFor(logging.DEBUG):
            became = reply.status if isinstance(reply, Response) else reply.fault
            _LOG.debug("%s attempt %d: %s", self.endpoint, self.count, became)
        return reply

    async def _renewed(self) -> bool:
        """Return whether there are other credentials now than those that were refused."""
        if self.renewed:
            return False
        self.renewed = True
        return await self.transport.auth.renew(self.authorization)

    def _wait(self, fault: Fault, reply: Response | Failure, *, left: float) -> float | None:
        transport = self.transport
        asked = None
        if isinstance(reply, Response):
            asked = retry_after(reply.headers.get("retry-after"), now=datetime.now(UTC))
        if not self.request.ready:
            return None
        return transport.retry.wait(
            self.replay,
            fault,
            attempt=self.count,
            asked=asked,
            luck=transport.clock.luck(),
            left=left,
        )

    def _error(self, failure: Failure) -> TransportError:
        acted = self.maybe_applied or failure.fault in MAY_HAVE_ACTED
        return _ERROR_OF[failure.fault](
            failure.reason,
            fault=failure.fault,
            endpoint=str(self.endpoint),
            attempts=self.count,
            maybe_applied=acted and self.replay is not Replay.SAFE,
        )
