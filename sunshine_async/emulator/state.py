"""The state of an emulator in a file: a line for each operation, in their order."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias
from zlib import crc32

import orjson

from sunshine_async.emulator.refusal import Refusal
from sunshine_async.errors import ConfigurationError

Change: TypeAlias = list[Any]
"""A change of one part of the emulator; in the file the name of the part comes first."""

_HEADER: Final = b"sunshine_async emulator state 2\n"


class StateFile:
    """The changes in the file at *path*; the file is made where there is none.

    The changes of one operation are one line with a checksum, written at once: after a kill an
    operation is there whole, or not at all. A last line that was cut short is dropped. Raise
    `ConfigurationError` for a file that can't be read or written, is no state of this version, is
    damaged, or is in use by another emulator; such a file stays as it was.
    """

    def __init__(self, path: Path) -> None:
        self._pending: Final[list[Change]] = []
        reason: str | None
        try:
            self._file: Final = path.open("ab+", buffering=0)
            try:
                self._lock()
                self._file.seek(0)
                data = self._file.readall()
                self.changes: Final[list[Change]] = _changes(data, path)
                self._size = data.rfind(b"\n") + 1
                if not self._size:
                    self.forget()
                elif self._size < len(data):
                    self._file.truncate(self._size)
            except BaseException:
                self._file.close()
                raise
        except BlockingIOError:
            reason = "another emulator uses it"
        except OSError as error:
            reason = error.strerror
        else:
            return
        message = f"the state {path} can't be kept: {reason}"
        raise ConfigurationError(message)

    def add(self, change: Change) -> None:
        """Add *change* to the operation under way."""
        self._pending.append(change)

    def commit(self) -> None:
        """Write the changes of one operation; raise `Refusal` (507) where the disk refuses."""
        if not self._pending:
            return
        data = orjson.dumps(self._pending)
        self._pending.clear()
        line = b"%08x %s\n" % (crc32(data), data)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            title = f"the emulator can't keep its state: {error.strerror}"
            raise Refusal(507, "insufficient_storage", title) from None
        self._size += len(line)

    def forget(self) -> None:
        """Forget all changes."""
        self._file.truncate(0)
        self._size = self._file.write(_HEADER)

    def close(self) -> None:
        """Close the file, which another emulator may use then."""
        self._file.close()

    def _lock(self) -> None:
        with suppress(ImportError):  # Windows has no flock
            from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415

            flock(self._file, LOCK_EX | LOCK_NB)


def _changes(data: bytes, path: Path) -> list[Change]:
    """Return the changes in *data*; raise `ConfigurationError` where it isn't a whole state."""
    if _HEADER.startswith(data):
        return []
    if not data.startswith(_HEADER):
        message = f"{path} is no state of an emulator of this version: name another file"
        raise ConfigurationError(message)
    lines = data[len(_HEADER) :].split(b"\n")
    changes: list[Change] = []
    for number, line in enumerate(lines[:-1], start=2):
        check, _, text = line.partition(b" ")
        if check != b"%08x" % crc32(text):
            message = f"{path} is damaged in line {number}: name another file, or delete that one"
            raise ConfigurationError(message)
        changes += orjson.loads(text)
    return changes
