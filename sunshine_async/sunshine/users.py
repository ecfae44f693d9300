"""The users of one app: Sunshine Conversations v2."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from attrs import field, frozen

from sunshine_async import bulk
from sunshine_async._calls.context import CallInfo
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import FirstTry, UpsertResult, create_or_else
from sunshine_async.bulk import Items, Outcomes
from sunshine_async.sunshine.models import SyncUserBody, User, UserCreateBody, UserUpdateBody

_USERS: Final = "/v2/apps/{app_id}/users"
_USER: Final = _USERS + "/{user_id_or_external_id}"
_BRAND: Final = ("brandId",)

GET: Final[Endpoint[None, User]] = Endpoint(
    "GET", _USER, operation="GetUser",
    returns=User, inside="user", query=_BRAND,
    replay=Replay.SAFE,
)  # fmt: skip
CREATE: Final = Endpoint(
    "POST", _USERS, operation="CreateUser",
    accepts=UserCreateBody, returns=User, inside="user", ok=(201,),
    replay=Replay.UNSAFE, replay_with={"external_id": Replay.GUARDED},
    read_back=ReadBack(
        GET, path={"user_id_or_external_id": "externalId"}, query={"brandId": "brandId"}
    ),
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _USER, operation="UpdateUser",
    accepts=UserUpdateBody, returns=User, inside="user", query=_BRAND,
    replay=Replay.IDEMPOTENT,  # the values are absolute: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _USER, operation="DeleteUser",
    returns=type(None), query=_BRAND,
    replay=Replay.GONE,
)  # fmt: skip
DELETE_PERSONAL_INFORMATION: Final[Endpoint[None, User]] = Endpoint(
    "DELETE", _USER + "/personalinformation", operation="DeleteUserPersonalInformation",
    returns=User, inside="user", query=_BRAND,
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
SYNC: Final = Endpoint(
    "POST", _USERS + "/{zendesk_id}/sync", operation="SyncUser",
    accepts=SyncUserBody, returns=User, inside="user",
    replay=Replay.IDEMPOTENT,
    replay_with={"surviving_zendesk_id": Replay.UNSAFE},  # it merges: the second finds no one
)  # fmt: skip
LIST: Final[Endpoint[None, list[User]]] = Endpoint(
    "GET", _USERS, operation="ListUsers",
    returns=list[User], inside="users", query=("filter[identities.email]", *_BRAND),
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, GET, UPDATE, DELETE, DELETE_PERSONAL_INFORMATION, SYNC, LIST)


@frozen
class Users:
    """The users of one app.

    Wherever an id is asked for, the service's own and the caller's *external_id* will do; for the
    external id of a brand-separated user, say *brand_id* too. Each method raises `ValueError`
    before anything is sent for what can't be sent, or else an error of `errors`. A call that is
    cancelled after a byte of it may have left says so in a note on the cancellation.
    """

    _transport: Transport = field(alias="transport")
    _guess: FirstTry = field(factory=FirstTry, init=False, repr=False)

    async def create(self, body: UserCreateBody) -> User:
        """Create a user and return it; `ConflictError` where its external id is taken (CreateUser).

        With an external id it is sent again after a lost answer, and a conflict that this meets is
        settled by reading the user back. Without one it is not sent again once the service may
        have acted, since that could make a second user.
        """
        return await self._transport.call(CREATE, body)

    async def upsert(self, body: UserCreateBody) -> User:
        """Create the user, or change what *body* sets where its external id is taken; return it.

        Which of the two is tried first follows from how the last ones went, so that it takes about
        one request. Writers that race for one external id make one user, and each has its answer.
        `ValueError` without an external id (CreateUser, UpdateUser).
        """
        return (await self.upserted(body)).value

    async def upserted(self, body: UserCreateBody) -> UpsertResult[User]:
        """`upsert`, and say which of the two it *did*, as far as its own calls tell: for jobs."""
        key = _key_of(body)
        changes = UserUpdateBody(
            signed_up_at=body.signed_up_at,
            to_be_retained=body.to_be_retained,
            profile=body.profile,
            metadata=body.metadata,
            extra=body.extra,
        )
        return await create_or_else(
            partial(self._created, body),
            lambda: self.update(key, changes, brand_id=body.brand_id or None),
            self._guess,
        )

    async def get_or_create(self, body: UserCreateBody) -> User:
        """Return the user with the external id of *body* as it is, or create it.

        A user that is there is never changed. `ValueError` without an external id
        (CreateUser, GetUser).
        """
        key = _key_of(body)
        found = await create_or_else(
            partial(self._created, body),
            lambda: self.get(key, brand_id=body.brand_id or None),
            self._guess,
        )
        return found.value

    async def _created(self, body: UserCreateBody, info: CallInfo) -> User:
        return await self._transport.call(CREATE, body, info=info)

    async def get(self, user_id_or_external_id: str, *, brand_id: str | None = None) -> User:
        """Return the user; `NotFoundError` where there is none (GetUser)."""
        return await self._transport.call(
            GET, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def update(
        self, user_id_or_external_id: str, body: UserUpdateBody, *, brand_id: str | None = None
    ) -> User:
        """Change what *body* sets and return the user; `NotFoundError` where there is none.

        May be sent again with the same values, over what another writer changed in between.
        (UpdateUser)
        """
        return await self._transport.call(
            UPDATE, body, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def delete(self, user_id_or_external_id: str, *, brand_id: str | None = None) -> None:
        """Delete the user, its clients and its conversations; `NotFoundError` if there is none.

        The service ends deleting some time after it has answered. (DeleteUser)
        """
        await self._transport.call(
            DELETE, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def delete_personal_information(
        self, user_id_or_external_id: str, *, brand_id: str | None = None
    ) -> User:
        """Clear names, e-mail, avatar and metadata, and return the user that is left.

        `NotFoundError` where there is none. (DeleteUserPersonalInformation)
        """
        return await self._transport.call(
            DELETE_PERSONAL_INFORMATION,
            path=_id(user_id_or_external_id),
            query={"brandId": brand_id},
        )

    async def sync(self, zendesk_id: str, body: SyncUserBody | None = None) -> User:
        """Bring the user in line with its Support record, and return it (SyncUser).

        With a *surviving_zendesk_id* it merges two users, and is not sent again once the service
        may have acted.
        """
        return await self._transport.call(
            SYNC, body or SyncUserBody(), path={"zendesk_id": zendesk_id}
        )

    async def list_by_email(self, email: str, *, brand_id: str | None = None) -> list[User]:
        """Return the users that have *email* among their identities (ListUsers).

        The e-mail address of a profile is not looked at. A user without a readable id is left out;
        `ResponseDecodeError` where that leaves none.
        """
        return await self._transport.call(
            LIST, query={"filter[identities.email]": email, "brandId": brand_id}
        )

    def create_many(
        self,
        bodies: Items[UserCreateBody],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[UserCreateBody, User]]:
        """`create` each of *bodies*, as `bulk.run` does; one after another for one external id."""
        return bulk.run(
            self.create, bodies, concurrency=concurrency, ordered=ordered, key=_external_id
        )

    def upsert_many(
        self,
        bodies: Items[UserCreateBody],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[UserCreateBody, User]]:
        """`upsert` each of *bodies*, as `bulk.run` does; in order for one external id."""
        return bulk.run(
            self.upsert, bodies, concurrency=concurrency, ordered=ordered, key=_external_id
        )

    def update_many(
        self,
        pairs: Items[tuple[str, UserUpdateBody]],
        *,
        concurrency: bulk.Concurrency = 64,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[tuple[str, UserUpdateBody], User]]:
        """`update` each (id, body) of *pairs*, as `bulk.run` does; in order for one id."""

        async def update(pair: tuple[str, UserUpdateBody]) -> User:
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


def _external_id(body: UserCreateBody) -> str | None:
    return body.external_id or None


def _key_of(body: UserCreateBody) -> str:
    """Return the external id of *body*; raise `ValueError` where it has none."""
    if not body.external_id:
        message = "external_id is not set: without it nobody can tell whether the user is there"
        raise ValueError(message)
    return body.external_id


def _id(user_id_or_external_id: str) -> Mapping[str, str]:
    return {"user_id_or_external_id": user_id_or_external_id}
