"""Users of one app: the operations of Sunshine Conversations v2, and compositions."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from attrs import field, fields, frozen

from sunshine_async import bulk
from sunshine_async._calls.endpoint import Endpoint, ReadBack
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import FirstTry, UpsertResult, create_or_else
from sunshine_async._codec.model import UNSET
from sunshine_async.sunshine.models import SyncUserBody, User, UserCreateBody, UserUpdateBody

_USERS: Final = "/v2/apps/{app_id}/users"
_USER: Final = _USERS + "/{user_id_or_external_id}"
_BRAND: Final = ("brandId",)
_EMAIL: Final = "filter[identities.email]"
_CHANGEABLE: Final = tuple(each.name for each in fields(UserUpdateBody))

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
    advice={409: "users.upsert changes the existing user, users.get_or_create returns the user"},
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _USER, operation="UpdateUser",
    accepts=UserUpdateBody, returns=User, inside="user", query=_BRAND,
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
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
    replay_with={"surviving_zendesk_id": Replay.UNSAFE},  # a merge: a second finds no user
)  # fmt: skip
LIST: Final[Endpoint[None, list[User]]] = Endpoint(
    "GET", _USERS, operation="ListUsers",
    returns=list[User], inside="users", query=(_EMAIL, *_BRAND), needs=(_EMAIL,),
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, GET, UPDATE, DELETE, DELETE_PERSONAL_INFORMATION, SYNC, LIST)


@frozen(eq=False, repr=False)
class Users:
    """Users of one app.

    - An id argument takes the service's id or the caller's external id; the external id of a
      brand-separated user needs *brand_id* too.
    - Errors: `ValueError` for arguments that can't be sent, before anything is sent; after that an
      error of `errors`, such as `NotFoundError` if there is no such user, with *maybe_applied* set
      if the service may have acted.
    - A cancellation gets a note if a byte of the call may have left. The service may act then.
    - The name in brackets is the operation in the service's documentation.
    """

    _transport: Transport = field(alias="transport")
    _first_try: FirstTry = field(factory=FirstTry, init=False, repr=False)

    async def create(self, body: UserCreateBody) -> User:
        """Create a user; return the user (CreateUser).

        `ConflictError` if the external id is taken. After a lost answer, a create with an external
        id is sent again, and a conflict then is settled by reading the user back. A create without
        an external id is not sent again once the service may have acted: that could make two users.
        """
        return await self._transport.call(CREATE, body)

    async def upsert(self, body: UserCreateBody) -> User:
        """Create a user, or update the user with the external id of *body*; return the user.

        An update sets the fields that *body* sets. The results of the last upserts decide between
        create first and update first, for about one request an upsert. Concurrent writers of an
        external id make one user, and each gets an answer. `ValueError` without an external id.
        (CreateUser, UpdateUser)
        """
        return (await self.upserted(body)).value

    async def upserted(self, body: UserCreateBody) -> UpsertResult[User]:
        """Do `upsert`; return the user and the effect: created, updated, or either (for jobs)."""
        key = _key_of(body)
        changes = UserUpdateBody(**{name: getattr(body, name) for name in _CHANGEABLE})
        brand_id = None if body.brand_id is UNSET else body.brand_id
        return await self._create_or(body, lambda: self.update(key, changes, brand_id=brand_id))

    async def get_or_create(self, body: UserCreateBody) -> User:
        """Return the user with the external id of *body*, or create the user.

        An existing user stays unchanged. `ValueError` without an external id. (CreateUser, GetUser)
        """
        key = _key_of(body)
        brand_id = None if body.brand_id is UNSET else body.brand_id
        return (await self._create_or(body, lambda: self.get(key, brand_id=brand_id))).value

    async def _create_or(
        self, body: UserCreateBody, otherwise: Callable[[], Awaitable[User]]
    ) -> UpsertResult[User]:
        return await create_or_else(
            lambda info: self._transport.call(CREATE, body, info=info), otherwise, self._first_try
        )

    async def get(self, user_id_or_external_id: str, *, brand_id: str | None = None) -> User:
        """Return a user (GetUser)."""
        return await self._transport.call(
            GET, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def update(
        self, user_id_or_external_id: str, body: UserUpdateBody, *, brand_id: str | None = None
    ) -> User:
        """Set the fields that *body* sets; return the user (UpdateUser).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        return await self._transport.call(
            UPDATE, body, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def delete(self, user_id_or_external_id: str, *, brand_id: str | None = None) -> None:
        """Delete a user, with clients and conversations (DeleteUser).

        A resent delete that finds no user is done. The deletion ends some time after the answer.
        """
        await self._transport.call(
            DELETE, path=_id(user_id_or_external_id), query={"brandId": brand_id}
        )

    async def delete_personal_information(
        self, user_id_or_external_id: str, *, brand_id: str | None = None
    ) -> User:
        """Clear names, e-mail, avatar and metadata of a user; return the user.

        May be sent again. (DeleteUserPersonalInformation)
        """
        return await self._transport.call(
            DELETE_PERSONAL_INFORMATION,
            path=_id(user_id_or_external_id),
            query={"brandId": brand_id},
        )

    async def sync(self, zendesk_id: str, body: SyncUserBody | None = None) -> User:
        """Align a user with the user's Support record; return the user (SyncUser).

        With *surviving_zendesk_id*, the call merges two users, and is not sent again once the
        service may have acted.
        """
        body = SyncUserBody() if body is None else body
        return await self._transport.call(SYNC, body, path={"zendesk_id": zendesk_id})

    async def list_by_email(self, email: str, *, brand_id: str | None = None) -> list[User]:
        """Return the users with *email* among the identities (ListUsers).

        The e-mail address in a profile doesn't count. A user without a readable id is left out;
        `ResponseDecodeError` if no user is left then.
        """
        called = self._transport.call(LIST, query={_EMAIL: email, "brandId": brand_id})
        del email  # error reporters attach local variables
        return await called

    def create_many(
        self,
        bodies: "bulk.Items[UserCreateBody]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[UserCreateBody, User]]":
        """Run `create` for each of *bodies* by `bulk.run`; in order for an external id."""
        return bulk.run(
            self.create, bodies, concurrency=concurrency, ordered=ordered, key=_external_id
        )

    def upsert_many(
        self,
        bodies: "bulk.Items[UserCreateBody]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[UserCreateBody, User]]":
        """Run `upsert` for each of *bodies* by `bulk.run`; in order for an external id."""
        return bulk.run(
            self.upsert, bodies, concurrency=concurrency, ordered=ordered, key=_external_id
        )

    def update_many(
        self,
        pairs: "bulk.Items[tuple[str, UserUpdateBody]]",
        *,
        concurrency: "bulk.Concurrency" = 64,
        ordered: bool = False,
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[tuple[str, UserUpdateBody], User]]":
        """Run `update` for each (id, body) of *pairs* by `bulk.run`; in order for an id."""

        async def update(pair: tuple[str, UserUpdateBody]) -> User:
            return await self.update(*pair)

        return bulk.run(
            update, pairs, concurrency=concurrency, ordered=ordered, key=UPDATE.id_of_pair
        )

    def delete_many(
        self, ids: "bulk.Items[str]", *, concurrency: "bulk.Concurrency" = 64, ordered: bool = False
    ) -> "AbstractAsyncContextManager[bulk.Outcomes[str, None]]":
        """Run `delete` for each of *ids* by `bulk.run`; in order for an id."""
        return bulk.run(self.delete, ids, concurrency=concurrency, ordered=ordered, key=str)


def _external_id(body: UserCreateBody) -> str | None:
    CREATE.check_body(body)
    return body.external_id or None


def _key_of(body: UserCreateBody) -> str:
    """Return the external id of *body*; raise `ValueError` without, `TypeError` for no body."""
    CREATE.check_body(body)
    if not body.external_id:
        message = "external_id is not set: without it nobody can tell whether the user is there"
        raise ValueError(message)
    return body.external_id


def _id(user_id_or_external_id: str) -> Mapping[str, str]:
    return {"user_id_or_external_id": user_id_or_external_id}
