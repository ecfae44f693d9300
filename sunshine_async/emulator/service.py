"""The state of an emulator in a file: a line for each operation, in their order.

What a service is to the emulator: operations on what it stores, and the shape of its refusals.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from zlib import crc32

import orjson
from attrs import frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator.fields import Field, Refusal
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


@frozen
class Asked:
    """What an operation is asked: decoded, and its body checked and without unknown fields."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]


@frozen
class Answer:
    """What a service says: a status and what goes out as JSON."""

    status: int
    body: object


@frozen
class Operation:
    """How an endpoint is answered: *run* changes the store and answers, or raises `Refusal`."""

    endpoint: Endpoint[Any, Any]
    run: Callable[[Asked], Answer]
    takes: Field | None = None
    """What its JSON body must be; None: it takes no body."""
    needs_body: bool = True
    takes_form: bool = False
    """Whether its body is a form, with files: `Asked.body` has its parts by name."""
    changes: Callable[[Asked], Hashable] | None = None
    """Says what it changes: until it has been answered, others that change the same get a 409."""


class Keeper(Protocol):
    """A part of the emulator whose changes a state file keeps."""

    def clear(self) -> None:
        """Forget everything."""
        ...

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        ...

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on."""
        ...


class Service(Keeper, Protocol):
    """One service: its operations share what it stores. It is called by one thread at a time."""

    effects: Counter[str]
    """How often each operation changed what is stored."""

    @property
    def prefix(self) -> str:
        """What the paths of its operations begin with."""
        ...

    @property
    def operations(self) -> Sequence[Operation]: ...

    def __len__(self) -> int:
        """Return how many users are stored."""
        ...

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the stored users as on the wire, those of one app or all."""
        ...

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        Raise `ValueError` where it can't be.
        """
        ...

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """Return the *values* in a path as stored ids are spelled.

        Raise `Refusal` (400) for a value that can't be an id.
        """
        ...

    def problem(self, refusal: Refusal) -> Answer:
        """Return how the service words *refusal*."""
        ...
