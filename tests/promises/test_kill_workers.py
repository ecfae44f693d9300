"""Imports by workers, in real processes: one killed, one stopped and continued, the database restarted."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from attrs import define
from killing import SUNSHINE, Process, emulator, ended, wait_until
from support import quick_worker
from support.forking import REAL, Command
from support.patience import PATIENCE
from support.postgres import PostgresServer
from support.size import sized

ROWS = sized(20_000, 400)
PARTS = sized(16, 6)
HEARTBEAT, LEASE = sized(("20", "10"), ("3", "1"))
QUICK = str(Path(quick_worker.__file__))
OPTIONS = ("--concurrency", sized("32", "4"))
BEGUN = sized(ROWS // 20, ROWS // 5)
"""Rows after which workers are ended: each has its connections by then."""
LATENCY = ("--latency", sized("0.01", "0.05"))


@define(eq=False)
class Working:
    """A worker in a process of its own, and the notes so far."""

    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def notes(self) -> str:
        return " ".join(self.log.read_text().split())

    @property
    def has_part(self) -> bool:
        """True while a part is under way."""
        return self.notes.count("Begun: ") > self.notes.count("All rows taken: ")


@contextmanager
def worker(log: Path, command: Command, database: str, env: Mapping[str, str]) -> Iterator[Working]:
    """Run a worker for the length of the block."""
    arguments = [*command, "worker", "--cluster", database, "--heartbeat", HEARTBEAT]
    with log.open("wb") as notes:
        process = subprocess.Popen(  # noqa: S603 - our own program
            sized(arguments, [command[0], QUICK, database, HEARTBEAT]),
            env={**os.environ, **env}, stdout=notes, stderr=notes,
        )  # fmt: skip
    try:
        yield Working(log, process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(PATIENCE)


def number_of_workers(address: str) -> int:
    """Return how many workers look for parts in the database at *address*."""
    with psycopg.connect(address) as connection:
        try:
            found = connection.execute("SELECT count(*) FROM procrastinate_workers").fetchone()
        except psycopg.errors.UndefinedTable:  # the first worker makes the table
            return 0
    return int(found[0]) if found else 0


def stop_in_part(working: Working, there: Process) -> None:
    """Stop the worker, with ``SIGSTOP``, while a part is under way."""
    while True:
        wait_until(lambda: working.has_part, there)
        working.process.send_signal(signal.SIGSTOP)
        if working.has_part:
            return
        working.process.send_signal(signal.SIGCONT)


@pytest.mark.waits
@pytest.mark.slow
@pytest.mark.costly
@pytest.mark.parametrize("restarted", [True, False])
def test_a_killed_and_a_stopped_worker(
    tmp_path: Path, forked: Command, postgres: PostgresServer, *, restarted: bool
) -> None:
    """Exactly one effect a row; the stopped worker, once others have its part, sends nothing more."""
    file = tmp_path / "users.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in SUNSHINE.people(ROWS)))
    with postgres.database() as address, emulator(tmp_path, *LATENCY, command=forked) as there:
        database = f"{address}?lease={LEASE}"
        env = {**SUNSHINE.env, "SUNSHINE_BASE_URL": there.base_url}
        logs = [tmp_path / f"{n}.log" for n in range(3)]
        with (
            worker(logs[0], forked, database, env) as killed,
            worker(logs[1], REAL, database, env) as stopped,
            worker(logs[2], forked, database, env) as left,
        ):
            wait_until(lambda: number_of_workers(address) == 3, there)
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*forked, "import", str(file), "--mode", "create", "--cluster", database,
                 "--parts", str(PARTS), "--json", *OPTIONS],
                env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            parts = (killed, stopped)
            wait_until(
                lambda: len(there.users()) > BEGUN and all(one.has_part for one in parts), there
            )
            stop_in_part(stopped, there)
            killed.process.kill()
            assert process.poll() is None
            if restarted:
                postgres.stop()
                time.sleep(1.0)
                postgres.start()
            said, _ = ended(process, there)
            requests = there.ledger()["requests"]
            stopped.process.send_signal(signal.SIGCONT)
            wait_until(lambda: "Left to other workers: part" in stopped.notes, there)
            time.sleep(1.0)
        ledger = there.ledger()
        users = {user["externalId"] for user in there.users()}

    report = json.loads(said)
    assert process.returncode == 0
    assert (report["done"], report["rows"], report["unknown"]) == (ROWS, ROWS, 0)
    assert len(users) == ledger["sunshine"]["users"] == ROWS
    assert ledger["sunshine"]["effects"]["create"] == ROWS
    assert ledger["requests"] == requests
    assert f"of {PARTS} of users.jsonl" in left.notes
