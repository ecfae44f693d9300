"""Parser of HTTP/1.1 responses on top of httptools, in bounded memory. No I/O.

- `ResponseParser` reads the responses of one connection, one after another.
- `BodyDecoder` collects the pieces of a body, and inflates gzip.
- `merge_content_lengths` repairs a head with the same ``Content-Length`` twice.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Final, NoReturn, TypeAlias

import httptools
from attrs import evolve

from sunshine_async._http.messages import Response

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 200
MAX_INTERIM: Final = 20

_SWITCHING_PROTOCOLS: Final = 101
_LOWEST: Final = 100
_LOWEST_FINAL: Final = 200
_LOWEST_REFUSAL: Final = 300
_FRAMING: Final = frozenset(map(len, ("transfer-encoding", "content-length", "content-encoding")))
_H: Final = ord("H")
_END: Final = b"\r\n\r\n"
_LENGTH_NAME: Final = b"content-length:"
_COMPRESSED: Final = ("br", "compress", "deflate", "zstd")
_GZIP_MAGIC: Final = 0x1F  # JSON never starts with this byte
_Fields: TypeAlias = Iterable[tuple[bytes, bytes]]


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
                _reject("there is more of it after its gzip")
        if self._content:
            if isinstance(self._content, bytes):
                self._content = bytearray(self._content)
            self._content.extend(piece)
        else:
            self._content = piece
        if len(self._content) > self._limit:
            _reject(f"its body is larger than {self._limit} bytes")

    def finish(self) -> bytes:
        """Return the whole body."""
        if self._gunzip is not None and not self._gunzip.eof and self._started:
            _reject("its gzip ends too early")
        return bytes(self._content)

    def _detect_gzip(self, piece: bytes) -> None:
        """Decide by the first *piece* if the body is gzip; reject another compression."""
        if self._gunzip is not None:
            self._gunzip = self._gunzip if piece[0] == _GZIP_MAGIC else None
        elif any(label.strip() in _COMPRESSED for label in self._encoding.split(",")):
            _reject(f"it is in an encoding that was not asked for ({self._encoding[:40]})")


class ResponseParser:
    """Parser of the responses on a connection; `expect` announces each response.

    Time and memory are bounded for any input. A head has at most ``MAX_HEAD_BYTES`` and
    ``MAX_FIELDS``, a body at most *limit* bytes, before and after inflating. Bytes without content,
    such as chunk framing, are at most ``MAX_HEAD_BYTES`` in a row.
    """

    def __init__(self, *, limit: int) -> None:
        self.reusable = False
        """True if another request may be sent after the returned response."""
        self._limit: Final = limit
        self._parser = httptools.HttpResponseParser(self)
        self._body = BodyDecoder(None, limit=limit)
        self.expect("GET")

    def expect(self, method: str) -> None:
        """Prepare for the response to a *method* request."""
        self._head_only = method == "HEAD"
        self._started = False
        self._overhead_bytes = 0
        self._body_bytes = 0
        self._received_bytes = 0
        self._interim_count = 0
        self._response: Response | None = None
        self._buffered_head = b""
        self._length_error: httptools.HttpParserError | None = None
        self._expect_head()

    @property
    def refusal(self) -> Response | None:
        """Head of a response with a status from 300 on, once complete; None before.

        A received error status is the response, even if the explaining body is lost.
        """
        if self._status < _LOWEST_REFUSAL:
            return None
        return Response(self._status, _LazyHeaders(self._fields), b"")

    @property
    def stage(self) -> str:
        """Stage of the response, as the end of a sentence."""
        return "within its answer" if self._started else "before it answered"

    def feed(self, data: bytes | memoryview) -> Response | None:
        """Parse received *data*; return the response once complete, None before.

        After more than one response, return the first, and set *reusable* to False. A response
        with unreadable content has the reason as *body_error*. Raise `InvalidResponseError` for
        bytes that are no response.
        """
        if not self._started and data[0] != _H:  # llhttp skips blank lines, and knows RTSP
            _reject("it doesn't begin as HTTP does")
        self._started = True
        self._received_bytes += len(data)
        before = self._body_bytes
        try:
            if self._length_error is None:
                self._parser.feed_data(data)
            if not self._head_read:
                self._buffer_head(data)
        except httptools.HttpParserError as error:
            self._handle_error(error, data)
        if self._response is None:
            no_content = before == self._body_bytes
            self._overhead_bytes = self._overhead_bytes + len(data) if no_content else 0
            if self._overhead_bytes > MAX_HEAD_BYTES:
                self._fail(f"it has more than {MAX_HEAD_BYTES} bytes in it that are no content")
        return self._response

    def _fail(self, reason: str) -> None:
        """Raise the error; after the head of a refusal, make the refusal the response instead."""
        refusal = self.refusal
        if refusal is None:
            raise InvalidResponseError(reason) from None
        self.reusable = False
        self._response = evolve(refusal, body_error=reason)

    def _handle_error(self, error: httptools.HttpParserError, data: bytes | memoryview) -> None:
        """Parse a head with a repeated length again; fail for any other *error*."""
        if self._length_error is None and not self._head_read and "Content-Length" in str(error):
            self._length_error = error
            try:
                self._buffer_head(data)
            except httptools.HttpParserError as again:
                error = again
            else:
                return
        self.reusable = False
        if self._response is None:
            inner = error.__context__  # raised by a callback, inside the parser
            self._fail(str(inner if isinstance(inner, InvalidResponseError) else error))

    def _buffer_head(self, data: bytes | memoryview) -> None:
        """Keep *data* of an incomplete head; parse the complete head with merged lengths."""
        self._buffered_head += data
        if self._length_error is None:
            return
        repaired = merge_content_lengths(self._buffered_head)
        if repaired is None:
            return
        if repaired == self._buffered_head:
            raise self._length_error
        self._length_error = None
        self._parser = httptools.HttpResponseParser(self)
        self._interim_count = 0
        self._expect_head()
        self._parser.feed_data(repaired)

    def feed_eof(self) -> Response | None:
        """Return the response if the end of the stream completes the response."""
        if self._ends_at_eof:
            self._complete(reusable=False)
        return self._response

    def on_message_begin(self) -> None:
        if self._response is not None:
            _reject("there is more than one")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # a later field is a trailer, and no request asks for trailers
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_read = True
        if len(self._fields) > MAX_FIELDS:
            _reject(f"it has more than {MAX_FIELDS} header fields")
        if self._received_bytes > MAX_HEAD_BYTES and _head_size(self._fields) > MAX_HEAD_BYTES:
            _reject(f"its header is larger than {MAX_HEAD_BYTES} bytes")
        status = self._parser.get_status_code()
        headers = _merge_fields([field for field in self._fields if len(field[0]) in _FRAMING])
        if self._parser.get_http_version() not in ("1.1", "1.0") or status < _LOWEST:
            _reject("its status line is wrong")
        if status == _SWITCHING_PROTOCOLS:
            _reject("it switches to another protocol, unasked")
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and coding.lower() != "chunked":
            _reject("its Transfer-Encoding is not chunked")
        framed = coding is not None or length not in (None, "0")
        if status < _LOWEST_FINAL and framed:
            _reject("an interim answer has a body")
        self._status = status  # set only after all checks of the head
        self._body = BodyDecoder(headers.get("content-encoding"), limit=self._limit)
        if status >= _LOWEST_FINAL and (self._head_only or status in (204, 304)):
            if self._head_only or framed:  # versions of llhttp disagree about a body here
                self._complete(reusable=False)
                _reject("it has no body, whatever its headers say")
        elif length is not None and int(length) > self._limit:
            self._reject_body(f"its body is larger than {self._limit} bytes")
        else:
            self._ends_at_eof = status >= _LOWEST_FINAL and coding is None and length is None

    def on_body(self, piece: bytes) -> None:
        self._body_bytes += len(piece)
        if self._body_bytes > self._limit:
            self._reject_body(f"its body is larger than {self._limit} bytes")
        try:
            self._body.add(piece)
        except InvalidResponseError as error:
            self._reject_body(str(error))

    def on_message_complete(self) -> None:
        if self._status >= _LOWEST_FINAL:
            self._complete(reusable=self._parser.should_keep_alive())
            return
        self._interim_count += 1
        if self._interim_count > MAX_INTERIM:
            _reject("interim answers come without end")
        self._expect_head()

    def _expect_head(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._head_read = False
        self._ends_at_eof = False

    def _complete(self, *, reusable: bool) -> None:
        self.reusable = reusable
        try:
            body, body_error = self._body.finish(), ""
        except InvalidResponseError as error:
            body, body_error = b"", str(error)
        self._response = Response(self._status, _LazyHeaders(self._fields), body, body_error)

    def _reject_body(self, body_error: str) -> NoReturn:
        """End the response here: the content is useless, for the reason *body_error*."""
        self._response = Response(self._status, _LazyHeaders(self._fields), b"", body_error)
        _reject(body_error)


class _LazyHeaders(Mapping[str, str]):
    """Header fields, decoded on first access: a successful call never reads the headers."""

    def __init__(self, fields: _Fields) -> None:
        self._fields: Final = fields

    @cached_property
    def _read(self) -> Mapping[str, str]:
        return _merge_fields(self._fields)

    def __getitem__(self, name: str) -> str:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter({_field_key(name): None for name, _ in self._fields})

    def __len__(self) -> int:
        return len(self._read)


def _merge_fields(fields: _Fields) -> Mapping[str, str]:
    """Return *fields* with lower-case names; values of the same name are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = _field_key(name)
        text = value.decode("latin-1").rstrip(" ")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _head_size(fields: _Fields) -> int:
    return sum(len(name) + len(value) for name, value in fields)


@lru_cache(maxsize=256)
def _field_key(name: bytes) -> str:
    return name.decode("ascii").lower()


def _reject(reason: str) -> NoReturn:
    raise InvalidResponseError(reason)
