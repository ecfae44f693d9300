"""The client of Sunshine Conversations v2."""

import ssl
from typing import ClassVar

from sunshine_async._client import Client, app_id_of, key_from_environment
from sunshine_async._pace import Pace
from sunshine_async._retry import Retry
from sunshine_async._transport.calls import Transport
from sunshine_async._transport.connect import HttpxTimeout, HttpxTransport
from sunshine_async.auth import BasicAuth, BearerAuth, JwtAuth
from sunshine_async.sunshine.users import Users


class SunshineClient(Client):
    """Calls Sunshine Conversations v2 for one app.

    *app_id*, *auth* and *base_url* come from ``SUNSHINE_APP_ID``, ``SUNSHINE_KEY_ID`` with
    ``SUNSHINE_KEY_SECRET``, and ``SUNSHINE_BASE_URL`` where they are left out. *base_url* is the
    server's root: ``https://api.smooch.io`` by default, ``https://api.eu-1.smooch.io`` in Europe,
    ``https://{subdomain}.zendesk.com/sc`` for Zendesk's customers.

    *timeout* is for one attempt, in seconds, connecting at most 5 of them; or an `httpx.Timeout`.
    *retry* says how often a call is tried, *pace* how many calls are under way at once and how
    fast they start (by default as many as *max_connections*). *proxy* (a URL; by default what
    the environment says), *ssl_context* and *transport* (any httpx transport) change the way out.
    Plain ``http`` to anything but this machine needs *allow_insecure*.

    Raise `ConfigurationError`, naming argument and variable, for what is missing or can't work.
    """

    prefix: ClassVar = "SUNSHINE"
    default_base_url: ClassVar = "https://api.smooch.io"

    users: Users

    def __init__(
        self,
        app_id: str | None = None,
        *,
        auth: BasicAuth | JwtAuth | BearerAuth | None = None,
        base_url: str | None = None,
        timeout: float | HttpxTimeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        pace: Pace | None = None,
        max_connections: int = 100,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: HttpxTransport | None = None,
        allow_insecure: bool = False,
    ) -> None:
        super().__init__(
            path={"app_id": app_id_of(app_id, self.prefix)},
            auth=auth or key_from_environment(self.prefix),
            base_url=base_url,
            allow_insecure=allow_insecure,
            timeout=timeout,
            retry=retry,
            pace=pace,
            max_connections=max_connections,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
        )

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.users = Users(transport)
