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

``maybe_applied`` is True if the service may have acted: look before you send such a call again.

Errors travel: pickles, copies and ``type(error)(*error.args)`` have the same type, text and
attributes, except ``body``. The args are JSON values, so Celery and `multiprocessing` return every
error. A value of a newer version is kept or left out.

No message, ``repr``, args or pickle has a secret, a header or a body in it. The service's own code
and title are the only foreign words in a message.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Final, Self, TypeAlias, cast

from attrs import asdict, frozen

Saved: TypeAlias = Mapping[str, Any]
"""Attributes of an error as JSON values: the second of the `args`."""
_Converters: TypeAlias = Mapping[str, Callable[[Any], Any]]

_NOTHING: Final[Saved] = {}
_COMMON: Final = ("maybe_applied", "retry_budget_spent", "from_page", "advice", "__notes__")


class Fault(StrEnum):
    """Reason that an attempt brought no final answer.

    A text that this version doesn't know, from an error of a newer version, is a fault as well.
    """

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

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


@frozen
class ErrorDetail:
    """A reason given by a service: *code* and *title*, each None if absent."""

    code: str | None
    title: str | None


class SunshineError(Exception):
    """Base class of all errors of the library.

    The constructor of every error takes the `args` of an error of the same class.
    """

    maybe_applied: bool = False
    """True if the service may have acted on the call."""
    retry_budget_spent: bool = False
    """True if a retry was left out: too many calls of the same credentials fail (see `Pace`)."""
    from_page: str | None = None
    """Value of ``from_page=`` that continues an interrupted list; None: from the beginning."""
    advice: str = ""
    """The next step, in the message unless `maybe_applied` asks for another; empty: see the reason."""

    _advises_in_doubt: ClassVar[bool] = False
    """True if the next step stays right where `maybe_applied` is true."""
    _attributes: ClassVar[tuple[str, ...]] = _COMMON
    """Names of the attributes in `args`."""
    _first: str | int = ""  # the first argument of the constructor

    def __init_subclass__(cls, advice: str = "", **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.advice = advice or cls.advice

    def __init__(
        self, message: str, saved: Saved = _NOTHING, *, maybe_applied: bool = False
    ) -> None:
        super().__init__(message)
        self._first = message
        if maybe_applied:
            self.maybe_applied = True
        known = {name: saved[name] for name in self._attributes if name in saved}
        vars(self).update(_convert(known, _FROM_JSON))

    def _arguments(self) -> tuple[Any, ...]:
        """Arguments that rebuild the error, as JSON values: a message or status, and attributes."""
        saved = {name: value for name, value in self._state().items() if name in self._attributes}
        return (self._first, saved) if saved else (self._first,)

    args = cast("tuple[Any, ...]", property(_arguments))

    def _state(self) -> dict[str, Any]:
        """Return all attributes of the error, with JSON values for attributes of the library."""
        return _convert(vars(self), _TO_JSON)

    def _sentence(self) -> str:
        return str(self._first)

    def __str__(self) -> str:
        step = self.advice if self._advises_in_doubt or not self.maybe_applied else ""
        notes = (_NO_RETRY if self.retry_budget_spent else "", _DOUBT if self.maybe_applied else "")
        return ". ".join(filter(None, (self._sentence(), step, *notes)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._restore, (self._state(),)

    @classmethod
    def _restore(cls, state: Saved) -> Self:
        """Restore a pickled error without the constructor, which a caller's subclass may change."""
        error = cls.__new__(cls)
        vars(error).update(_convert(state, _FROM_JSON))
        return error


def _convert(values: Saved, converters: _Converters) -> dict[str, Any]:
    return {key: converters[key](one) if key in converters else one for key, one in values.items()}


_TO_JSON: Final[_Converters] = {
    "errors": lambda errors: [asdict(error) for error in errors],
    "fault": str,
    "__notes__": list,  # a copy: the error may get further notes
}
_FROM_JSON: Final[_Converters] = {
    "errors": lambda rows: tuple(ErrorDetail(row.get("code"), row.get("title")) for row in rows),
    "fault": Fault,
    "__notes__": list,
}
"""Conversions of attributes that aren't JSON values."""


class ConfigurationError(SunshineError, ValueError):
    """A setting is missing or invalid; the message names the setting."""


class ApiError(SunshineError, advice="Check the request, base_url and the network"):
    """The service refused the call. A subclass stands for each common status."""

    is_foreign: bool = False
    """True if the body isn't JSON: then a gateway may have answered, not the service."""

    _advises_in_doubt = True
    _attributes = (
        *_COMMON,
        *("errors", "endpoint", "request_id", "retry_after", "attempts", "is_foreign"),
    )

    def __init__(
        self,
        status: int,
        saved: Saved = _NOTHING,
        *,
        endpoint: str = "",
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
        if advice:
            self.advice = advice
        super().__init__("", saved, maybe_applied=maybe_applied)
        self._first = status

    @property
    def code(self) -> str | None:
        """The first code among the reasons; None: no reason has a code."""
        return next((error.code for error in self.errors if error.code), None)

    @property
    def title(self) -> str | None:
        """The first title among the reasons; None: no reason has a title."""
        return next((error.title for error in self.errors if error.title), None)

    def _sentence(self) -> str:
        reasons = "; ".join(": ".join(filter(None, (one.code, one.title))) for one in self.errors)
        reasons = reasons.removeprefix(f"{self.status} ")  # the pages of most gateways repeat it
        return f"{self.status} {reasons}".rstrip() + f" ({self.endpoint}{_tries(self.attempts)})"


class BadRequestError(ApiError, advice="Correct the values of the call"):
    """400: the service rejects the body or the query."""


class AuthenticationError(
    ApiError,
    advice="Check the key id and the secret, or the token, and that they belong to this app",
):
    """401: the service rejects the credentials."""


class PaymentRequiredError(ApiError, advice="Check the account's plan"):
    """402: the account's plan doesn't include the operation, or the trial is over."""


class PermissionDeniedError(ApiError, advice="Check the scope of the credentials"):
    """403: the credentials are valid, and don't allow the operation."""


class NotFoundError(ApiError, advice="Check the ids, base_url, and the account of the credentials"):
    """404: the object doesn't exist."""


class ConflictError(ApiError, advice="Look at the object as it is, then decide"):
    """409: the object exists already, or another call is changing the object."""

    @property
    def resent(self) -> bool:
        """True if an earlier attempt of the same call may have made the existing object."""
        return self.maybe_applied


class PayloadTooLargeError(ApiError, advice="Send less in one call"):
    """413: the body is larger than the service accepts."""


class LockedError(
    ApiError,
    advice="A conversation takes 30,000 messages: messages.delete_all, or another conversation",
):
    """423: the object is locked: a conversation has all the messages that it can hold."""


class RateLimitError(ApiError, advice="Send fewer calls a second: pace=Pace(rate=...)"):
    """429: too many calls, and no attempts or no time left for a retry."""


class ServerError(ApiError, advice="Wait until the service works again"):
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
    """No usable answer came; *endpoint* and *attempts* are as in `ApiError`."""

    _attributes = (*_COMMON, "fault", "endpoint", "attempts")

    def __init__(
        self,
        reason: str,
        saved: Saved = _NOTHING,
        *,
        fault: str = Fault.LOST,
        endpoint: str = "",
        attempts: int = 1,
        maybe_applied: bool = True,
    ) -> None:
        self.fault: Final = Fault(fault)
        """The fault of the last attempt."""
        self.endpoint: Final = endpoint
        self.attempts: Final = attempts
        self.maybe_applied = maybe_applied
        super().__init__(reason, saved)

    def _sentence(self) -> str:
        return f"{self._first} ({self.endpoint}{_tries(self.attempts)})"


class ConnectError(TransportError):
    """No connection was made, so the last attempt sent nothing; the message has the reason."""


class RequestTimeoutError(TransportError, TimeoutError, advice="Try again, or raise timeout="):
    """The request was sent, and no answer came in time."""


class ConnectionLostError(TransportError, advice="Try again"):
    """The request was sent, and the connection broke before the whole answer came."""


class ResponseDecodeError(SunshineError, advice="Look at error.body, if any, and check base_url"):
    """The answer can't be read, or reading failed unexpectedly; *endpoint* is as in `ApiError`."""

    body: bytes | None = None
    """The answer's body, as received. No message, ``repr``, args or pickle has the body."""

    _advises_in_doubt = True
    _attributes = (*_COMMON, "path", "status", "endpoint", "id")

    def __init__(
        self,
        reason: str,
        saved: Saved = _NOTHING,
        *,
        path: str = "",
        status: int | None = None,
        endpoint: str = "",
        maybe_applied: bool = True,
        body: bytes | None = None,
        id: str | None = None,
    ) -> None:
        self.path: Final = path
        """Path of the unreadable field (``user.profile.email``); empty: the answer as a whole."""
        self.status: Final = status
        """The HTTP status; None: no complete answer came."""
        self.endpoint: Final = endpoint
        self.id: Final = id
        """The service's id in the answer; None: no readable id."""
        self.body = body
        self.maybe_applied = maybe_applied
        super().__init__(reason, saved)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in super()._state().items() if name != "body"}

    def _sentence(self) -> str:
        where = f" at {self.path}" if self.path else ""
        came = "" if self.status is None else f" ({self.status})"
        return f"the answer{came} can't be read{where}: {self._first} ({self.endpoint})"


class WebhookError(SunshineError, advice="If the service sent it, compare the webhook's secret"):
    """A request is no valid webhook delivery; *status* is the HTTP status to answer with."""

    _attributes = (*_COMMON, "status")

    def __init__(self, reason: str, saved: Saved = _NOTHING, *, status: int = 400) -> None:
        self.status: Final = status
        """401: wrong secret or signature. 400: the body is no delivery. 413: the body is too large."""
        super().__init__(reason, saved)


def _tries(attempts: int) -> str:
    return f", {attempts} attempts" if attempts > 1 else ""
