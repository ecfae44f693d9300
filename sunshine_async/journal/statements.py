"""What a journal says to SQLite, and what SQLite's errors mean to whose journal it is."""

from collections.abc import Mapping
from typing import Final

TABLES: Final = (
    """CREATE TABLE rows (
        number INTEGER PRIMARY KEY, line INTEGER NOT NULL, key TEXT, hash BLOB NOT NULL,
        state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT, code TEXT,
        status INTEGER, reason TEXT, remote_id TEXT, at REAL, body BLOB,
        session INTEGER NOT NULL DEFAULT 0)""",
    "CREATE TABLE accepted (key TEXT PRIMARY KEY, hash BLOB NOT NULL, remote_id TEXT) WITHOUT ROWID",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
ADD: Final = "INSERT INTO rows (line, key, hash, body, state) VALUES {rows}"
ADDED: Final = "(?, ?, ?, ?, 0)"
"""One of the *rows*: many in one statement take a third of the time that each would by itself."""
REFUSE: Final = "UPDATE rows SET state = 5, code = 'bad row', reason = ? WHERE number = ?"
KNOWN: Final = "SELECT number, state, remote_id, session, hash, attempts FROM rows WHERE"
MEET: Final = "UPDATE rows SET state = ?, session = ? WHERE number = ?"
SUPERSEDE: Final = "UPDATE rows SET state = 6, reason = 'line ' || ? WHERE number = ?"
NEXT: Final = """SELECT json_group_array(number), json_group_array(state),
        json_group_array(remote_id)
    FROM (SELECT number, state, remote_id FROM rows
        WHERE number > ? AND state IN ({states}) ORDER BY number LIMIT ?)"""
"""All in one row: a thread gives way to others at each that it takes, and waits for its turn."""
SHOW: Final = """SELECT number, line, key, hash, state, outcome, code, status, reason, remote_id,
    attempts, at, body FROM rows"""
MARK: Final = """UPDATE rows SET
        state = mark.value ->> 1, at = mark.value ->> 2, outcome = mark.value ->> 3,
        code = mark.value ->> 4, status = mark.value ->> 5, reason = mark.value ->> 6,
        remote_id = coalesce(mark.value ->> 7, remote_id), attempts = attempts + (mark.value ->> 8)
    FROM json_each(?) AS mark WHERE rows.number = mark.value ->> 0"""
"""All marks in one statement: at the end of each another thread has to be waited for."""
END: Final = """UPDATE rows SET state = 2, outcome = ?, attempts = attempts + ?, code = NULL, status = NULL,
        reason = NULL, remote_id = coalesce(done.value, remote_id), at = ?
    FROM json_each(?) AS done WHERE rows.number = CAST(done.key AS INTEGER)"""
"""The same, in a fifth of the time, for rows of which no more is said than that."""
BEGIN: Final = """UPDATE rows SET state = 1, at = ?, attempts = attempts + 1, outcome = NULL, code = NULL,
        status = NULL, reason = NULL
    FROM json_each(?) AS begun WHERE rows.number = begun.value"""
REACH: Final = "reach"
"""Of what is said about a job: up to which number all rows with a key have begun, as far as they wait."""
CATCH_UP: Final = """UPDATE rows SET state = 1, attempts = attempts + 1 WHERE state = 0
    AND key IS NOT NULL AND number <= (SELECT CAST(value AS INTEGER) FROM about WHERE name = 'reach')"""
"""Where a job was cut off: what it had marked all at once is marked row by row."""
CAUGHT_UP: Final = "UPDATE about SET value = '0' WHERE name = 'reach' AND value <> '0'"
INDEX: Final = "CREATE INDEX IF NOT EXISTS by_key ON rows (key) WHERE key IS NOT NULL"
BY_LINE: Final = "CREATE INDEX IF NOT EXISTS by_line ON rows (line) WHERE key IS NULL"
REPEATED: Final = """SELECT coalesce(sum(n), 0) FROM
    (SELECT count(*) - 1 AS n FROM rows WHERE key IS NOT NULL GROUP BY key)"""
REPEATS: Final = """SELECT max(line), min(line) FROM rows WHERE key IS NOT NULL
    GROUP BY key HAVING count(*) > 1 ORDER BY 1 LIMIT 5"""
LEAVE_OUT: Final = """UPDATE rows SET state = 6, reason = 'line ' || (
        SELECT line FROM rows AS other WHERE other.number = (
            SELECT {which}(number) FROM rows AS same WHERE same.key = rows.key))
    WHERE key IN (SELECT key FROM rows WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1)
    AND state IN (0, 1)
    AND number <> (SELECT {which}(number) FROM rows AS same WHERE same.key = rows.key)"""
UNCHANGED: Final = """UPDATE rows SET state = 2, outcome = 'unchanged',
        remote_id = (SELECT remote_id FROM accepted WHERE accepted.key = rows.key)
    WHERE state = 0 AND EXISTS
        (SELECT 1 FROM accepted WHERE accepted.key = rows.key AND accepted.hash = rows.hash)
    AND NOT EXISTS (SELECT 1 FROM rows AS other
        WHERE other.key = rows.key AND other.number <> rows.number AND other.state <> 6)"""
"""Not one of several for a user: what was accepted then is not what is there once the first was sent."""
REMEMBER: Final = """UPDATE rows SET
        remote_id = (SELECT remote_id FROM accepted WHERE accepted.key = rows.key)
    WHERE state = 0 AND remote_id IS NULL AND key IN (SELECT key FROM accepted)"""
"""Rows that are to be sent have the ids that those with their keys had when last accepted."""
ACCEPT: Final = """INSERT OR REPLACE INTO accepted
    SELECT key, hash, remote_id FROM rows WHERE state = 2 AND key IS NOT NULL ORDER BY key, number"""
DOUBT: Final = """DELETE FROM accepted WHERE key IN
    (SELECT key FROM {rows} WHERE state IN (0, 1, 4) AND key IS NOT NULL)"""
SAY: Final = "INSERT OR REPLACE INTO about VALUES (?, ?)"
WHICH: Final = {"first": "min", "last": "max"}
TAKE_OVER: Final = """UPDATE rows
    SET (state, attempts, outcome, code, status, reason, remote_id, at) =
        (old.state, old.attempts, old.outcome, old.code, old.status, old.reason, old.remote_id, old.at)
    FROM old WHERE rows.hash = old.hash AND rows.state = 0 AND old.state <> 6
        AND (rows.key = old.key OR rows.key IS NULL AND old.key IS NULL AND rows.line = old.line)"""
DOUBTED: Final = """UPDATE rows SET state = 1 WHERE state = 0
    AND key IN (SELECT key FROM old WHERE state IN (1, 4) AND key IS NOT NULL)"""
"""Whose row has changed, or is another now, may be there by the one that was sent before."""
UNREAD: Final = "is no journal of a job: name another file, and it is made"
REASONS: Final[Mapping[str, str]] = {
    "locked": "is in use by another process: one job at a time has a journal",
    "not a database": UNREAD,
    "malformed": (
        "is damaged. Keep it, and begin another: what was sent is there, so an upsert, or a look "
        "at the service, tells what got through"
    ),
    "full": "can't be written: the disk is full. Make room, and run the same again",
    "disk I/O": "can't be written or read: the disk is full, or fails. See to it, and run the same again",
    "readonly": (
        "can't be written: it, or its disk, is read-only. Copy it to where you may write "
        "(sunshine-async job copy), and name the copy"
    ),
    "unable to open": "can't be opened: is its directory there, and may you write to it?",
}
"""By a part of what SQLite says."""
