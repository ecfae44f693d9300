"""Sending a body that comes piece by piece, until it is out or its call has ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

from sunshine_async._transport.connection import Call, Connection


async def pour(
    pieces: AsyncIterator[bytes],
    call: Call,
    taken: asyncio.Future[Connection],
    *,
    length: int | None,
) -> None:
    """Send *pieces* as the body of *call* once a connection has *taken* it.

    Return when all is sent, or when *call* has its reply before that: a failure, or an early
    answer. Without a *length* the body goes out in chunks; a body that isn't as long ends the call
    as lost. What the source of the pieces raises comes out as itself.
    """
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[object]", asyncio.current_task())
    cancelled_before = task.cancelling()
    until_replied = asyncio.timeout(None)

    def stop(_: object) -> None:
        with suppress(RuntimeError):  # the body is out
            until_replied.reschedule(loop.time())

    call.reply.add_done_callback(stop)
    try:
        async with until_replied:
            await _pour(pieces, call, await taken, length)
    except (TimeoutError, asyncio.CancelledError):  # before Python 3.11.3 its end may be either
        if not until_replied.expired() or task.cancelling() > cancelled_before:
            raise
    finally:
        call.reply.remove_done_callback(stop)


async def _pour(
    pieces: AsyncIterator[bytes], call: Call, connection: Connection, length: int | None
) -> None:
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if length is not None and sent > length:
            break
        if length is None:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""  # an empty one ends it
        else:
            framed = piece
        await connection.pour(call, framed)
    if length in (None, sent):
        connection.end(call, b"0\r\n\r\n" if length is None else b"")
    else:
        connection.give_up(call, "the body is not as long as it was said to be")
