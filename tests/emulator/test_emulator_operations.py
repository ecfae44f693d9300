"""All operations of Sunshine v2 on the emulator: routes, successes, faults, and the state file."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from support.emulated import calling

from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.emulator.platform import V2

BUSINESS = {"type": "business"}
HELLO = {"author": BUSINESS, "content": {"type": "text", "text": "Hello"}}
HOOK = {"target": "https://x.org/hook", "triggers": ["*"]}
JOE = {"userId": "2", "subscribeSDKClient": True}
FILE = {"source": ("a.png", b"\x89PNG", "image/png")}
TWILIO = {"type": "twilio", "accountSid": "a", "authToken": "t", "phoneNumberSid": "p"}
TOKEN = {"code": "c", "grant_type": "authorization_code", "client_id": "i", "client_secret": "s"}
OPERATIONS = 68


class Story:
    """Calls by the names of operations; ids of answers fill the paths of later calls."""

    def __init__(self, app: httpx.AsyncClient) -> None:
        self.app = app
        self.ids = {"app_id": "app", "user_id_or_external_id": "jane", "zendesk_id": "10"}
        self.done: set[str] = set()

    async def do(self, name: str, *, keep: str = "", **more: Any) -> Any:
        """Send the operation, expect the declared success, *keep* the id of the answer."""
        endpoint = V2[name]
        url = f"http://emulator{endpoint.path.format(**self.ids)}"
        answer = await self.app.request(endpoint.method, url, **more)
        assert answer.status_code == endpoint.ok[0], (name, answer.text)
        data = answer.json()
        if endpoint.inside:
            assert endpoint.inside in data, name
        if keep:
            [kept] = data.values()
            self.ids[keep] = (kept[0] if isinstance(kept, list) else kept)["id"]
        self.done.add(name)
        return data

    async def play(self) -> None:
        """Do everything that leaves something, and read everything."""
        await self.users()
        await self.integrations()
        await self.conversations()
        await self.control()
        await self.rest()

    async def users(self) -> None:
        await self.do("CreateUser", json={"externalId": "new"})
        for name in ("GetUser", "ListDevices", "GetDevice"):
            await self.do(name)
        query = {"filter[identities.email]": "j@x.org"}
        await self.do("ListUsers", params=query)
        await self.do("UpdateUser", json={"metadata": {"a": 1}})
        await self.do("SyncUser")
        await self.do("DeleteUserPersonalInformation")

    async def integrations(self) -> None:
        await self.do("CreateApp", json={"displayName": "A"})
        await self.do("CreateIntegration", keep="twilio", json=TWILIO)
        body = {"type": "custom", "webhooks": [HOOK]}
        await self.do("CreateIntegration", keep="integration_id", json=body)
        await self.do("CreateWebhook", keep="webhook_id", json=HOOK)
        await self.do("UpdateWebhook", json={"includeFullUser": True})
        await self.do("UpdateIntegration", json={"displayName": "N"})
        await self.do("CreateCustomIntegrationKey", keep="key_id", json={"displayName": "k"})
        await self.do("GetCustomIntegrationKey")
        await self.do("CreateAppKey", keep="key_id", json={"displayName": "k"})
        await self.do("GetAppKey")
        await self.do("UpdateApp", json={"metadata": {"a": 1}})
        for name in (
            "ListApps", "GetApp", "ListAppKeys", "ListIntegrations", "GetIntegration", "GetWebhook",
            "ListWebhooks", "ListCustomIntegrationKeys", "GetTokenInfo",
        ):  # fmt: skip
            await self.do(name)
        query = {"client_id": "i", "response_type": "code"}
        await self.do("Authorize", params=query)
        await self.do("GetToken", json=TOKEN)

    async def conversations(self) -> None:
        body = {"type": "personal", "participants": [{"userExternalId": "jane"}]}
        await self.do("CreateConversation", keep="conversation_id", json=body)
        await self.do("PostMessage", json=HELLO)
        read = {"author": {"type": "user", "userId": "1"}, "type": "conversation:read"}
        await self.do("PostActivity", json=read)
        await self.do("PostConversionEvents", json={"whatsapp": {"payload": {"data": []}}})
        await self.do("DownloadMessageRef", json={"userId": "1"})
        link = {
            "matchCriteria": {
                "type": "twilio", "integrationId": self.ids["twilio"], "phoneNumber": "+1",
            },
            "confirmation": {"type": "immediate"},
            "target": {"conversationId": self.ids["conversation_id"]},
        }  # fmt: skip
        await self.do("CreateClient", keep="client_id", json=link)
        await self.do("ListClients")
        await self.do("CreateConversation", keep="conversation_id", json={"type": "sdkGroup"})
        await self.do("JoinConversation", json=JOE)
        await self.do("PostMessage", keep="message_id", json=HELLO | {"metadata": {"a": 1}})
        await self.do("PostMessage", json=HELLO)
        await self.do("UpdateConversation", json={"displayName": "N"})
        query = {"filter[userId]": "2"}
        await self.do("ListConversations", params=query)
        for name in ("GetConversation", "ListMessages", "ListParticipants"):
            await self.do(name)

    async def control(self) -> None:
        await self.do("CreateSwitchboard", keep="switchboard_id")
        for name in ("bot", "human"):
            body = {"name": name, "integrationId": self.ids["integration_id"]}
            kept = "switchboard_integration_id"
            await self.do("CreateSwitchboardIntegration", keep=kept, json=body)
        default = {"defaultSwitchboardIntegrationId": self.ids["switchboard_integration_id"]}
        await self.do("UpdateSwitchboard", json={"enabled": True} | default)
        await self.do("UpdateSwitchboardIntegration", json={"messageHistoryCount": 1})
        for name in ("ListSwitchboards", "ListSwitchboardIntegrations"):
            await self.do(name)
        bot, human = {"switchboardIntegration": "bot"}, {"switchboardIntegration": "human"}
        await self.do("PassControl", json=bot)
        await self.do("ReleaseControl", json={})
        await self.do("PassControl", json=human)
        await self.do("OfferControl", json=bot)
        await self.do("AcceptControl", json={})
        await self.do("OfferControl", json=human)
        attachment = await self.do("UploadAttachment", files=FILE, params={"access": "public"})
        url = attachment["attachment"]["mediaUrl"]
        await self.do("DeleteAttachment", json={"mediaUrl": url})

    async def rest(self) -> None:
        """Do what deletes some of what is there."""
        await self.do("DeleteMessage")
        await self.do("RemoveClient")
        await self.do("DeleteAppKey")
        await self.do("CreateWebhook", keep="webhook_id", json=HOOK)
        await self.do("DeleteWebhook")
        await self.do("RevokeAccess")

    async def end(self) -> None:
        """Do what deletes all the rest."""
        kept = {name: self.ids[name] for name in ("switchboard_integration_id", "key_id")}
        body = {"name": "third", "integrationId": self.ids["integration_id"]}
        name = "switchboard_integration_id"
        await self.do("CreateSwitchboardIntegration", keep=name, json=body)
        await self.do("DeleteSwitchboardIntegration")
        await self.do("CreateCustomIntegrationKey", keep="key_id", json={"displayName": "k"})
        await self.do("DeleteCustomIntegrationKey")
        self.ids |= kept
        leave = {"userId": "2"}
        await self.do("LeaveConversation", json=leave)
        for name in (
            "DeleteAllMessages", "DeleteConversation", "DeleteSwitchboard", "DeleteIntegration",
            "DeleteUser", "DeleteApp",
        ):  # fmt: skip
            await self.do(name)


def filled(**options: Any) -> Emulator:
    """Return an emulator with users 1 (jane) and 2."""
    emulator = Emulator(**options)
    device = {"id": "d1", "type": "web"}
    user = {"id": "1", "externalId": "jane", "zendeskId": "10", "devices": [device]}
    emulator.add("sunshine", user, app_id="app")
    emulator.add("sunshine", {"id": "2"}, app_id="app")
    return emulator


def stored(emulator: Emulator) -> Mapping[str, Any]:
    """Return all that the platform stores: users and tables, by app."""
    apps = {app.id: app for app in emulator.platform.apps()}
    return {
        app_id: (
            {key: attrs.asdict(record) for key, record in app.by_id.items()},
            {key: table.rows for key, table in app.tables.items() if table.rows},
        )
        for app_id, app in apps.items()
    } | {"tokens": emulator.platform.tokens.rows}


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with calling(filled()) as app:
        story = Story(app)
        story.ids["device_id"] = "d1"
        yield story


def test_every_operation_has_a_route() -> None:
    """The emulator has each operation of the specification once, as the client declares it."""
    operations = Emulator().sunshine.operations

    assert len(V2) == OPERATIONS
    assert sorted(one.endpoint.operation for one in operations) == sorted(V2)
    assert all(one.endpoint is V2[one.endpoint.operation] for one in operations)


async def test_every_operation_answers_with_its_declared_success(story: Story) -> None:
    """Each operation succeeds with the declared status and envelope."""
    await story.play()
    await story.end()

    assert story.done == V2.keys()


async def test_everything_outlives_the_emulator(tmp_path: Path) -> None:
    """Users, conversations, messages, integrations and all else are in the next emulator."""
    first = filled(state=tmp_path / "state")
    async with calling(first) as app:
        story = Story(app)
        story.ids["device_id"] = "d1"
        await story.play()
        first.close()

        second = Emulator(state=tmp_path / "state")
        assert stored(second) == stored(first)
        assert second.ledger()["sunshine"] == first.ledger()["sunshine"]
    async with calling(second) as app:
        story.app = app
        await story.end()
        second.close()

    third = Emulator(state=tmp_path / "state")
    assert stored(third) == stored(second)
    third.close()


@pytest.mark.parametrize("name", V2)
async def test_a_fault_hits_every_operation(name: str) -> None:
    """A fault of an operation, by its name, is the answer to the operation, and to no other."""
    endpoint = V2[name]
    url = f"http://emulator{endpoint.path.format(**dict.fromkeys(endpoint.fields, 'x'))}"
    emulator = filled()
    async with calling(emulator) as app:
        emulator.faults.append(Mishap(status=503, operation=name))
        other = "http://emulator/v2/apps/app/users/1"
        if name not in ("GetUser", "UpdateUser", "DeleteUser"):
            assert (await app.get(other)).status_code == 200

        answer = await app.request(endpoint.method, url)

        assert answer.status_code == 503
        assert answer.json().keys() == {"errors"}
