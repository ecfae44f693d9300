"""The demonstration: its users, its emulator, and what it finds."""

import csv
import io
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.size import sized
from typer.testing import CliRunner

from sunshine_async import ConfigurationError
from sunshine_async.cli import demo
from sunshine_async.cli.app import app
from sunshine_async.cli.demo_data import COLUMNS, make_users
from sunshine_async.cli.output import Printer
from sunshine_async.cli.progress import ProgressDisplay, ProgressLines
from sunshine_async.jobs import Report, open_rows
from sunshine_async.jobs.progress import Progress
from sunshine_async.rows import BadRow, Row, Shape
from sunshine_async.sunshine import UserCreateBody

pytestmark = pytest.mark.costly


def test_made_up_users_are_as_it_says(tmp_path: Path) -> None:
    """The made-up file has as many rows, bad ones and duplicates as it says, the same every time."""
    users = make_users(300)
    assert users == make_users(300)
    assert users.csv != make_users(300, seed=2).csv
    path = tmp_path / "users.csv"
    path.write_bytes(users.csv)
    with open_rows(path, Shape(UserCreateBody)) as rows:
        found = list(rows)
    assert len(found) == users.rows == 300
    keys = [row.data["externalId"] for row in found if isinstance(row, Row)]
    bad_dates = sum(
        row.data.get("signedUpAt") == "yesterday" for row in found if isinstance(row, Row)
    )
    assert sum(isinstance(row, BadRow) for row in found) + bad_dates == users.bad == 5
    assert len(keys) - bad_dates - len(set(users.keys)) == users.duplicates == 1
    assert set(keys) == {*users.keys, "bad-4"}


def test_made_up_users_are_of_the_world() -> None:
    """The made-up people have names in many scripts, and not all of them say everything."""
    text = make_users(300).csv.decode(errors="replace")
    for name in ("Zoë", "陽子", "فاطمة", "נועה", "Наталья", "प्रिया", "Ελένη", "🎸"):
        assert name in text
    rows = [
        row
        for row in csv.reader(io.StringIO(text.replace('"never', "never")))
        if len(row) == len(COLUMNS)
    ]
    assert any(not row[COLUMNS.index("profile.email")] for row in rows)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_starts: None) -> Path:
    """Let temporary files be made where they can be looked for."""
    monkeypatch.setattr(demo, "_EMULATOR", (sys.executable, *demo._EMULATOR[1:]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = str(Path(demo.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    return tmp_path


def test_demo(folder: Path) -> None:
    """Full speed, faults, a kill: the emulator's counts bear the reports out, in 80 columns."""
    users = sized(300, 60)
    result = CliRunner().invoke(app, ["demo", "--users", str(users)], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    made = users - 6
    places = [
        said.index(words)
        for words in (
            f"A file of {users} made-up users (duplicate rows: 1, bad rows: 5)",
            "1. Full speed",
            "409 conflict",
            "rows a second",
            "2. Faults",
            "of them resent",
            "3. An import with a journal",
            "sunshine-async import users.csv --mode create --journal run.sqlite Killed (kill -9)",
            f"{made} created in both runs, 5 bad, 1 left out",
            "4. The reports",
            f"full speed: {made} created, 0 unknown; emulator: {made}, none twice",
            f"with faults: {made} created, 0 unknown; emulator: {made}, none twice",
            f"killed and resumed: {made} created, 0 unknown; emulator: {made}, none twice",
            f"killed and resumed: each of the {users} rows has an outcome",
            "ok the killed import had not ended",
            "SUNSHINE_BASE_URL=http://127.0.0.1:8080 sunshine-async import users.csv --mode create",
        )
    ]
    assert places == sorted(places)
    assert said.count("not UTF-8") == 1
    assert "NOT" not in said
    assert tempfile.gettempdir() not in said
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("started", "is_on_path", "name"),
    [
        (".venv/bin/sunshine-async", False, ".venv/bin/sunshine-async"),
        ("my env/bin/sunshine-async", False, "'my env/bin/sunshine-async'"),
        (".venv/bin/sunshine-async", True, "sunshine-async"),
        ("/site-packages/sunshine_async/__main__.py", False, "sunshine-async"),
    ],
)
def test_the_next_commands_can_be_pasted(
    started: str, name: str, tmp_path: Path, *, is_on_path: bool
) -> None:
    """A program that the shell doesn't find by name is named as the user started the program."""
    if is_on_path:
        (tmp_path / "sunshine-async").touch(0o700)
    assert demo.program_name(started, str(tmp_path)) == name


class Interrupted(Printer):
    """Sends this process a signal: while a job runs, or between two."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.seen = []

    def print_report(self, report: Any, **about: Any) -> None:
        super().print_report(report, **about)
        self._reach(f"after {about['service']} {about['mode']}")

    def print_result(self, *parts: Any) -> None:
        super().print_result(*parts)
        self._reach(parts[0])

    def show_progress(self, name: str) -> Any:
        printer = self

        class Watched(ProgressDisplay):
            interval = 0.001

            def update(self, now: Progress) -> None:
                printer._reach(f"during {name.rpartition('/')[2]}")

        return nullcontext(Watched(self.print_note, ProgressLines(name), None))

    def _reach(self, point: Any) -> None:
        if point == self.at and point not in self.seen:
            self.seen.append(point)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        "during users.csv",
        "during end-users.jsonl",
        "after dixa create",
        "\n3. An import with a journal is killed, and run again:\n",
    ],
)
def test_demo_cleans_up(folder: Path, at: str) -> None:
    """Interrupted at any point, the demonstration leaves no process and no file behind."""
    printer = Interrupted(at)
    assert anyio.run(demo.run_demo, printer, 100) == 143
    assert printer.seen == [at]
    assert list(folder.iterdir()) == []


async def test_emulator_that_does_not_start() -> None:
    """An emulator that doesn't say where it listens is an error, and is gone."""
    for script in ("print('no')", "pass"):
        with pytest.raises(ConfigurationError, match="the emulator didn't start"):
            async with demo.start_emulator([sys.executable, "-c", script]):
                pass


@pytest.mark.parametrize(
    ("users", "created", "right"),
    [(10, 10, True), (11, 11, True), (9, 9, False), (12, 12, False), (10, 11, False)],
)
def test_ledger_is_compared(users: int, created: int, right: Any) -> None:
    """A report is right only if the emulator's counts bear the report out."""
    report = Report(done=10, unknown=1, failed=4, bad=5)
    part = demo._Stage("x", report, users, created)
    (created_once, _), (complete, _) = part.checks(make_users(20))
    assert (created_once, complete) == (right, True)
    assert not part.checks(make_users(21))[1][0]


async def test_an_import_that_does_not_go_on(folder: Path) -> None:
    """An import that can't go on is an error with the status."""
    parts: Any = demo._Demo(Printer(), None, make_users(20), folder, "http://127.0.0.1:1", None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="has ended with status 2"):
        await parts._resume("app")
