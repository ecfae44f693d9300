"""Entries of a job: rows as a service takes them, read in a thread, no faster than sent.

`Entries` is for a job in memory; `FileEntries` and `StreamEntries` are for a job with a journal.
"""

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from os import PathLike
from typing import Any, Final, TypeAlias, cast

import anyio
import attrs
import orjson
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus
from attrs import evolve, frozen

from sunshine_async._codec import encode
from sunshine_async._pace.slots import CURRENT_LANE, Lane
from sunshine_async.bulk.cancellation import ITEMS, to_exception
from sunshine_async.bulk.source import close_iterator
from sunshine_async.errors import SunshineError
from sunshine_async.jobs.report import Problem, Trouble
from sunshine_async.jobs.source import STALE, hash_of, source_row
from sunshine_async.jobs.tasks.task import Entry, Recovery, Task
from sunshine_async.journal import CREATED, JobJournal, JournalError, JournalRow, Rules, State
from sunshine_async.rows import BadRow, Row, RowFile, SourceError

Rows: TypeAlias = Iterable[Any] | AsyncIterable[Any]

BATCH_SIZE: Final = 500
"""Rows that are read before any row of the batch is sent."""
TROUBLES: Final[Mapping[State, Trouble]] = {
    State.FAILED: Trouble.FAILED,
    State.UNKNOWN: Trouble.UNKNOWN,
    State.BAD: Trouble.BAD,
}
MARKED_AHEAD: Final = (
    Recovery.RESEND_UNCERTAIN,
    Recovery.LOOK_UP_OR_RESEND,
    Recovery.RESEND_DELETE,
)
"""Kinds of entries that may be marked as begun ahead of the sending.

If the job ends before the sending, the next run looks the row up or sends the row again: unknown
only if another user has the key. A deletion of a user never there then counts as done, and a user
who was there already, with everything to be sent, as created.
"""
_POLL: Final = 0.2  # seconds between checks for a stop while a pipe is silent
_WAITING: Final = State.WAITING  # looked up once: an enum's members take their time
_BEGUN: Final = State.BEGUN
_UNKNOWN: Final = State.UNKNOWN
_NOT_ROWS: Final[tuple[type[Any], ...]] = (str, bytes, bytearray, memoryview, PathLike, Mapping)
_EXPECTED_ROWS: Final = (
    "rows: expected an iterable of bodies, got {}. Rows of a file come from "
    "open_rows(path, job.shape); a single body goes in a list"
)
_FILE_CHANGED: Final = (
    "{} was changed while it was read: run the same again, with the file as it was, or accept it as "
    "it is (--accept-changed-source)"
)
_CHANGED_MEANWHILE: Final = (
    "{} was changed while it was read: rows may be missing, or sent twice. Compare the file with the "
    "service before you import again; with --journal the job stops at such a change"
)


def check_rows(rows: object) -> None:
    """Raise `TypeError` unless *rows* is an iterable of bodies: a path, a file, a body is none."""
    kind = type(rows)
    single = attrs.has(kind) or hasattr(rows, "read") or isinstance(rows, _NOT_ROWS)
    if single or not isinstance(rows, Iterable | AsyncIterable):
        raise TypeError(_EXPECTED_ROWS.format(kind.__name__))


def row_of(line: int, item: Any, task: Task) -> Row | BadRow:
    """Return *item*, a body or a row, as a row; a bad row if JSON can't hold the body."""
    if isinstance(item, BadRow):
        return item
    if isinstance(item, Row):
        line, item = item.line, item.data
    if not task.accepts(item):
        kinds = " or ".join(kind.__name__ for kind in task.models)
        return BadRow(line, f"expected a {kinds} or a mapping, got a {type(item).__name__}")
    try:
        data = orjson.loads(encode(item))
    except ValueError as error:  # which names the field
        return BadRow(line, str(error))
    except Exception as error:  # noqa: BLE001 - of the caller's own mapping, say: its row is bad
        return BadRow(line, f"can't be read: {type(error).__name__}")
    if isinstance(data, dict):
        return Row(line, cast("dict[str, Any]", data))
    return BadRow(
        line, f"expected a model, or a mapping such as {{'id': ...}}, got {type(item).__name__}"
    )


class Entries:
    """Entries of *rows*, and rows that can't be sent: read in a thread, a batch at a time."""

    def __init__(self, task: Task, rows: Rows) -> None:
        self.read = 0
        self.error: SunshineError | None = None  # has ended the rows early
        self._task: Final = task
        self._file: Final = rows if isinstance(rows, RowFile) else None
        self._source: Final = rows
        self._async_rows: Final = aiter(rows) if isinstance(rows, AsyncIterable) else None
        self._rows: Final[Iterator[Any]] = iter(() if isinstance(rows, AsyncIterable) else rows)
        self._batch: list[Entry | BadRow] = []
        self._ended = False

    async def batch(self) -> Sequence[Entry | BadRow]:
        """Return the next batch; an empty batch at the end."""
        while not self._batch and not self._ended:
            await self._fill()
        batch, self._batch = self._batch, []
        return batch

    async def aclose(self) -> BaseException | None:
        """Close the iterator of rows that are no file; return the exception from closing."""
        if self._file is not None:
            return None
        iterator = self._rows if self._async_rows is None else self._async_rows
        return await close_iterator(self._source, iterator)

    async def _fill(self) -> None:
        if self._async_rows is None:
            await to_thread.run_sync(self._read_batch)
            return
        try:
            items = [await anext(self._async_rows)]
        except StopAsyncIteration:
            self._ended = True
        except SourceError as error:
            self._end(error)
        else:
            await to_thread.run_sync(self._add, items)

    def _read_batch(self) -> None:
        """Read the rows that are available, at most a batch; none if a pipe stays silent."""
        if self._file is None or self._file.ready(_POLL):
            self._add(self._available())

    def _available(self) -> list[Any]:
        """Return the rows that are available without a wait; at least a row before the end."""
        items: list[Any] = []
        try:
            for item in self._rows:
                items.append(item)
                if len(items) >= BATCH_SIZE or (self._file and not self._file.waiting):
                    return items
        except SourceError as error:
            self.error = error
        else:
            if self._file is not None and self._file.changed:
                self.error = SourceError(_CHANGED_MEANWHILE.format(self._file.name))
        self._ended = True
        return items

    def _add(self, items: Sequence[Any]) -> None:
        self._batch.extend(
            self._task.entry(row) if isinstance(row, Row) else row for row in self._as_rows(items)
        )

    def _as_rows(self, items: Sequence[Any]) -> Sequence[Row | BadRow]:
        """Return *items* as rows; outside of a file the line is the position of the item."""
        first = self.read + 1
        self.read += len(items)
        if self._file is not None:
            return items
        return [row_of(line, item, self._task) for line, item in enumerate(items, first)]

    def _end(self, error: SunshineError | None) -> None:
        self.error, self._ended = error, True


@frozen
class RefusedRow(BadRow):
    """A row that can't be sent, with the *number* of the journal row."""

    number: int
    problem: Problem | None = None
    """The problem, if the journal has recorded the row as refused already."""


@frozen
class EntryFactory:
    """Entries from rows and journal rows."""

    task: Task
    journal: JobJournal
    states: Sequence[State]
    """States of the rows to send or to look up."""
    mark_through: Callable[[int], Awaitable[None]] | None
    """Marks all rows through a number as begun before sending; None: each row is marked alone."""
    rules: Rules
    keep_bodies: bool = False
    batch_size: int = BATCH_SIZE
    """Rows read before any row of the batch is sent; at least twice as many are marked as begun."""

    def entry(self, row: Row, kept: JournalRow) -> Entry | RefusedRow:
        """Return the entry of *row* and the journal row *kept*, or the reason against sending."""
        entry = self.task.entry(row, kept.number, remote_id=kept.remote_id)
        if isinstance(entry, BadRow):
            return RefusedRow(entry.line, entry.reason, kept.number)
        state, recovery = kept.state, self.task.recovery(entry)
        begun = state is _BEGUN or (state is _UNKNOWN and recovery is not Recovery.UNKNOWN)
        ahead = self.mark_through and state is _WAITING and recovery in MARKED_AHEAD
        alone = not (ahead or recovery is Recovery.RESEND)
        if not (begun or alone):
            return entry
        resend = state is _UNKNOWN and recovery is Recovery.LOOK_UP
        return evolve(entry, begun=begun, alone=alone, resend=resend)


class FileEntries(Entries):
    """Entries of a file that was loaded into the journal: the file is read a second time."""

    def __init__(self, factory: EntryFactory, rows: RowFile, count: int) -> None:
        super().__init__(factory.task, ())
        self._factory: Final = factory
        self._loaded: Final = rows
        self._count: Final = count
        self.opened: RowFile | None = None
        """The file that is read a second time, for the rows that are still to be sent."""
        self._numbered: Iterator[tuple[int, Row | BadRow]] = iter(())
        self._after = 0

    async def aclose(self) -> None:
        if self.opened is not None:
            self.opened.close()

    async def _fill(self) -> None:
        try:
            batch = await to_thread.run_sync(self._page)
            if batch and self._factory.mark_through is not None:
                await self._factory.mark_through(self._after)
        except (SourceError, JournalError) as error:
            self.error, batch = error, []
        self._batch.extend(batch)
        self._ended = not batch

    def _page(self) -> list[Entry | RefusedRow]:
        """Return the next entries; raise `SourceError` for a file that has changed since loading."""
        factory = self._factory
        page = factory.journal.pending(
            self._after, factory.states, many=factory.batch_size, until=self._count,
            created=not factory.rules.skips,
        )  # fmt: skip
        if page:
            self._after = page[-1].number
        batch = [*map(factory.entry, map(self._row, page), page)]
        opened = self.opened
        if opened is not None and (opened.changed or opened.stamp != self._loaded.stamp):
            raise SourceError(_FILE_CHANGED.format(self._loaded.name))
        return batch

    def _row(self, kept: JournalRow) -> Row:
        """Return the row of the file for *kept*; raise `SourceError` for a different row there."""
        if self.opened is None:
            self.opened = self._loaded.again()
            self._numbered = enumerate(self.opened, 1)
        for number, row in self._numbered:
            if number == kept.number:
                if isinstance(row, Row) and hash_of(row) == kept.hash:
                    return row
                break
            self.opened.raise_if_stopped()
        self._factory.journal.describe(**{STALE: "1"})
        raise SourceError(_FILE_CHANGED.format(self._loaded.name))


class StreamEntries(Entries):
    """Entries of a one-pass source: the journal records each row on arrival."""

    def __init__(self, factory: EntryFactory, rows: Rows, tasks: TaskGroup) -> None:
        super().__init__(factory.task, rows)
        self._factory: Final = factory
        self._tasks: Final = tasks
        self._last = 0  # the highest number of a row
        self._sender, self._receiver = anyio.create_memory_object_stream[Any](BATCH_SIZE)
        self._reading: Final = anyio.CancelScope()
        self._read_error: Exception | None = None
        self._is_reading = False
        self._read_ended: Final = anyio.Event()

    async def _read_ahead(self, rows: AsyncIterator[Any], *, task_status: TaskStatus[None]) -> None:
        """Read an async iterable, at most `BATCH_SIZE` rows ahead of the sending."""
        CURRENT_LANE.set(Lane.BATCH)
        self._is_reading = True
        task_status.started()
        try:
            with self._reading, self._sender:
                async for item in rows:
                    await self._sender.send(item)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            self._read_error = to_exception(error, ITEMS)
        finally:
            self._read_ended.set()

    async def aclose(self) -> BaseException | None:
        """Stop reading ahead and close the iterator; return the exception from closing."""
        self._reading.cancel()
        if self._is_reading:
            with anyio.CancelScope(shield=True):
                await self._read_ended.wait()
        self._sender.close()
        self._receiver.close()
        return await super().aclose()

    async def _fill(self) -> None:
        if self._async_rows is None:
            await super()._fill()
        else:
            if not self._is_reading:
                await self._tasks.start(self._read_ahead, self._async_rows)
            await self._receive()
        if self._batch and self._factory.mark_through is not None:
            await self._factory.mark_through(self._last)  # a failed write stops the job meanwhile

    async def _receive(self) -> None:
        """Take the rows that were read ahead: at least a row before the end."""
        try:
            items = [await self._receiver.receive()]
        except anyio.EndOfStream:
            if self._read_error is not None and not isinstance(self._read_error, SourceError):
                self._ended = True
                raise self._read_error from None
            self._end(self._read_error)
            return
        with suppress(anyio.WouldBlock, anyio.EndOfStream):
            while len(items) < BATCH_SIZE:
                items.append(self._receiver.receive_nowait())
        await to_thread.run_sync(self._add, items)

    def _add(self, items: Sequence[Any]) -> None:
        factory = self._factory
        rows = self._as_rows(items)
        lines = [source_row(row, self._task, keep_body=factory.keep_bodies) for row in rows]
        try:
            matched = factory.journal.meet(lines, factory.rules, states=factory.states)
        except JournalError as error:
            self._end(error)
            return
        for row, kept in zip(rows, matched, strict=True):
            if kept is None:
                continue
            self._last = max(self._last, kept.number)
            is_sent = kept.state in factory.states and kept.code != CREATED
            if isinstance(row, Row) and is_sent:
                self._batch.append(factory.entry(row, kept))
            elif kept.code is not None:
                problem = Problem(row.line, TROUBLES[kept.state], kept.code, kept.reason or "")
                self._batch.append(RefusedRow(row.line, problem.reason, kept.number, problem))
