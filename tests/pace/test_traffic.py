"""Traffic under a pace: simulated callers and a service, in virtual time."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random
from statistics import mean

import pytest
from support.size import sized, some
from support.traffic import Caller, Server, World, callers, usual

from sunshine_async import Lane, Pace

pytestmark = [pytest.mark.costly, pytest.mark.slow]

RETRY_AFTER = pytest.mark.parametrize("retry_after", [1.0, None], ids=["asked", "unasked"])


def used(server: Server, began: float, seconds: int) -> float:
    """Return the share of its rate that *server* let through in so many *seconds*."""
    first = int(began)
    let_through = sum(server.accepted[first + second] for second in range(seconds))
    return let_through / (server.rate * seconds)


def refused(server: Server) -> float:
    """Return the share of the requests that were answered 429."""
    return server.refused.total() / len(server.came)


def starts(several: Iterable[Caller]) -> list[float]:
    """Return when each attempt of all of them started."""
    return sorted(at for one in several for at in one.started)


def test_a_declared_ceiling_is_used_and_never_passed() -> None:
    """64 callers in 10 minutes use 99 % of 10/s and more, and none is over the limit."""
    world = World()
    server = Server(world, rate=10, burst=4)
    several = callers(64, Pace(rate=10, burst=4), server, way=lambda _: 0.025)

    world.run(600)

    assert server.refused.total() == 0
    assert sum(one.done for one in several) >= 0.99 * 6000


@RETRY_AFTER
@pytest.mark.parametrize(
    ("rate", "burst", "seed", "seconds"),
    [(200, 20, 1, 600), (200, 200, 2, 100), *((30, 6, seed, 600) for seed in (3, 4))],
)
def test_a_hidden_limit_is_found(
    retry_after: float | None, rate: float, burst: int, seed: int, seconds: int
) -> None:
    """Of a limit that nobody declared 90 % is used, and 1 % of the requests or less is refused."""
    world = World(seed)
    server = Server(world, rate=rate, burst=burst, retry_after=retry_after)
    callers(64, Pace(), server)
    began = world.now

    seconds = sized(seconds, seconds // 6)
    world.run(seconds)

    assert used(server, began, seconds) >= 0.9
    assert refused(server) <= 0.01


@RETRY_AFTER
def test_a_service_that_refuses_all_is_asked_seldom(retry_after: float | None) -> None:
    """Where every answer is 429 for 10 minutes, it gets a request in two seconds, or fewer."""
    world = World(5)
    server = Server(world, rate=1e-9, burst=1, retry_after=retry_after)
    callers(64, Pace(), server)

    world.run(600)

    assert len(server.came) <= 64 + 10 + 600 / 2


@RETRY_AFTER
@pytest.mark.parametrize("burst", [20, 200])
@pytest.mark.parametrize("lasts", [47, 63])
def test_a_limit_that_moves_is_found_again(
    retry_after: float | None, burst: int, lasts: int
) -> None:
    """A limit that drops to a quarter is found within 20 s, and within 60 s when it is back."""
    world = World(lasts)
    server = Server(world, rate=200, burst=burst, retry_after=retry_after)
    callers(64, Pace(), server)
    world.run(30)

    server.rate = 50
    dropped = world.now
    world.run(lasts)
    at_50 = used(server, dropped + 20, lasts - 20)
    server.rate = 200
    back = world.now
    world.run(85)

    assert 0.85 <= at_50 <= 1.15
    assert used(server, back + 60, 25) >= 0.85
    assert refused(server) <= 0.02


@RETRY_AFTER
@pytest.mark.parametrize("late", [0, 60])
@pytest.mark.parametrize("seed", range(3))
def test_processes_share_a_limit(retry_after: float | None, late: int, seed: int) -> None:
    """Three that know nothing of each other use 80 % of 10/s, each over half its fair share.

    That holds too where one of them had it all before. No more than 5 % is refused.
    """
    world = World(seed)
    server = Server(world, rate=10, burst=4, retry_after=retry_after)
    several = [callers(16, Pace(), server)]
    world.run(late)
    before, began = sum(one.done for one in several[0]), world.now
    several += [callers(16, Pace(), server) for _ in range(2)]

    world.run(600)

    done = [sum(one.done for one in group) for group in several]
    done[0] -= before
    assert used(server, began, 600) >= 0.8
    assert refused(server) <= 0.05
    assert min(done) >= 0.5 * sum(done) / 3


@RETRY_AFTER
def test_more_of_a_limit_is_shared(retry_after: float | None) -> None:
    """Three at 200/s, which is fast enough to look for noise, don't take each other for that."""
    world = World(0)
    server = Server(world, rate=200, burst=20, retry_after=retry_after)
    several = [callers(16, Pace(), server) for _ in range(3)]
    began = world.now

    world.run(100)

    done = [sum(one.done for one in group) for group in several]
    assert used(server, began, 100) >= 0.8
    assert refused(server) <= 0.02
    assert min(done) >= 0.2 * sum(done) / 3


@RETRY_AFTER
def test_callers_of_one_limit_seldom_take_each_other_for_noise(retry_after: float | None) -> None:
    """Of twelve starts of three at 200/s, 2 % of the requests or less are refused on average."""
    shares: list[float] = []
    for seed in range(sized(12, 1)):
        world = World(seed)
        server = Server(world, rate=200, burst=20, retry_after=retry_after)
        for _ in range(3):
            callers(16, Pace(), server)
        world.run(100)
        shares.append(refused(server))

    assert mean(shares) <= 0.02


def accepted(server: Server, began: float, first: int, last: int) -> float:
    """Return how many calls a second *server* let through in these seconds after it *began*."""
    return sum(server.accepted[int(began) + at] for at in range(first, last)) / (last - first)


def short(_: Random) -> float:
    """Return half of 5 ms."""
    return 0.0025


@pytest.mark.parametrize(
    ("count", "way", "full"), [(64, usual, 64 / 0.05), (12, short, 12 / 0.005)], ids=[64, 12]
)
@pytest.mark.parametrize(
    ("retry_after", "seeds"), [(None, range(12, 14)), (1.0, range(5))], ids=str
)
def test_refusals_at_random_take_nothing_from_the_rate(
    retry_after: float | None, seeds: range, count: int, way: Callable[[Random], float], full: float
) -> None:
    """Where 2 % are refused whatever the rate, 70 % of what could be is done after 20 s.

    With ``Retry-After: 1`` it is 60 % of what the pauses leave: 49 answers, and those that are
    under way, between two of them.
    """
    between = 49 + count
    bar = 0.7 * full if retry_after is None else 0.6 * between / (1 + between / full)
    for seed in some(seeds, 1):
        world = World(seed)
        server = Server(world, rate=1e9, burst=1e9, retry_after=retry_after, noise=0.02)
        callers(count, Pace(), server, way=way)
        began, last = world.now, 22 if retry_after is None else 60

        world.run(last)

        assert accepted(server, began, 20, last) >= bar


@pytest.mark.parametrize("seed", range(2))
def test_refusals_at_random_hide_no_limit(seed: int) -> None:
    """Of 200/s, with 2 % refused beside and ``Retry-After: 1``, 40 % of what pauses leave is used."""
    world = World(seed)
    server = Server(world, rate=200, burst=20, retry_after=1.0, noise=0.02)
    callers(64, Pace(), server)
    began = world.now

    world.run(150)

    assert accepted(server, began, 20, 150) >= 0.4 * 59 / (1 + 59 / 200)
    assert refused(server) <= 0.08


@RETRY_AFTER
def test_rare_refusals_at_random_take_nothing_from_the_rate(retry_after: float | None) -> None:
    """The same with one in 200, which comes often to who is fast: of eight starts in six, at least."""
    full, between = 64 / 0.05, 200 + 64
    bar = 0.7 * full if retry_after is None else 0.6 * between / (1 + between / full)
    found: list[float] = []
    seeds = range(sized(8, 4))
    for seed in seeds:
        world = World(seed)
        server = Server(world, rate=1e9, burst=1e9, retry_after=retry_after, noise=0.005)
        callers(64, Pace(), server)
        began = world.now
        world.run(40)
        found.append(accepted(server, began, 20, 40))

    assert sum(one >= bar for one in found) >= 0.75 * len(seeds)


def test_what_seemed_noise_may_become_a_limit() -> None:
    """Once more than a tenth is refused, the rate is again below what is accepted."""
    world = World(0)
    server = Server(world, rate=1e9, burst=1e9, noise=0.02)
    pace = Pace()
    callers(64, pace, server)
    world.run(20)
    assert (pace.snapshot(world.now).rate or 2000) > 64 / 0.05

    server.rate, server.tokens, server.burst, server.noise = 200, 20, 20, 0.0
    limited = world.now
    world.run(40)

    assert (pace.snapshot(world.now).rate or 0) < 250
    assert accepted(server, limited, 20, 40) >= 0.8 * 200
    assert sum(server.refused[int(limited) + at] for at in range(2, 40)) <= 0.05 * 200 * 38


@pytest.mark.parametrize(
    ("bounds", "breath"), [({"rate": 10, "burst": 4, "max_in_flight": 64}, 0.0), ({}, 0.1)], ids=str
)
def test_a_person_goes_before_a_batch(bounds: dict[str, int], breath: float) -> None:
    """An interactive call that comes while 64 of a batch wait starts within one token's time.

    Where the limit is learnt, a fall of the rate may add a tenth of a second.
    """
    pace = Pace(**bounds)
    world = World(7)
    server = Server(world, rate=10, burst=4)
    batch = callers(64, pace, server, lane=Lane.BATCH)
    world.run(30)
    person = Caller(pace, server, left=200, rest=2.3)

    person.call()
    rates: list[float] = []
    while person.left or person.done < person.called:
        world.run(1)
        rates.append(pace.snapshot(world.now).rate or 0.0)

    assert sum(one.done for one in batch) > 0.8 * 10 * len(rates)
    waited = [min(at for at in person.started if at >= one) - one for one in person.asked]
    assert max(waited) <= 1 / min(rates) + breath + 1e-6


def test_a_batch_keeps_a_share() -> None:
    """Where persons want more than there is, every tenth start is still the batch's."""
    world = World(8)
    server = Server(world, rate=50, burst=10)
    pace = Pace(rate=50, burst=5)
    callers(64, pace, server)
    batch = callers(64, pace, server, lane=Lane.BATCH)

    world.run(60)

    assert sum(one.done for one in batch) == pytest.approx(0.1 * 3000, rel=0.05)


def test_an_outage_meets_no_storm() -> None:
    """While all is 503 for 10 minutes, interactive calls cost 1.1 requests each, or less."""
    world = World(9)
    server = Server(world, rate=1000, burst=1000, down=True)
    several = callers(64, Pace(), server, rest=1.0)

    world.run(600)

    assert sum(one.done for one in several) == 0
    assert len(server.came) <= 1.1 * sum(one.called for one in several)


@RETRY_AFTER
def test_a_batch_waits_for_the_end_of_an_outage(retry_after: float | None) -> None:
    """While all is 503 for 10 minutes, a batch sends one probe at a time, and no call fails.

    Once the service is back, the batch grows to what it was.
    """
    world = World(10)
    server = Server(world, rate=200, burst=200, down=True, retry_after=retry_after)
    pace = Pace()
    several = callers(16, pace, server, lane=Lane.BATCH, way=lambda _: 0.1)

    world.run(0.4)
    assert pace.held
    world.run(599.6)
    probes = server.came[16:]
    server.down = False
    world.run(50)

    assert len(probes) <= 30
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(probes))
    assert sum(one.failed for one in several) == 0
    assert not pace.held
    assert pace.snapshot().held_seconds == pytest.approx(600, abs=31)
    assert used(server, world.now - 10, 10) >= 0.35
    assert pace.snapshot().batch_places is None


def test_waiting_for_a_service_has_an_end() -> None:
    """After *max_outage* seconds without an answer calls fail, one after another."""
    world = World(11)
    server = Server(world, rate=1000, burst=1000, down=True)
    pace = Pace(max_outage=100)
    several = callers(8, pace, server, lane=Lane.BATCH)

    world.run(99)
    assert sum(one.failed for one in several) == 0
    assert len(server.came) <= 8 + 8 + 10
    world.run(100)

    assert sum(one.failed for one in several) > 50


@pytest.mark.parametrize("seed", range(3))
def test_one_pause_is_everybodys(seed: int) -> None:
    """After ``Retry-After: 30`` on one of 64 nobody sends for 30 s, and then none is over the limit."""
    world = World(seed)
    server = Server(world, rate=200, burst=20, retry_after=30.0)
    pace = Pace(rate=200, burst=10)
    several = callers(64, pace, server)
    world.run(10)

    server.refusals = 1
    world.run(1)
    [heard] = [at for one in several for at in one.refused]
    world.run(60)

    after = [at for at in starts(several) if at > heard]
    assert heard + 30 <= after[0] <= heard + 30.01
    assert all(later - earlier >= 1 / 200 - 1e-6 for earlier, later in pairwise(after[:100]))
    assert server.refused.total() == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_pause_of_all_that_were_refused_is_one(seed: int) -> None:
    """Where many of 64 are told to wait 30 s, they all wait once, and then begin slowly."""
    world = World(seed)
    server = Server(world, rate=200, burst=20, retry_after=30.0)
    several = callers(64, Pace(), server)

    world.run(31)
    heard = [at for one in several for at in one.refused]
    after = [at for at in starts(several) if at > min(heard)]

    assert 30 <= len(heard) <= 44
    assert max(heard) + 30 <= after[0] <= max(heard) + 30.1
    assert len(after) <= 40


def test_a_slower_service_is_no_overloaded_service() -> None:
    """Where answers take a hundred times as long, as many calls of a batch are under way."""
    world = World(12)
    server = Server(world, rate=1e9, burst=1e9)
    pace = Pace()
    batch = callers(64, pace, server, lane=Lane.BATCH, way=lambda _: 0.0025)
    world.run(5)

    for one in batch:
        one.way = lambda _: 0.25
    world.run(60)

    assert pace.snapshot().batch_places is None
    assert pace.snapshot().in_flight[Lane.BATCH] == 64


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [0.0005, 0.0025, 0.04, 0.5])
def test_noise_is_no_slowness(seed: int, most: float) -> None:
    """Answers that take between a fifth of a time and all of it lower nothing."""
    world = World(seed)
    server = Server(world, rate=1e9, burst=1e9)
    pace = Pace()
    callers(64, pace, server, lane=Lane.BATCH, way=lambda luck: luck.uniform(most / 5, most))

    for _ in range(20):
        world.run(min(0.1, most * 20))
        assert pace.snapshot().batch_places is None
