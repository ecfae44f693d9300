"""Refusals at random, told from those of a limit. No clock: the caller passes the time."""

from math import inf
from typing import Final

FALLS: Final = 3
"""Falls in a row that didn't help, after which refusals are taken for noise."""
ALONE: Final = 100
"""Answers since the last refusal, at least, for one that says nothing by itself."""
FEW: Final = 0.1
"""The share of refusals among the answers of the row, at most."""
FAST: Final = 15.0
"""Calls a second, accepted: below, callers that share a small limit see just that."""
LASTS: Final = 60.0
"""Seconds after the last sign of noise."""
EXCESS: Final = 5.0
"""Refusals beyond twice the share of the noise that a limit explains better."""


class Noise:
    """Refusals that come at any rate, such as those of a faulty gateway, and their share.

    A fall below a limit ends the refusals of that limit for seconds. So falls in a row that end
    nothing, with few refusals among the answers, show noise. From then on refusals are counted
    against the share of the noise (a cumulative sum), and only an excess shows a limit.
    """

    def __init__(self) -> None:
        self.before = 0.0
        """The accepted rate before the row of falls: calls a second."""
        self._until = -inf
        self._since = 0
        self._falls = 0
        self._answers = 0
        self._refusals = 0
        self._share = 0.0
        self._excess = 0.0

    def count(self, refusals: int = 0) -> None:
        """Count an answer, which is a refusal or none."""
        self._since += not refusals
        self._answers += 1
        self._refusals += refusals
        if self._share:
            self._excess = max(0.0, self._excess + refusals - 2 * self._share)

    def explains(self, now: float, *, early: bool) -> bool | None:
        """Return whether a refusal is noise: True from now on, None still, False not.

        *early* refusals come soon after a fall, before the rate is back where it failed.
        """
        alone, self._since = self._since > ALONE, 0
        if alone:
            return None
        if now < self._until:
            if self._excess < EXCESS:
                if early:
                    self._until = now + LASTS
                return None
            self._excess = 0.0
            return False
        self._share = 0.0
        if not early:
            self._falls = 0
        few = self._refusals < FEW * self._answers
        if self._falls < FALLS or not few or self.before < FAST:
            return False
        self._share = self._refusals / self._answers
        self._excess, self._falls = 0.0, 0
        self._until = now + LASTS
        return True

    def fell(self, before: float) -> None:
        """Note a fall from *before* calls a second."""
        if not self._falls:
            self.before = 0.0
            self._answers = self._refusals = 1
        self.before = max(before, self.before)
        self._falls += 1

    def end_row(self) -> None:
        """Note that the refusals are those of a limit: they lasted."""
        self._falls = 0
        self._until = -inf
