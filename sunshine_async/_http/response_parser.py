"""Parser of HTTP/1.1 responses on top of httptools, in bounded memory. No I/O.

- `ResponseParser` reads the responses of one connection, one after another.
- `PlainResponseReader` reads the usual response, which comes in one piece, at a fifth of the cost.
"""

from typing import Final, NoReturn

import httptools
from attrs import evolve

from sunshine_async._http.messages import BODY_LOST, Response
from sunshine_async._http.response_parts import (
    BodyDecoder,
    Fields,
    InvalidResponseError,
    merge_content_lengths,
    merge_fields,
    reject,
)

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 200
MAX_INTERIM: Final = 20

_SWITCHING_PROTOCOLS: Final = 101
_SHORT_HEAD: Final = 4 * MAX_FIELDS
"""Bytes of a head that can't have too many fields."""
_LOWEST: Final = 100
_LOWEST_FINAL: Final = 200
_LOWEST_REFUSAL: Final = 300
_FRAMING: Final = frozenset(map(len, ("transfer-encoding", "content-length", "content-encoding")))
_NO_CONTENT: Final = frozenset({204, 304})
_H: Final = ord("H")
_END: Final = b"\r\n\r\n"


class PlainResponseReader:
    """Reader of plain responses: final, whole in one piece, with a length, and not encoded.

    llhttp checks and frames a plain response like any other, so that both readers agree. But llhttp
    calls back twice, in place of once a field, and nothing is decoded: 12,000 instructions instead
    of 50,000, and 14,000 fewer for rate-limit headers that aren't there.

    Nothing of a response stays: connections share a reader, which the processor's cache then holds.
    """

    def __init__(self, *, limit: int) -> None:
        self.limit: Final = limit
        self.reusable = False
        """True if another request may be sent after the last response."""
        self._pieces: Final[list[bytes]] = []
        self.on_body: Final = self._pieces.append  # no frame of Python for this callback
        self._is_complete = False
        self._parser = httptools.HttpResponseParser(self)

    def read(self, data: bytes) -> Response | None:
        """Return the response that *data* is; None if *data* is anything else."""
        head, end, body = data.partition(_END)
        text = head.decode("latin-1").lower()  # in a text a search costs less than in bytes
        if not end or not text.startswith("http/1.1 ") or "encoding:" in text:
            return None
        if len(head) > _SHORT_HEAD and (
            len(head) > MAX_HEAD_BYTES or head.count(b"\n") > MAX_FIELDS
        ):
            return None
        pieces = self._pieces
        is_plain = self._is_complete = False
        try:
            self._parser.feed_data(data)
            status = self._parser.get_status_code()
            is_plain = (
                self._is_complete
                and len(pieces) == 1
                and len(pieces[0]) == len(body) <= self.limit
                and status >= _LOWEST_FINAL
                and status not in _NO_CONTENT
            )
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        finally:  # whatever was raised: the next response is another connection's
            pieces.clear()
            if not (is_plain and self.reusable):  # llhttp stands within a response, or at an end
                self._parser = httptools.HttpResponseParser(self)
        return Response(status, head, body, "", "limit" in text) if is_plain else None

    def close(self) -> None:
        """Let go of llhttp, whose callbacks refer back; nothing may be read any more."""
        del self._parser

    def on_message_complete(self) -> None:
        self._is_complete = True
        self.reusable = self._parser.should_keep_alive()


class ResponseParser:
    """Parser of the responses on a connection; `expect` announces each response.

    Time and memory are bounded for any input. A head has at most ``MAX_HEAD_BYTES`` and
    ``MAX_FIELDS``, a body at most *limit* bytes, before and after inflating. Bytes without content,
    such as chunk framing, are at most ``MAX_HEAD_BYTES`` in a row. *plain* is for plain responses.
    """

    def __init__(self, plain: PlainResponseReader) -> None:
        self.reusable = False
        """True if another request may be sent after the returned response."""
        self._limit: Final = plain.limit
        self.plain: Final = plain
        self._parser = httptools.HttpResponseParser(self)
        self._begin()
        self.expect("GET")

    def expect(self, method: str) -> None:
        """Prepare for the response to a *method* request."""
        self._head_only = method == "HEAD"
        self._started = False

    def close(self) -> None:
        """Let go of llhttp, whose callbacks refer back: a body would wait for the collector."""
        del self._parser

    def _begin(self) -> None:
        """Prepare for a response that isn't plain."""
        self._started = True
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
        if not self._started or self._status < _LOWEST_REFUSAL:
            return None
        return Response(self._status, self._fields, b"", BODY_LOST)

    @property
    def stage(self) -> str:
        """Stage of the response, as the end of a sentence."""
        return "within its answer" if self._started else "before it answered"

    def feed(self, data: bytes) -> Response | None:
        """Parse received *data*; return the response once complete, None before.

        After more than one response, return the first, and set *reusable* to False. A response
        with unreadable content has the reason as *body_error*. Raise `InvalidResponseError` for
        bytes that are no response.
        """
        if not self._started:
            plain = None if self._head_only else self.plain.read(data)
            if plain is not None:
                self._started, self._response = True, plain
                self.reusable = self.plain.reusable
                return plain
            if data[0] != _H:  # llhttp skips blank lines, and knows RTSP
                reject("it doesn't begin as HTTP does")
            self._begin()
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

    def _handle_error(self, error: httptools.HttpParserError, data: bytes) -> None:
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

    def _buffer_head(self, data: bytes) -> None:
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
        if not self._started:
            return None
        if self._ends_at_eof:
            self._complete(reusable=False)
        return self._response

    def on_message_begin(self) -> None:
        if self._response is not None:
            reject("there is more than one")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # a later field is a trailer, and no request asks for trailers
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_read = True
        if len(self._fields) > MAX_FIELDS:
            reject(f"it has more than {MAX_FIELDS} header fields")
        if self._received_bytes > MAX_HEAD_BYTES and _head_size(self._fields) > MAX_HEAD_BYTES:
            reject(f"its header is larger than {MAX_HEAD_BYTES} bytes")
        status = self._parser.get_status_code()
        headers = merge_fields([field for field in self._fields if len(field[0]) in _FRAMING])
        if self._parser.get_http_version() not in ("1.1", "1.0") or status < _LOWEST:
            reject("its status line is wrong")
        if status == _SWITCHING_PROTOCOLS:
            reject("it switches to another protocol, unasked")
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and coding.lower() != "chunked":
            reject("its Transfer-Encoding is not chunked")
        framed = coding is not None or length not in (None, "0")
        if status < _LOWEST_FINAL and framed:
            reject("an interim answer has a body")
        self._status = status  # set only after all checks of the head
        self._body = BodyDecoder(headers.get("content-encoding"), limit=self._limit)
        if status >= _LOWEST_FINAL and (self._head_only or status in _NO_CONTENT):
            if self._head_only or framed:  # versions of llhttp disagree about a body here
                self._complete(reusable=False)
                reject("it has no body, whatever its headers say")
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
            reject("interim answers come without end")
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
        self._response = Response(self._status, self._fields, body, body_error)

    def _reject_body(self, body_error: str) -> NoReturn:
        """End the response here: the content is useless, for the reason *body_error*."""
        self._response = Response(self._status, self._fields, b"", body_error)
        reject(body_error)


def _head_size(fields: Fields) -> int:
    return sum(len(name) + len(value) for name, value in fields)
