"""End users of an organization: the operations, and the compositions of operations."""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.arguments import check_type, several
from sunshine_async._calls.endpoint import Endpoint, Json
from sunshine_async._calls.pages import Listing
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import UpsertResult
from sunshine_async.bulk import Items, Outcomes
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.dixa import upserts
from sunshine_async.dixa.bulk_requests import IF_TAKEN, BulkCreate, BulkRequest, item_size
from sunshine_async.dixa.conversations import Conversation, ListEndUserConversationsOutput
from sunshine_async.dixa.matching import all_keys, match_changes, match_creates, unique_keys
from sunshine_async.dixa.models import (
    AnonymizationRequest,
    BulkPatchEndUserInput,
    BulkPatchEndUsersInput,
    BulkUpdateEndUserInput,
    BulkUpdateEndUsersInput,
    CreateEndUserInput,
    CreateEndUsersInput,
    CustomAttribute,
    EndUser,
    ListEndUsersOutput,
    Outcome,
    PatchEndUserInput,
    UpdateEndUserInput,
)
from sunshine_async.dixa.pages import list_pages

_Outcomes: TypeAlias = list[Outcome]
_Attributes: TypeAlias = list[CustomAttribute]

MAX_BATCH_BYTES: Final = 1_000_000
"""The most bytes of JSON in a request: far below 10 MB. The service documents no number."""

_ALL: Final = "/v1/endusers"
_ONE: Final = _ALL + "/{end_user_id}"
_PAGES: Final = ("pageLimit", "pageKey")

LIST: Final[Endpoint[None, ListEndUsersOutput]] = Endpoint(
    "GET", _ALL, operation="getEndusers",
    returns=ListEndUsersOutput, query=(*_PAGES, "email", "phone", "externalId"),
    replay=Replay.SAFE,
)  # fmt: skip
CREATE: Final = Endpoint(
    "POST", _ALL, operation="postEndusers",
    accepts=CreateEndUserInput, returns=EndUser, inside="data", ok=(201,),
    replay=Replay.UNSAFE,  # without e-mail and phone number nothing prevents a second end user
    max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
GET: Final[Endpoint[None, EndUser]] = Endpoint(
    "GET", _ONE, operation="getEndusersUserid",
    returns=EndUser, inside="data",
    replay=Replay.SAFE,
)  # fmt: skip
PATCH: Final = Endpoint(
    "PATCH", _ONE, operation="patchEndusersUserid",
    accepts=PatchEndUserInput, returns=EndUser, inside="data",
    replay=Replay.IDEMPOTENT,  # the values are absolute
    max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PUT", _ONE, operation="putEndusersUserid",
    accepts=UpdateEndUserInput, returns=EndUser, inside="data",
    replay=Replay.IDEMPOTENT, max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
ANONYMIZE: Final[Endpoint[None, AnonymizationRequest]] = Endpoint(
    "PATCH", _ONE + "/anonymize", operation="patchEndusersUseridAnonymize",
    returns=AnonymizationRequest, inside="data", query=("force",), ok=(202,),
    replay=Replay.IDEMPOTENT,  # anonymized twice is anonymized
)  # fmt: skip
ANONYMIZATION: Final[Endpoint[None, AnonymizationRequest]] = Endpoint(
    "GET", "/v1/anonymization/request/{request_id}", operation="getAnonymizationRequestRequestid",
    returns=AnonymizationRequest, inside="data",
    replay=Replay.SAFE,
)  # fmt: skip
PATCH_CUSTOM_ATTRIBUTES: Final = Endpoint(
    "PATCH", _ONE + "/custom-attributes", operation="patchEndusersUseridCustom-attributes",
    accepts=Json, returns=_Attributes, inside="data",
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
CONVERSATIONS: Final[Endpoint[None, ListEndUserConversationsOutput]] = Endpoint(
    "GET", _ONE + "/conversations", operation="getEndusersUseridConversations",
    returns=ListEndUserConversationsOutput, query=_PAGES,
    replay=Replay.SAFE,
)  # fmt: skip
CREATE_BULK: Final = Endpoint(
    "POST", _ALL + "/bulk", operation="postEndusersBulk",
    accepts=CreateEndUsersInput, returns=_Outcomes, inside="data", ok=(201,),
    replay=Replay.UNSAFE,
    max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
PATCH_BULK: Final = Endpoint(
    "PATCH", _ALL, operation="patchEndusers",
    accepts=BulkPatchEndUsersInput, returns=_Outcomes, inside="data",
    replay=Replay.IDEMPOTENT, max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
UPDATE_BULK: Final = Endpoint(
    "PUT", _ALL, operation="putEndusers",
    accepts=BulkUpdateEndUsersInput, returns=_Outcomes, inside="data",
    replay=Replay.IDEMPOTENT, max_json_bytes=MAX_BATCH_BYTES, advice=IF_TAKEN,
)  # fmt: skip
ENDPOINTS: Final = (
    LIST, CREATE, GET, PATCH, UPDATE, ANONYMIZE, ANONYMIZATION, PATCH_CUSTOM_ATTRIBUTES,
    CONVERSATIONS, CREATE_BULK, PATCH_BULK, UPDATE_BULK,
)  # fmt: skip


@frozen(eq=False, repr=False)
class EndUsers:
    """End users of an organization.

    Each method raises `ValueError` before sending for arguments that can't be sent. Any other
    error is from `errors`. A duplicate is a `BadRequestError` with the code
    ``EmailExists`` or ``PhoneNumberExists``. A cancelled call adds a note to the cancellation if a
    byte of the request may have left.
    """

    _transport: Transport = field(alias="transport")
    _base_url: str = field(alias="base_url")

    async def create(self, body: CreateEndUserInput) -> EndUser:
        """Create an end user (postEndusers).

        Not sent again once the service may have acted: only e-mail address and phone number prevent
        a second end user. After a lost answer the end user has to be looked up, as `upsert` does.
        """
        return await self._transport.call(CREATE, body)

    async def upsert(self, body: CreateEndUserInput) -> EndUser:
        """Create an end user, or change the end user found; return the result.

        The end user is looked up by external id, then e-mail, then phone number, as far as set, and
        patched only where values differ. A picture always differs, as the service answers with a
        new address. A further look-up follows a create with a lost answer, or with an e-mail or
        phone number that was taken in between.

        - `ConflictError`, code ``AmbiguousMatch``: the keys lead to several; nothing is written.
        - `ValueError`: none of the three keys is set.

        (getEndusers, postEndusers, patchEndusersUserid)
        """
        CREATE.check_body(body)

        async def change(user: EndUser) -> EndUser:
            changes = upserts.changes_of(body, user)
            return await self.patch(user.id, PatchEndUserInput(**changes)) if changes else user

        return await upserts.find_or_create(
            body, self._look_up, self.create, endpoint=str(LIST), change=change
        )

    async def get_or_create(self, body: CreateEndUserInput) -> EndUser:
        """Return the end user with the keys of *body*, unchanged, or create the end user.

        Errors are as in `upsert`. (getEndusers, postEndusers)
        """
        CREATE.check_body(body)
        return await upserts.find_or_create(body, self._look_up, self.create, endpoint=str(LIST))

    async def get(self, end_user_id: str) -> EndUser:
        """Return an end user; `NotFoundError` if there is no such id (getEndusersUserid)."""
        return await self._transport.call(GET, path={"end_user_id": end_user_id})

    async def patch(self, end_user_id: str, body: PatchEndUserInput) -> EndUser:
        """Change the fields that *body* sets; return the end user (patchEndusersUserid).

        Fields left out are assumed to stay; a list is assumed to replace the former list. May be
        sent again with the same values: a change by another writer in between is overwritten.
        `NotFoundError` if there is no such id.
        """
        return await self._transport.call(PATCH, body, path={"end_user_id": end_user_id})

    async def update(self, end_user_id: str, body: UpdateEndUserInput) -> EndUser:
        """Replace an end user by *body*; return the end user (putEndusersUserid).

        Fields left out are assumed to be cleared. May be sent again: a change by another writer in
        between is overwritten. `NotFoundError` if there is no such id.
        """
        return await self._transport.call(UPDATE, body, path={"end_user_id": end_user_id})

    async def anonymize(self, end_user_id: str, *, force: bool = False) -> AnonymizationRequest:
        """Request the anonymization of an end user, for good (patchEndusersUseridAnonymize).

        The service acts later, within 24 hours: `anonymization` tells the state. `ConflictError` is
        assumed to mean open conversations; *force* closes open conversations. May be sent again
        after a lost answer, and may then meet the effect of the first sending.
        """
        check_type("force", type(force), bool)
        return await self._transport.call(
            ANONYMIZE, path={"end_user_id": end_user_id}, query={"force": "true" if force else None}
        )

    async def anonymization(self, request_id: str) -> AnonymizationRequest:
        """Return the state of a request of `anonymize` (getAnonymizationRequestRequestid)."""
        return await self._transport.call(ANONYMIZATION, path={"request_id": request_id})

    async def patch_custom_attributes(
        self, end_user_id: str, values: Mapping[str, str | Sequence[str] | None]
    ) -> _Attributes:
        """Set custom attributes; return the attributes (patchEndusersUseridCustom-attributes).

        Keys of *values* are ids of definitions. A Text takes a text, a Select the path from an
        option down to the nested option. None is assumed to clear; attributes left out are assumed
        to stay. May be sent again with the same values. `NotFoundError` without the end user.
        """
        body, kind = Json(values), type(values)
        del values  # error reporters attach local variables
        check_type("values", kind, Mapping)
        return await self._transport.call(
            PATCH_CUSTOM_ATTRIBUTES, body, path={"end_user_id": end_user_id}
        )

    async def create_bulk(self, bodies: Sequence[CreateEndUserInput]) -> _Outcomes:
        """Create end users in a single request; return the service's outcomes (postEndusersBulk).

        An unreadable outcome is an `UnknownOutcome`. The order and the largest number are not
        documented. Not sent again once the service may have acted. `create_many` handles all three.
        """
        return await self._transport.call(
            CREATE_BULK, CreateEndUsersInput(data=several("bodies", bodies))
        )

    async def patch_bulk(self, bodies: Sequence[BulkPatchEndUserInput]) -> _Outcomes:
        """Patch end users in a single request, as `patch`; return outcomes (patchEndusers)."""
        return await self._transport.call(
            PATCH_BULK, BulkPatchEndUsersInput(data=several("bodies", bodies))
        )

    async def update_bulk(self, bodies: Sequence[BulkUpdateEndUserInput]) -> _Outcomes:
        """Replace end users in a single request, as `update`; return outcomes (putEndusers)."""
        return await self._transport.call(
            UPDATE_BULK, BulkUpdateEndUsersInput(data=several("bodies", bodies))
        )

    def create_many(
        self,
        bodies: Items[CreateEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[CreateEndUserInput, EndUser]]:
        """Create end users in bulk requests; stream an outcome for each body, as `bulk.run`.

        - A request has at most *batch_size* bodies, and waits at most *linger* seconds for a slow
          source. At most *concurrency* requests are in flight.
        - Bodies with the same e-mail address or phone number go one after another.
        - A request that is refused as a whole is halved until the bad body stands alone.
        - An end user without a certain outcome is looked up by e-mail, then by phone number, and
          sent again if missing: both prevent a second end user. Without both: `Unknown`.

        (postEndusersBulk, getEndusers)
        """
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        return batches.run(self.creating(), bodies, limits, ordered=ordered)

    def patch_many(
        self,
        bodies: Items[BulkPatchEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[BulkPatchEndUserInput, EndUser]]:
        """Patch end users in bulk requests; stream an outcome for each body, as `bulk.run`.

        Batches are as in `create_many`; bodies of the same end user go one after another. A request
        is sent again after a lost answer, with the same values. (patchEndusers)
        """
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        return batches.run(self.patching(), bodies, limits, ordered=ordered)

    def update_many(
        self,
        bodies: Items[BulkUpdateEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[BulkUpdateEndUserInput, EndUser]]:
        """Replace end users in bulk requests, as `patch_many` patches (putEndusers)."""
        request = BulkRequest(self.update_bulk, match_changes, UPDATE_BULK, self._hidden)
        sender = Sender(item_size(BulkUpdateEndUserInput), unique_keys, request.send)
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        return batches.run(sender, bodies, limits, ordered=ordered)

    def upsert_many(
        self,
        bodies: Items[CreateEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[CreateEndUserInput, EndUser]]:
        """`upsert` each body in few requests; stream an outcome for each body, as `bulk.run`.

        - While the last end users were new, bodies without an external id are created first.
        - Existing end users are looked up, or read from the list of all if that takes fewer
          requests. The list is kept in memory, up to 200,000 end users.
        - Found end users are patched in bulk requests.
        - Bodies with the same external id, e-mail address or phone number go one after another.

        (postEndusersBulk, getEndusers, patchEndusers)
        """
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        sender = upserts.without_effects(self.upserting())
        return batches.run(sender, bodies, limits, ordered=ordered)

    def creating(self) -> Sender[CreateEndUserInput, EndUser]:
        """Return the sender of `create_many`, for batches that are put together elsewhere."""
        request = BulkRequest(self.create_bulk, match_creates, CREATE_BULK, self._hidden)
        bulk_create = BulkCreate(request, self._look_up)
        return Sender(item_size(CreateEndUserInput), unique_keys, bulk_create.create)

    def patching(self) -> Sender[BulkPatchEndUserInput, EndUser]:
        """Return the sender of `patch_many`, for batches that are put together elsewhere."""
        request = BulkRequest(self.patch_bulk, match_changes, PATCH_BULK, self._hidden)
        return Sender(item_size(BulkPatchEndUserInput), unique_keys, request.send)

    def upserting(self) -> Sender[CreateEndUserInput, UpsertResult[EndUser]]:
        """Return the sender of `upsert_many`, with the effect of each upsert in the result."""
        request = BulkRequest(self.create_bulk, match_creates, CREATE_BULK, self._hidden)
        bulk_upsert = upserts.BulkUpsert(
            look_up=self._look_up,
            bulk_create=BulkCreate(request, self._look_up),
            patch=self.patching().send,
            index=upserts.UserIndex(self.list(page_limit=upserts.PAGE_LIMIT).pages()),
            endpoint=str(LIST),
        )
        return Sender(upserts.size, all_keys, bulk_upsert.upsert)

    def list(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        page_limit: int | None = None,
        from_page: str | None = None,
    ) -> Listing[EndUser]:
        """List end users with an e-mail address, phone number or external id, or all (getEndusers).

        ``async for`` returns end users singly, `Listing.pages` returns pages of *page_limit*
        end users. *from_page* is `Page.next`, or the *from_page* of an error: the list continues
        there, with the same filter. An empty result is no error. `ValueError` for two filters.
        """
        asked = {"email": email, "phone": phone, "externalId": external_id}
        filters = [name for name, value in asked.items() if value is not None]
        if len(filters) > 1:
            message = f"{' and '.join(filters)}: the service takes one filter at a time"
            raise ValueError(message)
        return list_pages(
            lambda query: self._transport.call(LIST, query=query),
            LIST,
            {},
            base_url=self._base_url,
            filters=asked,
            page_limit=page_limit,
            from_page=from_page,
        )

    def conversations(
        self, end_user_id: str, *, page_limit: int | None = None, from_page: str | None = None
    ) -> Listing[Conversation]:
        """List the conversations that an end user began (getEndusersUseridConversations).

        Match on the class of each. Pages are as in `list`. `NotFoundError` without the end user.
        """
        path = {"end_user_id": end_user_id}
        return list_pages(
            lambda query: self._transport.call(CONVERSATIONS, path=path, query=query),
            CONVERSATIONS,
            path,
            base_url=self._base_url,
            filters={},
            page_limit=page_limit,
            from_page=from_page,
        )

    @property
    def _hidden(self) -> tuple[str, ...]:
        return self._transport.auth.secrets()

    def _look_up(self, name: str, value: str) -> Awaitable[Sequence[EndUser]]:
        asked: dict[str, Any] = {"phone" if name == "phone_number" else name: value}
        return self.list(**asked).first(2)
