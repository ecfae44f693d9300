"""The body of an answer, put together in bounded memory."""

import zlib
from typing import Final


class Unreadable(Exception):  # noqa: N818 - it says what the body is
    """The body is too large, or isn't what its headers say."""


class Body:
    """Collects a body piece by piece; *encoding* is what ``Content-Encoding`` says.

    Raise `Unreadable` for more than *limit* bytes, inflated too, and for what isn't gzip though it
    should be: other encodings are never asked for.
    """

    def __init__(self, encoding: str | None, *, limit: int) -> None:
        self._limit: Final = limit
        self._data: bytes | bytearray = b""  # most bodies come in one piece
        self._begun = False
        self._inflate = None
        if encoding and encoding.lower() != "identity":
            if encoding.lower() not in ("gzip", "x-gzip"):
                message = "it is in an encoding that was not asked for"
                raise Unreadable(message)
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    def add(self, piece: bytes) -> None:
        """Take the next piece, as it came."""
        self._begun = self._begun or bool(piece)
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
            message = f"it is larger than {self._limit} bytes"
            raise Unreadable(message)

    def whole(self) -> bytes:
        """Return all of it."""
        if self._inflate is not None and not self._inflate.eof and self._begun:
            message = "its gzip ends too early"
            raise Unreadable(message)
        return bytes(self._data)
