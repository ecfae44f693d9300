"""Deliveries of webhooks on the command line: a server that prints deliveries, and recordings."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from sunshine_async import ConfigurationError, WebhookError
from sunshine_async.cli.options import Status
from sunshine_async.cli.streams import emit, emit_line, escape_controls, json_line
from sunshine_async.emulator.emulator import run_server
from sunshine_async.emulator.webhook_sender import send_bodies
from sunshine_async.journal.file import make_private, open_private
from sunshine_async.webhooks import DixaWebhooks, SmoochWebhooks, SunshineWebhooks
from sunshine_async.webhooks.asgi import SenderGoneError, WebRequest
from sunshine_async.webhooks.deliveries import RawEvent, WebhookParser, inside

PARSERS: Final[Mapping[str, Callable[[str], WebhookParser]]] = {
    "sunshine": SunshineWebhooks,
    "smooch": SmoochWebhooks,
    "dixa": DixaWebhooks,
}
MAX_BYTES: Final = 10_000_000
"""Bytes of a delivery at most."""
_WIDTH: Final = 100
_AUTHORS: Final = (
    ("payload", "message", "author", "type"),
    ("payload", "activity", "author", "type"),
)
_TEXTS: Final = (
    ("payload", "message", "content", "text"),
    ("payload", "message", "content", "type"),
    ("payload", "postback", "payload"),
    ("payload", "activity", "type"),
    ("payload", "creationReason"),
    ("payload", "reason"),
    ("payload", "error", "code"),
)
"""The places of a short description in an event of v2; the first text counts."""


def run_listener(service: str, secret: str, record: Path | None, port: int) -> None:
    """Listen until interrupted; append the deliveries to *record*, which only the owner can read."""
    parser = PARSERS[service](secret)
    with ExitStack() as at_end:

        def make_app() -> Listener:
            file = None if record is None else at_end.enter_context(open_recording(record))
            return Listener(service, parser, file)

        run_server(make_app, port=port)


@contextmanager
def open_recording(path: Path) -> Generator[int]:
    """Open the recording at *path*, which only the owner can read; give the descriptor."""
    file = open_private(path, os.O_WRONLY | os.O_APPEND)
    try:
        make_private(path)
        yield file
    finally:
        os.close(file)


@frozen
class Recording:
    """Recorded delivery, without the secret."""

    service: str
    body: str = field(repr=False)


def read_recordings(file: Path) -> Sequence[Recording]:
    """Return the deliveries in *file*; raise `ConfigurationError` for a line of another form."""
    found: list[Recording] = []
    with file.open("rb") as lines:  # as text, a line would end at U+2028 too, which texts may have
        for number, line in enumerate(lines, start=1):
            try:
                data = json.loads(line)
                recording = Recording(data["service"], data["body"])
                recording.body.encode()
                PARSERS[recording.service]
            except (ValueError, KeyError, TypeError, AttributeError):
                message = (
                    f"{file} line {number}: no delivery recorded by `webhooks listen --record`"
                )
                raise ConfigurationError(message) from None
            found.append(recording)
    return found


async def send_recordings(
    recordings: Sequence[Recording], secrets: Mapping[str, str], target: str
) -> int:
    """Send *recordings* and print the outcomes; return the exit status."""
    bodies = ((one.service, secrets[one.service], one.body.encode()) for one in recordings)
    failed = number = 0
    async for outcome in send_bodies(target, bodies):
        number += 1
        is_done = isinstance(outcome, int) and 200 <= outcome < 300  # noqa: PLR2004 - any success
        failed += not is_done
        emit_line(sys.stdout, f"{number:>6}  {outcome}")
    return Status.TROUBLE if failed else Status.DONE


@define(eq=False)
class Listener:
    """ASGI application that prints the events of each delivery, and records the delivery.

    Answers: 200; 401 for a wrong secret; 400 for a body that is no delivery; 413 for a body over
    `MAX_BYTES`; 503 if the recording can't be written.
    """

    _service: str
    _parser: WebhookParser
    _file: int | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; a request other than POST is answered 200."""
        request, status = WebRequest(scope, receive, send), 200
        with suppress(SenderGoneError):
            if request.method == "POST":
                body = await request.read(MAX_BYTES)
                status = 413 if body is None else self._take(request.headers, body)
            await request.answer(status)

    def _take(self, headers: Mapping[str, str], body: bytes) -> int:
        now = datetime.now(UTC)
        delivery = self._parser.read(headers, body)
        if isinstance(delivery, WebhookError):
            _print(now, f"answered {delivery.status}: {delivery}")
            return delivery.status
        if self._file is not None:
            line = {
                "service": self._service,
                "received_at": now.isoformat(timespec="milliseconds"),
                "body": body.decode(errors="replace"),
            }
            try:
                _append(self._file, json_line(line).encode())
            except OSError as error:
                _print(now, f"answered 503: the recording can't be written: {error.strerror}")
                return 503
        for event in delivery.events:
            _print(now, "  ".join(describe_event(event)))
        return 200


def describe_event(event: RawEvent) -> Iterator[str]:
    """Yield trigger, conversation and a short description of *event*."""
    yield event.type or "(no trigger)"
    if event.conversation_id is not None:
        yield f"conversation {event.conversation_id}"
    messages: Any = inside(event.data, "messages")
    first: Any = messages[0] if messages and isinstance(messages, list) else None  # pyright: ignore[reportUnknownVariableType]
    authors: list[Any] = [inside(event.data, *path) for path in _AUTHORS]
    author = next((one for one in authors if isinstance(one, str)), None)
    texts: list[Any] = [*(inside(event.data, *path) for path in _TEXTS), inside(first, "text")]
    text = next((one for one in texts if isinstance(one, str) and one), None)
    if text is not None:
        line = " ".join(text.split())
        yield line if author is None else f"{author}: {line}"


def _append(file: int, line: bytes) -> None:
    """Append *line* whole, or raise `OSError` and leave *file* as before: a disk may take a part."""
    size = os.fstat(file).st_size
    try:
        while line:
            line = line[os.write(file, line) :]
    except OSError:
        with suppress(OSError):  # not a file on a disk
            os.ftruncate(file, size)
        raise


def _print(now: datetime, text: str) -> None:
    line = escape_controls(text).replace("\n", "\\n")  # of the sender: a line more would be a lie
    line = line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
    emit(sys.stdout, f"{now.astimezone():%H:%M:%S}  {line}\n")
