"""Rows sent so that what became of each can be told, whatever cuts the job off."""

import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from copy import copy
from typing import Any, Final, TypeAlias, cast

from attrs import define, evolve

from sunshine_async._calls.client import Client
from sunshine_async._calls.upsert import UpsertResult
from sunshine_async.bulk.cancellation import error_after_doubt, maybe_applied
from sunshine_async.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    SunshineError,
)
from sunshine_async.jobs.job import Results, StoppedError, ends_job, problem_of
from sunshine_async.jobs.outage import OUTAGE, OutageWatch, is_outage
from sunshine_async.jobs.report import Trouble
from sunshine_async.jobs.tasks.task import Entry, Recovery, Task
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import JournalError, State, Update

STATES: Final[Mapping[Trouble, State]] = {
    Trouble.FAILED: State.FAILED,
    Trouble.UNKNOWN: State.UNKNOWN,
    Trouble.BAD: State.BAD,
}
_ASKED: Final = (Recovery.UNKNOWN, Recovery.LOOK_UP_OR_RESEND, Recovery.LOOK_UP_OR_UNKNOWN)
"""Where something is to be found out of a row that had begun, before it is sent."""
_NEVER: Final = Recovery.UNKNOWN  # looked up once: an enum's members take their time
_HARMLESS: Final = Recovery.RESEND
_SENT_AGAIN: Final = (Recovery.RESEND, Recovery.RESEND_UNCERTAIN)
_TURNS: Final = 3
"""How often a row is tried that has no answer while others have."""
_UNTOLD: Final = "it had begun when its job was cut off, and nothing can tell whether it was done"
_OTHERWISE: Final = "it may have been sent before, and what is there under its key is not as sent"

Deliver: TypeAlias = Callable[[Sequence[Entry]], Coroutine[Any, Any, Results]]


class UnsettledError(SunshineError):
    """What became of a row that had begun can't be told."""


@define(eq=False)
class Settling:
    """Has each row marked before its first byte leaves, and what became of it after."""

    task: Task
    client: Client
    scribe: JournalWriter
    hold: OutageWatch
    stopped: Callable[[], bool]
    in_order: bool = True
    """Whether a row's outcome is on the disk before the next with its key is sent."""

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
        self._take_down(entries, results)
        if self.in_order or self.scribe.crowded:
            await self.scribe.written()
        return results

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
            outage = next((one for one in results if is_outage(one)), None)
            if outage is not None:
                turns += self.hold.lost(outage, since=answers)
            over, again = self._sorted(waiting, results, last=turns >= _TURNS)
            await self._taken_back([entry for entry, _ in again.values()])
            again = {
                place: (evolve(entry, alone=self.task.recovery(entry) is not _HARMLESS), error)
                for place, (entry, error) in again.items()
            }
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

    def call(self, entries: Sequence[Entry], deliver: Deliver) -> Coroutine[Any, Any, Results]:
        """Return what became of *entries*: of those that had begun what can be told, or *deliver*.

        Those that are to have marks of their own are marked as begun before they are sent. None is
        sent, if the service is gone when it is asked for those that had begun.
        """
        for entry in entries:
            if entry.alone:
                return self._looked_up(entries, deliver)
        return deliver(entries)

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
            await self.scribe.begin(entry.number for entry in sent.values())
            delivered = await deliver([*sent.values()])
            for (place, entry), result in zip(sent.items(), delivered, strict=True):
                results[place] = await self._resent(entry, result)
        return results

    def undone(self, entry: Entry, error: Exception) -> Update:
        """Return the mark of an *entry* whose call ended in *error*."""
        if says_nothing(error):
            state = State.BEGUN if entry.begun else State.WAITING
            sent = entry.begun or not isinstance(error, (StoppedError, JournalError))
            return Update(entry.number, state, time.time(), sent=sent and not entry.alone)
        problem = problem_of(entry.line, error, unknown=maybe_applied(error))
        return Update(
            entry.number,
            STATES[problem.trouble],
            time.time(),
            code=problem.code,
            status=getattr(error, "status", None),
            reason=problem.reason,
            sent=not entry.alone,
            doubt=entry.begun and self.task.recovery(entry) is not Recovery.LOOK_UP_OR_RESEND,
        )

    def _sorted(
        self, waiting: Mapping[int, Entry], results: Results, *, last: bool
    ) -> tuple[dict[int, tuple[Entry, object]], dict[int, tuple[Entry, Exception]]]:
        """Return which of *waiting* have their outcome, and which are to be sent again."""
        over: dict[int, tuple[Entry, object]] = {}
        again: dict[int, tuple[Entry, Exception]] = {}
        for (place, entry), result in zip(waiting.items(), results, strict=True):
            if not isinstance(result, Exception):
                over[place] = entry, result
                continue
            doubted, error = self._doubted(entry, result, last=last)
            if is_outage(error) and not last and self._may_try_again(doubted):
                again[place] = doubted, error
            else:
                over[place] = doubted, error
        return over, again

    async def _settled(self, entry: Entry) -> object:
        """Return *entry* as it is to be sent, or what became of it when it was sent before."""
        again = self.task.recovery(entry)
        if not entry.begun or again not in _ASKED:
            return entry
        if again is _NEVER:
            return UnsettledError(_UNTOLD, maybe_applied=True)
        found = await self._found(entry)
        if found is None:
            return (
                entry
                if again is Recovery.LOOK_UP_OR_RESEND
                else UnsettledError(_UNTOLD, maybe_applied=True)
            )
        if isinstance(found, Exception) or (
            again is Recovery.LOOK_UP_OR_RESEND and self.task.matches(found, entry.body)
        ):
            return found
        if again is Recovery.LOOK_UP_OR_UNKNOWN:
            return evolve(entry, remote_id=self.task.remote_id(found))
        return UnsettledError(_OTHERWISE, maybe_applied=True)

    async def _found(self, entry: Entry) -> object:
        """Return what is there under the key of *entry*, None, or why that can't be told."""
        try:
            return await cast("Any", self.task.look_up)(self.client, entry)
        except NotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever it is, it doesn't tell what became of the row
            if isinstance(error, OUTAGE):  # waited for
                return error
            return error_after_doubt(error)

    async def _resent(self, entry: Entry, result: object) -> object:
        """Return what *result* says of an entry that may have been sent before."""
        if not entry.begun or not isinstance(result, Exception):
            return result
        again = self.task.recovery(entry)
        if again is Recovery.RESEND_DELETE and isinstance(result, NotFoundError):
            return None
        if again is Recovery.RESEND_DELETE and isinstance(result, ConflictError):
            result.maybe_applied = True  # by the first sending, perhaps
        if again is Recovery.LOOK_UP_OR_RESEND and self.task.is_taken(result):
            found = await self._settled(entry)
            return result if isinstance(found, Entry) else found
        return result

    def _doubted(self, entry: Entry, error: Exception, *, last: bool) -> tuple[Entry, Exception]:
        """Return both as they are after *error*: it says so too if the entry may have been applied.

        Not where it is sent again anyway, and can do no harm, unless this was its *last* turn.
        """
        mark_uncertain = entry.begun and (last or self.task.recovery(entry) not in _SENT_AGAIN)
        if (
            mark_uncertain
            and isinstance(error, (*OUTAGE, StoppedError))
            and not error.maybe_applied
        ):
            error = copy(error)  # others may have ended in the same
            error.maybe_applied = True
        return evolve(entry, begun=entry.begun or maybe_applied(error)), error

    def _may_try_again(self, entry: Entry) -> bool:
        return not (entry.begun and self.task.recovery(entry) is _NEVER)

    async def _taken_back(self, entries: Sequence[Entry]) -> None:
        """Let *entries* be as they were before they were sent, but for those that may have been applied.

        Those that were marked with others have marks of their own from then on.
        """
        now, marked = time.time(), False
        for entry in entries:
            harmless = self.task.recovery(entry) is _HARMLESS
            if not (harmless or (entry.alone and entry.begun)):
                state = State.BEGUN if entry.begun else State.WAITING
                self.scribe.mark(Update(entry.number, state, now, sent=not entry.alone))
                marked = True
        if marked:
            await self.scribe.written()

    def _take_down(self, entries: Iterable[Entry], results: Iterable[object]) -> None:
        """Let the journal have what became of *entries*."""
        task, scribe = self.task, self.scribe
        for entry, result in zip(entries, results, strict=True):
            if isinstance(result, Exception):
                scribe.mark(self.undone(entry, result))
            else:
                known = _as_known(result) if entry.begun else result
                outcome, remote_id = task.outcome(known), task.id_of(known)
                scribe.done(entry.number, outcome, remote_id, sent=not entry.alone)
            if entry.alone and task.recovery(entry) is _NEVER:
                scribe.hurry()


def says_nothing(error: Exception) -> bool:
    """Return whether *error* ends the job, and is no outcome of its row."""
    return ends_job(error) or isinstance(error, (StoppedError, JournalError))


def _as_known(result: object) -> object:
    """Return *result* as that of an entry that had begun: an earlier sending may have made the user."""
    if isinstance(result, UpsertResult):
        return cast("UpsertResult[object]", result).uncertain()
    return result


def _is_answer(result: object) -> bool:
    """Return whether the service has said something of a row."""
    if isinstance(result, Exception):
        return isinstance(result, ApiError) and not isinstance(result, OUTAGE)
    return True
