"""Who is calling: the credentials that a client signs its calls with.

None of them shows its secret in a ``repr``, and none pickles.
"""

import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from secrets import token_hex
from threading import Lock
from typing import Final, NoReturn, Protocol, final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from sunshine_async.errors import ConfigurationError

RENEWED_AHEAD: Final = 60.0
"""Seconds before its end from which a token is not used any more; a fifth of a short life."""

_UNSENDABLE: Final = re.compile(r"[^\x20-\x7e]")


class Auth(Protocol):
    """What a call asks of its credentials."""

    def current(self) -> str | None:
        """Return the value of the ``Authorization`` header, or None if it has to be fetched."""
        ...

    async def fetch(self) -> str:
        """Return the value that `current` hasn't got."""
        ...

    async def renew(self, refused: str) -> bool:
        """Return whether there is another value by now than the one that was *refused*."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """Return what must not be shown, should a service repeat it in an error."""
        ...

    def identity(self) -> str:
        """Return what tells these credentials from others. It is a secret."""
        ...


class _Secretive:
    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)


class _Constant(_Secretive):
    """Credentials that are the same header every time."""

    def __init__(self, header: str, *secrets: str) -> None:
        self._header: Final = header
        self._secrets: Final = secrets

    def identity(self) -> str:
        """Return the secret, behind the id that it belongs to if it has one."""
        return self._header

    def current(self) -> str:
        """Return the same header every time."""
        return self._header

    async def fetch(self) -> str:
        """Return it too."""
        return self._header

    async def renew(self, refused: str) -> bool:
        """Return False: there is no other."""
        return refused != self._header

    def secrets(self) -> tuple[str, ...]:
        """Return the secret, and how it is sent."""
        return self._secrets


@final
class BasicAuth(_Constant):
    """HTTP basic authentication with an API key: its id and its secret.

    Raise `ConfigurationError` for one that is empty or can't stand in a header.
    """

    def __init__(self, key_id: str, secret: str) -> None:
        self._key_id: Final = _sendable("key_id", key_id)
        if ":" in key_id:
            message = "key_id has a colon in it: what comes after would be taken for the secret"
            raise ConfigurationError(message)
        token = b64encode(f"{key_id}:{_sendable('secret', secret)}".encode()).decode()
        super().__init__(f"Basic {token}", secret, token)

    def identity(self) -> str:
        """Return the key's id: services count by keys, whatever the scheme and the secret."""
        return f"key {self._key_id}"

    def __repr__(self) -> str:
        return f"BasicAuth({self._key_id!r}, ...)"


@final
class ApiToken(_Constant):
    """A token that is the whole ``Authorization`` header, as Dixa takes it.

    With *scheme* (``Bearer``) it stands behind that word. Raise `ConfigurationError` for a token
    that is empty or can't stand in a header.
    """

    def __init__(self, token: str, *, scheme: str = "") -> None:
        super().__init__(f"{scheme} {_sendable('token', token)}".lstrip(), token)

    def __repr__(self) -> str:
        return "ApiToken(...)"


@final
class BearerAuth(_Secretive):
    """A token from elsewhere: one that stays, or an async function that brings one.

    The function is called when the first token is needed and after a 401 (the call is then tried
    once more), by one caller at a time while the others wait; what it raises comes out of the
    call. Raise `ConfigurationError` for a token that is empty or can't stand in a header.
    """

    def __init__(self, token: str | Callable[[], Awaitable[str]]) -> None:
        self._bring: Final = token if callable(token) else None
        self._name: Final = token_hex(16) if callable(token) else token
        self._header = None if callable(token) else _bearer(token)
        self._one_at_a_time: Final[WeakKeyDictionary[object, anyio.Lock]] = WeakKeyDictionary()

    def current(self) -> str | None:
        """Return the header with the latest token, or None before the first."""
        return self._header

    async def fetch(self) -> str:
        """Return the header with the first token, brought by one caller for all."""
        async with self._lock():
            return self._header or await self._brought()

    async def renew(self, refused: str) -> bool:
        """Bring another token in the place of the *refused* one, unless another caller has."""
        async with self._lock():
            if self._header == refused and self._bring is not None:
                await self._brought()
            return self._header != refused

    def secrets(self) -> tuple[str, ...]:
        """Return the latest token."""
        return (self._header.removeprefix("Bearer "),) if self._header else ()

    def identity(self) -> str:
        """Return the token that stays; one that is brought is like no other's."""
        return f"Bearer {self._name}"

    def __repr__(self) -> str:
        return "BearerAuth(...)"

    def _lock(self) -> anyio.Lock:
        return self._one_at_a_time.setdefault(current_token().native_token, anyio.Lock())

    async def _brought(self) -> str:
        assert self._bring is not None  # noqa: S101 - a token that stays is there from the start
        self._header = header = _bearer(await self._bring())
        return header


@final
class JwtAuth(_Secretive):
    """JSON Web Tokens signed with an API key (HS256), as the services describe them.

    A token lives for *lifetime* seconds and is used until shortly before its end; then, and after
    a 401 (the call is then tried once more), a new one is minted for all callers. *scope* is
    ``app``, ``integration`` or ``account``, as the key's owner is. *now* gives the time in seconds
    since 1970. Needs PyJWT. Raise `ConfigurationError` for a key that can't work.
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
        if not lifetime >= 1:
            message = f"lifetime={lifetime}: seconds, 1 or more"
            raise ConfigurationError(message)
        self._key_id: Final = _sendable("key_id", key_id)
        self._secret: Final = _sendable("secret", secret)
        self._scope: Final = scope
        self._lifetime: Final = lifetime
        self._now: Final = now
        self._minting: Final = Lock()
        self._header = ""
        self._used_until = 0.0

    def current(self) -> str:
        """Return the header with a token that isn't near its end."""
        header = self._header
        if self._now() >= self._used_until:
            self._replace(header)
        return self._header

    async def fetch(self) -> str:
        """Return it too."""
        return self.current()

    async def renew(self, refused: str) -> bool:
        """Mint another token in the place of the *refused* one, unless another caller has."""
        self._replace(refused)
        return self._header != refused

    def secrets(self) -> tuple[str, ...]:
        """Return the secret and the latest token."""
        return (self._secret, self._header.removeprefix("Bearer "))

    def identity(self) -> str:
        """Return the key's id, as `BasicAuth` with the same key does."""
        return f"key {self._key_id}"

    def __repr__(self) -> str:
        return f"JwtAuth({self._key_id!r}, ..., scope={self._scope!r})"

    def _replace(self, stale: str) -> None:
        with self._minting:
            if self._header == stale:  # no other caller was quicker
                self._mint()

    def _mint(self) -> None:
        import jwt  # noqa: PLC0415 - only those who need it load it

        now = self._now()
        claims = {"scope": self._scope, "exp": int(now + self._lifetime)}
        token = jwt.encode(claims, self._secret, algorithm="HS256", headers={"kid": self._key_id})
        self._header = f"Bearer {token}"
        self._used_until = now + self._lifetime - min(RENEWED_AHEAD, self._lifetime / 5)


def _bearer(token: str) -> str:
    return f"Bearer {_sendable('token', token)}"


def _sendable(name: str, value: object) -> str:
    """Return *value*; raise `ConfigurationError`, without showing it, if it can't be sent."""
    if not isinstance(value, str):  # such as None, from an environment that hasn't got it
        message = f"{name} must be text, not {type(value).__name__}"
        raise ConfigurationError(message)
    if not value.strip():
        message = f"{name} is empty: give the one that the service's dashboard shows"
        raise ConfigurationError(message)
    if _UNSENDABLE.search(value) or value != value.strip():
        message = (
            f"{name} has a line break, a blank at an end, or another character in it that no"
            " credential has: was it copied or read whole?"
        )
        raise ConfigurationError(message)
    return value
