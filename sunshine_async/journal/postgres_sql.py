"""SQL of a journal in PostgreSQL: tables, the owner's lease, and statements unlike SQLite's."""

from collections.abc import Mapping
from typing import Final, LiteralString

from sunshine_async.journal import sql
from sunshine_async.journal.postgres_database import READ_ONLY

_COLUMNS: Final = """(
        number BIGINT PRIMARY KEY, line BIGINT NOT NULL, key TEXT, hash BYTEA NOT NULL,
        state SMALLINT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT, code TEXT,
        status INTEGER, reason TEXT, remote_id TEXT, at FLOAT8, body BYTEA,
        session INTEGER NOT NULL DEFAULT 0, doubt INTEGER NOT NULL DEFAULT 0)"""
TABLES: Final = (
    f"CREATE TABLE rows {_COLUMNS}",
    """CREATE TABLE users (key TEXT PRIMARY KEY, hash BYTEA NOT NULL, doubt INTEGER NOT NULL,
        remote_id TEXT)""",
    """CREATE TABLE made (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        hash BYTEA NOT NULL, state INTEGER NOT NULL, remote_id TEXT)""",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    sql.CREATE_TIMELINES,
    """CREATE TABLE owner (token BIGINT PRIMARY KEY, lease INTERVAL NOT NULL,
        seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())""",
    "CREATE TABLE written (number BIGINT NOT NULL)",
    "INSERT INTO written VALUES (0)",
)
"""The tables of the file, ``owner``: the process that has the journal, with a lease, and ``written``: the
number of the last write."""
REMOVE: Final = (
    "DROP TABLE IF EXISTS version, rows, users, made, about, timelines, owner, written, incoming",
    "DROP SCHEMA {schema}",
)
"""Remove the tables, and the schema unless another program has tables there."""
SETTINGS: Final = """SELECT set_config(name, value, false) FROM (VALUES
    ('search_path', %(schema)s), ('client_min_messages', 'warning'), ('client_encoding', 'UTF8'),
    ('synchronous_commit', %(commit)s), ('default_transaction_isolation', 'read committed'),
    ('default_transaction_read_only', %(read_only)s), ('statement_timeout', '0'),
    ('lock_timeout', '5s'), ('idle_in_transaction_session_timeout', '30s'))
    AS settings (name, value)"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(?, 0))"
"""One process at a time makes tables, or takes a journal."""
HAS_SCHEMA: Final = "SELECT to_regclass(%(schema)s || '.version') IS NOT NULL"
OWNER: Final = "SELECT token, seen_at::text, extract(epoch FROM lease)::float8 FROM owner"
END_SESSIONS: Final = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = %(application)s AND datname = current_database()
        AND usename = current_user AND pid <> pg_backend_pid()"""
"""End the connections of an owner whose lease has ended: a stopped process may be within a write."""
DELETE_ENDED: Final = "DELETE FROM owner WHERE token = %s AND seen_at::text = %s"
INSERT_OWNER: Final = """INSERT INTO owner
    VALUES (%(token)s, make_interval(secs => %(lease)s))"""
RELEASE: Final = "DELETE FROM owner WHERE token = %(token)s"
RENEW: Final = (
    "UPDATE owner SET seen_at = clock_timestamp() WHERE token = %(token)s RETURNING token"
)
FENCE: Final = """WITH fence AS (SELECT FROM owner WHERE token = %(token)s FOR KEY SHARE)
    UPDATE written SET number = %(number)s FROM fence RETURNING number"""
"""In each write: no row unless the process has the journal. Until the end of the write no other process can
take the journal, while `RENEW` goes on."""
WAIT: Final = "SELECT FROM owner WHERE token = %(token)s FOR UPDATE"
"""Wait for the end of the process's own write on another connection."""
WRITTEN: Final = "SELECT number FROM written"
"""The last write. The number of a transaction tells nothing after a crash: the server gives it again."""

LAST_NUMBER: Final = "SELECT coalesce(max(number), 0) FROM {table}"
COPY_ROWS: Final = "COPY {table} (number, line, key, hash, body, state, code, reason) FROM STDIN"
SELECT_PENDING: Final = """SELECT number, state, remote_id, hash FROM rows
    WHERE number > ? AND number <= ? AND state IN ({states}) AND (? OR coalesce(code, '') <> ?)
    ORDER BY number LIMIT ?"""
UPDATE_ROWS: Final = """UPDATE rows SET state = mark.state, at = mark.at, outcome = mark.outcome,
        code = mark.code, status = mark.status, reason = mark.reason,
        remote_id = coalesce(mark.remote_id, rows.remote_id), attempts = attempts + mark.sent,
        doubt = mark.doubt, session = ?
    FROM unnest(?::bigint[], ?::smallint[], ?::float8[], ?::text[], ?::text[], ?::integer[],
        ?::text[], ?::text[], ?::integer[], ?::integer[]) AS mark
        (number, state, at, outcome, code, status, reason, remote_id, sent, doubt)
    WHERE rows.number = mark.number"""
_UNNEST: Final = "FROM unnest(?::bigint[], ?::text[]) AS {name} (number, remote_id)"
UPDATE_DONE: Final = sql.SET_DONE + _UNNEST.format(name="done") + " WHERE rows.number = done.number"
UPDATE_BEGUN: Final = (
    sql.SET_BEGUN + _UNNEST.format(name="begun") + " WHERE rows.number = begun.number"
)
RUNNING: Final = """SELECT EXISTS (SELECT FROM {owner}
    WHERE greatest(seen_at, pg_postmaster_start_time()) >= clock_timestamp() - lease)"""
"""*owner*: the table. By the clock of the server: enough for a look.

The time in which the server was down doesn't count.
"""
_ROW: Final = """number, line, key, hash, state, attempts, outcome, code, status, reason, remote_id, at,
        NULL::bytea, session, doubt"""
COPIED: Final[Mapping[str, LiteralString]] = {
    "rows": f"""SELECT {_ROW} FROM rows WHERE key = ANY(%(keys)s::text[])
        UNION ALL SELECT {_ROW} FROM rows WHERE key IS NULL AND (line = ANY(%(lines)s::bigint[])
            OR hash = ANY(%(hashes)s::bytea[]) AND session < %(session)s)
        LIMIT %(most)s""",  # noqa: S608 - own names
    "users": """SELECT key, hash, doubt, remote_id FROM users
        WHERE key = ANY(%(keys)s::text[]) LIMIT %(most)s""",
    "made": """SELECT number, hash, state, remote_id FROM made
        WHERE hash = ANY(%(hashes)s::bytea[]) LIMIT %(most)s""",
    "about": "SELECT name, value FROM about WHERE name = 'ahead'",
}
"""The rows that a batch of rows may concern, by table; bodies are left out."""
COPY_MATCHED: Final = "COPY rows FROM STDIN"
MATCHED: Final = (0, 1, 4, 9, 13, 14)
"""Columns of a row that a match may change, after the number."""
UPDATE_MATCHED: Final = """UPDATE rows SET line = new.line, state = new.state,
        reason = new.reason, session = new.session, doubt = new.doubt
    FROM unnest(?::bigint[], ?::bigint[], ?::smallint[], ?::text[], ?::integer[], ?::integer[])
        AS new (number, line, state, reason, session, doubt)
    WHERE rows.number = new.number"""
DELETE_MADE: Final = "DELETE FROM made WHERE number = ANY(?::bigint[])"
POSTGRES: Final = sql.Dialect(
    create_incoming=("DROP TABLE IF EXISTS incoming", f"CREATE TABLE incoming {_COLUMNS}"),
    has_timelines="SELECT 1",
    pulse="""SELECT least(CAST(trunc((at - ?) / ?) AS INTEGER), ?), count(*) FROM rows
        WHERE state IN (2, 3, 4) AND at IS NOT NULL GROUP BY 1""",
)
REASONS: Final[Mapping[str, str]] = {
    "25006": READ_ONLY,
    "3D000": "can't be used: the server has no such database. Create the database, or check the name",
    "42501": (
        "can't be used: the user lacks a privilege. Grant CREATE and TEMPORARY on the database, or "
        "all on the journal's schema and its tables"
    ),
    "53100": (
        "can't be written: the server's disk is full. Free some space, and run the same command again"
    ),
    "55P03": "is held up by another transaction: look for locks on the journal's schema",
}
"""Messages, by the begin of the SQLSTATE."""
LOST: Final = (
    "has another owner: this process didn't renew its lease of {:g} s in time. This process writes and "
    "sends nothing more; the other process goes on"
)
