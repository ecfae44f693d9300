"""Random histories of jobs with a journal, against the plain dictionary of a service.

A history is some sessions over one journal: files or iterables that change in between, options,
lost answers, cuts (exception, cancellation, stop, kill). After each session the rows that the
journal calls done are compared with the users of the service.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx
import pytest
from attrs import define, field
from support.journals import end_ownership, opened
from support.patience import PATIENCE
from support.size import sized

from sunshine_async import BasicAuth, Pace, Retry, SunshineClient, jobs
from sunshine_async.jobs import (
    SUNSHINE,
    Duplicates,
    Ending,
    JournalError,
    Mode,
    Report,
    SourceError,
    open_rows,
)
from sunshine_async.jobs.source import hash_of
from sunshine_async.journal import State
from sunshine_async.rows import Row

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("instant_waits")]

HISTORIES = int(os.environ.get("HISTORIES", sized("500", "60")))
IN_POSTGRES = sized(200, 6)
PARTS = 10
IN_MEMORY = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # noqa: S108
"""Where many journals, each with many writes, cost no disk; None: there is no such place."""
REFUSED = "refused"
"""A value that the service refuses."""
BAD = {"profile": 1}
"""A row that can't be sent."""
KEYS = ("k0", "k1", "k2", "k3")
VALUES = ("A", "B", "C", REFUSED)
UNREADABLE = "{x"
"""A line of a file that can't be read."""
VALUE_OF = {hash_of(Row(1, {"metadata": {"v": value}})): value for value in VALUES}
"""The values by the hash of a row without a key."""
Item = dict[str, Any] | str
JournalIn: TypeAlias = Callable[[Path], "FileJournal | DatabaseJournal"]


@define
class Store(httpx.AsyncBaseTransport):
    """A service: a dictionary of users, with faults and a cut at requests of given numbers."""

    users: dict[str, Any] = field(factory=dict[str, Any])
    """The values by external id, or by id for users without one."""
    made: Counter[str] = field(factory=Counter)
    """How many users without an external id were created with which value."""
    faults: dict[int, str] = field(factory=dict[int, str])
    cut: tuple[int, str, Callable[[], object]] = (-1, "", print)
    """At which request, before or after its effect, what happens."""
    requests: int = 0
    dead: bool = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        number = self.requests
        await anyio.lowlevel.checkpoint()
        fault = self.faults.get(number, "")
        at, when, cut = self.cut
        if number == at and when == "before":
            self.dead = True
            cut()
        if self.dead:
            await anyio.sleep_forever()
        if "before" in fault:
            return self._lost(fault, request)
        response = self._answer(request)
        if number == at:
            self.dead = True
            cut()
            await anyio.sleep_forever()
        return self._lost(fault, request) if fault else response

    @staticmethod
    def _lost(fault: str, request: httpx.Request) -> httpx.Response:
        if "503" in fault:
            return httpx.Response(503)
        message = "reset"
        raise httpx.ReadError(message, request=request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        key = request.url.path.partition("/users/")[2]
        body = json.loads(request.content) if request.content else {}
        value = body.get("metadata", {}).get("v")
        if value == REFUSED:
            return httpx.Response(400, json={"errors": [{"code": "bad_request", "title": "no"}]})
        if request.method == "POST":
            key = body.get("externalId") or f"id-{len(self.users)}"
            if key in self.users:
                return httpx.Response(409, json={"errors": [{"code": "conflict", "title": "no"}]})
            self.made[value] += "externalId" not in body
        elif key not in self.users:
            return httpx.Response(404, json={"errors": [{"code": "not_found", "title": "no"}]})
        if request.method == "DELETE":
            del self.users[key]
            return httpx.Response(200, json={})
        if request.method != "GET":
            self.users[key] = value
        user = {"id": f"id of {key}", "externalId": key, "metadata": {"v": self.users[key]}}
        status = 201 if request.method == "POST" else 200
        return httpx.Response(status, json={"user": user})


@define
class FileJournal:
    """The journal in a file of a *folder*."""

    folder: Path

    @property
    def place(self) -> str | Path:
        return self.folder / "run.sqlite"

    def kill(self) -> None:
        """Keep the files as a kill leaves the files at this moment."""
        left = self.folder / "left"
        shutil.rmtree(left, ignore_errors=True)
        left.mkdir()
        for file in self.folder.glob("run.sqlite*"):
            shutil.copy(file, left)

    def restore(self) -> None:
        """Let the files be as the kill has left the files, if there was one."""
        left = self.folder / "left"
        if left.exists():
            for file in self.folder.glob("run.sqlite*"):
                file.unlink()
            for file in left.iterdir():
                shutil.move(file, self.folder)
            left.rmdir()


@define
class DatabaseJournal:
    """The journal at a URL of PostgreSQL: a killed session has another owner's journal."""

    place: str | Path

    def kill(self) -> None:
        """Refuse all that the session writes from this moment on."""
        end_ownership(str(self.place))

    def restore(self) -> None:
        """Do nothing: nothing was written since the kill."""


@define
class History:
    """Sessions over a *journal*, all drawn by *luck*, with the files of a *folder*."""

    luck: Random
    folder: Path
    journal: FileJournal | DatabaseJournal
    mode: Mode = field(init=False)
    store: Store = field(init=False, factory=Store)
    rows: list[Item] = field(init=False)
    duplicates: Duplicates | None = field(init=False)
    keyless: bool = field(init=False)
    streams: bool = field(init=False)
    allowed: Counter[str] = field(init=False, factory=Counter)
    """How many users without a key there may be at most, by value."""
    more: Counter[str] = field(init=False, factory=Counter)
    """How many more, since they were asked for."""
    log: list[str] = field(init=False, factory=list[str])

    def __attrs_post_init__(self) -> None:
        luck = self.luck
        self.mode = luck.choice([Mode.CREATE, Mode.UPSERT, Mode.UPSERT, Mode.UPDATE, Mode.DELETE])
        self.keyless = self.mode is Mode.CREATE and luck.random() < 0.6
        self.streams = luck.random() < 0.4
        self.duplicates = luck.choice([None, None, *Duplicates])
        self.rows = [self._item() for _ in range(luck.randint(1, 5))]
        if self.mode in (Mode.UPDATE, Mode.DELETE):
            self.store.users = dict.fromkeys(KEYS[:3], "before")

    def _item(self) -> Item:
        luck = self.luck
        if luck.random() < 0.1:
            return luck.choice([BAD, UNREADABLE])
        item: dict[str, Any] = {} if self.mode is Mode.DELETE else {
            "metadata": {"v": luck.choices(VALUES, (5, 4, 3, 1))[0]}
        }  # fmt: skip
        if not self.keyless or luck.random() < 0.3:
            item["externalId"] = luck.choice(KEYS)
        return item

    def _changed(self) -> list[Item]:
        """Return the rows as another source has them."""
        luck, rows = self.luck, list(self.rows)
        for _ in range(luck.randint(1, 3)):
            place = luck.randrange(len(rows) + 1)
            match luck.randrange(4):
                case 0:
                    rows.insert(place, self._item())
                case 1:
                    rows[place : place + 1] = [self._item()]
                case 2 if len(rows) > 1:
                    del rows[place : place + 1]
                case _:
                    luck.shuffle(rows)
        return rows

    async def session(self, *, last: bool = False) -> None:
        """Run the job once, over the rows as they were or over others."""
        luck = self.luck
        if not last and luck.random() < 0.6:
            self.rows = self._changed()
        stream = self.streams != (luck.random() < 0.1)
        options: dict[str, Any] = {
            name: luck.random() < odds
            for name, odds in (
                ("accept_changed_source", 0.5), ("retry_failed", 0.3), ("retry_unknown", 0.2),
                ("full", 0.1 if not self.keyless else 0.0),
            )
        }  # fmt: skip
        if last:
            options.update(accept_changed_source=True, retry_failed=True, retry_unknown=True)
        duplicates = self.duplicates
        if stream:
            duplicates = None
        elif last and duplicates is Duplicates.FAIL:
            duplicates = Duplicates.ALL
        options |= {"duplicates": duplicates, "concurrency": luck.randint(1, 4)}
        cut = "" if last or luck.random() < 0.4 else luck.choice(["kill", "kill", "cancel", "stop"])
        broken = luck.randrange(len(self.rows) + 1) if stream and luck.random() < 0.2 else None
        broken = None if last else broken
        faults: dict[int, str] = {}
        if not last and luck.random() < 0.4:
            for number in range(1, 12):
                if luck.random() < 0.3:
                    faults[number] = luck.choice(
                        ["before", "after", "503 before", "503 after", "after"]
                    )
        at = luck.randint(1, 5)
        when = luck.choice(["before", "after"])
        self.log.append(
            f"{'stream' if stream else 'file'} {self._said()} "
            f"{ {k: v for k, v in options.items() if v} } cut={cut and (cut, at, when)} "
            f"broken={broken} faults={faults}"
        )
        self._allow(options)
        report = await self._run(
            stream=stream, cut=cut, at=at, when=when, faults=faults, broken=broken, options=options
        )
        self.log.append(f"   -> {self.store.users} {self.store.made} {_told(report)}")
        names = ("number", "line", "key", "state", "outcome", "code", "body")
        self.log += [f"      {[row[name] for name in names]}" for row in self._kept()]
        self._judge()
        if report is not None and report.ending is Ending.ALL and not report.waiting:
            self._judge_all(options, stream=stream)
        if last:
            self._judge_last(report, duplicates)

    def _said(self) -> str:
        return " ".join(
            "bad" if item in (BAD, UNREADABLE) else "{}={}".format(
                item.get("externalId", "-"), item.get("metadata", {}).get("v")
            )
            for item in self.rows
        )  # fmt: skip

    def _allow(self, options: dict[str, Any]) -> None:
        """Take down how many users without a key may be there after this session."""
        if options["retry_unknown"]:
            for row in self._kept():
                if row["key"] is None and row["state"] in (State.UNKNOWN, State.BEGUN):
                    self.more[_value(row)] += 1
            with closing(opened(self.journal.place)) as journal:
                query = "SELECT hash FROM made WHERE state <> ?"
                hashes = journal._fetch_all(query, (State.DONE,))
            self.more += Counter(VALUE_OF[body_hash] for (body_hash,) in hashes)
        now = Counter(
            item["metadata"]["v"]
            for item in self.rows
            if isinstance(item, dict) and item != BAD and "externalId" not in item
            and "metadata" in item
        )  # fmt: skip
        self.allowed |= now

    async def _run(
        self, *, stream: bool, cut: str, at: int, when: str, faults: dict[int, str],
        broken: int | None, options: dict[str, Any],
    ) -> Report | None:  # fmt: skip
        store, report = self.store, None
        store.requests, store.dead, store.faults = 0, False, faults
        with anyio.CancelScope() as scope:

            def end() -> None:
                if cut == "stop":
                    job.stop()
                    return
                if cut == "kill":
                    self.journal.kill()
                scope.cancel()

            store.cut = (at if cut else -1, when, end)
            client = SunshineClient(
                "app", auth=BasicAuth("key-id", "secret"), base_url="http://127.0.0.1",
                transport=store, retry=Retry(max_attempts=self.luck.randint(1, 2)), pace=Pace(),
            )  # fmt: skip
            with suppress(ZeroDivisionError):
                async with (
                    client,
                    jobs.open(
                        self.journal.place, client, SUNSHINE, self.mode,
                        keep_bodies=True, grace=0, **options,
                    ) as job,
                ):  # fmt: skip
                    try:
                        report = await self._send(job, stream=stream, broken=broken)
                    except (JournalError, SourceError) as error:
                        self._refused(str(error), options)
        self.journal.restore()
        return report

    def _refused(self, reason: str, options: dict[str, Any]) -> None:
        """Check that nothing is sent by a session that is refused, and that it had to be."""
        self.log.append(f"   refused: {reason}")
        assert not self.store.requests
        assert not options["accept_changed_source"] or "the key of an earlier" in reason

    async def _send(self, job: jobs.JournaledJob, *, stream: bool, broken: int | None) -> Report:
        if stream:
            return await job.run(self._stream(broken))
        file = self.folder / "users.jsonl"
        file.write_text(
            "".join(
                f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in self.rows
            )
        )
        with open_rows(file, job.shape) as rows:
            return await job.run(rows)

    def _stream(self, broken: int | None) -> Iterator[Item]:
        for place, item in enumerate(self.rows):
            if place == broken:
                raise ZeroDivisionError
            yield item

    def _kept(self) -> list[dict[str, Any]]:
        """Return the rows of the journal, in the order in which they were sent last."""
        with closing(opened(self.journal.place)) as journal:
            order = dict(journal._fetch_all("SELECT number, session FROM rows"))
            rows = [*journal.rows()]
        return sorted(rows, key=lambda row: (order[row["number"]], row["number"]))

    def _judge(self) -> None:
        """Compare the journal with the service: none is done that isn't, and none is twice."""
        last: dict[str, dict[str, Any]] = {}
        begun: dict[str, int] = {}
        made: Counter[str] = Counter()
        for row in self._kept():
            if row["state"] == State.BEGUN and row["key"] is not None:
                begun[row["key"]] = max(begun.get(row["key"], 0), row["number"])
            if row["key"] is None:
                made[_value(row)] += row["state"] == State.DONE
            elif row["state"] in (State.DONE, State.UNKNOWN, State.BEGUN):
                last[row["key"]] = row
        for key, row in last.items():
            # a row that had begun is sent again without another mark, after the rows before it
            if row["state"] == State.DONE and begun.get(key, 0) < row["number"]:
                there = self.store.users.get(key)
                assert there == (None if self.mode is Mode.DELETE else _value(row)), (key, row)
        assert made <= self.store.made, (made, self.store.made)
        assert self.store.made <= self.allowed + self.more, (self.allowed, self.more)

    def _judge_all(self, options: dict[str, Any], *, stream: bool) -> None:
        """Check that a run that is over has each row of its source."""
        kept = self._kept()
        assert not stream or options
        if not stream:
            assert [row["line"] for row in sorted(kept, key=lambda row: row["number"])][
                : len(self.rows)
            ] == [*range(1, len(self.rows) + 1)]
        for place, item in enumerate(self.rows, 1):
            if isinstance(item, dict) and item != BAD and "externalId" in item:
                assert any(row["key"] == item["externalId"] for row in kept), item
            elif not stream:
                assert any(row["line"] == place for row in kept), place

    def _judge_last(self, report: Report | None, duplicates: Duplicates | None) -> None:
        """Check that a last session without faults has brought all rows to their end."""
        assert report is not None
        assert report.ending is Ending.ALL, report.reason
        wanted: dict[str, str | None] = {}
        for item in self.rows:
            if isinstance(item, dict) and item != BAD and "externalId" in item:
                value = item.get("metadata", {}).get("v")
                if duplicates is Duplicates.FIRST:
                    wanted.setdefault(item["externalId"], value)
                elif value != REFUSED or duplicates in (None, Duplicates.LAST):
                    wanted[item["externalId"]] = value
        kept = self._kept()
        for key, value in wanted.items():
            rows = [row for row in kept if row["key"] == key and row["state"] != State.LEFT_OUT]
            if value == REFUSED or (self.mode is Mode.UPDATE and key == KEYS[3]):
                continue
            if self.mode in (Mode.UPSERT, Mode.UPDATE):
                assert self.store.users[key] == value, key
                assert any(r["state"] == State.DONE and _value(r) == value for r in rows), key
            elif self.mode is Mode.CREATE:
                assert key in self.store.users
            else:
                assert key not in self.store.users


def _value(row: dict[str, Any]) -> str:
    data: dict[str, Any] = json.loads(row["body"] or "{}")
    value: str = data.get("metadata", {}).get("v", "")
    return value


def _told(report: Report | None) -> str:
    if report is None:
        return "cut off"
    return (
        f"{report.ending.name} {report.reason} done {report.done} {dict(report.outcomes)} failed "
        f"{report.failed} unknown {report.unknown} bad {report.bad} waiting {report.waiting}"
    )


async def play(seed: int, folder: Path, journal: FileJournal | DatabaseJournal) -> None:
    """Play the history with the number *seed*."""
    history = History(Random(seed), folder, journal)
    try:
        for _ in range(history.luck.randint(1, 5)):
            await history.session()
        await history.session(last=True)
    except Exception as error:
        told = "\n".join([f"history {seed}, {history.mode}", *history.log])
        message = f"{error!r}\n{told}"
        raise AssertionError(message) from error


async def play_all(seeds: Iterable[int], journal_in: JournalIn) -> None:
    """Play the histories with the numbers *seeds*, and show the first that go wrong."""
    wrong: list[str] = []
    for seed in seeds:
        with TemporaryDirectory(dir=IN_MEMORY) as folder:
            try:
                with anyio.fail_after(PATIENCE):
                    await play(seed, Path(folder), journal_in(Path(folder)))
            except (AssertionError, TimeoutError) as error:
                wrong.append(str(error) or f"history {seed} hangs")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:3])


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
async def test_histories(part: int) -> None:
    """Whatever is cut off, changed and lost: no row is lost, doubled, or called done and isn't."""
    await play_all(range(part, HISTORIES, PARTS), FileJournal)


@pytest.mark.slow
async def test_histories_in_postgres(shared_database: str) -> None:
    """The same with the journal in PostgreSQL, where a cut-off session has lost the journal."""
    numbers = count()

    def journal_in(_: Path) -> DatabaseJournal:
        return DatabaseJournal(f"{shared_database}?job=history_{next(numbers)}")

    await play_all(range(HISTORIES, HISTORIES + IN_POSTGRES), journal_in)
