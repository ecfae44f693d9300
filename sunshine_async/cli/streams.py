"""The standard streams: open, in any encoding, and left alone once they can't be written."""

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


class OutputError(Exception):
    """The result of a command can't be written; the text says the reason."""


def open_streams() -> None:
    """Give the process the standard streams that it was started without; let them take any text.

    Files opened later must not get the numbers 0 to 2: what goes to a stream would go into them.
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
    """Write *text* to *stream*; return whether anybody reads the stream.

    A stream that can't be written takes nothing from here on. Raise `OutputError` where stdout,
    the place of results, has a reader and can't be written, as on a full disk.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        silence(stream)
        if isinstance(error, BrokenPipeError) or stream is not sys.stdout:
            return False
        reason = error.strerror
    else:
        return True
    message = f"the output can't be written: {reason}"
    raise OutputError(message)


def silence(stream: TextIO) -> None:
    """Let the text that waits in *stream*, and all text from here on, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def emit_json(stream: TextIO, data: object, *, indent: int | None = None) -> bool:
    """`emit` *data* as JSON, in ASCII where the encoding of *stream* lacks characters."""
    whole = stream.encoding.lower().replace("-", "") == "utf8"
    return emit(stream, json.dumps(data, ensure_ascii=not whole, indent=indent) + "\n")


def in_json(data: object) -> str:
    """Return *data* as one line of JSON."""
    return json.dumps(data, ensure_ascii=False) + "\n"


def plain(text: str) -> str:
    """Return *text* with its control characters spelled out: a terminal would obey them."""
    return text.translate(_CONTROLS)


class Careful:
    """The *stream* for people, which never fails: no text of it is worth a job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream

    def write(self, text: str) -> int:
        """`emit` *text*."""
        emit(self._stream, text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Page(io.StringIO):
    """Text on its way to stdout, whose *encoding* decides how tables are drawn."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding: Final = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The encoding of stdout."""
        return self._encoding

    def take(self) -> str:
        """Return the text, and begin anew."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text
