"""CSV records, each read on its own: a broken record doesn't spoil the next records."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import Column, match_columns
from sunshine_async.rows.lines import BOM, LONE_CR, MAX_ROW_BYTES, NOT_UTF_8, TOO_LONG, LineReader
from sunshine_async.rows.shape import BadRow, Empty, ReadOptions, Row, SourceError, set_field

_REASONS: Final[Mapping[str, str]] = {
    "unexpected end of data": 'a quote (") is opened and never closed',
    "expected after": "in a quoted cell there is a quote (\") that isn't doubled",
    "new-line": LONE_CR,
    "field limit": "a cell is too long",
}
"""Reasons for the author of the file, by a part of the csv module's text."""
_JOINED: Final = "a byte order mark in the middle: were files joined? Import each by itself"

_Records: TypeAlias = Iterator[tuple[int, list[str] | Misfit]]


def csv_rows(lines: LineReader, options: ReadOptions) -> Iterator[Row | BadRow]:
    """Return the rows of *lines*; raise `SourceError` for an unusable header."""
    records = _records(lines, options.delimiter)
    line, header = next(records, (0, Misfit("it is empty")))
    if isinstance(header, Misfit):
        message = f"{lines.name}: line {line or 1}, which names the columns: {header.reason}"
        raise SourceError(message)
    columns = match_columns(header, options, lines.name)
    return _rows(records, columns, len(header), clear=options.empty is Empty.NULL)


def _rows(
    records: _Records, columns: Sequence[Column], width: int, *, clear: bool
) -> Iterator[Row | BadRow]:
    for line, cells in records:
        if isinstance(cells, Misfit):
            yield BadRow(line, cells.reason)
        elif len(cells) != width:
            yield BadRow(line, f"{len(cells)} cells, where the first line has {width}")
        elif not any(cells):
            yield BadRow(line, "all cells are empty")
        else:
            yield _row(cells, columns, line, clear=clear)


def _row(cells: list[str], columns: Sequence[Column], line: int, *, clear: bool) -> Row | BadRow:
    data: dict[str, Any] = {}
    for column in columns:
        cell = cells[column.index]
        try:
            if cell:
                set_field(data, column.path, column.read(cell))
            elif clear and column.nullable:
                set_field(data, column.path, None)
        except Exception as error:  # noqa: BLE001 - of this row alone
            return BadRow.from_error(line, error, column.name)
    return Row(line, data)


def _records(lines: LineReader, delimiter: str) -> _Records:
    """Yield each record that isn't blank: the first line's number, and the cells or a `Misfit`.

    The lines after the first line of an unreadable record are read again: an unclosed quote spoils
    a line, not the file.
    """
    record = _RecordLines(lines)
    reader = csv.reader(record, delimiter=delimiter, strict=True)
    while True:
        record.start()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            record.push_back()
            reasons = (ours for theirs, ours in _REASONS.items() if theirs in str(error))
            yield record.number, Misfit(record.reason or next(reasons, "not a row of CSV"))
            continue
        if record.reason is not None:
            yield record.number, Misfit(record.reason)
        elif len(cells) > 1 or "".join(cells).strip():
            yield record.number, cells


class _RecordLines:
    """The lines of the current record, as text for the csv module."""

    def __init__(self, lines: LineReader) -> None:
        self.number = 0  # of the record's first line
        self.reason: str | None = None  # goes before whatever the csv module returns
        self._lines: Final = lines
        self._record: Final[list[tuple[int, bytes]]] = []
        self._pushed_back: Final[deque[tuple[int, bytes]]] = deque()
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._length > MAX_ROW_BYTES:
            raise StopIteration  # as if the file ended here
        number, line = self._pushed_back.popleft() if self._pushed_back else self._read()
        if not self._record and line.startswith(BOM):
            self.reason = _JOINED
        self._record.append((number, line))
        self._length += len(line)
        self.number = self._record[0][0]
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.reason = NOT_UTF_8
            return line.decode(errors="replace")

    def start(self) -> None:
        self._record.clear()
        self._length = 0
        self.reason = None

    def push_back(self) -> None:
        """Read the lines after the record's first line again, as records of their own."""
        self._pushed_back.extendleft(reversed(self._record[1:]))

    def _read(self) -> tuple[int, bytes]:
        line = self._lines.take()
        if line is None:
            raise StopIteration
        if len(line) > MAX_ROW_BYTES:
            self.reason = TOO_LONG
            line = b"\n"
        return self._lines.number, line
