"""Making a Dixa client: where its settings come from, and whose pace it shares."""

import pickle
from threading import Thread
from typing import Any

import httpx
import pytest
from support.clients import dixa

from sunshine_async import ConfigurationError, NotFoundError, Pace
from sunshine_async._pace import waiting
from sunshine_async.auth import ApiToken
from sunshine_async.dixa import DixaClient
from sunshine_async.testing import Answer, ScriptedTransport

FOUND: Answer = (200, {"data": {"id": "a"}})


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_TOKEN", "BASE_URL"):
        monkeypatch.delenv(f"DIXA_{name}", raising=False)


def client_of(name: str = "t", **options: Any) -> DixaClient:
    """Return a client whose token is *name*."""
    return DixaClient(auth=ApiToken(name), **options)


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments left out are read from the environment."""
    monkeypatch.setenv("DIXA_API_TOKEN", "from there")
    monkeypatch.setenv("DIXA_BASE_URL", "https://mock.example/dixa/")
    transport = ScriptedTransport([FOUND])

    async with DixaClient(transport=transport) as client:
        await client.end_users.get("a")

    [request] = transport.requests
    assert request.url == "https://mock.example/dixa/v1/endusers/a"
    assert request.headers["authorization"] == "from there"


def test_a_missing_token_is_named() -> None:
    """Without a token: `ConfigurationError`, naming argument and variable."""
    with pytest.raises(ConfigurationError, match=r"auth .*DIXA_API_TOKEN"):
        DixaClient()


@pytest.mark.parametrize("token", ["", " ", "a\nb", "a "])
def test_a_token_that_cannot_be_sent_is_refused(token: str) -> None:
    """A token that can't stand in a header is refused, and isn't shown."""
    with pytest.raises(ConfigurationError, match="token"):
        ApiToken(token)


async def test_a_token_stands_alone_or_behind_a_word() -> None:
    """The token is the whole header, or stands behind the scheme that was given."""
    plain, worded = ApiToken("geheim"), ApiToken("geheim", scheme="Bearer")

    assert (plain.current(), worded.current()) == ("geheim", "Bearer geheim")
    assert await worded.fetch() == "Bearer geheim"
    assert not await plain.renew("geheim")
    assert plain.secrets() == worded.secrets() == ("geheim",)
    assert "geheim" not in repr(plain)
    with pytest.raises(TypeError):
        pickle.dumps(plain)


async def test_views_have_the_same_resources() -> None:
    """A view with other options calls with the same token."""
    transport = ScriptedTransport([404, FOUND, (200, {"data": []}), (200, {"any": 1})])
    client = DixaClient(auth=ApiToken("t"), transport=transport).with_options(pace=Pace())

    with pytest.raises(NotFoundError):
        await client.end_users.get("a")
    await client.end_users.get("a")
    assert await client.custom_attributes.list() == []
    assert await client.request("GET", "/v1/agents") == {"any": 1}


class TestSharing:
    """One pace for all that use one token."""

    def test_the_pace_is_what_the_service_allows(self) -> None:
        """By default a client keeps to 10 requests a second, with a little less than its burst."""
        pace = client_of("the usual").pace

        assert (pace.rate, pace.burst) == (10, 2)

    def test_one_token_has_one_pace(self) -> None:
        """Clients with the same token and base URL share it, in any thread; others don't."""
        first = client_of()
        found: list[Pace] = []
        thread = Thread(target=lambda: found.append(client_of().pace))
        thread.start()
        thread.join()

        assert found == [first.pace]
        assert client_of().with_options(timeout=1).pace is first.pace
        assert client_of("other").pace is not first.pace
        assert client_of(base_url="https://mock.example").pace is not first.pace

    def test_a_pace_of_ones_own_is_ones_own(self) -> None:
        """A pace that is handed in is the client's, and shared with no other."""
        own = Pace(rate=1)

        assert client_of(pace=own).pace is own
        assert client_of().pace is not own

    def test_the_token_is_not_kept(self) -> None:
        """Of a token there is only a hash where the pace of its clients is kept."""
        client = client_of("very secret")
        [key] = [key for key, one in waiting._BY_PROCESS.used.items() if one.pace is client.pace]

        assert b"very secret" not in key


async def test_the_token_goes_nowhere_else() -> None:
    """A redirect is an error: the token never goes to where it points."""
    transport = ScriptedTransport(
        [httpx.Response(307, headers={"Location": "https://evil.example"})]
    )
    client = dixa(transport)

    with pytest.raises(Exception, match="base_url"):
        await client.end_users.get("a")

    assert len(transport.requests) == 1
