"""Sender of webhooks: deliveries are signed, sent, tried again, and disturbed on purpose.

Facts of the references: a secret comes verbatim in ``X-API-Key``; Dixa signs time and body. Any 2xx
is a success; `FINAL` statuses end a delivery; everything else is tried again, 5 times in 15 minutes
at growing intervals. No answer within 20 seconds is a failure.

Assumed, where the references are silent:

- The wait grows threefold: 20, 60, 180 and 540 seconds. Dixa tries again like Sunshine.
- A further attempt has the same body. Dixa's signature has the time of the attempt.
- A redirect isn't followed, and is tried again. The target isn't probed at creation.
- A webhook has `PARALLEL` deliveries under way at most.
"""

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from concurrent.futures import Future
from hashlib import sha256
from hmac import new as new_hmac
from random import Random
from threading import Lock, Thread
from typing import Any, Final

import anyio
import httpx
import orjson
from attrs import asdict, define, field, frozen

from sunshine_async._pace.settings import check_kinds
from sunshine_async.emulator.server import start_thread
from sunshine_async.emulator.webhook_events import OutgoingEvent, WebhookTarget
from sunshine_async.errors import ConfigurationError

_LOG: Final = logging.getLogger("sunshine_async")
FINAL: Final = frozenset({400, 401, 403, 404, 406})
"""Statuses that end a delivery for good."""
ATTEMPTS: Final = 5
GROWTH: Final = 3.0
"""Factor from a wait to the next wait."""
TIMEOUT: Final = 20.0
"""Seconds that a target has to answer."""
MAX_ANSWER_BYTES: Final = 2**16
"""Bytes of an answer that are read at most; only the status counts."""
PARALLEL: Final = 10
MAX_WAITING: Final = 10_000
"""Events that wait at most; a further event is dropped, and is listed as ``dropped``."""
MAX_LISTED: Final = 10_000
"""Deliveries that are listed at most, the latest."""
_HOLD: Final = 0.02
"""Seconds in which events gather for a delivery of several events."""
_WHOLE: Final = range(200, 300)
_NUMBER: Final = (float | int, "a number")
_LOST: Final = "lost"
"""Stands for an answer 2xx that counts as lost."""


@frozen(kw_only=True)
class WebhookFaults:
    """Faults of webhooks, drawn by seed. Raise `ConfigurationError` for an impossible number.

    - *twice*: the probability that a delivery is sent once more after a success.
    - *lost*: the probability that an answer counts as lost, so the delivery is tried again.
    - *late*: the longest delay of a delivery in seconds; delays also change the order.
    - *batch*: the most events in a delivery. Only v2 has several events in a delivery.
    """

    twice: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    batch: int = 1

    def __attrs_post_init__(self) -> None:
        kinds = {**dict.fromkeys(("twice", "lost", "late"), _NUMBER), "batch": (int, "a number")}
        check_kinds(kinds, asdict(self), ConfigurationError)
        for problem, holds in {
            "twice: a probability, from 0 to 1": not 0 <= self.twice <= 1,
            "lost: a probability, from 0 to 1": not 0 <= self.lost <= 1,
            "late: seconds, 0 or more": not 0 <= self.late < float("inf"),
            "batch: 1 or more": not self.batch >= 1,
        }.items():
            if holds:
                raise ConfigurationError(problem)


@define(eq=False)
class WebhookDelivery:
    """Delivery of events to a target; *state* tells the end."""

    target: WebhookTarget
    event_ids: list[str]
    triggers: list[str]
    body: bytes = field(repr=False)
    delay: float = 0.0
    is_twice: bool = False
    attempts: list[int | str] = field(factory=list[int | str])
    """Status of each attempt, or the reason of a missing answer."""
    state: str = "waiting"
    """``waiting``, ``delivered``, ``refused``, ``given up``, ``dropped`` or ``stopped``."""

    @property
    def is_received(self) -> bool:
        """Return True if the target has answered 2xx, although the answer may count as lost."""
        return any(one in _WHOLE or one == _LOST for one in self.attempts)

    def view(self) -> dict[str, Any]:
        """Return the delivery as a line of ``GET /_emulator/deliveries``."""
        return {
            "service": self.target.service,
            "webhook": self.target.id,
            "target": self.target.url,
            "events": self.event_ids,
            "triggers": self.triggers,
            "attempts": [*self.attempts],
            "state": self.state,
        }


class WebhookSender:
    """Queue of deliveries, sent by a thread; or by an event loop, to an application in process.

    *first_wait* and *timeout* are in seconds.
    """

    def __init__(
        self, *, first_wait: float, timeout: float, faults: WebhookFaults, seed: int | None
    ) -> None:
        waits = {"webhook_retry": first_wait, "webhook_timeout": timeout}
        kinds = {
            **dict.fromkeys(waits, _NUMBER),
            "webhook_faults": (WebhookFaults, "WebhookFaults"),
        }
        check_kinds(kinds, {**waits, "webhook_faults": faults}, ConfigurationError)
        for name, value in waits.items():
            if not 0 < value < float("inf"):
                message = f"{name}={value}: seconds, more than 0"
                raise ConfigurationError(message)
        self._waits: Final = [first_wait * GROWTH**n for n in range(ATTEMPTS - 1)]
        self._timeout: Final = timeout
        self._faults: Final = faults
        self._seed: Final = seed
        self._random: Final = Random(seed)  # noqa: S311 - repeatable, not secret
        self._lock: Final = Lock()
        self._queue: Final[deque[OutgoingEvent]] = deque()
        self._listed: Final[deque[WebhookDelivery]] = deque(maxlen=MAX_LISTED)
        self._waiting: dict[int, WebhookDelivery] = {}
        self._idle: Final[list[Future[None]]] = []
        self._attempts = self._failed = 0
        self._run: _Run | None = None
        self._thread: Thread | None = None

    def put(self, events: Iterable[OutgoingEvent]) -> None:
        """Queue *events* without waiting; any thread may call this method."""
        with self._lock:
            for event in events:
                room = MAX_WAITING - len(self._queue) - len(self._waiting)
                if room > 0:
                    self._queue.append(event)
                else:
                    self._listed.append(_delivery([event], state="dropped"))
                    self._failed += 1
            if self._queue and self._run is None:
                self._start_thread()
            if self._queue and self._run is not None:
                self._run.wake()

    def deliveries(self) -> list[dict[str, Any]]:
        """Return the latest deliveries in the order of the first attempt's preparation."""
        with self._lock:
            return [one.view() for one in self._listed]

    def counts(self) -> dict[str, int]:
        """Return counts.

        - ``waiting``: events and deliveries that wait.
        - ``failing``: deliveries that wait, after failed attempts only.
        - ``failed``: deliveries that the target has never received: refused, given up or dropped.
        - ``attempts``: all attempts.
        """
        with self._lock:
            waiting = self._waiting.values()
            failing = [one for one in waiting if one.attempts and not one.is_received]
            return {
                "waiting": len(self._queue) + len(waiting),
                "failing": len(failing),
                "failed": self._failed,
                "attempts": self._attempts,
            }

    async def idle(self) -> None:
        """Wait until no event and no delivery is waiting; for asyncio."""
        future: Future[None] = Future()
        with self._lock:
            self._idle.append(future)
            self._tell_idle()
        await asyncio.wrap_future(future)

    def clear(self) -> None:
        """Stop all deliveries, and forget all deliveries; restart the faults from the seed."""
        with self._lock:
            self._stop_deliveries()
            self._listed.clear()
            self._attempts = self._failed = 0
            self._random.seed(self._seed)

    def stop(self) -> None:
        """Stop all deliveries, and end the thread, if any."""
        with self._lock:
            thread, run = self._thread, self._run
            self._thread = None
            if thread is not None and run is not None:
                run.stop()
            self._stop_deliveries()
        if thread is not None:
            thread.join()

    async def run(self, app: Any, ready: "Future[None]") -> None:
        """Send deliveries until cancelled: to *app* in process, or if None to the targets' URLs.

        *ready* gets a result as soon as events are taken.
        """
        transport = None if app is None else httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, trust_env=False, timeout=None)  # noqa: S113 - see _attempt
        run = self._run = _Run()
        ready.set_result(None)
        try:
            with run.scope:
                async with client, anyio.create_task_group() as tasks:
                    while True:
                        await run.woken.wait()
                        run.woken.clear()
                        if self._faults.batch > 1:
                            await anyio.sleep(_HOLD)
                        for delivery in self._take():
                            tasks.start_soon(self._deliver, run, client, delivery)
        finally:
            with self._lock:
                self._run = None
                self._stop_deliveries()

    def _start_thread(self) -> None:
        """Start the thread; if that fails, the next event tries again."""
        ready: Future[None] = Future()
        try:
            self._thread = start_thread(
                "emulator-webhooks", lambda: anyio.run(self.run, None, ready), ready
            )
        except (OSError, RuntimeError) as error:  # the process has no file, or no thread, left
            _LOG.warning("no webhook is sent before the next event: %s", str(error))

    def _take(self) -> list[WebhookDelivery]:
        """Return the queued events as new deliveries."""
        with self._lock:
            by_target: dict[WebhookTarget, list[OutgoingEvent]] = defaultdict(list)
            for event in self._queue:
                by_target[event.target].append(event)
            self._queue.clear()
            new: list[WebhookDelivery] = []
            for target, events in by_target.items():
                while events:
                    most = self._faults.batch if target.service == "sunshine" else 1
                    size = self._random.randint(1, most)
                    delay = self._random.uniform(0, self._faults.late)
                    twice = self._random.random() < self._faults.twice
                    new.append(_delivery(events[:size], delay=delay, is_twice=twice))
                    del events[:size]
            self._waiting.update((id(one), one) for one in new)
            self._listed.extend(new)
            return new

    async def _deliver(
        self, run: "_Run", client: httpx.AsyncClient, delivery: WebhookDelivery
    ) -> None:
        await anyio.sleep(delivery.delay)
        state = "given up"
        for wait in [*self._waits, None]:
            if delivery.state != "waiting":
                return
            async with run.slots[delivery.target.id]:
                status = await self._attempt(client, delivery)
            if status in _WHOLE or status in FINAL:
                state = "delivered" if status in _WHOLE else "refused"
                break
            if wait is not None:
                await anyio.sleep(wait)
        if state == "delivered" and delivery.is_twice:
            await self._attempt(client, delivery)
        with self._lock:
            self._waiting.pop(id(delivery), None)
            if delivery.state == "waiting":
                delivery.state = state
                self._failed += not delivery.is_received
            self._tell_idle()

    async def _attempt(self, client: httpx.AsyncClient, delivery: WebhookDelivery) -> int | str:
        """Send *delivery*; return and note the status, or the reason of a missing answer."""
        outcome: int | str = await post_webhook(
            client, delivery.target, delivery.body, timeout=self._timeout
        )
        if outcome in _WHOLE and self._random.random() < self._faults.lost:
            outcome = _LOST
        delivery.attempts.append(outcome)
        self._attempts += 1
        return outcome

    def _stop_deliveries(self) -> None:
        self._queue.clear()
        for delivery in self._waiting.values():
            delivery.state = "stopped"
        self._waiting.clear()
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._queue and not self._waiting:
            for future in self._idle:
                if future.set_running_or_notify_cancel():
                    future.set_result(None)
            self._idle.clear()


class _Run:
    """Run of a sender in an event loop, which other threads wake and stop."""

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self.woken: Final = asyncio.Event()
        self.scope: Final = anyio.CancelScope()
        self.slots: Final[dict[str, anyio.Semaphore]] = defaultdict(
            lambda: anyio.Semaphore(PARALLEL)
        )

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self.woken.set)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.scope.cancel)


async def post_webhook(
    client: httpx.AsyncClient, target: WebhookTarget, body: bytes, *, timeout: float
) -> int | str:
    """Send *body* to *target*; return the status, or the reason of a missing answer."""
    headers = {"content-type": "application/json", **signature(target, body, time.time())}
    try:
        with anyio.fail_after(timeout):
            async with client.stream("POST", target.url, content=body, headers=headers) as answer:
                async for _ in answer.aiter_raw():  # to the end: the connection is used again
                    if answer.num_bytes_downloaded > MAX_ANSWER_BYTES:
                        break
                return answer.status_code
    except TimeoutError:
        return "no answer in time"
    except Exception as error:  # noqa: BLE001 - such as a host that IDNA refuses
        return type(error).__name__


async def send_bodies(
    url: str, bodies: Iterable[tuple[str, str, bytes]]
) -> AsyncGenerator[int | str]:
    """Send each body to *url*, once, in order; yield the statuses, or reasons of missing answers.

    A body comes with the service and the secret.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=None) as client:  # noqa: S113 - below
        for service, secret, body in bodies:
            target = WebhookTarget(service=service, id="replay", url=url, secret=secret)
            yield await post_webhook(client, target, body, timeout=TIMEOUT)


def signature(target: WebhookTarget, body: bytes, now: float) -> Mapping[str, Any]:
    """Return the headers that prove the sender; *now* in seconds since 1970."""
    if target.service != "dixa":
        return {"x-api-key": target.secret.encode(errors="surrogatepass")}
    stamp = str(round(now * 1000))
    key = bytes.fromhex(target.secret)
    digest = new_hmac(key, b"%s.%s" % (stamp.encode(), body), sha256).hexdigest()
    return {"x-dixa-signature": f"t={stamp},v1={digest}", "x-dixa-subscription-id": target.id}


def _delivery(events: list[OutgoingEvent], **values: Any) -> WebhookDelivery:
    target = events[0].target
    data: Any = events[0].data
    if target.service == "sunshine":
        data = {
            "app": {"id": target.app_id},
            "webhook": {"id": target.id, "version": "v2"},
            "events": [event.data for event in events],
        }
    names = ("type", "trigger", "event_fqn")
    triggers = [str(next(filter(None, map(event.data.get, names)))) for event in events]
    ids = [event.id for event in events]
    return WebhookDelivery(target, ids, triggers, orjson.dumps(data), **values)
