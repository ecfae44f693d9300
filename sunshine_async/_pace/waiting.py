"""The impure part of pacing: the wait for a start in any thread and event loop, and shared paces.

- `acquire_slot` joins the queue of `Slots` or of a `Pace`, asks at the time that the queue names,
  and asks again when a call in any thread calls the `Waker`.
- `pace_of` gives all clients of the same credentials the same pace, as services count calls.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from math import inf
from random import random
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakSet

import anyio

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async._pace.pace import Pace
from sunshine_async._pace.slots import Lane, Slots, Waiter
from sunshine_async.errors import ConfigurationError

if TYPE_CHECKING:
    from sunshine_async._pace.shared import Allowance

_UNUSED_KEPT: Final = 64
"""Paces without a client that are kept."""
_LOOKS: Final = 2
"""Paces that each new client looks at, for clients that are gone without a close."""
_SALT: Final = os.urandom(16)
_LOCK: Final = ForkSafeLock()


def _sleep(seconds: float) -> Awaitable[None]:
    return anyio.sleep(seconds)  # looked up by the first sleep, not at import: the name loads much


class Clock:
    """The time, the sleep and the luck of calls, in one object that tests can replace."""

    __slots__ = ("luck", "now", "sleep")

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = _sleep,
        luck: Callable[[], float] = random,
    ) -> None:
        self.now = now
        self.sleep = sleep
        self.luck = luck


CLOCK: Final = Clock()


async def acquire_slot(
    slots: Slots,
    clock: Clock,
    lane: Lane = Lane.INTERACTIVE,
    *,
    again: bool = False,
    until: float = inf,
) -> bool:
    """Wait until *slots*, or a pace, let a call start; return True: `Slots.leave` ends the call.

    - A start that is known to come later than *until* returns False, as soon as that is known.
    - Cancelled or late, no call has started.
    - A call that has started before (*again*) goes ahead of the new calls of the lane.
    """
    if not again and slots.enter(clock.now(), lane):
        return True
    waker = Waker(clock)
    waiter = Waiter(waker, lane, again=again, is_lost=waker.is_lost)
    slots.join(waiter)
    try:
        while (wait := slots.ask(waiter, now := clock.now())) != 0:
            left = until - now
            pause = slots.pause(now, lane)
            if left <= 0 or pause > left or pause == inf:
                slots.give_up(waiter)
                return False
            seconds = left if wait is None else min(wait, left)
            await waker.wait(None if seconds == inf else seconds)
    except BaseException:
        slots.give_up(waiter)
        raise
    return True


class Waker:
    """An event that any thread may set, for a task of the event loop that made the event."""

    def __init__(self, clock: Clock) -> None:
        self._clock: Final = clock
        self._event = anyio.Event()
        self._sleeping: anyio.CancelScope | None = None
        self._thread: Final = get_ident()
        self._loop: Final[Any] = anyio.lowlevel.current_token().native_token

    def __call__(self) -> None:
        """Wake the task; raise `RuntimeError` where the event loop is closed."""
        if self.is_lost():
            message = "the event loop of the waiting call is closed"
            raise RuntimeError(message)
        if get_ident() == self._thread:
            self._wake()
            return
        soon = getattr(self._loop, "call_soon_threadsafe", None) or self._loop.run_sync_soon
        soon(self._wake)

    def is_lost(self) -> bool:
        """Return True once the event loop is closed: its timers and calls wake nobody."""
        is_closed = getattr(self._loop, "is_closed", None)
        return is_closed is not None and is_closed()

    async def wait(self, seconds: float | None) -> None:
        """Wait for a call since the last `wait`, at most *seconds* (None: without a limit)."""
        if seconds is None or self._event.is_set():
            await self._event.wait()
        else:
            with anyio.CancelScope() as self._sleeping:
                await self._clock.sleep(seconds)
            self._sleeping = None
        self._event = anyio.Event()

    def _wake(self) -> None:
        self._event.set()
        if self._sleeping is not None:
            self._sleeping.cancel()


class _SharedPace:
    def __init__(self, key: bytes, pace: Pace) -> None:
        self.key: Final = key
        self.pace: Final = pace
        self.clients: Final = WeakSet[object]()


class _Registry:
    """Paces of one process or one loop, by key. No operation takes longer for more paces."""

    def __init__(self) -> None:
        self.used: Final = OrderedDict[bytes, _SharedPace]()
        """Paces with a client; for a while also those of clients that are gone without a close."""
        self.left: Final = OrderedDict[bytes, _SharedPace]()
        """Paces without a client, the latest last."""

    def join(self, client: object, key: bytes, make: Callable[[], Pace], *, keep: bool) -> Pace:
        """Return the pace at *key*, with *client* as a client of the pace."""
        for _ in range(min(_LOOKS, len(self.used))):  # at each pace in turn
            _, shared = self.used.popitem(last=False)
            self.keep(shared)
        found = self.used.pop(key, None) or self.left.pop(key, None)
        if found is None or not (keep or found.clients):
            found = _SharedPace(key, make())
        found.clients.add(client)
        _JOINED[client] = self, found
        self.keep(found)
        return found.pace

    def keep(self, shared: _SharedPace) -> None:
        """Keep *shared* as the latest; forget the paces that were left first."""
        if shared.clients:
            self.used[shared.key] = shared
        else:
            self.used.pop(shared.key, None)
            self.left[shared.key] = shared
            if len(self.left) > _UNUSED_KEPT:
                self.left.popitem(last=False)


_BY_PROCESS: Final = _Registry()
_BY_LOOP: Final[WeakKeyDictionary[object, _Registry]] = WeakKeyDictionary()
_JOINED: Final[WeakKeyDictionary[object, tuple[_Registry, _SharedPace]]] = WeakKeyDictionary()
"""The pace of each client that isn't closed."""


def pace_of(
    client: object,
    base_url: str,
    identity: str,
    make: Callable[[], Pace],
    *,
    keep: bool,
    in_loop: bool,
) -> Pace:
    """Return the pace of all clients of *base_url* with credentials of this *identity*.

    *make* makes a pace where there is none. A pace stays until `leave` was called for all clients
    of the pace. With *keep* the pace stays for later clients, too, unless many other paces were
    left since. With *in_loop* only clients in the running event loop share the pace. Credentials
    are held as a salted hash.
    """
    key = blake2b(f"{base_url}\n{identity}".encode(), key=_SALT).digest()
    with _LOCK.lock:
        registry = _registry_of_loop() if in_loop else _BY_PROCESS
        return registry.join(client, key, make, keep=keep)


def join_pool(pace: Pace, base_url: str, identity: str) -> None:
    """Let *pace* share the rate of all processes with this *identity* and *base_url*, if it shares.

    The pool is named by a hash of both, which is the same in all processes.
    """
    if pace.shared_rate is not None:
        key = blake2b(f"{base_url}\n{identity}".encode(), digest_size=16, person=b"sunshine-pace")
        pace.shared_rate.join(key.hexdigest())


def shared_from(address: str | None) -> "Allowance | None":
    """Return the allowance at *address*, ``file:PATH`` or a URL of Redis; None for no address.

    Raise `ConfigurationError` for another address.
    """
    if not address:
        return None
    scheme, _, path = address.partition(":")
    if scheme == "file" and path.strip("/"):
        from sunshine_async._pace.file_allowance import FileAllowance  # noqa: PLC0415

        return FileAllowance(path.removeprefix("//"))
    if scheme in {"redis", "rediss", "unix"}:
        from sunshine_async._pace.redis_allowance import RedisAllowance  # noqa: PLC0415

        box = [address]
        address = path = ""  # no frame of an error holds a password
        return RedisAllowance(box.pop())
    address = path = ""
    message = (
        "the address of a shared pace (--pace, SUNSHINE_PACE) begins with file:, redis://, "
        "rediss:// or unix://"
    )
    raise ConfigurationError(message)


def leave(client: object) -> None:
    """Remove a closed *client* from the registry."""
    with _LOCK.lock:
        registry, shared = _JOINED.pop(client, (None, None))
        if registry is not None and shared is not None:
            shared.clients.discard(client)
            registry.keep(shared)


def _registry_of_loop() -> _Registry:
    try:
        loop = anyio.lowlevel.current_token().native_token
    except anyio.NoEventLoopError:
        return _Registry()
    return _BY_LOOP.setdefault(loop, _Registry())
