"""Models as types of Pydantic and FastAPI, and conversions for users."""

import json
import pprint
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import import_module
from inspect import getmembers
from typing import Any

import attrs
import httpx
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json as to_pydantic_json
from support.frames import leaks

from sunshine_async import (
    UNSET,
    Lane,
    Pace,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from sunshine_async._codec.model import Model, fields_by_wire
from sunshine_async._codec.pydantic_schema import untyped_serializer
from sunshine_async.jobs import Report
from sunshine_async.sunshine import Identity, Profile, User, UserCreateBody, UserProfile


def kinds(base: type[Model] = Model) -> list[type[Model]]:
    """Return every model of the package."""
    found = [one for kind in base.__subclasses__() for one in (kind, *kinds(kind))]
    return [kind for kind in found if kind.__module__.startswith("sunshine_async.")]


MODELS = sorted(set(kinds()), key=lambda kind: (kind.__module__, kind.__name__))
JANE = {"id": "1", "externalId": "jane", "profile": {"givenName": "Jane"}, "vip": True}


def application() -> Any:
    """Return an application with models in its signatures, and no annotation of its own."""
    app = import_module("fastapi").FastAPI()  # the import takes long

    @app.post("/users")
    async def create(body: UserCreateBody) -> User:
        profile = UserProfile(given_name=body.profile.given_name or None if body.profile else None)
        return User(id="1", external_id=body.external_id or None, profile=profile, extra=body.extra)

    @app.post("/echo")
    async def echo(user: User) -> list[User]:
        return [user]

    return app


async def post(path: str, body: object) -> tuple[int, Any]:
    """Return status and JSON of the answer."""
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        response = await client.post(path, json=body)
    return response.status_code, response.json()


class TestFastApi:
    """A FastAPI application with `User` and `UserCreateBody` in its signatures."""

    async def test_names_on_the_wire(self) -> None:
        """Requests and responses have the names on the wire, and unknown keys stay."""
        body = {"externalId": "jane", "profile": {"givenName": "Jane"}, "vip": True}
        status, user = await post("/users", body)

        assert status == 200
        assert {key: user[key] for key in JANE if key != "profile"} == {
            key: value for key, value in JANE.items() if key != "profile"
        }
        assert user["profile"]["givenName"] == "Jane"
        assert not {"external_id", "extra"} & user.keys()

    @pytest.mark.parametrize(
        ("path", "body", "place", "says"),
        [
            ("/users", {"externalId": 7}, ["externalId"], "expected text, got an integer"),
            ("/users", {"externalId": None}, ["externalId"], "expected text, got null"),
            ("/users", {"profile": {"email": []}}, ["profile", "email"], "got a list"),
            ("/users", {"signedUpAt": "soon"}, ["signedUpAt"], "expected a time"),
            ("/users", {"metadata": []}, ["metadata"], "expected an object"),
            ("/users", [], [], "valid dictionary"),
            ("/echo", {}, ["id"], "required"),
            ("/echo", {"id": 7}, ["id"], "expected text, got an integer"),
            ("/echo", {"id": "1", "authenticated": "yes"}, ["authenticated"], "true or false"),
            (
                "/echo",
                {"id": "1", "identities": [{}, {"type": 1}]},
                ["identities", 1, "type"],
                "expected text",
            ),
        ],
    )
    async def test_wrong_type(self, path: str, body: object, place: list[Any], says: str) -> None:
        """A wrong type is a 422 with the field in ``loc``, for bodies and answers' models alike."""
        status, answer = await post(path, body)

        assert status == 422
        [error] = answer["detail"]
        assert error["loc"] == ["body", *place]
        assert says in error["msg"]

    def test_document(self) -> None:
        """The OpenAPI document has each model once, with the fields' names on the wire."""
        schemas = application().openapi()["components"]["schemas"]

        assert {"User", "UserProfile", "Identity", "UserCreateBody", "Profile"} <= schemas.keys()
        user = schemas["User"]
        assert user["required"] == ["id"]
        assert user["properties"]["id"]["type"] == "string"
        assert user["properties"]["externalId"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
        assert user["properties"]["identities"]["anyOf"][0]["items"] == {
            "$ref": "#/components/schemas/Identity"
        }
        body = schemas["UserCreateBody"]["properties"]
        assert body["signedUpAt"] == {
            "type": "string",
            "format": "date-time",
            "title": body["signedUpAt"]["title"],
        }
        assert body["profile"] == {"$ref": "#/components/schemas/Profile"}


class TestPydantic:
    """Models in Pydantic's own models and adapters."""

    @pytest.mark.parametrize("kind", MODELS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
    def test_every_model(self, kind: type[Model]) -> None:
        """Every model has a JSON schema with all its names, in both directions."""
        adapter = TypeAdapter(kind)
        names = set(fields_by_wire(kind))

        for mode in ("validation", "serialization"):
            document = adapter.json_schema(mode=mode)  # type: ignore[arg-type]
            found = document
            while "$ref" in found:
                found = document["$defs"][found["$ref"].rpartition("/")[2]]
            assert names <= found["properties"].keys()

    def test_instances_and_data(self) -> None:
        """A field takes a model as it is, plain data, and JSON; a dump has the names on the wire."""

        class Order(BaseModel):
            user: User
            profile: Profile | None = None

        user = User(id="1", external_id="jane", identities=[Identity(type="email")])
        order = Order(user=user)
        read = Order.model_validate({"user": JANE, "profile": {"givenName": "Jane"}})

        assert order.user is user
        assert read.user == from_dict(User, JANE)
        assert read.profile == Profile(given_name="Jane")
        assert order.model_dump()["user"] == to_dict(user)
        assert json.loads(read.model_dump_json())["user"]["externalId"] == "jane"
        assert Order.model_validate_json(read.model_dump_json()) == read
        with pytest.raises(ValidationError, match=r"user\.id"):
            Order.model_validate_json('{"user": {"id": 1}}')

    async def test_place_without_a_type(self) -> None:
        """In a place declared as `Any`, at any depth, a model has the names on the wire too."""
        user, body = from_dict(User, JANE), UserCreateBody(external_id="jane")
        app = application()

        @app.get("/any")
        async def found() -> dict[str, Any]:
            return {"users": [user, body]}

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            answer = await client.get("http://test/any")

        assert answer.json() == {"users": [JANE, {"externalId": "jane"}]}
        assert json.loads(to_pydantic_json({"user": user})) == {"user": JANE}

    def test_inspection_without_pydantic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All attributes of a model can be looked at where Pydantic isn't installed."""
        assert hasattr(User, "__pydantic_serializer__")
        untyped_serializer.cache_clear()
        monkeypatch.setitem(sys.modules, "pydantic_core", None)

        assert not hasattr(User, "__pydantic_serializer__")
        assert getmembers(User)

    def test_times_as_the_service_writes_them(self) -> None:
        """A time is read by the library's own reader, zone names included."""
        read = TypeAdapter(User).validate_python(
            {"id": "1", "signedUpAt": "2021-12-01T12:46:36.581Z[GMT]"}
        )

        assert read.signed_up_at == datetime(2021, 12, 1, 12, 46, 36, 581000, tzinfo=UTC)

    def test_pydantic_is_not_imported_by_the_package(self) -> None:
        """The package works without Pydantic."""
        program = "import sys, sunshine_async.sunshine; print('pydantic' in sys.modules)"
        found = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )

        assert found.stdout.strip() == "False"

    def test_models_stay_attrs_classes(self) -> None:
        """The looks of a dataclass, which FastAPI needs, show no personal data and change no value."""
        user = User(id="1", external_id="jane")

        assert "jane" not in pprint.pformat(user)
        assert asdict(user)["external_id"] == "jane"
        assert replace(user, id="2") == attrs.evolve(user, id="2")


class TestConversions:
    """`to_dict`, `to_json`, `from_dict`, `from_json`."""

    def test_models(self) -> None:
        """A model goes to plain data and JSON with the names on the wire, and back."""
        user = from_dict(User, JANE)
        body = UserCreateBody(external_id="jane", profile=Profile(given_name=None))

        assert to_dict(user)["externalId"] == "jane"
        assert from_json(User, to_json(user)) == user
        assert to_dict(body) == {"externalId": "jane", "profile": {"givenName": None}}
        assert from_json(UserCreateBody, to_json(body).encode()) == body
        assert from_dict(UserCreateBody, {}).external_id is UNSET

    def test_answers_are_lenient_and_bodies_strict(self) -> None:
        """A wrong type in an answer is kept in *extra*; in a body the error names the field."""
        assert from_dict(User, {"id": "1", "profile": 7}).extra == {"profile": 7}
        with pytest.raises(ValueError, match=r"profile\.email: expected text"):
            from_dict(UserCreateBody, {"profile": {"email": 7}})
        with pytest.raises(ValueError, match="not JSON"):
            from_json(User, "{")

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (User, '{"externalId": "a-secret"}'),
            (User, '["a-secret"]'),
            (UserCreateBody, '{"externalId": "a-secret", "profile": {"email": 7}}'),
            (UserCreateBody, "a-secret"),
            (User, "[" * 2000 + '"a-secret"' + "]" * 2000),
            (object, '"a-secret"'),
        ],
    )
    def test_no_error_shows_the_data(self, kind: type[object], text: str) -> None:
        """Data that doesn't fit is in no frame of the error."""
        with pytest.raises((ValueError, TypeError)) as error:
            from_json(kind, text)
        assert leaks(error.value, "a-secret") == []

    def test_reports_and_snapshots(self) -> None:
        """A job's report and a snapshot of a pace are JSON."""
        pace = Pace(rate=5)
        pace.enter(0.0, Lane.BATCH)

        assert json.loads(to_json(pace.snapshot(0.0)))["in_flight"] == {
            "interactive": 0,
            "batch": 1,
        }
        assert to_dict(pace.snapshot(0.0))["rate"] == 5
        assert json.loads(to_json(Report()))["done"] == 0
