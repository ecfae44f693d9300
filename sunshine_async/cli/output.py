"""What people and programs read: text on stdout, all else on stderr, in any width."""

import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Final, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from sunshine_async import Snapshot
from sunshine_async.cli.streams import Careful, Page, emit, emit_json, plain
from sunshine_async.jobs import Ending, Problem, Report, Trouble

SHOWN: Final = 50
"""How many of the rows that weren't done are listed, those with the same reason together."""
_WIDEST: Final = 80
_NARROWEST: Final = 20
_ROOM_FOR_ALL: Final = 70
_DONE: Final[Mapping[str, str]] = {
    "created": "",
    "updated": "",
    "upserted": "created or updated: nobody can tell which",
    "unchanged": "as they were: nothing was sent",
    "deleted": "",
}
"""What rows that are done may be, in the order in which they are shown, and what that means."""
_MISSING: Final = (
    "ROWS WITHOUT AN OUTCOME: {:,}. They were read, and may have been sent or not. Look at the "
    "service before they are sent again"
)
_STYLES: Final = {Trouble.FAILED: "red", Trouble.UNKNOWN: "yellow", Trouble.BAD: "magenta"}


class Screen:
    """Where a command's words go; *as_json*: all of them as JSON, a line each."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json: Final = as_json
        # no markup, no emoji codes: text of files and services is shown as it is
        self.err: Final = Console(
            file=cast("TextIO", Careful(sys.stderr)), highlight=False, markup=False, emoji=False
        )
        self._out: Final = Console(highlight=False, markup=False, emoji=False)
        for console in (self._out, self.err):
            console.width = max(_NARROWEST, min(console.width, _WIDEST))
        self._page: Final = Page(sys.stdout.encoding)
        self._out.file = self._page

    def say(self, *parts: Table | str) -> None:
        """Give results to people."""
        for part in parts:
            self._out.print(Text(plain(part)) if isinstance(part, str) else part)
        emit(sys.stdout, self._page.take())

    def tell(self, text: str) -> None:
        """Say something that isn't a result."""
        if self.as_json:
            emit_json(sys.stderr, {"note": text})
        else:
            self.err.print(Text(plain(text)))

    def problem(self, problem: Problem) -> None:
        """Give a row that wasn't done as one line of JSON, beside the result."""
        emit_json(sys.stderr, problem.as_json())

    def report(self, report: Report, *, missing: int = 0, **about: str) -> None:
        """Show what became of a job, and what it is *about*; *missing* rows have no outcome."""
        if missing:
            self.tell(_MISSING.format(missing))
        if self.as_json:
            emit_json(sys.stdout, {**about, **report.as_json(), "without_outcome": missing})
            return
        if report.problems:
            self.say(listing(report.problems[:SHOWN]))
        more = report.troubles - SHOWN
        if more > 0:
            self.say(f"... and {more:,} more: with --json each one is on stderr\n")
        self.say(figures(", ".join(about.values()), _figures(report)), *_advice(report))

    @contextmanager
    def progress(self, name: str) -> Generator["Meter"]:
        """Show how far a job is: a bar on a terminal, else a line now and then."""
        if not self.err.is_terminal or self.as_json:
            yield Meter(self, None, TaskID(0))
            return
        wide = self.err.width >= _ROOM_FOR_ALL
        columns = [TextColumn("{task.description}", markup=False)] if wide else []
        bar = Progress(
            *columns,
            BarColumn(bar_width=None if wide else 8),
            TextColumn("{task.fields[wide]}" if wide else "{task.fields[narrow]}"),
            console=self.err,
            transient=True,
            expand=wide,
        )
        with bar:
            yield Meter(self, bar, bar.add_task(plain(name), total=None, wide="", narrow=""))


class Meter:
    """How far a job is, as shown."""

    def __init__(self, screen: Screen, bar: Progress | None, task: TaskID) -> None:
        self._screen: Final = screen
        self._bar: Final = bar
        self._task: Final = task

    @property
    def interval(self) -> float:
        """Seconds between two looks."""
        return 10.0 if self._bar is None else 0.1

    def show(self, report: Report, total: int | None, pace: Snapshot) -> None:
        """Show *report*, of *total* rows as far as can be told, and what keeps it waiting."""
        if self._bar is None:
            self._screen.tell(_now(report, total, ", ", pace))
            return
        wide = _now(report, total, " ", pace)
        narrow = _now(report, total, " ", pace, short=True)
        self._bar.update(
            self._task, completed=report.rows, total=total, wide=wide, narrow=narrow, refresh=True
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _now(
    report: Report, total: int | None, between: str, pace: Snapshot, *, short: bool = False
) -> str:
    parts = [f"{report.rows:,} rows", f"{report.rate:,.0f}/s"]
    if total is not None:
        parts.insert(0, f"{min(100, 100 * report.rows // max(total, 1))} %")
        if report.rate:
            parts.append(f"{duration(max(0, total - report.rows) / report.rate)} left")
    if pace.held:
        parts.append("waiting for the service")
    elif pace.paused:
        parts.append(f"asked to wait {duration(pace.paused)}")
    if short:
        return between.join(parts)
    if pace.rate is not None:
        parts.append(f"at most {pace.rate:,.0f} calls/s")
    parts += [
        f"{count:,} {word}"
        for count, word in ((report.troubles, "not done"), (report.throttled, "throttled"))
        if count
    ]
    return between.join(parts)


def duration(seconds: float) -> str:
    """Return *seconds* as ``5 s``, ``2:05`` or ``1:02:05``."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listing(problems: Iterable[Problem]) -> Table:
    """Return the table of *problems*, those with the same reason together."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("lines", overflow="fold", max_width=16)
    table.add_column("outcome", overflow="fold")
    table.add_column("why", overflow="fold")
    alike: dict[tuple[Trouble, str], list[int]] = {}
    for problem in sorted(problems, key=lambda problem: problem.line):
        alike.setdefault((problem.trouble, problem.reason), []).append(problem.line)
    for (trouble, reason), lines in alike.items():
        table.add_row(_ranges(lines), Text(trouble.value, _STYLES[trouble]), Text(plain(reason)))
    table.add_row()
    return table


def _ranges(numbers: list[int]) -> str:
    """Return rising *numbers* as ``3, 5-7``."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges)


def figures(title: str, shown: Mapping[str, str]) -> Table:
    """Return the table of what is *shown*, by name."""
    table = Table(
        title=Text(plain(title)), title_justify="left", title_style="bold", show_header=False
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in shown.items():
        table.add_row(name, Text(plain(value)))
    return table


def done(count: int, outcomes: Mapping[str, int]) -> Mapping[str, str]:
    """Return what is shown of the *count* of rows done: how many of each of their *outcomes*."""
    words = [word for word in {**_DONE, **outcomes} if outcomes.get(word)]
    if len(words) > 1:
        each = {word: _meant(f"{outcomes[word]:,}", _DONE.get(word, "")) for word in words}
        return {"done": f"{count:,}", **{f"  {word}": said for word, said in each.items()}}
    word = "".join(words)
    meaning = ", ".join(filter(None, (word, _DONE.get(word, ""))))
    return {"done": _meant(f"{count:,}", meaning)}


def _figures(report: Report) -> Mapping[str, str]:
    shown = {
        "rows": f"{report.rows:,}",
        **done(report.done, report.outcomes),
        "failed": _counted(report.failed, "refused, not reached, or created before"),
        "unknown": _counted(report.unknown, "may be done or not: look before sending again"),
        "bad": _counted(report.bad, "could not be read: nothing was sent"),
        "time": f"{report.seconds:,.1f} s, {report.rate:,.0f} rows a second",
        "requests": f"{report.requests:,}",
    }
    beside = (
        ("left out", report.left_out, "another row with the same key was sent"),
        ("to be done", report.waiting, "the same command goes on with them"),
        ("numbers", report.turned, "turned into E.164"),
    )
    shown |= {name: _counted(count, meaning) for name, count, meaning in beside if count}
    if report.paused:
        shown["paused"] = f"{report.paused:,.0f} s, as the service asked"
    if report.held:
        shown["held"] = f"{report.held:,.0f} s, for the service to come back"
    if report.limit is not None:
        shown["pace"] = f"{report.limit:,.1f} calls a second at most, by the end"
    if report.limit_found is not None:
        shown["limit"] = report.limit_found
    if report.resent or report.throttled:
        shown["requests"] += f", {report.resent:,} of them again, {report.throttled:,} throttled"
    latency = {name: seconds for name, seconds in report.percentiles().items() if seconds}
    if latency:
        shown["latency"] = ", ".join(f"{name} {_ms(s)}" for name, s in latency.items())
    if report.codes:
        shown["reasons"] = ", ".join(f"{code} {n:,}" for code, n in report.codes.most_common(5))
    return shown


def _counted(count: int, meaning: str) -> str:
    return _meant(f"{count:,}", meaning) if count else "0"


def _meant(text: str, meaning: str) -> str:
    return f"{text}  ({meaning})" if meaning else text


def _ms(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _advice(report: Report) -> list[str]:
    lines: list[str] = []
    if not report.rows and not report.waiting:
        lines.append("No row was taken.")
    if report.beyond:
        keys = ", ".join(f"{key} (rows: {rows:,})" for key, rows in report.beyond.most_common())
        lines.append(f"Sent as they are, though no field known here is called so: {keys}")
    if report.ending is Ending.GAVE_UP:
        lines.append(f"Given up: {report.reason}")
    if report.ending is not Ending.ALL and report.rows and not report.waiting:
        lines.append(
            f"The rows up to line {report.last_line:,} were taken; those after it were not."
        )
    return lines
