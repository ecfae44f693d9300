"""The command line as users start it: odd streams, terminals, files and rows, in an empty home."""

import gzip
import json
import os
import pty
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from rich.cells import cell_len
from support.arrivals import serving_arrivals
from support.forking import REAL, Command
from support.patience import PATIENCE
from support.size import sized
from support.text import words
from typer.testing import CliRunner, Result

from sunshine_async import cli
from sunshine_async.cli.app import app
from sunshine_async.cli.report_file import line_of
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.journal import Journal

pytestmark = pytest.mark.costly

TYPED = ("import", "-", "--mode", "upsert")
Shell: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]
Call: TypeAlias = Callable[[str], Result]
ROWS = "externalId,profile.givenName\na,Zoë\nb,陽子\nc,x,y\n"


@pytest.fixture
def env(emulator: Emulator, emulator_url: str, forked: Command) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
        "SUNSHINE_APP_ID": "app",
        "SUNSHINE_KEY_ID": "key-id",
        "SUNSHINE_KEY_SECRET": "the-secret-value",
        "SUNSHINE_BASE_URL": emulator_url,
        "SA": "\n".join(forked),
        "REAL": "\n".join(sized(REAL, forked)),
    }


@pytest.fixture
def shell(env: dict[str, str], tmp_path: Path) -> Shell:
    """Run a line of bash in an empty folder, where ``$SA`` is the command, quick to start.

    The words of the command are lines: a folder's name may have spaces.

    ``$REAL`` is the command in a process of its own; ``$SA`` is too where the interpreter reads the
    environment at its start. In a small run only a language is read so.
    """

    def run(line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        own = sized(more.keys(), {"LANG"})
        result = subprocess.run(  # noqa: S603 - our own
            ["/bin/bash", "-c", f"IFS=$'\\n'; {line}"], cwd=tmp_path, check=False,
            env={**env, **more, "SA": env["REAL" if own & more.keys() else "SA"]},
            capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE,
        )  # fmt: skip
        said = result.stdout + result.stderr
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        assert "the-secret-value" not in said
        return result

    return run


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.csv"
    path.write_text(ROWS)
    return path


@pytest.fixture
def call(env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in this process, where its streams don't matter: a process takes a second."""
    monkeypatch.chdir(tmp_path)
    return lambda line: CliRunner().invoke(app, line.split(), env=env)


@pytest.fixture
def journal(call: Call, users: Path, tmp_path: Path) -> Path:
    """Return the journal of an update that found no user."""
    assert call("import users.csv --mode update --journal run.sqlite").exit_code == 1
    return tmp_path / "run.sqlite"


def start(env: dict[str, str], *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start the command, to be fed and ended by a test."""
    return subprocess.Popen(  # noqa: S603 - our own
        [*env["SA"].split("\n"), *arguments], env=env, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


class TestStreams:
    @pytest.mark.parametrize(
        "streams",
        ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", "| true"],
    )
    def test_an_import(self, shell: Shell, users: Path, emulator: Emulator, streams: str) -> None:
        """Closed, full and broken streams change neither the rows nor the journal nor the status."""
        line = (
            f"set -o pipefail; $REAL import users.csv --mode upsert --journal run.sqlite {streams}"
        )
        assert shell(line).returncode == 1
        assert {user["externalId"] for user in emulator.users("sunshine")} == {"a", "b"}
        shown = json.loads(shell("$SA job show run.sqlite --json").stdout)
        assert (shown["done"], shown["bad"], shown["state"]) == (2, 1, "finished")

    @pytest.mark.parametrize("command", ["job failures", "job export", "job show"])
    def test_a_result_that_cannot_be_written(
        self, shell: Shell, journal: Path, command: str
    ) -> None:
        """A result that a full disk refuses is a sentence and status 1; a reader may leave."""
        full = shell(f"$SA {command} run.sqlite > /dev/full")
        assert full.returncode == 1
        assert full.stderr.startswith(
            "sunshine-async: the output can't be written: No space left on device\n"
        )
        left = shell(f"set -o pipefail; $SA {command} run.sqlite | true")
        assert (left.returncode, left.stderr) == (0, "")

    def test_an_import_whose_report_cannot_be_written(self, shell: Shell, users: Path) -> None:
        """Rows that are all done, in a report that can't be written, are status 1."""
        users.write_text("externalId\na\n")
        for more in ("", "--json"):
            result = shell(f"$SA import users.csv --mode upsert {more} > /dev/full")
            assert result.returncode == 1
            assert result.stderr.count("the output can't be written") == 1

    def test_help_that_cannot_be_written(self, shell: Shell) -> None:
        """Help on a full disk is status 1, too."""
        assert shell("$SA import --help > /dev/full").returncode == 1

    @pytest.mark.parametrize("command", ["job failures", "job export"])
    def test_a_result_without_stdout(self, shell: Shell, journal: Path, command: str) -> None:
        """A result of a process without stdout is refused with the next step."""
        result = shell(f"$SA {command} run.sqlite >&-")
        assert result.returncode == 2
        assert (
            result.stderr
            == "sunshine-async: stdout is closed: name a file, such as --out rows.csv\n"
        )

    def test_rows_from_a_closed_stream(self, shell: Shell) -> None:
        """Rows from a standard input that is closed are refused with the next step."""
        result = shell("$SA import - --mode upsert <&-")
        assert result.returncode == 2
        assert "standard input can't be read: it is closed. Pipe the rows" in result.stderr

    @pytest.mark.parametrize("command", ["users get nobody", "users delete --yes nobody"])
    def test_one_user(self, shell: Shell, command: str) -> None:
        """A call for one user needs no standard input."""
        result = shell(f"$SA {command} <&-")
        assert result.returncode == 1
        assert "404 user_not_found" in result.stderr

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
    def test_encodings(
        self, shell: Shell, journal: Path, emulator: Emulator, tmp_path: Path, encoding: str
    ) -> None:
        """Rows that failed come back whole through a stdout of any encoding, and JSON is JSON."""
        result = shell("$SA job failures run.sqlite > failed.jsonl", PYTHONIOENCODING=encoding)
        assert result.returncode == 0
        assert shell("$SA import failed.jsonl --mode upsert").returncode == 1
        names = [user["profile"]["givenName"] for user in emulator.users("sunshine")]
        assert names == ["Zoë", "陽子"]
        shell("$SA users get b > user.json", PYTHONIOENCODING=encoding)
        text = (tmp_path / "user.json").read_text(encoding)
        assert json.loads(text)["profile"]["givenName"] == "陽子"

    def test_a_terminal_as_the_file(
        self, env: dict[str, str], tmp_path: Path, emulator: Emulator
    ) -> None:
        """Rows may be typed: the command says so, and how to end them."""
        outer, inner = pty.openpty()
        with start(env, *TYPED, cwd=tmp_path, stdin=inner, stdout=subprocess.PIPE) as process:
            os.close(inner)
            assert "Ctrl-D" in process.stderr.readline()
            os.write(outer, b'{"externalId": "typed"}\n\x04\x04')
            out, err = process.communicate(timeout=PATIENCE)
            os.close(outer)
        assert process.returncode == 0, out + err
        assert [user["externalId"] for user in emulator.users("sunshine")] == ["typed"]

    @pytest.mark.parametrize(
        "settings",
        [
            {"COLUMNS": "20"},
            {"COLUMNS": "1"},
            {"COLUMNS": "0"},
            {"COLUMNS": "many"},
            {"COLUMNS": "40", "TERM": "dumb"},
            {"COLUMNS": "40", "NO_COLOR": "1"},
            {"LANG": "C", "LC_ALL": "C"},
            {"LANG": "de_DE.ISO-8859-1", "TZ": "nowhere"},
        ],
    )
    def test_terminals(self, shell: Shell, users: Path, settings: dict[str, str]) -> None:
        """The whole report is there at any width, without a home, and never wider than asked."""
        result = shell("$SA import users.csv --mode upsert", **settings)
        assert result.returncode == 1
        width = settings.get("COLUMNS", "80")
        width = max(20, int(width)) if width.isdigit() else 80
        assert max(map(cell_len, result.stdout.splitlines())) <= width
        said = "".join(result.stdout.split())
        assert "cells,wheretheheaderhas2" in said.replace("│", "")
        assert "done" in said

    def test_text_that_a_terminal_would_obey(self, shell: Shell, tmp_path: Path) -> None:
        """Control characters and markup in names and headers are shown, not obeyed."""
        name = "[b]\x1b[31m:smile:[*b].csv"
        (tmp_path / name).write_text("externalId\na\nb,c\n")
        result = shell(f"$SA import '{name}' --mode upsert")
        assert result.returncode == 1
        assert "[b]\\x1b[31m:smile:[*b].csv" in result.stdout
        (tmp_path / "x.csv").write_text("externalId,\x1b]0;x\x07\na,b\n")
        result = shell("$SA import x.csv --mode upsert --map externalId=no")
        assert result.returncode == 2
        assert "\\x1b]0;x\\x07" in result.stderr
        assert "\x1b" not in result.stderr

    def test_names_that_are_no_text(self, shell: Shell, users: Path, emulator: Emulator) -> None:
        """A file whose name isn't UTF-8 is read; a journal, which keeps the name, says so before."""
        name, page = "$(printf 'u\\xff.csv')", "$(printf 'r\\xff.html')"
        kept = "--mode update --journal run.sqlite"
        result = shell(f"cp users.csv {name}; $SA import {name} {kept}")
        assert (result.returncode, emulator.requests) == (2, 0)
        assert "u?.csv has a name that isn't UTF-8" in result.stderr
        assert "Rename the file" in result.stderr
        assert not Path(users.parent, "run.sqlite").exists()
        assert shell(f"$SA import {name} --mode update --report {page}").returncode == 1
        assert shell(f"$SA import {users.name} {kept} --report {page}").returncode == 1
        assert shell("$SA job failures run.sqlite --out failed.csv").stderr == ""

    def test_a_command_that_is_no_text(self) -> None:
        """A command with a path that isn't UTF-8 isn't kept: pasted, it would name another file."""
        assert line_of(["import", "a b"]) == "import 'a b'"
        assert line_of(["import", "\udcff"]) == ""

    def test_json_that_a_terminal_would_obey(self, call: Call, emulator: Emulator) -> None:
        """Controls past ASCII, and marks that turn text, are escaped in JSON, which reads the same."""
        name = "\x9b2J\x7f\u202egpj\u2066 陽子"
        emulator.add("sunshine", {"externalId": "a", "profile": {"givenName": name}}, app_id="app")
        result = call("users get a")
        assert json.loads(result.stdout)["profile"]["givenName"] == name
        assert "\\u009b2J\\u007f\\u202egpj\\u2066 陽子" in result.stdout

    def test_a_note_that_a_terminal_would_obey(self, call: Call, tmp_path: Path) -> None:
        """The name of a job's file in a note is shown, not obeyed."""
        name = "\x1b]0;x\x07\x9b.csv"
        (tmp_path / name).write_text("externalId\na\n")
        assert call(f"import {name} --mode update --journal run.sqlite").exit_code == 1
        (tmp_path / name).write_text("externalId\nb\n")
        result = call("job failures run.sqlite")
        assert "\\x1b]0;x\\x07\\x9b.csv, the file that the job read, has changed" in result.stderr
        assert "\x1b" not in result.stderr


class TestRows:
    @pytest.mark.parametrize("more", ["", "--journal run.sqlite"])
    @pytest.mark.parametrize(
        ("name", "bad"),
        [
            ("x.jsonl", b'{"externalId": "x", "n": ' + b"[" * 990 + b"9" * 25 + b"]" * 990 + b"}"),
            ("x.jsonl", b'{"externalId": "x", "externalId": "y"}'),
            ("x.jsonl", b'{"externalId": "\\ud800"}'),
            ("x.csv", b"x," + b"9" * 5000),
        ],
    )
    def test_a_hostile_row(  # noqa: PLR0917 - pytest's
        self, call: Call, tmp_path: Path, emulator: Emulator, name: str, bad: bytes, more: str
    ) -> None:
        """A hostile row is one bad row with its line; the rows behind are done."""
        first = b'{"externalId": "a"}\n' if name == "x.jsonl" else (
            b"externalId,metadata.age:number\na,1\n"
        )  # fmt: skip
        last = b'\n{"externalId": "b"}\n' if name == "x.jsonl" else b"\nb,2\n"
        (tmp_path / name).write_bytes(first + bad + last)
        result = call(f"import {name} --mode upsert --json {more}")
        assert result.exit_code == 1
        report = json.loads(result.stdout)
        assert (report["done"], report["bad"], report["without_outcome"]) == (2, 1, 0)
        assert report["problems"][0]["line"] == (2 if name == "x.jsonl" else 3)
        assert {user["externalId"] for user in emulator.users("sunshine")} == {"a", "b"}

    def test_keys_that_look_alike(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """An id with the character between the parts of a key is another user, and is shown whole."""
        ids = ["a", "a\x1fb", "a\x1e1b", "a\x1e0"]
        rows = [{"externalId": "a", "brandId": "b"}, *({"externalId": one} for one in ids[1:])]
        (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        assert call("import x.jsonl --mode create --journal run.sqlite").exit_code == 0
        assert {user["externalId"] for user in emulator.users("sunshine")} == set(ids)
        shown = call("job export run.sqlite --format jsonl").stdout.splitlines()
        assert [json.loads(line)["key"] for line in shown] == ids

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda data: data[: len(data) * 2 // 3], "cut short"),
            (lambda data: data + b"garbage", "damaged, or other data follows"),
            (lambda data: data[:-8] + b"\1\2\3\4" + data[-4:], "damaged, or other data follows"),
        ],
        ids=["cut short", "followed", "damaged"],
    )
    def test_a_broken_gzip_file(
        self, call: Call, tmp_path: Path, emulator: Emulator, spoil: Any, said: str
    ) -> None:
        """Rows sent before the reading ends are counted: status 3; with a journal none is sent: 2."""
        lines = "".join(
            f'{{"externalId": "{n}-{os.urandom(8).hex()}"}}\n' for n in range(sized(300, 160))
        )
        (tmp_path / "users.jsonl.gz").write_bytes(spoil(gzip.compress(lines.encode())))
        result = call("import users.jsonl.gz --mode upsert --json --journal run.sqlite")
        assert result.exit_code == 2
        assert said in result.stderr
        assert emulator.users("sunshine") == []
        result = call("import users.jsonl.gz --mode upsert --json")
        report = json.loads(result.stdout)
        assert result.exit_code == 3
        assert said in report["reason"]
        assert report["done"] == report["rows"] == len(emulator.users("sunshine")) > 99

    @pytest.mark.parametrize("more", [[], ["--journal", "run.sqlite"]])
    def test_a_source_that_breaks_off(
        self, env: dict[str, str], tmp_path: Path, more: list[str]
    ) -> None:
        """A read error in mid-run ends the job with the line and the reason: status 3."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            there = socket.create_connection(server.getsockname())
            here, _ = server.accept()
        command = [*TYPED, "--json", *more]
        with (
            here,
            serving_arrivals() as (_, env["SUNSHINE_BASE_URL"], arrivals),
            start(env, *command, cwd=tmp_path, stdin=there, stdout=subprocess.PIPE) as process,
        ):
            there.close()
            here.sendall(b"".join(b'{"externalId": "u%d"}\n' % n for n in range(100)))
            arrivals.wait(100)
            here.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            here.close()  # resets the connection
            out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3, err
        report = json.loads(out)
        assert (report["done"], report["rows"]) == (100, 100)
        assert (
            "standard input, after line 100: it can't be read on: Connection re" in report["reason"]
        )

    @pytest.mark.parametrize("source", [".", "/proc/self/mem", "nowhere.csv"])
    def test_a_source_that_is_none(self, call: Call, source: str) -> None:
        """A directory, a file that can't be read and a missing one are one sentence and status 2."""
        result = call(f"import {source} --mode upsert")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(f"sunshine-async: {source} ")
        assert result.stderr.count("\n") == 1


class TestCounts:
    @pytest.mark.parametrize("more", ["", "--journal run.sqlite"])
    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_lost_answers(
        self, call: Call, tmp_path: Path, emulator: Emulator, more: str, status: int
    ) -> None:
        """Keyless creates whose answers are lost are unknown: in the text, in JSON, in the status."""
        (tmp_path / "users.jsonl").write_text('{"profile": {"givenName": "x"}}\n' * 4)
        emulator.faults += [Mishap(status=status, when="after")]
        result = call(f"import users.jsonl --mode create --concurrency 1 {more}")
        assert result.exit_code == 1
        said = words(result.stdout)
        for figure in ("rows │ 4", "done │ 3", "failed │ 0", "unknown │ 1 ("):
            assert figure in said
        assert len(emulator.users("sunshine")) == 4

    @pytest.mark.parametrize("more", ["", "--journal run.sqlite"])
    def test_the_fuse_counts_bad_rows(
        self, call: Call, tmp_path: Path, emulator: Emulator, more: str
    ) -> None:
        """With --max-failures rows that can't be read count: the job gives up before the others."""
        rows = ["x"] * 2000 + [f'{{"externalId": "{n}"}}' for n in range(1000)]
        (tmp_path / "users.jsonl").write_text("\n".join(rows) + "\n")
        result = call(f"import users.jsonl --mode create --max-failures 10 --json {more}")
        assert result.exit_code == 3
        assert json.loads(result.stdout)["ending"] == "gave up"
        assert emulator.users("sunshine") == []


class TestJournalNames:
    @pytest.mark.parametrize("name", [":memory:", "", ".", "file:x?mode=memory", "users.csv"])
    def test_names_of_no_file(
        self, call: Call, users: Path, emulator: Emulator, tmp_path: Path, name: str
    ) -> None:
        """A journal that would be no file, or the file of the rows, is refused: nothing is sent."""
        users.write_text("")
        result = call(f"import users.csv --format jsonl --mode upsert --journal={name}")
        assert result.exit_code == 2
        assert result.stderr.startswith("sunshine-async: ")
        assert result.stderr.count("\n") == 1
        assert emulator.ledger()["requests"] == 0
        assert [path.name for path in tmp_path.iterdir()] == ["users.csv"]
        assert users.read_bytes() == b""


class TestOutputs:
    @pytest.mark.parametrize("command", ["failures", "export"])
    @pytest.mark.parametrize("force", ["", "--force"])
    @pytest.mark.parametrize(
        ("out", "said"),
        [
            ("run.sqlite", "is the journal"),
            ("run.sqlite-wal", "is a part of the journal"),
            ("run.sqlite-shm", "is a part of the journal"),
            ("hard.sqlite", "is the journal"),
            ("link.sqlite", "is the journal"),
            ("RUN.SQLITE", "is the journal"),
            ("users.csv", "is the file that the job read"),
            ("hard.csv", "is the file that the job read"),
            ("link.csv", "is the file that the job read"),
            ("folder/../users.csv", "is the file that the job read"),
            ("Users.CSV", "is the file that the job read"),
            ("folder", "is a directory"),
            (
                "folder/none/x",
                "can't be written: No such file or directory. Mend the cause, or name",
            ),
        ],
    )
    def test_files_that_are_never_replaced(  # noqa: PLR0917 - pytest's
        self, call: Call, journal: Path, tmp_path: Path, command: str, force: str, out: str,
        said: str,
    ) -> None:  # fmt: skip
        """The journal, its parts and the job's source stay, by any name, also with --force."""
        (tmp_path / "folder").mkdir()
        for end, target in (("csv", "users.csv"), ("sqlite", "run.sqlite")):
            os.link(tmp_path / target, tmp_path / f"hard.{end}")
            (tmp_path / f"link.{end}").symlink_to(target)
        before = journal.stat().st_ino
        result = call(f"job {command} run.sqlite --out {out} {force}")
        assert result.exit_code == 2
        assert said in result.stderr
        assert (tmp_path / "users.csv").read_text() == ROWS
        assert journal.stat().st_ino == before
        assert call("job show run.sqlite").exit_code == 0
        assert not list(tmp_path.glob(".sunshine*"))

    def test_a_source_of_another_folder(
        self, call: Call, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The source is known from another folder too, where it was named from, and by its bytes."""
        (tmp_path / "other").mkdir()
        (tmp_path / "copy.csv").write_text(ROWS)
        for out in ("../users.csv", "../copy.csv"):
            monkeypatch.chdir(tmp_path / "other")
            result = call(f"job export ../run.sqlite --out {out} --force")
            assert "is the file that the job read" in result.stderr
        assert (tmp_path / "users.csv").read_text() == ROWS

    @pytest.mark.parametrize("command", ["failures", "export"])
    def test_other_files_need_force(
        self, call: Call, journal: Path, tmp_path: Path, command: str
    ) -> None:
        """A file is replaced with --force only, through a link too, and is its owner's alone."""
        out, link = tmp_path / "out", tmp_path / "link"
        link.symlink_to("out")
        assert call(f"job {command} run.sqlite --out link").exit_code == 0
        text = out.read_text()
        assert "Z" in text or "line,key" in text
        assert out.stat().st_mode & 0o777 == 0o600
        out.write_text("mine")
        for name in ("out", "link"):
            result = call(f"job {command} run.sqlite --out {name}")
            assert result.exit_code == 2
            assert (
                "exists already: name another file, or replace the file with --force"
                in result.stderr
            )
            assert out.read_text() == "mine"
        assert call(f"job {command} run.sqlite --out link --force").exit_code == 0
        assert out.read_text() == text
        assert link.is_symlink()

    def test_a_full_disk_leaves_the_old_file(
        self, shell: Shell, tmp_path: Path, emulator: Emulator
    ) -> None:
        """A disk that fills leaves the old file as it was, and no other."""
        rows = (
            f'{{"externalId": "{n}", "metadata": {{"x": "{"y" * 99}"}}}}\n'
            for n in range(sized(2000, 500))
        )
        (tmp_path / "users.jsonl").write_text("".join(rows))
        shell("$SA import users.jsonl --mode update --journal run.sqlite --json >/dev/null 2>&1")
        (tmp_path / "out").write_text("old")
        before = sorted(path.name for path in tmp_path.iterdir())
        for name, force in (("out", "--force"), ("new", "")):
            line = f"ulimit -f 64; $SA job failures run.sqlite --out {name} {force}"
            result = shell(line)
            assert result.returncode == 1
            said = f"{name} can't be written: File too large. Mend the cause, or name another file"
            assert said in result.stderr
        assert (tmp_path / "out").read_text() == "old"
        assert sorted(path.name for path in tmp_path.iterdir()) == before

    def test_pipes_and_devices(self, shell: Shell, journal: Path) -> None:
        """A pipe or a device is written to, and stays."""
        whole = shell("$SA job export run.sqlite").stdout
        assert shell("$SA job export run.sqlite --out >(cat)").stdout == whole
        assert shell("$SA job export run.sqlite --out /dev/null").returncode == 0
        assert Path("/dev/null").is_char_device()
        full = shell("$SA job export run.sqlite --out /dev/full")
        assert full.returncode == 1
        assert "/dev/full can't be written: No space left on device" in full.stderr

    def test_a_source_that_broke_since(self, call: Call, tmp_path: Path) -> None:
        """Failed rows of a source that can't be read on come with their reasons alone."""
        source, number = tmp_path / "users.jsonl.gz", sized(400, 60)
        rows = "".join(f'{{"externalId": "{os.urandom(99).hex()}"}}\n' for _ in range(number))
        source.write_bytes(gzip.compress(rows.encode()))
        call("import users.jsonl.gz --mode update --journal run.sqlite")
        source.write_bytes(source.read_bytes()[:2000])
        result = call("job failures run.sqlite --out out")
        assert result.exit_code == 1
        found = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
        assert len(found) == number
        assert [("externalId" in row) for row in (found[0], found[-1])] == [True, False]
        assert found[-1]["_row"]["outcome"] == "failed"


class TestCopies:
    @pytest.mark.slow
    def test_a_copy_after_a_kill(self, shell: Shell, env: dict[str, str], tmp_path: Path) -> None:
        """A copy of a killed job's journal goes on where the job was: no user is made twice."""
        number, arrived = sized((3000, 300), (500, 100))
        rows = "".join(f'{{"externalId": "u{n}"}}\n' for n in range(number))
        (tmp_path / "users.jsonl").write_text(rows)
        command = [
            "import",
            "users.jsonl",
            "--mode",
            "create",
            "--concurrency",
            "8",
            "--json",
            "--journal",
        ]
        with serving_arrivals() as (emulator, env["SUNSHINE_BASE_URL"], arrivals):
            with start({**env, "SA": env["REAL"]}, *command, "run.sqlite", cwd=tmp_path) as process:
                arrivals.wait(arrived)
                process.send_signal(signal.SIGKILL)
            assert len(emulator.users("sunshine")) < number
            assert shell("$SA job copy run.sqlite copy.sqlite").returncode == 0
            assert [path.name for path in tmp_path.glob("copy*")] == ["copy.sqlite"]
            assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600
            result = shell(f"$SA {' '.join(command)} copy.sqlite")
            assert result.returncode == 0
            assert json.loads(result.stdout)["done"] == number
            assert emulator.ledger()["sunshine"]["effects"]["create"] == number

    @pytest.mark.parametrize("force", ["", "--force"])
    @pytest.mark.parametrize(
        "target", ["run.sqlite", "link.sqlite", "hard.sqlite", "RUN.sqlite", "run.sqlite-wal"]
    )
    def test_a_copy_over_the_journal(
        self, call: Call, journal: Path, tmp_path: Path, target: str, force: str
    ) -> None:
        """A copy never takes the place of the journal, nor of a part of it."""
        (tmp_path / "link.sqlite").symlink_to("run.sqlite")
        os.link(journal, tmp_path / "hard.sqlite")
        result = call(f"job copy run.sqlite {target} {force}")
        assert result.exit_code == 2
        assert "the journal itself" in result.stderr
        assert call("job show run.sqlite").exit_code == 0

    def test_targets(self, call: Call, journal: Path, tmp_path: Path) -> None:
        """A target is replaced with --force only, whole, without what was beside the old one."""
        target, wal = tmp_path / "t.sqlite", tmp_path / "t.sqlite-wal"
        wal.write_bytes(b"of another journal")
        result = call("job copy run.sqlite t.sqlite")
        assert result.exit_code == 2
        assert "t.sqlite-wal exists, a part of another journal" in result.stderr
        assert not target.exists()
        assert call("job copy run.sqlite t.sqlite --force").exit_code == 0
        assert not wal.exists()
        target.write_text("mine")
        assert "exists already" in call("job copy run.sqlite t.sqlite").stderr
        assert target.read_text() == "mine"
        assert call("job copy run.sqlite t.sqlite --force").exit_code == 0
        shown = json.loads(call("job show t.sqlite --json").stdout)
        assert shown == json.loads(call("job show run.sqlite --json").stdout)
        assert call("job copy users.csv other.sqlite").exit_code == 2
        assert not (tmp_path / "other.sqlite").exists()

    def test_a_target_in_use(self, call: Call, journal: Path, tmp_path: Path) -> None:
        """A journal that a job is using is replaced by no copy."""
        used = Journal(tmp_path / "used.sqlite")
        inode = used.path.stat().st_ino
        result = call("job copy run.sqlite used.sqlite --force")
        assert result.exit_code == 2
        assert "is in use by another process" in result.stderr
        used.close()
        assert used.path.stat().st_ino == inode


def test_terminated_while_waiting(env: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM before a job has begun is one sentence and status 143."""
    outer, inner = pty.openpty()
    with start(env, *TYPED, cwd=tmp_path, stdin=inner) as process:
        os.close(inner)
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        os.close(outer)
    assert process.returncode == 143
    assert err == "sunshine-async: interrupted\n"
