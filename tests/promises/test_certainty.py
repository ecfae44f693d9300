"""What a call is said to have ended as, held against what the service has."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clients import sunshine
from support.scripts import CHAOS, Script, outcome_of, scripts
from support.size import sized

from sunshine_async import Retry, SunshineClient
from sunshine_async._calls.upsert import UpsertEffect, UpsertResult
from sunshine_async.bulk import Done, Failed, Outcome, Unknown
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import Profile, SyncUserBody, User, UserCreateBody, UserUpdateBody
from sunshine_async.testing import no_waiting

CREATES = sized(5_000, 600)


def stored(emulator: Emulator) -> dict[str, int]:
    """Return how many users the emulator has for each name that was given them."""
    counts: dict[str, int] = {}
    for user in emulator.users("sunshine"):
        name = user["profile"]["givenName"]
        counts[name] = counts.get(name, 0) + 1
    return counts


def body(number: int, *, keyed: bool) -> UserCreateBody:
    """Return the body of a user that is known by its name."""
    profile = Profile(given_name=f"user {number}")
    return (
        UserCreateBody(external_id=f"id-{number}", profile=profile)
        if keyed
        else UserCreateBody(profile=profile)
    )


async def created(
    emulator: Emulator, *, keyed: bool, retry: Retry
) -> list[Outcome[UserCreateBody, User]]:
    """Create many users, 64 at once."""
    bodies = [body(number, keyed=keyed) for number in range(CREATES)]
    client = sunshine(emulator.transport(), retry=retry)
    with no_waiting():
        async with client.users.create_many(bodies, concurrency=64) as outcomes:
            return [outcome async for outcome in outcomes]


@pytest.mark.slow
async def test_keyed_creates_are_all_done() -> None:
    """With ten attempts every keyed create is done, and made exactly one user."""
    emulator = Emulator(odds=CHAOS, seed=1)

    outcomes = await created(emulator, keyed=True, retry=Retry(max_attempts=10))

    assert {type(outcome) for outcome in outcomes} == {Done}
    ledger = emulator.ledger()
    assert ledger["sunshine"]["users"] == CREATES
    assert ledger["sunshine"]["effects"]["create"] == CREATES
    assert all(ledger["faults"][str(mishap)] > CREATES * 0.01 for mishap in CHAOS)
    assert set(stored(emulator).values()) == {1}


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
async def test_no_outcome_is_contradicted(*, keyed: bool) -> None:
    """With the default attempts no user is doubled, and each is done or unknown as it is said."""
    emulator = Emulator(odds=CHAOS, seed=2)

    outcomes = await created(emulator, keyed=keyed, retry=Retry())

    assert len(outcomes) == CREATES
    there = stored(emulator)
    assert set(there.values()) == {1}
    for outcome in outcomes:
        name = f"user {outcome.index}"
        match outcome:
            case Done(_, _, value):
                assert value.profile is not None
                assert value.profile.given_name == name
                assert there.pop(name) == 1
            case Failed():
                assert name not in there
            case Unknown():
                there.pop(name, None)
    assert not there  # nobody whom no outcome speaks of
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(Done) > CREATES * (0.99 if keyed else 0.85)
    assert (Unknown in kinds) or keyed


SCRIPTS = scripts()


def without_404(script: list[Any]) -> list[Any]:
    """Leave out the answers that say that a user who is there is not: a lie no client can see."""
    return [step for step in script if getattr(step, "status", None) != 404]


Call: TypeAlias = Callable[[SunshineClient], Awaitable[object]]
NEW = UserCreateBody(external_id="key", profile=Profile(given_name="New"))
CHANGE = UserUpdateBody(profile=Profile(given_name="New"))


def names(emulator: Emulator) -> list[str | None]:
    """Return the given names of all users there are."""
    return sorted(user["profile"].get("givenName") for user in emulator.users("sunshine"))


def run(call: Call, script: list[Any], *, existing: bool) -> tuple[Outcome[None, object], Emulator]:
    """Return what a call is said to have become, and the emulator that it was made to."""
    emulator = Emulator()
    if existing:
        old = {
            "externalId": "key",
            "zendeskId": "77",
            "profile": {"givenName": "Old"},
            "metadata": {"a": 1},
        }
        emulator.add("sunshine", old, app_id="app")

    return outcome_of(sunshine(Script(emulator, script)), call), emulator


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS, existing=st.booleans(), keyed=st.booleans())
def test_a_create_is_what_it_is_said_to_be(
    script: list[Any], *, existing: bool, keyed: bool
) -> None:
    """Done is there as sent, once; failed isn't there; and nobody is there twice."""
    sent = NEW if keyed else UserCreateBody(profile=NEW.profile)

    outcome, emulator = run(lambda client: client.users.create(sent), script, existing=existing)

    made = names(emulator).count("New")
    assert names(emulator).count("Old") == existing
    match outcome:
        case Done():
            assert made == 1
        case Failed():
            assert made == 0
        case Unknown():
            assert made <= 1


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_an_upsert_is_what_it_is_said_to_be(script: list[Any], *, existing: bool) -> None:
    """Done is one user as sent, made or changed as it says; failed isn't as sent; nobody is doubled."""
    outcome, emulator = run(lambda client: client.users.upserted(NEW), script, existing=existing)

    there = names(emulator)
    match outcome:
        case Done(value=upserted):
            assert there == ["New"]
            certain = UpsertEffect.UPDATED if existing else UpsertEffect.CREATED
            assert cast("UpsertResult[User]", upserted).effect in (certain, UpsertEffect.EITHER)
        case Failed():
            assert there == ["Old"] * existing
        case Unknown():
            assert len(there) <= 1


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_a_get_or_create_never_changes(script: list[Any], *, existing: bool) -> None:
    """What was there is as it was; what was not is there once, or not at all."""
    outcome, emulator = run(
        lambda client: client.users.get_or_create(NEW), script, existing=existing
    )

    there = names(emulator)
    if existing:
        assert there == ["Old"]
    elif isinstance(outcome, Done):
        assert there == ["New"]
    elif isinstance(outcome, Failed):
        assert there == []
    else:
        assert there in ([], ["New"])


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS, existing=st.booleans())
def test_an_update_is_what_it_is_said_to_be(script: list[Any], *, existing: bool) -> None:
    """Done is as sent; failed is as it was."""
    outcome, emulator = run(
        lambda client: client.users.update("key", CHANGE), script, existing=existing
    )

    match outcome:
        case Done():
            assert names(emulator) == ["New"]
        case Failed():
            assert names(emulator) == ["Old"] * existing
        case Unknown():
            assert names(emulator) in (["Old"] * existing, ["New"] * existing)


@settings(max_examples=sized(150, 5))
@given(script=SCRIPTS.map(without_404), existing=st.booleans())
def test_a_delete_is_what_it_is_said_to_be(script: list[Any], *, existing: bool) -> None:
    """Done is gone; failed, but for who was never there, is there still."""
    outcome, emulator = run(lambda client: client.users.delete("key"), script, existing=existing)

    match outcome:
        case Done():
            assert names(emulator) == []
        case Failed():
            assert names(emulator) == ["Old"] * existing
        case Unknown():
            assert names(emulator) in ([], ["Old"] * existing)


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS)
def test_clearing_data_is_what_it_is_said_to_be(script: list[Any]) -> None:
    """Done is cleared; failed is as it was."""
    outcome, emulator = run(
        lambda client: client.users.delete_personal_information("key"), script, existing=True
    )

    [user] = emulator.users("sunshine")
    cleared = (user["profile"], user["metadata"]) == ({}, {})
    if not isinstance(outcome, Unknown):
        assert cleared is isinstance(outcome, Done)


@settings(max_examples=sized(100, 5))
@given(script=SCRIPTS)
def test_a_merging_sync_acts_once(script: list[Any]) -> None:
    """A sync that merges is done or not as it is said, and never sent again in doubt."""
    merge = SyncUserBody(surviving_zendesk_id="78")

    outcome, emulator = run(lambda client: client.users.sync("77", merge), script, existing=True)

    acted = emulator.ledger()["sunshine"]["effects"].get("sync", 0)
    match outcome:
        case Done():
            assert acted == 1
        case Failed():
            assert acted == 0
        case Unknown():
            assert acted <= 1


async def test_two_writers_make_one_user_each() -> None:
    """Two writers that upsert the same 200 keys at once, twenty times: 200 users, no error."""
    for seed in range(sized(20, 2)):
        emulator = Emulator(latency=0.0, seed=seed)
        outcomes: list[Outcome[UserCreateBody, User]] = []

        async def write(
            writer: str, emulator: Emulator = emulator, into: list[Any] = outcomes
        ) -> None:
            client = sunshine(emulator.transport())
            bodies = [
                UserCreateBody(external_id=f"id-{n}", metadata={"writer": writer})
                for n in range(200)
            ]
            async with client.users.upsert_many(bodies, concurrency=16) as stream:
                into.extend([outcome async for outcome in stream])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, "one")
            tasks.start_soon(write, "two")

        assert [type(outcome) for outcome in outcomes] == [Done] * 400
        assert emulator.ledger()["sunshine"]["users"] == 200


@pytest.mark.slow
@pytest.mark.parametrize("share_of_known", [0.0, 0.02, 0.98, 1.0])
async def test_upserts_take_about_one_request_each(share_of_known: float) -> None:
    """A run over mostly new users, and one over mostly known ones, is at most 1.1 requests each."""
    emulator, rows = Emulator(), sized(1000, 500)
    known = round(rows * share_of_known)
    for number in range(known):
        emulator.add("sunshine", {"externalId": f"id-{number * 997 % rows}"}, app_id="app")
    client = sunshine(emulator.transport())

    async with client.users.upsert_many(body(n, keyed=True) for n in range(rows)) as outcomes:
        assert {type(outcome) async for outcome in outcomes} == {Done}

    assert emulator.ledger()["sunshine"]["users"] == rows
    assert emulator.requests <= rows * 1.1
