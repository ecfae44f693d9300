"""Client of Dixa."""

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from sunshine_async._calls.client import Client, ClientOptions
from sunshine_async._calls.retry import Retry
from sunshine_async._calls.transport import Transport
from sunshine_async._http.open_wire import HttpxTimeout, HttpxTransport
from sunshine_async._pace import Pace
from sunshine_async.auth import ApiToken
from sunshine_async.dixa.custom_attributes import CustomAttributes
from sunshine_async.dixa.end_users import GET, EndUsers

if TYPE_CHECKING:
    from sunshine_async._pace.shared import Allowance

RATE: Final = 10
"""Requests a second that the service allows a token, with a burst of 4."""
UNUSED_ID: Final = "00000000-0000-4000-8000-000000000000"


class DixaClient(Client):
    """Client of Dixa, for one organization.

    - *auth* and *base_url* default to ``DIXA_API_TOKEN`` and ``DIXA_BASE_URL``. *base_url* is the
      server's root: ``https://dev.dixa.io`` by default.
    - *pace* defaults to the service's limit for a token, 10 requests a second. All clients of this
      process with the same token and base URL share the pace, in any thread and loop; with
      ``SUNSHINE_PACE`` in the environment, also further processes.
    - *timeout*, *retry*, *max_connections*, *proxy*, *ssl_context*, *transport*,
      *allow_insecure* and *hooks* are as in `SunshineClient`.

    `ConfigurationError`, naming argument and variable, for a setting that is missing or can't work.
    """

    prefix: ClassVar = "DIXA"
    default_base_url: ClassVar = "https://dev.dixa.io"
    credentials: ClassVar = (ApiToken,)
    environment_auth: ClassVar = (ApiToken, ("API_TOKEN",))
    probe: ClassVar = (GET, {"end_user_id": UNUSED_ID})
    end_users: EndUsers
    custom_attributes: CustomAttributes

    def __init__(
        self,
        *,
        auth: ApiToken | None = None,
        base_url: str | None = None,
        timeout: float | HttpxTimeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        pace: Pace | None = None,
        max_connections: int = 100,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: HttpxTransport | None = None,
        allow_insecure: bool = False,
        hooks: Sequence[object] = (),
    ) -> None:
        options = ClientOptions(
            auth=auth,
            base_url=base_url,
            timeout=timeout,
            retry=retry,
            pace=pace,
            max_connections=max_connections,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
            allow_insecure=allow_insecure,
            hooks=hooks,
        )
        del proxy  # may hold a password: no frame of an error shows it
        super().__init__(options)

    def _default_pace(self, shared: "Allowance | None") -> Pace:
        # not 4: up to 200 ms of jitter can add two more requests
        return Pace(rate=RATE, burst=2, shared=shared)

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.end_users = EndUsers(transport, base_url=self.base_url)
        self.custom_attributes = CustomAttributes(transport)
