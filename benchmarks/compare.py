"""What a create costs by this library and by others, in one run: a table in Markdown.

    python benchmarks/compare.py [--runs 5] [--seconds 1] [--in-flight 1 64 256 1000]
        [--plot] [--pin]

A stub server runs in a process of its own; each measurement is a process of its own, too, and the
peers take turns, so that what else the machine does falls on all of them. They run as users run
them: where, is the system's choice. With *--pin* the server has one processor and the client
another, which spreads less, and spares threads what they cost on two. Numbers are medians. The one
that counts is CPU time, of the client alone: throughput without latency is as much the stub's.

The vendor's JS client takes part once Node has it: `npm install -g sunshine-conversations-client`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import trustme
from attrs import astuple, frozen
from measuring import HERE, Cost, Target
from peers import PEERS, Peer

OURS, ON_UVLOOP, AIOHTTP, _, HTTPX, VENDOR, JS, JS_KEPT, RAW = (peer.name for peer in PEERS)


@frozen
class Load:
    """What a measurement is taken under."""

    in_flight: int
    latency: float = 0.0
    tls: bool = False


Costs = Mapping[tuple[str, Load], Cost]

BARS = (
    ("CPU at 64 ÷ aiohttp + json", OURS, Load(64), AIOHTTP, Load(64), "cpu", 0.6),
    ("CPU at 64 on uvloop ÷ aiohttp + json", ON_UVLOOP, Load(64), AIOHTTP, Load(64), "cpu", 0.45),
    ("CPU at 64 ÷ the vendor's client", OURS, Load(64), VENDOR, Load(64), "cpu", 1 / 9),
    ("CPU at 64 ÷ the vendor's JS client", OURS, Load(64), JS, Load(64), "cpu", 1 / 3),
    ("the same, told to keep connections", OURS, Load(64), JS_KEPT, Load(64), "cpu", 1 / 3),
    ("CPU at 256 ÷ httpx", OURS, Load(256), HTTPX, Load(256), "cpu", 1 / 120),
    ("CPU at 1,000 ÷ at 1", OURS, Load(1000), OURS, Load(1), "cpu", 1.3),
    (
        "throughput at 1,000 and 100 ms ÷ raw sockets",
        *(OURS, Load(1000, latency=0.1), RAW, Load(1000, latency=0.1)),
        *("rate", -0.9),
    ),
)
"""What is divided by what, and the most that it may be; where negative, the least."""


@contextmanager
def stub(*arguments: str, processor: int | None = None) -> Iterator[int]:
    """Run a stub server, on that *processor* if one is given, and yield its port."""
    command = [sys.executable, str(HERE / "stub_server.py"), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None  # noqa: S101
        assert running.stdout is not None  # noqa: S101
        if processor is not None:
            _pin(processor, running.pid)
        yield int(running.stdout.readline())
        running.stdin.close()


def _pin(processor: int, pid: int = 0) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        with suppress(OSError):
            os.sched_setaffinity(pid, {processor})


def compare(
    loads: list[Load], peers: list[Peer], *, runs: int, seconds: float, processor: int | None
) -> dict[tuple[str, Load], Cost]:
    """Measure all *peers* under all *loads*, in turn; *processor* is the stub's."""
    found: dict[tuple[str, Load], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            f"{folder}/certificate.pem"
        )
        for load in loads:
            arguments = ["--latency", str(load.latency)]
            if load.tls:
                arguments += ["--certificate", f"{folder}/certificate.pem"]
            with stub(*arguments, processor=processor) as port:
                url = f"{'https' if load.tls else 'http'}://127.0.0.1:{port}"
                target = Target(url, f"{folder}/authority.pem" if load.tls else None)
                for run in range(runs):
                    for peer in peers:
                        print(f"{load} {run + 1}/{runs} {peer.name}", file=sys.stderr)
                        cost = _in_a_process(peer, load, target, seconds)
                        if cost is not None:
                            found.setdefault((peer.name, load), []).append(cost)
    return {key: _median(costs) for key, costs in found.items()}


def _in_a_process(peer: Peer, load: Load, target: Target, seconds: float) -> Cost | None:
    order = json.dumps([peer.name, astuple(target), load.in_flight, seconds])
    command = [sys.executable, __file__, "--measure", order]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60 + 20 * seconds)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{peer.name} failed: {(error.stderr or b'')[-400:]!r}", file=sys.stderr)
        return None
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        median(cost.cpu for cost in costs),
        median(cost.rate for cost in costs),
        median(cost.memory for cost in costs),
    )


def table(costs: Costs, peers: list[Peer], loads: list[Load], title: str, what: str) -> str:
    """Return a table of one number, peers by calls in flight."""
    lines = [f"| {title} | " + " | ".join(f"{load.in_flight:,}" for load in loads) + " |"]
    lines.append("|---" * (len(loads) + 1) + "|")
    for peer in peers:
        found = [costs.get((peer.name, load)) for load in loads]
        cells = [f"{getattr(cost, what):,.0f}" if cost else "-" for cost in found]
        lines.append(f"| {peer.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(costs: Costs) -> str:
    """Return the table of what must hold."""
    lines = ["| what | measured | bar |", "|---|---|---|"]
    for title, ours, load, other, its_load, what, bar in BARS:
        if (ours, load) in costs and (other, its_load) in costs:
            ratio = getattr(costs[ours, load], what) / getattr(costs[other, its_load], what)
            sign = "≤" if bar > 0 else "≥"
            lines.append(f"| {title} | {_number(ratio)} | {sign} {_number(abs(bar))} |")
    return "\n".join(lines)


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio > 0.2 else f"1/{1 / ratio:.1f}"


def plot(costs: Costs, peers: list[Peer], loads: list[Load]) -> Path:
    """Draw CPU time by calls in flight, and return the file."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for peer in peers:
        at = [load for load in loads if (peer.name, load) in costs]
        axes.plot(
            [load.in_flight for load in at],
            [costs[peer.name, load].cpu for load in at],
            marker="o",
            label=peer.name,
            linewidth=3 if peer.name == OURS else 1.5,
        )
    axes.set(xscale="log", yscale="log", xlabel="calls in flight", ylabel="CPU per create, µs")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.tight_layout()
    figure.savefig(HERE / "compare.png", dpi=120)
    return HERE / "compare.png"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 64, 256, 1000])
    parser.add_argument("--plot", action="store_true")
    parser.add_argument("--pin", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, target, in_flight, seconds = json.loads(arguments.measure)
        [peer] = [peer for peer in PEERS if peer.name == name]
        print(json.dumps(astuple(peer.runs.measure(Target(*target), in_flight, seconds))))
        return
    if arguments.pin:
        _pin(1)  # and so what it starts
    peers = [peer for peer in PEERS if peer.is_installed]
    for missing in (peer for peer in PEERS if not peer.is_installed):
        print(f"{missing.name}: left out, {' and '.join(missing.needs)} isn't installed\n")
    plain = [Load(number) for number in arguments.in_flight]
    secure = [Load(number, tls=True) for number in arguments.in_flight]
    far = [Load(number, latency=0.1) for number in arguments.in_flight]
    costs: dict[tuple[str, Load], Cost] = {}
    for loads, tables in (
        (plain, {"CPU per create, µs; in flight:": "cpu", "creates a second": "rate"}),
        (far, {"creates a second at 100 ms latency": "rate", "most memory, MB": "memory"}),
        (secure, {"CPU per create, µs, with TLS": "cpu"}),
    ):
        costs |= compare(
            loads,
            peers,
            runs=arguments.runs,
            seconds=arguments.seconds,
            processor=0 if arguments.pin else None,
        )
        for title, what in tables.items():
            print(table(costs, peers, loads, title, what), end="\n\n", flush=True)
    print(ratios(costs))
    if arguments.plot:
        print(f"\n{plot(costs, peers, plain)}", file=sys.stderr)


if __name__ == "__main__":
    main()
