"""API keys of a custom integration: operations and models."""

from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import Model, redact

_KEYS: Final = "/v2/apps/{app_id}/integrations/{integration_id}/keys"
_KEY: Final = _KEYS + "/{key_id}"


@frozen(kw_only=True, slots=False)
class IntegrationKeyCreateBody(Model):
    """The body of `IntegrationKeys.create`; the specification has no name for the body."""

    display_name: str
    """The name of the key."""


@frozen(kw_only=True, slots=False)
class ApiKey(Model):
    """API key of a custom integration, in answers."""

    id: str
    """The id for `BasicAuth` and `JwtAuth`."""
    display_name: str | None = None
    secret: str | None = field(default=None, repr=redact)
    """The secret for `BasicAuth` and `JwtAuth`."""


_Keys: TypeAlias = list[ApiKey]

CREATE: Final = Endpoint(
    "POST", _KEYS, operation="CreateCustomIntegrationKey",
    accepts=IntegrationKeyCreateBody, returns=ApiKey, inside="key", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, _Keys]] = Endpoint(
    "GET", _KEYS, operation="ListCustomIntegrationKeys",
    returns=_Keys, inside="keys",
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, ApiKey]] = Endpoint(
    "GET", _KEY, operation="GetCustomIntegrationKey",
    returns=ApiKey, inside="key",
    replay=Replay.SAFE,
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _KEY, operation="DeleteCustomIntegrationKey",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, GET, DELETE)


@frozen
class IntegrationKeys:
    """API keys of a custom integration, at most 10; errors and cancellation are as in `Users`.

    A ``repr`` of a key doesn't show the secret.
    """

    _transport: Transport = field(alias="transport")

    async def create(self, integration_id: str, body: IntegrationKeyCreateBody) -> ApiKey:
        """Create a key; return the key with the secret (CreateCustomIntegrationKey).

        Not sent again once the service may have acted: that could make two keys.
        """
        return await self._transport.call(CREATE, body, path=_path(integration_id))

    async def list(self, integration_id: str) -> _Keys:
        """Return all keys of an integration (ListCustomIntegrationKeys)."""
        return await self._transport.call(LIST, path=_path(integration_id))

    async def get(self, integration_id: str, key_id: str) -> ApiKey:
        """Return a key (GetCustomIntegrationKey)."""
        return await self._transport.call(GET, path={**_path(integration_id), "key_id": key_id})

    async def delete(self, integration_id: str, key_id: str) -> None:
        """Delete a key; a resent delete that finds no key is done (DeleteCustomIntegrationKey)."""
        await self._transport.call(DELETE, path={**_path(integration_id), "key_id": key_id})


def _path(integration_id: str) -> dict[str, str]:
    return {"integration_id": integration_id}
