"""What becomes of rows, written down in groups: one commit for all that came during the last."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from attrs import define, field

from sunshine_async.journal import Journal, JournalError, Mark

_LINGER: Final = 0.1
"""Seconds in which more may come to a group that nobody waits for."""
_CROWDED: Final = 2000
"""Marks that wait to be written, past which rows wait for them."""


@define(eq=False)
class _Group:
    begun: list[int] = field(factory=list[int])
    marks: list[Mark] = field(factory=list[Mark])
    then: list[Callable[[], None]] = field(factory=list[Callable[[], None]])
    written: anyio.Event = field(factory=anyio.Event)

    @property
    def waits(self) -> bool:
        """Whether there is anything to do for it."""
        return bool(self.begun or self.marks or self.then)


class Scribe:
    """Writes to *journal* in a thread, as long as `work` runs.

    *on_written* is called with the marks that are on the disk. After a write that failed it writes
    nothing more: what waits for it gets the `JournalError`, and *on_error* is called with it.
    """

    def __init__(
        self,
        journal: Journal,
        on_written: Callable[[Sequence[Mark]], None],
        on_error: Callable[[JournalError], None],
    ) -> None:
        self._journal: Final = journal
        self._on_written: Final = on_written
        self._on_error: Final = on_error
        self._group = _Group()
        self._wake = anyio.Event()
        self._hurry = anyio.Event()
        self._closed = False
        self._error: JournalError | None = None

    @property
    def crowded(self) -> bool:
        """Whether more waits to be written than should."""
        return len(self._group.marks) >= _CROWDED

    async def begin(self, numbers: Iterable[int]) -> None:
        """Mark the rows *numbers* as begun; return when that is on the disk."""
        self._group.begun.extend(numbers)
        self._wake.set()
        await self.written()

    def end(self, marks: Iterable[Mark], *, linger: bool = True) -> None:
        """Write *marks* soon, or if they aren't to *linger* as soon as can be."""
        self._group.marks.extend(marks)
        self._wake.set()
        if not linger:
            self._hurry.set()

    async def keep(self, marks: Iterable[Mark]) -> None:
        """Write *marks*; return when that is on the disk."""
        self.end(marks)
        await self.written()

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
        while not self._closed or self._group.waits:
            await self._wake.wait()
            with anyio.move_on_after(_LINGER):
                await self._hurry.wait()
            self._wake, self._hurry = anyio.Event(), anyio.Event()
            group, self._group = self._group, _Group()
            if self._error is None and (group.begun or group.marks):
                await to_thread.run_sync(self._write, group, limiter=limiter)
                if self._error is not None:
                    self._on_error(self._error)
            if self._error is None:
                self._on_written(group.marks)
                for call in group.then:
                    call()
            group.written.set()

    def close(self) -> None:
        """Let `work` end."""
        self._closed = True
        self._wake.set()
        self._hurry.set()

    def _write(self, group: _Group) -> None:
        try:
            self._journal.write(group.marks, begun=group.begun)
        except JournalError as error:
            self._error = error
