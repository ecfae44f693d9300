"""The command line with workers: import --cluster, worker, and job show of a whole import."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread, Timer

import anyio
import pytest
from support.clusters import plan_of, rows_in, working
from support.commands import Call, caller
from support.forking import Command
from support.journals import effects, write
from support.patience import PATIENCE
from support.postgres import PostgresServer
from support.text import words
from typer.testing import Result

from sunshine_async.cli.cluster import _submit, _work
from sunshine_async.cli.options import SignalInterrupt
from sunshine_async.cli.output import Printer
from sunshine_async.cli.services import ConnectionOptions
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs.cluster import open_cluster
from sunshine_async.journal import place_of
from sunshine_async.journal.postgres_database import PostgresPlace


@pytest.fixture
def call(env: Mapping[str, str]) -> Call:
    """Return the function that runs a command in this process, and ends one that waits for ever."""

    def invoke(*arguments: object) -> Result:
        overdue = Timer(PATIENCE, os.kill, (os.getpid(), signal.SIGTERM))
        before = signal.signal(signal.SIGTERM, SignalInterrupt.handle)
        overdue.start()
        try:
            return caller(env)(*arguments)
        finally:
            overdue.cancel()
            signal.signal(signal.SIGTERM, before)

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

    listed = call("job", "failures", database)
    assert json.loads(listed.stdout)["_row"]["line"] == 21
    assert json.loads(listed.stdout)["externalId"] == 5
    exported = call("job", "export", database).stdout.splitlines()
    assert [line.split(",")[0] for line in exported] == ["line", *map(str, range(1, 22))]
    assert exported[1].endswith(",created")


@pytest.mark.slow
async def test_the_database_goes_away_before_the_report(
    *, database: str, file: Path, emulator: Emulator, postgres: PostgresServer,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An import whose parts have ended waits for the database, says so once, and prints the report."""
    place = place_of(database)
    assert isinstance(place, PostgresPlace)
    write(file, [{"externalId": "a"}])
    notes: list[str] = []

    class Noting(Printer):
        def print_note(self, note: str) -> None:
            notes.append(note)
            if note == "1 of 1 parts have ended.":
                postgres.stop()
            elif note.startswith("Waiting"):
                postgres.start()

    async with working(place, emulator.transport()):
        assert await _submit(place, plan_of(file, into=1), None, Noting()) == 0
    assert "The import goes on once the server" in notes[-1]
    assert len(notes) == 4
    assert "1 of 1 parts have ended" in words(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
async def test_a_worker_whose_database_is_stuck(
    *, database: str, file: Path, env: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, signals: int
) -> None:  # fmt: skip
    """A worker that can't give back its part leaves after a while, or at the second signal."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    place, left = place_of(database), list[int]()
    assert isinstance(place, PostgresPlace)
    write(file, [{"externalId": "a"}])

    async def sleep(seconds: float) -> None:
        assert seconds == 15.0
        if signals == 2:
            await anyio.sleep_forever()

    async with open_cluster(place) as cluster, cluster.connection() as connection:
        await cluster.submit(plan_of(file, into=1))
        await connection.execute("LOCK TABLE sunshine_cluster.imports")
        stuck, unlocked = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            anyio.Event(),
        )

        def leave(status: int) -> None:
            left.append(status)
            unlocked.set()

        async def interrupt() -> None:
            while not await rows_in(cluster, stuck):
                pass
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGTERM)
                await anyio.wait_all_tasks_blocked()
            await unlocked.wait()
            await connection.rollback()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(interrupt)
            assert await _work(place, ConnectionOptions(), 30.0, leave=leave, sleep=sleep) == 143
    assert left == [143]


@pytest.mark.slow
def test_the_list_of_an_import_is_imported(
    *, call: Call, env: Mapping[str, str], forked: Command, database: str, tmp_path: Path,
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The list has lines of the file and the command, and the pages have all parts."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"user-{n},{'x' if n in (3, 8) else n}\n" for n in range(12))
    Path("users.csv").write_text(f"externalId,metadata.n:number\n{rows}")
    options = ("--mode", "create", "--cluster", database, "--parts", "3")
    with running(forked, env, "worker", "--cluster", database):
        result = call("import", "users.csv", *options, "--report", "first.html")
        listed = call("job", "failures", database, "--out", "failed.csv")
        page = call("job", "report", database, "--out", "again.html")
        command = listed.stderr.partition("import the list: ")[2].split()
        failed = Path("failed.csv")
        failed.write_text(failed.read_text("utf-8-sig").replace(",x,", ",7,"), "utf-8")
        corrected = call(*command[1:])

    assert (result.exit_code, page.exit_code) == (1, 0), page.stderr
    assert [line.split(",")[2] for line in failed.read_text().splitlines()[1:]] == ["5", "10"]
    assert corrected.exit_code == 0, corrected.stderr
    assert effects(emulator, "sunshine") == {"create": 12}
    first, again = Path("first.html").read_text(), Path("again.html").read_text()
    assert "Finished: all 2 rows are done." in first  # of the list: the command has --report, too
    assert "Finished: 2 of 12 rows were not done." in again
    assert "sunshine-async job failures postgresql://postgres@" in again
    assert "pass-word" not in again


@pytest.mark.slow
async def test_the_import_tells_why_it_waits(
    *, env: Mapping[str, str], forked: Command, database: str, file: Path
) -> None:  # fmt: skip
    """A worker with wrong settings ends once with status 3; the import has the reason, and goes on."""
    write(file, [{"externalId": f"user-{n}"} for n in range(9)])
    worker = (*forked, "worker", "--cluster", database)
    unfit = {**os.environ, **env, "SUNSHINE_KEY_SECRET": ""}
    show = [*forked, "job", "show", database]
    place, notes = place_of(database), list[str]()
    assert isinstance(place, PostgresPlace)
    ended: list[subprocess.CompletedProcess[str]] = []
    is_alone, is_told, has_ended = Event(), Event(), Event()

    class Noting(Printer):
        def print_note(self, note: str) -> None:
            notes.append(note)
            if note.startswith("No worker is running. Start one or more"):
                is_alone.set()
            if ": worker on " in note:
                is_told.set()

    def run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own program
            command, env=unfit, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def work() -> None:
        assert is_alone.wait(PATIENCE)
        ended.extend(map(run, (worker, show)))
        assert is_told.wait(PATIENCE), notes
        with running(forked, env, "worker", "--cluster", database):
            has_ended.wait(PATIENCE)

    working = Thread(target=work)
    working.start()
    try:
        with anyio.fail_after(3 * PATIENCE):
            status = await _submit(place, plan_of(file, into=2), None, Noting())
    finally:
        has_ended.set()
        working.join()

    refused, shown = ended
    assert refused.returncode == 3
    assert "this worker can run no part: the key's secret is missing" in words(refused.stderr)
    assert "0 of 2 parts have ended, none under way" in words(shown.stdout)
    assert "the key's secret is missing" in words(shown.stdout)
    assert status == 0


@pytest.mark.slow
def test_a_worker_that_can_run_no_part(
    *, call: Call, env: Mapping[str, str], forked: Command, database: str, file: Path,
    emulator: Emulator,
) -> None:  # fmt: skip
    """Refused credentials end the command with status 3, after a single request."""
    write(file, [{"externalId": f"user-{n}"} for n in range(9)])
    emulator.faults += [Mishap(status=401)]
    options = ("--mode", "create", "--cluster", database, "--parts", "2")
    with running(forked, env, "import", str(file), *options):
        result = call("worker", "--cluster", database)
    assert result.exit_code == 3
    assert "The parts are left for other workers. Mend the cause" in words(result.stderr)
    assert emulator.requests == 1


@pytest.mark.slow
def test_a_worker_at_a_terminal_asks_for_nothing(
    *, forked: Command, env: Mapping[str, str], database: str, file: Path, emulator: Emulator
) -> None:  # fmt: skip
    """A missing secret ends the worker also where a person could type: a prompt stops heartbeats."""
    write(file, [{"externalId": "a"}])
    outer, inner = pty.openpty()
    options = ("--mode", "create", "--cluster", database, "--parts", "1")
    with running(forked, env, "import", str(file), *options):
        ended = subprocess.run(  # noqa: S603 - our own program
            [*forked, "worker", "--cluster", database], stdin=inner, stdout=subprocess.PIPE,
            stderr=inner, env={**os.environ, **env, "SUNSHINE_KEY_SECRET": ""}, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
    os.close(inner)
    said = os.read(outer, 10_000).decode()
    os.close(outer)

    assert ended.returncode == 3
    assert "this worker can run no part: the key's secret is missing" in words(said)
    assert emulator.requests == 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_watched_import(
    *, call: Call, forked: Command, env: Mapping[str, str], database: str, file: Path,
    emulator: Emulator,
) -> None:  # fmt: skip
    """While parts wait for a worker, job show --watch prints a line a second."""
    emulator.faults += [Mishap(delay=3)]  # seconds: the part ends after the first look
    write(file, [{"externalId": "a"}])
    options = ("--mode", "create", "--cluster", database, "--parts", "1")
    with running(forked, env, "import", str(file), *options) as process:
        while call("job", "show", database).exit_code:
            assert process.poll() is None, process.communicate()

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
        (
            ["--cluster", "postgresql://127.0.0.1:1/x", "--journal", "x"],
            "the database of the cluster",
        ),
        (["--cluster", "postgresql://127.0.0.1:1/x"], "can't be reached"),
        (["--cluster", "postgresql://127.0.0.1:1/x", "--parts", "0"], "no number of parts"),
        (["--parts", "4"], "--parts has an effect with --cluster only: leave out --parts"),
        (["--shared-file"], "--shared-file has an effect with --cluster only"),
        (["--show-data"], "--show-data has an effect with --report only"),
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


def test_a_heartbeat_is_long_enough(call: Call) -> None:
    """A worker that is only slow keeps its part: less than 20 seconds are refused."""
    result = call("worker", "--cluster", "postgresql://127.0.0.1:1/x", "--heartbeat", "19")
    assert result.exit_code == 2
    assert "of 20 or more" in words(result.stderr)


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
