"""The entries of a job with a journal: what is still to be done of its rows."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus
from attrs import frozen

from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import ITEMS, contained
from sunshine_async.jobs.bodies import Rows
from sunshine_async.jobs.entries import AT_ONCE, Consumer, Entries
from sunshine_async.jobs.report import Problem, Trouble
from sunshine_async.jobs.source import STALE, hash_of, noted
from sunshine_async.jobs.tasks.task import Entry, Task
from sunshine_async.journal import CREATED, Journal, JournalError, JournalRow, Rules, State
from sunshine_async.rows import BadRow, Row, RowFile, SourceError

TROUBLES: Final[Mapping[State, Trouble]] = {
    State.FAILED: Trouble.FAILED,
    State.UNKNOWN: Trouble.UNKNOWN,
    State.BAD: Trouble.BAD,
}
_ELSEWHERE: Final = (
    "{} was changed while it was read: run the same again, with the file as it was, or accept it as "
    "it is (--accept-changed-source)"
)


@frozen
class Refused(BadRow):
    """A row that can't be sent, and its *number* in the journal."""

    number: int
    problem: Problem | None = None
    """Of a row that the journal has so already."""


@frozen
class Feed:
    """What the entries are made with."""

    job: Consumer
    task: Task
    journal: Journal
    states: Sequence[State]
    """Those of the rows that are to be sent, or looked at."""
    entry_of: Callable[[Row, JournalRow], Entry | Refused]
    """Returns what is sent for a row, or why it can't be."""
    begin: Callable[[int], Awaitable[None]] | None
    """Marks rows as begun before they are sent, all up to a number; None: each has its own mark."""
    rules: Rules
    keep_bodies: bool = False
    at_once: int = AT_ONCE
    """How many rows are read before any of them is sent; as many more, at least, are marked as begun."""

    def noted(self, row: Row | BadRow) -> Any:
        """Return what the journal has of *row*."""
        return noted(row, self.task, keep_body=self.keep_bodies)


class Pending(Entries):
    """Of a file that was read ahead: it is read once more, beside the journal."""

    def __init__(self, feed: Feed, rows: RowFile, ahead: int) -> None:
        super().__init__(feed.job, feed.task, ())
        self._feed: Final = feed
        self._first: Final = rows
        self._ahead: Final = ahead
        """How many rows the file has."""
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
        page = feed.journal.pending(
            self._after, feed.states, many=feed.at_once, until=self._ahead,
            created=not feed.rules.skips,
        )  # fmt: skip
        if page:
            self._after = page[-1].number
        batch = [*map(feed.entry_of, map(self._row, page), page)]
        self._check()
        return batch

    def _row(self, kept: JournalRow) -> Row:
        """Return the row of the file that *kept* was; raise `SourceError` if it isn't there now."""
        if self._opened is None:
            self._opened = self._first.again()
            self._numbered = enumerate(self._opened, 1)
        for number, row in self._numbered:
            if number == kept.number:
                if isinstance(row, Row) and hash_of(row) == kept.hash:
                    return row
                break
        self._feed.journal.describe(**{STALE: "1"})
        raise SourceError(_ELSEWHERE.format(self._first.name))

    def _check(self) -> None:
        """Raise `SourceError` where the file isn't what it was when it was read ahead."""
        opened = self._opened
        if opened is not None and (opened.changed or opened.stamp != self._first.stamp):
            raise SourceError(_ELSEWHERE.format(self._first.name))


class Stream(Entries):
    """Of what can be read once: the journal takes down each row as it comes."""

    def __init__(self, feed: Feed, rows: Rows, beside: TaskGroup) -> None:
        super().__init__(feed.job, feed.task, rows)
        self._feed: Final = feed
        self._beside: Final = beside
        self._last = 0
        """The highest number that a row had."""
        self._put, self._come = anyio.create_memory_object_stream[Any](AT_ONCE)
        self._reading: Final = anyio.CancelScope()
        self._failed: Exception | None = None
        self._is_reading = False
        self._over: Final = anyio.Event()

    async def _read_ahead(
        self, items: AsyncIterator[Any], *, task_status: TaskStatus[None]
    ) -> None:
        """Take the rows of an async iterable as they come, at most `AT_ONCE` ahead."""
        CURRENT_LANE.set(Lane.BATCH)
        self._is_reading = True
        task_status.started()
        try:
            with self._reading, self._put:
                async for item in items:
                    await self._put.send(item)
        except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
            self._failed = contained(error, ITEMS)
        finally:
            self._over.set()

    async def aclose(self) -> BaseException | None:
        """End reading ahead, and close the iterator; return the exception from that."""
        self._reading.cancel()
        if self._is_reading:
            with anyio.CancelScope(shield=True):
                await self._over.wait()
        self._put.close()
        self._come.close()
        return await super().aclose()

    async def _fill(self) -> None:
        if self._items is None:
            await super()._fill()
        else:
            if not self._is_reading:
                await self._beside.start(self._read_ahead, self._items)
            await self._fill_from_ahead()
        if self._batch and self._feed.begin is not None:
            await self._feed.begin(self._last)  # what can't be written stops the job meanwhile

    async def _fill_from_ahead(self) -> None:
        """Take the rows that have been read ahead, one at least unless they have ended."""
        try:
            items = [await self._come.receive()]
        except anyio.EndOfStream:
            self._ended = True
            if self._failed is not None and not isinstance(self._failed, SourceError):
                raise self._failed from None
            self._broken = self._failed
            return
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while len(items) < AT_ONCE:
                items.append(self._come.receive_nowait())
        await to_thread.run_sync(self._take, items)

    def _take(self, items: Sequence[Any]) -> None:
        rows = self._told(items)
        lines = [self._feed.noted(row) for row in rows]
        try:
            met = self._feed.journal.meet(lines, self._feed.rules, states=self._feed.states)
        except JournalError as error:
            self._broken, self._ended = error, True
            return
        for row, kept in zip(rows, met, strict=True):
            if kept is None:
                continue
            self._last = max(self._last, kept.number)
            sent = kept.state in self._feed.states and kept.code != CREATED
            if isinstance(row, Row) and sent:
                self._batch.append(self._feed.entry_of(row, kept))
            elif kept.code is not None:
                problem = Problem(row.line, TROUBLES[kept.state], kept.code, kept.reason or "")
                self._batch.append(Refused(row.line, problem.reason, kept.number, problem))
