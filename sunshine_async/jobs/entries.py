"""The entries of a job: its rows, read in a thread, no faster than they are sent."""

from collections import deque
from collections.abc import AsyncIterable, Iterator, Sequence
from typing import Any, Final, Protocol, Self

from anyio import to_thread

from sunshine_async.bulk.source import close_iterator
from sunshine_async.errors import SunshineError
from sunshine_async.jobs.bodies import Rows, row_of
from sunshine_async.jobs.report import Report
from sunshine_async.jobs.tasks.task import Entry, Task
from sunshine_async.rows import BadRow, Row, RowFile, SourceError

AT_ONCE: Final = 500
"""Rows that are read before any of them is sent."""
_LOOK_UP: Final = 0.2  # seconds, between looks at whether to stop, while a pipe has nothing to say


class Consumer(Protocol):
    """The job that entries are read for."""

    @property
    def report(self) -> Report:
        """The report that counts the rows."""

    @property
    def stopped(self) -> bool:
        """True once no more rows are taken."""

    def refuse(self, row: BadRow) -> None:
        """Record a row that can't be sent."""

    def give_up(self, reason: str) -> None:
        """End the job, for *reason*."""


class Entries:
    """The entries of a job's rows, read in a thread, a batch at a time; bad rows are taken down."""

    def __init__(self, job: Consumer, task: Task, rows: Rows) -> None:
        self._job: Final = job
        self._task: Final = task
        self._file: Final = rows if isinstance(rows, RowFile) else None
        self._given: Final = rows
        self._items: Final = aiter(rows) if isinstance(rows, AsyncIterable) else None
        self._rows: Final[Iterator[Any]] = iter(() if isinstance(rows, AsyncIterable) else rows)
        self._batch: Final[deque[Entry | BadRow]] = deque()
        self.read = 0
        self._ended = False
        self._broken: SunshineError | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Entry:
        while not self._job.stopped:
            while not self._batch and not self._ended:
                await self._fill()
            if not self._batch:
                break
            entry = self._batch.popleft()
            self._job.report.last_line = entry.line
            if isinstance(entry, Entry):
                self._job.report.note(entry.beyond)
                return entry
            self._job.refuse(entry)
        if self._broken is not None:
            self._job.give_up(str(self._broken))
        raise StopAsyncIteration

    def close(self) -> None:
        """Close what it has opened itself."""

    async def aclose(self) -> BaseException | None:
        """Close the iterator of the rows, if it is a generator; return the exception from that."""
        if self._file is not None:
            return None
        return await close_iterator(self._given, self._rows if self._items is None else self._items)

    async def _fill(self) -> None:
        if self._items is None:
            await to_thread.run_sync(self._read)
            return
        try:
            items = [await anext(self._items)]
        except StopAsyncIteration:
            self._ended = True
        except SourceError as error:
            self._broken, self._ended = error, True
        else:
            await to_thread.run_sync(self._take, items)

    def _read(self) -> None:
        """Read what is there, at most a batch; nothing if nothing comes for a while."""
        if self._file is None or self._file.ready(_LOOK_UP):
            self._take(self._at_hand())

    def _at_hand(self) -> list[Any]:
        """Return the rows that are there without a wait, and one at least unless they have ended."""
        items: list[Any] = []
        try:
            for item in self._rows:
                items.append(item)
                if len(items) >= AT_ONCE or (self._file and not self._file.waiting):
                    return items
        except SourceError as error:
            self._broken = error
        self._ended = True
        return items

    def _take(self, items: Sequence[Any]) -> None:
        """Let *items* be sent."""
        self._batch.extend(
            self._task.entry(row) if isinstance(row, Row) else row for row in self._told(items)
        )

    def _told(self, items: Sequence[Any]) -> Sequence[Row | BadRow]:
        """Return *items* as rows: those of a file, or one that has its line by its place."""
        first = self.read + 1
        self.read += len(items)
        if self._file is not None:
            return items
        return [row_of(line, item, self._task) for line, item in enumerate(items, first)]
