"""Deliveries of webhooks: attempts, final statuses, faults, slow and missing targets, an end."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest
from support.emulated import call
from support.in_process import calling
from support.limits import few_descriptors
from support.patience import PATIENCE
from support.servers import Peer, answer, serving, unused_port
from support.targets import Target, listening
from support.virtual import sleep, until, virtual

from sunshine_async import ConfigurationError
from sunshine_async.emulator import Emulator, WebhookFaults, webhook_sender
from sunshine_async.emulator.emulator import ServerThread
from sunshine_async.emulator.webhook_sender import FINAL

STATUSES = sorted(
    {200, 201, 204, 299, 400, 401, 403, 404, 406, 409, 410, 429, 503, *range(300, 600, 37)}
)


def prepared(url: str = "http://bot/", **options: Any) -> Emulator:
    """Return an emulator with a webhook of messages, and with Jane."""
    emulator = Emulator(**options)
    emulator.add("sunshine", {"id": "1"}, app_id="app")
    emulator.add_webhook(
        "sunshine", {"target": url, "triggers": ["conversation:message"]}, app_id="app"
    )
    return emulator


@contextmanager
def served(target: Target) -> Iterator[str]:
    """Serve *target* on a socket, without the emulator; give the URL."""
    with ServerThread(lambda: target, "127.0.0.1", 0) as url:
        yield url


class TestAttempts:
    """Attempts, waits, and the end of a delivery."""

    @pytest.mark.parametrize("status", STATUSES)
    def test_each_status(self, status: int) -> None:
        """2xx is a success, a few statuses are final, and everything else is tried again."""

        @virtual
        async def scenario() -> None:
            emulator = prepared()
            async with listening(emulator, statuses=[status] * 5) as target:
                emulator.say("app", "1", "Hi")
                [delivery] = await emulator.delivered()

            if 200 <= status < 300:
                expected = ([status], "delivered")
            elif status in (400, 401, 403, 404, 406):
                expected = ([status], "refused")
            else:
                expected = ([status] * 5, "given up")
            assert (delivery["attempts"], delivery["state"]) == expected
            assert len({one.body for one in target.received}) == 1

        scenario()

    def test_the_final_statuses(self) -> None:
        """The final statuses are those of the reference."""
        assert {400, 401, 403, 404, 406} == FINAL

    @virtual
    async def test_waits(self) -> None:
        """Five attempts in 15 minutes, at growing intervals; a success ends the attempts."""
        emulator = prepared()
        began = anyio.current_time()
        async with listening(emulator, statuses=[503, 302, 429, 500]):
            emulator.say("app", "1", "Hi")
            [delivery] = await emulator.delivered()

        assert delivery["attempts"] == [503, 302, 429, 500, 200]
        assert delivery["state"] == "delivered"
        assert anyio.current_time() - began == pytest.approx(20 + 60 + 180 + 540, abs=1)

    @virtual
    async def test_short_waits(self) -> None:
        """``webhook_retry`` shortens all waits."""
        emulator = prepared(webhook_retry=0.1)
        began = anyio.current_time()
        async with listening(emulator, statuses=[500] * 5):
            emulator.say("app", "1", "Hi")
            await emulator.delivered()

        assert anyio.current_time() - began == pytest.approx(0.1 + 0.3 + 0.9 + 2.7, abs=0.1)

    @virtual
    async def test_a_slow_target(self) -> None:
        """A target that answers after 20 seconds has failed, and receives the delivery again."""
        emulator = prepared()
        async with listening(emulator, seconds=21) as target:
            emulator.say("app", "1", "Hi")
            await until(lambda: len(target.received) == 1)
            target.seconds = 19
            [delivery] = await emulator.delivered()

        assert delivery["attempts"] == ["no answer in time", 200]

    @virtual
    async def test_a_slow_target_delays_nobody(self) -> None:
        """A hanging target holds up only the own deliveries, and no operation."""
        emulator = prepared()
        emulator.add_webhook("smooch", {"target": "http://fast/"}, app_id="app")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            host = dict(scope["headers"])[b"host"]
            await (slow if host == b"bot" else fast)(scope, receive, send)

        slow, fast = Target(seconds=3600), Target()
        async with emulator.connect(app):
            began = anyio.current_time()
            for _ in range(50):
                emulator.say("app", "1", "Hi")
            await until(lambda: len(fast.received) == 51)
            assert anyio.current_time() - began < 1
            assert len(slow.received) == webhook_sender.PARALLEL

    @virtual
    async def test_a_target_that_fails(self) -> None:
        """A target that raises has answered 500."""
        emulator = prepared()
        async with listening(emulator, statuses=[RuntimeError("bug")]):
            emulator.say("app", "1", "Hi")
            [delivery] = await emulator.delivered()

        assert delivery["attempts"] == [500, 200]

    @pytest.mark.parametrize(
        ("hook", "expected"),
        [
            ({"target": "http://xn--a/"}, "given up"),
            ({"target": "http://[::1"}, "given up"),
            ({"target": "ftp://x"}, "delivered"),  # in process the scheme doesn't count
            ({"target": "http://x/", "secret": "schlüssel"}, "delivered"),
            ({"target": "http://x/", "secret": "鍵"}, "delivered"),
        ],
    )
    def test_a_strange_webhook(self, hook: dict[str, str], expected: str) -> None:
        """A target that can't be called, or any secret, stops no other delivery."""

        @virtual
        async def scenario() -> None:
            emulator = prepared()
            emulator.add_webhook("sunshine", hook, app_id="app")
            async with listening(emulator):
                emulator.say("app", "1", "Hi")
                deliveries = await emulator.delivered()

            states = {one["target"]: one["state"] for one in deliveries}
            assert states == {"http://bot/": "delivered", hook["target"]: expected}

        scenario()


class TestCounts:
    """Counts of deliveries in the ledger."""

    @virtual
    async def test_failing_and_failed(self) -> None:
        """Deliveries with failed attempts only are failing; without a success they have failed."""
        emulator = prepared()

        def counts() -> dict[str, int]:
            return {**emulator.ledger()["webhooks"]}

        async with listening(emulator, statuses=[503, 200, *[500] * 5, 404]):
            emulator.say("app", "1", "Hi")
            await until(lambda: counts()["attempts"] == 1)
            assert counts() == {"waiting": 1, "failing": 1, "failed": 0, "attempts": 1}
            await emulator.delivered()
            assert counts() == {"waiting": 0, "failing": 0, "failed": 0, "attempts": 2}
            for failed in (1, 2):
                emulator.say("app", "1", "Hi")
                await emulator.delivered()
                assert counts()["failed"] == failed
        emulator.reset()
        assert counts() == {"waiting": 0, "failing": 0, "failed": 0, "attempts": 0}

    @virtual
    async def test_a_lost_answer_is_no_failure(self) -> None:
        """A delivery whose answers count as lost is received: the delivery isn't failing."""
        emulator = prepared(webhook_faults=WebhookFaults(lost=1))
        async with listening(emulator):
            emulator.say("app", "1", "Hi")
            await until(lambda: emulator.ledger()["webhooks"]["attempts"] == 1)
            assert emulator.ledger()["webhooks"]["failing"] == 0
            [delivery] = await emulator.delivered()

        assert delivery["state"] == "given up"
        assert emulator.ledger()["webhooks"]["failed"] == 0


class TestFaults:
    """Faults of webhooks."""

    @virtual
    async def test_twice_and_lost(self) -> None:
        """Deliveries come twice, or again after a lost answer; with the same event id."""
        faults = WebhookFaults(twice=0.5, lost=0.3)
        emulator = prepared(webhook_faults=faults, seed=3)
        async with listening(emulator) as target:
            for _ in range(100):
                emulator.say("app", "1", "Hi")
            deliveries = await emulator.delivered()

        counts = Counter(event["id"] for event in target.events)
        assert len(counts) == 100
        assert {1, 2, 3} <= {*counts.values()}
        lost = [one for one in deliveries if "lost" in one["attempts"]]
        assert lost
        assert all(len(one["attempts"]) > 1 for one in lost)

    @virtual
    async def test_late_and_in_another_order(self) -> None:
        """Delays change the order of arrival; no event is lost."""
        emulator = prepared(webhook_faults=WebhookFaults(late=10), seed=3)
        async with listening(emulator) as target:
            for n in range(30):
                emulator.say("app", "1", str(n))
            await emulator.delivered()

        texts = [int(event["payload"]["message"]["content"]["text"]) for event in target.events]
        assert texts != sorted(texts)
        assert sorted(texts) == [*range(30)]

    @virtual
    async def test_several_events_in_a_delivery(self) -> None:
        """A delivery of v2 has several events, in order; a delivery of v1.1 has one."""
        emulator = prepared(webhook_faults=WebhookFaults(batch=20), seed=3)
        emulator.add_webhook(
            "smooch", {"target": "http://v1/", "triggers": ["message:appUser"]}, app_id="app"
        )
        async with listening(emulator) as target:
            for n in range(60):
                emulator.say("app", "1", str(n))
            deliveries = await emulator.delivered()

        sizes = {"sunshine": set[int](), "smooch": set[int]()}
        for one in deliveries:
            sizes[one["service"]].add(len(one["events"]))
        assert sizes["smooch"] == {1}
        assert max(sizes["sunshine"]) > 10
        v2 = [event for event in target.events if "payload" in event]
        texts = [event["payload"]["message"]["content"]["text"] for event in v2]
        assert texts == [str(n) for n in range(60)]

    def test_the_same_seed_gives_the_same_faults(self) -> None:
        """Faults are drawn by the seed; a reset restarts the faults."""
        found: list[Any] = []

        @virtual
        async def scenario() -> None:
            faults = WebhookFaults(twice=0.5, batch=5)
            emulator = prepared(webhook_faults=faults, seed=7)
            webhook = {"target": "http://bot/", "triggers": ["conversation:message"]}
            for _ in range(2):
                async with listening(emulator):
                    for n in range(40):
                        emulator.say("app", "1", str(n))
                    deliveries = await emulator.delivered()
                found.append([(len(one["events"]), one["attempts"]) for one in deliveries])
                emulator.reset()
                emulator.add("sunshine", {"id": "1"}, app_id="app")
                emulator.add_webhook("sunshine", webhook, app_id="app")

        scenario()
        assert found[0] == found[1]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("twice", 1.1), ("lost", -1), ("late", -1), ("late", float("inf")), ("batch", 0)],
    )
    def test_impossible_faults(self, name: str, value: float) -> None:
        """An impossible fault is refused by name."""
        values: Any = {name: value}
        with pytest.raises(ConfigurationError, match=name):
            WebhookFaults(**values)

    @pytest.mark.parametrize("name", ["webhook_retry", "webhook_timeout"])
    def test_impossible_times(self, name: str) -> None:
        """A time is more than 0."""
        values: Any = {name: 0}
        with pytest.raises(ConfigurationError, match=name):
            Emulator(**values)


class TestBounds:
    """Bounded memory, and an end."""

    @virtual
    async def test_events_over_the_bound_are_dropped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No more than so many events wait; further events are listed as dropped."""
        monkeypatch.setattr(webhook_sender, "MAX_WAITING", 5)
        emulator = prepared()
        async with emulator.connect(Target(seconds=10)):
            for _ in range(8):
                emulator.say("app", "1", "Hi")
            assert [one["state"] for one in emulator.deliveries()] == ["dropped"] * 3
            assert emulator.ledger()["webhooks"]["failed"] == 3
            deliveries = await emulator.delivered()

        assert [one["state"] for one in deliveries] == ["dropped"] * 3 + ["delivered"] * 5

    @virtual
    async def test_the_end_of_a_block_stops_deliveries(self) -> None:
        """At the end of `connect` waiting deliveries are stopped; nobody waits for these."""
        emulator = prepared()
        target = Target(statuses=[503] * 5)
        async with emulator.connect(target):
            emulator.say("app", "1", "Hi")
            await until(lambda: len(target.received) == 1)
        [delivery] = await emulator.delivered()

        assert (delivery["attempts"], delivery["state"]) == ([503], "stopped")

    @pytest.mark.parametrize("seconds", [0, 10])
    def test_a_reset_stops_deliveries(self, seconds: float) -> None:
        """After a reset no earlier event is sent: during a wait, and during an attempt."""

        @virtual
        async def scenario() -> None:
            emulator = prepared()
            target = Target(statuses=[503] * 5, seconds=seconds)
            async with emulator.connect(target):
                emulator.say("app", "1", "Hi")
                await until(lambda: len(target.received) == 1)
                emulator.reset()
                assert await emulator.delivered() == []
                await sleep(1000)
            assert len(target.received) == 1

        scenario()

    @virtual
    async def test_a_reset_during_the_last_attempt(self) -> None:
        """A delivery that ends after a reset isn't listed again."""
        emulator = prepared()
        target = Target(seconds=10)
        async with emulator.connect(target):
            emulator.say("app", "1", "Hi")
            await until(lambda: len(target.received) == 1)
            emulator.reset()
            await sleep(1000)
        assert emulator.deliveries() == []

    @virtual
    async def test_who_stops_waiting(self) -> None:
        """A wait for deliveries may be cancelled; the deliveries go on."""
        emulator = prepared()
        async with listening(emulator, seconds=10) as target:
            emulator.say("app", "1", "Hi")
            with anyio.move_on_after(1):
                await emulator.delivered()
            [delivery] = await emulator.delivered()
        assert delivery["state"] == "delivered"
        assert len(target.received) == 1


class TestSockets:
    """Deliveries from a thread, to a target on a socket."""

    async def test_a_target_on_a_socket(self) -> None:
        """Without an application in process a thread sends to the URL of the target."""
        target = Target()
        with served(target) as url:
            emulator = prepared(f"{url}/hook")
            for _ in range(3):
                emulator.say("app", "1", "Hi")
            deliveries = await emulator.delivered()
            emulator.close()

        assert [one["attempts"] for one in deliveries] == [[200]] * 3
        assert {one.path for one in target.received} == {"/hook"}

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_thread_that_cannot_start(self, caplog: pytest.LogCaptureFixture) -> None:
        """An event waits where no thread can start, and is sent after the next event."""
        target = Target()
        with served(target) as url:
            emulator = prepared(f"{url}/hook")
            with few_descriptors(0):
                emulator.say("app", "1", "Hi")
            emulator.say("app", "1", "Ho")
            deliveries = await emulator.delivered()
            emulator.close()

        assert [one["attempts"] for one in deliveries] == [[200], [200]]
        said = "no webhook is sent before the next event: [Errno 24] Too many open files"
        assert said in caplog.messages

    async def test_a_missing_target(self) -> None:
        """A target that nobody listens on is tried again; after `close` nothing is sent."""
        emulator = prepared(f"http://127.0.0.1:{unused_port()}/", webhook_retry=0.001)
        emulator.say("app", "1", "Hi")
        [delivery] = await emulator.delivered()
        assert delivery["attempts"] == ["ConnectError"] * 5
        assert delivery["state"] == "given up"
        emulator.close()

    @pytest.mark.parametrize("fields", [b"", b"Content-Encoding: gzip\r\n"], ids=["plain", "gzip"])
    async def test_an_endless_answer(self, fields: bytes) -> None:
        """The status is the answer: a body without end costs no memory, and isn't decoded."""

        async def pour(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
            while True:
                await peer.send(bytes(2**16))

        async with serving(pour) as server:
            emulator = prepared(server.url, webhook_timeout=PATIENCE, webhook_retry=0.001)
            emulator.say("app", "1", "Hi")
            [delivery] = await emulator.delivered()
            emulator.close()

        assert delivery["attempts"] == [200]

    async def test_a_cut_answer(self) -> None:
        """An answer that ends too early is no answer; a whole answer keeps the connection."""
        answers = iter([answer(), answer(), answer()[:-1], answer()])

        async def cut_the_third(peer: Peer) -> None:
            sent = answer()
            while sent == answer():
                await peer.request()
                await peer.send(sent := next(answers))

        async with serving(cut_the_third) as server:
            emulator = prepared(server.url, webhook_retry=0.001)
            for _ in range(3):
                emulator.say("app", "1", "Hi")
                deliveries = await emulator.delivered()
            emulator.close()

        assert [one["attempts"] for one in deliveries] == [
            [200],
            [200],
            ["RemoteProtocolError", 200],
        ]
        assert len(server.peers) == 2

    async def test_an_impossible_url(self) -> None:
        """A target that is no URL of HTTP is a failure like any other."""
        emulator = prepared("ftp://x/", webhook_retry=0.001)
        emulator.say("app", "1", "Hi")
        [delivery] = await emulator.delivered()
        assert delivery["attempts"] == ["UnsupportedProtocol"] * 5
        emulator.close()

    async def test_the_end_of_a_server(self) -> None:
        """The end of `serve` ends the sending; a later event starts the sending again."""
        target = Target(statuses=[503] * 5)
        with served(target) as url:
            emulator = prepared(url)
            async with emulator.serve() as base_url, httpx.AsyncClient(timeout=PATIENCE) as client:
                body = {"app_id": "app", "user": "1", "text": "Hi"}
                answer = await client.post(f"{base_url}/_emulator/say", json=body)
                assert answer.status_code == 200
                while not target.received:
                    await client.get(f"{base_url}/_emulator/ledger")
            assert emulator.deliveries()[0]["state"] == "stopped"
            target.statuses = iter(())
            emulator.say("app", "1", "Hi")
            deliveries = await emulator.delivered()
            emulator.close()
            emulator.close()
        assert [one["state"] for one in deliveries] == ["stopped", "delivered"]

    async def test_an_integrations_own_webhook(self) -> None:
        """A webhook that the API creates receives events with the secret of the API's answer."""
        target = Target()
        emulator = Emulator()
        emulator.add("sunshine", {"id": "1"}, app_id="app")
        hook = {"target": "http://bot/", "triggers": ["conversation:message"]}
        async with calling(emulator) as app, emulator.connect(target):
            body = {"type": "custom", "webhooks": [hook]}
            created = (await call(app, "POST", "integrations", 201, json=body))["integration"]
            emulator.say("app", "1", "Hi")
            await emulator.delivered()
            path = f"integrations/{created['id']}/webhooks/{created['webhooks'][0]['id']}"
            await call(app, "DELETE", path)
            emulator.say("app", "1", "Hi")
            await emulator.delivered()

        [received] = target.received
        assert received.headers["x-api-key"] == created["webhooks"][0]["secret"]
