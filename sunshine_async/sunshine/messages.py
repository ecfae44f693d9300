"""Messages of a conversation: operations, and messages sent once, from files, in bulk."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from types import NoneType
from typing import Any, Final, TypeAlias, cast

from attrs import evolve, field, frozen

from sunshine_async import bulk
from sunshine_async._calls.arguments import check_type
from sunshine_async._calls.endpoint import Endpoint, segment
from sunshine_async._calls.forms import File
from sunshine_async._calls.pages import Listing, Page, Query
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec import holds, unstructure
from sunshine_async._codec.model import UNSET, Unset
from sunshine_async.errors import SunshineError
from sunshine_async.sunshine.attachments import Attachments, AttachmentSource
from sunshine_async.sunshine.contents import Action, Content, FileMessage, ImageMessage, TextMessage
from sunshine_async.sunshine.message_models import (
    Author,
    Destination,
    Message,
    MessageListResponse,
    MessagePost,
)
from sunshine_async.sunshine.once import (
    EchoKey,
    LookUp,
    check_metadata,
    check_once,
    create_once,
    find_earlier,
    has_mark,
)
from sunshine_async.sunshine.pages import PAGE_QUERY, Direction, list_pages

_MESSAGES: Final = "/v2/apps/{app_id}/conversations/{conversation_id}/messages"
MAX_TEXT: Final = 4096
"""Most characters of a text."""
_MAX_BRAND_ID: Final = 24
_TEXTS: Final = ("text", "html_text", "markdown_text")
_SHORTHAND: Final = ("%[", "&[")
"""Beginnings of the shorthand syntax, of which the service makes contents of further kinds."""
BUSINESS: Final = Author(type="business")
USER: Final = "user"

Post: TypeAlias = tuple[str, MessagePost]
"""Id of a conversation, and the body of a message for the conversation."""
_Messages: TypeAlias = list[Message]
_Actions: TypeAlias = list[Action]

POST: Final = Endpoint(
    "POST", _MESSAGES, operation="PostMessage",
    accepts=MessagePost, returns=list[Message], inside="messages", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, MessageListResponse]] = Endpoint(
    "GET", _MESSAGES, operation="ListMessages",
    returns=MessageListResponse, query=PAGE_QUERY,
    replay=Replay.SAFE,
)  # fmt: skip
DELETE_ALL: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _MESSAGES, operation="DeleteAllMessages",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _MESSAGES + "/{message_id}", operation="DeleteMessage",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (POST, LIST, DELETE_ALL, DELETE)


@frozen
class Messages:
    """Messages of the app's conversations.

    A message is sent once:

    - The service has no idempotency key. With *once*, the caller's own key (1 to 200 characters),
      the key goes into the metadata of the message, as ``sunshineAsyncOnce``.
    - After a lost answer, `post` reads the newest page of the conversation twice, with a pause of
      four times `Retry.first_wait` (2 seconds by default). The message with the key and equal
      content is the result. No message with the key: the error of the request has *maybe_applied*
      True, because the request may still be under way. If a `webhooks.Receiver` of this process
      gets the message first, that message is the result.
    - A message with the key and different content: `ConflictError`, with *maybe_applied* True.
    - Without *once*, a lost answer is an error with *maybe_applied* True. The message is never sent
      again.
    - *sent_before* is for work that runs again: the time of an earlier attempt with the same key.
      `post` waits until that time, and the end of the last attempt in this process, is 5 seconds
      old, and reads back past that time, before sending. A page that can't be read: an error with
      *maybe_applied* True, and nothing is sent. The earlier request may still arrive later than
      that, and then makes a second message. So do two calls at the same time with the same key.

    Errors, cancellation and names in brackets are as in `Users`. `ValueError` before anything is
    sent: no author, no content, a text over 4,096 characters, metadata that is nested or over 4 KB.
    """

    _transport: Transport = field(alias="transport")

    async def post(
        self,
        conversation_id: str,
        body: MessagePost,
        *,
        once: str | None = None,
        sent_before: datetime | None = None,
    ) -> _Messages:
        """Send a message; return the message, or several (PostMessage).

        The service may make several messages of the shorthand syntax. `LockedError` for a
        conversation that has 30,000 messages. Each look-up of *once* is a call with a new deadline.
        """
        check_once(once, sent_before)
        body = check_post(body, once)

        async def send() -> _Messages:
            return await self._transport.call(POST, body, path={"conversation_id": conversation_id})

        if once is None:
            return await send()
        look_up = _look_up(
            self.list(conversation_id),
            (conversation_id, once),
            body.author,
            partial(_is_sent, body),
        )
        return await create_once(send, look_up, self._transport, sent_before=sent_before)

    async def find(
        self, conversation_id: str, body: MessagePost, *, once: str, sent_before: datetime
    ) -> _Messages:
        """Look up the message of an earlier `post` with the key *once*, and send nothing.

        Return the message, or an empty list if there is none: the earlier request may still arrive.
        The look-up begins when *sent_before*, the time of the earlier `post`, is 5 seconds old, and
        reads back past that time, by `list`. `ConflictError` for a message with the key and other
        content.
        """
        POST.check_body(body)
        check_once(once, sent_before)
        check_type("sent_before", type(sent_before), datetime)
        look_up = _look_up(
            self.list(conversation_id),
            (conversation_id, once),
            body.author,
            partial(_is_sent, body),
        )
        return await look_up.earlier(self._transport, sent_before)

    async def send_text(
        self,
        conversation_id: str,
        text: str,
        *,
        once: str | None = None,
        sent_before: datetime | None = None,
        author: Author = BUSINESS,
        actions: _Actions | None = None,
        metadata: Mapping[str, str | float | bool] | None = None,
        destination: Destination | Unset = UNSET,
    ) -> _Messages:
        """Send a text, by default as the business; return the messages as `post` does."""
        body = MessagePost(
            author=author,
            content=TextMessage(text=text, actions=actions),
            metadata=metadata or UNSET,
            destination=destination,
        )
        del text, metadata  # error reporters attach local variables
        _check_texts(body.content, required="text")
        return await self.post(conversation_id, body, once=once, sent_before=sent_before)

    async def send_file(
        self,
        conversation_id: str,
        source: AttachmentSource,
        *,
        once: str | None = None,
        sent_before: datetime | None = None,
        file_name: str | None = None,
        content_type: str | None = None,
        text: str | None = None,
        alt_text: str | None = None,
        author: Author = BUSINESS,
        metadata: Mapping[str, str | float | bool] | None = None,
        destination: Destination | Unset = UNSET,
        access: str = "public",
    ) -> _Messages:
        """Upload a file, then send the file; return the messages as `post` does.

        An image goes as `ImageMessage`, any further file as `FileMessage`. *source*, *file_name*,
        *content_type* and *access* are as in `Attachments.upload`. With *sent_before*, a message
        with a file and the key is the result, whatever the file; nothing is uploaded then. An error
        of the upload has *maybe_applied* False: no message was sent, and a file without a message
        may be left. (UploadAttachment, PostMessage)
        """
        check_once(once, sent_before)
        segment("conversation_id", conversation_id)  # before the upload, which does without
        file = File(source, file_name, content_type)
        draft = FileMessage(media_url="", text=text, alt_text=alt_text)
        body = MessagePost(
            author=author, content=draft, metadata=metadata or UNSET, destination=destination
        )
        del source, text, alt_text, metadata  # error reporters attach local variables
        check_post(body, once)
        unstructure(body)  # a value of another type is refused before the upload
        if once is not None and sent_before is not None:
            look_up = _look_up(
                self.list(conversation_id), (conversation_id, once), author, _has_file
            )
            found = await find_earlier(look_up, self._transport, sent_before)
            if found:
                return found
        try:
            uploaded = await Attachments(self._transport).upload(
                file.source,
                access=access,
                for_="message",
                conversation_id=conversation_id,
                file_name=file_name,
                content_type=content_type,
            )
        except SunshineError as error:
            error.maybe_applied = False  # a message wasn't sent
            raise
        is_image = (uploaded.media_type or "").startswith("image/")
        kind = ImageMessage if is_image else FileMessage
        content = kind(media_url=uploaded.media_url, text=draft.text, alt_text=draft.alt_text)
        return await self.post(conversation_id, evolve(body, content=content), once=once)

    def post_many(
        self,
        pairs: "bulk.Items[Post]",
        *,
        once: Callable[[Post], str] | None = None,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[Post, _Messages]]":
        """Run `post` for each (conversation id, body) of *pairs* by `bulk.run`.

        The messages of a conversation go in sequence, in the order of *pairs*; a message with a
        lost answer, `bulk.Unknown`, may arrive after the next. *once* returns the key of a pair; an
        exception of *once* is the cause of a `ValueError`: nothing was sent.
        """

        async def post(pair: Post) -> _Messages:
            conversation_id, body = pair
            return await self.post(conversation_id, body, once=_key_of(pair, once))

        return bulk.run(post, pairs, concurrency=concurrency, ordered=ordered, key=POST.id_of_pair)

    async def delete(self, conversation_id: str, message_id: str) -> None:
        """Delete a message; a resent delete that finds no message is done (DeleteMessage)."""
        path = {"conversation_id": conversation_id, "message_id": message_id}
        await self._transport.call(DELETE, path=path)

    async def delete_all(self, conversation_id: str) -> None:
        """Delete all messages of a conversation (DeleteAllMessages).

        After a lost answer the delete is sent again, and deletes newer messages too.
        """
        await self._transport.call(DELETE_ALL, path={"conversation_id": conversation_id})

    def list(
        self,
        conversation_id: str,
        *,
        before: str | None = None,
        after: str | None = None,
        from_page: str | None = None,
    ) -> Listing[Message]:
        """Return the messages of a conversation: pages of 100, from the newest page backwards.

        Within a page the messages are in the service's order (assumed: the oldest first). *before*
        and *after* are ids of messages: pages backwards from *before*, or forwards from *after*.
        `ValueError` for both. (ListMessages)
        """
        path = {"conversation_id": conversation_id}

        async def fetch(query: Query) -> MessageListResponse:
            return await self._transport.call(LIST, path=path, query=query)

        backwards = Direction.BACKWARDS
        return list_pages(
            fetch, LIST, after=after, before=before, from_page=from_page, direction=backwards
        )


def _look_up(
    listing: Listing[Message],
    key: EchoKey,
    author: Author | Unset,
    is_equal: Callable[[Message], bool],
) -> LookUp[Message]:
    """Return the look-up in *listing* of messages with the mark in *key*, for an *author*.

    A user may copy a mark, so a user's message counts only for a user as the author. A message with
    an unknown author counts.
    """

    def is_marked(message: Message) -> bool | None:
        by_user = _kind(message.author) == USER
        return (not by_user or _kind(author) == USER) and has_mark(message, key[1])

    def reaches(page: Page[Message], since: datetime | None) -> bool:
        times = (message.received for message in page.items)
        return since is None or any(time is not None and time < since for time in times)

    return LookUp(POST, listing.pages, reaches, is_marked, is_equal, key)


def _key_of(pair: Post, once: Callable[[Post], object] | None) -> str | None:
    """Return the key of *pair* by *once*; `ValueError` with the exception of *once* as cause."""
    if once is None:
        return None
    try:
        key = once(pair)
    except Exception as error:
        message = f"once raised {type(error).__name__}, so nothing was sent"
        raise ValueError(message) from error
    if isinstance(key, str):
        return key
    message = f"once must return a text, not {type(key).__name__}"
    raise TypeError(message)


def check_post(body: MessagePost, once: str | None) -> MessagePost:
    """Return *body* with the mark of *once*; raise `ValueError` for an unfit message."""
    POST.check_body(body)
    author = body.author
    if not isinstance(author, Author) or not author.type:
        message = 'the message has no author: author=Author(type="business")'
        raise ValueError(message)
    if not _kind(body.content):
        message = 'the message has no content: content=TextMessage(text="Hello")'
        raise ValueError(message)
    _check_texts(body.content)
    _check_brand(author)
    return evolve(body, metadata=check_metadata(body.metadata, once))


def _check_texts(content: object, *, required: str | None = None) -> None:
    """Raise an error for a text of *content* that is too long, or no text; None: no text."""
    for name in _TEXTS:
        kind = cast("object", getattr(content, name, None)).__class__
        if kind is not NoneType or name == required:
            check_type(name, kind)
        if (length := len(getattr(content, name, None) or "")) > MAX_TEXT:
            message = f"{name} has {length} characters: {MAX_TEXT} at most"
            raise ValueError(message)


def _kind(part: Author | Content | Unset | None) -> str | None:
    """Return the type of an author or a content; None for a value of any further type."""
    return getattr(part, "type", None)


def _check_brand(author: Author) -> None:
    if author.brand_id is None:
        return
    if author.user_external_id is None:
        message = "brand_id of an author is for user_external_id: leave brand_id out"
        raise ValueError(message)
    if not 1 <= len(author.brand_id) <= _MAX_BRAND_ID:
        message = f"brand_id has {len(author.brand_id)} characters: 1 to {_MAX_BRAND_ID}"
        raise ValueError(message)


def _has_file(message: Message) -> bool:
    return isinstance(message.content, FileMessage | ImageMessage) or message.deleted is True


def _is_sent(body: MessagePost, message: Message) -> bool:
    """Return True if *message* has the content of *body*, apart from parts the service rewrites.

    The service replaces Markdown by HTML, and makes contents of further kinds of the shorthand
    syntax, and may append a disclaimer to a text of an AI. The placeholder of a deleted message
    counts as sent.
    """
    sent: dict[str, Any] = unstructure(body.content)
    there: dict[str, Any] = unstructure(message.content) or {}
    sent.pop("markdownText", None)
    if "AI" in (getattr(body.author, "subtypes", None) or ()):
        for name in {"text", "htmlText"} & sent.keys():
            if str(there.get(name)).startswith(sent[name]):
                del sent[name]
    if any(begin in sent.get("text", "") for begin in _SHORTHAND):
        sent = {}
    return message.deleted is True or holds(there, sent)
