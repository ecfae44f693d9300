"""Any coroutine over many items: bounded concurrency, and one outcome for each item."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, Literal, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from attrs import define, evolve, field, frozen

from sunshine_async._pace.concurrency import FIRST_LIMIT, ThroughputLimit
from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import CALL, AbortedError, contained, is_uncertain, until
from sunshine_async.bulk.source import Items, Source, Tasks, beside, check_items, opened
from sunshine_async.errors import ServerError, TransportError

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

_OVERLOADED: Final = (ServerError, TransportError)
"""Errors that may come of too much at once."""

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


def outcome_of(index: int, item: I, result: R | Exception) -> Outcome[I, R]:
    """Return the outcome of the call for *item*: *result* is its value, or its exception.

    A `SunshineError` counts by *maybe_applied*. `ValueError` and `TypeError` are `Failed`: the
    library raises both before anything is sent. Any other exception is `Unknown`.
    """
    if not isinstance(result, Exception):
        return Done(index, item, result)
    return Unknown(index, item, result) if is_uncertain(result) else Failed(index, item, result)


class Outcomes(Generic[I, R]):
    """The stream of outcomes, one for each item taken. Read to the end, or leave the block."""

    def __init__(self, source: Source[I], *, ordered: bool) -> None:
        self._source: Final = source
        self._ready: Final[deque[_Delivery[I, R]]] = deque()
        self._early: Final[dict[int, _Delivery[I, R]] | None] = {} if ordered else None
        """With *ordered*: outcomes whose turn hasn't come, by index."""
        self._given = 0
        self._workers = 0
        self._news = anyio.Event()

    def stop(self) -> None:
        """Take no more items; running calls end, and their outcomes still come."""
        self._source.stop()

    def __aiter__(self) -> AsyncIterator[Outcome[I, R]]:
        return self

    async def __anext__(self) -> Outcome[I, R]:
        while not self._ready:
            if not self._workers:
                await checkpoint_if_cancelled()  # first: it may be why the workers have ended
                raise self._end()
            if self._news.is_set():
                self._news = anyio.Event()
            await self._news.wait()
        self._given += 1
        outcome, received = self._ready.popleft()
        received.set()
        return outcome

    def _end(self) -> BaseException:
        """Return the exception at the end: clean only where each item taken had its outcome."""
        source = self._source
        if source.error is not None:
            return source.error
        if source.ended and self._given == source.taken:
            return StopAsyncIteration()
        return AbortedError(
            f"the run ended after {self._given} outcomes, before its items did: "
            "read the outcomes inside the block"
        )

    def _join(self) -> None:
        """Count a worker that will deliver outcomes."""
        self._workers += 1

    def _leave(self) -> None:
        """Count a worker that has ended."""
        self._workers -= 1
        self._news.set()

    async def _deliver(self, outcome: Outcome[I, R]) -> None:
        """Give *outcome* to the consumer; return when the consumer has received it."""
        received = anyio.Event()
        if self._early is None:
            self._ready.append((outcome, received))
        else:
            self._early[outcome.index] = outcome, received
            while (next_one := self._given + len(self._ready)) in self._early:
                self._ready.append(self._early.pop(next_one))
        self._news.set()
        await until(received)


_Delivery: TypeAlias = tuple[Outcome[I, R], anyio.Event]


def run(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    *,
    concurrency: Concurrency = 16,
    key: Callable[[I], Hashable | None] | None = None,
    ordered: bool = False,
) -> AbstractAsyncContextManager[Outcomes[I, R]]:
    """Call *send* with every item; give a block the stream of outcomes.

    A worker takes the next item after the consumer has received the last outcome, so memory stays
    flat. Outcomes come as calls finish, or with *ordered* in the order of *items*. Items with equal
    keys (None is no key) go one after another, in the order of *items*.

    Each item taken has exactly one outcome. An exception of *send* is the outcome of the item, see
    `outcome_of`; so is a cancellation that isn't the block's own, as an `AbortedError`. An
    exception of *key*, and a key that isn't hashable, is `Failed`. An exception of *items* ends
    the stream, after the outcomes of all items taken. An exception of the block is raised as
    itself, and so are `KeyboardInterrupt`, `SystemExit` and `GeneratorExit` of *send*.

    Leaving or cancelling the block cancels running calls, and closes the iterator: a generator,
    async or not, and an iterator that *items* made. Closing an async iterator takes 5 seconds at
    most.

    With ``concurrency="auto"`` the run begins with 4 calls at once and finds the best number, up
    to 256: more while calls take no longer for it, half as many where calls fail on the way or in
    the service, or end as `Unknown`.

    Raise at the call `TypeError` for arguments of a wrong kind (a text, bytes and a mapping are no
    *items*), and `ValueError` for another *concurrency* than a number from 1 on, or ``"auto"``.
    """
    for name, function in (("send", send), ("key", key)):
        if not callable(function) and (name, function) != ("key", None):
            message = f"{name} must be a function, not {type(function).__name__}"
            raise TypeError(message)
    check_items(items)
    is_number = isinstance(concurrency, int) and concurrency is not True
    if concurrency != "auto" and not (is_number and concurrency >= 1):
        message = f'concurrency={concurrency!r}: 1 or more, or "auto"'
        raise ValueError(message)
    return _run(send, items, concurrency, key, ordered=ordered)


@asynccontextmanager
async def _run(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    concurrency: Concurrency,
    key: Callable[[I], Hashable | None] | None,
    *,
    ordered: bool,
) -> AsyncGenerator[Outcomes[I, R]]:
    async with opened(items) as source, beside() as tasks:
        outcomes: Outcomes[I, R] = Outcomes(source, ordered=ordered)
        worker = _Worker(send, source, key, outcomes, tasks)
        if concurrency == "auto":
            worker = evolve(worker, crew=_Crew())
        for _ in range(FIRST_LIMIT if concurrency == "auto" else concurrency):
            worker.start()
        yield outcomes


async def collect(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    *,
    concurrency: Concurrency = 16,
    key: Callable[[I], Hashable | None] | None = None,
) -> list[Outcome[I, R]]:
    """Return the outcomes of all items, in the order of *items*: `run` for few items."""
    async with run(send, items, concurrency=concurrency, key=key) as outcomes:
        return sorted([outcome async for outcome in outcomes], key=lambda outcome: outcome.index)


class _Turns:
    """Lets those who share a key go one after another, first come, first served."""

    def __init__(self) -> None:
        self._waiting: Final[dict[Hashable, deque[anyio.Event]]] = {}

    async def take(self, key: Hashable) -> None:
        """Return when all who came before with *key* have gone."""
        if key in self._waiting:
            turn = anyio.Event()
            self._waiting[key].append(turn)
            await until(turn)
        else:
            self._waiting[key] = deque()

    def give(self, key: Hashable) -> None:
        """Let the next with *key* go."""
        if self._waiting[key]:
            self._waiting[key].popleft().set()
        else:
            del self._waiting[key]


@frozen
class _Worker(Generic[I, R]):
    """A worker of a run: the work of each of the run's tasks."""

    send: Callable[[I], Awaitable[R]]
    source: Source[I]
    key: Callable[[I], Hashable | None] | None
    outcomes: Outcomes[I, R]
    tasks: Tasks
    turns: _Turns = field(factory=_Turns)
    crew: "_Crew | None" = None

    def start(self) -> None:
        """Start another task."""
        self.outcomes._join()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - a worker is the other end
        self.tasks.start(self.work)

    async def work(self) -> None:
        """Take items until there are none, and deliver the outcome of each."""
        CURRENT_LANE.set(Lane.BATCH)
        source, outcomes, crew = self.source, self.outcomes, self.crew
        call = self._call if self.key is None else self._in_turn
        try:
            while (taken := await source.take()) is not None:
                await outcomes._deliver(await call(*taken))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
                if crew is not None and not crew.keeps(self):
                    return
        finally:
            outcomes._leave()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    async def _in_turn(self, index: int, item: I) -> Outcome[I, R]:
        """Return the outcome of *item*, once earlier items with an equal key have theirs."""
        try:
            key = None if self.key is None else self.key(item)
            hash(key)
        except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
            return Failed(index, item, contained(error, "the key of an item"))
        if key is None:
            return await self._call(index, item)
        await self.turns.take(key)
        try:
            return await self._call(index, item)
        finally:
            self.turns.give(key)

    async def _call(self, index: int, item: I) -> Outcome[I, R]:
        crew = self.crew
        began = None if crew is None else crew.began()
        outcome: Outcome[I, R]
        try:
            outcome = Done(index, item, await self.send(item))
        except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
            outcome = outcome_of(index, item, contained(error, CALL))
        if crew is not None and began is not None:
            crew.ended(began, outcome)
        return outcome


@define
class _Crew:
    """As many workers as are enough, found from how long the calls take."""

    knee: ThroughputLimit = field(factory=ThroughputLimit)
    size: int = FIRST_LIMIT

    def began(self) -> float:
        """Count a call that begins; return when."""
        self.knee.began()
        return anyio.current_time()

    def ended(self, began: float, outcome: Outcome[I, R]) -> None:
        """Learn from the *outcome* of a call that *began* then."""
        failed = isinstance(outcome, Unknown) or (
            isinstance(outcome, Failed) and isinstance(outcome.error, _OVERLOADED)
        )
        self.knee.ended(anyio.current_time(), began, failed=failed)

    def keeps(self, worker: _Worker[I, R]) -> bool:
        """Start more workers where they are too few; return whether the one that asks goes on."""
        while self.size < self.knee.limit and not worker.source.ended:
            self.size += 1
            worker.start()
        if self.size <= self.knee.limit:
            return True
        self.size -= 1
        return False
