"""What a journal has of a row, and what is said of it."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeAlias

from attrs import frozen


class State(IntEnum):
    """What a row is, as far as the disk knows."""

    WAITING = 0
    BEGUN = 1
    """It may have been sent."""
    DONE = 2
    FAILED = 3
    UNKNOWN = 4
    BAD = 5
    LEFT_OUT = 6
    """Another row with its key is sent in its place."""


PENDING: Final = (State.WAITING, State.BEGUN)
"""What a job has still to do."""


@frozen
class SourceRow:
    """A row as it was read, before anything is done with it; *reason* is for one that is bad."""

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
    """Of its body, where the row was read ahead."""
    code: str | None = None
    """Of a row that was added now, and can't be sent; *reason* says why."""
    reason: str | None = None


@frozen(kw_only=True)
class Rules:
    """How the rows of a job go with what its journal has of their users."""

    differ: bool = False
    """Whether two bodies of a user are two things to send, one after the other (update, upsert)."""
    once: bool = False
    """Whether a user is made once, whatever comes later (create)."""
    skips: bool = False
    """Whether rows that are as their user was last accepted are done without a request."""
    marked: bool = True
    """Whether a row is marked as begun before it is sent: if not, one that waits may have been sent."""
    by_count: bool = False
    """Whether rows without a key are told apart by body and count, where another source has them."""
    aliased: bool = False
    """Whether rows with different keys may be of one user, so that only the user's id tells them apart."""


@frozen
class Update:
    """What a row is from now on, and why."""

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
    """How many sendings more this is: 1 where it was sent, and wasn't marked as begun by itself."""
    doubt: bool = False
    """Whether an earlier sending may have been applied, though this one wasn't."""


Done: TypeAlias = Mapping[tuple[str, int], Mapping[int, str | None]]
"""Rows that were done, by outcome and sendings as in a `Update`: their remote ids by number."""
