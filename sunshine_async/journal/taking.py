"""The rows of another source, which take the place of those before."""

import sqlite3

from sunshine_async.journal.row import Rules
from sunshine_async.journal.statements import (
    ALONE,
    ALREADY,
    BY_ID,
    CREATED,
    DOUBTED,
    IDENTIFY,
    INDEX,
    KEEP_MADE,
    LEAVE_OUT,
    NEW,
    PAIR,
    PAIRED,
    PAIRED_OFF,
    PERHAPS,
    REMEMBER,
    REPLACE,
    STILL_UNKNOWN,
    TAKE_OVER,
    UNCHANGED,
    UNTOLD,
    WHICH,
    WITH_ANOTHER,
)


def take(database: sqlite3.Connection, rules: Rules, *, keep: str | None, going_on: bool) -> None:
    """Let the rows that were read be the rows, each in the state that the *rules* give.

    First the state of each user after the rows before is kept. Rows that are left out are out
    before any other is compared with the state of its user.
    """
    database.execute(REMEMBER, (not rules.marked,))
    database.execute(KEEP_MADE)
    if keep is not None:
        database.execute(LEAVE_OUT.format(which=WHICH[keep]))
    if going_on:
        database.execute(INDEX)
        database.execute(TAKE_OVER, (not rules.aliased,))
    if rules.skips and rules.aliased:
        database.execute(BY_ID)
    if rules.skips:
        statement = ALONE if rules.aliased else UNCHANGED
        database.execute(statement.format(**NEW), (rules.once,))
    if rules.skips and rules.once:
        database.execute(ALREADY.format(**NEW), (CREATED, WITH_ANOTHER))
        database.execute(STILL_UNKNOWN, (UNTOLD, PERHAPS))
        database.execute(PAIR)
        database.execute(PAIRED, (UNTOLD, PERHAPS))
        for statement in PAIRED_OFF:
            database.execute(statement)
    for statement in (DOUBTED, IDENTIFY, *REPLACE):
        database.execute(statement)
