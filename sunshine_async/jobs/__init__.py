"""A file of users through a service: read, sent, and reported row by row.

::

    job = Job(client, SUNSHINE, Mode.CREATE)
    with open_rows("users.csv", job.shape) as rows:
        report = await job.run(rows)
    print(report.done, report.failed, report.unknown, report.bad)

Every row that is taken ends as one of four: *done*; *failed*, when the service doesn't have it;
*unknown*, when it may have it or not; *bad*, when it couldn't be read and nothing was sent.

``report.outcomes`` counts what was done: ``created``, ``updated`` or ``deleted``; ``unchanged``, where
nothing had to be written; ``upserted``, where a user is there as sent, and nobody can tell created from
updated, since an answer was lost or the job was killed.
"""

from sunshine_async.jobs.dry_run import Rehearsal, rehearse
from sunshine_async.jobs.job import Job, StoppedError
from sunshine_async.jobs.journaled import LastingJob
from sunshine_async.jobs.journaled import open_job as open  # noqa: A004 - of this module: jobs.open
from sunshine_async.jobs.recovery import UnsettledError
from sunshine_async.jobs.report import Ending, Latencies, Problem, Report, Trouble
from sunshine_async.jobs.source import Duplicates
from sunshine_async.jobs.tasks import DIXA, SERVICES, SMOOCH, SUNSHINE
from sunshine_async.jobs.tasks.task import Mode, Service
from sunshine_async.journal import JournalError
from sunshine_async.rows import BadRow, Row, RowFile, Shape, SourceError, open_rows

__all__ = [
    "DIXA",
    "SERVICES",
    "SMOOCH",
    "SUNSHINE",
    "BadRow",
    "Duplicates",
    "Ending",
    "Job",
    "JournalError",
    "LastingJob",
    "Latencies",
    "Mode",
    "Problem",
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
    "open",
    "open_rows",
    "rehearse",
]
