"""Commands for a journal: show the job, list failures, export rows, copy the file."""

import csv
import io
import json
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli.cluster import show_cluster
from sunshine_async.cli.files import DATABASE_SUFFIXES, OutputTarget, Write, database_files
from sunshine_async.cli.options import choice, exit_on_error, journal_place, option
from sunshine_async.cli.output import (
    Printer,
    count_figures,
    done_figures,
    format_duration,
    summary_table,
)
from sunshine_async.cli.report_file import is_report, journal_page
from sunshine_async.cli.streams import emit, emit_json, json_line
from sunshine_async.jobs.source import LIVE, source_row
from sunshine_async.jobs.tasks import SERVICES
from sunshine_async.jobs.tasks.task import Mode
from sunshine_async.journal import (
    Found,
    Journal,
    JournalError,
    JournalQueries,
    JournalReport,
    Place,
    State,
    copy_journal,
    open_reader,
)
from sunshine_async.journal.sql import ERROR_REASONS
from sunshine_async.rows import BadRow, Format, Row, SourceError
from sunshine_async.rows.file import open_as
from sunshine_async.rows.json_lines import OUTCOME_KEY
from sunshine_async.rows.shape import KEY_SEPARATOR

job: Final = typer.Typer(help="Look at a job's journal, or copy the journal.", no_args_is_help=True)

_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "_.:-=+*#"
_PARTS: Final = 50
_WATCH: Final = 1.0  # seconds between two looks at a running job
_SILENT: Final = 5.0  # seconds without a commit that are worth a word
_NOT_DONE: Final = (State.FAILED, State.UNKNOWN, State.BAD)

JournalPlace = Annotated[
    Any,
    typer.Argument(
        metavar="JOURNAL", parser=journal_place, help="File or URL given with --journal."
    ),
]
Out = Annotated[
    Path | None,
    option(help="New file to write to instead of stdout. The file appears complete or not at all."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace an existing file, but never the journal or the file that the job read.",
    ),
]


@job.command()
def show(
    place: JournalPlace,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="While the job runs, print a line every second.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON.")] = False,
) -> None:
    """Show the counts, the time and the speed of a job, and an example of each error.

    A job that another process runs is shown too; the job doesn't wait for that. Of an import by workers (--cluster) all parts are shown together.
    """
    with exit_on_error():
        printer = Printer(as_json=as_json)
        if show_cluster(place, printer, watch=watch):
            return
        with closing(open_reader(place)) as reader:
            while watch and reader.running:
                _show_live(reader, printer)
                time.sleep(_WATCH)
            if reader.running:
                _show(reader, printer, running=True)
                return
        with closing(_open_journal(place)) as journal:
            _show(journal, printer, running=False)


def _show(journal: JournalQueries, printer: Printer, *, running: bool) -> None:
    report = journal.report()
    if printer.as_json:
        emit_json(sys.stdout, {**_data(journal, report), "running": running})
        return
    width = min(_PARTS, max(10, printer.err.width - 20))
    figures = {**_figures(journal, report, width)}
    if running:
        figures["status"] = "running"
    printer.print_result(summary_table(journal.name, figures))
    for code, (count, example) in report.codes.items():
        printer.print_result(f"{code}: {count:,} rows, such as line {example}")


def _show_live(journal: JournalQueries, printer: Printer) -> None:
    """Print the counts of a running job, from the facts that each commit of the job writes."""
    about = journal.about()
    if LIVE not in about:
        printer.print_note("The job is reading the rows.")
        return
    counts = json.loads(about[LIVE])
    ended, total = counts["rows"], counts["total"]
    parts = [f"{ended:,} rows", f"{counts['rate']:,.0f}/s"]
    if total:
        parts.insert(0, f"{min(100, 100 * ended // total)} %")
        if counts["rate"]:
            parts.append(f"{format_duration(max(0, total - ended) / counts['rate'])} left")
    if counts["not_done"]:
        parts.append(f"{counts['not_done']:,} not done")
    silent = time.time() - counts["at"]
    if silent > _SILENT:
        parts.append(f"no outcome for {format_duration(silent)}")
    printer.print_note(", ".join(parts))


@job.command()
def failures(place: JournalPlace, *, out: Out = None, force: Force = False) -> None:
    """Print the rows that weren't done as JSON lines, ready to import again, each with line and reason.

    The key "_row" has the outcome of a row; an import ignores the key. The content comes from the journal if the job had --keep-bodies, else from the file that the job read.
    """
    with _open(place, out, force=force) as (journal, write):
        missing = 0
        with _source(journal) as read_body:
            for row in journal.rows(*_NOT_DONE):
                body = json.loads(row["body"]) if row["body"] else read_body(row)
                missing += body is None
                about = {name: row[name] for name in ("line", "code", "reason")}
                about["outcome"] = State(row["state"]).name.lower()
                write(json_line({**(body or {}), OUTCOME_KEY: about}))
        if missing:
            emit(
                sys.stderr,
                f"{missing} rows without content: the file that the job read is gone or changed\n",
            )


@job.command()
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
    with _open(place, out, force=force) as (journal, write):
        if format is Format.CSV:
            write("line,key,remote_id,outcome\n")
        for row in journal.rows():
            key = None if row["key"] is None else row["key"].partition(KEY_SEPARATOR)[0]
            cells = {"line": row["line"], "key": key, "remote_id": row["remote_id"]}
            cells["outcome"] = row["outcome"] or State(row["state"]).name.lower()
            write(json_line(cells) if format is Format.JSONL else _csv_line(cells))


@job.command()
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
    with _open(place, out, force=force) as (journal, write):
        write(journal_page(journal, show_data=show_data).as_html())


@job.command()
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
                if ERROR_REASONS["locked"] in str(error):
                    raise
        protected = database_files(source, "the journal itself")
        with OutputTarget(target, force, protected).replace() as made:
            if old_parts and not force:
                message = f"{old_parts[0]} exists, a part of another journal: name another TARGET"
                raise ConfigurationError(message)
            copy_journal(source, made)
            for part in old_parts:  # SQLite would read them as parts of the copy
                part.unlink(missing_ok=True)
        emit(sys.stderr, f"Copied to {target}\n")


def _open_journal(place: Place) -> JournalQueries:
    """Return the journal of a job that has ended; a journal in PostgreSQL also while the job runs."""
    return Journal(place, must_exist=True) if isinstance(place, str | Path) else open_reader(place)


@contextmanager
def _open(
    place: Place, out: Path | None, *, force: bool
) -> Generator[tuple[JournalQueries, Write]]:
    """Give a journal, and a function that writes: never over the journal or the job's source."""
    with exit_on_error(), closing(_open_journal(place)) as journal:
        about = journal.about()
        source, folders, protected = about.get("source", ""), [Path()], list[tuple[Path, str]]()
        if isinstance(place, str | Path):
            folders.append(Path(place).parent)
            protected += database_files(Path(place), "the journal")
        if source:
            protected += ((folder / source, "the file that the job read") for folder in folders)
        with OutputTarget(out, force, tuple(protected), about.get("digest")).open() as write:
            yield journal, write


def _csv_line(row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row.values())
    return line.getvalue()


@contextmanager
def _source(journal: JournalQueries) -> Generator[Callable[[Found], dict[str, Any] | None]]:
    """Give a function that reads bodies, in the source's order: None if the source has changed."""
    about = journal.about()
    try:
        task = SERVICES[about["service"]].tasks[Mode(about["mode"])]
        rows = open_as(about["source"], task.shape, about["meant"])
    except (KeyError, SourceError):
        yield lambda _: None
        return
    numbered = enumerate(rows, 1)

    def read_body(wanted: Found) -> dict[str, Any] | None:
        row: Row | BadRow | None = None
        with suppress(SourceError):  # an unreadable source; the journal has the reasons
            row = next((row for number, row in numbered if number == wanted["number"]), None)
        if not isinstance(row, Row):
            return None
        same = source_row(row, task, keep_body=False).hash == wanted["hash"]
        return row.data if same else None

    with rows:
        yield read_body


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


def _figures(journal: JournalQueries, report: JournalReport, width: int) -> Mapping[str, str]:
    about, states = journal.about(), report.states
    shown = {"job": "none: no job has used this journal yet"}
    if "mode" in about:
        shown = {
            "job": f"{about['mode']} of {about.get('source', 'rows that a program gave')}",
            "service": ", ".join(filter(None, map(about.get, ("service", "app", "base_url")))),
            "status": "finished" if about.get("state") == "finished" else "not finished",
        }
    shown |= {
        "rows": f"{states.total():,}",
        **done_figures(states[State.DONE], report.outcomes),
        **count_figures({state.name.lower().replace("_", " "): states[state] for state in State}),
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
