import asyncio
import errno
import socket
import types
from collections.abc import Coroutine, Generator, Iterator
from typing import Any, cast

import pytest
import trustme
from support.certificates import certified, tls
from support.servers import Peer, always, answer, serving, silent, unused_port
from support.virtual import until
from support.wires import body_of, call, pool_of, sockets, wired

from sunshine_async._http.certificates import shared_ssl_context
from sunshine_async._http.dialer import (
    ATTEMPT_DELAY,
    Dialer,
    Origin,
    SocketAddress,
    connect_socket,
    race,
)
from sunshine_async._http.messages import Failure, Response
from sunshine_async._http.open_wire import WireSelector, open_wire
from sunshine_async._http.pool import SocketWire
from sunshine_async._http.proxy import Proxy
from sunshine_async.errors import Fault


class TestTls:
    async def test_tls(self) -> None:
        """Over TLS calls are answered, and connections are kept."""
        async with serving(always, tls=tls().server) as server, wired(server.url) as wire:
            assert [await body_of(wire) for _ in range(3)] == [b"0"] * 3
            await call(wire, "POST", "/", bytes(2**21))

        assert len(server.peers) == 1

    async def test_idle_tls_connection_is_dropped_when_it_closes(self) -> None:
        """A TLS connection that the server closes is let go of, too."""
        async with (
            serving(closing_after_one, tls=tls().server) as server,
            wired(server.url) as wire,
        ):
            await call(wire)
            await until(lambda: not pool_of(wire)._connections)

    async def test_wrong_name(self) -> None:
        """A certificate for another name is refused, and the reason says so."""
        async with (
            serving(always, tls=certified(tls().authority, "elsewhere.example")) as server,
            wired(server.url) as wire,
        ):
            reply = await call(wire)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.PERMANENT
        assert "certificate verify failed: " in reply.reason
        assert "127.0.0.1" in reply.reason.partition("verify")[2]

    async def test_default_context_checks_certificates(self) -> None:
        """Without a context of the caller's, certificates are checked against the usual ones."""
        async with serving(always, tls=tls().server) as server:
            wire = open_wire(
                server.url, max_connections=1, proxy=None, ssl_context=None, transport=None
            )
            assert isinstance(wire, WireSelector)
            sockets = wire.socket_wire
            assert isinstance(sockets, SocketWire)
            reply = await call(sockets)
            context = pool_of(sockets)._dialer._ssl_context
            await sockets.aclose()

        assert isinstance(reply, Failure)
        assert "certificate verify failed: unable to get" in reply.reason
        assert context is shared_ssl_context()

    async def test_server_without_tls(self) -> None:
        """A server that doesn't speak TLS gets no byte of a request."""

        async def script(peer: Peer) -> None:
            await peer.send(answer())
            await peer.gone()

        async with serving(script, secure=True) as server, wired(server.url) as wire:
            reply = await call(wire)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT
        assert "TLS failed: " in reply.reason

    async def test_handshake_that_is_broken_off(self) -> None:
        """A server that goes away within the handshake ends the call unsent."""

        async def script(peer: Peer) -> None:
            await peer.reader.read(1)

        async with serving(script, secure=True) as server, wired(server.url) as wire:
            reply = await call(wire)

        assert isinstance(reply, Failure)
        assert reply.fault is Fault.UNSENT


class TestDialing:
    @pytest.mark.parametrize("hosts", [1, 2])
    async def test_refused(self, hosts: int) -> None:
        """Where all hosts refuse, that is the error."""
        with pytest.raises(ConnectionRefusedError):
            await first(*[(socket.AF_INET, ("127.0.0.1", unused_port()))] * hosts)

    async def test_refused_call(self) -> None:
        """A refused connection ends the call unsent, in words, and gives its place back."""
        async with wired(f"http://127.0.0.1:{unused_port()}", max_connections=1) as wire:
            replies = await asyncio.gather(call(wire), call(wire))

        assert [type(reply) for reply in replies] == [Failure, Failure]
        assert "failed: connection refused" in str(replies[0])

    async def test_next_host_after_a_failure(self) -> None:
        """A host that refuses is passed over at once."""
        async with serving(silent) as server:
            hosts = [(socket.AF_INET, ("127.0.0.1", port)) for port in (unused_port(), server.port)]
            with await first(*hosts) as link:
                assert link.getpeername() == ("127.0.0.1", server.port)

    async def test_next_host_after_a_attempt_delay(self, deaf_port: int) -> None:
        """A host that doesn't answer loses to the next, and its socket is closed."""
        before = sockets()
        async with serving(silent) as server:
            hosts = [(socket.AF_INET, ("127.0.0.1", port)) for port in (deaf_port, server.port)]
            with await first(*hosts, attempt_delay=0.01) as link:
                assert link.getpeername() == ("127.0.0.1", server.port)
        await until(lambda: sockets() <= before)

    async def test_last_host_is_waited_for(self, deaf_port: int) -> None:
        """With hosts that don't answer, and one that refuses, nothing is decided."""
        hosts = [(socket.AF_INET, ("127.0.0.1", port)) for port in (deaf_port, unused_port())]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await first(*hosts, attempt_delay=0.0)

    def test_both_hosts_answer(self) -> None:
        """Where two hosts answer at once, one connection is used, and the other closed."""

        class Loop(asyncio.SelectorEventLoop):
            trying: list[socket.socket]
            both: asyncio.Event

            async def sock_connect(self, sock: socket.socket, address: Any) -> None:
                if len(trying := [*self.trying, sock]) == 2:
                    self.both.set()
                self.trying = trying
                await self.both.wait()
                await super().sock_connect(sock, address)

        async def scenario() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, Loop)
            loop.trying, loop.both = [], asyncio.Event()
            async with serving(silent) as server:
                host = (socket.AF_INET, ("127.0.0.1", server.port))
                (await first(host, host, attempt_delay=0.0)).close()
                await until(lambda: {link.fileno() for link in loop.trying} == {-1})

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(scenario())

    def test_next_host_in_an_eager_loop(self) -> None:
        """A host that fails before its task has ever waited is passed over, too."""

        class Loop(asyncio.SelectorEventLoop):
            async def sock_connect(self, sock: socket.socket, address: Any) -> None:
                if address[1] == 1:
                    raise OSError(errno.ENETUNREACH, "")
                await super().sock_connect(sock, address)

        async def scenario() -> None:
            asyncio.get_running_loop().set_task_factory(eagerly)  # type: ignore[arg-type]
            dead = (socket.AF_INET, ("127.0.0.1", 1))
            async with serving(silent) as server:
                host = (socket.AF_INET, ("127.0.0.1", server.port))
                for hosts in ([dead, host], [dead, dead, host]):
                    with await first(*hosts, attempt_delay=1000.0) as link:
                        assert link.getpeername() == ("127.0.0.1", server.port)
            with pytest.raises(OSError, match="Errno") as caught:
                await first(dead, dead)
            assert caught.value.errno == errno.ENETUNREACH

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(scenario())

    def test_host_that_never_begins_tls(self) -> None:
        """A host that takes the connection and not TLS loses to the next, and is let go of."""

        async def scenario() -> None:
            async with (
                serving(silent, secure=True) as mute,
                serving(always, tls=tls().server) as server,
            ):
                loop = asyncio.get_running_loop()
                assert isinstance(loop, Resolving)
                loop.ports = [mute.port, server.port]
                async with wired(server.url) as wire:
                    assert await body_of(wire) == b"0"
                assert len(mute.peers) == 1

        with asyncio.Runner(loop_factory=Resolving) as runner:
            runner.run(scenario())

    @pytest.mark.parametrize("order", [1, -1])
    def test_all_hosts_fail(self, order: int) -> None:
        """Where all hosts fail, the one that got as far as TLS says why."""

        async def scenario() -> None:
            stranger = certified(trustme.CA(), "127.0.0.1")
            async with serving(always, tls=stranger) as server:
                loop = asyncio.get_running_loop()
                assert isinstance(loop, Resolving)
                loop.ports = [unused_port(), server.port][::order]
                async with wired(server.url) as wire:
                    reply = await call(wire)
            assert isinstance(reply, Failure)
            assert reply.fault is Fault.PERMANENT
            assert "certificate verify failed" in reply.reason

        with asyncio.Runner(loop_factory=Resolving) as runner:
            runner.run(scenario())

    def test_families_take_turns(self) -> None:
        """The hosts of a name are tried in the system's order, but the families take turns."""
        six, four = socket.AF_INET6, socket.AF_INET

        class Loop(asyncio.SelectorEventLoop):
            async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
                return [(six, 1, 6, "", ("a",)), (six, 1, 6, "", ("b",)), (four, 1, 6, "", ("c",))]

        async def scenario() -> object:
            return await Dialer(
                Origin(secure=False, host="h", port=1), shared_ssl_context
            )._addresses()

        with asyncio.Runner(loop_factory=Loop) as runner:
            assert runner.run(scenario()) == [(six, ("a",)), (four, ("c",)), (six, ("b",))]

    def test_burst_shares_one_look_up(self) -> None:
        """However many connections are made at once, their name is looked up once."""
        looked_up: list[object] = []

        class Loop(asyncio.SelectorEventLoop):
            async def getaddrinfo(self, *arguments: object, **rest: object) -> list[object]:  # type: ignore[override]
                looked_up.append(arguments)
                return await super().getaddrinfo(*arguments, **rest)  # type: ignore[arg-type, return-value]

        async def scenario() -> None:
            async with serving(always) as server:
                url = server.url.replace("127.0.0.1", "localhost")
                async with wired(url, max_connections=20) as wire:
                    await asyncio.gather(*(body_of(wire) for _ in range(20)))

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(scenario())
        assert looked_up.count(("localhost", looked_up[-1][1])) == 1  # type: ignore[index]

    def test_silent_name_server(self) -> None:
        """A look-up that takes too long is named as the reason, by a proxy's name too."""

        class Loop(asyncio.SelectorEventLoop):
            async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
                await asyncio.Event().wait()
                return []

        async def scenario(proxy: Proxy | None) -> str:
            origin = Origin(secure=False, host="api.example", port=1)
            dialer = Dialer(origin, shared_ssl_context, proxy)
            failure = await dialer.dial(cast("Any", None), 0.01)
            dialer.close()
            assert isinstance(failure, Failure)
            assert failure.fault is Fault.UNSENT
            return failure.reason

        proxy = Proxy("http://proxy.example", "http://proxy.example", "proxy=")
        for address, way in [("api.example:1", None), ("the proxy http://proxy.example", proxy)]:
            with asyncio.Runner(loop_factory=Loop) as runner:
                reason = runner.run(scenario(way))
            assert f"connecting to {address} failed: its name can't be looked up" in reason

    @pytest.mark.parametrize("secure", [False, True])
    @pytest.mark.parametrize("broken", [False, True])
    def test_a_descriptor_is_closed_once(self, secure: bool, broken: bool) -> None:  # noqa: FBT001
        """Where a loop takes the descriptor alone, as uvloop does, the socket never closes it again.

        The second time it may be the descriptor of another file, such as a journal.
        """

        class Libuv(asyncio.SelectorEventLoop):
            __module__ = "uvloop"

            async def create_connection(self, make: Any, *, sock: socket.socket) -> Any:  # type: ignore[override]
                given.append(sock)
                taken = socket.socket(fileno=sock.fileno())
                connecting = super().create_connection(make, sock=taken)
                if broken:
                    asyncio.current_task().cancel()  # type: ignore[union-attr]
                return await connecting

        async def scenario() -> None:
            context = tls().server if secure else None
            async with serving(always, tls=context) as server, wired(server.url) as wire:
                reply = await call(wire)
                assert isinstance(reply, Failure if broken else Response)

        given: list[socket.socket] = []
        with asyncio.Runner(loop_factory=Libuv) as runner:
            runner.run(scenario())
        assert [one.fileno() for one in given] == [-1]

    async def test_unknown_name(self) -> None:
        """A name that doesn't exist ends the call unsent, and is looked up again the next time."""
        async with wired("http://nowhere.invalid") as wire:
            reply = await call(wire)
            assert pool_of(wire)._dialer._lookup is None

        assert reply == Failure(
            Fault.UNSENT,
            "connecting to nowhere.invalid:80 failed: its name can't be looked up:"
            " check the address and the network",
        )

    async def test_name_that_is_none(self) -> None:
        """A name that can't be looked up at all ends the call unsent, too."""
        async with wired(f"http://{'a' * 70}.example") as wire:
            reply = await call(wire)

        assert isinstance(reply, Failure)
        assert "its name can't be looked up" in reply.reason


class Resolving(asyncio.SelectorEventLoop):
    """A loop for which every name has the same address, at several *ports*."""

    ports: list[int]

    async def getaddrinfo(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port)) for port in self.ports]


def _eagerly(
    loop: asyncio.AbstractEventLoop, begun: Coroutine[Any, Any, Any], **_: object
) -> "asyncio.Future[Any]":
    """Take the first step of a task at once, as Python's own factory does from 3.12 on."""

    @types.coroutine
    def rest(awaited: object) -> Generator[Any, Any, Any]:
        while True:
            try:
                value = yield awaited
                awaited = begun.send(value)
            except StopIteration as end:
                return end.value

    done: asyncio.Future[Any] = loop.create_future()
    try:
        awaited = begun.send(None)
    except StopIteration as end:
        done.set_result(end.value)
    except OSError as error:
        done.set_exception(error)
    else:
        return asyncio.Task(rest(awaited), loop=loop)
    return done


eagerly = getattr(asyncio, "eager_task_factory", _eagerly)


async def first(*hosts: SocketAddress, attempt_delay: float = ATTEMPT_DELAY) -> socket.socket:
    """Return a socket that is connected to the first of *hosts* that answers."""
    return await race(hosts, connect_socket, socket.socket.close, attempt_delay=attempt_delay)


async def closing_after_one(peer: Peer) -> None:
    """Answer once, and close."""
    await peer.request()
    await peer.send(answer())


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """Hold a port on which no connection is accepted any more: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for link in waiting:
            link.setblocking(False)  # noqa: FBT003
            link.connect_ex(address)
        yield address[1]
        for link in waiting:
            link.close()
