"""Clients of a user, which connect the user to channels: operations and models."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Listing
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import AS_TYPE, UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.message_models import MessagePost
from sunshine_async.sunshine.pages import PAGE_QUERY, ListResponse, list_pages

_CLIENTS: Final = "/v2/apps/{app_id}/users/{user_id_or_external_id}/clients"


@frozen(kw_only=True, slots=False)
class _MatchCriteria(Model):
    integration_id: str
    """The integration of the channel."""
    primary: bool | Unset = UNSET
    """False: the client doesn't become the primary client of the conversation."""


@frozen(kw_only=True, slots=False)
class MatchCriteriaMailgun(_MatchCriteria):
    """Search for the user's client by e-mail address."""

    address: str = field(repr=redact)
    subject: str | Unset = UNSET
    type: str = field(default="mailgun", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class _MatchCriteriaPhone(_MatchCriteria):
    phone_number: str = field(repr=redact)
    """With ``+`` and the country code."""


@frozen(kw_only=True, slots=False)
class MatchCriteriaMessagebird(_MatchCriteriaPhone):
    """Search for the user's client on MessageBird."""

    type: str = field(default="messagebird", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class MatchCriteriaTwilio(_MatchCriteriaPhone):
    """Search for the user's client on Twilio."""

    type: str = field(default="twilio", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class MatchCriteriaWhatsapp(_MatchCriteriaPhone):
    """Search for the user's client on WhatsApp."""

    type: str = field(default="whatsapp", metadata=AS_TYPE)


@frozen(kw_only=True, slots=False)
class UnknownMatchCriteria(Model):
    """Search on a channel that the specification doesn't list; *extra* has all data."""

    type: str | None = field(default=None, metadata=AS_TYPE)


MatchCriteria: TypeAlias = (
    MatchCriteriaMailgun
    | MatchCriteriaMessagebird
    | MatchCriteriaTwilio
    | MatchCriteriaWhatsapp
    | UnknownMatchCriteria
)


@frozen(kw_only=True, slots=False)
class Confirmation(Model):
    """Confirmation of a link by the user."""

    type: str
    """``immediate``, ``userActivity`` or ``prompt``."""
    message: MessagePost | Unset = UNSET
    """The message to the user: a text or an image."""


@frozen(kw_only=True, slots=False)
class ClientTarget(Model):
    """Conversation that gets the client."""

    conversation_id: str


@frozen(kw_only=True, slots=False)
class ClientCreate(Model):
    """The body of `Clients.create`."""

    match_criteria: MatchCriteria
    confirmation: Confirmation
    target: ClientTarget


@frozen(kw_only=True, slots=False)
class Client(Model):
    """Client of a user, in answers."""

    id: str
    type: str | None = None
    """A channel such as ``whatsapp``, or ``sdk``; the service may add values."""
    status: str | None = None
    """``active``, ``blocked``, ``inactive`` or ``pending``; the service may add values."""
    integration_id: str | None = None
    external_id: str | None = field(default=None, repr=redact)
    """The id of the user on the channel, such as a phone number."""
    last_seen: datetime | None = None
    linked_at: datetime | None = None
    display_name: str | None = field(default=None, repr=redact)
    avatar_url: str | None = field(default=None, repr=redact)
    info: Mapping[str, Any] | None = field(default=None, repr=redact)
    """Flat facts about the channel; no key is guaranteed."""
    raw: Mapping[str, Any] | None = field(default=None, repr=redact)
    """The facts as the channel gave them; no key is guaranteed."""


@frozen(kw_only=True, slots=False)
class ClientListResponse(ListResponse):
    """A page of clients as sent by the service."""

    items: list[Client] = field(metadata={WIRE: "clients"})


CREATE: Final = Endpoint(
    "POST", _CLIENTS, operation="CreateClient",
    accepts=ClientCreate, returns=Client, inside="client", query=("brandId",), ok=(201,),
    replay=Replay.UNSAFE,  # may write to the user twice
)  # fmt: skip
LIST: Final[Endpoint[None, ClientListResponse]] = Endpoint(
    "GET", _CLIENTS, operation="ListClients",
    returns=ClientListResponse, query=("brandId", *PAGE_QUERY),
    replay=Replay.SAFE,
)  # fmt: skip
REMOVE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _CLIENTS + "/{client_id}", operation="RemoveClient",
    returns=type(None), query=("brandId",),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, REMOVE)


@frozen
class Clients:
    """Clients of a user; ids, *brand_id*, errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def create(
        self, user_id_or_external_id: str, body: ClientCreate, *, brand_id: str | None = None
    ) -> Client:
        """Link a user to a channel; return the client, pending at first (CreateClient).

        Not sent again once the service may have acted: the user could get two messages.
        """
        return await self._transport.call(
            CREATE,
            body,
            path={"user_id_or_external_id": user_id_or_external_id},
            query={"brandId": brand_id},
        )

    def list(
        self,
        user_id_or_external_id: str,
        *,
        brand_id: str | None = None,
        after: str | None = None,
        before: str | None = None,
        page_size: int | None = None,
        from_page: str | None = None,
    ) -> Listing[Client]:
        """List the clients of a user; pages are as in `Participants.list` (ListClients)."""
        path = {"user_id_or_external_id": user_id_or_external_id}
        return list_pages(
            lambda query: self._transport.call(LIST, path=path, query=query),
            LIST,
            filters={"brandId": brand_id},
            after=after,
            before=before,
            page_size=page_size,
            from_page=from_page,
        )

    async def remove(
        self, user_id_or_external_id: str, client_id: str, *, brand_id: str | None = None
    ) -> None:
        """Remove a client; a resent call that finds no client is done (RemoveClient)."""
        await self._transport.call(
            REMOVE,
            path={"user_id_or_external_id": user_id_or_external_id, "client_id": client_id},
            query={"brandId": brand_id},
        )
