"""Exceptions of a wire: turned into failures, or stripped of frames before leaving the package.

The frames of a wire, and of httpx, have headers and bodies in local variables. Error reporters
attach the local variables of every frame in a traceback. `strip_frames` removes the frames from a
cancellation, or from an error of the caller's own body; `Transport` replaces any other exception.
`connect_failure` makes the failure of a request that was not sent, with the reason in words.
"""

import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from types import TracebackType
from typing import Final, Self, TypeGuard, cast

import httpx

from sunshine_async._http.messages import Failure, StreamedBody
from sunshine_async.errors import ConfigurationError, Fault

_CLIENT_CERTIFICATE_ALERTS: Final = (
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REQUIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
"""TLS alerts of a server that refuses the client's certificate, or misses a certificate."""

CHECK: Final = "check the address and the network"
_SSL_SOURCE: Final = r"^\[SSL[^]]*\] | \(_ssl\.c:[0-9]+\)$"
"""Python's frame around OpenSSL's words."""
_TLS_STEPS: Final[Mapping[str, str]] = {
    "alert handshake failure": (
        "server and client have no TLS settings in common, or the server asks for a certificate of"
        " the client: see ssl_context="
    ),
    "alert no application protocol": "the server refuses HTTP/1.1: check base_url",
    "wrong version number": "the other side answers without TLS: check base_url",
}
"""Next steps by the last words of the problem; `CHECK` for further problems."""
_LOCAL_LIMITS: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
"""Errors of a connection for which this machine has no file, buffer or memory left."""
_RAISE_LIMIT: Final = (
    "a limit of this machine: use fewer connections, or raise the limit (ulimit -n for open files)"
)
NONE_FREE: Final = "came free in time: see max_connections="
CLOSED_FIRST: Final = "the client was closed before it was sent"


def connect_failure(error: BaseException, action: str) -> Failure:
    """Return the failure of a request that was not sent because of *error*.

    *action* is the interrupted work, such as ``connecting to localhost:80``.
    """
    cause = root_cause(error)
    certain = (ssl.SSLCertVerificationError, ConfigurationError)
    permanent = isinstance(cause, certain) or refuses_client(cause)
    fault = Fault.PERMANENT if permanent else Fault.UNSENT
    return Failure(fault, f"{action} failed: {_reason(cause)}")


def root_cause(error: BaseException) -> BaseException:
    """Return the most exact error in the chain of *error*: of TLS, or else of the system."""
    chain = [cause for cause in _chain(error) if isinstance(cause, OSError)]
    system = [cause for cause in chain if cause.errno or cause.args[1:]]
    tls = [cause for cause in system if isinstance(cause, ssl.SSLError)]
    return (tls or system or [error])[0]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()  # ``raise error from error`` makes an endless chain
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            yield from cast("BaseExceptionGroup[BaseException]", error).exceptions
        error = error.__cause__ or error.__context__


def name_of(error: BaseException) -> str:
    """Return the system's words for *error*, such as "no route to host"; else the class."""
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno).lower()
    return type(error).__name__


def _reason(error: BaseException) -> str:
    """Return the reason that no connection could be made, with the next step."""
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        reason = "its name can't be looked up"
    else:
        took_long = isinstance(error, TimeoutError) and not error.errno
        reason = "it took too long" if took_long else name_of(error)
        if isinstance(error, OSError) and error.errno in _LOCAL_LIMITS:
            return f"{reason}: {_RAISE_LIMIT}"
    return f"{reason}: {CHECK}"


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = error.verify_message.rstrip(".")
        return (
            f"certificate verify failed: {problem}: check base_url and the clock, or name the"
            " certificate's authority by SSL_CERT_FILE or ssl_context="
        )
    if isinstance(error, ssl.SSLEOFError):
        return f"TLS failed: the other side closed the connection in the handshake: {CHECK}"
    # an error of Python itself has no code of OpenSSL, but a sentence
    text = re.sub(_SSL_SOURCE, "", error.strerror or "")
    named = getattr(error, "reason", None) or text or type(error).__name__
    problem = named.replace("_", " ").lower()
    if refuses_client(error):
        return f"TLS failed: {problem}: hand in ssl_context= with the client's certificate"
    steps = (step for words, step in _TLS_STEPS.items() if problem.endswith(words))
    return f"TLS failed: {problem}: {next(steps, CHECK)}"


def restrict_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return *context*, which now reports cut streams, and asks for HTTP/1.1 and one handshake.

    - Python 3.11.2 and others of that time don't report a stream that ends without a
      ``close_notify`` by default.
    - A server of TLS 1.2 may ask for a second handshake in the middle of a call (renegotiation,
      RFC 9325 section 3.4); the connection goes on without.
    - A server of HTTP/2 alone refuses the handshake (ALPN, RFC 7301), in place of a request.
    """
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


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


def has_unread(tls: ssl.SSLObject | None) -> bool:
    """Return True if *tls* holds bytes, or an end, that nobody has read; a byte is lost then."""
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLError as error:
        return not isinstance(error, ssl.SSLWantReadError)
    return True


def refuses_client(error: BaseException | None) -> TypeGuard[ssl.SSLError]:
    """Return True if *error* is a server's TLS alert about the client's certificate.

    Such a server has not finished the handshake, and has read no request.
    """
    if not isinstance(error, ssl.SSLError):
        return False
    _, _, alert = (getattr(error, "reason", None) or "").partition("_ALERT_")
    return alert in _CLIENT_CERTIFICATE_ALERTS


class CallerBody(StreamedBody, httpx.AsyncByteStream):
    """Wrapper of a streamed *body* that records an error of the caller's own source.

    `open` gives the wrapper itself as the iterator: a generator left half-way would stay open.
    """

    def __init__(self, body: StreamedBody) -> None:
        self.content_type = body.content_type
        self.length = body.length
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None
        """The frames of the source, without the frames of the wire."""
        self._body: Final = body

    @property
    def ready(self) -> bool:
        return self._body.ready

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Self]:
        opened = False
        try:
            async with self._body.open() as self._pieces:
                opened = True
                yield self
        except Exception as error:
            if not opened:  # an error of closing follows the whole body, so the service may act
                self._record(error)
            raise

    def _record(self, error: Exception) -> None:
        self.error = error
        self.traceback = error.__traceback__

    def forget_error(self) -> None:
        """Forget the error, whose frames hold this object: a cycle."""
        self.error = self.traceback = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._record(error)
            raise


def strip_frames(error: BaseException, body: object, *, handled: BaseException | None) -> None:
    """Remove the frames of the wire, and of all code below, from *error*.

    - An error of the source of *body* keeps the frames of the source.
    - A different `Exception` stays unchanged: `Transport` replaces such an error.
    - A cancellation keeps the earlier cancellations, because anyio searches the chain for the
      cancellation of a scope. The exception that the caller had already *handled* stays, too.
    """
    if isinstance(body, CallerBody) and body.error is error:
        error.__traceback__ = body.traceback
    elif not isinstance(error, Exception):
        _strip(error)
        last, inner = error, error.__context__
        while inner is not None and inner is not handled:
            if not isinstance(inner, Exception):
                _strip(inner)
                last.__context__ = inner
                last = inner
            inner = inner.__context__
        last.__context__ = inner


def _strip(error: BaseException) -> None:
    """Remove frames and cause of *error*; from members of a group remove the context as well."""
    error.__cause__ = error.__traceback__ = None
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for member in group.exceptions:
            member.__context__ = None
            _strip(member)
