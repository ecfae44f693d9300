import asyncio
import os
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM

import pytest
from support import certificates
from support.servers import Peer, always, answer, answering, serving, silent, slowly
from support.virtual import JumpingLoop, sleep, until, virtual
from support.wires import ENDLESS, body_of, call, pool_of, wired

from sunshine_async._http.messages import Failure, Response, SendProgress
from sunshine_async.errors import Fault


class TestTime:
    @virtual
    async def test_connecting_takes_too_long(self) -> None:
        """A connection that isn't made in time, TLS included, ends its call unsent."""
        async with serving(silent, secure=True) as server, wired(server.url) as wire:
            progress = SendProgress()
            reply = await call(wire, connect=0.02, progress=progress)

        assert reply == Failure(
            Fault.UNSENT,
            f"connecting to 127.0.0.1:{server.port} failed: it took too long:"
            " check the address and the network",
        )
        assert not progress.started

    @pytest.mark.parametrize("code", [EMFILE, ENFILE, ENOBUFS, ENOMEM])
    def test_a_limit_of_this_machine_is_named(self, code: int) -> None:
        """A call without a connection for want of files or memory sends nobody to the network."""

        class Loop(asyncio.SelectorEventLoop):
            async def sock_connect(self, *_: object) -> None:
                raise OSError(code, "")

        async def scenario() -> Response | Failure:
            async with wired("http://127.0.0.1:80") as wire:
                return await call(wire)

        with asyncio.Runner(loop_factory=Loop) as runner:
            reply = runner.run(scenario())

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT
        assert reply.reason.endswith(
            f"{os.strerror(code).lower()}: a limit of this machine: use fewer connections, or raise"
            " the limit (ulimit -n for open files)"
        )

    @virtual
    async def test_no_connection_comes_free(self) -> None:
        """A call that gets no connection in time ends unsent, and leaves the line."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            busy = asyncio.create_task(call(wire))
            await until(lambda: len(server.requests) == 1)
            reply = await call(wire, pool=0.02)
            assert not pool_of(wire)._queue
            busy.cancel()

        assert reply == Failure(
            Fault.UNSENT,
            f"no connection to 127.0.0.1:{server.port} came free in time: see max_connections=",
        )

    @virtual
    async def test_time_is_over_in_line(self) -> None:
        """The time of a call as a whole runs while it waits in line, too."""
        async with serving(silent) as server, wired(server.url, max_connections=1) as wire:
            busy = asyncio.create_task(call(wire))
            await until(lambda: len(server.requests) == 1)
            reply = await call(wire, timeout=ENDLESS, total=0.02)
            busy.cancel()

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT

    @pytest.mark.parametrize("total", [20, None])
    @virtual
    async def test_waiting_for_a_connection_that_is_coming(self, total: float | None) -> None:
        """The time to wait for a free connection doesn't bound the time to make one."""
        go_on = asyncio.Event()
        async with (
            serving(slowly(go_on), secure=True, deaf=True) as server,
            wired(server.url) as wire,
        ):
            waiting = asyncio.create_task(call(wire, pool=0.02, total=total))
            await until(lambda: len(server.peers) == 1)
            [waiter] = pool_of(wire)._queue
            soon = asyncio.get_running_loop().time() + 1
            await until(lambda: waiter.timer is None or waiter.timer.when() > soon)
            go_on.set()
            reply = await waiting

        assert isinstance(reply, Response)

    @virtual
    async def test_time_is_over_while_connecting(self) -> None:
        """A call whose time is over leaves the connection that it waited for to the next one."""
        go_on = asyncio.Event()
        async with (
            serving(slowly(go_on), secure=True, deaf=True) as server,
            wired(server.url) as wire,
        ):
            reply = await call(wire, total=0.03, pool=0.01)
            go_on.set()
            assert await body_of(wire) == b"0"

        assert reply == Failure(
            Fault.UNSENT,
            f"no connection to 127.0.0.1:{server.port} was made in time:"
            " check the address and the network",
        )

    @virtual
    async def test_no_answer_in_time(self) -> None:
        """A call that isn't answered in time has timed out; its connection is closed."""
        async with serving(silent) as server, wired(server.url) as wire:
            reply = await call(wire, read=0.02)
            assert not pool_of(wire)._idle

        assert reply == Failure(Fault.TIMED_OUT, f"127.0.0.1:{server.port} did not answer in time")

    @pytest.mark.parametrize("secure", [False, True])
    @pytest.mark.parametrize("size", [2, 300_000])
    @virtual
    async def test_a_process_that_was_stopped(self, size: int, *, secure: bool) -> None:
        """An answer that came while the process was stopped is read, though the time is over."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)

        async def script(peer: Peer) -> None:
            await peer.request()
            loop.stop_process(1000.0)
            await peer.send(answer(b"x" * size))
            await peer.gone()

        tls = certificates.tls().server if secure else None
        async with serving(script, tls=tls) as server, wired(server.url) as wire:
            assert len(await body_of(wire)) == size

    @virtual
    async def test_a_part_of_an_answer_after_a_stop(self) -> None:
        """An answer of which a part is there gets no further time as a whole."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)

        async def script(peer: Peer) -> None:
            await peer.request()
            loop.stop_process(1000.0)
            while True:
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                await sleep(0.001)

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.TIMED_OUT

    @virtual
    async def test_timer_of_an_earlier_call_is_not_in_the_way(self) -> None:
        """Each call has its own time, longer or shorter than that of the call before it."""
        async with serving(answering(answer(), answer())) as server, wired(server.url) as wire:
            assert isinstance(await call(wire, read=10.0), Response)
            assert isinstance(await call(wire, read=0.02), Response)
            [connection] = pool_of(wire)._idle
            await until(lambda: connection._timer is None)  # it found nothing to do
            reply = await call(wire, read=0.02)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.TIMED_OUT

    @virtual
    async def test_time_between_bytes_begins_again(self) -> None:
        """An answer may take longer than *read*, as long as bytes of it keep coming."""

        async def script(peer: Peer) -> None:
            await peer.request()
            for byte in answer(b"slow").partition(b"\r\n\r\nsl"):
                await sleep(0.15)
                await peer.send(byte)
            await peer.gone()

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, read=0.3, total=None)

        assert isinstance(reply, Response)

    @virtual
    async def test_dripping_answer_ends_with_the_time_of_the_call(self) -> None:
        """Bytes that keep dripping don't keep a call longer than its time as a whole."""

        async def script(peer: Peer) -> None:
            await peer.request()
            while True:
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
                await sleep(0.005)

        async with serving(script) as server, wired(server.url) as wire:
            reply = await call(wire, total=0.03)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.TIMED_OUT

    @virtual
    async def test_no_bounds(self) -> None:
        """Without bounds, nothing is timed."""
        async with serving(always) as server, wired(server.url) as wire:
            assert isinstance(await call(wire, timeout=ENDLESS), Response)
            [connection] = pool_of(wire)._idle
            assert connection._timer is None
