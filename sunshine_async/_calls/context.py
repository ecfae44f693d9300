"""Shared context of a client's calls, and records of a single call: cost, log, notes, refusals."""

import logging
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Final, NoReturn

from attrs import define, field, frozen

from sunshine_async._calls.retry import Retry
from sunshine_async._http import __version__
from sunshine_async._http.messages import JSON, Failure, Request, Response, Timeout, Wire
from sunshine_async._pace import Pace
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.slots import PaceChange, Slots
from sunshine_async._pace.waiting import CLOCK, Clock
from sunshine_async.auth import Auth
from sunshine_async.errors import (
    ConnectError,
    ErrorDetail,
    Fault,
    RateLimitError,
    SunshineError,
)

if TYPE_CHECKING:
    from sunshine_async._calls.hooks import CallObserver, Hooks

LOG: Final = logging.getLogger("sunshine_async")
_REPORTS: Final[Mapping[PaceChange, tuple[int, str]]] = {
    PaceChange.PAUSED: (logging.INFO, "%s: the service pauses all calls for %.1f s"),
    PaceChange.LEARNT: (logging.INFO, "%s: a limit of %.3g calls a second was learnt"),
    PaceChange.GONE: (
        logging.WARNING,
        "%s: the service seems gone: batches wait, and probes look if it is back",
    ),
    PaceChange.BACK: (logging.WARNING, "%s: the service is back after %.1f s, batches go on"),
}
"""Level and text of the log for each change of the pace."""


@define
class CallStats:
    """Cost of a client's calls so far: a count of requests by kind."""

    requests: int = 0
    """Requests sent, or attempted."""
    resent: int = 0
    """Requests after the first of a call."""
    throttled: int = 0
    """Requests answered with 429."""


def log_attempt(
    endpoint: object,
    attempt: int,
    reply: Response | Failure,
    waited: float,
    seconds: float,
    *,
    request_id: str | None,
) -> None:
    """Log an attempt, or a probe, that took *seconds* after it had *waited* to be sent."""
    LOG.debug(
        "%s attempt %d: %s in %.3f s, after a wait of %.3f s (request id %s)",
        endpoint,
        attempt,
        reply.status if isinstance(reply, Response) else reply.fault,
        seconds,
        waited,
        request_id,
    )


def report_pace(pace: Pace, endpoint: object, observer: "CallObserver | None") -> None:
    """Log the changes of *pace* that calls have caused, and tell the hooks."""
    for event in pace.take_events():
        level, text = _REPORTS[event.change]
        number = event.seconds if event.found is None else event.found
        LOG.log(level, text, *((endpoint, number) if "%." in text else (endpoint,)))
        if observer is not None:
            observer.report(event)


class CallInfo:
    """Facts about a call that the call's result doesn't show."""

    __slots__ = ("read_back",)

    def __init__(self) -> None:
        self.read_back = False
        """True if an answer was lost, and the result is the record that a look-up then found."""


_FEW_REFUSALS: Final = 2


class ThrottleHistory:
    """Refusals (429) of one call: a call that alone is refused must not block the queue."""

    __slots__ = ("accepted", "count", "overtaken", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.overtaken = 0
        """Refusals of this call while the service, since the one before, accepted further calls."""
        self.accepted = 0
        """Calls that the pace had seen accepted at the last refusal."""

    @property
    def give_way(self) -> bool:
        """True if the call queues behind new calls."""
        return self.count >= _FEW_REFUSALS

    def add(self, accepted: int) -> None:
        """Count a refusal; *accepted* is the pace's count of accepted calls by then."""
        self.overtaken += self.count > 0 and accepted > self.accepted
        self.count, self.accepted = self.count + 1, accepted

    def wait(self, retry: Retry, luck: float) -> float:
        """Return the seconds before the call queues again: 0.0 unless only this call is refused."""
        if self.overtaken < _FEW_REFUSALS:
            return 0.0
        return luck * min(retry.max_wait, retry.first_wait * 2.0 ** min(self.overtaken, 62))


def raise_unsent(endpoint: object, pause: float | None) -> NoReturn:
    """Raise the error of a call that reached its deadline before a byte was sent.

    *pause*: the seconds for which the pace lets no call start; None: no connection became free.
    """
    if pause is None:
        message = "not sent: no connection became free before the deadline: see max_connections="
        raise ConnectError(
            message, fault=Fault.UNSENT, endpoint=str(endpoint), attempts=0, maybe_applied=False
        )
    if pause == inf:
        text = "not sent: the service has refused all calls for too long (max_outage)"
    elif pause:
        text = f"not sent: all calls are paused for {pause:.1f} s, past the deadline"
    else:
        text = "not sent: the deadline came before the pace let the call start"
    raise RateLimitError(
        429,
        endpoint=str(endpoint),
        errors=(ErrorDetail(None, text),),
        retry_after=pause if 0 < pause < inf else None,
        attempts=0,
    )


def uncertain(error: Exception) -> SunshineError:
    """Return *error* as an error that says that the service may have acted.

    An exception that isn't of this library, such as one of the caller's token function, is the
    cause of the error that is returned.
    """
    if isinstance(error, SunshineError):
        error.maybe_applied = True
        return error
    message = f"{type(error).__name__}, after a request that may have been applied"
    made = SunshineError(message, maybe_applied=True)
    made.__cause__ = error
    return made


@frozen(eq=False, repr=False)
class CallContext:
    """Shared context of calls: wire, credentials, retry rule, pace and limits. Shared by tasks."""

    wire: Wire
    auth: Auth
    retry: Retry
    pace: Pace
    timeout: Timeout
    clock: Clock = CLOCK
    stats: CallStats = field(factory=CallStats)
    slots: Slots = field(factory=lambda: Slots(None))
    """Limit of concurrent calls: the connections of this client."""
    probe: Request | None = None
    """A read of a user that doesn't exist: sent in place of a call, to see if an outage is over."""
    answered: Sign = Sign.ANSWERED
    """The sign that an answer gives the pace: `Sign.READ` if all calls are probes."""
    hooks: "Hooks | None" = None
    """The hooks that are told of every call; None: nobody is."""
    _headers: dict[tuple[str, str | None], Mapping[str, str]] = field(factory=dict, repr=False)

    def headers(self, authorization: str, content_type: str | None) -> Mapping[str, str]:
        """Return the headers of a request: for equal credentials the same mapping every time.

        A body that isn't JSON gets a new mapping, since such bodies differ in content type.
        """
        found = self._headers.get((authorization, content_type))
        if found is not None:
            return found
        if content_type not in (None, JSON):
            return {**self.headers(authorization, None), "Content-Type": content_type}
        self._headers.clear()  # the previous token has ended
        common = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"sunshine-async/{__version__}",
        }
        if authorization:
            common["Authorization"] = authorization
        with_json = {**common, "Content-Type": JSON}
        self._headers.update({(authorization, None): common, (authorization, JSON): with_json})
        return with_json if content_type else common
