"""The command line with workers: import --cluster, worker, and job show of a whole import."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeAlias

import pytest
from support.forking import Command
from support.journals import effects, write
from support.patience import PATIENCE
from support.text import words
from typer.testing import CliRunner, Result

from sunshine_async.cli.app import app
from sunshine_async.emulator import Emulator

Call: TypeAlias = Callable[..., Result]


@pytest.fixture
def env(emulator_url: str) -> Mapping[str, str]:
    """Return the variables of a worker and of an import."""
    return {
        "SUNSHINE_APP_ID": "app",
        "SUNSHINE_KEY_ID": "key-id",
        "SUNSHINE_KEY_SECRET": "the-secret",
        "SUNSHINE_BASE_URL": emulator_url,
        "COLUMNS": "80",
    }


@pytest.fixture
def call(env: Mapping[str, str]) -> Call:
    """Return the function that runs a command in this process."""

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], env=env)

    return invoke


@contextmanager
def running(
    command: Command, env: Mapping[str, str], *arguments: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a command in a process of its own; end the process at the end of the block."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, *arguments], env={**os.environ, **env}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_an_import_by_a_worker(
    *, call: Call, env: Mapping[str, str], forked: Command, database: str, file: Path,
    emulator: Emulator,
) -> None:  # fmt: skip
    """The import waits for the end, and shows all parts; so does job show, also while parts run."""
    write(file, [{"externalId": f"user-{n}"} for n in range(20)] + [{"externalId": 5}])
    options = ("--mode", "create", "--cluster", database, "--parts", "3")
    assert call("job", "show", database).exit_code == 2
    with running(forked, env, "worker", "--cluster", database):
        result = call("import", file, *options)
        again = call("import", file, *options, "--retry-failed", "--json")
    shown, data = call("job", "show", database, "--watch"), call("job", "show", database, "--json")

    assert result.exit_code == 1, result.stderr
    assert "3 parts are with the workers" in words(result.stderr)
    for said in map(words, (result.stdout, shown.stdout)):
        assert "done │ 20 (created)" in said
        assert "3 of 3 parts have ended" in said
        assert "line 21" in said or "21 bad" in said
    assert json.loads(data.stdout)["outcomes"] == {"created": 20}
    assert json.loads(again.stdout)["parts"] == "3 of 3 parts have ended"
    assert effects(emulator, "sunshine") == {"create": 20}

    lists = [
        call("job", "failures", f"{database}?job=import_1_part_{part}") for part in range(1, 4)
    ]
    assert {each.exit_code for each in lists} == {0}
    [bad] = "".join(each.stdout for each in lists).splitlines()
    assert json.loads(bad)["_row"]["line"] == 21
    assert json.loads(bad)["externalId"] == 5


def test_a_worker_runs_until_a_signal(
    *, call: Call, env: Mapping[str, str], forked: Command, database: str, file: Path,
    emulator: Emulator,
) -> None:  # fmt: skip
    """A worker takes the parts of each import, says so, and ends at a signal with its status."""
    write(file, [{"externalId": f"user-{n}"} for n in range(9)])
    options = ("--mode", "create", "--cluster", database, "--parts", "2", "--shared-file")
    watched: list[str] = []

    with running(forked, env, "import", str(file), *options) as process:

        def end() -> None:
            shown = subprocess.run(  # noqa: S603 - our own program
                [*forked, "job", "show", database, "--watch"], env={**os.environ, **env},
                capture_output=True, text=True, check=False, timeout=PATIENCE,
            )  # fmt: skip
            watched.append(shown.stderr)
            process.wait(PATIENCE)
            os.kill(os.getpid(), signal.SIGTERM)

        ending = Thread(target=end)
        ending.start()
        result = call("worker", "--cluster", database, "--rate", "1000")
        ending.join()
        assert process.returncode == 0

    assert result.exit_code == 143
    assert "Begun: part 1 of 2 of users.jsonl" in words(result.stderr)
    assert "All rows taken: part 2 of 2 of users.jsonl" in words(result.stderr)
    assert effects(emulator, "sunshine") == {"create": 9}


def test_a_watched_import(call: Call, forked: Command, env: Mapping[str, str], database: str,
                          file: Path) -> None:  # fmt: skip
    """While parts wait for a worker, job show --watch prints a line a second."""
    write(file, [{"externalId": "a"}])
    options = ("--mode", "create", "--cluster", database, "--parts", "1")
    with running(forked, env, "import", str(file), *options) as process:
        while call("job", "show", database).exit_code:
            pass

        def work() -> None:
            with running(forked, env, "worker", "--cluster", database):
                process.wait(PATIENCE)

        working = Thread(target=work)
        working.start()
        result = call("job", "show", database, "--watch")
        working.join()
    assert "0 of 1 parts have ended" in words(result.stderr)
    assert "1 of 1 parts have ended" in words(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cluster", "run.sqlite"], "give the URL of a database"),
        (["--cluster", "postgresql://h:pass@word@x/y"], "give an address such as"),
        (["--cluster", "postgresql://127.0.0.1:1/x", "--rate", "5"], "--rate has no effect with"),
        (["--cluster", "postgresql://127.0.0.1:1/x", "--pace", "file:x"], "--pace has no effect"),
        (["--cluster", "postgresql://127.0.0.1:1/x"], "can't be reached"),
        (["--cluster", "postgresql://127.0.0.1:1/x", "--parts", "0"], "no number of parts"),
    ],
)
def test_an_import_that_does_not_start(
    call: Call, file: Path, arguments: list[str], message: str
) -> None:
    """An address that can't be used, or an option without effect, is refused with the next step."""
    write(file, [{}])
    result = call("import", file, "--mode", "create", *arguments)

    assert result.exit_code == 2
    assert message in words(result.stderr)
    assert "word" not in result.stderr.replace("password", "")


def test_without_the_extra(call: Call, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Procrastinate, --cluster and worker name the extra, and job show has no imports."""
    write(file, [{}])
    monkeypatch.delitem(sys.modules, "sunshine_async.jobs.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    url = "postgresql://127.0.0.1:1/x"
    for arguments in (["import", file, "--mode", "create"], ["worker"]):
        result = call(*arguments, "--cluster", url)
        assert result.exit_code == 2
        assert "pip install 'sunshine-async[cluster]'" in words(result.stderr)
    assert "can't be reached" in words(call("job", "show", url).stderr)
