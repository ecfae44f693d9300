"""SQL statements of a journal, and messages for SQLite's errors."""
# ruff: noqa: S608 - statements are made of the constants in this file

from collections.abc import Mapping
from typing import Final

from attrs import frozen

_COLUMNS: Final = """(
        number INTEGER PRIMARY KEY, line INTEGER NOT NULL, key TEXT, hash BLOB NOT NULL,
        state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT, code TEXT,
        status INTEGER, reason TEXT, remote_id TEXT, at REAL, body BLOB,
        session INTEGER NOT NULL DEFAULT 0, doubt INTEGER NOT NULL DEFAULT 0)"""
"""*session*: the last that matched the row or wrote the state. *doubt*: an attempt may have been
applied and isn't known to be."""
CREATE_TABLES: Final = (
    f"CREATE TABLE rows {_COLUMNS}",
    """CREATE TABLE users (key TEXT PRIMARY KEY, hash BLOB NOT NULL, doubt INTEGER NOT NULL,
        remote_id TEXT) WITHOUT ROWID""",
    """CREATE TABLE made (number INTEGER PRIMARY KEY, hash BLOB NOT NULL, state INTEGER NOT NULL,
        remote_id TEXT)""",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
"""``rows``: the rows of the source. ``users``: the last body sent of each user in earlier sources, with
*doubt* 0 where the body was accepted, 2 where that is unknown, 1 where the job was cut off. ``made``:
users without a key that were created, or may have been, by earlier sources. ``about``: facts."""

INSERT_ROWS: Final = "INSERT INTO {table} (line, key, hash, body, state) VALUES {rows}"
ROW_VALUES: Final = "(?, ?, ?, ?, 0)"  # rows that share a statement take a third of the time
MARK_BAD: Final = "UPDATE {table} SET state = 5, code = 'bad row', reason = ? WHERE number = ?"
SELECT_PENDING: Final = """SELECT json_group_array(number), json_group_array(state),
        json_group_array(remote_id), json_group_array(hex(hash))
    FROM (SELECT number, state, remote_id, hash FROM rows
        WHERE number > ? AND number <= ? AND state IN ({states}) AND (? OR code IS NOT ?)
        ORDER BY number LIMIT ?)"""
"""All rows as a single row of arrays: fetching a row gives up the interpreter lock each time."""
ROW_COLUMNS: Final = (
    "number", "line", "key", "hash", "state", "outcome", "code", "status", "reason", "remote_id",
    "attempts", "at", "body",
)  # fmt: skip
UPDATE_ROWS: Final = """UPDATE rows SET
        state = json_extract(mark.value, '$[1]'), at = json_extract(mark.value, '$[2]'),
        outcome = json_extract(mark.value, '$[3]'), code = json_extract(mark.value, '$[4]'),
        status = json_extract(mark.value, '$[5]'), reason = json_extract(mark.value, '$[6]'),
        remote_id = coalesce(json_extract(mark.value, '$[7]'), remote_id),
        attempts = attempts + json_extract(mark.value, '$[8]'),
        doubt = json_extract(mark.value, '$[9]'), session = ?
    FROM json_each(?) AS mark WHERE rows.number = json_extract(mark.value, '$[0]')"""
"""All updates in a single statement: each statement waits for the interpreter lock at the end."""
SET_DONE: Final = """UPDATE rows SET state = 2, outcome = ?, attempts = attempts + ?, code = NULL, status = NULL,
        reason = NULL, remote_id = coalesce(done.remote_id, rows.remote_id), at = ?, doubt = 0,
        session = ? """
UPDATE_DONE: Final = SET_DONE.replace("done.remote_id", "done.value") + (
    "FROM json_each(?) AS done WHERE rows.number = CAST(done.key AS INTEGER)"
)
"""`UPDATE_ROWS` for rows that are done with an outcome and nothing more, in a fifth of the time."""
SET_BEGUN: Final = """UPDATE rows SET state = 1, at = ?, attempts = attempts + 1, outcome = NULL, code = NULL,
        status = NULL, reason = NULL, doubt = 1, session = ?,
        remote_id = coalesce(begun.remote_id, rows.remote_id) """
UPDATE_BEGUN: Final = SET_BEGUN.replace("begun.remote_id", "begun.value") + (
    "FROM json_each(?) AS begun WHERE rows.number = CAST(begun.key AS INTEGER)"
)
STARTED_THROUGH: Final = "reach"
"""Fact about a job: all waiting rows with a key, up to this number, have begun."""
MARK_STARTED: Final = """UPDATE rows SET state = 1, attempts = attempts + 1, doubt = 1,
        session = coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'session'), 0)
    WHERE state = 0 AND key IS NOT NULL
    AND number <= (SELECT CAST(value AS INTEGER) FROM about WHERE name = 'reach')"""
"""Recovery: mark each row that a job, now cut off, had marked with `STARTED_THROUGH`."""
RESET_STARTED_THROUGH: Final = "UPDATE about SET value = '0' WHERE name = 'reach' AND value <> '0'"
_IS_READABLE: Final = "state IN (0, 1, 2, 3, 4, 5, 6)"
_UNREADABLE: Final = "this release does not know the state that the row has in the journal"
MARK_UNREADABLE: Final = f"""UPDATE rows SET state = 4, doubt = 1, code = 'unreadable state',
        reason = '{_UNREADABLE}'
    WHERE NOT {_IS_READABLE}"""
RECOVER: Final = (MARK_UNREADABLE, MARK_STARTED, RESET_STARTED_THROUGH)
"""Correct the state of rows that a kill has left."""
SET_FACT: Final = """INSERT INTO about VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
COUNT_SESSION: Final = """INSERT INTO about VALUES ('session', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(about.value AS INTEGER) + 1 AS TEXT)"""
HAS_JOB: Final = "SELECT 1 FROM about WHERE name = 'state'"
DELETE_LIVE: Final = "DELETE FROM about WHERE name = 'live'"
"""The counts of a running job are those of its session."""
CREATE_TIMELINES: Final = """CREATE TABLE IF NOT EXISTS timelines
    (session INTEGER PRIMARY KEY, data TEXT NOT NULL)"""
"""Timelines of the last sessions. Releases that know no timelines ignore the table."""
SELECT_TIMELINES: Final = "SELECT data FROM timelines ORDER BY session"
SAVE_TIMELINE: Final = """INSERT INTO timelines VALUES (?, ?)
    ON CONFLICT (session) DO UPDATE SET data = excluded.data"""
DELETE_OLD_TIMELINES: Final = """DELETE FROM timelines
    WHERE session <= (SELECT max(session) FROM timelines) - ?"""
DELETE_SOURCE_FACTS: Final = "DELETE FROM about WHERE name IN ('digest', 'meant', 'source')"
SET_READ_AHEAD: Final = """INSERT INTO about SELECT 'ahead', CAST(count(*) AS TEXT) FROM rows WHERE TRUE
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
"""Fact about a job: the number of rows read ahead. Rows with higher numbers came singly."""
_SEEN: Final = f"""(SELECT number, line, key, hash, CASE
        WHEN state = 0 AND key IS NOT NULL AND number <= coalesce(
            (SELECT CAST(value AS INTEGER) FROM about WHERE name = 'reach'), 0) THEN 1
        WHEN {_IS_READABLE} THEN state ELSE 4 END AS state, outcome,
    CASE WHEN {_IS_READABLE} THEN code ELSE 'unreadable state' END AS code, status,
    CASE WHEN {_IS_READABLE} THEN reason ELSE '{_UNREADABLE}' END AS reason,
    remote_id, attempts, at, body FROM rows) AS seen"""
"""Rows with the state as after a recovery: rows up to `STARTED_THROUGH` have begun."""
SELECT_ROWS: Final = f"SELECT {', '.join(ROW_COLUMNS)} FROM {_SEEN}"
COUNT_STATES: Final = f"SELECT state, outcome, count(*) FROM {_SEEN} GROUP BY state, outcome"
COUNT_CODES: Final = f"""SELECT code, count(*), min(line || ': ' || reason) FROM {_SEEN}
    WHERE state IN (3, 4, 5) GROUP BY code"""
COUNT_WAITING: Final = """SELECT count(*) FROM rows WHERE state IN (0, 1) AND (session = ? OR number <=
    coalesce((SELECT CAST(value AS INTEGER) FROM about WHERE name = 'ahead'), 0))"""

CERTAINTY: Final = "CASE WHEN state = 2 THEN 0 WHEN doubt <> 0 THEN 1 ELSE 2 END"
"""0 for a row that was applied, 1 for a row that may have been, 2 for a row that wasn't."""
INDEX_KEYS: Final = "CREATE INDEX IF NOT EXISTS by_key ON rows (key) WHERE key IS NOT NULL"
MATCH_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS by_turn ON rows (key, session) WHERE key IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_line ON rows (line) WHERE key IS NULL",
    "CREATE INDEX IF NOT EXISTS by_hash ON rows (hash, session)",
    f"""CREATE INDEX IF NOT EXISTS by_certainty ON rows (hash, ({CERTAINTY}), session, number)
        WHERE key IS NULL""",
    "CREATE INDEX IF NOT EXISTS made_by_hash ON made (hash)",
)
REOPEN_LATER_ROWS: Final = """UPDATE rows SET state = 1, doubt = 1 WHERE state = 2 AND EXISTS
    (SELECT 1 FROM rows AS other WHERE other.key = rows.key AND other.number < rows.number
        AND other.state IN ({states}))"""
"""Send a row again where an earlier row with the same key is sent now."""

INDEX_INCOMING: Final = "CREATE INDEX by_incoming_key ON incoming (key) WHERE key IS NOT NULL"
COUNT_DUPLICATES: Final = """SELECT CAST(coalesce(sum(n), 0) AS INTEGER) FROM
    (SELECT count(*) - 1 AS n FROM incoming WHERE key IS NOT NULL GROUP BY key) AS repeated"""
FIRST_DUPLICATES: Final = """SELECT max(line), min(line) FROM incoming WHERE key IS NOT NULL
    GROUP BY key HAVING count(*) > 1 ORDER BY 1 LIMIT 5"""
HAS_NEW_USERS: Final = """SELECT EXISTS (SELECT 1 FROM incoming WHERE key IS NULL AND state = 0) AND (
    EXISTS (SELECT 1 FROM made)
    OR EXISTS (SELECT 1 FROM rows WHERE key IS NULL AND (state = 2 OR doubt <> 0)))"""
"""True if rows without a key can't be told from users created before."""
USER_DOUBT: Final = """CASE WHEN state = 2 THEN 0
        WHEN doubt = 0 AND (state <> 0 OR {marked} = 1) THEN NULL WHEN state = 4 THEN 2 ELSE 1 END"""
"""*doubt* of a user after a row, as in ``users``; NULL where the row wasn't applied. A waiting row may
have been sent, unless rows are *marked* before sending."""
SAVE_USERS: Final = """INSERT INTO users
    SELECT key, hash, user_doubt,
        coalesce(remote_id, (SELECT remote_id FROM users WHERE users.key = applied.key))
    FROM (SELECT key, hash, user_doubt, remote_id,
            row_number() OVER (PARTITION BY key ORDER BY session DESC, number DESC) AS place
        FROM (SELECT key, hash, remote_id, session, number, {doubt} AS user_doubt
            FROM rows WHERE key IS NOT NULL) AS sent
        WHERE user_doubt IS NOT NULL) AS applied
    WHERE place = 1 ON CONFLICT (key) DO UPDATE SET
        hash = excluded.hash, doubt = excluded.doubt, remote_id = excluded.remote_id"""
"""Keep the last row of each user that was applied, or may have been; *doubt* is `USER_DOUBT`."""
SAVE_CREATED: Final = """INSERT INTO made (hash, state, remote_id)
    SELECT hash, CASE state WHEN 2 THEN 2 ELSE 4 END, remote_id
    FROM rows WHERE key IS NULL AND (state = 2 OR doubt <> 0) ORDER BY state = 2 DESC, number"""
LEAVE_OUT_DUPLICATES: Final = """UPDATE incoming SET state = 6, reason = 'line ' || (
        SELECT line FROM incoming AS other WHERE other.number = (
            SELECT {which}(number) FROM incoming AS same WHERE same.key = incoming.key))
    WHERE key IN (SELECT key FROM incoming WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1)
    AND state = 0
    AND number <> (SELECT {which}(number) FROM incoming AS same WHERE same.key = incoming.key)"""
KEEP_FUNCTIONS: Final = {"first": "min", "last": "max"}
COPY_STATES: Final = """UPDATE incoming
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
"""Rows of a user with several rows are all sent again, since the user keeps the last body sent."""
MARK_UNCHANGED: Final = """UPDATE {rows} SET state = 2, outcome = 'unchanged', code = NULL, status = NULL,
        reason = NULL, remote_id = (SELECT remote_id FROM users WHERE users.key = {rows}.key)
    WHERE state = {state} AND doubt = 0 AND EXISTS (SELECT 1 FROM users WHERE users.key = {rows}.key
        AND users.hash = {rows}.hash AND users.doubt = 0)
    AND (? OR NOT EXISTS (SELECT 1 FROM {rows} AS other WHERE other.key = {rows}.key
        AND other.number <> {rows}.number AND other.state <> 6))"""
INDEX_USER_IDS: Final = """CREATE INDEX IF NOT EXISTS users_by_id ON users (remote_id)
    WHERE remote_id IS NOT NULL"""
ALIAS_INDEXES: Final = (
    INDEX_USER_IDS,
    "CREATE INDEX IF NOT EXISTS rows_by_id ON rows (remote_id) WHERE remote_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS doubted_users ON users (key) WHERE doubt <> 0 AND remote_id IS NULL",
    """CREATE INDEX IF NOT EXISTS coming_rows ON rows (session)
        WHERE remote_id IS NULL AND (doubt <> 0 OR state IN (0, 1))""",
)
REOPEN_OVERTAKEN: Final = """UPDATE rows SET state = 1, doubt = 1 WHERE state = 2 AND EXISTS
    (SELECT 1 FROM rows AS other WHERE other.remote_id = rows.remote_id AND other.key <> rows.key
        AND other.number < rows.number AND other.session > rows.session AND other.state = 2)"""
"""Send a row again that was done before an earlier row with another key of the same user."""
_HAS_NO_ALIAS: Final = """
    AND EXISTS (SELECT 1 FROM users WHERE users.key = {rows}.key AND users.remote_id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM users AS other
            WHERE other.remote_id = users.remote_id AND other.key <> users.key))
    AND NOT EXISTS (SELECT 1 FROM users WHERE doubt <> 0 AND remote_id IS NULL)
    AND number < coalesce((SELECT min(new.number) FROM {rows} AS new
        WHERE new.state IN (0, 1, 3, 4) AND NOT EXISTS (SELECT 1 FROM users
            WHERE users.key = new.key AND users.remote_id IS NOT NULL)), number + 1)"""
MARK_UNCHANGED_WITHOUT_ALIAS: Final = MARK_UNCHANGED + _HAS_NO_ALIAS
"""`MARK_UNCHANGED` where rows with different keys may be of the same user. A row is sent if another
key has the user's id, or if the row comes after a row of a user with an unknown id."""
CREATED: Final = "already created"
"""Code of a row with another body than the user was created with."""
CREATED_TEXTS: Final = (
    CREATED,
    "this journal has created the user with another body: change the user with an update or upsert",
)
MARK_CREATED: Final = """UPDATE {rows} SET state = 3, code = ?, reason = ?,
        remote_id = (SELECT remote_id FROM users WHERE users.key = {rows}.key)
    WHERE state = {state} AND doubt = 0 AND EXISTS
        (SELECT 1 FROM users WHERE users.key = {rows}.key AND users.doubt = 0)"""
INCOMING_WAITING: Final = {"rows": "incoming", "state": 0}
ROWS_FAILED: Final = {"rows": "rows", "state": 3}
UNKNOWN_TEXTS: Final = (
    "unknown before",
    "an earlier run may have done the row: --retry-unknown looks, or without a key sends again",
)
MARK_UNKNOWN: Final = """UPDATE incoming SET state = 4, doubt = 1, code = ?, reason = ?
    WHERE state = 0 AND EXISTS
        (SELECT 1 FROM users WHERE users.key = incoming.key AND users.doubt = 2)"""
MARK_UNCERTAIN: Final = """UPDATE incoming SET state = 1, doubt = 1
    WHERE state = 0
    AND EXISTS (SELECT 1 FROM users WHERE users.key = incoming.key AND users.doubt <> 0)"""
"""Another body of the user may have been sent."""
SET_REMOTE_IDS: Final = """UPDATE incoming SET
        remote_id = (SELECT remote_id FROM users WHERE users.key = incoming.key)
    WHERE state IN (0, 1) AND remote_id IS NULL AND key IN (SELECT key FROM users)"""
PAIR_BY_BODY: Final = """CREATE TEMP TABLE paired AS SELECT new.number AS number, old.number AS made,
        old.state AS state, old.remote_id AS remote_id
    FROM (SELECT number, hash, row_number() OVER (PARTITION BY hash ORDER BY number) AS place
            FROM incoming WHERE key IS NULL AND state = 0) AS new
    JOIN (SELECT number, hash, state, remote_id,
                row_number() OVER (PARTITION BY hash ORDER BY state, number) AS place
            FROM made) AS old
    ON new.hash = old.hash AND new.place = old.place"""
"""Pair rows without a key with users created from the same body, by count."""
COPY_PAIRED_STATES: Final = """UPDATE incoming SET state = paired.state, remote_id = paired.remote_id,
        outcome = CASE paired.state WHEN 2 THEN 'unchanged' END, doubt = CASE paired.state WHEN 2 THEN 0 ELSE 1 END,
        code = CASE paired.state WHEN 2 THEN NULL ELSE ? END,
        reason = CASE paired.state WHEN 2 THEN NULL ELSE ? END
    FROM paired WHERE incoming.number = paired.number"""
DELETE_PAIRS: Final = (
    "DELETE FROM made WHERE number IN (SELECT made FROM paired)",
    "DROP TABLE paired",
)
REPLACE_ROWS: Final = (
    "DROP TABLE rows",
    "DROP INDEX IF EXISTS by_incoming_key",
    "ALTER TABLE incoming RENAME TO rows",
)


@frozen
class Dialect:
    """Statements of a journal that the databases have each in its own form."""

    create_incoming: tuple[str, ...]
    """Create the table for the rows of another source, until all rows are read."""
    has_timelines: str
    pulse: str
    """Count the outcomes by part; the values are the begin, the width and the number of the last part."""


SQLITE: Final = Dialect(
    create_incoming=("DROP TABLE IF EXISTS incoming", f"CREATE TABLE incoming {_COLUMNS}"),
    has_timelines="SELECT count(*) FROM sqlite_schema WHERE name = 'timelines'",
    pulse="""SELECT min(CAST((at - ?) / ? AS INTEGER), ?), count(*) FROM rows
        WHERE state IN (2, 3, 4) AND at IS NOT NULL GROUP BY 1""",
)
NOT_A_JOURNAL: Final = "is not a journal of a job: check the path; a new journal goes to a new file"
ERROR_REASONS: Final[Mapping[str, str]] = {
    "locked": (
        "is in use by another process: a single process at a time can use a journal. A disk without "
        "locks, such as some network drives, looks the same: use a local disk"
    ),
    "not a database": NOT_A_JOURNAL,
    "malformed": (
        "is damaged. Keep the file, and run the same command again: a disk that failed once looks "
        "the same. If that doesn't help, start a new journal: an upsert, or a look at the service, "
        "tells which rows got through"
    ),
    "full": "can't be written: the disk is full. Free some space, and run the same command again",
    "disk I/O": (
        "can't be written or read: the disk is full or failing. Check the disk, and run the same "
        "command again"
    ),
    "readonly": (
        "can't be written: the file or the disk is read-only. Copy the journal to a place that you "
        "may write to (sunshine-async job copy), and use the copy"
    ),
    "unable to open": "can't be opened: check that the directory exists and that you may write to it",
    "removed": (
        "was removed or replaced while in use. Put the file back, and run the same command again"
    ),
    "split": "Copy both files, or copy with `sunshine-async job copy`",
    "old": (
        "Finish the job with the release that started it, or start a new journal with an upsert"
    ),
}
"""Messages by the cause of an error; ``split``, ``old``, ``removed``: by the state of the file."""
