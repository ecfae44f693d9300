"""Whether, and how soon, a request may be sent again."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from math import inf, nan
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sunshine_async._calls.retry import (
    FAULT_OF,
    FAULT_OF_CLASS,
    MAY_HAVE_ACTED,
    MAY_RESEND,
    NOT_APPLIED,
    SETTLES,
    Replay,
    Retry,
    Settlement,
    fault_of,
    retry_after,
    retry_after_in,
)
from sunshine_async.errors import ApiError, Fault, RateLimitError, ServerError, error_class

NOW = datetime(2026, 1, 1, tzinfo=UTC)

_NEVER = {Fault.PERMANENT, Fault.REDIRECTED}
NOT_SENT_AGAIN = {
    Replay.SAFE: _NEVER,
    Replay.IDEMPOTENT: _NEVER,
    Replay.GUARDED: _NEVER,
    Replay.GONE: _NEVER,
    Replay.UNSAFE: _NEVER | {Fault.UNAVAILABLE, Fault.TIMED_OUT, Fault.LOST},
    Replay.ONCE: set(Fault) - {Fault.UNSENT},
}

SECONDS = st.floats(0, 1e6)
RETRIES = st.builds(
    Retry,
    max_attempts=st.integers(1, 2000),
    first_wait=SECONDS,
    max_wait=SECONDS,
    deadline=st.floats(1e-6, 1e6),
)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("replay", Replay)
def test_the_table_says_what_is_sent_again(replay: Replay, fault: Fault) -> None:
    """For each kind of call and each fault, it is sent again exactly where that can't do harm."""
    wait = Retry().wait(replay, fault, attempt=1, asked=None, luck=1.0)

    assert (wait is None) == (fault in NOT_SENT_AGAIN[replay]) == (fault not in MAY_RESEND[replay])


@pytest.mark.parametrize("replay", [Replay.UNSAFE, Replay.ONCE])
def test_what_may_do_it_twice_is_not_sent_again_once_it_may_have_acted(replay: Replay) -> None:
    """A call that may act twice is never sent again after a fault that may have acted."""
    assert not MAY_RESEND[replay] & MAY_HAVE_ACTED


def test_only_what_was_refused_or_never_left_has_not_acted() -> None:
    """The faults that are certain are listed; after every other fault the service may have acted."""
    assert {Fault.UNSENT, Fault.PERMANENT, Fault.THROTTLED, Fault.OVERLAPPED} == NOT_APPLIED
    assert set(Fault) - NOT_APPLIED == MAY_HAVE_ACTED


@pytest.mark.parametrize("status", [-1, 0, *range(99, 1001)])
def test_every_status_is_certain_or_in_doubt(status: int) -> None:
    """2xx and 4xx settle a call, but for 408, 429 and 499; a redirect, and all else, is in doubt."""
    expected: Fault | None = Fault.UNAVAILABLE
    if status // 100 in (2, 4):
        expected = None
    if status // 100 == 3:
        expected = Fault.REDIRECTED
    expected = {408: Fault.UNAVAILABLE, 429: Fault.THROTTLED, 499: Fault.UNAVAILABLE}.get(
        status, expected
    )

    assert fault_of(status) is expected
    assert (fault_of(status) in MAY_HAVE_ACTED) == (
        status not in range(200, 300) and status not in {*range(400, 500)} - {408, 499}
    )


def test_only_certain_statuses_are_listed() -> None:
    """The tables list the certain classes and three statuses that differ; the default is doubt."""
    assert set(FAULT_OF) == {408, 429, 499}
    assert set(FAULT_OF_CLASS) == {2, 3, 4}


@pytest.mark.parametrize("status", [408, 429, 499, *range(500, 600)])
def test_a_status_that_is_tried_again_has_a_kind_that_says_so(status: int) -> None:
    """What is tried again ends, when the tries do, in an error that fits the status."""
    kinds = {408: ApiError, 429: RateLimitError, 499: ApiError}

    assert error_class(status) is kinds.get(status, ServerError)


def test_what_a_later_sending_settles() -> None:
    """A 404 settles a delete, a 409 a create with a key; all other answers stand."""
    assert SETTLES == {
        (Replay.GONE, 404): Settlement.DONE,
        (Replay.GUARDED, 409): Settlement.READ_BACK,
    }


@given(
    retry=RETRIES,
    replay=st.sampled_from(Replay),
    fault=st.sampled_from(Fault),
    attempt=st.integers(1, 3000),
    luck=st.floats(0, 1),
    left=st.floats(-10, 1e6),
)
def test_a_wait_is_bounded(
    retry: Retry, replay: Replay, fault: Fault, *, attempt: int, luck: float, left: float
) -> None:
    """A wait is from 0 to *max_wait* and to the doubled *first_wait*, and ends before the deadline."""
    wait = retry.wait(replay, fault, attempt=attempt, asked=None, luck=luck, left=left)

    if wait is not None:
        assert 0 <= wait <= retry.max_wait
        assert wait < left
        assert attempt < retry.max_attempts
        assert attempt > 60 or wait <= retry.first_wait * 2 ** (attempt - 1)


@given(retry=RETRIES, asked=SECONDS, attempt=st.integers(1, 3000), luck=st.floats(0, 1))
def test_what_the_service_asks_is_kept(
    retry: Retry, asked: float, attempt: int, luck: float
) -> None:
    """A wait is never shorter than the service asked, and longer only to spread the callers."""
    wait = retry.wait(Replay.SAFE, Fault.THROTTLED, attempt=attempt, asked=asked, luck=luck)
    alone = retry.wait(Replay.SAFE, Fault.THROTTLED, attempt=attempt, asked=None, luck=luck)

    assert (wait is None) == (alone is None)
    if wait is not None and alone is not None:
        assert (
            max(asked, alone) <= wait <= max(alone, asked + min(retry.first_wait, retry.max_wait))
        )


@pytest.mark.parametrize(
    ("attempt", "wait"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (6, 16.0), (7, 20.0), (99, 20.0)]
)
def test_waits_double(attempt: int, wait: float) -> None:
    """With full luck the wait doubles from *first_wait* up to *max_wait*."""
    retry = Retry(max_attempts=100)

    assert retry.wait(Replay.SAFE, Fault.LOST, attempt=attempt, asked=None, luck=1.0) == wait
    assert retry.wait(Replay.SAFE, Fault.LOST, attempt=attempt, asked=None, luck=0.0) == 0.0


@pytest.mark.parametrize(("attempt", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_attempts_are_bounded(attempt: int, *, again: bool) -> None:
    """After *max_attempts* it is not sent again."""
    retry = Retry(max_attempts=3)
    wait = retry.wait(Replay.SAFE, Fault.UNSENT, attempt=attempt, asked=None, luck=0.5)

    assert (wait is not None) is again


def test_one_attempt_is_no_second_try() -> None:
    """``max_attempts=1`` sends nothing again, whatever happens."""
    retry = Retry(max_attempts=1)

    assert not any(
        retry.wait(replay, fault, attempt=1, asked=0.0, luck=0.0) is not None
        for replay in Replay
        for fault in Fault
    )


@pytest.mark.parametrize(("left", "wait"), [(3.1, 3.0), (3.0, None), (0.0, None), (-1.0, None)])
def test_a_wait_that_does_not_fit_in_the_deadline_is_not_begun(
    left: float, wait: float | None
) -> None:
    """Where the service asks for as much as is left, or more, the call ends at once."""
    retry = Retry(first_wait=0.0)

    assert (
        retry.wait(Replay.SAFE, Fault.THROTTLED, attempt=1, asked=3.0, luck=0.5, left=left) == wait
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("max_attempts", 0),
        ("max_attempts", -1),
        *[(name, -0.1) for name in ("first_wait", "max_wait", "deadline")],
        *[(name, nan) for name in ("first_wait", "max_wait", "deadline")],
        ("deadline", 0),
        *[(name, -inf) for name in ("first_wait", "max_wait", "deadline")],
        *[(name, "60") for name in ("max_attempts", "first_wait", "max_wait", "deadline")],
    ],
)
def test_a_number_that_cannot_work_is_refused(name: str, number: object) -> None:
    """A number that can't work is a `ValueError` that names the argument and says what can."""
    wrong: dict[str, Any] = {name: number}

    with pytest.raises(ValueError, match=rf"^Retry\({name}={number!r}\): .*(or more|more than 0)"):
        Retry(**wrong)


def test_no_waits_and_no_bounds_can_be_said() -> None:
    """0 seconds and no end are fine."""
    retry = Retry(max_attempts=2000, first_wait=0, max_wait=inf, deadline=inf)

    assert retry.wait(Replay.SAFE, Fault.LOST, attempt=1999, asked=None, luck=1.0) == 0.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 01:02:00 +0100", 120.0),
        ("Thu, 01 Jan 2026 00:02:00", 120.0),
        ("Thu, 01 Jan 2026 00:02:00 -0000", 120.0),
        ("Thursday, 01-Jan-26 00:02:00 GMT", 120.0),
        ("Thu Jan  1 00:02:00 2026", 120.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Wed, 31 Dec 2025 23:59:59 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", 1.5),
        ("4.0", 4.0),
        ("4.", 4.0),
        ("4, 4", 4.0),
        ("4,9.5", 9.5),
        ("9, 4", 9.0),
        ("5, soon", 5.0),
        (", 5,", 5.0),
        ("5, Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 00:02:00 GMT, Thu, 01 Jan 2026 00:01:00 GMT", 120.0),
        ("Thu Jan  1 00:02:00 2026, 7", 120.0),
        ("+5", None),
        (".5", None),
        ("4.0.0", None),
        ("inf", None),
        ("-inf", None),
        ("4;5", None),
        ("1e3", None),
        ("٣", None),
        ("²", None),
        ("nan", None),
        ("Thu, 32 Jan 2026 00:00:00 GMT", None),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:00 +9999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are read, a past date is now, and what is neither is not there."""
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize("hours", [-48, -1, 0, 1, 48])
def test_a_date_is_a_time_of_the_services_clock(hours: int) -> None:
    """The clock of this machine may be wrong: the answer's ``Date`` counts, where there is one."""
    answered = NOW.replace(microsecond=0) + timedelta(hours=hours)
    headers = {"retry-after": format_datetime(answered + timedelta(seconds=30), usegmt=True)}

    assert retry_after_in({**headers, "date": format_datetime(answered)}, now=NOW) == 30.0
    assert retry_after_in({**headers, "date": "soon"}, now=answered) == 30.0
    assert retry_after_in({"date": format_datetime(answered)}, now=NOW) is None


def test_a_huge_retry_after_is_past_any_deadline() -> None:
    """A number too large for a `float` is still longer than any deadline."""
    asked = retry_after("9" * 5000, now=NOW)

    assert asked is not None
    assert (
        Retry().wait(Replay.SAFE, Fault.THROTTLED, attempt=1, asked=asked, luck=0.0, left=120)
        is None
    )


@given(
    at=st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2199, 1, 1)),  # noqa: DTZ001 - hypothesis wants it so
    offset=st.integers(-12 * 60, 14 * 60),
)
def test_any_date_is_read(at: datetime, offset: int) -> None:
    """A date in any zone asks for the seconds from now to it, and never for less than none."""
    when = at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset)))

    assert retry_after(format_datetime(when), now=NOW) == max(0.0, (when - NOW).total_seconds())


@given(
    st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, ?\d{1,20} [A-Z][a-z]{2} \d{1,30} \d+:\d+(:\d+)? [+-]?\w{1,9}")
)
@example("Mon, 01 Jan 99999999999999999999999 00:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("1 Jan 1 00:00 +2359")
def test_whatever_retry_after_says_is_survived(value: str) -> None:
    """Whatever the header says, it asks for a wait that can be waited, or for none."""
    asked = retry_after(value, now=NOW)

    assert asked is None or 0 <= asked < inf
