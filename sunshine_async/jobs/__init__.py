r"""Jobs: read the rows of a file, send each to a service, and report the outcome row by row.

A job with a journal, which goes on after a kill when started again::

    import asyncio
    import json

    from sunshine_async import SunshineClient, jobs


    async def main() -> None:
        async with (
            SunshineClient() as client,
            jobs.open(
                "run.sqlite",
                client,
                jobs.SUNSHINE,
                jobs.Mode.UPSERT,
                max_failures=100,
                retry_failed=True,
            ) as job,
        ):
            with jobs.open_rows(
                "users.csv",
                job.shape,
                renames={"externalId": "customer_no"},
                skip=["note"],
                delimiter=";",
            ) as rows:
                report = await job.run(rows)
        print(json.dumps(report.as_json(), indent=2))


    asyncio.run(main())

The same from the command line; ``sunshine-async import --help`` explains all options::

    $ sunshine-async import users.csv --mode upsert --journal run.sqlite \
          --map externalId=customer_no --skip note --delimiter ";" \
          --max-failures 100 --retry-failed
    $ sunshine-async job show run.sqlite
    $ sunshine-async job failures run.sqlite
    $ sunshine-async job report run.sqlite --out report.html

- ``--skip`` leaves out a column, and ``--map`` names the column of a field. A column that is neither
  a field nor skipped is an error before anything is sent, with a command for all such columns;
  ``--only-mapped`` skips these columns.
- ``--delimiter`` is the separator of a CSV file: ``,`` (default), ``;`` or ``tab``. ``--encoding``
  names an encoding other than UTF-8; ``--timezone`` and ``--date-format`` read times without a zone.
- ``--max-failures`` gives up after more rows than that failed, are unknown or bad (exit status 3).
- ``--retry-failed`` tries rows again that failed in an earlier run; ``--retry-unknown`` rows whose
  outcome is unknown.

Without a file and without a journal: any iterable of models is a source::

    import asyncio
    from collections.abc import AsyncIterator

    from sunshine_async import SunshineClient, jobs
    from sunshine_async.sunshine import UserCreateBody


    async def customers() -> AsyncIterator[UserCreateBody]:
        for number in range(3):
            yield UserCreateBody(external_id=f"customer-{number}")


    async def main() -> None:
        async with SunshineClient() as client:
            job = jobs.Job(client, jobs.SUNSHINE, jobs.Mode.CREATE)
            report = await job.run(customers())
        print(report.done, report.failed, report.unknown, report.bad)


    asyncio.run(main())

`Job` sends the rows through a client; `jobs.open` gives a `JournaledJob`, which records each row in
a journal, so that a killed job goes on. `dry_run` reads the rows and sends nothing;
`partition` splits a file into parts for many processes, such as those of Dask or of a `Cluster`.

`Entries` read the rows, in a thread; a `Task` of the table of a `Service` turns a row into a call.
`bulk` makes the calls; `OutageWatch` holds rows back while the service is gone. The `Report`
counts the outcomes. With a journal, a `CrashSafeSender` marks rows before sending, and a
`JournalWriter` writes marks and outcomes in group commits. A `Recorder` keeps a `Timeline` of rows,
calls and pauses for the charts of a report, and `Job.progress` gives a display the rows, the speed,
the time left and the reason for a wait. The first call goes alone, so refused credentials (401, 402,
403) cost a single request.

Each row that is taken has one of four outcomes:

- *done*;
- *failed*: the service doesn't have the row;
- *unknown*: the service may have the row, or not;
- *bad*: the row couldn't be read, and nothing was sent.

``report.outcomes`` counts the rows done: ``created``, ``updated``, ``deleted`` or ``sent``;
``unchanged`` if nothing had to be written; ``upserted`` if the user is there as sent, and a lost
answer or a kill hides the difference between created and updated.

`Mode.MESSAGE` (Sunshine) is a broadcast. A row has a ``text``, a ``conversationId`` or the user's
``externalId``, and perhaps ``metadata``; a row with both ids goes to the conversation.

- With an ``externalId`` the text goes to the user's own conversation: the default conversation, else
  another personal conversation, else a new personal conversation.
- Rows with the same id go one after another, in the order of the file, and equal rows are all sent.
- Each message carries a key of its own (*once* of `Messages`), which the journal knows from before
  the first sending on; the text is in the journal only with *keep_bodies*.
- A begun row of a killed job is looked up by the key, 5 seconds after the start at the earliest. The
  row is done if the message is there, else unknown, since the message may still arrive.
- *retry_unknown* looks once more, and sends the message again, with the same key, if no message is
  there. Nothing else sends a message again that may be there.
- A changed file is refused after a finished run, as rows have no key that tells equal messages from
  new messages: *accept_changed_source* counts rows with the same content as sent.
"""

from sunshine_async.jobs.calls import StoppedError
from sunshine_async.jobs.dry_run import DryRun, Rehearsal, dry_run, rehearse
from sunshine_async.jobs.job import Job
from sunshine_async.jobs.journaled import JournaledJob, LastingJob
from sunshine_async.jobs.journaled import open_job as open  # noqa: A004 - of this module: jobs.open
from sunshine_async.jobs.options import Duplicates
from sunshine_async.jobs.partition import FilePart, partition
from sunshine_async.jobs.progress import Progress
from sunshine_async.jobs.recovery import UnsettledError
from sunshine_async.jobs.report import Ending, Latencies, Problem, Report, Trouble
from sunshine_async.jobs.tasks import DIXA, SERVICES, SMOOCH, SUNSHINE
from sunshine_async.jobs.tasks.task import Mode, Service
from sunshine_async.journal import JournalAwayError, JournalError, JournalInUseError
from sunshine_async.rows import BadRow, Row, RowFile, Shape, SourceError, open_rows

__all__ = [
    "DIXA",
    "SERVICES",
    "SMOOCH",
    "SUNSHINE",
    "BadRow",
    "DryRun",
    "Duplicates",
    "Ending",
    "FilePart",
    "Job",
    "JournalAwayError",
    "JournalError",
    "JournalInUseError",
    "JournaledJob",
    "LastingJob",
    "Latencies",
    "Mode",
    "Problem",
    "Progress",
    "Rehearsal",
    "Report",
    "Row",
    "RowFile",
    "Service",
    "Shape",
    "SourceError",
    "StoppedError",
    "Trouble",
    "UnsettledError",
    "dry_run",
    "open",
    "open_rows",
    "partition",
    "rehearse",
]
