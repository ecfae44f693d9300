"""One rate for many processes: four web processes and a batch, with one credential.

    python benchmarks/shared_pace.py [--seconds 20] [--limits window,bucket] [--stores file,redis]
        [--cases declared,learnt,stopped,killed,none] [--check]

Each process has a client of its own. A web process makes 1.5 interactive calls a second at random
times, the batch as many calls as the pace allows. The service allows 600 calls in 10 s, or 60 a
second. Stores are a file, or a Redis server that this program starts (``redis-server``).

- declared: the rate is declared and shared;
- learnt: no rate is declared, the processes learn the limit together; from the third window on;
- stopped, killed: Redis is stopped (SIGSTOP), or killed and started again empty, for 4 s;
- none: the rate isn't shared, each process learns alone.

Without a Redis server: ``--stores file --cases declared,learnt,none``.

With ``--check`` the program fails where a bar isn't met, or where a case can't be measured.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from limiters import Gate, limiter_of, serve

from sunshine_async import BasicAuth, Lane, Pace, Retry, SunshineClient, SunshineError
from sunshine_async._pace.waiting import shared_from

WEBS: Final = 4
WEB_RATE: Final = 1.5
WORKERS: Final = 16
LATENCY: Final = 0.02
OUTAGE: Final = 4.0
LIMITS: Final = {"window": ("fixed", 600, 10), "bucket": ("bucket", 60, 6)}
DECLARED: Final = 57.0
SERVED: Final = 60.0
PATH: Final = "/v2/apps/{app_id}/integrations"


@frozen(kw_only=True)
class Result:
    """The result of one case."""

    share: float
    """Accepted calls, as a share of the limit."""
    refused: float
    """Refused requests (429), as a share of all requests."""
    p50: float
    """Seconds of an interactive call, the median."""
    p99: float
    lost: int
    """Calls that ended in an error."""
    back: float | None = None
    """Seconds from the return of the store to the full rate."""


BARS: Final = {
    "declared": lambda r: r.share >= 0.9 and r.refused <= 0.005 and r.p50 <= 0.1 and r.p99 <= 0.5,
    "learnt": lambda r: r.share >= 0.8 and r.refused <= 0.03 and r.p99 <= 1.5,
    "stopped": lambda r: r.lost == 0 and r.refused <= 0.01 and (r.back or 0) <= 3,
    "killed": lambda r: r.lost == 0 and r.refused <= 0.01 and (r.back or 0) <= 3,
    "none": lambda _: True,
}


async def work(url: str, pace: Pace, *, is_batch: bool, seconds: float) -> dict[str, Any]:
    """Make the calls of one process; return the times of interactive calls, and the failures."""
    client = SunshineClient(
        "app", auth=BasicAuth("key-id", "secret"), base_url=url, pace=pace, allow_insecure=True,
        retry=Retry(deadline=60.0),
    )  # fmt: skip
    until = time.monotonic() + seconds
    calls: list[tuple[float, float]] = []
    lost = 0

    async def call(sender: SunshineClient) -> None:
        nonlocal lost
        began = time.monotonic()
        try:
            await sender.request("GET", PATH)
        except SunshineError:
            lost += 1
        calls.append((began, time.monotonic() - began))

    async def repeat(sender: SunshineClient) -> None:
        while time.monotonic() < until:
            await call(sender)

    async with client, asyncio.TaskGroup() as tasks:
        if is_batch:
            for _ in range(WORKERS):
                tasks.create_task(repeat(client.with_options(lane=Lane.BATCH)))
        else:
            while time.monotonic() < until:
                await asyncio.sleep(random.expovariate(WEB_RATE))
                tasks.create_task(call(client))
    return {"calls": [] if is_batch else calls, "lost": lost}


def unused_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def missing_for_redis() -> str | None:
    """Return the part that cases with Redis need, and how to install it; None: all is there."""
    if shutil.which("redis-server") is None:
        return "redis-server isn't installed (apt-get install redis-server)"
    if find_spec("redis") is None:
        return "redis-py isn't installed (pip install 'sunshine-async[redis]')"
    return None


def start_redis(port: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start an empty Redis server; return when it accepts connections, or exit if it never does."""
    command = ["redis-server", "--port", f"{port}", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 0.1).close()
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.02)
        else:
            return server
    server.kill()
    sys.exit(f"{shutil.which(command[0])} doesn't start (exit status {server.wait()})")


@contextmanager
def store_of(kind: str) -> Iterator[tuple[str, "list[subprocess.Popen[bytes]]", int]]:
    """Give the address of a new store, with the server and port where there is a server."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), unused_port()
        servers = [start_redis(port, folder)] if kind == "redis" else []
        address = {"file": f"file:{folder}/pace", "redis": f"redis://127.0.0.1:{port}/0", "": ""}
        try:
            yield address[kind], servers, port
        finally:
            for server in servers:
                server.kill()
                server.wait()


async def disturb(case: str, servers: "list[subprocess.Popen[bytes]]", port: int) -> float:
    """Stop or kill the last of *servers* for a while; return the time of the return."""
    await asyncio.sleep(4)
    server = servers[-1]
    server.send_signal(signal.SIGSTOP if case == "stopped" else signal.SIGKILL)
    await asyncio.sleep(OUTAGE)
    if case == "stopped":
        server.send_signal(signal.SIGCONT)
    else:
        server.wait()
        servers.append(await asyncio.to_thread(start_redis, port, Path(tempfile.gettempdir())))
    return time.monotonic()


async def measure(case: str, limit: str, store: str, seconds: float) -> Result:
    """Run the processes of one case against a limiter of this program."""
    kind, number, length = LIMITS[limit]
    gate = Gate(limiter_of(kind, number, length, offset=time.monotonic()))
    server = await serve(gate, LATENCY)
    url = "http://{}:{}".format(*server.sockets[0].getsockname())
    with store_of(store) as (address, servers, port):
        rate = None if case in {"learnt", "none"} else DECLARED
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--work",
                json.dumps({"url": url, "address": address, "rate": rate, "seconds": seconds,
                            "is_batch": number == 0}),
                stdout=asyncio.subprocess.PIPE,
            )
            for number in range(WEBS + 1)
        ]  # fmt: skip
        back_at = await disturb(case, servers, port) if case in {"stopped", "killed"} else None
        said = [json.loads((await one.communicate())[0]) for one in processes]
    server.close()
    began = gate.accepted[0]
    since = began + (20.0 if case in {"learnt", "none"} else 2.0)
    until = began + seconds - 1
    accepted = [at for at in gate.accepted if since <= at < until]
    refused = [at for at in gate.refused if since <= at < until]
    calls = sorted(took for one in said for start, took in one["calls"] if start >= since)
    return Result(
        share=len(accepted) / (until - since) / SERVED,
        refused=len(refused) / max(1, len(refused) + len(accepted)),
        p50=calls[len(calls) // 2],
        p99=calls[len(calls) * 99 // 100],
        lost=sum(one["lost"] for one in said),
        back=None if back_at is None else full_rate_after(gate.accepted, back_at),
    )


def full_rate_after(accepted: list[float], back_at: float) -> float:
    """Return the seconds from *back_at* to the first second with nine tenths of the rate."""
    for tenth in range(100):
        since = back_at + tenth / 10
        if sum(since <= at < since + 1 for at in accepted) >= 0.9 * DECLARED:
            return tenth / 10
    return 10.0


def main() -> None:
    """Measure all cases, or work as one of the processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--limits", default="window,bucket")
    parser.add_argument("--stores", default="file,redis")
    parser.add_argument("--cases", default="declared,learnt,stopped,killed,none")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--work")
    given = parser.parse_args()
    if given.work:
        told = json.loads(given.work)
        pace = Pace(rate=told["rate"], shared=shared_from(told["address"]))
        found = work(told["url"], pace, is_batch=told["is_batch"], seconds=told["seconds"])
        print(json.dumps(asyncio.run(found)))
        return
    failed = False
    for case in given.cases.split(","):
        for limit in given.limits.split(","):
            stores = {"none": [""], "stopped": ["redis"], "killed": ["redis"]}
            for store in stores.get(case, given.stores.split(",")):
                if store == "redis" and (missing := missing_for_redis()):
                    print(f"{case:9} {limit:7} {store:6} NOT MEASURED: {missing}")
                    failed = True
                    continue
                seconds = max(given.seconds, 50.0 if case in {"learnt", "none"} else 14.0)
                result = asyncio.run(measure(case, limit, store, seconds))
                is_met = BARS[case](result)
                failed |= not is_met
                back = "" if result.back is None else f"  full rate after {result.back:.1f} s"
                print(
                    f"{case:9} {limit:7} {store:6} share {result.share:.2f}  429 {result.refused:.2%}"
                    f"  p50 {result.p50:.3f} s  p99 {result.p99:.3f} s  lost {result.lost}{back}"
                    f"  {'ok' if is_met else 'MISSED'}  load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
    if failed and given.check:
        sys.exit("a bar isn't met, or a case wasn't measured")


if __name__ == "__main__":
    main()
