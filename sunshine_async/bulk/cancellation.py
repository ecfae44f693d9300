"""Cancellation in a run: the block's own passes through, a foreign cancellation becomes an error.

A cancellation is the block's own if a cancel scope around the running code is cancelled. A foreign
cancellation comes from other code, such as a task that cancels the task of a single call.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from math import inf
from typing import Final, cast

import anyio
from anyio import get_cancelled_exc_class
from anyio.abc import TaskGroup
from attrs import define

from sunshine_async.errors import SunshineError

CALL: Final = "the call"
ITEMS: Final = "reading the items"

_PASSES: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exceptions that end a run: raised as themselves, never an outcome."""

_LEFT_OPEN: Final = (
    "a call or an iterator has left a cancel scope open in its task: a fail_after(), a move_on_after() "
    "or a task group without an end, often in an async generator that is not read to the end. Open "
    "each with `with`, and such a generator with `async with contextlib.aclosing(generator)`"
)


class AbortedError(SunshineError):
    """A call, or reading the items, was aborted by an exception that is no `Exception`.

    An example is a cancellation by other code. The exception is the ``__cause__``.
    """


def to_exception(error: BaseException, subject: str) -> Exception:
    """Convert *error* to an `Exception`: the outcome of *subject*, or raise *error* again.

    - An `Exception` is returned unchanged.
    - The block's own cancellation, and an exception that ends the run, are raised again.
    - Any further exception becomes the cause of an `AbortedError`. A foreign cancellation that was
      addressed to the running task is taken back.
    """
    if isinstance(error, Exception):
        return error
    if _contains(error, _PASSES) or is_own_cancellation(error):
        raise error
    on_asyncio = get_cancelled_exc_class() is asyncio.CancelledError
    while on_asyncio and (task := asyncio.current_task()) and task.cancelling():
        task.uncancel()
    aborted = AbortedError(
        f"{subject} was aborted by {type(error).__name__}, which came from other code",
        maybe_applied=subject is CALL,
    )
    aborted.__cause__ = error
    return aborted


def is_own_cancellation(error: BaseException) -> bool:
    """Return True for a cancellation by a scope around the block."""
    cancelled = get_cancelled_exc_class()
    return _contains(error, cancelled) and anyio.current_effective_deadline() == -inf


def maybe_applied(result: object) -> bool:
    """Return True if *result* is the error of a call that may have been applied.

    These are certainly not: a value, a `SunshineError` that says so, a `ValueError`, a `TypeError`.
    The library raises the latter two before anything is sent.
    """
    if isinstance(result, SunshineError):
        return result.maybe_applied is not False
    return isinstance(result, Exception) and not isinstance(result, ValueError | TypeError)


def error_after_sending(error: Exception) -> Exception:
    """Return *error* as the error of a call whose request may have left.

    A `ValueError` or `TypeError` then is a fault in reading the answer, so the call may have been
    applied. A `SunshineError` already tells, and is returned unchanged.
    """
    if isinstance(error, SunshineError) or maybe_applied(error):
        return error
    unread = SunshineError(
        f"{type(error).__name__} after the request was sent: its cause has the reason",
        maybe_applied=True,
    )
    unread.__cause__ = error
    return unread


def error_after_doubt(error: Exception) -> Exception:
    """Return *error* as the error of a call with an earlier request that may have been applied.

    A `SunshineError` is copied before the change, because several items may share an error.
    """
    if isinstance(error, SunshineError) and not maybe_applied(error):
        error = copy(error)
        error.maybe_applied = True
    return error_after_sending(error)


async def wait_until_set(event: anyio.Event) -> None:
    """Wait for *event*, through foreign cancellations of the waiting task."""
    while not event.is_set():
        try:
            await event.wait()
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            to_exception(error, CALL)


@define
class BackgroundTasks:
    """Tasks beside a block; *failure* is the exception of a task that ends the block."""

    group: TaskGroup
    failure: BaseException | None = None

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run *work* in a task: an exception of *work* ends the block."""
        self.group.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except BaseException as error:
            if is_own_cancellation(error):
                raise
            self.failure = self.failure or error
            self.group.cancel_scope.cancel()


@asynccontextmanager
async def background_tasks() -> AsyncGenerator[BackgroundTasks]:
    """Give a block a task group without exception groups; cancel the tasks at the end of the block.

    An exception of the block, or of a task, is raised as itself. Raise `AbortedError` where foreign
    code has cancelled a task before the first step, or has left a cancel scope open in a task.
    """
    own: BaseException | None = None
    group = anyio.create_task_group()
    tasks = BackgroundTasks(group)
    try:
        async with group:
            try:
                yield tasks
            except get_cancelled_exc_class() as error:
                own = error
                if group.cancel_scope.cancel_called and tasks.failure is None:
                    tasks.failure = AbortedError(
                        "the tasks of the run were cancelled by other code"
                    )
                raise  # the group may swallow a foreign cancellation: so it is raised once more below
            except BaseException as error:  # noqa: BLE001 - raised below, when all tasks have ended
                own = error
            group.cancel_scope.cancel()
    except ExceptionGroup as errors:  # `BackgroundTasks` lets no error pass: anyio's own
        if own is None or isinstance(own, (get_cancelled_exc_class(), AbortedError)):
            tasks.failure = AbortedError(_LEFT_OPEN)
            tasks.failure.__cause__ = errors
    own = tasks.failure or own
    if own is not None:
        raise own


def _contains(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> bool:
    """Return True if *error* is of *kinds*, or a group that holds such an error."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.subgroup(kinds) is not None
    return isinstance(error, kinds)
