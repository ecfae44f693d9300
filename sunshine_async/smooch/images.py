"""An image as the body of a request: checked before anything is sent, read while it is sent."""

import os
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
"""The largest file that the service takes ("50MB" in its documentation)."""

_PIECE: Final = 128 * 1024
_SPECIAL: Final = re.compile(r'[\x00-\x1f"\x7f]')
_CONTENT_TYPE: Final = re.compile(r"[\x21-\x7e]+/[\x20-\x7e]+")


@define(eq=False)
class _Source:
    """Where the bytes of an image come from, and how many there are, if that is known."""

    pieces: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    """Gives them, from the beginning."""
    size: int | None
    name: str | None = None
    once: bool = False
    """Whether they can be read only once."""


@define(eq=False)
class Image(StreamedBody):
    """An image and who posts it, as a form (RFC 7578)."""

    content_type: str
    length: int | None
    _head: bytes = field(repr=False)
    _tail: bytes = field(repr=False)
    _source: _Source = field(repr=False)
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
        """Return the form; raise `ValueError` or `TypeError`, naming the argument, if it can't be.

        *file_name* is by default what a path or a file is called; *content_type* what
        `mimetypes` guesses from that.
        """
        if not role:
            message = "role is empty: who posts the image, appMaker or appUser?"
            raise ValueError(message)
        found = await _source_of(source)
        if found.size == 0:
            message = "source is empty"
            raise ValueError(message)
        if found.size is not None and found.size > MAX_IMAGE_BYTES:
            raise ValueError(_too_large(found.size))
        name = file_name or found.name or "image"
        kind = content_type or guess_type(name, strict=False)[0] or "application/octet-stream"
        if not _CONTENT_TYPE.fullmatch(kind):
            message = "content_type can't be a header: it is such as image/png"
            raise ValueError(message)
        boundary = secrets.token_hex(16)
        head, tail = _around(boundary, role, _SPECIAL.sub(_escaped, name), kind)
        length = None if found.size is None else len(head) + found.size + len(tail)
        return cls(f"multipart/form-data; boundary={boundary}", length, head, tail, found)

    @property
    def ready(self) -> bool:
        """Whether it can be read from its beginning: again, if it has been read."""
        return not (self._source.once and self._begun)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Give the pieces of the form, from the beginning."""
        async with self._source.pieces() as pieces:
            yield _Form(self, pieces)

    def begin(self) -> bytes:
        """Return what goes before the file; from now on it has been read."""
        self._begun = True
        return self._head

    def end(self, size: int) -> bytes:
        """Return what goes after the file; raise `ValueError` if its *size* isn't what was said."""
        self.check(size)
        if size < (self._source.size or 0):
            message = "source has become shorter while it was read"
            raise ValueError(message)
        return self._tail

    def check(self, size: int) -> None:
        """Raise `ValueError` if *size* bytes of the file are more than was said, or is taken."""
        if size > MAX_IMAGE_BYTES:
            raise ValueError(_too_large(size))
        if self._source.size is not None and size > self._source.size:
            message = "source has become longer while it was read"
            raise ValueError(message)


class _Form:
    """The pieces of a form on their way: before the file, of the file, and after it."""

    def __init__(self, image: Image, pieces: AsyncIterator[bytes]) -> None:
        self._image: Final = image
        self._pieces: Final = aiter(pieces)
        self._size = 0
        self._next = self._first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await self._next()

    async def _first(self) -> bytes:
        self._next = self._of_file
        return self._image.begin()

    async def _of_file(self) -> bytes:
        piece = b""
        while not piece:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._next = self._ended
                return self._image.end(self._size)
        self._size += len(piece)
        self._image.check(self._size)
        return piece

    async def _ended(self) -> bytes:
        raise StopAsyncIteration


async def _source_of(source: Any) -> _Source:
    given: Any = cast("Any", source).wrapped if isinstance(source, anyio.AsyncFile) else source
    if isinstance(given, bytes | bytearray | memoryview):
        view = memoryview(cast("bytes", given)).cast("B")
        return _Source(_giving(lambda: _Slices(view)), len(view))
    if isinstance(given, AsyncIterable):
        return await _of_stream(aiter(cast("AsyncIterable[object]", given)))
    try:
        if isinstance(given, str | os.PathLike):
            return await _of_path(os.fsdecode(cast("str", given)))
        if callable(getattr(given, "read", None)):
            return await _of_file(given)
    except (OSError, ValueError) as error:
        message = f"source can't be read: {error}"
        raise ValueError(message) from error
    message = (
        "source must be bytes, a path, a file opened in binary mode or an async iterable of"
        f" bytes, not {type(given).__name__}"
    )
    raise TypeError(message)


async def _of_path(path: str) -> _Source:
    async with await anyio.open_file(path, "rb") as file:
        size = await file.seek(0, SEEK_END)

    @asynccontextmanager
    async def pieces() -> AsyncGenerator[AsyncIterator[bytes]]:
        async with await anyio.open_file(path, "rb") as file:
            yield _Reads(file.wrapped)

    return _Source(pieces, size, _last(path))


async def _of_file(file: Any) -> _Source:
    if not isinstance(await run_sync(file.read, 0), bytes):
        message = 'source is a file opened as text: open it with "rb"'
        raise TypeError(message)
    name = _last(getattr(file, "name", None))
    if not file.seekable():
        return evolve(await _of_stream(_Reads(file)), name=name)
    start = await run_sync(file.tell)
    size = await run_sync(file.seek, 0, SEEK_END) - start

    @asynccontextmanager
    async def pieces() -> AsyncGenerator[AsyncIterator[bytes]]:
        await run_sync(file.seek, start)
        yield _Reads(file)

    return _Source(pieces, size, name)


async def _of_stream(stream: AsyncIterator[Any]) -> _Source:
    """Return what can be read only once; its first piece is read now, to know that there is one."""
    first: Any = b""
    while not first:
        try:
            first = await anext(stream)
        except StopAsyncIteration:
            return _Source(_giving(lambda: stream), 0)
        if not isinstance(first, bytes | bytearray | memoryview):
            message = f"source must give bytes, not {type(first).__name__}"
            raise TypeError(message)
    beginning = bytes(cast("bytes", first))
    return _Source(_giving(lambda: _Resumed(beginning, stream)), None, once=True)


def _giving(
    make: Callable[[], AsyncIterator[bytes]],
) -> Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]:
    """Return what gives the pieces of a source that needs no opening."""

    @asynccontextmanager
    async def pieces() -> AsyncGenerator[AsyncIterator[bytes]]:
        yield make()

    return pieces


class _Slices:
    """Pieces of what is in memory."""

    def __init__(self, view: memoryview) -> None:
        self._rest = view

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
        return bytes(piece)


class _Reads:
    """Pieces of a file, read in a thread."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file: Final = file

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await run_sync(self._file.read, _PIECE)
        if not piece:
            raise StopAsyncIteration
        return piece


class _Resumed:
    """A stream from its beginning, the first piece of which has been read."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest: Final = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first is None:
            return await anext(self._rest)
        piece, self._first = self._first, None
        return piece


def _last(path: object) -> str | None:
    """Return the last part of *path*, where it is text: an open file may be called by a number."""
    return os.path.basename(path) if isinstance(path, str) else None  # noqa: PTH119 - not a file's


def _around(boundary: str, role: str, name: str, content_type: str) -> tuple[bytes, bytes]:
    """Return what goes before the file, and what goes after it."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="role"\r\n\r\n{role}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="source"; filename="{name}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    return head.encode(errors="replace"), f"\r\n--{boundary}--\r\n".encode()


def _escaped(special: re.Match[str]) -> str:
    return f"%{ord(special[0]):02X}"


def _too_large(size: int) -> str:
    return f"source is {size} bytes or more; the service takes {MAX_IMAGE_BYTES} at most"
