"""The client of Dixa."""

import ssl
from typing import ClassVar, Final

from sunshine_async._calls.client import Client, token_from_environment
from sunshine_async._calls.retry import Retry
from sunshine_async._calls.transport import Transport
from sunshine_async._http.open_wire import HttpxTimeout, HttpxTransport
from sunshine_async._pace import Pace
from sunshine_async.auth import ApiToken
from sunshine_async.dixa.custom_attributes import CustomAttributes
from sunshine_async.dixa.end_users import GET, EndUsers
from sunshine_async.errors import ConfigurationError

RATE: Final = 10
"""Requests a second that the service allows a token, with a burst of 4."""
NOBODY: Final = "00000000-0000-4000-8000-000000000000"
"""An id that no end user has."""


class DixaClient(Client):
    """Calls Dixa for one organization.

    *auth* and *base_url* come from ``DIXA_API_TOKEN`` and ``DIXA_BASE_URL`` where they are left
    out. *base_url* is the server's root: ``https://dev.dixa.io`` by default.

    *timeout* is for one attempt, in seconds, connecting at most 5 of them; or an `httpx.Timeout`.
    *retry* says how often a call is tried. *pace* is what the service allows a token (10 requests
    a second) where it isn't given, and all clients of this process with the same token and base
    URL share it, in any thread and loop; other processes with the token don't know of it. *proxy*
    (a URL; by default what the environment says), *ssl_context* and *transport* (any httpx
    transport) change the way out. Plain ``http`` to anything but this machine needs
    *allow_insecure*.

    Raise `ConfigurationError`, naming argument and variable, for what is missing or can't work.
    """

    prefix: ClassVar = "DIXA"
    default_base_url: ClassVar = "https://dev.dixa.io"
    credentials: ClassVar = (ApiToken,)
    probe: ClassVar = (GET, {"end_user_id": NOBODY})
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
    ) -> None:
        try:
            super().__init__(
                path={},
                auth=auth or token_from_environment(self.prefix),
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
        except ConfigurationError as error:
            del proxy  # which may have a password in it, here and in every frame below
            raise error.with_traceback(None) from None

    def _usual_pace(self) -> Pace:
        """Return 10 requests a second, as the service allows a token, and of its burst of 4 two less.

        Requests whose ways differ by up to 200 ms bunch up by as many.
        """
        return Pace(rate=RATE, burst=2)

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.end_users = EndUsers(transport, base_url=self.base_url)
        self.custom_attributes = CustomAttributes(transport)
