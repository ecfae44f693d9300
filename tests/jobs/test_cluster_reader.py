"""The journals of all parts of an import, read as one."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from anyio import to_thread
from support.clusters import done, people, plan_of, reader_of, rows_in, working
from support.journals import write
from support.size import sized

from sunshine_async.emulator import Emulator
from sunshine_async.jobs import Ending, Report
from sunshine_async.jobs.cluster import Cluster
from sunshine_async.jobs.cluster_plan import journal_of
from sunshine_async.jobs.cluster_reader import ImportReader, open_import
from sunshine_async.jobs.progress import restore_totals
from sunshine_async.jobs.source import LIVE
from sunshine_async.jobs.timeline import read_timeline
from sunshine_async.journal import JournalError, JournalQueries, State, open_reader
from sunshine_async.journal.postgres_database import PostgresPlace, ascii_text, parse_place
from sunshine_async.journal.postgres_journal import PostgresJournal

ROWS = sized(300, 30)
PARTS = 3


def parts_of(reader: ImportReader) -> Iterator[JournalQueries]:
    """Yield a reader of each part."""
    for index in range(PARTS):
        with closing(open_reader(journal_of(reader._place, 1, index))) as part:
            yield part


@pytest.mark.slow
async def test_a_report_is_the_sum_of_the_parts_reports(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """Counts, codes, outcomes and requests add up; rows come in the order of the file."""
    bad = [{"externalId": n} for n in range(5)]
    write(file, [*people(ROWS), *bad, *people(2 * ROWS)[ROWS:]])
    async with working(cluster.place, emulator.transport(), number=2):
        await done(cluster, plan_of(file, into=PARTS))

    with closing(await reader_of(cluster)) as reader:
        each = [Report() for _ in range(PARTS)]
        for report, part in zip(each, parts_of(reader), strict=True):
            restore_totals(report, part)
        total, parts = reader.total(), sum(each, Report())
        names = ("done", "bad", "failed", "unknown", "waiting", "outcomes", "codes", "requests",
                 "problems")  # fmt: skip
        assert [getattr(total, name) for name in names] == [getattr(parts, name) for name in names]
        assert (total.done, total.bad) == (2 * ROWS, 5)

        rows = [*reader.rows()]
        assert [row["line"] for row in rows] == [*range(1, 2 * ROWS + 6)]
        assert [row["line"] for row in reader.rows(State.BAD)] == [*range(ROWS + 1, ROWS + 6)]
        first, last, pulse = reader.pulse(10)
        assert sum(pulse) == 2 * ROWS
        assert (first, last) == (min(row["at"] for row in rows if row["state"] == State.DONE),
                                 max(row["at"] for row in rows if row["state"] == State.DONE))  # fmt: skip
        [text] = reader.timelines()
        timeline = read_timeline(text)
        assert timeline is not None
        assert timeline.ending == Ending.ALL.value
        assert sum(part.done for part in timeline.parts) == 2 * ROWS
        assert not reader.running


async def test_an_import_that_no_worker_has_begun(cluster: Cluster, file: Path) -> None:
    """All counts are zero, and the import counts as running."""
    write(file, people(4))
    await cluster.submit(plan_of(file, into=2))
    with closing(await reader_of(cluster)) as reader:
        assert reader.running
        about = reader.about()
        assert (about["parts"], about["state"]) == (
            "0 of 2 parts have ended, none under way",
            "open",
        )
        assert LIVE not in about
        assert reader.pulse(5) == (0.0, 0.0, [])
        assert ([*reader.rows()], reader.timelines()) == ([], [])
        report = await to_thread.run_sync(reader.total)
    assert (report.ending, report.rows, report.seconds) == (Ending.STOPPED, 0, 0.0)


async def test_the_reasons_of_parts(cluster: Cluster, file: Path) -> None:
    """Equal reasons are told once, and the first three of all."""
    write(file, people(4))
    number = await cluster.submit(plan_of(file, into=6))
    for index, reason in enumerate(["'\"\0\\", "'\"\0\\", *"bcde"]):
        await cluster.leave(number, index, reason)
    assert (await cluster.state(number)).parts[0] == (None, "'\"\0\\")
    with closing(await reader_of(cluster)) as reader:
        assert reader.about()["reason"] == "part 1: '\"\0\\; part 3: b; part 4: c; 2 more reasons"


@pytest.mark.slow
@pytest.mark.parametrize("owned", [True, False])
async def test_the_progress_of_running_parts(
    cluster: Cluster, emulator: Emulator, file: Path, *, owned: bool
) -> None:
    """The speed is that of the parts that workers have; rows count in all parts."""
    write(file, people(9))
    async with working(cluster.place, emulator.transport()):
        await done(cluster, plan_of(file, into=2))
    live: dict[str, Any] = {"rows": 5, "total": 9, "rate": 2.0, "not_done": 1, "at": 7.0}
    live |= {"held": "gone", "paused_until": 9.0}
    for part in (1, 2):
        schema = f"sunshine_journal_import_1_part_{part}"
        text = ascii_text(orjson.dumps(live).decode())
        update = f"UPDATE {schema}.about SET value = '{text}' WHERE name = 'live' RETURNING 1"  # noqa: S608 - own names
        assert len(await rows_in(cluster, update)) == 1
    if owned:
        owner = f"INSERT INTO {schema}.owner VALUES (1, make_interval(secs => 90)) RETURNING 1"  # noqa: S608 - own names
        await rows_in(cluster, owner)
    await rows_in(cluster, "UPDATE sunshine_cluster.parts SET ending = NULL RETURNING 1")
    with closing(await reader_of(cluster)) as reader:
        about = reader.about()
    assert about["parts"] == f"0 of 2 parts have ended, {1 if owned else 'none'} under way"
    expected = {"rows": 10, "total": 0, "not_done": 2, "at": 7.0, "rate": 2.0 * owned}
    expected |= (
        {"held": "gone", "paused_until": 9.0} if owned else {"held": None, "paused_until": 0.0}
    )
    assert orjson.loads(about[LIVE]) == expected


async def test_the_limit_that_a_part_found(
    cluster: Cluster, emulator: Emulator, file: Path
) -> None:
    """The greatest limit stays, as in a sum of reports."""
    write(file, people(9))
    async with working(cluster.place, emulator.transport()):
        await done(cluster, plan_of(file, into=2))
    for part, found in ((1, "9.5 10.0"), (2, "10.5 0.0")):
        about = f"sunshine_journal_import_1_part_{part}.about"
        await rows_in(cluster, f"INSERT INTO {about} VALUES ('found', '{found}') RETURNING 1")  # noqa: S608 - own names
    with closing(await reader_of(cluster)) as reader:
        report = await to_thread.run_sync(reader.total)
    assert (report.found, report.window) == (10.5, None)


MANY = 600
"""Parts whose owners a single query can't read with the stack of the test."""
MAKE_MANY = f"""DO $$ BEGIN FOR part IN 1..{MANY} LOOP
    EXECUTE format('CREATE SCHEMA sunshine_journal_import_1_part_%s', part);
    EXECUTE format('CREATE VIEW sunshine_journal_import_1_part_%s.version AS SELECT 1', part);
    EXECUTE format('CREATE VIEW sunshine_journal_import_1_part_%s.owner AS
        SELECT now() AS seen_at, interval ''90 s'' AS lease WHERE %s > 1', part, part);
END LOOP; END $$"""


async def test_an_import_of_many_parts(database: str, cluster: Cluster, file: Path) -> None:
    """The parts are asked for in slices: neither the stack nor the table of locks is a bound."""
    write(file, people(4))
    plan = plan_of(file, into=MANY)
    async with cluster.connection() as connection:
        await connection.execute(MAKE_MANY.encode())
        await connection.execute("INSERT INTO sunshine_cluster.parts VALUES (1, 0)")
    place = place_in(f"{database}?options=-cmax_stack_depth%3D100kB")
    with closing(ImportReader(place, 1, plan)) as reader:
        reader.refresh()
        assert reader.progress == f"0 of 1 parts have ended, {MANY - 1} under way"


def place_in(url: str) -> PostgresPlace:
    place = parse_place(url)
    assert isinstance(place, PostgresPlace)
    return place


@pytest.mark.parametrize(
    "change",
    [
        'imports SET plan = replace(plan, \'"grace":\', \'"newer":1,"grace":\')',
        "imports SET plan = replace(plan, '\"create\"', '\"newer\"')",
        "imports SET plan = '{}'",
        "parts SET ending = 'newer'",
    ],
)
async def test_an_import_of_another_release(cluster: Cluster, file: Path, change: str) -> None:
    """A plan, or an ending, that this release doesn't know is told, with the place and the next step."""
    write(file, people(4))
    await cluster.submit(plan_of(file, into=2))
    await rows_in(cluster, f"UPDATE sunshine_cluster.{change} RETURNING 1")
    with pytest.raises(JournalError, match="an import of another release: read") as caught:
        await to_thread.run_sync(open_import, cluster.place)
    assert str(cluster.place) in str(caught.value)


@pytest.fixture
def reader_url(database: str) -> Iterator[str]:
    """Return the URL of a database for a user who may read the journal of the job ``may``."""
    PostgresJournal(place_in(f"{database}?job=may")).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE look LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA sunshine_journal_may TO look")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA sunshine_journal_may TO look")
        yield database.replace("postgres:pass-word", "look")
        connection.execute("DROP OWNED BY look")
        connection.execute("DROP ROLE look")


@pytest.mark.usefixtures("cluster")
async def test_a_user_who_may_read_no_import(reader_url: str) -> None:
    """The journal of a job is read; without a journal of the name, the lack is told."""
    place = place_in(f"{reader_url}?job=may")
    assert open_import(place) is None
    with closing(open_reader(place)) as reader:
        assert reader.counts() == {}
    with pytest.raises(
        JournalError, match=r"Check the name .* grant USAGE on the schema sunshine_c"
    ):
        open_import(place_in(reader_url))


async def test_an_import_and_a_journal_of_the_same_name(cluster: Cluster, file: Path) -> None:
    """A reader of the import names the journal that isn't shown, and the next step."""
    write(file, people(4))
    await cluster.submit(plan_of(file, into=2))
    with closing(await reader_of(cluster)) as reader:
        assert reader.note is None
    await to_thread.run_sync(lambda: PostgresJournal(cluster.place).close())
    with closing(await reader_of(cluster)) as reader:
        assert reader.note is not None
        assert f"{cluster.place} also has a journal" in reader.note
        assert "?job=NAME" in reader.note
        assert reader.about()["parts"].startswith("0 of 2 parts")
