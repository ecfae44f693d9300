"""Measurement of a create: by coroutines, by threads, or by a script that Node runs.

Each kind has a method `measure`, which uses the whole process.
"""

import asyncio
import itertools
import json
import os
import resource
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.request import urlopen

from attrs import frozen

HERE = Path(__file__).parent
APP = "5d8cff3cd55b040010928b5b"
USER_ID = "7494535bff5cef41a15be74d"
"""The id in each answer of the stub server."""
WARM_CREATES = 2000
"""Creates before a measurement. The first ones cost up to a third more: interpreter, caches, pace."""


@frozen
class Target:
    """Address of a server; *authority* is the file of the certificate authority, with TLS."""

    url: str
    authority: str | None = None

    @property
    def users(self) -> str:
        return f"{self.url}/v2/apps/{APP}/users"

    def context(self) -> ssl.SSLContext | None:
        """Return the context to connect with."""
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def trusted(self) -> bytes | None:
        """Return the certificate of the authority, for a client without use for a context."""
        return Path(self.authority).read_bytes() if self.authority else None

    def counts(self) -> tuple[int, int, int]:
        """Return the connections, creates and bytes of creates that the stub server has counted."""
        with urlopen(self.url, context=self.context()) as answer:  # noqa: S310 - loopback
            connections, creates, size = json.load(answer)
            return connections, creates, size


@frozen
class Cost:
    """Cost of a create: CPU in µs of all threads, creates a second, the most memory in MB.

    The server counts the accepted *connections*, and the bytes of a *request*.
    """

    cpu: float
    rate: float
    memory: float
    connections: float = 0.0
    request: float = 0.0


Create: TypeAlias = Callable[[int], Awaitable[object]]
"""A create of the user of a number, which returns the id in the answer."""
Opened: TypeAlias = AbstractAsyncContextManager[Create]
BlockingCreate: TypeAlias = Callable[[int], object]


def _has_module(name: str) -> bool:
    return find_spec(name) is not None


@frozen
class Coroutines:
    """Client of coroutines, called by as many tasks as calls are in flight."""

    open: Callable[[Target, int], Opened]
    on_uvloop: bool = False
    has = staticmethod(_has_module)

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return the cost of a create of the warm client."""
        return self.run(self._measure(target, in_flight, seconds))

    def run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        """Return the result of *scenario*, in the event loop of the client."""
        if self.on_uvloop:
            import uvloop  # noqa: PLC0415

            return uvloop.run(scenario)
        return asyncio.run(scenario)

    async def _measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        load = _Load(in_flight)

        async def work(worker: int, create: Create) -> None:
            while not load.over:
                load.count(worker, await create(next(load.numbers)))

        async with self.open(target, in_flight) as create, asyncio.TaskGroup() as tasks:
            for worker in range(in_flight):
                tasks.create_task(work(worker, create))
            for pause in load.pauses(seconds):
                await asyncio.sleep(pause)
        return load.cost


@frozen
class Threads:
    """Client that blocks, in as many threads as calls are in flight."""

    open: Callable[[Target, int], BlockingCreate]
    has = staticmethod(_has_module)

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return the cost of a create of the warm client."""
        create = self.open(target, in_flight)
        load = _Load(in_flight)

        def work(worker: int) -> None:
            while not load.over:
                load.count(worker, create(next(load.numbers)))

        with ThreadPoolExecutor(in_flight) as threads:
            workers = [threads.submit(work, worker) for worker in range(in_flight)]
            for pause in load.pauses(seconds):
                time.sleep(pause)
                for ended in filter(Future.done, workers):
                    ended.result()  # which raises
        return load.cost


@frozen
class Node:
    """Client of a *script*, which Node runs, and which prints the cost."""

    script: str
    keep_alive: bool = False
    """True for a user who tells the client to keep connections."""

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return the cost of a create of the warm client."""
        order = {
            "url": target.url,
            "authority": target.authority,
            "app": APP,
            "userId": USER_ID,
            "inFlight": in_flight,
            "seconds": seconds,
            "keepAlive": self.keep_alive,
        }
        done = _node(str(HERE / self.script), json.dumps(order), check=True)
        return Cost(*json.loads(done.stdout))

    def has(self, name: str) -> bool:
        """Return True if Node is installed, and has the package *name*."""
        found = shutil.which("node") is not None
        return found and _node("-p", f"require.resolve('{name}')").returncode == 0


class _Load:
    """Workers that call again and again, and the cost of a call while all workers call."""

    cost: Cost

    def __init__(self, workers: int) -> None:
        self.numbers: Final = itertools.count()
        """Of the calls."""
        self.counts: Final = [0] * workers
        """Number of the ended calls of each worker."""
        self.over = False

    def count(self, worker: int, answer: object) -> None:
        """Count a call of *worker*, whose *answer* is an id."""
        if answer != USER_ID:
            message = f"the answer has id {answer!r}"
            raise RuntimeError(message)
        self.counts[worker] += 1

    def pauses(self, seconds: float) -> Iterator[float]:
        """Yield pauses, in seconds, during which the workers work; after the last there is a cost.

        Workers are warm when each has had an answer and `WARM_CREATES` have ended, or after 2 s of
        a client that creates fewer a second, or after 10 s of a client that doesn't answer each
        worker until then. Neither the beginning nor the end of the workers counts.
        """
        began = time.perf_counter()
        while not self._are_warm(time.perf_counter() - began):
            yield 0.05
        count, cpu, began = sum(self.counts), time.process_time(), time.perf_counter()
        yield seconds
        while sum(self.counts) == count:
            yield 0.05
        count, cpu = sum(self.counts) - count, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        self.cost = Cost(cpu / count * 1e6, count / (time.perf_counter() - began), memory)
        self.over = True

    def _are_warm(self, seconds: float) -> bool:
        """Return True if the workers, which began *seconds* ago, are warm."""
        enough = sum(self.counts) >= WARM_CREATES or seconds > 2
        return (enough and all(self.counts)) or seconds > 10


@contextmanager
def stub(*arguments: str, processor: int | None = None) -> Iterator[int]:
    """Run a stub server, on *processor* unless None, and yield the port."""
    command = [sys.executable, str(HERE / "stub_server.py"), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None  # noqa: S101
        assert running.stdout is not None  # noqa: S101
        if processor is not None:
            pin(processor, running.pid)
        yield int(running.stdout.readline())
        running.stdin.close()


def pin(processor: int, pid: int = 0) -> None:
    """Let a process, by default this one, run on *processor* alone, where that can be."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        with suppress(OSError):
            os.sched_setaffinity(pid, {processor})


def _node(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run Node, which finds what is installed here, in *NODE_PATH* or globally."""
    command = [shutil.which("node") or "node", *arguments]
    paths = {"NODE_PATH": os.pathsep.join([os.environ.get("NODE_PATH", ""), _global_packages()])}
    output = subprocess.PIPE
    errors = None if check else subprocess.DEVNULL
    return subprocess.run(
        command, cwd=HERE, env=os.environ | paths, stdout=output, stderr=errors, check=check
    )


@cache
def _global_packages() -> str:
    npm = shutil.which("npm")
    return (
        subprocess.check_output([npm, "--silent", "root", "-g"], text=True).strip() if npm else ""
    )
