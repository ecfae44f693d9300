"""A process that has imported the package, and forks for each start of a Python program.

An import takes most of a second, a fork a few milliseconds. The launcher, a file that a test starts
instead of the interpreter, runs ``forked.py``. ``forked.py`` asks for a fork: hands over arguments,
environment, folder, limits and open files, passes signals on, and ends as the fork ends. A fork ends
as a process of its own does, the interpreter included. After a kill of the launcher the fork is dead
before the next start. Not like an interpreter: options but ``-m``, ``SIGSTOP``, and variables that
the interpreter reads at its start only, such as ``LANG``. Tests of these start an interpreter.
"""

import atexit
import gc
import json
import os
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from runpy import run_module, run_path
from select import select
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

HERE = Path(__file__).resolve()
Command: TypeAlias = tuple[str, ...]
REAL: Command = (sys.executable, "-m", "sunshine_async")
"""The command in a process that imports the package."""
INSTANT = "SUNSHINE_TESTS_INSTANT"
"""Variable of the environment: in a fork with this variable the waits of the library are instant."""
IMPORTED = (
    "sunshine_async.cli.app", "sunshine_async.emulator", "sunshine_async.journal",
    "sunshine_async.webhooks", "sunshine_async.sunshine.messages", "sunshine_async.testing",
    "uvicorn.main",
    "uvicorn.lifespan.on", "uvicorn.loops.asyncio", "uvicorn.protocols.http.h11_impl",
    "anyio._backends._asyncio", "typer.rich_utils",
)  # fmt: skip
"""Modules of commands that a dry run doesn't import."""
_PLACES = 1000
"""File numbers from here on are free in any process of a test."""


@contextmanager
def forking() -> Iterator[str]:
    """Give the path of the launcher, for the length of the block."""
    with TemporaryDirectory() as folder:
        path, launcher = f"{folder}/socket", Path(folder, "python")
        ask = shlex.join([sys.executable, "-I", "-S", str(HERE.with_name("forked.py")), path])
        launcher.write_text(f'#!/bin/sh\nexec {ask} "$@"\n')
        launcher.chmod(0o700)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE.parents[2])}
        parent = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(HERE), path], env=env, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        try:
            yield str(launcher)
        finally:
            parent.communicate()


def serve(path: str) -> tuple[dict[str, Any], list[int]]:
    """Fork at each request until standard input ends; return in a fork only, with its request."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    os.write(1, b"ready\n")
    callers: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select([0, woken, listener, *callers.values()], [], [])
        if woken in ready:
            os.read(woken, 100)
            _reap(callers)
        for pid, caller in [*callers.items()]:
            if caller in ready or 0 in ready:  # a launcher has been killed, and so is the fork
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                callers.pop(pid).close()
        if 0 in ready:
            sys.exit()
        if listener in ready:
            caller, _ = listener.accept()
            data, files = _read(caller)
            if not data.endswith(b"\n"):
                caller.close()  # a launcher that has been killed asks for no fork
            elif (pid := os.fork()) == 0:
                _leave(listener, caller, *callers.values())
                return json.loads(data), files
            else:
                callers[pid] = caller
                _tell(caller, pid)
            for number in files:
                os.close(number)


def _leave(*sockets: socket.socket) -> None:
    """Let go of what a fork doesn't need."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in sockets:
        one.close()


def _reap(callers: dict[int, socket.socket]) -> None:
    """Tell the callers of the forks that have ended."""
    for pid in [*callers]:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with callers.pop(pid) as caller:
                _tell(caller, os.waitstatus_to_exitcode(status))


def _read(caller: socket.socket) -> tuple[bytes, list[int]]:
    """Return the line of *caller*, and its files; less than a line where the caller has hung up."""
    data, files, _, _ = socket.recv_fds(caller, 1 << 16, 256)
    while not data.endswith(b"\n") and (more := caller.recv(1 << 16)):
        data += more
    return data, files


def _tell(caller: socket.socket, number: int) -> None:
    with suppress(OSError):  # it has been killed
        caller.sendall(b"%d\n" % number)


def become(start: dict[str, Any], files: list[int]) -> None:
    """Make this process what the caller is: environment, folder, limits and files."""
    os.chdir(start["folder"])
    os.umask(start["umask"])
    os.environ.clear()
    os.environ.update(start["environment"])
    time.tzset()
    moved = [os.dup2(number, _PLACES + place) for place, number in enumerate(files)]
    os.closerange(0, _PLACES)
    for number, target in zip(moved, start["files"], strict=True):
        os.dup2(number, target)
        os.close(number)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    resource.setrlimit(resource.RLIMIT_FSIZE, start["file_size"])


def _stream(number: int, as_this: Any) -> Any:
    """Return a standard stream as the interpreter makes it: none where the file is closed."""
    try:
        os.fstat(number)
    except OSError:
        return None
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    return open(
        number, "w" if number else "r", encoding=encoding or as_this.encoding,
        errors=errors or as_this.errors, newline="\n", closefd=False,
        buffering=1 if number == 2 or os.isatty(number) else -1,
    )  # fmt: skip


def run(arguments: list[str]) -> None:
    """Run a program as ``python`` does: *arguments* are a file, or ``-m`` and a module."""
    is_module = arguments[0] == "-m"
    program, *rest = arguments[is_module:]
    sys.argv[:] = [program, *rest]
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = Path.cwd() if is_module else Path(program).parent
    sys.path[:0] = [str(first), *filter(None, folders)]
    testing = import_module("sunshine_async.testing")
    with testing.no_waiting() if INSTANT in os.environ else nullcontext():
        if is_module:
            run_module(program, run_name="__main__", alter_sys=True)
        else:
            run_path(program, run_name="__main__")


def end(status: int) -> None:
    """End as the interpreter does, but leave the memory to the system: to free it takes the longest.

    Where the output can't be written return, so that the interpreter tells.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()  # what is left tells, such as a task that is pending
    with suppress(OSError, ValueError):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(status)


def main() -> None:
    """Be the process that forks; in a fork, run the program."""
    for name in IMPORTED:
        import_module(name)
    app, runner = import_module("sunshine_async.cli.app").app, import_module("typer.testing")
    rows = Path(sys.argv[1]).with_name("users.jsonl")
    rows.write_text("{}\n")
    dry_run = ["import", str(rows), "--mode", "create", "--dry-run"]
    assert runner.CliRunner().invoke(app, dry_run).exit_code == 0
    gc.freeze()
    start, files = serve(sys.argv[1])
    become(start, files)
    try:
        run(start["arguments"])
    except SystemExit as asked:
        if not isinstance(asked.code, int | None):
            raise
        end(asked.code or 0)
        raise
    end(0)


if __name__ == "__main__":
    main()
