"""A store of shared paces in one file, for the processes of a host."""

import fcntl
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EEXIST
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import orjson

from sunshine_async._http.fork import ForkSafeLock, renew_after_fork
from sunshine_async._pace.lease import Lease, LeaseRequest, allocate
from sunshine_async._pace.settings import check_kinds
from sunshine_async._pace.shared import Allowance
from sunshine_async.errors import ConfigurationError

LOCK_WAIT: Final = 0.2
"""Seconds for which a lease waits for the lock of the file."""
_FORGET_AFTER: Final = 600.0
"""Seconds after the last lease until the pool of a credential leaves the file."""
_MOST: Final = 1 << 26
"""Bytes that are read, at most: the pools of 200,000 credentials."""
_NO_PATH: Final = r"[A-Za-z][A-Za-z0-9+.-]+:/|[^\0]*\0"  # a URL, or what no system takes
_FOREIGN: Final = "is another file than that of a pace: name a file of its own, or delete this one"


class FileAllowance(Allowance):
    """One allowance for all processes of a host: ``Pace(rate=10, shared=FileAllowance(path))``.

    The file at *path* is made where there is none; a folder such as ``/run`` or ``/dev/shm`` keeps
    the file in memory. All processes need the right to read and write the file. Credentials are
    held as a hash, and nothing in the file is secret or personal. A file that is deleted, emptied
    or damaged is begun again. `ConfigurationError` for a file with any other content, which is never
    written, and for a directory, a pipe, a device or a URL. The object works in a child after a fork.

    The file is for up to a hundred credentials at a time: each lease reads and writes those of the
    last ten minutes. `RedisAllowance` is for more.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file: int | None = None
        check_kinds({"path": (str | os.PathLike, "a path")}, {"path": path}, ConfigurationError)
        is_path = re.match(_NO_PATH, os.fspath(path)) is None
        self.path: Final = Path(path if is_path else "")
        if not is_path:
            del path  # the URL of a server may have a password
            message = "FileAllowance: give the path of a file; a URL of Redis is for RedisAllowance"
            raise ConfigurationError(message)
        self._lock: Final = ForkSafeLock()
        with suppress(OSError):  # as later: the process goes on with a share
            if self.path.exists() and not self.path.is_file():  # a pipe would wait for a writer
                message = (
                    f"{self.path} is a directory, or not a regular file: name a file of its own"
                )
                raise ConfigurationError(message)
            with self.path.open("rb") as file:
                if not _is_ours(file.read(_MOST)):
                    message = f"{self.path} {_FOREIGN}"
                    raise ConfigurationError(message)
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"FileAllowance({str(vars(self).get('path'))!r})"

    def renew(self) -> None:
        """Open the file anew: a child process must not share a lock with the parent process."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        self.renew()

    def lease(self, key: str, make: Callable[[float], LeaseRequest]) -> Lease:
        """Return the lease for the request that *make* makes, in the pool called *key*.

        Raise `OSError` if the file can't be used, has other content, or stays locked for 0.2 seconds.
        """
        with self._lock.lock:
            file = self._acquire()
            try:
                data = os.pread(file, _MOST, 0)
                if not _is_ours(data):
                    raise FileExistsError(EEXIST, _FOREIGN, str(self.path))
                pools = _decode(data)
                now = time.monotonic()
                lease = allocate(pools.setdefault(key, {}), make(now), now)
                for name in [name for name in pools if now - pools[name]["at"] > _FORGET_AFTER]:
                    del pools[name]
                text = orjson.dumps(pools)
                check = blake2b(text, digest_size=8).hexdigest().encode()
                os.pwrite(file, check + text + b"\n", 0)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
            return lease

    def _acquire(self) -> int:
        """Return the locked file: the file that is at the path now."""
        until = time.monotonic() + LOCK_WAIT
        while True:
            file = self._file
            if file is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                file = self._file = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.0005)
                continue
            is_same = False
            try:
                with suppress(FileNotFoundError):
                    is_same = os.path.samestat(self.path.stat(), os.fstat(file))
            finally:
                if not is_same:
                    self.renew()  # releases the lock
            if is_same:
                return file


def _is_ours(data: bytes) -> bool:
    """Return True for *data* of a pace, also where a kill or a power failure has cut or zeroed a part."""
    text = data.rstrip(b"\0")
    return re.fullmatch(rb"[0-9a-f]{16}(\{.*)?", text, re.DOTALL) is not None or not text


def _decode(data: bytes) -> dict[str, Any]:
    """Return the pools of a file; none for a file that is empty or damaged."""
    check, text = data[:16], data[16:].partition(b"\n")[0]
    if blake2b(text, digest_size=8).hexdigest().encode() != check:
        return {}
    pools: dict[str, Any] = orjson.loads(text)
    return pools
