import asyncio
import gc
import os
import select
import socket
import sys
from contextlib import suppress
from typing import Any, Final

import pytest
from support.certificates import tls
from support.patience import PATIENCE
from support.servers import Blocking, Peer, always, answer, serving, silent, slowly, unused_port
from support.virtual import sleep, until, virtual
from support.wires import (
    body_of,
    call,
    hand,
    pool_of,
    sleep_of_the_machine,
    sockets,
    wired,
)

from sunshine_async._http import connection as connection_module
from sunshine_async._http.certificates import shared_ssl_context
from sunshine_async._http.connection import Call, Connection
from sunshine_async._http.dialer import Dialer
from sunshine_async._http.fork import _renew_all
from sunshine_async._http.messages import Failure, Response, SendProgress
from sunshine_async._http.pool import Pool, SocketWire
from sunshine_async.errors import Fault


class TestRequest:
    async def test_request_is_written_as_it_is(self) -> None:
        """A request has its line, the host, the caller's headers, its length and its body."""
        async with serving(always) as server, wired(f"{server.url}/sc/") as wire:
            await call(
                wire, "POST", "/v2/users?a=%20b", b"{}", headers={"Accept": "application/json"}
            )

        assert server.requests == [
            b"POST /sc/v2/users?a=%%20b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
            b"Accept: application/json\r\nContent-Length: 2\r\n\r\n{}" % server.port
        ]

    async def test_a_request_that_is_written_takes_no_memory(self) -> None:
        """The pool keeps no bytes of a request that waits for the answer."""
        async with serving(silent) as server, wired(server.url) as wire:
            waiting = asyncio.create_task(call(wire, "POST", "/", b"{}"))
            await until(lambda: bool(server.requests))
            [connection] = pool_of(wire)._connections  # other tests may have left calls
            found = [one for one in gc.get_objects() if isinstance(one, Call)]
            data = [one.data for one in found if one.connection is connection]
            waiting.cancel()  # which lets the bytes go, too

        assert data == [b""]

    @pytest.mark.parametrize(
        ("method", "length"), [("GET", False), ("DELETE", False), ("POST", True), ("PATCH", True)]
    )
    async def test_request_without_a_body(self, method: str, length: bool) -> None:  # noqa: FBT001
        """Where a body is expected and there is none, its length is said: 0."""
        async with serving(always) as server, wired(server.url) as wire:
            await call(wire, method)

        assert (b"Content-Length: 0" in server.requests[0]) is length

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://api.smooch.io", "api.smooch.io"),
            ("https://api.smooch.io:443/", "api.smooch.io"),
            ("https://api.smooch.io:80", "api.smooch.io:80"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]"),
        ],
    )
    async def test_host_has_a_port_where_it_is_unusual(self, url: str, host: str) -> None:
        """The host that is named has its port where that isn't the scheme's own."""
        async with wired(url) as wire:
            assert wire._host == host

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/a b"),
            ("GET", "/a\r\nX: y"),
            ("GET", "/\xe9"),
            ("GET", "/\x7f"),
            ("GET", "a"),
            ("GET", ""),
            ("GET / HTTP/1.1\r\nX:", "/"),
            ("get", "/"),
        ],
    )
    async def test_target_that_would_be_another_request(self, method: str, target: str) -> None:
        """What can't be written as one request line is refused, and nothing is sent."""
        async with serving(always) as server, wired(server.url) as wire:
            with pytest.raises(ValueError, match="request line"):
                await call(wire, method, target)

        assert not server.peers

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("X-A", "secret\r\nX-C: d"),
            ("X-A", "b\n"),
            ("X-A", "b\r"),
            ("X-A", "b\0"),
            ("X-A", "\u20ac"),
            ("X-A: b\r\nX-C", "d"),
            ("", "d"),
            ("Host", "elsewhere.example"),
            ("content-length", "3"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
        ],
    )
    async def test_header_that_would_be_another(self, name: str, value: str) -> None:
        """A header that would be read as two, or that is the wire's own, is refused."""
        async with serving(always) as server, wired(server.url) as wire:
            with pytest.raises(ValueError, match="header") as caught:
                await call(wire, headers={name: value})

        assert not server.peers
        assert "secret" not in str(caught.value)

    async def test_header_blocks_are_kept_within_bounds(self) -> None:
        """However many tokens a client goes through, few of their headers are kept."""
        async with serving(always) as server, wired(server.url) as wire:
            for number in range(40):
                await call(wire, headers={"Authorization": f"Bearer {number}"})
                assert len(wire._header_blocks) <= 16

        assert b"Bearer 39" in server.requests[-1]

    async def test_request_lines_are_kept_within_bounds(self) -> None:
        """However many targets a client calls, few of their request lines are kept."""
        async with serving(always) as server, wired(server.url) as wire:
            for number in range(150):
                await call(wire, target=f"/{number}")
                await call(wire, target=f"/{number}")
                assert len(wire._request_lines) <= 64

        assert b"/149 " in server.requests[-1]

    async def test_large_body_arrives_whole(self) -> None:
        """A body that the network takes only bit by bit arrives as it is."""
        body = os.urandom(2**20) * 6
        async with serving(always) as server, wired(server.url) as wire:
            await call(wire, "POST", "/", body)
            await call(wire, "POST", "/", body)

        assert [request.endswith(b"\r\n\r\n" + body) for request in server.requests] == [True, True]
        assert len(server.peers) == 1

    @pytest.mark.parametrize("secure", [False, True])
    async def test_large_answers_at_once(self, *, secure: bool) -> None:
        """Connections share what they read into, and yet each has its own answer, whole."""
        bodies = {b"/%d" % number: os.urandom(2**20 - number) for number in range(5)}

        async def script(peer: Peer) -> None:
            while request := await peer.request():
                await peer.send(answer(bodies[request.split(b" ")[1]]))

        served = serving(script, tls=tls().server if secure else None)
        async with served as server, wired(server.url) as wire:
            for _ in range(2):
                replies = await asyncio.gather(
                    *(call(wire, target=target.decode()) for target in bodies)
                )
                assert [getattr(reply, "body", None) for reply in replies] == [*bodies.values()]
            connections = pool_of(wire)._connections
            assert len({id(connection.get_buffer(-1)) for connection in connections}) == 1

        assert len(server.peers) == len(bodies)


class TestPool:
    async def test_call_marks_its_progress(self) -> None:
        """A call says that a byte of it may have left, as soon as that is so."""
        progress = SendProgress()
        async with serving(always) as server, wired(server.url) as wire:
            await call(wire, progress=progress)

        assert progress.started

    async def test_connection_used_last_is_used_next(self) -> None:
        """What isn't needed any more is left to expire: the same connection serves one call each."""
        together = asyncio.Barrier(3)

        async def script(peer: Peer) -> None:
            for _ in range(10):
                await peer.request()
                if len(server.requests) <= 3:
                    await together.wait()
                await peer.send(answer(b"%d" % peer.index))

        async with serving(script) as server, wired(server.url) as wire:
            first = await asyncio.gather(body_of(wire), body_of(wire), body_of(wire))
            later = [await body_of(wire) for _ in range(4)]

        assert sorted(first) == [b"0", b"1", b"2"]
        assert len(set(later)) == 1

    async def test_calls_beyond_the_bound_are_served_in_order(self) -> None:
        """No more than *max_connections* are open; who waits is served first come, first served.

        The next answer is sent when the request has come for which the last answer made room.
        """
        order: list[bytes] = []
        both, in_turn = asyncio.Barrier(2), asyncio.Lock()

        async def receive(peer: Peer) -> None:
            order.append((await peer.request()).split(b" ")[1])

        async def script(peer: Peer) -> None:
            await receive(peer)
            await both.wait()
            while True:
                async with in_turn:
                    await peer.send(answer())
                    if len(order) < 40:
                        await receive(peer)
                        continue
                await receive(peer)

        async with serving(script) as server, wired(server.url, max_connections=2) as wire:
            await asyncio.gather(*(call(wire, target=f"/{number}") for number in range(40)))

        assert {*order[:2]} == {b"/0", b"/1"}
        assert order[2:] == [b"/%d" % number for number in range(2, 40)]
        assert len(server.peers) == 2

    async def test_idle_connection_is_dropped_when_it_closes(self) -> None:
        """A connection that the server closes is let go of then, not when a call would need it."""
        close = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(answer())
            await close.wait()

        async with serving(script) as server, wired(server.url) as wire:
            await call(wire)
            assert len(pool_of(wire)._idle) == 1
            close.set()
            await until(lambda: not pool_of(wire)._connections)
            assert not pool_of(wire)._idle
            assert pool_of(wire)._free_slots == 10

    async def test_idle_connection_that_speaks_is_dropped(self) -> None:
        """An answer that nobody asked for ends its connection, and answers nobody."""
        speak = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(answer(b"%d" % peer.index))
            await speak.wait()
            await peer.send(answer(b"unasked"))
            await peer.gone()

        async with serving(script) as server, wired(server.url) as wire:
            assert await body_of(wire) == b"0"
            speak.set()
            await until(lambda: not pool_of(wire)._connections)
            assert await body_of(wire) == b"1"

    @virtual
    async def test_idle_connection_expires(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that no call has used for *keepalive_expiry* seconds is closed."""
        gone: dict[Connection, float] = {}

        def forget(connection: Connection) -> None:
            gone[connection] = asyncio.get_running_loop().time() - connection.idle_since
            Pool.forget(pool, connection)

        async with serving(always) as server, wired(server.url, keepalive_expiry=0.3) as wire:
            await asyncio.gather(body_of(wire), body_of(wire))
            pool = pool_of(wire)
            monkeypatch.setattr(pool, "forget", forget)
            older, newer = pool._idle
            await sleep(0.02)
            await body_of(wire)
            await until(lambda: not pool._connections)
            assert [*gone] == [older, newer]
            assert [*gone.values()] == pytest.approx([0.3, 0.3])
            assert newer.idle_since - older.idle_since >= 0.01
            assert pool._expiry is None

        assert len(server.peers) == 2

    async def test_expired_connection_is_not_used(self) -> None:
        """An expired connection makes room for another, though the loop hasn't come round to it."""
        expired = {"keepalive_expiry": 0.0, "max_connections": 1}
        async with serving(always) as server, wired(server.url, **expired) as wire:
            assert [await body_of(wire), await body_of(wire)] == [b"0", b"1"]

    @virtual
    async def test_no_connection_outlives_a_sleep_of_the_machine(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a sleep, in which the loop's clock stood still, all idle connections are closed."""
        async with serving(always) as server, wired(server.url) as wire:
            await asyncio.gather(body_of(wire), body_of(wire))
            sleep_of_the_machine(monkeypatch, seconds=60)
            await sleep(0.2)
            assert await body_of(wire) == b"2"
            assert len(pool_of(wire)._connections) == 1
            await sleep(0.2)
            assert await body_of(wire) == b"2"

    @pytest.mark.parametrize("unasked", [b"", answer(b"unasked")])
    async def test_stale_connection_is_replaced_before_a_byte_is_sent(self, unasked: bytes) -> None:
        """A connection that has closed or spoken, unseen by a busy loop, gets no byte of a call."""
        with Blocking() as server:
            async with wired(server.url) as wire:
                assert await body_of(wire) == b"0"
                server.end(unasked)  # the loop stands still meanwhile
                assert await body_of(wire) == b"1"

        assert server.heard == [1, 1]

    async def test_flow_that_resumes_without_a_request(self) -> None:
        """A transport that has room again, when nothing is left to be sent, changes nothing."""
        async with serving(always) as server, wired(server.url) as wire:
            await body_of(wire)
            [connection] = pool_of(wire)._idle
            connection.pause_writing()
            connection.resume_writing()
            assert await body_of(wire) == b"0"

    async def test_transport_that_is_closing_is_not_used(self) -> None:
        """A connection whose transport has given up is replaced, too."""
        async with serving(always) as server, wired(server.url) as wire:
            assert await body_of(wire) == b"0"
            next(iter(pool_of(wire)._idle))._transport.abort()
            assert await body_of(wire) == b"1"

    def test_connection_that_speaks_first_is_not_used(self) -> None:
        """Where a server speaks before it is asked, the call fails unsent: it reads no such answer."""

        class Loop(asyncio.SelectorEventLoop):
            async def create_connection(self, *arguments: Any, **rest: Any) -> Any:
                made = await super().create_connection(*arguments, **rest)
                select.select(
                    [rest["sock"]], [], [], 5
                )  # the greeting is there before anything else
                return made

        async def scenario(server: Blocking) -> Response | Failure:
            async with wired(server.url) as wire:
                return await call(wire)

        greeting = answer(b"unasked")
        with Blocking(greeting) as server, asyncio.Runner(loop_factory=Loop) as runner:
            reply = runner.run(scenario(server))

        assert reply == Failure(
            Fault.UNSENT,
            f"connecting to 127.0.0.1:{server.port} failed: "
            "the server closed it, or sent bytes, before a request: check the address and the network",
        )

    async def test_connection_that_goes_bad_as_it_arrives_is_replaced(self) -> None:
        """A connection that breaks between being made and being used is made again."""
        async with serving(always) as server, wired(server.url) as wire:
            waiting = asyncio.create_task(body_of(wire))
            await until(lambda: bool(wire._pools))
            task = next(iter(pool_of(wire)._connecting))
            task.add_done_callback(lambda task: task.result().abort())
            pool_of(wire)._connecting.clear()
            task.remove_done_callback(pool_of(wire)._on_connected)
            pool_of(wire)._connecting.add(task)
            task.add_done_callback(pool_of(wire)._on_connected)
            assert await waiting == b"1"
            assert pool_of(wire)._free_slots == 9

    def test_readiness_can_be_asked_without_poll(self) -> None:
        """Where a system has no poll, select says as well whether something has come."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for watch in (
                connection_module._readable_by_poll,
                connection_module._readable_by_select,
            ):
                readable = watch(ours.fileno())
                assert not readable()
                theirs.send(b"x")
                assert readable()
                ours.recv(1)


class TestCancellation:
    async def test_cancelled_call_leaves_nothing(self) -> None:
        """A call cancelled while it waits for its answer closes its connection and frees its place."""
        waited = SendProgress()
        async with serving(silent_once) as server, wired(server.url, max_connections=1) as wire:
            task = asyncio.create_task(call(wire, progress=waited))
            await until(lambda: len(server.requests) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await body_of(wire) == b"1"

        assert waited.started

    async def test_call_cancelled_in_line_is_never_sent(self) -> None:
        """A call cancelled in line isn't sent, even if its turn comes in the same moment."""
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            while await peer.request():
                await go_on.wait()
                await peer.send(answer())

        async with serving(script) as server, wired(server.url, max_connections=1) as wire:
            first, second, third = (
                asyncio.create_task(call(wire, target=f"/{number}")) for number in range(3)
            )
            await until(lambda: len(server.requests) == 1)
            [connection] = pool_of(wire)._connections
            second.cancel()
            hand(connection, answer())  # before the second task has run
            assert isinstance(await first, Response)
            with pytest.raises(asyncio.CancelledError):
                await second
            go_on.set()
            third.cancel()
            with suppress(asyncio.CancelledError):
                await third

        assert not any(b"/1 " in request for request in server.requests)

    async def test_answer_to_a_cancelled_call_wakes_no_one(self) -> None:
        """An answer that comes in the moment of the cancellation is dropped."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            task = asyncio.create_task(call(wire))
            await until(lambda: len(server.requests) == 1)
            [connection] = pool_of(wire)._connections
            task.cancel()
            hand(connection, answer())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert list(pool_of(wire)._idle) == [connection]

    async def test_connection_outlives_the_caller_it_was_made_for(self) -> None:
        """A connection whose caller went away while it was made serves the next in line."""
        go_on = asyncio.Event()
        async with (
            serving(slowly(go_on), secure=True, deaf=True) as server,
            wired(server.url, max_connections=1) as wire,
        ):
            gone, next_one = (
                asyncio.create_task(body_of(wire)),
                asyncio.create_task(body_of(wire)),
            )
            await until(lambda: len(server.peers) == 1)
            gone.cancel()
            await asyncio.sleep(0)
            go_on.set()
            assert await next_one == b"0"

        assert len(server.peers) == 1

    async def test_connection_without_a_caller_waits_for_one(self) -> None:
        """A connection that nobody waits for any more is kept for the next call."""
        go_on = asyncio.Event()
        async with (
            serving(slowly(go_on), secure=True, deaf=True) as server,
            wired(server.url, max_connections=1) as wire,
        ):
            gone = asyncio.create_task(body_of(wire))
            await until(lambda: len(server.peers) == 1)
            gone.cancel()
            go_on.set()
            await until(lambda: len(pool_of(wire)._idle) == 1)
            assert await body_of(wire) == b"0"

        assert len(server.peers) == 1

    async def test_each_failed_connection_fails_one_call(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where nothing can be connected, each call ends by an attempt of its own, in order."""
        dialed: list[Dialer] = []
        ended: list[int] = []
        dial = Dialer.dial

        async def counted(dialer: Dialer, *arguments: Any) -> Connection | Failure:
            dialed.append(dialer)
            return await dial(dialer, *arguments)

        async def fail(number: int) -> None:
            assert isinstance(await call(wire), Failure)
            ended.append(number)

        monkeypatch.setattr(Dialer, "dial", counted)
        async with wired(f"http://127.0.0.1:{unused_port()}", max_connections=2) as wire:
            await asyncio.gather(*map(fail, range(5)))
            assert not pool_of(wire)._queue

        assert ended == [*range(5)]
        assert len(dialed) == 5

    async def test_failed_connection_fails_no_one_whose_connection_is_coming(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call whose connection is coming goes on when that for a cancelled call has failed."""
        failed, go_on = asyncio.Event(), asyncio.Event()
        turns = [failed, go_on]
        dial = Dialer.dial

        async def delayed(dialer: Dialer, *arguments: Any) -> Connection | Failure:
            turn = turns.pop(0)
            await turn.wait()
            if turn is failed:
                return Failure(Fault.UNSENT, "it failed")
            return await dial(dialer, *arguments)

        monkeypatch.setattr(Dialer, "dial", delayed)
        async with serving(always) as server, wired(server.url, max_connections=2) as wire:
            gone, other = (asyncio.create_task(body_of(wire)) for _ in range(2))
            await until(lambda: not turns)
            gone.cancel()
            failed.set()
            await until(lambda: len(pool_of(wire)._connecting) == 1)
            assert not other.done()
            go_on.set()
            assert await other == b"0"

    async def test_failed_connection_without_a_caller_fails_no_one(self) -> None:
        """A connection that fails when nobody waits for it only gives its place back."""
        async with serving(silent, secure=True) as server, wired(server.url) as wire:
            gone = asyncio.create_task(call(wire))
            await until(lambda: len(server.peers) == 1)
            gone.cancel()
            server.peers[0].reset()
            await until(lambda: not pool_of(wire)._connecting)
            assert pool_of(wire)._free_slots == 10

    async def test_churn(self) -> None:
        """However many calls are cancelled at whatever point, the next ones are answered at once."""

        async def script(peer: Peer) -> None:
            while await peer.request():
                await asyncio.sleep(0)
                await peer.send(answer())

        async with serving(script) as server, wired(server.url, max_connections=10) as wire:
            for _ in range(3):
                for number in range(60):
                    tasks = [asyncio.create_task(call(wire)) for _ in range(20)]
                    for _ in range(number % 10):
                        await asyncio.sleep(0)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                async with asyncio.timeout(PATIENCE):
                    replies = await asyncio.gather(*(call(wire) for _ in range(10)))
                assert all(isinstance(reply, Response) for reply in replies), replies
            pool = pool_of(wire)
            await until(lambda: not pool._connecting)
            assert not pool._queue
            assert pool._free_slots + len(pool._idle) == 10


class TestLoops:
    def test_wire_is_used_in_one_loop_after_another(self) -> None:
        """A wire works in each loop; the connections of a loop that has ended are closed with it."""
        wire = _wire_to(url := (server := Blocking()).url)
        before = sockets()
        with server:
            assert [asyncio.run(body_of(wire)) for _ in range(3)] == [b"0", b"1", b"2"]
            assert len(wire._pools) == 1

        assert url == server.url
        assert sockets() <= before

    def test_loop_that_ends_without_being_shut_down(self) -> None:
        """The connections of a loop that was only closed are forgotten, and others are made."""
        with Blocking() as server:
            wire = _wire_to(server.url)
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(body_of(wire)) == b"0"
            [connection] = wire._pools[loop]._connections
            connection._transport._sock.close()  # type: ignore[attr-defined]
            connection._transport._sock = None  # type: ignore[attr-defined] # or it warns, rightly
            loop.close()
            assert asyncio.run(body_of(wire)) == b"1"
            assert loop not in wire._pools

    async def test_connections_of_a_parent_are_not_used(self) -> None:
        """After a fork, the connections that the parent has are neither used nor closed."""
        async with serving(always) as server, wired(server.url) as wire:
            assert await body_of(wire) == b"0"
            inherited = pool_of(wire)
            _renew_all()
            assert await body_of(wire) == b"1"
            assert wire._inherited == [inherited]
            [connection] = inherited._connections
            assert not connection._transport.is_closing()
            await inherited.lifetime.aclose()

    async def test_connections_of_a_parent_are_not_closed(self) -> None:
        """A child that closes the client closes none of its parent's connections."""
        async with serving(always) as server, wired(server.url) as wire:
            await body_of(wire)
            pool = pool_of(wire)
            wire.renew()
            await wire.aclose()
            assert pool.is_open
            await pool.lifetime.aclose()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
    async def test_fork(self) -> None:
        """Parent and child of a fork go on with connections of their own."""
        async with serving(always) as server:
            script = _FORKING % server.url
            running = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
            assert await running.wait() == 0

        assert len(server.peers) == 2


class TestClose:
    async def test_calls_under_way_fail(self) -> None:
        """Calls under way when the wire is closed end: as lost if they had begun, else as unsent."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            begun, waiting = asyncio.create_task(call(wire)), asyncio.create_task(call(wire))
            await until(lambda: len(server.requests) == 1)
            await wire.aclose()
            replies = await begun, await waiting

        assert [reply.fault for reply in replies if isinstance(reply, Failure)] == [
            Fault.LOST,
            Fault.UNSENT,
        ]

    async def test_connections_that_are_coming_are_given_up(self) -> None:
        """A wire can be closed while it connects; its calls end unsent."""
        async with serving(silent, secure=True) as server, wired(server.url) as wire:
            task = asyncio.create_task(call(wire))
            await until(lambda: len(server.peers) == 1)
            await wire.aclose()
            reply = await task

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT

    async def test_connection_that_arrives_while_closing_is_closed(self) -> None:
        """A connection that is made in the moment of closing is closed as well."""
        async with serving(always) as server, wired(server.url) as wire:
            task = asyncio.create_task(call(wire))
            await until(lambda: bool(wire._pools))
            [coming] = pool_of(wire)._connecting
            coming.add_done_callback(lambda _: closing.append(asyncio.create_task(wire.aclose())))
            closing: list[asyncio.Task[None]] = []
            reply = await task
            await closing[0]

        assert isinstance(reply, Failure | Response)

    async def test_closing_twice_and_using_it_again(self) -> None:
        """Closing twice does no harm, nor does closing what was never used; it works afterwards."""
        async with serving(always) as server, wired(server.url) as wire:
            await wire.aclose()
            assert await body_of(wire) == b"0"
            await wire.aclose()
            await wire.aclose()
            assert await body_of(wire) == b"1"

    async def test_loop_that_was_shut_down_and_goes_on(self) -> None:
        """A pool that its loop has closed is replaced."""
        async with serving(always) as server, wired(server.url) as wire:
            assert await body_of(wire) == b"0"
            await pool_of(wire).lifetime.aclose()
            assert await body_of(wire) == b"1"


async def silent_once(peer: Peer) -> None:
    """Never answer on the first connection."""
    await (always if peer.index else silent)(peer)


def _wire_to(url: str) -> SocketWire:
    return SocketWire(
        url,
        max_connections=2,
        keepalive_expiry=15,
        max_response_bytes=2**20,
        make_context=shared_ssl_context,
    )


_FORKING: Final = """
import asyncio, os, sys
from sunshine_async._http.messages import Request, SendProgress, Timeout
from sunshine_async._http.pool import SocketWire

wire = SocketWire(
    %r, max_connections=2, keepalive_expiry=15, max_response_bytes=2**20, make_context=None
)
timeout = Timeout(total=5, connect=5, pool=5, write=5, read=5)

async def call():
    reply = await wire.send(Request("GET", "/"), {}, timeout=timeout, progress=SendProgress())
    return reply.body

loop = asyncio.new_event_loop()
first = loop.run_until_complete(call())
child = os.fork()
if child == 0:
    os._exit(0 if asyncio.run(call()) == b"1" and wire._inherited else 1)
again = loop.run_until_complete(call())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
_, status = os.waitpid(child, 0)
sys.exit(status or first != b"0")
"""
