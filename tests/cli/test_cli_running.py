"""Commands around a run: a running job is shown, a deletion is confirmed, a resumed job tells the truth."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.text import words
from typer.testing import CliRunner

from sunshine_async import BasicAuth, SunshineClient
from sunshine_async.cli import app as commands
from sunshine_async.cli import job as job_commands
from sunshine_async.cli import services
from sunshine_async.cli.app import app
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import SUNSHINE, Mode, open_rows
from sunshine_async.jobs import open as open_job
from sunshine_async.journal import Journal, SourceRow
from sunshine_async.testing import ScriptedTransport


def call(*arguments: object, input: str | None = None, **env: str) -> Any:
    """Run the command line in this process."""
    settings = {
        "SUNSHINE_APP_ID": "app", "SUNSHINE_KEY_ID": "id", "SUNSHINE_KEY_SECRET": "secret",
        "DIXA_API_TOKEN": "token", "COLUMNS": "80", **env,
    }  # fmt: skip
    return CliRunner().invoke(app, [str(a) for a in arguments], env=settings, input=input)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let the wait between two looks do something else."""

    def act(wait: Callable[[], object]) -> None:
        monkeypatch.setattr(job_commands.time, "sleep", lambda _: wait())

    return act


class TestShow:
    def test_a_running_job(self, path: Path) -> None:
        """A journal in use is shown, as running, in text and in JSON."""
        with closing(Journal(path)) as journal:
            journal.add([SourceRow(1, "a", b"a")])
            journal.describe(mode="create", service="sunshine", state="open")
            said = words(call("job", "show", path).stdout)
            assert "status │ running" in said
            journal.write([], about={"live": json.dumps({"held": "503 at POST /x"}), "reach": "1"})
            said = words(call("job", "show", path).stdout)
            assert "running, waiting for the service: 503 at POST /x" in said
            assert "under way │ 1 (sent now, or next)" in said
            assert "rows │ 1" in said
            assert json.loads(call("job", "show", path, "--json").stdout)["running"] is True
        assert json.loads(call("job", "show", path, "--json").stdout)["running"] is False

    @pytest.mark.parametrize("command", ["export", "failures", "report"])
    def test_other_commands(self, path: Path, command: str) -> None:
        """A list or a report of a running job leaves the journal with the job."""
        with closing(Journal(path)) as journal:
            journal.add([SourceRow(1, "a", b"a"), SourceRow(2, None, b"", reason="no key")])
            journal.describe(mode="create", service="sunshine", state="open")
            ended = call("job", command, path)
            assert ended.exit_code in {0, 1}
            assert ("running" in ended.stdout) == (command == "report")
            assert ("no key" in ended.stdout) == (command != "export")
            journal.add([SourceRow(3, "b", b"b")])

    def test_live(self, path: Path, watched: Callable[[Callable[[], object]], None]) -> None:
        """With --watch there is a line for each look, and the summary at the end of the job."""
        journal = Journal(path)
        live = {"rows": 50, "total": 200, "rate": 10.0, "not_done": 2, "at": 0.0}
        steps: list[Callable[[], object]] = [
            lambda: journal.describe(live=json.dumps(live)),
            lambda: journal.describe(
                live=json.dumps({**live, "rate": 0, "not_done": 0, "at": 1e12})
            ),
            lambda: journal.describe(live=json.dumps({**live, "total": 0, "at": 1e12})),
            lambda: journal.describe(live=json.dumps({**live, "held": "", "at": 1e12})),
            lambda: journal.describe(live=json.dumps({**live, "held": "503", "at": 1e12})),
            lambda: journal.describe(live=json.dumps({**live, "paused_until": 1e12, "at": 1e12})),
            journal.close,
        ]
        remaining = iter(steps)

        def step() -> None:
            next(remaining)()

        watched(step)

        result = call("job", "show", path, "--watch")

        assert result.exit_code == 0
        reading, first, second, third, *waits = result.stderr.splitlines()
        assert reading == "The job is reading the rows."
        assert first.startswith("25 %, 50 rows, 10/s, 15 s left, 2 not done, no outcome for ")
        assert second == "25 %, 50 rows, 0/s"
        assert third == "50 rows, 10/s, 2 not done"
        assert [wait.partition("not done, ")[2] for wait in waits[:2]] == [
            "waiting for the service", "waiting for the service: 503",
        ]  # fmt: skip
        assert "not done, asked to wait 2" in waits[2]
        assert "no job has used this journal yet" in result.stdout

    def test_live_on_a_terminal(
        self, path: Path, watched: Callable[[Callable[[], object]], None]
    ) -> None:
        """On a terminal each look is shown in place of the look before."""
        journal = Journal(path)
        watched(journal.close)
        result = call("job", "show", path, "--watch", FORCE_COLOR="1", TERM="xterm")
        assert result.exit_code == 0
        assert "The job is reading the rows." in result.stderr
        assert result.stderr.endswith("\x1b[2K")  # the line is erased at the end

    def test_live_on_a_dumb_terminal(
        self, path: Path, watched: Callable[[Callable[[], object]], None]
    ) -> None:
        """A terminal that can't go back to a line gets a line a look."""
        journal = Journal(path)
        watched(journal.close)
        result = call("job", "show", path, "--watch", FORCE_COLOR="1", TERM="dumb")
        assert result.exit_code == 0
        assert result.stderr == "The job is reading the rows.\n"

    def test_a_resumed_job(
        self, path: Path, watched: Callable[[Callable[[], object]], None]
    ) -> None:
        """While a resumed job reads the rows, the counts of the session before aren't shown."""
        journal = Journal(path)
        journal.describe(live=json.dumps({"rows": 50, "total": 200}))
        journal.begin_session()
        watched(journal.close)
        result = call("job", "show", path, "--watch")
        assert result.exit_code == 0
        assert result.stderr == "The job is reading the rows.\n"


@pytest.mark.slow
async def test_a_resumed_job_knows_its_rows(tmp_path: Path) -> None:
    """After a resume the number of rows is that of the file, not an estimate from the rows read."""
    file, journal = tmp_path / "users.jsonl", tmp_path / "run.sqlite"
    file.write_text("".join(json.dumps({"externalId": f"{n}"}) + "\n" for n in range(600)))
    seen: list[tuple[int, int | None]] = []
    for _ in range(2):
        transport = ScriptedTransport([(201, {"user": {"id": "1"}})] * 600)
        client = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=transport)

        async with client, open_job(journal, client, SUNSHINE, Mode.CREATE, concurrency=4) as job:
            with open_rows(file, job.shape) as rows:
                assert job.total() is None  # before the file is read
                job._options = evolve_progress(job, seen)
                await job.run(rows)
    assert 0 < seen[-1][0] <= 600
    assert {total for _, total in seen} == {600}


def evolve_progress(job: Any, seen: list[tuple[int, int | None]]) -> Any:
    """Return options that stop the first job in the middle, and note the total on each commit."""
    first = not seen

    def note(report: Any) -> None:
        seen.append((report.rows, job.total()))
        if first and report.rows > 100:
            job.stop()

    return commands.JobOptions(concurrency=4, on_progress=note)


class TestConfirmation:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """Return a file of two users and a bad row."""
        path = tmp_path / "\x1b[2Kusers.jsonl"
        path.write_text('{"externalId": "a"}\n{"externalId": "b"}\nnonsense\n')
        return path

    @pytest.mark.parametrize("service", ["sunshine", "dixa"])
    def test_without_a_terminal(self, file: Path, emulator_url: str, service: str) -> None:
        """Nothing is deleted without --yes where nobody can be asked."""
        for arguments in (("import", file, "--mode", "delete"), ("users", "delete", "a")):
            ended = call(*arguments, "--service", service, "--base-url", emulator_url, input="y\n")
            assert ended.exit_code == 2
            assert "give --yes to confirm" in ended.stderr
            assert ("Anonymize, for good" in ended.stderr) == (service == "dixa")

    @pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
    def test_at_a_terminal(  # noqa: PLR0917 - pytest's
        self, file: Path, emulator: Emulator, emulator_url: str, monkeypatch: pytest.MonkeyPatch,
        answer: str, left: int,
    ) -> None:  # fmt: skip
        """A person is asked, with the number of rows; an answer but yes deletes nothing.

        A name can't change the question on the terminal.
        """
        for key in "ab":
            emulator.add("sunshine", {"externalId": key}, app_id="app")
        for module in (commands, services):
            monkeypatch.setattr(module, "can_prompt", lambda: True)
        there = ("--base-url", emulator_url)
        ended = call("import", file, "--mode", "delete", *there, input=f"{answer}\n")
        shown = str(file).replace("\x1b", "\\x1b")
        assert f"Delete 2 users in {shown} at sunshine?" in words(ended.stderr)
        assert len(emulator.users("sunshine")) == left
        assert ended.exit_code == (1 if answer == "y" else 2)
        ended = call("users", "delete", "a", *there, input=f"{answer}\n")
        assert "Delete 1 user at sunshine?" in ended.stderr
        assert len(emulator.users("sunshine")) == left
