"""Image as a request body (multipart form): checked before sending, read while being sent."""

import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from io import SEEK_END
from mimetypes import guess_type
from typing import IO, Any, Final, Self, TypeAlias, cast

import anyio
from anyio.to_thread import run_sync
from attrs import define, evolve, field

from sunshine_async._http.messages import StreamedBody

ImageSource: TypeAlias = (
    bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes] | AsyncIterable[bytes]
)

MAX_IMAGE_BYTES: Final = 50 * 10**6
"""Largest file that the service takes, in bytes ("50MB" in the documentation)."""

_CHUNK: Final = 128 * 1024
_SPECIAL: Final = re.compile(r'[\x00-\x1f"\x7f]')
_CONTENT_TYPE: Final = re.compile(r"[\x21-\x7e]+/[\x20-\x7e]+")


@define(eq=False)
class _ByteSource:
    """Source of an image's bytes."""

    opened: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    """Open the source; yield the chunks, from the beginning."""
    size: int | None
    """The number of bytes, if known."""
    name: str | None = None
    once: bool = False


@define(eq=False)
class Image(StreamedBody):
    """Image and author as a form (RFC 7578)."""

    content_type: str
    length: int | None
    _head: bytes = field(repr=False)
    _tail: bytes = field(repr=False)
    _source: _ByteSource = field(repr=False)
    _begun: bool = False

    @classmethod
    async def of(
        cls,
        source: ImageSource,
        *,
        role: str,
        file_name: str | None = None,
        content_type: str | None = None,
    ) -> Self:
        """Return the form; raise `ValueError` or `TypeError`, naming an invalid argument."""
        if not role:
            message = "role is empty: who posts the image, appMaker or appUser?"
            raise ValueError(message)
        found = await _byte_source(source)
        if found.size == 0:
            message = "source is empty"
            raise ValueError(message)
        if found.size is not None and found.size > MAX_IMAGE_BYTES:
            raise ValueError(_too_large(found.size))
        name = file_name or found.name or "image"
        kind = content_type or guess_type(name, strict=False)[0] or "application/octet-stream"
        if not _CONTENT_TYPE.fullmatch(kind):
            message = "content_type must be a media type such as image/png"
            raise ValueError(message)
        boundary = secrets.token_hex(16)
        head, tail = _form_parts(boundary, role, _SPECIAL.sub(_escape, name), kind)
        length = None if found.size is None else len(head) + found.size + len(tail)
        return cls(f"multipart/form-data; boundary={boundary}", length, head, tail, found)

    @property
    def ready(self) -> bool:
        """True if the image can be read from the beginning, once more if need be."""
        return not (self._source.once and self._begun)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Open the source; yield the chunks of the form, from the beginning."""
        async with self._source.opened() as chunks:
            yield _FormStream(self, chunks)

    def begin(self) -> bytes:
        """Return the part before the file; the source counts as read from now on."""
        self._begun = True
        return self._head

    def end(self, size: int) -> bytes:
        """Return the part after the file; raise `ValueError` if *size* is less than announced."""
        if size < (self._source.size or 0):
            message = "source has become shorter while it was read"
            raise ValueError(message)
        return self._tail

    def check(self, size: int) -> None:
        """Raise `ValueError` if *size* bytes are more than announced, or than the service takes."""
        if size > MAX_IMAGE_BYTES:
            raise ValueError(_too_large(size))
        if self._source.size is not None and size > self._source.size:
            message = "source has become longer while it was read"
            raise ValueError(message)


class _FormStream:
    """Asynchronous iterator over a form: the part before the file, the file, the part after."""

    def __init__(self, image: Image, chunks: AsyncIterator[bytes]) -> None:
        self._image: Final = image
        self._chunks: Final = aiter(chunks)
        self._size = 0
        self._begun = self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:
            self._begun = True
            return self._image.begin()
        if self._ended:
            raise StopAsyncIteration
        if chunk := await anext(self._chunks, b""):
            self._size += len(chunk)
            self._image.check(self._size)
            return chunk
        self._ended = True
        return self._image.end(self._size)


async def _byte_source(source: Any) -> _ByteSource:
    given: Any = cast("Any", source).wrapped if isinstance(source, anyio.AsyncFile) else source
    if isinstance(given, bytes | bytearray | memoryview):
        view = memoryview(cast("bytes", given)).cast("B")
        return _ByteSource(lambda: nullcontext(_memory_chunks(view)), len(view))
    if isinstance(given, AsyncIterable):
        return await _stream_source(aiter(cast("AsyncIterable[object]", given)))
    try:
        if isinstance(given, str | os.PathLike):
            return await _path_source(os.fsdecode(cast("str", given)))
        if callable(getattr(given, "read", None)):
            return await _file_source(given)
    except (OSError, ValueError) as error:
        message = f"source can't be read: {error}"
        raise ValueError(message) from error
    message = (
        "source must be bytes, a path, a file opened in binary mode or an async iterable of"
        f" bytes, not {type(given).__name__}"
    )
    raise TypeError(message)


async def _path_source(path: str) -> _ByteSource:
    async with await anyio.open_file(path, "rb") as file:
        size = await file.seek(0, SEEK_END)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[bytes]]:
        async with await anyio.open_file(path, "rb") as file:
            yield _file_chunks(file.wrapped)

    return _ByteSource(opened, size, _file_name(path))


async def _file_source(file: Any) -> _ByteSource:
    if not isinstance(await run_sync(file.read, 0), bytes):
        message = 'source is a file opened as text: open it with "rb"'
        raise TypeError(message)
    name = _file_name(getattr(file, "name", None))
    if not file.seekable():
        return evolve(await _stream_source(_file_chunks(file)), name=name)
    start = await run_sync(file.tell)
    size = await run_sync(file.seek, 0, SEEK_END) - start

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[bytes]]:
        await run_sync(file.seek, start)
        yield _file_chunks(file)

    return _ByteSource(opened, size, name)


async def _stream_source(stream: AsyncIterator[Any]) -> _ByteSource:
    """Return a source that can be read once; read the first chunk now, to find an empty source."""
    first: Any = b""
    while not first:
        try:
            first = await anext(stream)
        except StopAsyncIteration:
            return _ByteSource(lambda: nullcontext(stream), 0)
        if not isinstance(first, bytes | bytearray | memoryview):
            message = f"source must give bytes, not {type(first).__name__}"
            raise TypeError(message)
    read_ahead = bytes(cast("bytes", first))

    async def read() -> bytes:
        nonlocal read_ahead
        chunk, read_ahead = read_ahead, b""
        while not chunk:
            chunk = await anext(stream)
        return chunk

    return _ByteSource(lambda: nullcontext(_Chunks(read)), None, once=True)


class _Chunks:
    """Asynchronous iterator over the results of *read*, up to the first empty result."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read: Final = read

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _file_chunks(file: IO[bytes]) -> _Chunks:
    """Return the chunks of *file*, read in a thread."""
    return _Chunks(lambda: run_sync(file.read, _CHUNK))


def _memory_chunks(view: memoryview) -> _Chunks:
    async def read() -> bytes:
        nonlocal view
        chunk, view = view[:_CHUNK], view[_CHUNK:]
        return bytes(chunk)

    return _Chunks(read)


def _file_name(path: object) -> str | None:
    """Return the last part of *path* if *path* is text: an open file's name may be a number."""
    return os.path.basename(path) if isinstance(path, str) else None  # noqa: PTH119 - not a file's


def _form_parts(boundary: str, role: str, name: str, content_type: str) -> tuple[bytes, bytes]:
    """Return the parts of the form before and after the file."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="role"\r\n\r\n{role}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="source"; filename="{name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    return head.encode(errors="replace"), f"\r\n--{boundary}--\r\n".encode()


def _escape(special: re.Match[str]) -> str:
    return f"%{ord(special[0]):02X}"


def _too_large(size: int) -> str:
    return f"source is {size} bytes or more; the service takes {MAX_IMAGE_BYTES} at most"
