"""Deliveries of webhooks, made up for tests, and a way to send them in process."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
from attrs import define, field

from sunshine_async.webhooks.inbox import EventState
from sunshine_async.webhooks.postgres_inbox import PostgresInbox
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox

DELIVERIES: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "webhook-deliveries.json").read_text(encoding="utf-8")
)
"""Deliveries of the references, by service."""
SECRET = "s3cr3t"
HEADERS = {"X-API-Key": SECRET}


def message(
    number: int,
    conversation: str | None = "c",
    *,
    type: str = "conversation:message",
    **payload: Any,
) -> dict[str, Any]:
    """Return an event of a message; events with higher numbers are created later."""
    inside = {
        "message": {
            "id": f"m{number}",
            "author": {"type": "user", "userId": "u"},
            "content": {"type": "text", "text": f"hello {number}"},
            "source": {"type": "web"},
        },
        **({"conversation": {"id": conversation}} if conversation else {}),
        **payload,
    }
    minutes, seconds = divmod(number, 60)
    created_at = f"2026-01-{1 + minutes // 1440:02}T{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}.000Z"
    return {"id": f"e{number}", "type": type, "createdAt": created_at, "payload": inside}


def envelope(events: Iterable[Any]) -> dict[str, Any]:
    """Return a delivery of *events*."""
    return {"app": {"id": "app"}, "webhook": {"id": "hook", "version": "v2"}, "events": [*events]}


@asynccontextmanager
async def sender(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client whose requests go to *app* in process, with the right secret."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://bot", headers=HEADERS
    ) as client:
        yield client


async def post(client: httpx.AsyncClient, *events: Any, path: str = "/") -> int:
    """Send a delivery of *events*; return the status."""
    response = await client.post(path, json=envelope(events))
    return response.status_code


def counts(inbox: SQLiteInbox | PostgresInbox) -> dict[EventState, int]:
    """Return the number of events of *inbox* by state."""
    rows = inbox._fetch_all("SELECT state, count(*) FROM events GROUP BY state")
    return {EventState(state): count for state, count in rows}


@define
class Order:
    """The order of sendings, answers and handlers, to judge the order within a conversation."""

    sent: dict[str, int] = field(factory=dict)
    answered: dict[str, int] = field(factory=dict)
    handled: dict[str, int] = field(factory=dict)
    _count: int = 0

    def note(self, what: dict[str, int], *ids: str) -> None:
        """Note the first time of *ids*."""
        self._count += 1
        for name in ids:
            what.setdefault(name, self._count)

    def overtaken(self, conversation: Sequence[str]) -> list[tuple[str, str]]:
        """Return events of *conversation*, given in order, that a later event has overtaken wrongly.

        The earlier event was answered before the later one was sent, and was handled after.
        """
        return [
            (first, second)
            for place, first in enumerate(conversation)
            for second in conversation[place + 1 :]
            if self.answered[first] < self.sent[second]
            and self.handled[first] > self.handled[second]
        ]


def shuffled_deliveries(
    events: list[dict[str, Any]], random: Random, *, window: int = 50
) -> list[list[dict[str, Any]]]:
    """Return deliveries of 1 to 20 events: each event 1 to 4 times, shuffled within a *window*."""
    copies = [
        (place + random.uniform(0, window), event)
        for place, event in enumerate(events)
        for _ in range(random.randint(1, 4))
    ]
    copies.sort(key=lambda copy: copy[0])
    deliveries = []
    while copies:
        size = random.randint(1, 20)
        deliveries.append([event for _, event in copies[:size]])
        del copies[:size]
    return deliveries
