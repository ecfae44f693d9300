"""Who is calling: the credentials that a client signs its calls with.

None of them shows its secret in a ``repr``, and none pickles. No function raises while a local
variable of its holds a secret: error reporters attach local variables.
"""

import json
import re
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from math import inf
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, final
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import current_token

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async.errors import ConfigurationError

if TYPE_CHECKING:
    from jwt.api_jws import PyJWS

RENEWED_AHEAD: Final = 60.0
"""Seconds before its end from which a token is not used any more; a fifth of a short life."""

CLOCKS_DIFFER: Final = 300.0
"""Seconds between two clocks from which on a refused token is explained by them."""

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

    def advice(self, date: str | None) -> str | None:
        """Return the next step after a 401 at *date* (a header), if that isn't to check the key."""
        ...


class _Secretive:
    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)

    def advice(self, date: str | None) -> str | None:  # noqa: ARG002 - only a JWT ends by a clock
        """Return None."""
        return None


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
        self._key_id: Final = key_id
        wrong = _wrong("key_id", key_id) or _wrong("secret", secret)
        if wrong is None and ":" in key_id:
            wrong = "key_id has a colon in it: what comes after would be taken for the secret"
        if wrong is not None:
            del secret
            raise ConfigurationError(wrong)
        token = b64encode(f"{key_id}:{secret}".encode()).decode()
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
        wrong = _wrong("token", token)
        if wrong is not None:
            del token
            raise ConfigurationError(wrong)
        super().__init__(f"{scheme} {token}".lstrip(), token)

    def __repr__(self) -> str:
        return "ApiToken(...)"


@final
class BearerAuth(_Secretive):
    """A token from elsewhere: one that stays, or an async function that brings one.

    The function is called when the first token is needed and after a 401 (the call is then tried
    once more), by one caller at a time while the others wait. An error of the function comes out
    of the call. The function has the time of one attempt; then the call ends in a `ConnectError`.
    Raise `ConfigurationError` for a token that is empty or can't stand in a header.
    """

    def __init__(self, token: str | Callable[[], Awaitable[str]]) -> None:
        wrong = None if callable(token) else _wrong("token", token)
        if wrong is not None:
            del token
            raise ConfigurationError(wrong)
        self._bring: Final = token if callable(token) else None
        self._name: Final = token_hex(16) if callable(token) else token
        self._header = None if callable(token) else f"Bearer {token}"
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
        of_refused = hash(refused)
        del refused
        async with self._lock():
            if hash(self._header) == of_refused and self._bring is not None:
                await self._brought()
            return hash(self._header) != of_refused

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
        token = await self._bring()
        wrong = _wrong("token", token)
        if wrong is not None:
            del token
            raise ConfigurationError(wrong)
        self._header = f"Bearer {token}"
        return self._header


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
        self._key_id: Final = key_id
        self._scope: Final = scope
        wrong = _wrong("key_id", key_id) or _wrong("secret", secret)
        if wrong is None and not 1 <= lifetime < inf:
            wrong = f"lifetime={lifetime}: seconds, 1 or more"
        if wrong is not None:
            del secret
            raise ConfigurationError(wrong)
        self._secret: Final = secret
        self._lifetime: Final = lifetime
        self._now: Final = now
        self._minting: Final = ForkSafeLock()
        self._header = ""
        self._used_until = 0.0

    def current(self) -> str:
        """Return the header with a token that isn't near its end."""
        of_header = hash(self._header)
        if self._now() >= self._used_until:
            self._replace(of_header)
        return self._header

    async def fetch(self) -> str:
        """Return it too."""
        return self.current()

    async def renew(self, refused: str) -> bool:
        """Mint another token in the place of the *refused* one, unless another caller has."""
        of_refused = hash(refused)
        del refused
        self._replace(of_refused)
        return hash(self._header) != of_refused

    def secrets(self) -> tuple[str, ...]:
        """Return the secret and the latest token."""
        return (self._secret, self._header.removeprefix("Bearer "))

    def identity(self) -> str:
        """Return the key's id, as `BasicAuth` with the same key does."""
        return f"key {self._key_id}"

    def __repr__(self) -> str:
        return f"JwtAuth({self._key_id!r}, ..., scope={self._scope!r})"

    def advice(self, date: str | None) -> str | None:
        """Return the next step where the clocks of the service and this machine are far apart."""
        try:
            at = parsedate_to_datetime(date or "")
            ahead = self._now() - at.replace(tzinfo=at.tzinfo or UTC).timestamp()
        except Exception:  # noqa: BLE001 - no date, or one past any calendar
            return None
        if abs(ahead) < CLOCKS_DIFFER:
            return None
        which = "ahead of" if ahead > 0 else "behind"
        return (
            f"The clock of this machine is {abs(ahead):.0f} s {which} the service's, and a JWT ends by"
            " the clock: set the clock, or JwtAuth(now=...)"
        )

    def _replace(self, stale: int) -> None:
        """Mint a token in the place of the one with the hash *stale*."""
        with self._minting.lock:
            if hash(self._header) == stale:  # no other caller was quicker
                self._mint()

    def _mint(self) -> None:
        now = self._now()
        claims = {"scope": self._scope, "exp": int(now + self._lifetime)}
        self._header = f"Bearer {_signed(claims, self._secret, self._key_id)}"
        self._used_until = now + self._lifetime - min(RENEWED_AHEAD, self._lifetime / 5)


def _signed(claims: Mapping[str, object], secret: str, key_id: str) -> str:
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return _signer().encode(payload, secret, algorithm="HS256", headers={"kid": key_id})


@cache
def _signer() -> "PyJWS":
    """Return a signer that takes every key without a word: the service has issued the key."""
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415 - only those who need PyJWT load it
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


def _wrong(name: str, value: object) -> str | None:
    """Return why *value* can't be sent, without showing *value*; None where nothing is wrong."""
    if not isinstance(value, str):  # such as None, from an environment that hasn't got it
        return f"{name} must be text, not {type(value).__name__}"
    if not value.strip():
        return f"{name} is empty: give the one that the service's dashboard shows"
    if _UNSENDABLE.search(value) or value != value.strip():
        return (
            f"{name} has a line break, a blank at an end, or another character in it that no"
            " credential has: was it copied or read whole?"
        )
    return None
