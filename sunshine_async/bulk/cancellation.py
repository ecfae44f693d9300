"""Cancellation: the block's own passes; a foreign cancellation becomes an error.

A cancellation is the block's own where a cancel scope around the running code is cancelled.
"""

import asyncio
from copy import copy
from math import inf
from typing import Any, Final, cast

import anyio
from anyio import get_cancelled_exc_class

from sunshine_async.errors import SunshineError

CALL: Final = "the call"
ITEMS: Final = "reading the items"

_PASSES: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions that end a run: raised as themselves, never an outcome."""


class AbortedError(SunshineError):
    """A call, or reading the items, was aborted by an exception that is no `Exception`.

    Such as a cancellation by other code. That exception is the ``__cause__``.
    """


def contained(error: BaseException, subject: str) -> Exception:
    """Return *error* as an `Exception`: one that isn't becomes an `AbortedError` of *subject*.

    Raise *error* again where it is the block's own cancellation, or ends the run. A foreign
    cancellation that was addressed to the running task is taken back.
    """
    if isinstance(error, Exception):
        return error
    if _has(error, _PASSES) or is_own(error):
        raise error
    on_asyncio = get_cancelled_exc_class() is asyncio.CancelledError
    task: Any = asyncio.current_task() if on_asyncio else None
    while task is not None and task.cancelling():
        task.uncancel()
    aborted = AbortedError(
        f"{subject} was aborted by {type(error).__name__}, which came from other code",
        maybe_applied=subject is CALL,
    )
    aborted.__cause__ = error
    return aborted


def is_own(error: BaseException) -> bool:
    """Return whether *error* is a cancellation of the block's own: by a scope around the block."""
    return _has(error, get_cancelled_exc_class()) and anyio.current_effective_deadline() == -inf


def is_uncertain(error: Exception) -> bool:
    """Return whether a call that ended in *error* may have been applied.

    Certainly not: a `SunshineError` that says so, a `ValueError`, a `TypeError`. The library raises
    the latter two before anything is sent.
    """
    if isinstance(error, SunshineError):
        return error.maybe_applied is not False
    return not isinstance(error, ValueError | TypeError)


def is_doubted(result: object) -> bool:
    """Return whether *result* is the error of a call that may have been applied."""
    return isinstance(result, Exception) and is_uncertain(result)


def after_sending(error: Exception) -> Exception:
    """Return *error*, raised when a request may have left, as one that isn't taken for certain.

    A `SunshineError` knows itself. A `ValueError` or `TypeError` is a fault in reading an answer.
    """
    if isinstance(error, SunshineError) or is_uncertain(error):
        return error
    unread = SunshineError(
        f"{type(error).__name__} after the request was sent: its cause has the reason",
        maybe_applied=True,
    )
    unread.__cause__ = error
    return unread


def doubtful(error: Exception) -> Exception:
    """Return *error* as that of a call whose earlier sending may have been applied."""
    if isinstance(error, SunshineError) and not is_uncertain(error):
        error = copy(error)  # other items may have ended in the same
        error.maybe_applied = True
    return after_sending(error)


async def until(event: anyio.Event) -> None:
    """Wait for *event*, through foreign cancellations of the waiting task."""
    while not event.is_set():
        try:
            await event.wait()
        except BaseException as error:  # noqa: BLE001 - `contained` raises what has to pass
            contained(error, CALL)


def _has(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> bool:
    """Return whether *error* is one of *kinds*, or a group that has one."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(kinds) is not None
    return isinstance(error, kinds)
