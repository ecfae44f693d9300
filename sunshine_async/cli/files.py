"""Result files: written complete or not at all, and never over the files of a job."""

import hashlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext, suppress
from itertools import combinations
from pathlib import Path
from typing import Final, NoReturn, TextIO, cast

import typer
from attrs import frozen

from sunshine_async import ConfigurationError
from sunshine_async.cli.options import Status
from sunshine_async.cli.streams import OutputError, emit
from sunshine_async.journal.file import open_private
from sunshine_async.rows.shape import UTF_8

Write = Callable[[str], object]

DATABASE_SUFFIXES: Final = ("-wal", "-shm", "-journal", "-lock")
"""Suffixes of the files that SQLite and the journal keep next to a database."""

_ADVICE: Final = "Mend the cause, or name another file"


@frozen
class OutputTarget:
    """Target of a result: the file *path*, or stdout.

    An existing file is replaced only with *force*. A result never replaces the *protected* files,
    each given with a name for messages, nor a file with the SHA-256 *digest*.
    """

    path: Path | None
    force: bool
    protected: tuple[tuple[Path, str], ...] = ()
    digest: str | None = None

    @contextmanager
    def open(self, encoding: str = UTF_8) -> Generator[Write]:
        """Give the function that writes text, in *encoding* to a file, and as UTF-8 to stdout.

        A character that the encoding hasn't becomes a question mark. The file appears when the block ends without an error, readable by the owner alone. Raise
        `ConfigurationError` before any write if the file can't be created or must not be replaced.
        Raise `OutputError` if the text can't be written: the old file is then unchanged.
        """
        if self.path is None:
            with _stdout() as write:
                yield write
        elif self.path.exists() and not self.path.is_file() and not self.path.is_dir():
            with self._write_errors(), _text_file(self.path, encoding) as stream:
                yield stream.write  # a pipe or a device has no content to lose
        else:
            with self.replace() as made:
                os.close(open_private(made, os.O_EXCL | os.O_WRONLY))
                with _text_file(made, encoding) as stream:
                    yield stream.write

    @contextmanager
    def replace(self) -> Generator[Path]:
        """Give the path of a new file, which replaces the file *path* when the block ends."""
        target = Path(os.path.realpath(self.path or ""))
        self._check(target)
        try:
            folder = Path(tempfile.mkdtemp(prefix=".sunshine-async-", dir=target.parent))
        except OSError as error:
            self._fail(f"can't be written: {error.strerror}. {_ADVICE}")
        try:
            with self._write_errors():
                yield folder / target.name
                _sync(folder / target.name)
                self._publish(folder / target.name, target)
                _sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check(self, target: Path) -> None:
        for path, name in self.protected:
            if _is_same_file(target, path):
                self._fail(f"is {name}: name another file")
        if not target.exists():
            return
        if target.is_dir():
            self._fail("is a directory: name a file in the directory")
        if not self.force:
            self._fail("exists already: name another file, or replace the file with --force")
        if self.digest is not None and digest_of(target) == self.digest:
            self._fail("is the file that the job read: name another file")

    def _publish(self, made: Path, target: Path) -> None:
        if not self.force:
            try:
                os.link(made, target)  # fails if the name was taken in the meantime
            except FileExistsError:
                self._fail("exists already: name another file, or replace the file with --force")
            except OSError:  # a file system without links
                made.replace(target)
        else:
            made.replace(target)

    @contextmanager
    def _write_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self.path} can't be written: {error.strerror}. {_ADVICE}"
            raise OutputError(message) from None

    def _fail(self, reason: str) -> NoReturn:
        message = f"{self.path} {reason}"
        raise ConfigurationError(message)


def database_files(journal: Path, name: str) -> tuple[tuple[Path, str], ...]:
    """Return the files of the database *journal*, called *name* in messages."""
    real = os.path.realpath(journal)
    parts = (Path(f"{base}{end}") for base in {str(journal), real} for end in DATABASE_SUFFIXES)
    return ((journal, name), *((path, f"a part of {name}") for path in parts))


@frozen
class NamedFile:
    """The file that an *option* names, called *use* in messages; *parts* are kept next to the file."""

    option: str
    path: Path
    use: str
    parts: tuple[Path, ...] = ()


def check_distinct(files: Iterable[NamedFile]) -> None:
    """Raise `ConfigurationError` if two of *files* are the same file: one would destroy the other.

    A device or a pipe, which has no content to lose, may have several uses.
    """
    for first, second in combinations(files, 2):
        for path in (second.path, *second.parts):
            is_plain = path.is_file() or not path.exists()
            if is_plain and _is_same_file(first.path, path):
                act = "is" if path == second.path else "keeps a part in"
                message = f"{second.option} {act} {first.use}: name another file"
                raise ConfigurationError(message)


@contextmanager
def _stdout() -> Generator[Write]:
    """Give the function that writes to stdout; the command ends if stdout has no reader any more."""
    if sys.__stdout__ is None:
        message = "stdout is closed: name a file, such as --out rows.csv"
        raise ConfigurationError(message)
    cast("io.TextIOWrapper", sys.stdout).reconfigure(encoding="utf-8")  # as `import` reads it

    def write(text: str) -> None:
        if not emit(sys.stdout, text):
            raise typer.Exit(Status.DONE)

    yield write


def _sync(path: Path) -> None:
    """Flush the file or directory *path* to the disk; not all systems can flush a directory."""
    is_folder = path.is_dir()
    with suppress(OSError) if is_folder else nullcontext():
        number = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _is_same_file(first: Path, second: Path) -> bool:
    """Return True if two paths are the same file, or differ in upper and lower case only."""
    with suppress(OSError):
        if first.samefile(second):
            return True
    return os.path.realpath(first).casefold() == os.path.realpath(second).casefold()


def _text_file(path: Path, encoding: str) -> TextIO:
    return path.open("w", encoding=encoding, errors="replace", newline="")


def digest_of(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None if the file can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
