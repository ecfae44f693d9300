"""How fast a service lets calls start, learnt from what it accepts and what it refuses."""

from collections import deque
from math import inf
from typing import Final

FELL_TO: Final = 0.9
"""Of what was accepted: what a refusal leaves of the rate."""
FELL_AGAIN_TO: Final = 0.7
"""The same where the fall before didn't help."""
HELPED: Final = 2.0
"""Seconds without a refusal after which a fall has helped."""
REGAIN: Final = 20.0
"""Seconds until the rate is back where it failed: the plateau of the cubic curve."""
ADDED: Final = 0.03
"""Calls a second, each second at least: of those who share a limit, the slower one catches up."""
MOVED: Final = 1.25
"""Times where it failed: past it the limit itself must have moved, and the rate doubles."""
DOUBLING: Final = 1.0
"""Seconds."""
BREATH: Final = 0.1
"""Seconds in which nothing starts after a fall, so that the service has a few calls in hand."""
BEGINS_AT: Final = 10.0
"""Calls a second, at least, after the first refusal: what was accepted by then may be few by chance."""
LEAST: Final = 0.5
"""Calls a second: it never falls below, nor below half of a ceiling where that is less."""
LONGEST_PAUSE: Final = 300.0
"""Seconds, so that no header can hold everybody for ever."""
FORGETS: Final = 300.0
"""Seconds without a refusal and without anybody held by the rate, after which it is forgotten."""


class Measured:
    """How many calls a second were accepted lately, by counting them in pieces of time."""

    PIECE: Final = 0.25
    AT_LEAST: Final = 1.0
    """Seconds looked back; more, up to `AT_MOST`, where fewer than `ENOUGH` were accepted."""
    AT_MOST: Final = 5.0
    ENOUGH: Final = 10

    def __init__(self) -> None:
        self._pieces: Final[deque[tuple[float, int]]] = deque(maxlen=int(self.AT_MOST / self.PIECE))
        self._began = -inf
        self._until = -inf
        self._count = 0

    def accepted(self, now: float) -> bool:
        """Count one more; return whether a piece of time has ended with it."""
        if now < self._until:
            self._count += 1
            return False
        if self._count:
            self._pieces.append((self._began, self._count))
        self._began = now
        self._until = now + self.PIECE
        self._count = 1
        return True

    def rate(self, now: float) -> float:
        """Return how many were accepted a second."""
        count, since = self._count, self._began
        for began, several in reversed(self._pieces):
            enough = now - since >= self.AT_LEAST and count >= self.ENOUGH
            if enough or now - began > self.AT_MOST:
                break
            count, since = count + several, began
        if now - since > self.AT_MOST:
            return 0.0
        return count / max(self.AT_LEAST, now - since)


class Noise:
    """Whether refusals come whatever the rate is: then they say nothing about it.

    A fall that helps is followed by many answers without a refusal. So where a row of falls didn't
    help, though less than half of the rate is left, and among the answers refusals are few, it is
    noise: one of a limit comes seconds after the one before, as the rate grows back to it. It is taken for that for `LASTS`, or until refusals are no longer few. Where never as
    many as `FAST` were accepted in the row it isn't looked for: those who share a small limit see
    just that, and have to make room for each other.
    """

    FALLS: Final = 3
    OFTEN: Final = 100
    """Answers, for each fall of the row at most; after three times as many a fall may have helped."""
    SOON: Final = 1.5
    """The same in seconds, at the fastest that was accepted in the row, where that is more."""
    FEW: Final = 0.1
    """The share of refusals among the last answers."""
    LATELY: Final = 200
    """Answers: older ones weigh half, and half again."""
    FAST: Final = 15.0
    """Calls a second."""
    LASTS: Final = 60.0
    """Seconds."""

    def __init__(self) -> None:
        self.before = 0.0
        """The rate before the row of falls."""
        self.until = -inf
        self._falls = 0
        self._fell_at = -inf
        self._since = 0
        """The answers since the last fall."""
        self._in_row = 0
        """The answers since the first of the falls."""
        self._fastest = 0.0
        self._answers = 0.0
        self._refusals = 0.0

    @property
    def _often(self) -> float:
        return max(self.OFTEN, self.SOON * self._fastest)

    def count(self, refusals: int = 0) -> None:
        """Count an answer, which is a refusal or none."""
        self._since += 1
        self._in_row += 1
        self._answers += 1
        self._refusals += refusals
        if self._answers > self.LATELY:
            self._answers /= 2
            self._refusals /= 2

    def saw(self, accepted: float) -> None:
        """Note how many calls a second were accepted."""
        self._fastest = max(self._fastest, accepted)

    def refused(self, now: float, rate: float) -> bool:
        """Return whether a refusal at this *rate*, of what began after the last fall, is noise."""
        few = self._refusals < self.FEW * self._answers
        if now < self.until:
            if not few:
                self.until = -inf
            return few
        if (
            few
            and self._falls >= self.FALLS
            and self._in_row < self._often * self._falls
            and self._fastest >= self.FAST
            and rate < self.before / 2
        ):
            self.until = now + self.LASTS
            self._falls = 0
            return True
        return False

    def fell(self, now: float, before: float, accepted: float) -> None:
        """Note that the rate fell from *before*, of which so much was *accepted*."""
        helped = now - self._fell_at > REGAIN and self._since > 3 * self._often
        if helped or not self._falls:
            self.before = before
            self._falls = 0
            self._fastest = 0.0
            self._in_row = 0
        self._falls += 1
        self._fell_at = now
        self._since = 0
        self.saw(accepted)


class Learnt:
    """A rate, and the one pause of all: what refusals (429) have taught. Without any, dormant.

    A refusal takes the rate down at once to a part of what was accepted in the last second or so.
    It then grows along a cubic curve: fast, slow around where it failed, and faster again beyond,
    never over twice what was accepted, nor over the *ceiling*. One overload counts once: only an
    attempt that began after the last fall can cause another. Time that was paused doesn't count.
    Where falls don't help it is back to where it was, and refusals pause for a while, no more (`Noise`).
    """

    def __init__(self, ceiling: float) -> None:
        self.is_active = False
        """Whether there is something to go by."""
        self.paused_until = -inf
        self.measured: Final = Measured()
        self._ceiling: Final = ceiling
        self._paused = 0.0
        """The seconds of all pauses, this one's included to its end."""
        self._rate = ceiling
        self._doubles = True
        self._bottom = 0.0
        self._top = 0.0
        self.starts_at = -inf
        """When the pause, or the breath, after the last fall is over."""
        self._grows_from = -inf
        self._fell_at = -inf
        self._held_at = -inf
        self._cap = inf
        self._noise = Noise()

    def accepted_lately(self, now: float) -> float:
        """Return how many calls a second were accepted, of the time that wasn't paused."""
        return self.measured.rate(now - self.throttled_seconds(now))

    def throttled_seconds(self, now: float) -> float:
        """Return for how long all have been paused until *now*, together."""
        return self._paused - max(0.0, self.paused_until - now)

    def accepted(self, now: float) -> None:
        """Count an answer that isn't a refusal."""
        time = now - self._paused
        if now < self.paused_until:
            time = now - self.throttled_seconds(now)
        piece_ended = self.measured.accepted(time)
        if self.is_active:
            self._noise.count()
            if piece_ended:
                rate = self.measured.rate(time)
                self._cap = 2 * rate
                self._noise.saw(rate)

    def refused(self, now: float, began: float, asked: float | None) -> bool:
        """Learn from a refusal of the attempt that *began* then; return whether the rate fell."""
        self._noise.count(1)
        fell = began > self._fell_at
        if fell and self._noise.refused(now, self._rate):
            fell = False
            self._rise(now)
        if fell:
            self._fall(now)
        if asked:
            self._pause(now, now + min(asked, LONGEST_PAUSE))
        self.starts_at = max(self.starts_at, self.paused_until)
        if now >= self._noise.until:
            self._grows_from = max(self._grows_from, self.starts_at)
        return fell or bool(asked)

    def rate(self, now: float) -> float | None:
        """Return how many calls a second may start, None without a bound."""
        if now - max(self._fell_at, self._held_at, self.paused_until) > FORGETS:
            self.is_active = False
            self._rate = self._ceiling
            self._noise = Noise()
            return None
        if self._rate >= self._ceiling:
            return None if self._rate == inf else self._rate
        seconds = max(0.0, now - self._grows_from)
        if self._doubles:
            target = self._bottom * 2 ** min(seconds / DOUBLING, 60)
        else:
            curve = self._top + (self._top - self._bottom) * (seconds / REGAIN - 1) ** 3
            target = max(curve, self._bottom + ADDED * seconds)
            if curve > MOVED * self._top:
                self._doubles, self._bottom, self._grows_from = True, curve, now
        self._rate = max(self._rate, min(target, self._cap, self._ceiling))
        return self._rate

    def held(self, now: float) -> None:
        """Take note that somebody had to wait because of the rate."""
        self._held_at = now

    def _fall(self, now: float) -> None:
        accepted = self.accepted_lately(now)
        top = min(accepted, self._rate)
        self._noise.fell(now, top if self.is_active else self._rate, accepted)
        helped = now - self._grows_from > HELPED
        least = min(LEAST, self._ceiling / 2)
        self._top = max(least, top)
        self._bottom = self._rate = max(least, top * (FELL_TO if helped else FELL_AGAIN_TO))
        unknown = self._ceiling == inf and not self.is_active  # a storm's start tells little
        if unknown:
            self._bottom = self._rate = max(self._rate, BEGINS_AT)
        self._doubles = unknown or self._rate == least
        self.is_active = True
        self._cap = max(self._rate, 2 * accepted)
        self._fell_at = now
        self.starts_at = self._grows_from = now + BREATH

    def _rise(self, now: float) -> None:
        """Go back to where the falls began that didn't help."""
        before = self._noise.before
        if self._rate < before:
            self._rate, self._cap = before, max(before, self._cap)
            self._top, self._bottom, self._doubles = before, FELL_TO * before, False
            self._grows_from = now

    def _pause(self, now: float, until: float) -> None:
        if until > self.paused_until:
            self._paused += until - max(now, self.paused_until)
            self.paused_until = until
