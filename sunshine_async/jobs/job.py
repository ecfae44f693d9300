"""A job: rows through a client, as many at once as you say, each with its outcome."""

import time
from collections.abc import (
    Callable,
    Coroutine,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, ClassVar, Final, TypeAlias, cast

import anyio
from anyio import CancelScope

from sunshine_async import bulk
from sunshine_async._calls.client import Client
from sunshine_async._calls.retry import Retry
from sunshine_async._pace import Lane, Snapshot
from sunshine_async._pace.concurrency import HIGHEST_LIMIT
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.bulk.cancellation import CALL, AbortedError, error_after_sending, to_exception
from sunshine_async.dixa.end_users import MAX_BATCH_BYTES
from sunshine_async.errors import (
    ApiError,
    AuthenticationError,
    ConfigurationError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    SunshineError,
    TransportError,
)
from sunshine_async.jobs.bodies import Rows, check_rows
from sunshine_async.jobs.entries import Entries
from sunshine_async.jobs.outage import OUTAGE, OutageWatch, is_permanent
from sunshine_async.jobs.report import Ending, Problem, Report, Trouble
from sunshine_async.jobs.tasks.task import Batched, Entry, Mode, Send, Service
from sunshine_async.rows import BadRow, RowFile, Shape

Results: TypeAlias = Sequence[object | Exception]
"""What became of entries, in their order."""

FUSE: Final = (
    AuthenticationError,
    PaymentRequiredError,
    PermissionDeniedError,
    ConfigurationError,
)
"""What no row after it could be spared."""
NO_BETTER: Final = "no row would fare better: {}"
ONLY_REFUSED: Final = "the service has refused all calls for too long: {}"
_CUT_OFF: Final = "stopped before the answer came"
UNSENT: Final = "stopped before it was sent"
_LINGER: Final = 1.0  # seconds that a parcel waits to be full, where a pipe is slow


class StoppedError(SunshineError):
    """The call was cut off because its job was stopped, and the time for it to end was over."""


class Job:
    """Sends rows through a client, with *concurrency* calls under way at once.

    Where the service takes many in one call, they go together: each still has its own outcome.
    By default 64 calls are under way, 8 of those that take many. ``concurrency="auto"`` finds how
    many are enough; those that take many keep to 8.

    *on_problem* is called with each row that wasn't done, as they end; `report` can be looked at
    all the while. More than *max_failures* rows that weren't done, refused credentials (401, 402,
    403), or no answer for *max_outage* seconds (for the first one it waits 30 at most): the job
    gives up, as after `stop`. A job runs once.
    """

    patience_at_first: ClassVar = 30.0
    """Seconds to wait for the first answer of all: there may be no service at that address."""

    def __init__(
        self,
        client: Client,
        service: Service,
        mode: Mode,
        *,
        concurrency: bulk.Concurrency | None = None,
        max_failures: int | None = None,
        max_outage: float = 900.0,
        grace: float = 10.0,
        on_problem: Callable[[Problem], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.report: Final = Report()
        self._client: Final = client
        self._task: Final = service.tasks[mode]
        send = self._task.send
        self._way: Final = send.sender(client) if isinstance(send, Batched) else None
        wanted = concurrency if self._way is None or concurrency != "auto" else None
        self._concurrency: Final = self._task.concurrency if wanted is None else wanted
        self._at_most: Final = HIGHEST_LIMIT if self._concurrency == "auto" else self._concurrency
        self._max_failures: Final = inf if max_failures is None else max_failures
        self._grace: Final = grace
        self._on_problem: Final = on_problem
        self._clock: Final = clock
        self._entries: Entries | None = None
        self._outcomes: bulk.Outcomes[Entry, object] | None = None
        self._stopped = False
        self._until = inf
        self._calls: Final[set[CancelScope]] = set()
        once = client.with_options(retry=Retry(max_attempts=1), lane=Lane.INTERACTIVE)
        self._hold: Final = OutageWatch(
            client.pace,
            lambda: service.probe(once),
            self.give_up,
            max_outage=max_outage,
            at_first=self.patience_at_first,
        )
        self._earlier = 0  # troubles of the runs before this one
        self._ran = False
        self._began = 0.0
        tally = client.tally
        self._paused_before: Final = self.pace.throttled_seconds
        self._before: Final = (tally.requests, tally.resent, tally.throttled)

    @property
    def shape(self) -> Shape:
        """What its rows may hold: for `open_rows`."""
        return self._task.shape

    @property
    def read(self) -> int:
        """How many rows have been read: some of them may wait to be sent."""
        return 0 if self._entries is None else self._entries.read

    @property
    def under_way(self) -> int:
        """How many calls are under way."""
        return len(self._calls)

    @property
    def pace(self) -> Snapshot:
        """How the pace of its client stands."""
        return self._client.pace.snapshot(CLOCK.now())

    async def run(self, rows: Rows) -> Report:
        """Send all *rows* and return the report.

        *rows* is a file of `open_rows`, or any iterable of bodies, async or not: models, or
        mappings as on the wire. A body that can't be sent is a bad row. Rows are read in a thread,
        no faster than they are sent. Cancelled, what is under way is cut off and the report isn't
        complete: `stop` is the way to end it in order. An error of the iterable is raised as it is.
        Raise `TypeError` for what is no iterable of bodies, and `RuntimeError` in a second run.
        """
        self._begin(rows)
        return await self._run(rows)

    def _begin(self, rows: Rows) -> None:
        """Refuse a second run, and what is no rows."""
        if self._ran:
            message = "the job runs, or has run, and a job runs once: make another for another run"
            raise RuntimeError(message)
        check_rows(rows)
        self._ran = True
        self._began = self._clock()

    async def _run(self, rows: Rows) -> Report:
        self._entries = self._source(rows)
        own: BaseException | None = None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._hold.keep)
                try:
                    await self._send_all(self._entries)
                except BaseException as error:  # noqa: BLE001 - raised again below, not in a group
                    own = error
                finally:
                    self._hold.close()
        finally:
            close_error = await self._entries.aclose()
        own = own or close_error
        if own is not None:
            raise own
        self._measure()
        pace = self.pace
        self.report.limit, self.report.window = pace.rate, pace.window
        self.report.found = pace.found if pace.ceiling is None else None
        self.report.paused = pace.throttled_seconds - self._paused_before
        if isinstance(rows, RowFile):
            self.report.turned = rows.turned
        return self.report

    def stop(self) -> None:
        """Take no more rows; what is under way gets *grace* seconds to end, and is cut off then.

        To be called in the loop that the job runs in.
        """
        if not self._stopped:
            self._end(Ending.STOPPED, None)

    @property
    def stopped(self) -> bool:
        """Whether it takes no more rows."""
        return self._stopped

    def give_up(self, reason: str) -> None:
        """`stop`, because going on is of no use: *reason* is a sentence for the report."""
        if not self._stopped:
            self._end(Ending.GAVE_UP, reason)

    def note(self, problem: Problem) -> None:
        """Take down a row that wasn't done."""
        report = self.report
        report.add(problem)
        if self._on_problem is not None:
            self._on_problem(problem)
        self._check_failures()

    def _check_failures(self) -> None:
        """Give up where more rows weren't done than may be."""
        if self.report.troubles - self._earlier > self._max_failures:
            self.give_up(
                f"more than {self._max_failures} rows failed, are unknown or bad; the limit is "
                "yours (max_failures)"
            )

    def refuse(self, row: BadRow) -> None:
        """Take down a row that can't be sent."""
        self.note(Problem(row.line, Trouble.BAD, "bad row", row.reason))

    def _end(self, ending: Ending, reason: str | None) -> None:
        self._stopped = True
        self.report.ending = ending
        self.report.reason = reason
        if self._outcomes is not None:
            self._outcomes.stop()
            in_vain = self.pace.held and not self.pace.in_flight[Lane.BATCH]
            self._until = anyio.current_time() + (0.0 if in_vain else self._grace)
        for call in self._calls:
            call.deadline = self._until
        self._hold.close()

    async def _send_all(self, entries: Entries) -> None:
        async with self._sending(entries) as outcomes:
            self._outcomes = outcomes
            if self._stopped:
                outcomes.stop()
            async for outcome in outcomes:
                self._settle(outcome)

    def _source(self, rows: Rows) -> Entries:
        return Entries(self, self._task, rows)

    def _sending(
        self, entries: Entries
    ) -> AbstractAsyncContextManager[bulk.Outcomes[Entry, object]]:
        """Return the block in which *entries* are sent: one by one, or in parcels."""
        if self._way is None:
            return bulk.run(self._alone, entries, concurrency=self._concurrency, key=self._task.key)
        limits = Limits(self._task.batch_size, MAX_BATCH_BYTES, _LINGER, self._at_most)
        way = Sender(self._way.size, self._way.keys, self._send)
        return batches.run(way, entries, limits, ordered=False)

    async def _alone(self, entry: Entry) -> object:
        [result] = await self._send([entry])
        if isinstance(result, Exception):
            raise result
        return result

    def _send(self, entries: Sequence[Entry]) -> Coroutine[Any, Any, Results]:
        """Return what became of each of *entries*: what its call brought, or raised."""
        return self._send_plainly(entries)

    def _call(self, entries: Sequence[Entry]) -> Coroutine[Any, Any, Results]:
        """Return the same, of a call that may be made now."""
        return self._call_plainly(entries)

    async def _send_plainly(self, entries: Sequence[Entry]) -> Results:
        if self._hold.held:
            await self._hold.enter()
            if self._stopped:
                return [StoppedError(UNSENT)] * len(entries)
        begun = False
        started = self._clock()
        with CancelScope(deadline=self._until) as call:
            self._calls.add(call)
            try:
                return await self._call(entries)
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                begun = bool(getattr(error, "__notes__", ()))
                return [error_after_sending(to_exception(error, CALL))] * len(entries)
            finally:
                self._calls.discard(call)
                self.report.latencies.add(self._clock() - started)
        stopped = StoppedError(_CUT_OFF if begun else UNSENT, maybe_applied=begun)
        return [stopped] * len(entries)

    async def _call_plainly(self, entries: Sequence[Entry]) -> Results:
        if self._way is not None:
            return await self._way.send(entries)
        [entry] = entries
        try:
            return [await cast("Send", self._task.send)(self._client, entry)]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what it ended in
            return [error]

    def _settle(self, outcome: bulk.Outcome[Entry, object]) -> None:
        self._measure()
        if isinstance(outcome, bulk.Done):
            self.report.end(self._task.outcome(outcome.value))
            self._hold.answer()
            return
        error = outcome.error
        if isinstance(error, ApiError) and not isinstance(error, OUTAGE):
            self._hold.answer()
        self.note(problem_of(outcome.item.line, error, unknown=isinstance(outcome, bulk.Unknown)))
        if ends_job(error):
            self.give_up(NO_BETTER.format(error))
        elif isinstance(error, RateLimitError) and self._client.pace.gave_up:
            self.give_up(ONLY_REFUSED.format(error))

    def _measure(self) -> None:
        report, tally = self.report, self._client.tally
        requests, resent, throttled = self._before
        report.requests = tally.requests - requests
        report.resent = tally.resent - resent
        report.throttled = tally.throttled - throttled
        report.seconds = self._clock() - self._began
        report.held = self._hold.seconds


def ends_job(error: object) -> bool:
    """Return whether no later row could fare better: refused credentials, or a permanent fault."""
    return isinstance(error, FUSE) or is_permanent(error)


def problem_of(line: int, error: Exception, *, unknown: bool) -> Problem:
    """Return what is said of the row at *line*, whose call ended in *error*."""
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
