"""API keys of an app: operations and models."""

from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import Model, redact

_KEYS: Final = "/v2/apps/{app_id}/keys"
_KEY: Final = _KEYS + "/{key_id}"


@frozen(kw_only=True, slots=False)
class AppKeyCreateBody(Model):
    """The body of `AppKeys.create`; the specification has no name for the body."""

    display_name: str
    """The name of the key: 1 to 100 characters."""


@frozen(kw_only=True, slots=False)
class AppKey(Model):
    """API key of an app, in answers."""

    id: str
    """The id for `BasicAuth` and `JwtAuth`."""
    display_name: str | None = None
    secret: str | None = field(default=None, repr=redact)
    """The secret for `BasicAuth` and `JwtAuth`."""


_Keys: TypeAlias = list[AppKey]

CREATE: Final = Endpoint(
    "POST", _KEYS, operation="CreateAppKey",
    accepts=AppKeyCreateBody, returns=AppKey, inside="key", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, _Keys]] = Endpoint(
    "GET", _KEYS, operation="ListAppKeys",
    returns=_Keys, inside="keys",
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, AppKey]] = Endpoint(
    "GET", _KEY, operation="GetAppKey",
    returns=AppKey, inside="key",
    replay=Replay.SAFE,
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _KEY, operation="DeleteAppKey",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, GET, DELETE)


@frozen
class AppKeys:
    """API keys of the client's app, at most 10; errors and cancellation are as in `Users`.

    A ``repr`` of a key doesn't show the secret.
    """

    _transport: Transport = field(alias="transport")

    async def create(self, body: AppKeyCreateBody) -> AppKey:
        """Create a key; return the key with the secret (CreateAppKey).

        Not sent again once the service may have acted: that could make two keys.
        """
        return await self._transport.call(CREATE, body)

    async def list(self) -> _Keys:
        """Return all keys of the app (ListAppKeys)."""
        return await self._transport.call(LIST)

    async def get(self, key_id: str) -> AppKey:
        """Return a key (GetAppKey)."""
        return await self._transport.call(GET, path={"key_id": key_id})

    async def delete(self, key_id: str) -> None:
        """Delete a key; a resent delete that finds no key is done (DeleteAppKey)."""
        await self._transport.call(DELETE, path={"key_id": key_id})
