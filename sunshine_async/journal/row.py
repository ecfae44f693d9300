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
class Line:
    """A row as it was read, before anything is done with it; *reason* is for one that is bad."""

    line: int
    key: str | None
    hash: bytes
    reason: str | None = None
    body: bytes | None = None


@frozen
class Kept:
    """A row of the journal."""

    number: int
    state: State
    remote_id: str | None = None


@frozen
class Mark:
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


Done: TypeAlias = Mapping[tuple[str, int], Mapping[int, str | None]]
"""Rows that were done, by outcome and sendings as in a `Mark`: their remote ids by number."""
