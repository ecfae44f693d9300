"""What a journal costs: throughput with and without, memory by rows, resuming, and the next night.

    python benchmarks/journal.py [--rows 20000] [--runs 11] [--many 1000000] [--only dixa]
    python benchmarks/journal.py --postgres [URL]

Throughput is that of a job of creates, 64 in flight, against a process that answers after 1 ms.
The rest runs on a service without a network, in processes of their own: what is left is the job.
For Dixa requests are counted, each with a hundred rows. With ``--postgres`` the throughput with a
journal in PostgreSQL stands beside the throughput with a file, in pairs. Without a URL a server of its own
is started, which writes each commit to the disk.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import httpx
from attrs import evolve
from measuring import HERE, stub

from sunshine_async import ApiToken, BasicAuth, DixaClient, Pace, SunshineClient, jobs
from sunshine_async.jobs import DIXA, SUNSHINE, Job, Mode, Report, Service, open_rows
from sunshine_async.sunshine import User

AT_ONCE = 64
SENT = 0


def write(path: Path, rows: int, changed: Iterable[int] = (), *, dixa: bool = False) -> None:
    """Write a file of users, some of them *changed*."""
    changed = frozenset(changed)
    with path.open("w", encoding="utf-8") as file:
        for n in range(rows):
            if dixa:
                tier = "gold" if n in changed else "silver"
                user = {"email": f"jane-{n}@example.com", "displayName": f"Jane {n} {tier}"}
                file.write(json.dumps(user) + "\n")
                continue
            metadata = {"tier": "gold", "age": n % 90, "changed": n in changed}
            profile = {"givenName": "Jane", "surname": f"Doe {n}", "email": f"jane-{n}@example.com"}
            row = {"externalId": f"user-{n}", "profile": profile, "metadata": metadata}
            file.write(json.dumps(row) + "\n")


async def run(
    client: SunshineClient | DixaClient, service: Service, file: Path, journal: Path | str | None
) -> Report:
    """Run a job over *file*."""
    mode = Mode.CREATE if service is SUNSHINE else Mode.UPSERT
    if journal is None:
        plain = Job(client, service, mode)
        with open_rows(file, plain.shape) as rows:
            return await plain.run(rows)
    async with jobs.open(journal, client, service, mode) as job:
        with open_rows(file, job.shape) as rows:
            return await job.run(rows)


def throughput(rows: int, runs: int) -> None:
    """Print how many rows a second there are with a journal, and without: in pairs, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "users.jsonl")
        write(file, rows)
        pairs: list[dict[bool, float]] = []
        for number in range(runs):
            pair = {}
            for journaled in (number % 2 == 0, number % 2 == 1):
                journal = Path(folder, f"{number}.sqlite") if journaled else None
                pair[journaled] = rate(file, rows, journal)
            pairs.append(pair)
    with_it, without = (statistics.median(pair[one] for pair in pairs) for one in (True, False))
    ratios = sorted(pair[True] / pair[False] for pair in pairs)
    low, high = ratios[runs // 4], ratios[-1 - runs // 4]
    print(f"rows a second: {with_it:,.0f} with a journal, {without:,.0f} without; {runs} pairs")
    middle = statistics.median(ratios)
    print(f"with / without: {middle:.2f}, half of the pairs from {low:.2f} to {high:.2f}")


def rate(file: Path, rows: int, journal: Path | str | None) -> float:
    """Return how many rows a second a job of creates does."""
    with stub("--latency", "0.001") as port:
        client = SunshineClient(
            "app",
            auth=BasicAuth("id", "secret"),
            base_url=f"http://127.0.0.1:{port}",
            pace=Pace(max_in_flight=AT_ONCE),
        )
        began = time.perf_counter()
        report = asyncio.run(run(client, SUNSHINE, file, journal))
        took = time.perf_counter() - began
    if report.done != rows:
        sys.exit(f"not all were done: {report}")
    return rows / took


def databases(url: str, rows: int, runs: int) -> None:
    """Print the rows a second with a journal in PostgreSQL and in a file: in pairs, one after the other."""
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder, database(url) as address:
        file = Path(folder, "users.jsonl")
        write(file, rows)
        for number in range(runs):
            places = [f"{address}?job=run_{number}", Path(folder, f"{number}.sqlite")]
            found = {}
            for place in places if number % 2 else reversed(places):
                found[type(place)] = rate(file, rows, place)
            in_database, in_file = found.pop(str), found.popitem()[1]
            ratios.append(in_database / in_file)
            print(f"rows a second: {in_database:,.0f} in PostgreSQL, {in_file:,.0f} in a file")
    print(f"PostgreSQL / file: {statistics.median(ratios):.2f}, from {min(ratios):.2f}")


@contextmanager
def database(url: str) -> Iterator[str]:
    """Give *url*, or else the address of a database of a server of its own."""
    if url:
        yield url
        return
    sys.path.append(str(HERE.parent / "tests"))
    from support.postgres import postgres_server  # noqa: PLC0415

    settings = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}
    with postgres_server(**settings) as server, server.database() as address:
        yield address


async def _send(_client: object, entry: Any) -> User:
    global SENT  # noqa: PLW0603 - a count for this process
    SENT += 1
    await asyncio.sleep(0)
    return User(id=f"{entry.body.external_id}-id")


class Dixa(httpx.AsyncBaseTransport):
    """Makes and changes whatever is sent, and counts the requests: the ids come of the e-mails."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer with a success for each item."""
        global SENT  # noqa: PLW0603 - as above
        SENT += 1
        items = json.loads(request.content)["data"]
        users = [{"id": str(uuid5(NAMESPACE_DNS, one["email"])), **one} for one in items]
        data = [{"_type": "BulkActionSuccess", "data": user} for user in users]
        return httpx.Response(201 if request.method == "POST" else 200, json={"data": data})


def child(file: Path, journal: Path, service_name: str) -> None:
    """Run a job without a network, and print what it took."""
    if service_name == "dixa":
        dixa = DixaClient(auth=ApiToken("token"), transport=Dixa(), pace=Pace())
        tell(dixa, DIXA, file, journal)
        return
    tasks = {**SUNSHINE.tasks, Mode.UPSERT: evolve(SUNSHINE.tasks[Mode.UPSERT], send=_send)}
    service = Service("sunshine", tasks, SUNSHINE.probe)
    tell(SunshineClient("app", auth=BasicAuth("id", "secret")), service, file, journal)


def tell(client: SunshineClient | DixaClient, service: Service, file: Path, journal: Path) -> None:
    """Run a job, and print what it took."""
    began = time.perf_counter()
    report = asyncio.run(run(client, service, file, journal))
    took = {
        "seconds": time.perf_counter() - began,
        "sent": SENT,
        "done": report.done,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(took))


def in_a_child(file: Path, journal: Path, service: str = "sunshine") -> dict[str, float]:
    """Return what a job took in a process of its own."""
    command = [sys.executable, __file__, "--child", str(file), str(journal), service]
    found: dict[str, float] = json.loads(subprocess.check_output(command))
    return found


def at_scale(few: int, many: int) -> None:
    """Print what many rows take beside few, to resume, and the next night."""
    with tempfile.TemporaryDirectory() as folder:
        file, journal = Path(folder, "users.jsonl"), Path(folder, "run.sqlite")
        write(file, few)
        small = in_a_child(file, Path(folder, "small.sqlite"))
        write(file, many)
        big = in_a_child(file, journal)
        print(f"{many:,} rows: {big['seconds']:.0f} s, sent {big['sent']:,}")
        print(
            f"peak memory: {small['peak_mb']:.0f} MB for {few:,} rows, {big['peak_mb']:.0f} MB for "
            f"{many:,}: {big['peak_mb'] - small['peak_mb']:+.0f} MB"
        )
        again = in_a_child(file, journal)
        print(f"resuming when finished: {again['seconds']:.1f} s, sent {again['sent']:,}")
        write(file, many, changed=range(0, many, 100))
        night = in_a_child(file, journal)
        print(
            f"the next night, 1 % changed: {night['seconds']:.0f} s, sent {night['sent']:,}, "
            f"{night['peak_mb']:.0f} MB"
        )
        print(f"journal: {journal.stat().st_size / 1e6:.0f} MB")


def nights_at_dixa(many: int) -> None:
    """Print what the next night takes where a hundred rows go in a request."""
    with tempfile.TemporaryDirectory() as folder:
        file, journal = Path(folder, "users.jsonl"), Path(folder, "run.sqlite")
        write(file, many, dixa=True)
        first = in_a_child(file, journal, "dixa")
        write(file, many, changed=range(0, many, 100), dixa=True)
        night = in_a_child(file, journal, "dixa")
    print(f"Dixa, {many:,} rows: {first['seconds']:.0f} s, {first['sent']:,} requests")
    print(
        f"the next night, 1 % changed: {night['seconds']:.0f} s, {night['sent']:,} requests, "
        f"{night['peak_mb']:.0f} MB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("throughput", "scale", "dixa"))
    parser.add_argument("--postgres", nargs="?", const="")
    parser.add_argument("--child", nargs=3)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child[0]), Path(arguments.child[1]), arguments.child[2])
        sys.exit()
    if arguments.postgres is not None:
        databases(arguments.postgres, arguments.rows, arguments.runs)
        sys.exit()
    if arguments.only in (None, "throughput"):
        throughput(arguments.rows, arguments.runs)
    if arguments.only in (None, "scale"):
        at_scale(arguments.many // 100, arguments.many)
    if arguments.only in (None, "dixa"):
        nights_at_dixa(arguments.many)
