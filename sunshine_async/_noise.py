"""Refusals at random, told from those of a limit. No clock: the caller passes the time."""

from math import inf
from typing import Final

FAST: Final = 15.0
"""Calls a second: below, callers that share a small limit see nothing but mild refusals."""
FALLS: Final = 3
"""Mild falls in a row, each before the rate was back, after which noise is tried at once."""
BETWEEN: Final = 60.0
"""Seconds between two trials; twice as many after each that failed."""
GREW: Final = 2.0
"""Times the rate before a trial that shows noise."""
LASTS: Final = 60.0
"""Seconds after a trial began, after which noise has to be shown again."""
LEAST: Final = 0.005
MOST: Final = 0.025
"""The share of refusals that is taken for noise."""
MARGIN: Final = 0.01
"""The share of refusals, beyond twice that of the noise, that is no excess yet."""
EXCESS: Final = 5.0
"""Refusals in excess that a limit explains better."""


class Noise:
    """Refusals that come at any rate, such as those of a faulty gateway, and their share.

    After a mild refusal a trial shows the cause: the rate doubles each second. Noise stays what it
    is, and a limit refuses in excess (a cumulative sum against twice the share of the noise). A
    trial that failed isn't repeated for a minute, two, four and so on, unless three falls in a row
    didn't help. While there is noise, only an excess of refusals lowers the rate.
    """

    def __init__(self) -> None:
        self._until = -inf
        self._next_at = -inf
        self._between = BETWEEN
        self._falls = 0
        self._answers = 0
        self._refusals = 0
        self._excess = 0.0
        self._share = LEAST
        self._accepted = 0.0
        """The rate that was accepted before the last fall."""
        self._from = 0.0
        """The same before the trial that is on; 0 without one."""

    def count(self, refusals: int = 0) -> None:
        """Count an answer, which is a refusal or none."""
        self._answers += 1
        self._refusals += refusals
        self._excess = max(0.0, self._excess + refusals - 2 * self._share - MARGIN)

    def is_on(self, now: float) -> bool:
        """Return whether there is noise."""
        return now < self._until

    def explains(self, now: float) -> bool:
        """Return whether a refusal is noise."""
        return now < self._until and self._excess < EXCESS

    def fell(self, now: float, accepted: float, *, early: bool) -> None:
        """Note a fall, with so many calls a second *accepted*: in noise, for an excess."""
        self._falls = self._falls + 1 if early else 1
        if now < self._until:
            self._measure()
            if accepted >= GREW * self._from:
                self._from, self._between = 0.0, BETWEEN
            else:
                self._until = -inf
                self._next_at = now + self._between
                self._between *= 2
        self._accepted = accepted

    def opened(self, now: float, *, mild: bool, asked: bool) -> bool:
        """Note the end of a refusal period, *mild* or not; return whether a trial begins.

        Where the service *asked* for a pause, a trial is too dear but after falls in a row.
        """
        self._excess = 0.0
        if not mild or self._accepted < FAST:
            self._falls = 0
            return False
        if now < self._until or ((asked or now < self._next_at) and self._falls < FALLS):
            return False
        self._measure()
        self._until, self._from, self._falls = now + LASTS, self._accepted, 0
        return True

    def end(self) -> None:
        """Note that refusals are those of a limit: the service asked for seconds."""
        self._falls, self._until, self._from = 0, -inf, 0.0

    def _measure(self) -> None:
        usual = (self._refusals - self._excess) / max(1, self._answers)
        self._share = min(MOST, max(LEAST, usual))
        self._answers = self._refusals = 0
