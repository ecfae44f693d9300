"""Messages, attachments and what a user writes: the emulator against the specification."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.emulated import call, calling, refused
from support.size import sized

from sunshine_async.emulator import Emulator
from sunshine_async.emulator.contents import ACTIONS, CONTENTS

BUSINESS = {"type": "business"}
HELLO = {"author": BUSINESS, "content": {"type": "text", "text": "Hello"}}
URL = "https://x.org/a.png"
LINK = {"type": "link", "text": "t", "uri": URL}
REPLY = {"type": "reply", "text": "t", "payload": "p"}
ITEM = {"title": "t", "actions": [LINK]}
FIELD = {"type": "text", "name": "n", "label": "l"}
OPEN = {"type": "webview", "text": "t", "uri": URL, "fallback": URL, "openOnReceive": True}
ACTION_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "buy": {"text": "t", "amount": 100, "currency": "USD"},
    "link": {"text": "t", "uri": URL, "metadata": {"a": 1}},
    "locationRequest": {"text": "t"},
    "postback": {"text": "t", "payload": "p"},
    "reply": {"text": "t", "payload": "p", "iconUrl": URL},
    "webview": {"text": "t", "uri": URL, "fallback": URL, "size": "tall"},
}
CONTENT_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "text": {"text": "t", "actions": [REPLY], "payload": "p", "blockChatInput": True},
    "carousel": {"items": [ITEM], "displaySettings": {"imageAspectRatio": "square"}},
    "file": {"mediaUrl": URL, "altText": "a", "text": "t"},
    "form": {"fields": [FIELD | {"minSize": 1, "options": [{"name": "n", "label": "l"}]}]},
    "formResponse": {"fields": [FIELD | {"text": "x"}]},
    "image": {"mediaUrl": URL, "altText": "a", "actions": [LINK]},
    "list": {"items": [ITEM, ITEM], "actions": [LINK]},
    "location": {"coordinates": {"lat": 45.5, "long": -73}, "location": {"name": "n"}},
    "template": {"template": {"any": ["thing"]}},
}


@pytest.fixture
def emulator() -> Emulator:
    emulator = Emulator(max_messages=3)
    emulator.add("sunshine", {"id": "1", "externalId": "jane"}, app_id="app")
    emulator.add("sunshine", {"id": "2", "externalId": "joe"}, app_id="app")
    return emulator


@pytest.fixture
async def path(app: httpx.AsyncClient) -> str:
    """Return the path of the messages of a conversation of Jane."""
    body = {"type": "personal", "participants": [{"userId": "1"}]}
    answer = await call(app, "POST", "conversations", 201, json=body)
    return f"conversations/{answer['conversation']['id']}/messages"


async def post(app: httpx.AsyncClient, path: str, **changes: Any) -> dict[str, Any]:
    """Post a message of the business with *changes*, and return the message."""
    answer = await call(app, "POST", path, 201, json=HELLO | changes)
    [message] = answer["messages"]
    assert isinstance(message, dict)
    return message


class TestPost:
    async def test_a_message_of_the_business(self, app: httpx.AsyncClient, path: str) -> None:
        """The answer is the message with id, time and source; the list has the same."""
        author = BUSINESS | {"displayName": "Bot", "avatarUrl": URL, "subtypes": ["AI"]}

        message = await post(app, path, author=author, metadata={"a": 1, "b": True, "c": None})

        assert message == {
            "id": message["id"],
            "received": message["received"],
            "author": author,
            "content": HELLO["content"],
            "source": {"type": "api:conversations"},
            "metadata": {"a": 1, "b": True},
        }
        assert len(message["id"]) == 24
        listed = await call(app, "GET", path)
        assert listed == {"messages": [message], "meta": {"hasMore": False}, "links": {}}

    @pytest.mark.parametrize("author", [{"userId": "1"}, {"userExternalId": "jane"}])
    async def test_a_message_of_a_user(
        self, emulator: Emulator, app: httpx.AsyncClient, path: str, author: dict[str, str]
    ) -> None:
        """A user is named by one of two ids; the answer has the id, and the name of the profile."""
        await app.patch("users/1", json={"profile": {"givenName": "Jane", "surname": "Doe"}})

        message = await post(app, path, author={"type": "user"} | author)

        assert message["author"] == {"type": "user", "userId": "1", "displayName": "Jane Doe"}
        assert emulator.ledger()["sunshine"]["effects"]["message"] == 1
        assert emulator.ledger()["sunshine"]["messages"] == 1

    @pytest.mark.parametrize("kind", [kind for kind in CONTENTS if kind != "formResponse"])
    async def test_every_content_comes_back_as_sent(
        self, app: httpx.AsyncClient, path: str, kind: str
    ) -> None:
        """Eight of the nine kinds are stored whole; without a required field it is a 400."""
        content = {"type": kind} | CONTENT_EXAMPLES[kind]

        message = await post(app, path, content=content | {"unknown": 1})

        assert message["content"] == content
        for name in CONTENTS[kind].required:
            rest = {key: value for key, value in content.items() if key != name}
            body = HELLO | {"content": rest}
            _, title = await refused(app, "POST", path, json=body)
            assert title == f"content should have required property '{name}'"

    @pytest.mark.parametrize("kind", ACTIONS)
    async def test_every_action_comes_back_as_sent(
        self, app: httpx.AsyncClient, path: str, kind: str
    ) -> None:
        """Each of the six actions is stored whole; an item takes all but two."""
        action = {"type": kind} | ACTION_EXAMPLES[kind]

        message = await post(app, path, content={"type": "text", "actions": [action]})

        assert message["content"]["actions"] == [action]
        items = {"type": "list", "items": [ITEM | {"actions": [action]}]}
        body = HELLO | {"content": items}
        if kind in {"reply", "locationRequest"}:
            _, title = await refused(app, "POST", path, json=body)
            assert title.startswith("content.items[0].actions[0].type should be one of buy, link")
        else:
            await call(app, "POST", path, 201, json=body)

    async def test_texts_in_other_formats(self, app: httpx.AsyncClient, path: str) -> None:
        """A text in HTML or Markdown alone stands for the text; Markdown doesn't come back."""
        html = await post(app, path, content={"type": "text", "htmlText": "<b>h</b>"})
        markdown = await post(app, path, content={"type": "text", "markdownText": "*m*"})

        assert html["content"] == {"type": "text", "text": "<b>h</b>", "htmlText": "<b>h</b>"}
        assert markdown["content"] == {"type": "text", "text": "*m*"}

    async def test_a_native_schema_is_not_checked(self, app: httpx.AsyncClient, path: str) -> None:
        """Content with a schema of its own is stored as it is."""
        content = {"type": "formResponse", "items": 1, "mediaUrl": {"a": [1]}}

        message = await post(app, path, content=content, schema="whatsapp")

        assert message["content"] == content

    async def test_an_override_is_accepted(self, app: httpx.AsyncClient, path: str) -> None:
        """An override of a channel needs a payload that is an object."""
        message = await post(app, path, override={"line": {"payload": {"a": [1]}}})

        assert "override" not in message
        body = HELLO | {"override": {"line": {"payload": 1}}}
        _, title = await refused(app, "POST", path, json=body)
        assert title == "override.line.payload should be an object"
        apple = {"payload": {}, "withCapabilities": ["LIST", "AUTH2"]}
        await post(app, path, override={"apple": apple})
        body = HELLO | {"override": {"apple": apple | {"withCapabilities": ["list"]}}}
        _, title = await refused(app, "POST", path, json=body)
        assert title.startswith("override.apple.withCapabilities[0] should be one of LIST, TIME")

    async def test_a_form_response_quotes_the_form(
        self, emulator: Emulator, app: httpx.AsyncClient, path: str
    ) -> None:
        """The quoted message of a response is the form, if the conversation has the form."""
        form = await post(app, path, content={"type": "form", "fields": [FIELD]})
        for quoted in (form["id"], "x"):
            fields = [FIELD | {"quotedMessageId": quoted}]
            emulator.say("app", "jane", content={"type": "formResponse", "fields": fields})

        [_, response, other] = (await call(app, "GET", path))["messages"]

        assert response["quotedMessage"] == {"type": "message", "message": form}
        assert response["content"]["fields"] == [FIELD]
        assert "quotedMessage" not in other

    async def test_a_form_response_is_a_text_too(
        self, emulator: Emulator, app: httpx.AsyncClient, path: str
    ) -> None:
        """The text has a line for each field: label and value; of a choice, the options' labels."""
        options = [{"name": "p", "label": "Pizza"}, {"name": "t", "label": "Tacos"}]
        fields = [
            {"type": "text", "name": "a", "label": "Your name?", "text": "Jane"},
            {"type": "email", "name": "b", "label": "E-mail", "email": "jane@example.com"},
            {"type": "select", "name": "c", "label": "Food", "select": options},
            {"type": "text", "name": "d", "label": "Note"},
        ]
        emulator.say("app", "jane", content={"type": "formResponse", "fields": fields})

        [message] = (await call(app, "GET", path))["messages"]

        assert message["content"] == {
            "type": "formResponse",
            "fields": fields,
            "textFallback": "Your name?: Jane\nE-mail: jane@example.com\nFood: Pizza, Tacos\nNote: ",
        }

    async def test_a_medium_has_the_name_of_the_file(
        self, app: httpx.AsyncClient, path: str
    ) -> None:
        """The file's name is the description of a file, an image and an item, unless given."""
        url = "https://x.org/a/caf%C3%A9.pdf?b=c/d"
        item = ITEM | {"mediaUrl": url}

        file = await post(app, path, content={"type": "file", "mediaUrl": url})
        items = await post(
            app, path, content={"type": "list", "items": [item, ITEM, item | {"altText": "A"}]}
        )
        bare = await post(app, path, content={"type": "image", "mediaUrl": "https://[x"})

        assert file["content"]["altText"] == "café.pdf"
        assert [one.get("altText") for one in items["content"]["items"]] == ["café.pdf", None, "A"]
        assert "altText" not in bare["content"]

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (
                {"type": "text", "htmlText": "h", "markdownText": "m"},
                "content should have one of htmlText and markdownText",
            ),
            (
                {"type": "text", "text": "t", "actions": [OPEN, OPEN]},
                "content should have one action with openOnReceive",
            ),
            (
                {"type": "carousel", "items": [ITEM | {"actions": [OPEN]}] * 2},
                "content should have one action with openOnReceive",
            ),
            (
                {
                    "type": "form",
                    "fields": [FIELD | {"options": [{"name": "n", "label": "l"}] * 2}],
                },
                "content.fields should have options with names that differ",
            ),
            (
                {"type": "formResponse", "fields": [FIELD]},
                "content of the type formResponse can't be sent: only a user responds to a form",
            ),
        ],
    )
    async def test_rules_of_the_text_are_kept(
        self, app: httpx.AsyncClient, path: str, content: Any, says: str
    ) -> None:
        """Content against a rule that only the specification's text has is a 400."""
        problem = await refused(app, "POST", path, json=HELLO | {"content": content})
        assert problem == ("bad_request", says)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({"author": BUSINESS}, "should have required property 'content'"),
            ({"content": HELLO["content"]}, "should have required property 'author'"),
            (HELLO | {"author": {}}, "author should have required property 'type'"),
            (HELLO | {"author": {"type": "bot"}}, "author.type should be one of business, user"),
            (
                HELLO | {"author": {"type": "user"}},
                "author should have one of userId and userExternalId",
            ),
            (
                HELLO | {"author": {"type": "user", "userId": "1", "userExternalId": "jane"}},
                "author should have one of userId and userExternalId",
            ),
            (
                HELLO | {"author": BUSINESS | {"subtypes": ["AI", "AI"]}},
                "author.subtypes should NOT be longer than 1 items",
            ),
            (
                HELLO | {"author": {"type": "user", "userExternalId": "jane", "brandId": ""}},
                "author.brandId should NOT be shorter than 1 characters",
            ),
            (HELLO | {"content": {}}, "content should have required property 'type'"),
            (
                HELLO | {"content": {"type": "song"}},
                f"content.type should be one of {', '.join(CONTENTS)}",
            ),
            (
                HELLO | {"content": {"type": "text", "text": ""}},
                "content should have required property 'text'",
            ),
            (
                HELLO | {"content": {"type": "text", "text": "x" * 4097}},
                "content.text should NOT be longer than 4096 characters",
            ),
            (
                HELLO | {"content": {"type": "carousel", "items": []}},
                "content.items should NOT be shorter than 1 items",
            ),
            (
                HELLO | {"content": {"type": "list", "items": [ITEM] * 11}},
                "content.items should NOT be longer than 10 items",
            ),
            (
                HELLO | {"content": {"type": "image", "mediaUrl": "x"}},
                "content.mediaUrl should be a URI",
            ),
            (
                HELLO | {"content": {"type": "form", "fields": [FIELD, FIELD]}},
                "content.fields should have names that differ",
            ),
            (
                HELLO | {"content": {"type": "form", "fields": [FIELD | {"minSize": 0}]}},
                "content.fields[0].minSize should be >= 1",
            ),
            (
                HELLO | {"content": {"type": "form", "fields": [FIELD | {"maxSize": 257}]}},
                "content.fields[0].maxSize should be <= 256",
            ),
            (
                HELLO | {"metadata": {"a": {"b": 1}}},
                "metadata should hold strings, numbers and booleans only",
            ),
            (HELLO | {"metadata": {"a": "x" * 4096}}, "metadata is limited to 4096 bytes in size"),
            (
                HELLO | {"destination": {}},
                "destination should have one of integrationId and integrationType",
            ),
            (
                HELLO | {"destination": {"integrationType": "line"}},
                "destination.integrationType should be of a client of the user",
            ),
            (
                HELLO | {"destination": {"integrationId": "x"}},
                "destination.integrationId should be of a client of the user",
            ),
            (
                HELLO
                | {"author": {"type": "user", "userId": "1"}}
                | {"destination": {"integrationType": "line"}},
                "destination is for messages of the business in personal conversations",
            ),
        ],
    )
    async def test_a_body_that_cannot_be_is_refused(
        self,
        emulator: Emulator,
        app: httpx.AsyncClient,
        path: str,
        body: dict[str, Any],
        says: str,
    ) -> None:
        """An invalid field is a 400 that names the field, and stores nothing."""
        assert await refused(app, "POST", path, json=body) == ("bad_request", says)
        assert emulator.ledger()["sunshine"]["messages"] == 0

    async def test_destinations_that_are_reached(self) -> None:
        """A silent message goes nowhere; others go to the client of a participant."""
        emulator = Emulator()
        line = {"platform": "line", "integrationId": "line-1"}
        emulator.add("smooch", {"_id": "1", "clients": [line]}, app_id="app")
        conversation = emulator.say("app", "1", "Hi")["conversation"]
        async with calling(emulator) as app:
            for destination in (
                {"integrationType": "none"},
                {"integrationType": "line"},
                {"integrationId": "line-1"},
            ):
                await post(app, f"conversations/{conversation}/messages", destination=destination)

    async def test_who_is_missing(self, app: httpx.AsyncClient, path: str) -> None:
        """A missing conversation or user is a 404, and so is a user of other conversations."""
        lost = await refused(app, "POST", "conversations/x/messages", 404, json=HELLO)
        nobody = HELLO | {"author": {"type": "user", "userId": "x"}}
        missing = await refused(app, "POST", path, 404, json=nobody)
        joe = HELLO | {"author": {"type": "user", "userExternalId": "joe"}}
        elsewhere = await refused(app, "POST", path, 404, json=joe)

        assert lost == ("conversation_not_found", "Conversation not found")
        assert missing == ("user_not_found", "User not found")
        assert elsewhere == ("not_found", "User is not a member of the conversation")

    async def test_a_full_conversation_is_locked(
        self, emulator: Emulator, app: httpx.AsyncClient, path: str
    ) -> None:
        """At the limit a message is a 423, until all messages are deleted."""
        for _ in range(3):
            await post(app, path)

        locked = await refused(app, "POST", path, 423, json=HELLO)
        with pytest.raises(ValueError, match="Message limit of 3 per conversation reached"):
            emulator.say("app", "jane", "Hi")
        assert await call(app, "DELETE", path) == {}
        await post(app, path)

        assert locked == ("locked", "Message limit of 3 per conversation reached.")
        effects = emulator.ledger()["sunshine"]["effects"]
        assert (effects["message"], effects["delete_all_messages"]) == (4, 1)

    async def test_reading_and_writing_count_unread_messages(
        self, app: httpx.AsyncClient, path: str
    ) -> None:
        """A message of the business is unread by the user, until the user writes."""
        participants = path.replace("messages", "participants")
        await post(app, path)
        await post(app, path)
        [unread] = (await call(app, "GET", participants))["participants"]
        message = await post(app, path, author={"type": "user", "userId": "1"})
        [read] = (await call(app, "GET", participants))["participants"]
        shown = (await call(app, "GET", path.removesuffix("/messages")))["conversation"]

        assert (unread["unreadCount"], read["unreadCount"]) == (2, 0)
        assert read["lastRead"] == message["received"] == shown["lastUpdatedAt"]

    async def test_a_message_is_deleted(self, app: httpx.AsyncClient, path: str) -> None:
        """A deleted message is gone; a second delete is a 404."""
        message = await post(app, path)
        kept = await post(app, path)

        assert await call(app, "DELETE", f"{path}/{message['id']}") == {}

        assert (await call(app, "GET", path))["messages"] == [kept]
        assert await refused(app, "DELETE", f"{path}/{message['id']}", 404) == (
            "not_found",
            "Resource not found",
        )
        for method, expected in {"GET": "not_found", "DELETE": "conversation_not_found"}.items():
            code, _ = await refused(app, method, "conversations/x/messages", 404)
            assert code == expected  # as in the specification


class Say(NamedTuple):
    """The user writes *count* messages."""

    count: int


class Delete(NamedTuple):
    """The message at a share of the list is deleted."""

    place: float


class Page(NamedTuple):
    """A page is asked for, from the message at a share of all that ever were, deleted or not."""

    direction: str
    place: float


HISTORIES = st.lists(
    st.builds(Say, st.integers(1, 130))
    | st.builds(Delete, st.floats(0, 0.99))
    | st.builds(Page, st.sampled_from(["before", "after"]), st.floats(0, 0.99))
    | st.just("delete all")
    | st.just("walk"),
    max_size=12,
)


async def check_page(
    app: httpx.AsyncClient, path: str, model: list[str], ever: list[str], asked: Page
) -> None:
    """Compare the page before or after a message with the slice of the *model*."""
    direction, at = asked.direction, int(asked.place * len(ever))
    page = await call(app, "GET", path, params={f"page[{direction}]": ever[at]})
    older = [one for one in model if ever.index(one) < at]
    newer = [one for one in model if ever.index(one) > at]
    wanted = older[-100:] if direction == "before" else newer[:100]
    assert [row["id"] for row in page["messages"]] == wanted
    assert page["meta"]["hasMore"] is (len(older if direction == "before" else newer) > 100)


async def walk(app: httpx.AsyncClient, path: str) -> list[str]:
    """Return all messages along the cursors, backwards, and check the way forwards again."""
    page = await call(app, "GET", path)
    back = [row["id"] for row in page["messages"]]
    while page["meta"]["hasMore"]:
        assert len(page["messages"]) == 100
        before = page["meta"]["beforeCursor"]
        page = await call(app, "GET", path, params={"page[before]": before})
        back = [row["id"] for row in page["messages"]] + back
    forth = [row["id"] for row in page["messages"]]
    while "next" in page["links"]:
        page = await call(app, "GET", page["links"]["next"])
        forth += [row["id"] for row in page["messages"]]
    assert forth == back
    return back


class TestPages:
    @settings(max_examples=sized(80, 10), deadline=None)
    @given(history=HISTORIES)
    def test_pages_are_those_of_a_list(self, history: list[Any]) -> None:
        """After any history, pages and walks along the cursors are those of a plain list."""
        emulator = Emulator()
        emulator.add("sunshine", {"id": "1"}, app_id="app")
        path = f"conversations/{emulator.say('app', '1', 'first')['conversation']}/messages"

        async def scenario() -> None:
            async with calling(emulator) as app:
                ever = [row["id"] for row in (await call(app, "GET", path))["messages"]]
                model = [*ever]
                for step in history:
                    match step:
                        case Say(count):
                            said = [emulator.say("app", "1", "x")["message"] for _ in range(count)]
                            ever += said
                            model += said
                        case Delete(place) if model:
                            gone = model.pop(int(place * len(model)))
                            await call(app, "DELETE", f"{path}/{gone}")
                        case Page():
                            await check_page(app, path, model, ever, step)
                        case "delete all":
                            await call(app, "DELETE", path)
                            model = []
                        case _:
                            assert await walk(app, path) == model

        anyio.run(scenario)

    async def test_a_cursor_of_a_deleted_message_keeps_its_place(self) -> None:
        """Paging goes on where a message was that is deleted meanwhile."""
        emulator = Emulator()
        emulator.add("sunshine", {"id": "1"}, app_id="app")
        said = [emulator.say("app", "1", str(number)) for number in range(3)]
        path = f"conversations/{said[0]['conversation']}/messages"
        first, middle, last = (one["message"] for one in said)
        async with calling(emulator) as app:
            await call(app, "DELETE", f"{path}/{middle}")
            before = await call(app, "GET", path, params={"page[before]": middle})
            after = await call(app, "GET", path, params={"page[after]": middle})

        assert [row["id"] for row in before["messages"]] == [first]
        assert [row["id"] for row in after["messages"]] == [last]

    @pytest.mark.parametrize(
        "query",
        ["page[before]=x", "page[after]=", f"page[after]={'0' * 24}&page[before]={'0' * 24}"],
    )
    async def test_a_cursor_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, path: str, query: str
    ) -> None:
        """Text that is no id, and both directions at once, are a 400."""
        code, title = await refused(app, "GET", f"{path}?{query}")
        assert (code, title) == ("bad_request", "Invalid page query parameters")


class TestSay:
    async def test_a_user_writes(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """The default conversation begins with the first message; no effect counts."""
        first = emulator.say("app", "jane", "Hi")
        location = {"type": "location", "coordinates": {"lat": 1, "long": 2}}
        second = emulator.say("app", "1", content=location, conversation=first["conversation"])
        url = "http://emulator/_emulator/say"
        body = {"app_id": "app", "user": "jane", "text": "Ho"}
        third = await call(app, "POST", url, json=body)

        assert {one["conversation"] for one in (first, second, third)} == {first["conversation"]}
        listed = await call(app, "GET", f"conversations/{first['conversation']}/messages")
        assert [row["id"] for row in listed["messages"]] == [
            one["message"] for one in (first, second, third)
        ]
        assert listed["messages"][1]["content"] == location
        assert listed["messages"][0]["author"] == {"type": "user", "userId": "1"}
        assert listed["messages"][0]["source"] == {"type": "web"}
        conversations = await call(app, "GET", "conversations?filter[userId]=1")
        [conversation] = conversations["conversations"]
        assert conversation["isDefault"]
        assert emulator.ledger()["sunshine"]["effects"]["message"] == 0
        assert emulator.ledger()["sunshine"]["messages"] == 3

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({"user": "jane", "text": "x"}, "should have required property 'app_id'"),
            ({"app_id": "app", "text": "x"}, "should have required property 'user'"),
            (
                {"app_id": "app", "user": "jane"},
                "text or content: one of both makes a message, and a text isn't empty",
            ),
            ({"app_id": "app", "user": "x", "text": "x"}, "user='x': User not found"),
            ({"app_id": "app", "user": "jane", "text": "x", "who": 1}, "who is not known"),
            (
                {"app_id": "app", "user": "jane", "text": "x", "conversation": "x"},
                "conversation='x': Conversation not found",
            ),
            (
                {"app_id": "app", "user": "jane", "content": {"type": "text"}},
                "content should have required property 'text'",
            ),
            ("x", "the body should be an object"),
        ],
    )
    async def test_a_message_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, body: Any, says: str
    ) -> None:
        """A 400 names the reason."""
        answer = await call(app, "POST", "http://emulator/_emulator/say", 400, json=body)
        assert answer == {"message": says}

    async def test_a_user_writes_in_own_conversations_only(
        self, emulator: Emulator, path: str
    ) -> None:
        """A conversation of others is refused."""
        with pytest.raises(ValueError, match="not a member"):
            emulator.say("app", "joe", "Hi", conversation=path.split("/")[1])


class TestAttachments:
    FILE: ClassVar = {"source": ("a b.png", b"\x89PNG", "image/png")}

    async def uploaded(self, app: httpx.AsyncClient, **query: str) -> str:
        answer = await call(
            app, "POST", "attachments", 201, files=self.FILE, params={"access": "public"} | query
        )
        assert answer["attachment"].keys() == {"mediaUrl", "mediaType"}
        assert answer["attachment"]["mediaType"] == "image/png"
        return str(answer["attachment"]["mediaUrl"])

    async def test_an_upload_is_served_until_removed(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """The media URL gives the bytes and their type, without credentials, until it is removed."""
        url = await self.uploaded(app)
        async with httpx.AsyncClient(transport=emulator.transport()) as anybody:
            served = await anybody.get(url)
            assert (served.content, served.headers["content-type"]) == (b"\x89PNG", "image/png")
            other = {"mediaUrl": url}
            elsewhere = "http://emulator/v2/apps/other/attachments/remove"
            assert (await refused(app, "POST", elsewhere, 404, json=other))[0] == "not_found"

            assert await call(app, "POST", "attachments/remove", json={"mediaUrl": url}) == {}

            assert (await anybody.get(url)).status_code == 404
        gone = await refused(app, "POST", "attachments/remove", 404, json={"mediaUrl": url})
        assert gone == ("not_found", "Attachment not found")
        foreign = await refused(app, "POST", "attachments/remove", json={"mediaUrl": URL})
        assert foreign[1] == f"Unsupported media URL for attachment deletion: {URL}"

    async def test_a_message_knows_the_type_and_size(
        self, app: httpx.AsyncClient, path: str
    ) -> None:
        """An uploaded image in a message has type and size."""
        url = await self.uploaded(app)

        message = await post(app, path, content={"type": "image", "mediaUrl": url})

        more = {"mediaType": "image/png", "mediaSize": 4, "altText": "a_b.png"}
        assert message["content"] == {"type": "image", "mediaUrl": url} | more

    @pytest.mark.parametrize("deleted", ["message", "all", "conversation", "user", "reset"])
    async def test_attachments_for_messages_go_with_the_message(
        self, emulator: Emulator, app: httpx.AsyncClient, path: str, deleted: str
    ) -> None:
        """Uploads for messages go with message, conversation and user; other uploads stay."""
        default = path.split("/")[1]
        body = {"type": "personal", "participants": [{"userId": "1"}]}
        answer = await call(app, "POST", "conversations", 201, json=body)
        conversation = answer["conversation"]["id"]
        path = f"conversations/{conversation}/messages"
        query = {"for": "message", "conversationId": conversation}
        used, unused = await self.uploaded(app, **query), await self.uploaded(app, **query)
        free = await self.uploaded(app, conversationId=default)
        item = ITEM | {"mediaUrl": used}
        message = await post(app, path, content={"type": "carousel", "items": [item]})
        steps = {
            "message": f"{path}/{message['id']}",
            "all": path,
            "conversation": f"conversations/{conversation}",
            "user": "users/1",
        }
        if deleted == "reset":
            emulator.reset()
        else:
            await call(app, "DELETE", steps[deleted])

        served = [(await app.get(url)).status_code for url in (used, unused, free)]

        gone = deleted in {"conversation", "user", "reset"}
        assert served == [404, 404 if gone else 200, 404 if deleted == "reset" else 200]

    @pytest.mark.parametrize(
        ("query", "files", "says"),
        [
            ({}, FILE, "should have required query parameter access"),
            ({"access": "private"}, FILE, "access should be public"),
            ({"access": "public", "for": "x"}, FILE, "for should be message"),
            ({"access": "public"}, {"other": b"x"}, "source should be a file"),
            ({"access": "public"}, {"source": ("a", b"")}, "and not an empty one"),
        ],
    )
    async def test_an_upload_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, query: Any, files: Any, says: str
    ) -> None:
        """A 400 names the field."""
        code, title = await refused(app, "POST", "attachments", files=files, params=query)
        assert code == "bad_request"
        assert says in title

    async def test_an_upload_for_a_missing_conversation(self, app: httpx.AsyncClient) -> None:
        """The conversation of an upload has to be there."""
        query = {"access": "public", "for": "message", "conversationId": "x"}
        code, _ = await refused(app, "POST", "attachments", 404, files=self.FILE, params=query)
        assert code == "conversation_not_found"

    async def test_a_large_file_is_refused(self, app: httpx.AsyncClient) -> None:
        """Over 50 MB is a 413, and no more than 50 MB are kept meanwhile."""
        files = {"source": ("a", bytes(50 * 10**6 + 1))}
        query = {"access": "public"}
        code, _ = await refused(app, "POST", "attachments", 413, files=files, params=query)
        assert code == "payload_too_large"
