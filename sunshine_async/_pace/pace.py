"""How many calls are under way at once, and how fast they start. It is told the time."""

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from math import inf
from typing import Final

from sunshine_async._pace.breaker import A_FEW, IN_A_ROW, CircuitBreaker, RetryBudget
from sunshine_async._pace.concurrency import OverloadLimit
from sunshine_async._pace.evidence import HeaderLimit
from sunshine_async._pace.rate import LONGEST_PAUSE, AdaptiveRate
from sunshine_async._pace.slots import Lane, Slots
from sunshine_async._pace.snapshot import Snapshot

_ROUNDING: Final = 1e-9  # of a token: a wait of exactly one is then over when its time has come
_ASKS_AGAIN: Final = 1.0  # seconds, where the rate may have grown by then
_LEARNT_BURST: Final = 0.025
"""Seconds' worth of calls that a learnt rate lets start at once, so that a late timer loses none."""


class Sign(Enum):
    """What an attempt's end says of the service."""

    ANSWERED = "an answer that settles the call, be it a refusal of what it asks"
    THROTTLED = "429"
    ERRED = "500: perhaps for what it asks"
    FAILED = "502, 503, 504, reset, timed out or unreachable"
    READ = "an answer to a read that went in the place of a call"
    NOTHING = "cancelled"


_ANSWERED: Final = Sign.ANSWERED  # looked up once: an enum's members take their time
_BATCH: Final = Lane.BATCH


class Pace(Slots):
    """The bounds on the calls of one credential: those that you declare, and those it finds.

    **Declared.** At most *max_in_flight* calls are under way at once, batches in nine tenths of
    them. With a *rate* (calls a second), at most ``burst + rate * t`` calls start in any *t*
    seconds (a token bucket; *burst* is a tenth of a second's calls where it isn't given, and at
    least 1). Both hold whatever is learnt.

    **Learnt.** Nothing until the first 429, or the first answer with rate-limit headers.

    - A 429 begins a refusal period. No call starts for the seconds that its ``Retry-After`` asks
      (300 at most), or else for a tenth of a second. Then one call at a time looks again, ever
      later, until one is accepted. All refusals of the period are one overload.
    - The rate is then 90 % of the most that was accepted a second, refused seconds included. The
      rate is back at that ceiling after 20 s, and grows slowly beyond.
    - A refusal period of several seconds shows a window: 600 calls in two seconds, refused for 58,
      are 600 in 60 s. Calls are then spread evenly over the window, and the rate takes three windows
      to grow back.
    - Headers (``X-RateLimit-*``, ``X-Rate-Limit-*``, ``RateLimit-*``, ``RateLimit``) that tell a
      window of 3 to 300 s spread the calls over that window before any 429.
    - Interactive calls start first, and own a tenth of each window: they may go ahead of the rate
      by so many calls. A batch never takes the last tenth of a window that headers tell, nor of
      what remains in time.
    - Refusals at random lower nothing for long: after a refusal that stays alone the rate doubles
      each second, and noise stays as rare as it was. It isn't looked for below 15 calls a second,
      where a window is known, nor where the service asks for more than two seconds.
    - What was learnt is forgotten when for 5 minutes there was no 429 and no call waited because of
      the rate. `snapshot` shows it, and a job's journal keeps it for the next run.

    5xx and broken connections lower the number of batches under way, answers raise it again. Slow
    answers lower nothing. That a 429 isn't counted against the limit is assumed.

    **Gone.** After 10 failures in a row, or 3 with no second tries left (`may_retry`), batches are
    held, but for one probe at a time after 0.5, 1, 2 ... 30 s (one of them, a look-up of a job's, or
    before a call that can't be resent a read), until something is answered; after *max_outage* seconds
    without an answer `gave_up` says that waiting is no use. After as long with nothing but 429s, a
    batch's calls end in `RateLimitError`.

    Hand the same pace to several clients, in any thread or loop, to bound them together. Raise
    `ValueError` for a number that can't work.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        max_in_flight: int | None = None,
        max_outage: float = 900.0,
    ) -> None:
        if rate is not None and not 0 < rate < inf:
            message = f"Pace(rate={rate}): calls a second, more than 0; leave it out for no bound"
            raise ValueError(message)
        if burst is not None and not 1 <= burst < inf:
            message = f"Pace(burst={burst}): how many may start at once, 1 or more"
            raise ValueError(message)
        if max_in_flight is not None and max_in_flight < 1:
            message = f"Pace(max_in_flight={max_in_flight}): 1 or more; leave it out for no bound"
            raise ValueError(message)
        if not max_outage >= 0:
            message = f"Pace(max_outage={max_outage}): seconds, 0 or more"
            raise ValueError(message)
        super().__init__(max_in_flight)
        self.rate: Final = rate
        self.burst: Final = burst if burst is not None else max(1.0, (rate or 0.0) / 10)
        self.max_in_flight: Final = max_in_flight
        self._tokens = self.burst
        self._counted_at = -inf
        self._told = 0.0
        """The time that it was told last."""
        self._learnt: Final = AdaptiveRate(rate or inf)
        self._load: Final = OverloadLimit()
        self._budget: Final = RetryBudget()
        self._hold: Final = CircuitBreaker(max_outage)
        self._watchers: Final[dict[Callable[[], None], float]] = {}
        self._max_outage: Final = max_outage
        self.answers = 0
        """How many calls have been answered."""
        self._batches_from = -inf
        """When batches may start again, as the ``Retry-After`` of a failure asked."""

    def __repr__(self) -> str:
        return f"Pace(rate={self.rate}, burst={self.burst}, max_in_flight={self.max_in_flight})"

    def leave(
        self,
        sign: Sign = Sign.ANSWERED,
        *,
        lane: Lane = Lane.INTERACTIVE,
        now: float | None = None,
        began: float | None = None,
        asked: float | None = None,
    ) -> None:
        """End a call that has started in *lane*, and learn from its end.

        *began* is when its attempt started, *asked* the seconds of its ``Retry-After``. Without
        *now* nothing is learnt.
        """
        with self._lock:
            if now is not None:
                self._told = now
                began = now if began is None else began
                if sign is _ANSWERED:
                    self._answered(now, began, lane)
                elif sign is Sign.READ:
                    if self._learnt.answered(now, began):
                        self._opened(now)
                    self._hold.answered_a_read(now)
                    self._wake_batch()
                elif sign is not Sign.NOTHING:
                    self._went_wrong(sign, now, began, lane, asked)
                elif self._learnt.looked(now, began):
                    self._line.forget_times()
            self._end(lane)
            if self._line.count:
                self._wake()

    def tell(self, told: HeaderLimit, now: float) -> None:
        """Learn from the rate-limit headers of an answer."""
        with self._lock:
            if self._learnt.tell(now, told):
                self._rouse_interactive()

    def resume(self, ceiling: float, window: float, now: float) -> None:
        """Start with a limit that was found before: *ceiling* calls a second, in a *window* (seconds).

        It grows and falls from there. Where something was learnt since, nothing changes.
        """
        with self._lock:
            self._learnt.resume(now, ceiling, window)

    def may_retry(self) -> bool:
        """Return whether a failed call may be tried again, which takes one from the budget.

        A 429 isn't a failure: what it refused is sent again without asking.
        """
        with self._lock:
            may = self._budget.take()
            if not may and self._hold.row >= A_FEW:
                self._begin_to_hold(self._told)
            return may

    @property
    def held(self) -> bool:
        """Whether batches are held, since the service seems to be gone."""
        with self._lock:
            return self._hold.since is not None

    @property
    def wants_a_read(self) -> bool:
        """Whether a call that can't be resent is to let a read go in its place: batches are held."""
        with self._lock:
            return self._hold.since is not None and not self._hold.read

    @property
    def gave_up(self) -> bool:
        """Whether batches were held, or only refused (429), for *max_outage* seconds.

        A call that fails then should fail for good: waiting is no use.
        """
        with self._lock:
            return self._hold.gave_up(self._told) or self._hold.is_starved(self._told)

    def pause(self, now: float, lane: Lane) -> float:
        """Return the seconds for which no call of *lane* will start, as far as that is known.

        It is inf for a batch that has been refused, and nothing else, for *max_outage* seconds.
        """
        with self._lock:
            learnt = self._learnt
            if lane is _BATCH and now < learnt.starts_at and self._hold.is_starved(now):
                return inf
            return max(0.0, learnt.paused_until - now)

    def hold_if_gone(self, tries: int, now: float) -> bool:
        """Hold batches if the last *tries* attempts (3 at least) all failed; return whether they are."""
        with self._lock:
            self._told = now
            if self._hold.row >= max(tries, A_FEW):
                self._begin_to_hold(now)
            return self._hold.since is not None

    @property
    def max_outage(self) -> float:
        """Seconds for which a batch waits for a service that is gone, or refuses all calls."""
        return self._hold.max_outage

    def watch(self, wake: Callable[[], None], max_outage: float) -> None:
        """Call *wake*, in whatever thread, each time that batches begin to be held.

        Until `unwatch` they are held for *max_outage* seconds at least, and none goes as a probe:
        who watches asks for the service, in the interactive lane.
        """
        with self._lock:
            self._watchers[wake] = max_outage
            self._hold.max_outage = max(self._max_outage, *self._watchers.values())

    def unwatch(self, wake: Callable[[], None]) -> None:
        """Call *wake* no more."""
        with self._lock:
            del self._watchers[wake]
            self._hold.max_outage = max([self._max_outage, *self._watchers.values()])
            self._wake_batch()

    def snapshot(self, now: float | None = None) -> Snapshot:
        """Return how it stands at *now*, or when it was last told the time."""
        with self._lock:
            now = self._told if now is None else now
            rate = self._rate_at(now)
            learnt, bound = self._learnt, self._load.bound
            return Snapshot(
                rate=rate,
                ceiling=self.rate,
                found=learnt.ceiling,
                window=learnt.length or None,
                used=None if rate is None else min(1.0, learnt.accepted.lately(now) / rate),
                in_flight={
                    Lane.INTERACTIVE: self._in_flight - self._batches,
                    Lane.BATCH: self._batches,
                },
                waiting={
                    Lane.INTERACTIVE: len(self._line.interactive),
                    Lane.BATCH: len(self._line.batch),
                },
                paused=max(0.0, learnt.paused_until - now),
                throttled_seconds=learnt.throttled_seconds(now),
                held=self._hold.since is not None,
                held_seconds=self._hold.seconds(now),
                budget=self._budget.left,
                batch_places=None if bound is None else int(bound),
            )

    def _answered(self, now: float, began: float, lane: Lane) -> None:
        if self._learnt.answered(now, began):
            self._opened(now)
        if self._budget.left < RetryBudget.MOST:
            self._budget.give()
        hold = self._hold
        hold.row, hold.refused_since = 0, None
        self.answers += 1
        if hold.since is not None:
            hold.end(now)
            self._load.begin_again(now)
            self._wake_batch()
        if lane is _BATCH:
            self._load.answered(began)

    def _went_wrong(
        self, sign: Sign, now: float, began: float, lane: Lane, asked: float | None
    ) -> None:
        if sign is Sign.THROTTLED:
            self._hold.refused(now)
            self._refused(now, began, asked)
            return
        if self._learnt.answered(now, began):
            self._opened(now)
        self._load.failed(now, began, self._in_flight)
        if sign is Sign.FAILED:
            self._hold.failed(now, began, batch=lane is _BATCH)
            if self._hold.row >= (IN_A_ROW if self._budget.left >= 1 else A_FEW):
                self._begin_to_hold(now)
        if asked:
            self._batches_from = max(self._batches_from, now + min(asked, LONGEST_PAUSE))

    def _refused(self, now: float, began: float, asked: float | None) -> None:
        """Learn from a 429: at most one token is there when calls may start again."""
        before, learnt = self._rate_at(now), self._learnt
        paused_until = learnt.paused_until
        if learnt.refused(now, began, asked):
            seconds = max(0.0, learnt.starts_at - self._counted_at)
            self._tokens = 1.0 if before is None else min(1.0, self._tokens + seconds * before)
            self._counted_at = max(learnt.starts_at, self._counted_at)
            self._line.forget_times()
        if learnt.paused_until > paused_until:
            self._rouse_interactive()

    def _rouse_interactive(self) -> None:
        """Wake interactive calls that wait: a deadline may be too short for a new pause."""
        for place in self._line.interactive:
            self._rouse(place)

    def _opened(self, now: float) -> None:
        """Let calls go on: a refusal period is over."""
        if self.rate is None:  # calls that looked took tokens that there weren't
            self._tokens, self._counted_at = 1.0, now
        self._line.forget_times()

    def _begin_to_hold(self, now: float) -> None:
        if self._hold.begin(now):
            for wake in list(self._watchers):
                with suppress(RuntimeError):  # its event loop is closed
                    wake()

    def _wait(self, now: float, lane: Lane) -> float | None:
        if self._in_flight >= self._limit:
            return None
        wait: float | None = 0.0
        if lane is _BATCH:
            wait = self._batch_wait(now)
        if wait is None or (self.rate is None and not self._learnt.is_active):
            return wait
        return max(wait, self._token_in(now, lane))

    def _batch_wait(self, now: float) -> float | None:
        """Return the seconds for which a batch has to wait where an interactive call need not."""
        hold = self._hold
        bound = self._load.bound if hold.since is None else 1
        if self._in_flight >= self._bound(_BATCH) or (
            bound is not None and self._batches + 1 > bound
        ):
            return None
        opens_at = hold.opens_at(now, watched=bool(self._watchers))
        wait = max(0.0, self._batches_from - now, opens_at - now)
        if self._learnt.is_active and self._learnt.is_kept(now, self._in_flight):
            wait = max(wait, _ASKS_AGAIN)
        return wait if wait < inf else None

    def _rate_at(self, now: float) -> float | None:
        learnt = self._learnt.rate(now) if self._learnt.is_active else None
        return self.rate if learnt is None else learnt

    def _token_in(self, now: float, lane: Lane) -> float:
        """Return the seconds until the rate lets the next one of *lane* start."""
        learnt, rate = self._learnt, self._rate_at(now)
        self._told = now
        if now < learnt.starts_at:
            return learnt.starts_at - now
        if rate is None or (learnt.is_refused and self.rate is None):
            return 0.0
        burst = self.burst if self.rate is not None else inf
        if learnt.is_active:
            burst = min(burst, max(1.0, rate * _LEARNT_BURST))
        if now > self._counted_at:  # a clock that steps back mints nothing
            self._tokens = min(burst, self._tokens + (now - self._counted_at) * rate)
            self._counted_at = now
        short = 1 - self._tokens
        if self.rate is None and lane is not _BATCH:
            short -= learnt.own(rate)
        if short <= _ROUNDING:
            return 0.0
        if rate == self.rate:
            return short / rate
        learnt.held(now)
        grows = learnt.doubles and not learnt.is_refused
        return min(short / rate, _ASKS_AGAIN if grows else inf)

    def _start(self, lane: Lane) -> None:
        self._tokens -= 1
        if self._learnt.is_refused:
            self._learnt.looks(self._told)
        super()._start(lane)

    def _wake_batch(self) -> None:
        """Wake the first batch, which may have been told a time that is too late now."""
        batch = self._line.batch.head()
        if batch is not None:
            batch.timed = False
            self._rouse(batch)
