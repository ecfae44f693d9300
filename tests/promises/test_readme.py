"""The README: its code runs, its tables are true, and it is no longer than it should be."""

import asyncio
import builtins
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
import starlette.applications
import starlette.routing
from support.clients import dixa, smooch, sunshine
from support.deliveries import envelope, message
from support.user_tests import run_tests
from support.virtual import until

import sunshine_async
from sunshine_async import SunshineClient, bulk, jobs, webhooks
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import TextMessage, UserCreateBody, UserUpdateBody

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def on_emulator(block: str, url: str) -> str:
    """Return *block* with the address of the emulator instead of the reader's subdomain."""
    assert 'subdomain="acme"' in block
    return block.replace('subdomain="acme"', f"base_url={url!r}")


def test_it_is_short() -> None:
    """At most 300 lines, a create in 12 and a bulk job in 8, blank lines aside."""
    create, many, *_ = ([line for line in block.splitlines() if line] for block in BLOCKS)

    assert len(README.splitlines()) <= 300
    assert len(create) <= 12
    assert len(many) <= 8


def test_the_create_runs(
    emulator: Emulator,
    emulator_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first block creates Jane."""
    exec(on_emulator(BLOCKS[0], emulator_url), {})  # noqa: S102 - that is what a reader does

    [jane] = emulator.users("sunshine")
    assert jane["profile"]["givenName"] == "Jane"
    assert capsys.readouterr().out.startswith(jane["id"])


def test_the_bulk_job_runs(
    emulator: Emulator, sunshine_client: SunshineClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second block changes who is there, and says who isn't."""
    emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
    names = {"SunshineClient": SunshineClient, "UserUpdateBody": UserUpdateBody, "bulk": bulk}

    exec(BLOCKS[1], names)  # noqa: S102 - that is what a reader does
    asyncio.run(names["give_gold"](sunshine_client, ["jane-1", "june-2"]))  # type: ignore[operator]

    said = capsys.readouterr().out
    assert emulator.users("sunshine")[0]["metadata"] == {"tier": "gold"}
    assert said.startswith("1 Failed 404 user_not_found")


async def test_the_bot_answers(
    emulator: Emulator, emulator_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third block is a bot that answers a user's message once."""
    monkeypatch.chdir(tmp_path)
    emulator.add("sunshine", {"externalId": "jane-1"}, app_id="my-app-id")
    said = emulator.say("my-app-id", "jane-1", "Hello")
    names = {**vars(starlette.applications), **vars(starlette.routing), **vars(sunshine_async)}
    names |= {"SunshineClient": SunshineClient, "TextMessage": TextMessage, "webhooks": webhooks}
    exec(on_emulator(BLOCKS[2], emulator_url), names)  # noqa: S102 - that is what a reader does
    event = message(1, said["conversation"])
    headers = {"X-API-Key": "webhook-secret"}

    async with (
        names["app"].router.lifespan_context(names["app"]),
        httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), headers=headers) as service,
        names["client"] as client,
    ):
        for _ in range(3):
            assert (
                await service.post("http://bot/webhooks/", json=envelope([event]))
            ).status_code == 200
        await until(lambda: emulator.ledger()["sunshine"]["effects"].get("message") == 1)
        answers = [each async for each in client.messages.list(said["conversation"])]

    texts = [each.content.text for each in answers if isinstance(each.content, TextMessage)]
    assert texts == ["Hello", "You said: hello 1"]


def test_the_tests_run(tmp_path: Path) -> None:
    """The fourth block is a test that passes."""
    imports = """
from sunshine_async.emulator import Mishap
from sunshine_async.sunshine import UserCreateBody
"""
    conftest = 'pytest_plugins = ["sunshine_async.testing"]\n'

    said = run_tests(tmp_path, conftest, imports + BLOCKS[3])

    assert "1 passed" in said, said


def test_the_nightly_sync_runs(
    emulator: Emulator,
    emulator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The fifth block sends all users the first night, and what has changed the next."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"APP_ID": "a", "KEY_ID": "k", "KEY_SECRET": "s"}.items():
        monkeypatch.setenv(f"SUNSHINE_{name}", value)
    monkeypatch.setenv("SUNSHINE_BASE_URL", emulator_url)
    names = {
        "Iterable": Iterable,
        "SunshineClient": SunshineClient,
        "UserCreateBody": UserCreateBody,
        "jobs": jobs,
    }

    exec(BLOCKS[4], names)  # noqa: S102 - that is what a reader does
    users = [UserCreateBody(external_id=f"id-{number}") for number in range(3)]
    changed = [UserCreateBody(external_id="id-0", metadata={"tier": "gold"}), *users[1:]]
    for night in (users, changed):
        asyncio.run(names["sync"](night))

    assert capsys.readouterr().out.splitlines() == [
        "Counter({'created': 3}) 0 0",
        "Counter({'unchanged': 2, 'updated': 1}) 0 0",
    ]
    assert emulator.ledger()["sunshine"]["users"] == 3
    assert emulator.ledger()["sunshine"]["effects"]["update"] == 1


def test_the_program_for_dask_is_one_that_runs() -> None:
    """The sixth block stands in the introduction of the parts of a file, whose programs are run."""
    assert textwrap.indent(BLOCKS[5], "    ", str.strip) in str(
        sys.modules[jobs.partition.__module__].__doc__
    )


RESOURCES = {
    name: type(resource)
    for client in (sunshine(None), smooch(None), dixa(None))
    for name in dir(client)
    if not name.startswith("_")
    for resource in [getattr(client, name)]
    if "ENDPOINTS" in dir(sys.modules.get(type(resource).__module__))
}
FOR_JOBS = {"upserted", "creating", "patching", "upserting"}


@pytest.mark.parametrize("name", RESOURCES)
def test_every_method_is_listed(name: str) -> None:
    """The row of a resource names each public method, and no other."""
    [listed] = re.findall(rf"^\|[^|]*`client\.{name}`[^|]*\|(.*)\|$", README, re.MULTILINE)
    public = {each for each in dir(RESOURCES[name]) if not each.startswith("_")}

    assert set(re.findall(r"`(\w+)`", listed)) == public - FOR_JOBS


def test_every_name_in_it_is_there() -> None:
    """The errors and settings that it names can be imported from the package."""
    for name in re.findall(r"`([A-Z]\w+(?:Error|Auth))", README):
        assert name in sunshine_async.__all__ or hasattr(builtins, name)
