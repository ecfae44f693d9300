"""Create it, or do what is to be done where it is there already: in about one request."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, nullcontext
from enum import Enum
from typing import Final, Generic, TypeVar

from attrs import define, frozen

from sunshine_async._calls.caller import CallInfo
from sunshine_async._http.messages import SENT_NOTE
from sunshine_async.errors import ConflictError, NotFoundError, SunshineError, uncertain

R = TypeVar("R")

_TURNS: Final = 6
_WEIGHT: Final = 0.25
_NO_DOUBT: Final = nullcontext()


class UpsertEffect(Enum):
    """What an upsert has done, as far as its own calls tell."""

    CREATED = "created"
    UPDATED = "updated"
    """It was there."""
    UNCHANGED = "unchanged"
    """It was there with all that was to be set, so nothing was written."""
    EITHER = "upserted"
    """It is there as sent: an earlier sending may have made it, whose answer was lost."""


@frozen
class UpsertResult(Generic[R]):
    """What an upsert brought, and what it *did*."""

    value: R
    did: UpsertEffect

    def uncertain(self) -> "UpsertResult[R]":
        """Return it as what it is where an earlier sending may have been applied too.

        Who is created now wasn't there before; any other may be there by that sending.
        """
        return (
            self
            if self.did is UpsertEffect.CREATED
            else UpsertResult(self.value, UpsertEffect.EITHER)
        )


@define
class FirstTry:
    """Whether the next one is new, judged by how the last ones were."""

    share_of_new: float = 0.5

    @property
    def new(self) -> bool:
        """Whether to create first."""
        return self.share_of_new >= 0.5  # noqa: PLR2004 - a half

    def learn(self, *, new: bool) -> None:
        """Take in how one more was."""
        self.share_of_new += _WEIGHT * (new - self.share_of_new)


@contextmanager
def in_doubt(endpoint: object = "an earlier request") -> Generator[None]:
    """Let whatever ends the block say that *endpoint*, called before, may have been applied."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends in doubt
        raise uncertain(error)  # noqa: B904 - the same error, or one that has its cause
    except BaseException as error:
        error.add_note(SENT_NOTE.format(endpoint=endpoint))
        raise


async def create_or_else(
    create: Callable[[CallInfo], Awaitable[R]],
    otherwise: Callable[[], Awaitable[R]],
    guess: FirstTry,
) -> UpsertResult[R]:
    """Return what *create* makes, or what *otherwise* says of what is there already.

    It is said to be created or updated by which of the two has answered; `UpsertEffect.EITHER` where the
    create was settled by reading back, or an earlier one may have been applied.

    *guess* says which is tried first. A `ConflictError` of *create* leads to *otherwise*, a
    `NotFoundError` of that to *create*: with others creating and deleting the same thing that may
    go to and fro, three times each at most. Any other error comes out.
    """
    new = guess.new
    maybe_applied = False
    turns = 0
    while True:
        aside = CallInfo()
        try:
            with in_doubt() if maybe_applied else _NO_DOUBT:
                value = await (create(aside) if new else otherwise())
        except SunshineError as error:
            maybe_applied = error.maybe_applied
            turns += 1
            if turns == _TURNS or not isinstance(error, ConflictError if new else NotFoundError):
                raise
            new = not new
        else:
            guess.learn(new=new)
            did = UpsertEffect.CREATED if new else UpsertEffect.UPDATED
            in_any_case = aside.read_back or (maybe_applied and not new)
            return UpsertResult(value, UpsertEffect.EITHER if in_any_case else did)
