"""The lines of a file as bytes, gzip or not, read as they are taken."""

import gzip
import io
import json
import os
import select
import stat
import zlib
from collections import deque
from collections.abc import Collection
from typing import Any, BinaryIO, Final, cast

from sunshine_async._columns import INTEGERS, SourceError

MAX_ROW_BYTES: Final = 1_000_000
"""The longest row that is read: far beyond what a service takes as a body."""
TOO_LONG: Final = f"the row is longer than {MAX_ROW_BYTES} bytes"
NOT_UTF_8: Final = "not UTF-8: save the file as UTF-8"

_DIGIT_AS_0: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = b"0" * 19
_DIGITS: Final = 21  # of the longest integer with its sign
PAST_64_BITS: Final = (
    "an integer past 64 bits, which not every reader of JSON keeps: in quotes it is text"
)

_CHUNK: Final = 64 * 1024
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


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


class Lines:
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
        if first.startswith(_UTF_16):
            message = f"{self.name} is UTF-16, not UTF-8: save it as UTF-8 (in Excel: CSV UTF-8)"
            raise SourceError(message)
        first = first.removeprefix(_BOM)
        if first.endswith(b"\n"):
            self._parts.appendleft(first)
        else:
            self._tail = first
        return next((line for line in [*self._parts, self._tail] if line.strip()), b"")

    def _fill(self) -> None:
        try:
            chunk = self._stream.read1(_CHUNK)
        except EOFError:
            reason = "the gzip file is cut short: copy it here again"
        except (gzip.BadGzipFile, zlib.error):
            reason = "the gzip file is damaged: copy it here again"
        except OSError as error:
            reason = f"it can't be read on: {said(error)}"
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


def past_64_bits(line: bytes, skip: Collection[str] = ()) -> str | None:
    """Return the path of the first integer past 64 bits in a *line* of JSON, or None.

    What stands under the keys *skip* isn't looked at.
    """
    if _LONG not in line.translate(_DIGIT_AS_0):
        return None
    return _past(json.loads(line, parse_int=_whole), skip)


def _whole(digits: str) -> "int | _TooLong":
    if len(digits) > _DIGITS or int(digits) not in INTEGERS:
        return _TooLong()
    return int(digits)


class _TooLong:
    """An integer that isn't one to orjson, which takes it for a float unasked."""


def _past(value: object, skip: Collection[str] = ()) -> str | None:
    """Return the path of the first such integer in *value*, or None."""
    if isinstance(value, _TooLong):
        return ""
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("Any", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("Any", value))
    for name, one in inner:
        path = None if name in skip else _past(one)
        if path is not None:
            return f"{name}.{path}" if path else str(name)
    return None
