"""The options that several commands have."""

from pathlib import Path
from typing import Annotated, Final

import typer

from sunshine_async.bulk import Concurrency

Service = Annotated[str, typer.Option(help="Which service: sunshine, smooch or dixa.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        help="The server's root. Or: SUNSHINE_BASE_URL, SMOOCH_BASE_URL, DIXA_BASE_URL.",
        show_default=False,
    ),
]
AppId = Annotated[
    str | None,
    typer.Option(help="The app. Or: SUNSHINE_APP_ID, SMOOCH_APP_ID.", show_default=False),
]
KeyId = Annotated[
    str | None,
    typer.Option(help="The API key's id. Or: SUNSHINE_KEY_ID, SMOOCH_KEY_ID.", show_default=False),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help="A file with the API key's secret in it, or Dixa's API token. Or: SUNSHINE_KEY_SECRET, SMOOCH_KEY_SECRET, DIXA_API_TOKEN. A terminal is asked.",
        show_default=False,
    ),
]


_MOST: Final = 10_000
"""Calls at once, each with a connection; a process has no more open files than some thousands."""


def how_many(value: str) -> Concurrency:
    """Return the number of calls at once that *value* says, or ``auto``."""
    if value == "auto":
        return "auto"
    if value.isascii() and value.isdigit() and len(value) <= len(str(_MOST)):
        at_once = int(value)
        if 1 <= at_once <= _MOST:
            return at_once
    message = f"{value!r} is no number of calls at once: 1 to {_MOST}, or auto"
    raise typer.BadParameter(message)


BrandId = Annotated[str | None, typer.Option(help="The brand of a brand-separated user.")]
