"""The division of one rate: never more than the rate, interactive calls first, one fall for all."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.size import sized

from sunshine_async._pace.lease import (
    HOLDS,
    MEMBER_FOR,
    WAITS,
    CallReport,
    Lease,
    LeaseRequest,
    Lesson,
    State,
    allocate,
)
from sunshine_async._pace.rate import Curve
from sunshine_async._pace.slots import BATCH_EVERY


def ask(state: State, now: float, member: str = "a", **more: Any) -> Lease:
    """Return the lease of *member* at *now*, at 10 calls a second unless told otherwise."""
    given: dict[str, Any] = {
        "rate": 10.0, "burst": 1.0, "interactive": 0, "batch": 0, "generation": 0, **more
    }  # fmt: skip
    return allocate(state, LeaseRequest(member=member, **given), now)


def refusal(now: float, asked: float | None = None) -> tuple[CallReport, ...]:
    """Return the report of a 429."""
    return (CallReport(now, now - 0.05, 0, asked),)


def lesson(rate: float | None, **more: Any) -> Lesson:
    """Return a lesson of this *rate*."""
    curve = (
        Curve(bottom=rate, top=rate, is_doubling=False, is_guess=True, seconds=1.0, lasted=0.0)
        if rate
        else None
    )
    given: dict[str, Any] = {
        "refused": False, "starts_at": None, "reserve": 0.0, "curve": curve, "window": 0.0, **more
    }  # fmt: skip
    return Lesson(rate=rate, **given)


@given(
    rate=st.floats(0.5, 500),
    burst=st.integers(1, 20),
    steps=st.lists(
        st.tuples(
            st.floats(0, 0.5), st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 30)
        ),
        max_size=40,
    ),
)
@settings(max_examples=sized(300, 50), deadline=None)
def test_members_never_get_more_than_the_rate(
    rate: float, burst: int, steps: list[tuple[float, str, int, int]]
) -> None:
    """In any time from the start, all members have at most ``burst + rate * t`` tokens."""
    state: State = {}
    now = began = 100.0
    total = 0
    for seconds, member, interactive, batch in steps:
        now += seconds
        lease = ask(
            state, now, member, rate=rate, burst=burst, interactive=interactive, batch=batch
        )
        assert lease.interactive <= interactive
        assert lease.batch <= batch
        assert lease.wait > 0
        total += lease.interactive + lease.batch
        assert total <= burst + rate * (now - began) + 0.001


def test_interactive_calls_anywhere_go_before_batches_everywhere() -> None:
    """A token that comes while an interactive call waits at another member isn't a batch's."""
    state: State = {}
    assert ask(state, 0.0, "batch", batch=5).batch == 1
    assert ask(state, 0.0, "web", interactive=1).interactive == 0

    assert ask(state, 0.1, "batch", batch=5).batch == 0
    assert ask(state, 0.1, "web", interactive=1).interactive == 1


def test_a_lost_member_keeps_tokens_for_a_moment_only() -> None:
    """A member that asks no more, with interactive calls that waited, delays batches for half a second."""
    state: State = {}
    ask(state, 0.0, "web", interactive=5)

    assert ask(state, WAITS, "batch", batch=5).batch == 0
    assert ask(state, WAITS + 0.01, "batch", batch=5).batch == 1


def test_batches_keep_a_tenth() -> None:
    """Where interactive calls and a batch wait all the time, every tenth token is the batch's."""
    state: State = {}
    counts = {"web": 0, "batch": 0}
    for step in range(2000):
        counts["web"] += ask(state, step / 20, "web", burst=2, interactive=9).interactive
        counts["batch"] += ask(state, step / 20 + 0.001, "batch", burst=2, batch=9).batch

    assert counts["web"] + counts["batch"] == pytest.approx(1000, abs=3)
    assert counts["batch"] == pytest.approx(100, abs=3)


@pytest.mark.parametrize("lane", ["interactive", "batch"])
def test_several_members_share_a_lane_evenly(lane: str) -> None:
    """Two members have a half each, although each would take all."""
    state: State = {}
    counts = {"a": 0, "b": 0}
    for step in range(1000):
        counts["a"] += getattr(ask(state, step / 10, "a", burst=5, **{lane: 9}), lane)
        counts["b"] += getattr(ask(state, step / 10 + 0.01, "b", burst=5, **{lane: 9}), lane)

    assert counts["a"] + counts["b"] == pytest.approx(1000, abs=5)
    assert counts["a"] == pytest.approx(counts["b"], rel=0.15)


def test_the_members_are_counted_for_some_seconds() -> None:
    """A process counts as a member until five seconds after the last request."""
    state: State = {}
    ask(state, 0.0, "a")

    assert ask(state, MEMBER_FOR, "b").members == 2
    assert ask(state, MEMBER_FOR + 0.1, "b").members == 1


def test_one_overload_is_one_fall() -> None:
    """Of refusals of the same generation the first pauses the pool; the others are only reports."""
    state: State = {}
    ask(state, 10.0, "a")
    first = ask(state, 10.0, "b", reports=refusal(10.0))
    second = ask(state, 10.05, "c", reports=refusal(10.05))

    assert (first.generation, second.generation) == (1, 1)
    assert second.starts_at == first.starts_at == pytest.approx(10.1)
    assert len(ask(state, 10.06, "a").reports) == 2


def test_a_retry_after_pauses_all_members() -> None:
    """No member gets a token for the seconds of the longest ``Retry-After``, and then one gets one."""
    state: State = {}
    ask(state, 0.0, "a")
    ask(state, 0.0, "b", reports=refusal(0.0, asked=3.0) + refusal(0.0, asked=1.0))

    waiting = ask(state, 2.9, "a", interactive=3, generation=1)
    assert (waiting.interactive, waiting.wait) == (0, pytest.approx(0.1))
    assert ask(state, 3.1, "a", interactive=3, generation=1).interactive == 1
    assert ask(state, 3.2, "b", batch=3, generation=1).batch == 0


@pytest.mark.parametrize("lane", ["interactive", "batch"])
def test_a_refused_pool_probes_by_single_calls(lane: str) -> None:
    """In a refusal period a call a second goes, of an interactive lane first."""
    state: State = {}
    ask(state, 0.0, "a", reports=refusal(0.0))
    calls: dict[str, Any] = {lane: 5}
    granted = [ask(state, 0.2 + step / 100, "a", **calls) for step in range(150)]

    assert sum(lease.interactive + lease.batch for lease in granted) == 2


@pytest.mark.parametrize("seconds", [0.2, 20.0])
def test_a_refusal_period_ends_without_a_burst(seconds: float) -> None:
    """Tokens that were there before a refusal period are no calls at once after the period."""
    state: State = {}
    ask(state, 0.0, "a", burst=50, reports=refusal(0.0))
    ask(state, seconds, "b", burst=50, generation=1)
    taught = lesson(100.0)

    assert ask(state, seconds, "a", lesson=taught, interactive=20, generation=1).interactive == 1


def test_a_member_without_calls_is_no_probe() -> None:
    """A member that asks for no token delays no probe of another member."""
    state: State = {}
    ask(state, 0.0, "a", reports=refusal(0.0))
    ask(state, 0.2, "idle")

    assert ask(state, 0.21, "a", batch=1).batch == 1


def test_a_batch_is_no_probe_where_an_interactive_call_waits() -> None:
    """The probe is left to the interactive call of another member."""
    state: State = {}
    ask(state, 0.0, "a", reports=refusal(0.0))
    ask(state, 0.05, "web", interactive=1)

    assert ask(state, 0.2, "a", batch=1).batch == 0
    assert ask(state, 0.2, "web", interactive=1).interactive == 1


def test_the_holder_teaches_the_pool() -> None:
    """The lesson of the holder is the rate of all; nobody else's is."""
    state: State = {}
    assert ask(state, 0.0, "a", rate=None).holds
    assert not ask(state, 0.0, "b", rate=None, lesson=lesson(5.0)).learnt
    ask(state, 0.1, "a", rate=None, reports=refusal(0.1))
    ask(state, 0.2, "a", rate=None, lesson=lesson(5.0, starts_at=0.3, window=10.0))

    lease = ask(state, 0.25, "b", rate=None, interactive=1)
    assert (lease.rate, lease.learnt, lease.window) == (5.0, True, 10.0)
    assert lease.curve == lesson(5.0).curve
    assert lease.starts_at == 0.3


def test_a_holder_that_has_learnt_nothing_teaches_nothing() -> None:
    """The lesson without a rate leaves the pool without a rate."""
    lease = ask({}, 0.0, rate=None, lesson=lesson(None))

    assert (lease.rate, lease.learnt, lease.curve) == (None, False, None)


def test_the_holder_stays_while_it_asks() -> None:
    """No other member becomes the holder, and learns anew, within a second of a request."""
    state: State = {}
    ask(state, 0.0, "a")
    ask(state, 0.6, "a")

    assert not ask(state, 1.1, "b").holds
    assert ask(state, 1.1, "a").holds


def test_a_lost_holder_is_replaced() -> None:
    """After a second without a request of the holder, the next member is the holder."""
    state: State = {}
    assert ask(state, 0.0, "a").holds

    assert not ask(state, HOLDS, "b").holds
    assert ask(state, HOLDS + 0.1, "b").holds


def test_without_a_rate_no_call_needs_a_token() -> None:
    """A pool that has learnt nothing lets all go; after a refusal calls need tokens."""
    state: State = {}
    free = ask(state, 0.0, rate=None, interactive=3, batch=4)

    assert (free.rate, free.interactive, free.batch) == (None, 3, 4)
    assert ask(state, 0.1, rate=None, reports=refusal(0.1)).rate == 1.0
    assert ask({}, 0.1, rate=10.0, reports=refusal(0.1)).rate == 10.0


def test_a_learnt_rate_allows_a_tenth_of_a_second_at_once() -> None:
    """The burst that was declared is none of the learnt rate."""
    state: State = {}
    for now in (0.0, 0.9):
        ask(state, now, burst=50, lesson=lesson(100.0))

    assert ask(state, 0.9, burst=50, lesson=lesson(100.0), interactive=90).interactive == 10


def test_a_batch_that_is_due_waits_for_a_token() -> None:
    """The tenth token is a batch's once the token is there, and no earlier."""
    state: State = {}
    for step in range(BATCH_EVERY):
        ask(state, step / 10, "batch", batch=1)
        ask(state, step / 10, "web", interactive=5)

    assert [ask(state, now, "batch", batch=1).batch for now in (0.9, 1.0)] == [0, 1]


def test_the_interactive_calls_of_a_member_go_before_its_batch() -> None:
    """A member leaves tokens to the interactive calls of another, and takes none of them for a batch."""
    state: State = {}
    ask(state, 0.0, "web", burst=5, interactive=6)
    lease = ask(state, 0.5, "both", burst=5, interactive=9, batch=9)

    assert (lease.interactive, lease.batch) == (3, 0)


def test_a_token_is_kept_for_a_batch_that_waits_only() -> None:
    """Once a batch that was overtaken has gone, interactive calls get every token."""
    state: State = {}
    for step in range(BATCH_EVERY):
        ask(state, step / 10, "batch", batch=1)
        ask(state, step / 10, "web", interactive=5)

    later = step / 10 + WAITS + 0.1
    assert [ask(state, later + n / 10, "web", interactive=1).interactive for n in range(5)] == [
        1
    ] * 5


def test_interactive_calls_go_ahead_of_a_learnt_rate() -> None:
    """The reserve of a window is for interactive calls."""
    state: State = {}
    ask(state, 0.0, rate=None, lesson=lesson(10.0, reserve=6.0))

    assert ask(state, 0.0, rate=None, batch=20).batch == 1
    assert ask(state, 0.0, rate=None, interactive=20).interactive == 6


@pytest.mark.parametrize("at", [-1e6, 1e6])
def test_a_state_of_another_clock_is_begun_again(at: float) -> None:
    """A file that outlived a boot, or a Redis with another clock, holds no call back for long."""
    state: State = {}
    ask(state, 0.0, reports=refusal(0.0, asked=300.0))
    state["at"] = at

    assert ask(state, 0.0, interactive=1).interactive == (1 if at > 0 else 0)
