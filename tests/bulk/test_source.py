"""Iterators of items are closed in the end: however the run ends, async or not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.lowlevel
import pytest
from support.backends import on_both, virtual_on_both
from support.sends import OwnAbort, echo
from support.virtual import virtual, virtual_on_trio
from test_outcomes import client_of

from sunshine_async import bulk, jobs
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.bulk.source import close_iterator
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SUNSHINE, Job, Mode, Row

Block = AbstractAsyncContextManager[bulk.Outcomes[Any, Any]]


async def echo_all(items: Any) -> Any:
    """Return the items, a moment later."""
    await anyio.lowlevel.checkpoint()
    return items


def in_batches(items: Any) -> Block:
    """Return a run of batches of three."""
    way: Sender[Any, Any] = Sender(lambda _: 1, lambda _: (), echo_all)
    return batches.run(way, items, Limits(3, 100, 0.0, 2), ordered=False)


RUNS: Final[dict[str, Callable[[Any], Block]]] = {
    "run": lambda items: bulk.run(echo, items, concurrency=3),
    "ordered": lambda items: bulk.run(echo, items, concurrency=3, ordered=True),
    "auto": lambda items: bulk.run(echo, items, concurrency="auto"),
    "batches": in_batches,
}


class Watched:
    """Items, and whether what gave them was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self.error = error

    def items(self) -> Iterator[int]:
        """Give numbers without end, or up to the error."""
        try:
            for number in range(10_000):
                yield number
                if number == 20 and self.error:
                    raise self.error
        finally:
            self.closed += 1

    async def later(self) -> AsyncIterator[int]:
        """Give them a moment apart; closing takes a moment too."""
        try:
            for number in range(10_000):
                await anyio.lowlevel.checkpoint()
                yield number
                if number == 20 and self.error:
                    raise self.error
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.closed += 1

    def __aiter__(self) -> AsyncIterator[int]:
        return self.later()


SOURCES: Final[dict[str, Callable[[Watched], Any]]] = {
    "generator": lambda watched: watched.items(),
    "async generator": lambda watched: watched.later(),
    "async iterable": lambda watched: watched,
}


async def read(block: Block, until: int, then: str) -> None:
    """Read so many outcomes, and leave the block in some way."""
    async with block as outcomes:
        if then == "never":
            return
        seen = 0
        async for _ in outcomes:
            seen += 1
            if seen == until:
                if then == "break":
                    break
                if then == "stop":
                    outcomes.stop()
                if then == "error":
                    raise LookupError(then)
                if then == "cancel":
                    await anyio.sleep_forever()


@virtual_on_both
@pytest.mark.parametrize("then", ["never", "break", "stop", "error", "cancel", "own error"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("run", RUNS)
async def test_it_is_closed(run: str, source: str, then: str) -> None:
    """The iterator of the items is closed when the block is left, or before."""
    watched = Watched(KeyError("own error") if then == "own error" else None)
    started = then != "never"

    block = RUNS[run](SOURCES[source](watched))
    if then == "cancel":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, block, 5, then)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    elif then in ("error", "own error"):
        with pytest.raises(LookupError, match=then):
            await read(block, 5, then)
    else:
        await read(block, 5, then)
    assert watched.closed == 1 or not started


@virtual_on_both
@pytest.mark.parametrize("run", RUNS)
async def test_it_is_closed_where_it_waits(run: str) -> None:
    """A source that waits for its next item is closed too, by a stop and by leaving."""
    for stops in (False, True):
        closed: list[str] = []

        async def waits(closed: list[str] = closed) -> AsyncIterator[int]:
            try:
                yield 1
                await anyio.sleep_forever()
            finally:
                closed.append("closed")

        async with RUNS[run](waits()) as outcomes:
            await anext(outcomes)
            await anyio.wait_all_tasks_blocked()
            if stops:
                outcomes.stop()
                assert [one async for one in outcomes] == []
        assert closed == ["closed"]


@on_both
async def test_a_stop_between_two_items_is_no_cancellation() -> None:
    """A generator that isn't reading when a run is stopped closes as after its last item."""
    closed = False

    async def items() -> AsyncIterator[int]:
        nonlocal closed
        try:
            for number in range(10_000):
                yield number
        finally:
            await anyio.lowlevel.checkpoint()
            closed = True

    async with bulk.run(echo, items(), concurrency=1) as outcomes:
        await anext(outcomes)
        outcomes.stop()
        assert [outcome async for outcome in outcomes] == []
    assert closed


@on_both
async def test_a_source_runs_in_one_task() -> None:
    """An async generator may hold a cancel scope: all its steps, and its end, are in one task."""
    ended: list[str] = []

    async def items() -> AsyncIterator[int]:
        with anyio.CancelScope():
            try:
                for number in range(100):
                    yield number
            finally:
                ended.append("in order")

    await read(bulk.run(echo, items(), concurrency=5), 50, "break")
    assert ended == ["in order"]


@on_both
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_from_closing_comes_out(*, asynchronous: bool) -> None:
    """An exception from closing is raised, unless the block has raised an exception."""

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise LookupError("closing")  # noqa: EM101 - the point

    async def later() -> AsyncIterator[int]:
        try:
            for number in range(100):
                yield number
        finally:
            raise LookupError("closing")  # noqa: EM101 - the point

    for then, error in (("break", "closing"), ("error", "error")):
        with pytest.raises(LookupError, match=error):
            await read(bulk.run(echo, later() if asynchronous else items()), 5, then)


@virtual_on_trio
async def test_closing_has_an_end() -> None:
    """An async generator that doesn't end when it is closed holds nobody up for long."""

    async def items() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await anyio.sleep_forever()

    await read(bulk.run(echo, items()), 5, "break")
    assert anyio.current_time() == 5


@virtual_on_trio
async def test_closing_has_an_end_for_jobs_too() -> None:
    """The rows of a job that don't end when they are closed hold nobody up for long either."""

    async def rows() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await anyio.sleep_forever()

    iterator = rows()
    await anext(iterator)
    assert await close_iterator(iterator, iterator) is None
    assert anyio.current_time() == 5


@virtual
async def test_closing_passes_a_cancellation_of_the_caller_on() -> None:
    """`asyncio.timeout` around a closing that hangs is the caller's own, and not swallowed."""

    async def rows() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await anyio.sleep_forever()

    iterator = rows()
    await anext(iterator)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await close_iterator(iterator, iterator)


async def test_what_the_caller_owns_stays_open(tmp_path: Path) -> None:
    """A file, a stream or an iterator that was handed in stays as it is: its owner closes it."""
    file = tmp_path / "ids"
    file.write_text("".join(f"{number}\n" for number in range(100)))
    send, receive = anyio.create_memory_object_stream[int](100)
    for number in range(100):
        send.send_nowait(number)
    numbers = iter(range(100))

    with file.open() as lines, receive, send:
        for items in (lines, receive, numbers):
            await read(bulk.run(echo, items), 5, "break")  # type: ignore[arg-type]
        assert next(lines)
        assert await receive.receive()
        assert next(numbers)


@on_both
@pytest.mark.parametrize("error", [StopAsyncIteration, StopIteration])
async def test_a_wrong_end_is_an_error(error: type[Exception]) -> None:
    """An end of the other kind of iterator is no end."""

    class Wrong:
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            raise StopAsyncIteration

    class WrongLater:
        def __aiter__(self) -> AsyncIterator[int]:
            return self

        def __anext__(self) -> Any:
            raise StopIteration

    items: Any = Wrong() if error is StopAsyncIteration else WrongLater()
    with pytest.raises(RuntimeError, match=error.__name__):
        await bulk.collect(echo, items)


@on_both
async def test_no_item_is_taken_after_an_error_of_the_items() -> None:
    """An iterator that would go on after its error isn't asked again, by any worker."""
    sent: list[int] = []

    class GoesOn:
        number = 0

        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            self.number += 1
            if self.number == 3:
                raise LookupError
            if self.number > 9:
                raise StopIteration
            return self.number

    async def send(item: int) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(item)

    with pytest.raises(LookupError):
        await bulk.collect(send, GoesOn(), concurrency=5)
    assert sorted(sent) == [1, 2]


@on_both
@pytest.mark.parametrize("error", [OwnAbort("x"), KeyboardInterrupt(), SystemExit(2)], ids=repr)
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("run", RUNS)
async def test_whatever_the_items_raise_comes_out(
    run: str, error: BaseException, *, asynchronous: bool
) -> None:
    """An exception of the items that is no `Exception` is raised as itself, too."""

    def items() -> Iterator[int]:
        yield 1
        raise error

    async def later() -> AsyncIterator[int]:
        yield 1
        raise error

    with pytest.raises(type(error)) as caught:
        await read(RUNS[run](later() if asynchronous else items()), -1, "")
    assert caught.value is error


def bodies(closed: list[str], then: str) -> Iterator[dict[str, Any]]:
    """Give bodies, and say when they were closed."""
    try:
        for number in range(100_000):
            yield {"externalId": str(number)}
            if then == "error" and number == 1000:
                raise LookupError(then)
    finally:
        closed.append("closed")


def rows_of(items: Iterator[Any]) -> Iterator[Row]:
    """Give *items* as rows, and close them in the end."""
    with closing(items):  # type: ignore[type-var]
        for number, item in enumerate(items):
            yield Row(number, item)


async def later(items: Iterator[Any]) -> AsyncIterator[Any]:
    """Give *items*, and close them in the end."""
    with closing(items):  # type: ignore[type-var]
        for item in items:
            yield item


@pytest.mark.slow
@pytest.mark.parametrize("then", ["stop", "cancel", "error"])
@pytest.mark.parametrize("source", ["rows", "bodies", "async bodies"])
async def test_the_rows_of_a_job_are_closed(tmp_path: Path, source: str, then: str) -> None:
    """A generator of rows, or of bodies, is closed when the job ends before its end."""
    closed: list[str] = []
    emulator = Emulator()
    items = bodies(closed, then)

    async def run(job: Job) -> None:
        if source == "rows":
            await job.run(rows_of(items))
            return
        await cast("Any", job).run(later(items) if source == "async bodies" else items)

    async def ends(job: Job) -> None:
        if then == "error":
            with pytest.raises(LookupError, match=then):
                await run(job)
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, job)
            while emulator.requests < 20:
                await anyio.lowlevel.checkpoint()
            if then == "cancel":
                tasks.cancel_scope.cancel()
            else:
                job.stop()

    if source == "rows":
        await ends(Job(client_of(emulator), SUNSHINE, Mode.CREATE))
    else:
        path = tmp_path / "journal"
        async with jobs.open(path, client_of(emulator), SUNSHINE, Mode.CREATE) as job:
            await ends(job)
    assert closed == ["closed"]
