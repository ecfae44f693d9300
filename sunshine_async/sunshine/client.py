"""The client of Sunshine Conversations v2."""

from typing import ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.sunshine.users import GET, Users


class SunshineClient(AppClient):
    """Calls Sunshine Conversations v2 for one app.

    *app_id*, *auth* and *base_url* come from ``SUNSHINE_APP_ID``, ``SUNSHINE_KEY_ID`` with
    ``SUNSHINE_KEY_SECRET``, and ``SUNSHINE_BASE_URL`` where they are left out. *base_url* is the
    server's root: ``https://api.smooch.io`` by default, ``https://api.eu-1.smooch.io`` in Europe,
    ``https://{subdomain}.zendesk.com/sc`` for Zendesk's customers.

    *timeout* is for one attempt, in seconds, connecting at most 5 of them; or an `httpx.Timeout`.
    *retry* says how often a call is tried, *max_connections* how many calls are under way at once.
    *pace* bounds what starts, and finds what the service allows: where it isn't given, all clients
    of this process with the same credentials and base URL share one (see `pace`). *proxy* (a URL;
    by default what the environment says), *ssl_context* and *transport* (any httpx transport)
    change the way out. Plain ``http`` to anything but this machine needs *allow_insecure*.

    Raise `ConfigurationError`, naming argument and variable, for what is missing or can't work.
    """

    prefix: ClassVar = "SUNSHINE"
    probe: ClassVar = (GET, {"user_id_or_external_id": "is-the-service-back"})

    users: Users

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.users = Users(transport)
