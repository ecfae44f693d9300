"""HTTP transport: the only place where bytes leave the process.

A `Wire` sends a `Request` to a base URL and returns a `Response` or a `Failure`. Errors of the
network are never raised. `open_wire` makes the wire from a client's settings. There are two wires:

- `SocketWire` (`pool`) speaks HTTP/1.1 on asyncio sockets. The `Dialer` makes a connection, directly
  or by a tunnel through a `Proxy`. The `Pool` keeps and lends connections, and a `Connection` carries
  a single `Call` at a time.
- `HttpxWire` sends through httpx: for trio, tests' mocks, a user's own transport, and a proxy that
  speaks TLS or SOCKS or forwards plain HTTP.

`ResponseParser` reads every response, also below httpx (`httpcore_backend`), so that both wires
accept and refuse the same bytes. `SendProgress` tells a cancelled caller if a byte may have been
sent. `certificates` finds the trusted certificates. `failures` turns exceptions into failures and
removes secrets from tracebacks. `fork` renews locks and pools in a child process, and
looks for a sleep of the machine.

No httpx exception leaves this package: such an error holds the request with the credentials.
"""

from typing import Final

__version__: Final = "0.1.0"
