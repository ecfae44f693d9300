"""Read-back of a change whose answer was lost."""

from collections.abc import Awaitable, Callable
from typing import Any

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.upsert import mark_uncertain
from sunshine_async.errors import SunshineError


async def read_back(
    endpoint: Endpoint[Any, None],
    call: Awaitable[None],
    is_applied: Callable[[], Awaitable[bool | None]],
    *,
    note: str,
) -> None:
    """Await *call*, a call of *endpoint*; if *call* fails and may have been applied, look.

    - *is_applied* returns True: the call is done.
    - False: the error of *call* is raised, with *note*. The error stays uncertain, since the
      service may act late.
    - None, or an error of the look: the error of *call* is raised, as uncertain as before.
    """
    try:
        await call
    except SunshineError as error:
        if not error.maybe_applied:
            raise
        try:
            with mark_uncertain(endpoint):
                applied = await is_applied()
        except SunshineError:
            applied = None
        if applied:
            return
        if applied is False:
            error.add_note(note)
        raise
