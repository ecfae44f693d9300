"""Activities in a conversation: typing and reading."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final, TypeAlias

import anyio
from attrs import field, frozen

from sunshine_async._calls.arguments import check_type
from sunshine_async._calls.endpoint import Endpoint, segment
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import Model
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk.cancellation import background_tasks
from sunshine_async.errors import SunshineError
from sunshine_async.sunshine.message_models import Author

_LOG: Final = logging.getLogger("sunshine_async")


@frozen(kw_only=True, slots=False)
class ActivityPost(Model):
    """The body of `Activities.post`."""

    author: Author
    type: str
    """``conversation:read``, ``typing:start`` or ``typing:stop``; of a user only the first."""


POST: Final = Endpoint(
    "POST", "/v2/apps/{app_id}/conversations/{conversation_id}/activity", operation="PostActivity",
    accepts=ActivityPost, returns=type(None),
    replay=Replay.IDEMPOTENT,  # assumed: a second signal of the same kind changes nothing
)  # fmt: skip
ENDPOINTS: Final = (POST,)
_Post: TypeAlias = Callable[[ActivityPost], Awaitable[None]]


@frozen
class Activities:
    """Activities in conversations; errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def post(self, conversation_id: str, body: ActivityPost) -> None:
        """Tell the participants of an activity (PostActivity). May be sent again."""
        await self._transport.call(POST, body, path={"conversation_id": conversation_id})

    @asynccontextmanager
    async def typing(
        self, conversation_id: str, *, author: Author | None = None, interval: float = 8.0
    ) -> AsyncGenerator[None]:
        """Show the business as typing while the block runs: ``async with``.

        - ``typing:start`` is posted at the beginning, and again every *interval* seconds (8 is
          assumed: channels drop the sign after a while). ``typing:stop`` is posted at the end, for
          at most *interval* seconds; after a cancellation it is not.
        - A failing activity never breaks the work of the block: the error is logged (WARNING). An
          error of the block is raised as itself.
        - The posts run beside the block, and the block doesn't wait for the first.
        - `ValueError` for an *interval* of 0 or less, and for an invalid id, before the block.

        *author* defaults to ``Author(type="business")``.
        """
        check_type("interval", type(interval), float)
        if not interval > 0:
            message = f"interval={interval}: seconds, more than 0"
            raise ValueError(message)
        author = Author(type="business") if author is None else author
        start, stop = (
            ActivityPost(author=author, type=f"typing:{end}") for end in ("start", "stop")
        )
        segment("conversation_id", conversation_id)
        post = partial(self.post, conversation_id)

        async def repeat() -> None:
            while True:
                await _try_post(post, start)
                await CLOCK.sleep(interval)

        async with _post_at_end(post, stop, interval), background_tasks() as tasks:
            tasks.start(repeat)
            yield


@asynccontextmanager
async def _post_at_end(post: _Post, body: ActivityPost, seconds: float) -> AsyncGenerator[None]:
    """Post an activity after the block, unless the block was cancelled."""
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised below, as itself
        failure = error
    await _try_post(post, body, seconds=seconds)
    if failure is not None:
        raise failure


async def _try_post(post: _Post, body: ActivityPost, *, seconds: float = inf) -> None:
    """Post an activity for at most *seconds*; log the error, if any."""
    try:
        with anyio.move_on_after(seconds):
            await post(body)
    except Exception as error:  # noqa: BLE001 - of any kind: the work of the block goes on
        known = isinstance(error, SunshineError)  # any other text may hold a secret
        reason = error if known else type(error).__name__
        _LOG.warning("%s: %s; only the sign is lost, the work goes on", body.type, reason)
