"""Bodies of free requests: JSON, bytes of any type, or a form with files and texts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, TypeAlias, cast

from attrs import field, frozen

from sunshine_async._calls.endpoint import Json
from sunshine_async._calls.forms import File, FileSource, Form, checked_type, memory_chunks
from sunshine_async._http.messages import StreamedBody

NamedSource: TypeAlias = tuple[str, FileSource] | tuple[str, FileSource, str]
"""A file name, a source, and perhaps a media type."""

_SHAPES: Final = (
    "content is (media type, bytes); files and data are mappings by name of field; a file is a"
    " source, (file name, source) or (file name, source, media type)"
)


class BytesBody(StreamedBody):
    """Bytes of any type as a body."""

    def __init__(self, content_type: str, content: memoryview) -> None:
        self.content_type = checked_type(content_type)
        self.length = len(content)
        self._view: Final = content

    @property
    def ready(self) -> bool:
        """True: the bytes stay in memory."""
        return True

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes in chunks."""
        return nullcontext(memory_chunks(self._view))


@frozen
class FreeBody:
    """Arguments of a free request's body. No local variable shows these: `repr` is empty."""

    _json: Json | None = field(repr=False)
    _content: Any = field(repr=False)
    _files: Any = field(repr=False)
    _data: Any = field(repr=False)

    async def make(self) -> StreamedBody:
        """Return the body; `ValueError` for more than one kind, `TypeError` for a wrong shape."""
        if not self._has_shape():
            raise TypeError(_SHAPES)
        given = (self._json is not None) + (self._content is not None) + (self._files is not None)
        if given > 1:
            message = "json, content and files: a request has one body"
        elif self._content is not None and self._data is None:
            return BytesBody(self._content[0], memoryview(self._content[1]).cast("B"))
        elif not self._files:
            message = "files is empty or missing: a form needs a file"
        else:
            form = await Form.of({name: _named(file) for name, file in self._files.items()})
            return form.with_texts(self._data or {})
        raise ValueError(message)

    def _has_shape(self) -> bool:
        if not all(isinstance(each, Mapping | None) for each in (self._files, self._data)):
            return False
        files = cast("Mapping[str, object]", self._files or {}).values()
        is_pair = self._content is None or _length(self._content) == 2  # noqa: PLR2004 - a pair
        return is_pair and all(_length(file) in {None, 2, 3} for file in files)


def _length(value: object) -> int | None:
    """Return the length of a tuple; None for another value."""
    return len(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else None


def _named(file: FileSource | NamedSource) -> File:
    """Return the file of a source, or of a tuple of name, source and perhaps media type."""
    return File(file[1], file[0], *file[2:]) if isinstance(file, tuple) else File(file)
