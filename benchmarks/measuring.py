"""How a create is measured: by coroutines, by threads, or by a script that Node runs.

Each way has the same `measure`, which takes the process that it is called in for itself.
"""

import asyncio
import json
import os
import resource
import shutil
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen

HERE = Path(__file__).parent
APP = "5d8cff3cd55b040010928b5b"


@frozen
class Target:
    """Where to send to; *authority* is the file of who signed its certificate, if it has one."""

    url: str
    authority: str | None = None

    @property
    def users(self) -> str:
        return f"{self.url}/v2/apps/{APP}/users"

    def context(self) -> ssl.SSLContext | None:
        """Return the context to connect with."""
        return ssl.create_default_context(cafile=self.authority) if self.authority else None


@frozen
class Cost:
    """What a create costs: CPU in µs, creates a second, and the most memory in MB."""

    cpu: float
    rate: float
    memory: float


Create: TypeAlias = Callable[[int], Awaitable[object]]
Opened: TypeAlias = AbstractAsyncContextManager[Create]
BlockingCreate: TypeAlias = Callable[[int], object]


def _has_module(name: str) -> bool:
    return find_spec(name) is not None


@frozen
class Coroutines:
    """A client that is awaited, by as many tasks as calls are in flight."""

    open: Callable[[Target, int], Opened]
    on_uvloop: bool = False
    has = staticmethod(_has_module)

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return what its creates cost, once it is warm."""
        return self.run(self._measure(target, in_flight, seconds))

    def run(self, scenario: Coroutine[Any, Any, Any]) -> Any:
        """Return what *scenario* does, in the event loop of this client."""
        if self.on_uvloop:
            import uvloop  # noqa: PLC0415

            return uvloop.run(scenario)
        return asyncio.run(scenario)

    async def _measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        async with self.open(target, in_flight) as create:
            await _awaited_until(time.perf_counter() + seconds / 4, create, in_flight)
            meter = _Meter()
            return meter.read(await _awaited_until(meter.began + seconds, create, in_flight))


@frozen
class Threads:
    """A client that blocks, in as many threads as calls are in flight."""

    open: Callable[[Target, int], BlockingCreate]
    has = staticmethod(_has_module)

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return what its creates cost, once it is warm."""
        create = self.open(target, in_flight)
        with ThreadPoolExecutor(in_flight) as threads:
            _blocking_until(time.perf_counter() + seconds / 4, create, in_flight, threads)
            meter = _Meter()
            count = _blocking_until(meter.began + seconds, create, in_flight, threads)
            return meter.read(count)


@frozen
class Node:
    """A *script* that Node runs: it is told where, how many and how long, and prints the cost."""

    script: str
    keep_alive: bool = False
    """Whether its user sees to it that connections are kept."""

    def measure(self, target: Target, in_flight: int, seconds: float) -> Cost:
        """Return what its creates cost, once it is warm."""
        order = {
            "url": target.url,
            "authority": target.authority,
            "app": APP,
            "inFlight": in_flight,
            "seconds": seconds,
            "keepAlive": self.keep_alive,
        }
        done = _node(str(HERE / self.script), json.dumps(order), check=True)
        return Cost(*json.loads(done.stdout))

    def has(self, name: str) -> bool:
        """Return whether there is Node, and a package of that *name* for it."""
        found = shutil.which("node") is not None
        return found and _node("-p", f"require.resolve('{name}')").returncode == 0


class _Meter:
    """What this process has used since it was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self._cpu = time.process_time()

    def read(self, count: int) -> Cost:
        """Return the cost of each of *count* creates."""
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self.began
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        return Cost(cpu / count * 1e6, count / wall, memory)


async def _awaited_until(until: float, create: Create, in_flight: int) -> int:
    count = 0

    async def work() -> None:
        nonlocal count
        while True:
            await create(count)
            count += 1
            if time.perf_counter() > until:
                return

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return count


def _blocking_until(
    until: float, create: BlockingCreate, in_flight: int, threads: ThreadPoolExecutor
) -> int:
    def work(_: int) -> int:
        count = 0
        while True:
            create(count)
            count += 1
            if time.perf_counter() > until:
                return count

    return sum(threads.map(work, range(in_flight)))


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
