"""Any coroutine over many items: as many at once as you say, and one outcome for each."""

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
)
from contextlib import asynccontextmanager
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import anyio
from anyio.abc import ObjectReceiveStream, TaskGroup
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, field, frozen

from sunshine_async._knee import FIRST, Knee
from sunshine_async._line import LANE, Lane
from sunshine_async.errors import ServerError, TransportError

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

_OVERLOADED: Final = (ServerError, TransportError)
"""Errors that may come of too much at once."""

Items: TypeAlias = Iterable[I] | AsyncIterable[I]
Concurrency: TypeAlias = int | Literal["auto"]


@frozen
class Done(Generic[I, R]):
    """The call for *item*, the one at *index* of the input, brought *value*."""

    index: int
    item: I = field(repr=False)
    value: R


@frozen
class Failed(Generic[I]):
    """The call for *item* failed with *error*: what it should have done isn't done."""

    index: int
    item: I = field(repr=False)
    error: Exception


@frozen
class Unknown(Generic[I]):
    """The call for *item* ended in *error*, and nobody on this side knows whether it was done."""

    index: int
    item: I = field(repr=False)
    error: Exception


Outcome: TypeAlias = Done[I, R] | Failed[I] | Unknown[I]


class Outcomes(Generic[I, R]):
    """The stream of what became of each item. Read it to its end, or leave the block."""

    def __init__(self, received: ObjectReceiveStream[Outcome[I, R]], source: "_Source[I]") -> None:
        self._received: Final = received
        self._source: Final = source

    def stop(self) -> None:
        """Take no more items; what is under way ends, and its outcomes still come."""
        self._source.stop()

    def __aiter__(self) -> AsyncIterator[Outcome[I, R]]:
        return self

    async def __anext__(self) -> Outcome[I, R]:
        try:
            return await self._received.receive()
        except anyio.EndOfStream:
            error = self._source.error or StopAsyncIteration()
        raise error


@asynccontextmanager
async def run(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    *,
    concurrency: Concurrency = 16,
    key: Callable[[I], Hashable | None] | None = None,
    ordered: bool = False,
) -> AsyncGenerator[Outcomes[I, R]]:
    """Call *send* with every item; yield the stream of what became of each.

    An item is taken from *items* only when a worker is free, and a worker is free only when its
    last outcome was received: memory stays flat however long *items* is. Outcomes come as they
    finish, or with *ordered* in the order of *items*. Items for which *key* gives the same (None
    is no key) go one after another, in the order of *items*.

    An exception of *send* is an outcome: `Unknown` where it is a `TimeoutError` or its
    *maybe_applied* is true, else `Failed`. An error of *items* ends the stream, after the outcomes
    of all that was taken; one of the block comes out as itself. Leaving the block, or cancelling
    it, cancels what is still under way. Raise `ValueError` for a *concurrency* below 1.

    With ``concurrency="auto"`` it begins with 4 at once and finds by itself how many are enough, up
    to 256: more as long as calls take no longer for it, half as many where calls fail on the way or
    in the service, or end as `Unknown`.
    """
    if concurrency != "auto" and concurrency < 1:
        message = f'concurrency={concurrency}: 1 or more, or "auto"'
        raise ValueError(message)
    source = _Source(items)
    sender, received = anyio.create_memory_object_stream[Outcome[I, R]](0)
    own: Exception | None = None
    async with anyio.create_task_group() as tasks, received:
        with sender:
            crew = _Crew(tasks) if concurrency == "auto" else None
            line = _Line() if ordered else None
            worker = _Worker(send, source, key, line=line, crew=crew)
            for _ in range(FIRST if concurrency == "auto" else concurrency):
                tasks.start_soon(worker.work, sender.clone())
        try:
            yield Outcomes(received, source)
        except Exception as error:  # noqa: BLE001 - the caller's own: not one of a group
            own = error
        tasks.cancel_scope.cancel()  # first: a worker may be waiting to send
    if own is not None:
        raise own


async def collect(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    *,
    concurrency: Concurrency = 16,
    key: Callable[[I], Hashable | None] | None = None,
) -> list[Outcome[I, R]]:
    """Return what became of every item, in the order of *items*: `run` for what fits in memory."""
    async with run(send, items, concurrency=concurrency, key=key) as outcomes:
        return sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.index)


class _Source(Generic[I]):
    """The items, taken one at a time, in their order."""

    def __init__(self, items: Items[I]) -> None:
        self.error: Exception | None = None
        """What the items raised, if that is how they ended."""
        self._taken = 0
        self._ended = False
        self._iterator: Final = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._one_at_a_time: Final = anyio.Lock()
        self._waiting = anyio.CancelScope()

    @property
    def ended(self) -> bool:
        """Whether there are no more."""
        return self._ended

    def stop(self) -> None:
        """Take no more, not even the one that is being waited for."""
        self._ended = True
        self._waiting.cancel()

    async def take(self) -> tuple[int, I] | None:
        """Return the next item with its index, or None when there is none."""
        if self._ended:
            return None
        try:
            if isinstance(self._iterator, AsyncIterator):
                item = await self._wait_for(self._iterator)
            else:
                item = next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            self._ended = True
            return None
        except Exception as error:  # noqa: BLE001 - the caller's own: it ends the stream
            self._ended = True
            self.error = error
            return None
        self._taken += 1
        return self._taken - 1, item

    async def _wait_for(self, iterator: AsyncIterator[I]) -> I:
        async with self._one_at_a_time:
            if not self._ended:
                with anyio.CancelScope() as self._waiting:
                    return await anext(iterator)
        raise StopAsyncIteration


class _Turns:
    """Lets those who share a key go one after another, first come, first served."""

    def __init__(self) -> None:
        self._waiting: Final[dict[Hashable, deque[anyio.Event]]] = {}

    async def take(self, key: Hashable) -> None:
        """Return when all who came before with *key* have gone."""
        if key in self._waiting:
            turn = anyio.Event()
            self._waiting[key].append(turn)
            await turn.wait()
        else:
            self._waiting[key] = deque()

    def give(self, key: Hashable) -> None:
        """Let the next with *key* go."""
        if self._waiting[key]:
            self._waiting[key].popleft().set()
        else:
            del self._waiting[key]


class _Line:
    """Lets those who hold the numbers 0, 1, 2 ... go in that order."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: Final[dict[int, anyio.Event]] = {}

    async def take(self, number: int) -> None:
        """Return when all lower numbers have gone."""
        if number != self._next:
            turn = self._waiting[number] = anyio.Event()
            await turn.wait()

    def give(self) -> None:
        """Let the next number go."""
        self._next += 1
        if self._next in self._waiting:
            self._waiting.pop(self._next).set()


@frozen
class _Worker(Generic[I, R]):
    """What every worker does; those that are cancelled are never heard of again."""

    send: Callable[[I], Awaitable[R]]
    source: _Source[I]
    key: Callable[[I], Hashable | None] | None
    turns: _Turns = field(factory=_Turns)
    line: _Line | None = None
    crew: "_Crew | None" = None

    async def work(self, sender: MemoryObjectSendStream[Outcome[I, R]]) -> None:
        """Take items until there are none, and send what became of each."""
        LANE.set(Lane.BATCH)
        with sender:
            while (taken := await self.source.take()) is not None:
                index, item = taken
                key = self.key(item) if self.key else None
                if key is not None:
                    await self.turns.take(key)
                told = self._outcome(index, item)
                outcome = await (told if self.crew is None else self.crew.watch(told))
                if key is not None:
                    self.turns.give(key)
                if self.line is None:
                    await sender.send(outcome)
                else:
                    await self.line.take(index)
                    await sender.send(outcome)
                    self.line.give()
                if self.crew is not None and not self.crew.keeps(self, sender):
                    return

    async def _outcome(self, index: int, item: I) -> Outcome[I, R]:
        try:
            return Done(index, item, await self.send(item))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this item's outcome
            unknown = getattr(error, "maybe_applied", isinstance(error, TimeoutError))
            return Unknown(index, item, error) if unknown else Failed(index, item, error)


@define
class _Crew:
    """As many workers as are enough: it watches how long the calls take."""

    tasks: TaskGroup
    knee: Knee = field(factory=Knee)
    size: int = FIRST

    async def watch(self, told: Awaitable[Outcome[I, R]]) -> Outcome[I, R]:
        """Return the outcome that is *told*, and learn from when, and what it is."""
        began = anyio.current_time()
        self.knee.began()
        outcome = await told
        failed = isinstance(outcome, Unknown) or (
            isinstance(outcome, Failed) and isinstance(outcome.error, _OVERLOADED)
        )
        self.knee.ended(anyio.current_time(), began, failed=failed)
        return outcome

    def keeps(self, worker: _Worker[I, R], sender: MemoryObjectSendStream[Outcome[I, R]]) -> bool:
        """Start more workers where they are too few; return whether the one that asks goes on."""
        while self.size < self.knee.limit and not worker.source.ended:
            self.size += 1
            self.tasks.start_soon(worker.work, sender.clone())
        if self.size <= self.knee.limit:
            return True
        self.size -= 1
        return False
