"""Options of the command ``import``, and the way its arguments are repeated in a message."""

import re
import shlex
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli.options import (
    HelpCommand,
    choice,
    journal_place,
    number,
    option,
    parse_concurrency,
)
from sunshine_async.jobs import Duplicates, Mode
from sunshine_async.journal import place_of
from sunshine_async.rows import Empty, Format, SourceError

_ARGUMENTS: Final = "sunshine_async.arguments"
_IN_URL: Final = r"(://[^:/?#]*:).*(?=@)|([?&]password=)[^&#]*"
"""The password of a URL, such as the URL of --pace, behind the text that stays."""
_COMPANIONS: Final[Mapping[str, str]] = {
    "parts": "cluster",
    "shared_file": "cluster",
    "show_data": "report",
}
"""Options without an effect alone, each with the option that gives the effect."""
_file: Final = partial(option, rich_help_panel="File")
_rows: Final = partial(option, rich_help_panel="Rows")
_speed: Final = partial(option, rich_help_panel="Speed")
_end: Final = partial(option, rich_help_panel="Giving up")
_journal: Final = partial(option, rich_help_panel="Journal")
_again: Final = partial(option, rich_help_panel="Runs with the same journal")
_output: Final = partial(option, rich_help_panel="Output")

File = Annotated[
    str, typer.Argument(metavar="FILE", help=".jsonl or .csv, also with .gz; - is standard input.")
]
ModeOption = Annotated[
    Mode,
    typer.Option(
        parser=choice(Mode), metavar="MODE", help="create, update, upsert, delete or message."
    ),
]
Rename = Annotated[
    list[str] | None,
    _rows("--map", metavar="FIELD=COLUMN", help="The column or key of FIELD. Repeatable."),
]
Skip = Annotated[
    list[str] | None,
    _rows(
        metavar="COLUMN",
        help="A column or key that is not sent. Repeatable. Here and in --map, #3 is the third column.",
    ),
]
OnlyMapped = Annotated[
    bool,
    _rows(
        "--only-mapped",
        help="Skip all columns or keys that are neither in --map nor the name of a field.",
    ),
]
FileEncoding = Annotated[
    str,
    _file(
        metavar="NAME",
        help="Encoding of FILE: utf-8, utf-16, cp1252 (Excel on Windows), latin-1 ...",
        show_default=True,
    ),
]
Timezone = Annotated[
    str | None,
    _rows(
        metavar="ZONE",
        help="The zone of times without a zone, such as Europe/Berlin. A date is the beginning of the day.",
    ),
]
DateFormat = Annotated[
    list[str] | None,
    _rows(
        metavar="FORMAT",
        help="Format of times besides ISO 8601: '%d/%m/%Y %H:%M' reads 21/05/2020 15:53. Repeatable.",
    ),
]
Region = Annotated[
    str | None,
    _rows(
        metavar="REGION",
        help="Turn phone numbers into E.164; numbers without a country code are numbers of this region, such as DE. For Dixa.",
    ),
]
Concurrency = Annotated[
    Any,
    _speed(
        parser=parse_concurrency,
        metavar="N|auto",
        help="Calls under way at once. Default: 64, or 8 if a call has a hundred rows (Dixa); auto finds the number that is enough.",
    ),
]
Rate = Annotated[
    float | None,
    _speed(
        parser=number("calls a second", above=0),
        metavar="N",
        help="Calls a second, at most. Dixa's default: 10.",
    ),
]
PaceAddress = Annotated[
    str | None,
    _speed(
        "--pace",
        metavar="ADDRESS",
        help="Share the rate with all processes: file:/run/sunshine.pace, or redis://...",
    ),
]
MaxFailures = Annotated[
    int | None,
    _end(
        parser=number("rows", whole=True),
        metavar="N",
        help="Give up when more rows than this were not done; with --cluster, in all parts together.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read all rows, send nothing; show the rows that would be refused, and the time needed. Needs no credentials.",
    ),
]
Journal = Annotated[
    Any,
    _journal(
        parser=journal_place,
        metavar="FILE|URL",
        help="A file, or a PostgreSQL database, that records the state of each row: the same command, run again, goes on.",
    ),
]
KeptDuplicates = Annotated[
    Duplicates | None,
    _journal(
        parser=choice(Duplicates),
        metavar="WHICH",
        help="Rows with the same key that are sent: last, first, all, or fail (send nothing). Default: last.",
    ),
]
RetryFailed = Annotated[
    bool, _again("--retry-failed", help="Send failed rows again, except users already created.")
]
RetryUnknown = Annotated[
    bool,
    _again(
        "--retry-unknown",
        help="Look up unknown rows, or send the rows again. A message is looked up, and sent again if it isn't there.",
    ),
]
AcceptChangedSource = Annotated[
    bool,
    _again(
        "--accept-changed-source",
        help="Go on although the file has changed: rows that are done and haven't changed are skipped; changed and new rows are sent.",
    ),
]
Full = Annotated[
    bool, _again("--full", help="Upsert also rows that haven't changed since the last import.")
]
KeepBodies = Annotated[
    bool, _journal("--keep-bodies", help="Keep the content of each row in the journal.")
]
MaxOutage = Annotated[
    float,
    _end(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds to wait for a service that can't be reached; then give up. Without a journal, 30 at most for a service that hasn't answered yet.",
        show_default=True,
    ),
]
Grace = Annotated[
    float,
    _end(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds that calls under way get to end after an interrupt.",
        show_default=True,
    ),
]
AsJson = Annotated[
    bool,
    _output(
        "--json",
        help="The summary as one line of JSON; on stderr one line for each row not done, and each note.",
    ),
]

FileFormat = Annotated[
    Format | None,
    _file(
        parser=choice(Format), metavar="jsonl|csv", help="Format of FILE. Default: from the name."
    ),
]
Delimiter = Annotated[
    str,
    _file(
        metavar="SIGN",
        help="Separator of the cells in a CSV file: , or ; or tab. A first line sep=; says it, too.",
        show_default=True,
    ),
]
EmptyCell = Annotated[
    Empty,
    _rows(
        parser=choice(Empty),
        metavar="leave|null",
        help="An empty cell: leave the field out, or clear the field. Default: leave.",
    ),
]


ReportPath = Annotated[
    Path | None,
    _output(
        "--report",
        metavar="FILE",
        help="Write an HTML page about the job: outcomes, reasons, charts, next steps. An earlier report is replaced.",
    ),
]
ShowData = Annotated[
    bool,
    _output(
        "--show-data", help="With --report: show the texts of the service, which may name people."
    ),
]


class RecordedCommand(HelpCommand):
    """A command that keeps its arguments, for `command_words`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*, and keep them."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)


def command_words(context: typer.Context) -> list[str]:
    """Return the words of the running command, as given, without the passwords of URLs.

    The URL of a database has no password, so that a pasted command takes PGPASSWORD or a password
    file; other URLs have ``***``.
    """
    words = map(_without_password, context.meta[_ARGUMENTS])
    return ["sunshine-async", str(context.info_name), *words]


def _without_password(word: str) -> str:
    option, joint, value = word.partition("=") if word.startswith("--") else ("", "", word)
    place = place_of(value)
    shown = value if isinstance(place, ConfigurationError) else place
    return re.sub(_IN_URL, r"\1\2***", f"{option}{joint}{shown}")


def given_options(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Return the options among *names* that the command line gives, as written there."""
    return [
        f"--{name.replace('_', '-').removesuffix('-address')}"
        for name in names
        if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
    ]


def check_companions(context: typer.Context) -> None:
    """Raise `ConfigurationError` for an option without the option that gives an effect to it."""
    for name, companion in _COMPANIONS.items():
        for shown in given_options(context, [name]):
            if context.params[companion] is None:
                message = f"{shown} has an effect with --{companion} only: leave out {shown}"
                raise ConfigurationError(message)


@contextmanager
def suggest_command(context: typer.Context) -> Generator[None]:
    """Add the whole command, with the options of a `SourceError`, to the message of the error."""
    try:
        yield
    except SourceError as error:
        if not error.options:
            raise
        command = shlex.join((*command_words(context), *error.options))
        message = f"{error}\nThe whole command: {command}"
        raise SourceError(message) from None
