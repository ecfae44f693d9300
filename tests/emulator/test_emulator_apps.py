"""Apps and OAuth: the emulator against the specification."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from support.emulated import call, calling, refused

from sunshine_async import AuthenticationError, BasicAuth, BearerAuth, SunshineClient
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine.oauth import GetTokenBody, OAuthClient

APPS = "http://emulator/v2/apps"
OAUTH = "http://emulator/oauth"
MISSING = ("app_not_found", "App not found")
CODE = {
    "code": "c1",
    "grant_type": "authorization_code",
    "client_id": "id",
    "client_secret": "secret",
}


@pytest.fixture
def emulator() -> Emulator:
    return Emulator()


async def created(app: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Create an app, and return the app."""
    answer = await call(app, "POST", APPS, 201, json={"displayName": "A"} | body)
    found = answer["app"]
    assert isinstance(found, dict)
    return found


class TestApps:
    async def test_an_app_from_create_to_delete(self, app: httpx.AsyncClient) -> None:
        """Settings and metadata are merged; the subdomain is shown by a get."""
        made = await created(app, settings={"useAnimalNames": True}, metadata={"a": 1})
        url = f"{APPS}/{made['id']}"
        body = {"settings": {"echoPostback": False}, "metadata": {"b": 2, "a": None}}
        changed = (await call(app, "PATCH", url, json=body))["app"]

        assert made == {
            "id": made["id"],
            "displayName": "A",
            "settings": {"useAnimalNames": True},
            "metadata": {"a": 1},
        }
        settings = {"useAnimalNames": True, "echoPostback": False}
        assert changed == made | {"settings": settings, "metadata": {"b": 2}}
        shown = await call(app, "GET", url)
        assert shown == {"app": changed | {"subdomain": "emulator"}}
        assert await call(app, "DELETE", url) == {}
        for method, end in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/users/x")):
            assert await refused(app, method, url + end, 404, json={}) == MISSING

    async def test_a_deleted_app_has_nothing_left(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """Users, conversations and messages go with the app."""
        emulator.add("sunshine", {"id": "1"}, app_id="app")
        emulator.say("app", "1", "Hi")

        await call(app, "DELETE", f"{APPS}/app")

        ledger = emulator.ledger()["sunshine"]
        assert (ledger["users"], ledger["messages"]) == (0, 0)
        assert emulator.users("sunshine", app_id="app") == []
        with pytest.raises(ValueError, match="App not found"):
            emulator.say("app", "1", "Hi")
        with pytest.raises(ValueError, match="App not found"):
            emulator.add("smooch", {"userId": "1"}, app_id="app")
        with pytest.raises(ValueError, match="app_id='app': App not found"):
            emulator.add_webhook("sunshine", {"target": "http://receiver/"}, app_id="app")
        with pytest.raises(ValueError, match="app_id='app': App not found"):
            emulator.deliver("smooch", "postback", {}, app_id="app")
        v1 = await app.get("http://emulator/v1.1/apps/app/appusers/1")
        assert v1.json() == {"error": {"code": "app_not_found", "description": "App not found"}}

    async def test_apps_are_listed(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Apps that were made or hold anything are listed; a read makes no app."""
        await call(app, "GET", f"{APPS}/read")
        emulator.add("sunshine", {"id": "1"}, app_id="used")
        made = [await created(app) for _ in range(3)]
        await call(app, "DELETE", f"{APPS}/{made[1]['id']}")

        first = await call(app, "GET", f"{APPS}?page[size]=2")
        second = await call(app, "GET", first["links"]["next"])

        ids = [one["id"] for one in first["apps"] + second["apps"]]
        assert ids == ["used", made[0]["id"], made[2]["id"]]
        assert (await call(app, "GET", f"{APPS}?filter[serviceAccountId]=x"))["apps"] == []
        await refused(app, "GET", f"{APPS}?page[before]=x")

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({}, "should have required property 'displayName'"),
            ({"displayName": None}, "displayName should be a string"),
            ({"displayName": "x" * 101}, "displayName should NOT be longer than 100 characters"),
            (
                {"displayName": "A", "settings": {"conversationRetentionSeconds": -1}},
                "settings.conversationRetentionSeconds should be >= 0",
            ),
            (
                {"displayName": "A", "metadata": {"a": "x" * 4096}},
                "App metadata is limited to 4096 bytes in size.",
            ),
        ],
    )
    async def test_a_body_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, body: Any, says: str
    ) -> None:
        """A 400 names the field, and no app is made."""
        assert await refused(app, "POST", APPS, json=body) == ("bad_request", says)
        assert (await call(app, "GET", APPS))["apps"] == []
        if body:
            assert await refused(app, "PATCH", f"{APPS}/app", json=body) == ("bad_request", says)


async def test_the_addresses_of_zendesk_customers_lead_here() -> None:
    """Paths below ``/sc`` are those of the emulator: of a subdomain's app, and of OAuth."""
    emulator = Emulator()
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    first, second = (emulator.say("app", "1", "Hi") for _ in range(2))
    transport = emulator.transport()
    async with SunshineClient(
        "app", subdomain="acme", auth=BasicAuth("id", "secret"), transport=transport
    ) as client:
        found = [message.id async for message in client.messages.list(first["conversation"])]
    async with OAuthClient(transport=transport) as partner:
        token = await partner.get_token(
            GetTokenBody(code="c", client_id="id", client_secret="secret")
        )
        url = partner.authorize_url("id", redirect_uri="https://x.org/back")
    async with OAuthClient(auth=BearerAuth(token.access_token), transport=transport) as partner:
        app = await partner.token_info()
        await partner.revoke_access()
        with pytest.raises(AuthenticationError):
            await partner.token_info()
    async with calling(emulator) as browser:
        back = await browser.get(url)
        page = await call(
            browser, "GET", "https://acme.zendesk.com/sc/v2/apps?page[after]=" + "0" * 24
        )

    assert sorted(found) == sorted([first["message"], second["message"]])
    assert app.id == "app"
    assert back.headers["location"].startswith("https://x.org/back?code=")
    assert [one["id"] for one in page["apps"]] == ["app"]


class TestOAuth:
    async def test_from_the_browser_to_the_end(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A code gets a token, which knows its app and is refused once revoked."""
        made = await created(app)
        async with calling(emulator, accept="*/*") as anybody:
            query = {"client_id": "id", "response_type": "code", "state": "a b"}
            back = await anybody.get(f"{OAUTH}/authorize", params=query)
            answer = httpx.URL(back.headers["location"]).params
            assert (back.status_code, answer["state"]) == (302, "a b")
            body = CODE | {"code": answer["code"]}
            token = await call(anybody, "POST", f"{OAUTH}/token", json=body)
            assert token == {"access_token": token["access_token"], "token_type": "Bearer"}
            bearer = {"authorization": f"Bearer {token['access_token']}"}
            shown = await call(anybody, "GET", "http://emulator/v2/tokenInfo", headers=bearer)
            assert shown == {"app": made | {"subdomain": "emulator"}}
            hooks = f"{APPS}/{made['id']}/integrations/me/webhooks"
            hook = {"target": "https://x.org/hook", "triggers": ["*"]}
            webhook = await call(anybody, "POST", hooks, 201, json=hook, headers=bearer)
            listed = await call(anybody, "GET", hooks, headers=bearer)
            assert listed == {"webhooks": [webhook["webhook"]]}
            [partner] = (await call(app, "GET", f"{APPS}/{made['id']}/integrations"))[
                "integrations"
            ]
            assert (partner["displayName"], partner["webhooks"]) == ("id", listed["webhooks"])
            url = f"{OAUTH}/authorization"
            assert await call(anybody, "DELETE", url, headers=bearer) == {}
            left = await call(app, "GET", f"{APPS}/{made['id']}/integrations")
            assert left["integrations"] == []
            for method, gone in (("DELETE", url), ("GET", f"{APPS}/app/users/x")):
                await refused(anybody, method, gone, 401, headers=bearer)
        assert await call(app, "DELETE", url) == {}

    async def test_a_restricted_emulator_takes_the_tokens_that_it_made(
        self, tmp_path: Path
    ) -> None:
        """A token is accepted beside the emulator's own, by the next emulator too."""
        state = tmp_path / "state"
        first = Emulator(tokens=["own"], state=state)
        async with calling(first, accept="*/*") as app:
            await refused(app, "GET", f"{APPS}/app", 401)
            token = await call(app, "POST", f"{OAUTH}/token", json=CODE)
        first.close()
        second = Emulator(tokens=["own"], state=state)
        async with calling(second, authorization=f"Bearer {token['access_token']}") as app:
            await call(app, "GET", f"{APPS}/app")
            used = await refused(app, "POST", f"{OAUTH}/token", json=CODE)
        second.close()

        assert used == ("bad_request", "code was used before")

    async def test_an_integration_may_be_deleted_before_the_end(
        self, app: httpx.AsyncClient
    ) -> None:
        """A token is revoked without its integration too."""
        made = await created(app)
        token = (await call(app, "POST", f"{OAUTH}/token", json=CODE))["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        me = f"{APPS}/{made['id']}/integrations/me"
        await call(app, "DELETE", me, headers=bearer)
        await refused(app, "GET", me, 404, headers=bearer)
        assert await call(app, "DELETE", f"{OAUTH}/authorization", headers=bearer) == {}

    async def test_redirects(self, app: httpx.AsyncClient) -> None:
        """The code is added to any URI, whatever the URI has in it."""
        query = {"client_id": "id", "response_type": "code", "redirect_uri": "https://x.org/?é=1"}
        back = await app.get(f"{OAUTH}/authorize", params=query)
        assert back.headers["location"].startswith("https://x.org/?%C3%A9=1&code=")

    async def test_what_is_refused(self, app: httpx.AsyncClient) -> None:
        """A missing field is a 400."""
        for name in CODE:
            body = {key: value for key, value in CODE.items() if key != name}
            await refused(app, "POST", f"{OAUTH}/token", json=body)
        await refused(app, "POST", f"{OAUTH}/token", json=CODE | {"grant_type": "x"})
        for query in ({}, {"client_id": "id"}, {"client_id": "id", "response_type": "token"}):
            await refused(app, "GET", f"{OAUTH}/authorize", params=query)

    async def test_a_token_of_no_app_is_of_a_new_one(self, app: httpx.AsyncClient) -> None:
        """Without an app, information about a token tells an app that can be used."""
        shown = await call(app, "GET", "http://emulator/v2/tokenInfo")
        await call(app, "GET", f"{APPS}/{shown['app']['id']}")
