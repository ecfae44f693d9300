"""Real files and odd options from the command line: messages whose options and commands can be pasted."""

import ast
import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from support.real_files import FILES, RealFile
from support.text import words
from typer.main import get_command
from typer.testing import CliRunner, Result

import sunshine_async
from sunshine_async import SunshineError
from sunshine_async.cli.app import app
from sunshine_async.cli.files import OutputTarget, digest_of
from sunshine_async.cli.report_style import STYLE
from sunshine_async.cli.webhook_listener import open_recording
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SERVICES, Mode
from sunshine_async.journal import Journal, SourceRow, copy_journal
from sunshine_async.journal.file import make_private
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox

CRM = "Contact ID,First Name,E-Mail,Fax,Fax,,Owner's note\nc1,Jane,j@x.org,1,2,3,x\n"
MENTIONED = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")
OTHERS = {"help", "preload", "port", "log-level", "no-access-log"}
"""Options of other programs, named in texts."""

IMPORTS: Final = [(name, mode) for name, service in SERVICES.items() for mode in service.tasks]
CELLS: Final[Mapping[str, str]] = {
    "": "", "Contact ID": "c1", "E-Mail": "jane@example.org", "Fax": "+4930123", "First Name": "Jane",
    "Notes": "n", "conversationId": "c", "externalId": "e1", "text": "Hello", "userId": "u1",
    "id": "5d8cff3c-d55b-0400-1092-8b5b00000000",
}  # fmt: skip
"""A cell of each column."""
HEADERS: Final = (
    "Fax", "Fax,Notes", "Contact ID,First Name,E-Mail,Fax", "E-Mail,Fax", "externalId,Fax",
    "userId,Fax", "id,Fax", "text,Fax", "conversationId,text,Fax", "conversationId,text,", "First Name",
)  # fmt: skip


def record(path: Path) -> None:
    """Begin a recording, and end."""
    with open_recording(path):
        pass


def keep_rows(path: Path) -> None:
    """Write a row to a journal; the rows of a journal that was killed are in a second file."""
    with closing(Journal(path)) as journal:
        journal.add([SourceRow(1, "jane@example.org", b"1")])
        assert modes(path.parent) == {0o600}


def write_result(path: Path) -> None:
    """Write a file such as failed.csv or a report, over an existing file too."""
    with OutputTarget(path, force=True).open() as write:
        write("jane@example.org")


def copy_rows(path: Path) -> None:
    """Copy a journal to a new file."""
    path.unlink(missing_ok=True)
    source = path.with_name("source.sqlite")
    keep_rows(source)
    copy_journal(source, path)


WRITERS: Final[Mapping[str, Callable[[Path], object]]] = {
    "copy": copy_rows,
    "inbox": lambda path: SQLiteInbox(path).close(),
    "journal": keep_rows,
    "recording": record,
    "result": write_result,
    "state": lambda path: Emulator(state=path).close(),
}
"""All that writes personal data into a file, by the kind of file."""


def modes(folder: Path) -> set[int]:
    """Return the modes of the files in a folder."""
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "80"})


def whole_command(result: Result) -> list[str]:
    """Return the arguments of the command that a message ends with."""
    assert result.exit_code == 2
    name, *arguments = shlex.split(result.stderr.rpartition("The whole command: ")[2])
    assert name == "sunshine-async"
    return arguments


def options_of(command: Any) -> set[str]:
    """Return the names of all options of a command and of its subcommands."""
    found = {name for each in command.params for name in each.opts}
    return found.union(*map(options_of, getattr(command, "commands", {}).values()))


def refusing() -> list[RealFile]:
    """Return the files with a header that is refused without options of their own."""
    return [file for file in FILES if file.refused and not file.options and b"\n" in file.data]


def test_the_whole_command_reads_a_crm_export(tmp_path: Path) -> None:
    """A file of unmapped, nameless and repeated columns is refused once, with a working command."""
    path = tmp_path / "the export.csv"
    path.write_text(CRM)

    arguments = whole_command(call("import", path, "--mode", "create", "--dry-run"))

    assert call(*arguments).exit_code == 0
    assert arguments[:5] == ["import", str(path), "--mode", "create", "--dry-run"]
    assert "externalId=Contact ID" in arguments


@pytest.mark.parametrize("file", refusing(), ids=lambda file: file.name)
def test_commands_in_messages_can_be_pasted(file: RealFile, tmp_path: Path) -> None:
    """The command of each message leads to rows, perhaps over another message."""
    path = tmp_path / file.name
    path.write_bytes(file.data)
    result = call("import", path, "--mode", "create", "--dry-run")
    for _ in range(2):
        if "The whole command: " in result.stderr:
            result = call(*whole_command(result))
    assert "The whole command: " not in result.stderr
    if result.exit_code == 2:
        assert file.refused in result.stderr


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(("service", "mode"), IMPORTS)
def test_the_advice_fits_the_mode(service: str, mode: Mode, header: str, tmp_path: Path) -> None:
    """A suggested command reads the rows, and takes no column without a known meaning for a field.

    Where a column is missing that each row needs, the message names the need and has no command.
    """
    path = tmp_path / "users.csv"
    path.write_text(f"{header}\n" + ",".join(CELLS[name] for name in header.split(",")) + "\n")
    refused = call(
        "import", path, "--service", service, "--mode", mode.value, "--dry-run", "--json"
    )
    if refused.exit_code != 2:
        return
    if "The whole command: " not in refused.stderr:
        assert "=COLUMN" in refused.stderr
        assert "need a column " in refused.stderr or "has no column that" in refused.stderr
        return
    arguments = whole_command(refused)
    assert not [one for one in arguments if one.endswith(("=Fax", "=Notes"))]
    assert json.loads(call(*arguments).stdout)["bad"] == 0


@pytest.mark.parametrize(
    ("mode", "header", "said"),
    [
        ("create", "Fax,Notes", "that is read\nMap or skip each column, with the name"),
        ("create", "Fax,Notes", "for COLUMN, for example: --map externalId=COLUMN --only-mapped\n"),
        ("upsert", "E-Mail,Fax", "that says which user: externalId\n"),
        ("update", "E-Mail,Fax", "example: --map id=COLUMN --map profile.email=E-Mail --only-mapped\n"),
        ("message", "externalId,Fax", "with text\n"),
        ("create", "externalId,Fax", "for example: --skip Fax\nKeep a column under a name"),
        ("create", "Contact ID,Fax", "of your own: --map metadata.note=Fax\n"),
        ("upsert", "profile.email", "has no column that says which user: externalId. It has: "),
        ("message", "metadata.x", "conversationId or externalId and no column with text. It has: "),
        ("delete", "Fax", "Name the column: --map id=COLUMN\n"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named(mode: str, header: str, said: str, tmp_path: Path) -> None:
    """The message says which column the rows need, and keeps a column that nothing else takes."""
    path = tmp_path / "users.csv"
    path.write_text(f"{header}\n")
    assert said in call("import", path, "--mode", mode, "--dry-run").stderr


@pytest.mark.slow
def test_each_option_in_a_text_is_an_option() -> None:
    """An option that any text of the package names is an option of a command."""
    known = options_of(get_command(app))
    root = Path(sunshine_async.__file__).parent
    texts = {
        (path.name, text.value)
        for path in root.rglob("*.py")
        for text in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(text, ast.Constant) and isinstance(text.value, str)
        if text.value != STYLE  # CSS has names with two hyphens
    }
    named = {(name, option) for name, text in texts for option in MENTIONED.findall(text)}
    assert len(named) > 50
    assert {
        each for each in named if f"--{each[1]}" not in known | {f"--{o}" for o in OTHERS}
    } == set()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--rate", "0", "'0' is no number of calls a second: give a number above 0"),
        ("--rate", "fast", "'fast' is no number of calls a second"),
        ("--rate", "nan", "give a number above 0"),
        ("--rate", "inf", "give a number above 0"),
        ("--max-failures", "-1", "'-1' is no number of rows: give a whole number of 0 or more"),
        ("--max-failures", "1.5", "give a whole number of 0 or more"),
        ("--grace", "soon", "'soon' is no number of seconds: give a number of 0 or more"),
        ("--max-outage", "-1", "'-1' is no number of seconds"),
        ("--concurrency", "0", "give a number from 1 to 10000, or auto"),
        ("--mode", "make", "'make' is unknown: give create, update, upsert, delete or message"),
        ("--format", "xlsx", "'xlsx' is unknown: give jsonl or csv"),
        ("--empty", "no", "'no' is unknown: give leave or null"),
        ("--duplicates", "some", "'some' is unknown: give last, first, all or fail"),
        ("--service", "dixie", "Services are: sunshine, smooch, dixa"),
        ("--delimiter", ";;", "give one character"),
        ("--encoding", "klingon", "Usual ones: utf-8, utf-16, cp1252, latin-1"),
        ("--timezone", "Mars", "such as Europe/Berlin or UTC"),
        ("--date-format", "day", "with day (%d), month (%m) and year (%Y)"),
        ("--map", "x", "it is FIELD=COLUMN"),
        ("--skip", "x", "has no column 'x' to skip"),
        ("--default-region", "Europe", "leave it out"),
    ],
)
def test_a_bad_value_is_explained_in_plain_words(
    option: str, value: str, said: str, tmp_path: Path
) -> None:
    """Each option with a bad value ends with status 2 and a sentence about the values to give."""
    path = tmp_path / "users.csv"
    path.write_text("externalId,signedUpAt\n")
    result = call("import", path, "--mode", "create", "--dry-run", option, value)
    text = words(result.stderr.replace("│", " "))
    assert result.exit_code == 2
    assert said in text
    assert option in text or "column" in text
    for word in ("float", "integer", "Value error", "Input should", "Pace(", "Error:", "Traceback"):
        assert word not in text


def test_a_bad_value_of_other_commands() -> None:
    """Numbers of the emulator have bounds in plain words."""
    text = words(call("emulator", "--port", "99999").stderr.replace("│", " "))
    assert "'99999' is no number of a port: give a whole number from 0 to 65535" in text


def test_a_file_that_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    """A file that has gone in the meantime is no error of its own."""
    assert digest_of(tmp_path / "gone.csv") is None


@pytest.mark.parametrize("before", [None, 0o644, 0o660, 0o666])
@pytest.mark.parametrize("kind", WRITERS)
def test_personal_data_is_for_the_owner_alone(
    kind: str, before: int | None, tmp_path: Path
) -> None:
    """A file that gets personal data is readable by the owner alone, from the first write on.

    The file may be new, or may have been there with any mode.
    """
    path = tmp_path / "file"
    usual = os.umask(0)
    try:
        if before is not None:
            path.touch()
            path.chmod(before)
        WRITERS[kind](path)
    finally:
        os.umask(usual)
    assert modes(tmp_path) == {0o600}


def test_a_file_that_is_refused_keeps_its_mode(tmp_path: Path) -> None:
    """A file of another kind isn't taken for personal data: mode and content stay."""
    path = tmp_path / "users.csv"
    path.write_text(CRM)
    path.chmod(0o644)
    for kind in ("inbox", "journal", "state"):
        with pytest.raises(SunshineError):
            WRITERS[kind](path)
    assert (path.read_text(), modes(tmp_path)) == (CRM, {0o644})


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="needs Linux")
def test_a_mode_that_cannot_be_changed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Where the system keeps the mode of a file, a warning says that others may read the file."""
    make_private(Path("/proc/self/comm"))
    assert (
        "others may read /proc/self/comm, which has personal data (Operation not permitted): name"
        in caplog.text
    )


def test_a_mode_that_cannot_be_read_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """Where the system doesn't tell the mode of a file, a warning says that others may read the file."""
    make_private(Path("x" * 300))
    assert "which has personal data (File name too long): name" in caplog.text


@pytest.mark.parametrize("path", ["/dev/null", "no/such/file"])
def test_the_mode_of_a_device_stays(path: str) -> None:
    """A device, a pipe and a missing file have no mode to change."""
    before = Path("/dev/null").stat().st_mode
    make_private(Path(path))
    assert Path("/dev/null").stat().st_mode == before
