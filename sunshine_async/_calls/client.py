"""What the clients of the services have in common: their settings, and what they do."""

import os
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Final, NoReturn, Self

from attrs import evolve

from sunshine_async._calls.caller import CallStats
from sunshine_async._calls.endpoint import Endpoint, Json, open_endpoint, segment
from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET
from sunshine_async._http.httpx_wire import is_mocked
from sunshine_async._http.open_wire import (
    HttpxTimeout,
    HttpxTransport,
    base_url_of,
    open_wire,
    timeout_of,
)
from sunshine_async._pace import Lane, Pace
from sunshine_async._pace.shared import leave, pace_of
from sunshine_async._pace.slots import Slots
from sunshine_async.auth import ApiToken, Auth, BasicAuth, BearerAuth, JwtAuth
from sunshine_async.errors import ConfigurationError

_KINDS: Final[Mapping[str, tuple[Any, str]]] = {
    "base_url": (str | None, "a URL such as https://api.smooch.io"),
    "timeout": (float | int | HttpxTimeout, "seconds, or an httpx.Timeout"),
    "retry": (Retry, "a Retry, such as Retry(max_attempts=3)"),
    "pace": (Pace | None, "a Pace, such as Pace(rate=10)"),
    "lane": (Lane | None, "a Lane, such as Lane.BATCH"),
    "max_connections": (int, "a number"),
    "proxy": (str | None, "a URL such as http://localhost:3128"),
    "ssl_context": (ssl.SSLContext | None, "an ssl.SSLContext"),
    "transport": (HttpxTransport | None, "an httpx.AsyncBaseTransport"),
}
"""What an argument is, and how to say so to those who have no type checker."""


def _check(**arguments: object) -> None:
    """Raise `ConfigurationError` for an argument that isn't of its kind, without showing it."""
    for name, value in arguments.items():
        kind, words = _KINDS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            message = f"{name} must be {words}, not {type(value).__name__}"
            raise ConfigurationError(message)


def app_id_of(app_id: str | None, prefix: str) -> str:
    """Return *app_id*, or what the environment says; raise `ConfigurationError` if it can't be."""
    found = _setting(app_id, "app_id", f"{prefix}_APP_ID")
    try:
        segment("app_id", found)
    except (TypeError, ValueError) as error:
        message = f"{error}: see {prefix}_APP_ID, or the first argument"
    else:
        return found
    raise ConfigurationError(message)


def key_from_environment(prefix: str) -> BasicAuth:
    """Return the API key that the environment has; raise `ConfigurationError` if it has none."""
    key_id = _setting(None, "auth", f"{prefix}_KEY_ID")
    return BasicAuth(key_id, _setting(None, "auth", f"{prefix}_KEY_SECRET"))


def token_from_environment(prefix: str) -> ApiToken:
    """Return the token that the environment has; raise `ConfigurationError` if it has none."""
    return ApiToken(_setting(None, "auth", f"{prefix}_API_TOKEN"))


def _setting(value: str | None, argument: str, variable: str) -> str:
    found = os.environ.get(variable) if value is None else value
    if not found:
        message = f"{argument} is missing: hand it in, or set the environment variable {variable}"
        raise ConfigurationError(message)
    return found


class Client:
    """A caller of one service: its connections, its credentials, its pace.

    May be made outside a running loop, shared between tasks, and used from one event loop after
    another. ``async with`` it, or await `aclose`.
    """

    prefix: ClassVar[str]
    """What the service's environment variables begin with."""
    default_base_url: ClassVar[str]
    credentials: ClassVar[tuple[type[Auth], ...]]
    """The kinds that the service takes."""
    probe: ClassVar[tuple[Endpoint[Any, Any], Mapping[str, str]]]
    """A read of nobody, with its path: asks a service that was gone, and changes nothing."""

    def __init__(
        self,
        *,
        path: Mapping[str, str],
        auth: Auth,
        base_url: str | None,
        allow_insecure: bool,
        timeout: float | HttpxTimeout,
        retry: Retry,
        pace: Pace | None,
        max_connections: int,
        proxy: str | None,
        ssl_context: ssl.SSLContext | None,
        transport: HttpxTransport | None,
    ) -> None:
        _check(
            base_url=base_url,
            timeout=timeout,
            retry=retry,
            pace=pace,
            max_connections=max_connections,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
        )
        if not isinstance(auth, self.credentials):
            kinds = " or ".join(kind.__name__ for kind in self.credentials)
            message = f"auth must be {kinds}, not {type(auth).__name__}"
            raise ConfigurationError(message)
        variable = f"{self.prefix}_BASE_URL"
        self.base_url: Final = base_url_of(
            base_url or os.environ.get(variable) or self.default_base_url,
            name="base_url" if base_url else f"base_url ({variable})",
            allow_insecure=allow_insecure,
        )
        self._owner = True
        wire = open_wire(
            self.base_url,
            max_connections=max_connections,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
        )
        if pace is None:
            pace = pace_of(
                self,
                self.base_url,
                auth.identity(),
                self._usual_pace,
                keep=not is_mocked(),
                in_loop=transport is not None,
            )
        slots = Slots(max_connections)
        read, nobody = self.probe
        probe = read.request(None, {**path, **nobody}, {})
        limits = timeout_of(timeout)
        self._bind(Transport(wire, auth, retry, pace, limits, slots=slots, probe=probe, path=path))

    def _usual_pace(self) -> Pace:
        """Return the pace that the service is known to allow."""
        return Pace()

    def _bind(self, transport: Transport) -> None:
        """Let the calls of this client go through *transport*; each service adds its resources."""
        self._transport = transport

    @property
    def pace(self) -> Pace:
        """What bounds the calls: that of all clients with the same credentials and base URL.

        Unless one was handed in. Clients with a transport of their own share it only with such
        clients of the same event loop, and where httpx is mocked it ends with the last of them
        that is closed: what a test's service says of its limits holds for no other test.
        """
        return self._transport.pace

    @property
    def tally(self) -> CallStats:
        """What the calls have cost so far, those of `with_options` views included."""
        return self._transport.tally

    def with_options(
        self,
        *,
        timeout: float | HttpxTimeout | None = None,
        retry: Retry | None = None,
        pace: Pace | None = None,
        lane: Lane | None = None,
    ) -> Self:
        """Return a view of this client with other options, and the same connections.

        What is left out stays as it is: *lane* is `Lane.BATCH` within `bulk` and `jobs`, and
        `Lane.INTERACTIVE` elsewhere, unless it is said here. Closing the view closes nothing.
        """
        given = {"timeout": timeout, "retry": retry, "pace": pace, "lane": lane}
        _check(**{name: value for name, value in given.items() if value is not None})
        ours = self._transport
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._owner = False
        view._bind(
            evolve(
                ours,
                timeout=ours.timeout if timeout is None else timeout_of(timeout),
                retry=retry or ours.retry,
                pace=pace or ours.pace,
                lane=lane or ours.lane,
            )
        )
        return view

    async def request(
        self,
        method: str,
        template: str,
        /,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | None] | None = None,
        json: Any = UNSET,
        replay: Replay | None = None,
    ) -> Any:
        """Call any other operation of the service; return the JSON that it answers, or None.

        *template* is the path below the base URL: ``/v2/apps/{app_id}/conversations``. *path*
        gives the values of its fields, each one segment, *query* those of the query; None leaves
        one out. *replay* says what a second sending could do; by default GET, PUT and DELETE may
        be sent again, POST and PATCH only while they can't have been applied.
        Raise as every call does: `ValueError` before anything is sent, or an error of `errors`.
        """
        endpoint = open_endpoint(method, template, replay)
        values = {**self._transport.path, **(path or {})}
        body = None if json is UNSET else Json(json)
        del json  # error reporters attach local variables
        return await self._transport.call(
            endpoint,
            body,
            path={name: values[name] for name in endpoint.fields if name in values},
            query={name: _text(value) for name, value in (query or {}).items()},
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a later call opens new ones."""
        if self._owner:
            leave(self)
            await self._transport.wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)


class AppClient(Client):
    """A caller of one app of the platform that has both interfaces, v1.1 and v2.

    *app_id*, *auth* and *base_url* come from the environment where they are left out. Raise
    `ConfigurationError`, naming argument and variable, for what is missing or can't work.
    """

    default_base_url: ClassVar = "https://api.smooch.io"
    credentials: ClassVar = (BasicAuth, JwtAuth, BearerAuth)

    def __init__(
        self,
        app_id: str | None = None,
        *,
        auth: BasicAuth | JwtAuth | BearerAuth | None = None,
        base_url: str | None = None,
        timeout: float | HttpxTimeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        pace: Pace | None = None,
        max_connections: int = 100,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: HttpxTransport | None = None,
        allow_insecure: bool = False,
    ) -> None:
        try:
            super().__init__(
                path={"app_id": app_id_of(app_id, self.prefix)},
                auth=auth or key_from_environment(self.prefix),
                base_url=base_url,
                allow_insecure=allow_insecure,
                timeout=timeout,
                retry=retry,
                pace=pace,
                max_connections=max_connections,
                proxy=proxy,
                ssl_context=ssl_context,
                transport=transport,
            )
        except ConfigurationError as error:
            del proxy  # which may have a password in it, here and in every frame below
            raise error.with_traceback(None) from None


def _text(value: str | int | None) -> str | None:
    """Return a query's value as text: JSON's words for true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)
