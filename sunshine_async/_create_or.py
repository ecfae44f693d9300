"""Create it, or do what is to be done where it is there already: in about one request."""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, Generic, TypeVar

from attrs import define, frozen

from sunshine_async._transport.tally import Aside
from sunshine_async.errors import ConflictError, NotFoundError, SunshineError

R = TypeVar("R")

_TURNS: Final = 6
_WEIGHT: Final = 0.25


class Did(Enum):
    """What an upsert has done, as far as its own calls tell."""

    CREATED = "created"
    UPDATED = "updated"
    """It was there."""
    UNCHANGED = "unchanged"
    """It was there with all that was to be set, so nothing was written."""
    EITHER = "upserted"
    """It is there as sent: an earlier sending may have made it, whose answer was lost."""


@frozen
class Upserted(Generic[R]):
    """What an upsert brought, and what it *did*."""

    value: R
    did: Did

    def doubted(self) -> "Upserted[R]":
        """Return it as what it is where an earlier sending may have been applied too.

        Who is created now wasn't there before; any other may be there by that sending.
        """
        return self if self.did is Did.CREATED else Upserted(self.value, Did.EITHER)


@define
class Guess:
    """Whether the next one is new, judged by how the last ones were."""

    share_of_new: float = 0.5

    @property
    def new(self) -> bool:
        """Whether to create first."""
        return self.share_of_new >= 0.5  # noqa: PLR2004 - a half

    def learn(self, *, new: bool) -> None:
        """Take in how one more was."""
        self.share_of_new += _WEIGHT * (new - self.share_of_new)


async def create_or(
    create: Callable[[Aside], Awaitable[R]],
    otherwise: Callable[[], Awaitable[R]],
    guess: Guess,
) -> Upserted[R]:
    """Return what *create* makes, or what *otherwise* says of what is there already.

    It is said to be created or updated by which of the two has answered; `Did.EITHER` where the
    create was settled by reading back, or an earlier one may have been applied.

    *guess* says which is tried first. A `ConflictError` of *create* leads to *otherwise*, a
    `NotFoundError` of that to *create*: with others creating and deleting the same thing that may
    go to and fro, three times each at most. Any other error comes out.
    """
    new = guess.new
    maybe_applied = False
    turns = 0
    while True:
        try:
            if new:
                aside = Aside()
                made = await create(aside)
                result = Upserted(made, Did.EITHER if aside.read_back else Did.CREATED)
            else:
                result = Upserted(await otherwise(), Did.EITHER if maybe_applied else Did.UPDATED)
        except SunshineError as error:
            error.maybe_applied |= maybe_applied
            maybe_applied = error.maybe_applied
            turns += 1
            if turns == _TURNS or not isinstance(error, ConflictError if new else NotFoundError):
                raise
            new = not new
        else:
            guess.learn(new=new)
            return result
