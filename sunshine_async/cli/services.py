"""Services of the command line: connection options, credentials and clients."""

import os
import sys
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import typer
from attrs import frozen

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Pace,
    SmoochClient,
    SunshineClient,
    jobs,
)
from sunshine_async._calls.client import AppClient, Client
from sunshine_async._pace.concurrency import HIGHEST_LIMIT
from sunshine_async._pace.waiting import shared_from
from sunshine_async.bulk import Concurrency
from sunshine_async.cli.files import NamedFile, check_distinct
from sunshine_async.cli.streams import escape_controls
from sunshine_async.dixa.client import RATE

App = TypeVar("App", bound=AppClient)


@frozen(kw_only=True)
class ConnectionOptions:
    """Options of a connection: address, credentials, rate and concurrency."""

    base_url: str | None = None
    app_id: str | None = None
    key_id: str | None = None
    secret_file: Path | None = None
    rate: float | None = None
    pace: str | None = None
    """The address of a pace that processes share."""
    concurrency: Concurrency = 1
    may_ask: bool = False
    """A person is at the terminal and can type the secret."""

    @property
    def connections(self) -> int:
        """Number of connections: of ten connections, batches leave a connection to single calls."""
        calls = HIGHEST_LIMIT if self.concurrency == "auto" else self.concurrency
        return calls + calls // 8 + 1

    def files(self) -> Generator[NamedFile]:
        """Yield the files of the connection: the secret, and the pace."""
        if self.secret_file is not None:
            option = f"--secret-file {self.secret_file}"
            yield NamedFile(option, self.secret_file, "the file of the secret")
        scheme, _, path = (self.pace_address or "").partition(":")
        if scheme == "file":
            shared = Path(path.removeprefix("//"))
            yield NamedFile(f"--pace file:{shared}", shared, "the file of the pace")

    @property
    def pace_address(self) -> str | None:
        """The address of a pace that processes share: the option, or the environment's."""
        return self.pace or os.environ.get("SUNSHINE_PACE")


def call_options(
    base_url: str | None, app_id: str | None, key_id: str | None, secret_file: Path | None
) -> ConnectionOptions:
    """Return the options of a connection for a single call."""
    return ConnectionOptions(
        base_url=base_url, app_id=app_id, key_id=key_id, secret_file=secret_file,
        may_ask=can_prompt(),
    )  # fmt: skip


@frozen
class CliService:
    """A service of the command line."""

    service: jobs.Service
    connect: Callable[[ConnectionOptions], Client]
    rate: float | None = None
    """Calls a second of the service's client, unless options give a rate."""


def find_service(name: str) -> CliService:
    """Return the service called *name*; raise `ConfigurationError` for an unknown name."""
    found = SERVICES.get(name)
    if found is None:
        message = f"--service {name}: unknown service. Services are: {', '.join(SERVICES)}"
        raise ConfigurationError(message)
    return found


def pace(connection: ConnectionOptions, default: float | None = None) -> Pace | None:
    """Return the pace for ``--rate`` and ``--pace``, or None; *default* is the service's rate.

    Raise `ConfigurationError` for a bad address.
    """
    if connection.rate is None and connection.pace is None:
        return None
    shared = shared_from(connection.pace_address)
    return Pace(rate=default if connection.rate is None else connection.rate, shared=shared)


def find_secret(connection: ConnectionOptions, variable: str, *, what: str) -> str:
    """Return the secret, called *what*, from the file, the environment, or the person at the terminal.

    A secret is never an option, since all users of a machine can see the options of a process.
    Raise `ConfigurationError` for a file that can't be read or has another use, or if the secret is
    missing.
    """
    if connection.secret_file is not None:
        check_distinct(connection.files())
        try:
            return connection.secret_file.read_text(encoding="utf-8-sig").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "the file isn't text"
            message = f"--secret-file {connection.secret_file} can't be read: {reason}"
        raise ConfigurationError(message)
    found = os.environ.get(variable)
    if found:
        return found
    if connection.may_ask:
        prompt = f"The {what} (not shown while you type)"
        answer: str = typer.prompt(prompt, hide_input=True, err=True)
        return answer
    message = (
        f"the {what} is missing: set {variable}, or name a file with it: --secret-file secret.txt"
    )
    raise ConfigurationError(message)


def _required(value: str | None, option: str, variable: str) -> str:
    found = os.environ.get(variable) if value is None else value
    if not found:
        message = f"{option} is missing: give {option}, or set {variable}"
        raise ConfigurationError(message)
    return found


def _app_connector(kind: type[App]) -> Callable[[ConnectionOptions], App]:
    """Return the function that makes a client of *kind* from options and the environment."""

    def connect(connection: ConnectionOptions) -> App:
        app_id = _required(connection.app_id, "--app-id", f"{kind.prefix}_APP_ID")
        key_id = _required(connection.key_id, "--key-id", f"{kind.prefix}_KEY_ID")
        secret = find_secret(connection, f"{kind.prefix}_KEY_SECRET", what="key's secret")
        return kind(
            app_id,
            auth=BasicAuth(key_id, secret),
            base_url=connection.base_url,
            pace=pace(connection),
            max_connections=connection.connections,
        )

    return connect


def _connect_dixa(connection: ConnectionOptions) -> DixaClient:
    """Make a Dixa client; without ``--rate`` all clients of the same token share a pace."""
    for option, value in (("--app-id", connection.app_id), ("--key-id", connection.key_id)):
        if value is not None:
            message = f"{option} doesn't apply to dixa, which has an API token only: leave it out"
            raise ConfigurationError(message)
    token = find_secret(connection, "DIXA_API_TOKEN", what="API token")
    return DixaClient(
        auth=ApiToken(token),
        base_url=connection.base_url,
        pace=pace(connection, RATE),
        max_connections=connection.connections,
    )


SERVICES: Final[Mapping[str, CliService]] = {
    "sunshine": CliService(jobs.SUNSHINE, _app_connector(SunshineClient)),
    "smooch": CliService(jobs.SMOOCH, _app_connector(SmoochClient)),
    "dixa": CliService(jobs.DIXA, _connect_dixa, rate=RATE),
}


def confirm(act: str, *, yes: bool, may_ask: bool) -> None:
    """Ask the person at the terminal to confirm *act*, unless *yes* is set.

    Raise `ConfigurationError` if the answer isn't yes, or if nobody can be asked.
    """
    if yes:
        return
    if not may_ask:
        message = (
            f"{act}: give --yes to confirm, since there is no terminal to ask. Nothing was sent"
        )
        raise ConfigurationError(message)
    if not typer.confirm(f"{escape_controls(act)}?", err=True):
        message = "not confirmed: nothing was sent"
        raise ConfigurationError(message)


def can_prompt() -> bool:
    """Return True if a person at the terminal can answer a prompt."""
    return stdin_is_terminal() and sys.stderr.isatty()


def stdin_is_terminal() -> bool:
    """Return True if standard input is a terminal; a process may have none."""
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]
