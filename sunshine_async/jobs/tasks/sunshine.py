"""Tasks of Sunshine Conversations v2: a call for each row.

A message goes to the conversation of the row, or to the user's own: the default conversation, else
another personal conversation, else a new personal conversation. Where a lost answer hides the new
conversation, the row is sent again: that may make a second conversation, never a second message.

The journal keeps the key of a message (`Messages`, *once*) as the row's remote id until the service
gives an id. The models of messages are imported at the first use: jobs of users don't wait for the
import.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

from attrs import field, frozen

from sunshine_async import sunshine
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.upsert import UpsertResult
from sunshine_async._codec.model import UNSET, Model, Unset, redact
from sunshine_async._http.messages import Request
from sunshine_async.errors import NotFoundError, SunshineError
from sunshine_async.jobs.tasks.task import Entry, Mode, Recovery, Service, Task
from sunshine_async.rows import Shape
from sunshine_async.sunshine.client import SunshineClient
from sunshine_async.sunshine.models import UserCreateBody, UserUpdateBody
from sunshine_async.sunshine.once import EARLIEST, SETTLED_AFTER, is_yet_to_come
from sunshine_async.sunshine.users import CREATE, DELETE, UPDATE

_IDS: Final = ("id", "externalId")
_BRAND: Final = ("brandId",)
_CONVERSATION: Final = "conversationId"
_USER: Final = "externalId"
_SET_BY_JOB: Final = ("author", "content")
_APP: Final = {"app_id": "app"}  # any id: the client has checked its own


def _request(endpoint: Endpoint[Any, Any]) -> Callable[[Entry], Request]:
    """Return the request builder for *endpoint*, with a user's id in the path."""

    def request(entry: Entry) -> Request:
        path = {**_APP, "user_id_or_external_id": entry.id}
        return endpoint.request(entry.body, path, {"brandId": entry.address.get("brandId")})

    return request


def _key_of(entry: Entry) -> str:
    key: str | None = entry.body.external_id
    if key:
        return key
    message = "no externalId: without it nobody can tell whether the user is there"
    raise ValueError(message)


def _upsert_request(entry: Entry) -> Request:
    """Return the create; `ValueError` for an invalid body, or a key that no update could address."""
    path = {**_APP, "user_id_or_external_id": _key_of(entry)}
    UPDATE.request(UserUpdateBody(), path, {})
    return CREATE.request(entry.body, _APP, {})


async def _upsert(client: SunshineClient, entry: Entry) -> UpsertResult["sunshine.User"]:
    _key_of(entry)
    return await client.users.upserted(entry.body)


@frozen(kw_only=True, slots=False)
class TextRow(Model):
    """Row of a message: a text of the business. Further keys are those of `MessagePost`."""

    text: str = field(repr=redact)
    metadata: Mapping[str, str | float | bool] | Unset = field(default=UNSET, repr=redact)


def _post_of(entry: Entry) -> "sunshine.MessagePost":
    row: TextRow = entry.body
    return sunshine.MessagePost(
        author=sunshine.Author(type="business"),
        content=sunshine.TextMessage(text=row.text),
        metadata=row.metadata,
        extra=row.extra,
    )


def _post_request(entry: Entry) -> Request:
    """Return the post; raise `ValueError` for a message that can't be sent."""
    from sunshine_async.sunshine.messages import POST, check_post  # noqa: PLC0415 - see above

    for name in _SET_BY_JOB:
        if name in entry.body.extra:
            message = f"{name}: a row has a text of the business. Leave {name} out"
            raise ValueError(message)
    body = check_post(_post_of(entry), entry.remote_id)
    return POST.request(body, {**_APP, "conversation_id": entry.id}, {})


async def _send_message(client: SunshineClient, entry: Entry) -> "list[sunshine.Message]":
    _post_request(entry)  # first: an unfit message is no reason for a conversation
    conversation_id = entry.address.get(_CONVERSATION) or await _users_own(client, entry)
    return await client.messages.post(conversation_id, _post_of(entry), once=entry.remote_id)


async def _users_own(client: SunshineClient, entry: Entry) -> str:
    """Return the id of the user's own conversation; an error says that no message was sent."""
    participant = sunshine.ParticipantJoinBody(user_external_id=entry.address[_USER])
    body = sunshine.ConversationCreateBody(type="personal", participants=[participant])
    try:
        return (await client.conversations.get_or_create(body)).id
    except SunshineError as error:
        error.maybe_applied = False
        raise


async def _find_message(client: SunshineClient, entry: Entry) -> "list[sunshine.Message] | None":
    """Return the message of an earlier sending, in any conversation of the row; None: no message."""
    once = entry.remote_id or ""
    async for conversation_id in _conversations(client, entry):
        try:
            found = await client.messages.find(
                conversation_id, _post_of(entry), once=once, sent_before=_made_at(once)
            )
        except NotFoundError as error:  # a conversation that is gone has no message
            if error.is_foreign:
                raise
            continue
        if found:
            return found
    return None


async def _conversations(client: SunshineClient, entry: Entry) -> AsyncIterator[str]:
    """Yield the id of the row's conversation, or of each conversation of the user."""
    if _CONVERSATION in entry.address:
        yield entry.address[_CONVERSATION]
        return
    async for conversation in client.conversations.list(user_external_id=entry.address[_USER]):
        yield conversation.id


def _new_once() -> str:
    """Return a new key of a message: the time in milliseconds since 1970, and 64 random bits."""
    return f"{time.time_ns() // 1_000_000}-{token_hex(8)}"


def _made_at(once: str) -> datetime:
    """Return a time, from the time in a key by `_new_once`: no message with the key is older.

    After a clock was set back, that is any time.
    """
    at = datetime.fromtimestamp(int(once.partition("-")[0]) / 1000, UTC)
    return EARLIEST if is_yet_to_come(at) else at


SUNSHINE: Final = Service(
    "sunshine",
    {
        Mode.CREATE: Task(
            Shape(UserCreateBody),
            send=lambda client, entry: client.users.create(entry.body),
            key=lambda entry: entry.body.external_id or None,
            request=lambda entry: CREATE.request(entry.body, _APP, {}),
            key_fields=("externalId",),
            key_scope=_BRAND,
            done="created",
            recovery=lambda entry: (
                Recovery.LOOK_UP_OR_RESEND if entry.body.external_id else Recovery.UNKNOWN
            ),
            look_up=lambda client, entry: client.users.get(
                entry.body.external_id,
                brand_id=None if entry.body.brand_id is UNSET else entry.body.brand_id,
            ),
        ),
        Mode.UPDATE: Task(
            Shape(UserUpdateBody, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.update(
                entry.id, entry.body, brand_id=entry.address.get("brandId")
            ),
            request=_request(UPDATE),
            key_fields=_IDS,
            key_scope=_BRAND,
            done="updated",
            recovery=lambda _: Recovery.RESEND,
        ),
        Mode.UPSERT: Task(
            Shape(UserCreateBody, key=("externalId",)),
            send=_upsert,
            key=lambda entry: entry.body.external_id or None,
            request=_upsert_request,
            key_fields=("externalId",),
            key_scope=_BRAND,
            recovery=lambda entry: (
                Recovery.RESEND_UNCERTAIN if entry.body.external_id else Recovery.RESEND
            ),
        ),
        Mode.DELETE: Task(
            Shape(None, ids=_IDS, beside=_BRAND),
            send=lambda client, entry: client.users.delete(
                entry.id, brand_id=entry.address.get("brandId")
            ),
            request=_request(DELETE),
            key_fields=_IDS,
            key_scope=_BRAND,
            done="deleted",
            recovery=lambda _: Recovery.RESEND_DELETE,
        ),
        Mode.MESSAGE: Task(
            Shape(TextRow, ids=(_CONVERSATION, _USER)),
            send=_send_message,
            request=_post_request,
            done="sent",
            recovery=lambda _: Recovery.LOOK_UP,
            look_up=_find_message,
            matches=lambda _found, _body: True,  # the look-up compares
            settle=SETTLED_AFTER.total_seconds(),
            new_id=_new_once,
            remote_id=lambda messages: messages[0].id if messages else None,
        ),
    },
    probe=lambda client: client.users.get("is-the-service-back"),
    client=SunshineClient,
)
