"""An import that is watched: the kill of either process leaves the other intact, and no look blocks the import."""

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
from attrs import evolve
from killing import SUNSHINE, Importing, Process, emulator, ended, judged
from support.forking import REAL, Command
from support.patience import PATIENCE
from support.size import sized

from sunshine_async.jobs.source import LIVE
from sunshine_async.journal import JournalReader, State

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROWS = sized(3000, 200)
SLOW = ("--rate", sized("400", "50"))
"""Options of an import that is still under way when the import is killed, on a busy machine too."""
KILLS = sized(6, 1)
LOOK_EVERY = sized(0.01, 0.1)  # seconds


def slow_import(folder: Path, there: Process, command: Command) -> Importing:
    """Return an import of all rows, in a full run in a process of its own."""
    rows, start = SUNSHINE.people(ROWS), sized(REAL, command)
    return Importing(folder, there.base_url, "create", rows, SLOW, command=start)


def watch(job: Importing, command: Command) -> "subprocess.Popen[str]":
    """Start ``job show --watch`` beside *job*."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [*command, "job", "show", job.journal, "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def started(job: Importing) -> "subprocess.Popen[str]":
    """Start *job*; return the process once the process has the journal."""
    process = job.start()
    reader = JournalReader(job.journal)
    wait_until(lambda: Path(job.journal).exists() and reader.running and process.poll() is None)
    return process


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when *holds* returns True; give up after `PATIENCE`."""
    patience = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < patience
        time.sleep(LOOK_EVERY / 2)


def done(job: Importing) -> int:
    """Return the number of rows that the journal says are done."""
    return JournalReader(job.journal).report().states[State.DONE]


@contextmanager
def looks(job: Importing) -> Iterator[list[int]]:
    """Look at the journal again and again, for the length of the block; give the numbers of rows done."""
    seen: list[int] = []
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            seen.append(done(job))

    thread = Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def finished(job: Importing, there: Process, process: "subprocess.Popen[str]") -> None:
    """Check that *process* ends the import of all rows, each exactly once."""
    said, noted = ended(process, there)
    assert process.returncode == 0, noted
    assert json.loads(said)["done"] == len(job.rows)
    assert judged(job, there).right
    assert there.ledger()["sunshine"]["effects"]["create"] == len(job.rows)


def test_watchers_are_killed(tmp_path: Path, forked: Command) -> None:
    """An import goes on, and sends no request twice, while watchers are killed beside the import."""
    random = Random(1)
    with emulator(tmp_path, "--latency", "0.1", command=forked) as there:
        job = slow_import(tmp_path, there, forked)
        process = started(job)
        with looks(job) as seen:
            for number in range(KILLS):
                watcher = watch(job, forked)
                wait_until(lambda many=number: done(job) >= many * ROWS // (2 * KILLS))
                time.sleep(random.uniform(0, 0.1))
                watcher.kill()
                watcher.communicate()
            assert process.poll() is None
            last = watch(job, forked)
            finished(job, there, process)
        shown, noted = ended(last, there)
        assert there.ledger()["requests"] == ROWS
    assert (last.returncode, seen) == (0, sorted(seen))
    assert " rows" in noted
    assert "finished" in shown


def test_the_import_is_killed(tmp_path: Path, forked: Command) -> None:
    """A watcher tells the truth about a killed import; no look keeps the next start out."""
    with emulator(tmp_path, "--latency", "0.02", command=forked) as there:
        job = slow_import(tmp_path, there, forked)
        process = started(job)
        with looks(job) as seen:
            for number in range(1, KILLS + 1):
                watcher = watch(job, forked)
                wait_until(lambda many=number: done(job) >= many * ROWS // (2 * KILLS))
                process.kill()
                process.communicate()
                shown, noted = ended(watcher, there)
                assert watcher.returncode == 0, noted
                assert "not finished" in shown
                process = started(job)
            finished(job, there, process)
    assert seen == sorted(seen)


def test_the_reason_of_a_wait(tmp_path: Path, forked: Command) -> None:
    """While calls are paused on request, or held in an outage, a look tells the reason, and only then."""
    with emulator(tmp_path, "--latency", "0.05", command=forked) as there:
        job = Importing(tmp_path, there.base_url, "create", SUNSHINE.people(ROWS))
        job = evolve(job, command=forked, options=("--rate", "100"))

        def live() -> dict[str, Any]:
            found: dict[str, Any] = json.loads(JournalReader(job.journal).about().get(LIVE, "{}"))
            return found

        process = started(job)
        wait_until(lambda: done(job) > ROWS // 10)
        assert (live()["held"], live()["paused_until"]) == (None, 0.0)
        there.spoil({"status": 429, "retry_after": 8})
        wait_until(lambda: live()["paused_until"] > time.time())
        wait_until(lambda: not live()["paused_until"])
        there.kill()
        wait_until(lambda: "connection refused" in (live()["held"] or ""))
        there.start()
        wait_until(lambda: live()["held"] is None)
        said, noted = ended(process, there)
        assert process.returncode == 0, noted
        assert json.loads(said)["done"] == ROWS
        assert judged(job, there).right


def test_a_foreign_reader(tmp_path: Path, forked: Command) -> None:
    """A read that another program holds open, from before a start to the end, blocks nothing."""
    with emulator(tmp_path, "--latency", "0.05", command=forked) as there:
        job = slow_import(tmp_path, there, forked)
        process = started(job)
        wait_until(lambda: done(job) > ROWS // 10)
        with closing(sqlite3.connect(job.journal, isolation_level=None)) as other:
            other.execute("BEGIN")
            query = "SELECT count(*) FROM rows WHERE state = 2"
            before = other.execute(query).fetchone()
            process.kill()
            process.communicate()
            assert process.returncode < 0
            process = started(evolve(job, options=()))
            finished(job, there, process)
            assert other.execute(query).fetchone() == before
    assert 0 < before[0] < ROWS
