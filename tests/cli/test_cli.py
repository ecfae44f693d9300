"""The command line: what it says, and what it exits with."""

import gzip
import importlib
import io
import json
import os
import platform
import runpy
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Never, NoReturn

import anyio
import anyio.lowlevel
import pytest
from rich.cells import cell_len
from support.arrivals import serving_arrivals
from support.commands import Call, settings
from support.forking import REAL, Command
from support.patience import PATIENCE
from support.text import words
from typer.testing import CliRunner

from sunshine_async import BasicAuth, ConfigurationError, SunshineClient, __version__, cli
from sunshine_async.cli import run_job as running
from sunshine_async.cli import services
from sunshine_async.cli.app import run
from sunshine_async.cli.options import SignalInterrupt, open_signals, termination_signals
from sunshine_async.cli.output import SHOWN, Printer
from sunshine_async.cli.services import ConnectionOptions
from sunshine_async.cli.streams import OutputError, open_streams
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import (
    SUNSHINE,
    Ending,
    Job,
    Mode,
    Problem,
    Report,
    Trouble,
    open_rows,
)
from sunshine_async.jobs.progress import Progress
from sunshine_async.jobs.report import KEPT
from sunshine_async.testing import ScriptedTransport

pytestmark = pytest.mark.costly


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator(keys=["key-id:the-secret"])


@pytest.fixture(scope="module")
def base_url(emulator: Emulator) -> Iterator[str]:
    with emulator.serve() as base_url:
        yield base_url


@pytest.fixture
def env(emulator: Emulator, base_url: str) -> dict[str, str]:
    emulator.reset()
    return settings(base_url)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text("externalId,profile.givenName\na,Zoë\nb,陽子\na,Jane\nc,x,y\n")
    return path


@contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """Let this process's standard input be *data*."""
    saved = os.dup(0)
    out, into = os.pipe()
    try:
        os.dup2(out, 0)
        os.write(into, data)
        os.close(into)
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(out)


class TestImport:
    def test_report(self, call: Call, users: Path, emulator: Emulator) -> None:
        """An import ends with each row that wasn't done, its line and why, and a table."""
        result = call("import", users, "--mode", "create", "--service", "sunshine")
        assert result.exit_code == 1
        said = words(result.stdout)
        assert "4 failed 409 conflict" in said
        assert "5 bad 3 cells, where the header has 2" in said
        for figure in ("rows │ 4", "done │ 2", "failed │ 1 (", "unknown │ 0", "bad │ 1 ("):
            assert figure in said
        assert "latency │ p50" in said
        assert result.stderr == ""
        assert {user["externalId"] for user in emulator.users("sunshine")} == {"a", "b"}

    def test_all_done(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """Where all rows are done the status is 0, in each mode."""
        path = tmp_path / "users.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"no": "a"}\n{"no": "b"}\n'))
        assert call("import", path, "--mode", "create", "--map", "externalId=no").exit_code == 0
        path.write_bytes(gzip.compress(b'{"id": "a", "metadata": {"x": 1}}\n'))
        assert call("import", path, "--mode", "update").exit_code == 0
        users = {user["externalId"]: user["metadata"] for user in emulator.users("sunshine")}
        assert users == {"a": {"x": 1}, "b": {}}
        with standard_input(b"externalId\na\nb\n"):
            assert call("import", "-", "--mode", "delete", "--yes").exit_code == 0
        assert emulator.users("sunshine") == []

    def test_json(self, call: Call, users: Path) -> None:
        """With --json stdout is one line of JSON, and stderr one for each row that wasn't done."""
        result = call("import", users, "--mode", "create", "--json")
        assert result.exit_code == 1
        [line] = result.stdout.splitlines()
        summary = json.loads(line)
        assert (summary["rows"], summary["done"], summary["failed"], summary["bad"]) == (4, 2, 1, 1)
        assert (summary["file"], summary["mode"]) == (str(users), "create")
        problems = [json.loads(line) for line in result.stderr.splitlines()]
        assert {problem["line"]: problem["outcome"] for problem in problems} == {
            4: "failed",
            5: "bad",
        }

    def test_misspelled_keys(self, call: Call, tmp_path: Path) -> None:
        """Keys of JSON that the model doesn't know are named at the end."""
        path = tmp_path / "users.jsonl"
        path.write_text('{"external_id": "a"}\n')
        result = call("import", path, "--mode", "create")
        assert "Sent, though not among the known fields: external_id (rows: 1)" in words(
            result.stdout
        )

    def test_options_of_tables(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """Delimiter, format, renames, empty cells and the rate are what was said."""
        path = tmp_path / "export.txt"
        path.write_text("no\tprofile.surname\tmetadata.n:number\na\t\t1\n")
        arguments = ("--delimiter", "tab", "--format", "csv", "--map", "externalId=no")
        result = call("import", path, "--mode", "create", *arguments, "--rate", "100")
        assert result.exit_code == 0, result.output
        result = call("import", path, "--mode", "update", *arguments, "--empty", "null")
        assert result.exit_code == 0, result.output
        [user] = emulator.users("sunshine")
        assert user["metadata"] == {"n": 1}
        assert user["profile"].get("surname") is None

    def test_given_up(self, call: Call, users: Path) -> None:
        """Refused credentials, or more failures than allowed: status 3, and one sentence why."""
        result = call("import", users, "--mode", "create", SUNSHINE_KEY_SECRET="another-secret")
        assert result.exit_code == 3
        assert "Given up: no row would fare better: 401" in words(result.stdout)
        assert "later rows were not" in words(result.stdout)
        result = call("import", users, "--mode", "create", "--max-failures", "0")
        assert result.exit_code == 3
        assert "Given up: more than 0 rows" in words(result.stdout)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nowhere.csv"], "nowhere.csv isn't there"),
            (["/"], "/ is a directory"),
            (["{users}", "--service", "dixie"], "unknown service. Services are: sunshine"),
            (["{users}", "--map", "externalId"], "it is FIELD=COLUMN, such as"),
            (["{users}", "--map", "a=x", "--map", "a=y"], "a comes from x already"),
            (["{users}", "--map", "externalId=no"], "has no column 'no' for externalId"),
            (["{users}", "--delimiter", ";;"], "give one character"),
            (["{users}", "--delimiter", ";"], "Are the cells separated otherwise?"),
            (["{users}", "--secret-file", "/nowhere"], "can't be read: No such file"),
            (["{users}", "--base-url", "http://example.org"], "http"),
        ],
    )
    def test_what_cannot_start(
        self, call: Call, users: Path, arguments: list[str], said: str
    ) -> None:
        """What can't start says why and what to do, in one sentence on stderr, with status 2."""
        arguments = [argument.replace("{users}", str(users)) for argument in arguments]
        result = call("import", *arguments, "--mode", "create")
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stderr.startswith("sunshine-async: ")
        assert result.stderr.count("\n") == 1 + ("\nThe whole command: " in result.stderr)
        assert result.stdout == ""

    @pytest.mark.parametrize(
        ("variable", "option"),
        [("APP_ID", "--app-id"), ("KEY_ID", "--key-id"), ("KEY_SECRET", "--secret-file")],
    )
    def test_what_is_missing(self, call: Call, users: Path, variable: str, option: str) -> None:
        """What is missing is named by its option and its variable."""
        result = call("import", users, "--mode", "create", **{f"SUNSHINE_{variable}": None})
        assert result.exit_code == 2
        assert option in result.stderr
        assert f"SUNSHINE_{variable}" in result.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--mode", "sync"],
            *(["--concurrency", bad] for bad in ("0", "-1", "1.5", "many", "²")),
        ],
    )
    def test_wrong_options(self, call: Call, users: Path, arguments: list[str]) -> None:
        """Options that can't be meant are refused with status 2."""
        result = call("import", users, *arguments)
        assert result.exit_code == 2
        assert "Usage" in result.stderr

    @pytest.mark.parametrize("concurrency", ["1", "auto"])
    def test_how_many_at_once(self, call: Call, tmp_path: Path, concurrency: str) -> None:
        """With auto the job finds by itself how many calls at once are enough."""
        path = tmp_path / "users.jsonl"
        path.write_text("".join(f'{{"externalId": "how-many-{n}"}}\n' for n in range(50)))
        result = call("import", path, "--mode", "upsert", "--concurrency", concurrency, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout)["done"] == 50

    def test_secret_in_a_file(self, call: Call, users: Path, tmp_path: Path) -> None:
        """The secret comes from a file, without the line's end and a byte order mark."""
        path = tmp_path / "secret"
        path.write_bytes(b"\xef\xbb\xbfthe-secret\r\n")
        result = call(
            "import", users, "--mode", "create", "--secret-file", path, SUNSHINE_KEY_SECRET=None
        )
        assert "done │ 2" in words(result.stdout)
        path.write_bytes(b"\xff")
        result = call("import", users, "--mode", "create", "--secret-file", path)
        assert "the file isn't text" in result.stderr

    @pytest.mark.parametrize("width", [40, 80])
    @pytest.mark.parametrize(
        "colour", [{"FORCE_COLOR": "1", "TERM": "xterm"}, {"NO_COLOR": "1"}, {}]
    )
    def test_widths(self, call: Call, users: Path, width: int, colour: dict[str, str]) -> None:
        """Nothing is wider than the terminal, and at most 80 columns; NO_COLOR means none."""
        result = call("import", users, "--mode", "create", COLUMNS=str(width), **colour)
        assert result.exit_code == 1
        if "FORCE_COLOR" in colour:
            assert "\x1b[" in result.stdout
        else:
            assert "\x1b[" not in result.output
            assert max(map(cell_len, result.stdout.splitlines())) <= width


class TestDryRun:
    def test_nothing_is_sent(self, call: Call, users: Path, emulator: Emulator) -> None:
        """A dry run says what would be refused and how long it takes, and needs no credentials."""
        bare = {f"SUNSHINE_{name}": None for name in ("APP_ID", "KEY_ID", "KEY_SECRET")}
        result = call("import", users, "--mode", "create", "--dry-run", "--rate", 2, **bare)
        assert result.exit_code == 1
        said = words(result.stdout)
        assert "1 bad 5 3 cells, where the header has 2" in said
        for figure in ("rows │ 4", "valid │ 3", "bad │ 1", "2 s at 2 requests a second"):
            assert figure in said
        assert "1 (rows with the key of an earlier one; lines 4 as 2)" in said
        assert "Nothing was sent." in said
        assert emulator.ledger()["requests"] == 0

    def test_all_valid(self, call: Call, tmp_path: Path) -> None:
        """Where all rows are valid the status is 0; without a rate the time depends."""
        path = tmp_path / "users.jsonl"
        path.write_text('{"externalId": "a", "nick": 1}\n' + '{"externalId": "a"}\n' * 9)
        result = call("import", path, "--mode", "create", "--dry-run")
        assert result.exit_code == 0
        said = words(result.stdout)
        assert "that depends on the service" in said
        assert "nick (rows: 1)" in said
        assert "lines 2 as 1, 3 as 1," in said
        assert ", ...)" in said

    def test_json(self, call: Call, users: Path) -> None:
        """With --json it is one line of JSON, and one on stderr for each bad row."""
        result = call("import", users, "--mode", "create", "--dry-run", "--json")
        data = json.loads(result.stdout)
        assert (data["dry_run"], data["valid"], data["bad"]) == (True, 3, 1)
        assert json.loads(result.stderr) == data["problems"][0]

    def test_many_bad_rows(self, call: Call, tmp_path: Path) -> None:
        """The reasons of bad rows come with totals and first lines, the most frequent first."""
        path = tmp_path / "users.jsonl"
        path.write_text("[1]\n" + "x\n" * 200)
        said = words(call("import", path, "--mode", "create", "--dry-run").stdout)
        assert said.startswith("rows outcome first lines reason 200 bad 2-21, ... not JSON: ")
        assert said.index("200 bad") < said.index("1 bad 1 not a JSON object")

    def test_many_reasons(self, call: Call, tmp_path: Path) -> None:
        """Of many reasons those of most rows are listed; reasons past the kept ones have one total."""
        path = tmp_path / "users.csv"
        cells = [f"c{number}" + ",x" * number + "\n" for number in range(2, KEPT + 5)]
        path.write_text("externalId,metadata.x\n" + "".join(cells))
        arguments = ("import", path, "--mode", "create", "--dry-run")
        assert f"... and {KEPT + 1 - SHOWN} more reasons" in call(*arguments).stdout
        reasons = json.loads(call(*arguments, "--json").stdout)["reasons"]
        assert (len(reasons), reasons[0]["rows"]) == (KEPT + 1, 3)
        assert reasons[0]["reason"] == "other reasons, too many to list"

    @pytest.mark.parametrize("arguments", [["--skip", "no"], ["--map", "x"]])
    def test_what_cannot_start(self, call: Call, users: Path, arguments: list[str]) -> None:
        """What can't be meant is refused with status 2."""
        result = call("import", users, "--mode", "create", "--dry-run", *arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("sunshine-async: ")


class TestUsers:
    def test_get(self, call: Call, users: Path) -> None:
        """One user is printed as JSON, as the service sent it."""
        call("import", users, "--mode", "create")
        result = call("users", "get", "b")
        assert result.exit_code == 0
        user = json.loads(result.stdout)
        assert (user["externalId"], user["profile"]["givenName"]) == ("b", "陽子")

    def test_delete(self, call: Call, users: Path, emulator: Emulator) -> None:
        """One user is deleted, also by brand."""
        call("import", users, "--mode", "create")
        result = call("users", "delete", "--yes", "b")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Deleted.\n")
        assert [user["externalId"] for user in emulator.users("sunshine")] == ["a"]

    @pytest.mark.parametrize("verb", ["get", "delete"])
    def test_what_fails(self, call: Call, verb: str) -> None:
        """Status 1 where the service says no, 2 where nothing was asked of it; one sentence each."""
        yes = ["--yes"] if verb == "delete" else []
        missing = call("users", verb, "nobody", *yes)
        assert (missing.exit_code, missing.stderr[:20]) == (1, "sunshine-async: 404 ")
        for result in (call("users", verb, ".."), call("users", verb, "a", "--service", "dixie")):
            assert result.exit_code == 2
            assert result.stderr.startswith("sunshine-async: ")


class TestEmulator:
    def test_refusals(
        self, call: Call, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A port that is taken, and a missing extra: status 2, a sentence, and no file."""
        port, state = base_url.rpartition(":")[2], tmp_path / "state"
        result = call("emulator", "--port", port, "--state", state)
        assert result.exit_code == 2
        assert result.stderr.startswith("sunshine-async: ")
        assert not state.exists()
        assert "Is a directory" in call("emulator", "--port", "0", "--state", tmp_path).stderr
        monkeypatch.setitem(sys.modules, "sunshine_async.emulator", None)
        assert call("emulator").exit_code == 2


class TestSecrets:
    def test_secret_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who is at a terminal is asked for a secret that is nowhere else."""
        monkeypatch.delenv("SUNSHINE_KEY_SECRET", raising=False)
        connection = ConnectionOptions(may_ask=True)
        with CliRunner().isolation(input="typed\n"):
            found = services.find_secret(connection, "SUNSHINE_KEY_SECRET", what="key's secret")
        assert found == "typed"
        assert not services.can_prompt()

    def test_no_option_holds_it(self, call: Call) -> None:
        """No option takes the secret: processes are seen by others."""
        assert "--secret " not in call("import", "--help", COLUMNS="200").stdout


class TestPrinter:
    def test_a_long_word_stays_whole(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A path that is longer than a line is printed whole, and can be copied."""
        path = "/home/" + "x" * 100
        Printer().print_result(f"The bot is here:\n\n  {path}\n", "word " * 20)
        assert capsys.readouterr().out.splitlines()[2:4] == [f"  {path}", ""]

    def test_many_problems(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Rows with the same reason stand together, and what isn't listed is counted."""
        report = Report(ending=Ending.STOPPED, last_line=99)
        for line in (9, 3, 4, 5, *range(20, 20 + SHOWN)):
            report.add(Problem(line, Trouble.FAILED, "409", "there already"))
        Printer().print_report(report, file="users.csv")
        said = words(capsys.readouterr().out)
        assert "3-5, 9, 20-65 failed there already" in said
        assert "... and 4 more: with --json each one is on stderr" in said
        assert "Rows up to line 99 were processed" in said

    def test_no_line_is_the_last(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An import whose parts gave up names no line up to which rows were processed."""
        Printer().print_report(Report(ending=Ending.GAVE_UP, done=9), file="users.csv")
        assert "up to line" not in words(capsys.readouterr().out)

    def test_the_pace_is_reported(self, capsys: pytest.CaptureFixture[str]) -> None:
        """At the end it says for how long the service had it wait, and how fast it let it go."""
        report = Report(done=1, paused=31.0, limit=187.26, found=198.6)
        Printer().print_report(report, file="users.csv")
        said = words(capsys.readouterr().out)
        assert "limit │ about 199 calls a second; --rate 199 starts with it" in said
        assert "paused │ 31 s, as the service asked" in said
        assert "pace │ at most 187.3 calls a second at the end" in said

    def test_readers_that_have_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody reading any more is no error: not at once, and not at the end."""
        for write in (
            lambda: Printer(as_json=True).print_report(Report(), file="x"),
            lambda: Printer().print_report(Report(), file="x"),
        ):
            out, into = os.pipe()
            os.close(out)
            with os.fdopen(into, "w") as stdout, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", stdout)
                write()

    def test_full_disks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A result that can't be written is an error."""
        with Path("/dev/full").open("w", encoding="utf-8") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            with pytest.raises(OutputError, match="can't be written: No space left on device"):
                Printer().print_report(Report(), file="x")

    def test_bars_that_nobody_sees(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bar on a terminal that has gone is no error."""
        out, into = os.pipe()
        os.close(out)
        monkeypatch.setenv("FORCE_COLOR", "1")
        with os.fdopen(into, "w") as stderr, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stderr)
            with Printer().show_progress("users.csv") as display:
                display.update(Progress())

    def test_streams_that_are_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that was started without stdout and stderr gets some."""
        monkeypatch.setattr(sys, "stdout", None)
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii"))
        open_streams()
        sys.stdout.write("x")
        sys.stdout.close()
        sys.stderr.write("é")


class Signals:
    """Signals from a script: each when the job is at a point."""

    def __init__(self, *numbers: Any) -> None:
        self.numbers = numbers

    @contextmanager
    def __call__(self, *_: signal.Signals) -> Iterator["Signals"]:
        yield self

    async def __aiter__(self) -> AsyncIterator[signal.Signals]:
        for number in self.numbers:
            await anyio.lowlevel.checkpoint()
            yield number


def unsupported(*_: signal.Signals) -> NoReturn:
    raise NotImplementedError


async def run_job(
    tmp_path: Path, signals: Any, *, leave: Any = os._exit, answers: Any = 3
) -> running.JobResult:
    path = tmp_path / "users.jsonl"
    path.write_text('{"externalId": "a"}\n' * answers)
    transport = ScriptedTransport([(201, {"user": {"id": "1"}})] * answers)

    async def sleep(_: Any) -> None:
        await anyio.lowlevel.checkpoint()

    client = SunshineClient("app", auth=BasicAuth("key-id", "the-secret"), transport=transport)
    async with client:
        job = Job(client, SUNSHINE, Mode.CREATE)
        with open_rows(path, job.shape) as rows:
            return await running.run_job(
                job, rows, Printer(), signals=signals, leave=leave, sleep=sleep
            )


@pytest.fixture
def handlers() -> Iterator[dict[int, Any]]:
    """Give the handlers of the signals that end a command, and put them back."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield dict.fromkeys(numbers, signal.SIG_DFL)
    for number, handler in before.items():
        signal.signal(number, handler)


class TestRunning:
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
    async def test_first_signal_stops_in_order(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, status: int
    ) -> None:
        """A signal ends the job in order, says so, and is in the status."""
        result = await run_job(tmp_path, Signals(number), answers=3000)
        assert result.status == status
        assert result.report.ending is Ending.STOPPED
        assert "Stopping: no more rows are taken." in capsys.readouterr().err

    async def test_second_signal_stops_at_once(self, tmp_path: Path) -> None:
        """A second signal leaves at once, with the same status."""
        left = []
        await run_job(
            tmp_path, Signals(signal.SIGINT, signal.SIGINT), leave=left.append, answers=3000
        )
        assert left == [130]

    async def test_hangups_after_a_signal(self, handlers: dict[int, Any]) -> None:
        """A terminal that closes sends SIGHUP several times: only the first counts, to the end."""
        with open_signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert await anext(received) == signal.SIGHUP
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            assert await anext(received) == signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is handlers[signal.SIGTERM]

    def test_signals_that_end_a_command(
        self, handlers: dict[int, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SIGHUP is none of these if ignored, as under nohup, and on Windows, which has none."""
        assert termination_signals() == [*handlers] == [signal.SIGTERM, signal.SIGHUP]
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert termination_signals() == [signal.SIGTERM]
        monkeypatch.delattr(signal, "SIGHUP")
        assert termination_signals() == [signal.SIGTERM]

    async def test_where_there_are_no_signals(self, tmp_path: Path) -> None:
        """Where the system has no signals to wait for, the job runs all the same."""
        result = await run_job(tmp_path, unsupported)
        assert (result.status, result.report.done) == (0, 3)


class TestEntry:
    @pytest.mark.parametrize("name", ["typer", "rich"])
    def test_missing_extra(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        """Without the extra the command says how to get it; status 2."""
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        assert "pip install 'sunshine-async[cli]'" in capsys.readouterr().err

    def test_interrupted_while_it_loads(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An interrupt while the command line is imported is status 130, with no traceback."""

        class Interrupting(MetaPathFinder):
            def find_spec(self, name: str, *_: Any) -> None:
                if name == "sunshine_async.cli.app":
                    raise KeyboardInterrupt

        monkeypatch.delitem(sys.modules, "sunshine_async.cli.app")
        monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
        with pytest.raises(SystemExit, match="130"):
            cli.main()
        assert capsys.readouterr().err == "sunshine-async: interrupted\n"

    def test_version(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """``--version`` names the versions that a report of a defect needs."""
        monkeypatch.setattr(sys, "argv", ["sunshine-async", "--version"])
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        expected = f"sunshine-async {__version__}, Python {platform.python_version()}\n"
        assert capsys.readouterr().out == expected

    def test_main(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The command runs what the process was started with."""
        monkeypatch.setattr(
            sys, "argv", ["sunshine-async", "import", "nowhere.csv", "--mode=create"]
        )
        with pytest.raises(SystemExit, match="2"):
            cli.main()
        assert "nowhere.csv isn't there" in capsys.readouterr().err

    def test_module(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """``python -m sunshine_async`` is the same, and importing its module runs nothing."""
        importlib.import_module("sunshine_async.__main__")
        monkeypatch.delitem(sys.modules, "sunshine_async.__main__")
        monkeypatch.setattr(sys, "argv", ["sunshine-async", "--help"])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_module("sunshine_async", run_name="__main__")
        assert "import" in capsys.readouterr().out

    def test_interrupted_before_it_began(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An interrupt outside of a job is status 130, with no traceback."""

        def interrupt(_: Any) -> Never:
            raise KeyboardInterrupt

        monkeypatch.setattr(sys, "argv", ["sunshine-async", "users", "get", "a"])
        monkeypatch.setattr("sunshine_async.cli.users.find_service", interrupt)
        with pytest.raises(SystemExit, match="130"):
            run()
        assert capsys.readouterr().err == "sunshine-async: interrupted\n"

    @pytest.mark.parametrize(
        ("error", "status"), [(KeyboardInterrupt(), "130"), (SignalInterrupt(15), "143")]
    )
    def test_interrupted_while_it_starts(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException,
        status: str,
    ) -> None:  # fmt: skip
        """An interrupt while modules are imported, or commands are made, shows no traceback either."""

        def interrupt(_: Any) -> Never:
            raise error

        monkeypatch.setattr("typer.main.get_command", interrupt)
        with pytest.raises(SystemExit, match=status):
            cli.main()
        assert capsys.readouterr().err == "sunshine-async: interrupted\n"

    def test_configuration_errors_of_the_library_are_sentences(
        self, call: Call, users: Path
    ) -> None:
        """What the client refuses is said as it says it."""
        result = call("import", users, "--mode", "create", "--app-id", "..")
        assert result.exit_code == 2
        assert "app_id" in result.stderr
        assert issubclass(ConfigurationError, ValueError)


def start(
    command: Command, env: dict[str, str], *arguments: object, **options: Any
) -> "subprocess.Popen[str]":
    root = str(Path(cli.__file__).parents[2])
    return subprocess.Popen(  # noqa: S603 - our own
        [*command, *map(str, arguments)],
        env={**os.environ, **env, "PYTHONPATH": root},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


class TestProcess:
    def test_interrupts(self, env: dict[str, str], tmp_path: Path, forked: Command) -> None:
        """SIGINT, SIGTERM and SIGHUP end an import in order: the report, then 130, 143 or 129."""
        path = tmp_path / "users.jsonl"
        path.write_text("{}\n" * 200_000)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            arguments = ("import", path, "--mode", "create", "--json")
            with (
                serving_arrivals() as (emulator, env["SUNSHINE_BASE_URL"], arrivals),
                start(forked, env, *arguments, stdout=subprocess.PIPE) as process,
            ):
                arrivals.wait(1)
                process.send_signal(number)
                out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 128 + number, err
            summary = json.loads(out)
            assert summary["ending"] == "stopped"
            assert summary["rows"] == summary["done"] == len(emulator.users("sunshine"))
            assert "Traceback" not in err

    @pytest.mark.slow
    def test_nohup(self, env: dict[str, str], tmp_path: Path) -> None:
        """Under nohup SIGHUP changes nothing: the signal after it stops the import."""
        path = tmp_path / "users.jsonl"
        path.write_text("{}\n" * 200_000)
        arguments = ("import", path, "--mode", "create", "--json")
        with (
            serving_arrivals() as (_, env["SUNSHINE_BASE_URL"], arrivals),
            start(("nohup", *REAL), env, *arguments, stdout=subprocess.PIPE) as process,
        ):
            arrivals.wait(1)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 143, err
        assert json.loads(out)["ending"] == "stopped"

    def test_stdout_that_is_closed(self, env: dict[str, str], users: Path, forked: Command) -> None:
        """Whoever doesn't read the result to its end changes nothing: no traceback, same status."""
        for more in ((), ("--json",)):
            out, into = os.pipe()
            os.close(out)
            arguments = ("import", users, "--mode", "create", *more)
            with start(forked, env, *arguments, stdout=into) as process:
                os.close(into)
                _, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 1
            assert "Traceback" not in err
            assert "Exception ignored" not in err
            assert "Broken" not in err

    @pytest.mark.slow
    def test_emulator(self, env: dict[str, str]) -> None:
        """The emulator says where it listens, in its first line, and ends on a signal."""
        with start(REAL, env, "emulator", "--port", "0", stdout=subprocess.PIPE) as process:
            assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == 0

    def test_library_needs_no_extra(self) -> None:
        """Importing the library and its jobs imports nothing of the extras (httpx may)."""
        script = (
            "import sys, httpx; before = set(sys.modules);"
            "import sunshine_async, sunshine_async.jobs;"
            "new = set(sys.modules) - before;"
            "print({'typer', 'rich', 'starlette', 'uvicorn', 'jwt'} & new or 'none')"
        )
        root = str(Path(cli.__file__).parents[2])
        out = subprocess.run(  # noqa: S603 - our own
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": root},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert out == "none\n"
