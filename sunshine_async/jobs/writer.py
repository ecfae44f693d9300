"""Group commit to the journal: a commit has all updates that arrived during the commit before."""

from collections.abc import Callable, Mapping
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from attrs import define, field

from sunshine_async.journal import STARTED_THROUGH, Done, JobJournal, JournalError, Update

_LINGER: Final = 0.1  # seconds in which a group without a waiting task collects updates
_IDLE: Final = 1.0  # seconds without any update, after which entries are looked at for news
_MAX_AHEAD: Final = 1000  # the most rows that are marked as begun ahead of the sending
_BACKLOG: Final = 2000  # unwritten updates from which on senders have to wait for a commit


@define(eq=False)
class _CommitGroup:
    started_through: int = 0
    timeline: str | None = None
    begun: dict[int, str | None] = field(factory=dict[int, str | None])
    updates: list[Update] = field(factory=list[Update])
    done: dict[tuple[str, int], dict[int, str | None]] = field(factory=dict)
    size: int = 0  # updates, and rows that are done
    callbacks: list[Callable[[], None]] = field(factory=list[Callable[[], None]])
    committed: anyio.Event = field(factory=anyio.Event)

    @property
    def has_data(self) -> bool:
        return bool(self.size or self.begun or self.started_through or self.timeline)


@define(eq=False)
class JournalWriter:
    """Writes to *journal* in a thread while `run` runs.

    *on_done* gets the rows that are done, after the commit. Each commit contains the entries of
    *sums* about the job; without updates there is a commit a second where entries have changed.
    After a failed write the writer writes nothing more: waiting tasks get the `JournalError`, and
    so does *on_error*.
    """

    _journal: JobJournal
    _sums: Callable[[], Mapping[str, str]]
    _on_done: Callable[[Done], None]
    _on_error: Callable[[JournalError], None]
    _group: _CommitGroup = field(factory=_CommitGroup)
    _wake: anyio.Event = field(factory=anyio.Event)
    _flush: anyio.Event = field(factory=anyio.Event)
    _closed: bool = False
    _started_through: int = 0  # all rows through this number are marked as begun on disk
    _requested_through: int = 0  # the same, requested
    _ahead: int = 0
    _error: JournalError | None = None
    _about: dict[str, str] = field(factory=dict[str, str])  # the last that was written

    @property
    def backlogged(self) -> bool:
        """True if too many updates are unwritten: the caller waits for `flush`."""
        return self._group.size >= _BACKLOG

    async def start(self, rows: Mapping[int, str | None]) -> None:
        """Mark *rows*, remote ids by number, as begun; return after the commit."""
        self._group.begun |= rows
        self._wake.set()
        await self.flush()

    async def start_through(self, number: int, *, ahead: int) -> None:
        """Mark all rows through *number* as begun; return after the commit.

        Marks *ahead* more rows, so that the next call needn't wait; twice as many after each wait.
        """
        late = self._started_through < number <= self._requested_through
        self._ahead = min(max(ahead, (1 + late) * self._ahead), _MAX_AHEAD)
        self._requested_through = self._group.started_through = number + self._ahead
        self._wake.set()
        if number > self._started_through:
            await self.flush()

    def update(self, update: Update) -> None:
        """Write *update* soon."""
        self._group.updates.append(update)
        self._added()

    def done(self, number: int, outcome: str, remote_id: str | None, *, sent: int) -> None:
        """Write soon that the row *number* is done: a cheaper `update` for the usual outcome."""
        self._group.done.setdefault((outcome, sent), {})[number] = remote_id
        self._added()

    def save_timeline(self, text: str) -> None:
        """Write the timeline of the session soon."""
        self._group.timeline = text
        self._wake.set()

    def flush_soon(self) -> None:
        """Write the updates so far, if any, without delay; don't wait."""
        self._flush.set()

    async def flush(self) -> None:
        """Write all updates so far without delay; return after the commit."""
        group = self._group
        self._flush.set()
        await group.committed.wait()
        if self._error is not None:
            raise type(self._error)(str(self._error))

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call *call* after the commit of all updates so far."""
        self._group.callbacks.append(call)
        self._wake.set()

    async def run(self) -> None:
        """Write until `close`, and then the updates that arrived before."""
        limiter = CapacityLimiter(1)
        while not self._closed or self._group.has_data or self._group.callbacks:
            with anyio.move_on_after(_IDLE) as waiting:
                await self._wake.wait()
            if not waiting.cancelled_caught:
                with anyio.move_on_after(_LINGER):
                    await self._flush.wait()
            self._wake, self._flush = anyio.Event(), anyio.Event()
            group, self._group = self._group, _CommitGroup()
            about = {**self._sums()} if group.has_data or waiting.cancelled_caught else self._about
            if self._error is None and (group.has_data or about != self._about):
                self._about = about
                await to_thread.run_sync(self._write, group, {**about}, limiter=limiter)
                if self._error is not None:
                    self._on_error(self._error)
            if self._error is None:
                if group.done:
                    self._on_done(group.done)
                for call in group.callbacks:
                    call()
            group.committed.set()

    def close(self) -> None:
        """Let `run` end."""
        self._closed = True
        self._wake.set()
        self._flush.set()

    def _added(self) -> None:
        if not self._group.size:
            self._wake.set()
        self._group.size += 1

    def _write(self, group: _CommitGroup, about: dict[str, str]) -> None:
        if group.started_through:
            about[STARTED_THROUGH] = str(group.started_through)
        try:
            self._journal.write(
                group.updates, begun=group.begun, done=group.done, about=about,
                timeline=group.timeline,
            )  # fmt: skip
        except JournalError as error:
            self._error = error
        else:
            self._started_through = max(self._started_through, group.started_through)
