"""Rows of a journal, states of rows, and the rules that decide which rows are sent."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeAlias

from attrs import frozen


class State(IntEnum):
    """State of a row on the disk."""

    WAITING = 0
    BEGUN = 1
    """The row may have been sent."""
    DONE = 2
    FAILED = 3
    UNKNOWN = 4
    BAD = 5
    LEFT_OUT = 6
    """Another row with the same key is sent instead."""


PENDING: Final = (State.WAITING, State.BEGUN)
"""States of the rows that a job has still to finish."""


@frozen
class SourceRow:
    """A row as read from the source, before any processing; *reason* is set for a bad row."""

    line: int
    key: str | None
    hash: bytes
    reason: str | None = None
    body: bytes | None = None


@frozen
class JournalRow:
    """A row of the journal."""

    number: int
    state: State
    remote_id: str | None = None
    hash: bytes | None = None
    """Hash of the body, for a row that was read ahead."""
    code: str | None = None
    """Code of a row that was added now and can't be sent; *reason* has the text."""
    reason: str | None = None


@frozen(kw_only=True)
class Rules:
    """Rules of a job: the state of a row, given the rows that the journal has of the same user."""

    differ: bool = False
    """Send each body of a user, in turn (update, upsert)."""
    once: bool = False
    """Create a user once, and ignore later rows of the user (create)."""
    skips: bool = False
    """Mark a row done without a request where the body equals the last accepted body of the user."""
    marked: bool = True
    """Rows are marked as begun before sending; if False, a waiting row may have been sent."""
    by_count: bool = False
    """Accept rows without a key from another source: such rows are matched by body and count."""
    aliased: bool = False
    """Rows with different keys may be of the same user, so that only the user's id tells users apart."""


@frozen
class Update:
    """New state of a row, with the reason."""

    number: int
    state: State
    at: float
    """Seconds since 1970."""
    outcome: str | None = None
    code: str | None = None
    status: int | None = None
    reason: str | None = None
    remote_id: str | None = None
    sent: int = 0
    """Attempts to add: 1 where the row was sent without a separate begun mark."""
    doubt: bool = False
    """An earlier attempt may have been applied, though the last attempt wasn't."""


Done: TypeAlias = Mapping[tuple[str, int], Mapping[int, str | None]]
"""Rows that are done: remote ids by number, for each outcome and `sent` (see `Update`)."""
