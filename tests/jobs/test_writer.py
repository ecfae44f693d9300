"""The journal of a running job, as a watcher reads the journal: also while no outcome comes."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from support.virtual import sleep, until, virtual

from sunshine_async import BasicAuth, Retry, SunshineClient, jobs
from sunshine_async.jobs import SUNSHINE, Ending, Mode
from sunshine_async.jobs.source import LIVE
from sunshine_async.jobs.writer import JournalWriter
from sunshine_async.journal import Journal, JournalError, JournalReader

USER = httpx.Response(201, json={"user": {"id": "1"}})
ASKED = httpx.Response(429, headers={"Retry-After": "30"})
GONE = httpx.Response(503)


def live(path: Path) -> dict[str, Any]:
    """Return the counts of the running job; none before the first commit."""
    found: dict[str, Any] = json.loads(JournalReader(path).about().get(LIVE, "{}"))
    return found


@pytest.mark.parametrize(("answer", "name"), [(GONE, "held"), (ASKED, "paused_until")])
def test_the_reason_of_a_wait(path: Path, answer: httpx.Response, name: str) -> None:
    """While calls are held, or paused on request, the journal has the reason, and no longer than that."""
    answers: Iterator[httpx.Response] = iter([USER] * 3 + [answer] * 4)
    seen: list[Any] = []

    def send(request: httpx.Request) -> httpx.Response:
        seen.append(live(path).get(name))
        found = next(answers, USER)
        return httpx.Response(404) if found is USER and request.method == "GET" else found

    @virtual
    async def scenario() -> None:
        client = SunshineClient(
            "app", auth=BasicAuth("id", "secret"), transport=httpx.MockTransport(send),
            retry=Retry(max_attempts=1),
        )  # fmt: skip
        rows = [{"externalId": str(number)} for number in range(20)]
        async with client, jobs.open(path, client, SUNSHINE, Mode.CREATE, concurrency=1) as job:
            report = await job.run(rows)
        assert report.ending is Ending.ALL
        assert report.done == 20

    scenario()
    assert not any(seen[:4])
    assert any("503" in reason if name == "held" else reason for reason in seen[4:] if reason)
    assert not live(path)[name]


def test_an_idle_second(path: Path) -> None:
    """Without updates a changed entry is written after a second; an unchanged entry isn't."""
    errors: list[JournalError] = []
    entries = {LIVE: "1"}

    @virtual
    async def scenario() -> None:
        async with anyio.create_task_group() as tasks:
            writer = JournalWriter(journal, lambda: entries, lambda _: None, errors.append)
            tasks.start_soon(writer.run)
            await until(lambda: journal.about() == entries)
            changes = journal._database.total_changes
            await sleep(10)
            assert journal._database.total_changes == changes
            entries[LIVE] = "2"
            await until(lambda: journal.about() == entries)
            journal._database.execute("DROP TABLE about")
            entries[LIVE] = "3"
            await until(lambda: bool(errors))
            entries[LIVE] = "4"
            await sleep(3)  # nothing more is written
            writer.close()

    with closing(Journal(path)) as journal:
        scenario()
    assert len(errors) == 1
