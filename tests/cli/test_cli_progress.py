"""The progress of a job at a terminal of any width, and in the log of a program."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from sunshine_async.cli.output import Printer
from sunshine_async.cli.progress import ProgressLines, format_duration, progress_figures
from sunshine_async.jobs.progress import Progress

STEADY = {"rows": 450_123, "total": 1_000_000, "rate": 1234.4, "not_done": 12}
GONE = "503 service_unavailable: Service Unavailable (POST /v2/apps/{app_id}/users)"
STATES = {
    "start": Progress(total=1_000_000),
    "steady": Progress(**STEADY),
    "big": Progress(
        rows=4_501_230, total=10_000_000, rate=834.4, not_done=12_345, throttled=1_203, limit=850.0
    ),
    "paused": Progress(**STEADY, paused=9.0, limit=60.0, throttled=5),
    "held": Progress(**STEADY, held=GONE),
    "reading": Progress(lines=450_000, lines_share=0.456),
    "pipe": Progress(rows=450_123, rate=0.5),
}
RECORDED = Path(__file__).parents[1] / "data" / "progress.txt"
WIDTHS = (120, 80, 40)


def draw(state: Progress, width: int, name: str = "users.csv") -> list[str]:
    """Return the lines that a terminal of *width* columns shows."""
    lines = ProgressLines(name)
    lines.now = state
    drawn = io.StringIO()
    Console(file=drawn, width=width).print(lines)
    return drawn.getvalue().splitlines()


def test_recorded() -> None:
    """Each state at each width is drawn as recorded: no figure is cut, and the bar is there."""
    drawn = [
        "\n".join(
            [f"{name}, {width} columns", *(f"|{line.rstrip()}" for line in draw(state, width))]
        )
        for width in WIDTHS
        for name, state in STATES.items()
    ]
    assert "\n".join([*drawn, ""]) == RECORDED.read_text(encoding="utf-8")


NUMBERS = st.integers(0, 10**9)
OPTIONAL = st.one_of(st.none(), st.floats(0, 1e6))


@given(
    st.builds(
        Progress,
        rows=NUMBERS, total=st.one_of(st.none(), NUMBERS), rate=st.floats(0, 1e5),
        not_done=NUMBERS, throttled=NUMBERS, limit=OPTIONAL, paused=st.floats(0, 1e5),
        held=st.sampled_from([None, "", GONE, "gone\x1b[2J\n"]),
        lines=st.one_of(st.none(), NUMBERS), lines_share=st.one_of(st.none(), st.floats(0, 1)),
    ),
    st.integers(40, 200),
)  # fmt: skip
def test_any_width(state: Progress, width: int) -> None:
    """No line is wider than the terminal, and each figure is whole but for a service's error."""
    lines = draw(state, width)
    assert max(map(cell_len, lines)) <= width
    whole = "  ".join(lines)
    for figure in progress_figures(state):
        name, colon, _ = figure.partition(": ")
        assert name + colon in whole


@pytest.mark.parametrize("width", WIDTHS)
def test_only_the_name_of_the_file(width: int) -> None:
    """A path, or a long name, leaves the bar its room."""
    [first, *_] = draw(STATES["steady"], width, f"{'long' * 30}.csv")
    assert first.count("━") >= 4
    assert ("longlonglonglonglonglon…" in first) == (width > 40)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes stderr a terminal of a width."""

    def make(width: int) -> None:
        for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", str(width)), ("TERM", "xterm")):
            monkeypatch.setenv(name, value)

    return make


@pytest.mark.parametrize("width", WIDTHS)
def test_terminal(terminal: Any, capsys: pytest.CaptureFixture[str], width: int) -> None:
    """A terminal shows the lines ten times a second, and nothing of them stays."""
    terminal(width)
    with Printer().show_progress("/some/folder/users.csv") as display:
        assert display.interval == 0.1
        display.update(STATES["paused"])
        display.close()
    said = capsys.readouterr().err
    for figure in ("45 %", "450,123 rows", "1,234/s", "7:25 left", "12 not done", "to wait 9 s"):
        assert figure in said
    assert ("users.csv" in said) == (width > 40)
    assert "folder" not in said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (Progress(), "0 rows, 0/s"),
        (Progress(total=0), "0 %, 0 rows, 0/s"),
        (Progress(rows=10, total=100, rate=10), "10 %, 10 rows, 10/s, 9 s left"),
        (Progress(rows=10, total=1000, rate=9.94), "1 %, 10 rows, 9.9/s, 1:40 left"),
        (Progress(rows=10, total=100_000, rate=10), "0 %, 10 rows, 10/s, 2:46:39 left"),
        (Progress(rows=9, total=10, rate=9, paused=7), "90 %, 9 rows, 9.0/s, 7 s left, asked to wait 7 s"),
        (Progress(rows=11, total=5, rate=11, not_done=1, throttled=1_000),
         "100 %, 11 rows, 11/s, 0 s left, 1 not done, 1,000 throttled"),
        (Progress(rows=3, held=""), "3 rows, 0/s, waiting for the service"),
        (Progress(rows=3, held="503"), "3 rows, 0/s, waiting for the service: 503"),
        (Progress(rows=3, rate=3, limit=187.3), "3 rows, 3.0/s, at most 187 calls/s"),
        (Progress(rows=3, rate=3, limit=0.5), "3 rows, 3.0/s, at most 0.5 calls/s"),
        (Progress(lines=70_000, lines_share=0.25), "25 % read, 70,000 lines"),
        (Progress(lines=70_000), "70,000 lines read"),
    ],
)  # fmt: skip
def test_notes(capsys: pytest.CaptureFixture[str], state: Progress, said: str) -> None:
    """A log gets a line every ten seconds, never broken; with --json the line is JSON."""
    with Printer().show_progress("users.csv") as display:
        assert display.interval == 10
        display.update(state)
        display.close()
    assert capsys.readouterr().err == f"{said}\n"
    with Printer(as_json=True).show_progress("users.csv") as display:
        display.update(state)
    assert json.loads(capsys.readouterr().err) == {"note": said}


def test_long_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of a log isn't broken at 80 columns."""
    with Printer().show_progress("users.csv") as display:
        display.update(STATES["held"])
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (1e-9, "0.01 s"), (0.04, "0.04 s"), (0.42, "0.4 s"), (0.949, "0.9 s"),
     (0.95, "1 s"), (59.4, "59 s"), (125, "2:05"), (3725, "1:02:05")],
)  # fmt: skip
def test_a_duration(seconds: float, text: str) -> None:
    """A short time isn't shown as no time."""
    assert format_duration(seconds) == text
