"""The command line for Smooch v1.1: the same commands, rows with the names of that service."""

import json
from pathlib import Path

import pytest
from support.commands import Call, caller, settings

from sunshine_async.emulator import Emulator, Mishap


@pytest.fixture
def call(emulator_url: str) -> Call:
    """Run a command against the emulator, for this service."""
    return caller(settings(emulator_url, "SMOOCH"), "--service", "smooch")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Give a file of two users, a row that can't be one, and one without its key."""
    path = tmp_path / "users.csv"
    path.write_text(
        "userId,givenName,email,properties.tier\n"
        "jane-1,Jane,jane@example.org,gold\n"
        "zoë-2,Zoë,,\n"
        "june-3,June\n"
        ",Nobody,,\n"
    )
    return path


def names(emulator: Emulator) -> list[str]:
    """Return the given names of the users there are."""
    return sorted(user["profile"].get("givenName", "") for user in emulator.users("sunshine"))


def test_a_file_is_created(call: Call, users: Path, emulator: Emulator) -> None:
    """Rows become app users, on the one platform; what can't be one is named with its line."""
    ended = call("import", users, "--mode", "create")

    assert ended.exit_code == 1
    assert names(emulator) == ["Jane", "Zoë"]
    assert "2 cells, where the header has 4" in " ".join(ended.stdout.split())
    assert emulator.ledger()["smooch"]["effects"]["create"] == 2


def test_what_is_there_is_changed_and_deleted(
    call: Call, tmp_path: Path, emulator: Emulator
) -> None:
    """Upsert, update and delete find a user by the caller's id, or by the service's own."""
    emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
    rows = {
        "upsert": '{"userId":"jane-1","givenName":"Jane"}\n{"userId":"b","givenName":"Bo"}\n',
        "update": '{"userId":"jane-1","givenName":"Janet"}\n',
        "delete": '{"userId":"b"}\n',
    }
    for mode, text in rows.items():
        path = tmp_path / f"{mode}.jsonl"
        path.write_text(text)
        assert call("import", path, "--mode", mode, "--yes").exit_code == 0

    assert names(emulator) == ["Janet"]


def test_a_dry_run_sends_nothing(call: Call, users: Path, emulator: Emulator) -> None:
    """A dry run finds the same bad rows, and asks nobody."""
    assert call("import", users, "--mode", "create", "--dry-run").exit_code == 1
    assert emulator.requests == 0


def test_a_journal_goes_on(call: Call, tmp_path: Path, emulator: Emulator) -> None:
    """A run that was broken off by refused credentials ends when it is run again, each row once."""
    path, journal = tmp_path / "users.jsonl", tmp_path / "run.sqlite"
    path.write_text("".join(f'{{"userId":"id-{n}","givenName":"user {n}"}}\n' for n in range(50)))
    emulator.faults += [Mishap(status=401, when="before")]

    first = call("import", path, "--mode", "create", "--journal", journal, "--concurrency", 1)
    second = call("import", path, "--mode", "create", "--journal", journal)

    assert (first.exit_code, second.exit_code) == (3, 0)
    assert len(names(emulator)) == emulator.ledger()["smooch"]["effects"]["create"] == 50


@pytest.mark.usefixtures("instant_waits")
@pytest.mark.parametrize("mode", ["create", "upsert", "update", "delete"])
def test_lost_answers_are_settled_in_every_mode(
    mode: str, call: Call, tmp_path: Path, emulator: Emulator
) -> None:
    """With a journal, rows whose answers are lost end as done, and nobody is there twice."""
    for number in range(20 if mode in ("update", "delete") else 0):
        emulator.add("sunshine", {"externalId": f"id-{number}"}, app_id="app")
    path, journal = tmp_path / "users.jsonl", tmp_path / "run.sqlite"
    path.write_text("".join(f'{{"userId":"id-{n}","givenName":"user {n}"}}\n' for n in range(20)))
    emulator.faults += [Mishap(reset=True, when="after"), Mishap(cut=True)]

    ended = call("import", path, "--mode", mode, "--yes", "--journal", journal)

    assert ended.exit_code == 0, ended.output
    assert len(names(emulator)) == (0 if mode == "delete" else 20)


def test_one_user(call: Call, emulator: Emulator) -> None:
    """`users get` prints an app user as JSON, and `users delete` deletes it."""
    emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")

    found = call("users", "get", "jane-1")
    assert json.loads(found.stdout)["userId"] == "jane-1"
    assert call("users", "delete", "--yes", "jane-1").exit_code == 0
    assert call("users", "get", "jane-1").exit_code == 1
