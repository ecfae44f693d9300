"""The writer of a journal: entries about a job are written also while no outcome comes."""

from contextlib import closing
from pathlib import Path

import anyio
import pytest
from support.virtual import until

from sunshine_async.jobs import writer as writers
from sunshine_async.jobs.source import LIVE
from sunshine_async.journal import Journal, JournalError

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
