"""Batches that are cancelled between two requests: what had left by then is said."""

from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.backends import virtual_on_both
from support.virtual import until

from sunshine_async import ApiToken, DixaClient, Pace, Retry
from sunshine_async.dixa import CreateEndUserInput
from sunshine_async.emulator import Emulator, Mishap

BULK = "postEndusersBulk"
BODIES = [CreateEndUserInput(email="a@x.org"), CreateEndUserInput(email="b@x.org")]
EXCEEDING = Mishap(status=413, operation=BULK)
LOST = Mishap(reset=True, when="after", operation=BULK)


def client_of(emulator: Emulator, requests: int) -> DixaClient:
    """Return a client that sends so many requests, and then waits for its pace."""
    pace = Pace(rate=0.001, burst=requests)
    return DixaClient(
        auth=ApiToken("t"), transport=emulator.transport(), pace=pace, retry=Retry(max_attempts=1)
    )


async def notes(emulator: Emulator, requests: int, way: str, items: Sequence[Any]) -> list[str]:
    """Return what a cancellation says of *items*, which came once so many requests had been sent."""
    found: list[str] = []
    send = getattr(client_of(emulator, requests).end_users, way)().send

    async def call() -> None:
        try:
            await send(items)
        except anyio.get_cancelled_exc_class() as cancelled:
            found.extend(getattr(cancelled, "__notes__", ()))
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await until(lambda: emulator.requests >= requests)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    return found


@virtual_on_both
@pytest.mark.parametrize(
    ("way", "mishaps", "requests", "said"),
    [
        ("creating", [EXCEEDING], 1, False),
        ("creating", [EXCEEDING], 2, True),
        ("creating", [LOST], 1, True),
        ("upserting", [Mishap(status=400, operation=BULK)], 1, False),
    ],
)
async def test_what_had_left_is_said(
    way: str, mishaps: list[Mishap], requests: int, *, said: bool
) -> None:
    """A cancellation says that a request had left where one of the batch may have been applied."""
    emulator = Emulator()
    emulator.faults = [*mishaps]

    found = await notes(emulator, requests, way, BODIES)

    assert bool(found) is said
    assert all("an earlier request of the batch had left" in note for note in found)


@virtual_on_both
async def test_an_upsert_that_had_created() -> None:
    """An upsert that is cancelled while it asks who has what is taken says what had left."""
    emulator = Emulator()
    emulator.add("dixa", {"email": "b@x.org"})

    assert await notes(emulator, 1, "upserting", BODIES)

    assert len(emulator.users("dixa")) == 2
