"""Options of the command ``import``, and the way its arguments are repeated in a message."""

import re
import shlex
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
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
_FILE: Final = "File"
_ROWS: Final = "Rows"
_SPEED: Final = "Speed"
_END: Final = "Giving up"
_JOURNAL: Final = "Journal"
_AGAIN: Final = "Runs with the same journal"
_OUTPUT: Final = "Output"

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
    option(
        "--map",
        metavar="FIELD=COLUMN",
        help="The column or key of FIELD. Repeatable.",
        rich_help_panel=_ROWS,
    ),
]
Skip = Annotated[
    list[str] | None,
    option(
        metavar="COLUMN",
        help="A column or key that is not sent. Repeatable. Here and in --map, #3 is the third column.",
        rich_help_panel=_ROWS,
    ),
]
OnlyMapped = Annotated[
    bool,
    option(
        "--only-mapped",
        help="Skip all columns or keys that are neither in --map nor the name of a field.",
        rich_help_panel=_ROWS,
    ),
]
FileEncoding = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Encoding of FILE: utf-8, utf-16, cp1252 (Excel on Windows), latin-1 ...",
        rich_help_panel=_FILE,
    ),
]
Timezone = Annotated[
    str | None,
    option(
        metavar="ZONE",
        help="The zone of times without a zone, such as Europe/Berlin. A date is the beginning of the day.",
        rich_help_panel=_ROWS,
    ),
]
DateFormat = Annotated[
    list[str] | None,
    option(
        metavar="FORMAT",
        help="Format of times besides ISO 8601: '%d/%m/%Y %H:%M' reads 21/05/2020 15:53. Repeatable.",
        rich_help_panel=_ROWS,
    ),
]
Region = Annotated[
    str | None,
    option(
        metavar="REGION",
        help="Turn phone numbers into E.164; numbers without a country code are numbers of this region, such as DE. For Dixa.",
        rich_help_panel=_ROWS,
    ),
]
Concurrency = Annotated[
    Any,
    option(
        parser=parse_concurrency,
        metavar="N|auto",
        help="Calls under way at once. Default: 64, or 8 if a call has a hundred rows (Dixa); auto finds the number that is enough.",
        rich_help_panel=_SPEED,
    ),
]
Rate = Annotated[
    float | None,
    option(
        parser=number("calls a second", above=0),
        metavar="N",
        help="Calls a second, at most. Dixa's default: 10.",
        rich_help_panel=_SPEED,
    ),
]
PaceAddress = Annotated[
    str | None,
    option(
        "--pace",
        metavar="ADDRESS",
        help="Share the rate with all processes: file:/run/sunshine.pace, or redis://...",
        rich_help_panel=_SPEED,
    ),
]
MaxFailures = Annotated[
    int | None,
    option(
        parser=number("rows", whole=True),
        metavar="N",
        help="Give up when more rows than this were not done; with --cluster, in all parts together.",
        rich_help_panel=_END,
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
    option(
        parser=journal_place,
        metavar="FILE|URL",
        help="A file, or a PostgreSQL database, that records the state of each row: the same command, run again, goes on.",
        rich_help_panel=_JOURNAL,
    ),
]
KeptDuplicates = Annotated[
    Duplicates | None,
    option(
        parser=choice(Duplicates),
        metavar="WHICH",
        help="Rows with the same key that are sent: last, first, all, or fail (send nothing). Default: last.",
        rich_help_panel=_JOURNAL,
    ),
]
RetryFailed = Annotated[
    bool,
    option(
        "--retry-failed",
        help="Send failed rows again, except users already created.",
        rich_help_panel=_AGAIN,
    ),
]
RetryUnknown = Annotated[
    bool,
    option(
        "--retry-unknown",
        help="Look up unknown rows, or send the rows again. A message is looked up, and sent again if it isn't there.",
        rich_help_panel=_AGAIN,
    ),
]
AcceptChangedSource = Annotated[
    bool,
    option(
        "--accept-changed-source",
        help="Go on although the file has changed: rows that are done and haven't changed are skipped; changed and new rows are sent.",
        rich_help_panel=_AGAIN,
    ),
]
Full = Annotated[
    bool,
    option(
        "--full",
        help="Upsert also rows that haven't changed since the last import.",
        rich_help_panel=_AGAIN,
    ),
]
KeepBodies = Annotated[
    bool,
    option(
        "--keep-bodies",
        help="Keep the content of each row in the journal.",
        rich_help_panel=_JOURNAL,
    ),
]
MaxOutage = Annotated[
    float,
    typer.Option(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds to wait for a service that can't be reached; then give up. Without a journal, 30 at most for a service that hasn't answered yet.",
        rich_help_panel=_END,
    ),
]
Grace = Annotated[
    float,
    typer.Option(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds that calls under way get to end after an interrupt.",
        rich_help_panel=_END,
    ),
]
AsJson = Annotated[
    bool,
    option(
        "--json",
        help="The summary as one line of JSON; on stderr one line for each row not done, and each note.",
        rich_help_panel=_OUTPUT,
    ),
]

FileFormat = Annotated[
    Format | None,
    option(
        parser=choice(Format),
        metavar="jsonl|csv",
        help="Format of FILE. Default: from the name.",
        rich_help_panel=_FILE,
    ),
]
Delimiter = Annotated[
    str,
    typer.Option(
        metavar="SIGN",
        help="Separator of the cells in a CSV file: , or ; or tab. A first line sep=; says it, too.",
        rich_help_panel=_FILE,
    ),
]
EmptyCell = Annotated[
    Empty,
    typer.Option(
        parser=choice(Empty),
        metavar="leave|null",
        help="An empty cell: leave the field out, or clear the field. Default: leave.",
        show_default=False,
        rich_help_panel=_ROWS,
    ),
]


ReportPath = Annotated[
    Path | None,
    option(
        "--report",
        metavar="FILE",
        help="Write an HTML page about the job: outcomes, reasons, charts, next steps. An earlier report is replaced.",
        rich_help_panel=_OUTPUT,
    ),
]
ShowData = Annotated[
    bool,
    option(
        "--show-data",
        help="With --report: show the texts of the service, which may name people.",
        rich_help_panel=_OUTPUT,
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
