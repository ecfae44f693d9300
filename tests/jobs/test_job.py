"""Jobs: every row has its outcome, and the report says what it was."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st
from support.backends import on_both, virtual_on_both
from support.size import sized
from support.virtual import sleep, until, virtual, virtual_on_trio

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    DixaClient,
    Lane,
    NotFoundError,
    Pace,
    ResponseDecodeError,
    Retry,
    SmoochClient,
    SunshineClient,
    jobs,
)
from sunshine_async._codec.model import UNSET, Unset
from sunshine_async._http.messages import Request
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import (
    DIXA,
    SERVICES,
    SUNSHINE,
    BadRow,
    Ending,
    Job,
    Latencies,
    Mode,
    Problem,
    Report,
    Row,
    Shape,
    SourceError,
    StoppedError,
    Trouble,
    dry_run,
    open_rows,
)
from sunshine_async.jobs.calls import problem_of
from sunshine_async.jobs.outage import MANY
from sunshine_async.jobs.report import KEPT, NAMED
from sunshine_async.jobs.tasks.task import Entry, Task
from sunshine_async.testing import ScriptedTransport, no_waiting


class Gate(httpx.AsyncBaseTransport):
    """Holds requests until opened, except for the first, and counts the requests held."""

    def __init__(self) -> None:
        self.came = -1
        self.open = anyio.Event()
        self.reached = anyio.Event()
        self.awaited = 1

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        self.came += 1
        if self.came >= self.awaited:
            self.reached.set()
        if self.came:
            await self.open.wait()
        return httpx.Response(201, json={"user": {"id": "1"}})


def client_on(transport: httpx.AsyncBaseTransport, **options: Any) -> SunshineClient:
    retry = Retry(first_wait=0, max_wait=0)
    options = {"auth": BasicAuth("key-id", "some-secret"), "retry": retry, **options}
    return SunshineClient("app", base_url="http://127.0.0.1", transport=transport, **options)


def people(*keys: str) -> list[Row]:
    return [Row(line, {"externalId": key}) for line, key in enumerate(keys, 1)]


def many(number: int) -> list[Row]:
    return people(*(f"user-{n}" for n in range(number)))


def pick(report: Report) -> list[tuple[int, Trouble, str]]:
    return [(problem.line, problem.trouble, problem.code) for problem in report.problems]


async def test_every_row_has_its_outcome(
    client: SunshineClient, emulator: Emulator, tmp_path: Path
) -> None:
    """A file's rows end as done, failed or bad; the service has what is done, and nothing else."""
    path = tmp_path / "users.csv"
    path.write_text("externalId,metadata.age:number\na,1\nb,2\na,3\nc,old\nd,4,5\ne,\n")
    seen = []
    job = Job(client, SUNSHINE, Mode.CREATE, on_problem=seen.append, clock=count().__next__)
    with open_rows(path, job.shape) as rows:
        report = await job.run(rows)

    assert (report.rows, report.done, report.failed, report.unknown, report.bad) == (6, 3, 1, 0, 2)
    assert sorted(pick(report)) == [
        (4, Trouble.FAILED, "conflict"),
        (5, Trouble.BAD, "bad row"),
        (6, Trouble.BAD, "bad row"),
    ]
    assert seen == report.problems
    assert (report.ending, report.reason, report.last_line) == (Ending.ALL, None, 7)
    assert (report.requests, report.resent, report.throttled) == (4, 0, 0)
    assert report.latencies.count == 4
    assert report.rate == report.rows / report.seconds
    assert job.read == 6
    assert job.under_way == 0
    users = {user["externalId"]: user.get("metadata") for user in emulator.users("sunshine")}
    assert users == {"a": {"age": 1}, "b": {"age": 2}, "e": {}}


async def test_updates_and_deletions_say_who(client: SunshineClient, emulator: Emulator) -> None:
    """A row's id, or else its external id, says which user it is about, and isn't sent as a body."""
    user = await client.users.create(SUNSHINE.tasks[Mode.CREATE].shape.body(external_id="a"))
    await Job(client, SUNSHINE, Mode.CREATE).run(people("b", "c"))
    rows = [
        Row(1, {"id": user.id, "externalId": "z", "metadata": {"n": 1}}),
        Row(2, {"id": "", "externalId": "b", "metadata": {"n": 2}, "brandId": None}),
        Row(3, {"id": None, "metadata": {}}),
        Row(4, {"id": 7}),
        Row(5, {"externalId": "c", "brandId": "other-brand"}),
        Row(6, {"id": "nobody"}),
        Row(7, {"id": ".."}),
    ]
    report = await Job(client, SUNSHINE, Mode.UPDATE, concurrency=1).run(rows)
    assert report.done == 2
    assert {problem.line: problem.reason.partition(" (")[0] for problem in report.problems} == {
        3: "no id and no externalId: the row names no user",
        4: "id: expected text, got an integer",
        5: report.problems[-3].reason.partition(" (")[0],
        6: report.problems[-2].reason.partition(" (")[0],
        7: "user_id_or_external_id can't be '..': that would call another URL",
    }
    assert [problem.trouble for problem in report.problems] == [
        Trouble.BAD,
        Trouble.BAD,
        Trouble.FAILED,
        Trouble.FAILED,
        Trouble.BAD,
    ]

    rows = [Row(1, {"externalId": "b", "notes": 1}), Row(2, {"id": user.id})]
    report = await Job(client, SUNSHINE, Mode.DELETE).run(rows)
    assert (report.done, report.troubles) == (2, 0)
    assert [user["externalId"] for user in emulator.users("sunshine")] == ["c"]


async def test_upserts_create_or_change(client: SunshineClient, emulator: Emulator) -> None:
    """In upsert mode a user is made or changed by its external id; a row without one is bad."""
    await Job(client, SUNSHINE, Mode.CREATE).run(people("a"))
    rows = [
        Row(line, {**row.data, "metadata": {"n": line}})
        for line, row in enumerate(people("a", "b"))
    ]
    report = await Job(client, SUNSHINE, Mode.UPSERT).run([*rows, Row(3, {"metadata": {}})])
    assert (report.done, pick(report)) == (2, [(3, Trouble.BAD, "invalid")])
    users = {user["externalId"]: user["metadata"] for user in emulator.users("sunshine")}
    assert users == {"a": {"n": 0}, "b": {"n": 1}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"profile": {"email": 1}}, "profile.email: expected text, got an integer"),
        ({"profile": []}, "profile: expected an object, got a list"),
        ({"signedUpAt": 5, "profile": {"extra": 1}}, "signedUpAt: expected text, got an integer"),
        ({"signedUpAt": "2020-05-21"}, "signedUpAt: expected a time with its zone, such as"),
        ({"signedUpAt": "2020-05-21T15:53:30"}, "signedUpAt: expected a time with its zone"),
        ({"signedUpAt": "2020-99-21T15:53:30Z"}, "signedUpAt: expected a time such as"),
        ({"metadata": {"x": "y" * 100_000}}, "the body is 100021 bytes as JSON; the service takes"),
        ({"metadata": {"x": math.nan}}, "metadata.x: JSON has no NaN"),
    ],
)
async def test_bodies_that_cannot_be_sent(
    client: SunshineClient, emulator: Emulator, data: Any, reason: str
) -> None:
    """A row whose body can't be sent is bad, with the field's name on the wire; others go on."""
    report = await Job(client, SUNSHINE, Mode.CREATE).run([Row(1, data), *people("a")])
    assert report.problems[0].reason.startswith(reason)
    assert (report.done, report.bad) == (1, 1)
    assert emulator.ledger()["requests"] == 1


@pytest.mark.parametrize("at", ["2020-05-21T15:53:30Z", "2020-05-21 15:53+02", "20200521T155330Z"])
async def test_times_with_a_zone(client: SunshineClient, at: str) -> None:
    """A time with a zone is one in any of ISO 8601's forms."""
    report = await Job(client, SUNSHINE, Mode.CREATE).run([Row(1, {"signedUpAt": at})])
    assert report.done == 1


async def test_keys_beyond_the_model_are_counted(client: SunshineClient) -> None:
    """Keys that the model doesn't know are sent, and counted: they may be misspelled."""
    rows = [Row(1, {"external_id": "a", "profile": {"name": "A"}}), Row(2, {"external_id": "b"})]
    rows += [Row(line, {f"key-{line}": 1}) for line in range(3, 99)]
    report = await Job(client, SUNSHINE, Mode.CREATE).run(rows)
    assert (report.beyond["external_id"], report.beyond["profile.name"]) == (2, 1)
    assert len(report.beyond) == NAMED
    assert report.as_json()["keys_not_in_the_model"]["external_id"] == 2


async def test_lost_answers_are_unknown(client: SunshineClient, emulator: Emulator) -> None:
    """A row whose call may have been applied, with nothing to tell, is unknown."""
    emulator.faults.append(Mishap(reset=True, when="after"))
    report = await Job(client, SUNSHINE, Mode.CREATE).run([Row(1, {})])
    assert pick(report) == [(1, Trouble.UNKNOWN, "lost")]
    assert "may have acted" in report.problems[0].reason


async def test_what_was_sent_again_is_counted(client: SunshineClient, emulator: Emulator) -> None:
    """Requests, those of them that were sent again, and those that were throttled are counted."""
    await client.users.create(SUNSHINE.tasks[Mode.CREATE].shape.body(external_id="before"))
    emulator.faults.append(Mishap(status=429, times=2))
    with no_waiting():
        report = await Job(client, SUNSHINE, Mode.CREATE).run(people("a", "b", "c"))
    assert (report.done, report.requests, report.resent, report.throttled) == (3, 5, 2, 2)


@pytest.mark.parametrize(
    ("error", "trouble", "code"),
    [
        (NotFoundError(404, endpoint="GET /"), Trouble.FAILED, "404"),
        (
            ConnectError("x", fault="unsent", endpoint="", maybe_applied=False),
            Trouble.FAILED,
            "unsent",
        ),
        (
            ResponseDecodeError("x", path="", status=200, endpoint="", maybe_applied=True),
            Trouble.UNKNOWN,
            "unreadable answer",
        ),
        (StoppedError("x", maybe_applied=True), Trouble.UNKNOWN, "stopped"),
        (ConfigurationError("x"), Trouble.FAILED, "configuration"),
        (ValueError("x"), Trouble.BAD, "invalid"),
        (RuntimeError("x"), Trouble.FAILED, "RuntimeError"),
    ],
)
def test_problems_have_codes(error: Exception, trouble: Trouble, code: str) -> None:
    """Each kind of error has a code that rows can be counted by."""
    unknown = getattr(error, "maybe_applied", False)
    problem = problem_of(3, error, unknown=unknown)
    assert (problem.line, problem.trouble, problem.code) == (3, trouble, code)
    assert problem.reason == str(error)


async def test_one_user_one_after_another(client: SunshineClient, emulator: Emulator) -> None:
    """Rows about the same user are sent in their order."""
    await Job(client, SUNSHINE, Mode.CREATE).run(people("a", "b"))
    rows = [
        Row(line, {"externalId": "ab"[line % 2], "metadata": {"line": line}})
        for line in range(1, 41)
    ]
    report = await Job(client, SUNSHINE, Mode.UPDATE).run(rows)
    assert report.done == 40
    lines = sorted(user["metadata"]["line"] for user in emulator.users("sunshine"))
    assert lines == [39, 40]


async def test_too_many_failures(client: SunshineClient) -> None:
    """More rows that aren't done than allowed, bad ones too: no more are taken."""
    rows = [*people("a", "a"), *(BadRow(line, "bad") for line in range(3, 99))]
    report = await Job(client, SUNSHINE, Mode.CREATE, max_failures=5, concurrency=1).run(rows)
    assert (report.done, report.failed, report.bad) == (1, 1, 5)
    assert report.ending is Ending.GAVE_UP
    assert "more than 5 rows failed, are unknown or bad" in report.reason
    assert report.last_line == 7


async def test_refused_credentials_blow_the_fuse() -> None:
    """Where the credentials are refused no more rows are taken, and the reason is one sentence."""
    emulator = Emulator(keys=["other:key"])
    async with client_on(emulator.transport()) as client:
        report = await Job(client, SUNSHINE, Mode.CREATE, concurrency=4).run(many(100))
    assert report.ending is Ending.GAVE_UP
    assert report.reason.startswith("no row would fare better: 401")
    assert "\n" not in report.reason
    assert report.failed == report.rows == report.requests == 1


@virtual
async def test_outage_ends_the_job() -> None:
    """The rows under way get no answer: no more are sent, and in the end no more are taken."""
    unreachable = ScriptedTransport(httpx.ConnectError("refused") for _ in range(100))
    async with client_on(unreachable, retry=Retry(max_attempts=1)) as client:
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=2, max_outage=0.6)
        report = await job.run(many(100))
    assert report.ending is Ending.GAVE_UP
    assert report.reason.startswith("the service has not answered once in ")
    assert 1 <= report.failed == report.rows <= 3


async def test_an_outage_is_waited_for() -> None:
    """While the service is gone no row is sent or fails; when it is back all are done."""
    emulator = Emulator()
    async with client_on(emulator.transport()) as client:
        emulator.faults.append(Mishap(status=503, times=8))
        rows = [Row(n, {"externalId": f"user-{n}"}) for n in range(1, 201)]
        with no_waiting():
            report = await Job(client, SUNSHINE, Mode.CREATE, concurrency=8).run(rows)
    assert (report.done, report.troubles) == (200, 0)
    assert report.held > 0


@virtual_on_trio
async def test_rows_that_cannot_be_sent_twice_are_no_probes() -> None:
    """In an outage rows wait that would be unknown if they were sent: the job asks otherwise."""
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        began = anyio.current_time()
        await sleep(0.1)
        if 2 < began < 300:
            asked.append(request.method)
            return httpx.Response(503)
        found = httpx.Response(404, json={})
        return found if request.method == "GET" else httpx.Response(201, json={"user": {"id": "1"}})

    transport = httpx.MockTransport(answer)
    async with client_on(transport, pace=Pace(rate=20)) as client:
        rows = [Row(n, {"profile": {"givenName": "Jane"}}) for n in range(1, 201)]
        batch = client.with_options(lane=Lane.BATCH)
        report = await Job(batch, SUNSHINE, Mode.CREATE, concurrency=32).run(rows)
    assert (report.failed, report.done + report.unknown) == (0, 200)
    assert report.unknown == asked.count("POST") <= 13
    assert "POST" not in asked[20:]


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("journaled", [True, False])
@virtual
async def test_writes_may_fail_while_reads_are_answered(
    tmp_path: Path, *, journaled: bool, keyed: bool
) -> None:
    """A service that is read-only for minutes gets single rows, and all rows after that.

    A row without a key that goes as such a probe is unknown: it may have been applied.
    """
    writes = list[tuple[float, bool]]()
    probes = Counter[bytes]()

    async def answer(request: httpx.Request) -> httpx.Response:
        await sleep(0.1)
        if request.method == "GET":
            return httpx.Response(404, json={})
        now = anyio.current_time()
        began = writes[0][0] if writes else now
        failed = 2 < now - began < 300
        writes.append((now, failed))
        if failed and now - began > 10:
            probes[request.content] += 1
        return httpx.Response(503) if failed else httpx.Response(201, json={"user": {"id": "1"}})

    rows = [{"externalId": f"user-{n}"} if keyed else {} for n in range(200)]
    async with client_on(httpx.MockTransport(answer), pace=Pace(rate=20)) as client:
        if journaled:
            path = tmp_path / "job.journal"
            async with jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=32) as job:
                report = await job.run(rows)
        else:
            report = await Job(client, SUNSHINE, Mode.CREATE, concurrency=32).run(rows)
    refused = sum(failed for _, failed in writes)
    assert 10 <= refused <= 45
    assert (report.ending, report.failed) == (Ending.ALL, 0)
    assert report.done + report.unknown == 200
    assert report.unknown == (0 if keyed else refused)
    assert not keyed or max(probes.values()) == 1  # a row that failed lets others go first


@pytest.mark.parametrize("concurrency", [1, 8, None])
@virtual
async def test_a_job_ends_where_writes_fail_for_long(
    tmp_path: Path, concurrency: int | None
) -> None:
    """After *max_outage* seconds in which no row was answered the job says so, and keeps its rows.

    With few calls at once the service is blamed after some rows, and no more rows are given up.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404 if request.method == "GET" else 503, json={})

    rows = [{"externalId": f"user-{n}"} for n in range(100)]
    async with (
        client_on(httpx.MockTransport(answer)) as client,
        jobs.open(
            tmp_path / "job.journal", client, SUNSHINE, Mode.CREATE, concurrency=concurrency
        ) as job,
    ):
        began = anyio.current_time()
        report = await job.run(rows)
    assert report.ending is Ending.GAVE_UP
    assert "answers reads, but has not answered a row for" in str(report.reason)
    assert report.failed == report.done == 0
    # the row that tries the credentials, alone; else as many as blame the service
    assert report.unknown <= (MANY if concurrency == 1 else 1)
    assert 900 < anyio.current_time() - began < 1500


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("journaled", [True, False])
@virtual
async def test_a_row_that_alone_is_refused_ends_no_job(
    tmp_path: Path, *, journaled: bool, first: bool, concurrency: int
) -> None:
    """A 429 that only one row gets for *max_outage* seconds is the row's: all others are done."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404, json={})
        status = 429 if b"poison" in request.content else 201
        return httpx.Response(status, json={"user": {"id": "1"}})

    others = [{"externalId": f"user-{n}"} for n in range(20)]
    poison = [{"externalId": "poison"}]
    rows = [*poison, *others] if first else [*others[:10], *poison, *others[10:]]
    async with client_on(httpx.MockTransport(answer), pace=Pace()) as client:
        began = anyio.current_time()
        if journaled:
            path = tmp_path / "job.journal"
            async with jobs.open(
                path, client, SUNSHINE, Mode.CREATE, concurrency=concurrency
            ) as job:
                report = await job.run(rows)
        else:
            report = await Job(client, SUNSHINE, Mode.CREATE, concurrency=concurrency).run(rows)
    assert (report.ending, report.done, report.failed) == (Ending.ALL, 20, 1)
    assert anyio.current_time() - began < 2000


@virtual
async def test_no_row_goes_after_the_job_gave_up() -> None:
    """A row that waits for another row of its user isn't sent to a service that is given up."""
    methods = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(500, json={})

    rows = [{"id": "jane", "metadata": {"number": n}} for n in range(10)]
    async with client_on(httpx.MockTransport(answer)) as client:
        report = await Job(client, SUNSHINE, Mode.UPDATE, concurrency=8).run(rows)
    assert report.ending is Ending.GAVE_UP
    assert methods[-1] == "GET"
    assert methods.count("PATCH") == 5
    assert report.unknown == 1


@virtual
async def test_answers_between_keep_a_job_going() -> None:
    """Rows without an answer don't end the job while others have one."""
    numbers = count()

    def answer(request: httpx.Request) -> httpx.Response:
        there = request.method == "GET" or next(numbers) % 9 == 0
        return httpx.Response(201 if there else 500, json={"user": {"id": "1"}} if there else {})

    async with client_on(httpx.MockTransport(answer), retry=Retry(max_attempts=1)) as client:
        report = await Job(client, SUNSHINE, Mode.CREATE, concurrency=1).run(many(100))
    assert report.ending is Ending.ALL
    assert report.rows == 100


@on_both
async def test_stop_lets_calls_end() -> None:
    """After `stop` no row is taken, and what is under way ends."""
    gate = Gate()
    gate.awaited = 3
    async with client_on(gate) as client, anyio.create_task_group() as tasks:
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=3)
        tasks.start_soon(job.run, many(100))
        await gate.reached.wait()
        assert job.under_way == 3
        job.stop()
        job.stop()
        assert job.stopped
        gate.open.set()
    report = job.report

    assert (report.done, report.rows, report.last_line) == (4, 4, 4)
    assert report.ending is Ending.STOPPED


@on_both
async def test_stop_cuts_calls_off() -> None:
    """What hasn't ended when the grace is over is cut off: unknown where it had left."""
    gate = Gate()
    gate.awaited = 2
    async with (
        client_on(gate, pace=Pace(max_in_flight=3)) as client,
        anyio.create_task_group() as tasks,
    ):
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=3, grace=0)
        tasks.start_soon(job.run, many(100))
        await gate.reached.wait()
        await until(lambda: job.under_way == 3)
        job.stop()
    report = job.report

    assert sorted(pick(report)) == [
        (2, Trouble.UNKNOWN, "stopped"),
        (3, Trouble.UNKNOWN, "stopped"),
        (4, Trouble.FAILED, "stopped"),
    ]
    assert {problem.reason for problem in report.problems} == {
        "stopped before the answer came. The service may have acted: look before you send it again",
        "stopped before it was sent",
    }


@virtual_on_both
async def test_no_call_begins_after_the_grace() -> None:
    """A row that comes to its turn after the grace isn't sent: no service knows of the row."""
    left = list[Sequence[Entry]]()

    async def call(entries: Sequence[Entry]) -> list[object]:
        left.append(entries)  # as by a kept connection: at once
        await sleep(1.0)
        return [None]

    async with client_on(Gate()) as client:
        calls = Job(client, SUNSHINE, Mode.CREATE)._calls
        calls.stop(anyio.current_time())
        [result] = await calls.send([Entry(1)], call)
    assert isinstance(result, StoppedError)
    assert not result.maybe_applied

    assert left == []


@virtual_on_trio
async def test_grace_is_given_in_an_outage_too() -> None:
    """What is under way when a job is stopped may end, though the service fails all others."""

    async def answer(request: httpx.Request) -> httpx.Response:
        if b'"slow-' not in request.content:
            await sleep(0.1)
            return httpx.Response(503)
        await sleep(4)
        return httpx.Response(201, json={"user": {"id": "1"}})

    keys = [f"slow-{n}" for n in range(4)] + [f"user-{n}" for n in range(60)]
    async with (
        client_on(httpx.MockTransport(answer)) as client,
        anyio.create_task_group() as tasks,
    ):
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=32)
        tasks.start_soon(job.run, people(*keys))
        while not job.pace.held:
            await sleep(0.01)
        job.stop()
    assert job.report.done == 4


async def test_cancellation_goes_through(client: SunshineClient) -> None:
    """A job that is cancelled is cancelled: its report isn't complete."""
    gate = Gate()
    async with client_on(gate) as slow:
        job = Job(slow, SUNSHINE, Mode.CREATE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job.run, many(3))
            await gate.reached.wait()
            tasks.cancel_scope.cancel()
    assert job.report.rows == 1
    assert job.under_way == 0


async def test_stopped_before_it_ran(client: SunshineClient) -> None:
    """A job that was stopped before it ran takes no row."""
    job = Job(client, SUNSHINE, Mode.CREATE)
    assert job.read == 0
    job.stop()
    assert (await job.run(many(3))).rows == 0
    job.give_up("too late: it has ended")
    assert job.report.ending is Ending.STOPPED


async def test_pipe_with_nothing_to_say_is_left(client: SunshineClient) -> None:
    """A job that waits for standard input can be stopped."""
    out, into = os.pipe()
    os.write(into, b'{"externalId": "a"}\n')
    with os.fdopen(out, "rb", buffering=0) as pipe:
        job = Job(client, SUNSHINE, Mode.CREATE)
        with open_rows("-", job.shape, stdin=pipe) as rows:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(job.run, rows)
                await until(lambda: job.report.done == 1)
                job.stop()
        assert job.report.rows == 1
    os.close(into)


async def test_file_that_breaks_off(client: SunshineClient) -> None:
    """Where the file can't be read on, the rows before it have their outcomes, and the job ends."""

    def rows() -> Iterator[Row]:
        yield from people("a", "b")
        message = "users.csv, after line 2: the gzip file is cut short: copy it here again"
        raise SourceError(message)

    report = await Job(client, SUNSHINE, Mode.CREATE).run(rows())
    assert report.done == 2
    assert report.ending is Ending.GAVE_UP
    assert "cut short" in report.reason


async def test_only_refused(instant_waits: None) -> None:
    """A job without a journal gives up where all calls are refused for *max_outage* seconds."""
    del instant_waits

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "30"})

    pace = Pace(max_outage=100)
    async with client_on(httpx.MockTransport(refuse), pace=pace) as client:
        job = Job(client, SUNSHINE, Mode.CREATE, concurrency=1)
        report = await job.run(Row(n, {"externalId": f"user-{n}"}) for n in range(1, 5000))
    assert report.ending is Ending.GAVE_UP
    assert "refused all calls for too long" in (report.reason or "")
    assert report.rows < 100


async def test_errors_of_the_rows_come_out(client: SunshineClient) -> None:
    """An error of the caller's own rows comes out as itself."""

    def rows() -> Iterator[Row]:
        yield from people("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Job(client, SUNSHINE, Mode.CREATE).run(rows())


async def test_long_files_are_read_in_parts(client: SunshineClient, tmp_path: Path) -> None:
    """A file longer than what is read at once is sent whole."""
    path = tmp_path / "users.jsonl"
    number = sized(1200, 700)
    path.write_text("".join(json.dumps({"externalId": str(n)}) + "\n" for n in range(number)))
    job = Job(client, SUNSHINE, Mode.CREATE, concurrency=256)
    with open_rows(path, job.shape) as rows:
        assert (await job.run(rows)).done == number


@pytest.mark.parametrize("left", [0, 500, 699])
async def test_a_file_that_shrinks_while_it_is_read(
    client: SunshineClient, tmp_path: Path, left: int
) -> None:
    """Rows that are cut off the file meanwhile are missed: the job doesn't end as all rows taken."""
    path = tmp_path / "users.jsonl"
    lines = [json.dumps({"externalId": f"{n:0200}"}) + "\n" for n in range(700)]
    path.write_text("".join(lines))
    job = Job(client, SUNSHINE, Mode.CREATE)
    with open_rows(path, job.shape) as rows:
        path.write_text("".join(lines[:left]))
        report = await job.run(rows)
    assert report.ending is Ending.GAVE_UP
    assert "was changed while it was read: rows may be missing" in str(report.reason)
    assert report.failed == report.unknown == 0
    assert report.done < 700


def test_reports_stay_small() -> None:
    """A report keeps the first problems, and counts the others."""
    report = Report()
    for line in range(KEPT + 5):
        report.add(Problem(line, Trouble.UNKNOWN, "lost", "why"))
    assert len(report.problems) == KEPT
    assert report.unknown == report.codes["lost"] == KEPT + 5
    assert report.rate == 0
    data = json.loads(json.dumps(report.as_json()))
    assert data["problems_left_out"] == 5
    assert data["codes"] == {"lost": KEPT + 5}
    assert data["latency"] == {"p50": None, "p95": None, "p99": None}
    assert data["problems"][0] == {"line": 0, "outcome": "unknown", "code": "lost", "reason": "why"}


@given(st.lists(st.floats(0.000_1, 800), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantiles_are_close(times: list[float], part: float) -> None:
    """A quantile is within 3 % of the time of the call that it speaks of."""
    latencies = Latencies()
    for seconds in times:
        latencies.add(seconds)
    exact = sorted(times)[max(0, math.ceil(part * len(times)) - 1)]
    assert latencies.quantile(part) == pytest.approx(exact, rel=0.03)


def test_times_in_objects_are_looked_at() -> None:
    """A time inside of an object needs its zone too, and an object that is none says so."""

    @frozen(kw_only=True)
    class Trip:
        at: datetime | Unset = UNSET
        extra: Mapping[str, Any] = field(factory=dict)

    @frozen(kw_only=True)
    class Body:
        trip: Trip | Unset = UNSET
        extra: Mapping[str, Any] = field(factory=dict)

    task = Task(
        Shape(Body),
        send=lambda client, entry: client.send(entry),
        key=lambda _: None,
        request=lambda _: Request("GET", "/"),
    )
    naive, wrong, absent = (
        task.entry(Row(1, data)) for data in ({"trip": {"at": "2020-05-21"}}, {"trip": 1}, {})
    )
    assert naive.reason.startswith("trip.at: expected a time with its zone")
    assert wrong.reason == "trip: expected an object, got an integer"
    assert absent == Entry(1, "", Body())


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("of", SERVICES)
async def test_a_client_of_another_service_is_refused(
    service: str, of: str, emulator: Emulator, tmp_path: Path
) -> None:
    """A client gets the rows of its own service only; else no journal is made, and nothing is sent."""
    clients = {"sunshine": SunshineClient, "smooch": SmoochClient, "dixa": DixaClient}
    auth: Any = ApiToken("token") if of == "dixa" else BasicAuth("id", "secret")
    names = () if of == "dixa" else ("app",)
    client: Any = clients[of](*names, auth=auth, transport=emulator.transport())
    path = tmp_path / "run.sqlite"
    if service == of:
        jobs.Job(client, SERVICES[service], Mode.CREATE)
        return
    message = f"a job of {service} takes a {clients[service].__name__}, not {clients[of].__name__}"
    with pytest.raises(TypeError, match=message):
        jobs.Job(client, SERVICES[service], Mode.CREATE)
    with pytest.raises(TypeError, match=message):
        async with jobs.open(path, client, SERVICES[service], Mode.CREATE):
            pass
    assert not path.exists()


async def test_a_mode_that_is_no_mode_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """A text for a mode is refused by type before a journal is made."""
    auth, path = BasicAuth("id", "secret"), tmp_path / "run.sqlite"
    client = SunshineClient("app", auth=auth, transport=emulator.transport())
    mode: Any = "upsert"
    with pytest.raises(TypeError, match=r"mode must be a Mode, such as Mode\.UPSERT, not str"):
        async with jobs.open(path, client, SERVICES["sunshine"], mode):
            pass
    assert not path.exists()


async def test_a_text_for_a_choice_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """A text for a service, or for the duplicates, is a `TypeError` that names the right kind."""
    path, name = tmp_path / "run.sqlite", "sunshine"
    client = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=emulator.transport())
    service: Any = name
    duplicates: Any = "last"
    refused = r"service must be a Service, such as jobs\.SUNSHINE, not str"
    with pytest.raises(TypeError, match=refused):
        jobs.Job(client, service, Mode.CREATE)
    with pytest.raises(TypeError, match=refused):
        jobs.dry_run(service, Mode.CREATE, [])
    with pytest.raises(TypeError, match=refused):
        async with jobs.open(path, client, service, Mode.CREATE):
            pass
    with pytest.raises(TypeError, match=r"such as Duplicates\.LAST, not str"):
        jobs.open(path, client, SERVICES[name], Mode.CREATE, duplicates=duplicates)
    assert not path.exists()


@pytest.mark.parametrize("name", ["max_failures", "max_outage", "grace"])
@pytest.mark.parametrize("number", ["5", -1, float("nan")])
def test_a_number_that_cannot_work_is_refused(
    emulator: Emulator, name: str, number: object
) -> None:
    """A number that can't work is a `ValueError` before a row is sent."""
    client = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=emulator.transport())
    wrong: dict[str, Any] = {name: number}

    with pytest.raises(ValueError, match=rf"^Job\({name}={number!r}\): \w+, 0 or more"):
        jobs.Job(client, SUNSHINE, Mode.CREATE, **wrong)


@pytest.mark.parametrize("number", [0, "many", True, 2.5])
def test_a_concurrency_that_cannot_work_is_refused(
    emulator: Emulator, tmp_path: Path, number: Any
) -> None:
    """A concurrency that can't work is a `ValueError` before there is a journal."""
    client = SunshineClient("app", auth=BasicAuth("id", "secret"), transport=emulator.transport())
    refused = pytest.raises(ValueError, match=rf"^concurrency={number!r}: 1 or more, or")

    with refused:
        jobs.Job(client, SUNSHINE, Mode.CREATE, concurrency=number)
    with refused:
        jobs.open(tmp_path / "run.sqlite", client, SUNSHINE, Mode.CREATE, concurrency=number)


def test_services_are_a_table() -> None:
    """Each service has its name and every mode, but for messages, which only one service has."""
    for name, service in SERVICES.items():
        assert service.name == name
        assert set(service.tasks) | {Mode.MESSAGE} == set(Mode)
    assert set(SUNSHINE.tasks) == set(Mode)
    with pytest.raises(ConfigurationError, match=r"dixa has no mode message. .*create, update"):
        DIXA.task(Mode.MESSAGE)


def test_lost_connections_are_errors_with_a_fault() -> None:
    """A fault is the code of a transport's error."""
    error = ConnectionLostError("x", fault="lost", endpoint="", maybe_applied=True)
    assert problem_of(1, error, unknown=True).code == "lost"


class TestDryRun:
    def test_nothing_is_sent_and_all_is_said(self) -> None:
        """A dry run counts rows, what is refused before it is sent, and keys that come again."""
        rows = [
            *people("a", "b", "a", "a"),
            Row(5, {"externalId": "c", "metadata": {"x": "y" * 100_000}}),
            Row(6, {"externalId": ".."}),
            Row(7, {"metadata": {}}),
            BadRow(8, "not JSON"),
            Row(9, {"externalId": "a", "brandId": "other", "nick": 1}),
            *(Row(line, {"externalId": "z", f"key-{line}": 1}) for line in range(10, 50)),
        ]
        seen: list[Problem] = []
        found = dry_run(SUNSHINE, Mode.UPSERT, rows, rate=10, on_problem=seen.append)
        assert (found.rows, found.valid, found.bad, found.duplicates) == (49, 45, 4, 41)
        assert [(problem.line, problem.code) for problem in found.problems] == [
            (5, "invalid"), (6, "invalid"), (7, "invalid"), (8, "bad row"),
        ]  # fmt: skip
        assert seen == found.problems
        assert found.repeated[:3] == [(3, 1), (4, 1), (11, 10)]
        assert len(found.repeated) == len(found.beyond) == NAMED
        assert (found.requests, found.seconds) == (45, 4.5)
        assert found.as_json()["seconds"] == 5

    def test_of_many_bad_rows_the_first_are_kept(self) -> None:
        """A dry run keeps the first bad rows, and counts the others; rows may have no key."""
        rows = [Row(1, {}), Row(2, {}), *(BadRow(line, "bad") for line in range(3, KEPT + 5))]
        found = dry_run(SUNSHINE, Mode.CREATE, rows)
        assert (found.valid, found.bad, found.duplicates) == (2, KEPT + 2, 0)
        assert len(found.problems) == KEPT
        assert found.seconds is None
        assert found.as_json()["problems_left_out"] == 2

    @pytest.mark.parametrize("mode", [Mode.UPDATE, Mode.DELETE])
    async def test_bad_in_rehearsal_is_bad_in_earnest(
        self, client: SunshineClient, mode: Mode
    ) -> None:
        """What a dry run says is bad is what the job says is bad."""
        rows = [Row(1, {"id": ".."}), Row(2, {"externalId": "a"}), Row(3, {"metadata": {}})]
        await Job(client, SUNSHINE, Mode.CREATE).run(people("a"))
        report = await Job(client, SUNSHINE, mode).run(rows)
        problems = sorted(report.problems, key=lambda problem: problem.line)
        assert dry_run(SUNSHINE, mode, rows).problems == problems
        assert report.bad == 2


def test_old_names_stay() -> None:
    """The names of earlier releases name the same things."""
    assert jobs.LastingJob is jobs.JournaledJob
    assert jobs.Rehearsal is jobs.DryRun
    assert jobs.rehearse is jobs.dry_run
