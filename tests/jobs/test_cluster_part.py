"""Faults at a worker: of a part, of the machine, of the worker; and a limit for all parts."""

from contextlib import closing
from errno import ENOENT, ENOSPC
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from psycopg import OperationalError
from psycopg.errors import InsufficientPrivilege, UndefinedTable
from support.clients import sunshine
from support.clusters import (
    Slow,
    done,
    people,
    plan_of,
    reader_of,
    report_of,
    working,
)
from support.journals import counts, effects, write

from sunshine_async import BasicAuth, ConfigurationError, SunshineClient
from sunshine_async._calls.client import Client
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import Ending, JournalAwayError, SourceError
from sunshine_async.jobs.cluster import Cluster
from sunshine_async.jobs.cluster_plan import journal_of
from sunshine_async.jobs.cluster_worker import ClusterWorker, TryAgainError, WorkerError

UNFIT = BasicAuth("key-id", "other-secret")
HINT = r"left for other workers\. Mend the cause, and start the worker again"


def fail(error: Exception) -> Any:
    """Return a function that raises *error* instead of making a client."""

    def connect(_: str) -> Client:
        raise error

    return connect


async def end_of(worker: ClusterWorker) -> str:
    """Run *worker*, which can run no part, and return the reason."""
    with pytest.raises(WorkerError, match=HINT) as caught:
        await worker.run()
    return str(caught.value)


@pytest.mark.slow
async def test_refused_credentials_end_the_worker(cluster: Cluster, file: Path) -> None:
    """The worker sends one request in all, and leaves each part to the others, who do all rows."""
    emulator = Emulator(keys=["key-id:top-secret"])
    write(file, people(40))
    number = await cluster.submit(plan_of(file, into=4))
    notes: list[str] = []
    unfit = ClusterWorker(
        cluster, lambda _: sunshine(emulator.transport(), auth=UNFIT), notes.append
    )

    assert "401" in await end_of(unfit)
    assert emulator.requests == 1
    assert notes[1:] == ["Left to other workers: part 1 of 4 of users.jsonl"]
    state = await cluster.state(number)
    assert state.ended == 0
    assert "worker on " in str(state.parts[0][1])
    assert "401" in str(state.parts[0][1])

    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan_of(file, into=4))
    assert (report.ending, report.reason) == (Ending.ALL, None)
    assert counts(report) == (40, 0, 0, 0, 0)
    assert effects(emulator, "sunshine") == {"create": 40}


async def test_missing_credentials_end_the_worker(cluster: Cluster, file: Path) -> None:
    """A worker without a setting has no client: no part ends."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=2))
    missing = ClusterWorker(cluster, fail(ConfigurationError("the secret is missing")), print)
    assert "the secret is missing" in await end_of(missing)
    assert (await cluster.state(number)).ended == 0


@pytest.mark.slow
async def test_a_worker_of_another_app_ends(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The first worker's app and address hold for the import, as for its journals; both ways out are told."""
    write(file, people(4))
    async with working(cluster.place, emulator.transport()):
        await done(cluster, plan_of(file, into=2))
    number = await cluster.submit(plan_of(file, into=2, retry_failed=True))
    other = SunshineClient("other-app", auth=UNFIT, transport=emulator.transport())

    reason = await end_of(ClusterWorker(cluster, lambda _: other, print))

    assert "the import goes to app at https://api.smooch.io" in reason
    assert "told other-app at" in reason
    assert "Give this worker the same app and address. If the first worker was told wrong" in reason
    assert "name another import in the address: ?job=NAME" in reason
    assert (await cluster.state(number)).ended == 0


@pytest.mark.slow
async def test_a_file_that_a_machine_has_not(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The part goes back to the queue, with the reason, until a machine has the file."""
    write(file, people(4))
    plan = plan_of(file, into=2, is_shared=True)
    hidden = await to_thread.run_sync(file.rename, file.with_suffix(".hidden"))
    async with working(cluster.place, emulator.transport()) as (_, notes):
        number = await cluster.submit(plan)
        await notes.wait_for("users.jsonl can't be used on this machine: No such file")
        await to_thread.run_sync(hidden.rename, file)
        async for _ in cluster.watch(number):
            pass
    assert counts(await report_of(cluster)) == (4, 0, 0, 0, 0)
    left = [note for note in notes if note.startswith("Left to other workers")]
    assert len(left) == 1  # though tried again and again


async def test_a_reason_is_told_once(cluster: Cluster, emulator: Emulator, file: Path) -> None:
    """A worker that leaves part after part for the same reason tells the reason once."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=2, is_shared=True))
    await to_thread.run_sync(file.unlink)
    notes: list[str] = []
    worker = ClusterWorker(cluster, lambda _: sunshine(emulator.transport()), notes.append)

    for index in (0, 1, 0):
        with pytest.raises(TryAgainError, match="can't be used on this machine"):
            await worker.run_part(number, index)

    [note] = notes
    assert note.startswith("Left to other workers: part 1 of 2 of users.jsonl: ")
    assert all(reason for _, reason in (await cluster.state(number)).parts)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyError("jane@x.org"), "this is a defect of sunshine-async: KeyError. Please report it"),
        (UndefinedTable("jane@x.org"), "the database can't be used: UndefinedTable (42P01)"),
        (SourceError("a reason"), "a reason"),
        (ValueError("jane@x.org"), "a defect of sunshine-async: ValueError. Please report it"),
        (InsufficientPrivilege("jane@x.org"), "the user lacks a privilege. Grant CREATE"),
    ],
)
async def test_an_unforeseen_error_ends_the_part(
    cluster: Cluster, file: Path, error: Exception, reason: str
) -> None:
    """The import tells the kind of the error, but no text that may have a value of a row."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    await ClusterWorker(cluster, fail(error), print).run_part(number, 0)
    [(ending, told)] = (await cluster.state(number)).parts
    assert ending == Ending.GAVE_UP.value
    assert reason in str(told)
    assert "jane" not in str(told)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(ENOSPC, "No space left on device"),
            "the operating system of this machine reports: No space left on device",
        ),
        (
            OSError(ENOENT, "No such file", "x.csv"),
            "x.csv can't be used on this machine: No such file",
        ),
        (TimeoutError(), "the operating system of this machine reports: TimeoutError"),
        (OSError("jane@x.org"), "the operating system of this machine reports: OSError"),
    ],
)
async def test_a_fault_of_a_machine_is_told(
    cluster: Cluster, file: Path, error: OSError, reason: str
) -> None:
    """The reason of a part that a machine can't run tells the fault, with or without a file."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    with pytest.raises(TryAgainError):
        await ClusterWorker(cluster, fail(error), print).run_part(number, 0)
    [(ending, told)] = (await cluster.state(number)).parts
    assert ending is None
    assert f": {reason}. Mend the cause, or run a worker on another machine" in str(told)


@pytest.mark.parametrize("plan", ["x", "[]", '{"plan": 1}', '{"part": {}, "options": {}}'])
async def test_a_plan_of_another_release(cluster: Cluster, file: Path, plan: str) -> None:
    """A worker leaves the part with the reason, and the import can't be given again."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    async with cluster.connection() as connection:
        await connection.execute("UPDATE sunshine_cluster.imports SET plan = %s", (plan,))
    notes: list[str] = []
    worker = ClusterWorker(cluster, fail(KeyError()), notes.append)

    with pytest.raises(TryAgainError, match="Use the same release for the import and for all"):
        await worker.run_part(number, 0)
    with pytest.raises(ConfigurationError, match="another release of sunshine-async"):
        await cluster.submit(plan_of(file, into=1))

    [(ending, told)] = (await cluster.state(number)).parts
    assert ending is None
    assert "the import was given by another release" in str(told)
    assert notes[0].startswith(f"Left to other workers: part 1 of import {number}: the import was")


async def test_an_import_that_is_gone(cluster: Cluster) -> None:
    """The task of an import that was deleted ends, with a note."""
    notes: list[str] = []
    await ClusterWorker(cluster, fail(KeyError()), notes.append).run_part(7, 1)
    assert notes == ["Gave up: part 2 of import 7: the database has no such import any more"]


async def test_a_journal_that_cannot_be_opened(cluster: Cluster, file: Path) -> None:
    """A part whose journal is of another release is left, and the import has the reason."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    schema = journal_of(cluster.place, number, 0).schema
    async with cluster.connection() as connection:
        await connection.execute(f"CREATE SCHEMA {schema} CREATE TABLE other ()".encode())
    with pytest.raises(TryAgainError, match="Use the release that made the tables"):
        await ClusterWorker(cluster, fail(KeyError()), print).run_part(number, 0)
    [(ending, told)] = (await cluster.state(number)).parts
    assert ending is None
    assert "has other tables in the schema" in str(told)


async def test_an_unforeseen_error_before_the_part(cluster: Cluster, file: Path) -> None:
    """An error before the worker has the part leaves the part to other workers, with the reason."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    async with cluster.connection() as connection:
        await connection.execute("ALTER TABLE sunshine_cluster.imports RENAME TO others")
    with pytest.raises(TryAgainError, match="UndefinedTable"):
        await ClusterWorker(cluster, fail(KeyError()), print).run_part(number, 0)
    [(ending, told)] = (await cluster.state(number)).parts
    assert ending is None
    assert "the database can't be used: UndefinedTable (42P01)" in str(told)


@pytest.mark.parametrize("error", [OperationalError("away"), JournalAwayError("away")])
async def test_a_part_waits_for_the_database(
    cluster: Cluster, file: Path, error: Exception
) -> None:
    """A database that is away ends no part."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    with pytest.raises(TryAgainError):
        await ClusterWorker(cluster, fail(error), print).run_part(number, 0)
    assert (await cluster.state(number)).parts == [(None, None)]


@pytest.mark.slow
async def test_the_limit_of_failures_is_one_for_all_parts(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The part with one row too many ends, and the parts after that send nothing."""
    write(file, [{"externalId": n if n % 2 else f"user-{n}"} for n in range(40)])
    most = 11  # of 20, and each of the parts has fewer
    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan_of(file, into=4, max_failures=most))
    told = f"more than {most} rows failed, are unknown or bad; the limit is yours (max_failures)"
    with closing(await reader_of(cluster)) as reader:
        assert reader.endings[0] is Ending.ALL
        assert reader.endings[-2:] == [Ending.GAVE_UP] * 2
    assert (report.ending, report.reason) == (Ending.GAVE_UP, f"part 3: {told}")
    assert 0 < report.done < 20

    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan_of(file, into=4, max_failures=20))
    assert (report.ending, report.bad, report.done) == (Ending.ALL, 20, 20)
    assert effects(emulator, "sunshine") == {"create": 20}


@pytest.mark.slow
async def test_a_count_that_fails_ends_no_worker(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A worker whose count of failures is refused says so once, runs on and counts again."""
    write(file, people(9))
    slow = Slow(emulator.transport())
    rename = "ALTER TABLE sunshine_cluster.parts RENAME {} TO {}"
    async with working(cluster.place, slow) as (_, notes):
        number = await cluster.submit(plan_of(file, into=1, max_failures=3))
        await slow.begun.wait()
        async with cluster.connection() as connection:
            await connection.execute(rename.format("earlier", "other").encode())
        await notes.wait_for("Trying again: the rows not done can't be counted: the database can't")
        async with cluster.connection() as connection:
            await connection.execute(rename.format("other", "earlier").encode())
        slow.go_on.set()
        async for _ in cluster.watch(number):
            pass
    assert counts(await report_of(cluster)) == (9, 0, 0, 0, 0)


@pytest.mark.slow
async def test_a_running_part_learns_of_failures_elsewhere(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A part that runs ends once the other parts have too many rows not done."""
    write(file, people(40))
    slow = Slow(emulator.transport())
    async with working(cluster.place, slow) as (_, notes):
        number = await cluster.submit(
            plan_of(file, into=2, max_failures=3, concurrency=1, grace=0.1)
        )
        await slow.begun.wait()
        assert await cluster.count_troubles(number, 1, earlier=6, troubles=9) == (0, 6)
        while await cluster.count_troubles(number, 0, earlier=None, troubles=0) != (3, 0):
            pass  # until the worker has counted its part
        await cluster.count_troubles(number, 1, earlier=8, troubles=10)  # *earlier* stays
        await notes.wait_for("Gave up: part 1 of 2 of users.jsonl: more than 3 rows")
        slow.go_on.set()
        async for _ in cluster.watch(number):
            pass
    assert (await report_of(cluster)).ending is Ending.GAVE_UP
