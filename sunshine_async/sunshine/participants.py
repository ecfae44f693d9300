"""Participants of a conversation: operations and models."""

from datetime import datetime
from typing import Final

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Listing
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.pages import PAGE_QUERY, ListResponse, list_pages

_CONVERSATION: Final = "/v2/apps/{app_id}/conversations/{conversation_id}"


@frozen(kw_only=True, slots=False)
class ParticipantJoinBody(Model):
    """User to take part in a conversation: *user_id* or *user_external_id*, never both."""

    user_id: str | Unset = UNSET
    user_external_id: str | Unset = field(default=UNSET, repr=redact)
    subscribe_sdk_client: bool | Unset = field(default=UNSET, metadata={WIRE: "subscribeSDKClient"})
    """True: the user's SDK client gets notifications at once. Needed for ``sdkGroup``."""

    def __attrs_post_init__(self) -> None:
        _require_one(user_id=self.user_id, user_external_id=self.user_external_id)


@frozen(kw_only=True, slots=False)
class ParticipantLeaveBody(Model):
    """The body of `Participants.leave`: a single id."""

    user_id: str | Unset = UNSET
    user_external_id: str | Unset = field(default=UNSET, repr=redact)
    participant_id: str | Unset = UNSET

    def __attrs_post_init__(self) -> None:
        _require_one(
            user_id=self.user_id,
            user_external_id=self.user_external_id,
            participant_id=self.participant_id,
        )


@frozen(kw_only=True, slots=False)
class ClientAssociation(Model):
    """A client that is active in a conversation."""

    type: str | None = None
    """The channel of the client; the service may add values."""
    client_id: str | None = None


@frozen(kw_only=True, slots=False)
class Participant(Model):
    """Participant of a conversation, in answers."""

    id: str
    user_id: str | None = None
    user_external_id: str | None = field(default=None, repr=redact)
    unread_count: int | None = None
    """Count of messages that the user has not read yet."""
    client_associations: list[ClientAssociation] | None = None
    """Active clients, the primary client first."""
    last_read: datetime | None = None
    """Time of the newest message that the user has read."""


@frozen(kw_only=True, slots=False)
class ParticipantListResponse(ListResponse):
    """A page of participants as sent by the service."""

    items: list[Participant] = field(metadata={WIRE: "participants"})


JOIN: Final = Endpoint(
    "POST", _CONVERSATION + "/join", operation="JoinConversation",
    accepts=ParticipantJoinBody, returns=Participant, inside="participant", ok=(201,),
    replay=Replay.IDEMPOTENT,  # assumed: a user takes part once
)  # fmt: skip
LEAVE: Final = Endpoint(
    "POST", _CONVERSATION + "/leave", operation="LeaveConversation",
    accepts=ParticipantLeaveBody, returns=type(None),
    replay=Replay.GONE,  # 404: the user is not a member
)  # fmt: skip
LIST: Final[Endpoint[None, ParticipantListResponse]] = Endpoint(
    "GET", _CONVERSATION + "/participants", operation="ListParticipants",
    returns=ParticipantListResponse, query=PAGE_QUERY,
    replay=Replay.SAFE,
)  # fmt: skip
ENDPOINTS: Final = (JOIN, LEAVE, LIST)


@frozen
class Participants:
    """Participants of a conversation; errors and cancellation are as in `Users`."""

    _transport: Transport = field(alias="transport")

    async def join(self, conversation_id: str, body: ParticipantJoinBody) -> Participant:
        """Add a user to a group conversation (type ``sdkGroup``) (JoinConversation).

        May be sent again after a lost answer. `NotFoundError` without the conversation or user.
        """
        return await self._transport.call(JOIN, body, path={"conversation_id": conversation_id})

    async def leave(self, conversation_id: str, body: ParticipantLeaveBody) -> None:
        """Remove a user from a conversation (LeaveConversation).

        A resent call that finds no such participant is done.
        """
        await self._transport.call(LEAVE, body, path={"conversation_id": conversation_id})

    def list(
        self,
        conversation_id: str,
        *,
        after: str | None = None,
        before: str | None = None,
        page_size: int | None = None,
        from_page: str | None = None,
    ) -> Listing[Participant]:
        """List the participants of a conversation (ListParticipants).

        - ``async for`` returns participants singly, `Listing.pages` returns pages of *page_size*
          (1 to 100; the service's default is 25).
        - *after* and *before* are ids of records: the list begins behind *after*, or goes backwards
          from *before*. `ValueError` for both.
        - *from_page* is `Page.next`, or the *from_page* of an error: the list continues there.
        """
        path = {"conversation_id": conversation_id}
        return list_pages(
            lambda query: self._transport.call(LIST, path=path, query=query),
            LIST,
            after=after,
            before=before,
            page_size=page_size,
            from_page=from_page,
        )


def _require_one(**ids: str | Unset) -> None:
    """Raise `ValueError` unless a single id of *ids* is set."""
    if sum(map(bool, ids.values())) != 1:
        message = f"set exactly one of {', '.join(ids)}"
        raise ValueError(message)
