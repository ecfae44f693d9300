"""The command line for Dixa: a token, a hundred rows a request, and users that are anonymized."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.commands import Call, caller
from support.text import words
from typer.testing import CliRunner

from sunshine_async.cli import services
from sunshine_async.cli.app import app
from sunshine_async.cli.services import ConnectionOptions
from sunshine_async.emulator import Emulator, Mishap


@pytest.fixture
def call(emulator_url: str) -> Call:
    """Run a command against the emulator, for this service."""
    env = {"DIXA_API_TOKEN": "the-token", "DIXA_BASE_URL": emulator_url, "COLUMNS": "80"}
    return caller(env, "--service", "dixa")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Give a file of two users, and a third whose number can't be read."""
    path = tmp_path / "users.csv"
    path.write_text(
        "externalId,displayName,email,phoneNumber,additionalEmails\n"
        "1,Jane,jane@example.org,030 901820,\n"
        "2,Zoë,zoë@example.org,+4530901820,z@example.org|zz@example.org\n"
        "3,June,june@example.org,12,\n"
    )
    return path


def there(emulator: Emulator) -> dict[str, dict[str, Any]]:
    return {user["displayName"]: dict(user) for user in emulator.users("dixa")}


class TestImport:
    def test_national_numbers(self, call: Call, users: Path, emulator: Emulator) -> None:
        """With a region national numbers become E.164, and the report says how many."""
        ended = call("import", users, "--mode", "create", "--default-region", "DE")

        assert ended.exit_code == 1
        assert {name: user["phoneNumber"] for name, user in there(emulator).items()} == {
            "Jane": "+4930901820",
            "Zoë": "+4530901820",
        }
        said = words(ended.stdout)
        assert "4 bad phoneNumber: no phone number of DE" in said
        assert "numbers │ 1 (turned into E.164)" in said
        assert "the-token" not in ended.output

    def test_every_mode(self, call: Call, tmp_path: Path, emulator: Emulator) -> None:
        """Rows are created, upserted, updated by id and anonymized."""
        path = tmp_path / "users.jsonl"
        rows = [{"email": f"{n}@x.org", "displayName": f"{n}"} for n in range(150)]

        def imported(mode: str, rows: list[dict[str, Any]]) -> int:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            return call("import", path, "--mode", mode, "--yes", "--rate", 1000).exit_code

        assert imported("create", rows) == 0
        assert imported("upsert", [{**rows[0], "firstName": "A"}]) == 0
        ids = {name: user["id"] for name, user in there(emulator).items()}
        assert imported("update", [{"id": ids["1"], "firstName": "B"}]) == 0
        assert imported("delete", [{"id": ids["2"], "displayName": "passed over"}]) == 0
        assert there(emulator)["0"]["firstName"] == "A"
        assert there(emulator)["1"]["firstName"] == "B"
        assert emulator.ledger()["dixa"]["effects"] == {
            "create": 150,
            "patch": 2,
            "update": 0,
            "anonymize": 1,
            "patch_custom_attributes": 0,
        }
        assert emulator.requests == 2 + 3 + 1 + 1

    def test_rows_that_can_be_no_users(self, call: Call, tmp_path: Path) -> None:
        """What can't be read or meant is named with its line and its field; nothing is sent."""
        path = tmp_path / "users.jsonl"
        path.write_text('{"firstName":"A"}\n{"id":"x"}\n[1]\n{"id":"x","email":4}\n')

        update = call("import", path, "--mode", "update")
        upsert = call("import", path, "--mode", "upsert")

        assert (update.exit_code, upsert.exit_code) == (1, 1)
        for said in (
            "1 bad no id: the row names no user",
            "2 bad id: not one of Dixa's",
            "3 bad not a",
        ):
            assert said in words(update.stdout)
        assert "1-2 bad no externalId, no email and no phoneNumber" in words(upsert.stdout)
        assert "4 bad email: expected text" in words(upsert.stdout)

    def test_columns_that_are_none(self, call: Call, users: Path, tmp_path: Path) -> None:
        """An unknown column, or none with the id, is said before anything is sent, with what to do."""
        path = tmp_path / "unknown.csv"
        path.write_text("mail\njane@example.org\n")

        unknown = call("import", path, "--mode", "create")
        without = call("import", users, "--mode", "update")

        assert (unknown.exit_code, without.exit_code) == (2, 2)
        assert "--map email=mail" in unknown.stderr
        assert "has no column that says which user: id" in without.stderr

    def test_a_dry_run(self, call: Call, users: Path, emulator: Emulator) -> None:
        """A dry run counts requests and time at Dixa's own rate, and says what has no effect."""
        ended = call(
            "import", users, "--mode", "upsert", "--dry-run", "--default-region", "de",
            "--journal", users.with_suffix(".sqlite"), "--grace", 1,
        )  # fmt: skip

        assert ended.exit_code == 1
        said = words(ended.stdout)
        assert "requests │ 1 (100 rows in one; look-ups come on top)" in said
        assert "0.1 s at least, at 10 requests a second" in said
        assert "numbers │ 1 (turned into E.164)" in said
        assert "these have no effect: --journal, --grace" in words(ended.stderr)
        without = call("import", users, "--mode", "upsert", "--dry-run")
        assert without.exit_code == 0
        assert "numbers │ 2 not in E.164 (+...): --default-region DE turns" in words(without.stdout)
        assert emulator.requests == 0

    def test_a_region_elsewhere(self, call: Call, users: Path) -> None:
        """A region means nothing where numbers aren't E.164, and that is said."""
        ended = CliRunner().invoke(
            app, ["import", str(users), "--mode", "create", "--default-region", "DE"]
        )
        assert ended.exit_code == 2
        assert "--default-region is for rows with phone numbers" in ended.stderr


class TestUsers:
    @pytest.fixture
    def id(self, emulator: Emulator) -> str:
        return str(emulator.add("dixa", {"displayName": "Jane"})["id"])

    def test_get(self, call: Call, id: str) -> None:
        """One end user is printed as JSON, as the service sent it."""
        ended = call("users", "get", id)
        assert ended.exit_code == 0
        assert json.loads(ended.stdout)["displayName"] == "Jane"

    def test_delete(self, call: Call, id: str, emulator: Emulator) -> None:
        """To delete is to ask for an anonymization, and what that means is said."""
        ended = call("users", "delete", "--yes", id)
        assert ended.exit_code == 0
        assert "anonymizes the end user, with all conversations and messages, for good" in words(
            ended.stderr
        )
        assert emulator.ledger()["dixa"]["effects"]["anonymize"] == 1

    def test_open_conversations(self, call: Call, id: str, emulator: Emulator) -> None:
        """Open conversations are in the way, unless it is forced: the refusal says so."""
        emulator.dixa.add_conversation(id, {"state": "Open"})
        refused = call("users", "delete", "--yes", id)
        assert refused.exit_code == 1
        assert "--force anonymizes the user all the same" in refused.stderr
        assert call("users", "delete", "--yes", id, "--force").exit_code == 0

    def test_a_conflict_that_force_cannot_end(
        self, call: Call, id: str, emulator: Emulator
    ) -> None:
        """A refusal that comes with --force doesn't ask for it."""
        emulator.faults += [Mishap(status=409)]
        refused = call("users", "delete", "--yes", id, "--force")
        assert refused.exit_code == 1
        assert "--force" not in refused.stderr


class TestConnectionOptions:
    @pytest.mark.parametrize("option", ["--app-id", "--key-id"])
    def test_what_it_has_not(self, call: Call, option: str) -> None:
        """An app or a key means nothing to Dixa: that is said, not passed over."""
        ended = call("users", "get", "x", option, "y")
        assert ended.exit_code == 2
        assert f"{option} doesn't apply to dixa" in ended.stderr

    @pytest.mark.parametrize(
        ("service", "option"), [("dixa", "--brand-id=b"), ("smooch", "--brand-id=b")]
    )
    def test_a_brand(self, call: Call, service: str, option: str) -> None:
        """Who has no brands says so."""
        said = ["users", "get", "x", "--service", service, option]
        ended = CliRunner().invoke(app, said)
        assert ended.exit_code == 2
        assert f"--brand-id doesn't apply to {service}" in ended.stderr

    def test_force_is_for_dixa(self) -> None:
        """What only Dixa can be told is refused elsewhere."""
        ended = CliRunner().invoke(app, ["users", "delete", "--yes", "x", "--force"])
        assert ended.exit_code == 2
        assert "--force doesn't apply to sunshine" in ended.stderr

    def test_the_token(self, call: Call, tmp_path: Path) -> None:
        """The token comes from a file or the environment; without one the refusal says which."""
        file = tmp_path / "token"
        file.write_text("another\n")
        missing = call("users", "get", "x", DIXA_API_TOKEN=None)
        assert missing.exit_code == 2
        assert (
            "the API token is missing: set DIXA_API_TOKEN, or name a file with it: --secret-file secret.txt"
            in words(missing.stderr)
        )
        found = call("users", "get", "x", "--secret-file", file, DIXA_API_TOKEN=None)
        assert "404" in found.stderr or "400" in found.stderr

    def test_the_pace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Dixa's own rate holds, unless another is said."""
        monkeypatch.setenv("DIXA_API_TOKEN", "the-token")
        connect = services.find_service("dixa").connect
        assert connect(ConnectionOptions()).pace.rate == 10
        assert connect(ConnectionOptions(rate=3)).pace.rate == 3
