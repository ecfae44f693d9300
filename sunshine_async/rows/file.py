"""Opening a file of rows: the format, standard input, the options, and the progress of reading.

::

    with open_rows("users.csv.gz", Shape(UserCreateBody)) as rows:
        for row in rows:
            match row:
                case Row(line, data): ...       # names as on the wire, nested
                case BadRow(line, reason): ...  # unreadable; the next rows are read

*line* is the number, in the file, of the line where the row starts. No reason has a value of the
row, which may be personal data.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

from sunshine_async.rows.columns import field_path
from sunshine_async.rows.csv_records import csv_rows
from sunshine_async.rows.json_lines import json_rows
from sunshine_async.rows.lines import LineReader, file_stamp, system_message, wait_readable
from sunshine_async.rows.phones import PhoneNormalizer
from sunshine_async.rows.shape import BadRow, Empty, Format, ReadOptions, Row, Shape, SourceError

STDIN: Final = "-"


_UNOPENED: Final[Mapping[type[Exception], str]] = {
    FileNotFoundError: "isn't there: check the path and its spelling",
    IsADirectoryError: "is a directory: name the file in it",
    PermissionError: "may not be read by you: check its permissions",
}


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
    """Open *path* (``-``: standard input), with rows of *shape*.

    *format* overrides the format that the name shows (``.jsonl``, ``.ndjson``, ``.csv``, each also
    with ``.gz``); without both, the first characters decide. *renames* has the column or key in the
    file by the field's name: ``{"externalId": "customer_no"}``. The columns or keys *skip* are
    ignored. *delimiter* and *empty* apply to CSV. With a *default_region* (``DE``) phone numbers are
    normalized to E.164 for services that need E.164; an unreadable number makes a bad row.
    Raise `SourceError`, with the next step, for a file that can't be read in this format.
    """
    renames = dict(renames or {})
    for name in renames:
        field_path(name, shape)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        message = f"the delimiter is one character, not {delimiter!r}; a tab is 'tab'"
        raise SourceError(message)
    phones = PhoneNormalizer(default_region, shape) if default_region else None
    options = ReadOptions(shape, delimiter, empty, renames, skip)
    name = "standard input" if str(path) == STDIN else str(path)
    raw = _open_stdin(stdin) if str(path) == STDIN else _open(Path(path))
    try:
        file = RowFile(name, raw, format, options, phones)
    except BaseException:
        raw.close()
        raise
    if str(path) != STDIN and file.size is not None:
        file.path = Path(path)
    return file


def open_as(path: str | Path, shape: Shape, meant: str) -> "RowFile":
    """Open *path* with the options in *meant*, the text of another `RowFile`."""
    options = json.loads(meant)
    options |= {"format": Format(options["format"]), "empty": Empty(options["empty"])}
    return open_rows(path, shape, **options)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except (OSError, ValueError) as error:
        reason = _UNOPENED.get(type(error), f"can't be opened: {system_message(error)}")
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
        reason = system_message(error)
    message = f"standard input can't be read: {reason}"
    raise SourceError(message)


class RowFile:
    """The rows of an open file: iterate over the rows once, and close the file."""

    def __init__(
        self,
        name: str,
        raw: BinaryIO,
        format: Format | None,
        options: ReadOptions,
        phones: PhoneNormalizer | None,
    ) -> None:
        self.name: Final = name
        self.path: Path | None = None
        """The path to read the rows again from the beginning; None if that is impossible."""
        self.stamp: Final = file_stamp(raw)
        self.size: Final = self.stamp[0] if self.stamp else None
        """The size in bytes of a regular file; None for anything else."""
        self._raw: Final = raw
        self._options: Final = options
        self._phones: Final = phones
        self._lines: Final = LineReader(name, raw)
        first = self._lines.first.strip()
        sniffed = Format.CSV if first and first[:1] not in b"{[" else Format.JSONL
        self.format: Final = format or Format.of(name) or sniffed
        read = json_rows if self.format is Format.JSONL else csv_rows
        self._rows: Final = read(self._lines, options)

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows if self._phones is None else self._phones.rows(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def meant(self) -> str:
        """The options as text, for `open_as`. Equal options have equal texts."""
        options = self._options
        return json.dumps(
            {
                "format": self.format.value,
                "delimiter": options.delimiter,
                "empty": options.empty.value,
                "renames": dict(sorted(options.renames.items())),
                "skip": sorted(options.skip),
                "default_region": self._phones and self._phones.region,
            }
        )

    @property
    def turned(self) -> int:
        """The number of phone numbers normalized to E.164, in the rows so far."""
        return 0 if self._phones is None else self._phones.count

    @property
    def changed(self) -> bool:
        """True if the file was changed since it was opened, as far as the system tells."""
        return file_stamp(self._raw) != self.stamp

    def again(self) -> "RowFile":
        """Open the same *path* again, from the beginning. Close the result too."""
        return open_as(cast("Path", self.path), self._options.shape, self.meant)

    @property
    def consumed(self) -> int:
        """The bytes that the rows so far took of `size`; for gzip, the compressed bytes read."""
        if not self._lines.gzipped:
            return self._lines.consumed
        return self.size or 0 if self._raw.closed else self._raw.tell()

    def ready(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds for data of a pipe; return True if a row can be begun."""
        lines = self._lines
        return lines.has_line or lines.gzipped or wait_readable(self._raw, timeout)

    @property
    def waiting(self) -> bool:
        """True if a line of the next row is in memory, so that no wait is needed."""
        return self._lines.has_line

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
