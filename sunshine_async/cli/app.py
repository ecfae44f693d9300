"""The commands of the command line, and the options of each command."""

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli import demo as demonstration
from sunshine_async.cli.conversations import conversations, messages
from sunshine_async.cli.job import job
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    KeyId,
    SecretFile,
    ServiceName,
    SignalInterrupt,
    Status,
    Yes,
    exit_on_error,
    option,
    parse_concurrency,
)
from sunshine_async.cli.output import Printer
from sunshine_async.cli.run_job import ImportPlan, run_dry, run_import
from sunshine_async.cli.services import (
    ConnectionOptions,
    can_prompt,
    confirm,
    find_service,
    pace,
    stdin_is_terminal,
)
from sunshine_async.cli.streams import OutputError, emit, open_streams
from sunshine_async.cli.users import users
from sunshine_async.cli.webhooks import webhooks
from sunshine_async.jobs import Duplicates, Mode, open_rows
from sunshine_async.jobs.options import GRACE, MAX_OUTAGE, JobOptions
from sunshine_async.rows import Empty, Format, Row, RowFile
from sunshine_async.rows.file import STDIN

_WITHOUT_DRY_RUN: Final = (
    "concurrency", "max_failures", "journal", "duplicates", "yes", "retry_failed", "retry_unknown",
    "accept_changed_source", "full", "keep_bodies", "max_outage", "grace", "base_url", "app_id",
    "key_id", "secret_file",
)  # fmt: skip
"""Options without an effect in a dry run."""

app: Final = typer.Typer(
    name="sunshine-async",
    help="Create, update, get and delete users at Sunshine Conversations, Smooch and Dixa: the users in a file, or a single user. Send messages to the users of Sunshine Conversations.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(users, name="users")
app.add_typer(conversations, name="conversations")
app.add_typer(messages, name="messages")
app.add_typer(job, name="job")
app.add_typer(webhooks, name="webhooks")


def run() -> None:
    """Run the command line of the process, and exit with the status of the command."""
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
    number: Annotated[
        int | None, option("--users", min=20, help="How many users. Default: 2000, or 300 --bot.")
    ] = None,
    *,
    bot: Annotated[
        bool, option("--bot", help="Show a bot: users write, and the bot is killed three times.")
    ] = False,
) -> None:
    """Show the library at work on an emulator: no account is needed, nothing leaves this machine."""
    with exit_on_error():
        if bot:
            chat = import_module("sunshine_async.cli.demo_chat")  # needs the receiver
            raise typer.Exit(anyio.run(chat.run_bot_demo, Printer(), number or 300))
        number = number or 2000
        raise typer.Exit(anyio.run(demonstration.run_demo, Printer(), number))


@app.command()
def emulator(
    *,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0: any free port.")
    ] = 8080,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second; requests over the limit get 429. Default: no limit."),
    ] = None,
    latency: Annotated[float, typer.Option(help="Seconds that each answer takes.")] = 0.0,
    fail: Annotated[float, typer.Option(help="Fraction of calls that fail, such as 0.02.")] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the random faults: the same seed gives the same faults."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(help="An accepted key, as id:secret. Default: all keys. Repeatable."),
    ] = None,
    token: Annotated[
        list[str] | None, typer.Option(help="An accepted token. Default: all tokens. Repeatable.")
    ] = None,
    state: Annotated[
        Path | None, option(help="A file that keeps the users for the next start.")
    ] = None,
    webhook_retry: Annotated[
        float, typer.Option(help="Seconds before a webhook is tried again; later waits are longer.")
    ] = 20.0,
    webhook_faults: Annotated[
        float,
        typer.Option(
            help="Fraction of webhook deliveries sent twice, and again after a lost answer; above 0 also late and with several events."
        ),
    ] = 0.0,
) -> None:
    """Run an emulator of the three services on this machine, with users in memory, until interrupted.

    The first line of output is "listening on http://127.0.0.1:PORT", once the server listens.
    """
    with exit_on_error():
        try:
            from sunshine_async.emulator import Emulator, WebhookFaults  # noqa: PLC0415 - it is an extra
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        share, is_on = webhook_faults, bool(webhook_faults)
        faults = WebhookFaults(twice=share, lost=share, late=0.3 * is_on, batch=10 if is_on else 1)
        Emulator(
            rate=rate, latency=latency, fail=fail, seed=seed, keys=key or (), tokens=token or (),
            state=state, webhook_retry=webhook_retry, webhook_faults=faults,
        ).run(port=port)  # fmt: skip


_Rename = Annotated[
    list[str] | None,
    option("--map", metavar="FIELD=COLUMN", help="The column or key of FIELD. Repeatable."),
]
_Skip = Annotated[
    list[str] | None, option(metavar="COLUMN", help="A column or key that is not sent. Repeatable.")
]
_Region = Annotated[
    str | None,
    option(
        metavar="REGION",
        help="Turn phone numbers into E.164; numbers without a country code are numbers of this region, such as DE. For Dixa.",
    ),
]
_Concurrency = Annotated[
    Any,
    option(
        parser=parse_concurrency,
        metavar="N|auto",
        help="Calls under way at once. Default: 64, or 8 if a call has a hundred rows (Dixa); auto finds the number that is enough.",
    ),
]
_Rate = Annotated[float | None, option(help="Calls a second, at most. Dixa's default: 10.")]
_MaxFailures = Annotated[
    int | None, option(min=0, help="Give up when more rows than this were not done.")
]
_DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read all rows, send nothing; show the rows that would be refused, and the time needed. Needs no credentials.",
    ),
]
_Journal = Annotated[
    str | None,
    option(help="A file that records the state of each row: the same command, run again, goes on."),
]
_Duplicates = Annotated[
    Duplicates | None,
    option(help="With a journal: which rows with the same key are sent. Default: the last."),
]
_RetryFailed = Annotated[
    bool, option("--retry-failed", help="Send failed rows again, except users already created.")
]
_RetryUnknown = Annotated[
    bool,
    option(
        "--retry-unknown",
        help="Look up unknown rows, or send the rows again. A message is looked up, and sent again if it isn't there.",
    ),
]
_AcceptChangedSource = Annotated[
    bool,
    option(
        "--accept-changed-source",
        help="Go on although the file has changed: rows that are done and haven't changed are skipped; changed and new rows are sent.",
    ),
]
_Full = Annotated[
    bool, option("--full", help="Upsert also rows that haven't changed since the last import.")
]
_KeepBodies = Annotated[
    bool, option("--keep-bodies", help="Keep the content of each row in the journal.")
]
_MaxOutage = Annotated[
    float,
    typer.Option(min=0, help="Seconds to wait for a service that can't be reached; then give up."),
]
_Grace = Annotated[
    float, typer.Option(min=0, help="Seconds that calls under way get to end after an interrupt.")
]
_AsJson = Annotated[
    bool,
    option(
        "--json",
        help="The summary as one line of JSON; on stderr one line for each row not done, and each note.",
    ),
]

# long lines: a terminal of any width breaks them where it ends
_IMPORT: Final = """Create, update, upsert (create or update) or delete the users in a file, a row each; or send each a message.

JSON lines hold bodies with the service's own names. A CSV file's first line names the fields: externalId, profile.givenName, metadata.tier ...; a cell is text, unless the column says metadata.age:number or metadata.vip:boolean (true yes 1, false no 0). A time has its zone: 2020-05-21T15:53:30Z. To update and delete, a row has the user's id or externalId; for Dixa its id.

To Dixa a hundred rows go in a call. Dixa's fields are displayName, email, phoneNumber, externalId, additionalEmails (one|another) ...; users at Dixa can't be deleted: a deletion anonymizes a user, for good, with all conversations.

A message (Sunshine only): a row has a text, and a conversationId or the user's externalId; metadata.tier ... is the message's. With an externalId the text goes to the user's own conversation: the default one, or a new one if the user has none. Messages of a conversation, or user, go one after another, in the order of the file. All rows are sent, equal rows too. Each message carries a key in its metadata (sunshineAsyncOnce). After a lost answer, or a kill, the key is looked up: the row is done if the message is there, else unknown, since the message may still arrive. An unknown message is sent again on request only (--retry-unknown).

Each row ends as done, failed (the service doesn't have the row), unknown (the service may have the row, or not) or bad (the row couldn't be read, and nothing was sent).

Exit status: 0 all done; 1 some rows were not; 2 could not start; 3 given up (credentials refused, service gone, --max-failures, no room for the journal); 130 or 143 interrupted: no more rows are taken, and calls under way get --grace seconds to end.

With --journal the same command, run again after any interruption, goes on: no row is lost, no user made twice, no message sent twice. After the end, a changed file may be next: an upsert then sends the changed rows.

The command waits for a service that is gone, --max-outage seconds at most, and obeys a service that throttles (429): the pace settles below the limit of the service.
"""


@app.command("import", help=_IMPORT)
def import_file(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(help=".jsonl or .csv, also with .gz; - is standard input.")
    ],
    *,
    mode: Annotated[
        Mode, typer.Option(metavar="MODE", help="create, update, upsert, delete or message.")
    ],
    service: ServiceName = "sunshine",
    rename: _Rename = None,
    skip: _Skip = None,
    format: Annotated[Format | None, option(help="Format of FILE. Default: from the name.")] = None,
    delimiter: Annotated[
        str, typer.Option(help="Separator of the cells in a CSV file: , or ; or tab.")
    ] = ",",
    empty: Annotated[
        Empty, typer.Option(help="An empty cell: leave the field out, or clear the field.")
    ] = Empty.LEAVE,
    default_region: _Region = None,
    concurrency: _Concurrency = None,
    rate: _Rate = None,
    max_failures: _MaxFailures = None,
    dry_run: _DryRun = False,
    journal: _Journal = None,
    duplicates: _Duplicates = None,
    retry_failed: _RetryFailed = False,
    retry_unknown: _RetryUnknown = False,
    accept_changed_source: _AcceptChangedSource = False,
    full: _Full = False,
    keep_bodies: _KeepBodies = False,
    max_outage: _MaxOutage = MAX_OUTAGE,
    grace: _Grace = GRACE,
    as_json: _AsJson = False,
    yes: Yes = False,
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Run the import command."""
    with exit_on_error():
        found = find_service(service)
        task = found.service.task(mode)
        connection = ConnectionOptions(
            base_url=base_url, app_id=app_id, key_id=key_id, secret_file=secret_file, rate=rate,
            concurrency=concurrency or task.concurrency,
            may_ask=can_prompt() and file != STDIN,
        )  # fmt: skip
        printer = Printer(as_json=as_json)
        options = JobOptions(
            concurrency=connection.concurrency, max_failures=max_failures, max_outage=max_outage,
            grace=grace, on_problem=printer.print_problem if as_json else None, duplicates=duplicates,
            retry_failed=retry_failed, retry_unknown=retry_unknown,
            accept_changed_source=accept_changed_source, full=full, keep_bodies=keep_bodies,
        )  # fmt: skip
        plan = ImportPlan(found.service, mode, options, journal)
        if file == STDIN and stdin_is_terminal():
            printer.print_note(
                "Reading rows from the terminal: Ctrl-D on a line of its own ends them."
            )
        with open_rows(
            file, task.shape, format=format, empty=empty, skip=skip or (),
            delimiter="\t" if delimiter == "tab" else delimiter, renames=_renames(rename or []),
            default_region=default_region,
        ) as rows:  # fmt: skip
            if not dry_run:
                plan.check_journal(file)
                if mode is Mode.DELETE and not yes:
                    _confirm_deletion(rows, service, may_ask=connection.may_ask)
                client = found.connect(connection)
                raise typer.Exit(anyio.run(run_import, plan, rows, client, printer))
            pace(connection)
            idle = [
                f"--{name.replace('_', '-')}"
                for name in _WITHOUT_DRY_RUN
                if getattr(context.get_parameter_source(name), "name", None) == "COMMANDLINE"
            ]
            if idle:
                printer.print_note(f"Nothing is sent, so these have no effect: {', '.join(idle)}")
            raise typer.Exit(run_dry(plan, rows, printer, rate=rate or found.rate))


def _confirm_deletion(rows: RowFile, service: str, *, may_ask: bool) -> None:
    """Ask whether the users in a file may be deleted, with the number of rows."""
    count = "the"
    if may_ask and rows.path is not None:
        with rows.again() as again:
            count = f"{sum(isinstance(row, Row) for row in again):,}"
    act = "Anonymize, for good, with all conversations," if service == "dixa" else "Delete"
    confirm(f"{act} {count} users in {rows.name} at {service}", yes=False, may_ask=may_ask)


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
