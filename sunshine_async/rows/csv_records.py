"""CSV records, each read on its own: a broken record doesn't spoil the next records."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import evolve

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import Column
from sunshine_async.rows.file_types import BOM
from sunshine_async.rows.header import OUTCOME_COLUMNS, match_columns
from sunshine_async.rows.lines import LONE_CR, MAX_ROW_BYTES, TOO_LONG, LineReader
from sunshine_async.rows.shape import (
    ONLY_OUTCOME,
    BadRow,
    Empty,
    ReadOptions,
    Row,
    Shape,
    SourceError,
    set_field,
)

_REASONS: Final[Mapping[str, str]] = {
    "unexpected end of data": 'a quote (") is opened and never closed',
    "expected after": "in a quoted cell there is a quote (\") that isn't doubled",
    "new-line": LONE_CR,
    "field limit": "a cell is too long",
}
"""Reasons for the author of the file, by a part of the csv module's text."""
_SEPARATOR: Final = re.compile(rb'"?sep=([^"\w\s\x80-\xff]|\t)\1*"?', re.IGNORECASE)
"""A first line that names the delimiter of the cells, as Excel reads and other programs write."""
_AGAIN: Final = "a header again: were files joined? A header is no row"
_OTHER: Final = (
    "below the header in line {}, which differs from the first: import each file by itself"
)
_MONTHS: Final = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_CHANGED: Final = (
    r"'*+(?:\s*[=+\-@\uff1d\uff0b\uff0d\uff20].*|[\t\r\n].*"  # a formula
    r"|(?!(?:0|[1-9]\d{0,10})\Z)(?=.*\d)[\d.,:/%e $€£()\-]+(?:[ap]m?)?"  # 007, 1.50, 1/2, 1E5
    rf"|(?=.*\d)[\d ./-]*(?:{_MONTHS})[a-z]*[\d ./,:-]*"  # MAR1, 2 Sept. 2020
    r"|true|false)"
)
"""A cell that a spreadsheet would run, or turn into a date or a number: a phone number, too.

A spreadsheet shows, and saves, a number without zeros in front, and with at most eleven digits.
"""

_Records: TypeAlias = Iterator[tuple[int, list[str] | Misfit]]


def guard_cell(cell: str) -> str:
    """Return *cell* as plain text to a spreadsheet, with an apostrophe where needed."""
    return f"'{cell}" if _is_changed(cell) else cell


def bare_cell(cell: str) -> str:
    """Return *cell* without the apostrophe of `guard_cell`."""
    return cell[1:] if cell[:1] == "'" and _is_changed(cell) else cell


def _is_changed(cell: str) -> bool:
    return re.fullmatch(_CHANGED, cell, re.IGNORECASE | re.DOTALL) is not None


class CsvRows:
    """The rows of *lines*: iterate once. Raise `SourceError` for an unusable header."""

    def __init__(self, lines: LineReader, shape: Shape, options: ReadOptions) -> None:
        self._record: Final = _RecordLines(lines)
        separator = _SEPARATOR.fullmatch(lines.first.rstrip(b"\r\n "))
        if separator:
            options = evolve(options, delimiter=separator[1].decode())
            while not (lines.take() or lines.first).strip():
                pass
        self._records: Final = _records(self._record, options.delimiter)
        filled = (each for each in self._records if isinstance(each[1], Misfit) or any(each[1]))
        line, names = next(filled, (0, Misfit("it is empty")))
        if isinstance(names, Misfit):
            message = f"{lines.name}: line {line or 1}, which names the columns: {names.reason}"
            raise SourceError(message)
        self._outcomes: Final = {at for at, name in enumerate(names) if name in OUTCOME_COLUMNS}
        if self._outcomes:
            names = [*map(bare_cell, names)]
        self.names: Final[Sequence[str]] = names
        """The names of the columns."""
        self.cells: Sequence[str] | None = None
        """The cells of the last row; None if the row doesn't fit the columns."""
        self._header: Final = match_columns(names, shape, options, lines.name)
        self._marks: Final = {*filter(None, names), "sep=", f"sep={options.delimiter}"}
        self._clear: Final = options.empty is Empty.NULL

    @property
    def text(self) -> str:
        """The text of the last row, or of its first line if the row is unreadable."""
        return self._record.text

    def __iter__(self) -> Iterator[Row | BadRow]:
        header, clear, marks, record = self._header, self._clear, self._marks, self._record
        columns, width, other, outcomes = header.columns, header.width, 0, self._outcomes
        for line, cells in self._records:
            self.cells = None
            if isinstance(cells, Misfit):
                yield BadRow(line, cells.reason)
            elif not any(cells):
                continue
            elif (cells[0] in marks or record.is_marked) and self._is_mark(cells):
                is_other = cells != header.names and not cells[0].startswith("sep=")
                other = line if is_other else 0
                yield BadRow(line, _AGAIN)
            elif other:
                yield BadRow(line, _OTHER.format(other))
            elif len(cells) != width and (reason := header.misfit(cells)):
                yield BadRow(line, reason)
            elif not outcomes:
                self.cells = cells
                yield _row(cells, columns, line, clear=clear)
            elif any(cell for at, cell in enumerate(cells) if at not in outcomes):
                self.cells = [*map(bare_cell, cells)]
                yield _row(self.cells, columns, line, clear=clear)
            else:
                yield BadRow(line, ONLY_OUTCOME)

    def _is_mark(self, cells: Sequence[str]) -> bool:
        """Return True for another header, a line that names the delimiter, or a byte order mark."""
        is_separator = cells[0].startswith("sep=") and not any(cells[1:])
        is_header = cells == self._header.names or self._marks.issuperset(
            cells[: self._header.width]
        )
        return self._record.is_marked or is_separator or is_header


def _row(
    cells: Sequence[str], columns: Sequence[Column], line: int, *, clear: bool
) -> Row | BadRow:
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


def _records(record: "_RecordLines", delimiter: str) -> _Records:
    """Yield each record that isn't blank: the first line's number, and the cells or a `Misfit`.

    The lines after the first line of an unreadable record are read again: an unclosed quote spoils
    a line, not the file.
    """
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
        self.is_marked = False  # begins with a byte order mark
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
        if line.startswith(BOM) and not self._record:
            self.is_marked, line = True, line.removeprefix(BOM)
        self._record.append((number, line))
        self._length += len(line)
        self.number = self._record[0][0]
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.reason = self._lines.undecodable
            return line.decode(errors="replace")

    def start(self) -> None:
        self._record.clear()
        self._length = 0
        self.reason = None
        self.is_marked = False

    def push_back(self) -> None:
        """Read the lines after the record's first line again, as records of their own."""
        self._pushed_back.extendleft(reversed(self._record[1:]))
        del self._record[1:]

    @property
    def text(self) -> str:
        """The lines of the record."""
        return b"".join(line for _, line in self._record).decode(errors="replace")

    def _read(self) -> tuple[int, bytes]:
        line = self._lines.take()
        if line is None:
            raise StopIteration
        if len(line) > MAX_ROW_BYTES:
            self.reason = TOO_LONG
            line = b"\n"
        return self._lines.number, line
