"""The writer of a journal: entries about a job are written also while no outcome comes."""

from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.journals import lines
from support.virtual import until, virtual

from sunshine_async.jobs import writer as writers
from sunshine_async.jobs.source import LIVE
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import Journal, JournalError, State, Update

IDLE_LOOKS = 20


async def test_an_idle_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without updates a changed entry is written after a second; an unchanged entry isn't."""
    monkeypatch.setattr(writers, "_IDLE", 0.001)
    errors: list[JournalError] = []
    entries = {LIVE: "1"}
    looks: list[int] = []

    def look() -> dict[str, str]:
        looks.append(1)
        return entries

    async def idle() -> None:
        number = len(looks)
        await until(lambda: len(looks) > number + IDLE_LOOKS)

    with closing(Journal(path)) as journal:
        async with anyio.create_task_group() as tasks:
            writer = writers.JournalWriter(journal, look, lambda _: None, errors.append)
            tasks.start_soon(writer.run)
            await until(lambda: journal.about() == entries)
            changes = journal._database.total_changes
            await idle()
            assert journal._database.total_changes == changes
            entries[LIVE] = "2"
            await until(lambda: journal.about() == entries)
            journal._database.execute("DROP TABLE about")
            entries[LIVE] = "3"
            await until(lambda: bool(errors))
            entries[LIVE] = "4"
            await idle()  # nothing more is written
            writer.close()
    assert len(errors) == 1


@virtual
async def test_a_task_waits_for_the_disk_alone(path: Path) -> None:
    """A task that waits for a commit waits for no timer: a row would take a part of a second."""
    with closing(Journal(path)) as journal:
        journal.add(lines("a", "b", "c"))
        async with anyio.create_task_group() as tasks:
            writer = JournalWriter(journal, dict, print, print)
            tasks.start_soon(writer.run)
            began = anyio.current_time()
            await writer.start({1: None})
            assert [row["number"] for row in journal.rows(State.BEGUN)] == [1]
            await writer.start_through(2, ahead=0)
            assert [row["number"] for row in journal.rows(State.BEGUN)] == [1, 2]
            writer.done(1, "created", None, sent=0)
            await writer.flush()
            assert [row["number"] for row in journal.rows(State.DONE)] == [1]
            written = anyio.Event()
            writer.update(Update(2, State.FAILED, 1.0))
            writer.after_commit(written.set)
            writer.flush_soon()
            await written.wait()
            assert [row["number"] for row in journal.rows(State.FAILED)] == [2]
            writer.close()
    assert anyio.current_time() == began


@pytest.mark.parametrize("kind", ["update", "done", "timeline"])
@virtual
async def test_each_addition_is_written_soon(path: Path, kind: str) -> None:
    """An addition for which no task waits is written after a linger, without the look for news."""
    with closing(Journal(path)) as journal:
        journal.begin_session()
        journal.add(lines("a", "b"))
        async with anyio.create_task_group() as tasks:
            writer = JournalWriter(journal, dict, print, print)
            tasks.start_soon(writer.run)
            await writer.start({2: None})
            began = anyio.current_time()
            match kind:
                case "update":
                    writer.update(Update(1, State.FAILED, 1.0))
                case "done":
                    writer.done(1, "created", None, sent=1)
                case _:
                    writer.save_timeline("[]")
            await until(
                lambda: bool(journal.timelines() or [*journal.rows(State.DONE, State.FAILED)])
            )
            assert writers._LINGER <= anyio.current_time() - began < writers._IDLE
            writer.close()


@pytest.mark.parametrize("kind", ["row", "call"])
async def test_the_end_comes_after_all(path: Path, kind: str) -> None:
    """What is added while the last commit is under way is written, too, and what waits is called."""
    ended: list[str] = []

    def add() -> None:
        journal.write = write  # type: ignore[method-assign]
        if kind == "row":
            writer.done(2, "created", None, sent=1)
        else:
            writer.after_commit(lambda: ended.append("call"))
        writer.close()

    def add_meanwhile(*updates: Any, **more: Any) -> None:
        anyio.from_thread.run_sync(add)
        write(*updates, **more)

    with closing(Journal(path)) as journal:
        journal.add(lines("a", "b"))
        write, journal.write = journal.write, add_meanwhile  # type: ignore[method-assign]
        writer = JournalWriter(journal, dict, lambda done: ended.extend(map(str, done)), print)
        writer.done(1, "created", None, sent=1)
        await writer.run()
        done = [row["number"] for row in journal.rows(State.DONE)]
    assert len(ended) == 2
    assert done == ([1, 2] if kind == "row" else [1])


async def test_no_task_goes_on_after_a_failed_write(path: Path) -> None:
    """A mark that isn't on the disk is an error for each task that waits; nothing more is written."""
    errors: list[JournalError] = []
    told: list[object] = []

    def full(*_: Any, **__: Any) -> None:
        journal.write = write  # type: ignore[method-assign]
        message = "the disk is full"
        raise JournalError(message)

    with closing(Journal(path)) as journal:
        journal.add(lines("a", "b", "c"))
        write, journal.write = journal.write, full  # type: ignore[method-assign]
        async with anyio.create_task_group() as tasks:
            writer = JournalWriter(journal, dict, told.append, errors.append)
            tasks.start_soon(writer.run)
            writer.done(3, "created", None, sent=1)
            writer.after_commit(lambda: told.append("call"))
            with pytest.raises(JournalError, match="the disk is full"):
                await writer.start_through(1, ahead=0)
            with pytest.raises(JournalError, match="the disk is full"):
                await writer.start({2: None})
            writer.close()
        assert {*journal.counts()} == {(State.WAITING, None)}
    assert (len(errors), told) == (1, [])
