"""Adaptive rate of a service, learnt from accepted and refused calls. No clock: callers pass time."""

from math import inf
from typing import Final, NamedTuple

from sunshine_async._pace.evidence import LONGEST, RECENT, AcceptedRate, HeaderLimit, NoiseFilter

DECREASE: Final = 0.9
"""The part of the accepted rate that a fall leaves."""
SECOND_DECREASE: Final = 0.7
"""The same where the fall before didn't help."""
HELPED_AFTER: Final = 2.0
"""Seconds without a refusal after which a fall has helped."""
REGAIN: Final = 20.0
"""Seconds until the rate is back at the failed rate: the plateau of the cubic curve."""
WINDOWS: Final = 3.0
"""The same in windows, where a window was learnt: only a whole window shows a result."""
REGAIN_GUESS: Final = 7.0
"""The same in seconds, where the failed rate was doubling."""
REGAIN_COST: Final = 28.0
"""The same in multiples of the refusal's time: the costlier a refusal, the later the next."""
LINEAR_GROWTH: Final = 0.03
"""Calls a second, each second at least: the slower of two callers of one limit catches up."""
LIMIT_MOVED: Final = 1.25
"""Times the failed rate: beyond, the limit itself must have moved, and the rate doubles."""
DOUBLING: Final = 1.0
"""Seconds in which a doubling rate doubles."""
PROBE_WAIT: Final = 0.1
"""Seconds from a refusal to the next probe, and ..."""
PROBE_WAIT_GROWTH: Final = 0.05
"""... the part of the refusal period so far that is added."""
PROBE_TIMEOUT: Final = 1.0
"""Seconds without an answer after which another call probes too."""
FIRST_RATE: Final = 10.0
"""Calls a second, at least, after the first refusal: few may have been accepted by chance."""
ENOUGH_ACCEPTED: Final = 3
"""Accepted calls that show a window, at least: other callers may have used up the limit."""
MILD_ANSWERS: Final = 10
"""Accepted calls for each further refusal of a mild refusal period, at least."""
LONG_REFUSAL: Final = 2.5
"""Seconds: a longer refusal period shows a window."""
START: Final = 2.0
"""Seconds after the first call: a first refusal in these seconds says little, since calls bunch."""
LOWEST_RATE: Final = 0.05
"""Calls a second: the rate never falls lower, nor below half of a ceiling where that is less."""
RESERVE: Final = 0.1
"""The part of a window (of a second at least) by which interactive calls may go ahead of the rate."""
HEADER_SHARE: Final = 0.97
"""The part of a limit, told by headers, that is used."""
SHORTEST_WINDOW: Final = 3.0
"""Seconds: headers tell whole seconds, so that a shorter reset tells little."""
LONGEST_PAUSE: Final = 300.0
"""Seconds, so that no header can stop all calls for ever."""
RECHECK: Final = 1.0
"""Seconds after which a call that waits asks again, where the rate may have grown by then."""
LEARNT_BURST: Final = 0.025
"""Seconds' worth of calls that a learnt rate lets start at once, so that a late timer loses none."""
FORGET_AFTER: Final = 300.0
"""Seconds without a refusal, and without a call that waited for the rate, until all is forgotten."""


class Curve(NamedTuple):
    """The growth of a learnt rate. Rates are calls a second."""

    bottom: float
    """The rate where the growth began."""
    top: float
    """The rate that was seen to be accepted."""
    is_doubling: bool
    is_guess: bool
    """True if *top* isn't sure."""
    seconds: float
    """Seconds of growth so far."""
    lasted: float
    """Seconds of the last refusal period: a long period makes the growth slower."""

    def part(self, parts: int) -> "Curve":
        """Return the growth of one of so many equal parts of the rate."""
        return self._replace(bottom=self.bottom / parts, top=self.top / parts)


class AdaptiveRate:
    """A rate, a window, and a pause of all calls: the lessons of refusals (429).

    Without a refusal the rate is dormant. `Pace` describes a refusal period, and the rate after the
    period. The accepted calls a second count over any stretch of a second or more up to the end of
    the period. The rate then grows along a cubic curve: fast, slow around the failed rate, and faster
    again beyond, never over twice the accepted rate, nor over the *ceiling*.

    Refusals at random lower nothing for long (`NoiseFilter`).
    """

    def __init__(self, ceiling: float) -> None:
        self.is_active = False
        """True once there is a lesson."""
        self.paused_until = -inf
        """The end of the pause that a ``Retry-After`` asked."""
        self.starts_at = -inf
        """The earliest start of a call; in a refusal period, of the next probe."""
        self.length = 0.0
        """Seconds of the window that was learnt; 0 for a limit without one."""
        self.accepted: Final = AcceptedRate()
        self._ceiling: Final = ceiling
        self._paused = 0.0
        """The seconds of all pauses, the present pause included to the end."""
        self._rate = ceiling
        self.is_doubling = True
        """True while the rate doubles each second: the limit isn't known, or has moved."""
        self._bottom = 0.0
        self._top = 0.0
        self._grows_from = -inf
        self._followed_at = -inf
        """The time at which this learner took over from another learner."""
        self._refused_at: float | None = None
        """The beginning of the refusal period; None outside a period."""
        self._ended_at = -inf
        """The end of the last refusal period."""
        self._lasted = 0.0
        """The seconds of the last refusal period; 0 for a long period."""
        self._is_guess = True
        """True if the failed rate was still doubling: the ceiling is not sure."""
        self._refusals = 0
        """Refusals of the refusal period, after the first."""
        self._is_lasting = False
        """True once a probe of the refusal period was refused."""
        self._answers = 0
        """Calls that were accepted in the refusal period."""
        self._waited_at = -inf
        self._cap = inf
        self._noise = NoiseFilter()
        self._header_limit: HeaderLimit | None = None
        """The limit that headers told."""
        self._resets_at = -inf
        """The end of the window that headers told."""

    @property
    def ceiling(self) -> float | None:
        """Calls a second that the service was seen to accept, or told; None before a lesson."""
        found = [self._top] if self._top else []
        if self._header_limit is not None:
            found.append(self._header_limit.limit / self.length)
        return min(found) if found and self.is_active else None

    @property
    def is_refused(self) -> bool:
        """True during a refusal period: single calls probe for the end."""
        return self._refused_at is not None

    def throttled_seconds(self, now: float) -> float:
        """Return the seconds for which all calls were paused until *now*, in total."""
        return self._paused - max(0.0, self.paused_until - now)

    def interactive_burst(self, rate: float) -> float:
        """Return the number of interactive calls that may go ahead of this *rate*."""
        return RESERVE * rate * max(1.0, self.length)

    def learn_headers(self, now: float, headers: HeaderLimit) -> bool:
        """Learn from headers; return True if starts must wait, with nothing of the window left."""
        before = self._header_limit
        length = headers.length or headers.reset
        if before is not None and before.limit == headers.limit:
            length = max(length, self.length)
        if not SHORTEST_WINDOW <= length <= LONGEST_PAUSE:
            return False
        self.is_active, self.length, self._header_limit = True, length, headers
        self._waited_at = now
        self._resets_at = now + headers.reset if headers.reset >= SHORTEST_WINDOW else now
        if headers.remaining < 1 and self._resets_at > now:
            self._pause(now, self._resets_at)
            self.starts_at = max(self.starts_at, self.paused_until)
            return True
        return False

    def is_reserved(self, now: float, in_flight: int) -> bool:
        """Return True if the rest of the window is reserved for interactive calls."""
        headers, left = self._header_limit, self._resets_at - now
        if headers is None or left <= 0:
            return False
        reserved = RESERVE * headers.limit * min(1.0, left / self.length)
        return headers.remaining - in_flight <= reserved

    def resume(self, now: float, ceiling: float, length: float) -> None:
        """Go on with the lessons of an earlier run: the *ceiling* in calls a second, and the window."""
        if not self.is_active and ceiling < self._ceiling:
            self.is_active, self.length = True, length
            self._set_rate(ceiling, DECREASE * ceiling)
            self._is_guess = False
            self._ended_at = self._grows_from = self._waited_at = now

    def curve(self, now: float) -> Curve | None:
        """Return the growth of the rate, for another learner; None before a lesson."""
        if not self.is_active:
            return None
        return Curve(
            bottom=self._bottom,
            top=self._top,
            is_doubling=self.is_doubling,
            is_guess=self._is_guess,
            seconds=max(0.0, now - self._grows_from),
            lasted=self._lasted,
        )

    def follow(
        self, now: float, rate: float, curve: Curve, length: float, *, refused: bool = False
    ) -> None:
        """Go on as another learner, with the same *rate*, *curve* and window, *refused* or not."""
        self.is_active, self.length = True, length
        self._set_rate(curve.top, curve.bottom)
        self._rate = min(rate, self._ceiling)
        self.is_doubling, self._is_guess = curve.is_doubling, curve.is_guess
        self._lasted = curve.lasted
        self._followed_at = self._ended_at = self._waited_at = now
        self._grows_from = now - curve.seconds
        if refused:
            self._refused_at, self._grows_from = now, inf

    def count_answer(self, now: float, began: float) -> bool:
        """Count an answer that isn't a refusal; return True if the answer ended a refusal period."""
        if not self.is_active:
            self.accepted.add(now)
            return False
        has_ended = self._refused_at is not None and began > self._refused_at
        if has_ended:
            self._end_refusals(now)
        rate = self.accepted.add(now)
        if self._refused_at is not None:
            self._answers += 1
        else:
            self._noise.count(now, self._rate)
            if rate:
                self._cap = 2 * max(rate, self.accepted.recent(now))
        return has_ended

    def count_refusal(self, now: float, began: float, asked: float | None) -> bool:
        """Learn from a refusal of the attempt that *began* then; return True if starts must wait."""
        if self._refused_at is not None:
            overload = began > self._refused_at
            self._refusals += 1
            self._is_lasting |= overload
        else:
            self._noise.count(now, self._rate, 1)
            overload = began > self._ended_at and not self._is_noise(now, asked)
            if overload:
                self._decrease(now)
        if overload:
            lasted = now - self._refused_at if self._refused_at is not None else 0.0
            self.starts_at = now + PROBE_WAIT + PROBE_WAIT_GROWTH * lasted
        if asked:
            self._pause(now, now + min(asked, LONGEST_PAUSE))
        self.starts_at = max(self.starts_at, self.paused_until)
        return overload or bool(asked)

    def begin_probe(self, now: float) -> None:
        """Note the start of a probe: the next probe waits for the answer."""
        self.starts_at = now + PROBE_TIMEOUT

    def end_probe(self, now: float, began: float) -> bool:
        """Note the end of a call without an answer; return True if the next probe may start."""
        was_probe = self._refused_at is not None and began > self._refused_at
        if was_probe:
            self.starts_at = max(now, self.paused_until)
        return was_probe

    def rate(self, now: float) -> float | None:
        """Return the calls a second that may start; None without a bound."""
        if self._refused_at is None and (
            now - max(self._ended_at, self._waited_at, self.paused_until) > FORGET_AFTER
        ):
            self.is_active = False
            self._rate = self._ceiling
            self._noise, self.length, self._header_limit, self._top = NoiseFilter(), 0.0, None, 0.0
            return None
        rate = min(self._grow(now), self._header_rate(now))
        return None if rate == inf else rate

    def _header_rate(self, now: float) -> float:
        headers = self._header_limit
        if headers is None:
            return inf
        rate = HEADER_SHARE * headers.limit / self.length
        left = self._resets_at - now
        return min(rate, max(1.0, headers.remaining) / left) if left >= SHORTEST_WINDOW else rate

    def _grow(self, now: float) -> float:
        """Let the learnt rate grow; return the rate."""
        if self._rate >= self._ceiling:
            return self._rate
        seconds = max(0.0, now - self._grows_from)
        if self.is_doubling:
            target = self._bottom * 2 ** min(seconds / DOUBLING, 60)
        else:
            late = seconds - self._regain
            scale = (
                self._regain if late < 0 else min(self._regain, max(REGAIN, WINDOWS * self.length))
            )
            curve = self._top + (self._top - self._bottom) * (late / scale) ** 3
            target = max(curve, self._bottom + LINEAR_GROWTH * seconds * REGAIN / self._regain)
            if curve > LIMIT_MOVED * self._top:
                self.is_doubling, self._bottom, self._grows_from = True, curve, now
        self._rate = max(self._rate, min(target, self._cap, self._ceiling))
        return self._rate

    def note_wait(self, now: float) -> None:
        """Note that a call had to wait because of the rate."""
        self._waited_at = now

    @property
    def _regain(self) -> float:
        if self._is_guess:
            return REGAIN_GUESS
        return max(REGAIN, WINDOWS * self.length, REGAIN_COST * self._lasted)

    def _is_new(self, now: float) -> bool:
        """Return True while another learner has counted a part of the last window."""
        return now - self._followed_at < max(RECENT, self.length)

    def _is_early_fall(self, now: float) -> bool:
        return self.is_active and now - self._ended_at < self._regain / 3

    def _is_noise(self, now: float, asked: float | None) -> bool:
        if asked and asked > LONG_REFUSAL:
            self._noise.stop()
        return self._noise.is_noise(now)

    def _decrease(self, now: float) -> None:
        self._refused_at, self._is_lasting, self._refusals, self._answers = now, False, 0, 0
        early = self._is_early_fall(now)
        accepted = self._highest_accepted(now)
        unknown = not self.is_active  # a storm's start tells little
        little = self._is_new(now) or (not self.length and now - self._ended_at < RECENT)
        if little and not unknown:
            accepted = max(accepted, self._top)  # keep it: there is little new to go by
        if not self.length:
            accepted = min(accepted, self._rate)
        accepted = max(accepted, self._noise.count_fall(now, accepted, early=early))
        noise = self._noise.has_noise(now)
        self._is_guess = self.is_doubling or noise
        helped = self.length > 0 or self.is_doubling or now - self._grows_from > HELPED_AFTER
        self.is_active = True
        top = accepted
        if early and noise:  # the excess may be one of noise
            top = max(top, min(self._top, top / DECREASE))
        self._set_rate(top, accepted * (DECREASE if helped else SECOND_DECREASE))
        begins = min(FIRST_RATE, self._ceiling / 2)
        is_start = now - self.accepted.began_at < START
        if unknown and (self._rate < begins or self._ceiling == inf or is_start):
            self._bottom = self._rate = max(self._rate, begins)
            self.is_doubling = True
        self._grows_from = inf

    def _end_refusals(self, now: float) -> None:
        """End the refusal period: a call that began in the period was accepted."""
        lasted = now - (self._refused_at or now)
        self._refused_at = None
        self._lasted = lasted if lasted <= LONG_REFUSAL else 0.0
        accepted, seconds = self.accepted.highest(now, self._ended_at)
        is_known = accepted * seconds >= ENOUGH_ACCEPTED and not self._is_new(now)
        if lasted > LONG_REFUSAL and is_known:
            if seconds < max(4 * lasted, 2 * self.length):
                self.length = min(seconds, LONGEST_PAUSE)
                self._is_guess = False
            self._set_rate(accepted, DECREASE * accepted)
        elif self.is_doubling:
            self._bottom = self._rate = max(self._rate, DECREASE * self.accepted.recent(now))
        mild = (
            not self.length
            and not self._is_lasting
            and self._refusals * MILD_ANSWERS <= self._answers
        )
        if self._noise.end_refusals(now, mild=mild, asked=self.paused_until > now - lasted):
            self.is_doubling, self._bottom = True, self._rate
        self._ended_at = self._grows_from = self.starts_at = now

    def _highest_accepted(self, now: float) -> float:
        """Return the most calls a second that were accepted: in a window, where one was learnt."""
        steady = 0.0 if self.is_doubling else min(LONGEST, now - self._ended_at)
        least = self.length or max(RECENT, steady)
        rate, _ = self.accepted.highest(now, min(self._ended_at, now - least), least)
        return rate

    def _set_rate(self, top: float, rate: float) -> None:
        least = min(LOWEST_RATE, self._ceiling / 2)
        self._top = max(least, top)
        self._bottom = self._rate = max(least, rate)
        self.is_doubling = self._rate == least
        self._cap = max(self._rate, 2 * top)

    def _pause(self, now: float, until: float) -> None:
        if until > self.paused_until:
            self._paused += until - max(now, self.paused_until)
            self.paused_until = until
