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

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import NoneType
from typing import Any, BinaryIO, Final, Self, cast

from attrs import evolve

from sunshine_async.rows.columns import field_path
from sunshine_async.rows.csv_records import CsvRows
from sunshine_async.rows.file_types import encoding_name
from sunshine_async.rows.json_lines import JsonRows
from sunshine_async.rows.lines import LineReader, file_stamp, system_message, wait_readable
from sunshine_async.rows.phones import PhoneNormalizer
from sunshine_async.rows.shape import (
    UTF_8,
    BadRow,
    Empty,
    Format,
    HashPartition,
    ReadOptions,
    Row,
    Shape,
    SourceError,
)
from sunshine_async.rows.times import TimeNormalizer

STDIN: Final = "-"
_STOPPED: Final = "the reading was stopped before the end of the file: run the same again"
_UNOPENED: Final[Mapping[type[Exception], str]] = {
    FileNotFoundError: "isn't there: check the path and its spelling",
    IsADirectoryError: "is a directory: name the file in it",
    PermissionError: "may not be read by you: check its permissions",
}
_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "path": (str | Path, "the path of a file"),
    "shape": (Shape, "a Shape, such as job.shape"),
    "format": (Format | None, "a Format, such as Format.CSV"),
    "empty": (Empty, "an Empty, such as Empty.LEAVE"),
    "renames": ((Mapping, NoneType), "a mapping"),
    "only_mapped": (bool, "True or False"),
    **dict.fromkeys(("delimiter", "encoding"), (str, "text")),
    **dict.fromkeys(("default_region", "timezone"), (str | None, "text")),
    **dict.fromkeys(("skip", "date_formats"), (Collection, "a list of texts")),
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
    only_mapped: bool = False,
    default_region: str | None = None,
    encoding: str = UTF_8,
    timezone: str | None = None,
    date_formats: Collection[str] = (),
    stdin: BinaryIO | None = None,
) -> "RowFile":
    """Open *path* (``-``: standard input), with rows of *shape*.

    - *format* overrides the format that the name shows (``.jsonl``, ``.ndjson``, ``.csv``, each also
      with ``.gz``); without both, the first characters decide.
    - *encoding* is a name that Python knows, such as ``utf-16`` (with or without a byte order mark),
      ``cp1252`` and ``latin-1``. UTF-8 may have a byte order mark.
    - *delimiter* and *empty* apply to CSV. A first line ``sep=;`` goes before *delimiter*.
    - *renames* has the column or key in the file by the field's name: ``{"externalId": "customer_no"}``.
      The columns or keys *skip* are ignored. In both, ``#3`` is the third column of a CSV file, for
      a column without a name, or with the name of another column. *only_mapped* ignores all columns
      and keys that are neither in *renames* nor the name of a field.
    - With a *default_region* (``DE``) phone numbers are normalized to E.164 for services that need
      E.164; an unreadable number makes a bad row.
    - With a *timezone* (``Europe/Berlin``) a time may lack its zone. *date_formats*, such as
      ``%d/%m/%Y %H:%M`` as in `datetime.strptime`, are read besides ISO 8601.

    Raise `SourceError`, with the next step, for a file that can't be read in this format, and
    `TypeError` for an argument of another type.
    """
    given = {
        "path": path, "shape": shape, "format": format, "delimiter": delimiter, "empty": empty,
        "renames": renames, "skip": skip, "only_mapped": only_mapped, "encoding": encoding,
        "default_region": default_region, "timezone": timezone, "date_formats": date_formats,
    }  # fmt: skip
    for name, (kind, words) in _KINDS.items():
        found = type(given[name])
        if not issubclass(found, kind) or (kind is Collection and found in (str, bytes)):
            message = f"{name} must be {words}, not {found.__name__}"
            raise TypeError(message)
    options = ReadOptions(
        format=format, delimiter=delimiter, empty=empty, renames=renames or {}, skip=skip,
        default_region=default_region, only_mapped=only_mapped, encoding=encoding_name(encoding),
        timezone=timezone, date_formats=tuple(date_formats),
    )  # fmt: skip
    return _open_rows(path, shape, options, stdin)


def open_as(path: str | Path, shape: Shape, meant: str) -> "RowFile":
    """Open *path* with the options in *meant*, the text of another `RowFile`."""
    return _open_rows(path, shape, ReadOptions.from_text(meant))


def _open_rows(
    path: str | Path, shape: Shape, options: ReadOptions, stdin: BinaryIO | None = None
) -> "RowFile":
    for name in options.renames:
        field_path(name, shape, options.renames[name])
    delimiter = options.delimiter
    if len(delimiter) != 1 or delimiter in '"\r\n':
        message = f"--delimiter {delimiter!r}: give one character, such as ';'; tab is a tab"
        raise SourceError(message)
    normalizers: list[PhoneNormalizer | TimeNormalizer] = []
    if options.default_region:
        phones = PhoneNormalizer(options.default_region, shape)
        normalizers.append(phones)
        options = evolve(options, default_region=phones.region)
    if options.timezone or options.date_formats:
        normalizers.append(TimeNormalizer(options.timezone, options.date_formats, shape))
    name = "standard input" if str(path) == STDIN else str(path)
    raw = _open_stdin(stdin) if str(path) == STDIN else _open(Path(path))
    try:
        file = RowFile(name, raw, shape, options, normalizers)
    except BaseException:
        raw.close()
        raise
    if str(path) != STDIN and file.size is not None:
        file.path = Path(path)
    return file


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


def _normalized(
    rows: Iterator[Row | BadRow], normalize: Callable[[dict[str, Any]], None]
) -> Iterator[Row | BadRow]:
    """Yield *rows* after *normalize*; a row with an unreadable value is a bad row."""
    for row in rows:
        try:
            if isinstance(row, Row):
                normalize(row.data)
        except Exception as error:  # noqa: BLE001 - of this row alone
            yield BadRow.from_error(row.line, error)
        else:
            yield row


class RowFile:
    """The rows of an open file: iterate over the rows once, and close the file."""

    def __init__(
        self,
        name: str,
        raw: BinaryIO,
        shape: Shape,
        options: ReadOptions,
        normalizers: Sequence[PhoneNormalizer | TimeNormalizer],
    ) -> None:
        self.name: Final = name
        self.path: Path | None = None
        """The path to read the rows again from the beginning; None if that is impossible."""
        self.stamp: Final = file_stamp(raw)
        self.size: Final = self.stamp[0] if self.stamp else None
        """The size in bytes of a regular file; None for anything else."""
        self._raw: Final = raw
        self._shape: Final = shape
        self._normalizers: Final = normalizers
        self._lines: Final = LineReader(name, raw, options.encoding)
        first = self._lines.first.strip()
        sniffed = Format.CSV if first and first[:1] not in b"{[" else Format.JSONL
        self.format: Final = options.format or Format.of(name) or sniffed
        self.meant: Final = evolve(options, format=self.format).text
        """The options as text, for `open_as`. Equal options have equal texts."""
        self.table: Final = (
            CsvRows(self._lines, shape, options) if self.format is Format.CSV else None
        )
        """The columns of a CSV file, and the cells of the row that iteration gave last."""
        self._rows: Final = self.table or JsonRows(self._lines, shape, options)
        self.partition: Final = options.partition
        self._turned_elsewhere = 0  # phone numbers of other parts
        self.stopped = Event()
        """Set by `stop`."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        rows = iter(self._rows)
        for normalizer in self._normalizers:
            rows = _normalized(rows, normalizer.normalize)
        return rows if self.partition is None else self._part(rows, self.partition)

    def _part(
        self, rows: Iterator[Row | BadRow], partition: HashPartition
    ) -> Iterator[Row | BadRow]:
        before = 0
        for number, row in enumerate(rows):
            if partition.has(number, row):
                yield row
            else:
                self.raise_if_stopped()
                self._turned_elsewhere += self._turned - before
            before = self._turned

    @property
    def text(self) -> str:
        """The text in the file of the row that iteration gave last, with the line end."""
        return self._rows.text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def turned(self) -> int:
        """The number of phone numbers normalized to E.164, in the rows so far."""
        return self._turned - self._turned_elsewhere

    @property
    def _turned(self) -> int:
        return sum(each.count for each in self._normalizers if isinstance(each, PhoneNormalizer))

    @property
    def changed(self) -> bool:
        """True if the file was changed since it was opened, as far as the system tells."""
        return file_stamp(self._raw) != self.stamp

    def again(self) -> "RowFile":
        """Open the same *path* again, from the beginning. Close the result too; `stop` is for both."""
        opened = open_as(cast("Path", self.path), self._shape, self.meant)
        opened.stopped = self.stopped
        return opened

    def stop(self) -> None:
        """Let the search for the next row, of a part say, end in a `SourceError`; for any thread.

        The search can take as long as to read the whole file.
        """
        self.stopped.set()

    def raise_if_stopped(self) -> None:
        """Raise `SourceError` after `stop`."""
        if self.stopped.is_set():
            message = f"{self.name}, after line {self.lines}: {_STOPPED}"
            raise SourceError(message)

    @property
    def consumed(self) -> int:
        """The bytes that the rows so far took of `size`; for gzip and wide encodings, the bytes read."""
        if self._lines.exact:
            return self._lines.consumed
        return self.size or 0 if self._raw.closed else self._raw.tell()

    @property
    def lines(self) -> int:
        """The lines that the rows so far took."""
        return self._lines.number

    @property
    def share(self) -> float | None:
        """The part of the file that the rows so far took, from 0 to 1; None for anything else."""
        return min(1.0, self.consumed / max(1, self.size)) if self.size is not None else None

    def ready(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds for data of a pipe; return True if a row can be begun."""
        lines = self._lines
        return lines.has_line or not lines.exact or wait_readable(self._raw, timeout)

    @property
    def waiting(self) -> bool:
        """True if a line of the next row is in memory, so that no wait is needed."""
        return self._lines.has_line

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
