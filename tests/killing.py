"""An import that is killed again and again, with an emulator as a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
from attrs import define, field, frozen

from sunshine_async.journal import Journal, State

COMMAND = (sys.executable, "-m", "sunshine_async")
_PATIENCE = 60.0
_NONE_MORE = 3.0  # seconds
_EARLY = 0.25  # of the kills


@define
class Process:
    """An emulator that can be killed, and started again where it was."""

    state: Path
    arguments: tuple[str, ...]
    base_url: str = ""
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start it: on the port that it had, if it had one."""
        port = self.base_url.rpartition(":")[2] or "0"
        options = ("--port", port, "--state", str(self.state), *self.arguments)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*COMMAND, "emulator", *options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip().removeprefix("listening on ")

    def kill(self) -> None:
        """Kill it, with no time to do anything."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def users(self) -> list[dict[str, Any]]:
        """Return the users that are there."""
        text = httpx.get(f"{self.base_url}/_emulator/users/sunshine", trust_env=False).text
        return [json.loads(line) for line in text.splitlines()]

    def ledger(self) -> dict[str, Any]:
        """Return what was done to it."""
        found: dict[str, Any] = httpx.get(
            f"{self.base_url}/_emulator/ledger", trust_env=False
        ).json()
        return found

    def add(self, users: list[dict[str, Any]]) -> None:
        """Store *users*."""
        content = "\n".join(map(json.dumps, users))
        url = f"{self.base_url}/_emulator/users/sunshine?appId=app"
        httpx.post(url, content=content, trust_env=False).raise_for_status()


@contextmanager
def emulator(folder: Path, *arguments: str) -> Iterator[Process]:
    """Run an emulator with *arguments* for the length of the block."""
    process = Process(folder / "state", arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()


@frozen
class Importing:
    """An import of *rows* that goes on from its journal."""

    folder: Path
    base_url: str
    mode: str
    rows: list[dict[str, Any]] = field(repr=False)
    options: tuple[str, ...] = ()

    @property
    def journal(self) -> Path:
        """Where its journal is."""
        return self.folder / "run.sqlite"

    def start(self, **options: Any) -> "subprocess.Popen[str]":
        """Start it, from its journal if there is one."""
        file = self.folder / "users.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        env = {**os.environ, "SUNSHINE_APP_ID": "app", "SUNSHINE_KEY_ID": "id"}
        env |= {"SUNSHINE_KEY_SECRET": "secret", "SUNSHINE_BASE_URL": self.base_url}
        return subprocess.Popen(  # noqa: S603 - our own program
            [
                *COMMAND, "import", str(file), "--mode", self.mode, "--json",
                "--journal", str(self.journal), *self.options,
            ],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def killed(self, times: int, random: Random, there: Process) -> tuple[int, dict[str, Any]]:
        """Kill it at most so many *times*, then let it end; return how often, and its summary.

        Most kills come after some of the requests, so that the job gets on; the others at a moment
        when it may still be starting, or reading its file.
        """
        kills = 0
        while True:
            process = self.start()
            if kills < times:
                if random.random() < _EARLY:
                    time.sleep(random.uniform(0.1, 0.8))
                else:
                    self._wait(random.randrange(1, max(2, len(self.rows) // (times + 1))), there)
                process.kill()
            said, noted = process.communicate(timeout=_PATIENCE)
            if process.returncode >= 0:
                assert said, noted
                return kills, json.loads(said)
            kills += 1

    @staticmethod
    def _wait(requests: int, there: Process) -> None:
        """Return when so many more requests have come, or none do any more."""
        until = there.ledger()["requests"] + requests
        patience = time.monotonic() + _NONE_MORE
        while there.ledger()["requests"] < until and time.monotonic() < patience:
            time.sleep(0.005)

    def states(self) -> dict[int, dict[str, Any]]:
        """Return what its journal says of each row, by line."""
        journal = Journal(self.journal, must_exist=True)
        try:
            return {row["line"]: row for row in journal.rows()}
        finally:
            journal.close()


@frozen
class Verdict:
    """How many rows were lost, doubled, or are otherwise than their journal says."""

    lost: int
    doubled: int
    wrong: int

    @property
    def right(self) -> bool:
        """Whether there is nothing to complain about."""
        return not (self.lost or self.doubled or self.wrong)


def judged(job: Importing, there: Process) -> Verdict:
    """Compare the rows of *job*, its journal, and what is *there*; rows tell themselves by ``n``."""
    found: Counter[int] = Counter()
    values = {}
    for user in there.users():
        n = user["metadata"]["n"]
        found[n] += 1
        values[n] = user
    lost = doubled = wrong = 0
    for line, kept in job.states().items():
        row = job.rows[line - 1]
        n = row.get("metadata", {"n": line})["n"]
        doubled += max(0, found[n] - 1)
        if job.mode == "delete":
            lost += found[n]
            wrong += kept["state"] != State.DONE
            continue
        keyed = "externalId" in row
        unknown = kept["state"] == State.UNKNOWN and not keyed
        lost += not found[n] and not unknown
        as_sent = found[n] and all(values[n].get(name) == value for name, value in row.items())
        same_id = found[n] and kept["remote_id"] == values[n]["id"]
        wrong += not unknown and not (kept["state"] == State.DONE and as_sent and same_id)
    missing = len(job.rows) - len(job.states())
    return Verdict(lost + missing, doubled, wrong)


def people(number: int, *, keyed: bool = True) -> list[dict[str, Any]]:
    """Return so many rows."""
    return [
        {**({"externalId": f"user-{n}"} if keyed else {}), "metadata": {"n": n, "tier": "gold"}}
        for n in range(1, number + 1)
    ]
