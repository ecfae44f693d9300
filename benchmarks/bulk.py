"""What `bulk.run` costs: seconds an item, and memory over a million of them.

    python benchmarks/bulk.py [--items 1000000] [--runs 5]

The coroutine is trivial, so what is left is what the run itself adds. Memory is the resident size
of this process, read while the run is under way.
"""

import argparse
import asyncio
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sunshine_async import bulk

PAGE = resource.getpagesize()
KINDS: dict[str, dict[str, Any]] = {
    "as they finish": {},
    "64 at once": {"concurrency": 64},
    "with a key": {"concurrency": 64, "key": lambda number: number},
    "ordered": {"concurrency": 64, "ordered": True},
}


async def echo(number: int) -> int:
    """Return the number."""
    return number


async def alone(items: int) -> None:
    """Await the coroutine for each item, with nothing around it."""
    for number in range(items):
        await echo(number)


async def together(items: int, at: Callable[[int], None], **options: Any) -> None:
    """Run the coroutine over the items, and say how many outcomes have come."""
    seen = 0
    async with bulk.run(echo, range(items), **options) as outcomes:
        async for _ in outcomes:
            seen += 1
            at(seen)


def resident() -> float:
    """Return the resident size of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def cpu(scenario: Any) -> float:
    """Return the CPU seconds that *scenario* takes."""
    began = time.process_time()
    asyncio.run(scenario)
    return time.process_time() - began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    sample = arguments.items // 10

    print("| run | µs added an item, median of the runs | bar |\n|---|---|---|")
    for name, options in KINDS.items():
        added = [
            cpu(together(sample, lambda _: None, **options)) - cpu(alone(sample))
            for _ in range(arguments.runs)
        ]
        bar = "15" if name != "ordered" else ""
        print(f"| {name} | {statistics.median(added) / sample * 1e6:.1f} | {bar} |")

    memory: dict[int, float] = {}

    def at(seen: int) -> None:
        if seen in (sample, arguments.items):
            memory[seen] = resident()

    asyncio.run(together(arguments.items, at))
    grown = memory[arguments.items] - memory[sample]
    print(f"\n{grown:.1f} MB more at {arguments.items:,} items than at {sample:,} (bar: 15)")


if __name__ == "__main__":
    main()
