"""A worker with a short heartbeat, as a program: the command refuses less than 20 seconds."""

import logging
import signal
import sys

import anyio

from sunshine_async import SunshineClient
from sunshine_async.jobs.cluster import open_cluster
from sunshine_async.jobs.cluster_worker import ClusterWorker
from sunshine_async.journal.postgres_database import PostgresPlace, parse_place


async def main(database: str, heartbeat: float) -> None:
    """Run the worker until SIGTERM."""
    place = parse_place(database)
    assert isinstance(place, PostgresPlace)

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is the program's output

    async def watch() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM) as received:
            async for _ in received:
                worker.stop()

    async with open_cluster(place) as cluster, anyio.create_task_group() as tasks:
        worker = ClusterWorker(cluster, lambda _: SunshineClient(), note, heartbeat)
        tasks.start_soon(watch)
        await worker.run()
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    for name in ("procrastinate", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    anyio.run(main, sys.argv[1], float(sys.argv[2]))
