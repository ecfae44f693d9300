"""What the command line knows of each service: how to reach it, and single users of it."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
from attrs import frozen

from sunshine_async import (
    BasicAuth,
    ConfigurationError,
    Pace,
    SmoochClient,
    SunshineClient,
    jobs,
)
from sunshine_async._client import AppClient, Client

App = TypeVar("App", bound=AppClient)


@frozen(kw_only=True)
class Access:
    """What was said of where a service is, and as whom to call it."""

    base_url: str | None = None
    app_id: str | None = None
    key_id: str | None = None
    secret_file: Path | None = None
    rate: float | None = None
    concurrency: int = 1
    may_ask: bool = False
    """Whether there is someone to ask for the secret."""


@frozen
class Known:
    """A service that the command line knows."""

    service: jobs.Service
    connect: Callable[[Access], Client]
    get: Callable[[Any, str, str | None], Awaitable[object]]
    delete: Callable[[Any, str, str | None], Awaitable[None]]


def known(name: str) -> Known:
    """Return the service called *name*; raise `ConfigurationError`, saying which there are."""
    found = SERVICES.get(name)
    if found is None:
        message = (
            f"--service {name}: there is no such service here. There is: {', '.join(SERVICES)}"
        )
        raise ConfigurationError(message)
    return found


def pace(access: Access) -> Pace:
    """Return the pace that was asked for; raise `ConfigurationError` for one that can't be."""
    try:
        return Pace(rate=access.rate, max_in_flight=access.concurrency)
    except ValueError as error:
        message = f"--rate or --concurrency can't be that: {error}"
    raise ConfigurationError(message)


def secret(access: Access, variable: str, *, ask: Callable[[], str]) -> str:
    """Return the secret from its file, the environment, or who is there to *ask*.

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
        return ask()
    message = f"the key's secret is missing: set {variable}, or give --secret-file"
    raise ConfigurationError(message)


def _ask() -> str:
    answer: str = typer.prompt("Secret of the key (it isn't shown)", hide_input=True, err=True)
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
        return kind(
            app_id,
            auth=BasicAuth(key_id, secret(access, f"{kind.prefix}_KEY_SECRET", ask=_ask)),
            base_url=access.base_url,
            pace=pace(access),
            max_connections=access.concurrency,
        )

    return connect


SERVICES: Final[Mapping[str, Known]] = {
    "sunshine": Known(
        jobs.SUNSHINE,
        _connected(SunshineClient),
        get=lambda client, who, brand_id: client.users.get(who, brand_id=brand_id),
        delete=lambda client, who, brand_id: client.users.delete(who, brand_id=brand_id),
    ),
    "smooch": Known(
        jobs.SMOOCH,
        _connected(SmoochClient),
        get=lambda client, who, _: client.app_users.get(who),
        delete=lambda client, who, _: client.app_users.delete(who),
    ),
}


def someone_there() -> bool:
    """Return whether a person is at the terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
