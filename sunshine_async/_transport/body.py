"""The body of an answer, put together in bounded memory."""

import zlib
from typing import Final

_COMPRESSED: Final = ("br", "compress", "deflate", "zstd")
_GZIP_BEGINS: Final = 0x1F  # which no JSON does


class Unreadable(Exception):  # noqa: N818 - it says what the body is
    """The body is too large, or isn't what its headers say."""


class Body:
    """Collects a body piece by piece; *encoding* is what ``Content-Encoding`` says.

    A body that is said to be gzip, and begins like gzip, is inflated. A body under any other label
    (``none``, ``UTF-8``, ``aws-chunked``) stays as it came: real servers send such labels.

    Raise `Unreadable` for more than *limit* bytes, inflated too, for gzip that is damaged, and for
    a compression that was not asked for.
    """

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        self._limit: Final = limit
        self._encoding: Final = encoding.lower() if encoding else ""
        self._data: bytes | bytearray = b""  # most bodies come in one piece
        wbits = zlib.MAX_WBITS | 16
        self._inflate = zlib.decompressobj(wbits) if "gzip" in self._encoding else None
        self._begun = not encoding

    def add(self, piece: bytes) -> None:
        """Take the next piece, as it came."""
        if not self._begun and piece:
            self._begun = True
            self._decide(piece)
        if self._inflate is not None:
            try:
                piece = self._inflate.decompress(piece, self._limit - len(self._data) + 1)
            except zlib.error:
                message = "it isn't gzip, though it says so"
                raise Unreadable(message) from None
            if self._inflate.unused_data:
                message = "there is more of it after its gzip"
                raise Unreadable(message)
        if self._data:
            self._data = bytearray(self._data) if isinstance(self._data, bytes) else self._data
            self._data.extend(piece)
        else:
            self._data = piece
        if len(self._data) > self._limit:
            message = f"its body is larger than {self._limit} bytes"
            raise Unreadable(message)

    def whole(self) -> bytes:
        """Return all of it."""
        if self._inflate is not None and not self._inflate.eof and self._begun:
            message = "its gzip ends too early"
            raise Unreadable(message)
        return bytes(self._data)

    def _decide(self, piece: bytes) -> None:
        """Take the first *piece* for gzip or not; refuse it under the name of something else."""
        if self._inflate is not None:
            self._inflate = self._inflate if piece[0] == _GZIP_BEGINS else None
        elif any(label.strip() in _COMPRESSED for label in self._encoding.split(",")):
            message = f"it is in an encoding that was not asked for ({self._encoding[:40]})"
            raise Unreadable(message)
