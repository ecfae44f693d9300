"""TLS: the shared context, the end of a stream, and the faults that no retry mends."""

import os
import ssl
from functools import cache
from pathlib import Path
from typing import Final, TypeGuard

import httpx

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async.errors import ConfigurationError

_ONE_AT_A_TIME: Final = ForkSafeLock()
_NAMED: Final = {"SSL_CERT_FILE": Path.is_file, "SSL_CERT_DIR": Path.is_dir}
_CLIENT_REFUSED: Final = frozenset(
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
"""The TLS alerts by which a server refuses the client's certificate, or the lack of one."""


@cache
def _made_once(*_: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def shared_ssl_context() -> ssl.SSLContext:
    """Return the one context of all clients that bring none: certificates and names are checked.

    The context takes tens of milliseconds to make, and is made once, from any thread.
    Raise `ConfigurationError` where the environment names certificates that can't be read.
    """
    with _ONE_AT_A_TIME.lock:
        try:
            return _made_once(*map(os.environ.get, _NAMED))
        except OSError:  # which ssl.SSLError is, too
            message = "no certificate can be read where SSL_CERT_FILE or SSL_CERT_DIR points"
        raise ConfigurationError(message)


def check_named_certificates() -> None:
    """Raise `ConfigurationError` where the environment names certificates that can't be read."""
    for variable, is_there in _NAMED.items():
        path = os.environ.get(variable)
        if path and not is_there(Path(path)):
            message = f"{variable} names {path}, which isn't there: correct or unset {variable}"
            raise ConfigurationError(message)
        if path:
            shared_ssl_context()


def is_ended(tls: ssl.SSLObject | None) -> bool:
    """Return whether a peer that sends no more has said so: *tls* needs a ``close_notify``.

    Without one anybody on the way may have cut the stream.
    """
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLError:
        return False


def refuses_client(error: BaseException | None) -> TypeGuard[ssl.SSLError]:
    """Return whether *error* is a server's alert about the client's certificate.

    Such a server has not finished the handshake, and reads no request.
    """
    if not isinstance(error, ssl.SSLError):
        return False
    return (error.reason or "").partition("_ALERT_")[2] in _CLIENT_REFUSED
