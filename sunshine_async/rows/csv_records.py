"""The records of a CSV file, each on its own: a broken one doesn't take others with it."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from sunshine_async._codec import Misfit
from sunshine_async.rows.json_lines import NOT_UTF_8, RETURN
from sunshine_async.rows.lines import BOM, MAX_ROW_BYTES, TOO_LONG, LineReader

_REASONS: Final[Mapping[str, str]] = {
    "unexpected end of data": 'a quote (") is opened and never closed',
    "expected after": "in a quoted cell there is a quote (\") that isn't doubled",
    "new-line": RETURN,
    "field limit": "a cell is too long",
}
"""Reasons for the author of the file, by a part of the csv module's text."""
_JOINED: Final = "a byte order mark in the middle: were files joined? Import each by itself"


def records(lines: LineReader, delimiter: str) -> Iterator[tuple[int, list[str] | Misfit]]:
    """Yield each record that isn't blank: the line where it starts, and its cells.

    In place of the cells of one that can't be read stands why. What comes after its first line
    is read again then: a quote that is never closed spoils one line, not the file.
    """
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            feed.again()
            reasons = (ours for theirs, ours in _REASONS.items() if theirs in str(error))
            reason = next(reasons, "not a row of CSV")
            yield feed.first, Misfit(feed.fault or reason)
            continue
        if feed.fault is not None:
            yield feed.first, Misfit(feed.fault)
        elif len(cells) > 1 or "".join(cells).strip():
            yield feed.first, cells


class _Feed:
    """The lines of a record for the csv module, which knows neither bytes nor numbers."""

    def __init__(self, lines: LineReader) -> None:
        self.first = 0
        """The line where the record starts."""
        self.fault: str | None = None
        """Why the record can't be used, whatever the csv module makes of it."""
        self._lines: Final = lines
        self._taken: Final[list[tuple[int, bytes]]] = []
        self._again: Final[deque[tuple[int, bytes]]] = deque()
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._length > MAX_ROW_BYTES:
            raise StopIteration  # as if the file ended here
        number, line = self._again.popleft() if self._again else self._read()
        if not self._taken and line.startswith(BOM):
            self.fault = _JOINED
        self._taken.append((number, line))
        self._length += len(line)
        self.first = self._taken[0][0]
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.fault = NOT_UTF_8
            return line.decode(errors="replace")

    def begin(self) -> None:
        """Begin the next record."""
        self._taken.clear()
        self._length = 0
        self.fault = None

    def again(self) -> None:
        """Let what follows the first line of this record be read again, as records of their own."""
        self._again.extendleft(reversed(self._taken[1:]))

    def _read(self) -> tuple[int, bytes]:
        line = self._lines.take()
        if line is None:
            raise StopIteration
        if len(line) > MAX_ROW_BYTES:
            self.fault = TOO_LONG
            line = b"\n"
        return self._lines.number, line
