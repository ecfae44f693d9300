"""App users of one app: the operations of Smooch v1.1, and compositions."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from attrs import field, fields, frozen

from sunshine_async import bulk
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.forms import File, Form
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import FirstTry, UpsertResult, create_or_else, mark_uncertain
from sunshine_async._codec import is_unreadable, wire_name
from sunshine_async.errors import Fault, NotFoundError, ResponseDecodeError, SunshineError
from sunshine_async.smooch.links import (
    AppUserChannelsResponse,
    AppUserLink,
    ChannelEntityItem,
    LinkRequest,
    LinkRequestResponse,
    join_ids,
)
from sunshine_async.smooch.messages import ImageSource, MessageResponse, image_form
from sunshine_async.smooch.models import (
    AppUser,
    AppUserBusinessSystemsResponse,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    BusinessSystemItem,
)

_USERS: Final = "/v1.1/apps/{app_id}/appusers"
_USER: Final = _USERS + "/{user_id}"
_CHANNELS: Final = _USER + "/channels"
_OVERLAPS: Final[Mapping[int, Fault]] = {409: Fault.OVERLAPPED}
"""A change of a user meets 409 while another change of the same user is under way."""
_IN_TURN: Final[dict[int | str, str]] = {
    409: "Another call is changing the user: send a user's changes one after another"
}
_CHANGEABLE: Final = tuple(each.name for each in fields(AppUserUpdate))

GET: Final[Endpoint[None, AppUser]] = Endpoint(
    "GET", _USER, operation="getAppUser",
    returns=AppUser, inside="appUser",
    replay=Replay.SAFE,
)  # fmt: skip
PRE_CREATE: Final = Endpoint(
    "POST", _USERS, operation="preCreateAppUser",
    accepts=AppUserPreCreate, returns=AppUser, inside="appUser", ok=(201,),
    replay=Replay.GUARDED, read_back=ReadBack(GET, path={"user_id": "userId"}, query={}),
    advice={409: "app_users.upsert changes the existing user, app_users.get_or_create returns it"},
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PUT", _USER, operation="updateAppUser",
    accepts=AppUserUpdate, returns=AppUser, inside="appUser",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
    faults=_OVERLAPS, advice=_IN_TURN,
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _USER, operation="deleteAppUser",
    returns=type(None),
    replay=Replay.GONE, faults=_OVERLAPS, advice=_IN_TURN,
)  # fmt: skip
DELETE_PROFILE: Final[Endpoint[None, AppUser]] = Endpoint(
    "DELETE", _USER + "/profile", operation="deleteAppUserProfile",
    returns=AppUser, inside="appUser",
    replay=Replay.IDEMPOTENT, faults=_OVERLAPS, advice=_IN_TURN,
)  # fmt: skip
AUTH_CODE: Final[Endpoint[None, str]] = Endpoint(
    "GET", _USER + "/authcode", operation="getAppUserAuthCode",
    returns=str, inside="authCode",
    replay=Replay.SAFE,
)  # fmt: skip
ENTITY_IDS: Final[Endpoint[None, AppUserChannelsResponse]] = Endpoint(
    "GET", _CHANNELS, operation="getAppUserEntityIds",
    returns=AppUserChannelsResponse,
    replay=Replay.SAFE,
)  # fmt: skip
BUSINESS_SYSTEM_IDS: Final[Endpoint[None, AppUserBusinessSystemsResponse]] = Endpoint(
    "GET", _USER + "/businesssystems", operation="getAppUserBusinessSystemIds",
    returns=AppUserBusinessSystemsResponse,
    replay=Replay.SAFE,
)  # fmt: skip
LINK_REQUESTS: Final[Endpoint[None, LinkRequestResponse]] = Endpoint(
    "GET", _USER + "/linkrequest", operation="getLinkRequests",
    returns=LinkRequestResponse, query=("integrationIds",), needs=("integrationIds",),
    replay=Replay.SAFE,
)  # fmt: skip
LINK: Final = Endpoint(
    "POST", _CHANNELS, operation="linkAppUser",
    accepts=AppUserLink, returns=AppUser, inside="appUser",
    replay=Replay.ONCE,  # a message to a person; a 429 tells of a recent message
)  # fmt: skip
UNLINK: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _CHANNELS + "/{channel}", operation="unlinkAppUser",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
MERGE: Final = Endpoint(
    "POST", _USERS + "/merge", operation="mergeUsers",
    accepts=AppUserMerge, returns=type(None),
    replay=Replay.UNSAFE,  # a merge deletes a user
)  # fmt: skip
POST_IMAGE: Final = Endpoint(
    "POST", _USER + "/images", operation="postImageMessage",
    accepts=Form, returns=MessageResponse, ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
ENDPOINTS: Final = (
    GET, PRE_CREATE, UPDATE, DELETE, DELETE_PROFILE, AUTH_CODE, ENTITY_IDS, BUSINESS_SYSTEM_IDS,
    LINK_REQUESTS, LINK, UNLINK, MERGE, POST_IMAGE,
)  # fmt: skip


@frozen(eq=False, repr=False)
class AppUsers:
    """App users of one app.

    - A *user_id* argument takes the caller's key or the service's id.
    - Errors: `ValueError` for arguments that can't be sent, before anything is sent; after that an
      error of `errors`, such as `NotFoundError` if there is no such user, with *maybe_applied* set
      if the service may have acted.
    - A cancellation gets a note if a byte of the call may have left. The service may act then.
    - The name in brackets is the operation in the service's documentation.
    """

    _transport: Transport = field(alias="transport")
    _first_try: FirstTry = field(factory=FirstTry, init=False, repr=False)

    async def pre_create(self, body: AppUserPreCreate) -> AppUser:
        """Create a user ahead of the user's first message; return the user (preCreateAppUser).

        `ConflictError` if the user id is taken. After a lost answer the call is sent again, guarded
        by the user id. A conflict then is settled by reading the user back.
        """
        return await self._transport.call(PRE_CREATE, body)

    async def upsert(self, body: AppUserPreCreate) -> AppUser:
        """Create a user, or update the user with the user id of *body*; return the user.

        An update sets the fields that *body* sets. The results of the last upserts decide between
        create first and update first, for about one request an upsert. Concurrent writers of one
        user id make one user, and each gets an answer. (preCreateAppUser, updateAppUser)
        """
        return (await self.upserted(body)).value

    async def upserted(self, body: AppUserPreCreate) -> UpsertResult[AppUser]:
        """Do `upsert`; return the user and the effect: created, updated, or either (for jobs)."""
        PRE_CREATE.check_body(body)
        changes = AppUserUpdate(**{name: getattr(body, name) for name in _CHANGEABLE})
        return await self._create_or(body, lambda: self.update(body.user_id, changes))

    async def get_or_create(self, body: AppUserPreCreate) -> AppUser:
        """Return the user with the user id of *body*, or create the user.

        An existing user is never changed. (preCreateAppUser, getAppUser)
        """
        PRE_CREATE.check_body(body)
        return (await self._create_or(body, lambda: self.get(body.user_id))).value

    async def _create_or(
        self, body: AppUserPreCreate, otherwise: Callable[[], Awaitable[AppUser]]
    ) -> UpsertResult[AppUser]:
        return await create_or_else(
            lambda info: self._transport.call(PRE_CREATE, body, info=info),
            otherwise,
            self._first_try,
        )

    async def get(self, user_id: str) -> AppUser:
        """Return a user (getAppUser)."""
        return await self._transport.call(GET, path={"user_id": user_id})

    async def update(self, user_id: str, body: AppUserUpdate) -> AppUser:
        """Set the fields that *body* sets; return the user (updateAppUser).

        After a lost answer, and after a 409 (another change was under way), the update is sent
        again with the same values, and may overwrite another writer's change in between.
        """
        return await self._transport.call(UPDATE, body, path={"user_id": user_id})

    async def delete(self, user_id: str) -> None:
        """Delete a user, with clients and conversation (deleteAppUser).

        The deletion ends some time after the answer. A resent delete that finds no user is done.
        """
        await self._transport.call(DELETE, path={"user_id": user_id})

    async def delete_profile(self, user_id: str) -> AppUser:
        """Clear names, e-mail, properties and client data of a user; return the user.

        The conversation stays. May be sent again: nothing is left to clear. (deleteAppUserProfile)
        """
        return await self._transport.call(DELETE_PROFILE, path={"user_id": user_id})

    async def auth_code(self, user_id: str) -> str:
        """Return a code that makes another channel's client a client of this user.

        A secret, to be kept out of logs: the holder is taken for the user. (getAppUserAuthCode)
        """
        return await self._transport.call(AUTH_CODE, path={"user_id": user_id})

    async def entity_ids(self, user_id: str) -> list[ChannelEntityItem]:
        """Return the user's identity on each linked channel (getAppUserEntityIds)."""
        answer = await self._transport.call(ENTITY_IDS, path={"user_id": user_id})
        return _list_in(ENTITY_IDS, answer, "channels")

    async def business_system_ids(self, user_id: str) -> list[BusinessSystemItem]:
        """Return the conversation's places in business systems (getAppUserBusinessSystemIds)."""
        answer = await self._transport.call(BUSINESS_SYSTEM_IDS, path={"user_id": user_id})
        return _list_in(BUSINESS_SYSTEM_IDS, answer, "business_systems")

    async def link_requests(
        self, user_id: str, integration_ids: Iterable[str]
    ) -> list[LinkRequest]:
        """Return links by which a user links each of *integration_ids*, 1 or more (getLinkRequests)."""
        query = {"integrationIds": join_ids(integration_ids)}
        answer = await self._transport.call(LINK_REQUESTS, path={"user_id": user_id}, query=query)
        return _list_in(LINK_REQUESTS, answer, "link_requests")

    async def link(self, user_id: str, body: AppUserLink) -> AppUser:
        """Link a user to a channel; return the user, with the channel in *pending_clients*.

        Sent once. A lost answer is no reason to send again, since the service may have written to
        a person; nor is a 429 (`RateLimitError`), which here may tell of a phone number that was
        linked lately. (linkAppUser)
        """
        return await self._transport.call(LINK, body, path={"user_id": user_id})

    async def unlink(self, user_id: str, channel: str) -> None:
        """Remove a user's clients of *channel*, such as ``twilio`` (unlinkAppUser).

        May be sent again. A refusal of a later attempt is settled by reading the user back.
        """
        await _read_back(
            UNLINK,
            self._transport.call(UNLINK, path={"user_id": user_id, "channel": channel}),
            lambda: self._is_unlinked(user_id, channel),
            note="the channel was still linked when read back",
        )

    async def merge(self, body: AppUserMerge) -> None:
        """Merge the discarded user into the surviving user, which gets the data of both.

        The service deletes the discarded user. A merge isn't sent again once the service may have
        acted: then both users are read back. The merge is done if the discarded user is gone and
        the surviving user there. If both are there, the error gets a note. (mergeUsers)
        """
        await _read_back(
            MERGE,
            self._transport.call(MERGE, body),
            lambda: self._is_merged(body),
            note="both users were still there when read back",
        )

    async def post_image(
        self,
        user_id: str,
        source: ImageSource,
        *,
        role: str,
        file_name: str | None = None,
        content_type: str | None = None,
    ) -> MessageResponse:
        """Post an image to a user's conversation; return the new message (postImageMessage).

        - *source*, read while sent, is bytes, a path, a binary file, or an async iterable of bytes.
        - *role* is the author, ``appMaker`` or ``appUser``. *file_name* defaults to the name of the
          path or file, *content_type* to the guess of `mimetypes`.
        - Never sent again once the service may have acted; nor is an async iterable.
        - `ValueError` before anything is sent for a file that is missing, unreadable, empty or over
          50 MB. An async iterable that turns out too large is broken off.
        """
        image = File(source, file_name, content_type, fallback="image")
        del source  # error reporters attach local variables
        form = await image_form(image, role=role)
        return await self._transport.call(POST_IMAGE, form, path={"user_id": user_id})

    def pre_create_many(
        self,
        bodies: "bulk.Items[AppUserPreCreate]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[AppUserPreCreate, AppUser]]":
        """Run `pre_create` for each of *bodies* by `bulk.run`; in order for a user id."""
        return bulk.run(
            self.pre_create, bodies, concurrency=concurrency, ordered=ordered, key=_user_id
        )

    def upsert_many(
        self,
        bodies: "bulk.Items[AppUserPreCreate]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[AppUserPreCreate, AppUser]]":
        """Run `upsert` for each of *bodies* by `bulk.run`; in order for a user id."""
        return bulk.run(self.upsert, bodies, concurrency=concurrency, ordered=ordered, key=_user_id)

    def update_many(
        self,
        pairs: "bulk.Items[tuple[str, AppUserUpdate]]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[tuple[str, AppUserUpdate], AppUser]]":
        """Run `update` for each (id, body) of *pairs* by `bulk.run`; in order for an id."""

        async def update(pair: tuple[str, AppUserUpdate]) -> AppUser:
            return await self.update(*pair)

        return bulk.run(
            update, pairs, concurrency=concurrency, ordered=ordered, key=UPDATE.id_of_pair
        )

    def delete_many(
        self, ids: "bulk.Items[str]", *, concurrency: "bulk.Concurrency" = 64, ordered: bool = False
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[str, None]]":
        """Run `delete` for each of *ids* by `bulk.run`; in order for an id."""
        return bulk.run(self.delete, ids, concurrency=concurrency, ordered=ordered, key=str)

    async def _is_unlinked(self, user_id: str, channel: str) -> bool | None:
        user = await self.get(user_id)
        if (
            user.clients is None
            or is_unreadable(user, "clients")
            or is_unreadable(user, "pending_clients")
        ):
            return None
        platforms = [client.platform for client in (*user.clients, *(user.pending_clients or []))]
        return False if channel in platforms else (None if None in platforms else True)

    async def _is_merged(self, body: AppUserMerge) -> bool | None:
        await self.get(body.surviving.id)
        try:
            found = await self.get(body.discarded.id)
        except NotFoundError as error:
            return None if error.is_foreign else True
        return None if found.id is None else found.id == body.surviving.id


async def _read_back(
    endpoint: Endpoint[Any, None],
    call: Awaitable[None],
    is_applied: Callable[[], Awaitable[bool | None]],
    *,
    note: str,
) -> None:
    """Await *call*, a call of *endpoint*; if *call* fails and may have been applied, look.

    If *is_applied*, *call* is done. Else raise the error of *call*, as uncertain as before: with
    *note* for False, since the service may act late; without for None, or if the look fails.
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


def _list_in(endpoint: Endpoint[None, Any], answer: Any, name: str) -> list[Any]:
    """Return the list *name* of *answer*; raise `ResponseDecodeError` if the value is no list."""
    found: list[Any] | None = getattr(answer, name)
    if found is None and is_unreadable(answer, name):
        reason = "expected a list"
        raise ResponseDecodeError(
            reason, path=wire_name(name), status=200, endpoint=str(endpoint), maybe_applied=False
        )
    return found or []


def _user_id(body: AppUserPreCreate) -> str:
    PRE_CREATE.check_body(body)
    return body.user_id
