"""Calls of a job: under way, stopped, or ended in an error that ends the job."""

from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any, Final, TypeAlias, cast

from anyio import CancelScope

from sunshine_async._calls.client import Client
from sunshine_async.bulk.cancellation import CALL, AbortedError, error_after_sending, to_exception
from sunshine_async.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    PaymentRequiredError,
    PermissionDeniedError,
    ResponseDecodeError,
    SunshineError,
    TransportError,
)
from sunshine_async.jobs.outage import OutageWatch, is_permanent
from sunshine_async.jobs.report import Latencies, Problem, Trouble
from sunshine_async.jobs.tasks.task import Batched, Entry, Send, Task

Results: TypeAlias = Sequence[object | Exception]  # in the order of the entries
Timer: TypeAlias = Callable[[], float]
SendEntries: TypeAlias = Callable[[Sequence[Entry]], Coroutine[Any, Any, Results]]

FATAL: Final = (
    AuthenticationError,
    PaymentRequiredError,
    PermissionDeniedError,
    ConfigurationError,
)
"""Errors that every later row would meet too: these end the job."""
_CUT_OFF: Final = "stopped before the answer came"
UNSENT: Final = "stopped before it was sent"


class StoppedError(SunshineError):
    """The call was cut off: the job was stopped, and the grace period was over."""


class JobCalls:
    """Calls of a job under way: no call begins in an outage, all end at the deadline of a stop."""

    def __init__(
        self, client: Client, task: Task, outage: OutageWatch, latencies: Latencies, clock: Timer
    ) -> None:
        self.batch_sender: Final = (
            task.send.sender(client) if isinstance(task.send, Batched) else None
        )
        self.outage: Final = outage
        self.stopped = False
        self.gave_up = False
        """True once a further call would be in vain: none begins."""
        self.running: Final[set[CancelScope]] = set()
        self._client: Final = client
        self._task: Final = task
        self._latencies: Final = latencies
        self._clock: Final = clock
        self._deadline = inf

    async def send(self, entries: Sequence[Entry], call: SendEntries | None = None) -> Results:
        """Send *entries*, after an outage under way, by *call* instead of `call` if given."""
        outage, line = self.outage, entries[0].line
        outage.begin_call(line)
        try:
            if outage.held or self.gave_up:
                await outage.wait(line)
                if self.stopped:
                    return [StoppedError(UNSENT)] * len(entries)
            answers = outage.answers
            results = await self._send(entries, call or self.call)
            outage.record(line, results, answers=answers)
            return results
        finally:
            outage.end_call(line)

    async def _send(self, entries: Sequence[Entry], call: SendEntries) -> Results:
        begun, started = False, self._clock()
        with CancelScope(deadline=self._deadline) as scope:
            if scope.cancel_called:  # a wire may send before the cancellation comes
                return [StoppedError(UNSENT)] * len(entries)
            self.running.add(scope)
            try:
                return await call(entries)
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                begun = bool(getattr(error, "__notes__", ()))
                return [error_after_sending(to_exception(error, CALL))] * len(entries)
            finally:
                self.running.discard(scope)
                self._latencies.add(self._clock() - started)
        stopped = StoppedError(_CUT_OFF if begun else UNSENT, maybe_applied=begun)
        return [stopped] * len(entries)

    async def call(self, entries: Sequence[Entry]) -> Results:
        """Send *entries* in one call; return the result or the error of each."""
        if self.batch_sender is not None:
            return await self.batch_sender.send(entries)
        [entry] = entries
        try:
            return [await cast("Send", self._task.send)(self._client, entry)]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what it ended in
            return [error]

    def stop(self, deadline: float) -> None:
        """Let running calls, and later calls, end at *deadline*."""
        self.stopped = True
        self._deadline = deadline
        for scope in self.running:
            scope.deadline = deadline


def ends_job(error: object) -> bool:
    """Return True if later rows would fail too: refused credentials, or a permanent fault."""
    return isinstance(error, FATAL) or is_permanent(error)


def problem_of(line: int, error: Exception, *, unknown: bool) -> Problem:
    """Return the problem of the row at *line*, after *error*."""
    trouble = Trouble.UNKNOWN if unknown else Trouble.FAILED
    match error:
        case ApiError():
            code = error.code or str(error.status)
        case TransportError():
            code = str(error.fault)
        case ResponseDecodeError():
            code = "unreadable answer"
        case StoppedError():
            code = "stopped"
        case ConfigurationError():
            code = "configuration"
        case ValueError() if not unknown:
            code = "invalid"
            trouble = Trouble.BAD
        case AbortedError():
            code = "aborted"
        case _:
            code = type(error).__name__
    return Problem(line, trouble, code, str(error))
