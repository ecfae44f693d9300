"""Jobs at Dixa with a journal: cut off anywhere, they go on, in batches, and nobody is made twice."""

import json
from collections.abc import AsyncIterator, Callable
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from support.journals import begun, counts, dixa_people, effects, run_with_journal, write
from support.size import sized

from sunshine_async import ApiToken, DixaClient, Pace, Retry, jobs
from sunshine_async.dixa import PatchEndUserInput
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import DIXA, Duplicates, Ending, JournalError, Mode, Report, open_rows
from sunshine_async.jobs.source import source_row
from sunshine_async.journal import Found, Journal, State, Update
from sunshine_async.rows import Row
from sunshine_async.testing import ScriptedTransport

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("instant_waits", "full_batches")]
CREATE = "postEndusersBulk"
LIST = "getEndusers"
LOST = Mishap(reset=True, when="after", operation=CREATE)


class Watch(httpx.AsyncBaseTransport):
    """Passes calls on; *told* is called with each before it is sent."""

    def __init__(self, emulator: Emulator) -> None:
        self.told: Callable[[httpx.Request], object] = lambda _: None
        self._to = emulator.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.told(request)
        return await self._to.handle_async_request(request)


def client_on(transport: httpx.AsyncBaseTransport, **options: Any) -> DixaClient:
    options = {"retry": Retry(max_attempts=1), "pace": Pace(), **options}
    return DixaClient(auth=ApiToken("t"), transport=transport, **options)


@pytest.fixture
def watch(emulator: Emulator) -> Watch:
    return Watch(emulator)


@pytest.fixture
async def client(watch: Watch) -> AsyncIterator[DixaClient]:
    async with client_on(watch) as client:
        yield client


async def run(
    client: DixaClient, path: Path, rows: Any, mode: Mode = Mode.CREATE, **options: Any
) -> Report:
    return await run_with_journal(client, DIXA, path, rows, mode, **options)


async def read_only(client: DixaClient, path: Path, rows: Path, mode: Mode) -> None:
    """Let the journal have the rows of a file, and send none of them."""
    async with jobs.open(path, client, DIXA, mode) as job:
        with open_rows(rows, job.shape) as found:
            await job._load(found)


def kept(path: Path) -> dict[int, Found]:
    """Return what the journal has, by line."""
    journal = Journal(path)
    rows = {row["line"]: row for row in journal.rows()}
    journal.close()
    return rows


def named(emulator: Emulator) -> list[str]:
    return sorted(user["displayName"] for user in emulator.users("dixa"))


class TestGoingOn:
    @pytest.mark.slow
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_stopped_and_run_again(self, path: Path, file: Path, backend: str) -> None:
        """A job that was stopped goes on with what is left; what is done costs no request."""
        emulator = Emulator()
        write(file, dixa_people(2000))

        async def scenario() -> tuple[Report, Report, Report]:
            async with client_on(emulator.transport()) as client:
                async with jobs.open(
                    path, client, DIXA, Mode.CREATE, concurrency=2,
                    on_progress=lambda report: job.stop() if report.done > 300 else None,
                ) as job:  # fmt: skip
                    with open_rows(file, job.shape) as rows:
                        first = await job.run(rows)
                return first, await run(client, path, file), await run(client, path, file)

        first, second, third = anyio.run(scenario, backend=backend)
        assert first.ending is Ending.STOPPED
        assert 300 < first.done < 2000
        assert first.done + first.waiting == 2000
        assert counts(second) == counts(third) == (2000, 0, 0, 0, 0)
        assert first.requests + second.requests < 25
        assert third.requests == 0
        assert effects(emulator, "dixa") == {"create": 2000}
        ids = {user["email"]: user["id"] for user in emulator.users("dixa")}
        assert {
            row["key"].partition("\x1f")[0]: row["remote_id"] for row in kept(path).values()
        } == ids

    async def test_rows_are_marked_before_their_first_byte(
        self, client: DixaClient, watch: Watch, path: Path, file: Path
    ) -> None:
        """All rows of a request are marked as begun on the disk before it is sent."""
        write(file, dixa_people(250))
        marked: list[int] = []

        def look(request: httpx.Request) -> None:
            states = [row["state"] for row in journal.rows(State.BEGUN)]
            assert len(states) >= len(json.loads(request.content)["data"])
            marked.append(len(states))

        async with jobs.open(path, client, DIXA, Mode.CREATE, concurrency=1) as job:
            journal = job.journal
            watch.told = look
            with open_rows(file, job.shape) as rows:
                report = await job.run(rows)
        assert counts(report) == (250, 0, 0, 0, 0)
        assert marked[0] == 100
        assert len(marked) == 3

    async def test_begun_creates(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A begun create is looked up by e-mail, then phone; without either it stays unknown."""
        number = "+4530901820"
        write(
            file,
            [
                {"email": "as-sent@x.org", "displayName": "1"},
                {"email": "OTHERWISE@x.org", "displayName": "2"},
                {"email": "not-there@x.org", "phoneNumber": number, "displayName": "3"},
                {"phoneNumber": "+4530901821", "displayName": "4"},
                {"externalId": "5", "displayName": "5"},
                {"email": "new@x.org", "displayName": "6"},
            ],
        )
        emulator.add("dixa", {"email": "AS-SENT@x.org", "displayName": "1", "firstName": "A"})
        emulator.add("dixa", {"email": "otherwise@x.org", "displayName": "else"})
        emulator.add("dixa", {"email": "another@x.org", "phoneNumber": number})
        await read_only(client, path, file, Mode.CREATE)
        begun(path, 1, 2, 3, 4, 5)

        report = await run(client, path, file)

        assert counts(report) == (3, 0, 3, 0, 0)
        assert {one.line: one.reason.partition(", and")[0] for one in report.problems} == {
            2: "the row may have been sent before",
            3: "the row may have been sent before",
            5: "sending had begun when the job was cut off",
        }
        assert effects(emulator, "dixa") == {"create": 2}
        again = await run(client, path, file, retry_unknown=True)
        assert counts(again) == (4, 0, 2, 0, 0)
        assert effects(emulator, "dixa") == {"create": 3}

    async def test_a_begun_create_that_lands_late(self, path: Path, file: Path) -> None:
        """Where what was sent before arrives after the look, the refusal is settled by another."""
        write(file, [{"email": "a@x.org"}, {"email": "b@x.org"}])
        taken = {"_type": "Validation", "message": "failed with [errors=EmailExists]"}
        failure = {"_type": "BulkActionFailure", "error": taken}
        users = [{"id": name, "email": f"{name}@x.org"} for name in ("a", "b")]
        answers = [
            *([(200, {"data": []})] * 2),
            (201, {"data": [failure, failure]}),
            *((200, {"data": [user]}) for user in users),
        ]
        async with client_on(ScriptedTransport(answers)) as client:
            await read_only(client, path, file, Mode.CREATE)
            begun(path, 1, 2)
            assert counts(await run(client, path, file)) == (2, 0, 0, 0, 0)

    async def test_begun_upserts(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """By external id alone a begun upsert is patched where it is found, and else unknown."""
        write(
            file,
            [
                {"externalId": "there", "displayName": "new"},
                {"externalId": "not-there", "displayName": "made"},
                {"externalId": "twice", "displayName": "which"},
                {"email": "a@x.org", "externalId": "a", "displayName": "guarded"},
            ],
        )
        for name in ("there", "twice", "twice"):
            emulator.add("dixa", {"externalId": name, "displayName": "old"})
        await read_only(client, path, file, Mode.UPSERT)
        begun(path, 1, 2, 3, 4)

        report = await run(client, path, file, Mode.UPSERT)

        assert counts(report) == (2, 0, 2, 0, 0)
        assert report.outcomes == {"upserted": 1, "created": 1}
        assert report.codes == {"AmbiguousMatch": 1, "UnsettledError": 1}
        assert named(emulator) == ["guarded", "new", "old", "old"]

    async def test_a_begun_upsert_is_looked_up_once(self, path: Path, file: Path) -> None:
        """The end user that the look-up finds is the one that is patched, without another search."""
        user = {"id": "00000000-0000-4000-8000-000000000001", "externalId": "there"}
        write(file, [{"externalId": "there", "displayName": "new"}])
        success = {"_type": "BulkActionSuccess", "data": {**user, "displayName": "new"}}
        scripted = ScriptedTransport([(200, {"data": [user]}), (200, {"data": [success]})])
        async with client_on(scripted) as client:
            await read_only(client, path, file, Mode.UPSERT)
            begun(path, 1)
            assert counts(await run(client, path, file, Mode.UPSERT)) == (1, 0, 0, 0, 0)

    async def test_begun_deletions(self, path: Path, file: Path) -> None:
        """A begun deletion of who is gone is done; a conflict may be its own first sending's."""
        ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(4)]
        write(file, [{"id": one} for one in ids])
        emulator = Emulator()
        emulator.add("dixa", {"id": ids[1]})
        emulator.add("dixa", {"id": ids[2]})
        for one in ids[1:3]:
            emulator.dixa.add_conversation(one, {"state": "Open"})
        async with client_on(emulator.transport()) as client:
            await read_only(client, path, file, Mode.DELETE)
            begun(path, 1, 2)
            report = await run(client, path, file, Mode.DELETE)
        assert counts(report) == (1, 2, 1, 0, 0)
        assert {line: State(row["state"]) for line, row in kept(path).items()} == {
            1: State.DONE,
            2: State.UNKNOWN,
            3: State.FAILED,
            4: State.FAILED,
        }


class TestOutages:
    async def test_lost_answers(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Requests whose answers are lost are settled row by row, and nobody is made twice."""
        write(file, [*dixa_people(150), *({"externalId": f"{n}"} for n in range(50))])
        emulator.faults += [LOST, LOST]

        report = await run(client, path, file)

        assert (report.done, report.failed, report.unknown) == (150, 0, 50)
        assert effects(emulator, "dixa") == {"create": 200}
        assert (await run(client, path, file)).requests == 0

    async def test_a_service_that_is_gone_is_waited_for(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """While the service is gone rows wait; none fails for it, and each is made once."""
        write(file, dixa_people(1000))
        emulator.faults += [Mishap(status=503)] * 20

        report = await run(client, path, file)

        assert counts(report) == (1000, 0, 0, 0, 0)
        assert report.held > 0
        assert effects(emulator, "dixa") == {"create": 1000}

    async def test_gone_for_good(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A service that stays away ends the job, with all rows to be done by the next run."""
        write(file, dixa_people(300))
        emulator.faults += [Mishap(reset=True)] * 1000
        report = await run(client, path, file, max_outage=60)
        assert report.ending is Ending.GAVE_UP
        assert counts(report) == (0, 0, 0, 0, 300)
        emulator.faults = []
        assert counts(await run(client, path, file)) == (300, 0, 0, 0, 0)
        assert effects(emulator, "dixa") == {"create": 300}

    async def test_gone_while_rows_are_looked_up(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A look-up without an answer isn't followed by others: the rows wait, those not begun too."""
        write(file, dixa_people(50))
        await read_only(client, path, file, Mode.CREATE)
        begun(path, *range(11, 51))
        emulator.faults += [Mishap(reset=True, operation=LIST)] * 2
        seen: list[str] = []

        class Hook:
            def attempt_started(self, attempt: Any) -> None:
                seen.append(str(attempt.endpoint))

        report = await run(client.with_options(hooks=[Hook()]), path, file)

        assert counts(report) == (50, 0, 0, 0, 0)
        assert report.requests < 2 + 2 + 40 + 5
        probe = "GET /v1/endusers/{end_user_id}"
        assert seen[:4] == ["GET /v1/endusers", probe] * 2
        assert effects(emulator, "dixa") == {"create": 50}

    async def test_rows_at_which_the_service_fails(self, path: Path, file: Path) -> None:
        """Of a request that was answered only the rows are sent again at which the service failed."""
        ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(3)]
        write(file, [{"id": one} for one in ids])
        down = {"_type": "Infrastructure", "id": ids[1], "message": "down"}
        failed = {"_type": "BulkActionFailure", "error": down}
        done = [{"_type": "BulkActionSuccess", "data": {"id": one}} for one in ids]
        transport = ScriptedTransport(
            [(200, {"data": [done[0], failed, done[2]]}), (200, {"data": [done[1]]})]
        )
        async with client_on(transport) as client:
            report = await run(client, path, file, Mode.UPDATE)
        assert counts(report) == (3, 0, 0, 0, 0)
        sent = [json.loads(request.content)["data"] for request in transport.requests]
        assert [[one["id"] for one in items] for items in sent] == [ids, ids[1:2]]

    async def test_refused_credentials(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A token that isn't let in ends the job and fails no row."""
        write(file, dixa_people(500))
        emulator.faults += [Mishap(status=401)] * 100
        report = await run(client, path, file)
        assert report.ending is Ending.GAVE_UP
        assert counts(report) == (0, 0, 0, 0, 500)
        emulator.faults = []
        assert counts(await run(client, path, file)) == (500, 0, 0, 0, 0)


class TestNights:
    async def test_what_has_changed_is_patched_by_its_id(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Of 10,000 rows 1 % changed are one request: a patch, without any look-up."""
        rows = sized(10_000, 500)
        changed = rows // 100
        write(file, dixa_people(rows))
        first = await run(client, path, file, Mode.UPSERT)
        assert first.done == rows
        write(file, chain(dixa_people(changed, firstName="Jane"), dixa_people(rows)[changed:]))

        night = await run(client, path, file, Mode.UPSERT)

        assert (night.done, night.unchanged, night.requests) == (rows, rows - changed, 1)
        assert effects(emulator, "dixa") == {"create": rows, "patch": changed}
        assert (await run(client, path, file, Mode.UPSERT)).requests == 0
        full = await run(client, path, file, Mode.UPSERT, full=True)
        assert (full.done, full.unchanged) == (rows, 0)
        assert full.requests < rows / 100 * 1.1

    async def test_the_same_of_what_is_read_once(
        self, client: DixaClient, emulator: Emulator, path: Path
    ) -> None:
        """An iterable of bodies has the ids too."""
        rows = [{"externalId": f"{n}", "displayName": "old"} for n in range(100)]
        assert (await run(client, path, rows, Mode.UPSERT)).done == 100
        changed = [{**row, "displayName": "new"} for row in rows[:10]]
        night = await run(client, path, changed + rows[10:], Mode.UPSERT)
        assert (night.done, night.unchanged, night.requests) == (100, 90, 1)
        full = await run(client, path, rows, Mode.UPSERT, full=True)
        assert (full.done, full.requests) == (100, 1)
        assert effects(emulator, "dixa") == {"create": 100, "patch": 110}

    async def test_who_is_gone_is_made_again(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A patch of who isn't there any more becomes an upsert."""
        write(file, dixa_people(3))
        await run(client, path, file, Mode.UPSERT)
        emulator.reset()
        emulator.add("dixa", {"email": "0@x.org", "displayName": "another"})
        write(file, [*dixa_people(2, firstName="Jane"), dixa_people(3)[2]])

        night = await run(client, path, file, Mode.UPSERT)

        assert (night.done, night.unchanged) == (3, 1)
        assert named(emulator) == ["User 0", "User 1"]
        ids = {user["email"]: user["id"] for user in emulator.users("dixa")}
        assert {row["remote_id"] for row in kept(path).values()} > {*ids.values()}

    async def test_a_refused_change_is_tried_the_next_night(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A change that the service refuses is failed, and still a change the night after."""
        write(file, dixa_people(2))
        await run(client, path, file, Mode.UPSERT)
        bad = {**dixa_people(1)[0], "phoneNumber": "12"}
        write(file, [bad, dixa_people(2)[1]])
        night = await run(client, path, file, Mode.UPSERT)
        assert counts(night) == (1, 1, 0, 0, 0)
        write(file, [{**bad, "firstName": "A"}, dixa_people(2)[1]])
        night = await run(client, path, file, Mode.UPSERT)
        assert counts(night) == (1, 1, 0, 0, 0)
        assert night.unchanged == 1


class TestSeveralKeys:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("seed", range(25))
    async def test_one_user_by_any_key(
        self,
        client: DixaClient,
        emulator: Emulator,
        path: Path,
        file: Path,
        seed: int,
        *,
        stream: bool,
    ) -> None:
        """A body isn't passed over as accepted where a row with another key of its user was sent since."""
        luck = Random(seed)
        keys = [
            {"externalId": f"x{n}", "email": f"{n}@x.org", "phoneNumber": f"+4930123{n}"}
            for n in range(3)
        ]
        for one in keys:
            emulator.add("dixa", {**one, "displayName": "before"})
        there = ["before"] * 3
        rows: list[dict[str, Any]] = []
        for _ in range(5):
            if luck.random() < 0.7:
                rows = []
                for _ in range(luck.randint(1, 4)):
                    number = luck.randrange(3)
                    some = luck.sample([*keys[number]], luck.choice([1, 1, 2, 3]))
                    key = {name: keys[number][name] for name in some}
                    rows.append({**key, "displayName": luck.choice("AB")})
            for row in rows:
                [number] = [n for n in range(3) if row.items() & keys[n].items()]
                there[number] = row["displayName"]
            write(file, rows)

            report = await run(
                client, path, rows if stream else file, Mode.UPSERT, duplicates=Duplicates.ALL
            )

            assert not report.failed + report.unknown + report.waiting
            assert [user["displayName"] for user in emulator.users("dixa")] == there

    async def test_a_row_in_doubt_that_is_left_out(
        self, client: DixaClient, emulator: Emulator, path: Path
    ) -> None:
        """A row cut off without an id may have changed the user of any later row: that row is sent."""
        keys = {"email": "a@x.org", "externalId": "a"}
        rows = [{**keys, "displayName": "A"}, {"externalId": "b", "displayName": "B"}]
        await run(client, path, rows, Mode.UPSERT)
        [user, _] = emulator.users("dixa")
        async with jobs.open(path, client, DIXA, Mode.UPSERT) as job:
            await job._load([])
            doubted = source_row(
                Row(1, {"email": "a@x.org", "displayName": "R"}), job._task, keep_body=False
            )
            [row] = job.journal.meet([doubted], job._rules)
            assert row is not None
            job.journal.write([Update(row.number, State.BEGUN, 1.0, sent=1, doubt=True)])
        await client.end_users.patch(
            user["id"], PatchEndUserInput(display_name="R")
        )  # and then the kill

        report = await run(client, path, rows, Mode.UPSERT)

        assert (report.unchanged, report.waiting) == (0, 1)
        assert named(emulator) == ["A", "B"]

    async def test_a_row_that_is_tried_again_late(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A row is sent again after one above it that has another key of its user, and was refused."""
        emulator.add("dixa", {"externalId": "x", "email": "a@x.org", "displayName": "before"})
        other = emulator.add("dixa", {"phoneNumber": "+4930123", "displayName": "other"})
        first = {"externalId": "x", "phoneNumber": "+4930123", "displayName": "A"}
        write(file, [first, {"email": "a@x.org", "displayName": "B"}])
        assert counts(await run(client, path, file, Mode.UPSERT)) == (1, 1, 0, 0, 0)
        await client.end_users.patch(other["id"], PatchEndUserInput(phone_number=None))

        again = await run(client, path, file, Mode.UPSERT, retry_failed=True)
        assert counts(again) == (1, 0, 0, 0, 1)
        assert counts(await run(client, path, file, Mode.UPSERT)) == (2, 0, 0, 0, 0)
        assert named(emulator) == ["B", "other"]


class TestKeys:
    async def test_rows_with_one_key(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Of rows with one key the last is sent; the same text as another kind of key is another's."""
        write(
            file,
            [
                {"email": "a@x.org", "displayName": "1"},
                {"email": "a@x.org", "displayName": "2"},
                {"externalId": "a@x.org", "displayName": "3"},
            ],
        )
        report = await run(client, path, file, Mode.UPSERT)
        assert (report.done, report.left_out) == (2, 1)
        assert named(emulator) == ["2", "3"]

    async def test_all_of_them(
        self, client: DixaClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Where all are to be sent they go one after another."""
        write(file, [{"email": "a@x.org", "displayName": f"{n}"} for n in range(5)])
        report = await run(client, path, file, Mode.UPSERT, duplicates=Duplicates.ALL)
        assert report.done == 5
        assert named(emulator) == ["4"]


class TestNumbers:
    async def test_they_are_counted_once(self, client: DixaClient, path: Path, file: Path) -> None:
        """The report of a file that is read twice, or goes on, has each number once."""
        write(file, [{"phoneNumber": "030 901820"}, {"phoneNumber": "030 901821"}])

        async def sent(region: str | None) -> Report:
            async with jobs.open(path, client, DIXA, Mode.CREATE) as job:
                with open_rows(file, job.shape, default_region=region) as rows:
                    return await job.run(rows)

        assert [(await sent("DE")).turned for _ in range(2)] == [2, 2]
        begun(path)
        with pytest.raises(JournalError, match="default_region"):
            await sent(None)
