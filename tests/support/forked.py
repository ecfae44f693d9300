"""A program in a fork of the process of ``forking.py``: ``python forked.py SOCKET ARGUMENT...``."""

import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_open(number: int) -> bool:
    """Return whether a file of this process has that *number*."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main() -> None:
    """Ask for a fork, pass signals on to it, and end as it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # they wait until the fork is known
    files = [number for number in range(256) if is_open(number)]
    parent = socket.socket(socket.AF_UNIX)
    parent.connect(sys.argv[1])
    umask = os.umask(0)
    start = {
        "arguments": sys.argv[2:],
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes longer than all the rest
        "umask": umask,
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "files": files,
    }
    socket.send_fds(parent, [b" "], files)
    parent.sendall(json.dumps(start).encode() + b"\n")
    answers = parent.makefile("rb")
    pid = int(answers.readline())

    def pass_on(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):  # it has ended, and its status is under way
            os.kill(pid, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    for number in files:
        os.close(number)  # a pipe ends with the fork
    status = int(answers.readline())
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
