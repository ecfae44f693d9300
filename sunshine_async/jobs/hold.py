"""A job held while its service is gone."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from sunshine_async._transport.turn import CLOCK
from sunshine_async.errors import RateLimitError, ServerError, SunshineError, TransportError

OUTAGE: Final = (TransportError, ServerError, RateLimitError)
"""What says nothing of a row, and something of the service."""
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


class Hold:
    """Lets rows be sent unless the service is gone; then *probe* asks it now and then.

    It is gone when a row had no answer, and no other row had one meanwhile. If none has one for
    *max_outage* seconds, *give_up* is called with a sentence.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        max_outage: float,
        give_up: Callable[[str], None],
    ) -> None:
        self.answers = 0
        """How many rows have been answered."""
        self.seconds = 0.0
        """For how long rows have been held in all."""
        self.held = False
        self._probe: Final = probe
        self._max_outage: Final = max_outage
        self._give_up: Final = give_up
        self._answered_at = CLOCK.now()
        self._gone = anyio.Event()
        self._back = anyio.Event()
        self._pause = _FIRST_PAUSE
        self._closed = False
        self._asking = anyio.CancelScope()

    def answer(self) -> None:
        """Take down that a row was answered."""
        self.answers += 1
        self._answered_at = CLOCK.now()
        self._pause = _FIRST_PAUSE

    def lost(self, error: Exception, *, since: int) -> bool:
        """Take down that a row had no answer; return whether others had *since* so many answers."""
        if self.answers > since:
            return True
        self._error = error
        self.held = not self._closed
        self._gone.set()
        return False

    async def enter(self) -> None:
        """Return when a row may be sent, or when that is over."""
        while self.held:
            await self._back.wait()

    async def keep(self) -> None:
        """Ask for the service whenever it is gone, until this is closed."""
        while True:
            await self._gone.wait()
            if self._closed:
                return
            self._gone = anyio.Event()
            since = CLOCK.now()
            with anyio.CancelScope() as self._asking:
                await self._ask()
            self.seconds += CLOCK.now() - since
            self._open()

    def close(self) -> None:
        """Hold no row any longer, and let `keep` end."""
        self._closed = True
        self._gone.set()
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
            if gone + pause > self._max_outage:
                self._give_up(
                    f"the service has been gone for {gone:.0f} s; the last: {self._error}"
                )
                return
            await CLOCK.sleep(pause)
            try:
                await self._probe()
            except OUTAGE as error:
                self._error = error
            except SunshineError:
                return  # whatever it says, it is there
            else:
                return
