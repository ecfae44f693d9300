"""The emulator's state in a file: the next emulator goes on from it."""

import resource
from pathlib import Path
from zlib import crc32

import httpx
import pytest
from support.in_process import calling
from support.limits import limited

from sunshine_async import (
    ApiToken,
    BadRequestError,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Pace,
    Retry,
    ServerError,
    SmoochClient,
    SunshineClient,
)
from sunshine_async.dixa import BulkPatchEndUserInput, CreateEndUserInput
from sunshine_async.emulator import Emulator
from sunshine_async.emulator.fields import Refusal
from sunshine_async.smooch import AppUserLink, AppUserMerge, Confirmation
from sunshine_async.sunshine import UserCreateBody

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


@pytest.mark.parametrize(
    "line",
    [
        "3",
        "{",
        "{}x",
        '{"a": 1}',
        '[["elsewhere", 1]]',
        '[["platform", "a", "b", null]]',
        '[["platform"]]',
    ],
)
def test_changes_that_no_emulator_of_this_version_wrote(tmp_path: Path, line: str) -> None:
    """Lines with a checksum and unknown changes, as of a later version, are refused; the file stays."""
    state = tmp_path / "state"
    Emulator(state=state).close()
    content = state.read_bytes() + b"%08x %s\n" % (crc32(line.encode()), line.encode())
    state.write_bytes(content)

    for _ in range(2):  # the file isn't kept open
        with pytest.raises(ConfigurationError, match="is no state of an emulator of this version"):
            Emulator(state=state)

    assert state.read_bytes() == content


@pytest.mark.parametrize("content", ["externalId", "externalId\n", '["sunshine", "app", "1"]\n'])
def test_files_that_are_none(tmp_path: Path, content: str) -> None:
    """A file that is no state is refused, and stays as it was."""
    state = tmp_path / "state"
    state.write_text(content)

    with pytest.raises(ConfigurationError, match="is no state of an emulator of this version"):
        Emulator(state=state)

    assert state.read_text() == content
    with pytest.raises(ConfigurationError, match=r"can't be kept: Not a directory\. Name a file"):
        Emulator(state=state / "x")
    with pytest.raises(ConfigurationError, match="can't be kept: Is a directory"):
        Emulator(state=tmp_path)


@pytest.mark.parametrize("device", ["/dev/full", "/dev/zero", "/dev/null"])
def test_a_device_is_no_state(device: str) -> None:
    """A device is refused before a byte is read: some have no end."""
    with pytest.raises(ConfigurationError, match=r"can't be kept: (Not a regular|No such) file"):
        Emulator(state=device)


def test_one_emulator_uses_a_file(tmp_path: Path) -> None:
    """A second emulator with the same file is refused until the first one is closed."""
    first = Emulator(state=tmp_path / "state")
    with pytest.raises(
        ConfigurationError, match=r"another emulator uses it\. End that emulator, or"
    ):
        Emulator(state=tmp_path / "state")
    first.close()

    Emulator(state=tmp_path / "state").close()


async def write(path: Path) -> None:
    """Write a state of eight operations: three creates, a link, a merge, a sync, a delete, one more."""
    emulator = Emulator(state=path)
    emulator.add_support({"zendeskId": "10", "givenName": "Joan"})
    emulator.add("sunshine", {"id": "1", "zendeskId": "10"}, app_id="app")
    async with sunshine_on(emulator) as v2, smooch_on(emulator) as v11:
        for name in ("a", "b", "c"):
            await v2.users.create(UserCreateBody(external_id=name))
        await v11.app_users.link("a", TWILIO)
        a, b = [(await v2.users.get(name)).id for name in ("a", "b")]
        await v11.app_users.merge(AppUserMerge(surviving=a, discarded=b))
        await v2.users.sync("10")
        await v2.users.delete("c")
        await v2.users.create(UserCreateBody(external_id="d"))
    emulator.close()


async def test_a_kill_at_any_place_leaves_whole_operations(tmp_path: Path) -> None:
    """Cut at any place, the file is a state in which each operation happened with its count, or not."""
    state = tmp_path / "state"
    await write(state)
    whole = state.read_bytes()
    seen = set[int]()
    ends = [at for at in range(len(whole)) if whole.startswith(b"\n", at)]
    near = {at + offset for at in (0, *ends) for offset in (0, 1, 2)}
    for size in sorted({*near, *range(0, len(whole), 101)} & set(range(len(whole) + 1))):
        state.write_bytes(whole[:size])
        emulator = Emulator(state=state)
        ledger = emulator.ledger()
        effects, merges = ledger["sunshine"]["effects"], ledger["smooch"]["effects"]["merge"]
        added = any(user["_id"] == "1" for user in emulator.users("smooch"))
        assert ledger["sunshine"]["users"] == added + effects["create"] - effects["delete"] - merges
        clients = sum(len(user["clients"]) for user in emulator.users("smooch"))
        assert clients == ledger["smooch"]["effects"]["link"]
        names = [user["profile"].get("givenName") for user in emulator.users("sunshine")]
        assert names.count("Joan") == effects["sync"]
        seen.add(sum(effects.values()) + clients + merges)
        emulator.add("sunshine", {"id": "later"}, app_id="app")
        emulator.close()
        emulator = Emulator(state=state)
        assert "later" in {user["id"] for user in emulator.users("sunshine")}
        emulator.close()
    assert seen == set(range(9))


async def test_damage_is_named(tmp_path: Path) -> None:
    """A changed byte in any line is refused with the line, and the file stays as it is."""
    state = tmp_path / "state"
    await write(state)
    lines = state.read_bytes().splitlines(keepends=True)
    for number in range(1, len(lines)):
        for damaged in (lines[number].replace(b'"', b"'", 1), b"{}\n", b"\n"):
            content = b"".join([*lines[:number], damaged, *lines[number + 1 :]])
            state.write_bytes(content)
            with pytest.raises(ConfigurationError, match=f"damaged in line {number + 1}: name"):
                Emulator(state=state)
            assert state.read_bytes() == content


async def test_a_full_disk_is_an_answer(tmp_path: Path) -> None:
    """Where the disk takes no more the answer is a 507 with the reason, and the file stays whole."""
    state = tmp_path / "state"
    emulator = Emulator(state=state)
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    size = state.stat().st_size
    async with sunshine_on(emulator) as client:
        once = client.with_options(retry=Retry(max_attempts=1))
        with limited(resource.RLIMIT_FSIZE, size + 5):
            with pytest.raises(ServerError, match="File too large") as caught:
                await once.users.create(UserCreateBody(external_id="a"))
            with pytest.raises(Refusal, match="File too large"):
                emulator.add("sunshine", {"id": "2"}, app_id="app")
            stored = await control(emulator, "users/sunshine?appId=app", b'{"id": "3"}')
            said = await control(emulator, "say", b'{"app_id": "app", "user": "1", "text": "Hi"}')
        assert caught.value.status == stored.status_code == said.status_code == 507
        for answer in (stored, said):
            assert "File too large" in answer.json()["message"]
        assert state.stat().st_size == size
        await once.users.create(UserCreateBody(external_id="b"))
    emulator.close()

    after = Emulator(state=state)
    after.close()
    assert after.users("sunshine") == emulator.users("sunshine")
    assert [user.get("externalId") for user in after.users("sunshine")] == [
        None,
        "a",
        None,
        None,
        "b",
    ]


@pytest.mark.parametrize("later", ["GET", "PATCH", "DELETE"])
async def test_a_change_that_the_disk_refused_is_kept_later(tmp_path: Path, later: str) -> None:
    """The next start has what the emulator had at its end, whatever the disk refused before."""
    state = tmp_path / "state"
    emulator = Emulator(state=state)
    async with calling(emulator) as app:
        with limited(resource.RLIMIT_FSIZE, 100):
            refused = await app.post("users", json={"externalId": "jane"})
        answer = await app.request(later, "users/jane", json={} if later == "PATCH" else None)
    emulator.close()

    after = Emulator(state=state)
    after.close()
    assert (refused.status_code, answer.status_code) == (507, 200)
    assert after.users("sunshine") == emulator.users("sunshine")
    assert after.ledger()["sunshine"] == emulator.ledger()["sunshine"]
    assert [user["externalId"] for user in after.users("sunshine")] == ["jane"] * (
        later != "DELETE"
    )


async def test_a_reset_on_a_full_disk(tmp_path: Path) -> None:
    """A reset that the disk refuses is a 507; what is stored later is there after the next start."""
    state = tmp_path / "state"
    emulator = Emulator(state=state)
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    with limited(resource.RLIMIT_FSIZE, 5):
        assert (await control(emulator, "reset", b"")).status_code == 507
    emulator.add("sunshine", {"id": "2"}, app_id="app")
    emulator.close()

    after = Emulator(state=state)
    after.close()
    assert [user["id"] for user in after.users("sunshine")] == ["2"]


async def test_a_part_of_a_line_is_replaced_by_the_next(tmp_path: Path) -> None:
    """A part that a failing disk keeps, whatever the emulator tries, damages no later line."""
    state = tmp_path / "state"
    emulator = Emulator(state=state)
    with state.open("ab") as file:
        file.write(b"0badc0de [")
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    emulator.close()

    after = Emulator(state=state)
    after.close()
    assert [user["id"] for user in after.users("sunshine")] == ["1"]


async def control(emulator: Emulator, path: str, content: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=emulator.transport()) as api:
        return await api.post(f"http://emulator/_emulator/{path}", content=content)
