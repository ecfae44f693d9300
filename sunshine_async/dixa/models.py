"""Models of Dixa end users, under the service's names.

Bodies (``...Input``) leave out `UNSET` and send None as null. The service may take null for absent
or for a wish to clear: the documentation doesn't say. In answers, an absent field reads as None,
and so does a value of an unexpected type; *extra* keeps the raw value under the wire name. A number
for a text id reads as text. Each model keeps unknown keys in *extra*, and sends *extra* back out.
No value is rewritten here. A value of another type than declared is a `ValueError` when the body is
sent. Phone numbers are wanted in E.164 (``+4512345678``). A ``repr`` shows no personal data.
"""

from datetime import datetime
from typing import Any, TypeAlias

from attrs import field, frozen

from sunshine_async._codec.model import (
    AS_TAG,
    PLACEHOLDER,
    TAG_ALIAS,
    UNSET,
    Model,
    Unset,
    redact,
)


@frozen(kw_only=True, slots=False)
class _Input(Model):
    email: str | Unset | None = field(default=UNSET, repr=redact)
    """Unique in the organization."""
    phone_number: str | Unset | None = field(default=UNSET, repr=redact)
    """In E.164; unique in the organization."""
    additional_emails: list[str] | Unset | None = field(default=UNSET, repr=redact)
    additional_phone_numbers: list[str] | Unset | None = field(default=UNSET, repr=redact)
    first_name: str | Unset | None = field(default=UNSET, repr=redact)
    last_name: str | Unset | None = field(default=UNSET, repr=redact)
    middle_names: list[str] | Unset | None = field(default=UNSET, repr=redact)
    avatar_url: str | Unset | None = field(default=UNSET, repr=redact)
    """Address of a picture. The service copies the picture, and answers with a new address."""
    external_id: str | Unset | None = field(default=UNSET, repr=redact)
    """The caller's key. The service allows several end users with the same key."""


@frozen(kw_only=True, slots=False)
class CreateEndUserInput(_Input):
    """Body of `EndUsers.create`, and an item of `EndUsers.create_many`."""

    display_name: str | Unset | None = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class PatchEndUserInput(_Input):
    """Body of `EndUsers.patch`: fields left out stay (assumed)."""

    display_name: str | Unset | None = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class UpdateEndUserInput(_Input):
    """Body of `EndUsers.update`: the whole end user. Fields left out are assumed to be cleared."""

    display_name: str = field(repr=redact)


@frozen(kw_only=True, slots=False)
class BulkPatchEndUserInput(_Input):
    """Item of `EndUsers.patch_many`: the id of an end user, and the changes."""

    id: str
    display_name: str | Unset | None = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class BulkUpdateEndUserInput(_Input):
    """Item of `EndUsers.update_many`: the id of an end user, and the whole end user."""

    id: str
    display_name: str = field(repr=redact)


@frozen(kw_only=True, slots=False)
class CreateEndUsersInput(Model):
    """Body of a bulk create."""

    data: list[CreateEndUserInput]


@frozen(kw_only=True, slots=False)
class BulkPatchEndUsersInput(Model):
    """Body of a bulk patch."""

    data: list[BulkPatchEndUserInput]


@frozen(kw_only=True, slots=False)
class BulkUpdateEndUsersInput(Model):
    """Body of a bulk update."""

    data: list[BulkUpdateEndUserInput]


@frozen(kw_only=True, slots=False)
class CustomAttribute(Model):
    """Value of a custom attribute of an end user or a conversation."""

    id: str
    name: str | None = None
    identifier: str | None = None
    value: str | list[str] | None = field(default=None, repr=redact)
    """A text; for a Select, the path from an option down to the chosen nested option."""


@frozen(kw_only=True, slots=False)
class EndUser(Model):
    """End user, as stored by the service.

    Only *id* is always present. In lists *custom_attributes* is None, unlike in `EndUsers.get`.
    """

    id: str
    created_at: datetime | None = None
    display_name: str | None = field(default=None, repr=redact)
    email: str | None = field(default=None, repr=redact)
    phone_number: str | None = field(default=None, repr=redact)
    additional_emails: list[str] | None = field(default=None, repr=redact)
    additional_phone_numbers: list[str] | None = field(default=None, repr=redact)
    first_name: str | None = field(default=None, repr=redact)
    last_name: str | None = field(default=None, repr=redact)
    middle_names: list[str] | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    external_id: str | None = field(default=None, repr=redact)
    custom_attributes: list[CustomAttribute] | None = None


@frozen(kw_only=True, slots=False)
class AnonymizationRequest(Model):
    """Request to anonymize an end user, with the state. The service takes up to 24 hours."""

    id: str
    entity_type: Any = None
    """Deprecated by the service: a text in the examples, an object in the schema."""
    type: str | None = field(default=None, metadata=AS_TAG)
    """Kind of the anonymized entity, such as ``User``, ``Conversation``, ``Message``."""
    initiated_at: datetime | None = None
    processed_at: datetime | None = None
    """Time of the anonymization. None: not yet done."""
    target_entity_id: str | None = None
    requested_by: str | None = None


@frozen(kw_only=True, slots=False)
class PaginationLinks(Model):
    """Links to the adjacent pages: paths below the base URL."""

    previous: str | None = None
    next: str | None = None


@frozen(kw_only=True, slots=False)
class ListEndUsersOutput(Model):
    """Page of end users, as the service sends the page."""

    data: list[EndUser]
    meta: PaginationLinks | None = None


@frozen(kw_only=True, slots=False)
class _Reason(Model):
    message: str | None = field(default=None, repr=redact)
    """Text, possibly with codes: ``... failed with [errors=EmailExists]``."""


@frozen(kw_only=True, slots=False)
class _ItemReason(_Reason):
    id: str | None = None
    """Id of the end user; in a bulk create, an id that the caller doesn't know."""


@frozen(kw_only=True, slots=False)
class EmptyPatchSet(_ItemReason):
    """Error: the patch changes nothing."""

    type: str = field(default="EmptyPatchSet", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ErrorResponse(_Reason):
    """Error without a kind."""

    type: str = field(default="ErrorResponse", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class Infrastructure(_ItemReason):
    """Error within the service."""

    type: str = field(default="Infrastructure", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class Integrity(_ItemReason):
    """Error: the stored data doesn't allow the change."""

    type: str = field(default="Integrity", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class InvalidArgument(_Reason):
    """Error: an impossible value."""

    type: str = field(default="InvalidArgument", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class NotFound(_ItemReason):
    """Error: there is no such end user."""

    type: str = field(default="NotFound", metadata={**AS_TAG, TAG_ALIAS: "NotFound1"})


@frozen(kw_only=True, slots=False)
class Validation(_ItemReason):
    """Error: an unacceptable value, such as the e-mail address of another end user."""

    type: str = field(default="Validation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownBulkError(_ItemReason):
    """Error of an unknown kind; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TAG)


BulkError: TypeAlias = (
    EmptyPatchSet
    | ErrorResponse
    | Infrastructure
    | Integrity
    | InvalidArgument
    | NotFound
    | Validation
    | UnknownBulkError
)


@frozen(kw_only=True, slots=False)
class BulkActionSuccess(Model):
    """Success of a bulk item; *data* is the end user after the change."""

    data: EndUser
    type: str = field(default="BulkActionSuccess", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class BulkActionFailure(Model):
    """Failure of a bulk item."""

    error: BulkError
    type: str = field(default="BulkActionFailure", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownOutcome(Model):
    """Unreadable outcome, or outcome of an unknown kind; *extra* has all data.

    The position in the list stays, even if the service sent no object.
    """

    type: str | None = field(default=None, metadata={**AS_TAG, PLACEHOLDER: True})


Outcome: TypeAlias = BulkActionSuccess | BulkActionFailure | UnknownOutcome
"""Outcome of a bulk item. The order of outcomes in an answer is not documented."""
