"""Items sent in batches, several at once, with one outcome for each item."""

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager
from math import inf
from typing import Final, Generic, Self, TypeVar, cast

import anyio
from attrs import define, field, frozen

from sunshine_async import bulk
from sunshine_async.bulk import Done, Failed, Items, Unknown

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")


@frozen
class Limits:
    """How items are batched: raise `ValueError` for a number that can't work."""

    batch_size: int
    """The most items of a batch."""
    max_bytes: int
    """The most bytes of a batch as JSON."""
    linger: float
    """Seconds that a batch waits for a slow source, from its first item on."""
    concurrency: int
    """The most batches that are sent at once."""

    def __attrs_post_init__(self) -> None:
        for name in ("batch_size", "concurrency"):
            if getattr(self, name) < 1:
                message = f"{name}={getattr(self, name)}: 1 or more"
                raise ValueError(message)
        if not self.linger >= 0:  # so NaN is refused too
            message = f"linger={self.linger}: seconds, 0 or more"
            raise ValueError(message)


@frozen
class Way(Generic[I, R]):
    """How items go out: their *size* as JSON, the *keys* they must not share, how to *send* them.

    *size* raises for an item that can't be sent. *send* gives one result for each, in their order:
    what it brought, or the exception that it ended in.
    """

    size: Callable[[I], int]
    keys: Callable[[I], Iterable[Hashable]]
    send: Callable[[Sequence[I]], Awaitable[Sequence[R | Exception]]]


@asynccontextmanager
async def run(
    way: Way[I, R], items: Items[I], limits: Limits, *, ordered: bool
) -> AsyncGenerator[bulk.Outcomes[I, R]]:
    """Send *items* in batches; yield the stream of what became of each, as `bulk.run` does.

    Items are taken only when a batch may be sent, and one may be sent only when the outcomes of an
    earlier one were received. Items with a key in common are never in one batch, nor under way at
    once: they go in the order of *items*.
    """
    feed = _Feed(items)
    batches = _Batches(way, feed, limits)
    own: Exception | None = None
    async with anyio.create_task_group() as tasks:
        if feed.waits:
            tasks.start_soon(feed.read)
        async with bulk.run(
            batches.send, batches, concurrency=limits.concurrency, ordered=ordered
        ) as done:
            try:
                yield _Outcomes(done, feed, ordered=ordered)
            except Exception as error:  # noqa: BLE001 - the caller's own: not one of a group
                own = error
        tasks.cancel_scope.cancel()
    if own is not None:
        raise own


def outcome_of(index: int, item: I, result: R | Exception) -> bulk.Outcome[I, R]:
    """Return what became of *item*, as `bulk.run` would say it."""
    if not isinstance(result, Exception):
        return Done(index, item, result)
    unknown = getattr(result, "maybe_applied", isinstance(result, TimeoutError))
    return Unknown(index, item, result) if unknown else Failed(index, item, result)


class _Outcomes(bulk.Outcomes[I, R]):
    """The outcomes of items, out of the outcomes of batches."""

    def __init__(
        self,
        batches: "bulk.Outcomes[_Batch[I], list[bulk.Outcome[I, R]]]",
        feed: "_Feed[I]",
        *,
        ordered: bool,
    ) -> None:
        self._batches: Final = batches
        self._feed: Final = feed
        self._ready: Final[deque[bulk.Outcome[I, R]]] = deque()
        self._early: Final[dict[int, bulk.Outcome[I, R]] | None] = {} if ordered else None
        self._next = 0

    def stop(self) -> None:
        """Take no more items; what was taken is still sent, and its outcomes still come."""
        self._feed.stop()

    async def __anext__(self) -> bulk.Outcome[I, R]:
        while not self._ready:
            batch = cast("Done[_Batch[I], list[bulk.Outcome[I, R]]]", await anext(self._batches))
            if self._early is None:
                self._ready.extend(batch.value)
                continue
            self._early.update((outcome.index, outcome) for outcome in batch.value)
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        return self._ready.popleft()


class _Feed(Generic[I]):
    """The items, one at a time. Who waits for one may give up without an item getting lost."""

    def __init__(self, items: Items[I]) -> None:
        self.error: Exception | None = None
        """What the items raised, if that is how they ended."""
        self.waits: Final = isinstance(items, AsyncIterable)
        """Whether `read` has to run."""
        self._iterator: Final = aiter(items) if isinstance(items, AsyncIterable) else iter(items)
        self._arrived: Final[deque[I]] = deque()
        self._ended = False
        self._wanted = anyio.Event()
        self._news = anyio.Event()
        self._reading = anyio.CancelScope()

    def stop(self) -> None:
        """Take no more, not even the one that is being waited for."""
        self._ended = True
        self._reading.cancel()
        self._news.set()

    async def read(self) -> None:
        """Take an item whenever one is wanted, until there are none."""
        iterator = cast("AsyncIterator[I]", self._iterator)
        with self._reading:
            while not self._ended:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                try:
                    self._arrived.append(await anext(iterator))
                except StopAsyncIteration:
                    self._ended = True
                except Exception as error:  # noqa: BLE001 - the caller's own: it ends the stream
                    self._end(error)
                self._news.set()

    async def next(self, patience: float) -> I:
        """Return the next item; raise `TimeoutError` if it isn't there after *patience* seconds.

        `StopAsyncIteration` where there is none.
        """
        if self.waits:
            with anyio.fail_after(patience):
                while not self._arrived and not self._ended:
                    self._news = anyio.Event()
                    self._wanted.set()
                    await self._news.wait()
            if self._arrived:
                return self._arrived.popleft()
        elif not self._ended:
            try:
                return next(cast("Iterator[I]", self._iterator))
            except StopIteration:
                self._ended = True
            except Exception as error:  # noqa: BLE001 - as above
                self._end(error)
        raise StopAsyncIteration

    def _end(self, error: Exception) -> None:
        self._ended = True
        self.error = error


@frozen
class _Entry(Generic[I]):
    """An item that can be sent."""

    index: int
    item: I
    size: int
    keys: frozenset[Hashable]


ENVELOPE: Final = b'{"data":[]}'
"""What is around the items of a batch."""
_COMMA: Final = 1


@define(eq=False)
class _Batch(Generic[I]):
    """Items that go out together, and what became of those that can't."""

    entries: list[_Entry[I]] = field(factory=list[_Entry[I]])
    unfit: list[Failed[I]] = field(factory=list[Failed[I]])
    size: int = 0
    keys: set[Hashable] = field(factory=set[Hashable])
    after: set["_Batch[I]"] = field(factory=set["_Batch[I]"])
    """Earlier ones that have a key in common with it."""
    done: anyio.Event = field(factory=anyio.Event)

    def size_with(self, entry: _Entry[I]) -> int:
        return self.size + entry.size + (_COMMA if self.entries else len(ENVELOPE))

    def add(self, entry: _Entry[I]) -> None:
        self.size = self.size_with(entry)
        self.entries.append(entry)
        self.keys |= entry.keys


class _Batches(Generic[I, R]):
    """The batches, made as they are asked for."""

    def __init__(self, way: Way[I, R], feed: _Feed[I], limits: Limits) -> None:
        self._way: Final = way
        self._feed: Final = feed
        self._limits: Final = limits
        self._taken = 0
        self._held: deque[_Entry[I]] = deque()
        """What came while its keys were in the batch before, or it had no room there."""
        self._latest: Final[dict[Hashable, _Batch[I]]] = {}
        """By key: the last of the batches under way that has it."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _Batch[I]:
        """Return the next batch: of `bulk.run`'s workers one at a time asks."""
        batch: _Batch[I] = _Batch()
        held, self._held = self._held, deque()
        for entry in held:
            self._place(batch, entry)
        await self._fill(batch)
        if not batch.entries and not batch.unfit:
            raise self._feed.error or StopAsyncIteration
        batch.after = {self._latest[key] for key in batch.keys if key in self._latest}
        self._latest.update(dict.fromkeys(batch.keys, batch))
        return batch

    async def send(self, batch: _Batch[I]) -> list[bulk.Outcome[I, R]]:
        """Send *batch* when those before it that share a key are done; return its outcomes."""
        try:
            for earlier in batch.after:
                await earlier.done.wait()
            results = await self._results(batch)
        finally:
            batch.done.set()
            batch.after.clear()
            for key in batch.keys:
                if self._latest[key] is batch:
                    del self._latest[key]
        return [
            *batch.unfit,
            *(
                outcome_of(entry.index, entry.item, result)
                for entry, result in zip(batch.entries, results, strict=True)
            ),
        ]

    async def _results(self, batch: _Batch[I]) -> Sequence[R | Exception]:
        if not batch.entries:
            return []
        try:
            return await self._way.send([entry.item for entry in batch.entries])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what they all ended in
            return [error] * len(batch.entries)

    async def _fill(self, batch: _Batch[I]) -> None:
        """Take items for *batch* until it is full, there are none, or they are too slow."""
        patience = inf
        while patience >= 0 and self._has_room(batch):
            began = anyio.current_time()
            try:
                item = await self._feed.next(patience)
            except (StopAsyncIteration, TimeoutError):
                return
            waited = anyio.current_time() - began
            patience = self._limits.linger if patience == inf else patience - waited
            index = self._taken
            self._taken += 1
            try:
                size = self._way.size(item)
                if size + len(ENVELOPE) > self._limits.max_bytes:
                    message = f"the item is {size} bytes as JSON, more than a batch may have"
                    raise ValueError(message)  # noqa: TRY301 - as one that has no size
                entry = _Entry(index, item, size, frozenset(self._way.keys(item)))
            except Exception as error:  # noqa: BLE001 - the item's own: it alone fails
                batch.unfit.append(Failed(index, item, error))
            else:
                self._place(batch, entry)

    def _has_room(self, batch: _Batch[I]) -> bool:
        taken = len(batch.entries) + len(batch.unfit)
        return taken < self._limits.batch_size and len(self._held) < self._limits.batch_size

    def _place(self, batch: _Batch[I], entry: _Entry[I]) -> None:
        """Put *entry* into *batch* if it may ride there, else where the next one begins."""
        waiting = any(entry.keys & other.keys for other in self._held)
        room = (
            len(batch.entries) < self._limits.batch_size
            and batch.size_with(entry) <= self._limits.max_bytes
        )
        if room and not waiting and not entry.keys & batch.keys:
            batch.add(entry)
        else:
            self._held.append(entry)
