"""Client of Sunshine Conversations v2."""

from typing import TYPE_CHECKING, ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.sunshine.users import GET, Users

if TYPE_CHECKING:
    from sunshine_async.sunshine.activities import Activities
    from sunshine_async.sunshine.app_keys import AppKeys
    from sunshine_async.sunshine.apps import App, Apps
    from sunshine_async.sunshine.attachments import Attachments
    from sunshine_async.sunshine.clients import Clients
    from sunshine_async.sunshine.conversations import Conversations
    from sunshine_async.sunshine.devices import Devices
    from sunshine_async.sunshine.integration_keys import IntegrationKeys
    from sunshine_async.sunshine.integrations import Integrations
    from sunshine_async.sunshine.messages import Messages
    from sunshine_async.sunshine.participants import Participants
    from sunshine_async.sunshine.switchboard_actions import SwitchboardActions
    from sunshine_async.sunshine.switchboard_integrations import SwitchboardIntegrations
    from sunshine_async.sunshine.switchboards import Switchboards
    from sunshine_async.sunshine.webhooks import Webhooks


class SunshineClient(AppClient):
    """Client of Sunshine Conversations v2, for one app.

    - *app_id* and *auth* default to ``SUNSHINE_APP_ID``, and ``SUNSHINE_KEY_ID`` with
      ``SUNSHINE_KEY_SECRET``.
    - *subdomain* (``SUNSHINE_SUBDOMAIN``) means ``https://{subdomain}.zendesk.com/sc``, the address
      of Zendesk's customers. Legacy customers have *base_url* (``SUNSHINE_BASE_URL``), the server's
      root: ``https://api.smooch.io`` by default, ``https://api.eu-1.smooch.io`` in Europe.
    - *timeout* bounds one attempt, in seconds, with at most 5 to connect; or is an `httpx.Timeout`.
    - *retry* is the retry rule, *max_connections* the limit of concurrent calls.
    - *pace* bounds the start of calls and finds the service's limit. Without *pace*, all clients of
      this process with the same credentials and base URL share a pace (see `pace`).
    - *proxy* (a URL; by default the environment's), *ssl_context* and *transport* (any httpx
      transport) change the way out. Plain ``http`` beyond this machine needs *allow_insecure*.
    - *hooks* are objects that are told of every call and attempt (see `telemetry`).

    `ConfigurationError`, naming argument and variable, for a setting that is missing or can't work.
    """

    prefix: ClassVar = "SUNSHINE"
    probe: ClassVar = (GET, {"user_id_or_external_id": "is-the-service-back"})

    users: Users

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.users = Users(transport)

    # A property imports the module of the resource at the first use, and binds the resource to the
    # transport of this client or view.

    @property
    def conversations(self) -> "Conversations":
        """Conversations of the app."""
        from sunshine_async.sunshine.conversations import Conversations

        return Conversations(self._transport)

    @property
    def messages(self) -> "Messages":
        """Messages of the app's conversations."""
        from sunshine_async.sunshine.messages import Messages

        return Messages(self._transport)

    @property
    def activities(self) -> "Activities":
        """Activities in conversations, such as typing."""
        from sunshine_async.sunshine.activities import Activities

        return Activities(self._transport)

    @property
    def app_keys(self) -> "AppKeys":
        """API keys of the app."""
        from sunshine_async.sunshine.app_keys import AppKeys

        return AppKeys(self._transport)

    @property
    def apps(self) -> "Apps":
        """Apps of the account."""
        from sunshine_async.sunshine.apps import Apps

        return Apps(self._transport)

    @property
    def attachments(self) -> "Attachments":
        """Files for messages."""
        from sunshine_async.sunshine.attachments import Attachments

        return Attachments(self._transport)

    @property
    def clients(self) -> "Clients":
        """Clients of users, which connect to channels."""
        from sunshine_async.sunshine.clients import Clients

        return Clients(self._transport)

    @property
    def devices(self) -> "Devices":
        """Devices of users."""
        from sunshine_async.sunshine.devices import Devices

        return Devices(self._transport)

    @property
    def integration_keys(self) -> "IntegrationKeys":
        """API keys of custom integrations."""
        from sunshine_async.sunshine.integration_keys import IntegrationKeys

        return IntegrationKeys(self._transport)

    @property
    def integrations(self) -> "Integrations":
        """Integrations of the app."""
        from sunshine_async.sunshine.integrations import Integrations

        return Integrations(self._transport)

    @property
    def participants(self) -> "Participants":
        """Participants of conversations."""
        from sunshine_async.sunshine.participants import Participants

        return Participants(self._transport)

    @property
    def switchboard_actions(self) -> "SwitchboardActions":
        """Control of conversations."""
        from sunshine_async.sunshine.switchboard_actions import SwitchboardActions

        return SwitchboardActions(self._transport)

    @property
    def switchboard_integrations(self) -> "SwitchboardIntegrations":
        """Integrations linked to a switchboard."""
        from sunshine_async.sunshine.switchboard_integrations import SwitchboardIntegrations

        return SwitchboardIntegrations(self._transport)

    @property
    def switchboards(self) -> "Switchboards":
        """Switchboard of the app."""
        from sunshine_async.sunshine.switchboards import Switchboards

        return Switchboards(self._transport)

    @property
    def webhooks(self) -> "Webhooks":
        """Webhooks of integrations."""
        from sunshine_async.sunshine.webhooks import Webhooks

        return Webhooks(self._transport)

    async def token_info(self) -> "App":
        """Return the app of the credentials, with the subdomain (GetTokenInfo).

        The credentials are an OAuth access token, as `BearerAuth`.
        """
        from sunshine_async.sunshine.oauth import TOKEN_INFO

        return await self._transport.call(TOKEN_INFO)
