"""Items in batches: how many, which never together, and one outcome for each, whatever happens."""

import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import on_both, virtual_on_both
from support.size import sized
from support.virtual import sleep, virtual_on_trio

from sunshine_async import Pace, SunshineError
from sunshine_async.auth import ApiToken
from sunshine_async.bulk import Done, Failed, Outcomes, Unknown
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.dixa import CreateEndUserInput, DixaClient
from sunshine_async.emulator import Emulator

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
Item = tuple[int, str]


@define
class Recorder:
    """Takes down what is sent, and how much of it at once."""

    batches: list[list[Item]] = field(factory=list[list[Item]])
    under_way: Counter[str] = field(factory=Counter[str])
    clashes: int = 0
    fails: Exception | None = None

    async def send(self, items: Sequence[Item]) -> list[Any]:
        """Give the number of each item, after a while."""
        self.batches.append([*items])
        keys = {key for _, each in items for key in each}
        self.clashes += bool(keys & self.under_way.keys()) or len(keys) < sum(
            len(each) for _, each in items
        )
        self.under_way.update(keys)
        await anyio.lowlevel.checkpoint()
        for key in keys:
            del self.under_way[key]
        if self.fails is not None:
            raise self.fails
        return [ValueError(number) if "!" in each else number for number, each in items]


def size(item: Item) -> int:
    """Return what a test says; an item with a ``?`` can't be sent."""
    if "?" in item[1]:
        message = "it can't be sent"
        raise ValueError(message)
    return 10


def run(
    sender: Recorder,
    items: Any,
    *,
    batch_size: int = 3,
    max_bytes: int = 1000,
    linger: float = 0.2,
    concurrency: int = 2,
    ordered: bool = False,
    keys: Callable[[Item], Sequence[Hashable]] = lambda item: item[1],
) -> AbstractAsyncContextManager[Outcomes[Item, int]]:
    """Run *items* through *sender*; the letters of an item are its keys."""
    limits = Limits(batch_size, max_bytes, linger, concurrency)
    return batches.run(Sender(size, keys, sender.send), items, limits, ordered=ordered)


async def ends(stream: AbstractAsyncContextManager[Outcomes[Item, int]]) -> list[Any]:
    """Return all outcomes, as they come."""
    async with stream as outcomes:
        return [outcome async for outcome in outcomes]


def numbers(sender: Recorder) -> list[list[int]]:
    """Return the numbers of what was sent, a list a batch."""
    return [[number for number, _ in batch] for batch in sender.batches]


async def with_waits(items: Sequence[Item], *waits: float) -> AsyncIterator[Item]:
    """Give *items*, each after its wait."""
    for item, wait in zip(items, waits, strict=True):
        await sleep(wait)
        yield item


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"concurrency": 0}, {"linger": -1.0}, {"linger": float("nan")}]
)
async def test_what_cannot_work_is_refused(wrong: Any) -> None:
    """A number that can't work is a `ValueError` that names it."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        run(Recorder(), [], **wrong)


@on_both
async def test_batches_are_as_large_as_they_may_be() -> None:
    """Items go out in batches of the size asked for, in their order; each has its outcome."""
    sender = Recorder()
    outcomes = await ends(run(sender, [(n, "") for n in range(8)]))

    assert numbers(sender) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert sorted((one.index, one.value) for one in outcomes) == [(n, n) for n in range(8)]


async def test_batches_keep_to_their_bytes() -> None:
    """A batch is never larger than it may be, and what is larger alone fails alone."""
    sender = Recorder()
    fitting = run(sender, [(n, "") for n in range(4)], batch_size=9, max_bytes=11 + 2 * 11)
    assert len(await ends(fitting)) == 4
    assert numbers(sender) == [[0, 1], [2, 3]]

    [outcome] = await ends(run(sender, [(0, "")], max_bytes=20))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ValueError)
    assert len(sender.batches) == 2


async def test_a_bad_item_fails_alone() -> None:
    """An item that can't be sent fails by itself; the others of its batch are sent."""
    sender = Recorder()
    outcomes = await ends(run(sender, [(0, "?"), (1, ""), (2, "!"), (3, "?")]))

    kinds = {outcome.index: type(outcome) for outcome in outcomes}
    assert kinds == {0: Failed, 1: Done, 2: Failed, 3: Failed}
    assert numbers(sender) == [[1, 2]]


async def test_only_bad_items_are_no_request() -> None:
    """A batch of which nothing can be sent is no request."""
    sender = Recorder()

    outcomes = await ends(run(sender, [(n, "?") for n in range(4)]))

    assert [type(one) for one in outcomes] == [Failed] * 4
    assert sender.batches == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("x"), Unknown),
        (TimeoutError("x"), Unknown),
        (SunshineError("x"), Failed),
        (SunshineError("x", maybe_applied=True), Unknown),
    ],
)
async def test_what_breaks_a_batch_is_the_outcome_of_its_items(
    error: Exception, kind: type[Any]
) -> None:
    """An exception of the sending is what all items of the batch ended in."""
    outcomes = await ends(run(Recorder(fails=error), [(0, ""), (1, "")]))

    assert [(type(one), one.error) for one in outcomes] == [(kind, error)] * 2


async def test_items_that_share_a_key_go_one_after_another() -> None:
    """They are never in one batch; what comes after them may overtake, not what shares a key."""
    sender = Recorder()

    await ends(run(sender, [(0, "a"), (1, "a"), (2, "ab"), (3, "b"), (4, "c")], batch_size=4))

    assert numbers(sender) == [[0, 4], [1], [2], [3]]
    assert sender.clashes == 0


@BACKENDS
@given(
    keys=st.lists(
        st.text("abc", max_size=2).map(lambda text: "".join(sorted({*text}))), max_size=14
    ),
    batch_size=st.integers(1, 4),
    concurrency=st.integers(1, 3),
    ordered=st.booleans(),
)
@settings(max_examples=sized(40, 5))
def test_every_item_has_one_outcome(
    backend: str, keys: list[str], batch_size: int, concurrency: int, *, ordered: bool
) -> None:
    """One outcome each; equal keys in the order of the input, and never two at once."""

    async def scenario() -> None:
        sender = Recorder()
        options: Any = {"batch_size": batch_size, "concurrency": concurrency, "ordered": ordered}
        outcomes = await ends(run(sender, [*enumerate(keys)], **options))

        indexes = [outcome.index for outcome in outcomes]
        assert (indexes if ordered else sorted(indexes)) == [*range(len(keys))]
        assert sender.clashes == 0
        sent = [number for batch in numbers(sender) for number in batch]
        for key in "abc":
            mine = [number for number in sent if key in keys[number]]
            assert mine == sorted(mine)

    anyio.run(scenario, backend=backend)


class TestSlowSources:
    """A source that gives its items as they come."""

    @virtual_on_trio
    async def test_a_batch_goes_when_it_has_waited_enough(self) -> None:
        """A batch waits from its first item on, and no item is lost to the wait."""
        sender = Recorder()
        source = with_waits([(n, "") for n in range(5)], 9, 0.1, 0.05, 5, 0.1)
        outcomes = await ends(run(sender, source, batch_size=10))

        assert numbers(sender) == [[0, 1, 2], [3, 4]]
        assert len(outcomes) == 5

    @virtual_on_trio
    async def test_a_deferred_item_waits_no_longer(self) -> None:
        """An item whose key was in the batch before goes after the wait, though no item comes."""
        sender = Recorder()
        source = with_waits([(0, "a"), (1, "a"), (2, "")], 0, 0, 60)
        async with run(sender, source, linger=1) as outcomes:
            indexes = [(await anext(outcomes)).index for _ in range(2)]

            assert indexes == [0, 1]
            assert anyio.current_time() < 5
            assert [outcome.index async for outcome in outcomes] == [2]

    @virtual_on_trio
    async def test_an_item_after_a_pause_waits_for_no_other(self) -> None:
        """The item that comes after a batch has waited goes after the wait, though no item comes."""
        sender = Recorder()
        source = with_waits([(0, ""), (1, ""), (2, "")], 0, 60, 1000)
        async with run(sender, source, linger=1) as outcomes:
            for _ in range(2):
                await anext(outcomes)

            assert 60 <= anyio.current_time() < 65

    async def test_a_sync_source_is_not_waited_for_longer(self) -> None:
        """A batch from a source that took its time goes with what it has."""

        def source() -> Iterator[Item]:
            yield 0, ""
            until = anyio.current_time() + 0.002
            while anyio.current_time() < until:
                pass
            yield 1, ""
            yield 2, ""

        sender = Recorder()
        await ends(run(sender, source(), linger=0.001))

        assert numbers(sender) == [[0, 1], [2]]

    @virtual_on_trio
    async def test_stopping_sends_what_was_taken(self) -> None:
        """After a stop nothing more is taken, and all that was taken has its outcome."""
        sender = Recorder()
        source = with_waits([(n, "a" if n < 2 else "") for n in range(5)], 0, 0, 0.1, 99, 0)
        async with (
            run(sender, source, batch_size=10, linger=50) as outcomes,
            anyio.create_task_group() as tasks,
        ):

            async def stop() -> None:
                await sleep(1)
                outcomes.stop()

            tasks.start_soon(stop)
            indexes = [outcome.index async for outcome in outcomes]

        assert sorted(indexes) == [0, 1, 2]
        assert anyio.current_time() < 90

    async def test_stopping_a_sync_source(self) -> None:
        """A stop works for any source."""
        sender = Recorder()
        taken: list[int] = []

        def source() -> Iterator[Item]:
            for number in range(100):
                taken.append(number)
                yield number, ""

        async with run(sender, source(), concurrency=1) as outcomes:
            indexes = []
            async for outcome in outcomes:
                indexes.append(outcome.index)
                outcomes.stop()

        assert indexes == taken
        assert len(taken) < 10

    @pytest.mark.parametrize("asynchronous", [True, False])
    async def test_an_error_of_the_source_comes_last(self, *, asynchronous: bool) -> None:
        """An error of the source comes out as itself, after the outcomes of what was taken."""

        def source() -> Iterator[Item]:
            yield 0, ""
            yield 1, "a"
            yield 2, "a"
            raise KeyError("mine")  # noqa: EM101 - the point

        async def later() -> AsyncIterator[Item]:
            for item in source():
                yield item

        seen: list[int] = []

        async def read() -> None:
            async with run(Recorder(), later() if asynchronous else source()) as outcomes:
                async for outcome in outcomes:
                    seen.append(outcome.index)  # noqa: PERF401 - what came before counts

        with pytest.raises(KeyError, match="mine"):
            await read()
        assert sorted(seen) == [0, 1, 2]


class TestLeaving:
    """Promises that hold when the caller goes away."""

    @virtual_on_both
    async def test_an_error_of_the_block_is_itself(self) -> None:
        """An error of the block comes out as itself, and nothing is left running."""

        async def leave() -> None:
            source = with_waits([(0, ""), (1, "")], 0, 60)
            async with run(Recorder(), source, linger=0) as outcomes:
                await anext(outcomes)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await leave()

    @virtual_on_both
    async def test_cancelling_leaves_nothing(self) -> None:
        """A cancellation ends what is under way, the wait for the source too."""
        ended: list[str] = []

        async def source() -> AsyncIterator[Item]:
            yield 0, "a"
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("source")

        class Slow(Recorder):
            async def send(self, items: Sequence[Item]) -> list[Any]:
                try:
                    await anyio.sleep_forever()
                finally:
                    ended.append("sending")
                return [*items]

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ends, run(Slow(), source(), linger=0))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert sorted(ended) == ["sending", "source"]

    @on_both
    async def test_items_are_taken_as_outcomes_are(self) -> None:
        """No more is taken than what is under way, however long the source is."""
        taken: list[int] = []

        def source() -> Iterator[Item]:
            for number in range(10_000):
                taken.append(number)
                yield number, ""

        async with run(Recorder(), source(), batch_size=5, concurrency=2) as outcomes:
            for seen in range(1, 100):
                await anext(outcomes)
                assert len(taken) <= seen + 4 * 5


@pytest.mark.slow
async def test_a_large_run_takes_its_requests_and_no_memory() -> None:
    """100,000 creates are 1,000 requests and 100,000 outcomes, in the memory of a few batches."""
    users = sized(100_000, 5_000)
    emulator = Emulator()
    client = DixaClient(auth=ApiToken("t"), transport=emulator.transport(), pace=Pace())
    bodies = (CreateEndUserInput(email=f"{n}@example.org") for n in range(users))
    held: list[int] = []
    seen: Counter[type] = Counter()

    async with client.end_users.create_many(bodies, linger=60) as outcomes:
        async for outcome in outcomes:
            seen[type(outcome)] += 1
            if outcome.index % (users // 4) == users // 8:
                held.append(sum(isinstance(one, CreateEndUserInput) for one in gc.get_objects()))

    assert seen == {Done: users}
    assert emulator.requests == users // 100
    assert len(emulator.dixa) == users
    assert max(held) <= 2 * 8 * 100 + 100
