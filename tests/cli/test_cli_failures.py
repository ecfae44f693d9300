"""Lists of the rows that weren't done: CSV for Excel, JSON lines, and the import of a list."""

import codecs
import csv
import io
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from support.commands import Call
from support.text import words

from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.journal import Journal, State, Update
from sunshine_async.rows import BadRow, Row, Shape, open_rows
from sunshine_async.rows.csv_records import bare_cell, guard_cell
from sunshine_async.rows.header import OUTCOME_COLUMNS
from sunshine_async.sunshine import UserCreateBody

USERS = "externalId,profile.givenName\na,Zoë\nb,陽子\nb,Jane\nc,x,y\nc,x,y\nd,\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(USERS)
    return path


def fail(call: Call, *more: str, file: str = "users.csv") -> None:
    """Import *file* as updates of users that don't exist: each readable row fails."""
    result = call("import", file, "--mode", "update", "--journal", "run.sqlite", *more)
    assert result.exit_code == 1, result.output


def table(path: Path, encoding: str = "utf-8-sig", delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a list in CSV, by the name of the column."""
    text = path.read_bytes().decode(encoding)
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def add_user(journal: str, reason: str) -> None:
    """Set the reason of the first row."""
    opened = Journal(journal)
    opened.write([Update(1, State.FAILED, 1.0, code="odd", reason=reason)])
    opened.close()


class TestCsv:
    def test_columns_and_reasons(self, call: Call, users: Path, tmp_path: Path) -> None:
        """The list has the columns of the file; a row that doesn't fit the columns has its text."""
        fail(call)

        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")

        found = table(tmp_path / "failed.csv")
        assert result.exit_code == 0
        assert (tmp_path / "failed.csv").read_bytes().startswith(codecs.BOM_UTF8)
        assert list(found[0]) == ["externalId", "profile.givenName", *OUTCOME_COLUMNS]
        assert [row["_row.line"] for row in found] == ["2", "4", "5", "6", "7"]
        assert [row["externalId"] for row in found] == ["a", "b", "", "", "d"]
        assert (found[0]["_row.outcome"], found[2]["_row.outcome"]) == ("failed", "bad")
        assert found[2]["_row.reason"] == "3 cells, where the header has 2"
        assert [row["_row.text"] for row in found] == ["", "", "c,x,y", "c,x,y", ""]

    def test_mended_and_imported_with_the_command_shown(
        self, call: Call, users: Path, tmp_path: Path, emulator: Emulator
    ) -> None:
        """The command of the message imports a mended list; rows not mended stay bad."""
        fail(call)
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        said, _, command = result.stderr.strip().partition("import the list: ")
        assert said == "Correct the rows in failed.csv, then "
        path = tmp_path / "failed.csv"
        path.write_text(path.read_text("utf-8").replace("\n,,5,", "\nc,Ann,5,"), "utf-8")
        for key in "abcd":
            emulator.add("sunshine", {"externalId": key}, app_id="app")

        again = call(*shlex.split(command)[1:])

        names = {u["externalId"]: u["profile"].get("givenName") for u in emulator.users("sunshine")}
        assert names == {"a": "Zoë", "b": "Jane", "c": "Ann", "d": None}
        assert again.exit_code == 1
        assert words(again.stdout).count("the row has only the outcome of another job") == 1

    def test_a_list_of_a_list(self, call: Call, users: Path, tmp_path: Path) -> None:
        """The list of an import of a list has the columns once."""
        fail(call)
        call("job", "failures", "run.sqlite", "--out", "failed.csv")
        fail(call, "--accept-changed-source", file="failed.csv")
        call("job", "failures", "run.sqlite", "--out", "again.csv")
        first, second = (table(tmp_path / name) for name in ("failed.csv", "again.csv"))
        assert list(first[0]) == list(second[0])
        assert [row["externalId"] for row in first] == [row["externalId"] for row in second]

    @pytest.mark.parametrize(
        ("reason", "shown"),
        [("=cmd()", "'=cmd()"), ("400 no", "400 no"), ("+1", "'+1"), ("@x\r\ny", "'@x\r\ny")],
    )
    def test_no_cell_is_a_formula(
        self, call: Call, tmp_path: Path, reason: str, shown: str
    ) -> None:
        """A cell of the file, and a reason of the service, is text to Excel, and reads back as it was."""
        cells = ["=1+1", "+4930123", "-5", "@x", "'=y", "plain", "00042"]
        text = "".join(f"k{at},{cell}\n" for at, cell in enumerate(cells))
        (tmp_path / "users.csv").write_text("externalId,metadata.note\n" + text)
        fail(call)
        add_user("run.sqlite", reason)

        call("job", "failures", "run.sqlite", "--out", "failed.csv")

        found = table(tmp_path / "failed.csv")
        assert [row["metadata.note"] for row in found] == [
            "'=1+1", "'+4930123", "'-5", "'@x", "''=y", "plain", "'00042",
        ]  # fmt: skip
        assert found[0]["_row.reason"] == shown
        with open_rows(tmp_path / "failed.csv", Shape(UserCreateBody)) as rows:
            again = [row.data["metadata"]["note"] for row in rows if isinstance(row, Row)]
        assert again == cells

    def test_no_column_is_a_formula(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """The name of a column is text to Excel, too, and the command shown finds the column."""
        (tmp_path / "users.csv").write_text("=1+1,007,'=x,externalId\n1,2,3,a\n")
        more = ("--skip", "=1+1", "--map", "metadata.no=007", "--map", "metadata.x='=x")
        fail(call, *more)
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        [row] = table(tmp_path / "failed.csv")
        assert [*row][:4] == ["'=1+1", "'007", "''=x", "externalId"]
        emulator.add("sunshine", {"externalId": "a"}, app_id="app")
        command = shlex.split(result.stderr.rpartition("import the list: ")[2])
        assert call(*command[1:]).exit_code == 0
        assert emulator.users("sunshine")[0]["metadata"] == {"no": "2", "x": "3"}


@given(st.text(st.sampled_from("'=+-@\t\r\n\uff1da0127.,:/eE %marpTRUE"), max_size=6))
def test_guarded_cells_read_back(cell: str) -> None:
    """A guarded cell begins no formula, and reads back as the cell."""
    guarded = guard_cell(cell)
    assert guarded.lstrip(" ")[:1] not in tuple("=+-@\t\r\n\uff1d")
    assert bare_cell(guarded) == cell


CHANGED = (
    "007", "00", "0049301", "123456789012", "1.50", "1,5", "1E5", "12e10", "1/2", "3-4", "10:30",
    "10:30 AM", "5 %", " 5", "$5", "5 €", "(5)", "2020-05-21", "21.05.2020", "MAR1", "sept2",
    "1-Mar", "2 Sept. 2020", "March 2020", "true", "FALSE", "\t5", "'007",
    " =1+1", "\n=1", "\xa0@x", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x", "'  =1",
)  # fmt: skip
UNCHANGED = (
    "", "0", "7", "12345678901", "a1", "404 user_not_found: no", "2020-05-21T15:53:30Z", "Maria",
    "1 Main St", "e", "'", "o'neil", "truely", "x@y.z", "5f1d7e84-0c3a", "'plain", "a =1",
)  # fmt: skip


def test_cells_that_a_spreadsheet_changes() -> None:
    """Exactly the cells that a spreadsheet would save as another text get an apostrophe."""
    assert [guard_cell(cell) for cell in CHANGED] == [f"'{cell}" for cell in CHANGED]
    assert [guard_cell(cell) for cell in UNCHANGED] == [*UNCHANGED]


@frozen
class Source:
    """A file of a job: the *data*, the options, and the number of bad rows."""

    name: str
    data: bytes
    bad: int = 0
    options: tuple[str, ...] = ()
    out: str = "failed.csv"
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    changes: Mapping[str, str] = field(factory=dict)
    """Options of the command that imports the list, in place of those of the job."""


HEAD = "externalId,profile.givenName,metadata.n:number\n"
ROWS = HEAD + 'a,Zoë,1\nb,Jürgen,x\nc,ok,3\nd,"two\nlines",4\ne,"open,5\n'
SOURCES = (
    Source("users.csv", ROWS.encode(), 2),
    Source("users.csv", ROWS.encode("cp1252"), 2, ("--encoding", "cp1252"), encoding="cp1252"),
    Source("users.csv", ROWS.encode("utf-16"), 2, ("--encoding", "utf-16"), encoding="utf-16"),
    Source("users.csv", HEAD.encode() + b"a,\xff,1\nb,y,2\n", 1),
    Source("users.csv", ROWS.replace(",", ";").encode(), 2, ("--delimiter", ";"), delimiter=";"),
    Source("users.csv", b"sep=;\n" + ROWS.replace(",", ";").encode(), 2),
    Source("users.csv", b"sep=;\n" + ROWS.replace(",", ";").encode(), 2, out="failed.tsv", delimiter="\t", changes={"--delimiter": "tab"}),
    Source("users.txt", ROWS.encode(), 2, out="failed.TSV", delimiter="\t", changes={"--delimiter": "tab"}),
    Source("users.tsv", ROWS.replace(",", "\t").encode(), 2, ("--delimiter", "tab"), out="failed.tsv", delimiter="\t"),
    Source("users.csv", b"no,first,fax,,\na,Zoe,1,,\nb,Jane,,,\nc,x,,,more\n", 1, ("--map", "externalId=no", "--map", "profile.givenName=#2", "--skip", "fax")),
    Source("users.csv", b"no,first,,x\na,Zoe,1,2\nb,Jane,,\n", 0, ("--map", "externalId=#1", "--map", "metadata.x=#3", "--only-mapped")),
    Source("users.csv", b"externalId,metadata.x,,\na,Zoe,1,2\nb,Jane,,\n", 1, ("--map", "metadata.y=#3")),
    Source("users.csv", b"externalId,metadata.x,,\na,Zoe,1,2\nb,Jane,,\n", 0, ("--map", "metadata.y=#4")),
    Source("users.csv", b"externalId,metadata.x\na,1\n\n,,\nexternalId,metadata.x\nb,\n", 1, ("--empty", "null")),
    Source("users.csv", ROWS.encode(), 2, ("--format", "csv"), out="failed.json"),
    Source("users.csv", ROWS.encode("cp1252"), 2, ("--encoding=cp1252",), out="failed.jsonl"),
    Source("users.jsonl", b'{"externalId": "a", "metadata": {"x": 1}}\n[1]\n{"externalId": "b"}\n', 1, ("--format", "jsonl"), out="failed.ndjson"),
    Source("users.csv", b"no,externalId\na,x\nb,y\n", out="failed.jsonl", options=("--map", "externalId=no", "--map=metadata.old=externalId")),
    Source("users.csv", b"no,externalId\na,x\nb,y\n", out="failed.jsonl", options=("--map", "externalId=no", "--skip", "externalId")),
    Source("users.jsonl", b'{"no": "a", "externalId": "x", "fax": 1}\n', out="failed.jsonl", options=("--map", "externalId=no", "--map", "metadata.old=externalId", "--only-mapped")),
)  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=map(str, range(len(SOURCES))))
def test_a_list_reads_as_the_file(
    source: Source, call: Call, tmp_path: Path, emulator: Emulator
) -> None:
    """A list, imported with the command of the message, makes the users of the job's file."""

    def imported() -> tuple[list[Any], int]:
        names = ("externalId", "profile", "metadata")
        made = [[user.get(name) for name in names] for user in emulator.users("sunshine")]
        emulator.reset()
        return sorted(made, key=str), json.loads(result.stdout)["bad"]

    (tmp_path / source.name).write_bytes(source.data)
    result = call("import", source.name, "--mode", "create", "--json", *source.options)
    expected = imported()
    assert expected[1] == source.bad
    fail(call, *source.options, file=source.name)

    result = call("job", "failures", "run.sqlite", "--out", source.out)

    assert result.exit_code == 0, result.output
    command = shlex.split(result.stderr.rpartition("import the list: ")[2])
    assert command[:3] == ["sunshine-async", "import", *command[2:3]]
    for option, value in source.changes.items():
        assert command[command.index(option) + 1] == value
    assert source.out in command
    arguments = [word for word in command[1:] if word != "run.sqlite"]
    arguments.remove("--journal")
    arguments[arguments.index("update")] = "create"
    result = call(*arguments, "--json")
    assert imported() == expected
    if source.out.lower().endswith("sv"):
        found = table(tmp_path / source.out, source.encoding, source.delimiter)
        assert len(found) == len(expected[0]) + source.bad
    if not source.changes and source.out.endswith(".csv"):  # the same options, too
        result = call("import", source.out, "--mode", "create", "--json", *source.options)
        assert imported() == expected


class TestJsonLines:
    def test_ready_to_import_again(
        self, call: Call, users: Path, tmp_path: Path, emulator: Emulator
    ) -> None:
        """Rows come with line and reason; a row that could not be read comes with its text."""
        fail(call)
        result = call("job", "failures", "run.sqlite", "--out", "failed.jsonl")
        assert result.exit_code == 0
        text = (tmp_path / "failed.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["_row"]["line"] for row in rows] == [2, 4, 5, 6, 7]
        assert rows[0]["externalId"] == "a"
        assert rows[0]["_row"]["outcome"] == "failed"
        assert rows[2]["_row"]["text"] == "c,x,y"
        result = call("import", "failed.jsonl", "--mode", "create")
        assert words(result.stdout).count("the row has only the outcome of another job") == 1
        assert sorted(u["externalId"] for u in emulator.users("sunshine")) == ["a", "b", "d"]

    def test_a_reason_alone(self, call: Call, users: Path) -> None:
        """A row that the job could read and not send comes with its fields."""
        users.write_text("externalId,signedUpAt\na,yesterday\n")
        fail(call)
        [row] = map(json.loads, call("job", "failures", "run.sqlite").stdout.splitlines())
        assert (row["signedUpAt"], row["_row"]["outcome"]) == ("yesterday", "bad")

    def test_from_the_journal(self, call: Call, users: Path) -> None:
        """A journal with bodies needs no file."""
        fail(call, "--keep-bodies")
        users.unlink()
        opened = Journal("run.sqlite")
        opened.write([Update(number, State.DONE, 1.0) for number in (4, 5)])
        opened.close()
        result = call("job", "failures", "run.sqlite")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout.splitlines()[0])["profile"] == {"givenName": "Zoë"}


class TestWithoutContent:
    @pytest.mark.parametrize("out", ["failed.csv", "failed.jsonl"])
    @pytest.mark.parametrize(
        "change",
        ["is gone", "has changed since", "can't be read: check", "from a program or a pipe"],
    )
    def test_lines_and_reasons_stay(
        self, call: Call, users: Path, tmp_path: Path, out: str, change: str
    ) -> None:
        """Without the file, or with a changed file, lines and reasons are listed, with status 1."""
        fail(call)
        if change == "is gone":
            users.unlink()
        elif change == "can't be read: check":
            users.unlink()
            users.symlink_to("/proc/self/mem")  # reading ends in EIO, as on a failing disk
        elif change == "has changed since":
            users.write_text(re.sub(r"(?m)^([abd]),.*", r"\1,June", USERS))
        else:
            opened = Journal("run.sqlite")
            with opened._transaction() as database:
                database.execute("DELETE FROM about WHERE name IN ('digest', 'source', 'meant')")
            opened.close()

        result = call("job", "failures", "run.sqlite", "--out", out)

        assert result.exit_code == 1
        assert result.stderr.startswith("5 rows without content: ")
        assert change in result.stderr
        assert "import the list" not in result.stderr
        text = (tmp_path / out).read_text("utf-8-sig")
        assert "June" not in text
        assert text.count("404") == text.count("failed") == 3
        if out == "failed.jsonl":
            with open_rows(tmp_path / out, Shape(UserCreateBody)) as rows:
                assert {type(row) for row in rows} == {BadRow}

    def test_an_empty_row_has_content(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """An empty body, which the service has refused, is no body that is missing."""
        (tmp_path / "users.jsonl").write_text("{}\n")
        emulator.faults += [Mishap(status=400)]
        result = call("import", "users.jsonl", "--mode", "create", "--journal", "run.sqlite")
        assert result.exit_code == 1, result.output
        result = call("job", "failures", "run.sqlite")
        assert (result.exit_code, result.stderr) == (0, "")
        assert json.loads(result.stdout).keys() == {"_row"}

    @pytest.mark.parametrize("out", ["failed.csv", "failed.jsonl"])
    def test_rows_that_have_not_changed(
        self, call: Call, users: Path, tmp_path: Path, out: str
    ) -> None:
        """Of a file that has changed, the readable rows that have not changed come with content."""
        fail(call)
        users.write_text(USERS.replace("Jane", "June") + "e,\n")
        result = call("job", "failures", "run.sqlite", "--out", out)
        assert result.exit_code == 1
        assert result.stderr.startswith("3 rows without content: users.csv, ")
        text = (tmp_path / out).read_text("utf-8-sig")
        assert "Zoë" in text
        for other in ("June", "c,x,y"):
            assert other not in text

    def test_a_file_with_another_header(self, call: Call, users: Path) -> None:
        """A file with other columns can't be read as the job's file: lines and reasons are listed."""
        fail(call)
        users.write_text("Nr\n1\n")
        result = call("job", "failures", "run.sqlite")
        assert result.exit_code == 1
        assert "5 rows without content: users.csv" in result.stderr

    def test_a_list_without_content_is_not_imported(
        self, call: Call, users: Path, emulator: Emulator
    ) -> None:
        """A list in CSV without columns of its own has no row that could be sent."""
        fail(call)
        users.unlink()
        call("job", "failures", "run.sqlite", "--out", "failed.csv")
        requests = emulator.requests
        result = call("import", "failed.csv", "--mode", "create")
        assert (result.exit_code, emulator.requests) == (2, requests)
        assert "has no column that is read" in words(result.stderr)

    def test_beside_the_journal(
        self, call: Call, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """From another folder the file is found next to the journal."""
        fail(call)
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        result = call("job", "failures", "../run.sqlite")
        assert (result.exit_code, result.stderr) == (0, "")

    def test_content_of_a_pipe(self, call: Call, users: Path, tmp_path: Path) -> None:
        """A list in CSV names the format that has the bodies kept; a bad row's text is never kept."""
        fail(call, "--keep-bodies")
        users.unlink()
        opened = Journal("run.sqlite")
        with opened._transaction() as database:
            database.execute("DELETE FROM about WHERE name IN ('digest', 'source', 'meant')")
        opened.close()

        result = call("job", "failures", "run.sqlite", "--out", "the list.csv")

        assert result.exit_code == 1
        assert result.stderr.startswith("5 rows without content: the content is in the journal")
        options = shlex.split(result.stderr.rpartition("hold the content: ")[2])
        result = call("job", "failures", "run.sqlite", *options)
        assert result.stderr.startswith("2 rows without content: they came from a program")
        assert '"givenName": "Zoë"' in (tmp_path / "the list.jsonl").read_text("utf-8")


class TestRowsWithoutAKey:
    def test_they_are_corrected_in_the_file(
        self, call: Call, tmp_path: Path, emulator: Emulator
    ) -> None:
        """No list of messages is imported: the command shown sends the corrected rows alone."""
        emulator.add("sunshine", {"externalId": "a"}, app_id="app")
        path = tmp_path / "messages.csv"
        path.write_text("externalId,text\na,first\na,again\nz,last\n")
        command = "import messages.csv --mode message --journal run.sqlite"
        assert call(*command.split()).exit_code == 1

        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")

        said, _, command = result.stderr.partition("Correct the rows in messages.csv, then run: ")
        assert "Rows without a key are done" in said
        path.write_text(path.read_text().replace("z,", "a,"))
        again = call(*shlex.split(command)[1:], "--json")
        assert again.exit_code == 0, again.output
        assert json.loads(again.stdout)["outcomes"] == {"sent": 1, "unchanged": 2}

    def test_without_a_command(self, call: Call, tmp_path: Path) -> None:
        """A journal of a program has no command to show."""
        (tmp_path / "users.csv").write_text("profile.givenName,toBeRetained\nZoë,\nx,x\n")
        call("import", "users.csv", "--mode", "create", "--journal", "run.sqlite")
        opened = Journal("run.sqlite")
        opened.describe(command="")
        opened.close()
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        assert (result.exit_code, result.stderr) == (0, "")


class TestNames:
    def test_the_journal_of_another_folder(
        self, call: Call, users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The command for a list has the journal that was named, and no new journal."""
        fail(call)
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        result = call("job", "failures", "../run.sqlite", "--out", "failed.csv")
        command = shlex.split(result.stderr.rpartition("import the list: ")[2])
        assert command[command.index("--journal") + 1] == "../run.sqlite"
        call(*command[1:])
        assert not (tmp_path / "other/run.sqlite").exists()
        assert command.count("--journal") == 1

    def test_nothing_to_correct(self, call: Call, tmp_path: Path) -> None:
        """The list of a job without trouble is empty, and no import of the list is proposed."""
        (tmp_path / "users.csv").write_text("externalId\na\n")
        call("import", "users.csv", "--mode", "create", "--journal", "run.sqlite")
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        assert (result.exit_code, result.stderr) == (0, "All rows are done: the list is empty.\n")

    def test_a_name_of_no_format(self, call: Call, users: Path, tmp_path: Path) -> None:
        """A name with another end is refused, and no file is made."""
        fail(call)
        result = call("job", "failures", "run.sqlite", "--out", "failed.xlsx")
        assert result.exit_code == 2
        assert "end the name in .csv, .tsv or .jsonl" in result.stderr
        assert not (tmp_path / "failed.xlsx").exists()

    def test_json_lines_are_no_table(self, call: Call, tmp_path: Path) -> None:
        """CSV of JSON lines is refused with an option that works."""
        (tmp_path / "users.jsonl").write_text('{"externalId": "a"}\n')
        fail(call, file="users.jsonl")
        result = call("job", "failures", "run.sqlite", "--out", "the rows.csv")
        assert result.exit_code == 2
        options = shlex.split(result.stderr.rpartition("CSV can't hold: ")[2])
        assert options == ["--out", "the rows.jsonl"]
        assert call("job", "failures", "run.sqlite", *options).exit_code == 0

    def test_where_it_cannot_be_written(self, call: Call, users: Path) -> None:
        """A path that can't be written to is refused with status 2."""
        fail(call)
        result = call("job", "failures", "run.sqlite", "--out", users / "x")
        assert result.exit_code == 2
        assert "can't be written: Not a directory" in result.stderr

    def test_an_unfinished_job(self, call: Call, users: Path) -> None:
        """The list of an unfinished job comes with the advice to finish the job."""
        fail(call)
        opened = Journal("run.sqlite")
        opened.describe(state="open")
        opened.close()
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        assert "The job isn't finished: run the same command again" in result.stderr

    def test_without_a_command(self, call: Call, users: Path) -> None:
        """A journal of a program has no command to show."""
        fail(call)
        opened = Journal("run.sqlite")
        opened.describe(command="")
        opened.close()
        result = call("job", "failures", "run.sqlite", "--out", "failed.csv")
        assert (result.exit_code, result.stderr) == (0, "")


def test_rows_with_nothing_but_their_outcome(tmp_path: Path) -> None:
    """A row of which nothing is known is bad when it is imported: it isn't an empty user."""
    (tmp_path / "failed.jsonl").write_text('{"_row": {"line": 1}}\n')
    (tmp_path / "failed.csv").write_text("externalId,_row.line\n,1\n")
    for name in ("failed.jsonl", "failed.csv"):
        with open_rows(tmp_path / name, Shape(UserCreateBody)) as rows:
            assert [type(row) for row in rows] == [BadRow]
