"""Trusted certificates: of the system's trust store, of files that the environment names, of certifi.

============================================  ==================================================
``SSL_CERT_FILE`` or ``SSL_CERT_DIR`` is set  the named certificates, and no others
macOS, Windows                                the system's trust store, by truststore
Linux and other systems                       OpenSSL's default file and directory
Linux without any certificate there           certifi
============================================  ==================================================
"""

import os
import re
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async.errors import ConfigurationError

_CONTEXT_LOCK: Final = ForkSafeLock()
_EXISTS: Final[Mapping[str, Callable[[Path], bool]]] = {
    "SSL_CERT_FILE": Path.is_file,
    "SSL_CERT_DIR": Path.is_dir,
}
"""The variables that name certificates, and the tests of a name."""
_SYSTEM_STORES: Final = ("darwin", "win32")
_HASHED_NAME: Final = r"[0-9a-f]{8}\.[0-9]+"
"""A name by which OpenSSL finds a certificate in a directory."""


def shared_ssl_context() -> ssl.SSLContext:
    """Return the shared context of all clients without ``ssl_context=``.

    The context checks certificates and host names. Making a context takes tens of milliseconds, so
    the context is made once, from any thread. Raise `ConfigurationError` if no certificate can be
    read.
    """
    with _CONTEXT_LOCK.lock:
        return _create_context(*map(os.environ.get, _EXISTS))


def check_named_certificates() -> None:
    """Raise `ConfigurationError` if the environment names certificates that can't be read."""
    for variable, exists in _EXISTS.items():
        path = os.environ.get(variable)
        if path and not exists(Path(path)):
            message = f"{variable} names {path}, which isn't there: correct or unset {variable}"
            raise ConfigurationError(message)
        if path:
            shared_ssl_context()


@cache
def _create_context(file: str | None, directory: str | None) -> ssl.SSLContext:
    if not file and not directory:
        return system_context(sys.platform, ssl.get_default_verify_paths())
    try:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    except OSError as error:  # ssl.SSLError is a subclass
        reason = _reason(error)
    message = (
        f"SSL_CERT_FILE names {file}, of which no certificate can be read ({reason}): correct or"
        " unset SSL_CERT_FILE"
    )
    raise ConfigurationError(message)


def system_context(
    platform: str,
    paths: ssl.DefaultVerifyPaths,
    *,
    find_bundle: Callable[[], str] | None = None,
) -> ssl.SSLContext:
    """Return a context with the trust store of the system, or else with the bundle of certifi.

    *paths* are OpenSSL's defaults. *find_bundle* returns the path of the bundle, by default
    certifi's. Raise `ConfigurationError` if neither has a certificate.
    """
    if platform in _SYSTEM_STORES:
        import truststore  # noqa: PLC0415 - a dependency only there

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, directory = paths.openssl_cafile, paths.openssl_capath
    context = ssl.create_default_context(capath=directory)
    with suppress(OSError):
        context.load_verify_locations(file)
    if context.cert_store_stats()["x509_ca"] or _has_certificates(directory):
        return context
    bundle = (find_bundle or _find_certifi)()
    try:
        context.load_verify_locations(bundle)
    except OSError as error:
        reason = _reason(error)
    else:
        return context
    message = (
        f"no trusted certificates: the system has none, neither in {file} nor in {directory}, and"
        f" certifi has none in {bundle} ({reason}): install the system's ca-certificates, or name"
        " a file of certificates by SSL_CERT_FILE or ssl_context="
    )
    raise ConfigurationError(message)


def _find_certifi() -> str:
    import certifi  # noqa: PLC0415 - only where the system has no certificates

    return certifi.where()


def _has_certificates(directory: str) -> bool:
    """Return True if OpenSSL can find a certificate in *directory*, where it looks by name."""
    with suppress(OSError):
        return any(re.fullmatch(_HASHED_NAME, entry.name) for entry in Path(directory).iterdir())
    return False


def _reason(error: OSError) -> str:
    return "it is no PEM file" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
