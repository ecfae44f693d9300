"""The custom attributes that an organization has defined."""

from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._endpoint import Endpoint
from sunshine_async._retry import Replay
from sunshine_async._transport.transport import Transport
from sunshine_async.dixa.definitions import CustomAttributeDefinition

_Definitions: TypeAlias = list[CustomAttributeDefinition]

LIST: Final[Endpoint[None, _Definitions]] = Endpoint(
    "GET", "/v1/custom-attributes", operation="getCustom-attributes",
    returns=_Definitions, inside="data",
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (LIST,)


@frozen
class CustomAttributes:
    """The definitions of the custom attributes: which there are, and what they take."""

    _transport: Transport = field(alias="transport")

    async def list(self) -> _Definitions:
        """Return all definitions, of end users and of conversations (getCustom-attributes)."""
        return await self._transport.call(LIST)
