"""Base classes of the clients: options, connections, credentials, pace, and free requests."""

import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self

from attrs import asdict, evolve, field, frozen

from sunshine_async._calls.arguments import mapping_of
from sunshine_async._calls.context import CallStats
from sunshine_async._calls.endpoint import Endpoint, Json, query_text, segment, undeclared_endpoint
from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET
from sunshine_async._http.httpx_wire import is_mocked
from sunshine_async._http.open_wire import (
    HttpxTimeout,
    HttpxTransport,
    check_base_url,
    open_wire,
    to_timeout,
)
from sunshine_async._pace import Lane, Pace
from sunshine_async._pace.breaker import Sign
from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async._pace.slots import Slots
from sunshine_async._pace.waiting import join_pool, leave, pace_of, shared_from
from sunshine_async.auth import Auth, BasicAuth, BearerAuth, JwtAuth
from sunshine_async.errors import ConfigurationError

if TYPE_CHECKING:
    from sunshine_async._calls.forms import FileSource
    from sunshine_async._calls.free_body import NamedSource
    from sunshine_async._calls.hooks import Hooks
    from sunshine_async._http.messages import StreamedBody, Wire
    from sunshine_async._pace.shared import Allowance

_SUBDOMAIN: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_KINDS: Final[Kinds] = {
    "base_url": (str | None, "a URL such as https://api.smooch.io"),
    "subdomain": (str | None, "a text such as acme, for https://acme.zendesk.com/sc"),
    "timeout": (float | int | HttpxTimeout, "seconds, or an httpx.Timeout"),
    "retry": (Retry, "a Retry, such as Retry(max_attempts=3)"),
    "pace": (Pace | None, "a Pace, such as Pace(rate=10)"),
    "lane": (Lane | None, "a Lane, such as Lane.BATCH"),
    "max_connections": (int, "a number"),
    "proxy": (str | None, "a URL such as http://localhost:3128"),
    "ssl_context": (ssl.SSLContext | None, "an ssl.SSLContext"),
    "transport": (HttpxTransport | None, "an httpx.AsyncBaseTransport"),
    "allow_insecure": (bool, "True or False"),
    "hooks": (Sequence, "a list of hooks, such as [telemetry.OpenTelemetry()]"),
}


def _hooks(hooks: Sequence[object], base_url: str) -> "Hooks | None":
    """Return the table of *hooks*, or None without hooks: then nothing is imported."""
    if not hooks:
        return None
    from sunshine_async._calls.hooks import Hooks  # noqa: PLC0415

    return Hooks(hooks, base_url)


def _setting(value: str | None, argument: str, variable: str, more: Sequence[str] = ()) -> str:
    """Return *value*, or the environment's *variable*; an error names those of *more* too."""
    found = os.environ.get(variable) if value is None else value
    if not found:
        missing = [name for name in more if not os.environ.get(name)] or [variable]
        names = " and ".join(missing)
        message = f"{argument} is missing: hand it in, or set {names} in the environment"
        raise ConfigurationError(message)
    return found


@frozen(kw_only=True, eq=False, repr=False)
class ClientOptions:
    """Arguments of a client's constructor; `Client` checks the values."""

    app_id: str | None = None
    subdomain: str | None = None
    auth: Auth | None
    base_url: str | None
    timeout: float | HttpxTimeout
    retry: Retry
    pace: Pace | None
    max_connections: int
    proxy: str | None = field(repr=False)
    ssl_context: ssl.SSLContext | None
    transport: HttpxTransport | None
    allow_insecure: bool
    hooks: Sequence[object] = ()


class Client:
    """Client of one service: connections, credentials, pace.

    A client may be made outside a running loop, shared between tasks, and used from one event loop
    after another. Use ``async with``, or await `aclose`.
    """

    prefix: ClassVar[str]
    """The beginning of the names of the service's environment variables."""
    default_base_url: ClassVar[str]
    credentials: ClassVar[tuple[type[Auth], ...]]
    """Kinds of credentials that the service accepts."""
    environment_auth: ClassVar[tuple[Callable[..., Auth], tuple[str, ...]]]
    """The credentials for a client without *auth*, and the variables with the arguments."""
    probe: ClassVar[tuple[Endpoint[Any, Any], Mapping[str, str]]]
    """A read, with its path, of a user that doesn't exist: shows if an outage is over."""

    def __init__(self, options: ClientOptions) -> None:
        self._owns_connections = True
        try:
            path = self._path(options)
            auth = self._credentials(options)
            check_kinds(_KINDS, asdict(options, recurse=False), ConfigurationError)
            url, name = self._address(options)
            self.base_url: Final = check_base_url(
                url, name=name, allow_insecure=options.allow_insecure
            )
            transport = self._connect(options, auth, path)
        except ConfigurationError as error:
            raise error.with_traceback(None) from None  # a frame may hold a proxy's password
        self._bind(transport)

    def _credentials(self, options: ClientOptions) -> Auth:
        """Return *auth*, or the environment's; raise `ConfigurationError` if missing or unfit."""
        make, variables = self.environment_auth
        names = [f"{self.prefix}_{name}" for name in variables]
        auth = options.auth or make(*(_setting(None, "auth", name, names) for name in names))
        if isinstance(auth, self.credentials):
            return auth
        kinds = " or ".join(kind.__name__ for kind in self.credentials)
        message = f"auth must be {kinds}, not {type(auth).__name__}"
        raise ConfigurationError(message)

    def _address(self, options: ClientOptions) -> tuple[str, str]:
        """Return the server's root, and the name of the setting that gave the root."""
        variable = f"{self.prefix}_BASE_URL"
        if options.base_url:
            return options.base_url, "base_url"
        return os.environ.get(variable) or self.default_base_url, f"base_url ({variable})"

    def _path(self, options: ClientOptions) -> Mapping[str, str]:  # noqa: ARG002 - for `AppClient`
        """Return the values that every path of the service needs."""
        return {}

    def _connect(self, options: ClientOptions, auth: Auth, path: Mapping[str, str]) -> Transport:
        """Return the transport of calls; the first call opens the connections."""
        wire = open_wire(
            self.base_url,
            max_connections=options.max_connections,
            proxy=options.proxy,
            ssl_context=options.ssl_context,
            transport=options.transport,
        )
        pace = options.pace or pace_of(
            self,
            self.base_url,
            auth.identity(),
            lambda: self._default_pace(shared_from(os.environ.get("SUNSHINE_PACE"))),
            keep=not is_mocked(),
            in_loop=options.transport is not None,
        )
        if not (isinstance(auth, BearerAuth) and auth.is_fetched):
            join_pool(pace, self.base_url, auth.identity())
        read, nobody = self.probe
        return Transport(
            wire,
            auth,
            options.retry,
            pace,
            to_timeout(options.timeout),
            slots=Slots(options.max_connections),
            probe=read.request(None, {**path, **nobody}, {}),
            path=path,
            hooks=_hooks(options.hooks, self.base_url),
        )

    def _default_pace(self, shared: "Allowance | None") -> Pace:
        """Return the pace that the service is known to allow."""
        return Pace(shared=shared)

    def _bind(self, transport: Transport) -> None:
        """Send this client's calls through *transport*; a service's client adds the resources."""
        self._transport = transport

    @property
    def pace(self) -> Pace:
        """The pace that bounds the calls: the argument *pace*, or a shared pace.

        The environment's ``SUNSHINE_PACE``, ``file:PATH`` or a URL of Redis, shares a pace that the
        client makes with all processes of the same credentials.

        All clients with the same credentials and base URL share a pace. Clients with a *transport*
        share a pace only with such clients of the same event loop. Where httpx is mocked, the
        shared pace ends with the last client that is closed: no test meets an earlier test's limits.
        """
        return self._transport.pace

    @property
    def tally(self) -> CallStats:
        """Counts of requests so far, including requests of `with_options` views."""
        return self._transport.stats

    def with_options(
        self,
        *,
        timeout: float | HttpxTimeout | None = None,
        retry: Retry | None = None,
        pace: Pace | None = None,
        lane: Lane | None = None,
        hooks: Sequence[object] | None = None,
    ) -> Self:
        """Return a view of this client with changed options, and the same connections.

        An option left out stays as before. *lane* is `Lane.BATCH` within `bulk` and `jobs`, and
        `Lane.INTERACTIVE` elsewhere, unless given here. *hooks* replace the hooks of this client.
        Closing the view closes nothing.
        """
        given = {"timeout": timeout, "retry": retry, "pace": pace, "lane": lane, "hooks": hooks}
        chosen = {name: value for name, value in given.items() if value is not None}
        check_kinds(_KINDS, chosen, ConfigurationError)
        ours = self._transport
        return self._view(
            evolve(
                ours,
                timeout=ours.timeout if timeout is None else to_timeout(timeout),
                retry=retry or ours.retry,
                pace=pace or ours.pace,
                lane=lane or ours.lane,
                hooks=ours.hooks if hooks is None else _hooks(hooks, self.base_url),
            )
        )

    def with_wire(self, wrap: Callable[["Wire"], "Wire"]) -> Self:
        """Return a view of this client that sends each attempt through *wrap* of its wire, for `jobs`."""
        return self._view(evolve(self._transport, wire=wrap(self._transport.wire)))

    def for_probes(self) -> Self:
        """Return a view of this client whose answers end no outage of the pace, for `jobs`."""
        return self._view(evolve(self._transport, answered=Sign.READ))

    def _view(self, transport: Transport) -> Self:
        """Return a view of this client that calls through *transport*."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._owns_connections = False
        view._bind(transport)
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
        content: tuple[str, bytes] | None = None,
        files: "Mapping[str, FileSource | NamedSource] | None" = None,
        data: Mapping[str, str] | None = None,
        replay: Replay | None = None,
    ) -> Any:
        """Call any operation of the service; return the JSON of the answer, or None without JSON.

        - *template* is the path below the base URL: ``/v2/apps/{app_id}/conversations``. Logs,
          spans, metrics and errors show the template: ids belong in *path*.
        - *path* has the values of the template's fields, a segment each; *query* the values of
          the query: None leaves a value out.
        - The body is one of: *json*; *content*, a media type with bytes; *files* by name of field,
          as a form that *data*, texts by name of field, may complete. A file is bytes, a path, a
          file opened in binary mode, or an async iterable of bytes; or such a source in a tuple,
          after a file name and perhaps before a media type. A file is read while being sent, and
          has 50 MB at most.
        - *replay* is the effect of a second sending. By default GET, PUT and DELETE may be sent
          again, POST and PATCH only while the service can't have acted.

        `ValueError` before anything is sent, or an error of `errors`, as for every call.
        """
        free = None if json is UNSET else Json(json)
        given = None
        if not (content is None and files is None and data is None):
            from sunshine_async._calls.free_body import FreeBody  # noqa: PLC0415 - few calls need it

            given = FreeBody(free, content, files, data)
        del json, content, files, data  # error reporters attach local variables
        body: Json | StreamedBody | None = free if given is None else await given.make()
        endpoint = undeclared_endpoint(
            method, template, replay, Json if body is None else type(body)
        )
        called = self._transport.call(
            endpoint,
            body,
            path=mapping_of("path", path),
            query={name: query_text(value) for name, value in mapping_of("query", query).items()},
        )
        del path, query
        return await called

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a later call connects again."""
        if self._owns_connections:
            leave(self)
            await self._transport.wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={vars(self).get('base_url')!r})"

    def __reduce__(self) -> NoReturn:
        message = (
            f"{type(self).__name__} holds a secret and doesn't pickle: make it where it is used"
        )
        raise TypeError(message)


class AppClient(Client):
    """Client of one app of the platform that has both interfaces, v1.1 and v2.

    The environment has *app_id*, *auth* and *base_url* if left out. `ConfigurationError`, naming
    argument and variable, for a setting that is missing or can't work.
    """

    default_base_url: ClassVar = "https://api.smooch.io"
    credentials: ClassVar = (BasicAuth, JwtAuth, BearerAuth)
    environment_auth: ClassVar = (BasicAuth, ("KEY_ID", "KEY_SECRET"))

    def __init__(
        self,
        app_id: str | None = None,
        *,
        auth: BasicAuth | JwtAuth | BearerAuth | None = None,
        subdomain: str | None = None,
        base_url: str | None = None,
        timeout: float | HttpxTimeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        pace: Pace | None = None,
        max_connections: int = 100,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: HttpxTransport | None = None,
        allow_insecure: bool = False,
        hooks: Sequence[object] = (),
    ) -> None:
        options = ClientOptions(
            app_id=app_id,
            subdomain=subdomain,
            auth=auth,
            base_url=base_url,
            timeout=timeout,
            retry=retry,
            pace=pace,
            max_connections=max_connections,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
            allow_insecure=allow_insecure,
            hooks=hooks,
        )
        del proxy  # may hold a password: no frame of an error shows it
        super().__init__(options)

    def _address(self, options: ClientOptions) -> tuple[str, str]:
        """Return the address of the subdomain, or of the base URL; arguments go before variables."""
        name, subdomain = "subdomain", options.subdomain
        rival = "base_url" if options.base_url else ""
        if subdomain is None and not rival:
            name, rival = f"{self.prefix}_SUBDOMAIN", f"{self.prefix}_BASE_URL"
            subdomain = os.environ.get(name) or None
            rival = rival if os.environ.get(rival) else ""
        if subdomain is None:
            return super()._address(options)
        if rival:
            message = f"{name} and {rival} are both set: the client needs one address"
            raise ConfigurationError(message)
        if not re.fullmatch(_SUBDOMAIN, subdomain):
            message = f"{name} must be the first part of a host, such as acme of acme.zendesk.com"
            raise ConfigurationError(message)
        return f"https://{subdomain}.zendesk.com/sc", name

    def _path(self, options: ClientOptions) -> Mapping[str, str]:
        """Return the id of the app; raise `ConfigurationError` for a missing or invalid id."""
        app_id = _setting(options.app_id, "app_id", f"{self.prefix}_APP_ID")
        try:
            segment("app_id", app_id)
        except (TypeError, ValueError) as error:
            message = f"{error}: see {self.prefix}_APP_ID, or the first argument"
        else:
            return {"app_id": app_id}
        raise ConfigurationError(message)
