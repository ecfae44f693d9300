"""User-space instructions and objects of a create, by this library and by other clients.

    python benchmarks/instructions.py [--in-flight 64] [--creates 1000]
        [--peers "sunshine_async" "aiohttp + json"] [--all]

Instructions are the same on a busy machine, where times are not. Each client runs twice under
`valgrind --tool=callgrind`: with 300 creates (or six for each call in flight, so that all connections
are open), and with *--creates* more. The difference of the two counts, divided by *--creates*, is a
create without the start of the process. Threads of a client count: valgrind runs them in turns.
Instructions don't show cold caches, nor the work of the kernel: see `compare.py` for times.

Objects are counted without valgrind while calls wait for an answer: memory blocks of at most 512
bytes (`sys.getallocatedblocks`) and containers that the garbage collector visits
(`gc.get_objects`), each as the growth over the idle client, divided by the calls in flight. The
memory of Rust clients is outside of both.
"""

import argparse
import asyncio
import gc
import json
import re
import subprocess
import sys

from attrs import astuple
from measuring import Coroutines, Create, Target, stub
from peers import AIOHTTP, OURS, PEERS

CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
CLIENTS = {
    peer.name: peer.runs
    for peer in PEERS
    if isinstance(peer.runs, Coroutines) and peer.is_installed
}
WARM = 300
BAR = 0.5
"""The most that ours may be of aiohttp's."""
WAIT = 0.2
"""Seconds after which all calls of the last round wait for the answer of the slow stub."""


async def creates(create: Create, *, in_flight: int, number: int) -> None:
    """Do *number* creates, with *in_flight* at a time."""
    numbers = iter(range(number))

    async def worker() -> None:
        for each in numbers:
            await create(each)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


async def count_objects(name: str, target: Target, in_flight: int) -> tuple[float, float]:
    """Return the memory blocks and the containers of one waiting call."""
    async with CLIENTS[name].open(target, in_flight) as create:
        await creates(create, in_flight=in_flight, number=3 * in_flight)
        gc.collect()
        blocks, containers = sys.getallocatedblocks(), len(gc.get_objects())
        calls = [asyncio.ensure_future(create(number)) for number in range(in_flight)]
        await asyncio.sleep(WAIT)
        found = sys.getallocatedblocks() - blocks, len(gc.get_objects()) - containers
        await asyncio.gather(*calls)
    return found[0] / in_flight, found[1] / in_flight


async def measured(name: str, target: Target, in_flight: int, number: int) -> None:
    """Do *number* creates in this process, which callgrind runs."""
    async with CLIENTS[name].open(target, in_flight) as create:
        await creates(create, in_flight=in_flight, number=number)


def count_instructions(name: str, target: Target, in_flight: int, number: int) -> float:
    """Return the instructions of one create."""
    warm = max(WARM, 6 * in_flight)
    orders = [[name, astuple(target), in_flight, each] for each in (warm, warm + number)]
    running = [
        subprocess.Popen(
            [*CALLGRIND, sys.executable, __file__, "--measure", json.dumps(order)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    reports = [process.communicate()[1] for process in running]
    for process, report in zip(running, reports, strict=True):
        if process.returncode:  # such as a timeout: the count is of a part
            message = f"{name} failed under valgrind:\n{report[-2000:]}"
            raise SystemExit(message)
    few, many = (int(re.search(r"Collected : (\d+)", report)[1]) for report in reports)
    return (many - few) / number


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--creates", type=int, default=1000)
    parser.add_argument(
        "--peers", nargs="+", default=[OURS, AIOHTTP], choices=CLIENTS, metavar="NAME"
    )
    parser.add_argument(
        "--all",
        action="store_const",
        dest="peers",
        const=list(CLIENTS),
        help="all that are awaited",
    )
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, target, in_flight, number = json.loads(options.measure)
        CLIENTS[name].run(measured(name, Target(*target), in_flight, number))
        return
    print(
        "| client | instructions a create | blocks a waiting call | containers |\n|---|---|---|---|"
    )
    found: dict[str, float] = {}
    with stub() as fast, stub("--latency", str(5 * WAIT)) as slow:
        for name in options.peers:
            near, far = (Target(f"http://127.0.0.1:{port}", None) for port in (fast, slow))
            objects = count_objects(name, far, options.in_flight)
            blocks, containers = CLIENTS[name].run(objects)
            found[name] = count_instructions(name, near, options.in_flight, options.creates)
            print(f"| {name} | {found[name]:,.0f} | {blocks:.0f} | {containers:.0f} |", flush=True)
    if OURS in found and AIOHTTP in found:
        ratio = found[OURS] / found[AIOHTTP]
        print(f"\ninstructions, ours ÷ aiohttp + json: {ratio:.2f}, bar {BAR}")


if __name__ == "__main__":
    main()
