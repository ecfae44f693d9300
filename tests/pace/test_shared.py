"""One pace per credential: one pause for all, persons before batches, no storm and no lost row."""

import pickle
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from support.size import sized
from support.virtual import sleep, virtual_on_trio

from sunshine_async import (
    ApiToken,
    BasicAuth,
    BearerAuth,
    ConnectError,
    DixaClient,
    JwtAuth,
    Lane,
    Pace,
    RateLimitError,
    Retry,
    ServerError,
    SmoochClient,
    SunshineClient,
    SunshineError,
    bulk,
)
from sunshine_async._pace import waiting
from sunshine_async._pace.waiting import leave, pace_of
from sunshine_async.emulator import Emulator
from sunshine_async.sunshine import UserCreateBody

KEY = BasicAuth("key", "secret")


class Watched(httpx.AsyncBaseTransport):
    """An emulator, 50 ms away, that takes down when each request came and how many were there."""

    def __init__(self, emulator: Emulator) -> None:
        self.inner = emulator.transport()
        self.came: list[float] = []
        self.under_way = 0
        self.most = 0
        """The most that were under way at once since it was set to 0."""
        self.status: int | None = None
        """The answer to every request, unless the emulator answers."""
        self.answer: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass *request* on after a while."""
        self.came.append(anyio.current_time())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await sleep(0.05)
            if self.status is not None:
                return httpx.Response(self.status, headers=self.answer)
            return await self.inner.handle_async_request(request)
        finally:
            self.under_way -= 1


@asynccontextmanager
async def watched(
    kind: type[Watched] = Watched, **options: Any
) -> AsyncGenerator[tuple[SunshineClient, Watched]]:
    """Give a client of an emulator, and the transport between, of a *kind*."""
    way = kind(Emulator(clock=anyio.current_time))
    async with SunshineClient("app", auth=KEY, transport=way, **options) as client:
        yield client, way


def bodies(count: int) -> list[UserCreateBody]:
    """Return users with keys of their own."""
    return [UserCreateBody(external_id=f"user-{n}") for n in range(count)]


async def created(client: SunshineClient, count: int, concurrency: int, done: list[Any]) -> None:
    """Create users as a batch, and put what became of them in *done*."""
    async with client.users.create_many(bodies(count), concurrency=concurrency) as outcomes:
        done.extend([one async for one in outcomes])


class TestSharing:
    """Clients that share a pace, and clients that don't."""

    def test_the_same_credentials_share(self) -> None:
        """Clients of one key and base URL share a pace, whatever the service and the scheme."""
        one = SunshineClient("app", auth=BasicAuth("k", "s"))
        others = [
            SunshineClient("other", auth=BasicAuth("k", "s")),
            SunshineClient("app", auth=JwtAuth("k", "s")),
            SunshineClient("app", auth=JwtAuth("k", "the next secret of the key")),
            SmoochClient("app", auth=BasicAuth("k", "s")),
            one.with_options(timeout=1),
        ]

        assert all(other.pace is one.pace for other in others)

    def test_others_do_not(self) -> None:
        """Another key, another address or a pace of its own: nothing is shared."""
        one = SunshineClient("app", auth=BasicAuth("k", "s"))
        own = Pace(rate=3)
        others = [
            SunshineClient("app", auth=BasicAuth("l", "s")),
            SunshineClient("app", auth=BasicAuth("k", "s"), base_url="https://x.example.org"),
            SunshineClient("app", auth=BasicAuth("k", "s"), pace=own),
            DixaClient(auth=ApiToken("k")),
            SunshineClient("app", auth=BearerAuth("k")),
        ]

        assert all(other.pace is not one.pace for other in others)
        assert others[2].pace is own

    def test_a_token_that_is_brought_is_its_own(self) -> None:
        """A function that brings tokens is shared by who shares the `BearerAuth` that calls it."""

        async def bring() -> str:
            return "token"

        auth = BearerAuth(bring)
        one = SunshineClient("app", auth=auth)

        assert SunshineClient("app", auth=auth).pace is one.pace
        assert SunshineClient("app", auth=BearerAuth(bring)).pace is not one.pace

    async def test_in_tests_a_pace_ends_with_its_clients(self) -> None:
        """The lessons of a mocked service aren't known to later clients."""
        transport = Emulator().transport()
        async with SunshineClient("app", auth=KEY, transport=transport) as one:
            before = one.pace
        async with SunshineClient("app", auth=KEY, transport=transport) as other:
            assert other.pace is not before

    def test_what_a_transport_says_holds_in_its_loop(self) -> None:
        """Clients with a transport share nothing with those of another event loop, or of none."""
        transport = Emulator().transport()
        clients = []

        async def make() -> None:
            clients.extend(SunshineClient("app", auth=KEY, transport=transport) for _ in range(2))

        for _ in range(2):
            anyio.run(make)
        clients += [SunshineClient("app", auth=KEY, transport=transport) for _ in range(2)]

        assert len({id(client.pace) for client in clients}) == 4

    @pytest.mark.parametrize("keep", [True, False])
    def test_a_pace_is_kept_for_who_comes_next(self, keep: bool) -> None:  # noqa: FBT001
        """Clients that are made and closed for each call share one; not where httpx is mocked."""
        url = f"https://{keep}.example.org"
        first, second = Emulator(), Emulator()
        pace = pace_of(first, url, "k", Pace, keep=keep, in_loop=False)
        leave(first)

        assert (pace_of(second, url, "k", Pace, keep=keep, in_loop=False) is pace) == keep
        leave(second)

    def test_only_so_many_are_kept(self) -> None:
        """A process with a credential for each of its customers doesn't grow with them."""
        client = Emulator()

        def pace(number: int) -> Pace:
            url = "https://many.example.org"
            made = pace_of(client, url, f"{number}", Pace, keep=True, in_loop=False)
            leave(client)
            return made

        paces = [pace(number) for number in range(100)]

        assert pace(99) is paces[99]
        assert pace(50) is paces[50]
        assert pace(0) is not paces[0]

    def test_clients_that_nobody_closes_leave_nothing(self) -> None:
        """The paces of clients that are gone without a close are forgotten like any other."""
        registry, open_client = waiting._Registry(), Emulator()
        kept = registry.join(open_client, b"open", Pace, keep=True)
        for number in range(1000):
            registry.join(Emulator(), b"%d" % number, Pace, keep=True)

        assert len(registry.used) <= 3
        assert len(registry.left) == 64
        assert registry.join(Emulator(), b"open", Pace, keep=False) is kept

    def test_no_client_takes_longer_for_the_clients_before(self) -> None:
        """A new client, and a closed one, look at a few paces of a thousand open clients."""
        looks = Counter[str]()

        class Counted(waiting._SharedPace):
            def __getattribute__(self, name: str) -> Any:
                looks[name] += name == "clients"
                return super().__getattribute__(name)

        registry, client = waiting._Registry(), Emulator()
        for number in range(1000):
            shared = Counted(b"%d" % number, Pace())
            shared.clients.add(client)
            registry.keep(shared)
        looks.clear()
        newcomer = Emulator()
        registry.join(newcomer, b"new", Pace, keep=True)
        leave(newcomer)

        assert 0 < looks["clients"] < 10
        assert (len(registry.used), len(registry.left)) == (1000, 1)


class TestLanes:
    """Order of interactive calls and batches."""

    @virtual_on_trio
    async def test_bulk_calls_are_batches(self) -> None:
        """Calls of `bulk` are in the batch lane, all other calls are interactive."""
        async with watched() as (client, _):
            seen = []
            async with (
                anyio.create_task_group() as tasks,
                bulk.run(client.users.create, bodies(8), concurrency=8) as outcomes,
            ):
                tasks.start_soon(client.users.list_by_email, "a@example.org")
                await sleep(0.01)
                seen.append(dict(client.pace.snapshot().in_flight))
                assert len([one async for one in outcomes]) == 8
            assert seen == [{Lane.BATCH: 8, Lane.INTERACTIVE: 1}]

    @virtual_on_trio
    async def test_a_view_says_otherwise(self) -> None:
        """`with_options(lane=...)` puts a client's calls in a lane, whoever makes them."""
        async with watched() as (client, _):
            first = client.with_options(lane=Lane.INTERACTIVE)
            seen = []
            async with bulk.run(first.users.create, bodies(4), concurrency=4) as outcomes:
                await sleep(0.01)
                seen.append(client.pace.snapshot().in_flight[Lane.BATCH])
                assert len([one async for one in outcomes]) == 4
            assert seen == [0]

    @virtual_on_trio
    async def test_a_person_does_not_wait_behind_a_batch(self) -> None:
        """With 64 rows at the limit of 10 a second, a person's call goes out within 0.1 s."""
        async with watched(pace=Pace(rate=10)) as (client, _), anyio.create_task_group() as tasks:
            tasks.start_soon(created, client, 200, 64, [])
            await sleep(3.333)
            for _ in range(5):
                began = anyio.current_time()
                assert await client.users.list_by_email("a@example.org") == []
                assert anyio.current_time() - began <= 0.1 + 0.05 + 1e-6
                await sleep(0.777)

    @virtual_on_trio
    async def test_nor_for_a_connection(self) -> None:
        """With all of its connections wanted by a batch, a person's call finds one free."""
        async with (
            watched(max_connections=10) as (client, way),
            client.users.create_many(bodies(100), concurrency=64) as outcomes,
        ):
            await sleep(0.01)
            assert way.under_way == 9
            await client.users.list_by_email("a@example.org")
            assert anyio.current_time() - way.came[0] == pytest.approx(0.06)
            assert len([one async for one in outcomes]) == 100

    @virtual_on_trio
    async def test_nor_behind_a_batch_that_waits(self) -> None:
        """Rows that wait for a service that is gone leave a connection free, if there are two."""

        class Halved(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.method == "POST":
                    await sleep(0.05)
                    return httpx.Response(503, headers={"Retry-After": "100"})
                return await super().handle_async_request(request)

        async with (
            watched(Halved, max_connections=2) as (client, _),
            client.users.create_many(bodies(64), concurrency=64),
        ):
            await sleep(5)
            began = anyio.current_time()
            assert await client.users.list_by_email("a@example.org") == []
            assert anyio.current_time() - began < 0.1


class TestThrottled:
    """429."""

    @virtual_on_trio
    async def test_one_pause_for_all(self) -> None:
        """A `Retry-After` of 30 s on one of 64: nothing is sent for 30 s, then it goes on slowly."""
        async with watched() as (client, way):
            done: list[Any] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(created, client, 400, 64, done)
                await sleep(0.16)
                way.status, way.answer = 429, {"Retry-After": "30"}
                await sleep(0.05)
                way.status = None
                told = anyio.current_time()
            assert all(isinstance(one, bulk.Done) for one in done)
            later = [at - told for at in way.came if at > told]
            assert min(later) >= 29.9
            assert len([at for at in later if at < min(later) + 0.01]) <= 64

    @virtual_on_trio
    async def test_a_refusal_is_no_try(self) -> None:
        """A service that throttles for ever ends a call when its deadline has come, not before."""
        async with watched() as (client, way):
            way.status, way.answer = 429, {"Retry-After": "5"}
            began = anyio.current_time()
            with pytest.raises(RateLimitError) as caught:
                await client.users.get("a")
            assert 110 < anyio.current_time() - began <= 120
            assert caught.value.attempts == len(way.came) > 5
            assert not caught.value.retry_budget_spent

    @virtual_on_trio
    async def test_a_call_that_was_refused_often_has_its_tries_left(self) -> None:
        """After ten refusals a call still has all its attempts, and is answered."""
        async with watched() as (client, way):
            way.status = 429
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.request, "GET", "/v2/apps/{app_id}/integrations")
                await sleep(3)
                assert len(way.came) > 10
                way.status = 200

    @virtual_on_trio
    @pytest.mark.parametrize("paused", ["before it began", "while it waited"])
    async def test_a_pause_past_the_deadline_ends_a_call_at_once(self, paused: str) -> None:
        """In a pause of 20 s a call with 3 s fails at once: nothing is sent, and the error says so."""
        async with watched() as (whole, way):
            way.status, way.answer = 429, {"Retry-After": "20"}
            pace = None if paused == "before it began" else Pace(max_in_flight=1)
            client = whole.with_options(pace=pace)
            quick = client.with_options(retry=Retry(deadline=3))

            async def refused() -> None:
                with pytest.raises(RateLimitError):
                    await client.with_options(retry=Retry(max_attempts=1)).users.get("a")

            async def call() -> None:
                began = anyio.current_time()
                with pytest.raises(RateLimitError, match=r"not sent: .* paused for") as caught:
                    await quick.users.get("b")
                assert anyio.current_time() - began < 0.1
                error = caught.value
                assert (error.attempts, error.maybe_applied) == (0, False)
                assert error.retry_after == pytest.approx(20, abs=0.1)
                again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
                assert again.retry_after == error.retry_after

            if paused == "before it began":
                await refused()
                await call()
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(refused)
                    await sleep(0.01)
                    tasks.start_soon(call)
            assert len(way.came) == 1

    @virtual_on_trio
    async def test_a_deadline_bounds_the_wait_for_a_start(self) -> None:
        """A call that its pace or the connections let start too late fails then, and sent nothing."""
        async with watched() as (client, way):
            way.status = 200
            slow = client.with_options(pace=Pace(rate=0.1), retry=Retry(deadline=2))
            await slow.request("GET", "/v2/apps/{app_id}/integrations")
            began = anyio.current_time()
            with pytest.raises(RateLimitError, match="the deadline came before") as caught:
                await slow.request("GET", "/v2/apps/{app_id}/integrations")
            assert caught.value.attempts == 0
            assert caught.value.retry_after is None
            assert anyio.current_time() - began == pytest.approx(2)

    @virtual_on_trio
    async def test_waiting_for_a_connection_is_bounded(self) -> None:
        """Where no connection becomes free before the deadline: a `ConnectError`, nothing sent."""

        class Hanging(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await sleep(20)
                return httpx.Response(200)

        way = Hanging(Emulator())
        client = SunshineClient("app", auth=KEY, transport=way, max_connections=1)
        quick = client.with_options(retry=Retry(deadline=3))
        async with client, anyio.create_task_group() as tasks:
            tasks.start_soon(client.request, "GET", "/v2/apps/{app_id}/integrations")
            await sleep(0.01)
            with pytest.raises(
                ConnectError,
                match="no connection became free before the deadline: see max_connections=",
            ) as caught:
                await quick.users.get("b")
            assert (caught.value.attempts, caught.value.maybe_applied) == (0, False)
            assert anyio.current_time() < 3.1

    @virtual_on_trio
    async def test_a_batch_that_is_only_refused_has_an_end(self) -> None:
        """After *max_outage* seconds without an accepted call every row fails, the last ones unsent."""
        async with watched(pace=Pace(max_outage=100)) as (client, way):
            way.status, way.answer = 429, {"Retry-After": "7"}
            outcomes = await bulk.collect(client.users.create, bodies(200), concurrency=8)
        errors = [one.error for one in outcomes if isinstance(one, bulk.Failed)]
        assert len(errors) == 200
        assert all(isinstance(error, RateLimitError) for error in errors)
        assert 100 <= anyio.current_time() < 120
        assert "refused all calls for too long" in str(errors[-1])

    @virtual_on_trio
    async def test_a_call_that_is_always_refused_blocks_no_other(self) -> None:
        """One row that is refused each time stands behind the others: they are done meanwhile."""

        class Choosy(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if b'"user-3"' in request.content:
                    await sleep(0.05)
                    return httpx.Response(429)
                return await super().handle_async_request(request)

        async with watched(Choosy, pace=Pace(max_outage=300)) as (client, _):
            done: list[float] = []
            async with client.users.create_many(bodies(400), concurrency=8) as outcomes:
                async for one in outcomes:
                    if isinstance(one, bulk.Done):
                        done.append(anyio.current_time())
                    else:
                        assert one.index == 3
        assert len(done) == 399
        assert max(done) < 120


class TestGone:
    """Every answer is 503."""

    @virtual_on_trio
    @pytest.mark.slow
    async def test_persons_get_their_error_at_once(self) -> None:
        """In an outage of 10 minutes there are at most 1.1 requests per call, and the error says why."""
        async with watched() as (client, way):
            way.status = 503
            until = anyio.current_time() + 600
            errors: list[SunshineError] = []

            async def call() -> None:
                while anyio.current_time() < until:
                    with pytest.raises(ServerError) as caught:
                        await client.users.get("a")
                    errors.append(caught.value)
                    await sleep(5)

            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(call)
            assert len(way.came) <= 1.1 * len(errors)
            spent = [error for error in errors if error.retry_budget_spent]
            assert len(spent) > 0.9 * len(errors)
            assert "Not tried again: too many calls" in str(spent[0])
            again = pickle.loads(pickle.dumps(spent[0]))  # noqa: S301 - our own
            assert again.retry_budget_spent

    @virtual_on_trio
    @pytest.mark.parametrize("concurrency", [1, 4, 64])
    async def test_a_batch_waits(self, concurrency: int) -> None:
        """In an outage of 10 minutes no row fails, and one probe at a time goes out, ever less often."""
        async with watched() as (client, way):
            rows = 5 * concurrency
            done: list[Any] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(created, client, rows, concurrency, done)
                await sleep(0.01)
                way.status = 503
                await sleep(60)
                assert client.pace.snapshot().held
                way.most, before = 0, len(way.came)
                await sleep(540)
                assert way.most == 1
                assert len(way.came) - before <= 540 / 30 + 2
                way.status = None
            assert len(done) == rows
            assert all(isinstance(one, bulk.Done) for one in done)

    @virtual_on_trio
    async def test_not_for_ever(self) -> None:
        """After a quarter of an hour without an answer the rows fail, each with the last error."""
        async with watched() as (client, way):
            way.status = 503
            outcomes = await bulk.collect(client.users.create, bodies(20), concurrency=8)
            errors = [one.error for one in outcomes if not isinstance(one, bulk.Done)]
            assert len(errors) == 20
            assert all(isinstance(error, ServerError) for error in errors)
            assert anyio.current_time() - way.came[0] >= 900

    @virtual_on_trio
    async def test_one_bad_row_holds_nobody_up(self) -> None:
        """A row that meets a 500 each time fails by itself, while others are done."""

        async def create(body: UserCreateBody) -> Any:
            if body.external_id == "user-3":
                return await client.request("GET", "/v2/apps/{app_id}/broken")
            return await client.users.create(body)

        class Broken(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                if request.url.path.endswith("/broken"):
                    await sleep(0.05)
                    return httpx.Response(500)
                return await super().handle_async_request(request)

        async with watched(Broken) as (client, _):
            outcomes = await bulk.collect(create, bodies(400), concurrency=8)
        assert [one.index for one in outcomes if not isinstance(one, bulk.Done)] == [3]

    @virtual_on_trio
    async def test_rows_that_fail_among_others_that_do_not(self) -> None:
        """Rows that meet a 503 each time, while others are done, fail by themselves, soon."""
        rows = sized(4000, 600)
        bad = range(0, rows // 2, rows // 6)

        class Choosy(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await sleep(0.2)  # others are answered meanwhile
                if any(f'"user-{n}"'.encode() in request.content for n in bad):
                    return httpx.Response(503)
                return await super().handle_async_request(request)

        async with watched(Choosy) as (client, _):
            began = anyio.current_time()
            outcomes = await bulk.collect(client.users.create, bodies(rows), concurrency=64)
        failed = [one.index for one in outcomes if not isinstance(one, bulk.Done)]
        assert failed == list(bad)
        assert anyio.current_time() - began < 120  # an outage would be waited for 900 s

    @virtual_on_trio
    async def test_rows_that_failed_among_others_fail_when_the_others_are_done(self) -> None:
        """Rows that met two 503s while other calls were answered fail, once they alone are left."""

        class Reading(Watched):
            async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
                await sleep(0.1 if request.method == "GET" else 0.2)
                return httpx.Response(200 if request.method == "GET" else 503)

        async def read() -> None:
            for _ in range(3):
                await client.request("GET", "/v2/apps/{app_id}/integrations")

        retry = Retry(max_attempts=3, first_wait=0)
        async with (
            watched(Reading, retry=retry, pace=Pace()) as (client, _),
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(read)
            outcomes = await bulk.collect(client.users.create, bodies(2), concurrency=2)
        assert [type(one) for one in outcomes] == [bulk.Unknown] * 2
        assert anyio.current_time() < 1  # an outage would be waited for 900 s

    @virtual_on_trio
    async def test_long_throttling_fails_no_row(self) -> None:
        """A `Retry-After` that is longer than a call's time ends a person's call, and no row."""
        async with watched() as (client, way):
            way.status, way.answer = 429, {"Retry-After": "200"}
            await sleep(1000)  # as on a machine that has run for long
            with pytest.raises(RateLimitError):
                await client.users.get("a")
            done: list[Any] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(created, client, 20, 8, done)
                await sleep(250)
                way.status = None
            assert [type(one) for one in done] == [bulk.Done] * 20

    @virtual_on_trio
    async def test_who_wants_no_second_try_gets_none(self) -> None:
        """With `Retry(max_attempts=1)` a batch's row is sent once, outage or not."""
        async with watched() as (client, way):
            way.status = 503
            once = client.with_options(retry=Retry(max_attempts=1))
            outcomes = await bulk.collect(once.users.create, bodies(5), concurrency=5)
            assert not any(isinstance(one, bulk.Done) for one in outcomes)
            assert len(way.came) == 5
