"""Why an item of a batch isn't done, as an error: in the service's words, or in ours."""

from collections.abc import Mapping
from typing import Final

from sunshine_async import _codec
from sunshine_async._problem import details
from sunshine_async.dixa.models import (
    BulkActionFailure,
    EmptyPatchSet,
    ErrorResponse,
    Infrastructure,
    Integrity,
    InvalidArgument,
    NotFound,
    Outcome,
    UnknownBulkError,
    Validation,
)
from sunshine_async.errors import ApiError, ErrorDetail, ResponseDecodeError, SunshineError, kind_of

BAD_REQUEST: Final = 400
CONFLICT: Final = 409
_FAILED: Final = 500

STATUS_OF: Final[Mapping[type, int]] = {
    EmptyPatchSet: BAD_REQUEST,
    ErrorResponse: BAD_REQUEST,
    Infrastructure: _FAILED,
    Integrity: CONFLICT,
    InvalidArgument: BAD_REQUEST,
    NotFound: 404,
    UnknownBulkError: _FAILED,
    Validation: BAD_REQUEST,
}
"""The status of a single call with the same error (assumed). Any other error is unreadable."""
REFUSED: Final = (EmptyPatchSet, InvalidArgument, NotFound, Validation)
"""The errors of an item that was refused, and not applied. Any other item may have been applied."""

TAKEN: Final[Mapping[str, ErrorDetail]] = {
    "email": ErrorDetail("EmailExists", "another end user has the e-mail address"),
    "phone_number": ErrorDetail("PhoneNumberExists", "another end user has the phone number"),
}
"""By the field that is taken: the service's code, and what a look showed."""

AMBIGUOUS: Final = ErrorDetail(
    "AmbiguousMatch", "its external id, e-mail address and phone number lead to several end users"
)


def of_outcome(
    outcome: Outcome | None, *, endpoint: str, status: int, hidden: tuple[str, ...] = ()
) -> SunshineError:
    """Return the error of an item with this *outcome*, which is no success.

    Only the errors in `REFUSED` are certain; otherwise the item may have been applied. *status* is
    the status of the answer as a whole. Texts in *hidden* are not shown.
    """
    error = outcome.error if isinstance(outcome, BulkActionFailure) else None
    own = STATUS_OF.get(type(error))
    if error is None or own is None:
        reason = "nothing in it is surely about this item"
        return ResponseDecodeError(
            reason, path="data", status=status, endpoint=endpoint, maybe_applied=True
        )
    said = {"code": error.type, "message": error.message or None}
    return kind_of(own)(
        own,
        endpoint=endpoint,
        errors=details(_codec.encode(said), hidden),
        maybe_applied=not isinstance(error, REFUSED),
    )


def of_look(status: int, detail: ErrorDetail, *, endpoint: str) -> ApiError:
    """Return the error of what a look at the service showed: `TAKEN`, or `AMBIGUOUS`."""
    return kind_of(status)(status, endpoint=endpoint, errors=(detail,))


def is_taken(error: object) -> bool:
    """Return whether the service refused an item because another end user has what it sets."""
    codes = {detail.code for detail in TAKEN.values()}
    return isinstance(error, ApiError) and any(detail.code in codes for detail in error.errors)
