"""Control of a conversation, handed from one switchboard integration to another."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, Model, Unset, redact

_CONVERSATION: Final = "/v2/apps/{app_id}/conversations/{conversation_id}"


@frozen(kw_only=True, slots=False)
class AcceptControlBody(Model):
    """The body of `SwitchboardActions.accept_control`."""

    metadata: Mapping[str, str | float | bool | None] | Unset | None = field(
        default=UNSET, repr=redact
    )
    """Flat properties, 4 KB in all, that the webhook of the event carries."""


@frozen(kw_only=True, slots=False)
class ReleaseControlBody(AcceptControlBody):
    """The body of `SwitchboardActions.release_control`."""


@frozen(kw_only=True, slots=False)
class PassControlBody(AcceptControlBody):
    """The body of `SwitchboardActions.pass_control`."""

    switchboard_integration: str
    """The receiver: an id, a name or an integration type, tried in this order; or ``next``."""


@frozen(kw_only=True, slots=False)
class OfferControlBody(AcceptControlBody):
    """The body of `SwitchboardActions.offer_control`."""

    switchboard_integration: str
    """The receiver: an id, a name or an integration type, tried in this order; or ``next``."""


# Assumed: a second sending of these leaves what one leaves, since each names the state to reach.
PASS_CONTROL: Final = Endpoint(
    "POST", _CONVERSATION + "/passControl", operation="PassControl",
    accepts=PassControlBody, returns=type(None),
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
OFFER_CONTROL: Final = Endpoint(
    "POST", _CONVERSATION + "/offerControl", operation="OfferControl",
    accepts=OfferControlBody, returns=type(None),
    replay=Replay.IDEMPOTENT,
)  # fmt: skip
ACCEPT_CONTROL: Final = Endpoint(
    "POST", _CONVERSATION + "/acceptControl", operation="AcceptControl",
    accepts=AcceptControlBody, returns=type(None),
    replay=Replay.IDEMPOTENT,  # or a refusal (403), since nothing is pending by then
    advice={403: "Check the offer (an integration's key: to that integration), and the key's scope"},
)  # fmt: skip
RELEASE_CONTROL: Final = Endpoint(
    "POST", _CONVERSATION + "/releaseControl", operation="ReleaseControl",
    accepts=ReleaseControlBody, returns=type(None),
    replay=Replay.IDEMPOTENT,  # or a refusal (403), since the control is elsewhere by then
    advice={403: "Check who has control (an integration's key: that integration), and the key's scope"},
)  # fmt: skip
ENDPOINTS: Final = (PASS_CONTROL, OFFER_CONTROL, ACCEPT_CONTROL, RELEASE_CONTROL)


@frozen
class SwitchboardActions:
    """Control of conversations; errors and cancellation are as in `Users`.

    After a lost answer an action is sent again, and may override another integration's action in
    between. Where the second sending is refused (403), the `PermissionDeniedError` has
    *maybe_applied*: the first sending may have done the work.
    """

    _transport: Transport = field(alias="transport")

    async def pass_control(self, conversation_id: str, body: PassControlBody) -> None:
        """Make a switchboard integration active, and the rest standby (PassControl)."""
        await self._transport.call(PASS_CONTROL, body, path=_path(conversation_id))

    async def offer_control(self, conversation_id: str, body: OfferControlBody) -> None:
        """Invite a switchboard integration to accept control; it is pending then (OfferControl)."""
        await self._transport.call(OFFER_CONTROL, body, path=_path(conversation_id))

    async def accept_control(
        self, conversation_id: str, body: AcceptControlBody | None = None
    ) -> None:
        """Accept the control that was offered to the caller's integration (AcceptControl).

        `PermissionDeniedError` without an offer.
        """
        body = AcceptControlBody() if body is None else body
        await self._transport.call(ACCEPT_CONTROL, body, path=_path(conversation_id))

    async def release_control(
        self, conversation_id: str, body: ReleaseControlBody | None = None
    ) -> None:
        """Give the control of the caller's integration back (ReleaseControl).

        `PermissionDeniedError` if the caller's integration has no control.
        """
        body = ReleaseControlBody() if body is None else body
        await self._transport.call(RELEASE_CONTROL, body, path=_path(conversation_id))


def _path(conversation_id: str) -> Mapping[str, str]:
    return {"conversation_id": conversation_id}
