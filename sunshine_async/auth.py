"""Credentials of a client: the value of the ``Authorization`` header.

- `BasicAuth`: id and secret of an API key
- `JwtAuth`: JSON Web Tokens, signed with the secret of an API key
- `BearerAuth`: a token, or an async function that returns tokens
- `ApiToken`: a token that is the whole header, for Dixa

No ``repr`` shows a secret, and credentials don't pickle. No function raises an error while a local
variable holds a secret, because error reporters attach local variables.
"""

import json
import os
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, cast, final
from weakref import WeakKeyDictionary

import anyio

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async._http.response_parts import parse_date
from sunshine_async.errors import ConfigurationError

if TYPE_CHECKING:
    from jwt.api_jws import PyJWS

RENEWAL_MARGIN: Final = 60.0
"""Seconds between the last use and the end of a token; at most a fifth of the lifetime."""

MAX_CLOCK_SKEW: Final = 300.0
"""Seconds of difference between two clocks that explain a refused token."""


class Auth(Protocol):
    """Interface of credentials, as used by a call."""

    def current(self) -> str | None:
        """Return the value of the ``Authorization`` header; None: call `fetch`."""
        ...

    async def fetch(self) -> str:
        """Fetch and return the value of the header."""
        ...

    async def renew(self, refused: str) -> bool:
        """Renew the *refused* value; return True if the value has changed."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """Return the texts to hide in error messages of a service."""
        ...

    def identity(self) -> str:
        """Return a text that identifies the credentials. The text is a secret."""
        ...

    def advice(self, date: str | None) -> str | None:  # noqa: ARG002 - for JwtAuth
        """Return the next step after a 401; None: check the key. *date* is the ``Date`` header."""
        return None


class _SecretHolder(Auth):
    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class _FixedHeader(_SecretHolder):
    """Credentials with a header that never changes."""

    def __init__(self, header: str, *secrets: str) -> None:
        self._header: Final = header
        self._secrets: Final = secrets

    def identity(self) -> str:
        return self._header

    def current(self) -> str:
        return self._header

    async def fetch(self) -> str:
        return self._header

    async def renew(self, refused: str) -> bool:
        return refused != self._header

    def secrets(self) -> tuple[str, ...]:
        """Return the secret, plain and as encoded in the header."""
        return self._secrets


@final
class BasicAuth(_FixedHeader):
    """HTTP basic authentication with the id and the secret of an API key.

    Raise `ConfigurationError` for a part that is empty, or can't be sent in a header.
    """

    def __init__(self, key_id: str, secret: str) -> None:
        self._key_id: Final = key_id
        problem = _credential_error("key_id", key_id) or _credential_error("secret", secret)
        if problem is None and ":" in key_id:
            problem = "key_id has a colon in it: what comes after would be taken for the secret"
        if problem is not None:
            del secret
            raise ConfigurationError(problem)
        token = b64encode(f"{key_id}:{secret}".encode()).decode()
        super().__init__(f"Basic {token}", secret, token)

    def identity(self) -> str:
        """Return the key's id, because services count calls by key, for any scheme and secret."""
        return f"key {self._key_id}"

    def __repr__(self) -> str:
        return f"BasicAuth({self._key_id!r}, ...)"


@final
class ApiToken(_FixedHeader):
    """A token that is the whole ``Authorization`` header, as Dixa expects.

    *scheme*, such as ``Bearer``, is sent before the token. Raise `ConfigurationError` for a token
    that is empty, or can't be sent in a header.
    """

    def __init__(self, token: str, *, scheme: str = "") -> None:
        problem = _credential_error("token", token)
        if problem is None and scheme != "":
            problem = _credential_error("scheme", scheme)
        if problem is not None:
            del token
            raise ConfigurationError(problem)
        super().__init__(f"{scheme} {token}".lstrip(), token)


@final
class BearerAuth(_SecretHolder):
    """A bearer token: a text, or an async function that returns a token.

    - The function is called for the first token, and after a 401. The call is then sent once more.
    - Only a single caller runs the function at a time; concurrent calls wait for the new token.
    - The function has the time of an attempt. After that the call ends in a `ConnectError`.
    - An error of the function is raised by the call, unchanged.

    Raise `ConfigurationError` for a token that is empty, or can't be sent in a header.
    """

    def __init__(self, token: str | Callable[[], Awaitable[str]]) -> None:
        problem = None if callable(token) else _credential_error("token", token)
        if problem is not None:
            del token
            raise ConfigurationError(problem)
        self._get_token: Final = token if callable(token) else None
        self._identity: Final = os.urandom(16).hex() if callable(token) else token
        self._header = None if callable(token) else f"Bearer {token}"
        self._locks: Final[WeakKeyDictionary[object, anyio.Lock]] = WeakKeyDictionary()

    @property
    def is_fetched(self) -> bool:
        """True if a function returns the token: other processes don't know the token."""
        return self._get_token is not None

    def current(self) -> str | None:
        """Return the header with the latest token; None before the first token."""
        return self._header

    async def fetch(self) -> str:
        """Return the header with the first token, fetched by a single caller for all callers."""
        async with self._lock():
            return self._header or await self._refresh()

    async def renew(self, refused: str) -> bool:
        """Replace the *refused* token, unless a concurrent call has; return True if replaced."""
        of_refused = hash(refused)
        del refused
        async with self._lock():
            if hash(self._header) == of_refused and self._get_token is not None:
                await self._refresh()
            return hash(self._header) != of_refused

    def secrets(self) -> tuple[str, ...]:
        return (self._header.removeprefix("Bearer "),) if self._header else ()

    def identity(self) -> str:
        """Return the header of a fixed token; for a function, a random text of this object."""
        return f"Bearer {self._identity}"

    def _lock(self) -> "anyio.Lock":
        return self._locks.setdefault(anyio.lowlevel.current_token().native_token, anyio.Lock())

    async def _refresh(self) -> str:
        assert self._get_token is not None  # noqa: S101 - without a function the header is set
        found: Any = self._get_token()
        if not isinstance(found, Awaitable):
            kind = type(found).__name__
            del found
            message = f"token must be an async function, not a function that returns {kind} at once"
            raise ConfigurationError(message)
        token = await cast("Awaitable[str]", found)
        problem = _credential_error("token", token)
        if problem is not None:
            del token
            raise ConfigurationError(problem)
        self._header = f"Bearer {token}"
        return self._header


@final
class JwtAuth(_SecretHolder):
    """JSON Web Tokens signed with an API key (HS256), as the services describe. Needs PyJWT.

    A token is valid for *lifetime* seconds. All calls share a token until shortly before the end,
    or until a 401; after a 401 the call is sent once more, with a new token. *scope* is ``app``,
    ``integration`` or ``account``, the owner of the key. *now* returns the time in seconds since
    1970. Raise `ConfigurationError` for a key or a lifetime that can't work.
    """

    def __init__(
        self,
        key_id: str,
        secret: str,
        *,
        scope: str = "app",
        lifetime: float = 3600.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key_id: Final = key_id
        self._scope: Final = scope
        texts = {"key_id": key_id, "secret": secret, "scope": scope}.items()
        problem = next(filter(None, (_credential_error(*each) for each in texts)), None)
        del texts
        seconds: Any = lifetime  # not every caller has a type checker
        if problem is None and not (isinstance(seconds, float | int) and 1 <= seconds < inf):
            problem = f"lifetime={lifetime}: seconds, 1 or more"
        if problem is not None:
            del secret
            raise ConfigurationError(problem)
        self._secret: Final = secret
        self._lifetime: Final = lifetime
        self._now: Final = now
        self._lock: Final = ForkSafeLock()
        self._header = ""
        self._used_until = 0.0

    def current(self) -> str:
        """Return the header with a token that is still valid for a while."""
        of_header = hash(self._header)
        if self._now() >= self._used_until:
            self._replace(of_header)
        return self._header

    async def fetch(self) -> str:
        return self.current()

    async def renew(self, refused: str) -> bool:
        """Replace the *refused* token, unless a concurrent call has; return True if replaced."""
        of_refused = hash(refused)
        del refused
        self._replace(of_refused)
        return hash(self._header) != of_refused

    def secrets(self) -> tuple[str, ...]:
        return (self._secret, self._header.removeprefix("Bearer "))

    def identity(self) -> str:
        """Return the key's id, the same as of `BasicAuth` with the same key."""
        return f"key {self._key_id}"

    def __repr__(self) -> str:
        return f"JwtAuth({self._key_id!r}, ..., scope={self._scope!r})"

    def advice(self, date: str | None) -> str | None:
        """Return the next step if the clocks of the service and this machine are far apart."""
        at = parse_date(date)
        ahead = 0.0 if at is None else self._now() - at.timestamp()
        if abs(ahead) < MAX_CLOCK_SKEW:
            return None
        direction = "ahead of" if ahead > 0 else "behind"
        return (
            f"The clock of this machine is {abs(ahead):.0f} s {direction} the service's, and a JWT"
            " ends by the clock: set the clock, or JwtAuth(now=...)"
        )

    def _replace(self, stale: int) -> None:
        """Sign a new token if the current header still has the hash *stale*."""
        with self._lock.lock:
            if hash(self._header) != stale:  # a concurrent call has replaced the token
                return
            now, headers = self._now(), {"kid": self._key_id}
            claims = {"scope": self._scope, "exp": int(now + self._lifetime)}
            payload = json.dumps(claims, separators=(",", ":")).encode()
            token = _signer().encode(payload, self._secret, algorithm="HS256", headers=headers)
            self._header = f"Bearer {token}"
            self._used_until = now + self._lifetime - min(RENEWAL_MARGIN, self._lifetime / 5)


@cache
def _signer() -> "PyJWS":
    """Return a signer that accepts a key of any length, because the service has issued the key."""
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415 - PyJWT is loaded only for JwtAuth
    from jwt.api_jws import PyJWS  # noqa: PLC0415

    class Hs256(HMACAlgorithm):
        def prepare_key(self, key: str | bytes) -> bytes:
            return key.encode() if isinstance(key, str) else key

        def check_key_length(self, key: bytes) -> str | None:  # noqa: ARG002 - as PyJWT has it
            return None

    signer = PyJWS()
    signer.unregister_algorithm("HS256")
    signer.register_algorithm("HS256", Hs256(HMACAlgorithm.SHA256))
    return signer


def _credential_error(name: str, value: object) -> str | None:
    """Return the reason that *value* can't be sent, without the value; None: no problem."""
    if not isinstance(value, str):  # such as None, from an unset environment variable
        return f"{name} must be text, not {type(value).__name__}"
    if not value.strip():
        return f"{name} is empty: give the one that the service's dashboard shows"
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        return (
            f"{name} has a line break, a blank at an end, or another character in it that no"
            " credential has: was it copied or read whole?"
        )
    return None
