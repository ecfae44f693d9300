"""How commands end: one sentence for every error, a status that is true, rows that are counted."""

import io
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import typer

from sunshine_async import (
    BasicAuth,
    ConfigurationError,
    SunshineClient,
    SunshineError,
)
from sunshine_async.cli import options
from sunshine_async.cli import run_job as running
from sunshine_async.cli.app import run
from sunshine_async.cli.files import OutputTarget
from sunshine_async.cli.output import Printer
from sunshine_async.cli.report_file import ReportFile
from sunshine_async.cli.run_job import ImportPlan, JobResult, write_all
from sunshine_async.cli.services import ConnectionOptions, find_secret
from sunshine_async.cli.streams import OutputError, emit, open_streams
from sunshine_async.jobs import SUNSHINE, Ending, Mode, Report, Row, open_rows
from sunshine_async.jobs.options import JobOptions
from sunshine_async.journal import JournalError
from sunshine_async.rows import SourceError
from sunshine_async.testing import ScriptedTransport

DEFECTS = (
    AttributeError, IndexError, KeyError, NotImplementedError, RecursionError, RuntimeError,
    StopIteration, TypeError, ZeroDivisionError, Exception,
)  # fmt: skip


def defect(kind: type[Exception], text: str = "jane@example.org") -> Exception:
    """Return an error as it comes out of a line of the library."""

    def write(_: str) -> None:
        raise kind(text)

    try:
        emit(SimpleNamespace(write=write), "x")
    except Exception as error:  # noqa: BLE001 - of any kind
        found = error
    return found


@pytest.mark.parametrize("status", [1, 2])
@pytest.mark.parametrize(
    ("error", "said", "ends"),
    [
        (ConfigurationError("x is missing"), "x is missing", 2),
        (ValueError("an id is text"), "an id is text", 2),
        (ExceptionGroup("", [ConfigurationError("x is missing")]), "x is missing", 2),
        (BaseExceptionGroup("", [BaseExceptionGroup("", [KeyboardInterrupt()])]), "interr", 130),
        (JournalError("run.sqlite is in use"), "run.sqlite is in use", None),
        (SunshineError("no connection"), "no connection", None),
        (OSError(28, "No space left on device", "x/y"), "No space left on device: x/y", None),
        (FileNotFoundError(2, "No such file", "x/y"), "No such file: x/y. Check the path and", None),
        (IsADirectoryError(21, "Is a directory", "x"), "directory: x. Name a file in the", None),
        (NotADirectoryError(20, "Not a directory", "x/y"), "directory: x/y. Check the path:", None),
        (PermissionError(13, "Permission denied", "x"), "denied: x. Check the permissions", None),
        (PermissionError(1, "Operation not permitted"), "reports: Operation not permitted\n", None),
        (OSError("odd"), "the operating system reports: OSError", None),
        (RuntimeError("can't start new thread"), "system has no thread left for this process", 3),
        (MemoryError(), "system has no memory left for this process: end other programs", 3),
        (OutputError("the output can't be written: x"), "the output can't be written: x", 1),
        (KeyboardInterrupt(), "interrupted", 130),
        (typer.Abort(), "interrupted", 130),
        (options.SignalInterrupt(15), "interrupted", 143),
        *((defect(kind), f"this is a defect of sunshine-async: {kind.__name__} in cli/", 3)
          for kind in DEFECTS),
        (ExceptionGroup("x", [KeyError("jane@example.org")]), "this is a defect", 3),
    ],
)  # fmt: skip
def test_every_error_is_a_sentence(
    capsys: pytest.CaptureFixture[str], status: int, error: BaseException, said: str,
    ends: int | None,
) -> None:  # fmt: skip
    """An error of any kind ends a command with one sentence and a status; a defect is never 0, 1 or 2."""
    with pytest.raises(typer.Exit) as caught, options.exit_on_error(status):
        raise error
    assert caught.value.exit_code == (status if ends is None else ends)
    text = capsys.readouterr().err
    assert text.startswith("sunshine-async: ")
    assert said in text
    assert text.count("\n") == 1
    assert "jane" not in text


def test_notes_are_said() -> None:
    """The notes of an error are a part of its sentence."""
    error = SunshineError("no connection")
    error.add_note(". Is the proxy up?")
    assert options.describe_error(error) == "no connection. Is the proxy up?"


@pytest.mark.parametrize(
    ("report", "read", "more", "missing", "status"),
    [
        (Report(done=20), 20, {}, 0, 0),
        (Report(done=2), 20, {}, 18, 1),
        (Report(done=2, waiting=18), 0, {}, 18, 1),
        (Report(done=2, failed=1, unknown=1, bad=1, left_out=1), 6, {}, 0, 1),
        (Report(done=2, ending=Ending.STOPPED), 20, {"signal": 2}, 0, 130),
        (Report(done=2, ending=Ending.GAVE_UP), 20, {}, 0, 3),
        (Report(done=2, ending=Ending.GAVE_UP), 20, {"broken": True}, 18, 3),
    ],
)
def test_rows_are_accounted_for(  # noqa: PLR0917 - pytest's
    capsys: pytest.CaptureFixture[str], report: Report, read: int, more: dict[str, Any],
    missing: int, status: int,
) -> None:  # fmt: skip
    """Where all rows were taken each has an outcome, or the report says how many have none: status 1."""
    result = JobResult(report, read=read, **more)
    assert (result.missing, result.status) == (missing, status)
    Printer().print_report(report, missing=result.missing, file="x")
    assert (f"ROWS WITHOUT AN OUTCOME: {missing}." in capsys.readouterr().err) == bool(missing)
    Printer(as_json=True).print_report(report, missing=result.missing, file="x")
    assert f'"without_outcome": {missing}' in capsys.readouterr().out


class Broken:
    """Rows of a file that break off with an error of any kind, after *many*."""

    def __init__(self, many: int, error: Exception) -> None:
        self.many, self.error = many, error
        self.name, self.size, self.consumed, self.path = "users.jsonl", None, 0, None

    def __iter__(self) -> Iterator[Row]:
        yield from (Row(line, {"externalId": f"{line}"}) for line in range(1, self.many + 1))
        raise self.error


async def carried_out(rows: Any, printer: Printer, **more: Any) -> int:
    transport = ScriptedTransport([(201, {"user": {"id": "1"}})] * 600)
    client = SunshineClient("app", auth=BasicAuth("key-id", "the-secret"), transport=transport)
    plan = ImportPlan(SUNSHINE, Mode.CREATE, JobOptions(concurrency=4), **more)
    return await running.run_import(plan, rows, client, printer)


@pytest.mark.costly
@pytest.mark.parametrize("error", [ValueError("x"), KeyError("jane"), OSError(5, "Input/output")])
async def test_an_error_after_rows_were_sent(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """An error after rows were sent is status 3 with a report and the rows without an outcome."""
    assert await carried_out(Broken(520, error), Printer()) == 3
    said = capsys.readouterr()
    assert "Given up: " in said.out
    assert "done     │ 5" in said.out
    assert "jane" not in said.out + said.err


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("jane"), OSError(5, "Input/output")])
async def test_an_error_before_rows_were_sent(error: Exception) -> None:
    """An error before anything was sent is raised as itself."""
    with pytest.raises(type(error)):
        await carried_out(Broken(0, error), Printer())


async def test_an_error_on_leaving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that can't be closed at the end takes no report away."""

    class Transport(ScriptedTransport):
        async def aclose(self) -> None:
            raise OSError(5, "Input/output error")

    path = tmp_path / "users.jsonl"
    path.write_text('{"externalId": "a"}\n')
    transport = Transport([(201, {"user": {"id": "1"}})])
    client = SunshineClient("app", auth=BasicAuth("key-id", "the-secret"), transport=transport)
    with open_rows(path, SUNSHINE.tasks[Mode.CREATE].shape) as rows:
        plan = ImportPlan(SUNSHINE, Mode.CREATE, JobOptions(concurrency=4))
        assert await running.run_import(plan, rows, client, Printer()) == 0
    said = capsys.readouterr()
    assert "done     │ 1" in said.out
    assert "closing its connections failed" in said.err


async def test_a_display_that_breaks(tmp_path: Path) -> None:
    """An error of the display ends no job."""

    class Shown(Printer):
        @contextmanager
        def show_progress(self, name: str) -> Iterator[Any]:
            yield self

        interval = 0.0
        shown = 0

        def update(self, *_: object) -> None:
            self.shown += 1
            raise RuntimeError

    path = tmp_path / "users.jsonl"
    path.write_text('{"externalId": "a"}\n' * 600)
    printer = Shown()
    with open_rows(path, SUNSHINE.tasks[Mode.CREATE].shape) as rows:
        assert await carried_out(rows, printer) == 0
    assert printer.shown == 1


class TestOutput:
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), options.SignalInterrupt(15), KeyError()]
    )
    @pytest.mark.parametrize("force", [True, False])
    def test_whole_or_not_at_all(self, tmp_path: Path, error: BaseException, force: Any) -> None:
        """A block that ends in an error leaves no file, and the old file as it was."""
        out = tmp_path / "out"
        if force:
            out.write_text("old")
        before = sorted(tmp_path.iterdir())

        def fill() -> None:
            with OutputTarget(out, force).open() as write:
                write("half of it")
                raise error

        with pytest.raises(type(error)):
            fill()
        assert sorted(tmp_path.iterdir()) == before
        assert not force or out.read_text() == "old"

    def test_a_name_that_is_taken_meanwhile(self, tmp_path: Path) -> None:
        """A file that appears while the result is written stays."""
        out = tmp_path / "out"

        def fill() -> None:
            with OutputTarget(out, force=False).open() as write:
                write("mine")
                out.write_text("of another")

        with pytest.raises(ConfigurationError, match="exists already"):
            fill()
        assert out.read_text() == "of another"

    def test_a_file_system_without_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where there are no hard links the file is renamed."""

        def refuse(*_: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        with OutputTarget(tmp_path / "out", force=False).open() as write:
            write("é")
        assert (tmp_path / "out").read_bytes() == "é".encode()

    def test_stdout_that_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process without stdout is told to name a file."""
        monkeypatch.setattr(sys, "__stdout__", None)
        with (
            pytest.raises(ConfigurationError, match="name a file, such as --out rows"),
            OutputTarget(None, force=False).open(),
        ):
            pass

    def test_a_reader_that_leaves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A result that nobody reads any more ends the command, with status 0."""
        out, into = os.pipe()
        os.close(out)
        with os.fdopen(into, "w") as stdout, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            with (
                pytest.raises(typer.Exit) as caught,
                OutputTarget(None, force=False).open() as write,
            ):
                write("x")
        assert caught.value.exit_code == 0


ROWS, SECRET, PACE, REPORT = (
    f"is the file of the {use}" for use in ["rows", "secret", "pace", "report"]
)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"journal": "users.jsonl"}, ROWS),
        ({"journal": "link"}, ROWS),
        ({"pace": "file:users.jsonl"}, ROWS),
        ({"secret_file": "link"}, ROWS),
        ({"report": "x", "journal": "x"}, REPORT),
        ({"report": "x-wal", "journal": "x"}, "keeps a part in the file of the report"),
        ({"pace": "file://x", "report": "x"}, PACE),
        ({"pace": "file:x-lock", "journal": "x"}, "keeps a part in the file of the pace"),
        ({"secret_file": "x", "pace": "file:X"}, SECRET),
        ({"secret_file": "secret", "pace": "file:pace", "report": "x", "journal": "y"}, None),
        ({"pace": "redis://host", "report": "x", "journal": "y"}, None),
        ({"report": os.devnull, "pace": f"file:{os.devnull}"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_no_file_has_two_uses(
    names: dict[str, str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of an import, by any name, is never overwritten for another use."""
    monkeypatch.chdir(tmp_path)
    Path("users.jsonl").touch()
    Path("link").symlink_to("users.jsonl")
    paths = {name: Path(names[name]) for name in ("report", "secret_file") if name in names}
    page = ReportFile(paths["report"]) if "report" in paths else None
    plan = ImportPlan(SUNSHINE, Mode.CREATE, journal=names.get("journal"), report=page)
    connection = ConnectionOptions(secret_file=paths.get("secret_file"), pace=names.get("pace"))

    for file in ("users.jsonl", "-"):
        expected = None if file == "-" and says == ROWS else says
        with (
            pytest.raises(ConfigurationError, match=f"{expected}: name another file")
            if expected
            else nullcontext()
        ):
            plan.check_files(file, connection)
    if says == SECRET:
        with pytest.raises(ConfigurationError, match=SECRET):
            find_secret(connection, "X_SECRET", what="secret")


def test_text_in_narrow_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON of characters that stdout lacks is JSON all the same."""
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    Printer(as_json=True).print_report(Report(reason="陽子"), file="x")
    assert b"\\u967d\\u5b50" in stdout.buffer.getvalue()  # type: ignore[attr-defined]


def test_a_report_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that a full disk refuses leaves no status 0."""

    async def scenario() -> int:
        return await carried_out(Few(), Printer())

    with Path("/dev/full").open("w", encoding="utf-8") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert anyio.run(scenario) == 1


@pytest.mark.parametrize("fails", [0, 1])
def test_writes_after_one_that_fails(fails: int) -> None:
    """A terminal that is gone takes no report, and the page of the report is written all the same."""
    written = list[int]()

    def write(number: int) -> None:
        written.append(number)
        if number == fails:
            raise OutputError

    assert write_all(partial(write, 0), partial(write, 1)) == 1
    assert written == [0, 1]


class Few(Broken):
    """Rows of a file, all of them good."""

    def __init__(self) -> None:
        super().__init__(3, KeyError())

    def __iter__(self) -> Iterator[Row]:
        with suppress(KeyError):
            yield from super().__iter__()


def test_help_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last words of a command on a full disk leave no status 0."""
    monkeypatch.setattr(sys, "argv", ["sunshine-async", "users", "get", "--help"])
    with Path("/dev/full").open("w", encoding="utf-8") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as caught:
            run()
    assert caught.value.code == 1
    assert "the output can't be written: No space left on device" in capsys.readouterr().err


def test_rows_that_are_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that reads from a terminal says so."""
    saved = os.dup(0)
    outer, inner = pty.openpty()
    try:
        os.dup2(inner, 0)
        os.write(outer, b'{"externalId": "a"}\n\x04\x04')
        monkeypatch.setattr(sys, "argv", ["x", "import", "-", "--mode", "upsert", "--dry-run"])
        with os.fdopen(inner) as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            with pytest.raises(SystemExit) as caught:
                run()
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(outer)
    assert caught.value.code == 0
    assert "Ctrl-D" in capsys.readouterr().err


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows from a standard input that the process was started without are refused."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match=r"it is closed. Pipe the rows into it"):
        open_rows("-", SUNSHINE.tasks[Mode.CREATE].shape)


def test_numbers_of_closed_streams_are_taken() -> None:
    """No file gets the number of a stream that the process was started without."""
    saved = os.dup(0)
    try:
        os.close(0)
        open_streams()
        assert os.path.samestat(os.fstat(0), Path(os.devnull).stat())
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_devices_are_written_to(tmp_path: Path) -> None:
    """A device is written to as it is; one that is full is an error."""
    with OutputTarget(Path(os.devnull), force=False).open() as write:
        write("x")
    assert Path(os.devnull).is_char_device()

    def fill() -> None:
        with OutputTarget(Path("/dev/full"), force=False).open() as write:
            write("x")

    with pytest.raises(OutputError, match="/dev/full can't be written: No space left on device"):
        fill()


def test_a_signal_is_an_error() -> None:
    """SIGTERM outside of a job is an error with the signal's number."""
    with pytest.raises(options.SignalInterrupt) as caught:
        options.SignalInterrupt.handle(15, None)
    assert caught.value.number == 15


async def test_rows_of_a_journal_are_counted_by_the_journal(tmp_path: Path) -> None:
    """Equal rows of a source that is read once are one row of the journal: none is missing."""
    transport = ScriptedTransport([(201, {"user": {"id": "1"}})] * 9)
    client = SunshineClient("app", auth=BasicAuth("key-id", "the-secret"), transport=transport)
    stdin = io.BytesIO(b'{"externalId": "a"}\n' * 3)
    with open_rows("-", SUNSHINE.tasks[Mode.CREATE].shape, stdin=stdin) as rows:
        plan = ImportPlan(
            SUNSHINE, Mode.CREATE, JobOptions(concurrency=4), str(tmp_path / "run.sqlite")
        )
        assert await running.run_import(plan, rows, client, Printer()) == 0
