"""The end users of one organization: Dixa."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint, Json
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._calls.upsert import UpsertResult
from sunshine_async.bulk import Items, Outcomes
from sunshine_async.bulk import batching as batches
from sunshine_async.bulk.batching import Limits, Sender
from sunshine_async.dixa import upserts
from sunshine_async.dixa.bulk_requests import Changing, Creating, size_as
from sunshine_async.dixa.conversations import Conversation, ListEndUserConversationsOutput
from sunshine_async.dixa.matching import all_keys, unique_keys
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
from sunshine_async.dixa.pages import Listing, Place, page_limit_of

_Outcomes: TypeAlias = list[Outcome]
_Attributes: TypeAlias = list[CustomAttribute]

MAX_BATCH_BYTES: Final = 1_000_000
"""The most JSON that is sent at once. The service has no number for it; this is far below 10 MB."""

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
    replay=Replay.UNSAFE,  # without e-mail and phone number nothing guards against a second one
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
GET: Final[Endpoint[None, EndUser]] = Endpoint(
    "GET", _ONE, operation="getEndusersUserid",
    returns=EndUser, inside="data",
    replay=Replay.SAFE,
)  # fmt: skip
PATCH: Final = Endpoint(
    "PATCH", _ONE, operation="patchEndusersUserid",
    accepts=PatchEndUserInput, returns=EndUser, inside="data",
    replay=Replay.IDEMPOTENT,  # the values are absolute: a second sending sets the same
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PUT", _ONE, operation="putEndusersUserid",
    accepts=UpdateEndUserInput, returns=EndUser, inside="data",
    replay=Replay.IDEMPOTENT,
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
ANONYMIZE: Final[Endpoint[None, AnonymizationRequest]] = Endpoint(
    "PATCH", _ONE + "/anonymize", operation="patchEndusersUseridAnonymize",
    returns=AnonymizationRequest, inside="data", query=("force",), ok=(202,),
    replay=Replay.IDEMPOTENT,  # who is anonymized twice is anonymized
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
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
PATCH_BULK: Final = Endpoint(
    "PATCH", _ALL, operation="patchEndusers",
    accepts=BulkPatchEndUsersInput, returns=_Outcomes, inside="data",
    replay=Replay.IDEMPOTENT,
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
UPDATE_BULK: Final = Endpoint(
    "PUT", _ALL, operation="putEndusers",
    accepts=BulkUpdateEndUsersInput, returns=_Outcomes, inside="data",
    replay=Replay.IDEMPOTENT,
    max_json_bytes=MAX_BATCH_BYTES,
)  # fmt: skip
ENDPOINTS: Final = (
    LIST, CREATE, GET, PATCH, UPDATE, ANONYMIZE, ANONYMIZATION, PATCH_CUSTOM_ATTRIBUTES,
    CONVERSATIONS, CREATE_BULK, PATCH_BULK, UPDATE_BULK,
)  # fmt: skip


@frozen
class EndUsers:
    """The end users of one organization.

    Each method raises `ValueError` before anything is sent for what can't be sent, or else an
    error of `errors`: a duplicate is a `BadRequestError` whose *code* is ``EmailExists`` or
    ``PhoneNumberExists``. A call that is cancelled after a byte of it may have left says so in a
    note on the cancellation.
    """

    _transport: Transport = field(alias="transport")
    _base_url: str = field(alias="base_url")

    async def create(self, body: CreateEndUserInput) -> EndUser:
        """Create an end user and return it (postEndusers).

        It is not sent again once the service may have acted: only e-mail and phone number guard
        against a second one, and who then is there has to be looked at. `upsert` does.
        """
        return await self._transport.call(CREATE, body)

    async def upsert(self, body: CreateEndUserInput) -> EndUser:
        """Create the end user, or change what *body* sets where it is there; return it.

        It is looked up by external id, then e-mail, then phone number, those that *body* has, and
        patched where it differs, and only there (a picture always does: the service answers with an
        address of its own). A create that another one was quicker than, or whose answer is lost,
        is followed by one more look. `ConflictError` with the code ``AmbiguousMatch`` where the
        keys lead to several: nothing is written then. `ValueError` without any of the three.
        (getEndusers, postEndusers, patchEndusersUserid)
        """

        async def then(user: EndUser) -> EndUser:
            changes = upserts.changes_of(body, user)
            return await self.patch(user.id, PatchEndUserInput(**changes)) if changes else user

        return await upserts.found_or_created(
            body, self._look, self.create, endpoint=str(LIST), then=then
        )

    async def get_or_create(self, body: CreateEndUserInput) -> EndUser:
        """Return the end user that the keys of *body* lead to as it is, or create it.

        One that is there is never changed. What is raised is as in `upsert`.
        (getEndusers, postEndusers)
        """
        return await upserts.found_or_created(body, self._look, self.create, endpoint=str(LIST))

    async def get(self, end_user_id: str) -> EndUser:
        """Return the end user; `NotFoundError` where there is none (getEndusersUserid)."""
        return await self._transport.call(GET, path={"end_user_id": end_user_id})

    async def patch(self, end_user_id: str, body: PatchEndUserInput) -> EndUser:
        """Change what *body* sets and return the end user; `NotFoundError` where there is none.

        May be sent again with the same values, over what another writer changed in between. That
        what is left out stays, and that a list takes the place of the list there was, is assumed.
        (patchEndusersUserid)
        """
        return await self._transport.call(PATCH, body, path={"end_user_id": end_user_id})

    async def update(self, end_user_id: str, body: UpdateEndUserInput) -> EndUser:
        """Put *body* in the place of what is there and return it; `NotFoundError` without any.

        What is left out is assumed to go. May be sent again, over what another writer changed in
        between. (putEndusersUserid)
        """
        return await self._transport.call(UPDATE, body, path={"end_user_id": end_user_id})

    async def anonymize(self, end_user_id: str, *, force: bool = False) -> AnonymizationRequest:
        """Ask for the end user to be anonymized, for good, and return the request.

        It is carried out later, within 24 hours: look with `anonymization`. `ConflictError` is
        assumed to mean open conversations, which *force* closes. May be sent again after a lost
        answer, and may then meet what the first sending began. (patchEndusersUseridAnonymize)
        """
        return await self._transport.call(
            ANONYMIZE,
            path={"end_user_id": end_user_id},
            query={"force": "true" if force else None},
        )

    async def anonymization(self, request_id: str) -> AnonymizationRequest:
        """Return a request of `anonymize` as it stands (getAnonymizationRequestRequestid)."""
        return await self._transport.call(ANONYMIZATION, path={"request_id": request_id})

    async def patch_custom_attributes(
        self, end_user_id: str, values: Mapping[str, str | Sequence[str] | None]
    ) -> _Attributes:
        """Set *values*, by the ids of their definitions, and return the attributes.

        A Text takes a text, a Select the path from its option down to the nested one. None is
        assumed to clear, and what isn't named to stay. `NotFoundError` without the end user. May
        be sent again with the same values. (patchEndusersUseridCustom-attributes)
        """
        return await self._transport.call(
            PATCH_CUSTOM_ATTRIBUTES, Json(values), path={"end_user_id": end_user_id}
        )

    async def create_bulk(self, bodies: Sequence[CreateEndUserInput]) -> _Outcomes:
        """Create end users with one request; return the outcomes as the service gives them.

        An outcome that can't be read is an `UnknownOutcome`. Their order isn't documented, nor how many it takes at once. It is not sent again once the
        service may have acted. `create_many` sees to all of that. (postEndusersBulk)
        """
        return await self._transport.call(CREATE_BULK, CreateEndUsersInput(data=[*bodies]))

    async def patch_bulk(self, bodies: Sequence[BulkPatchEndUserInput]) -> _Outcomes:
        """Patch end users with one request; return the outcomes as the service gives them.

        May be sent again, as `patch`. (patchEndusers)
        """
        return await self._transport.call(PATCH_BULK, BulkPatchEndUsersInput(data=[*bodies]))

    async def update_bulk(self, bodies: Sequence[BulkUpdateEndUserInput]) -> _Outcomes:
        """Update end users with one request; return the outcomes as the service gives them.

        May be sent again, as `update`. (putEndusers)
        """
        return await self._transport.call(UPDATE_BULK, BulkUpdateEndUsersInput(data=[*bodies]))

    def create_many(
        self,
        bodies: Items[CreateEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[CreateEndUserInput, EndUser]]:
        """Create *bodies* in bulk requests; one outcome for each, as `bulk.run` gives them.

        A request has at most *batch_size* of them, goes after *linger* seconds where they come
        slowly, and *concurrency* of them are under way at once. Those that share an e-mail address
        or a phone number go one after another. A request that is refused as a whole is halved
        until the bad one stands alone. An end user whose outcome the answer doesn't surely say, or
        whose answer was lost, is looked up by e-mail, then by phone number, and sent again where it
        isn't there: both guard against a second one. Without either the outcome is `Unknown`.
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
        """Patch *bodies* in bulk requests; one outcome for each, as `bulk.run` gives them.

        Batches are as in `create_many`; those of one end user go one after another. They are sent
        again after a lost answer, with the same values. (patchEndusers)
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
        """Update *bodies* in bulk requests, as `patch_many` patches them (putEndusers)."""
        changing = Changing(self.update_bulk, UPDATE_BULK, self._hidden)
        way = Sender(size_as(BulkUpdateEndUserInput), unique_keys, changing.change)
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        return batches.run(way, bodies, limits, ordered=ordered)

    def upsert_many(
        self,
        bodies: Items[CreateEndUserInput],
        *,
        batch_size: int = 100,
        concurrency: int = 8,
        linger: float = 0.2,
        ordered: bool = False,
    ) -> AbstractAsyncContextManager[Outcomes[CreateEndUserInput, EndUser]]:
        """`upsert` each of *bodies*, in few requests; one outcome for each, as `bulk.run`.

        Where the last ones were new, those without an external id are created first, a batch a
        request. Who is there is looked up, or read from the list of all where that takes fewer
        requests (it is kept in memory, up to 200,000), and patched in bulk requests. Those that
        share an external id, an e-mail address or a phone number go one after another.
        (postEndusersBulk, getEndusers, patchEndusers)
        """
        limits = Limits(batch_size, MAX_BATCH_BYTES, linger, concurrency)
        return batches.run(upserts.plain(self.upserting()), bodies, limits, ordered=ordered)

    def creating(self) -> Sender[CreateEndUserInput, EndUser]:
        """Return how `create_many` sends a batch: for batches that are put together elsewhere."""
        creating = Creating(self.create_bulk, self._look, CREATE_BULK, self._hidden)
        return Sender(size_as(CreateEndUserInput), unique_keys, creating.create)

    def patching(self) -> Sender[BulkPatchEndUserInput, EndUser]:
        """Return how `patch_many` sends a batch, as `creating`."""
        changing = Changing(self.patch_bulk, PATCH_BULK, self._hidden)
        return Sender(size_as(BulkPatchEndUserInput), unique_keys, changing.change)

    def upserting(self) -> Sender[CreateEndUserInput, UpsertResult[EndUser]]:
        """Return how `upsert_many` sends a batch, as `creating`, and says what it did."""
        upserting = upserts.Upserting(
            look=self._look,
            creating=Creating(self.create_bulk, self._look, CREATE_BULK, self._hidden),
            patch=self.patching().send,
            known=upserts.Known(self.list(page_limit=upserts.PAGE_LIMIT).pages()),
            endpoint=str(LIST),
        )
        return Sender(upserts.size, all_keys, upserting.upsert)

    def list(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,
        page_limit: int | None = None,
        from_page: str | None = None,
    ) -> Listing[EndUser]:
        """Find the end users with this e-mail address, phone number or external id, or all.

        ``async for`` gives them one after another, `Listing.pages` page by page, of *page_limit*
        each. *from_page*, the `Page.next` of an earlier one or the *from_page* of an error, goes on
        there, filtered as that was. None found is none given, not an error. `ValueError` for two
        filters at once. (getEndusers)
        """
        asked = {"email": email, "phone": phone, "externalId": external_id}
        filters = [name for name, value in asked.items() if value is not None]
        if len(filters) > 1:
            message = f"{' and '.join(filters)}: the service takes one filter at a time"
            raise ValueError(message)
        return Listing(
            lambda query: self._transport.call(LIST, query=query),
            Place.of(LIST, {}, self._base_url),
            asked={**asked, **page_limit_of(page_limit)},
            from_page=from_page,
            may_be_none=bool(filters),
        )

    def conversations(
        self,
        end_user_id: str,
        *,
        page_limit: int | None = None,
        from_page: str | None = None,
    ) -> Listing[Conversation]:
        """Find the conversations that the end user began: match on their classes.

        Pages are as in `list`. `NotFoundError` where there is no such end user.
        (getEndusersUseridConversations)
        """
        path = {"end_user_id": end_user_id}
        return Listing(
            lambda query: self._transport.call(CONVERSATIONS, path=path, query=query),
            Place.of(CONVERSATIONS, path, self._base_url),
            asked=page_limit_of(page_limit),
            from_page=from_page,
        )

    @property
    def _hidden(self) -> tuple[str, ...]:
        return self._transport.auth.secrets()

    async def _look(self, name: str, value: str) -> Sequence[EndUser]:
        """Return who has *value* in the field *name*, two of them at most."""
        found = self.list(
            external_id=value if name == "external_id" else None,
            email=value if name == "email" else None,
            phone=value if name == "phone_number" else None,
        )
        return await found.first(2)
