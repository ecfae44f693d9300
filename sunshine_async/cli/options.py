"""How a command ends that can't go on: one sentence on stderr, and an exit status.

The options that several commands have.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from traceback import walk_tb
from typing import Annotated, Final, NoReturn

import typer

from sunshine_async import SunshineError
from sunshine_async.bulk import Concurrency
from sunshine_async.cli.streams import OutputError, emit, plain

SIGNALLED: Final = 128
"""Added to a signal's number, as shells do."""
_INTERRUPT: Final = 2
_PACKAGE: Final = Path(__file__).parents[1]
_NAMED: Final = 3
"""Places in the library that the sentence about a defect names."""


class Status(IntEnum):
    """The exit status of a command, unless a signal interrupts the command."""

    DONE = 0
    TROUBLE = 1
    NOT_STARTED = 2
    GAVE_UP = 3


class Terminated(KeyboardInterrupt):
    """The signal *number* ends the process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: Final = number

    @classmethod
    def now(cls, number: int, _frame: object) -> NoReturn:
        """Handle a signal."""
        raise cls(number)


def leave(status: int, sentence: str) -> NoReturn:
    """Say *sentence*, and exit with *status*."""
    emit(sys.stderr, f"sunshine-async: {plain(sentence)}\n")
    raise typer.Exit(status)


@contextmanager
def refusals(status: int = Status.NOT_STARTED) -> Generator[None]:
    """Turn any error into one sentence on stderr, and the exit *status*.

    A defect is status 3: rows or calls before may have been sent.
    """
    try:
        yield
    except typer.Exit:
        raise
    except (KeyboardInterrupt, typer.Abort) as error:
        sentence = "interrupted"
        status = SIGNALLED + getattr(error, "number", _INTERRUPT)
    except OutputError as error:
        sentence, status = str(error), Status.TROUBLE
    except ValueError as error:
        sentence, status = str(error), Status.NOT_STARTED
    except (SunshineError, OSError) as error:
        sentence = sentence_of(error)
    except Exception as error:  # noqa: BLE001 - of any kind: a sentence instead of a traceback
        sentence, status = sentence_of(error), Status.GAVE_UP
    else:
        return
    leave(status, sentence)


def sentence_of(error: Exception) -> str:
    """Return one sentence about *error*; about a defect, without a value that it may hold."""
    if isinstance(error, (SunshineError, ValueError)):
        return "".join((str(error), *getattr(error, "__notes__", ())))
    if isinstance(error, OSError):
        name = "" if error.filename is None else f": {error.filename}"
        return f"the system refuses: {error.strerror or type(error).__name__}{name}"
    frames = (
        (Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__)
    )
    places = [
        f"{file.relative_to(_PACKAGE).as_posix()}:{line}"
        for file, line in frames
        if file.is_relative_to(_PACKAGE)
    ]
    return (
        f"this is a defect of sunshine-async: {type(error).__name__} at "
        f"{', '.join(places[-_NAMED:])}. Please report it"
    )


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
