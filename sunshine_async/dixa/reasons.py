"""Why an item of a batch isn't done, as an error: in the service's words, or in ours."""

from collections.abc import Mapping
from typing import Final

from sunshine_async import _codec
from sunshine_async._problem import details
from sunshine_async.dixa.models import (
    BulkActionFailure,
    Infrastructure,
    Integrity,
    NotFound,
    Outcome,
    UnknownBulkError,
)
from sunshine_async.errors import ApiError, ErrorDetail, ResponseDecodeError, SunshineError, kind_of

BAD_REQUEST: Final = 400
CONFLICT: Final = 409
_FAILED: Final = 500

STATUS_OF: Final[Mapping[type, int]] = {
    Infrastructure: _FAILED,
    Integrity: CONFLICT,
    NotFound: 404,
    UnknownBulkError: _FAILED,
}
"""The status that a single call would have had; any other kind of error is a 400."""

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
    """Return why an item with this *outcome*, no success, isn't done.

    Where the service itself failed, or said nothing that can be read, it may be done all the same.
    *status* is that of the answer as a whole. What is *hidden* isn't shown, should it repeat it.
    """
    if not isinstance(outcome, BulkActionFailure):
        reason = "nothing in it is surely about this item"
        return ResponseDecodeError(
            reason, path="data", status=status, endpoint=endpoint, maybe_applied=True
        )
    error = outcome.error
    said = {"code": error.type, "message": error.message or None}
    own = STATUS_OF.get(type(error), BAD_REQUEST)
    return kind_of(own)(
        own,
        endpoint=endpoint,
        errors=details(_codec.encode(said), hidden),
        maybe_applied=own == _FAILED,
    )


def of_look(status: int, detail: ErrorDetail, *, endpoint: str) -> ApiError:
    """Return the error of what a look at the service showed: `TAKEN`, or `AMBIGUOUS`."""
    return kind_of(status)(status, endpoint=endpoint, errors=(detail,))


def is_taken(error: object) -> bool:
    """Return whether the service refused an item because another end user has what it sets."""
    codes = {detail.code for detail in TAKEN.values()}
    return isinstance(error, ApiError) and any(detail.code in codes for detail in error.errors)
