"""What jobs say of upserts: how many were created, how many updated, and what nobody can tell."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from attrs import field, frozen
from support.journals import run_until_full, run_with_journal, write
from support.size import sized

from sunshine_async import ApiToken, BasicAuth, DixaClient, Pace, Retry, SunshineClient, jobs
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import SERVICES, Duplicates, Job, Mode, Report, Row, open_rows
from sunshine_async.journal import Journal, JournalError, State, Update
from sunshine_async.smooch import SmoochClient

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("instant_waits")]
Client = SunshineClient | SmoochClient | DixaClient
Person = dict[str, Any]


@frozen
class Kind:
    """How a service is called, and what its users are made of."""

    name: str
    client: Callable[..., Client] = field(repr=False)
    person: Callable[[int, str], Person]
    """Returns the user of a number, with a name."""
    create: str
    """The operation that creates."""
    options: Mapping[str, str] = {}
    """What the emulator is told beside a user."""

    def on(self, transport: httpx.AsyncBaseTransport, **options: Any) -> Client:
        """Return a client whose calls *transport* carries."""
        retry = Retry(max_attempts=2, first_wait=0.1)
        return self.client(**{"transport": transport, "retry": retry, "pace": Pace(), **options})

    def people(self, numbers: Iterable[int], name: str = "new") -> list[Person]:
        """Return the users with these *numbers*."""
        return [self.person(number, name) for number in numbers]

    def add(self, emulator: Emulator, numbers: Iterable[int], name: str = "old") -> None:
        """Let users be there before."""
        for person in self.people(numbers, name):
            emulator.add(self.name, person, **self.options)


KEY = BasicAuth("key-id", "secret")
SUNSHINE = Kind(
    "sunshine",
    lambda **options: SunshineClient("app", auth=KEY, **options),
    lambda n, name: {"externalId": f"{n}", "profile": {"givenName": name}},
    "CreateUser",
    {"app_id": "app"},
)
SMOOCH = Kind(
    "smooch",
    lambda **options: SmoochClient("app", auth=KEY, **options),
    lambda n, name: {"userId": f"{n}", "givenName": name},
    "preCreateAppUser",
    {"app_id": "app"},
)
DIXA = Kind(
    "dixa",
    lambda **options: DixaClient(auth=ApiToken("t"), **options),
    lambda n, name: {"email": f"{n}@x.org", "displayName": name},
    "postEndusersBulk",
)
DIXA_BY_ID = Kind(
    "dixa",
    DIXA.client,
    lambda n, name: {"externalId": f"{n}", "displayName": name},
    "postEndusersBulk",
)
KINDS = [SUNSHINE, SMOOCH, DIXA, DIXA_BY_ID]
every = pytest.mark.parametrize("kind", KINDS, ids=["sunshine", "smooch", "dixa", "dixa by id"])
each = pytest.mark.parametrize("kind", [SUNSHINE, SMOOCH, DIXA], ids=lambda kind: kind.name)


class Cutting(httpx.AsyncBaseTransport):
    """An emulator whose answers are lost with all else, from the call with a *number* on."""

    def __init__(self, emulator: Emulator, number: int) -> None:
        self.cut: Callable[[], object] = lambda: None
        self.left = number
        self._to = emulator.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on; in time, end what waits for it."""
        response = await self._to.handle_async_request(request)
        self.left -= 1
        if self.left < 0:
            self.cut()
            await anyio.sleep_forever()
        return response


async def run(client: Client, kind: Kind, path: Path, rows: Any, **options: Any) -> Report:
    """Upsert *rows*, of a file or at hand, with a journal."""
    return await run_with_journal(client, SERVICES[kind.name], path, rows, Mode.UPSERT, **options)


async def killed(
    kind: Kind, emulator: Emulator, path: Path, rows: Any, *, after: int, **options: Any
) -> None:
    """Upsert *rows*, and lose all that isn't on the disk after so many calls."""
    cutting = Cutting(emulator, after)
    async with kind.on(cutting) as client:
        with anyio.CancelScope() as scope:
            cutting.cut = scope.cancel
            await run(client, kind, path, rows, **{"concurrency": 1, **options})
    assert scope.cancelled_caught


def named(key: str, name: str) -> Person:
    return {"externalId": key, "profile": {"givenName": name}}


def names(emulator: Emulator) -> dict[str, str]:
    """Return the names of who is there, by key."""
    users = emulator.users("sunshine")
    return {user["externalId"]: user["profile"]["givenName"] for user in users}


def kept(path: Path) -> dict[int, tuple[State, str | None]]:
    """Return what the journal says of each line: what it is, and what was done."""
    journal = Journal(path)
    rows = {row["line"]: (State(row["state"]), row["outcome"]) for row in journal.rows()}
    journal.close()
    return rows


def told(path: Path) -> Counter[str | None]:
    """Return how many rows of the journal have which outcome."""
    return Counter(outcome for _, outcome in kept(path).values())


class TestToldApart:
    @every
    async def test_without_a_journal(self, kind: Kind, emulator: Emulator) -> None:
        """The report counts created and updated rows."""
        kind.add(emulator, range(3))
        rows = [Row(line, one) for line, one in enumerate(kind.people(range(5)), 1)]

        async with kind.on(emulator.transport()) as client:
            report = await Job(client, SERVICES[kind.name], Mode.UPSERT).run(rows)

        assert (report.done, report.outcomes) == (5, {"created": 2, "updated": 3})
        assert report.as_json()["outcomes"] == {"updated": 3, "created": 2}

    @every
    async def test_with_a_journal(self, kind: Kind, emulator: Emulator, path: Path) -> None:
        """The journal has it row by row, and the report is what the journal says."""
        kind.add(emulator, range(3))
        async with kind.on(emulator.transport()) as client:
            report = await run(client, kind, path, kind.people(range(5)))

        assert report.outcomes == {"created": 2, "updated": 3}
        assert kept(path) == {
            **dict.fromkeys((1, 2, 3), (State.DONE, "updated")),
            **dict.fromkeys((4, 5), (State.DONE, "created")),
        }

    @every
    async def test_the_next_night(
        self, kind: Kind, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """Of the rows of the next night it says which were as they were, new, or changed."""
        async with kind.on(emulator.transport()) as client:
            await run(client, kind, path, write(file, kind.people(range(5))))
            night = [*kind.people([0], "other"), *kind.people(range(1, 7))]
            report = await run(client, kind, path, write(file, night))

        assert report.outcomes == {"created": 2, "updated": 1, "unchanged": 4}
        assert report.unchanged == 4

    @pytest.mark.parametrize("mode", [Mode.CREATE, Mode.UPDATE, Mode.DELETE])
    async def test_other_modes(self, emulator: Emulator, mode: Mode) -> None:
        """Rows of other modes are what the mode says."""
        if mode is not Mode.CREATE:
            SUNSHINE.add(emulator, [1])
        async with SUNSHINE.on(emulator.transport()) as client:
            report = await Job(client, SERVICES["sunshine"], mode).run(
                [Row(1, {"externalId": "1", "metadata": {}})]
            )

        assert report.outcomes == {f"{mode.value.rstrip('e')}ed": 1}

    async def test_found_as_it_is_to_be(self, emulator: Emulator, path: Path) -> None:
        """At Dixa, who has all that a row sets is looked up, and not written."""
        DIXA.add(emulator, range(2), "new")
        async with DIXA.on(emulator.transport()) as client:
            report = await run(client, DIXA, path, DIXA.people(range(2)))

        assert report.outcomes == {"unchanged": 2}
        assert not emulator.ledger()["dixa"]["effects"].get("patch")


class TestLostAnswers:
    @each
    async def test_without_a_journal(self, kind: Kind, emulator: Emulator) -> None:
        """After a lost answer that was settled by looking it says neither created nor updated."""
        emulator.faults += [Mishap(reset=True, when="after", operation=kind.create)]
        rows = [Row(1, kind.person(1, "new"))]

        async with kind.on(emulator.transport()) as client:
            report = await Job(client, SERVICES[kind.name], Mode.UPSERT).run(rows)

        assert report.outcomes == {"upserted": 1}

    @every
    @pytest.mark.parametrize("attempts", [1, 2])
    async def test_with_a_journal(
        self, kind: Kind, emulator: Emulator, path: Path, attempts: int
    ) -> None:
        """Nor does it where the job itself has sent the row again."""
        emulator.faults += [Mishap(reset=True, when="after", operation=kind.create)]

        async with kind.on(emulator.transport(), retry=Retry(max_attempts=attempts)) as client:
            report = await run(client, kind, path, [kind.person(1, "new")])

        assert report.outcomes == {"upserted": 1}
        assert kept(path) == {1: (State.DONE, "upserted")}
        assert emulator.ledger()[kind.name]["effects"]["create"] == 1

    @each
    async def test_what_was_not_applied(self, kind: Kind, emulator: Emulator, path: Path) -> None:
        """Where the lost create was not applied the one that was is known to be one."""
        emulator.faults += [Mishap(reset=True, when="before", operation=kind.create)]

        async with kind.on(emulator.transport(), retry=Retry(max_attempts=1)) as client:
            report = await run(client, kind, path, [kind.person(1, "new")])

        assert report.outcomes == {"created": 1}


class TestCutOff:
    @each
    async def test_a_kill(self, kind: Kind, emulator: Emulator, path: Path, file: Path) -> None:
        """Who is found after a kill may be there by us; whose turn was far off then, is not."""
        half = sized(2000, 250)
        kind.add(emulator, range(half, 2 * half))
        write(file, kind.people(range(2 * half)))
        await killed(kind, emulator, path, file, after=3)
        made = emulator.ledger()[kind.name]["effects"]["create"]
        lost = made - told(path)["created"]
        assert lost > 0

        async with kind.on(emulator.transport()) as client:
            report = await run(client, kind, path, file)

        assert report.outcomes == {"created": half - lost, "upserted": lost, "updated": half}
        assert {line for line, (_, did) in kept(path).items() if did == "upserted"} <= {
            *range(1, made + 1)
        }

    async def test_who_may_have_been_sent(self, emulator: Emulator, path: Path, file: Path) -> None:
        """After a kill no row that may have been sent is said to be updated."""
        rows = sized(3000, 300)
        SUNSHINE.add(emulator, range(rows))
        write(file, SUNSHINE.people(range(rows)))
        await killed(SUNSHINE, emulator, path, file, after=3)
        await killed(SUNSHINE, emulator, path, file, after=6)
        written = {line for line, (state, _) in kept(path).items() if state is State.DONE}

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(client, SUNSHINE, path, file)

        assert report.done == rows
        vague = {line for line, (_, did) in kept(path).items() if did == "upserted"}
        assert {*range(1, 8)} - written <= vague <= {*range(1, 17)}

    async def test_what_is_read_once(self, emulator: Emulator, path: Path) -> None:
        """Of an iterable it is the rows that had come before the kill."""
        rows = sized(3000, 300)
        SUNSHINE.add(emulator, range(rows))
        people = SUNSHINE.people(range(rows))
        await killed(SUNSHINE, emulator, path, people[:10], after=3)
        before = told(path)["updated"]

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(client, SUNSHINE, path, people)

        assert report.outcomes == {"upserted": 10 - before, "updated": rows - 10 + before}

    async def test_with_other_rows_then(self, emulator: Emulator, path: Path, file: Path) -> None:
        """Where the file has changed since the kill, who may be there by what it was isn't told apart."""
        SUNSHINE.add(emulator, range(20))
        await killed(SUNSHINE, emulator, path, write(file, SUNSHINE.people(range(20))), after=3)
        written = {line for line, (state, _) in kept(path).items() if state is State.DONE}
        write(file, SUNSHINE.people(range(19, -1, -1), "other"))

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(client, SUNSHINE, path, file, accept_changed_source=True)
            assert report.done == 20
            vague = {21 - line for line, (_, did) in kept(path).items() if did == "upserted"}
            assert {1, 2, 3, 4} - written <= vague <= {*range(1, 13)}
            write(file, SUNSHINE.people(range(20)))
            report = await run(client, SUNSHINE, path, file)

        assert report.outcomes == {"updated": 20}

    @pytest.mark.parametrize("after", [0, 1])
    @pytest.mark.parametrize(
        ("duplicates", "wanted"), [(Duplicates.FIRST, "one"), (Duplicates.LAST, "two")]
    )
    async def test_duplicates_then(
        self,
        emulator: Emulator,
        path: Path,
        file: Path,
        duplicates: Duplicates,
        *,
        wanted: str,
        after: int,
    ) -> None:
        """Where the file has changed since the kill, the rows left out are those that were before."""
        people = [named("x", "x"), named("k", "one"), named("k", "two")]
        write(file, [*people, named("z", "z")])
        await killed(SUNSHINE, emulator, path, file, after=after, duplicates=duplicates)
        write(file, [*people, named("z", "changed")])

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(
                client, SUNSHINE, path, file, duplicates=duplicates, accept_changed_source=True
            )

        assert (report.done, report.left_out) == (3, 1)
        assert names(emulator) == {"x": "x", "k": wanted, "z": "changed"}

    async def test_a_duplicate_that_came_then(
        self, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """A row that had begun is left out for another, of which it isn't told then what it did."""
        write(file, [named("k", "one")])
        await killed(SUNSHINE, emulator, path, file, after=0)
        write(file, [named("k", "zero"), named("k", "one")])

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(
                client, SUNSHINE, path, file,
                duplicates=Duplicates.FIRST, accept_changed_source=True,
            )  # fmt: skip

        assert (report.outcomes, report.left_out) == ({"upserted": 1}, 1)
        assert names(emulator) == {"k": "zero"}

    async def test_stopped_in_order(self, emulator: Emulator, path: Path, file: Path) -> None:
        """What wasn't sent when a job was stopped is known not to have been."""
        rows = sized(500, 100)
        SUNSHINE.add(emulator, range(rows))
        write(file, SUNSHINE.people(range(rows)))
        async with SUNSHINE.on(emulator.transport()) as client:
            async with jobs.open(
                path, client, SERVICES["sunshine"], Mode.UPSERT, concurrency=1,
                on_progress=lambda report: job.stop() if report.done > 5 else None,
            ) as job:  # fmt: skip
                with open_rows(file, job.shape) as found:
                    first = await job.run(found)
            assert first.waiting
            report = await run(client, SUNSHINE, path, file)

        assert report.outcomes == {"updated": rows}

    @each
    async def test_cut_off_in_order(
        self, kind: Kind, emulator: Emulator, path: Path, file: Path
    ) -> None:
        """What was under way when the time to end was over may have been sent, and only that."""
        kind.add(emulator, range(5))
        write(file, kind.people(range(300)))
        cutting = Cutting(emulator, 1)
        service = SERVICES[kind.name]
        async with (
            kind.on(cutting) as client,
            jobs.open(path, client, service, Mode.UPSERT, concurrency=1, grace=0) as job,
        ):
            cutting.cut = job.stop
            with open_rows(file, job.shape) as rows:
                first = await job.run(rows)
        assert first.waiting
        begun = {line for line, (state, _) in kept(path).items() if state is State.BEGUN}
        assert len(begun) == (100 if kind is DIXA else 1)

        async with kind.on(emulator.transport()) as client:
            report = await run(client, kind, path, file)

        assert report.done == 300
        assert {line for line, (_, did) in kept(path).items() if did == "upserted"} <= begun

    @pytest.mark.slow
    async def test_a_disk_that_fills(self, emulator: Emulator, path: Path, file: Path) -> None:
        """What couldn't be written down may have been sent."""
        SUNSHINE.add(emulator, range(900))
        write(file, SUNSHINE.people(range(900)))
        async with SUNSHINE.on(emulator.transport()) as client:
            async with jobs.open(path, client, SERVICES["sunshine"], Mode.UPSERT) as job:
                first = await run_until_full(job, file)
            assert "the disk is full" in str(first.reason)
            sent = emulator.ledger()["sunshine"]["effects"]["update"]
            written = told(path)["updated"]
            report = await run(client, SUNSHINE, path, file)

        vague = report.outcomes["upserted"]
        assert 0 < sent - written <= vague < 900
        assert report.outcomes == Counter(updated=900 - vague, upserted=vague)


class TestReadOnce:
    """Rows of an iterable, which may be others when the job goes on."""

    async def test_other_bodies_then(self, emulator: Emulator, path: Path) -> None:
        """Who may be there as sent before a kill isn't told apart, and doesn't keep the run open."""
        people = [named("a", "1"), named("b", "1"), named("c", "1")]
        await killed(SUNSHINE, emulator, path, people, after=1)
        people[1] = named("b", "2")

        async with SUNSHINE.on(emulator.transport()) as client:
            first = await run(client, SUNSHINE, path, people)
            second = await run(client, SUNSHINE, path, [named("a", "2"), *people[1:]])
            third = await run(client, SUNSHINE, path, people)

        assert (first.done, first.waiting, first.left_out) == (3, 0, 1)
        assert kept(path)[2] == (State.DONE, "unchanged")
        assert first.outcomes["upserted"] >= 1
        assert second.outcomes == third.outcomes == {"updated": 1, "unchanged": 2}
        assert names(emulator) == {"a": "1", "b": "2", "c": "1"}

    async def test_there_and_back(self, emulator: Emulator, path: Path) -> None:
        """What was accepted before another body was sent is sent again, though no run has ended."""
        for name in ("1", "2", "1"):
            people = [named("a", name), named("b", name), named("c", name)]
            await killed(SUNSHINE, emulator, path, people, after=2, grace=0)

        assert names(emulator)["a"] == "1"

    async def test_many_for_one(self, emulator: Emulator, path: Path) -> None:
        """All bodies for one user are sent in their order, the same one again too."""
        people = [named("a", "1"), named("a", "2"), named("a", "2"), named("a", "1")]
        async with SUNSHINE.on(emulator.transport()) as client:
            first = await run(client, SUNSHINE, path, people)

        assert (first.done, first.outcomes) == (3, {"created": 1, "updated": 2})
        assert names(emulator) == {"a": "1"}

    async def test_many_for_one_cut_off(self, emulator: Emulator, path: Path) -> None:
        """When the job goes on all of them are sent again, in their order: the last one is there."""
        people = [named("a", "1"), named("a", "2"), named("a", "3"), named("b", "1")]
        await killed(SUNSHINE, emulator, path, people, after=2)

        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(client, SUNSHINE, path, people)
            assert report.waiting == 0
            assert names(emulator) == {"a": "3", "b": "1"}
            report = await run(client, SUNSHINE, path, people[2:])
        assert report.outcomes == {"unchanged": 2}

    @pytest.mark.parametrize(
        ("sessions", "wanted"),
        [
            (["A.", "C A"], "A"),
            (["A B.", "A"], "A"),
            (["A B.", "B A"], "A"),
            ([".A B", "B A B"], "B"),
            ([".A B", "B A", "B"], "B"),
            ([".A B", "C A B"], "B"),
            (["A.", "B.", "A.", "A"], "A"),
            (["A", "B A"], "A"),
            (["A", "B.", "A"], "A"),
        ],
        ids=" then ".join,
    )
    async def test_the_last_body_is_there(
        self, emulator: Emulator, path: Path, sessions: list[str], wanted: str
    ) -> None:
        """Whatever came in which session, and wherever it was cut off (.): what came last is there."""
        for number, session in enumerate(sessions):
            cut = anyio.CancelScope()
            on_disk, came = anyio.Event(), len(session.partition(".")[0].replace(" ", ""))

            def progress(report: Report, on_disk: anyio.Event = on_disk, came: int = came) -> None:
                if report.rows - report.before == came:
                    on_disk.set()

            async def bodies(
                session: str = session,
                number: int = number,
                cut: anyio.CancelScope = cut,
                on_disk: anyio.Event = on_disk,
            ) -> AsyncIterator[Person]:
                for place, one in enumerate(session.replace(" ", "")):
                    if one == ".":
                        if place:
                            await on_disk.wait()
                        cut.cancel()
                        await anyio.sleep_forever()
                    yield named("k", one)
                yield named("z", str(number))

            with cut:
                async with SUNSHINE.on(emulator.transport()) as client:
                    options = {"concurrency": 1, "on_progress": progress}
                    await run(client, SUNSHINE, path, bodies(), **options)

        assert names(emulator)["k"] == wanted

    async def test_fewer_then(self, emulator: Emulator, path: Path) -> None:
        """Rows that aren't there any more don't keep the run open."""
        people = [named(key, "1") for key in "abc"]
        await killed(SUNSHINE, emulator, path, people, after=0, concurrency=1)
        async with SUNSHINE.on(emulator.transport()) as client:
            report = await run(client, SUNSHINE, path, people[:1])
            assert (report.done, report.waiting) == (1, 2)
            report = await run(client, SUNSHINE, path, people)
        assert (report.done, report.outcomes["unchanged"]) == (3, 1)

    async def test_a_file_then(self, emulator: Emulator, path: Path, file: Path) -> None:
        """A file over the journal of rows that were handed in is another source, and can go on."""
        people = [named(key, "1") for key in "abc"]
        await killed(SUNSHINE, emulator, path, people, after=1)
        write(file, people)
        async with SUNSHINE.on(emulator.transport()) as client:
            with pytest.raises(JournalError, match="the run was given its rows one by one"):
                await run(client, SUNSHINE, path, file)
            report = await run(client, SUNSHINE, path, file, accept_changed_source=True)
        assert (report.done, report.waiting) == (3, 0)
        assert names(emulator) == dict.fromkeys("abc", "1")

    async def test_beside_a_file(self, emulator: Emulator, path: Path, file: Path) -> None:
        """A file isn't done by rows that were handed in over its journal."""
        people = [named(key, "1") for key in "abc"]
        write(file, people)
        await killed(SUNSHINE, emulator, path, file, after=0, concurrency=1)
        await killed(SUNSHINE, emulator, path, people, after=0)
        async with SUNSHINE.on(emulator.transport()) as client:
            for _ in range(2):
                await run(client, SUNSHINE, path, [named("d", "1")])
            report = await run(client, SUNSHINE, path, file)
        assert (report.done, report.waiting) == (4, 0)
        assert set(names(emulator)) == set("abcd")


class TestOldJournals:
    async def test_it_goes_on(self, emulator: Emulator, path: Path, file: Path) -> None:
        """A journal that says nothing else of its rows but upserted goes on, and is told apart."""
        SUNSHINE.add(emulator, range(3))
        async with SUNSHINE.on(emulator.transport()) as client:
            await run(client, SUNSHINE, path, write(file, SUNSHINE.people(range(3))))
            old = Journal(path)
            old.write([Update(n, State.DONE, 1.0, outcome="upserted") for n in (1, 2)])
            old.write([Update(3, State.WAITING, 1.0)])
            old.describe(state="open")
            old.close()

            report = await run(client, SUNSHINE, path, file)
            assert report.outcomes == {"upserted": 2, "updated": 1}
            write(file, [*SUNSHINE.people(range(2)), *SUNSHINE.people([2], "other")])
            report = await run(client, SUNSHINE, path, file)

        assert report.outcomes == {"unchanged": 2, "updated": 1}
