"""The emulator's state in a file: the next emulator goes on from it."""

from pathlib import Path

import pytest

from sunshine_async import (
    ApiToken,
    BadRequestError,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Pace,
    SmoochClient,
    SunshineClient,
)
from sunshine_async.dixa import BulkPatchEndUserInput, CreateEndUserInput
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import AppUserLink, AppUserMerge, Confirmation

TWILIO = AppUserLink.twilio(
    phone_number="+15145550123", confirmation=Confirmation(type="immediate")
)
PNG = b"\x89PNG\r\n\x1a\n"


def smooch_on(emulator: Emulator) -> SmoochClient:
    return SmoochClient("app", auth=BasicAuth("id", "secret"), transport=emulator.transport())


def sunshine_on(emulator: Emulator) -> SunshineClient:
    return SunshineClient("app", auth=BasicAuth("id", "secret"), transport=emulator.transport())


def body(name: str) -> CreateEndUserInput:
    return CreateEndUserInput(email=f"{name}@example.org", external_id=name)


def dixa_on(emulator: Emulator) -> DixaClient:
    return DixaClient(auth=ApiToken("token"), transport=emulator.transport(), pace=Pace())


async def test_what_only_v1_1_shows_outlives_it(tmp_path: Path) -> None:
    """Links, merges, and what was counted of v1.1 are there in the next emulator."""
    state = tmp_path / "state"
    first = Emulator(state=state)
    for name in ("kept", "gone"):
        first.add("smooch", {"userId": name, "clients": [{"platform": "line"}]}, app_id="app")
    kept, gone = first.users("smooch")
    async with smooch_on(first) as client:
        await client.app_users.link("kept", TWILIO)
        await client.app_users.unlink("kept", "twilio")
        await client.app_users.merge(AppUserMerge(surviving=kept["_id"], discarded=gone["_id"]))
        await client.app_users.delete_profile("kept")
        await client.app_users.post_image("kept", PNG, role="appUser")
    said = first.ledger()["smooch"], first.users("smooch")
    first.close()

    second = Emulator(state=state)
    second.close()
    assert (second.ledger()["smooch"], second.users("smooch")) == said
    assert len(second.users("smooch")[0]["clients"]) == 2


async def test_dixa_outlives_it(tmp_path: Path) -> None:
    """End users, anonymizations and what was counted are there in the next emulator."""
    state = tmp_path / "state"
    first = Emulator(state=state)
    first.add("dixa", {"email": "added@example.org"})
    async with dixa_on(first) as client:
        made = [await client.end_users.create(body(name)) for name in ("a", "b", "c")]
        await client.end_users.patch_bulk([BulkPatchEndUserInput(id=made[0].id, first_name="A")])
        done = await client.end_users.anonymize(made[1].id)
        for _ in range(2):
            await client.end_users.anonymization(done.id)
        asked = await client.end_users.anonymize(made[2].id)
        await client.end_users.anonymization(asked.id)
    said = first.ledger()["dixa"], first.users("dixa")
    first.close()

    second = Emulator(state=state)
    assert (second.ledger()["dixa"], second.users("dixa")) == said
    async with dixa_on(second) as client:
        assert (await client.end_users.anonymization(done.id)).processed_at
        assert (await client.end_users.anonymization(asked.id)).processed_at
        with pytest.raises(BadRequestError, match="EmailExists"):
            await client.end_users.create(body("a"))
    second.close()
    assert {user["email"] for user in second.users("dixa")} == {
        "added@example.org",
        "a@example.org",
    }


async def test_users_outlive_the_emulator(tmp_path: Path) -> None:
    """With a state file users and effects are there in the next emulator, but for a cut line."""
    state = tmp_path / "state"
    first = Emulator(state=state)
    for name in ("a", "b"):
        first.add("sunshine", {"externalId": name}, app_id="app")
    async with sunshine_on(first) as client:
        await client.users.delete("a")
    first.close()
    with state.open("ab") as file:
        file.write(b'["app", "cut')

    second = Emulator(state=state)
    assert [user["externalId"] for user in second.users("sunshine")] == ["b"]
    assert second.ledger()["sunshine"]["effects"]["delete"] == 1
    second.reset()
    second.close()
    third = Emulator(state=state)
    third.close()
    assert third.users("sunshine") == []


def test_files_that_are_none(tmp_path: Path) -> None:
    """A file that is no state, or can't be one, is refused."""
    state = tmp_path / "state"
    state.write_text("externalId\n")
    with pytest.raises(ConfigurationError, match="is no state of an emulator"):
        Emulator(state=state)
    state.write_text('["sunshine", "app", "1"]\n')
    with pytest.raises(ConfigurationError, match="is no state of an emulator of this version"):
        Emulator(state=state)
    with pytest.raises(ConfigurationError, match="can't be kept: Not a directory"):
        Emulator(state=state / "x")
