"""How long importing the library takes beyond httpx, and what it brings along.

    python benchmarks/imports.py [--runs 15]

Each import is its own process; the figure is the median of the differences of pairs.
"""

import argparse
import statistics
import subprocess
import sys

CASES = {
    "import sunshine_async": 60,
    "from sunshine_async import SunshineClient": None,
    "from sunshine_async import SmoochClient": None,
    "from sunshine_async import DixaClient": None,
}
"""What is imported, and the most milliseconds that it may take beyond httpx."""
UNWANTED = ("jwt", "typer", "rich", "starlette", "uvicorn")


def milliseconds(statement: str) -> float:
    """Return how long *statement* takes in a fresh interpreter that has imported httpx."""
    code = (
        f"import time, httpx; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    print("| what, after `import httpx` | ms, median | bar |\n|---|---|---|")
    for statement, bar in CASES.items():
        taken = statistics.median(milliseconds(statement) for _ in range(runs))
        print(f"| `{statement}` | {taken:.0f} | {bar or ''} |")
    code = "import sys; sys.modules['rich'] = None; import sunshine_async; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    came = [name for name in UNWANTED if name != "rich" and name in loaded.stdout.split()]
    print(f"\nbrought along though nobody asked: {', '.join(came) or 'nothing'}")


if __name__ == "__main__":
    main()
