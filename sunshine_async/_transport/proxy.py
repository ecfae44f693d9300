"""The proxy of a client: from the argument or the environment, checked, named without secrets."""

import ipaddress
import re
import ssl
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from attrs import field, frozen

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
