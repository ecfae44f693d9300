"""Output of commands: results on stdout, notes and progress on stderr, at most 80 columns wide."""

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO, cast

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sunshine_async.cli.progress import ProgressDisplay, ProgressLines, format_latency
from sunshine_async.cli.streams import SafeStream, TextBuffer, emit, emit_json, escape_controls
from sunshine_async.jobs import Ending, Problem, Report, Trouble
from sunshine_async.jobs.dry_run import RefusalCount

SHOWN: Final = 50
"""Number of rows not done that are listed; rows with the same reason are listed together."""
OUTCOMES: Final[Mapping[str, str]] = {
    "created": "",
    "updated": "",
    "upserted": "created or updated: nobody can tell which",
    "unchanged": "as they were: nothing was sent",
    "deleted": "",
    "sent": "",
}
"""Outcomes of rows that are done, in the order shown, with the meaning."""
_COUNTS: Final[Mapping[str, str]] = {
    "failed": "refused, not reached, or created before",
    "unknown": "may be done or not: look before sending again",
    "bad": "could not be read or sent: correct the file",
    "left out": "another row with the same key was sent",
    "waiting": "still to be sent",
    "begun": "may have been sent: the next run finds out",
    "under way": "sent now, or next",
    "to be done": "the same command goes on with them",
    "numbers": "turned into E.164",
}
"""Counts of rows, in the order shown, with the meaning."""
_MISSING: Final = (
    "ROWS WITHOUT AN OUTCOME: {:,}. The rows were read, and may have been sent. Look at the service "
    "before the rows are sent again"
)
_STYLES: Final = {Trouble.FAILED: "red", Trouble.UNKNOWN: "yellow", Trouble.BAD: "magenta"}


class Printer:
    """Printer of results, notes and progress; with *as_json* all output is JSON, a line each."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json: Final = as_json
        # no markup, no emoji codes: text of files and services is shown as received
        self.err: Final = Console(
            file=cast("TextIO", SafeStream(sys.stderr)), highlight=False, markup=False, emoji=False
        )
        self._out: Final = Console(highlight=False, markup=False, emoji=False)
        for console in (self._out, self.err):
            if console is self._out or not console.is_terminal:  # a terminal may change its width
                console.width = max(20, min(console.width, 80))
        self._buffer: Final = TextBuffer(sys.stdout.encoding)
        self._out.file = self._buffer

    def print_result(self, *parts: Table | str) -> None:
        """Print results for people on stdout."""
        for part in parts:
            if isinstance(part, str):
                text = Text(escape_controls(part))
                longest = max(map(cell_len, text.plain.split()), default=0)
                # a path that is longer than a line stays whole, so that it can be copied
                self._out.print(text, soft_wrap=longest > self._out.width)
            else:
                self._out.print(part)
        emit(sys.stdout, self._buffer.drain())

    def print_note(self, text: str) -> None:
        """Print a note, which is no result, on stderr."""
        if self.as_json:
            emit_json(sys.stderr, {"note": text})
        else:
            self.err.print(Text(escape_controls(text)), soft_wrap=not self.err.is_terminal)

    def print_problem(self, problem: Problem) -> None:
        """Print a row that wasn't done as a line of JSON on stderr."""
        emit_json(sys.stderr, problem.as_json())

    def print_problems(self, problems: Sequence[Problem], count: int) -> None:
        """Print the first of *count* rows that weren't done as a table on stdout."""
        if problems:
            self.print_result(_problem_table(problems[:SHOWN]))
        if count > SHOWN:
            self.print_result(
                f"... and {count - SHOWN:,} more: with --json each one is on stderr\n"
            )

    def print_refusals(self, refusals: Sequence[RefusalCount]) -> None:
        """Print the reasons of rows that would be refused as a table on stdout, with example lines."""
        if not refusals:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("rows", justify="right")
        table.add_column("outcome", overflow="fold")
        table.add_column("first lines", overflow="fold", max_width=16)
        table.add_column("reason", overflow="fold")  # the last, so that it can be copied
        for refusal in refusals[:SHOWN]:
            lines = _ranges(refusal.lines) + ", ..." * (refusal.rows > len(refusal.lines))
            word = Text(refusal.trouble.value, _STYLES[refusal.trouble])
            table.add_row(f"{refusal.rows:,}", word, lines, Text(escape_controls(refusal.reason)))
        table.add_row()
        self.print_result(table)
        if len(refusals) > SHOWN:
            self.print_result(f"... and {len(refusals) - SHOWN:,} more reasons: --json shows all\n")

    def print_report(self, report: Report, *, missing: int = 0, **about: str) -> None:
        """Print the report of a job, described by *about*; *missing* rows have no outcome."""
        if missing:
            self.print_note(_MISSING.format(missing))
        if self.as_json:
            emit_json(sys.stdout, {**about, **report.as_json(), "without_outcome": missing})
            return
        self.print_problems(report.problems, report.troubles)
        table = summary_table(", ".join(about.values()), _figures(report))
        self.print_result(table, *_advice(report))

    @property
    def _can_redraw(self) -> bool:
        """True on a terminal that can move back to a line: a dumb terminal would show nothing."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and not self.as_json

    @contextmanager
    def show_line(self) -> Generator[Callable[[str], None]]:
        """Give the function that shows a note: on a terminal in place of the note before, else below."""
        if not self._can_redraw:
            yield self.print_note
            return
        with Live(console=self.err, auto_refresh=False, transient=True) as live:
            yield lambda text: live.update(Text(escape_controls(text)), refresh=True)

    @contextmanager
    def show_progress(self, name: str) -> Generator["ProgressDisplay"]:
        """Show the progress of a job that reads *name*: a bar on a terminal, else notes."""
        lines = ProgressLines(Path(name).name)
        if not self._can_redraw:
            yield ProgressDisplay(self.print_note, lines, None)
            return
        with Live(lines, console=self.err, transient=True, auto_refresh=False) as live:
            yield ProgressDisplay(self.print_note, lines, live)


def _problem_table(problems: Iterable[Problem]) -> Table:
    """Return the table of *problems*; problems with the same reason share a row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("lines", overflow="fold", max_width=16)
    table.add_column("outcome", overflow="fold")
    table.add_column("reason", overflow="fold")
    groups: dict[tuple[Trouble, str], list[int]] = {}
    for problem in sorted(problems, key=lambda problem: problem.line):
        groups.setdefault((problem.trouble, problem.reason), []).append(problem.line)
    for (trouble, reason), lines in groups.items():
        table.add_row(
            _ranges(lines), Text(trouble.value, _STYLES[trouble]), Text(escape_controls(reason))
        )
    table.add_row()
    return table


def _ranges(numbers: list[int]) -> str:
    """Return ascending *numbers* as ``3, 5-7``."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ", ".join(f"{first}-{last}" if first < last else f"{first}" for first, last in ranges)


def summary_table(title: str, figures: Mapping[str, str]) -> Table:
    """Return a table of figures by name."""
    table = Table(
        title=Text(escape_controls(title)),
        title_justify="left",
        title_style="bold",
        show_header=False,
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in figures.items():
        table.add_row(name, Text(escape_controls(value)))
    return table


def done_figures(count: int, outcomes: Mapping[str, int]) -> Mapping[str, str]:
    """Return the figures of *count* rows done: a figure for each outcome, if several occur."""
    words = [word for word in {**OUTCOMES, **outcomes} if outcomes.get(word)]
    if len(words) > 1:
        figures = {f"  {word}": _figure(outcomes[word], OUTCOMES.get(word, "")) for word in words}
        return {"done": f"{count:,}", **figures}
    word = "".join(words)
    return {"done": _figure(count, ", ".join(filter(None, (word, OUTCOMES.get(word, "")))))}


def count_figures(counts: Mapping[str, int]) -> Mapping[str, str]:
    """Return the figures of rows not done, by name; most counts of 0 are left out."""
    return {
        name: _figure(counts[name], meaning if counts[name] else "")
        for name, meaning in _COUNTS.items()
        if counts.get(name) or (name in counts and name in {"failed", "unknown", "bad"})
    }


def _figure(count: int, meaning: str) -> str:
    return f"{count:,}  ({meaning})" if meaning else f"{count:,}"


def _figures(report: Report) -> Mapping[str, str]:
    counts = {
        "failed": report.failed, "unknown": report.unknown, "bad": report.bad,
        "left out": report.left_out, "to be done": report.waiting, "numbers": report.turned,
    }  # fmt: skip
    shown = {
        "rows": f"{report.rows:,}",
        **done_figures(report.done, report.outcomes),
        **count_figures(counts),
        "time": f"{report.seconds:,.1f} s, {report.rate:,.0f} rows a second",
        "requests": f"{report.requests:,}",
    }
    if report.paused:
        shown["paused"] = f"{report.paused:,.0f} s, as the service asked"
    if report.held:
        shown["held"] = f"{report.held:,.0f} s, for the service to come back"
    if report.limit is not None:
        shown["pace"] = f"at most {report.limit:,.1f} calls a second at the end"
    if report.limit_found is not None:
        shown["limit"] = report.limit_found
    if report.resent or report.throttled:
        shown["requests"] += f", {report.resent:,} of them resent, {report.throttled:,} throttled"
    latency = {name: seconds for name, seconds in report.percentiles().items() if seconds}
    if latency:
        shown["latency"] = ", ".join(f"{name} {format_latency(s)}" for name, s in latency.items())
    if report.codes:
        shown["reasons"] = ", ".join(f"{code} {n:,}" for code, n in report.codes.most_common(5))
    return shown


def unknown_keys(keys: Counter[str]) -> list[str]:
    """Return a sentence about *keys* that no model has, each with a number of rows, if any."""
    found = ", ".join(f"{key} (rows: {rows:,})" for key, rows in keys.most_common())
    return [f"Sent, though not among the known fields: {found}"] if found else []


def _advice(report: Report) -> list[str]:
    lines: list[str] = []
    if not report.rows and not report.waiting:
        lines.append("No row was processed.")
    lines += unknown_keys(report.beyond)
    if report.ending is Ending.GAVE_UP:
        lines.append(f"Given up: {report.reason}")
    is_cut_off = report.ending is not Ending.ALL and report.rows and not report.waiting
    if is_cut_off and report.last_line:  # parts of a file have no last line of all
        lines.append(f"Rows up to line {report.last_line:,} were processed; later rows were not.")
    return lines
