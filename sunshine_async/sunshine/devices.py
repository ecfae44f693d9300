"""Devices of a user: operations and model."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import Model, redact

_DEVICES: Final = "/v2/apps/{app_id}/users/{user_id_or_external_id}/devices"


@frozen(kw_only=True, slots=False)
class Device(Model):
    """A user's device with an SDK of the service, in answers."""

    id: str
    type: str | None = None
    """``android``, ``ios`` or ``web``; the service may add values."""
    guid: str | None = None
    """The identifier that the SDK has generated."""
    client_id: str | None = None
    status: str | None = None
    """``active`` or ``inactive``: an active device gets push notifications."""
    integration_id: str | None = None
    last_seen: datetime | None = None
    push_notification_token: str | None = field(default=None, repr=redact)
    info: Mapping[str, Any] | None = field(default=None, repr=redact)
    """Flat facts about the platform; no key is guaranteed."""
    app_version: str | None = None


_Devices: TypeAlias = list[Device]

LIST: Final[Endpoint[None, _Devices]] = Endpoint(
    "GET", _DEVICES, operation="ListDevices",
    returns=_Devices, inside="devices", query=("brandId",),
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, Device]] = Endpoint(
    "GET", _DEVICES + "/{device_id}", operation="GetDevice",
    returns=Device, inside="device", query=("brandId",),
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (LIST, GET)


@frozen
class Devices:
    """Devices of a user; ids, *brand_id*, errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def list(self, user_id_or_external_id: str, *, brand_id: str | None = None) -> _Devices:
        """Return all devices of a user (ListDevices)."""
        return await self._transport.call(
            LIST,
            path={"user_id_or_external_id": user_id_or_external_id},
            query={"brandId": brand_id},
        )

    async def get(
        self, user_id_or_external_id: str, device_id: str, *, brand_id: str | None = None
    ) -> Device:
        """Return a device of a user (GetDevice)."""
        return await self._transport.call(
            GET,
            path={"user_id_or_external_id": user_id_or_external_id, "device_id": device_id},
            query={"brandId": brand_id},
        )
