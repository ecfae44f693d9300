"""The pace of calls: rate, concurrency and order. No clock: the caller passes the time."""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Final

from sunshine_async._pace.breaker import FAILURES, FEW_FAILURES, CircuitBreaker, RetryBudget, Sign
from sunshine_async._pace.concurrency import OverloadLimit
from sunshine_async._pace.evidence import HeaderLimit
from sunshine_async._pace.rate import LEARNT_BURST, LONGEST_PAUSE, RECHECK, AdaptiveRate
from sunshine_async._pace.settings import check_settings
from sunshine_async._pace.slots import Lane, Slots, Snapshot

if TYPE_CHECKING:
    from sunshine_async._pace.shared import Allowance

_ROUNDING: Final = 1e-9  # of a token: a wait of exactly one is then over when its time has come
_ANSWERED: Final = Sign.ANSWERED  # looked up once: an enum's members take their time
_BATCH: Final = Lane.BATCH


class Pace(Slots):
    """Rate limiter, concurrency limit, priority queue and circuit breaker for one credential.

    **Declared.** At most *max_in_flight* calls are in flight at once, calls of batches in nine
    tenths of the slots. With a *rate* (calls a second), at most ``burst + rate * t`` calls start in
    any *t* seconds (a token bucket; *burst* is by default a tenth of a second's calls, and at least
    1). Both hold whatever is learnt.

    **Learnt.** Nothing until the first 429, or the first answer with rate-limit headers.

    - A 429 begins a refusal period. No call starts for the seconds of the ``Retry-After`` (300 at
      most), or else for a tenth of a second. Then single calls probe, at growing intervals, until
      a call is accepted. The refusals are one overload, and take nothing of the limit (assumed).
    - The rate is then 90 % of the most that was accepted a second, refused seconds included. The
      rate is back at that ceiling after 20 s, and grows slowly beyond. A refusal in the first two
      seconds, when calls bunch, lowers a declared *rate* for about two seconds.
    - A refusal period of several seconds shows a window: 600 calls in two seconds, refused for 58,
      are 600 in 60 s. Calls are then spread evenly over the window, and the rate takes three windows
      to grow back.
    - Headers (``X-RateLimit-*``, ``X-Rate-Limit-*``, ``RateLimit-*``, ``RateLimit``) that tell a
      window of 3 to 300 s spread the calls over that window before any 429.
    - Interactive calls start first, and own a tenth of each window: by so many calls, interactive
      calls may go ahead of the rate. Of a window that headers tell, a batch never takes the last
      tenth; the tenth shrinks with the time left.
    - Refusals at random (noise) lower nothing for long: after a lone refusal the rate doubles each
      second, and noise stays as rare as before, unlike refusals of a limit. Noise isn't looked for
      below 15 calls a second, in a known window, nor where the service asks for more than 2 s.
    - The lessons are forgotten when for 5 minutes there was no 429 and no call waited because of
      the rate. `snapshot` shows the lessons, which a job's journal keeps for the next run.

    **Overload.** 5xx and broken connections lower the number of a batch's calls in flight; answers
    raise the number again. Slow answers lower nothing.

    **Outage.** A circuit breaker holds batches after 10 failures in a row, or 3 with no retry budget
    left (`may_retry`). Single calls probe after 0.5, 1, 2 ... 30 s, until one is answered. A read goes
    before a call that can't be resent; in a job, a read goes before each.
    After *max_outage* seconds without an answer, `gave_up` says that waiting is no use. After as
    long with nothing but 429s, a batch's calls end in `RateLimitError`.

    **Shared.** With *shared*, such as `FileAllowance`, all processes with the same credentials have
    *rate* and *burst*, or the learnt rate, together. Hand the same pace to several clients, in any
    thread or loop, for a common bound. Make a pace once, not for each request: each asks the store
    anew. Raise `ValueError` for a number that can't work, `TypeError` for any other *shared*.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        max_in_flight: int | None = None,
        max_outage: float = 900.0,
        shared: "Allowance | None" = None,
    ) -> None:
        check_settings("Pace", (
            ("rate", rate, lambda it: it is None or 0 < it < inf, "calls a second, more than 0; leave it out for no bound"),
            ("burst", burst, lambda it: it is None or 1 <= it < inf, "how many may start at once, 1 or more"),
            ("max_in_flight", max_in_flight, lambda it: it is None or it >= 1, "1 or more; leave it out for no bound"),
            ("max_outage", max_outage, lambda it: it >= 0, "seconds, 0 or more"),
        ))  # fmt: skip
        super().__init__(max_in_flight)
        self.rate: Final = rate
        self.burst: Final = burst if burst is not None else max(1.0, (rate or 0.0) / 10)
        self.max_in_flight: Final = max_in_flight
        if shared is not None and not hasattr(shared, "rate_for"):
            message = f"shared must be FileAllowance or RedisAllowance, not {type(shared).__name__}"
            del shared  # an address has a password
            raise TypeError(message)
        self._tokens = self.burst
        self._tokens_at = -inf  # the time at which the tokens were counted
        self._latest = 0.0  # the latest time that a caller passed
        self.shared_rate: Final = (
            None if shared is None else shared.rate_for(self, rate=rate, burst=self.burst)
        )
        self._is_bounded: Final = rate is not None or shared is not None
        self._adaptive: Final[AdaptiveRate] = self.shared_rate or AdaptiveRate(rate or inf)
        self._overload: Final = OverloadLimit()
        self._budget: Final = RetryBudget()
        self._breaker: Final = CircuitBreaker(max_outage)
        self._watchers: Final[dict[Callable[[], None], float]] = {}
        self._max_outage: Final = max_outage
        self.answers = 0
        """Calls that have been answered. A probe's read counts once a call has failed after the read."""
        self._batch_starts_at = -inf
        """The earliest start of a batch's call, as the ``Retry-After`` of a failure asked."""

    def __repr__(self) -> str:
        names = ("rate", "burst", "max_in_flight")
        return f"Pace({', '.join(f'{name}={vars(self).get(name)}' for name in names)})"

    def leave(
        self,
        lane: Lane = Lane.INTERACTIVE,
        sign: Sign = Sign.ANSWERED,
        now: float | None = None,
        began: float | None = None,
        asked: float | None = None,
    ) -> None:
        """End a call that has started in *lane*, and learn from the end.

        *began* is the start of the attempt, *asked* the seconds of the ``Retry-After``. Without
        *now* nothing is learnt.
        """
        lock = self._lock
        lock.acquire()  # not `with`: see `Slots.enter`
        try:
            if now is not None:
                self._latest = now
                began = now if began is None else began
                if sign is _ANSWERED:
                    self._count_answer(now, began, lane)
                elif sign is Sign.READ:
                    if self._adaptive.count_answer(now, began):
                        self._end_refusals(now)
                    self._breaker.count_read(now, watched=bool(self._watchers))
                    self._wake_batch()
                elif sign is not Sign.NOTHING:
                    self._count_failure(sign, now, began, lane, asked)
                elif self._adaptive.end_probe(now, began):
                    self._queue.forget_timers()
        finally:
            self._end(lane)
            try:
                if self._queue.count:
                    self._wake_next()
            finally:
                lock.release()

    def tell(self, told: HeaderLimit, now: float) -> None:
        """Learn from the rate-limit headers of an answer."""
        with self._lock:
            if self._adaptive.learn_headers(now, told):
                self.events.pause(now, self._adaptive.paused_until)
                self._wake_interactive()

    def resume(self, ceiling: float, window: float, now: float) -> None:
        """Start with a limit of an earlier run: *ceiling* calls a second, in a *window* (seconds).

        The rate grows and falls from there. Where something was learnt since, nothing changes.
        """
        with self._lock:
            self._adaptive.resume(now, ceiling, window)

    def may_retry(self) -> bool:
        """Spend one retry of a failed call; return False where the retry budget is spent.

        A 429 isn't a failure: a refused call is sent again without the budget.
        """
        with self._lock:
            may = self._budget.spend()
            if not may and self._breaker.failures >= FEW_FAILURES:
                self._open_breaker(self._latest)
            return may

    @property
    def held(self) -> bool:
        """True while batches are held, since the service seems to be gone."""
        with self._lock:
            return self._breaker.opened_at is not None

    @property
    def wants_a_read(self) -> bool:
        """True while a read is to go in the place of a call that can't be resent: batches are held."""
        with self._lock:
            return self._breaker.opened_at is not None and not self._breaker.read_answered

    @property
    def gave_up(self) -> bool:
        """True once batches were held, or only refused (429), for *max_outage* seconds.

        A call that fails then should fail for good: waiting is no use.
        """
        with self._lock:
            return self._breaker.gave_up(self._latest) or self._breaker.is_starved(self._latest)

    def pause(self, now: float, lane: Lane) -> float:
        """Return the seconds for which no call of *lane* will start, as far as is known.

        The pause is inf for a batch whose calls were all refused for *max_outage* seconds.
        """
        with self._lock:
            adaptive = self._adaptive
            if lane is _BATCH and now < adaptive.starts_at and self._breaker.is_starved(now):
                return inf
            return max(0.0, adaptive.paused_until - now)

    def hold_if_gone(self, tries: int, now: float) -> bool:
        """Hold batches if the last *tries* attempts (3 at least) all failed; return `held`."""
        with self._lock:
            self._latest = now
            if self._breaker.failures >= max(tries, FEW_FAILURES):
                self._open_breaker(now)
            return self._breaker.opened_at is not None

    @property
    def max_outage(self) -> float:
        """Seconds for which a batch waits for a service that is gone, or refuses all calls."""
        return self._breaker.max_outage

    def watch(self, wake: Callable[[], None], max_outage: float) -> None:
        """Call *wake*, in whatever thread, each time that batches begin to be held.

        Until `unwatch`, batches are held for *max_outage* seconds at least, and one call of a batch
        goes, as a probe, after each read of the watcher that was answered (`Sign.READ`).
        """
        with self._lock:
            self._watchers[wake] = max_outage
            self._breaker.max_outage = max(self._max_outage, *self._watchers.values())

    def unwatch(self, wake: Callable[[], None]) -> None:
        """Call *wake* no more."""
        with self._lock:
            del self._watchers[wake]
            self._breaker.max_outage = max([self._max_outage, *self._watchers.values()])
            self._wake_batch()

    def snapshot(self, now: float | None = None) -> Snapshot:
        """Return the state at *now*, or at the latest time that a caller passed."""
        with self._lock:
            now = self._latest if now is None else now
            rate = self._rate_at(now)
            adaptive, bound = self._adaptive, self._overload.bound
            return Snapshot(
                rate=rate,
                ceiling=self.rate,
                found=adaptive.ceiling,
                window=adaptive.length or None,
                used=None if rate is None else min(1.0, adaptive.accepted.recent(now) / rate),
                in_flight={
                    Lane.INTERACTIVE: self._in_flight - self._batch_in_flight,
                    Lane.BATCH: self._batch_in_flight,
                },
                waiting={
                    Lane.INTERACTIVE: len(self._queue.interactive),
                    Lane.BATCH: len(self._queue.batch),
                },
                paused=max(0.0, adaptive.paused_until - now),
                throttled_seconds=adaptive.throttled_seconds(now),
                held=self._breaker.opened_at is not None,
                held_seconds=self._breaker.seconds(now),
                budget=self._budget.left,
                batch_places=None if bound is None else int(bound),
            )

    def _count_answer(self, now: float, began: float, lane: Lane) -> None:
        if self._adaptive.count_answer(now, began):
            self._end_refusals(now)
        if self._budget.left < self._budget.limit:
            self._budget.refill()
        breaker = self._breaker
        breaker.failures, breaker.refused_since = 0, None
        self.answers += 1
        if breaker.opened_at is not None:
            self.events.end_outage(now - breaker.opened_at)
            breaker.close(now)
            self._overload.restart(now)
            self._wake_batch()
        if lane is _BATCH:
            self._overload.count_answer(began)

    def _count_failure(
        self, sign: Sign, now: float, began: float, lane: Lane, asked: float | None
    ) -> None:
        if sign is Sign.THROTTLED:
            self._breaker.count_refusal(now)
            self._count_refusal(now, began, asked)
            return
        if self._adaptive.count_answer(now, began):
            self._end_refusals(now)
        self._overload.count_failure(now, began, self._in_flight)
        if sign is Sign.FAILED:
            self.answers += self._breaker.count_failure(now, began, batch=lane is _BATCH)
            if self._breaker.failures >= (FAILURES if self._budget.left >= 1 else FEW_FAILURES):
                self._open_breaker(now)
        if asked:
            until = now + min(asked, LONGEST_PAUSE)
            self._batch_starts_at = max(self._batch_starts_at, until)

    def _count_refusal(self, now: float, began: float, asked: float | None) -> None:
        """Learn from a 429: at most one token is there when calls may start again."""
        before, adaptive = self._rate_at(now), self._adaptive
        paused_until, was_refused = adaptive.paused_until, adaptive.is_refused
        if adaptive.count_refusal(now, began, asked):
            seconds = max(0.0, adaptive.starts_at - self._tokens_at)
            self._tokens = 1.0 if before is None else min(1.0, self._tokens + seconds * before)
            self._tokens_at = max(adaptive.starts_at, self._tokens_at)
            self._queue.forget_timers()
        self.events.pause(now, adaptive.paused_until if was_refused else adaptive.starts_at)
        if adaptive.paused_until > paused_until:
            self._wake_interactive()

    def _wake_interactive(self) -> None:
        """Wake interactive calls that wait: a deadline may be too short for a new pause."""
        for waiter in list(self._queue.interactive):
            self._wake(waiter)

    def _end_refusals(self, now: float) -> None:
        """Let calls go on after a refusal period."""
        self.events.learn(self._adaptive.ceiling, self._adaptive.length)
        if self.rate is None:  # probes took tokens that there weren't
            self._tokens, self._tokens_at = 1.0, now
        self._queue.forget_timers()

    def _open_breaker(self, now: float) -> None:
        if self._breaker.open(now):
            self.events.begin_outage()
            for wake in list(self._watchers):
                with suppress(RuntimeError):  # its event loop is closed
                    wake()

    def _wait(self, now: float, lane: Lane) -> float | None:
        if self._in_flight >= self._limit:
            return None
        wait = self._batch_wait(now) if lane is _BATCH else 0.0
        if wait is None or not (self._is_bounded or self._adaptive.is_active):
            return wait
        return max(wait, self._token_wait(now, lane))

    def _batch_wait(self, now: float) -> float | None:
        """Return the seconds that a batch's call waits where an interactive call need not wait."""
        breaker = self._breaker
        bound = self._overload.bound if breaker.opened_at is None else 1
        if self._in_flight >= self._batch_bound() or (
            bound is not None and self._batch_in_flight + 1 > bound
        ):
            return None
        starts_at = breaker.batch_starts_at(now, watched=bool(self._watchers))
        wait = max(0.0, self._batch_starts_at - now, starts_at - now)
        if self._adaptive.is_active and self._adaptive.is_reserved(now, self._in_flight):
            wait = max(wait, RECHECK)
        return wait if wait < inf else None

    def _rate_at(self, now: float) -> float | None:
        learnt = self._adaptive.rate(now) if self._adaptive.is_active else None
        return self.rate if learnt is None else learnt

    def _token_wait(self, now: float, lane: Lane) -> float:
        """Return the seconds until the rate lets the next call of *lane* start."""
        adaptive, rate = self._adaptive, self._rate_at(now)
        self._latest = now
        if now < adaptive.starts_at:
            return adaptive.starts_at - now
        if self.shared_rate is not None:
            return self.shared_rate.wait(now, lane)
        if rate is None or (adaptive.is_refused and self.rate is None):
            return 0.0
        burst = self.burst if self.rate is not None else inf
        if adaptive.is_active:
            burst = min(burst, max(1.0, rate * LEARNT_BURST))
        if now > self._tokens_at:  # a clock that steps back mints nothing
            self._tokens = min(burst, self._tokens + (now - self._tokens_at) * rate)
            self._tokens_at = now
        missing = 1 - self._tokens
        if self.rate is None and lane is not _BATCH:
            missing -= adaptive.interactive_burst(rate)
        if missing <= _ROUNDING:
            return 0.0
        if rate == self.rate:
            return missing / rate
        adaptive.note_wait(now)
        grows = adaptive.is_doubling and not adaptive.is_refused
        return min(missing / rate, RECHECK if grows else inf)

    def _start(self, lane: Lane) -> None:
        Slots._start(self, lane)  # noqa: SLF001 - `super` costs 1,000 instructions
        if self.shared_rate is not None:
            self.shared_rate.take(lane)
        elif self._is_bounded or self._adaptive.is_active:  # else a later bound would have to pay
            self._tokens -= 1.0  # an integer costs 140 instructions more
            if self._adaptive.is_refused:
                self._adaptive.begin_probe(self._latest)

    def _wake_batch(self) -> None:
        """Wake the first batch's call, whose timer may be too late now."""
        _, batch = self._queue.first()
        if batch is not None:
            batch.has_timer = False
            self._wake(batch)
