"""Many items: one outcome each, flat memory, order where it is asked for, nothing left behind."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.backends import on_both, virtual_on_both
from support.sends import echo
from support.size import sized
from support.virtual import sleep, virtual, virtual_on_trio

from sunshine_async import (
    BasicAuth,
    ConnectionLostError,
    Fault,
    NotFoundError,
    Pace,
    ServerError,
    SunshineClient,
    SunshineError,
    bulk,
)
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.sunshine import UserCreateBody, UserUpdateBody
from sunshine_async.testing import ScriptedTransport

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


async def counted(count: int) -> AsyncIterator[int]:
    """Give the numbers below *count*, a moment apart."""
    for number in range(count):
        await anyio.lowlevel.checkpoint()
        yield number


def kinds(outcomes: list[Outcome[Any, Any]]) -> list[str]:
    """Return what the outcomes are."""
    return [type(outcome).__name__ for outcome in outcomes]


@on_both
@pytest.mark.parametrize("source", [range, counted])
@pytest.mark.parametrize("concurrency", [1, 3, 64, "auto"])
async def test_every_item_has_one_outcome(source: Any, concurrency: Any) -> None:
    """Each item of an iterable, or an async one, is an outcome with its index and its value."""
    seen: list[Outcome[int, int]] = []
    async with bulk.run(echo, source(100), concurrency=concurrency) as outcomes:
        seen += [outcome async for outcome in outcomes]
    assert sorted(seen, key=lambda one: one.index) == [Done(n, n, n) for n in range(100)]


async def test_an_error_is_its_items_outcome() -> None:
    """A certain failure is `Failed`, an uncertain one is `Unknown`, and the other items go on."""

    async def send(number: int) -> int:
        if number == 1:
            raise NotFoundError(404, endpoint="GET /x")
        if number == 2:
            fault = Fault.LOST
            raise ConnectionLostError(fault, fault=fault, endpoint="POST /x", maybe_applied=True)
        if number == 3:
            raise ValueError(number)
        if number == 4:
            raise TimeoutError
        return number

    outcomes = await bulk.collect(send, range(6))

    assert kinds(outcomes) == ["Done", "Failed", "Unknown", "Failed", "Unknown", "Done"]
    assert isinstance(outcomes[1], Failed)
    assert isinstance(outcomes[1].error, NotFoundError)
    assert isinstance(outcomes[2], Unknown)
    assert isinstance(outcomes[2].error, SunshineError)
    assert outcomes[2].error.maybe_applied


@virtual_on_both
async def test_no_item_is_taken_before_a_worker_is_free() -> None:
    """No more items are taken than workers wait or have an outcome that nobody received."""
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken = number + 1
            yield number

    received = 0
    async with bulk.run(echo, items(), concurrency=8) as outcomes:
        await anyio.wait_all_tasks_blocked()
        assert taken == 8
        async for _ in outcomes:
            received += 1
            assert taken <= received + 8
            if received % 100 == 0:
                await anyio.wait_all_tasks_blocked()
                assert taken <= received + 8
    assert received == 1000


@on_both
async def test_ordered_outcomes_come_in_the_order_of_the_items() -> None:
    """With *ordered*, a slow item holds back those after it, and no more than are under way."""

    async def send(number: int) -> int:
        for _ in range(7 - number % 7):
            await anyio.lowlevel.checkpoint()
        return number

    async with bulk.run(send, counted(200), concurrency=16, ordered=True) as outcomes:
        assert [outcome.index async for outcome in outcomes] == list(range(200))


@virtual_on_both
async def test_items_without_a_key_go_at_once() -> None:
    """None is no key that items have in common: no item waits for another."""

    async def send(_: int) -> None:
        await sleep(10)

    async with bulk.run(send, range(5), concurrency=5, key=lambda _: None) as outcomes:
        assert sorted([outcome.index async for outcome in outcomes]) == [*range(5)]
    assert anyio.current_time() < 20


@BACKENDS
@given(keys=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=40), seed=st.integers(0, 99))
def test_items_with_one_key_go_one_after_another(
    backend: str, keys: list[str | None], seed: int
) -> None:
    """Items with equal keys never overlap and go in input order; others are not held up."""
    luck = random.Random(seed)
    under_way: list[str] = []
    order: dict[str, list[int]] = {}

    async def send(item: tuple[int, str | None]) -> None:
        index, key = item
        if key is not None:
            assert key not in under_way
            under_way.append(key)
            order.setdefault(key, []).append(index)
        for _ in range(luck.randrange(4)):
            await anyio.lowlevel.checkpoint()
        if key is not None:
            under_way.remove(key)
        if luck.random() < 0.2:
            raise LookupError(index)

    async def scenario() -> None:
        items = list(enumerate(keys))
        outcomes = await bulk.collect(send, items, concurrency=5, key=lambda item: item[1])
        assert [outcome.index for outcome in outcomes] == list(range(len(items)))
        assert set(kinds(outcomes)) <= {"Done", "Unknown"}
        assert not any(
            isinstance(one, Unknown) and isinstance(one.error, AssertionError) for one in outcomes
        )

    anyio.run(scenario, backend=backend)
    assert all(indexes == sorted(indexes) for indexes in order.values())


@on_both
@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("concurrency", [1, 9, "auto"])
@pytest.mark.parametrize("source", [range, counted])
async def test_calls_alone(source: Any, concurrency: Any, *, stops: bool) -> None:
    """While *alone* returns True a single call is under way; a stop at an outcome starts no other."""
    running, most = 0, [0] * 100

    async def send(number: int) -> None:
        nonlocal running
        running += 1
        most[number] = running
        await anyio.lowlevel.checkpoint()
        running -= 1

    received: list[int] = []
    async with bulk.run(
        send, source(100), concurrency=concurrency, alone=lambda: len(received) < 5
    ) as outcomes:
        async for outcome in outcomes:
            received.append(outcome.index)
            if stops and len(received) == 5:
                outcomes.stop()
    assert received[:5] == [*range(5)]
    assert len(received) == (5 if stops else 100)

    assert most[:5] == [1] * 5
    if not stops and concurrency != 1:
        assert max(most) > 1


@on_both
@pytest.mark.parametrize("source", [range, counted])
async def test_stopping_takes_no_more(source: Any) -> None:
    """After `stop` no item is taken; what was under way still has its outcome."""
    seen = 0
    async with bulk.run(echo, source(1000), concurrency=4) as outcomes:
        async for _ in outcomes:
            seen += 1
            if seen == 10:
                outcomes.stop()
    assert 10 <= seen <= 14


@on_both
async def test_stopping_does_not_wait_for_a_slow_source() -> None:
    """A source that never gives its next item doesn't hold up the end of a stopped run."""

    async def stuck() -> AsyncIterator[int]:
        yield 1
        await anyio.sleep_forever()

    async with bulk.run(echo, stuck(), concurrency=4) as outcomes:
        async for outcome in outcomes:
            assert outcome.index == 0
            outcomes.stop()


@on_both
@pytest.mark.parametrize("in_async", [False, True])
async def test_an_error_of_the_items_comes_out_as_itself(*, in_async: bool) -> None:
    """An exception of the iterable ends the stream, after the outcomes of all items taken."""

    def items() -> Iterator[int]:
        yield from range(5)
        message = "line 6 is no good"
        raise LookupError(message)

    async def in_pieces() -> AsyncIterator[int]:
        for item in items():
            yield item

    seen: list[int] = []

    async def read() -> None:
        source = in_pieces() if in_async else items()
        async with bulk.run(echo, source, concurrency=3) as outcomes:
            async for outcome in outcomes:
                seen.append(outcome.index)  # noqa: PERF401 - the error would lose a list

    with pytest.raises(LookupError, match="line 6"):
        await read()
    assert sorted(seen) == list(range(5))


@virtual_on_both
@pytest.mark.parametrize("error", [KeyError("x"), ExceptionGroup("own", [ValueError("x")])])
async def test_an_error_of_the_block_comes_out_as_itself(error: Exception) -> None:
    """The caller's own error is not wrapped, and what was under way is cancelled."""
    cancelled = 0

    async def send(number: int) -> int:
        nonlocal cancelled
        if number:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled += 1
        return number

    async def read() -> None:
        async with bulk.run(send, range(10), concurrency=4) as outcomes:
            async for _ in outcomes:
                await anyio.wait_all_tasks_blocked()
                raise error

    with pytest.raises(type(error)) as caught:
        await read()
    assert caught.value is error
    assert cancelled == 4


@on_both
async def test_leaving_early_takes_nothing_more() -> None:
    """Breaking out of the loop ends the run, and leaves the rest of the items untouched."""
    items = iter(range(1000))

    async with bulk.run(echo, items, concurrency=4) as outcomes:
        async for _ in outcomes:
            break
    assert next(items) < 20


@virtual
async def test_collect_keeps_the_order_of_the_items() -> None:
    """`collect` gives the list in input order, whatever finished first."""

    async def send(number: int) -> int:
        await sleep(0 if number % 2 else 0.001)
        return number

    assert [one.index for one in await bulk.collect(send, counted(20))] == list(range(20))


@pytest.mark.parametrize("concurrency", [0, -1])
async def test_a_run_without_workers_is_refused(concurrency: int) -> None:
    """A concurrency below 1 is a `ValueError` that says so."""
    with pytest.raises(ValueError, match="concurrency="):
        await bulk.collect(echo, [1], concurrency=concurrency)


async def at_once(items: int, seconds: float, error: Exception | None = None) -> list[int]:
    """Run so many that each take so long; return how many were under way with each of them."""
    under_way = 0
    seen: list[int] = []

    async def send(number: int) -> None:
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        await sleep(seconds)
        under_way -= 1
        if error is not None and number >= items // 2:
            raise error

    async with bulk.run(send, range(items), concurrency="auto", ordered=True) as outcomes:
        assert [outcome.index async for outcome in outcomes] == list(range(items))
    assert under_way == 0
    return seen


class TestAuto:
    """``concurrency="auto"``."""

    @virtual_on_trio
    async def test_it_grows_while_more_get_done(self) -> None:
        """It begins with 4, and goes up to 256 where calls take no longer for it."""
        seen = await at_once(sized(6000, 4000), 0.1)
        assert max(seen[:16]) == 4
        assert max(seen) == 256

    @virtual_on_trio
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("error", "fewest"),
        [
            (
                ConnectionLostError(
                    "x", fault=Fault.LOST, endpoint="GET /x", attempts=1, maybe_applied=False
                ),
                1,
            ),
            (ServerError(503, endpoint="GET /x"), 1),
            (TimeoutError(), 1),
            (NotFoundError(404, endpoint="GET /x"), 200),
        ],
        ids=repr,
    )
    async def test_failures_make_it_fewer(self, error: Exception, fewest: int) -> None:
        """Errors that overload may cause lower the number, down to 1; a refusal by the service doesn't."""
        seen = await at_once(8000, 0.1, error)
        assert fewest <= max(seen[-100:])
        assert fewest > 1 or max(seen[-100:]) == 1

    @virtual_on_both
    async def test_it_takes_no_more_than_it_works_on(self) -> None:
        """Items are taken only as outcomes are: memory stays flat."""
        taken = 0

        def items() -> Iterator[int]:
            nonlocal taken
            for number in range(3000):
                taken += 1
                yield number

        received = 0
        async with bulk.run(echo, items(), concurrency="auto") as outcomes:
            await anyio.wait_all_tasks_blocked()
            assert taken == 4
            async for _ in outcomes:
                received += 1
                assert taken <= received + 256
        assert received == 3000


@pytest.mark.slow
@BACKENDS
def test_cancelling_leaks_nothing(backend: str) -> None:
    """A bulk run cancelled at any moment, 200 times: no task or permit is left, and calls work."""
    luck = random.Random(1)
    under_way = 0

    class Slow(ScriptedTransport):
        async def handle_async_request(self, request: Any) -> Any:
            nonlocal under_way
            under_way += 1
            try:
                for _ in range(luck.randrange(6)):
                    await anyio.lowlevel.checkpoint()
                return await super().handle_async_request(request)
            finally:
                under_way -= 1

    async def scenario() -> None:
        pace = Pace(max_in_flight=5)
        answers = ((201, {"user": {"id": "1"}}) for _ in iter(int, 1))
        auth = BasicAuth("key-id", "secret")
        client = SunshineClient("app", auth=auth, transport=Slow(answers), pace=pace)
        bodies = [UserCreateBody(external_id=str(n % 7)) for n in range(50)]

        for _ in range(sized(200, 15)):
            moment = luck.randrange(120)
            async with anyio.create_task_group() as tasks:

                async def job() -> None:
                    async with client.users.create_many(bodies, concurrency=8) as outcomes:
                        async for _ in outcomes:
                            pass

                tasks.start_soon(job)
                for _ in range(moment):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert under_way == 0
            assert (pace._in_flight, pace._queue.count) == (0, 0)
            assert (await client.users.get("1")).id == "1"

    anyio.run(scenario, backend=backend)


class TestMany:
    """`create_many` and its kin."""

    async def test_each_calls_its_operation(self) -> None:
        """Bodies, (id, body) pairs and ids each go through the operation of the same name."""
        answers = (
            [(201, {"user": {"id": "1"}})] * 2 + [(200, {"user": {"id": "1"}})] * 2 + [200, 404]
        )
        transport = ScriptedTransport(answers)  # type: ignore[arg-type]
        users = SunshineClient("app", auth=BasicAuth("k", "s"), transport=transport).users
        seen: list[str] = []

        for run in (
            users.create_many([UserCreateBody(), UserCreateBody()], ordered=True),
            users.update_many([("a", UserUpdateBody()), ("b", UserUpdateBody())], ordered=True),
            users.delete_many(["a", ""], ordered=True),
        ):
            async with run as outcomes:
                seen += kinds([outcome async for outcome in outcomes])

        assert seen == ["Done"] * 4 + ["Done", "Failed"]
        assert [request.method for request in transport.requests] == ["POST"] * 2 + [
            "PATCH"
        ] * 2 + ["DELETE"]

    async def test_one_user_is_never_in_two_calls_at_once(self) -> None:
        """Rows for the same external id, or the same id, go one after another."""
        under_way: set[bytes] = set()

        class Watches(ScriptedTransport):
            async def handle_async_request(self, request: Any) -> Any:
                mark = request.content or request.url.raw_path
                assert mark not in under_way
                under_way.add(mark)
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
                under_way.remove(mark)
                return await super().handle_async_request(request)

        transport = Watches([(200, {"user": {"id": "1"}})] * 60)
        users = SunshineClient("app", auth=BasicAuth("k", "s"), transport=transport).users
        same = [UserCreateBody(external_id="jane-1")] * 20

        for run in (
            users.create_many(same),
            users.upsert_many(same),
            users.update_many([("jane-1", UserUpdateBody())] * 20),
        ):
            async with run as outcomes:
                assert set(kinds([outcome async for outcome in outcomes])) == {"Done"}


def test_an_outcome_shows_no_personal_data() -> None:
    """The ``repr`` of an outcome has the index and the error, not the item."""
    shown = repr(Failed(3, ("jane@example.org", UserUpdateBody()), ValueError("x")))

    assert shown == "Failed(index=3, error=ValueError('x'))"
