"""Who is calling: the credentials that a client signs its calls with.

None of them shows its secret in a ``repr``, and none pickles.
"""

import re
from base64 import b64encode
from typing import Final, NoReturn, Protocol

from sunshine_async.errors import ConfigurationError

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
        """Return whether there is another value than the one that was *refused* by now."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """Return what must not be shown, should a service repeat it in an error."""
        ...


class _Static:
    """Credentials that stay the same."""

    def __init__(self, header: str, *secrets: str) -> None:
        self._header: Final = header
        self._secrets: Final = secrets

    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)

    def current(self) -> str:
        return self._header

    async def fetch(self) -> str:
        return self._header

    async def renew(self, refused: str) -> bool:
        return refused != self._header

    def secrets(self) -> tuple[str, ...]:
        return self._secrets


class BasicAuth(_Static):
    """HTTP basic authentication with an API key: its id and its secret.

    Raise `ConfigurationError` for one that is empty or can't stand in a header.
    """

    def __init__(self, key_id: str, secret: str) -> None:
        self._key_id: Final = _sendable("key_id", key_id)
        if ":" in key_id:
            message = "BasicAuth: key_id has a colon in it; everything after it would be the secret"
            raise ConfigurationError(message)
        token = b64encode(f"{key_id}:{_sendable('secret', secret)}".encode()).decode()
        super().__init__(f"Basic {token}", secret, token)

    def __repr__(self) -> str:
        return f"BasicAuth({self._key_id!r}, ...)"


class BearerAuth(_Static):
    """A token from elsewhere, such as one that OAuth gave.

    Raise `ConfigurationError` for one that is empty or can't stand in a header.
    """

    def __init__(self, token: str) -> None:
        super().__init__(f"Bearer {_sendable('token', token)}", token)

    def __repr__(self) -> str:
        return "BearerAuth(...)"


def _sendable(name: str, value: str) -> str:
    """Return *value*; raise `ConfigurationError`, without showing it, if it can't be sent."""
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
