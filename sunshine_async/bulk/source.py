"""Items taken one at a time, from any iterable, and the iterator closed in the end."""

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from math import inf
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import anyio
from anyio import get_cancelled_exc_class, to_thread
from anyio.abc import TaskGroup
from attrs import define

from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import ITEMS, AbortedError, contained, is_own, until

I = TypeVar("I")  # noqa: E741 - an item

Items: TypeAlias = Iterable[I] | AsyncIterable[I]

CLOSING: Final = 5.0
"""The most seconds that an async iterator may take to close."""


def check_items(items: object) -> None:
    """Raise `TypeError` unless *items* can be many items."""
    kind = type(items).__name__
    if isinstance(items, str | bytes | bytearray | memoryview):
        message = f"items is one {kind}: hand in a list, or another iterable"
        raise TypeError(message)
    if not any(hasattr(items, name) for name in ("__aiter__", "__iter__", "__getitem__")):
        message = f"items must be an iterable or an async iterable, not {kind}"
        raise TypeError(message)


def closer(items: object, iterator: object, name: str) -> Callable[[], Any] | None:
    """Return the method *name* that closes *iterator*; None where that is the caller's business.

    A generator is closed, and an iterator that *items* made for this run. A file, or a stream, that
    the caller handed in stays open.
    """
    found: Callable[[], Any] | None = getattr(iterator, name, None)
    ours = iterator is not items or isinstance(iterator, Generator | AsyncGenerator)
    return found if ours else None


async def close_iterator(items: object, iterator: object) -> BaseException | None:
    """Close *iterator*, async or not, if `closer` says so; return the exception from closing.

    A cancelled scope doesn't cut it off; it takes `CLOSING` seconds at most. It runs in a task of
    its own, so that a cancellation of the caller's task is not taken for one of *iterator*.
    """
    is_async = isinstance(iterator, AsyncIterator)
    close = closer(items, iterator, "aclose" if is_async else "close")
    if close is None:
        return None
    call = close if is_async else partial(to_thread.run_sync, close)
    errors: list[BaseException | None] = []
    closed = anyio.Event()

    async def work() -> None:
        try:
            errors.append(await _error_of(call))
        finally:
            closed.set()

    with anyio.move_on_after(CLOSING, shield=True):
        async with beside() as tasks:
            tasks.start(work)
            await closed.wait()
    return next(iter(errors), None)


async def _error_of(close: Callable[[], Awaitable[object]]) -> BaseException | None:
    """Return the exception from *close*, if any."""
    try:
        await close()
    except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
        return contained(error, ITEMS)
    return None


@define
class Tasks:
    """Tasks beside a block; *failure* is the exception of a task that ends the block."""

    group: TaskGroup
    failure: BaseException | None = None

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work* in a task: an exception of *work* ends the block."""
        self.group.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except BaseException as error:
            if is_own(error):
                raise
            self.failure = self.failure or error
            self.group.cancel_scope.cancel()


@asynccontextmanager
async def beside() -> AsyncGenerator[Tasks]:
    """Give a block tasks, which are cancelled when the block is left.

    An exception of the block, or of a task, is raised as itself, not in a group. Raise
    `AbortedError` where other code has cancelled a task before its first step.
    """
    own: BaseException | None = None
    group = anyio.create_task_group()
    tasks = Tasks(group)
    async with group:
        try:
            yield tasks
        except get_cancelled_exc_class() as error:
            own = error
            if group.cancel_scope.cancel_called and tasks.failure is None:
                tasks.failure = AbortedError("the tasks of the run were cancelled by other code")
            raise  # the group may swallow what isn't its own: so it is raised once more below
        except BaseException as error:  # noqa: BLE001 - raised below, when all tasks have ended
            own = error
        group.cancel_scope.cancel()
    own = tasks.failure or own
    if own is not None:
        raise own


class Source(Generic[I]):
    """Items in order, taken one at a time. One task reads and closes an async iterable."""

    def __init__(self, items: Items[I]) -> None:
        self.error: BaseException | None = None
        """The exception that ended the items."""
        self.close_error: BaseException | None = None
        """The exception from closing the iterator."""
        self.ended = False
        """Whether no more items are read."""
        self.taken = 0
        """The number of items taken."""
        self.is_async: Final = isinstance(items, AsyncIterable)
        """Whether `read` has to run."""
        self._items: Final = items
        self._iterator: Final = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._arrived: Final[deque[I]] = deque()
        self._waiters: Final[deque[anyio.Event]] = deque()
        self._asked = anyio.Event()
        self._reading: Final = anyio.CancelScope()
        self._is_reading = False

    def stop(self) -> None:
        """Read no more items, not even the item that is being waited for."""
        self.ended = True
        self._asked.set()
        if self._is_reading:
            self._reading.cancel()

    async def take(self, patience: float = inf) -> tuple[int, I] | None:
        """Return the next item with its index, or None at the end.

        Raise `TimeoutError` if no item has come after *patience* seconds: none is lost by that.
        """
        if self.is_async:
            if not self._arrived:
                await self._arrival(patience)
            if not self._arrived:
                return None
            item = self._arrived.popleft()
        else:
            if self.ended:
                return None
            try:
                item = next(cast("Iterator[I]", self._iterator))
            except StopIteration:
                self.ended = True
                return None
            except BaseException as error:  # noqa: BLE001 - `_fail` raises what has to pass
                self._fail(error)
                return None
        self.taken += 1
        return self.taken - 1, item

    async def read(self) -> None:
        """Read an item of an async iterable whenever one is asked for; close it in the end.

        The one scope around it all lets a generator hold scopes of its own.
        """
        CURRENT_LANE.set(Lane.BATCH)
        iterator = cast("AsyncIterator[I]", self._iterator)
        with self._reading:
            try:
                while not self.ended:
                    if self._waiters:
                        self._is_reading = True
                        self._arrived.append(await anext(iterator))
                        self._is_reading = False
                        if self._waiters:
                            self._waiters.popleft().set()
                    else:
                        self._asked = anyio.Event()
                        await until(self._asked)
            except StopAsyncIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - `_fail` raises what has to pass
                self._fail(error)
            finally:
                self.ended = True
                for waiter in self._waiters:
                    waiter.set()
                self._reading.deadline = anyio.current_time() + CLOSING
                self._reading.shield = True
                close = closer(self._items, iterator, "aclose")
                if close is not None:
                    self.close_error = await _error_of(close)

    def close(self) -> None:
        """Close the iterator of an iterable that isn't async."""
        close = None if self.is_async else closer(self._items, self._iterator, "close")
        if close is not None:
            try:
                close()
            except BaseException as error:  # noqa: BLE001 - raised where the block raised none
                self.close_error = error

    async def _arrival(self, patience: float) -> None:
        """Return when an item has arrived, or none will; raise `TimeoutError` after *patience*."""
        with anyio.fail_after(patience) if patience < inf else nullcontext():
            while not self._arrived and not self.ended:
                waiter = anyio.Event()
                self._waiters.append(waiter)
                self._asked.set()
                try:
                    await until(waiter)
                except BaseException:
                    if not waiter.is_set():
                        self._waiters.remove(waiter)
                    raise

    def _fail(self, error: BaseException) -> None:
        """End the items with *error*; raise what ends the whole run."""
        found: BaseException = contained(error, ITEMS)
        if isinstance(error, StopIteration | StopAsyncIteration):
            found = RuntimeError(f"the items raised {type(error).__name__} in the wrong place")
            found.__cause__ = error
        elif not isinstance(error, get_cancelled_exc_class()):
            found = error
        self.ended = True
        self.error = self.error or found


@asynccontextmanager
async def opened(items: Items[I]) -> AsyncGenerator[Source[I]]:
    """Give a block *items* as a `Source`; close their iterator when the block is left.

    An exception from closing is raised where the block raised none.
    """
    source = Source(items)
    try:
        async with beside() as tasks:
            if source.is_async:
                tasks.start(source.read)
            yield source
    finally:
        source.close()
    if source.close_error is not None:
        raise source.close_error
