"""Jobs that never take for done, or for new, what isn't: other runs, other files, odd arguments."""

import gzip
import io
import json
import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from attrs import define, evolve, field
from support.journals import counts
from support.size import sized

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Pace,
    Retry,
    SunshineClient,
    jobs,
)
from sunshine_async.dixa import BulkPatchEndUserInput
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import (
    DIXA,
    SUNSHINE,
    BadRow,
    Duplicates,
    Ending,
    Job,
    JournalError,
    Mode,
    Problem,
    Report,
    Row,
    SourceError,
    dry_run,
    open_rows,
)
from sunshine_async.jobs.source import source_row
from sunshine_async.journal import Journal, State
from sunshine_async.smooch import AppUserPreCreate
from sunshine_async.sunshine import Profile, UserCreateBody, UserUpdateBody
from sunshine_async.testing import ScriptedTransport

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("instant_waits")]


@define
class Desk(httpx.AsyncBaseTransport):
    """Runs jobs over one journal, on an emulator; may cut them off."""

    path: Path
    file: Path
    emulator: Emulator
    left: float = math.inf
    cut: Callable[[], object] = print
    each: Callable[[], object] = print
    """Called before each request."""
    client: SunshineClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = SunshineClient(
            "app", auth=BasicAuth("key-id", "secret"), base_url="http://127.0.0.1",
            transport=self, retry=Retry(max_attempts=2), pace=Pace(),
        )  # fmt: skip

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.each()
        response = await self.emulator.transport().handle_async_request(request)
        self.left -= 1
        if self.left < 0:
            self.cut()
            await anyio.sleep_forever()
        return response

    async def run(self, mode: Mode, rows: Any = None, **options: Any) -> Report:
        """Run a job over *rows*, or over the file."""
        with anyio.CancelScope() as scope:
            self.left, self.cut = options.pop("after", math.inf), scope.cancel
            async with jobs.open(self.path, self.client, SUNSHINE, mode, **options) as job:
                with nullcontext(rows) if rows else open_rows(self.file, job.shape) as found:
                    await job.run(found)
        return job.report

    def write(self, *rows: Any) -> None:
        """Let the file have *rows*."""
        text = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
        data = text.encode()
        self.file.write_bytes(gzip.compress(data) if self.file.suffix == ".gz" else data)

    @property
    def names(self) -> dict[str, str]:
        """The names of the users by their key."""
        return {
            user.get("externalId", user["id"]): user["metadata"]["name"]
            for user in self.emulator.users("sunshine")
        }

    @property
    def rows(self) -> list[tuple[State, str | None]]:
        """State and outcome, or code, of each row of the journal."""
        with closing(Journal(self.path)) as journal:
            return [(State(row["state"]), row["outcome"] or row["code"]) for row in journal.rows()]


@pytest.fixture
async def desk(path: Path, file: Path, emulator: Emulator) -> AsyncIterator[Desk]:
    desk = Desk(path, file, emulator)
    async with desk.client:
        yield desk


def named(key: str | None, name: str) -> dict[str, Any]:
    return {**({"externalId": key} if key else {}), "metadata": {"name": name}}


BAD_DATE = {"metadata": {"name": "b"}, "signedUpAt": "yesterday"}


class TestOtherRuns:
    @pytest.mark.slow
    async def test_a_body_is_accepted_until_another_may_have_been(self, desk: Desk) -> None:
        """The first body is sent again where another was, in a run in between that was cut off."""
        people = {name: [named(f"user-{n}", name) for n in range(200)] for name in "AB"}
        desk.write(*people["A"])
        await desk.run(Mode.UPSERT)
        desk.write(*people["B"])
        await desk.run(Mode.UPSERT, after=109)
        assert Counter(desk.names.values())["B"] >= 100

        desk.write(*people["A"])
        report = await desk.run(Mode.UPSERT, accept_changed_source=True)

        assert counts(report) == (200, 0, 0, 0, 0)
        assert set(desk.names.values()) == {"A"}
        assert report.unchanged >= 200 - 109 - 64 * 8

    @pytest.mark.parametrize(
        "sources",
        [
            ["AC.", "BC"],
            ["AC", "BC"],
            ["C.", "CA.", "C"],
            ["C", "CA.", "C"],
            ["A", "B.", "C.", "A"],
        ],
        ids=" then ".join,
    )
    @pytest.mark.parametrize("after", range(4))
    @pytest.mark.parametrize("stream", [False, True])
    async def test_the_last_body_stays(
        self, desk: Desk, sources: list[str], after: int, *, stream: bool
    ) -> None:
        """Of several bodies for one user the last is there, whatever came before, and was cut off."""
        for source in sources:
            rows = [named("K", name) for name in source.rstrip(".")]
            desk.write(*rows)
            report = await desk.run(
                Mode.UPSERT, iter(rows) if stream else None, accept_changed_source=True,
                duplicates=Duplicates.ALL, after=after if source.endswith(".") else math.inf,
            )  # fmt: skip
        assert desk.names == {"K": source[-1]}
        assert (report.ending, report.failed, report.unknown) == (Ending.ALL, 0, 0)

    async def test_a_retried_row_doesn_t_come_last(self, desk: Desk) -> None:
        """What came after a row that is tried again is sent after it again."""
        desk.emulator.add("sunshine", {"externalId": "K"}, app_id="app")
        desk.write(named("K", "A"), named("K", "C"))
        desk.emulator.faults.append(Mishap(status=409))
        options = {"duplicates": Duplicates.ALL}
        first = await desk.run(Mode.UPDATE, **options)
        assert counts(first) == (1, 1, 0, 0, 0)

        report = await desk.run(Mode.UPDATE, retry_failed=True, **options)

        assert counts(report) == (2, 0, 0, 0, 0)
        assert desk.names == {"K": "C"}

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_refused_row_that_may_have_been_applied_before(
        self, desk: Desk, *, stream: bool
    ) -> None:
        """The body before is sent again: the refused body may be there since an earlier sending."""

        async def run(name: str, after: float = math.inf) -> Report:
            desk.write(named("K", name))
            rows = iter([named("K", name)]) if stream else None
            return await desk.run(Mode.UPSERT, rows, after=after)

        await run("A")
        await run("B", after=1)
        desk.emulator.faults.append(Mishap(status=400))
        assert counts(await run("B")) == (0, 1, 0, 0, 0)
        assert desk.names == {"K": "B"}

        assert counts(await run("A")) == (1, 0, 0, 0, 0)
        assert desk.names == {"K": "A"}


class TestNeverTwice:
    async def test_a_corrected_row(self, desk: Desk) -> None:
        """Of a corrected file only the row that wasn't created is created; the others are unchanged."""
        desk.write(named("a", "a"), {**BAD_DATE, "externalId": "b"}, named("c", "c"))
        assert counts(await desk.run(Mode.CREATE)) == (2, 0, 0, 1, 0)
        desk.write(*(named(key, key) for key in "abc"))

        report = await desk.run(Mode.CREATE)

        assert counts(report) == (3, 0, 0, 0, 0)
        assert report.outcomes == {"created": 1, "unchanged": 2}
        assert len(desk.emulator.users("sunshine")) == 3

    @pytest.mark.parametrize("stream", [False, True])
    async def test_another_body(self, desk: Desk, *, stream: bool) -> None:
        """A user who was created isn't created with another body, and isn't asked for."""
        desk.write(named("a", "a"), named("b", "b"))
        await desk.run(Mode.CREATE)
        rows = [named("b", "b"), named("a", "other"), named("c", "c")]
        desk.write(*rows)

        seen: list[Problem] = []
        report = await desk.run(Mode.CREATE, rows if stream else None, on_problem=seen.append)

        assert (report.failed, report.requests) == (1, 1)
        assert report.codes == {"already created": 1}
        assert "change the user with an update or upsert" in report.problems[0].reason
        assert desk.names == {"a": "a", "b": "b", "c": "c"}
        assert len(seen) == stream

    @pytest.mark.parametrize("stream", [False, True])
    async def test_another_body_stays_refused(self, desk: Desk, *, stream: bool) -> None:
        """A row of a user who was created isn't sent to try failed rows again, but in full alone."""
        desk.write(named("a", "a"))
        await desk.run(Mode.CREATE)
        desk.emulator.reset()
        rows = [named("a", "other")]
        desk.write(*rows)
        for _ in range(3):
            seen: list[Problem] = []
            report = await desk.run(
                Mode.CREATE, rows if stream else None, retry_failed=True, on_problem=seen.append
            )
            assert (report.failed, report.waiting, report.requests) == (1, 0, 0)
            assert report.codes == {"already created": 1}
        assert not seen

        report = await desk.run(Mode.CREATE, rows if stream else None, full=True)

        assert (report.failed, report.requests) == (0, 1)
        assert desk.names == {"a": "other"}

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(("name", "failed"), [("a", 0), ("other", 1)])
    async def test_what_failed_in_full_is_judged_again(
        self, desk: Desk, name: str, failed: int, *, stream: bool
    ) -> None:
        """A row that the service refused, sent in full, counts as created when failed rows are tried."""
        desk.write(named("a", "a"))
        await desk.run(Mode.CREATE)
        rows = [named("a", name)]
        desk.write(*rows)
        given = rows if stream else None
        assert (await desk.run(Mode.CREATE, given, full=True)).codes == {"conflict": 1}
        desk.emulator.reset()

        report = await desk.run(Mode.CREATE, given, retry_failed=True)

        assert (report.done, report.failed, report.requests) == (1 - failed, failed, 0)
        assert report.codes == Counter({"already created": failed} if failed else {})

    async def test_unknown_rows_count_as_created(self, desk: Desk) -> None:
        """A row that may have been created stays unknown until it is to be tried again."""
        desk.write(named("a", "a"), named(None, "x"))
        desk.emulator.faults += [Mishap(reset=True, when="after", times=2)]
        taken = {"externalId": "a", "metadata": {"name": "another's"}}
        desk.emulator.add("sunshine", taken, app_id="app")
        first = await desk.run(Mode.CREATE, concurrency=1)
        unknown = first.unknown
        assert unknown
        made = len(desk.emulator.users("sunshine"))
        for row in (named("z", "z"), named("y", "y")):
            desk.write(named("a", "a"), named(None, "x"), row)
            report = await desk.run(Mode.CREATE, accept_changed_source=True)
            assert (report.unknown, report.requests) == (unknown, 1)
        assert len(desk.emulator.users("sunshine")) == made + 2
        assert "--retry-unknown" in report.problems[0].reason

    async def test_without_a_key(self, desk: Desk) -> None:
        """Without keys a corrected file is refused; accepted, rows count by body and count."""
        desk.write(named(None, "a"), BAD_DATE, named(None, "c"))
        assert counts(await desk.run(Mode.CREATE)) == (2, 0, 0, 1, 0)
        before = desk.rows
        desk.write(*(named(None, name) for name in "abc"))
        with pytest.raises(JournalError, match=r"rows without a key.*--accept-changed-source"):
            await desk.run(Mode.CREATE)
        assert desk.rows == before
        assert len(desk.emulator.users("sunshine")) == 2

        report = await desk.run(Mode.CREATE, accept_changed_source=True)

        assert counts(report) == (3, 0, 0, 0, 0)
        assert report.outcomes == {"created": 1, "unchanged": 2}
        assert sorted(desk.names.values()) == ["a", "b", "c"]

    async def test_by_count(self, desk: Desk) -> None:
        """As many equal bodies are created as a file has beyond those of all files before."""
        for rows, made in (("xx", 2), ("y", 3), ("xxxy", 4), ("yx", 4), ("xxxyy", 5)):
            desk.write(*(named(None, name) for name in rows))
            report = await desk.run(Mode.CREATE, accept_changed_source=True)
            assert counts(report) == (len(rows), 0, 0, 0, 0)
            assert len(desk.emulator.users("sunshine")) == made

    async def test_a_stream_without_keys(self, desk: Desk) -> None:
        """Rows at hand without keys are known by their place; others are refused, or accepted by count."""
        people = [named(None, name) for name in "abc"]
        await desk.run(Mode.CREATE, people[:2])
        assert (await desk.run(Mode.CREATE, people)).requests == 1
        for rows in (people[1:], [named(None, "d")], [*people[:1], named(None, "d")]):
            report = await desk.run(Mode.CREATE, rows)
            assert (report.ending, report.requests) == (Ending.GAVE_UP, 0)
            assert "--accept-changed-source" in str(report.reason)
        rows = [*people[::-1], named(None, "d")]
        report = await desk.run(Mode.CREATE, rows, accept_changed_source=True)
        assert (report.ending, report.requests) == (Ending.ALL, 1)
        assert sorted(desk.names.values()) == ["a", "b", "c", "d"]

    async def test_a_stream_after_files_without_keys(self, desk: Desk) -> None:
        """Users whom a file of before made count for rows at hand, certain and unknown ones."""
        desk.write(named(None, "a"), named(None, "b"))
        desk.emulator.faults.append(Mishap(reset=True, when="after", times=2))
        first = await desk.run(Mode.CREATE, concurrency=1)
        assert first.unknown == 1 + first.done - 1
        desk.write(named(None, "c"))
        await desk.run(Mode.CREATE, accept_changed_source=True)
        rows = [named(None, "a"), named(None, "b")]
        refused = await desk.run(Mode.CREATE, rows)
        assert refused.ending is Ending.GAVE_UP
        report = await desk.run(Mode.CREATE, rows, accept_changed_source=True)
        assert report.requests == 0
        assert len(desk.emulator.users("sunshine")) == 3

    @pytest.mark.parametrize("key", ["a", None])
    async def test_all_of_them(self, desk: Desk, key: str | None) -> None:
        """With *full* all rows are sent again."""
        for number in (1, 2):
            desk.write(named(key, "a"), *[named("other", "b")] * (number - 1))
            report = await desk.run(Mode.CREATE, full=True)
        assert report.requests == 2
        assert len(desk.emulator.users("sunshine")) == (2 if key else 3)

    @pytest.mark.parametrize("mode", [Mode.UPDATE, Mode.DELETE])
    async def test_other_modes_are_sent_again(self, desk: Desk, mode: Mode) -> None:
        """Updates and deletions of another run are sent again, whatever was accepted before."""
        for rows in ("ab", "abc"):
            for key in "abc":
                if key not in desk.names:
                    desk.emulator.add("sunshine", named(key, "before"), app_id="app")
            desk.write(*(named(key, "new") for key in rows))
            assert (await desk.run(mode)).requests == len(rows)


class TestOneFile:
    @pytest.mark.slow
    @pytest.mark.parametrize("change", ["replaced", "appended", "cut", "edited", "gone"])
    @pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
    @pytest.mark.parametrize("when", ["before", "while it is sent"])
    async def test_a_file_that_changes(
        self, desk: Desk, change: str, suffix: str, when: str
    ) -> None:
        """A file that changes under its job ends the job; as it was again, all rows are done."""
        desk.file = desk.file.with_suffix(f".{suffix}")
        number = sized(1200, 700)
        rows = [named(f"user-{n}", "A") for n in range(number)]
        desk.write(*rows)
        original = desk.file.read_bytes()
        stamp = desk.file.stat()

        def spoil() -> None:
            desk.each = print
            match change:
                case "replaced":
                    beside = desk.file.with_name("beside")
                    beside.write_bytes(original)
                    beside.replace(desk.file)
                case "appended":
                    with desk.file.open("ab") as file:
                        file.write(original)
                case "cut":
                    os.truncate(desk.file, len(original) // 2)
                case "gone":
                    desk.file.unlink()
                case _:
                    desk.write(*(named(f"user-{n}", "B") for n in range(number)))
                    os.utime(desk.file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

        async with jobs.open(desk.path, desk.client, SUNSHINE, Mode.CREATE) as job:
            with open_rows(desk.file, job.shape) as found:
                if when == "before" and change != "edited":
                    spoil()
                    with pytest.raises(SourceError, match=r"was changed or replaced|can't be read"):
                        await job.run(found)
                    assert not desk.emulator.users("sunshine")
                else:
                    desk.each = spoil
                    await job.run(found)
        assert "B" not in desk.names.values()
        desk.file.write_bytes(original)
        report = await desk.run(Mode.CREATE)
        assert counts(report) == (number, 0, 0, 0, 0)
        assert set(desk.names.values()) == {"A"}

    @pytest.mark.parametrize("seen", [True, False])
    async def test_a_file_that_changes_while_it_is_read_ahead(
        self, desk: Desk, *, seen: bool
    ) -> None:
        """A file that changes while it is read ahead is no source; the journal stays as it was."""
        desk.write(*(named(f"user-{n}", "A") for n in range(50)))
        async with jobs.open(desk.path, desk.client, SUNSHINE, Mode.CREATE) as job:
            add = job.journal.add

            def adding(lines: Iterable[Any]) -> int:
                stamp = desk.file.stat()
                if seen:
                    with desk.file.open("a") as file:
                        file.write(json.dumps(named("late", "A")) + "\n")
                else:
                    desk.file.write_text(desk.file.read_text().replace("user-49", "late-49"))
                    os.utime(desk.file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
                return add(lines)

            job.journal.add = adding  # type: ignore[method-assign]
            with (
                open_rows(desk.file, job.shape) as rows,
                pytest.raises(SourceError, match=r"nothing was sent\. Run the same again"),
            ):
                await job.run(rows)
        assert desk.rows == []
        assert (await desk.run(Mode.CREATE)).done == len(desk.names) == 50 + seen
        assert {"late", "late-49"} & {*desk.names}

    async def test_an_edit_that_no_digest_told(self, desk: Desk) -> None:
        """Where the journal has other rows than the file, the file can be accepted as it is."""
        desk.write(named("a", "A"), named("b", "A"))
        await desk.run(Mode.UPSERT, after=0)
        with closing(Journal(desk.path)) as journal, journal._transaction() as database:
            database.execute("UPDATE rows SET hash = x'00' WHERE number = 2")
        report = await desk.run(Mode.UPSERT)
        assert report.ending is Ending.GAVE_UP
        assert "accept it as it is (--accept-changed-source)" in str(report.reason)
        report = await desk.run(Mode.UPSERT, accept_changed_source=True)
        assert counts(report) == (2, 0, 0, 0, 0)
        assert desk.names == {"a": "A", "b": "A"}

    async def test_a_file_after_rows_at_hand(self, desk: Desk) -> None:
        """A file whose rows other rows have replaced in the journal is read again."""
        desk.write(named("a", "A"), named("b", "A"))
        await desk.run(Mode.UPSERT)
        await desk.run(Mode.UPSERT, [named("a", "B")])
        report = await desk.run(Mode.UPSERT)
        assert (report.done, report.unchanged) == (2, 1)
        assert desk.names == {"a": "A", "b": "A"}

    async def test_a_file_beside_rows_at_hand_that_were_cut_off(self, desk: Desk) -> None:
        """Rows at hand that were cut off over the journal of a file don't keep the file from its end."""
        desk.write(named("a", "A"), named("b", "A"))
        await desk.run(Mode.UPSERT, after=0)
        await desk.run(Mode.UPSERT, [named("c", "A")], after=0)
        report = await desk.run(Mode.UPSERT)
        assert (report.ending, report.done) == (Ending.ALL, 2)
        desk.write(named("d", "A"))
        assert (await desk.run(Mode.UPSERT)).done == 1


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE


class Odd(dict[str, Any]):
    """A mapping that can't be read."""

    def items(self) -> Any:
        raise ZeroDivisionError


ODD_BODIES: dict[str, tuple[Any, str]] = {
    "NaN": ({"metadata": {"age": math.nan}}, "metadata.age: JSON has no NaN and no infinity"),
    "NaN in a model": (UserCreateBody(metadata={"age": math.nan}), "metadata.age: JSON has no NaN"),
    "past 64 bits": ({"metadata": {"n": 1 << 70}}, "metadata.n: "),
    "key that is no text": ({1: "x"}, "a key"),
    "inner key that is no text": ({"metadata": {1: "x"}}, "metadata"),
    "surrogate": ({"externalId": "\ud800"}, "externalId"),
    "set": ({"externalId": {1}}, "externalId"),
    "cycle": (CYCLE, ""),
    "odd mapping": (Odd(a=1), ""),
    "text": ("users.csv", "expected a model, or a mapping such as {'id': ...}, got str"),
    "number": (1, "expected a model, or a mapping such as {'id': ...}, got int"),
    "none": (None, "expected a model, or a mapping such as {'id': ...}, got NoneType"),
    "not a number": (math.nan, "JSON has no NaN"),
    "list": ([], "expected a model, or a mapping such as {'id': ...}, got list"),
    "another model": (AppUserPreCreate(user_id="a"), "expected a UserCreateBody or a mapping, got"),
    "update": (UserUpdateBody(), "expected a UserCreateBody or a mapping, got a UserUpdateBody"),
    "inner model": (Profile(), "expected a UserCreateBody or a mapping, got a Profile"),
    "not a model inside": (UserCreateBody(profile={"a": 1}), ""),  # type: ignore[arg-type]
    "row with no body": (Row(1, [1]), "expected a model"),  # type: ignore[arg-type]
    "bad row": (BadRow(1, "bad already"), "bad already"),
    "deep": ({"metadata": json.loads('{"a":' * 900 + "1" + "}" * 900)}, ""),
}


class TestOddRows:
    @pytest.mark.slow
    @pytest.mark.parametrize("journaled", [False, True])
    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_bad_rows_are_outcomes(
        self, desk: Desk, *, journaled: bool, asynchronous: bool
    ) -> None:
        """A body that can't be sent is a bad row with a reason; the others are sent."""
        seen: list[Problem] = []

        async def later(rows: list[Any]) -> AsyncIterator[Any]:
            for row in rows:
                await anyio.lowlevel.checkpoint()
                yield row

        for odd, reason in ODD_BODIES.values():
            seen.clear()
            given = [named(None, "a"), odd, UserCreateBody(metadata={"name": "b"})]
            rows = later(given) if asynchronous else iter(given)
            if journaled:
                desk.path.unlink(missing_ok=True)
                report = await desk.run(Mode.CREATE, rows, on_problem=seen.append)
            else:
                job = Job(desk.client, SUNSHINE, Mode.CREATE, on_problem=seen.append)
                report = await job.run(rows)
            deep = "deep" if odd is ODD_BODIES["deep"][0] else ""
            assert (report.done + report.bad, report.bad <= 1) == (3, True), odd
            assert deep or report.bad == 1, odd
            assert deep or reason in report.problems[0].reason, report.problems
            assert len(seen) == report.bad

    @pytest.mark.parametrize("journaled", [False, True])
    @pytest.mark.parametrize(
        "rows",
        [
            "users.csv",
            b"x",
            Path("users.csv"),
            {"externalId": "a"},
            UserCreateBody(),
            None,
            3,
            io.StringIO("{}"),
            io.BytesIO(b"{}"),
            object(),
            print,
        ],
        ids=lambda rows: type(rows).__name__,
    )
    async def test_what_is_no_rows(self, desk: Desk, rows: Any, *, journaled: bool) -> None:
        """What is no iterable of bodies is one clear error, before anything is sent."""
        async with jobs.open(desk.path, desk.client, SUNSHINE, Mode.CREATE) as lasting:
            job = lasting if journaled else Job(desk.client, SUNSHINE, Mode.CREATE)
            with pytest.raises(TypeError, match=r"expected an iterable of bodies, got .*open_rows"):
                await job.run(rows)
            assert (await job.run([named("a", "a")])).done == 1

    @pytest.mark.parametrize("journaled", [False, True])
    async def test_a_job_runs_once(self, desk: Desk, *, journaled: bool) -> None:
        """A second run, meanwhile or later, is refused with the next step."""
        errors: list[RuntimeError] = []
        async with jobs.open(desk.path, desk.client, SUNSHINE, Mode.CREATE) as lasting:
            job = lasting if journaled else Job(desk.client, SUNSHINE, Mode.CREATE)

            async def another() -> AsyncIterator[Any]:
                yield named("a", "a")
                with pytest.raises(RuntimeError, match="a job runs once: make another") as caught:
                    await job.run([named("b", "b")])
                errors.append(caught.value)

            assert (await job.run(another())).done == 1
            with pytest.raises(RuntimeError, match="a job runs once: make another"):
                await job.run([named("b", "b")])
        assert len(errors) == 1
        assert desk.names == {"a": "a"}

    @pytest.mark.parametrize("journaled", [False, True])
    async def test_rows_that_raise(self, desk: Desk, *, journaled: bool) -> None:
        """An error of the caller's own rows is raised as itself, and async rows are closed."""
        closed: list[bool] = []

        async def rows() -> AsyncIterator[Any]:
            try:
                yield named("a", "a")
                raise ZeroDivisionError
            finally:
                closed.append(True)

        async def endless() -> AsyncIterator[Any]:
            try:
                while True:
                    yield named(None, "a")
            finally:
                closed.append(True)

        def open_job() -> Any:
            if journaled:
                return jobs.open(desk.path, desk.client, SUNSHINE, Mode.CREATE)
            return nullcontext(Job(desk.client, SUNSHINE, Mode.CREATE))

        async with open_job() as job:
            with pytest.raises(ZeroDivisionError):
                await job.run(rows())
        async with open_job() as job:
            desk.each = job.stop
            await job.run(endless())
        assert closed == [True, True]

    async def test_an_async_source_that_breaks_off(self, desk: Desk) -> None:
        """Where async rows can't be read on, the rows before have their outcomes, and the job ends."""

        async def rows() -> AsyncIterator[Any]:
            yield named("a", "a")
            message = "cut short"
            raise SourceError(message)

        report = await Job(desk.client, SUNSHINE, Mode.CREATE).run(rows())
        assert (report.ending, report.reason, report.done) == (Ending.GAVE_UP, "cut short", 1)

    async def test_models_with_an_id(self, emulator: Emulator) -> None:
        """A model that says whom to change is a row of an update."""
        emulator.add("dixa", {"id": "00000000-0000-4000-8000-000000000001", "displayName": "old"})
        [there] = emulator.users("dixa")
        client = DixaClient(auth=ApiToken("t"), transport=emulator.transport(), pace=Pace())
        async with client:
            rows = [BulkPatchEndUserInput(id=there["id"], display_name="new")]
            assert (await Job(client, DIXA, Mode.UPDATE).run(rows)).done == 1
        assert emulator.users("dixa")[0]["displayName"] == "new"

    async def test_models_of_any_kind_say_whom_to_delete(self, desk: Desk) -> None:
        """Where a row has no body any model with an id will do: the users that were read, say."""
        desk.emulator.add("sunshine", named("a", "a"), app_id="app")
        user = await desk.client.users.get("a")
        assert (await Job(desk.client, SUNSHINE, Mode.DELETE).run([user])).done == 1

    @pytest.mark.parametrize("look", [(400, {}), (409, {}), (200, {}), (200, []), (302, {})])
    async def test_a_look_that_tells_nothing(self, desk: Desk, look: Any) -> None:
        """A row that may have been created is unknown where the look-up is refused or unreadable."""
        desk.write(named("a", "a"))
        await desk.run(Mode.CREATE, after=0)
        auth = BasicAuth("key-id", "secret")
        async with (
            SunshineClient(
                "app", auth=auth, base_url="http://127.0.0.1", transport=ScriptedTransport([look])
            ) as client,
            jobs.open(desk.path, client, SUNSHINE, Mode.CREATE) as job,
        ):
            with open_rows(desk.file, job.shape) as rows:
                await job.run(rows)
        assert [state for state, _ in desk.rows] == [State.UNKNOWN]

    @pytest.mark.parametrize(
        ("error", "state"),
        [
            (ZeroDivisionError, State.UNKNOWN), (KeyError, State.UNKNOWN), (OSError, State.UNKNOWN),
            (TimeoutError, State.UNKNOWN), (ValueError, State.BAD), (TypeError, State.FAILED),
        ],
    )  # fmt: skip
    async def test_errors_of_any_kind(
        self, desk: Desk, error: type[Exception], state: State
    ) -> None:
        """An error that nobody foresaw leaves its row unknown; only bad arguments aren't sent."""

        async def send(*_: Any) -> None:
            raise error

        tasks = {**SUNSHINE.tasks, Mode.CREATE: evolve(SUNSHINE.tasks[Mode.CREATE], send=send)}
        service = evolve(SUNSHINE, tasks=tasks)
        async with jobs.open(desk.path, desk.client, service, Mode.CREATE) as job:
            await job.run([named("a", "a")])
        assert [found for found, _ in desk.rows] == [state]

    @pytest.mark.slow
    def test_rehearsals(self) -> None:
        """A dry run takes what a job takes, and refuses what a job refuses."""
        odd = [body for body, _ in ODD_BODIES.values()]
        found = dry_run(SUNSHINE, Mode.CREATE, [named("a", "a"), *odd])
        assert found.valid + found.bad == 1 + len(odd)
        assert found.bad >= len(odd) - 1
        with pytest.raises(TypeError, match="expected an iterable of bodies"):
            dry_run(SUNSHINE, Mode.CREATE, "users.csv")


class TestFuse:
    @pytest.mark.parametrize("kind", ["unreadable", "can't be sent"])
    async def test_a_file_with_many_bad_rows(self, desk: Desk, kind: str) -> None:
        """More bad rows than allowed end a job with a journal before anything is sent, every time."""
        bad = "{x" if kind == "unreadable" else {"profile": 1}
        desk.write(*(bad if n % 3 else named(f"user-{n}", "A") for n in range(300)))
        for _ in range(2):
            report = await desk.run(Mode.CREATE, max_failures=10)
            assert (report.ending, report.requests) == (Ending.GAVE_UP, 0)
            assert "more than 10 rows failed, are unknown or bad" in str(report.reason)
        assert (await desk.run(Mode.CREATE, max_failures=200)).done == 100

    @pytest.mark.slow
    @pytest.mark.parametrize("journaled", [False, True])
    async def test_bad_rows_at_hand(self, desk: Desk, *, journaled: bool) -> None:
        """Bad rows at hand count as they come, with a journal and without."""
        rows: Iterator[Any] = iter(
            [*[named(None, "A")] * 600, *[1] * 600, *[named(None, "B")] * 9000]
        )
        if journaled:
            report = await desk.run(Mode.CREATE, rows, max_failures=10)
        else:
            report = await Job(desk.client, SUNSHINE, Mode.CREATE, max_failures=10).run(rows)
        assert report.ending is Ending.GAVE_UP
        assert desk.emulator.ledger()["requests"] < 3000

    async def test_users_created_with_another_body(self, desk: Desk) -> None:
        """Rows whose user was created with another body count."""
        for name in "AB":
            desk.write(*(named(f"user-{n}", name) for n in range(20)), named(f"new-{name}", name))
            report = await desk.run(Mode.CREATE, max_failures=10)
        assert (report.ending, report.requests) == (Ending.GAVE_UP, 0)


class TestJournals:
    @pytest.mark.parametrize(
        "name", ["", ":memory:", "file:run.sqlite", "file::memory:?cache=shared"]
    )
    async def test_no_journal(self, desk: Desk, name: str) -> None:
        """A name that is no file's, but SQLite's own, is refused before anything is sent."""
        with pytest.raises(ConfigurationError, match="the path of a file is needed"):
            async with jobs.open(name, desk.client, SUNSHINE, Mode.CREATE):
                pass

    async def test_without_its_other_part(self, desk: Desk, tmp_path: Path) -> None:
        """A journal that a kill has left, copied without its -wal file, sends nothing."""
        desk.write(*(named(None, f"{n}") for n in range(100)))
        copied: list[Path] = []

        def copy() -> None:
            if not copied:
                copied.append(tmp_path / "copy.sqlite")
                copied[0].write_bytes(desk.path.read_bytes())

        desk.each = copy
        await desk.run(Mode.CREATE, after=50)
        before = len(desk.emulator.users("sunshine"))
        desk.path = copied[0]
        with pytest.raises(JournalError, match="sunshine-async job copy"):
            await desk.run(Mode.CREATE)
        assert len(desk.emulator.users("sunshine")) == before

    async def test_a_run_in_a_state_that_nobody_knows(self, desk: Desk) -> None:
        """A run whose state is of a newer version isn't taken for finished."""
        desk.write(named("a", "A"))
        await desk.run(Mode.UPDATE)
        with closing(Journal(desk.path)) as journal:
            journal.describe(state="paused")
        desk.write(named("b", "A"))
        with pytest.raises(JournalError, match="isn't finished"):
            await desk.run(Mode.UPDATE)

    def test_what_is_not_json(self) -> None:
        """A row of the caller's own that JSON can't hold is bad."""
        task = SUNSHINE.tasks[Mode.CREATE]
        found = source_row(Row(1, {"externalId": {1}}), task, keep_body=False)
        assert found.reason == "not JSON: Type is not JSON serializable: set"
