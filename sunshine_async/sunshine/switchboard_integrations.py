"""Integrations linked to a switchboard: operations and models."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, Model, Unset

_ALL: Final = "/v2/apps/{app_id}/switchboards/{switchboard_id}/switchboardIntegrations"
_ONE: Final = _ALL + "/{switchboard_integration_id}"


@frozen(kw_only=True, slots=False)
class _LinkBody(Model):
    integration_id: str | Unset = UNSET
    """The id of a custom integration; not together with *integration_type*."""
    integration_type: str | Unset = UNSET
    """The client id of an OAuth integration; not together with *integration_id*."""
    deliver_standby_events: bool | Unset = UNSET
    """True: webhooks are sent also while another integration has the control."""
    next_switchboard_integration_id: str | Unset | None = UNSET
    """The switchboard integration that gets the control by default."""
    message_history_count: int | Unset | None = UNSET
    """Count of messages, 1 to 10, that a hand-over carries."""


@frozen(kw_only=True, slots=False)
class SwitchboardIntegrationUpdateBody(_LinkBody):
    """The body of `SwitchboardIntegrations.update`: a field left out stays unchanged."""

    name: str | Unset = UNSET
    """The name by which `SwitchboardActions` address the integration."""


@frozen(kw_only=True, slots=False)
class SwitchboardIntegrationCreateBody(_LinkBody):
    """The body of `SwitchboardIntegrations.create`, with an integration's id or type."""

    name: str
    """The name by which `SwitchboardActions` address the integration."""


@frozen(kw_only=True, slots=False)
class SwitchboardIntegration(Model):
    """Integration linked to a switchboard, in answers."""

    id: str
    name: str | None = None
    integration_id: str | None = None
    integration_type: str | None = None
    deliver_standby_events: bool | None = None
    next_switchboard_integration_id: str | None = None
    message_history_count: int | None = None


_Integrations: TypeAlias = list[SwitchboardIntegration]

CREATE: Final = Endpoint(
    "POST", _ALL, operation="CreateSwitchboardIntegration",
    accepts=SwitchboardIntegrationCreateBody, returns=SwitchboardIntegration,
    inside="switchboardIntegration", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, _Integrations]] = Endpoint(
    "GET", _ALL, operation="ListSwitchboardIntegrations",
    returns=_Integrations, inside="switchboardIntegrations",
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _ONE, operation="UpdateSwitchboardIntegration",
    accepts=SwitchboardIntegrationUpdateBody, returns=SwitchboardIntegration,
    inside="switchboardIntegration",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _ONE, operation="DeleteSwitchboardIntegration",
    returns=type(None),
    replay=Replay.GONE,
    advice={403: "The default integration, and the next one of another, stay: change these first; or check the key's scope"},
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, UPDATE, DELETE)


@frozen
class SwitchboardIntegrations:
    """Integrations of a switchboard, at most 10; errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def create(
        self, switchboard_id: str, body: SwitchboardIntegrationCreateBody
    ) -> SwitchboardIntegration:
        """Link an integration to a switchboard; return the link (CreateSwitchboardIntegration).

        Not sent again once the service may have acted.
        """
        return await self._transport.call(CREATE, body, path={"switchboard_id": switchboard_id})

    async def list(self, switchboard_id: str) -> _Integrations:
        """Return all integrations of a switchboard (ListSwitchboardIntegrations)."""
        return await self._transport.call(LIST, path={"switchboard_id": switchboard_id})

    async def update(
        self,
        switchboard_id: str,
        switchboard_integration_id: str,
        body: SwitchboardIntegrationUpdateBody,
    ) -> SwitchboardIntegration:
        """Set the fields that *body* sets; return the link (UpdateSwitchboardIntegration).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        path = _path(switchboard_id, switchboard_integration_id)
        return await self._transport.call(UPDATE, body, path=path)

    async def delete(self, switchboard_id: str, switchboard_integration_id: str) -> None:
        """Unlink an integration; a resent call is done (DeleteSwitchboardIntegration).

        `PermissionDeniedError` (assumed) for the switchboard's default integration, and for one that
        is the next of another.
        """
        path = _path(switchboard_id, switchboard_integration_id)
        await self._transport.call(DELETE, path=path)


def _path(switchboard_id: str, integration: str) -> Mapping[str, str]:
    return {"switchboard_id": switchboard_id, "switchboard_integration_id": integration}
