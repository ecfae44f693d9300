"""Outage of a service: a job holds rows back, probes the service, and gives up in the end."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Final, TypeGuard

import anyio

from sunshine_async._pace import Pace
from sunshine_async._pace.waiting import CLOCK, Waker
from sunshine_async.bulk.cancellation import to_exception
from sunshine_async.errors import (
    ApiError,
    Fault,
    RateLimitError,
    ServerError,
    SunshineError,
    TransportError,
)

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
MANY: Final = 8
"""Calls under way without an answer that are enough to blame the service, and not the rows."""
OUTAGE: Final = (TransportError, ServerError, RateLimitError)
"""Errors about the service, not about a row."""


def is_permanent(error: object) -> bool:
    """Return True for an *error* that no retry can mend, such as an untrusted certificate."""
    return isinstance(error, TransportError) and error.fault == Fault.PERMANENT


def is_answer(result: object) -> bool:
    """Return True if the service has answered for a row with *result*, an error or not."""
    known = isinstance(result, ApiError) or not isinstance(result, Exception)
    return known and not isinstance(result, OUTAGE)


def is_outage(error: object) -> TypeGuard[SunshineError]:
    """Return True for an *error* that is a sign of a temporary outage."""
    return isinstance(error, OUTAGE) and not is_permanent(error)


class OutageWatch:
    """Holds rows back during an outage of the service, while *probe* asks the service again.

    *probe* gets True if its answer is to end the outage of *pace*.

    An outage begins after a call without an answer, if no row or probe had an answer during that
    call, and when *pace* holds calls back. After an answered probe rows go on. *give_up* gets a
    sentence after *max_outage* seconds in which rows had no answer; before the first answer of a
    row or probe, after *at_first* seconds.

    A service may answer reads and fail writes. While `MANY` calls have no answer, an answered probe
    lets the pace send a single call of these, and so on, until one is answered. While fewer have
    none, the rows may be the cause: the probe ends the outage for the pace, and each row is given up
    after a few attempts.

    The `CircuitBreaker` of the pace stays separate, since the breaker counts failed calls of all
    callers, knows no rows, and never ends a job.
    """

    def __init__(
        self,
        pace: Pace,
        probe: Callable[[bool], Awaitable[object]],
        give_up: Callable[[str], None],
        *,
        max_outage: float,
        at_first: float,
    ) -> None:
        self.answers = 0  # of rows and probes
        self._seconds = 0.0  # total of the outages before
        self._since: float | None = None  # the beginning of this outage
        self.held = False
        self._pace: Final = pace
        self._probe: Final = probe
        self._max_outage: Final = max_outage
        self._at_first: Final = min(at_first, max_outage)
        self._give_up: Final = give_up
        self._error: Exception | None = None
        self._calls = 0
        self._unanswered_since = CLOCK.now()
        self._probed_at = -inf  # the last answer to a probe while many calls had none
        self._was_lost = False
        self._wake: Callable[[], object] = lambda: None  # nobody waits yet
        self._released = anyio.Event()
        self._pause = _FIRST_PAUSE
        self._closed = False
        self._probing: anyio.CancelScope | None = None

    @property
    def seconds(self) -> float:
        """Seconds of all outages so far."""
        now = CLOCK.now()
        return self._seconds + now - (now if self._since is None else self._since)

    @property
    def reason(self) -> str:
        """The error of the last call without an answer, as a sentence; empty where none is known."""
        return str(self._error or "")

    def begin_call(self) -> None:
        """Record that a call begins, or waits for the end of an outage."""
        if not self._calls:
            self._unanswered_since = CLOCK.now()
        self._calls += 1

    def end_call(self) -> None:
        """Record that a call has ended: while none is under way, no answer is missed."""
        self._calls -= 1

    def record_answer(self) -> None:
        """Record an answer of the service to a row."""
        self.answers += 1
        self._unanswered_since = CLOCK.now()
        self._pause = _FIRST_PAUSE
        if self._since is not None:
            self._wake()

    def record_loss(self, error: SunshineError, *, answers: int) -> bool:
        """Record a call without an answer; return True if any came since the count *answers*."""
        if self.answers > answers:
            return True
        self._error = error
        self.held = not self._closed
        self._was_lost = True
        self._wake()
        return False

    async def wait(self) -> None:
        """Wait for the end of the outage, or of the watch."""
        while self.held:
            await self._released.wait()

    async def run(self) -> None:
        """Watch the service and probe in each outage, until `close`."""
        waker = Waker(CLOCK)
        self._wake = waker
        self._pace.watch(waker, self._max_outage)
        try:
            while not self._closed:
                if self._was_lost or self._pace.held:
                    self._error = self._error if self._was_lost else None
                    self._was_lost, self.held = False, True
                    self._since = CLOCK.now() if self._since is None else self._since
                    with anyio.CancelScope() as self._probing:
                        await self._probe_service()
                    self._release()
                    if self._pace.held and not self._closed:
                        await waker.wait(self._pause)
                    continue
                self._seconds, self._since = self.seconds, None
                await waker.wait(None)
        finally:
            self._pace.unwatch(waker)

    def close(self) -> None:
        """Release all rows, and end `run`."""
        self._closed = True
        self._wake()
        if self._probing is not None:
            self._probing.cancel()
        self._release()

    def _release(self) -> None:
        self.held = False
        self._released.set()
        self._released = anyio.Event()

    async def _probe_service(self) -> None:
        while True:
            gone = CLOCK.now() - self._unanswered_since if self._calls else 0.0
            limit = self._max_outage if self.answers else self._at_first
            asked = getattr(self._error, "retry_after", None) or 0.0
            # shorter towards the end, so that the last probe comes shortly before the limit
            pause = max(asked, min(self._pause, max(_FIRST_PAUSE, (limit - gone) / 2)))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            if gone + pause > limit or is_permanent(self._error):
                self._closed = True
                self._give_up(self._sentence(gone))
                return
            await CLOCK.sleep(pause)
            few = self._calls < MANY
            try:
                with anyio.move_on_after(limit - gone - pause):
                    await self._probe(few)
                    self._record_probe(few=few)
                    return
            except ApiError as error:
                if is_answer(error):
                    self._record_probe(few=few)  # any answer proves that the service is there
                    return
                self._error = error
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                self._error = to_exception(error, "asking for the service")  # then the next probe

    def _record_probe(self, *, few: bool) -> None:
        """Record an answer to a probe, while *few* calls, or many, have no answer."""
        if few:
            self.record_answer()
        else:
            self._probed_at = CLOCK.now()
            self.answers += 1

    def _sentence(self, gone: float) -> str:
        last = f"; the last: {self._error}" if self._error is not None else ""
        if self._probed_at > self._unanswered_since:
            return f"the service answers reads, but has not answered a row for {gone:.0f} s{last}"
        if self.answers:
            return f"the service has been gone for {gone:.0f} s{last}"
        return f"the service has not answered once in {gone:.0f} s: check its address{last}"
