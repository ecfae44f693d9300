"""Exceptions that leave a wire: without the wire's frames, and never one that nobody expects.

A wire holds headers and bodies in local variables, and so does httpx. Error reporters attach the
local variables of every frame that an exception has passed through. `seal` cuts these frames off.
`surprise` replaces an exception that no wire, codec or service should raise.

Faults of connections that could not be made: which fault, and why in words. No I/O.
"""

import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import PurePath
from types import TracebackType
from typing import Final, Self, cast

from sunshine_async._http.messages import Failure, Response, Streamed
from sunshine_async._http.tls import refuses_client
from sunshine_async.errors import (
    ConfigurationError,
    ConnectError,
    Fault,
    ResponseDecodeError,
    SunshineError,
)


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


class MockError(ResponseDecodeError, AssertionError):
    """A test's mock has refused the request: an `AssertionError` with the mock's own text."""


class Source(Streamed):
    """A streamed *body* that remembers the error that the caller's own source has raised."""

    def __init__(self, body: Streamed) -> None:
        self.content_type = body.content_type
        self.length = body.length
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None
        """The frames of the source itself."""
        self._body: Final = body

    @property
    def ready(self) -> bool:
        """Whether the source can be read from its beginning."""
        return self._body.ready

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Give the pieces, from the beginning."""
        opened = False
        try:
            async with self._body.opened() as pieces:
                opened = True
                yield _Pieces(pieces, self)
        except Exception as error:
            if not opened:  # an error of closing comes after the whole body: the service may act
                self.note(error)
            raise

    def note(self, error: Exception) -> None:
        """Remember *error*, and where it came from."""
        self.error = error
        self.traceback = error.__traceback__


class _Pieces:
    """The pieces of a `Source` on their way."""

    def __init__(self, pieces: AsyncIterator[bytes], source: Source) -> None:
        self._pieces: Final = pieces
        self._source: Final = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            raise
        except Exception as error:
            self._source.note(error)
            raise


def seal(error: BaseException, body: object, *, handled: BaseException | None) -> None:
    """Cut the frames of the wire, and below, off *error*.

    An error of the source of *body* keeps the frames of that source. Any other `Exception` is for
    `surprise`, which keeps nothing of it. A cancellation keeps the cancellations before it, since
    anyio looks for its own among them, and the exception that the caller *handled* already.
    """
    if isinstance(body, Source) and body.error is error:
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
    """Cut the frames and the cause off *error*; off the members of a group their contexts too."""
    error.__cause__ = error.__traceback__ = None
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        for member in group.exceptions:
            member.__context__ = None
            _strip(member)


def surprise(
    error: Exception,
    *,
    endpoint: object,
    attempts: int,
    sent: bool,
    response: Response | None,
    maybe_applied: bool,
) -> SunshineError:
    """Return the error of a call that an unexpected *error* has ended.

    Nothing of *error* is kept but the class and the place: the rest may hold a header or a body.
    The text of an `AssertionError` is kept, since a test's mock speaks by such errors.
    """
    reason = f"{type(error).__name__} at {_place(error)}"
    kind = ResponseDecodeError
    if isinstance(error, AssertionError):
        reason, kind = f"{reason}: {error}", MockError
    elif not sent:
        return ConnectError(
            f"{reason}, before anything was sent",
            fault=Fault.PERMANENT,
            endpoint=str(endpoint),
            attempts=attempts,
            maybe_applied=False,
        )
    return kind(
        reason,
        path="",
        status=None if response is None else response.status,
        endpoint=str(endpoint),
        body=None if response is None else response.body,
        maybe_applied=sent and maybe_applied,
    )


def _place(error: Exception) -> str:
    """Return the file and the line that raised *error*."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return "?" if at is None else f"{PurePath(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}"
