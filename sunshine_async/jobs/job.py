"""A job: rows through a client, as many at once as you say, each with its outcome."""

import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, ClassVar, Final, Self, TypeAlias, cast

import anyio
from anyio import CancelScope, get_cancelled_exc_class, to_thread

from sunshine_async import bulk
from sunshine_async._client import Client
from sunshine_async._knee import MOST
from sunshine_async._line import Lane
from sunshine_async._report import Ending, Problem, Report, Trouble
from sunshine_async._retry import Retry
from sunshine_async._snapshot import Snapshot
from sunshine_async._tasks import Entry, Mode, Parcels, Send, Service, Task
from sunshine_async._transport.turn import CLOCK
from sunshine_async.dixa import batches
from sunshine_async.dixa.batches import Limits, Way
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
from sunshine_async.jobs.hold import OUTAGE, Hold
from sunshine_async.rows import BadRow, Row, RowFile, Shape, SourceError

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
AT_ONCE: Final = 500
"""Rows that are read before any of them is sent."""
_LINGER: Final = 1.0  # seconds that a parcel waits to be full, where a pipe is slow
LOOK_UP: Final = 0.2  # seconds, between looks at whether to stop, while a pipe has nothing to say


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
        self._way: Final = send.way(client) if isinstance(send, Parcels) else None
        wanted = concurrency if self._way is None or concurrency != "auto" else None
        self._concurrency: Final = self._task.at_once if wanted is None else wanted
        self._at_most: Final = MOST if self._concurrency == "auto" else self._concurrency
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
        self._hold: Final = Hold(
            client.pace,
            lambda: service.probe(once),
            self.give_up,
            max_outage=max_outage,
            at_first=self.patience_at_first,
        )
        self._earlier = 0  # troubles of the runs before this one
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

    async def run(self, rows: Iterable[Row | BadRow]) -> Report:
        """Send all *rows* and return the report.

        They are read in a thread, no faster than they are sent. Cancelled, what is under way is
        cut off and the report isn't complete: `stop` is the way to end it in order.
        """
        self._began = self._clock()
        self._entries = self._source(rows)
        own: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hold.keep)
            try:
                await self._send_all(self._entries)
            except Exception as error:  # noqa: BLE001 - the caller's own: not one of a group
                own = error
            finally:
                self._hold.close()
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
        if report.troubles - self._earlier > self._max_failures:
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

    async def _send_all(self, entries: "Entries") -> None:
        async with self._sending(entries) as outcomes:
            self._outcomes = outcomes
            if self._stopped:
                outcomes.stop()
            async for outcome in outcomes:
                self._settle(outcome)

    def _source(self, rows: Iterable[Row | BadRow]) -> "Entries":
        return Entries(self, self._task, rows)

    def _sending(
        self, entries: "Entries"
    ) -> AbstractAsyncContextManager[bulk.Outcomes[Entry, object]]:
        """Return the block in which *entries* are sent: one by one, or in parcels."""
        if self._way is None:
            return bulk.run(self._alone, entries, concurrency=self._concurrency, key=self._task.key)
        limits = Limits(self._task.most, MAX_BATCH_BYTES, _LINGER, self._at_most)
        way = Way(self._way.size, self._way.keys, self._send)
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
            except get_cancelled_exc_class() as cancelled:
                begun = bool(getattr(cancelled, "__notes__", ()))
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what they all ended in
                return [error] * len(entries)
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
        if isinstance(error, FUSE):
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
        case ValueError():
            code = "invalid"
            trouble = Trouble.BAD
        case _:
            code = type(error).__name__
    return Problem(line, trouble, code, str(error))


class Entries:
    """The entries of a job's rows, read in a thread, a batch at a time; bad rows are taken down."""

    def __init__(self, job: Job, task: Task, rows: Iterable[Row | BadRow]) -> None:
        self._job: Final = job
        self._task: Final = task
        self._file: Final = rows if isinstance(rows, RowFile) else None
        self._rows: Final[Iterator[Row | BadRow]] = iter(rows)
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

    async def _fill(self) -> None:
        await to_thread.run_sync(self._read)

    def _read(self) -> None:
        """Read what is there, at most a batch; nothing if nothing comes for a while."""
        if self._file is not None and not self._file.ready(LOOK_UP):
            return
        try:
            for row in self._rows:
                self.read += 1
                self._batch.append(self._task.entry(row) if isinstance(row, Row) else row)
                if len(self._batch) >= AT_ONCE or (self._file and not self._file.waiting):
                    return
        except SourceError as error:
            self._broken = error
        self._ended = True
