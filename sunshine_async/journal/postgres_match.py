"""Statements with rows of a journal in PostgreSQL, and the match of rows in a copy in memory.

A look-up in the database takes a round trip, and a row needs several. So a batch of rows is matched in
an SQLite database in memory, which gets the rows of the same users and with the same content from
PostgreSQL, and whose changes go back.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from itertools import count
from typing import Any, Final, cast

import psycopg
from attrs import evolve, frozen
from psycopg.abc import Buffer
from psycopg.types.string import StrDumperUnknown, TextLoader

from sunshine_async.journal import postgres_sql, sql
from sunshine_async.journal.postgres_database import ascii_text, plain_text, with_placeholders
from sunshine_async.journal.rows import JournalRow, Rules, SourceRow, State
from sunshine_async.journal.stream import RowMatcher

_MAX_KEY: Final = 2000  # bytes: longer keys don't fit an index
_SHOWN_KEY: Final = 100  # characters of a longer key
_MOST: Final = 20_000  # rows of a table in a copy
_COLUMNS: Final = {"rows": 15, "users": 4, "made": 4, "about": 2}
_INSERT: Final = {
    table: f"INSERT INTO {table} VALUES ({', '.join('?' * columns)})"  # noqa: S608 - own names
    for table, columns in _COLUMNS.items()
}
_INSERT_ROW: Final = """INSERT INTO rows (number, line, key, hash, body, state)
    VALUES (?, ?, ?, ?, ?, 0)"""


@frozen
class Statements:
    """A connection that takes the statements of all databases."""

    connection: psycopg.Connection[Any]

    def execute(self, query: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[Any]:
        """Execute *query*, with a ``?`` for each of *values*; return the cursor."""
        return self.connection.execute(with_placeholders(query), values)


class TextDumper(StrDumperUnknown):
    """Writes texts as `ascii_text`."""

    def dump(self, obj: str) -> "Buffer | None":  # a text in psycopg 3.2
        return super().dump(ascii_text(obj))


class JournalTextLoader(TextLoader):
    """Reads texts of `TextDumper`."""

    def load(self, data: Buffer) -> str | bytes:
        return plain_text(cast("str", super().load(data)))


def match_in_memory(
    journal: Statements,
    lines: Sequence[SourceRow],
    session: int,
    rules: Rules,
    states: Sequence[State],
) -> list[JournalRow | None] | None:
    """Match *lines* as `RowMatcher` does, within a transaction of *journal*.

    Return None, without any change, for a match that the copy isn't enough for: too many rows, or
    rows with different keys that may be of the same user.
    """
    keyless = [line for line in lines if line.key is None]
    values = {
        "keys": [line.key for line in lines if line.key is not None],
        "lines": [line.line for line in keyless],
        "hashes": [line.hash for line in keyless],
        "session": session,
        "most": _MOST + 1,
    }
    copied = {
        table: journal.connection.execute(query, values).fetchall()
        for table, query in postgres_sql.COPIED.items()
    }
    if rules.aliased or any(len(rows) > _MOST for rows in copied.values()):
        return None
    last: int
    [[last]] = journal.execute(postgres_sql.LAST_NUMBER.format(table="rows")).fetchall()
    numbers = count(last + 1)

    def insert(added: Sequence[SourceRow]) -> int:
        number = last
        for row, number in zip(added, numbers, strict=False):
            memory.execute(_INSERT_ROW, (number, row.line, row.key, row.hash, row.body))
        return number

    with closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        for statement in (*sql.CREATE_TABLES, *sql.MATCH_INDEXES):
            memory.execute(statement)
        for table, rows in copied.items():
            memory.executemany(_INSERT[table], rows)
        matcher = RowMatcher(memory, insert, session, rules, states)
        matched = [matcher.match_row(line) for line in lines]
        _write_back(journal, memory, copied)
    return matched


def _write_back(
    journal: Statements, memory: sqlite3.Connection, copied: Mapping[str, Sequence[Any]]
) -> None:
    """Write the changes that the copy has got to the journal."""
    before = {row[0]: row for row in copied["rows"]}
    rows = memory.execute("SELECT * FROM rows ORDER BY number").fetchall()
    changed = [row for row in rows if before.get(row[0], row) != row]
    columns = [[row[place] for row in changed] for place in postgres_sql.MATCHED]
    journal.execute(postgres_sql.UPDATE_MATCHED, columns)
    with journal.connection.cursor() as cursor, cursor.copy(postgres_sql.COPY_MATCHED) as copy:
        for row in rows:
            if row[0] not in before:
                copy.write_row(row)
    kept = {number for (number,) in memory.execute("SELECT number FROM made")}
    gone = [row[0] for row in copied["made"] if row[0] not in kept]
    journal.execute(postgres_sql.DELETE_MADE, (gone,))


def with_short_key(line: SourceRow) -> SourceRow:
    """Return *line* with a key that fits an index: a hash stands for the end of a very long key."""
    if line.key is None or len(ascii_text(line.key)) <= _MAX_KEY:
        return line
    return evolve(line, key=f"{line.key[:_SHOWN_KEY]}... {sha256(line.key.encode()).hexdigest()}")
