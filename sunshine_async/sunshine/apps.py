"""Apps of an account: operations and models."""

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.pages import Listing
from sunshine_async._calls.retry import Replay
from sunshine_async._calls.transport import Transport
from sunshine_async._codec.model import UNSET, WIRE, Model, Unset, redact
from sunshine_async.sunshine.pages import PAGE_QUERY, ListResponse, list_pages

_APPS: Final = "/v2/apps"
_APP: Final = _APPS + "/{app_id}"


@frozen(kw_only=True, slots=False)
class AppSettings(Model):
    """Settings of an app, in bodies and answers. In bodies, None leaves a setting unchanged."""

    conversation_retention_seconds: int | None = None
    """Seconds of inactivity after which the messages of a conversation are deleted."""
    mask_credit_card_numbers: bool | None = None
    use_animal_names: bool | None = None
    """True: unnamed users get names of animals."""
    echo_postback: bool | None = None
    """True: a click on a postback button adds a message to the conversation."""
    ignore_auto_conversation_start: bool | None = None
    multi_convo_enabled: bool | None = None
    """True: a user may have several conversations. The service never takes this back."""
    app_localization_enabled: bool | None = None
    end_session_enabled: bool | None = None
    disable_conversation_reopen: bool | None = None


@frozen(kw_only=True, slots=False)
class _AppBody(Model):
    settings: AppSettings | Unset = UNSET
    metadata: Mapping[str, str | float | bool | None] | Unset | None = field(
        default=UNSET, repr=redact
    )
    """The caller's own properties, flat, 4 KB in all. None as a value unsets a property."""


@frozen(kw_only=True, slots=False)
class AppUpdateBody(_AppBody):
    """The body of `Apps.update`: a field left out stays unchanged."""

    display_name: str | Unset = UNSET
    """The name of the app: 1 to 100 characters."""


@frozen(kw_only=True, slots=False)
class AppCreateBody(_AppBody):
    """The body of `Apps.create`."""

    display_name: str
    """The name of the app: 1 to 100 characters."""


@frozen(kw_only=True, slots=False)
class App(Model):
    """App, in answers."""

    id: str
    display_name: str | None = None
    settings: AppSettings | None = None
    metadata: Mapping[str, Any] | None = field(default=None, repr=redact)
    subdomain: str | None = None
    """The *subdomain* of a client of the app; only from `Apps.get` and ``token_info``."""


@frozen(kw_only=True, slots=False)
class AppListResponse(ListResponse):
    """A page of apps as sent by the service."""

    items: list[App] = field(metadata={WIRE: "apps"})


CREATE: Final = Endpoint(
    "POST", _APPS, operation="CreateApp",
    accepts=AppCreateBody, returns=App, inside="app", ok=(201,),
    replay=Replay.UNSAFE,
)  # fmt: skip
LIST: Final[Endpoint[None, AppListResponse]] = Endpoint(
    "GET", _APPS, operation="ListApps",
    returns=AppListResponse, query=(*PAGE_QUERY, "filter[serviceAccountId]"),
    replay=Replay.SAFE,
)  # fmt: skip
GET: Final[Endpoint[None, App]] = Endpoint(
    "GET", _APP, operation="GetApp",
    returns=App, inside="app",
    replay=Replay.SAFE,
)  # fmt: skip
UPDATE: Final = Endpoint(
    "PATCH", _APP, operation="UpdateApp",
    accepts=AppUpdateBody, returns=App, inside="app",
    replay=Replay.IDEMPOTENT,  # absolute values: a second sending sets the same
)  # fmt: skip
DELETE: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", _APP, operation="DeleteApp",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (CREATE, LIST, GET, UPDATE, DELETE)


@frozen
class Apps:
    """Apps of an account; the client's own app unless *app_id* says otherwise.

    Errors and cancellation are as in `Users`. The credentials of an account reach all apps, the
    credentials of an app only the app.
    """

    _transport: Transport = field(alias="transport")

    async def create(self, body: AppCreateBody) -> App:
        """Create an app; return the app (CreateApp).

        Not sent again once the service may have acted: that could make two apps.
        `PaymentRequiredError` if the account may have no further app.
        """
        return await self._transport.call(CREATE, body)

    def list(
        self,
        *,
        service_account_id: str | None = None,
        after: str | None = None,
        before: str | None = None,
        page_size: int | None = None,
        from_page: str | None = None,
    ) -> Listing[App]:
        """List the apps, or those that a service account can reach (ListApps).

        Pages are as in `Participants.list`.
        """
        return list_pages(
            lambda query: self._transport.call(LIST, query=query),
            LIST,
            filters={"filter[serviceAccountId]": service_account_id},
            after=after,
            before=before,
            page_size=page_size,
            from_page=from_page,
        )

    async def get(self, app_id: str | None = None) -> App:
        """Return an app, with the subdomain (GetApp)."""
        return await self._transport.call(GET, path=_path(app_id))

    async def update(self, body: AppUpdateBody, *, app_id: str | None = None) -> App:
        """Set the fields that *body* sets; return the app (UpdateApp).

        After a lost answer the update is sent again with the same values, and may overwrite another
        writer's change in between.
        """
        return await self._transport.call(UPDATE, body, path=_path(app_id))

    async def delete(self, app_id: str) -> None:
        """Delete an app, with all users and conversations (DeleteApp).

        The id must be given, also for the client's own app. A resent delete that finds no app is
        done.
        """
        await self._transport.call(DELETE, path={"app_id": app_id})


def _path(app_id: str | None) -> Mapping[str, str]:
    return {} if app_id is None else {"app_id": app_id}
