"""Parts of a file: a job for each part, in any process, on any machine that can read the file.

A part is a value that pickles: the path, the digest and the options of the file, and the number of
the part. Rows with equal keys are in the same part, in the order of the file, so the parts can run
at the same time. Each part reads the whole file, and keeps the rows of the part: memory stays flat.

Parts of a file, each a job with a journal, in as many processes as an engine has: here Dask. Rows of
a user are in the same part. The processes need the file, a database for the journals, and a shared
pace (``SUNSHINE_PACE``), since the limit of the service is the same for one process and for fifty.
With the journals in the database, any machine goes on with the part of a machine that is gone::

    import asyncio

    import dask

    from sunshine_async import SunshineClient, jobs


    async def run(part: jobs.FilePart) -> jobs.Report:
        journal = f"postgresql://user@host/imports?job=part_{part.index}"
        service = jobs.SERVICES[part.service]
        async with SunshineClient() as client, jobs.open(journal, client, service, part.mode) as job:
            with part.open() as rows:
                return await job.run(rows)


    task = jobs.SUNSHINE.task(jobs.Mode.UPSERT)
    with jobs.open_rows("users.jsonl", task.shape) as source:
        parts = jobs.partition(source, task, into=4)
    run_part = dask.delayed(lambda part: asyncio.run(run(part)))
    print(sum(dask.compute(*map(run_part, parts)), jobs.Report()).done)

Without code: ``sunshine-async worker --cluster postgresql://user@host/imports`` on each machine, and
``sunshine-async import users.csv --mode upsert --cluster ... --parts 64`` on one. The parts wait in a
queue of Procrastinate in the database (extra ``cluster``), and the part of a worker that was killed
goes to another worker. ``sunshine-async job show postgresql://user@host/imports`` shows all parts, and
so do ``job failures``, ``job export`` and ``job report``: an `ImportReader` reads the journals as one.
A worker that can run no part, such as one with refused credentials, ends and leaves the parts.
"""

from typing import Final

from attrs import evolve, frozen

from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async.errors import ConfigurationError
from sunshine_async.jobs.source import digest_of
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.jobs.tasks.task import Mode, Task
from sunshine_async.rows import RowFile, SourceError
from sunshine_async.rows.file import open_as
from sunshine_async.rows.shape import HashPartition, ReadOptions

_CHANGED: Final = (
    "{} is not the file that was partitioned: nothing was sent. Give the parts the same file, or "
    "partition the new file"
)


@frozen
class FilePart:
    """A part of a file, made by `partition`. The part pickles, and holds no row."""

    path: str
    """The path of the file, absolute."""
    service: str
    """Name of the service, for `SERVICES`."""
    mode: Mode
    index: int
    """Number of the part, from 0."""
    count: int
    """Number of all parts."""
    digest: str
    """SHA-256 of the file, in hexadecimal."""
    meant: str
    """Options of the file, as text."""

    def open(self) -> RowFile:
        """Open the file for the rows of this part; close the result.

        Raise `SourceError` if the file can't be read, or isn't the file that was partitioned.
        """
        task = SERVICES[self.service].task(self.mode)
        hashed = HashPartition(
            self.index, self.count, task.key_fields or task.shape.ids, task.key_scope,
            task.key_includes_field,
        )  # fmt: skip
        meant = evolve(ReadOptions.from_text(self.meant), partition=hashed).text
        rows = open_as(self.path, task.shape, meant)
        digest = None
        try:
            digest = digest_of(rows)
        finally:
            if digest != self.digest:
                rows.close()
        if digest != self.digest:
            raise SourceError(_CHANGED.format(self.path))
        return rows


_KINDS: Final[Kinds] = {"into": (int, "a number"), "source": (RowFile, "a file of open_rows")}


def partition(source: RowFile, task: Task, *, into: int) -> list[FilePart]:
    """Split the rows of *source*, a file of `open_rows`, in *into* parts; return the parts.

    The hash of the user's key chooses the part: equal in all processes and releases. A row without
    a key goes by the number of the row. With *task* from ``SERVICE.task(mode)`` each part knows the
    service and the mode::

        task = jobs.SUNSHINE.task(jobs.Mode.CREATE)
        with jobs.open_rows("/shared/users.csv", task.shape) as rows:
            parts = jobs.partition(rows, task, into=64)

    Each part has a journal of its own, such as ``postgresql://user@host/imports?job=part_0``, which
    refuses any other part. ``sum(reports, jobs.Report())`` is the report of all parts. Rows of the
    same user under different keys may be in different parts, and have no order.

    Raise `ConfigurationError` if *into* isn't positive, or for a *task* that isn't of `SERVICES`,
    which another process couldn't find. Raise `SourceError` if *source* can't be read twice.
    """
    check_kinds(_KINDS, {"source": source, "into": into}, ConfigurationError)
    if into < 1:
        message = f"into={into}: give a number of parts of 1 or more"
        raise ConfigurationError(message)
    service, mode = _name_of(task)
    if source.path is None:
        message = f"{source.name} can be read only once: partition needs the path of a file"
        raise SourceError(message)
    path, digest = str(source.path.absolute()), digest_of(source)
    return [
        FilePart(path, service, mode, index, into, digest, source.meant) for index in range(into)
    ]


def _name_of(task: Task) -> tuple[str, Mode]:
    for service in SERVICES.values():
        for mode, known in service.tasks.items():
            if known is task:
                return service.name, mode
    message = (
        "the task is none of jobs.SERVICES, so another process couldn't find the task: give "
        "SERVICE.task(mode), such as jobs.SUNSHINE.task(jobs.Mode.CREATE)"
    )
    raise ConfigurationError(message)
