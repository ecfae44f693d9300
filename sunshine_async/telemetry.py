"""Telemetry: hooks that are told of calls, rows and events, and OpenTelemetry as such a hook.

Spans and metrics of all calls of a client, by the OpenTelemetry conventions for HTTP clients; of the
rows of the client's jobs; and of the handlers of a receiver (``pip install 'sunshine-async[otel]'``
and an SDK of OpenTelemetry)::

    from sunshine_async import SunshineClient, webhooks
    from sunshine_async.telemetry import OpenTelemetry

    telemetry = OpenTelemetry()
    client = SunshineClient(hooks=[telemetry])
    receiver = webhooks.Receiver(
        webhooks.SunshineWebhooks("webhook-secret"), inbox="inbox.sqlite", hooks=[telemetry]
    )

A hook is any object with one or more of ten methods. Each method takes one frozen value:

===================  ===================  ======================================================
method               value                time
===================  ===================  ======================================================
``call_started``     `CallStarted`        first, before any wait
``attempt_started``  `AttemptStarted`     when the pace lets an attempt start
``attempt_ended``    `AttemptEnded`       after the answer, the failure, or a cancellation
``call_ended``       `CallEnded`          last, whatever ended the call
``paused``           `Paused`             a 429, or headers of an answer, pause all calls
``held``             `Held`               batches are held, since the service seems gone; or go on
``rows_ended``       `RowsEnded`          rows of a job have an outcome
``event_received``   `EventReceived`      a webhook's event arrived, within the delivery's request
``event_started``    `EventStarted`       the handler of an event starts
``event_ended``      `EventEnded`         the handler of an event ended
===================  ===================  ======================================================

- Hooks are plain functions, called in the task of the call: a slow hook slows the call.
- ``attempt_started`` may return a mapping with ``traceparent`` and ``tracestate`` for the request.
- A hook that raises is logged, and changes nothing.
- No value has a body, a secret, or the id of a customer. ``call`` is a number of this process.

A hook that counts attempts, and the rows of jobs::

    from collections import Counter

    from sunshine_async import SunshineClient
    from sunshine_async.telemetry import AttemptEnded, RowsEnded


    class Counts:
        def __init__(self) -> None:
            self.attempts = Counter[tuple[str, int | str]]()
            self.rows = Counter[str]()

        def attempt_ended(self, attempt: AttemptEnded) -> None:
            self.attempts[attempt.endpoint, attempt.status or str(attempt.fault)] += 1

        def rows_ended(self, rows: RowsEnded) -> None:
            self.rows[rows.outcome] += rows.rows


    counts = Counts()
    client = SunshineClient(hooks=[counts])

The logger ``sunshine_async`` tells the same without hooks. DEBUG: each attempt, with duration, wait
and request id. INFO: a pause of all calls; a limit that was learnt. WARNING: the service seems
gone; the service is back.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sunshine_async._calls.hooks import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    EventEnded,
    EventReceived,
    EventStarted,
    Held,
    Paused,
    RowsEnded,
)
from sunshine_async._http import __version__
from sunshine_async.errors import ConfigurationError

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, SpanContext, TracerProvider

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallStarted",
    "EventEnded",
    "EventReceived",
    "EventStarted",
    "Held",
    "OpenTelemetry",
    "Paused",
    "RowsEnded",
]

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.30.0"
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds in seconds that the conventions give for durations."""
_LOWEST_ERROR: Final = 400
_MOST_DELIVERIES: Final = 10_000
"""Events with a span of the delivery that wait to be handled; the spans of older events go."""
_PORTS: Final = {"https": 443, "http": 80}

_Attributes = dict[str, str | int | float]


class OpenTelemetry:
    """Hook that makes spans and metrics, by the stable OpenTelemetry conventions for HTTP clients.

    - A CLIENT span an attempt, with ``traceparent`` on the wire, below an INTERNAL span a call.
      Both have the name ``POST /v2/apps/{app_id}/users``.
    - ``http.client.request.duration`` (seconds) for each attempt.
    - ``sunshine_async.pace.wait`` (seconds) for each attempt; ``sunshine_async.pauses`` and
      ``sunshine_async.outages`` count.
    - ``sunshine_async.rows`` counts the rows of jobs, by service, mode and outcome.
    - For a `Receiver`, a CONSUMER span ``webhook conversation:message`` each time that a handler
      runs, linked to the span of the delivery if this process has received the delivery. Calls of
      the handler lie below. ``sunshine_async.event.duration`` (seconds) by trigger and outcome.
    - No attribute has the id of a customer: ``url.full`` has the template of the path.

    *tracer_provider* and *meter_provider* default to the global providers. Raise
    `ConfigurationError` without opentelemetry-api.
    """

    def __init__(
        self,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace  # noqa: PLC0415 - in the extra
            from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415
        except ImportError as error:
            message = "OpenTelemetry needs opentelemetry-api: pip install 'sunshine-async[otel]'"
            raise ConfigurationError(message) from error
        self._context: Final = context
        self._trace: Final = trace
        self._propagator: Final = tracecontext.TraceContextTextMapPropagator()
        name = "sunshine_async"
        self._tracer: Final = trace.get_tracer(name, __version__, tracer_provider, _SCHEMA)
        meter = metrics.get_meter(name, __version__, meter_provider, _SCHEMA)
        self._duration: Final = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._wait: Final = meter.create_histogram(
            "sunshine_async.pace.wait",
            unit="s",
            description="Time that an attempt waited for the pace and for a connection.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._pauses: Final = meter.create_counter(
            "sunshine_async.pauses", unit="{pause}", description="Pauses of all calls."
        )
        self._outages: Final = meter.create_counter(
            "sunshine_async.outages", unit="{outage}", description="Outages that held batches."
        )
        self._rows: Final = meter.create_counter(
            "sunshine_async.rows", unit="{row}", description="Rows of jobs that have an outcome."
        )
        self._handling: Final = meter.create_histogram(
            "sunshine_async.event.duration",
            unit="s",
            description="Duration of handlers of webhook events.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._calls: Final[dict[int, Span]] = {}
        self._attempts: Final[dict[int, Span]] = {}
        self._deliveries: Final[dict[str, SpanContext]] = {}
        self._events: Final[dict[int, tuple[Span, Token[Context]]]] = {}

    def call_started(self, call: CallStarted) -> None:
        """Start the INTERNAL span of a call, below the caller's span."""
        self._calls[call.call] = self._tracer.start_span(
            call.endpoint, kind=self._trace.SpanKind.INTERNAL, attributes=_subject(call)
        )

    def attempt_started(self, attempt: AttemptStarted) -> Mapping[str, str]:
        """Start the CLIENT span of an attempt; return the span's headers for the wire."""
        trace = self._trace
        attributes = _subject(attempt) | _address(attempt)
        if attempt.attempt > 1:
            attributes["http.request.resend_count"] = attempt.attempt - 1
        if attempt.is_probe:
            attributes["sunshine_async.probe"] = True
        span = self._attempts[attempt.call] = self._tracer.start_span(
            attempt.endpoint,
            context=trace.set_span_in_context(self._calls[attempt.call]),
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
        )
        headers: dict[str, str] = {}
        self._propagator.inject(headers, context=trace.set_span_in_context(span))
        return headers

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """End the span of an attempt, and record the duration and the wait."""
        method, _, _ = attempt.endpoint.partition(" ")
        ending: _Attributes = {}
        error = None if attempt.fault is None else str(attempt.fault)
        if attempt.status is not None:
            ending["http.response.status_code"] = attempt.status
            error = str(attempt.status) if attempt.status >= _LOWEST_ERROR else None
        elif error is None:
            error = "cancelled"
        if error is not None:
            ending["error.type"] = error
        span = self._attempts.pop(attempt.call)
        span.set_attributes(ending)
        if attempt.request_id is not None:
            span.set_attribute("sunshine_async.request_id", attempt.request_id)
        self._end(span, error)
        address = _address(attempt)
        del address["url.full"]
        self._duration.record(attempt.seconds, address | ending)
        lane = {"sunshine_async.lane": attempt.lane.name.lower()}
        self._wait.record(attempt.waited, {"http.request.method": method, **lane})

    def call_ended(self, call: CallEnded) -> None:
        """End the span of a call."""
        span = self._calls.pop(call.call)
        span.set_attributes(
            {
                "sunshine_async.outcome": call.outcome,
                "sunshine_async.attempts": call.attempts,
                "sunshine_async.pace.wait": call.waited,
            }
        )
        if call.error is not None:
            span.set_attribute("error.type", call.error)
        self._end(span, call.error)

    def paused(self, pause: Paused) -> None:
        """Count a pause of all calls."""
        self._pauses.add(1, {"server.address": _host(pause)})

    def held(self, held: Held) -> None:
        """Count an outage, at the beginning."""
        if held.is_held:
            self._outages.add(1, {"server.address": _host(held)})

    def rows_ended(self, rows: RowsEnded) -> None:
        """Count rows by service, mode and outcome."""
        subject = {"service": rows.service, "mode": rows.mode, "outcome": rows.outcome}
        self._rows.add(rows.rows, {f"sunshine_async.{key}": subject[key] for key in subject})

    def event_received(self, event: EventReceived) -> None:
        """Keep the current span, which is the delivery's, for the link of the handler's span."""
        context = self._trace.get_current_span().get_span_context()
        if context.is_valid:
            self._deliveries[event.id] = context
            if len(self._deliveries) > _MOST_DELIVERIES:
                del self._deliveries[next(iter(self._deliveries))]

    def event_started(self, event: EventStarted) -> None:
        """Start the CONSUMER span of a handler, and make the span current for the handler."""
        delivery = self._deliveries.get(event.id)
        span = self._tracer.start_span(
            f"webhook {event.type}",
            context=self._context.Context(),  # a trace of its own: the delivery is answered
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                "sunshine_async.event.type": event.type,
                "sunshine_async.event.attempt": event.attempt,
            },
            links=[] if delivery is None else [self._trace.Link(delivery)],
        )
        token = self._context.attach(self._trace.set_span_in_context(span))
        self._events[event.number] = (span, token)

    def event_ended(self, event: EventEnded) -> None:
        """End the span of a handler, and record the duration."""
        span, token = self._events.pop(event.number)
        self._context.detach(token)
        ending = {"sunshine_async.outcome": event.outcome}
        if event.error is None:
            self._deliveries.pop(event.id, None)
        else:
            ending["error.type"] = event.error
        span.set_attributes(ending)
        self._end(span, event.error)
        self._handling.record(event.seconds, {"sunshine_async.event.type": event.type, **ending})

    def _end(self, span: "Span", error: str | None) -> None:
        if error is not None:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()


def _subject(call: CallStarted) -> _Attributes:
    """Return the attributes that spans of calls and of attempts share."""
    return {
        "url.template": call.endpoint.partition(" ")[2],
        "sunshine_async.lane": call.lane.name.lower(),
    }


def _address(call: CallStarted) -> _Attributes:
    """Return the attributes of a request by the conventions, with the template for the path."""
    method, _, template = call.endpoint.partition(" ")
    parts = urlsplit(call.base_url)
    return {
        "http.request.method": method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS[parts.scheme],
        "url.full": f"{call.base_url}{template}",
        "url.template": template,
    }


def _host(call: CallStarted) -> str:
    return urlsplit(call.base_url).hostname or ""
