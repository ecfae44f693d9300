"""The TLS context of all clients that bring none of their own."""

import ssl
from functools import cache
from threading import Lock
from typing import Final

import httpx

_ONE_AT_A_TIME: Final = Lock()


@cache
def _made_once() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def shared_ssl_context() -> ssl.SSLContext:
    """Return the one context of all clients that bring none: certificates and names are checked.

    It takes tens of milliseconds to make, and is made once, in whatever threads it is asked for.
    """
    with _ONE_AT_A_TIME:
        return _made_once()
