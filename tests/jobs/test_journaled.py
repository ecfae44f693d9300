"""Jobs with a journal: cut off anywhere, they go on, and what isn't certain is said."""

import io
import json
import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import get_ident
from typing import Any, TypeVar
from uuid import UUID

import anyio
import httpx
import pytest
from support.journals import begun, counts, effects, run_until_full, run_with_journal, write
from support.size import sized

from sunshine_async import BasicAuth, Pace, Retry, SunshineClient, jobs
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import (
    SERVICES,
    SUNSHINE,
    BadRow,
    Duplicates,
    Ending,
    JournalError,
    Mode,
    Problem,
    Report,
    Row,
    Service,
    SourceError,
    open_rows,
)
from sunshine_async.jobs import writer as writers
from sunshine_async.jobs.entries import MARKED_AHEAD
from sunshine_async.jobs.journaled import JournaledJob
from sunshine_async.jobs.options import JobOptions
from sunshine_async.jobs.source import SUMS
from sunshine_async.jobs.tasks.task import Entry
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import REACH, Journal, State, Update
from sunshine_async.sunshine import UserCreateBody
from sunshine_async.testing import ScriptedTransport

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("instant_waits")]

T = TypeVar("T")


def client_on(transport: httpx.AsyncBaseTransport, **options: Any) -> SunshineClient:
    options = {"retry": Retry(max_attempts=2, first_wait=0.1), **options}
    auth = BasicAuth("key-id", "some-secret")
    return SunshineClient(
        "app", auth=auth, base_url="http://127.0.0.1", transport=transport, **options
    )


def bodies(*keys: str, **metadata: Any) -> list[dict[str, Any]]:
    return [{"externalId": key, "metadata": {"key": key, **metadata}} for key in keys]


async def run(
    client: SunshineClient, path: Path, rows: Any, mode: Mode = Mode.CREATE, **options: Any
) -> Report:
    return await run_with_journal(client, SUNSHINE, path, rows, mode, **options)


class WatchedJournal(Journal):
    """A journal that counts the reads and the writes by thread."""

    def __init__(self, path: Path) -> None:
        self.uses = Counter[int]()
        super().__init__(path)

    def _commit(self, work: Callable[[Any], T]) -> T:
        self.uses[get_ident()] += 1
        return super()._commit(work)

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        self.uses[get_ident()] += 1
        return super()._fetch_all(query, values)


@pytest.mark.parametrize("is_file", [True, False])
async def test_the_event_loop_never_waits_for_the_journal(
    client: SunshineClient, path: Path, file: Path, *, is_file: bool
) -> None:
    """From the making of a job to the end, the journal is read and written in other threads only."""
    rows = bodies(*"abc")
    with closing(WatchedJournal(path)) as journal:
        options = JobOptions(max_failures=5, retry_failed=True)
        job = await JournaledJob.make(journal, client, SUNSHINE, Mode.CREATE, options)
        if is_file:
            with open_rows(write(file, rows), job.shape) as found:
                report = await job.run(found)
        else:
            report = await job.run(rows)
    assert report.done == 3
    assert get_ident() not in journal.uses
    assert journal.uses.total() > 5


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def after_a_kill(path: Path) -> dict[str, tuple[State, int]]:
    """Return what would be found if the job were killed now: of each key the state, and attempts."""
    with TemporaryDirectory() as folder:
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, folder)
        journal = Journal(Path(folder, path.name))
        found = {row["key"]: (State(row["state"]), row["attempts"]) for row in journal.rows()}
        journal.close()
    return found


def sums(path: Path) -> dict[str, float]:
    """Return what the journal says that the run took."""
    journal = Journal(path)
    about = journal.about()
    journal.close()
    return {name: float(about[name]) for name in SUMS}


async def stopped_at_once(client: SunshineClient, path: Path, rows: Path, mode: Mode) -> None:
    """Let the journal have the rows of a file, and send none of them."""
    async with jobs.open(path, client, SUNSHINE, mode) as job:
        job._open_entries = lambda _: pytest.fail("unused")  # type: ignore[method-assign]
        with open_rows(rows, job.shape) as found:
            await job._load(found)


def users(emulator: Emulator) -> dict[str, Any]:
    return {
        user.get("externalId", user["id"]): user["metadata"] for user in emulator.users("sunshine")
    }


class TestGoingOn:
    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_stopped_and_run_again(self, path: Path, file: Path, backend: str) -> None:
        """A job that was stopped goes on with what is left; what is done costs no request."""
        emulator = Emulator()
        number, most, concurrency = sized((1200, 300, 64), (300, 30, 4))
        write(file, bodies(*(f"user-{n}" for n in range(number))))

        async def scenario() -> tuple[Report, Report, Report]:
            async with client_on(emulator.transport()) as client:
                async with jobs.open(
                    path,
                    client,
                    SUNSHINE,
                    Mode.CREATE,
                    concurrency=concurrency,
                    on_progress=lambda report: job.stop() if report.done > most else None,
                ) as job:
                    with open_rows(file, job.shape) as rows:
                        first = await job.run(rows)
                return first, await run(client, path, file), await run(client, path, file)

        first, second, third = anyio.run(scenario, backend=backend)
        assert first.ending is Ending.STOPPED
        assert most < first.done < number
        assert first.done + first.waiting == number
        assert counts(second) == counts(third) == (number, 0, 0, 0, 0)
        assert first.requests + second.requests == number
        assert third.requests == third.rate == third.held == 0
        assert effects(emulator, "sunshine") == {"create": number}

    async def test_what_had_begun_is_looked_up(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A begun create is done if it is there as sent, unknown if otherwise, else sent."""
        write(file, [*bodies("as-sent", "otherwise", "not-there"), {"metadata": {"n": 1}}])
        await stopped_at_once(client, path, file, Mode.CREATE)
        begun(path, 1, 2, 3, 4)
        there = await run(client, path.with_name("other"), bodies("as-sent"))
        await run(client, path.with_name("another"), [{"externalId": "otherwise"}])
        report = await run(client, path, file)
        assert counts(report) == (2, 0, 2, 0, 0)
        assert {one.line: one.reason.partition(". ")[0] for one in report.problems} == {
            2: "the row may have been sent before, and the user with its key differs from the row",
            4: "sending had begun when the job was cut off, and nothing can tell the result",
        }
        assert there.done == 1
        assert effects(emulator, "sunshine") == {"create": 3}
        assert counts(await run(client, path, file)) == (2, 0, 2, 0, 0)

        again = await run(client, path, file, retry_unknown=True)
        assert counts(again) == (3, 0, 1, 0, 0)
        assert effects(emulator, "sunshine") == {"create": 4}

    async def test_a_begun_create_that_lands_late(self, path: Path, file: Path) -> None:
        """Where what was sent before arrives after the look, the conflict is settled by another."""
        user = {"user": {"id": "1", "externalId": "a", "metadata": {"key": "a"}}}
        write(file, bodies("a"))
        for answers, outcome in (
            ([(404, {}), (409, {}), (200, user)], (1, 0, 0, 0, 0)),
            ([(404, {}), (409, {}), (404, {})], (0, 1, 0, 0, 0)),
            ([(200, {"user": {"id": "1", "externalId": ["a"]}})], (0, 0, 1, 0, 0)),
            ([(200, {"user": {"externalId": "a"}})], (0, 0, 1, 0, 0)),
            ([httpx.Response(404, text="<html>No route</html>")], (0, 0, 1, 0, 0)),
        ):
            remove(path)
            async with client_on(ScriptedTransport(answers)) as client:
                await stopped_at_once(client, path, file, Mode.CREATE)
                begun(path, 1)
                assert counts(await run(client, path, file)) == outcome

    async def test_begun_deletions(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A begun deletion of who isn't there is done; one that hadn't begun has failed."""
        write(file, [{"externalId": "begun"}, {"externalId": "never"}])
        await stopped_at_once(client, path, file, Mode.DELETE)
        begun(path, 1)
        report = await run(client, path, file, Mode.DELETE)
        assert counts(report) == (1, 1, 0, 0, 0)
        assert report.problems[0].line == 2

    async def test_a_begun_deletion_that_a_gateway_answers(self, path: Path, file: Path) -> None:
        """A page of a gateway doesn't tell that the user is gone: the row is unknown."""
        page = httpx.Response(404, text="<html>No route</html>")
        write(file, [{"externalId": "begun"}])
        async with client_on(ScriptedTransport([page])) as client:
            await stopped_at_once(client, path, file, Mode.DELETE)
            begun(path, 1)

            assert counts(await run(client, path, file, Mode.DELETE)) == (0, 0, 1, 0, 0)

    async def test_failed_rows_are_tried_again_when_asked_for(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Failed rows stay so, until they are to be tried again; old ones blow no fuse."""
        write(file, bodies("a", "b"))
        assert counts(await run(client, path, file, Mode.UPDATE)) == (0, 2, 0, 0, 0)
        await run(client, path.with_name("other"), bodies("a"))
        assert (await run(client, path, file, Mode.UPDATE)).requests == 0
        report = await run(client, path, file, Mode.UPDATE, retry_failed=True, max_failures=1)
        assert counts(report) == (1, 1, 0, 0, 0)
        assert report.ending is Ending.ALL

    async def test_trying_again_reopens_the_run(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """A run whose failed rows are tried again isn't finished until they have been."""
        write(file, bodies("a"))
        await run(client, path, file, Mode.UPDATE)
        async with client_on(httpx.MockTransport(lambda _: httpx.Response(503))) as down:
            report = await run(down, path, file, Mode.UPDATE, retry_failed=True, max_outage=0)
        assert report.ending is Ending.GAVE_UP
        write(file, bodies("b"))
        with pytest.raises(JournalError, match="isn't finished"):
            await run(client, path, file, Mode.UPDATE)

    async def test_too_many_failures_end_it(self, client: SunshineClient, path: Path) -> None:
        """More rows that aren't done than allowed: the job gives up."""
        rows = bodies(*(f"user-{n}" for n in range(1200)))
        report = await run(client, path, rows, Mode.UPDATE, max_failures=3, concurrency=1)
        assert report.ending is Ending.GAVE_UP
        assert 3 < report.failed < 1200

    async def test_another_job_s_journal(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """A journal serves one kind of job at one place."""
        write(file, bodies("a"))
        await run(client, path, file)
        with pytest.raises(JournalError, match="its mode is create, not upsert"):
            await run(client, path, file, Mode.UPSERT)


class TestSources:
    async def test_a_changed_source_is_refused(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """An unfinished run goes on with its own source only, unless another is accepted."""
        write(file, bodies("a", "b", "c"))
        await stopped_at_once(client, path, file, Mode.CREATE)
        begun(path, 2)
        write(file, bodies("new", "b", "c"))
        with pytest.raises(JournalError, match=r"is not the same.*--accept-changed-source"):
            await run(client, path, file)
        report = await run(client, path, file, accept_changed_source=True)
        assert counts(report) == (3, 0, 0, 0, 0)
        assert sorted(users(emulator)) == ["b", "c", "new"]

    async def test_what_a_changed_source_costs(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Of a changed source only what isn't done, has changed or is new is sent."""
        write(file, bodies("done", "changed", "left"))
        await stopped_at_once(client, path, file, Mode.UPDATE)
        await run(client, path.with_name("other"), bodies("done", "changed", "left", "new"))
        journal = Journal(path)
        journal.write([Update(number, State.DONE, 1.0) for number in (1, 2)])
        journal.close()
        write(file, [*bodies("done"), *bodies("changed", n=1), *bodies("left", "new", n=2)])
        report = await run(client, path, file, Mode.UPDATE, accept_changed_source=True)
        assert (report.requests, counts(report)) == (3, (4, 0, 0, 0, 0))
        found = {key: metadata.get("n") for key, metadata in users(emulator).items()}
        assert found == {"done": None, "changed": 1, "left": 2, "new": 2}

    async def test_another_reading_is_refused(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """The same file read in another way is another source."""
        write(file, bodies("a"))
        await stopped_at_once(client, path, file, Mode.CREATE)
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            with (
                open_rows(file, job.shape, skip=["metadata"]) as rows,
                pytest.raises(JournalError, match="the run read the file as"),
            ):
                await job.run(rows)

    async def test_killed_while_it_read(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A job that was cut off while it read its file reads it anew."""
        write(file, bodies(*(f"user-{n}" for n in range(5100))))
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            with open_rows(file, job.shape) as rows:
                job.stop()
                report = await job.run(rows)
        assert (report.done, report.waiting) == (0, 5000)
        write(file, bodies("a"))
        assert counts(await run(client, path, file)) == (1, 0, 0, 0, 0)

    @pytest.mark.slow
    @pytest.mark.parametrize("cut", [True, False])
    async def test_changed_while_it_is_read(
        self, client: SunshineClient, path: Path, file: Path, *, cut: bool
    ) -> None:
        """A file that changes under the job ends it: no row is sent as another."""
        number, concurrency = sized((1200, 64), (600, 4))
        rows = bodies(*(f"user-{n}" for n in range(number)))
        write(file, rows)

        def change(_: Report) -> None:
            if changes:
                write(file, [*([] if cut else rows), *bodies("other")])
                changes.pop()

        changes = [1]
        report = await run(client, path, file, on_progress=change, concurrency=concurrency)
        assert report.ending is Ending.GAVE_UP
        assert "was changed while it was read" in str(report.reason)
        assert report.waiting
        write(file, rows)
        assert counts(await run(client, path, file)) == (number, 0, 0, 0, 0)

    async def test_shorter_than_it_was(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """A row that isn't there any more is not sent as another."""
        write(file, bodies("a", "b"))
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            with open_rows(file, job.shape) as rows:
                await job._load(rows)
                write(file, bodies("a"))
                entries = job._open_entries(rows)
                with pytest.raises(StopAsyncIteration):
                    await anext(job._take(entries))
                await entries.aclose()
        assert "was changed" in str(job.report.reason)

    async def test_gone_before_it_is_read(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """A file that is gone when it is looked at is a source that can't be read."""
        write(file, bodies("a"))
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            with open_rows(file, job.shape) as rows:
                remove(file)
                with pytest.raises(SourceError, match="can't be read"):
                    await job.run(rows)

    async def test_bad_rows_are_kept(self, client: SunshineClient, path: Path, file: Path) -> None:
        """Rows that can't be read, and those that can't be sent, are bad in the journal too."""
        write(file, [1, {"profile": 1}, {"externalId": ""}, {"metadata": {"n": 1}}])
        seen: list[Problem] = []
        report = await run(client, path, file, on_problem=seen.append)
        assert [problem.line for problem in report.problems] == [1, 2, 3]
        assert [problem.line for problem in seen] == [2, 3]
        assert (report.done, report.bad, report.failed) == (1, 2, 1)
        assert counts(await run(client, path, file)) == counts(report)


class TestDuplicates:
    @pytest.mark.parametrize(
        "asked",
        [(None, 3, 1, 2), (Duplicates.FIRST, 1, 1, 2), (Duplicates.ALL, 3, 3, 0)],
    )
    async def test_which_are_sent(
        self,
        client: SunshineClient,
        emulator: Emulator,
        path: Path,
        file: Path,
        asked: tuple[Duplicates | None, int, int, int],
    ) -> None:
        """Of rows with the same key the last is sent, or what was asked for, in order."""
        duplicates, last, updates, left_out = asked
        await run(client, path.with_name("other"), bodies("a"))
        write(file, [row for n in (1, 2, 3) for row in bodies("a", n=n)])
        report = await run(client, path, file, Mode.UPDATE, duplicates=duplicates)
        assert users(emulator)["a"]["n"] == last
        assert (effects(emulator, "sunshine")["update"], report.left_out) == (updates, left_out)
        assert report.rows == 3

    async def test_none(self, client: SunshineClient, path: Path, file: Path) -> None:
        """Where there may be none, nothing is sent, and they are named."""
        write(file, bodies("a", "b", "a"))
        with pytest.raises(SourceError, match=r"1 row has the key .* \(lines 3 as 1\)"):
            await run(client, path, file, duplicates=Duplicates.FAIL)
        write(file, bodies("a", "b"))
        report = await run(client, path, file, duplicates=Duplicates.FAIL)
        assert counts(report) == (2, 0, 0, 0, 0)


class TestNextRun:
    async def test_only_what_has_changed_is_sent(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """The next upsert sends the rows that have changed since, all of them if asked to."""
        write(file, bodies("a", "b", "c"))
        await run(client, path, file, Mode.UPSERT)
        write(file, [*bodies("a", "b"), *bodies("c", n=1), *bodies("d")])
        report = await run(client, path, file, Mode.UPSERT)
        assert (report.done, report.unchanged, report.requests) == (4, 2, 2 + 1)
        assert users(emulator)["c"] == {"key": "c", "n": 1}
        assert (await run(client, path, file, Mode.UPSERT)).requests == 0
        assert (await run(client, path, file, Mode.UPSERT, full=True)).requests >= 4

    async def test_other_modes_send_all(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """In other modes the next run sends all rows of a changed source."""
        await run(client, path.with_name("other"), bodies("a", "b"))
        for number in (1, 2):
            write(file, bodies("a", "b", n=number))
            assert (await run(client, path, file, Mode.UPDATE)).requests == 2

    async def test_streams(self, client: SunshineClient, path: Path) -> None:
        """The next upsert of an iterable passes over what hasn't changed too."""
        await run(client, path, bodies("a", "b"), Mode.UPSERT)
        report = await run(client, path, [*bodies("a"), *bodies("b", n=1)], Mode.UPSERT)
        assert (report.done, report.unchanged) == (2, 1)


class Watched(io.FileIO):
    """A pipe that tells of each look for data."""

    on_look: Callable[[], object] = int

    def fileno(self) -> int:
        self.on_look()
        return super().fileno()


class TestStreams:
    async def test_any_bodies(self, client: SunshineClient, emulator: Emulator, path: Path) -> None:
        """Rows may be models, mappings and rows, from an iterable or an async one."""

        async def rows() -> AsyncIterator[Any]:
            yield UserCreateBody(external_id="model")
            yield {"externalId": "mapping"}
            yield Row(3, {"externalId": "row"})
            yield Row(3, {"externalId": "row of the same line"})
            yield BadRow(4, "bad")
            yield "text"
            yield {"externalId": {1}}

        report = await run(client, path, rows())
        assert sorted(users(emulator)) == ["mapping", "model", "row", "row of the same line"]
        assert (report.done, report.bad) == (4, 3)
        assert (
            report.problems[1].reason
            == "expected a model, or a mapping such as {'id': ...}, got str"
        )
        again = await run(client, path, rows(), keep_bodies=True)
        assert (again.requests, counts(again)) == (0, counts(report))

    @pytest.mark.slow
    async def test_an_async_iterable_that_breaks(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """Its rows are read ahead and sent, its error comes out as itself, and it is closed."""
        closed: list[bool] = []
        number = sized(1200, 600)

        async def broken() -> AsyncIterator[Any]:
            try:
                for row in bodies(*(f"user-{n}" for n in range(number))):
                    yield row
                raise ZeroDivisionError
            finally:
                closed.append(True)

        with pytest.raises(ZeroDivisionError):
            await run(client, path, broken())
        assert closed
        assert effects(emulator, "sunshine") == {"create": number}

    @pytest.mark.slow
    async def test_an_iterable_goes_on(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """A row is known by its key, in whatever order it comes, or by its place; it is sent once."""
        rows = [*bodies(*(f"user-{n}" for n in range(700))), {"metadata": {"n": 1}}]

        def broken() -> Iterator[Any]:
            yield from rows[:550]
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run(client, path, broken())
        report = await run(client, path, [*rows[:600][::-1], *rows[600:], rows[0]])
        assert counts(report) == (701, 0, 0, 0, 0)
        assert effects(emulator, "sunshine") == {"create": 701}

    async def test_in_order(self, client: SunshineClient, emulator: Emulator, path: Path) -> None:
        """Rows about the same user are sent in their order."""
        rows = [row for n in range(20) for row in bodies("a", n=n)]
        assert (await run(client, path, rows, Mode.UPSERT)).done == 20
        assert users(emulator)["a"]["n"] == 19

    async def test_what_cannot_be_found_ahead(self, client: SunshineClient, path: Path) -> None:
        """What can be read once only has no last row of a key before its end."""
        with pytest.raises(SourceError, match="--duplicates last needs a file"):
            await run(client, path, bodies("a"), duplicates=Duplicates.LAST)

    async def test_pipes(self, client: SunshineClient, path: Path) -> None:
        """Standard input is a stream: rows are sent as they come."""
        out, into = os.pipe()
        os.write(into, b'{"externalId": "a"}\n{"externalId": "b"}\n')
        came = anyio.Event()
        async with jobs.open(
            path,
            client,
            SUNSHINE,
            Mode.CREATE,
            on_progress=lambda report: report.done == 2 and came.set(),
        ) as job:
            shape = job.shape
            with (
                Watched(out) as pipe,
                open_rows("-", shape, stdin=pipe) as rows,
            ):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(job.run, rows)
                    await came.wait()
                    looks = anyio.Semaphore(0)
                    pipe.on_look = partial(anyio.from_thread.run_sync, looks.release)
                    for _ in range(2):  # so that a look came to nothing
                        await looks.acquire()
                    os.close(into)
        assert counts(job.report) == (2, 0, 0, 0, 0)
        assert job.read == 2

    @pytest.mark.parametrize("status", [200, 400])
    async def test_an_outcome_is_on_disk_before_the_next_row_of_the_user(
        self, path: Path, status: int
    ) -> None:
        """A kill between two rows of a user leaves the first row with an outcome, refused or not."""
        seen = count()

        def answer(_: httpx.Request) -> httpx.Response:
            assert len([*job.journal.rows(State.DONE, State.FAILED)]) == next(seen)
            return httpx.Response(status, json={"user": {"id": "1"}})

        async with (
            client_on(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.UPDATE) as job,
        ):
            report = await job.run([{"externalId": "a", "metadata": {"n": n}} for n in range(3)])
        assert report.done + report.failed == 3

    async def test_sending_waits_for_a_slow_disk(
        self, path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No row is sent while too many outcomes wait for the disk: a kill would lose them all."""
        monkeypatch.setattr(writers, "_BACKLOG", 1)
        seen = count()

        def answer(_: httpx.Request) -> httpx.Response:
            number = next(seen)
            assert len([*job.journal.rows(State.DONE, State.FAILED)]) == number
            return httpx.Response(400 if number % 2 else 200, json={"user": {"id": "1"}})

        write(file, bodies(*"abcdef"))
        async with (
            client_on(httpx.MockTransport(answer), pace=Pace(max_in_flight=1)) as client,
            jobs.open(path, client, SUNSHINE, Mode.UPDATE, concurrency=1) as job,
        ):
            with open_rows(file, job.shape) as rows:
                report = await job.run(rows)
        assert counts(report) == (3, 3, 0, 0, 0)

    async def test_a_source_that_breaks_off(self, client: SunshineClient, path: Path) -> None:
        """Where a source can't be read on, the job ends, and its rows have their outcomes."""

        def rows() -> Iterator[Any]:
            message = "cut short"
            raise SourceError(message)
            yield

        report = await run(client, path, rows())
        assert (report.ending, report.reason) == (Ending.GAVE_UP, "cut short")


class TestOutages:
    async def test_no_row_fails_for_it(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """While the service is gone the job waits, and then all rows are done."""
        emulator.add("sunshine", {"externalId": "is-the-service-back"}, app_id="app")
        emulator.faults.append(Mishap(status=503, times=30))
        report = await run(client, path, bodies(*map(str, range(40))), concurrency=8)
        assert counts(report) == (40, 0, 0, 0, 0)
        assert report.held > 1
        assert effects(emulator, "sunshine") == {"create": 40}

    async def test_long_throttling(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """Throttling that doesn't end soon holds the job as long as the service asks."""
        emulator.faults.append(Mishap(status=429, retry_after=300, times=2))
        report = await run(client, path, bodies("a"))
        assert counts(report) == (1, 0, 0, 0, 0)
        assert report.paused >= 300

    async def test_throttling_without_end(self, path: Path) -> None:
        """Where all calls are refused for *max_outage* seconds the job gives up, and keeps its rows."""

        def refuse(_: httpx.Request) -> httpx.Response:
            return httpx.Response(429, headers={"Retry-After": "30"})

        pace = Pace(max_outage=100)
        async with client_on(httpx.MockTransport(refuse), pace=pace) as client:
            report = await run(client, path, bodies("a", "b"), max_outage=100)
        assert report.ending is Ending.GAVE_UP
        assert "429" in (report.reason or "")
        assert counts(report) == (0, 0, 0, 0, 2)

    async def test_the_limit_that_was_found_is_kept(self, emulator: Emulator, path: Path) -> None:
        """The report names the limit and its option; the next run of the job starts with it."""
        pace = Pace()
        pace.resume(10.0, 60.0, CLOCK.now())
        async with client_on(emulator.transport(), pace=pace) as client:
            report = await run(client, path, bodies("a"))
        assert (
            report.limit_found == "about 10 calls a second (600 in 60 s); --rate 10 starts with it"
        )
        assert report.as_json()["limit_found"] == 10.0
        assert report.as_json()["limit_window_seconds"] == 60.0

        async with client_on(emulator.transport(), pace=Pace()) as client:
            await run(client, path, bodies("a", "b"), accept_changed_source=True)
            seen = client.pace.snapshot(CLOCK.now())
        assert (seen.found, seen.window) == (10.0, 60.0)

    async def test_lost_answers_are_looked_up(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """A create whose answers were lost in an outage is there once, and done."""
        emulator.faults.append(Mishap(reset=True, when="after", times=9))
        report = await run(client, path, bodies("a"))
        assert counts(report) == (1, 0, 0, 0, 0)
        assert effects(emulator, "sunshine") == {"create": 1}

    async def test_without_a_key_nothing_can_tell(
        self, client: SunshineClient, emulator: Emulator, path: Path
    ) -> None:
        """A create without a key that may have been applied is unknown, and not sent again."""
        emulator.faults.append(Mishap(reset=True, when="after"))
        report = await run(client, path, [{}])
        assert counts(report) == (0, 0, 1, 0, 0)
        assert effects(emulator, "sunshine") == {"create": 1}

    async def test_without_a_key_what_was_not_sent_is(self, emulator: Emulator, path: Path) -> None:
        """A create without a key that wasn't sent waits for the service, and is sent then."""
        emulator.faults += [httpx.ConnectError("refused")] * 7
        async with client_on(emulator.transport()) as client:
            assert counts(await run(client, path, [{}])) == (1, 0, 0, 0, 0)

    async def test_a_row_is_begun_on_disk_at_each_sending(self, path: Path) -> None:
        """After an outage, too, a create without a key is marked on the disk before it is sent."""
        sent = count()

        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(404)
            assert [row["state"] for row in job.journal.rows()] == [State.BEGUN]
            if next(sent) < 2:
                message = "refused"
                raise httpx.ConnectError(message, request=request)
            return httpx.Response(201, json={"user": {"id": "1"}})

        async with (
            client_on(httpx.MockTransport(answer), retry=Retry(max_attempts=1)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            assert counts(await job.run([{}])) == (1, 0, 0, 0, 0)

    async def test_a_row_that_has_no_answer(self, path: Path) -> None:
        """A row that has no answer while others have is given up after some turns."""

        def answer(request: httpx.Request) -> httpx.Response:
            poison = b"poison" in request.content
            return httpx.Response(500 if poison else 201, json={"user": {"id": "1"}})

        others = sized(500, 200)
        rows = [*bodies("poison"), *bodies(*map(str, range(others)))]
        async with client_on(httpx.MockTransport(answer)) as client:
            report = await run(client, path, rows, Mode.UPSERT, concurrency=4)
        assert (report.done, report.failed + report.unknown) == (others, 1)

    async def test_a_row_that_may_be_there_when_it_is_given_up(self, path: Path) -> None:
        """A row whose answer was lost in an earlier turn is unknown, though the last turn sent nothing."""
        seen = 0

        def answer(request: httpx.Request) -> httpx.Response:
            nonlocal seen
            if b"poison" in request.content:
                seen += 1
                error = httpx.ReadError if seen == 1 else httpx.ConnectError
                message = "gone"
                raise error(message, request=request)
            return httpx.Response(201, json={"user": {"id": "1"}})

        others = sized(500, 200)
        rows = [*bodies("poison"), *bodies(*map(str, range(others)))]
        async with client_on(httpx.MockTransport(answer)) as client:
            report = await run(client, path, rows, Mode.UPSERT, concurrency=4)
        assert counts(report) == (others, 0, 1, 0, 0)

    async def test_a_service_that_stays_away(self, emulator: Emulator, path: Path) -> None:
        """After *max_outage* seconds the job gives up; its rows wait for the next time."""
        down = httpx.MockTransport(lambda _: httpx.Response(503))
        async with client_on(down) as client:
            report = await run(client, path, bodies("a", "b"), max_outage=60)
        assert report.ending is Ending.GAVE_UP
        assert str(report.reason).startswith("the service has not answered once in ")
        assert counts(report) == (0, 0, 0, 0, 2)
        async with client_on(emulator.transport()) as client:
            assert counts(await run(client, path, bodies("a", "b"))) == (2, 0, 0, 0, 0)

    @pytest.mark.parametrize("rows", [bodies(*map(str, range(100))), [{}] * 100])
    async def test_refused_credentials_fail_no_row(self, path: Path, rows: Any) -> None:
        """Refused credentials stop the job with one sentence; its rows wait for the right ones.

        The row that was sent counts an attempt, whether or not rows have keys.
        """
        emulator = Emulator(keys=["key-id:the-right-one"])
        async with (
            client_on(emulator.transport()) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            report = await job.run(rows)
            attempts = Counter((row["state"], row["attempts"]) for row in job.journal.rows())
        assert report.ending is Ending.GAVE_UP
        assert str(report.reason).startswith("no row would fare better: 401")
        assert (report.troubles, report.done) == (0, 0)
        assert attempts.pop((State.WAITING, 1)) == 1
        assert {*attempts} == {(State.WAITING, 0)}


class TestStopping:
    async def test_what_is_cut_off_is_begun(self, path: Path, file: Path) -> None:
        """What hasn't ended when the grace is over is begun in the journal; the rest waits."""
        came = anyio.Event()

        async def never(request: httpx.Request) -> httpx.Response:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
            came.set()
            await anyio.sleep_forever()
            return httpx.Response(500)

        write(file, bodies("a", "b"))
        async with (
            client_on(httpx.MockTransport(never), pace=Pace(max_in_flight=1)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE, grace=0) as job,
        ):
            with open_rows(file, job.shape) as rows:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(job.run, rows)
                    await came.wait()
                    job.stop()
        assert counts(job.report) == (0, 0, 0, 0, 2)
        journal = Journal(path)
        states = [row["state"] for row in journal.rows()]
        journal.close()
        assert State.BEGUN in states

    @pytest.mark.parametrize("mode", [Mode.CREATE, Mode.UPDATE])
    @pytest.mark.parametrize("at", [1, 10])
    async def test_while_it_is_held(self, path: Path, at: int, mode: Mode) -> None:
        """A job whose service is gone can be stopped before, and while, it waits; no row has failed.

        No row is sent after that, though calls under way would have time to end. A row that may have
        been applied is begun.
        """
        numbers = count()
        problems: list[Problem] = []

        def answer(_: httpx.Request) -> httpx.Response:
            if next(numbers) == at:
                job.stop()
            return httpx.Response(503)

        async with (
            client_on(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, mode, on_problem=problems.append) as job,
        ):
            report = await job.run(bodies("a", "b", "c"))
            found = [(row["state"], row["attempts"]) for row in job.journal.rows()]
        assert report.ending is Ending.STOPPED
        assert counts(report) == (0, 0, 0, 0, 3)
        assert next(numbers) == at + 1
        assert (found, problems) == ([(State.BEGUN, 1)] + [(State.WAITING, 0)] * 2, [])


async def test_progress_is_what_is_written(path: Path, file: Path) -> None:
    """Progress is told when rows are on the disk, and never of none."""
    write(file, bodies(*map(str, range(30))))
    told: list[int] = []

    def look(report: Report) -> None:
        told.append(report.done)
        assert len([*job.journal.rows(State.DONE)]) >= report.done

    client = client_on(
        httpx.MockTransport(lambda _: httpx.Response(201, json={"user": {"id": "1"}}))
    )
    async with (
        client,
        jobs.open(path, client, SUNSHINE, Mode.CREATE, on_progress=look) as job,
    ):
        with open_rows(file, job.shape) as rows:
            await job.run(rows)
    assert told == sorted(set(told))
    assert (told[0] > 0, told[-1]) == (True, 30)


class TestSums:
    @pytest.mark.slow
    async def test_of_a_session_that_was_cut_off(
        self, client: SunshineClient, path: Path, file: Path
    ) -> None:
        """What a session took until shortly before it was killed is part of what the run took."""
        number, concurrency = sized((2000, 64), (500, 4))
        write(file, bodies(*map(str, range(number))))
        told = count()
        with anyio.CancelScope() as scope:
            await run(
                client, path, file, concurrency=concurrency,
                on_progress=lambda _: scope.cancel() if next(told) > 2 else None,
            )  # fmt: skip
        assert scope.cancelled_caught
        cut_off = sums(path)
        assert (cut_off["sessions"], cut_off["held"]) == (1, 0)
        assert 0 < cut_off["requests"] < number
        assert 0 < cut_off["seconds"] < 60

        report = await run(client, path, file)
        assert sums(path)["sessions"] == 2
        assert sums(path)["requests"] == cut_off["requests"] + report.requests
        assert sums(path)["seconds"] == pytest.approx(cut_off["seconds"] + report.seconds)

    @pytest.mark.parametrize("at_hand", [True, False])
    async def test_of_the_next_run(
        self, client: SunshineClient, path: Path, file: Path, *, at_hand: bool
    ) -> None:
        """What the run before it took is no part of what the next run takes."""
        for last in ("d", "e"):
            rows = bodies("a", "b", "c", last)
            write(file, rows)
            report = await run(client, path, rows if at_hand else file, Mode.UPSERT)
            assert (sums(path)["sessions"], sums(path)["requests"]) == (1, report.requests)
        assert report.requests == 1


class TestBegunAhead:
    @pytest.mark.parametrize("number", [sized(100, 50), 1])
    async def test_what_is_sent_has_begun(self, path: Path, file: Path, number: int) -> None:
        """A create has begun on the disk when it is sent, with few others ahead of their turn."""
        begun: list[int] = []

        def answer(request: httpx.Request) -> httpx.Response:
            key = json.loads(request.content)["externalId"]
            found = after_a_kill(path)
            assert found[key] == (State.BEGUN, 1)
            begun.append([state for state, _ in found.values()].count(State.BEGUN))
            return httpx.Response(201, json={"user": {"id": key}})

        write(file, bodies(*map(str, range(number))))
        async with (
            client_on(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=4) as job,
        ):
            with open_rows(file, job.shape) as rows:
                report = await job.run(rows)
            attempts = {row["attempts"] for row in job.journal.rows()}
        assert counts(report) == (number, 0, 0, 0, 0)
        assert (len(begun), begun[0]) == (number, min(number, 2 * 4 * 4))
        assert attempts == {1}

    async def test_what_was_not_sent_waits(self, path: Path, file: Path) -> None:
        """A job that is stopped leaves no row begun that wasn't sent, and counts no attempt for it."""
        write(file, bodies(*map(str, range(100))))
        sent: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(json.loads(request.content)["externalId"])
            job.stop()
            return httpx.Response(201, json={"user": {"id": "1"}})

        async with (
            client_on(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=4) as job,
        ):
            with open_rows(file, job.shape) as rows:
                await job.run(rows)
            found = {row["key"]: (row["state"], row["attempts"]) for row in job.journal.rows()}
        assert 0 < len(sent) < 10
        assert {found.pop(key) for key in sent} == {(State.DONE, 1)}
        assert set(found.values()) == {(State.WAITING, 0)}

    async def test_what_has_failed_stays_so(self, path: Path, file: Path) -> None:
        """A failed row that is to be tried again, and isn't sent, has failed as before."""
        write(file, bodies(*map(str, range(100))))
        sent: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(json.loads(request.content)["externalId"])
            job.stop()
            return httpx.Response(201, json={"user": {"id": "1"}})

        async with client_on(httpx.MockTransport(answer)) as client:
            await stopped_at_once(client, path, file, Mode.CREATE)
            journal = Journal(path)
            journal.write([Update(n, State.FAILED, 1.0, reason="no") for n in range(1, 101)])
            journal.close()
            async with jobs.open(
                path, client, SUNSHINE, Mode.CREATE, concurrency=4, retry_failed=True
            ) as job:
                with open_rows(file, job.shape) as rows:
                    await job.run(rows)
                found = {row["key"]: (row["state"], row["reason"]) for row in job.journal.rows()}
        assert 0 < len(sent) < 10
        assert {found.pop(key) for key in sent} == {(State.DONE, None)}
        left = Counter(found.values())
        assert left[State.FAILED, "no"] > 90
        assert set(left) <= {(State.FAILED, "no"), (State.WAITING, None)}

    async def test_what_was_held_waits(self, path: Path, file: Path) -> None:
        """A row that was held when its job gave up waits, and no attempt is counted for it."""
        gone, done = anyio.Event(), anyio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                gone.set()
                await done.wait()
                return httpx.Response(503)
            if b'"b"' in request.content:
                message = "refused"
                raise httpx.ConnectError(message)
            if b'"a"' in request.content:
                await gone.wait()
                return httpx.Response(201, content=b"?")
            return httpx.Response(201, json={"user": {"id": "1"}})

        def show(report: Report) -> None:
            if report.unknown:
                done.set()

        write(file, bodies("first", "a", "b", "c"))
        async with (
            client_on(httpx.MockTransport(answer)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=2, on_progress=show) as job,
        ):
            with open_rows(file, job.shape) as rows:
                report = await job.run(rows)
            found = [(row["state"], row["attempts"]) for row in job.journal.rows()]
        assert report.ending is Ending.GAVE_UP
        ended = [(State.DONE, 1), (State.UNKNOWN, 1)]
        assert found == [*ended, (State.WAITING, 1), (State.WAITING, 0)]

    async def test_each_sending_counts(self, path: Path, file: Path) -> None:
        """A row that was sent again, since it had no answer, counts both; it was looked up between."""
        asked: list[str] = []
        others = anyio.Event()

        async def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.method)
            if request.method == "GET":
                return httpx.Response(404)
            if b'"b"' in request.content and asked.count("POST") < 4:
                await others.wait()
                return httpx.Response(503)
            if b'"a"' in request.content:
                others.set()
            return httpx.Response(201, json={"user": {"id": "1"}})

        write(file, bodies("a", "b", "c"))
        async with (
            client_on(httpx.MockTransport(answer), retry=Retry(max_attempts=1)) as client,
            jobs.open(path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            with open_rows(file, job.shape) as rows:
                report = await job.run(rows)
            attempts = {row["key"]: row["attempts"] for row in job.journal.rows()}
        assert counts(report) == (3, 0, 0, 0, 0)
        assert attempts == {"a": 1, "b": 2, "c": 1}
        assert asked == ["POST", "POST", "POST", "GET", "POST"]

    async def test_far_enough_ahead(self, path: Path) -> None:
        """Rows are marked before they are asked for; twice as far ahead once they weren't in time."""
        written: list[int] = []
        journal = Journal(path)
        journal.write = lambda *_, about, **__: written.append(int(about[REACH]))  # type: ignore[method-assign]
        writer = JournalWriter(journal, dict, print, print)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            await writer.start_through(4, ahead=4)
            assert written == [8]
            await writer.start_through(8, ahead=4)
            assert written == [8]
            await writer.start_through(12, ahead=4)
            assert written == [8, 12 + 8]
            await writer.start_through(20, ahead=4)
            writer.close()
        assert written == [8, 20, 20 + 8]
        journal.close()

    @pytest.mark.parametrize(
        ("service", "mode"),
        [(service, mode) for service in SERVICES.values() for mode in service.tasks],
        ids=lambda each: getattr(each, "name", None),
    )
    def test_what_is_marked_has_a_key(self, service: Service, mode: Mode) -> None:
        """All up to one are marked by their keys: a row without one is never among them."""
        task = service.task(mode)
        values = ("", "x", UUID(int=1).hex)
        names = ("id", "externalId", "userId", "email", "phoneNumber")
        found = set()
        for name, value in product(names, values):
            row = Row(1, {name: value})
            entry = task.entry(row)
            if (
                isinstance(entry, Entry)
                and task.batch_size == 1
                and task.recovery(entry) in MARKED_AHEAD
            ):
                found.add(name)
                assert task.key_of(row.data)
        assert found or task.batch_size > 1 or mode in (Mode.UPDATE, Mode.MESSAGE)


class TestFullDisks:
    @pytest.mark.slow
    async def test_nothing_is_lost(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A disk that fills stops the job: no create is sent whose begin couldn't be written."""
        write(file, bodies(*(f"user-{n}" for n in range(900))))
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            report = await run_until_full(job, file)
        assert report.ending is Ending.GAVE_UP
        assert "the disk is full" in str(report.reason)
        assert effects(emulator, "sunshine").get("create", 0) <= report.done + report.waiting
        assert counts(await run(client, path, file)) == (900, 0, 0, 0, 0)
        assert effects(emulator, "sunshine") == {"create": 900}

    @pytest.mark.slow
    async def test_nothing_is_sent_twice(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A disk that fills stops a job of creates without keys too; each is sent once at most."""
        write(file, [{"metadata": {"n": n, "long": "x" * 900}} for n in range(600)])
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=4) as job:
            report = await run_until_full(job, file)
        assert report.ending is Ending.GAVE_UP
        done, failed, unknown, bad, waiting = counts(await run(client, path, file))
        assert (failed, bad, waiting) == (0, 0, 0)
        assert done + unknown == 600
        assert done <= effects(emulator, "sunshine")["create"] <= 600

    @pytest.mark.parametrize("at_hand", [True, False])
    async def test_nothing_is_sent_without_a_mark(
        self, client: SunshineClient, emulator: Emulator, path: Path, file: Path, *, at_hand: bool
    ) -> None:
        """Where it can't be written that rows begin, none is sent, and all wait."""

        def full(*_: Any, **__: Any) -> None:
            message = "the disk is full"
            raise JournalError(message)

        write(file, bodies("a", "b"))
        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            job.journal.write = full  # type: ignore[method-assign]
            with open_rows(file, job.shape) as rows:
                report = await job.run(bodies("a", "b") if at_hand else rows)
        assert (report.ending, report.reason) == (Ending.GAVE_UP, "the disk is full")
        assert counts(report) == (0, 0, 0, 0, 2)
        assert effects(emulator, "sunshine") == {}

    async def test_a_journal_that_breaks(self, client: SunshineClient, path: Path) -> None:
        """A journal that can't be read any more ends the job with its reason."""

        def rows() -> Iterator[Any]:
            yield from bodies("a")
            job.journal.close()
            yield from bodies("b")

        async with jobs.open(path, client, SUNSHINE, Mode.CREATE) as job:
            report = await job.run(rows())
        assert report.ending is Ending.GAVE_UP
        assert "can't be used" in str(report.reason)
