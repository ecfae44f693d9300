"""How long importing the library takes beyond httpx, and what it brings along.

    python benchmarks/imports.py [--runs 15] [--instructions]

- Each import is a whole process, after a first one that leaves bytecode, as an installer does. A
  pair is the process with the library and a process with ``import httpx`` alone, one after another;
  the figure is the median of the differences.
- ``--instructions`` counts instructions in user space instead, by ``valgrind --tool=callgrind``:
  the count is the same on a busy machine. One run of each is enough.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from functools import cache
from tempfile import mkdtemp

HTTPX = "import httpx"
CASES = {
    "import sunshine_async": 60,
    "from sunshine_async import SunshineClient": 60,
    "from sunshine_async import SmoochClient": None,
    "from sunshine_async import DixaClient": None,
}
"""What is imported, and the most milliseconds that it may take beyond httpx."""
UNWANTED = ("asyncio", "cattrs", "jwt", "typer", "rich", "starlette", "uvicorn")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


@cache
def environment() -> dict[str, str]:
    """Return the environment of the processes: bytecode is kept, and hashes are the same."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PYTHONPYCACHEPREFIX": mkdtemp(), "PYTHONHASHSEED": "0"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run *command* to the end."""
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment())


def milliseconds(statement: str) -> float:
    """Return how long a process takes that runs *statement*."""
    began = time.perf_counter()
    run(sys.executable, "-c", statement)
    return (time.perf_counter() - began) * 1000


def instructions(statement: str) -> float:
    """Return the millions of instructions of a process that runs *statement*."""
    counted = run(*CALLGRIND, sys.executable, "-c", statement).stderr
    return int(re.search(r"Collected : (\d+)", counted)[1]) / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    measure, runs = (instructions, 1) if options.instructions else (milliseconds, options.runs)
    unit = "million instructions" if options.instructions else "ms, median"
    print(f"| what, beyond `{HTTPX}` | {unit} | bar, ms |\n|---|---|---|")
    for statement, bar in CASES.items():
        both = f"{HTTPX}; {statement}"
        milliseconds(both)
        taken = statistics.median(measure(both) - measure(HTTPX) for _ in range(runs))
        print(f"| `{statement}` | {taken:.0f} | {bar or ''} |", flush=True)
    code = (
        "import sys; sys.modules['rich'] = None; from sunshine_async import SunshineClient;"
        "print(*sys.modules)"
    )
    loaded = run(sys.executable, "-c", code).stdout.split()
    came = [name for name in UNWANTED if name != "rich" and name in loaded]
    print(f"\nbrought along though nobody asked: {', '.join(came) or 'nothing'}")


if __name__ == "__main__":
    main()
