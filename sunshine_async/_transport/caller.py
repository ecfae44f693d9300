"""As whom calls are made: the wire, the credentials, the pace, and the headers of every request."""

from collections.abc import Mapping

from attrs import field, frozen

from sunshine_async._endpoint import JSON, Request
from sunshine_async._pace import Pace
from sunshine_async._places import Places
from sunshine_async._retry import Retry
from sunshine_async._transport.exchange import Timeout, Wire
from sunshine_async._transport.tally import Tally
from sunshine_async._transport.turn import CLOCK, Clock
from sunshine_async._version import __version__
from sunshine_async.auth import Auth


@frozen(eq=False)
class Caller:
    """As whom, by which wire and at which pace calls are made; tasks share it."""

    wire: Wire
    auth: Auth
    retry: Retry
    pace: Pace
    timeout: Timeout
    clock: Clock = CLOCK
    tally: Tally = field(factory=Tally)
    places: Places = field(factory=lambda: Places(None))
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
