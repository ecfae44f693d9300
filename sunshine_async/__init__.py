"""Async clients for the people behind a messaging platform: fast, safe, in bulk, and sure."""

from sunshine_async._model import UNSET, Unset
from sunshine_async._pace import Pace
from sunshine_async._retry import Fault, Replay, Retry
from sunshine_async._version import __version__
from sunshine_async.auth import BasicAuth, BearerAuth, JwtAuth
from sunshine_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    ConnectionLostError,
    ErrorDetail,
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
from sunshine_async.smooch.client import SmoochClient
from sunshine_async.sunshine.client import SunshineClient

__all__ = [
    "UNSET",
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "BasicAuth",
    "BearerAuth",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "ErrorDetail",
    "Fault",
    "JwtAuth",
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
    "SunshineClient",
    "SunshineError",
    "TransportError",
    "Unset",
    "__version__",
]
