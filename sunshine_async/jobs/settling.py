"""Rows sent so that what became of each can be told, whatever cuts the job off."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Final, TypeAlias, cast

from attrs import define, evolve, field

from sunshine_async._client import Client
from sunshine_async._create_or import Upserted
from sunshine_async._report import Trouble
from sunshine_async._tasks import Again, Entry, Task
from sunshine_async.errors import ApiError, ConflictError, NotFoundError, SunshineError
from sunshine_async.jobs.hold import OUTAGE, Hold
from sunshine_async.jobs.job import FUSE, Results, StoppedError, problem_of
from sunshine_async.jobs.scribe import Scribe
from sunshine_async.journal import JournalError, Mark, State

STATES: Final[Mapping[Trouble, State]] = {
    Trouble.FAILED: State.FAILED,
    Trouble.UNKNOWN: State.UNKNOWN,
    Trouble.BAD: State.BAD,
}
_ASKED: Final = frozenset({Again.NEVER, Again.LOOK, Again.FIND})
"""Where something is to be found out of a row that had begun, before it is sent."""
_NEVER: Final = Again.NEVER  # looked up once: an enum's members take their time
_HARMLESS: Final = Again.HARMLESS
_TURNS: Final = 3
"""How often a row is tried that has no answer while others have."""
_UNTOLD: Final = "it had begun when its job was cut off, and nothing can tell whether it was done"
_OTHERWISE: Final = "it may have been sent before, and what is there under its key is not as sent"

Deliver: TypeAlias = Callable[[Sequence[Entry]], Awaitable[Results]]


class UnsettledError(SunshineError):
    """What became of a row that had begun can't be told."""


@define(eq=False)
class Settling:
    """Has each row marked before its first byte leaves, and what became of it after."""

    task: Task
    client: Client
    scribe: Scribe
    hold: Hold
    stopped: Callable[[], bool]
    in_order: bool = True
    """Whether a row's outcome is on the disk before the next with its key is sent."""
    ahead: set[int] = field(factory=set[int])
    """The numbers of rows that are marked as begun, and not sent yet."""

    async def send(self, entries: Sequence[Entry], deliver: Deliver) -> Results:
        """Send *entries* until the journal has an outcome for each; return the outcomes.

        While the service is gone they wait. One that has no answer while others have is sent
        again, if that can do no harm, a few times.
        """
        answers = self.hold.answers
        results = await deliver(entries)
        for result in results:  # no `any`: it is a good part of what a row costs
            if isinstance(result, Exception):
                return await self._in_turns(entries, results, deliver, answers=answers)
        self.hold.answer()
        known = [*map(_as_known, entries, results)]
        self._take_down(entries, known)
        if self.in_order or self.scribe.crowded:
            await self.scribe.written()
        return known

    async def _in_turns(
        self, entries: Sequence[Entry], results: Results, deliver: Deliver, *, answers: int
    ) -> Results:
        """Go on from the *results* of a first turn; there had been so many *answers* before it."""
        ended: dict[int, object] = {}
        waiting = dict(enumerate(entries))
        turns = 0
        while True:
            if any(map(_is_answer, results)):
                self.hold.answer()
            outage = next((one for one in results if isinstance(one, OUTAGE)), None)
            if outage is not None:
                turns += self.hold.lost(outage, since=answers)
            over, again = self._sorted(waiting, results, last=turns >= _TURNS)
            await self._taken_back([entry for entry, _ in again.values()])
            if self.stopped():
                for place, (entry, error) in again.items():
                    over[place] = entry, StoppedError(str(error), maybe_applied=entry.begun)
                again.clear()
            if over:
                self._take_down(*zip(*over.values(), strict=True))
                if self.in_order or self.scribe.crowded:
                    await self.scribe.written()
            ended |= {place: result for place, (_, result) in over.items()}
            if not again:
                return [ended[place] for place in range(len(entries))]
            waiting = {place: entry for place, (entry, _) in again.items()}
            answers = self.hold.answers
            results = await deliver([*waiting.values()])

    def call(self, entries: Sequence[Entry], deliver: Deliver) -> Awaitable[Results]:
        """Return what became of *entries*: of those that had begun what can be told, or *deliver*.

        All that are sent are marked as begun first, unless sending them again can do no harm. None
        is, if the service is gone when it is asked for those that had begun.
        """
        if self._begun_ahead(entries) or all(
            self.task.again(entry) is _HARMLESS for entry in entries
        ):
            return deliver(entries)
        return self._looked_up(entries, deliver)

    async def begin_ahead(self, numbers: Sequence[int]) -> None:
        """Mark the rows *numbers* as begun before their turn; return when that is on the disk."""
        self.ahead.update(numbers)  # first: what is cut off here is to be taken back
        await self.scribe.begin(numbers)

    def _begun_ahead(self, entries: Sequence[Entry]) -> bool:
        """Return whether all *entries* were marked as begun ahead; they are sent now."""
        ahead = self.ahead
        if not ahead:
            return False
        begun = True
        for entry in entries:
            begun = begun and entry.number in ahead
            ahead.discard(entry.number)
        return begun

    async def _looked_up(self, entries: Sequence[Entry], deliver: Deliver) -> Results:
        results: list[object] = []
        gone: Exception | None = None
        for entry in entries:
            result = gone or await self._settled(entry)
            gone = result if isinstance(result, OUTAGE) else gone
            results.append(result)
        sent = {place: one for place, one in enumerate(results) if isinstance(one, Entry)}
        if gone is not None:
            return [gone if place in sent else one for place, one in enumerate(results)]
        if sent:
            await self._begin([*sent.values()])
            delivered = await deliver([*sent.values()])
            for (place, entry), result in zip(sent.items(), delivered, strict=True):
                results[place] = await self._resent(entry, result)
        return results

    def undone(self, entry: Entry, error: Exception, again: Again) -> Mark:
        """Return the mark of an *entry* whose call ended in *error*."""
        if says_nothing(error):
            state = State.BEGUN if entry.begun else State.WAITING
            unsent = entry.number in self.ahead
            self.ahead.discard(entry.number)
            return Mark(entry.number, state, time.time(), sent=-unsent)
        unknown = getattr(error, "maybe_applied", isinstance(error, TimeoutError))
        problem = problem_of(entry.line, error, unknown=unknown)
        return Mark(
            entry.number,
            STATES[problem.trouble],
            time.time(),
            code=problem.code,
            status=getattr(error, "status", None),
            reason=problem.reason,
            sent=again is _HARMLESS,
        )

    def _sorted(
        self, waiting: Mapping[int, Entry], results: Results, *, last: bool
    ) -> tuple[dict[int, tuple[Entry, object]], dict[int, tuple[Entry, Exception]]]:
        """Return which of *waiting* have their outcome, and which are to be sent again."""
        over: dict[int, tuple[Entry, object]] = {}
        again: dict[int, tuple[Entry, Exception]] = {}
        for (place, entry), result in zip(waiting.items(), results, strict=True):
            if not isinstance(result, Exception):
                over[place] = entry, _as_known(entry, result)
                continue
            doubted, error = self._doubted(entry, result)
            if isinstance(error, OUTAGE) and not last and self._may_try_again(doubted):
                again[place] = doubted, error
            else:
                over[place] = doubted, error
        return over, again

    async def _settled(self, entry: Entry) -> object:
        """Return *entry* as it is to be sent, or what became of it when it was sent before."""
        again = self.task.again(entry)
        if not entry.begun or again not in _ASKED:
            return entry
        if again is _NEVER:
            return UnsettledError(_UNTOLD, maybe_applied=True)
        found = await self._found(entry)
        if found is None:
            return entry if again is Again.LOOK else UnsettledError(_UNTOLD, maybe_applied=True)
        if isinstance(found, Exception) or (
            again is Again.LOOK and self.task.as_sent(found, entry.body)
        ):
            return found
        if again is Again.FIND:
            return evolve(entry, remote_id=self.task.remote_id(found))
        return UnsettledError(_OTHERWISE, maybe_applied=True)

    async def _found(self, entry: Entry) -> object:
        """Return what is there under the key of *entry*, None, or why that can't be told."""
        try:
            return await cast("Any", self.task.look)(self.client, entry)
        except NotFoundError:
            return None
        except SunshineError as error:
            return error

    async def _resent(self, entry: Entry, result: object) -> object:
        """Return what *result* says of an entry that may have been sent before."""
        if not entry.begun or not isinstance(result, Exception):
            return result
        again = self.task.again(entry)
        if again is Again.GONE and isinstance(result, NotFoundError):
            return None
        if again is Again.GONE and isinstance(result, ConflictError):
            result.maybe_applied = True  # by the first sending, perhaps
        if again is Again.LOOK and self.task.is_taken(result):
            found = await self._settled(entry)
            return result if isinstance(found, Entry) else found
        return result

    async def _begin(self, entries: Sequence[Entry]) -> None:
        again = self.task.again
        await self.scribe.begin(entry.number for entry in entries if again(entry) is not _HARMLESS)

    def _doubted(self, entry: Entry, error: Exception) -> tuple[Entry, Exception]:
        """Return both as they are after *error*: it says so too if the entry may have been applied.

        Not where it is sent again anyway, and can do no harm.
        """
        in_doubt = entry.begun and self.task.again(entry) is not _HARMLESS
        if in_doubt and isinstance(error, (*OUTAGE, StoppedError)) and not error.maybe_applied:
            error = copy(error)  # others may have ended in the same
            error.maybe_applied = True
        return evolve(entry, begun=entry.begun or getattr(error, "maybe_applied", False)), error

    def _may_try_again(self, entry: Entry) -> bool:
        return not (entry.begun and self.task.again(entry) is _NEVER)

    async def _taken_back(self, entries: Sequence[Entry]) -> None:
        """Let those wait again that were marked as begun, and weren't sent after all."""
        marks = [
            Mark(entry.number, State.WAITING, time.time())
            for entry in entries
            if not entry.begun and self.task.again(entry) is not _HARMLESS
        ]
        self.ahead -= {mark.number for mark in marks}
        for mark in marks:
            self.scribe.mark(mark)
        if marks:
            await self.scribe.written()

    def _take_down(self, entries: Iterable[Entry], results: Iterable[object]) -> None:
        """Let the journal have what became of *entries*."""
        task, scribe = self.task, self.scribe
        for entry, result in zip(entries, results, strict=True):
            again = task.again(entry)
            if isinstance(result, Exception):
                scribe.mark(self.undone(entry, result, again))
            else:
                outcome, remote_id = task.outcome(result), task.id_of(result)
                scribe.done(entry.number, outcome, remote_id, sent=again is _HARMLESS)
            if again is _NEVER:
                scribe.hurry()


def says_nothing(error: Exception) -> bool:
    """Return whether *error* ends the job, and is no outcome of its row."""
    return isinstance(error, (*FUSE, StoppedError, JournalError))


def _as_known(entry: Entry, result: object) -> object:
    """Return *result* with no more said than is known: an earlier sending may have made the user."""
    if entry.begun and isinstance(result, Upserted):
        return cast("Upserted[object]", result).doubted()
    return result


def _is_answer(result: object) -> bool:
    """Return whether the service has said something of a row."""
    if isinstance(result, Exception):
        return isinstance(result, ApiError) and not isinstance(result, OUTAGE)
    return True
