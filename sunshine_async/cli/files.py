"""Results in files: whole or not at all, and never over the files of the job itself."""

import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final, NoReturn, cast

import typer
from attrs import frozen

from sunshine_async import ConfigurationError
from sunshine_async.cli.options import Status
from sunshine_async.cli.streams import OutputError, emit

Write = Callable[[str], object]

BESIDE: Final = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database."""


@frozen
class Output:
    """The place of a result: the file *path*, or stdout.

    A file that exists is replaced with *force* only. *kept* are files that no result replaces,
    each with its name in messages; nor does a result replace a file with the SHA-256 *digest*.
    """

    path: Path | None
    force: bool
    kept: tuple[tuple[Path, str], ...] = ()
    digest: str | None = None

    @contextmanager
    def opened(self) -> Generator[Write]:
        """Give the function that writes text, as UTF-8.

        A file appears under its name when the block ends without an error, for its owner alone.
        Raise `ConfigurationError` before anything is written where the file can't be made or isn't
        to be replaced, and `OutputError` where the text can't be written: the file is then as it
        was.
        """
        if self.path is None:
            with _stdout() as write:
                yield write
        elif self.path.exists() and not self.path.is_file() and not self.path.is_dir():
            with self._written(), self.path.open("w", encoding="utf-8") as stream:
                yield stream.write  # a pipe or a device holds nothing that could be lost
        else:
            with self.replaced() as made, _private(made).open("w", encoding="utf-8") as stream:
                yield stream.write

    @contextmanager
    def replaced(self) -> Generator[Path]:
        """Give the path of a file to be made, which takes the place of *path* when the block ends."""
        target = Path(os.path.realpath(self.path or ""))
        self._check(target)
        try:
            folder = Path(tempfile.mkdtemp(prefix=".sunshine-async-", dir=target.parent))
        except OSError as error:
            self._refuse(f"can't be written: {error.strerror}")
        try:
            with self._written():
                yield folder / target.name
                _sync(folder / target.name)
                self._put(folder / target.name, target)
                _sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check(self, target: Path) -> None:
        for path, name in self.kept:
            if _same(target, path):
                self._refuse(f"is {name}: name another file")
        if not target.exists():
            return
        if target.is_dir():
            self._refuse("is a directory: name a file in it")
        if not self.force:
            self._refuse("is there already: name another file, or replace it with --force")
        if self.digest is not None and _digest(target) == self.digest:
            self._refuse("is the file that the job read: name another file")

    def _put(self, made: Path, target: Path) -> None:
        if not self.force:
            try:
                os.link(made, target)  # fails where the name is taken meanwhile
            except FileExistsError:
                self._refuse("is there already: name another file, or replace it with --force")
            except OSError:  # a file system without links
                made.replace(target)
        else:
            made.replace(target)

    @contextmanager
    def _written(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror
        else:
            return
        message = f"{self.path} can't be written: {reason}"
        raise OutputError(message)

    def _refuse(self, reason: str) -> NoReturn:
        message = f"{self.path} {reason}"
        raise ConfigurationError(message)


def files_of(journal: Path, name: str) -> tuple[tuple[Path, str], ...]:
    """Return the files of the database *journal*, called *name* in messages."""
    real = os.path.realpath(journal)
    beside = (Path(f"{base}{end}") for base in {str(journal), real} for end in BESIDE)
    return ((journal, name), *((path, f"a part of {name}") for path in beside))


@contextmanager
def _stdout() -> Generator[Write]:
    """Give the function that writes to stdout; the command ends where nobody reads any more."""
    if sys.__stdout__ is None:
        message = "stdout is closed: name a file with --out"
        raise ConfigurationError(message)
    cast("io.TextIOWrapper", sys.stdout).reconfigure(encoding="utf-8")  # as `import` reads it

    def write(text: str) -> None:
        if not emit(sys.stdout, text):
            raise typer.Exit(Status.DONE)

    yield write


def _private(path: Path) -> Path:
    """Make the file *path* for its owner alone: rows are personal data."""
    path.touch(0o600, exist_ok=False)
    return path


def _sync(path: Path) -> None:
    """Let *path* be on the disk; a directory only where the system has such a call."""
    folder = path.is_dir()
    with suppress(OSError) if folder else nullcontext():
        number = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _same(one: Path, other: Path) -> bool:
    """Return whether two names are one file, or would be where the case of letters is ignored."""
    with suppress(OSError):
        if one.samefile(other):
            return True
    return os.path.realpath(one).casefold() == os.path.realpath(other).casefold()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
