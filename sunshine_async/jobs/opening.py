"""A journal opened, and the job that goes on from it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread

from sunshine_async._client import Client
from sunshine_async._report import Problem, Report
from sunshine_async._tasks import Mode, Service
from sunshine_async.bulk import Concurrency
from sunshine_async.jobs.lasting import LastingJob
from sunshine_async.jobs.sources import Duplicates, Policy
from sunshine_async.journal import Journal


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
