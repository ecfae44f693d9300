"""Parts of a file: each row in exactly one part, in any process, and a report of all parts."""

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from support.journals import counts, effects, write
from support.size import sized

from sunshine_async import ConfigurationError, SunshineClient, jobs
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import (
    DIXA,
    SERVICES,
    SUNSHINE,
    BadRow,
    Ending,
    FilePart,
    JournalError,
    Mode,
    Problem,
    Report,
    Row,
    Service,
    SourceError,
    Trouble,
    open_rows,
    partition,
)
from sunshine_async.rows.shape import id_of_key, row_key

KEYS = st.sampled_from(["", "anna", "bert", "cleo", "dora", "eva", "fritz"])
"""Few keys, so that many rows share a key; an empty key is no key."""


def parts_of(
    file: Path, into: int, *, service: Service = SUNSHINE, mode: Mode = Mode.CREATE, **options: Any
) -> list[FilePart]:
    task = service.task(mode)
    with open_rows(file, task.shape, **options) as rows:
        return partition(rows, task, into=into)


def rows_of(part: FilePart) -> list[Row | BadRow]:
    with part.open() as rows:
        return [*rows]


async def run_part(client: SunshineClient, part: FilePart, journal: Path, **options: Any) -> Report:
    service = SERVICES[part.service]
    async with jobs.open(journal, client, service, part.mode, **options) as job:
        with part.open() as rows:
            return await job.run(rows)


@given(
    keys=st.lists(KEYS, max_size=40),
    into=st.integers(1, 9),
    mode=st.sampled_from([Mode.CREATE, Mode.UPDATE, Mode.UPSERT, Mode.DELETE, Mode.MESSAGE]),
    bad=st.sets(st.integers(0, 39)),
)
def test_the_parts_are_the_whole(keys: Sequence[str], into: int, mode: Mode, bad: set[int]) -> None:
    """Each row is in exactly one part, rows with equal keys share a part, in the file's order."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "users.jsonl")
        file.write_text(
            "".join(
                "[]\n" if place in bad else json.dumps({"externalId": key, "n": place}) + "\n"
                for place, key in enumerate(keys, 1)
            )
            or "\n"
        )
        with open_rows(file, SUNSHINE.task(mode).shape) as whole:
            expected = [*whole]
        parts = [pickle.loads(pickle.dumps(one)) for one in parts_of(file, into, mode=mode)]  # noqa: S301
        found = [rows_of(part) for part in parts]

    assert len(parts) == into
    assert sorted((row for rows in found for row in rows), key=lambda row: row.line) == expected
    places: dict[str, set[int]] = {}
    for place, rows in enumerate(found):
        assert [row.line for row in rows] == sorted(row.line for row in rows)
        for row in rows:
            if isinstance(row, Row) and row.data["externalId"]:
                places.setdefault(row.data["externalId"], set()).add(place)
    assert all(len(shared) == 1 for shared in places.values())


def test_a_part_is_the_same_in_each_process(file: Path) -> None:
    """The parts don't depend on the process, on PYTHONHASHSEED, or on the release."""
    write(file, [{"externalId": f"user-{n}"} for n in range(40)])
    program = (
        "import sys, pickle; part = pickle.load(sys.stdin.buffer);"
        "print(*[row.line for row in part.open()])"
    )
    part = parts_of(file, 4)[2]
    found = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], input=pickle.dumps(part), capture_output=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )  # fmt: skip

    lines = [10, 11, 13, 17, 20, 21, 24, 40]
    assert [row.line for row in rows_of(part)] == [*map(int, found.stdout.split())] == lines


def test_the_parts_are_alike_in_size(file: Path) -> None:
    """Keys that count up, and rows without a key, spread evenly over the parts."""
    write(file, [{"externalId": f"user-{n}"} if n % 2 else {} for n in range(4000)])
    sizes = [len(rows_of(part)) for part in parts_of(file, 8)]

    assert sum(sizes) == 4000
    assert 400 < min(sizes) < max(sizes) < 600


@pytest.mark.parametrize(
    ("service", "mode", "first", "second"),
    [
        (SUNSHINE, Mode.CREATE, {"externalId": "a", "brandId": "1"}, {"externalId": "a"}),
        (DIXA, Mode.UPSERT, {"externalId": "a@x.org"}, {"email": "a@x.org"}),
    ],
)
def test_keys_of_different_users_are_different(
    file: Path, service: Service, mode: Mode, first: Any, second: Any
) -> None:
    """Equal texts that mean two users, by brand or by field, are two keys."""
    write(file, [first, second])
    found = [len(rows_of(part)) for part in parts_of(file, 97, service=service, mode=mode)]

    assert Counter(found) == {0: 95, 1: 2}


@given(
    first=st.tuples(st.text("ab\x1e\x1f01", max_size=4), st.text("ab\x1e\x1f01", max_size=4)),
    second=st.tuples(st.text("ab\x1e\x1f01", max_size=4), st.text("ab\x1e\x1f01", max_size=4)),
)
def test_a_key_is_of_one_user(first: tuple[str, str], second: tuple[str, str]) -> None:
    """No id and brand make the key of another id and brand; the id can be read off the key."""
    keys: list[str | None] = []
    for user_id, brand in (first, second):
        data = {"externalId": user_id, "brandId": brand}
        key = row_key(data, ("externalId",), ("brandId",), named=True)
        assert (key is None) == (not user_id)
        assert key is None or id_of_key(key) == user_id
        keys.append(key)

    assert None in keys or (keys[0] == keys[1]) == (first == second)


def test_a_value_that_is_no_text_is_no_key() -> None:
    """A key or a brand of another type is left to the service to refuse, and so is an empty text."""
    for odd in (None, "", 5, True, [], {}):
        data = {"id": odd, "externalId": "a", "brandId": odd}
        assert row_key(data, ("id", "externalId"), ("brandId",), named=False) == "a"
        assert row_key(data, ("id",), ("brandId",), named=False) is None


def test_messages_of_a_conversation_share_a_part(file: Path) -> None:
    """Rows of messages have no key in the journal, and yet the order of a conversation stays."""
    write(file, [{"conversationId": "c", "externalId": str(n), "text": "x"} for n in range(9)])

    assert max(len(rows_of(part)) for part in parts_of(file, 5, mode=Mode.MESSAGE)) == 9


def test_turned_phone_numbers_are_counted_once(tmp_path: Path) -> None:
    """The phone numbers that the parts turn add up to those of the whole file."""
    file = tmp_path / "users.csv"
    file.write_text("phoneNumber\n" + "".join(f"030 123{n:05}\n" for n in range(20)))
    turned = []
    for part in parts_of(file, 3, service=DIXA, default_region="DE"):
        with part.open() as rows:
            turned.append((sum(1 for _ in rows), rows.turned))

    assert all(rows == number for rows, number in turned)
    assert sum(number for _, number in turned) == 20


def test_what_can_not_be_partitioned(file: Path) -> None:
    """A task that no other process finds, no part, a pipe: an error that says the next step."""
    write(file, [{}])
    task = SUNSHINE.task(Mode.CREATE)
    with open_rows(file, task.shape) as rows:
        with pytest.raises(ConfigurationError, match="another process couldn't find the task"):
            partition(rows, evolve(task), into=2)
        with pytest.raises(ConfigurationError, match="into=0: give a number"):
            partition(rows, task, into=0)
        with pytest.raises(ConfigurationError, match="into must be a number, not str"):
            partition(rows, task, into="4")  # type: ignore[arg-type]
    with (
        file.open("rb", buffering=0) as pipe,
        open_rows("-", task.shape, stdin=pipe) as rows,  # type: ignore[arg-type]
        pytest.raises(SourceError, match="can be read only once"),
    ):
        partition(rows, task, into=2)


def test_a_changed_file_is_refused(file: Path) -> None:
    """A part of a file that has changed since, or is gone, sends nothing."""
    write(file, [{"externalId": "a"}])
    [part] = parts_of(file, 1)
    write(file, [{"externalId": "b"}])
    with pytest.raises(SourceError, match="is not the file that was partitioned"):
        part.open()
    file.unlink()
    with pytest.raises(SourceError, match="isn't there"):
        part.open()


async def test_a_journal_is_of_one_part(client: SunshineClient, file: Path, tmp_path: Path) -> None:
    """Another number of parts, another part or the whole file is refused, also after the end."""
    write(file, [{"externalId": f"user-{n}"} for n in range(9)])
    journal = tmp_path / "0.sqlite"
    parts = parts_of(file, 3)
    report = await run_part(client, parts[0], journal)
    assert report.done == report.rows > 0
    assert (await run_part(client, parts[0], journal)).requests == 0
    for other in (parts[1], parts_of(file, 4)[0]):
        with pytest.raises(
            JournalError, match=f"journal of part 1 of 3, not of part {other.index + 1}"
        ):
            await run_part(client, other, journal)
    async with jobs.open(journal, client, SUNSHINE, Mode.CREATE) as job:
        refused = pytest.raises(JournalError, match="of part 1 of 3, not of the whole file")
        with open_rows(file, job.shape) as rows, refused:
            await job.run(rows)


async def test_a_stop_ends_the_search_for_rows_of_the_part(
    client: SunshineClient, emulator: Emulator, file: Path, tmp_path: Path
) -> None:
    """A job that is stopped doesn't read the file to its end, where the rows are other parts'."""
    write(file, [{"externalId": f"user-{n}"} for n in range(400)])
    part, journal = parts_of(file, 40)[0], tmp_path / "part.sqlite"
    async with jobs.open(journal, client, SUNSHINE, Mode.CREATE) as journaled:
        for job in (journaled, jobs.Job(client, SUNSHINE, Mode.CREATE)):
            job.stop()
            with part.open() as rows:
                report = await job.run(rows)
                assert rows.lines < 40
            assert (report.ending, report.reason) == (Ending.STOPPED, None)
            assert counts(report) == (0, 0, 0, 0, 0)
    assert (await run_part(client, part, journal)).done == len(rows_of(part)) > 0
    assert len(emulator.users("sunshine")) == len(rows_of(part))


async def test_a_stop_ends_the_search_for_rows_to_send(
    client: SunshineClient, file: Path, tmp_path: Path
) -> None:
    """A stopped file isn't read on past rows that are done: the reason isn't a changed file."""
    write(file, [{"externalId": f"user-{n}"} for n in range(9)])
    journal, [part] = tmp_path / "whole.sqlite", parts_of(file, 1)
    assert (await run_part(client, part, journal)).done == 9
    write(file, [*({"externalId": f"user-{n}"} for n in range(9)), {"externalId": "new"}])
    [part] = parts_of(file, 1)
    async with jobs.open(journal, client, SUNSHINE, Mode.CREATE) as job:
        job._open_entries = lambda _: pytest.fail("unused")  # type: ignore[method-assign]
        with part.open() as rows:
            await job._load(rows)
    async with jobs.open(journal, client, SUNSHINE, Mode.CREATE) as job:
        with part.open() as rows:
            rows.stop()
            report = await job.run(rows)
    assert report.ending is Ending.GAVE_UP
    assert "after line 1: the reading was stopped before the end" in str(report.reason)
    assert (await run_part(client, part, journal)).done == 10


async def test_the_reports_add_up(
    client: SunshineClient, emulator: Emulator, file: Path, tmp_path: Path
) -> None:
    """The parts of a file send each row once; a sum of reports counts as one job would."""
    number = sized(300, 60)
    rows = [{"externalId": f"user-{n % (number - 5)}", "metadata": {"n": n}} for n in range(number)]
    write(file, [*rows, {"externalId": 5}])
    reports = [
        await run_part(client, part, tmp_path / f"{part.index}.sqlite")
        for part in parts_of(file, 4)
    ]
    report = sum(reports, Report())

    assert counts(report) == (number - 5, 0, 0, 1, 0)
    assert report.left_out == 5
    assert report.outcomes == {"created": number - 5}
    assert effects(emulator, "sunshine") == {"create": number - 5}
    assert report.requests == report.latencies.count == number - 5
    assert report.as_json()["problems"][0]["line"] == number + 1


def test_a_sum_of_reports_tells_the_worst_end() -> None:
    """In any order: the worst end with the reason, all counts, the first problems by line."""
    reports = [
        Report(done=2, seconds=1.0, last_line=7, found=5.0, window=10.0),
        Report(ending=Ending.STOPPED, done=1, last_line=9),
        Report(ending=Ending.GAVE_UP, reason="gone", seconds=2.0, limit=3.0),
    ]
    for line in (5, 1):
        reports[0].add(Problem(line, Trouble.BAD, "bad row", "x"))
        reports[1].add(Problem(line + 1, Trouble.FAILED, "conflict", "y"))
    for one in reports:
        one.problems.sort(key=lambda problem: problem.line)
    for some in permutations(reports):
        report = reduce(Report.__add__, some)
        assert (report.ending, report.reason, report.done, report.troubles) == (
            Ending.GAVE_UP, "gone", 3, 4,
        )  # fmt: skip
        assert (report.seconds, report.last_line) == (3.0, 9)
        assert (report.limit, report.found, report.window) == (3.0, 5.0, 10.0)
        assert [problem.line for problem in report.problems] == [1, 2, 5, 6]
        assert report.codes == {"bad row": 2, "conflict": 2}


def test_a_name_that_no_plan_can_keep(tmp_path: Path) -> None:
    """A file whose name isn't UTF-8 is refused with the next step: a database has the name."""
    file = tmp_path / "users\udcff.jsonl"
    file.write_text('{"externalId": "a"}\n')
    with pytest.raises(SourceError, match=r"isn't UTF-8.*Rename the file"):
        parts_of(file, 2)
