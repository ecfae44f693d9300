"""An import that is killed again and again, with an emulator as a process of its own."""

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field, frozen
from support.forking import INSTANT, REAL, Command
from support.journals import opened
from support.patience import PATIENCE
from support.servers import unused_port
from support.size import sized

from sunshine_async.journal import State

_NONE_MORE = 3.0  # seconds
_POLL = 0.02  # seconds
_EARLY = 0.25  # of the kills
_SETTLING = 0.25  # seconds: several times the latency of the emulator


@frozen
class Kind:
    """How the users of a service are made up, and known again."""

    service: str
    person: Callable[[int], dict[str, Any]]
    """Returns the row at a line: it tells itself by that number."""
    number: Callable[[Mapping[str, Any]], int]
    """Returns the line of a user that is there."""
    keys: tuple[str, ...]
    """What makes that a row that was cut off can be told."""
    id: str = "id"
    at_once: int = 1
    """How many rows go in a request."""
    env: Mapping[str, str] = field(factory=dict[str, str])
    options: tuple[str, ...] = ()

    def people(self, number: int, *, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Return so many rows, *without* some fields."""
        rows = map(self.person, range(1, number + 1))
        return [{name: row[name] for name in row if name not in without} for row in rows]


def _key(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}_APP_ID": "app",
        f"{prefix}_KEY_ID": "id",
        f"{prefix}_KEY_SECRET": "secret",
    }


def _uuid(n: int) -> str:
    return f"00000000-0000-4000-8000-{n:012}"


SUNSHINE = Kind(
    "sunshine",
    lambda n: {"externalId": f"user-{n}", "metadata": {"n": n, "tier": "gold"}},
    number=lambda user: int(user["metadata"]["n"]),
    keys=("externalId",),
    env=_key("SUNSHINE"),
)
SMOOCH = Kind(
    "smooch",
    lambda n: {"userId": f"user-{n}", "properties": {"n": n, "tier": "gold"}},
    number=lambda user: int(user["properties"]["n"]),
    keys=("userId",),
    id="_id",
    env=_key("SMOOCH"),
)
DIXA = Kind(
    "dixa",
    lambda n: {
        "id": _uuid(n),
        "externalId": f"user-{n}",
        "email": f"user-{n}@example.org",
        "firstName": str(n),
        "displayName": "gold",
    },
    number=lambda user: int(user["firstName"]),
    keys=("email",),
    at_once=100,
    env={"DIXA_API_TOKEN": "token"},
    options=("--rate", "1000", "--concurrency", "2"),
)


@define
class Process:
    """An emulator that can be killed, and started again where it was."""

    state: Path
    arguments: tuple[str, ...]
    command: tuple[str, ...] = REAL
    base_url: str = ""
    _process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        """Start it: on the port that it had, if it had one."""
        port = self.base_url.rpartition(":")[2] or str(unused_port())
        options = ("--port", port, "--state", str(self.state), *self.arguments)
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*self.command, "emulator", *options], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip().removeprefix("listening on ")

    def kill(self) -> None:
        """Kill it, with no time to do anything."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=PATIENCE)

    def users(self, kind: Kind = SUNSHINE) -> list[dict[str, Any]]:
        """Return the users that are there."""
        return [json.loads(line) for line in self._ask("GET", f"users/{kind.service}").splitlines()]

    def ledger(self) -> dict[str, Any]:
        """Return what was done to it."""
        found: dict[str, Any] = json.loads(self._ask("GET", "ledger"))
        return found

    def settle(self) -> None:
        """Return once the requests that have come have had all effects."""
        before = None
        while before != (now := self.ledger()):
            before = now
            time.sleep(_SETTLING)

    def spoil(self, *mishaps: Mapping[str, Any]) -> None:
        """Let that go wrong with the next calls, one after another."""
        for mishap in mishaps:
            self._ask("POST", "faults", json.dumps(mishap))

    def add(self, users: list[dict[str, Any]], kind: Kind = SUNSHINE) -> None:
        """Store *users*."""
        self._ask("POST", f"users/{kind.service}?appId=app", "\n".join(map(json.dumps, users)))

    def _ask(self, method: str, path: str, content: str | None = None) -> bytes:
        """Send a request to the emulator's own address: often, so without a client of its own."""
        address = self.base_url.removeprefix("http://")
        with closing(HTTPConnection(address, timeout=PATIENCE)) as connection:
            connection.request(method, f"/_emulator/{path}", content)
            answer = connection.getresponse()
            data = answer.read()
        assert answer.status < 300, data
        return data


@contextmanager
def emulator(folder: Path, *arguments: str, command: tuple[str, ...] = REAL) -> Iterator[Process]:
    """Run an emulator with *arguments* for the length of the block."""
    process = Process(folder / "state", arguments, command)
    process.start()
    try:
        yield process
    finally:
        process.kill()


def ended(process: "subprocess.Popen[str]", there: Process) -> tuple[str, str]:
    """Return what *process* has said, once it has ended; end it where no more requests come."""
    requests = None
    while True:
        try:
            return process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            before, requests = requests, there.ledger()["requests"]
            if requests != before:
                continue
        process.terminate()
        said, noted = process.communicate(timeout=PATIENCE)
        message = f"no request came for {PATIENCE:.0f} s: {said} {noted}"
        raise AssertionError(message)


def wait_until(
    holds: Callable[[], bool], there: Process, process: "subprocess.Popen[str] | None" = None
) -> None:
    """Return once *holds*; an error where no request comes for long, or *process* ends before."""
    requests, end = -1, 0.0
    while not holds():
        if (now := there.ledger()["requests"]) != requests:
            requests, end = now, time.monotonic() + PATIENCE
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"no request came for {PATIENCE:.0f} s"
        time.sleep(_POLL)


@frozen
class Importing:
    """An import of *rows* that goes on from its journal."""

    folder: Path
    base_url: str
    mode: str
    rows: list[dict[str, Any]] = field(repr=False)
    options: tuple[str, ...] = ()
    kind: Kind = SUNSHINE
    command: Command = REAL
    none_more: float = _NONE_MORE
    """Seconds without a request after which the next kill comes."""
    instant: bool = False
    """True: a start in a fork waits for nothing; the requests of a kill are waited for instead."""
    url: str | None = None
    """Where its journal is, unless in the folder."""

    @property
    def journal(self) -> str:
        """Where its journal is."""
        return self.url or str(self.folder / "run.sqlite")

    def start(self, **options: Any) -> "subprocess.Popen[str]":
        """Start it, from its journal if there is one."""
        file = self.folder / "users.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        service = self.kind.service
        env = {**os.environ, **self.kind.env, f"{service.upper()}_BASE_URL": self.base_url}
        env |= {INSTANT: "1"} if self.instant else {}
        return subprocess.Popen(  # noqa: S603 - our own program
            [
                *self.command, "import", str(file), "--mode", self.mode, "--yes", "--json",
                "--journal", self.journal, "--service", service, *self.kind.options,
                *self.options,
            ],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )  # fmt: skip

    def killed(
        self,
        times: int,
        random: Random,
        there: Process,
        mishaps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[int, dict[str, Any]]:
        """Kill it at most so many *times*, then let it end; return how often, and its summary.

        Most kills come after some of the requests, so that the job gets on; the others at a moment
        when it may still be starting, or reading its file. Each time all *mishaps* hit it first, in
        an order of chance, unless some of the time before are still to come.
        """
        kills = spoiled = 0
        while True:
            if sum(there.ledger()["faults"].values()) == spoiled:
                there.spoil(*random.sample(mishaps, k=len(mishaps)))
                spoiled += len(mishaps)
            process = self.start()
            if kills < times:
                if random.random() < _EARLY:
                    time.sleep(random.uniform(0.1, 0.8) * (1 if self.command == REAL else 0.1))
                else:
                    most = len(self.rows) // self.kind.at_once // (times + 1)
                    self._wait(random.randrange(1, max(2, most)), there)
                process.kill()
            said, noted = ended(process, there)
            if self.instant:
                there.settle()
            if process.returncode >= 0:
                assert said, noted
                return kills, json.loads(said)
            kills += 1

    def _wait(self, requests: int, there: Process) -> None:
        """Return when so many more requests have come, or none do any more."""
        until = there.ledger()["requests"] + requests
        patience = time.monotonic() + self.none_more
        while there.ledger()["requests"] < until and time.monotonic() < patience:
            time.sleep(_POLL)

    def states(self) -> dict[int, dict[str, Any]]:
        """Return what its journal says of each row, by line."""
        journal = opened(self.journal)
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


@frozen
class Played:
    """What became of an import that was killed: how often, what it said, and what is so."""

    kills: int
    said: dict[str, Any]
    verdict: Verdict
    ledger: dict[str, Any]


def judged(job: Importing, there: Process) -> Verdict:
    """Compare the rows of *job*, its journal, and what is *there*."""
    kind = job.kind
    found: Counter[int] = Counter()
    values = {}
    for user in there.users(kind):
        n = kind.number(user)
        found[n] += 1
        values[n] = user
    lost = doubled = wrong = 0
    for n, kept in job.states().items():
        row = job.rows[n - 1]
        doubled += max(0, found[n] - 1)
        if job.mode == "delete":
            lost += found[n]
            wrong += kept["state"] != State.DONE
            continue
        keyed = any(key in row for key in kind.keys)
        unknown = kept["state"] == State.UNKNOWN and not keyed
        lost += not found[n] and not unknown
        as_sent = found[n] and all(values[n].get(name) == value for name, value in row.items())
        same_id = found[n] and kept["remote_id"] == values[n][kind.id]
        wrong += not unknown and not (kept["state"] == State.DONE and as_sent and same_id)
        # nobody was there before: who was found was made by a run that was killed
        wrong += job.mode == "upsert" and kept["outcome"] not in ("created", "upserted", None)
    missing = len(job.rows) - len(job.states())
    return Verdict(lost + missing, doubled, wrong)


SCENES: Mapping[str, tuple[Kind, str, tuple[str, ...]]] = {
    "sunshine create": (SUNSHINE, "create", ()),
    "sunshine create without a key": (SUNSHINE, "create", ("externalId",)),
    "sunshine upsert": (SUNSHINE, "upsert", ()),
    "sunshine update": (SUNSHINE, "update", ()),
    "sunshine delete": (SUNSHINE, "delete", ("metadata",)),
    "smooch create": (SMOOCH, "create", ()),
    "smooch upsert": (SMOOCH, "upsert", ()),
    "dixa create": (DIXA, "create", ("id",)),
    "dixa create without a key": (DIXA, "create", ("id", "email", "externalId")),
    "dixa upsert by e-mail": (DIXA, "upsert", ("id", "externalId")),
    "dixa upsert by external id": (DIXA, "upsert", ("id", "email")),
    "dixa update": (DIXA, "update", ("externalId", "email")),
}
"""Services, modes, and what the rows are without."""


def play(
    scene: str,
    folder: Path,
    kills: int,
    rows: int,
    random: Random,
    *options: str,
    mishaps: Sequence[Mapping[str, Any]] = (),
    command: tuple[str, ...] = REAL,
) -> Played:
    """Kill the import of a *scene*, on an emulator with *options*, until it ends.

    The emulator is started by *command*; in a full run the import is a process of its own.
    """
    kind, mode, without = SCENES[scene]
    with emulator(folder, *options, command=command) as there:
        if mode in ("update", "delete"):
            there.add([_before(row) for row in kind.people(rows)], kind)
        people = kind.people(rows, without=without)
        start = sized(REAL, command)
        job = Importing(folder, there.base_url, mode, people, (), kind, start)
        killed, said = job.killed(kills, random, there, mishaps)
        return Played(killed, said, judged(job, there), there.ledger()[kind.service])


def _before(row: dict[str, Any]) -> dict[str, Any]:
    """Return who is there before *row* is imported."""
    return {**row, **({"metadata": {"n": row["metadata"]["n"]}} if "metadata" in row else {})}
