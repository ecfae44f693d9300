"""A job: rows through a client, many calls at once, an outcome for each row."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import ClassVar, Final

import anyio
from anyio.abc import TaskGroup

from sunshine_async import bulk
from sunshine_async._calls.client import Client
from sunshine_async._calls.retry import Retry
from sunshine_async._pace import Lane, Snapshot
from sunshine_async._pace.concurrency import HIGHEST_LIMIT
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.dixa.end_users import MAX_BATCH_BYTES
from sunshine_async.jobs.calls import JobCalls, SendEntries, Timer, ends_job, problem_of
from sunshine_async.jobs.entries import Entries, Rows, check_rows
from sunshine_async.jobs.options import GRACE, MAX_OUTAGE, JobOptions
from sunshine_async.jobs.outage import OutageWatch
from sunshine_async.jobs.progress import Progress, recent_rate
from sunshine_async.jobs.report import Cause, Ending, Problem, Report, Trouble
from sunshine_async.jobs.tasks.task import Entry, Mode, Service, check_service
from sunshine_async.jobs.timeline import Recorder
from sunshine_async.journal import JournalAwayError
from sunshine_async.rows import BadRow, RowFile, Shape

NO_BETTER: Final = "no row would fare better: {}"
_LINGER: Final = 1.0  # seconds that a batch waits to be full, if a pipe is slow


class Job:
    """A job that sends rows through a client, with *concurrency* calls under way at once.

    If a service takes many rows in a call, rows go in batches; each row has an outcome of its own.
    The default is 64 calls, or 8 with batches. ``concurrency="auto"`` finds the number of calls
    that are enough; with batches the number stays 8. *on_problem* gets each row that wasn't done,
    at once. `report` can be read at any time. The job runs once, and gives up, as after `stop`:

    - after more than *max_failures* rows that weren't done;
    - after refused credentials (401, 402, 403); a first call goes alone to try the credentials;
    - after *max_outage* seconds without an answer; before the first answer, after 30 at most;
    - at the end of a file that was changed while it was read.

    Raise `TypeError` for a client of another service, which would get the rows, `ValueError` for a
    number that can't work, and `ConfigurationError` for a mode that the service doesn't have.
    """

    patience_at_first: ClassVar = 30.0
    """Seconds to wait for the first answer of all: the address may have no service."""

    def __init__(
        self,
        client: Client,
        service: Service,
        mode: Mode,
        *,
        concurrency: bulk.Concurrency | None = None,
        max_failures: int | None = None,
        max_outage: float = MAX_OUTAGE,
        grace: float = GRACE,
        on_problem: Callable[[Problem], None] | None = None,
        clock: Timer = time.perf_counter,
    ) -> None:
        check_service(service)
        service.check_client(client)
        self._task: Final = service.task(mode)
        self.report: Final = Report()
        self._hooks: Final = (vars(client)["_transport"].hooks, service.name, mode.value)
        self._options = JobOptions(
            concurrency=concurrency, max_failures=max_failures, max_outage=max_outage, grace=grace,
            on_problem=on_problem,
        )  # fmt: skip
        self._client: Final = client
        once = client.with_options(retry=Retry(max_attempts=1), lane=Lane.INTERACTIVE)
        reader = once.for_probes()
        self._outage: Final = OutageWatch(
            client.pace, lambda few: service.probe(once if few else reader), self._give_up_service,
            max_outage=max_outage, at_first=self.patience_at_first,
        )  # fmt: skip
        self._calls: Final = JobCalls(
            client, self._task, self._outage, self.report.latencies, clock
        )
        self._send: SendEntries = self._calls.send
        if concurrency is None or (concurrency == "auto" and self._calls.batch_sender):
            concurrency = self._task.concurrency
        self._concurrency: Final = concurrency
        self._max_calls: Final = HIGHEST_LIMIT if concurrency == "auto" else concurrency
        self._clock: Final = clock
        self._entries: Entries | None = None
        self._file: RowFile | None = None
        self._outcomes: bulk.Outcomes[Entry, object] | None = None
        self.cause = Cause.JOB
        """The cause, if the job gave up."""
        self.earlier_troubles: int | None = 0
        """Number of rows not done that belong to the runs before; None until the journal is read."""
        self._troubles_elsewhere = 0
        self._has_run = False
        self._started = 0.0
        tally = client.tally
        self.recorder: Final = Recorder(self.report, lambda: self.pace)
        self._before: Final = (tally.requests, tally.resent, tally.throttled)

    @property
    def shape(self) -> Shape:
        """The shape of a row, for `open_rows`."""
        return self._task.shape

    @property
    def read(self) -> int:
        """Number of rows that were read; some may wait to be sent."""
        return 0 if self._entries is None else self._entries.read

    @property
    def under_way(self) -> int:
        """Number of calls under way."""
        return len(self._calls.running)

    @property
    def pace(self) -> Snapshot:
        """A snapshot of the pace of the client."""
        return self._client.pace.snapshot(CLOCK.now())

    def total(self) -> int | None:
        """Return the number of rows in the file, estimated from the rows read; None if unknown."""
        file = self._file
        if file is None or file.size is None or not file.consumed:
            return None
        return max(self.read, self.read * file.size // file.consumed)

    def progress(self) -> Progress:
        """Return the progress of the job now: for a display, as often as the display likes."""
        report, pace, reading = self.report, self.pace, self._reading()
        seconds, held = self._clock() - self._started, self._outage.seconds
        return Progress(
            rows=report.rows,
            total=self.total(),
            rate=recent_rate(self.recorder.parts(seconds, held)),
            not_done=report.troubles,
            throttled=report.throttled,
            limit=pace.rate,
            paused=pace.paused,
            held=self._outage.reason if self._outage.held or pace.held else None,
            lines=None if reading is None else reading.lines,
            lines_share=None if reading is None else reading.share,
        )

    def _reading(self) -> RowFile | None:
        """Return the file that is read now, before any row is sent."""
        return None

    @property
    def stopped(self) -> bool:
        """True once the job takes no more rows."""
        return self._calls.stopped

    async def run(self, rows: Rows) -> Report:
        """Send all *rows* and return the report.

        *rows* is a file of `open_rows`, or any iterable of bodies, async or not: models, or
        mappings as on the wire. A body that can't be sent is a bad row. Rows are read in a thread,
        no faster than sent. A cancellation cuts off running calls, and the report isn't complete:
        `stop` ends the job in order. An error of the iterable is raised as itself. Raise `TypeError`
        unless *rows* is an iterable of bodies, and `RuntimeError` in a second run.
        """
        if self._has_run:
            message = "the job runs, or has run, and a job runs once: make another for another run"
            raise RuntimeError(message)
        check_rows(rows)
        self._has_run = True
        self._file = rows if isinstance(rows, RowFile) else None
        if self.stopped:
            self._stop_reading()
        self._started = self._clock()
        own: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            try:
                await self._prepare(rows, tasks)
                self._measure()
                self.recorder.begin()
                self._entries = self._open_entries(rows)
                tasks.start_soon(self._outage.run)
                await self._send_all(self._take(self._entries))
            except BaseException as error:  # noqa: BLE001 - raised again below, not in a group
                own = error
            finally:
                self._outage.close()
                if self._entries is not None:
                    close_error = await self._entries.aclose()
                    own = own or close_error
                self._close()
        if own is not None:
            raise own
        self._measure()
        self.recorder.end()
        if self._file is not None:
            self.report.turned = self._file.turned
        await self._finish()
        return self.report

    async def _prepare(self, rows: Rows, tasks: TaskGroup) -> None:
        """Prepare the sending of *rows*; *tasks* run until the end of the job."""

    def _close(self) -> None:
        """Let the tasks of `_prepare` end."""

    async def _finish(self) -> None:
        """Complete the report."""

    def stop(self) -> None:
        """Take no more rows; cut off calls after *grace* seconds. For the job's event loop."""
        self._end(Ending.STOPPED, None)

    def give_up(self, reason: str) -> None:
        """`stop`, because going on is useless: *reason* is a sentence for the report."""
        self._end(Ending.GAVE_UP, reason)

    def _give_up_service(self, reason: str) -> None:
        """`give_up`, because any job of this process would."""
        self._calls.gave_up = True
        if not self.stopped:
            self.cause = Cause.SERVICE
        self.give_up(reason)

    def give_up_source(self, error: Exception) -> None:
        """`give_up`, because of an *error* of the file or of the journal."""
        if isinstance(error, JournalAwayError) and not self.stopped:
            self.cause = Cause.DATABASE
        self.give_up(str(error))

    def _end(self, ending: Ending, reason: str | None) -> None:
        if self.stopped:
            return
        self.report.ending, self.report.reason = ending, reason
        deadline = inf
        if self._outcomes is not None:
            self._outcomes.stop()
            in_vain = self.pace.held and not self.pace.in_flight[Lane.BATCH]
            deadline = anyio.current_time() + self._options.grace * (not in_vain)
        self._calls.stop(deadline)
        self._outage.close()
        self._stop_reading()

    def _stop_reading(self) -> None:
        if self._file is not None:
            self._file.stop()

    def note(self, problem: Problem) -> None:
        """Record a row that wasn't done."""
        self.report.add(problem)
        self._tell(problem.trouble.value)
        if self._options.on_problem is not None:
            self._options.on_problem(problem)
        self._check_failures()

    def count(self, outcome: str, rows: int = 1) -> None:
        """Record *rows* that were done."""
        self.report.end(outcome, rows)
        self._tell(outcome, rows)

    def _tell(self, outcome: str, rows: int = 1) -> None:
        hooks, service, mode = self._hooks
        if hooks is not None:
            hooks.end_rows(service, mode, outcome, rows)

    def count_elsewhere(self, troubles: int) -> None:
        """Set the number of rows not done in other parts of an import: the limit is one for all."""
        self._troubles_elsewhere = troubles
        self._check_failures()

    def _check_failures(self) -> None:
        limit, before = self._options.max_failures, self.earlier_troubles
        own = 0 if before is None else self.report.troubles - before
        if limit is not None and self._troubles_elsewhere + own > limit:
            bad = f"more than {limit} rows failed, are unknown or bad"
            self.give_up(f"{bad}; the limit is yours (max_failures)")

    def refuse(self, row: BadRow) -> None:
        """Record a row that can't be sent."""
        self.note(Problem(row.line, Trouble.BAD, "bad row", row.reason))

    def _open_entries(self, rows: Rows) -> Entries:
        return Entries(self._task, rows)

    async def _take(self, entries: Entries) -> AsyncGenerator[Entry]:
        """Yield the entries to send; refuse the rows that can't be sent."""
        while not self.stopped and (batch := await entries.batch()):
            for entry in batch:
                if self.stopped:
                    return
                self.report.last_line = entry.line
                if isinstance(entry, Entry):
                    self.report.note(entry.unknown_keys)
                    yield entry
                else:
                    self.refuse(entry)
        if entries.error is not None:
            self.give_up_source(entries.error)

    async def _send_all(self, entries: AsyncGenerator[Entry]) -> None:
        async with self._open_outcomes(entries) as outcomes:
            self._outcomes = outcomes
            if self.stopped:
                outcomes.stop()
            async for outcome in outcomes:
                self._record(outcome)

    def _open_outcomes(
        self, entries: AsyncGenerator[Entry]
    ) -> AbstractAsyncContextManager[bulk.Outcomes[Entry, object]]:
        sender = self._calls.batch_sender
        if sender is None:
            return bulk.run(
                self._send_one, entries, concurrency=self._concurrency, key=self._task.key,
                alone=self._is_untried,
            )  # fmt: skip
        limits = Limits(self._task.batch_size, MAX_BATCH_BYTES, _LINGER, self._max_calls)
        batched = Sender(sender.size, sender.keys, self._send)
        return batches.run(batched, entries, limits, ordered=False, alone=self._is_untried)

    def _is_untried(self) -> bool:
        """Return True before the first request: that one tries the credentials for all the others."""
        return self._client.tally.requests == self._before[0]

    async def _send_one(self, entry: Entry) -> object:
        [result] = await self._send([entry])
        if isinstance(result, Exception):
            raise result
        return result

    def _record(self, outcome: bulk.Outcome[Entry, object]) -> None:
        self._measure()
        if isinstance(outcome, bulk.Done):
            self.count(self._task.outcome(outcome.value))
            return
        error = outcome.error
        self.note(problem_of(outcome.item.line, error, unknown=isinstance(outcome, bulk.Unknown)))
        if ends_job(error):
            self._give_up_service(NO_BETTER.format(error))

    def _measure(self) -> None:
        report, tally = self.report, self._client.tally
        requests, resent, throttled = self._before
        report.requests = tally.requests - requests
        report.resent = tally.resent - resent
        report.throttled = tally.throttled - throttled
        report.seconds = self._clock() - self._started
        report.held = self._outage.seconds
        self.recorder.record()
