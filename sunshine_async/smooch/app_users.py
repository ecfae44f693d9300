"""The app users of one app: Smooch v1.1."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from attrs import field, frozen

from sunshine_async import bulk
from sunshine_async._calls.caller import CallInfo
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import FirstTry, UpsertResult, create_or_else
from sunshine_async._codec import is_unreadable, wire_name
from sunshine_async.bulk import Items, Outcomes
from sunshine_async.errors import Fault, NotFoundError, ResponseDecodeError
from sunshine_async.smooch.images import Image, ImageSource
from sunshine_async.smooch.links import (
    AppUserChannelsResponse,
    AppUserLink,
    ChannelEntityItem,
    LinkRequest,
    LinkRequestResponse,
)
from sunshine_async.smooch.messages import MessageResponse
from sunshine_async.smooch.models import (
    AppUser,
    AppUserBusinessSystemsResponse,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    BusinessSystemItem,
)
from sunshine_async.smooch.read_back import settled

_USERS: Final = "/v1.1/apps/{app_id}/appusers"
_USER: Final = _USERS + "/{user_id}"
_CHANNELS: Final = _USER + "/channels"
_OVERLAPS: Final[Mapping[int, Fault]] = {409: Fault.OVERLAPPED}
"""Of a change of one user, a 409 says that another change of that user was under way."""

GET: Final[Endpoint[None, AppUser]] = Endpoint(
    "GET", _USER, operation="getAppUser",
    returns=AppUser, inside="appUser",
    replay=Replay.SAFE,
)  # fmt: skip
PRE_CREATE: Final = Endpoint(
    "POST", _USERS, operation="preCreateAppUser",
    accepts=AppUserPreCreate, returns=AppUser, inside="appUser", ok=(201,),
    replay=Replay.GUARDED, read_back=ReadBack(GET, path={"user_id": "userId"}, query={}),
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PUT", _USER, operation="updateAppUser",
    accepts=AppUserUpdate, returns=AppUser, inside="appUser",
    replay=Replay.IDEMPOTENT,  # what is left out stays: a second sending sets the same
    faults=_OVERLAPS,
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _USER, operation="deleteAppUser",
    returns=type(None),
    replay=Replay.GONE, faults=_OVERLAPS,
)  # fmt: skip
DELETE_PROFILE: Final[Endpoint[None, AppUser]] = Endpoint(
    "DELETE", _USER + "/profile", operation="deleteAppUserProfile",
    returns=AppUser, inside="appUser",
    replay=Replay.IDEMPOTENT, faults=_OVERLAPS,
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
    returns=LinkRequestResponse, query=("integrationIds",),
    replay=Replay.SAFE,
)  # fmt: skip
LINK: Final = Endpoint(
    "POST", _CHANNELS, operation="linkAppUser",
    accepts=AppUserLink, returns=AppUser, inside="appUser",
    replay=Replay.ONCE,  # it writes to a person, and 429 says that it did so lately
)  # fmt: skip
UNLINK: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _CHANNELS + "/{channel}", operation="unlinkAppUser",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
MERGE: Final = Endpoint(
    "POST", _USERS + "/merge", operation="mergeUsers",
    accepts=AppUserMerge, returns=type(None),
    replay=Replay.UNSAFE,  # it deletes a user
)  # fmt: skip
POST_IMAGE: Final = Endpoint(
    "POST", _USER + "/images", operation="postImageMessage",
    accepts=Image, returns=MessageResponse, ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
ENDPOINTS: Final = (
    GET, PRE_CREATE, UPDATE, DELETE, DELETE_PROFILE, AUTH_CODE, ENTITY_IDS, BUSINESS_SYSTEM_IDS,
    LINK_REQUESTS, LINK, UNLINK, MERGE, POST_IMAGE,
)  # fmt: skip


@frozen
class AppUsers:
    """The app users of one app.

    Wherever a *user_id* is asked for, the service's own id will do too. Each method raises
    `ValueError` before anything is sent for what can't be sent, or else an error of `errors`:
    `NotFoundError` where there is no such user. A call that is cancelled after a byte of it may
    have left says so in a note on the cancellation.
    """

    _transport: Transport = field(alias="transport")
    _guess: FirstTry = field(factory=FirstTry, init=False, repr=False)

    async def pre_create(self, body: AppUserPreCreate) -> AppUser:
        """Create a user ahead of its first message and return it (preCreateAppUser).

        `ConflictError` where its user id is taken. It is sent again after a lost answer, since its
        user id guards it; a conflict that this meets is settled by reading the user back.
        """
        return await self._transport.call(PRE_CREATE, body)

    async def upsert(self, body: AppUserPreCreate) -> AppUser:
        """Create the user, or change what *body* sets where its user id is taken; return it.

        Which of the two is tried first follows from how the last ones went, so that it takes about
        one request. Writers that race for one user id make one user, and each has its answer.
        (preCreateAppUser, updateAppUser)
        """
        return (await self.upserted(body)).value

    async def upserted(self, body: AppUserPreCreate) -> UpsertResult[AppUser]:
        """`upsert`, and say which of the two it *did*, as far as its own calls tell: for jobs."""
        changes = AppUserUpdate(
            given_name=body.given_name,
            surname=body.surname,
            email=body.email,
            avatar_url=body.avatar_url,
            signed_up_at=body.signed_up_at,
            properties=body.properties,
            extra=body.extra,
        )
        return await create_or_else(
            partial(self._created, body),
            lambda: self.update(body.user_id, changes),
            self._guess,
        )

    async def get_or_create(self, body: AppUserPreCreate) -> AppUser:
        """Return the user with the user id of *body* as it is, or create it.

        A user that is there is never changed. (preCreateAppUser, getAppUser)
        """
        found = await create_or_else(
            partial(self._created, body),
            lambda: self.get(body.user_id),
            self._guess,
        )
        return found.value

    async def _created(self, body: AppUserPreCreate, aside: CallInfo) -> AppUser:
        return await self._transport.call(PRE_CREATE, body, aside=aside)

    async def get(self, user_id: str) -> AppUser:
        """Return the user (getAppUser)."""
        return await self._transport.call(GET, path={"user_id": user_id})

    async def update(self, user_id: str, body: AppUserUpdate) -> AppUser:
        """Change what *body* sets and return the user (updateAppUser).

        May be sent again with the same values, over what another writer changed in between: after
        a lost answer, and after a 409, which says that another change was under way.
        """
        return await self._transport.call(UPDATE, body, path={"user_id": user_id})

    async def delete(self, user_id: str) -> None:
        """Delete the user, its clients and its conversation (deleteAppUser).

        The service ends deleting some time after it has answered. It may be sent again; a second
        sending that finds no user is done.
        """
        await self._transport.call(DELETE, path={"user_id": user_id})

    async def delete_profile(self, user_id: str) -> AppUser:
        """Clear names, e-mail and properties of the user, and what its clients tell of it.

        Return the user that is left; its conversation stays. May be sent again: there is nothing
        left to clear by then. (deleteAppUserProfile)
        """
        return await self._transport.call(DELETE_PROFILE, path={"user_id": user_id})

    async def auth_code(self, user_id: str) -> str:
        """Return a code with which another channel's client becomes this user's.

        Whoever has it is taken for the user: keep it out of logs. (getAppUserAuthCode)
        """
        return await self._transport.call(AUTH_CODE, path={"user_id": user_id})

    async def entity_ids(self, user_id: str) -> list[ChannelEntityItem]:
        """Return who the user is on each of its channels (getAppUserEntityIds)."""
        answer = await self._transport.call(ENTITY_IDS, path={"user_id": user_id})
        return _listed(ENTITY_IDS, answer, "channels")

    async def business_system_ids(self, user_id: str) -> list[BusinessSystemItem]:
        """Return where business systems have the user's conversation.

        (getAppUserBusinessSystemIds)
        """
        answer = await self._transport.call(BUSINESS_SYSTEM_IDS, path={"user_id": user_id})
        return _listed(BUSINESS_SYSTEM_IDS, answer, "business_systems")

    async def link_requests(
        self, user_id: str, integration_ids: Iterable[str]
    ) -> list[LinkRequest]:
        """Return what the user opens to link each of *integration_ids*, at least one.

        (getLinkRequests)
        """
        answer = await self._transport.call(
            LINK_REQUESTS,
            path={"user_id": user_id},
            query={"integrationIds": _joined(integration_ids)},
        )
        return _listed(LINK_REQUESTS, answer, "link_requests")

    async def link(self, user_id: str, body: AppUserLink) -> AppUser:
        """Link the user to a channel and return it, with the channel in *pending_clients*.

        It is sent once: not again after a lost answer, since it may write to a person, nor after a
        429, which here may say that the phone number was linked lately (`RateLimitError`).
        (linkAppUser)
        """
        return await self._transport.call(LINK, body, path={"user_id": user_id})

    async def unlink(self, user_id: str, channel: str) -> None:
        """Remove the user's clients of *channel*, such as ``twilio`` (unlinkAppUser).

        May be sent again. What a later sending is refused for is settled by reading the user back.
        """
        await settled(
            UNLINK,
            self._transport.call(UNLINK, path={"user_id": user_id, "channel": channel}),
            lambda: self._is_unlinked(user_id, channel),
            otherwise="it was still linked when looked at",
        )

    async def merge(self, body: AppUserMerge) -> None:
        """Merge one user into another, which is left with what both had; the other is deleted.

        It isn't sent again once it may have been applied: then both users are read back. If the
        one is gone and the other there, it is done; if both are there, a note on the error says so.
        (mergeUsers)
        """
        await settled(
            MERGE,
            self._transport.call(MERGE, body),
            lambda: self._is_merged(body),
            otherwise="both users were still there when looked at",
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
        """Post an image to the user's conversation; return the message that it made.

        *source* is bytes, a path, a file opened in binary mode or an async iterable of bytes; it is
        read while it is sent. *role* is who posts it, ``appMaker`` or ``appUser``. *file_name* is
        by default what the path or file is called, *content_type* what that means to `mimetypes`.

        It is never sent again once it may have been applied, nor if its source can't be read again
        (as an async iterable can't). `ValueError` before anything is sent for a file that isn't
        there or can't be read, an empty one, and one over 50 MB; an async iterable that turns out
        too large is broken off. (postImageMessage)
        """
        image = await Image.of(source, role=role, file_name=file_name, content_type=content_type)
        return await self._transport.call(POST_IMAGE, image, path={"user_id": user_id})

    def pre_create_many(
        self,
        bodies: Items[AppUserPreCreate],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[AppUserPreCreate, AppUser]]:
        """`pre_create` each of *bodies*, as `bulk.run` does; in order for one user id."""
        return bulk.run(
            self.pre_create, bodies, concurrency=concurrency, ordered=ordered, key=_user_id
        )

    def upsert_many(
        self,
        bodies: Items[AppUserPreCreate],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[AppUserPreCreate, AppUser]]:
        """`upsert` each of *bodies*, as `bulk.run` does; in order for one user id."""
        return bulk.run(self.upsert, bodies, concurrency=concurrency, ordered=ordered, key=_user_id)

    def update_many(
        self,
        pairs: Items[tuple[str, AppUserUpdate]],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[tuple[str, AppUserUpdate], AppUser]]:
        """`update` each (id, body) of *pairs*, as `bulk.run` does; in order for one id."""

        async def update(pair: tuple[str, AppUserUpdate]) -> AppUser:
            return await self.update(*pair)

        return bulk.run(
            update, pairs, concurrency=concurrency, ordered=ordered, key=lambda pair: pair[0]
        )

    def delete_many(
        self, ids: Items[str], *, concurrency: bulk.Concurrency = 64, ordered: bool = False
    ) -> AbstractAsyncContextManager[Outcomes[str, None]]:
        """`delete` each of *ids*, as `bulk.run` does."""
        return bulk.run(
            self.delete, ids, concurrency=concurrency, ordered=ordered, key=lambda one: one
        )

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
        except NotFoundError:
            return True
        return None if found.id is None else found.id == body.surviving.id


def _listed(endpoint: Endpoint[None, Any], answer: Any, name: str) -> list[Any]:
    """Return the list *name* of an *answer*; raise `ResponseDecodeError` for a value that is none."""
    found: list[Any] | None = getattr(answer, name)
    if found is None and is_unreadable(answer, name):
        reason = "expected a list"
        raise ResponseDecodeError(
            reason, path=wire_name(name), status=200, endpoint=str(endpoint), maybe_applied=False
        )
    return found or []


def _user_id(body: AppUserPreCreate) -> str:
    return body.user_id


def _joined(integration_ids: Iterable[str]) -> str:
    """Return *integration_ids* as the query has them; raise an error where they can't be."""
    if isinstance(integration_ids, str):
        message = "integration_ids must be several ids, as in [id], not one text"
        raise TypeError(message)
    ids = list(integration_ids)
    if not ids:
        message = "integration_ids is empty: at least one is needed"
        raise ValueError(message)
    if not all(ids) or any("," in one for one in ids):
        message = "integration_ids has an empty one, or one with a comma: that joins them"
        raise ValueError(message)
    return ",".join(ids)
