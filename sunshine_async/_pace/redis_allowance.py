"""A store of shared paces in Redis, for the processes of many hosts."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import orjson

from sunshine_async._http.fork import renew_after_fork
from sunshine_async._pace.lease import Lease, LeaseRequest, State, allocate
from sunshine_async._pace.shared import Allowance
from sunshine_async.errors import ConfigurationError

TIMEOUT: Final = 0.2
"""Seconds for an answer of Redis, and for a lease."""
_FORGET_AFTER: Final = 600_000
"""Milliseconds after the last lease until Redis forgets the pool of a credential."""
_MOST_SEEN: Final = 10_000
"""States that are kept at most, the latest. A lease without the state asks Redis twice."""
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local found = redis.call('GET', KEYS[1]) or ''
if ARGV[2] == '' or found ~= ARGV[1] then return {0, found, now} end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {1, found, now}
"""
"""Compare and set: the state is replaced where nobody else has changed the state since."""


class RedisAllowance(Allowance):
    """One allowance for all processes that reach a Redis server, on any host.

    ``Pace(rate=10, shared=RedisAllowance("redis://…", namespace="prod"))``. *url* is a URL of
    redis-py: ``redis://``, ``rediss://`` or ``unix://``. Keys begin with *namespace*; credentials
    are held as a hash, and nothing in Redis is secret or personal. The clock is that of Redis. Needs the
    extra ``redis``. The object works in a child process after a fork.

    Raise `ConfigurationError` for a URL that redis-py can't read, or without redis-py.
    """

    def __init__(self, url: str, *, namespace: str = "sunshine") -> None:
        self.namespace: Final = namespace
        client, problem = _client_for(url)
        url = ""  # no frame of the error holds a password
        if problem:
            raise ConfigurationError(problem)
        self._script: Any = client.register_script(_SCRIPT)
        self._seen = OrderedDict[str, bytes]()
        self._offset: float | None = None
        """Seconds from the clock of this process to the clock of Redis."""
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"RedisAllowance(namespace={self.namespace!r})"

    def renew(self) -> None:
        """Forget the states that the parent process has seen."""
        self._seen = OrderedDict[str, bytes]()

    def lease(self, key: str, make: Callable[[float], LeaseRequest]) -> Lease:
        """Return the lease for the request that *make* makes, in the pool called *key*.

        Raise an error of redis-py if Redis doesn't answer, and `TimeoutError` if other processes
        change the state all the time.
        """
        name = f"{self.namespace}:pace:{key}"
        until = time.monotonic() + TIMEOUT
        if self._offset is None:
            self._keep(key, self._evaluate(name, b"", b"")[1])
        while True:  # once at least, however slow the look before was
            seen = self._seen.get(key, b"")
            now = time.monotonic() + cast("float", self._offset)
            state: State = orjson.loads(seen) if seen else {}
            lease = allocate(state, make(now), now)
            text = orjson.dumps(state)
            is_done, found = self._evaluate(name, seen, text)
            self._keep(key, text if is_done else found)
            if is_done:
                return lease
            if time.monotonic() > until:
                message = "the state of the pace in Redis changes all the time"
                raise TimeoutError(message)

    def _keep(self, key: str, state: bytes) -> None:
        """Keep the *state* that was seen in the pool *key* as the latest; any thread may call this."""
        self._seen.pop(key, None)
        self._seen[key] = state
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def _evaluate(self, name: str, seen: bytes, text: bytes) -> tuple[bool, bytes]:
        """Replace the state *seen* by *text*; return True if done, and the state before."""
        sent = time.monotonic()
        is_done, found, now = self._script(keys=[name], args=[seen, text, _FORGET_AFTER])
        self._offset = float(now) - (sent + time.monotonic()) / 2
        return bool(is_done), found


def _client_for(url: str) -> tuple[Any, str]:
    """Return a client for *url*, or the problem. Raise nothing: *url* may hold a password."""
    try:
        from redis import Redis  # noqa: PLC0415 - needed here only
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError:
        return None, "RedisAllowance needs redis-py: pip install 'sunshine-async[redis]'"
    given: Any = url  # not every caller has a type checker
    with suppress(ValueError):
        if isinstance(given, str):
            client = cast("Any", Redis).from_url(
                url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT,
                retry=Retry(NoBackoff(), 0), decode_responses=False,
            )  # fmt: skip
            return client, ""
    return None, "RedisAllowance: the URL must begin with redis://, rediss:// or unix://"
