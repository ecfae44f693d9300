"""Integrations of an app: operations, and the body of changes."""

from typing import Final

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Listing
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.integration_models import (
    AnyIntegration,
    Integration,
    PrechatCapture,
    missing_fields,
)
from sunshine_async.sunshine.pages import PAGE_QUERY, ListResponse, list_pages

_INTEGRATIONS: Final = "/v2/apps/{app_id}/integrations"
_INTEGRATION: Final = _INTEGRATIONS + "/{integration_id}"


@frozen(kw_only=True, slots=False)
class IntegrationUpdate(Model):
    """The body of `Integrations.update`: a field left out stays unchanged.

    The type follows from the integration. Each type takes *display_name* and, but for `Custom`,
    the next two fields; of the rest only fields that the class of the type has.
    """

    display_name: str | Unset | None = UNSET
    default_responder_id: str | Unset | None = UNSET
    show_ai_disclaimer: bool | Unset = field(default=UNSET, metadata={WIRE: "showAIDisclaimer"})
    project_id: str | Unset | None = UNSET
    client_email: str | Unset | None = UNSET
    private_key: str | Unset | None = field(default=UNSET, repr=redact)
    server_key: str | Unset | None = field(default=UNSET, repr=redact)
    sender_id: str | Unset | None = UNSET
    can_user_see_conversation_list: bool | Unset = UNSET
    can_user_create_more_conversations: bool | Unset = UNSET
    authentication_message_secret: str | Unset = field(default=UNSET, repr=redact)
    page_access_token: str | Unset = field(default=UNSET, repr=redact)
    story_replies_enabled: bool | Unset = UNSET
    story_mentions_enabled: bool | Unset = UNSET
    certificate: str | Unset | None = field(default=UNSET, repr=redact)
    password: str | Unset = field(default=UNSET, repr=redact)
    production: bool | Unset = UNSET
    auto_update_badge: bool | Unset = UNSET
    hide_unsubscribe_link: bool | Unset = UNSET
    from_address: str | Unset | None = UNSET
    brand_color: str | Unset = UNSET
    fixed_intro_pane: bool | Unset = UNSET
    conversation_color: str | Unset = UNSET
    action_color: str | Unset = UNSET
    display_style: str | Unset = UNSET
    button_icon_url: str | Unset | None = UNSET
    button_width: str | Unset = UNSET
    button_height: str | Unset = UNSET
    integration_order: list[str] | Unset | None = UNSET
    business_name: str | Unset = UNSET
    business_icon_url: str | Unset = UNSET
    background_image_url: str | Unset = UNSET
    origin_whitelist: list[str] | Unset | None = UNSET
    prechat_capture: PrechatCapture | Unset = UNSET
    hsm_fallback_language: str | Unset | None = UNSET
    account_id: str | Unset | None = UNSET
    account_management_access_token: str | Unset | None = field(default=UNSET, repr=redact)


@frozen(kw_only=True, slots=False)
class IntegrationResponse(Model):
    """An integration as sent by the service."""

    integration: AnyIntegration


@frozen(kw_only=True, slots=False)
class IntegrationListResponse(ListResponse):
    """A page of integrations as sent by the service."""

    items: list[AnyIntegration] = field(metadata={WIRE: "integrations"})


CREATE: Final = Endpoint(
    "POST", _INTEGRATIONS, operation="CreateIntegration",
    accepts=Integration, returns=IntegrationResponse, ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, IntegrationListResponse]] = Endpoint(
    "GET", _INTEGRATIONS, operation="ListIntegrations",
    returns=IntegrationListResponse, query=(*PAGE_QUERY, "filter[types]"),
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, IntegrationResponse]] = Endpoint(
    "GET", _INTEGRATION, operation="GetIntegration",
    returns=IntegrationResponse,
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _INTEGRATION, operation="UpdateIntegration",
    accepts=IntegrationUpdate, returns=IntegrationResponse,
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _INTEGRATION, operation="DeleteIntegration",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, GET, UPDATE, DELETE)


@frozen
class Integrations:
    """Integrations of the client's app; errors and cancellation are as in `Users`.

    Match on the class of an integration: `Custom`, `Whatsapp`, ... or `UnknownIntegration`.
    """

    _transport: Transport = field(alias="transport")

    async def create(self, body: AnyIntegration) -> AnyIntegration:
        """Create an integration; return the integration (CreateIntegration).

        Not sent again once the service may have acted: that could make two integrations.
        `ValueError` before anything is sent if a field is missing that the type needs.
        """
        CREATE.check_body(body)
        if missing := missing_fields(body):
            message = f"{type(body).__name__} needs {', '.join(missing)}"
            raise ValueError(message)
        return (await self._transport.call(CREATE, body)).integration

    def list(
        self,
        *,
        types: str | None = None,
        after: str | None = None,
        before: str | None = None,
        page_size: int | None = None,
        from_page: str | None = None,
    ) -> Listing[AnyIntegration]:
        """List the integrations, or those of *types*, such as ``android,ios`` (ListIntegrations).

        Pages are as in `Participants.list`.
        """
        return list_pages(
            lambda query: self._transport.call(LIST, query=query),
            LIST,
            filters={"filter[types]": types},
            after=after,
            before=before,
            page_size=page_size,
            from_page=from_page,
        )

    async def get(self, integration_id: str) -> AnyIntegration:
        """Return an integration (GetIntegration)."""
        path = {"integration_id": integration_id}
        return (await self._transport.call(GET, path=path)).integration

    async def update(self, integration_id: str, body: IntegrationUpdate) -> AnyIntegration:
        """Set the fields that *body* sets; return the integration (UpdateIntegration).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        path = {"integration_id": integration_id}
        return (await self._transport.call(UPDATE, body, path=path)).integration

    async def delete(self, integration_id: str) -> None:
        """Delete an integration; a resent delete that finds none is done (DeleteIntegration)."""
        await self._transport.call(DELETE, path={"integration_id": integration_id})
