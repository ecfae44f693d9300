"""Target of webhooks in process: records the deliveries, and answers as scripted."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from attrs import define, field, frozen
from support.virtual import sleep

from sunshine_async.emulator import Emulator


@frozen
class Recorded:
    """A received delivery."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The body as plain data."""
        return json.loads(self.body)


@define
class Target:
    """ASGI application: the answers are *statuses*, or exceptions, and 200 from then on."""

    statuses: Iterator[Any] = field(factory=lambda: iter(()), converter=iter)
    seconds: float = 0.0
    received: list[Recorded] = field(factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Record a request, and answer after so many *seconds* of virtual time."""
        message = await receive()
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.received.append(Recorded(scope["path"], headers, message["body"]))
        if self.seconds:
            await sleep(self.seconds)
        status = next(self.statuses, 200)
        if isinstance(status, Exception):
            raise status
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def events(self) -> list[Any]:
        """The received events: of all deliveries, in order."""
        return [
            event for one in self.received for event in one.data.get("events", None) or [one.data]
        ]

    def triggers(self) -> list[str]:
        """Return the triggers of the received events."""
        return [event.get("type") or event["trigger"] for event in self.events]


@asynccontextmanager
async def listening(emulator: Emulator, **values: Any) -> AsyncIterator[Target]:
    """Connect a target to *emulator*; all events have arrived at the end of the block."""
    target = Target(**values)
    async with emulator.connect(target):
        yield target
        await emulator.delivered()
