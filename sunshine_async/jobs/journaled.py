"""A job with a journal: a killed job goes on where it was."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Final, Self, cast

import orjson
from anyio import CancelScope, from_thread, to_thread
from anyio.abc import TaskGroup

from sunshine_async import bulk
from sunshine_async._calls.client import Client
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs.calls import ends_job, problem_of
from sunshine_async.jobs.entries import (
    BATCH_SIZE,
    Entries,
    EntryFactory,
    FileEntries,
    RefusedRow,
    Rows,
    StreamEntries,
)
from sunshine_async.jobs.job import NO_BETTER, Job
from sunshine_async.jobs.options import GRACE, MAX_OUTAGE, Duplicates, JobOptions
from sunshine_async.jobs.progress import FOUND, restore_report
from sunshine_async.jobs.recovery import CrashSafeSender, fenced, is_no_outcome
from sunshine_async.jobs.report import Ending, Problem, Report, Trouble
from sunshine_async.jobs.source import FINISHED, LIVE, OPEN, SUMS, check_job, is_finished, load_file
from sunshine_async.jobs.tasks.task import Entry, Mode, Service, check_service
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import (
    CREATED,
    PENDING,
    STARTED_THROUGH,
    Done,
    JobJournal,
    JournalError,
    Place,
    State,
    Update,
    open_journal,
    place_of,
)
from sunshine_async.rows import BadRow, RowFile, SourceError

_ROWS_PER_CALL: Final = 4  # read before any row is sent, for each row under way at once


class JournaledJob(Job):
    """A `Job` with a *journal*; made by `jobs.open`, and by `make` for an open journal.

    `run` sends the rows that still have to be sent, and returns the report of all rows. In a source
    that can't be read twice, the key identifies a row, or without a key the position.
    """

    patience_at_first: ClassVar = inf

    def __init__(
        self, journal: JobJournal, client: Client, service: Service, mode: Mode, options: JobOptions
    ) -> None:
        client = fenced(client, journal.lease)
        super().__init__(
            client, service, mode, concurrency=options.concurrency, grace=options.grace,
            max_failures=options.max_failures, max_outage=options.max_outage,
            on_problem=options.on_problem,
        )  # fmt: skip
        self.journal: Final = journal
        self._options = options
        self.earlier_troubles = None
        target = {"base_url": client.base_url, "app": app_of(client)}
        self._identity: Final = {"service": service.name, "mode": mode.value, **target}
        self._rules: Final = options.rules(mode, self._task)
        self._writer: Final = JournalWriter(journal, self._sums, self._count, self._fail_writing)
        self._sender: Final = CrashSafeSender(
            self._task, client, self._writer, self._calls, opened_at=CLOCK.now()
        )
        self._send = self._sender.send
        self._rows = 0
        self._sums_before: dict[str, float] = {}
        self._is_unwritten = False
        self._unloaded = 0  # rows of a file that were read before a stop, and not loaded
        self._loaded = 0  # rows of the file in the journal
        self._is_stream = False
        self._counted_at = time.time()
        self._paused_until = 0.0

    @classmethod
    async def make(
        cls, journal: JobJournal, client: Client, service: Service, mode: Mode, options: JobOptions
    ) -> Self:
        """Make the job of *journal*; raise `JournalError` if *journal* belongs to another job."""
        job = cls(journal, client, service, mode, options)
        await to_thread.run_sync(check_job, journal, job._identity)
        return job

    @property
    def read(self) -> int:
        """Number of rows in the source, as far as the source was read."""
        return max(self._rows, super().read)

    def total(self) -> int | None:
        """Return the number of rows in the source, once the journal has all rows."""
        return (self._rows or None) if not self._is_stream else None

    def _reading(self) -> RowFile | None:
        if self._is_stream or self.report.last_line:
            return None
        entries = cast("FileEntries | None", self._entries)
        return self._file if entries is None else entries.opened

    def stop(self) -> None:
        """Take no more rows; cut off calls, and waits for a database, after *grace* seconds."""
        super().stop()
        if self.journal.lease is not None:
            self.journal.lease.hurry(self._options.grace)

    def refuse(self, row: BadRow) -> None:
        """Record a row that can't be sent."""
        refused = cast("RefusedRow", row)
        problem = refused.problem or Problem(row.line, Trouble.BAD, "bad row", row.reason)
        if refused.problem is None:
            code, reason = problem.code, problem.reason
            self._writer.update(
                Update(refused.number, State.BAD, time.time(), code=code, reason=reason)
            )
        self._writer.after_commit(partial(self.note, problem))

    def _states(self) -> tuple[State, ...]:
        """Return the states of the rows to send or to look up now."""
        failed = (State.FAILED,) if self._options.retry_failed else ()
        unknown = (State.UNKNOWN,) if self._options.retry_unknown else ()
        return (*PENDING, *failed, *unknown)

    async def _prepare(self, rows: Rows, tasks: TaskGroup) -> None:
        self._tasks = tasks
        await self._load(rows)
        self.recorder.save = self._writer.save_timeline
        tasks.start_soon(self._writer.run)

    async def _load(self, rows: Rows) -> None:
        """Bring the journal, the pace and the report to the state before the first row."""
        self._is_stream = not isinstance(rows, RowFile) or rows.path is None
        self._sender.in_order = self._is_stream or self._options.duplicates is Duplicates.ALL
        about = await to_thread.run_sync(self._open_source, rows)
        if FOUND in about:
            found, window = map(float, about[FOUND].split())
            self._client.pace.resume(found, window, CLOCK.now())
        self._sums_before = {name: float(about.get(name, "0")) for name in SUMS}
        self._loaded = int(about.get("ahead", "0"))
        self._rows = self.report.rows + self.report.waiting
        if self._reopen_rows():
            await to_thread.run_sync(partial(self.journal.describe, **OPEN))

    def _close(self) -> None:
        self._writer.close()

    def _open_source(self, rows: Rows) -> dict[str, str]:
        """Bring *rows* into the journal and the counts into the report; return the entries."""
        self.journal.begin_session()
        if self._is_stream:
            self._open_stream()
        else:
            self._open_file(cast("RowFile", rows))
        if self._options.retry_failed and self._rules.once and self._rules.skips:
            self.journal.judge()
        restore_report(self.report, self.journal, unloaded=self._unloaded)
        return self.journal.about()

    def _open_file(self, rows: RowFile) -> None:
        self._unloaded = load_file(
            self.journal, self._task, rows, identity=self._identity, options=self._options,
            rules=self._rules, stopped=lambda: self.stopped,
        )  # fmt: skip
        retries = self._options.retry_failed or self._options.retry_unknown
        if retries and self._sender.in_order and self._rules.differ:
            self.journal.send_again(self._states())

    def _open_stream(self) -> None:
        duplicates = self._options.duplicates
        if duplicates not in (None, Duplicates.ALL):
            message = (
                f"--duplicates {duplicates.value} needs a file: a source that can be read only once "
                "is sent whole, in its order"
            )
            raise SourceError(message)
        about = {**self._identity, **OPEN}
        if is_finished(self.journal.about()) and not (self._rules.once and self._rules.skips):
            self.journal.begin()
            self.journal.ready({**about, **dict.fromkeys(SUMS, "0")}, self._rules)
        else:
            self.journal.describe(**about)

    def _reopen_rows(self) -> bool:
        """Take the rows to retry out of the counts; return True if there are any."""
        report = self.report
        final = report.codes[CREATED] if self._rules.skips else 0
        failed = (report.failed - final) * self._options.retry_failed
        unknown = report.unknown * self._options.retry_unknown
        report.failed -= failed
        report.unknown -= unknown
        report.waiting = 0
        report.before = report.rows
        # bad rows, and rows created with another body, count as troubles of this run too
        self.earlier_troubles = report.failed + report.unknown - final
        self._check_failures()
        return bool(failed or unknown)

    def _open_entries(self, rows: Rows) -> Entries:
        rows_per_call = self._task.batch_size
        batch_size = min(BATCH_SIZE, _ROWS_PER_CALL * self._max_calls * rows_per_call)
        mark_through = partial(self._writer.start_through, ahead=batch_size)
        factory = EntryFactory(
            self._task, self.journal, self._states(),
            mark_through=mark_through if rows_per_call == 1 else None, rules=self._rules,
            keep_bodies=self._options.keep_bodies, batch_size=batch_size,
        )  # fmt: skip
        if self._is_stream:
            return StreamEntries(factory, rows, self._tasks)
        return FileEntries(factory, cast("RowFile", rows), self._loaded)

    def _fail_writing(self, error: JournalError) -> None:
        self._is_unwritten = True
        self.give_up_source(error)

    def _record(self, outcome: bulk.Outcome[Entry, object]) -> None:
        if isinstance(outcome, bulk.Done):
            return  # the report counts the row after the commit
        if ends_job(outcome.error):
            self._give_up_service(NO_BETTER.format(outcome.error))
        self._writer.after_commit(partial(self._count_trouble, outcome))

    def _count(self, done: Done) -> None:
        for (outcome, _), rows in done.items():
            self.count(outcome, len(rows))
        self._show_progress()

    def _count_trouble(self, outcome: bulk.Failed[Entry] | bulk.Unknown[Entry]) -> None:
        if not is_no_outcome(outcome.error):
            unknown = isinstance(outcome, bulk.Unknown)
            self.note(problem_of(outcome.item.line, outcome.error, unknown=unknown))
        self._show_progress()

    def _show_progress(self) -> None:
        self._measure()
        self._counted_at = time.time()
        if self._options.on_progress is not None:
            self._options.on_progress(self.report)

    async def _finish(self) -> None:
        try:
            await to_thread.run_sync(self._write_totals, self._sums())
        except JournalError as error:
            self.give_up_source(error)

    def _sums(self) -> Mapping[str, str]:
        """Return the sums over the sessions of the run, and the progress now, for the journal."""
        report = self.report
        now = {
            "requests": report.requests, "resent": report.resent, "throttled": report.throttled,
            "seconds": report.seconds, "held": report.held, "sessions": 1,
        }  # fmt: skip
        sums = {name: str(self._sums_before[name] + each) for name, each in now.items()}
        sums[LIVE] = orjson.dumps(self._live()).decode()
        pace = self.pace
        if pace.found is not None:
            sums[FOUND] = f"{pace.found} {pace.window or 0.0}"
        return sums

    def _live(self) -> dict[str, Any]:
        """Return the counts of the running job, and the reason why no call begins now, if any."""
        now = self.progress()
        until = time.time() + now.paused
        if not now.paused:
            self._paused_until = 0.0
        elif abs(until - self._paused_until) > 1:  # else the same pause, measured again
            self._paused_until = until
        return {
            "rows": now.rows, "total": now.total or 0, "rate": now.rate, "not_done": now.not_done,
            "at": self._counted_at, "held": now.held, "paused_until": self._paused_until,
        }  # fmt: skip

    def _write_totals(self, sums: Mapping[str, str]) -> None:
        """Bring the journal, with *sums*, and the report to the state after the last row."""
        if self._rules.aliased and not self._is_stream and self.report.requests:
            self.journal.send_overtaken()
        restore_report(self.report, self.journal, unloaded=self._unloaded)
        about = {**sums}
        if not self._is_stream:  # the rows of a stream were counted on arrival
            self.report.turned = int(self.journal.about().get("turned", "0"))
        if not self._is_unwritten:
            about[STARTED_THROUGH] = "0"  # rows that may have been sent have marks of their own
        if self.report.ending is Ending.ALL and not self.journal.waiting():
            about |= FINISHED
        self.journal.write((), about=about, timeline=self.recorder.timeline.as_text())


LastingJob = JournaledJob


def app_of(client: Client) -> str:
    """Return the id of the app of *client*; an empty text for a service without apps."""
    return ", ".join(vars(client)["_transport"].path.values())


def open_job(
    path: str | Path,
    client: Client,
    service: Service,
    mode: Mode,
    *,
    concurrency: bulk.Concurrency | None = None,
    max_failures: int | None = None,
    grace: float = GRACE,
    duplicates: Duplicates | None = None,
    retry_failed: bool = False,
    retry_unknown: bool = False,
    accept_changed_source: bool = False,
    full: bool = False,
    keep_bodies: bool = False,
    max_outage: float = MAX_OUTAGE,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[Report], None] | None = None,
) -> AbstractAsyncContextManager[JournaledJob]:
    """Open or make the journal at *path*, and give the job that goes on from the journal.

    An unfinished run goes on: rows that are done cost no request. Begun rows are looked up by key,
    and sent again if that can do no harm; else begun rows are *unknown*. *retry_failed* and
    *retry_unknown* try such rows again, but not a row that failed as ``already created``.

    After a finished run the next run may have different rows. The journal keeps the last accepted
    state of each user, certain or uncertain, over all runs:

    - An upsert skips rows that equal the last accepted state; changes by other writers are assumed
      not to happen. At Dixa a row is also sent if another key has named the same user before, or
      after a row of a new user: such a row may have changed the same user.
    - A create never creates a user again: a row of a created user is ``unchanged``, or has failed
      as ``already created`` if the body differs. An unknown row stays unknown until
      *retry_unknown*. A different source is refused if rows without a key may be new people.
    - Updates and deletions are sent again, and may overwrite another writer's change.

    *accept_changed_source* lets an unfinished run go on with the rows of a different source, and
    rows without a key count as created by body and count. *full* sends all rows. *duplicates*
    chooses among rows with the same key. In an outage the job waits, *max_outage* seconds at most.
    More than *max_failures* bad, failed or unknown rows end the job: before the first request, if
    a file has so many bad rows. The journal has bodies only with *keep_bodies*. *on_problem* gets
    each row that wasn't done; *on_progress* gets the report after each commit of many rows.

    *path* is a file, which each run makes the owner's alone (mode 0600, also after a ``chmod 640``),
    or the URL of a PostgreSQL database that several machines reach (extra ``postgres``):
    ``postgresql://user:password@host/database?job=may``, with a name for the job. One process at a
    time has the journal: its lease of 10 seconds (``lease=30`` in the URL: 30) is renewed all the
    time. After a kill the next process waits for the end of the lease. A process that was silent
    for longer, and lost the journal, writes and sends nothing more. While the database is away the
    job waits, two minutes at most.

    Raise `ConfigurationError` for a *path* that names no file (``:memory:``) and for a wrong URL,
    `JournalError` for a journal that can't be used, is incomplete, or belongs to another job, and
    `TypeError` and `ValueError` as `Job` does.
    """
    options = JobOptions(
        concurrency=concurrency, max_failures=max_failures, grace=grace, duplicates=duplicates,
        retry_failed=retry_failed, retry_unknown=retry_unknown, full=full, keep_bodies=keep_bodies,
        accept_changed_source=accept_changed_source, max_outage=max_outage,
        on_problem=on_problem, on_progress=on_progress,
    )  # fmt: skip
    place = place_of(path)
    path = ""  # no frame of an error holds a password
    if isinstance(place, ConfigurationError):
        raise place
    return open_with_options(place, client, service, mode, options)


def _is_wanted() -> bool:
    """Return True; in a thread of a task that was cancelled, raise the cancellation."""
    from_thread.check_cancelled()
    return True


@asynccontextmanager
async def open_with_options(
    place: Place, client: Client, service: Service, mode: Mode, options: JobOptions
) -> AsyncGenerator[JournaledJob]:
    """Open the journal at *place* as `open_job` does, with *options* as a value."""
    check_service(service)
    service.check_client(client)
    service.task(mode)  # before there is a journal
    journal = await to_thread.run_sync(partial(open_journal, place, may_wait=_is_wanted))
    close = journal.discard  # after an error such as a refused source
    try:
        yield await JournaledJob.make(journal, client, service, mode, options)
        close = journal.close
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(close)
