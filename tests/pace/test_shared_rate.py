"""A pace that shares its rate: leases in a thread, one pool, and life without the store."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread, current_thread

import pytest
from support.patience import PATIENCE
from support.virtual import until

from sunshine_async import (
    ApiToken,
    BasicAuth,
    BearerAuth,
    ConfigurationError,
    DixaClient,
    FileAllowance,
    Lane,
    Pace,
    SunshineClient,
)
from sunshine_async._http.fork import _renew_all
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.evidence import HeaderLimit
from sunshine_async._pace.lease import FORMAT, Lease, LeaseRequest, State, allocate
from sunshine_async._pace.rate import Curve
from sunshine_async._pace.shared import UNKNOWN_MEMBERS, Allowance, SharedRate
from sunshine_async._pace.waiting import CLOCK, acquire_slot
from sunshine_async.cli.services import ConnectionOptions
from sunshine_async.cli.services import pace as pace_of_options

BASIC = BasicAuth("key-id", "secret")
POOL = f"pace.{FORMAT}"
CURVE = {
    "bottom": 36.0,
    "top": 40.0,
    "is_doubling": False,
    "is_guess": False,
    "seconds": 0.0,
    "lasted": 0.0,
}


class Memory(Allowance):
    """A store in memory, with a clock of its own, that can be out of reach."""

    def __init__(self) -> None:
        self.pools: dict[str, State] = {}
        self.is_lost = False
        self.leases = 0
        self.entered = Event()
        self.go_on = Event()
        self.go_on.set()

    def lease(self, key: str, make: Callable[[float], LeaseRequest]) -> Lease:
        """Return a lease, or raise an error."""
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        if self.is_lost:
            raise ConnectionResetError
        self.leases += 1
        now = time.monotonic() + 1e6
        return allocate(self.pools.setdefault(key, {}), make(now), now)


async def start(pace: Pace, lane: Lane = Lane.INTERACTIVE) -> float:
    """Start a call; return the time of the start."""
    async with asyncio.timeout(PATIENCE):
        await acquire_slot(pace, CLOCK, lane)
    return CLOCK.now()


async def call(pace: Pace, sign: Sign = Sign.ANSWERED, lane: Lane = Lane.INTERACTIVE) -> None:
    """Make a call that ends in *sign*."""
    began = await start(pace, lane)
    pace.leave(sign=sign, lane=lane, now=CLOCK.now(), began=began)


def rate_of(pace: Pace) -> SharedRate:
    """Return the shared rate of *pace*."""
    assert pace.shared_rate is not None
    return pace.shared_rate


async def test_paces_of_a_store_share_the_rate(still_clock: None) -> None:
    """Two paces get the tokens of one bucket, in both lanes."""
    store = Memory()
    first, second = (Pace(rate=0.001, burst=4, shared=store) for _ in range(2))
    for pace in (first, second):
        await call(pace)
        await call(pace, lane=Lane.BATCH)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await acquire_slot(second, CLOCK)
    assert store.pools[POOL]["tokens"] < 1
    assert first.snapshot().rate == 0.001


async def test_an_interactive_call_takes_a_token_of_a_batch() -> None:
    """A token that was leased for a batch goes to the interactive call that comes meanwhile."""
    pace = Pace(rate=0.001, burst=1, shared=Memory())
    await start(pace, Lane.BATCH)
    rate_of(pace)._stock = [0, 1]
    rate_of(pace)._stock_until = CLOCK.now() + 10

    assert pace.enter(CLOCK.now())
    assert not pace.enter(CLOCK.now(), Lane.BATCH)


async def test_a_stock_that_is_old_is_no_use() -> None:
    """Tokens of a process that was stopped for a while have expired."""
    pace = Pace(rate=0.001, burst=1, shared=Memory())
    await start(pace)
    rate_of(pace)._stock = [5, 5]
    rate_of(pace)._stock_until = CLOCK.now()

    assert not pace.enter(CLOCK.now())


async def test_a_refusal_pauses_all_paces_of_a_store() -> None:
    """After a 429 with ``Retry-After`` no pace starts a call; the pool is one generation on."""
    store = Memory()
    first, second = (Pace(rate=100, shared=store) for _ in range(2))
    await call(first)
    await call(second)
    began = await start(first)
    first.leave(sign=Sign.THROTTLED, now=CLOCK.now(), began=began, asked=30.0)
    await until(lambda: store.pools[POOL]["generation"] == 1)
    await until(lambda: rate_of(second)._generation == 1)

    assert first.snapshot(CLOCK.now()).paused == pytest.approx(30, abs=5)
    assert not first.enter(CLOCK.now())
    assert not second.enter(CLOCK.now())
    assert rate_of(second).starts_at > CLOCK.now() + 10


async def test_paces_learn_a_rate_together() -> None:
    """Without a rate all go, until a 429 at one pace teaches a rate to all paces of the store."""
    store = Memory()
    first, second = (Pace(shared=store) for _ in range(2))
    for _ in range(20):
        await call(first)
        await call(second)
    assert (first.snapshot().rate, first.snapshot().found) == (None, None)
    await call(second, Sign.THROTTLED)
    await call(second)
    await until(lambda: store.pools[POOL]["rate"] is not None)
    await call(first)
    await until(lambda: first.snapshot().found is not None)

    assert first.snapshot().rate is not None


async def test_a_refusal_period_ends_without_the_holder_that_heard_of_it() -> None:
    """A holder that knows no refusal, or takes the refusal for noise, ends the refusal period."""
    store = Memory()
    pace = Pace(rate=1000, burst=100, shared=store)
    await call(pace)
    store.pools[POOL]["refused"] = True
    await until(lambda: not store.pools[POOL]["refused"])

    await call(pace)


async def test_a_refusal_in_the_middle_of_a_lease_stops_the_lease() -> None:
    """The tokens of a lease that was asked before a 429 aren't used after the 429."""
    store = Memory()
    pace = Pace(rate=1000, burst=100, shared=store)
    began = await start(pace)
    store.go_on.clear()
    store.entered.clear()
    rate_of(pace)._event.set()
    await asyncio.to_thread(store.entered.wait, 10)
    pace.leave(sign=Sign.THROTTLED, now=CLOCK.now(), began=began)
    leases = store.leases
    store.go_on.set()
    await until(lambda: store.leases > leases)

    assert rate_of(pace)._stock == [0, 0]


async def test_without_the_store_a_pace_goes_on_with_its_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A lost store is told once; calls go on, at the part of the rate; the return is told."""
    store = Memory()
    paces = [Pace(rate=40, shared=store) for _ in range(4)]
    for pace in paces:
        await call(pace)
    pace = paces[0]
    await call(pace)
    await until(lambda: rate_of(pace)._members == 4)
    store.is_lost = True
    with caplog.at_level(logging.WARNING, "sunshine_async"):
        await until(lambda: rate_of(pace)._alone is not None)
        await until(lambda: pace.snapshot().rate == 10)
        await call(pace)
        store.is_lost = False
        rate_of(pace)._store_at = 0.0
        await call(pace)
        await until(lambda: rate_of(pace)._alone is None)

    said = [record.message for record in caplog.records]
    assert all("(ConnectionResetError)" in one for one in said if "can't be used" in one)
    assert any("this process goes on with 1/4 of the rate" in one for one in said)
    assert len(said) <= 2 * len(paces)
    assert any("is back" in one for one in said)


@pytest.mark.parametrize("rate", [None, 100.0])
async def test_a_store_that_was_never_there(rate: float | None) -> None:
    """A pool of unknown size counts as four members; without a rate the process learns alone."""
    store = Memory()
    store.is_lost = True
    pace = Pace(rate=rate, shared=store)
    await call(pace)
    await until(lambda: rate_of(pace)._alone is not None)
    await call(pace)

    assert pace.snapshot().rate == (None if rate is None else rate / UNKNOWN_MEMBERS)
    rate_of(pace)._store_at = 0.0
    await call(pace)
    await call(pace)


async def test_a_store_that_is_away_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning has the path of the file, for a reader who has misspelt a folder."""
    allowance = FileAllowance(tmp_path / "missing" / "pace")
    pace = Pace(shared=allowance)
    with caplog.at_level(logging.WARNING, "sunshine_async"):
        await call(pace)
        await until(lambda: rate_of(pace)._alone is not None)

    [said] = [record.getMessage() for record in caplog.records]
    assert f"shared pace, {allowance!r}, can't be used (FileNotFoundError): check the path" in said


async def test_a_lost_store_leaves_what_was_learnt() -> None:
    """Alone, a pace goes on with a part of the learnt rate."""
    store = Memory()
    pace, _ = Pace(shared=store), None
    await call(pace)
    pool = store.pools[POOL]
    pool.update(rate=36.0, curve=CURVE, holder="another", held_at=pool["at"] + PATIENCE)
    rate_of(pace)._event.set()
    await until(lambda: rate_of(pace).ceiling == 40)
    rate_of(pace)._members = 4
    store.is_lost = True
    rate_of(pace)._event.set()
    await until(lambda: rate_of(pace)._alone is not None)
    await until(lambda: (pace.snapshot().rate or 36) < 36)

    assert pace.snapshot().rate == pytest.approx(9, abs=1)


async def learnt_pool(store: Memory) -> Pace:
    """Return a pace that holds the pool of *store*, with a learnt rate that doubles at 40."""
    pace = Pace(shared=store)
    await call(pace)
    pool = store.pools[POOL]
    curve = {**CURVE, "top": 6.0, "bottom": 40.0, "is_doubling": True}
    pool.update(rate=40.0, curve=curve, holder="another", held_at=pool["at"] + PATIENCE)
    rate_of(pace)._event.set()
    await until(lambda: rate_of(pace).ceiling == 6)
    return pace


@pytest.mark.slow
async def test_a_new_holder_goes_on_with_the_rate_of_the_pool() -> None:
    """Where the holder is lost, the next holder doesn't fall back to the ceiling found before."""
    store = Memory()
    pace = await learnt_pool(store)
    pool = store.pools[POOL]
    pool["held_at"] = -1e9
    await until(lambda: pool["holder"] != "another")
    async with asyncio.timeout(PATIENCE):
        while pool["rate"] == 40:
            await call(pace)

    assert pool["rate"] > 40
    assert pool["curve"]["top"] == 6
    assert pace.snapshot().found == 6


@pytest.mark.slow
@pytest.mark.parametrize("is_empty", [False, True])
async def test_a_store_that_is_back_gets_the_rate_of_the_pool(*, is_empty: bool) -> None:
    """The lesson of a process alone, with a part of the rate, isn't taught to the pool."""
    store = Memory()
    pace = await learnt_pool(store)
    rate_of(pace)._members = 4
    store.is_lost = True
    await until(lambda: rate_of(pace)._alone is not None)
    await until(lambda: (pace.snapshot().rate or 40) < 40)
    assert (pace.snapshot().rate or 0) >= 10
    if is_empty:
        store.pools.clear()
    store.is_lost = False
    rate_of(pace)._store_at = 0.0
    rate_of(pace)._event.set()
    await until(lambda: rate_of(pace)._alone is None)
    await until(lambda: store.pools[POOL]["rate"] is not None)

    assert store.pools[POOL]["rate"] >= 40
    assert store.pools[POOL]["curve"]["top"] == 6


async def test_a_new_holder_goes_on_with_a_refusal() -> None:
    """A refusal period of the pool lasts until a probe is accepted, whoever holds the pool."""
    store = Memory()
    pace = await learnt_pool(store)
    pool = store.pools[POOL]
    pool.update(refused=True, starts_at=pool["at"] + 1e3, held_at=-1e9)
    await until(lambda: pool["holder"] != "another" and rate_of(pace)._learner is not None)
    leases = store.leases
    rate_of(pace)._event.set()
    await until(lambda: store.leases > leases + 2)
    assert pool["refused"]
    pool["starts_at"] = pool["at"]
    async with asyncio.timeout(PATIENCE):
        while pool["refused"]:
            await call(pace)

    assert pool["rate"] >= 36


async def test_a_lesson_that_does_not_reach_the_store_counts() -> None:
    """A store that is lost right after the first refusal leaves a process with the lesson."""
    store = Memory()
    pace = Pace(shared=store)
    for _ in range(20):
        await call(pace)
    began = await start(pace)
    store.go_on.clear()
    pace.leave(sign=Sign.THROTTLED, now=CLOCK.now(), began=began, asked=30.0)
    store.go_on.set()
    await until(lambda: rate_of(pace)._found is not None)
    store.is_lost = True
    rate_of(pace)._event.set()
    await until(lambda: rate_of(pace)._alone is not None)

    assert pace.snapshot().found is not None
    assert not pace.enter(CLOCK.now())
    assert rate_of(pace).starts_at > CLOCK.now() + 10


def test_a_state_of_another_shape_has_another_name() -> None:
    """The state of a pool is read by other processes: a new field needs a new `FORMAT`."""
    request = LeaseRequest(
        member="one", rate=None, burst=1.0, interactive=0, batch=0, generation=0, reports=()
    )
    state: State = {}
    allocate(state, request, 0.0)

    assert FORMAT == 2
    assert sorted(state) == [
        "at", "curve", "generation", "held_at", "holder", "members", "passed", "rate", "refused",
        "reports", "reserve", "starts_at", "tokens", "window",
    ]  # fmt: skip
    assert set(CURVE) == set(Curve._fields)


async def test_an_idle_thread_ends_and_begins_again() -> None:
    """A process that makes no call asks for no lease; the next call begins again."""
    store = Memory()
    pace = Pace(rate=1000, burst=100, shared=store)
    await call(pace)
    thread = rate_of(pace)._thread
    assert thread is not None
    rate_of(pace)._asked_at = -1e9
    rate_of(pace)._event.set()
    await asyncio.to_thread(thread.join, 10)
    assert rate_of(pace)._thread is None

    await call(pace)
    assert not thread.is_alive()


async def test_the_thread_ends_with_the_pace() -> None:
    """A pace that nobody has keeps no thread, as of a client for each request of a web app."""
    pace = Pace(rate=1000, burst=100, shared=Memory())
    await call(pace)
    thread = rate_of(pace)._thread
    assert thread is not None

    del pace
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_the_pool_hears_of_the_last_call_of_a_pace() -> None:
    """A pace that is given up after a 429 leaves the refusal, and what the holder learns from it."""
    store = Memory()
    pace = Pace(shared=store)
    for _ in range(20):
        await call(pace)
    began = await start(pace)
    thread = rate_of(pace)._thread
    assert thread is not None
    store.go_on.clear()
    store.entered.clear()
    rate_of(pace)._event.set()
    await asyncio.to_thread(store.entered.wait, 10)
    pace.leave(sign=Sign.THROTTLED, now=CLOCK.now(), began=began, asked=30.0)
    del pace
    store.go_on.set()
    await asyncio.to_thread(thread.join, 10)

    assert store.pools[POOL]["generation"] == 1
    assert store.pools[POOL]["rate"] is not None


async def test_a_call_waits_for_a_thread_that_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a thread no call starts, and no call fails; the next call tries again."""
    pace = Pace(rate=1000, burst=100, shared=Memory())

    def refuse(_: Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        assert not pace.enter(CLOCK.now())
    await call(pace)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_ends_in_an_error_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected exception in the thread leaves no later call waiting."""
    pace = Pace(rate=1000, burst=100, shared=Memory())
    ended: list[Thread] = []

    def fail(_: object, now: float) -> tuple[int, int]:
        ended.append(current_thread())
        raise MemoryError(now)

    with monkeypatch.context() as patch:
        patch.setattr(rate_of(pace), "_demand", fail)
        rate_of(pace)._nudge(CLOCK.now(), is_urgent=True)
        await until(lambda: bool(ended))
        await asyncio.to_thread(ended[0].join, 10)
    await call(pace)
    thread = rate_of(pace)._thread
    assert thread is not None
    assert thread.is_alive()


async def test_a_child_process_is_a_member_of_its_own() -> None:
    """After a fork the pace has a new name, no tokens, and a new thread at the first call."""
    store = Memory()
    pace = Pace(rate=1000, burst=100, shared=store)
    await call(pace)
    _renew_all()
    await call(pace)

    assert len(store.pools[POOL]["members"]) == 2


async def test_the_pool_knows_what_a_member_does_not() -> None:
    """Headers, earlier runs and cancelled calls teach a member nothing: the pool's holder learns."""
    pace = Pace(rate=1000, burst=100, shared=Memory())
    began = await start(pace)
    pace.tell(HeaderLimit(limit=10, remaining=0, reset=60, length=60), CLOCK.now())
    pace.resume(1.0, 10.0, CLOCK.now())
    pace.leave(sign=Sign.NOTHING, now=CLOCK.now(), began=began)
    await call(pace, lane=Lane.BATCH)

    assert pace.snapshot().rate == 1000


def test_clients_name_the_pool_by_their_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is a hash, the same in every process, of the credentials and the base URL."""
    monkeypatch.setenv("SUNSHINE_PACE", f"file:{tmp_path}/pace")
    client = SunshineClient("app", auth=BASIC, base_url="https://one.example.org")
    key = rate_of(client.pace).key
    again = Pace(rate=5, shared=FileAllowance(tmp_path / "pace"))
    for url in ("https://one.example.org", "https://two.example.org"):
        SunshineClient("app", auth=BASIC, base_url=url, pace=again)
    other = SunshineClient("app", auth=BASIC, base_url="https://three.example.org")

    assert rate_of(again).key == key
    assert rate_of(other.pace).key != key
    assert "key-id" not in key
    dixa = DixaClient(auth=ApiToken("shared-token"))
    assert (dixa.pace.rate, dixa.pace.burst) == (10, 2)
    assert dixa.pace.shared_rate is not None


async def test_a_function_of_tokens_names_no_pool() -> None:
    """Processes can't know each other's tokens: the store alone names the pool."""

    async def token() -> str:
        return "token"

    pace = Pace(rate=1, shared=Memory())
    SunshineClient("app", auth=BearerAuth(token), base_url="https://five.example.org", pace=pace)

    assert rate_of(pace).key == "pace"


def test_the_environment_must_make_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address in the environment is a `ConfigurationError`, as any wrong setting is."""
    monkeypatch.setenv("SUNSHINE_PACE", "somewhere")

    with pytest.raises(ConfigurationError, match="SUNSHINE_PACE"):
        SunshineClient("app", auth=BASIC, base_url="https://four.example.org")


def test_the_command_line_shares_a_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--pace`` and ``SUNSHINE_PACE`` share the rate of ``--rate``, or the service's."""
    address = f"file:{tmp_path}/pace"
    given = pace_of_options(ConnectionOptions(pace=address), 10)
    assert given is not None
    assert (given.rate, rate_of(given).key) == (10, "pace")
    monkeypatch.setenv("SUNSHINE_PACE", address)
    rated = pace_of_options(ConnectionOptions(rate=3))
    assert rated is not None
    assert (rated.rate, rate_of(rated).key) == (3, "pace")
    assert pace_of_options(ConnectionOptions()) is None
