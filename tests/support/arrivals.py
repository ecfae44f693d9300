"""An emulator whose requests can be waited for, from the thread of a test."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import Final

from support.patience import PATIENCE

from sunshine_async.emulator import Emulator


class Arrivals:
    """The clock of an emulator's rate: the emulator asks for the time at each request."""

    def __init__(self) -> None:
        self._requests: Final = Semaphore(0)

    def __call__(self) -> float:
        self._requests.release()
        return time.monotonic()

    def wait(self, requests: int) -> None:
        """Return after so many more requests; give up where none comes in `PATIENCE`."""
        for _ in range(requests):
            assert self._requests.acquire(timeout=PATIENCE)


@contextmanager
def serving_arrivals() -> Iterator[tuple[Emulator, str, Arrivals]]:
    """Serve an emulator of its own; give it, its URL and its requests."""
    arrivals = Arrivals()
    emulator = Emulator(rate=1_000_000, clock=arrivals)
    with emulator.serve() as url:
        yield emulator, url, arrivals
