"""Client of Sunshine Conversations v2."""

from typing import ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.sunshine.users import GET, Users


class SunshineClient(AppClient):
    """Client of Sunshine Conversations v2, for one app.

    - *app_id*, *auth* and *base_url* default to ``SUNSHINE_APP_ID``, ``SUNSHINE_KEY_ID`` with
      ``SUNSHINE_KEY_SECRET``, and ``SUNSHINE_BASE_URL``. *base_url* is the server's root:
      ``https://api.smooch.io`` by default, ``https://api.eu-1.smooch.io`` in Europe,
      ``https://{subdomain}.zendesk.com/sc`` for Zendesk's customers.
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
