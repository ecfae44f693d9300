"""One pace for all that use one token: the service counts by token."""

from hashlib import blake2b
from secrets import token_bytes
from threading import Lock
from typing import Final
from weakref import WeakValueDictionary

from sunshine_async._pace import Pace

RATE: Final = 10
"""Requests a second that the service allows a token, and a burst of 4."""
BURST: Final = 2
"""Two less than the service's: requests whose ways differ by up to 200 ms bunch up by as many."""

_SALT: Final = token_bytes(16)
_LOCK: Final = Lock()
_PACES: Final[WeakValueDictionary[bytes, Pace]] = WeakValueDictionary()


def pace_of(base_url: str, authorization: str) -> Pace:
    """Return the pace of all clients of this process with the same base URL and credentials.

    It is there as long as one of them is. The credentials are kept as a salted hash only.
    """
    key = blake2b(f"{base_url}\n{authorization}".encode(), key=_SALT).digest()
    with _LOCK:
        pace = _PACES.get(key)
        if pace is None:
            pace = _PACES[key] = Pace(rate=RATE, burst=BURST)
        return pace
