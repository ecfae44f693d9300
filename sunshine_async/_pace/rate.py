"""The limit of a service, learnt from accepted and refused calls. No clock: the caller passes time."""

from math import inf
from typing import Final

from sunshine_async._pace.evidence import LATELY, LONGEST, AcceptedRate, HeaderLimit, NoiseFilter

FELL_TO: Final = 0.9
"""The part of the accepted rate that a refusal leaves."""
FELL_AGAIN_TO: Final = 0.7
"""The same where the fall before didn't help."""
HELPED: Final = 2.0
"""Seconds without a refusal after which a fall has helped."""
REGAIN: Final = 20.0
"""Seconds until the rate is back where it failed: the plateau of the cubic curve."""
WINDOWS: Final = 3.0
"""The same in windows, where a window was learnt: it needs a whole one to show a result."""
GUESSED: Final = 7.0
"""The same where the rate was doubling when it failed."""
COSTS: Final = 28.0
"""The same in times that the refusal lasted: the costlier a refusal, the later the next."""
ADDED: Final = 0.03
"""Calls a second, each second at least: of callers that share a limit, the slower one catches up."""
MOVED: Final = 1.25
"""Times the rate that failed: past it the limit itself must have moved, and the rate doubles."""
DOUBLING: Final = 1.0
"""Seconds."""
BREATH: Final = 0.1
"""Seconds after a refusal before the next call looks again, and ..."""
LOOKS: Final = 0.05
"""... the part of the refusal's time so far on top of that."""
PATIENCE: Final = 1.0
"""Seconds without an answer after which another call looks too."""
BEGINS_AT: Final = 10.0
"""Calls a second, at least, after the first refusal: few may have been accepted by chance."""
TELLING: Final = 3
"""Calls, at least, that were accepted in a window: others may have used up the limit."""
FEW: Final = 10
"""Answers to each further refusal of a mild refusal period, at least."""
LONG: Final = 2.5
"""Seconds: a longer refusal is that of a window."""
LEAST: Final = 0.05
"""Calls a second: the rate never falls below, nor below half of a ceiling where that is less."""
OWN: Final = 0.1
"""The part of a window (of a second at least) by which interactive calls may go ahead of the rate."""
SPARE: Final = 0.97
"""The part of a limit, told by headers, that is used."""
SHORT: Final = 3.0
"""Seconds: headers tell whole ones, so that a shorter reset tells little."""
LONGEST_PAUSE: Final = 300.0
"""Seconds, so that no header can stop all calls for ever."""
FORGETS: Final = 300.0
"""Seconds without a refusal and without a call held by the rate, after which all is forgotten."""


class AdaptiveRate:
    """A rate, a window, and the one pause of all calls: the lessons of refusals (429).

    Without a refusal it is dormant. **A refusal** begins a refusal period: nothing starts for the
    seconds of its ``Retry-After``, or else for a tenth of a second; then one call at a time looks
    again, ever later, until one is accepted. All refusals until then are one overload.

    **The rate** is then 90 % of the most that was accepted a second, over any stretch of a
    second or more up to that moment, the refusal period included. So a window of a minute that
    took 600 calls in two seconds, and refused for 58, gives 10 a second. The rate grows along a
    cubic curve: fast, slow around where it failed, and faster again beyond, never over twice the
    accepted rate, nor over the *ceiling*. Where refusals lasted, the curve takes three windows.

    Refusals at random lower nothing for long (`NoiseFilter`).
    """

    def __init__(self, ceiling: float) -> None:
        self.is_active = False
        """Whether there is something to go by."""
        self.paused_until = -inf
        """The end of the pause that a ``Retry-After`` asked."""
        self.starts_at = -inf
        """The earliest start of a call: of the next one that looks, in a refusal period."""
        self.length = 0.0
        """Seconds of the window that was learnt; 0 for a limit without one."""
        self.accepted: Final = AcceptedRate()
        self._ceiling: Final = ceiling
        self._paused = 0.0
        """The seconds of all pauses, this one's included to its end."""
        self._rate = ceiling
        self.doubles = True
        """Whether the rate doubles each second: the limit isn't known, or has moved."""
        self._bottom = 0.0
        self._top = 0.0
        self._grows_from = -inf
        self._refused_at: float | None = None
        """The beginning of the refusal period; None outside one."""
        self._opened_at = -inf
        """The end of the last one."""
        self._lasted = 0.0
        """The seconds of the last one, if it was short."""
        self._is_guess = True
        """Whether the rate was still doubling when it failed: the ceiling is not sure."""
        self._refusals = 0
        """Those of the refusal period after the first."""
        self._lasts = False
        """Whether a call that looked was refused in it."""
        self._answers = 0
        """Those that were accepted meanwhile."""
        self._held_at = -inf
        self._cap = inf
        self._noise = NoiseFilter()
        self._told: HeaderLimit | None = None
        """The limit that headers told."""
        self._resets_at = -inf
        """The end of its window."""

    @property
    def ceiling(self) -> float | None:
        """Calls a second that the service was seen to accept, or told; None before a lesson."""
        found = [self._top] if self._top else []
        if self._told is not None:
            found.append(self._told.limit / self.length)
        return min(found) if found and self.is_active else None

    @property
    def is_refused(self) -> bool:
        """Whether a refusal period is on: one call at a time looks for its end."""
        return self._refused_at is not None

    def throttled_seconds(self, now: float) -> float:
        """Return for how long all have been paused until *now*, together."""
        return self._paused - max(0.0, self.paused_until - now)

    def own(self, rate: float) -> float:
        """Return how many interactive calls may go ahead of this *rate*."""
        return OWN * rate * max(1.0, self.length)

    def tell(self, now: float, told: HeaderLimit) -> bool:
        """Learn from headers; return whether starts must wait: nothing of the window is left."""
        before = self._told
        length = told.length or told.reset
        if before is not None and before.limit == told.limit:
            length = max(length, self.length)
        if not SHORT <= length <= LONGEST_PAUSE:
            return False
        self.is_active, self.length, self._told = True, length, told
        self._held_at = now
        self._resets_at = now + told.reset if told.reset >= SHORT else now
        if told.remaining < 1 and self._resets_at > now:
            self._pause(now, self._resets_at)
            self.starts_at = max(self.starts_at, self.paused_until)
            return True
        return False

    def is_kept(self, now: float, in_flight: int) -> bool:
        """Return whether what is left of the window is kept for interactive calls."""
        told, left = self._told, self._resets_at - now
        if told is None or left <= 0:
            return False
        return told.remaining - in_flight <= OWN * told.limit * min(1.0, left / self.length)

    def resume(self, now: float, ceiling: float, length: float) -> None:
        """Go on with what was learnt before: the *ceiling* in calls a second, and the window."""
        if not self.is_active and ceiling < self._ceiling:
            self.is_active, self.length = True, length
            self._set(ceiling, FELL_TO * ceiling)
            self._is_guess = False
            self._opened_at = self._grows_from = self._held_at = now

    def answered(self, now: float, began: float) -> bool:
        """Count an answer that isn't a refusal; return whether a refusal period ended with it."""
        if not self.is_active:
            self.accepted.add(now)
            return False
        opened = self._refused_at is not None and began > self._refused_at
        if opened:
            self._open(now)
        rate = self.accepted.add(now)
        if self._refused_at is not None:
            self._answers += 1
        else:
            self._noise.count()
            if rate:
                self._cap = 2 * max(rate, self.accepted.lately(now))
        return opened

    def refused(self, now: float, began: float, asked: float | None) -> bool:
        """Learn from a refusal of the attempt that *began* then; return whether starts must wait."""
        overload = False
        if self._refused_at is not None:
            overload = began > self._refused_at
            self._refusals += 1
            self._lasts |= overload
        else:
            self._noise.count(1)
            overload = began > self._opened_at and not self._is_noise(now, asked)
            if overload:
                self._fall(now)
        if overload:
            lasted = now - self._refused_at if self._refused_at is not None else 0.0
            self.starts_at = now + BREATH + LOOKS * lasted
        if asked:
            self._pause(now, now + min(asked, LONGEST_PAUSE))
        self.starts_at = max(self.starts_at, self.paused_until)
        return overload or bool(asked)

    def looks(self, now: float) -> None:
        """Note that a call started *now*, in a refusal period: the next one waits for its answer."""
        self.starts_at = now + PATIENCE

    def looked(self, now: float, began: float) -> bool:
        """Note that an attempt ended without an answer; return whether another call may look."""
        looked = self._refused_at is not None and began > self._refused_at
        if looked:
            self.starts_at = max(now, self.paused_until)
        return looked

    def rate(self, now: float) -> float | None:
        """Return how many calls a second may start, None without a bound."""
        if self._refused_at is None and (
            now - max(self._opened_at, self._held_at, self.paused_until) > FORGETS
        ):
            self.is_active = False
            self._rate = self._ceiling
            self._noise, self.length, self._told, self._top = NoiseFilter(), 0.0, None, 0.0
            return None
        rate = min(self._grown(now), self._told_rate(now))
        return None if rate == inf else rate

    def _told_rate(self, now: float) -> float:
        told = self._told
        if told is None:
            return inf
        rate = SPARE * told.limit / self.length
        left = self._resets_at - now
        return min(rate, max(1.0, told.remaining) / left) if left >= SHORT else rate

    def _grown(self, now: float) -> float:
        """Let the learnt rate grow; return it."""
        if self._rate >= self._ceiling:
            return self._rate
        seconds = max(0.0, now - self._grows_from)
        if self.doubles:
            target = self._bottom * 2 ** min(seconds / DOUBLING, 60)
        else:
            late = seconds - self._regain
            scale = (
                self._regain if late < 0 else min(self._regain, max(REGAIN, WINDOWS * self.length))
            )
            curve = self._top + (self._top - self._bottom) * (late / scale) ** 3
            target = max(curve, self._bottom + ADDED * seconds * REGAIN / self._regain)
            if curve > MOVED * self._top:
                self.doubles, self._bottom, self._grows_from = True, curve, now
        self._rate = max(self._rate, min(target, self._cap, self._ceiling))
        return self._rate

    def held(self, now: float) -> None:
        """Note that a call had to wait because of the rate."""
        self._held_at = now

    @property
    def _regain(self) -> float:
        if self._is_guess:
            return GUESSED
        return max(REGAIN, WINDOWS * self.length, COSTS * self._lasted)

    def _is_early(self, now: float) -> bool:
        return self.is_active and now - self._opened_at < self._regain / 3

    def _is_noise(self, now: float, asked: float | None) -> bool:
        if asked and asked > LONG:
            self._noise.end()
        return self._noise.explains(now)

    def _fall(self, now: float) -> None:
        self._refused_at, self._lasts, self._refusals, self._answers = now, False, 0, 0
        early = self._is_early(now)
        accepted = self._most(now)
        unknown = not self.is_active  # a storm's start tells little
        if not self.length:
            if now - self._opened_at < LATELY and not unknown:
                accepted = max(accepted, self._top)  # keep it: there is little new to go by
            accepted = min(accepted, self._rate)
        self._noise.fell(now, accepted, early=early)
        noise = self._noise.is_on(now)
        self._is_guess = self.doubles or noise
        helped = self.length > 0 or self.doubles or now - self._grows_from > HELPED
        self.is_active = True
        top = accepted
        if early and noise:  # the excess may be one of noise
            top = max(top, min(self._top, top / FELL_TO))
        self._set(top, accepted * (FELL_TO if helped else FELL_AGAIN_TO))
        begins = min(BEGINS_AT, self._ceiling / 2)
        if unknown and (self._rate < begins or self._ceiling == inf):
            self._bottom = self._rate = max(self._rate, begins)
            self.doubles = True
        self._grows_from = inf

    def _open(self, now: float) -> None:
        """End the refusal period: the first call since it began was accepted."""
        lasted = now - (self._refused_at or now)
        self._refused_at = None
        self._lasted = lasted if lasted <= LONG else 0.0
        accepted, seconds = self.accepted.most(now, self._opened_at)
        if lasted > LONG and accepted * seconds >= TELLING:
            if seconds < max(4 * lasted, 2 * self.length):
                self.length = min(seconds, LONGEST_PAUSE)
                self._is_guess = False
            self._set(accepted, FELL_TO * accepted)
        elif self.doubles:
            self._bottom = self._rate = max(self._rate, FELL_TO * self.accepted.lately(now))
        mild = not self.length and not self._lasts and self._refusals * FEW <= self._answers
        if self._noise.opened(now, mild=mild, asked=self.paused_until > now - lasted):
            self.doubles, self._bottom = True, self._rate
        self._opened_at = self._grows_from = self.starts_at = now

    def _most(self, now: float) -> float:
        """Return the most that was accepted a second: in a window, where one was learnt."""
        steady = 0.0 if self.doubles else min(LONGEST, now - self._opened_at)
        least = self.length or max(LATELY, steady)
        rate, _ = self.accepted.most(now, min(self._opened_at, now - least), least)
        return rate

    def _set(self, top: float, rate: float) -> None:
        least = min(LEAST, self._ceiling / 2)
        self._top = max(least, top)
        self._bottom = self._rate = max(least, rate)
        self.doubles = self._rate == least
        self._cap = max(self._rate, 2 * top)

    def _pause(self, now: float, until: float) -> None:
        if until > self.paused_until:
            self._paused += until - max(now, self.paused_until)
            self.paused_until = until
