"""Switchboards and the control of conversations: the emulator against the specification."""

from typing import Any

import httpx
import pytest
from support.emulated import call, calling, refused

from sunshine_async.emulator import Emulator

CUSTOM = {"type": "custom", "webhooks": [{"target": "https://x.org/hook", "triggers": ["*"]}]}
MISSING = ("switchboard_integration_not_found", "SwitchboardIntegration not found")


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator()
    emulator.add("sunshine", {"id": "1", "externalId": "jane"}, app_id="app")
    return emulator


async def integration(app: httpx.AsyncClient) -> str:
    answer = await call(app, "POST", "integrations", 201, json=CUSTOM)
    return str(answer["integration"]["id"])


async def switchboard(app: httpx.AsyncClient) -> str:
    """Create a switchboard, and return the path."""
    answer = await call(app, "POST", "switchboards", 201)
    assert answer["switchboard"].keys() == {"id", "enabled"}
    assert not answer["switchboard"]["enabled"]
    return f"switchboards/{answer['switchboard']['id']}"


async def responder(app: httpx.AsyncClient, path: str, name: str, **more: Any) -> dict[str, Any]:
    """Add a switchboard integration of a new custom integration."""
    body = {"name": name, "integrationId": await integration(app)} | more
    url = f"{path}/switchboardIntegrations"
    answer = await call(app, "POST", url, 201, json=body)
    found = answer["switchboardIntegration"]
    assert isinstance(found, dict)
    return found


class Two:
    """A conversation, and an enabled switchboard of ``bot`` (the default), then ``human``."""

    def __init__(self, app: httpx.AsyncClient) -> None:
        self.app = app

    async def begin(self, emulator: Emulator) -> "Two":
        self.path = await switchboard(self.app)
        self.human = await responder(self.app, self.path, "human")
        self.bot = await responder(
            self.app, self.path, "bot", nextSwitchboardIntegrationId=self.human["id"]
        )
        body = {"enabled": True, "defaultSwitchboardIntegrationId": self.bot["id"]}
        await call(self.app, "PATCH", self.path, json=body)
        said = emulator.say("app", "jane", "Hi")
        self.conversation = f"conversations/{said['conversation']}"
        return self

    async def control(self) -> tuple[str | None, str | None]:
        """Return the names in control and pending."""
        shown = (await call(self.app, "GET", self.conversation))["conversation"]
        active, pending = (
            shown.get(f"{name}SwitchboardIntegration", {}).get("name")
            for name in ("active", "pending")
        )
        return active, pending

    async def do(self, action: str, target: str | None = None, status: int = 200) -> Any:
        body = {} if target is None else {"switchboardIntegration": target}
        return await call(
            self.app, "POST", f"{self.conversation}/{action}Control", status, json=body
        )


@pytest.fixture
async def two(emulator: Emulator, app: httpx.AsyncClient) -> Two:
    return await Two(app).begin(emulator)


class TestControl:
    async def test_the_default_is_in_control_at_first(self, two: Two) -> None:
        """A conversation shows id, name and integration of the one in control."""
        shown = (await call(two.app, "GET", two.conversation))["conversation"]

        assert shown["activeSwitchboardIntegration"] == {
            name: two.bot[name] for name in ("id", "name", "integrationId", "integrationType")
        }
        assert "pendingSwitchboardIntegration" not in shown

    @pytest.mark.parametrize("by", ["id", "name", "next"])
    async def test_passing_by_any_name(self, two: Two, by: str) -> None:
        """Control goes to an id, a name, or the next; a second time nothing changes."""
        target = two.human.get(by, "next")
        await two.do("offer", two.human["id"])

        assert await two.do("pass", target) == {}

        assert await two.control() == ("human", None)

    async def test_offering_and_accepting(self, two: Two) -> None:
        """An offer is pending until accepted; the next offer takes its place."""
        third = await responder(two.app, two.path, "third")
        await two.do("offer", third["id"])
        await two.do("offer", "next")
        assert await two.control() == ("bot", "human")

        assert await two.do("accept") == {}

        assert await two.control() == ("human", None)
        await two.do("accept", status=403)

    async def test_releasing_until_the_next_message(self, two: Two, emulator: Emulator) -> None:
        """Without anybody in control, the next message gives control to the default."""
        await two.do("pass", "human")

        assert await two.do("release") == {}

        assert await two.control() == (None, None)
        await two.do("release", status=403)
        emulator.say("app", "jane", "Hi")
        assert await two.control() == ("bot", None)

    async def test_what_is_refused(self, two: Two) -> None:
        """An unknown target is a 404, an ambiguous one and the one in control a 400."""
        url = f"{two.conversation}/passControl"
        unknown = await refused(two.app, "POST", url, 404, json={"switchboardIntegration": "x"})
        assert unknown == MISSING
        await two.do("pass", "custom", status=400)
        await two.do("offer", "bot", status=400)
        await two.do("pass", "human")
        await two.do("pass", "next", status=404)  # human has no next
        await refused(two.app, "POST", url, json={})
        large = {"switchboardIntegration": "bot", "metadata": {"a": "x" * 4096}}
        await refused(two.app, "POST", url, json=large)
        for action in ("pass", "offer", "accept", "release"):
            lost = f"conversations/x/{action}Control"
            body = {"switchboardIntegration": "bot"}
            code, _ = await refused(two.app, "POST", lost, 404, json=body)
            assert code == "conversation_not_found"
        await call(two.app, "PATCH", two.path, json={"enabled": False})
        disabled = await refused(two.app, "POST", url, 404, json={"switchboardIntegration": "bot"})
        await two.do("release")
        body = {"author": {"type": "business"}, "content": {"type": "text", "text": "x"}}
        await call(two.app, "POST", f"{two.conversation}/messages", 201, json=body)
        assert await two.control() == (None, None)
        assert disabled == ("switchboard_not_found", "Switchboard not found")

    async def test_a_body_is_optional_without_a_target(self, two: Two) -> None:
        """Accept and release go without a body."""
        await two.do("offer", "human")
        for action in ("accept", "release"):
            await call(two.app, "POST", f"{two.conversation}/{action}Control")

    async def test_a_key_of_an_integration_acts_for_the_integration(
        self, two: Two, emulator: Emulator
    ) -> None:
        """The key of another integration can neither accept nor release; its own key can."""
        clients: dict[str, httpx.AsyncClient] = {}
        for one in (two.bot, two.human):
            url = f"integrations/{one['integrationId']}/keys"
            key = (await call(two.app, "POST", url, 201, json={"displayName": "k"}))["key"]
            clients[one["name"]] = client = calling(emulator)
            client.auth = (key["id"], key["secret"])
            del client.headers["authorization"]
        async with clients["bot"] as bot, clients["human"] as human:
            for action, wrong, right in (("release", human, bot), ("accept", bot, human)):
                await two.do("offer", "human")
                url = f"{two.conversation}/{action}Control"
                assert await refused(wrong, "POST", url, 403) == ("forbidden", "Forbidden")
                await call(right, "POST", url)
            for client, mine in ((bot, two.bot), (human, two.human)):
                shown = await call(client, "GET", "integrations/me")
                assert shown["integration"]["id"] == mine["integrationId"]
        await refused(two.app, "GET", "integrations/me", 404)


class TestSwitchboards:
    async def test_an_app_has_one(self, app: httpx.AsyncClient) -> None:
        """A second switchboard is a 400, until the first is deleted."""
        path = await switchboard(app)
        second = await refused(app, "POST", "switchboards")
        [listed] = (await call(app, "GET", "switchboards"))["switchboards"]

        assert await call(app, "DELETE", path) == {}

        assert second == ("bad_request", "Only one switchboard can be created per app")
        assert path.endswith(listed["id"])
        assert await call(app, "GET", "switchboards") == {"switchboards": []}
        await switchboard(app)

    async def test_enabling_needs_a_default(self, app: httpx.AsyncClient) -> None:
        """An enabled switchboard has a default switchboard integration that is there."""
        path = await switchboard(app)
        code, title = await refused(app, "PATCH", path, json={"enabled": True})
        body = {"defaultSwitchboardIntegrationId": "x"}
        lost = await refused(app, "PATCH", path, 404, json=body)
        added = await responder(app, path, "bot")
        body = {"enabled": True, "defaultSwitchboardIntegrationId": added["id"]}
        changed = await call(app, "PATCH", path, json=body)

        assert changed == {"switchboard": {"id": path.split("/")[1]} | body}
        assert lost == MISSING
        assert code == "bad_request"
        assert title == (
            "Enabled switchboard must have an associated default switchboardIntegration"
        )

    async def test_a_deleted_switchboard_controls_nothing(self, two: Two) -> None:
        """Switchboard integrations go with the switchboard; the integrations stay."""
        await call(two.app, "DELETE", two.path)

        assert await two.control() == (None, None)
        await call(two.app, "GET", f"integrations/{two.bot['integrationId']}")
        for method, path, body in (
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("GET", "/switchboardIntegrations", None),
            ("POST", "/switchboardIntegrations", {"name": "n", "integrationType": "x"}),
            ("PATCH", "/switchboardIntegrations/x", {}),
            ("DELETE", "/switchboardIntegrations/x", None),
        ):
            code, _ = await refused(two.app, method, two.path + path, 404, json=body)
            assert code == "switchboard_not_found"

    async def test_switchboard_integrations_change(self, two: Two) -> None:
        """A switchboard integration is listed, changed and deleted."""
        url = f"{two.path}/switchboardIntegrations"
        third = await responder(two.app, two.path, "third", messageHistoryCount=5)
        assert third["deliverStandbyEvents"]
        assert third["integrationType"] == "custom"
        body = {"name": "new", "messageHistoryCount": None, "integrationType": "zd:agentWorkspace"}
        changed = await call(two.app, "PATCH", f"{url}/{third['id']}", json=body)
        assert changed["switchboardIntegration"] == {
            "id": third["id"],
            "name": "new",
            "deliverStandbyEvents": True,
            "integrationType": "zd:agentWorkspace",
            "integrationId": changed["switchboardIntegration"]["integrationId"],
        }
        assert changed["switchboardIntegration"]["integrationId"] != third["integrationId"]
        both = {"integrationType": "custom", "integrationId": third["integrationId"]}
        _, title = await refused(two.app, "PATCH", f"{url}/{third['id']}", json=both)
        assert title == "should have one of integrationId and integrationType"
        same = await call(two.app, "PATCH", f"{url}/{third['id']}", json={"name": "new"})
        assert same == changed
        listed = await call(two.app, "GET", url)
        names = [one["name"] for one in listed["switchboardIntegrations"]]
        assert names == ["human", "bot", "new"]
        await call(two.app, "DELETE", f"{url}/{third['id']}")
        assert await refused(two.app, "DELETE", f"{url}/{third['id']}", 404) == MISSING
        assert await refused(two.app, "PATCH", f"{url}/x", 404, json={}) == MISSING
        for protected in (two.bot, two.human):  # the default, and its next
            refusal = await refused(two.app, "DELETE", f"{url}/{protected['id']}", 403)
            assert refusal == ("forbidden", "Forbidden")

    async def test_a_type_of_an_integration_that_is_there(self, two: Two) -> None:
        """A switchboard integration by type is of the integration of that type."""
        web = (await call(two.app, "POST", "integrations", 201, json={"type": "web"}))[
            "integration"
        ]
        body = {"name": "web", "integrationType": "web"}
        url = f"{two.path}/switchboardIntegrations"
        added = await call(two.app, "POST", url, 201, json=body)
        assert added["switchboardIntegration"]["integrationId"] == web["id"]

    async def test_bodies_that_cannot_be(self, app: httpx.AsyncClient) -> None:
        """A wrong body is a 400, a missing integration or next one a 404, the eleventh a 400."""
        path = await switchboard(app)
        url = f"{path}/switchboardIntegrations"
        mine = await integration(app)
        for body, status in (
            ({"integrationId": mine}, 400),
            ({"name": "n"}, 400),
            ({"name": "n", "integrationId": mine, "integrationType": "custom"}, 400),
            ({"name": "n", "integrationId": mine, "messageHistoryCount": 11}, 400),
            ({"name": "n" * 129, "integrationId": mine}, 400),
            ({"name": "n", "integrationId": "x"}, 404),
            ({"name": "n", "integrationId": mine, "nextSwitchboardIntegrationId": "x"}, 404),
        ):
            await refused(app, "POST", url, status, json=body)
        for number in range(10):
            await call(app, "POST", url, 201, json={"name": str(number), "integrationId": mine})
        code, title = await refused(app, "POST", url, json={"name": "n", "integrationId": mine})
        assert code == "too_many_switchboard_integrations"
        assert title == "Switchboard has reached the max number of switchboard integrations (10)"
