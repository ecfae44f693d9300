"""OAuth of partners: the URL for a browser, the token, and no secret anywhere."""

import json
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from support.frames import leaks

from sunshine_async import BadRequestError, BearerAuth, ConfigurationError, Retry, TransportError
from sunshine_async.auth import ApiToken
from sunshine_async.sunshine import AccessToken, App, GetTokenBody, OAuthClient
from sunshine_async.testing import Answer, ScriptedTransport

BODY = GetTokenBody(code="c0de-12345", client_id="partner", client_secret="s3cret-12345")


def scripted(*answers: Answer, token: str = "") -> tuple[OAuthClient, ScriptedTransport]:
    """Return a client that gets *answers*, and the transport that gives them."""
    transport = ScriptedTransport(answers)
    auth = BearerAuth(token) if token else None
    return OAuthClient(auth=auth, transport=transport, retry=Retry(first_wait=0)), transport


def test_a_browser_gets_the_url() -> None:
    """The URL has all that the service needs, escaped, and nothing is sent."""
    client, transport = scripted()

    url = client.authorize_url("partner", state="a&b", redirect_uri="https://p.example/x?y")

    parts = urlsplit(url)
    assert url.startswith("https://oauth-bridge.zendesk.com/sc/oauth/authorize?")
    assert parse_qs(parts.query) == {
        "response_type": ["code"],
        "client_id": ["partner"],
        "state": ["a&b"],
        "redirect_uri": ["https://p.example/x?y"],
    }
    assert transport.requests == []
    assert "state" not in client.authorize_url("partner")


async def test_a_code_becomes_a_token() -> None:
    """The exchange sends no credentials but those of the body, and shows no secret."""
    client, transport = scripted((200, {"access_token": "t0ken-12345", "token_type": "Bearer"}))

    found = await client.get_token(BODY)

    [request] = transport.requests
    assert found == AccessToken(access_token="t0ken-12345", token_type="Bearer")
    assert "authorization" not in request.headers
    assert json.loads(request.content) == {
        "code": "c0de-12345",
        "client_id": "partner",
        "client_secret": "s3cret-12345",
        "grant_type": "authorization_code",
    }
    assert not {"c0de", "s3cret", "t0ken"} & set(repr((BODY, found)).replace("-", "'").split("'"))


async def test_a_code_is_not_sent_twice() -> None:
    """A code works once: after a lost answer the exchange ends, and no frame shows a secret."""
    client, transport = scripted(httpx.ReadTimeout("late"))

    with pytest.raises(TransportError) as caught:
        await client.get_token(BODY)

    assert caught.value.maybe_applied
    assert len(transport.requests) == 1
    assert leaks(caught.value, "c0de-12345", "s3cret-12345") == []


async def test_a_refused_code_is_an_error() -> None:
    """The reason of the service is in the error."""
    client, _ = scripted((400, {"error": "invalid_grant", "error_description": "used before"}))

    with pytest.raises(BadRequestError, match="invalid_grant"):
        await client.get_token(BODY)


async def test_the_token_tells_the_app_and_is_revoked() -> None:
    """With the token come the id and the subdomain of the app; a resent revocation is done."""
    client, transport = scripted(
        (200, {"app": {"id": "5", "subdomain": "acme"}}),
        httpx.ReadTimeout("late"),
        404,
        token="t0ken-12345",
    )

    app = await client.token_info()
    await client.revoke_access()

    assert app == App(id="5", subdomain="acme")
    assert [request.url.path for request in transport.requests] == [
        "/sc/v2/tokenInfo",
        "/sc/oauth/authorization",
        "/sc/oauth/authorization",
    ]
    assert {request.headers["authorization"] for request in transport.requests} == {
        "Bearer t0ken-12345"
    }


async def test_a_call_without_the_needed_token_is_refused_once() -> None:
    """Without credentials there is nothing to renew: a 401 is the answer."""
    client, transport = scripted(401)

    with pytest.raises(Exception, match="401"):
        await client.token_info()

    assert len(transport.requests) == 1


def test_a_foreign_kind_of_credentials_is_refused() -> None:
    """Credentials that OAuth doesn't take are named."""
    with pytest.raises(ConfigurationError, match="ApiToken"):
        OAuthClient(auth=ApiToken("t"))  # type: ignore[arg-type]


def test_the_environment_has_an_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of the API never is the address of OAuth."""
    monkeypatch.setenv("SUNSHINE_BASE_URL", "https://api.smooch.io")
    assert OAuthClient().base_url == "https://oauth-bridge.zendesk.com/sc"

    monkeypatch.setenv("SUNSHINE_OAUTH_BASE_URL", "https://o.example")
    assert OAuthClient().base_url == "https://o.example"
