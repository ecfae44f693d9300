"""Conversations of an app: operations, and conversations created once."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import evolve, field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Listing, Query
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec import covers
from sunshine_async._codec.model import UNSET
from sunshine_async.sunshine.conversation_models import (
    Conversation,
    ConversationCreateBody,
    ConversationListResponse,
    ConversationUpdateBody,
    ConversionEvents,
    ConversionEventsBody,
    DownloadMessageRefBody,
)
from sunshine_async.sunshine.once import (
    LookUp,
    check_metadata,
    check_once,
    create_once,
    has_mark,
)
from sunshine_async.sunshine.pages import MAX_PAGE_SIZE, PAGE_QUERY, list_pages

_CONVERSATIONS: Final = "/v2/apps/{app_id}/conversations"
_CONVERSATION: Final = _CONVERSATIONS + "/{conversation_id}"
_Conversations: TypeAlias = list[Conversation]
_FILTERS: Final = ("filter[userId]", "filter[userExternalId]")

CREATE: Final = Endpoint(
    "POST", _CONVERSATIONS, operation="CreateConversation",
    accepts=ConversationCreateBody, returns=Conversation, inside="conversation", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, ConversationListResponse]] = Endpoint(
    "GET", _CONVERSATIONS, operation="ListConversations",
    returns=ConversationListResponse, query=(*PAGE_QUERY, *_FILTERS),
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, Conversation]] = Endpoint(
    "GET", _CONVERSATION, operation="GetConversation",
    returns=Conversation, inside="conversation",
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _CONVERSATION, operation="UpdateConversation",
    accepts=ConversationUpdateBody, returns=Conversation, inside="conversation",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _CONVERSATION, operation="DeleteConversation",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
DOWNLOAD_MESSAGE_REF: Final = Endpoint(
    "POST", _CONVERSATION + "/download", operation="DownloadMessageRef",
    accepts=DownloadMessageRefBody, returns=dict[str, Any],
    replay=Replay.SAFE,  # assumed: only reads
)  # fmt: skip
POST_CONVERSION_EVENTS: Final = Endpoint(
    "POST", _CONVERSATION + "/conversionEvents", operation="PostConversionEvents",
    accepts=ConversionEventsBody, returns=ConversionEvents, inside="conversionEvents",
    replay=Replay.UNSAFE,  # each sending counts the events
)  # fmt: skip
ENDPOINTS: Final = (
    CREATE, LIST, GET, UPDATE, DELETE, DOWNLOAD_MESSAGE_REF, POST_CONVERSION_EVENTS,
)  # fmt: skip


@frozen
class Conversations:
    """Conversations of the app.

    Errors, cancellation and names in brackets are as in `Users`. Metadata that is nested or over
    4 KB is a `ValueError`, before anything is sent.
    """

    _transport: Transport = field(alias="transport")

    async def create(
        self,
        body: ConversationCreateBody,
        *,
        once: str | None = None,
        sent_before: datetime | None = None,
    ) -> Conversation:
        """Create a conversation; return the conversation (CreateConversation).

        *once* and *sent_before* are as in `Messages`: the key is in the metadata of the
        conversation, and look-ups read the list of the first participant's conversations.
        `ValueError` for *once* without a participant. Without *once*, a create with a lost answer
        is an error with *maybe_applied* True.
        """
        check_once(once, sent_before)
        CREATE.check_body(body)
        body = evolve(body, metadata=check_metadata(body.metadata, once))

        async def send() -> _Conversations:
            return [await self._transport.call(CREATE, body)]

        if once is None:
            return (await send())[0]
        sent = evolve(body, participants=UNSET)
        look_up = self._look_up(
            body,
            lambda conversation: has_mark(conversation, once),
            lambda conversation: covers(conversation, sent),
            once=once,
        )
        found = await create_once(send, look_up, self._transport, sent_before=sent_before)
        return found[0]

    async def get_or_create(self, body: ConversationCreateBody) -> Conversation:
        """Return the first participant's conversation of the type of *body*, or create *body*.

        The default conversation goes first. An existing conversation stays unchanged.
        `ResponseDecodeError` if there is none, and a conversation without a readable type may be
        one: nothing is created then. A create with a lost answer is settled by two look-ups.
        Two callers at the same time may make two conversations, because the service has no key for
        conversations. `ValueError` without a participant. (ListConversations, CreateConversation)
        """
        CREATE.check_body(body)
        check_metadata(body.metadata)

        def is_same(conversation: Conversation) -> bool | None:
            return None if conversation.type is None else conversation.type == body.type

        def has_default(found: _Conversations) -> bool:
            return any(each.is_default for each in found)

        async def create() -> _Conversations:
            return [await self.create(body)]

        look_up = self._look_up(body, is_same, lambda _: True, has_default)
        found = await look_up.marked(None) or await create_once(create, look_up, self._transport)
        return next((each for each in found if each.is_default), found[0])

    async def get(self, conversation_id: str) -> Conversation:
        """Return a conversation (GetConversation)."""
        return await self._transport.call(GET, path=_id(conversation_id))

    async def update(self, conversation_id: str, body: ConversationUpdateBody) -> Conversation:
        """Set the fields that *body* sets; return the conversation (UpdateConversation).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        UPDATE.check_body(body)
        check_metadata(body.metadata)
        return await self._transport.call(UPDATE, body, path=_id(conversation_id))

    async def delete(self, conversation_id: str) -> None:
        """Delete a conversation, with messages and attachments (DeleteConversation).

        A resent delete that finds no conversation is done. `BadRequestError` for a user's default
        conversation: delete the messages instead, by `Messages.delete_all`.
        """
        await self._transport.call(DELETE, path=_id(conversation_id))

    async def download_message_ref(
        self, conversation_id: str, body: DownloadMessageRefBody
    ) -> Mapping[str, Any]:
        """Return the data behind a channel's reference to a message (DownloadMessageRef)."""
        return await self._transport.call(DOWNLOAD_MESSAGE_REF, body, path=_id(conversation_id))

    async def post_conversion_events(
        self, conversation_id: str, body: ConversionEventsBody
    ) -> ConversionEvents:
        """Send events to Meta's Conversions API; return the count (PostConversionEvents).

        Events with a lost answer are not sent again: that could count the events twice.
        """
        return await self._transport.call(POST_CONVERSION_EVENTS, body, path=_id(conversation_id))

    def list(
        self,
        *,
        user_id: str | None = None,
        user_external_id: str | None = None,
        after: str | None = None,
        before: str | None = None,
        from_page: str | None = None,
        page_size: int | None = None,
    ) -> Listing[Conversation]:
        """Return the conversations of a user, by *user_id* or *user_external_id*.

        *after* and *before* are ids of conversations; *page_size* is 1 to 100 conversations, 25 by
        default. `ValueError` for both ids of the user or none, and for both *after* and *before*.
        (ListConversations)
        """
        if bool(user_id) == bool(user_external_id):
            message = "user_id or user_external_id: one of the two, and not both"
            raise ValueError(message)

        def fetch(query: Query) -> Awaitable[ConversationListResponse]:
            return self._transport.call(LIST, query=query)

        return list_pages(
            fetch,
            LIST,
            after=after,
            before=before,
            from_page=from_page,
            page_size=page_size,
            filters=dict(zip(_FILTERS, (user_id, user_external_id), strict=True)),
        )

    def _look_up(
        self,
        body: ConversationCreateBody,
        is_marked: Callable[[Conversation], bool | None],
        is_equal: Callable[[Conversation], bool],
        suffices: Callable[[_Conversations], bool] = bool,
        *,
        once: str | None = None,
    ) -> LookUp[Conversation]:
        """Return the look-up in all conversations of the first participant of *body*."""
        if not body.participants:
            message = "the body has no participant, so the conversation can't be looked up"
            raise ValueError(message)
        first = body.participants[0]
        listing = self.list(
            user_id=first.user_id or None,
            user_external_id=first.user_external_id or None,
            page_size=MAX_PAGE_SIZE,
        )
        return LookUp(
            endpoint=CREATE,
            pages=listing.pages,
            reaches=lambda _page, _since: False,  # the order of the list is unknown
            is_marked=is_marked,
            is_equal=is_equal,
            key=None if once is None else (first.user_id or first.user_external_id or "", once),
            suffices=suffices,
        )


def _id(conversation_id: str) -> Mapping[str, str]:
    return {"conversation_id": conversation_id}
