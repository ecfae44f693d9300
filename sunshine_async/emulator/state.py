"""What an emulator holds, in a file that outlives it: a line for each change, in their order."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from sunshine_async.errors import ConfigurationError

Change: TypeAlias = list[Any]
"""What of a service changed, as the service itself knows it; in the file its name comes first."""


class StateFile:
    """The changes of *services* in the file at *path*, which is made where there is none.

    Each is there for good once it is written, should the process be killed after. A last line
    that was cut short is dropped. Raise `ConfigurationError` where the file can't be read or
    written; any other file is refused, and left as it is.
    """

    def __init__(self, path: Path, services: Iterable[str]) -> None:
        foreign = f"{path} is no state of an emulator: name another file"
        try:
            data = path.read_bytes() if path.exists() else b""
            *lines, cut = data.split(b"\n")
            starts = tuple(orjson.dumps([service])[:-1] + b"," for service in services)
            known = all(line.startswith(starts) for line in lines)
            if not known or not (
                lines or any(cut[: len(start)] == start[: len(cut)] for start in starts)
            ):
                raise ConfigurationError(foreign)
            self.changes: Final[list[Change]] = [orjson.loads(line) for line in lines]
            self._file: Final = path.open("ab", buffering=0)
            self._file.truncate(len(data) - len(cut))
        except OSError as error:
            message = f"the state {path} can't be kept: {error.strerror}"
        except orjson.JSONDecodeError:
            message = foreign
        else:
            return
        raise ConfigurationError(message)

    def write(self, change: Change) -> None:
        """Add *change*."""
        self._file.write(orjson.dumps(change, option=orjson.OPT_APPEND_NEWLINE))

    def forget(self) -> None:
        """Forget all changes."""
        self._file.truncate(0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
