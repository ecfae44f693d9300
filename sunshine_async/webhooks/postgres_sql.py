"""SQL of the inbox in PostgreSQL: tables, leases, and the statements of an exchange."""

from typing import Final

VERSION: Final = 1
"""Version of the tables; tables of another version are refused."""
SETTINGS: Final = """SELECT set_config(name, value, false) FROM (VALUES
    ('search_path', 'sunshine_inbox'), ('synchronous_commit', 'on'),
    ('default_transaction_isolation', 'read committed'), ('client_min_messages', 'warning'),
    ('lock_timeout', %(wait)s), ('statement_timeout', '30s'),
    ('idle_in_transaction_session_timeout', %(wait)s),
    ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
    ('jit', 'off')) AS settings (name, value)"""
"""All statements read through indexes, also those planned while the tables were small.

Where there is no index, the plan then looks costly, and the server would compile it each time: that
takes a hundred times as long as the statement."""
_KEY: Final = "6004797649117175113"
LOCK: Final = f"SELECT pg_advisory_xact_lock({_KEY})"
END_STOPPED: Final = f"""SELECT pg_terminate_backend(pid)
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND classid::bigint << 32 | objid::bigint = {_KEY}
        AND datname = current_database() AND usename = current_user
        AND xact_start < clock_timestamp() - 2 * current_setting('lock_timeout')::interval"""  # noqa: S608 - own names
"""End the session of a worker that has the lock and is stopped, such as a frozen container.

The server ends most of these sessions by itself, but not within a pipeline. A transaction that is
older than twice the wait has had the lock for longer than others wait."""
TABLES: Final = (
    """CREATE TABLE events (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL, type TEXT NOT NULL, app_id TEXT,
        created_at FLOAT8 NOT NULL, received_at FLOAT8 NOT NULL, body BYTEA,
        state SMALLINT NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0, begun_at FLOAT8, ended_at FLOAT8, reason TEXT)""",
    "CREATE INDEX waiting ON events (queue, created_at, number) WHERE state = 0",
    "CREATE INDEX handled ON events (ended_at) WHERE state = 2",
    "CREATE INDEX dead ON events (number) WHERE state = 3",
    """CREATE TABLE queues (queue TEXT PRIMARY KEY, worker BIGINT, number BIGINT UNIQUE,
        begun BOOLEAN NOT NULL GENERATED ALWAYS AS (worker IS NOT NULL) STORED,
        retried BOOLEAN NOT NULL DEFAULT FALSE, ready_at FLOAT8 NOT NULL)""",
    "CREATE INDEX ready ON queues (retried, ready_at, queue) WHERE NOT begun",
    "CREATE INDEX begun ON queues (worker) WHERE worker IS NOT NULL",
    """CREATE TABLE workers (id BIGINT PRIMARY KEY, lease INTERVAL NOT NULL,
        seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp())""",
)
"""``queues``: as in the file; *number* is the event under way, and *worker* has begun the event.
*ready_at* is in seconds since 1970."""

REGISTER: Final = """INSERT INTO workers (id, lease)
    VALUES (%(worker)s, make_interval(secs => %(lease)s))
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp() RETURNING extract(epoch FROM now())::float8"""
RENEW: Final = """WITH renewed AS (UPDATE workers SET seen_at = clock_timestamp()
        WHERE (id = %(worker)s AND seen_at < clock_timestamp() - lease / 4)
            OR abs(extract(epoch FROM now())::float8 - %(server_time)s) > %(step)s)
    SELECT extract(epoch FROM now())::float8 FROM workers WHERE id = %(worker)s"""
"""Writes now and then only, so that a worker with nothing to do costs the disk next to nothing.

A clock of the server that was set tells nothing about any lease: all leases begin anew. *server_time*
is the time of the server by the clock of the worker. Both statements return the server's time.
"""
WAIT_AGAIN: Final = """released AS (UPDATE queues SET worker = NULL, number = NULL, ready_at = %(now)s
        FROM held WHERE queues.queue = held.queue RETURNING held.number)
    UPDATE events SET state = 0 FROM released WHERE events.number = released.number"""
"""Behind the events of all other queues, as after a kill."""
END_LEASES: Final = f"""WITH ended AS (DELETE FROM workers
        WHERE greatest(seen_at, pg_postmaster_start_time()) < clock_timestamp() - lease
            AND id <> %(worker)s
        RETURNING id),
    held AS (SELECT queue, number FROM queues JOIN ended ON worker = ended.id), {WAIT_AGAIN}"""  # noqa: S608 - own names
END_OWN_LEASE: Final = f"""WITH ended AS (DELETE FROM workers WHERE id = %(worker)s RETURNING id),
    held AS (SELECT queue, number FROM queues JOIN ended ON worker = ended.id), {WAIT_AGAIN}"""  # noqa: S608 - own names
GIVE_BACK: Final = f"""WITH held AS (SELECT queue, number FROM queues
        WHERE worker = %(worker)s AND number <> ALL(%(known)s::bigint[])), {WAIT_AGAIN}"""  # noqa: S608 - own names
NOTE_OUTCOMES: Final = """WITH outcomes AS (SELECT * FROM unnest(%(numbers)s::bigint[],
        %(states)s::smallint[], %(reasons)s::text[], %(ready_at)s::float8[])
        AS outcomes (number, state, reason, ready_at)),
    ended AS (UPDATE queues SET worker = NULL, number = NULL, retried = outcomes.state = 0,
        ready_at = CASE outcomes.state WHEN 0 THEN outcomes.ready_at ELSE %(now)s::float8 END
        FROM outcomes WHERE queues.number = outcomes.number AND worker = %(worker)s
        RETURNING outcomes.number, outcomes.state, outcomes.reason)
    UPDATE events SET state = ended.state, reason = ended.reason,
        failures = failures + (ended.state <> 2)::integer,
        ended_at = CASE ended.state WHEN 2 THEN %(now)s::float8
            ELSE coalesce(ended_at, %(now)s::float8) END,
        body = CASE ended.state WHEN 2 THEN NULL ELSE body END
    FROM ended WHERE events.number = ended.number"""
CLOSE_QUEUES: Final = """DELETE FROM queues WHERE NOT begun
    AND queue IN (SELECT queue FROM events WHERE number = ANY(%(numbers)s::bigint[]))
    AND NOT EXISTS (SELECT 1 FROM events WHERE state = 0 AND events.queue = queues.queue)"""
ADD_EVENTS: Final = """WITH added AS (
        INSERT INTO events (id, queue, type, app_id, created_at, received_at, body)
        SELECT id, queue, type, app_id, created_at, %(now)s, body
        FROM unnest(%(ids)s::text[], %(queues)s::text[], %(types)s::text[], %(app_ids)s::text[],
            %(created_at)s::float8[], %(bodies)b::bytea[]) WITH ORDINALITY
            AS new (id, queue, type, app_id, created_at, body, place)
        ORDER BY place ON CONFLICT (id) DO NOTHING RETURNING queue)
    INSERT INTO queues (queue, ready_at) SELECT DISTINCT queue, %(now)s::float8 FROM added
    ON CONFLICT (queue) DO NOTHING"""
COLUMNS: Final = """events.number, id, type, app_id, body, attempts, failures, begun_at,
    ended_at, received_at, reason, created_at"""
BEGIN_HEADS: Final = f"""WITH ready AS (
        (SELECT queue, ready_at FROM queues WHERE NOT begun AND NOT retried
            ORDER BY ready_at, queue LIMIT %(free)s)
        UNION ALL
        (SELECT queue, ready_at FROM queues WHERE NOT begun AND retried
            AND (ready_at <= %(now)s OR ready_at > %(latest)s)
            ORDER BY ready_at, queue LIMIT %(retries)s)
        ORDER BY ready_at, queue LIMIT %(free)s),
    heads AS MATERIALIZED (SELECT ready.queue, head.number FROM ready CROSS JOIN LATERAL
        (SELECT number FROM events WHERE state = 0 AND events.queue = ready.queue
            ORDER BY created_at, number LIMIT 1) AS head),
    begun AS (UPDATE queues SET worker = %(worker)s, number = heads.number FROM heads
        WHERE queues.queue = heads.queue)
    UPDATE events SET state = 1, attempts = attempts + 1, begun_at = coalesce(begun_at, %(now)s)
    FROM heads WHERE events.number = heads.number RETURNING {COLUMNS}"""  # noqa: S608 - own names
"""A retry that would come after *latest* has a time from before the clock was set back, and is due."""
SELECT_DEAD: Final = f"SELECT {COLUMNS} FROM events WHERE state = 3 ORDER BY number LIMIT %s"  # noqa: S608 - own names
