"""What the command line knows of each service: how to reach it, and single users of it."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from attrs import frozen

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    ConflictError,
    DixaClient,
    Pace,
    SmoochClient,
    SunshineClient,
    jobs,
)
from sunshine_async._calls.client import AppClient, Client
from sunshine_async._pace.concurrency import HIGHEST_LIMIT
from sunshine_async.bulk import Concurrency
from sunshine_async.dixa.client import RATE

App = TypeVar("App", bound=AppClient)


@frozen(kw_only=True)
class Access:
    """What was said of where a service is, and as whom to call it."""

    base_url: str | None = None
    app_id: str | None = None
    key_id: str | None = None
    secret_file: Path | None = None
    rate: float | None = None
    concurrency: Concurrency = 1
    may_ask: bool = False
    """Whether there is someone to ask for the secret."""

    @property
    def connections(self) -> int:
        """How many connections there may be: of ten, batches leave one to others."""
        at_once = HIGHEST_LIMIT if self.concurrency == "auto" else self.concurrency
        return at_once + at_once // 8 + 1


@frozen(kw_only=True)
class How:
    """What else was said of what is to be done with one user."""

    brand_id: str | None = None
    force: bool = False


@frozen
class Known:
    """A service that the command line knows."""

    service: jobs.Service
    connect: Callable[[Access], Client]
    get: Callable[[Any, str, How], Awaitable[object]]
    delete: Callable[[Any, str, How], Awaitable[str]]
    """Returns the sentence that says what was done."""
    takes: tuple[str, ...] = ()
    """What of `How` means something to it."""
    rate: float | None = None
    """The calls a second that its client keeps to by itself."""

    def meant(self, how: How) -> How:
        """Return *how*; raise `ConfigurationError` for what means nothing to the service."""
        for name in ("brand_id", "force"):
            if getattr(how, name) and name not in self.takes:
                option = name.replace("_", "-")
                message = f"--{option} means nothing to {self.service.name}: leave it out"
                raise ConfigurationError(message)
        return how


def known(name: str) -> Known:
    """Return the service called *name*; raise `ConfigurationError`, saying which there are."""
    found = SERVICES.get(name)
    if found is None:
        message = (
            f"--service {name}: there is no such service here. There is: {', '.join(SERVICES)}"
        )
        raise ConfigurationError(message)
    return found


def pace(access: Access) -> Pace | None:
    """Return the pace that was asked for, if one was; raise `ConfigurationError` if it can't be."""
    try:
        return None if access.rate is None else Pace(rate=access.rate)
    except ValueError as error:
        message = f"--rate can't be that: {error}"
    raise ConfigurationError(message)


def secret(access: Access, variable: str, *, what: str, ask: Callable[[str], str]) -> str:
    """Return the secret, *what* it is called, from its file, the environment, or who is there to *ask*.

    It has no option of its own: other users of a machine can see the options of a process.
    """
    if access.secret_file is not None:
        try:
            return access.secret_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it isn't text"
            message = f"--secret-file {access.secret_file} can't be read: {reason}"
        raise ConfigurationError(message)
    found = os.environ.get(variable)
    if found:
        return found
    if access.may_ask:
        return ask(what)
    message = f"the {what} is missing: set {variable}, or give --secret-file"
    raise ConfigurationError(message)


def _ask(what: str) -> str:
    answer: str = typer.prompt(f"The {what} (it isn't shown)", hide_input=True, err=True)
    return answer


def _said(value: str | None, option: str, variable: str) -> str:
    found = os.environ.get(variable) if value is None else value
    if not found:
        message = f"{option} is missing: give it, or set {variable}"
        raise ConfigurationError(message)
    return found


def _connected(kind: type[App]) -> Callable[[Access], App]:
    """Return how a client of *kind* is made of what was said, and of the environment."""

    def connect(access: Access) -> App:
        app_id = _said(access.app_id, "--app-id", f"{kind.prefix}_APP_ID")
        key_id = _said(access.key_id, "--key-id", f"{kind.prefix}_KEY_ID")
        found = secret(access, f"{kind.prefix}_KEY_SECRET", what="key's secret", ask=_ask)
        return kind(
            app_id,
            auth=BasicAuth(key_id, found),
            base_url=access.base_url,
            pace=pace(access),
            max_connections=access.connections,
        )

    return connect


def _connected_to_dixa(access: Access) -> DixaClient:
    """Return a client of what was said, at the pace that all with its token share unless told."""
    for option, value in (("--app-id", access.app_id), ("--key-id", access.key_id)):
        if value is not None:
            message = f"{option} means nothing to dixa, which has an API token alone: leave it out"
            raise ConfigurationError(message)
    token = secret(access, "DIXA_API_TOKEN", what="API token", ask=_ask)
    return DixaClient(
        auth=ApiToken(token),
        base_url=access.base_url,
        pace=pace(access),
        max_connections=access.connections,
    )


async def _deleted(call: Awaitable[None]) -> str:
    await call
    return "Deleted."


async def _anonymized(client: DixaClient, who: str, how: How) -> str:
    try:
        await client.end_users.anonymize(who, force=how.force)
    except ConflictError as error:
        if not how.force:
            error.add_note(_OPEN)
        raise
    return _ANONYMIZED


_OPEN: Final = ". Are there open conversations? With --force it is done all the same"
_ANONYMIZED: Final = (
    "Taken on: Dixa anonymizes the end user, with all conversations and messages, for good. "
    "It may take up to 24 hours."
)

SERVICES: Final[Mapping[str, Known]] = {
    "sunshine": Known(
        jobs.SUNSHINE,
        _connected(SunshineClient),
        get=lambda client, who, how: client.users.get(who, brand_id=how.brand_id),
        delete=lambda client, who, how: _deleted(client.users.delete(who, brand_id=how.brand_id)),
        takes=("brand_id",),
    ),
    "smooch": Known(
        jobs.SMOOCH,
        _connected(SmoochClient),
        get=lambda client, who, _: client.app_users.get(who),
        delete=lambda client, who, _: _deleted(client.app_users.delete(who)),
    ),
    "dixa": Known(
        jobs.DIXA,
        _connected_to_dixa,
        get=lambda client, who, _: client.end_users.get(who),
        delete=_anonymized,
        takes=("force",),
        rate=RATE,
    ),
}


def someone_there() -> bool:
    """Return whether a person is at the terminal."""
    return typing() and sys.stderr.isatty()


def typing() -> bool:
    """Return whether standard input is a terminal; None is a process started without one."""
    return sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]
