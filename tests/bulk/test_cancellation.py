"""Cancellations: the block's own passes; one that comes from other code is an item's outcome."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
from support.backends import on_both, virtual_on_both
from support.clients import dixa_on
from support.patience import PATIENCE
from support.virtual import virtual, virtual_on_trio
from test_outcomes import WAYS

from sunshine_async import (
    BearerAuth,
    Pace,
    Retry,
    ServerError,
    SunshineClient,
    bulk,
    jobs,
)
from sunshine_async.bulk import AbortedError, Done, Unknown
from sunshine_async.bulk.cancellation import background_tasks
from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SUNSHINE, Job, Mode, Row
from sunshine_async.jobs.outage import OutageWatch
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import no_waiting

BAD: Final = {3, 7}
GOOD: Final = {*range(12)} - BAD


async def of_a_task() -> None:
    """Await a task that other code has cancelled."""
    task = asyncio.ensure_future(anyio.sleep_forever())
    await asyncio.sleep(0)
    task.cancel()
    await task


async def of_a_scope_elsewhere() -> None:
    """Await a task that a cancel scope of its own, elsewhere, has cancelled."""

    async def work() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError as error:
                kept = error
        raise kept

    await asyncio.ensure_future(work())


async def of_the_worker() -> None:
    """Be cancelled by other code that got hold of the running task."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await anyio.sleep_forever()


async def of_the_worker_in_a_group() -> None:
    """Be cancelled by other code within a task group of the send."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(anyio.sleep_forever())
        await of_the_worker()


async def leaked() -> None:
    """Raise a cancellation outside the scope that it belongs to."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class() as error:
            kept = error
    raise kept


async def leaked_in_a_group() -> None:
    """Raise it in a group."""
    try:
        await leaked()
    except anyio.get_cancelled_exc_class() as error:
        both = [error, ValueError("x")]
        raise BaseExceptionGroup("both", both) from None  # noqa: EM101 - no sentence


FOREIGN: Final[list[tuple[str, Callable[[], Awaitable[None]]]]] = [
    ("asyncio", of_a_task),
    ("asyncio", of_a_scope_elsewhere),
    ("asyncio", of_the_worker),
    ("asyncio", of_the_worker_in_a_group),
    ("asyncio", leaked),
    ("asyncio", leaked_in_a_group),
    ("trio", leaked),
    ("trio", leaked_in_a_group),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("backend", "foreign"), FOREIGN, ids=lambda one: getattr(one, "__name__", one)
)
def test_a_foreign_cancellation_is_an_outcome(backend: str, foreign: Any, way: str) -> None:
    """The item is unknown, and all others have their outcomes; tasks go on as if nothing was."""
    run, options = WAYS[way]

    async def send(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        if item in BAD:
            await foreign()
        with anyio.move_on_after(60):  # which a count of cancellations left over would disturb
            await anyio.lowlevel.checkpoint()
        if backend == "asyncio":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(0))
            assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
        return item

    async def scenario() -> None:
        outcomes = await run(send, **options)
        assert {one.index for one in outcomes if isinstance(one, Done)} == GOOD
        unknown = [one for one in outcomes if isinstance(one, Unknown)]
        assert {one.index for one in unknown} == BAD
        assert all(isinstance(one.error, AbortedError) for one in unknown)
        assert len(outcomes) == 12

    anyio.run(scenario, backend=backend)


async def test_collect_has_every_outcome() -> None:
    """`collect` returns as many outcomes as there are items."""

    async def send(item: int) -> int:
        if item in BAD:
            await of_a_task()
        return item

    outcomes = await bulk.collect(send, range(12))
    assert [type(one) for one in outcomes] == [Unknown if n in BAD else Done for n in range(12)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_that_cancels_itself_and_returns(way: str) -> None:
    """A request to cancel that comes to nothing costs no outcome."""
    run, options = WAYS[way]

    async def send(item: int) -> int:
        if item in BAD:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
        return item

    outcomes = await run(send, **options)
    assert {one.index for one in outcomes if isinstance(one, Done)} == {*range(12)}


@pytest.mark.parametrize("way", WAYS)
async def test_all_tasks_but_the_reader_are_cancelled(way: str) -> None:
    """Other code that cancels the tasks of a run, wherever they wait, costs no outcome."""
    run, options = WAYS[way]
    me = asyncio.current_task()

    async def send(item: int) -> int:
        await anyio.lowlevel.checkpoint()
        return item

    async def spoil() -> None:
        await asyncio.sleep(0)  # so that they have begun
        while True:
            for task in asyncio.all_tasks() - {me, asyncio.current_task()}:
                task.cancel()
            for _ in range(3):
                await asyncio.sleep(0)

    spoiler = asyncio.ensure_future(spoil())
    try:
        outcomes = await run(send, **options)
    finally:
        spoiler.cancel()
    assert sorted(one.index for one in outcomes) == [*range(12)]
    assert {type(one) for one in outcomes} <= {Done, Unknown}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")  # such a task never runs
async def test_tasks_that_are_cancelled_before_they_begin() -> None:
    """Tasks of a run that other code cancels before their first step are an error of the run."""

    async def send(item: int) -> int:
        return item

    async def read() -> None:
        async with bulk.run(send, range(5)) as outcomes:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await anext(outcomes)

    with pytest.raises(AbortedError, match="cancelled by other code"):
        await read()
    gc.collect()


@on_both
async def test_an_error_of_a_task_that_is_cancelled() -> None:
    """An error that a task of a block raises as the block ends is raised as itself."""

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise LookupError

    async def leave() -> None:
        async with background_tasks() as tasks:
            tasks.start(work)
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()

    with pytest.raises(LookupError):
        await leave()


class TestOwn:
    """The block's own cancellation passes."""

    @pytest.mark.parametrize("way", WAYS)
    @virtual
    async def test_of_the_task(self, way: str) -> None:
        """Cancelling the task that has the block ends it, and its calls, as a cancellation."""
        run, options = WAYS[way]
        ended: list[int] = []
        task = asyncio.ensure_future(run(forever(ended), **options))
        await anyio.wait_all_tasks_blocked()

        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError, match="mine"):
            await task
        assert len(ended) == 4

    @pytest.mark.parametrize("way", WAYS)
    async def test_of_a_timeout(self, way: str) -> None:
        """`asyncio.timeout` around a block is a `TimeoutError`, and leaves the task as it was."""
        run, options = WAYS[way]
        ended: list[int] = []

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await run(forever(ended), **options)
        assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]

    @virtual_on_both
    @pytest.mark.parametrize("way", WAYS)
    async def test_of_a_scope(self, way: str) -> None:
        """A cancel scope around a block ends it, and is what it was cancelled by."""
        run, options = WAYS[way]
        ended: list[int] = []

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: run(forever(ended), **options))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert len(ended) == 4

    @pytest.mark.parametrize("error", ["task", "scope"])
    async def test_a_foreign_one_in_the_block_is_raised(self, error: str) -> None:
        """A cancellation that the block itself meets elsewhere comes out of the block."""
        meets = {"task": of_a_task, "scope": of_a_scope_elsewhere}[error]
        after: list[str] = []

        async def leave() -> None:
            async with bulk.run(forever([]), range(3)):
                await meets()
            after.append("it went on")

        with pytest.raises(asyncio.CancelledError):
            await leave()
        assert after == []

    async def test_a_cancelled_wait_loses_no_outcome(self) -> None:
        """A consumer may give up waiting for the next outcome, and wait again."""
        gate = anyio.Event()

        async def send(item: int) -> int:
            await gate.wait()
            return item

        async with bulk.run(send, range(5), concurrency=2) as outcomes:
            for _ in range(5):
                with anyio.move_on_after(0):
                    await anext(outcomes)
            gate.set()
            assert sorted([one.index async for one in outcomes]) == [*range(5)]


def forever(ended: list[int]) -> Callable[[int], Awaitable[int]]:
    """Return what sends without an end, and says when it was cut off."""

    async def send(item: int) -> int:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(item)
        return item

    return send


class TestItems:
    """Reading the items meets a cancellation."""

    @pytest.mark.parametrize("way", ["run", "many"])
    @pytest.mark.parametrize(
        ("backend", "foreign"),
        [*FOREIGN[:5], FOREIGN[6]],
        ids=lambda one: getattr(one, "__name__", one),
    )
    def test_it_is_an_error(self, backend: str, foreign: Any, way: str) -> None:
        """A foreign cancellation of the items is an error, after the outcomes of those taken."""
        seen: list[Any] = []

        async def items() -> AsyncIterator[CreateEndUserInput]:
            yield CreateEndUserInput(email="a@x.org")
            await foreign()
            yield CreateEndUserInput(email="b@x.org")

        async def read() -> None:
            users = dixa_on(Emulator()).end_users
            run: Any = users.create_many(items()) if way == "many" else None
            async with run or bulk.run(users.create, items()) as outcomes:
                async for one in outcomes:
                    seen.append(one)  # noqa: PERF401 - the error would lose a list

        async def scenario() -> None:
            with pytest.raises(AbortedError, match="reading the items"):
                await read()

        anyio.run(scenario, backend=backend)
        assert [type(one) for one in seen] == [Done]

    async def test_a_run_that_was_left_has_no_clean_end(self) -> None:
        """Reading on behind the block is an error, not an end."""
        async with bulk.run(forever([]), range(3)) as outcomes:
            pass
        with pytest.raises(AbortedError, match="inside the block"):
            await anext(outcomes)


class TestToken:
    """The token function of `BearerAuth` meets a cancellation."""

    @staticmethod
    def auth(bad: int = 2) -> BearerAuth:
        """Return credentials whose first tokens fail."""
        calls = 0

        async def token() -> str:
            nonlocal calls
            calls += 1
            if calls <= bad:
                await of_a_task()
            return "token"

        return BearerAuth(token)

    def client(self, emulator: Emulator) -> SunshineClient:
        """Return a client with such credentials."""
        return SunshineClient(
            "app", auth=self.auth(), transport=emulator.transport(), pace=Pace(),
            retry=Retry(max_attempts=1),
        )  # fmt: skip

    async def test_the_others_go_on(self) -> None:
        """Those that asked for the token are unknown; the others are done."""
        emulator = Emulator()
        bodies = [UserCreateBody(external_id=str(n)) for n in range(20)]

        async with self.client(emulator).users.create_many(bodies) as outcomes:
            found = [one async for one in outcomes]

        assert sorted(type(one).__name__ for one in found) == ["Done"] * 18 + ["Unknown"] * 2
        assert len(emulator.users("sunshine")) == 18

    @pytest.mark.parametrize("journal", [False, True])
    async def test_of_a_job(self, tmp_path: Path, *, journal: bool) -> None:
        """The rows are unknown, all others are sent, and the report says so."""
        emulator = Emulator()
        data = [{"externalId": str(n)} for n in range(20)]

        if journal:
            path = tmp_path / "journal"
            async with jobs.open(path, self.client(emulator), SUNSHINE, Mode.CREATE) as job:
                report = await job.run(data)
        else:
            rows = [Row(n, one) for n, one in enumerate(data)]
            report = await Job(self.client(emulator), SUNSHINE, Mode.CREATE).run(rows)

        assert (report.done, report.unknown, report.failed) == (18, 2, 0)
        assert report.codes == {"aborted": 2}
        assert len(emulator.users("sunshine")) == 18


@virtual_on_trio
async def test_a_probe_that_is_cancelled_elsewhere() -> None:
    """A job that asks whether its service is back asks again after such a cancellation."""
    asked: list[float] = []

    async def probe(_: bool) -> None:  # noqa: FBT001 - as the watch calls it
        asked.append(anyio.current_time())
        if len(asked) == 1:
            await leaked()

    given_up: list[str] = []
    watch = OutageWatch(Pace(), probe, given_up.append, max_outage=900, at_first=30)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.wait_all_tasks_blocked()
        watch.record_loss(ServerError(503, endpoint="POST /x"), answers=0)
        await watch.wait(0)
        watch.close()
    assert len(asked) == 2
    assert given_up == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_batch_at_dixa_is_looked_up(when: str) -> None:
    """A bulk create that a foreign cancellation cut off is settled like a lost answer: once each."""
    emulator = Emulator()
    inner = emulator.transport()
    cut: list[str] = []

    class Cut(type(inner)):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            first = request.method == "POST" and not cut
            if first:
                cut.append("once")
                if when == "before":
                    await of_a_task()
            answer = await inner.handle_async_request(request)
            if first:
                await of_a_task()
            return answer

    transport = Cut.__new__(Cut)
    bodies = [CreateEndUserInput(email=f"{n}@x.org") for n in range(5)]
    bodies += [CreateEndUserInput(external_id="x")]

    with no_waiting():
        users = dixa_on(emulator, transport=transport).end_users
        async with users.create_many(bodies, ordered=True, linger=9) as outcomes:
            found = [one async for one in outcomes]

    assert [type(one) for one in found] == [Done] * 5 + [Unknown]
    assert sum("email" in user for user in emulator.users("dixa")) == 5


async def open_in_a_generator() -> None:
    """Leave an async generator early, within its time limit."""

    async def numbers() -> AsyncIterator[int]:
        with anyio.fail_after(PATIENCE):
            yield 1
            yield 2

    generator = numbers()
    LEFT_OPEN.append(generator)
    async for _ in generator:
        return


async def open_group() -> None:
    """Enter a task group, and never leave it."""
    group = anyio.create_task_group()
    LEFT_OPEN.append(group)
    await group.__aenter__()


async def open_and_cancelled() -> None:
    """Enter a cancel scope, and never leave it; the scope is cancelled."""
    scope = anyio.CancelScope()
    LEFT_OPEN.append(scope)
    scope.__enter__()
    scope.cancel()


LEFT_OPEN: Final[list[object]] = []
"""Generators and scopes, kept: the garbage collector would complain later."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("leave", [open_in_a_generator, open_group, open_and_cancelled])
def test_a_scope_that_a_call_leaves_open_is_explained(
    backend: str, leave: Callable[[], Awaitable[None]], *, fails: bool
) -> None:
    """The run ends in an error with the cause and the next step.

    An error of the block is raised as itself, where the open scope lets the block come so far.
    """

    async def send(item: int) -> int:
        await leave()
        return item

    async def scenario() -> None:
        with anyio.fail_after(PATIENCE):
            async with bulk.run(send, range(3), concurrency=1) as outcomes:
                _ = [outcome async for outcome in outcomes]
                if fails:
                    raise KeyError(0)

    goes_on = backend == "asyncio" and leave is not open_and_cancelled
    expected = KeyError if fails and goes_on else AbortedError
    try:
        with pytest.raises(expected, match="0" if expected is KeyError else "a cancel scope open"):
            anyio.run(scenario, backend=backend)
    finally:
        LEFT_OPEN.clear()
