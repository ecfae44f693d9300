"""Async clients for the users of messaging platforms: fast, safe, certain, in bulk.

A call: `Users.create` in ``sunshine/users.py`` -> `Transport.call` in ``_calls/transport.py`` ->
`Endpoint.request` (encode) -> `OneCall` (retries, ``_calls/call.py``) -> `acquire_slot` (``_pace``)
-> `Wire.send` (``_http``) -> `Endpoint.result` (decode), or an exception of ``errors.py``.

- ``sunshine``, ``smooch``, ``dixa``: a client, models and operations for each service.
- ``bulk``: one coroutine over many items. ``rows``: files of users. ``journal``: record of a job.
  ``jobs``: rows through a service, resumable after a kill. ``cli``: the command line.
- ``webhooks``: deliveries verified, parsed, handled once.
- ``emulator``, ``testing``: the services in memory, and fixtures for tests.
- ``_calls``, ``_pace``, ``_http``, ``_codec``: one call, its start, its bytes, its JSON.
- ``auth.py``: credentials. ``errors.py``: exceptions. ``migration.py``: v1.1 models to v2.
- ``telemetry.py``: hooks that are told of every call, and OpenTelemetry.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from sunshine_async._calls.context import CallStats
from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._codec import from_dict, from_json, to_dict, to_json
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
    WebhookError,
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
    "CallStats",
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
    "WebhookError",
    "__version__",
    "from_dict",
    "from_json",
    "to_dict",
    "to_json",
]

_CLIENTS: Final = {
    "DixaClient": "sunshine_async.dixa.client",
    "SmoochClient": "sunshine_async.smooch.client",
    "SunshineClient": "sunshine_async.sunshine.client",
}
"""Modules of the clients, imported at first use: a program loads only the services in use."""


def __getattr__(name: str) -> Any:
    if name not in _CLIENTS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_CLIENTS[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
