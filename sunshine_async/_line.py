"""Who goes next: those whom somebody waits for before those who are one of many."""

from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from enum import Enum
from typing import Final

from attrs import define, field

SHARE: Final = 10
"""Where both lanes wait, every tenth start is a batch's."""


class Lane(Enum):
    """What a call is for, and so whom it lets go first."""

    INTERACTIVE = "somebody waits for it"
    BATCH = "one of many"


LANE: Final = ContextVar("lane", default=Lane.INTERACTIVE)
"""The lane of the running task's calls, where their client doesn't say."""


@define(eq=False)
class Place:
    """A place in a line; *wake* is called when it is worth asking again.

    With *again* its call was let go before: it stands before those of its lane who never were.
    """

    wake: Callable[[], None]
    lane: Lane = Lane.INTERACTIVE
    again: bool = False
    timed: bool = field(default=False, init=False)
    """Whether it was told when to ask again: it needn't be woken before."""
    forgotten: bool = field(default=False, init=False)
    """Whether it was taken out of the line, since nobody who could be woken stands there."""


class _Queue:
    """Those of one lane: first come, first served, those who were let go before ahead."""

    def __init__(self) -> None:
        self._again: Final[deque[Place]] = deque()
        self._new: Final[deque[Place]] = deque()

    def __len__(self) -> int:
        return len(self._again) + len(self._new)

    def __iter__(self) -> Iterator[Place]:
        return iter([*self._again, *self._new])

    def head(self) -> Place | None:
        """Return who is first."""
        if self._again:
            return self._again[0]
        return self._new[0] if self._new else None

    def of(self, place: Place) -> deque[Place]:
        """Return those among whom *place* stands."""
        return self._again if place.again else self._new


class Line:
    """Those who wait in both lanes."""

    def __init__(self) -> None:
        self.count = 0
        self.interactive: Final = _Queue()
        self.batch: Final = _Queue()
        self._passed = 0
        """How many went before a batch that waited."""

    def __len__(self) -> int:
        return self.count

    def join(self, place: Place) -> None:
        """Stand at the end."""
        self._queue(place).of(place).append(place)
        self.count += 1

    def go(self, place: Place) -> None:
        """Go out of the line, from wherever in it."""
        self._queue(place).of(place).remove(place)
        self.count -= 1

    def started(self, lane: Lane) -> None:
        """Count a start."""
        if lane is Lane.BATCH:
            self._passed = 0
        elif self.batch:
            self._passed += 1

    def is_due(self) -> bool:
        """Return whether the next start is to be the waiting batch's, if it may."""
        return self._passed >= SHARE - 1 and len(self.batch) > 0

    def _queue(self, place: Place) -> _Queue:
        return self.batch if place.lane is Lane.BATCH else self.interactive
