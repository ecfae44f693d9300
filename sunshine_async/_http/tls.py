"""TLS: the shared context, the end of a stream, and errors that no retry mends."""

import os
import ssl
from functools import cache
from pathlib import Path
from typing import Final, TypeGuard

import httpx

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async.errors import ConfigurationError

_CONTEXT_LOCK: Final = ForkSafeLock()
_CERTIFICATE_VARIABLES: Final = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}
_CLIENT_CERTIFICATE_ALERTS: Final = frozenset(
    {
        "BAD_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_REQUIRED",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "UNSUPPORTED_CERTIFICATE",
    }
)
"""TLS alerts of a server that refuses the client's certificate, or misses a certificate."""


@cache
def _create_context(*_: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def shared_ssl_context() -> ssl.SSLContext:
    """Return the shared context of all clients without ``ssl_context=``.

    The context checks certificates and host names. Making a context takes tens of milliseconds, so
    the context is made once, from any thread. Raise `ConfigurationError` if the environment names
    certificates that can't be read.
    """
    with _CONTEXT_LOCK.lock:
        try:
            return _create_context(*map(os.environ.get, _CERTIFICATE_VARIABLES))
        except OSError:  # ssl.SSLError is a subclass
            message = "no certificate can be read where SSL_CERT_FILE or SSL_CERT_DIR points"
        raise ConfigurationError(message)


def check_named_certificates() -> None:
    """Raise `ConfigurationError` if the environment names certificates that can't be read."""
    for variable, exists in _CERTIFICATE_VARIABLES.items():
        path = os.environ.get(variable)
        if path and not exists(Path(path)):
            message = f"{variable} names {path}, which isn't there: correct or unset {variable}"
            raise ConfigurationError(message)
        if path:
            shared_ssl_context()


def is_clean_end(tls: ssl.SSLObject | None) -> bool:
    """Return True if the peer itself ended the stream: under *tls* by a ``close_notify``.

    Without a ``close_notify`` anybody on the way may have cut the stream.
    """
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLError:
        return False


def refuses_client(error: BaseException | None) -> TypeGuard[ssl.SSLError]:
    """Return True if *error* is a server's TLS alert about the client's certificate.

    Such a server has not finished the handshake, and has read no request.
    """
    if not isinstance(error, ssl.SSLError):
        return False
    return (error.reason or "").partition("_ALERT_")[2] in _CLIENT_CERTIFICATE_ALERTS
