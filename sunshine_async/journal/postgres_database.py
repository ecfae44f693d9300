"""PostgreSQL databases: places without a password in any text, connections, texts, reasons."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from math import inf
from secrets import token_hex
from typing import Any, Final, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from attrs import field, frozen
from psycopg import InterfaceError, OperationalError
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.waiting import wait_selector

from sunshine_async.journal.lease import PATIENCE, now

T = TypeVar("T")

NO_ADDRESS: Final = (
    "{}: give an address such as postgresql://user:password@host:5432/database, with %40 for @ and "
    "%2F for / within the password"
)
READ_ONLY: Final = (
    "can't be written: the server is read-only. Give the address of the primary server"
)
_POOLED: Final = (
    "{} is behind a pooler in transaction mode, where connections change each other's settings. Give the "
    "address of the server, or of a pooler in session mode"
)
_CONNECTION: Final[Mapping[str, Any]] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A dead connection ends within seconds; the URL may have other values."""
LEASE: Final = 10.0
"""Seconds of a lease, unless the URL says otherwise."""
_SHORTEST: Final = 1.0
_JOB: Final = re.compile("[a-z0-9_]{1,40}")
_ENDED: Final = "57P"
"""Begin of the SQLSTATE of an error by which the server ends a connection."""
_TEMPORARY: Final = ("08", "25P03", "40", "53300", "55P03", _ENDED)
"""Begins of the SQLSTATE of errors that pass: the job waits."""
_SHOWN: Final = ("host", "port", "dbname")
"""Parts of an address that messages show."""
_STATE: Final = """SELECT to_regnamespace(%(name)s) IS NOT NULL,
    EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%(name)s)),
    to_regclass(%(name)s || '.version') IS NOT NULL"""
_MARK: Final = "SELECT set_config('sunshine_async.mark', %s, false)"
_FIND_MARK: Final = "SELECT current_setting('sunshine_async.mark', true)"
_LOOK: Final = 1.0  # seconds that a look for the mark may take
_INTERVAL: Final = 0.1  # seconds between two looks at the time
_SILENT: Final = "the server keeps the connection, and hasn't answered for too long"


def never() -> bool:
    """Return False: an answer is never late, since a statement may take any time."""
    return False


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose wait for an answer of the server ends once *is_late* returns True.

    The wait also ends where the server has sent nothing for *patience* seconds. Nothing else ends
    the wait for a server that hangs: the system acknowledges the packets.
    """

    is_late: Callable[[], bool] = staticmethod(never)
    patience: float = inf

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:
        """Return the result of *gen*; close the connection and raise `OperationalError` if late."""
        del timeout  # of notifications
        # not the faster `wait` of psycopg: before 3.2.13 that looks at no time
        return wait_selector(_bounded(self, gen), self.pgconn.socket, interval)


class BoundedAsyncConnection(psycopg.AsyncConnection[Any]):
    """`BoundedConnection` of an event loop."""

    is_late: Callable[[], bool] = staticmethod(never)
    patience: float = inf

    async def wait(
        self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None
    ) -> T:
        """Return the result of *gen*; close the connection and raise `OperationalError` if late."""
        del timeout  # of notifications
        return await super().wait(_bounded(self, gen), interval)


def _bounded(
    connection: BoundedConnection | BoundedAsyncConnection, exchange: PQGen[T]
) -> PQGen[T]:
    """Yield what *exchange* yields; once late, close *connection* and raise `OperationalError`."""
    try:
        wanted, since = next(exchange), now()
        while True:
            ready = yield wanted
            if ready:
                since = now()
            elif connection.is_late() or now() > since + connection.patience:
                break
            wanted = exchange.send(ready)
    except StopIteration as ended:
        return cast("T", ended.value)
    connection.pgconn.finish()
    raise OperationalError(_SILENT)


@frozen
class Address:
    """Address of a database; the password is in no text of the object."""

    parts: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return " ".join(f"{name}={part}" for name in _SHOWN if (part := self.parts.get(name)))

    def settings(self, application: str) -> dict[str, Any]:
        """Return the settings of a connection; *application* is a name for the lists of the server."""
        return {**_CONNECTION, "application_name": application, **self.parts}

    def connect(
        self, application: str, is_late: Callable[[], bool] = never, *, patience: float = inf
    ) -> psycopg.Connection[Any]:
        """Return a new connection with the `settings` for *application*: see `BoundedConnection`."""
        connection = BoundedConnection.connect(**self.settings(application), autocommit=True)
        connection.is_late, connection.patience = is_late, patience
        return connection

    def check_session(
        self, connection: psycopg.Connection[Any], *, name: str, error: type[Exception]
    ) -> None:
        """Raise *error* if a pooler gives another connection the session of *connection* meanwhile.

        *name* is the name of the database in messages. A pooler that is busy isn't found out.
        """
        mark = token_hex()
        connection.execute(_MARK, (mark,))
        try:
            with closing(self.connect("sunshine-async", patience=_LOOK)) as other:
                is_shared = other.execute(_FIND_MARK).fetchall() == [(mark,)]
        except psycopg.Error:  # such as too many connections
            is_shared = False
        if is_shared:
            raise error(_POOLED.format(name))


def parse_address(url: str) -> Address | None:
    """Return the address in *url*, None for another text.

    A password with a bare ``@`` or ``/`` would be read as host, port and database, and would be shown
    in messages: a text with such a password is no address.
    """
    try:
        address = Address(conninfo_to_dict(url))
    except psycopg.Error:  # the text would show the password
        return None
    shown = [str(address.parts.get(name, "")) for name in _SHOWN]
    is_mixed_up = any("@" in part for part in shown) or re.search("[^0-9,]", shown[1])
    return None if is_mixed_up else address


@frozen
class PostgresPlace:
    """Place of a journal: a database, and the name of the job in the database."""

    address: Address
    job: str = ""
    lease: float = LEASE

    @property
    def schema(self) -> str:
        """The schema with the tables of the journal."""
        return f"sunshine_journal_{self.job}" if self.job else "sunshine_journal"

    def __str__(self) -> str:
        """Return the URL without the password."""
        given = {name: str(part) for name, part in self.address.parts.items() if "pass" not in name}
        host, port, name, user = (
            quote(given.pop(part, ""), safe="[]:") for part in ("host", "port", "dbname", "user")
        )
        server = f"{user and user + '@'}{f'[{host}]' if ':' in host else host}{port and ':' + port}"
        given |= {"job": self.job} if self.job else {}
        given |= {"lease": f"{self.lease:g}"} if self.lease != LEASE else {}
        query = f"?{urlencode(given)}" if given else ""
        return f"postgresql://{server}/{name}{query}"


def parse_place(url: str) -> PostgresPlace | str:
    """Return the place in *url*, or a problem in words without the URL; raise nothing.

    ``job`` and ``lease`` in the query of the URL are the name of the job and the seconds of a lease.
    """
    start, _, query = url.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    job, lease = given.get("job", ""), given.get("lease", str(LEASE))
    rest = [part for part in query.split("&") if not part.startswith(("job=", "lease="))]
    address = parse_address("?".join(filter(None, (start, "&".join(rest)))))
    if address is None:
        return NO_ADDRESS.format("journal")
    if "job" in given and not _JOB.fullmatch(job):
        return "journal: the job in the URL must be 1 to 40 characters of a-z, 0-9 and _"
    try:
        seconds = float(lease)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds < PATIENCE:
        return f"journal: the lease in the URL must be {_SHORTEST:g} to {PATIENCE:g} seconds"
    return PostgresPlace(address, job, seconds)


def check_tables(
    connection: psycopg.Connection[Any],
    schema: str,
    tables: Sequence[str],
    *,
    version: int,
    name: str,
    error: type[Exception],
) -> bool:
    """Create *tables* in *schema*, unless the schema has some; return True for a new schema.

    The connection has the schema, a lower-case name, as ``search_path``. *name* is the name of the
    database in messages. Raise *error* for tables of another *version*, or of another program.
    """
    [[has_schema, has_tables, has_version]] = connection.execute(
        _STATE, {"name": schema}
    ).fetchall()
    if not has_schema:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    if not has_tables:
        connection.execute("CREATE TABLE version (number INTEGER NOT NULL)")
        connection.execute("INSERT INTO version VALUES (%s)", (version,))
        for statement in tables:
            connection.execute(statement.encode())
    is_ours = has_version or not has_tables
    found = connection.execute("SELECT number FROM version").fetchall() if is_ours else []
    if found != [(version,)]:
        message = (
            f"{name} has other tables in the schema {schema} than version {version} of this release. "
            "Use the release that made the tables, or another database"
        )
        raise error(message)
    return not has_schema


@cache
def with_placeholders(query: str) -> bytes:
    """Return a statement of all databases, with a ``?`` for a value, with psycopg's placeholders."""
    return query.replace("?", "%s").encode()


def ascii_text(text: str) -> str:
    """Return *text* as a text for any encoding: PostgreSQL's text has no NUL."""
    return json.dumps(text)[1:-1]


def plain_text(text: str) -> str:
    """Return the text that `ascii_text` has written as *text*."""
    decoded: str = json.loads(f'"{text}"')
    return decoded


def is_disconnected(error: psycopg.Error) -> bool:
    """Return True if *error* is about a connection that couldn't be made, or was lost."""
    return error.sqlstate is None and isinstance(error, (OperationalError, InterfaceError))


def passes_by_itself(error: psycopg.Error) -> bool:
    """Return True if *error* passes without help, such as that of a server that is away."""
    return is_disconnected(error) or (error.sqlstate or "").startswith(_TEMPORARY)


def reason_of(error: psycopg.Error, reasons: Mapping[str, str], *, goes_on: str) -> str:
    """Return the reason of *error*, and the next step; the server's text may have personal data.

    *reasons* are messages by the begin of the SQLSTATE; *goes_on* says that all goes on without
    help, once the server can be reached.
    """
    if is_disconnected(error):  # no answer of the server: the text is about the connection
        text = " ".join(str(error).split()).partition(" Is the server running")[0].rstrip(".")
        return f"can't be reached: {text}. {goes_on} once the server can be reached"
    state = error.sqlstate or ""
    if state.startswith(_ENDED):
        return f"is away: the server has ended the connection. {goes_on} once the server is back"
    found = (text for begin, text in reasons.items() if state.startswith(begin))
    name = type(error).__name__
    return next(found, f"can't be used: {name} ({state}). Look into the log of the server")
