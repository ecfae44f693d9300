"""Standard streams: open, in any encoding, and silent after a write has failed."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any, Final, TextIO

_STANDARD: Final = ("stdin", "stdout", "stderr")
# C0 and C1 controls but tab and line feed; marks that turn the direction of text
_CONTROLS: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"  # noqa: PLR2004 - a byte
    for code in (
        *range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    )
}  # fmt: skip
_JSON_CONTROLS: Final = {code: f"\\u{code:04x}" for code in _CONTROLS if code > 126}  # noqa: PLR2004 - ASCII's
"""The controls that JSON may hold as they are."""


class OutputError(Exception):
    """The result of a command can't be written; the text has the reason."""


def open_streams() -> None:
    """Open the standard streams that the process was started without; make all streams accept any text.

    Files opened later must not get the numbers 0 to 2, or output would be written into the files.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < len(_STANDARD):
        os.set_inheritable(number, True)  # noqa: FBT003 - positional only
    os.close(number)
    for name in _STANDARD[1:]:
        stream = getattr(sys, name)
        if stream is None:  # the process was started without
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
            setattr(sys, name, stream)
        stream.reconfigure(errors="replace")


def emit(stream: TextIO, text: str) -> bool:
    """Write *text* to *stream*; return False if the stream has no reader or can't be written.

    A failed write silences the stream. Raise `OutputError` if stdout, which has the results, has a
    reader and can't be written, as on a full disk.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())  # discards the buffered text and all later text
        os.close(null)
        if isinstance(error, BrokenPipeError) or stream is not sys.stdout:
            return False
        message = f"the output can't be written: {error.strerror}"
        raise OutputError(message) from None
    return True


def emit_line(stream: TextIO, text: str) -> None:
    """`emit` *text* as a message, with control characters escaped."""
    emit(stream, f"{escape_controls(text)}\n")


def emit_json(stream: TextIO, data: object, *, indent: int | None = None) -> bool:
    """`emit` *data* as JSON, in ASCII if the encoding of *stream* isn't UTF-8."""
    is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=not is_utf8, indent=indent)
    return emit(stream, text.translate(_JSON_CONTROLS) + "\n")


def json_line(data: object) -> str:
    """Return *data* as a line of JSON, without characters that a terminal would obey."""
    return json.dumps(data, ensure_ascii=False).translate(_JSON_CONTROLS) + "\n"


def escape_controls(text: str) -> str:
    """Return *text* with control characters escaped, since a terminal would obey the characters."""
    return text.translate(_CONTROLS)


class SafeStream:
    """Wrapper of a text *stream* with writes that never fail: progress isn't worth losing a job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream

    def write(self, text: str) -> int:
        emit(self._stream, text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class TextBuffer(io.StringIO):
    """Text on the way to stdout; *encoding*, that of stdout, decides how tables are drawn."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding: Final = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._encoding

    def drain(self) -> str:
        """Return the text, and empty the buffer."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text
