"""Webhooks through a receiver under uvicorn: deliveries a second, time of the answer, memory.

    python benchmarks/webhooks.py [--deliveries 10000] [--rate 1000] [--many 100000] [--connections 64]
        [--inbox postgresql://user:password@host/database]

Every delivery has one event, is on the disk (``synchronous=FULL``) before the answer, and is handled
by a handler that does nothing. Server and sender are a process each, so two cores are in use. The
inbox is a new file, or a PostgreSQL database.

- throughput: all connections send as fast as the answers come.
- answers: deliveries are sent at *rate*; the times count from the planned sending.
- memory: resident size of the server after a tenth of *many* events, and after all.
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

SECRET = "secret"  # noqa: S105 - made up
NUMBERS = count()


def serve(inbox: str) -> None:
    """Serve a receiver on a free port; print the port, and at the end of stdin the largest size."""
    import uvicorn  # noqa: PLC0415 - in the server only

    from sunshine_async import webhooks  # noqa: PLC0415

    receiver = webhooks.Receiver(webhooks.SunshineWebhooks(SECRET), inbox)

    @receiver.on("conversation:message")
    async def handle(received: webhooks.Received[webhooks.ConversationMessage]) -> None:
        del received

    config = uvicorn.Config(receiver, port=0, log_level="warning", access_log=False)
    server = uvicorn.Server(config)

    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        task = asyncio.create_task(server.serve([listening]))
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.should_exit = True
        await task

    asyncio.run(run())


def request() -> bytes:
    """Return the bytes of a delivery with one new event."""
    number = next(NUMBERS)
    message = {
        "id": f"message-{number}",
        "received": "2026-01-01T00:00:00.000Z",
        "author": {"type": "user", "userId": "26508c10541a4b0ff472e5e2"},
        "content": {"type": "text", "text": "hello " * 20},
        "source": {"type": "web", "integrationId": "5ec69c6e12dda33be985cb1a"},
    }
    event = {
        "id": f"{number:024x}",
        "type": "conversation:message",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "payload": {"conversation": {"id": f"conversation-{number % 1000}"}, "message": message},
    }
    body = json.dumps({"app": {"id": "app"}, "webhook": {"id": "hook"}, "events": [event]}).encode()
    head = (
        f"POST / HTTP/1.1\r\nhost: x\r\nx-api-key: {SECRET}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A connection that sends a delivery at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self) -> None:
        """Send a delivery; return after the answer 200."""
        self._writer.write(request())
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head)


async def connect(port: int, number: int) -> "asyncio.Queue[Connection]":
    """Return a queue of *number* connections."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(number):
        free.put_nowait(Connection(*await asyncio.open_connection("127.0.0.1", port)))
    return free


async def throughput(port: int, deliveries: int, connections: int) -> float:
    """Return the deliveries a second, sent as fast as the answers come."""
    free = await connect(port, connections)
    left = deliveries

    async def work() -> None:
        nonlocal left
        connection = free.get_nowait()
        while left > 0:
            left -= 1
            await connection.send()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(work())
    return deliveries / (time.perf_counter() - began)


async def answers(port: int, deliveries: int, rate: float) -> list[float]:
    """Return the seconds to each answer, sorted, at *rate* deliveries a second."""
    free = await connect(port, 500)
    seconds: list[float] = []

    async def deliver(planned: float) -> None:
        connection = await free.get()
        await connection.send()
        seconds.append(time.perf_counter() - planned)
        free.put_nowait(connection)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(deliveries):
            planned = began + number / rate
            if (wait := planned - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.create_task(deliver(planned))
    return sorted(seconds)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the resident size of a process, in megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


async def measure(arguments: argparse.Namespace, pid: int, port: int) -> None:
    """Print all measures."""
    await throughput(port, 1000, arguments.connections)
    used = cpu_seconds(pid)
    a_second = await throughput(port, arguments.deliveries, arguments.connections)
    used = (cpu_seconds(pid) - used) / arguments.deliveries
    print(f"throughput: {a_second:,.0f} deliveries a second, {used * 1e6:.0f} µs of CPU each")
    times = await answers(port, arguments.deliveries, arguments.rate)
    middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
    print(f"answers at {arguments.rate:,.0f} a second: median {middle:.4f} s, p99 {late:.4f} s")
    await throughput(port, arguments.many // 10, arguments.connections)
    before = resident(pid)
    await throughput(port, arguments.many * 9 // 10, arguments.connections)
    print(f"memory: {before:.1f} MB, after {arguments.many:,} events {resident(pid):.1f} MB")


def main() -> None:
    """Measure, with the server in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--inbox")
    parser.add_argument("--serve")
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        inbox = arguments.inbox or str(Path(folder, "inbox.sqlite"))
        command = [sys.executable, __file__, "--serve", inbox]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            port = int((server.stdout or sys.stdin).readline())
            asyncio.run(measure(arguments, server.pid, port))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        if size:
            print(f"inbox: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
