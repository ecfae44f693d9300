"""Options that several commands share, exit statuses, and the error message of a failed command."""

import ast
import inspect
import platform
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import contextmanager
from enum import Enum, IntEnum
from functools import partial
from math import inf, isfinite, nan
from pathlib import Path
from traceback import walk_tb
from typing import Annotated, Any, Final, NoReturn, TypeVar, cast

import anyio
import typer
from typer.core import TyperCommand, TyperGroup

from sunshine_async import ConfigurationError, SunshineError, __version__
from sunshine_async.bulk import Concurrency
from sunshine_async.cli.streams import OutputError, emit, emit_line
from sunshine_async.journal import Place, place_of

SIGNAL_STATUS: Final = 128
"""Exit status of signal number 0: a signal's number is added, as in shells."""
Choice = TypeVar("Choice", bound=Enum)

_PACKAGE: Final = Path(__file__).parents[1]
_ADVICE: Final[Mapping[type[OSError], str]] = {
    FileNotFoundError: ". Check the path and its spelling",
    IsADirectoryError: ". Name a file in the directory",
    NotADirectoryError: ". Check the path: a part of the path is a file",
    PermissionError: ". Check the permissions, or name another file",
}
"""The next step after an error of the system about a file."""
_NO_THREAD: Final = "can't start new thread"  # as Python says it


class Status(IntEnum):
    """Exit status of a command that no signal has interrupted."""

    DONE = 0
    TROUBLE = 1
    NOT_STARTED = 2
    GAVE_UP = 3


class SignalInterrupt(KeyboardInterrupt):
    """A signal, by *number*, that ends the process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: Final = number

    @classmethod
    def handle(cls, number: int, _frame: object) -> NoReturn:
        """Raise the signal *number* as an exception; a signal handler."""
        raise cls(number)


def termination_signals() -> list[signal.Signals]:
    """Return the signals other than SIGINT that end a command in order: SIGTERM and SIGHUP.

    SIGHUP is left out on Windows, which has none, and if ignored, as under ``nohup``.
    """
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


@contextmanager
def open_signals() -> Generator[AsyncIterator[signal.Signals]]:
    """Receive SIGINT and the termination signals; give these their handlers back at the end.

    SIGHUP is ignored after the first signal: a terminal that closes sends several.
    """
    handlers: dict[signal.Signals, Any] = {
        one: signal.getsignal(one) for one in termination_signals()
    }
    is_stopped = False

    async def each() -> AsyncGenerator[signal.Signals]:
        nonlocal is_stopped
        async for number in received:
            is_asked, is_stopped = not is_stopped or number.name != "SIGHUP", True
            if is_asked:
                yield number

    try:
        with anyio.open_signal_receiver(signal.SIGINT, *handlers) as received:
            yield each()
    finally:
        for number, handler in handlers.items():
            is_ignored = is_stopped and number.name == "SIGHUP"
            signal.signal(number, signal.SIG_IGN if is_ignored else handler)


@contextmanager
def exit_on_error(status: int = Status.NOT_STARTED) -> Generator[None]:
    """Turn an error into a message on stderr and the exit *status*.

    A defect of the library exits with status 3, since rows or calls may have been sent before. The
    first error of a task group counts.
    """
    try:
        with _first_of_group():
            yield
    except typer.Exit:
        raise
    except (KeyboardInterrupt, typer.Abort) as error:
        message = "interrupted"
        status = SIGNAL_STATUS + getattr(error, "number", 2)  # SIGINT
    except OutputError as error:
        message, status = str(error), Status.TROUBLE
    except ValueError as error:
        message, status = str(error), Status.NOT_STARTED
    except (SunshineError, OSError) as error:
        message = describe_error(error)
    except Exception as error:  # noqa: BLE001 - any kind: a message instead of a traceback
        message, status = describe_error(error), Status.GAVE_UP
    else:
        return
    emit_line(sys.stderr, f"sunshine-async: {message}")
    raise typer.Exit(status)


@contextmanager
def _first_of_group() -> Generator[None]:
    """Raise the first error of a group instead of the group."""
    error: Any = None
    try:
        yield
    except BaseExceptionGroup as group:
        error = group
    while isinstance(error, BaseExceptionGroup):
        error = cast("Any", error).exceptions[0]
    if error is not None:
        raise error


def describe_error(error: Exception) -> str:
    """Return a message about *error*; a message about a defect leaves the values of the error out."""
    if isinstance(error, (SunshineError, ValueError)):
        return "".join((str(error), *getattr(error, "__notes__", ())))
    if isinstance(error, OSError):
        name = "" if error.filename is None else f": {error.filename}"
        advice = _ADVICE.get(type(error), "") if name else ""
        reason = error.strerror or type(error).__name__
        return f"the operating system reports: {reason}{name}{advice}"
    if isinstance(error, MemoryError) or str(error) == _NO_THREAD:
        lack = "memory" if isinstance(error, MemoryError) else "thread"
        return (
            f"the operating system has no {lack} left for this process: end other programs, or "
            "raise the limit (ulimit, or that of the container), and run the same command again"
        )
    places = [
        f"{file.relative_to(_PACKAGE).as_posix()}:{line}"
        for frame, line in walk_tb(error.__traceback__)
        if (file := Path(frame.f_code.co_filename)).is_relative_to(_PACKAGE)
    ]
    return (
        f"this is a defect of sunshine-async: {type(error).__name__} in "
        f"{', '.join(places[-3:])}. Please report it"
    )


option: Final = partial(typer.Option, show_default=False)  # where None is the default
credential: Final = partial(option, rich_help_panel="Credentials")
"""An option that connects to a service, in a panel of the help."""


def _hide_types(params: Any) -> Any:
    """Hide the types of flags and arguments in the help of *params*: the types say nothing."""
    for param in params:
        if getattr(param, "is_flag", True):  # an argument has no such attribute
            param.display_type_rich = _no_type
    return params


def _no_type(**_: object) -> None:
    return None


def _docstring_of(function: Any) -> str | None:
    """Return the docstring of *function* in the source: ``python -OO`` keeps no docstrings."""
    try:
        tree: Any = ast.parse(inspect.getsource(function))
    except OSError:  # the source isn't there
        return None
    return ast.get_docstring(tree.body[0])


class HelpCommand(TyperCommand):
    """A command with plain help."""

    @property
    def help(self) -> str | None:
        """The help: the docstring of the function, unless the command was given another text."""
        return self._help or _docstring_of(self.callback)

    @help.setter  # noqa: A003 - the name is click's
    def help(self, text: str | None) -> None:
        self._help = text

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters."""
        return _hide_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage, without braces around arguments."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class HelpGroup(TyperGroup):
    """A group of commands with plain help."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters."""
        return _hide_types(super().get_params(ctx))


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        emit(sys.stdout, f"sunshine-async {__version__}, Python {platform.python_version()}\n")
        raise typer.Exit


def show_version(
    *,
    version: Annotated[
        bool,
        option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Show the versions of the library and of Python, and exit.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


ServiceName = Annotated[
    str, typer.Option(metavar="NAME", help="The service: sunshine, smooch or dixa.")
]
BaseUrl = Annotated[
    str | None,
    credential(
        metavar="URL",
        help="Root URL of the service's API. Or set SUNSHINE_BASE_URL, SMOOCH_BASE_URL or DIXA_BASE_URL; for https://acme.zendesk.com/sc set SUNSHINE_SUBDOMAIN or SMOOCH_SUBDOMAIN to acme.",
    ),
]
AppId = Annotated[
    str | None,
    credential(
        metavar="ID",
        help="Id of the app. Or set SUNSHINE_APP_ID or SMOOCH_APP_ID.",
    ),
]
KeyId = Annotated[
    str | None,
    credential(
        metavar="ID",
        help="Id of the API key. Or set SUNSHINE_KEY_ID or SMOOCH_KEY_ID.",
    ),
]
SecretFile = Annotated[
    Path | None,
    credential(
        metavar="FILE",
        help="File with the secret of the API key, or with Dixa's API token. Or set SUNSHINE_KEY_SECRET, SMOOCH_KEY_SECRET or DIXA_API_TOKEN. If all are missing, a terminal prompts for the secret.",
    ),
]
BrandId = Annotated[
    str | None, option(metavar="ID", help="Id of the brand, for a brand-separated user.")
]

Yes = Annotated[
    bool,
    option("--yes", help="Delete without a question; needed where there is no terminal."),
]


def number(
    subject: str,
    *,
    low: float = 0,
    high: float = inf,
    above: float | None = None,
    whole: bool = False,
) -> Callable[[Any], Any]:
    """Return the parser of an option: a number of *subject*, as a person calls the number.

    The number is from *low* to *high*, or greater than *above*; with *whole* an integer. The parser
    raises `typer.BadParameter` for any other text.
    """
    kind = "whole number" if whole else "number"
    bounds = f"of {low:g} or more" if high == inf else f"from {low:g} to {high:g}"
    bounds = bounds if above is None else f"above {above:g}"

    def parse(value: Any) -> Any:
        try:
            found = (int if whole else float)(value)
        except ValueError:
            found = nan
        if isfinite(found) and low <= found <= high and (above is None or found > above):
            return found
        message = f"{value!r} is no number of {subject}: give a {kind} {bounds}"
        raise typer.BadParameter(message)

    return parse


def choice(kind: type[Choice]) -> Callable[[Any], Choice]:
    """Return the parser of an option: a value of *kind*.

    The parser raises `typer.BadParameter` for any other text.
    """

    def parse(value: Any) -> Choice:
        try:
            return kind(value)
        except ValueError:
            known = [each.value for each in kind]
        message = f"{value!r} is unknown: give {', '.join(known[:-1])} or {known[-1]}"
        raise typer.BadParameter(message)

    return parse


Port = Annotated[
    int,
    typer.Option(
        parser=number("a port", high=65535, whole=True),
        metavar="N",
        help="The port to listen on; 0: any free port.",
    ),
]

_HIGHEST_CONCURRENCY: Final = 10_000
"""Highest number of calls at once: each call has a connection, and open files are limited."""


def journal_place(text: str) -> Place:
    """Parse the file or the URL of a journal."""
    place = place_of(text)
    if isinstance(place, ConfigurationError):
        raise typer.BadParameter(str(place))
    return place


def parse_concurrency(value: str) -> Concurrency:
    """Return the concurrency, a number or ``auto``; raise `typer.BadParameter` for anything else."""
    if value == "auto":
        return "auto"
    is_short = len(value) <= len(str(_HIGHEST_CONCURRENCY))
    if value.isascii() and value.isdigit() and is_short and 1 <= int(value) <= _HIGHEST_CONCURRENCY:
        return int(value)
    message = (
        f"{value!r} is no concurrency: give a number from 1 to {_HIGHEST_CONCURRENCY}, or auto"
    )
    raise typer.BadParameter(message)
