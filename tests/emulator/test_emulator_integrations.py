"""Integrations, webhooks, keys, clients and devices: the emulator against the specification."""

from collections.abc import Mapping
from typing import Any

import httpx
import jwt
import pytest
from support.emulated import call, calling, refused

from sunshine_async.emulator import Emulator
from sunshine_async.emulator.integration_bodies import INTEGRATIONS, ONE_OF, UPDATES, WRITE_ONLY

HOOK = {"target": "https://x.org/hook", "triggers": ["conversation:message"]}
CUSTOM = {"type": "custom", "displayName": "Bot", "webhooks": [HOOK]}
REQUIRED: Mapping[str, Any] = {
    "webhooks": [HOOK], "appId": "a", "tier": "enterprise", "businessId": "b", "mspId": "m",
}  # fmt: skip
NO_INTEGRATION = ("integration_not_found", "Integration not found")
NOT_FOUND = ("not_found", "Resource not found")


def example(kind: str) -> dict[str, Any]:
    """Return a body with the required fields of a type."""
    names = {*INTEGRATIONS[kind].required, *ONE_OF.get(kind, ())[:1]} - {"type"}
    return {"type": kind} | {name: REQUIRED.get(name, "secret") for name in names}


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    device = {"id": "d1", "lastSeen": "2025-01-01T00:00:00.000Z"}
    later = {"id": "d2", "lastSeen": "2025-01-02T00:00:00.000Z", "info": {"os": "x"}}
    user = {"id": "1", "externalId": "jane", "devices": [device, later]}
    emulator.add("sunshine", user, app_id="app")
    return emulator


async def created(app: httpx.AsyncClient, body: Any = CUSTOM) -> dict[str, Any]:
    """Create an integration, and return the integration."""
    answer = await call(app, "POST", "integrations", 201, json=body)
    found = answer["integration"]
    assert isinstance(found, dict)
    return found


class TestIntegrations:
    @pytest.mark.parametrize(("kind", "names"), ONE_OF.items())
    async def test_one_of_several_fields_is_needed(
        self, app: httpx.AsyncClient, kind: str, names: tuple[str, ...]
    ) -> None:
        """Twilio needs a number or a messaging service: either of the two will do."""
        rest = {key: value for key, value in example(kind).items() if key not in names}

        _, title = await refused(app, "POST", "integrations", json=rest)
        assert title == f"one of {' and '.join(names)} should be present"
        for name in names:
            await created(app, rest | {name: "SID"})

    @pytest.mark.parametrize("kind", INTEGRATIONS)
    async def test_every_type_is_created_and_changed(
        self, app: httpx.AsyncClient, kind: str
    ) -> None:
        """Each of the 16 types needs its fields, hides its secrets, and takes an update."""
        body = example(kind)
        made = await created(app, body | {"displayName": "N"})

        hidden = {"webhooks", *WRITE_ONLY.get(kind, ())}
        shown = {name: value for name, value in body.items() if name not in hidden}
        more = {"id": made["id"], "status": "active", "displayName": "N"}
        assert {name: made[name] for name in made if name != "webhooks"} == shown | more
        path = f"integrations/{made['id']}"
        assert await call(app, "GET", path) == {"integration": made}
        changed = await call(app, "PATCH", path, json={"displayName": None, "type": "x", "a": 1})
        assert changed["integration"] == {
            name: value for name, value in made.items() if name != "displayName"
        }
        for name in INTEGRATIONS[kind].required:
            rest = {key: value for key, value in body.items() if key != name}
            _, title = await refused(app, "POST", "integrations", json=rest)
            assert title == f"should have required property '{name}'"
        for name in UPDATES[kind].fields or {}:
            code, title = await refused(app, "PATCH", path, json={name: [1, {}]})
            assert (code, name in title) == ("bad_request", True)

    async def test_an_unknown_type_is_refused(self, app: httpx.AsyncClient) -> None:
        """A type that isn't one of 16 is a 400 in the specification's words."""
        for kind in ("fax", None, ["custom"]):
            _, title = await refused(app, "POST", "integrations", json={"type": kind})
            assert title == "Invalid integration type"

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("brandColor", "red", "brandColor should have 3 or 6 hexadecimal digits"),
            ("actionColor", "12345", "actionColor should have 3 or 6 hexadecimal digits"),
            ("displayStyle", "x", "displayStyle should be one of button, tab"),
            ("prechatCapture", {"enabled": 1}, "prechatCapture.enabled should be a boolean"),
            (
                "prechatCapture",
                {"fields": [{"type": "text", "name": "n"}]},
                "prechatCapture.fields[0] should have required property 'label'",
            ),
        ],
    )
    async def test_the_looks_of_the_web_messenger_are_checked(
        self, app: httpx.AsyncClient, field: str, value: Any, says: str
    ) -> None:
        """A colour, a style and a form that can't be are a 400, in a create and in an update."""
        made = await created(app, {"type": "web", "brandColor": "65758e", "displayStyle": "tab"})

        create = await refused(app, "POST", "integrations", json={"type": "web", field: value})
        update = await refused(app, "PATCH", f"integrations/{made['id']}", json={field: value})

        assert create == update == ("bad_request", says)

    async def test_integrations_are_listed_by_type(self, app: httpx.AsyncClient) -> None:
        """The list has pages, and takes several types."""
        made = [await created(app, example(kind)) for kind in ("web", "ios", "web", "custom")]

        first = await call(app, "GET", "integrations?page[size]=3")
        second = await call(app, "GET", first["links"]["next"])
        webs = await call(app, "GET", "integrations?filter[types]=web,custom&page[size]=2")
        rest = await call(app, "GET", webs["links"]["next"])

        assert first["integrations"] + second["integrations"] == made
        assert webs["integrations"] + rest["integrations"] == [made[0], made[2], made[3]]
        for query in (
            "page[size]=x",
            "page[size]=0",
            "page[after]=x",
            "page[after]=x&page[before]=x",
        ):
            problem = await refused(app, "GET", f"integrations?{query}")
            assert problem == ("bad_request", "Invalid query parameters")

    async def test_an_integration_is_deleted_with_its_parts(self, app: httpx.AsyncClient) -> None:
        """Webhooks and keys go with the integration; a missing integration is a 404 everywhere."""
        path = f"integrations/{(await created(app))['id']}"

        assert await call(app, "DELETE", path) == {}

        key = {"displayName": "k"}
        for method, end, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("POST", "/webhooks", HOOK),
            ("GET", "/webhooks", None),
            ("GET", "/webhooks/x", None),
            ("PATCH", "/webhooks/x", {}),
            ("DELETE", "/webhooks/x", None),
            ("POST", "/keys", key),
            ("GET", "/keys", None),
            ("GET", "/keys/x", None),
            ("DELETE", "/keys/x", None),
        ):
            assert await refused(app, method, path + end, 404, json=body) == NO_INTEGRATION


class TestWebhooks:
    async def test_a_webhook_from_create_to_delete(self, app: httpx.AsyncClient) -> None:
        """The first webhook comes with the integration; a webhook shows its secret always."""
        made = await created(app)
        path = f"integrations/{made['id']}/webhooks"
        [first] = made["webhooks"]
        more = {"version": "v2", "includeFullUser": False, "includeFullSource": False}
        assert first == HOOK | more | {"id": first["id"], "secret": first["secret"]}

        body = HOOK | {"includeFullUser": True}
        second = (await call(app, "POST", path, 201, json=body))["webhook"]
        one = f"{path}/{second['id']}"
        changed = (await call(app, "PATCH", one, json={"triggers": ["*"]}))["webhook"]

        assert second["includeFullUser"]
        assert second["secret"] != first["secret"]
        assert changed == second | {"triggers": ["*"]}
        assert await call(app, "GET", one) == {"webhook": changed}
        assert await call(app, "GET", path) == {"webhooks": [first, changed]}
        shown = await call(app, "GET", f"integrations/{made['id']}")
        assert shown["integration"]["webhooks"] == [first]  # the specification allows one there
        assert await call(app, "DELETE", one) == {}
        for method in ("GET", "PATCH", "DELETE"):
            assert await refused(app, method, one, 404, json={}) == NOT_FOUND

    async def test_a_webhook_of_a_new_integration_may_bring_its_secret(
        self, app: httpx.AsyncClient
    ) -> None:
        """A secret in the body of the integration is the webhook's."""
        [webhook] = (await created(app, CUSTOM | {"webhooks": [HOOK | {"secret": "s"}]}))[
            "webhooks"
        ]
        assert webhook["secret"] == "s"

    async def test_what_is_refused(self, app: httpx.AsyncClient) -> None:
        """Wrong bodies and the eleventh webhook of an app are a 400, other integrations a 403."""
        web = f"integrations/{(await created(app, {'type': 'web'}))['id']}/webhooks"
        for method, body in (("POST", HOOK), ("GET", None)):
            assert await refused(app, method, web, 403, json=body) == ("forbidden", "Forbidden")
        path = f"integrations/{(await created(app))['id']}/webhooks"
        for wrong in (
            {},
            {"target": "https://x.org"},
            HOOK | {"target": "x"},
            HOOK | {"triggers": "*"},
        ):
            await refused(app, "POST", path, json=wrong)
        for _ in range(9):
            await call(app, "POST", path, 201, json=HOOK)
        limit = ("bad_request", "the number of webhooks is limited to 10")
        assert await refused(app, "POST", path, json=HOOK) == limit
        assert await refused(app, "POST", "integrations", json=CUSTOM) == limit
        assert len((await call(app, "GET", "integrations"))["integrations"]) == 2


class TestKeys:
    @pytest.mark.parametrize("prefix", ["int", "app"])
    async def test_a_key_from_create_to_delete(
        self, emulator: Emulator, app: httpx.AsyncClient, prefix: str
    ) -> None:
        """A key of an app or of an integration has a secret, which opens the API."""
        path = "keys" if prefix == "app" else f"integrations/{(await created(app))['id']}/keys"
        key = (await call(app, "POST", path, 201, json={"displayName": "k"}))["key"]
        one = f"{path}/{key['id']}"

        assert key.keys() == {"id", "displayName", "secret"}
        assert key["id"].startswith(f"{prefix}_")
        assert await call(app, "GET", path) == {"keys": [key]}
        assert await call(app, "GET", one) == {"key": key}
        basic = httpx.BasicAuth(key["id"], key["secret"])
        await call(app, "GET", path, auth=basic)
        await refused(app, "GET", path, 401, auth=httpx.BasicAuth(key["id"], "wrong"))
        assert await call(app, "DELETE", one) == {}
        for method in ("GET", "DELETE"):
            assert await refused(app, method, one, 404) == NOT_FOUND
        effects = emulator.ledger()["sunshine"]["effects"]
        assert any(name.startswith("create_") and name.endswith("_key") for name in effects)

    async def test_a_restricted_emulator_takes_the_keys_that_it_made(self) -> None:
        """Keys made by the API are as good as the emulator's own, in both APIs, until deleted."""
        emulator = Emulator(keys=["own:secret"])
        async with calling(emulator, accept="*/*") as app:
            own, wrong = httpx.BasicAuth("own", "secret"), httpx.BasicAuth("own", "x")
            await refused(app, "GET", "keys", 401, auth=wrong)
            body = {"displayName": "k"}
            key = (await call(app, "POST", "keys", 201, json=body, auth=own))["key"]
            made = httpx.BasicAuth(key["id"], key["secret"])
            await call(app, "GET", "keys", auth=made)
            url = "http://emulator/v1.1/apps/app/appusers/x"
            assert (await app.get(url, auth=made)).status_code == 404
            assert (await app.get("http://emulator/v1/endusers", auth=made)).status_code == 401
            await call(app, "DELETE", f"keys/{key['id']}", auth=made)
            await refused(app, "GET", "keys", 401, auth=made)

    @pytest.mark.parametrize("restricted", [True, False])
    async def test_a_jwt_signed_with_a_key_that_the_api_made(self, *, restricted: bool) -> None:
        """A made key signs tokens, which are of the app or of the integration; a forged one is none."""
        emulator = Emulator(tokens=["own"] if restricted else [])
        async with calling(emulator, authorization="Bearer own") as own:
            made = await created(own)
            body = {"displayName": "k"}
            paths = {"integration": f"integrations/{made['id']}/keys", "app": "keys"}
            keys = {
                scope: (await call(own, "POST", path, 201, json=body))["key"]
                for scope, path in paths.items()
            }
        for scope, key in keys.items():
            kid = {"kid": key["id"]}
            token = jwt.encode({"scope": scope}, key["secret"], headers=kid)
            forged = jwt.encode({"scope": scope}, key["secret"][::-1], headers=kid)
            async with calling(emulator, authorization=f"Bearer {token}") as app:
                await call(app, "POST", "users", 201, json={})
                shown = await call(app, "GET", "http://emulator/v2/tokenInfo")
                assert shown["app"]["id"] == "app"
                if scope == "integration":
                    assert await call(app, "GET", "integrations/me") == {"integration": made}
                else:
                    await refused(app, "GET", "integrations/me", 404)
                bearer = {"authorization": f"Bearer {forged}"}
                await refused(app, "POST", "users", 401, json={}, headers=bearer)

    async def test_what_is_refused(self, app: httpx.AsyncClient) -> None:
        """Eleven keys, a body without a name, and other integrations than custom are a 400."""
        web = f"integrations/{(await created(app, {'type': 'web'}))['id']}/keys"
        title = "API keys are available only for custom integrations"
        assert await refused(app, "GET", web) == ("bad_request", title)
        await refused(app, "POST", "keys", json={})
        await refused(app, "POST", "keys", json={"displayName": None})
        for _ in range(10):
            await call(app, "POST", "keys", 201, json={"displayName": "k"})
        limit = ("bad_request", "the number of keys is limited to 10")
        assert await refused(app, "POST", "keys", json={"displayName": "k"}) == limit


class TestClients:
    async def link(
        self, app: httpx.AsyncClient, emulator: Emulator, **changes: Any
    ) -> tuple[str, dict[str, Any]]:
        """Return a conversation, and the body of a link to Twilio with *changes*."""
        twilio = await created(app, example("twilio"))
        conversation = emulator.say("app", "jane", "Hi")["conversation"]
        criteria = {"type": "twilio", "integrationId": twilio["id"], "phoneNumber": "+1 514"}
        return conversation, {
            "matchCriteria": criteria | changes,
            "confirmation": {"type": "immediate"},
            "target": {"conversationId": conversation},
        }

    async def test_an_immediate_link(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """The answer is pending; then the client is active, and first in the conversation."""
        conversation, body = await self.link(app, emulator)

        client = (await call(app, "POST", "users/jane/clients", 201, json=body))["client"]

        assert client == {
            "id": client["id"],
            "type": "twilio",
            "status": "pending",
            "integrationId": body["matchCriteria"]["integrationId"],
            "externalId": "+1 514",
            "displayName": "+1 514",
        }
        [listed] = (await call(app, "GET", "users/1/clients"))["clients"]
        assert listed == client | {"status": "active", "linkedAt": listed["linkedAt"]}
        path = f"conversations/{conversation}/participants"
        [participant] = (await call(app, "GET", path))["participants"]
        association = {"type": "twilio", "clientId": client["id"]}
        assert participant["clientAssociations"] == [association]
        [v1] = emulator.users("smooch")[0]["clients"]
        assert (v1["platform"], v1["status"]) == ("twilio", "active")
        again = (await call(app, "POST", "users/jane/clients", 201, json=body))["client"]
        [listed] = (await call(app, "GET", "users/1/clients"))["clients"]
        assert listed["id"] == again["id"]

        assert await call(app, "DELETE", f"users/1/clients/{again['id']}") == {}

        assert (await call(app, "GET", "users/1/clients"))["clients"] == []
        [participant] = (await call(app, "GET", path))["participants"]
        ids = {one["clientId"] for one in participant["clientAssociations"]}
        assert again["id"] not in ids
        gone = await refused(app, "DELETE", f"users/1/clients/{again['id']}", 404)
        assert gone == ("client_not_found", "Client not found")

    @pytest.mark.parametrize("confirmation", ["userActivity", "prompt"])
    async def test_other_links_stay_pending(
        self, emulator: Emulator, app: httpx.AsyncClient, confirmation: str
    ) -> None:
        """Without an immediate confirmation the client is pending, in both APIs."""
        _, body = await self.link(app, emulator)
        message = {"author": {"type": "business"}, "content": {"type": "text", "text": "x"}}
        body["confirmation"] = {"type": confirmation, "message": message}

        client = (await call(app, "POST", "users/1/clients", 201, json=body))["client"]

        assert (await call(app, "GET", "users/1/clients"))["clients"] == [client]
        assert emulator.users("smooch")[0]["pendingClients"][0]["id"] == client["id"]

    async def test_an_address_is_linked(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Mailgun takes an e-mail address."""
        _, body = await self.link(app, emulator)
        mailgun = (await created(app, example("mailgun")))["id"]
        criteria = {"type": "mailgun", "integrationId": mailgun, "address": "j@x.org"}
        body["matchCriteria"] = criteria
        client = (await call(app, "POST", "users/1/clients", 201, json=body))["client"]
        assert client["externalId"] == "j@x.org"

    async def test_links_that_cannot_be(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """A wrong field is a 400, a missing user or conversation a 404."""
        _, body = await self.link(app, emulator)
        carousel = {"type": "list", "items": [{"title": "t", "actions": [LINK]}]}
        message = {"author": {"type": "business"}, "content": carousel}
        postback = {"type": "postback", "text": "t", "payload": "p"}
        text = {"type": "text", "text": "t", "actions": [LINK, postback]}
        actions = {"author": {"type": "business"}, "content": text}
        criteria = body["matchCriteria"]
        for changes, status in (
            ({"matchCriteria": criteria | {"type": "line"}}, 400),
            ({"matchCriteria": criteria | {"phoneNumber": "514"}}, 400),
            ({"matchCriteria": criteria | {"integrationId": "x"}}, 400),
            ({"matchCriteria": criteria | {"type": "whatsapp"}}, 400),
            ({"confirmation": {"type": "now"}}, 400),
            ({"confirmation": {"type": "userActivity"}}, 400),
            ({"confirmation": {"type": "userActivity", "message": message}}, 400),
            ({"confirmation": {"type": "immediate", "message": actions}}, 400),
            ({"target": {}}, 400),
            ({"target": {"conversationId": "x"}}, 404),
        ):
            await refused(app, "POST", "users/1/clients", status, json=body | changes)
        await refused(app, "POST", "users/x/clients", 404, json=body)
        emulator.add("sunshine", {"id": "2"}, app_id="app")
        code, _ = await refused(app, "POST", "users/2/clients", 404, json=body)
        assert code == "not_found"
        assert (await call(app, "GET", "users/1/clients"))["clients"] == []

    async def test_clients_of_v1_1_are_clients_of_v2(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """SDKs are of one type and stay; a client without an id has a lasting one."""
        clients = [{"platform": "web", "id": "w"}, {"platform": "line", "displayName": "L"}]
        user = {"_id": "3", "clients": clients, "pendingClients": [{"platform": "twitter"}]}
        emulator.add("smooch", user, app_id="app")

        first = await call(app, "GET", "users/3/clients?page[size]=2")
        rest = await call(app, "GET", first["links"]["next"])

        [web, line] = first["clients"]
        assert web == {"id": "w", "type": "sdk"}
        assert line == {"id": line["id"], "type": "line", "displayName": "L"}
        assert [one["type"] for one in rest["clients"]] == ["twitter"]
        code, title = await refused(app, "DELETE", "users/3/clients/w")
        assert (code, title) == ("bad_request", "Cannot remove a client of type 'sdk'")
        await call(app, "DELETE", f"users/3/clients/{line['id']}")
        await refused(app, "GET", "users/3/clients?page[size]=0")


class TestDevices:
    async def test_devices_of_a_user(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """The device seen last comes first; a missing device is a 404."""
        devices = (await call(app, "GET", "users/jane/devices"))["devices"]
        first = (await call(app, "GET", "users/1/devices/d2"))["device"]

        assert [one["id"] for one in devices] == ["d2", "d1"]
        assert first == devices[0]
        missing = await refused(app, "GET", "users/1/devices/x", 404)
        assert missing == ("device_not_found", "Device not found")
        await refused(app, "GET", "users/x/devices", 404)
        await call(app, "DELETE", "users/1/personalinformation")
        assert "info" not in (await call(app, "GET", "users/1/devices/d2"))["device"]
        with pytest.raises(ValueError, match="devices should be an array"):
            emulator.add("sunshine", {"id": "9", "devices": 1}, app_id="app")


LINK = {"type": "link", "text": "t", "uri": "https://x.org"}
