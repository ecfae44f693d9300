"""How a command ends that can't go on: one sentence on stderr, and an exit status."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, NoReturn

import typer

from sunshine_async import SunshineError
from sunshine_async.cli.running import Status
from sunshine_async.cli.screen import emit

_INTERRUPTED: Final = 130


def leave(status: int, sentence: str) -> NoReturn:
    """Say *sentence*, and exit with *status*."""
    emit(sys.stderr, f"sunshine-async: {sentence}\n")
    raise typer.Exit(status)


@contextmanager
def refusals(status: int = Status.NOT_STARTED) -> Generator[None]:
    """Turn an error into one sentence on stderr, and the exit *status*."""
    try:
        yield
    except KeyboardInterrupt:
        sentence, status = "interrupted", _INTERRUPTED
    except ValueError as error:
        sentence, status = str(error), Status.NOT_STARTED
    except SunshineError as error:
        sentence = "".join((str(error), *getattr(error, "__notes__", ())))
    else:
        return
    leave(status, sentence)
