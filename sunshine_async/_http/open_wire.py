"""From a client's settings to a wire: to which address, by which way, for how long.

The proxy of a client: from the argument or the environment, checked, named without secrets.
"""

import ipaddress
import re
import ssl
import sys
from collections.abc import Callable, Coroutine, Mapping
from importlib.util import find_spec
from math import inf
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from attrs import field, frozen

from sunshine_async._http.httpx_wire import HttpxWire, is_mocked
from sunshine_async._http.messages import Failure, Request, Response, SendProgress, Timeout, Wire
from sunshine_async._http.tls import check_named_certificates, shared_ssl_context
from sunshine_async.errors import ConfigurationError

_PROXY: Final = re.compile(
    r"(?P<scheme>https?|socks5h?)://(?P<user>[!-~]+@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:(?P<port>[0-9]{0,5}))?/?",
    re.IGNORECASE,
)
_SPECIAL: Final = re.compile(r"[/?#\\]")
_LAST_PORT: Final = 65535


@frozen
class Proxy:
    """A proxy: *name* is its URL without user name and password."""

    name: str
    url: str = field(repr=False)

    def for_httpx(self, ssl_context: ssl.SSLContext) -> httpx.Proxy:
        """Return the proxy as httpx has it; *ssl_context* is for TLS with the proxy itself."""
        secure = self.name.startswith("https:")
        return httpx.Proxy(self.url, ssl_context=ssl_context if secure else None)


def proxy_of(given: str | None, base_url: str) -> Proxy | None:
    """Return the proxy for *base_url*: the one that is *given*, or the environment's.

    Raise `ConfigurationError` for a proxy that can't be used, without showing its URL.
    """
    url = given or proxy_from_environment(base_url)
    if url is None:
        return None
    source = "proxy" if given else "the proxy that the environment names"
    found = _PROXY.fullmatch(url)
    if (
        found is None
        or _SPECIAL.search(found["user"] or "")
        or not 0 < int(found["port"] or 1) <= _LAST_PORT
    ):
        message = (
            f"{source} must be a URL such as http://localhost:3128 or"
            " http://user:password@localhost:3128, with special characters of the user name and"
            " the password percent-encoded (%23 for #)"
        )
        raise ConfigurationError(message)
    scheme = found["scheme"].lower()
    if scheme.startswith("socks") and find_spec("socksio") is None:
        message = f"{source} is a SOCKS proxy, which needs socksio: pip install 'httpx[socks]'"
        raise ConfigurationError(message)
    port = f":{found['port']}" if found["port"] else ""
    return Proxy(f"{scheme}://{found['host']}{port}", url)


def proxy_from_environment(base_url: str) -> str | None:
    """Return the proxy that the environment names for *base_url*, such as ``HTTPS_PROXY`` does."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(host) or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine, without asking a name server."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


HttpxTimeout: TypeAlias = httpx.Timeout
HttpxTransport: TypeAlias = httpx.AsyncBaseTransport

MAX_RESPONSE_BYTES: Final = 16 * 2**20
KEEPALIVE_EXPIRY: Final = 15.0
CONNECT_AT_MOST: Final = 5.0

_ROOT: Final = re.compile(
    r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:[0-9]{0,5})?"
    r"(/(?!(\.|%2e){1,2}(/|$))([a-z0-9._~!$&'()*+,;=:@-]|%[0-9a-f]{2})+)*/*",
    re.IGNORECASE,
)
"""The base URLs that every URL parser reads alike."""


def base_url_of(url: str, *, name: str, allow_insecure: bool) -> str:
    """Return *url* without a slash at its end; raise `ConfigurationError` if it can't be a root.

    *name* is what the caller calls it. ``http`` is for loopback only, unless *allow_insecure*.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        message = f"{name} has credentials in it: hand them in as auth="
        raise ConfigurationError(message)
    if not _ROOT.fullmatch(url) or (parts := _parts(url)) is None:
        message = (
            f"{name} must be a URL such as https://api.smooch.io: the server's root, perhaps with a"
            " path, without a query, a fragment, an empty segment, . or .."
        )
        raise ConfigurationError(message)
    if parts.scheme == "http" and not allow_insecure and not is_loopback(parts.hostname or ""):
        message = (
            f"{name} is http: the credentials and the users' data would go in the clear."
            " Use https (a client of your own may say allow_insecure=True)"
        )
        raise ConfigurationError(message)
    return url.rstrip("/")


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port  # which is read when it is asked for
    except ValueError:
        return None
    return None if port == 0 else parts


def timeout_of(timeout: float | HttpxTimeout) -> Timeout:
    """Return the limits that *timeout* (seconds for an attempt, or httpx's own) stands for."""
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
    connect = min(timeout, CONNECT_AT_MOST)
    return Timeout(total=timeout, connect=connect, pool=timeout, write=timeout, read=timeout)


def open_wire(
    base_url: str,
    *,
    max_connections: int,
    proxy: str | None,
    ssl_context: ssl.SSLContext | None,
    transport: HttpxTransport | None,
) -> Wire:
    """Return the wire to *base_url*; nothing is connected before the first call."""
    if max_connections < 1:
        message = f"max_connections={max_connections}: 1 or more"
        raise ConfigurationError(message)
    if transport is not None and (proxy is not None or ssl_context is not None):
        message = (
            "transport= brings its own way out: leave out proxy= and ssl_context=, or give it them"
        )
        raise ConfigurationError(message)

    if transport is None and ssl_context is None:
        check_named_certificates()
    way = None if transport is not None else proxy_of(proxy, base_url)

    def make() -> HttpxTransport:
        if transport is not None:
            return transport
        from sunshine_async._http.witness import witnessed  # noqa: PLC0415 - httpcore is large

        context = ssl_context or shared_ssl_context()
        return witnessed(
            httpx.AsyncHTTPTransport(
                verify=context,
                proxy=None if way is None else way.for_httpx(context),
                limits=httpx.Limits(
                    max_connections=max_connections,
                    max_keepalive_connections=max_connections,
                    keepalive_expiry=KEEPALIVE_EXPIRY,
                ),
            ),
            limit=MAX_RESPONSE_BYTES,
        )

    name = way.name if way else None
    by_httpx = HttpxWire(base_url, make, max_response_bytes=MAX_RESPONSE_BYTES, proxy=name)
    if transport is not None or way is not None:
        return by_httpx

    def own() -> Wire:
        from sunshine_async._http.pool import SocketWire  # noqa: PLC0415 - asyncio is large

        return SocketWire(
            base_url,
            max_connections=max_connections,
            keepalive_expiry=KEEPALIVE_EXPIRY,
            max_response_bytes=MAX_RESPONSE_BYTES,
            ssl_context=ssl_context,
        )

    return Switch(own, by_httpx)


class Switch:
    """Sends by our own wire, or by httpx where that can't: on trio, and where tests mock httpx."""

    def __init__(self, own: Callable[[], Wire], by_httpx: Wire) -> None:
        self._make_own: Final = own
        self._own: Wire | None = None
        self._by_httpx: Final = by_httpx

    def send(
        self,
        request: Request,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        sending: SendProgress,
    ) -> Coroutine[Any, Any, Response | Failure]:
        """Return the whole answer, or what came instead: as `Wire` says."""
        wire = self._by_httpx if is_mocked() or not in_asyncio_task() else self.own
        return wire.send(request, headers, timeout=timeout, sending=sending)

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        if self._own is not None and in_asyncio_task():
            await self._own.aclose()
        await self._by_httpx.aclose()

    @property
    def own(self) -> Wire:
        """Our own wire, made when it is first asked for."""
        if self._own is None:
            self._own = self._make_own()
        return self._own


def in_asyncio_task() -> bool:
    """Return whether this runs in a task of asyncio (and not of trio, its guest included)."""
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.current_task() is not None
    except RuntimeError:
        return False
