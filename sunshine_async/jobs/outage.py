"""Outage of a service: a job holds rows back, probes the service, and gives up in the end."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeGuard

import anyio

from sunshine_async._pace import Pace
from sunshine_async._pace.breaker import FIRST_PROBE_WAIT, LONGEST_PROBE_WAIT
from sunshine_async._pace.rate import LONGEST_PAUSE
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

MANY: Final = 8
"""Calls, or rows, without an answer that are enough to blame the service, not the rows."""
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
    call, and when *pace* holds calls back. An answered probe ends the outage if fewer than `MANY`
    calls have no answer: then the rows may be the cause, and each is given up after a few attempts.
    Else a single call goes, and so on, until one is answered: a service may answer reads and fail
    writes. *give_up* gets a sentence after *max_outage* seconds in which rows waited for an answer;
    before the first answer of a row or probe, after *at_first* seconds. A probe goes before.

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
        self.answers = 0  # of rows, and of probes that blame no service
        self._seconds = 0.0  # total of the outages before
        self._since: float | None = None  # the beginning of this outage
        self.held = False
        self._lets_one_go = False  # True until a held call takes the turn
        self._is_trying = False  # True after an answered probe, until the next probe
        self._pace: Final = pace
        self._probe: Final = probe
        self._max_outage: Final = max_outage
        self._at_first: Final = min(at_first, max_outage)
        self._give_up: Final = give_up
        self._error: Exception | None = None
        self._calls = 0  # under way
        self._sent = set[int]()  # lines of calls under way that don't wait for an outage's end
        self._lost = set[int]()  # lines of unanswered rows, since the last answer to a row
        self._unanswered_since = self._idle_since = CLOCK.now()
        self._has_answered = False  # True after the first answer of all
        self._answers_reads = False  # True after an answered probe while many calls had no answer
        self._was_lost = False
        self._wake: Callable[[], object] = lambda: None  # nobody waits yet
        self._released = anyio.Event()
        self._pause = FIRST_PROBE_WAIT
        self._closed = False
        self._probing: anyio.CancelScope | None = None

    @property
    def seconds(self) -> float:
        """Seconds of all outages so far."""
        now = CLOCK.now()
        return self._seconds + now - (now if self._since is None else self._since)

    @property
    def _are_few(self) -> bool:
        """True while the calls without an answer are too few to blame the service."""
        return len(self._sent | self._lost) < MANY

    @property
    def reason(self) -> str:
        """The error of the last call without an answer, as a sentence; empty where none is known."""
        return str(self._error or "")

    def begin_call(self, line: int) -> None:
        """Record that a call for rows from *line* on begins, or waits for the end of an outage."""
        if not self._calls:
            self._unanswered_since += CLOCK.now() - self._idle_since
        self._calls += 1
        self._sent.add(line)

    def end_call(self, line: int) -> None:
        """Record that a call has ended: while none is under way, no answer is missed."""
        self._calls -= 1
        self._sent.discard(line)
        if not self._calls:
            self._idle_since = CLOCK.now()

    def record(self, line: int, results: Sequence[object], *, answers: int) -> None:
        """Record the *results* of a call for rows from *line* on, begun at the count *answers*."""
        loss: SunshineError | None = None
        for result in results:
            if not isinstance(result, Exception) or is_answer(result):
                self.record_answer()
                return
            loss = result if is_outage(result) else loss
        if loss is not None:
            if len(self._lost) < MANY:
                self._lost.add(line)
            self.record_loss(loss, answers=answers)
        elif self._is_trying:
            self._let_one_go()
        else:
            self._unanswered_since = CLOCK.now()

    def record_answer(self) -> None:
        """Record an answer of the service to a row: that ends an outage."""
        self._lost.clear()
        self._end()

    def record_loss(self, error: SunshineError, *, answers: int) -> None:
        """Record a call without an answer, unless any came since the count *answers*."""
        if self.answers == answers:
            self._error = error
            self.held = not self._closed
            self._was_lost = True
            self._wake()

    async def wait(self, line: int) -> None:
        """Wait for the end of the outage, or of the watch, or for the turn to be a single call.

        The call for rows from *line* on isn't sent before.
        """
        self._sent.discard(line)
        while self.held and not self._lets_one_go:
            await self._released.wait()
        self._sent.add(line)
        self._lets_one_go = False

    async def run(self) -> None:
        """Watch the service and probe in each outage, until `close`."""
        waker = Waker(CLOCK)
        self._wake = waker
        self._pace.watch(waker, self._max_outage)
        try:
            while not self._closed:
                if self.held or self._was_lost or self._pace.held:
                    await self._go_through()
                else:
                    self._seconds, self._since = self.seconds, None
                    await waker.wait(None)
        finally:
            self._pace.unwatch(waker)

    async def _go_through(self) -> None:
        """Hold rows until the outage ends, or the watch."""
        self._error = self._error if self._was_lost else None
        self._was_lost, self.held = False, True
        self._since = CLOCK.now() if self._since is None else self._since
        with anyio.CancelScope() as self._probing:
            await self._probe_service(self._probing)
        self._probing = None
        self._release()

    def close(self) -> None:
        """Release all rows, and end `run`."""
        self._closed = True
        self._wake()
        if self._probing is not None:
            self._probing.cancel()
        self._release()

    def _release(self) -> None:
        self.held = self._lets_one_go = self._is_trying = False
        self._wake_rows()

    def _let_one_go(self) -> None:
        self._lets_one_go = True
        self._wake_rows()

    def _wake_rows(self) -> None:
        self._released.set()
        self._released = anyio.Event()

    async def _probe_service(self, scope: anyio.CancelScope) -> None:
        """Probe again and again, until *scope* is cancelled or the watch gives up."""
        has_probed = False
        while not scope.cancel_called:
            gone = CLOCK.now() - self._unanswered_since if self._calls else 0.0
            limit = self._max_outage if self._has_answered else self._at_first
            asked = min(getattr(self._error, "retry_after", None) or 0.0, LONGEST_PAUSE)
            # shorter towards the end, so that the last probe comes shortly before the limit
            pause = max(asked, min(self._pause, (limit - gone) / 2))
            pause = max(FIRST_PROBE_WAIT, min(pause, limit - gone - FIRST_PROBE_WAIT))
            self._pause = min(2 * self._pause, LONGEST_PROBE_WAIT)
            if (has_probed and gone + pause > limit) or is_permanent(self._error):
                self._closed = True
                self._give_up(self._sentence(gone))
                return
            await CLOCK.sleep(pause)
            few = self._are_few
            self._lets_one_go = self._is_trying = False  # until this probe is answered
            try:
                # the first may take longer: the service isn't given up without
                with anyio.move_on_after(limit - gone - pause if has_probed else None):
                    await self._probe(few)
                    self._record_probe(few=few)
            except ApiError as error:
                if is_answer(error):  # any answer proves that the service is there
                    self._record_probe(few=few)
                else:
                    self._error = error
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                self._error = to_exception(error, "asking for the service")  # then the next probe
            has_probed = True

    def _record_probe(self, *, few: bool) -> None:
        """Record an answer to a probe, while *few* calls, or many, have no answer."""
        if few:
            self._end()
        else:
            self._has_answered = self._answers_reads = self._is_trying = True
            self._let_one_go()

    def _end(self) -> None:
        """Count an answer; end the outage, if there is any."""
        self.answers += 1
        self._has_answered, self._answers_reads = True, False
        self._unanswered_since = self._idle_since = CLOCK.now()
        self._pause = FIRST_PROBE_WAIT
        if self._probing is not None:
            self._was_lost = False
            self._probing.cancel()

    def _sentence(self, gone: float) -> str:
        last = f"; the last: {self._error}" if self._error is not None else ""
        if self._answers_reads:
            return f"the service answers reads, but has not answered a row for {gone:.0f} s{last}"
        if isinstance(self._error, RateLimitError):
            return f"the service has refused all calls for too long: {self._error}"
        if self._has_answered:
            return f"the service has been gone for {gone:.0f} s{last}"
        return f"the service has not answered once in {gone:.0f} s: check its address{last}"
