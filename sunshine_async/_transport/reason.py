"""Faults of connections that could not be made: which fault, and why in words. No I/O."""

import os
import socket
import ssl
from collections.abc import Iterator
from typing import cast

from sunshine_async._endpoint import Failure
from sunshine_async._retry import Fault
from sunshine_async._transport.tls import refuses_client
from sunshine_async.errors import ConfigurationError


def unsent(error: BaseException, doing: str) -> Failure:
    """Return the failure of a request that *error* has kept from being sent.

    *doing* says what the error broke off, such as ``connecting to localhost:80``.
    """
    cause = cause_of(error)
    permanent = isinstance(cause, ssl.SSLCertVerificationError) or refuses_client(cause)
    fault = Fault.PERMANENT if permanent else Fault.UNSENT
    return Failure(fault, f"{doing} failed: {why(cause)}")


def cause_of(error: BaseException) -> BaseException:
    """Return the most exact of *error* and the errors behind it: TLS, then the system's."""
    chain = list(_chain(error))
    exact = [one for one in chain if isinstance(one, OSError) and (one.errno or one.args[1:])]
    by_tls = [one for one in exact if isinstance(one, ssl.SSLError)]
    return (by_tls or exact or [error])[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = error.__cause__ or error.__context__


def why(error: BaseException) -> str:
    """Return in words why a connection could not be made, with the next step where one is known."""
    if isinstance(error, ssl.SSLError):
        return _why_not_tls(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name can't be looked up"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    if isinstance(error, ConfigurationError):
        return str(error)
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__


def _why_not_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = error.verify_message.rstrip(".")
        return (
            f"certificate verify failed: {problem}: check base_url and the clock, or name the"
            " certificate's authority by SSL_CERT_FILE or ssl_context="
        )
    problem = (error.reason or type(error).__name__).replace("_", " ").lower()
    if refuses_client(error):
        return f"TLS failed: {problem}: hand in ssl_context= with the client's certificate"
    return f"TLS failed: {problem}"
