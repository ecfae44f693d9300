"""The quick starts of the tests outlive a launcher that is killed before it has asked for a fork."""

import socket
import subprocess
from pathlib import Path

import pytest
from support.patience import PATIENCE

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
