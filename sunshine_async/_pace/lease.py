"""The division of one rate among processes. No clock, no I/O: callers pass the time and the state.

A process is a member of a pool: all processes with the same credentials and the same store. A
member sends a `LeaseRequest` with the calls that wait in each lane, and gets a `Lease`: tokens for
calls that start soon. The state of a pool is plain data, which a store keeps:

- a token bucket, filled at the declared rate, or at the rate that the pool has learnt;
- the members, with the calls that wait there. Interactive calls of any member go before batches
  of all members; where both wait, every tenth token is a batch's;
- the generation, the number of overloads so far. A refusal (429) counts only from a member that
  knows the latest generation, so one overload pauses the pool once;
- the holder: the one member that runs the learner (`AdaptiveRate`) for the pool. All members send
  reports of answered and refused calls; the holder takes the reports and returns a `Lesson`.

A lost member or holder is forgotten after a second. Where a store begins empty, so does the pool.
"""

from math import ceil, floor, inf
from typing import Any, Final, TypeAlias

from attrs import astuple, frozen

from sunshine_async._pace.rate import PROBE_TIMEOUT, PROBE_WAIT, Curve
from sunshine_async._pace.slots import BATCH_EVERY

FORMAT: Final = 2
"""The format of a pool's state, a part of the pool's name: releases read no state of each other."""
LEASE: Final = 0.1
"""Seconds of allowance that a lease is for."""
WAITS: Final = 0.5
"""Seconds after a request for which tokens are kept for the interactive calls of the request."""
HOLDS: Final = 1.0
"""Seconds after a request for which the holder stays the holder."""
MEMBER_FOR: Final = 5.0
"""Seconds after a request for which a process counts as a member."""
FEWEST_SECONDS: Final = 0.002
"""Seconds between two requests of a member that waits."""
_REPORTS: Final = 500
"""Reports that are kept for the holder, the latest ones."""
_ROUNDING: Final = 1e-6  # of a token

State: TypeAlias = dict[str, Any]


@frozen
class CallReport:
    """The end of calls: *accepted* calls, or a refusal (0). Times are those of the pool."""

    ended: float
    began: float
    accepted: int
    asked: float | None = None
    """Seconds of the ``Retry-After``."""


@frozen(kw_only=True)
class Lesson:
    """The state of the learner."""

    rate: float | None
    """Calls a second; None where nothing was learnt."""
    refused: bool
    """True during a refusal period: single calls probe."""
    starts_at: float | None
    """The next probe; None for no change."""
    reserve: float
    """Interactive calls that may go ahead of the rate."""
    curve: Curve | None
    """The growth of the rate; None where nothing was learnt."""
    window: float


@frozen(kw_only=True)
class LeaseRequest:
    """The request of one member: the calls that wait, and the news since the last lease."""

    member: str
    rate: float | None
    """The declared rate; None to learn the rate together."""
    burst: float
    interactive: int
    """Interactive calls that wait for a token."""
    batch: int
    generation: int
    """The latest generation that the member knows."""
    reports: tuple[CallReport, ...] = ()
    lesson: Lesson | None = None


@frozen(kw_only=True)
class Lease:
    """The answer to a request."""

    interactive: int
    """Interactive calls that may start."""
    batch: int
    wait: float
    """Seconds after which another request may get more."""
    rate: float | None
    """Calls a second of the whole pool; None without a bound: no call needs a token."""
    learnt: bool
    """True where *rate* is the learner's."""
    refused: bool
    """True during a refusal period of the pool."""
    starts_at: float
    """The earliest start of a call."""
    generation: int
    members: int
    curve: Curve | None
    """The growth of the learnt rate."""
    window: float
    holds: bool
    """True if the member is the holder, which has to digest *reports*."""
    reports: tuple[CallReport, ...]
    now: float
    """The time of the pool."""


def allocate(state: State, request: LeaseRequest, now: float) -> Lease:
    """Change the *state* of a pool by a *request*; return the lease."""
    if not state or not -MEMBER_FOR < now - state["at"] < inf:  # the clock of an earlier boot
        state.update(_EMPTY, tokens=request.burst, at=now, starts_at=-1e9, members={}, reports=[])
    members = state["members"]
    for name in [name for name, member in members.items() if now - member[0] > MEMBER_FOR]:
        del members[name]
    _, _, _, *served = members.get(request.member, (0, 0, 0, -1e9, -1e9))
    members[request.member] = [now, request.interactive, request.batch, *served]
    _learn(state, request, now)
    rate = request.rate if state["rate"] is None else state["rate"]
    interactive, batch, wait = _grant(state, request, rate, now)
    served = now if interactive else served[0], now if batch else served[1]
    waits = request.interactive - interactive, request.batch - batch
    members[request.member] = [now, *waits, *served]
    holds = state["holder"] == request.member
    reports, state["reports"] = (state["reports"], []) if holds else ((), state["reports"])
    return Lease(
        interactive=interactive,
        batch=batch,
        wait=max(FEWEST_SECONDS, wait),
        rate=1.0 if state["refused"] and rate is None else rate,
        learnt=state["rate"] is not None,
        refused=state["refused"],
        starts_at=state["starts_at"],
        generation=state["generation"],
        members=len(members),
        curve=Curve(**state["curve"]) if state["curve"] else None,
        window=state["window"],
        holds=holds,
        reports=tuple(CallReport(*report) for report in reports),
        now=now,
    )


_EMPTY: Final[State] = {
    "generation": 0, "refused": False, "rate": None, "reserve": 0.0, "curve": None,
    "window": 0.0, "holder": "", "held_at": -1e9, "passed": 0,
}  # fmt: skip


def _learn(state: State, request: LeaseRequest, now: float) -> None:
    """Take in the lesson and the reports of *request*; find a holder where there is none."""
    if state["holder"] == request.member or now - state["held_at"] > HOLDS:
        state["holder"], state["held_at"] = request.member, now
    lesson = request.lesson
    if lesson is not None and state["holder"] == request.member:
        if state["refused"]:
            state["tokens"] = min(state["tokens"], 1.0)
        for name in ("rate", "refused", "reserve", "window"):
            state[name] = getattr(lesson, name)
        state["curve"] = lesson.curve._asdict() if lesson.curve else None
        if lesson.starts_at is not None:
            state["starts_at"] = lesson.starts_at
    refusals = [report for report in request.reports if not report.accepted]
    if refusals and request.generation == state["generation"]:
        asked = max(report.asked or 0.0 for report in refusals)
        state["generation"] += 1
        state["refused"] = True
        state["starts_at"] = max(state["starts_at"], now + max(asked, PROBE_WAIT))
    reports = state["reports"] + [astuple(report) for report in request.reports]
    state["reports"] = reports[-_REPORTS:]


def _grant(
    state: State, request: LeaseRequest, rate: float | None, now: float
) -> tuple[int, int, float]:
    """Take tokens; return those for each lane, and the seconds until there may be more."""
    at, state["at"] = state["at"], max(now, state["at"])
    if now < state["starts_at"]:
        return 0, 0, state["starts_at"] - now
    me = state["members"][request.member]
    others = [
        other
        for name, other in state["members"].items()
        if name != request.member and now - other[0] <= WAITS
    ]
    webs, batches = [one for one in others if one[1]], [one for one in others if one[2]]
    waiting = sum(one[1] for one in webs)
    if state["refused"]:
        is_first = request.interactive > 0 or (request.batch > 0 and not waiting)
        if is_first:
            state["starts_at"] = now + PROBE_TIMEOUT
        return int(request.interactive > 0), int(is_first and not request.interactive), LEASE
    if rate is None:
        return request.interactive, request.batch, LEASE
    burst = request.burst if state["rate"] is None else max(1.0, rate * LEASE)
    tokens = min(burst, state["tokens"] + max(0.0, now - at) * rate) + _ROUNDING
    batch_waits = bool(batches) or request.batch > 0
    kept = int(state["passed"] >= BATCH_EVERY - 1 and batch_waits)
    """1 for the token that is a batch's."""
    due = int(kept and request.batch > 0 and tokens >= 1)
    interactive = _portion(
        floor(tokens + state["reserve"]) - kept,
        request.interactive,
        me[3],
        [one[3] for one in webs],
    )
    waiting += request.interactive - interactive
    served = [one[4] for one in batches]
    batch = _portion(floor(tokens) - interactive - waiting, request.batch, me[4], served)
    batch = max(due, batch)
    state["tokens"] = tokens - interactive - batch - _ROUNDING
    state["passed"] = 0 if batch else state["passed"] + (interactive if batch_waits else 0)
    if request.interactive > interactive:
        need = 1.0
    else:
        earlier = sum(at < me[4] for at in served)
        need = waiting + earlier + max(1.0, min(rate * LEASE, burst) / 2)
    return interactive, batch, max(0.0, need - state["tokens"]) / rate


def _portion(free: int, wanted: int, served_at: float, others: list[float]) -> int:
    """Return the part of *free* tokens for one of several members that wait in a lane.

    *served_at* and *others* are the times of the last tokens, of the member and of the others: a
    member that waits for longer goes first.
    """
    earlier = sum(at < served_at for at in others)
    return max(0, min(wanted, ceil((free - earlier) / (1 + len(others)))))
