"""The cost of a create through a CONNECT proxy with a password, and through httpx, beside direct.

    python benchmarks/proxy.py [--runs 5] [--seconds 2]

Server and proxy are processes of their own. The cost is CPU time of the client, in µs a create,
100 in flight over TLS; the median of the runs, taken in turn.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any, Final

import httpx
import trustme
import uvloop
from measuring import APP, Coroutines, Create, Target, stub

from sunshine_async import BasicAuth, SunshineClient
from sunshine_async.sunshine import Profile, UserCreateBody

USER: Final = "user:geheim#"
LOGIN: Final = b"Proxy-Authorization: Basic " + b64encode(USER.encode()) + b"\r\n"


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of the proxy."""
    head = await reader.readuntil(b"\r\n\r\n")
    if LOGIN not in head:
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        return
    host, _, port = head.split(b" ")[1].decode().rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await source.read(65536):
                sink.write(piece)
        sink.close()

    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))


async def serve() -> None:
    """Run the proxy until standard input ends."""
    server = await asyncio.start_server(tunnel, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


def client(make: Callable[[Target], dict[str, Any]]) -> Coroutines:
    """Return the measured client, with the options that *make* returns."""

    @asynccontextmanager
    async def opened(target: Target, in_flight: int) -> AsyncIterator[Create]:
        async with SunshineClient(
            APP,
            auth=BasicAuth("key", "secret"),
            base_url=target.url,
            max_connections=in_flight,
            **make(target),
        ) as ours:

            async def create(number: int) -> object:
                profile = Profile(given_name="Jane")
                body = UserCreateBody(external_id=f"n{number}", profile=profile)
                return (await ours.users.create(body)).id

            yield create

    return Coroutines(opened)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve())
        return
    command = [sys.executable, __file__, "--serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running,
    ):
        assert running.stdin is not None  # noqa: S101
        assert running.stdout is not None  # noqa: S101
        url = f"http://{USER.replace('#', '%23')}@127.0.0.1:{int(running.stdout.readline())}"
        ways = {
            ("direct", 1): client(lambda target: {"ssl_context": target.context()}),
            ("direct", 100): client(lambda target: {"ssl_context": target.context()}),
            ("CONNECT proxy", 100): client(
                lambda target: {"ssl_context": target.context(), "proxy": url}
            ),
            **{
                ("a given httpx transport", in_flight): client(
                    lambda target: {
                        "transport": httpx.AsyncHTTPTransport(verify=target.context() or True)
                    }
                )
                for in_flight in (1, 100)
            },
        }
        authority = trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        certificate = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
        certificate.write_to_path(f"{folder}/certificate.pem")
        costs: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
        with stub("--certificate", f"{folder}/certificate.pem") as port:
            target = Target(f"https://127.0.0.1:{port}", f"{folder}/authority.pem")
            for _ in range(arguments.runs):
                for (way, in_flight), runs in ways.items():
                    cost = runs.measure(target, in_flight, arguments.seconds)
                    costs[way, in_flight].append(cost.cpu)
        running.stdin.close()
    print("| way | in flight | µs | ÷ direct, 100 in flight |\n|---|---|---|---|")
    base = median(costs["direct", 100])
    for (way, in_flight), found in costs.items():
        print(f"| {way} | {in_flight} | {median(found):.0f} | {median(found) / base:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
