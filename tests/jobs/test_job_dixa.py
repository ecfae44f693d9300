"""Jobs at Dixa: rows go many in a request, and each still has its own outcome."""

import json
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from support.journals import dixa_people, effects
from support.patience import PATIENCE

from sunshine_async import ApiToken, DixaClient, NotFoundError, Pace, Retry
from sunshine_async.dixa.end_users import MAX_BATCH_BYTES
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import (
    DIXA,
    Ending,
    Job,
    Mode,
    Report,
    Row,
    Trouble,
    dry_run,
    open_rows,
)
from sunshine_async.jobs import job as job_module

pytestmark = pytest.mark.usefixtures("instant_waits", "full_batches")
NOBODY = "00000000-0000-4000-8000-000000000001"


class Spy(httpx.AsyncBaseTransport):
    """Passes calls on, and keeps their bodies; holds those that come while it is closed."""

    def __init__(self, emulator: Emulator) -> None:
        self.bodies: list[Any] = []
        self.open = anyio.Event()
        self.open.set()
        self._to = emulator.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.bodies.append(json.loads(request.content or "null"))
        await self.open.wait()
        return await self._to.handle_async_request(request)


@pytest.fixture
def spy(emulator: Emulator) -> Spy:
    return Spy(emulator)


@pytest.fixture
async def client(spy: Spy) -> AsyncIterator[DixaClient]:
    async with DixaClient(
        auth=ApiToken("t"), transport=spy, pace=Pace(), retry=Retry(max_attempts=2)
    ) as client:
        yield client


def rows(data: Iterable[dict[str, Any]]) -> list[Row]:
    return [Row(line, one) for line, one in enumerate(data, 1)]


def added(emulator: Emulator, number: int) -> list[str]:
    return [emulator.add("dixa", one)["id"] for one in dixa_people(number)]


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.done, report.failed, report.unknown, report.bad


def named(report: Report) -> dict[int, tuple[Trouble, str]]:
    return {problem.line: (problem.trouble, problem.code) for problem in report.problems}


class TestModes:
    async def test_creates(self, client: DixaClient, emulator: Emulator) -> None:
        """A thousand rows are ten requests; each row that isn't done says why."""
        data = [
            *dixa_people(997),
            {"email": "5@x.org"},
            {"email": 5},
            {"phoneNumber": "+4530901820"},
        ]

        report = await Job(client, DIXA, Mode.CREATE).run(rows(data))

        assert counts(report) == (998, 1, 0, 1)
        assert named(report) == {
            998: (Trouble.FAILED, "EmailExists"),
            999: (Trouble.BAD, "bad row"),
        }
        assert effects(emulator, "dixa") == {"create": 998}
        assert report.requests == report.latencies.count == 10

    async def test_one_bad_row_hinders_no_other(
        self, client: DixaClient, emulator: Emulator
    ) -> None:
        """A row for which the whole request is refused fails alone."""
        data = dixa_people(100)
        data[37]["email"] = "nobody"

        report = await Job(client, DIXA, Mode.CREATE).run(rows(data))

        assert counts(report) == (99, 1, 0, 0)
        assert "email should be" in report.problems[0].reason
        assert effects(emulator, "dixa") == {"create": 99}

    async def test_updates(self, client: DixaClient, emulator: Emulator) -> None:
        """An update is a patch by id; what can't be one is a bad row that hinders no other."""
        ids = added(emulator, 150)
        data = [
            *({"id": one, "firstName": "Jane"} for one in ids),
            {"id": NOBODY, "firstName": "Jane"},
            {"id": ids[0]},
            {"id": "jane"},
            {"firstName": "Jane"},
        ]

        report = await Job(client, DIXA, Mode.UPDATE).run(rows(data))

        assert counts(report) == (150, 2, 0, 2)
        assert named(report)[151] == (Trouble.FAILED, "NotFound")
        assert named(report)[152] == (Trouble.FAILED, "EmptyPatchSet")
        assert {one.reason for one in report.problems if one.trouble is Trouble.BAD} == {
            "id: not one of Dixa's, which are UUIDs",
            "no id: the row names no user",
        }
        assert effects(emulator, "dixa") == {"patch": 150}
        assert all(user["displayName"].startswith("User") for user in emulator.users("dixa"))

    async def test_upserts(self, client: DixaClient, emulator: Emulator) -> None:
        """What is there is patched where it differs, what isn't is created, in few requests."""
        added(emulator, 200)
        data = [*dixa_people(400, firstName="Jane"), {"displayName": "No key"}]

        report = await Job(client, DIXA, Mode.UPSERT, concurrency=1).run(rows(data))

        assert counts(report) == (400, 0, 0, 1)
        assert "no externalId, no email and no phoneNumber" in report.problems[0].reason
        assert effects(emulator, "dixa") == {"create": 200, "patch": 200}
        assert report.requests < 40

    async def test_deletes(self, client: DixaClient, emulator: Emulator) -> None:
        """A deletion anonymizes, one user a request."""
        ids = added(emulator, 3)
        data = [*({"id": one} for one in ids), {"id": NOBODY}, {"id": "jane"}]

        report = await Job(client, DIXA, Mode.DELETE).run(rows(data))

        assert counts(report) == (3, 2, 0, 0)
        assert effects(emulator, "dixa") == {"anonymize": 3}

    async def test_the_service_is_asked_whether_it_is_back(self, client: DixaClient) -> None:
        """The question changes nothing, and any answer will do."""
        with pytest.raises(NotFoundError):
            await DIXA.probe(client)


class TestParcels:
    async def test_rows_of_one_user_never_share_a_request(
        self, client: DixaClient, emulator: Emulator, spy: Spy
    ) -> None:
        """Rows with a key in common go in their order, in requests of their own."""
        data = [
            {"externalId": "a", "firstName": "1", "email": "a@x.org"},
            {"externalId": "a", "firstName": "2"},
            {"email": "A@x.org", "firstName": "3"},
            {"externalId": "b", "firstName": "4"},
        ]

        report = await Job(client, DIXA, Mode.UPSERT).run(rows(data))

        assert counts(report) == (4, 0, 0, 0)
        assert sorted(user["firstName"] for user in emulator.users("dixa")) == ["3", "4"]
        sizes = [len(body["data"]) for body in spy.bodies if body]
        assert max(sizes) == 2

    @pytest.mark.slow
    async def test_a_slow_pipe_is_not_waited_for(
        self, client: DixaClient, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What has come goes out before a request is full, where more is slow to come."""
        monkeypatch.setattr(job_module, "_LINGER", 0.01)
        out, into = os.pipe()
        job = Job(client, DIXA, Mode.CREATE)
        with os.fdopen(out, "rb", buffering=0) as pipe, os.fdopen(into, "wb", buffering=0) as feed:
            feed.write(b'{"email":"a@x.org"}\n{"email":"b@x.org"}\n')
            with open_rows("-", job.shape, stdin=pipe) as found:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(job.run, found)
                    with anyio.fail_after(PATIENCE):
                        while job.report.done < 2:
                            await anyio.lowlevel.checkpoint()
                    feed.close()
        assert len(emulator.users("dixa")) == 2

    async def test_the_largest_row_goes_alone(
        self, client: DixaClient, emulator: Emulator, spy: Spy
    ) -> None:
        """Requests stay below a megabyte; a row that is larger by itself is a bad row."""
        room = MAX_BATCH_BYTES - len('{"data":[{"displayName":""}]}')
        data = [{"displayName": "x" * length} for length in (room, room + 1, 600_000, 600_000)]

        report = await Job(client, DIXA, Mode.CREATE).run(rows(data))

        assert counts(report) == (3, 0, 0, 1)
        assert named(report) == {2: (Trouble.BAD, "bad row")}
        assert [len(body["data"]) for body in spy.bodies] == [1, 1, 1]

    async def test_a_rehearsal_counts_requests(self) -> None:
        """A dry run finds the same bad rows, and says how few requests it takes."""
        found = dry_run(DIXA, Mode.CREATE, rows([*dixa_people(250), {"email": 1}]), rate=10)
        assert (found.valid, found.bad, found.requests, found.seconds) == (250, 1, 3, 0.3)
        found = dry_run(DIXA, Mode.DELETE, rows([{"id": NOBODY}, {"id": "jane"}]))
        assert (found.valid, found.bad, found.requests) == (1, 1, 1)


class TestEndings:
    async def test_stopped_in_mid_request(
        self, client: DixaClient, emulator: Emulator, spy: Spy
    ) -> None:
        """Stopped, it takes no more rows; those of a request that is cut off are unknown."""
        spy.open = anyio.Event()
        job = Job(client, DIXA, Mode.CREATE, concurrency=1, grace=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job.run, rows(dixa_people(1000)))
            while not spy.bodies:
                await anyio.lowlevel.checkpoint()
            assert job.under_way == 1
            job.stop()
        assert job.report.ending is Ending.STOPPED
        assert job.report.done == 0
        assert job.report.unknown >= 100
        assert job.report.rows < 400

    async def test_refused_credentials(self, client: DixaClient, emulator: Emulator) -> None:
        """A token that isn't let in ends it at once: no row after it could fare better."""
        emulator.faults += [Mishap(status=401)] * 50
        report = await Job(client, DIXA, Mode.CREATE, concurrency=1).run(rows(dixa_people(1000)))
        assert report.ending is Ending.GAVE_UP
        assert "no row would fare better" in (report.reason or "")
        assert report.failed < 400

    async def test_a_service_that_is_gone(self, client: DixaClient, emulator: Emulator) -> None:
        """No answer at all for half a minute: the job gives up."""
        emulator.faults += [Mishap(status=503)] * 1000
        report = await Job(client, DIXA, Mode.UPDATE, concurrency=2).run(
            rows({"id": f"{NOBODY[:-4]}{n:04}", "firstName": "A"} for n in range(10_000))
        )
        assert report.ending is Ending.GAVE_UP
        assert "not answered once" in (report.reason or "")

    async def test_too_many_failures(self, client: DixaClient) -> None:
        """More rows that aren't done than allowed: the job gives up."""
        data = [{"id": f"{NOBODY[:-4]}{n:04}", "firstName": "A"} for n in range(2000)]
        job = Job(client, DIXA, Mode.UPDATE, max_failures=5, concurrency=1)
        report = await job.run(rows(data))
        assert report.ending is Ending.GAVE_UP
        assert 5 < report.failed < 1000
