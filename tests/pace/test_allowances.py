"""Stores of shared paces: a file, and a real Redis server."""

import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from support.frames import leaks
from support.patience import PATIENCE
from support.redis_server import redis_server
from support.servers import unused_port

import sunshine_async
from sunshine_async import ConfigurationError, FileAllowance, RedisAllowance
from sunshine_async._http.fork import _renew_all
from sunshine_async._pace import redis_allowance
from sunshine_async._pace.lease import Lease, LeaseRequest
from sunshine_async._pace.shared import Allowance
from sunshine_async._pace.waiting import shared_from


def request(member: str = "a", calls: int = 10) -> Callable[[float], LeaseRequest]:
    """Return the function that makes a request for *calls* interactive calls."""
    return lambda _: LeaseRequest(
        member=member, rate=0.001, burst=5.0, interactive=calls, batch=0, generation=0
    )


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis take its time: a slow machine breaks no promise."""
    monkeypatch.setattr(redis_allowance, "TIMEOUT", PATIENCE)


@pytest.fixture(params=["file", "redis"])
def open_store(
    request: pytest.FixtureRequest, tmp_path: Path, patient: None
) -> Iterator[Callable[[], Allowance]]:
    """Give the function that opens the same store again and again, as processes do."""
    if request.param == "file":
        yield lambda: FileAllowance(tmp_path / "pace")
        return
    with redis_server(tmp_path) as server:
        yield lambda: RedisAllowance(server.url, namespace="test")


def test_a_file_that_the_system_refuses_stays_unlocked(tmp_path: Path) -> None:
    """A process that can't look at the file any more keeps no other process out."""
    folder, moved = tmp_path / "folder", tmp_path / "moved"
    folder.mkdir()
    store = FileAllowance(folder / "pace")
    store.lease("key", request())
    folder.rename(moved)
    folder.touch()
    with pytest.raises(NotADirectoryError):
        store.lease("key", request())
    with (moved / "pace").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_path_that_the_system_refuses_is_a_store_that_is_away(tmp_path: Path) -> None:
    """A path that the system can't look at is no error of the setting: the process goes on alone."""
    store = FileAllowance(tmp_path / ("x" * 300))
    with pytest.raises(OSError, match="too long"):
        store.lease("key", request())


def test_all_who_open_a_store_share_one_allowance(open_store: Callable[[], Allowance]) -> None:
    """Whoever asks first gets the tokens; another credential has tokens of its own."""
    first, second = open_store(), open_store()

    assert first.lease("key", request("a", 3)).interactive == 3
    assert second.lease("key", request("b")).interactive == 2
    lease = first.lease("key", request("a"))
    assert (lease.interactive, lease.members) == (0, 2)
    assert first.lease("other", request()).interactive == 5


def test_a_store_works_after_a_fork(open_store: Callable[[], Allowance]) -> None:
    """A child process opens the store anew, and shares the allowance with the parent process."""
    store = open_store()
    assert store.lease("key", request("a", 3)).interactive == 3
    _renew_all()

    assert store.lease("key", request("b")).interactive == 2


def test_the_file_keeps_no_credential_and_is_private(tmp_path: Path) -> None:
    """Only the owner reads the file; the file has the hash that the caller handed in."""
    path = tmp_path / "pace"
    FileAllowance(path).lease("hash", request())

    assert path.stat().st_mode & 0o777 == 0o600
    assert b'"hash"' in path.read_bytes()
    assert repr(FileAllowance("/run/pace")) == "FileAllowance('/run/pace')"


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"0" * 16, b"0" * 16 + b"{}\n", b"f" * 16 + b"{\xff"]
)
def test_a_damaged_file_is_begun_again(tmp_path: Path, data: bytes) -> None:
    """A file that is emptied or damaged counts as empty."""
    store = FileAllowance(tmp_path / "pace")
    assert store.lease("key", request()).interactive == 5
    store.path.write_bytes(data)

    assert FileAllowance(store.path).lease("key", request()).interactive == 5
    assert store.lease("key", request()).interactive == 0
    assert FileAllowance(store.path).lease("key", request()).interactive == 0


@pytest.mark.parametrize("data", [b"externalId\njane\n", b"{}", b"SQLite format 3\0", b"secret"])
def test_a_file_of_another_kind_is_never_written(tmp_path: Path, data: bytes) -> None:
    """Not the rows of an import, nor a journal; also where the file comes later."""
    path = tmp_path / "users.csv"
    early = FileAllowance(path)
    path.write_bytes(data)

    with pytest.raises(ConfigurationError, match=r"users\.csv is another file than that of a pace"):
        FileAllowance(path)
    with pytest.raises(FileExistsError):
        early.lease("key", request())
    assert path.read_bytes() == data


@pytest.mark.parametrize("path", ["redis://user:geheim@host/0", "unix:///geheim", "geheim\0"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_name_of_no_file_is_refused(path: str, kind: Callable[[str], Any]) -> None:
    """The URL of a server, which may have a password, is no path: each process would go on alone."""
    with pytest.raises(ConfigurationError, match=r"RedisAllowance$") as caught:
        FileAllowance(kind(path))
    assert leaks(caught.value, "geheim") == []


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_path_without_a_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe has no end to read to, and a directory holds no pace: each process would go on alone."""
    make(tmp_path / "pace")

    with pytest.raises(ConfigurationError, match="pace is a directory, or not a regular file"):
        FileAllowance(tmp_path / "pace")


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    """All processes go to the file that is at the path now."""
    store, other = FileAllowance(tmp_path / "pace"), FileAllowance(tmp_path / "pace")
    assert store.lease("key", request()).interactive == 5
    store.path.unlink()

    assert store.lease("key", request()).interactive == 5
    assert other.lease("key", request("b")).interactive == 0


def test_a_file_that_another_process_locks_is_an_error_soon(tmp_path: Path) -> None:
    """A process that was stopped with the lock blocks no other process for long."""
    store = FileAllowance(tmp_path / "pace")
    store.lease("key", request())
    with store.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        with pytest.raises(BlockingIOError):
            store.lease("key", request())

    assert time.monotonic() - began < 5
    assert store.lease("key", request()).interactive == 0


def test_an_old_pool_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file doesn't grow for ever: a credential that nobody uses is forgotten."""
    store = FileAllowance(tmp_path / "pace")
    store.lease("ancient", request())
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 700)

    assert store.lease("new", request()).interactive == 5
    assert b"ancient" not in store.path.read_bytes().partition(b"\n")[0]


def test_a_file_of_many_credentials_keeps_each_allowance(tmp_path: Path) -> None:
    """More than a megabyte of pools is read whole: no credential gets the tokens again."""
    store = FileAllowance(tmp_path / "pace")
    assert store.lease("key", request()).interactive == 5
    assert store.lease("a" * (1 << 20), request()).interactive == 5

    assert store.lease("key", request()).interactive == 0


def test_a_change_in_between_is_seen(tmp_path: Path, patient: None) -> None:
    """Of two processes that change the state in Redis at once, one begins again."""
    with redis_server(tmp_path) as server:
        store, other = RedisAllowance(server.url), RedisAllowance(server.url)
        assert store.lease("key", request("a", 1)).interactive == 1

        def make(now: float) -> LeaseRequest:
            if not between:
                between.append(other.lease("key", request("b", 2)))
            return request("a", 10)(now)

        between: list[Lease] = []
        assert store.lease("key", make).interactive == 2


def test_a_process_keeps_the_states_of_its_latest_pools(
    tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory has a bound however many credentials come; a pool that was dropped is as before."""
    monkeypatch.setattr(redis_allowance, "_MOST_SEEN", 2)
    with redis_server(tmp_path) as server:
        store = RedisAllowance(server.url)
        for key in ("a", "b", "a", "c"):
            store.lease(key, request(calls=1))

        assert list(store._seen) == ["a", "c"]
        assert store.lease("b", request()).interactive == 4


def test_a_slow_first_answer_costs_no_lease(
    tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state that nobody else changes is written also where the first look took all the time."""
    with redis_server(tmp_path) as server:
        store = RedisAllowance(server.url)
        monkeypatch.setattr(redis_allowance, "TIMEOUT", 0)
        assert store.lease("key", request()).members == 1


def test_a_state_that_changes_all_the_time_is_an_error(
    tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease ends in time, be it in an error."""
    with redis_server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        store = RedisAllowance(server.url)
        monkeypatch.setattr(redis_allowance, "TIMEOUT", 0.2)

        def make(now: float) -> LeaseRequest:
            made.append(now)
            client.set("sunshine:pace:key", "{" + " " * len(made) + "}")
            return request()(now)

        made: list[float] = []
        with pytest.raises(TimeoutError, match="changes all the time"):
            store.lease("key", make)


def test_redis_without_an_answer_is_an_error_soon(
    tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is gone, or stopped, is an error within the timeout."""
    with pytest.raises(redis.ConnectionError):
        RedisAllowance(f"redis://127.0.0.1:{unused_port()}").lease("key", request())
    with redis_server(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        RedisAllowance(server.url).lease("key", request())
        monkeypatch.setattr(redis_allowance, "TIMEOUT", 0.2)
        store, found = RedisAllowance(server.url), list[Lease]()
        server.process.send_signal(signal.SIGSTOP)
        with pytest.raises(redis.TimeoutError):
            store.lease("key", request())
        server.process.send_signal(signal.SIGCONT)
        assert client.ping()  # and is awake
        while not found:
            with suppress(redis.TimeoutError, TimeoutError):  # of a machine as slow as that
                found.append(store.lease("key", request()))
        assert found[0].interactive == 0


def test_an_error_of_a_url_tells_no_password() -> None:
    """A wrong URL is a `ConfigurationError` without the URL; a ``repr`` has the namespace."""
    with pytest.raises(ConfigurationError, match="redis://") as caught:
        RedisAllowance("http://:secret@host")

    assert "secret" not in str(caught.value)
    assert repr(RedisAllowance("redis://:secret@host")) == "RedisAllowance(namespace='sunshine')"


def test_without_redis_py_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install redis-py."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"sunshine-async\[redis\]"):
        RedisAllowance("redis://host")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("file:/run/pace", "FileAllowance('/run/pace')"),
        ("file:///run/pace", "FileAllowance('/run/pace')"),
        ("redis://host/1", "RedisAllowance(namespace='sunshine')"),
        ("rediss://host", "RedisAllowance(namespace='sunshine')"),
        ("unix:///run/redis.sock", "RedisAllowance(namespace='sunshine')"),
        (None, "None"),
        ("", "None"),
    ],
)
def test_an_address_names_a_store(address: str | None, expected: str) -> None:
    """``SUNSHINE_PACE`` and ``--pace`` take the address of a file, or of Redis."""
    assert repr(shared_from(address)) == expected


@pytest.mark.parametrize("address", ["file:", "file:///", "/run/pace", "http://:secret@host"])
def test_another_address_is_refused(address: str) -> None:
    """The error says what an address begins with, and doesn't repeat the address."""
    with pytest.raises(ConfigurationError, match="begins with file:") as caught:
        shared_from(address)

    assert "secret" not in str(caught.value)


def test_both_stores_are_exported() -> None:
    """The stores are imported at first use."""
    exported: Any = sunshine_async

    assert (exported.FileAllowance, exported.RedisAllowance) == (FileAllowance, RedisAllowance)


@pytest.mark.parametrize("address", ["redis://:pass-word@host:port/0", "http://:pass-word@host"])
def test_no_frame_of_an_error_holds_the_password(address: str) -> None:
    """An address that can't be used is refused without its password, in locals and causes too."""
    with pytest.raises(ConfigurationError) as caught:
        shared_from(address)

    assert caught.value.__context__ is None
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    assert "pass-word" not in repr([frame.f_locals for frame in frames])
    assert "pass-word" not in str(caught.value)
