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

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

from attrs import field, frozen

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import (
    Column,
    Empty,
    Shape,
    SourceError,
    columns,
    put,
    target_of,
)
from sunshine_async.rows.csv_records import records
from sunshine_async.rows.json_lines import object_in
from sunshine_async.rows.lines import MAX_ROW_BYTES, TOO_LONG, LineReader, readable, said, stamp_of
from sunshine_async.rows.phones import Numbers

STDIN: Final = "-"
ABOUT: Final = "_row"
"""The key of a row that says what became of it in another job: it isn't sent."""


class Format(Enum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"


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
    skip: Collection[str]
    numbers: Numbers | None


def open_rows(
    path: str | Path,
    shape: Shape,
    *,
    format: Format | None = None,
    delimiter: str = ",",
    empty: Empty = Empty.LEAVE,
    renames: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    default_region: str | None = None,
    stdin: BinaryIO | None = None,
) -> "RowFile":
    """Open *path* (``-``: standard input), whose rows may hold what *shape* says.

    The name says what it is (``.jsonl``, ``.ndjson``, ``.csv``, each also with ``.gz``), or else
    *format*, or else how it begins. *renames* has, for a field, the column or key that it comes
    from: ``{"externalId": "customer_no"}``. What stands in the columns or keys *skip* is passed over.
    *delimiter* and *empty* are for CSV. With a *default_region* (``DE``) phone numbers are turned
    into E.164, where the service wants them so; one that can't be read makes its row a bad one.
    Raise `SourceError`, saying what to do, where it can't be read as that.
    """
    renames = dict(renames or {})
    for target in renames:
        target_of(target, shape)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        message = f"the delimiter is one character, not {delimiter!r}; a tab is 'tab'"
        raise SourceError(message)
    numbers = Numbers(default_region, shape) if default_region else None
    options = _Options(shape, delimiter, empty, renames, skip, numbers)
    name = "standard input" if str(path) == STDIN else str(path)
    raw = _open_stdin(stdin) if str(path) == STDIN else _open(Path(path))
    try:
        file = RowFile(name, raw, format, options)
    except BaseException:
        raw.close()
        raise
    if str(path) != STDIN and file.size is not None:
        file.path = Path(path)
    return file


def open_as(path: str | Path, shape: Shape, meant: str) -> "RowFile":
    """Open *path* as the `RowFile` was opened that *meant* comes from."""
    how = json.loads(meant)
    return open_rows(
        path,
        shape,
        format=Format(how["format"]),
        delimiter=how["delimiter"],
        empty=Empty(how["empty"]),
        renames=how["renames"],
        skip=how["skip"],
        default_region=how["default_region"],
    )


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
    reason = "it is closed. Pipe the rows into it, or name a file"
    try:
        if sys.stdin is not None:  # pyright: ignore[reportUnnecessaryComparison] - as Python has it
            return open(0, "rb", buffering=0, closefd=False)
    except OSError as error:
        reason = said(error)
    message = f"standard input can't be read: {reason}"
    raise SourceError(message)


class RowFile:
    """The rows of an open file; iterate over it once, and close it."""

    def __init__(self, name: str, raw: BinaryIO, format: Format | None, options: _Options) -> None:
        self.name: Final = name
        self.path: Path | None = None
        """Where it can be read again from its beginning; None: it can't."""
        self.stamp: Final = stamp_of(raw)
        """What is another for another file, or when it is written to; None: it is no file."""
        self.size: Final = self.stamp[0] if self.stamp else None
        """Bytes in the file, if it is one."""
        self._raw: Final = raw
        self._options: Final = options
        self._lines: Final = LineReader(name, raw)
        first = self._lines.first.strip()
        sniffed = Format.CSV if first and first[:1] not in b"{[" else Format.JSONL
        self.format: Final = format or _format(name) or sniffed
        read = _READERS[self.format]
        self._rows: Final = read(self._lines, options)

    def __iter__(self) -> Iterator[Row | BadRow]:
        numbers = self._options.numbers
        return self._rows if numbers is None else _turned(self._rows, numbers)

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
    def meant(self) -> str:
        """How its rows are read, as text that is the same for what reads the same: `open_as`."""
        options = self._options
        return json.dumps(
            {
                "format": self.format.value,
                "delimiter": options.delimiter,
                "empty": options.empty.value,
                "renames": dict(sorted(options.renames.items())),
                "skip": sorted(options.skip),
                "default_region": options.numbers and options.numbers.region,
            }
        )

    @property
    def turned(self) -> int:
        """How many phone numbers were turned into E.164, in the rows so far."""
        return 0 if self._options.numbers is None else self._options.numbers.turned

    @property
    def changed(self) -> bool:
        """Whether it isn't the file any more that was opened, as far as the system tells."""
        return stamp_of(self._raw) != self.stamp

    def again(self) -> "RowFile":
        """Return the rows of the same *path* from its beginning, to be closed too."""
        return open_as(cast("Path", self.path), self._options.shape, self.meant)

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
        return lines.waiting or lines.gzipped or readable(self._raw, timeout)

    @property
    def waiting(self) -> bool:
        """Whether another row has begun to be read: it is there without a wait."""
        return self._lines.waiting

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _turned(rows: Iterator[Row | BadRow], numbers: Numbers) -> Iterator[Row | BadRow]:
    for row in rows:
        try:
            if isinstance(row, Row):
                numbers.turn(row.data)
        except Exception as error:  # noqa: BLE001 - of this row alone
            yield BadRow(row.line, _unread(error))
        else:
            yield row


def _unread(error: Exception) -> str:
    """Return the reason that a row can't be read, without a value of the row."""
    if isinstance(error, Misfit):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deep"
    return f"can't be read ({type(error).__name__}). This is a defect: please report it"


def _format(name: str) -> Format | None:
    path = Path(name)
    return _SUFFIXES.get((path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower())


def _json_rows(lines: LineReader, options: _Options) -> Iterator[Row | BadRow]:
    if lines.first.strip() in (b"[", b"{"):
        message = (
            f"{lines.name} is JSON over many lines, not JSON lines: one whole object a line. "
            "From an array: jq -c '.[]' FILE > users.jsonl"
        )
        raise SourceError(message)
    targets = [(target_of(name, options.shape), key) for name, key in options.renames.items()]
    return _objects(lines, targets, options.skip)


def _objects(
    lines: LineReader, targets: list[tuple[tuple[str, ...], str]], skip: Collection[str]
) -> Iterator[Row | BadRow]:
    while (line := lines.take()) is not None:
        if len(line) > MAX_ROW_BYTES:
            yield BadRow(lines.number, TOO_LONG)
        elif not line.isspace():
            yield _json_row(line, lines.number, targets, skip)


def _json_row(
    line: bytes,
    number: int,
    targets: list[tuple[tuple[str, ...], str]],
    skip: Collection[str],
) -> Row | BadRow:
    try:
        user = object_in(line, skip)
        if user.pop(ABOUT, None) and not user:
            return BadRow(number, "nothing of the row but what became of it")
        if targets:
            _rename(user, targets)
    except Exception as error:  # noqa: BLE001 - of this row alone
        return BadRow(number, _unread(error))
    return Row(number, user)


def _rename(user: dict[str, Any], targets: list[tuple[tuple[str, ...], str]]) -> None:
    values = {key: user.pop(key) for _, key in targets if key in user}
    for target, key in targets:
        if key in values:  # one may set several
            put(user, target, values[key])


def _csv_rows(lines: LineReader, options: _Options) -> Iterator[Row | BadRow]:
    found = records(lines, options.delimiter)
    line, header = next(found, (0, Misfit("it is empty")))
    if isinstance(header, Misfit):
        message = f"{lines.name}: line {line or 1}, which names the columns: {header.reason}"
        raise SourceError(message)
    meant = columns(header, options.shape, options.renames, skip=options.skip, source=lines.name)
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
        except Exception as error:  # noqa: BLE001 - of this row alone
            reason = error.reason if isinstance(error, Misfit) else _unread(error)
            return BadRow(line, f"{column.name}: {reason}")
    return Row(line, data)


_READERS: Final[Mapping[Format, Callable[[LineReader, _Options], Iterator[Row | BadRow]]]] = {
    Format.JSONL: _json_rows,
    Format.CSV: _csv_rows,
}
