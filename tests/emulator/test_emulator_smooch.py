"""The emulator's Smooch v1.1: one store with v2, its refusals, channels, merges, images, overlaps."""

from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Any

import anyio
import httpx
import pytest
from support.in_process import calling
from support.specification import facts_in
from support.virtual import virtual

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.emulator.fields import MAX_FILE_BYTES, FormParser, Refusal, Schema
from sunshine_async.emulator.smooch_bodies import (
    LINK_BODY,
    MERGE_BODY,
    PRE_CREATE_BODY,
    UPDATE_BODY,
)
from sunshine_async.smooch.app_users import ENDPOINTS

SPEC: Mapping[str, Any] = facts_in("smooch-app-users.json")
USERS = "http://emulator/v1.1/apps/app/appusers"
LINK = {"type": "twilio", "phoneNumber": "+1", "confirmation": {"type": "immediate"}}
IMAGE = {"source": ("a.png", b"pixels", "image/png")}
MESSAGE = {"role": "appMaker", "type": "text", "text": "Hi"}


@pytest.fixture
async def app(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Call one app of the emulator, in process."""
    async with calling(emulator, USERS) as client:
        yield client


@pytest.fixture
def jane(emulator: Emulator) -> Mapping[str, Any]:
    """Store a user that has a bit of everything."""
    user = {
        "_id": "1",
        "userId": "jane",
        "givenName": "Jane",
        "properties": {"a": 1},
        "clients": [
            {"platform": "messenger", "externalId": "m1", "displayName": "J", "raw": {"a": 1}},
            {"platform": "web", "info": {"os": "x"}},
        ],
        "pendingClients": [{"platform": "whatsapp"}],
        "businessSystems": [{"type": "slack", "channelId": "C0"}],
    }
    return emulator.add("smooch", user, app_id="app")


def said(answer: httpx.Response, status: int) -> str:
    """Return what a refusal says."""
    assert answer.status_code == status, answer.text
    [[key, error]] = answer.json().items()
    assert (key, set(error)) == ("error", {"code", "description"})
    return str(error["description"])


class TestSpecification:
    @pytest.mark.usefixtures("jane")
    @pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
    async def test_every_endpoint_answers_with_its_success(
        self, endpoint: Endpoint[Any, Any], emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """Each declared endpoint has a route, and answers as the specification says."""
        emulator.add("smooch", {"_id": "2"}, app_id="app")
        path = endpoint.path.format(app_id="app", user_id="jane", channel="messenger")
        bodies = {
            "preCreateAppUser": {"userId": "new"},
            "updateAppUser": {},
            "linkAppUser": LINK,
            "mergeUsers": {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}},
        }
        options: dict[str, Any] = (
            {"files": IMAGE, "data": {"role": "appUser"}}
            if endpoint.operation == "postImageMessage"
            else {"json": bodies.get(endpoint.operation)}
        )

        answer = await app.request(
            endpoint.method,
            f"http://emulator{path}",
            params={"integrationIds": "a"} if endpoint.query else None,
            **options,
        )

        facts = SPEC["operations"][endpoint.operation]
        assert answer.status_code == facts["status"]
        schema = SPEC["schemas"].get(facts["answer"], {"required": [], "properties": {}})
        assert set(schema["required"]) <= set(answer.json()) <= set(schema["properties"])
        effects = emulator.ledger()["smooch"]["effects"]
        assert sum(effects.values()) == (endpoint.method != "GET")

    @pytest.mark.parametrize(
        ("name", "table", "beyond"),
        [
            ("AppUserPreCreate", PRE_CREATE_BODY, {"avatarUrl"}),
            ("AppUserUpdate", UPDATE_BODY, {"avatarUrl"}),
            ("AppUserLink", LINK_BODY, {"primary"}),
            ("AppUserMerge", MERGE_BODY, set[str]()),
        ],
    )
    def test_tables_of_fields_are_the_schemas(
        self, name: str, table: Schema, beyond: set[str]
    ) -> None:
        """The bodies have the fields of their schemas, and the types."""
        facts = SPEC["schemas"][name]["properties"]
        fields = table.fields or {}

        assert set(fields) == set(facts) | beyond
        for key, kind in facts.items():
            assert fields[key].type == (kind if kind in {"string", "boolean"} else "object")


class TestAppOfTheCredentials:
    """A path without the app, as the vendor's JavaScript client sends with the scope ``app``."""

    PATH = "http://emulator/v1.1/appusers"

    async def test_every_endpoint_goes_without_the_app(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """The app of other credentials is the first that holds anything."""
        made = (await app.post(self.PATH, json={"userId": "a/b"})).json()["appUser"]

        assert (await app.get(f"{self.PATH}/a%2Fb")).json() == {"appUser": made}
        assert (await app.get(f"{self.PATH}/a%2Fb/channels")).json() == {"channels": []}
        assert "appUser" in (await app.put(f"{self.PATH}/a%2Fb", json={"surname": "D"})).json()
        assert (await app.delete(f"{self.PATH}/a%2Fb")).json() == {}
        said(await app.get(f"{self.PATH}/a%2Fb"), 404)
        said(await app.get(f"{self.PATH}x/a%2Fb"), 404)
        said(await app.patch(self.PATH), 405)
        assert emulator.ledger()["smooch"]["effects"]["delete"] == 1

    async def test_the_key_tells_the_app(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """A key that the emulator made is of its app, whatever the first app is."""
        emulator.add("smooch", {"userId": "first"}, app_id="app")
        keys = "http://emulator/v2/apps/other%20one/keys"
        key = (await app.post(keys, json={"displayName": "k"})).json()["key"]
        auth = httpx.BasicAuth(key["id"], key["secret"])

        await app.post(self.PATH, json={"userId": "jane"}, auth=auth)

        assert [one["userId"] for one in emulator.users("smooch", app_id="other one")] == ["jane"]
        assert (await app.get(f"{self.PATH}/first")).json()["appUser"]["userId"] == "first"
        said(await app.get(f"{self.PATH}/first", auth=auth), 404)

    async def test_a_token_tells_the_app_until_the_app_is_gone(
        self, app: httpx.AsyncClient
    ) -> None:
        """A token of OAuth is of one app; without the app nothing is found."""
        made = (await app.post("http://emulator/v2/apps", json={"displayName": "A"})).json()["app"]
        code = {"code": "c", "grant_type": "authorization_code", "client_id": "i"}
        body = code | {"client_secret": "s"}
        token = (await app.post("http://emulator/oauth/token", json=body)).json()["access_token"]
        bearer = {"authorization": f"Bearer {token}"}
        await app.post(self.PATH, json={"userId": "jane"}, headers=bearer)
        assert (await app.get(f"http://emulator/v1.1/apps/{made['id']}/appusers/jane")).is_success

        await app.delete(f"http://emulator/v2/apps/{made['id']}")

        assert said(await app.get(f"{self.PATH}/jane", headers=bearer), 404) == "App not found"

    @pytest.mark.usefixtures("jane")
    async def test_the_code_may_be_written_in_two_ways(self, app: httpx.AsyncClient) -> None:
        """``authCode`` is ``authcode``, as in the vendor's Postman collection."""
        for path in (f"{USERS}/jane/authCode", f"{self.PATH}/jane/authCode"):
            assert (await app.get(path)).json()["authCode"].startswith("ac_")


class TestOnePlatform:
    """A user is the same by either interface."""

    async def test_a_user_of_v11_is_there_in_v2(self, app: httpx.AsyncClient) -> None:
        """``_id`` is ``id``, ``userId`` is ``externalId``, ``properties`` are ``metadata``."""
        body = {
            "userId": "jane",
            "givenName": "Jane",
            "surname": "Doe",
            "email": "jane@example.org",
            "avatarUrl": "https://a.example/j",
            "signedUpAt": "2020-05-21T15:53:30.197Z",
            "properties": {"a": 1},
        }

        made = (await app.post(USERS, json=body)).json()["appUser"]
        found = (await app.get("http://emulator/v2/apps/app/users/jane")).json()["user"]

        assert made == body | {
            "_id": found["id"],
            "conversationStarted": False,
            "clients": [],
            "pendingClients": [],
        }
        assert found["externalId"] == "jane"
        assert found["metadata"] == {"a": 1}
        assert found["profile"] == {
            key: body[key] for key in ("givenName", "surname", "email", "avatarUrl")
        }
        assert (await app.get(found["id"])).json() == {"appUser": made}

    async def test_a_user_of_v2_is_there_in_v11(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """What v2 makes, changes and deletes is so in v1.1, but for its locale."""
        users = "http://emulator/v2/apps/app/users"
        body = {"externalId": "jane", "profile": {"givenName": "J", "locale": "en"}, "metadata": {"a": 1}}  # fmt: skip
        made = (await app.post(users, json=body)).json()["user"]

        found = (await app.get("jane")).json()["appUser"]
        await app.put("jane", json={"surname": "D", "properties": {"b": 2, "a": None}})
        changed = (await app.get(f"{users}/jane")).json()["user"]

        assert (found["_id"], found["givenName"]) == (made["id"], "J")
        assert "locale" not in found
        assert changed["profile"] == {"givenName": "J", "surname": "D", "locale": "en"}
        assert changed["metadata"] == {"b": 2}
        assert said(await app.post(USERS, json={"userId": "jane"}), 409) == "User already exists"
        await app.delete(f"{users}/jane")
        assert said(await app.get("jane"), 404) == "User not found"
        assert [emulator.ledger()[name]["users"] for name in ("sunshine", "smooch")] == [0, 0]

    async def test_a_user_with_a_brand_is_found_by_id_only(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """v1.1 knows no brands: their external ids are not its user ids."""
        user = emulator.add("sunshine", {"externalId": "jane", "brandId": "9"}, app_id="app")

        assert (await app.get(user["id"])).status_code == 200
        assert (await app.get("jane")).status_code == 404
        assert (await app.post(USERS, json={"userId": "jane"})).status_code == 201

    async def test_apps_are_apart(self, app: httpx.AsyncClient) -> None:
        """A user of one app is not in another."""
        await app.post(USERS, json={"userId": "jane"})

        answer = await app.get("http://emulator/v1.1/apps/other/appusers/jane")

        assert answer.status_code == 404

    @pytest.mark.parametrize("user_id", ["jane+1@example.org", "a/b", "50%", "what?", "a#b", "é"])
    async def test_any_id_arrives_as_it_was(self, user_id: str, app: httpx.AsyncClient) -> None:
        """Ids with what is special in a URL are found again."""
        from urllib.parse import quote  # noqa: PLC0415 - what a client does

        await app.post(USERS, json={"userId": user_id})

        found = (await app.get(quote(user_id, safe=""))).json()["appUser"]

        assert found["userId"] == user_id

    def test_users_can_be_stored_and_listed(self, emulator: Emulator) -> None:
        """A user goes in and comes out as v1.1 has it; what can't be is refused."""
        user = emulator.add("smooch", {"userId": "jane", "conversationStarted": True}, app_id="app")

        assert emulator.users("smooch", app_id="app") == [user]
        assert emulator.users("smooch", app_id="other") == []
        assert user["conversationStarted"]
        for bad, text in (
            ({"userId": "jane"}, "externalId is taken"),
            ({"userId": 5}, "userId should be a string"),
            ({"clients": [5]}, r"clients\[0\] should be an object"),
        ):
            with pytest.raises(ValueError, match=text):
                emulator.add("smooch", bad, app_id="app")

    async def test_a_reset_forgets_what_only_v11_has(
        self, emulator: Emulator, jane: Mapping[str, Any], app: httpx.AsyncClient
    ) -> None:
        """After a reset there are no users, clients, images and effects."""
        await app.post("jane/images", files=IMAGE, data={"role": "appUser"})

        emulator.reset()

        assert emulator.ledger() == Emulator().ledger()
        assert emulator.smooch.images == []
        assert emulator.add("smooch", {"_id": "1"}, app_id="app")["clients"] == []
        assert jane["clients"]


class TestRefusals:
    """What is refused, in the words of v1.1."""

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({}, "should have required property 'userId'"),
            ({"userId": ""}, "userId should NOT be shorter than 1 characters"),
            ({"userId": "a", "email": "a"}, "email should be an email address"),
            ({"userId": "a", "signedUpAt": "now"}, "signedUpAt should be a time"),
            ({"userId": "a", "properties": {"a": {}}}, "properties should hold strings, numbers"),
            ({"userId": "a", "properties": {"a": "b" * 5000}}, "properties is limited to 4096"),
            (
                {"userId": "a", "givenName": 1, "surname": 2},
                "givenName should be a string; surname",
            ),
        ],
    )
    async def test_a_user_that_cannot_be(
        self, body: dict[str, Any], text: str, app: httpx.AsyncClient
    ) -> None:
        """A body that can't be is a 400 that names the field."""
        assert said(await app.post(USERS, json=body), 400).startswith(text)

    @pytest.mark.usefixtures("jane")
    async def test_an_update_that_cannot_be(self, app: httpx.AsyncClient) -> None:
        """So is an update's."""
        answer = await app.put("jane", json={"properties": {"b": "c" * 5000}})

        assert said(answer, 400).startswith("properties is limited")

    @pytest.mark.parametrize(
        "call",
        ["GET ", "PUT ", "DELETE ", "DELETE /profile", "GET /authcode", "GET /channels",
         "GET /businesssystems", "GET /linkrequest", "DELETE /channels/twilio"],
    )  # fmt: skip
    async def test_nobody(self, call: str, app: httpx.AsyncClient) -> None:
        """Whoever isn't there is a 404 everywhere."""
        method, path = call.split(" ")

        answer = await app.request(method, f"nobody{path}", json={})

        assert said(answer, 404) == "User not found"

    async def test_other_refusals(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Credentials, paths, methods and scripted faults are refused in the same shape."""
        emulator.faults = [Mishap(status=503), Mishap(status=429, retry_after=2)]

        assert said(await app.get("jane"), 503) == "Service Unavailable"
        throttled = await app.get("jane")
        assert (said(throttled, 429), throttled.headers["retry-after"]) == (
            "Too Many Requests",
            "2",
        )
        assert said(await app.get("jane/nothing"), 404) == "Resource not found"
        assert said(await app.patch("jane", json={}), 405) == "Method Not Allowed"
        app.headers.pop("authorization")
        assert said(await app.get("jane"), 401) == "Authorization is required"


@pytest.mark.usefixtures("jane")
class TestChannels:
    """Links, and what they make."""

    async def test_a_link_that_needs_no_one(self, app: httpx.AsyncClient) -> None:
        """The answer has the client as pending; then it is linked, and can be unlinked."""
        linked = (await app.post("jane/channels", json=LINK)).json()["appUser"]
        found = (await app.get("jane")).json()["appUser"]
        entities = (await app.get("jane/channels")).json()["channels"]

        assert [client["platform"] for client in linked["pendingClients"]] == ["whatsapp", "twilio"]
        assert [one["platform"] for one in found["clients"]] == ["messenger", "web", "twilio"]
        assert found["clients"][2]["status"] == "active"
        assert entities == [
            {"type": "messenger", "userId": "m1"},
            {"type": "twilio", "phoneNumber": "+1"},
        ]
        assert (await app.delete("jane/channels/twilio")).json() == {}
        assert "isn't linked to twilio" in said(await app.delete("jane/channels/twilio"), 400)

    @pytest.mark.parametrize(
        "body",
        [
            {**LINK, "confirmation": {"type": "prompt"}},
            {**LINK, "confirmation": {"type": "userActivity", "message": MESSAGE}},
            {
                **LINK,
                "type": "messenger",
                "confirmation": {"type": "userActivity", "message": MESSAGE},
            },
            {
                "type": "mailgun",
                "address": "j@x.org",
                "integrationId": "5c",
                "confirmation": {"type": "userActivity", "message": MESSAGE},
            },
        ],
    )
    async def test_a_link_that_waits(self, body: dict[str, Any], app: httpx.AsyncClient) -> None:
        """Any other link stays pending, in the place of what that channel had."""
        for _ in range(2):
            await app.post("jane/channels", json=body)

        found = (await app.get("jane")).json()["appUser"]

        pending = [one for one in found["pendingClients"] if one["platform"] == body["type"]]
        assert [one["status"] for one in pending] == ["pending"]
        assert pending[0].get("integrationId") == body.get("integrationId")
        assert body["type"] not in [one["platform"] for one in found["clients"]]

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"type": None}, "type should be a string"),
            ({"type": ""}, "should have required property 'type'"),
            ({"type": "telegram"}, "type should be one of mailgun"),
            ({"phoneNumber": ""}, "should have required property 'phoneNumber'"),
            ({"type": "mailgun"}, "should have required property 'address'"),
            ({"phoneNumber": "5145550123"}, "phoneNumber should begin with + and the country code"),
            ({"phoneNumber": "+1x"}, "phoneNumber should begin with + and the country code"),
            (
                {"confirmation": {"type": "immediate", "message": {"type": "carousel"}}},
                "confirmation.message.type should be one of text, image",
            ),
            (
                {"confirmation": {"type": "immediate", "message": {"type": 5}}},
                "confirmation.message.type should be one of text, image",
            ),
            (
                {
                    "confirmation": {
                        "type": "immediate",
                        "message": {"actions": [{"type": "reply"}]},
                    }
                },
                "confirmation.message.actions[0].type should be one of link",
            ),
            (
                {"confirmation": {"type": "immediate", "message": {"actions": [5]}}},
                "confirmation.message.actions[0] should be an object",
            ),
            ({"confirmation": {}}, "should have required property 'confirmation'"),
            (
                {"confirmation": {"message": {}}},
                "confirmation should have required property 'type'",
            ),
            ({"confirmation": {"type": "none"}}, "confirmation.type should be one of immediate"),
            ({"confirmation": {"type": "userActivity"}}, "confirmation should have required"),
            ({"type": "messenger"}, "confirmation should have required property 'message'"),
            ({"type": "whatsapp", "confirmation": {"type": "prompt"}}, "for twilio only"),
        ],
    )
    async def test_a_link_that_cannot_be(
        self, body: dict[str, Any], text: str, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A link without what its channel needs is a 400 that names it."""
        assert text in said(await app.post("jane/channels", json=LINK | body), 400)
        assert emulator.ledger()["smooch"]["effects"]["link"] == 0

    async def test_link_requests(self, app: httpx.AsyncClient) -> None:
        """There is one for each integration, with a code and a URL of its channel."""
        answer = await app.get("jane/linkrequest?integrationIds=telegram-1,line-1,5c")

        requests = answer.json()["linkRequests"]
        assert [(one["integrationId"], one["type"]) for one in requests] == [
            ("telegram-1", "telegram"),
            ("line-1", "line"),
            ("5c", "messenger"),
        ]
        assert all(one["code"].startswith("lr_") and one["code"] in one["url"] for one in requests)
        assert "integrationIds" in said(await app.get("jane/linkrequest?integrationIds=,"), 400)

    async def test_codes_and_business_systems(self, app: httpx.AsyncClient) -> None:
        """An auth code is new each time; business systems are as they were stored."""
        codes = {(await app.get("jane/authcode")).json()["authCode"] for _ in range(2)}

        assert len(codes) == 2
        assert all(code.startswith("ac_") for code in codes)
        assert (await app.get("jane/businesssystems")).json() == {
            "businessSystems": [{"type": "slack", "channelId": "C0"}]
        }

    async def test_a_profile_is_cleared(self, app: httpx.AsyncClient) -> None:
        """Names and properties are gone, and what clients tell of the user."""
        cleared = (await app.delete("jane/profile")).json()["appUser"]

        assert (cleared["userId"], cleared["properties"]) == ("jane", {})
        assert "givenName" not in cleared
        assert cleared["clients"] == [
            {"platform": "messenger", "externalId": "m1"},
            {"platform": "web"},
        ]


class TestMerge:
    """Merges."""

    async def test_two_become_one(
        self, emulator: Emulator, jane: Mapping[str, Any], app: httpx.AsyncClient
    ) -> None:
        """The survivor has what both had, its own first; the other is gone."""
        other = {
            "_id": "2",
            "userId": "june",
            "givenName": "June",
            "surname": "Doe",
            "properties": {"a": 2, "b": 2},
            "conversationStarted": True,
            "clients": [{"platform": "twilio"}],
            "businessSystems": [{"type": "zendesk"}],
        }
        emulator.add("smooch", other, app_id="app")

        answer = await app.post("merge", json={"surviving": {"_id": "1"}, "discarded": {"_id": "2"}})  # fmt: skip

        assert answer.json() == {}
        [left] = emulator.users("smooch")
        assert left == {
            **jane,
            "surname": "Doe",
            "properties": {"a": 1, "b": 2},
            "conversationStarted": True,
            "clients": [*jane["clients"], {"platform": "twilio"}],
        }
        assert said(await app.get("june"), 404) == "User not found"
        systems = (await app.get("jane/businesssystems")).json()["businessSystems"]
        assert [one["type"] for one in systems] == ["slack", "zendesk"]

    async def test_who_has_no_user_id_takes_it_over(
        self, emulator: Emulator, jane: Mapping[str, Any], app: httpx.AsyncClient
    ) -> None:
        """A survivor without a user id of its own is found by the other's."""
        emulator.add("smooch", {"_id": "2"}, app_id="app")

        await app.post("merge", json={"surviving": {"_id": "2"}, "discarded": {"_id": "1"}})

        assert (await app.get("jane")).json()["appUser"]["_id"] == "2"
        assert jane["_id"] == "1"

    @pytest.mark.usefixtures("jane")
    @pytest.mark.parametrize(
        ("body", "status", "text"),
        [
            ({}, 400, "should have required property 'surviving'"),
            ({"surviving": {"_id": "1"}}, 400, "should have required property 'discarded'"),
            ({"surviving": {"id": "1"}}, 400, "should have required property 'surviving'"),
            ({"surviving": {"_id": ""}}, 400, "surviving should have required property '_id'"),
            ({"surviving": {"_id": "1"}, "discarded": {"_id": "1"}}, 400, "two users"),
            ({"surviving": {"_id": "1"}, "discarded": {"_id": "3"}}, 404, "User not found"),
            ({"surviving": {"_id": "jane"}, "discarded": {"_id": "1"}}, 404, "User not found"),
        ],
    )
    async def test_a_merge_that_cannot_be(
        self, body: dict[str, Any], status: int, text: str, app: httpx.AsyncClient
    ) -> None:
        """Both are needed, by ``_id``, and they are two."""
        assert text in said(await app.post("merge", json=body), status)

    async def test_someone_may_be_called_merge(self, app: httpx.AsyncClient) -> None:
        """A user with the user id ``merge`` is found."""
        await app.post(USERS, json={"userId": "merge"})

        assert (await app.get("merge")).json()["appUser"]["userId"] == "merge"


@pytest.mark.usefixtures("jane")
class TestImages:
    """Images."""

    async def test_an_image_is_measured(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """It makes a message, begins the conversation, and is known by what it was."""
        first = await app.post("jane/images", files=IMAGE, data={"role": "appUser"})
        second = await app.post("jane/images", files=IMAGE, data={"role": "appMaker"})

        message = first.json()["message"]
        assert (message["type"], message["role"], message["mediaType"]) == ("image", "appUser", "image/png")  # fmt: skip
        assert isinstance(message["received"], float)
        shown = [answer.json()["conversation"] for answer in (first, second)]
        assert shown[0]["_id"] == shown[1]["_id"]
        assert [conversation["unreadCount"] for conversation in shown] == [0, 1]
        [conversation] = emulator.platform.app("app").conversations.all.rows.values()
        stored = emulator.platform.app("app").conversations.messages(conversation["id"]).rows
        assert [*stored] == [answer.json()["message"]["_id"] for answer in (first, second)]
        assert [row["author"]["type"] for row in stored.values()] == ["user", "business"]
        assert (await app.get("jane")).json()["appUser"]["conversationStarted"]
        image = emulator.smooch.images[1]
        assert (image.user_id, image.role, image.file_name, image.content_type, image.size) == (
            "1", "appMaker", "a.png", "image/png", 6,
        )  # fmt: skip
        assert image.sha256 == sha256(b"pixels").hexdigest()

    @pytest.mark.parametrize("role", ["appUser", "appMaker"])
    async def test_the_message_has_what_the_specification_requires(
        self, role: str, app: httpx.AsyncClient
    ) -> None:
        """Each required field is there, with the names of the user; the business is nobody's id."""
        names = {"givenName": "Jane", "surname": "Doe", "avatarUrl": "https://example.org/a.png"}
        await app.put("jane", json=names)

        answer = await app.post("jane/images", files=IMAGE, data={"role": role})

        message = answer.json()["message"]
        schema = SPEC["schemas"]["Message"]
        assert {*schema["required"]} <= message.keys() <= schema["properties"].keys()
        by_user = message["authorId"] == (await app.get("jane")).json()["appUser"]["_id"]
        assert by_user is (role == "appUser")
        assert message["name"] == ("Jane Doe" if by_user else "")
        assert message["avatarUrl"] == (names["avatarUrl"] if by_user else "")

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            (b'filename="a.png"', "a.png"),
            (b"filename*=utf-8''%C3%A9.png", "é.png"),
            (b"filename*=utf-7''%2B2AA-.png", "?.png"),  # half a surrogate pair
            (b"filename*=idna''x", ""),
            (b"filename*=none''x.png", "x.png"),
        ],
    )
    async def test_an_image_with_any_name(
        self, name: bytes, shown: str, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A file without a type is any file, and no name of a file is an error."""
        form = (
            b'--x\r\nContent-Disposition: form-data; name="role"\r\n\r\na\r\n'
            b'--x\r\nContent-Disposition: form-data; name="source"; '
            + name
            + b"\r\n\r\nabc\r\n--x--"
        )
        headers = {"content-type": "multipart/form-data; boundary=x"}

        answer = await app.post("jane/images", content=form, headers=headers)

        assert answer.status_code == 201
        assert answer.json()["message"]["altText"] == shown
        [image] = emulator.smooch.images
        assert (image.file_name, image.content_type) == (shown, "application/octet-stream")

    @pytest.mark.parametrize(
        ("form", "status", "text"),
        [
            ({"files": IMAGE}, 400, "should have required property 'role'"),
            ({"files": {"x": b"y"}, "data": {"role": "a"}}, 400, "required property 'source'"),
            ({"files": {"source": ("a.png", b"")}, "data": {"role": "a"}}, 400, "not an empty one"),
            (
                {"files": {"x": b"y"}, "data": {"role": "a", "source": "text"}},
                400,
                "source should be a file",
            ),
            (
                {"files": {"source": ("a.txt", b"a", "text/plain")}, "data": {"role": "a"}},
                415,
                "text/plain isn't a type of image",
            ),
            ({"json": {"role": "a"}}, 415, "content-type should be multipart/form-data"),
            ({}, 415, "content-type should be multipart/form-data"),
            (
                {"content": b"--x", "headers": {"content-type": "multipart/form-data; boundary=x"}},
                400,
                "the form has no end",
            ),
        ],
    )
    async def test_an_image_that_cannot_be(
        self, form: Any, status: int, text: str, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """What isn't a form with a role and an image is refused."""
        assert text in said(await app.post("jane/images", **form), status)
        assert emulator.smooch.images == []

    async def test_a_large_one(self, app: httpx.AsyncClient) -> None:
        """More than 50 MB are a 413."""

        async def form() -> AsyncIterator[bytes]:
            yield b'--x\r\nContent-Disposition: form-data; name="role"\r\n\r\na\r\n--x\r\n'
            yield b'Content-Disposition: form-data; name="source"; filename="a.png"\r\n'
            yield b"Content-Type: image/png\r\n\r\n"
            for _ in range(51):
                yield bytes(MAX_FILE_BYTES // 50)
            yield b"\r\n--x--\r\n"

        headers = {"content-type": "multipart/form-data; boundary=x"}

        answer = await app.post("jane/images", content=form(), headers=headers)

        assert "limited to 50000000 bytes" in said(answer, 413)

    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    def test_a_form_is_read_however_it_is_cut(self, size: int) -> None:
        """A form is the same in pieces of any size, with a beginning and an end around it."""
        pixels = b"\r\n--x\r\n\r\n-" * 30
        text = (
            b'before\r\n--"x"\r\nContent-Disposition: form-data; name="role"\r\n\r\nappUser\r\n'
            b'--"x"\r\ncontent-disposition: form-data; name="source"; filename="a.png"\r\n'
            b"CONTENT-TYPE: image/png\r\n\r\n" + pixels + b'\r\n--"x"\r\n'
            b'Content-Disposition: form-data; name="empty"\r\n\r\n\r\n--"x"--\r\nafter'
        ).replace(b'"x"', b"xyz")
        form = FormParser('Multipart/Form-Data; charset=utf-8; boundary="xyz"')

        for start in range(0, len(text), size):
            form.add(text[start : start + size])
        parts = form.parts()

        assert {name: part.size for name, part in parts.items()} == {
            "role": 7,
            "source": len(pixels),
            "empty": 0,
        }
        assert parts["role"].beginning == b"appUser"
        assert (parts["source"].file_name, parts["source"].content_type) == ("a.png", "image/png")
        assert parts["source"].digest == sha256(pixels).hexdigest()
        assert parts["empty"].digest == sha256(b"").hexdigest()

    @pytest.mark.parametrize("line", [bytes(1000), b"a" * 1000, b"a:" + b"b" * 998, b"a: b\r\n"])
    def test_a_part_with_endless_headers_is_bounded(self, line: bytes) -> None:
        """Headers of a part that never end keep no memory, and make no form."""
        form = FormParser("multipart/form-data; boundary=x")
        form.add(b"--x\r\n")
        for _ in range(1000):
            form.add(line)

        assert len(form._name) + len(form._value) <= 20_000
        assert len(form._headers) <= 100
        with pytest.raises(Refusal, match="the form has no end"):
            form.parts()

    def test_a_long_preamble_keeps_no_memory(self) -> None:
        """Text before the first part is skipped, and the part is found."""
        form = FormParser("multipart/form-data; boundary=x")
        for _ in range(100):
            form.add(bytes(1000))
        assert form._preamble is not None
        assert len(form._preamble) < 10

        form.add(b'\r\n--x\r\nContent-Disposition: form-data; name="role"\r\n\r\na\r\n--x--')

        assert form.parts()["role"].beginning == b"a"

    def test_what_is_no_form_is_refused(self) -> None:
        """Without a boundary there is no form."""
        for kind in ("", "multipart/form-data", "text/plain; boundary=x"):
            form = FormParser(kind)
            form.add(b"--x--")
            with pytest.raises(Refusal):
                form.parts()


class TestOverlaps:
    """Changes of one user that overlap."""

    @staticmethod
    async def overlapped(*calls: str, latency: float = 0.02) -> list[int]:
        """Return the statuses of calls that come while one another is being answered."""
        emulator = Emulator(latency=latency)
        for user_id in ("jane", "june"):
            emulator.add("smooch", {"userId": user_id}, app_id="app")
        statuses: dict[int, int] = {}
        async with calling(emulator, USERS) as app:

            async def call(number: int, line: str) -> None:
                method, path = line.split(" ")
                answer = await app.request(method, path, json={} if method == "PUT" else None)
                statuses[number] = answer.status_code

            async with anyio.create_task_group() as tasks:
                for number, line in enumerate(calls):
                    tasks.start_soon(call, number, line)
            after = await app.put("june", json={})
        assert after.status_code == 200
        return [statuses[number] for number in range(len(calls))]

    @virtual
    async def test_a_change_while_another_is_under_way(self) -> None:
        """The second change of one user is a 409 until the first has been answered."""
        assert sorted(await self.overlapped("PUT jane", "PUT jane")) == [200, 409]
        assert sorted(await self.overlapped("PUT jane", "DELETE jane/profile")) == [200, 409]
        assert sorted(await self.overlapped("DELETE jane/profile", "PUT jane")) == [200, 409]

    @virtual
    async def test_what_does_not_overlap(self) -> None:
        """Changes of two users, and reads, don't mind each other."""
        assert await self.overlapped("PUT jane", "PUT june", "GET jane") == [200, 200, 200]

    @virtual
    async def test_without_latency_nothing_overlaps(self) -> None:
        """Where each call is answered at once, there is no conflict."""
        assert await self.overlapped("PUT jane", "PUT jane", latency=0.0) == [200, 200]

    @pytest.mark.usefixtures("jane")
    async def test_a_broken_answer_ends_a_change(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A change whose answer broke is no longer under way, and 409 has v1.1's words."""
        emulator.faults = [Mishap(reset=True, when="after"), Mishap(status=409)]

        with pytest.raises(httpx.ReadError):
            await app.put("jane", json={"surname": "D"})

        assert said(await app.put("jane", json={}), 409) == "User already exists"
        assert (await app.put("jane", json={})).json()["appUser"]["surname"] == "D"
