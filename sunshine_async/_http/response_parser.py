"""Answers, read one after another from the bytes of a connection. No I/O.

Repair of heads that say the same ``Content-Length`` more than once. No I/O.

The body of an answer, put together in bounded memory.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Final, NoReturn, TypeAlias

import httptools
from attrs import evolve

from sunshine_async._http.messages import Response

_END: Final = b"\r\n\r\n"
_NAME: Final = b"content-length:"
_INTERIM: Final = b"1"
_STATUS: Final = slice(9, 10)


def with_one_length(raw: bytes) -> bytes | None:
    """Return *raw* with the equal lengths of its final head as one, as RFC 9110 (8.6) allows.

    Lengths that differ stay, and so does anything else. Return None while the head isn't whole.
    """
    before = b""
    while True:
        head, end, rest = raw.partition(_END)
        if not end:
            return None
        if head[_STATUS] != _INTERIM:
            return before + _repaired(head) + end + rest
        before, raw = before + head + end, rest


def _repaired(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    said = [line for line in lines if line[: len(_NAME)].lower() == _NAME]
    values = {value.strip(b" \t") for line in said for value in line[len(_NAME) :].split(b",")}
    if len(values) != 1:
        return head
    [value] = values
    others = [line for line in lines if line not in said]
    return b"\r\n".join([*others, b"Content-Length: " + value])


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


MAX_HEAD_BYTES: Final = 64 * 1024
MAX_FIELDS: Final = 200
MAX_INTERIM: Final = 20

_VERSIONS: Final = ("1.1", "1.0")
_BODILESS: Final = (204, 304)
_SWITCHED: Final = 101
_LOWEST: Final = 100
_FINAL: Final = 200
_REFUSED: Final = 300
_FRAMING: Final = frozenset(map(len, ("transfer-encoding", "content-length", "content-encoding")))
_H: Final = ord("H")
_Fields: TypeAlias = Iterable[tuple[bytes, bytes]]


class ResponseParser:
    """Reads the answers to the requests of one connection, each when it has been asked for.

    Time and memory are bounded, whatever comes: a head by *MAX_HEAD_BYTES* and *MAX_FIELDS*, a body
    by *limit* (as it comes, and inflated), what is neither by *MAX_HEAD_BYTES* at a stretch.
    """

    def __init__(self, *, limit: int) -> None:
        self.reusable = False
        """Whether another request may go out, once an answer has been returned."""
        self._limit: Final = limit
        self._parser = httptools.HttpResponseParser(self)
        self._body = Body(None, limit=limit)
        self.ask("GET")

    def ask(self, method: str) -> None:
        """Get ready for the answer to a *method* request."""
        self._to_head = method == "HEAD"
        self._begun = False
        self._idle_bytes = 0
        self._body_bytes = 0
        self._bytes = 0
        self._interim = 0
        self._answer: Response | None = None
        self._raw = b""
        self._stuck: httptools.HttpParserError | None = None
        self._expect_head()

    @property
    def refusal(self) -> Response | None:
        """The answer as far as its head, if that has come whole and the service says no.

        A status that has come is the answer, whatever becomes of the body that explains it.
        """
        if self._status < _REFUSED:
            return None
        return Response(self._status, _Headers(self._fields), b"")

    @property
    def progress(self) -> str:
        """How far the answer has come, in words that end a sentence."""
        return "within its answer" if self._begun else "before it answered"

    def feed(self, data: bytes | memoryview) -> Response | None:
        """Take what came; return the answer once it is whole. Raise `Unreadable` for what isn't one.

        Where more than one answer came, the first is returned, and *reusable* is false. An answer
        whose content can't be read has the reason as its *flaw*.
        """
        if not self._begun and data[0] != _H:  # llhttp skips blank lines, and knows RTSP
            message = "it doesn't begin as HTTP does"
            raise Unreadable(message)
        self._begun = True
        self._bytes += len(data)
        before = self._body_bytes
        try:
            if self._stuck is None:
                self._parser.feed_data(data)
            if not self._head_read:
                self._hold(data)
        except httptools.HttpParserError as error:
            self._failed(error, data)
        if self._answer is None:
            self._idle_bytes = self._idle_bytes + len(data) if before == self._body_bytes else 0
            if self._idle_bytes > MAX_HEAD_BYTES:
                message = f"it has more than {MAX_HEAD_BYTES} bytes in it that are no content"
                self._give_up(Unreadable(message))
        return self._answer

    def _give_up(self, error: Unreadable) -> None:
        """Raise *error*, unless the head of a refusal has come: that is the answer then."""
        refusal = self.refusal
        if refusal is None:
            raise error from None
        self.reusable = False
        self._answer = evolve(refusal, flaw=str(error))

    def _failed(self, error: httptools.HttpParserError, data: bytes | memoryview) -> None:
        """Parse a head that repeats its length once more; give up on anything else."""
        if self._stuck is None and not self._head_read and "Content-Length" in str(error):
            self._stuck = error
            try:
                return self._hold(data)
            except httptools.HttpParserError as again:
                error = again
        self.reusable = False
        if self._answer is None:
            self._give_up(_reason(error))
        return None

    def _hold(self, data: bytes | memoryview) -> None:
        """Keep *data* of a head that isn't whole; once it is, parse it with one length."""
        self._raw += data
        repaired = None if self._stuck is None else with_one_length(self._raw)
        if self._stuck is None or repaired is None:
            return
        if repaired == self._raw:
            raise self._stuck
        self._stuck = None
        self._parser = httptools.HttpResponseParser(self)
        self._interim = 0
        self._expect_head()
        self._parser.feed_data(repaired)

    def end(self) -> Response | None:
        """Return the answer if the end of the stream is its end."""
        if self._until_end:
            self._complete(reusable=False)
        return self._answer

    def on_message_begin(self) -> None:
        if self._answer is not None:
            _refuse("there is more than one")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_read:  # what comes later is a trailer: nobody asked for one
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_read = True
        if len(self._fields) > MAX_FIELDS:
            _refuse(f"it has more than {MAX_FIELDS} header fields")
        if self._bytes > MAX_HEAD_BYTES and _size(self._fields) > MAX_HEAD_BYTES:
            _refuse(f"its header is larger than {MAX_HEAD_BYTES} bytes")
        status = self._parser.get_status_code()
        headers = _joined([field for field in self._fields if len(field[0]) in _FRAMING])
        if self._parser.get_http_version() not in _VERSIONS or status < _LOWEST:
            _refuse("its status line is wrong")
        if status == _SWITCHED:
            _refuse("it switches to another protocol, unasked")
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and coding.lower() != "chunked":
            _refuse("its Transfer-Encoding is not chunked")
        framed = coding is not None or length not in (None, "0")
        if status < _FINAL and framed:
            _refuse("an interim answer has a body")
        self._status = status  # of a head that is in order
        self._body = Body(headers.get("content-encoding"), limit=self._limit)
        if status >= _FINAL and (self._to_head or status in _BODILESS):
            if self._to_head or framed:  # versions of llhttp differ in what they take to follow
                self._complete(reusable=False)
                _refuse("it has no body, whatever its headers say")
        elif length is not None and int(length) > self._limit:
            self._spoil(f"its body is larger than {self._limit} bytes")
        else:
            self._until_end = status >= _FINAL and coding is None and length is None

    def on_body(self, piece: bytes) -> None:
        self._body_bytes += len(piece)
        if self._body_bytes > self._limit:
            self._spoil(f"its body is larger than {self._limit} bytes")
        try:
            self._body.add(piece)
        except Unreadable as error:
            self._spoil(str(error))

    def on_message_complete(self) -> None:
        if self._status >= _FINAL:
            self._complete(reusable=self._parser.should_keep_alive())
            return
        self._interim += 1
        if self._interim > MAX_INTERIM:
            _refuse("interim answers come without end")
        self._expect_head()

    def _expect_head(self) -> None:
        self._fields: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._head_read = False
        self._until_end = False

    def _complete(self, *, reusable: bool) -> None:
        self.reusable = reusable
        try:
            body, flaw = self._body.whole(), ""
        except Unreadable as error:
            body, flaw = b"", str(error)
        self._answer = Response(self._status, _Headers(self._fields), body, flaw)

    def _spoil(self, flaw: str) -> NoReturn:
        """End the answer where it has come to: it is of no use for its *flaw*."""
        self._answer = Response(self._status, _Headers(self._fields), b"", flaw)
        _refuse(flaw)


class _Headers(Mapping[str, str]):
    """The fields of a head, read when one is asked for: those of an answer that is fine never are."""

    def __init__(self, fields: _Fields) -> None:
        self._fields: Final = fields

    @cached_property
    def _read(self) -> Mapping[str, str]:
        return _joined(self._fields)

    def __getitem__(self, name: str) -> str:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter({_key(name): None for name, _ in self._fields})

    def __len__(self) -> int:
        return len(self._read)


def _joined(fields: _Fields) -> Mapping[str, str]:
    """Return *fields* with names in lower case, and those of one name as one."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = _key(name)
        text = value.decode("latin-1").rstrip(" ")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _size(fields: _Fields) -> int:
    return sum(len(name) + len(value) for name, value in fields)


@lru_cache(maxsize=256)
def _key(name: bytes) -> str:
    return name.decode("ascii").lower()


def _refuse(reason: str) -> NoReturn:
    raise Unreadable(reason)


def _reason(error: httptools.HttpParserError) -> Unreadable:
    """Return what a callback raised within the parser, or else what the parser itself says."""
    inner = error.__context__
    return inner if isinstance(inner, Unreadable) else Unreadable(str(error))
