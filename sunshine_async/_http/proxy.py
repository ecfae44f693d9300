"""Proxy of a client: from the argument or the environment, and the failures on the way through."""

import ipaddress
import os
import re
import ssl
from base64 import b64encode
from functools import cached_property
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from attrs import define, field

from sunshine_async._http.failures import connect_failure
from sunshine_async._http.foreign_text import one_line, without_secrets
from sunshine_async._http.messages import Failure
from sunshine_async.errors import ConfigurationError, Fault

_PROXY: Final = (
    r"(?i)(?P<scheme>https?|socks5h?)://(?P<user>[!-~]+@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?)(:(?P<port>[0-9]{0,5}))?/?"
)
_URL_DELIMITER: Final = r"[/?#\\]"
_LAST_PORT: Final = 65535
_AUTH_REQUIRED: Final = (
    *("401", "407"),  # some proxies answer 401 to a wrong password
    *("Invalid username", "Requested "),  # httpcore's words for a SOCKS proxy
)
_AUTH_ADVICE: Final = (
    "give the proxy's URL the right user name and password, special characters percent-encoded"
)
_AUTH_PROXY: Final = "name a proxy that takes Basic, or none, such as one on this machine"
_CHALLENGE: Final = rb"(?im)^proxy-authenticate:[ \t]*([a-z][a-z-]{0,20})"
_LONGEST_REASON: Final = 100
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@define(frozen=True, slots=False, eq=False, repr=False)  # with a dictionary, for cached properties
class Proxy:
    """A proxy; *name* is the URL without user name and password, *source* the setting."""

    name: str
    url: str = field(repr=False)
    source: str

    def for_httpx(self, ssl_context: ssl.SSLContext) -> httpx.Proxy:
        """Convert the proxy; *ssl_context* is for TLS to the proxy itself."""
        secure = self.name.startswith("https:")
        return httpx.Proxy(self.url, ssl_context=ssl_context if secure else None)

    @cached_property
    def address(self) -> tuple[str, int]:
        """Host and port of an ``http`` proxy."""
        url = httpx.URL(self.url)
        return url.host, url.port or 80

    @cached_property
    def authorization(self) -> bytes:
        """The value of ``Proxy-Authorization``; empty without user name and password."""
        credentials = httpx.Proxy(self.url).raw_auth
        return b"" if credentials is None else b"Basic " + b64encode(b":".join(credentials))

    @property
    def tunnels(self) -> bool:
        """True if our own wire can open a tunnel (CONNECT): without TLS to the proxy itself."""
        return self.name.startswith("http:")

    def connect_failure(self, error: BaseException, host: str | None) -> Failure:
        """Return the failure of a request that was not sent because of *error*.

        *host* is the server behind the proxy; None: not even the proxy was reached.
        """
        failure = connect_failure(error, self._action(host))
        return failure._replace(reason=f"{failure.reason}{self._hint}")

    def failure(self, reason: str, host: str, *, fault: Fault = Fault.UNSENT) -> Failure:
        """Return the failure of a request to *host* that was not sent for a *reason* in words."""
        return Failure(fault, f"{self._action(host)} failed: {reason}{self._hint}")

    def refusal(self, answer: str, host: str, head: bytes = b"") -> Failure:
        """Return the failure after the proxy's *answer*, a status with a reason, to a CONNECT.

        *head* is the head of the answer, where known.
        """
        answer = without_secrets(one_line(answer), self._secrets)[:_LONGEST_REASON]
        if not answer.startswith(_AUTH_REQUIRED):
            return self.failure(f"the proxy answered {answer}", host)
        schemes = [name.decode() for name in re.findall(_CHALLENGE, head)]
        advice = _AUTH_ADVICE
        if schemes and b"basic" not in head.lower():
            names = " or ".join(schemes)
            advice = f"the proxy takes {names}, of which none works here: {_AUTH_PROXY}"
        return self.failure(f"{answer}: {advice}", host, fault=Fault.PERMANENT)

    @property
    def _secrets(self) -> tuple[str, ...]:
        """The password, plain and as sent: the proxy may answer with the header of the request."""
        _, password = httpx.Proxy(self.url).raw_auth or (b"", b"")
        sent = self.authorization.removeprefix(b"Basic ")
        return (password.decode("latin-1"), sent.decode("latin-1"))

    def _action(self, host: str | None) -> str:
        to_proxy = f"the proxy {self.name}"
        return f"connecting to {to_proxy if host is None else f'{host} through {to_proxy}'}"

    @property
    def _hint(self) -> str:
        return f" (the proxy is named by {self.source})"


def find_proxy(given: str | None, base_url: str) -> Proxy | None:
    """Return the proxy for *base_url*: the *given* proxy, or else the environment's.

    Raise `ConfigurationError` for an unusable proxy, without the URL in the message.
    """
    url = given or proxy_from_environment(base_url)
    if url is None:
        return None
    source = "proxy=" if given else _variable_of(url)
    subject = "proxy" if given else f"the proxy that {source} names"
    match = re.fullmatch(_PROXY, url)
    if (
        match is None
        or re.search(_URL_DELIMITER, match["user"] or "")
        or not 0 < int(match["port"] or 1) <= _LAST_PORT
    ):
        message = (
            f"{subject} must be a URL of http, https, socks5 or socks5h, such as"
            " http://localhost:3128 or http://user:password@localhost:3128, with special characters"
            " of the user name and the password percent-encoded (%23 for #)"
        )
        raise ConfigurationError(message)
    scheme = match["scheme"].lower()
    if scheme.startswith("socks") and find_spec("socksio") is None:
        message = f"{subject} is a SOCKS proxy, which needs socksio: pip install 'httpx[socks]'"
        raise ConfigurationError(message)
    port = f":{match['port']}" if match["port"] else ""
    return Proxy(f"{scheme}://{match['host']}{port}", url, source)


def proxy_from_environment(base_url: str) -> str | None:
    """Return the proxy that the environment (such as ``HTTPS_PROXY``) names for *base_url*."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(host):
        return None
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    exempt = _is_exempt(host, port, proxies.get("no", ""))
    if exempt or proxy_bypass(parts.netloc):  # which knows the settings of macOS and Windows
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, port: int, exemptions: str) -> bool:
    """Return True if *exemptions*, the value of ``NO_PROXY``, have *host*.

    An entry is a name, which stands for all names below too; an address; a network, such as
    ``10.0.0.0/8``; or ``*``, for all hosts. A name or an address may have a port behind, and a name
    a ``.`` or ``*.`` in front.
    """
    host = host.rstrip(".")
    for entry in exemptions.lower().replace(",", " ").split():
        place = entry.removesuffix(f":{port}")
        name = place.removeprefix("*.").strip(".")
        if entry == "*" or f".{host}".endswith(f".{name}"):
            return True
        if _is_within(host, entry) or _is_within(host, place):  # the end of an IPv6 may be a port
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    try:
        found = ipaddress.ip_network(network.strip("[]"), strict=False)
        return ipaddress.ip_address(host) in found
    except ValueError:
        return False


def _variable_of(url: str) -> str:
    """Return the name of the variable that names the proxy with *url*."""
    named = (
        name
        for name, value in os.environ.items()
        if name.lower().endswith("_proxy") and value and value in (url, url.removeprefix("http://"))
    )
    return next(named, "the system's settings")


def is_loopback(host: str) -> bool:
    """Return True if *host* is this machine; no name server is asked."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
