"""One platform, two APIs: no operation of Sunshine v2 or Smooch v1.1 forgets a part of a user."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import httpx
import pytest
from support.in_process import calling

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator import Emulator
from sunshine_async.emulator.records import Record
from sunshine_async.emulator.tables import MAX_METADATA_BYTES
from sunshine_async.smooch import app_users
from sunshine_async.sunshine import users

V2 = "http://emulator/v2/apps/app/users"
V11 = "http://emulator/v1.1/apps/app/appusers"
SUPPORT = "http://emulator/_emulator/support"
CLIENT = {"externalId": "c1", "displayName": "J", "avatarUrl": "a", "info": {}, "raw": {}}
IMPERSONAL = {"externalId": "c1"}
WEB = {"platform": "web", **CLIENT}
LINE = {"platform": "line", **CLIENT}
TWILIO = {"type": "twilio", "phoneNumber": "+1 5", "confirmation": {"type": "prompt"}}
USER: Mapping[str, Any] = {
    "id": "1",
    "externalId": "jane",
    "zendeskId": "10",
    "brandId": None,
    "signedUpAt": "2020-05-21T15:53:30.197Z",
    "hasPaymentInfo": False,
    "toBeRetained": True,
    "identities": [{"type": "email", "value": "jane@x.org"}],
    "profile": {"givenName": "Jane", "surname": "D", "email": "j@x.org", "locale": "en"},
    "metadata": {"tier": "gold"},
}
WHOLE = Record(
    user={name: value for name, value in USER.items() if value is not None},
    clients=[WEB],
    pending_clients=[LINE],
    business_systems=[{"type": "slack"}],
    devices=[{"id": "d1", "info": {}}],
    conversations=["conversation"],
)
OTHER = Record(
    user={"id": "2", "signedUpAt": "2021-05-21T15:53:30.197Z", "hasPaymentInfo": False}
    | {"identities": [], "profile": {}, "metadata": {}, "zendeskId": "20"},
    clients=[{"platform": "viber"}],
    pending_clients=[{"platform": "twitter"}],
    business_systems=[{"type": "zendesk"}],
    devices=[{"id": "d2"}],
    conversations=["other"],
)
PATHS = {
    "user_id_or_external_id": "jane", "user_id": "jane", "zendesk_id": "10", "channel": "web",
}  # fmt: skip
GONE = None
IMPERSONAL_WHOLE = attrs.evolve(
    WHOLE,
    user={**WHOLE.user, "profile": {"locale": "en"}, "metadata": {}},
    clients=[{"platform": "web", **IMPERSONAL}],
    pending_clients=[{"platform": "line", **IMPERSONAL}],
    devices=[{"id": "d1"}],
)
MERGED = attrs.evolve(
    WHOLE,
    clients=[WEB, *OTHER.clients],
    pending_clients=[LINE, *OTHER.pending_clients],
    business_systems=[*WHOLE.business_systems, *OTHER.business_systems],
    devices=[*WHOLE.devices, *OTHER.devices],
    conversations=["conversation", "other"],
)


def with_user(**values: Any) -> Record:
    return attrs.evolve(WHOLE, user={**WHOLE.user, **values})


BODIES: Mapping[str, Any] = {
    "CreateUser": {"externalId": "new"},
    "UpdateUser": {"metadata": {"tier": "silver"}},
    "SyncUser": {"survivingZendeskId": "30"},
    "preCreateAppUser": {"userId": "new"},
    "updateAppUser": {"properties": {"tier": "silver"}},
    "linkAppUser": TWILIO,
    "mergeUsers": {"surviving": {"_id": "1"}, "discarded": {"_id": "2"}},
}
LEFT: Mapping[str, Record | None] = {
    "CreateUser": WHOLE,
    "ListUsers": WHOLE,
    "GetUser": WHOLE,
    "UpdateUser": with_user(metadata={"tier": "silver"}),
    "DeleteUser": GONE,
    "DeleteUserPersonalInformation": IMPERSONAL_WHOLE,
    "SyncUser": with_user(zendeskId="30"),
    "preCreateAppUser": WHOLE,
    "getAppUser": WHOLE,
    "updateAppUser": with_user(metadata={"tier": "silver"}),
    "deleteAppUser": GONE,
    "deleteAppUserProfile": IMPERSONAL_WHOLE,
    "getAppUserAuthCode": WHOLE,
    "getAppUserEntityIds": WHOLE,
    "getAppUserBusinessSystemIds": WHOLE,
    "getLinkRequests": WHOLE,
    "unlinkAppUser": attrs.evolve(WHOLE, clients=[]),
    "mergeUsers": MERGED,
    "postImageMessage": WHOLE,
}
"""By operation: the parts of the user that it leaves; `linkAppUser` adds a client with a new id."""


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Call both APIs in process."""
    async with calling(emulator, "http://emulator") as client:
        yield client


async def call(api: httpx.AsyncClient, endpoint: Endpoint[Any, Any]) -> httpx.Response:
    body = BODIES.get(endpoint.operation)
    form: Any = {"files": {"source": ("a.png", b"x", "image/png")}, "data": {"role": "appUser"}}
    query = {"filter[identities.email]": "jane@x.org", "integrationIds": "a"}
    return await api.request(
        endpoint.method,
        f"http://emulator{endpoint.path.format(app_id='app', **{name: PATHS[name] for name in endpoint.fields if name != 'app_id'})}",
        params=query if endpoint.query else None,
        **(form if endpoint.operation == "postImageMessage" else {"json": body} if body else {}),
    )


@pytest.mark.parametrize(
    "endpoint", [*users.ENDPOINTS, *app_users.ENDPOINTS], ids=lambda one: one.operation
)
async def test_every_operation_leaves_every_part_as_it_should(
    emulator: Emulator, api: httpx.AsyncClient, endpoint: Endpoint[Any, Any]
) -> None:
    """After one operation of either API each part of the user is kept, changed or gone as it says."""
    assert all(getattr(WHOLE, part.name) for part in attrs.fields(Record))
    app = emulator.platform.app("app")
    app.put(WHOLE)
    app.put(OTHER)

    assert (await call(api, endpoint)).status_code == endpoint.ok[0]

    left = app.by_id.get("1")
    if endpoint.operation == "linkAppUser":
        assert left is not None
        assert left.pending_clients[1]["platform"] == "twilio"
        left = attrs.evolve(left, pending_clients=left.pending_clients[:1])
        assert left == WHOLE
    else:
        assert left == LEFT[endpoint.operation]
    assert app.by_id.get("2") == (GONE if endpoint.operation == "mergeUsers" else OTHER)


@pytest.mark.parametrize("url", [f"{V2}/jane", f"{V11}/jane"])
async def test_the_next_user_with_that_id_has_nothing_of_a_deleted_one(
    emulator: Emulator, api: httpx.AsyncClient, url: str
) -> None:
    """A user is deleted by either API with all parts."""
    emulator.platform.app("app").put(WHOLE)

    await api.delete(url)
    emulator.add("sunshine", {"id": "1", "externalId": "jane"}, app_id="app")

    shown = (await api.get(f"{V11}/jane")).json()["appUser"]
    assert (shown["clients"], shown["pendingClients"]) == ([], [])
    assert not shown["conversationStarted"]
    systems = (await api.get(f"{V11}/jane/businesssystems")).json()
    assert systems == {"businessSystems": []}


async def test_the_same_id_in_two_apps_is_two_users(
    emulator: Emulator, api: httpx.AsyncClient
) -> None:
    """Clients are those of one user in one app."""
    emulator.platform.app("app").put(WHOLE)
    emulator.add("smooch", {"_id": "1", "userId": "jane"}, app_id="other")

    shown = await api.get("http://emulator/v1.1/apps/other/appusers/jane")

    assert shown.json()["appUser"]["clients"] == []


async def test_a_merge_keeps_to_the_limit_of_metadata(
    emulator: Emulator, api: httpx.AsyncClient
) -> None:
    """Metadata of the discarded user that would pass 4 KB are left out; the rest is added."""
    large = "x" * (MAX_METADATA_BYTES // 2)
    for user_id, properties in (("1", {"own": large}), ("2", {"large": large, "small": 1})):
        emulator.add("smooch", {"_id": user_id, "properties": properties}, app_id="app")

    await api.post(f"{V11}/merge", json={"surviving": {"_id": "1"}, "discarded": {"_id": "2"}})

    [left] = emulator.users("smooch")
    assert left["properties"] == {"own": large, "small": 1}


class TestSync:
    """A sync puts a user in step with its Support record."""

    @staticmethod
    async def synced(
        api: httpx.AsyncClient, record: Mapping[str, Any], body: Any = None
    ) -> dict[str, Any]:
        """Store a Support record, sync its user, and return the user."""
        stored = await api.post(SUPPORT, json=record)
        assert (stored.status_code, stored.json()) == (201, record)
        answer = await api.post(f"{V2}/10/sync", **({"json": body} if body else {}))
        assert answer.status_code == 200
        user: dict[str, Any] = answer.json()["user"]
        assert (await api.get(f"{V2}/{user['id']}")).json() == {"user": user}
        return user

    async def test_values_of_the_record_are_taken_over(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """Names, external id and the primary e-mail identity change; all other parts stay."""
        emulator.platform.app("app").put(WHOLE)
        record = {"zendeskId": "10", "givenName": "Joan", "surname": "E", "externalId": "joan"}
        record["email"] = "joan@x.org"

        user = await self.synced(api, record)

        identities = [{"type": "email", "value": "joan@x.org"}]
        profile = {**USER["profile"], "givenName": "Joan", "surname": "E"}
        left = with_user(externalId="joan", identities=identities, profile=profile)
        assert user == left.user
        assert emulator.platform.app("app").by_id == {"1": left}
        assert (await api.get(f"{V2}/jane")).status_code == 404
        assert (await api.get(f"{V11}/joan")).json()["appUser"]["clients"] == [WEB]
        assert emulator.ledger()["sunshine"]["effects"]["sync"] == 1

    @pytest.mark.parametrize(
        ("record", "left"),
        [
            ({}, WHOLE),
            ({"givenName": None}, with_user(profile={**USER["profile"], "givenName": None})),
            ({"externalId": None}, with_user(externalId=None)),
            ({"email": None}, with_user(identities=[])),
            ({"externalId": "jane", "email": "jane@x.org"}, WHOLE),
        ],
    )
    async def test_missing_values_stay_and_null_clears(
        self, emulator: Emulator, api: httpx.AsyncClient, record: dict[str, Any], left: Record
    ) -> None:
        """A field that the record lacks stays as it was; null removes it."""
        emulator.platform.app("app").put(WHOLE)

        user = await self.synced(api, {"zendeskId": "10", **record})

        assert user == without_none(left.user)

    async def test_an_identity_that_the_user_has_becomes_the_primary_one(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """The e-mail moves to the front with its verification, and other kinds stay."""
        second = {"type": "email", "value": "J2@x.org", "verification": "sso"}
        phone = {"type": "phone", "value": "5"}
        identities = [*USER["identities"], phone, second]
        emulator.platform.app("app").put(with_user(identities=identities))

        user = await self.synced(api, {"zendeskId": "10", "email": "j2@x.org"})

        assert user["identities"] == [{**second, "value": "j2@x.org"}, phone]

    @pytest.mark.parametrize("wanted", [{"externalId": "taken"}, {"email": "Taken@x.org"}])
    @pytest.mark.parametrize("linked", [False, True])
    async def test_a_value_of_another_user_is_claimed(
        self, emulator: Emulator, api: httpx.AsyncClient, wanted: dict[str, Any], *, linked: bool
    ) -> None:
        """A user without a zendeskId is merged; a user with one loses the value."""
        app = emulator.platform.app("app")
        app.put(WHOLE)
        taken = {"externalId": "taken", "identities": [{"type": "email", "value": "taken@x.org"}]}
        other = attrs.evolve(OTHER, user=without_none({**OTHER.user, **taken, "zendeskId": None}))
        app.put(other.with_values(zendeskId="20") if linked else other)

        user = await self.synced(api, {"zendeskId": "10", **wanted})

        assert user["externalId"] == wanted.get("externalId", "jane")
        assert user["identities"][0]["value"] == wanted.get("email", "jane@x.org")
        assert app.by_id["1"].conversations == (WHOLE if linked else MERGED).conversations
        assert app.by_id["1"].clients == (WHOLE if linked else MERGED).clients
        if not linked:
            assert app.by_id.keys() == {"1"}
            return
        lost = {**other.user, "zendeskId": "20"}
        lost |= {"externalId": None} if "externalId" in wanted else {"identities": []}
        assert app.by_id["2"] == attrs.evolve(other, user=without_none(lost))

    async def test_a_survivor_has_all_parts_and_its_own_record(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """The outgoing user's parts go to the survivor, which is aligned with its own record."""
        app = emulator.platform.app("app")
        app.put(OTHER.with_values(zendeskId="10"))
        app.put(WHOLE.with_values(zendeskId="30"))
        await api.post(SUPPORT, json={"zendeskId": "30", "givenName": "Survivor"})

        user = await self.synced(
            api, {"zendeskId": "10", "givenName": "Outgoing"}, {"survivingZendeskId": "30"}
        )

        assert user["profile"]["givenName"] == "Survivor"
        assert app.by_id == {"1": attrs.evolve(MERGED, user=user)}

    async def test_brands_are_apart(self, emulator: Emulator, api: httpx.AsyncClient) -> None:
        """An external id or e-mail of a user of another brand is no conflict."""
        app = emulator.platform.app("app")
        app.put(WHOLE)
        identities = [{"type": "email", "value": "x@x.org"}]
        branded = OTHER.with_values(
            brandId="9", externalId="x", identities=identities, zendeskId=None
        )
        app.put(branded)

        await self.synced(api, {"zendeskId": "10", "externalId": "x", "email": "x@x.org"})

        assert app.by_id["2"] == branded

    async def test_records_are_those_of_the_account(
        self, emulator: Emulator, api: httpx.AsyncClient
    ) -> None:
        """A record serves all apps, the last one stored counts, and a reset forgets it."""
        await api.post(SUPPORT, json={"zendeskId": "10", "givenName": "First"})
        await api.post(SUPPORT, json={"zendeskId": "10", "givenName": "Last"})
        names = []
        for app_id in ("a", "b"):
            emulator.add("sunshine", {"zendeskId": "10"}, app_id=app_id)
            answer = await api.post(f"http://emulator/v2/apps/{app_id}/users/10/sync")
            names.append(answer.json()["user"]["profile"].get("givenName"))
        emulator.reset()
        emulator.add("sunshine", {"zendeskId": "10"}, app_id="a")
        after = await api.post("http://emulator/v2/apps/a/users/10/sync")

        assert names == ["Last", "Last"]
        assert after.json()["user"]["profile"] == {}

    @pytest.mark.parametrize(
        ("record", "says"),
        [
            ({}, "should have required property 'zendeskId'"),
            ({"zendeskId": 10}, "zendeskId should be a string"),
            ({"zendeskId": ""}, "zendeskId should NOT be shorter than 1 characters"),
            ({"zendeskId": "10", "email": "x"}, "email should be an email address"),
            ({"zendeskId": "10", "name": "x"}, "name is not known"),
            ([], "the body should be an object"),
        ],
    )
    async def test_a_record_that_cannot_be_is_refused(
        self, api: httpx.AsyncClient, record: Any, says: str
    ) -> None:
        """A wrong field is a 400 that names the field."""
        answer = await api.post(SUPPORT, json=record)

        assert (answer.status_code, answer.json()) == (400, {"message": says})


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* without nulls, in the profile too."""
    profile = {name: value for name, value in values["profile"].items() if value is not None}
    return {name: it for name, it in (values | {"profile": profile}).items() if it is not None}  # type: ignore[operator]
