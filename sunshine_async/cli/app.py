"""The commands of the command line, and the options of each command."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer

from sunshine_async import ConfigurationError
from sunshine_async.cli import demo as demonstration
from sunshine_async.cli.cluster import ClusterAddress, Parts, SharedFile, submit, worker
from sunshine_async.cli.conversations import conversations, messages
from sunshine_async.cli.import_options import (
    AcceptChangedSource,
    AsJson,
    Concurrency,
    DateFormat,
    Delimiter,
    DryRun,
    EmptyCell,
    File,
    FileEncoding,
    FileFormat,
    Full,
    Grace,
    Journal,
    KeepBodies,
    KeptDuplicates,
    MaxFailures,
    MaxOutage,
    ModeOption,
    OnlyMapped,
    PaceAddress,
    Rate,
    RecordedCommand,
    Region,
    Rename,
    ReportPath,
    RetryFailed,
    RetryUnknown,
    ShowData,
    Skip,
    Timezone,
    check_companions,
    command_words,
    given_options,
    suggest_command,
)
from sunshine_async.cli.job import job
from sunshine_async.cli.options import (
    AppId,
    BaseUrl,
    HelpCommand,
    HelpGroup,
    KeyId,
    Port,
    SecretFile,
    ServiceName,
    SignalInterrupt,
    Status,
    Yes,
    credential,
    exit_on_error,
    number,
    option,
    show_version,
    termination_signals,
)
from sunshine_async.cli.output import Printer
from sunshine_async.cli.report_file import ReportFile
from sunshine_async.cli.run_job import ImportPlan, run_dry, run_import
from sunshine_async.cli.services import (
    ConnectionOptions,
    can_prompt,
    confirm,
    find_service,
    stdin_is_terminal,
)
from sunshine_async.cli.streams import OutputError, emit, open_streams
from sunshine_async.cli.users import users
from sunshine_async.cli.webhooks import webhooks
from sunshine_async.jobs import Mode, open_rows
from sunshine_async.jobs.options import GRACE, MAX_OUTAGE, JobOptions
from sunshine_async.rows import Empty, Row, RowFile
from sunshine_async.rows.file import STDIN
from sunshine_async.rows.shape import UTF_8

_WITHOUT_DRY_RUN: Final = (
    "concurrency", "max_failures", "journal", "duplicates", "yes", "retry_failed", "retry_unknown",
    "accept_changed_source", "full", "keep_bodies", "max_outage", "grace", "base_url", "app_id",
    "key_id", "secret_file", "report", "show_data", "pace_address", "cluster", "parts", "shared_file",
)  # fmt: skip
"""Options without an effect in a dry run."""
_READING: Final = "Reading rows from the terminal: Ctrl-D on a line of its own ends them."

app: Final = typer.Typer(
    name="sunshine-async",
    cls=HelpGroup,
    help="Create, update, get and delete users at Sunshine Conversations, Smooch and Dixa: the users in a file, or a single user. Send messages to the users of Sunshine Conversations.",
    callback=show_version,
    no_args_is_help=True,
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
    # as errors, so that files are put in order
    handlers = {one: signal.signal(one, SignalInterrupt.handle) for one in termination_signals()}
    try:
        app()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        emit(sys.stderr, "")
        try:
            emit(sys.stdout, "")
        except OutputError as error:
            emit(sys.stderr, f"sunshine-async: {error}\n")
            sys.exit(Status.TROUBLE)


@app.command(cls=HelpCommand)
def demo(
    number: Annotated[
        int | None,
        option(
            "--users",
            parser=number("users", low=20, whole=True),
            metavar="N",
            help="How many users. Default: 2000; of the bot: 300.",
        ),
    ] = None,
    *,
    bot: Annotated[
        bool, option("--bot", help="Show a bot: users write, and the bot is killed three times.")
    ] = False,
) -> None:
    """Show the library at work on an emulator: no account is needed, nothing leaves this machine."""
    with exit_on_error():
        if bot:
            from sunshine_async.cli import demo_chat  # noqa: PLC0415 - needs the receiver

            raise typer.Exit(anyio.run(demo_chat.run_bot_demo, Printer(), number or 300))
        number = number or 2000
        raise typer.Exit(anyio.run(demonstration.run_demo, Printer(), number))


_answers: Final = partial(option, rich_help_panel="Answers")
_webhooks: Final = partial(option, rich_help_panel="Webhooks")

_EmulatorRate = Annotated[
    float | None,
    _answers(
        parser=number("requests a second", above=0),
        metavar="N",
        help="Requests a second; requests over the limit get 429. Default: no limit.",
    ),
]
_Latency = Annotated[
    float,
    _answers(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds that each answer takes.",
        show_default=True,
    ),
]
_Fail = Annotated[
    float,
    _answers(
        parser=number("failing calls, as a fraction", high=1),
        metavar="FRACTION",
        help="Fraction of calls that fail, such as 0.02.",
        show_default=True,
    ),
]
_Seed = Annotated[
    int | None,
    _answers(
        parser=number("a seed", whole=True),
        metavar="N",
        help="Seed of the random faults: the same seed gives the same faults.",
    ),
]
_WebhookRetry = Annotated[
    float,
    _webhooks(
        parser=number("seconds"),
        metavar="SECONDS",
        help="Seconds before a webhook is tried again; later waits are longer.",
        show_default=True,
    ),
]
_WebhookFaults = Annotated[
    float,
    _webhooks(
        parser=number("deliveries, as a fraction", high=1),
        metavar="FRACTION",
        help="Fraction of webhook deliveries sent twice, and again after a lost answer; above 0 also late and with several events.",
        show_default=True,
    ),
]


@app.command(cls=HelpCommand)
def emulator(
    *,
    port: Port = 8080,
    rate: _EmulatorRate = None,
    latency: _Latency = 0.0,
    fail: _Fail = 0.0,
    seed: _Seed = None,
    key: Annotated[
        list[str] | None,
        credential(metavar="ID:SECRET", help="An accepted key. Default: all keys. Repeatable."),
    ] = None,
    token: Annotated[
        list[str] | None,
        credential(metavar="TOKEN", help="An accepted token. Default: all tokens. Repeatable."),
    ] = None,
    state: Annotated[
        Path | None, option(metavar="FILE", help="A file that keeps the users for the next start.")
    ] = None,
    webhook_retry: _WebhookRetry = 20.0,
    webhook_faults: _WebhookFaults = 0.0,
) -> None:
    """Run an emulator of the three services on this machine, with users in memory, until interrupted.

    The first line of output is "listening on http://127.0.0.1:PORT", once the server listens.
    """
    with exit_on_error():
        try:
            from sunshine_async.emulator import Emulator, WebhookFaults  # noqa: PLC0415 - it is an extra
            from sunshine_async.emulator.emulator import run_emulator  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        share, is_on = webhook_faults, bool(webhook_faults)
        faults = WebhookFaults(twice=share, lost=share, late=0.3 * is_on, batch=10 if is_on else 1)
        make = partial(
            Emulator, rate=rate, latency=latency, fail=fail, seed=seed, keys=key or (), tokens=token or (),
            state=state, webhook_retry=webhook_retry, webhook_faults=faults,
        )  # fmt: skip
        run_emulator(make, port=port)


# long lines: a terminal of any width breaks them where it ends
_IMPORT: Final = """Create, update, upsert (create or update) or delete the users in a file, a row each; or send each a message.

JSON lines hold bodies with the service's own names. A CSV file's first line names the fields: externalId, profile.givenName, metadata.tier ...; a cell is text, unless the column says metadata.age:number or metadata.vip:boolean (true yes 1, false no 0). A time has its zone: 2020-05-21T15:53:30Z. To update and delete, a row has the user's id or externalId; for Dixa its id.

To Dixa a hundred rows go in a call. Dixa's fields are displayName, email, phoneNumber, externalId, additionalEmails (one|another) ...; users at Dixa can't be deleted: a deletion anonymizes a user, for good, with all conversations.

A message (Sunshine only): a row has a text, and a conversationId or the user's externalId; metadata.tier ... is the message's. With an externalId the text goes to the user's own conversation: the default one, or a new one if the user has none. Messages of a conversation, or user, go one after another, in the order of the file. All rows are sent, equal rows too. Each message carries a key in its metadata (sunshineAsyncOnce). After a lost answer, or a kill, the key is looked up: the row is done if the message is there, else unknown, since the message may still arrive. An unknown message is sent again on request only (--retry-unknown).

Each row ends as done, failed (the service doesn't have the row), unknown (the service may have the row, or not) or bad (the row couldn't be read, and nothing was sent).

Exit status: 0 all done; 1 some rows were not; 2 could not start; 3 given up (credentials refused, service gone, --max-failures, no room for the journal); 129, 130 or 143 interrupted: no more rows are taken, and calls under way get --grace seconds to end.

With --cluster the parts of the file go to all machines that run sunshine-async worker, and this command waits for the end. The workers have the credentials and the rate.

With --journal, or --cluster, the same command, run again after any interruption, goes on: no row is lost, no user made twice, no message sent twice. After the end, a changed file may be next: an upsert then sends the changed rows. A database is a URL such as postgresql://user@host/database?job=NAME: NAME tells the jobs in a database apart. PGPASSWORD or a password file keeps the password out of the command.

The command waits for a service that is gone, --max-outage seconds at most, and obeys a service that throttles (429): the pace settles below the limit of the service.
"""


@app.command("import", help=_IMPORT, cls=RecordedCommand)
def import_file(
    context: typer.Context,
    file: File,
    *,
    mode: ModeOption,
    service: ServiceName = "sunshine",
    dry_run: DryRun = False,
    yes: Yes = False,
    format: FileFormat = None,
    delimiter: Delimiter = ",",
    encoding: FileEncoding = UTF_8,
    rename: Rename = None,
    skip: Skip = None,
    only_mapped: OnlyMapped = False,
    empty: EmptyCell = Empty.LEAVE,
    default_region: Region = None,
    timezone: Timezone = None,
    date_format: DateFormat = None,
    concurrency: Concurrency = None,
    rate: Rate = None,
    pace_address: PaceAddress = None,
    journal: Journal = None,
    duplicates: KeptDuplicates = None,
    keep_bodies: KeepBodies = False,
    retry_failed: RetryFailed = False,
    retry_unknown: RetryUnknown = False,
    accept_changed_source: AcceptChangedSource = False,
    full: Full = False,
    max_failures: MaxFailures = None,
    max_outage: MaxOutage = MAX_OUTAGE,
    grace: Grace = GRACE,
    report: ReportPath = None,
    show_data: ShowData = False,
    as_json: AsJson = False,
    cluster: ClusterAddress = None,
    parts: Parts = 64,  # noqa: ARG001 - `submit` reads both from the context
    shared_file: SharedFile = False,  # noqa: ARG001
    base_url: BaseUrl = None,
    app_id: AppId = None,
    key_id: KeyId = None,
    secret_file: SecretFile = None,
) -> None:
    """Run the import command."""
    with exit_on_error():
        found, printer = find_service(service), Printer(as_json=as_json)
        task = found.service.task(mode)
        connection = ConnectionOptions(
            base_url=base_url, app_id=app_id, key_id=key_id, secret_file=secret_file, rate=rate,
            pace=pace_address, concurrency=concurrency or task.concurrency,
            may_ask=can_prompt() and file != STDIN,
        )  # fmt: skip
        options = JobOptions(
            concurrency=connection.concurrency, max_failures=max_failures, max_outage=max_outage,
            grace=grace, on_problem=printer.print_problem if as_json else None, duplicates=duplicates,
            retry_failed=retry_failed, retry_unknown=retry_unknown,
            accept_changed_source=accept_changed_source, full=full, keep_bodies=keep_bodies,
        )  # fmt: skip
        page = ReportFile(report, show_data) if report and not dry_run else None
        words, place = command_words(context), cluster if journal is None else journal
        plan = ImportPlan(found.service, mode, options, place, page, words)
        if file == STDIN and stdin_is_terminal():
            printer.print_note(_READING)
        with suggest_command(context), open_rows(
            file, task.shape, format=format, empty=empty, skip=skip or (),
            delimiter="\t" if delimiter == "tab" else delimiter, renames=_renames(rename or []),
            only_mapped=only_mapped, default_region=default_region, encoding=encoding,
            timezone=timezone, date_formats=date_format or (),
        ) as rows:  # fmt: skip
            if dry_run:
                _note_idle_options(context, printer)
                raise typer.Exit(run_dry(plan, rows, printer, rate=rate or found.rate))
            check_companions(context)
            plan.check_files(file, connection)
            if mode is Mode.DELETE and not yes:
                _confirm_deletion(rows, service, may_ask=connection.may_ask)
            if cluster is not None:
                raise typer.Exit(submit(context, plan, rows, printer))
            raise typer.Exit(anyio.run(run_import, plan, rows, found.connect(connection), printer))


app.command(cls=HelpCommand)(worker)


def _note_idle_options(context: typer.Context, printer: Printer) -> None:
    """Print the options given that have no effect in a dry run."""
    if idle := given_options(context, _WITHOUT_DRY_RUN):
        printer.print_note(f"Nothing is sent, so these have no effect: {', '.join(idle)}")


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
