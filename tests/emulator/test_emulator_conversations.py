"""Conversations, participants and activities: the emulator against the specification."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.emulated import call, calling, refused
from support.size import sized

from sunshine_async.emulator import Emulator, Mishap

PERSONAL = {"type": "personal", "participants": [{"userId": "1"}]}
GROUP = {"type": "sdkGroup"}
JOE = {"userExternalId": "joe", "subscribeSDKClient": False}
REF = dict.fromkeys(("url", "bid", "key", "signature", "owner"), "x")
EVENT = {"messenger": {"payload": {"data": [{"a": 1}, {}]}}}


def filled(**options: Any) -> Emulator:
    """Return an emulator with users 1 (jane) and 2 (joe)."""
    emulator = Emulator(**options)
    emulator.add("sunshine", {"id": "1", "externalId": "jane"}, app_id="app")
    emulator.add("sunshine", {"id": "2", "externalId": "joe", "brandId": None}, app_id="app")
    return emulator


@pytest.fixture
def emulator() -> Emulator:
    return filled()


async def created(app: httpx.AsyncClient, body: Any = PERSONAL) -> dict[str, Any]:
    """Create a conversation, and return the conversation."""
    answer = await call(app, "POST", "conversations", 201, json=body)
    conversation = answer["conversation"]
    assert isinstance(conversation, dict)
    return conversation


async def participants(app: httpx.AsyncClient, conversation_id: str) -> list[dict[str, Any]]:
    answer = await call(app, "GET", f"conversations/{conversation_id}/participants")
    rows = answer["participants"]
    assert isinstance(rows, list)
    return rows


class TestConversations:
    async def test_a_conversation_comes_back_as_created(self, app: httpx.AsyncClient) -> None:
        """The first personal conversation is the default, every further one isn't."""
        more = {"displayName": "N", "description": "D", "iconUrl": "https://x.org/i.png"}

        first = await created(app, PERSONAL | more | {"metadata": {"a": 1}})
        second = await created(app)

        assert first == {
            "id": first["id"],
            "type": "personal",
            "metadata": {"a": 1},
            "isDefault": True,
            "createdAt": first["createdAt"],
            "lastUpdatedAt": first["createdAt"],
            **more,
        }
        assert not second["isDefault"]
        for one in (first, second):
            path = f"conversations/{one['id']}"
            assert await call(app, "GET", path) == {"conversation": one}
        listed = await call(app, "GET", "conversations?filter[userExternalId]=jane")
        assert listed == {"conversations": [first, second], "meta": {"hasMore": False}, "links": {}}

    async def test_a_group_takes_several_users_or_none(self, app: httpx.AsyncClient) -> None:
        """Each user of a group gets a client of the SDK where asked, once."""
        jane = {"userId": "1", "subscribeSDKClient": True}
        empty = await created(app, GROUP)
        both = await created(app, GROUP | {"participants": [jane, JOE]})
        again = await created(app, GROUP | {"participants": [jane]})

        assert await participants(app, empty["id"]) == []
        [first, second] = await participants(app, both["id"])
        assert (first["userId"], first["userExternalId"]) == ("1", "jane")
        assert [one["type"] for one in first["clientAssociations"]] == ["sdk"]
        assert second["clientAssociations"] == []
        [other] = await participants(app, again["id"])
        assert other["clientAssociations"] == first["clientAssociations"]
        clients = await call(app, "GET", "users/1/clients")
        assert [one["id"] for one in clients["clients"]] == [
            one["clientId"] for one in first["clientAssociations"]
        ]
        assert not both["isDefault"]

    async def test_an_update_changes_what_is_there(self, app: httpx.AsyncClient) -> None:
        """Metadata are merged, a null clears."""
        conversation = await created(app, PERSONAL | {"displayName": "N", "metadata": {"a": 1}})
        path = f"conversations/{conversation['id']}"

        body = {"displayName": None, "description": "D", "metadata": {"b": 2}}
        changed = await call(app, "PATCH", path, json=body)
        same = await call(app, "PATCH", path, json={})
        cleared = await call(app, "PATCH", path, json={"metadata": None})

        assert "displayName" not in changed["conversation"]
        assert changed["conversation"]["description"] == "D"
        assert changed["conversation"]["metadata"] == {"a": 1, "b": 2}
        assert same == changed
        assert cleared["conversation"]["metadata"] == {}
        code, title = await refused(app, "PATCH", path, json={"metadata": {"a": "x" * 4096}})
        assert (code, title) == ("bad_request", "metadata is limited to 4096 bytes in size")

    async def test_a_conversation_is_deleted(self, app: httpx.AsyncClient) -> None:
        """A deleted conversation is gone for its users; the default can't be deleted."""
        default, other = await created(app), await created(app)

        assert await call(app, "DELETE", f"conversations/{other['id']}") == {}

        listed = await call(app, "GET", "conversations?filter[userId]=1")
        assert listed["conversations"] == [default]
        code, title = await refused(app, "DELETE", f"conversations/{default['id']}")
        assert title == (
            f"Conversation {default['id']} cannot be deleted because it is the default."
        )
        assert code == "bad_request"

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({}, "should have required property 'type'"),
            ({"type": "group"}, "type should be one of personal, sdkGroup"),
            ({"type": "personal"}, "participants should have exactly 1 item"),
            (
                {"type": "personal", "participants": [{"userId": "1"}, {"userId": "2"}]},
                "participants should have exactly 1 item",
            ),
            (
                {"type": "personal", "participants": [{}]},
                "participants[0] should have one of userId and userExternalId",
            ),
            (
                GROUP | {"participants": [{"userId": "1"}]},
                "participants[0] should have required property 'subscribeSDKClient'",
            ),
            (GROUP | {"participants": [JOE, JOE]}, "participants should be users that differ"),
            (
                GROUP | {"participants": [JOE] * 11},
                "participants should NOT be longer than 10 items",
            ),
            (PERSONAL | {"displayName": ""}, "displayName should NOT be shorter than 1 characters"),
            (PERSONAL | {"iconUrl": "x"}, "iconUrl should be a URI"),
            (PERSONAL | {"metadata": {"a": []}}, "metadata should hold strings"),
            (PERSONAL | {"metadata": {"a": "x" * 4096}}, "metadata is limited to 4096 bytes"),
        ],
    )
    async def test_a_body_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, body: Any, says: str
    ) -> None:
        """A 400 names the field, and no conversation begins."""
        code, title = await refused(app, "POST", "conversations", json=body)
        assert code == "bad_request"
        assert title.startswith(says)
        assert (await call(app, "GET", "conversations?filter[userId]=1"))["conversations"] == []
        assert (await call(app, "GET", "users/1/clients"))["clients"] == []

    async def test_who_and_what_is_missing(self, app: httpx.AsyncClient) -> None:
        """A missing user or conversation is a 404, a missing filter a 400."""
        nobody = {"type": "personal", "participants": [{"userId": "x"}]}
        assert (await refused(app, "POST", "conversations", 404, json=nobody))[
            0
        ] == "user_not_found"
        for filters, status in (
            ("filter[userId]=x", 404),
            ("", 400),
            ("filter[userId]=1&filter[userExternalId]=jane", 400),
        ):
            await refused(app, "GET", f"conversations?{filters}", status)
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {}),
            ("DELETE", "", None),
            ("GET", "/participants", None),
            ("POST", "/join", JOE),
            ("POST", "/leave", JOE),
            ("POST", "/activity", {"author": {"type": "business"}, "type": "typing:start"}),
            ("POST", "/download", {"userId": "1"}),
            ("POST", "/conversionEvents", EVENT),
        ):
            code, _ = await refused(app, method, f"conversations/x{path}", 404, json=body)
            assert code == "conversation_not_found"

    async def test_references_and_events(self, app: httpx.AsyncClient) -> None:
        """A reference is checked, and events are counted."""
        path = f"conversations/{(await created(app))['id']}"
        reference = {"userId": "1", "apple": {"interactiveDataRef": REF}}

        assert await call(app, "POST", f"{path}/download", json=reference) == {}
        events = await call(app, "POST", f"{path}/conversionEvents", json=EVENT)

        assert events["conversionEvents"]["eventsReceived"] == 2
        for body in ({}, {"userId": "1", "apple": {"interactiveDataRef": {"url": "x"}}}):
            await refused(app, "POST", f"{path}/download", json=body)
        for body in ({}, EVENT | {"whatsapp": EVENT["messenger"]}, {"messenger": {}}):
            await refused(app, "POST", f"{path}/conversionEvents", json=body)


class TestParticipants:
    async def test_users_join_and_leave(self, app: httpx.AsyncClient) -> None:
        """A user joins once, however often, and leaves by any of three ids."""
        conversation = await created(app, GROUP)
        path = f"conversations/{conversation['id']}"
        for key in ("userId", "userExternalId", "participantId"):
            first = await call(app, "POST", f"{path}/join", 201, json=JOE)
            again = await call(app, "POST", f"{path}/join", 201, json=JOE)
            assert first == again
            assert first["participant"] == {
                "id": first["participant"]["id"],
                "userId": "2",
                "userExternalId": "joe",
                "unreadCount": 0,
                "clientAssociations": [],
            }
            listed = await call(app, "GET", "conversations?filter[userId]=2")
            assert [one["id"] for one in listed["conversations"]] == [conversation["id"]]
            ids = first["participant"] | {"participantId": first["participant"]["id"]}
            assert await call(app, "POST", f"{path}/leave", json={key: ids[key]}) == {}
            assert await participants(app, conversation["id"]) == []
            gone = await refused(app, "POST", f"{path}/leave", 404, json={key: ids[key]})
            assert gone == ("not_found", "User is not a member of the conversation")
        listed = await call(app, "GET", "conversations?filter[userId]=2")
        assert listed["conversations"] == []

    async def test_what_is_refused(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """A personal conversation, an eleventh user, and a body with two ids are a 400."""
        personal = f"conversations/{(await created(app))['id']}"
        group = f"conversations/{(await created(app, GROUP))['id']}"
        for number in range(10):
            emulator.add("sunshine", {"id": f"u{number}"}, app_id="app")
            body = {"userId": f"u{number}", "subscribeSDKClient": False}
            await call(app, "POST", f"{group}/join", 201, json=body)

        subscribing = JOE | {"subscribeSDKClient": True}
        full = await refused(app, "POST", f"{group}/join", json=subscribing)
        assert full == ("bad_request", "Too many participants")
        assert (await call(app, "GET", "users/joe/clients"))["clients"] == []
        for path in (f"{personal}/join", f"{personal}/leave"):
            assert (await refused(app, "POST", path, json=JOE))[1] == (
                "conversation should be of the type sdkGroup"
            )
        await refused(app, "POST", f"{group}/join", json={"userId": "2"})
        two = {"participantId": "x", "userId": "2"}
        await refused(app, "POST", f"{group}/leave", json=two)
        await refused(app, "POST", f"{group}/leave", json={})
        pages = await call(app, "GET", f"{group}/participants?page[size]=4")
        assert len(pages["participants"]) == 4


class TestActivities:
    async def test_reading(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """Reading sets the time of a user or of the business; typing changes nothing."""
        said = emulator.say("app", "jane", "Hi")
        path = f"conversations/{said['conversation']}"
        hello = {"author": {"type": "business"}, "content": {"type": "text", "text": "x"}}
        await call(app, "POST", f"{path}/messages", 201, json=hello)
        before = await call(app, "GET", path)

        for kind in ("typing:start", "typing:stop"):
            body = {"author": {"type": "business"}, "type": kind}
            assert await call(app, "POST", f"{path}/activity", json=body) == {}
        assert await call(app, "GET", path) == before
        [unread] = await participants(app, said["conversation"])
        user = {"type": "user", "userId": "1"}
        for author in (user, {"type": "business"}):
            body = {"author": author, "type": "conversation:read"}
            assert await call(app, "POST", f"{path}/activity", json=body) == {}

        [read] = await participants(app, said["conversation"])
        assert (unread["unreadCount"], read["unreadCount"]) == (1, 0)
        assert "businessLastRead" in (await call(app, "GET", path))["conversation"]
        assert emulator.ledger()["sunshine"]["effects"]["activity"] == 4
        typing = {"author": user, "type": "typing:start"}
        _, title = await refused(app, "POST", f"{path}/activity", json=typing)
        assert title == "type should be conversation:read for an author of the type user"
        unknown = {"author": user, "type": "x"}
        await refused(app, "POST", f"{path}/activity", json=unknown)


class TestPages:
    @settings(max_examples=sized(60, 8), deadline=None)
    @given(count=st.integers(0, 30), size=st.integers(1, 12), forwards=st.booleans())
    def test_pages_are_those_of_a_list(self, count: int, size: int, forwards: bool) -> None:  # noqa: FBT001
        """Along the cursors or the links, in both directions, each conversation comes once."""
        emulator = filled()

        async def scenario() -> None:
            async with calling(emulator) as app:
                rows = [(await created(app))["id"] for _ in range(count)]
                query = {"filter[userId]": "1", "page[size]": str(size)}
                if not forwards:
                    query["page[before]"] = "f" * 24
                page = await call(app, "GET", "conversations", params=query)
                found: list[str] = []
                direction, link = ("after", "next") if forwards else ("before", "prev")
                while True:
                    ids = [row["id"] for row in page["conversations"]]
                    assert len(ids) <= size
                    found = found + ids if forwards else ids + found
                    more = page["meta"]["hasMore"]
                    assert (link in page["links"]) is more
                    assert (f"{direction}Cursor" in page["meta"]) is more
                    if not more:
                        break
                    page = await call(app, "GET", page["links"][link])
                assert found == rows

        anyio.run(scenario)

    async def test_a_group_that_was_joined_late_is_missed_by_no_page(
        self, app: httpx.AsyncClient
    ) -> None:
        """Conversations come in the order of creation, also where each page is deleted at once."""
        await created(app)  # the default, which stays
        group = (await created(app, GROUP))["id"]
        rows = [group, *[(await created(app))["id"] for _ in range(2)]]
        jane = {"userId": "1", "subscribeSDKClient": False}
        await call(app, "POST", f"conversations/{group}/join", 201, json=jane)
        query = {"filter[userId]": "1", "page[size]": "1"}
        page = await call(app, "GET", "conversations", params=query)
        found: list[str] = []
        while page["meta"]["hasMore"]:
            page = await call(app, "GET", page["links"]["next"])
            found += [row["id"] for row in page["conversations"]]
            await call(app, "DELETE", f"conversations/{found[-1]}")

        assert found == rows

    @pytest.mark.parametrize("size", ["0", "101", "-1", "x", "", "1" * 5000, "٣"])
    async def test_a_size_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, size: str
    ) -> None:
        """A page has 1 to 100 rows."""
        query = {"filter[userId]": "1", "page[size]": size}
        refusal = await refused(app, "GET", "conversations", params=query)
        assert refusal == ("bad_request", "Invalid page query parameters")


class TestOneStore:
    @pytest.mark.parametrize("url", ["users/1", "http://emulator/v1.1/apps/app/appusers/jane"])
    async def test_a_deleted_user_takes_the_conversations_along(
        self, emulator: Emulator, app: httpx.AsyncClient, url: str
    ) -> None:
        """By either API, personal conversations and lonely groups go with all messages."""
        said = emulator.say("app", "jane", "Hi")
        jane = {"userId": "1", "subscribeSDKClient": False}
        lonely = await created(app, GROUP | {"participants": [jane]})
        shared = await created(app, GROUP | {"participants": [jane, JOE]})

        await call(app, "DELETE", url)

        for gone in (said["conversation"], lonely["id"]):
            await refused(app, "GET", f"conversations/{gone}", 404)
            await refused(app, "GET", f"conversations/{gone}/messages", 404)
        [left] = await participants(app, shared["id"])
        assert left["userId"] == "2"
        assert emulator.ledger()["sunshine"]["messages"] == 0

    async def test_a_merge_moves_the_conversations(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """The survivor has the conversations of both, one default, and is once in a group."""
        jane = {"userId": "1", "subscribeSDKClient": False}
        mine = emulator.say("app", "jane", "Hi")["conversation"]
        theirs = emulator.say("app", "joe", "Ho")["conversation"]
        group = await created(app, GROUP | {"participants": [jane, JOE]})
        merge = {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}}

        await call(app, "POST", "http://emulator/v1.1/apps/app/appusers/merge", json=merge)

        listed = (await call(app, "GET", "conversations?filter[userId]=1"))["conversations"]
        assert {one["id"]: one["isDefault"] for one in listed} == {
            mine: True,
            theirs: False,
            group["id"]: False,
        }
        for conversation in (mine, theirs, group["id"]):
            assert [one["userId"] for one in await participants(app, conversation)] == ["1"]

    async def test_a_default_conversation_stays_if_the_survivor_has_none(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """The default conversation of the discarded user becomes the survivor's."""
        theirs = emulator.say("app", "joe", "Ho")["conversation"]
        merge = {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}}

        await call(app, "POST", "http://emulator/v1.1/apps/app/appusers/merge", json=merge)

        assert emulator.say("app", "1", "Hi")["conversation"] == theirs

    async def test_a_conversation_of_v1_1_is_one_of_v2(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """``conversationStarted`` is a personal conversation, which is the default."""
        emulator.add("smooch", {"_id": "3", "conversationStarted": True}, app_id="app")

        [listed] = (await call(app, "GET", "conversations?filter[userId]=3"))["conversations"]

        assert listed["isDefault"]
        assert emulator.say("app", "3", "Hi")["conversation"] == listed["id"]

    async def test_the_state_file_keeps_all_of_it(self, tmp_path: Path) -> None:
        """The next emulator has conversations, messages, participants and counts."""
        first = filled(state=tmp_path / "state")
        async with calling(first) as app:
            kept = await created(app, GROUP | {"participants": [JOE]})
            gone = await created(app)
            for conversation in (kept, gone):
                path = f"conversations/{conversation['id']}/messages"
                author = {"type": "business"}
                for number in range(3):
                    body = {"author": author, "content": {"type": "text", "text": str(number)}}
                    answer = await call(app, "POST", path, 201, json=body)
            await call(app, "DELETE", path)
            await call(app, "DELETE", f"{path.replace(gone['id'], kept['id'])}/x", 404)
            await call(app, "DELETE", "users/1")
            listed = await call(app, "GET", f"conversations/{kept['id']}/messages")
            shown = await participants(app, kept["id"])
            [removed, *_] = listed["messages"]
            await call(app, "DELETE", f"conversations/{kept['id']}/messages/{removed['id']}")
        first.close()

        second = Emulator(state=tmp_path / "state")
        async with calling(second) as app:
            again = await call(app, "GET", f"conversations/{kept['id']}/messages")
            assert again["messages"] == listed["messages"][1:]
            assert await participants(app, kept["id"]) == shown
            await refused(app, "GET", f"conversations/{gone['id']}", 404)
            assert answer["messages"][0]["id"] not in {row["id"] for row in again["messages"]}
        assert second.ledger()["sunshine"] == first.ledger()["sunshine"]
        second.reset()
        assert second.ledger()["sunshine"]["messages"] == 0
        second.close()

    @pytest.mark.parametrize(
        ("mishap", "stored"),
        [(Mishap(status=503), 0), (Mishap(status=503, when="after"), 1), (Mishap(cut=True), 1)],
    )
    async def test_faults_hit_every_operation(
        self, emulator: Emulator, app: httpx.AsyncClient, mishap: Mishap, stored: int
    ) -> None:
        """A fault before the effect stores no message, a fault after the effect stores one."""
        path = f"conversations/{(await created(app))['id']}/messages"
        emulator.faults.append(mishap)
        body = {"author": {"type": "business"}, "content": {"type": "text", "text": "x"}}

        try:
            assert (await app.post(path, json=body)).status_code == 503
        except httpx.RemoteProtocolError:
            assert mishap.cut

        assert emulator.ledger()["sunshine"]["messages"] == stored
        assert emulator.ledger()["sunshine"]["effects"]["message"] == stored
