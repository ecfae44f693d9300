"""Single items from any iterable, sync or async, whose iterator is closed at the end."""

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

from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import ITEMS, background_tasks, to_exception, wait_until_set

I = TypeVar("I")  # noqa: E741 - an item

Items: TypeAlias = Iterable[I] | AsyncIterable[I]

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that an async iterator may take to close, at most."""


def check_items(items: object) -> None:
    """Raise `TypeError` unless *items* is an iterable of several items."""
    kind = type(items).__name__
    if isinstance(items, str | bytes | bytearray | memoryview):
        message = f"items is one {kind}: hand in a list, or another iterable"
        raise TypeError(message)
    if not any(hasattr(items, name) for name in ("__aiter__", "__iter__", "__getitem__")):
        message = f"items must be an iterable or an async iterable, not {kind}"
        raise TypeError(message)


def close_method(items: object, iterator: object, name: str) -> Callable[[], Any] | None:
    """Return the method *name* that closes *iterator*; None where closing is the caller's business.

    A generator is closed, and an iterator that *items* made for this run. A file, or a stream, that
    the caller handed in stays open.
    """
    found: Callable[[], Any] | None = getattr(iterator, name, None)
    is_ours = iterator is not items or isinstance(iterator, Generator | AsyncGenerator)
    return found if is_ours else None


async def close_iterator(items: object, iterator: object) -> BaseException | None:
    """Close *iterator*, async or not, if `close_method` says so; return the exception from closing.

    A cancelled scope doesn't cut closing off, `CLOSE_TIMEOUT` does. A separate task closes, so that
    a cancellation of the caller's task isn't taken for the iterator's.
    """
    is_async = isinstance(iterator, AsyncIterator)
    close = close_method(items, iterator, "aclose" if is_async else "close")
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

    with anyio.move_on_after(CLOSE_TIMEOUT, shield=True):
        async with background_tasks() as tasks:
            tasks.start(work)
            await closed.wait()
    return next(iter(errors), None)


async def _error_of(close: Callable[[], Awaitable[object]]) -> BaseException | None:
    try:
        await close()
    except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
        return to_exception(error, ITEMS)
    return None


class ItemSource(Generic[I]):
    """Items, taken singly and in order. A task reads and closes an async iterable."""

    def __init__(self, items: Items[I]) -> None:
        self.error: BaseException | None = None
        """The exception that ended the items."""
        self.close_error: BaseException | None = None
        self.ended = False
        """True once no more items are read."""
        self.taken = 0
        self.is_async: Final = isinstance(items, AsyncIterable)
        """True if `read` has to run."""
        self._items: Final = items
        self._iterator: Final = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._arrived: Final[deque[I]] = deque()
        self._waiters: Final[deque[anyio.Event]] = deque()
        self._requested = anyio.Event()
        self._read_scope: Final = anyio.CancelScope()
        self._is_reading = False

    def stop(self) -> None:
        """Read no more items, and give up the read that is under way."""
        self.ended = True
        self._requested.set()
        if self._is_reading:
            self._read_scope.cancel()

    async def take(self, max_wait: float = inf) -> tuple[int, I] | None:
        """Return the next item with the index, or None at the end.

        Raise `TimeoutError` if no item has come after *max_wait* seconds; no item is lost then.
        """
        if self.is_async:
            if not self._arrived:
                await self._wait_for_item(max_wait)
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
        """Read an item of an async iterable for each `take` that waits; close the iterator at the end.

        A single cancel scope surrounds all reads, so that a generator may hold scopes of its own.
        """
        CURRENT_LANE.set(Lane.BATCH)
        iterator = cast("AsyncIterator[I]", self._iterator)
        with self._read_scope:
            try:
                while not self.ended:
                    if self._waiters:
                        self._is_reading = True
                        self._arrived.append(await anext(iterator))
                        self._is_reading = False
                        if self._waiters:
                            self._waiters.popleft().set()
                    else:
                        self._requested = anyio.Event()
                        await wait_until_set(self._requested)
            except StopAsyncIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - `_fail` raises what has to pass
                self._fail(error)
            finally:
                self.ended = True
                for waiter in self._waiters:
                    waiter.set()
                self._read_scope.deadline = anyio.current_time() + CLOSE_TIMEOUT
                self._read_scope.shield = True
                close = close_method(self._items, iterator, "aclose")
                if close is not None:
                    self.close_error = await _error_of(close)

    def close(self) -> None:
        """Close the iterator of an iterable that isn't async."""
        close = None if self.is_async else close_method(self._items, self._iterator, "close")
        if close is not None:
            try:
                close()
            except BaseException as error:  # noqa: BLE001 - raised where the block raised none
                self.close_error = error

    async def _wait_for_item(self, max_wait: float) -> None:
        """Wait for an item or the end of the items; raise `TimeoutError` after *max_wait* seconds."""
        with anyio.fail_after(max_wait) if max_wait < inf else nullcontext():
            while not self._arrived and not self.ended:
                waiter = anyio.Event()
                self._waiters.append(waiter)
                self._requested.set()
                try:
                    await wait_until_set(waiter)
                except BaseException:
                    if not waiter.is_set():
                        self._waiters.remove(waiter)
                    raise

    def _fail(self, error: BaseException) -> None:
        """End the items with *error*; raise an *error* that ends the whole run."""
        found: BaseException = to_exception(error, ITEMS)
        if isinstance(error, StopIteration | StopAsyncIteration):
            found = RuntimeError(f"the items raised {type(error).__name__} in the wrong place")
            found.__cause__ = error
        elif not isinstance(error, get_cancelled_exc_class()):
            found = error
        self.ended = True
        self.error = self.error or found


@asynccontextmanager
async def open_source(items: Items[I]) -> AsyncGenerator[ItemSource[I]]:
    """Give a block *items* as an `ItemSource`; close the iterator at the end of the block.

    An exception from closing is raised where the block raised none.
    """
    source = ItemSource(items)
    try:
        async with background_tasks() as tasks:
            if source.is_async:
                tasks.start(source.read)
            yield source
    finally:
        source.close()
    if source.close_error is not None:
        raise source.close_error
