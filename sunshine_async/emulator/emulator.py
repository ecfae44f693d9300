"""`Emulator`, the public class: in process, on a socket, or as the main program of a process."""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, closing
from errno import EADDRINUSE
from functools import cached_property, partial
from typing import Any, Final

import anyio
import httpx
import uvicorn
from attrs import define

from sunshine_async._pace.settings import Kinds, check_kinds
from sunshine_async.emulator.server import ConnectionProtocol, UvicornServer, start_thread
from sunshine_async.emulator.web import AsgiApp
from sunshine_async.emulator.world import World
from sunshine_async.errors import ConfigurationError

_LAST_PORT: Final = 65_535
_PLACE: Final[Kinds] = {"host": (str, "a text"), "port": (int, "a number")}


class _InProcessTransport(httpx.ASGITransport):
    """httpx transport that calls the application without a socket, and keeps the read timeout."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seconds: float | None = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(seconds):
                return await super().handle_async_request(request)
        except TimeoutError:
            message = "no answer in time"
        raise httpx.ReadTimeout(message, request=request)


@define(eq=False, slots=False)
class ServerThread:
    """Context manager, sync or async: serves an application on a socket, and gives the base URL.

    *make_app* is called once the socket is bound: a taken port leaves no file of the application.
    Entering raises `ConfigurationError` if listening fails, and calls *at_start* with the URL before
    the first answer. Leaving cuts off running calls, then calls *at_end*.
    """

    _make_app: Callable[[], Any]
    _host: str
    _port: int
    at_start: Callable[[str], object] = bool
    at_end: Callable[[], object] = bool

    def __enter__(self) -> str:
        self._socket = _bind(self._host, self._port)
        host = f"[{self._host}]" if ":" in self._host else self._host
        base_url = f"http://{host}:{self._socket.getsockname()[1]}"
        try:
            app = self._make_app()
        except BaseException:
            self._socket.close()
            raise
        self.at_start(base_url)
        config = uvicorn.Config(
            app,
            http=ConnectionProtocol,
            loop="asyncio",  # as fast as uvloop here, and uvloop may hang when closed under load
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=600,  # seconds, long: an idle connection is never reset unasked
        )
        self._server = UvicornServer(config)
        serve = partial(self._server.run, [self._socket])
        try:
            self._thread = start_thread("emulator", serve, self._server.listening)
        except (OSError, RuntimeError) as error:  # the process has no file, or no thread, left
            self._socket.close()
            self.at_end()
            message = f"the emulator can't start: {error}"
            raise ConfigurationError(message) from None
        return base_url

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()
        self._socket.close()
        self.at_end()

    async def __aenter__(self) -> str:
        return self.__enter__()  # quick, and no cancellation point inside

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class Emulator(World):
    """Stateful emulator of all services on one address. The path selects the service.

    - *rate*: requests a second of each service. A request over the rate gets a 429. *burst*: the
      number of requests at once (default: the requests of 0.1 s, for Dixa of 0.4 s).
    - *latency*: seconds from the effect to the response.
    - *fail*: the probability of a fault of `DRAWN`. *odds*: probabilities of more faults.
      *seed*: the seed of the draws; the same seed gives the same draws.
    - *keys* (``id:secret``) and *tokens*: the accepted credentials. Without both, any credentials
      are accepted.
    - *max_messages*: messages that a conversation of Sunshine takes until PostMessage is a 423.
    - *state*: a file that keeps all stored data and counts, without images and attachments, Dixa's
      conversations and definitions, and the webhooks that are still to be sent. The next emulator
      with that file continues. Only a single emulator may use a file. The file grows with each
      change, until a reset.
    - *webhook_retry*: seconds before the second attempt of a webhook; later waits grow threefold.
      *webhook_timeout*: seconds for the answer of a target. *webhook_faults*: faults of webhooks.
    - *clock*: the clock of the rate, in seconds.

    Webhooks are those of the integrations, and those of `add_webhook`. A thread sends; `connect`
    sends to an application in process instead. `close` ends the thread.

    Raise `ConfigurationError` for an impossible number, and for an unusable *state* file.
    """

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport that calls the emulator in process, for any host.

        A broken connection is raised as an httpx error. The transport runs on asyncio and trio.
        """
        return _InProcessTransport(self._app)

    def serve(self, port: int = 0, *, host: str = "127.0.0.1") -> ServerThread:
        """Return a context manager, async or not, that listens and gives the base URL.

        Port 0 means any free port. Leaving stops the deliveries of webhooks. Entering raises `ConfigurationError` if listening fails.
        """
        return ServerThread(lambda: self._app, host, port, at_end=self.sender.stop)

    @asynccontextmanager
    async def connect(self, app: Any) -> AsyncGenerator[None]:
        """Send all webhooks to the ASGI application *app*, in this event loop, during the block.

        *app* may be a `Receiver`; the URL of a target gives the path only. Needs asyncio. The end of
        the block stops the deliveries.
        """
        check_kinds({"app": (Callable, "an ASGI application, such as a Receiver")}, {"app": app})
        self.sender.stop()
        ready: Future[None] = Future()
        # a task alone: fixtures of pytest-asyncio enter and leave a block in different tasks
        task = asyncio.create_task(self.sender.run(app, ready))
        try:
            await asyncio.wrap_future(ready)
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    def run(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen until SIGINT or SIGTERM, then return; for the main thread of a process.

        The first line on stdout is ``listening on`` and the base URL, once the socket listens.
        Raise `ConfigurationError` if listening fails.
        """
        try:
            run_server(lambda: self._app, port=port, host=host)
        finally:
            self.close()

    @cached_property
    def _app(self) -> AsgiApp:
        return AsgiApp(self)


def run_emulator(make: Callable[[], Emulator], *, port: int) -> None:
    """Run the emulator of *make* as `Emulator.run` does; *make* is called once the socket is bound."""
    with ExitStack() as at_end:

        def make_app() -> AsgiApp:
            return AsgiApp(at_end.enter_context(closing(make())))

        run_server(make_app, port=port)


def run_server(make_app: Callable[[], Any], *, port: int, host: str = "127.0.0.1") -> None:
    """Serve the ASGI application of *make_app* until SIGINT or SIGTERM; for the main thread of a process.

    The first line on stdout is ``listening on`` and the base URL, once the socket listens. Raise
    `ConfigurationError` if listening fails.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in signals}
    try:
        with ServerThread(make_app, host, port, at_start=_announce):
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _announce(base_url: str) -> None:
    sys.stdout.write(f"listening on {base_url}\n")
    sys.stdout.flush()


def _bind(host: str, port: int) -> socket.socket:
    check_kinds(_PLACE, {"host": host, "port": port}, ConfigurationError)
    if not 0 <= port <= _LAST_PORT:
        message = f"can't listen on port {port}: a port is a number from 0 to {_LAST_PORT}"
        raise ConfigurationError(message)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address, family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        more = ". Give another port: 0 is any free port" * (
            getattr(error, "errno", 0) == EADDRINUSE
        )
        message = f"can't listen on {host} port {port}: {reason}{more}"
        raise ConfigurationError(message) from None
    # connections inherit the option; asyncio sets it for sockets with an explicit protocol only
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
