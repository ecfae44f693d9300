"""Forms with files (multipart).

A file is checked before sending, and read while being sent.
"""

import os
import re
import secrets
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from io import SEEK_END
from mimetypes import guess_type
from typing import IO, Any, Final, Self, TypeAlias, cast

import anyio
from anyio.to_thread import run_sync
from attrs import define, evolve, field, frozen

from sunshine_async._calls.arguments import text_of
from sunshine_async._http.messages import StreamedBody

FileSource: TypeAlias = (
    bytes | bytearray | memoryview | str | os.PathLike[str] | IO[bytes] | AsyncIterable[bytes]
)

MAX_FILE_BYTES: Final = 50 * 10**6
"""Largest file that a service takes, in bytes ("50MB" in the documentation)."""

_CHUNK: Final = 128 * 1024
_SPECIAL: Final = re.compile(r'[\x00-\x1f"\x7f]')
_CONTENT_TYPE: Final = re.compile(r"[\x21-\x7e]+/[\x20-\x7e]+")


@define(eq=False)
class ByteSource:
    """Source of a file's bytes."""

    opened: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    """Open the source; yield the chunks, from the beginning."""
    size: int | None
    """The number of bytes, if known."""
    name: str | None = None
    once: bool = False


@frozen
class File:
    """File of a form: the *source* is read while being sent.

    *file_name* defaults to the name of the source, then to *fallback*; *content_type* to the guess
    of `mimetypes`.
    """

    source: FileSource = field(repr=False)
    file_name: str | None = None
    content_type: str | None = None
    fallback: str = "file"


@define(eq=False)
class FormFile:
    """File within a form: *head* is the part of the form before the bytes."""

    name: str
    head: bytes = field(repr=False)
    source: ByteSource = field(repr=False)
    begun: bool = False

    @property
    def ready(self) -> bool:
        """True if the file can be read from the beginning, once more if need be."""
        return not (self.source.once and self.begun)

    def begin(self) -> bytes:
        """Return the part before the bytes; the source counts as read from now on."""
        self.begun = True
        return self.head

    def end(self, size: int) -> None:
        """Raise `ValueError` if *size* is less than announced."""
        if size < (self.source.size or 0):
            message = f"{self.name} has become shorter while it was read"
            raise ValueError(message)

    def check(self, size: int) -> None:
        """Raise `ValueError` if *size* bytes are more than announced, or than a service takes."""
        if size > MAX_FILE_BYTES:
            raise ValueError(_too_large(self.name, size))
        if self.source.size is not None and size > self.source.size:
            message = f"{self.name} has become longer while it was read"
            raise ValueError(message)


@define(eq=False)
class Form(StreamedBody):
    """Texts and files as a form (RFC 7578)."""

    content_type: str
    length: int | None
    _boundary: str
    _files: Sequence[FormFile] = field(repr=False)
    _tail: bytes = field(repr=False)

    @classmethod
    async def of(cls, files: Mapping[str, File]) -> Self:
        """Return the form of *files*; raise `ValueError` or `TypeError`, naming an invalid file.

        Invalid is a file that is missing, unreadable, empty or over `MAX_FILE_BYTES`.
        """
        boundary = secrets.token_hex(16)
        before = b""
        found: list[FormFile] = []
        for name, file in files.items():
            source = await _open_source(name, file.source)
            head = _file_head(boundary, name, file, source).encode(errors="replace")
            found.append(FormFile(name, before + head, source))
            before = b"\r\n"
        tail = f"\r\n--{boundary}--\r\n".encode()
        sizes = [each.source.size for each in found]
        known = [size for size in sizes if size is not None]
        length = len(tail) + sum(known) + sum(len(each.head) for each in found)
        return cls(
            f"multipart/form-data; boundary={boundary}",
            length if len(known) == len(sizes) else None,
            boundary,
            found,
            tail,
        )

    def with_texts(self, texts: Mapping[str, str]) -> Self:
        """Return the form with *texts*, by name of field, before the files."""
        parts = (
            f"{_part(self._boundary, name)}\r\n\r\n{text_of(name, texts[name])}\r\n"
            for name in texts
        )
        before = "".join(parts).encode(errors="replace")
        first, *rest = self._files
        return evolve(
            self,
            length=None if self.length is None else self.length + len(before),
            files=[evolve(first, head=before + first.head), *rest],
        )

    @property
    def ready(self) -> bool:
        """True if all files can be read from the beginning, once more if need be."""
        return all(file.ready for file in self._files)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Open the files; yield the chunks of the form, from the beginning."""
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(file.source.opened()) for file in self._files]
            yield _FormStream(zip(self._files, map(aiter, opened), strict=True), self._tail)


class _FormStream:
    """Asynchronous iterator over a form: for each file the part before, and the bytes; the end."""

    def __init__(self, files: Iterator[tuple[FormFile, AsyncIterator[bytes]]], tail: bytes) -> None:
        self._files: Final = files
        self._tail = tail
        self._size = 0
        self._current: tuple[FormFile, AsyncIterator[bytes]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._current is not None:
            file, chunks = self._current
            if chunk := await anext(chunks, b""):
                self._size += len(chunk)
                file.check(self._size)
                return chunk
            file.end(self._size)
        self._current = next(self._files, None)
        if self._current is not None:
            self._size = 0
            return self._current[0].begin()
        tail, self._tail = self._tail, b""
        if not tail:
            raise StopAsyncIteration
        return tail


async def _open_source(name: str, source: Any) -> ByteSource:
    """Return *source* as a `ByteSource`; *name* is the name in errors."""
    given: Any = cast("Any", source).wrapped if isinstance(source, anyio.AsyncFile) else source
    if isinstance(given, bytes | bytearray | memoryview):
        view = memoryview(cast("bytes", given)).cast("B")
        return ByteSource(lambda: nullcontext(memory_chunks(view)), len(view))
    if isinstance(given, AsyncIterable):
        return await _stream_source(name, aiter(cast("AsyncIterable[object]", given)))
    try:
        if isinstance(given, str | os.PathLike):
            return await _path_source(os.fsdecode(cast("str", given)))
        if callable(getattr(given, "read", None)):
            return await _file_source(name, given)
    except (OSError, ValueError) as error:
        message = f"{name} can't be read: {error}"
        raise ValueError(message) from error
    message = (
        f"{name} must be bytes, a path, a file opened in binary mode or an async iterable of"
        f" bytes, not {type(given).__name__}"
    )
    del source, given  # error reporters attach local variables
    raise TypeError(message)


async def _path_source(path: str) -> ByteSource:
    async with await anyio.open_file(path, "rb") as file:
        size = await file.seek(0, SEEK_END)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[bytes]]:
        async with await anyio.open_file(path, "rb") as file:
            yield _file_chunks(file.wrapped)

    return ByteSource(opened, size, _file_name(path))


async def _file_source(argument: str, file: Any) -> ByteSource:
    if not isinstance(await run_sync(file.read, 0), bytes):
        message = f'{argument} is a file opened as text: open it with "rb"'
        raise TypeError(message)
    name = _file_name(getattr(file, "name", None))
    if not file.seekable():
        return evolve(await _stream_source(argument, _file_chunks(file)), name=name)
    start = await run_sync(file.tell)
    size = await run_sync(file.seek, 0, SEEK_END) - start

    @asynccontextmanager
    async def opened() -> AsyncGenerator[AsyncIterator[bytes]]:
        await run_sync(file.seek, start)
        yield _file_chunks(file)

    return ByteSource(opened, size, name)


async def _stream_source(name: str, stream: AsyncIterator[Any]) -> ByteSource:
    """Return a source that can be read once; read the first chunk now, to find an empty source."""
    first: Any = b""
    while not first:
        try:
            first = await anext(stream)
        except StopAsyncIteration:
            return ByteSource(lambda: nullcontext(stream), 0)
        if not isinstance(first, bytes | bytearray | memoryview):
            message = f"{name} must give bytes, not {type(first).__name__}"
            del first  # error reporters attach local variables
            raise TypeError(message)
    read_ahead = bytes(cast("bytes", first))

    async def read() -> bytes:
        nonlocal read_ahead
        chunk, read_ahead = read_ahead, b""
        while not chunk:
            chunk = await anext(stream)
        return chunk

    return ByteSource(lambda: nullcontext(_Chunks(read)), None, once=True)


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
    """Return the chunks of *file*, read in a thread, which is left alone where the call ends."""
    return _Chunks(lambda: run_sync(file.read, _CHUNK, abandon_on_cancel=True))


def memory_chunks(view: memoryview) -> AsyncIterator[bytes]:
    """Return an iterator over the chunks of *view*."""

    async def read() -> bytes:
        nonlocal view
        chunk, view = view[:_CHUNK], view[_CHUNK:]
        return bytes(chunk)

    return _Chunks(read)


def _file_name(path: object) -> str | None:
    """Return the last part of *path* if *path* is text: an open file's name may be a number."""
    return os.path.basename(path) if isinstance(path, str) else None  # noqa: PTH119 - not a file's


def _part(boundary: str, name: str) -> str:
    """Return the beginning of the part *name* of a form."""
    disposition = f'form-data; name="{_SPECIAL.sub(_escape, name)}"'
    return f"--{boundary}\r\nContent-Disposition: {disposition}"


def _file_head(boundary: str, name: str, file: File, source: ByteSource) -> str:
    """Return the part of a form before the bytes of *file*; raise `ValueError` if invalid."""
    if source.size == 0:
        message = f"{name} is empty"
        raise ValueError(message)
    if source.size is not None and source.size > MAX_FILE_BYTES:
        raise ValueError(_too_large(name, source.size))
    given = text_of("file_name", file.file_name or "")
    file_name = given or source.name or file.fallback
    guess = guess_type(file_name, strict=False)[0] or "application/octet-stream"
    kind = checked_type(text_of("content_type", file.content_type or guess))
    return (
        f'{_part(boundary, name)}; filename="{_SPECIAL.sub(_escape, file_name)}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )


def checked_type(content_type: str) -> str:
    """Return *content_type*; raise `ValueError` for text that is no media type."""
    if not _CONTENT_TYPE.fullmatch(content_type):
        message = "content_type must be a media type such as image/png"
        raise ValueError(message)
    return content_type


def _escape(special: re.Match[str]) -> str:
    return f"%{ord(special[0]):02X}"


def _too_large(name: str, size: int) -> str:
    return f"{name} is {size} bytes or more; the service takes {MAX_FILE_BYTES} at most"
