"""What a call has led to: looked up, where its answer was lost."""

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import get_cancelled_exc_class

from sunshine_async._endpoint import Endpoint
from sunshine_async._transport.exchange import HAD_LEFT
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
            found = await is_so()
        except SunshineError:
            found = None
        except get_cancelled_exc_class() as cancelled:
            cancelled.add_note(HAD_LEFT.format(endpoint=endpoint))
            raise
        if found:
            return
        if found is False:
            error.add_note(otherwise)
        raise
