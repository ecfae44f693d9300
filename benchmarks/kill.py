"""Imports killed again and again: how many rows were lost, doubled, or are wrong in the journal.

    python benchmarks/kill.py [--kills 500] [--rows 1500] [--seed 1]

The emulator is a process of its own, and of its calls 3 in 100 go wrong. Every import is killed
(SIGKILL) until it ends, in each mode in turn, and then compared with the emulator row by row.
"""

import argparse
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from killing import Importing, Verdict, emulator, judged, people  # beside the tests

MODES = (("create", True), ("create", False), ("upsert", True), ("update", True), ("delete", True))
EACH = 10


def once(mode: str, random: Random, *, keyed: bool, rows: int) -> tuple[int, int, Verdict]:
    """Kill one import some times; return how often, how many rows are unknown, and the verdict."""
    users = people(rows, keyed=keyed)
    options = ("--latency", "0.02", "--fail", "0.03", "--seed", str(random.randrange(1000)))
    with tempfile.TemporaryDirectory() as name, emulator(Path(name), *options) as there:
        if mode in ("update", "delete"):
            there.add([{**user, "metadata": {"n": n}} for n, user in enumerate(users, 1)])
        if mode == "delete":
            users = [{"externalId": user["externalId"]} for user in users]
        job = Importing(Path(name), there.base_url, mode, users)
        kills, said = job.killed(EACH, random, there)
        return kills, said["unknown"], judged(job, there)


def main(kills: int, rows: int, seed: int) -> None:
    """Kill so many times, and print what became of the rows."""
    random = Random(seed)
    done = imports = lost = doubled = wrong = unknown = 0
    began = time.perf_counter()
    for mode, keyed in cycle(MODES):
        killed, doubtful, verdict = once(mode, random, keyed=keyed, rows=rows)
        done += killed
        imports += 1
        unknown += doubtful
        lost += verdict.lost
        doubled += verdict.doubled
        wrong += verdict.wrong
        name = mode if keyed else f"{mode} without a key"
        print(f"{name}: killed {killed} times, {doubtful} unknown, {verdict}", flush=True)
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
