"""One rate for real processes: the rate holds, people don't wait for a batch, and a kill costs little."""

import asyncio
import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import shared_pace
from limiters import Gate, TokenBucket, serve
from patience import until
from support.patience import PATIENCE
from support.redis_server import REASON
from support.size import sized

SECONDS = sized(14.0, 4.0)

pytestmark = [
    pytest.mark.waits,
    pytest.mark.slow,
    pytest.mark.usefixtures("quick_starts"),
]


@pytest.mark.parametrize("store", ["file", "redis"])
@pytest.mark.costly
def test_four_web_processes_and_a_batch_share_a_rate(store: str) -> None:
    """The service refuses nothing, nearly all of the rate is used, and interactive calls are quick."""
    if store == "redis" and shutil.which("redis-server") is None:
        pytest.skip(REASON)
    result = asyncio.run(shared_pace.measure("declared", "window", store, SECONDS))

    assert result.lost == 0
    assert result.refused <= 0.005
    assert result.share >= 0.8
    assert result.p50 <= 0.3


async def test_a_killed_process_leaves_its_share(tmp_path: Path) -> None:
    """Of two batches one is killed: the other goes on with the whole rate, and is never refused."""
    gate = Gate(bucket := TokenBucket(100, 20))
    server, loop = await serve(gate, 0.01), asyncio.get_running_loop()

    def tick(then: float) -> None:
        """After a moment in which this process stood still, let it read at once what came since."""
        now = time.monotonic()
        bucket.burst = 20 + 100 * max(0.0, now - then - 0.1)
        loop.call_later(0.01, tick, now)

    tick(time.monotonic())
    host, port = server.sockets[0].getsockname()
    told = {
        "url": f"http://{host}:{port}", "address": f"file:{tmp_path}/pace", "rate": 40.0,
        "seconds": 3600.0, "is_batch": True,
    }  # fmt: skip

    def rate_since(began: float) -> float:
        return sum(at >= began for at in gate.accepted) / 2

    command = [sys.executable, shared_pace.__file__, "--work", json.dumps(told)]
    first, second = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
    try:
        async with asyncio.timeout(PATIENCE):
            while len(gate.accepted) < 40:  # noqa: ASYNC110 - another process's work
                await asyncio.sleep(0.05)
            first.kill()
            killed_at = time.monotonic()
            await until(
                lambda: rate_since(max(killed_at, time.monotonic() - 2)) >= 0.8 * 40,
                lambda: "the rate of the other is low",
            )
    finally:
        for process in (first, second):
            if process.returncode is None:
                process.kill()
            await process.wait()
        async with asyncio.timeout(PATIENCE):
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - the connections of killed processes
                await asyncio.sleep(0.01)
        server.close()
    assert not gate.refused
