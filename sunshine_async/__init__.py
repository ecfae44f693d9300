"""Async clients for the users of messaging platforms: fast, safe, certain, in bulk.

A user is created, and read by the external id. The settings of ``SunshineClient()`` come from the
environment (``SUNSHINE_APP_ID``, ``SUNSHINE_KEY_ID``, ``SUNSHINE_KEY_SECRET``,
``SUNSHINE_SUBDOMAIN``), or from arguments::

    import asyncio

    from sunshine_async import NotFoundError, SunshineClient
    from sunshine_async.sunshine import Profile, UserCreateBody


    async def main() -> None:
        june = UserCreateBody(external_id="june-2", profile=Profile(given_name="June"))
        async with SunshineClient() as client:
            await client.users.create(june)
            user = await client.users.get("june-2")
            print(user.id, user.profile.given_name if user.profile else None)
            try:
                await client.users.get("nobody")
            except NotFoundError as error:
                print(error)


    asyncio.run(main())

- ``sunshine``, ``smooch``, ``dixa``: a client, models and operations for each service.
- ``bulk``: one coroutine over many items. ``rows``: files of users. ``journal``: record of a job.
  ``jobs``: rows through a service, resumable after a kill. ``cli``: the command line.
- ``webhooks``: deliveries verified, parsed, handled once.
- ``emulator``, ``testing``: the services in memory, and fixtures for tests.
- ``_calls``, ``_pace``, ``_http``, ``_codec``: one call, its start, its bytes, its JSON.
- ``auth.py``: credentials. ``errors.py``: exceptions. ``migration.py``: v1.1 models to v2.
- ``telemetry.py``: hooks that are told of every call, and OpenTelemetry.

The way of a call: `Users.create` in ``sunshine/users.py`` -> `Transport.call` in
``_calls/transport.py`` -> `Endpoint.request` (encode) -> `OneCall` (retries, ``_calls/call.py``) ->
`acquire_slot` (``_pace``) -> `Wire.send` (``_http``) -> `Endpoint.result` (decode), or an exception
of ``errors.py``.

FastAPI
-------

Models are types of requests and responses: wire names, a schema in ``/docs``, and a 422 that names
the field. An endpoint that returns a model declares the return type: without one, FastAPI writes the
names of Python. A visitor waits at most *deadline* seconds, pauses and retries included::

    from collections.abc import AsyncIterator
    from contextlib import asynccontextmanager

    from fastapi import FastAPI, HTTPException, Request
    from fastapi.responses import JSONResponse

    from sunshine_async import (
        BadRequestError,
        NotFoundError,
        Retry,
        SunshineClient,
        SunshineError,
    )
    from sunshine_async.sunshine import User, UserCreateBody

    client = SunshineClient(retry=Retry(deadline=10.0))


    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield


    app = FastAPI(lifespan=lifespan)


    @app.exception_handler(SunshineError)
    async def unavailable(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "Please try again later"}, 503)


    @app.post("/users", status_code=201)
    async def create(body: UserCreateBody) -> User:
        try:
            return await client.users.upsert(body)
        except (ValueError, BadRequestError) as error:  # such as a body without externalId
            raise HTTPException(422, str(error)) from error


    @app.get("/users/{id}")
    async def get(id: str) -> User:
        try:
            return await client.users.get(id)
        except NotFoundError as error:
            raise HTTPException(404, error.title) from error
        except ValueError as error:  # no id, such as ".."
            raise HTTPException(422, str(error)) from error

Django
------

An async view; ``to_dict`` returns wire names. Under ASGI all requests share the connections. Under
WSGI each request has an event loop, and so connections, of its own::

    from django.http import HttpRequest, JsonResponse

    from sunshine_async import NotFoundError, SunshineClient, to_dict

    client = SunshineClient()


    async def user(request: HttpRequest, id: str) -> JsonResponse:
        try:
            return JsonResponse(to_dict(await client.users.get(id)))
        except NotFoundError as error:
            return JsonResponse({"error": error.title}, status=404)
        except ValueError as error:  # no id, such as ".."
            return JsonResponse({"error": str(error)}, status=422)

Celery
------

A client works in one event loop after another, so a task may call ``asyncio.run``; ``async with``
closes the connections of the loop. Errors travel through the serializers json and pickle. An upsert
may be repeated; check ``error.maybe_applied`` before a create without an ``external_id`` is
repeated::

    import asyncio

    from celery import Celery

    from sunshine_async import SunshineClient, TransportError
    from sunshine_async.sunshine import Profile, UserCreateBody

    app = Celery("work")
    client = SunshineClient()


    @app.task(autoretry_for=(TransportError,), retry_backoff=True, max_retries=5)
    def welcome(id: str, name: str) -> str:
        async def upsert() -> str:
            async with client:
                return (await client.users.upsert(body)).id

        body = UserCreateBody(external_id=id, profile=Profile(given_name=name))
        return asyncio.run(upsert())

Logs, proxies, certificates, forks
----------------------------------

Logger ``sunshine_async``: attempts at DEBUG, pauses and learnt limits at INFO, outages at WARNING.
No record has a secret or personal data, unless the error of a webhook handler of yours has some in
the text::

    import logging

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("sunshine_async").setLevel(logging.INFO)

- A proxy comes from ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, or from ``proxy=``. ``NO_PROXY``
  has names, addresses and networks: ``example.com,10.0.0.0/8``. An error of the proxy names the
  proxy, without the password.
- Certificates are checked against the trust store of the system, where a company installs the
  company's own CA. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the store, and ``ssl_context=``
  replaces all of that. A missing file is a `ConfigurationError` with the name.
- A client that was made before a fork (Celery, gunicorn with ``--preload``) works in the children:
  each child opens connections of its own. Each process learns the limit of the service alone, unless
  the processes share a pace.

An own CA and a proxy, in code::

    import ssl

    from sunshine_async import SunshineClient

    client = SunshineClient(
        proxy="http://proxy.example.com:3128",
        ssl_context=ssl.create_default_context(cafile="company-ca.pem"),
    )

Many processes
--------------

A service counts calls by credential, whatever the number of processes. With a shared pace all
processes have one rate, and interactive calls of any process go before batches of all processes.
``FileAllowance`` is for the processes of a host, ``RedisAllowance`` (extra ``redis``) for many hosts.
Without ``rate`` the processes learn the limit together::

    from sunshine_async import FileAllowance, Pace, SunshineClient

    client = SunshineClient(pace=Pace(rate=10, shared=FileAllowance("/dev/shm/sunshine.pace")))

``SUNSHINE_PACE=file:/dev/shm/sunshine.pace``, or ``redis://...``, does the same for clients without
a ``pace``, and for the command line (``--pace``). While the store can't be reached, each process
goes on with an equal part of the rate. All clients with a function for ``BearerAuth`` share one
rate: use a file, or a ``namespace``, for each such credential.
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
    from sunshine_async._pace.file_allowance import FileAllowance
    from sunshine_async._pace.redis_allowance import RedisAllowance
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
    "FileAllowance",
    "JwtAuth",
    "Lane",
    "LockedError",
    "NotFoundError",
    "Pace",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RedisAllowance",
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

_LAZY: Final = {
    "DixaClient": "sunshine_async.dixa.client",
    "FileAllowance": "sunshine_async._pace.file_allowance",
    "RedisAllowance": "sunshine_async._pace.redis_allowance",
    "SmoochClient": "sunshine_async.smooch.client",
    "SunshineClient": "sunshine_async.sunshine.client",
}
"""Modules that are imported at first use: a program loads only the services in use."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
