"""Custom attributes: the definitions of an organization, and the operation that lists definitions.

A definition has a kind of values: any text, or a choice from a tree of options. `EndUser` has the
values of an end user, and `EndUsers.patch_custom_attributes` sets values.
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
    """An option of a Select, with nested options."""

    id: str
    label: str | None = None
    value: str | None = None
    """Value of an end user's attribute with this option chosen."""
    nested_options: "list[SelectOption] | None" = None
    is_deactivated: bool | None = None
    order_index: int | None = None


resolve_types(SelectOption)


@frozen(kw_only=True, slots=False)
class SelectDefinition(Model):
    """Choice from a tree of options."""

    options: list[SelectOption] | None = None
    type: str = field(default="Select", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class TextDefinition(Model):
    """Free text."""

    placeholder: str | None = None
    type: str = field(default="Text", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownDefinition(Model):
    """Definition of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TAG)


InputDefinition: TypeAlias = SelectDefinition | TextDefinition | UnknownDefinition
"""Kind of the values that a custom attribute accepts."""


@frozen(kw_only=True, slots=False)
class CustomAttributeDefinition(Model):
    """Definition of a custom attribute."""

    id: str
    """Key of the attribute in `EndUsers.patch_custom_attributes`."""
    entity_type: str | None = None
    """``Contact`` (an end user), ``Conversation``, or a later addition of the service."""
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
    """Operations on the definitions of custom attributes."""

    _transport: Transport = field(alias="transport")

    async def list(self) -> _Definitions:
        """Return all definitions, of end users and of conversations (getCustom-attributes).

        Raise an error of `errors`, as each method of `EndUsers`. May be sent again.
        """
        return await self._transport.call(LIST)
