"""PostgreSQL databases: addresses without a password in any text, connections, texts, reasons."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from attrs import field, frozen
from psycopg import InterfaceError, OperationalError
from psycopg.conninfo import conninfo_to_dict

NO_ADDRESS: Final = (
    "{}: give an address such as postgresql://user:password@host:5432/database, with %40 for @ and "
    "%2F for / within the password"
)
READ_ONLY: Final = (
    "can't be written: the server is read-only. Give the address of the primary server"
)
_CONNECTION: Final[Mapping[str, Any]] = {
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A dead connection ends within seconds; the URL may have other values."""
_ENDED: Final = "57P"
"""Begin of the SQLSTATE of an error by which the server ends a connection."""
_SHOWN: Final = ("host", "port", "dbname")
"""Parts of an address that messages show."""
_STATE: Final = """SELECT to_regnamespace(%(name)s) IS NOT NULL,
    EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%(name)s)),
    to_regclass(%(name)s || '.version') IS NOT NULL"""


@frozen
class Address:
    """Address of a database; the password is in no text of the object."""

    parts: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return " ".join(f"{name}={part}" for name in _SHOWN if (part := self.parts.get(name)))

    def settings(self, application: str) -> dict[str, Any]:
        """Return the settings of a connection; *application* is a name for the lists of the server."""
        return {**_CONNECTION, "application_name": application, **self.parts}

    def connect(self, application: str) -> psycopg.Connection[Any]:
        """Return a new connection with the `settings` for *application*."""
        return psycopg.connect(**self.settings(application), autocommit=True)


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


def check_tables(
    connection: psycopg.Connection[Any],
    schema: str,
    tables: Sequence[str],
    *,
    version: int,
    name: str,
) -> str | None:
    """Create *tables* in *schema*, unless the schema has some; return a problem in words, or None.

    The connection has the schema, a lower-case name, as ``search_path``. *name* is the name of the
    database in messages. A problem: the tables are of another *version*, or of another program.
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
    if found == [(version,)]:
        return None
    return (
        f"{name} has other tables in the schema {schema} than version {version} of this release. "
        "Use the release that made the tables, or another database"
    )


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
