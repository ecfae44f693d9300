"""Functions that a bulk run sends items with, and errors of such functions."""

from typing import Any

from anyio.lowlevel import checkpoint


async def echo(item: Any) -> Any:
    """Return the item, a moment later."""
    await checkpoint()
    return item


class OwnAbort(BaseException):
    """An exception of the caller's that means to end more."""
