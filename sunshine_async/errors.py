"""Errors of the library, in one tree. ``except SunshineError`` catches the error of any call.

::

    SunshineError
    ├── ConfigurationError            also a ValueError
    ├── ApiError                      the service refused the call
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
    │   ├── ConnectError              the last attempt sent nothing
    │   ├── RequestTimeoutError       also a TimeoutError
    │   └── ConnectionLostError       sent, then the connection broke
    ├── ResponseDecodeError           an unreadable answer
    └── WebhookError                  not a valid webhook delivery

The attribute ``maybe_applied`` of every error is True if the service may have acted on the call.
Look before you send such a call again.

Errors pickle with all attributes but ``body``. No message, ``repr`` or pickle has a secret, a
header or a body in it. The service's own code and title are the only foreign words in a message.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final

from attrs import frozen


class Fault(StrEnum):
    """Reason that an attempt brought no final answer."""

    UNSENT = "unsent"
    """No byte of the request was sent."""
    PERMANENT = "permanent"
    """No byte of the request was sent, and a retry would fail alike: an untrusted certificate, or a
    proxy that refuses the credentials."""
    THROTTLED = "throttled"
    """429: refused before the service looked at the request."""
    OVERLAPPED = "overlapped"
    """Refused, because another change of the same object was under way."""
    REDIRECTED = "redirected"
    """3xx: redirected, before or after the effect. Redirects are not followed."""
    UNAVAILABLE = "unavailable"
    """No certain answer: 5xx, 408, 499, and every status outside 200 to 499."""
    TIMED_OUT = "timed out"
    """The request was sent, and no answer came in time."""
    LOST = "lost"
    """The request was sent, and the connection broke before the whole answer came."""


class SunshineError(Exception):
    """Base class of all errors of the library."""

    maybe_applied: bool
    """True if the service may have acted on the call."""
    retry_budget_spent: bool = False
    """True if a retry was left out: too many calls of the same credentials fail (see `Pace`)."""
    from_page: str | None = None
    """Value of ``from_page=`` that continues an interrupted list; None: from the beginning."""

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied

    def __str__(self) -> str:
        notes = (_NO_RETRY if self.retry_budget_spent else "", _DOUBT if self.maybe_applied else "")
        return ". ".join(filter(None, (super().__str__(), *notes)))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(
    kind: type[SunshineError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> SunshineError:
    """Restore a pickled error without the constructor, because the arguments are not kept."""
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
    """A setting is missing or invalid; the message names the setting."""


@frozen
class ErrorDetail:
    """A reason given by a service: *code* and *title*, each None if absent."""

    code: str | None
    title: str | None


class ApiError(SunshineError):
    """The service refused the call. A subclass stands for each common status."""

    advice: ClassVar[str] = ""
    """The next step, as the last sentence of the message."""

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
        """The HTTP status."""
        self.errors: Final = errors
        """All reasons given by the service."""
        self.endpoint: Final = endpoint
        """Method and path template, without ids of customers."""
        self.request_id: Final = request_id
        """The service's id of the request, for the service's support; None: not given."""
        self.retry_after: Final = retry_after
        """Seconds to wait, as the service asked; None: not asked."""
        self.attempts: Final = attempts
        """Number of attempts; 0: nothing was sent."""
        super().__init__(self._sentence(advice or self.advice), maybe_applied=maybe_applied)

    @property
    def code(self) -> str | None:
        """The first code among the reasons; None: no reason has a code."""
        return next((error.code for error in self.errors if error.code), None)

    @property
    def title(self) -> str | None:
        """The first title among the reasons; None: no reason has a title."""
        return next((error.title for error in self.errors if error.title), None)

    def _sentence(self, advice: str) -> str:
        reasons = "; ".join(
            ": ".join(filter(None, (error.code, error.title))) for error in self.errors
        )
        text = f"{self.status} {reasons}".rstrip() + f" ({self.endpoint}{_tries(self.attempts)})"
        return ". ".join(filter(None, (text, advice)))


class BadRequestError(ApiError):
    """400: the service rejects the body or the query."""


class AuthenticationError(ApiError):
    """401: the service rejects the credentials."""

    advice = "Check the key id and the secret, or the token, and that they belong to this app"


class PaymentRequiredError(ApiError):
    """402: the account's plan doesn't include the operation, or the trial is over."""

    advice = "Check the account's plan"


class PermissionDeniedError(ApiError):
    """403: the credentials are valid, and don't allow the operation."""

    advice = "Check the scope of the credentials"


class NotFoundError(ApiError):
    """404: the object doesn't exist."""


class ConflictError(ApiError):
    """409: the object exists already, or another call is changing the object."""

    @property
    def resent(self) -> bool:
        """True if an earlier attempt of the same call may have made the existing object."""
        return self.maybe_applied


class PayloadTooLargeError(ApiError):
    """413: the body is larger than the service accepts."""


class LockedError(ApiError):
    """423: the object is locked: a conversation has all the messages that it can hold."""

    advice = (
        "A conversation takes 30,000 messages: delete messages (messages.delete_all), "
        "or continue in another conversation"
    )


class RateLimitError(ApiError):
    """429: too many calls, and no attempts or no time left for a retry."""

    advice = "Send fewer calls a second: pace=Pace(rate=...)"


class ServerError(ApiError):
    """5xx: the service failed."""


_CLASS_OF: Final[Mapping[int, type[ApiError]]] = {
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

_NO_RETRY: Final = "Not tried again: too many calls of these credentials fail at the moment"
_DOUBT: Final = "The service may have acted: look before you send it again"


def error_class(status: int) -> type[ApiError]:
    """Return the class of error for *status*."""
    return _CLASS_OF.get(status, ServerError if status >= 500 else ApiError)  # noqa: PLR2004 - 5xx


class TransportError(SunshineError):
    """No usable answer came."""

    def __init__(
        self, reason: str, *, fault: str, endpoint: str, attempts: int = 1, maybe_applied: bool
    ) -> None:
        self.fault: Final = Fault(fault)
        """The fault of the last attempt."""
        self.endpoint: Final = endpoint
        """Method and path template, without ids of customers."""
        self.attempts: Final = attempts
        """Number of attempts; 0: nothing was sent."""
        super().__init__(f"{reason} ({endpoint}{_tries(attempts)})", maybe_applied=maybe_applied)


class ConnectError(TransportError):
    """No connection was made, so the last attempt sent nothing; the message has the reason."""


class RequestTimeoutError(TransportError, TimeoutError):
    """The request was sent, and no answer came in time."""


class ConnectionLostError(TransportError):
    """The request was sent, and the connection broke before the whole answer came."""


class ResponseDecodeError(SunshineError):
    """The answer can't be read, or reading the answer failed in an unexpected way."""

    body: bytes | None = None
    """The answer's body, as received. No message, ``repr`` or pickle of the error has the body."""

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
        """Path of the unreadable field (``user.profile.email``); empty: the answer as a whole."""
        self.status: Final = status
        """The HTTP status; None: no complete answer came."""
        self.endpoint: Final = endpoint
        """Method and path template, without ids of customers."""
        self.id: Final = id
        """The service's id in the answer; None: no readable id."""
        self.body = body
        where = f" at {path}" if path else ""
        came = "" if status is None else f" ({status})"
        text = f"the answer{came} can't be read{where}: {reason} ({endpoint})"
        super().__init__(text, maybe_applied=maybe_applied)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "body"}
        return _restore, (type(self), self.args, state)


class WebhookError(SunshineError):
    """A request is no valid webhook delivery; *status* is the HTTP status to answer with."""

    def __init__(self, reason: str, *, status: int) -> None:
        self.status: Final = status
        """401: wrong secret or signature. 400: the body is no delivery. 413: the body is too large."""
        super().__init__(reason)


def _tries(attempts: int) -> str:
    return f", {attempts} attempts" if attempts > 1 else ""
