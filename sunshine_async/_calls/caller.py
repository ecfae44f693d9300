"""The record of calls: cost, side notes, refusals, and the error of a call that was never sent.

As whom calls are made: the wire, the credentials, the pace, and the headers of every request.
"""

from collections.abc import Mapping
from math import inf
from typing import Final, NoReturn

from attrs import define, field, frozen

from sunshine_async._calls.retry import Retry
from sunshine_async._http import __version__
from sunshine_async._http.messages import JSON, Request, Timeout, Wire
from sunshine_async._pace import Pace
from sunshine_async._pace.slots import Slots
from sunshine_async._pace.waiting import CLOCK, Clock
from sunshine_async.auth import Auth
from sunshine_async.errors import ConnectError, ErrorDetail, Fault, RateLimitError


@define
class CallStats:
    """What the calls of a client have cost so far."""

    requests: int = 0
    """Requests sent, or tried to be."""
    resent: int = 0
    """Those of them that were not the first of their call."""
    throttled: int = 0
    """Those of them that were answered 429."""


@define
class CallInfo:
    """What a call says beside its result, to who asks."""

    read_back: bool = False
    """Whether an answer was lost, and the result is what was found there when that was settled."""


_GIVES_WAY: Final = 2


@define
class Refusals:
    """The refusals (429) of one call: a call that is refused alone doesn't block the others."""

    since: float
    """The time of the first."""
    count: int = 0
    passed: int = 0
    """Those after which the call was sent again and refused, though others were accepted meanwhile."""
    accepted: int = 0
    """The calls that the pace had seen accepted at the last one."""

    @property
    def give_way(self) -> bool:
        """Whether the call stands behind the others in line."""
        return self.count >= _GIVES_WAY

    def add(self, accepted: int) -> None:
        """Count a refusal, with so many calls *accepted* by then."""
        self.passed += self.count > 0 and accepted > self.accepted
        self.count, self.accepted = self.count + 1, accepted

    def wait(self, retry: Retry, luck: float) -> float:
        """Return the seconds until the call stands in line: 0.0 unless it is refused alone."""
        if self.passed < _GIVES_WAY:
            return 0.0
        return luck * min(retry.max_wait, retry.first_wait * 2.0 ** min(self.passed, 62))


def unsent(endpoint: object, pause: float | None) -> NoReturn:
    """Raise the error of a call that nothing was sent of, since its deadline came first.

    *pause* is the seconds for which the pace lets no call start, as far as that is known; None
    where the call waited for a connection.
    """
    if pause is None:
        message = "not sent: no connection became free before the deadline"
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


@frozen(eq=False)
class Caller:
    """As whom, by which wire and at which pace calls are made; tasks share it."""

    wire: Wire
    auth: Auth
    retry: Retry
    pace: Pace
    timeout: Timeout
    clock: Clock = CLOCK
    tally: CallStats = field(factory=CallStats)
    slots: Slots = field(factory=lambda: Slots(None))
    """What bounds the calls that are under way at once: the connections of this client."""
    probe: Request | None = None
    """A read of nobody: asks a service that was gone, in the place of a call."""
    _headers: dict[tuple[str, str | None], Mapping[str, str]] = field(factory=dict, repr=False)

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
