"""Items sent in batches, several at once, with one outcome for each item."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from typing import Any, Final, Generic, Self, TypeVar, cast

import anyio
from attrs import define, field, frozen

from sunshine_async import bulk
from sunshine_async.bulk import Done, Failed
from sunshine_async.bulk.cancellation import CALL, after_sending, contained, until
from sunshine_async.bulk.source import Items, Source, check_items, opened

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
    """How items go out: their *size* as JSON, the *keys* they must not share, how to *send* them.

    *size* raises for an item that can't be sent. *send* gives one result for each, in their order:
    what it brought, or the exception that it ended in.
    """

    size: Callable[[I], int]
    keys: Callable[[I], Iterable[Hashable]]
    send: Callable[[Sequence[I]], Awaitable[Sequence[R | Exception]]]


def run(
    way: Sender[I, R], items: Items[I], limits: Limits, *, ordered: bool
) -> AbstractAsyncContextManager[bulk.Outcomes[I, R]]:
    """Send *items* in batches; give a block the stream of outcomes, as `bulk.run` does.

    Items are taken only when a batch may be sent, and one may be sent only when the outcomes of an
    earlier one were received. Items with a key in common are never in one batch, nor under way at
    once: they go in the order of *items*. Raise at the call `TypeError` for what are no *items*.
    """
    check_items(items)
    return _run(way, items, limits, ordered=ordered)


@asynccontextmanager
async def _run(
    way: Sender[I, R], items: Items[I], limits: Limits, *, ordered: bool
) -> AsyncGenerator[bulk.Outcomes[I, R]]:
    async with opened(items) as source:
        batches = _Batches(way, source, limits)
        async with bulk.run(
            batches.send, batches, concurrency=limits.concurrency, ordered=ordered
        ) as done:
            yield _Outcomes(done, source, ordered=ordered)


class _Outcomes(bulk.Outcomes[I, R]):
    """The outcomes of items, out of the outcomes of batches."""

    def __init__(
        self,
        batches: "bulk.Outcomes[_Batch[I], list[bulk.Outcome[I, R]]]",
        source: Source[I],
        *,
        ordered: bool,
    ) -> None:
        super().__init__(source, ordered=ordered)
        self._batches: Final = batches
        self._open: Final[deque[bulk.Outcome[I, R]]] = deque()
        self._held: Final[dict[int, bulk.Outcome[I, R]] | None] = {} if ordered else None
        self._next = 0

    async def __anext__(self) -> bulk.Outcome[I, R]:
        while not self._open:
            batch = cast("Done[_Batch[I], list[bulk.Outcome[I, R]]]", await anext(self._batches))
            if self._held is None:
                self._open.extend(batch.value)
                continue
            self._held.update((outcome.index, outcome) for outcome in batch.value)
            while self._next in self._held:
                self._open.append(self._held.pop(self._next))
                self._next += 1
        return self._open.popleft()


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

    def __init__(self, way: Sender[I, R], source: Source[I], limits: Limits) -> None:
        self._way: Final = way
        self._source: Final = source
        self._limits: Final = limits
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
            raise self._source.error or StopAsyncIteration
        batch.after = {self._latest[key] for key in batch.keys if key in self._latest}
        self._latest.update(dict.fromkeys(batch.keys, batch))
        return batch

    async def send(self, batch: _Batch[I]) -> list[bulk.Outcome[I, R]]:
        """Send *batch* when those before it that share a key are done; return its outcomes."""
        try:
            for earlier in batch.after:
                await until(earlier.done)
            return [*batch.unfit, *await self._outcomes(batch.entries)]
        finally:
            batch.done.set()
            batch.after.clear()
            for key in batch.keys:
                if self._latest[key] is batch:
                    del self._latest[key]

    async def _outcomes(self, entries: Sequence[_Entry[I]]) -> Sequence[bulk.Outcome[I, R]]:
        """Send *entries* as one batch; return their outcomes.

        An exception of the sending, as a whole, may have come after a request was sent.
        """
        if not entries:
            return []
        outcomes: list[bulk.Outcome[I, R]] = []
        try:
            results = await self._way.send([entry.item for entry in entries])
            for entry, result in zip(entries, results, strict=True):
                outcomes.append(bulk.outcome_of(entry.index, entry.item, result))
        except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
            failed = after_sending(contained(error, CALL))
            return [bulk.outcome_of(entry.index, entry.item, failed) for entry in entries]
        return outcomes

    async def _fill(self, batch: _Batch[I]) -> None:
        """Take items for *batch* until it is full, there are none, or they are too slow."""
        patience = inf
        while patience >= 0 and self._has_room(batch):
            began = anyio.current_time()
            try:
                taken = await self._source.take(patience)
            except TimeoutError:
                return
            if taken is None:
                return
            index, item = taken
            waited = anyio.current_time() - began
            patience = self._limits.linger if patience == inf else patience - waited
            try:
                size = self._way.size(item)
                if size + len(ENVELOPE) > self._limits.max_bytes:
                    message = f"the item is {size} bytes as JSON, more than a batch may have"
                    raise ValueError(message)  # noqa: TRY301 - as one that has no size
                entry = _Entry(index, item, size, frozenset(self._way.keys(item)))
            except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
                batch.unfit.append(Failed(index, item, contained(error, "the size of an item")))
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
