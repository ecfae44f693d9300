"""What a call has led to: looked up, where its answer was lost."""

from collections.abc import Awaitable, Callable
from typing import Any

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.upsert import in_doubt
from sunshine_async.errors import SunshineError


async def settled(
    endpoint: Endpoint[Any, None],
    call: Awaitable[None],
    is_so: Callable[[], Awaitable[bool | None]],
    *,
    otherwise: str,
) -> None:
    """Await *call*, which is of *endpoint*; if it failed and may have been applied, look it up.

    Return where *is_so* says that it was. Where it wasn't, or that can't be said (None, or an
    error), the error of *call* comes out, as in doubt as it was: the service may act late. If it
    wasn't so when looked at, a note on the error says *otherwise*.
    """
    try:
        await call
    except SunshineError as error:
        if not error.maybe_applied:
            raise
        try:
            with in_doubt(endpoint):
                found = await is_so()
        except SunshineError:
            found = None
        if found:
            return
        if found is False:
            error.add_note(otherwise)
        raise
