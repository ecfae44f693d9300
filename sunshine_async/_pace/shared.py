"""Registry of paces: all clients of the same credentials share a pace, as services count calls."""

from collections.abc import Callable, MutableMapping
from hashlib import blake2b
from secrets import token_bytes
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from anyio import NoEventLoopError
from anyio.lowlevel import current_token
from attrs import define, field

from sunshine_async._http.fork import ForkSafeLock
from sunshine_async._pace.pace import Pace

_UNUSED_KEPT: Final = 64
"""Paces without a client that are kept."""
_SALT: Final = token_bytes(16)
_LOCK: Final = ForkSafeLock()


@define(eq=False)
class _SharedPace:
    pace: Pace
    clients: WeakSet[object] = field(factory=WeakSet[object])


_Registry = MutableMapping[bytes, _SharedPace]

_BY_PROCESS: Final[_Registry] = {}
_BY_LOOP: Final[WeakKeyDictionary[object, _Registry]] = WeakKeyDictionary()


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
        shared = registry.pop(key, None)
        if shared is None or not (keep or shared.clients):
            shared = _SharedPace(make())
        shared.clients.add(client)
        registry[key] = shared  # as the latest
        left = [key for key, shared in registry.items() if not shared.clients]
        for key in left[:-_UNUSED_KEPT]:
            del registry[key]
        return shared.pace


def leave(client: object) -> None:
    """Remove a closed *client* from the registry."""
    with _LOCK.lock:
        for registry in (_BY_PROCESS, *_BY_LOOP.values()):
            for shared in registry.values():
                shared.clients.discard(client)


def _registry_of_loop() -> _Registry:
    try:
        loop = current_token().native_token
    except NoEventLoopError:
        return {}
    return _BY_LOOP.setdefault(loop, {})
