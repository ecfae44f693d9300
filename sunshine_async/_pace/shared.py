"""One pace for all clients of this process that use the same credentials: services count by them."""

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

_KEPT: Final = 64

_SALT: Final = token_bytes(16)
_LOCK: Final = ForkSafeLock()


@define(eq=False)
class _Shared:
    pace: Pace
    clients: WeakSet[object] = field(factory=WeakSet[object])


_All = MutableMapping[bytes, _Shared]

_OF_PROCESS: Final[_All] = {}
_OF_LOOPS: Final[WeakKeyDictionary[object, _All]] = WeakKeyDictionary()


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

    Where there is none yet it is what *make* returns. It is there until `leave` was called for all
    that had it, and with *keep* for those to come, unless many others have come since. With
    *in_loop* it is shared within the running event loop only. Credentials are held as a salted
    hash.
    """
    key = blake2b(f"{base_url}\n{identity}".encode(), key=_SALT).digest()
    with _LOCK.lock:
        of_all = _of_this_loop() if in_loop else _OF_PROCESS
        shared = of_all.pop(key, None)
        if shared is None or not (keep or shared.clients):
            shared = _Shared(make())
        shared.clients.add(client)
        of_all[key] = shared  # as the latest
        left = [key for key, shared in of_all.items() if not shared.clients]
        for key in left[:-_KEPT]:
            del of_all[key]
        return shared.pace


def leave(client: object) -> None:
    """Take down that *client* is closed."""
    with _LOCK.lock:
        for of_all in (_OF_PROCESS, *_OF_LOOPS.values()):
            for shared in of_all.values():
                shared.clients.discard(client)


def _of_this_loop() -> _All:
    try:
        loop = current_token().native_token
    except NoEventLoopError:
        return {}
    return _OF_LOOPS.setdefault(loop, {})
