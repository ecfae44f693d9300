"""From v1.1 to v2: what goes along, and what has no place there."""

from datetime import UTC, datetime

import attrs

from sunshine_async import BasicAuth, SunshineClient, migration
from sunshine_async._codec import decode, encode, structure
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import AppUser, Client, SmoochClient
from sunshine_async.sunshine import Profile, UserCreateBody

AUTH = BasicAuth("key-id", "secret")
AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
WHOLE = AppUser(
    id="5c7d28dc",
    user_id="jane-1",
    given_name="Jane",
    surname="Doe",
    email="jane@example.org",
    avatar_url="https://a.example/j.png",
    signed_up_at=AT,
    properties={"tier": "gold", "age": 42, "vip": True},
    conversation_started=True,
    clients=[Client(id="1", platform="web")],
    pending_clients=[Client(id="2", platform="twilio")],
    devices=[Client(id="1", platform="web")],
    has_payment_info=True,
    credential_required=True,
    extra={"new": 1},
)


def test_a_user_is_the_same_in_v2() -> None:
    """Each field goes where v2 has it."""
    assert migration.user_create_body(WHOLE) == UserCreateBody(
        external_id="jane-1",
        signed_up_at=AT,
        profile=Profile(
            given_name="Jane",
            surname="Doe",
            email="jane@example.org",
            avatar_url="https://a.example/j.png",
        ),
        metadata={"tier": "gold", "age": 42, "vip": True},
    )


def test_what_is_absent_is_left_out() -> None:
    """A bare user, and one with empty values, make an empty body: v2 takes no empty text."""
    empty = AppUser(user_id="", given_name="", surname="", email="", properties={})

    assert decode(encode(migration.user_create_body(AppUser(id="1")))) == {}
    assert decode(encode(migration.user_create_body(empty))) == {}


def test_what_has_no_place_is_said() -> None:
    """What v2 has no place for in a body is named, each with the reason; nothing else is."""
    carried = {"user_id", "given_name", "surname", "email", "avatar_url", "signed_up_at", "properties"}  # fmt: skip

    assert set(migration.left_out(WHOLE)) == set(migration.WITHOUT_PLACE)
    assert set(migration.WITHOUT_PLACE) | carried == {field.name for field in attrs.fields(AppUser)}
    assert set(migration.left_out(AppUser(id="1", clients=[]))) == {"id"}
    assert all(migration.left_out(WHOLE).values())


async def test_a_user_moves_from_one_app_to_another() -> None:
    """A user read by v1.1 in one app, and created by v2 in another, is there in v1.1 as it was."""
    emulator = Emulator()
    transport = emulator.transport()
    emulator.add(
        "smooch",
        {"userId": "jane-1", "givenName": "Jane", "properties": {"tier": "gold"}},
        app_id="old",
    )
    old, new = (SmoochClient(app, auth=AUTH, transport=transport) for app in ("old", "new"))
    v2 = SunshineClient("new", auth=AUTH, transport=transport)

    found = await old.app_users.get("jane-1")
    made = await v2.users.create(migration.user_create_body(found))

    moved = await new.app_users.get("jane-1")
    assert moved == attrs.evolve(found, id=made.id)
    assert structure({"_id": made.id}, AppUser).id == moved.id
