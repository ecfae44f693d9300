"""The statements of a journal, and the meaning of SQLite's errors to the owner of a journal."""

from collections.abc import Mapping
from typing import Final

_COLUMNS: Final = """(
        number INTEGER PRIMARY KEY, line INTEGER NOT NULL, key TEXT, hash BLOB NOT NULL,
        state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT, code TEXT,
        status INTEGER, reason TEXT, remote_id TEXT, at REAL, body BLOB,
        session INTEGER NOT NULL DEFAULT 0, doubt INTEGER NOT NULL DEFAULT 0)"""
"""Of a row; *session* is the last one that met it or wrote its state, *doubt* is set while one of its
sendings may have been applied, and isn't known to be."""
TABLES: Final = (
    f"CREATE TABLE rows {_COLUMNS}",
    """CREATE TABLE users (key TEXT PRIMARY KEY, hash BLOB NOT NULL, doubt INTEGER NOT NULL,
        remote_id TEXT) WITHOUT ROWID""",
    """CREATE TABLE made (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, state INTEGER NOT NULL,
        remote_id TEXT)""",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
"""The rows of the source; of each user in the sources before it the last body that was sent, with
doubt 0 where it was accepted, 2 where that is unknown, and 1 where the job was cut off; users without
a key that were made, or may have been, and aren't rows of the source; facts about the job."""

ADD: Final = "INSERT INTO {into} (line, key, hash, body, state) VALUES {rows}"
ADDED: Final = "(?, ?, ?, ?, 0)"
"""One of the *rows*: many in one statement take a third of the time that each would by itself."""
REFUSE: Final = "UPDATE {into} SET state = 5, code = 'bad row', reason = ? WHERE number = ?"
NEXT: Final = """SELECT json_group_array(number), json_group_array(state),
        json_group_array(remote_id), json_group_array(hex(hash))
    FROM (SELECT number, state, remote_id, hash FROM rows
        WHERE number > ? AND number <= ? AND state IN ({states}) AND (? OR code IS NOT ?)
        ORDER BY number LIMIT ?)"""
"""All in one row: a thread gives way to others at each that it takes, and waits for its turn."""
SHOW: Final = """SELECT number, line, key, hash, state, outcome, code, status, reason, remote_id,
    attempts, at, body FROM rows"""
MARK: Final = """UPDATE rows SET
        state = json_extract(mark.value, '$[1]'), at = json_extract(mark.value, '$[2]'),
        outcome = json_extract(mark.value, '$[3]'), code = json_extract(mark.value, '$[4]'),
        status = json_extract(mark.value, '$[5]'), reason = json_extract(mark.value, '$[6]'),
        remote_id = coalesce(json_extract(mark.value, '$[7]'), remote_id),
        attempts = attempts + json_extract(mark.value, '$[8]'),
        doubt = json_extract(mark.value, '$[9]'), session = ?
    FROM json_each(?) AS mark WHERE rows.number = json_extract(mark.value, '$[0]')"""
"""All marks in one statement: at the end of each another thread has to be waited for."""
END: Final = """UPDATE rows SET state = 2, outcome = ?, attempts = attempts + ?, code = NULL, status = NULL,
        reason = NULL, remote_id = coalesce(done.value, remote_id), at = ?, doubt = 0, session = ?
    FROM json_each(?) AS done WHERE rows.number = CAST(done.key AS INTEGER)"""
"""The same, in a fifth of the time, for rows of which no more is said than that."""
BEGIN: Final = """UPDATE rows SET state = 1, at = ?, attempts = attempts + 1, outcome = NULL, code = NULL,
        status = NULL, reason = NULL, doubt = 1, session = ?
    FROM json_each(?) AS begun WHERE rows.number = begun.value"""
REACH: Final = "reach"
"""Of what is said about a job: up to which number all rows with a key have begun, as far as they wait."""
CATCH_UP: Final = """UPDATE rows SET state = 1, attempts = attempts + 1, doubt = 1,
        session = coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'session'), 0)
    WHERE state = 0 AND key IS NOT NULL
    AND number <= (SELECT CAST(value AS INTEGER) FROM about WHERE name = 'reach')"""
"""Where a job was cut off: what it had marked all at once is marked row by row."""
CAUGHT_UP: Final = "UPDATE about SET value = '0' WHERE name = 'reach' AND value <> '0'"
READABLE: Final = """UPDATE rows SET state = 4, doubt = 1, code = 'unreadable state',
        reason = 'its state in the journal is none that this version knows'
    WHERE state NOT IN (0, 1, 2, 3, 4, 5, 6)"""
SAY: Final = "INSERT OR REPLACE INTO about VALUES (?, ?)"
SESSION: Final = """INSERT INTO about VALUES ('session', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"""
NO_FILE: Final = "DELETE FROM about WHERE name IN ('digest', 'meant', 'source')"
AHEAD: Final = """INSERT OR REPLACE INTO about
    SELECT 'ahead', CAST(count(*) AS TEXT) FROM rows"""
"""How many rows were read ahead: those with higher numbers came one by one."""
WAITING: Final = """SELECT count(*) FROM rows WHERE state IN (0, 1) AND (session = ? OR number <=
    coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'ahead'), 0))"""

INDEX: Final = "CREATE INDEX IF NOT EXISTS by_key ON rows (key) WHERE key IS NOT NULL"
BY_LINE: Final = "CREATE INDEX IF NOT EXISTS by_line ON rows (line) WHERE key IS NULL"
BY_HASH: Final = "CREATE INDEX IF NOT EXISTS by_hash ON rows (hash, session)"
BY_TURN: Final = "CREATE INDEX IF NOT EXISTS by_turn ON rows (key, session) WHERE key IS NOT NULL"
MADE_BY_HASH: Final = "CREATE INDEX IF NOT EXISTS made_by_hash ON made (hash)"
MEETING: Final = (BY_TURN, BY_LINE, BY_HASH, MADE_BY_HASH)
AGAIN: Final = """UPDATE rows SET state = 1, doubt = 1 WHERE state = 2 AND EXISTS
    (SELECT 1 FROM rows AS other WHERE other.key = rows.key AND other.number < rows.number
        AND other.state IN ({states}))"""
"""What came after a row that is sent now is sent after it again."""

READ: Final = (
    "DROP TABLE IF EXISTS incoming",
    f"CREATE TABLE incoming {_COLUMNS}",
)
"""The rows of another source have a table of their own until all of them are read."""
INCOMING: Final = "CREATE INDEX by_incoming_key ON incoming (key) WHERE key IS NOT NULL"
REPEATED: Final = """SELECT coalesce(sum(n), 0) FROM
    (SELECT count(*) - 1 AS n FROM incoming WHERE key IS NOT NULL GROUP BY key)"""
REPEATS: Final = """SELECT max(line), min(line) FROM incoming WHERE key IS NOT NULL
    GROUP BY key HAVING count(*) > 1 ORDER BY 1 LIMIT 5"""
NEW_PEOPLE: Final = """SELECT EXISTS (SELECT 1 FROM incoming WHERE key IS NULL AND state = 0) AND (
    EXISTS (SELECT 1 FROM made)
    OR EXISTS (SELECT 1 FROM rows WHERE key IS NULL AND (state = 2 OR doubt)))"""
"""Whether there are rows without a key that can't be told from users who were made before."""
REMEMBER: Final = """INSERT OR REPLACE INTO users
    SELECT key, hash, CASE state WHEN 2 THEN 0 WHEN 4 THEN 2 ELSE 1 END,
        coalesce(remote_id, (SELECT remote_id FROM users WHERE users.key = rows.key))
    FROM rows WHERE key IS NOT NULL AND (state = 2 OR doubt OR (state = 0 AND ?))
    ORDER BY key, session, number"""
"""Of each user the last row that was applied, or may have been."""
KEEP_MADE: Final = """INSERT INTO made (hash, state, remote_id)
    SELECT hash, CASE state WHEN 2 THEN 2 ELSE 4 END, remote_id
    FROM rows WHERE key IS NULL AND (state = 2 OR doubt) ORDER BY state = 2 DESC, number"""
LEAVE_OUT: Final = """UPDATE incoming SET state = 6, reason = 'line ' || (
        SELECT line FROM incoming AS other WHERE other.number = (
            SELECT {which}(number) FROM incoming AS same WHERE same.key = incoming.key))
    WHERE key IN (SELECT key FROM incoming WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1)
    AND state = 0
    AND number <> (SELECT {which}(number) FROM incoming AS same WHERE same.key = incoming.key)"""
WHICH: Final = {"first": "min", "last": "max"}
TAKE_OVER: Final = """UPDATE incoming
    SET (state, attempts, outcome, code, status, reason, remote_id, at, doubt, session) =
        (old.state, old.attempts, old.outcome, old.code, old.status, old.reason, old.remote_id,
            old.at, old.doubt, old.session)
    FROM rows AS old WHERE incoming.state = 0 AND old.state <> 6
        AND incoming.key = old.key AND incoming.hash = old.hash
        AND (old.state <> 2 OR ? AND EXISTS (SELECT 1 FROM users WHERE users.key = old.key
            AND users.hash = old.hash AND users.doubt = 0))
        AND NOT EXISTS (SELECT 1 FROM rows AS other
            WHERE other.key = old.key AND other.number <> old.number AND other.state <> 6)
        AND NOT EXISTS (SELECT 1 FROM incoming AS other WHERE other.key = incoming.key
            AND other.number <> incoming.number AND other.state <> 6)"""
"""One of several for a user is sent again with them: the last body sent is the one that stays."""
UNCHANGED: Final = """UPDATE {rows} SET state = 2, outcome = 'unchanged', code = NULL, status = NULL,
        reason = NULL, remote_id = (SELECT remote_id FROM users WHERE users.key = {rows}.key)
    WHERE state = {state} AND NOT doubt AND EXISTS (SELECT 1 FROM users WHERE users.key = {rows}.key
        AND users.hash = {rows}.hash AND users.doubt = 0)
    AND (? OR NOT EXISTS (SELECT 1 FROM {rows} AS other WHERE other.key = {rows}.key
        AND other.number <> {rows}.number AND other.state <> 6))"""
BY_ID: Final = """CREATE INDEX IF NOT EXISTS users_by_id ON users (remote_id)
    WHERE remote_id IS NOT NULL"""
ALIASES: Final = (
    BY_ID,
    "CREATE INDEX IF NOT EXISTS rows_by_id ON rows (remote_id) WHERE remote_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS users_in_doubt ON users (key) WHERE doubt AND remote_id IS NULL",
    """CREATE INDEX IF NOT EXISTS rows_to_come ON rows (session)
        WHERE remote_id IS NULL AND (doubt OR state IN (0, 1))""",
)
OVERTAKEN: Final = """UPDATE rows SET state = 1, doubt = 1 WHERE state = 2 AND EXISTS
    (SELECT 1 FROM rows AS other WHERE other.remote_id = rows.remote_id AND other.key <> rows.key
        AND other.number < rows.number AND other.session > rows.session AND other.state = 2)"""
"""What was done before a row above it that has another key of the user is sent after it again."""
_NO_OTHER: Final = """
    AND EXISTS (SELECT 1 FROM users WHERE users.key = {rows}.key AND users.remote_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM users AS other
            WHERE other.remote_id = users.remote_id AND other.key <> users.key))
    AND NOT EXISTS (SELECT 1 FROM users WHERE doubt AND remote_id IS NULL)
    AND number < coalesce((SELECT min(new.number) FROM {rows} AS new
        WHERE new.state IN (0, 1, 3, 4) AND NOT EXISTS (SELECT 1 FROM users
            WHERE users.key = new.key AND users.remote_id IS NOT NULL)), number + 1)"""
ALONE: Final = UNCHANGED + _NO_OTHER
"""The same where rows with different keys may be of one user: none is passed over that shares the
user's id with another key, or comes after a row whose user's id isn't known."""
CREATED: Final = "already created"
"""Code of a row whose user was created with another body."""
WITH_ANOTHER: Final = "its user was created by this journal with another body: change the user with an update or upsert"
ALREADY: Final = """UPDATE {rows} SET state = 3, code = ?, reason = ?,
        remote_id = (SELECT remote_id FROM users WHERE users.key = {rows}.key)
    WHERE state = {state} AND NOT doubt AND EXISTS
        (SELECT 1 FROM users WHERE users.key = {rows}.key AND users.doubt = 0)"""
NEW: Final = {"rows": "incoming", "state": 0}
REFUSED: Final = {"rows": "rows", "state": 3}
UNTOLD: Final = "unknown before"
PERHAPS: Final = "an earlier run may have created its user: --retry-unknown looks, or without a key sends it again"
STILL_UNKNOWN: Final = """UPDATE incoming SET state = 4, doubt = 1, code = ?, reason = ?
    WHERE state = 0 AND EXISTS
        (SELECT 1 FROM users WHERE users.key = incoming.key AND users.doubt = 2)"""
DOUBTED: Final = """UPDATE incoming SET state = 1, doubt = 1
    WHERE state = 0 AND EXISTS (SELECT 1 FROM users WHERE users.key = incoming.key AND doubt)"""
"""Another body than the last that may have been sent."""
IDENTIFY: Final = """UPDATE incoming SET
        remote_id = (SELECT remote_id FROM users WHERE users.key = incoming.key)
    WHERE state IN (0, 1) AND remote_id IS NULL AND key IN (SELECT key FROM users)"""
"""Rows that are to be sent have the ids that those with their keys had when last accepted."""
PAIR: Final = """CREATE TEMP TABLE paired AS SELECT new.number AS number, old.number AS made,
        old.state AS state, old.remote_id AS remote_id
    FROM (SELECT number, hash, row_number() OVER (PARTITION BY hash ORDER BY number) AS place
            FROM incoming WHERE key IS NULL AND state = 0) AS new
    JOIN (SELECT number, hash, state, remote_id,
                row_number() OVER (PARTITION BY hash ORDER BY state, number) AS place
            FROM made) AS old
    ON new.hash = old.hash AND new.place = old.place"""
"""Rows without a key, and users who were made with such a body: by count."""
PAIRED: Final = """UPDATE incoming SET state = paired.state, remote_id = paired.remote_id,
        outcome = CASE paired.state WHEN 2 THEN 'unchanged' END, doubt = paired.state <> 2,
        code = CASE paired.state WHEN 2 THEN NULL ELSE ? END,
        reason = CASE paired.state WHEN 2 THEN NULL ELSE ? END
    FROM paired WHERE incoming.number = paired.number"""
PAIRED_OFF: Final = (
    "DELETE FROM made WHERE number IN (SELECT made FROM paired)",
    "DROP TABLE paired",
)
REPLACE: Final = (
    "DROP TABLE rows",
    "DROP INDEX IF EXISTS by_incoming_key",
    "ALTER TABLE incoming RENAME TO rows",
)

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
    "no such function: json": "can't be used: this Python's SQLite has no JSON functions",
    "no such table: json": "can't be used: this Python's SQLite has no JSON functions",
}
"""By a part of what SQLite says."""
