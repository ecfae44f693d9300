"""The command line, run in this process."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from typer.testing import CliRunner, Result

from sunshine_async.cli.app import app

Call: TypeAlias = Callable[..., Result]


def settings(base_url: str, service: str = "SUNSHINE") -> dict[str, str]:
    """Return the variables of a command for a *service* at *base_url*."""
    values = {"APP_ID": "app", "KEY_ID": "key-id", "KEY_SECRET": "the-secret", "BASE_URL": base_url}
    return {"COLUMNS": "80"} | {f"{service}_{name}": value for name, value in values.items()}


def caller(env: Mapping[str, str], *last: str) -> Call:
    """Return the function that runs a command, with the arguments *last* at the end and with *env*.

    The function takes further variables by name; None takes a variable away.
    """

    def invoke(*arguments: object, **more: str | None) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), *last], env={**env, **more})

    return invoke
