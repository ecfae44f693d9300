"""A rate that processes share: the client of an `Allowance`, with a thread for the leases.

`SharedRate` takes the place of a pace's own `AdaptiveRate`. A call starts with a token of the last
lease. The thread asks the store for as many tokens as calls wait, reports the ends of calls, and
wakes the calls. While the store can't be reached, the thread gets leases from a pool of this
process alone, with the rate divided by the members, and tries the store again twice a second.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from math import inf
from secrets import token_hex
from threading import Event, RLock, Thread
from typing import Final, cast
from weakref import ref

from attrs import evolve

from sunshine_async._http.fork import renew_after_fork
from sunshine_async._pace.evidence import HeaderLimit
from sunshine_async._pace.lease import (
    FEWEST_SECONDS,
    FORMAT,
    LEASE,
    CallReport,
    Lease,
    LeaseRequest,
    Lesson,
    State,
    allocate,
)
from sunshine_async._pace.rate import LONGEST_PAUSE, PROBE_WAIT, AdaptiveRate
from sunshine_async._pace.slots import Lane, Slots

UNKNOWN_MEMBERS: Final = 4
"""Members of a pool that has never been reached (assumed)."""
RETRY_STORE: Final = 0.5
"""Seconds between two requests to a store that can't be reached."""
STOCK_LASTS: Final = 0.3
"""Seconds for which a leased token can be used."""
_RECHECK: Final = 1.0
"""Seconds after which a waiting call asks again, woken or not."""
_ACTIVE: Final = 1.0
"""Seconds since the last call in which a lease is renewed ten times a second."""
_IDLE: Final = 30.0
"""Seconds since the last call after which the thread ends, until the next call."""
_LOGGER: Final = logging.getLogger("sunshine_async")
_BATCH: Final = Lane.BATCH
_NO_KEY: Final = "pace"
"""The name of a pool without a client."""


class Allowance(ABC):
    """A store of pools, for all processes that reach the store."""

    @abstractmethod
    def lease(self, key: str, make: Callable[[float], LeaseRequest]) -> Lease:
        """Return the lease for the request that *make* makes, in the pool called *key*.

        *make* is told the time of the pool, and may be called more than once. The call takes less
        than half a second; any exception means that the store can't be reached.
        """

    def rate_for(self, slots: Slots, *, rate: float | None, burst: float) -> "SharedRate":
        """Return the rate for a pace with the calls of *slots*."""
        return SharedRate(self, slots, rate=rate, burst=burst)


class SharedRate(AdaptiveRate):
    """The rate of a pool of processes, as one process sees the rate."""

    def __init__(
        self, allowance: Allowance, slots: Slots, *, rate: float | None, burst: float
    ) -> None:
        super().__init__(rate or inf)
        self.key = _NO_KEY
        """The name of the pool."""
        self.is_active = True
        self._allowance: Final = allowance
        self._slots: Final = ref(slots)  # weak: the thread must not keep a pace that nobody has
        self._declared: Final = rate
        self._burst: Final = burst
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Become a new member: after a fork, and at first."""
        self._lock = RLock()  # inside the lock of the pace, never around the lock of the pace
        self._event = Event()
        self._thread: Thread | None = None
        self._member: str = token_hex(6)
        self._reports: list[CallReport] = []
        self._stock = [0, 0]
        """Leased tokens: for interactive calls, for any call."""
        self._stock_until = -inf
        self._is_free = False
        """True while no call needs a token: there is no rate."""
        self._pool_rate = self._declared
        self._found: Lease | Lesson | None = None
        """The latest rate, curve and window of the pool; None where nothing was learnt."""
        self._generation: int = 0
        self._members = UNKNOWN_MEMBERS
        self._asked_at = -inf
        """The time of the latest call that waited or ended."""
        self._retry_at = -inf
        """The time of the next lease, for which a batch waits."""
        self._learner: AdaptiveRate | None = None
        self._lesson: Lesson | None = None
        self._alone: State | None = None
        """The pool of this process alone, while the store can't be reached."""
        self._store_at = -inf
        """The time of the next request to the store."""

    def join(self, key: str) -> None:
        """Name the pool by the hash *key*, unless the pool has a name: the first client names it."""
        if self.key == _NO_KEY:
            self.key = key

    # The pace asks, under the lock of the pace:

    def wait(self, now: float, lane: Lane) -> float:
        """Return 0.0 if a token is there for a call of *lane*; else ask for a token."""
        if self._is_free and self._thread is not None:
            return 0.0
        is_batch = lane is _BATCH
        with self._lock:
            if now < self._stock_until and (self._stock[1] or (not is_batch and self._stock[0])):
                return 0.0
        self._nudge(now, is_urgent=not is_batch or now >= self._retry_at)
        return _RECHECK

    def take(self, lane: Lane) -> None:
        """Take a token for a call of *lane* that starts."""
        with self._lock:
            place = 0 if lane is not _BATCH and self._stock[0] else 1
            self._stock[place] = max(0, self._stock[place] - 1)

    def rate(self, now: float) -> float | None:  # noqa: ARG002 - as the own rate's
        """Return the calls a second of the whole pool; None without a bound."""
        return self._pool_rate

    @property
    def ceiling(self) -> float | None:
        """Calls a second that the service was seen to accept, by any member."""
        found = self._found  # the thread may change the attribute
        return found.curve.top if found and found.curve else None

    @property
    def is_refused(self) -> bool:
        """False: the pool probes, and a member needs a token for each call."""
        return False

    def is_reserved(self, now: float, in_flight: int) -> bool:  # noqa: ARG002 - as the own rate's
        """Return False: the pool keeps tokens for interactive calls."""
        return False

    def learn_headers(self, now: float, headers: HeaderLimit) -> bool:  # noqa: ARG002
        """Return False: members would see different numbers, and late."""
        return False

    def resume(self, now: float, ceiling: float, length: float) -> None:
        """Learn nothing from an earlier run: the pool knows more."""

    def count_answer(self, now: float, began: float) -> bool:
        """Report an answered call."""
        self.accepted.add(now)
        with self._lock:
            last = self._reports[-1] if self._reports else None
            if last is not None and last.accepted and now - last.ended < LEASE / 2:
                self._reports[-1] = evolve(last, began=began, accepted=last.accepted + 1)
            else:
                self._reports.append(CallReport(now, began, 1))
        self._nudge(now, is_urgent=False)
        return False

    def count_refusal(self, now: float, began: float, asked: float | None) -> bool:
        """Report a refusal; no call starts before the pool has answered."""
        asked = min(asked, LONGEST_PAUSE) if asked else None
        with self._lock:
            self._reports.append(CallReport(now, began, 0, asked))
            self._drop_stock()
            self.starts_at = max(self.starts_at, now + (asked or PROBE_WAIT))
        if asked:
            self._pause(now, now + asked)
        self._nudge(now, is_urgent=True)
        return True

    def end_probe(self, now: float, began: float) -> bool:  # noqa: ARG002 - as the own rate's
        """Return False: the pool ends a probe that isn't answered."""
        return False

    def _drop_stock(self) -> None:
        self._stock = [0, 0]
        self._is_free = False

    def _nudge(self, now: float, *, is_urgent: bool) -> None:
        """Let the thread ask for a lease: at once if urgent, or at its time."""
        self._asked_at = now
        if self._thread is None:
            self._thread = Thread(target=self._run, name="sunshine-pace", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the system has no thread left: the next call tries again
                self._thread = None
        elif is_urgent:
            self._event.set()

    # The thread:

    def _run(self) -> None:
        try:
            self._ask_again_and_again()
        finally:  # idle, or an unexpected exception: the next call begins a new thread
            self._thread = None

    def _ask_again_and_again(self) -> None:
        wait = 0.0
        while True:
            self._event.wait(wait)
            self._event.clear()
            now = time.monotonic()
            if now - self._asked_at > _IDLE:
                return
            slots = self._slots()
            if slots is None:  # the last reports, and what the holder learns from the reports
                self._ask(0, 0)
                self._ask(0, 0)
                return
            interactive, batch = self._demand(slots, now)
            lease = self._ask(interactive, batch)
            slots.wake_waiting()
            del slots
            is_short = interactive + batch > lease.interactive + lease.batch
            if self._lesson is not None and self._lesson.starts_at is not None:
                wait = 0.0  # the other members wait for the news
            elif is_short:
                wait = max(FEWEST_SECONDS, min(LEASE, lease.wait))
            else:
                wait = LEASE if now - self._asked_at < _ACTIVE else 10 * LEASE
            self._retry_at = time.monotonic() + wait if is_short else -inf

    def _demand(self, slots: Slots, now: float) -> tuple[int, int]:
        """Return the calls that wait, in each lane, beyond the tokens that are there."""
        interactive, batch = slots.demand()
        with self._lock:
            stock = self._stock if now < self._stock_until else [0, 0]
            return max(0, interactive - stock[0]), max(0, batch - stock[1])

    def _ask(self, interactive: int, batch: int) -> Lease:
        """Ask for tokens for so many calls; return the lease, which the pace has then."""
        with self._lock:
            reports, self._reports = self._reports, []
        lease = self._ask_pool(partial(self._make_request, interactive, batch, reports))
        self._lesson = None
        now = time.monotonic()
        local = now - lease.now
        with self._lock:
            if lease.generation != self._generation or now >= self._stock_until:
                self._drop_stock()
            self._generation, self._pool_rate = lease.generation, lease.rate
            self.length = lease.window
            if all(report.accepted for report in self._reports):  # no refusal since
                granted = lease.interactive + lease.batch
                self._stock[0] += lease.interactive
                self._stock[1] += lease.batch
                self._stock_until = now + STOCK_LASTS
                self._is_free = lease.rate is None
                self.starts_at = -inf if granted else lease.starts_at + local
        if lease.holds:
            self._digest(lease, now, local, is_short=interactive + batch > 0)
        else:
            self._learner = None
        return lease

    def _make_request(
        self, interactive: int, batch: int, reports: list[CallReport], pool_now: float
    ) -> LeaseRequest:
        """Return the request, with the times of the pool."""
        shift = pool_now - time.monotonic()
        lesson, parts = self._lesson, self._parts
        if lesson is not None and lesson.starts_at is not None:
            lesson = evolve(lesson, starts_at=lesson.starts_at + shift)
        return LeaseRequest(
            member=self._member,
            rate=None if self._declared is None else self._declared / parts,
            burst=max(1.0, self._burst / parts),
            interactive=interactive,
            batch=batch,
            generation=self._generation,
            reports=tuple(
                evolve(one, ended=one.ended + shift, began=one.began + shift) for one in reports
            ),
            lesson=lesson,
        )

    @property
    def _parts(self) -> int:
        """The number of equal parts of the rate: more than 1 while this process is alone."""
        return 1 if self._alone is None else self._members

    def _ask_pool(self, make: Callable[[float], LeaseRequest]) -> Lease:
        """Return the lease of the store, or of this process alone."""
        if time.monotonic() >= self._store_at:
            alone, self._alone = self._alone, None
            lesson = self._lesson
            if alone is not None:
                self._lesson = None  # the lesson is of a part of the rate: none for the pool
            try:
                lease = self._allowance.lease(f"{self.key}.{FORMAT}", make)
            except Exception as error:  # noqa: BLE001 - unknown: the stores have errors of their own
                self._store_at = time.monotonic() + RETRY_STORE
                self._alone, self._lesson = alone, lesson
                if alone is None:
                    self._go_alone(error)
            else:
                self._members = lease.members
                if alone is None or lease.learnt:  # else the store is back empty
                    self._found = lease if lease.learnt else None
                if alone is not None:
                    self._learner = None
                    _LOGGER.warning("the store of the shared pace is back")
                return lease
        now = time.monotonic()
        return allocate(cast("State", self._alone), make(now), now)

    def _go_alone(self, error: Exception) -> None:
        self._alone, self._lesson = {}, None
        self._learn_anew(time.monotonic())
        if self._lesson is not None:  # a pause of the pool goes on
            self._lesson = evolve(self._lesson, starts_at=self.starts_at)
        _LOGGER.warning(
            "the store of the shared pace, %r, can't be used (%s): check the path or the server. "
            "Until then this process goes on with 1/%d of the rate, and tries twice a second",
            self._allowance,
            type(error).__name__,
            self._members,
        )

    def _learn_anew(self, now: float) -> AdaptiveRate:
        """Begin with the lesson of the pool; return the learner."""
        learner = self._learner = AdaptiveRate((self._declared or inf) / self._parts)
        if (found := self._found) and found.rate and found.curve:
            parts = self._parts
            learner.follow(
                now,
                found.rate / parts,
                found.curve.part(parts),
                found.window,
                refused=found.refused,
            )
            self._lesson = self._teach(learner, now, is_news=False)
        return learner

    def _digest(self, lease: Lease, now: float, local: float, *, is_short: bool) -> None:
        """Run the learner on the reports of all members; keep the lesson for the next lease."""
        learner = self._learner or self._learn_anew(now)
        before = learner.starts_at, learner.is_refused
        for report in sorted(lease.reports, key=lambda one: one.ended):
            ended, began = report.ended + local, report.began + local
            for _ in range(report.accepted):
                learner.count_answer(ended, began)
            if not report.accepted:
                learner.count_refusal(ended, began, report.asked)
        if is_short and lease.learnt:
            learner.note_wait(now)
        is_news = before != (learner.starts_at, learner.is_refused)
        if is_news or lease.learnt or learner.is_active or lease.refused:  # of a lost holder, too
            self._lesson = self._teach(learner, now, is_news=is_news)
            if self._alone is None:
                self._found = self._lesson  # the store may be lost before the lesson gets there

    def _teach(self, learner: AdaptiveRate, now: float, *, is_news: bool) -> Lesson:
        rate = learner.rate(now) if learner.is_active else None
        return Lesson(
            rate=rate,
            refused=learner.is_refused,
            starts_at=learner.starts_at if is_news else None,
            reserve=learner.interactive_burst(rate) if rate and self._declared is None else 0.0,
            curve=learner.curve(now),
            window=learner.length,
        )
