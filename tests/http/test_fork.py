"""Forks: a child process never waits for a lock that a thread of its parent holds."""

import os
import subprocess
import sys
from typing import Final

import pytest
from support.patience import PATIENCE

from sunshine_async._http.fork import ForkSafeLock, _renew_all

pytestmark = pytest.mark.costly

FORKING: Final = """
import os, signal, ssl, sys, threading, time
from sunshine_async import JwtAuth, Pace
from sunshine_async._http.certificates import shared_ssl_context
from sunshine_async._pace import waiting

held, done = threading.Event(), threading.Event()
main = threading.current_thread()

def slowly(result):
    if threading.current_thread() is not main:
        held.set()
        done.wait()
    return result

def now():
    reads.append(1)
    return time.time() if len(reads) == 1 else slowly(time.time())

reads = []
auth = JwtAuth("key", "s" * 64, now=now)
make_context = ssl.create_default_context
ssl.create_default_context = lambda **named: slowly(make_context(**named))
use = {
    "tls": shared_ssl_context,
    "jwt": auth.current,
    "shared": lambda: waiting.pace_of(
        main, "https://x", "me", lambda: slowly(Pace()), keep=True, in_loop=False
    ),
}[sys.argv[1]]
thread = threading.Thread(target=use)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    use()
    os._exit(0)
_, status = os.waitpid(child, 0)
done.set()
thread.join()
sys.exit(bool(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("lock", ["tls", "jwt", "shared"])
def test_lock_that_a_thread_of_the_parent_holds(lock: str) -> None:
    """A child gets along while the parent is making a context, a token or a pace."""
    subprocess.run([sys.executable, "-c", FORKING, lock], check=True, timeout=PATIENCE)  # noqa: S603


def test_lock_that_is_held_at_the_fork() -> None:
    """A block that is under way in the thread that forks ends well in the child."""
    lock = ForkSafeLock()
    with lock.lock:
        _renew_all()
        with lock.lock:
            pass
