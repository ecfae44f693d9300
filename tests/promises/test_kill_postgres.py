"""Imports with a journal in PostgreSQL: killed, stopped, and without the server for a while."""

import json
import signal
import time
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from killing import SUNSHINE, Importing, Process, emulator, ended, judged, wait_until
from support.forking import Command
from support.journals import owner_of
from support.postgres import PostgresServer
from support.size import sized

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROWS = sized(1500, 120)
RATE = ("--rate", str(sized(100, 40)))
LEASE = 2
CALM = ("--latency", "0.01")


@pytest.fixture
def url(journal_url: str) -> str:
    """Return the URL of a journal that a killed process leaves soon."""
    return f"{journal_url}&lease={LEASE}"


def all_are_done(job: Importing, there: Process) -> bool:
    """Return True if each row has made a single user, and the journal says so."""
    ledger = there.ledger()["sunshine"]
    rows = len(job.rows)
    return judged(job, there).right and ledger["users"] == ledger["effects"]["create"] == rows


def test_killed(tmp_path: Path, forked: Command, url: str) -> None:
    """Killed at random, and run again until it ends, an import has done each row exactly once."""
    with emulator(tmp_path, *CALM, command=forked) as there:
        rows = SUNSHINE.people(ROWS)
        job = Importing(tmp_path, there.base_url, "create", rows, RATE, command=forked, url=url)
        kills, said = job.killed(sized(4, 1), Random(1), there)

        assert kills
        assert said["done"] == ROWS
        assert all_are_done(job, there)


def test_the_server_is_started_again(
    tmp_path: Path, forked: Command, postgres: PostgresServer, url: str
) -> None:
    """Killed, or away for longer than a lease, PostgreSQL makes the import wait; nothing is lost."""
    with emulator(tmp_path, *CALM, command=forked) as there:
        rows = SUNSHINE.people(ROWS)
        job = Importing(tmp_path, there.base_url, "create", rows, RATE, command=forked, url=url)
        process = job.start()
        for part, how, seconds in ((4, signal.SIGQUIT, 0.5), (2, signal.SIGINT, LEASE + 0.5)):
            wait_until(lambda many=ROWS // part: len(there.users()) >= many, there, process)
            before = len(there.users())
            postgres.stop(how)
            assert process.poll() is None
            time.sleep(seconds)
            postgres.start()
        said, noted = ended(process, there)

        assert process.returncode == 0, noted
        assert before < ROWS
        assert json.loads(said)["done"] == ROWS
        assert all_are_done(job, there)
        assert there.ledger()["requests"] == ROWS


@pytest.mark.costly
@pytest.mark.parametrize("is_over", [False, True], ids=["during the other", "after the other"])
def test_a_stopped_process_sends_and_writes_nothing_more(
    tmp_path: Path, forked: Command, url: str, *, is_over: bool
) -> None:
    """Stopped until another process has the journal, and then continued: the first process ends."""
    with emulator(tmp_path, *CALM, command=forked) as there:
        job = Importing(tmp_path, there.base_url, "create", SUNSHINE.people(ROWS), RATE, url=url)
        first = job.start()
        wait_until(lambda: len(there.users()) >= ROWS // 4, there, first)
        first.send_signal(signal.SIGSTOP)
        owner, requests = owner_of(url), there.ledger()["requests"]
        second = evolve(job, command=forked).start()
        wait_until(
            lambda: owner_of(url) != owner and there.ledger()["requests"] != requests, there, second
        )
        if is_over:
            said, _ = ended(second, there)
            requests = there.ledger()["requests"]
        first.send_signal(signal.SIGCONT)
        said_last, noted = ended(first, there)
        if is_over:
            assert there.ledger()["requests"] == requests
        else:
            said, _ = ended(second, there)

        assert first.returncode == 3, (said_last, noted)
        reason = json.loads(said_last)["reason"]  # from the lease or from the journal
        assert "another process has the journal" in reason or "has another owner" in reason
        assert json.loads(said)["done"] == ROWS
        assert all_are_done(job, there)


def test_a_second_process_is_refused(tmp_path: Path, forked: Command, url: str) -> None:
    """While a process has the journal another is refused, and sends nothing; SIGTERM ends in order."""
    with emulator(tmp_path, *CALM, command=forked) as there:
        rows = SUNSHINE.people(ROWS)
        slow = ("--rate", "10")
        job = Importing(tmp_path, there.base_url, "create", rows, slow, command=forked, url=url)
        first = job.start()
        wait_until(lambda: bool(there.users()), there, first)
        second = job.start()
        said, noted = ended(second, there)
        first.terminate()
        ended(first, there)

        assert (second.returncode, said) == (2, "")
        assert "is in use by another process" in noted
        assert "pass-word" not in noted
        assert first.returncode == 143
        job = evolve(job, options=())
        assert job.killed(0, Random(1), there)[1]["done"] == ROWS
        assert there.ledger()["requests"] == ROWS
