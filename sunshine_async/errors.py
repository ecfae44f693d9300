"""Every error that a call can end in.

::

    SunshineError
    ├── ConfigurationError            also a ValueError
    ├── ApiError                      the service answered, and said no
    │   ├── BadRequestError           400
    │   ├── AuthenticationError       401
    │   ├── PaymentRequiredError      402
    │   ├── PermissionDeniedError     403
    │   ├── NotFoundError             404
    │   ├── ConflictError             409
    │   ├── PayloadTooLargeError      413
    │   ├── LockedError               423
    │   ├── RateLimitError            429
    │   └── ServerError               5xx
    ├── TransportError                no usable answer
    │   ├── ConnectError              nothing was sent
    │   ├── RequestTimeoutError       also a TimeoutError
    │   └── ConnectionLostError       sent, then the connection broke
    └── ResponseDecodeError           an answer that can't be read as what it should be

Every one pickles. None holds a secret, a header or a body; the only words in them that aren't ours
are the service's own code and title.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from attrs import frozen


class Fault(StrEnum):
    """Why an attempt brought no answer that settles the call."""

    UNSENT = "unsent"
    """No byte of the request left."""
    PERMANENT = "permanent"
    """No byte of the request left, and a retry meets the same: an untrusted certificate, or a
    proxy that refuses the credentials."""
    THROTTLED = "throttled"
    """429: refused before it was looked at."""
    OVERLAPPED = "overlapped"
    """Refused, since another change of the same thing was under way."""
    REDIRECTED = "redirected"
    """3xx: sent elsewhere, after the effect or before. Not followed."""
    UNAVAILABLE = "unavailable"
    """No certain answer: 5xx, 408, 499, and every status outside 200 to 499."""
    TIMED_OUT = "timed out"
    """Sent, and no answer came in time."""
    LOST = "lost"
    """Sent, and the connection broke before the whole answer had come."""


class SunshineError(Exception):
    """Base of all. *maybe_applied* says whether the service may have acted on the call."""

    maybe_applied: bool
    retry_budget_spent: bool = False
    """Whether it wasn't tried again because too many calls of its credentials fail; see `Pace`."""
    from_page: str | None = None
    """In the middle of a list: what to hand in as ``from_page=`` to go on; None: the beginning."""

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        notes = (_SPENT if self.retry_budget_spent else "", _DOUBT if self.maybe_applied else "")
        return ". ".join(filter(None, (super().__str__(), *notes)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[SunshineError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> SunshineError:
    """Make a pickled error again without its constructor, whose arguments are not kept."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def uncertain(error: Exception) -> SunshineError:
    """Return *error* as an error that says that the service may have acted.

    An exception that isn't of this library, such as one of the caller's token function, is the
    cause of the error that is returned.
    """
    if isinstance(error, SunshineError):
        error.maybe_applied = True
        return error
    message = f"{type(error).__name__}, after a request that may have been applied"
    made = SunshineError(message, maybe_applied=True)
    made.__cause__ = error
    return made


class ConfigurationError(SunshineError, ValueError):
    """Something that a client needs is missing, or can't work; the text says which."""


@frozen
class ErrorDetail:
    """One of the reasons that a service gave: its *code* and its *title*, where it had them."""

    code: str | None
    title: str | None


class ApiError(SunshineError):
    """The service answered, and said no."""

    advice: ClassVar[str] = ""

    def __init__(
        self,
        status: int,
        *,
        endpoint: str,
        errors: tuple[ErrorDetail, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 1,
        advice: str | None = None,
        maybe_applied: bool = False,
    ) -> None:
        self.status: Final = status
        self.errors: Final = errors
        self.endpoint: Final = endpoint
        """The method and the path's template: no id of anyone."""
        self.request_id: Final = request_id
        self.retry_after: Final = retry_after
        """Seconds, as the service asked."""
        self.attempts: Final = attempts
        super().__init__(self._sentence(advice or self.advice), maybe_applied=maybe_applied)

    @property
    def code(self) -> str | None:
        """The first code that the service gave."""
        return next((error.code for error in self.errors if error.code), None)

    @property
    def title(self) -> str | None:
        """The first title that the service gave."""
        return next((error.title for error in self.errors if error.title), None)

    def _sentence(self, advice: str) -> str:
        reasons = "; ".join(
            ": ".join(filter(None, (error.code, error.title))) for error in self.errors
        )
        text = f"{self.status} {reasons}".rstrip() + f" ({self.endpoint}{_tries(self.attempts)})"
        return ". ".join(filter(None, (text, advice)))


class BadRequestError(ApiError):
    """400: the body or the query isn't as the service wants it."""


class AuthenticationError(ApiError):
    """401: the service doesn't know the credentials."""

    advice = "Check the key id and the secret, or the token, and that they belong to this app"


class PaymentRequiredError(ApiError):
    """402: the account's plan doesn't have this, or its trial is over."""

    advice = "Check the account's plan"


class PermissionDeniedError(ApiError):
    """403: the credentials are known, and don't allow this."""

    advice = "Check the scope of the credentials"


class NotFoundError(ApiError):
    """404: there is no such thing."""


class ConflictError(ApiError):
    """409: it is there already, or is being changed by another call."""

    @property
    def resent(self) -> bool:
        """Whether an earlier sending of the same call may have made what is there."""
        return self.maybe_applied


class PayloadTooLargeError(ApiError):
    """413: the body is larger than the service takes."""


class LockedError(ApiError):
    """423: it can't be changed any more."""


class RateLimitError(ApiError):
    """429: too many calls, and no more attempts or time to try again."""

    advice = "Send fewer calls a second: pace=Pace(rate=...)"


class ServerError(ApiError):
    """5xx: something went wrong at the service."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: PayloadTooLargeError,
    423: LockedError,
    429: RateLimitError,
}

_SPENT: Final = "Not tried again: too many calls of these credentials fail at the moment"
_DOUBT: Final = "The service may have acted: look before you send it again"


def kind_of(status: int) -> type[ApiError]:
    """Return the class of error that *status* is raised as."""
    return _KINDS.get(status, ServerError if status >= 500 else ApiError)  # noqa: PLR2004 - 5xx


class TransportError(SunshineError):
    """No usable answer came.

    *fault* is what became of the last attempt (a value of `Fault`), *attempts* how many there were.
    """

    def __init__(
        self, reason: str, *, fault: str, endpoint: str, attempts: int = 1, maybe_applied: bool
    ) -> None:
        self.fault: Final = fault
        self.endpoint: Final = endpoint
        self.attempts: Final = attempts
        super().__init__(f"{reason} ({endpoint}{_tries(attempts)})", maybe_applied=maybe_applied)


class ConnectError(TransportError):
    """No connection could be made: the last attempt sent nothing."""


class RequestTimeoutError(TransportError, TimeoutError):
    """It was sent, and no answer came in time."""


class ConnectionLostError(TransportError):
    """It was sent, and the connection broke before the whole answer had come."""


class ResponseDecodeError(SunshineError):
    """The answer can't be read, or reading the answer failed in an unexpected way.

    *path* says where (``user.profile.email``; empty: the answer as a whole). *status* is None where
    no whole answer came.
    """

    body: bytes | None = None
    """The answer's body, as it came. No text, ``repr`` or pickle of the error has the body in it."""

    def __init__(
        self,
        reason: str,
        *,
        path: str,
        status: int | None,
        endpoint: str,
        maybe_applied: bool,
        body: bytes | None = None,
        id: str | None = None,
    ) -> None:
        self.path: Final = path
        self.status: Final = status
        self.endpoint: Final = endpoint
        self.id: Final = id
        """The service's own id in the answer, where one could be read."""
        self.body = body
        where = f" at {path}" if path else ""
        came = "" if status is None else f" ({status})"
        text = f"the answer{came} can't be read{where}: {reason} ({endpoint})"
        super().__init__(text, maybe_applied=maybe_applied)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "body"}
        return _restore, (type(self), self.args, state)


def _tries(attempts: int) -> str:
    return f", {attempts} attempts" if attempts > 1 else ""
