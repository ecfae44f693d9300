"""The command line with the URL of a journal in PostgreSQL."""

import csv
import html
import io
import json
import re
import shlex
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from attrs import evolve
from support.clusters import done, open_cluster, plan_of, rows_in, working
from support.commands import Call, caller
from support.journals import opened
from support.postgres import PostgresServer
from support.text import words
from typer.testing import Result

from sunshine_async.cli.cluster import open_any_journal
from sunshine_async.cli.job import _line_of
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.journal.postgres_database import PostgresPlace, parse_place

PASSWORD = "pass-word"


@pytest.fixture
def call(env: dict[str, str]) -> Call:
    def invoke(*arguments: object) -> Result:
        result = caller(env)(*arguments, COLUMNS="200")
        assert PASSWORD not in result.output
        return result

    return invoke


@pytest.mark.parametrize("is_joined", [False, True])
def test_a_job_and_its_journal(
    call: Call, tmp_path: Path, journal_url: str, emulator: Emulator, *, is_joined: bool
) -> None:
    """An import goes on from the journal; all commands for journals take the URL, and hide the password."""
    users, page = tmp_path / "users.csv", tmp_path / "report.html"
    users.write_text("externalId,profile.givenName\na,Zoë\nb,陽子\nc,x,y\n")
    journal = (f"--journal={journal_url}",) if is_joined else ("--journal", journal_url)
    for _ in range(2):
        ran = call("import", users, "--mode", "create", *journal, "--report", page)
        assert ran.exit_code == 1, ran.output
    assert emulator.ledger()["sunshine"]["effects"]["create"] == 2

    name = journal_url.replace(f":{PASSWORD}@", "@")
    shown = call("job", "show", journal_url, "--watch")
    assert shown.exit_code == 0
    assert name in shown.stdout
    assert "finished" in shown.stdout
    assert json.loads(call("job", "show", journal_url, "--json").stdout)["done"] == 2
    [failed] = call("job", "failures", journal_url).stdout.splitlines()
    assert json.loads(failed)["_row"]["line"] == 4
    rows = [*csv.DictReader(io.StringIO(call("job", "export", journal_url).stdout))]
    assert [row["key"] for row in rows] == ["a", "b", ""]
    again = tmp_path / "again.html"
    assert call("job", "report", journal_url, "--out", again).exit_code == 0
    for text in (page.read_text(), again.read_text()):
        assert "job=job_" in text
        assert PASSWORD not in text
    over = call("job", "export", journal_url, "--out", users, "--force")
    assert (over.exit_code, "the file that the job read" in over.stderr) == (2, True)


def test_a_list_of_failures(
    call: Call, tmp_path: Path, journal_url: str, emulator: Emulator
) -> None:
    """A list has the content of the job's file, and is imported, mended, with the same journal."""
    users, failed = tmp_path / "users.csv", tmp_path / "failed.csv"
    users.write_text("externalId,profile.givenName\na,Jane\nb,x,y\n")
    command = ("import", users, "--mode", "create", "--journal", journal_url)
    assert call(*command).exit_code == 1

    listed = call("job", "failures", journal_url, "--out", failed)
    assert listed.exit_code == 0, listed.output
    name = shlex.quote(journal_url.replace(f":{PASSWORD}@", "@"))
    assert f"sunshine-async import {failed} --mode create --journal {name}" in words(listed.stderr)
    [row] = csv.DictReader(io.StringIO(failed.read_text(encoding="utf-8-sig")))
    assert (row["_row.line"], row["_row.text"]) == ("3", "b,x,y")

    failed.write_text(failed.read_text(encoding="utf-8-sig").replace("\n,,", "\nb,Ann,"))
    mended = call("import", failed, *command[2:])
    assert mended.exit_code == 0, mended.output
    assert emulator.ledger()["sunshine"]["effects"]["create"] == 2


def test_a_job_that_runs_elsewhere(call: Call, journal_url: str, tmp_path: Path) -> None:
    """A running job is shown, and its journal refused to an import."""
    users = tmp_path / "users.csv"
    users.write_text("externalId\na\n")
    with closing(opened(f"{journal_url}&lease=1")):
        assert "running" in words(call("job", "show", journal_url).stdout)
        refused = call("import", users, "--mode", "create", "--journal", journal_url)
    assert (refused.exit_code, "is in use by another process" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_a_watch_waits_for_the_database(postgres: PostgresServer, journal_url: str) -> None:
    """While the database is away a watch says so, and then goes on to the end of the job."""
    place = parse_place(journal_url)
    assert isinstance(place, PostgresPlace)
    with closing(opened(journal_url)), closing(open_any_journal(place)) as journal:
        assert _line_of(journal) == "The job is reading the rows."
        postgres.stop()
        assert "can't be reached: the job waits" in str(_line_of(journal))
        postgres.start()
        assert _line_of(journal) == "The job is reading the rows."
    with closing(open_any_journal(place)) as journal:
        assert _line_of(journal) is None


def test_what_goes_with_files_only(call: Call, journal_url: str, tmp_path: Path) -> None:
    """A database is copied with its own tools."""
    copied = call("job", "copy", journal_url, tmp_path / "copy.sqlite")
    assert (copied.exit_code, "pg_dump" in copied.stderr) == (2, True)


def test_urls_that_are_refused(call: Call, journal_url: str) -> None:
    """A wrong URL, and a journal that isn't there, is refused without the password."""
    for url, reason in (
        (f"postgresql://u:{PASSWORD}@x@h/db", "give an address such as"),
        (f"{journal_url}-", "the job in the URL must be"),
        (f"{journal_url}_other", "isn't there: check the database"),
    ):
        result = call("job", "show", url)
        assert result.exit_code == 2
        assert reason in words(result.stderr)


def test_a_refused_import_leaves_nothing(call: Call, tmp_path: Path, journal_url: str) -> None:
    """An import that is refused leaves no journal behind."""
    users = tmp_path / "users.csv"
    users.write_text("externalId\na\na\n")
    command = ("import", users, "--mode", "create", "--journal", journal_url)
    assert call(*command, "--duplicates", "fail").exit_code == 2
    assert "isn't there: check the database" in words(call("job", "show", journal_url).stderr)


def test_an_import_by_workers_of_the_same_name(call: Call, tmp_path: Path, database: str) -> None:
    """A command that shows an import by workers notes the journal that the import hides."""
    users = tmp_path / "users.csv"
    users.write_text("externalId\na\n")
    assert call("import", users, "--mode", "create", "--journal", database).exit_code == 0
    assert "a journal of" not in call("job", "show", database).stderr
    place = parse_place(database)
    assert isinstance(place, PostgresPlace)

    async def submit() -> None:
        async with open_cluster(place) as cluster:
            await cluster.submit(plan_of(users, into=2))

    anyio.run(submit)
    for command in (("show",), ("show", "--json"), ("export",), ("failures",), ("report",)):
        result = call("job", *command, database)
        assert result.exit_code == 0
        assert "also has a journal of an import by one process" in words(result.stderr)


@pytest.mark.slow
def test_the_next_steps_of_an_import_by_workers(
    call: Call, tmp_path: Path, database: str, emulator: Emulator
) -> None:
    """The limit that was found is for the workers; a guessed command goes on with the same import."""
    users = tmp_path / "users.csv"
    users.write_text("externalId\na\n")
    emulator.faults.append(Mishap(status=400))
    place = parse_place(f"{database}?job=may")
    assert isinstance(place, PostgresPlace)

    async def run(command: str) -> None:
        async with open_cluster(place) as cluster:
            async with working(place, emulator.transport()):
                await done(cluster, evolve(plan_of(users, into=3), command=command))
            about = "sunshine_journal_import_1_part_1.about"
            found = f"INSERT INTO {about} VALUES ('found', '9.5 10.0') ON CONFLICT DO NOTHING"  # noqa: S608 - own names
            await rows_in(cluster, f"{found} RETURNING 1")

    url = str(place)
    guessed = ["sunshine-async", "import", "--retry-failed", "--service", "sunshine", "--mode",
               "create", "--cluster", url, "--parts", "3", "users.csv"]  # fmt: skip
    known = ["sunshine-async", "import", "--retry-failed", "users.csv", "--cluster", url]
    for command, again in (
        ("", guessed),
        ("sunshine-async import users.csv --cluster " + url, known),
    ):
        anyio.run(run, command)
        page = html.unescape(call("job", "report", f"{database}?job=may").stdout)
        commands = [
            shlex.split(text) for text in re.findall("<code>(sunshine-async .*?)</code>", page)
        ]
        assert again in commands, commands
        assert ["sunshine-async", "worker", "--rate", "9.5", "--cluster", url] in commands
        assert not any("--journal" in each for each in commands)
