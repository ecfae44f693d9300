"""Certificates made on the spot, and who trusts them."""

import ssl
from functools import cache

import trustme
from attrs import frozen


@frozen
class Tls:
    """A certificate authority, the context of a *client* that trusts it, and that of its *server*."""

    authority: trustme.CA
    client: ssl.SSLContext
    server: ssl.SSLContext


@cache
def tls() -> Tls:
    """Return an authority, with a server that has its certificate for 127.0.0.1."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return Tls(authority, client, certified(authority, "127.0.0.1"))


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    """Return the context of a server that has a certificate for *name*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
