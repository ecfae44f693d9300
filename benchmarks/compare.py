"""CPU time of a create by this library and by other clients, in one run: tables in Markdown.

    python benchmarks/compare.py [--runs 7] [--seconds 0.5] [--in-flight 1 64 256 1000]
        [--peers "sunshine_async" "aiohttp + json"] [--plot] [--pin]
    python benchmarks/compare.py --check

Stub servers run in processes of their own. Each measurement is a process, too. A turn has one
measurement of each client under each load, and every second turn goes backwards, so that other
work of the machine falls on all clients. Tables show medians of the turns. A bar compares two
measurements of the same turn, turn by turn, and the median of these ratios counts.

*--check* measures only the clients and loads of the bars, in about four minutes. The exit status is
0 if all bars hold, 1 if a bar doesn't hold, and 2 if a bar has not been measured, such as for a
client that is not installed.

The number that counts is CPU time of the client's process, of all threads: throughput without
latency depends as much on the stub. The system chooses the processors, as for users. With *--pin*
the servers have one processor and the client another, which spreads less, and spares threads the
cost of two processors.

The vendor's JS client takes part once Node has it: `npm install -g sunshine-conversations-client`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path
from statistics import median, quantiles
from typing import Final, TypeAlias

from attrs import astuple, evolve, frozen
from measuring import HERE, Cost, Target, pin, stub
from peers import (
    AIOHTTP,
    HTTPX,
    JS,
    JS_KEPT,
    OURS,
    OURS_ON_UVLOOP,
    PEERS,
    PYREQWEST_TYPED,
    RAW,
    RAW_TYPED,
    RAW_TYPED_ON_UVLOOP,
    VENDOR,
    Peer,
)


@frozen
class Load:
    """Conditions of a measurement."""

    in_flight: int
    latency: float = 0.0
    tls: bool = False

    def __str__(self) -> str:
        tls = ", TLS" if self.tls else ""
        return f"{self.in_flight:,} in flight{f', {self.latency:g} s' * bool(self.latency)}{tls}"


Key: TypeAlias = tuple[str, Load]
"""A client's name, and the load."""
Costs: TypeAlias = Mapping[Key, list[Cost | None]]
"""The cost in each turn; None where the measurement failed."""

AT_64: Final = Load(64)
AT_1000: Final = Load(1000)
FAR: Final = Load(1000, latency=0.1)
TLS: Final = Load(64, tls=True)


@frozen
class Bar:
    """Ratio of two measurements in the same turn, and bounds: *most* and *least*."""

    title: str
    part: Key
    whole: Key
    most: float = inf
    least: float = 0.0
    what: str = "cpu"
    turns: int = sys.maxsize
    """The most turns: two are enough where the client is slow and the ratio far from the bar."""

    def ratios(self, costs: Costs) -> list[float]:
        """Return the ratio of each turn with both measurements."""
        pairs = zip(costs.get(self.part, ()), costs.get(self.whole, ()), strict=False)
        return [
            getattr(part, self.what) / getattr(whole, self.what)
            for part, whole in pairs
            if part and whole
        ]


BARS: Final = (
    Bar("64 ÷ raw sockets with our codec", (OURS, AT_64), (RAW_TYPED, AT_64), most=1.25),
    Bar(
        "the same, both on uvloop",
        *((OURS_ON_UVLOOP, AT_64), (RAW_TYPED_ON_UVLOOP, AT_64)),
        most=1.25,
    ),
    Bar("64 ÷ aiohttp + json", (OURS, AT_64), (AIOHTTP, AT_64), most=0.5),
    Bar("64 on uvloop ÷ aiohttp + json", (OURS_ON_UVLOOP, AT_64), (AIOHTTP, AT_64), most=0.45),
    Bar("1,000 ÷ 64", (OURS, AT_1000), (OURS, AT_64), most=1.15),
    Bar("1,000 ÷ 1", (OURS, AT_1000), (OURS, Load(1)), most=1.3),
    Bar("TLS ÷ plain, 64", (OURS, TLS), (OURS, AT_64), most=1.5),
    Bar("TLS, 64 ÷ pyreqwest with our codec", (OURS, TLS), (PYREQWEST_TYPED, TLS), most=1.2),
    Bar("64 ÷ the vendor's client", (OURS, AT_64), (VENDOR, AT_64), most=1 / 9),
    Bar("64 ÷ the vendor's JS client", (OURS, AT_64), (JS, AT_64), most=1 / 3, turns=2),
    Bar("the same, told to keep connections", (OURS, AT_64), (JS_KEPT, AT_64), most=1 / 3),
    Bar("256 ÷ httpx", (OURS, Load(256)), (HTTPX, Load(256)), most=1 / 120, turns=2),
    Bar(
        "creates a second at 1,000 and 100 ms ÷ raw sockets",
        *((OURS, FAR), (RAW, FAR)),
        least=0.9,
        what="rate",
    ),
)
"""Of CPU time, if not of another number."""


@contextmanager
def _targets(processor: int | None) -> Iterator[Callable[[Load], Target]]:
    """Yield the function that returns the server for a load; servers run on *processor*."""
    import trustme  # noqa: PLC0415 - the processes of the clients have no use for it

    found: dict[tuple[float, bool], Target] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            f"{folder}/certificate.pem"
        )

        def target(load: Load) -> Target:
            kind = (load.latency, load.tls)
            if kind not in found:
                options = ["--certificate", f"{folder}/certificate.pem"] if load.tls else []
                options += ["--latency", str(load.latency)]
                port = stack.enter_context(stub(*options, processor=processor))
                found[kind] = (
                    Target(f"https://127.0.0.1:{port}", f"{folder}/authority.pem")
                    if load.tls
                    else Target(f"http://127.0.0.1:{port}")
                )
            return found[kind]

        yield target


def compare(turns: Mapping[Key, int], *, seconds: float, processor: int | None) -> Costs:
    """Measure each key as often as *turns* has, in turns; *processor* is the servers'."""
    costs: dict[Key, list[Cost | None]] = {key: [] for key in turns}
    with _targets(processor) as target:
        for turn in range(max(turns.values())):
            keys = [key for key in turns if turn < turns[key]]
            for name, load in keys if turn % 2 == 0 else reversed(keys):
                print(f"turn {turn + 1}, {load}: {name}", file=sys.stderr)
                costs[name, load].append(_in_a_process(name, load, target(load), seconds))
    return costs


def _in_a_process(name: str, load: Load, target: Target, seconds: float) -> Cost | None:
    order = json.dumps([name, astuple(target), load.in_flight, seconds])
    command = [sys.executable, __file__, "--measure", order]
    before = target.counts()
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60 + 20 * seconds)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name} failed: {(error.stderr or b'')[-400:]!r}", file=sys.stderr)
        return None
    connections, creates, size = (
        now - then for now, then in zip(target.counts(), before, strict=True)
    )
    cost = Cost(*json.loads(done.stdout.splitlines()[-1]))
    return evolve(cost, connections=connections, request=size / creates)


def medians(costs: Costs) -> dict[Key, Cost]:
    """Return the median of each number, without measurements that failed."""
    return {
        key: Cost(*(median(numbers) for numbers in zip(*map(astuple, found), strict=True)))
        for key, all_found in costs.items()
        if (found := [cost for cost in all_found if cost])
    }


def table(costs: Mapping[Key, Cost], loads: list[Load], title: str, what: str) -> str:
    """Return a table of one number, clients by calls in flight."""
    lines = [f"| {title} | " + " | ".join(f"{load.in_flight:,}" for load in loads) + " |"]
    lines.append("|---" * (len(loads) + 1) + "|")
    for name in dict.fromkeys(name for name, _ in costs):
        found = [costs.get((name, load)) for load in loads]
        cells = [f"{getattr(cost, what):,.0f}" if cost else "-" for cost in found]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measurements(costs: Mapping[Key, Cost]) -> str:
    """Return the table of all numbers of each measurement."""
    lines = ["| client | load | CPU, µs | a second | MB | connections | bytes of a request |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (name, load), cost in costs.items():
        cells = (f"{number:,.0f}" for number in astuple(cost))
        lines.append(f"| {name} | {load} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def check(costs: Costs) -> tuple[str, int]:
    """Return the table of the bars, and the exit status."""
    lines = [
        "| CPU, in flight | median | half of the turns | bar | holds |",
        "|---|---|---|---|---|",
    ]
    status = 0
    for bar in BARS:
        limit = f"≤ {_number(bar.most)}" if bar.most < inf else f"≥ {_number(bar.least)}"
        ratios = bar.ratios(costs)
        if len(ratios) < 2:
            lines.append(f"| {bar.title} | - | - | {limit} | not measured |")
            status = status or 2
            continue
        low, middle, high = quantiles(ratios, n=4, method="inclusive")
        holds = bar.least <= middle <= bar.most
        status = status if holds else 1
        spread = f"{_number(low)} to {_number(high)}"
        answer = "yes" if holds else "**no**"
        lines.append(f"| {bar.title} | {_number(middle)} | {spread} | {limit} | {answer} |")
    return "\n".join(lines), status


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.2 else f"1/{1 / ratio:.1f}"


def plot(costs: Mapping[Key, Cost], loads: list[Load]) -> Path:
    """Draw CPU time by calls in flight, and return the file."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for name in dict.fromkeys(name for name, _ in costs):
        at = [load for load in loads if (name, load) in costs]
        axes.plot(
            [load.in_flight for load in at],
            [costs[name, load].cpu for load in at],
            marker="o",
            label=name,
            linewidth=3 if name == OURS else 1.5,
        )
    axes.set(xscale="log", yscale="log", xlabel="calls in flight", ylabel="CPU per create, µs")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(HERE / "compare.png", dpi=120)
    return HERE / "compare.png"


def _named(names: Iterable[str]) -> list[Peer]:
    """Return the clients of these *names* that are installed."""
    peers = [peer for peer in PEERS if peer.name in set(names)]
    for missing in (peer for peer in peers if not peer.is_installed):
        print(f"{missing.name}: left out, {' and '.join(missing.needs)} isn't installed\n")
    return [peer for peer in peers if peer.is_installed]


def main() -> int:
    """Measure, print the tables, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [peer.name for peer in PEERS]
    parser.add_argument("--runs", type=int, default=7, help="turns; the bars need two or more")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 64, 256, 1000])
    parser.add_argument("--peers", nargs="+", default=every, choices=every, metavar="NAME")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, target, in_flight, seconds = json.loads(arguments.measure)
        [peer] = [peer for peer in PEERS if peer.name == name]
        print(json.dumps(astuple(peer.runs.measure(Target(*target), in_flight, seconds))))
        return 0
    if arguments.pin:
        pin(1)  # and the processes that this one starts
    names = [peer.name for peer in _named(arguments.peers)]
    plain = [Load(number) for number in arguments.in_flight]
    far = [Load(number, latency=0.1) for number in arguments.in_flight]
    secure = [Load(number, tls=True) for number in arguments.in_flight]
    turns = {(name, load): arguments.runs for load in plain + far + secure for name in names}
    if arguments.check:
        turns = {}
        for bar in BARS:
            for key in (bar.part, bar.whole):
                if key[0] in names:
                    turns[key] = max(turns.get(key, 0), min(arguments.runs, bar.turns))
    costs = compare(turns, seconds=arguments.seconds, processor=0 if arguments.pin else None)
    found = medians(costs)
    if arguments.check:
        print(measurements(found), end="\n\n")
    else:
        for title, what, loads in (
            ("CPU per create, µs; in flight:", "cpu", plain),
            ("CPU per create, µs, with TLS", "cpu", secure),
            ("creates a second", "rate", plain),
            ("creates a second at 100 ms latency", "rate", far),
            ("most memory, MB, at 100 ms latency", "memory", far),
            ("connections that were opened", "connections", plain),
            ("bytes of a request", "request", plain),
        ):
            print(table(found, loads, title, what), end="\n\n")
    bars, status = check(costs)
    print(bars)
    if arguments.plot:
        print(f"\n{plot(found, plain)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
