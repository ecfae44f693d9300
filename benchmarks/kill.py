"""Imports killed again and again: how many rows were lost, doubled, or are wrong in the journal.

    python benchmarks/kill.py [--kills 500] [--rows 1500] [--seed 1]

The emulator is a process of its own, and of its calls 3 in 100 go wrong. Every import is killed
(SIGKILL) until it ends, by each service and mode in turn, and then compared with the emulator row by
row.
"""

import argparse
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "promises"))

from killing import SCENES, play

EACH = 10


def main(kills: int, rows: int, seed: int) -> None:
    """Kill so many times, and print what became of the rows."""
    random = Random(seed)
    done = imports = lost = doubled = wrong = unknown = 0
    began = time.perf_counter()
    for scene in cycle(SCENES):
        options = ("--latency", "0.02", "--fail", "0.03", "--seed", str(random.randrange(1000)))
        with tempfile.TemporaryDirectory() as folder:
            played = play(scene, Path(folder), EACH, rows, random, *options)
        verdict = played.verdict
        done += played.kills
        imports += 1
        unknown += played.said["unknown"]
        lost += verdict.lost
        doubled += verdict.doubled
        wrong += verdict.wrong
        print(f"{scene}: killed {played.kills} times, {played.said['unknown']} unknown, {verdict}")
        sys.stdout.flush()
        if done >= kills:
            break
    took = time.perf_counter() - began
    print(f"{done} kills, {imports} imports of {rows:,} rows, {took:.0f} s; {unknown} unknown")
    print(f"rows lost {lost}, doubled {doubled}, wrong {wrong}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    main(arguments.kills, arguments.rows, arguments.seed)
