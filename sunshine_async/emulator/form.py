"""A form with files (``multipart/form-data``), read as it comes: files are measured, not kept."""

from collections.abc import Callable
from email.message import Message
from hashlib import sha256
from typing import Final

from attrs import Factory, define

from sunshine_async.emulator.fields import Refusal

_KEPT: Final = 1000
_MOST_HEADERS: Final = 10_000  # bytes of one part
_LINE: Final = b"\r\n"


@define(eq=False)
class Part:
    """One part of a form, as far as it has come."""

    name: str | None
    file_name: str | None
    content_type: str
    size: int = 0
    beginning: bytes = b""
    """The first bytes: of what is no file, all that matters."""
    digest: str = Factory(lambda: sha256().hexdigest())
    """The SHA-256 of its bytes."""


class Form:
    """Takes a form piece by piece; *content_type* is the header of the request."""

    def __init__(self, content_type: str) -> None:
        boundary = _header("Content-Type", content_type).get_param("boundary")
        is_form = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
        self._delimiter: Final = (
            f"\r\n--{boundary}".encode() if is_form and isinstance(boundary, str) else None
        )
        self._buffer = bytearray(_LINE)  # so that the first delimiter is like the others
        self._parts: Final[dict[str | None, Part]] = {}
        self._part: Part | None = None
        self._sum = sha256()
        self._next: Callable[[bytes], bool] = self._until
        self._ended = False

    def add(self, chunk: bytes) -> None:
        """Take the next piece."""
        if self._delimiter is None or self._ended:
            return
        self._buffer += chunk
        while self._next(self._delimiter):
            pass

    def parts(self) -> dict[str | None, Part]:
        """Return the parts by name; raise `Refusal` where it isn't a form, or not a whole one."""
        if self._delimiter is None:
            raise Refusal(
                415, "unsupported_media_type", "content-type should be multipart/form-data"
            )
        if not self._ended:
            raise Refusal(400, "bad_request", "the form has no end")
        return self._parts

    def _after_delimiter(self, _: bytes) -> bool:
        if len(self._buffer) < len(_LINE):
            return False
        self._ended = not self._buffer.startswith(_LINE)
        self._next = self._headers
        return not self._ended

    def _headers(self, _: bytes) -> bool:
        end = self._buffer.find(_LINE + _LINE)
        if end < 0:
            if len(self._buffer) > _MOST_HEADERS:
                self._buffer.clear()  # no such part can be meant, and memory stays bounded
            return False
        lines = [line.partition(b":") for line in self._buffer[:end].split(_LINE)]
        headers = {
            name.decode(errors="replace").lower(): value.strip().decode(errors="replace")
            for name, _, value in lines
        }
        disposition = _header("Content-Disposition", headers.get("content-disposition", ""))
        name = disposition.get_param("name", header="Content-Disposition")
        self._part = self._parts[str(name)] = Part(
            str(name),
            disposition.get_filename(),
            headers.get("content-type", "text/plain"),
        )
        self._sum = sha256()
        del self._buffer[: end + 2 * len(_LINE)]
        self._next = self._until
        return True

    def _until(self, delimiter: bytes) -> bool:
        """Take in what comes before the next delimiter."""
        end = self._buffer.find(delimiter)
        found = end >= 0
        size = end if found else max(0, len(self._buffer) - len(delimiter) + 1)
        if self._part is not None:
            data = bytes(self._buffer[:size])
            self._part.size += size
            self._part.beginning += data[: _KEPT - len(self._part.beginning)]
            self._sum.update(data)
            self._part.digest = self._sum.hexdigest()
        del self._buffer[: size + found * len(delimiter)]
        if found:
            self._next = self._after_delimiter
        return found


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value
    return message
