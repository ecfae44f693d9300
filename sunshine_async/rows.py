"""A file of users as rows: JSON lines or CSV, gzip or not, from a path or from standard input.

::

    with open_rows("users.csv.gz", Shape(UserCreateBody)) as rows:
        for row in rows:
            match row:
                case Row(line, data): ...       # names as on the wire, nested
                case BadRow(line, reason): ...  # this one can't be read; the others go on

It is read as it is taken, so memory stays flat however long it is. A line is the one in the file
where the row starts. No reason has the value that it is about: it may be personal data.
"""

import os
import select
import stat
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

import orjson
from attrs import field, frozen

from sunshine_async._codec import Misfit
from sunshine_async._columns import (
    Column,
    Empty,
    Shape,
    SourceError,
    columns,
    put,
    target_of,
)
from sunshine_async._lines import MAX_ROW_BYTES, NOT_UTF_8, TOO_LONG, Lines, said
from sunshine_async._records import records

__all__ = ["BadRow", "Empty", "Format", "Row", "RowFile", "Shape", "SourceError", "open_rows"]

STDIN: Final = "-"


class Format(Enum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"


_NO_OBJECT: Final = (
    "not a JSON object: one user a line, in { }; jq -c '.[]' makes lines of an array"
)
_UNOPENED: Final[Mapping[type[Exception], str]] = {
    FileNotFoundError: "isn't there: check the path and its spelling",
    IsADirectoryError: "is a directory: name the file in it",
    PermissionError: "may not be read by you: check its permissions",
}

_SUFFIXES: Final[Mapping[str, Format]] = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
}


@frozen
class Row:
    """A row: its *data* has the names of the wire, nested as on the wire."""

    line: int
    data: dict[str, Any] = field(repr=False)


@frozen
class BadRow:
    """A row that can't be read, or not as what it should be: *reason* says why."""

    line: int
    reason: str


@frozen
class _Options:
    """How the rows of a file are meant."""

    shape: Shape
    delimiter: str
    empty: Empty
    renames: Mapping[str, str]


def open_rows(
    path: str | Path,
    shape: Shape,
    *,
    format: Format | None = None,
    delimiter: str = ",",
    empty: Empty = Empty.LEAVE,
    renames: Mapping[str, str] | None = None,
    stdin: BinaryIO | None = None,
) -> "RowFile":
    """Open *path* (``-``: standard input), whose rows may hold what *shape* says.

    The name says what it is (``.jsonl``, ``.ndjson``, ``.csv``, each also with ``.gz``), or else
    *format*, or else how it begins. *renames* has, for a field, the column or key that it comes
    from: ``{"externalId": "customer_no"}``. *delimiter* and *empty* are for CSV.
    Raise `SourceError`, saying what to do, where it can't be read as that.
    """
    renames = dict(renames or {})
    for target in renames:
        target_of(target, shape)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        message = f"the delimiter is one character, not {delimiter!r}; a tab is 'tab'"
        raise SourceError(message)
    name = "standard input" if str(path) == STDIN else str(path)
    raw = _open_stdin(stdin) if str(path) == STDIN else _open(Path(path))
    try:
        return RowFile(name, raw, format, _Options(shape, delimiter, empty, renames))
    except BaseException:
        raw.close()
        raise


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = _UNOPENED.get(type(error), f"can't be opened: {said(error)}")
        message = f"{path} {reason}"
    raise SourceError(message)


def _open_stdin(stdin: BinaryIO | None) -> BinaryIO:
    if stdin is not None:
        return stdin
    try:
        return open(0, "rb", buffering=0, closefd=False)
    except OSError as error:
        message = f"standard input can't be read: {said(error)}"
    raise SourceError(message)


class RowFile:
    """The rows of an open file; iterate over it once, and close it."""

    def __init__(self, name: str, raw: BinaryIO, format: Format | None, options: _Options) -> None:
        self.name: Final = name
        self.size: Final = _size(raw)
        """Bytes in the file, if it is one."""
        self._raw: Final = raw
        self._lines: Final = Lines(name, raw)
        first = self._lines.first.strip()
        sniffed = Format.CSV if first and first[:1] not in b"{[" else Format.JSONL
        read = _READERS[format or _format(name) or sniffed]
        self._rows: Final = read(self._lines, options)

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def consumed(self) -> int:
        """How many of the `size` bytes the rows so far took; for gzip, of those that were read."""
        if not self._lines.gzipped:
            return self._lines.taken
        return self.size or 0 if self._raw.closed else self._raw.tell()

    def ready(self, timeout: float) -> bool:
        """Return whether the next row can be begun, waiting at most *timeout* seconds for it.

        A pipe, or someone at a keyboard, may have nothing to say yet.
        """
        lines = self._lines
        return lines.waiting or lines.gzipped or _readable(self._raw, timeout)

    @property
    def waiting(self) -> bool:
        """Whether another row has begun to be read: it is there without a wait."""
        return self._lines.waiting

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _size(raw: BinaryIO) -> int | None:
    try:
        status = os.fstat(raw.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _readable(raw: BinaryIO, timeout: float) -> bool:
    try:
        return bool(select.select([raw], [], [], timeout)[0])
    except (OSError, ValueError):  # not a file of the system's, or one that it can't wait for
        return True


def _format(name: str) -> Format | None:
    path = Path(name)
    return _SUFFIXES.get((path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower())


def _json_rows(lines: Lines, options: _Options) -> Iterator[Row | BadRow]:
    if lines.first.strip() in (b"[", b"{"):
        message = (
            f"{lines.name} is JSON over many lines, not JSON lines: one whole object a line. "
            "From an array: jq -c '.[]' FILE > users.jsonl"
        )
        raise SourceError(message)
    targets = [(target_of(name, options.shape), key) for name, key in options.renames.items()]
    return _objects(lines, targets)


def _objects(lines: Lines, targets: list[tuple[tuple[str, ...], str]]) -> Iterator[Row | BadRow]:
    while (line := lines.take()) is not None:
        if len(line) > MAX_ROW_BYTES:
            yield BadRow(lines.number, TOO_LONG)
        elif not line.isspace():
            yield _json_row(line, lines.number, targets)


def _json_row(line: bytes, number: int, targets: list[tuple[tuple[str, ...], str]]) -> Row | BadRow:
    try:
        data: Any = orjson.loads(line.strip())
    except orjson.JSONDecodeError as error:
        return BadRow(number, _not_json(line, error))
    if type(data) is not dict:
        return BadRow(number, _NO_OBJECT)
    user = cast("dict[str, Any]", data)
    try:
        values = {key: user.pop(key) for _, key in targets if key in user}
        for target, key in targets:
            if key in values:
                put(user, target, values[key])
    except Misfit as misfit:
        return BadRow(number, str(misfit))
    return Row(number, user)


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return NOT_UTF_8
    return f"not JSON: {error.msg} (column {error.colno}); each line is one whole object"


def _csv_rows(lines: Lines, options: _Options) -> Iterator[Row | BadRow]:
    found = records(lines, options.delimiter)
    line, header = next(found, (0, Misfit("it is empty")))
    if isinstance(header, Misfit):
        message = f"{lines.name}: line {line or 1}, which names the columns: {header.reason}"
        raise SourceError(message)
    meant = columns(header, options.shape, options.renames, source=lines.name)
    return _below(len(header), meant, found, options)


def _below(
    width: int,
    meant: tuple[Column, ...],
    found: Iterator[tuple[int, list[str] | Misfit]],
    options: _Options,
) -> Iterator[Row | BadRow]:
    for line, cells in found:
        if isinstance(cells, Misfit):
            yield BadRow(line, cells.reason)
        elif len(cells) != width:
            yield BadRow(line, f"{len(cells)} cells, where the first line has {width}")
        elif not any(cells):
            yield BadRow(line, "all cells are empty")
        else:
            yield _csv_row(cells, meant, line, options)


def _csv_row(
    cells: list[str], meant: tuple[Column, ...], line: int, options: _Options
) -> Row | BadRow:
    data: dict[str, Any] = {}
    for column in meant:
        cell = cells[column.index]
        try:
            if cell:
                put(data, column.target, column.read(cell))
            elif options.empty is Empty.NULL and column.nullable:
                put(data, column.target, None)
        except Misfit as misfit:
            return BadRow(line, f"{column.name}: {misfit.reason}")
    return Row(line, data)


_READERS: Final[Mapping[Format, Callable[[Lines, _Options], Iterator[Row | BadRow]]]] = {
    Format.JSONL: _json_rows,
    Format.CSV: _csv_rows,
}
