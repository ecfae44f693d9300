"""Crash-safe sending: mark a row in the journal before the first byte, record the outcome after.

A later run finds a mark without an outcome, and looks the row up or sends the row again. With a journal
that has a lease, nothing is sent unless the lease is valid at that moment (`fenced`).
"""

import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from attrs import define, evolve

from sunshine_async._calls.client import Client
from sunshine_async._calls.fence import FencedWire
from sunshine_async._calls.upsert import UpsertResult
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk.cancellation import error_after_doubt, maybe_applied
from sunshine_async.errors import (
    ConflictError,
    NotFoundError,
    RateLimitError,
    SunshineError,
)
from sunshine_async.jobs.calls import JobCalls, Results, StoppedError, ends_job, problem_of
from sunshine_async.jobs.entries import TROUBLES
from sunshine_async.jobs.outage import OUTAGE, is_outage
from sunshine_async.jobs.report import Trouble
from sunshine_async.jobs.tasks.task import Entry, Recovery, Task
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import JournalError, JournalLease, State, Update

C = TypeVar("C", bound=Client)

_LEASE_LOST: Final = (
    "not sent: another process has the journal of this job, since this process was silent for too "
    "long. The other process goes on with the job"
)
_STATES: Final[Mapping[Trouble, State]] = {trouble: state for state, trouble in TROUBLES.items()}
_LOOKED_UP: Final = (
    Recovery.UNKNOWN,
    Recovery.LOOK_UP_OR_RESEND,
    Recovery.LOOK_UP_OR_UNKNOWN,
    Recovery.LOOK_UP,
)
_UNKNOWN: Final = Recovery.UNKNOWN  # looked up once: an enum's members take their time
_RESEND: Final = Recovery.RESEND
_RESENT: Final = (Recovery.RESEND, Recovery.RESEND_UNCERTAIN)
_MAX_LOSSES: Final = 3  # attempts for a row without an answer while other rows are answered
_UNTOLD: Final = "sending had begun when the job was cut off, and nothing can tell the result"
_NOT_FOUND: Final = (
    "an earlier sending had begun, and a look-up finds no message: the message may still arrive. "
    "--retry-unknown looks once more, and then sends the message again"
)
_OTHERWISE: Final = (
    "the row may have been sent before, and the user with its key differs from the row"
)


class UnsettledError(SunshineError):
    """Nothing can tell the outcome of a row that had begun in an earlier run."""


@define(eq=False)
class CrashSafeSender:
    """Sends entries through *calls*: marks before the first byte, outcomes after."""

    task: Task
    client: Client
    writer: JournalWriter
    calls: JobCalls
    opened_at: float
    """Time of `CLOCK` at which the journal was opened: no other run sends rows since."""
    in_order: bool = True
    """True: the outcome of a row is on disk before the next row with the same key is sent."""

    async def send(self, entries: Sequence[Entry]) -> Results:
        """Send *entries* until the journal has an outcome for each; in an outage entries wait.

        An entry that alone has no answer is sent again a few times if that can do no harm.
        """
        answers = self.calls.outage.answers
        results = await self.calls.send(entries, self._call)
        for result in results:  # no `any`: it is a good part of what a row costs
            if isinstance(result, Exception):
                return await self._retry_rows(entries, results, answers=answers)
        self._record(entries, results)
        if self.in_order or self.writer.backlogged:
            await self.writer.flush()
        return results

    async def _retry_rows(
        self, entries: Sequence[Entry], results: Results, *, answers: int
    ) -> Results:
        """Send entries without an answer again; *answers*: before the call that gave *results*."""
        finished: dict[int, object] = {}
        waiting = dict(enumerate(entries))
        losses = 0
        while True:
            losses += self._count_losses(results, answers=answers)
            ended, again = self._split_finished(waiting, results, last=losses >= _MAX_LOSSES)
            again = await self._revert_marks(again)
            if self.calls.stopped:
                for place, (entry, error) in again.items():
                    ended[place] = entry, StoppedError(str(error), maybe_applied=entry.begun)
                again.clear()
            if ended:
                self._record(*zip(*ended.values(), strict=True))
                if self.in_order or self.writer.backlogged:
                    await self.writer.flush()
            finished |= {place: result for place, (_, result) in ended.items()}
            if not again:
                return [finished[place] for place in range(len(entries))]
            waiting = {place: entry for place, (entry, _) in again.items()}
            answers = self.calls.outage.answers
            results = await self.calls.send([*waiting.values()], self._call)

    def _count_losses(self, results: Results, *, answers: int) -> int:
        """Return the losses in *results*, a call's, if others had answers since the count *answers*.

        A call that was refused (429) again and again, for `max_outage` seconds, isn't sent again.
        """
        if self.calls.outage.answers == answers:
            return 0
        refused = (isinstance(one, RateLimitError) and one.attempts > 1 for one in results)
        return _MAX_LOSSES if any(refused) else any(map(is_outage, results))

    def _split_finished(
        self, waiting: Mapping[int, Entry], results: Results, *, last: bool
    ) -> tuple[dict[int, tuple[Entry, object]], dict[int, tuple[Entry, Exception]]]:
        """Split *waiting* into entries with an outcome and entries to send again."""
        ended: dict[int, tuple[Entry, object]] = {}
        again: dict[int, tuple[Entry, Exception]] = {}
        for (place, entry), result in zip(waiting.items(), results, strict=True):
            if not isinstance(result, Exception):
                ended[place] = entry, result
                continue
            tried, error = self._mark_uncertain(entry, result, last=last)
            never = tried.begun and self.task.recovery(tried) is _UNKNOWN
            if last or never or not is_outage(error):
                ended[place] = tried, error
            else:
                again[place] = tried, error
        return ended, again

    def _call(self, entries: Sequence[Entry]) -> Coroutine[Any, Any, Results]:
        """Send *entries*; look up begun entries, and mark the entries that are marked alone."""
        for entry in entries:
            if entry.alone:
                return self._recover_and_call(entries)
        return self.calls.call(entries)

    async def _recover_and_call(self, entries: Sequence[Entry]) -> Results:
        """Recover begun entries, then mark and send the rest: nothing after a failed look-up."""
        results: list[object] = []
        outage: Exception | None = None
        for entry in entries:
            result = outage or await self._recover(entry)
            outage = cast("Exception", result) if _ends_look_ups(result) else outage
            results.append(result)
        to_send = {
            place: result for place, result in enumerate(results) if isinstance(result, Entry)
        }
        if outage is not None:
            return [outage if place in to_send else result for place, result in enumerate(results)]
        if to_send:
            await self.writer.start({entry.number: entry.remote_id for entry in to_send.values()})
            answers = await self.calls.call([*to_send.values()])
            for (place, entry), answer in zip(to_send.items(), answers, strict=True):
                results[place] = await self._after_resend(entry, answer)
        return results

    async def _recover(self, entry: Entry) -> object:
        """Return *entry* to send, or the outcome of the earlier sending."""
        kind = self.task.recovery(entry)
        if not entry.begun or kind not in _LOOKED_UP:
            return entry
        found = None if kind is _UNKNOWN else await self._look_up(entry)
        if isinstance(found, Exception):
            return found
        if found is None:
            if kind is Recovery.LOOK_UP_OR_RESEND or entry.resend:
                return entry
            reason = _NOT_FOUND if kind is Recovery.LOOK_UP else _UNTOLD
            return UnsettledError(reason, maybe_applied=True)
        if kind is Recovery.LOOK_UP_OR_UNKNOWN:
            return evolve(entry, remote_id=self.task.remote_id(found))
        same = self.task.matches(found, entry.body)
        return found if same else UnsettledError(_OTHERWISE, maybe_applied=True)

    async def _look_up(self, entry: Entry) -> object:
        """Return the user or message of *entry*, None, or the error of the look-up."""
        await CLOCK.sleep(max(0.0, self.opened_at + self.task.settle - CLOCK.now()))
        try:
            return await cast("Any", self.task.look_up)(self.client, entry)
        except NotFoundError as error:
            return error_after_doubt(error) if error.is_foreign else None
        except Exception as error:  # noqa: BLE001 - no error tells the outcome of the row
            # an outage is waited for, and refused credentials end the job
            return error if _ends_look_ups(error) else error_after_doubt(error)

    async def _after_resend(self, entry: Entry, result: object) -> object:
        """Return the meaning of *result* for an entry that may have been sent before."""
        if not entry.begun or not isinstance(result, Exception):
            return result
        kind = self.task.recovery(entry)
        if kind is Recovery.RESEND_DELETE and isinstance(result, NotFoundError | ConflictError):
            is_gone = isinstance(result, NotFoundError) and not result.is_foreign
            # else applied by the first sending, perhaps
            return None if is_gone else error_after_doubt(result)
        if kind is Recovery.LOOK_UP_OR_RESEND and self.task.is_taken(result):
            found = await self._recover(entry)
            return result if isinstance(found, Entry) else found
        return result

    def _mark_uncertain(
        self, entry: Entry, error: Exception, *, last: bool
    ) -> tuple[Entry, Exception]:
        """Return the entry and the error; both say so if the entry may have been applied.

        The error doesn't if the entry is sent again without harm, except on the *last* attempt.
        """
        resend = entry.resend and not maybe_applied(error)
        in_doubt = entry.begun and (last or self.task.recovery(entry) not in _RESENT)
        if in_doubt and isinstance(error, (*OUTAGE, StoppedError)) and not error.maybe_applied:
            error = error_after_doubt(error)
        return evolve(entry, begun=entry.begun or maybe_applied(error), resend=resend), error

    async def _revert_marks(
        self, again: Mapping[int, tuple[Entry, Exception]]
    ) -> dict[int, tuple[Entry, Exception]]:
        """Revert marks to the state before the sending; entries in doubt stay begun.

        The entries returned are marked alone, unless sending again is harmless.
        """
        now, marked = time.time(), False
        reverted: dict[int, tuple[Entry, Exception]] = {}
        for place, (entry, error) in again.items():
            harmless = self.task.recovery(entry) is _RESEND
            if not (harmless or (entry.alone and entry.begun)):
                state = State.BEGUN if entry.begun else State.WAITING
                self.writer.update(Update(entry.number, state, now, sent=not entry.alone))
                marked = True
            reverted[place] = evolve(entry, alone=not harmless), error
        if marked:
            await self.writer.flush()
        return reverted

    def _record(self, entries: Iterable[Entry], results: Iterable[object]) -> None:
        task, writer = self.task, self.writer
        for entry, result in zip(entries, results, strict=True):
            if isinstance(result, Exception):
                writer.update(self._update_of(entry, result))
            else:
                known = result
                if entry.begun and isinstance(result, UpsertResult):  # created earlier, perhaps
                    known = cast("UpsertResult[object]", result).uncertain()
                outcome, remote_id = task.outcome(known), task.id_of(known)
                writer.done(entry.number, outcome, remote_id, sent=not entry.alone)
            if entry.alone and task.recovery(entry) is _UNKNOWN:
                writer.flush_soon()

    def _update_of(self, entry: Entry, error: Exception) -> Update:
        if is_no_outcome(error):
            state = State.BEGUN if entry.begun else State.WAITING
            sent = entry.begun or not isinstance(error, (StoppedError, JournalError))
            return Update(entry.number, state, time.time(), sent=sent and not entry.alone)
        problem = problem_of(entry.line, error, unknown=maybe_applied(error))
        return Update(
            entry.number,
            _STATES[problem.trouble],
            time.time(),
            code=problem.code,
            status=getattr(error, "status", None),
            reason=problem.reason,
            sent=not entry.alone,
            doubt=entry.begun and self.task.recovery(entry) is not Recovery.LOOK_UP_OR_RESEND,
        )


def _ends_look_ups(result: object) -> bool:
    """Return True for an error after which a further look-up would fail too."""
    return isinstance(result, OUTAGE) or ends_job(result)


def is_no_outcome(error: Exception) -> bool:
    """Return True for an *error* that ends the job and is no outcome of the row."""
    return ends_job(error) or isinstance(error, (StoppedError, JournalError))


def fenced(client: C, lease: JournalLease | None) -> C:
    """Return a view of *client* that sends only while *lease* is valid; *client* without a lease."""
    if lease is None:
        return client
    return client.with_wire(lambda wire: FencedWire(wire, lease, patient=True, lost=_LEASE_LOST))
