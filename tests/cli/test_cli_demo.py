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
from typer.testing import CliRunner

from sunshine_async import ConfigurationError
from sunshine_async.cli import demo
from sunshine_async.cli.app import app
from sunshine_async.cli.demo_data import COLUMNS, make_updates, make_users
from sunshine_async.cli.output import Printer, ProgressDisplay
from sunshine_async.cli.run_job import JobResult
from sunshine_async.jobs import Report, open_rows
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


def test_updates_are_a_tenth() -> None:
    """A tenth of the people is changed."""
    assert make_updates(make_users(305).keys).count(b"\n") == 30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_starts: None) -> Path:
    """Let temporary files be made where they can be looked for."""
    monkeypatch.setattr(demo, "_EMULATOR", (sys.executable, *demo._EMULATOR[1:]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = str(Path(demo.__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    return tmp_path


def test_demo(folder: Path) -> None:
    """The demonstration ends with status 0, what happened, and where to go next."""
    result = CliRunner().invoke(app, ["demo", "--users", "60"], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    for words in (
        "A file of 60 made-up users (duplicate rows: 1, bad rows: 5)",
        "409 conflict",
        "done │ 54",
        "Sunshine: 54 created, 0 unknown; emulator: 54, none twice",
        "sunshine-async import users.csv --mode create --base-url",
    ):
        assert words in said
    assert "NOT" not in said
    assert list(folder.iterdir()) == []


class Interrupted(Printer):
    """Sends this process a signal: while a job runs, or between two."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.seen = []

    def print_report(self, report: Any, **about: Any) -> None:
        super().print_report(report, **about)
        self._reach(f"after {about['service']} {about['mode']}")

    def show_progress(self, name: str) -> Any:
        printer = self

        class Watched(ProgressDisplay):
            interval = 0.001

            def update(self, report: Any, total: int | None, pace: Any) -> None:
                printer._reach(f"during {name.rpartition('/')[2]}")

        return nullcontext(Watched(self, None, 0))

    def _reach(self, point: Any) -> None:
        if point == self.at and point not in self.seen:
            self.seen.append(point)
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "at",
    ["during users.csv", "during changes.jsonl", "during end-users.jsonl", "after dixa create"],
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
    """What the reports say is right only if the emulator's ledger bears it out."""
    made_up_users = make_users(20)
    report = Report(done=10, unknown=1, failed=4, bad=5)
    ledger = {"users": users, "effects": {"create": created, "update": 3}}
    checks = demo._check_sunshine(
        ledger, made_up_users, JobResult(report), JobResult(Report(done=3))
    )
    assert all(passed for passed, _ in checks) == right
