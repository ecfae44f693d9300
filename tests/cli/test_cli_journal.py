"""The command line with a journal: going on, and what a job did."""

import csv
import io
import json
import re
import resource
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from support.commands import Call
from support.forking import Command
from support.text import words

from sunshine_async.cli import job as job_commands
from sunshine_async.cli.output import Printer
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import Report
from sunshine_async.journal import REACH, Journal, SourceRow, State, Update


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text("externalId,profile.givenName\na,Zoë\nb,陽子\nb,Jane\nc,x,y\nc,x,y\nd,\n")
    return path


def test_the_advice_for_times_keeps_the_rows_that_are_done(call: Call, tmp_path: Path) -> None:
    """With --timezone, which the message advises, a row that was created before is unchanged."""
    path = tmp_path / "users.csv"
    path.write_text("externalId,signedUpAt\na,2020-05-21\nb,2020-05-21T15:53:30Z\n")
    command = ("import", path, "--mode", "create", "--journal", tmp_path / "run.sqlite", "--json")
    assert "--timezone Europe/Berlin" in call(*command).stderr

    result = call(*command, "--timezone", "Europe/Berlin")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["outcomes"] == {"created": 1, "unchanged": 1}


def test_the_same_command_again(call: Call, users: Path, path: Path, emulator: Emulator) -> None:
    """An import with a journal, run again, sends nothing, and says the same."""
    first = call("import", users, "--mode", "create", "--journal", path)
    again = call("import", users, "--mode", "create", "--journal", path)
    assert (first.exit_code, again.exit_code) == (1, 1)
    for said in map(words, (first.stdout, again.stdout)):
        assert "5-6 bad 3 cells, where the header has 2" in said
        assert "left out │ 1 (another row with the same key was sent)" in said
        assert "done │ 3" in said
    assert emulator.ledger()["sunshine"]["effects"]["create"] == 3


def test_a_refused_import_leaves_no_journal(call: Call, users: Path, path: Path) -> None:
    """Rows that are refused once they are read leave no file behind."""
    result = call("import", users, "--mode", "create", "--journal", path, "--duplicates", "fail")
    assert result.exit_code == 2
    assert "1 row has the key of an earlier one" in result.stderr
    assert [*path.parent.iterdir()] == [users]


def test_the_next_night(call: Call, users: Path, path: Path) -> None:
    """An upsert with the journal of the last one says what it didn't have to send."""
    call("import", users, "--mode", "upsert", "--journal", path)
    users.write_text("externalId,profile.givenName\na,Zoë\nb,Other\n")
    result = call("import", users, "--mode", "upsert", "--journal", path)
    assert result.exit_code == 0
    said = words(result.stdout)
    assert "done │ 2 │ │ updated │ 1 │ │ unchanged │ 1 (as they were: nothing was sent) │" in said


def test_upserts_without_a_journal(call: Call, users: Path, emulator: Emulator) -> None:
    """The report of an upsert says how many were created and how many updated, in JSON too."""
    emulator.add("sunshine", {"externalId": "a"}, app_id="app")
    shown = call("import", users, "--mode", "upsert").stdout
    assert "done │ 4 │ │ created │ 2 │ │ updated │ 2 │" in words(shown)
    again = call("import", users, "--mode", "upsert", "--json").stdout
    assert json.loads(again)["outcomes"] == {"updated": 4}


@pytest.mark.parametrize(
    "option",
    [
        "--retry-failed",
        "--retry-unknown",
        "--accept-changed-source",
        "--full",
        "--keep-bodies",
        "--duplicates=all",
    ],
)
def test_what_goes_with_a_journal(call: Call, users: Path, option: str) -> None:
    """What means nothing without a journal is refused without one."""
    result = call("import", users, "--mode", "create", option)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"sunshine-async: {option.partition('=')[0]} goes with")


def test_what_is_no_journal(call: Call, users: Path) -> None:
    """A journal that can't be one is refused in one sentence, with status 2."""
    for arguments in (
        ("import", users, "--mode", "create", "--journal", users),
        ("job", "show", users),
        ("job", "failures", users),
        ("job", "export", users.with_name("none")),
    ):
        result = call(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("sunshine-async: ")
        assert result.stderr.count("\n") == 1


def test_a_changed_source(call: Call, users: Path, path: Path) -> None:
    """An unfinished run with another file is refused with what to do, and status 2."""
    call("import", users, "--mode", "create", "--journal", path)
    opened = Journal(path)
    opened.describe(state="open")
    opened.close()
    users.write_text("externalId\nz\n")
    result = call("import", users, "--mode", "create", "--journal", path)
    assert result.exit_code == 2
    assert "--accept-changed-source" in result.stderr


def test_given_up(call: Call, users: Path, path: Path, emulator: Emulator) -> None:
    """Where credentials are refused no row has failed: the same command goes on with them."""
    with Emulator(keys=["other:key"]).serve() as locked:
        result = call(
            "import", users, "--mode", "create", "--journal", path, SUNSHINE_BASE_URL=locked
        )
    assert result.exit_code == 3
    assert "to be done │ 3 (the same command goes on with them)" in words(result.stdout)
    assert "failed │ 0" in words(result.stdout)


class TestShow:
    @pytest.mark.parametrize("width", [80, 40])
    def test_a_job(self, call: Call, users: Path, path: Path, width: int) -> None:
        """It says what was done, how fast, and each kind of error with an example."""
        call("import", users, "--mode", "create", "--journal", path)
        result = call("job", "show", path, COLUMNS=str(width))
        assert result.exit_code == 0
        said = words(result.stdout)
        assert "finished" in said
        assert "bad row: 2 rows, such as line 5: 3 cells" in said
        assert max(map(len, result.stdout.splitlines())) <= width
        if width == 80:
            for figure in ("rows │ 6", "done │ 3 (created)", "bad │ 2 (", "left out │ 1 ("):
                assert figure in said

    @pytest.mark.parametrize("width", [80, 40])
    def test_what_was_done(self, call: Call, users: Path, path: Path, width: int) -> None:
        """Rows done are counted by what was done, if that is several things."""
        call("import", users, "--mode", "upsert", "--journal", path)
        opened = Journal(path)
        for number, outcome in enumerate(("updated", "unchanged", "upserted", "anew"), 10):
            opened.add([SourceRow(number, None, b"")])
            [*_, row] = opened.rows(State.WAITING)
            opened.write([Update(row["number"], State.DONE, 1.0, outcome=outcome)])
        opened.close()

        result = call("job", "show", path, COLUMNS=str(width))

        assert max(map(len, result.stdout.splitlines())) <= width
        figures = [re.split(" *│ *", line)[1:3] for line in result.stdout.splitlines()]
        assert [one[0] for one in figures if len(one) > 1 and one[0]][4:10] == [
            "done", "created", "updated", "upserted", "unchanged", "anew",
        ]  # fmt: skip
        if width == 80:
            assert ["created", "3"] in figures
            assert ["upserted", "1  (created or updated: nobody can tell which)"] in figures
        exported = call("job", "export", path, "--format", "jsonl").stdout.splitlines()
        assert Counter(json.loads(line)["outcome"] for line in exported) == {
            "created": 3, "updated": 1, "unchanged": 1, "upserted": 1, "anew": 1,
            "left_out": 1, "bad": 2,
        }  # fmt: skip

    def test_an_old_one(self, call: Call, users: Path, path: Path) -> None:
        """A journal in which all rows are upserted says that nobody can tell more."""
        call("import", users, "--mode", "upsert", "--journal", path)
        opened = Journal(path)
        done = [row["number"] for row in opened.rows(State.DONE)]
        opened.write([Update(number, State.DONE, 1.0, outcome="upserted") for number in done])
        opened.close()

        said = words(call("job", "show", path).stdout)

        assert "done │ 3 (upserted, created or updated: nobody can tell which)" in said

    def test_one_that_was_cut_off(self, path: Path, call: Call) -> None:
        """Of a job that was cut off it says what is still to be done; of an empty one, nothing."""
        opened = Journal(path)
        opened.close()
        assert "no job has used this journal yet" in call("job", "show", path).stdout
        opened = Journal(path)
        opened.describe(held="100", mode="create", seconds="3700", state="open")
        opened.close()
        said = words(call("job", "show", path).stdout)
        assert "status │ not finished" in said
        assert "1:01:40, 0 rows a second" in said
        assert "1:40, for the service to come back" in said

    def test_json(self, call: Call, users: Path, path: Path) -> None:
        """With --json it is one line of JSON."""
        call("import", users, "--mode", "create", "--journal", path)
        data = json.loads(call("job", "show", path, "--json").stdout)
        assert (data["rows"], data["done"], data["outcomes"]) == (6, 3, {"created": 3})
        assert sum(data["pulse"]) == 3
        assert data["codes"]["bad row"]["rows"] == 2

    def test_pictures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Speed is drawn with what the terminal can show."""
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
        assert job_commands._draw_bars([0, 4, 8]) == "▁▅█"
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
        assert job_commands._draw_bars([0, 4, 8]) == "_=#"


class TestExport:
    def test_csv_and_json(self, call: Call, users: Path, path: Path, emulator: Emulator) -> None:
        """Each row comes with key, remote id and outcome."""
        call("import", users, "--mode", "create", "--journal", path)
        rows = list(csv.DictReader(io.StringIO(call("job", "export", path).stdout)))
        ids = {user["externalId"]: user["id"] for user in emulator.users("sunshine")}
        assert [row["outcome"] for row in rows] == [
            "created", "left_out", "created", "bad", "bad", "created",
        ]  # fmt: skip
        assert {row["key"]: row["remote_id"] for row in rows if row["remote_id"]} == ids
        said = call("job", "export", path, "--format", "jsonl").stdout
        assert [json.loads(line)["outcome"] for line in said.splitlines()] == [
            row["outcome"] for row in rows
        ]

    def test_keys_within_a_brand(self, call: Call, tmp_path: Path, path: Path) -> None:
        """The same key in two brands is no duplicate, and is shown as it is."""
        file = tmp_path / "users.jsonl"
        file.write_text('{"externalId": "a"}\n{"externalId": "a", "brandId": "b"}\n')
        call("import", file, "--mode", "create", "--journal", path)
        said = call("job", "export", path, "--format", "jsonl").stdout
        assert [json.loads(line)["key"] for line in said.splitlines()] == ["a", "a"]


def test_marks_are_said(path: Path, call: Call) -> None:
    """Rows that may have been sent are named as such."""
    opened = Journal(path)
    opened.write([Update(1, State.BEGUN, 1.0)])
    opened.close()
    assert "rows │ 0" in words(call("job", "show", path).stdout)


def test_a_full_disk_can_be_looked_at(path: Path, forked: Command) -> None:
    """What a job did can be looked at where there is no room to write."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    opened = Journal(path)
    opened.add([SourceRow(1, "a", b"a")])
    opened.write([], about={REACH: "1"})
    opened.close()
    said = subprocess.run(  # noqa: S603 - our own program
        [*forked, "job", "show", str(path), "--json"],
        capture_output=True, text=True, check=False, preexec_fn=no_room,
    )  # fmt: skip
    assert (said.returncode, said.stderr) == (0, "")
    assert json.loads(said.stdout)["rows"] == 1


def test_held_jobs_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A job that waited for its service says how long, and what is still to be done."""
    Printer().print_report(Report(done=1, waiting=2, held=90.0), file="users.csv")
    said = words(capsys.readouterr().out)
    assert "held │ 90 s, for the service to come back" in said
    assert "to be done │ 2 (the same command goes on with them)" in said


def test_no_password_of_a_url_is_kept(call: Call, tmp_path: Path) -> None:
    """The password of --pace is neither in the journal, nor in the report, nor in a message."""
    users, journal, report = (
        tmp_path / name for name in ("users.csv", "run.sqlite", "report.html")
    )
    users.write_text("externalId\na\n")
    url = "redis://me:hunt%2Fer@127.0.0.1:1/0?password=word2&db=0"
    given = ["--mode", "create", "--journal", journal, "--report", report, "--pace", url]

    call("import", users, *given)
    users.write_text("externalId,fax\na,b\n")
    said = call("import", users, *given).stderr

    assert "redis://me:***@127.0.0.1:1/0?password=***&db=0" in said
    assert "redis://me:***@127.0.0.1" in call("job", "show", journal, "--json").stdout
    for text in (said.encode(), journal.read_bytes(), report.read_bytes()):
        assert b"word2" not in text
        assert b"hunt" not in text
