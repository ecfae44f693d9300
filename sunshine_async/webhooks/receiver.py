"""Receiver of webhooks: an ASGI application that stores deliveries and runs handlers."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from inspect import iscoroutinefunction
from operator import lt
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from anyio import CancelScope, to_thread

from sunshine_async._calls.hooks import Hooks
from sunshine_async._calls.retry import Retry
from sunshine_async._pace.settings import Setting, check_kinds, check_settings
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.bulk.cancellation import background_tasks
from sunshine_async.errors import ConfigurationError, WebhookError
from sunshine_async.journal.file import POSTGRES, url_refusal
from sunshine_async.sunshine.once import note_echo
from sunshine_async.webhooks.asgi import (
    Receive,
    Scope,
    Send,
    SenderGoneError,
    WebRequest,
    serve_lifespan,
)
from sunshine_async.webhooks.deliveries import RawDelivery, RawEvent, UnknownEvent, WebhookParser
from sunshine_async.webhooks.handling import (
    DeadLetter,
    Dispatcher,
    HandlingRules,
    Received,
    UnhandledEventError,
)
from sunshine_async.webhooks.inbox import Inbox, StoredEvent
from sunshine_async.webhooks.sqlite_inbox import SQLiteInbox

Handler: TypeAlias = Callable[[Received[Any]], Awaitable[None]]
H = TypeVar("H", bound=Handler)

ANY: Final = "*"
"""Stands for all triggers without a handler of their own."""
RETRY: Final = Retry(max_attempts=8, first_wait=1.0, max_wait=60.0, deadline=3600.0)
"""Default retries of a handler: about a minute in all."""

_LOG: Final = logging.getLogger("sunshine_async")


class Receiver:
    """ASGI application that receives webhooks once: stored first, then answered, then handled.

    ::

        receiver = Receiver(SunshineWebhooks(secret), inbox="inbox.sqlite")

        @receiver.on("conversation:message")
        async def answer(received: Received[ConversationMessage]) -> None: ...

        app = Starlette(routes=[Mount("/webhooks", receiver)], lifespan=receiver.lifespan)

    Mounted at ``/webhooks``, the target to register is ``https://…/webhooks/``, with the slash at
    the end: Starlette redirects the path without the slash, and the services follow no redirect.
    ``Route("/webhooks", receiver, methods=["HEAD", "POST"])`` serves the path without the slash.

    Answers:

    - 200: the delivery is on the disk, or no handler wants the events.
    - 401, 400: the secret is wrong, or the body is no delivery. The services give up.
    - 413: the body is longer than *max_bytes*; the rest is thrown away.
    - 405: another method than POST. ``HEAD``, which a service may send to look, is answered 200.
    - 503: the disk refuses, or the receiver isn't started. The services try again.

    An event is handled once within *keep* seconds, after an answer 200. An attempt that a kill or a
    shutdown has interrupted starts again, from the third time on after up to 30 seconds: an event that
    ends the process leaves the others time. Events of a conversation are handled in the order of their
    times, as far as received; all other events in parallel, at most *concurrency* at a time. A
    handler that raises, or is cancelled after *handler_timeout* seconds, is tried again by *retry*
    (its *deadline* counts from the first failure), and then becomes a dead letter. The conversation
    waits meanwhile, and no other conversation does. The error of a handler is logged with the
    traceback, and so with the error's own text.

    A message of this process, sent with ``once=``, comes back as an event. The event settles an
    answer that was lost: the call returns the message without a look-up.

    *hooks*, as of a client, are told of events: `telemetry` has the methods.

    Events without a handler are not stored. Skipped too, unless *own* or *standby* is set:

    - own events: messages and activities of a business author from the API, or from the integration
      *integration_id*
    - standby events: another integration than *integration_id* controls the conversation

    *inbox* is the path of a file with mode 0600, for a single process; or the address of a
    PostgreSQL database, ``postgresql://user:password@host/database``, for several workers with a
    receiver each (extra ``postgres``). Bodies are deleted once handled. Where the server is away,
    deliveries are answered 503, and all goes on once the server is back. The events of a worker that
    was silent for *lease* seconds are handled again by another worker: silent is a worker that was
    killed or stopped, or has a handler that blocks the event loop. The clients of this library send
    nothing more for those events, should such a worker go on. Any worker may handle an event, so
    all workers have the same handlers; an event without a handler becomes a dead letter.

    Raise `ConfigurationError` for an invalid setting.
    """

    def __init__(
        self,
        parser: WebhookParser,
        inbox: str | Path,
        *,
        integration_id: str | None = None,
        own: bool = False,
        standby: bool = False,
        concurrency: int = 16,
        handler_timeout: float = 60.0,
        keep: float = 86400.0,
        max_bytes: int = 1_000_000,
        hooks: Sequence[object] = (),
        retry: Retry = RETRY,
        lease: float = 15.0,
    ) -> None:
        open_inbox = _inbox_opener(inbox, lease, retry)
        del inbox  # an address has a password
        if isinstance(open_inbox, ConfigurationError):
            raise open_inbox
        check_kinds({"retry": (Retry, "a Retry")}, {"retry": retry}, ConfigurationError)
        if not hasattr(parser, "parse"):
            kind = type(parser).__name__
            del parser  # perhaps the secret
            message = f"Receiver: parser must be one such as SunshineWebhooks(secret), not {kind}"
            raise ConfigurationError(message)
        _check(concurrency=concurrency, handler_timeout=handler_timeout, keep=keep)
        _check(max_bytes=max_bytes, lease=lease)
        self._parser: Final = parser
        self._open_inbox: Final = open_inbox
        self._integration_id: Final = integration_id
        self._own: Final = own
        self._standby: Final = standby
        self._max_bytes: Final = max_bytes
        self._rules: Final = HandlingRules(concurrency, handler_timeout, keep, retry)
        self._handlers: Final[dict[str, Handler]] = {}
        self._hooks: Final = Hooks(hooks) if hooks else None
        self._running: Dispatcher | None = None
        self._context: AbstractAsyncContextManager[None] | None = None

    def on(self, *triggers: str) -> Callable[[H], H]:
        """Register a handler, an async function, for *triggers*; ``"*"``: all without a handler.

        Raise `ConfigurationError` for no trigger, a trigger that has a handler already, and a
        function that isn't async. Log a warning for a trigger that the service isn't known to have.
        """
        if not triggers or any(map(callable, triggers)):
            message = 'Receiver.on: name a trigger, such as @receiver.on("conversation:message")'
            raise ConfigurationError(message)

        def register(handler: H) -> H:
            taken = [name for name in triggers if name in self._handlers]
            is_async = iscoroutinefunction(handler) or iscoroutinefunction(
                getattr(handler, "__call__", None)  # noqa: B004 - an object with an async method
            )
            if taken or not is_async:
                reason = "the handler must be an async function"
                message = f"Receiver.on: {f'{taken[0]} has a handler already' if taken else reason}"
                raise ConfigurationError(message)
            for doubt in filter(None, map(self._parser.doubt_about, {*triggers} - {ANY})):
                _LOG.warning("Receiver.on: %s", doubt)
            self._handlers.update(dict.fromkeys(triggers, handler))
            return handler

        return register

    async def __aenter__(self) -> Self:
        """Open the inbox and start to handle events.

        Raise `ConfigurationError` for an inbox that can't be opened, or is in use.
        """
        context = self._run()
        await context.__aenter__()
        self._context = context
        return self

    async def __aexit__(
        self,
        kind: "type[BaseException] | None",
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """Cancel the running handlers; the events are handled at the next start. Close the inbox."""
        context, self._context = self._context, None
        assert context is not None, "entered before"  # noqa: S101
        return await context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncGenerator[None]:
        """Run the receiver while an application runs: ``Starlette(lifespan=receiver.lifespan)``."""
        async with self:
            yield

    async def dead(self, *, limit: int = 100) -> list[DeadLetter]:
        """Return the first *limit* dead letters. Raise `InboxError` if the disk fails."""
        stored = await to_thread.run_sync(self._started().inbox.dead, limit)
        return [
            DeadLetter(
                one.id, one.type, self._parser.event(one.type, one.data), one.attempt,
                one.reason or "", datetime.fromtimestamp(one.received_at, UTC),
            )
            for one in stored
        ]  # fmt: skip

    async def replay(self, *ids: str) -> int:
        """Handle the dead letters *ids* again, as if without a failure; return the number found.

        Raise `InboxError` if the disk refuses; nothing has changed then.
        """
        running = self._started()
        count = await to_thread.run_sync(running.inbox.replay, ids)
        running.wake()
        return count

    async def drop(self, *ids: str) -> int:
        """Delete the dead letters *ids*; return the number found.

        Raise `InboxError` if the disk refuses; nothing has changed then.
        """
        return await to_thread.run_sync(self._started().inbox.drop, ids)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI connection: HTTP, or the lifespan of a server."""
        if scope["type"] == "lifespan":
            await serve_lifespan(self, receive, send)
        elif scope["type"] == "http":
            request = WebRequest(scope, receive, send)
            with suppress(SenderGoneError):
                status = await self._status(request)
                fields = [(b"allow", b"HEAD, POST")] if status == _NOT_ALLOWED else []
                await request.answer(status, *fields)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # 403: a stranger's request is no error here
        else:
            message = f"webhooks come over HTTP, not {scope['type']}"
            raise NotImplementedError(message)

    async def _status(self, request: WebRequest) -> int:
        """Receive *request*; return the status of the answer."""
        if request.method != "POST":
            return 200 if request.method == "HEAD" else _NOT_ALLOWED
        running = self._running
        if running is None:
            _LOG.warning("a delivery is answered 503: %s", _NOT_STARTED)
            return 503
        delivery = await self._delivery(request)
        if isinstance(delivery, WebhookError):
            _LOG.warning("a delivery is answered %d: %s", delivery.status, delivery)
            return delivery.status
        for event in delivery.events:
            if (echo := self._parser.echo(event)) is not None:
                note_echo(*echo)
        events = [event for event in delivery.events if self._wants(event)]
        if self._hooks is not None:
            for event in events:
                self._hooks.receive_event(event.id, event.type)
        return 200 if not events or await running.put(events) else 503

    async def _delivery(self, request: WebRequest) -> RawDelivery | WebhookError:
        """Return the verified delivery, or an error with the status."""
        body = await request.read(self._max_bytes)
        if body is None:
            reason = f"the body is longer than {self._max_bytes} bytes"
            return WebhookError(reason, {"advice": "Raise max_bytes"}, status=413)
        return self._parser.read(request.headers, body)

    def _wants(self, event: RawEvent) -> bool:
        """Return True for an event that has a handler and isn't skipped."""
        if event.type not in self._handlers and ANY not in self._handlers:
            return False
        mine = self._integration_id
        if not self._own and self._parser.is_own(event, mine):
            return False
        return self._standby or mine is None or not self._parser.is_standby(event, mine)

    async def _attempt(self, stored: StoredEvent) -> None:
        """Run the handler of an event; raise `UnhandledEventError` if none fits."""
        event = self._parser.event(stored.type, stored.data)
        handler = self._handlers.get(stored.type)
        if isinstance(event, UnknownEvent) and stored.type in self._parser.EVENTS:
            handler = None  # made for the typed event
            message = f"the {stored.type} event can't be read"
        else:
            message = f"no handler for {stored.type}: register with `Receiver.on`"
        handler = handler or self._handlers.get(ANY)
        if handler is None:
            raise UnhandledEventError(message)
        attempt, at = stored.attempt, stored.first_attempt(datetime.now(UTC).timestamp())
        begun = datetime.fromtimestamp(at, UTC) if attempt > 1 else None
        handling = handler(Received(event, stored.id, stored.type, stored.app_id, attempt, begun))
        if self._hooks is not None:
            handling = self._hooks.handle_event(
                stored.id, stored.type, attempt, handling, CLOCK.now
            )
        await handling

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None]:
        inbox = await to_thread.run_sync(self._open_inbox)
        dispatcher = Dispatcher(inbox, self._attempt, self._rules)
        try:
            async with background_tasks() as tasks:
                self._running = dispatcher
                tasks.start(dispatcher.run)
                try:
                    yield
                finally:
                    self._running = None
                    if tasks.failure is not None:
                        _LOG.error(_ENDED, type(tasks.failure).__name__, exc_info=tasks.failure)
        finally:
            with CancelScope(shield=True):
                await dispatcher.close()
                await to_thread.run_sync(inbox.close)

    def _started(self) -> Dispatcher:
        if self._running is None:
            raise RuntimeError(_NOT_STARTED)
        return self._running


_NOT_ALLOWED: Final = 405
_ENDED: Final = "the receiver has ended (%s): deliveries are answered 503 until it is started again"
_NOT_STARTED: Final = (
    "the receiver isn't started, or has ended: use `async with receiver`, or "
    "`lifespan=receiver.lifespan` of the application in a server with lifespans (not Daphne)"
)


def _inbox_opener(
    inbox: str | Path, lease: float, retry: Retry
) -> Callable[[], Inbox] | ConfigurationError:
    """Return a function that opens the inbox; an error, unraised, has no frame with a password."""
    if not str(inbox).startswith(POSTGRES):
        return url_refusal(inbox, "inbox") or (lambda: SQLiteInbox(inbox))
    try:
        from sunshine_async.journal import postgres_database  # noqa: PLC0415 - in the extra
        from sunshine_async.webhooks import postgres_inbox  # noqa: PLC0415
    except ImportError:
        message = "an inbox in PostgreSQL needs psycopg: pip install 'sunshine-async[postgres]'"
        return ConfigurationError(message)
    address = postgres_database.parse_address(str(inbox))
    if address is None:
        return ConfigurationError(postgres_database.NO_ADDRESS.format("inbox"))
    make = partial(postgres_inbox.PostgresInbox, address, lease=lease)
    return lambda: make(longest_wait=retry.max_wait)


def _check(**values: float) -> None:
    settings: list[Setting] = [(*each, partial(lt, 0), "more than 0") for each in values.items()]
    check_settings("Receiver", settings, ConfigurationError)
