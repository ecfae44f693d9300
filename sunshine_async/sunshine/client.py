"""Client of Sunshine Conversations v2."""

from typing import TYPE_CHECKING, ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.sunshine.users import GET, Users

if TYPE_CHECKING:
    from sunshine_async.sunshine.conversations import Conversations
    from sunshine_async.sunshine.messages import Messages


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
