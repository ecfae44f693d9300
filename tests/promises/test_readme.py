"""The README: its code runs, its tables are true, and it is no longer than it should be."""

import asyncio
import builtins
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import sunshine_async
from sunshine_async import SunshineClient, bulk, jobs
from sunshine_async.dixa import custom_attributes, end_users
from sunshine_async.dixa.custom_attributes import CustomAttributes
from sunshine_async.dixa.end_users import EndUsers
from sunshine_async.emulator import Emulator
from sunshine_async.smooch import app_users
from sunshine_async.smooch.app_users import AppUsers
from sunshine_async.sunshine import UserCreateBody, UserUpdateBody, users
from sunshine_async.sunshine.users import Users

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_it_is_short() -> None:
    """At most 300 lines, a create in 12 and a bulk job in 8, blank lines aside."""
    create, many, *_ = ([line for line in block.splitlines() if line] for block in BLOCKS)

    assert len(README.splitlines()) <= 300
    assert len(create) <= 12
    assert len(many) <= 8


def test_the_create_runs(
    emulator: Emulator,
    emulator_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first block creates Jane."""
    monkeypatch.setenv("SUNSHINE_BASE_URL", emulator_url)

    exec(BLOCKS[0], {})  # noqa: S102 - that is what a reader does

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


def test_the_tests_run(tmp_path: Path) -> None:
    """The third block is two tests that pass."""
    imports = """
import pytest, respx
from sunshine_async import BasicAuth, NotFoundError, SunshineClient
from sunshine_async.emulator import Mishap
from sunshine_async.sunshine import UserCreateBody
"""
    tmp_path.joinpath("conftest.py").write_text('pytest_plugins = ["sunshine_async.testing"]\n')
    tmp_path.joinpath("test_block.py").write_text(imports + BLOCKS[2])
    tmp_path.joinpath("pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"},
    )

    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_the_nightly_sync_runs(
    emulator: Emulator,
    emulator_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The fourth block sends all users the first night, and what has changed the next."""
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

    exec(BLOCKS[3], names)  # noqa: S102 - that is what a reader does
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


OPERATIONS = [
    *((endpoint, Users) for endpoint in users.ENDPOINTS),
    *((endpoint, AppUsers) for endpoint in app_users.ENDPOINTS),
    *((endpoint, EndUsers) for endpoint in end_users.ENDPOINTS),
    *((endpoint, CustomAttributes) for endpoint in custom_attributes.ENDPOINTS),
]


@pytest.mark.parametrize(("endpoint", "resource"), OPERATIONS, ids=str)
def test_every_operation_has_a_row(endpoint: object, resource: type) -> None:
    """Each declared operation stands in the table, beside methods that there are."""
    rows = re.findall(r"^\| `([A-Z]+ /\S+)` \| (.+?) \| `([\w-]+)` \|$", README, re.MULTILINE)

    [methods] = [ours for operation, ours, _ in rows if operation == str(endpoint)]
    for method in re.findall(r"`(?:client\.\w+\.)?(\w+)\(", methods):
        assert callable(getattr(resource, method))


def test_every_name_in_it_is_there() -> None:
    """The errors and settings that it names can be imported from the package."""
    for name in re.findall(r"`([A-Z]\w+(?:Error|Auth))", README):
        assert name in sunshine_async.__all__ or hasattr(builtins, name)
