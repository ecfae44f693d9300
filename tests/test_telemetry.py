"""Telemetry: hooks, spans, metrics and logs tell every attempt, and nobody's data."""

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import anyio
import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from support.deliveries import SECRET as WEBHOOK_SECRET
from support.deliveries import message, post, sender
from support.virtual import until, virtual_on_trio, virtually

from sunshine_async import (
    ApiToken,
    BasicAuth,
    ConfigurationError,
    DixaClient,
    Fault,
    Lane,
    NotFoundError,
    Pace,
    ResponseDecodeError,
    Retry,
    SunshineClient,
    SunshineError,
    __version__,
    jobs,
    webhooks,
)
from sunshine_async import telemetry as telemetry_module
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import Profile, UserCreateBody
from sunshine_async.telemetry import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    EventEnded,
    EventReceived,
    EventStarted,
    Held,
    OpenTelemetry,
    Paused,
    RowsEnded,
)
from sunshine_async.testing import ScriptedTransport

SECRET: Final = "top-secret-7"
AUTH: Final = BasicAuth("key-id-7", SECRET)
BODY: Final = UserCreateBody(
    external_id="jane-1",
    profile=Profile(given_name="Jane", email="jane@example.com"),
    metadata={"tier": "gold-7"},
)
SENT: Final = (SECRET, "key-id-7", "jane-1", "Jane", "jane@example.com", "gold-7", "a2V5LWlkLTc6")
USER: Final = {"user": {"id": "7494535b", "externalId": "jane-1"}}
LOST: Final = httpx.ReadError("broken")
CREATE: Final = "POST /v2/apps/{app_id}/users"
GET: Final = "GET /v2/apps/{app_id}/users/{user_id_or_external_id}"


class Recorder:
    """A hook that keeps all that it is told."""

    def __init__(self, trace: object = None) -> None:
        self.told: list[tuple[str, Any]] = []
        self.trace = trace

    def call_started(self, value: CallStarted) -> None:
        self.told.append(("call_started", value))

    def call_ended(self, value: CallEnded) -> None:
        self.told.append(("call_ended", value))

    def attempt_started(self, value: AttemptStarted) -> object:
        self.told.append(("attempt_started", value))
        return self.trace

    def attempt_ended(self, value: AttemptEnded) -> None:
        self.told.append(("attempt_ended", value))

    def paused(self, value: Paused) -> None:
        self.told.append(("paused", value))

    def held(self, value: Held) -> None:
        self.told.append(("held", value))

    def rows_ended(self, value: RowsEnded) -> None:
        self.told.append(("rows_ended", value))

    def of(self, event: str) -> list[Any]:
        """Return the values of *event*."""
        return [value for name, value in self.told if name == event]


class Exported:
    """OpenTelemetry with exporters in memory."""

    def __init__(self) -> None:
        self.spans_exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_exporter))
        self.reader = InMemoryMetricReader()
        self.hook = OpenTelemetry(self.tracers, MeterProvider([self.reader]))

    def spans(self, kind: SpanKind) -> Sequence[ReadableSpan]:
        return [span for span in self.spans_exporter.get_finished_spans() if span.kind is kind]

    def metrics(self) -> dict[str, list[dict[str, Any]]]:
        """Return the data points of each metric."""
        data = self.reader.get_metrics_data()
        found = json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"][0]["metrics"]
        return {metric["name"]: metric["data"]["data_points"] for metric in found}

    def text(self) -> Iterator[str]:
        """Yield all that was exported."""
        yield from (span.to_json() for span in self.spans_exporter.get_finished_spans())
        yield json.dumps(self.metrics())


def client_of(answers: Sequence[Any], *hooks: object, **options: Any) -> SunshineClient:
    """Return a client of a script of *answers*."""
    return SunshineClient(
        "app",
        auth=AUTH,
        transport=ScriptedTransport(answers),
        retry=options.pop("retry", Retry(first_wait=0)),
        hooks=hooks,
        **options,
    )


async def fail_on_a_leaky_wire(attempt_ended: Callable[[Any], None]) -> None:
    """Let a call fail by an error with a secret, and tell the hook *attempt_ended*, which fails too."""
    leaky = RuntimeError(f"Authorization: {SECRET}")
    client = client_of([leaky], SimpleNamespace(attempt_ended=attempt_ended))

    with pytest.raises(ResponseDecodeError):
        await client.users.create(BODY)


def traceparents(client: SunshineClient) -> list[str | None]:
    """Return the header of each request that was sent."""
    transport: Any = client._transport.wire._make_stack.args[0]()  # type: ignore[attr-defined]
    return [request.headers.get("traceparent") for request in transport.requests]


class TestOpenTelemetry:
    """`OpenTelemetry`."""

    async def test_create_that_fails_and_is_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        """A 503, a lost answer and a 201 are one INTERNAL span and three CLIENT spans."""
        caplog.set_level(logging.DEBUG)
        exported = Exported()
        client = client_of([503, LOST, (201, USER)], exported.hook)
        with exported.tracers.get_tracer("app").start_as_current_span("request") as outer:
            await client.users.create(BODY)

        [call] = [span for span in exported.spans(SpanKind.INTERNAL) if span.name != "request"]
        attempts = exported.spans(SpanKind.CLIENT)
        assert call.parent is not None
        assert call.parent.span_id == outer.get_span_context().span_id
        assert call.attributes is not None
        waited = call.attributes["sunshine_async.pace.wait"]
        assert dict(call.attributes) == {
            "url.template": "/v2/apps/{app_id}/users",
            "sunshine_async.lane": "interactive",
            "sunshine_async.outcome": "done",
            "sunshine_async.attempts": 3,
            "sunshine_async.pace.wait": waited,
        }
        assert [span.parent and span.parent.span_id for span in attempts] == [
            call.get_span_context().span_id
        ] * 3
        assert [span.name for span in attempts] == [CREATE] * 3
        assert [span.status.status_code for span in attempts] == [
            StatusCode.ERROR,
            StatusCode.ERROR,
            StatusCode.UNSET,
        ]
        common = {
            "http.request.method": "POST",
            "server.address": "api.smooch.io",
            "server.port": 443,
            "url.full": "https://api.smooch.io/v2/apps/{app_id}/users",
            "url.template": "/v2/apps/{app_id}/users",
            "sunshine_async.lane": "interactive",
        }
        assert [dict(span.attributes or {}) for span in attempts] == [
            {**common, "http.response.status_code": 503, "error.type": "503"},
            {**common, "http.request.resend_count": 1, "error.type": "lost"},
            {**common, "http.request.resend_count": 2, "http.response.status_code": 201},
        ]
        assert [str(one)[:-3] for one in traceparents(client)] == [
            f"00-{span.get_span_context().trace_id:032x}-{span.get_span_context().span_id:016x}"
            for span in attempts
        ]
        del common["url.full"], common["sunshine_async.lane"]
        durations = exported.metrics()["http.client.request.duration"]
        assert [(point["attributes"], point["count"]) for point in durations] == [
            ({**common, "http.response.status_code": 503, "error.type": "503"}, 1),
            ({**common, "error.type": "lost"}, 1),
            ({**common, "http.response.status_code": 201}, 1),
        ]
        [waits] = exported.metrics()["sunshine_async.pace.wait"]
        assert waits["attributes"] == {
            "http.request.method": "POST",
            "sunshine_async.lane": "interactive",
        }
        assert (waits["count"], waits["sum"]) == (3, pytest.approx(waited))
        shown = [*exported.text(), *(record.getMessage() for record in caplog.records)]
        assert len(caplog.records) >= 3
        assert not [text for text in shown for value in SENT if value in text]

    async def test_no_text_has_what_was_sent(self, caplog: pytest.LogCaptureFixture) -> None:
        """Ids in paths, queries and answers are in no span, metric or log, whatever happens."""
        caplog.set_level(logging.DEBUG)
        exported = Exported()
        echo = {"errors": [{"code": "bad", "title": "jane-1 jane@example.com"}]}
        client = client_of(
            [(400, echo), (409, echo), (200, {"users": [USER["user"]]}), (200, b"jane-1"), LOST],
            exported.hook,
            retry=Retry(max_attempts=1),
        )
        for call in (
            client.users.get("jane-1"),
            client.users.create(BODY),
            client.users.list_by_email("jane@example.com"),
            client.users.get("jane-1"),
            client.request("GET", "/v2/{x}", path={"x": "jane-1"}, query={"q": "jane@example.com"}),
        ):
            with suppress(SunshineError):
                await call

        shown = [*exported.text(), *(record.getMessage() for record in caplog.records)]
        assert len(exported.spans(SpanKind.CLIENT)) == 5
        assert not [text for text in shown for value in SENT if value in text]
        outcomes = [dict(span.attributes or {}) for span in exported.spans(SpanKind.INTERNAL)]
        assert [one["sunshine_async.outcome"] for one in outcomes] == [
            *("failed", "failed", "done", "failed", "failed")
        ]
        assert outcomes[0]["error.type"] == "BadRequestError"
        attempts = [dict(span.attributes or {}) for span in exported.spans(SpanKind.CLIENT)]
        assert [one.get("error.type") for one in attempts[:3]] == ["400", "409", None]

    async def test_address_of_the_service(self) -> None:
        """A base URL with a port and a path is in the attributes, the request id too."""
        exported = Exported()
        answer = httpx.Response(200, json=USER, headers={"X-Request-Id": "request-7"})
        client = client_of([answer], exported.hook, base_url="http://localhost:8080/sc")
        await client.users.get("jane-1")

        [attempt] = exported.spans(SpanKind.CLIENT)
        assert attempt.attributes is not None
        assert attempt.attributes["server.port"] == 8080
        assert attempt.attributes["url.full"] == f"http://localhost:8080/sc{GET[4:]}"
        assert attempt.attributes["sunshine_async.request_id"] == "request-7"

    async def test_call_that_is_cancelled(self) -> None:
        """A cancelled call ends its spans, with nothing left behind."""
        exported = Exported()

        class Hangs(httpx.AsyncBaseTransport):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                scope.cancel()
                await anyio.sleep_forever()
                raise AssertionError

        client = SunshineClient("app", auth=AUTH, transport=Hangs(), hooks=[exported.hook])
        with anyio.CancelScope() as scope:
            await client.users.get("jane-1")

        [call], [attempt] = exported.spans(SpanKind.INTERNAL), exported.spans(SpanKind.CLIENT)
        assert (attempt.attributes or {})["error.type"] == "cancelled"
        assert (call.attributes or {})["sunshine_async.outcome"] == "cancelled"
        assert not exported.hook._calls
        assert not exported.hook._attempts

    async def test_attempt_that_ends_in_an_unexpected_error(self) -> None:
        """An error of the user's transport is no cancellation: the answer counts as lost."""
        exported = Exported()
        with pytest.raises(ResponseDecodeError):
            await client_of([RuntimeError()], exported.hook).users.get("jane-1")

        [attempt] = exported.spans(SpanKind.CLIENT)
        assert (attempt.attributes or {})["error.type"] == str(Fault.LOST)

    async def test_pauses_and_outages(self) -> None:
        """Pauses and outages are counted, and a probe is marked."""
        exported = Exported()
        hook = exported.hook
        subject: Any = {"call": 1, "endpoint": GET, "lane": Lane.BATCH, "base_url": "https://x"}
        hook.paused(Paused(**subject, seconds=2.0))
        hook.held(Held(**subject, is_held=True, seconds=0.0))
        hook.held(Held(**subject, is_held=False, seconds=9.0))
        hook.call_started(CallStarted(**subject))
        hook.attempt_started(AttemptStarted(**subject, attempt=1, waited=0.0, is_probe=True))
        hook._attempts.pop(1).end()

        [probe] = exported.spans(SpanKind.CLIENT)
        assert (probe.attributes or {})["sunshine_async.probe"] is True
        for name in ("sunshine_async.pauses", "sunshine_async.outages"):
            [point] = exported.metrics()[name]
            assert (point["value"], point["attributes"]) == (1, {"server.address": "x"})

    def test_metrics_by_the_conventions(self) -> None:
        """Each metric has a unit and a description; durations have the bounds of the conventions."""
        exported = Exported()
        hook = exported.hook
        call: Any = {"call": 1, "endpoint": GET, "lane": Lane.BATCH, "base_url": "https://x"}
        event: Any = {"id": "a", "type": "conversation:read", "attempt": 1, "number": 1}
        hook.paused(Paused(**call, seconds=2.0))
        hook.held(Held(**call, is_held=True, seconds=0.0))
        hook.call_started(CallStarted(**call))
        attempt = {**call, "attempt": 1, "waited": 0.0, "is_probe": False}
        hook.attempt_started(AttemptStarted(**attempt))
        hook.attempt_ended(
            AttemptEnded(**attempt, seconds=0.1, status=200, fault=None, request_id=None)
        )
        hook.rows_ended(RowsEnded(service="sunshine", mode="upsert", outcome="created", rows=1))
        hook.event_started(EventStarted(**event))
        hook.event_ended(EventEnded(**event, outcome="done", seconds=1.0, error=None))

        data = exported.reader.get_metrics_data()
        assert data is not None
        [scope] = data.resource_metrics[0].scope_metrics
        assert (scope.scope.name, scope.scope.version) == ("sunshine_async", __version__)
        assert {one.name: (one.unit, one.description[-1:]) for one in scope.metrics} == {
            "http.client.request.duration": ("s", "."),
            "sunshine_async.pace.wait": ("s", "."),
            "sunshine_async.pauses": ("{pause}", "."),
            "sunshine_async.outages": ("{outage}", "."),
            "sunshine_async.rows": ("{row}", "."),
            "sunshine_async.event.duration": ("s", "."),
        }
        bounds = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
        points = [point for one in scope.metrics for point in one.data.data_points]
        histograms = [point for point in points if isinstance(point, HistogramDataPoint)]
        assert [tuple(point.explicit_bounds) for point in histograms] == [bounds] * 3

    @pytest.mark.parametrize("journaled", [False, True])
    async def test_rows_of_a_job(self, emulator: Emulator, path: Path, journaled: bool) -> None:  # noqa: FBT001
        """Rows are counted by service, mode and outcome, with a journal and without."""
        exported = Exported()
        emulator.add("sunshine", {"externalId": "jane-1"}, app_id="app")
        client = SunshineClient(
            "app", auth=AUTH, transport=emulator.transport(), hooks=[exported.hook]
        )
        rows = [{"externalId": name} for name in ("jane-1", "john-2", "june-3")] + [
            {"signedUpAt": 7}
        ]
        job = jobs.Job(client, jobs.SUNSHINE, jobs.Mode.UPSERT)
        if journaled:
            async with jobs.open(path, client, jobs.SUNSHINE, jobs.Mode.UPSERT) as job:
                report = await job.run(rows)
        else:
            report = await job.run(rows)

        points = exported.metrics()["sunshine_async.rows"]
        subject = {"sunshine_async.service": "sunshine", "sunshine_async.mode": "upsert"}
        counted = {}
        for point in points:
            outcome = point["attributes"].pop("sunshine_async.outcome")
            assert point["attributes"] == subject
            counted[outcome] = point["value"]
        assert counted == {**report.outcomes, "bad": 1}
        assert counted["created"] == 2
        assert not [text for text in exported.text() if "jane-1" in text]

    async def test_event_of_a_webhook(self, path: Path) -> None:
        """A handler has a span, linked to the delivery's; calls of the handler lie below."""
        exported = Exported()
        tracer = exported.tracers.get_tracer("app")
        client = client_of([(200, USER)], exported.hook)
        receiver = webhooks.Receiver(
            webhooks.SunshineWebhooks(WEBHOOK_SECRET),
            path,
            hooks=[exported.hook],
            retry=Retry(first_wait=0),
        )

        @receiver.on("conversation:message")
        async def handle(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
            if received.attempt == 1:
                raise LookupError(received.event.payload.conversation.id)
            await client.users.get("jane-1")

        async with receiver, sender(receiver) as service:
            with tracer.start_as_current_span("delivery") as delivery:
                await post(service, message(1, "jane-1"))
            await until(lambda: len(exported.spans(SpanKind.CONSUMER)) == 2)

        failed, done = exported.spans(SpanKind.CONSUMER)
        subject = {"sunshine_async.event.type": "conversation:message"}
        assert [span.name for span in (failed, done)] == ["webhook conversation:message"] * 2
        assert [span.parent for span in (failed, done)] == [None, None]
        assert [[link.context for link in span.links] for span in (failed, done)] == [
            [delivery.get_span_context()]
        ] * 2
        assert [dict(span.attributes or {}) for span in (failed, done)] == [
            {
                **subject,
                "sunshine_async.event.attempt": 1,
                "sunshine_async.outcome": "failed",
                "error.type": "LookupError",
            },
            {**subject, "sunshine_async.event.attempt": 2, "sunshine_async.outcome": "done"},
        ]
        [call] = [span for span in exported.spans(SpanKind.INTERNAL) if span.name == GET]
        assert call.parent == done.get_span_context()
        durations = exported.metrics()["sunshine_async.event.duration"]
        assert [point["attributes"]["sunshine_async.outcome"] for point in durations] == [
            *("failed", "done")
        ]
        # the id with quotes: the ids of spans, in hexadecimal, may end with e1
        sent = ("jane-1", "hello 1", '"e1"', WEBHOOK_SECRET)
        assert not [text for text in exported.text() for value in sent if value in text]
        assert not exported.hook._deliveries
        assert not exported.hook._events

    def test_deliveries_that_are_never_handled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bounded number of spans of deliveries is kept; an event without a span has no link."""
        monkeypatch.setattr(telemetry_module, "_MOST_DELIVERIES", 2)
        exported = Exported()
        hook, trigger = exported.hook, "conversation:read"
        hook.event_received(EventReceived(id="a", type=trigger))
        assert not hook._deliveries
        with exported.tracers.get_tracer("app").start_as_current_span("delivery"):
            for each in "bcd":
                hook.event_received(EventReceived(id=each, type=trigger))
        assert list(hook._deliveries) == ["c", "d"]

        subject: Any = {"id": "a", "type": trigger, "attempt": 1, "number": 1}
        with exported.tracers.get_tracer("app").start_as_current_span("another trace"):
            hook.event_started(EventStarted(**subject))
            hook.event_ended(
                EventEnded(**subject, outcome="cancelled", seconds=1.0, error="Cancelled")
            )
        [span] = exported.spans(SpanKind.CONSUMER)
        assert (span.links, span.parent) == ((), None)
        assert span.status.status_code is StatusCode.ERROR

    def test_without_opentelemetry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without opentelemetry-api the error names the extra."""
        monkeypatch.setitem(sys.modules, "opentelemetry", None)

        with pytest.raises(ConfigurationError, match=r"sunshine-async\[otel\]"):
            OpenTelemetry()


class TestHooks:
    """Hooks of a user's own."""

    async def test_order_and_values(self) -> None:
        """A hook is told the beginning and the end of a call, and of each attempt."""
        hook = Recorder()
        answer = httpx.Response(404, headers={"X-Request-Id": "request-7"})
        client = client_of([LOST, answer], hook)
        with pytest.raises(NotFoundError):
            await client.users.get("jane-1")

        assert [name for name, _ in hook.told] == [
            "call_started",
            *["attempt_started", "attempt_ended"] * 2,
            "call_ended",
        ]
        assert {value.call for _, value in hook.told} == {hook.told[0][1].call}
        assert {value.endpoint for _, value in hook.told} == {GET}
        assert {value.lane for _, value in hook.told} == {Lane.INTERACTIVE}
        lost, gone = hook.of("attempt_ended")
        assert (lost.attempt, lost.status, lost.fault, lost.request_id) == (
            1,
            None,
            Fault.LOST,
            None,
        )
        assert (gone.attempt, gone.status, gone.fault, gone.request_id) == (
            *(2, 404, None),
            "request-7",
        )
        [ended] = hook.of("call_ended")
        assert (ended.outcome, ended.attempts, ended.status, ended.error) == (
            *("failed", 2, 404),
            "NotFoundError",
        )
        assert ended.seconds >= lost.seconds + gone.seconds >= 0
        assert not [text for text in map(repr, hook.told) for value in SENT if value in text]

    @pytest.mark.parametrize(
        ("answers", "outcome", "error"),
        [
            ([(201, USER)], "done", None),
            ([400], "failed", "BadRequestError"),
            ([LOST], "unknown", "ConnectionLostError"),
            ([httpx.ConnectError("x")], "failed", "ConnectError"),
            ([(201, b"{}")], "unknown", "ResponseDecodeError"),
        ],
    )
    async def test_outcomes(self, answers: list[Any], outcome: str, error: str | None) -> None:
        """The outcome of a call is done, failed, or unknown where the service may have acted."""
        hook = Recorder()
        client = client_of(answers, hook, retry=Retry(max_attempts=1))
        with suppress(SunshineError):
            await client.users.create(UserCreateBody())

        [ended] = hook.of("call_ended")
        assert (ended.outcome, ended.error) == (outcome, error)

    async def test_outcome_within_a_handler_of_another_error(self) -> None:
        """A call that succeeds while another error is handled is done."""
        hook = Recorder()
        client = client_of([(200, USER)], hook)
        try:
            {}["nothing"]
        except LookupError:
            await client.users.get("1")

        assert [ended.outcome for ended in hook.of("call_ended")] == ["done"]

    async def test_body_that_cannot_be_sent(self) -> None:
        """A call that ends before anything is sent has a beginning and an end."""
        hook = Recorder()
        with pytest.raises(ValueError, match="user_id"):
            await client_of([], hook).users.get("")

        [ended] = hook.of("call_ended")
        assert (ended.outcome, ended.attempts, ended.error) == ("failed", 0, "ValueError")

    @pytest.mark.parametrize(
        ("trace", "header"),
        [
            ({"traceparent": "00-1-2-01", "tracestate": "a=b"}, "00-1-2-01"),
            ({"traceparent": "x\r\nX-Evil: 1"}, None),
            ({"traceparent": 7}, None),
            ({"Authorization": "Basic x"}, None),
            ("00-1-2-01", None),
            (None, None),
        ],
    )
    async def test_trace_context(self, trace: object, header: str | None) -> None:
        """Of the headers that a hook returns only a valid trace context goes onto the wire."""
        client = client_of([(200, USER)], Recorder(trace))
        await client.users.get("1")

        assert traceparents(client) == [header]
        transport: Any = client._transport.wire._make_stack.args[0]()  # type: ignore[attr-defined]
        assert transport.requests[0].headers["Authorization"].startswith("Basic a2V5LWlkLTc6")
        assert "X-Evil" not in transport.requests[0].headers

    async def test_hook_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """A hook that raises is logged, and changes nothing, for further hooks neither."""

        class Fails:
            def __getattr__(self, name: str) -> Any:
                if name.startswith("_"):
                    raise AttributeError(name)
                return self.fail

            def fail(self, value: object) -> None:
                raise LookupError(type(value).__name__)

        hook = Recorder()
        client = client_of([(200, USER)], Fails(), hook)
        assert (await client.users.get("1")).id == "7494535b"

        assert len(hook.told) == 4
        assert len([one for one in caplog.records if "a hook failed in" in one.message]) == 4

    @pytest.mark.parametrize(
        "event", ["call_started", "attempt_started", "attempt_ended", "call_ended"]
    )
    async def test_hook_that_raises_a_cancellation(self, event: str) -> None:
        """A function can't be cancelled: a cancellation out of a hook is the hook's failure."""

        def fail(value: object) -> None:
            raise asyncio.CancelledError(type(value).__name__)

        client = client_of([(201, USER)], SimpleNamespace(**{event: fail}))

        assert (await client.users.create(BODY)).id == "7494535b"

    async def test_hook_that_stops_the_process(self) -> None:
        """An interruption in a hook goes through, with a note where the call may have acted."""

        def stop(value: object) -> None:
            raise KeyboardInterrupt(type(value).__name__)

        client = client_of([(201, USER)], SimpleNamespace(attempt_ended=stop))

        with pytest.raises(KeyboardInterrupt) as caught:
            await client.users.create(BODY)
        assert "may have acted" in caught.value.__notes__[0]

    async def test_hook_that_fails_after_a_failure(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log shows the failure of the hook, not the error of the wire, which may have a secret."""

        def fail(value: object) -> None:
            try:
                {}[type(value).__name__]
            except KeyError:
                raise LookupError  # noqa: B904 - the context is the test's subject

        await fail_on_a_leaky_wire(fail)

        assert "KeyError: 'AttemptEnded'" in caplog.text
        assert SECRET not in caplog.text

    @pytest.mark.parametrize("in_a_circle", [False, True])
    async def test_hook_whose_error_has_causes(
        self, caplog: pytest.LogCaptureFixture, *, in_a_circle: bool
    ) -> None:
        """The error of the wire is shown by no cause either, and a circle of causes ends."""

        def fail(value: object) -> None:
            error, cause = LookupError(), KeyError(type(value).__name__)
            try:
                raise cause
            except KeyError:
                pass  # the error of the wire is its context
            try:
                raise error from cause
            except LookupError:
                if in_a_circle:
                    error.__context__, cause.__context__ = cause, error
                raise

        await fail_on_a_leaky_wire(fail)

        assert "KeyError: 'AttemptEnded'" in caplog.text
        assert SECRET not in caplog.text

    async def test_trace_context_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """A mapping that can't be read is the hook's failure: the call goes on without headers."""

        class Fails(UserDict[str, str]):
            def get(self, key: str, default: Any = None) -> Any:
                raise LookupError(key, default)

        client = client_of([(200, USER)], Recorder(Fails()))

        assert (await client.users.get("1")).id == "7494535b"
        assert traceparents(client) == [None]
        assert "a hook failed in attempt_started" in caplog.text

    async def test_hook_of_a_receiver(self, path: Path) -> None:
        """A handler that a shutdown cancels is told as cancelled; a receiver needs no hooks."""
        told: list[object] = []

        class Events:
            event_started = event_received = event_ended = staticmethod(told.append)

        receiver = webhooks.Receiver(
            webhooks.SunshineWebhooks(WEBHOOK_SECRET), path, hooks=[Events()]
        )

        @receiver.on("*")
        async def handle(received: webhooks.Received[Any]) -> None:
            await anyio.sleep_forever()

        async with receiver, sender(receiver) as service:
            await post(service, message(1))
            await until(lambda: len(told) == 2)

        received, started, ended = told
        assert received == EventReceived(id="e1", type="conversation:message")
        assert isinstance(started, EventStarted)
        assert isinstance(ended, EventEnded)
        assert (started.attempt, started.number) == (1, ended.number)
        assert (ended.outcome, ended.error) == ("cancelled", "CancelledError")
        with pytest.raises(ConfigurationError, match="object has none of"):
            webhooks.Receiver(webhooks.SunshineWebhooks("s"), path, hooks=[object()])

    async def test_hook_with_one_method(self) -> None:
        """A hook has the methods that it needs, and no others."""

        class Counter:
            attempts: Final[list[int | None]] = []

            def attempt_ended(self, attempt: AttemptEnded) -> None:
                self.attempts.append(attempt.status)

        await client_of([503, (200, USER)], Counter()).users.get("1")

        assert Counter.attempts == [503, 200]

    async def test_options(self) -> None:
        """A view has hooks of its own; an object without a method of a hook is refused."""
        first, second = Recorder(), Recorder()
        client = client_of([(200, USER)] * 3, first)
        await client.with_options(hooks=[second]).users.get("1")
        await client.with_options(timeout=60.0).users.get("1")
        await client.with_options(hooks=[]).users.get("1")

        assert (len(first.told), len(second.told)) == (4, 4)
        for make in (
            lambda: client.with_options(hooks=[object()]),
            lambda: DixaClient(auth=ApiToken("x"), hooks=[object()]),
        ):
            with pytest.raises(ConfigurationError, match=r"^hooks: object has none of call_"):
                make()
        with pytest.raises(ConfigurationError, match="hooks must be a list of hooks"):
            SunshineClient("app", auth=AUTH, hooks=first)  # type: ignore[arg-type]

    def test_nothing_is_imported_without_hooks(self) -> None:
        """A client without hooks imports neither the hooks nor OpenTelemetry."""
        program = (
            "import sys; from sunshine_async import BasicAuth, SunshineClient;"
            "SunshineClient('app', auth=BasicAuth('a', 'b'));"
            "print([m for m in sys.modules if 'opentelemetry' in m or 'hooks' in m and 'sunsh' in m])"
        )
        found = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        )

        assert found.stdout.strip() == "[]"


class TestLog:
    """The logger ``sunshine_async``."""

    async def test_attempt(self, caplog: pytest.LogCaptureFixture) -> None:
        """DEBUG has each attempt with its duration, its wait and the request id."""
        caplog.set_level(logging.DEBUG, "sunshine_async")
        answer = httpx.Response(200, json=USER, headers={"X-Request-Id": "request-7"})
        await client_of([LOST, answer]).users.get("jane-1")

        lines = [
            record.getMessage() for record in caplog.records if record.name == "sunshine_async"
        ]
        number = r"\d+\.\d{3} s"
        assert len(lines) == 2
        for attempt, end, id_ in ((1, "lost", "None"), (2, "200", "request-7")):
            assert re.fullmatch(
                rf"{re.escape(GET)} attempt {attempt}: {end} in {number}, after a wait of {number}"
                rf" \(request id {id_}\)",
                lines[attempt - 1],
            )

    def test_pause_of_all_calls(self, caplog: pytest.LogCaptureFixture) -> None:
        """INFO has a pause of all calls and a limit that was learnt, once each."""
        caplog.set_level(logging.INFO, "sunshine_async")
        hook = Recorder()

        async def scenario() -> None:
            refusal = httpx.Response(429, headers={"Retry-After": "20"})
            client = client_of([(200, USER)] * 3 + [refusal, (200, USER)], hook, pace=Pace())
            for _ in range(4):
                await client.users.get("1")

        virtually(scenario)
        lines = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert [level for level, _ in lines] == ["INFO", "INFO"]
        assert "the service pauses all calls for 20.0 s" in lines[0][1]
        assert "a limit of " in lines[1][1]
        assert [value.endpoint for value in hook.of("paused")] == [GET]

    @virtual_on_trio
    async def test_outage_that_a_batch_waits_out(self) -> None:
        """A batch's call that waits for a service to come back says so before it waits."""
        hook = Recorder()

        client = client_of([503] * 3 + [(200, USER)], hook, pace=Pace())
        retry = Retry(first_wait=0, max_attempts=3)
        await client.with_options(lane=Lane.BATCH, retry=retry).users.get("1")

        events = [name for name, _ in hook.told if name in ("attempt_ended", "held")]
        assert events == [*["attempt_ended"] * 3, "held", "attempt_ended", "held"]
        assert [value.is_held for value in hook.of("held")] == [True, False]
        assert hook.of("held")[1].seconds > 0

    async def test_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        """WARNING has the beginning and the end of an outage; hooks are told of both."""
        caplog.set_level(logging.INFO, "sunshine_async")
        hook = Recorder()
        client = client_of(
            [503] * 10 + [(200, USER)], hook, retry=Retry(max_attempts=1), pace=Pace()
        )
        for _ in range(11):
            with suppress(SunshineError):
                await client.users.get("1")

        assert [
            (record.levelname, record.getMessage()[len(GET) : len(GET) + 24])
            for record in caplog.records
        ] == [
            ("WARNING", ": the service seems gone"),
            ("WARNING", ": the service is back af"),
        ]
        assert [value.is_held for value in hook.of("held")] == [True, False]
        assert hook.of("held")[1].seconds >= 0
