"""The lines of a file as bytes, gzip or not, read as they are taken."""

import gzip
import io
import os
import select
import stat
import zlib
from collections import deque
from typing import BinaryIO, Final, cast

from sunshine_async.rows.columns import SourceError

MAX_ROW_BYTES: Final = 1_000_000
"""The longest row that is read: far beyond what a service takes as a body."""
TOO_LONG: Final = f"the row is longer than {MAX_ROW_BYTES} bytes"

_CHUNK: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_WIDE: Final = 4  # bytes; of a character's in UTF-16 and UTF-32 at least one is zero


def said(error: Exception) -> str:
    """Return what the system says of *error*, without a file's name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def stamp_of(raw: BinaryIO) -> tuple[int, int, int] | None:
    """Return what is another for another file, or when it is written to; None: it is no file."""
    try:
        status = os.fstat(raw.fileno())
    except OSError:
        return None
    regular = stat.S_ISREG(status.st_mode)
    return (status.st_size, status.st_ino, status.st_mtime_ns) if regular else None


def readable(raw: BinaryIO, timeout: float) -> bool:
    """Return whether there is something to read, waiting at most *timeout* seconds for it."""
    try:
        return bool(select.select([raw], [], [], timeout)[0])
    except (OSError, ValueError):  # not a file of the system's, or one that it can't wait for
        return True


class LineReader:
    """The lines of *raw*, a file called *name*.

    Raise `SourceError`, then or on the way, where it can't be read.
    """

    def __init__(self, name: str, raw: BinaryIO) -> None:
        self.name: Final = name
        self.number = 0
        """The number of the last line that was taken."""
        self.taken = 0
        """How many bytes the lines had that were taken."""
        self._parts: Final[deque[bytes]] = deque()
        self._tail = b""
        self._ended = False
        buffered = io.BufferedReader(cast("io.RawIOBase", raw), _CHUNK)
        self.gzipped: Final = self._is_gzip(buffered)
        self._stream: Final = gzip.GzipFile(fileobj=buffered) if self.gzipped else buffered
        self.first: Final = self._begin()
        """The first line that isn't blank, without what Windows puts before it."""

    @property
    def waiting(self) -> bool:
        """Whether a line is there, or the end, without reading on."""
        return bool(self._parts) or self._ended

    def take(self) -> bytes | None:
        """Return the next line with its end, or None; of one that is too long, its beginning."""
        parts = self._parts
        while not (parts or self._ended):
            self._fill()
        if parts:
            line = parts.popleft()
        elif self._tail:
            line, self._tail = self._tail, b""
        else:
            return None
        self.number += 1
        self.taken += len(line)
        return line

    def _is_gzip(self, buffered: "io.BufferedReader[io.RawIOBase]") -> bool:
        try:
            head = buffered.peek(2)[:2]
        except OSError as error:
            message = f"{self.name} can't be read: {said(error)}"
        else:
            if not head or head == _GZIP or not self.name.lower().endswith(".gz"):
                return head == _GZIP
            message = f"{self.name} isn't a gzip file: take .gz off its name if it is plain text"
        raise SourceError(message)

    def _begin(self) -> bytes:
        """Drop a byte order mark; return the first line that isn't blank, leaving it there."""
        while not self.waiting:
            self._fill()
        first = self._parts.popleft() if self._parts else self._tail
        if first.startswith(_UTF_16) or b"\0" in first[:_WIDE]:
            message = f"{self.name} is UTF-16, not UTF-8: save it as UTF-8 (in Excel: CSV UTF-8)"
            raise SourceError(message)
        first = first.removeprefix(BOM)
        if first.endswith(b"\n"):
            self._parts.appendleft(first)
        else:
            self._tail = first
        return next((line for line in [*self._parts, self._tail] if line.strip()), b"")

    def _fill(self) -> None:
        try:
            chunk = self._stream.read1(_CHUNK)
        except Exception as error:  # noqa: BLE001 - whatever it is, no line after it can be read
            reason = _ended_by(error)
        else:
            self._split(chunk)
            return
        message = f"{self.name}, after line {self.number + len(self._parts)}: {reason}"
        raise SourceError(message)

    def _split(self, chunk: bytes) -> None:
        self._ended = not chunk
        first, *others = chunk.split(b"\n")
        if len(self._tail) <= MAX_ROW_BYTES:  # what is past that is of no use
            self._tail += first
        for other in others:
            self._parts.append(self._tail + b"\n")
            self._tail = other


def _ended_by(error: Exception) -> str:
    """Return the reason that *error* ends the reading of a file, and the next step."""
    match error:
        case EOFError():
            return "the gzip file is cut short: copy it here again"
        case gzip.BadGzipFile() | zlib.error():
            return "the gzip file is damaged, or other data follows: copy it here again"
        case OSError():
            return f"it can't be read on: {said(error)}"
        case _:
            return f"it can't be read on ({type(error).__name__})"
