"""Who is let in."""

from base64 import b64decode
from collections.abc import Iterable
from typing import Final

from sunshine_async.errors import ConfigurationError

_SCHEMES: Final = frozenset({"basic", "bearer"})
_SCOPES: Final = frozenset({"account", "app", "integration"})


class Credentials:
    """The keys (``id:secret``) and tokens that are let in; where there are none, any is.

    A token is a bearer's, or stands alone, as Dixa takes it. It may also be a JWT signed with the
    secret of a key, which its ``kid`` names (HS256, not expired, with a scope of the API's). Raise
    `ConfigurationError` for a key without a colon.
    """

    def __init__(self, keys: Iterable[str], tokens: Iterable[str]) -> None:
        pairs = [key.partition(":") for key in keys]
        if not all(colon for _, colon, _ in pairs):
            message = "a key is its id and its secret, with a colon between them: id:secret"
            raise ConfigurationError(message)
        self._secrets: Final = {key_id: secret for key_id, _, secret in pairs}
        self._tokens: Final = frozenset(tokens)

    def admit(self, authorization: str | None) -> bool:
        """Return whether a request with this ``Authorization`` header is let in."""
        scheme, _, given = (authorization or "").strip().partition(" ")
        given = given.strip()
        alone = scheme if not given and scheme.lower() not in _SCHEMES else ""
        if not self._secrets and not self._tokens:
            return bool(given or alone)
        match scheme.lower():
            case "basic":
                return self._knows(given)
            case "bearer":
                return given in self._tokens or self._has_signed(given)
            case _:
                return alone in self._tokens

    def _knows(self, basic: str) -> bool:
        try:
            key_id, colon, secret = b64decode(basic, validate=True).decode().partition(":")
        except ValueError:
            return False
        return bool(colon) and self._secrets.get(key_id) == secret

    def _has_signed(self, token: str) -> bool:
        import jwt  # noqa: PLC0415 - only where there are keys, and a token to look at

        try:
            secret = self._secrets[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, secret, algorithms=["HS256"])
            return claims.get("scope") in _SCOPES
        except (jwt.InvalidTokenError, KeyError, TypeError, OverflowError):
            return False
