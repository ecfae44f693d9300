"""A job held while its service is gone."""

from collections.abc import Awaitable, Callable
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
OUTAGE: Final = (TransportError, ServerError, RateLimitError)
"""What says nothing of a row, and something of the service."""


def is_permanent(error: object) -> bool:
    """Return whether *error* is a fault that no retry can mend, such as an untrusted certificate."""
    return isinstance(error, TransportError) and error.fault == Fault.PERMANENT


def is_outage(error: object) -> TypeGuard[SunshineError]:
    """Return whether *error* says that the service is gone for now."""
    return isinstance(error, OUTAGE) and not is_permanent(error)


class OutageWatch:
    """Lets rows be sent unless the service is gone; then *probe* asks it now and then.

    It is gone when a row had no answer, and no other row had one meanwhile, and when *pace* holds
    calls back for that reason. If no row is answered for *max_outage* seconds, or before the first
    answer for *at_first* seconds, *give_up* is called with a sentence.
    """

    def __init__(
        self,
        pace: Pace,
        probe: Callable[[], Awaitable[object]],
        give_up: Callable[[str], None],
        *,
        max_outage: float,
        at_first: float,
    ) -> None:
        self.answers = 0
        """How many rows, and probes, have been answered."""
        self.seconds = 0.0
        """For how long rows have been held in all."""
        self.held = False
        self._pace: Final = pace
        self._probe: Final = probe
        self._max_outage: Final = max_outage
        self._at_first: Final = min(at_first, max_outage)
        self._give_up: Final = give_up
        self._error: Exception | None = None
        self._answered_at = CLOCK.now()
        self._gone = False
        self._wake: Callable[[], object] = lambda: None  # nobody waits yet
        self._back = anyio.Event()
        self._pause = _FIRST_PAUSE
        self._closed = False
        self._asking: anyio.CancelScope | None = None

    def answer(self) -> None:
        """Take down that a row was answered."""
        self.answers += 1
        self._answered_at = CLOCK.now()
        self._pause = _FIRST_PAUSE

    def lost(self, error: SunshineError, *, since: int) -> bool:
        """Take down that a row had no answer; return whether others had *since* so many answers."""
        if self.answers > since:
            return True
        self._error = error
        self.held = not self._closed
        self._gone = True
        self._wake()
        return False

    async def enter(self) -> None:
        """Return when a row may be sent, or when that is over."""
        while self.held:
            await self._back.wait()

    async def keep(self) -> None:
        """Ask for the service whenever it is gone, until this is closed."""
        waker = Waker(CLOCK)
        self._wake = waker
        self._pace.watch(waker, self._max_outage)
        try:
            while not self._closed:
                if self._gone or self._pace.held:
                    await self._hold()
                else:
                    await waker.wait(None)
        finally:
            self._pace.unwatch(waker)

    async def _hold(self) -> None:
        self._gone = False
        self.held = True
        since = CLOCK.now()
        with anyio.CancelScope() as self._asking:
            await self._ask()
        self.seconds += CLOCK.now() - since
        self._open()

    def close(self) -> None:
        """Hold no row any longer, and let `keep` end."""
        self._closed = True
        self._wake()
        if self._asking is not None:
            self._asking.cancel()
        self._open()

    def _open(self) -> None:
        self.held = False
        self._back.set()
        self._back = anyio.Event()

    async def _ask(self) -> None:
        while True:
            asked = getattr(self._error, "retry_after", None) or 0.0
            pause = max(asked, self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            gone = CLOCK.now() - self._answered_at
            limit = self._max_outage if self.answers else self._at_first
            if gone + pause > limit or is_permanent(self._error):
                self._closed = True
                self._give_up(self._sentence(gone))
                return
            await CLOCK.sleep(pause)
            try:
                with anyio.move_on_after(limit - gone - pause):
                    await self._probe()
                    self.answer()
                    return
            except ApiError as error:
                self._error = error
                if not isinstance(error, OUTAGE):
                    self.answer()  # whatever it says, it is there
                    return
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                self._error = to_exception(error, "asking for the service")  # so ask again

    def _sentence(self, gone: float) -> str:
        last = f"; the last: {self._error}" if self._error is not None else ""
        if self.answers:
            return f"the service has been gone for {gone:.0f} s{last}"
        return f"the service has not answered once in {gone:.0f} s: is its address right?{last}"
