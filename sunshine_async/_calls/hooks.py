"""Hooks: frozen values about calls, attempts, the pace, rows and events, given to a user's objects.

Imported only for a client or a receiver with ``hooks=``. A value never has a body, a secret, or the id of a
customer: the endpoint is the template of the path. A hook that raises is logged, and changes
nothing.
"""

import builtins
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, Final, cast

from attrs import asdict, define, field, frozen

from sunshine_async._http.messages import Failure, Response
from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async._pace.slots import Lane, PaceChange, PaceEvent
from sunshine_async.errors import ApiError, ConfigurationError, Fault, SunshineError

_LOG: Final = logging.getLogger("sunshine_async")
_NUMBERS: Final = count(1)
_EVENTS: Final = (
    "call_started",
    "call_ended",
    "attempt_started",
    "attempt_ended",
    "paused",
    "held",
    "rows_ended",
    "event_received",
    "event_started",
    "event_ended",
)
"""The methods that a hook may have."""
_TRACE_HEADERS: Final = ("traceparent", "tracestate")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,510}[\x21-\x7e])?")


@frozen(kw_only=True)
class CallStarted:
    """A call began: the first value of each call."""

    call: int
    """Number of the call in this process."""
    endpoint: str
    """Method and path template: ``POST /v2/apps/{app_id}/users``."""
    lane: Lane
    base_url: str


@frozen(kw_only=True)
class CallEnded(CallStarted):
    """A call ended: the last value of each call."""

    outcome: str
    """``done``, ``failed``, ``unknown`` (the service may have acted) or ``cancelled``."""
    attempts: int
    seconds: float
    """From the beginning of the call, all waits included."""
    waited: float
    """Seconds spent waiting for the pace and for a connection."""
    status: int | None
    """The HTTP status of the last answer; None: the last attempt brought no answer."""
    error: str | None
    """Name of the error's class; None: no error."""


@frozen(kw_only=True)
class AttemptStarted(CallStarted):
    """An attempt of a call began."""

    attempt: int
    """Counts from 1."""
    waited: float
    """Seconds that the attempt has waited for the pace and for a connection."""
    is_probe: bool
    """True for a read that is sent in place of the call, to see if an outage is over."""


@frozen(kw_only=True)
class AttemptEnded(AttemptStarted):
    """An attempt of a call ended."""

    seconds: float
    status: int | None
    """The HTTP status; None: no answer came."""
    fault: Fault | None
    """The reason that no answer came; None for an answer, and for a cancellation."""
    request_id: str | None
    """The service's id of the request, for the service's support."""


@frozen(kw_only=True)
class Paused(CallStarted):
    """A 429, or the headers of an answer to this call, paused all calls of the credentials."""

    seconds: float


@frozen(kw_only=True)
class Held(CallStarted):
    """Batches are held since the service seems gone, or go on since the service is back."""

    is_held: bool
    seconds: float
    """Length of the outage that is over; 0 at the beginning."""


@frozen(kw_only=True)
class RowsEnded:
    """Rows of a job have an outcome. With a journal the outcome is on the disk."""

    service: str
    """``sunshine``, ``smooch`` or ``dixa``."""
    mode: str
    """``create``, ``update``, ``upsert``, ``delete`` or ``message``."""
    outcome: str
    """An outcome of `jobs` such as ``created``; or ``failed``, ``unknown`` or ``bad``."""
    rows: int


@frozen(kw_only=True)
class EventReceived:
    """A verified event of a webhook arrived, told within the request of the delivery."""

    id: str
    """The service's id of the event, equal in every delivery and attempt."""
    type: str
    """The trigger, such as ``conversation:message``."""


@frozen(kw_only=True)
class EventStarted(EventReceived):
    """The handler of an event starts, in the task of the handler."""

    number: int
    """Number of the attempt in this process."""
    attempt: int
    """Number of the attempt of this event, from 1."""


@frozen(kw_only=True)
class EventEnded(EventStarted):
    """The handler of an event ended."""

    outcome: str
    """``done``, ``failed``, or ``cancelled`` (overdue, or a shutdown)."""
    seconds: float
    error: str | None
    """Name of the error's class; None: no error."""


class Hooks:
    """The hooks of a client or a receiver, and a table of their methods.

    Raise `ConfigurationError` for an object without any of the methods.
    """

    def __init__(self, hooks: Iterable[object], base_url: str = "") -> None:
        kinds: Kinds = {"hooks": (Iterable, "a list, such as [telemetry.OpenTelemetry()]")}
        check_kinds(kinds, {"hooks": hooks}, ConfigurationError)
        found = {event: list[Callable[[Any], Any]]() for event in _EVENTS}
        for hook in hooks:
            methods = {event: getattr(hook, event, None) for event in _EVENTS}
            known = {event: method for event, method in methods.items() if callable(method)}
            if not known:
                message = f"hooks: {type(hook).__name__} has none of {', '.join(_EVENTS)}"
                raise ConfigurationError(message)
            for event, method in known.items():
                found[event].append(method)
        self._methods: Final[Mapping[str, Sequence[Callable[[Any], Any]]]] = found
        self._base_url: Final = base_url

    def emit(
        self,
        event: str,
        make: Callable[[], object],
        take: Callable[[object], object] | None = None,
    ) -> None:
        """Give the value of *make* to each hook with a method *event*, and the results to *take*."""
        methods = self._methods[event]
        if not methods:
            return
        value, handled = make(), sys.exception()
        for method in methods:
            try:
                result = method(value)
                if take is not None:
                    take(result)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - of any kind: nobody cancels a function
                _forget(handled, error)
                _LOG.exception("a hook failed in %s: the call goes on", event)

    def end_rows(self, service: str, mode: str, outcome: str, rows: int) -> None:
        """Tell the hooks that *rows* of a job ended with *outcome*."""
        self.emit(
            "rows_ended",
            lambda: RowsEnded(service=service, mode=mode, outcome=outcome, rows=rows),
        )

    def receive_event(self, id: str, type: str) -> None:
        """Tell the hooks of an event that arrived."""
        self.emit("event_received", lambda: EventReceived(id=id, type=type))

    async def handle_event(
        self, id: str, type: str, attempt: int, handling: Awaitable[None], now: Callable[[], float]
    ) -> None:
        """Await *handling*, and tell the hooks the beginning and the end."""
        subject: dict[str, Any] = {"id": id, "type": type, "attempt": attempt}
        subject["number"] = next(_NUMBERS)
        self.emit("event_started", lambda: EventStarted(**subject))
        began, outcome, name = now(), "done", None
        try:
            await handling
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "cancelled"
            name = builtins.type(error).__name__
            raise
        finally:
            self.emit(
                "event_ended",
                lambda: EventEnded(**subject, outcome=outcome, seconds=now() - began, error=name),
            )

    @contextmanager
    def observe(
        self, endpoint: object, lane: Lane, now: Callable[[], float]
    ) -> Generator["CallObserver"]:
        """Tell the hooks the beginning and the end of a call, which is the block."""
        subject: dict[str, Any] = {
            "call": next(_NUMBERS), "endpoint": str(endpoint), "lane": lane,
            "base_url": self._base_url,
        }  # fmt: skip
        observer, began = CallObserver(self, subject, now), now()
        try:
            self.emit("call_started", lambda: CallStarted(**subject))
            yield observer
        except BaseException as error:
            ended = observer.ended(error, now() - began)
            self.emit("call_ended", lambda: ended)
            raise
        self.emit("call_ended", lambda: observer.ended(None, now() - began))


@define
class CallObserver:
    """Facts about one call for the hooks."""

    hooks: Hooks
    subject: Mapping[str, Any]
    """The values of a `CallStarted`."""
    now: Callable[[], float]
    attempts: int = 0
    waited: float = 0.0
    status: int | None = None
    _started: AttemptStarted | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)

    def start_attempt(
        self, headers: Mapping[str, str], *, attempt: int, waited: float, is_probe: bool
    ) -> Mapping[str, str]:
        """Tell the hooks of an attempt; return *headers* with the trace context of the hooks."""
        self.attempts, self.waited = attempt, self.waited + waited
        started = AttemptStarted(**self.subject, attempt=attempt, waited=waited, is_probe=is_probe)
        self._started, self._began = started, self.now()
        added = dict[str, str]()
        self.hooks.emit(
            "attempt_started", lambda: started, lambda trace: added.update(_trace_headers(trace))
        )
        self._began = self.now()  # again, as the hooks took time
        return {**headers, **added} if added else headers

    def end_attempt(self, reply: Response | Failure | None, request_id: str | None = None) -> None:
        """Tell the hooks of the end of the started attempt; no *reply*: the attempt was cut off.

        Do nothing where no attempt is under way: each attempt has one end.
        """
        started, self._started = self._started, None
        if started is None:
            return
        seconds = self.now() - self._began
        answer = reply if isinstance(reply, Response) else None
        self.status = None if answer is None else answer.status
        self.hooks.emit(
            "attempt_ended",
            lambda: AttemptEnded(
                **asdict(started, recurse=False),
                seconds=seconds,
                status=self.status,
                fault=reply.fault if isinstance(reply, Failure) else None,
                request_id=request_id,
            ),
        )

    def report(self, event: PaceEvent) -> None:
        """Tell the hooks of a change of the pace."""
        if event.change is PaceChange.PAUSED:
            self.hooks.emit("paused", lambda: Paused(**self.subject, seconds=event.seconds))
        elif event.change is not PaceChange.LEARNT:
            is_held = event.change is PaceChange.GONE
            self.hooks.emit(
                "held", lambda: Held(**self.subject, is_held=is_held, seconds=event.seconds)
            )

    def ended(self, error: BaseException | None, seconds: float) -> CallEnded:
        """Return the end of the call by *error*, or without an error."""
        if error is None:
            outcome = "done"
        elif not isinstance(error, Exception):
            outcome = "cancelled"
        else:
            doubt = isinstance(error, SunshineError) and error.maybe_applied is not False
            outcome = "unknown" if doubt else "failed"
        status = error.status if isinstance(error, ApiError) else self.status
        return CallEnded(
            **self.subject,
            outcome=outcome,
            attempts=self.attempts,
            seconds=seconds,
            waited=self.waited,
            status=status,
            error=None if error is None else type(error).__name__,
        )


def _forget(handled: BaseException | None, error: BaseException) -> None:
    """Remove *handled*, the call's own error, from the chain of *error*: its text may have a secret."""
    left, seen = [error] if handled is not None else [], set[int]()
    while left:
        one = left.pop()
        seen.add(id(one))
        for name in ("__cause__", "__context__"):
            inner: BaseException | None = getattr(one, name)
            if inner is handled:
                setattr(one, name, None)
            elif inner is not None and id(inner) not in seen:  # a chain may be a circle
                left.append(inner)


def _trace_headers(trace: object) -> Iterator[tuple[str, str]]:
    """Yield the headers of *trace*, the result of a hook, that may go onto the wire."""
    if not isinstance(trace, Mapping):
        if trace is not None:
            _LOG.warning("attempt_started returned a %s, not a mapping", type(trace).__name__)
        return
    headers = cast("Mapping[object, object]", trace)
    for name in _TRACE_HEADERS:
        value = headers.get(name)
        if isinstance(value, str) and _HEADER_VALUE.fullmatch(value):
            yield name, value
