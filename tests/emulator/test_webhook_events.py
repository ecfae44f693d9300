"""Webhooks follow a change: the triggers and payloads of the emulator, for the three services."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from support.deliveries import DELIVERIES
from support.emulated import call
from support.in_process import calling
from support.targets import Target, listening

from sunshine_async import webhooks
from sunshine_async.emulator import Emulator
from sunshine_async.emulator.webhook_events import TRIGGERS
from sunshine_async.webhooks.smooch_events import SMOOCH_EVENTS
from sunshine_async.webhooks.sunshine_events import SUNSHINE_EVENTS

BUSINESS = {"type": "business"}
HELLO = {"author": BUSINESS, "content": {"type": "text", "text": "Hello"}}
HOOK = {"target": "http://bot/hook", "secret": "s3cr3t"}
JOE = {"userId": "2", "subscribeSDKClient": True}
TWILIO = {"type": "twilio", "accountSid": "a", "authToken": "t", "phoneNumberSid": "p"}


@pytest.fixture
def emulator() -> Emulator:
    """Return an emulator with the users Jane and Joe."""
    emulator = Emulator()
    emulator.add("sunshine", {"id": "1", "externalId": "jane"}, app_id="app")
    emulator.add("sunshine", {"id": "2", "profile": {"givenName": "Joe"}}, app_id="app")
    return emulator


@pytest.fixture
async def target(emulator: Emulator) -> AsyncIterator[Target]:
    """Receive all events of v2."""
    emulator.add_webhook("sunshine", HOOK, app_id="app")
    async with listening(emulator) as target:
        yield target


@pytest.fixture
async def v1_target(emulator: Emulator) -> AsyncIterator[Target]:
    """Receive all events of v1.1."""
    emulator.add_webhook("smooch", HOOK, app_id="app")
    async with listening(emulator) as target:
        yield target


async def group(app: httpx.AsyncClient) -> str:
    """Create a group conversation of Jane; return the path."""
    body = {
        "type": "sdkGroup",
        "metadata": {"tier": "gold"},
        "participants": [{"userId": "1", "subscribeSDKClient": False}],
    }
    answer = await call(app, "POST", "conversations", 201, json=body)
    return f"conversations/{answer['conversation']['id']}"


async def twilio(app: httpx.AsyncClient) -> str:
    """Create an integration of Twilio; return the id."""
    answer = await call(app, "POST", "integrations", 201, json=TWILIO)
    return str(answer["integration"]["id"])


def typed(events: list[Any], parser: Any, classes: Mapping[str, Any]) -> list[str]:
    """Check that each event is read as the class of the trigger; return the triggers."""
    names: list[str] = []
    for data in events:
        name = data.get("type") or data["trigger"]
        assert type(parser.event(name, data)) is classes[name]
        names.append(name)
    return names


class TestSunshine:
    """Events of v2."""

    async def test_messages(
        self, emulator: Emulator, app: httpx.AsyncClient, target: Target
    ) -> None:
        """A user's first message creates a conversation; both sides' messages are told."""
        ids = emulator.say("app", "jane", "Hi")
        answer = await call(
            app, "POST", f"conversations/{ids['conversation']}/messages", 201, json=HELLO
        )
        await emulator.delivered()

        create, said, answered = target.events
        parser = webhooks.SunshineWebhooks("s3cr3t")
        assert typed(target.events, parser, SUNSHINE_EVENTS) == [
            "conversation:create", "conversation:message", "conversation:message",
        ]  # fmt: skip
        conversation = {"id": ids["conversation"], "type": "personal", "metadata": {}}
        jane = {"id": "1", "externalId": "jane"}
        assert create["payload"] == {
            "conversation": conversation,
            "user": jane,
            "creationReason": "message",
            "source": {"type": "web"},
        }
        assert said["payload"]["conversation"] == conversation
        assert said["payload"]["message"]["id"] == ids["message"]
        assert said["payload"]["message"]["author"] == {
            "type": "user",
            "userId": "1",
            "user": jane,
        }
        assert answered["payload"]["message"] == answer["messages"][0]
        assert answered["payload"]["message"]["source"] == {"type": "api:conversations"}
        assert len({event["id"] for event in target.events}) == 3

    async def test_a_delivery(self, emulator: Emulator, target: Target) -> None:
        """A delivery has envelope and secret as in the reference, at the path of the target."""
        emulator.say("app", "jane", "Hi")
        [delivery, _] = await emulator.delivered()

        received = target.received[0]
        assert received.path == "/hook"
        assert received.data["app"] == {"id": "app"}
        assert received.data["webhook"] == {"id": delivery["webhook"], "version": "v2"}
        parsed = webhooks.SunshineWebhooks("s3cr3t").parse(received.headers, received.body)
        assert [type(event) for event in parsed.events] == [webhooks.ConversationCreate]
        assert delivery == {
            "service": "sunshine",
            "webhook": delivery["webhook"],
            "target": "http://bot/hook",
            "events": [received.data["events"][0]["id"]],
            "triggers": ["conversation:create"],
            "attempts": [200],
            "state": "delivered",
        }

    async def test_groups(self, emulator: Emulator, app: httpx.AsyncClient, target: Target) -> None:
        """Joining, leaving, activities and the removal of a group are told, in order."""
        path = await group(app)
        for _ in range(2):  # who joins twice is told once
            body = {"userId": "2", "subscribeSDKClient": True}
            await call(app, "POST", f"{path}/join", 201, json=body)
        for kind in ("typing:start", "typing:stop", "conversation:read"):
            await call(app, "POST", f"{path}/activity", json={"author": BUSINESS, "type": kind})
        reader = {"author": {"type": "user", "userId": "2"}, "type": "conversation:read"}
        await call(app, "POST", f"{path}/activity", json=reader)
        await call(app, "POST", f"{path}/leave", json={"userId": "2"})
        await call(app, "DELETE", path)
        await emulator.delivered()

        parser = webhooks.SunshineWebhooks("s3cr3t")
        assert typed(target.events, parser, SUNSHINE_EVENTS) == [
            "conversation:create", "client:add", "conversation:join", "conversation:typing",
            "conversation:typing", "conversation:read", "conversation:read",
            "conversation:leave", "conversation:remove",
        ]  # fmt: skip
        create, client, join, typing, *_, read, leave, _ = (one["payload"] for one in target.events)
        assert create["creationReason"] == "none"
        assert "user" not in create
        assert create["conversation"]["metadata"] == {"tier": "gold"}
        assert client["reason"] == "sdkLogin"
        assert client["client"]["type"] == "sdk"
        assert join["user"] == leave["user"] == {"id": "2"}
        assert typing["activity"]["type"] == "typing:start"
        assert read["activity"]["author"]["user"] == {"id": "2"}

    async def test_a_conversation_by_the_api(
        self, emulator: Emulator, app: httpx.AsyncClient, target: Target
    ) -> None:
        """A personal conversation by CreateConversation has the reason none, and the user."""
        body = {"type": "personal", "participants": [{"userId": "1"}]}
        await call(app, "POST", "conversations", 201, json=body)
        await emulator.delivered()

        [created] = target.events
        assert created["payload"]["creationReason"] == "none"
        assert created["payload"]["source"] == {"type": "api:conversations"}
        assert created["payload"]["user"]["id"] == "1"

    async def test_clients(
        self, emulator: Emulator, app: httpx.AsyncClient, target: Target
    ) -> None:
        """A link adds a client, the confirmation updates the client; the removal is told."""
        integration_id = await twilio(app)
        ids = emulator.say("app", "jane", "Hi")
        body: dict[str, Any] = {
            "matchCriteria": {
                "type": "twilio",
                "integrationId": integration_id,
                "phoneNumber": "+1",
            },
            "confirmation": {"type": "immediate"},
            "target": {"conversationId": ids["conversation"]},
        }
        answer = await call(app, "POST", "users/jane/clients", 201, json=body)
        client_id = answer["client"]["id"]
        await call(app, "DELETE", f"users/jane/clients/{client_id}")
        body["confirmation"] = {"type": "userActivity", "message": HELLO}
        await call(app, "POST", "users/jane/clients", 201, json=body)
        await emulator.delivered()

        parser = webhooks.SunshineWebhooks("s3cr3t")
        found = target.events[2:]
        assert typed(found, parser, SUNSHINE_EVENTS) == [
            "client:add", "client:update", "client:remove", "client:add",
        ]  # fmt: skip
        reasons = [event["payload"]["reason"] for event in found]
        assert reasons == ["channelLinking", "confirmed", "api", "channelLinking"]
        states = [event["payload"]["client"]["status"] for event in found[:2]]
        assert states == ["pending", "active"]
        assert found[0]["payload"]["conversation"]["id"] == ids["conversation"]
        sources = [event["payload"].get("source") for event in found]
        api = {"type": "api:conversations"}
        assert sources == [api, None, api, api]

    async def test_users(self, emulator: Emulator, app: httpx.AsyncClient, target: Target) -> None:
        """A merge and a removal of a user are told; a change by the API isn't."""
        await call(app, "PATCH", "users/1", json={"metadata": {"a": 1}})
        async with calling(emulator, "http://emulator/v1.1/apps/app/appusers") as v1:
            pair = {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}}
            await call(v1, "POST", "merge", json=pair)
        await call(app, "DELETE", "users/1")
        await emulator.delivered()

        merge, remove = target.events
        parser = webhooks.SunshineWebhooks("s3cr3t")
        assert typed(target.events, parser, SUNSHINE_EVENTS) == ["user:merge", "user:remove"]
        assert merge["payload"] == {
            "mergedUsers": {
                "surviving": {"id": "1", "externalId": "jane"},
                "discarded": {"id": "2"},
            },
            "reason": "api",
        }
        assert remove["payload"] == {"user": {"id": "1", "externalId": "jane"}}

    async def test_the_whole_user(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """With ``includeFullUser`` a user is whole, except where always truncated."""
        emulator.add_webhook("sunshine", {**HOOK, "includeFullUser": True}, app_id="app")
        async with listening(emulator) as target:
            emulator.say("app", "2", "Hi")
            group = {"type": "sdkGroup", "participants": [JOE]}
            await call(app, "POST", "conversations", 201, json=group)
            await call(app, "DELETE", "users/2")

        create, message, client, _, remove = (event["payload"] for event in target.events)
        joe = {"givenName": "Joe"}
        assert create["user"]["profile"] == joe
        assert message["message"]["author"]["user"]["profile"] == joe
        assert client["user"] == remove["user"] == {"id": "2"}

    async def test_control(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Each step of control is told, with the control after the step, to the right webhooks.

        A switchboard integration without ``deliverStandbyEvents`` receives only the events of
        conversations in the own control.
        """
        board = (await call(app, "POST", "switchboards", 201))["switchboard"]["id"]
        board = f"switchboards/{board}"
        ids: dict[str, str] = {}
        for name, standby in (("bot", False), ("human", True)):
            hook = {"target": f"http://bot/{name}", "triggers": [*TRIGGERS["sunshine"]]}
            body = {"type": "custom", "webhooks": [hook]}
            created = await call(app, "POST", "integrations", 201, json=body)
            ids[name] = created["integration"]["id"]
            body = {
                "name": name,
                "integrationId": ids[name],
                "deliverStandbyEvents": standby,
            }
            url = f"{board}/switchboardIntegrations"
            responder = (await call(app, "POST", url, 201, json=body))["switchboardIntegration"]
            change = {"enabled": True, "defaultSwitchboardIntegrationId": responder["id"]}
            await call(app, "PATCH", board, json=change)

        async with listening(emulator) as target:
            conversation = emulator.say("app", "jane", "Hi")["conversation"]  # human in control
            path = f"conversations/{conversation}"
            await call(app, "POST", f"{path}/offerControl", json={"switchboardIntegration": "bot"})
            await call(app, "POST", f"{path}/acceptControl", json={"metadata": {"a": "b"}})
            await call(app, "POST", f"{path}/passControl", json={"switchboardIntegration": "human"})
            await call(app, "POST", f"{path}/releaseControl")
            await emulator.delivered()

        received: dict[str, list[Any]] = {"/bot": [], "/human": []}
        for one in target.received:
            received[one.path] += one.data["events"]
        parser = webhooks.SunshineWebhooks("s3cr3t")
        assert typed(received["/human"], parser, SUNSHINE_EVENTS) == [
            "conversation:create", "conversation:message", "switchboard:offerControl",
            "switchboard:acceptControl", "switchboard:passControl", "switchboard:releaseControl",
        ]  # fmt: skip
        assert [event["type"] for event in received["/bot"]] == [
            "switchboard:acceptControl", "switchboard:releaseControl",
        ]  # fmt: skip
        accepted = received["/bot"][0]["payload"]
        assert accepted["metadata"] == {"a": "b"}
        active = accepted["conversation"]["activeSwitchboardIntegration"]
        assert active["integrationId"] == ids["bot"]

    async def test_only_the_triggers_of_a_webhook(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A webhook receives the triggers that the webhook lists, of the own app."""
        triggers = ["user:remove"]
        emulator.add_webhook("sunshine", {**HOOK, "triggers": triggers}, app_id="app")
        emulator.add_webhook("sunshine", HOOK, app_id="another")
        async with listening(emulator) as target:
            emulator.say("app", "jane", "Hi")
            await call(app, "DELETE", "users/1")

        assert target.triggers() == triggers

    async def test_a_refused_call_has_no_event(
        self, emulator: Emulator, app: httpx.AsyncClient, target: Target
    ) -> None:
        """A refused operation tells nothing."""
        await call(app, "DELETE", "users/nobody", 404)
        assert await emulator.delivered() == []
        assert target.received == []


class TestSmooch:
    """Events of v1.1."""

    async def test_every_change_of_a_user(
        self, emulator: Emulator, app: httpx.AsyncClient, v1_target: Target
    ) -> None:
        """Messages, links, merge and removal are told in the form of v1.1."""
        parser = webhooks.SmoochWebhooks("s3cr3t")
        ids = emulator.say("app", "jane", "Hi")
        path = f"conversations/{ids['conversation']}"
        await call(app, "POST", f"{path}/messages", 201, json=HELLO)
        for author in (BUSINESS, {"type": "user", "userId": "1"}):
            activity = {"author": author, "type": "conversation:read"}
            await call(app, "POST", f"{path}/activity", json=activity)
        path = await group(app)
        await call(app, "POST", f"{path}/leave", json={"userId": "1"})  # no event of v1.1
        await call(app, "POST", "conversations", 201, json={"type": "sdkGroup"})
        async with calling(emulator, "http://emulator/v1.1/apps/app/appusers") as v1:
            link = {"type": "twilio", "phoneNumber": "+1", "confirmation": {"type": "immediate"}}
            await call(v1, "POST", "1/channels", json=link)
            await call(v1, "DELETE", "1/channels/twilio")
            pair = {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}}
            await call(v1, "POST", "merge", json=pair)
            await call(v1, "DELETE", "1")
        await emulator.delivered()

        assert typed(v1_target.events, parser, SMOOCH_EVENTS) == [
            "conversation:start", "message:appUser", "message:appMaker", "conversation:read",
            "conversation:start", "client:add", "link:success", "client:remove", "merge:appUser",
            "appUser:delete",
        ]  # fmt: skip
        start, said, answered, _, start_by_api, *_, merge, _ = v1_target.events
        assert (start["source"], start_by_api["source"]) == ({"type": "web"}, {"type": "api"})
        assert start["conversation"] == {"_id": ids["conversation"]}
        assert start["appUser"] == {"_id": "1", "userId": "jane", "conversationStarted": True}
        [message] = said["messages"]
        assert (message["_id"], message["role"], message["text"]) == (
            ids["message"], "appUser", "Hi",
        )  # fmt: skip
        assert answered["messages"][0]["source"] == {"type": "api"}
        assert (merge["surviving"]["_id"], merge["discarded"]) == ("1", [{"_id": "2"}])
        received = v1_target.received[1]
        [event] = parser.parse(received.headers, received.body).events
        assert isinstance(event, webhooks.SmoochMessageEvent)

    async def test_the_whole_user(self, emulator: Emulator) -> None:
        """With ``includeFullAppUser`` names and properties are there."""
        emulator.add_webhook("smooch", {**HOOK, "includeFullAppUser": True}, app_id="app")
        async with listening(emulator) as target:
            emulator.say("app", "2", "Hi")

        assert target.events[0]["appUser"]["givenName"] == "Joe"
        assert target.events[0]["appUser"]["properties"] == {}


class TestDixa:
    """Events of Dixa."""

    async def test_a_conversation(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """A stored conversation is told, signed; the parser finds conversation and organization."""
        end_user = emulator.add("dixa", {"displayName": "Jane"})
        hook = emulator.add_webhook("dixa", {"target": "http://bot/dixa"})
        async with listening(emulator) as target:
            line = json.dumps({"requesterId": end_user["id"], "id": 7, "state": "Open"})
            url = "http://emulator/_emulator/dixa/conversations"
            await call(app, "POST", url, 201, content=line)

        [received] = target.received
        raw = webhooks.DixaWebhooks(hook["secret"]).read(received.headers, received.body)
        assert not isinstance(raw, webhooks.WebhookError)
        assert raw.webhook_id == hook["id"]
        [event] = raw.events
        assert (event.type, event.conversation_id) == ("CONVERSATION_CREATED", "7")
        emulator.reset()
        assert emulator.dixa.webhooks == []

    def test_a_secret_that_is_not_hexadecimal(self, emulator: Emulator) -> None:
        """A secret of Dixa is hexadecimal, since the signature needs the bytes."""
        with pytest.raises(ValueError, match="secret: hexadecimal"):
            emulator.add_webhook("dixa", {"target": "http://bot/", "secret": "s3cr3t"})


class TestDeliver:
    """Events that no operation causes."""

    @pytest.mark.parametrize("trigger", sorted(SUNSHINE_EVENTS))
    async def test_any_event(self, emulator: Emulator, target: Target, trigger: str) -> None:
        """`Emulator.deliver` sends any event of the references unchanged."""
        example = next(
            event
            for delivery in DELIVERIES["sunshine"]
            for event in delivery["events"]
            if event["type"] == trigger
        )
        event_id = emulator.deliver("sunshine", trigger, example["payload"], app_id="app")
        await emulator.delivered()

        [event] = target.events
        assert (event["id"], event["payload"]) == (event_id, example["payload"])

    async def test_an_unknown_trigger(self, emulator: Emulator, target: Target) -> None:
        """A trigger that no webhook lists goes nowhere."""
        emulator.deliver("sunshine", "conversation:new", {}, app_id="app")
        assert await emulator.delivered() == []
        assert target.received == []

    async def test_an_event_of_v1(self, emulator: Emulator, v1_target: Target) -> None:
        """An event of v1.1 has the usual keys, and the given keys."""
        emulator.deliver("smooch", "postback", {"postbacks": []}, app_id="app")
        await emulator.delivered()

        [event] = v1_target.events
        assert event.pop("timestamp") > 0
        assert event == {
            "trigger": "postback",
            "app": {"_id": "app"},
            "version": "v1.1",
            "postbacks": [],
        }

    def test_a_missing_app(self, emulator: Emulator) -> None:
        """An event and a webhook of an app name the app."""
        with pytest.raises(ValueError, match="app_id: sunshine needs an app"):
            emulator.deliver("sunshine", "user:remove", {})
        with pytest.raises(ValueError, match="app_id: smooch needs an app"):
            emulator.add_webhook("smooch", HOOK)

    def test_an_invalid_webhook(self, emulator: Emulator) -> None:
        """A webhook has a target, and no unknown field."""
        with pytest.raises(ValueError, match="target"):
            emulator.add_webhook("sunshine", {}, app_id="app")
        with pytest.raises(ValueError, match="url"):
            emulator.add_webhook("sunshine", {**HOOK, "url": "x"}, app_id="app")

    async def test_control_requests(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Scripts store webhooks, make events, and list deliveries by control requests."""
        url = "http://emulator/_emulator"
        line = json.dumps(HOOK)
        stored = await call(app, "POST", f"{url}/webhooks/sunshine?appId=app", 201, content=line)
        async with listening(emulator) as target:
            body = {
                "service": "sunshine",
                "app_id": "app",
                "trigger": "conversation:postback",
                "payload": {"conversation": {"id": "c"}},
            }
            made = await call(app, "POST", f"{url}/deliver", json=body)
            await emulator.delivered()
            listed = await call(app, "GET", f"{url}/deliveries")

        assert target.events[0]["id"] == made["id"]
        assert (listed["webhook"], listed["events"]) == (stored["id"], [made["id"]])
        await call(app, "POST", f"{url}/webhooks/nowhere", 404, content=line)
        await call(app, "POST", f"{url}/webhooks/smooch", 400, content=line)
        await call(app, "POST", f"{url}/deliver", 400, json={**body, "service": "x"})


def test_the_triggers_are_those_of_the_references() -> None:
    """A webhook without triggers has every trigger that the receiver knows, and the raw ones."""
    assert {*TRIGGERS["sunshine"]} == {*SUNSHINE_EVENTS, "passthrough:messaging"}
    assert {*TRIGGERS["smooch"]} == {*SMOOCH_EVENTS}


async def test_webhooks_are_in_the_state_file(tmp_path: Any) -> None:
    """A webhook, of v2 or v1.1, is there after a restart."""
    emulator = Emulator(state=tmp_path / "state")
    for service in ("sunshine", "smooch"):
        emulator.add_webhook(service, HOOK, app_id="app")
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    emulator.close()

    again = Emulator(state=tmp_path / "state")
    async with listening(again) as target:
        again.say("app", "1", "Hi")
    again.close()
    assert sorted(target.triggers()) == [
        "conversation:create", "conversation:message", "conversation:start", "message:appUser",
    ]  # fmt: skip
