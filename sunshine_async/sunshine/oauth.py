"""OAuth of the service, for partners whose integration other accounts connect.

1. `OAuthClient.authorize_url` is the address to send a person's browser to.
2. `OAuthClient.get_token` exchanges the code that the browser brings back.
3. `OAuthClient.token_info`, with the token, tells the app and the subdomain of a `SunshineClient`.
4. `OAuthClient.revoke_access` ends the access.
"""

import ssl
from typing import ClassVar, Final

from attrs import field, frozen

from sunshine_async._calls.client import Client, ClientOptions
from sunshine_async._calls.endpoint import Endpoint
from sunshine_async._calls.retry import Replay, Retry
from sunshine_async._codec.model import AS_TYPE, WIRE, Model, redact
from sunshine_async._http.open_wire import HttpxTimeout, HttpxTransport
from sunshine_async.auth import Auth, BasicAuth, BearerAuth
from sunshine_async.sunshine.apps import App


@frozen(kw_only=True, slots=False)
class GetTokenBody(Model):
    """The body of `OAuthClient.get_token`; the specification has no name for the body."""

    code: str = field(repr=redact)
    """The code that the browser has brought; the code works once."""
    client_id: str = field(metadata={WIRE: "client_id"})
    client_secret: str = field(repr=redact, metadata={WIRE: "client_secret"})
    grant_type: str = field(default="authorization_code", metadata={WIRE: "grant_type", **AS_TYPE})


@frozen(kw_only=True, slots=False)
class AccessToken(Model):
    """Access token, in answers."""

    access_token: str = field(repr=redact, metadata={WIRE: "access_token"})
    """The token for `BearerAuth`."""
    token_type: str | None = field(default=None, metadata={WIRE: "token_type"})
    """``Bearer``."""


AUTHORIZE: Final[Endpoint[None, None]] = Endpoint(
    "GET", "/oauth/authorize", operation="Authorize",
    returns=type(None), query=("client_id", "response_type", "state", "redirect_uri"), ok=(302,),
    needs=("client_id", "response_type"),
    replay=Replay.SAFE,
)  # fmt: skip
GET_TOKEN: Final = Endpoint(
    "POST", "/oauth/token", operation="GetToken",
    accepts=GetTokenBody, returns=AccessToken,
    replay=Replay.UNSAFE,  # a code works once: a second sending is refused, and the token is lost
)  # fmt: skip
TOKEN_INFO: Final[Endpoint[None, App]] = Endpoint(
    "GET", "/v2/tokenInfo", operation="GetTokenInfo",
    returns=App, inside="app",
    replay=Replay.SAFE,
)  # fmt: skip
REVOKE_ACCESS: Final[Endpoint[None, None]] = Endpoint(
    "DELETE", "/oauth/authorization", operation="RevokeAccess",
    returns=type(None),
    replay=Replay.GONE,
)  # fmt: skip
ENDPOINTS: Final = (AUTHORIZE, GET_TOKEN, TOKEN_INFO, REVOKE_ACCESS)


class _NoAuth(Auth):
    """No credentials: requests have no ``Authorization`` header."""

    def current(self) -> None:
        return None

    async def fetch(self) -> str:
        return ""

    async def renew(self, refused: str) -> bool:  # noqa: ARG002 - nothing to renew
        return False

    def secrets(self) -> tuple[str, ...]:
        return ()

    def identity(self) -> str:
        return ""


class OAuthClient(Client):
    """Client of the OAuth operations.

    - *auth* is needed for `token_info` and `revoke_access`: `BearerAuth` with the access token.
      `authorize_url` and `get_token` go without.
    - *base_url* defaults to ``SUNSHINE_OAUTH_BASE_URL``, then to the service's address of OAuth.
    - *timeout*, *retry*, *proxy*, *ssl_context* and *transport* are as in `SunshineClient`.

    Errors and cancellation are as in `Users`.
    """

    prefix: ClassVar = "SUNSHINE_OAUTH"
    default_base_url: ClassVar = "https://oauth-bridge.zendesk.com/sc"
    credentials: ClassVar = (BearerAuth, BasicAuth, _NoAuth)
    environment_auth: ClassVar = (_NoAuth, ())
    probe: ClassVar = (TOKEN_INFO, {})

    def __init__(
        self,
        *,
        auth: BearerAuth | BasicAuth | None = None,
        base_url: str | None = None,
        timeout: float | HttpxTimeout = 30.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        transport: HttpxTransport | None = None,
    ) -> None:
        options = ClientOptions(
            auth=auth,
            base_url=base_url,
            timeout=timeout,
            retry=retry,
            pace=None,
            max_connections=100,
            proxy=proxy,
            ssl_context=ssl_context,
            transport=transport,
            allow_insecure=False,
        )
        del proxy  # may hold a password: no frame of an error shows it
        super().__init__(options)

    def authorize_url(
        self, client_id: str, *, state: str | None = None, redirect_uri: str | None = None
    ) -> str:
        """Return the URL at which a person grants access, in a browser (Authorize).

        The service sends the browser to *redirect_uri*, by default the first that the integration
        has, with ``code`` and *state* in the query. Nothing is sent here.
        """
        query = {
            "response_type": "code",
            "client_id": client_id,
            "state": state,
            "redirect_uri": redirect_uri,
        }
        return self.base_url + AUTHORIZE.request(None, {}, query).target

    async def get_token(self, body: GetTokenBody) -> AccessToken:
        """Exchange a code for an access token (GetToken).

        Not sent again once the service may have acted, since the code works once: after a lost
        answer the person has to grant access again. A ``repr`` shows no secret.
        """
        return await self._transport.call(GET_TOKEN, body)

    async def token_info(self) -> App:
        """Return the app of the access token, with the subdomain (GetTokenInfo)."""
        return await self._transport.call(TOKEN_INFO)

    async def revoke_access(self) -> None:
        """End the access to the app; the integration's webhooks are removed (RevokeAccess).

        A resent call that finds no access (404) is done.
        """
        await self._transport.call(REVOKE_ACCESS)
