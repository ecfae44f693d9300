"""What a watcher costs an import: CPU time of the import with and without ``job show --watch``, in pairs.

    python benchmarks/watching.py [--rows 15000] [--pairs 9] [--bar 0.02]

Each import is a process of its own, with a journal, against a process that answers after 1 ms; the
watcher looks every second, as for a person. The exit status is 1 if the median of the pairs is
above the bar.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from math import inf
from pathlib import Path

from attrs import frozen
from journal import write
from measuring import stub

from sunshine_async.journal import JournalReader

COMMAND = (sys.executable, "-m", "sunshine_async")


@frozen
class Cost:
    """What an import took: seconds of CPU and of a clock, and the number of lines of its watcher."""

    cpu: float
    seconds: float
    looks: int = 0


def measured(file: Path, journal: Path, url: str, *, watched: bool) -> Cost:
    """Import *file*, with a watcher beside if *watched*; return what the import took."""
    env = {
        **os.environ, "SUNSHINE_APP_ID": "app", "SUNSHINE_KEY_ID": "id",
        "SUNSHINE_KEY_SECRET": "secret", "SUNSHINE_BASE_URL": url,
    }  # fmt: skip
    began = time.perf_counter()
    job = subprocess.Popen(
        [*COMMAND, "import", file, "--mode", "create", "--journal", journal, "--json"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    watcher = None
    if watched:
        while not journal.exists() or not JournalReader(journal).running:
            time.sleep(0.01)
        watcher = subprocess.Popen(
            [*COMMAND, "job", "show", journal, "--watch"], env=env, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    _, status, used = os.wait4(job.pid, 0)
    job.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    looks = len(watcher.communicate()[1].splitlines()) if watcher else 0
    if job.returncode:
        sys.exit(f"the import has ended with status {job.returncode}")
    return Cost(used.ru_utime + used.ru_stime, seconds, looks)


def main(rows: int, pairs: int, bar: float) -> int:
    """Print what a watcher costs; return the exit status."""
    ratios: list[float] = []
    least = {False: inf, True: inf}
    with tempfile.TemporaryDirectory() as folder, stub("--latency", "0.001") as port:
        url = f"http://127.0.0.1:{port}"
        file = Path(folder, "users.jsonl")
        write(file, rows)
        for number in range(pairs):
            pair: dict[bool, Cost] = {}
            for watched in (number % 2 == 0, number % 2 == 1):
                journal = Path(folder, f"{number}-{watched}.sqlite")
                pair[watched] = measured(file, journal, url, watched=watched)
                least[watched] = min(least[watched], pair[watched].cpu)
            ratios.append(pair[True].cpu / pair[False].cpu)
            print(
                f"{pair[False].cpu:.2f} s of CPU alone, {pair[True].cpu:.2f} s watched "
                f"({pair[True].looks} looks): {ratios[-1] - 1:+.1%}",
                flush=True,
            )
    ratios.sort()
    low, middle, high = ratios[pairs // 4], statistics.median(ratios), ratios[-1 - pairs // 4]
    print(f"median {middle - 1:+.2%}; half of the pairs from {low - 1:+.2%} to {high - 1:+.2%}")
    print(f"least CPU of all, on a busy machine: {least[True] / least[False] - 1:+.2%}")
    return int(middle - 1 > bar)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=15_000)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--bar", type=float, default=0.02)
    options = parser.parse_args()
    sys.exit(main(options.rows, options.pairs, options.bar))
