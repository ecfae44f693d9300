"""What a journal says, once its job has ended, or was cut off."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli.files import BESIDE, Output, Write, files_of
from sunshine_async.cli.options import refusals
from sunshine_async.cli.output import Screen, done, duration, figures
from sunshine_async.cli.streams import emit, emit_json, in_json
from sunshine_async.jobs.source import source_row
from sunshine_async.jobs.tasks.services import SERVICES
from sunshine_async.jobs.tasks.task import BETWEEN, Mode
from sunshine_async.journal import Found, Journal, JournalError, State, copy_journal
from sunshine_async.journal.sql import REASONS
from sunshine_async.rows import BadRow, Format, Row, SourceError
from sunshine_async.rows.file import ABOUT, open_as

job: Final = typer.Typer(help="What a job with a journal did.", no_args_is_help=True)

_BARS: Final = "▁▂▃▄▅▆▇█"
_PLAIN_BARS: Final = "_.:-=+*#"
_PARTS: Final = 50
_TROUBLES: Final = (State.FAILED, State.UNKNOWN, State.BAD)
_MEANINGS: Final[Mapping[State, str]] = {
    State.FAILED: "refused, not reached, or created before",
    State.UNKNOWN: "may be done or not",
    State.BAD: "could not be read or sent",
    State.LEFT_OUT: "another row with the same key was sent",
    State.WAITING: "still to be sent",
    State.BEGUN: "may have been sent: the same command finds out",
}

JournalPath = Annotated[str, typer.Argument(metavar="JOURNAL", help="As given with --journal.")]
Out = Annotated[
    Path | None,
    typer.Option(
        help="A new file to write to, in place of stdout; it is there whole or not at all.",
        show_default=False,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace the file, if it is there; never the journal, nor the file that the job read.",
    ),
]


@job.command()
def show(
    path: JournalPath,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As one line of JSON.")] = False,
) -> None:
    """Say what a job did: counts, time, errors with an example each, and how fast it went."""
    with refusals(), closing(Journal(path, must_exist=True)) as journal:
        screen = Screen(as_json=as_json)
        if as_json:
            emit_json(sys.stdout, _data(journal))
            return
        width = min(_PARTS, max(10, screen.err.width - 20))
        screen.say(figures(path, _figures(journal, width)))
        for code, (count, example) in journal.codes().items():
            screen.say(f"{code} {count:,}, such as line {example}")


@job.command()
def failures(path: JournalPath, *, out: Out = None, force: Force = False) -> None:
    """Give the rows that weren't done as JSON lines, each with its line and reason, ready to import again.

    What became of a row stands under "_row", which an import passes over. The rows are read from the file that the job read, or from the journal if it kept them.
    """
    with (
        refusals(),
        closing(Journal(path, must_exist=True)) as journal,
        _output(journal, out, force=force).opened() as write,
    ):
        without = _failed(journal, write)
        if without:
            emit(
                sys.stderr, f"{without} rows without what they held: it can't be read (any more)\n"
            )


@job.command()
def export(
    path: JournalPath,
    *,
    format: Annotated[Format, typer.Option(help="csv or jsonl.")] = Format.CSV,
    out: Out = None,
    force: Force = False,
) -> None:
    """Give every row's line, key, remote id and outcome.

    Done are "created", "updated", "unchanged" and "deleted"; "upserted" is created or updated, where nobody can tell which.
    """
    with (
        refusals(),
        closing(Journal(path, must_exist=True)) as journal,
        _output(journal, out, force=force).opened() as write,
    ):
        if format is Format.CSV:
            write("line,key,remote_id,outcome\n")
        for row in journal.rows():
            outcome = row["outcome"] or State(row["state"]).name.lower()
            key = None if row["key"] is None else row["key"].partition(BETWEEN)[0]
            found = {"line": row["line"], "key": key, "remote_id": row["remote_id"]}
            found["outcome"] = outcome
            write(in_json(found) if format is Format.JSONL else _cells(found))


@job.command()
def copy(
    path: JournalPath,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new file.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace TARGET, if it is there and no job uses it.")
    ] = False,
) -> None:
    """Copy a journal, whole, to one file that goes on from there; also after a kill.

    A journal copied by other means may lack the rows in the file beside it that ends in -wal.
    """
    source = Path(path)
    with refusals():
        kept = files_of(source, "the journal itself")
        beside = [Path(f"{target}{end}") for end in BESIDE if Path(f"{target}{end}").exists()]
        if force and target.exists():
            _check_idle(target)
        output = Output(target, force, kept)
        with output.replaced() as made:
            if beside and not force:
                message = f"{beside[0]} is there, a part of another journal: name another TARGET"
                raise ConfigurationError(message)
            copy_journal(source, made)
            for part in beside:  # SQLite would take them for parts of the copy
                part.unlink(missing_ok=True)
        emit(sys.stderr, f"Copied to {target}\n")


def _check_idle(target: Path) -> None:
    """Raise `JournalError` where a process uses the journal *target*; any other file will do."""
    try:
        Journal(target, must_exist=True).close()
    except JournalError as error:
        if REASONS["locked"] in str(error):
            raise


def _output(journal: Journal, out: Path | None, *, force: bool) -> Output:
    """Return the output of a command about *journal*, which never replaces the journal or its source."""
    about = journal.about()
    source = about.get("source", "")
    kept = [
        *files_of(journal.path, "the journal"),
        *((folder / source, "the file that the job read")
          for folder in (Path(), journal.path.parent) if source),
    ]  # fmt: skip
    return Output(out, force, tuple(kept), about.get("digest"))


def _failed(journal: Journal, write: Write) -> int:
    """Write the rows that weren't done; return how many of them without what they held."""
    without = 0
    with _source(journal) as held:
        for row in journal.rows(*_TROUBLES):
            body = json.loads(row["body"]) if row["body"] else held(row)
            without += body is None
            said = {name: row[name] for name in ("line", "code", "reason")}
            said["outcome"] = State(row["state"]).name.lower()
            write(in_json({**(body or {}), ABOUT: said}))
    return without


def _cells(row: Mapping[str, Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row.values())
    return line.getvalue()


@contextmanager
def _source(journal: Journal) -> Generator[Callable[[Found], dict[str, Any] | None]]:
    """Give what tells what a row held, asked in their order, as far as the source is what it was."""
    about = journal.about()
    try:
        task = SERVICES[about["service"]].tasks[Mode(about["mode"])]
        rows = open_as(about["source"], task.shape, about["meant"])
    except (KeyError, SourceError):
        yield lambda _: None
        return
    numbered = enumerate(rows, 1)

    def held(wanted: Found) -> dict[str, Any] | None:
        row: Row | BadRow | None = None
        with suppress(SourceError):  # what can't be read any more; the reasons are in the journal
            row = next((row for number, row in numbered if number == wanted["number"]), None)
        if not isinstance(row, Row):
            return None
        same = source_row(row, task, keep_body=False).hash == wanted["hash"]
        return row.data if same else None

    with rows:
        yield held


def _counts(journal: Journal) -> tuple[Counter[State], Counter[str]]:
    states: Counter[State] = Counter()
    outcomes: Counter[str] = Counter()
    for (state, outcome), count in journal.counts().items():
        states[state] += count
        if outcome:
            outcomes[outcome] += count
    return states, outcomes


def _data(journal: Journal) -> dict[str, Any]:
    states, outcomes = _counts(journal)
    first, last, parts = journal.pulse(_PARTS)
    return {
        **journal.about(),
        "rows": states.total(),
        **{state.name.lower(): states[state] for state in State},
        "outcomes": outcomes,
        "codes": {code: {"rows": n, "example": one} for code, (n, one) in journal.codes().items()},
        "first_ended_at": first,
        "last_ended_at": last,
        "pulse": parts,
    }


def _figures(journal: Journal, width: int) -> Mapping[str, str]:
    about = journal.about()
    states, outcomes = _counts(journal)
    shown = {
        "job": f"{about.get('mode', '')} of {about.get('source', 'what was handed in')}",
        "at": " ".join(filter(None, map(about.get, ("service", "app", "base_url")))),
        "is": "finished" if about.get("state") == "finished" else "not finished",
        "rows": f"{states.total():,}",
        **done(states[State.DONE], outcomes),
    }
    for state, meaning in _MEANINGS.items():
        if states[state]:
            name = state.name.lower().replace("_", " ")
            shown[name] = f"{states[state]:,}  ({meaning})"
    totals = {
        name: float(about.get(name, 0))
        for name in ("seconds", "requests", "throttled", "held", "sessions")
    }
    ended = states[State.DONE] + states[State.FAILED] + states[State.UNKNOWN]
    rate = ended / totals["seconds"] if totals["seconds"] else 0.0
    shown["time"] = f"{duration(totals['seconds'])}, {rate:,.0f} rows a second"
    shown["requests"] = f"{totals['requests']:,.0f}, {totals['throttled']:,.0f} of them throttled"
    if totals["held"]:
        shown["held"] = f"{duration(totals['held'])}, for the service to come back"
    _, _, parts = journal.pulse(width)
    if parts:
        shown["speed"] = _picture(parts)
    return shown


def _picture(parts: list[int]) -> str:
    """Return *parts* as bars, the most of them as the highest."""
    bars = _BARS if "utf" in (sys.stdout.encoding or "").lower() else _PLAIN_BARS
    most = max(parts)
    return "".join(bars[min(len(bars) - 1, part * len(bars) // most)] for part in parts)
