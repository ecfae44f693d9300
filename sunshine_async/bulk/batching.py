"""Batches of items, sent by the bulk engine, with an outcome for each item."""

from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, Final, Generic, TypeVar

import anyio
from attrs import define, field, frozen

from sunshine_async.bulk.cancellation import CALL, error_after_sending, to_exception, wait_until_set
from sunshine_async.bulk.engine import (
    Failed,
    KeyOrder,
    Outcome,
    Outcomes,
    Work,
    outcome_of,
    run_workers,
)
from sunshine_async.bulk.source import Items, ItemSource, check_items

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@frozen
class Limits:
    """The limits of batches. Raise `ValueError` for a number that can't work."""

    batch_size: int
    max_bytes: int
    """The most bytes of a batch as JSON."""
    linger: float
    """Seconds that a batch waits for a slow source, from the first item on."""
    concurrency: int
    """The most batches that are sent at once."""

    def __attrs_post_init__(self) -> None:
        for name in ("batch_size", "concurrency"):
            value: object = getattr(self, name)
            if not isinstance(value, int) or value is True or value < 1:
                message = f"{name}={value!r}: a number from 1 on"
                raise ValueError(message)
        linger: Any = self.linger
        if not isinstance(linger, int | float) or not linger >= 0:  # so NaN is refused too
            message = f"linger={linger!r}: seconds, 0 or more"
            raise ValueError(message)


@frozen
class Sender(Generic[I, R]):
    """The functions that send items in batches.

    - *size* returns the bytes of an item as JSON, and raises for an item that can't be sent.
    - *keys* returns the keys of an item: two items with a key in common are never sent at once.
    - *send* returns a result for each item, in order: the value, or the exception of the call.
    """

    size: Callable[[I], int]
    keys: Callable[[I], Iterable[Hashable]]
    send: Callable[[Sequence[I]], Awaitable[Sequence[R | Exception]]]


def run(
    sender: Sender[I, R],
    items: Items[I],
    limits: Limits,
    *,
    ordered: bool,
    alone: Callable[[], bool] | None = None,
) -> AbstractAsyncContextManager[Outcomes[I, R]]:
    """Send *items* in batches; give a block the stream of outcomes, as `bulk.run` does.

    A worker takes the items of the next batch after the consumer has received an outcome of the
    last. Items with a key in common are never in the same batch, nor under way at once, and go in
    the order of *items*. While *alone* returns True, batches go one at a time. Raise at the call
    `TypeError` where *items* is no iterable of items.
    """
    check_items(items)

    def work(source: ItemSource[I]) -> Work[I, R, _Batch[I]]:
        batcher = _Batcher(sender, source, limits)
        return Work(batcher.take, batcher.send)

    return run_workers(items, work, limits.concurrency, ordered=ordered, alone=alone)


@frozen
class _BatchItem(Generic[I]):
    index: int
    item: I
    size: int
    keys: frozenset[Hashable]


ENVELOPE: Final = b'{"data":[]}'
"""The JSON around the items of a batch."""


@define(eq=False)
class _Batch(Generic[I]):
    """Items that go out together, and the outcomes of items that can't be sent."""

    items: list[_BatchItem[I]] = field(factory=list[_BatchItem[I]])
    invalid: list[Failed[I]] = field(factory=list[Failed[I]])
    size: int = 0
    keys: set[Hashable] = field(factory=set[Hashable])

    def size_with(self, item: _BatchItem[I]) -> int:
        return self.size + item.size + (len(b",") if self.items else len(ENVELOPE))

    def add(self, item: _BatchItem[I]) -> None:
        self.size = self.size_with(item)
        self.items.append(item)
        self.keys |= item.keys


_FILL: Final = (object(),)
"""The key that workers hold while filling a batch, so that no two workers do at once."""


class _Batcher(Generic[I, R]):
    def __init__(self, sender: Sender[I, R], source: ItemSource[I], limits: Limits) -> None:
        self._sender: Final = sender
        self._source: Final = source
        self._limits: Final = limits
        self._order: Final = KeyOrder()
        self._deferred: deque[_BatchItem[I]] = deque()
        """Items for which the last batch had no room, or had a key already."""

    async def take(self) -> _Batch[I] | None:
        batch: _Batch[I] = _Batch()
        for turn in self._order.enter(_FILL):
            await wait_until_set(turn)
        deferred, self._deferred = self._deferred, deque()
        for item in deferred:
            self._add(batch, item)
        await self._fill(batch)
        self._order.leave(_FILL)
        return batch if batch.items or batch.invalid else None

    async def send(self, batch: _Batch[I]) -> Sequence[Outcome[I, R]]:
        """Send *batch* after all earlier batches with a key in common; return the outcomes."""
        items = batch.items
        sent: list[Outcome[I, R]]
        for turn in self._order.enter(batch.keys):
            await wait_until_set(turn)
        try:
            results = await self._sender.send([item.item for item in items]) if items else ()
            pairs = zip(items, results, strict=True)
            sent = [outcome_of(item.index, item.item, result) for item, result in pairs]
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            failed = error_after_sending(to_exception(error, CALL))  # a request may have left
            sent = [outcome_of(item.index, item.item, failed) for item in items]
        finally:
            self._order.leave(batch.keys)
        return [*batch.invalid, *sent]

    async def _fill(self, batch: _Batch[I]) -> None:
        """Take items for *batch* until the batch is full, or no item comes in time."""
        max_wait = self._limits.linger if batch.items else inf
        while max_wait >= 0 and self._has_room(batch):
            began = anyio.current_time()
            try:
                taken = await self._source.take(max_wait)
            except TimeoutError:
                return
            if taken is None:
                return
            index, item = taken
            waited = anyio.current_time() - began
            max_wait = self._limits.linger if max_wait == inf else max_wait - waited
            try:
                size = self._sender.size(item)
                if size + len(ENVELOPE) > self._limits.max_bytes:
                    message = f"the item is {size} bytes as JSON, more than a batch may have"
                    raise ValueError(message)  # noqa: TRY301 - as one that has no size
                measured = _BatchItem(index, item, size, frozenset(self._sender.keys(item)))
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                failed = Failed(index, item, to_exception(error, "the size of an item"))
                batch.invalid.append(failed)
            else:
                self._add(batch, measured)

    def _has_room(self, batch: _Batch[I]) -> bool:
        taken = len(batch.items) + len(batch.invalid)
        return taken < self._limits.batch_size and len(self._deferred) < self._limits.batch_size

    def _add(self, batch: _Batch[I], item: _BatchItem[I]) -> None:
        """Add *item* to *batch* if room and keys allow, else defer the item to the next batch."""
        waits = any(item.keys & other.keys for other in self._deferred)
        has_room = (
            len(batch.items) < self._limits.batch_size
            and batch.size_with(item) <= self._limits.max_bytes
        )
        if has_room and not waits and not item.keys & batch.keys:
            batch.add(item)
        else:
            self._deferred.append(item)
