"""Switchboard of an app: operations and models."""

from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, Model, Unset

_SWITCHBOARDS: Final = "/v2/apps/{app_id}/switchboards"
_SWITCHBOARD: Final = _SWITCHBOARDS + "/{switchboard_id}"


@frozen(kw_only=True, slots=False)
class SwitchboardUpdateBody(Model):
    """The body of `Switchboards.update`: a field left out stays unchanged."""

    enabled: bool | Unset = UNSET
    """False: all linked integrations receive all events."""
    default_switchboard_integration_id: str | Unset = UNSET
    """The switchboard integration with the control of new conversations."""


@frozen(kw_only=True, slots=False)
class Switchboard(Model):
    """Switchboard of an app, in answers."""

    id: str
    enabled: bool | None = None
    default_switchboard_integration_id: str | None = None


_Switchboards: TypeAlias = list[Switchboard]

CREATE: Final[Endpoint[None, Switchboard]] = Endpoint(
    "POST", _SWITCHBOARDS, operation="CreateSwitchboard",
    returns=Switchboard, inside="switchboard", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, _Switchboards]] = Endpoint(
    "GET", _SWITCHBOARDS, operation="ListSwitchboards",
    returns=_Switchboards, inside="switchboards",
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _SWITCHBOARD, operation="UpdateSwitchboard",
    accepts=SwitchboardUpdateBody, returns=Switchboard, inside="switchboard",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _SWITCHBOARD, operation="DeleteSwitchboard",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, UPDATE, DELETE)


@frozen
class Switchboards:
    """Switchboard of the client's app; errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def create(self) -> Switchboard:
        """Create a switchboard (CreateSwitchboard).

        Not sent again once the service may have acted. Assumed: an app has one switchboard.
        """
        return await self._transport.call(CREATE)

    async def list(self) -> _Switchboards:
        """Return all switchboards of the app (ListSwitchboards)."""
        return await self._transport.call(LIST)

    async def update(self, switchboard_id: str, body: SwitchboardUpdateBody) -> Switchboard:
        """Set the fields that *body* sets; return the switchboard (UpdateSwitchboard).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        return await self._transport.call(UPDATE, body, path={"switchboard_id": switchboard_id})

    async def delete(self, switchboard_id: str) -> None:
        """Delete a switchboard; a resent delete that finds none is done (DeleteSwitchboard)."""
        await self._transport.call(DELETE, path={"switchboard_id": switchboard_id})
