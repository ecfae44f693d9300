"""`Emulator`, the public class: in process, on a socket, or as the main program of a process."""

import signal
import sys
import time
from functools import cached_property

import anyio
import httpx

from sunshine_async.emulator.server import ServerThread
from sunshine_async.emulator.web import AsgiApp
from sunshine_async.emulator.world import World


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


class Emulator(World):
    """Stateful emulator of all services on one address. The path selects the service.

    - *rate*: requests a second of each service. A request over the rate gets a 429. *burst*: the
      number of requests at once (default: the requests of 0.1 s, for Dixa of 0.4 s).
    - *latency*: seconds from the effect to the response.
    - *fail*: the probability of a fault of `DRAWN`. *odds*: probabilities of more faults.
      *seed*: the seed of the draws; the same seed gives the same draws.
    - *keys* (``id:secret``) and *tokens*: the accepted credentials. Without both, any credentials
      are accepted.
    - *state*: a file that keeps all stored data and counts, without images, and without Dixa's
      conversations and definitions. The next emulator with that file continues. Only a single
      emulator may use a file.
    - *clock*: the clock of the rate, in seconds.

    Raise `ConfigurationError` for an impossible number, and for an unusable *state* file.
    """

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport that calls the emulator in process, for any host.

        A broken connection is raised as an httpx error. The transport runs on asyncio and trio.
        """
        return _InProcessTransport(self._app)

    def serve(self, port: int = 0, *, host: str = "127.0.0.1") -> ServerThread:
        """Return a context manager, async or not, that listens and gives the base URL.

        Port 0 means any free port. Entering raises `ConfigurationError` if listening fails.
        """
        return ServerThread(self._app, host, port)

    def run(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen until SIGINT or SIGTERM, then return; for the main thread of a process.

        The first line on stdout is ``listening on`` and the base URL, once the socket listens.
        Raise `ConfigurationError` if listening fails.
        """
        signals = (signal.SIGINT, signal.SIGTERM)
        handlers = {number: signal.signal(number, signal.default_int_handler) for number in signals}
        try:
            with self.serve(port, host=host) as base_url:
                sys.stdout.write(f"listening on {base_url}\n")
                sys.stdout.flush()
                while True:
                    time.sleep(3600)
        except KeyboardInterrupt:
            pass
        finally:
            self.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    @cached_property
    def _app(self) -> AsgiApp:
        return AsgiApp(self)
