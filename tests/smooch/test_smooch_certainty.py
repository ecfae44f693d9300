"""What a call of Smooch is said to have ended as, held against what the service has."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import smooch
from support.scripts import Script, outcome_of, scripts
from support.size import sized

from sunshine_async import BasicAuth
from sunshine_async._calls.upsert import UpsertEffect, UpsertResult
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import (
    AppUser,
    AppUserLink,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    Confirmation,
    SmoochClient,
)

AUTH = BasicAuth("key-id", "secret")
NEW = AppUserPreCreate(user_id="key", given_name="New")
CHANGE = AppUserUpdate(given_name="New")
LINK = AppUserLink.twilio(phone_number="+1", confirmation=Confirmation(type="immediate"))
MERGE = AppUserMerge(surviving="kept", discarded="left")
OLD = {
    "_id": "kept",
    "userId": "key",
    "givenName": "Old",
    "properties": {"a": 1},
    "clients": [{"platform": "twilio", "externalId": "+1"}],
}

SCRIPTS = scripts(404)

Call = Callable[[SmoochClient], Awaitable[object]]


def run(
    call: Call, script: list[Any], *existing: dict[str, Any]
) -> tuple[Outcome[None, object], Emulator]:
    """Return what a call is said to have become, and the emulator that it was made to."""
    emulator = Emulator()
    for user in existing:
        emulator.add("smooch", user, app_id="app")

    return outcome_of(smooch(Script(emulator, script)), call), emulator


def names(emulator: Emulator) -> list[str]:
    """Return the given names of all users there are."""
    return sorted(user.get("givenName", "") for user in emulator.users("smooch"))


def effects(emulator: Emulator, name: str) -> int:
    """Return how often something was done."""
    done: int = emulator.ledger()["smooch"]["effects"][name]
    return done


def agrees(outcome: Outcome[Any, Any], *, done: bool) -> bool:
    """Return whether *outcome* is not contradicted by what was *done*."""
    return isinstance(outcome, (Unknown, Done if done else Failed))


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_a_pre_create_is_what_it_is_said_to_be(script: list[Any], *, existing: bool) -> None:
    """Done is there as sent, once; failed isn't there; and nobody is there twice."""
    there = [OLD] if existing else []

    outcome, emulator = run(lambda client: client.app_users.pre_create(NEW), script, *there)

    assert names(emulator).count("Old") == existing
    assert names(emulator).count("New") <= 1
    assert agrees(outcome, done="New" in names(emulator))


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_an_upsert_is_what_it_is_said_to_be(script: list[Any], *, existing: bool) -> None:
    """Done is one user as sent, made or changed as it says; failed isn't as sent; nobody is doubled."""
    there = [OLD] if existing else []

    outcome, emulator = run(lambda client: client.app_users.upserted(NEW), script, *there)

    assert len(emulator.users("smooch")) <= 1
    assert agrees(outcome, done=names(emulator) == ["New"])
    if isinstance(outcome, Done):
        certain = UpsertEffect.UPDATED if existing else UpsertEffect.CREATED
        assert cast("UpsertResult[AppUser]", outcome.value).effect in (certain, UpsertEffect.EITHER)


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_a_get_or_create_never_changes(script: list[Any], *, existing: bool) -> None:
    """Who was there is as before; who was not is there once, or not at all."""
    there = [OLD] if existing else []

    outcome, emulator = run(lambda client: client.app_users.get_or_create(NEW), script, *there)

    if existing:
        assert names(emulator) == ["Old"]
    else:
        assert agrees(outcome, done=names(emulator) == ["New"])


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS)
def test_an_update_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is as sent; failed is as it was."""
    outcome, emulator = run(lambda client: client.app_users.update("key", CHANGE), script, OLD)

    assert agrees(outcome, done=names(emulator) == ["New"])


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS)
def test_a_delete_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is gone; failed is there still."""
    outcome, emulator = run(lambda client: client.app_users.delete("key"), script, OLD)

    assert agrees(outcome, done=not names(emulator))


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS)
def test_clearing_a_profile_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is cleared; failed is as it was."""
    outcome, emulator = run(lambda client: client.app_users.delete_profile("key"), script, OLD)

    [user] = emulator.users("smooch")
    assert agrees(outcome, done=user["properties"] == {})


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS)
def test_a_link_acts_once(script: list[Any]) -> None:
    """A link is made or not as it is said, and never twice."""
    outcome, emulator = run(lambda client: client.app_users.link("key", LINK), script, OLD)

    assert effects(emulator, "link") <= 1
    assert agrees(outcome, done=effects(emulator, "link") == 1)


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS)
def test_an_unlink_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is not linked; failed is linked still."""
    outcome, emulator = run(lambda client: client.app_users.unlink("key", "twilio"), script, OLD)

    [user] = emulator.users("smooch")
    assert agrees(outcome, done=not user["clients"])


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS)
def test_a_merge_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is one user with what both had; failed is two; and it acts once."""
    outcome, emulator = run(
        lambda client: client.app_users.merge(MERGE),
        script,
        OLD,
        {"_id": "left", "properties": {"b": 2}},
    )

    there = {user["_id"]: user["properties"] for user in emulator.users("smooch")}
    assert effects(emulator, "merge") <= 1
    assert agrees(outcome, done=there == {"kept": {"a": 1, "b": 2}})


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS, once=st.booleans())
def test_an_image_is_posted_once(script: list[Any], *, once: bool) -> None:
    """An image is posted or not as it is said, and never twice, nor in part."""

    async def stream() -> Any:
        yield b"pixels"

    outcome, emulator = run(
        lambda client: client.app_users.post_image(
            "key", stream() if once else b"pixels", role="appMaker"
        ),
        script,
        OLD,
    )

    assert [image.size for image in emulator.smooch.images] in ([], [6])
    assert agrees(outcome, done=bool(emulator.smooch.images))
