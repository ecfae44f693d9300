"""Parts of an HTTP response: header fields, lengths, and the body. No I/O.

- `BodyDecoder` collects the pieces of a body in bounded memory, and inflates the body.
- `read_head` decodes the fields of a head.
- `merge_content_lengths` repairs a head with the same ``Content-Length`` twice.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, NoReturn, TypeAlias

Fields: TypeAlias = Iterable[tuple[bytes, bytes]]

_END: Final = b"\r\n\r\n"
_LENGTH_NAME: Final = b"content-length:"
_COMPRESSED: Final = ("br", "compress", "deflate", "zstd")
_GZIP_MAGIC: Final = 0x1F  # JSON never starts with this byte


def merge_content_lengths(raw: bytes) -> bytes | None:
    """Merge equal ``Content-Length`` values in the final head of *raw*, as RFC 9110 (8.6) allows.

    Different lengths and all other bytes stay. Return None while the head is incomplete.
    """
    before = b""
    while True:
        head, end, rest = raw.partition(_END)
        if not end:
            return None
        if head[9:10] != b"1":  # the first digit of the status
            return before + _merge_lengths(head) + end + rest
        before, raw = before + head + end, rest


def _merge_lengths(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    size = len(_LENGTH_NAME)
    lengths = [line for line in lines if line[:size].lower() == _LENGTH_NAME]
    values = {value.strip(b" \t") for line in lengths for value in line[size:].split(b",")}
    if len(values) != 1:
        return head
    [value] = values
    others = [line for line in lines if line not in lengths]
    return b"\r\n".join([*others, b"Content-Length: " + value])


def read_head(head: Fields | bytes) -> Mapping[str, str]:
    """Return the fields of *head*: a valid head of ASCII from the status line on, or its fields."""
    return merge_fields(_split_head(head) if isinstance(head, bytes) else head)


def _split_head(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in filter(None, head.splitlines()[1:]):  # older llhttp ends a line by CR CR, too
        name, _, value = line.partition(b":")
        yield name, value.lstrip(b" \t")


def merge_fields(fields: Fields) -> Mapping[str, str]:
    """Return *fields* with lower-case names; values of the same name are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = _field_key(name)
        text = value.decode("latin-1").rstrip(" ")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


@lru_cache(maxsize=256)
def _field_key(name: bytes) -> str:
    return name.decode("ascii").lower()


class InvalidResponseError(Exception):
    """Invalid response: malformed, larger than the limits, or in contradiction to the headers."""


class StreamEndError(Exception):
    """End of a stream before the end of a response; the text is the stage of the response."""


class StaleConnectionError(Exception):
    """A kept connection has ended, or has brought bytes unasked, before the next request left."""


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
            return
        labels = {label.strip() for label in self._encoding.split(",")}
        if found := sorted(labels.intersection(_COMPRESSED)):
            reject(f"it is in an encoding that was not asked for ({found[0]})")


def reject(reason: str) -> NoReturn:
    """Raise `InvalidResponseError` with *reason*."""
    raise InvalidResponseError(reason)


def parse_date(text: str | None) -> datetime | None:
    """Return the date in the value *text* of a header; None: no date, or one beyond the calendar."""
    try:
        at = parsedate_to_datetime(text or "")
    except Exception:  # noqa: BLE001 - of any kind, such as for a year past any calendar
        return None
    return at.replace(tzinfo=at.tzinfo or UTC)
