"""Dixa in the emulator: it answers as the documentation says, and as it assumes where that is silent."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.in_process import calling

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.emulator import Emulator, Mishap

FACTS = json.loads((Path(__file__).parents[1] / "data" / "dixa-end-users.json").read_text())
ENDPOINTS = (*end_users.ENDPOINTS, *custom_attributes.ENDPOINTS)
ID = "00000000-0000-4000-8000-00000000000{}"
NOBODY = "00000000-0000-4000-8000-000000000000"
TEXT: dict[str, Any] = {
    "id": "274e5a2c-be0d-42c0-b725-3dd533729f68",
    "label": "Tier",
    "identifier": "tier",
    "inputDefinition": {"_type": "Text"},
}
SELECT: dict[str, Any] = {
    "id": "befae0d9-9679-42b9-af76-e76f64e28429",
    "label": "City",
    "identifier": "city",
    "inputDefinition": {
        "_type": "Select",
        "options": [
            {"value": "dk", "nestedOptions": [{"value": "cph"}]},
            {"value": "se"},
            {"value": "example1", "nestedOptions": [{"value": "example2"}]},
        ],
    },
}
OF_CONVERSATIONS: dict[str, Any] = {
    **TEXT,
    "id": "11111111-2222-4333-8444-555555555555",
    "entityType": "Conversation",
}


def calling_dixa(emulator: Emulator) -> httpx.AsyncClient:
    return calling(emulator, "http://emulator", headers={"authorization": "raw-token"})


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Call Dixa in process."""
    async with calling_dixa(emulator) as client:
        yield client


async def created(api: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Create an end user."""
    answer = await api.post("/v1/endusers", json=body)
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()["data"]
    return user


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def message(answer: httpx.Response, status: int = 400) -> str:
    """Return the sentence of an error."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"message"}
    text: str = answer.json()["message"]
    return text


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
async def test_every_endpoint_answers_with_its_declared_success(
    endpoint: Endpoint[Any, Any], emulator: Emulator, api: httpx.AsyncClient
) -> None:
    """Each endpoint has a route, and answers the specification's example with its status and keys."""
    facts = FACTS["operations"][endpoint.operation]
    user = await created(api)
    request = (await api.patch(f"/v1/endusers/{user['id']}/anonymize")).json()["data"]
    for one in (TEXT, SELECT):
        emulator.dixa.define(one)
    body = facts["body_example"]
    if "Bulk" in (facts["body"] or ""):
        body = {"data": [{**one, "id": user["id"]} for one in body["data"]]}

    answer = await api.request(
        endpoint.method,
        endpoint.path.format(end_user_id=user["id"], request_id=request["id"]),
        **({} if body is None else {"json": body}),
    )

    assert answer.status_code == endpoint.ok[0]
    assert answer.json().keys() == facts["examples"][str(answer.status_code)].keys()


class TestCreate:
    async def test_an_end_user_comes_back_as_sent(self, api: httpx.AsyncClient) -> None:
        """A create answers with what was sent, without nulls, and a get with the same."""
        user = await created(api, email="jane@x.org", externalId="1", firstName=None, unknown=5)

        assert user.items() >= {"email": "jane@x.org", "externalId": "1", "middleNames": []}.items()
        assert user.keys().isdisjoint({"firstName", "unknown"})
        assert (await api.get(f"/v1/endusers/{user['id'].upper()}")).json() == {"data": user}

    @pytest.mark.parametrize(
        ("there", "new", "codes"),
        [
            ({"email": "a@x.org"}, {"email": "A@x.org"}, "EmailExists"),
            ({"email": "a@x.org"}, {"additionalEmails": ["a@x.org"]}, "EmailExists"),
            ({"additionalPhoneNumbers": ["+4512345"]}, {"phoneNumber": "+4512345"}, "PhoneNumberExists"),
            (
                {"email": "a@x.org", "phoneNumber": "+4512345"},
                {"email": "a@x.org", "phoneNumber": "+4512345"},
                "EmailExists,PhoneNumberExists",
            ),
        ],
    )  # fmt: skip
    async def test_addresses_and_numbers_are_unique(
        self, api: httpx.AsyncClient, there: Any, new: Any, codes: str
    ) -> None:
        """An e-mail address and a phone number are one end user's: else a 400 with the codes."""
        await created(api, **there)

        answer = await api.post("/v1/endusers", json=new)

        assert message(answer) == f"Create EndUser [id:None] failed with [errors:{codes}]"

    async def test_an_external_id_is_not(self, emulator: Emulator, api: httpx.AsyncClient) -> None:
        """Several may have one external id."""
        for _ in range(2):
            await created(api, externalId="same")

        found = await api.get("/v1/endusers", params={"externalId": "same"})
        assert len(found.json()["data"]) == 2
        assert emulator.ledger()["dixa"]["users"] == 2

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            ({"email": "jane"}, "email should be an email address"),
            ({"phoneNumber": "12345678"}, "phoneNumber should be a phone number in E.164"),
            ({"additionalPhoneNumbers": ["x"]}, "additionalPhoneNumbers should be"),
            ({"firstName": 5}, "firstName should be a string"),
        ],
    )
    async def test_what_cannot_be_is_named(
        self, api: httpx.AsyncClient, body: Any, says: str
    ) -> None:
        """A value that can't be is a 400 that names the field."""
        assert says in message(await api.post("/v1/endusers", json=body))


class TestChange:
    async def test_a_patch_keeps_what_it_leaves_out(self, api: httpx.AsyncClient) -> None:
        """A patch sets what it says, clears what is null, and keeps the rest."""
        user = await created(api, email="a@x.org", firstName="A", middleNames=["B"])

        answer = await api.patch(
            f"/v1/endusers/{user['id']}", json={"firstName": None, "lastName": "C"}
        )

        assert answer.json()["data"] == {
            **{name: value for name, value in user.items() if name != "firstName"},
            "lastName": "C",
        }

    async def test_an_update_leaves_nothing_else(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """An update clears what it leaves out, but for custom attributes, and needs a name."""
        user = emulator.add(
            "dixa", {"email": "a@x.org", "customAttributes": [{"id": "1", "value": "x"}]}
        )
        path = f"/v1/endusers/{user['id']}"

        answer = await api.put(path, json={"displayName": "A"})

        assert answer.json()["data"].keys().isdisjoint({"email"})
        assert answer.json()["data"]["customAttributes"] == [{"id": "1", "value": "x"}]
        assert "displayName" in message(await api.put(path, json={}))
        await created(api, email="a@x.org")  # it is free again

    async def test_a_taken_address_is_refused(self, api: httpx.AsyncClient) -> None:
        """A change to what is another's is a 400 with its code; to one's own it is none."""
        await created(api, email="a@x.org")
        user = await created(api, email="b@x.org")
        path = f"/v1/endusers/{user['id']}"

        answer = await api.patch(path, json={"email": "a@x.org"})

        assert message(answer).endswith("failed with [errors:EmailExists]")
        assert (await api.patch(path, json={"email": "B@x.org"})).status_code == 200

    async def test_who_is_not_there_is_not_found(self, api: httpx.AsyncClient) -> None:
        """An unknown id is a 404, what isn't a UUID a 400."""
        for path in (f"/v1/endusers/{NOBODY}", f"/v1/anonymization/request/{NOBODY}"):
            assert message(await api.get(path), 404) == (
                "The requested resource could not be found"
            )
        assert "userId" in message(await api.get("/v1/endusers/bulk"))


class TestBulk:
    async def test_items_fail_one_by_one(self, api: httpx.AsyncClient) -> None:
        """Each item has its outcome, in their order; what fails leaves the others alone."""
        await created(api, email="a@x.org")

        answer = await api.post(
            "/v1/endusers/bulk",
            json={"data": [{"email": "b@x.org"}, {"email": "a@x.org"}, {"email": "b@x.org"}]},
        )

        outcomes = answer.json()["data"]
        assert answer.status_code == 201
        assert [one["_type"][10:] for one in outcomes] == ["Success", "Failure", "Failure"]
        assert outcomes[1]["error"]["_type"] == "Validation"
        assert outcomes[1]["error"]["message"].endswith("failed with [errors=EmailExists]")

    async def test_changes_fail_one_by_one(self, api: httpx.AsyncClient) -> None:
        """A change may meet nobody, change nothing, or want what is another's."""
        one = await created(api, email="a@x.org")
        two = await created(api, email="b@x.org")
        items = [
            {"id": NOBODY, "firstName": "A"},
            {"id": one["id"]},
            {"id": one["id"], "email": "b@x.org"},
            {"id": two["id"], "firstName": "B"},
        ]

        patched = (await api.patch("/v1/endusers", json={"data": items})).json()["data"]
        updated = await api.put(
            "/v1/endusers", json={"data": [{"id": two["id"], "displayName": "C"}]}
        )

        kinds = [one["error"]["_type"] for one in patched[:3]]
        assert kinds == ["NotFound", "EmptyPatchSet", "Validation"]
        assert patched[3]["data"]["firstName"] == "B"
        assert updated.json()["data"][0]["data"].keys().isdisjoint({"email", "firstName"})

    async def test_unknown_fields_of_an_item_are_ignored(self, api: httpx.AsyncClient) -> None:
        """An item keeps only the fields of an end user; without any, a change is empty."""
        items = [{"id": NOBODY, "firstName": "A", "shoeSize": 43}]
        [made] = (await api.post("/v1/endusers/bulk", json={"data": items})).json()["data"]
        items = [{"id": made["data"]["id"], "shoeSize": 43}]
        [patched] = (await api.patch("/v1/endusers", json={"data": items})).json()["data"]

        assert made["data"]["id"] != NOBODY
        assert "shoeSize" not in made["data"]
        assert patched["error"]["_type"] == "EmptyPatchSet"

    @pytest.mark.parametrize(
        ("method", "items", "says"),
        [
            ("post", [{"email": "b@x.org"}, {"email": "b"}], "data[1].email should be"),
            ("post", [{"email": "b@x.org"}, {"email": 5}], "data[1].email should be a string"),
            ("post", [{"email": "b@x.org"}, {"firstName": "poison"}], "data[1].it is poison"),
            ("patch", [{"email": "b@x.org"}], "data[0].id"),
            ("put", [{"id": NOBODY, "email": "b@x.org"}], "data[0].displayName"),
            ("post", None, "data is missing"),
        ],
    )
    async def test_a_batch_is_refused_as_a_whole(
        self, emulator: Emulator, api: httpx.AsyncClient, method: str, items: Any, says: str
    ) -> None:
        """An item that can't be makes the whole request a 400, and nothing of it is done."""
        emulator.dixa.refuses = lambda item: (
            "it is poison" if item.get("firstName") == "poison" else None
        )
        path = "/v1/endusers/bulk" if method == "post" else "/v1/endusers"

        answer = await api.request(method, path, json={} if items is None else {"data": items})

        assert says in message(answer)
        assert emulator.ledger()["dixa"]["users"] == 0

    async def test_ids_may_be_in_upper_case(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """An id is the same in either case: in a path, in bulk, and where a test stores a user."""
        user = await created(api)
        upper = user["id"].upper()

        patched = await api.patch("/v1/endusers", json={"data": [{"id": upper, "firstName": "A"}]})
        updated = await api.put("/v1/endusers", json={"data": [{"id": upper, "displayName": "B"}]})
        [kept] = emulator.users("dixa")

        assert patched.json()["data"][0]["data"]["id"] == user["id"]
        assert updated.json()["data"][0]["data"] == kept
        assert (await api.get(f"/v1/endusers/{upper}")).json()["data"] == kept
        with pytest.raises(ValueError, match="id is taken"):
            emulator.add("dixa", {"id": upper})
        stored = emulator.add("dixa", {"id": NOBODY.replace("4", "a").upper()})
        assert stored["id"] == NOBODY.replace("4", "a")

    @pytest.mark.parametrize("body", [{"data": [{"id": NOBODY, "displayName": "A"}]}, {}, [], 5])
    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    async def test_only_post_has_bulk_in_its_path(
        self, api: httpx.AsyncClient, method: str, body: Any
    ) -> None:
        """PATCH and PUT to ``/bulk`` are refused for the path, with the right one, whatever the body."""
        says = message(await api.request(method, "/v1/endusers/bulk", json=body))

        assert says == (
            "Invalid value for: path parameter userId (PATCH and PUT of several go to /v1/endusers)"
        )

    async def test_a_batch_is_a_megabyte_at_most(self, api: httpx.AsyncClient) -> None:
        """What is larger is a 413."""
        large = {"data": [{"firstName": "x" * 1_000_000}]}

        assert "1000000" in message(await api.post("/v1/endusers/bulk", json=large), 413)

    async def test_a_fault_may_come_after_the_effect(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """A scripted fault hits the operation that it names, before or after the effect."""
        emulator.faults = [Mishap(status=503, when="after", operation="postEndusersBulk")]
        await created(api)

        answer = await api.post("/v1/endusers/bulk", json={"data": [{}, {}]})

        assert message(answer, 503)
        assert emulator.ledger()["dixa"]["users"] == 3


class TestList:
    async def test_pages_lead_from_one_to_the_next(self, api: httpx.AsyncClient) -> None:
        """A page has a relative link to the next one, which keeps limit and filter."""
        for _ in range(5):
            await created(api, externalId="same")
        target, ids = "/v1/endusers?pageLimit=2&externalId=same", []
        while target:
            page = (await api.get(target)).json()
            ids.append(len(page["data"]))
            target = page.get("meta", {}).get("next", "")
            assert not target or target.startswith("/v1/endusers?")

        assert ids == [2, 2, 1]
        assert "meta" not in (await api.get("/v1/endusers")).json()

    async def test_the_version_may_be_beta(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """The vendor's specification says ``/beta``: the same end users, with links to ``/beta``."""
        first, second = [await created(api, displayName=name) for name in ("A", "B")]
        emulator.dixa.add_conversation(first["id"], {"id": 1})
        emulator.dixa.add_conversation(first["id"], {"id": 2})
        one = f"/beta/endusers/{first['id']}"

        page = (await api.get("/beta/endusers?pageLimit=1")).json()
        rest = (await api.get(page["meta"]["next"])).json()
        conversations = (await api.get(f"{one}/conversations?pageLimit=1")).json()

        assert page["data"] + rest["data"] == [first, second]
        assert page["meta"]["next"].startswith("/beta/endusers?pageKey=")
        assert conversations["meta"]["next"].startswith(f"{one}/conversations?pageKey=")
        assert (await api.get(one)).json() == {"data": first}
        assert message(await api.get("/beta/nothing"), 404).startswith("The requested resource")

    async def test_filters_find(self, api: httpx.AsyncClient) -> None:
        """Addresses and numbers are found, the additional ones too; nobody is an empty list."""
        user = await created(
            api, email="a@x.org", additionalEmails=["b@x.org"], phoneNumber="+4512345"
        )

        for query in ({"email": "A@x.org"}, {"email": "b@x.org"}, {"phone": "+4512345"}):
            found = (await api.get("/v1/endusers", params=query)).json()["data"]
            assert [one["id"] for one in found] == [user["id"]]
        assert (await api.get("/v1/endusers", params={"phone": "+1"})).json() == {"data": []}

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("email=a&phone=b", "more than one filter"),
            ("pageLimit=0", "pageLimit"),
            ("pageLimit=x", "pageLimit"),
            ("pageKey=%21", "pageKey"),
            ("pageKey=YQ==", "pageKey"),
            ("pageLimit=-1", "pageLimit"),
            ("pageLimit=2147483648", "pageLimit"),
            (f"pageLimit={'9' * 5000}", "pageLimit"),
            ("pageLimit=%D9%A1", "pageLimit"),
            ("pageKey=cGFnZUxpbWl0PTEmb2Zmc2V0PS01", "pageKey"),
        ],
    )
    async def test_what_cannot_be_asked_is_refused(
        self, api: httpx.AsyncClient, query: str, says: str
    ) -> None:
        """Two filters, and pages that can't be, are a 400 that says so."""
        assert says in message(await api.get(f"/v1/endusers?{query}"))

    async def test_lists_have_no_custom_attributes(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """Custom attributes are in what a get answers, not in a list."""
        emulator.add("dixa", {"customAttributes": [{"id": "1", "value": "x"}]})

        [user] = (await api.get("/v1/endusers")).json()["data"]

        assert "customAttributes" not in user
        assert "customAttributes" in (await api.get(f"/v1/endusers/{user['id']}")).json()["data"]

    async def test_conversations_are_paged(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """The conversations of an end user come in pages as well."""
        user = await created(api)
        for number in range(3):
            emulator.dixa.add_conversation(user["id"], {"_type": "SmsConversation", "id": number})

        first = (await api.get(f"/v1/endusers/{user['id']}/conversations?pageLimit=2")).json()
        second = (await api.get(first["meta"]["next"])).json()

        assert [one["id"] for one in first["data"] + second["data"]] == [0, 1, 2]
        assert {one["requesterId"] for one in second["data"]} == {user["id"]}


class TestAnonymize:
    async def test_it_is_done_a_moment_later(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """An end user stays until the request has been looked at once, and is gone by the next."""
        user = await created(api, email="a@x.org")
        path = f"/v1/endusers/{user['id']}"

        request = (await api.patch(f"{path}/anonymize")).json()["data"]
        again = (await api.patch(f"{path}/anonymize")).json()["data"]
        looks = [await api.get(f"/v1/anonymization/request/{request['id']}") for _ in range(3)]
        looks += [await api.get(f"/v1/anonymization/request/{again['id']}") for _ in range(2)]

        done = ["processedAt" in look.json()["data"] for look in looks]
        assert done == [False, True, True, False, True]
        assert request["initiatedAt"].endswith("Z[GMT]")
        assert message(await api.get(path), 404)
        assert (await api.get("/v1/endusers")).json() == {"data": []}
        await created(api, email="a@x.org")
        assert emulator.ledger()["dixa"]["users"] == 1

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_an_id_that_is_added_again_is_a_new_user(
        self, tmp_path: Path, *, restarted: bool
    ) -> None:
        """A user with the id of an anonymized one is listed once, and has nothing of the other."""
        emulator = Emulator(state=tmp_path / "state")
        for name in ("a", "b", "c"):
            emulator.add("dixa", {"id": ID.format(name), "email": f"{name}@x.org"})
        first = f"/v1/endusers/{ID.format('a')}"
        async with calling_dixa(emulator) as api:
            if not restarted:
                emulator.dixa.add_conversation(ID.format("a"), {"state": "Closed"})
            request, later = [
                (await api.patch(f"{first}/anonymize")).json()["data"]["id"] for _ in range(2)
            ]
            for _ in range(2):
                await api.get(f"/v1/anonymization/request/{request}")
            emulator.add("dixa", {"id": ID.format("a"), "email": "new@x.org"})
            if restarted:
                emulator.close()
                emulator = Emulator(state=tmp_path / "state")
        async with calling_dixa(emulator) as api:
            looks = [await api.get(f"/v1/anonymization/request/{later}") for _ in range(2)]
            listed = (await api.get("/v1/endusers")).json()["data"]
            conversations = await api.get(f"{first}/conversations")
        emulator.close()

        assert "processedAt" in looks[1].json()["data"]
        assert [one["email"] for one in listed] == ["b@x.org", "c@x.org", "new@x.org"]
        assert conversations.json() == {"data": []}

    async def test_open_conversations_need_force(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """With open conversations it is a 409, unless it is forced, which closes them."""
        user = await created(api)
        emulator.dixa.add_conversation(user["id"], {"_type": "SmsConversation", "state": "Open"})
        path = f"/v1/endusers/{user['id']}/anonymize"

        assert message(await api.patch(path), 409)
        assert "force" in message(await api.patch(f"{path}?force=yes"))
        assert (await api.patch(f"{path}?force=true")).status_code == 202
        assert (await api.patch(path)).status_code == 202


async def test_custom_attributes_are_set_and_cleared(
    emulator: Emulator, api: httpx.AsyncClient
) -> None:
    """Those that are named are set, null clears one; what isn't defined so is a 400."""
    for one in (TEXT, SELECT):
        emulator.dixa.define(one)
    user = await created(api)
    path = f"/v1/endusers/{user['id']}/custom-attributes"

    await api.patch(path, json={TEXT["id"]: "gold", SELECT["id"]: ["dk", "cph"]})
    answer = await api.patch(path, json={TEXT["id"]: None})

    expected = {"id": SELECT["id"], "name": "City", "identifier": "city", "value": ["dk", "cph"]}
    assert answer.json()["data"] == [expected]
    assert (await api.patch(path, json={TEXT["id"].upper(): "silver"})).json()["data"][1] == {
        "id": TEXT["id"],
        "name": "Tier",
        "identifier": "tier",
        "value": "silver",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": "a"},
        {TEXT["id"]: ["a"]},
        {TEXT["id"]: 5},
        {SELECT["id"]: "dk"},
        {SELECT["id"]: ["no"]},
        {SELECT["id"]: ["cph"]},
        {SELECT["id"]: ["dk", "se"]},
        {SELECT["id"]: ["dk", "cph", "x"]},
        {SELECT["id"]: [1, 2]},
        {SELECT["id"]: [["dk"]]},
        {SELECT["id"]: []},
        {OF_CONVERSATIONS["id"]: "a"},
        {OF_CONVERSATIONS["id"]: None},
    ],
)
async def test_a_custom_attribute_that_cannot_be_is_refused(
    emulator: Emulator, api: httpx.AsyncClient, wrong: Any
) -> None:
    """An attribute of conversations, an unknown option and a wrong type are a 400, and no effect."""
    for one in (TEXT, SELECT, OF_CONVERSATIONS):
        emulator.dixa.define(one)
    user = await created(api)

    answer = await api.patch(f"/v1/endusers/{user['id']}/custom-attributes", json=wrong)

    assert message(answer) == "Invalid input for patching"
    assert emulator.ledger()["dixa"]["effects"]["patch_custom_attributes"] == 0
    assert (await api.get(f"/v1/endusers/{user['id']}")).json()["data"] == user


@pytest.mark.parametrize(
    ("header", "status"), {"token": 200, "Bearer token": 200, "x": 401, "": 401}.items()
)
async def test_a_token_stands_alone(header: str, status: int) -> None:
    """The token may be the whole header, or a bearer's; without one it is Dixa's 401."""
    emulator = Emulator(tokens=["token"])
    async with httpx.AsyncClient(transport=emulator.transport()) as api:
        answer = await api.get(
            "http://emulator/v1/endusers", headers={"authorization": header, "accept": "*/*"}
        )

    assert answer.status_code == status
    assert status == 200 or answer.json() == {"message": "Unauthorized"}


@pytest.mark.parametrize("burst", [None, 4])
async def test_a_rate_has_its_burst(burst: int | None) -> None:
    """As many requests as the burst, usually Dixa's 4 of 10, may come at once; else it's a 429."""
    limited = Emulator(rate=10, burst=burst, clock=lambda: 0.0)
    async with calling_dixa(limited) as api:
        answers = [await api.get("/v1/endusers") for _ in range(6)]

    assert [one.status_code for one in answers] == [200] * 4 + [429] * 2
    assert message(answers[-1], 429) == "Too Many Requests"
    assert answers[-1].headers["retry-after"] == "1"


class TestStore:
    def test_what_a_user_cannot_be_is_refused(self, emulator: Emulator) -> None:
        """What is stored by a test keeps to the same rules."""
        user = emulator.add("dixa", {"email": "a@x.org"})

        for wrong in (
            {"email": "a@x.org"},
            {"email": "a"},
            {"firstName": 5},
            {"id": user["id"]},
            {"id": "x"},
            {"createdAt": "x"},
        ):
            with pytest.raises(ValueError, match=r"email|Exists|firstName|id|createdAt"):
                emulator.add("dixa", wrong)
        assert emulator.users("dixa") == [user]
        assert emulator.ledger()["dixa"]["effects"]["create"] == 0

    async def test_dixa_has_no_apps(self, emulator: Emulator, api: httpx.AsyncClient) -> None:
        """Users are stored from outside without an app; those of other services need one."""
        line = b'{"email": "a@x.org"}\n'

        stored = await api.post("/_emulator/users/dixa", content=line)
        refused = await api.post("/_emulator/users/sunshine", content=b"{}")

        assert stored.status_code == 201
        assert refused.status_code == 400
        with pytest.raises(ValueError, match="app_id"):
            emulator.add("sunshine", {})

    async def test_addresses_are_compared_in_lower_case_only(self, api: httpx.AsyncClient) -> None:
        """``ß`` is not ``ss``: two people; a repeated address is stored once."""
        body = {"email": "straße@x.org", "additionalEmails": ["b@x.org", "b@x.org"]}
        user = await created(api, **body)

        await created(api, email="strasse@x.org")

        assert user["additionalEmails"] == ["b@x.org"]

    async def test_definitions_and_conversations_are_stored_from_outside(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """Each line is stored, and shown with all fields that the specification requires."""
        user = await created(api)
        begun = {"requesterId": user["id"].upper(), "id": 5, "state": "Open"}

        defined = await api.post("/_emulator/dixa/definitions", content=lines(TEXT, SELECT))
        talked = await api.post("/_emulator/dixa/conversations", content=lines(begun))

        assert (defined.status_code, talked.status_code) == (201, 201)
        stored = [json.loads(line) for line in defined.text.splitlines()]
        assert (await api.get("/v1/custom-attributes")).json() == {"data": stored}
        required = {"id", "entityType", "identifier", "label", "inputDefinition"}
        required |= {"createdAt", "isRequired", "isArchived", "isDeactivated"}
        assert all(required <= set(one) for one in stored)
        option = stored[1]["inputDefinition"]["options"][0]["nestedOptions"][0]
        assert set(option) >= {"id", "label", "value", "isDeactivated", "orderIndex"}
        shown = (await api.get(f"/v1/endusers/{user['id']}/conversations")).json()["data"]
        assert shown == [{**begun, "requesterId": user["id"]}]

    async def test_the_definitions_of_the_specification_are_stored(
        self, emulator: Emulator
    ) -> None:
        """The times of a definition end with a zone, as in the specification's examples."""
        times = {"createdAt": "2023-01-01T08:23:54.246Z[GMT]", "updatedAt": "2023-01-11T12:25:23Z"}

        assert emulator.dixa.define({**TEXT, **times}).items() >= times.items()
        assert str(emulator.dixa.define(TEXT)["createdAt"]).endswith("Z[GMT]")

    @pytest.mark.parametrize(
        ("kind", "line", "says"),
        [
            ("definitions", {**TEXT, "createdAt": "2023[GMT]"}, "createdAt should be a time"),
            ("definitions", {**TEXT, "id": "x"}, "id should be a UUID"),
            ("definitions", {**TEXT, "entityType": "User"}, "entityType should be Contact or"),
            ("definitions", {**TEXT, "inputDefinition": {"_type": "Date"}}, "_type should be"),
            ("definitions", {**TEXT, "inputDefinition": {}}, "required property '_type'"),
            ("definitions", {**TEXT, "lable": "x"}, "lable is not known"),
            ("definitions", {"id": TEXT["id"]}, "should have required property 'identifier'"),
            (
                "definitions",
                {**TEXT, "inputDefinition": {"_type": "Select", "options": [{"label": "x"}]}},
                "should have required property 'value'",
            ),
            ("conversations", {"id": 5}, "should have required property 'requesterId'"),
            ("conversations", {"requesterId": NOBODY}, f"there is no end user {NOBODY}"),
            ("conversations", [], "the body should be an object"),
        ],
    )
    async def test_a_line_that_cannot_be_is_refused(
        self, api: httpx.AsyncClient, kind: str, line: Any, says: str
    ) -> None:
        """A definition or conversation that can't be is a 400 with the reason."""
        assert says in message(await api.post(f"/_emulator/dixa/{kind}", content=lines(line)))

    async def test_a_reset_forgets_them(self, emulator: Emulator, api: httpx.AsyncClient) -> None:
        """After a reset nobody is there."""
        await created(api, email="a@x.org")

        await api.post("/_emulator/reset")

        assert emulator.users("dixa") == []
        await created(api, email="a@x.org")
