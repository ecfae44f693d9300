"""Base classes of the emulated services, and the state file.

A service is a `UserApi`: a table of operations on the users in a store. Each part with state is
a `Store`, which reports changes to the `StateFile`. The file has one line for each operation.
"""

import os
import stat
from abc import ABC, abstractmethod
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from errno import EINVAL
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias
from zlib import crc32

import orjson
from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator.fields import Refusal, Schema, json_copy
from sunshine_async.errors import ConfigurationError
from sunshine_async.journal.file import make_private, open_private

Change: TypeAlias = list[Any]
"""A change of a store; in the state file the name of the store comes first."""

_HEADER: Final = b"sunshine_async emulator state 2\n"


class StateFile:
    """Append-only file of all changes at *path*; created if missing.

    The changes of one operation are one line with a checksum, written at once: after a kill the
    file has an operation whole, or not at all. A last line that was cut short is dropped.

    Raise `ConfigurationError` for a file that can't be read or written, has another version, is
    damaged, or is in use by another emulator; such a file isn't changed.
    """

    def __init__(self, path: Path) -> None:
        self._pending: Final[list[Change]] = []
        try:
            with ExitStack() as on_error:
                number = open_private(path, os.O_RDWR | os.O_APPEND)
                self._file: Final = on_error.enter_context(os.fdopen(number, "ab+", buffering=0))
                if not stat.S_ISREG(os.fstat(number).st_mode):  # a device may have no end
                    raise OSError(EINVAL, "Not a regular file")  # noqa: TRY301 - as the system
                self._lock()
                self._file.seek(0)
                data = self._file.read(len(_HEADER))
                if data == _HEADER:  # a foreign file may be large
                    data += self._file.readall()
                self.changes: Final[list[Change]] = _parse_changes(data, path)
                make_private(path)
                self._size = data.rfind(b"\n") + 1
                self._write(b"")
                on_error.pop_all()
        except BlockingIOError:
            reason = "another emulator uses it. End that emulator, or name another file"
        except OSError as error:
            reason = f"{error.strerror}. Name a file in a folder that is there and can be written"
        else:
            return
        message = f"the state {path} can't be kept: {reason}"
        raise ConfigurationError(message)

    def append(self, store: str, change: Change) -> None:
        """Add *change* of a store to the current operation; `commit` writes the operation."""
        self._pending.append([store, *change])

    def commit(self) -> None:
        """Write the changes of one operation; raise `Refusal` (507) if the disk refuses.

        The changes that the disk refused are written together with the next changes.
        """
        if self._pending:
            data = orjson.dumps(self._pending)
            self._keep(b"%08x %s\n" % (crc32(data), data))
            self._pending.clear()

    def clear(self) -> None:
        """Forget all changes; raise `Refusal` (507) if the disk refuses."""
        self._pending.clear()
        self._size = 0
        self._keep(b"")

    def _keep(self, line: bytes) -> None:
        try:
            self._write(line)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            title = f"the emulator can't keep its state: {error.strerror}"
            raise Refusal(507, "insufficient_storage", title) from None

    def _write(self, line: bytes) -> None:
        """Append *line* whole, in place of a part that an error or a kill may have left."""
        self._file.truncate(self._size)
        data = line if self._size else _HEADER + line
        written = 0
        while written < len(data):
            written += self._file.write(data[written:])
        self._size += len(data)

    def close(self) -> None:
        """Close the file, so that another emulator may use the file."""
        with suppress(Refusal):
            self.commit()
        self._file.close()

    def _lock(self) -> None:
        with suppress(ImportError):  # Windows has no flock
            from fcntl import LOCK_EX, LOCK_NB, flock  # noqa: PLC0415

            flock(self._file, LOCK_EX | LOCK_NB)


def foreign_state(path: Path) -> ConfigurationError:
    """Return the error for a file that no emulator of this version wrote."""
    message = f"{path} is no state of an emulator of this version: name another file"
    return ConfigurationError(message)


def _parse_changes(data: bytes, path: Path) -> list[Change]:
    """Return the changes in *data*; raise `ConfigurationError` for any damaged or foreign line."""
    if _HEADER.startswith(data):
        return []
    if not data.startswith(_HEADER):
        raise foreign_state(path)
    lines = data[len(_HEADER) :].split(b"\n")
    changes: list[Change] = []
    for number, line in enumerate(lines[:-1], start=2):
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % crc32(text):
            message = f"{path} is damaged in line {number}: name another file, or delete that one"
            raise ConfigurationError(message)
        try:
            changes += orjson.loads(text)
        except (ValueError, TypeError):
            raise foreign_state(path) from None
    return changes


def basic_key(authorization: str) -> tuple[str, str]:
    """Return id and secret in a header of Basic authentication; empty texts for other headers."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        key_id, _, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return key_id, secret


def bearer_token(authorization: str) -> str:
    """Return the token in a header of bearer authentication; an empty text for other headers."""
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def signing_key(token: str) -> str:
    """Return the id of the key in the header of a JWT; an empty text for any other token."""
    import jwt  # noqa: PLC0415 - needed for bearer tokens only

    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except jwt.InvalidTokenError:
        return ""


def is_signed(token: str, secret: str) -> bool:
    """Return True for a JWT signed with *secret* (HS256), not expired, with a scope of the API."""
    import jwt  # noqa: PLC0415 - needed for bearer tokens only

    try:
        claims = jwt.decode(token, secret, algorithms=["HS256"])
        return claims.get("scope") in ("account", "app", "integration")
    except (jwt.InvalidTokenError, TypeError, OverflowError):
        return False


class Credentials:
    """Accepted keys (``id:secret``) and tokens. Without both, any credentials are accepted.

    A token comes as a bearer token, or alone, as Dixa takes a token. A bearer token may also be a
    JWT signed with the secret of a key: ``kid`` names the key, the algorithm is HS256, the token
    hasn't expired and has a scope of the API. Raise `ConfigurationError` for a key without a colon.
    """

    def __init__(self, keys: Iterable[Any], tokens: Iterable[Any]) -> None:
        pairs = [key.partition(":") if isinstance(key, str) else ("", "", "") for key in keys]
        tokens = frozenset(tokens)
        if not all(isinstance(token, str) for token in tokens):
            message = "tokens: a token is a text"
            raise ConfigurationError(message)
        if not all(colon for _, colon, _ in pairs):
            message = "keys: a key is its id and its secret, with a colon between them: id:secret"
            raise ConfigurationError(message)
        self._secrets: Final = {key_id: secret for key_id, _, secret in pairs}
        self._tokens: Final = tokens

    def admit(self, authorization: str | None) -> bool:
        """Return True if an ``Authorization`` header has accepted credentials."""
        scheme, _, value = (authorization or "").strip().partition(" ")
        value = value.strip()
        token = scheme if not value and scheme.lower() not in ("basic", "bearer") else ""
        if not self._secrets and not self._tokens:
            return bool(value or token)
        match scheme.lower():
            case "basic":
                key_id, secret = basic_key(f"{scheme} {value}")
                return self._secrets.get(key_id) == secret
            case "bearer":
                signer = self._secrets.get(signing_key(value))
                is_jwt = signer is not None and is_signed(value, signer)
                return is_jwt or value in self._tokens
            case _:
                return token in self._tokens


def key_id_of(authorization: str) -> str:
    """Return the id of the key behind the credentials; an empty text for other credentials."""
    return basic_key(authorization)[0] or signing_key(bearer_token(authorization))


@frozen
class OperationRequest:
    """Input of an operation: decoded, with a validated body that has known fields only."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    url: str = ""
    """The URL without the query."""
    authorization: str = field(default="", repr=False)
    """The header of the credentials."""

    @property
    def origin(self) -> str:
        """Scheme and host of the URL."""
        return "/".join(self.url.split("/", 3)[:3])

    @property
    def target(self) -> str:
        """The path of the URL."""
        return self.url.removeprefix(self.origin)

    @property
    def token(self) -> str:
        """The bearer token; empty for other credentials."""
        return bearer_token(self.authorization)

    @property
    def key_id(self) -> str:
        """The id of the key of Basic authentication or of a JWT; empty for other credentials."""
        return key_id_of(self.authorization)


@frozen
class Reply:
    """Output of an operation: a status and a JSON body."""

    status: int
    body: object
    headers: Mapping[str, str] = field(factory=dict[str, str])


@frozen
class Operation:
    """Handler of an endpoint: *run* changes the store and responds, or raises `Refusal`."""

    endpoint: Endpoint[Any, Any]
    run: Callable[[OperationRequest], Reply]
    schema: Schema | None = None
    """Schema of the JSON body; None: the operation takes no JSON body."""
    needs_body: bool = True
    takes_form: bool = False
    """True if the body is a form with files: `OperationRequest.body` has the parts by name."""
    is_public: bool = False
    """True if the operation needs no credentials."""
    keeps_files: bool = False
    """True if the parts of the form keep their bytes."""
    lock_key: Callable[[OperationRequest], Hashable] | None = None
    """The key of the changed object. Until the response is sent, further changes get a 409."""


class Store(ABC):
    """Base class of a part with state. The store hands each change to the state file."""

    def __init__(self) -> None:
        self._keep: Callable[[Change], None] = lambda _: None

    def keep(self, write: Callable[[Change], None]) -> None:
        """Call *write* with every change from now on."""
        self._keep = write

    @abstractmethod
    def clear(self) -> None:
        """Delete everything."""

    @abstractmethod
    def restore(self, change: Change) -> None:
        """Repeat a *change* from the state file."""


class UserApi(Store):
    """Base class of a service: operations on stored users. Calls come from one thread at a time."""

    prefix: ClassVar[str | tuple[str, ...]]
    """The beginning of all paths, or several such beginnings."""
    effect_names: ClassVar[Sequence[str]]
    _effect_tag: ClassVar[Change] = []
    """The beginning of a change that counts an effect."""
    operations: Sequence[Operation]

    def __init__(self) -> None:
        super().__init__()
        self.effects: Counter[str] = Counter(dict.fromkeys(self.effect_names, 0))

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of stored users."""

    @abstractmethod
    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the stored users as on the wire: the users of an app, or of all apps."""

    def add(self, user: Mapping[str, Any], *, app_id: str = "") -> Mapping[str, Any]:
        """Store *user* exactly as given; return the user as stored. No effect is counted.

        Raise `ValueError` for an invalid user, and if an id, an address or a number is taken.
        """
        try:
            return self._add(json_copy(user), app_id)
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None

    def counts(self) -> dict[str, Any]:
        """Return the counts of users and effects, for the ledger."""
        return {"users": len(self), "effects": dict(self.effects)}

    def admits(self, authorization: str) -> bool | None:  # noqa: ARG002
        """Return True or False for credentials that the service issued; None for others."""
        return None

    def spelled(self, path: str, authorization: str) -> str:  # noqa: ARG002
        """Return *path* as the operations spell the path, for a spelling that is accepted too."""
        return path

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        """Return *values* with ids as stored; raise `Refusal` (400) for an impossible id."""
        return values

    @abstractmethod
    def error_response(self, refusal: Refusal) -> Reply:
        """Return *refusal* in the error format of the service."""

    def clear(self) -> None:
        """Delete the counts of effects, and all that the service stores itself."""
        self.effects = Counter(dict.fromkeys(self.effect_names, 0))

    def restore(self, change: Change) -> None:
        """Count an effect from the state file."""
        self.effects[change[-1]] += 1

    @abstractmethod
    def _add(self, user: Mapping[str, Any], app_id: str) -> Mapping[str, Any]: ...

    def _count(self, effect: str) -> None:
        self.effects[effect] += 1
        self._keep([*self._effect_tag, effect])
