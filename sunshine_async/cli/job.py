"""Commands for a journal: show the job, list failures, export rows, copy the file."""

import csv
import io
import json
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli.cluster import open_any_journal
from sunshine_async.cli.failures import FailureList, JobSource, folders_of
from sunshine_async.cli.files import DATABASE_SUFFIXES, OutputTarget, database_files
from sunshine_async.cli.options import (
    HelpCommand,
    HelpGroup,
    Status,
    choice,
    exit_on_error,
    journal_place,
    option,
)
from sunshine_async.cli.output import (
    Printer,
    count_figures,
    done_figures,
    summary_table,
)
from sunshine_async.cli.progress import format_duration, progress_figures, wait_figures
from sunshine_async.cli.report_file import is_report, journal_page
from sunshine_async.cli.streams import emit_json, emit_line, json_line
from sunshine_async.jobs.progress import Progress
from sunshine_async.jobs.source import LIVE, PROGRESS, REASON
from sunshine_async.journal import (
    Journal,
    JournalAwayError,
    JournalError,
    JournalInUseError,
    JournalQueries,
    JournalReport,
    Place,
    State,
    copy_journal,
)
from sunshine_async.rows import Format
from sunshine_async.rows.shape import id_of_key

job: Final = typer.Typer(
    cls=HelpGroup, help="Look at a job's journal, or copy the journal.", no_args_is_help=True
)

_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "_.:-=+*#"
_PARTS: Final = 50
_AWAY: Final = "The database can't be reached: the job waits, and so does this command."
_WATCH: Final = 1.0  # seconds between two looks at a running job
_SILENT: Final = 5.0  # seconds without a commit that are worth a word

JournalPlace = Annotated[
    Any,
    typer.Argument(
        metavar="JOURNAL", parser=journal_place, help="File or URL given with --journal."
    ),
]
Out = Annotated[
    Path | None,
    option(
        metavar="FILE",
        help="New file to write to instead of stdout. The file appears complete or not at all.",
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace an existing file, but never the journal or the file that the job read.",
    ),
]


@job.command(cls=HelpCommand)
def show(
    place: JournalPlace,
    *,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="While the job runs, show the progress every second, and the reason of a wait.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """Show the counts, the time and the speed of a job, and an example of each error.

    A job that another process runs is shown too; the job doesn't wait for that. Of an import by workers (--cluster) all parts are shown together.
    """
    with exit_on_error():
        printer = Printer(as_json=as_json)
        with closing(open_any_journal(place)) as journal:
            if journal.note:
                printer.print_note(journal.note)
            if watch:
                with printer.show_line() as show_line:
                    while (line := _line_of(journal)) is not None:
                        show_line(line)
                        time.sleep(_WATCH)
            _show(journal, printer)


def _line_of(journal: JournalQueries) -> str | None:
    """Return the progress of a running job; None after the end."""
    try:
        return _live_text(journal.about()) if journal.running else None
    except JournalAwayError:
        return _AWAY


def _show(journal: JournalQueries, printer: Printer) -> None:
    running, report = journal.running, journal.report()
    if printer.as_json:
        emit_json(sys.stdout, {**_data(journal, report), "running": running})
        return
    width = min(_PARTS, max(10, printer.err.width - 20))
    figures = _figures(journal, report, width, running=running)
    printer.print_result(summary_table(journal.name, figures))
    for code, (count, example) in report.codes.items():
        rows = "row" if count == 1 else "rows"
        printer.print_result(f"{code}: {count:,} {rows}, such as line {example}")


def _live_text(about: Mapping[str, str]) -> str:
    """Return the counts of a running job, from the facts that each commit of the job writes."""
    of_parts = [about[name] for name in (PROGRESS, REASON) if name in about]
    if LIVE not in about:
        return ", ".join(of_parts) or "The job is reading the rows."
    counts = json.loads(about[LIVE])
    figures = progress_figures(_progress(counts))
    silent = time.time() - counts["at"]
    silence = [f"no outcome for {format_duration(silent)}"] if silent > _SILENT else []
    return ", ".join([*of_parts[:1], *figures, *silence, *of_parts[1:]])


def _progress(counts: Mapping[str, Any]) -> Progress:
    """Return the progress of a running job with *counts*; no counts: the job is reading the rows."""
    return Progress(
        rows=counts.get("rows", 0), total=counts.get("total") or None, rate=counts.get("rate", 0.0),
        not_done=counts.get("not_done", 0), held=counts.get("held"),
        paused=max(0.0, counts.get("paused_until", 0.0) - time.time()),
    )  # fmt: skip


@job.command(cls=HelpCommand)
def failures(place: JournalPlace, *, out: Out = None, force: Force = False) -> None:
    """List the rows that weren't done, each with line, outcome and reason, ready to be mended and imported.

    The name of --out gives the format: .csv or .tsv for Excel, .jsonl or .json for JSON lines, as on stdout.

    CSV has the columns of the file that the job read, and the columns _row.line, _row.outcome, _row.code, _row.reason and _row.text at the end: an import ignores these. A row that didn't fit the columns has its text in _row.text: fill in the cells. A cell that Excel would change, such as =1+1, +49301, 007, 1/2 or a long number, gets an apostrophe, so that Excel leaves the cell as it is; an import takes the apostrophe off.

    JSON lines have the fields of the service, and the key "_row", which an import ignores.

    The content comes from the file that the job read, as far as the file is unchanged, or from the journal, if the job had --keep-bodies.

    Exit status: 0 all rows with content; 1 rows without content; 2 could not start.
    """
    with _open(place, out, force=force) as (journal, target):
        source = JobSource.find(journal)
        with source.open(journal.about()) as rows:
            listing = FailureList(journal, source, rows, out)
            with target.open(listing.encoding) as write:
                missing = listing.write(write)
        for note in listing.notes(missing):
            emit_line(sys.stderr, note)
        raise typer.Exit(Status.TROUBLE if missing else Status.DONE)


@job.command(cls=HelpCommand)
def export(
    place: JournalPlace,
    *,
    format: Annotated[
        Format,
        typer.Option(
            parser=choice(Format), metavar="csv|jsonl", help="Default: csv.", show_default=False
        ),
    ] = Format.CSV,
    out: Out = None,
    force: Force = False,
) -> None:
    """Print the line, key, remote id and outcome of every row.

    Outcomes of rows that are done: "created", "updated", "unchanged", "deleted", and "upserted", which is created or updated: nobody can tell which.
    """
    with _open(place, out, force=force) as (journal, target), target.open() as write:
        if format is Format.CSV:
            write("line,key,remote_id,outcome\n")
        for row in journal.rows():
            key = None if row["key"] is None else id_of_key(row["key"])
            cells = {"line": row["line"], "key": key, "remote_id": row["remote_id"]}
            cells["outcome"] = row["outcome"] or State(row["state"]).name.lower()
            write(json_line(cells) if format is Format.JSONL else _csv_line(cells))
    _say_written(out)


@job.command(cls=HelpCommand)
def report(
    place: JournalPlace,
    *,
    out: Out = None,
    force: Force = False,
    show_data: Annotated[
        bool,
        typer.Option("--show-data", help="Show the texts of the service, which may name people."),
    ] = False,
) -> None:
    """Write an HTML page about the job: outcomes, reasons, charts of all runs, and next steps.

    The page is a single file, and loads nothing. An earlier report is replaced.
    """
    force = force or (out is not None and is_report(out))
    with _open(place, out, force=force) as (journal, target), target.open() as write:
        write(journal_page(journal, show_data=show_data).as_html())
    _say_written(out)


@job.command(cls=HelpCommand)
def copy(
    place: JournalPlace,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="New file.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace TARGET, unless a job uses it.")
    ] = False,
) -> None:
    """Copy a journal to a single file, also after a kill. A job can go on from the copy.

    Copy a journal with this command only: some rows may be in a second file that ends in -wal.
    """
    with exit_on_error():
        if not isinstance(place, str | Path):
            message = "job copy is for files: copy a database with pg_dump of PostgreSQL"
            raise ConfigurationError(message)
        source = Path(place)
        parts = (Path(f"{target}{end}") for end in DATABASE_SUFFIXES)
        old_parts = [part for part in parts if part.exists()]
        if force and target.exists():
            try:
                Journal(target, must_exist=True).close()
            except JournalError as error:  # a file that is no journal may be replaced
                if isinstance(error, JournalInUseError):
                    raise
        protected = database_files(source, "the journal itself")
        with OutputTarget(target, force, protected).replace() as made:
            if old_parts and not force:
                message = f"{old_parts[0]} exists, a part of another journal: name another TARGET"
                raise ConfigurationError(message)
            copy_journal(source, made)
            for part in old_parts:  # SQLite would read them as parts of the copy
                part.unlink(missing_ok=True)
        emit_line(sys.stderr, f"Copied to {target}")


@contextmanager
def _open(
    place: Place, out: Path | None, *, force: bool
) -> Generator[tuple[JournalQueries, OutputTarget]]:
    """Give a journal, and the target of a result: never the journal or the job's source."""
    with exit_on_error(), closing(open_any_journal(place)) as journal:
        if journal.note:
            emit_line(sys.stderr, journal.note)
        about = journal.about()
        source, protected = about.get("source", ""), list[tuple[Path, str]]()
        if isinstance(place, str | Path):
            protected += database_files(Path(place), "the journal")
        if source:
            protected += (
                (folder / source, "the file that the job read") for folder in folders_of(journal)
            )
        yield journal, OutputTarget(out, force, tuple(protected), about.get("digest"))


def _say_written(out: Path | None) -> None:
    if out is not None:
        emit_line(sys.stderr, f"Written to {out}")


def _csv_line(row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row.values())
    return line.getvalue()


def _data(journal: JournalQueries, report: JournalReport) -> dict[str, Any]:
    first, last, parts = journal.pulse(_PARTS)
    return {
        **journal.about(),
        "rows": report.states.total(),
        **{state.name.lower(): report.states[state] for state in State},
        "outcomes": report.outcomes,
        "codes": {code: {"rows": n, "example": text} for code, (n, text) in report.codes.items()},
        "first_ended_at": first,
        "last_ended_at": last,
        "pulse": parts,
    }


def _figures(
    journal: JournalQueries, report: JournalReport, width: int, *, running: bool
) -> Mapping[str, str]:
    about, states = journal.about(), report.states
    shown = {"job": "none: no job has used this journal yet"}
    if "mode" in about:
        shown = {
            "job": f"{about['mode']} of {about.get('source', 'rows that a program gave')}",
            "service": ", ".join(filter(None, map(about.get, ("service", "app", "base_url")))),
            "status": "finished" if about.get("state") == "finished" else "not finished",
        }
    shown |= {name: about[name] for name in (PROGRESS, REASON) if name in about}
    names = {state: state.name.lower().replace("_", " ") for state in State}
    if running:
        waits = wait_figures(_progress(json.loads(about.get(LIVE, "{}"))))
        shown["status"] = ", ".join(["running", *waits])
        names[State.BEGUN] = "under way"
    shown |= {
        "rows": f"{states.total():,}",
        **done_figures(states[State.DONE], report.outcomes),
        **count_figures({name: states[state] for state, name in names.items()}),
    }
    seconds, requests, throttled, held = (
        float(about.get(name, 0)) for name in ("seconds", "requests", "throttled", "held")
    )
    if seconds:
        ended = states[State.DONE] + states[State.FAILED] + states[State.UNKNOWN]
        shown["time"] = f"{format_duration(seconds)}, {ended / seconds:,.0f} rows a second"
        shown["requests"] = f"{requests:,.0f}, {throttled:,.0f} of them throttled"
    if held:
        shown["held"] = f"{format_duration(held)}, for the service to come back"
    _, _, parts = journal.pulse(width)
    if parts:
        shown["speed"] = _draw_bars(parts)
    return shown


def _draw_bars(parts: list[int]) -> str:
    """Return *parts* as bars; the greatest part has the highest bar."""
    bars = _BARS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN_BARS
    highest = max(parts)
    return "".join(bars[min(len(bars) - 1, part * len(bars) // highest)] for part in parts)
