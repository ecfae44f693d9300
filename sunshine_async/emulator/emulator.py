"""The emulator as it is used: from code, in process, on a socket, from a shell."""

import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import httpx

from sunshine_async.emulator.faults import Mishap
from sunshine_async.emulator.server import Listening
from sunshine_async.emulator.web import Site
from sunshine_async.emulator.world import Emulation


class _Transport(httpx.ASGITransport):
    """Calls the application without a socket; a read timeout is kept as on one."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        seconds: float | None = request.extensions.get("timeout", {}).get("read")
        try:
            with anyio.fail_after(seconds):
                return await super().handle_async_request(request)
        except TimeoutError:
            message = "no answer in time"
        raise httpx.ReadTimeout(message, request=request)


class Emulator(Emulation):
    """The services with their state, on one address, told apart by path.

    - *rate*: requests a second of each service; a request over it is answered with 429. *burst*: the
      requests that may come at once (by default a tenth of a second's, Dixa's 0.4 s').
    - *latency*: seconds for which each answer is held after the effect.
    - *fail*: the probability of a fault, one of `DRAWN`. *odds*: probabilities of other faults.
      *seed* makes the draws the same again.
    - *keys* (``id:secret``) and *tokens*: the credentials that are let in. Without both, any are.
    - *state*: a file that keeps all stored data and counts, but for images, and Dixa's conversations
      and definitions. The next emulator with that file continues. One emulator uses it at a time.
    - *clock*: the seconds that the rate goes by.

    Raise `ConfigurationError` for a number that can't work, and for a *state* that can't be used.
    """

    def __init__(
        self,
        *,
        rate: float | None = None,
        burst: float | None = None,
        latency: float = 0.0,
        fail: float = 0.0,
        seed: int | None = None,
        keys: Iterable[str] = (),
        tokens: Iterable[str] = (),
        odds: Mapping[Mishap, float] | None = None,
        state: str | Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            rate=rate, burst=burst, latency=latency, fail=fail, seed=seed,
            keys=keys, tokens=tokens, odds=odds, state=state, clock=clock,
        )  # fmt: skip
        self._site: Final = Site(self)

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return a transport that calls the emulator in process, whatever the host.

        What breaks a connection is raised from it as an httpx error. On asyncio and trio.
        """
        return _Transport(self._site)

    def serve(self, port: int = 0, *, host: str = "127.0.0.1") -> Listening:
        """Return a context manager, async or not, that listens and gives the base URL.

        Port 0 is any free port. Raise `ConfigurationError` on entering where it can't listen.
        """
        return Listening(self._site, host, port)

    def run(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Listen until SIGINT or SIGTERM comes, and return; for the main thread of a process.

        The first line on stdout is ``listening on`` and the base URL, once it listens. Raise
        `ConfigurationError` where it can't.
        """
        handlers = {
            number: signal.signal(number, signal.default_int_handler)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
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
