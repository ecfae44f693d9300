"""From a client's settings to a wire: base URL, proxy and timeout are checked here."""

import re
import ssl
import sys
from collections.abc import Callable
from functools import cached_property
from math import inf
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import httpx

from sunshine_async._http.certificates import check_named_certificates, shared_ssl_context
from sunshine_async._http.httpx_wire import HttpxWire, check_cassette, is_mocked
from sunshine_async._http.messages import (
    Headers,
    Request,
    Sending,
    SendProgress,
    Timeout,
    Wire,
)
from sunshine_async._http.proxy import Proxy, find_proxy, is_loopback
from sunshine_async.errors import ConfigurationError

HttpxTimeout: TypeAlias = httpx.Timeout
HttpxTransport: TypeAlias = httpx.AsyncBaseTransport

MAX_RESPONSE_BYTES: Final = 16 * 2**20
KEEPALIVE_EXPIRY: Final = 15.0
MAX_CONNECT_TIMEOUT: Final = 5.0

_BASE_URL: Final = (
    r"(?i)https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:[0-9]{0,5})?"
    r"(/(?!(\.|%2e){1,2}(/|$))([a-z0-9._~!$&'()*+,;=:@-]|%[0-9a-f]{2})+)*/*"
)
"""The base URLs that every URL parser reads alike."""


def check_base_url(url: str, *, name: str, allow_insecure: bool) -> str:
    """Return *url* without a final slash; raise `ConfigurationError` if *url* can't be a root.

    *name* is the caller's name for *url*. ``http`` needs a loopback host or *allow_insecure*.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        message = f"{name} has credentials in it: hand them in as auth="
        raise ConfigurationError(message)
    if not re.fullmatch(_BASE_URL, url) or (parts := _split(url)) is None:
        message = (
            f"{name} must be a URL with https://, such as https://api.smooch.io: the server's root,"
            " perhaps with a path, without a query, a fragment, an empty segment, . or .."
        )
        raise ConfigurationError(message)
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname or ""):
        message = (
            f"{name} is http: the credentials and the users' data would go in the clear."
            " Use https (a client of your own may say allow_insecure=True)"
        )
        raise ConfigurationError(message)
    return url.rstrip("/")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port  # the access raises for an invalid port
    except ValueError:
        return None
    return None if port == 0 else parts


def to_timeout(timeout: float | HttpxTimeout) -> Timeout:
    """Convert *timeout*: seconds for an attempt, or an ``httpx.Timeout``."""
    if isinstance(timeout, httpx.Timeout):
        phases = timeout.as_dict()
        wrong = [name for name, limit in phases.items() if limit is not None and not limit > 0]
        if wrong:
            message = f"timeout has {wrong[0]}={phases[wrong[0]]}: seconds, more than 0, or None"
            raise ConfigurationError(message)
        return Timeout(total=None, **phases)
    if not 0 < timeout < inf:
        message = f"timeout={timeout}: seconds, more than 0"
        raise ConfigurationError(message)
    connect = min(timeout, MAX_CONNECT_TIMEOUT)
    return Timeout(total=timeout, connect=connect, pool=timeout, write=timeout, read=timeout)


def open_wire(
    base_url: str,
    *,
    max_connections: int,
    proxy: str | None,
    ssl_context: ssl.SSLContext | None,
    transport: HttpxTransport | None,
) -> Wire:
    """Return the wire to *base_url*; nothing is connected before the first call.

    A *transport*, and a proxy that doesn't tunnel, make an `HttpxWire`; otherwise a `WireSelector`
    chooses per call.
    Raise `ConfigurationError` for settings that can't work.
    """
    if max_connections < 1:
        message = f"max_connections={max_connections}: 1 or more"
        raise ConfigurationError(message)
    if transport is not None:
        if proxy is not None or ssl_context is not None:
            message = (
                "transport= connects by itself: leave out proxy= and ssl_context=, or give them"
                " to the transport"
            )
            raise ConfigurationError(message)
        return HttpxWire(base_url, lambda: transport, max_response_bytes=MAX_RESPONSE_BYTES)
    if ssl_context is None:
        check_named_certificates()
    make_context = shared_ssl_context if ssl_context is None else lambda: ssl_context
    proxy_server = find_proxy(proxy, base_url)
    httpx_wire = HttpxWire(
        base_url,
        lambda: _httpx_transport(proxy_server, make_context()),
        max_response_bytes=MAX_RESPONSE_BYTES,
        proxy=proxy_server,
        keepalive_expiry=KEEPALIVE_EXPIRY,
    )
    if proxy_server is not None and not (
        proxy_server.tunnels and base_url.lower().startswith("https:")
    ):
        return httpx_wire
    return WireSelector(
        lambda: _socket_wire(base_url, make_context, max_connections, proxy_server), httpx_wire
    )


def _socket_wire(
    base_url: str,
    make_context: Callable[[], ssl.SSLContext],
    max_connections: int,
    proxy: Proxy | None,
) -> Wire:
    from sunshine_async._http.pool import SocketWire  # noqa: PLC0415 - asyncio is large

    return SocketWire(
        base_url,
        max_connections=max_connections,
        keepalive_expiry=KEEPALIVE_EXPIRY,
        max_response_bytes=MAX_RESPONSE_BYTES,
        make_context=make_context,
        proxy=proxy,
    )


def _httpx_transport(proxy: Proxy | None, context: ssl.SSLContext) -> HttpxTransport:
    """Return a transport with a single connection."""
    from sunshine_async._http.httpcore_backend import install_parser  # noqa: PLC0415 - large

    limits = httpx.Limits(
        max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_EXPIRY
    )
    to_proxy = None if proxy is None else proxy.for_httpx(context)
    transport = httpx.AsyncHTTPTransport(verify=context, proxy=to_proxy, limits=limits)
    return install_parser(transport, limit=MAX_RESPONSE_BYTES)


class WireSelector:
    """Wire that chooses per call: sockets, or httpx on trio and where tests mock httpx."""

    def __init__(self, make_socket_wire: Callable[[], Wire], httpx_wire: Wire) -> None:
        self._make_socket_wire: Final = make_socket_wire
        self._httpx_wire: Final = httpx_wire

    def send(
        self, request: Request, headers: Headers, timeout: Timeout, progress: SendProgress
    ) -> Sending:
        if is_mocked():
            check_cassette()
            wire = self._httpx_wire
        else:
            wire = self.socket_wire if in_asyncio_task() else self._httpx_wire
        return wire.send(request, headers, timeout, progress)

    async def aclose(self) -> None:
        if "socket_wire" in vars(self) and in_asyncio_task():
            await self.socket_wire.aclose()
        await self._httpx_wire.aclose()

    @cached_property
    def socket_wire(self) -> Wire:
        """The wire on asyncio sockets, made on first use."""
        return self._make_socket_wire()


def in_asyncio_task() -> bool:
    """Return True inside an asyncio task, and False under trio, even as a guest of asyncio."""
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:
        return False
