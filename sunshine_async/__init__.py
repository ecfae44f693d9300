"""Async clients for the people behind a messaging platform: fast, safe, in bulk, and sure."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._codec.model import UNSET, Unset
from sunshine_async._http import __version__
from sunshine_async._pace import Lane, Pace, Snapshot
from sunshine_async.auth import ApiToken, BasicAuth, BearerAuth, JwtAuth
from sunshine_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    ErrorDetail,
    Fault,
    LockedError,
    NotFoundError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ResponseDecodeError,
    ServerError,
    SunshineError,
    TransportError,
)

if TYPE_CHECKING:
    from sunshine_async.dixa.client import DixaClient
    from sunshine_async.smooch.client import SmoochClient
    from sunshine_async.sunshine.client import SunshineClient

__all__ = [
    "UNSET",
    "ApiError",
    "ApiToken",
    "AuthenticationError",
    "BadRequestError",
    "BasicAuth",
    "BearerAuth",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "DixaClient",
    "ErrorDetail",
    "Fault",
    "JwtAuth",
    "Lane",
    "LockedError",
    "NotFoundError",
    "Pace",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "Replay",
    "RequestTimeoutError",
    "ResponseDecodeError",
    "Retry",
    "ServerError",
    "SmoochClient",
    "Snapshot",
    "SunshineClient",
    "SunshineError",
    "TransportError",
    "Unset",
    "__version__",
]

_CLIENTS: Final = {
    "DixaClient": "sunshine_async.dixa.client",
    "SmoochClient": "sunshine_async.smooch.client",
    "SunshineClient": "sunshine_async.sunshine.client",
}
"""Loaded when first asked for: who calls one service doesn't load the others."""


def __getattr__(name: str) -> Any:
    if name not in _CLIENTS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_CLIENTS[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
