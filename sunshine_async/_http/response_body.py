"""Body of an HTTP response: pieces collected in bounded memory, and inflated. No I/O."""

import zlib
from typing import Final, NoReturn

_COMPRESSED: Final = ("br", "compress", "deflate", "zstd")
_GZIP_MAGIC: Final = 0x1F  # JSON never starts with this byte


class InvalidResponseError(Exception):
    """Invalid response: malformed, larger than the limits, or in contradiction to the headers."""


class BodyDecoder:
    """Decoder of a response body; *encoding* is the value of ``Content-Encoding``.

    A body with the label gzip and the first byte of gzip is inflated. A body with another label
    (``none``, ``UTF-8``, ``aws-chunked``) stays unchanged: real servers send such labels.

    Raise `InvalidResponseError` for more than *limit* bytes, before or after inflating, for damaged
    gzip, and for a compression that the request did not accept.
    """

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        self._limit: Final = limit
        self._encoding: Final = encoding.lower() if encoding else ""
        self._content: bytes | bytearray = b""  # most bodies have one piece
        self._gunzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in self._encoding else None
        self._started = not encoding

    def add(self, piece: bytes) -> None:
        """Add the next piece, as received."""
        if not self._started and piece:
            self._started = True
            self._detect_gzip(piece)
        if self._gunzip is not None:
            try:
                piece = self._gunzip.decompress(piece, self._limit - len(self._content) + 1)
            except zlib.error:
                message = "it isn't gzip, though it says so"
                raise InvalidResponseError(message) from None
            if self._gunzip.unused_data:
                reject("there is more of it after its gzip")
        if self._content:
            if isinstance(self._content, bytes):
                self._content = bytearray(self._content)
            self._content.extend(piece)
        else:
            self._content = piece
        if len(self._content) > self._limit:
            reject(f"its body is larger than {self._limit} bytes")

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._gunzip is not None and not self._gunzip.eof and self._started:
            reject("its gzip ends too early")
        return bytes(self._content)

    def _detect_gzip(self, piece: bytes) -> None:
        """Decide by the first *piece* if the body is gzip; reject another compression."""
        if self._gunzip is not None:
            self._gunzip = self._gunzip if piece[0] == _GZIP_MAGIC else None
        elif any(label.strip() in _COMPRESSED for label in self._encoding.split(",")):
            reject(f"it is in an encoding that was not asked for ({self._encoding[:40]})")


def reject(reason: str) -> NoReturn:
    raise InvalidResponseError(reason)
