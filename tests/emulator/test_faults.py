import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
import pytest
from support.in_process import calling
from support.patience import PATIENCE
from support.size import sized
from support.virtual import virtual, virtually

from sunshine_async.emulator import DRAWN, Emulator, Mishap
from sunshine_async.errors import ConfigurationError

CONTROL = "http://emulator/_emulator/"


async def outcome(app: httpx.AsyncClient) -> int | str:
    """Return what a create ends in: a status, an exception's name, or that it can't be read."""
    try:
        answer = await app.post("users", json={})
        answer.json()
    except httpx.TransportError as error:
        return type(error).__name__
    except ValueError:
        return "not JSON"
    return answer.status_code


class TestScripted:
    @pytest.mark.parametrize(
        ("mishap", "expected"),
        [
            (Mishap(status=503), ("503 before", 503, 0)),
            (Mishap(status=503, when="after"), ("503 after", 503, 1)),
            (Mishap(status=409, when="after"), ("409 after", 409, 1)),
            (Mishap(status=599), ("599 before", 599, 0)),
            (Mishap(reset=True), ("reset before", "ReadError", 0)),
            (Mishap(reset=True, when="after"), ("reset after", "ReadError", 1)),
            (Mishap(cut=True), ("cut after", "RemoteProtocolError", 1)),
            (Mishap(garbled=True), ("garbled after", "not JSON", 1)),
            (Mishap(garbled=True, when="before"), ("garbled before", "not JSON", 0)),
            (Mishap(delay=0.001), ("delay before", 201, 1)),
            (Mishap(delay=0.001, when="after"), ("delay after", 201, 1)),
            (Mishap(status=500, delay=0.001), ("500 before", 500, 0)),
            (httpx.ReadTimeout("x"), ("ReadTimeout", "ReadTimeout", 0)),
            (httpx.ConnectError("x"), ("ConnectError", "ConnectError", 0)),
        ],
    )
    @virtual
    async def test_mishap_hits_before_or_after_the_effect(
        self,
        app: httpx.AsyncClient,
        emulator: Emulator,
        mishap: Mishap | httpx.TransportError,
        expected: tuple[str, int | str, int],
    ) -> None:
        """Each mishap ends a call in its way, with the effect or without, and is in the ledger."""
        name, ends_in, users = expected
        emulator.faults += [mishap]

        assert await outcome(app) == ends_in

        ledger = emulator.ledger()
        assert ledger["faults"] == {name: 1}
        assert ledger["sunshine"]["users"] == users
        assert emulator.requests == 1
        assert emulator.faults == []
        assert await outcome(app) == 201

    async def test_error_looks_like_one_of_the_service(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """A scripted status has a body in the shape of the service's errors."""
        emulator.faults = [Mishap(status=status) for status in (404, 503, 520)]

        errors = [(await app.get("users/jane")).json() for _ in range(3)]

        assert errors == [
            {"errors": [{"code": "not_found", "title": "Resource not found"}]},
            {"errors": [{"code": "service_unavailable", "title": "Service Unavailable"}]},
            {"errors": [{"code": "error", "title": "Error"}]},
        ]

    async def test_garbled_answer_has_the_status_of_success(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """A garbled answer keeps its status, with the effect or without."""
        emulator.faults += [Mishap(garbled=True), Mishap(garbled=True, when="before", times=2)]

        assert [(await app.post("users", json={})).status_code for _ in range(2)] == [201, 201]
        assert (await app.get("nowhere")).status_code == 404

    async def test_hits_as_often_as_it_says(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """A mishap hits *times* calls, and the next one in the list comes after it."""
        emulator.faults += [Mishap(status=503, times=2), Mishap(status=500)]

        assert [await outcome(app) for _ in range(4)] == [503, 503, 500, 201]

    @pytest.mark.parametrize("fault", [503, httpx.ReadTimeout, ValueError("x")])
    async def test_a_fault_of_another_type_fails_the_test(
        self, app: httpx.AsyncClient, emulator: Emulator, fault: Any
    ) -> None:
        """The type that was scripted wrongly is named, and hits one call."""
        emulator.faults += [fault]

        with pytest.raises(AssertionError, match=f"has a {type(fault).__name__}: script a Mishap"):
            await app.get("users/jane")
        assert (await app.get("users/jane")).status_code == 404

    async def test_hits_only_what_it_is_for(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """A mishap for a method or an operation waits for such a call."""
        emulator.faults += [
            Mishap(status=500, method="DELETE"),
            Mishap(status=502, operation="GetUser"),
        ]

        assert await outcome(app) == 201
        assert (await app.get("users/jane")).status_code == 502
        assert (await app.delete("users/jane")).status_code == 500
        assert (await app.get("http://emulator/nothing")).status_code == 404

    async def test_retry_after_has_two_forms(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """The header is whole seconds, or a date that many seconds ahead, or not there."""
        emulator.faults += [
            Mishap(status=429, retry_after=1.5),
            Mishap(status=429, retry_after=60, retry_after_as="date"),
            Mishap(status=429),
        ]

        before = datetime.now(UTC).replace(microsecond=0)

        headers = [(await app.get("users/jane")).headers for _ in range(3)]

        assert headers[0]["retry-after"] == "2"
        answered_at = parsedate_to_datetime(headers[1]["retry-after"]) - timedelta(seconds=60)
        assert before <= answered_at <= datetime.now(UTC)
        assert "retry-after" not in headers[2]
        assert emulator.ledger()["throttled"] == 3

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_read_timeout_is_kept_in_process(self, emulator: Emulator, backend: str) -> None:
        """A delay past the client's read timeout is its timeout, before or after the effect."""
        emulator.faults += [Mishap(delay=9, when="after"), Mishap(delay=9)]

        async def scenario() -> None:
            async with calling(emulator, timeout=0.005) as app:
                assert await outcome(app) == "ReadTimeout"
                assert await outcome(app) == "ReadTimeout"

        virtually(scenario, backend)

        assert emulator.ledger()["sunshine"]["users"] == 1

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({}, "one of status, reset, cut, garbled and delay"),
            ({"status": 500, "reset": True}, "one of status, reset, cut and garbled"),
            ({"status": 199}, "status: 200 to 599"),
            ({"status": 600}, "status: 200 to 599"),
            ({"status": 0, "delay": 1}, "status: 200 to 599"),
            ({"status": 0, "reset": True}, "one of status, reset"),
            ({"reset": True, "headers": {"x": "y"}}, "headers: they go with a status"),
            ({"status": 200, "headers": {"x y": "z"}}, "headers: names and values"),
            ({"status": 200, "headers": {"x": "a\r\nb: c"}}, "headers: names and values"),
            ({"status": 200, "headers": {"x": 5}}, "headers: names and values"),
            ({"status": 200, "headers": {"x": ["y", None]}}, "headers: names and values"),
            ({"status": 200, "headers": {"Content-Length": "5"}}, "headers: names and values"),
            ({"reset": True, "body": "x"}, "body: it goes with a status"),
            ({"status": 204, "body": "x"}, "body: a 204 has none"),
            ({"status": 500, "method": "post"}, "method: one of DELETE, GET, PATCH, POST, PUT"),
            ({"status": 500, "operation": "CreatUser"}, "operation: there is no CreatUser"),
            (
                {"status": 500, "operation": "CreateUser", "method": "GET"},
                "method: CreateUser is a POST",
            ),
            ({"delay": -1}, "delay: seconds"),
            ({"delay": float("nan")}, "delay: seconds"),
            ({"reset": True, "when": "now"}, "when:"),
            ({"cut": True, "when": "before"}, "when:"),
            ({"reset": True, "times": 0}, "times: 1 or more"),
            ({"reset": True, "retry_after": 1}, "retry_after: it goes with a status"),
            ({"status": 429, "retry_after": -1}, "retry_after: seconds"),
            ({"status": 429, "retry_after_as": "weeks"}, "retry_after_as:"),
            (
                {"status": 429, "retry_after": 1e12, "retry_after_as": "date"},
                "retry_after: a date is 1000000000 seconds",
            ),
        ],
    )
    def test_mishap_that_cannot_be_is_refused(self, options: dict[str, Any], text: str) -> None:
        """What makes no sense is refused, naming the field."""
        with pytest.raises(ConfigurationError, match=text):
            Mishap(**options)


async def answered(app: httpx.AsyncClient) -> httpx.Response:
    """Return the answer of a create, which isn't followed anywhere."""
    return await app.post("users", json={"externalId": "jane"})


class TestStatuses:
    """Every status that HTTP has for an answer can be scripted."""

    @pytest.mark.parametrize("when", ["before", "after"])
    async def test_every_status_is_answered_with_the_effect_or_without(
        self, app: httpx.AsyncClient, emulator: Emulator, when: str
    ) -> None:
        """From 200 to 599 the answer has the scripted status; only *after* has the effect."""
        for status in range(200, 600, sized(1, 7)):
            fault = {"status": status, "times": 1, "when": when}
            assert (await app.post(CONTROL + "faults", json=fault)).status_code == 204

            assert (await answered(app)).status_code == status

            assert emulator.ledger()["sunshine"]["users"] == (when == "after")
            assert emulator.ledger()["faults"] == {f"{status} {when}": 1}
            assert (await app.get("users/jane")).is_success == (when == "after")
            emulator.reset()

    async def test_a_status_has_the_body_of_its_kind(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """Below 300 it is the operation's, from 300 on an error's; 204, 205 and 304 have none."""
        codes = (202, 204, 205, 304, 307, 524)
        emulator.faults = [Mishap(status=code, when="after", method="POST") for code in codes]
        emulator.faults += [Mishap(status=200, method="POST")]

        answers = []
        for _ in codes:
            answers.append(await answered(app))
            await app.delete("users/jane")

        assert answers[0].json()["user"]["externalId"] == "jane"
        assert [one.content for one in answers[1:4]] == [b"", b"", b""]
        assert [one.json()["errors"][0]["title"] for one in answers[4:]] == [
            "Temporary Redirect",
            "Error",
        ]
        assert (await answered(app)).json() == {}

    async def test_a_redirect_leads_elsewhere(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """A 3xx has a Location: on another host, or the scripted one."""
        emulator.faults = [
            Mishap(status=308),
            Mishap(status=301, headers={"Location": "/v2/other"}),
        ]

        locations = [(await answered(app)).headers.get_list("location") for _ in range(2)]

        assert locations == [["https://elsewhere.example/v2/apps/app/users"], ["/v2/other"]]

    async def test_headers_and_body_are_literal(
        self, app: httpx.AsyncClient, emulator: Emulator
    ) -> None:
        """What is scripted literally is sent so, in the place of the usual headers and body."""
        fault = {
            "status": 503,
            "headers": {
                "Content-Type": "text/html; charset=utf-8",
                "Retry-After": ["4.0", "5"],
                "Content-Encoding": "aws-chunked",
            },
            "body": "\ufeff<b>é</b>",
            "retry_after": 1,
        }
        await app.post(CONTROL + "faults", json=fault)
        fault = {"status": 201, "when": "after", "headers": {"X": "y"}}
        await app.post(CONTROL + "faults", json=fault)

        lost, done = [await answered(app) for _ in range(2)]

        assert lost.content == "\ufeff<b>é</b>".encode()
        assert lost.headers.get_list("retry-after") == ["1", "4.0", "5"]
        assert lost.headers.get_list("content-type") == ["text/html; charset=utf-8"]
        assert lost.headers["content-encoding"] == "aws-chunked"
        assert (done.headers["x"], done.json()["user"]["externalId"]) == ("y", "jane")

    def test_statuses_on_a_socket(self, emulator: Emulator) -> None:
        """On a socket each status is a whole HTTP answer, and the connection stays of use."""
        with (
            emulator.serve() as base_url,
            httpx.Client(base_url=base_url, timeout=PATIENCE) as client,
        ):
            client.headers["authorization"] = "Bearer x"
            for status in (*range(200, 310), 407, 418, 499, 524, 599):
                emulator.faults = [Mishap(status=status, when="after", headers={"x": ["1", "2"]})]

                answer = client.post("/v2/apps/app/users", json={})

                assert answer.status_code == status
                assert answer.headers.get_list("x") == ["1", "2"]
                assert client.get("/v2/apps/app/users/nobody").status_code == 404


class TestOverHttp:
    async def test_fault_is_scripted(self, app: httpx.AsyncClient, emulator: Emulator) -> None:
        """A fault posted as JSON is a mishap to come."""
        answer = await app.post(
            CONTROL + "faults",
            json={
                "status": 503,
                "times": 3,
                "when": "after",
                "delay": 1,
                "retry_after": 0.5,
                "retry_after_as": "date",
                "method": "POST",
                "operation": "CreateUser",
            },
        )
        await app.post(CONTROL + "faults", json={"reset": True, "when": "after"})

        assert (answer.status_code, answer.content) == (204, b"")
        assert emulator.faults == [
            Mishap(
                status=503,
                times=3,
                when="after",
                delay=1,
                retry_after=0.5,
                retry_after_as="date",
                method="POST",
                operation="CreateUser",
            ),
            Mishap(reset=True, when="after"),
        ]
        assert emulator.requests == 0

    @pytest.mark.parametrize(
        ("content", "text"),
        [
            (b"{", "end of data"),
            (b"[]", "the body should be an object"),
            (b'{"statuss": 503}', "statuss is not known"),
            (b'{"status": "503"}', "status should be an integer"),
            (b'{"status": 503, "times": true}', "times should be an integer"),
            (b'{"status": 503, "times": 0}', "times: 1 or more"),
            (b'{"status": 503, "when": "later"}', 'when: "before" or "after"'),
            (b'{"status": 503, "headers": []}', "headers should be an object"),
            (b'{"status": 503, "body": {}}', "body should be a string"),
            (b'{"status": 99}', "status: 200 to 599"),
            (b'{"status": null}', "status should be an integer"),
            (b'{"status": 524.0}', "status should be an integer"),
            (b'{"status": 500, "operation": "getUser"}', "operation: there is no getUser"),
            (b"\xff", "a byte that isn't UTF-8, line 1, column 1"),
            (b'{"status": 700}', "status: 200 to 599"),
            (b"{}", "one of status"),
        ],
    )
    async def test_fault_that_cannot_be_is_refused(
        self, app: httpx.AsyncClient, emulator: Emulator, content: bytes, text: str
    ) -> None:
        """An unknown key or a wrong value is a 400 that names it."""
        answer = await app.post(CONTROL + "faults", content=content)

        assert answer.status_code == 400
        assert text in answer.json()["message"]
        assert emulator.faults == []


class TestDrawn:
    @pytest.mark.slow
    async def test_draws_are_as_likely_as_they_should_be(self) -> None:
        """Each of the usual ways comes about as often as the others, with *fail* in all."""
        emulator = Emulator(fail=0.6, seed=1)
        async with calling(emulator) as app:
            outcomes = Counter([await outcome(app) for _ in range(1000)])

        ledger = emulator.ledger()
        assert set(ledger["faults"]) == {str(mishap) for mishap in DRAWN}
        assert all(60 < times < 140 for times in ledger["faults"].values())
        assert outcomes[201] + sum(ledger["faults"].values()) == 1000
        lost = sum(ledger["faults"][name] for name in ("503 after", "reset after", "cut after"))
        assert ledger["sunshine"]["users"] == outcomes[201] + lost
        assert ledger["throttled"] == outcomes[429] == ledger["faults"]["429 before"]

    async def test_same_seed_draws_the_same(self) -> None:
        """What is drawn depends on the seed alone; a reset starts it again."""
        emulator, other = Emulator(fail=0.5, seed=7), Emulator(fail=0.5, seed=7)
        async with calling(emulator) as app, calling(other) as other_app:
            first = [await outcome(app) for _ in range(50)]
            second = [await outcome(other_app) for _ in range(50)]
            emulator.reset()
            third = [await outcome(app) for _ in range(50)]

        assert first == second == third

    async def test_odds_are_exact(self) -> None:
        """Each way can have a probability, and a way for one operation hits no other."""
        emulator = Emulator(
            odds={Mishap(status=500): 0.5, Mishap(status=502, operation="GetUser"): 0.5}, seed=1
        )
        async with calling(emulator) as app:
            outcomes = {await outcome(app) for _ in range(50)}
            statuses = {(await app.get("users/jane")).status_code for _ in range(50)}

        assert outcomes == {201, 500}
        assert statuses == {500, 502}

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"fail": 1.5}, "fail=1.5: a probability"),
            ({"latency": -1}, "latency=-1: seconds"),
            ({"rate": 0}, "rate=0: requests a second"),
            ({"odds": {Mishap(status=500): -0.1}}, "odds:"),
            ({"odds": {Mishap(status=500): float("nan")}}, "odds:"),
            ({"odds": {Mishap(status=500): 0.6}, "fail": 0.6}, "odds:"),
        ],
    )
    def test_number_that_cannot_work_is_refused(self, options: dict[str, Any], text: str) -> None:
        """A setting that can't work is named."""
        with pytest.raises(ConfigurationError, match=re.escape(text)):
            Emulator(**options)


class TestPace:
    async def test_over_the_rate_is_throttled(self) -> None:
        """Over the rate, and a burst of a tenth of a second's, the answer is a 429."""
        now = 0.0
        emulator = Emulator(rate=20, clock=lambda: now)
        async with calling(emulator) as app:
            at_once = [await outcome(app) for _ in range(4)]
            now = 0.05
            later = [await outcome(app) for _ in range(2)]

        assert at_once == [201, 201, 429, 429]
        assert later == [201, 429]
        ledger = emulator.ledger()
        assert (ledger["sunshine"]["users"], ledger["throttled"]) == (3, 3)
        assert ledger["faults"] == {}

    @pytest.mark.parametrize(("rate", "seconds"), [(10, "1"), (0.25, "4")])
    async def test_throttled_caller_is_told_when_to_come_back(
        self, rate: float, seconds: str
    ) -> None:
        """A 429 over the rate says after how many seconds there is room again."""
        async with calling(Emulator(rate=rate, clock=lambda: 0.0)) as app:
            await app.post("users", json={})
            answer = await app.post("users", json={})

        assert answer.status_code == 429
        assert answer.headers["retry-after"] == seconds
        assert answer.json() == {
            "errors": [{"code": "too_many_requests", "title": "Too Many Requests"}]
        }

    @virtual
    async def test_answers_are_held_after_the_effect(self) -> None:
        """With a latency the effect is there before the answer is."""
        emulator = Emulator(latency=9)
        async with calling(emulator, timeout=0.005) as app:
            assert await outcome(app) == "ReadTimeout"

        assert emulator.ledger()["sunshine"]["users"] == 1

    @virtual
    async def test_latency_ends(self) -> None:
        """The answer comes when its latency is over."""
        async with calling(Emulator(latency=0.001)) as app:
            assert await outcome(app) == 201


async def test_body_is_json_as_orjson_reads_it(app: httpx.AsyncClient) -> None:
    """What goes out is JSON to the strictest reader."""
    answer = await app.post("users", json={"profile": {"givenName": "\u2028é😀"}})

    assert orjson.loads(answer.content)["user"]["profile"] == {"givenName": "\u2028é😀"}
