"""The commands and their options."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli import demo as demonstration
from sunshine_async.cli.job import job
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    KeyId,
    SecretFile,
    ServiceName,
    SignalInterrupt,
    Status,
    exit_on_error,
    parse_concurrency,
)
from sunshine_async.cli.output import Printer
from sunshine_async.cli.run_job import GRACE, Journaled, Order, carry_out, rehearsed
from sunshine_async.cli.services import (
    ConnectionOptions,
    can_prompt,
    find_service,
    pace,
    stdin_is_terminal,
)
from sunshine_async.cli.streams import OutputError, emit, open_streams
from sunshine_async.cli.users import users
from sunshine_async.jobs import Duplicates, Mode, open_rows
from sunshine_async.rows import Empty, Format
from sunshine_async.rows.file import STDIN

_TAB: Final = "tab"
_NOT_REHEARSED: Final = (
    "concurrency", "max_failures", "journal", "duplicates", "retry_failed", "retry_unknown",
    "accept_changed_source", "full", "keep_bodies", "max_outage", "grace", "base_url", "app_id",
    "key_id", "secret_file",
)  # fmt: skip
"""What a dry run has no use for."""

app: Final = typer.Typer(
    name="sunshine-async",
    help="People behind a messaging platform: whole files of them, or one at a time.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(users, name="users")
app.add_typer(job, name="job")


def run() -> None:
    """Run the command line that the process was started with, and exit with its status."""
    open_streams()
    # as an error, so that files are put in order
    before = signal.signal(signal.SIGTERM, SignalInterrupt.handle)
    try:
        app()
    finally:
        signal.signal(signal.SIGTERM, before)
        emit(sys.stderr, "")
        try:
            emit(sys.stdout, "")
        except OutputError as error:
            emit(sys.stderr, f"sunshine-async: {error}\n")
            sys.exit(Status.TROUBLE)


@app.command()
def demo(
    number: Annotated[int, typer.Option("--users", min=20, help="How many users.")] = 2000,
) -> None:
    """Show it all, on an emulator: no account is needed, and nothing leaves this machine."""
    with exit_on_error():
        raise typer.Exit(anyio.run(demonstration.run_demo, Printer(), number))


@app.command()
def emulator(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8080,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second; what is over it gets 429.")
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds that each answer takes.")] = 0.0,
    fail: Annotated[
        float, typer.Option(help="The part of the calls that go wrong: 0.02 is one in fifty.")
    ] = 0.0,
    seed: Annotated[int | None, typer.Option(help="The same mishaps every time.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="id:secret of a key that is let in; without any, all are. Repeatable."),
    ] = None,
    token: Annotated[
        list[str] | None, typer.Option(help="A token that is let in. Repeatable.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A file that keeps what there is, for the next start.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer as the services do, from memory, until interrupted.

    The first line of output is "listening on http://127.0.0.1:PORT", once it listens.
    """
    with exit_on_error():
        try:
            from sunshine_async.emulator import Emulator  # noqa: PLC0415 - it is an extra
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        Emulator(
            rate=rate,
            latency=latency,
            fail=fail,
            seed=seed,
            keys=key or (),
            tokens=token or (),
            state=state,
        ).run(port=port)


@app.command("import")
def import_file(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help=".jsonl or .csv, also with .gz; - is standard input.")
    ],
    *,
    mode: Annotated[Mode, typer.Option(metavar="MODE", help="create, update, upsert or delete.")],
    service: ServiceName = "sunshine",
    rename: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="A field's column or key. Repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="A column or key to pass over. Repeatable."),
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="If the file's name doesn't say it.", show_default=False)
    ] = None,
    delimiter: Annotated[
        str, typer.Option(help="What stands between a CSV file's cells: , or ; or tab.")
    ] = ",",
    empty: Annotated[
        Empty, typer.Option(help="What an empty cell does: leave the field out, or clear it.")
    ] = Empty.LEAVE,
    default_region: Annotated[
        str | None,
        typer.Option(
            metavar="REGION",
            help="Turn phone numbers into E.164, those without a country code as in this region, such as DE. For Dixa.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        Any,
        typer.Option(
            parser=parse_concurrency,
            metavar="N|auto",
            help="Calls under way at once: 64 unless given, 8 where a call has a hundred rows (Dixa); auto finds how many are enough.",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Calls a second, at most. Dixa: 10 unless given.", show_default=False),
    ] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(
            min=0, help="Give up when more rows than this weren't done.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read all, send nothing; say what would be refused, and how long it takes. Needs no credentials.",
        ),
    ] = False,
    journal: Annotated[
        str | None,
        typer.Option(
            help="A file that keeps what was done: the same command, run again, goes on from there.",
            show_default=False,
        ),
    ] = None,
    duplicates: Annotated[
        Duplicates | None,
        typer.Option(
            help="With a journal: which of the rows with the same key are sent. By default the last.",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Send the rows again that failed, but not those already created."
        ),
    ] = False,
    retry_unknown: Annotated[
        bool,
        typer.Option("--retry-unknown", help="Look for the unknown rows, or send them again."),
    ] = False,
    accept_changed_source: Annotated[
        bool,
        typer.Option(
            "--accept-changed-source",
            help="Go on although the file isn't what it was: rows that are done and haven't changed "
            "are skipped, and those that changed or are new are sent.",
        ),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Upsert the rows too that haven't changed since.")
    ] = False,
    keep_bodies: Annotated[
        bool, typer.Option("--keep-bodies", help="Let the journal have the rows themselves.")
    ] = False,
    max_outage: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for a service that is gone."),
    ] = 900.0,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for calls under way to end, once interrupted.")
    ] = GRACE,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="The summary as one line of JSON; on stderr one for each row not done, and each note.",
        ),
    ] = False,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Create, update, upsert (create or update) or delete the users in a file, a row each.

    JSON lines hold bodies with the service's own names. A CSV file's first line names the fields: externalId, profile.givenName, metadata.tier ...; a cell is text, unless the column says metadata.age:number or metadata.vip:boolean (true yes 1, false no 0). A time has its zone: 2020-05-21T15:53:30Z. To update and delete, a row has the user's id or externalId; for Dixa its id.

    To Dixa a hundred rows go in a call. Its fields are displayName, email, phoneNumber, externalId, additionalEmails (one|another) ...; its users can't be deleted: they are anonymized, for good, with their conversations.

    Each row ends as done, failed (the service doesn't have it), unknown (it may have it, or not) or bad (it couldn't be read, and nothing was sent).

    Exit status: 0 all done; 1 some rows were not; 2 could not start; 3 given up (credentials refused, service gone, --max-failures, no room for the journal); 130 or 143 interrupted: no more rows are taken, and calls under way get --grace seconds to end.

    With --journal, whatever cut it off, the same command run again goes on: no row is lost, no user made twice. Once it has ended, a changed file may be next: an upsert then sends what has changed.

    A service that is gone is waited for, --max-outage seconds at most, and one that throttles (429) is obeyed: a pace below its limit is found.
    """
    # long lines: a terminal of any width breaks them where it ends
    with exit_on_error():
        found = find_service(service)
        journaled = Journaled(
            journal,
            duplicates=duplicates,
            retry_failed=retry_failed,
            retry_unknown=retry_unknown,
            accept_changed_source=accept_changed_source,
            full=full,
            keep_bodies=keep_bodies,
            max_outage=max_outage,
        )
        connection = ConnectionOptions(
            base_url=base_url,
            app_id=app_id,
            key_id=key_id,
            secret_file=secret_file,
            rate=rate,
            concurrency=concurrency or found.service.tasks[mode].concurrency,
            may_ask=can_prompt() and file != STDIN,
        )
        printer = Printer(as_json=as_json)
        if file == STDIN and stdin_is_terminal():
            printer.print_note(
                "Reading rows from the terminal: Ctrl-D on a line of its own ends them."
            )
        with open_rows(
            file,
            found.service.tasks[mode].shape,
            format=format,
            delimiter="\t" if delimiter == _TAB else delimiter,
            empty=empty,
            renames=_renames(rename or []),
            skip=skip or (),
            default_region=default_region,
        ) as rows:
            if dry_run:
                pace(connection)
                idle = ", ".join(_given(context, _NOT_REHEARSED))
                if idle:
                    printer.print_note(f"Nothing is sent, so these have no effect: {idle}")
                per_second = rate or found.rate
                raise typer.Exit(rehearsed(found.service, mode, rows, printer, rate=per_second))
            journaled.check(file)
            order = Order(
                found.service,
                mode,
                rows,
                concurrency=connection.concurrency,
                max_failures=max_failures,
                grace=grace,
                journal=journaled,
            )
            raise typer.Exit(anyio.run(carry_out, order, found.connect(connection), printer))


def _given(context: typer.Context, names: tuple[str, ...]) -> Iterator[str]:
    """Yield those of the options *names* that were given, as they are spelled."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            yield f"--{name.replace('_', '-')}"


def _renames(pairs: list[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not field or not equals or not column:
            message = f"--map {pair}: it is FIELD=COLUMN, such as externalId=customer_no"
            raise ConfigurationError(message)
        if field in renames:
            message = f"--map {pair}: {field} comes from {renames[field]} already"
            raise ConfigurationError(message)
        renames[field] = column
    return renames
