"""Dixa end users, under the names that the service gives them.

Bodies (``...Input``) leave out what is `UNSET` and send None as null, which the service may take
for absent or for a wish to clear: its documentation doesn't say. In answers an absent field reads
as None, and so does a value of an unexpected type: the raw value stays in *extra*, under the name
on the wire. A number for a text id reads as text. Each model keeps unknown keys in *extra*, and
sends *extra* back out. Nothing is checked or rewritten here; phone numbers are wanted in E.164
(``+4512345678``). A ``repr`` shows no personal data.
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
    concealed,
)


@frozen(kw_only=True, slots=False)
class _Input(Model):
    """What each body may say of an end user, beside the name that is shown."""

    email: str | Unset | None = field(default=UNSET, repr=concealed)
    """Nobody else in the organization has it."""
    phone_number: str | Unset | None = field(default=UNSET, repr=concealed)
    """In E.164; nobody else in the organization has it."""
    additional_emails: list[str] | Unset | None = field(default=UNSET, repr=concealed)
    additional_phone_numbers: list[str] | Unset | None = field(default=UNSET, repr=concealed)
    first_name: str | Unset | None = field(default=UNSET, repr=concealed)
    last_name: str | Unset | None = field(default=UNSET, repr=concealed)
    middle_names: list[str] | Unset | None = field(default=UNSET, repr=concealed)
    avatar_url: str | Unset | None = field(default=UNSET, repr=concealed)
    """The address of a picture. The service copies it, and answers with the address of its own."""
    external_id: str | Unset | None = field(default=UNSET, repr=concealed)
    """The caller's own key. The service lets several end users have the same."""


@frozen(kw_only=True, slots=False)
class CreateEndUserInput(_Input):
    """The body of `EndUsers.create`, and an item of `EndUsers.create_many`."""

    display_name: str | Unset | None = field(default=UNSET, repr=concealed)


@frozen(kw_only=True, slots=False)
class PatchEndUserInput(_Input):
    """The body of `EndUsers.patch`: what is left out stays as it is."""

    display_name: str | Unset | None = field(default=UNSET, repr=concealed)


@frozen(kw_only=True, slots=False)
class UpdateEndUserInput(_Input):
    """The body of `EndUsers.update`: the whole end user (what is left out is assumed to go)."""

    display_name: str = field(repr=concealed)


@frozen(kw_only=True, slots=False)
class BulkPatchEndUserInput(_Input):
    """An item of `EndUsers.patch_many`: whom to change, and what."""

    id: str
    display_name: str | Unset | None = field(default=UNSET, repr=concealed)


@frozen(kw_only=True, slots=False)
class BulkUpdateEndUserInput(_Input):
    """An item of `EndUsers.update_many`: whom to change, and the whole end user."""

    id: str
    display_name: str = field(repr=concealed)


@frozen(kw_only=True, slots=False)
class CreateEndUsersInput(Model):
    """The body of one bulk create."""

    data: list[CreateEndUserInput]


@frozen(kw_only=True, slots=False)
class BulkPatchEndUsersInput(Model):
    """The body of one bulk patch."""

    data: list[BulkPatchEndUserInput]


@frozen(kw_only=True, slots=False)
class BulkUpdateEndUsersInput(Model):
    """The body of one bulk update."""

    data: list[BulkUpdateEndUserInput]


@frozen(kw_only=True, slots=False)
class CustomAttribute(Model):
    """The value that an end user or a conversation has for a custom attribute."""

    id: str
    name: str | None = None
    identifier: str | None = None
    value: str | list[str] | None = field(default=None, repr=concealed)
    """A text, or of a Select the path from its option down to the nested one that is chosen."""


@frozen(kw_only=True, slots=False)
class EndUser(Model):
    """An end user of an organization, as the service has it.

    Only *id* is sure to be there. In a list *custom_attributes* are None: `EndUsers.get` has them.
    """

    id: str
    created_at: datetime | None = None
    display_name: str | None = field(default=None, repr=concealed)
    email: str | None = field(default=None, repr=concealed)
    phone_number: str | None = field(default=None, repr=concealed)
    additional_emails: list[str] | None = field(default=None, repr=concealed)
    additional_phone_numbers: list[str] | None = field(default=None, repr=concealed)
    first_name: str | None = field(default=None, repr=concealed)
    last_name: str | None = field(default=None, repr=concealed)
    middle_names: list[str] | None = field(default=None, repr=concealed)
    avatar_url: str | None = field(default=None, repr=concealed)
    external_id: str | None = field(default=None, repr=concealed)
    custom_attributes: list[CustomAttribute] | None = None


@frozen(kw_only=True, slots=False)
class AnonymizationRequest(Model):
    """What was asked to be anonymized, and since when it is: it takes up to 24 hours."""

    id: str
    entity_type: Any = None
    """Deprecated by the service: a text in its examples, an object in its schema."""
    type: str | None = field(default=None, metadata=AS_TAG)
    """What is anonymized, such as ``User``, ``Conversation``, ``Message``."""
    initiated_at: datetime | None = None
    processed_at: datetime | None = None
    """When it was done; None: not yet."""
    target_entity_id: str | None = None
    requested_by: str | None = None


@frozen(kw_only=True, slots=False)
class PaginationLinks(Model):
    """Where the pages beside this one are: paths below the base URL."""

    previous: str | None = None
    next: str | None = None


@frozen(kw_only=True, slots=False)
class ListEndUsersOutput(Model):
    """A page of end users, as it comes."""

    data: list[EndUser]
    meta: PaginationLinks | None = None


@frozen(kw_only=True, slots=False)
class _Reason(Model):
    message: str | None = field(default=None, repr=concealed)
    """It may have codes in it: ``... failed with [errors=EmailExists]``."""


@frozen(kw_only=True, slots=False)
class _ReasonOfOne(_Reason):
    id: str | None = None
    """Whose it is; in a bulk create one that the caller doesn't know."""


@frozen(kw_only=True, slots=False)
class EmptyPatchSet(_ReasonOfOne):
    """A patch that changes nothing."""

    type: str = field(default="EmptyPatchSet", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class ErrorResponse(_Reason):
    """An error without a kind."""

    type: str = field(default="ErrorResponse", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class Infrastructure(_ReasonOfOne):
    """Something went wrong at the service."""

    type: str = field(default="Infrastructure", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class Integrity(_ReasonOfOne):
    """What is stored doesn't allow it."""

    type: str = field(default="Integrity", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class InvalidArgument(_Reason):
    """A value that can't be."""

    type: str = field(default="InvalidArgument", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class NotFound(_ReasonOfOne):
    """There is no such end user."""

    type: str = field(default="NotFound", metadata={**AS_TAG, TAG_ALIAS: "NotFound1"})


@frozen(kw_only=True, slots=False)
class Validation(_ReasonOfOne):
    """What the service doesn't take, such as an e-mail address that another end user has."""

    type: str = field(default="Validation", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownBulkError(_ReasonOfOne):
    """An error of a kind that came after this was written; all that it has is in *extra*."""

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
"""Why an item of a bulk request wasn't done."""


@frozen(kw_only=True, slots=False)
class BulkActionSuccess(Model):
    """An item of a bulk request was done; *data* is the end user as it is now."""

    data: EndUser
    type: str = field(default="BulkActionSuccess", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class BulkActionFailure(Model):
    """An item of a bulk request wasn't done."""

    error: BulkError
    type: str = field(default="BulkActionFailure", metadata=AS_TAG)


@frozen(kw_only=True, slots=False)
class UnknownOutcome(Model):
    """An outcome that can't be read, or of a kind unknown here; *extra* has all that came.

    The outcome stands in the place of its item, also where the service has sent no object.
    """

    type: str | None = field(default=None, metadata={**AS_TAG, PLACEHOLDER: True})


Outcome: TypeAlias = BulkActionSuccess | BulkActionFailure | UnknownOutcome
"""What became of an item of a bulk request. That they come in its order isn't documented."""
