"""Create it, or do what is to be done where it is there already: in about one request."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import define

from sunshine_async.errors import ConflictError, NotFoundError, SunshineError

R = TypeVar("R")

_TURNS: Final = 6
_WEIGHT: Final = 0.25


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
    create: Callable[[], Awaitable[R]], otherwise: Callable[[], Awaitable[R]], guess: Guess
) -> R:
    """Return what *create* makes, or what *otherwise* says of what is there already.

    *guess* says which is tried first. A `ConflictError` of *create* leads to *otherwise*, a
    `NotFoundError` of that to *create*: with others creating and deleting the same thing that may
    go to and fro, three times each at most. Any other error comes out.
    """
    new = guess.new
    maybe_applied = False
    turns = 0
    while True:
        try:
            result = await (create() if new else otherwise())
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
