import json
import re
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from support.in_process import calling
from support.specification import facts_in

from sunshine_async._calls.endpoint import Endpoint
from sunshine_async.emulator import Emulator, dixa, smooch
from sunshine_async.emulator.fields import Schema
from sunshine_async.emulator.sunshine import CREATE_BODY, SYNC_BODY, UPDATE_BODY
from sunshine_async.errors import ConfigurationError
from sunshine_async.sunshine.users import ENDPOINTS

SPEC: dict[str, Any] = facts_in("sunshine_spec.json")
SECRET = "0123456789abcdef0123456789abcdef"
NOT_FOUND = SPEC["operations"]["GetUser"]["answers"]["404"]
CONFLICT = SPEC["operations"]["CreateUser"]["answers"]["409"]


async def created(app: httpx.AsyncClient, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    answer = await app.post("users", json=body or {})
    assert answer.status_code == 201, answer.text
    user: dict[str, Any] = answer.json()["user"]
    return user


def titles(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 400, answer.text
    errors = answer.json()["errors"]
    assert {error["code"] for error in errors} == {"bad_request"}
    return [error["title"] for error in errors]


class TestSpecification:
    @pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.operation)
    async def test_every_endpoint_answers_with_its_declared_success(
        self, endpoint: Endpoint[Any, Any], emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """Each declared endpoint has a route, and its success is the specification's."""
        identity = {"type": "email", "value": "jane@example.org"}
        emulator.sunshine.add(
            {"id": "jane", "zendeskId": "35436", "identities": [identity]}, app_id="app"
        )
        path = endpoint.path.format(app_id="app", user_id_or_external_id="jane", zendesk_id="35436")
        query = {"filter[identities.email]": "jane@example.org"} if endpoint.query[:1] else {}
        body = {"json": {}} if endpoint.accepts is not type(None) else {}

        answer = await app.request(endpoint.method, f"http://emulator{path}", params=query, **body)

        answers = SPEC["operations"][endpoint.operation]["answers"]
        assert answer.status_code == endpoint.ok[0]
        assert str(answer.status_code) in answers
        assert answer.json().keys() == answers[str(answer.status_code)].keys()

    @pytest.mark.parametrize(
        ("name", "table"),
        {
            "userCreateBody": CREATE_BODY,
            "userUpdateBody": UPDATE_BODY,
            "syncUserBody": SYNC_BODY,
        }.items(),
    )
    def test_tables_of_fields_are_the_schemas(self, name: str, table: Schema) -> None:
        """Types, lengths, nullability and formats of the bodies are the specification's."""
        assert facts(table) == SPEC["schemas"][name]

    async def test_created_user_looks_like_the_example(self, app: httpx.AsyncClient) -> None:
        """A created user has the fields of the specification's example, in its order."""
        example = SPEC["operations"]["CreateUser"]["answers"]["201"]["user"]

        user = await created(app, example)

        assert list(user) == list(example)
        assert re.fullmatch("[0-9a-f]{24}", user["id"])
        assert user == {**example, "id": user["id"], "profile": {"locale": "en"}}


def facts(table: Schema) -> dict[str, Any]:
    """Return a table in the words of the specification, which has no word for our own formats."""
    found = {
        "type": table.type,
        "minLength": table.min_length,
        "maxLength": table.max_length,
        "format": table.format if table.format in {"email", "uri"} else None,
        "nullable": table.nullable or None,
        "properties": table.fields and {name: facts(rule) for name, rule in table.fields.items()},
    }
    return {name: value for name, value in found.items() if value is not None}


class TestCreate:
    async def test_user_comes_back_as_sent(self, app: httpx.AsyncClient) -> None:
        """A create answers with what was sent, and a get with the same."""
        body = {
            "externalId": "jane-1",
            "signedUpAt": "2020-05-21T15:53:30.197Z",
            "toBeRetained": True,
            "profile": {
                "givenName": "Jané",
                "email": "jane@example.org",
                "avatarUrl": "https://a/b",
            },
            "metadata": {"tier": "gold", "age": 42, "rate": 0.5, "vip": True},
        }

        user = await created(app, body)

        assert user | body == user
        assert (await app.get("users/jane-1")).json() == {"user": user}
        assert (await app.get(f"users/{user['id']}")).json() == {"user": user}

    async def test_user_without_anything_has_the_usual_fields(self, app: httpx.AsyncClient) -> None:
        """An empty body makes a user that signed up now."""
        before = datetime.now(UTC)

        user = await created(app)

        signed_up_at = datetime.fromisoformat(user.pop("signedUpAt"))
        assert before - timedelta(milliseconds=1) < signed_up_at <= datetime.now(UTC)
        assert user.pop("id")
        assert user == {"hasPaymentInfo": False, "identities": [], "profile": {}, "metadata": {}}

    async def test_nulls_are_left_out(self, app: httpx.AsyncClient) -> None:
        """What is null in a create is not there."""
        user = await created(
            app, {"brandId": None, "profile": {"surname": None}, "metadata": {"tier": None}}
        )

        assert (user["profile"], user["metadata"], user.get("brandId")) == ({}, {}, None)
        assert (await created(app, {"metadata": None}))["metadata"] == {}

    @pytest.mark.parametrize(
        "given", ["2020-05-21T17:53:30.1971+02:00", "2020-05-21T15:53:30.197Z"]
    )
    async def test_times_come_back_in_utc(self, app: httpx.AsyncClient, given: str) -> None:
        """A time comes back in UTC with milliseconds."""
        user = await created(app, {"signedUpAt": given})

        assert user["signedUpAt"] == "2020-05-21T15:53:30.197Z"

    async def test_unknown_fields_are_ignored(self, app: httpx.AsyncClient) -> None:
        """What the schema doesn't have, or only the service sets, is accepted and ignored."""
        user = await created(
            app, {"id": "mine", "zendeskId": "1", "nickname": "J", "profile": {"age": 1}}
        )

        assert user["id"] != "mine"
        assert user.keys().isdisjoint({"zendeskId", "nickname"})
        assert user["profile"] == {}

    async def test_taken_external_id_is_a_conflict(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A second user with the same external id is refused, and nothing is made."""
        await created(app, {"externalId": "jane"})

        answer = await app.post("users", json={"externalId": "jane"})

        assert (answer.status_code, answer.json()) == (409, CONFLICT)
        assert emulator.ledger()["sunshine"]["effects"]["create"] == 1

    async def test_external_ids_are_taken_within_a_brand(self, app: httpx.AsyncClient) -> None:
        """The same external id can be had once in each brand and once without."""
        for brand_id in (None, "1", "2"):
            body = {"externalId": "jane", "brandId": brand_id}
            user = await created(app, body)
            again = await app.post("users", json=body)

            assert again.status_code == 409
            query = {"brandId": brand_id} if brand_id else {}
            found = await app.get("users/jane", params=query)
            assert found.json()["user"]["id"] == user["id"]

    async def test_apps_are_separate(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """What is in one app is not in another."""
        await created(app, {"externalId": "jane"})

        answer = await app.get("http://emulator/v2/apps/other/users/jane")

        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
        await app.post("http://emulator/v2/apps/other/users", json={"externalId": "jane"})
        assert len(emulator.users("sunshine")) == 2
        assert len(emulator.users("sunshine", app_id="other")) == 1


class TestValidation:
    @pytest.mark.parametrize(
        ("body", "title"),
        [
            ({"externalId": ""}, "externalId should NOT be shorter than 1 characters"),
            ({"externalId": "x" * 1025}, "externalId should NOT be longer than 1024 characters"),
            ({"externalId": None}, "externalId should be a string"),
            ({"brandId": 1}, "brandId should be a string"),
            ({"toBeRetained": "yes"}, "toBeRetained should be a boolean"),
            ({"profile": None}, "profile should be an object"),
            ({"profile": []}, "profile should be an object"),
            (
                {"profile": {"givenName": ""}},
                "profile.givenName should NOT be shorter than 1 characters",
            ),
            ({"profile": {"email": "jane"}}, "profile.email should be an email address"),
            ({"profile": {"email": "a b@c"}}, "profile.email should be an email address"),
            ({"profile": {"avatarUrl": "a.jpg"}}, "profile.avatarUrl should be a URI"),
            ({"metadata": {"a": {}}}, "metadata should hold strings, numbers and booleans only"),
            ({"metadata": "a"}, "metadata should be an object"),
            ({"metadata": {"a": "x" * 4096}}, "metadata is limited to 4096 bytes in size"),
        ],
    )
    async def test_bad_field_is_named(
        self, emulator: Emulator, app: httpx.AsyncClient, body: dict[str, Any], title: str
    ) -> None:
        """A body that isn't as the specification says is a 400 with the field, and no effect."""
        answer = await app.post("users", json=body)

        assert titles(answer) == [title]
        assert emulator.ledger()["sunshine"]["users"] == 0

    @pytest.mark.parametrize(
        "time",
        ["2020-05-21", "2020-13-21T15:53:30Z", "2020-05-21T15:53:30", "0001-01-01T00:00:00+14:00"],
    )
    async def test_bad_time_is_named(self, app: httpx.AsyncClient, time: str) -> None:
        """A time that is none, or has no zone, is refused."""
        [title] = titles(await app.post("users", json={"signedUpAt": time}))

        assert title.startswith("signedUpAt should be a time")

    async def test_all_bad_fields_are_named(self, app: httpx.AsyncClient) -> None:
        """Each bad field is an error of its own."""
        answer = await app.post("users", json={"externalId": 1, "profile": {"surname": 2}})

        assert titles(answer) == [
            "externalId should be a string",
            "profile.surname should be a string",
        ]

    @pytest.mark.parametrize("content", [b"{", b"[]", b'"a"', b"", b'{"a": NaN}'])
    async def test_body_that_is_no_json_object_is_refused(
        self, app: httpx.AsyncClient, content: bytes
    ) -> None:
        """A create needs a JSON object."""
        headers = {"content-type": "application/json; charset=utf-8"}

        [title] = titles(await app.post("users", content=content, headers=headers))

        assert "body" in title

    async def test_an_encoding_is_refused_by_name(self, app: httpx.AsyncClient) -> None:
        """A body in another encoding than UTF-8 is refused as such; a BOM is passed over."""
        json = {"content-type": "application/json"}
        text = '{"externalId": "Zo\u00eb"}'

        latin = await app.post("users", content=text.encode("latin-1"), headers=json)
        marked = await app.post("users", content=text.encode("utf-8-sig"), headers=json)

        assert titles(latin) == [
            "the body is not JSON (a byte that isn't UTF-8, line 1, column 19)"
        ]
        assert marked.json()["user"]["externalId"] == "Zo\u00eb"

    async def test_other_content_type_is_refused(self, app: httpx.AsyncClient) -> None:
        """JSON has to be called JSON."""
        answer = await app.post("users", content=b"{}", headers={"content-type": "text/plain"})

        assert answer.status_code == 415
        assert answer.json()["errors"][0]["code"] == "unsupported_media_type"

    async def test_100_000_bytes_are_taken_and_no_more(self, app: httpx.AsyncClient) -> None:
        """A JSON body is limited in size."""
        body = b'{"ignored": "%s"}' % (b"x" * (100_000 - 15))
        headers = {"content-type": "application/json"}
        assert len(body) == 100_000

        assert (await app.post("users", content=body, headers=headers)).status_code == 201
        answer = await app.post("users", content=body + b" ", headers=headers)

        assert answer.status_code == 413
        assert answer.json()["errors"][0]["code"] == "payload_too_large"


class TestFind:
    @pytest.mark.parametrize("key", ["a/b", "a%2Fb", "a?b", "é", "#", "..x", "a b", "a+b"])
    async def test_any_external_id_is_one_segment(self, app: httpx.AsyncClient, key: str) -> None:
        """An id is taken from the undecoded path, and decoded once."""
        user = await created(app, {"externalId": key})
        path = "".join(f"%{byte:02X}" for byte in key.encode())

        assert (await app.get(f"users/{path}")).json() == {"user": user}

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("DELETE", "/personalinformation"),
            ("POST", "/sync"),
        ],
    )
    async def test_nobody_is_not_found(
        self, app: httpx.AsyncClient, method: str, path: str
    ) -> None:
        """Each operation on a user who isn't there is the specification's 404."""
        answer = await app.request(method, f"users/nobody{path}", json={})

        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)

    async def test_id_comes_before_external_id(self, app: httpx.AsyncClient) -> None:
        """What is one user's id and another's external id means the first."""
        first = await created(app)
        await created(app, {"externalId": first["id"]})

        assert (await app.get(f"users/{first['id']}")).json() == {"user": first}

    async def test_brand_is_needed_by_external_id_only(self, app: httpx.AsyncClient) -> None:
        """A brand-separated user is found by external id with the brand only, by id always."""
        user = await created(app, {"externalId": "jane", "brandId": "9"})

        assert (await app.get("users/jane")).status_code == 404
        assert (await app.get("users/jane?brandId=8")).status_code == 404
        assert (await app.get("users/jane?brandId=9")).json() == {"user": user}
        assert (await app.get(f"users/{user['id']}")).json() == {"user": user}


class TestList:
    async def test_finds_by_email_identity_only(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A list matches e-mail identities of the brand, whatever the case, and no profile."""
        await created(app, {"profile": {"email": "sue@example.org"}})
        for user in (
            {"id": "a", "identities": [{"type": "email", "value": "Sue@example.org"}]},
            {"id": "b", "identities": [{"type": "phone", "value": "sue@example.org"}, {}]},
            {
                "id": "c",
                "brandId": "9",
                "identities": [{"type": "email", "value": "sue@example.org"}],
            },
        ):
            emulator.sunshine.add(user, app_id="app")
        query = {"filter[identities.email]": "sue@example.org"}

        found = (await app.get("users", params=query)).json()["users"]
        of_brand = (await app.get("users", params={**query, "brandId": "9"})).json()["users"]

        assert [user["id"] for user in found] == ["a"]
        assert [user["id"] for user in of_brand] == ["c"]
        assert (await app.get("users?filter[identities.email]=x@y")).json() == {"users": []}

    @pytest.mark.parametrize("query", ["", "?filter[identities.email]=", "?filter[email]=a@b"])
    async def test_needs_its_filter(self, app: httpx.AsyncClient, query: str) -> None:
        """A list without its filter is refused by name."""
        [title] = titles(await app.get(f"users{query}"))

        assert "filter[identities.email]" in title


class TestUpdate:
    async def test_merges_profile_and_metadata(self, app: httpx.AsyncClient) -> None:
        """What is given is set, what is null is cleared, what is left out stays."""
        user = await created(
            app,
            {
                "externalId": "jane",
                "profile": {"givenName": "Jane", "surname": "Doe", "locale": "en"},
                "metadata": {"a": 1, "b": 2},
            },
        )

        answer = await app.patch(
            "users/jane",
            json={
                "signedUpAt": "2020-05-21T15:53:30.197Z",
                "toBeRetained": False,
                "externalId": "other",
                "profile": {"givenName": "Joan", "surname": None},
                "metadata": {"a": None, "c": True},
            },
        )

        assert answer.status_code == 200
        assert answer.json() == (await app.get("users/jane")).json()
        assert answer.json()["user"] == {
            **user,
            "signedUpAt": "2020-05-21T15:53:30.197Z",
            "toBeRetained": False,
            "profile": {"givenName": "Joan", "locale": "en"},
            "metadata": {"b": 2, "c": True},
        }

    async def test_null_clears_all_metadata(self, app: httpx.AsyncClient) -> None:
        """Null for metadata leaves none."""
        await created(app, {"externalId": "jane", "metadata": {"a": 1}})

        answer = await app.patch("users/jane", json={"metadata": None})

        assert answer.json()["user"]["metadata"] == {}

    async def test_metadata_is_limited_after_merging(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """Metadata that grows past its limit is refused, and stays as it was."""
        user = await created(app, {"externalId": "jane", "metadata": {"a": "x" * 3000}})

        answer = await app.patch("users/jane", json={"metadata": {"b": "x" * 3000}})

        assert titles(answer) == ["metadata is limited to 4096 bytes in size"]
        assert emulator.users("sunshine") == [user]

    async def test_needs_a_body(self, app: httpx.AsyncClient) -> None:
        """An update without a body is refused."""
        await created(app, {"externalId": "jane"})

        assert titles(await app.patch("users/jane")) == ["should have a JSON body"]


class TestDelete:
    async def test_user_is_gone(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """A deleted user is not found, and the external id is free again."""
        user = await created(app, {"externalId": "jane"})

        answer = await app.delete("users/jane")

        assert (answer.status_code, answer.json()) == (200, {})
        assert (await app.get(f"users/{user['id']}")).status_code == 404
        assert (await app.delete("users/jane")).status_code == 404
        assert emulator.users("sunshine") == []
        await created(app, {"externalId": "jane"})

    async def test_personal_information_is_cleared(self, app: httpx.AsyncClient) -> None:
        """Name, e-mail, picture and all metadata go; the rest of the user stays."""
        profile = {
            "givenName": "Jane",
            "surname": "Doe",
            "email": "jane@example.org",
            "avatarUrl": "https://example.org/a.jpg",
            "locale": "fr-CA",
        }
        user = await created(app, {"externalId": "j", "profile": profile, "metadata": {"a": 1}})

        answer = await app.delete("users/j/personalinformation")

        assert answer.status_code == 200
        assert answer.json()["user"] == {**user, "profile": {"locale": "fr-CA"}, "metadata": {}}
        assert (await app.get("users/j")).json() == answer.json()


class TestSync:
    OUTGOING: Mapping[str, Any] = {
        "id": "outgoing",
        "externalId": "jane",
        "zendeskId": "1",
        "identities": [{"type": "email", "value": "a@b"}, {"type": "email", "value": "c@d"}],
        "profile": {"givenName": "Jane", "surname": "Doe"},
        "metadata": {"a": 1, "b": 1},
    }
    SURVIVOR: Mapping[str, Any] = {
        "id": "survivor",
        "zendeskId": "2",
        "identities": [{"type": "email", "value": "a@b"}],
        "profile": {"givenName": "Joan"},
        "metadata": {"b": 2},
    }

    @pytest.mark.parametrize("body", [None, {}, {"survivingZendeskId": "1"}])
    async def test_user_is_in_step(
        self, emulator: Emulator, app: httpx.AsyncClient, body: dict[str, Any] | None
    ) -> None:
        """A sync without another surviving id answers with the user as it is; it needs no body."""
        user = emulator.sunshine.add(self.OUTGOING, app_id="app")

        answer = await app.post("users/1/sync", **({} if body is None else {"json": body}))

        assert (answer.status_code, answer.json()) == (200, {"user": user})
        assert emulator.ledger()["sunshine"]["effects"]["sync"] == 1

    async def test_survivor_takes_over(self, emulator: Emulator, app: httpx.AsyncClient) -> None:
        """The user with the surviving id gets what it lacks, and the outgoing one is gone."""
        emulator.sunshine.add(self.OUTGOING, app_id="app")
        survivor = emulator.sunshine.add(self.SURVIVOR, app_id="app")

        answer = await app.post("users/1/sync", json={"survivingZendeskId": "2"})

        assert answer.json()["user"] == {
            **survivor,
            "externalId": "jane",
            "identities": self.OUTGOING["identities"],
            "profile": {"givenName": "Joan", "surname": "Doe"},
            "metadata": {"a": 1, "b": 2},
        }
        assert (await app.get("users/jane")).json() == answer.json()
        assert (await app.post("users/1/sync", json={"survivingZendeskId": "2"})).status_code == 404
        assert emulator.users("sunshine") == [answer.json()["user"]]

    async def test_external_id_keeps_to_its_brand(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A survivor of another brand doesn't get the external id."""
        emulator.sunshine.add(self.OUTGOING, app_id="app")
        emulator.sunshine.add({**self.SURVIVOR, "brandId": "9"}, app_id="app")

        answer = await app.post("users/1/sync", json={"survivingZendeskId": "2"})

        assert "externalId" not in answer.json()["user"]

    async def test_user_is_linked_anew_where_there_is_no_survivor(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """Where nobody has the surviving id, the user gets it."""
        user = emulator.sunshine.add(self.OUTGOING, app_id="app")

        answer = await app.post("users/1/sync", json={"survivingZendeskId": "2"})

        assert answer.json() == {"user": {**user, "zendeskId": "2"}}
        assert (await app.post("users/2/sync")).json() == answer.json()

    async def test_surviving_id_is_checked(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """A surviving id that is no text is refused by name."""
        emulator.sunshine.add(self.OUTGOING, app_id="app")

        answer = await app.post("users/1/sync", json={"survivingZendeskId": 2})

        assert titles(answer) == ["survivingZendeskId should be a string"]


class TestCredentials:
    async def test_any_credentials_are_let_in(self, emulator: Emulator) -> None:
        """Without keys and tokens any credentials will do."""
        async with calling(emulator, headers={"authorization": "Basic what:ever"}) as app:
            assert (await app.post("users", json={})).status_code == 201

    @pytest.mark.parametrize("header", [None, "", "Basic", "Bearer "])
    async def test_none_are_unauthorized(self, emulator: Emulator, header: str | None) -> None:
        """Without credentials the answer is the specification's 401, and nothing is done."""
        headers = {} if header is None else {"authorization": header}
        async with calling(emulator, headers={"accept": "*/*"}) as app:
            answer = await app.post("users", json={}, headers=headers)

        assert answer.status_code == 401
        assert answer.json() == {
            "errors": [{"code": "unauthorized", "title": "Authorization is required"}]
        }
        assert emulator.ledger()["sunshine"]["users"] == 0

    @pytest.mark.parametrize(
        ("header", "status"),
        {
            "Basic " + b64encode(f"key:{SECRET}".encode()).decode(): 201,
            "basic " + b64encode(f"key:{SECRET}".encode()).decode(): 201,
            "Basic " + b64encode(b"key:wrong").decode(): 401,
            "Basic " + b64encode(b"other:secret").decode(): 401,
            "Basic " + b64encode(b"key").decode(): 401,
            "Basic !": 401,
            "Basic /w==": 401,
            "Bearer token": 201,
            "Bearer wrong": 401,
            "Digest token": 401,
        }.items(),
    )
    async def test_only_known_credentials_are_let_in(self, header: str, status: int) -> None:
        """With keys and tokens only these are let in."""
        emulator = Emulator(keys=[f"key:{SECRET}"], tokens=["token"])
        async with calling(emulator, headers={"authorization": header}) as app:
            assert (await app.post("users", json={})).status_code == status

    @pytest.mark.parametrize(
        ("changes", "status"),
        [
            ({}, 201),
            ({"scope": "user"}, 401),
            ({"scope": None}, 401),
            ({"scope": ["app"]}, 401),
            ({"exp": float("inf")}, 401),
            ({"exp": 1}, 401),
            ({"kid": "other"}, 401),
            ({"kid": None}, 401),
            ({"key": "another secret, of the same length"}, 401),
            ({"algorithm": "HS512", "key": SECRET * 2}, 401),
        ],
    )
    async def test_jwt_signed_with_a_key_is_let_in(
        self, changes: dict[str, Any], status: int
    ) -> None:
        """A JWT counts if a known key signed it with HS256, it has a scope and isn't over."""
        given = {"scope": "app", "exp": time.time() + 60, "kid": "key", "key": SECRET, **changes}
        kid = {"kid": given["kid"]} if given["kid"] else {}
        claims = {name: given[name] for name in ("scope", "exp") if given[name]}
        token = jwt.encode(claims, given["key"], given.get("algorithm", "HS256"), headers=kid)
        emulator = Emulator(keys=[f"key:{SECRET}"])

        async with calling(emulator, headers={"authorization": f"Bearer {token}"}) as app:
            assert (await app.post("users", json={})).status_code == status

    def test_key_needs_a_colon(self) -> None:
        """A key without its secret is refused, and isn't shown."""
        with pytest.raises(ConfigurationError, match="id:secret") as caught:
            Emulator(keys=["s3cret"])

        assert "s3cret" not in str(caught.value)


class TestRouting:
    @pytest.mark.parametrize(
        "path",
        ["/", "/v2/apps/app/nothing", "/v2/apps/app/users/", "/v2/apps/app/users/a/b", "/v3"],
    )
    async def test_unknown_path_is_not_found(self, app: httpx.AsyncClient, path: str) -> None:
        """What no operation has is the specification's 404."""
        answer = await app.get(f"http://emulator{path}")

        assert answer.status_code == 404
        assert answer.json() == {"errors": [{"code": "not_found", "title": "Resource not found"}]}

    async def test_other_method_is_not_allowed(self, app: httpx.AsyncClient) -> None:
        """A path has the methods of its operations, and says which."""
        answer = await app.put("users/jane", json={})

        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, PATCH, DELETE"
        assert answer.json()["errors"][0]["code"] == "method_not_allowed"

    def test_works_on_trio(self, emulator: Emulator) -> None:
        """The transport works on trio as on asyncio."""

        async def scenario() -> None:
            async with calling(emulator) as app:
                await created(app, {"externalId": "jane"})
                assert (await app.get("users/jane")).status_code == 200

        anyio.run(scenario, backend="trio")

        assert emulator.requests == 2


class TestControl:
    async def test_ledger_counts_what_changed(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """The ledger has users, effects of each kind and requests; refusals are no effects."""
        emulator.sunshine.add({"zendeskId": "1"}, app_id="app")
        await created(app, {"externalId": "jane"})
        await app.post("users", json={"externalId": "jane"})
        await app.get("users/jane")
        await app.patch("users/jane", json={})
        await app.delete("users/jane/personalinformation")
        await app.delete("users/jane")
        await app.delete("users/jane")
        await app.post("users/1/sync")

        answer = await app.get("http://emulator/_emulator/ledger")

        assert answer.json() == emulator.ledger()
        assert answer.json() == {
            "sunshine": {
                "users": 1,
                "effects": {
                    "create": 1,
                    "update": 1,
                    "delete": 1,
                    "delete_personal_information": 1,
                    "sync": 1,
                    "message": 0,
                },
                "messages": 0,
            },
            "smooch": {"users": 1, "effects": dict.fromkeys(smooch.Smooch.effect_names, 0)},
            "dixa": {"users": 0, "effects": dict.fromkeys(dixa.Dixa.effect_names, 0)},
            "requests": 8,
            "throttled": 0,
            "faults": {},
            "webhooks": {"waiting": 0, "failing": 0, "failed": 0, "attempts": 0},
        }

    async def test_users_go_out_and_in_as_lines(self, emulator: Emulator) -> None:
        """The stored users are lines of JSON, which another emulator takes as they are."""
        url = "http://emulator/_emulator/users/sunshine"
        async with calling(emulator) as app:
            for number in range(3):
                await created(app, {"externalId": f"jane-{number}", "brandId": "9"})
            lines = await app.get(url)
        other = Emulator()
        async with httpx.AsyncClient(transport=other.transport()) as client:
            stored = await client.post(f"{url}?appId=app", content=lines.content)
            of_other_app = await client.get(f"{url}?appId=other")

        assert [json.loads(line) for line in lines.text.splitlines()] == emulator.users("sunshine")
        assert (stored.status_code, stored.content) == (201, lines.content)
        assert other.users("sunshine") == emulator.users("sunshine")
        assert of_other_app.text == ""
        assert other.ledger()["requests"] == 0

    @pytest.mark.parametrize(
        ("request_", "text"),
        [
            (("sunshine", b"{}"), "appId"),
            (("sunshine?appId=app", b"{"), "not JSON (unexpected end of data, line 1, column 2)"),
            (("sunshine?appId=app", b'"\xe9"\n{}'), "line 1: not JSON (a byte that isn't UTF-8, "),
            (("sunshine?appId=app", b'{"id": "there"}\n{}'), "line 1: id is taken"),
            (("sunshine?appId=app", b"[]"), "the body should be an object"),
            (("sunshine?appId=app", b'{"identities": [{"value": ""}]}'), "identities[0].value"),
            (("sunshine?appId=app", b'{"id": "there"}'), "id is taken"),
            (("sunshine?appId=app", b'{"externalId": "jane"}'), "externalId is taken"),
            (("sunshine?appId=app", b'{"zendeskId": "1"}'), "zendeskId is taken"),
            (("nothing?appId=app", b"{}"), "nothing"),
        ],
    )
    async def test_user_that_cannot_be_is_refused(
        self, emulator: Emulator, app: httpx.AsyncClient, request_: tuple[str, bytes], text: str
    ) -> None:
        """A user that can't be stored is refused with the reason."""
        emulator.sunshine.add({"id": "there", "externalId": "jane", "zendeskId": "1"}, app_id="app")
        path, content = request_

        answer = await app.post(f"http://emulator/_emulator/users/{path}", content=content)

        assert answer.status_code == (404 if path.startswith("nothing") else 400)
        assert text in answer.json()["message"]
        assert len(emulator.users("sunshine")) == 1

    async def test_users_of_no_service_are_not_found(self, app: httpx.AsyncClient) -> None:
        """Only services that are here have users."""
        answer = await app.get("http://emulator/_emulator/users/nothing")

        assert answer.status_code == 404

    async def test_user_is_added_in_code(self, emulator: Emulator) -> None:
        """A stored user can be given in code, as over HTTP."""
        user = emulator.add("sunshine", {"zendeskId": "1"}, app_id="app")

        assert emulator.users("sunshine", app_id="app") == [user]

    @pytest.mark.parametrize("bad", ["\ud800", 2**70, object()])
    @pytest.mark.parametrize("call", ["sunshine", "smooch", "dixa", "conversation", "support", "webhook", "say", "deliver"])  # fmt: skip
    async def test_a_value_that_is_no_json_is_refused(
        self, call: str, bad: Any, tmp_path: Path
    ) -> None:
        """What JSON can't hold is a ValueError, and the emulator and the state go on."""
        emulator = Emulator(state=tmp_path / "state")
        user = emulator.add("sunshine", {"id": "1"}, app_id="app")
        end_user_id = emulator.add("dixa", {})["id"]
        values = {"metadata": {"a": bad}}
        calls: Mapping[str, Callable[[], object]] = {
            "sunshine": lambda: emulator.add("sunshine", values, app_id="app"),
            "smooch": lambda: emulator.add("smooch", {"clients": [values]}, app_id="app"),
            "dixa": lambda: emulator.add("dixa", {"customAttributes": [values]}),
            "conversation": lambda: emulator.dixa.add_conversation(end_user_id, values),
            "support": lambda: emulator.add_support({"zendeskId": bad}),
            "webhook": lambda: emulator.add_webhook("dixa", {"target": "http://x", "secret": bad}),
            "say": lambda: emulator.say("app", "1", content={"type": "text", "text": bad}),
            "deliver": lambda: emulator.deliver("sunshine", "user:merge", values, app_id="app"),
        }

        with pytest.raises(ValueError, match="not JSON"):
            calls[call]()

        later = emulator.add("sunshine", {"id": "2"}, app_id="app")
        emulator.close()
        after = Emulator(state=tmp_path / "state")
        after.close()
        assert after.users("sunshine") == [user, later]

    async def test_what_is_stored_is_a_copy(self, emulator: Emulator) -> None:
        """A change of the values in the caller's hands changes nothing in the emulator."""
        metadata = {"plan": "gold"}
        emulator.add("sunshine", {"id": "1", "metadata": metadata}, app_id="app")

        metadata["plan"] = "none"

        assert emulator.users("sunshine")[0]["metadata"] == {"plan": "gold"}

    async def test_an_added_user_keeps_the_fields_of_the_service(self, emulator: Emulator) -> None:
        """Fields that only the service sets are kept, as those of the specification's example."""
        user = {
            "id": "1",
            "authenticated": True,
            "hasPaymentInfo": True,
            "profile": {"locale": "en", "localeOrigin": "zendeskAccount"},
        }

        assert emulator.add("sunshine", user, app_id="app").items() >= user.items()
        assert not {"locale", "localeOrigin"} & emulator.users("smooch")[0].keys()

    async def test_reset_forgets_everything(
        self, emulator: Emulator, app: httpx.AsyncClient
    ) -> None:
        """After a reset the emulator is as new."""
        emulator.faults += [httpx.ReadTimeout("x")]
        with pytest.raises(httpx.ReadTimeout):
            await app.get("users/jane")
        await created(app, {"externalId": "jane"})
        emulator.faults += [httpx.ReadTimeout("x")]

        answer = await app.post("http://emulator/_emulator/reset")

        assert answer.status_code == 204
        assert emulator.ledger() == Emulator().ledger()
        assert emulator.faults == []
        assert (await app.get("users/jane")).status_code == 404


@pytest.fixture
def without_starlette(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make Python forget the emulator, and that starlette is installed."""
    package = import_module("sunshine_async")
    emulator = import_module("sunshine_async.emulator")
    for name in [name for name in sys.modules if name.startswith("sunshine_async.emulator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    yield
    package.emulator = emulator  # type: ignore[attr-defined]


@pytest.mark.usefixtures("without_starlette")
def test_missing_extra_is_named() -> None:
    """Without its extra the emulator says what to install."""
    with pytest.raises(ImportError, match=re.escape("pip install 'sunshine-async[emulator]'")):
        import_module("sunshine_async.emulator")
