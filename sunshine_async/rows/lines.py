"""Lines of a file as bytes in UTF-8, gzip or not. Reads the file only as far as lines are taken."""

import codecs
import gzip
import io
import os
import select
import stat
import zlib
from collections import deque
from typing import BinaryIO, Final, cast

from sunshine_async.rows.file_types import BOM, check_head, encoding_name
from sunshine_async.rows.shape import UTF_8, SourceError

MAX_ROW_BYTES: Final = 1_000_000
"""The maximum length of a row: far longer than the body that a service accepts."""
TOO_LONG: Final = f"the row is longer than {MAX_ROW_BYTES} bytes"
NOT_UTF_8: Final = "not UTF-8: save the file as UTF-8, or name its encoding: --encoding cp1252"
LONE_CR: Final = "a carriage return in the middle: lines end in LF or CR LF"

_CHUNK: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
_UNDECODABLE: Final = "sunshine_async.undecodable"
codecs.register_error(_UNDECODABLE, lambda error: ("\udcff", cast("UnicodeDecodeError", error).end))


def system_message(error: Exception) -> str:
    """Return the operating system's message for *error*, without a file's name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def file_stamp(raw: BinaryIO) -> tuple[int, int, int] | None:
    """Return a stamp that differs for another file and after a write; None if *raw* is no file."""
    try:
        status = os.fstat(raw.fileno())
    except OSError:
        return None
    regular = stat.S_ISREG(status.st_mode)
    return (status.st_size, status.st_ino, status.st_mtime_ns) if regular else None


def wait_readable(raw: BinaryIO, timeout: float) -> bool:
    """Wait at most *timeout* seconds; return True if *raw* has data, or if no wait is possible."""
    try:
        return bool(select.select([raw], [], [], timeout)[0])
    except (OSError, ValueError):  # no file of the operating system, or one without a wait
        return True


class LineReader:
    """Reads the lines of *raw*, a file called *name*, in *encoding*.

    Lines are UTF-8, whatever the encoding; a line with bytes that the encoding hasn't isn't UTF-8.
    The constructor and `take` raise `SourceError` if the file can't be read.
    """

    def __init__(self, name: str, raw: BinaryIO, encoding: str = UTF_8) -> None:
        self.name: Final = name
        self.number = 0
        """The number of the last line taken."""
        self.consumed = 0
        self._parts: Final[deque[bytes]] = deque()
        self._tail = b""
        self._ended = False
        buffered = io.BufferedReader(cast("io.RawIOBase", raw), _CHUNK)
        gzipped = self._is_gzip(buffered)
        self._stream: Final = gzip.GzipFile(fileobj=buffered) if gzipped else buffered
        head = self._read_head()
        encoding = check_head(name, head, encoding_name(encoding))
        self.undecodable: Final = (
            NOT_UTF_8 if encoding == UTF_8 else f"not {encoding}: name the file's own encoding"
        )
        """The reason why a line that isn't UTF-8 can't be read."""
        self.exact: Final = not gzipped and encoding == UTF_8
        """True if the lines have the bytes of the file, so that `consumed` counts these."""
        self._decoder: Final = (
            None if encoding == UTF_8 else codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
        )
        self._feed(head)
        self.first: Final = self._skip_bom()
        """The first line that isn't blank, without a byte order mark."""

    @property
    def has_line(self) -> bool:
        """True if a line, or the end, can be taken without reading the file."""
        return bool(self._parts) or self._ended

    def take(self) -> bytes | None:
        """Return the next line with the line end, or None at the end; cut a line that is too long."""
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
        self.consumed += len(line)
        return line

    def _is_gzip(self, buffered: "io.BufferedReader[io.RawIOBase]") -> bool:
        try:
            head = buffered.peek(2)[:2]
        except OSError as error:
            message = f"{self.name} can't be read: {system_message(error)}"
        else:
            if not head or head == _GZIP or not self.name.lower().endswith(".gz"):
                return head == _GZIP
            message = f"{self.name} isn't a gzip file: take .gz off its name if it is plain text"
        raise SourceError(message)

    def _read_head(self) -> bytes:
        """Return the beginning of the file, with the first line."""
        head = b""
        while b"\n" not in head and len(head) <= MAX_ROW_BYTES and not self._ended:
            head += self._read()
        return head

    def _skip_bom(self) -> bytes:
        """Drop a byte order mark; return the first line that isn't blank, without taking the line."""
        while not self.has_line:
            self._fill()
        first = (self._parts.popleft() if self._parts else self._tail).removeprefix(BOM)
        if first.endswith(b"\n"):
            self._parts.appendleft(first)
        else:
            self._tail = first
        return next((line for line in [*self._parts, self._tail] if line.strip()), b"")

    def _fill(self) -> None:
        self._feed(self._read())

    def _read(self) -> bytes:
        try:
            chunk = self._stream.read1(_CHUNK)
        except Exception as error:  # noqa: BLE001 - after any error no more lines can be read
            reason = _read_error(error)
        else:
            self._ended = not chunk
            return chunk
        message = f"{self.name}, after line {self.number}: {reason}"
        raise SourceError(message)

    def _feed(self, chunk: bytes) -> None:
        """Split *chunk*, the next bytes of the file, into lines."""
        if self._decoder is not None:
            text = self._decoder.decode(chunk, final=self._ended)
            chunk = text.encode(errors="surrogatepass")
        first, *rest = chunk.split(b"\n")
        if len(self._tail) <= MAX_ROW_BYTES:  # more bytes of a too long line are useless
            self._tail += first
        for part in rest:
            self._parts.append(self._tail + b"\n")
            self._tail = part


def _read_error(error: Exception) -> str:
    """Return the reason why reading a file failed with *error*, and the next step."""
    match error:
        case EOFError():
            return "the gzip file is cut short: copy it here again"
        case gzip.BadGzipFile() | zlib.error():
            return "the gzip file is damaged, or other data follows: copy it here again"
        case OSError():
            return f"it can't be read on: {system_message(error)}"
        case _:
            return f"it can't be read on ({type(error).__name__})"
