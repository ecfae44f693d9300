"""A Redis server of a test, on a free port of this machine; without ``redis-server`` the test is skipped."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from attrs import frozen
from support.patience import PATIENCE
from support.servers import unused_port

REASON = "redis-server isn't installed: apt-get install redis-server"


@frozen
class RedisServer:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[RedisServer]:
    """Run an empty server, for the length of the block."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip(REASON)
    port = port or unused_port()
    command = [
        program,
        "--port",
        f"{port}",
        "--save",
        "",
        "--dir",
        str(folder),
        "--bind",
        "127.0.0.1",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - found above
    try:
        until = time.monotonic() + PATIENCE
        with redis.Redis(port=port) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:
                    assert process.poll() is None, "redis-server has ended"
                    assert time.monotonic() < until, "redis-server doesn't listen"
                else:
                    break
        yield RedisServer(f"redis://127.0.0.1:{port}/0", process)
    finally:
        process.kill()
        process.wait()
