"""Imports by workers: each part has one owner, and the queue may call a worker at any time."""

import os
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import psycopg
import pytest
from anyio import to_thread
from attrs import evolve
from procrastinate import exceptions
from support.clients import sunshine
from support.clusters import (
    Notes,
    Slow,
    done,
    people,
    plan_of,
    reader_of,
    report_of,
    rows_in,
    working,
)
from support.frames import leaks
from support.journals import counts, effects, write
from support.patience import PATIENCE
from support.postgres import PostgresServer, share_session
from support.size import sized

from sunshine_async import ConfigurationError
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import Ending, JournalAwayError, Mode
from sunshine_async.jobs.cluster import Cluster, open_cluster
from sunshine_async.jobs.cluster_part import PartRunner, explain
from sunshine_async.jobs.cluster_plan import ClusterPlan, journal_of, private_folder
from sunshine_async.jobs.cluster_reader import open_import
from sunshine_async.jobs.cluster_worker import LOST, ClusterWorker, TryAgainError
from sunshine_async.jobs.options import Duplicates
from sunshine_async.journal import database as databases
from sunshine_async.journal import open_journal
from sunshine_async.journal.postgres_database import PostgresPlace, parse_place
from sunshine_async.journal.postgres_journal import PostgresJournal

ROWS = sized(600, 60)
REFUSE_RETURNS = """CREATE SEQUENCE returns;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('returns');
        RAISE insufficient_privilege USING MESSAGE = 'for jane@example.org';
    END $$;
    CREATE TRIGGER refusal BEFORE UPDATE ON procrastinate_jobs FOR EACH ROW
        WHEN (OLD.status = 'doing' AND NEW.status = 'todo') EXECUTE FUNCTION refuse()"""


async def test_workers_share_an_import(cluster: Cluster, emulator: Emulator, file: Path) -> None:
    """Each row is sent once, the reports add up, and the file leaves the database; again, nothing is sent."""
    write(file, people(ROWS))
    assert open_import(cluster.place) is None
    async with working(cluster.place, emulator.transport(), number=2) as (_, notes):
        report = await done(cluster, plan_of(file))
        again = await done(cluster, plan_of(file))

    assert counts(report) == (ROWS, 0, 0, 0, 0)
    assert report.requests == ROWS
    assert report.seconds > 0
    assert report.ending is Ending.ALL
    with closing(await reader_of(cluster)) as reader:
        assert reader.progress == "4 of 4 parts have ended"
        assert reader.plan.source == "users.jsonl"
    assert effects(emulator, "sunshine") == {"create": ROWS}
    assert counts(again) == counts(report)
    assert await rows_in(cluster, "SELECT * FROM sunshine_cluster.chunks") == []
    assert await rows_in(cluster, "SELECT * FROM procrastinate_jobs") == []
    assert min(note for note in notes if "Begun" in note) == "Begun: part 1 of 4 of users.jsonl"


@pytest.mark.slow
async def test_the_options_and_the_rows_travel(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A changed file sends its changed rows; the options of the job reach the worker."""
    write(file, people(9))
    async with working(cluster.place, emulator.transport()):
        await done(cluster, plan_of(file, mode=Mode.UPSERT, is_shared=True))
        write(file, people(9, changed=3))
        options = {"duplicates": Duplicates.FIRST, "concurrency": "auto", "keep_bodies": True}
        plan = plan_of(file, mode=Mode.UPSERT, is_shared=True, **options)
        report = await done(cluster, plan)

    with closing(await reader_of(cluster)) as reader:
        assert ClusterPlan.from_text(plan.text) == plan == reader.plan
    assert report.outcomes["unchanged"] == 7
    assert report.done == 9


@pytest.mark.slow
async def test_a_changed_file_ends_the_part(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A shared file that changes after the submission sends nothing; the reason is in the report."""
    write(file, people(9))
    plan = plan_of(file, is_shared=True, into=2)
    write(file, people(8))
    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan)
        assert report.ending is Ending.GAVE_UP
        assert "part 1: " in (report.reason or "")
        assert "is not the file that was partitioned" in (report.reason or "")
        assert effects(emulator, "sunshine") == {}
        with pytest.raises(ConfigurationError, match=r"isn't finished, of users\.jsonl"):
            await cluster.submit(plan_of(file, into=2))
        report = await done(cluster, plan_of(file, into=2, accept_changed_source=True))
    assert counts(report) == (8, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"into": 8}, "parts is 4, not 8"),
        ({"mode": Mode.UPSERT}, "mode is create, not upsert"),
    ],
)
async def test_another_import_needs_another_name(
    cluster: Cluster, file: Path, change: Any, message: str
) -> None:
    """Other parts would send rows twice, and another mode is another job: refused at once."""
    write(file, people(4))
    await cluster.submit(plan_of(file))
    await cluster.submit(plan_of(file))  # the same: its parts wait already
    with pytest.raises(ConfigurationError, match=message) as caught:
        await cluster.submit(plan_of(file, **change))
    assert "pass-word" not in str(caught.value)
    named = evolve(cluster, place=evolve(cluster.place, job="other"))
    assert await named.submit(plan_of(file, **change)) > 1
    with closing(await reader_of(named)) as reader:
        assert reader.endings == [None] * change.get("into", 4)
    with closing(await reader_of(cluster)) as reader:
        assert reader.progress == "0 of 4 parts have ended, none under way"


async def test_an_import_may_be_given_again_while_parts_run(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A part under way has a second task then: the part is run once, and the import ends well."""
    write(file, people(9))
    slow = Slow(emulator.transport())
    async with working(cluster.place, slow, number=2):
        await cluster.submit(plan_of(file, into=2))
        await slow.begun.wait()
        number = await cluster.submit(plan_of(file, into=2))
        slow.go_on.set()
        while await rows_in(cluster, "SELECT 1 FROM procrastinate_jobs"):
            pass
        state = await cluster.state(number)
    assert state.parts == [(Ending.ALL.value, None)] * 2
    assert effects(emulator, "sunshine") == {"create": 9}


async def test_an_end_with_the_plan_before_does_not_count(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A changed file that comes while a part runs is sent too, after the part's end."""
    write(file, people(9))
    slow = Slow(emulator.transport())
    async with working(cluster.place, slow):
        await cluster.submit(plan_of(file, into=1))
        await slow.begun.wait()
        write(file, people(12))
        number = await cluster.submit(plan_of(file, into=1, accept_changed_source=True))
        slow.go_on.set()
        async for _ in cluster.watch(number):
            pass
    assert counts(await report_of(cluster)) == (12, 0, 0, 0, 0)
    assert effects(emulator, "sunshine") == {"create": 12}


async def test_a_stopped_worker_gives_back_its_part(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A worker that is stopped takes no more rows; another worker goes on with the part."""
    write(file, people(ROWS))
    slow = Slow(emulator.transport())
    plan = plan_of(file, into=1)
    async with working(cluster.place, slow) as ([worker], notes):
        await cluster.submit(plan)
        await slow.begun.wait()
        worker.stop()
        slow.go_on.set()
        await notes.wait_for("Stopped: part 1 of 1")
    assert effects(emulator, "sunshine") == {"create": 1}  # the first call goes alone
    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan)
    assert counts(report) == (ROWS, 0, 0, 0, 0)
    assert effects(emulator, "sunshine") == {"create": ROWS}


async def test_a_part_whose_file_was_not_fetched_is_run_again(
    cluster: Cluster, emulator: Emulator, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part without rows, as after a stop, goes back to the queue, and no row of it is lost."""
    fetch, calls = PartRunner._fetch, count()

    async def interrupted(self: PartRunner, *arguments: Any) -> Any:
        return await fetch(self, *arguments) if next(calls) else None

    monkeypatch.setattr(PartRunner, "_fetch", interrupted)
    write(file, people(9))
    plan = plan_of(file, into=1)
    await cluster.submit(plan)
    async with working(cluster.place, emulator.transport()):
        assert (await done(cluster, plan)).done == 9
    assert next(calls) > 1


async def test_a_worker_is_stopped_while_it_fetches_the_file(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The worker waits no more for a file that takes long; another worker goes on with the part."""
    write(file, people(9))
    await cluster.submit(plan_of(file, into=1))
    waits = (
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%chunks%'"
    )
    async with cluster.connection() as connection:
        await connection.execute("LOCK TABLE sunshine_cluster.chunks")
        async with working(cluster.place, emulator.transport()) as ([worker], notes):
            while not await rows_in(cluster, waits):
                pass
            worker.stop()
    assert [note.partition(":")[0] for note in notes] == ["Stopped"]
    assert effects(emulator, "sunshine") == {}
    async with working(cluster.place, emulator.transport()):
        async for _ in cluster.watch(1):
            pass
    assert effects(emulator, "sunshine") == {"create": 9}


async def test_a_worker_that_is_stopped_begins_nothing(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A part that comes with the stop is given back without a row sent."""
    write(file, people(9))
    number = await cluster.submit(plan_of(file, into=1))
    worker = ClusterWorker(cluster, lambda _: sunshine(emulator.transport()), print)
    worker.stop()
    with pytest.raises(TryAgainError):
        await worker.run_part(number, 0)
    await worker.run()
    assert effects(emulator, "sunshine") == {}


@pytest.mark.slow
async def test_a_part_that_another_worker_has_is_tried_again(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A part with an owner waits until the owner has gone, however often a worker tries.

    The owner is at work: the import has no reason why the part waits.
    """
    write(file, people(9))
    journal = await to_thread.run_sync(open_journal, journal_of(cluster.place, 1, 0))
    with closing(journal):
        async with working(cluster.place, emulator.transport()) as ([worker], notes):
            number = await cluster.submit(plan_of(file, into=1))
            with pytest.raises(TryAgainError, match="is in use by another process"):
                await worker.run_part(number, 0)
            assert (await cluster.state(number)).parts == [(None, None)]
            [left] = [note for note in notes if "is in use by another process" in note]
            assert left.startswith("Left to other workers: part 1 of 1 of users.jsonl: the journal")
            assert effects(emulator, "sunshine") == {}
            await to_thread.run_sync(journal.close)
            async for _ in cluster.watch(number):
                pass
    assert effects(emulator, "sunshine") == {"create": 9}


@pytest.mark.slow
async def test_a_worker_that_waits_for_a_killed_owner_is_stopped(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A worker that waits for the lease of a killed worker gives back the part at the stop."""
    write(file, people(9))
    place = journal_of(evolve(cluster.place, lease=10 * PATIENCE), 1, 0)
    journal = await to_thread.run_sync(PostgresJournal, place)
    journal._lease.end()
    async with working(cluster.place, emulator.transport()) as ([worker], notes):
        await cluster.submit(plan_of(file, into=1))
        while not await rows_in(cluster, "SELECT 1 FROM procrastinate_jobs WHERE status = 'doing'"):
            pass
        worker.stop()
    [left] = notes
    assert "is in use by another process" in left
    assert await rows_in(cluster, "SELECT 1 FROM procrastinate_jobs WHERE status = 'todo'")
    await to_thread.run_sync(journal.close)
    async with working(cluster.place, emulator.transport()):
        async for _ in cluster.watch(1):
            pass
    assert effects(emulator, "sunshine") == {"create": 9}


async def test_an_owner_that_has_lost_the_part_ends_nothing(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A worker whose part was taken writes no end of the part: the new owner's end counts."""
    write(file, people(9))
    slow = Slow(emulator.transport())
    async with working(cluster.place, slow) as (_, notes):
        number = await cluster.submit(plan_of(file, into=1))
        await slow.begun.wait()
        await rows_in(cluster, "DELETE FROM sunshine_journal_import_1_part_1.owner RETURNING 1")
        journal = await to_thread.run_sync(open_journal, journal_of(cluster.place, 1, 0))
        with closing(journal):
            slow.go_on.set()
            await notes.wait_for("Left to other workers: part 1 of 1")
            await anyio.lowlevel.checkpoint()
            assert (await cluster.state(number)).parts == [(None, None)]
        states = [state async for state in cluster.watch(number)]
        assert states[-1].parts == [(Ending.ALL.value, None)]
    assert effects(emulator, "sunshine") == {"create": 9}


@pytest.mark.slow
async def test_the_part_of_a_lost_worker_returns(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A part in the hands of a worker without a heartbeat goes to the others."""
    write(file, people(9))
    await cluster.submit(plan_of(file, into=2))
    taken = "UPDATE procrastinate_jobs SET status = 'doing' RETURNING id"
    assert len(await rows_in(cluster, taken)) == 2
    async with working(cluster.place, emulator.transport(), heartbeat=0.6):
        report = await done(cluster, plan_of(file, into=2))
    assert report.done == 9


@pytest.mark.slow
async def test_the_part_of_a_lost_worker_that_cannot_be_returned(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The worker says once why the part stays lost, and returns the part once the cause is mended."""
    write(file, people(9))
    plan = plan_of(file, into=1)
    await cluster.submit(plan)
    async with cluster.connection() as connection:
        await connection.execute("UPDATE procrastinate_jobs SET status = 'doing'")
        await connection.execute(REFUSE_RETURNS)
    async with working(cluster.place, emulator.transport(), heartbeat=0.6) as (_, notes):
        while await rows_in(cluster, "SELECT last_value FROM returns") < [(3,)]:
            pass
        async with cluster.connection() as connection:
            await connection.execute("DROP TRIGGER refusal ON procrastinate_jobs")
        report = await done(cluster, plan)
    assert report.done == 9
    [told] = [note for note in notes if "Trying again" in note]
    assert told.startswith(f"Trying again: {LOST}: the database can't be used: the user lacks")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests
def test_the_folder_of_a_killed_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker removes the folder of a killed worker, and no folder of another worker or program."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_folder() as living:
        living.joinpath("users.jsonl").touch()
        child = os.fork()
        if not child:
            with private_folder() as left:
                left.joinpath("users.jsonl").touch()
                os._exit(0)
        os.waitpid(child, 0)
        [left] = {*tmp_path.iterdir()} - {living}
        foreign = tmp_path / "sunshine-async-link"
        foreign.symlink_to(left, target_is_directory=True)
        with private_folder() as last:
            assert {*tmp_path.iterdir()} == {living, last, foreign}
            assert living.joinpath("users.jsonl").exists()
    assert [*tmp_path.iterdir()] == [foreign]


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a lock is a fault of the machine, and isn't left behind."""

    def fail(_: Path) -> None:
        message = "locking protocol"
        raise sqlite3.OperationalError(message)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(databases, "_exclusive", fail)
    with pytest.raises(OSError, match="locking protocol"):
        private_folder().__enter__()
    assert [*tmp_path.iterdir()] == []


async def test_each_kind_of_failure_is_noted_once(cluster: Cluster) -> None:
    """Whatever fails again and again, each kind is told until a success, without the error's text."""
    errors: list[Exception] = [psycopg.OperationalError("away"), KeyError("jane"), KeyError("ann")]
    notes, ended = Notes(), anyio.Event()

    async def act() -> None:
        if errors:
            raise errors.pop(0)
        ended.set()

    worker = ClusterWorker(cluster, sunshine, notes.append)
    cluster.connector.note = notes.append
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker._repeat, act, 0.0, LOST)
        await ended.wait()
        tasks.cancel_scope.cancel()
    away, defect = notes
    assert away.startswith("Trying again: the database can't be reached: away")
    assert defect == f"Trying again: {LOST}: {explain(KeyError())}"


async def test_a_worker_that_counts_as_gone_begins_anew(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A worker that the others have forgotten registers again, and says so."""
    write(file, people(9))
    async with working(cluster.place, emulator.transport()) as (_, notes):
        forgotten = "DELETE FROM procrastinate_workers RETURNING id"
        while not await rows_in(cluster, forgotten):
            pass
        report = await done(cluster, plan_of(file, into=1))
        await notes.wait_for("Trying again: the database can't be used: ForeignKeyViolation")
    assert report.done == 9


@pytest.mark.slow
async def test_the_database_goes_and_comes_back(
    cluster: Cluster, emulator: Emulator, file: Path, postgres: PostgresServer
) -> None:
    """With the database away the worker and the watch wait; then all goes on, and no row is lost."""
    write(file, people(ROWS))
    slow = Slow(emulator.transport())
    async with working(cluster.place, slow, heartbeat=0.6):
        number = await cluster.submit(plan_of(file, into=2))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_restart, postgres, slow)
            async for _ in cluster.watch(number):
                pass
    assert counts(await report_of(cluster)) == (ROWS, 0, 0, 0, 0)
    assert effects(emulator, "sunshine") == {"create": ROWS}


async def _restart(postgres: PostgresServer, slow: Slow) -> None:
    await slow.begun.wait()
    await to_thread.run_sync(postgres.stop)
    slow.go_on.set()
    await slow.answered.wait()
    await to_thread.run_sync(postgres.start)


@pytest.mark.slow
async def test_a_worker_is_stopped_while_the_database_is_away(
    cluster: Cluster, emulator: Emulator, postgres: PostgresServer
) -> None:
    """The worker tells once that the database is away, and ends without the database."""
    async with working(cluster.place, emulator.transport()) as ([worker], notes):
        worker.cluster.connector.pool.timeout = 0.1
        while not await rows_in(cluster, "SELECT 1 FROM procrastinate_workers"):
            pass
        await to_thread.run_sync(postgres.stop)
        await notes.wait_for("Trying again: the database ")
        worker.stop()
    assert len(notes) == 1


@pytest.mark.slow
async def test_a_worker_is_stopped_in_a_part_while_the_database_is_away(
    cluster: Cluster, emulator: Emulator, postgres: PostgresServer, file: Path
) -> None:
    """The worker waits no longer than the grace; another worker goes on, and sends no row twice."""
    write(file, people(ROWS))
    slow = Slow(emulator.transport())
    plan = plan_of(file, into=1, grace=0.1)
    async with working(cluster.place, slow) as ([worker], notes):
        await cluster.submit(plan)
        await slow.begun.wait()
        await to_thread.run_sync(postgres.stop)
        worker.stop()
        slow.go_on.set()
    assert "part 1 of 1 of users.jsonl" in notes[-1]
    assert "can't be reached" in notes[-1]
    await to_thread.run_sync(postgres.start)
    async with working(cluster.place, emulator.transport(), heartbeat=0.6):
        report = await done(cluster, plan)
    assert counts(report) == (ROWS, 0, 0, 0, 0)
    assert effects(emulator, "sunshine") == {"create": ROWS}


async def test_a_worker_that_is_stopped_waits_for_no_database_that_hangs(
    cluster: Cluster, emulator: Emulator
) -> None:
    """After the time of a stop an answer that is late counts as that of a database that is away."""
    worker = ClusterWorker(cluster, lambda _: sunshine(emulator.transport()), print)
    assert worker.stop() == 15.0
    async with cluster.connection() as connection:
        await connection.execute("SELECT pg_sleep(0.2)")
        cluster.connector.leave(0.0)
        with pytest.raises(psycopg.OperationalError, match="hasn't answered for too long"):
            await connection.execute(f"SELECT pg_sleep({PATIENCE})")
    await worker.run()


async def test_each_absence_of_the_database_is_noted(cluster: Cluster) -> None:
    """A failure is noted once until a write succeeds, and no failure after the stop."""
    notes: list[str] = []
    cluster.connector.note = notes.append
    for _ in range(2):
        cluster.connector.note_failure(exceptions.NoResult())
        cluster.connector.note_failure(exceptions.NoResult())
        await cluster.connector.execute_query_async("SELECT 1")
    ClusterWorker(cluster, sunshine, print).stop()
    cluster.connector.note_failure(exceptions.NoResult())
    told = "can't be used: NoResult. Look into the log of the server"
    assert notes == [f"Trying again: the database {told}"] * 2


async def test_the_connections_of_the_queue_notice_a_dead_server(cluster: Cluster) -> None:
    """The connections have the settings of a journal's connections, and a name for the server's lists."""
    async with cluster.connection() as connection:
        given = connection.info.get_parameters()
    assert given["application_name"] == "sunshine-async cluster"
    assert given["connect_timeout"] == "3"
    assert given["tcp_user_timeout"] == "10000"


async def _open(place: PostgresPlace) -> None:
    async with open_cluster(place):
        pass


async def _read(place: PostgresPlace) -> None:
    open_import(place)


@pytest.mark.parametrize(("act", "kind"), [(_open, ConfigurationError), (_read, JournalAwayError)])
async def test_a_database_that_is_away(
    act: Callable[[PostgresPlace], Awaitable[None]], kind: type[Exception]
) -> None:
    """The error tells the place and the next step, and nothing shows the password."""
    place = parse_place("postgresql://user:pass-word@127.0.0.1:1/imports?connect_timeout=1")
    assert isinstance(place, PostgresPlace)
    with pytest.raises(kind, match="can't be reached") as caught:
        await act(place)
    assert "postgresql://user@127.0.0.1:1/imports" in str(caught.value)
    assert leaks(caught.value, "pass-word") == []


async def test_a_pooler_in_transaction_mode(
    place: PostgresPlace, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that share a session are refused before the first table: the queue can't use them."""
    session = share_session(database, monkeypatch)
    with pytest.raises(ConfigurationError, match="behind a pooler in transaction mode") as caught:
        await _open(place)
    assert str(caught.value).startswith(f"{place} ")
    assert leaks(caught.value, "pass-word") == []
    schemas = session.execute("SELECT to_regnamespace('sunshine_cluster')").fetchall()
    assert schemas == [(None,)]
    psycopg.Connection.close(session)


async def test_an_error_of_the_queue_is_raised(cluster: Cluster) -> None:
    """Only a lost connection is waited for; the refused end of a task is none of this worker's."""
    connector: Any = cluster.app.connector
    with pytest.raises(exceptions.ConnectorException):
        await connector.execute_query_async("SELECT missing")
    await connector.execute_query_async("DO $$ BEGIN RAISE 'not found'; END $$")


@pytest.mark.slow
async def test_a_write_waits_for_the_database(cluster: Cluster) -> None:
    """A write whose connection breaks is made again."""
    connector: Any = cluster.app.connector
    slow = "DO $$ BEGIN IF to_regclass('mark') IS NULL THEN PERFORM pg_sleep(60); END IF; END $$"
    sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(connector.execute_query_async, slow)
        while not await rows_in(cluster, f"SELECT 1 {sleeping}"):
            pass
        async with cluster.connection() as connection:
            await connection.execute("CREATE TABLE mark ()")
        assert await rows_in(cluster, f"SELECT pg_terminate_backend(pid) {sleeping}") == [(True,)]


@pytest.mark.slow
async def test_a_file_that_takes_long_holds_up_no_other_import(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """While a large file travels to the database, other imports begin and end, and workers start.

    An import with the same name waits, and tells why.
    """
    write(file, people(9))
    plan, pipe = plan_of(file), file.with_suffix(".pipe")
    os.mkfifo(pipe)
    large = evolve(plan, part=evolve(plan.part, path=str(pipe)))
    other = evolve(cluster, place=evolve(cluster.place, job="large"))
    notes = Notes()
    sending = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other.submit, large)
        while not await rows_in(cluster, f"{sending} AND query LIKE 'DELETE%chunks%'"):
            pass
        async with working(cluster.place, emulator.transport()):
            report = await done(cluster, plan)
        tasks.start_soon(other.submit, plan, notes.append)
        await notes.wait_for(f"another process stores an import at {other.place}")
        await to_thread.run_sync(pipe.write_bytes, b"{}")
    assert len(notes) == 1
    assert counts(report) == (9, 0, 0, 0, 0)
    assert len(await rows_in(cluster, "SELECT * FROM sunshine_cluster.imports")) == 2


@pytest.mark.slow
async def test_an_import_that_is_cut_off_is_given_again(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """A database that goes away while the tasks are made has nothing of the import; the next step is told."""
    write(file, people(9))
    waiting = (
        "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )

    async def cut() -> None:
        while not await rows_in(cluster, f"SELECT pg_terminate_backend(pid) {waiting}"):
            pass

    async with anyio.create_task_group() as tasks, cluster.connection() as connection:
        await connection.execute("LOCK TABLE procrastinate_jobs")
        tasks.start_soon(cut)
        with pytest.raises(ConfigurationError, match="Run the same command again") as caught:
            await cluster.submit(plan_of(file))
    assert await rows_in(cluster, "SELECT * FROM sunshine_cluster.imports") == []
    assert leaks(caught.value, "pass-word") == []
    async with working(cluster.place, emulator.transport()):
        report = await done(cluster, plan_of(file))
    assert counts(report) == (9, 0, 0, 0, 0)


async def test_only_workers_of_imports_count(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """Workers of other programs, and those that are gone, are no workers of an import."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    other = "INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id"
    gone = "INSERT INTO sunshine_cluster.workers VALUES (99) RETURNING id"
    assert len([*await rows_in(cluster, other), *await rows_in(cluster, gone)]) == 2
    assert (await cluster.state(number)).workers == 0
    async with working(cluster.place, emulator.transport()):
        while (await cluster.state(number)).workers != 1:
            pass
        [[registered]] = await rows_in(cluster, "SELECT id FROM sunshine_cluster.workers")
    assert registered != 99
    assert (await cluster.state(number)).workers == 0


async def test_a_watch_of_a_database_that_cannot_be_read(cluster: Cluster, file: Path) -> None:
    """The watch ends with the reason and the next step."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    async with cluster.connection() as connection:
        await connection.execute("ALTER TABLE sunshine_cluster.parts RENAME TO others")
    with pytest.raises(ConfigurationError, match=r"UndefinedTable .* Look into the log"):
        await anext(aiter(cluster.watch(number)))


async def test_a_watch_waits_for_the_database(cluster: Cluster, file: Path) -> None:
    """A look whose connection breaks is told and made again: the watch goes on to the end."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=1))
    seen, notes = list[Any](), Notes()

    async def watch() -> None:
        seen.extend([state.parts async for state in cluster.watch(number, notes.append)])

    waiting = (
        "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    found = await cluster.plan(number, 0)
    assert found is not None
    plan, has_ended = found
    assert not has_ended
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            async with cluster.connection() as connection:
                await connection.execute("LOCK TABLE sunshine_cluster.parts")
                tasks.start_soon(watch)
                while not await rows_in(cluster, f"SELECT pg_terminate_backend(pid) {waiting}"):
                    pass
            await cluster.end(number, 0, plan, Ending.ALL, None)
    assert seen[-1] == [(Ending.ALL.value, None)]
    assert "The import goes on once the server is back" in notes[0]
