"""What becomes of rows, written down in groups: one commit for all that came during the last."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from attrs import define, field

from sunshine_async.journal import REACH, Done, Journal, JournalError, Update

_LINGER: Final = 0.1
"""Seconds in which more may come to a group that nobody waits for."""
_FARTHEST: Final = 1000
"""Rows that are marked as begun ahead of others, at most."""
_CROWDED: Final = 2000
"""Rows marked or done that wait to be written, past which others wait for them."""


@define(eq=False)
class _Group:
    reach: int = 0
    """Up to which row all are marked as begun."""
    begun: list[int] = field(factory=list[int])
    marks: list[Update] = field(factory=list[Update])
    done: dict[tuple[str, int], dict[int, str | None]] = field(factory=dict)
    size: int = 0
    """How many rows are marked, or done."""
    then: list[Callable[[], None]] = field(factory=list[Callable[[], None]])
    written: anyio.Event = field(factory=anyio.Event)

    @property
    def says(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.size or self.begun or self.reach)


class JournalWriter:
    """Writes to *journal* in a thread, as long as `work` runs.

    *on_done* is called with the rows that are done, once that is on the disk, and with each write goes what
    *sums* says about the job. After a write that
    failed it writes nothing more: what waits for it gets the `JournalError`, and *on_error* is called
    with it.
    """

    def __init__(
        self,
        journal: Journal,
        sums: Callable[[], Mapping[str, str]],
        on_done: Callable[[Done], None],
        on_error: Callable[[JournalError], None],
    ) -> None:
        self._journal: Final = journal
        self._sums: Final = sums
        self._on_done: Final = on_done
        self._on_error: Final = on_error
        self._group = _Group()
        self._wake = anyio.Event()
        self._hurry = anyio.Event()
        self._closed = False
        self._reach = 0
        """Up to which row all are marked as begun on the disk."""
        self._asked = 0
        """Up to which row they are to be."""
        self._ahead = 0
        self._error: JournalError | None = None

    @property
    def crowded(self) -> bool:
        """Whether more waits to be written than should."""
        return self._group.size >= _CROWDED

    async def begin(self, numbers: Iterable[int]) -> None:
        """Mark the rows *numbers* as begun; return when that is on the disk."""
        self._group.begun.extend(numbers)
        self._wake.set()
        await self.written()

    async def reach(self, number: int, *, ahead: int) -> None:
        """Mark all rows up to *number* as begun; return when that is on the disk.

        So many *ahead* of it are marked too, so that the next time needn't wait; twice as many
        each time that it has to.
        """
        late = self._reach < number <= self._asked
        self._ahead = min(max(ahead, (1 + late) * self._ahead), _FARTHEST)
        self._asked = self._group.reach = number + self._ahead
        self._wake.set()
        if number > self._reach:
            await self.written()

    def mark(self, mark: Update) -> None:
        """Write *mark* soon."""
        self._group.marks.append(mark)
        self._more()

    def done(self, number: int, outcome: str, remote_id: str | None, *, sent: int) -> None:
        """Write soon that the row *number* is done: `mark`, of what nearly all rows become."""
        self._group.done.setdefault((outcome, sent), {})[number] = remote_id
        self._more()

    def hurry(self) -> None:
        """Write what was handed in so far, if anything was, as soon as can be."""
        self._hurry.set()

    async def written(self) -> None:
        """Return when all that was handed in so far is on the disk, as soon as can be."""
        group = self._group
        self._hurry.set()
        await group.written.wait()
        if self._error is not None:
            raise JournalError(str(self._error))

    def then(self, call: Callable[[], None]) -> None:
        """Call *call* when all that was handed in so far is on the disk."""
        self._group.then.append(call)
        self._wake.set()

    async def work(self) -> None:
        """Write until it is closed, and all that was handed in by then."""
        limiter = CapacityLimiter(1)
        while not self._closed or self._group.says or self._group.then:
            await self._wake.wait()
            with anyio.move_on_after(_LINGER):
                await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            group, self._group = self._group, _Group()
            if self._error is None and group.says:
                await to_thread.run_sync(self._write, group, {**self._sums()}, limiter=limiter)
                if self._error is not None:
                    self._on_error(self._error)
            if self._error is None:
                if group.done:
                    self._on_done(group.done)
                for call in group.then:
                    call()
            group.written.set()

    def close(self) -> None:
        """Let `work` end."""
        self._closed = True
        self._wake.set()
        self._hurry.set()

    def _more(self) -> None:
        if not self._group.size:
            self._wake.set()
        self._group.size += 1

    def _write(self, group: _Group, about: dict[str, str]) -> None:
        if group.reach:
            about[REACH] = str(group.reach)
        try:
            self._journal.write(group.marks, begun=group.begun, done=group.done, about=about)
        except JournalError as error:
            self._error = error
        else:
            self._reach = max(self._reach, group.reach)
