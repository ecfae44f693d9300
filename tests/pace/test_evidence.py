"""Rate-limit headers, all spellings and what can't be read; noise and the refusals of a limit."""

import pytest

from sunshine_async import Lane, Pace
from sunshine_async._pace.evidence import HeaderLimit, NoiseFilter, limit_in_headers

NOW = 1_700_000_000.0


@pytest.mark.parametrize("prefix", ["x-ratelimit", "x-rate-limit", "ratelimit"])
@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("30", 30.0),
        ("1700000030", 30.0),
        ("1700000030000", 30.0),
        ("1699999999", 0.0),
        ("4.5", 4.5),
    ],
)
def test_three_headers(prefix: str, reset: str, expected: float) -> None:
    """Limit, remaining and reset are read; a reset is seconds, or a time since 1970."""
    headers = {f"{prefix}-limit": "600", f"{prefix}-remaining": "7", f"{prefix}-reset": reset}

    assert limit_in_headers(headers, NOW) == HeaderLimit(600.0, 7.0, expected)


@pytest.mark.parametrize(
    ("reset", "date"),
    [
        ("1784116830", "Wed, 15 Jul 2026 12:00:00 GMT"),
        ("1784116830000", "Wed, 15 Jul 2026 12:00:00 GMT"),
        ("30", "Wed, 15 Jul 2026 12:00:00 GMT"),
        (f"{NOW + 30:.0f}", "soon"),
    ],
)
def test_a_reset_is_a_time_of_the_services_clock(reset: str, date: str) -> None:
    """The clock of this machine may be wrong: the answer's ``Date`` counts, where there is one."""
    headers = {"x-ratelimit-limit": "600", "x-ratelimit-remaining": "7", "x-ratelimit-reset": reset}

    assert limit_in_headers({**headers, "date": date}, NOW) == HeaderLimit(600.0, 7.0, 30.0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ratelimit": '"default";r=50;t=30'}, None),
        (
            {"ratelimit": '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60'},
            HeaderLimit(100, 50, 30, 60),
        ),
        ({"ratelimit": "limit=100, remaining=50, reset=30"}, HeaderLimit(100, 50, 30)),
        (
            {
                "ratelimit-limit": "100, 100;w=60",
                "ratelimit-remaining": "9",
                "ratelimit-reset": "5",
            },
            HeaderLimit(100, 9, 5, 60),
        ),
        ({"x-ratelimit-remaining": "9"}, None),
        (
            {"x-ratelimit-remaining": "many", "x-ratelimit-limit": "9", "x-ratelimit-reset": "1"},
            None,
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-limit": "0", "x-ratelimit-reset": "1"}, None),
        ({"content-type": "application/json"}, None),
    ],
)
def test_other_headers(headers: dict[str, str], expected: HeaderLimit | None) -> None:
    """The IETF's fields are read, with the window; headers that lack a number say nothing."""
    assert limit_in_headers(headers, NOW) == expected


class TestTold:
    """A pace that is told a limit."""

    def test_a_window_is_spread(self) -> None:
        """Calls start evenly over the window, without any refusal; the snapshot shows the limit."""
        pace = Pace()
        pace.tell(HeaderLimit(600, 599, 60), 0.0)

        seen = pace.snapshot(0.0)
        assert (seen.found, seen.window) == (10.0, 60.0)
        assert seen.rate == pytest.approx(9.7, abs=0.01)

    def test_a_later_answer_may_show_a_longer_window(self) -> None:
        """Of one limit the longest reset is the window; another limit is another window."""
        pace = Pace()
        pace.tell(HeaderLimit(600, 600, 30), 0.0)
        pace.tell(HeaderLimit(600, 599, 60), 30.0)
        pace.tell(HeaderLimit(600, 300, 20), 70.0)
        assert pace.snapshot(70.0).window == 60

        pace.tell(HeaderLimit(50, 40, 10), 71.0)
        assert pace.snapshot(71.0).window == 10

    @pytest.mark.parametrize(
        "limit_in_headers",
        [HeaderLimit(100, 0, 1), HeaderLimit(100, 0, 2.9), HeaderLimit(9e5, 1, 86400)],
    )
    def test_resets_that_say_little(self, limit_in_headers: HeaderLimit) -> None:
        """A reset in under three seconds, or in more than five minutes, changes nothing."""
        pace = Pace()
        pace.tell(limit_in_headers, 0.0)

        assert pace.snapshot(0.0).rate is None
        assert pace.enter(0.0)

    def test_a_window_that_is_used_up_pauses_all(self) -> None:
        """With nothing remaining no call starts until the reset."""
        pace = Pace()
        pace.tell(HeaderLimit(600, 0, 20), 0.0)

        assert pace.snapshot(0.0).paused == 20
        assert not pace.enter(19.9)
        assert pace.enter(20.0)

    def test_a_batch_never_takes_the_last_tenth(self) -> None:
        """A tenth of the window, and of what remains in time, is kept for interactive calls."""
        pace = Pace()
        pace.tell(HeaderLimit(600, 30, 30), 0.0)
        assert not pace.enter(1.0, Lane.BATCH)
        assert pace.enter(1.0)
        pace.leave(now=1.1, began=1.0)

        pace.tell(HeaderLimit(600, 29, 10), 21.0)
        assert pace.enter(21.0, Lane.BATCH)

    def test_what_was_told_is_forgotten(self) -> None:
        """Five minutes after the last answer nothing is left of it."""
        pace = Pace()
        pace.tell(HeaderLimit(600, 599, 60), 0.0)

        assert pace.snapshot(299.0).rate
        assert pace.snapshot(301.0).rate is None
        assert pace.snapshot(301.0).found is None


class TestNoise:
    """A noise filter, after a fall at 100 calls a second."""

    def test_an_excess_far_above_the_rate_before_shows_noise(self) -> None:
        """Noise stays beyond the excess that ends the trial, until a minute is over."""
        noise = NoiseFilter()
        begin_trial(noise, 0.0)

        assert end_trial(noise, 2.0, reached=231) == 0

        assert noise.is_noise(2.1)
        assert noise.has_noise(59.9)
        assert not noise.has_noise(60.0)

    def test_an_excess_that_begins_early_fails_the_trial(self) -> None:
        """A rate that was reached among refusals counts for nothing; no trial begins for 10 s."""
        noise = NoiseFilter()
        begin_trial(noise, 0.0)
        noise.count(1.0, 229, 1)

        assert end_trial(noise, 1.2, reached=500) == 100

        assert not noise.has_noise(1.2)
        assert not noise.end_refusals(11.1, mild=True, asked=False)
        assert noise.end_refusals(11.3, mild=True, asked=False)

    @pytest.mark.parametrize(("accepted", "refusals", "expected"), [(1900, 0, 4), (960, 40, 9)])
    def test_the_usual_share_says_how_many_are_in_excess(
        self, accepted: int, refusals: int, expected: int
    ) -> None:
        """At once: four where refusals are rare, nine where 2.5 % and more are usual."""
        noise = NoiseFilter()
        for _ in range(accepted):
            noise.count(0.0, 100)
        for _ in range(refusals):
            noise.count(0.0, 100, 1)

        begin_trial(noise, 0.0)

        assert refusals_to_excess(noise, 1.0) == expected

    def test_the_refusals_of_a_trial_are_not_usual(self) -> None:
        """After a trial in which a limit refused a fifth, as few refusals as before are in excess."""
        noise = NoiseFilter()
        for _ in range(1900):
            noise.count(0.0, 100)
        begin_trial(noise, 0.0)
        for _ in range(1000):
            noise.count(1.0, 110)
        for _ in range(250):
            noise.count(1.0, 110, 1)
        end_trial(noise, 1.0, reached=110)

        begin_trial(noise, 70.0)

        assert refusals_to_excess(noise, 70.0) == 4

    def test_while_there_is_noise_the_share_is_learnt(self) -> None:
        """After 2 % were refused, more refusals are an excess; the refusals of an excess don't add to that."""
        noise = NoiseFilter()
        for _ in range(400):
            noise.count(0.0, 100)
        begin_trial(noise, 0.0)
        end_trial(noise, 1.0, reached=300)
        assert not noise.end_refusals(1.0, mild=True, asked=False)
        for _ in range(20):
            noise.count(2.0, 300, 1)
            for _ in range(49):
                noise.count(2.0, 300)
        usual = refusals_to_excess(noise, 2.0)
        noise.count_fall(2.0, 300, early=False)
        assert not noise.end_refusals(2.1, mild=True, asked=False)
        after = refusals_to_excess(noise, 2.2)
        noise.count_fall(2.2, 300, early=False)
        assert not noise.end_refusals(2.3, mild=True, asked=False)

        assert usual < after
        assert refusals_to_excess(noise, 2.4) == after


def begin_trial(noise: NoiseFilter, now: float) -> None:
    """Begin a trial at 100 calls a second."""
    noise.count_fall(now, 100, early=False)
    assert noise.end_refusals(now, mild=True, asked=False)


def refusals_to_excess(noise: NoiseFilter, now: float) -> int:
    """Count refusals until the refusals are in excess; return the number."""
    number = 0
    while noise.is_noise(now):
        noise.count(now, 0.0, 1)
        number += 1
    return number


def end_trial(noise: NoiseFilter, now: float, *, reached: float) -> float:
    """Let the rate reach so many calls a second, and an excess end the trial; end the refusals.

    Return the rate before a trial that fails, or 0.
    """
    noise.count(now, reached)
    refusals_to_excess(noise, now)
    before = noise.count_fall(now, reached, early=True)
    noise.end_refusals(now, mild=False, asked=False)
    return before
