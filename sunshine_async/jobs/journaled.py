"""A job with a journal: killed anywhere, it goes on where it was.

A journal opened, and the job that goes on from it.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from attrs import evolve

from sunshine_async import bulk
from sunshine_async._calls.client import Client
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk import Concurrency
from sunshine_async.jobs.bodies import Rows
from sunshine_async.jobs.entries import AT_ONCE, Entries
from sunshine_async.jobs.feeding import TROUBLES, Feed, Pending, Refused, Stream
from sunshine_async.jobs.job import NO_BETTER, Job, Results, ends_job, problem_of
from sunshine_async.jobs.recovery import Settling, says_nothing
from sunshine_async.jobs.report import KEPT, Ending, Problem, Report, Trouble
from sunshine_async.jobs.source import SUMS, Duplicates, Policy, check_job, read_ahead
from sunshine_async.jobs.tasks.task import Entry, Mode, Recovery, Service
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import (
    CREATED,
    PENDING,
    REACH,
    Done,
    Journal,
    JournalError,
    JournalRow,
    State,
    Update,
)
from sunshine_async.rows import BadRow, Row, RowFile, SourceError

FOUND: Final = "found"
"""The name under which the journal keeps the limit that was found: calls a second, and a window."""
_FOR_EACH: Final = 4
"""How many rows are read before any of them is sent, for each that is sent at once."""
_WAITING: Final = State.WAITING  # looked up once: an enum's members take their time
_BEGUN: Final = State.BEGUN
_UNKNOWN: Final = State.UNKNOWN
AHEAD: Final = (Recovery.RESEND_UNCERTAIN, Recovery.LOOK_UP_OR_RESEND, Recovery.RESEND_DELETE)
"""Where a row that was marked as begun, and then wasn't sent, is looked up or sent when its job goes on: it
does not become unknown for that, unless another user has its key. A deletion of who was never there is
then done; and who was there, with all that was to be sent, was created.
"""


class LastingJob(Job):
    """A `Job` that keeps its *journal*; made by `jobs.open`."""

    patience_at_first: ClassVar = inf

    def __init__(
        self,
        journal: Journal,
        client: Client,
        service: Service,
        mode: Mode,
        *,
        policy: Policy,
        on_progress: Callable[[Report], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(client, service, mode, max_outage=policy.max_outage, **options)
        self.journal: Final = journal
        self.policy: Final = policy
        self._on_progress: Final = on_progress
        self._said: Final = {
            "service": service.name,
            "mode": mode.value,
            "base_url": client.base_url,
            "app": ", ".join(vars(client)["_transport"].path.values()),
        }
        check_job(journal, self._said)
        self._mode: Final = mode
        self._ahead: Final = self._task.batch_size == 1
        self._scribe: Final = JournalWriter(journal, self._sums, self._count, self._break_off)
        self._settling: Final = Settling(
            self._task, client, self._scribe, self._hold, lambda: self._stopped
        )
        self._rows = 0
        self._sums_before: dict[str, float] = {}
        self._unwritten = False
        self._rules: Final = policy.rules(mode, self._task)
        self._in_vain = 0
        self._rows_ahead = 0
        self._is_stream = False
        self._beside: TaskGroup
        """The tasks that run beside the job, once it runs."""

    async def run(self, rows: Rows) -> Report:
        """Send what is still to be sent of *rows*, and return the report of all of them.

        *rows* is a file of `open_rows`, or any iterable of bodies, async or not: models, or
        mappings as on the wire. Where it can't be read twice, a row is known by its key, or
        without one by its place.
        """
        self._begin(rows)
        own: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            try:
                prepared = await self._prepared(rows)
                tasks.start_soon(self._scribe.work)
                self._beside = tasks
                await self._run(prepared)
            except BaseException as error:  # noqa: BLE001 - raised again below, not in a group
                own = error
            finally:
                self._scribe.close()
                if self._entries is not None:
                    self._entries.close()
        if own is not None:
            raise own
        await to_thread.run_sync(self._finish)
        return self.report

    @property
    def read(self) -> int:
        """How many rows there are, as far as they have been read."""
        return max(self._rows, super().read)

    def refuse(self, row: BadRow) -> None:
        """Take down a row that can't be sent."""
        refused = cast("Refused", row)
        problem = refused.problem or Problem(row.line, Trouble.BAD, "bad row", row.reason)
        if refused.problem is None:
            now = time.time()
            mark = Update(refused.number, State.BAD, now, code=problem.code, reason=problem.reason)
            self._scribe.mark(mark)
        self._scribe.then(partial(self.note, problem))

    def _states(self) -> tuple[State, ...]:
        """Return the states of the rows that are to be sent, or looked at, now."""
        again = {State.FAILED: self.policy.retry_failed, State.UNKNOWN: self.policy.retry_unknown}
        return (*PENDING, *(state for state, wanted in again.items() if wanted))

    def _entry_of(self, row: Row, kept: JournalRow) -> Entry | Refused:
        """Return what is sent for *row*, which the journal has as *kept*."""
        entry = self._task.entry(row, kept.number, remote_id=kept.remote_id)
        if isinstance(entry, BadRow):
            return Refused(entry.line, entry.reason, kept.number)
        again = self._task.recovery(entry)
        begun = kept.state is _BEGUN or (kept.state is _UNKNOWN and again is not Recovery.UNKNOWN)
        ahead = self._ahead and kept.state is _WAITING and again in AHEAD
        alone = not (ahead or again is Recovery.RESEND)
        return evolve(entry, begun=begun, alone=alone) if begun or alone else entry

    async def _prepared(self, rows: Rows) -> Rows:
        await to_thread.run_sync(self.journal.begin_session)
        if isinstance(rows, RowFile) and rows.path is not None:
            self._settling.in_order = self.policy.duplicates is Duplicates.ALL
            await to_thread.run_sync(self._begin_file, rows)
        else:
            self._is_stream = True
            await to_thread.run_sync(self._begin_stream)
        if self.policy.retry_failed and self._rules.once and self._rules.skips:
            await to_thread.run_sync(self.journal.judge)
        await to_thread.run_sync(self._restate)
        about = await to_thread.run_sync(self.journal.about)
        if FOUND in about:
            found, window = map(float, about[FOUND].split())
            self._client.pace.resume(found, window, CLOCK.now())
        self._sums_before = {name: float(about.get(name, "0")) for name in SUMS}
        self._rows_ahead = int(about.get("ahead", "0"))
        report = self.report
        self._rows = report.rows + report.waiting
        stay = report.codes[CREATED] if self._rules.skips else 0
        again = (report.failed - stay) * self.policy.retry_failed
        doubted = report.unknown * self.policy.retry_unknown
        if again or doubted:
            await to_thread.run_sync(partial(self.journal.describe, state="open"))
        report.failed -= again
        report.unknown -= doubted
        report.waiting = 0
        report.before = report.rows
        # bad rows, and those that were created with another body, are the file's as it is
        self._earlier = report.failed + report.unknown - stay
        self._check_failures()
        return rows

    def _begin_file(self, rows: RowFile) -> None:
        self._in_vain = read_ahead(
            self.journal, self._task, rows, said=self._said, policy=self.policy, rules=self._rules,
            going_on=lambda: not self._stopped, check=self._max_failures < inf,
        )  # fmt: skip
        again = self.policy.retry_failed or self.policy.retry_unknown
        if again and self._settling.in_order and self._rules.differ:
            self.journal.send_again(self._states())

    def _begin_stream(self) -> None:
        if self.policy.duplicates not in (None, Duplicates.ALL):
            message = (
                f"--duplicates {self.policy.duplicates.value}: what can be read once only is sent "
                "in its order, all of it; it has to be a file for that"
            )
            raise SourceError(message)
        about = {**self._said, "state": "open"}
        finished = self.journal.about().get("state") == "finished"
        if finished and not (self._rules.once and self._rules.skips):
            self.journal.begin()
            self.journal.ready({**about, **dict.fromkeys(SUMS, "0")}, self._rules)
        else:
            self.journal.describe(**about)

    def _source(self, rows: Rows) -> Entries:
        at_once = min(AT_ONCE, _FOR_EACH * self._at_most * self._task.batch_size)
        feed = Feed(
            self, self._task, self.journal, self._states(), self._entry_of,
            begin=partial(self._scribe.reach, ahead=at_once) if self._ahead else None,
            rules=self._rules, keep_bodies=self.policy.keep_bodies, at_once=at_once,
        )  # fmt: skip
        if not self._is_stream:
            return Pending(feed, cast("RowFile", rows), self._rows_ahead)
        return Stream(feed, rows, self._beside)

    def _send(self, entries: Sequence[Entry]) -> Coroutine[Any, Any, Results]:
        return self._settling.send(entries, self._send_plainly)

    def _call(self, entries: Sequence[Entry]) -> Coroutine[Any, Any, Results]:
        return self._settling.call(entries, self._call_plainly)

    def _break_off(self, error: JournalError) -> None:
        """Give up, since what became of rows can't be written down."""
        self._unwritten = True
        self.give_up(str(error))

    def _settle(self, outcome: bulk.Outcome[Entry, object]) -> None:
        if isinstance(outcome, bulk.Done):
            return  # it counts when that is on the disk
        if ends_job(outcome.error):
            self.give_up(NO_BETTER.format(outcome.error))
        self._scribe.then(partial(self._note, outcome))

    def _count(self, done: Done) -> None:
        """Count what is *done*, and on the disk."""
        for (outcome, _), rows in done.items():
            self.report.end(outcome, len(rows))
        self._progress()

    def _note(self, outcome: bulk.Failed[Entry] | bulk.Unknown[Entry]) -> None:
        """Take down a row that wasn't done, which is on the disk."""
        if not says_nothing(outcome.error):
            unknown = isinstance(outcome, bulk.Unknown)
            self.note(problem_of(outcome.item.line, outcome.error, unknown=unknown))
        self._progress()

    def _progress(self) -> None:
        self._measure()
        if self._on_progress is not None:
            self._on_progress(self.report)

    def _finish(self) -> None:
        try:
            if self._rules.aliased and not self._is_stream and self.report.requests:
                self.journal.send_overtaken()
            self._restate()
            self._total()
        except JournalError as error:
            self.give_up(str(error))

    def _restate(self) -> None:
        """Let the report say what the journal does."""
        counts: Counter[State] = Counter()
        outcomes: Counter[str] = Counter()
        for (state, outcome), count in self.journal.counts().items():
            counts[state] += count
            if outcome:
                outcomes[outcome] += count
        report = self.report
        report.done, report.outcomes = counts[State.DONE], outcomes
        report.failed, report.unknown = counts[State.FAILED], counts[State.UNKNOWN]
        report.bad, report.left_out = counts[State.BAD], counts[State.LEFT_OUT]
        report.waiting = counts[State.WAITING] + counts[State.BEGUN] + self._in_vain
        report.codes = Counter({code: count for code, (count, _) in self.journal.codes().items()})
        report.problems = [
            Problem(row["line"], TROUBLES[row["state"]], row["code"], row["reason"])
            for row in islice(self.journal.rows(*TROUBLES), KEPT)
        ]

    def _sums(self) -> Mapping[str, str]:
        """Return what this session, and those before it, have taken, as the journal has it."""
        report = self.report
        now = {
            "requests": report.requests, "resent": report.resent, "throttled": report.throttled,
            "seconds": report.seconds, "held": report.held, "sessions": 1,
        }  # fmt: skip
        sums = {name: str(self._sums_before[name] + each) for name, each in now.items()}
        pace = self.pace
        if pace.found is not None:
            sums[FOUND] = f"{pace.found} {pace.window or 0.0}"
        return sums

    def _total(self) -> None:
        report = self.report
        about = {**self._sums()}
        if not self._is_stream:  # what can be read once only was counted as it came
            report.turned = int(self.journal.about().get("turned", "0"))
        if not self._unwritten:
            about[REACH] = "0"  # what may have been sent has a mark of its own
        if report.ending is Ending.ALL and not self.journal.waiting():
            about["state"] = "finished"
        self.journal.describe(**about)


@asynccontextmanager
async def open_job(
    path: str | Path,
    client: Client,
    service: Service,
    mode: Mode,
    *,
    concurrency: Concurrency | None = None,
    max_failures: int | None = None,
    grace: float = 10.0,
    duplicates: Duplicates | None = None,
    retry_failed: bool = False,
    retry_unknown: bool = False,
    accept_changed_source: bool = False,
    full: bool = False,
    keep_bodies: bool = False,
    max_outage: float = 900.0,
    on_problem: Callable[[Problem], None] | None = None,
    on_progress: Callable[[Report], None] | None = None,
) -> AsyncGenerator[LastingJob]:
    """Open the journal at *path*, or make it, and give the job that goes on from it.

    A run that wasn't finished goes on: rows that are done cost no request, those that had begun are
    looked up by their key, and sent again where that can do no harm; else they are *unknown*.
    With *retry_failed* and *retry_unknown* those are tried again too, but not a row that has failed as
    ``already created``.

    After a finished run the next may have other rows. The journal keeps what was last accepted of
    each user, or may have been, over all runs:

    - An upsert passes over rows that are as they were last accepted. Nobody else is thought to have
      changed them. At Dixa a row is also sent where another key has named its user before, or where
      it comes after a row of somebody new: such a row may have changed the same user.
    - A create makes no user again. A row of a user who was created is ``unchanged``, or has failed
      as ``already created`` where its body is another. A row that is unknown stays unknown until
      *retry_unknown*. Rows without a key can't be told from new people, so another source that has
      them is refused.
    - Updates and deletions are sent again, and may overwrite another writer's change.

    With *accept_changed_source* an unfinished run goes on with the rows of another source, and rows
    without a key count as created by body and count. With *full* all rows are sent.

    Of rows with the same key *duplicates* says which are sent. While the service is gone the job
    waits, *max_outage* seconds at most. More than *max_failures* bad, failed or unknown rows end
    the job: before anything is sent, where a file has them. Bodies stand in the journal only with
    *keep_bodies*. *on_problem* is called with each row that wasn't done, *on_progress* with the
    report when what became of rows is on the disk: many of them at a time.

    Raise `ConfigurationError` for a *path* that names no file (``:memory:``), and `JournalError` for
    a journal that can't be used, is a part of one only, or is another job's.
    """
    journal = await to_thread.run_sync(Journal, path)
    try:
        yield LastingJob(
            journal,
            client,
            service,
            mode,
            policy=Policy(
                duplicates=duplicates,
                retry_failed=retry_failed,
                retry_unknown=retry_unknown,
                accept_changed_source=accept_changed_source,
                full=full,
                keep_bodies=keep_bodies,
                max_outage=max_outage,
            ),
            concurrency=concurrency,
            max_failures=max_failures,
            grace=grace,
            on_problem=on_problem,
            on_progress=on_progress,
        )
    finally:
        journal.close()
