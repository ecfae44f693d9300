"""Lessons that a pace learns from the ends of calls, and forgets."""

from math import inf

import pytest

from sunshine_async import Lane, Pace
from sunshine_async._pace.evidence import HeaderLimit
from sunshine_async._pace.pace import Sign
from sunshine_async._pace.rate import AdaptiveRate, Curve
from sunshine_async._pace.slots import Waiter

CURVE = Curve(bottom=9.0, top=10.0, is_doubling=False, is_guess=False, seconds=0.0, lasted=0.0)


def accept(now: float, seconds: float, *learners: AdaptiveRate) -> float:
    """Let the *learners* see a hundred answers a second; return the time then."""
    for part in range(round(100 * seconds)):
        for learner in learners:
            learner.count_answer(now + part / 100, now + part / 100)
    return now + seconds


def answers(pace: Pace, *, rate: int, seconds: int, began: float, lane: Lane = Lane.BATCH) -> float:
    """Let *pace* see so many answers a second, each of what took 50 ms; return the time then."""
    now = began
    for number in range(rate * seconds):
        now = began + number / rate
        pace._start(lane)
        pace.leave(lane=lane, now=now, began=now - 0.05)
    return now


def end(
    pace: Pace, sign: Sign, now: float, *, lane: Lane = Lane.BATCH, asked: float | None = None
) -> None:
    """Let *pace* see an attempt that began a hair before it ended."""
    pace._start(lane)
    pace.leave(sign=sign, lane=lane, now=now, began=now - 0.001, asked=asked)


def rate_of(pace: Pace, now: float) -> float | None:
    """Return the rate that *pace* keeps to."""
    return pace.snapshot(now).rate


class TestRate:
    """The adaptive rate."""

    def test_nothing_is_learnt_without_a_refusal(self) -> None:
        """A pace without a ceiling lets all calls start, with any answers and failures but 429."""
        pace = Pace()
        now = answers(pace, rate=50, seconds=3, began=0.0)
        end(pace, Sign.FAILED, now)

        assert rate_of(pace, now) is None
        assert all(pace.enter(now) for _ in range(100))

    @pytest.mark.parametrize("again", ["resume", "headers", "refusal"])
    def test_calls_that_nothing_bounds_cost_a_later_bound_nothing(self, again: str) -> None:
        """After a forgotten limit and many calls without one, a new limit holds from its start."""
        pace = Pace()
        now = answers(pace, rate=100, seconds=3, began=0.0)
        end(pace, Sign.THROTTLED, now)
        end(pace, Sign.ANSWERED, now + 1)
        now += 400
        assert rate_of(pace, now) is None
        now = answers(pace, rate=100, seconds=60, began=now)

        if again == "resume":
            pace.resume(5.0, 0.0, now)
        elif again == "headers":
            pace.tell(HeaderLimit(300.0, 200.0, 60.0, 60.0), now)
        else:
            end(pace, Sign.THROTTLED, now)

        assert pace.enter(now + 1.0)

    @pytest.mark.parametrize("asked", [None, 0.0, 2.0])
    def test_a_refusal_takes_it_below_what_was_accepted(self, asked: float | None) -> None:
        """After a 429 it is 90 % of what was accepted, and all pause if that was asked."""
        pace = Pace()
        now = answers(pace, rate=100, seconds=3, began=0.0)

        end(pace, Sign.THROTTLED, now, asked=asked)

        assert rate_of(pace, now) == pytest.approx(90, rel=0.05)
        assert pace.snapshot(now).paused == (asked or 0.0)
        assert not pace.enter(now + 0.09)
        assert pace.enter(now + (asked or 0.1))
        assert not pace.enter(now + (asked or 0.1))

    def test_a_refusal_mints_nothing(self) -> None:
        """A declared rate holds whatever is refused in between."""
        pace = Pace(rate=1, burst=1)
        assert pace.enter(10.0)
        pace.leave(sign=Sign.THROTTLED, now=10.1, began=10.0)

        assert not pace.enter(10.3)
        assert not pace.enter(10.9)
        assert pace.enter(12.1)
        pace.leave(now=12.2, began=12.1)
        assert not pace.enter(12.3)

    def test_a_refusal_period_is_looked_at_by_one_at_a_time(self) -> None:
        """After a 429 calls look again one by one, ever later, and all go once one is accepted."""
        pace = Pace()
        now = answers(pace, rate=100, seconds=3, began=0.0)
        began = now
        end(pace, Sign.THROTTLED, now)
        looks: list[float] = []
        for _ in range(5):
            start = now
            while not pace.enter(now):
                now += 0.01
            looks.append(now - start)
            assert not pace.enter(now)
            now += 0.05
            pace.leave(sign=Sign.THROTTLED, now=now, began=now - 0.05)
        assert looks == sorted(looks)
        assert sum(looks) < 1

        while not pace.enter(now):
            now += 0.01
        assert pace.enter(now + 1.1)  # the answer is late
        assert rate_of(pace, now) == pytest.approx(90, rel=0.05)
        pace.leave(now=now + 1.2, began=now)
        assert pace.enter(now + 1.2)
        assert rate_of(pace, now + 1.2) == pytest.approx(90, rel=0.05)
        assert now - began < 2

    def test_who_looks_and_is_cancelled_lets_another_look(self) -> None:
        """A cancelled call says nothing of the limit: the next one looks at once."""
        pace = Pace()
        end(pace, Sign.THROTTLED, 10.0)
        assert pace.enter(10.2)
        assert not pace.enter(10.3)
        pace.leave(sign=Sign.NOTHING, now=10.4, began=10.2)

        assert pace.enter(10.4)

    def test_a_cancelled_call_of_before_the_refusal_lets_none_look(self) -> None:
        """A call that began before the refusal period didn't look: its end brings no look forward."""
        pace = Pace()
        assert pace.enter(9.8)
        end(pace, Sign.THROTTLED, 10.0)
        assert pace.enter(10.2)
        pace.leave(sign=Sign.NOTHING, now=10.3, began=9.8)

        assert not pace.enter(10.3)
        assert pace.enter(11.2)

    def test_a_read_that_is_answered_ends_it(self) -> None:
        """A refusal period ends with an accepted read, sent in the place of another call."""
        pace = Pace()
        end(pace, Sign.THROTTLED, 10.0)
        assert pace.enter(10.2)
        assert not pace.enter(10.3)
        pace.leave(sign=Sign.READ, now=10.4, began=10.2)

        assert pace.enter(10.4)
        assert pace.enter(10.4)

    @pytest.mark.parametrize("sign", [Sign.ANSWERED, Sign.READ, Sign.FAILED, Sign.NOTHING])
    def test_nobody_oversleeps_the_end_of_a_probe(self, sign: Sign) -> None:
        """A call that was told a time before a resend came is woken after the resend has started."""
        woken: list[str] = []
        pace = Pace()
        end(pace, Sign.THROTTLED, 10.0)
        assert pace.enter(10.1)
        new = Waiter(lambda: woken.append("new"))
        again = Waiter(lambda: woken.append("again"), again=True)
        for one in (new, again):
            pace.join(one)
            assert pace.ask(one, 10.2) == pytest.approx(0.9)
        pace.leave(sign=sign, now=10.3, began=10.1)

        assert woken == ["again"]
        assert pace.ask(again, 10.3) == 0.0
        assert woken == ["again", "new"]

    def test_one_overload_counts_once(self) -> None:
        """Refusals of what began before the rate fell don't make it fall further."""
        pace = Pace()
        now = answers(pace, rate=100, seconds=3, began=0.0)
        for _ in range(50):
            end(pace, Sign.THROTTLED, now)

        assert rate_of(pace, now) == pytest.approx(90, rel=0.05)

    def test_it_grows_back_and_then_beyond(self) -> None:
        """In 20 s it is where it failed; past a quarter more it doubles, if that is what is used."""
        pace = Pace(rate=1000)
        now = answers(pace, rate=10, seconds=3, began=0.0)  # too few for a trial of noise
        end(pace, Sign.THROTTLED, now)
        for seconds in (100, 10):  # the ceiling is a guess at first
            now = answers(pace, rate=10, seconds=seconds, began=now + 1)
            end(pace, Sign.THROTTLED, now)
        began = now

        now = answers(pace, rate=10, seconds=20, began=now)
        assert rate_of(pace, now) == pytest.approx(10, rel=0.05)
        now = answers(pace, rate=10, seconds=30, began=now)
        assert 12.5 <= (rate_of(pace, now) or 0) <= 24
        assert now - began < 51
        now = answers(pace, rate=2000, seconds=10, began=now)
        assert rate_of(pace, now) == 1000

    @pytest.mark.parametrize("ceiling", [None, 1000.0])
    def test_noise_takes_nothing(self, ceiling: float | None) -> None:
        """After one refusal alone, the rate doubles; refusals as rare as it don't lower it."""
        pace = Pace(rate=ceiling)
        now = answers(pace, rate=100, seconds=2, began=0.0)
        end(pace, Sign.THROTTLED, now)
        for second in range(20):
            now = answers(pace, rate=200, seconds=1, began=now + 0.01)
            if second:
                end(pace, Sign.THROTTLED, now)
        assert (rate_of(pace, now) or 0) >= 200

        for _ in range(40):  # a limit
            end(pace, Sign.THROTTLED, now)
        assert rate_of(pace, now) == pytest.approx(180, rel=0.1)

    def test_a_trial_that_failed_is_not_repeated_soon(self) -> None:
        """Where more calls a second are refused in excess, a refusal within 10 s lowers the rate."""
        pace = Pace()
        now = answers(pace, rate=100, seconds=2, began=0.0)
        end(pace, Sign.THROTTLED, now)
        now = answers(pace, rate=100, seconds=1, began=now + 0.01)
        for _ in range(10):
            end(pace, Sign.THROTTLED, now)
        now = answers(pace, rate=90, seconds=9, began=now + 0.01)
        end(pace, Sign.THROTTLED, now)
        now = answers(pace, rate=80, seconds=1, began=now + 0.01)

        assert (rate_of(pace, now) or 0) < 100

    @pytest.mark.parametrize("asked", [None, 50.0])
    def test_a_window_is_found(self, asked: float | None) -> None:
        """A burst that is refused for long gives the window, its limit, and a slow growth."""
        pace = Pace()
        now = answers(pace, rate=300, seconds=2, began=0.0)
        end(pace, Sign.THROTTLED, now, asked=asked)
        if asked is None:
            for second in range(3, 60, 3):
                end(pace, Sign.THROTTLED, float(second))
        end(pace, Sign.ANSWERED, 60.0)

        seen = pace.snapshot(60.0)
        assert seen.window == pytest.approx(60, abs=0.5)
        assert seen.found == pytest.approx(10, rel=0.01)
        assert seen.rate == pytest.approx(9, rel=0.01)
        assert 9.5 < (rate_of(pace, 120.0) or 0) <= 10
        assert sum(pace.enter(120.0, Lane.BATCH) for _ in range(200)) == 1
        assert sum(pace.enter(120.0) for _ in range(200)) >= 55
        assert not pace.enter(120.0, Lane.BATCH)

    def test_a_window_stays(self) -> None:
        """A refusal of seconds after many windows at a steady rate changes no window."""
        pace = Pace()
        pace.resume(10.0, 20.0, 0.0)
        now = answers(pace, rate=9, seconds=200, began=0.0)
        end(pace, Sign.THROTTLED, now)
        end(pace, Sign.ANSWERED, now + 4)

        seen = pace.snapshot(now + 4)
        assert seen.window == 20
        assert seen.found == pytest.approx(9, rel=0.05)

    def test_a_window_that_others_used_up_says_nothing(self) -> None:
        """Where nothing was accepted before a long refusal, its end is no limit of nothing."""
        pace = Pace()
        end(pace, Sign.THROTTLED, 10.0)
        end(pace, Sign.ANSWERED, 60.0)

        assert pace.snapshot(60.0).window is None
        assert rate_of(pace, 60.0) == 10

    def test_what_was_found_is_taken_up(self) -> None:
        """A pace starts with a limit that was found before, unless it has learnt one, or has less."""
        pace, taught, less = Pace(), Pace(), Pace(rate=5)
        end(taught, Sign.THROTTLED, 5.0)
        before = taught.snapshot(10.0)
        for one in (pace, taught, less):
            one.resume(10.0, 60.0, 10.0)

        seen = pace.snapshot(10.0)
        assert (seen.found, seen.window, seen.rate) == (10.0, 60.0, 9.0)
        assert taught.snapshot(10.0) == before
        assert rate_of(less, 10.0) == 5

    @pytest.mark.parametrize(
        ("headers", "ceiling", "pause"),
        [
            (HeaderLimit(600, 300, 30, 60), 10.0, None),
            (HeaderLimit(600, 300, 60), 10.0, None),
            (HeaderLimit(600, 1, 30, 60), 10.0, None),
            (HeaderLimit(600, 0, 30, 60), 10.0, 30.0),
            (HeaderLimit(600, 0, 2, 60), 10.0, None),
            (HeaderLimit(600, 0, 3, 60), 10.0, 3.0),
            (HeaderLimit(9, 5, 3), 3.0, None),
            (HeaderLimit(9, 5, 2.9), None, None),
            (HeaderLimit(300, 5, 300), 1.0, None),
            (HeaderLimit(301, 0, 301), None, None),
        ],
    )
    def test_a_limit_in_headers(
        self, headers: HeaderLimit, ceiling: float | None, pause: float | None
    ) -> None:
        """Headers tell a rate; with no call left all calls wait for the next window."""
        learner = AdaptiveRate(inf)
        assert learner.learn_headers(100.0, headers) == (pause is not None)
        assert learner.ceiling == ceiling
        assert max(0.0, learner.starts_at - 100.0) == (pause or 0.0)
        assert learner.throttled_seconds(101.0) == (1.0 if pause else 0.0)
        assert learner.throttled_seconds(999.0) == (pause or 0.0)

    @pytest.mark.parametrize("found", [5.0, 20.0])
    def test_the_lower_of_two_limits_is_the_ceiling(self, found: float) -> None:
        """A limit that was found and a limit that headers tell are both kept to."""
        learner = AdaptiveRate(100.0)
        assert learner.ceiling is None
        learner.resume(0.0, found, 0.0)
        learner.learn_headers(0.0, HeaderLimit(600, 300, 30, 60))
        assert learner.ceiling == min(found, 10.0)

    def test_the_last_calls_of_a_window_are_interactive(self) -> None:
        """A tenth of the calls of the rest of a window is reserved; a tenth of a second goes ahead."""
        learner = AdaptiveRate(inf)
        assert not learner.is_reserved(0.0, 10**6)
        assert learner.interactive_burst(10.0) == pytest.approx(1.0)
        learner.learn_headers(0.0, HeaderLimit(600, 300, 30, 60))
        assert not learner.is_reserved(0.0, 269)
        assert learner.is_reserved(0.0, 270)
        assert not learner.is_reserved(30.0, 10**6)
        assert learner.interactive_burst(10.0) == pytest.approx(60.0)

    def test_the_longer_a_refusal_lasts_the_later_is_the_next_probe(self) -> None:
        """A refused probe delays the next by a part of the time so far; other refusals don't."""
        learner = AdaptiveRate(inf)
        now = accept(100.0, 3.0, learner)
        assert learner.count_refusal(now, now - 0.05, None)
        assert learner.starts_at == pytest.approx(now + 0.1)
        assert not learner.count_refusal(now + 0.05, now - 0.05, None)
        assert learner.starts_at == pytest.approx(now + 0.1)
        assert learner.count_refusal(now + 10.0, now + 9.9, None)
        assert learner.starts_at == pytest.approx(now + 10.6)

        assert learner.count_answer(now + 11.0, now + 10.9)
        assert not learner.count_refusal(now + 11.1, now + 10.9, None)
        assert not learner.is_refused
        assert learner.count_refusal(now + 11.2, now + 10.9, 5.0)
        assert (learner.is_refused, learner.starts_at) == (False, pytest.approx(now + 16.2))

    def test_a_probe_that_ends_without_an_answer_waits_for_the_pause(self) -> None:
        """The next probe starts at once, unless the service has asked for a pause."""
        for asked, start in ((None, 2.0), (10.0, 10.0)):
            learner = AdaptiveRate(inf)
            now = accept(100.0, 3.0, learner)
            learner.count_refusal(now, now - 0.05, asked)
            learner.begin_probe(now + 1.5)
            assert not learner.end_probe(now + 1.9, now - 0.05)
            assert learner.end_probe(now + 2.0, now + 1.5)
            assert learner.starts_at == pytest.approx(now + start)

    def test_the_rest_of_a_window_is_spread(self) -> None:
        """Few calls that are left go at a rate of their own, until the window is nearly over."""
        learner = AdaptiveRate(inf)
        learner.learn_headers(0.0, HeaderLimit(600, 6, 30, 60))
        rates = [learner.rate(now) for now in (0.0, 15.0, 27.0, 27.5, 31.0)]
        assert rates == pytest.approx([0.2, 0.4, 2.0, 9.7, 9.7])

    def test_a_forgotten_limit_bounds_no_limit_of_headers(self) -> None:
        """After a limit was forgotten the limit that headers tell is the only one."""
        learner = AdaptiveRate(inf)
        learner.resume(0.0, 5.0, 60.0)
        assert learner.rate(1.0) == pytest.approx(4.5, abs=0.5)
        assert learner.rate(400.0) is None
        learner.learn_headers(400.0, HeaderLimit(300, 300, 3))
        assert (learner.rate(400.0), learner.ceiling) == (pytest.approx(97.0), 100.0)

    def test_a_part_of_a_curve(self) -> None:
        """Each of four processes grows from a quarter to a quarter, as fast as the whole."""
        assert CURVE.part(4) == CURVE._replace(bottom=9 / 4, top=10 / 4)

    @pytest.mark.parametrize("seconds", [0.5, 10.0, 30.0, 52.0])
    @pytest.mark.parametrize("refused", [0.5, 2.0])
    @pytest.mark.parametrize("overloads", [1, 2])
    def test_another_learner_goes_on(self, overloads: int, refused: float, seconds: float) -> None:
        """A learner that follows another has the same rate at once, and the same growth later."""
        first, second = AdaptiveRate(1e9), AdaptiveRate(1e9)
        now = 0.0
        for _ in range(overloads):
            now = accept(now, 10.0, first)
            first.count_refusal(now, now - 0.01, None)
            now += refused
            first.count_answer(now, now - 0.01)
            assert first.rate(now)
        assert first.is_doubling == (first.curve(now) or CURVE).is_doubling
        assert second.curve(now) is None
        now = accept(now, seconds, first)
        rate, curve = first.rate(now), first.curve(now)
        assert rate
        assert curve
        second.follow(now, rate, curve, first.length)
        assert (second.rate(now), second.ceiling) == (rate, first.ceiling)
        for _ in range(20):
            now = accept(now, 1.0, first, second)
            assert second.rate(now) == pytest.approx(first.rate(now), rel=0.02)

    @pytest.mark.parametrize(("window", "ceiling"), [(0.0, 9.0), (60.0, 10.0)])
    def test_another_learner_goes_on_with_a_refusal(self, window: float, ceiling: float) -> None:
        """A refusal period goes on until a probe is accepted; the ceiling of the curve stays."""
        learner = AdaptiveRate(1e9)
        learner.follow(100.0, 9.0, CURVE, window, refused=True)
        assert learner.is_refused
        assert learner.count_answer(100.1, 99.9) is False
        learner.count_refusal(103.0, 102.9, None)
        assert learner.count_answer(104.0, 103.9) is True
        assert not learner.is_refused
        assert learner.ceiling == 10
        assert learner.rate(104.0) == 9
        learner.count_refusal(104.5, 104.4, None)
        learner.count_answer(140.0, 139.0)

        assert learner.ceiling == ceiling
        assert 6 < (learner.rate(140.0) or 0) <= 9

    def test_a_failed_trial_leaves_the_rate_before(self) -> None:
        """The refusals of a trial keep few calls accepted: that says nothing about the limit."""
        learner = AdaptiveRate(1e9)
        now = accept(0.0, 20.0, learner)
        learner.count_refusal(now, now - 0.01, None)
        learner.count_answer(now + 0.2, now + 0.1)
        before = learner.rate(now + 0.2)
        now = accept(now + 1.5, 0.2, learner)
        assert learner.is_doubling
        while not learner.is_refused:
            learner.count_refusal(now, now - 0.01, None)

        assert before == pytest.approx(90, rel=0.02)
        assert learner.ceiling == pytest.approx(100, rel=0.02)
        assert learner.rate(now) == pytest.approx(90, rel=0.02)

    @pytest.mark.parametrize("idle", [None, 280.0])
    def test_a_refusal_at_the_start_says_little(self, idle: float | None) -> None:
        """The first calls, or the first for long, bunch: a declared rate is soon back then."""
        pace = Pace(rate=57)
        began = 0.0
        if idle is not None:
            began = answers(pace, rate=1, seconds=1, began=0.0) + idle
        answers(pace, rate=13, seconds=1, began=began)
        end(pace, Sign.THROTTLED, began + 1.0)
        end(pace, Sign.ANSWERED, began + 1.5)
        assert rate_of(pace, began + 1.5) == pytest.approx(11.7, rel=0.1)
        answers(pace, rate=30, seconds=3, began=began + 1.5)

        assert rate_of(pace, began + 4.5) == 57

    def test_it_never_falls_to_nothing(self) -> None:
        """Where next to nothing is accepted it is a call in 20 s, and half of a ceiling below that."""
        for pace, least in ((Pace(), 0.05), (Pace(rate=100), 0.05), (Pace(rate=0.04), 0.02)):
            for minute in range(40):
                end(pace, Sign.ANSWERED, minute * 700.0)
                end(pace, Sign.THROTTLED, minute * 700.0 + 0.1)
                end(pace, Sign.THROTTLED, minute * 700.0 + 200)
            assert rate_of(pace, minute * 700.0 + 200) in (least, 10.0)

    @pytest.mark.parametrize("ceiling", [None, 98.0])
    def test_it_forgets(self, ceiling: float | None) -> None:
        """After five minutes in which there was no 429, and nobody had to wait, it is forgotten."""
        pace = Pace(rate=ceiling)
        now = answers(pace, rate=100, seconds=3, began=0.0)
        for _ in range(2):
            end(pace, Sign.THROTTLED, now)
        end(pace, Sign.ANSWERED, now + 1)
        while pace.enter(now + 2):
            pace.leave()
        learnt = rate_of(pace, now + 2)
        assert learnt
        assert learnt != ceiling

        assert rate_of(pace, now + 301) == pytest.approx(max(learnt, ceiling or 0), rel=0.2)
        assert [pace.enter(now + 303) for _ in range(20)] == [True] * (9 if ceiling else 20) + [
            False
        ] * (11 if ceiling else 0)
        assert rate_of(pace, now + 304) == ceiling
        assert pace.snapshot(now + 304).found is None

    def test_what_calls_wait_for_is_not_forgotten(self) -> None:
        """A limit stays known while, every five minutes, a call waits because of the rate."""
        pace = Pace()
        now = answers(pace, rate=10, seconds=3, began=0.0)
        end(pace, Sign.THROTTLED, now)
        end(pace, Sign.ANSWERED, now + 1)
        for _ in range(3):
            now += 250
            assert not all(pace.enter(now) for _ in range(100))

        assert rate_of(pace, now + 250) is not None
        assert rate_of(pace, now + 301) is None

    @pytest.mark.parametrize(("found", "wait"), [(0.05, 1.0), (0.5, 1 / 0.45)])
    def test_a_wait_for_a_rate_that_doubles_is_short(self, found: float, wait: float) -> None:
        """A call that waits asks again after a second where the rate doubles, else at its time."""
        pace = Pace()
        pace.resume(found, 0.0, 10.0)
        assert pace.enter(10.0, Lane.BATCH)
        waiter = Waiter(lambda: None, Lane.BATCH)
        pace.join(waiter)

        assert pace.ask(waiter, 10.0) == pytest.approx(wait)

    def test_a_pause_has_an_end(self) -> None:
        """No ``Retry-After`` makes anybody wait for more than five minutes."""
        pace = Pace()
        end(pace, Sign.THROTTLED, 10.0, asked=1e9)

        assert pace.snapshot().paused == 300
        assert pace.snapshot(310.0).paused == 0
        assert pace.snapshot(400.0).throttled_seconds == 300

    def test_pauses_that_overlap_are_one(self) -> None:
        """The longest counts, and each second of it once."""
        pace = Pace()
        for now, asked in ((10.0, 5.0), (11.0, 1.0), (12.0, 6.0), (30.0, 1.0)):
            end(pace, Sign.THROTTLED, now, asked=asked)

        assert pace.snapshot(14.0).paused == 17.0
        assert pace.snapshot(40.0).throttled_seconds == 9.0

    def test_what_is_used_is_seen(self) -> None:
        """The share of the rate that was accepted in the last seconds, None without a rate."""
        pace = Pace(rate=40)
        now = answers(pace, rate=10, seconds=8, began=0.0)

        assert pace.snapshot(now).used == pytest.approx(0.25, rel=0.15)
        assert pace.snapshot(now).ceiling == 40
        assert pace.snapshot(now + 60).used == 0
        assert pace.snapshot(answers(pace, rate=80, seconds=8, began=now)).used == 1
        assert Pace().snapshot(0.0).used is None


class TestLoad:
    """The bound on a batch's calls in flight."""

    def test_a_failure_halves_a_batch_once(self) -> None:
        """Failures of the same time count once; answers bring the batch back to the former number."""
        pace = Pace()
        assert all(pace.enter(0.0, Lane.BATCH) for _ in range(20))
        for _ in range(5):
            pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=1.0, began=0.0)

        assert pace.snapshot().batch_places == 10
        assert not pace.enter(1.0, Lane.BATCH)
        assert pace.enter(1.0)
        for _ in range(100):
            end(pace, Sign.ANSWERED, 2.0, lane=Lane.INTERACTIVE)
        assert pace.snapshot().batch_places == 10
        for _ in range(100):
            pace.leave(lane=Lane.BATCH, now=2.0, began=1.5)
            pace._start(Lane.BATCH)
        assert pace.snapshot().batch_places == pytest.approx(17, abs=1)
        for _ in range(100):
            pace.leave(lane=Lane.BATCH, now=2.0, began=1.5)
            pace._start(Lane.BATCH)
        assert pace.snapshot().batch_places is None

    def test_a_failure_that_says_when_holds_batches_until_then(self) -> None:
        """After a 503 with ``Retry-After: 7`` no batch starts for 7 s; others do."""
        pace = Pace()
        end(pace, Sign.FAILED, 100.0, lane=Lane.INTERACTIVE, asked=7.0)

        assert not pace.enter(106.9, Lane.BATCH)
        assert pace.enter(106.9)
        assert pace.enter(107.0, Lane.BATCH)

    def test_a_call_that_was_cancelled_says_nothing(self) -> None:
        """A cancelled call, and a call without a time, teach nothing."""
        pace = Pace()
        before = pace.snapshot(50.0)
        for _ in range(50):
            pace._start(Lane.BATCH)
            pace.leave(sign=Sign.NOTHING, lane=Lane.BATCH, now=50.0, began=0.0)
            pace._start(Lane.BATCH)
            pace.leave(sign=Sign.FAILED, lane=Lane.BATCH)

        assert pace.snapshot(50.0) == before


class TestHold:
    """A batch while the service is gone."""

    def failing(self, times: int = 10) -> Pace:
        """Return a pace that has seen so many failures, at 100.0."""
        pace = Pace()
        for _ in range(times):
            end(pace, Sign.FAILED, 100.0)
        return pace

    @pytest.mark.parametrize("between", [Sign.ANSWERED, Sign.THROTTLED])
    def test_ten_failures_in_a_row_begin_it(self, between: Sign) -> None:
        """Any answer among them ends the row."""
        pace = self.failing(9)
        end(pace, between, 100.0)
        end(pace, Sign.FAILED, 100.0)
        assert not pace.held

        for _ in range(9):
            assert not pace.held
            end(pace, Sign.FAILED, 101.0, lane=Lane.INTERACTIVE)
        assert pace.held

    def test_probes_go_one_at_a_time_and_ever_later(self) -> None:
        """The next one is let go 0.5, 1, 2 ... 30 s after the one before has failed."""
        pace = self.failing()
        now = 100.0
        waits: list[float] = []
        for _ in range(9):
            waiter = Waiter(lambda: None, Lane.BATCH)
            pace.join(waiter)
            wait = pace.ask(waiter, now)
            assert wait
            assert pace.enter(now)  # for a person nothing is held
            now += wait
            waits.append(wait)
            assert pace.ask(waiter, now) == 0
            assert not pace.enter(now + 60, Lane.BATCH)
            pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=now, began=now)

        assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_only_a_failed_probe_delays_the_next(self) -> None:
        """The failure of an interactive call, or of one begun before the probe's time, delays none."""
        pace = self.failing()
        end(pace, Sign.FAILED, 101.0, lane=Lane.INTERACTIVE)
        pace._start(Lane.BATCH)
        pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=101.0, began=99.0)

        assert pace.enter(101.0, Lane.BATCH)

    def test_a_second_outage_begins_anew(self) -> None:
        """Probes go after 0.5 s and 1 s again, and the seconds of both outages are held seconds."""
        pace = self.failing()
        for now in (101.0, 103.0, 106.0):
            end(pace, Sign.FAILED, now)
        end(pace, Sign.ANSWERED, 110.0)
        for _ in range(10):
            end(pace, Sign.FAILED, 120.0)

        assert not pace.enter(120.4, Lane.BATCH)
        assert pace.enter(120.5, Lane.BATCH)
        pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=120.5, began=120.5)
        assert pace.snapshot(121.0).held_seconds == 11
        assert pace.enter(121.5, Lane.BATCH)

    def test_the_first_answer_ends_it(self) -> None:
        """An answer in any lane wakes a batch that waits, and the lane begins with single calls."""
        woken: list[str] = []
        pace = self.failing()
        batch = Waiter(lambda: woken.append("batch"), Lane.BATCH)
        pace.join(batch)
        assert pace.ask(batch, 100.0) == 0.5
        end(pace, Sign.THROTTLED, 100.2, lane=Lane.INTERACTIVE)
        assert pace.held

        end(pace, Sign.ANSWERED, 103.0, lane=Lane.INTERACTIVE)

        assert not pace.held
        assert woken[0] == "batch"
        assert pace.ask(batch, 103.5) == 0.0
        assert pace.snapshot().batch_places == 1
        assert pace.snapshot(200.0).held_seconds == 3.0

    def test_without_second_tries_left_it_begins(self) -> None:
        """20 in hand, half a one back for an answer, 50 at most; with none, 3 failures hold batches."""
        pace = Pace()
        assert [pace.may_retry() for _ in range(21)] == [True] * 20 + [False]
        assert not pace.held
        now = answers(pace, rate=10, seconds=1, began=1.0)
        assert pace.snapshot().budget == 5
        for _ in range(3):
            end(pace, Sign.FAILED, now)
        assert not pace.held
        assert [pace.may_retry() for _ in range(6)] == [True] * 5 + [False]
        assert pace.held
        end(pace, Sign.ANSWERED, now)
        assert not pace.held
        for _ in range(3):
            assert not pace.held
            end(pace, Sign.FAILED, now + 1)
        assert pace.held
        answers(pace, rate=100, seconds=10, began=now + 2)
        assert pace.snapshot().budget == 50

    def test_the_last_retry_left_begins_nothing(self) -> None:
        """While a retry is left, three failures hold no batch; with none left the next failure does."""
        pace = Pace()
        assert all(pace.may_retry() for _ in range(19))
        for _ in range(3):
            end(pace, Sign.FAILED, 1.0)
        assert pace.may_retry()
        assert not pace.held
        end(pace, Sign.FAILED, 1.0)
        assert pace.held

    def test_a_500_holds_nothing(self) -> None:
        """A 500, which may tell of the request alone, begins no outage; a batch has fewer places."""
        pace = Pace()
        for _ in range(30):
            end(pace, Sign.ERRED, 1.0)

        assert not pace.held
        assert pace.snapshot().batch_places == 2

    def test_who_ran_out_of_tries_may_begin_it(self) -> None:
        """Where the last ends were all failures, at least as many as there were tries."""
        pace = self.failing(4)

        assert not pace.hold_if_gone(5, 100.0)
        assert not pace.held
        assert pace.hold_if_gone(4, 100.0)
        assert pace.hold_if_gone(50, 100.0)
        assert pace.held

    @pytest.mark.parametrize("idle", [100.0, 500.0, 1000.0])
    def test_refusals_that_are_far_apart_are_no_waiting(self, idle: float) -> None:
        """The seconds of refusals alone (429) count anew after minutes in which nobody called."""
        pace = Pace(max_outage=60)
        end(pace, Sign.THROTTLED, 100.0)
        assert not pace.gave_up
        end(pace, Sign.THROTTLED, 100.0 + idle)
        assert pace.gave_up == (idle < 600)

    def test_there_is_an_end_to_waiting(self) -> None:
        """After *max_outage* without any answer `gave_up` says so; batches go one at a time, at once."""
        pace = Pace(max_outage=60)
        for _ in range(10):
            end(pace, Sign.FAILED, 100.0)
        assert not pace.gave_up
        pace.hold_if_gone(1, 159.0)
        assert not pace.gave_up
        pace.hold_if_gone(1, 160.0)
        assert pace.gave_up
        assert pace.held
        for _ in range(3):
            assert pace.enter(161.0, Lane.BATCH)
            assert not pace.enter(161.0, Lane.BATCH)
            pace.leave(sign=Sign.FAILED, lane=Lane.BATCH, now=161.0, began=161.0)
        assert pace.enter(161.0, Lane.BATCH)

        pace.leave(sign=Sign.THROTTLED, lane=Lane.BATCH, now=162.0, began=161.0)
        assert not pace.gave_up

    @pytest.mark.parametrize("seconds", [-1, float("nan")])
    def test_an_outage_that_cannot_be_is_refused(self, seconds: float) -> None:
        """A *max_outage* below 0 is a `ValueError` that names it."""
        with pytest.raises(ValueError, match=r"^Pace\(max_outage=.*seconds, 0 or more"):
            Pace(max_outage=seconds)
