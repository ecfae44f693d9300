"""What custom attributes an organization has defined.

The custom attributes that an organization has defined.
"""

from datetime import datetime
from typing import Final, TypeAlias

from attrs import field, frozen, resolve_types

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import AS_TAG, Model


@frozen(kw_only=True, slots=False)
class SelectOption(Model):
    """An option of a Select, and those that are nested in it."""

    id: str
    label: str | None = None
    value: str | None = None
    """What an end user's attribute holds where this is chosen."""
    nested_options: "list[SelectOption] | None" = None
    is_deactivated: bool | None = None
    order_index: int | None = None


resolve_types(SelectOption)


@frozen(kw_only=True, slots=False)
class SelectDefinition(Model):
    """One of a tree of options."""

    options: list[SelectOption] | None = None
    type: str = field(default="Select", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class TextDefinition(Model):
    """Any text."""

    placeholder: str | None = None
    type: str = field(default="Text", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownDefinition(Model):
    """A kind that came after this was written; all that it has is in *extra*."""

    type: str | None = field(default=None, metadata=AS_TAG)


InputDefinition: TypeAlias = SelectDefinition | TextDefinition | UnknownDefinition
"""What values a custom attribute takes."""


@frozen(kw_only=True, slots=False)
class CustomAttributeDefinition(Model):
    """A custom attribute of an organization."""

    id: str
    """The key in `EndUsers.patch_custom_attributes`."""
    entity_type: str | None = None
    """What has it: ``Contact`` (an end user) or ``Conversation``; the service may add others."""
    identifier: str | None = None
    label: str | None = None
    input_definition: InputDefinition | None = None
    description: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    is_required: bool | None = None
    is_archived: bool | None = None
    is_deactivated: bool | None = None


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
