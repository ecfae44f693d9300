"""The bulk engine: workers that send batches (`run`: of a single item), a stream of outcomes."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, Literal, Self, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from attrs import define, field, frozen

from sunshine_async._pace.concurrency import FIRST_LIMIT, ThroughputLimit
from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import (
    CALL,
    AbortedError,
    BackgroundTasks,
    background_tasks,
    maybe_applied,
    to_exception,
    wait_until_set,
)
from sunshine_async.bulk.source import Items, ItemSource, check_items, open_source
from sunshine_async.errors import ServerError, TransportError

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")
B = TypeVar("B")

Concurrency: TypeAlias = int | Literal["auto"]


@frozen
class Done(Generic[I, R]):
    """The call for *item*, at *index* of the input, returned *value*."""

    index: int
    item: I = field(repr=False)
    value: R


@frozen
class Failed(Generic[I]):
    """The call for *item* failed with *error*, and was not applied."""

    index: int
    item: I = field(repr=False)
    error: Exception


@frozen
class Unknown(Generic[I]):
    """The call for *item* ended in *error*, and may have been applied or not."""

    index: int
    item: I = field(repr=False)
    error: Exception


Outcome: TypeAlias = Done[I, R] | Failed[I] | Unknown[I]


def outcome_of(index: int, item: I, result: R | Exception) -> Outcome[I, R]:
    """Return the outcome of the call for *item*: *result* is the value, or the exception.

    A `SunshineError` counts by *maybe_applied*. `ValueError` and `TypeError` are `Failed`: the
    library raises both before anything is sent. All else is `Unknown`.
    """
    if not isinstance(result, Exception):
        return Done(index, item, result)
    return Unknown(index, item, result) if maybe_applied(result) else Failed(index, item, result)


@frozen
class Work(Generic[I, R, B]):
    """A worker's steps: *take* returns the next batch, None at the end; *send* the outcomes."""

    take: Callable[[], Awaitable[B | None]]
    send: Callable[[B], Awaitable[Sequence[Outcome[I, R]]]]


_Delivery: TypeAlias = tuple[Outcome[I, R], anyio.Event]


@define(eq=False, repr=False)
class Outcomes(Generic[I, R]):
    """The stream of outcomes: each item taken has an outcome. Read to the end, or leave the block."""

    _source: ItemSource[I]
    _work: Work[I, R, Any]
    _tasks: BackgroundTasks
    _first_workers: int
    _limit: ThroughputLimit | None
    _alone: Callable[[], bool] | None
    """While True, a single worker works."""
    _early: dict[int, _Delivery[I, R]] | None
    """Outcomes that come before their turn, by index; None: outcomes come as calls finish."""
    _ready: deque[_Delivery[I, R]] = field(factory=deque["_Delivery[I, R]"], init=False)
    _given: int = field(default=0, init=False)
    _workers: int = field(default=0, init=False)
    _news: anyio.Event = field(factory=anyio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._start_workers(self._first_workers if self._alone is None else 1)

    def stop(self) -> None:
        """Take no more items; running calls end, and the outcomes of these calls still come."""
        self._source.stop()

    def __aiter__(self) -> Self:
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

    def _start_workers(self, number: int) -> None:
        while self._workers < number:
            self._workers += 1
            self._tasks.start(self._run_worker)

    async def _run_worker(self) -> None:
        CURRENT_LANE.set(Lane.BATCH)
        take, send, deliver, limit = self._work.take, self._work.send, self._deliver, self._limit
        try:
            while (batch := await take()) is not None:
                await wait_until_set(deliver(await send(batch)))
                if self._alone is not None and not self._end_alone(self._alone):
                    continue
                if limit is not None and not self._is_needed(limit):
                    return
        finally:
            self._workers -= 1
            self._news.set()

    def _deliver(self, outcomes: Sequence[Outcome[I, R]]) -> anyio.Event:
        """Give *outcomes* to the consumer; the event is set when the consumer receives the first."""
        received = anyio.Event()
        for outcome in outcomes:
            if self._early is None:
                self._ready.append((outcome, received))
            else:
                self._early[outcome.index] = outcome, received
                while (next_one := self._given + len(self._ready)) in self._early:
                    self._ready.append(self._early.pop(next_one))
        self._news.set()
        return received

    def _end_alone(self, alone: Callable[[], bool]) -> bool:
        """Start the other workers, unless the worker is to be *alone* for a further batch."""
        if alone():
            return False
        self._alone = None
        if not self._source.ended:  # the consumer may have stopped at the outcome
            self._start_workers(self._first_workers)
        return True

    def _is_needed(self, limit: ThroughputLimit) -> bool:
        """Start workers where there are too few; return False to a superfluous worker."""
        if not self._source.ended:
            self._start_workers(limit.limit)
        return self._workers <= limit.limit


def run(
    send: Callable[[I], Awaitable[R]],
    items: Items[I],
    *,
    concurrency: Concurrency = 16,
    key: Callable[[I], Hashable | None] | None = None,
    ordered: bool = False,
    alone: Callable[[], bool] | None = None,
) -> AbstractAsyncContextManager[Outcomes[I, R]]:
    """Call *send* with every item; give a block the stream of outcomes.

    A worker takes the next item after the consumer has received the last outcome, so memory stays
    flat. Outcomes come as calls finish, or with *ordered* in the order of *items*. Items with equal
    keys (None is no key) go in sequence, in the order of *items*.

    Each item taken has exactly one outcome:

    - An exception of *send* gives the outcome that `outcome_of` describes. `ValueError` and
      `TypeError` give `Failed`, so a *send* of your own raises these before sending, never after.
    - A foreign cancellation of a call counts as an `AbortedError`.
    - A *send* that isn't async gives `Unknown`: the function may have sent the item.
    - An exception of *key*, or a key that isn't hashable, gives `Failed`.
    - An exception of *items* ends the stream, after the outcomes of all items taken.
    - An exception of the block is raised as itself, and so are `KeyboardInterrupt`, `SystemExit`
      and `GeneratorExit` of *send*.

    Leaving or cancelling the block cancels running calls, and closes the iterator (async: within 5
    seconds): a generator, async or not, and an iterator that *items* made.

    With ``concurrency="auto"`` the run begins with 4 calls at once, and finds the best number up to
    256: more while calls take no longer, half as many where calls fail on the way or in the
    service, or end as `Unknown`.

    While *alone* returns True, calls go one at a time: asked after each outcome, until False. So a
    first call may try the credentials for all, if the block calls `Outcomes.stop` after a refusal.

    Raise at the call `TypeError` for arguments of a wrong kind (a text and bytes are no *items*; a
    mapping is an iterable of the keys), and `ValueError` for a *concurrency* that is neither a
    number from 1 on nor ``"auto"``.
    """
    for name, function in (("send", send), ("key", key), ("alone", alone)):
        if not callable(function) and (name == "send" or function is not None):
            message = f"{name} must be a function, not {type(function).__name__}"
            raise TypeError(message)
    check_items(items)
    check_concurrency(concurrency)
    workers = FIRST_LIMIT if concurrency == "auto" else concurrency
    limit = ThroughputLimit() if concurrency == "auto" else None
    calls = _Calls(send, key, limit)

    def work(source: ItemSource[I]) -> Work[I, R, tuple[int, I]]:
        return Work(source.take, calls.send if key is None else calls.send_in_order)

    return run_workers(items, work, workers, ordered=ordered, limit=limit, alone=alone)


def check_concurrency(concurrency: Concurrency) -> None:
    """Raise `ValueError` for a *concurrency* that is neither a number from 1 on nor ``"auto"``."""
    is_number = isinstance(concurrency, int) and concurrency is not True
    if concurrency != "auto" and not (is_number and concurrency >= 1):
        message = f'concurrency={concurrency!r}: 1 or more, or "auto"'
        raise ValueError(message)


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


class KeyOrder:
    """Calls with a key in common go in sequence, in the order of `enter`."""

    def __init__(self) -> None:
        self._waiting: Final[dict[Hashable, deque[anyio.Event]]] = {}
        """By key of a call under way: the calls that wait for the key."""

    def enter(self, keys: Iterable[Hashable]) -> Sequence[anyio.Event]:
        """Queue for *keys*; return the events of earlier calls with these keys, to be waited for."""
        turns: list[anyio.Event] = []
        for key in keys:
            if key in self._waiting:
                turn = anyio.Event()
                self._waiting[key].append(turn)
                turns.append(turn)
            else:
                self._waiting[key] = deque()
        return turns

    def leave(self, keys: Iterable[Hashable]) -> None:
        """Let the next call with each of *keys* go."""
        for key in keys:
            if self._waiting[key]:
                self._waiting[key].popleft().set()
            else:
                del self._waiting[key]


@asynccontextmanager
async def run_workers(
    items: Items[I],
    work: Callable[[ItemSource[I]], Work[I, R, B]],
    workers: int,
    *,
    ordered: bool,
    limit: ThroughputLimit | None = None,
    alone: Callable[[], bool] | None = None,
) -> AsyncGenerator[Outcomes[I, R]]:
    """Give a block the outcomes of *items*; *workers* do the *work*: with *limit* at first only.

    While *alone* returns True, a single worker does.
    """
    async with open_source(items) as source, background_tasks() as tasks:
        early: dict[int, _Delivery[I, R]] | None = {} if ordered else None
        yield Outcomes(source, work(source), tasks, workers, limit, alone, early)


@frozen
class _Calls(Generic[I, R]):
    function: Callable[[I], Awaitable[R]]
    key: Callable[[I], Hashable | None] | None
    limit: ThroughputLimit | None
    order: KeyOrder = field(factory=KeyOrder)

    async def send(self, taken: tuple[int, I]) -> tuple[Outcome[I, R]]:
        index, item = taken
        limit, began = self.limit, 0.0
        if limit is not None:
            began = anyio.current_time()
            limit.count_start()
        outcome: Outcome[I, R]
        try:
            call: Any = self.function(item)
            if hasattr(call, "__await__"):
                outcome = Done(index, item, await call)
            else:
                outcome = Unknown(index, item, _no_awaitable(call))
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            outcome = outcome_of(index, item, to_exception(error, CALL))
        if limit is not None:
            limit.count_end(anyio.current_time(), began, failed=_is_overload(outcome))
        return (outcome,)

    async def send_in_order(self, taken: tuple[int, I]) -> tuple[Outcome[I, R]]:
        """Send after all earlier calls with an equal key."""
        index, item = taken
        try:
            key = None if self.key is None else self.key(item)
            hash(key)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            return (Failed(index, item, to_exception(error, "the key of an item")),)
        if key is None:
            return await self.send(taken)
        keys = (key,)
        for turn in self.order.enter(keys):
            await wait_until_set(turn)
        try:
            return await self.send(taken)
        finally:
            self.order.leave(keys)


def _no_awaitable(result: object) -> TypeError:
    """Return the error of a *send* that has done its work, whatever that was, without a coroutine."""
    kind = type(result).__name__
    return TypeError(f"send must be a coroutine function (async def): it returned {kind}, at once")


def _is_overload(outcome: Outcome[I, R]) -> bool:
    """Return True for an outcome that too many calls at once may cause."""
    if isinstance(outcome, Failed):
        return isinstance(outcome.error, ServerError | TransportError)
    return isinstance(outcome, Unknown)
