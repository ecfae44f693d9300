"""The entries of a job with a journal: what is still to be done of its rows."""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
from anyio import to_thread
from attrs import frozen

from sunshine_async._line import LANE, Lane
from sunshine_async._tasks import Entry, Task
from sunshine_async.jobs.job import AT_ONCE, LOOK_UP, Entries, Job
from sunshine_async.jobs.sources import noted, row_of
from sunshine_async.journal import Journal, JournalError, Kept, State
from sunshine_async.rows import BadRow, Row, RowFile, SourceError

Rows = Iterable[Any] | AsyncIterable[Any]
_ELSEWHERE: Final = "{} was changed while it was read: run the same again, with the file as it was"


@frozen
class Refused(BadRow):
    """A row that can't be sent, and its *number* in the journal."""

    number: int


@frozen
class Feed:
    """What the entries are made with."""

    job: Job
    task: Task
    journal: Journal
    states: Sequence[State]
    """Those of the rows that are to be sent, or looked at."""
    entry_of: Callable[[Row, Kept], Entry | Refused]
    """Returns what is sent for a row, or why it can't be."""
    begin: Callable[[int], Awaitable[None]] | None
    """Marks rows as begun before they are sent, all up to a number; None: each has its own mark."""
    keep_bodies: bool = False
    skip_unchanged: bool = False
    bodies_differ: bool = False
    """Whether two bodies for one user are two things to send, one after the other."""
    at_once: int = AT_ONCE
    """How many rows are read before any of them is sent; as many more, at least, are marked as begun."""

    def noted(self, row: Row | BadRow) -> Any:
        """Return what the journal has of *row*."""
        return noted(row, self.task, keep_body=self.keep_bodies)


class Pending(Entries):
    """Of a file that was read ahead: it is read once more, beside the journal."""

    def __init__(self, feed: Feed, rows: RowFile) -> None:
        super().__init__(feed.job, feed.task, ())
        self._feed: Final = feed
        self._first: Final = rows
        self._opened: RowFile | None = None
        self._numbered: Iterator[tuple[int, Row | BadRow]] = iter(())
        self._after = 0

    def close(self) -> None:
        """Close the file."""
        if self._opened is not None:
            self._opened.close()

    async def _fill(self) -> None:
        try:
            batch = await to_thread.run_sync(self._page)
            if batch and self._feed.begin is not None:
                await self._feed.begin(self._after)
        except (SourceError, JournalError) as error:
            self._broken, batch = error, []
        self._batch.extend(batch)
        self._ended = not batch

    def _page(self) -> list[Entry | Refused]:
        """Return the next entries."""
        feed = self._feed
        page = feed.journal.pending(self._after, feed.states, many=feed.at_once)
        if page:
            self._after = page[-1].number
        batch = [*map(feed.entry_of, map(self._row, page), page)]
        self._check()
        return batch

    def _row(self, kept: Kept) -> Row:
        """Return the row of the file that *kept* was; raise `SourceError` if it isn't there now."""
        if self._opened is None:
            self._opened = self._first.again()
            self._numbered = enumerate(self._opened, self._feed.journal.first)
        for number, row in self._numbered:
            if number == kept.number and isinstance(row, Row):
                return row
        raise SourceError(_ELSEWHERE.format(self._first.name))

    def _check(self) -> None:
        """Raise `SourceError` where the file isn't what it was when it was read ahead."""
        opened = self._opened
        if opened is not None and (opened.changed or opened.stamp != self._first.stamp):
            raise SourceError(_ELSEWHERE.format(self._first.name))


class Stream(Entries):
    """Of what can be read once: the journal takes down each row as it comes."""

    def __init__(self, feed: Feed, rows: Rows, session: int) -> None:
        super().__init__(feed.job, feed.task, rows if isinstance(rows, Iterable) else ())
        self._feed: Final = feed
        self._items: AsyncIterator[Any] | None = (
            aiter(rows) if isinstance(rows, AsyncIterable) else None
        )
        self._session: Final = session
        self._last = 0
        """The highest number that a row had."""
        self._put, self._come = anyio.create_memory_object_stream[Any](AT_ONCE)
        self._reading: Final = anyio.CancelScope()
        self._failed: Exception | None = None

    async def read_ahead(self) -> None:
        """Take the rows of an async iterable as they come, at most `AT_ONCE` ahead."""
        LANE.set(Lane.BATCH)
        assert self._items is not None  # noqa: S101 - it is called for an async iterable
        with self._reading, self._put:
            try:
                async for item in self._items:
                    await self._put.send(item)
            except Exception as error:  # noqa: BLE001 - the caller's own: raised where rows are taken
                self._failed = error

    def close(self) -> None:
        """End reading."""
        self._reading.cancel()
        self._put.close()
        self._come.close()

    async def _fill(self) -> None:
        if self._items is None:
            await super()._fill()
        else:
            try:
                items = [await self._come.receive()]
            except anyio.EndOfStream:
                if self._failed is not None:
                    raise self._failed from None
                self._ended = True
            else:
                with suppress(anyio.WouldBlock, anyio.EndOfStream):
                    while len(items) < AT_ONCE:
                        items.append(self._come.receive_nowait())
                await to_thread.run_sync(partial(self._meet, items))
        if self._batch and self._feed.begin is not None:
            await self._feed.begin(self._last)  # what can't be written stops the job meanwhile

    def _read(self) -> None:
        if self._file is not None and not self._file.ready(LOOK_UP):
            return
        try:
            self._meet(self._at_hand(self._file))
        except (SourceError, JournalError) as error:
            self._broken = error
            self._ended = True

    def _at_hand(self, file: RowFile | None) -> list[Any]:
        """Return the rows that are there without a wait, and one at least unless it has ended."""
        items: list[Any] = []
        for row in self._rows:
            items.append(row)
            if len(items) >= AT_ONCE or (file and not file.waiting):
                return items
        self._ended = True
        return items

    def _meet(self, items: Sequence[Any]) -> None:
        rows = [row_of(self.read + place, item) for place, item in enumerate(items, 1)]
        self.read += len(rows)
        lines = [self._feed.noted(row) for row in rows]
        met = self._feed.journal.meet(
            lines,
            session=self._session,
            skip_unchanged=self._feed.skip_unchanged,
            bodies_differ=self._feed.bodies_differ,
        )
        self._last = max([self._last, *(kept.number for kept in met if kept is not None)])
        self._batch.extend(
            self._feed.entry_of(row, kept)
            for row, kept in zip(rows, met, strict=True)
            if isinstance(row, Row) and kept is not None and kept.state in self._feed.states
        )
